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

#[tokio::test]
async fn idle_strangers_keep_no_other_client_out() {
    let limits = Limits {
        connections: 40,
        ..Limits::default()
    };
    let server = Running::start(None, limits).await;
    let mut idle = Vec::new();
    for _ in 0..200 {
        idle.push(TcpStream::connect(server.addr).await.unwrap());
    }
    // A client that connects after the crowd gets in, and its connection stays.
    let client = server.client();
    for _ in 0..3 {
        let sum = client.post_json::<_, i64>("/sum", &Sum { a: 1, b: 1 });
        assert_eq!(timeout(PATIENCE, sum).await.unwrap().unwrap(), 2);
    }
    let mut closed = 0;
    for stream in &mut idle[..150] {
        let mut byte = [0];
        let read = timeout(PATIENCE, stream.read(&mut byte)).await;
        closed += usize::from(matches!(read, Ok(Ok(0) | Err(_))));
    }
    assert_eq!(closed, 150, "the oldest made room");
    server.stop().await;
}

#[tokio::test]
async fn a_connection_that_stays_unauthenticated_is_closed_and_an_authenticated_one_is_kept() {
    let limits = Limits {
        stranger: 100 * MS,
        drain: 100 * MS,
        ..Limits::default()
    };
    let server = Running::start(None, limits).await;
    let mut silent = TcpStream::connect(server.addr).await.unwrap();
    let mut known = TcpStream::connect(server.addr).await.unwrap();
    let request = b"GET /login HTTP/1.1\r\nhost: x\r\n\r\n";
    let mut answer = [0; 1000];
    known.write_all(request).await.unwrap();
    assert!(known.read(&mut answer).await.unwrap() > 0);
    let begun = Instant::now();
    assert_eq!(
        timeout(PATIENCE, silent.read(&mut answer))
            .await
            .unwrap()
            .unwrap(),
        0
    );
    sleep((500 * MS).saturating_sub(begun.elapsed())).await;
    known.write_all(request).await.unwrap();
    assert!(known.read(&mut answer).await.unwrap() > 0, "it is kept");
    server.stop().await;
}

#[tokio::test]
async fn a_user_with_too_many_busy_connections_is_refused_and_others_are_not() {
    let limits = Limits {
        connections: 8,
        drain: 100 * MS,
        ..Limits::default()
    };
    let server = Running::start(None, limits).await;
    let login = async |user: &str| {
        let mut stream = TcpStream::connect(server.addr).await.unwrap();
        // An answer that does not end keeps its connection busy.
        let request = format!("GET /login?stay HTTP/1.1\r\nhost: x\r\nx-user: {user}\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = [0; 1000];
        let length = stream.read(&mut answer).await.unwrap();
        let answer = String::from_utf8_lossy(&answer[..length]).into_owned();
        (stream, answer)
    };
    let mut open = Vec::new();
    for _ in 0..4 {
        let (stream, answer) = login("anna").await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        open.push(stream);
    }
    let (_, answer) = login("anna").await;
    assert!(
        answer.starts_with("HTTP/1.1 429") && answer.contains("retry-after: 1"),
        "{answer}"
    );
    assert!(login("bob").await.1.starts_with("HTTP/1.1 200"));
    drop(open);
    server.stop().await;
}
