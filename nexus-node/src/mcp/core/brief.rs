//! The brief for an agent's start: who it is here, how the mesh is, and what matters, in few tokens.
//!
//! First come preferences and decisions, those of the project before others. Then come conflicts, and then the changes
//! since this agent was here. Each section says how much of it is shown.

use std::collections::{BTreeMap, BTreeSet};

use nexus_identity::Timestamp;

use super::line::{self, in_one_line};
use super::{is_of_project, is_tag, project_tag};
use crate::brain::{Handle, is_words, matched_form};
use crate::mcp::MEMORIES_INFORM;
use crate::mcp::agent::Agent;
use crate::mcp::answer::{Refusal, refused};
use crate::mcp::graph::is_graph_kind;
use crate::mcp::tokens::{Room, beginning, count};
use crate::memory::{MemoryId, WatchQuery};
use crate::{Brain, ChangeKind, ListQuery, Memory, Node, NodeError};

/// The kinds that an agent is told of first.
const MATTERS: [&str; 2] = ["preference", "decision"];
/// The newest memories that are looked at for those that matter.
const LOOKED_AT_MAX: usize = 2_000;
/// The most memories read at once.
const PAGE: usize = 100;
/// The most memories of a section that are looked at closely.
const SECTION_MAX: usize = 100;
/// The most conflicts that are looked for.
const CONFLICTS_MAX: usize = 20;
/// The most changes that are followed. Over it the newest memories are shown.
const CHANGES_MAX: usize = 1_000;
/// The most warnings, and the longest one in tokens.
const WARNINGS_MAX: usize = 2;
const WARNING_TOKENS_MAX: usize = 40;
/// The most members named that lack entries.
const BEHIND_MAX: usize = 2;
/// A text is cut to this part of the whole brief.
const TEXT_SHARE: usize = 14;
/// The end of an empty brief.
const NOTHING: &str = "Nothing is remembered here yet.";
/// The way to more.
pub(super) const MORE: &str = "For more: session_start with a larger max_tokens, or recall.";

pub(super) async fn brief(
    node: &Node,
    agent: &Agent,
    project: Option<&str>,
    max_tokens: usize,
) -> Result<String, Refusal> {
    let mut lines = vec![who(node, agent, project)];
    lines.extend(mesh(node).await);
    lines.push(MEMORIES_INFORM.to_owned());
    let now = node.brain().now();
    let here = node.brain().reading(|brain| Ok(brain.watch_blocking(&WatchQuery::from_now())?.cursor())).await;
    let here = here.map_err(refused)?;
    let since = node.visit(&[agent.name().unwrap_or_default(), project.unwrap_or_default()], here).await;
    let tag = project.map(project_tag);
    let since = since.map(|visit| {
        let ago = Some(line::age(visit.at(), now)).filter(|ago| ago != "now");
        Since { ago: ago.unwrap_or_else(|| "a moment".to_owned()), cursor: visit.cursor }
    });
    let content =
        node.brain().reading(move |brain| Content::read(brain, tag.as_deref(), since)).await.map_err(refused)?;
    Ok(content.render(lines, max_tokens, now))
}

/// The agent, by its own name, on this node.
fn who(node: &Node, agent: &Agent, project: Option<&str>) -> String {
    let name = agent.name().map(|name| format!("{} ", line::word(name))).unwrap_or_default();
    let project = project.map(|project| format!(", project {}", line::word(project))).unwrap_or_default();
    format!("You are {name}on node {}{project}.", line::word(&node.name()))
}

/// The state of the mesh, and warnings.
async fn mesh(node: &Node) -> Vec<String> {
    let status = node.status().await;
    let others = node.members().len().saturating_sub(1);
    let mut state = match others {
        0 => "It is alone in its mesh.".to_owned(),
        _ => format!("{} of {others} other members are up.", status.peers),
    };
    for behind in status.behind.iter().take(BEHIND_MAX) {
        let name = line::member(behind.name.as_deref(), &behind.did);
        state.push_str(&format!(" {name} lacks {} entries.", behind.entries));
    }
    if status.offline {
        state.push_str(" This node is offline.");
    }
    if !status.member {
        state.push_str(" It is no member any more, and cannot write.");
    }
    let warning = |warning: &crate::Warning| {
        let text = in_one_line(&format!("{} ({})", warning.message, warning.hint));
        format!("Warning: {}", cut(&text, WARNING_TOKENS_MAX))
    };
    std::iter::once(state).chain(status.warnings.iter().take(WARNINGS_MAX).map(warning)).collect()
}

/// The visit before.
struct Since {
    cursor: String,
    ago: String,
}

/// Memories under one heading.
struct Section {
    shown: Vec<(Memory, Handle)>,
    /// How many there are, as far as was looked.
    count: usize,
    /// Whether there may be more than that.
    more: bool,
}

impl Section {
    /// The first of some memories, and how many there are `beyond` them.
    fn of(brain: &Brain, mut memories: Vec<Memory>, beyond: usize, more: bool) -> Result<Self, NodeError> {
        let count = memories.len() + beyond;
        memories.truncate(SECTION_MAX);
        let ids: Vec<MemoryId> = memories.iter().map(|memory| memory.id).collect();
        let handles = brain.handles_blocking(&ids)?;
        Ok(Self { shown: memories.into_iter().zip(handles).collect(), count, more })
    }
}

/// All that a brief may tell.
struct Content {
    matters: Section,
    conflicts: Section,
    changes: Section,
    /// The heading of the changes.
    changed: String,
    /// Whether the agent was here before: then it hears also that nothing has changed.
    again: bool,
}

impl Content {
    fn read(brain: &Brain, tag: Option<&str>, since: Option<Since>) -> Result<Self, NodeError> {
        let now = brain.now();
        let fits = |memory: &Memory| {
            let is_told = !is_graph_kind(&memory.kind) && !is_words(memory) && memory.holds_at(now);
            is_told && tag.is_none_or(|tag| is_of_project(memory, tag))
        };
        let Newest { matters, others, more } = Newest::read(brain, tag, fits)?;
        let conflicts = brain.in_conflict_blocking(CONFLICTS_MAX, fits)?;
        let again = since.is_some();
        let (changed, changes, beyond, more_changes) = match since {
            None => ("Remembered lately".to_owned(), others, 0, more),
            Some(since) => match Changes::since(brain, &since.cursor, fits)? {
                Some(changes) => {
                    let beyond = changes.new + changes.edited - changes.memories.len();
                    (changes.heading(&since.ago), changes.memories, beyond, false)
                }
                None => {
                    (format!("Much has changed since you were here {} ago; the newest", since.ago), others, 0, more)
                }
            },
        };
        let more_conflicts = conflicts.len() == CONFLICTS_MAX;
        Ok(Self {
            matters: Section::of(brain, matters, 0, more)?,
            conflicts: Section::of(brain, conflicts, 0, more_conflicts)?,
            changes: Section::of(brain, changes, beyond, more_changes)?,
            changed,
            again,
        })
    }

    fn render(&self, mut lines: Vec<String>, max_tokens: usize, now: Timestamp) -> String {
        let mut room = Room::of(max_tokens);
        room.take(MORE);
        lines.retain(|line| room.take(line));
        let tokens = max_tokens / TEXT_SHARE;
        let line = |(memory, handle): &(Memory, Handle)| of_memory(memory, handle, tokens, now);
        let of_conflict = |(memory, handle): &(Memory, Handle)| of_conflict(memory, handle, tokens);
        let wanted: usize = self.changes.shown.iter().map(|shown| count(&line(shown)) + 1).sum();
        // conflicts have a quarter, and what matters has half of the rest or more
        let mut told = BTreeSet::new();
        let mut part = room.part(room.left() / 4);
        let heading = "Conflicts, which remember with the id settles";
        let conflicts = self.conflicts.under(heading, false, of_conflict, &mut told, &mut part);
        room.give_back(part);
        let mut part = room.part((room.left() / 2).max(room.left().saturating_sub(wanted + count(&self.changed) + 8)));
        let matters = self.matters.under("Preferences and decisions", false, line, &mut told, &mut part);
        room.give_back(part);
        let changes = self.changes.under(&self.changed, self.again, line, &mut told, &mut room);
        let empty = self.matters.count + self.conflicts.count + self.changes.count == 0;
        lines.extend(matters.into_iter().chain(conflicts).chain(changes));
        lines.push(if empty && !self.again { NOTHING } else { MORE }.to_owned());
        lines.join("\n")
    }
}

impl Section {
    /// Under a heading that says how many are shown, the lines for which there is room. A memory that was `told` above is
    /// not repeated. An empty section has no heading, unless it is to be there `always`.
    fn under(
        &self,
        heading: &str,
        always: bool,
        line: impl Fn(&(Memory, Handle)) -> String,
        told: &mut BTreeSet<MemoryId>,
        room: &mut Room,
    ) -> Vec<String> {
        let new: Vec<&(Memory, Handle)> = self.shown.iter().filter(|(memory, _)| !told.contains(&memory.id)).collect();
        let all = self.count - (self.shown.len() - new.len());
        let headed = |shown: usize| match (all, self.more) {
            (0, false) => format!("{heading}."),
            (_, false) if all == shown => format!("{heading}:"),
            (_, more) => format!("{heading} ({shown} of {all}{}):", if more { "+" } else { "" }),
        };
        // the widest heading has both numbers
        if (all == 0 && !always) || !room.take(&headed(all.saturating_sub(1))) {
            return Vec::new();
        }
        let mut lines = vec![String::new()];
        for shown in new {
            let line = line(shown);
            if !room.take(&line) {
                break;
            }
            told.insert(shown.0.id);
            lines.push(line);
        }
        lines[0] = headed(lines.len() - 1);
        lines
    }
}

fn of_memory(memory: &Memory, handle: &Handle, tokens: usize, now: Timestamp) -> String {
    let text = in_one_line(&memory.text);
    format!("{}: {}", line::header(memory, handle, &[], now), cut(&text, tokens))
}

/// The values of a conflict: `m4tzq7pf text: laptop "a", cloud "b"`.
fn of_conflict(memory: &Memory, handle: &Handle, tokens: usize) -> String {
    let fields = memory.conflicts.iter().map(|(field, values)| {
        let each = (tokens / values.len().max(1)).max(8);
        let values = values.iter().map(|value| {
            let by = line::member(value.author_name.as_deref(), &value.author);
            format!("{by} {}", cut(&line::json(&value.value), each))
        });
        format!("{} {}", line::word(field), values.collect::<Vec<_>>().join(" or "))
    });
    format!("{} {}", handle.short, fields.collect::<Vec<_>>().join("; "))
}

/// A text of one line, with a sign where it is cut.
fn cut(text: &str, tokens: usize) -> String {
    match beginning(text, tokens) {
        (whole, false) => whole.to_owned(),
        (start, true) => format!("{}…", start.trim_end()),
    }
}

/// The newest memories: those that matter, and all others.
struct Newest {
    /// Those of the project first.
    matters: Vec<Memory>,
    others: Vec<Memory>,
    /// Whether there are older ones.
    more: bool,
}

impl Newest {
    fn read(brain: &Brain, tag: Option<&str>, fits: impl Fn(&Memory) -> bool) -> Result<Self, NodeError> {
        let of_project = |memory: &Memory| tag.is_some_and(|tag| memory.tags.iter().any(|own| is_tag(own, tag)));
        let (mut own, mut matters, mut others) = (Vec::new(), Vec::new(), Vec::new());
        let (mut after, mut looked_at, mut more) = (None, 0, false);
        loop {
            let page = brain.list_blocking(&ListQuery::newest().limit(PAGE).after(after))?;
            looked_at += page.items.len();
            for memory in page.items.into_iter().filter(|memory| fits(memory)) {
                let kept = match MATTERS.contains(&matched_form(&memory.kind).as_str()) {
                    true if of_project(&memory) => &mut own,
                    true => &mut matters,
                    false => &mut others,
                };
                if kept.len() < SECTION_MAX {
                    kept.push(memory);
                } else {
                    more = true;
                }
            }
            after = page.next;
            if after.is_none() || looked_at >= LOOKED_AT_MAX {
                own.append(&mut matters);
                return Ok(Self { matters: own, others, more: more || after.is_some() });
            }
        }
    }
}

/// The changes after a place in the order of commits.
struct Changes {
    /// The first of those that are still here, the latest change first.
    memories: Vec<Memory>,
    new: usize,
    edited: usize,
    forgotten: usize,
}

impl Changes {
    /// `None` if they are too many, or the place is not of this store, or of a state that is gone.
    fn since(brain: &Brain, cursor: &str, fits: impl Fn(&Memory) -> bool) -> Result<Option<Self>, NodeError> {
        let Ok(mut watch) = brain.watch_blocking(&WatchQuery::after(cursor)) else { return Ok(None) };
        // the place of its last change, and whether it is new
        let mut subjects: BTreeMap<MemoryId, (usize, bool)> = BTreeMap::new();
        let (mut at, mut forgotten) = (0, 0);
        while let Some(change) = watch.committed()? {
            at += 1;
            if at > CHANGES_MAX || change.kind == ChangeKind::Missed {
                return Ok(None);
            }
            let Some(id) = change.subject.memory() else { continue };
            match change.kind {
                ChangeKind::Remembered => {
                    subjects.insert(id, (at, true));
                }
                ChangeKind::Edited => subjects.entry(id).or_insert((at, false)).0 = at,
                // of one that came and went there is nothing to tell
                ChangeKind::Forgotten if subjects.remove(&id).is_none_or(|(_, new)| !new) => forgotten += 1,
                _ => {}
            }
        }
        let mut latest: Vec<(usize, bool, MemoryId)> =
            subjects.into_iter().map(|(id, (at, new))| (at, new, id)).collect();
        latest.sort_unstable_by_key(|(at, ..)| std::cmp::Reverse(*at));
        let mut changes = Self { memories: Vec::new(), new: 0, edited: 0, forgotten };
        let mut known = BTreeSet::new();
        for (_, new, id) in latest {
            let Ok(memory) = brain.get_blocking(id) else { continue };
            if fits(&memory) && known.insert(memory.id) {
                if new {
                    changes.new += 1
                } else {
                    changes.edited += 1
                }
                if changes.memories.len() < SECTION_MAX {
                    changes.memories.push(memory);
                }
            }
        }
        Ok(Some(changes))
    }

    fn heading(&self, ago: &str) -> String {
        let counts = [(self.new, "new"), (self.edited, "changed"), (self.forgotten, "forgotten")];
        let counts: Vec<String> =
            counts.iter().filter(|(count, _)| *count > 0).map(|(count, word)| format!("{count} {word}")).collect();
        let counts = if counts.is_empty() { "nothing has changed".to_owned() } else { counts.join(", ") };
        format!("Since you were here {ago} ago: {counts}")
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// The brief of a project, with a visit three days ago at a place.
    pub(in crate::mcp::core) async fn told(brain: &Brain, project: &str, here: Option<String>) -> String {
        let since = here.map(|cursor| Since { cursor, ago: "3d".to_owned() });
        let (tag, now) = (project_tag(project), brain.now());
        let content = brain.reading(move |brain| Content::read(brain, Some(&tag), since)).await.unwrap();
        content.render(Vec::new(), 600, now)
    }

    pub(in crate::mcp::core) fn conflict_line(memory: &Memory, short: &str) -> String {
        of_conflict(memory, &Handle { short: short.to_owned(), key: None }, 80)
    }
}
