//! Items that this version keeps and does not use.
//!
//! Always: their fields are checked all the same, so that faults show up when they are written and not when they count.

use super::fields::Fields;
use super::node::Node;
use super::reading::Reading;
use super::simple::one_of;
use super::value::{checked, constant, expression, list, map, name, number, seconds, text, whole};
use crate::{AgentPath, ItemType, WorkflowPath};

/// The fields of an item that is not used by this version: checked, so that faults show up now and not later.
pub(super) fn kept<'t>(reading: &mut Reading<'t>, fields: &mut Fields<'_, 't>, kind: ItemType) {
    match kind {
        ItemType::Lock => {
            fields.optional(reading, &["limit"], whole(0..=u32::MAX));
        }
        ItemType::GlobalBoard | ItemType::PlannableBoard => {
            fields.optional(reading, &["boardType"], one_of(&["GLOBAL", "PLANNABLE"]));
            fields.optional(
                reading,
                &["postOrderToNoticeKey", "postOrderToNoticeId", "toNotice"],
                expression,
            );
            let expect: &[&str] = &[
                "expectOrderToNoticeKey",
                "expectOrderToNoticeId",
                "readingOrderToNoticeId",
            ];
            fields.optional(reading, expect, expression);
            if kind == ItemType::GlobalBoard {
                fields.optional(reading, &["endOfLife"], expression);
            }
        }
        ItemType::FileWatch => {
            fields.required(
                reading,
                &["workflowName", "workflowPath"],
                checked(WorkflowPath::checked),
            );
            fields.required(
                reading,
                &["agentName", "agentPath", "agentId"],
                checked(AgentPath::checked),
            );
            if fields.has(&["directory"]) {
                fields.optional(reading, &["directory"], name);
                fields.optional(reading, &["directoryExpr"], expression);
            } else {
                fields.required(reading, &["directoryExpr"], expression);
            }
            fields.optional(reading, &["pattern"], text);
            fields.optional(reading, &["orderExpr"], expression);
            fields.optional(reading, &["orderIdExpression"], expression);
            fields.optional(reading, &["delay"], seconds);
            fields.optional(reading, &["priority"], number);
            fields.optional(reading, &["timeZone"], text);
        }
        ItemType::Calendar => {
            // A sign stands for a day that begins before midnight.
            fields.optional(reading, &["dateOffset"], number);
            fields.optional(reading, &["orderIdPattern"], text);
            fields.optional(reading, &["periodDatePattern"], text);
            fields.optional(
                reading,
                &["type"],
                one_of(&["WORKINGDAYSCALENDAR", "NONWORKINGDAYSCALENDAR"]),
            );
            fields.optional(reading, &["from"], text);
            fields.optional(reading, &["to"], text);
            fields.optional(reading, &["includes"], frequencies);
            fields.optional(reading, &["excludes"], frequencies);
        }
        ItemType::PlanSchema => {
            fields.optional(reading, &["unknownPlanIsOpenFunction"], expression);
            fields.optional(reading, &["namedValues"], |reading, node| {
                map(reading, node, "an object of values", |reading, entry| {
                    constant(reading, &entry.node)
                })
            });
            fields.optional(reading, &["finishedPlanRetentionPeriod"], seconds);
        }
        ItemType::Workflow
        | ItemType::JobResource
        | ItemType::AgentRef
        | ItemType::SubagentItem
        | ItemType::SubagentBundle => {}
    }
}

/// The days of an author's calendar.
fn frequencies<'t>(reading: &mut Reading<'t>, node: &Node<'t>) -> Option<()> {
    const LISTS: [&str; 7] = [
        "dates",
        "weekdays",
        "monthdays",
        "ultimos",
        "months",
        "holidays",
        "repetitions",
    ];
    let mut fields = Fields::of(reading, node, "a choice of days")?;
    for name in LISTS {
        fields.optional(reading, &[name], |reading, node| {
            list(reading, node, "a list", |_, _| Some(()))
        });
    }
    fields.optional(reading, &["nonWorkingDayCalendars"], |reading, node| {
        list(reading, node, "a list of names", name)
    });
    fields.finish(reading);
    Some(())
}
