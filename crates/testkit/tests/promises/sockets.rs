//! Who dials whom, as the kernel shows it.

use crate::{add, await_at_agent, deploy, job_at, pid};
use anyhow::Result;
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;
use testkit::world::{AgentPlan, Plan, World};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

/// The remote ends of a process's connections that it has not accepted on its own port.
fn dialled(pid: i32, own: SocketAddr) -> BTreeSet<u16> {
    let inodes = sockets_of(pid);
    let Ok(table) = std::fs::read_to_string(format!("/proc/{pid}/net/tcp")) else {
        return BTreeSet::new();
    };
    let rows = table.lines().skip(1).filter_map(|row| {
        let fields: Vec<&str> = row.split_ascii_whitespace().collect();
        let port = |end: &str| u16::from_str_radix(end.rsplit(':').next()?, 16).ok();
        let (local, remote) = (port(fields.get(1)?)?, port(fields.get(2)?)?);
        let is_own = inodes.contains(*fields.get(9)?);
        // A listening socket has no remote end.
        (is_own && remote != 0 && local != own.port()).then_some(remote)
    });
    rows.collect()
}

fn sockets_of(pid: i32) -> BTreeSet<String> {
    let Ok(entries) = std::fs::read_dir(format!("/proc/{pid}/fd")) else {
        return BTreeSet::new();
    };
    let links = entries.filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok());
    links
        .filter_map(|link| {
            let inode = link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?;
            Some(inode.to_owned())
        })
        .collect()
}

/// Looks again and again until it is told to stop.
struct Lookout {
    seen: Arc<Mutex<BTreeSet<u16>>>,
    is_over: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Lookout {
    fn on(world: &World, node: &str) -> Result<Lookout> {
        let (pid, own) = (pid(world, node)?, world.node_ref(node)?.address);
        let seen = Arc::new(Mutex::new(BTreeSet::new()));
        let is_over = Arc::new(AtomicBool::new(false));
        let (found, over) = (seen.clone(), is_over.clone());
        let thread = std::thread::spawn(move || {
            while !over.load(Ordering::Relaxed) {
                found.lock().unwrap().extend(dialled(pid, own));
                std::thread::sleep(Duration::from_millis(2));
            }
        });
        Ok(Lookout {
            seen,
            is_over,
            thread,
        })
    }

    fn end(self) -> BTreeSet<u16> {
        self.is_over.store(true, Ordering::Relaxed);
        self.thread.join().unwrap();
        let seen = self.seen.lock().unwrap();
        seen.clone()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn s21_an_agent_dials_nobody_but_its_subagents_and_a_subagent_nobody() -> Result<()> {
    let mut world = World::start(Plan {
        agents: vec![AgentPlan {
            subagents: vec!["SUB-1".to_owned()],
            ..AgentPlan::named("ALFA")
        }],
        ..Plan::default()
    })
    .await?;
    let agent = Lookout::on(&world, "ALFA")?;
    let subagent = Lookout::on(&world, "SUB-1")?;
    let gate = world.tmp().join("gate");
    let wait = format!(
        "echo READY; until [ -e {} ]; do sleep 0.05; done",
        gate.display()
    );
    deploy(
        &world,
        "w",
        &[
            job_at("ALFA", "SUB-1", &wait),
            job_at("ALFA", "ALFA-0", ":"),
        ],
    )
    .await?;
    add(&world, "A", "w").await?;
    world.await_stdout("A", "READY", 1).await?;
    world.controller().kill()?;
    // Somebody who dialled the Controller now would be let in and held, and so be seen.
    let address = world.node_ref("controller")?.address;
    let trap = TcpListener::bind(address).await?;
    let holding = tokio::spawn(async move {
        let mut held = JoinSet::new();
        while let Ok((stream, _)) = trap.accept().await {
            held.spawn(async move {
                let _held = stream;
                std::future::pending::<()>().await;
            });
        }
    });
    world.open_gate("gate")?;
    await_at_agent(&world, "ALFA", "A", "OrderDetachable").await?;
    holding.abort();
    let _cancelled = holding.await;
    world.controller().start_ready().await?;
    world.await_event("A", "OrderFinished").await?;
    let downwards = world.node_ref("SUB-1")?.address.port();
    assert_eq!(
        agent.end(),
        BTreeSet::from([downwards]),
        "S21, S150: the Agent dials its Subagent at {downwards}, and not the Controller at {}",
        address.port()
    );
    assert_eq!(
        subagent.end(),
        BTreeSet::new(),
        "S150: a Subagent is dialled"
    );
    Ok(())
}
