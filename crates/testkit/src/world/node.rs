//! One `mainspring` process with a directory and a port of its own, through all of its lives.
//!
//! Always: a further start uses the same directory, port and arguments; its log lines are appended to the same file.

use std::fs::OpenOptions;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use net::{Client, ClientSettings, TlsClient};
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use nix::unistd::Pid;

use super::binary::mainspring;
use super::ports::free_port;
use super::wreckage::WORLD_VARIABLE;

const READY_WITHIN: Duration = Duration::from_secs(30);
const LOOK_EVERY: Duration = Duration::from_millis(15);

/// What a process is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The Controller.
    Controller,
    /// An Agent with its own Subagent.
    Agent,
    /// A Subagent.
    Subagent,
    /// A watch of members. It listens nowhere.
    Watch,
    /// A Controller and an Agent in one process. The Agent listens where `--agent-listen` says.
    Standalone,
}

impl Part {
    /// The command of the program that runs it.
    pub fn command(self) -> &'static str {
        match self {
            Part::Controller => "controller",
            Part::Agent => "agent",
            Part::Subagent => "subagent",
            Part::Watch => "watch",
            Part::Standalone => "standalone",
        }
    }
}

/// A process that is started, killed and started again.
#[derive(Debug)]
pub struct Node {
    /// Its name.
    pub name: String,
    /// What it is.
    pub part: Part,
    /// Its data directory.
    pub data: PathBuf,
    /// Where it listens.
    pub address: SocketAddr,
    /// What else stands on its command line.
    pub arguments: Vec<String>,
    /// Variables of its environment besides those of the test.
    pub environment: Vec<(String, String)>,
    /// No file of it may become larger: a disk without room, for whoever writes.
    pub file_bytes_max: Option<u64>,
    /// Shell commands that set the state that the program inherits. The program and its arguments are appended to the last command.
    pub started_after: Option<String>,
    /// The network namespace in which it is started, if not in that of the test.
    pub namespace: Option<PathBuf>,
    /// The CA's certificate, if the node speaks TLS.
    ca: Option<PathBuf>,
    log: PathBuf,
    mark: String,
    child: Option<Child>,
    is_stopped: bool,
    starts: u32,
}

impl Node {
    /// A process that has not been started, with a directory in `world` and a free port.
    pub fn new(part: Part, name: &str, world: &Path, mark: &str) -> Result<Node> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()?));
        Ok(Node::at(address, part, name, world, mark))
    }

    /// The same at an address that nobody else uses.
    pub fn at(address: SocketAddr, part: Part, name: &str, world: &Path, mark: &str) -> Node {
        Node {
            name: name.to_owned(),
            part,
            data: world.join(name),
            address,
            arguments: Vec::new(),
            environment: Vec::new(),
            file_bytes_max: None,
            started_after: None,
            namespace: None,
            ca: None,
            log: world.join(format!("{name}.log")),
            mark: mark.to_owned(),
            child: None,
            is_stopped: false,
            starts: 0,
        }
    }

    /// Its base URL.
    pub fn url(&self) -> String {
        let scheme = if self.ca.is_some() { "https" } else { "http" };
        format!("{scheme}://{}", self.address)
    }

    /// It speaks TLS with a certificate of the CA in this folder; the arguments say with which.
    pub fn serve_tls(&mut self, certificates: &Path) {
        self.ca = Some(certificates.join("ca.pem"));
    }

    /// How often it has been started.
    pub fn starts(&self) -> u32 {
        self.starts
    }

    /// Its process, if it runs.
    pub fn pid(&self) -> Option<i32> {
        let child = self.child.as_ref()?;
        i32::try_from(child.id()).ok()
    }

    /// Whether it has been stopped by a signal and not continued.
    pub fn is_stopped(&self) -> bool {
        self.is_stopped
    }

    /// Starts it; does not wait until it answers.
    pub fn start(&mut self) -> Result<()> {
        if self.child.is_some() {
            bail!("{} runs already", self.name);
        }
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&self.log)
            .with_context(|| format!("the log {} cannot be opened", self.log.display()))?;
        let program = mainspring()?;
        let mut command = if let Some(namespace) = &self.namespace {
            // It becomes the program, so signals reach that one.
            let mut command = std::process::Command::new("nsenter");
            command
                .arg(format!("--net={}", namespace.display()))
                .arg("--")
                .arg(program);
            command
        } else if let Some(bytes) = self.file_bytes_max {
            // A shell counts in blocks of 512 bytes. Without the trap the signal would come before the error.
            let limited = format!("trap '' XFSZ; ulimit -f {}; exec \"$@\"", bytes / 512);
            let mut command = std::process::Command::new("/bin/sh");
            command.args(["-c", &limited, "sh"]).arg(program);
            command
        } else if let Some(commands) = &self.started_after {
            let mut command = std::process::Command::new("/bin/sh");
            command
                .args(["-c", &format!("{commands} \"$@\""), "sh"])
                .arg(program);
            command
        } else {
            std::process::Command::new(program)
        };
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("MAINSPRING_") {
                command.env_remove(name);
            }
        }
        command
            .arg(self.part.command())
            .arg("--data")
            .arg(&self.data);
        if self.part != Part::Watch {
            command.arg("--listen").arg(self.address.to_string());
        }
        command
            .args(&self.arguments)
            .env(WORLD_VARIABLE, &self.mark)
            .env("NO_COLOR", "1")
            .envs(
                self.environment
                    .iter()
                    .map(|(name, value)| (name.as_str(), value.as_str())),
            )
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        let child = command
            .spawn()
            .with_context(|| format!("{} cannot be started", self.name))?;
        self.child = Some(child);
        self.starts += 1;
        Ok(())
    }

    /// Waits until it answers its health check.
    pub async fn wait_ready(&mut self) -> Result<()> {
        let mut settings = ClientSettings::new(self.url());
        settings.request_timeout = Duration::from_secs(2);
        settings.tls = self.ca.as_deref().map(TlsClient::load_ca).transpose()?;
        let client = Client::new(settings)?;
        let deadline = Instant::now() + READY_WITHIN;
        loop {
            if client.get_bytes(self.sign_of_readiness()).await.is_ok() {
                return Ok(());
            }
            if let Some(status) = self.try_wait()? {
                bail!(
                    "{} has ended with {status} instead of becoming ready:\n{}",
                    self.name,
                    self.log_tail(30)
                );
            }
            if Instant::now() > deadline {
                bail!(
                    "{} is not ready after {READY_WITHIN:?}:\n{}",
                    self.name,
                    self.log_tail(30)
                );
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// What is answered as soon as it does its work. Without other members a Controller or Agent is soon active, with others maybe never.
    fn sign_of_readiness(&self) -> &'static str {
        let has_others = self
            .arguments
            .iter()
            .any(|argument| argument.starts_with("cluster."));
        match self.part {
            Part::Controller | Part::Standalone if !has_others => "/controller/api",
            Part::Agent if !has_others => "/health/active",
            Part::Standalone | Part::Controller | Part::Agent | Part::Subagent | Part::Watch => {
                "/health"
            }
        }
    }

    /// Starts it and waits until it answers.
    pub async fn start_ready(&mut self) -> Result<()> {
        self.start()?;
        self.wait_ready().await
    }

    /// SIGKILL, and waits for the end.
    pub fn kill(&mut self) -> Result<()> {
        self.signal(Signal::SIGKILL)?;
        if let Some(mut child) = self.child.take() {
            child.wait()?;
        }
        self.is_stopped = false;
        Ok(())
    }

    /// SIGSTOP, and waits until it stands still: it hangs until it is continued.
    pub fn stop(&mut self) -> Result<()> {
        self.signal(Signal::SIGSTOP)?;
        self.is_stopped = true;
        self.wait_stopped()
    }

    /// One thread takes the signal when it gets a processor, tens of milliseconds later on a busy machine: until then the others still answer.
    fn wait_stopped(&self) -> Result<()> {
        let Some(pid) = self.pid() else {
            bail!("{} does not run", self.name);
        };
        // The kernel tells it of the last thread. Its end is left to those who wait for that.
        let stopped_or_ended = WaitPidFlag::WSTOPPED | WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT;
        loop {
            match waitid(Id::Pid(Pid::from_raw(pid)), stopped_or_ended) {
                Err(Errno::EINTR) => {}
                waited => {
                    let waited = waited.with_context(|| format!("{} is not ours", self.name))?;
                    if matches!(waited, WaitStatus::Stopped(..)) {
                        return Ok(());
                    }
                    bail!("{} has ended instead of being stopped", self.name);
                }
            }
        }
    }

    /// SIGCONT.
    pub fn cont(&mut self) -> Result<()> {
        self.signal(Signal::SIGCONT)?;
        self.is_stopped = false;
        Ok(())
    }

    /// SIGTERM, and waits for the orderly end.
    pub async fn terminate(&mut self) -> Result<ExitStatus> {
        self.signal(Signal::SIGTERM)?;
        self.wait_end(Duration::from_secs(40)).await
    }

    /// Waits until the process has ended by itself.
    pub async fn wait_end(&mut self, within: Duration) -> Result<ExitStatus> {
        let deadline = Instant::now() + within;
        loop {
            if let Some(status) = self.try_wait()? {
                return Ok(status);
            }
            if Instant::now() > deadline {
                bail!(
                    "{} has not ended within {within:?}:\n{}",
                    self.name,
                    self.log_tail(30)
                );
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// How it ended, if it has.
    pub fn try_wait(&mut self) -> Result<Option<ExitStatus>> {
        let Some(child) = &mut self.child else {
            bail!("{} has not been started", self.name);
        };
        let ended = child.try_wait()?;
        if ended.is_some() {
            self.child = None;
            self.is_stopped = false;
        }
        Ok(ended)
    }

    /// All that it has logged, in all lives.
    pub fn log(&self) -> String {
        std::fs::read(&self.log)
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .unwrap_or_default()
    }

    /// The last lines of its log.
    pub fn log_tail(&self, lines: usize) -> String {
        let log = self.log();
        let all: Vec<&str> = log.lines().collect();
        let tail = &all[all.len().saturating_sub(lines)..];
        let mut text = String::new();
        for line in tail {
            text.push_str("  ");
            text.push_str(&self.name);
            text.push_str(" | ");
            text.push_str(line);
            text.push('\n');
        }
        text
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let Some(pid) = self.pid() else {
            bail!("{} does not run", self.name);
        };
        kill(Pid::from_raw(pid), signal)
            .with_context(|| format!("{} cannot be sent {signal}", self.name))
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            // It may have ended by itself; a stopped process, too, obeys SIGKILL.
            let _gone = child.kill();
            let _reaped = child.wait();
        }
    }
}
