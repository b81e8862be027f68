//! A small Subagent for the tests of what jobs inherit. Runs the script given as the second argument in the work directory given as the
//! first one. Prints the script's output and exit code.
#![expect(clippy::print_stdout, reason = "the test reads it")]

use process::{Environment, Event, Launch, OutputSettings, Settings, Ward, settle_inherited};
use std::path::Path;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // A file that this process has opened itself is not inherited, neither by it nor by its jobs.
    let own = std::fs::File::open("/dev/null")?;
    let found = settle_inherited();
    println!("own: {}", std::os::fd::AsRawFd::as_raw_fd(&own));
    for line in found.changed {
        println!("changed: {line}");
    }
    for line in found.doubtful {
        println!("doubtful: {line}");
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?;
    runtime.block_on(job())
}

async fn job() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let dir = args.next().ok_or("the work directory is missing")?;
    let script = args.next().ok_or("the script is missing")?;
    let (ward, _leftovers) = Ward::open(Path::new(&dir), Settings::default())?;
    let launch = Launch {
        program: "/bin/bash".into(),
        args: vec!["-c".into(), script.into()],
        env: Environment::Inherited(vec![]),
        dir: "/".into(),
        tag: "job".to_owned(),
    };
    let mut running = ward.start(launch, OutputSettings::default()).await?;
    while let Some(event) = running.next().await {
        match event {
            Event::Output { text, .. } => print!("{text}"),
            Event::OutputHeld { .. } => {}
            Event::Ended(status) => println!("code: {:?}", status.code),
        }
    }
    Ok(())
}
