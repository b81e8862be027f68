//! Who trusts whom, and what each side says when it does not.

use super::*;

#[tokio::test]
async fn with_certificates_on_both_sides_the_server_knows_who_calls() {
    let ca = Ca::new();
    let server = Running::start(
        Some(ca.server(ClientCertificates::Required)),
        Limits::default(),
    )
    .await;
    let client = https(&server.url, ca.client("agent-a", Role::Agent));
    assert_eq!(
        client.get_json::<Value>("/who").await.unwrap(),
        json!({"name": "agent-a", "role": "agent"})
    );
    assert_eq!(
        client
            .post_json::<_, i64>("/sum", &Sum { a: 1, b: 1 })
            .await
            .unwrap(),
        2
    );
    let mut stream = client.get_stream("/event?after=7", PATIENCE).await.unwrap();
    assert_eq!(
        stream.next_line().await.unwrap().unwrap(),
        "{\"eventId\":8}"
    );
    server.stop().await;
}

#[tokio::test]
async fn a_client_without_certificate_is_told_that_it_needs_one_or_let_in_unnamed() {
    let ca = Ca::new();
    let server = Running::start(
        Some(ca.server(ClientCertificates::Required)),
        Limits::default(),
    )
    .await;
    let text = distrust(&https(&server.url, ca.stranger())).await;
    assert!(text.contains("demands a client certificate"), "{text}");
    server.stop().await;

    let ca = Ca::new();
    let server = Running::start(
        Some(ca.server(ClientCertificates::Optional)),
        Limits::default(),
    )
    .await;
    let who = https(&server.url, ca.stranger())
        .get_json::<Value>("/who")
        .await
        .unwrap();
    assert_eq!(who, json!({"name": null, "role": null}));
    server.stop().await;
}

#[tokio::test]
async fn certificates_of_a_foreign_ca_are_refused_by_either_side() {
    foreign_certificates(Ca::named("Ours"), Ca::named("Theirs")).await;
    foreign_certificates(Ca::named("Same name"), Ca::named("Same name")).await;
}

async fn foreign_certificates(ours: Ca, theirs: Ca) {
    let server = Running::start(
        Some(ours.server(ClientCertificates::Optional)),
        Limits::default(),
    )
    .await;
    let text = distrust(&https(&server.url, theirs.client("agent-a", Role::Agent))).await;
    assert!(text.contains("not signed by our CA"), "{text}");

    // A client that trusts us, but comes with a certificate of somebody else.
    let mut mixed = theirs.issue("agent-b", Role::Agent, "127.0.0.1");
    mixed.ca = ours.0.path().join("ca.pem");
    let text = distrust(&https(&server.url, unchecked(&mixed))).await;
    assert!(
        text.contains("it refuses our certificate: not signed by its CA"),
        "{text}"
    );
    server.stop().await;
}

#[tokio::test]
async fn an_expired_certificate_is_refused_at_start_and_by_the_peer() {
    let ca = Ca::new();
    let dir = ca.0.path().join("old");
    let old = files(
        &issue_for(
            ca.0.path(),
            "old",
            Role::Agent,
            &[],
            &dir,
            time::Duration::days(-1),
        )
        .unwrap(),
    );
    let error = TlsClient::load(&old).unwrap_err();
    assert!(matches!(error, TlsError::OutOfDate { .. }));
    assert!(error.to_string().contains("old.pem"), "{error}");

    let server = Running::start(
        Some(ca.server(ClientCertificates::Required)),
        Limits::default(),
    )
    .await;
    let text = distrust(&https(&server.url, unchecked(&old))).await;
    assert!(
        text.contains("it refuses our certificate: expired"),
        "{text}"
    );
    server.stop().await;
}

#[tokio::test]
async fn a_server_under_another_name_is_not_trusted() {
    let ca = Ca::new();
    let elsewhere = TlsServer::load(
        &ca.issue("b", Role::Controller, "other.example"),
        ClientCertificates::Optional,
    )
    .unwrap();
    let server = Running::start(Some(elsewhere), Limits::default()).await;
    let text = distrust(&https(&server.url, ca.stranger())).await;
    assert!(
        text.contains("its certificate is for") && text.contains("other.example"),
        "{text}"
    );
    server.stop().await;
}

#[tokio::test]
async fn tls_and_plain_http_do_not_understand_each_other_and_say_so() {
    let ca = Ca::new();
    let plain = Running::plain().await;
    let text = distrust(&https(&format!("https://{}", plain.addr), ca.stranger())).await;
    assert!(text.contains("does not speak TLS"), "{text}");
    plain.stop().await;

    let tls = Running::start(
        Some(ca.server(ClientCertificates::Optional)),
        Limits::default(),
    )
    .await;
    let client = Client::new(ClientSettings::new(format!("http://{}", tls.addr))).unwrap();
    assert!(client.get_json::<Value>("/who").await.is_err());
    tls.stop().await;
}

/// Loads a pair as a client without the checks at start, as an older or foreign client would.
fn unchecked(files: &TlsFiles) -> TlsClient {
    use rustls::pki_types::pem::PemObject;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer};
    let files = files.clone();
    let load = move || {
        let mut roots = rustls::RootCertStore::empty();
        roots
            .add(CertificateDer::from_pem_file(&files.ca).unwrap())
            .unwrap();
        let chain = vec![CertificateDer::from_pem_file(&files.certificate).unwrap()];
        let key = PrivateKeyDer::from_pem_file(&files.key).unwrap();
        let config = rustls::ClientConfig::builder()
            .with_root_certificates(roots)
            .with_client_auth_cert(chain, key)
            .unwrap();
        Ok(crate::validity::Loaded {
            config,
            certificates: Vec::new(),
        })
    };
    TlsClient(crate::validity::CurrentConfig::load(load).unwrap())
}

#[tokio::test]
async fn replaced_certificates_are_used_by_new_connections_and_old_connections_continue() {
    let ca = Ca::new();
    let files = ca.issue("first", Role::Controller, "127.0.0.1");
    let tls = TlsServer::load(&files, ClientCertificates::Required).unwrap();
    let server = Running::start(Some(tls), Limits::default()).await;
    let mine = ca.issue("agent-a", Role::Agent, "127.0.0.1");
    let client = https(&server.url, TlsClient::load(&mine).unwrap());
    let mut stream = client.get_stream("/event?after=7", PATIENCE).await.unwrap();
    stream.next_line().await.unwrap().unwrap();
    let subject_of = |file: &std::path::Path| {
        let mut known = crate::certificates().into_iter();
        known.find(|known| known.file == file).unwrap().subject
    };
    assert!(subject_of(&files.certificate).contains("CN=first"));

    // Only the certificate is replaced. The files do not match, so the old ones stay in use.
    let next = ca.issue("second", Role::Controller, "127.0.0.1");
    std::fs::copy(&next.certificate, &files.certificate).unwrap();
    crate::reload_certificates();
    assert!(subject_of(&files.certificate).contains("CN=first"));
    let renamed = ca.issue("agent-b", Role::Agent, "127.0.0.1");
    let who = https(&server.url, TlsClient::load(&renamed).unwrap());
    let answer = who.get_json::<Value>("/who").await.unwrap();
    assert_eq!(answer["name"], "agent-b");

    // Then the key is replaced, and the client's files, too.
    std::fs::copy(&next.key, &files.key).unwrap();
    std::fs::copy(&renamed.certificate, &mine.certificate).unwrap();
    std::fs::copy(&renamed.key, &mine.key).unwrap();
    crate::reload_certificates();
    assert!(subject_of(&files.certificate).contains("CN=second"));
    stream.next_line().await.unwrap().unwrap();
    let upgraded = client.inner().connect().await;
    assert!(upgraded.is_ok(), "a new connection comes about");
    assert!(subject_of(&mine.certificate).contains("CN=agent-b"));
    server.stop().await;
}

#[test]
fn the_file_and_the_end_of_a_certificate_that_ends_soon_are_known() {
    let ca = Ca::new();
    let dir = ca.0.path().join("soon");
    let issued = issue_for(
        ca.0.path(),
        "soon",
        Role::Agent,
        &[],
        &dir,
        time::Duration::hours(1),
    );
    let files = files(&issued.unwrap());
    let _client = TlsClient::load(&files).unwrap();
    let mut known = crate::certificates().into_iter();
    let soon = known.find(|known| known.file == files.certificate).unwrap();
    let (begins, ends) = (soon.begins, soon.expires);
    assert_eq!(ends - begins, 2 * 3600, "with the margin for clocks");
    assert_eq!(
        soon.validity(ends - 60),
        crate::Validity::EndsSoon { days: 0 }
    );
    assert_eq!(soon.validity(ends + 1), crate::Validity::Over);
}

#[test]
fn files_that_cannot_work_are_refused_with_their_name() {
    let (ca, foreign) = (Ca::new(), Ca::new());
    let good = ca.issue("a", Role::User, "localhost");
    let other = ca.issue("b", Role::User, "localhost");
    let text = ca.0.path().join("words.txt");
    std::fs::write(&text, "just words").unwrap();
    let cases: [(&str, TlsFiles, &str); 6] = [
        (
            "no such file",
            TlsFiles {
                key: "/nowhere/a.key".into(),
                ..good.clone()
            },
            "cannot read /nowhere/a.key",
        ),
        (
            "no certificate",
            TlsFiles {
                certificate: text.clone(),
                ..good.clone()
            },
            "words.txt: it has no PEM section for a certificate",
        ),
        (
            "no key",
            TlsFiles {
                key: text,
                ..good.clone()
            },
            "words.txt: it has no PEM section for a private key",
        ),
        (
            "a key as certificate",
            TlsFiles {
                certificate: good.key.clone(),
                ..good.clone()
            },
            "a.key: it has no PEM section for a certificate",
        ),
        (
            "another's key",
            TlsFiles {
                key: other.key,
                ..good.clone()
            },
            "does not belong to the certificate",
        ),
        (
            "another's CA",
            TlsFiles {
                ca: foreign.0.path().join("ca.pem"),
                ..good.clone()
            },
            "is not signed by the CA in",
        ),
    ];
    for (what, files, wanted) in cases {
        let error = TlsServer::load(&files, ClientCertificates::Required)
            .unwrap_err()
            .to_string();
        assert!(error.contains(wanted), "{what}: {error}");
        assert!(TlsClient::load(&files).is_err(), "{what}");
    }
    TlsServer::load(&good, ClientCertificates::Required).unwrap();
}

#[test]
fn certificates_are_never_overwritten_and_keys_are_private() {
    use std::os::unix::fs::PermissionsExt;
    let ca = Ca::new();
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let files = ca.issue("a", Role::User, "localhost");
    assert_eq!(mode(&files.key), 0o600);
    assert_eq!(mode(&ca.0.path().join("ca.key")), 0o600);
    let before = std::fs::read(&files.key).unwrap();
    let again = issue(ca.0.path(), "a", Role::User, &[], &ca.0.path().join("a"));
    assert!(matches!(again, Err(CertsError::Exists { .. })));
    assert!(matches!(
        create_ca(ca.0.path(), "again"),
        Err(CertsError::Exists { .. })
    ));
    assert_eq!(std::fs::read(&files.key).unwrap(), before);
    for name in ["", "ca", "../a", ".hidden", "a b"] {
        assert!(
            matches!(
                issue(ca.0.path(), name, Role::User, &[], ca.0.path()),
                Err(CertsError::BadName { .. })
            ),
            "{name:?}"
        );
    }
}

#[tokio::test]
async fn plain_http_to_a_port_with_tls_is_answered_with_a_hint_to_https() {
    let ca = Ca::new();
    let server = Running::start(
        Some(ca.server(ClientCertificates::Optional)),
        Limits::default(),
    )
    .await;
    let plain = Client::new(ClientSettings::new(format!("http://{}", server.addr))).unwrap();
    let (status, problem) = refusal(plain.get_json("/who")).await;
    assert_eq!(status, 400);
    assert!(
        problem.is("TlsIsRequired") && problem.message.contains("use https"),
        "{problem:?}"
    );
    server.stop().await;
}
