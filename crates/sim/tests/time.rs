//! Time goes on in every world: nobody asks for the same moment over and over, and a world in which somebody does fails instead of
//! running for ever.
#![expect(
    clippy::unwrap_used,
    reason = "a story that cannot be set up fails at that line"
)]

use cluster::Part;
use sim::kept::Kept;
use sim::pair::{self, Member, Members, Message, Rules, Seat};
use sim::{Moment, Setting, World, seeds};
use std::time::Duration;

const WATCH: u64 = 9;

/// One of two members with a watch, which has just been elected; what it writes is not on its disk yet.
fn elected() -> (Member, Duration) {
    let seat = |part| Seat { part, votes: true };
    let members = Members::from([
        (1, seat(Part::Data)),
        (2, seat(Part::Data)),
        (WATCH, seat(Part::Watch)),
    ]);
    let kept = Kept::new(1, Part::Data, members);
    let timing = pair::timing(Duration::from_millis(500));
    let mut member = Member::start(kept, Rules::ALL, timing, Duration::ZERO, 0);
    let now = member.next_tick().unwrap();
    member.tick(now, 0);
    member.hear(WATCH, Message::PreVoteGiven { term: 1 }, now, 0);
    let (made, index, _) = member.take_ops().unwrap();
    member.synced(made, index, now);
    let yes = Message::Voted {
        term: 1,
        is_given: true,
    };
    member.hear(WATCH, yes, now, 0);
    assert!(member.leads());
    (member, now)
}

/// Found by the seed below: while an entry was not on its own disk, the member asked for the end of the hold time again and again
/// after it was over, and the world stayed at that moment.
#[test]
fn a_member_that_waits_for_its_own_disk_lets_time_go_on() {
    let (mut member, begin) = elected();
    let mut now = begin;
    while now < begin + Duration::from_secs(5) {
        let next = member.next_tick().unwrap();
        assert!(next > now, "asks for {next:?} at {now:?}: {member:?}");
        now = next;
        member.tick(now, 0);
        member.out.clear();
    }
    assert!(member.leads(), "it still waits for its disk");
}

/// Found by this seed: a Director that had just been elected stood still for longer than the hold time, and had a word waiting for it
/// that made it write.
#[test]
fn a_director_that_stood_still_with_an_entry_not_yet_on_its_disk_lets_time_go_on() {
    let failure = seeds::run_clusters(2038, 1.0, false).failure;
    assert!(failure.is_none(), "{}", failure.unwrap());
}

#[test]
fn a_world_that_stays_at_a_moment_is_found() {
    let setting = Setting {
        // A pair that has no pause between two heartbeats.
        timing: pair::timing(Duration::ZERO),
        layout: sim::workload::Layout {
            controllers: 2,
            ..Setting::CALM.layout
        },
        ..Setting::CALM
    };
    let mut world = World::new(1, setting);
    world.run_for(Duration::from_mins(1));
    let failure = world.failure().unwrap();
    assert_eq!(failure.violation.invariant, "time_goes_on");
    assert!(failure.at < Moment(60_000_000));
    assert!(failure.to_string().contains("cargo xtask sim --seed 1"));
}
