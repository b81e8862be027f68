//! One driver per Agent, and what is handed to each after a commit.
//!
//! Always: nothing waits here; an Agent that is slow, silent or gone has a full slot or none, and the others do not notice.
//! Never here: the connection. See `driver`.

use crate::directors::{AgentVote, Giving, Voting};
use crate::driver::{self, Driver};
use crate::machine::ControllerMachine;
use cluster::Log;
use controller::{AgentDelivery, Coupling, DeliveryInput, DeliveryOutput};
use model::{
    AgentPath, EventId, ItemBody, ItemKey, ItemType, MemberRun, OrderId, RunId, SubagentId,
};
use net::{Client, ClientError, ClientSettings, Credentials, Secret, TlsClient};
use node::{Front, Handle, LateHandle, Outside};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

/// Capacity of the channel to a connection. A delivery has one request in flight and few other outputs.
const OUTPUTS: usize = 8;
/// The longest line of an event stream: an order with its arguments.
const ANSWER_LIMIT: usize = 64 << 20;

/// How Agents are dialled.
#[derive(Clone)]
pub(crate) struct Dialling {
    pub(crate) tls: Option<TlsClient>,
    pub(crate) token: Option<Secret>,
    pub(crate) tokens: BTreeMap<String, Secret>,
    /// Drawn when this process started.
    pub(crate) run_id: RunId,
    /// The address of this Controller, for people.
    pub(crate) address: Arc<str>,
}

impl Dialling {
    /// Returns the identity that this Controller sends to the Agents.
    pub(crate) fn myself(&self, log: &Log) -> MemberRun {
        MemberRun {
            member: log.me().member,
            run_id: self.run_id.clone(),
            address: Arc::clone(&self.address),
        }
    }

    /// What this Agent demands, unless it knows us by our certificate.
    pub(crate) fn token_for(&self, agent: &AgentPath) -> Option<&Secret> {
        self.tokens.get(agent.as_str()).or(self.token.as_ref())
    }

    /// The way to a Director, which must answer within `patience`.
    pub(crate) fn client(
        &self,
        agent: &AgentPath,
        uri: &str,
        patience: Option<Duration>,
    ) -> Result<Client, ClientError> {
        let mut settings = ClientSettings::new(uri);
        settings.tls.clone_from(&self.tls);
        settings.answer_limit = ANSWER_LIMIT;
        if let Some(token) = self.token_for(agent) {
            settings.credentials = Credentials::Bearer(token.clone());
        }
        if let Some(patience) = patience {
            settings.request_timeout = patience;
        }
        Client::new(settings)
    }
}

/// Where an Agent is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) path: AgentPath,
    pub(crate) directors: Vec<SubagentId>,
    /// The addresses of its Directors.
    pub(crate) uris: Vec<Arc<str>>,
    /// The life of its log, once it is known.
    pub(crate) life: Option<RunId>,
    /// It is to be reset before anything else.
    pub(crate) reset: Option<Reset>,
}

/// How an Agent is reset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reset {
    /// In the life that we know.
    Known,
    /// Whoever has it, in whichever life.
    Any,
}

/// The delivery to an Agent. The commit loop passes it each committed state, and the connection executes its outputs. The lock is held
/// only for moments.
#[derive(Clone)]
pub(crate) struct Link(Arc<Mutex<LinkState>>);

struct LinkState {
    delivery: AgentDelivery,
    /// The origin of the times that the delivery gets.
    begin: Instant,
    /// The channel to the connection. `None` while the Agent is not coupled.
    outputs: Option<mpsc::Sender<DeliveryOutput>>,
}

impl Link {
    fn new(agent: AgentPath) -> Link {
        Link(Arc::new(Mutex::new(LinkState {
            delivery: AgentDelivery::new(agent),
            begin: Instant::now(),
            outputs: None,
        })))
    }

    fn lock(&self) -> MutexGuard<'_, LinkState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records that the Agent has been coupled. Returns the outputs to execute from now on.
    pub(crate) fn couple(
        &self,
        coupling: u64,
        held: Vec<OrderId>,
        since: EventId,
    ) -> mpsc::Receiver<DeliveryOutput> {
        let (outputs, receiver) = mpsc::channel(OUTPUTS);
        self.lock().outputs = Some(outputs);
        self.handle(DeliveryInput::Coupled {
            coupling,
            held,
            since,
        });
        receiver
    }

    /// Records that the connection has ended.
    pub(crate) fn uncouple(&self) {
        self.handle(DeliveryInput::Uncoupled);
        self.lock().outputs = None;
    }

    pub(crate) fn handle(&self, input: DeliveryInput<'_>) {
        let mut link = self.lock();
        let (now, mut out) = (link.begin.elapsed(), Vec::new());
        link.delivery.handle(now, input, &mut out);
        for output in out {
            // A closed channel means that the connection is just ending. A full one should not occur; the connection is then restarted.
            link.outputs
                .take_if(|outputs| outputs.try_send(output).is_err());
        }
    }

    /// Returns when [`DeliveryInput::Wake`] is due, if at all.
    pub(crate) fn next_wakeup(&self) -> Option<Instant> {
        let link = self.lock();
        Some(link.begin + link.delivery.next_wakeup()?)
    }
}

struct Slot {
    target: watch::Sender<Target>,
    /// With which Directors we vote, in which life of their log.
    voted_for: Option<(Vec<Arc<str>>, RunId)>,
    vote: Option<AgentVote>,
    leader: watch::Sender<Option<u64>>,
    link: Link,
    _task: AbortOnDropHandle<()>,
}

/// All drivers.
pub(crate) struct Drivers {
    handle: LateHandle<ControllerMachine>,
    log: Log,
    dialling: Dialling,
    voting: Voting,
    slots: BTreeMap<AgentPath, Slot>,
    front: Front,
    /// The action that is recommended to the operator.
    advice: Option<String>,
}

impl Drivers {
    /// `handle` is set as soon as the loop runs.
    pub(crate) fn new(
        handle: LateHandle<ControllerMachine>,
        log: Log,
        dialling: Dialling,
        voting: Voting,
        front: Front,
    ) -> Drivers {
        Drivers {
            handle,
            log,
            dialling,
            voting,
            slots: BTreeMap::new(),
            front,
            advice: None,
        }
    }

    fn start(&self, target: Target, handle: Handle<ControllerMachine>) -> Slot {
        let link = Link::new(target.path.clone());
        let (target, watcher) = watch::channel(target);
        let (leader, leader_watcher) = watch::channel(None);
        let driver = Driver {
            log: self.log.clone(),
            handle,
            link: link.clone(),
            dialling: self.dialling.clone(),
            leader: leader_watcher,
            told_of: Mutex::default(),
        };
        let task =
            AbortOnDropHandle::new(tasks::spawn("agent-driver", driver::drive(driver, watcher)));
        Slot {
            target,
            voted_for: None,
            vote: None,
            leader,
            link,
            _task: task,
        }
    }
}

impl Slot {
    /// A pair of Directors has our vote.
    fn vote_for(
        &mut self,
        target: &Target,
        voting: &Voting,
        dialling: &Dialling,
        (handle, log): (&Handle<ControllerMachine>, &Log),
    ) {
        let is_pair = target.uris.len() > 1;
        let life = target.life.clone().filter(|_| is_pair);
        let wanted = life.map(|life| (target.uris.clone(), life));
        if self.voted_for == wanted {
            return;
        }
        let before = self.vote.take();
        self.vote = wanted.as_ref().map(|(_, life)| {
            let giving = Giving {
                voting: voting.clone(),
                life: life.clone(),
                dialling: dialling.clone(),
                target: target.clone(),
                handle: handle.clone(),
                log: log.clone(),
                leader: self.leader.clone(),
            };
            AgentVote::give(giving, before)
        });
        self.voted_for = wanted;
    }
}

impl Outside<ControllerMachine> for Drivers {
    fn release(&mut self, machine: &ControllerMachine, _committed: EventId) {
        let Some(handle) = self.handle.get() else {
            return;
        };
        let state = &machine.state;
        let advice = advice_of(state);
        if advice != self.advice {
            self.front.advise(advice.clone());
            self.advice = advice;
        }
        self.slots.retain(|path, _| state.agent(path).is_some());
        for (path, _) in state.agents() {
            let Some(target) = target_of(state, path) else {
                continue;
            };
            match self.slots.get_mut(path) {
                None => {
                    let mut slot = self.start(target.clone(), handle.clone());
                    slot.vote_for(&target, &self.voting, &self.dialling, (handle, &self.log));
                    self.slots.insert(path.clone(), slot);
                }
                Some(slot) => {
                    slot.vote_for(&target, &self.voting, &self.dialling, (handle, &self.log));
                    slot.target.send_if_modified(|known| {
                        // In which life it is shows while it is being coupled; that is no reason to begin again.
                        let before = Target {
                            life: target.life.clone(),
                            ..known.clone()
                        };
                        let has_changed = before != target;
                        *known = target;
                        has_changed
                    });
                    slot.link.handle(DeliveryInput::Committed(state));
                }
            }
        }
    }
}

/// Returns what the operator should do when an Agent reports that two processes claim to be this Controller.
fn advice_of(state: &controller::State) -> Option<String> {
    state.agents().find_map(|(path, agent)| {
        let problem = agent
            .problem
            .as_ref()
            .filter(|problem| problem.is("ControllerIsDouble"))
            .cloned()
            .or_else(|| Some(agent.other_controller.as_ref()?.problem()))?;
        Some(format!("Agent {path}: {}", problem.message))
    })
}

/// Where the Agent's Directors are, as far as that is deployed.
pub(crate) fn target_of(state: &controller::State, path: &AgentPath) -> Option<Target> {
    let record = state.item(&ItemKey::simple(ItemType::AgentRef, path.as_str()))?;
    let ItemBody::Agent(agent) = &record.item.body else {
        return None;
    };
    let uri = |director: &SubagentId| {
        let key = ItemKey::simple(ItemType::SubagentItem, director.as_str());
        match &state.item(&key)?.item.body {
            ItemBody::Subagent(subagent) => Some(Arc::clone(&subagent.uri)),
            ItemBody::Workflow(_)
            | ItemBody::JobResource(_)
            | ItemBody::Agent(_)
            | ItemBody::Bundle(_)
            | ItemBody::Kept(_) => None,
        }
    };
    let uris = agent
        .directors
        .iter()
        .map(uri)
        .collect::<Option<Vec<_>>>()?;
    if uris.is_empty() {
        return None;
    }
    Some(Target {
        path: path.clone(),
        directors: agent.directors.clone(),
        uris,
        life: state
            .agent(path)
            .and_then(|agent| agent.agent_run_id.clone()),
        reset: reset_of(state, path),
    })
}

fn reset_of(state: &controller::State, path: &AgentPath) -> Option<Reset> {
    let agent = state.agent(path)?;
    (agent.coupling_state == Coupling::Resetting).then_some(if agent.is_reset_by_force {
        Reset::Any
    } else {
        Reset::Known
    })
}
