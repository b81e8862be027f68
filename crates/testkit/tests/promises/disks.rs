//! Real disks of a pair's members and of its watch that fail, are full, slow, or never return.
//!
//! Where no file system can be mounted, each story is skipped and reports the reason. The journal's own tests cover faults of its writes in
//! any case.

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use std::time::{Duration, Instant};
use testkit::world::{MEMBERS, Pair, PairPlan, Trouble, Volume, skip};

use crate::PATIENCE;

/// How a process ends whose log has failed.
const LOG_FAILED: i32 = 98;
const PRIMARY: usize = 0;
const BACKUP: usize = 1;

/// A pair of which one has a disk of its own.
struct Stage {
    // Its processes end before their disk is unmounted.
    pair: Pair,
    disk: Volume,
    orders: Vec<String>,
}

impl Drop for Stage {
    fn drop(&mut self) {
        // Nobody can be killed while it waits for a disk.
        drop(self.disk.heal());
    }
}

/// `None` where there can be no such disk.
async fn stage(whose: &str) -> Result<Option<Stage>> {
    let disk = match Volume::make() {
        Ok(disk) => disk,
        Err(error) => {
            let why = format!("none can be mounted: {error:#}");
            skip("a disk with trouble", &why)?;
            return Ok(None);
        }
    };
    let plan = PairPlan {
        settings: vec!["segment=1MiB".to_owned()],
        homes: [(whose.to_owned(), disk.path())].into(),
        ..PairPlan::default()
    };
    let pair = Pair::start_with(plan).await?;
    pair.deploy_marking("marking", 0.05).await?;
    let mut stage = Stage {
        pair,
        disk,
        orders: Vec::new(),
    };
    stage.work(5).await?;
    Ok(Some(stage))
}

impl Stage {
    /// So many more orders are acknowledged.
    async fn work(&mut self, count: usize) -> Result<()> {
        for _ in 0..count {
            self.add(&json!({})).await?;
        }
        Ok(())
    }

    async fn add(&mut self, arguments: &Value) -> Result<()> {
        let id = format!("order-{}", self.orders.len());
        self.pair.add_order_with(&id, "marking", arguments).await?;
        self.orders.push(id);
        Ok(())
    }

    /// Orders come, large ones, until the log has needed a new segment: that is where a full disk is met.
    async fn fill_a_segment(&mut self) -> Result<()> {
        let text = "x".repeat(100_000);
        for _ in 0..15 {
            self.add(&json!({"text": text})).await?;
        }
        Ok(())
    }

    /// All that were acknowledged run, once, and the members are in sync at the end.
    async fn all_run_once(&self) -> Result<()> {
        self.pair.await_finished(&self.orders).await?;
        let (starts, _) = self.pair.starts();
        for order in &self.orders {
            let count = starts.get(order);
            ensure!(
                count == Some(&1),
                "S2, S4: {order} was started {count:?} times"
            );
        }
        self.pair.await_coupled().await
    }

    /// Until a member says so of its cluster.
    async fn until(&self, member: usize, what: &str, is_so: impl Fn(&Value) -> bool) -> Result<()> {
        let begun = Instant::now();
        loop {
            let asked = tokio::time::timeout(Duration::from_secs(1), self.pair.state(member));
            let state = asked.await;
            if let Ok(Ok(state)) = &state
                && is_so(state)
            {
                return Ok(());
            }
            let told = || self.pair.lament(&format!("{what}: {state:?}"));
            ensure!(begun.elapsed() < PATIENCE, "{}", told());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// The member ends by itself, as it must when its log has failed.
    async fn ends(&mut self, member: usize) -> Result<()> {
        let status = self.pair.members[member].wait_end(PATIENCE).await?;
        let told = || self.pair.lament(&format!("it ended with {status}"));
        ensure!(status.code() == Some(LOG_FAILED), "{}", told());
        Ok(())
    }
}

fn is_lost(state: &Value) -> bool {
    state["TYPE"] == "PassiveLost"
}

/// Its process ends, the other one is active, and it comes back as the standby.
async fn of_a_member(member: usize, trouble: Trouble) -> Result<()> {
    let Some(mut stage) = stage(MEMBERS[member]).await? else {
        return Ok(());
    };
    let other = MEMBERS.len() - 1 - member;
    stage.disk.set(trouble)?;
    stage.fill_a_segment().await?;
    stage.ends(member).await?;
    ensure!(
        stage.pair.active().await? == other,
        "S30: the other one follows, or stays"
    );
    if member == BACKUP {
        stage.until(PRIMARY, "told", is_lost).await?;
    }
    stage.work(5).await?;

    stage.disk.heal()?;
    stage.pair.members[member].start_ready().await?;
    stage.work(5).await?;
    stage.all_run_once().await?;
    ensure!(
        stage.pair.active().await? == other,
        "who comes back is the standby"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failing_disk_of_the_active_member_ends_it_and_the_other_one_follows() -> Result<()> {
    of_a_member(PRIMARY, Trouble::Failing).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_of_the_active_member_ends_it_and_the_other_one_follows() -> Result<()> {
    of_a_member(PRIMARY, Trouble::Full).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failing_disk_of_the_standby_ends_it_and_the_active_one_goes_on() -> Result<()> {
    of_a_member(BACKUP, Trouble::Failing).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_of_the_standby_ends_it_and_the_active_one_goes_on() -> Result<()> {
    of_a_member(BACKUP, Trouble::Full).await
}

async fn of_the_watch(trouble: Trouble) -> Result<()> {
    let Some(mut stage) = stage("watch").await? else {
        return Ok(());
    };
    stage.disk.set(trouble)?;
    // Its log is small; a vote is what it has to write in any case.
    stage.work(5).await?;
    let switch = json!({"TYPE": "ClusterSwitchOver"});
    stage.pair.api_of(PRIMARY).accept(&switch).await?;
    let begun = Instant::now();
    let status = loop {
        if let Some(status) = stage.pair.watch_end()? {
            break status;
        }
        let told = || stage.pair.lament("the watch goes on");
        ensure!(begun.elapsed() < PATIENCE, "{}", told());
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    ensure!(status.code() == Some(LOG_FAILED), "{status}");
    ensure!(stage.pair.active().await? == BACKUP, "two are enough");
    stage.work(5).await?;
    let is_missed = |state: &Value| {
        state["ifTheActiveMemberFailed"]
            .to_string()
            .contains("watch")
    };
    stage
        .until(BACKUP, "the third vote is missed", is_missed)
        .await?;

    stage.disk.heal()?;
    stage.pair.start_watch()?;
    stage.all_run_once().await?;
    let is_back = |state: &Value| state["ifTheActiveMemberFailed"] == "Primary follows";
    stage.until(BACKUP, "its vote counts", is_back).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failing_disk_of_the_watch_ends_it_and_the_pair_goes_on() -> Result<()> {
    of_the_watch(Trouble::Failing).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_of_the_watch_ends_it_and_the_pair_goes_on() -> Result<()> {
    of_the_watch(Trouble::Full).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_of_the_active_member_that_never_returns_makes_it_hand_over() -> Result<()> {
    let Some(mut stage) = stage("Primary").await? else {
        return Ok(());
    };
    stage.disk.set(Trouble::Hanging)?;
    // Two others have what is acknowledged.
    stage.work(10).await?;
    let is_active = |state: &Value| state["mayAnswer"] == true;
    stage
        .until(BACKUP, "the other one is active", is_active)
        .await?;
    stage.work(5).await?;
    let is_alone = |state: &Value| {
        state["ifTheActiveMemberFailed"]
            .to_string()
            .contains("nobody")
    };
    stage.until(BACKUP, "it is alone", is_alone).await?;
    stage
        .until(PRIMARY, "what is wrong is told", |state| {
            state["advice"].to_string().contains("look at the disk")
        })
        .await?;

    stage.disk.heal()?;
    stage.all_run_once().await?;
    ensure!(
        stage.pair.active().await? == BACKUP,
        "nothing made it change again"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_of_the_standby_that_never_returns_is_not_waited_for() -> Result<()> {
    let Some(mut stage) = stage("Backup").await? else {
        return Ok(());
    };
    stage.disk.set(Trouble::Hanging)?;
    stage.work(5).await?;
    stage.until(PRIMARY, "told", is_lost).await?;
    stage.pair.await_finished(&stage.orders).await?;

    stage.disk.heal()?;
    stage.all_run_once().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_of_the_watch_that_never_returns_is_not_noticed_while_the_pair_is_coupled()
-> Result<()> {
    let Some(mut stage) = stage("watch").await? else {
        return Ok(());
    };
    stage.disk.set(Trouble::Hanging)?;
    stage.work(10).await?;
    stage.all_run_once().await?;
    ensure!(
        stage.pair.state(PRIMARY).await?["TYPE"] == "Coupled",
        "nothing is lost"
    );
    stage.disk.heal()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_disk_of_either_member_or_of_the_watch_slows_nobody_down_for_long() -> Result<()> {
    for whose in ["Primary", "Backup", "watch"] {
        let mut changes = 0;
        while work_with_a_slow_disk(whose).await? == Some(BACKUP) {
            changes += 1;
            ensure!(changes < 3, "{whose}: a slow disk makes the pair fail over");
        }
    }
    Ok(())
}

/// Returns the member that is active with the slow disk, or `None` if this machine cannot provide such a disk. The active member is the
/// Backup only if the Primary has got no processor time for as long as a hanging member is waited for. In that case, the disk is not the
/// cause.
async fn work_with_a_slow_disk(whose: &str) -> Result<Option<usize>> {
    let Some(mut stage) = stage(whose).await? else {
        return Ok(None);
    };
    stage.disk.set(Trouble::Slow)?;
    stage.work(30).await?;
    let active = stage.pair.active().await?;
    if whose == "Backup" && active == PRIMARY {
        let is_slow = |state: &Value| state["others"][0]["isSlow"] == true;
        stage
            .until(PRIMARY, "the standby is reported as slow", is_slow)
            .await?;
    }
    stage.pair.await_finished(&stage.orders).await?;
    let active = stage.pair.active().await?;
    stage.disk.heal()?;
    stage.all_run_once().await?;
    Ok(Some(active))
}
