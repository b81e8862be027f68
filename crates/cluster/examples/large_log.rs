//! S97: a log of many gigabytes whose events nobody has confirmed yet: how long its opening takes, and with how much memory.
//!
//! `cargo run --release -p cluster --example large_log -- DIRECTORY GIGABYTES`
#![expect(clippy::print_stdout, reason = "a program for people")]

use std::fmt::Write as _;
use std::path::Path;
use std::time::Instant;

use bytes::Bytes;
use cluster::{Batch, Log, Options};

type Failure = Box<dyn std::error::Error>;

fn options(dir: &Path) -> Options {
    Options::new(dir, "agent:large")
}

/// Memory of this process now and at most, as the kernel counts it.
fn memory() -> String {
    let text = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let lines = text
        .lines()
        .filter(|line| line.starts_with("VmRSS") || line.starts_with("VmHWM"));
    lines
        .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
        .collect::<Vec<_>>()
        .join(", ")
}

async fn write(dir: &Path, gigabytes: u64) -> Result<(), Failure> {
    let begun = Instant::now();
    let log = Log::open(options(dir)).await?.log;
    let (mut id, mut written) = (0, 0);
    while written < gigabytes << 30 {
        let mut body = String::with_capacity(1 << 20);
        while body.len() < (1 << 20) - 400 {
            id += 1;
            let line = "a line of output of a job that ran while nobody listened; ".repeat(4);
            let _infallible = writeln!(
                body,
                "{{\"eventId\":{id},\"Key\":\"order-{id}\",\"TYPE\":\"OrderStdoutWritten\",\"chunk\":\"{line}\"}}"
            );
        }
        written += body.len() as u64;
        log.append(Batch {
            last_event_id: id,
            body: Bytes::from(body),
        })
        .await?;
        // The state is small; a snapshot is taken near the end, as a node would have done.
        if written >= (gigabytes << 30) - (32 << 20) && log.status().snapshot_event_id == 0 {
            log.write_snapshot(id, |out| out.write_all(b"{\"state\":\"small\"}\n"))
                .await?;
        }
    }
    println!(
        "written: {gigabytes} GiB, {id} events in {:.1?}; {}",
        begun.elapsed(),
        memory()
    );
    log.shutdown().await;
    Ok(())
}

async fn open(dir: &Path) -> Result<(), Failure> {
    let begun = Instant::now();
    let opened = Log::open(options(dir)).await?;
    println!("opened in {:.2?}; {}", begun.elapsed(), memory());
    let mut events = 0;
    for batch in opened.replay {
        events += batch?.body.split(|byte| *byte == b'\n').count() - 1;
    }
    println!(
        "replayed the {events} events behind the snapshot after {:.2?}; {}",
        begun.elapsed(),
        memory()
    );
    // A reader that was away for all that time catches up.
    let begun = Instant::now();
    let last = *opened.log.committed().borrow();
    let mut reader = opened.log.read_after(0)?;
    let (mut bytes, mut reached) = (0, 0);
    while reached < last {
        let Some(batch) = reader.next().await else {
            break;
        };
        reached = batch.last_event_id;
        bytes += batch.body.len();
    }
    println!(
        "read all {} MiB ({reached} events) from the beginning in {:.1?}; {}",
        bytes >> 20,
        begun.elapsed(),
        memory()
    );
    opened.log.shutdown().await;
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, dir, gigabytes] = &arguments[..] else {
        return Err("usage: large_log DIRECTORY GIGABYTES (0 opens what is there)".into());
    };
    let (dir, gigabytes) = (Path::new(dir), gigabytes.parse()?);
    if gigabytes > 0 {
        return write(dir, gigabytes).await;
    }
    open(dir).await
}
