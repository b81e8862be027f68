//! On which Subagent a job runs: any of the Agent's in turn, a named one, or one of a Subagent Cluster by priority.

use crate::state::State;
use expr::{Number, Scope, Value};
use model::{BundleId, Job, OrderId, Problem, SubagentBundle, SubagentId, Timestamp};
use std::sync::Arc;

/// Where a job may run now.
pub(crate) enum Choice {
    /// There.
    On {
        subagent_id: SubagentId,
        subagent_bundle_id: Option<BundleId>,
    },
    /// Nowhere at present.
    None,
    /// Nowhere ever: the job asks for something that does not exist.
    Denied(Problem),
}

impl State {
    pub(crate) fn choose_subagent(
        &mut self,
        order_id: &OrderId,
        job: &Job,
        now: Timestamp,
    ) -> Choice {
        let Some(expression) = &job.subagent_bundle else {
            let available = self.available();
            return self
                .in_turn("", available)
                .map_or(Choice::None, |subagent_id| Choice::On {
                    subagent_id,
                    subagent_bundle_id: None,
                });
        };
        let Some(scope) = self.engine.scope(order_id, now) else {
            return Choice::None;
        };
        let name = match expression.eval(&scope) {
            Ok(Value::String(name)) => name,
            Ok(Value::Missing) => Arc::from(""),
            Ok(other) => {
                let message = format!(
                    "the Subagent or Subagent Cluster must be a String, not {}",
                    other.type_name()
                );
                return Choice::Denied(Problem::plain(message));
            }
            Err(error) => return Choice::Denied(Problem::plain(error.to_string())),
        };
        if let Some(bundle) = self.bundles.get(&*name).cloned() {
            return self.of_bundle(&bundle, &expr::Nothing);
        }
        let id = if name.is_empty() {
            self.local_subagent().cloned()
        } else {
            Some(SubagentId::new(name.clone()))
        };
        match id.and_then(|id| self.subagents.get_key_value(&id)) {
            // A Subagent that is named is used even while it is hidden from selection.
            Some((id, subagent))
                if subagent.coupling == crate::Coupling::Coupled && !subagent.detaching =>
            {
                Choice::On {
                    subagent_id: id.clone(),
                    subagent_bundle_id: None,
                }
            }
            Some(_) => Choice::None,
            None => Choice::Denied(Problem::new(
                "UnknownKey",
                format!("unknown key SubagentBundle:{name}"),
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

    fn of_bundle(&mut self, bundle: &SubagentBundle, scope: &dyn Scope) -> Choice {
        let mut best: Option<Number> = None;
        let mut members = Vec::new();
        for (id, priority) in &bundle.subagent_to_priority {
            if !self
                .subagents
                .get(id)
                .is_some_and(crate::SubagentState::is_available)
            {
                continue;
            }
            // A missing or failing priority leaves the member out.
            let Ok(Value::Number(priority)) = priority.eval(scope) else {
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
