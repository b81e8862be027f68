//! Event streams: resuming, heartbeats, silence and broken ends.

use super::*;

#[tokio::test]
async fn s57_a_stream_resumes_after_the_last_event_it_has_seen() {
    let server = Running::plain().await;
    let client = server.client();
    let mut seen = vec![];
    let mut after = 0;
    for _ in 0..3 {
        let mut stream = client
            .get_stream(&format!("/event?after={after}"), PATIENCE)
            .await
            .unwrap();
        while let Some(lines) = stream.next_lines().await.unwrap() {
            for line in lines {
                after = serde_json::from_slice::<Value>(&line).unwrap()["eventId"]
                    .as_u64()
                    .unwrap();
                seen.push(after);
            }
        }
    }
    assert_eq!(seen, (1..=9).collect::<Vec<_>>());
    server.stop().await;
}

#[tokio::test]
async fn heartbeats_keep_a_silent_stream_alive_and_are_never_seen_as_lines() {
    let server = Running::plain().await;
    let mut stream = server
        .client()
        .get_stream("/silence", 500 * MS)
        .await
        .unwrap();
    // Three times the patience: without heartbeats the stream would count as lost by then.
    assert!(timeout(1500 * MS, stream.next_line()).await.is_err());
    server.stop().await;
    assert_eq!(
        stream.next_line().await.unwrap(),
        None,
        "the server's shutdown ends the stream"
    );
}

#[tokio::test]
async fn s33_a_stream_without_line_or_heartbeat_counts_as_lost() {
    let server = Running::plain().await;
    let mut stream = server.client().get_stream("/dead", 100 * MS).await.unwrap();
    let error = stream.next_line().await.unwrap_err();
    assert!(
        matches!(
            error,
            ClientError::Unreachable {
                outage: Outage::Silent(_),
                ..
            }
        ),
        "{error:?}"
    );
    assert!(error.is_transient());
    drop(stream);
    server.stop().await;
}

#[tokio::test]
async fn s33_a_silent_stream_counts_as_lost_also_for_a_reader_who_looks_elsewhere_in_between() {
    let server = Running::plain().await;
    let mut stream = server.client().get_stream("/dead", 200 * MS).await.unwrap();
    let begun = Instant::now();
    let error = loop {
        assert!(
            begun.elapsed() < PATIENCE,
            "S33: waits that are dropped count, too"
        );
        if let Ok(heard) = timeout(20 * MS, stream.next_line()).await {
            break heard.unwrap_err();
        }
    };
    assert!(begun.elapsed() >= 200 * MS, "{:?}", begun.elapsed());
    assert!(error.is_transient(), "{error:?}");
    drop(stream);

    // Heartbeats begin the silence anew, also those that come between two waits.
    let mut stream = server
        .client()
        .get_stream("/silence", 200 * MS)
        .await
        .unwrap();
    for _ in 0..30 {
        assert!(timeout(20 * MS, stream.next_line()).await.is_err());
    }
    drop(stream);
    server.stop().await;
}

#[tokio::test]
async fn a_stream_that_ends_inside_a_line_is_broken() {
    let server = Running::plain().await;
    let mut stream = server
        .client()
        .get_stream("/half-line", PATIENCE)
        .await
        .unwrap();
    assert_eq!(stream.next_line().await.unwrap().unwrap(), "{}");
    assert!(matches!(
        stream.next_line().await,
        Err(ClientError::Broken { .. })
    ));
    server.stop().await;
}

#[tokio::test]
async fn a_refused_stream_gives_its_problem() {
    let server = Running::plain().await;
    let error = server
        .client()
        .get_stream("/busy", PATIENCE)
        .await
        .unwrap_err();
    assert_eq!(error.problem().unwrap().message, "this node is passive");
    server.stop().await;
}

#[tokio::test]
async fn a_line_that_is_waited_for_in_vain_is_not_lost() {
    let (sender, receiver) = tokio::sync::mpsc::channel::<Bytes>(10);
    let source = std::sync::Mutex::new(Some(stream::unfold(receiver, async |mut receiver| {
        receiver.recv().await.map(|chunk| (chunk, receiver))
    })));
    let source = Arc::new(source);
    let router = Router::new().route(
        "/",
        get(async move || {
            stream_response(source.lock().unwrap().take().unwrap().boxed(), None, None)
        }),
    );
    let server = Server::bind("127.0.0.1:0".parse().unwrap(), None)
        .await
        .unwrap();
    let client = Client::new(ClientSettings::new(server.url())).unwrap();
    let shutdown = CancellationToken::new();
    let task = tokio::spawn(server.serve(router, shutdown.clone()));
    let mut stream = client.get_stream("/", PATIENCE).await.unwrap();
    sender.send(Bytes::from_static(b"one\ntw")).await.unwrap();
    assert_eq!(stream.next_line().await.unwrap().unwrap(), "one");
    assert!(timeout(50 * MS, stream.next_line()).await.is_err());
    sender.send(Bytes::from_static(b"o\n")).await.unwrap();
    assert_eq!(stream.next_line().await.unwrap().unwrap(), "two");
    drop(sender);
    assert_eq!(stream.next_line().await.unwrap(), None);
    shutdown.cancel();
    task.await.unwrap();
}
