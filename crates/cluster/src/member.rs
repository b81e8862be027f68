//! Who takes part in a cluster, and with which times.
//!
//! Always: a member's number is drawn once for its directory and never again, so that a member with an empty disk is another
//! member: it cannot vote a second time in the name of the one it replaces. No two clusters have a member of the same number, not
//! even when both have the same name: what is dialled by mistake is never taken for a member.

use std::fmt;
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

/// The number of a log that began alone before numbers were drawn for such ones, too.
const UNDRAWN: u64 = 1;
const MEMBER_FILE: &str = "member";

/// What a member keeps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Part {
    /// The events; it may become the active one.
    #[default]
    Data,
    /// Only which events there are: the third vote of a pair. It never becomes the active one.
    Watch,
    /// The third vote of a pair, recorded by another cluster: only the newest entry that it has confirmed. As long as every data member
    /// keeps up, entries are sent to it only now and then.
    Witness,
}

impl Part {
    /// Whether it is the third vote of a pair, which keeps no events.
    pub fn is_third_vote(self) -> bool {
        self != Part::Data
    }
}

/// Which member of which cluster speaks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Hello {
    /// Whose log: `controller:NAME` or `agent:NAME`.
    pub cluster: String,
    /// The member's number.
    pub member: u64,
    /// What people call it: `Primary`, `Backup`, the watch's id.
    pub name: String,
    /// What it keeps.
    pub part: Part,
    /// The times that it goes by.
    pub timing: Timing,
    /// Who belongs to the cluster as its log has it; nobody while it waits to be taken in.
    pub members: Vec<u64>,
    /// Since which entry of the log: its term and its place. Of two that disagree, the later one knows.
    pub members_since: Option<(u64, u64)>,
    /// Where it is reached, if it says so.
    pub url: Option<String>,
    /// The process that sends this. Members of an earlier version do not send it. On the wire it is placed after the rest of the hello,
    /// where members of an earlier version ignore it.
    #[serde(skip)]
    pub run: Option<ProcessRun>,
}

/// One run of a member's process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessRun {
    /// Different for each process, even if one runs in a copy of the other's directory.
    pub id: String,
    /// Where the process runs, for messages to people.
    pub place: String,
}

impl ProcessRun {
    /// Describes this process. `address` is the address at which it is reached, if that is known.
    pub(crate) fn of_this_process(address: Option<&str>) -> ProcessRun {
        static BEGUN: OnceLock<u128> = OnceLock::new();
        let begun = BEGUN.get_or_init(|| {
            let since = SystemTime::now().duration_since(UNIX_EPOCH);
            since.unwrap_or_default().as_nanos()
        });
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        let (process, host) = (std::process::id(), host.trim());
        let at = address.map_or_else(String::new, |address| format!("{address}, "));
        ProcessRun {
            id: format!("{host}-{process}-{begun}"),
            place: format!("{at}process {process} on {host}"),
        }
    }
}

impl Hello {
    /// The number of one who has no log yet and only asks.
    pub const NOBODY: u64 = 0;
}

impl fmt::Display for Hello {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} (member {} of {})",
            self.name, self.member, self.cluster
        )
    }
}

/// How soon a silent active member is given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timing {
    /// The active member is heard at least so often.
    pub heartbeat: Duration,
    /// Nobody follows another one before the active member has been silent for so long.
    pub silence_min: Duration,
    /// How long the active member's right to act lasts after a majority has heard it, and the longest wait before an election.
    pub silence_max: Duration,
    /// So long the watch waits for an event that the other data member has not got; then that member counts as lost.
    pub hold: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            heartbeat: Duration::from_millis(50),
            silence_min: Duration::from_millis(150),
            silence_max: Duration::from_millis(300),
            hold: Duration::from_millis(150),
        }
    }
}

/// Returns the number of the member whose directory this is. If the directory has neither a number nor a log, a number is drawn and
/// recorded. A file that contains no number is an error of the kind `InvalidData`.
pub(crate) fn number_of(dir: &Path, has_log: bool) -> std::io::Result<u64> {
    let path = dir.join(MEMBER_FILE);
    match std::fs::read_to_string(&path) {
        Ok(text) => {
            return text.trim().parse().map_err(|error| {
                let told = format!("{} is no member's number: {error}", path.display());
                std::io::Error::new(std::io::ErrorKind::InvalidData, told)
            });
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    if has_log {
        return Ok(UNDRAWN);
    }
    let number = draw_number()?;
    let temporary = write_private(dir, "member.tmp", &format!("{number}\n"))?;
    std::fs::rename(&temporary, &path)?;
    std::fs::File::open(dir)?.sync_all()?;
    Ok(number)
}

/// Describes the damage of a directory whose file for the member's number contains none.
pub(crate) fn damaged_number(dir: &Path) -> journal::Damage {
    journal::Damage {
        path: dir.join(MEMBER_FILE),
        offset: 0,
        what: "it holds no member's number".to_owned(),
        record: None,
    }
}

/// A number for a new member.
pub fn draw_number() -> std::io::Result<u64> {
    // Members that may meet are never created in the same microsecond.
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_err(std::io::Error::other)?;
    u64::try_from(since.as_micros()).map_err(std::io::Error::other)
}

const JOINS_FILE: &str = "joins";
const JOINS_TEXT: &str = "This directory began empty, to join a log that other members have: it never begins a log of its own.\n";

/// Returns whether this directory was created to join a log that other members have.
pub(crate) fn is_made_to_join(dir: &Path) -> bool {
    dir.join(JOINS_FILE).exists()
}

/// Records in a directory without a log that its member joins the log of other members. Without this record, a member that was stopped
/// while it learnt the log could not be distinguished from a member that does not belong to the log.
pub(crate) fn make_to_join(dir: &Path) -> std::io::Result<()> {
    write_private(dir, JOINS_FILE, JOINS_TEXT)?;
    std::fs::File::open(dir)?.sync_all()
}

/// Writes and syncs a file that only its owner can read. Creates the directory likewise if it is missing. Returns the path of the file.
fn write_private(dir: &Path, name: &str, text: &str) -> std::io::Result<PathBuf> {
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)?;
    let path = dir.join(name);
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    Ok(path)
}

/// Whether the directory says which member it belongs to.
pub(crate) fn has_number(dir: &Path) -> bool {
    dir.join(MEMBER_FILE).exists()
}
