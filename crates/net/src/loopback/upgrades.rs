//! Connections that go on in a language of their own.

use super::*;

#[tokio::test]
async fn a_connection_goes_on_in_its_own_language_over_tls_and_plain() {
    let ca = Ca::new();
    let tls = Running::start(
        Some(ca.server(ClientCertificates::Optional)),
        Limits::default(),
    )
    .await;
    let mut settings = ClientSettings::new(&tls.url);
    settings.tls = Some(ca.client("a", Role::Controller));
    let plain = Running::plain().await;
    for client in [Client::new(settings).unwrap(), plain.client()] {
        let mut stream = client.upgrade("/talk", "echo").await.unwrap();
        stream.write_all(b"hello").await.unwrap();
        let mut back = [0; 5];
        timeout(PATIENCE, stream.read_exact(&mut back))
            .await
            .unwrap()
            .unwrap();
        assert_eq!(&back, b"hello");
        let refused = client.upgrade("/talk", "chess").await;
        let problem = refused.expect_err("another language").to_string();
        assert!(problem.contains("speaks echo only"), "{problem}");
    }
}
