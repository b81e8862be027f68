//! The witnesses of pairs of Directors at a Controller: the real [`WitnessState`], recorded in the Controller's log.
//!
//! Always: as in the product, a state is committed before a Director gets the answer, and only a Controller that may act answers. A message
//! that cannot be recorded at once is not answered, and the Director sends it again. Never here: the rules; those are in `cluster`.

use crate::kernel::Kernel;
use crate::node::Asker;
use crate::pair::{Message, Number};
use crate::place::Place;
use crate::seat::{Cluster, say};
use crate::world::WATCH;
use cluster::rules::{self, Ballot, Voting};
use cluster::{Candidate, EntryId, Timing, WitnessState};
use controller_node::{Input, Reply, from_model, to_model};
use model::{AgentPath, AgentWitness, RunId};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// A witness while its Controller is active.
struct Witness {
    agent: AgentPath,
    run_id: RunId,
    state: WitnessState,
    opened: Duration,
    heard: Option<Duration>,
    /// The state that is being recorded, the member to answer afterwards, and the answer.
    pending: Option<(WitnessState, Number, Message)>,
}

/// All witnesses of one Controller.
pub struct Witnesses {
    place: Place,
    timing: Timing,
    /// Whether this world has witnesses.
    are_here: bool,
    open: BTreeMap<Cluster, Witness>,
    beginning: BTreeSet<Cluster>,
    generation: u64,
}

/// What the Controller's state records about the witness of an Agent.
pub struct Known {
    /// The log of the Agent.
    pub cluster: Cluster,
    /// The Agent.
    pub agent: AgentPath,
    /// The run id of the log.
    pub run_id: RunId,
    /// The recorded state; `None` before the first one.
    pub witness: Option<AgentWitness>,
}

impl Witnesses {
    /// Creates the witnesses of the Controller at `place`. No witness is open.
    pub fn new(place: Place, timing: Timing, are_here: bool) -> Witnesses {
        Witnesses {
            place,
            timing,
            are_here,
            open: BTreeMap::new(),
            beginning: BTreeSet::new(),
            generation: 0,
        }
    }

    /// Closes all witnesses. Must be called when the Controller is no longer active.
    pub fn clear(&mut self) {
        self.open.clear();
        self.beginning.clear();
        self.generation += 1;
    }

    /// Opens the witnesses that are closed. Returns what must be recorded first.
    pub fn keep(&mut self, k: &mut Kernel, known: Vec<Known>) -> Vec<(Asker, Input)> {
        let mut inputs = Vec::new();
        if !self.are_here {
            return inputs;
        }
        let now = k.steady(self.place);
        for Known {
            cluster,
            agent,
            run_id,
            witness,
        } in known
        {
            if self.open.contains_key(&cluster) {
                continue;
            }
            if let Some(witness) = witness {
                self.beginning.remove(&cluster);
                k.numbers.insert((cluster, WATCH), self.place);
                k.note(format_args!("{} has the third vote of {agent}", self.place));
                let opened = Witness {
                    agent,
                    run_id,
                    state: from_model(&witness),
                    opened: now,
                    heard: None,
                    pending: None,
                };
                self.open.insert(cluster, opened);
            } else if self.beginning.insert(cluster) {
                let witness = to_model(&WitnessState::new(WATCH));
                let input = Input::AgentWitness {
                    agent,
                    run_id,
                    witness,
                };
                inputs.push((self.asker(cluster), input));
            }
        }
        inputs
    }

    fn asker(&self, cluster: Cluster) -> Asker {
        Asker::Witness {
            cluster,
            generation: self.generation,
        }
    }

    /// Handles the result of recording a state. If the state is recorded, the answer that waits for it is sent.
    pub fn told(&mut self, k: &mut Kernel, cluster: Cluster, generation: u64, replies: &[Reply]) {
        if generation != self.generation {
            return;
        }
        self.beginning.remove(&cluster);
        let Some(witness) = self.open.get_mut(&cluster) else {
            return;
        };
        let is_remembered = matches!(replies, [Reply::Remembered(true)]);
        match witness.pending.take() {
            Some((state, to, message)) if is_remembered => {
                witness.state = state;
                say(k, cluster, (self.place, WATCH), to, message);
            }
            // The witness is opened again with the state in the log.
            Some(_) | None => drop(self.open.remove(&cluster)),
        }
    }

    /// Handles a message of a Director, at a Controller that may act. Returns what must be recorded before the answer.
    pub fn hear(
        &mut self,
        k: &mut Kernel,
        cluster: Cluster,
        from: Number,
        message: Message,
    ) -> Option<(Asker, Input)> {
        let now = k.steady(self.place);
        let (place, timing) = (self.place, self.timing);
        let asker = self.asker(cluster);
        let witness = self.open.get_mut(&cluster)?;
        let leader = |term| Candidate { term, member: from };
        let (next, answer) = match message {
            Message::Append {
                term,
                before,
                entries,
                sent,
                ..
            } => {
                let newest = entries.last().map(|entry| (entry.term, entry.index));
                let has = newest.map_or(before.1, |(_, index)| index);
                witness.obey(leader(term), newest, has, sent, now)?
            }
            Message::Snapshot {
                term,
                snapshot,
                sent,
                ..
            } => {
                let newest = (snapshot.term, snapshot.index);
                witness.obey(leader(term), Some(newest), snapshot.index, sent, now)?
            }
            Message::Vote {
                term,
                newest,
                by_handover,
            } => {
                if witness.voting(&timing, now, by_handover) != Voting::Open
                    || witness.pending.is_some()
                {
                    return None;
                }
                match witness.state.voted(leader(term), Some(newest)) {
                    Some(next) => (
                        next,
                        Message::Voted {
                            term,
                            is_given: true,
                        },
                    ),
                    None => (witness.state.clone(), witness.refusal()),
                }
            }
            Message::PreVote { term, newest } => {
                let is_open = witness.voting(&timing, now, false) == Voting::Open;
                let is_given = witness.state.voted(leader(term), Some(newest)).is_some();
                let answer = if term <= witness.state.term {
                    witness.refusal()
                } else if is_given && is_open {
                    Message::PreVoteGiven { term }
                } else {
                    return None;
                };
                (witness.state.clone(), answer)
            }
            Message::PreVoteGiven { .. }
            | Message::Voted { .. }
            | Message::Appended { .. }
            | Message::HandOver { .. } => return None,
        };
        if next == witness.state {
            say(k, cluster, (place, WATCH), from, answer);
            return None;
        }
        let input = Input::AgentWitness {
            agent: witness.agent.clone(),
            run_id: witness.run_id.clone(),
            witness: to_model(&next),
        };
        witness.pending = Some((next, from, answer));
        Some((asker, input))
    }
}

impl Witness {
    /// Returns the next state and the answer to a message of a leader. Returns `None` while another state is being recorded.
    fn obey(
        &mut self,
        leader: Candidate,
        newest: Option<EntryId>,
        has: u64,
        sent: Duration,
        now: Duration,
    ) -> Option<(WitnessState, Message)> {
        let Ok(next) = self.state.appended(leader, newest, None) else {
            let term = self.state.term;
            let has = Err(0);
            return Some((self.state.clone(), Message::Appended { term, has, sent }));
        };
        let is_of_same = |(pending, _, _): &(WitnessState, Number, Message)| {
            pending.is_elected && pending.term == leader.term
        };
        let is_blocked = match &self.pending {
            None => false,
            // A heartbeat waits while a vote is being recorded, but not while entries are.
            Some(pending) => next != self.state || !is_of_same(pending),
        };
        if is_blocked {
            return None;
        }
        self.heard = Some(now);
        let term = leader.term;
        let has = Ok(has);
        Some((next, Message::Appended { term, has, sent }))
    }

    fn refusal(&self) -> Message {
        Message::Voted {
            term: self.state.term,
            is_given: false,
        }
    }

    fn voting(&self, timing: &Timing, now: Duration, is_handed_over: bool) -> Voting {
        rules::voting(&Ballot {
            is_handed_over,
            opened_for: now.saturating_sub(self.opened),
            heard_for: self.heard.map(|heard| now.saturating_sub(heard)),
            patience: rules::patience(timing),
        })
    }
}
