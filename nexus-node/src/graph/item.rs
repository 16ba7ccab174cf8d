//! The items of the graph, as memories.

use std::collections::BTreeMap;

use data_encoding::BASE32_NOPAD;
use nexus_crdt::Origin;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{Memory, NewMemory};

const ENTITY: &str = "entity";
const RELATION: &str = "relation";
const OBSERVATION: &str = "observation";

/// Whether memories of this kind belong to a graph.
pub(crate) fn is_graph_kind(kind: &str) -> bool {
    [ENTITY, RELATION, OBSERVATION].contains(&kind)
}

/// An entity in the tools' form.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Entity {
    pub(crate) name: String,
    pub(crate) entity_type: String,
    pub(crate) observations: Vec<String>,
}

/// A relation in the tools' form.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Relation {
    pub(crate) from: String,
    pub(crate) to: String,
    pub(crate) relation_type: String,
}

/// The item of one memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Item {
    Entity { name: String, kind: String },
    Relation(Relation),
    Observation { entity: String, content: String },
}

impl Item {
    /// The item of a memory, with its project.
    pub(crate) fn of(memory: &Memory) -> Option<(String, Self)> {
        let text = |key: &str| memory.meta.get(key).and_then(Value::as_str).map(str::to_owned);
        let item = match memory.kind.as_str() {
            ENTITY => Self::Entity { name: text("name")?, kind: text("type")? },
            RELATION => Self::Relation(Relation { from: text("from")?, to: text("to")?, relation_type: text("type")? }),
            OBSERVATION => {
                let entity = text("entity")?;
                let content = memory.text.strip_prefix(entity.as_str()).and_then(|rest| rest.strip_prefix(": "));
                Self::Observation { content: content.unwrap_or(&memory.text).to_owned(), entity }
            }
            _ => return None,
        };
        Some((text("graph").unwrap_or_default(), item))
    }

    /// The memory for an item: a sentence for people and for search, with the parts in the metadata.
    pub(crate) fn into_memory(self, project: &str, origin: &Origin) -> NewMemory {
        let key = self.key(project);
        let (kind, text, parts) = match self {
            Self::Entity { name, kind } => (ENTITY, format!("{name} ({kind})"), vec![("name", name), ("type", kind)]),
            Self::Relation(Relation { from, to, relation_type }) => {
                let mut text = format!("{from} {relation_type} {to}");
                if text.trim().is_empty() {
                    // the reference server takes blank names, and a memory has a text
                    text = format!("{from:?} {relation_type:?} {to:?}");
                }
                (RELATION, text, vec![("from", from), ("to", to), ("type", relation_type)])
            }
            Self::Observation { entity, content } => {
                (OBSERVATION, format!("{entity}: {content}"), vec![("entity", entity)])
            }
        };
        let mut meta: BTreeMap<String, Value> =
            parts.into_iter().map(|(name, part)| (name.to_owned(), part.into())).collect();
        if !project.is_empty() {
            meta.insert("graph".to_owned(), project.into());
        }
        let origin = origin.clone();
        NewMemory { text, kind: Some(kind.to_owned()), meta, key: Some(key), origin, ..NewMemory::default() }
    }

    /// The key: equal for the same item on every machine. An entity's type is no part of it.
    fn key(&self, project: &str) -> String {
        let (kind, parts): (_, Vec<&str>) = match self {
            Self::Entity { name, .. } => (ENTITY, vec![name]),
            Self::Relation(Relation { from, to, relation_type }) => (RELATION, vec![from, to, relation_type]),
            Self::Observation { entity, content } => (OBSERVATION, vec![entity, content]),
        };
        let mut hasher = blake3::Hasher::new();
        for part in [project].into_iter().chain(parts) {
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part.as_bytes());
        }
        let hash = BASE32_NOPAD.encode(&hasher.finalize().as_bytes()[..20]).to_ascii_lowercase();
        format!("graph:{kind}:{hash}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_relation_of_blank_names_has_a_text_all_the_same() {
        for blank in ["", " ", "\u{3000}"] {
            let relation = Relation { from: blank.to_owned(), to: String::new(), relation_type: blank.to_owned() };
            let memory = Item::Relation(relation).into_memory("", &Origin::default());
            assert!(!memory.text.trim().is_empty(), "{blank:?}");
        }
    }
}
