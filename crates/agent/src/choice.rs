//! On which Subagent a job runs: any of the Agent's in turn, a named one, or one of a Subagent Cluster by priority; inside of
//! a `StickySubagent` the one that its first job got.
//!
//! Always: members of the highest priority among those that can take a job have it in turn. So equal priorities are
//! round-robin, different constants are fixed priority, and an expression is by load. What a tie to a Subagent concerns is
//! decided once per block, and is in the order.

use crate::priority::PriorityScope;
use crate::queue::Placement;
use crate::state::State;
use expr::{Number, Value};
use model::{
    BundleId, Job, Order, OrderId, Problem, StickySubagent, SubagentBundle, SubagentId, Timestamp,
};
use std::sync::Arc;

/// Where a job may run now.
pub(crate) enum Choice {
    /// There.
    On {
        subagent_id: SubagentId,
        subagent_bundle_id: Option<BundleId>,
        /// The other jobs of the block keep to it.
        stick: bool,
    },
    /// Nowhere at present.
    None,
    /// Nowhere ever: the job asks for something that does not exist.
    Denied(Problem),
}

impl Choice {
    fn on(subagent_id: SubagentId) -> Choice {
        Choice::On {
            subagent_id,
            subagent_bundle_id: None,
            stick: false,
        }
    }

    fn sticking(self) -> Choice {
        match self {
            Choice::On {
                subagent_id,
                subagent_bundle_id,
                ..
            } => Choice::On {
                subagent_id,
                subagent_bundle_id,
                stick: true,
            },
            Choice::None | Choice::Denied(_) => self,
        }
    }
}

impl State {
    /// Where the job may run now, and where it is to run: others with the same placement find the same.
    pub(crate) fn choose_subagent(
        &mut self,
        order_id: &OrderId,
        job: &Job,
        now: Timestamp,
    ) -> (Choice, Placement) {
        let asked = match self.asked(order_id, job, now) {
            Ok(asked) => asked,
            Err(problem) => return (Choice::Denied(problem), Placement::default()),
        };
        let order = self.engine.order(order_id);
        let tie = order.and_then(|order| self.tie_of(order)).cloned();
        // A job that names something else goes its own way.
        let tie = tie.filter(|tie| {
            asked.is_none()
                || asked.as_deref() == tie.subagent_bundle_id.as_ref().map(BundleId::as_str)
        });
        match tie {
            None => (self.choose(asked.as_ref()), Placement::Named(asked)),
            Some(StickySubagent {
                stuck_subagent_id: Some(stuck),
                ..
            }) => (self.tied(&stuck), Placement::Tied(stuck)),
            Some(tie) => {
                let name = tie.subagent_bundle_id.as_ref().map(BundleId::shared);
                (
                    self.choose(name.as_ref()).sticking(),
                    Placement::Named(name),
                )
            }
        }
    }

    /// The order's tie to a Subagent of this Agent.
    pub(crate) fn tie_of<'o>(&self, order: &'o Order) -> Option<&'o StickySubagent> {
        let here = &self.meta.as_ref()?.agent_path;
        let mut ties = order.sticky_subagents.iter().rev();
        ties.find(|tie| tie.agent_path == *here)
    }

    /// The Subagent or Subagent Cluster that the job asks for; an empty name is the Director's own Subagent.
    fn asked(
        &self,
        order_id: &OrderId,
        job: &Job,
        now: Timestamp,
    ) -> Result<Option<Arc<str>>, Problem> {
        let Some(expression) = &job.subagent_bundle else {
            return Ok(None);
        };
        let unknown = || Problem::plain(format!("Unknown Order:{order_id}"));
        let scope = self.engine.scope(order_id, now).ok_or_else(unknown)?;
        match expression.eval(&scope) {
            Ok(Value::String(name)) => Ok(Some(name)),
            Ok(Value::Missing) => Ok(Some(Arc::from(""))),
            Ok(other) => Err(Problem::plain(format!(
                "the Subagent or Subagent Cluster must be a String, not {}",
                other.type_name()
            ))),
            Err(error) => Err(Problem::plain(error.to_string())),
        }
    }

    fn choose(&mut self, name: Option<&Arc<str>>) -> Choice {
        let Some(name) = name else {
            let available = self.available();
            return self.in_turn("", available).map_or(Choice::None, Choice::on);
        };
        if let Some(bundle) = self.bundles.get(&**name).cloned() {
            return self.of_bundle(&bundle);
        }
        let id = if name.is_empty() {
            self.local_subagent().cloned()
        } else {
            Some(SubagentId::new(name.clone()))
        };
        match id.and_then(|id| self.subagents.get_key_value(&id)) {
            // A Subagent that is named is used even while it is hidden from selection.
            Some((id, subagent)) if subagent.takes_jobs() => Choice::on(id.clone()),
            Some(_) => Choice::None,
            None => Choice::Denied(Problem::new(
                "UnknownKey",
                format!("unknown key SubagentBundle:{name}"),
            )),
        }
    }

    /// The Subagent that the order is tied to, also while it is hidden from selection.
    fn tied(&self, id: &SubagentId) -> Choice {
        match self.subagents.get(id) {
            Some(subagent) if subagent.takes_jobs() => Choice::on(id.clone()),
            Some(_) => Choice::None,
            None => Choice::Denied(Problem::new(
                "UnknownKey",
                format!("the order keeps to Subagent:{id}, which has been removed"),
            )),
        }
    }

    fn available(&self) -> Vec<SubagentId> {
        self.subagents
            .iter()
            .filter(|(_, subagent)| subagent.is_available())
            .map(|(id, _)| id.clone())
            .collect()
    }

    fn of_bundle(&mut self, bundle: &SubagentBundle) -> Choice {
        let mut best: Option<Number> = None;
        let mut members = Vec::new();
        for (id, priority) in &bundle.subagent_to_priority {
            let Some(subagent) = self.subagents.get(id) else {
                continue;
            };
            if !subagent.is_available() {
                continue;
            }
            let scope = PriorityScope {
                bundle_id: &bundle.id,
                subagent_id: id,
                metering: subagent.metering.as_ref(),
                processes: &self.processes,
            };
            // A missing or failing priority leaves the member out.
            let Ok(Value::Number(priority)) = priority.eval(&scope) else {
                continue;
            };
            if best.as_ref().is_some_and(|best| priority < *best) {
                continue;
            }
            if best.as_ref() != Some(&priority) {
                members.clear();
            }
            best = Some(priority);
            members.push(id.clone());
        }
        self.in_turn(bundle.id.as_str(), members)
            .map_or(Choice::None, |subagent_id| Choice::On {
                subagent_id,
                subagent_bundle_id: Some(bundle.id.clone()),
                stick: false,
            })
    }

    /// The member behind the one that was taken last, in a circle.
    fn in_turn(&mut self, group: &str, members: Vec<SubagentId>) -> Option<SubagentId> {
        let mut members = members;
        members.sort();
        let next = match self.turns.get(group) {
            None => members.first(),
            Some(last) => {
                let behind = members.partition_point(|id| id <= last);
                members.get(behind).or_else(|| members.first())
            }
        }?
        .clone();
        self.turns.insert(group.into(), next.clone());
        Some(next)
    }
}
