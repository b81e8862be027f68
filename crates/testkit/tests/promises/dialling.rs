//! Who dials whom, as the packets between hosts show it. Needs the right to make network namespaces, and says so where it is missing.

use anyhow::{Result, ensure};
use std::collections::BTreeSet;
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;
use testkit::trial::{
    CLIENT, Capture, Courier, DIRECTORS, Dialling, Directing, Installation, MEMBERS, SUBAGENTS,
    WATCH,
};
use testkit::world::{Network, skip};

/// Nothing is heard for so long while somebody who would dial upwards has reason to.
const SILENCE: Duration = Duration::from_secs(2);

/// Creates hosts with a bridge between them. If this is not possible, the test is skipped.
fn network() -> Result<Option<Arc<Network>>> {
    let network = Arc::new(Network::build(&Installation::hosts()));
    let Some(why) = network.why_loopback() else {
        return Ok(Some(network));
    };
    skip(
        "packets between hosts",
        &format!("no network namespaces: {why}"),
    )?;
    Ok(None)
}

fn dialling(from: &str, to: &str, port: u16) -> Dialling {
    Dialling {
        from: from.to_owned(),
        to: to.to_owned(),
        port,
    }
}

/// Everything that may be dialled in an installation, and is.
fn downwards() -> BTreeSet<Dialling> {
    let mut wanted = BTreeSet::new();
    for member in MEMBERS {
        wanted.insert(dialling(CLIENT, member, 4444));
        wanted.insert(dialling(WATCH, member, 4444));
        wanted.extend(DIRECTORS.map(|director| dialling(member, director, 4445)));
    }
    // The one that joins dials.
    wanted.insert(dialling(MEMBERS[1], MEMBERS[0], 4444));
    for (director, other) in [(DIRECTORS[0], DIRECTORS[1]), (DIRECTORS[1], DIRECTORS[0])] {
        let subagents = (4446..).zip(SUBAGENTS);
        wanted.extend(subagents.map(|(port, subagent)| dialling(director, subagent, port)));
        // The other Director has a Subagent as well; besides, the one that joins dials.
        wanted.insert(dialling(director, other, 4445));
    }
    wanted
}

async fn add_some(courier: &Courier, name: &str) -> Result<()> {
    for number in 0..12 {
        courier
            .add_order(&format!("{name}-{number}"), "long")
            .await?;
    }
    Ok(())
}

async fn through_all_faults(network: Arc<Network>) -> Result<()> {
    let mut installation = Installation::start(&network, Directing::Pair).await?;
    let courier = Courier::new(installation.apis());
    add_some(&courier, "first").await?;
    // Each member is active once.
    for _ in MEMBERS {
        let active = installation.active().await?;
        installation.members[active].kill()?;
        add_some(&courier, &format!("after-{active}")).await?;
        installation.members[active].start()?;
        installation.await_coupled().await?;
    }
    for _ in DIRECTORS {
        let active = installation.active_director().await?;
        installation.directors[active].kill()?;
        add_some(&courier, &format!("directed-{active}")).await?;
        installation.active_director().await?;
        installation.directors[active].start()?;
        installation.await_coupled().await?;
    }
    // Those below have something to tell, and nobody asks.
    add_some(&courier, "untold").await?;
    for member in &mut installation.members {
        member.kill()?;
    }
    tokio::time::sleep(SILENCE).await;
    for director in &mut installation.directors {
        director.kill()?;
    }
    tokio::time::sleep(SILENCE).await;
    installation.watch.kill()?;
    for subagent in &mut installation.subagents {
        subagent.kill()?;
    }
    for node in installation.all() {
        node.start()?;
    }
    installation.await_coupled().await?;
    add_some(&courier, "last").await
}

#[test]
fn s21_s28_s149_s150_no_part_dials_upwards_or_to_a_database_whatever_fails() -> Result<()> {
    let Some(network) = network()? else {
        return Ok(());
    };
    let capture = Capture::start(&network)?;
    let runtime = network.runtime(CLIENT)?;
    runtime.block_on(runtime.spawn(through_all_faults(network)))??;
    let seen: BTreeSet<Dialling> = capture.end().into_keys().collect();
    // The test itself looks from the client's host whether each part answers.
    let is_a_look =
        |dialling: &&Dialling| dialling.from == CLIENT && !MEMBERS.contains(&dialling.to.as_str());
    let seen: BTreeSet<Dialling> = seen
        .iter()
        .filter(|dialling| !is_a_look(dialling))
        .cloned()
        .collect();
    let wanted = downwards();
    let upwards: Vec<_> = seen.difference(&wanted).collect();
    let missed: Vec<_> = wanted.difference(&seen).collect();
    ensure!(
        upwards.is_empty(),
        "S21, S28, S149, S150: dialled, though nobody may: {upwards:?}"
    );
    ensure!(
        missed.is_empty(),
        "the capture has not seen what must have been dialled: {missed:?}"
    );
    Ok(())
}

#[test]
fn a_part_that_dialled_upwards_would_be_seen() -> Result<()> {
    let Some(network) = network()? else {
        return Ok(());
    };
    let capture = Capture::start(&network)?;
    let (from, at) = (network.clone(), network.address(MEMBERS[0]));
    let dialled = std::thread::spawn(move || {
        from.enter(SUBAGENTS[0])?;
        // Nobody listens there: the first packet is all there is.
        anyhow::Ok(TcpStream::connect(SocketAddr::from((at, 4444))).is_err())
    });
    let dialled = dialled
        .join()
        .map_err(|_panic| anyhow::anyhow!("the one who dials has panicked"))?;
    ensure!(dialled?, "nobody listens");
    std::thread::sleep(Duration::from_millis(200));
    let seen: Vec<Dialling> = capture.end().into_keys().collect();
    ensure!(
        seen == [dialling(SUBAGENTS[0], MEMBERS[0], 4444)],
        "seen: {seen:?}"
    );
    Ok(())
}
