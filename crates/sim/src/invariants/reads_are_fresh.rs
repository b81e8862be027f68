//! Whoever answers or acts as the active member knows everything that was ever committed: a deposed one says and does nothing (S52).

use super::{Checked, Violation};
use crate::kernel::Kernel;
use crate::node::Node;
use crate::seat::Cluster;
use ::node::Machine;

const NAME: &str = "reads_are_fresh";

/// A member is about to answer, or to send something to where it has effect.
pub fn check<M: Machine>(k: &Kernel, cluster: Cluster, node: &Node<M>) -> Checked {
    let newest = k.committed.get(&cluster).copied().unwrap_or_default();
    let knows = node
        .seat
        .member
        .as_ref()
        .map_or(0, crate::pair::Member::commit);
    if knows >= newest {
        return Ok(());
    }
    Err(Violation::new(
        NAME,
        format!(
            "{} answers from entry {knows} of log {cluster}, but {newest} is committed",
            node.place
        ),
    ))
}
