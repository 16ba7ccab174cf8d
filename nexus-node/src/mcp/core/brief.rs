//! The brief for an agent's start: who it is here, and what matters, in few words.
//!
//! Each line says first why it is there. Proposals and conflicts come first, then work that is not finished, this person's preferences,
//! the decisions, and the news since this agent was here. No section takes the room of one before it, so a preference is
//! never lost for a newer decision. Of a project's session other projects are no part, nor are memories of other members
//! that are of no project.

use std::collections::{BTreeMap, BTreeSet};

use nexus_identity::Timestamp;

use super::line::{self, in_one_line};
use super::{is_of_none, is_of_project, project_tag};
use crate::brain::{Handle, is_project_record, is_words, matched_form};
use crate::graph::is_graph_kind;
use crate::mcp::MEMORIES_INFORM;
use crate::mcp::tokens::{Room, beginning};
use crate::memory::ChangeKind;
use crate::memory::{MemoryId, WatchQuery};
use crate::{Brain, Memory, Node, NodeError};

/// The kind of what somebody wrote by hand into a mirrored file: it waits for a word.
const PROPOSAL: &str = "proposal";
/// The kinds of work that is not finished.
const UNFINISHED: [&str; 2] = ["task", "todo"];
const PREFERENCE: &str = "preference";
const DECISION: &str = "decision";
/// The most memories of a section that are read: of a short brief, and of a long one.
const SECTION_READ: usize = 40;
const SECTION_MAX: usize = 100;
/// The tokens of a short brief.
const SHORT_TOKENS: usize = 600;
/// One of so many memories may be of a kind that has no section.
const OTHERS_SHARE: usize = 3;
/// The most conflicts that are looked for.
const CONFLICTS_MAX: usize = 20;
/// The most changes that are followed. Over it the newest memories are shown.
const CHANGES_MAX: usize = 1_000;
/// A text is cut to this part of the whole brief.
const TEXT_SHARE: usize = 14;
/// The most characters for three tokens: with the usual room a brief has at most 1,600.
const CHARS_FOR_THREE: usize = 8;
/// The line above proposals.
const ON_PROPOSALS: &str =
    "Written by hand into a mirrored file; ask your user: remember with the id and a kind keeps it, forget drops it.";
/// The end of an empty brief.
const NOTHING: &str = "Nothing is remembered here yet.";
/// The way to more.
pub(super) const MORE: &str = "For more: session_start with a larger max_tokens, or recall.";

pub(in crate::mcp) async fn brief(
    node: &Node,
    brain: &Brain,
    agent: Option<&str>,
    project: Option<&str>,
    max_tokens: usize,
) -> Result<String, NodeError> {
    let lines = vec![who(node, agent, project).await, MEMORIES_INFORM.to_owned()];
    let now = brain.now();
    let here = brain.reading(|brain| Ok(brain.watch_blocking(&WatchQuery::from_now())?.cursor())).await;
    let since = node.visit(&[agent.unwrap_or_default(), project.unwrap_or_default()], here?).await;
    let project = project.map(str::to_owned);
    let most = if max_tokens <= SHORT_TOKENS { SECTION_READ } else { SECTION_MAX };
    let since = since.map(|visit| {
        let ago = Some(line::age(visit.at(), now)).filter(|ago| ago != "now");
        Since { ago: ago.unwrap_or_else(|| "a moment".to_owned()), cursor: visit.cursor }
    });
    let content = brain.reading(move |brain| Content::read(brain, project.as_deref(), since, most));
    Ok(content.await?.render(lines, max_tokens, now))
}

/// The agent, by its own name, on this node. The state of the mesh is told where it keeps the agent from writing, or others
/// from reading that.
async fn who(node: &Node, agent: Option<&str>, project: Option<&str>) -> String {
    let name = agent.map(|name| format!("{} ", line::word(name))).unwrap_or_default();
    let project = project.map(|project| format!(", project {}", line::word(project))).unwrap_or_default();
    let mut who = format!("You are {name}on node {}{project}.", line::word(&node.name()));
    let status = node.status().await;
    if status.offline {
        who.push_str(" It is offline: other machines see what you remember later.");
    }
    if !status.member {
        who.push_str(" It is no member any more, and cannot write.");
    }
    who
}

/// The visit before.
struct Since {
    cursor: String,
    ago: String,
}

/// Memories that are told for one reason.
struct Section {
    /// The reason, at the beginning of each line.
    why: &'static str,
    /// The name of such memories where they are counted.
    name: &'static str,
    shown: Vec<(Memory, Handle)>,
    /// How many there are, as far as was looked.
    count: usize,
    /// The part of the room that is left which it may take, as a fraction.
    share: (usize, usize),
}

impl Section {
    fn of(
        brain: &Brain,
        (why, name): (&'static str, &'static str),
        share: (usize, usize),
        (mut memories, count): (Vec<Memory>, usize),
    ) -> Result<Self, NodeError> {
        memories.truncate(SECTION_MAX);
        let ids: Vec<MemoryId> = memories.iter().map(|memory| memory.id).collect();
        let handles = brain.handles_blocking(&ids)?;
        Ok(Self { why, name, shown: memories.into_iter().zip(handles).collect(), count, share })
    }

    /// The lines for which there is room. A memory that was `told` above is not repeated.
    fn lines(
        &self,
        line: impl Fn(&(Memory, Handle)) -> String,
        told: &mut BTreeSet<MemoryId>,
        room: &mut Left,
    ) -> Vec<String> {
        let mut part = room.part(self.share);
        let mut lines = Vec::new();
        for shown in self.shown.iter().filter(|(memory, _)| !told.contains(&memory.id)) {
            let line = format!("{} {}", self.why, line(shown));
            if !part.take(&line) {
                break;
            }
            lines.push((shown.0.id, line));
        }
        room.give_back(part);
        told.extend(lines.iter().map(|(id, _)| *id));
        lines.into_iter().map(|(_, line)| line).collect()
    }

    /// How many are left out, in words.
    fn left_out(&self, told: &BTreeSet<MemoryId>) -> Option<String> {
        let shown = self.shown.iter().filter(|(memory, _)| told.contains(&memory.id)).count();
        (self.count > shown).then(|| format!("{} {}", self.count - shown, self.name))
    }
}

/// Room in tokens and in characters.
struct Left {
    tokens: Room,
    chars: usize,
}

impl Left {
    fn take(&mut self, line: &str) -> bool {
        let chars = line.chars().count() + 1;
        let fits = chars <= self.chars && self.tokens.take(line);
        if fits {
            self.chars -= chars;
        }
        fits
    }

    fn part(&mut self, (of, whole): (usize, usize)) -> Self {
        let chars = self.chars * of / whole;
        self.chars -= chars;
        Self { tokens: self.tokens.part(self.tokens.left() * of / whole), chars }
    }

    fn give_back(&mut self, part: Self) {
        self.tokens.give_back(part.tokens);
        self.chars += part.chars;
    }
}

/// All that a brief may tell.
struct Content {
    proposals: Section,
    conflicts: Section,
    /// Unfinished work, preferences, decisions.
    matters: [Section; 3],
    news: Section,
    /// The line before the news.
    changed: Option<String>,
    /// Whether the agent was here before: then it hears also that nothing has changed.
    again: bool,
}

impl Content {
    fn read(brain: &Brain, project: Option<&str>, since: Option<Since>, most: usize) -> Result<Self, NodeError> {
        let (now, tag) = (brain.now(), project.map(project_tag));
        let fits = |memory: &Memory| {
            let is_of = |tag: &str| is_of_project(memory, tag) || is_of_none(memory) && brain.is_mine(&memory.author);
            is_text(memory) && memory.holds_at(now) && tag.as_deref().is_none_or(is_of)
        };
        let Newest { proposals, unfinished, preferences, decisions } = Newest::read(brain, project, most)?;
        let conflicts = brain.in_conflict_blocking(CONFLICTS_MAX, fits)?;
        let conflicts_count = conflicts.len();
        let conflicts = (conflicts, conflicts_count);
        let again = since.is_some();
        let (why, news, changed) = match since {
            None => ("lately", Newest::others(brain, project, most)?, None),
            Some(since) => match Changes::since(brain, &since.cursor, fits)? {
                Some(changes) => {
                    let heading = changes.heading(&since.ago);
                    let count = changes.new + changes.edited;
                    ("news", (changes.memories, count), Some(heading))
                }
                None => {
                    let much = format!("Much has changed since you were here {} ago; the newest:", since.ago);
                    ("news", Newest::others(brain, project, most)?, Some(much))
                }
            },
        };
        Ok(Self {
            proposals: Section::of(brain, ("proposal", "proposals"), (1, 6), proposals)?,
            conflicts: Section::of(brain, ("conflict", "conflicts"), (1, 4), conflicts)?,
            matters: [
                Section::of(brain, ("unfinished", "unfinished"), (1, 3), unfinished)?,
                Section::of(brain, ("preference", "preferences"), (1, 2), preferences)?,
                Section::of(brain, ("decided", "decisions"), (2, 3), decisions)?,
            ],
            news: Section::of(brain, (why, "other memories"), (1, 1), news)?,
            changed,
            again,
        })
    }

    fn render(&self, mut lines: Vec<String>, max_tokens: usize, now: Timestamp) -> String {
        let mut room = Left { tokens: Room::of(max_tokens), chars: max_tokens * CHARS_FOR_THREE / 3 };
        // the longest end
        room.take(&self.end(&BTreeSet::new()));
        lines.retain(|line| room.take(line));
        let tokens = max_tokens / TEXT_SHARE;
        let line = |(memory, handle): &(Memory, Handle)| of_memory(memory, handle, tokens, now);
        let mut told = BTreeSet::new();
        let proposals = self.proposals.lines(line, &mut told, &mut room);
        if !proposals.is_empty() && room.take(ON_PROPOSALS) {
            lines.push(ON_PROPOSALS.to_owned());
        }
        lines.extend(proposals);
        lines.extend(self.conflicts.lines(
            |(memory, handle)| of_conflict(memory, handle, tokens),
            &mut told,
            &mut room,
        ));
        for section in &self.matters {
            lines.extend(section.lines(line, &mut told, &mut room));
        }
        lines.extend(self.changed.clone().filter(|changed| room.take(changed)));
        lines.extend(self.news.lines(line, &mut told, &mut room));
        lines.push(self.end(&told));
        lines.join("\n")
    }

    /// The last line, where these memories were told.
    fn end(&self, told: &BTreeSet<MemoryId>) -> String {
        let sections = || [&self.proposals, &self.conflicts].into_iter().chain(&self.matters).chain([&self.news]);
        if sections().all(|section| section.count == 0) && !self.again {
            return NOTHING.to_owned();
        }
        let left_out: Vec<String> = sections().filter_map(|section| section.left_out(told)).collect();
        match left_out.is_empty() {
            true => MORE.to_owned(),
            false => format!("Not shown: {}. {MORE}", left_out.join(", ")),
        }
    }
}

fn of_memory(memory: &Memory, handle: &Handle, tokens: usize, now: Timestamp) -> String {
    let text = in_one_line(&memory.text);
    format!("{}: {}", line::header(memory, handle, &[], now), cut(&text, tokens))
}

/// The values of a conflict: `m4tzq7pf text: laptop "a" or cloud "b"`.
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

/// The newest memories, by the reason for telling them, each with how many there are. In a session of a project its own come
/// before personal ones.
#[derive(Default)]
struct Newest {
    proposals: (Vec<Memory>, usize),
    unfinished: (Vec<Memory>, usize),
    /// This person's own.
    preferences: (Vec<Memory>, usize),
    /// With the preferences of others.
    decisions: (Vec<Memory>, usize),
}

impl Newest {
    fn read(brain: &Brain, project: Option<&str>, most: usize) -> Result<Self, NodeError> {
        let tag = project.map(project_tag);
        let of_project = |memory: &Memory| tag.as_deref().is_some_and(|tag| is_of_project(memory, tag));
        let of = |kinds: &[&str], own: bool| -> Result<(Vec<Memory>, usize), NodeError> {
            let (mut memories, all) = brain.newest_blocking(kinds, project, own, most)?;
            memories.sort_by_cached_key(|memory| !of_project(memory));
            Ok((memories, all))
        };
        let (mut decisions, all) = of(&[DECISION, PREFERENCE], false)?;
        let read = decisions.len();
        decisions.retain(|memory| matched_form(&memory.kind) != PREFERENCE || !brain.is_mine(&memory.author));
        let all = all - (read - decisions.len());
        Ok(Self {
            proposals: of(&[PROPOSAL], true)?,
            unfinished: of(&UNFINISHED, false)?,
            preferences: of(&[PREFERENCE], true)?,
            decisions: (decisions, all),
        })
    }

    /// The memories of all other kinds.
    fn others(brain: &Brain, project: Option<&str>, most: usize) -> Result<(Vec<Memory>, usize), NodeError> {
        let (mut memories, all) = brain.newest_blocking(&[], project, false, most * OTHERS_SHARE)?;
        let read = memories.len();
        memories.retain(|memory| {
            let kind = matched_form(&memory.kind);
            let told = [PROPOSAL, PREFERENCE, DECISION].contains(&kind.as_str()) || UNFINISHED.contains(&kind.as_str());
            !told && is_text(memory)
        });
        let left_out = read - memories.len();
        Ok((memories, all - left_out))
    }
}

/// Whether a memory is a text to read.
fn is_text(memory: &Memory) -> bool {
    !is_graph_kind(&memory.kind) && !is_words(memory) && !is_project_record(memory)
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
        format!("Since you were here {ago} ago: {counts}.")
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// The brief of a project, with a visit three days ago at a place.
    pub(in crate::mcp::core) async fn told(brain: &Brain, project: &str, here: Option<String>) -> String {
        let since = here.map(|cursor| Since { cursor, ago: "3d".to_owned() });
        let (project, now) = (project.to_owned(), brain.now());
        let content =
            brain.reading(move |brain| Content::read(brain, Some(&project), since, SECTION_READ)).await.unwrap();
        content.render(Vec::new(), 600, now)
    }

    pub(in crate::mcp::core) fn conflict_line(memory: &Memory, short: &str) -> String {
        of_conflict(memory, &Handle { short: short.to_owned(), key: None }, 80)
    }
}
