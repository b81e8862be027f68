//! Time limits, bounds and shutdowns: nobody waits for ever and nothing is cut off without need.

use super::*;

#[tokio::test]
async fn s32_a_peer_that_never_answers_is_left_after_the_time_limit() {
    let server = Running::start(
        None,
        Limits {
            drain: 10 * MS,
            ..Limits::default()
        },
    )
    .await;
    let client = Client::new(ClientSettings {
        request_timeout: 100 * MS,
        ..ClientSettings::new(&server.url)
    })
    .unwrap();
    let error = client.get_json::<Value>("/for-ever").await.unwrap_err();
    assert!(
        matches!(
            error,
            ClientError::Unreachable {
                outage: Outage::RequestTimeout(_),
                ..
            }
        ),
        "{error:?}"
    );
    assert_eq!(
        client
            .post_json::<_, i64>("/sum", &Sum { a: 1, b: 1 })
            .await
            .unwrap(),
        2,
        "the next call is not held up"
    );
    server.stop().await;
}

#[tokio::test]
async fn s33_a_restarted_peer_is_called_again_without_an_error() {
    let server = Running::plain().await;
    let (client, addr) = (server.client(), server.addr);
    assert_eq!(
        client
            .post_json::<_, i64>("/sum", &Sum { a: 1, b: 1 })
            .await
            .unwrap(),
        2
    );
    server.stop().await;
    let error = client
        .post_json::<_, i64>("/sum", &Sum { a: 1, b: 1 })
        .await
        .unwrap_err();
    assert!(
        matches!(
            error,
            ClientError::Unreachable {
                outage: Outage::Connect(_),
                ..
            }
        ),
        "{error:?}"
    );
    assert!(error.is_transient());
    let server = Running::start_at(addr, None, Limits::default()).await;
    assert_eq!(
        client
            .post_json::<_, i64>("/sum", &Sum { a: 1, b: 2 })
            .await
            .unwrap(),
        3
    );
    server.stop().await;
}

#[tokio::test]
async fn a_shutdown_lets_the_running_request_end() {
    let server = Running::plain().await;
    let client = server.client();
    let call = tokio::spawn(async move { client.get_json::<String>("/slow").await });
    sleep(50 * MS).await;
    server.stop().await;
    assert_eq!(call.await.unwrap().unwrap(), "done");
}

#[tokio::test]
async fn a_shutdown_does_not_wait_for_a_request_without_end() {
    let server = Running::start(
        None,
        Limits {
            drain: 100 * MS,
            ..Limits::default()
        },
    )
    .await;
    let client = server.client();
    let call = tokio::spawn(async move { client.get_json::<()>("/for-ever").await });
    sleep(50 * MS).await;
    let asked = Instant::now();
    server.stop().await;
    assert!(asked.elapsed() < 2 * Duration::from_secs(1));
    assert!(matches!(
        call.await.unwrap(),
        Err(ClientError::Unreachable {
            outage: Outage::Lost(_),
            ..
        })
    ));
}

#[tokio::test]
async fn a_client_that_sends_its_header_drop_by_drop_is_hung_up_on() {
    let server = Running::start(
        None,
        Limits {
            header: 100 * MS,
            ..Limits::default()
        },
    )
    .await;
    let mut stream = TcpStream::connect(server.addr).await.unwrap();
    stream
        .write_all(b"GET /who HTTP/1.1\r\nhost: x\r\nx-slow: ")
        .await
        .unwrap();
    let mut answer = vec![];
    timeout(PATIENCE, stream.read_to_end(&mut answer))
        .await
        .expect("the server hangs up")
        .unwrap();
    assert!(!answer.starts_with(b"HTTP/1.1 200"));
    server.stop().await;
}

#[tokio::test]
async fn a_client_that_never_begins_its_handshake_is_hung_up_on() {
    let ca = Ca::new();
    let limits = Limits {
        handshake: 100 * MS,
        ..Limits::default()
    };
    let server = Running::start(Some(ca.server(ClientCertificates::Required)), limits).await;
    let mut stream = TcpStream::connect(server.addr).await.unwrap();
    let mut answer = vec![];
    timeout(PATIENCE, stream.read_to_end(&mut answer))
        .await
        .expect("the server hangs up")
        .unwrap();
    server.stop().await;
}

#[tokio::test]
async fn one_connection_too_many_waits_until_another_ends() {
    let server = Running::start(
        None,
        Limits {
            connections: 1,
            ..Limits::default()
        },
    )
    .await;
    let first = server.client();
    assert_eq!(
        first
            .post_json::<_, i64>("/sum", &Sum { a: 1, b: 1 })
            .await
            .unwrap(),
        2
    );
    let second = server.client();
    let waiting = tokio::spawn(async move {
        second
            .post_json::<_, i64>("/sum", &Sum { a: 2, b: 2 })
            .await
            .unwrap()
    });
    sleep(100 * MS).await;
    assert!(!waiting.is_finished());
    drop(first);
    assert_eq!(timeout(PATIENCE, waiting).await.unwrap().unwrap(), 4);
    server.stop().await;
}

#[tokio::test]
async fn s32_a_client_that_takes_nothing_of_its_stream_is_hung_up_on() {
    let ended = CancellationToken::new();
    let guard = Arc::new(ended.clone().drop_guard());
    let router = Router::new().route(
        "/flood",
        get(async move || {
            let chunk = Bytes::from(vec![b'x'; 100_000]);
            let source = stream::iter(std::iter::repeat(chunk)).map(move |chunk| {
                let _held_until_the_stream_is_dropped = &guard;
                chunk
            });
            stream_response(source, None, None)
        }),
    );
    let limits = Limits {
        stall: 100 * MS,
        ..Limits::default()
    };
    let server = Server::bind("127.0.0.1:0".parse().unwrap(), None)
        .await
        .unwrap()
        .with_limits(limits);
    let (addr, shutdown) = (server.local_addr(), CancellationToken::new());
    let task = tokio::spawn(server.serve(router, shutdown.clone()));
    let mut stream = TcpStream::connect(addr).await.unwrap();
    stream
        .write_all(b"GET /flood HTTP/1.1\r\nhost: x\r\n\r\n")
        .await
        .unwrap();
    sleep(500 * MS).await;
    let mut taken = vec![];
    let end = timeout(PATIENCE, stream.read_to_end(&mut taken)).await;
    assert!(
        end.is_ok(),
        "the connection is over as soon as what was under way has been taken"
    );
    shutdown.cancel();
    timeout(PATIENCE, task).await.unwrap().unwrap();
    assert!(ended.is_cancelled(), "the stream's source has been dropped");
}
