//! The machine and the moment: a figure means nothing without them.

use std::fmt;
use std::fs;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result};
use model::Timestamp;
use serde::{Deserialize, Serialize};

/// Where and when something was measured.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Host {
    processor: String,
    cores: usize,
    memory_gib: u64,
    kernel: String,
    /// Of the last minute, before the measurement.
    load: String,
    at: String,
}

impl Host {
    pub(crate) fn look() -> Result<Host> {
        let processors = fs::read_to_string("/proc/cpuinfo")?;
        let field = |text: &str, name: &str| {
            let line = text.lines().find(|line| line.starts_with(name))?;
            Some(line.split_once(':')?.1.trim().to_owned())
        };
        let memory = fs::read_to_string("/proc/meminfo")?;
        let kib = field(&memory, "MemTotal").context("no MemTotal in /proc/meminfo")?;
        let kib: u64 = kib.split(' ').next().unwrap_or_default().parse()?;
        Ok(Host {
            processor: field(&processors, "model name")
                .unwrap_or_else(|| "unknown processor".to_owned()),
            cores: std::thread::available_parallelism()?.get(),
            memory_gib: kib.div_ceil(1 << 20),
            kernel: fs::read_to_string("/proc/sys/kernel/osrelease")?
                .trim()
                .to_owned(),
            load: load()?,
            at: format!("{} UTC", moment()),
        })
    }
}

/// The load of the last minute.
fn load() -> Result<String> {
    let text = fs::read_to_string("/proc/loadavg")?;
    Ok(text.split(' ').next().unwrap_or_default().to_owned())
}

/// Year to minute.
fn moment() -> String {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let timestamp = Timestamp::from_millis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX));
    timestamp
        .to_string()
        .get(..16)
        .unwrap_or_default()
        .replace('T', " ")
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Host {
            processor,
            cores,
            memory_gib,
            kernel,
            load,
            at,
        } = self;
        write!(
            f,
            "{at}, {cores} cores of {processor}, {memory_gib} GiB, Linux {kernel}, load before it {load}"
        )
    }
}
