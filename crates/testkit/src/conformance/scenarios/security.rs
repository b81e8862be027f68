//! Certificates and tokens between the parts.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::json;

use super::agents::quick;
use crate::conformance::case::Case;
use crate::conformance::driver::{Drive, operations};
use crate::world::{Api, Node, Part, Plan};

/// SE-06. There is no way to let an Agent do without authentication here: on the loopback, too, a token is needed.
pub(crate) async fn a_wrong_token(case: &Case) -> Result<()> {
    let mut drive = Drive::start_empty(case, Plan::of(&["ALFA"])).await?;
    drive.deploy(&[quick("se/q")]).await?;
    drive.add_plain("GOOD", "se/q").await?;
    drive.world.await_event("GOOD", "OrderFinished").await?;
    let token = drive.world.dir().join("other-token");
    std::fs::write(&token, "another-token-0123456789abcdef0123456789\n")?;
    crate::world::make_private(&token)?;
    let agent = drive.world.node("ALFA");
    agent.terminate().await?;
    let right = agent.arguments.clone();
    let at = agent
        .arguments
        .iter()
        .position(|word| word == "--token-file")
        .context("a token")?;
    agent.arguments[at + 1] = token.display().to_string();
    agent.start_ready().await?;
    drive.add_plain("WAITS", "se/q").await?;
    let failed = drive
        .world
        .history()
        .wait_for(Duration::from_secs(15), |events| {
            events
                .iter()
                .find(|seen| {
                    seen.kind == "AgentCouplingFailed" && seen.to_string().contains("HTTP 401")
                })
                .cloned()
        })
        .await;
    failed.with_context(|| drive.world.lament("AgentCouplingFailed with HTTP 401"))?;
    let agent = drive.world.node("ALFA");
    agent.terminate().await?;
    agent.arguments = right;
    agent.start_ready().await?;
    drive.world.await_event("WAITS", "OrderFinished").await?;
    Ok(())
}

/// SE-05. Keys are files here, so there is no alias to select.
pub(crate) async fn mutual_tls(case: &Case) -> Result<()> {
    let drive = Drive::start_empty(case, Plan::default()).await?;
    let (dir, mark) = (drive.world.dir().to_owned(), drive.world.mark().to_owned());
    let certs = dir.join("certs");
    let foreign = dir.join("foreign");
    for (folder, names) in [
        (
            &certs,
            vec![
                ("Controller", net::Role::Controller),
                ("ALFA", net::Role::Agent),
            ],
        ),
        (&foreign, vec![("Controller", net::Role::Controller)]),
    ] {
        std::fs::create_dir_all(folder)?;
        crate::world::make_certificates(folder, &names)?;
    }
    let flags = |folder: &std::path::Path, name: &str| {
        let file = |name: String| folder.join(name).display().to_string();
        vec![
            "--ca".to_owned(),
            file("ca.pem".to_owned()),
            "--certificate".to_owned(),
            file(format!("{name}.pem")),
            "--key".to_owned(),
            file(format!("{name}.key")),
        ]
    };
    let mut controller = Node::new(Part::Controller, "tls-controller", &dir, &mark)?;
    let mut agent = Node::new(Part::Agent, "ALFA", &dir, &mark)?;
    controller.arguments = flags(&certs, "Controller");
    agent.arguments = flags(&certs, "ALFA");
    agent
        .arguments
        .extend(["--name".to_owned(), "ALFA".to_owned()]);
    controller.serve_tls(&certs);
    agent.serve_tls(&certs);
    controller.start_ready().await?;
    agent.start_ready().await?;
    let token = std::fs::read_to_string(controller.data.join("private/admin-token"))?;
    let api = Api::with_tls(&controller.url(), token.trim(), &certs.join("ca.pem"))?;
    let items = operations(&[
        json!({"TYPE": "AgentRef", "path": "ALFA", "directors": ["ALFA-0"]}),
        json!({"TYPE": "SubagentItem", "id": "ALFA-0", "agentPath": "ALFA", "uri": agent.url()}),
        quick("se/q"),
    ]);
    api.change_items(&items).await?;
    api.add_order(&json!({"id": "TLS", "workflowPath": "se/q"}))
        .await?;
    until_finished(&api, "TLS")
        .await
        .with_context(|| format!("{}{}", controller.log_tail(20), agent.log_tail(20)))?;

    // A certificate of another CA, and none at all.
    let other = Api::with_tls(&controller.url(), token.trim(), &foreign.join("ca.pem"))?;
    let error = other
        .get("/controller/api/order")
        .await
        .err()
        .context("the CA is another one")?;
    ensure!(format!("{error:#}").contains("cannot trust"), "{error:#}");
    controller.terminate().await?;
    controller.arguments = flags(&foreign, "Controller");
    controller.serve_tls(&foreign);
    controller.start_ready().await?;
    let api = Api::with_tls(&controller.url(), token.trim(), &foreign.join("ca.pem"))?;
    let deadline = std::time::Instant::now() + Duration::from_secs(15);
    loop {
        let events = api.all_events().await?;
        let failed = events
            .iter()
            .rfind(|event| event["TYPE"] == "AgentCouplingFailed");
        if let Some(failed) = failed {
            let text = failed.to_string();
            ensure!(
                text.contains("trust") || text.contains("certificate"),
                "it says that it is about trust: {text}"
            );
            return Ok(());
        }
        ensure!(
            std::time::Instant::now() < deadline,
            "no AgentCouplingFailed:\n{}",
            controller.log_tail(20)
        );
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

async fn until_finished(api: &Api, order: &str) -> Result<()> {
    let deadline = std::time::Instant::now() + Duration::from_secs(20);
    loop {
        let json = api.order(order).await?.context("the order is there")?;
        if json["state"]["TYPE"] == "Finished" {
            return Ok(());
        }
        ensure!(std::time::Instant::now() < deadline, "not finished: {json}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
