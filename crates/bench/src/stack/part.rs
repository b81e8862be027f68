//! One process of the stack.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use super::http::Connection;
use crate::procfs::{Cpu, guard_of, proportional_set_size, wake_ups};

/// A process that can be started again with the same directory and port.
pub(crate) struct Part {
    command: &'static str,
    pub(crate) name: &'static str,
    pub(crate) address: SocketAddr,
    pub(crate) data: PathBuf,
    log: PathBuf,
    arguments: Vec<String>,
    child: Option<Child>,
}

impl Part {
    pub(super) fn new(command: &'static str, name: &'static str, dir: &Path) -> Result<Part> {
        // Below the range for outgoing connections, so that nobody takes it between two starts.
        let is_free = |port: &u16| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok();
        let start = 12_000 + u16::try_from(std::process::id() % 15_000)?;
        let taken = match (command, name) {
            ("controller", "controller") => 0,
            ("agent", _) => 1000,
            ("subagent", _) => 2000,
            _ => 3000,
        };
        let port = (start + taken..start + taken + 1000)
            .find(is_free)
            .context("no port is free")?;
        Ok(Part {
            command,
            name,
            address: SocketAddr::from((Ipv4Addr::LOCALHOST, port)),
            data: dir.join(name),
            log: dir.join(format!("{name}.log")),
            arguments: Vec::new(),
            child: None,
        })
    }

    pub(super) fn arguments(&mut self, arguments: &[&str]) {
        self.arguments
            .extend(arguments.iter().map(|&argument| argument.to_owned()));
    }

    pub(super) fn set(&mut self, settings: &[String]) {
        for setting in settings {
            self.arguments.extend(["--set".to_owned(), setting.clone()]);
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Its process.
    pub(crate) fn pid(&self) -> Result<u32> {
        Ok(self
            .child
            .as_ref()
            .with_context(|| format!("{} does not run", self.name))?
            .id())
    }

    /// Its process, and that of its guard if it has one.
    pub(crate) fn processes(&self) -> Result<Vec<u32>> {
        let pid = self.pid()?;
        Ok([pid].into_iter().chain(guard_of(pid)?).collect())
    }

    /// CPU time of both, and of the jobs.
    pub(crate) fn cpu(&self) -> Result<Cpu> {
        let mut all = self.processes()?.into_iter().map(Cpu::of);
        all.try_fold(Cpu::default(), |sum, cpu| Ok(sum + cpu?))
    }

    /// Proportional set size of both in bytes.
    pub(crate) fn memory(&self) -> Result<u64> {
        let all = self.processes()?.into_iter().map(proportional_set_size);
        all.sum()
    }

    /// Of the threads of both.
    pub(crate) fn wake_ups(&self) -> Result<BTreeMap<String, u64>> {
        let mut counts = BTreeMap::new();
        for pid in self.processes()? {
            counts.extend(wake_ups(pid)?);
        }
        Ok(counts)
    }

    pub(crate) fn start(&mut self) -> Result<()> {
        let log = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(&self.log)?;
        let mut command = Command::new(mainspring()?);
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("MAINSPRING_") {
                command.env_remove(name);
            }
        }
        command.arg(self.command).arg("--data").arg(&self.data);
        // A watch dials only.
        if self.command != "watch" {
            command.arg("--listen").arg(self.address.to_string());
        }
        command.args(&self.arguments).env("NO_COLOR", "1");
        command
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        self.child = Some(command.spawn()?);
        Ok(())
    }

    /// SIGKILL, and waits for the end.
    pub(crate) fn kill(&mut self) -> Result<()> {
        if let Some(mut child) = self.child.take() {
            child.kill()?;
            child.wait()?;
        }
        Ok(())
    }

    /// Waits until it does its work: a Controller or Agent answers before that, and says that it reads its log.
    pub(crate) fn wait_until_it_works(&mut self, within: Duration) -> Result<()> {
        self.wait_for(
            match self.command {
                "controller" | "agent" => "/health/active",
                _ => "/health",
            },
            within,
        )
    }

    /// Waits until it answers, working or not.
    pub(super) fn wait_until_it_answers(&mut self, within: Duration) -> Result<()> {
        self.wait_for("/health", within)
    }

    fn wait_for(&mut self, path: &str, within: Duration) -> Result<()> {
        let begin = Instant::now();
        loop {
            let answer =
                Connection::open(self.address, "").and_then(|mut connection| connection.get(path));
            let Err(error) = answer else {
                return Ok(());
            };
            let ended = self
                .child
                .as_mut()
                .and_then(|child| child.try_wait().ok().flatten());
            if let Some(status) = ended {
                bail!(
                    "{} has ended with {status}:\n{}",
                    self.name,
                    self.log_tail(20)
                );
            }
            if begin.elapsed() > within {
                return Err(error.context(format!(
                    "{} does not answer:\n{}",
                    self.name,
                    self.log_tail(20)
                )));
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read(&self.log)
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .unwrap_or_default()
    }

    pub(super) fn log_tail(&self, lines: usize) -> String {
        let log = self.log();
        let mut tail: Vec<&str> = log.lines().rev().take(lines).collect();
        tail.push(self.name);
        tail.reverse();
        format!("\n{}", tail.join("\n  | "))
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _gone = self.kill();
    }
}

/// The program: `MAINSPRING_BIN`, else what stands beside this one.
fn mainspring() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os("MAINSPRING_BIN") {
        return Ok(path.into());
    }
    let beside = std::env::current_exe()?.with_file_name("mainspring");
    if !beside.is_file() {
        bail!(
            "there is no {}: build it with the same profile, or name it in MAINSPRING_BIN",
            beside.display()
        );
    }
    Ok(beside)
}
