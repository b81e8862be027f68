//! `journal cat|verify|info`: looks into a journal directory, beside a running part or without one.

use std::io;
use std::path::Path;

use anyhow::Context as _;
use journal::inspect;

use crate::arguments::JournalCommand;
use crate::exit::{Exit, Misuse};
use crate::screen::{Screen, Tone, unwritten};
use crate::table::Table;

/// The journal's directory within the data directory of a part.
const JOURNAL: &str = "state";

pub(crate) fn run(command: JournalCommand, screen: &Screen) -> anyhow::Result<Exit> {
    match command {
        JournalCommand::Cat { dir, after } => {
            let mut out = io::BufWriter::new(io::stdout().lock());
            match inspect::cat(journal_dir(&dir)?, after, &mut out) {
                Ok(_last) => io::Write::flush(&mut out).map_err(unwritten)?,
                Err(inspect::CatError::Output(error)) => return Err(unwritten(error).into()),
                Err(inspect::CatError::Journal(error)) => return Err(error.into()),
            }
            Ok(Exit::Done)
        }
        JournalCommand::Verify { dir } => verify(&dir, screen),
        JournalCommand::Info { dir } => info(&dir, screen),
    }
}

/// A missing or wrong directory would look like an empty journal.
fn journal_dir(dir: &Path) -> anyhow::Result<&Path> {
    let cannot_look = || format!("cannot look into {}", dir.display());
    let mut is_journal = false;
    for entry in std::fs::read_dir(dir).with_context(cannot_look)? {
        let entry = entry.with_context(cannot_look)?;
        let is_file = entry.file_type().is_ok_and(|kind| kind.is_file());
        is_journal |= is_file && is_of_a_journal(Path::new(&entry.file_name()));
    }
    if is_journal {
        return Ok(dir);
    }
    let name = dir.display();
    let part = [dir.to_owned(), dir.join("controller"), dir.join("agent")];
    let meant = part
        .iter()
        .map(|part| part.join(JOURNAL))
        .find(|meant| meant.is_dir());
    Err(Misuse(match meant {
        Some(meant) => format!("{name} is no journal; did you mean {}?", meant.display()),
        None => format!(
            "{name} is no journal: it has neither segments nor a snapshot nor the state of the votes; \
             a journal is the directory {JOURNAL} in the data directory of a Controller, an Agent or a watch"
        ),
    })
    .into())
}

/// A segment, a snapshot or the state of the votes: one of them is there from the first start on.
fn is_of_a_journal(file: &Path) -> bool {
    let begins = |with: &str| file.to_string_lossy().starts_with(with);
    match file.extension().and_then(|extension| extension.to_str()) {
        Some("segment") => begins("log-"),
        Some("jsonl") => begins("snapshot-"),
        Some(_) => false,
        None => file == Path::new("state"),
    }
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

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_directory_without_a_journal_is_not_called_whole() {
        let data = tempfile::TempDir::new().unwrap();
        fs::write(data.path().join("notes.txt"), "nothing").unwrap();
        let told = journal_dir(data.path()).unwrap_err();
        assert!(told.is::<Misuse>(), "{told:#}");
        let told = told.to_string();
        assert!(
            told.contains(&data.path().display().to_string()) && told.contains("is no journal"),
            "{told}"
        );

        let journal = data.path().join("controller/state");
        fs::create_dir_all(&journal).unwrap();
        let told = journal_dir(data.path()).unwrap_err().to_string();
        assert!(told.ends_with("controller/state?"), "{told}");
        assert!(journal_dir(&journal).is_err(), "it is empty");
        for file in ["state", "snapshot-1.jsonl", "log-0.segment"] {
            fs::write(journal.join(file), "").unwrap();
            assert!(journal_dir(&journal).is_ok(), "{file}");
            fs::remove_file(journal.join(file)).unwrap();
        }
    }
}
