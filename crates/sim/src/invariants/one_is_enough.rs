//! One member with the watch, or both members, are enough: while two of a pair's three are well and reach each other somebody is
//! active, unless the member that is left counted as lost before (S101, S127).

use super::{Checked, Violation};
use crate::place::Place;
use crate::world::World;
use cluster::Part;
use std::time::Duration;

const NAME: &str = "one_is_enough";
/// So many heartbeats an election may take in bad weather.
const PATIENCE: u32 = 120;

/// Looks at all pairs.
pub fn check(world: &World) -> Checked {
    let patience = world.setting.timing.heartbeat * PATIENCE;
    for cluster in world.pairs() {
        let is_idle = world.idle_for(cluster) > patience;
        if is_idle && let Some(text) = survivors(world, cluster, patience) {
            return Err(Violation::new(NAME, text));
        }
    }
    Ok(())
}

/// Returns the place of the witness of a pair of Directors. Returns `None` if there is no witness, or if no Controller that `data` reaches
/// has been active for long enough.
fn witness(world: &World, cluster: usize, data: Place, patience: Duration) -> Option<Place> {
    if cluster == 0 || !world.setting.layout.has_witnesses() {
        return None;
    }
    let place = world.controller()?.place;
    let is_there = world.is_well(place, patience) && world.has_been_joined(data, place, patience);
    is_there.then_some(place)
}

/// Two that are well, of which one has every acknowledged entry.
fn survivors(world: &World, cluster: usize, patience: Duration) -> Option<String> {
    let well: Vec<_> = world
        .seats()
        .filter(|seat| seat.cluster == cluster && world.has_been_well(seat, patience))
        .collect();
    for data in well.iter().filter(|seat| seat.disk.kept.part == Part::Data) {
        let Some(member) = &data.member else { continue };
        let number = member.kept.number;
        if world.is_behind(cluster, number)
            || !member
                .kept
                .members()
                .get(&number)
                .is_some_and(|seat| seat.votes)
        {
            continue;
        }
        let reaches = |other: &&&crate::seat::SeatHost| {
            other.place != data.place
                && member
                    .kept
                    .members()
                    .get(&other.disk.kept.number)
                    .is_some_and(|seat| seat.votes)
                && world.has_been_joined(data.place, other.place, patience)
        };
        if let Some(witness) = witness(world, cluster, data.place, patience) {
            return Some(format!(
                "log {cluster}: {} with {:?} is well and reaches its witness at {witness}, and nobody has been active for {:?}",
                data.place,
                member.kept.newest(),
                world.idle_for(cluster)
            ));
        }
        if let Some(other) = well.iter().find(reaches) {
            return Some(format!(
                "log {cluster}: {} with {:?} of {:?} and {} with {:?} are well and reach each other, and nobody has been active for {:?}",
                data.place,
                member.kept.newest(),
                member.kept.members(),
                other.place,
                other.disk.kept.newest(),
                world.idle_for(cluster)
            ));
        }
    }
    None
}
