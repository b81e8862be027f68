//! R9: every reachable state of a small cluster, as many as there are or as are asked for. What `tests/every_state` does in
//! seconds, in a greater world.
//!
//! `cargo run --release -p cluster --example every_state -- [STATES [TERMS ENTRIES MESSAGES CRASHES]]`
#![expect(clippy::print_stdout, reason = "a program for people")]
#![expect(dead_code, reason = "the tests use all of it")]

#[path = "../tests/every_state/going_on.rs"]
mod going_on;
#[path = "../tests/every_state/member.rs"]
mod member;
#[path = "../tests/every_state/receives.rs"]
mod receives;
#[path = "../tests/every_state/search.rs"]
mod search;
#[path = "../tests/every_state/steps.rs"]
mod steps;
#[path = "../tests/every_state/world.rs"]
mod world;

use std::time::Instant;

use search::visit;
use world::Setup;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut numbers = Vec::new();
    for argument in std::env::args().skip(1) {
        numbers.push(argument.parse::<usize>()?);
    }
    let number = |at: usize, otherwise: usize| numbers.get(at).copied().unwrap_or(otherwise);
    let small = |at: usize, otherwise: usize| u8::try_from(number(at, otherwise));
    let pair = Setup {
        has_watch: true,
        is_witness: false,
        terms: small(1, 3)?,
        entries: small(2, 2)?,
        messages: number(3, 3),
        crashes: small(4, 2)?,
        wipes: false,
        hand_overs: true,
        doubles: true,
        broken: None,
    };
    let worlds = [
        ("two members and a watch", pair),
        (
            "two members and a witness",
            Setup {
                is_witness: true,
                ..pair
            },
        ),
        (
            "two members and a watch, and one loses its disk",
            Setup {
                wipes: true,
                ..pair
            },
        ),
        (
            "three members",
            Setup {
                has_watch: false,
                ..pair
            },
        ),
    ];
    for (name, setup) in worlds {
        let begun = Instant::now();
        let visited = visit(&setup, number(0, 4_000_000)).map_err(|wrong| wrong.to_string())?;
        println!("{name}: {visited:?} in {:.0?}", begun.elapsed());
    }
    Ok(())
}
