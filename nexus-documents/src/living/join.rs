//! Changes that join branches. A change comes after a bounded number of others, and a document may have more branches than that.

use std::collections::BTreeSet;

use crate::change::{Change, DEPS_MAX, chunk, length};
use crate::hash::ChangeHash;
use crate::living::edit::Made;
use crate::living::error::EditError;
use crate::living::{HistoryItem, Living};

/// The most bytes of a joining change beside the hashes of those before it.
const HEAD_BYTES: usize = 256;

impl Living {
    /// Joins branches until an edit can come after all of them. Each change joins as many as a change can.
    pub(super) fn join(&mut self, actor: &[u8], time: i64, max_bytes: usize) -> Result<Vec<Made>, EditError> {
        let at_once = (max_bytes.saturating_sub(HEAD_BYTES) / 32).min(DEPS_MAX);
        let mut made = Vec::new();
        while self.heads.len() >= DEPS_MAX {
            if at_once < 2 {
                return Err(EditError::Branches(self.heads.len()));
            }
            let change = self.joining(actor, time, at_once)?;
            self.apply([change.bytes.as_slice()])?;
            made.push(change);
        }
        Ok(made)
    }

    /// A change without operations that comes after some of the heads. Changes of one actor come after each other, so that head
    /// is among them which comes after the actor's last change.
    fn joining(&self, actor: &[u8], time: i64, at_once: usize) -> Result<Made, EditError> {
        let own = self.head_after_last_of(actor);
        let others = self.heads.iter().filter(|head| Some(**head) != own).copied();
        let deps: BTreeSet<ChangeHash> = own.into_iter().chain(others).take(at_once).collect();
        let seq = self.changes.iter().filter(|item| &*item.actor == actor).map(|item| item.seq).max().unwrap_or(0) + 1;
        let mut data = length(deps.len());
        deps.iter().for_each(|dep| data.extend_from_slice(&dep.0));
        data.extend(length(actor.len()));
        data.extend_from_slice(actor);
        data.extend(unsigned(seq));
        data.extend(unsigned(self.highest_of(&deps) + 1));
        data.extend(signed(time));
        // no message, no other actors, no columns
        data.extend_from_slice(&[0, 0, 0]);
        let bytes = chunk(&data);
        let hash = Change::parse(&bytes).map_err(EditError::Refused)?.hash();
        Ok(Made { hash, bytes })
    }

    fn head_after_last_of(&self, actor: &[u8]) -> Option<ChangeHash> {
        let last = self.changes.iter().rposition(|item| &*item.actor == actor)?;
        let mut after: BTreeSet<ChangeHash> = BTreeSet::new();
        for (at, item) in self.changes.iter().enumerate().skip(last) {
            if at == last || item.deps.iter().any(|dep| after.contains(dep)) {
                after.insert(item.hash);
            }
        }
        self.heads.iter().find(|head| after.contains(head)).copied()
    }

    /// The highest counter of an operation of some changes and their ancestors.
    fn highest_of(&self, heads: &BTreeSet<ChangeHash>) -> u64 {
        let (mut seen, mut next, mut highest) = (BTreeSet::new(), Vec::from_iter(heads), 0);
        while let Some(hash) = next.pop() {
            let Some(item) = self.known.get(hash).and_then(|at| self.changes.get(*at)) else { continue };
            if seen.insert(hash) {
                let HistoryItem { start, ops, deps, .. } = item;
                highest = highest.max(start.saturating_add(*ops).saturating_sub(1));
                next.extend(deps.iter());
            }
        }
        highest
    }
}

/// A number in LEB128.
fn unsigned(number: u64) -> Vec<u8> {
    length(usize::try_from(number).unwrap_or(usize::MAX))
}

/// A number in signed LEB128.
fn signed(mut number: i64) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let part = (number & 0x7f) as u8;
        number >>= 7;
        let is_last = (number == 0 && part & 0x40 == 0) || (number == -1 && part & 0x40 != 0);
        bytes.push(if is_last { part } else { part | 0x80 });
        if is_last {
            return bytes;
        }
    }
}
