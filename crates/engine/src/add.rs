//! Adding an order: its id, its arguments, where it starts and where it ends early, all checked before the first event.

use crate::control::{check_known, check_reachable};
use crate::instructions::finish;
use crate::{State, preparation};
use model::{
    Branch, FreshOrder, Label, OrderEvent, OrderId, Place, Position, PositionStep, Problem,
    Timestamp, Workflow, bounds,
};
use std::sync::Arc;

/// The maximum number of stop positions of one order.
const STOP_POSITIONS_MAX: usize = 1000;

impl State {
    /// What happens when this order is added; nothing if its id is known: then it has been added before.
    pub fn add(&self, fresh: &FreshOrder, now: Timestamp) -> Result<Option<OrderEvent>, Problem> {
        if self.orders.contains_key(&fresh.id) {
            return Ok(None);
        }
        let Some(workflow) = self.current_workflow(&fresh.workflow_path) else {
            let path = &fresh.workflow_path;
            let known_versions = self.workflows.keys().any(|id| id.path == *path);
            return Err(if known_versions {
                Problem::new(
                    "VersionedItemRemoved",
                    format!("Workflow:{path} has been removed"),
                )
                .with("path", format!("Workflow:{path}"))
            } else {
                Problem::unknown_item(format!("Workflow:{path}"))
            });
        };
        self.add_to(fresh, workflow, now).map(Some)
    }

    /// What happens when this order is added to this version of its workflow.
    pub fn add_to(
        &self,
        fresh: &FreshOrder,
        workflow: &Arc<Workflow>,
        now: Timestamp,
    ) -> Result<OrderEvent, Problem> {
        OrderId::checked(fresh.id.as_str())
            .map_err(|error| Problem::new("InvalidName", error.to_string()))?;
        if fresh.stop_positions.len() > STOP_POSITIONS_MAX {
            let message = format!(
                "the order has {} stop positions, more than the {STOP_POSITIONS_MAX} allowed",
                fresh.stop_positions.len()
            );
            return Err(Problem::new(bounds::TOO_LARGE, message));
        }
        let arguments = preparation::arguments(self, workflow, fresh, now)?;
        let bytes = bounds::json_bytes(&arguments);
        if bytes > bounds::ARGUMENTS_BYTES_MAX {
            let what = format!("what Order:{} brings along, defaults included,", fresh.id);
            return Err(bounds::too_large(&what, bytes, bounds::ARGUMENTS_BYTES_MAX));
        }
        let begin = Position {
            parents: checked_block(workflow, fresh)?,
            nr: 0,
        };
        let start = match &fresh.start_position {
            Some(place) => {
                let position = position_of(workflow, place)?;
                check_reachable(workflow, &begin, &position)?;
                if !position.is_in(&begin.parents)
                    && !position.normalized().is_in(&begin.normalized().parents)
                {
                    let message =
                        format!("Start position {position} is outside of the order's inner block");
                    return Err(Problem::new("UnreachableOrderPosition", message));
                }
                Some(position)
            }
            None if begin == Position::default() => None,
            None => Some(begin),
        };
        let stop_positions = fresh
            .stop_positions
            .iter()
            .map(|place| position_of(workflow, place))
            .collect::<Result<Vec<_>, _>>()?;
        Ok(OrderEvent::OrderAdded {
            workflow_id: workflow.id.clone(),
            arguments,
            plan_id: fresh.plan_id.clone(),
            scheduled_for: fresh.scheduled_for,
            external_order_key: None,
            priority: fresh.priority.clone(),
            delete_when_terminated: fresh.delete_when_terminated,
            force_admission: fresh.force_admission,
            inner_block: fresh.inner_block.clone(),
            start_position: start,
            stop_positions,
        })
    }
}

/// The position that a label or a position given from outside stands for.
fn position_of(workflow: &Workflow, place: &Place) -> Result<Position, Problem> {
    match place {
        Place::Position(position) => {
            check_known(workflow, position)?;
            Ok(position.clone())
        }
        Place::Label(label) => match workflow.labels.get(&Label::new(label.clone())) {
            Some(position) => Ok(position.clone()),
            None => Err(Problem::unknown_key(
                "Label",
                label,
                format!("Unknown label '{label}' in Workflow:{}", workflow.id),
            )),
        },
    }
}

/// The block that the order is not to leave.
fn checked_block(workflow: &Workflow, fresh: &FreshOrder) -> Result<Vec<PositionStep>, Problem> {
    let unknown = || {
        let message = format!("Unknown inner block in Workflow:{}", workflow.id);
        Problem::new("UnknownPosition", message)
    };
    let inner = finish::inner_block(&fresh.inner_block).ok_or_else(unknown)?;
    if workflow.block_at(&inner).is_none() {
        return Err(unknown());
    }
    let may_be_entered =
        |step: &PositionStep| step.branch.is_open() || matches!(step.branch, Branch::Fork(_));
    if !inner.iter().all(may_be_entered) {
        let message = format!(
            "The inner block cannot be entered from outside in Workflow:{}",
            workflow.id
        );
        return Err(Problem::new("UnreachableOrderPosition", message));
    }
    Ok(inner)
}
