//! What is told: the table on the terminal, the newest result of each measurement beside the program, and `docs/benchmarks.md`.
//!
//! Always: a figure stands with the machine and the day it was measured on; quick runs are told but not kept.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

use crate::figure::{Figure, Reached};
use crate::host::Host;
use crate::measure::{ALL, Measurement};

/// What dominates each metric, found with a profiler: `notes/`.
const NOTES: [(&str, &str); 12] = [
    ("P1", include_str!("../notes/P1.md")),
    ("P2", include_str!("../notes/P2.md")),
    ("P3", include_str!("../notes/P3.md")),
    ("P4", include_str!("../notes/P4.md")),
    ("P5", include_str!("../notes/P5.md")),
    ("P6", include_str!("../notes/P6.md")),
    ("P7", include_str!("../notes/P7.md")),
    ("P8", include_str!("../notes/P8.md")),
    ("P9", include_str!("../notes/P9.md")),
    ("P11", include_str!("../notes/P11.md")),
    ("P12", include_str!("../notes/P12.md")),
    ("P13", include_str!("../notes/P13.md")),
];

#[derive(Clone, Serialize, Deserialize)]
struct Measured {
    host: Host,
    figures: Vec<Figure>,
}

/// Collects results.
pub(crate) struct Report {
    host: Host,
    file: PathBuf,
    results: BTreeMap<String, Measured>,
}

impl Report {
    /// With the results of former runs of this build directory.
    pub(crate) fn open(host: &Host) -> Result<Report> {
        let file = std::env::current_exe()?.with_file_name("bench-results.json");
        // A file of another version is of no use any more.
        let results = std::fs::read(&file)
            .ok()
            .and_then(|bytes| serde_json::from_slice(&bytes).ok())
            .unwrap_or_default();
        Ok(Report {
            host: host.clone(),
            file,
            results,
        })
    }

    /// Tells figures and, unless they are those of a quick run, keeps them.
    pub(crate) fn add(
        &mut self,
        measurement: &Measurement,
        quick: bool,
        figures: Vec<Figure>,
    ) -> Result<()> {
        for figure in &figures {
            let Figure {
                metric,
                what,
                goal,
                half,
                measured,
                spread,
                reached,
                ..
            } = figure;
            let wanted = if goal.is_empty() {
                String::new()
            } else {
                format!("goal {goal}, at least {half}: ")
            };
            println!(
                "{metric:3} {what}: {measured}  [{wanted}{}]  {spread}",
                reached.word()
            );
        }
        if quick {
            return Ok(());
        }
        self.results.insert(
            measurement.name.to_owned(),
            Measured {
                host: self.host.clone(),
                figures,
            },
        );
        std::fs::write(&self.file, serde_json::to_vec_pretty(&self.results)?)?;
        Ok(())
    }

    /// Writes `docs/benchmarks.md`: the newest results; what this build directory knows nothing of stays as it is.
    pub(crate) fn write_docs(&self) -> Result<()> {
        let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../docs/benchmarks.md");
        let former = std::fs::read_to_string(&path).unwrap_or_default();
        std::fs::write(&path, self.page(&former))
            .with_context(|| format!("cannot write {}", path.display()))?;
        println!("written: docs/benchmarks.md");
        Ok(())
    }

    fn page(&self, former: &str) -> String {
        let mut page = include_str!("../notes/introduction.md").to_owned();
        let mut former = sections(former);
        for measurement in ALL {
            let kept = former.remove(capital(measurement.summary).as_str());
            let Some(result) = self.results.get(measurement.name) else {
                page.push_str(kept.unwrap_or_default());
                continue;
            };
            // Writing to a String does not fail.
            let _infallible = write!(
                page,
                "\n## {}\n\n`cargo xtask bench {}`. Measured {}.\n\n",
                capital(measurement.summary),
                measurement.name,
                result.host
            );
            page.push_str("| metric | what | goal | at least | measured | reached | rounds |\n|---|---|---|---|---|---|---|\n");
            for figure in &result.figures {
                let Figure {
                    metric,
                    what,
                    goal,
                    half,
                    measured,
                    spread,
                    reached,
                    ..
                } = figure;
                let word = if *reached == Reached::No {
                    "**no**"
                } else {
                    reached.word()
                };
                let _infallible = writeln!(
                    page,
                    "| {metric} | {what} | {goal} | {half} | {measured} | {word} | {spread} |"
                );
            }
            for metric in measurement.metrics {
                let note = NOTES
                    .iter()
                    .find(|(name, _)| name == metric)
                    .map_or("", |(_, note)| note.trim());
                if !note.is_empty() {
                    let _infallible = write!(page, "\n**{metric}.** {note}\n");
                }
            }
        }
        // Other programs write here, too.
        for section in former.values() {
            page.push_str(section);
        }
        format!("{}\n", page.trim_end())
    }
}

/// The sections of a page by their headings, each with the empty line before it.
fn sections(page: &str) -> BTreeMap<&str, &str> {
    let starts: Vec<usize> = page.match_indices("\n## ").map(|(at, _)| at).collect();
    let ends = starts.iter().skip(1).copied().chain([page.len()]);
    starts
        .iter()
        .zip(ends)
        .map(|(from, to)| {
            let section = &page[*from..to];
            let heading = section.lines().nth(1).unwrap_or_default();
            (heading.trim_start_matches("## "), section)
        })
        .collect()
}

fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters
        .next()
        .map(|first| first.to_uppercase().chain(letters).collect())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sections_that_others_have_written_stay() {
        let page = "# Page\n\n## One\n\n1\n\n## A chain of ten jobs\n\nold\n\n## Others\n\n2\n";
        let found = sections(page);
        assert_eq!(
            found["A chain of ten jobs"],
            "\n## A chain of ten jobs\n\nold\n"
        );
        let report = Report {
            host: Host::look().unwrap(),
            file: PathBuf::new(),
            results: BTreeMap::new(),
        };
        let written = report.page(page);
        for section in [
            "## One\n\n1\n",
            "## A chain of ten jobs\n\nold\n",
            "## Others\n\n2\n",
        ] {
            assert_eq!(written.matches(section).count(), 1, "{section}");
        }
    }
}
