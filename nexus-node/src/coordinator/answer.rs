//! Answers from the state applied here, and their bytes.

use std::io;

use super::applied::CopyState;
use super::command::is_bytes;
use super::format;
use super::format::encode;
use super::query::{Answer, Content, Query};
use super::state::{CriticalChange, CriticalEvent};

/// The most keys of a page.
const PAGE_MAX: usize = 1_000;
/// The most bytes of keys and values in a page, so that it fits a frame.
const PAGE_BYTES_MAX: usize = 512 * 1024;

impl Answer {
    /// Whether a reader of this format can be told it: formats before [`format::BYTES`] have texts alone.
    pub(super) fn is_for(&self, format: u16) -> bool {
        format >= format::BYTES
            || match &self.found {
                Content::Items { items, .. } => items.iter().all(|(_, item)| !is_bytes(&item.value)),
                Content::Changes(Some(changes)) => changes
                    .iter()
                    .all(|change| !matches!(&change.event, CriticalEvent::Put { value, .. } if is_bytes(value))),
                Content::Changes(None) | Content::Locks { .. } | Content::Nothing => true,
            }
    }

    /// Its bytes, for a reader of this format.
    pub(super) fn encode(&self, format: u16) -> Vec<u8> {
        let Self { revision, index, raised, found } = self;
        match format {
            0 => encode(&(revision, index, found)),
            _ => encode(&(revision, index, raised, found)),
        }
    }

    /// The answer in bytes of this format.
    ///
    /// # Errors
    /// The bytes are no answer.
    pub(super) fn decode(format: u16, bytes: &[u8]) -> io::Result<Self> {
        let (revision, index, raised, found) = match format {
            0 => {
                let (revision, index, found) = borsh::from_slice(bytes)?;
                (revision, index, 0, found)
            }
            _ => borsh::from_slice(bytes)?,
        };
        Ok(Self { revision, index, raised, found })
    }
}

impl CopyState {
    /// Answers from the state applied here.
    pub(crate) fn answer(&self, index: u64, query: &Query) -> Answer {
        let machine = &self.machine;
        let found = match query {
            Query::Get(key) => {
                let items = machine.get(key).map(|item| (key.clone(), item.clone()));
                Content::Items { items: items.into_iter().collect(), more: false }
            }
            Query::List { prefix, after, limit } => {
                let all = machine.list(prefix, after.as_deref());
                let (items, more) = page(all, *limit as usize, |(key, item)| key.len() + item.value.len());
                Content::Items { items, more }
            }
            Query::Locks { after } => {
                let all = machine.locks().filter(|(name, _)| after.as_ref().is_none_or(|after| *name > after));
                let (locks, more) = page(all, PAGE_MAX, |(name, lock)| name.len() + 128 * (1 + lock.line.len()));
                Content::Locks { locks, more }
            }
            Query::Lock(name) => {
                let locks = machine.lock(name).map(|lock| (name.clone(), lock.clone()));
                Content::Locks { locks: locks.into_iter().collect(), more: false }
            }
            Query::Changes { prefix, after } => {
                let changes = self.changes_after(*after);
                Content::Changes(changes.map(|changes| batch(changes.filter(|change| change.is_under(prefix)))))
            }
            Query::Revision => Content::Nothing,
        };
        Answer { revision: machine.revision(), index, raised: machine.format(), found }
    }
}

fn page<'a, T: Clone + 'a>(
    all: impl Iterator<Item = (&'a String, &'a T)>,
    limit: usize,
    size: impl Fn((&String, &T)) -> usize,
) -> (Vec<(String, T)>, bool) {
    let (mut taken, mut bytes) = (Vec::new(), 0);
    for (name, value) in all {
        bytes += size((name, value));
        if taken.len() >= limit.min(PAGE_MAX) || (bytes > PAGE_BYTES_MAX && !taken.is_empty()) {
            return (taken, true);
        }
        taken.push((name.clone(), value.clone()));
    }
    (taken, false)
}

/// The first changes that fit a frame. Those of one revision stay together.
fn batch<'a>(changes: impl Iterator<Item = &'a CriticalChange>) -> Vec<CriticalChange> {
    let (mut taken, mut bytes): (Vec<CriticalChange>, usize) = (Vec::new(), 0);
    // the changes of earlier revisions, which may go without the last one's
    let mut whole = 0;
    for change in changes {
        if taken.last().is_none_or(|last| last.revision != change.revision) {
            whole = taken.len();
        }
        bytes += change.size();
        if bytes > PAGE_BYTES_MAX && whole > 0 {
            taken.truncate(whole);
            break;
        }
        taken.push(change.clone());
    }
    taken
}
