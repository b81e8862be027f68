//! How a member keeps its log.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use journal::{Disk, RealDisk};

use crate::member::{Part, ProcessRun, Timing};
use crate::scrub::ScrubPace;

/// Settings of one member.
#[derive(Clone)]
pub struct Options {
    /// The journal's directory, made when missing.
    pub dir: PathBuf,
    /// What people call this member.
    pub name: String,
    /// Where it is reached: told to the other members, and by them to whoever looks for the active one.
    pub url: Option<String>,
    /// The address at which the member is reached, for messages to people.
    pub address: Option<String>,
    /// The run of the member's process. `None` is the present process. Tests run several members in one process.
    pub run: Option<ProcessRun>,
    /// What it keeps.
    pub part: Part,
    /// An empty directory begins no log of its own but waits for the active member of a cluster.
    pub joins: bool,
    /// The times of the cluster.
    pub timing: Timing,
    /// Whose log it is: `controller:NAME` or `agent:NAME`. A directory of another node is refused.
    pub identity: String,
    /// Size of a segment file, reserved at once.
    pub segment_bytes: u64,
    /// Bytes of newest batches kept in memory for live readers.
    pub ring_bytes: usize,
    /// Bytes of batches that may wait for their commit; further appends wait before they begin.
    pub in_flight_bytes: usize,
    /// How long `open` waits until this member leads, when it is alone.
    pub open_timeout: Duration,
    /// How often, and how fast, the files of the journal are read again to find damage.
    pub scrub: ScrubPace,
    /// The disk; tests inject faults here.
    pub disk: Arc<dyn Disk>,
}

impl Options {
    /// The usual: a member `Primary` that begins alone, segments of 64 MiB, 16 MiB in memory, 32 MiB in flight.
    pub fn new(dir: impl Into<PathBuf>, identity: impl Into<String>) -> Self {
        Self {
            dir: dir.into(),
            name: "Primary".to_owned(),
            url: None,
            address: None,
            run: None,
            part: Part::Data,
            joins: false,
            timing: Timing::default(),
            identity: identity.into(),
            segment_bytes: 64 << 20,
            ring_bytes: 16 << 20,
            in_flight_bytes: 128 << 20,
            open_timeout: Duration::from_secs(30),
            scrub: ScrubPace::default(),
            disk: Arc::new(RealDisk),
        }
    }
}
