//! P8: the journal's writer alone, in turns with a C program that appends the same bytes in the same groups.

use std::sync::mpsc::sync_channel;
use std::time::Instant;

use anyhow::{Context as _, Result};
use journal::{Journal, Kind, Options, Record};

use crate::arguments::Extent;
use crate::figure::Bound::AtLeast;
use crate::figure::{Figure, number};
use crate::floor::Appender;
use crate::procfs::own_cpu;
use crate::sample::{Sample, ratio, spread_of_ratio};

const EVENT_BYTES: usize = 300;
const ROUNDS: usize = 7;

pub(crate) fn run(extent: &Extent) -> Result<Vec<Figure>> {
    let dir = tempfile::Builder::new()
        .prefix("mainspring-bench-")
        .tempdir()?;
    let floor = Appender::new(dir.path())?;
    let mut figures = Vec::new();
    for (group, groups) in [(1, 5000), (8, 5000), (64, 3000), (1000, 600)] {
        let groups = extent.of(groups, groups / 10);
        let (mut c, mut rate, mut per_core) =
            (Sample::default(), Sample::default(), Sample::default());
        // The header of a record is what makes it a journal: the floor writes as many bytes.
        let bytes = group * EVENT_BYTES + journal::HEADER_BYTES;
        let events = count(group * groups);
        for round in 0..ROUNDS {
            c.push(events / floor.run(bytes, groups)?);
            let (seconds, cpu_seconds) =
                append(&dir.path().join(format!("{group}-{round}")), group, groups)?;
            rate.push(events / seconds);
            per_core.push(events / cpu_seconds);
        }
        eprintln!(
            "   groups of {group}: C {}, journal {}",
            c.told("events/s"),
            rate.told("events/s")
        );
        let what = format!("journal to a C program, groups of {group}");
        let figure = Figure::bound(
            "P8",
            &what,
            ratio(&rate, &c),
            "C program",
            AtLeast(0.7),
            AtLeast(0.35),
        );
        figures.push(figure.with(format!(
            "{}; {} events/s, C {}",
            spread_of_ratio(&rate, &c),
            rate.told(""),
            c.told("")
        )));
        if group == 1000 {
            let what = "durable events per second of one core, groups of 1000";
            let figure = Figure::bound(
                "P8",
                what,
                per_core.median(),
                "/s",
                AtLeast(3e5),
                AtLeast(1.5e5),
            );
            figures.push(figure.with(format!(
                "{} to {}",
                number(per_core.min(), ""),
                number(per_core.max(), "")
            )));
        }
    }
    Ok(figures)
}

/// Seconds and seconds of CPU that the groups take.
fn append(dir: &std::path::Path, group: usize, groups: usize) -> Result<(f64, f64)> {
    let (journal, recovered) = Journal::open(Options::new(dir, "bench"), |_| {})?;
    let first = recovered.last.map_or(0, |last| last.index + 1);
    let body = bytes_of(group * EVENT_BYTES);
    let (sender, durable) = sync_channel(1);
    let (begin, cpu) = (Instant::now(), own_cpu()?);
    for number in 0..groups as u64 {
        let record = Record {
            index: first + number,
            term: 1,
            key: number + 1,
            kind: Kind::Events,
            body: body.clone().into(),
        };
        let sender = sender.clone();
        // The receiver waits for each.
        journal.append(vec![record], move |done| drop(sender.send(done)));
        durable.recv().context("the writer has gone")??;
        journal.commit(first + number + 1);
    }
    let (seconds, cpu) = (
        begin.elapsed().as_secs_f64(),
        own_cpu()?.saturating_sub(cpu).as_secs_f64(),
    );
    drop(journal);
    std::fs::remove_dir_all(dir)?;
    Ok((seconds, cpu))
}

fn bytes_of(length: usize) -> Vec<u8> {
    let line = "x".repeat(EVENT_BYTES - 1) + "\n";
    line.into_bytes().into_iter().cycle().take(length).collect()
}

#[expect(
    clippy::cast_precision_loss,
    reason = "counts of a measurement are small"
)]
fn count(events: usize) -> f64 {
    events as f64
}
