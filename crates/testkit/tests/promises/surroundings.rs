//! A node does not depend on the state that it inherits (signals, descriptors, limits, umask, environment), and it survives the end of its
//! guard.

use crate::{add, await_file, count, deploy, job, pid};
use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use testkit::world::{AgentPlan, Plan, World};

/// Starts a world in which a shell starts each node after these commands.
async fn started_after(shell: &str, environment: &[(&str, &str)]) -> Result<World> {
    let mut world = World::prepare(Plan::of(&["ALFA"])).await?;
    let own = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    for node in world.node_names() {
        let node = world.node(&node);
        node.started_after = Some(shell.to_owned());
        node.environment.extend(environment.iter().map(own));
    }
    world.set_up().await?;
    Ok(world)
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_run_as_ever_under_ignored_and_blocked_signals_with_few_descriptors_and_leave_no_secret()
-> Result<()> {
    let shell = "ulimit -Sn 80; umask 026; exec 7</etc/passwd; \
        exec env --ignore-signal=CHLD,HUP,INT,QUIT --block-signal=TERM,USR1,CHLD";
    let world = started_after(shell, &[("MAINSPRING_TOKEN", "a-secret")]).await?;
    let script = "umask; env; cat /proc/self/status; ls -l /proc/self/fd; exit 3";
    deploy(&world, "look", &[job("ALFA", script)]).await?;
    add(&world, "L", "look").await?;
    let ended = world.await_event("L", "OrderProcessed").await?;
    ensure!(
        ended.json["outcome"]["namedValues"]["returnCode"] == 3,
        "{ended}"
    );
    let seen = world.history().stdout_of("L");
    ensure!(seen.starts_with("0026\n"), "{seen}");
    ensure!(
        !seen.contains("a-secret") && !seen.contains("MAINSPRING_TOKEN"),
        "{seen}"
    );
    ensure!(seen.contains("SigBlk:\t0000000000000000"), "{seen}");
    ensure!(!seen.contains("/etc/passwd"), "{seen}");

    // More than the soft limit allows.
    let script = format!(
        "until [ -e {}/go ]; do sleep 0.1; done",
        world.tmp().display()
    );
    deploy(&world, "many", &[job("ALFA", &script)]).await?;
    for number in 0..60 {
        add(&world, &format!("M-{number}"), "many").await?;
    }
    for number in 0..60 {
        world
            .await_event(&format!("M-{number}"), "OrderProcessingStarted")
            .await?;
    }
    world.open_gate("go")?;
    for number in 0..60 {
        world
            .await_event(&format!("M-{number}"), "OrderFinished")
            .await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_for_which_there_are_not_enough_descriptors_wait_and_fail_not() -> Result<()> {
    // This sets the hard limit, too, so that only some tens of jobs fit at a time.
    let world = started_after("ulimit -n 120; exec env", &[]).await?;
    let script = format!(
        "until [ -e {}/go ]; do sleep 0.1; done",
        world.tmp().display()
    );
    deploy(&world, "many", &[job("ALFA", &script)]).await?;
    for number in 0..90 {
        add(&world, &format!("M-{number}"), "many").await?;
    }
    let says = |text: &'static str| {
        let world = &world;
        move || async move { Ok(world.node_ref("ALFA")?.log().contains(text)) }
    };
    world
        .await_that(
            "a line of the log on the shortage",
            says("jobs wait, because this machine is short"),
        )
        .await?;
    world.open_gate("go")?;
    for number in 0..90 {
        world
            .await_event(&format!("M-{number}"), "OrderFinished")
            .await?;
        ensure!(count(&world, &format!("M-{number}"), "OrderProcessingStarted") == 1);
    }
    world
        .await_that(
            "a line of the log on its end",
            says("no job waits for the machine any more"),
        )
        .await
}

fn is_open(meta: &std::fs::Metadata) -> bool {
    let mode = meta.permissions().mode() & 0o777;
    mode != mode & 0o700
}

/// Collects the paths below the directory that other users may read, write or enter.
fn open_to_others(dir: &Path, found: &mut Vec<PathBuf>) -> Result<()> {
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        let meta = std::fs::symlink_metadata(&path)?;
        if is_open(&meta) {
            found.push(path.clone());
        }
        if meta.is_dir() {
            open_to_others(&path, found)?;
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_else_reads_what_orders_carry_and_jobs_write_whatever_the_umask_is() -> Result<()> {
    let mut plan = Plan {
        agents: vec![AgentPlan {
            name: "ALFA".to_owned(),
            is_pair: true,
            subagents: vec!["SUB-1".to_owned()],
            ..AgentPlan::default()
        }],
        ..Plan::default()
    };
    plan.controller_settings
        .push(("snapshot-period".to_owned(), "1s".to_owned()));
    let mut world = World::prepare(plan).await?;
    for node in world.node_names() {
        world.node(&node).started_after = Some("umask 000; exec env".to_owned());
    }
    world.set_up().await?;
    let script = format!(
        "echo secret; echo x=1 >>$MAINSPRING_RETURN_VALUES; : >{tmp}/runs; until [ -e {tmp}/go ]; do sleep 0.1; done",
        tmp = world.tmp().display()
    );
    let mut file = job("ALFA", &script);
    file["job"]["executable"]["env"] = serde_json::json!({"F": "toFile('secret', '*.txt')"});
    deploy(&world, "s", &[file]).await?;
    add(&world, "S", "s").await?;
    await_file(&world, "runs").await?;
    let look = || -> Result<Vec<PathBuf>> {
        let mut found = Vec::new();
        for name in world.node_names() {
            let node = world.node_ref(&name)?;
            let meta = std::fs::metadata(&node.data)?;
            ensure!(!is_open(&meta), "{name}: {meta:?}");
            open_to_others(&node.data, &mut found)?;
        }
        // A job creates files with a umask of its own.
        found.retain(|path| !path.to_string_lossy().contains("work/values/"));
        Ok(found)
    };
    let found = look()?;
    ensure!(found.is_empty(), "{found:?}");
    world.open_gate("go")?;
    world.await_event("S", "OrderFinished").await?;
    let found = look()?;
    ensure!(found.is_empty(), "{found:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn directories_that_others_could_enter_are_closed_at_the_next_start() -> Result<()> {
    let mut world = World::start(Plan::of(&["ALFA"])).await?;
    for name in ["ALFA".to_owned(), world.controller().name.clone()] {
        let node = world.node(&name);
        node.kill()?;
        let dirs = [node.data.clone(), node.data.join("state")];
        for dir in &dirs {
            std::fs::set_permissions(dir, std::fs::Permissions::from_mode(0o755))?;
        }
        node.start_ready().await?;
        for dir in &dirs {
            let mode = std::fs::metadata(dir)?.permissions().mode() & 0o777;
            ensure!(mode == 0o700, "{}: {mode:o}", dir.display());
        }
    }
    Ok(())
}

/// The guards whose parent is this process.
fn guards_of(parent: i32) -> Vec<i32> {
    let Ok(entries) = std::fs::read_dir("/proc") else {
        return Vec::new();
    };
    let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<i32>().ok());
    let is_guard = |pid: &i32| {
        let words = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let is_guard = words.split(|byte| *byte == 0).nth(1) == Some(b"guard".as_slice());
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let of = stat
            .rsplit_once(") ")
            .and_then(|(_, rest)| rest.split(' ').nth(1)?.parse().ok());
        is_guard && of == Some(parent)
    };
    pids.filter(is_guard).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn s140_a_guard_that_was_killed_is_replaced_and_the_new_one_ends_the_jobs_of_a_killed_node()
-> Result<()> {
    let mut world = World::start(Plan::of(&["ALFA"])).await?;
    let agent = pid(&world, "ALFA")?;
    let first = *guards_of(agent)
        .first()
        .context("its Subagent has a guard")?;
    ensure!(
        nix::sys::signal::kill(
            nix::unistd::Pid::from_raw(first),
            nix::sys::signal::Signal::SIGKILL
        )
        .is_ok()
    );
    // Nothing else happens at the Agent that could cause it to check its guard.
    world
        .await_that("another guard", || async {
            Ok(guards_of(agent).iter().any(|pid| *pid != first))
        })
        .await?;
    let log = world.node_ref("ALFA")?.log();
    ensure!(log.contains("the guard of the jobs has ended"), "{log}");

    let file = world.tmp().join("pid");
    let script = format!("echo $$ >{}; mv {0} {0}s; exec sleep 1000", file.display());
    deploy(&world, "w", &[job("ALFA", &script)]).await?;
    add(&world, "W", "w").await?;
    await_file(&world, "pids").await?;
    let job: i32 = std::fs::read_to_string(world.tmp().join("pids"))?
        .trim()
        .parse()?;
    world.node("ALFA").kill()?;
    let is_gone = || async {
        let stat = std::fs::read_to_string(format!("/proc/{job}/stat")).unwrap_or_default();
        Ok(stat.is_empty() || stat.contains(") Z "))
    };
    world
        .await_that("the end of the job, by the new guard", is_gone)
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_of_which_only_a_background_process_is_left_is_killed_without_its_grace_time()
-> Result<()> {
    let world = World::start(Plan::of(&["ALFA"])).await?;
    let mut job = job("ALFA", "sleep 1000 & echo ready; exit 5");
    // Much longer than anybody waits here.
    job["job"]["sigkillDelay"] = 1000.into();
    deploy(&world, "w", &[job]).await?;
    add(&world, "W", "w").await?;
    world.await_stdout("W", "ready", 1).await?;
    world
        .await_that("the end of the main process", || async {
            let log = world.node_ref("ALFA")?.log();
            Ok(log.contains("the main process has ended, but other processes hold"))
        })
        .await?;
    let told = world.command_line(&["order", "cancel", "W", "--kill"])?;
    ensure!(told.status.success(), "{told:?}");
    let ended = world.await_event("W", "OrderProcessed").await?;
    ensure!(ended.json["outcome"]["TYPE"] == "Killed", "{ended}");
    let code: &Value = &ended.json["outcome"]["outcome"]["namedValues"]["returnCode"];
    ensure!(*code == 5, "{ended}");
    Ok(())
}
