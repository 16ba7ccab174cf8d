//! Quotas: how much a node takes of one member's entries. All keys of a member have one quota together: a new key brings
//! no more room.
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

/// The part of a quota that the entries of former keys in the mesh's own space may use. A thief of such a key can
/// still write there, and must not fill the quota of the present one.
const FORMER_IN_MESH_SPACE: u64 = 16;

/// The part of a quota for the memories of a key that is known from the gate alone. It may be the new key of a member
/// whose entries are here already: the word of whoever admitted it says so.
const UNHEARD: u64 = 16;

/// The part of the incarnations that the present key of a member has whatever its former keys have.
const KEPT_FOR_PRESENT: u64 = 4;

/// The most that a node takes of the entries of one other member, by all of its keys. Its own entries have no quota.
///
/// A member that has reached a quota is not asked for more until there is room again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Quotas {
    /// Bytes of a writer's entries in all spaces together, by all of its keys: headers, signatures and payloads.
    pub writer_bytes: u64,
    /// Entries of a writer in all spaces together.
    pub writer_entries: u64,
    /// Bytes of a reader's entries, counted in the same way.
    pub reader_bytes: u64,
    /// Incarnations of a member's log in one space. Each former key has one more.
    pub incarnations: u64,
    /// Logs of a member in all spaces together, by all of its keys.
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

/// The use of the store by a member with all of its keys, asked for one of these.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct LineUsage {
    /// That of all keys together.
    pub(crate) all: UsageRow,
    /// The bytes of former keys in the mesh's own space.
    former_mesh_bytes: u64,
    /// Whether another key has taken the place of the asked one.
    is_former: bool,
    /// Whether nobody's log here says since when it is a key.
    is_unheard: bool,
}

impl LineUsage {
    /// The use by the line of an author, from that of each key.
    pub(crate) fn of<E>(
        members: &Members,
        author: &Did,
        mut usage_of: impl FnMut(&Did) -> Result<UsageRow, E>,
    ) -> Result<Self, E> {
        let is_unheard = !members.is_written_by_issuer(author) && !planted("quotas_by_key");
        if !members.has_lines() {
            return Ok(Self { all: usage_of(author)?, is_unheard, ..Self::default() });
        }
        let mut line = Self { is_unheard, ..Self::default() };
        for key in members.line(author) {
            let usage = usage_of(&key)?;
            let is_former = members.present_key(&key) != key;
            line.is_former |= is_former && key == *author;
            line.former_mesh_bytes =
                line.former_mesh_bytes.saturating_add(if is_former { usage.mesh_bytes } else { 0 });
            line.all.bytes = line.all.bytes.saturating_add(usage.bytes);
            line.all.entries = line.all.entries.saturating_add(usage.entries);
            line.all.logs = line.all.logs.saturating_add(usage.logs);
        }
        Ok(line)
    }
}

/// The logs of one space: those of a key, and those of all keys of its line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Incarnations {
    /// The usage of the key.
    pub(crate) own: u64,
    /// The usage of all keys.
    pub(crate) line: u64,
    /// The keys of the line that are not the asked one.
    pub(crate) others: u64,
    /// Whether another key has taken the place of the asked one.
    pub(crate) is_former: bool,
}

impl Incarnations {
    /// The logs of an author's line in a space, from the number of each key.
    pub(crate) fn of(members: &Members, author: &Did, mut logs_of: impl FnMut(&Did) -> u64) -> Self {
        let own = logs_of(author);
        if !members.has_lines() {
            return Self { own, line: own, ..Self::default() };
        }
        let mut all = Self { own, line: own, others: 0, is_former: members.present_key(author) != *author };
        for key in members.line(author).into_iter().filter(|key| key != author) {
            all.line = all.line.saturating_add(logs_of(&key));
            all.others += 1;
        }
        all
    }
}

impl Quotas {
    /// The quota that a member has reached by the size of its entries. Asked for more of them by one of its keys, in the
    /// mesh's own space or in any other.
    pub(crate) fn size_reached(&self, usage: &LineUsage, writes: bool, in_mesh_space: bool) -> Option<Quota> {
        if planted("takes_any_amount") {
            return None;
        }
        let (bytes, key) =
            if writes { (self.writer_bytes, "writer_bytes_max") } else { (self.reader_bytes, "reader_bytes_max") };
        let limit = |max: u64| match in_mesh_space {
            true => max,
            false if usage.is_unheard => max / UNHEARD,
            false if writes => max - max / KEPT_FOR_MESH_SPACE,
            false => max,
        };
        let former = usage.is_former && in_mesh_space && usage.former_mesh_bytes >= bytes / FORMER_IN_MESH_SPACE;
        if former || usage.all.bytes >= limit(bytes) {
            return Some(Quota::Bytes { max: bytes, key });
        }
        (usage.all.entries >= limit(self.writer_entries)).then_some(Quota::Entries { max: self.writer_entries })
    }

    /// The quota that keeps a member from beginning another log anywhere.
    pub(crate) fn logs_reached(&self, usage: &LineUsage) -> Option<Quota> {
        (usage.all.logs >= self.logs).then_some(Quota::Logs { max: self.logs })
    }

    /// The quota that keeps a key from beginning another log in a space where it and the others of its line have so many.
    pub(crate) fn incarnations_reached(&self, logs: Incarnations) -> Option<Quota> {
        let max = self.incarnations;
        let has_own = !logs.is_former && logs.own < max / KEPT_FOR_PRESENT;
        (logs.line >= max.saturating_add(logs.others) && !has_own).then_some(Quota::Incarnations { max })
    }
}

/// Whether an author's quota is a writer's.
pub(crate) fn is_writer(members: &Members, author: &Did) -> bool {
    members.allowed_once(author, Role::Member)
}

/// Whether a reader's entries of a kind are taken: it says who it is, and what it has erased.
pub(crate) const fn readers_write(kind: Kind) -> bool {
    matches!(kind, Kind::CREDENTIAL | Kind::PROFILE | Kind::REVOCATION | Kind::CONFIRMATION)
}

impl UsageRow {
    /// Counts one more entry. `begins` says whether it is the first one of its log here.
    pub(crate) fn add(&mut self, entry: &Verified, begins: bool) {
        self.entries += 1;
        self.bytes += Self::bytes_of(entry);
        self.logs += u64::from(begins);
    }

    /// The bytes of an entry in the count.
    pub(crate) fn bytes_of(entry: &Verified) -> u64 {
        let bytes = entry.header_bytes().len() + entry.signature().as_bytes().len();
        // an emptied payload counts like a whole one: the sum is a function of the set of entries
        bytes as u64 + u64::from(entry.header().payload_len)
    }
}

/// The use of the store by one author.
pub(crate) fn usage_of(view: &dyn View, author: &Did) -> Result<UsageRow, StoreError> {
    let row = view.get(Table::Usage, author.as_bytes())?;
    let mut usage: UsageRow = row.map_or(Ok(UsageRow::default()), |row| rows::decode(Table::Usage, &row))?;
    let key = rows::mesh_usage_key(author);
    if let Some(row) = view.get(Table::Usage, &key)? {
        usage.mesh_bytes = rows::mesh_usage(&key, &row).ok_or_else(|| rows::unreadable(Table::Usage))?.1;
    }
    Ok(usage)
}

/// The use of the store by every author, ascending.
pub(crate) fn read_usage(view: &dyn View) -> Result<Vec<(Did, UsageRow)>, StoreError> {
    let mut usage: Vec<(Did, UsageRow)> = Vec::new();
    view.try_scan(Table::Usage, ALL_KEYS, Order::Forward, &mut |key, row| {
        match rows::mesh_usage(key, row) {
            // it comes right after the author's
            Some((author, bytes)) => {
                if let Some((_, usage)) = usage.last_mut().filter(|(last, _)| *last == author) {
                    usage.mesh_bytes = bytes;
                }
            }
            None => {
                let author = key.try_into().map(Did::from_bytes).map_err(|_| rows::unreadable(Table::Usage))?;
                usage.push((author, rows::decode(Table::Usage, row)?));
            }
        }
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
