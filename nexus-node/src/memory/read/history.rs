//! A memory's past.

use std::collections::{BTreeMap, BTreeSet};

use nexus_crdt::{Core, Dot, FIELDS, Field, Hlc, Origin, version_of};
use nexus_identity::Did;
use serde_json::Value;

use super::Reader;
use super::resolved::origin_of;
use crate::error::{NodeError, Resource};
use crate::ledger::{LIVE_WRITES_MAX, TOGETHER_MAX, read_writes, rows};
use crate::memory::{Revision, depth};
use crate::store::Table;

/// The most live dots of which a revision has the version: all that a memory shows, with the records themselves.
const VERSION_DOTS_MAX: usize = LIVE_WRITES_MAX + TOGETHER_MAX;

/// One write of a memory.
struct Step {
    hlc: Hlc,
    dot: Dot,
    author: Did,
    changed: BTreeMap<String, Value>,
    origin: Option<Origin>,
    over: Vec<Dot>,
}

impl Reader<'_> {
    /// A memory's past, oldest first.
    pub(crate) fn history(&self, id: &str) -> Result<Vec<Revision>, NodeError> {
        let missing = || NodeError::NotFound { what: Resource::Memory, name: id.to_owned() };
        let record = self.record(self.resolve(id)?)?.ok_or_else(missing)?;
        let mut steps = Vec::new();
        for part in self.group(&record, TOGETHER_MAX)? {
            self.steps_of(part, &mut steps)?;
        }
        steps.sort_by_key(|step| (step.hlc, step.dot));
        Ok(revisions(steps))
    }

    fn steps_of(&self, part: Dot, steps: &mut Vec<Step>) -> Result<(), NodeError> {
        let Some(record) = self.record(part)? else {
            return Ok(());
        };
        steps.push(Step {
            hlc: record.row.hlc,
            dot: part,
            author: record.author,
            changed: said_by(&record.core),
            origin: Some(origin_of(&record.core)),
            over: Vec::new(),
        });
        for table in [Table::Live, Table::Past] {
            for (field, dot, row) in read_writes(self.view, table, record.row.space, part)? {
                let value = serde_json::from_str(&row.value).map(depth::shown).map_err(|_| rows::unreadable(table))?;
                let by = field.as_str() == Field::BY;
                steps.push(Step {
                    hlc: row.hlc,
                    dot,
                    author: self.author(row.log)?,
                    origin: by.then(|| Origin::parse(&row.value)),
                    changed: if by { BTreeMap::new() } else { BTreeMap::from([(field.as_str().to_owned(), value)]) },
                    over: row.over,
                });
            }
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
fn revisions(steps: Vec<Step>) -> Vec<Revision> {
    let mut live = BTreeSet::new();
    let mut past: Vec<Revision> = Vec::new();
    let mut last_entry = None;
    for Step { hlc, dot, author, changed, origin, over } in steps {
        live.insert(dot);
        for over in over {
            live.remove(&over);
        }
        let same = last_entry == Some(dot.entry);
        last_entry = Some(dot.entry);
        if !same {
            let (version, changed) = (String::new(), BTreeMap::new());
            past.push(Revision { version, at: hlc.time(), by: author, agent: None, source: None, changed });
        }
        if let Some(revision) = past.last_mut() {
            revision.version = version_of(live.iter().copied().take(VERSION_DOTS_MAX));
            revision.changed.extend(changed);
            if let Some(Origin { agent, source, .. }) = origin {
                (revision.agent, revision.source) = (agent, source);
            }
        }
    }
    past
}
