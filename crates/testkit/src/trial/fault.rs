//! The kinds of disturbances, and how each is made.
//!
//! Always: whoever is active at the time is meant, and everything is as before when `disturb` returns, except who is active. What
//! was killed is started again, as a supervisor does; nothing else is done for it.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::installation::{Installation, MEMBERS, WATCH};
use super::judge::nanos;
use crate::world::{Api, Network};

/// Longer than anybody waits for somebody who is silent.
const LONG: Duration = Duration::from_secs(2);
/// So long a restarted member may take to follow.
const FOLLOWS_WITHIN: Duration = Duration::from_secs(30);
/// A supervisor takes its time.
const RESTART: Duration = Duration::from_secs(1);

/// A kind of disturbance.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, clap::ValueEnum,
)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// SIGKILL of the active member.
    Kill,
    /// SIGSTOP of the active member, then SIGCONT.
    Stop,
    /// Cut links.
    Cut,
    /// Switch-over by command.
    Switch,
    /// Rolling restart of both members.
    Rolling,
    /// Everything at once.
    Crash,
    /// SIGKILL of the active Director of a pair.
    Director,
}

impl Kind {
    /// All of them.
    pub const ALL: [Kind; 7] = [
        Kind::Kill,
        Kind::Stop,
        Kind::Cut,
        Kind::Switch,
        Kind::Rolling,
        Kind::Crash,
        Kind::Director,
    ];

    /// For people.
    pub fn told(self) -> &'static str {
        match self {
            Kind::Kill => "SIGKILL of the active member",
            Kind::Stop => "SIGSTOP of the active member for 2 s, SIGCONT",
            Kind::Cut => "links cut for 2 s",
            Kind::Switch => "switch-over by command",
            Kind::Rolling => "rolling restart of both members",
            Kind::Director => "SIGKILL of the active Director",
            Kind::Crash => "members, watch, Directors and Subagents killed at once and started",
        }
    }

    /// What is wanted of median and 99th percentile of the gaps, in milliseconds.
    pub fn goal(self) -> Option<(u64, u64)> {
        match self {
            Kind::Kill | Kind::Director => Some((500, 1500)),
            Kind::Stop | Kind::Cut => Some((1000, 3000)),
            Kind::Switch => Some((300, 300)),
            Kind::Rolling | Kind::Crash => None,
        }
    }

    /// Whether another member must become active each time.
    pub fn changes_the_active_member(self) -> bool {
        match self {
            Kind::Kill | Kind::Stop | Kind::Switch | Kind::Rolling => true,
            // Some cuts change nothing, and after a crash the same member may be the first one.
            Kind::Cut | Kind::Crash => false,
            // That is another pair's.
            Kind::Director => false,
        }
    }

    /// How often in the long form.
    pub fn often(self) -> usize {
        match self {
            Kind::Kill => 200,
            Kind::Stop | Kind::Cut | Kind::Switch => 100,
            Kind::Rolling | Kind::Crash | Kind::Director => 50,
        }
    }

    /// About how long one takes, with what follows until the next one.
    pub fn lasts(self) -> Duration {
        Duration::from_millis(match self {
            Kind::Kill | Kind::Director => 2600,
            Kind::Stop | Kind::Cut => 3600,
            Kind::Switch => 1700,
            Kind::Rolling => 4500,
            Kind::Crash => 3500,
        })
    }
}

/// Which links are cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cut {
    /// What the active member says does not reach the standby.
    ActiveToStandby,
    /// What the standby says does not reach the active member.
    StandbyToActive,
    /// Neither.
    BetweenMembers,
    /// Active member and watch, both ways.
    ActiveFromWatch,
    /// Both members and the watch, both ways.
    BothFromWatch,
    /// The active member says nothing to anybody, but hears.
    ActiveMute,
    /// The active member hears nobody, but speaks.
    ActiveDeaf,
    /// The active member and everybody, both ways.
    ActiveIsolated,
    /// The standby and everybody, both ways.
    StandbyIsolated,
}

impl Cut {
    /// In turn.
    pub const ALL: [Cut; 9] = [
        Cut::ActiveToStandby,
        Cut::ActiveIsolated,
        Cut::StandbyToActive,
        Cut::BetweenMembers,
        Cut::ActiveFromWatch,
        Cut::BothFromWatch,
        Cut::ActiveMute,
        Cut::ActiveDeaf,
        Cut::StandbyIsolated,
    ];

    /// For people.
    pub fn told(self) -> &'static str {
        match self {
            Cut::ActiveToStandby => "active to standby",
            Cut::StandbyToActive => "standby to active",
            Cut::BetweenMembers => "between the members, both ways",
            Cut::ActiveFromWatch => "active and watch, both ways",
            Cut::BothFromWatch => "both members and watch, both ways",
            Cut::ActiveMute => "from the active member to everybody",
            Cut::ActiveDeaf => "from everybody to the active member",
            Cut::ActiveIsolated => "active member and everybody, both ways",
            Cut::StandbyIsolated => "standby and everybody, both ways",
        }
    }

    /// The directed links, the active member being this one.
    fn links<'a>(
        self,
        active: &'a str,
        standby: &'a str,
        hosts: &[&'a str],
    ) -> Vec<(&'a str, &'a str)> {
        let both = |one: &'a str, two: &'a str| [(one, two), (two, one)];
        let others = |own: &'a str| hosts.iter().copied().filter(move |host| *host != own);
        match self {
            Cut::ActiveToStandby => vec![(active, standby)],
            Cut::StandbyToActive => vec![(standby, active)],
            Cut::BetweenMembers => both(active, standby).into(),
            Cut::ActiveFromWatch => both(active, WATCH).into(),
            Cut::BothFromWatch => [both(active, WATCH), both(standby, WATCH)].concat(),
            Cut::ActiveMute => others(active).map(|host| (active, host)).collect(),
            Cut::ActiveDeaf => others(active).map(|host| (host, active)).collect(),
            Cut::ActiveIsolated => others(active).flat_map(|host| both(active, host)).collect(),
            Cut::StandbyIsolated => others(standby)
                .flat_map(|host| both(standby, host))
                .collect(),
        }
    }
}

/// Disturbs, and sets right again; the moment when it began, and which links were cut.
pub(super) async fn disturb(
    installation: &mut Installation,
    network: &Network,
    kind: Kind,
    number: usize,
) -> Result<(u64, Option<Cut>)> {
    let active = installation.active().await?;
    let mut at = nanos();
    let mut cut = None;
    match kind {
        Kind::Kill => {
            installation.members[active].kill()?;
            tokio::time::sleep(RESTART).await;
            installation.members[active].start()?;
        }
        Kind::Director => {
            let active = installation.active_director().await?;
            at = nanos();
            installation.directors[active].kill()?;
            tokio::time::sleep(RESTART).await;
            installation.directors[active].start()?;
        }
        Kind::Stop => {
            installation.members[active].stop()?;
            tokio::time::sleep(LONG).await;
            installation.members[active].cont()?;
        }
        Kind::Cut => {
            let which = Cut::ALL[number % Cut::ALL.len()];
            let hosts: Vec<&str> = network.hosts().collect();
            let links = which.links(MEMBERS[active], MEMBERS[1 - active], &hosts);
            for (from, to) in &links {
                network.cut(from, to)?;
            }
            tokio::time::sleep(LONG).await;
            for (from, to) in &links {
                network.heal(from, to)?;
            }
            cut = Some(which);
        }
        Kind::Switch => {
            let command = json!({"TYPE": "ClusterSwitchOver"});
            installation.apis()[active].accept(&command).await?;
        }
        Kind::Rolling => {
            for member in [1 - active, active] {
                installation.members[member].terminate().await?;
                installation.members[member].start()?;
                // Before it follows, the other one may still say that both were coupled.
                follows(&installation.apis()[member]).await?;
                installation
                    .await_coupled()
                    .await
                    .with_context(|| format!("after the restart of {}", MEMBERS[member]))?;
            }
        }
        Kind::Crash => {
            at = nanos();
            for node in installation.all() {
                node.kill()?;
            }
            for node in installation.all() {
                node.start()?;
            }
        }
    }
    Ok((at, cut))
}

/// Waits until a member that was started follows the active one, or is that itself.
async fn follows(api: &Api) -> Result<()> {
    let deadline = Instant::now() + FOLLOWS_WITHIN;
    loop {
        let report = api.get("/controller/api/cluster").await;
        if let Ok(Ok(report)) = report
            && (report["standing"] == "standby" || report["standing"] == "active")
        {
            return Ok(());
        }
        ensure!(
            Instant::now() < deadline,
            "a restarted member does not follow"
        );
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
