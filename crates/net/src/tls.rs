//! TLS from files: a private CA, an own certificate chain and its key.
//!
//! Always: only the private CA is trusted, never the host's store; a set of files that cannot work is refused at start with the
//! file's name. Never here: making certificates. See `certs`.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use serde::{Deserialize, Serialize};
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::validity::{Certificate, CurrentConfig, Loaded, now};

/// The PEM files of one node.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct TlsFiles {
    /// Certificate of the private CA.
    pub ca: PathBuf,
    /// Own certificate, followed by intermediate ones if there are any.
    pub certificate: PathBuf,
    /// Private key of the own certificate.
    pub key: PathBuf,
}

/// Whether a client must show a certificate. One that is shown must be good in any case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientCertificates {
    /// No certificate, no connection: between components.
    Required,
    /// People may come with a password or token instead.
    Optional,
}

/// What a server needs to speak TLS.
#[derive(Clone)]
pub struct TlsServer(pub(crate) Arc<CurrentConfig<ServerConfig>>);

/// What a client needs to speak TLS.
#[derive(Clone)]
pub struct TlsClient(pub(crate) Arc<CurrentConfig<ClientConfig>>);

impl std::fmt::Debug for TlsServer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TlsServer")
    }
}

impl std::fmt::Debug for TlsClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TlsClient")
    }
}

/// Why TLS cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The file cannot be read at all.
    #[error("cannot read {}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file has no such PEM section.
    #[error("cannot use {}: it has no PEM section for a {wanted}; expected a text with -----BEGIN …-----", path.display())]
    NotPem {
        /// The file.
        path: PathBuf,
        /// What was looked for.
        wanted: &'static str,
    },
    /// The PEM section holds something else.
    #[error("cannot use {}: {what}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// Its time is over or has not come.
    #[error("cannot use {}: the certificate is valid only from {from} until {until}; issue a new one (mainspring certs)", path.display())]
    OutOfDate {
        /// The file.
        path: PathBuf,
        /// Begin of validity.
        from: String,
        /// End of validity.
        until: String,
    },
    /// Key and certificate come from different pairs.
    #[error("cannot use {}: the key does not belong to the certificate in {}", key.display(), certificate.display())]
    KeyDoesNotMatch {
        /// The key file.
        key: PathBuf,
        /// The certificate file.
        certificate: PathBuf,
    },
    /// The own certificate would be refused by every peer.
    #[error("cannot use {}: it is not signed by the CA in {}", certificate.display(), ca.display())]
    NotOfThisCa {
        /// The certificate file.
        certificate: PathBuf,
        /// The CA file.
        ca: PathBuf,
    },
}

impl TlsError {
    /// Returns whether the files are wrong and a restart does not help. A missing file may appear later, and a certificate may become
    /// valid.
    pub fn is_misuse(&self) -> bool {
        match self {
            TlsError::NotPem { .. }
            | TlsError::Damaged { .. }
            | TlsError::KeyDoesNotMatch { .. }
            | TlsError::NotOfThisCa { .. } => true,
            TlsError::Unreadable { .. } | TlsError::OutOfDate { .. } => false,
        }
    }
}

impl TlsServer {
    /// Reads a server's files and checks that they match. [`crate::reload_certificates`] reads them again.
    pub fn load(files: &TlsFiles, clients: ClientCertificates) -> Result<TlsServer, TlsError> {
        install_provider();
        let files = files.clone();
        CurrentConfig::load(move || TlsServer::read(&files, clients)).map(TlsServer)
    }

    fn read(
        files: &TlsFiles,
        clients: ClientCertificates,
    ) -> Result<Loaded<ServerConfig>, TlsError> {
        let own = Own::load(files)?;
        let roots = Arc::new(load_roots(&files.ca)?);
        let verifier = match clients {
            ClientCertificates::Required => WebPkiClientVerifier::builder(roots),
            ClientCertificates::Optional => {
                WebPkiClientVerifier::builder(roots).allow_unauthenticated()
            }
        };
        let verifier = verifier.build().map_err(|error| TlsError::Damaged {
            path: files.ca.clone(),
            what: error.to_string(),
        })?;
        let mut config = ServerConfig::builder()
            .with_client_cert_verifier(verifier)
            .with_single_cert(own.chain, own.key)
            .map_err(|error| unusable_pair(files, &error))?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Loaded {
            config,
            certificates: own.certificates,
        })
    }
}

impl TlsClient {
    /// Trusts the CA and presents the certificate. [`crate::reload_certificates`] reads the files again.
    pub fn load(files: &TlsFiles) -> Result<TlsClient, TlsError> {
        install_provider();
        let files = files.clone();
        let read = move || {
            let own = Own::load(&files)?;
            let config = ClientConfig::builder()
                .with_root_certificates(load_roots(&files.ca)?)
                .with_client_auth_cert(own.chain, own.key)
                .map_err(|error| unusable_pair(&files, &error))?;
            Ok(Loaded {
                config: speaking_http(config),
                certificates: own.certificates,
            })
        };
        CurrentConfig::load(read).map(TlsClient)
    }

    /// Trusts the CA and presents nothing: for people with a password or token.
    pub fn load_ca(ca: &Path) -> Result<TlsClient, TlsError> {
        install_provider();
        let ca = ca.to_owned();
        let read = move || {
            let config = ClientConfig::builder()
                .with_root_certificates(load_roots(&ca)?)
                .with_no_client_auth();
            Ok(Loaded {
                config: speaking_http(config),
                certificates: described(&ca, &load_certificates(&ca)?)?,
            })
        };
        CurrentConfig::load(read).map(TlsClient)
    }
}

fn speaking_http(mut config: ClientConfig) -> ClientConfig {
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    config
}

/// Cryptography comes from aws-lc, whatever else another crate might switch on.
fn install_provider() {
    if rustls::crypto::CryptoProvider::get_default().is_none() {
        // A second caller at the same moment installs the same provider: losing the race is as good as winning it.
        let _lost_race = rustls::crypto::aws_lc_rs::default_provider().install_default();
    }
}

struct Own {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    /// The certificates of the node and of the CA.
    certificates: Vec<Certificate>,
}

impl Own {
    fn load(files: &TlsFiles) -> Result<Own, TlsError> {
        let chain = load_certificates(&files.certificate)?;
        let cas = load_certificates(&files.ca)?;
        let key = PrivateKeyDer::from_pem_slice(&read(&files.key)?)
            .map_err(|error| pem_error(&files.key, "private key", &error))?;
        check_issuer(files, &chain, &cas)?;
        let mut certificates = described(&files.certificate, &chain)?;
        certificates.extend(described(&files.ca, &cas)?);
        Ok(Own {
            chain,
            key,
            certificates,
        })
    }
}

fn load_roots(path: &Path) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in load_certificates(path)? {
        roots.add(certificate).map_err(|error| TlsError::Damaged {
            path: path.to_owned(),
            what: error.to_string(),
        })?;
    }
    Ok(roots)
}

/// All certificates of a file; each one can be read and is valid today.
fn load_certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let bytes = read(path)?;
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    let certificates = certificates.map_err(|error| pem_error(path, "certificate", &error))?;
    if certificates.is_empty() {
        return Err(TlsError::NotPem {
            path: path.to_owned(),
            wanted: "certificate",
        });
    }
    for certificate in &certificates {
        check_validity(path, certificate)?;
    }
    Ok(certificates)
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    std::fs::read(path).map_err(|source| TlsError::Unreadable {
        path: path.to_owned(),
        source,
    })
}

/// Describes the certificates in a file.
fn described(
    path: &Path,
    certificates: &[CertificateDer<'_>],
) -> Result<Vec<Certificate>, TlsError> {
    let describe = |certificate| Ok(Certificate::of(path, &parse(path, certificate)?));
    certificates
        .iter()
        .map(|certificate| describe(certificate))
        .collect()
}

fn check_validity(path: &Path, certificate: &[u8]) -> Result<(), TlsError> {
    let certificate = parse(path, certificate)?;
    let validity = certificate.validity();
    if (validity.not_before.timestamp()..=validity.not_after.timestamp()).contains(&now()) {
        return Ok(());
    }
    Err(TlsError::OutOfDate {
        path: path.to_owned(),
        from: validity.not_before.to_string(),
        until: validity.not_after.to_string(),
    })
}

/// The last certificate of the chain must be signed by one of the CA's.
fn check_issuer(
    files: &TlsFiles,
    chain: &[CertificateDer<'_>],
    cas: &[CertificateDer<'_>],
) -> Result<(), TlsError> {
    let last = parse(
        &files.certificate,
        chain.last().expect("a chain is never empty"),
    )?;
    for ca in cas {
        let ca = parse(&files.ca, ca)?;
        if last.issuer() == ca.subject() && last.verify_signature(Some(ca.public_key())).is_ok() {
            return Ok(());
        }
    }
    Err(TlsError::NotOfThisCa {
        certificate: files.certificate.clone(),
        ca: files.ca.clone(),
    })
}

fn parse<'a>(path: &Path, certificate: &'a [u8]) -> Result<X509Certificate<'a>, TlsError> {
    match X509Certificate::from_der(certificate) {
        Ok((_, certificate)) => Ok(certificate),
        Err(error) => Err(TlsError::Damaged {
            path: path.to_owned(),
            what: format!("not an X.509 certificate: {error}"),
        }),
    }
}

fn pem_error(path: &Path, wanted: &'static str, error: &pem::Error) -> TlsError {
    let path = path.to_owned();
    if matches!(error, pem::Error::NoItemsFound) {
        TlsError::NotPem { path, wanted }
    } else {
        TlsError::Damaged {
            path,
            what: error.to_string(),
        }
    }
}

fn unusable_pair(files: &TlsFiles, error: &rustls::Error) -> TlsError {
    if matches!(error, rustls::Error::InconsistentKeys(_)) {
        TlsError::KeyDoesNotMatch {
            key: files.key.clone(),
            certificate: files.certificate.clone(),
        }
    } else {
        TlsError::Damaged {
            path: files.certificate.clone(),
            what: error.to_string(),
        }
    }
}
