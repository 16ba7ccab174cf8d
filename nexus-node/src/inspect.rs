//! Reads a store without a node, for tests of other crates (feature `testing`).

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::sync::Arc;

use nexus_crdt::{AgentName, DotPrefix, Frontier, Members, Source};
use nexus_identity::{Did, Timestamp};

use crate::ledger;
use crate::memory::read::Reader;
use crate::memory::{ListQuery, Memory, MemoryId};
use crate::store::{ALL_KEYS, Order, StoreError, Table, View};
use crate::{Brain, NodeError};

/// The frontier of a store.
///
/// # Errors
/// An error of the view.
pub fn frontier(view: &dyn View) -> Result<Frontier, StoreError> {
    let logs = ledger::read_logs(view)?;
    Ok(logs.into_iter().filter_map(|(_, log, head)| Some((log, head?))).collect())
}

/// Every memory that a store shows to one of its members, newest first. Expired ones are included.
///
/// # Errors
/// An error of the view.
pub fn memories(view: &dyn View, me: Did, members: Arc<Members>) -> Result<Vec<Memory>, NodeError> {
    let reader = Reader::new(view, [0; 8], me, members, Timestamp::from_ms(0))?;
    let mut all = Vec::new();
    let mut after = None;
    loop {
        let page = reader.list(&ListQuery { limit: 1_000, after, ..ListQuery::default() })?;
        all.extend(page.items);
        after = page.next;
        if after.is_none() {
            return Ok(all);
        }
    }
}

/// The format of the entry that a memory began with, from 1; `None` if it is not in the store.
///
/// # Errors
/// An error of the view.
pub fn format_of(view: &dyn View, memory: MemoryId) -> Result<Option<u16>, StoreError> {
    let Ok(prefix) = memory.to_string().parse::<DotPrefix>() else { return Ok(None) };
    for eno in 1..=ledger::last_eno(view)? {
        if let Some(entry) = ledger::read_entry(view, eno)?
            && prefix.dot_in(entry.id()).is_some()
        {
            return Ok(Some(entry.header().format()));
        }
    }
    Ok(None)
}

/// The names of texts that are in a row of a node's store, each with the table and the key. Each text comes with a name.
///
/// # Errors
/// An error of the store.
pub fn found_in_rows(brain: &Brain, texts: &[(&str, &str)]) -> Result<BTreeSet<String>, NodeError> {
    let (snapshot, mut found) = (brain.snapshot()?, BTreeSet::new());
    for table in Table::ALL {
        snapshot.scan(*table, ALL_KEYS, Order::Forward, &mut |key, value| {
            for (name, text) in texts {
                if value.windows(text.len()).any(|bytes| bytes == text.as_bytes()) {
                    found.insert(format!("{name} in {} {}", table.name(), place_of(&snapshot, *table, key)));
                }
            }
            ControlFlow::Continue(())
        })?;
    }
    Ok(found)
}

/// The entry of a payload, for people; else the key.
fn place_of(view: &dyn View, table: Table, key: &[u8]) -> String {
    let eno = key.try_into().map(u64::from_be_bytes).ok().filter(|_| table == Table::Payloads);
    let entry = eno.and_then(|eno| ledger::read_entry(view, eno).ok().flatten());
    entry.map_or_else(|| format!("{key:?}"), |entry| format!("{:?} by {:?}", entry.id(), entry.header().author))
}

/// A digest of all that a memory shows.
pub fn digest_of(memory: &Memory) -> [u8; 16] {
    // no `..`: a new field must be compared, too
    let Memory {
        // each node checks it by itself, and a view without a node does not
        imported: _,
        id,
        was,
        was_at,
        space,
        text,
        attachment,
        kind,
        tags,
        meta,
        aliases,
        author,
        author_name,
        agent,
        source,
        edited_by,
        created_at,
        // each node sees it at its own time
        seen_at: _,
        updated_at,
        expires_at,
        valid_from,
        valid_to,
        supersedes,
        version,
        fields,
        conflicts,
        more,
    } = memory;
    let mut bytes = Vec::with_capacity(256 + text.len());
    let id = id.to_string();
    let texts = [&id, space, text, kind, version].into_iter().chain(tags);
    bytes.extend_from_slice(&was_at.map_or(0, nexus_identity::Timestamp::as_ms).to_le_bytes());
    for text in texts.chain(was).chain(author_name).chain(aliases) {
        bytes.extend_from_slice(&(text.len() as u64).to_le_bytes());
        bytes.extend_from_slice(text.as_bytes());
    }
    bytes.extend_from_slice(author.as_bytes());
    let written_by = [("", author, author_name, agent, source, created_at)].into_iter();
    let of_fields =
        fields.iter().map(|(name, from)| (*name, &from.author, &from.author_name, &from.agent, &from.source, &from.at));
    for (name, author, called, agent, source, at) in written_by.chain(of_fields) {
        let source = source.map_or("", Source::as_str);
        let texts = [name, called.as_deref().unwrap_or_default(), agent.as_ref().map_or("", AgentName::as_str), source];
        for text in texts {
            bytes.extend_from_slice(&(text.len() as u64).to_le_bytes());
            bytes.extend_from_slice(text.as_bytes());
        }
        bytes.extend_from_slice(author.as_bytes());
        bytes.extend_from_slice(&at.as_ms().to_le_bytes());
    }
    bytes.extend_from_slice(edited_by.as_ref().map_or(&[0; 32], |editor| editor.as_bytes()));
    let (was, named) = (u64::from(was.is_some()), u64::from(author_name.is_some()));
    let ends_at = expires_at.map_or(u64::MAX, |at| at.as_ms());
    for number in [tags.len() as u64, was, named, created_at.as_ms(), updated_at.as_ms(), ends_at] {
        bytes.extend_from_slice(&number.to_le_bytes());
    }
    if valid_from.is_some() || valid_to.is_some() || supersedes.is_some() {
        bytes.extend_from_slice(format!("{valid_from:?} {valid_to:?} {supersedes:?}").as_bytes());
    }
    if let Some(attachment) = attachment {
        bytes.extend_from_slice(format!("{attachment:?}").as_bytes());
    }
    // most memories have neither, and writing them out costs more than all the rest
    if !meta.is_empty() || !conflicts.is_empty() || *more {
        bytes.extend_from_slice(format!("{meta:?} {conflicts:?} {more}").as_bytes());
    }
    let mut short = [0; 16];
    short.copy_from_slice(&blake3::hash(&bytes).as_bytes()[..16]);
    short
}
