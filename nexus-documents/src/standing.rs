//! Which changes of a document count.

use std::collections::{BTreeMap, BTreeSet};

use crate::hash::ChangeHash;

/// A change that a node holds, as far as its standing depends on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// The changes right before it.
    pub deps: Vec<ChangeHash>,
    /// Its actor.
    pub actor: Box<[u8]>,
    /// Its number among the changes of its actor.
    pub seq: u64,
    /// Whether its verdict holds: the [`Judge`](crate::Judge) accepted it after its ancestors.
    pub sound: bool,
    /// Whether one of the entries that hold it counts.
    pub counts: bool,
}

/// The changes of a document, as they stand.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// The changes that count, each after those before it.
    pub counting: Vec<ChangeHash>,
    /// Changes that do not count, since others have the same actor and number. One of them counts again once all others are cut
    /// or revoked.
    pub colliding: BTreeSet<ChangeHash>,
    /// Changes that nobody holds here, and that others come after.
    pub missing: BTreeSet<ChangeHash>,
}

/// Which changes of a document count: those whose verdict holds, that a counting entry holds, whose actor and number no other such
/// change has, and whose ancestors count. It depends on the set of changes alone.
pub fn standing(held: &BTreeMap<ChangeHash, Held>) -> Standing {
    let mut found = Standing::default();
    let candidates = || held.iter().filter(|(_, change)| change.sound && change.counts);
    let mut numbers: BTreeMap<(&[u8], u64), Vec<ChangeHash>> = BTreeMap::new();
    for (hash, change) in candidates() {
        numbers.entry((&*change.actor, change.seq)).or_default().push(*hash);
    }
    found.colliding = numbers.into_values().filter(|changes| changes.len() > 1).flatten().collect();

    let mut waits: BTreeMap<ChangeHash, usize> = BTreeMap::new();
    let mut after: BTreeMap<ChangeHash, Vec<ChangeHash>> = BTreeMap::new();
    let mut ready: BTreeSet<ChangeHash> = BTreeSet::new();
    for change in held.values() {
        found.missing.extend(change.deps.iter().filter(|dep| !held.contains_key(*dep)));
    }
    for (hash, change) in candidates().filter(|(hash, _)| !found.colliding.contains(*hash)) {
        let deps: BTreeSet<ChangeHash> = change.deps.iter().copied().collect();
        if deps.is_empty() {
            ready.insert(*hash);
        }
        waits.insert(*hash, deps.len());
        for dep in deps {
            after.entry(dep).or_default().push(*hash);
        }
    }
    while let Some(hash) = ready.pop_first() {
        found.counting.push(hash);
        for next in after.remove(&hash).unwrap_or_default() {
            if let Some(left) = waits.get_mut(&next) {
                *left -= 1;
                if *left == 0 {
                    ready.insert(next);
                }
            }
        }
    }
    found
}
