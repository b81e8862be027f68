//! Orders on their way through workflows.

use anyhow::{Result, ensure};
use serde_json::json;

use crate::conformance::case::Case;
use crate::conformance::driver::Drive;

/// WI-01.
pub(crate) async fn an_empty_workflow(case: &Case) -> Result<()> {
    let mut drive = Drive::start(case).await?;
    drive.all_steps().await?;
    drive.judge().await?;
    ensure!(drive.state_of("E1").await? == "Finished", "E1 stays listed");
    let gone = drive.world.api().order("E2").await?;
    ensure!(gone.is_none(), "E2 is gone, not {gone:?}");
    let delete = json!({"TYPE": "DeleteOrdersWhenTerminated", "orderIds": ["E1"]});
    drive.world.api().accept(&delete).await?;
    drive.world.await_event("E1", "OrderDeleted").await?;
    Ok(())
}
