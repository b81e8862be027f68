//! Where a Controller or Director is that speaks here, for people.

use model::MemberRun;
use net::PeerIdentity;

/// The same run, with the address that its connection comes from if it does not name that itself. Two hosts may announce the same URL.
pub fn placed(run: &MemberRun, peer: &PeerIdentity) -> MemberRun {
    let from = peer.addr.ip().to_canonical();
    let says_it = from.is_loopback() || run.address.contains(&from.to_string());
    let mut placed = run.clone();
    if !says_it {
        placed.address = format!("{} (connects from {from})", run.address).into();
    }
    placed
}
