//! The Controller's routes as clients of JS7 use them.

use anyhow::{Context as _, Result, bail, ensure};
use net::{Credentials, NDJSON, Passwords, Secret};
use serde_json::{Value, json};

use super::agents::quick;
use crate::conformance::case::Case;
use crate::conformance::driver::{Drive, plan_of};
use crate::world::{Api, Plan, http};

/// WA-01.
pub(crate) async fn orders_by_post(case: &Case) -> Result<()> {
    let mut drive = Drive::start(case).await?;
    let token = drive.world.admin_token()?;
    let address = drive.world.controller().address;
    let post = |body: Value| {
        let token = token.clone();
        async move {
            http::post(
                address,
                "/controller/api/order",
                Some(&token),
                "application/json",
                body.to_string().as_bytes(),
            )
            .await
        }
    };
    let order = json!({"id": "W1", "workflowPath": "web/w"});
    let created = post(order.clone()).await?;
    ensure!(created.status == 201, "{created:?}");
    let location = created.header("location").context("a Location")?.to_owned();
    ensure!(location.ends_with("/order/W1"), "{location}");
    let again = post(order.clone()).await?;
    ensure!(
        again.status == 409 && again.header("location") == Some(&location),
        "{again:?}"
    );
    let array = post(json!([order])).await?;
    ensure!(
        array.status == 200 && array.header("location").is_none(),
        "{array:?}"
    );
    for (id, workflow, told) in [
        ("W2", "MISSING", "MISSING"),
        ("A|B", "web/w", "reserved characters: |"),
    ] {
        let order = json!({"id": id, "workflowPath": workflow});
        for body in [order.clone(), json!([order])] {
            let refused = post(body).await?;
            ensure!(refused.status == 400, "{refused:?}");
            ensure!(refused.header("location").is_none(), "{refused:?}");
            ensure!(refused.text().contains(told), "{refused:?}");
        }
    }
    drive.world.await_event("W1", "OrderFinished").await?;
    Ok(())
}

/// WA-03. The release does not forward requests to Agents.
pub(crate) async fn login(case: &Case) -> Result<()> {
    let password = "correct horse battery";
    let hash = Passwords::default().hash(Secret::new(password)).await;
    let plan = Plan {
        controller_settings: vec![
            ("users.U.password-hash".to_owned(), hash),
            ("users.U.permissions".to_owned(), "View".to_owned()),
        ],
        ..Plan::default()
    };
    let mut drive = Drive::start_with(case, plan).await?;
    let url = drive.world.controller().url();
    let stranger = Api::new(&url, Credentials::None)?;
    let Ok(overview) = stranger.get("/controller/api").await? else {
        bail!("the overview is public");
    };
    ensure!(
        overview["version"].is_string() && !overview["initiallyStartedAt"].is_null(),
        "{overview}"
    );
    let login = json!({"TYPE": "Login", "userAndPassword": {"userId": "U", "password": password}});
    let answer = stranger
        .post(
            "/controller/api/session",
            "application/json",
            login.to_string(),
        )
        .await?;
    let Ok(answer) = answer else {
        bail!("the login is refused: {answer:?}");
    };
    ensure!(
        answer["TYPE"]
            .as_str()
            .is_some_and(|name| name.ends_with("LoggedIn")),
        "{answer}"
    );
    let token = answer["sessionToken"].as_str().context("a token")?;
    let session = Api::new(&url, Credentials::Session(Secret::new(token)))?;
    ensure!(
        session.get("/controller/api/order").await?.is_ok(),
        "the session is good for reading"
    );
    let refused = session
        .command(&json!({"TYPE": "TakeSnapshot"}))
        .await?
        .err();
    ensure!(
        refused.context("not for more")?.status == 403,
        "a permission is missing"
    );
    let wrong = json!({"TYPE": "Login", "userAndPassword": {"userId": "U", "password": "wrong"}});
    let refused = stranger
        .post(
            "/controller/api/session",
            "application/json",
            wrong.to_string(),
        )
        .await?
        .err();
    ensure!(
        refused.context("a wrong password")?.status == 401,
        "is refused"
    );
    let unknown = drive
        .world
        .api()
        .post("/controller/UNKNOWN", "application/json", "{}")
        .await?
        .err();
    ensure!(
        unknown.context("an unknown path")?.status == 404,
        "is not found"
    );
    Ok(())
}

/// WA-05. A single Controller does here what the case lets a cluster do.
pub(crate) async fn streams_of_orders(case: &Case) -> Result<()> {
    let drive = Drive::start(case).await?;
    drive
        .deploy(&[json!({"TYPE": "Workflow", "path": "web/empty", "instructions": []})])
        .await?;
    let post = |body: String| {
        let api = drive.world.api().clone();
        async move { api.post("/controller/api/order", NDJSON, body).await }
    };
    let line = |id: &str| format!("{}\n", json!({"id": id, "workflowPath": "web/empty"}));
    let identical = line("SAME").repeat(1_000_000 / line("SAME").len() * 100);
    let count = identical.lines().count();
    let refused = post(identical)
        .await?
        .err()
        .context("identical orders are refused")?;
    ensure!(
        refused.message.contains(&format!("{count}×Order:SAME")),
        "{refused}"
    );
    let refused = post(line("TWICE").repeat(2))
        .await?
        .err()
        .context("two equal orders are refused")?;
    ensure!(
        refused
            .message
            .contains("Unexpected duplicates: 2×Order:TWICE"),
        "{refused}"
    );
    ensure!(
        drive.world.api().order("TWICE").await?.is_none(),
        "nothing is added"
    );
    let refused = post(format!("{}not json\n", line("FIRST")))
        .await?
        .err()
        .context("no JSON")?;
    ensure!(
        refused.message.contains("line 2") && refused.message.contains("column"),
        "{refused}"
    );
    ensure!(
        drive.world.api().order("FIRST").await?.is_none(),
        "nothing is added"
    );
    let thousand: String = (0..1000)
        .map(|number| line(&format!("T{number}")))
        .collect();
    let answer = post(thousand).await?;
    ensure!(answer.is_ok(), "{answer:?}");
    for number in [0, 500, 999] {
        drive
            .world
            .await_event(&format!("T{number}"), "OrderFinished")
            .await?;
    }
    drive.settle().await?;
    let added = drive
        .world
        .history()
        .all()
        .iter()
        .filter(|seen| seen.kind == "OrderAdded")
        .count();
    ensure!(added == 1000, "{added} of 1000");
    Ok(())
}

/// WA-06. The release has no request time limit with an artificial delay.
pub(crate) async fn a_size_limit(case: &Case) -> Result<()> {
    let drive = Drive::start(case).await?;
    let big = json!({"TYPE": "AddOrder", "order": {"id": "BIG", "workflowPath": "w", "arguments": {"a": "x".repeat(9 << 20)}}});
    match drive.world.api().command(&big).await {
        Ok(Err(refused)) => ensure!(refused.status == 413, "{refused}"),
        other => bail!("too big, but {:?}", other.map(|answer| answer.is_ok())),
    }
    Ok(())
}

/// WA-08. The release has no metrics of others in one answer and no dashboard.
pub(crate) async fn metrics(case: &Case) -> Result<()> {
    let mut drive = Drive::start_with(case, plan_of(case)).await?;
    drive.deploy(&[quick("web/q")]).await?;
    drive.add_plain("M", "web/q").await?;
    drive.world.await_event("M", "OrderFinished").await?;
    let token = drive.world.admin_token()?;
    let address = drive.world.controller().address;
    let answer = http::get(address, "/metrics", Some(&token)).await?;
    ensure!(answer.status == 200, "{answer:?}");
    let kind = answer.header("content-type").unwrap_or_default().to_owned();
    ensure!(kind.starts_with("text/plain"), "{kind}");
    let text = answer.text();
    ensure!(
        text.contains("mainspring_orders{node=\"Controller\",state=\"Finished\"} 1\n"),
        "{text}"
    );
    let stranger = http::get(address, "/metrics", None).await?;
    ensure!(stranger.status == 401, "{stranger:?}");
    let token = drive.world.node_token()?;
    let agent = drive.world.node("ALFA").address;
    for path in ["/metrics", "/agent/api/metrics"] {
        let answer = http::get(agent, path, Some(&token)).await?;
        ensure!(answer.status == 200, "{answer:?}");
        let text = answer.text();
        for line in [
            "# TYPE mainspring_processes gauge\n",
            "mainspring_processes{node=\"ALFA\",subagent=\"ALFA-0\"} 0\n",
            "mainspring_link_up{node=\"ALFA\",peer=\"Subagent:ALFA-0\"} 1\n",
            "mainspring_journal_syncs_total{node=\"ALFA\"} ",
        ] {
            ensure!(text.contains(line), "{path}: {line} in\n{text}");
        }
    }
    let stranger = http::get(agent, "/agent/api/metrics", None).await?;
    ensure!(stranger.status == 401, "{stranger:?}");
    Ok(())
}
