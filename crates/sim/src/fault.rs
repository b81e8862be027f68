//! The kinds of faults that a world knows, and how often each has happened.
//!
//! Always: a fault of a process, a word, a write or a clock is counted where it takes effect, so that one that is disabled shows as
//! zero; cuts, crashes of everything and rolling restarts are counted when they begin.

use std::collections::BTreeMap;
use std::fmt;

macro_rules! faults {
    ($($(#[$meta:meta])* $name:ident = $text:literal),* $(,)?) => {
        /// A kind of fault.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Fault { $($(#[$meta])* $name),* }

        impl Fault {
            /// All kinds.
            pub const ALL: &[Fault] = &[$(Fault::$name),*];
        }

        impl fmt::Display for Fault {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(match self { $(Fault::$name => $text),* })
            }
        }
    };
}

faults! {
    /// The Controller's process is killed.
    ControllerCrash = "Controller crash",
    /// An Agent's process is killed, and its own Subagent with it.
    AgentCrash = "Agent crash",
    /// A Subagent's process is killed.
    SubagentCrash = "Subagent crash",
    /// A process stands still for a while.
    Pause = "pause",
    /// No message gets through in either direction.
    PartitionBoth = "two-way partition",
    /// No message gets through in one direction.
    PartitionOneWay = "one-way partition",
    /// A message is lost, and its connection with it.
    LostMessage = "lost message",
    /// A request arrives long after its sender has given up.
    LateMessage = "late message",
    /// A request arrives twice.
    DuplicateMessage = "duplicated message",
    /// A message of a later connection overtakes one of an earlier.
    BrokenConnection = "broken connection",
    /// An unsynced batch is lost in a crash.
    LostWrite = "lost unsynced write",
    /// An unsynced batch is cut in the middle.
    TornWrite = "torn write",
    /// An unsynced batch is found whole after a crash, though nobody was told.
    KeptWrite = "unacknowledged write kept",
    /// A snapshot is interrupted.
    CutSnapshot = "interrupted snapshot",
    /// Syncs take a hundred times as long.
    SlowDisk = "slow disk",
    /// Nothing can be written.
    FullDisk = "full disk",
    /// A sync fails.
    FailedSync = "failed sync",
    /// A clock jumps forward.
    ClockForward = "clock jump forward",
    /// A clock jumps backward.
    ClockBackward = "clock jump backward",
    /// A process dies with its Subagent.
    LostProcess = "lost process",
    /// A Subagent has not heard its Director for longer than its lease.
    LeaseEnd = "ended lease",
    /// A guard ends jobs whose Subagent is gone or stands still.
    Guarded = "jobs ended by a guard",
    /// A Director gives up a Subagent with jobs.
    GivenUp = "Subagent given up",
    /// A process ignores SIGTERM.
    IgnoredTerm = "ignored SIGTERM",
    /// The active member of a pair is killed.
    ActiveCrash = "pair: active member crash",
    /// The standby of a pair is killed.
    StandbyCrash = "pair: standby crash",
    /// A watch is killed.
    WatchCrash = "pair: watch crash",
    /// The active member of a pair stands still.
    ActivePause = "pair: active member pause",
    /// The standby of a pair stands still.
    StandbyPause = "pair: standby pause",
    /// A watch stands still.
    WatchPause = "pair: watch pause",
    /// The link between two members of a pair is cut, both ways.
    MembersCut = "pair: two-way cut between members",
    /// The link between two members of a pair is cut, one way.
    MembersCutOneWay = "pair: one-way cut between members",
    /// The link between a member and the watch is cut, both ways.
    WatchCut = "pair: two-way cut from the watch",
    /// The link between a member and the watch is cut, one way.
    WatchCutOneWay = "pair: one-way cut from the watch",
    /// The active member is cut off from all other members.
    ActiveIsolated = "pair: active member isolated",
    /// Everything crashes at once.
    AllCrash = "crash of everything",
    /// Everything on a host crashes at once.
    HostCrash = "host crash",
    /// Everything on a host is paused at once.
    HostPause = "host pause",
    /// A host is cut off from all others.
    HostCut = "host cut off",
    /// A standby loses its disk.
    StandbyWiped = "pair: standby with an empty disk",
    /// A watch loses its disk.
    WatchWiped = "pair: watch with an empty disk",
    /// The active member hands over by command.
    SwitchOver = "pair: switch-over",
    /// All members are restarted, one after another.
    RollingRestart = "pair: rolling restart",
    /// Another member than before is elected.
    FailOver = "pair: change of the active member",
    /// A member that was active finds out that it is no more.
    Deposed = "pair: deposed active member",
    /// A member without the right to act is asked.
    Inactive = "pair: request to a member without the right to act",
    /// A word between members is lost.
    LostWord = "pair: lost word",
    /// A word between members comes late.
    LateWord = "pair: late word",
    /// A word between members comes twice.
    DoubleWord = "pair: doubled word",
}

/// How often each fault has happened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts(BTreeMap<Fault, u64>);

impl Fault {
    /// Those that only pairs meet.
    pub const OF_PAIRS: &[Fault] = &[
        Fault::ActiveCrash,
        Fault::StandbyCrash,
        Fault::WatchCrash,
        Fault::ActivePause,
        Fault::StandbyPause,
        Fault::WatchPause,
        Fault::MembersCut,
        Fault::MembersCutOneWay,
        Fault::WatchCut,
        Fault::WatchCutOneWay,
        Fault::ActiveIsolated,
        Fault::AllCrash,
        Fault::HostCrash,
        Fault::HostPause,
        Fault::HostCut,
        Fault::StandbyWiped,
        Fault::WatchWiped,
        Fault::SwitchOver,
        Fault::RollingRestart,
        Fault::FailOver,
        Fault::Deposed,
        Fault::Inactive,
        Fault::LostWord,
        Fault::LateWord,
        Fault::DoubleWord,
    ];
}

/// So many hours of faults in worlds of pairs are enough for every kind that only pairs meet.
const HOURS_OF_PAIRS: f64 = 25.0;
/// So many are enough for every other kind; a process that dies with its Subagent is rare.
const HOURS_OF_ALL: f64 = 200.0;

impl Counts {
    /// One more.
    pub fn count(&mut self, fault: Fault) {
        *self.0.entry(fault).or_default() += 1;
    }

    /// So often.
    pub fn of(&self, fault: Fault) -> u64 {
        self.0.get(&fault).copied().unwrap_or(0)
    }

    /// Those of these faults that have never happened, for people.
    pub fn missing<'a>(&self, of: impl IntoIterator<Item = &'a Fault>) -> Vec<String> {
        let faults = of.into_iter().filter(|fault| self.of(**fault) == 0);
        faults.map(ToString::to_string).collect()
    }

    /// Those that should have happened in so many hours of faults and never have, for people; nothing of a run that is too short to say.
    pub fn missing_after(&self, hours: f64, has_pairs: bool) -> Vec<String> {
        let is_due = |fault: &&Fault| {
            if Fault::OF_PAIRS.contains(fault) {
                has_pairs && hours >= HOURS_OF_PAIRS
            } else {
                hours >= HOURS_OF_ALL
            }
        };
        self.missing(Fault::ALL.iter().filter(is_due))
    }

    /// Adds another world's.
    pub fn add(&mut self, other: &Counts) {
        for (fault, count) in &other.0 {
            *self.0.entry(*fault).or_default() += count;
        }
    }

    /// All together.
    pub fn total(&self) -> u64 {
        self.0.values().sum()
    }
}
