//! The data directories of earlier builds are opened, and all orders in them continue.
//!
//! Always: each directory in `golden/` of this crate, as `golden/make` has created it with the program of that time.

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Instant;
use testkit::world::{Api, copy_dir, free_port, mainspring, make_private};

use crate::PATIENCE;

/// Controller, Agent and Subagent in one process, on a copy of an earlier build's directory.
struct Standalone {
    process: Child,
    api: Api,
    dir: tempfile::TempDir,
}

impl Drop for Standalone {
    fn drop(&mut self) {
        // The guard of the process ends the jobs that still run.
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

impl Standalone {
    fn start(golden: &Path) -> Result<Standalone> {
        let dir = tempfile::Builder::new()
            .prefix("testkit-golden-")
            .tempdir()?;
        let data = dir.path().join("data");
        copy_dir(golden, &data)?;
        // Git keeps no modes.
        let token = data.join("controller/private/admin-token");
        make_private(&token)?;
        make_private(&data.join("agent/private/token"))?;
        let address = format!("127.0.0.1:{}", free_port()?);
        let log = std::fs::File::create(dir.path().join("log"))?;
        let process = Command::new(mainspring()?)
            .arg("standalone")
            .arg("--data")
            .arg(&data)
            .args(["--listen", &address])
            .args(["--agent-listen", &format!("127.0.0.1:{}", free_port()?)])
            .args(["--set", "controller.segment=1MiB"])
            .args(["--set", "agent.segment=1MiB"])
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()?;
        let token = std::fs::read_to_string(&token)?;
        let api = Api::with_token(&format!("http://{address}"), &token)?;
        Ok(Standalone { process, api, dir })
    }

    async fn state_of(&self, order: &str) -> Result<String> {
        let order = self.api.order(order).await?.context("it is not there")?;
        if order["isSuspended"] == true {
            return Ok("Suspended".to_owned());
        }
        Ok(order["state"]["TYPE"].as_str().unwrap_or("?").to_owned())
    }

    /// Waits until an order is in a state.
    async fn reaches(&self, order: &str, state: &str) -> Result<()> {
        let until = Instant::now() + PATIENCE;
        loop {
            let found = self.state_of(order).await;
            if matches!(&found, Ok(found) if found == state) {
                return Ok(());
            }
            let log = || std::fs::read_to_string(self.dir.path().join("log"));
            ensure!(
                Instant::now() < until,
                "{order} has not become {state}: {found:?}\n{}",
                log()?
            );
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    }

    async fn accept(&self, command: Value) -> Result<()> {
        self.api.accept(&command).await.map(|_answer| ())
    }
}

fn golden() -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("golden"))? {
        let path = entry?.path();
        if path.join("controller").is_dir() {
            found.push(path);
        }
    }
    found.sort();
    ensure!(!found.is_empty(), "there is no data directory");
    Ok(found)
}

async fn goes_on(golden: &Path) -> Result<()> {
    let node = Standalone::start(golden)?;
    for (order, state) in [
        ("finished", "Finished"),
        ("finished-after", "Finished"),
        ("failed", "Failed"),
        ("scheduled", "Fresh"),
        ("retrying", "DelayingRetry"),
        ("suspended", "Suspended"),
    ] {
        node.reaches(order, state).await?;
    }
    // Their processes were lost with the node; they are repeated.
    node.reaches("running", "Finished").await?;
    node.reaches("forking", "Finished").await?;

    let resume = json!({"TYPE": "ResumeOrder", "orderId": "suspended", "restartKilledJob": true});
    node.accept(resume).await?;
    node.reaches("suspended", "Finished").await?;
    let cancel = json!({"TYPE": "CancelOrders", "orderIds": ["scheduled", "retrying"]});
    node.accept(cancel).await?;
    for order in ["scheduled", "retrying"] {
        node.reaches(order, "Cancelled").await?;
    }
    let order = json!({"id": "new", "workflowPath": "golden/sequence"});
    node.api.add_order(&order).await?;
    node.reaches("new", "Finished").await?;

    let events = node.api.all_events().await?;
    let ids = events.iter().map(|event| event["eventId"].as_u64());
    ensure!(
        ids.is_sorted_by(|one, two| one < two),
        "the numbers of events increase over both builds"
    );
    let written = |order: &str| -> String {
        let is_of_it =
            |event: &&Value| event["Key"] == order && event["TYPE"] == "OrderStdoutWritten";
        let chunks = events.iter().filter(is_of_it);
        chunks.filter_map(|event| event["chunk"].as_str()).collect()
    };
    for (order, output) in [
        ("finished-after", "first of bert\nsecond after done\n"),
        ("new", "first of nobody\nsecond after done\n"),
    ] {
        ensure!(written(order) == output, "{order}: {:?}", written(order));
    }
    Ok(())
}

/// R13.
#[tokio::test(flavor = "multi_thread")]
async fn a_data_directory_of_each_earlier_build_is_opened_and_its_orders_go_on() -> Result<()> {
    for golden in golden()? {
        let told = || format!("the directory of {}", golden.display());
        goes_on(&golden).await.with_context(told)?;
    }
    Ok(())
}
