//! What happens to items, and how clients ask for it.

use crate::{AgentPath, ItemKey, VersionId, WorkflowPath};
use serde::de::IntoDeserializer as _;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::sync::Arc;

/// The exact text of an item. A signature over it may come with it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SignedText {
    /// The item as JSON text.
    pub string: Arc<str>,
    /// The signature, kept as it came.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signature: Option<serde_json::Value>,
}

tagged! {
    /// What happened to an item. Texts are exact: they are what was sent.
    pub enum ItemEvent {
        /// A new version of one or more workflows.
        VersionAdded { version_id: VersionId },
        /// A workflow appears.
        VersionedItemAdded { signed: SignedText },
        /// A workflow gets another version.
        VersionedItemChanged { signed: SignedText },
        /// A workflow has no current version any more.
        VersionedItemRemoved {
            #[serde(deserialize_with = "workflow_key")]
            path: WorkflowPath,
        },
        /// A simple item appears.
        UnsignedSimpleItemAdded { item: SignedText, item_revision: u64 },
        /// A simple item changes.
        UnsignedSimpleItemChanged { item: SignedText, item_revision: u64 },
        /// A job resource appears.
        SignedItemAdded { signed: SignedText, item_revision: u64 },
        /// A job resource changes.
        SignedItemChanged { signed: SignedText, item_revision: u64 },
        /// To be deleted once nothing holds it.
        ItemDeletionMarked { key: ItemKey },
        /// Gone.
        ItemDeleted { key: ItemKey },
        /// To be handed to the Agent.
        ItemAttachable {
            key: ItemKey,
            #[serde(deserialize_with = "agent_key")]
            delegate_id: AgentPath,
        },
        /// The Agent has it.
        ItemAttached {
            key: ItemKey,
            #[serde(default, skip_serializing_if = "Option::is_none")]
            item_revision: Option<u64>,
            #[serde(deserialize_with = "agent_key")]
            delegate_id: AgentPath,
        },
        /// To be taken from the Agent.
        ItemDetachable {
            key: ItemKey,
            #[serde(deserialize_with = "agent_key")]
            delegate_id: AgentPath,
        },
        /// The Agent no longer has it.
        ItemDetached {
            key: ItemKey,
            #[serde(deserialize_with = "agent_key")]
            delegate_id: AgentPath,
        },
        /// In the Agent's log: it has got the item.
        ItemAttachedToMe {
            item: SignedText,
            key: ItemKey,
            #[serde(default, skip_serializing_if = "Option::is_none")]
            item_revision: Option<u64>,
        },
        /// In the Agent's log: the item is going.
        ItemDetachingFromMe { key: ItemKey },
        /// An Agent refused the item. It is offered again after a change of the item or of the Agent.
        ItemAgentProblem {
            key: ItemKey,
            #[serde(deserialize_with = "agent_key")]
            delegate_id: AgentPath,
            problem: crate::Problem,
        },
    }
}

/// Reads the path of an Agent. Also accepts a key with the type, such as `Agent:ALFA`, as JS7 writes it.
fn agent_key<'de, D: Deserializer<'de>>(deserializer: D) -> Result<AgentPath, D::Error> {
    let text = Cow::<str>::deserialize(deserializer)?;
    let name = text.strip_prefix("Agent:").unwrap_or(&text);
    AgentPath::deserialize(name.into_deserializer())
}

/// Reads the path of a workflow. Also accepts a key with the type, such as `Workflow:w`.
fn workflow_key<'de, D: Deserializer<'de>>(deserializer: D) -> Result<WorkflowPath, D::Error> {
    let text = Cow::<str>::deserialize(deserializer)?;
    let name = text.strip_prefix("Workflow:").unwrap_or(&text);
    WorkflowPath::deserialize(name.into_deserializer())
}

/// One line of a change of items (`engine.md` 1).
#[derive(Debug)]
pub enum ItemOperation {
    /// A new or changed item of any type but Workflow. The text is kept byte for byte.
    AddOrChangeSimple {
        /// The item.
        item: Box<RawValue>,
    },
    /// A new or changed item in a text, maybe with a signature.
    AddOrChangeSigned {
        /// The text.
        signed: SignedText,
    },
    /// The version that the workflows of this change get.
    AddVersion {
        /// The version.
        version_id: VersionId,
    },
    /// A simple item goes.
    DeleteSimple {
        /// Which.
        key: ItemKey,
    },
    /// A workflow goes.
    RemoveVersioned {
        /// Which.
        path: WorkflowPath,
    },
}

impl ItemOperation {
    /// Reads one line.
    pub fn from_json(text: &str) -> Result<ItemOperation, serde_json::Error> {
        #[derive(Deserialize)]
        struct Fields {
            #[serde(rename = "TYPE")]
            tag: Arc<str>,
            item: Option<Box<RawValue>>,
            #[serde(alias = "signedString")]
            signed: Option<SignedText>,
            #[serde(rename = "versionId")]
            version_id: Option<VersionId>,
            path: Option<Arc<str>>,
            key: Option<ItemKey>,
        }
        let missing = |field: &str, tag: &str| {
            serde::de::Error::custom(format!("{tag} needs the field {field}"))
        };
        let fields: Fields = serde_json::from_str(text)?;
        let tag = &*fields.tag;
        match tag {
            "AddOrChangeSimple" => Ok(ItemOperation::AddOrChangeSimple {
                item: fields.item.ok_or_else(|| missing("item", tag))?,
            }),
            "AddOrChangeSigned" => Ok(ItemOperation::AddOrChangeSigned {
                signed: fields.signed.ok_or_else(|| missing("signed", tag))?,
            }),
            "AddVersion" => Ok(ItemOperation::AddVersion {
                version_id: fields.version_id.ok_or_else(|| missing("versionId", tag))?,
            }),
            "DeleteSimple" => {
                let key = match (fields.key, fields.path) {
                    (Some(key), _) => key,
                    (None, Some(path)) if path.contains(':') => {
                        serde_json::from_value(serde_json::Value::String(path.to_string()))?
                    }
                    (None, _) => {
                        return Err(missing("path in the form Type:path, such as Lock:L", tag));
                    }
                };
                Ok(ItemOperation::DeleteSimple { key })
            }
            "RemoveVersioned" => {
                let path = fields.path.ok_or_else(|| missing("path", tag))?;
                let path = path
                    .strip_prefix("Workflow:")
                    .map_or_else(|| path.clone(), Into::into);
                Ok(ItemOperation::RemoveVersioned {
                    path: WorkflowPath::new(path),
                })
            }
            other => Err(serde::de::Error::custom(format!(
                "unknown TYPE {other:?}, expected one of AddOrChangeSimple, AddOrChangeSigned, AddVersion, DeleteSimple, RemoveVersioned"
            ))),
        }
    }

    /// The line.
    pub fn to_json(&self) -> String {
        let value = |tag: &str, name: &str, json: String| {
            format!("{{\"TYPE\":\"{tag}\",\"{name}\":{json}}}")
        };
        let json = |v: &dyn erased::Json| v.json();
        match self {
            ItemOperation::AddOrChangeSimple { item } => {
                value("AddOrChangeSimple", "item", item.get().to_owned())
            }
            ItemOperation::AddOrChangeSigned { signed } => {
                value("AddOrChangeSigned", "signed", json(signed))
            }
            ItemOperation::AddVersion { version_id } => {
                value("AddVersion", "versionId", json(version_id))
            }
            ItemOperation::DeleteSimple { key } => value("DeleteSimple", "path", json(key)),
            ItemOperation::RemoveVersioned { path } => value("RemoveVersioned", "path", json(path)),
        }
    }
}

mod erased {
    /// Anything that can be written as JSON without failing: names and texts.
    pub(super) trait Json {
        fn json(&self) -> String;
    }
    impl<T: serde::Serialize> Json for T {
        fn json(&self) -> String {
            serde_json::to_string(self).expect("names and texts always have a JSON form")
        }
    }
}
