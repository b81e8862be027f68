//! A pair with a witness: a third vote that is recorded elsewhere and that another process may continue at any moment.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a failing story ends with its place"
)]

#[path = "support/support.rs"]
mod support;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use cluster::{
    Log, Options, Part, Role, Witness, WitnessEnd, WitnessState, WitnessStore, draw_number,
};
use support::{Wire, batch, until, wire};

const IDENTITY: &str = "agent:A";

/// A store that is slow and that may lose the right to answer.
#[derive(Clone)]
struct Memory {
    state: Arc<Mutex<WitnessState>>,
    is_in_charge: Arc<AtomicBool>,
    takes: Duration,
}

impl WitnessStore for Memory {
    async fn record(&self, state: &WitnessState) -> bool {
        tokio::time::sleep(self.takes).await;
        if !self.may_answer() {
            return false;
        }
        self.state.lock().unwrap().clone_from(state);
        true
    }

    fn may_answer(&self) -> bool {
        self.is_in_charge.load(Ordering::Relaxed)
    }
}

impl Memory {
    fn new(takes: Duration) -> Memory {
        Memory {
            state: Arc::new(Mutex::new(WitnessState::new(draw_number().unwrap()))),
            is_in_charge: Arc::new(AtomicBool::new(true)),
            takes,
        }
    }

    /// Opens a witness with the recorded state. A witness that still runs on this store loses the right to answer.
    fn open(&self) -> (Memory, Arc<Witness<Memory>>) {
        self.is_in_charge.store(false, Ordering::Relaxed);
        let next = Memory {
            is_in_charge: Arc::new(AtomicBool::new(true)),
            ..self.clone()
        };
        let state = self.state.lock().unwrap().clone();
        let witness = Witness::open(IDENTITY, "Controller", state, next.clone());
        (next, witness)
    }
}

async fn member(dir: &Path, name: &str) -> Log {
    let mut options = Options::new(dir, IDENTITY);
    options.segment_bytes = 64 << 10;
    name.clone_into(&mut options.name);
    options.joins = name != "Primary";
    Log::open(options).await.unwrap().log
}

fn wire_witness(log: &Log, witness: &Arc<Witness<Memory>>, part: Part) -> Wire {
    let (near, far) = tokio::io::duplex(64 << 10);
    let (log, witness) = (log.clone(), Arc::clone(witness));
    Wire(
        tokio::spawn(async move { drop(log.serve(near).await) }),
        tokio::spawn(async move { drop(witness.serve(far, part).await) }),
    )
}

fn role(log: &Log) -> Role {
    log.leadership().borrow().role
}

struct Pair {
    _dirs: [tempfile::TempDir; 2],
    a: Log,
    b: Log,
    ab: Wire,
    memory: Memory,
    witness: Arc<Witness<Memory>>,
    wires: [Wire; 2],
}

async fn pair(takes: Duration, part: Part) -> Pair {
    let dirs = std::array::from_fn(|_| tempfile::tempdir().unwrap());
    let a = member(dirs[0].path(), "Primary").await;
    for id in 1..=50 {
        a.append(batch(id)).await.unwrap();
    }
    let b = member(dirs[1].path(), "Backup").await;
    let (memory, witness) = Memory::new(takes).open();
    let ab = wire(&a, &b);
    let wires = [&a, &b].map(|log| wire_witness(log, &witness, part));
    until("both are connected", || a.peers().len() == 2).await;
    let number = memory.state.lock().unwrap().member;
    let mut voters = BTreeSet::from([a.me().member]);
    for other in [b.me().member, number] {
        a.let_learn(other).await.unwrap();
        voters.insert(other);
    }
    until("the others have caught up", || {
        a.peers().iter().all(|peer| !peer.is_lost)
    })
    .await;
    a.set_voters(voters).await.unwrap();
    Pair {
        _dirs: dirs,
        a,
        b,
        ab,
        memory,
        witness,
        wires,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_vote_that_is_recorded_slowly_is_still_given() {
    let Pair {
        _dirs,
        a,
        b,
        ab,
        wires: [to_a, _to_b],
        ..
    } = pair(Duration::from_millis(40), Part::Witness).await;
    for id in 51..=60 {
        a.append(batch(id)).await.unwrap();
    }
    drop((ab, to_a));
    until("the other is active", || role(&b) == Role::Active).await;
    b.append(batch(61)).await.unwrap();
    assert_eq!(*b.committed().borrow(), 61);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_process_continues_the_vote_and_the_pair_loses_a_member_then() {
    for part in [Part::Witness, Part::Watch] {
        let Pair {
            _dirs,
            a,
            b,
            ab,
            memory,
            witness,
            wires,
        } = pair(Duration::from_millis(2), part).await;
        for id in 51..=60 {
            a.append(batch(id)).await.unwrap();
        }
        // Two losses at once: the host of the active member, and the host of the process with the vote.
        drop((ab, wires));
        let (_memory, next) = memory.open();
        let _wire = wire_witness(&b, &next, part);
        until("the other is active", || role(&b) == Role::Active).await;
        b.append(batch(61)).await.unwrap();

        // The replaced witness may still run and be connected, but it confirms nothing.
        let _stale = wire_witness(&a, &witness, part);
        // A state that it was recording meanwhile is refused, too.
        let end = witness.ended().await;
        assert!(matches!(
            end,
            WitnessEnd::NotInCharge | WitnessEnd::NotRecorded
        ));
        until("the old one may not answer", || !a.may_answer()).await;
        let stale = tokio::time::timeout(Duration::from_millis(300), a.append(batch(62))).await;
        assert!(!matches!(stale, Ok(Ok(()))), "S2: {stale:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_watch_has_kept_in_a_directory_is_continued() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(
        WitnessState::found_in(&dir.path().join("none"), IDENTITY).unwrap(),
        None
    );
    let dirs: [tempfile::TempDir; 2] = std::array::from_fn(|_| tempfile::tempdir().unwrap());
    let a = member(dirs[0].path(), "Primary").await;
    let b = member(dirs[1].path(), "Backup").await;
    let mut options = Options::new(dir.path(), IDENTITY);
    options.part = Part::Watch;
    options.joins = true;
    let watch = Log::open(options).await.unwrap().log;
    let (ab, aw, bw) = (wire(&a, &b), wire(&a, &watch), wire(&b, &watch));
    until("both are connected", || a.peers().len() == 2).await;
    let mut voters = BTreeSet::from([a.me().member]);
    for other in [&b, &watch] {
        a.let_learn(other.me().member).await.unwrap();
        voters.insert(other.me().member);
    }
    until("the others have caught up", || {
        a.peers().iter().all(|peer| !peer.is_lost)
    })
    .await;
    a.set_voters(voters).await.unwrap();
    for id in 1..=20 {
        a.append(batch(id)).await.unwrap();
    }
    let number = watch.me().member;
    drop((ab, aw, bw));
    watch.shutdown().await;

    let found = WitnessState::found_in(dir.path(), IDENTITY)
        .unwrap()
        .unwrap();
    assert_eq!(found.member, number);
    assert!(
        found.newest.is_some() && found.members.len() == 3,
        "{found:?}"
    );
    let memory = Memory::new(Duration::ZERO);
    *memory.state.lock().unwrap() = found;
    let (_memory, witness) = memory.open();
    let _wire = wire_witness(&b, &witness, Part::Witness);
    until("the other is active", || role(&b) == Role::Active).await;
    b.append(batch(21)).await.unwrap();
}
