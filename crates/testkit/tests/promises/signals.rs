//! What the real program does with signals, for every kind of node: SIGHUP opens the log file anew and reads certificates again, SIGTERM
//! and SIGINT end in order, a second one at once, and what is sent by mistake changes nothing.

use crate::{PATIENCE, add, await_file, deploy, job};
use anyhow::{Context as _, Result, ensure};
use net::{Client, ClientError, ClientSettings, Role, TlsClient, TlsFiles};
use nix::sys::signal::Signal;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};
use testkit::world::{
    AgentPlan, Node, Part, Plan, World, certified, free_port, make_certificates, make_private,
};

const KINDS: [Part; 5] = [
    Part::Controller,
    Part::Agent,
    Part::Subagent,
    Part::Watch,
    Part::Standalone,
];
/// What ends a process by default and has no meaning for a node.
const WITHOUT_MEANING: [Signal; 11] = [
    Signal::SIGPIPE,
    Signal::SIGUSR1,
    Signal::SIGUSR2,
    Signal::SIGALRM,
    Signal::SIGSTKFLT,
    Signal::SIGXCPU,
    Signal::SIGXFSZ,
    Signal::SIGVTALRM,
    Signal::SIGPROF,
    Signal::SIGIO,
    Signal::SIGPWR,
];

/// A node that knows no other one.
fn alone(part: Part, dir: &Path, proof: &[String]) -> Result<Node> {
    let mark = dir.display().to_string();
    let mut node = Node::new(part, &format!("{part:?}"), dir, &mark)?;
    let scheme = if proof.iter().any(|argument| argument == "--ca") {
        "https"
    } else {
        "http"
    };
    let more: Vec<String> = match part {
        Part::Controller | Part::Subagent => Vec::new(),
        Part::Agent => vec!["--name".to_owned(), "A".to_owned()],
        Part::Watch => {
            let member = format!("Primary={scheme}://127.0.0.1:1");
            ["--id", "W", "--member", &member]
                .map(str::to_owned)
                .to_vec()
        }
        Part::Standalone => vec![
            "--agent-listen".to_owned(),
            format!("127.0.0.1:{}", free_port()?),
        ],
    };
    node.arguments.extend(more);
    if part != Part::Standalone {
        node.arguments.extend_from_slice(proof);
    }
    Ok(node)
}

async fn soon(what: &str, node: &mut Node, is_so: impl Fn() -> bool) -> Result<()> {
    let begun = Instant::now();
    while !is_so() {
        if let Some(status) = node.try_wait()? {
            anyhow::bail!("{} has ended with {status} before {what}", node.name);
        }
        ensure!(
            begun.elapsed() < PATIENCE,
            "{}: never {what}\n{}",
            node.name,
            node.log_tail(30)
        );
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    Ok(())
}

/// What logrotate does: the file is renamed, then the process gets a signal.
async fn rotate(node: &mut Node, log: &Path, number: usize) -> Result<()> {
    let renamed = log.with_extension(number.to_string());
    fs::rename(log, &renamed)?;
    node.signal(Signal::SIGHUP)?;
    soon("a new log file", node, || log.exists()).await?;
    // Lines go to the new file only.
    let size = fs::metadata(&renamed)?.len();
    soon("a line in the new file", node, || {
        fs::metadata(log).is_ok_and(|file| file.len() > 0)
    })
    .await?;
    ensure!(fs::metadata(&renamed)?.len() == size, "{}", node.name);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn each_kind_of_node_opens_its_log_anew_ignores_what_has_no_meaning_and_ends_in_order()
-> Result<()> {
    let dir = tempfile::tempdir()?;
    let token = dir.path().join("token");
    fs::write(&token, testkit::world::drawn_token())?;
    make_private(&token)?;
    let proof = ["--token-file".to_owned(), token.display().to_string()];
    for part in KINDS {
        let log = dir.path().join(format!("{part:?}-file.log"));
        let mut node = alone(part, dir.path(), &proof)?;
        let file = log.display().to_string();
        node.arguments.extend(["--log-file".to_owned(), file]);
        for (number, end) in [Signal::SIGTERM, Signal::SIGINT].into_iter().enumerate() {
            let size = || fs::metadata(&log).map_or(0, |file| file.len());
            let before = size();
            node.start()?;
            // From its first line on, also while it is still starting.
            soon("a line in its log", &mut node, || size() > before).await?;
            rotate(&mut node, &log, 2 * number).await?;
            for signal in WITHOUT_MEANING {
                node.signal(signal)?;
            }
            for number in [34, 40, 64] {
                real_time_signal(&node, number)?;
            }
            rotate(&mut node, &log, 2 * number + 1).await?;
            node.signal(end)?;
            let status = node.wait_end(PATIENCE).await?;
            ensure!(status.success(), "{part:?} ended with {status} after {end}");
            let told = fs::read_to_string(&log)?;
            ensure!(told.contains(end.as_str()), "{part:?}: {told}");
        }
    }
    Ok(())
}

fn real_time_signal(node: &Node, number: i32) -> Result<()> {
    // The crate that sends signals knows none by a number.
    let pid = node.pid().context("it runs")?.to_string();
    let sent = std::process::Command::new("kill")
        .args([format!("-{number}"), pid])
        .status()?;
    ensure!(sent.success(), "{number} cannot be sent");
    Ok(())
}

/// Returns whether the node at this address lets in a client with the certificates of this folder, which proves that it trusts their CA
/// and that its own certificate is of that CA.
async fn is_trusted(url: &str, folder: &Path) -> Result<bool> {
    let mut settings = ClientSettings::new(url);
    settings.request_timeout = Duration::from_secs(5);
    settings.tls = Some(TlsClient::load(&TlsFiles {
        ca: folder.join("ca.pem"),
        certificate: folder.join("caller.pem"),
        key: folder.join("caller.key"),
    })?);
    match Client::new(settings)?.get_bytes("/health").await {
        Ok(_) | Err(ClientError::Refused { .. }) => Ok(true),
        Err(_) => Ok(false),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_kind_of_node_reads_replaced_certificates_at_sighup() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let folders = ["used", "before", "after"].map(|name| dir.path().join(name));
    let [used, before, after] = &folders;
    for folder in [before, after] {
        fs::create_dir(folder)?;
        let names = [("node", Role::Controller), ("caller", Role::Controller)];
        make_certificates(folder, &names)?;
    }
    fs::create_dir(used)?;
    let replace = |by: &Path| -> Result<()> {
        for file in ["ca.pem", "node.pem", "node.key"] {
            // A renamed file is complete at any time.
            fs::copy(by.join(file), used.join("new"))?;
            fs::rename(used.join("new"), used.join(file))?;
        }
        Ok(())
    };
    let proof = certified(used, "node");
    for part in KINDS {
        if part == Part::Standalone {
            // It speaks no TLS.
            continue;
        }
        replace(before)?;
        let mut node = alone(part, dir.path(), &proof)?;
        node.serve_tls(before);
        if part == Part::Watch {
            let address = node.address.to_string();
            node.arguments.extend(["--listen".to_owned(), address]);
        }
        node.start()?;
        let url = node.url();
        let begun = Instant::now();
        while !is_trusted(&url, before).await? {
            ensure!(begun.elapsed() < PATIENCE, "{}", node.log_tail(30));
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        ensure!(!is_trusted(&url, after).await?, "{part:?}");
        replace(after)?;
        ensure!(
            is_trusted(&url, before).await?,
            "{part:?}: not before it is told"
        );
        // A pair of files that do not match is not taken, and what was read before stays in use.
        fs::copy(before.join("node.key"), used.join("node.key"))?;
        node.signal(Signal::SIGHUP)?;
        let log = || node.log();
        let begun = Instant::now();
        while !log().contains("certificates") {
            ensure!(begun.elapsed() < PATIENCE, "{}", node.log_tail(30));
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        ensure!(is_trusted(&url, before).await?, "{part:?}: {}", node.log());
        replace(after)?;
        node.signal(Signal::SIGHUP)?;
        let begun = Instant::now();
        while !is_trusted(&url, after).await? {
            ensure!(begun.elapsed() < PATIENCE, "{}", node.log_tail(30));
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        ensure!(!is_trusted(&url, before).await?, "{part:?}");
        let status = node.terminate().await?;
        ensure!(status.success(), "{part:?} ended with {status}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_signal_ends_a_node_at_once_and_the_next_start_puts_its_job_right() -> Result<()> {
    let mut world = World::prepare(Plan {
        agents: vec![AgentPlan {
            subagents: vec!["SUB".to_owned()],
            is_local_disabled: true,
            ..AgentPlan::named("A")
        }],
        ..Plan::default()
    })
    .await?;
    // Longer than this test may take: who waits for the job fails it.
    let patient = ["--set", "jobs.grace-timeout=600s"].map(str::to_owned);
    world.node("SUB").arguments.extend(patient);
    world.set_up().await?;
    let started = world.tmp().join("started");
    let script = format!(
        "trap '' TERM; echo x >>{0}; until [ -e {1}/go ]; do sleep 0.05; done",
        started.display(),
        world.tmp().display()
    );
    deploy(&world, "stubborn", &[job("A", &script)]).await?;
    add(&world, "O", "stubborn").await?;
    await_file(&world, "started").await?;

    world.node("SUB").signal(Signal::SIGTERM)?;
    let is_ending = || async { Ok(world.node_ref("SUB")?.log().contains("ending in order")) };
    world
        .await_that("the first signal heard", is_ending)
        .await?;
    let ended = world.node("SUB").try_wait()?;
    ensure!(ended.is_none(), "it waits for its job: {ended:?}");
    world.node("SUB").signal(Signal::SIGINT)?;
    let status = world.node("SUB").wait_end(PATIENCE).await?;
    ensure!(status.code() == Some(1), "{status}");
    world.open_gate("go")?;
    world.node("SUB").start_ready().await?;
    world.await_event("O", "OrderFinished").await?;
    let starts = fs::read_to_string(&started)?.lines().count();
    ensure!(starts == 2, "started {starts} times");
    Ok(())
}
