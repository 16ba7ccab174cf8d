//! A memory's past.

use std::collections::{BTreeMap, BTreeSet};

use nexus_crdt::{Core, Dot, FIELDS, Field, Hlc, Origin, version_of};
use nexus_identity::Did;
use serde_json::Value;

use super::Reader;
use super::resolved::origin_of;
use crate::error::{NodeError, Resource};
use crate::ledger::{LIVE_WRITES_MAX, TOGETHER_MAX, each_write, rows};
use crate::memory::{Revision, depth};
use crate::store::Table;

/// The most live dots of which a revision has the version: all that a memory shows, with the records themselves.
const VERSION_DOTS_MAX: usize = LIVE_WRITES_MAX + TOGETHER_MAX;
/// The most bytes of a history. Members choose how often they write a memory.
const HISTORY_BYTES_MAX: usize = 8 << 20;
/// The bytes that a write takes besides its value.
const STEP_BYTES: usize = 256;

/// One write of a memory.
struct Step {
    author: Did,
    /// The field and its value as JSON text.
    written: Written,
    over: Vec<Dot>,
}

enum Written {
    Record(Box<Core>),
    Field(Field, String),
}

impl Step {
    fn bytes(&self) -> usize {
        let written = match &self.written {
            Written::Record(core) => core.to_json().len(),
            Written::Field(_, value) => value.len(),
        };
        STEP_BYTES + written + self.over.len() * size_of::<Dot>()
    }
}

/// The latest writes of a memory within a bound in bytes, by stamp.
#[derive(Default)]
struct Past {
    steps: BTreeMap<(Hlc, Dot), (Step, usize)>,
    bytes: usize,
    /// Whether earlier ones were left out.
    earlier: bool,
    /// The lowest dots that live on, of those left out.
    live: BTreeSet<Dot>,
}

impl Past {
    fn add(&mut self, at: (Hlc, Dot), lives: bool, step: Step, most: usize) {
        let bytes = step.bytes();
        self.bytes += bytes;
        if lives {
            self.live.insert(at.1);
            while self.live.len() > VERSION_DOTS_MAX {
                self.live.pop_last();
            }
        }
        self.steps.insert(at, (step, bytes));
        // the latest one is always shown
        while self.bytes > most && self.steps.len() > 1 {
            let Some((_, (_, bytes))) = self.steps.pop_first() else { break };
            self.bytes -= bytes;
            self.earlier = true;
        }
    }

    /// The dots that were live before the first step, as far as the steps and the present tell.
    fn before(&self) -> BTreeSet<Dot> {
        let shown: BTreeSet<Dot> = self.steps.keys().map(|(_, dot)| *dot).collect();
        let over = self.steps.values().flat_map(|(step, _)| step.over.iter());
        self.live.iter().chain(over).copied().filter(|dot| !shown.contains(dot)).collect()
    }
}

impl Reader<'_> {
    /// A memory's past, oldest first: the latest writes within 8 MiB.
    pub(crate) fn history(&self, id: &str) -> Result<Vec<Revision>, NodeError> {
        self.history_within(id, HISTORY_BYTES_MAX)
    }

    /// The same within a bound in bytes.
    pub(super) fn history_within(&self, id: &str, most: usize) -> Result<Vec<Revision>, NodeError> {
        let missing = || NodeError::NotFound { what: Resource::Memory, name: id.to_owned() };
        let record = self.record(self.resolve(id)?)?.ok_or_else(missing)?;
        let mut past = Past::default();
        for part in self.group(&record, TOGETHER_MAX)? {
            self.past_of(part.record, &mut past, most)?;
        }
        revisions(past)
    }

    fn past_of(&self, part: Dot, past: &mut Past, most: usize) -> Result<(), NodeError> {
        let Some(record) = self.record(part)? else {
            return Ok(());
        };
        let (space, at, author) = (record.row.space, (record.row.hlc, part), record.author);
        let written = Written::Record(Box::new(record.core));
        past.add(at, true, Step { author, written, over: Vec::new() }, most);
        for table in [Table::Live, Table::Past] {
            let mut failed = None;
            each_write(self.view, table, space, part, &mut |field, dot, row| {
                match self.author(row.log) {
                    Ok(author) => {
                        let step = Step { author, written: Written::Field(field, row.value), over: row.over };
                        past.add((row.hlc, dot), table == Table::Live, step, most);
                    }
                    Err(error) => failed = Some(error),
                }
                Ok(())
            })?;
            failed.map_or(Ok(()), Err)?;
        }
        Ok(())
    }
}

/// The fields of a creating write that people read.
fn said_by(core: &Core) -> BTreeMap<String, Value> {
    let said = FIELDS.iter().filter(|field| field.editable && field.is_said(core));
    said.map(|field| (field.name.to_owned(), field.get(core))).collect()
}

/// The writes of one entry are one revision.
fn revisions(past: Past) -> Result<Vec<Revision>, NodeError> {
    let (mut live, mut earlier) = (BTreeSet::new(), past.earlier);
    if earlier {
        live = past.before();
    }
    let mut revisions: Vec<Revision> = Vec::new();
    let mut last_entry = None;
    for ((hlc, dot), (Step { author, written, over }, _)) in past.steps {
        live.insert(dot);
        for over in over {
            live.remove(&over);
        }
        let same = last_entry == Some(dot.entry);
        last_entry = Some(dot.entry);
        if !same {
            let (version, changed, earlier) = (String::new(), BTreeMap::new(), std::mem::take(&mut earlier));
            let at = hlc.time();
            revisions.push(Revision { version, at, by: author, agent: None, source: None, changed, earlier });
        }
        let Some(revision) = revisions.last_mut() else { continue };
        revision.version = version_of(live.iter().copied().take(VERSION_DOTS_MAX));
        let origin = match written {
            Written::Record(core) => {
                revision.changed.extend(said_by(&core));
                origin_of(&core)
            }
            Written::Field(field, value) if field.as_str() == Field::BY => Origin::parse(&value),
            Written::Field(field, value) => {
                let value =
                    serde_json::from_str(&value).map(depth::shown).map_err(|_| rows::unreadable(Table::Past))?;
                revision.changed.insert(field.as_str().to_owned(), value);
                continue;
            }
        };
        (revision.agent, revision.source) = (origin.agent, origin.source);
    }
    Ok(revisions)
}
