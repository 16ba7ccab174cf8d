//! Quotas: how much a node takes of one author's entries.
//!
//! They bound what is taken, never what counts: an entry that is held counts whatever the quotas say.

use std::fmt;

use nexus_crdt::{Kind, LogId, Members, SpaceId, Verified};
use nexus_identity::plants::planted;
use nexus_identity::{Did, Role};

use super::rows::{self, UsageRow};
use crate::store::{ALL_KEYS, Order, StoreError, Table, View};

/// The part of a writer's quota that only its entries in the mesh's own space may use. So the credentials
/// of an author whose memories fill its quota still arrive.
const KEPT_FOR_MESH_SPACE: u64 = 16;

/// The most that a node takes of the entries of one other author. Its own entries have no quota.
///
/// An author that has reached a quota is not asked for more until there is room again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Quotas {
    /// Bytes of a writer's entries in all spaces together: headers, signatures and payloads.
    pub writer_bytes: u64,
    /// Entries of a writer in all spaces together.
    pub writer_entries: u64,
    /// Bytes of a reader's entries, counted in the same way.
    pub reader_bytes: u64,
    /// Incarnations of an author's log in one space.
    pub incarnations: u64,
    /// Logs of an author in all spaces together.
    pub logs: u64,
}

impl Default for Quotas {
    fn default() -> Self {
        Self { writer_bytes: 1 << 30, writer_entries: 2_000_000, reader_bytes: 1 << 20, incarnations: 64, logs: 16_384 }
    }
}

/// A quota that an author has reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Quota {
    Bytes { max: u64, key: &'static str },
    Entries { max: u64 },
    Incarnations { max: u64 },
    Logs { max: u64 },
}

impl Quota {
    /// The setting that moves it, if there is one.
    pub(crate) const fn key(self) -> Option<&'static str> {
        match self {
            Self::Bytes { key, .. } => Some(key),
            Self::Entries { .. } => Some("writer_entries_max"),
            Self::Incarnations { .. } => Some("incarnations_max"),
            Self::Logs { .. } => None,
        }
    }
}

impl fmt::Display for Quota {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bytes { max, .. } => write!(f, "{max} bytes"),
            Self::Entries { max } => write!(f, "{max} entries"),
            Self::Incarnations { max } => write!(f, "{max} incarnations in one space"),
            Self::Logs { max } => write!(f, "{max} logs"),
        }
    }
}

impl Quotas {
    /// The quota that an author has reached by the size of its entries, for more of them in the mesh's own
    /// space or in any other.
    pub(crate) fn size_reached(&self, usage: &UsageRow, writes: bool, in_mesh_space: bool) -> Option<Quota> {
        if planted("takes_any_amount") {
            return None;
        }
        let (bytes, key) =
            if writes { (self.writer_bytes, "writer_bytes_max") } else { (self.reader_bytes, "reader_bytes_max") };
        let limit = |max: u64| if writes && !in_mesh_space { max - max / KEPT_FOR_MESH_SPACE } else { max };
        if usage.bytes >= limit(bytes) {
            return Some(Quota::Bytes { max: bytes, key });
        }
        (usage.entries >= limit(self.writer_entries)).then_some(Quota::Entries { max: self.writer_entries })
    }

    /// The quota that keeps an author from beginning another log anywhere.
    pub(crate) fn logs_reached(&self, usage: &UsageRow) -> Option<Quota> {
        (usage.logs >= self.logs).then_some(Quota::Logs { max: self.logs })
    }

    /// The quota that keeps an author from beginning another log in a space where it has so many.
    pub(crate) fn incarnations_reached(&self, logs: u64) -> Option<Quota> {
        (logs >= self.incarnations).then_some(Quota::Incarnations { max: self.incarnations })
    }
}

/// Whether an author's quota is a writer's.
pub(crate) fn is_writer(members: &Members, author: &Did) -> bool {
    members.allowed_once(author, Role::Member)
}

/// Whether a reader's entries of a kind are taken: it says who it is, and nothing else.
pub(crate) const fn readers_write(kind: Kind) -> bool {
    matches!(kind, Kind::CREDENTIAL | Kind::PROFILE | Kind::REVOCATION)
}

impl UsageRow {
    /// Counts one more entry. `begins` says whether it is the first one of its log here.
    pub(crate) fn add(&mut self, entry: &Verified, begins: bool) {
        let bytes = entry.header_bytes().len() + entry.signature().as_bytes().len();
        self.entries += 1;
        // an emptied payload counts like a whole one: the sum is a function of the set of entries
        self.bytes += bytes as u64 + u64::from(entry.header().payload_len);
        self.logs += u64::from(begins);
    }
}

/// The use of the store by one author.
pub(crate) fn usage_of(view: &dyn View, author: &Did) -> Result<UsageRow, StoreError> {
    let row = view.get(Table::Usage, author.as_bytes())?;
    row.map_or(Ok(UsageRow::default()), |row| rows::decode(Table::Usage, &row))
}

/// The use of the store by every author.
pub(crate) fn read_usage(view: &dyn View) -> Result<Vec<(Did, UsageRow)>, StoreError> {
    let mut usage = Vec::new();
    view.try_scan(Table::Usage, ALL_KEYS, Order::Forward, &mut |key, row| {
        let author = key.try_into().map(Did::from_bytes).map_err(|_| rows::unreadable(Table::Usage))?;
        usage.push((author, rows::decode(Table::Usage, row)?));
        Ok(std::ops::ControlFlow::Continue(()))
    })?;
    Ok(usage)
}

/// How many of these logs each author has in each space. Logs of one author and space come together.
pub(crate) fn logs_by_place<'a>(logs: impl Iterator<Item = &'a LogId>) -> Vec<(SpaceId, Did, u64)> {
    let mut counts: Vec<(SpaceId, Did, u64)> = Vec::new();
    for log in logs {
        match counts.last_mut() {
            Some((space, author, count)) if (*space, *author) == (log.space, log.author) => *count += 1,
            _ => counts.push((log.space, log.author, 1)),
        }
    }
    counts
}
