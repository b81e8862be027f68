//! Every reachable state of a small cluster: two members and a watch, or three members, with crashes, lost, doubled and late
//! messages, pauses, hand-overs and a lost disk.
//!
//! Always: the rules are those of the product (`cluster::rules`). The same search with a greater world is the example `every_state`.
#![expect(clippy::panic, reason = "a failing story ends with its place")]

mod going_on;
mod member;
mod receives;
mod search;
mod steps;
mod world;

use search::{Visited, visit};
use world::{Broken, Setup};

const SMALL: Setup = Setup {
    has_watch: true,
    is_witness: false,
    terms: 2,
    entries: 0,
    messages: 2,
    crashes: 0,
    wipes: false,
    hand_overs: false,
    doubles: true,
    broken: None,
};

/// An end when a change lets the world grow.
const STATES_MAX: usize = 300_000;

fn all_is_well(setup: &Setup) -> Visited {
    match visit(setup, STATES_MAX) {
        Ok(visited) => {
            assert!(visited.is_complete, "the world is too large for a test");
            assert!(visited.answering > 100, "{visited:?}");
            visited
        }
        Err(wrong) => panic!("{wrong}"),
    }
}

#[test]
fn r9_in_a_pair_with_its_watch_at_most_one_answers_and_nothing_acknowledged_is_lost() {
    let visited = all_is_well(&SMALL);
    assert!(visited.followed > 100, "{visited:?}");
}

#[test]
fn r9_members_that_crash_come_back_as_what_they_are() {
    let setup = Setup {
        crashes: 1,
        messages: 1,
        ..SMALL
    };
    let visited = all_is_well(&setup);
    assert!(visited.followed > 100, "{visited:?}");
}

#[test]
fn r9_the_active_part_goes_from_hand_to_hand() {
    let setup = Setup {
        hand_overs: true,
        messages: 1,
        ..SMALL
    };
    let visited = all_is_well(&setup);
    assert!(visited.followed > 100, "{visited:?}");
}

#[test]
fn r9_a_member_that_lost_its_disk_is_taken_in_as_another_one() {
    let setup = Setup {
        wipes: true,
        crashes: 1,
        terms: 1,
        messages: 1,
        ..SMALL
    };
    all_is_well(&setup);
}

const WITNESS: Setup = Setup {
    is_witness: true,
    ..SMALL
};

#[test]
fn r9_in_a_pair_with_a_witness_that_keeps_no_log_at_most_one_answers_and_nothing_is_lost() {
    let visited = all_is_well(&WITNESS);
    assert!(visited.followed > 100, "{visited:?}");
}

#[test]
fn r9_a_witness_is_continued_elsewhere_and_members_come_back_as_what_they_are() {
    let setup = Setup {
        crashes: 1,
        messages: 1,
        ..WITNESS
    };
    let visited = all_is_well(&setup);
    assert!(visited.followed > 100, "{visited:?}");
}

#[test]
fn r9_with_a_witness_the_active_part_goes_from_hand_to_hand() {
    let setup = Setup {
        hand_overs: true,
        messages: 1,
        ..WITNESS
    };
    let visited = all_is_well(&setup);
    assert!(visited.followed > 100, "{visited:?}");
}

#[test]
fn r9_with_a_witness_a_member_that_lost_its_disk_is_taken_in_as_another_one() {
    let setup = Setup {
        wipes: true,
        crashes: 1,
        terms: 1,
        messages: 1,
        ..WITNESS
    };
    all_is_well(&setup);
}

#[test]
fn r9_three_members_without_a_watch() {
    let setup = Setup {
        has_watch: false,
        messages: 1,
        ..SMALL
    };
    let visited = all_is_well(&setup);
    assert!(visited.followed > 100, "{visited:?}");
}

#[test]
fn each_rule_is_needed_without_it_the_search_finds_the_harm() {
    use Broken::{
        Hold, InCharge, Lease, OwnDisk, Patience, RecordFirst, SilenceAfterHandOver, VoteOnDisk,
        WaitAfterStart,
    };
    let crash = Setup {
        crashes: 1,
        doubles: false,
        ..SMALL
    };
    let calm = Setup {
        doubles: false,
        ..SMALL
    };
    let entry = Setup {
        entries: 1,
        terms: 1,
        ..calm
    };
    let hand_over = Setup {
        hand_overs: true,
        ..calm
    };
    let witness = |setup: Setup| Setup {
        is_witness: true,
        ..setup
    };
    for (broken, setup, harm) in [
        (Hold, entry, "cannot go on"),
        (OwnDisk, crash, "cannot go on"),
        (VoteOnDisk, crash, "two leaders"),
        (WaitAfterStart, crash, "may answer"),
        (Patience, calm, "may answer"),
        (Lease, calm, "may answer"),
        (SilenceAfterHandOver, hand_over, "may answer"),
        (Hold, witness(entry), "cannot go on"),
        (RecordFirst, witness(crash), "two leaders"),
        (InCharge, witness(calm), "may answer"),
    ] {
        let setup = Setup {
            broken: Some(broken),
            ..setup
        };
        match visit(&setup, STATES_MAX) {
            Ok(visited) => panic!("{broken:?} is not missed: {visited:?}"),
            Err(wrong) => {
                assert!(wrong.what.contains(harm), "{broken:?}: {wrong}");
            }
        }
    }
}
