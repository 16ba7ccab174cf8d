//! Whose records the audit keeps, and whose go if there is no room.
//!
//! A member writes as many requests as it likes, and refusals count. So each member's requests make room for its own
//! next ones first. Deeds that somebody may want to hide are kept apart from all others.

use std::collections::{BTreeMap, BTreeSet};

use borsh::{BorshDeserialize, BorshSerialize};
use nexus_identity::Did;

use crate::coordinator::state::{Action, DeedResult, Record};

/// The room for records on disk.
#[derive(Clone, Copy, Debug)]
pub(super) struct Room {
    /// For requests, in bytes.
    pub(super) common: u64,
    /// For the deeds that are kept apart, in bytes.
    pub(super) apart: u64,
}

/// The room of a node.
pub(super) const ROOM: Room = Room { common: 1024 * 1024 * 1024, apart: 256 * 1024 * 1024 };

impl Room {
    const fn of(self, part: Part) -> u64 {
        match part {
            Part::Common => self.common,
            Part::Apart => self.apart,
        }
    }
}

/// A part of the room.
#[derive(BorshSerialize, BorshDeserialize, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Part {
    /// Requests and their outcomes, refusals included.
    Common,
    /// Locks that were taken from another, changes of the voters, and all that an admin or the leader does to others.
    Apart,
}

/// The records of one member in one part.
#[derive(BorshSerialize, BorshDeserialize, Clone, Copy, Debug, Default)]
struct Share {
    bytes: u64,
    /// No record of it is before this deed.
    from: u64,
}

/// The records on disk, by part and member.
#[derive(BorshSerialize, BorshDeserialize, Clone, Debug, Default)]
pub(super) struct Shares {
    of: BTreeMap<(Part, Did), Share>,
    /// The number of deeds that were let go of.
    dropped: u64,
    /// The key that took the place of each former one, by the records. They have one share. In a row of its own.
    #[borsh(skip)]
    pub(super) heirs: BTreeMap<Did, Did>,
}

/// A member, by its last key, whose oldest records go.
#[derive(Clone, Copy, Debug)]
pub(super) struct Over {
    part: Part,
    by: Did,
    /// Its size may come down to this.
    down_to: u64,
    /// No record of it is before this deed.
    pub(super) from: u64,
}

impl Shares {
    /// The last key of a member's line, as far as records tell.
    fn owner(&self, by: Did) -> Did {
        let (mut last, mut seen) = (by, BTreeSet::from([by]));
        while let Some(next) = self.heirs.get(&last).filter(|next| seen.insert(**next)) {
            last = *next;
        }
        last
    }

    /// Notes that a key took the place of a former one, whose share it has from now on.
    fn inherit(&mut self, former: Did, member: Did) {
        if former == member || self.owner(member) == former {
            return;
        }
        let before = self.owner(former);
        self.heirs.insert(former, member);
        let now = self.owner(former);
        for part in [Part::Common, Part::Apart] {
            let Some(moved) = self.of.remove(&(part, before)).filter(|_| before != now) else { continue };
            let share = self.of.entry((part, now)).or_insert(Share { bytes: 0, from: moved.from });
            share.bytes = share.bytes.saturating_add(moved.bytes);
            share.from = share.from.min(moved.from);
        }
    }

    /// Whether a record is one of those that may go.
    pub(super) fn is_over(&self, over: &Over, record: &Record) -> bool {
        self.owner(record.by()) == over.by && part_of(record) == over.part
    }

    /// Adds a record.
    pub(super) fn take(&mut self, record: &Record, bytes: usize) {
        for (former, member) in record.successions() {
            self.inherit(former, member);
        }
        let share = self.of.entry((part_of(record), self.owner(record.by())));
        let share = share.or_insert(Share { bytes: 0, from: record.first });
        share.bytes = share.bytes.saturating_add(bytes as u64);
        share.from = share.from.min(record.first);
    }

    /// Takes a record out that will come again.
    pub(super) fn give(&mut self, record: &Record, bytes: usize) {
        let place = (part_of(record), self.owner(record.by()));
        if let Some(share) = self.of.get_mut(&place) {
            share.bytes = share.bytes.saturating_sub(bytes as u64);
            if share.bytes == 0 {
                self.of.remove(&place);
            }
        }
    }

    /// Takes a record out for good.
    pub(super) fn drop(&mut self, record: &Record, bytes: usize) {
        self.dropped = self.dropped.saturating_add(record.deeds.len() as u64);
        if let Some(share) = self.of.get_mut(&(part_of(record), self.owner(record.by()))) {
            share.from = record.last().saturating_add(1);
        }
        self.give(record, bytes);
    }

    /// Whether any record was taken out for good.
    pub(super) const fn has_dropped(&self) -> bool {
        self.dropped > 0
    }

    /// The member with the most bytes in a part that has no room: its oldest records go, until it has as much as the
    /// next one or there is room.
    pub(super) fn over(&self, room: Room) -> Option<Over> {
        let part = [Part::Common, Part::Apart].into_iter().find(|part| self.bytes(*part) > room.of(*part))?;
        let mut most: Vec<(u64, Did, u64)> =
            self.in_part(part).map(|(by, share)| (share.bytes, by, share.from)).collect();
        most.sort_unstable_by_key(|(bytes, by, _)| (std::cmp::Reverse(*bytes), *by));
        let (_, by, from) = *most.first()?;
        let down_to = most.get(1).map_or(0, |(bytes, ..)| *bytes);
        Some(Over { part, by, down_to, from })
    }

    /// Whether enough of a member's records went.
    pub(super) fn is_enough(&self, over: &Over, room: Room) -> bool {
        let left = self.of.get(&(over.part, over.by)).map_or(0, |share| share.bytes);
        left < over.down_to || self.bytes(over.part) <= room.of(over.part)
    }

    fn in_part(&self, part: Part) -> impl Iterator<Item = (Did, &Share)> {
        self.of.iter().filter(move |((of, _), _)| *of == part).map(|((_, by), share)| (*by, share))
    }

    fn bytes(&self, part: Part) -> u64 {
        self.in_part(part).fold(0, |sum, (_, share)| sum.saturating_add(share.bytes))
    }
}

/// The part of the room that a record takes.
fn part_of(record: &Record) -> Part {
    let by = record.by();
    let apart = record.deeds.iter().any(|deed| match deed.action {
        // stealing from oneself, or where nobody holds the lock, hurts nobody
        Action::Steal => matches!(deed.result, DeedResult::Granted(_)) && deed.whose.is_some_and(|whose| whose != by),
        Action::VoterAdded | Action::VoterRemoved | Action::Recover | Action::Forged | Action::Raise => true,
        Action::MemberEnded => !matches!(deed.result, DeedResult::Refused(_)),
        _ => false,
    });
    if apart { Part::Apart } else { Part::Common }
}
