//! The drivers of all Subagents, kept in step with the state.
//!
//! Always: one driver for each Subagent that the Controller has told of; a changed address gets a new one.

use crate::driver::{Driver, Slot};
use crate::machine::AgentMachine;
use crate::outgoing::Job;
use agent::Work;
use cluster::Log;
use model::{EventId, MemberRun, RunId, SubagentId, SubagentItem};
use net::{Client, ClientSettings, Credentials, Secret, TlsClient};
use node::{Front, Handle, LateHandle, Outside};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use subagent_node::{Linked, LocalLink, RemoteLink, Subagent, SubagentLink};
use tokio::sync::mpsc::error::TrySendError;
use tokio::task::JoinHandle;

/// How other Subagents are reached.
#[derive(Clone)]
pub(crate) struct Dialling {
    pub(crate) tls: Option<TlsClient>,
    pub(crate) token: Option<Secret>,
    /// What the Directors of a pair show to each other's Subagents, if not the same.
    pub(crate) director_token: Option<Secret>,
    pub(crate) lease: Duration,
    /// The random id of this run, drawn when the process started.
    pub(crate) run_id: RunId,
    /// The address of this Director, for people.
    pub(crate) address: Arc<str>,
}

impl Dialling {
    /// Returns the identity that the Subagents get with each request of this Director.
    pub(crate) fn myself(&self, log: &Log) -> MemberRun {
        MemberRun {
            member: log.me().member,
            run_id: self.run_id.clone(),
            address: Arc::clone(&self.address),
        }
    }

    /// The way to the own Subagent. In a pair it has a lease, too: the other Director must know when its jobs have ended.
    pub(crate) fn own(&self, subagent: Subagent, state: &agent::State) -> SubagentLink {
        let is_pair = state.directors().len() > 1;
        SubagentLink::Local(LocalLink {
            subagent,
            lease: is_pair.then_some(self.lease),
        })
    }

    /// The way to a Subagent in another process.
    pub(crate) fn dial(
        &self,
        item: &SubagentItem,
        is_director: bool,
    ) -> Result<SubagentLink, net::ClientError> {
        let mut settings = ClientSettings::new(item.uri.to_string());
        settings.tls.clone_from(&self.tls);
        let of_director = self.director_token.as_ref().filter(|_| is_director);
        if let Some(token) = of_director.or(self.token.as_ref()) {
            settings.credentials = Credentials::Bearer(token.clone());
        }
        // While an answer is awaited nothing else is heard: a lost one is noticed as soon as a silent stream.
        let lease = self.lease;
        settings.request_timeout = RemoteLink::patience(lease);
        let client = Client::new(settings)?;
        Ok(SubagentLink::Remote(RemoteLink { client, lease }))
    }
}

struct Driven {
    uri: Arc<str>,
    is_in_pair: bool,
    slot: Arc<Slot>,
    task: JoinHandle<()>,
}

impl Drop for Driven {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// All drivers.
pub(crate) struct Drivers {
    pub(crate) local: Subagent,
    pub(crate) dialling: Dialling,
    /// Known once the loop runs; the loop itself is what calls us.
    pub(crate) handle: LateHandle<AgentMachine>,
    log: Log,
    driven: BTreeMap<SubagentId, Driven>,
    front: Front,
    /// Whether the operator is currently advised that two Controllers claim this Agent.
    is_advised: bool,
}

impl Drivers {
    pub(crate) fn new(
        local: Subagent,
        dialling: Dialling,
        handle: LateHandle<AgentMachine>,
        log: Log,
        front: Front,
    ) -> Drivers {
        Drivers {
            local,
            dialling,
            handle,
            log,
            driven: BTreeMap::new(),
            front,
            is_advised: false,
        }
    }

    fn advise(&mut self, machine: &AgentMachine) {
        let other = machine.state.other_controller();
        if other.is_some() == self.is_advised {
            return;
        }
        self.is_advised = other.is_some();
        self.front.advise(other.map(|known| {
            format!(
                "two Controllers of the same identity are running: this Agent is coupled with the one at {} and refuses the one at {}; stop the one that is not wanted",
                known.coupled, known.other
            )
        }));
    }

    fn keep_in_step(&mut self, machine: &AgentMachine, handle: &Handle<AgentMachine>) {
        let state = &machine.state;
        let Some(meta) = state.meta() else { return };
        let is_in_pair = state.directors().len() > 1;
        self.driven.retain(|id, driven| {
            let subagent = state.subagents().get(id);
            let address = subagent.and_then(|subagent| subagent.address());
            address.is_some_and(|address| *address == driven.uri) && is_in_pair == driven.is_in_pair
        });
        if self.driven.len() == state.subagents().len() {
            return;
        }
        for (id, subagent) in state.subagents() {
            let (Some(item), Some(address)) = (&subagent.item, subagent.address()) else {
                continue;
            };
            if self.driven.contains_key(id) {
                continue;
            }
            // While it leaves an address for another one, it is reached where it was.
            let item = &SubagentItem {
                uri: address.clone(),
                ..SubagentItem::clone(item)
            };
            let is_local = state.local_subagent() == Some(id);
            let link = match if is_local {
                Ok(self.dialling.own(self.local.clone(), state))
            } else {
                self.dialling.dial(item, state.directors().contains(id))
            } {
                Ok(link) => link,
                Err(error) => {
                    tracing::error!(subagent = %id, uri = %item.uri, %error, "the Subagent's address cannot be used");
                    continue;
                }
            };
            let slot = Arc::new(Slot::default());
            let driver = Driver {
                id: id.clone(),
                me: Linked {
                    subagent_id: id.clone(),
                    agent_path: meta.agent_path.clone(),
                    agent_run_id: meta.agent_run_id.clone(),
                    controller_id: meta.controller_id.clone(),
                    epoch: self.log.leadership().borrow().term,
                    from: self.dialling.myself(&self.log),
                },
                log: self.log.clone(),
                link,
                slot: slot.clone(),
                handle: handle.clone(),
            };
            let task = tasks::spawn("subagent-driver", driver.run());
            self.driven.insert(
                id.clone(),
                Driven {
                    uri: item.uri.clone(),
                    is_in_pair,
                    slot,
                    task,
                },
            );
        }
    }

    fn hand_out(&self, machine: &AgentMachine) {
        let wants_metering = machine.state.wants_metering();
        for (id, driven) in &self.driven {
            driven.slot.want_metering(wants_metering);
            let reset = machine.state.subagents().get(id);
            let reset = reset.and_then(|subagent| subagent.reset.as_ref());
            driven.slot.want_reset(reset.map(|reset| reset.force));
            let mut slot = driven.slot.lock();
            let slot = &mut *slot;
            let Some(sender) = &slot.sender else { continue };
            let observed = machine
                .state
                .subagents()
                .get(id)
                .map(|subagent| subagent.observed);
            let observed = observed.unwrap_or_default();
            for (number, work) in machine.state.work_after(id, slot.cursor) {
                let mut items = Vec::new();
                if let Work::Start { order, .. } = &work {
                    let needed = machine.state.items_for_job(order);
                    let missing =
                        needed.filter(|(key, revision, _)| slot.sent.get(*key) != Some(revision));
                    items.extend(
                        missing.map(|(key, revision, text)| (key.clone(), revision, text.clone())),
                    );
                }
                let sent: Vec<_> = items
                    .iter()
                    .map(|(key, revision, _)| (key.clone(), *revision))
                    .collect();
                match sender.try_send(Job {
                    work,
                    items,
                    observed,
                }) {
                    Ok(()) => {
                        slot.cursor = number;
                        slot.sent.extend(sent);
                    }
                    // The driver calls for more when it has room.
                    Err(TrySendError::Full(_) | TrySendError::Closed(_)) => break,
                }
            }
        }
    }
}

impl Outside<AgentMachine> for Drivers {
    fn release(&mut self, machine: &AgentMachine, _committed: EventId) {
        // Before the first answer of the loop there is no handle yet; it nudges once there is one.
        let Some(handle) = self.handle.get().cloned() else {
            return;
        };
        self.advise(machine);
        self.keep_in_step(machine, &handle);
        self.hand_out(machine);
    }
}
