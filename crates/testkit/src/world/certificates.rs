//! Certificates for a world: a CA and what it has signed.

use std::path::Path;

use anyhow::Result;
use net::Role;

/// Makes a CA and certificates for these names on the loopback: `<name>.pem`, `<name>.key` and `ca.pem` in `folder`.
pub fn make_certificates(folder: &Path, names: &[(&str, Role)]) -> Result<()> {
    let ca = folder.join("ca");
    net::create_ca(&ca, "Testkit CA")?;
    let addresses = ["127.0.0.1".to_owned(), "localhost".to_owned()];
    for (name, role) in names {
        net::issue(&ca, name, *role, &addresses, folder)?;
    }
    Ok(())
}
