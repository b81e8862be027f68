//! What a trial has shown: kept beside the program by kind, and written into `docs/benchmarks.md` from there.
//!
//! Always: a line says where and when it was measured. A short run is told and not kept.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

use super::fault::{Cut, Kind};
use super::installation::Directing;

const HEADING: &str = "## Fail-over: how long no job starts";

/// Times without a start, in milliseconds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Gaps(Vec<u64>);

impl Gaps {
    /// Of these times.
    pub fn of(gaps: impl IntoIterator<Item = Duration>) -> Gaps {
        let millis = |gap: Duration| u64::try_from(gap.as_millis()).unwrap_or(u64::MAX);
        let mut gaps: Vec<u64> = gaps.into_iter().map(millis).collect();
        gaps.sort_unstable();
        Gaps(gaps)
    }

    /// How many.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// The value at or below which so many of a hundred are.
    pub fn percentile(&self, percent: usize) -> u64 {
        let rank = (self.0.len() * percent).div_ceil(100);
        self.0.get(rank.saturating_sub(1)).copied().unwrap_or(0)
    }

    /// The greatest.
    pub fn max(&self) -> u64 {
        self.0.last().copied().unwrap_or(0)
    }

    pub(super) fn told(&self) -> String {
        format!(
            "{} ms | {} ms | {} ms",
            self.percentile(50),
            self.percentile(99),
            self.max()
        )
    }
}

/// What disturbances of one kind have shown.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Told {
    /// Which kind.
    pub kind: Kind,
    /// The longest time without a start around each.
    pub gaps: Gaps,
    /// The same by the links that were cut.
    pub cuts: BTreeMap<Cut, Gaps>,
    /// From one start to the next while nothing was disturbed.
    pub usual: Gaps,
    /// How often another member has become active.
    pub changes: usize,
    /// Orders that were acknowledged.
    pub orders: usize,
    /// Events that a reader got.
    pub events: usize,
    /// Acknowledged or seen, and not there in the end.
    pub lost: usize,
    /// Started twice.
    pub doubled: usize,
    /// Lost with a process, as their events say, and repeated.
    pub repeated: usize,
    /// How often somebody would have had to do something.
    pub human_actions: usize,
    /// What repeats the moments.
    pub seed: u64,
    /// Orders per second.
    pub rate: u64,
    /// How many Directors the Agent had.
    pub directing: Directing,
    /// Where hosts have no namespaces of their own: why.
    pub loopback: Option<String>,
    /// Machine and moment.
    pub place: String,
}

/// The promised median of a fail-over in milliseconds (S30).
const PROMISED_MEDIAN: u64 = 3000;

impl Told {
    /// Returns whether nothing was lost or doubled, no human action was required, there were disturbances, and jobs continued in time.
    pub fn is_in_order(&self) -> bool {
        let has_changed =
            !self.kind.changes_the_active_member() || self.changes >= self.gaps.count();
        self.lost == 0
            && self.doubled == 0
            && self.human_actions == 0
            && has_changed
            && !self.breaks_the_promise()
    }

    /// Returns whether jobs stood still for longer than a fail-over may take (S30). The goals are stricter, and a missed goal is no
    /// failure.
    pub fn breaks_the_promise(&self) -> bool {
        self.kind.goal().is_some() && self.gaps.percentile(50) > PROMISED_MEDIAN
    }

    fn is_at_its_goal(&self) -> Option<bool> {
        let (median, p99) = self.kind.goal()?;
        Some(self.gaps.percentile(50) <= median && self.gaps.percentile(99) <= p99)
    }

    fn row(&self) -> String {
        let goal = self.kind.goal().map_or_else(
            || "–".to_owned(),
            |(median, p99)| format!("{median} / {p99} ms"),
        );
        let reached = match self.is_at_its_goal() {
            Some(true) => "yes",
            Some(false) => "**no**",
            None => "–",
        };
        format!(
            "| {} | {} | {} | {} | {goal} | {reached} | {} | {} | {} | {} | {} | {} |",
            self.kind.told(),
            self.gaps.count(),
            self.changes,
            self.gaps.told(),
            self.orders,
            self.events,
            self.lost,
            self.doubled,
            self.repeated,
            self.human_actions,
        )
    }
}

const HEAD: &str = "| disturbance | times | another member became active | median | p99 | greatest | goal: median / p99 | reached | orders acknowledged | events read | lost | started twice | lost with their process and repeated | human actions |
|---|---|---|---|---|---|---|---|---|---|---|---|---|---|
";

/// The newest result of each kind.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Report(BTreeMap<Kind, Told>);

impl Report {
    /// What earlier runs of this build directory have kept.
    pub fn open() -> Result<Report> {
        // A file of another version is of no use any more.
        Ok(std::fs::read(Report::file()?)
            .ok()
            .and_then(|bytes| serde_json::from_slice(&bytes).ok())
            .unwrap_or_default())
    }

    /// Takes a result; `keep` puts it on the disk, too.
    pub fn add(&mut self, told: Told, keep: bool) -> Result<()> {
        self.0.insert(told.kind, told);
        if keep {
            std::fs::write(Report::file()?, serde_json::to_vec_pretty(self)?)?;
        }
        Ok(())
    }

    fn file() -> Result<PathBuf> {
        Ok(std::env::current_exe()?.with_file_name("trial-results.json"))
    }

    /// Writes the section of `docs/benchmarks.md`; the rest of the page stays as it is.
    pub fn write_docs(&self) -> Result<()> {
        write_section(HEADING, &self.section())
    }

    /// The section as it stands in the page.
    pub fn section(&self) -> String {
        let mut text = format!(
            "{HEADING}\n\n{}\n{HEAD}",
            include_str!("report/introduction.md")
        );
        let kinds = Kind::ALL.iter().filter_map(|kind| self.0.get(kind));
        for told in kinds.clone() {
            let _infallible = writeln!(text, "{}", told.row());
        }
        if let Some(cut) = self.0.get(&Kind::Cut) {
            text.push_str(
                "\n| links cut | times | median | p99 | greatest |\n|---|---|---|---|---|\n",
            );
            for (which, gaps) in &cut.cuts {
                let _infallible = writeln!(
                    text,
                    "| {} | {} | {} |",
                    which.told(),
                    gaps.count(),
                    gaps.told()
                );
            }
        }
        text.push('\n');
        for told in kinds {
            let usual = &told.usual;
            let _infallible = write!(
                text,
                "* {}: {}; {}, {} orders per second, seed {}; undisturbed from one start to the next: median {} ms, p99 {} ms, greatest {} ms.",
                told.kind.told(),
                told.place,
                match told.directing {
                    Directing::Single => "one Director",
                    Directing::Pair => "two Directors",
                },
                told.rate,
                told.seed,
                usual.percentile(50),
                usual.percentile(99),
                usual.max()
            );
            if let Some(why) = &told.loopback {
                let _infallible = write!(text, " Hosts were addresses of the loopback: {why}.");
            }
            text.push('\n');
        }
        text
    }
}

/// Writes a section of `docs/benchmarks.md`; the rest of the page stays as it is.
pub(super) fn write_section(heading: &str, section: &str) -> Result<()> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../docs/benchmarks.md");
    let page = std::fs::read_to_string(&path)
        .with_context(|| format!("cannot read {}", path.display()))?;
    std::fs::write(&path, with_section(&page, heading, section))
        .with_context(|| format!("cannot write {}", path.display()))
}

/// The page with this section in the place of its former self, or at its end.
fn with_section(page: &str, heading: &str, section: &str) -> String {
    let mut text = String::new();
    let mut found = false;
    for part in parts(page) {
        if part.starts_with(heading) {
            text.push_str(section);
            text.push('\n');
            found = true;
        } else {
            text.push_str(part);
        }
    }
    if !found {
        text = format!("{}\n\n{section}", text.trim_end());
    }
    format!("{}\n", text.trim_end())
}

/// A page in pieces that begin with a heading of the second order, but for the first one.
fn parts(page: &str) -> Vec<&str> {
    let starts: Vec<usize> = page.match_indices("\n## ").map(|(at, _)| at + 1).collect();
    let ends = starts.iter().copied().chain([page.len()]);
    let begins = [0].into_iter().chain(starts.clone());
    begins.zip(ends).map(|(from, to)| &page[from..to]).collect()
}

/// The machine and the moment.
pub(super) fn place() -> String {
    let text = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let field = |text: &str, name: &str| {
        let line = text.lines().find(|line| line.starts_with(name));
        line.and_then(|line| line.split_once(':'))
            .map(|(_, value)| value.trim().to_owned())
            .unwrap_or_default()
    };
    let kib = field(&text("/proc/meminfo"), "MemTotal");
    let kib: u64 = kib
        .split(' ')
        .next()
        .and_then(|kib| kib.parse().ok())
        .unwrap_or(0);
    let moment = std::process::Command::new("date")
        .args(["-u", "+%F %R UTC"])
        .output();
    format!(
        "{}, {} cores of {}, {} GiB, Linux {}, load before it {}",
        moment
            .map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned())
            .unwrap_or_default(),
        std::thread::available_parallelism().map_or(0, usize::from),
        field(&text("/proc/cpuinfo"), "model name"),
        kib.div_ceil(1 << 20),
        text("/proc/sys/kernel/osrelease").trim(),
        text("/proc/loadavg").split(' ').next().unwrap_or_default(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_those_of_the_nearest_rank() {
        let gaps = Gaps::of((1..=200).map(Duration::from_millis));
        assert_eq!(
            (gaps.percentile(50), gaps.percentile(99), gaps.max()),
            (100, 198, 200)
        );
        let few = Gaps::of([3, 1].map(Duration::from_millis));
        assert_eq!((few.percentile(50), few.percentile(99)), (1, 3));
        assert_eq!(Gaps::default().percentile(50), 0);
    }

    #[test]
    fn a_section_takes_the_place_of_its_former_self_and_leaves_the_others() {
        let page = "# Page\n\n## One\n\n1\n\n## Two\n\n2\n";
        let once = with_section(page, HEADING, &format!("{HEADING}\n\nfirst\n"));
        assert_eq!(
            once,
            format!("# Page\n\n## One\n\n1\n\n## Two\n\n2\n\n{HEADING}\n\nfirst\n")
        );
        let more = format!("{once}\n## Three\n\n3\n");
        let twice = with_section(&more, HEADING, &format!("{HEADING}\n\nsecond\n"));
        assert_eq!(
            twice,
            format!(
                "# Page\n\n## One\n\n1\n\n## Two\n\n2\n\n{HEADING}\n\nsecond\n\n## Three\n\n3\n"
            )
        );
    }
}
