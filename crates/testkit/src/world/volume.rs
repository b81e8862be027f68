//! A disk of its own for a node, that can be full, fail, be slow or never return: a file system in an image, mounted.
//!
//! Always: the trouble is the kernel's, so the program meets it where it would meet that of a real disk; all of it goes with the
//! value, and what an earlier process that was killed has left is removed first.
//! Where nothing can be mounted, there is no such disk: `make` says why.

use std::fs::File;
use std::io::Write as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail, ensure};

const PREFIX: &str = "testkit-volume-";
/// The memory behind the image takes all of it; when something else uses it up, the disk cannot write any more.
const MEMORY: &str = "64m";
const IMAGE_BYTES: u64 = 48 << 20;
/// The bytes of a block, and of each write to the image.
const PAGE: &str = "4096";
const THROTTLE: &str = "/sys/fs/cgroup/blkio/blkio.throttle";

/// What may be wrong with a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// There is no room: `ENOSPC`.
    Full,
    /// Writes fail: `EIO` for whoever waits for them to be on the disk.
    Failing,
    /// Five writes a second, of which a flush needs two: hundreds of times slower than a good one.
    Slow,
    /// A write takes longer than anybody waits.
    Hanging,
}

/// The disk.
#[derive(Debug)]
pub struct Volume {
    dir: PathBuf,
    trouble: Option<Trouble>,
}

impl Volume {
    /// Makes one that is well, and empty. The error says what cannot be done here.
    pub fn make() -> Result<Volume> {
        remove_leftovers()?;
        let name = format!(
            "{PREFIX}{}-{:08x}",
            std::process::id(),
            rand::random::<u32>()
        );
        let dir = std::env::temp_dir().join(name);
        for folder in ["memory", "disk"] {
            std::fs::create_dir_all(dir.join(folder))?;
        }
        // From here on dropping it clears up, however far this gets.
        let volume = Volume { dir, trouble: None };
        let size = format!("size={MEMORY}");
        run(
            "mount",
            &["-t", "tmpfs", "-o", &size, "tmpfs"],
            &[&volume.memory()],
        )?;
        File::create(volume.image())?.set_len(IMAGE_BYTES)?;
        run("mkfs.ext4", &["-q", "-b", PAGE], &[&volume.image()])?;
        volume.mount()?;
        ensure!(
            throttle("write_iops_device").exists(),
            "the kernel limits no writes: there is no {THROTTLE}.*"
        );
        Ok(volume)
    }

    /// Where files are put.
    pub fn path(&self) -> PathBuf {
        self.dir.join("disk")
    }

    /// From now on this is wrong with it.
    pub fn set(&mut self, trouble: Trouble) -> Result<()> {
        ensure!(self.trouble.is_none(), "{:?} already", self.trouble);
        self.trouble = Some(trouble);
        // What was put here before is to stay, also where nobody has waited for the disk.
        run("sync", &["-f"], &[&self.path()])?;
        match trouble {
            Trouble::Full => use_up(&self.path()),
            Trouble::Failing => use_up(&self.memory()),
            Trouble::Slow => self.limit("write_iops_device", 5),
            Trouble::Hanging => self.limit("write_bps_device", 1),
        }
    }

    /// It is well again, with what had reached it. After failing that takes that nobody uses it.
    pub fn heal(&mut self) -> Result<()> {
        let Some(trouble) = self.trouble else {
            bail!("nothing is wrong with it");
        };
        match trouble {
            Trouble::Full => std::fs::remove_file(ballast(&self.path()))?,
            Trouble::Failing => {
                std::fs::remove_file(ballast(&self.memory()))?;
                // The file system has given up, as after a fault of a real disk.
                run("umount", &[], &[&self.path()])?;
                self.mount()?;
            }
            Trouble::Slow => self.limit("write_iops_device", 0)?,
            Trouble::Hanging => self.limit("write_bps_device", 0)?,
        }
        self.trouble = None;
        Ok(())
    }

    fn memory(&self) -> PathBuf {
        self.dir.join("memory")
    }

    fn image(&self) -> PathBuf {
        self.memory().join("image")
    }

    fn mount(&self) -> Result<()> {
        run("mount", &["-o", "loop"], &[&self.image(), &self.path()])?;
        // The kernel takes a write into an image that fails in its middle for one that was done. A page fails as a whole.
        let pages = device_of(&self.path())?.join("queue/max_sectors_kb");
        std::fs::write(&pages, "4").with_context(|| format!("{} takes nothing", pages.display()))
    }

    fn limit(&self, what: &str, per_second: u32) -> Result<()> {
        limit(&self.path(), what, per_second)
    }
}

impl Drop for Volume {
    fn drop(&mut self) {
        remove(&self.dir);
    }
}

fn ballast(dir: &Path) -> PathBuf {
    dir.join("ballast")
}

/// Writes until there is no room.
fn use_up(dir: &Path) -> Result<()> {
    let mut file = File::create(ballast(dir))?;
    // The last bytes, too: in pieces that become smaller.
    for size in [1 << 20, 4096, 1] {
        let piece = vec![b'.'; size];
        while file.write_all(&piece).is_ok() {}
    }
    Ok(())
}

fn throttle(what: &str) -> PathBuf {
    PathBuf::from(format!("{THROTTLE}.{what}"))
}

/// Limits the device of a mounted directory, for everybody. 0: no limit.
fn limit(mounted: &Path, what: &str, per_second: u32) -> Result<()> {
    let path = throttle(what);
    std::fs::write(&path, format!("{} {per_second}\n", number_of(mounted)?))
        .with_context(|| format!("{} takes no limit", path.display()))
}

/// The number of the device of a mounted directory, as the kernel writes it.
fn number_of(mounted: &Path) -> Result<String> {
    let device = std::fs::metadata(mounted)?.dev();
    let (major, minor) = (nix::sys::stat::major(device), nix::sys::stat::minor(device));
    Ok(format!("{major}:{minor}"))
}

fn device_of(mounted: &Path) -> Result<PathBuf> {
    Ok(Path::new("/sys/dev/block").join(number_of(mounted)?))
}

/// As far as it is there.
fn remove(dir: &Path) {
    let disk = dir.join("disk");
    for what in ["write_iops_device", "write_bps_device"] {
        // What still waits for the disk comes to its end.
        drop(limit(&disk, what, 0));
    }
    for mounted in [disk, dir.join("memory")] {
        drop(run("umount", &["--lazy"], &[&mounted]));
    }
    drop(std::fs::remove_dir_all(dir));
}

fn remove_leftovers() -> Result<()> {
    for entry in std::fs::read_dir(std::env::temp_dir())? {
        let entry = entry?;
        let name = entry.file_name();
        let maker = name.to_str().and_then(|name| name.strip_prefix(PREFIX));
        let maker = maker.and_then(|rest| rest.split('-').next());
        if let Some(maker) = maker
            && !Path::new("/proc").join(maker).exists()
        {
            remove(&entry.path());
        }
    }
    Ok(())
}

fn run(program: &str, arguments: &[&str], paths: &[&Path]) -> Result<()> {
    let output = Command::new(program)
        .args(arguments)
        .args(paths)
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("{program} cannot be run"))?;
    let told = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{program}: {}", told.trim());
    Ok(())
}
