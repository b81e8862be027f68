//! The commit loop against a real log: what was answered is there after any crash, and nothing else.

#![expect(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    clippy::needless_pass_by_value,
    reason = "a test that cannot set up its log fails at that line, and looks at a few events of many"
)]

use bytes::Bytes;
use cluster::{Log, Options};
use http_body_util::BodyExt as _;
use model::{
    ControllerEvent, Event, EventId, JournalEvent, OrderEvent, OrderId, Stamped, Timestamp, UserId,
};
use net::{Problem, Refusal};
use node::events::{EventQuery, event_stream, position};
use node::{
    Aside, Clock, End, Facts, Fault, Handle, Limits, Machine, Node, NotApplicable, Outside,
    SystemClock,
};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::task::JoinHandle;

/// Remembers what was said to whom. `boom` is an event that never fits.
#[derive(Clone, Debug, Default, PartialEq)]
struct Notebook {
    said: BTreeMap<String, Vec<String>>,
    starts: usize,
    released: Option<EventId>,
    alarm: Option<Timestamp>,
    /// The addressee of a bad message. Nothing else can be decided until this is set aside.
    bad: Option<(String, Bad)>,
}

/// How the decision about the message fails.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Bad {
    Panics,
    DoesNotFit,
    IsTooLarge,
}

enum Input {
    Say(&'static str, String),
    Release(EventId),
    Alarm(Timestamp),
}

impl Machine for Notebook {
    type Input = Input;
    type Reply = usize;

    fn take(&mut self, input: Input, facts: &mut Facts) -> Result<usize, NotApplicable> {
        match input {
            Input::Say(to, what) => {
                facts.record(self, said(to, &what))?;
                Ok(self.said[to].len())
            }
            Input::Release(until_event_id) => {
                let user_id = UserId::from("reader");
                facts.record(
                    self,
                    Event::Journal(JournalEvent::JournalEventsReleased {
                        user_id,
                        until_event_id,
                    }),
                )?;
                Ok(0)
            }
            Input::Alarm(at) => {
                self.alarm = Some(at);
                Ok(0)
            }
        }
    }

    fn advance(&mut self, facts: &mut Facts) -> Result<(), NotApplicable> {
        match self.bad {
            None => {}
            Some((_, Bad::Panics)) => panic!("it is poisoned"),
            Some((_, Bad::DoesNotFit)) => return Err(NotApplicable::new("it is poisoned")),
            Some((_, Bad::IsTooLarge)) if facts.bytes() < BATCH_BYTES => {
                let large = "x".repeat(BATCH_BYTES);
                facts.record(self, said("large", &large))?;
            }
            Some((_, Bad::IsTooLarge)) => {}
        }
        if self.alarm.is_some_and(|at| at <= facts.now()) {
            self.alarm = None;
            facts.record(self, said("alarm", "rang"))?;
        }
        Ok(())
    }

    fn evolve(&mut self, stamped: &Stamped) -> Result<(), NotApplicable> {
        match &stamped.event {
            Event::Order(to, OrderEvent::OrderStdoutWritten { chunk }) => {
                if **chunk == *"boom" {
                    return Err(NotApplicable::new("boom does not fit"));
                }
                match &**chunk {
                    "panic" => self.bad = Some((to.to_string(), Bad::Panics)),
                    "misfit" => self.bad = Some((to.to_string(), Bad::DoesNotFit)),
                    "large" => self.bad = Some((to.to_string(), Bad::IsTooLarge)),
                    "set aside" => self.bad = None,
                    _ => {}
                }
                self.said
                    .entry(to.to_string())
                    .or_default()
                    .push(chunk.to_string());
            }
            Event::Controller(ControllerEvent::ControllerReady { .. }) => self.starts += 1,
            Event::Journal(JournalEvent::JournalEventsReleased { until_event_id, .. }) => {
                self.released = Some(*until_event_id);
            }
            _ => {}
        }
        Ok(())
    }

    fn next_wakeup(&self) -> Option<Timestamp> {
        self.alarm
    }

    fn started(&mut self, facts: &mut Facts) -> Result<(), NotApplicable> {
        facts.record(
            self,
            Event::Controller(ControllerEvent::ControllerReady { timezone: None }),
        )
    }

    fn closing(&mut self, facts: &mut Facts) -> Result<(), NotApplicable> {
        facts.record(self, Event::Controller(ControllerEvent::ControllerShutDown))
    }

    fn snapshot(&self) -> Box<dyn Iterator<Item = String> + '_> {
        let meta = format!("{} {}", self.starts, self.released.unwrap_or_default());
        let said = self
            .said
            .iter()
            .flat_map(|(to, whats)| whats.iter().map(move |what| format!("{to}={what}")));
        Box::new(std::iter::once(meta).chain(said))
    }

    fn restore(&mut self, line: &str) -> Result<(), NotApplicable> {
        if let Some((to, what)) = line.split_once('=') {
            self.said
                .entry(to.to_owned())
                .or_default()
                .push(what.to_owned());
            return Ok(());
        }
        let (starts, released) = line
            .split_once(' ')
            .ok_or_else(|| NotApplicable::new("a broken line"))?;
        self.starts = starts.parse().map_err(NotApplicable::new)?;
        self.released =
            Some(EventId(released.parse().map_err(NotApplicable::new)?)).filter(|id| id.0 > 0);
        Ok(())
    }

    fn released(&self) -> EventId {
        self.released.unwrap_or_default()
    }

    fn working_on(&self) -> Option<String> {
        self.bad.as_ref().map(|(to, _)| to.clone())
    }

    fn set_aside(
        &mut self,
        subject: &str,
        _why: &model::Problem,
        facts: &mut Facts,
    ) -> Result<Aside, NotApplicable> {
        facts.record(self, said(subject, "set aside"))?;
        Ok(Aside::Recorded)
    }

    fn is_set_aside(&self, subject: &str) -> bool {
        self.said.get(subject).and_then(|said| said.last()) == Some(&"set aside".to_owned())
    }
}

/// More than the log of these tests accepts at once.
const BATCH_BYTES: usize = 2 << 20;

fn said(to: &str, what: &str) -> Event {
    Event::Order(
        OrderId::from(to),
        OrderEvent::OrderStdoutWritten { chunk: what.into() },
    )
}

fn say(to: &'static str, what: impl ToString) -> Input {
    Input::Say(to, what.to_string())
}

/// A running node.
struct Running {
    handle: Handle<Notebook>,
    task: JoinHandle<Result<End, Fault>>,
    log: Log,
}

impl Running {
    async fn start(dir: &Path) -> Running {
        Running::start_with(dir, Arc::new(SystemClock), Limits::default(), ()).await
    }

    async fn start_with(
        dir: &Path,
        clock: Arc<dyn Clock>,
        limits: Limits,
        outside: impl Outside<Notebook>,
    ) -> Running {
        let mut options = Options::new(dir, "controller:test");
        options.segment_bytes = 64 << 10;
        options.in_flight_bytes = 1 << 20;
        let opened = Log::open(options).await.unwrap();
        let log = opened.log.clone();
        let (handle, task) = Node::start(Notebook::default(), opened, clock, limits, outside)
            .await
            .unwrap();
        Running { handle, task, log }
    }

    async fn state(&self) -> Notebook {
        self.handle.read(Notebook::clone).await.unwrap()
    }

    /// As if the process had been killed: no farewell, no snapshot.
    async fn kill(self) {
        self.task.abort();
        drop(self.task.await);
        drop(self.handle);
        self.log.shutdown().await;
    }

    async fn end(self, end: End) -> End {
        self.handle.shut_down(end).await.unwrap();
        let ended = self.task.await.unwrap().unwrap();
        self.log.shutdown().await;
        ended
    }
}

fn without_starts(notebook: &Notebook) -> Notebook {
    Notebook {
        starts: 0,
        ..notebook.clone()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn s53_what_was_answered_is_there_after_a_kill_at_any_point() {
    let dir = tempfile::tempdir().unwrap();
    let mut acknowledged = 0;
    for round in 0..8_usize {
        let running = Running::start(dir.path()).await;
        let found = running.state().await.said.get("a").map_or(0, Vec::len);
        assert!(
            found >= acknowledged,
            "S53: {acknowledged} were acknowledged, {found} are there"
        );
        let counter = Arc::new(AtomicUsize::new(found));
        let (handle, counted) = (running.handle.clone(), Arc::clone(&counter));
        let writer = tokio::spawn(async move {
            let mut next = found;
            while let Ok(count) = handle.ask(say("a", next)).await {
                next += 1;
                assert_eq!(count, next, "the answer is from the state after the event");
                counted.store(count, Ordering::SeqCst);
            }
        });
        tokio::time::sleep(Duration::from_millis(7 * round as u64 + 3)).await;
        running.kill().await;
        writer.await.unwrap();
        acknowledged = counter.load(Ordering::SeqCst);
    }
    let running = Running::start(dir.path()).await;
    let said = running.state().await.said.remove("a").unwrap();
    let expected: Vec<String> = (0..said.len()).map(|n| n.to_string()).collect();
    assert_eq!(
        said, expected,
        "S53: no gap, no repetition over eight kills"
    );
    assert!(acknowledged > 0);
    running.kill().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_comes_only_after_its_event_is_committed() {
    let dir = tempfile::tempdir().unwrap();
    let running = Running::start(dir.path()).await;
    let mut asked = Vec::new();
    for n in 0..200 {
        let (handle, committed) = (running.handle.clone(), running.log.committed());
        asked.push(tokio::spawn(async move {
            let before = *committed.borrow();
            handle.ask(say("a", n)).await.unwrap();
            *committed.borrow() > before
        }));
    }
    for task in asked {
        assert!(task.await.unwrap(), "answered before the log had it");
    }
    running.kill().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn those_who_wait_together_share_a_flush() {
    let dir = tempfile::tempdir().unwrap();
    let running = Running::start(dir.path()).await;
    let before = running.log.status().counts;
    let tasks: Vec<_> = (0..500)
        .map(|n| {
            tokio::spawn({
                let handle = running.handle.clone();
                async move { handle.ask(say("a", n)).await }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap().unwrap();
    }
    let after = running.log.status().counts;
    let syncs = after.syncs - before.syncs;
    assert!(syncs < 250, "500 commands needed {syncs} flushes");
    running.kill().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn jn05_snapshot_and_tail_give_the_same_state_as_before() {
    let dir = tempfile::tempdir().unwrap();
    let running = Running::start(dir.path()).await;
    for n in 0..50 {
        running.handle.ask(say("before", n)).await.unwrap();
    }
    running.handle.take_snapshot().await.unwrap().unwrap();
    for n in 0..50 {
        running.handle.ask(say("after", n)).await.unwrap();
    }
    assert!(running.log.status().snapshot_event_id > 0);
    let state = running.state().await;
    running.kill().await;
    let running = Running::start(dir.path()).await;
    let recovered = running.state().await;
    assert_eq!(without_starts(&recovered), without_starts(&state), "JN-05");
    assert_eq!(recovered.starts, state.starts + 1);
    running.kill().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_orderly_end_commits_what_was_asked_and_leaves_a_snapshot() {
    let dir = tempfile::tempdir().unwrap();
    let running = Running::start(dir.path()).await;
    let asked: Vec<_> = (0..20)
        .map(|n| {
            let handle = running.handle.clone();
            tokio::spawn(async move { handle.ask(say("a", n)).await })
        })
        .collect();
    tokio::task::yield_now().await;
    let handle = running.handle.clone();
    let log = running.log.clone();
    let ended = running
        .end(End {
            restart: true,
            suppress_snapshot: false,
        })
        .await;
    assert!(ended.restart);
    let mut answered = 0;
    for task in asked {
        answered += usize::from(task.await.unwrap().is_ok());
    }
    assert_eq!(
        log.status().snapshot_event_id,
        log.status().committed_event_id,
        "the snapshot is of the very end"
    );
    assert!(
        handle.ask(say("a", "late")).await.is_err(),
        "nothing is taken any more"
    );
    drop(log);
    let running = Running::start(dir.path()).await;
    assert_eq!(
        running.state().await.said.get("a").map_or(0, Vec::len),
        answered
    );
    running.kill().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_does_not_fit_ends_the_node_and_is_never_written() {
    let dir = tempfile::tempdir().unwrap();
    let running = Running::start(dir.path()).await;
    running.handle.ask(say("a", "good")).await.unwrap();
    let answer = running
        .handle
        .ask_all(vec![say("a", "before"), say("a", "boom")])
        .await;
    assert!(answer.is_err(), "nothing of the batch is acknowledged");
    let fault = running.task.await.unwrap().unwrap_err();
    assert!(fault.to_string().contains("boom does not fit"), "{fault}");
    running.log.shutdown().await;
    let running = Running::start(dir.path()).await;
    assert_eq!(
        running.state().await.said["a"],
        ["good"],
        "after the restart the guilty input is gone"
    );
    running.kill().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_grows_no_further_than_its_snapshots_allow_once_released() {
    let dir = tempfile::tempdir().unwrap();
    let limits = Limits {
        snapshot_bytes: 100 << 10,
        ..Limits::default()
    };
    let running = Running::start_with(dir.path(), Arc::new(SystemClock), limits, ()).await;
    let text = "x".repeat(1000);
    for _ in 0..600 {
        running.handle.ask(say("a", &text)).await.unwrap();
    }
    let grown = running.log.status().segments;
    assert!(grown >= 8, "S43: unreleased events stay, {grown} segments");
    // Only a snapshot with nothing in it that a reader still waits for makes room.
    running.handle.take_snapshot().await.unwrap().unwrap();
    let last = *running.log.committed().borrow();
    running
        .handle
        .ask(Input::Release(EventId(last)))
        .await
        .unwrap();
    let mut left = grown;
    for _ in 0..200 {
        left = running.log.status().segments;
        if left <= 2 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(
        left <= 2,
        "S44, S99: after release and snapshot {left} of {grown} segments are left"
    );
    running.kill().await;
}

/// Returns the record of what has ended the node.
fn crashes(dir: &Path) -> serde_json::Value {
    let text = std::fs::read_to_string(dir.join("crashes.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

/// Writes an event into the log, as if an earlier version had accepted it.
async fn write_past_the_machine(dir: &Path, event: Event) {
    let opened = Log::open(Options::new(dir, "controller:test"))
        .await
        .unwrap();
    let newest = opened.log.status().last_event_id;
    let mut facts = Facts::new(Timestamp::from_millis(0), EventId(newest));
    facts.record(&mut Notebook::default(), event).unwrap();
    let batch = cluster::Batch {
        last_event_id: facts.last_event_id().0,
        body: facts.into_lines().into(),
    };
    opened.log.append(batch).await.unwrap();
    opened.log.shutdown().await;
}

async fn fails_to_start(dir: &Path) -> Fault {
    let mut options = Options::new(dir, "controller:test");
    options.in_flight_bytes = 1 << 20;
    let opened = Log::open(options).await.unwrap();
    let log = opened.log.clone();
    let clock = Arc::new(SystemClock);
    let started = Node::start(Notebook::default(), opened, clock, Limits::default(), ()).await;
    log.shutdown().await;
    started.map(drop).expect_err("it ends at the start")
}

#[tokio::test(flavor = "multi_thread")]
async fn what_ends_the_node_again_and_again_is_set_aside_once_and_kept_for_inspection() {
    for (bad, reason) in [
        ("panic", "it is poisoned"),
        ("misfit", "it is poisoned"),
        ("large", "is larger than"),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let running = Running::start(dir.path()).await;
        running.handle.ask(say("a", "good")).await.unwrap();
        running
            .handle
            .ask(say("p", bad))
            .await
            .expect_err("the node ends over it, before anything is written");
        let fault = running.task.await.unwrap().unwrap_err();
        assert!(fault.to_string().contains(reason), "{bad}: {fault}");
        running.log.shutdown().await;
        write_past_the_machine(dir.path(), said("p", bad)).await;

        let fault = fails_to_start(dir.path()).await;
        assert!(fault.to_string().contains(reason), "{bad}: {fault}");
        let ends = crashes(dir.path())["ends"].as_array().unwrap().len();
        assert_eq!(ends, 2, "{bad}: both are recorded");

        let running = Running::start(dir.path()).await;
        assert_eq!(running.state().await.said["p"], [bad, "set aside"]);
        running.handle.ask(say("a", "goes on")).await.unwrap();
        let record = crashes(dir.path());
        assert_eq!(record["setAside"][0]["subject"], "p", "{bad}: {record}");
        assert_eq!(record["setAside"][0]["isOver"], false, "{bad}: {record}");
        let told = record["setAside"][0]["reason"].as_str().unwrap();
        assert!(told.contains(reason), "{bad}: {record}");
        running.end(End::default()).await;

        // An operator has inspected it. The record is kept.
        let running = Running::start(dir.path()).await;
        assert_eq!(
            running.state().await.said["p"],
            [bad, "set aside"],
            "{bad}: once"
        );
        running.handle.ask(say("p", "resumed")).await.unwrap();
        running.handle.ask(say("p", "and on")).await.unwrap();
        running.end(End::default()).await;
        let record = crashes(dir.path());
        assert_eq!(record["setAside"][0]["isOver"], true, "{bad}: {record}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_single_end_sets_nothing_aside() {
    let dir = tempfile::tempdir().unwrap();
    for _ in 0..2 {
        let running = Running::start(dir.path()).await;
        running
            .handle
            .ask(say("p", "panic"))
            .await
            .expect_err("the node ends");
        drop(running.task.await.unwrap().unwrap_err());
        running.log.shutdown().await;
        let running = Running::start(dir.path()).await;
        assert_eq!(running.state().await.said.get("p"), None);
        running.end(End::default()).await;
        let ends = crashes(dir.path())["ends"].as_array().unwrap().len();
        assert_eq!(ends, 0, "an orderly end between them");
    }
}

/// A clock that the test sets.
struct SetClock(AtomicI64);

impl Clock for SetClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.0.load(Ordering::SeqCst))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn event_ids_rise_although_the_clock_goes_back() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Arc::new(SetClock(AtomicI64::new(2_000_000_000_000)));
    let running = Running::start_with(dir.path(), clock.clone(), Limits::default(), ()).await;
    running.handle.ask(say("a", 1)).await.unwrap();
    let before = *running.log.committed().borrow();
    clock.0.store(1_000_000_000_000, Ordering::SeqCst);
    running.handle.ask(say("a", 2)).await.unwrap();
    let after = *running.log.committed().borrow();
    assert!(after > before, "{after} after {before}");
    running.kill().await;
    let running = Running::start_with(dir.path(), clock, Limits::default(), ()).await;
    assert!(
        *running.log.committed().borrow() > after,
        "after a restart too"
    );
    assert_eq!(running.state().await.said["a"], ["1", "2"]);
    running.kill().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_timer_rings_by_itself() {
    let dir = tempfile::tempdir().unwrap();
    let running = Running::start(dir.path()).await;
    let at = SystemClock.now() + Duration::from_millis(50);
    running.handle.ask(Input::Alarm(at)).await.unwrap();
    let mut committed = running.handle.committed();
    committed.borrow_and_update();
    tokio::time::timeout(Duration::from_secs(5), committed.changed())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(running.state().await.said["alarm"], ["rang"]);
    assert!(SystemClock.now() >= at);
    running.kill().await;
}

/// Notes what it was shown.
#[derive(Clone, Default)]
struct Watcher(Arc<Mutex<Vec<(usize, EventId)>>>);

impl Outside<Notebook> for Watcher {
    fn release(&mut self, machine: &Notebook, committed: EventId) {
        self.0.lock().unwrap().push((machine.said.len(), committed));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_outside_sees_committed_state_and_a_nudge_shows_it_again() {
    let dir = tempfile::tempdir().unwrap();
    let watcher = Watcher::default();
    let running = Running::start_with(
        dir.path(),
        Arc::new(SystemClock),
        Limits::default(),
        watcher.clone(),
    )
    .await;
    running.handle.ask(say("a", 1)).await.unwrap();
    running.handle.read(|_| ()).await.unwrap();
    let seen = watcher.0.lock().unwrap().clone();
    assert_eq!(seen.first().unwrap().0, 0, "after the recovery");
    assert_eq!(
        seen.last().unwrap(),
        &(1, EventId(*running.log.committed().borrow()))
    );
    running.handle.nudge();
    for _ in 0..100 {
        if watcher.0.lock().unwrap().len() > seen.len() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(watcher.0.lock().unwrap().len() > seen.len());
    running.kill().await;
}

// ---- Streams

async fn lines(log: &Log, query: EventQuery) -> Vec<Stamped> {
    let response = event_stream(log, &query, None, None).await.unwrap();
    let bytes: Bytes = response.into_body().collect().await.unwrap().to_bytes();
    let text = std::str::from_utf8(&bytes).unwrap();
    text.lines()
        .filter(|line| !line.is_empty())
        .map(|line| Stamped::from_json(line).unwrap())
        .collect()
}

fn until_now(after: u64) -> EventQuery {
    EventQuery {
        after: Some(after),
        timeout: Some(0.0),
        ..EventQuery::default()
    }
}

async fn refusal(log: &Log, query: EventQuery) -> Problem {
    let Err(Refusal { problem, .. }) = event_stream(log, &query, None, None).await else {
        panic!("a stream was given")
    };
    problem
}

#[tokio::test(flavor = "multi_thread")]
async fn jn03_a_stream_goes_on_behind_any_event_and_tells_what_is_gone() {
    let dir = tempfile::tempdir().unwrap();
    let running = Running::start(dir.path()).await;
    // Batches of several events: reading may begin within one.
    for n in 0..6 {
        let inputs = (0..3).map(|m| say("a", n * 3 + m)).collect();
        running.handle.ask_all(inputs).await.unwrap();
    }
    let log = &running.log;
    let all = lines(log, until_now(0)).await;
    assert_eq!(
        all.len(),
        20,
        "SnapshotTaken, ControllerReady and eighteen more"
    );
    for (at, stamped) in all.iter().enumerate() {
        let id = stamped.event_id.0;
        assert_eq!(
            lines(log, until_now(id)).await,
            all[at + 1..],
            "JN-03: after {id}"
        );
        assert_eq!(position(log, EventId(id)).await.unwrap(), id);
    }
    let limited = EventQuery {
        limit: Some(3),
        ..EventQuery {
            after: Some(all[4].event_id.0),
            ..EventQuery::default()
        }
    };
    assert_eq!(lines(log, limited).await, all[5..8]);
    let newest = all.last().unwrap().event_id.0;
    assert!(lines(log, until_now(newest)).await.is_empty());
    assert!(
        refusal(log, until_now(newest + 1))
            .await
            .is("UnknownEventId")
    );
    assert!(
        refusal(log, until_now(all[3].event_id.0 - 1_000_000_000))
            .await
            .is("UnknownEventId")
    );
    let only = EventQuery {
        return_types: Some("ControllerEvent, SnapshotTaken".into()),
        ..until_now(0)
    };
    let types: Vec<_> = lines(log, only)
        .await
        .iter()
        .map(|stamped| stamped.event.type_name())
        .collect();
    assert_eq!(types, ["SnapshotTaken", "ControllerReady"]);
    let wrong = EventQuery {
        return_types: Some("Nonsense".into()),
        ..until_now(0)
    };
    assert!(refusal(log, wrong).await.is("InvalidParameter"));
    let old = EventQuery {
        torn_older: Some(0.0),
        ..until_now(0)
    };
    tokio::time::sleep(Duration::from_millis(5)).await;
    assert!(refusal(log, old).await.is("OldEventId"));
    running.kill().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn s74_an_open_stream_brings_each_event_as_it_comes() {
    let dir = tempfile::tempdir().unwrap();
    let running = Running::start(dir.path()).await;
    let after = *running.log.committed().borrow();
    let query = EventQuery {
        after: Some(after),
        heartbeat: Some(30.0),
        limit: Some(3),
        ..EventQuery::default()
    };
    let mut body = event_stream(&running.log, &query, None, None)
        .await
        .unwrap()
        .into_body();
    let heartbeat = body.frame().await.unwrap().unwrap().into_data().unwrap();
    assert_eq!(&*heartbeat, b"\n", "a sign of life at once");
    for n in 0..3 {
        running.handle.ask(say("a", n)).await.unwrap();
        let frame = tokio::time::timeout(Duration::from_secs(5), body.frame())
            .await
            .unwrap()
            .unwrap()
            .unwrap();
        let data = frame.into_data().unwrap();
        let stamped = Stamped::from_json(std::str::from_utf8(&data).unwrap().trim_end()).unwrap();
        assert_eq!(stamped.event, said("a", &n.to_string()));
    }
    assert!(body.frame().await.is_none(), "the limit is reached");
    running.kill().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn jn03_released_events_are_told_as_torn() {
    let dir = tempfile::tempdir().unwrap();
    let running = Running::start(dir.path()).await;
    let text = "x".repeat(4000);
    for _ in 0..60 {
        running.handle.ask(say("a", &text)).await.unwrap();
    }
    let last = *running.log.committed().borrow();
    running.handle.take_snapshot().await.unwrap().unwrap();
    running
        .handle
        .ask(Input::Release(EventId(last)))
        .await
        .unwrap();
    for _ in 0..200 {
        if running.log.torn_event_id() > 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let torn = running.log.torn_event_id();
    assert!(
        torn > 0 && torn <= last,
        "S44: released {last}, torn {torn}"
    );
    let problem = refusal(&running.log, until_now(0)).await;
    assert!(problem.is("EventSeqTorn"), "{problem}");
    assert_eq!(problem.arguments["tornEventId"], torn.to_string());
    assert!(
        !lines(&running.log, until_now(torn)).await.is_empty(),
        "reading on from where it is torn works"
    );
    running.kill().await;
}

/// Changes a byte of the first segment, some thousand bytes after its beginning.
fn damage_the_log(dir: &Path) {
    use std::os::unix::fs::FileExt as _;
    let entries = std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().path());
    let segment = entries
        .filter(|path| path.extension().is_some_and(|e| e == "segment"))
        .min()
        .unwrap();
    let file = std::fs::File::options().write(true).open(segment).unwrap();
    file.write_all_at(b"#", 9000).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_record_is_an_error_for_its_readers_and_a_new_snapshot_supersedes_it() {
    let dir = tempfile::tempdir().unwrap();
    let running = Running::start(dir.path()).await;
    for number in 0..8 {
        let text = format!("{number}").repeat(4000);
        running.handle.ask(say("a", &text)).await.unwrap();
    }
    running.kill().await;
    // After a start only the state is in memory, and no records.
    let running = Running::start(dir.path()).await;
    damage_the_log(dir.path());
    for heartbeat in [None, Some(0.5)] {
        for after in [0, running.log.torn_event_id()] {
            let query = EventQuery {
                heartbeat,
                limit: Some(1000),
                ..until_now(after)
            };
            // The intact events before the damage are served. A reader that continues from there gets the reason why the events end.
            let before = lines(&running.log, query.clone()).await;
            let after = before.last().unwrap().event_id.0;
            let problem = refusal(
                &running.log,
                EventQuery {
                    after: Some(after),
                    ..query
                },
            )
            .await;
            assert!(problem.is("JournalDamaged"), "{problem}");
            assert!(problem.to_string().contains(".segment"), "{problem}");
        }
    }
    assert_eq!(running.log.status().damages.len(), 1);
    // The state contains the effect of the damaged record, so the next start does not need the record.
    for _ in 0..500 {
        if running.log.status().snapshot_event_id > 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(running.log.status().snapshot_event_id > 0);
    running.handle.ask(say("a", "still here")).await.unwrap();
    running.kill().await;
    let running = Running::start(dir.path()).await;
    let said = running.handle.read(|book| book.said["a"].len()).await;
    assert_eq!(said.unwrap(), 9);
    assert_eq!(running.log.status().damages.len(), 1, "it is still told");
    running.kill().await;
}

// ---- Disks

/// A disk whose flushes can be made to fail.
#[derive(Default)]
struct FailingDisk(std::sync::atomic::AtomicBool);

impl cluster::Disk for FailingDisk {
    fn sync(&self, file: &std::fs::File) -> std::io::Result<()> {
        if self.0.load(Ordering::SeqCst) {
            return Err(std::io::Error::from_raw_os_error(5));
        }
        file.sync_data()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_flush_ends_the_node_and_nobody_is_told_that_it_worked() {
    let dir = tempfile::tempdir().unwrap();
    let disk = Arc::new(FailingDisk::default());
    let mut options = Options::new(dir.path(), "controller:test");
    options.disk = disk.clone();
    let opened = Log::open(options).await.unwrap();
    let log = opened.log.clone();
    let clock = Arc::new(SystemClock);
    let (handle, task) = Node::start(Notebook::default(), opened, clock, Limits::default(), ())
        .await
        .unwrap();
    handle.ask(say("a", "durable")).await.unwrap();
    disk.0.store(true, Ordering::SeqCst);
    let asked: Vec<_> = (0..5)
        .map(|n| {
            let handle = handle.clone();
            tokio::spawn(async move { handle.ask(say("a", n)).await })
        })
        .collect();
    for answer in asked {
        assert!(
            answer.await.unwrap().is_err(),
            "acknowledged although the disk refused"
        );
    }
    let fault = task.await.unwrap().unwrap_err();
    assert!(matches!(fault, Fault::Log(_)), "exit code 98: {fault}");
    assert!(handle.read(|_| ()).await.is_err(), "it never goes on");
    log.shutdown().await;
    disk.0.store(false, Ordering::SeqCst);
    let running = Running::start(dir.path()).await;
    assert_eq!(
        running.state().await.said["a"][0],
        "durable",
        "S53: what was acknowledged is there"
    );
    running.kill().await;
}
