//! A small private CA, for those who have none: one certificate for the CA, one for each node and user.
//!
//! Always: a key is readable by its owner only, and no file is ever overwritten. The common name is the node's name, the organisational unit
//! its role. Never here: revocation; issue short, and replace the CA if a key got lost.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use time::{Duration, OffsetDateTime};

use crate::peer::Role;

const CA_VALIDITY: Duration = Duration::days(3650);
const NODE_VALIDITY: Duration = Duration::days(825);
/// Clocks differ: a certificate made just now must be good on a host whose clock is behind.
const CLOCK_MARGIN: Duration = Duration::hours(1);
const CA_CERTIFICATE: &str = "ca.pem";
const CA_KEY: &str = "ca.key";

/// Why a certificate could not be made.
#[derive(Debug, thiserror::Error)]
pub enum CertsError {
    /// There is one already.
    #[error("cannot write {}: it exists, and nothing is overwritten; move it away first", path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// A file cannot be read or written.
    #[error("cannot {what} {}", path.display())]
    File {
        /// read or write
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The folder holds no CA of ours.
    #[error("cannot use the CA in {}: {what}", path.display())]
    BadCa {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// A name that cannot be a file's and a certificate's.
    #[error("cannot make a certificate for {name:?}: {what}")]
    BadName {
        /// The name.
        name: String,
        /// What is wrong.
        what: String,
    },
}

/// The files of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Issued {
    /// The CA's certificate, beside the node's own so that the folder is complete.
    pub ca: PathBuf,
    /// The node's certificate.
    pub certificate: PathBuf,
    /// The node's key.
    pub key: PathBuf,
}

/// Makes a CA: `ca.pem` to give to everybody, `ca.key` to lock away.
pub fn create_ca(dir: &Path, name: &str) -> Result<(), CertsError> {
    let (certificate_path, key_path) = (dir.join(CA_CERTIFICATE), dir.join(CA_KEY));
    refuse_existing(&[&certificate_path, &key_path])?;
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![
        KeyUsagePurpose::KeyCertSign,
        KeyUsagePurpose::CrlSign,
        KeyUsagePurpose::DigitalSignature,
    ];
    set_validity(&mut params, CA_VALIDITY);
    let key = KeyPair::generate().map_err(|error| bad_name(name, &error))?;
    let certificate = params
        .self_signed(&key)
        .map_err(|error| bad_name(name, &error))?;
    std::fs::create_dir_all(dir).map_err(|source| CertsError::File {
        what: "create",
        path: dir.to_owned(),
        source,
    })?;
    write_new(&key_path, &key.serialize_pem(), 0o600)?;
    write_new(&certificate_path, &certificate.pem(), 0o644)
}

/// Makes a node's certificate for these DNS names and IP addresses: `<name>.pem`, `<name>.key` and a copy of `ca.pem`.
pub fn issue(
    ca_dir: &Path,
    name: &str,
    role: Role,
    addresses: &[String],
    out_dir: &Path,
) -> Result<Issued, CertsError> {
    issue_for(ca_dir, name, role, addresses, out_dir, NODE_VALIDITY)
}

/// As `issue`, for a given time from now; a negative one gives a certificate that has expired.
pub(crate) fn issue_for(
    ca_dir: &Path,
    name: &str,
    role: Role,
    addresses: &[String],
    out_dir: &Path,
    validity: Duration,
) -> Result<Issued, CertsError> {
    check_name(name)?;
    let issued = Issued {
        ca: out_dir.join(CA_CERTIFICATE),
        certificate: out_dir.join(format!("{name}.pem")),
        key: out_dir.join(format!("{name}.key")),
    };
    refuse_existing(&[&issued.certificate, &issued.key])?;
    let ca_path = ca_dir.join(CA_CERTIFICATE);
    let ca_text = read(&ca_path)?;
    let issuer = load_issuer(ca_dir, &ca_path, &ca_text)?;

    let mut params = CertificateParams::new(addresses)
        .map_err(|error| bad_name(&addresses.join(", "), &error))?;
    params.distinguished_name.push(DnType::CommonName, name);
    params
        .distinguished_name
        .push(DnType::OrganizationalUnitName, role.name());
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![
        ExtendedKeyUsagePurpose::ServerAuth,
        ExtendedKeyUsagePurpose::ClientAuth,
    ];
    params.use_authority_key_identifier_extension = true;
    set_validity(&mut params, validity);
    let key = KeyPair::generate().map_err(|error| bad_name(name, &error))?;
    let certificate = params
        .signed_by(&key, &issuer)
        .map_err(|error| bad_name(name, &error))?;

    std::fs::create_dir_all(out_dir).map_err(|source| CertsError::File {
        what: "create",
        path: out_dir.to_owned(),
        source,
    })?;
    if !issued.ca.exists() {
        write_new(&issued.ca, &ca_text, 0o644)?;
    } else if read(&issued.ca)? != ca_text {
        return Err(CertsError::BadCa {
            path: issued.ca,
            what: format!("it is another one than {}", ca_path.display()),
        });
    }
    write_new(&issued.key, &key.serialize_pem(), 0o600)?;
    write_new(&issued.certificate, &certificate.pem(), 0o644)?;
    Ok(issued)
}

fn load_issuer(
    ca_dir: &Path,
    ca_path: &Path,
    ca_text: &str,
) -> Result<Issuer<'static, KeyPair>, CertsError> {
    let key_path = ca_dir.join(CA_KEY);
    let key = KeyPair::from_pem(&read(&key_path)?).map_err(|error| CertsError::BadCa {
        path: key_path,
        what: format!("not a private key in PEM: {error}"),
    })?;
    Issuer::from_ca_cert_pem(ca_text, key).map_err(|error| CertsError::BadCa {
        path: ca_path.to_owned(),
        what: format!("not a certificate in PEM: {error}"),
    })
}

fn check_name(name: &str) -> Result<(), CertsError> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if name.is_empty() || name.starts_with('.') || name == "ca" || !name.chars().all(is_plain) {
        return Err(CertsError::BadName {
            name: name.to_owned(),
            what: "use letters, digits, - _ and ., and another name than ca".to_owned(),
        });
    }
    Ok(())
}

fn set_validity(params: &mut CertificateParams, validity: Duration) {
    let now = OffsetDateTime::now_utc();
    params.not_after = now + validity;
    params.not_before = now.min(params.not_after) - CLOCK_MARGIN;
}

fn bad_name(name: &str, error: &rcgen::Error) -> CertsError {
    CertsError::BadName {
        name: name.to_owned(),
        what: error.to_string(),
    }
}

fn refuse_existing(paths: &[&Path]) -> Result<(), CertsError> {
    match paths.iter().find(|path| path.exists()) {
        Some(path) => Err(CertsError::Exists {
            path: (*path).to_owned(),
        }),
        None => Ok(()),
    }
}

fn read(path: &Path) -> Result<String, CertsError> {
    std::fs::read_to_string(path).map_err(|source| CertsError::File {
        what: "read",
        path: path.to_owned(),
        source,
    })
}

fn write_new(path: &Path, text: &str, mode: u32) -> Result<(), CertsError> {
    let write = || {
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(mode)
            .open(path)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()
    };
    write().map_err(|source| {
        let path = path.to_owned();
        if source.kind() == io::ErrorKind::AlreadyExists {
            CertsError::Exists { path }
        } else {
            CertsError::File {
                what: "write",
                path,
                source,
            }
        }
    })
}
