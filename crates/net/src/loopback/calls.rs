//! Calls and their answers, the good ones and the refused ones.

use super::*;

#[tokio::test]
async fn a_call_is_answered_and_the_next_ones_use_the_same_connection() {
    let server = Running::plain().await;
    let client = server.client();
    assert_eq!(
        client
            .post_json::<_, i64>("/sum", &Sum { a: 40, b: 2 })
            .await
            .unwrap(),
        42
    );
    let first: SocketAddr = client.get_json("/from").await.unwrap();
    for _ in 0..10 {
        assert_eq!(client.get_json::<SocketAddr>("/from").await.unwrap(), first);
    }
    server.stop().await;
}

#[tokio::test]
async fn many_calls_at_once_each_get_their_own_answer() {
    let server = Running::plain().await;
    let client = server.client();
    let calls = (0..200).map(|n| {
        let client = client.clone();
        async move {
            let answer: i64 = client.post_json("/sum", &Sum { a: n, b: n }).await.unwrap();
            assert_eq!(answer, 2 * n);
        }
    });
    futures::future::join_all(calls).await;
    server.stop().await;
}

#[tokio::test]
async fn a_path_in_the_url_is_put_before_every_path() {
    let server = Running::plain().await;
    let client = Client::new(ClientSettings::new(format!("{}/nowhere/", server.url))).unwrap();
    let (status, problem) = refusal(client.get_json("/who")).await;
    assert_eq!(
        (status, problem.arguments["path"].as_str()),
        (404, "/nowhere/who")
    );
    server.stop().await;
}

#[tokio::test]
async fn credentials_arrive_in_their_headers() {
    let server = Running::plain().await;
    let answer = async |credentials| {
        let settings = ClientSettings {
            credentials,
            ..ClientSettings::new(&server.url)
        };
        Client::new(settings)
            .unwrap()
            .get_json::<Value>("/token")
            .await
            .unwrap()
    };
    assert_eq!(answer(Credentials::None).await, json!(null));
    assert_eq!(
        answer(Credentials::Bearer(Secret::new("T"))).await,
        json!(["bearer", "T"])
    );
    let basic = Credentials::Basic {
        user: "ada".to_owned(),
        password: Secret::new("p:w"),
    };
    assert_eq!(answer(basic).await, json!(["basic", "ada", "p:w"]));
    assert_eq!(
        answer(Credentials::Session(Secret::new("S"))).await,
        json!(["session", "S"])
    );
    server.stop().await;
}

#[tokio::test]
async fn what_no_handler_should_see_is_refused_with_a_problem() {
    let server = Running::plain().await;
    let client = server.client();
    let post = async |path: &'static str, kind, body: &'static str| {
        let (status, problem) =
            refusal(client.post_bytes(path, kind, Bytes::from_static(body.as_bytes()))).await;
        (status, problem.code.unwrap().into_owned())
    };
    let (status, problem) = refusal(client.get_json("/nothing-here")).await;
    assert_eq!(
        (status, problem.code.as_deref()),
        (404, Some("UnknownPath"))
    );
    assert_eq!(
        post("/who", "application/json", "{}").await,
        (405, "MethodNotAllowed".to_owned())
    );
    for form in [
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "Text/Plain; charset=utf-8",
        "",
    ] {
        assert_eq!(
            post("/sum", form, "{}").await,
            (403, "FormIsRefused".to_owned()),
            "{form}"
        );
    }
    assert_eq!(
        post("/sum", "application/json", "{\"a\":1").await,
        (400, "InvalidJson".to_owned())
    );
    assert_eq!(
        post("/sum", "application/json", "{\"a\":1,\"b\":\"x\"}").await,
        (400, "InvalidJson".to_owned())
    );
    server.stop().await;
}

#[tokio::test]
async fn an_oversized_body_is_refused_and_its_sender_reads_why() {
    let server = Running::plain().await;
    let client = server.client();
    let send = async |path, size| {
        client
            .post_bytes::<Value>(path, "application/json", vec![b' '; size].into())
            .await
    };
    assert_eq!(send("/size", 1000).await.unwrap(), json!(1000));
    assert_eq!(
        send("/large", 2000).await.unwrap(),
        json!(2000),
        "a route can have its own limit"
    );
    for size in [1001, 10_000_000] {
        let (status, problem) = refusal(send("/size", size)).await;
        assert_eq!(
            (status, problem.code.as_deref()),
            (413, Some("BodyIsTooLarge")),
            "{size}"
        );
    }
    assert_eq!(refusal(send("/large", 2001)).await.0, 413);
    server.stop().await;
}

#[tokio::test]
async fn a_refusal_that_passes_can_be_told_from_one_that_stays() {
    let server = Running::plain().await;
    let client = server.client();
    let error = client.get_json::<Value>("/busy").await.unwrap_err();
    assert!(error.is_transient(), "S32: a passive node is asked again");
    assert!(error.problem().unwrap().is("ClusterNodeIsNotActive"));
    assert!(
        !client
            .get_json::<Value>("/nowhere")
            .await
            .unwrap_err()
            .is_transient()
    );
    server.stop().await;
}

#[tokio::test]
async fn an_answer_that_makes_no_sense_is_called_broken() {
    let server = Running::plain().await;
    let client = Client::new(ClientSettings {
        answer_limit: 100,
        ..ClientSettings::new(&server.url)
    })
    .unwrap();
    for path in ["/text", "/big"] {
        let error = client.get_json::<Value>(path).await.unwrap_err();
        assert!(matches!(error, ClientError::Broken { .. }), "{error:?}");
    }
    server.stop().await;
}

#[tokio::test]
async fn a_port_in_use_is_named() {
    let server = Running::plain().await;
    let error = Server::bind(server.addr, None).await.unwrap_err();
    assert!(matches!(error, BindError::PortInUse { .. }));
    assert!(
        error.to_string().contains(&server.addr.to_string()),
        "{error}"
    );
    server.stop().await;
}

#[tokio::test]
async fn plain_http_stays_on_the_loopback() {
    let error = Server::bind("0.0.0.0:0".parse().unwrap(), None)
        .await
        .unwrap_err();
    assert!(matches!(error, BindError::PlainHttpBeyondLoopback { .. }));
    assert!(error.to_string().contains("mainspring certs"), "{error}");
    for (url, wanted) in [
        ("http://example.com:4444", "loopback"),
        ("https://example.com", "CA"),
        ("ftp://localhost", "scheme"),
        ("localhost:4444", "expected https"),
        ("http://me:secret@localhost", "credentials"),
    ] {
        let error = Client::new(ClientSettings::new(url))
            .unwrap_err()
            .to_string();
        assert!(error.contains(wanted), "{error}");
    }
}

#[tokio::test]
async fn a_router_without_server_answers_too() {
    use hyper::service::Service;
    let service = hyper_util::service::TowerToHyperService::new(routes());
    let answer: Result<Response, Infallible> = service
        .call(
            Request::get("/who")
                .body(axum::body::Body::empty())
                .unwrap(),
        )
        .await;
    assert_eq!(
        answer.unwrap().status(),
        StatusCode::BAD_REQUEST,
        "no peer without a connection"
    );
}

#[tokio::test]
async fn a_path_that_is_too_long_is_refused_with_its_length_and_without_all_of_it() {
    let server = Running::plain().await;
    let path = format!("/{}", "x".repeat(120_000));
    let error = server.client().get_bytes(&path).await.unwrap_err();
    let text = error.to_string();
    assert!(matches!(error, ClientError::Misused { .. }), "{text}");
    assert!(text.contains("has 120001 bytes"), "{text}");
    assert!(text.len() < 400, "{} bytes", text.len());
}
