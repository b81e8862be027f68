//! An Agent's state as lines, and back.

use crate::controllers::OtherController;
use crate::evolve::NotApplicable;
use crate::reset::Reset;
use crate::state::{Meta, State};
use model::{
    ClusterState, EventId, ItemEvent, ItemKey, MemberRun, Order, OrderId, PlatformInfo, RunId,
    Seconds, SignedText, SubagentId, Timestamp, UserId,
};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct JournalLine {
    user_id_to_released_event_id: BTreeMap<UserId, EventId>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ClusterLine {
    state: ClusterState,
    #[serde(default)]
    controller_epoch: u64,
    /// The newest event that the Controller has shown to have.
    #[serde(default)]
    shown_event_id: EventId,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    order_id_to_detachable: BTreeMap<OrderId, EventId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    other_controller: Option<OtherLine>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct OtherLine {
    other: MemberRun,
    coupled: MemberRun,
    tried_at: Timestamp,
    event_id: EventId,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct SubagentLine {
    subagent_id: SubagentId,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    subagent_run_id: Option<RunId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    platform_info: Option<PlatformInfo>,
    event_id: EventId,
    #[serde(default)]
    detaching: bool,
    /// Whether it is being reset, and if so, whether by force.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    reset_by_force: Option<bool>,
    /// The address that it leaves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    left_uri: Option<Arc<str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    lease: Option<Seconds>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    offered_lease: Option<Seconds>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ItemLine<'a> {
    key: Cow<'a, ItemKey>,
    item: Cow<'a, SignedText>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    item_revision: Option<u64>,
}

fn line(tag: &str, fields: &impl Serialize) -> String {
    let json = serde_json::to_string(fields).expect("snapshot lines always have a JSON form");
    format!("{{\"TYPE\":\"{tag}\",{}", &json[1..])
}

impl State {
    /// The state as JSON lines.
    pub fn snapshot(&self) -> impl Iterator<Item = String> + '_ {
        let journal = JournalLine {
            user_id_to_released_event_id: self.released.clone(),
        };
        let cluster = ClusterLine {
            state: self.cluster.clone(),
            controller_epoch: self.controller_epoch,
            shown_event_id: self.shown,
            order_id_to_detachable: self.detachable.clone(),
            other_controller: self.other_controller.clone().map(|known| OtherLine {
                other: known.other,
                coupled: known.coupled,
                tried_at: known.tried_at,
                event_id: known.reported_by,
            }),
        };
        let head = [
            line("JournalState", &journal),
            line("ClusterState", &cluster),
        ]
        .into_iter()
        .chain(self.meta.iter().map(|meta| line("AgentMetaState", meta)));
        let items = self.items.iter().map(|(key, attached)| {
            let fields = ItemLine {
                key: Cow::Borrowed(key),
                item: Cow::Borrowed(&attached.text),
                item_revision: attached.revision,
            };
            line("ItemAttachedToMe", &fields)
        });
        let subagents = self.subagents.iter().map(|(id, subagent)| {
            let fields = SubagentLine {
                subagent_id: id.clone(),
                subagent_run_id: subagent.run_id.clone(),
                platform_info: subagent.platform.clone(),
                event_id: subagent.observed,
                detaching: subagent.detaching,
                reset_by_force: subagent.reset.as_ref().map(|reset| reset.force),
                left_uri: subagent.reset.as_ref().and_then(|reset| reset.left.clone()),
                lease: subagent.lease.map(Seconds),
                offered_lease: subagent.offered.map(Seconds),
            };
            line("SubagentItemState", &fields)
        });
        let orders = self.engine.orders().map(|order| line("Order", &**order));
        head.chain(items).chain(subagents).chain(orders)
    }

    /// Takes a line of [`State::snapshot`] into a state that has all lines before it.
    pub fn restore(&mut self, text: &str) -> Result<(), NotApplicable> {
        #[derive(Deserialize)]
        struct Tag<'a> {
            #[serde(rename = "TYPE", borrow)]
            tag: Cow<'a, str>,
        }
        let wrong = |error: serde_json::Error| {
            let begin: String = text.chars().take(120).collect();
            NotApplicable(format!(
                "not a line of an Agent's snapshot: {error}; it begins {begin:?}"
            ))
        };
        let tag: Tag<'_> = serde_json::from_str(text).map_err(wrong)?;
        match &*tag.tag {
            "JournalState" => {
                let fields: JournalLine = serde_json::from_str(text).map_err(wrong)?;
                self.released = fields.user_id_to_released_event_id;
            }
            "ClusterState" => {
                let fields: ClusterLine = serde_json::from_str(text).map_err(wrong)?;
                self.cluster = fields.state;
                self.controller_epoch = fields.controller_epoch;
                self.shown = fields.shown_event_id;
                self.detachable = fields.order_id_to_detachable;
                self.other_controller = fields.other_controller.map(|known| OtherController {
                    other: known.other,
                    coupled: known.coupled,
                    tried_at: known.tried_at,
                    reported_by: known.event_id,
                });
            }
            "AgentMetaState" => {
                let meta: Meta = serde_json::from_str(text).map_err(wrong)?;
                self.set_meta(meta);
            }
            "ItemAttachedToMe" => {
                let fields: ItemLine<'_> = serde_json::from_str(text).map_err(wrong)?;
                let event = ItemEvent::ItemAttachedToMe {
                    item: fields.item.into_owned(),
                    key: fields.key.into_owned(),
                    item_revision: fields.item_revision,
                };
                self.evolve(&model::Stamped {
                    event_id: EventId::BEFORE_FIRST,
                    timestamp: None,
                    by: None,
                    event: model::Event::Item(event),
                })?;
            }
            "SubagentItemState" => {
                let fields: SubagentLine = serde_json::from_str(text).map_err(wrong)?;
                let subagent = self.subagents.entry(fields.subagent_id).or_default();
                subagent.run_id = fields.subagent_run_id;
                subagent.platform = fields.platform_info;
                subagent.observed = fields.event_id;
                subagent.detaching = fields.detaching;
                subagent.reset = fields.reset_by_force.map(|force| Reset {
                    force,
                    left: fields.left_uri,
                });
                subagent.lease = fields.lease.map(|lease| lease.0);
                subagent.offered = fields.offered_lease.map(|lease| lease.0);
            }
            "Order" => {
                let order: Order = serde_json::from_str(text).map_err(wrong)?;
                let id = order.id.clone();
                let is_processing = matches!(order.state, model::OrderState::Processing { .. });
                self.engine.insert_order(order);
                if is_processing {
                    self.note_started(&id);
                }
            }
            other => {
                return Err(NotApplicable(format!(
                    "unknown line {other:?} in a snapshot; was it written by a newer version?"
                )));
            }
        }
        Ok(())
    }

    /// The items that a job of this order needs at its Subagent, with their revisions: the job resources and its workflow.
    pub fn items_for_job(
        &self,
        order: &Order,
    ) -> impl Iterator<Item = (&ItemKey, Option<u64>, &SignedText)> {
        let workflow = self
            .items
            .get_key_value(&ItemKey::workflow(&order.workflow_id));
        let resources = workflow
            .into_iter()
            .flat_map(|(_, attached)| &attached.job_resources);
        let resources = resources.filter_map(|key| self.items.get_key_value(key));
        resources
            .chain(workflow)
            .map(|(key, attached)| (key, attached.revision, &attached.text))
    }
}
