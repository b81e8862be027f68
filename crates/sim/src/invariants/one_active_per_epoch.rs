//! No two members of a pair are elected in one epoch, and epochs only rise (S127).

use super::{Checked, Violation};
use crate::place::Place;
use crate::seat::Cluster;
use std::collections::BTreeMap;

const NAME: &str = "one_active_per_epoch";

/// A member has been elected.
pub fn check(epochs: &BTreeMap<u64, Place>, cluster: Cluster, term: u64, place: Place) -> Checked {
    match epochs.get(&term) {
        Some(other) if *other != place => Err(Violation::new(
            NAME,
            format!("log {cluster}: {place} is elected in epoch {term}, and so was {other}"),
        )),
        Some(_) | None => Ok(()),
    }
}
