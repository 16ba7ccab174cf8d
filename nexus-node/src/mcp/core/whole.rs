//! One memory with all that it has: fields, conflicts, history.

use std::collections::BTreeMap;

use nexus_crdt::{AgentName, Source};
use nexus_identity::{Did, Timestamp};

use super::line;
use crate::Memory;
use crate::brain::Handle;
use crate::mcp::tokens::{Room, beginning};
use crate::memory::{ConflictValue, Revision};

/// The longest value beside the text, in tokens.
const VALUE_TOKENS_MAX: usize = 200;
/// The words of an answer from which something is left out.
const CUT: &str = "Cut: ask with a larger max_tokens for the rest.";

/// A memory, its past, and the names of those who wrote it.
pub(super) struct Whole {
    pub(super) memory: Memory,
    /// The caller's key.
    pub(super) key: Option<String>,
    pub(super) history: Vec<Revision>,
    pub(super) names: BTreeMap<Did, String>,
    /// Where the rest of the text is, if only its beginning is here.
    pub(super) lacks: Option<String>,
}

impl Whole {
    /// The lines, as many as there is room for.
    pub(super) fn render(&self, now: Timestamp, mut room: Room) -> String {
        let memory = &self.memory;
        // the short id does not say which memory it is on other machines
        let handle = Handle { short: memory.id.to_string(), key: self.key.clone() };
        let header = line::header(memory, &handle, &[], now);
        room.take(CUT);
        room.take(&header);
        let mut of_text = room.part(room.left() * 3 / 4);
        let text = line::indented(&memory.text);
        let (text, mut cut) = beginning(&text, of_text.left().saturating_sub(1));
        let text = text.trim_end();
        of_text.take(text);
        room.give_back(of_text);
        let mut lines = vec![format!("{header}: {text}")];
        lines.extend(self.lacks.clone().filter(|lacks| room.take(lacks)));
        for line in self.fields().into_iter().chain(self.conflicts(now)).chain(self.past(now)) {
            if !room.take(&line) {
                cut = true;
                break;
            }
            lines.push(line);
        }
        if cut {
            lines.push(CUT.to_owned());
        }
        lines.join("\n")
    }

    fn fields(&self) -> Vec<String> {
        let memory = &self.memory;
        let words = |words: &[String]| words.iter().map(|word| line::word(word)).collect::<Vec<_>>().join(", ");
        let mut fields =
            vec![format!("kind {}", line::word(&memory.kind)), format!("space {}", line::word(&memory.space))];
        if !memory.tags.is_empty() {
            fields.push(format!("tags {}", words(&memory.tags)));
        }
        if !memory.aliases.is_empty() {
            fields.push(format!("aliases {}", words(&memory.aliases)));
        }
        let mut lines = vec![fields.join("; ")];
        if !memory.meta.is_empty() {
            let meta = memory.meta.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
            lines.push(format!("meta {}", line::json(&serde_json::Value::Object(meta))));
        }
        let by = origin(line::author(memory), memory.agent.as_ref(), memory.source);
        let verb = if memory.edited_by.is_some() { "edited" } else { "written" };
        let mut written = format!("{verb} {} by {by}", to_the_second(memory.updated_at));
        if memory.edited_by.is_some() || memory.updated_at != memory.created_at {
            written.push_str(&format!("; made {}", to_the_second(memory.created_at)));
        }
        if let Some(at) = memory.seen_at {
            written.push_str(&format!("; came {}, its author's clock is ahead", to_the_second(at)));
        }
        for (word, at) in [("holds from", memory.valid_from), ("until", memory.valid_to)] {
            written.extend(at.map(|at| format!("; {word} {}", to_the_second(at))));
        }
        if let Some(former) = memory.supersedes {
            written.push_str(&format!("; in place of {former}"));
        }
        if let Some(at) = memory.expires_at {
            written.push_str(&format!("; ends {}", to_the_second(at)));
        }
        lines.push(written);
        if let Some(from) = &memory.imported {
            lines.push(format!("first written by {} in mesh {}", line::word(&from.name), from.mesh));
        }
        lines
    }

    fn conflicts(&self, now: Timestamp) -> Vec<String> {
        let mut lines = Vec::new();
        for (field, values) in &self.memory.conflicts {
            let field = line::word(field);
            lines.push(format!("Conflict in {field}; remember with this id and the right {field} settles it:"));
            let value = |value: &ConflictValue| {
                let by = line::member(value.author_name.as_deref(), &value.author);
                format!("  {by} {}: {}", line::age(value.at, now), short(&value.value))
            };
            lines.extend(values.iter().map(value));
        }
        if self.memory.more {
            lines.push("There are more values than are read.".to_owned());
        }
        lines
    }

    fn past(&self, now: Timestamp) -> Vec<String> {
        let mut lines = vec!["History, newest first:".to_owned()];
        for revision in self.history.iter().rev() {
            let name = self.names.get(&revision.by).map(String::as_str);
            let by = origin(line::member(name, &revision.by), revision.agent.as_ref(), revision.source);
            let changed =
                revision.changed.iter().map(|(field, value)| format!("{} {}", line::word(field), short(value)));
            let changed: Vec<String> = changed.collect();
            lines.push(format!("  {by} {}: {}", line::age(revision.at, now), changed.join(", ")));
        }
        if self.history.first().is_some_and(|first| first.earlier) {
            lines.push("  and earlier ones".to_owned());
        }
        lines
    }
}

/// A value as JSON, cut.
fn short(value: &serde_json::Value) -> String {
    let text = line::json(value);
    match beginning(&text, VALUE_TOKENS_MAX) {
        (whole, false) => whole.to_owned(),
        (start, true) => format!("{start}…"),
    }
}

/// `laptop (codex, model)`
fn origin(member: String, agent: Option<&AgentName>, source: Option<Source>) -> String {
    let agent = agent.map(|agent| line::word(agent.as_str()));
    let parts: Vec<String> = agent.into_iter().chain(source.map(|source| source.as_str().to_owned())).collect();
    if parts.is_empty() { member } else { format!("{member} ({})", parts.join(", ")) }
}

/// A time without the part that says nothing to a model.
fn to_the_second(at: Timestamp) -> String {
    let text = at.to_string();
    text.split_once('.').map_or_else(|| text.clone(), |(seconds, _)| format!("{seconds}Z"))
}
