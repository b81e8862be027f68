//! A Subagent in miniature that is to be killed: starts the scripts given as arguments in the work directory given first,
//! and waits for ever. For the tests of what its successor finds.

use process::{Environment, Launch, OutputSettings, Settings, Ward};
use std::path::Path;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let dir = args.next().ok_or("the work directory is missing")?;
    let (ward, _leftovers) = Ward::open(Path::new(&dir), Settings::default())?;
    let mut running = vec![];
    for (index, script) in args.enumerate() {
        let launch = Launch {
            program: "/bin/sh".into(),
            args: vec!["-c".into(), script.into()],
            env: Environment::Only(vec![("PATH".into(), "/usr/bin:/bin".into())]),
            dir: "/".into(),
            tag: format!("job {index}"),
        };
        running.push(ward.start(launch, OutputSettings::default()).await?);
    }
    std::future::pending::<()>().await;
    // Dropped here, if ever, and not before.
    drop(running);
    Ok(())
}
