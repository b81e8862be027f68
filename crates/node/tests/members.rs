//! Members of one log with their commit loops: who leads, who follows, who was removed, and what those who ask are told of it.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::wildcard_enum_match_arm,
    reason = "a failing story ends with its place, and looks at a few events of many"
)]

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::Request;
use cluster::{Log, Options, Part, Role};
use model::{
    ClusterEvent, ClusterSetting, ClusterState, ControllerEvent, Event, EventId, OrderEvent,
    OrderId, Stamped, Timestamp,
};
use node::{
    Active, Clustered, End, Facts, Front, Kept, Limits, Machine, NotApplicable, Over, Running,
    Standing, Stopped, Trusted, pair,
};
use serde_json::Value;
use std::path::Path;
use std::time::Duration;
use tokio::task::{JoinHandle, JoinSet};
use tower_service::Service as _;

/// Keeps how its cluster stands, and whatever else it is told.
#[derive(Clone, Debug, Default)]
struct Ledger {
    cluster: ClusterState,
    notes: usize,
}

enum Input {
    Note,
    Cluster(ClusterEvent),
}

impl Machine for Ledger {
    type Input = Input;
    type Reply = ();

    fn take(&mut self, input: Input, facts: &mut Facts) -> Result<(), NotApplicable> {
        let event = match input {
            Input::Note => {
                let chunk = "note".into();
                Event::Order(OrderId::new("O"), OrderEvent::OrderStdoutWritten { chunk })
            }
            Input::Cluster(event) if self.cluster.after(&event).is_ok() => Event::Cluster(event),
            Input::Cluster(_) => return Ok(()),
        };
        facts.record(self, event)
    }

    fn advance(&mut self, _facts: &mut Facts) -> Result<(), NotApplicable> {
        Ok(())
    }

    fn evolve(&mut self, stamped: &Stamped) -> Result<(), NotApplicable> {
        match &stamped.event {
            Event::Cluster(event) => {
                self.cluster = self.cluster.after(event).map_err(NotApplicable::new)?;
            }
            Event::Order(..) => self.notes += 1,
            _ => {}
        }
        Ok(())
    }

    fn next_wakeup(&self) -> Option<Timestamp> {
        None
    }

    fn started(&mut self, facts: &mut Facts) -> Result<(), NotApplicable> {
        let ready = ControllerEvent::ControllerReady { timezone: None };
        facts.record(self, Event::Controller(ready))
    }

    fn closing(&mut self, facts: &mut Facts) -> Result<(), NotApplicable> {
        facts.record(self, Event::Controller(ControllerEvent::ControllerShutDown))
    }

    fn snapshot(&self) -> Box<dyn Iterator<Item = String> + '_> {
        let line = serde_json::to_string(&(&self.cluster, self.notes)).unwrap();
        Box::new(std::iter::once(line))
    }

    fn restore(&mut self, line: &str) -> Result<(), NotApplicable> {
        let read = serde_json::from_str(line).map_err(NotApplicable::new)?;
        (self.cluster, self.notes) = read;
        Ok(())
    }

    fn released(&self) -> EventId {
        EventId::BEFORE_FIRST
    }
}

impl Clustered for Ledger {
    fn cluster(&self) -> &ClusterState {
        &self.cluster
    }

    fn seen(event: ClusterEvent) -> Input {
        Input::Cluster(event)
    }
}

async fn open(dir: &Path, name: &str, part: Part) -> Log {
    let mut options = Options::new(dir, "controller:Controller");
    options.segment_bytes = 64 << 10;
    options.ring_bytes = 16 << 10;
    name.clone_into(&mut options.name);
    options.part = part;
    options.joins = name != "Primary";
    Log::open(options).await.unwrap().log
}

/// A connection between two members, cut when dropped.
fn wire(a: &Log, b: &Log) -> JoinSet<()> {
    let mut between = JoinSet::new();
    let [near, far] = [a, b].map(|log| {
        let (own, end) = tokio::io::duplex(64 << 10);
        let log = log.clone();
        tokio::spawn(async move { drop(log.serve(own).await) });
        end
    });
    between.spawn(async move {
        let (mut near, mut far) = (near, far);
        drop(tokio::io::copy_bidirectional(&mut near, &mut far).await);
    });
    between
}

async fn until(what: &str, is_so: impl AsyncFn() -> bool) {
    for _ in 0..1000 {
        if is_so().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("in vain waited for: {what}");
}

fn front(log: &Log) -> Front {
    Front::new(log.clone(), Kept::Controller, Trusted::default())
}

/// A member that follows, for as long as nobody else does.
fn follow(log: &Log) -> (Front, JoinHandle<()>) {
    let (front, log) = (front(log), log.clone());
    let told = front.clone();
    let following = tokio::spawn(async move {
        let tell = |machine: &Ledger| told.tell(machine.cluster());
        let followed = node::follow(
            Ledger::default,
            &log,
            Limits::default(),
            &Running::unnamed(),
            tell,
        )
        .await;
        drop(followed);
    });
    (front, following)
}

/// Primary leads, Backup follows, and the watch has the third vote.
struct Pair {
    dirs: [tempfile::TempDir; 3],
    one: Log,
    two: Log,
    watch: Log,
    active: Active<Ledger>,
    standby: Front,
    wires: [JoinSet<()>; 3],
}

async fn coupled() -> Pair {
    coupled_after(Duration::ZERO).await
}

/// The same; the members are connected for so long before they are appointed.
async fn coupled_after(pause: Duration) -> Pair {
    let dirs: [_; 3] = std::array::from_fn(|_| tempfile::tempdir().unwrap());
    let one = open(dirs[0].path(), "Primary", Part::Data).await;
    let front = front(&one);
    let tell = |machine: &Ledger| front.tell(machine.cluster());
    let followed = node::follow(
        Ledger::default,
        &one,
        Limits::default(),
        &Running::unnamed(),
        tell,
    )
    .await;
    let outside = |_| ();
    let limits = Limits::default();
    let began = Active::begin(followed.unwrap(), &one, &front, limits, outside).await;
    let mut active = began.unwrap().unwrap();
    active.open(Router::new());

    let two = open(dirs[1].path(), "Backup", Part::Data).await;
    let (standby, _following) = follow(&two);
    let watch = open(dirs[2].path(), "watch", Part::Watch).await;
    let wires = [wire(&one, &two), wire(&one, &watch), wire(&two, &watch)];
    tokio::time::sleep(pause).await;
    let setting = ClusterSetting {
        id_to_uri: ["Primary", "Backup"]
            .map(|id| (id.into(), "http://127.0.0.1:1".into()))
            .into(),
        active_id: "Primary".into(),
        cluster_watch_id: None,
    };
    let appointed = ClusterEvent::ClusterNodesAppointed { setting };
    active
        .handle()
        .ask(Input::Cluster(appointed))
        .await
        .unwrap();
    let handle = active.handle().clone();
    until("the members are coupled", async || {
        let is_coupled = |machine: &Ledger| matches!(machine.cluster, ClusterState::Coupled { .. });
        handle.read(is_coupled).await.unwrap()
    })
    .await;
    until("it follows", async || {
        standby.standing() == Standing::Standby
    })
    .await;
    Pair {
        dirs,
        one,
        two,
        watch,
        active,
        standby,
        wires,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_that_have_waited_for_their_appointment_for_long_are_taken_in() {
    let pair = coupled_after(Duration::from_secs(6)).await;
    let waited = pair.one.peers();
    assert!(waited.iter().all(|peer| peer.is_connected), "{waited:?}");
    assert_eq!(pair.one.members().0.len(), 3, "all have a vote");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_under_way_at_a_member_that_is_followed_is_not_told_that_it_shuts_down() {
    let Pair {
        dirs: _dirs,
        one,
        two,
        watch,
        mut active,
        wires: [one_two, one_watch, _two_watch],
        ..
    } = coupled().await;
    let handle = active.handle().clone();
    drop((one_two, one_watch));
    let asking = handle.clone();
    let asked = tokio::spawn(async move { asking.ask(Input::Note).await });
    until("the other one is active", async || {
        two.leadership().borrow().role == Role::Active
    })
    .await;
    let _wires = [wire(&one, &two), wire(&one, &watch)];
    let over = tokio::time::timeout(
        Duration::from_secs(10),
        active.until(std::future::pending::<()>()),
    );
    let over = over.await.unwrap().unwrap();
    assert!(matches!(over, Over::Deposed), "{over:?}");
    let told = asked.await.unwrap().unwrap_err();
    assert_eq!(told, Stopped::Deposed);
    let later = handle.ask(Input::Note).await;
    assert_eq!(later, Err(Stopped::Deposed));

    let refusal = told.refusal(Kept::Controller);
    assert_eq!(refusal.status.as_u16(), 503);
    assert!(
        refusal.problem.is("ClusterNodeIsNoLongerActive"),
        "{}",
        refusal.problem
    );
}

fn events_of(log: &Log) -> Vec<String> {
    let batches = log.opened().replay.map(|batch| batch.unwrap().body);
    let lines = batches.flat_map(|body| {
        let text = String::from_utf8(body.to_vec()).unwrap();
        text.lines().map(str::to_owned).collect::<Vec<_>>()
    });
    lines.collect()
}

fn count_of(log: &Log, event: &str) -> usize {
    let lines = events_of(log).into_iter();
    lines.filter(|line| line.contains(event)).count()
}

/// Becomes active with the replicated state, as the node of another member does.
async fn lead(log: &Log) -> Active<Ledger> {
    let front = front(log);
    let followed = node::follow(
        Ledger::default,
        log,
        Limits::default(),
        &Running::unnamed(),
        |_: &Ledger| (),
    )
    .await;
    let began = Active::begin(followed.unwrap(), log, &front, Limits::default(), |_| ()).await;
    let mut active = began.unwrap().unwrap();
    active.open(Router::new());
    active
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s133_a_switch_over_is_recorded_and_answered_when_it_has_happened() {
    let Pair {
        dirs: _dirs,
        one,
        two,
        watch: _watch,
        mut active,
        wires: _wires,
        ..
    } = coupled().await;
    let (handle, log) = (active.handle().clone(), one.clone());
    let asked = tokio::spawn(async move { pair::switch_over(&handle, &log).await });
    let over = active.until(std::future::pending::<()>()).await.unwrap();
    assert!(matches!(over, Over::Deposed), "{over:?}");
    asked.await.unwrap().unwrap();
    until("the other one is active", async || {
        two.leadership().borrow().role == Role::Active
    })
    .await;
    assert_eq!(
        count_of(&two, "ClusterSwitchedOver"),
        0,
        "the one that has become active records it"
    );
    let next = lead(&two).await;
    until("it is recorded", async || {
        count_of(&two, "ClusterSwitchedOver") == 1
    })
    .await;
    assert_eq!(count_of(&two, "ClusterFailedOver"), 0);
    // The member that handed over is asked again. It is no longer active, so the request succeeds.
    pair::switch_over(active.handle(), &one).await.unwrap();
    drop(next);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s133_a_switch_over_that_fails_is_neither_recorded_nor_reported_as_done() {
    let Pair {
        dirs: _dirs,
        one,
        two,
        watch: _watch,
        mut active,
        wires: [one_two, _one_watch, _two_watch],
        ..
    } = coupled().await;
    let (handle, log) = (active.handle().clone(), one.clone());
    // The connection to the other member is cut, and this member has not noticed it yet.
    let asked = tokio::spawn(async move {
        let peers = log.peers();
        assert!(peers.iter().all(|peer| peer.is_connected));
        drop(one_two);
        pair::switch_over(&handle, &log).await
    });
    let over = tokio::time::timeout(
        Duration::from_secs(20),
        active.until(std::future::pending::<()>()),
    );
    // The member may also have noticed in time that it cannot hand over.
    drop(over.await);
    let told = asked.await.unwrap();
    let is_other_active = two.leadership().borrow().active == Some(two.me().member);
    assert!(
        told.is_err() || is_other_active,
        "it is said to have happened and has not: {told:?}"
    );
    for log in [&one, &two] {
        assert_eq!(count_of(log, "ClusterSwitchedOver"), 0);
    }
}

/// Changes a byte of the first segment, far before its end.
fn damage(dir: &Path) {
    use std::os::unix::fs::FileExt as _;
    let entries = std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().path());
    let segment = entries
        .filter(|path| path.extension().is_some_and(|e| e == "segment"))
        .min()
        .unwrap();
    let file = std::fs::File::options().write(true).open(segment).unwrap();
    file.write_all_at(b"#", 150).unwrap();
}

/// Reads until the reader meets the damage.
async fn meet_damage(log: &Log) {
    let mut reader = log.read_after(log.torn_event_id()).unwrap();
    while *log.committed().borrow() > 0 && log.damages().is_empty() {
        if reader.next().await.is_none() {
            break;
        }
    }
    assert_eq!(log.damages().len(), 1, "it is met");
}

/// Records so many notes that the oldest ones are no longer in memory.
async fn fill(active: &Active<Ledger>) {
    for _ in 0..150 {
        let inputs = std::iter::repeat_with(|| Input::Note).take(4).collect();
        active.handle().ask_all(inputs).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_standby_with_a_damaged_log_is_to_learn_it_anew_from_the_active_member() {
    let pair = coupled().await;
    fill(&pair.active).await;
    until("it has everything", async || {
        *pair.two.committed().borrow() == *pair.one.committed().borrow()
    })
    .await;
    let following = {
        let log = pair.two.clone();
        tokio::spawn(async move {
            node::follow(
                Ledger::default,
                &log,
                Limits::default(),
                &Running::unnamed(),
                |_: &Ledger| (),
            )
            .await
        })
    };
    damage(pair.dirs[1].path());
    meet_damage(&pair.two).await;
    let advice = get(&pair.standby, "/health").await.1;
    let advice = advice["advice"].as_str().unwrap();
    assert!(
        advice.contains("damaged") && advice.contains(".segment"),
        "{advice}"
    );
    let ended = tokio::time::timeout(Duration::from_secs(10), following).await;
    let Err(fault) = ended.unwrap().unwrap().map(drop) else {
        panic!("it goes on with a damaged log");
    };
    assert!(fault.is_damaged(), "{fault}");
    pair.active.handle().ask(Input::Note).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_active_member_with_a_damaged_log_hands_over_to_the_one_that_has_everything() {
    let Pair {
        dirs,
        one,
        two,
        watch: _watch,
        mut active,
        wires: _wires,
        ..
    } = coupled().await;
    fill(&active).await;
    damage(dirs[0].path());
    meet_damage(&one).await;
    let over = tokio::time::timeout(
        Duration::from_secs(20),
        active.until(std::future::pending::<()>()),
    );
    let over = over.await.unwrap().unwrap();
    assert!(matches!(over, Over::Deposed), "{over:?}");
    until("the other one is active", async || {
        two.leadership().borrow().role == Role::Active
    })
    .await;
    let _next = lead(&two).await;
    until("it is recorded as what it was", async || {
        count_of(&two, "ClusterSwitchedOver") == 1
    })
    .await;
    let running = Running::unnamed();
    let follows = node::follow(
        Ledger::default,
        &one,
        Limits::default(),
        &running,
        |_: &Ledger| (),
    );
    let ended = tokio::time::timeout(Duration::from_secs(10), follows).await;
    let Err(fault) = ended.unwrap().map(drop) else {
        panic!("it follows with a damaged log");
    };
    assert!(fault.is_damaged(), "{fault}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s133_members_that_are_not_coupled_do_not_switch_over() {
    let Pair {
        dirs: _dirs,
        one,
        two,
        watch: _watch,
        active,
        wires: [one_two, _one_watch, two_watch],
        ..
    } = coupled().await;
    drop((one_two, two_watch));
    let handle = active.handle().clone();
    until("the loss is recorded", async || {
        let is_lost =
            |machine: &Ledger| matches!(machine.cluster, ClusterState::PassiveLost { .. });
        handle.ask(Input::Note).await.unwrap();
        handle.read(is_lost).await.unwrap()
    })
    .await;
    let refused = pair::switch_over(&handle, &one).await.unwrap_err();
    let told = format!("{refused:?}");
    assert!(
        told.contains("ClusterSwitchOverButNotCoupled") && told.contains("PassiveLost"),
        "S133: {told}"
    );
    assert_eq!(one.leadership().borrow().role, Role::Active);
    assert_ne!(two.leadership().borrow().role, Role::Active);
    assert_eq!(count_of(&one, "ClusterSwitchedOver"), 0);
    handle.ask(Input::Note).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_ends_in_order_says_so_to_whoever_asks_then() {
    let pair = coupled().await;
    let handle = pair.active.handle().clone();
    pair.active.stop(End::default()).await.unwrap();
    let told = handle.ask(Input::Note).await.unwrap_err();
    let refusal = told.refusal(Kept::Agent);
    assert!(refusal.problem.is("AgentIsShuttingDown"), "{told:?}");
}

/// What `path` answers: the status and the body.
async fn get(front: &Front, path: &str) -> (u16, Value) {
    let request = Request::get(path).body(Body::empty()).unwrap();
    let answer = front.health().call(request).await.unwrap();
    let status = answer.status().as_u16();
    let body = to_bytes(answer.into_body(), 1 << 16).await.unwrap();
    (status, serde_json::from_slice(&body).unwrap())
}

async fn nobody_is_there(log: &Log) {
    until("nobody is there", async || {
        log.peers().iter().all(|peer| !peer.is_connected)
    })
    .await;
}

/// It is this, and nothing else for longer than any election takes.
async fn stays(front: &Front, standing: Standing) {
    for _ in 0..50 {
        assert_eq!(front.standing(), standing);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// It says that it was removed, and what to do.
async fn says_that_it_was_removed(front: &Front) {
    for (path, status) in [("/health", 200), ("/health/active", 503)] {
        let told = get(front, path).await;
        assert_eq!(told.0, status);
        assert_eq!(told.1["role"], "removed", "{told:?}");
        let advice = told.1["advice"].as_str().unwrap();
        assert!(
            advice.contains("Backup was removed") && advice.contains("stop it"),
            "{advice}"
        );
    }
    assert_eq!(front.report()["standing"], "removed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_removed_member_says_so_also_when_nobody_is_there_any_more_and_after_a_restart_with_the_others()
 {
    let Pair {
        dirs,
        one,
        two,
        active,
        standby,
        wires,
        ..
    } = coupled().await;
    pair::remove(active.handle(), &one, None).await.unwrap();
    until("it says so", async || {
        standby.standing() == Standing::Removed
    })
    .await;
    says_that_it_was_removed(&standby).await;

    drop(wires);
    nobody_is_there(&two).await;
    stays(&standby, Standing::Removed).await;
    says_that_it_was_removed(&standby).await;

    two.shutdown().await;
    let two = open(dirs[1].path(), "Backup", Part::Data).await;
    let (again, _following) = follow(&two);
    // Which events are committed it hears from the others only.
    let is_waiting = async || again.standing() == Standing::Starting;
    until("it has opened its log", is_waiting).await;
    let (_, told) = get(&again, "/health").await;
    let advice = told["advice"].as_str().unwrap();
    assert!(advice.contains("hears no other member"), "{advice}");
    let wire = wire(&one, &two);
    until("it says so again", async || {
        again.standing() == Standing::Removed
    })
    .await;
    says_that_it_was_removed(&again).await;
    drop(wire);
    nobody_is_there(&two).await;
    stays(&again, Standing::Removed).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_standby_that_hears_nobody_says_so_and_is_not_taken_for_a_removed_one() {
    let Pair {
        dirs,
        two,
        standby,
        wires,
        ..
    } = coupled().await;
    drop(wires);
    nobody_is_there(&two).await;
    stays(&standby, Standing::Starting).await;
    says_to_start_the_others(&standby).await;
    two.shutdown().await;
    let two = open(dirs[1].path(), "Backup", Part::Data).await;
    let (again, _following) = follow(&two);
    let is_waiting = async || again.standing() == Standing::Starting;
    until("it has opened its log", is_waiting).await;
    stays(&again, Standing::Starting).await;
    says_to_start_the_others(&again).await;
}

async fn says_to_start_the_others(front: &Front) {
    let (_, told) = get(front, "/health").await;
    let advice = told["advice"].as_str().unwrap();
    assert!(advice.contains("start the others"), "{advice}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_empty_member_says_how_it_is_taken_in() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path(), "Backup", Part::Data).await;
    let (joining, _following) = follow(&log);
    let (_, told) = get(&joining, "/health").await;
    assert_eq!(told["role"], "joining");
    let advice = told["advice"].as_str().unwrap();
    assert!(advice.contains("cluster appoint"), "{advice}");
}
