//! Random worlds hold, whatever breaks in them; a failing seed names the command that repeats it.

use sim::sweep::all_hold;
use sim::{Counts, Fault, seeds};

/// Small enough for every change; `cargo xtask sim --seeds N` runs more.
const SEEDS: u64 = 200;
const HOURS: f64 = 0.4;
const THREADS: usize = 2;

#[test]
fn r1_hundreds_of_worlds_keep_every_invariant_and_meet_every_fault() {
    let world = |seed| {
        let verdict = seeds::run(seed, HOURS, false);
        let failure = verdict
            .failure
            .map(|failure| format!("{failure} --hours {HOURS}"));
        (verdict.counts, failure)
    };
    let counts = all_hold(1..=SEEDS, THREADS, world).unwrap_or_else(|why| panic!("{why}"));
    let of_all = Fault::ALL
        .iter()
        .filter(|fault| !Fault::OF_PAIRS.contains(fault));
    let missing = counts.missing(of_all);
    assert!(
        missing.is_empty(),
        "R2: faults that never happened, so nothing was proved about them: {missing:?}"
    );
}

#[test]
fn r1_the_same_seed_gives_the_same_world_and_another_one_another() {
    let hash = |seed| seeds::run(seed, HOURS, false).hash;
    assert_eq!(hash(7), hash(7));
    assert_ne!(hash(7), hash(8));
}

#[test]
fn r2_a_long_run_names_the_fault_that_never_happened_and_a_short_one_cannot_say() {
    let mut counts = Counts::default();
    let others = Fault::ALL
        .iter()
        .filter(|fault| !matches!(fault, Fault::FullDisk | Fault::WatchWiped));
    others.for_each(|fault| counts.count(*fault));
    let (full, wiped) = (Fault::FullDisk.to_string(), Fault::WatchWiped.to_string());
    assert!(counts.missing_after(1.0, true).is_empty());
    assert_eq!(
        counts.missing_after(30.0, true),
        *std::slice::from_ref(&wiped)
    );
    assert_eq!(counts.missing_after(300.0, true), [full.clone(), wiped]);
    assert_eq!(
        counts.missing_after(300.0, false),
        [full],
        "a world without pairs meets no fault of pairs"
    );
    counts.count(Fault::FullDisk);
    assert!(counts.missing_after(300.0, false).is_empty());
}
