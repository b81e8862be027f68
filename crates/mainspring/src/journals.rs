//! `journal cat|verify|info`: looks into a journal directory, beside a running part or without one.

use std::io;
use std::path::Path;

use anyhow::Context as _;
use journal::inspect;

use crate::arguments::JournalCommand;
use crate::exit::{Exit, Misuse};
use crate::screen::{Screen, Tone};
use crate::table::Table;

pub(crate) fn run(command: JournalCommand, screen: &Screen) -> anyhow::Result<Exit> {
    match command {
        JournalCommand::Cat { dir, after } => {
            let mut out = io::BufWriter::new(io::stdout().lock());
            inspect::cat(journal_dir(&dir)?, after, &mut out)?;
            io::Write::flush(&mut out)?;
            Ok(Exit::Done)
        }
        JournalCommand::Verify { dir } => verify(&dir, screen),
        JournalCommand::Info { dir } => info(&dir, screen),
    }
}

/// A missing or wrong directory would look like an empty journal.
fn journal_dir(dir: &Path) -> anyhow::Result<&Path> {
    let mut entries =
        std::fs::read_dir(dir).with_context(|| format!("cannot look into {}", dir.display()))?;
    if entries.next().is_none() || dir.join("state").is_dir() {
        let hint = format!(
            "{} is no journal; did you mean {}?",
            dir.display(),
            dir.join("state").display()
        );
        return Err(Misuse(hint).into());
    }
    Ok(dir)
}

fn verify(dir: &Path, screen: &Screen) -> anyhow::Result<Exit> {
    let report = inspect::verify(journal_dir(dir)?)?;
    let exit = if report.is_whole() {
        Exit::Done
    } else {
        Exit::Failed
    };
    if screen.json {
        screen.say_json(&report)?;
        return Ok(exit);
    }
    let verdict = if report.is_whole() {
        screen.paint.put(Tone::Good, "whole")
    } else {
        screen.paint.put(Tone::Bad, "DAMAGED")
    };
    let mut text = format!(
        "{verdict}: {} records, {} bytes in {} segments, {} snapshots, last event {}\n",
        report.records, report.bytes, report.segments, report.snapshots, report.last_event_id
    );
    if let Some(torn) = &report.torn_tail {
        text += &format!(
            "a torn tail at {}:{} ({}): left by a crash, or being written just now; the next start cuts it off, nothing is lost\n",
            torn.file.display(),
            torn.offset,
            torn.what
        );
    }
    for damage in &report.damages {
        text += &format!("{} {damage}\n", screen.paint.put(Tone::Bad, "damage:"));
    }
    screen.say(&text)?;
    if exit == Exit::Failed {
        screen.remark("docs/operating.md, \"A damaged journal\", says what to do");
    }
    Ok(exit)
}

fn info(dir: &Path, screen: &Screen) -> anyhow::Result<Exit> {
    let info = inspect::info(journal_dir(dir)?)?;
    if screen.json {
        screen.say_json(&info)?;
        return Ok(Exit::Done);
    }
    let mut text = String::new();
    let mut field = |name: &str, value: String| {
        text += &format!(
            "{} {value}\n",
            screen.paint.put(Tone::Faint, &format!("{name:12}"))
        );
    };
    field(
        "belongs to",
        info.identity
            .clone()
            .unwrap_or_else(|| "nobody yet".to_owned()),
    );
    field("opened by", info.last_opened_by.clone().unwrap_or_default());
    field(
        "events",
        format!(
            "{} to {}",
            info.first_event_id.unwrap_or(info.last_event_id),
            info.last_event_id
        ),
    );
    field(
        "records",
        format!("{} in {} bytes", info.records, info.bytes),
    );
    field("term", info.term.to_string());
    if let Some(torn) = &info.torn_tail {
        field(
            "torn tail",
            format!("{}:{} ({})", torn.file.display(), torn.offset, torn.what),
        );
    }
    let mut files = Table::new(&["FILE", "RECORDS", "BYTES", "LAST EVENT"]);
    let name = |path: &Path| {
        path.file_name()
            .map_or(String::new(), |name| name.to_string_lossy().into_owned())
    };
    for snapshot in &info.snapshots {
        let cells = [
            name(&snapshot.file),
            format!("{} lines", snapshot.lines),
            snapshot.bytes.to_string(),
            snapshot.event_id.to_string(),
        ];
        files.row(cells.map(Into::into));
    }
    for segment in &info.segments {
        let cells = [
            name(&segment.file),
            segment.records.to_string(),
            segment.bytes.to_string(),
            segment.last_event_id.to_string(),
        ];
        files.row(cells.map(Into::into));
    }
    screen.say(&format!("{text}\n{}", files.draw(screen.paint)))?;
    Ok(Exit::Done)
}
