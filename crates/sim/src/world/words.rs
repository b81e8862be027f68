//! What arrives at a place of a world, and the steps it takes for it.
//!
//! Always: one step at a time, each at its moment. Never here: what the product's machines decide.

use super::{WATCH_ENTRIES_KEPT, World};
use crate::fault::Fault;
use crate::kernel::NodeStep;
use crate::net::{Ask, ConnId, Packet, Toward};
use crate::pair::Number;
use crate::place::Place;
use crate::seat::{Cluster, SeatStep};
use crate::subagent::{SubagentHost, Surrounding};
use cluster::Part;
use std::collections::BTreeSet;

impl World {
    pub(super) fn subagent(&mut self, index: usize) -> (&mut SubagentHost, Surrounding<'_>) {
        let around = Surrounding {
            k: &mut self.k,
            processes: &mut self.processes,
            history: &mut self.history,
            manners: self.setting.manners,
        };
        (&mut self.subagents[index], around)
    }

    pub(super) fn arrive(&mut self, to: Place, id: ConnId, packet: Packet) {
        let Some(conn) = self.k.net.conn(id).cloned() else {
            return;
        };
        let Packet::Request { number, ask } = packet else {
            if conn.client != to
                || self.k.standing(to).life != conn.client_life
                || !self.k.standing(to).is_up
            {
                return;
            }
            return match to {
                Place::Client => self
                    .client
                    .message(&mut self.k, &mut self.history, id, packet),
                Place::Controller(index) => {
                    self.controllers[index].driver_message(&mut self.k, id, packet);
                }
                Place::Agent(index) => {
                    if let Place::Subagent(driver) = conn.server {
                        self.agents[index].driver_message(&mut self.k, driver, id, packet);
                    }
                }
                Place::Subagent(_) | Place::Watch(_) => {}
            };
        };
        let standing = self.k.standing(to);
        let is_other_life = conn.server_life.is_some_and(|life| life != standing.life);
        if !standing.is_up || is_other_life {
            if !standing.is_silent || is_other_life {
                self.k.send(id, Toward::Client, Packet::Reset);
            }
            return;
        }
        if let Some(conn) = self.k.net.conn_mut(id) {
            conn.server_life = Some(standing.life);
        }
        match to {
            Place::Controller(index) => {
                self.controllers[index].request(&mut self.k, id, number, &ask);
            }
            Place::Agent(index) => self.agents[index].request(&mut self.k, id, number, &ask),
            Place::Subagent(index) => self.subagent_request(index, id, number, &ask),
            Place::Client | Place::Watch(_) => {}
        }
    }

    pub(super) fn word(
        &mut self,
        cluster: Cluster,
        to: Place,
        to_number: Number,
        from_number: Number,
        message: crate::pair::Message,
    ) {
        if let Place::Controller(index) = to
            && cluster > 0
        {
            return self.controllers[index].witness_hears(
                &mut self.k,
                cluster,
                from_number,
                message,
            );
        }
        let World {
            k,
            controllers,
            agents,
            votes,
            ..
        } = self;
        let seat = match to {
            Place::Controller(index) if cluster == 0 => Some(&mut controllers[index].node.seat),
            Place::Agent(index) => Some(&mut agents[index].node.seat),
            Place::Client | Place::Controller(_) | Place::Watch(_) | Place::Subagent(_) => votes
                .iter_mut()
                .find(|seat| seat.cluster == cluster && seat.place == to),
        };
        // One that has an empty disk now is another member.
        let Some(seat) = seat.filter(|seat| seat.disk.kept.number == to_number) else {
            return;
        };
        seat.hear(k, from_number, message);
        self.moved(cluster, to);
    }

    pub(super) fn seat_step(&mut self, cluster: Cluster, place: Place, what: SeatStep) {
        if matches!(what, SeatStep::Synced(_)) && self.failing.remove(&place) {
            self.k.counts.count(Fault::FailedSync);
            self.k.note(format_args!("a sync of {place} fails"));
            return self.stop_and_restart(place);
        }
        let World {
            k,
            controllers,
            agents,
            votes,
            ..
        } = self;
        let seat = match place {
            Place::Controller(index) if cluster == 0 => Some(&mut controllers[index].node.seat),
            Place::Agent(index) => Some(&mut agents[index].node.seat),
            Place::Client | Place::Controller(_) | Place::Watch(_) | Place::Subagent(_) => votes
                .iter_mut()
                .find(|seat| seat.cluster == cluster && seat.place == place),
        };
        if seat.is_some_and(|seat| seat.step(k, what)) {
            self.k.note(format_args!("{place} cannot write"));
            return self.stop_and_restart(place);
        }
        self.moved(cluster, place);
    }

    /// Something has happened to a member of a log.
    pub(super) fn moved(&mut self, cluster: Cluster, place: Place) {
        match place {
            Place::Controller(index) if cluster == 0 => {
                self.controllers[index].moved(
                    &mut self.k,
                    &mut self.history,
                    &mut self.controller_ledger,
                );
            }
            Place::Agent(index) => {
                let host = &mut self.agents[index];
                host.moved(
                    &mut self.k,
                    &mut self.history,
                    &mut self.agent_ledgers[host.agent],
                );
            }
            // A watch keeps few entries.
            Place::Client | Place::Controller(_) | Place::Watch(_) | Place::Subagent(_) => {
                let World { k, votes, .. } = self;
                let seat = votes
                    .iter_mut()
                    .find(|seat| seat.cluster == cluster && seat.place == place);
                if let Some(seat) = seat
                    && let Some(member) = &mut seat.member
                    && member.commit() > member.kept.base.index + 2 * WATCH_ENTRIES_KEPT
                {
                    let until = member.commit() - WATCH_ENTRIES_KEPT;
                    member.forget(until);
                    seat.settle(k);
                }
            }
        }
    }

    pub(super) fn subagent_request(&mut self, index: usize, id: ConnId, number: u64, ask: &Ask) {
        let is_open = self.k.net.conn(id).is_some_and(|conn| conn.is_open);
        let (subagent, mut around) = self.subagent(index);
        let body = match ask {
            Ask::Subagent(coupling, text) => subagent.command(&mut around, *coupling, text),
            Ask::SubagentEvents(run_id, after) if is_open => {
                let opened = subagent.open_stream(around.k, id, run_id, *after);
                opened.map(|()| String::new())
            }
            Ask::SubagentEvents(..) | Ask::Controller(_) | Ask::Agent(..) | Ask::AgentEvents(_) => {
                return;
            }
        };
        self.k
            .send(id, Toward::Client, Packet::Response { number, body });
    }

    pub(super) fn node_step(&mut self, place: Place, what: NodeStep) {
        match what {
            NodeStep::Wake(number) => match place {
                Place::Controller(index) if self.controllers[index].node.is_alarm(number) => {
                    self.controllers[index].pump(&mut self.k);
                }
                Place::Agent(index) if self.agents[index].node.is_alarm(number) => {
                    self.agents[index].pump(&mut self.k);
                }
                Place::Controller(_)
                | Place::Agent(_)
                | Place::Watch(_)
                | Place::Client
                | Place::Subagent(_) => {}
            },
            NodeStep::SnapshotWritten(number) => match place {
                Place::Controller(index) => {
                    self.controllers[index]
                        .node
                        .snapshot_written(&mut self.k, number);
                    self.controllers[index].pump(&mut self.k);
                }
                Place::Agent(index) => {
                    self.agents[index]
                        .node
                        .snapshot_written(&mut self.k, number);
                    self.agents[index].pump(&mut self.k);
                }
                Place::Client | Place::Watch(_) | Place::Subagent(_) => {}
            },
            NodeStep::Start => {}
        }
    }

    /// Members that have come with an empty disk are taken in by the active one.
    pub(super) fn take_in(&mut self) {
        if self.replaced == 0 {
            return;
        }
        let numbers = |world: &World, cluster| -> Vec<(Place, Number, Part)> {
            let seats = world.seats().filter(|seat| seat.cluster == cluster);
            seats
                .map(|seat| (seat.place, seat.disk.kept.number, seat.disk.kept.part))
                .collect()
        };
        for cluster in 0..=self.agent_ledgers.len() {
            let now = numbers(self, cluster);
            if now.len() < 2 {
                continue;
            }
            for (place, number, _) in &now {
                let steady = self.k.steady(*place);
                let up = self.k.standing(*place).is_up && self.k.paused_until(*place).is_none();
                let reachable: Vec<_> = now
                    .iter()
                    .filter(|(other, _, _)| {
                        self.k.standing(*other).is_up
                            && self.k.net.blocked_since(*place, *other).is_none()
                    })
                    .copied()
                    .collect();
                let World {
                    k,
                    controllers,
                    agents,
                    ..
                } = self;
                let seat = match place {
                    Place::Controller(index) if cluster == 0 => &mut controllers[*index].node.seat,
                    Place::Agent(index) => &mut agents[*index].node.seat,
                    Place::Client | Place::Controller(_) | Place::Watch(_) | Place::Subagent(_) => {
                        continue;
                    }
                };
                let Some(member) = seat
                    .member
                    .as_mut()
                    .filter(|member| up && member.may_act(steady))
                else {
                    continue;
                };
                let present: BTreeSet<Number> = now.iter().map(|(_, number, _)| *number).collect();
                for (_, other, part) in reachable.iter().filter(|(_, other, _)| other != number) {
                    let members = member.kept.members();
                    if members.get(other).is_some_and(|seat| seat.votes) {
                        continue;
                    }
                    let former = members
                        .iter()
                        .filter(|(number, seat)| !present.contains(number) && seat.part == *part);
                    let former: Vec<Number> = former.map(|(number, _)| *number).collect();
                    member.take_in(*other, *part, &former, steady);
                }
                seat.settle(k);
            }
        }
    }
}
