//! Which changes of a document count.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::hash::ChangeHash;

/// A change that a node holds, as far as its standing depends on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// The changes right before it.
    pub deps: Arc<[ChangeHash]>,
    /// Its actor.
    pub actor: Arc<[u8]>,
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

/// Which changes of a document count. A change is *grounded* if its verdict holds, a counting entry holds it, and both are so for
/// all its ancestors. It counts if it is grounded, no other grounded change has its actor and number, and its ancestors count.
/// So changes that no counting entry holds decide nothing, whether they are here or not.
pub fn standing(held: &BTreeMap<ChangeHash, Held>) -> Standing {
    let mut found = Standing::default();
    for change in held.values() {
        found.missing.extend(change.deps.iter().filter(|dep| !held.contains_key(*dep)));
    }
    let grounded = with_all_before(held, |_, change| change.sound && change.counts);
    let mut numbers: BTreeMap<(&[u8], u64), Vec<ChangeHash>> = BTreeMap::new();
    for (hash, change) in grounded.iter().filter_map(|hash| Some((hash, held.get(hash)?))) {
        numbers.entry((&*change.actor, change.seq)).or_default().push(*hash);
    }
    found.colliding = numbers.into_values().filter(|changes| changes.len() > 1).flatten().collect();
    let of_grounded: BTreeSet<ChangeHash> = grounded.into_iter().collect();
    let counts = |hash: &ChangeHash, _: &Held| of_grounded.contains(hash) && !found.colliding.contains(hash);
    found.counting = with_all_before(held, counts);
    found
}

/// The changes that meet a condition together with all their ancestors, each after those before it.
fn with_all_before(held: &BTreeMap<ChangeHash, Held>, meets: impl Fn(&ChangeHash, &Held) -> bool) -> Vec<ChangeHash> {
    let mut waits: BTreeMap<ChangeHash, usize> = BTreeMap::new();
    let mut after: BTreeMap<ChangeHash, Vec<ChangeHash>> = BTreeMap::new();
    let (mut ready, mut in_order) = (BTreeSet::new(), Vec::new());
    for (hash, change) in held.iter().filter(|(hash, change)| meets(hash, change)) {
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
        in_order.push(hash);
        for next in after.remove(&hash).unwrap_or_default() {
            if let Some(left) = waits.get_mut(&next) {
                *left -= 1;
                if *left == 0 {
                    ready.insert(next);
                }
            }
        }
    }
    in_order
}
