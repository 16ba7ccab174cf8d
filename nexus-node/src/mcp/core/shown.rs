//! A memory as a model reads it, without its empty fields.

use nexus_crdt::{AgentName, Source};
use serde_json::{Map, Value, json};

use crate::Memory;
use crate::mcp::answer::Budget;
use crate::memory::Provenance;

/// The length of a text's beginning that stands for it, in characters.
const BEGINNING_CHARS: usize = 80;

pub(super) struct Shown(Map<String, Value>);

impl Shown {
    pub(super) fn of(mut memory: Memory) -> Self {
        let mut shown = Map::new();
        let mut put = |name: &str, value: Value| {
            shown.insert(name.to_owned(), value);
        };
        put("id", memory.id.to_string().into());
        put("text", memory.text.into());
        put("kind", memory.kind.into());
        put("space", memory.space.into());
        put("author", memory.author.to_string().into());
        put("created_at", memory.created_at.to_string().into());
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
        if !memory.meta.is_empty() {
            put("meta", serde_json::to_value(memory.meta).unwrap_or_default());
        }
        if let Some(name) = memory.author_name {
            put("author_name", name.into());
        }
        if memory.updated_at != memory.created_at {
            put("updated_at", memory.updated_at.to_string().into());
        }
        if let Some(at) = memory.expires_at {
            put("expires_at", at.to_string().into());
        }
        if !memory.conflicts.is_empty() {
            let conflicts = memory.conflicts.into_iter().map(|(field, values)| {
                let values = values.into_iter().map(|conflict| {
                    json!({
                        "value": conflict.value,
                        "author": conflict.author.to_string(),
                        "author_name": conflict.author_name,
                        "at": conflict.at.to_string(),
                    })
                });
                (field, values.collect())
            });
            put("conflicts", Value::Object(conflicts.collect()));
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
        for field in ["fields", "conflicts", "meta"] {
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
        "author": from.author.to_string(),
        "author_name": from.author_name,
        "agent": from.agent.as_ref().map(AgentName::as_str),
        "source": from.source.map(Source::as_str),
        "at": from.at.to_string(),
    })
}

/// The beginning of a text, for recognising it.
pub(super) fn beginning(text: &str) -> String {
    text.chars().take(BEGINNING_CHARS).collect()
}
