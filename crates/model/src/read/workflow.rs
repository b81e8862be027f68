//! A whole workflow.
//!
//! Always: its time zone is known; its labels are where they stand in the finished tree.

use super::block::{Around, content};
use super::fields::Fields;
use super::job::job_resources;
use super::preparation::order_preparation;
use super::reading::Reading;
use super::value::{name, text};
use crate::{Block, Label, Position, Workflow, WorkflowId};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The fields of a workflow besides its name and version.
pub(super) fn workflow<'t>(
    reading: &mut Reading<'t>,
    fields: &mut Fields<'_, 't>,
) -> Option<Content> {
    const PREPARATION: &[&str] = &["orderPreparation", "orderRequirements"];
    let order_preparation = fields.optional(reading, PREPARATION, order_preparation);
    let time_zone = fields.optional(reading, &["timeZone"], |reading, node| {
        let zone = text(reading, node)?;
        // The zones that travel with the program: every node knows the same.
        if jiff::tz::TimeZoneDatabase::bundled().get(zone).is_err() {
            let hint = Some("write it as in \"Europe/Berlin\" or \"Etc/UTC\"".to_owned());
            reading.fault_with_hint(
                &node.span,
                format!("unknown time zone {:?}", super::node::glimpse(zone)),
                hint,
            );
            return None;
        }
        Some(Arc::from(zone))
    });
    let job_resources = job_resources(reading, fields);
    let calendar = fields.optional(
        reading,
        &["calendarName", "calendarPath"],
        |reading, node| name(reading, node).map(Arc::from),
    );
    let block = content(reading, &mut Around::default(), fields);
    fields.optional(reading, &["source"], |reading, node| {
        text(reading, node).map(|_| ())
    });
    fields.keep(&[
        "version",
        "title",
        "documentationName",
        "dayOffset",
        "tags",
        "itemRevision",
    ]);
    Some(Content {
        order_preparation,
        time_zone: time_zone.unwrap_or_else(|| Arc::from("UTC")),
        job_resources,
        calendar,
        block: block?,
    })
}

/// A workflow that has no name yet.
pub(super) struct Content {
    order_preparation: Option<crate::OrderPreparation>,
    time_zone: Arc<str>,
    job_resources: Vec<crate::JobResourcePath>,
    calendar: Option<Arc<str>>,
    block: Block,
}

impl Content {
    /// The workflow.
    pub(super) fn named(self, id: WorkflowId) -> Workflow {
        let mut labels = BTreeMap::new();
        find_labels(&self.block, &Position::top(0), &mut labels);
        Workflow {
            id: Arc::new(id),
            order_preparation: self.order_preparation,
            time_zone: self.time_zone,
            job_resources: self.job_resources,
            calendar: self.calendar,
            block: self.block,
            labels,
        }
    }
}

/// Every label of a block whose first position is `first`, and below.
fn find_labels(block: &Block, first: &Position, labels: &mut BTreeMap<Label, Position>) {
    for (nr, step) in (0..).zip(&block.steps) {
        let position = Position {
            parents: first.parents.clone(),
            nr,
        };
        for (branch, block) in step.instruction.branches() {
            find_labels(block, &position.enter(branch), labels);
        }
        if let Some(label) = &step.label {
            labels.insert(label.clone(), position);
        }
    }
}
