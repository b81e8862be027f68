//! Adds the network address of a Controller or Director to its identity, for messages to people.

use model::MemberRun;
use net::PeerIdentity;

/// Returns the same run, with the address that its connection comes from, unless the run already names this address. Two hosts may announce
/// the same URL.
pub fn placed(run: &MemberRun, peer: &PeerIdentity) -> MemberRun {
    let from = peer.addr.ip().to_canonical();
    let says_it = from.is_loopback() || run.address.contains(&from.to_string());
    let mut placed = run.clone();
    if !says_it {
        placed.address = format!("{} (connects from {from})", run.address).into();
    }
    placed
}
