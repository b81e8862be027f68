//! What a Controller answers to questions: the forms of its `GET` routes, as far as commands use them.
//!
//! Always: fields that a command does not need are let be, so that a newer Controller can be asked by an older program.

use std::collections::BTreeMap;
use std::sync::Arc;

use model::read::{Format, Origin};
use model::{
    ClusterState, EventId, ItemBody, ItemKey, ItemType, Order, Outcome, PlatformInfo, SignedText,
    Timestamp, Workflow, WorkflowId, WorkflowPath,
};
use net::ClientError;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::{Controller, segment};

/// An order with the reasons why it waits.
#[derive(Clone, Debug)]
pub(crate) struct OrderSeen {
    pub(crate) order: Order,
    pub(crate) waiting: Waiting,
}

/// A reason why an order waits. A Controller of an earlier version sends only its text.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub(crate) enum ObstacleSeen {
    Object { message: String },
    Words(String),
}

impl ObstacleSeen {
    pub(crate) fn message(&self) -> &str {
        match self {
            ObstacleSeen::Object { message } | ObstacleSeen::Words(message) => message,
        }
    }
}

/// The job of an order that is being processed.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ProcessSeen {
    #[serde(default)]
    pub(crate) subagent_id: Option<model::SubagentId>,
    #[serde(default)]
    pub(crate) job_name: Option<model::JobName>,
    #[serde(default)]
    pub(crate) since: Option<Timestamp>,
}

/// Why an order waits.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Waiting {
    #[serde(default)]
    pub(crate) obstacles: Vec<ObstacleSeen>,
    /// The job of the order, while it runs.
    #[serde(default)]
    pub(crate) process: Option<ProcessSeen>,
    /// Why its Agent does not take it.
    #[serde(default)]
    pub(crate) agent_problem: Option<model::Problem>,
    /// The output of the order's jobs up to this event is no longer kept.
    #[serde(default)]
    pub(crate) output_lost_until: Option<EventId>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Orders {
    orders: Vec<Box<RawValue>>,
    #[serde(default)]
    has_more: bool,
}

/// An order in a list.
#[derive(Clone, Debug)]
pub(crate) struct OrderRow {
    pub(crate) order: Order,
    /// How its last step ended.
    pub(crate) last_outcome: Option<Outcome>,
    /// Why the order waits.
    pub(crate) obstacles: Vec<ObstacleSeen>,
    /// The JSON that the Controller sent.
    pub(crate) json: Box<RawValue>,
}

/// Some orders, and whether there are more of them.
#[derive(Clone, Debug, Default)]
pub(crate) struct OrderPage {
    pub(crate) orders: Vec<OrderRow>,
    pub(crate) has_more: bool,
}

impl OrderRow {
    /// Parses an order of a list. Its own fields and those that a list adds are in the same JSON object.
    fn read(json: Box<RawValue>) -> Result<OrderRow, serde_json::Error> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Beside {
            #[serde(default)]
            last_outcome: Option<Outcome>,
            #[serde(default)]
            obstacles: Vec<ObstacleSeen>,
        }
        let order: Order = serde_json::from_str(json.get())?;
        let beside: Beside = serde_json::from_str(json.get())?;
        // An older Controller sends the whole history.
        let last = order.historic_outcomes.last();
        let last = last.map(|entry| entry.outcome.clone());
        Ok(OrderRow {
            last_outcome: beside.last_outcome.or(last),
            obstacles: beside.obstacles,
            order,
            json,
        })
    }
}

/// A deployed item.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ItemSeen {
    pub(crate) key: ItemKey,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) item_revision: Option<u64>,
    /// Of a workflow: whether new orders get this version.
    #[serde(default = "yes")]
    pub(crate) is_current: bool,
    /// Whether this version of Mainspring uses items of this type.
    #[serde(default = "yes")]
    pub(crate) is_used: bool,
}

fn yes() -> bool {
    true
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Items {
    items: Vec<ItemSeen>,
    #[serde(default)]
    has_more: bool,
}

/// The number of orders that one request asks for.
const ORDERS_PER_PAGE: usize = 10_000;

#[derive(Deserialize)]
struct WithText {
    signed: SignedText,
}

/// How an Agent or a Subagent is connected now. Empty if the Controller has an earlier version.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ConnectionSeen {
    #[serde(default)]
    pub(crate) connection: String,
    /// How long the connection has had this state, by the clock of the Controller.
    #[serde(default)]
    pub(crate) seconds_since_connection_change: Option<u64>,
}

/// An Agent as the Controller sees it.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct AgentSeen {
    pub(crate) agent_path: String,
    #[serde(default)]
    pub(crate) coupling_state: String,
    #[serde(flatten)]
    pub(crate) connection: ConnectionSeen,
    /// The state of the pair of Directors when the Agent was last connected.
    #[serde(default)]
    pub(crate) last_known_cluster: ClusterState,
    /// How its Directors stand to each other.
    #[serde(default)]
    pub(crate) cluster: ClusterState,
    #[serde(default)]
    pub(crate) problem: Option<model::Problem>,
    #[serde(default)]
    pub(crate) platform_info: Option<PlatformInfo>,
    #[serde(default)]
    pub(crate) order_count: u64,
    /// When it has last told something.
    #[serde(default)]
    pub(crate) last_event_at: Option<Timestamp>,
    /// What is to be sent to it.
    #[serde(default)]
    pub(crate) pending_command_count: u64,
    #[serde(default)]
    pub(crate) subagents: Vec<SubagentSeen>,
}

/// A Subagent as its Agent has told the Controller.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct SubagentSeen {
    pub(crate) id: String,
    #[serde(default)]
    pub(crate) coupling_state: String,
    #[serde(flatten)]
    pub(crate) connection: ConnectionSeen,
    #[serde(default)]
    pub(crate) uri: Option<String>,
    /// Not to be chosen for jobs.
    #[serde(default)]
    pub(crate) disabled: bool,
    /// Disabled, its Agent knows it, and nothing runs there any more.
    #[serde(default)]
    pub(crate) is_drained: bool,
    #[serde(default)]
    pub(crate) process_count: u64,
    /// Orders that keep to it.
    #[serde(default)]
    pub(crate) tied_order_count: u64,
    /// Its priority in each of its Subagent Clusters.
    #[serde(default)]
    pub(crate) clusters: BTreeMap<String, String>,
    #[serde(default)]
    pub(crate) problem: Option<model::Problem>,
    #[serde(default)]
    pub(crate) platform_info: Option<PlatformInfo>,
}

/// The Controller itself.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Overview {
    pub(crate) id: String,
    pub(crate) version: String,
    #[serde(default)]
    pub(crate) started_at: Option<Timestamp>,
    #[serde(default)]
    pub(crate) order_count: u64,
    /// How many orders are in which state.
    #[serde(default)]
    pub(crate) order_count_by_state: BTreeMap<String, u64>,
    /// Told to users only.
    #[serde(default)]
    pub(crate) last_event_id: Option<u64>,
    #[serde(default)]
    pub(crate) journal: Option<JournalSeen>,
}

/// Where the log stands.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct JournalSeen {
    pub(crate) segments: u64,
    pub(crate) bytes: u64,
    pub(crate) torn_event_id: u64,
    pub(crate) committed_event_id: u64,
    pub(crate) snapshot_event_id: u64,
}

/// A page of the list of Agents. A Controller of an earlier version sends all of them at once.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct AgentPage<A> {
    #[serde(default)]
    event_id: u64,
    agents: Vec<A>,
    /// The Agent after which the next page begins.
    #[serde(default)]
    next: Option<String>,
}

/// Which orders to list.
#[derive(Clone, Debug, Default)]
pub(crate) struct OrderQuery {
    pub(crate) prefix: Option<String>,
    /// A pattern for ids, with `*` and `?`.
    pub(crate) pattern: Option<String>,
    pub(crate) workflow: Option<String>,
    pub(crate) states: Option<&'static str>,
    pub(crate) scheduled_from: Option<Timestamp>,
    pub(crate) scheduled_before: Option<Timestamp>,
    /// Fields that are left out by default because they can be long.
    pub(crate) fields: Option<String>,
    /// The maximum number of orders; all orders if `None`.
    pub(crate) limit: Option<usize>,
    pub(crate) since: Option<Timestamp>,
    pub(crate) until: Option<Timestamp>,
}

impl OrderQuery {
    fn path(&self, after: Option<&str>, limit: usize) -> String {
        let millis = |at: Option<Timestamp>| at.map(|at| at.millis().to_string());
        let (from, before) = (millis(self.scheduled_from), millis(self.scheduled_before));
        let (since, until) = (millis(self.since), millis(self.until));
        let limit = limit.to_string();
        let parameters = [
            ("prefix", self.prefix.as_deref()),
            ("pattern", self.pattern.as_deref()),
            ("workflowPath", self.workflow.as_deref()),
            ("state", self.states),
            ("scheduledFrom", from.as_deref()),
            ("scheduledBefore", before.as_deref()),
            ("since", since.as_deref()),
            ("until", until.as_deref()),
            ("fields", self.fields.as_deref()),
            ("after", after),
            ("limit", Some(limit.as_str())),
        ];
        let given = parameters
            .into_iter()
            .filter_map(|(name, value)| Some(format!("{name}={}", segment(value?))));
        format!(
            "/controller/api/order?{}",
            given.collect::<Vec<_>>().join("&")
        )
    }
}

impl Controller {
    pub(crate) async fn last_event_id(&self) -> Result<u64, ClientError> {
        match self.overview().await?.last_event_id {
            Some(id) => Ok(id),
            // It is told to users only: a route that demands one says what is missing.
            None => self.agents().await.map(|_| 0),
        }
    }

    pub(crate) async fn overview(&self) -> Result<Overview, ClientError> {
        self.get("/controller/api").await
    }

    pub(crate) async fn overview_as_told(&self) -> Result<Value, ClientError> {
        self.get("/controller/api").await
    }

    pub(crate) async fn agents(&self) -> Result<Vec<AgentSeen>, ClientError> {
        Ok(self.all_agents().await?.agents)
    }

    pub(crate) async fn agents_as_told(&self) -> Result<Value, ClientError> {
        let all: AgentPage<Value> = self.all_agents().await?;
        Ok(json!({ "eventId": all.event_id, "agents": all.agents }))
    }

    /// Requests the Agents page by page.
    async fn all_agents<A: DeserializeOwned>(&self) -> Result<AgentPage<A>, ClientError> {
        let path = "/controller/api/agent";
        let mut all: AgentPage<A> = self.get(path).await?;
        while let Some(after) = all.next.take() {
            let path = format!("{path}?after={}", segment(&after));
            let page: AgentPage<A> = self.get(&path).await?;
            all.agents.extend(page.agents);
            all.next = page.next;
        }
        Ok(all)
    }

    /// Requests orders, page by page, up to the limit of the query.
    pub(crate) async fn orders(&self, query: &OrderQuery) -> anyhow::Result<OrderPage> {
        let mut all = OrderPage::default();
        loop {
            let left = query.limit.unwrap_or(usize::MAX) - all.orders.len();
            let after = all.orders.last().map(|row| row.order.id.to_string());
            let path = query.path(after.as_deref(), left.min(ORDERS_PER_PAGE));
            // Parsed from bytes, because a tree of JSON values would round numbers with many digits.
            let page: Orders = serde_json::from_slice(&self.get_bytes(&path).await?)?;
            let count = page.orders.len();
            for json in page.orders {
                all.orders.push(OrderRow::read(json)?);
            }
            all.has_more = page.has_more;
            if !page.has_more || count == 0 || left <= count {
                return Ok(all);
            }
        }
    }

    pub(crate) async fn order(&self, id: &str) -> anyhow::Result<OrderSeen> {
        let bytes = self
            .get_bytes(&format!("/controller/api/order/{}", segment(id)))
            .await?;
        OrderSeen::read(&bytes)
    }

    /// Requests an order with the fields that a list shows.
    pub(crate) async fn order_row(&self, id: &str) -> anyhow::Result<OrderRow> {
        let path = format!("/controller/api/order/{}", segment(id));
        let json = serde_json::from_slice(&self.get_bytes(&path).await?)?;
        Ok(OrderRow::read(json)?)
    }

    pub(crate) async fn order_as_told(&self, id: &str) -> Result<Value, ClientError> {
        self.get(&format!("/controller/api/order/{}", segment(id)))
            .await
    }

    /// What its jobs and those of its children have written.
    pub(crate) async fn order_log(&self, id: &str) -> Result<bytes::Bytes, ClientError> {
        self.get_bytes(&format!("/controller/api/order/{}/log", segment(id)))
            .await
    }

    pub(crate) async fn items(&self) -> Result<Vec<ItemSeen>, ClientError> {
        let mut all: Vec<ItemSeen> = Vec::new();
        loop {
            let path = match all.last() {
                Some(last) => format!("/controller/api/item?after={}", segment(last.key.as_str())),
                None => "/controller/api/item".to_owned(),
            };
            let page: Items = self.get(&path).await?;
            let is_last = !page.has_more || page.items.is_empty();
            all.extend(page.items);
            if is_last {
                return Ok(all);
            }
        }
    }

    /// The exact text of an item.
    pub(crate) async fn item_text(&self, key: &ItemKey) -> Result<Arc<str>, ClientError> {
        let answer: WithText = self
            .get(&format!("/controller/api/item/{}", segment(key.as_str())))
            .await?;
        Ok(answer.signed.string)
    }

    /// The version of a workflow that new orders get.
    pub(crate) async fn current_workflow(
        &self,
        path: &WorkflowPath,
    ) -> anyhow::Result<Arc<Workflow>> {
        let key = ItemKey::simple(ItemType::Workflow, path.as_str());
        let text = self.item_text(&key).await?;
        let item = model::read::item(&text, Format::Json, &Origin::default())?;
        let ItemBody::Workflow(workflow) = item.body else {
            anyhow::bail!("the Controller answers with an item that is no workflow")
        };
        Ok(workflow)
    }

    /// A version of a workflow.
    pub(crate) async fn workflow(&self, id: &WorkflowId) -> anyhow::Result<Arc<Workflow>> {
        let key = ItemKey::workflow(id);
        let item = model::stored_item(&key, &self.item_text(&key).await?)?;
        let ItemBody::Workflow(workflow) = item.body else {
            anyhow::bail!("the Controller answers with an item that is no workflow")
        };
        Ok(workflow)
    }
}

impl OrderSeen {
    /// The order's own fields and the reasons stand side by side.
    pub(crate) fn read(json: &[u8]) -> anyhow::Result<OrderSeen> {
        Ok(OrderSeen {
            order: serde_json::from_slice(json)?,
            waiting: serde_json::from_slice(json)?,
        })
    }
}
