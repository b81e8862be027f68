//! Visits every state that a small cluster can reach, nearest first, and looks at each.
//!
//! Always: a state is remembered by 64 bits of its hash and those of the state before it, so that ten million take a few hundred
//! megabytes; the chance that two of ten million share a hash is about one in a hundred thousand. What is wrong is told with the
//! shortest way there.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::{BuildHasherDefault, Hash, Hasher};

use crate::world::{Setup, Step, World};

/// Folds numbers into 64 bits, well and fast.
struct Fold(u64);

impl Fold {
    #[expect(clippy::cast_possible_truncation, reason = "the halves of a product")]
    fn take(&mut self, number: u64) {
        let wide = u128::from(self.0 ^ number) * 0x9e37_79b9_7f4a_7c15;
        let (high, low) = ((wide >> 64) as u64, wide as u64);
        // The first factor alone would map nought to nought.
        self.0 = (high ^ low)
            .rotate_left(29)
            .wrapping_add(0xd6e8_feb8_6659_fd93);
    }
}

impl Hasher for Fold {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.take(u64::from(*byte));
        }
    }
    fn write_u8(&mut self, number: u8) {
        self.take(u64::from(number));
    }
    fn write_usize(&mut self, number: usize) {
        self.take(number as u64);
    }
    fn write_isize(&mut self, number: isize) {
        self.take(number.cast_unsigned() as u64);
    }
}

/// A hash is its own hash.
#[derive(Default)]
pub(crate) struct Same(u64);

impl Hasher for Same {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }
    fn write_u64(&mut self, number: u64) {
        self.0 = number;
    }
}

type Seen = HashMap<u64, u64, BuildHasherDefault<Same>>;

/// What was seen when nothing was wrong.
#[derive(Debug)]
pub(crate) struct Visited {
    pub(crate) states: usize,
    /// Steps on the shortest way to the farthest of them.
    pub(crate) depth: usize,
    /// States in which a member may answer as the active one.
    pub(crate) answering: usize,
    /// States in which something was acknowledged under a second leader.
    pub(crate) followed: usize,
    /// Nothing was left unvisited.
    pub(crate) is_complete: bool,
}

/// What is wrong, and the shortest way to it.
#[derive(Debug)]
pub(crate) struct Wrong {
    pub(crate) what: String,
    pub(crate) way: Vec<Step>,
}

impl std::fmt::Display for Wrong {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "{}; the shortest way there:", self.what)?;
        for step in &self.way {
            writeln!(f, "  {step:?}")?;
        }
        Ok(())
    }
}

fn hash_of(world: &World) -> u64 {
    let mut hasher = Fold(0x5851_f42d_4c95_7f2d);
    world.hash(&mut hasher);
    hasher.finish()
}

/// Visits at most `states_max` states.
pub(crate) fn visit(setup: &Setup, states_max: usize) -> Result<Visited, Wrong> {
    let first = World::new(setup);
    let mut seen = Seen::default();
    seen.insert(hash_of(&first), 0);
    let mut visited = Visited {
        states: 1,
        depth: 0,
        answering: 0,
        followed: 0,
        is_complete: true,
    };
    let mut level = vec![first];
    let mut steps = Vec::new();
    while !level.is_empty() {
        let mut next_level = Vec::new();
        for world in &level {
            let from = hash_of(world);
            world.steps(setup, &mut steps);
            for step in &steps {
                let wrong = |what: String| {
                    let mut way = way_to(setup, &seen, from);
                    way.push(*step);
                    Wrong { what, way }
                };
                let next = world.after(setup, *step).map_err(wrong)?;
                let hash = hash_of(&next);
                if seen.contains_key(&hash) {
                    continue;
                }
                look_at(setup, &next, &mut visited).map_err(wrong)?;
                if visited.states >= states_max {
                    visited.is_complete = false;
                    return Ok(visited);
                }
                if let Entry::Vacant(place) = seen.entry(hash) {
                    place.insert(from);
                }
                visited.states += 1;
                next_level.push(next);
            }
        }
        level = next_level;
        visited.depth += usize::from(!level.is_empty());
    }
    Ok(visited)
}

fn look_at(setup: &Setup, world: &World, visited: &mut Visited) -> Result<(), String> {
    world.check(setup)?;
    for survivors in world.survivors(setup) {
        if !world.can_go_on(setup, survivors)? {
            return Err(format!(
                "the members {survivors:#06b} cannot go on without the others"
            ));
        }
    }
    let may_answer = (0..world.members.len()).any(|member| world.may_answer(setup, member));
    visited.answering += usize::from(may_answer);
    let terms = world.acknowledged.entries();
    let has_followed = terms.windows(2).any(|two| two[0].term != two[1].term);
    visited.followed += usize::from(has_followed);
    Ok(())
}

/// The steps from the beginning to the state with this hash.
fn way_to(setup: &Setup, seen: &Seen, hash: u64) -> Vec<Step> {
    let mut hashes = vec![hash];
    while let Some(before) = hashes.last().and_then(|hash| seen.get(hash))
        && *before != 0
    {
        hashes.push(*before);
    }
    let mut world = World::new(setup);
    let mut way = Vec::new();
    let mut steps = Vec::new();
    for hash in hashes.into_iter().rev().skip(1) {
        world.steps(setup, &mut steps);
        let found = steps.iter().find_map(|step| {
            let next = world.after(setup, *step).ok()?;
            (hash_of(&next) == hash).then_some((*step, next))
        });
        let Some((step, next)) = found else {
            return way;
        };
        way.push(step);
        world = next;
    }
    way
}
