//! Laws: whatever happens in whatever order, what was confirmed is there after a restart, in order, and nothing else.

use std::path::Path;
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use journal::{Fault, Journal, Kind, Options, Record, inspect};
use proptest::prelude::*;

#[derive(Clone, Debug)]
enum Deed {
    /// Append a group of records with bodies of this size, not waiting for earlier ones.
    Append {
        records: u64,
        bytes: usize,
        way: Way,
    },
    /// Wait for all callbacks, commit everything.
    Commit,
    /// Take back what is not committed.
    TakeBack,
    /// Write a snapshot at the last committed event.
    Snapshot,
    /// Let go what the snapshot covers.
    Release,
    /// Stop in order, then start.
    Restart,
    /// The same for a member of several: what is not yet committed, another one will tell.
    BeginAnew,
    /// A crash in the middle of a write: the first bytes of a record that was never confirmed are there.
    Crash { torn_bytes: usize },
}

#[derive(Clone, Copy, Debug)]
enum Way {
    ByTheWriter,
    Here,
    Deferred,
}

fn way() -> impl Strategy<Value = Way> {
    prop_oneof![Just(Way::ByTheWriter), Just(Way::Here), Just(Way::Deferred)]
}

fn deed() -> impl Strategy<Value = Deed> {
    prop_oneof![
        6 => (1u64..4, prop_oneof![3 => 0usize..700, 1 => 20_000usize..40_000], way()).prop_map(|(records, bytes, way)| Deed::Append { records, bytes, way }),
        3 => Just(Deed::Commit),
        1 => Just(Deed::TakeBack),
        1 => Just(Deed::Snapshot),
        1 => Just(Deed::Release),
        1 => Just(Deed::Restart),
        1 => Just(Deed::BeginAnew),
        1 => (1usize..300).prop_map(|torn_bytes| Deed::Crash { torn_bytes }),
    ]
}

struct World {
    dir: tempfile::TempDir,
    segment_bytes: u64,
    journal: Option<Journal>,
    /// What must be there: all records ever appended and not taken back.
    records: Vec<Record>,
    committed: usize,
    key: u64,
    term: u64,
    waiting: Vec<std::sync::mpsc::Receiver<bool>>,
    /// How far the log was confirmed, in the order in which it was.
    order: Arc<Mutex<Vec<usize>>>,
}

impl World {
    fn new(segment_bytes: u64) -> Self {
        let memory = Path::new("/dev/shm");
        let dir = if memory.is_dir() {
            tempfile::tempdir_in(memory)
        } else {
            tempfile::tempdir()
        };
        let dir = dir.expect("a temporary directory");
        let mut world = Self {
            dir,
            segment_bytes,
            journal: None,
            records: Vec::new(),
            committed: 0,
            key: 0,
            term: 1,
            waiting: Vec::new(),
            order: Arc::default(),
        };
        world.start(false);
        world
    }

    fn journal(&self) -> &Journal {
        self.journal.as_ref().expect("started")
    }

    fn start(&mut self, among_others: bool) {
        let mut options = Options::new(self.dir.path(), "controller:Controller");
        options.segment_bytes = self.segment_bytes;
        options.ring_bytes = 1 << 10;
        let (journal, recovered) =
            Journal::open(options, |fault| panic!("{fault}")).expect("the journal opens");
        assert_eq!(
            recovered.last.map_or(0, |p| p.index + 1),
            self.records.len() as u64
        );
        assert_eq!(recovered.last.map_or(0, |p| p.key), self.key);
        if among_others {
            for record in &self.records[..self.committed] {
                journal.commit_record(record.index, record.key);
            }
        } else {
            journal.commit(self.records.len() as u64);
            self.committed = self.records.len();
        }
        self.term += 1;
        self.journal = Some(journal);
        self.check();
    }

    fn wait(&mut self) {
        self.journal().write_deferred();
        for receiver in self.waiting.drain(..) {
            assert!(receiver.recv().expect("each callback is called"));
        }
        let order = std::mem::take(&mut *self.order.lock().expect("nothing panics inside"));
        assert!(order.is_sorted(), "confirmed in the order of the log");
    }

    fn act(&mut self, deed: &Deed) {
        match deed {
            Deed::Append {
                records,
                bytes,
                way,
            } => {
                let mut group = Vec::new();
                for _ in 0..*records {
                    self.key += 7;
                    let body = Bytes::from(format!(
                        "{{\"eventId\":{},\"pad\":\"{}\"}}\n",
                        self.key,
                        "z".repeat(*bytes)
                    ));
                    let index = self.records.len() as u64;
                    let record = Record {
                        index,
                        term: self.term,
                        key: self.key,
                        kind: Kind::Events,
                        body,
                    };
                    self.records.push(record.clone());
                    group.push(record);
                }
                let (sender, receiver) = sync_channel(1);
                let (order, upto) = (Arc::clone(&self.order), self.records.len());
                let told = move |told: Result<(), Fault>| {
                    order.lock().expect("nothing panics inside").push(upto);
                    sender.send(told.is_ok()).expect("the test waits");
                };
                match way {
                    Way::ByTheWriter => self.journal().append(group, told),
                    Way::Here => self.journal().append_here(group, told),
                    Way::Deferred => self.journal().append_deferred(group, told),
                }
                self.waiting.push(receiver);
            }
            Deed::Commit => {
                self.wait();
                self.committed = self.records.len();
                assert_eq!(self.journal().commit(self.committed as u64), self.key);
            }
            Deed::TakeBack => {
                self.wait();
                let (sender, receiver) = sync_channel(1);
                let from = self.committed as u64;
                self.journal().truncate(from, move |told| {
                    sender.send(told.is_ok()).expect("the test waits");
                });
                assert!(receiver.recv().expect("each callback is called"));
                self.records.truncate(self.committed);
                self.key = self.records.last().map_or(0, |r| r.key);
            }
            // Before the first commit there is no state.
            Deed::Snapshot if self.committed == 0 => {}
            Deed::Snapshot => {
                let key = self.journal().committed_key();
                self.journal()
                    .write_snapshot(key, None, |out| out.write_all(b"{}\n"))
                    .expect("written");
            }
            Deed::Release => {
                if let Some(index) = self.journal().releasable(u64::MAX) {
                    let (sender, receiver) = sync_channel(1);
                    self.journal().purge(index, 1, None, move |told| {
                        sender.send(told.is_ok()).expect("waits");
                    });
                    assert!(receiver.recv().expect("each callback is called"));
                }
            }
            Deed::Restart | Deed::BeginAnew => {
                self.wait();
                self.journal = None;
                self.start(matches!(deed, Deed::BeginAnew));
            }
            Deed::Crash { torn_bytes } => {
                self.wait();
                self.journal = None;
                self.tear(*torn_bytes);
                self.start(false);
            }
        }
    }

    /// Leaves the beginning of a copy of the first record behind the last one.
    fn tear(&self, torn_bytes: usize) {
        let info = inspect::info(self.dir.path()).expect("whole");
        let Some(active) = info.segments.last() else {
            return;
        };
        let file = std::fs::File::options()
            .read(true)
            .write(true)
            .open(&active.file)
            .expect("there");
        let mut bytes = b"MSJ\x01".to_vec();
        bytes.resize(torn_bytes, b'?');
        std::os::unix::fs::FileExt::write_all_at(&file, &bytes, active.bytes).expect("written");
    }

    /// Readers see the committed records after what was released, from memory and from disk.
    fn check(&self) {
        let journal = self.journal();
        let torn = journal.torn_event_id();
        let expected: Vec<&Record> = self.records[..self.committed]
            .iter()
            .filter(|r| r.key > torn)
            .collect();
        let mut seen = Vec::new();
        let mut after = torn;
        loop {
            let read = journal.read_after(after, 1000).expect("nothing is damaged");
            let Some(last) = read.last() else { break };
            after = last.key;
            seen.extend(read);
        }
        assert_eq!(seen.iter().collect::<Vec<_>>(), expected, "S43");
        let by_index = journal.read(0, u64::MAX).expect("nothing is damaged");
        let kept = self.records.len() - by_index.len();
        assert_eq!(by_index, self.records[kept..]);
        if torn > 0 {
            assert!(
                journal.read_after(torn - 1, 1).is_err(),
                "what is gone is refused"
            );
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn s53_s56_any_interleaving_of_appends_crashes_and_releases_keeps_what_was_confirmed(
        segment_bytes in prop_oneof![Just(3 << 10), Just(400 << 10)],
        deeds in prop::collection::vec(deed(), 1..40),
    ) {
        let mut world = World::new(segment_bytes);
        for deed in &deeds {
            world.act(deed);
            world.check();
        }
        world.act(&Deed::Restart);
    }
}
