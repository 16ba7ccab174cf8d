//! Which values of a record are shown, and their origins.

use std::collections::BTreeMap;

use nexus_crdt::{AgentName, Core, Dot, FIELDS, Field, FieldSpec, Hlc, Origin, version_of};
use nexus_identity::{Did, Timestamp};
use serde_json::Value;

use super::{Gone, Reader};
use crate::error::NodeError;
use crate::ledger::rows::{self, Place, RecordRow, WriteRow};
use crate::ledger::{
    self, ChainEnd, LiveRoom, LiveRows, SUPERSEDES, TOGETHER_MAX, VALID_TO, live_within, lowest_of_fields, read_core,
};
use crate::memory::{ALIAS_CHARS_MAX, ALIASES_MAX, ConflictValue, Memory, Provenance, depth};
use crate::store::{StoreError, Table};

/// A record as it was created.
pub(super) struct Record {
    pub(super) dot: Dot,
    pub(super) row: RecordRow,
    pub(super) author: Did,
    pub(super) core: Core,
    /// The time at which it came, if its stamp was ahead of it.
    pub(super) seen_at: Option<Timestamp>,
}

/// A record with what is live in it.
struct Part {
    record: Record,
    live: BTreeMap<Field, Vec<LiveWrite>>,
}

/// The records that are shown as one memory, lowest dot first.
struct Parts {
    parts: Vec<Part>,
    /// Whether there are more records or live writes than these.
    more: bool,
}

/// A live write and its author.
struct LiveWrite {
    dot: Dot,
    row: WriteRow,
    author: Did,
}

/// Whether an alias counts. Members may write any.
#[expect(clippy::ptr_arg, reason = "a filter of strings")]
fn fits(alias: &String) -> bool {
    alias.chars().nth(ALIAS_CHARS_MAX).is_none()
}

/// One value of a field.
#[derive(Clone)]
struct FieldValue {
    value: Value,
    /// Whether a write or a core says it; else it is what a core has that says nothing of it.
    said: bool,
    /// Whether a write replaced what the record was created with.
    edited: bool,
    dot: Dot,
    hlc: Hlc,
    author: Did,
    origin: Origin,
}

/// The values of a record, and of those that share its caller's key, that are shown.
pub(super) struct Resolved {
    /// The record that stands for all.
    pub(super) dot: Dot,
    /// The values, as a record with just these would be created. Its origin is that of the text.
    pub(super) core: Core,
    row: RecordRow,
    fields: BTreeMap<&'static str, Provenance>,
    /// The author of the text.
    author: Did,
    /// Whether the text replaced another one.
    edited: bool,
    updated: Hlc,
    version: String,
    conflicts: BTreeMap<String, Vec<ConflictValue>>,
    seen_at: Option<Timestamp>,
    /// Whether there are more records or values than those read.
    more: bool,
}

impl Reader<'_> {
    /// The record of a row.
    pub(super) fn record_in(&self, dot: Dot, place: Place, row: RecordRow) -> Result<Record, NodeError> {
        let mut core = read_core(self.view, place.eno, &row)?;
        core.meta = depth::shown_meta(core.meta);
        let author = self.author(row.log)?;
        let seen_at = ledger::seen_at(self.view, place.eno)?;
        Ok(Record { dot, row, author, core, seen_at })
    }

    /// A record, and those that share its caller's key, with what is live in them. Members choose how much that is,
    /// so there is room for a part of it: the records with the lowest dots, and what is live in each.
    fn parts_of(&self, first: Record) -> Result<Parts, NodeError> {
        let mut group = self.group(&first, TOGETHER_MAX + 1)?;
        let mut more = group.len() > TOGETHER_MAX;
        group.truncate(TOGETHER_MAX);
        let (mut first, mut room, mut parts) = (Some(first), LiveRoom::new(), Vec::new());
        for end in group {
            let dot = end.record;
            let record = match first.take_if(|first| first.dot == dot) {
                Some(record) if room.take_core(record.row.len) => record,
                Some(_) => {
                    more = true;
                    break;
                }
                None => {
                    let Some((place, row)) = self.row_of(dot)? else { continue };
                    if !room.take_core(row.len) {
                        more = true;
                        break;
                    }
                    self.record_in(dot, place, row)?
                }
            };
            match live_within(self.view, record.row.space, dot, &mut room)? {
                Some(writes) => parts.push(self.part(end, record, writes)?),
                None => {
                    more = true;
                    if parts.is_empty() {
                        let lowest = lowest_of_fields(self.view, record.row.space, dot)?;
                        parts.push(self.part(end, record, lowest)?);
                    }
                    break;
                }
            }
        }
        Ok(Parts { parts, more })
    }

    fn part(&self, end: ChainEnd, mut record: Record, writes: LiveRows) -> Result<Part, StoreError> {
        let mut live: BTreeMap<Field, Vec<LiveWrite>> = BTreeMap::new();
        for (field, dot, row) in writes {
            let author = self.author(row.log)?;
            live.entry(field).or_default().push(LiveWrite { dot, row, author });
        }
        if end.disputed {
            // that it ended is a part of the conflict
            live.remove(&Field::named(VALID_TO));
            record.core.valid_to = None;
        }
        Ok(Part { record, live })
    }

    /// A record as a memory, and the record that stands for it.
    pub(super) fn memory_of(&self, record: Record) -> Result<(Dot, Memory), NodeError> {
        Ok(self.shown_as(self.resolved(record)?))
    }

    /// The memory that is shown, and the record that stands for it.
    fn shown_as(&self, resolved: Resolved) -> (Dot, Memory) {
        let Resolved { dot, core, row, fields, author, edited, updated, version, conflicts, seen_at, more } = resolved;
        let memory = Memory {
            id: dot.into(),
            imported: self.known.proofs.as_ref().and_then(|proofs| proofs.imported(dot, &core)),
            was_at: core.was.as_ref().map(|was| Timestamp::from_ms(was.created_at)),
            was: core.was.map(|was| was.id),
            space: self.space_name(row.space),
            attachment: core.attachment.filter(|attachment| attachment.is_of(&core.text)),
            text: core.text,
            kind: core.kind,
            tags: core.tags,
            meta: core.meta,
            aliases: core.aliases.into_iter().filter(fits).take(ALIASES_MAX).collect(),
            author,
            author_name: self.name_of(&author),
            agent: core.agent,
            source: core.source,
            edited_by: edited.then_some(author),
            created_at: row.hlc.time(),
            seen_at,
            updated_at: updated.time(),
            expires_at: core.expires_at.map(Timestamp::from_ms),
            valid_from: core.valid_from.map(Timestamp::from_ms),
            valid_to: core.valid_to.map(Timestamp::from_ms),
            supersedes: core.supersedes.and_then(|id| id.parse().ok()),
            version,
            fields,
            conflicts,
            more,
        };
        (dot, memory)
    }

    /// A forgotten record as it would be shown, by itself.
    pub(super) fn as_it_was(&self, record: Record) -> Result<Gone, NodeError> {
        let mut room = LiveRoom::new();
        let (space, dot) = (record.row.space, record.dot);
        let (key, proof) = (record.core.key.clone(), record.core.proof.clone());
        let (writes, more) = match live_within(self.view, space, dot, &mut room)? {
            Some(writes) => (writes, false),
            None => (lowest_of_fields(self.view, space, dot)?, true),
        };
        let parts = Parts { parts: vec![self.part(ChainEnd { record: dot, disputed: false }, record, writes)?], more };
        let memory = self.shown_as(self.shown_of(parts)?).1;
        let proof = proof.filter(|_| memory.imported.is_some());
        Ok(Gone { memory, key, proof })
    }

    /// The values of a record that are shown.
    pub(super) fn resolved(&self, first: Record) -> Result<Resolved, NodeError> {
        let parts = self.parts_of(first)?;
        self.shown_of(parts)
    }

    fn shown_of(&self, parts: Parts) -> Result<Resolved, NodeError> {
        let Parts { mut parts, mut more } = parts;
        if let [part] = parts.as_slice()
            && part.live.is_empty()
            && !more
            && let Some(part) = parts.pop()
        {
            // as it was written, and nobody else's: most are
            return Ok(self.untouched(part.record));
        }
        // it has at least the one with the lowest dot
        let primary = &parts.first().ok_or_else(|| rows::unreadable(Table::Records))?.record;
        let writes = || parts.iter().flat_map(|part| part.live.values().flatten());
        let latest = writes().map(|write| write.row.hlc).fold(primary.row.hlc, Hlc::max);
        let mut shown = Resolved {
            dot: primary.dot,
            core: primary.core.clone(),
            row: primary.row,
            fields: BTreeMap::new(),
            author: primary.author,
            edited: false,
            updated: latest,
            seen_at: primary.seen_at,
            version: version_of(writes().map(|write| write.dot).chain(parts.iter().map(|part| part.record.dot))),
            conflicts: BTreeMap::new(),
            more: false,
        };
        for field in FIELDS.iter().filter(|field| field.editable) {
            let (values, cut) = field_values(&parts, field)?;
            more |= cut;
            if let [latest, ..] = values.as_slice() {
                self.show(field, latest, &mut shown)?;
            }
            // which ones they replaced, and since when, comes with the memories and is no conflict of its own
            let comes_along =
                field.name == SUPERSEDES || field.name == "valid_from" && values.iter().all(|value| !value.edited);
            if values.len() > 1 && !comes_along {
                let values = values.iter().map(|value| self.conflict_value(value));
                shown.conflicts.insert(field.name.to_owned(), values.collect());
            }
        }
        Ok(Resolved { more, ..shown })
    }

    /// A record that nobody has edited.
    fn untouched(&self, record: Record) -> Resolved {
        let Record { dot, row, author, mut core, seen_at } = record;
        let Origin { agent, source, .. } = origin_of(&core);
        let author_name = self.name_of(&author);
        let from = Provenance { author, author_name, agent: agent.clone(), source, at: row.hlc.time() };
        let said = FIELDS.iter().filter(|field| field.editable && field.is_said(&core));
        let fields = said.map(|field| (field.name, from.clone())).collect();
        (core.agent, core.source) = (agent, source);
        let (updated, version, conflicts) = (row.hlc, version_of([dot]), BTreeMap::new());
        Resolved { dot, core, row, fields, author, edited: false, updated, version, conflicts, seen_at, more: false }
    }

    /// Takes over the value of a field that is shown.
    fn show(&self, field: &FieldSpec, value: &FieldValue, shown: &mut Resolved) -> Result<(), StoreError> {
        if !field.set(&mut shown.core, value.value.clone()) {
            return Err(rows::unreadable(Table::Live));
        }
        let FieldValue { author, ref origin, .. } = *value;
        if field.name == Field::TEXT {
            (shown.author, shown.edited) = (author, value.edited);
            (shown.core.agent, shown.core.source) = (origin.agent.clone(), origin.source);
        }
        if value.said {
            let Origin { agent, source, .. } = origin.clone();
            let (author_name, at) = (self.name_of(&author), value.hlc.time());
            shown.fields.insert(field.name, Provenance { author, author_name, agent, source, at });
        }
        Ok(())
    }

    fn conflict_value(&self, value: &FieldValue) -> ConflictValue {
        let (author, author_name) = (value.author, self.name_of(&value.author));
        ConflictValue { value: value.value.clone(), author, author_name, at: value.hlc.time() }
    }
}

impl Part {
    /// The origin of a live write: what was said beside it, in the same entry.
    fn origin_of(&self, write: &LiveWrite) -> Origin {
        let beside = |field| {
            let writes = self.live.get(&Field::named(field)).into_iter().flatten();
            writes.into_iter().find(|other| other.dot.entry == write.dot.entry)
        };
        let by = beside(Field::BY).map(|by| Origin::parse(&by.row.value)).unwrap_or_default();
        if !by.is_empty() {
            return by;
        }
        let meta = beside(Field::META).and_then(|meta| serde_json::from_str(&meta.row.value).ok());
        Origin::new(meta.and_then(|meta| agent_in(&meta)), None)
    }
}

/// The distinct values of a field in records that are shown as one, latest first, and whether there are more. Those of
/// the lowest dots are read.
fn field_values(parts: &[Part], field: &FieldSpec) -> Result<(Vec<FieldValue>, bool), StoreError> {
    let name = Field::named(field.name);
    let mut sources: Vec<(Dot, &Part, Option<&LiveWrite>)> = Vec::new();
    for part in parts {
        match part.live.get(&name) {
            Some(live) => sources.extend(live.iter().map(|write| (write.dot, part, Some(write)))),
            None => sources.push((part.record.dot, part, None)),
        }
    }
    let more = sources.len() > TOGETHER_MAX;
    if more {
        sources.sort_by_key(|(dot, ..)| *dot);
        sources.truncate(TOGETHER_MAX);
    }
    let mut values = Vec::with_capacity(sources.len());
    for (dot, part, write) in sources {
        values.push(match write {
            None => FieldValue {
                value: field.get(&part.record.core),
                said: field.is_said(&part.record.core),
                edited: false,
                dot,
                hlc: part.record.row.hlc,
                author: part.record.author,
                origin: origin_of(&part.record.core),
            },
            Some(write) => FieldValue {
                value: depth::shown(field.read(&write.row.value).ok_or_else(|| rows::unreadable(Table::Live))?),
                said: true,
                edited: true,
                dot,
                hlc: write.row.hlc,
                author: write.author,
                origin: part.origin_of(write),
            },
        });
    }
    values.sort_by_key(|value| std::cmp::Reverse((value.hlc, value.dot)));
    let mut distinct: Vec<FieldValue> = Vec::new();
    for value in values {
        if !distinct.iter().any(|known| known.value == value.value) {
            distinct.push(value);
        }
    }
    Ok((distinct, more))
}

/// The origin of what a record was created with.
pub(super) fn origin_of(core: &Core) -> Origin {
    let origin = core.origin();
    if origin.is_empty() { Origin::new(agent_in(&core.meta), None) } else { origin }
}

/// The agent's name where nodes kept it before a memory had an origin: in its metadata.
fn agent_in(meta: &BTreeMap<String, Value>) -> Option<AgentName> {
    AgentName::cut_from(meta.get("agent")?.get("name")?.as_str()?)
}
