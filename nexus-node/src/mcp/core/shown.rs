//! A memory as a model reads it, without its empty fields.

use nexus_crdt::{AgentName, Source};
use nexus_identity::Timestamp;
use serde_json::{Map, Value, json};

use super::name_or_did;
use crate::Memory;
use crate::mcp::answer::Budget;
use crate::memory::{MemoryId, Provenance};

/// The kind and the space of most memories.
const KIND_DEFAULT: &str = "note";
const SPACE_DEFAULT: &str = "default";
/// The way out of a conflict.
const SETTLE: &str = "edit it with the value that is right";
/// The length of a text's beginning that stands for it, in characters.
const BEGINNING_CHARS: usize = 80;

pub(super) struct Shown(Map<String, Value>);

impl Shown {
    /// As a hit of many, or `whole`.
    pub(super) fn of(memory: Memory) -> Self {
        Self::made(memory, false)
    }

    /// With all that it has.
    pub(super) fn whole(memory: Memory) -> Self {
        Self::made(memory, true)
    }

    fn made(mut memory: Memory, whole: bool) -> Self {
        let mut shown = Map::new();
        let mut put = |name: &str, value: Value| {
            shown.insert(name.to_owned(), value);
        };
        put("id", memory.id.to_string().into());
        put("text", memory.text.into());
        // a model reads each of these with every memory: what most have in common is left out
        if memory.kind != KIND_DEFAULT {
            put("kind", memory.kind.into());
        }
        if memory.space != SPACE_DEFAULT {
            put("space", memory.space.into());
        }
        if memory.author_name.is_none() {
            put("author", memory.author.to_string().into());
        }
        put("created_at", to_the_second(memory.created_at).into());
        if let Some(agent) = &memory.agent {
            put("agent", agent.to_string().into());
            // where older nodes kept it
            let kept = memory.meta.get(super::AGENT).and_then(|kept| kept.get("name"));
            if kept.is_some_and(|kept| *kept == agent.as_str()) {
                memory.meta.remove(super::AGENT);
            }
        }
        if let Some(source) = memory.source {
            put("source", source.as_str().into());
        }
        if let Some(editor) = memory.edited_by {
            put("edited_by", editor.to_string().into());
        }
        // most fields come with the text
        let others = memory.fields.iter().filter(|(_, from)| {
            (from.author, &from.agent, from.source) != (memory.author, &memory.agent, memory.source)
        });
        let others: Map<String, Value> = others.map(|(name, from)| ((*name).to_owned(), provenance(from))).collect();
        if !others.is_empty() {
            put("fields", Value::Object(others));
        }
        if !memory.tags.is_empty() {
            put("tags", memory.tags.into());
        }
        if whole && !memory.aliases.is_empty() {
            put("aliases", memory.aliases.into());
        }
        if !memory.meta.is_empty() {
            put("meta", serde_json::to_value(memory.meta).unwrap_or_default());
        }
        if let Some(name) = memory.author_name {
            put("author_name", name.into());
        }
        if let Some(from) = memory.imported {
            put("imported", format!("by {} of mesh {}", from.name, from.mesh).into());
        }
        if let Some(at) = memory.seen_at {
            put("seen_at", to_the_second(at).into());
        }
        if memory.updated_at != memory.created_at {
            put("updated_at", to_the_second(memory.updated_at).into());
        }
        if let Some(at) = memory.expires_at {
            put("expires_at", to_the_second(at).into());
        }
        if !memory.conflicts.is_empty() {
            let conflicts = memory.conflicts.into_iter().map(|(field, values)| {
                let values = values.into_iter().map(|conflict| {
                    let author = name_or_did(conflict.author_name.as_deref(), &conflict.author);
                    json!({ "value": conflict.value, "author": author, "at": to_the_second(conflict.at) })
                });
                (field, values.collect())
            });
            put("conflicts", Value::Object(conflicts.collect()));
            put("settle", SETTLE.into());
        }
        if memory.more {
            put("more", true.into());
        }
        Self(shown)
    }

    pub(super) fn with_why(mut self, score: f64, why: String) -> Self {
        self.0.insert("score".to_owned(), ((score * 1e3).round() / 1e3).into());
        self.0.insert("why".to_owned(), why.into());
        self
    }

    /// Adds the ids of others that say the same, and whether it has little of the question.
    pub(super) fn with_same(mut self, same: Vec<MemoryId>, weak: bool) -> Self {
        if !same.is_empty() {
            self.0.insert("same".to_owned(), same.iter().map(ToString::to_string).collect());
        }
        if weak {
            self.0.insert("weak".to_owned(), true.into());
        }
        self
    }

    /// Adds the name under which the memory is replaced.
    pub(super) fn with_key(mut self, key: Option<String>) -> Self {
        if let Some(key) = key {
            self.0.insert("key".to_owned(), key.into());
        }
        self
    }

    /// The whole of it.
    pub(super) fn into_value(self) -> Value {
        Value::Object(self.0)
    }

    /// Takes its room in the budget. The first memory is cut to fit, so that a long one does not make
    /// the answer empty.
    pub(super) fn into_budget(mut self, budget: &mut Budget, first: bool) -> Option<Value> {
        let chars = self.chars();
        if budget.take(chars) {
            return Some(Value::Object(self.0));
        }
        if !first {
            return None;
        }
        for field in ["fields", "conflicts", "settle", "meta"] {
            if self.chars() > budget.chars() {
                self.0.remove(field);
            }
        }
        let over = self.chars().saturating_sub(budget.chars());
        if let Some(Value::String(text)) = self.0.get_mut("text") {
            let keep = text.chars().count().saturating_sub(over).max(BEGINNING_CHARS);
            *text = text.chars().take(keep).collect();
        }
        self.0.insert("cut".to_owned(), true.into());
        let left = budget.chars();
        budget.take(left);
        Some(Value::Object(self.0))
    }

    fn chars(&self) -> usize {
        serde_json::to_string(&self.0).map_or(0, |text| text.chars().count())
    }
}

fn provenance(from: &Provenance) -> Value {
    json!({
        "author": name_or_did(from.author_name.as_deref(), &from.author),
        "agent": from.agent.as_ref().map(AgentName::as_str),
        "source": from.source.map(Source::as_str),
        "at": to_the_second(from.at),
    })
}

/// A time without the part that says nothing to a model.
fn to_the_second(at: Timestamp) -> String {
    let text = at.to_string();
    text.split_once('.').map_or_else(|| text.clone(), |(seconds, _)| format!("{seconds}Z"))
}

/// The beginning of a text, for recognising it.
pub(super) fn beginning(text: &str) -> String {
    text.chars().take(BEGINNING_CHARS).collect()
}
