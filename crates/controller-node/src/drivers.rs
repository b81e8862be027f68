//! One driver per Agent, and what is handed to each after a commit.
//!
//! Always: nothing waits here; an Agent that is slow, silent or gone has a full slot or none, and the others do not notice.
//! Never here: the connection. See `driver`.

use crate::driver::{self, Driver};
use crate::machine::ControllerMachine;
use cluster::Log;
use controller::{Coupling, Handover, Sending};
use model::{AgentPath, EventId, ItemBody, ItemKey, ItemType, SubagentId};
use net::{Secret, TlsClient};
use node::{Handle, Outside};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use tokio::sync::{mpsc, watch};
use tokio_util::task::AbortOnDropHandle;

/// Things per request.
const BATCH_MAX: usize = 500;

/// How Agents are dialled.
#[derive(Clone)]
pub(crate) struct Dialling {
    pub(crate) tls: Option<TlsClient>,
    pub(crate) token: Option<Secret>,
    pub(crate) tokens: BTreeMap<String, Secret>,
}

/// Where an Agent is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) path: AgentPath,
    pub(crate) directors: Vec<SubagentId>,
    pub(crate) uri: Arc<str>,
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

/// What goes to a coupled Agent.
pub(crate) struct Port {
    pub(crate) slot: mpsc::Sender<Vec<Sending>>,
    pub(crate) handover: Handover,
}

/// There while the Agent is coupled. Locked for moments only.
#[derive(Clone, Default)]
pub(crate) struct Link(Arc<Mutex<Option<Port>>>);

impl Link {
    pub(crate) fn set(&self, port: Option<Port>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = port;
    }
}

struct Slot {
    target: watch::Sender<Target>,
    link: Link,
    _task: AbortOnDropHandle<()>,
}

/// All drivers.
pub(crate) struct Drivers {
    handle: Arc<OnceLock<Handle<ControllerMachine>>>,
    log: Log,
    dialling: Dialling,
    slots: BTreeMap<AgentPath, Slot>,
}

impl Drivers {
    /// `handle` is set as soon as the loop runs.
    pub(crate) fn new(
        handle: Arc<OnceLock<Handle<ControllerMachine>>>,
        log: Log,
        dialling: Dialling,
    ) -> Drivers {
        Drivers {
            handle,
            log,
            dialling,
            slots: BTreeMap::new(),
        }
    }

    fn start(&self, target: Target, handle: Handle<ControllerMachine>) -> Slot {
        let link = Link::default();
        let token = self
            .dialling
            .tokens
            .get(target.path.as_str())
            .or(self.dialling.token.as_ref())
            .cloned();
        let (target, watcher) = watch::channel(target);
        let driver = Driver {
            log: self.log.clone(),
            handle,
            link: link.clone(),
            tls: self.dialling.tls.clone(),
            token,
        };
        let task = AbortOnDropHandle::new(tokio::spawn(driver::drive(driver, watcher)));
        Slot {
            target,
            link,
            _task: task,
        }
    }
}

impl Outside<ControllerMachine> for Drivers {
    fn release(&mut self, machine: &ControllerMachine, _committed: EventId) {
        let Some(handle) = self.handle.get() else {
            return;
        };
        let state = &machine.state;
        self.slots.retain(|path, _| state.agent(path).is_some());
        for (path, _) in state.agents() {
            let Some(target) = target_of(state, path) else {
                continue;
            };
            match self.slots.get(path) {
                None => {
                    let slot = self.start(target, handle.clone());
                    self.slots.insert(path.clone(), slot);
                }
                Some(slot) => {
                    slot.target.send_if_modified(|known| {
                        let has_changed = *known != target;
                        *known = target;
                        has_changed
                    });
                    fill(slot, state, path);
                }
            }
        }
    }
}

fn target_of(state: &controller::State, path: &AgentPath) -> Option<Target> {
    let record = state.item(&ItemKey::simple(ItemType::AgentRef, path.as_str()))?;
    let ItemBody::Agent(agent) = &record.item.body else {
        return None;
    };
    let director = agent.directors.first()?;
    let record = state.item(&ItemKey::simple(ItemType::SubagentItem, director.as_str()))?;
    let ItemBody::Subagent(subagent) = &record.item.body else {
        return None;
    };
    Some(Target {
        path: path.clone(),
        directors: agent.directors.clone(),
        uri: Arc::clone(&subagent.uri),
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

/// Hands over what is new, as far as there is room.
fn fill(slot: &Slot, state: &controller::State, path: &AgentPath) {
    let mut link = slot.link.0.lock().unwrap_or_else(PoisonError::into_inner);
    let Some(port) = link.as_mut() else { return };
    while let Ok(permit) = port.slot.try_reserve() {
        let batch = port.handover.next(state, path, BATCH_MAX);
        if batch.is_empty() {
            return;
        }
        permit.send(batch);
    }
}
