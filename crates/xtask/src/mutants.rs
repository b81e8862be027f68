//! `cargo xtask mutants`: plants small faults in the code that decides, one at a time. The tests of its crate must detect them.
//!
//! Always: `.cargo/mutants.toml` defines which code that is. Mutations that make no difference are listed there, with the reason. The
//! program that plants the faults is pinned, and is installed beside the build results if it is missing. Results are in `target/mutants`.
//! Never here: changes of the sources. The faults are planted in a copy.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail, ensure};
use serde::Deserialize;

use crate::cargo::{cargo, run as run_to_end};
use crate::metadata::Metadata;

pub(crate) const SUMMARY: &str =
    "plant faults that the tests must notice: [--shard K/N] [--only GLOB…]";

/// The program and its version, which is pinned because another version plants other faults.
const PROGRAM: &str = "cargo-mutants";
const VERSION: &str = "27.1.0";

/// The percentage of faults that must be detected. A shard is a sample, so by chance some more of its faults may stay undetected.
const WHOLE: f64 = 92.0;
const SAMPLE: f64 = 80.0;

/// The result of the run, as the program reports it. Faults that do not compile are not counted.
#[derive(Deserialize)]
struct Outcomes {
    caught: usize,
    missed: usize,
    timeout: usize,
    unviable: usize,
}

impl Outcomes {
    fn read(folder: &Path) -> Result<Outcomes> {
        let path = folder.join("mutants.out/outcomes.json");
        let text =
            std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        serde_json::from_slice(&text)
            .with_context(|| format!("cannot understand {}", path.display()))
    }

    /// Returns the number of detected faults. A fault that makes a test hang counts as detected.
    fn noticed(&self) -> usize {
        self.caught + self.timeout
    }

    fn percent(&self) -> f64 {
        let of = self.noticed() + self.missed;
        100.0 * as_f64(self.noticed()) / as_f64(of.max(1))
    }
}

fn as_f64(count: usize) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}

pub(crate) fn run(arguments: &[String]) -> Result<()> {
    let mut shard = None;
    let mut only = Vec::new();
    let mut words = arguments.iter();
    while let Some(word) = words.next() {
        let mut value = || {
            words
                .next()
                .cloned()
                .with_context(|| format!("{word} needs a value"))
        };
        match word.as_str() {
            "--shard" => shard = Some(value()?),
            "--only" => only.push(value()?),
            other => bail!("there is no option “{other}”; there are: {SUMMARY}"),
        }
    }
    let least = if shard.is_some() { SAMPLE } else { WHOLE };
    let target = Metadata::read()?.target_directory;
    let program = installed(&target)?;
    plant(&target, &program, shard.as_deref(), &only, least)
}

/// The same few faults each time, some of each crate.
pub(crate) fn sample() -> Result<()> {
    let target = Metadata::read()?.target_directory;
    match installed(&target) {
        Ok(program) => plant(&target, &program, Some("0/300"), &[], SAMPLE),
        // Without a network, there may be no way to get the program. All other checks are still worth their result.
        Err(error) => {
            println!("SKIPPED: no fault is planted: {error:#}");
            Ok(())
        }
    }
}

fn plant(
    target: &Path,
    program: &Path,
    shard: Option<&str>,
    only: &[String],
    least: f64,
) -> Result<()> {
    let results = target.join("mutants");
    let tree = results.join("tree");
    copy_sources(&tree)?;
    let is_apart = in_own_namespace("true")
        .status()
        .is_ok_and(|status| status.success());
    let mut command = if is_apart {
        in_own_namespace(program)
    } else {
        println!("without the right to make a namespace of processes, crates/process is left out");
        Command::new(program)
    };
    command
        .current_dir(&tree)
        .stdin(Stdio::null())
        .args(["mutants", "--in-place", "--colors", "never", "--no-times"])
        .arg("--output")
        .arg(&results)
        // Builds the tests of one crate with the features that the workspace requests. Otherwise the dependencies would be rebuilt for each
        // crate. Stable cargo does not support this yet, and the results of this build are used for nothing else.
        .env("CARGO_TARGET_DIR", results.join("build"))
        .env("CARGO_RESOLVER_FEATURE_UNIFICATION", "workspace")
        .env("CARGO_UNSTABLE_FEATURE_UNIFICATION", "true")
        .env("RUSTC_BOOTSTRAP", "1")
        // Nobody debugs these builds. Without debug information they are smaller and are linked faster.
        .env("CARGO_PROFILE_DEV_DEBUG", "none");
    if let Some(shard) = shard {
        // Faults are distributed round-robin, so that a shard has some of each crate.
        command.args(["--shard", shard, "--sharding", "round-robin"]);
    }
    for glob in only {
        command.args(["--file", glob]);
    }
    if !is_apart {
        command.args(["--exclude", "crates/process/**"]);
    }
    let status = command.status().context("cannot start cargo mutants")?;
    // Exit code 2: some faults were missed; 3: some tests took too long. The check below decides whether that is too many.
    ensure!(
        matches!(status.code(), Some(0 | 2 | 3)),
        "cargo mutants ended with {status}: do the tests pass without a planted fault?"
    );
    let outcomes = Outcomes::read(&results)?;
    let (noticed, missed) = (outcomes.noticed(), outcomes.missed);
    println!(
        "{noticed} of {} faults were noticed ({:.1} %); {} more do not compile; those missed are in {}",
        noticed + missed,
        outcomes.percent(),
        outcomes.unviable,
        results.join("mutants.out/missed.txt").display()
    );
    ensure!(noticed > 0, "not one fault was planted");
    ensure!(
        outcomes.percent() >= least,
        "{least} % must be noticed: write the stories that notice the rest"
    );
    Ok(())
}

/// Makes `tree` a copy of the sources. It is at the same place each time, so that builds are reused.
fn copy_sources(tree: &Path) -> Result<()> {
    let root = crate::cargo::root();
    let mut list = Command::new("git");
    list.args([
        "ls-files",
        "--cached",
        "--others",
        "--exclude-standard",
        "-z",
    ])
    .current_dir(&root);
    let listed = list.output().context("cannot start git")?;
    ensure!(
        listed.status.success(),
        "git ls-files ended with {}",
        listed.status
    );
    let names = String::from_utf8(listed.stdout).context("a file's name is no text")?;
    let sources = tree.join("crates");
    if sources.exists() {
        remove_unlisted(tree, &sources, &names.split('\0').collect())?;
    }
    for name in names.split('\0').filter(|name| !name.is_empty()) {
        let (from, to) = (root.join(name), tree.join(name));
        // A file that was deleted without a commit is still listed.
        let Ok(content) = std::fs::read(&from) else {
            continue;
        };
        // An unchanged file keeps its modification time, because cargo rebuilds by it.
        if std::fs::read(&to).is_ok_and(|known| known == content) {
            continue;
        }
        let folder = to.parent().context("a file is in a folder")?;
        std::fs::create_dir_all(folder)?;
        std::fs::copy(&from, &to)
            .with_context(|| format!("cannot copy {} to {}", from.display(), to.display()))?;
    }
    Ok(())
}

/// Removes the files of an earlier copy that are no longer sources.
fn remove_unlisted(tree: &Path, folder: &Path, names: &BTreeSet<&str>) -> Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            remove_unlisted(tree, &path, names)?;
        } else if let Some(name) = path.strip_prefix(tree)?.to_str()
            && !names.contains(name)
        {
            std::fs::remove_file(&path)?;
        }
    }
    Ok(())
}

/// Returns the command in a PID namespace of its own, because a fault may kill any process that it sees.
fn in_own_namespace(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new("unshare");
    command
        .args(["--pid", "--fork", "--mount-proc", "--kill-child", "--"])
        .arg(program)
        .stdin(Stdio::null());
    command
}

/// Returns the path of the program, installed by the system or by an earlier run. Otherwise builds the program.
fn installed(target: &Path) -> Result<PathBuf> {
    let root = target.join("tools");
    let program = root.join("bin").join(PROGRAM);
    for known in [PathBuf::from(PROGRAM), program.clone()] {
        let version = Command::new(&known).args(["mutants", "--version"]).output();
        if let Ok(output) = version
            && String::from_utf8_lossy(&output.stdout).contains(VERSION)
        {
            return Ok(known);
        }
    }
    println!("installing {PROGRAM} {VERSION} into {}", root.display());
    let mut install = cargo([
        "install",
        PROGRAM,
        "--version",
        VERSION,
        "--locked",
        "--quiet",
    ]);
    install.arg("--root").arg(&root);
    run_to_end(install)?;
    Ok(program)
}
