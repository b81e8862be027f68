//! The matrix of hosts: a whole installation on three hosts, in every placement that separates the votes. Each host is lost in each way.
//!
//! Always: no two of the Controller's three votes and not both Directors are on one host. There is no human action, whichever members were
//! active before the loss. A host that returns is started as by a supervisor. Never here: how a loss is judged; see `judge`.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use serde::{Deserialize, Serialize};

use super::courier::Courier;
use super::installation::{CLIENT, DIRECTORS, Directing, Installation, MEMBERS, Placement};
use super::installation::{SUBAGENTS, WATCH};
use super::judge::{Starts, judge, nanos};
use super::load::Load;
use super::reader::Reader;
use super::report::{Gaps, place, write_section};
use super::run::{await_reader, signalled, whole_log};
use crate::world::Network;

/// The hosts.
pub const HOSTS: [&str; 3] = ["host-1", "host-2", "host-3"];
const HEADING: &str = "## A host is lost: how long no job starts";
/// How long a host is lost. This is longer than the goal, so that the host's return shortens no gap that misses the goal.
const AWAY: Duration = Duration::from_secs(4);
const WARM_UP: Duration = Duration::from_secs(1);
const PAUSE: Duration = Duration::from_millis(300);
/// The goal for the 99th percentile of the gaps, in milliseconds.
const GOAL: u64 = 3000;

/// How a host is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Loss {
    /// SIGKILL of everything on it.
    Killed,
    /// SIGSTOP of everything on it, then SIGCONT.
    Stopped,
    /// All its links cut, in both directions.
    CutOff,
}

impl Loss {
    const ALL: [Loss; 3] = [Loss::Killed, Loss::Stopped, Loss::CutOff];

    fn told(self) -> &'static str {
        match self {
            Loss::Killed => "killed",
            Loss::Stopped => "stopped",
            Loss::CutOff => "cut off",
        }
    }
}

/// One loss of a host, and its effect.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Cell {
    /// Which part was on which host.
    pub placement: String,
    /// The host that was lost.
    pub host: String,
    /// What was active on it.
    pub carried: String,
    /// How it was lost.
    pub loss: Loss,
    /// The longest time without a start of a job, in milliseconds.
    pub gap: u64,
}

/// The results of the matrix.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Matrix {
    /// All losses.
    pub cells: Vec<Cell>,
    /// The number of placements.
    pub placements: usize,
    /// Orders that were acknowledged.
    pub orders: usize,
    /// The number of orders that were acknowledged or seen and are missing in the end.
    pub lost: usize,
    /// The number of jobs that were started twice.
    pub doubled: usize,
    /// The number of jobs that were lost with their process, as their events report, and repeated.
    pub repeated: usize,
    /// The machine and the time of the run.
    pub place: String,
}

/// How much of the matrix is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// Each placement, each host, each loss.
    Whole,
    /// Each placement and each host, with one of the losses in turn.
    InTurn,
    /// This many placements, spread over all, with one of the losses in turn; the host of the first active members is killed.
    Sample(usize),
}

/// Returns all placements. The hosts of the Controller's votes are fixed, because hosts differ only by their parts.
pub fn placements() -> Vec<Placement> {
    let mut placements = Vec::new();
    for first in HOSTS {
        for second in HOSTS.iter().filter(|host| **host != first) {
            // Two Subagents are alike.
            for (number, sub_1) in HOSTS.iter().enumerate() {
                for sub_2 in &HOSTS[number..] {
                    placements.push(Placement::of(&[
                        (MEMBERS[0], HOSTS[0]),
                        (MEMBERS[1], HOSTS[1]),
                        (WATCH, HOSTS[2]),
                        (DIRECTORS[0], first),
                        (DIRECTORS[1], second),
                        (SUBAGENTS[0], sub_1),
                        (SUBAGENTS[1], sub_2),
                    ]));
                }
            }
        }
    }
    placements
}

impl Extent {
    /// The placements with their numbers.
    fn placements(self) -> Vec<(usize, Placement)> {
        let all = placements();
        let every = match self {
            Extent::Whole | Extent::InTurn => 1,
            Extent::Sample(count) => all.len().div_ceil(count.max(1)),
        };
        all.into_iter().enumerate().step_by(every).collect()
    }

    /// Returns the losses of a host in the placement of this number.
    fn losses(self, placement: usize, host: usize) -> Vec<Loss> {
        match self {
            Extent::Whole => Loss::ALL.into(),
            Extent::InTurn => vec![Loss::ALL[(placement + host) % Loss::ALL.len()]],
            // In a sample, the host of the first active members matters most.
            Extent::Sample(_) if host == 0 => vec![Loss::Killed],
            Extent::Sample(_) => vec![Loss::ALL[(placement + host) % Loss::ALL.len()]],
        }
    }

    /// Returns roughly how long the matrix takes.
    pub fn lasts(self) -> Duration {
        let around = Duration::from_secs(6);
        let cell = AWAY + Duration::from_millis(2200);
        let placements = self.placements();
        let cells: usize = placements
            .iter()
            .map(|(number, _)| {
                let hosts = 0..HOSTS.len();
                hosts
                    .map(|host| self.losses(*number, host).len())
                    .sum::<usize>()
            })
            .sum();
        around * u32::try_from(placements.len()).unwrap_or(u32::MAX)
            + cell * u32::try_from(cells).unwrap_or(u32::MAX)
    }
}

/// Returns the hosts of the network that the matrix requires.
pub fn hosts() -> Vec<&'static str> {
    HOSTS.into_iter().chain([CLIENT]).collect()
}

/// Runs the matrix. `progress` is called with each line of progress.
pub fn run(
    network: &Arc<Network>,
    extent: Extent,
    rate: u64,
    progress: fn(&str),
) -> Result<Matrix> {
    let runtime = network.runtime(CLIENT)?;
    let mut matrix = Matrix {
        place: place(),
        ..Matrix::default()
    };
    let placements = extent.placements();
    let count = placements.len();
    for (number, placement) in placements {
        let (network, told) = (network.clone(), told(&placement));
        // Spawned, because only the runtime's own threads are on the client's host.
        let running = runtime.spawn(async move {
            tokio::select! {
                shown = one_placement(&network, extent, number, placement, rate, progress) => shown,
                ended = signalled() => {
                    ended?;
                    bail!("ended by a signal")
                }
            }
        });
        let shown = runtime.block_on(running)?.with_context(|| told.clone())?;
        matrix.placements += 1;
        progress(&format!("{} of {count}: {told}", matrix.placements));
        matrix.cells.extend(shown.cells);
        matrix.orders += shown.orders;
        matrix.lost += shown.lost;
        matrix.doubled += shown.doubled;
        matrix.repeated += shown.repeated;
    }
    Ok(matrix)
}

/// A placement in words.
fn told(placement: &Placement) -> String {
    let mut text = String::new();
    for host in HOSTS {
        let parts = MEMBERS
            .iter()
            .zip(["Primary", "Backup"])
            .chain([(&WATCH, "watch")])
            .chain(DIRECTORS.iter().zip(["Director 1", "Director 2"]))
            .chain(SUBAGENTS.iter().zip(["Subagent 1", "Subagent 2"]))
            .filter(|(part, _)| placement.host(part) == host)
            .map(|(_, name)| name);
        let parts: Vec<&str> = parts.collect();
        let separator = if text.is_empty() { "" } else { " / " };
        let _infallible = write!(text, "{separator}{}", parts.join(" + "));
    }
    text
}

async fn one_placement(
    network: &Arc<Network>,
    extent: Extent,
    number: usize,
    placement: Placement,
    rate: u64,
    progress: fn(&str),
) -> Result<Matrix> {
    let name = told(&placement);
    let mut installation = Installation::start_at(network, Directing::Pair, placement).await?;
    let courier = Arc::new(Courier::new(installation.apis()));
    let reader = Reader::start(courier.clone());
    let load = Load::start(&courier, "M", rate);
    tokio::time::sleep(WARM_UP).await;
    let mut moments = Vec::new();
    for (index, host) in HOSTS.into_iter().enumerate() {
        for loss in extent.losses(number, index) {
            if loss == Loss::CutOff && network.why_loopback().is_some() {
                continue;
            }
            let carried = carried(&installation, host).await?;
            let at = nanos();
            lose(&mut installation, network, host, loss)
                .await
                .with_context(|| format!("{host} {}", loss.told()))?;
            installation
                .await_coupled()
                .await
                .with_context(|| format!("after {host} ({carried}) was {}", loss.told()))?;
            tokio::time::sleep(PAUSE).await;
            moments.push((host, carried, loss, at, nanos()));
        }
    }
    let orders = load.end().await?;
    let log = whole_log(&courier, &orders)
        .await
        .with_context(|| installation.lament("the end of all orders"))?;
    let seen = await_reader(&reader, log.last_event_id()).await;
    let text = std::fs::read_to_string(installation.starts_file()).unwrap_or_default();
    let starts = Starts::of(&text);
    let judgement = judge(&orders, &seen, &starts, &log);
    for fault in judgement.lost.iter().chain(&judgement.doubled).take(20) {
        progress(&format!("{name}: {fault}"));
    }
    let mut cells = Vec::new();
    for (host, carried, loss, at, until) in moments {
        let gap = starts
            .gap(at, until)
            .context("there are no starts around a loss")?;
        let gap = u64::try_from(gap.as_millis()).unwrap_or(u64::MAX);
        if gap > GOAL {
            progress(&format!(
                "{name}: {host} ({carried}) {}: no start for {gap} ms",
                loss.told()
            ));
        }
        cells.push(Cell {
            placement: name.clone(),
            host: host.to_owned(),
            carried,
            loss,
            gap,
        });
    }
    Ok(Matrix {
        cells,
        placements: 1,
        orders: orders.len(),
        lost: judgement.lost.len(),
        doubled: judgement.doubled.len(),
        repeated: judgement.repeated,
        place: String::new(),
    })
}

/// Returns which of the active members are on a host now, in words.
async fn carried(installation: &Installation, host: &str) -> Result<String> {
    let placement = &installation.placement;
    let controller = placement.host(MEMBERS[installation.active().await?]) == host;
    let director = placement.host(DIRECTORS[installation.active_director().await?]) == host;
    let carried = match (controller, director) {
        (true, true) => "active Controller and active Director",
        (true, false) => "active Controller",
        (false, true) => "active Director",
        (false, false) => "neither",
    };
    Ok(carried.to_owned())
}

/// Takes a host away for [`AWAY`], then restores it.
async fn lose(
    installation: &mut Installation,
    network: &Network,
    host: &str,
    loss: Loss,
) -> Result<()> {
    let others: Vec<&str> = network.hosts().filter(|other| *other != host).collect();
    match loss {
        Loss::Killed => {
            for node in installation.all_on(host) {
                node.kill()?;
            }
        }
        Loss::Stopped => {
            for node in installation.all_on(host) {
                node.stop()?;
            }
        }
        Loss::CutOff => {
            for other in &others {
                network.cut(host, other)?;
                network.cut(other, host)?;
            }
        }
    }
    tokio::time::sleep(AWAY).await;
    match loss {
        Loss::Killed => {
            for node in installation.all_on(host) {
                node.start()?;
            }
        }
        Loss::Stopped => {
            for node in installation.all_on(host) {
                node.cont()?;
            }
        }
        Loss::CutOff => {
            for other in &others {
                network.heal(host, other)?;
                network.heal(other, host)?;
            }
        }
    }
    Ok(())
}

impl Matrix {
    /// Returns whether nothing was lost or started twice. The end of the run shows that no human action was required.
    pub fn is_in_order(&self) -> bool {
        self.lost == 0 && self.doubled == 0 && !self.cells.is_empty()
    }

    /// Returns whether the 99th percentile reaches the goal.
    pub fn is_at_its_goal(&self) -> bool {
        self.gaps(|_| true).percentile(99) <= GOAL
    }

    fn gaps(&self, is_meant: impl Fn(&Cell) -> bool) -> Gaps {
        let meant = self.cells.iter().filter(|cell| is_meant(cell));
        Gaps::of(meant.map(|cell| Duration::from_millis(cell.gap)))
    }

    /// Writes the results to a file next to the program.
    pub fn keep(&self) -> Result<()> {
        Ok(std::fs::write(
            Matrix::file()?,
            serde_json::to_vec_pretty(self)?,
        )?)
    }

    /// Reads the results that an earlier run of this build directory has written.
    pub fn kept() -> Result<Matrix> {
        let path = Matrix::file()?;
        let bytes = std::fs::read(&path).with_context(|| path.display().to_string())?;
        Ok(serde_json::from_slice(&bytes)?)
    }

    fn file() -> Result<PathBuf> {
        Ok(std::env::current_exe()?.with_file_name("matrix-results.json"))
    }

    /// Writes the section of `docs/benchmarks.md`.
    pub fn write_docs(&self) -> Result<()> {
        write_section(HEADING, &self.section())
    }

    /// Returns the section of the page.
    pub fn section(&self) -> String {
        let mut text = format!("{HEADING}\n\n{}\n", include_str!("matrix/introduction.md"));
        text.push_str("| the host carried | lost how | times | median | p99 | greatest |\n|---|---|---|---|---|---|\n");
        let mut rows: BTreeMap<(&str, Loss), Vec<Duration>> = BTreeMap::new();
        for cell in &self.cells {
            rows.entry((&cell.carried, cell.loss))
                .or_default()
                .push(Duration::from_millis(cell.gap));
        }
        for ((carried, loss), gaps) in rows {
            let gaps = Gaps::of(gaps);
            let _infallible = writeln!(
                text,
                "| {carried} | {} | {} | {} |",
                loss.told(),
                gaps.count(),
                gaps.told()
            );
        }
        let all = self.gaps(|_| true);
        let _infallible = writeln!(text, "| **all** | | {} | {} |\n", all.count(), all.told());
        let reached = if self.is_at_its_goal() {
            "reached"
        } else {
            "**missed**"
        };
        let _infallible = writeln!(
            text,
            "Goal: p99 of at most {GOAL} ms, {reached}. {} placements; {} orders acknowledged, {} lost, {} started twice, {} lost with their process and repeated, nobody did anything. {}.",
            self.placements, self.orders, self.lost, self.doubled, self.repeated, self.place
        );
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn each_placement_is_there_once_and_keeps_the_votes_apart() {
        let all = placements();
        assert_eq!(all.len(), 36);
        let told: BTreeSet<String> = all.iter().map(told).collect();
        assert_eq!(told.len(), 36);
        for placement in &all {
            let votes = [MEMBERS[0], MEMBERS[1], WATCH].map(|part| placement.host(part));
            assert_eq!(BTreeSet::from(votes).len(), 3);
            assert_ne!(placement.host(DIRECTORS[0]), placement.host(DIRECTORS[1]));
        }
    }

    #[test]
    fn in_turn_each_host_is_lost_in_each_way_equally_often() {
        let mut times = BTreeMap::new();
        for (number, _) in Extent::InTurn.placements() {
            for host in 0..HOSTS.len() {
                for loss in Extent::InTurn.losses(number, host) {
                    *times.entry((host, loss)).or_insert(0) += 1;
                }
            }
        }
        assert_eq!(times.len(), 9);
        assert!(times.values().all(|count| *count == 12), "{times:?}");
    }
}
