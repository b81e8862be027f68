//! Certificates for a world: a CA and what it has signed.

use std::net::IpAddr;
use std::path::Path;

use anyhow::Result;
use net::Role;

/// Makes a CA and certificates for these names on the loopback: `<name>.pem`, `<name>.key` and `ca.pem` in `folder`.
pub fn make_certificates(folder: &Path, names: &[(&str, Role)]) -> Result<()> {
    let addresses = ["127.0.0.1".to_owned(), "localhost".to_owned()];
    let named = names
        .iter()
        .map(|(name, role)| (*name, *role, addresses.as_slice()));
    make(folder, named)
}

/// The same for names that have an address each.
pub fn make_certificates_of_hosts(folder: &Path, hosts: &[(&str, Role, IpAddr)]) -> Result<()> {
    let addresses: Vec<_> = hosts
        .iter()
        .map(|(_, _, address)| [address.to_string()])
        .collect();
    let named = hosts.iter().zip(&addresses);
    make(
        folder,
        named.map(|((name, role, _), addresses)| (*name, *role, addresses.as_slice())),
    )
}

fn make<'a>(
    folder: &Path,
    names: impl Iterator<Item = (&'a str, Role, &'a [String])>,
) -> Result<()> {
    let ca = folder.join("ca");
    net::create_ca(&ca, "Testkit CA")?;
    for (name, role, addresses) in names {
        net::issue(&ca, name, role, addresses, folder)?;
    }
    Ok(())
}

/// The arguments by which a node speaks TLS with the certificate `<name>.pem` in `folder`.
pub fn certified(folder: &Path, name: &str) -> Vec<String> {
    let file = |name: &str| folder.join(name).display().to_string();
    let [ca, certificate, key] =
        ["ca.pem", &format!("{name}.pem"), &format!("{name}.key")].map(file);
    ["--ca", &ca, "--certificate", &certificate, "--key", &key]
        .map(str::to_owned)
        .to_vec()
}
