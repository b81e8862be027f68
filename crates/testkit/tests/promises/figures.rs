//! The metrics for monitoring, of every part and in every role.

use crate::{PATIENCE, add, deploy, job, metrics};
use anyhow::{Context as _, Result, ensure};
use std::collections::BTreeSet;
use std::time::{Duration, Instant};
use testkit::world::{AgentPlan, Api, Pair, PairPlan, Plan, World};

fn has(page: &str, line: &str) -> Result<()> {
    ensure!(page.lines().any(|known| known == line), "{line} in\n{page}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn both_members_and_the_watch_say_what_they_are_and_how_they_stand_to_each_other()
-> Result<()> {
    let mut pair = Pair::start(&[]).await?;
    pair.deploy_marking("marking", 0.1).await?;
    pair.add_order("A", "marking").await?;
    pair.await_finished(&["A".to_owned()]).await?;
    let active = metrics(pair.api_of(0)).await?;
    has(
        &active,
        "mainspring_role{node=\"Controller\",role=\"active\"} 1",
    )?;
    has(&active, "mainspring_cluster_coupled{node=\"Controller\"} 1")?;
    has(
        &active,
        "mainspring_member_connected{node=\"Controller\",member=\"Backup\"} 1",
    )?;
    has(
        &active,
        "mainspring_orders_ended_total{node=\"Controller\",outcome=\"finished\"} 1",
    )?;
    has(
        &active,
        "mainspring_order_seconds_count{node=\"Controller\",outcome=\"finished\"} 1",
    )?;
    has(
        &active,
        "mainspring_jobs_ended_total{node=\"Controller\",outcome=\"succeeded\"} 1",
    )?;
    let standby = metrics(pair.api_of(1)).await?;
    has(
        &standby,
        "mainspring_role{node=\"Controller\",role=\"standby\"} 1",
    )?;
    has(
        &standby,
        "mainspring_role{node=\"Controller\",role=\"active\"} 0",
    )?;
    has(
        &standby,
        "mainspring_member_connected{node=\"Controller\",member=\"Primary\"} 1",
    )?;
    for name in [
        "mainspring_journal_bytes{",
        "process_cpu_seconds_total{",
        "mainspring_build_info{",
    ] {
        ensure!(standby.contains(name), "{name} in\n{standby}");
    }
    let nobody = Api::new(&pair.members[1].url(), net::Credentials::None)?;
    ensure!(
        metrics(&nobody).await.is_err(),
        "only for those who may see it"
    );

    // A watch that serves its metrics.
    pair.kill_watch()?;
    let address = format!("127.0.0.1:{}", testkit::world::free_port()?);
    let mut watch = pair.watch("watch", "watch")?;
    let mut watch = watch.args(["--listen", &address]).spawn()?;
    let token = std::fs::read_to_string(pair.members[0].data.join("private/admin-token"))?;
    let api = Api::with_token(&format!("http://{address}"), token.trim())?;
    let begun = Instant::now();
    let told = loop {
        match metrics(&api).await {
            Ok(told) if told.contains("mainspring_member_connected") => break told,
            _ => {
                ensure!(begun.elapsed() < PATIENCE, "the watch does not answer");
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    };
    watch.kill()?;
    watch.wait()?;
    has(&told, "mainspring_role{node=\"watch\",role=\"watch\"} 1")?;
    ensure!(
        told.contains("mainspring_member_connected{node=\"watch\",member=\"Primary\"}"),
        "{told}"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subagent_tells_its_own_figures_to_those_who_know_its_token() -> Result<()> {
    let agent = AgentPlan {
        subagents: vec!["SUB".to_owned()],
        ..AgentPlan::named("A")
    };
    let world = World::start(Plan {
        agents: vec![agent],
        ..Plan::default()
    })
    .await?;
    deploy(&world, "w", &[job("A", "exit 7")]).await?;
    add(&world, "O", "w").await?;
    world.await_event("O", "OrderFailed").await?;
    let told = metrics(world.api()).await?;
    has(
        &told,
        "mainspring_orders_failed_total{node=\"Controller\"} 1",
    )?;
    has(
        &told,
        "mainspring_jobs_ended_total{node=\"Controller\",outcome=\"failed\"} 1",
    )?;
    let agent = metrics(&crate::agent_api(&world, "A")?).await?;
    has(
        &agent,
        "mainspring_jobs_ended_total{node=\"A\",outcome=\"failed\"} 1",
    )?;
    has(&agent, "mainspring_role{node=\"A\",role=\"active\"} 1")?;
    let subagent = Api::with_token(&world.node_ref("SUB")?.url(), &world.node_token()?)?;
    let told = metrics(&subagent).await?;
    has(
        &told,
        "mainspring_link_up{node=\"SUB\",peer=\"Director\"} 1",
    )
    .context("it is coupled")?;
    for name in [
        "mainspring_processes{",
        "mainspring_report_bytes{",
        "process_open_fds{",
    ] {
        ensure!(told.contains(name), "{name} in\n{told}");
    }
    let nobody = Api::new(&world.node_ref("SUB")?.url(), net::Credentials::None)?;
    ensure!(
        metrics(&nobody).await.is_err(),
        "only for those who may see it"
    );
    Ok(())
}

/// The names of the metrics on a page.
fn names(page: &str) -> BTreeSet<&str> {
    let types = page
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE "))
        .filter_map(|line| line.split(' ').next());
    types.collect()
}

/// The names of the metrics that a part has according to the manual.
fn documented(part: &str) -> BTreeSet<&'static str> {
    let manual = include_str!("../../../../docs/operating.md");
    let row = |line: &'static str| -> Option<&'static str> {
        let mut cells = line.strip_prefix("| `")?.split(" | ");
        let name = cells.next()?.strip_suffix('`')?;
        let is_metric = ["gauge", "counter", "histogram"].contains(&cells.next()?);
        let at = cells.next().filter(|_| is_metric)?;
        (at == "all" || at.split(", ").any(|word| word == part)).then_some(name)
    };
    manual.lines().filter_map(row).collect()
}

/// A metric that no part writes is an alarm that never rings.
#[tokio::test(flavor = "multi_thread")]
async fn every_metric_is_on_the_page_of_those_parts_that_the_manual_names() -> Result<()> {
    let mut pair = Pair::start_with(PairPlan {
        is_tls: true,
        ..PairPlan::default()
    })
    .await?;
    pair.deploy_marking("marking", 0.1).await?;
    pair.add_order("O", "marking").await?;
    pair.await_finished(&["O".to_owned()]).await?;
    let folder = pair.dir().join("certificates");
    let member = net::TlsFiles {
        ca: folder.join("ca.pem"),
        certificate: folder.join("Primary.pem"),
        key: folder.join("Primary.key"),
    };
    pair.kill_watch()?;
    let address = format!("127.0.0.1:{}", testkit::world::free_port()?);
    let mut watch = pair.watch("watch", "watch")?;
    let mut watch = watch.args(["--listen", &address]).spawn()?;
    let api = Api::with_certificate(&format!("https://{address}"), &member)?;
    let begun = Instant::now();
    let of_watch = loop {
        match metrics(&api).await {
            Ok(page) if page.contains("mainspring_member_connected") => break page,
            _ => {
                ensure!(begun.elapsed() < PATIENCE, "the watch does not answer");
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    };
    watch.kill()?;
    watch.wait()?;
    let of_agent = metrics(&Api::with_certificate(&pair.agent.url(), &member)?).await?;
    let pages = [
        ("Controller", metrics(pair.api().await?).await?),
        ("Agent", of_agent),
        ("Subagent", of_subagent().await?),
        ("watch", of_watch),
    ];
    for (part, page) in &pages {
        let mut expected = documented(part);
        let mut found = names(page);
        if *part == "Subagent" {
            // This one has no certificates.
            expected.remove("mainspring_certificate_expiry_timestamp_seconds");
        }
        if *part == "Agent" {
            // It has no other Director.
            found.insert("mainspring_member_connected");
        }
        ensure!(
            found == expected,
            "{part}: only on its page: {:?}; only in the manual: {:?}",
            found.difference(&expected).collect::<Vec<_>>(),
            expected.difference(&found).collect::<Vec<_>>()
        );
    }
    Ok(())
}

async fn of_subagent() -> Result<String> {
    let world = World::start(Plan {
        agents: vec![AgentPlan {
            subagents: vec!["SUB".to_owned()],
            ..AgentPlan::named("A")
        }],
        ..Plan::default()
    })
    .await?;
    metrics(&Api::with_token(
        &world.node_ref("SUB")?.url(),
        &world.node_token()?,
    )?)
    .await
}
