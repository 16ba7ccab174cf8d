use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use borsh::{BorshDeserialize, BorshSerialize};
use nexus_identity::Did;

use super::item::{Item, shown, shown_value};
use super::outcome::{CriticalChange, CriticalEvent, Full, Outcome, Refusal, Tell, Timed, Used};
use crate::coordinator::command::{Condition, Expiry, Put, Step, is_bytes};
use crate::coordinator::limits::Limits;

/// Keys and values.
#[derive(BorshSerialize, BorshDeserialize, Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Kv {
    items: BTreeMap<String, Item>,
    /// The keys with a limited lifetime, so that finding them needs no search.
    mortal: BTreeSet<String>,
    bytes: u64,
    /// The keys that each member wrote last, and their bytes.
    #[borsh(skip)]
    parts: BTreeMap<Did, Part>,
}

/// A member's keys.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Part {
    keys: u64,
    bytes: u64,
}

impl Kv {
    /// Counts the members' parts, which are not in the bytes of the state.
    pub(super) fn count(&mut self) {
        self.parts.clear();
        for (key, item) in &self.items {
            let part = self.parts.entry(item.by).or_default();
            *part = Part { keys: part.keys + 1, bytes: part.bytes + size(key, &item.value) };
        }
    }

    /// Whether its bytes are those of its keys.
    pub(super) fn is_sound(&self) -> bool {
        self.bytes == self.items.iter().map(|(key, item)| size(key, &item.value)).sum::<u64>()
    }

    /// The bytes of all keys, and of those that this member wrote last.
    pub(super) fn used(&self, by: Did, limits: &Limits) -> Used {
        let part = self.parts.get(&by).copied().unwrap_or_default();
        Used {
            all: self.bytes + self.items.len() as u64 * limits.item_bytes,
            part: part.bytes + part.keys * limits.item_bytes,
        }
    }

    /// The members of which a key is the last word.
    pub(super) fn writers(&self) -> impl Iterator<Item = &Did> {
        self.parts.keys()
    }

    pub(super) fn has_keys_of(&self, member: &Did) -> bool {
        self.parts.contains_key(member)
    }

    /// Gives the keys of a former key of a member to the one in its place. Nobody is told: values and revisions stay.
    pub(super) fn moves(&mut self, former: Did, member: Did) {
        if former == member {
            return;
        }
        let Some(moved) = self.parts.remove(&former) else { return };
        for item in self.items.values_mut().filter(|item| item.by == former) {
            item.by = member;
        }
        let part = self.parts.entry(member).or_default();
        *part = Part { keys: part.keys + moved.keys, bytes: part.bytes + moved.bytes };
    }

    pub(super) fn get(&self, key: &str) -> Option<&Item> {
        self.items.get(key)
    }

    /// Whether a value is no text.
    pub(super) fn has_bytes(&self) -> bool {
        self.items.values().any(|item| is_bytes(&item.value))
    }

    pub(super) fn list<'a>(
        &'a self,
        prefix: &'a str,
        after: Option<&str>,
    ) -> impl Iterator<Item = (&'a String, &'a Item)> {
        let start = match after {
            Some(after) if after >= prefix => Bound::Excluded(after.to_owned()),
            _ => Bound::Included(prefix.to_owned()),
        };
        self.items.range((start, Bound::Unbounded)).take_while(move |(key, _)| key.starts_with(prefix))
    }

    pub(super) fn is(&self, key: &str, condition: &Condition) -> bool {
        match (condition, self.items.get(key)) {
            (Condition::Absent, item) => item.is_none(),
            (Condition::Present, item) => item.is_some(),
            (Condition::Value(value), item) => item.is_some_and(|item| item.value == *value),
            (Condition::Revision(revision), item) => item.is_some_and(|item| item.revision == *revision),
        }
    }

    /// Checks that a key has the expected value; with `None`, that it does not exist.
    pub(super) fn expect(&self, key: &str, expected: Option<&[u8]>) -> Result<(), Refusal> {
        let found = self.items.get(key);
        match (expected, found) {
            (None, None) => Ok(()),
            (Some(expected), Some(item)) if item.value == expected => Ok(()),
            _ => Err(Refusal::Mismatch { found: found.cloned() }),
        }
    }

    pub(super) fn put(&mut self, put: &Put, tell: &mut Tell<'_>) -> Result<Outcome, Refusal> {
        self.check_room(std::slice::from_ref(&Step::Put(put.clone())), tell.by, tell.used, tell.limits)?;
        let revision = tell.next();
        self.write(put, revision, tell.by);
        tell.change(revision, tell.by, CriticalEvent::Put { key: put.key.clone(), value: put.value.clone() });
        Ok(tell.done())
    }

    pub(super) fn delete(&mut self, key: &str, tell: &mut Tell<'_>) -> Result<Outcome, Refusal> {
        if !self.items.contains_key(key) {
            return Err(Refusal::NoKey);
        }
        let revision = tell.next();
        self.remove(key);
        tell.change(revision, tell.by, CriticalEvent::Deleted { key: key.to_owned(), expired: false });
        Ok(tell.done())
    }

    /// Does one step of a transaction at the given revision. Returns the key after it.
    pub(super) fn step(
        &mut self,
        step: &Step,
        revision: u64,
        by: Did,
        changes: &mut Vec<CriticalChange>,
    ) -> Option<Item> {
        match step {
            Step::Get(key) => self.items.get(key).cloned(),
            Step::Put(put) => {
                self.write(put, revision, by);
                let event = CriticalEvent::Put { key: put.key.clone(), value: put.value.clone() };
                changes.push(CriticalChange { revision, by, event });
                self.items.get(&put.key).cloned()
            }
            Step::Delete(key) => {
                if self.remove(key) {
                    changes.push(CriticalChange {
                        revision,
                        by,
                        event: CriticalEvent::Deleted { key: key.clone(), expired: false },
                    });
                }
                None
            }
        }
    }

    /// The bytes of the keys that these steps show.
    pub(super) fn shown_by(&self, steps: &[Step]) -> u64 {
        let mut written: BTreeMap<&str, u64> = BTreeMap::new();
        let shown = steps.iter().map(|step| match step {
            Step::Get(key) => written.get(key.as_str()).copied().unwrap_or_else(|| shown(self.get(key))),
            Step::Put(put) => {
                let bytes = shown_value(&put.value);
                written.insert(&put.key, bytes);
                bytes
            }
            Step::Delete(key) => {
                written.insert(key, shown(None));
                shown(None)
            }
        });
        shown.sum()
    }

    /// Checks that there is room for all that these steps put.
    pub(super) fn check_room(&self, steps: &[Step], by: Did, used: Used, limits: &Limits) -> Result<(), Refusal> {
        if limits.bounds_members() {
            return used.check(self.used_after(steps, by, used, limits), limits);
        }
        // earlier formats do not count what the steps free
        let more: u64 =
            steps.iter().map(|step| if let Step::Put(put) = step { size(&put.key, &put.value) } else { 0 }).sum();
        if self.bytes + more <= limits.state_bytes {
            return Ok(());
        }
        Err(Refusal::Full(Full::Bytes { bytes: self.bytes }))
    }

    /// The bytes in use after these steps.
    fn used_after(&self, steps: &[Step], by: Did, used: Used, limits: &Limits) -> Used {
        let mut after = used;
        // of each key, the bytes that it counts and whether they are this member's
        let mut written: BTreeMap<&str, (u64, bool)> = BTreeMap::new();
        for step in steps {
            let (key, new) = match step {
                Step::Get(_) => continue,
                Step::Put(put) => (&put.key, (size(&put.key, &put.value) + limits.item_bytes, true)),
                Step::Delete(key) => (key, (0, false)),
            };
            let stored = || match self.items.get(key) {
                Some(item) => (size(key, &item.value) + limits.item_bytes, item.by == by),
                None => (0, false),
            };
            let old = written.insert(key, new).unwrap_or_else(stored);
            let mine = |(bytes, mine): (u64, bool)| if mine { bytes } else { 0 };
            after.all = (after.all + new.0).saturating_sub(old.0);
            after.part = (after.part + mine(new)).saturating_sub(mine(old));
        }
        after
    }

    /// The last writer of a key, if it wrote at this revision and the key has a limited lifetime.
    pub(super) fn owner_of(&self, key: &str, revision: u64) -> Option<Did> {
        let item = self.items.get(key).filter(|item| item.revision == revision && item.ttl_ms.is_some())?;
        Some(item.by)
    }

    pub(super) fn expire(&mut self, key: &str, tell: &mut Tell<'_>) {
        if self.remove(key) {
            let revision = tell.next();
            tell.change(revision, tell.by, CriticalEvent::Deleted { key: key.to_owned(), expired: true });
        }
    }

    pub(super) fn timed(&self) -> impl Iterator<Item = Timed> {
        self.mortal.iter().filter_map(|key| self.timed_key(key))
    }

    /// A key with a limited lifetime.
    pub(super) fn timed_key(&self, key: &str) -> Option<Timed> {
        let item = self.items.get(key)?;
        Some(Timed { expiry: Expiry::Key { key: key.to_owned(), revision: item.revision }, ms: item.ttl_ms? })
    }

    fn write(&mut self, put: &Put, revision: u64, by: Did) {
        let created = self.items.get(&put.key).map_or(revision, |item| item.created);
        self.remove(&put.key);
        self.bytes += size(&put.key, &put.value);
        let part = self.parts.entry(by).or_default();
        *part = Part { keys: part.keys + 1, bytes: part.bytes + size(&put.key, &put.value) };
        if put.ttl_ms.is_some() {
            self.mortal.insert(put.key.clone());
        }
        let item = Item { value: put.value.clone(), revision, created, by, ttl_ms: put.ttl_ms };
        self.items.insert(put.key.clone(), item);
    }

    fn remove(&mut self, key: &str) -> bool {
        let Some(item) = self.items.remove(key) else { return false };
        self.bytes -= size(key, &item.value);
        if let Some(part) = self.parts.get_mut(&item.by) {
            *part = Part { keys: part.keys - 1, bytes: part.bytes - size(key, &item.value) };
            if part.keys == 0 {
                self.parts.remove(&item.by);
            }
        }
        self.mortal.remove(key);
        true
    }
}

/// The size of a key and its value for the limit, in bytes.
fn size(key: &str, value: &[u8]) -> u64 {
    (key.len() + value.len()) as u64
}
