//! P4 and the cost of a standby: the chain of ten jobs, and one commit, with a second member that must have everything, in turns
//! with a single Controller and with C.
//!
//! Always: the members are coupled, so that nothing is answered before both have it on their disks.

use std::time::{Duration, Instant};

use anyhow::Result;
use serde_json::json;

use super::chain::{STEPS, millis, through};
use crate::arguments::Extent;
use crate::figure::Bound::AtMost;
use crate::figure::Figure;
use crate::floor::{Mirror, Spawner};
use crate::halves::Halves;
use crate::sample::{Sample, ratio, spread_of_ratio};
use crate::stack::{Keeping, Placement, Stack, chain};

/// What one member says reaches the other so much later: a round trip takes a millisecond.
const ONE_WAY: Duration = Duration::from_micros(500);
/// Commits in a row of one stack before it is the other one's turn.
const IN_A_ROW: usize = 20;

pub(crate) fn run(extent: &Extent) -> Result<Vec<Figure>> {
    let start = |keeping| {
        let mut stack = Stack::start_kept(Placement::Local, keeping, &[])?;
        stack.deploy(&[chain()])?;
        anyhow::Ok(stack)
    };
    let mut single = start(Keeping::Single)?;
    let mut pair = start(Keeping::Pair(Duration::ZERO))?;
    let mut figures = chains(extent, &mut single, &mut pair)?;
    figures.extend(commits(extent, &mut single, &mut pair, None)?);
    if let Some(halves) = Halves::of_this_machine()? {
        halves.begin()?;
        single.put_apart(&halves)?;
        pair.put_apart(&halves)?;
        figures.extend(commits(extent, &mut single, &mut pair, Some(&halves))?);
        halves.end()?;
    }
    drop((single, pair));
    let mut apart = start(Keeping::Pair(ONE_WAY))?;
    figures.push(chain_apart(extent, &mut apart)?);
    Ok(figures)
}

fn chains(extent: &Extent, single: &mut Stack, pair: &mut Stack) -> Result<Vec<Figure>> {
    let floor = Spawner::new(pair.dir.path())?;
    let (mut c, mut alone, mut both) = (Sample::default(), Sample::default(), Sample::default());
    for round in 0..extent.of(50, 10) {
        c.push(millis(floor.chain(STEPS)?));
        alone.push(through(single, round)?);
        both.push(through(pair, round)?);
    }
    let told = format!(
        "{}; {}, C {}",
        spread_of_ratio(&both, &c),
        both.told("ms"),
        c.told("ms")
    );
    let to_single = Figure::told(
        "P4",
        "the same to a single Controller",
        ratio(&both, &alone),
        "×",
    );
    Ok(vec![
        Figure::bound(
            "P4",
            "chain of 10 jobs with a standby that must acknowledge, to C",
            ratio(&both, &c),
            "C",
            AtMost(3.0),
            AtMost(4.0),
        )
        .with(told),
        to_single.with(format!("single {}", alone.told("ms"))),
    ])
}

/// From a command that commits once to its answer, the request included.
fn commits(
    extent: &Extent,
    single: &mut Stack,
    pair: &mut Stack,
    halves: Option<&Halves>,
) -> Result<Vec<Figure>> {
    let (mut alone, mut both) = (Sample::default(), Sample::default());
    let (mut here, mut mirrored) = (Sample::default(), Sample::default());
    let mut floor = Mirror::create(pair.dir.path(), halves)?;
    let mut revision = 0;
    for _ in 0..extent.of(50, 10) {
        for (stack, commits) in [(&mut *single, &mut alone), (&mut *pair, &mut both)] {
            for _ in 0..IN_A_ROW {
                revision += 1;
                let item = json!({"TYPE": "JobResource", "path": "measured", "variables": {"revision": revision}});
                let begin = Instant::now();
                stack.deploy(&[json!({"TYPE": "AddOrChangeSimple", "item": item})])?;
                commits.push(millis(begin.elapsed()));
            }
        }
        for _ in 0..IN_A_ROW {
            let begin = Instant::now();
            floor.append_here()?;
            here.push(millis(begin.elapsed()));
            let begin = Instant::now();
            floor.append_on_both()?;
            mirrored.push(millis(begin.elapsed()));
        }
    }
    let (commit, floor_commit) = if halves.is_some() {
        (
            "a command that commits once with a standby in sync, to a single Controller; each member has half of the processors",
            "a record written and flushed here and there by threads that do nothing else, each with half of the processors, to here only",
        )
    } else {
        (
            "a command that commits once with a standby in sync, to a single Controller; where the kernel puts them",
            "a record written and flushed here and there by threads that do nothing else, to here only",
        )
    };
    let figure = Figure::bound(
        "P4",
        commit,
        ratio(&both, &alone),
        "×",
        AtMost(1.5),
        AtMost(3.0),
    );
    let figure = figure.with(format!("{}, single {}", both.told("ms"), alone.told("ms")));
    let floor = Figure::told("P4", floor_commit, ratio(&mirrored, &here), "×");
    let floor = floor.with(format!(
        "{}, here only {}",
        mirrored.told("ms"),
        here.told("ms")
    ));
    Ok(vec![figure, floor])
}

/// The members a millisecond from each other.
fn chain_apart(extent: &Extent, apart: &mut Stack) -> Result<Figure> {
    let floor = Spawner::new(apart.dir.path())?;
    let (mut reckoned, mut both) = (Sample::default(), Sample::default());
    let round_trips = millis(ONE_WAY * 2 * 20);
    for round in 0..extent.of(50, 10) {
        reckoned.push(millis(floor.chain(STEPS)?) + round_trips);
        both.push(through(apart, round)?);
    }
    let figure = Figure::bound(
        "P4",
        "the same with 1 ms round trip between the members, to C and 20 round trips",
        ratio(&both, &reckoned),
        "×",
        AtMost(2.0),
        AtMost(4.0),
    );
    Ok(figure.with(format!(
        "{}; {}, C and 20 ms {}",
        spread_of_ratio(&both, &reckoned),
        both.told("ms"),
        reckoned.told("ms")
    )))
}
