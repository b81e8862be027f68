//! What the tests with real processes share: a ward in a temporary directory, scripts, and looks into `/proc`.

use process::{
    Environment, Event, ExitStatus, Launch, OutputSettings, Running, ScriptFiles, Settings,
    StartError, Stream, Ward,
};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Far above what anything here takes; a test that waits so long fails.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) struct Yard {
    pub(crate) ward: Ward,
    pub(crate) scripts: ScriptFiles,
    pub(crate) dir: tempfile::TempDir,
}

impl Yard {
    pub(crate) fn open(settings: Settings) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let (ward, leftovers) =
            Ward::open(&dir.path().join("work"), settings).expect("a fresh work directory");
        assert_eq!(leftovers, process::Leftovers::default());
        let scripts = ScriptFiles::open(&dir.path().join("scripts")).expect("a fresh directory");
        Self { ward, scripts, dir }
    }

    pub(crate) fn launch(&self, script: &str) -> Launch {
        let command = self
            .scripts
            .command(script)
            .expect("the script can be written");
        Launch {
            program: command.program,
            args: command.args,
            env: Environment::Only(vec![("PATH".into(), "/usr/local/bin:/usr/bin:/bin".into())]),
            dir: self.dir.path().to_owned(),
            tag: "test".to_owned(),
        }
    }

    pub(crate) async fn start(&self, script: &str) -> Running {
        self.ward
            .start(self.launch(script), OutputSettings::default())
            .await
            .expect("the script starts")
    }

    pub(crate) async fn run(&self, script: &str) -> Result<Run, StartError> {
        let running = self
            .ward
            .start(self.launch(script), OutputSettings::default())
            .await?;
        Ok(finish(running).await)
    }
}

#[derive(Debug, Default)]
pub(crate) struct Run {
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    pub(crate) pieces: Vec<(Stream, String)>,
    pub(crate) status: Option<ExitStatus>,
}

impl Run {
    pub(crate) fn code(&self) -> Option<i32> {
        self.status.and_then(|status| status.return_code())
    }
}

/// Pulls everything.
pub(crate) async fn finish(mut running: Running) -> Run {
    let mut run = Run::default();
    let all = async {
        while let Some(event) = running.next().await {
            match event {
                Event::Output { stream, text } => {
                    match stream {
                        Stream::Stdout => run.stdout.push_str(&text),
                        Stream::Stderr => run.stderr.push_str(&text),
                    }
                    run.pieces.push((stream, text));
                }
                Event::OutputHeld { .. } => {}
                Event::Ended(status) => {
                    assert_eq!(run.status.replace(status), None, "a job ends once");
                }
            }
        }
    };
    tokio::time::timeout(PATIENCE, all)
        .await
        .expect("the job comes to its end");
    assert!(run.status.is_some());
    run
}

/// Pulls until the output contains this.
pub(crate) async fn await_output(running: &mut Running, awaited: &str) -> String {
    let mut seen = String::new();
    let until = async {
        while !seen.contains(awaited) {
            match running.next().await {
                Some(Event::Output { text, .. }) => seen.push_str(&text),
                other => panic!("{other:?} instead of the output {awaited:?} after {seen:?}"),
            }
        }
    };
    tokio::time::timeout(PATIENCE, until)
        .await
        .expect("the output comes");
    seen
}

/// Whether a process runs: a zombie does not.
pub(crate) fn is_alive(pid: u32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| {
        stat.rsplit_once(") ")
            .is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
    })
}

pub(crate) fn open_descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd")
        .expect("our own descriptors")
        .count()
}

pub(crate) fn zombies() -> Vec<String> {
    children()
        .into_iter()
        .filter(|stat| stat.contains(") Z "))
        .collect()
}

/// The `stat` lines of our children.
pub(crate) fn children() -> Vec<String> {
    let me = std::process::id().to_string();
    let entries = std::fs::read_dir("/proc").expect("the process table");
    entries
        .flatten()
        .filter_map(|entry| std::fs::read_to_string(entry.path().join("stat")).ok())
        .filter(|stat| {
            stat.rsplit_once(") ")
                .is_some_and(|(_, rest)| rest.split(' ').nth(1) == Some(&me))
        })
        .collect()
}

pub(crate) async fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "never happened: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

pub(crate) fn write(path: &Path, content: &str) -> PathBuf {
    std::fs::write(path, content).expect("the file can be written");
    path.to_owned()
}
