//! The check that clients' views of one key fit one copy, where each operation happens at some moment
//! between its beginning and its end.
//!
//! The search is the one of Wing and Gong ("Testing and Verifying Concurrent Objects", 1993) with
//! Lowe's memory of configurations seen before ("Testing for linearizability", 2017). Keys are
//! independent, so each is judged by itself. An operation without an end may have happened at any time
//! since, or not at all.
//!
//! Every operation of unknown outcome doubles the search. So the search first tries the order of the
//! revisions in the answers; without a violation it goes straight to its end.

use std::collections::{BTreeMap, BTreeSet};

/// A client's action on a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Read the key; with the value seen, `None` for no such key.
    Get(Option<u64>),
    /// Wrote the value.
    Put(u64),
    /// Deleted the key; with whether it was there.
    Delete(bool),
    /// Wrote the key if it had the expected value.
    Cas {
        /// The expected value; `None` if the key must not exist.
        expect: Option<u64>,
        /// The new value.
        value: u64,
        /// Whether the value was as expected.
        done: bool,
    },
    /// Was told that it did not happen, and never will.
    Nothing,
}

/// An operation as its client saw it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Operation {
    /// The time of its beginning.
    pub began: u64,
    /// The time of its end; `None` if its outcome is unknown. Reads of unknown outcome prove nothing
    /// and are not recorded.
    pub ended: Option<u64>,
    /// The action.
    pub action: Action,
    /// The revision in the answer: made by a write, or of the value that was read. It is only a hint
    /// for the search. The verdict depends on the order that is found.
    pub revision: Option<u64>,
}

/// The verdict on a history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It fits one copy.
    Holds,
    /// It fits none. The operations up to here, in the order of their beginnings, are the longest
    /// explained part.
    Broken {
        /// The number of explained operations.
        explained: usize,
    },
    /// The search was given up. Counts as broken.
    Unknown,
}

/// The most configurations searched before a key is given up.
const LOOKED_AT_MAX: usize = 300_000;

/// Judges the operations on one key, which begins without a value.
pub fn check(operations: &[Operation]) -> Verdict {
    let happened = operations.iter().filter(|operation| operation.action != Action::Nothing);
    let mut sorted: Vec<Operation> = happened.copied().collect();
    sorted.sort_by_key(|operation| (operation.began, operation.ended.unwrap_or(u64::MAX)));
    let hints = hints(&sorted);
    forget_what_nobody_saw(&mut sorted);
    let mut search = Search { operations: &sorted, hints, seen: BTreeSet::new(), explained: 0 };
    search.run()
}

/// The likely place of each operation, if it is known. A write is at its revision, also without an
/// answer if its value was read. A read is just after the revision seen.
fn hints(operations: &[Operation]) -> Vec<Option<u64>> {
    let read = |operation: &Operation| match operation.action {
        Action::Get(Some(value)) => Some((value, operation.revision?)),
        _ => None,
    };
    let written_at: BTreeMap<u64, u64> = operations.iter().filter_map(read).collect();
    let hint = |operation: &Operation| match operation.action {
        Action::Get(_) => operation.revision.map(|revision| revision.saturating_mul(2).saturating_add(1)),
        Action::Put(value) | Action::Cas { value, .. } => {
            let revision = operation.revision.or_else(|| written_at.get(&value).copied());
            revision.map(|revision| revision.saturating_mul(2))
        }
        Action::Delete(_) | Action::Nothing => operation.revision.map(|revision| revision.saturating_mul(2)),
    };
    operations.iter().map(hint).collect()
}

/// Judges all keys. Returns the first that does not hold, with its verdict.
pub fn check_all(history: &BTreeMap<String, Vec<Operation>>) -> Option<(&str, Verdict)> {
    let judged = history.iter().map(|(key, operations)| (key.as_str(), check(operations)));
    judged.into_iter().find(|(_, verdict)| *verdict != Verdict::Holds)
}

/// Stands for every value that no operation saw or expected.
const UNSEEN: u64 = u64::MAX;

/// Makes one value of all that nobody saw, so that the search does not tell them apart.
fn forget_what_nobody_saw(operations: &mut [Operation]) {
    let seen: BTreeSet<u64> = operations
        .iter()
        .filter_map(|operation| match operation.action {
            Action::Get(seen) => seen,
            Action::Cas { expect, .. } => expect,
            Action::Put(_) | Action::Delete(_) | Action::Nothing => None,
        })
        .collect();
    for operation in operations {
        if let Action::Put(value) | Action::Cas { value, .. } = &mut operation.action
            && !seen.contains(value)
        {
            *value = UNSEEN;
        }
    }
}

/// The operations that have happened, and the value that they made.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Configuration {
    /// All operations before this one have happened.
    base: usize,
    /// And these after it, ascending.
    beyond: Vec<usize>,
    value: Option<u64>,
}

impl Configuration {
    fn has(&self, at: usize) -> bool {
        at < self.base || self.beyond.binary_search(&at).is_ok()
    }

    fn with(&self, at: usize, value: Option<u64>) -> Self {
        let mut next = Self { value, ..self.clone() };
        if let Err(place) = next.beyond.binary_search(&at) {
            next.beyond.insert(place, at);
        }
        while next.beyond.first() == Some(&next.base) {
            next.beyond.remove(0);
            next.base += 1;
        }
        next
    }
}

struct Search<'a> {
    operations: &'a [Operation],
    /// The likely place of each among the others.
    hints: Vec<Option<u64>>,
    seen: BTreeSet<Configuration>,
    explained: usize,
}

impl Search<'_> {
    fn run(&mut self) -> Verdict {
        let first = Configuration { base: 0, beyond: Vec::new(), value: None };
        let mut stack = vec![first];
        while let Some(now) = stack.pop() {
            if !self.seen.insert(now.clone()) {
                continue;
            }
            if self.seen.len() > LOOKED_AT_MAX {
                return Verdict::Unknown;
            }
            self.explained = self.explained.max(now.base + now.beyond.len());
            // the next operation began before the first end that is still to come
            let open = |at: &usize| !now.has(*at);
            let ends = (now.base..self.operations.len()).filter(open);
            let Some(first_end) = ends.filter_map(|at| self.operations[at].ended).min() else {
                // all that is left may never have happened
                return Verdict::Holds;
            };
            let candidates: Vec<usize> = (now.base..self.operations.len())
                .take_while(|at| self.operations[*at].began <= first_end)
                .filter(open)
                .collect();
            let after = |at: &usize| Some((*at, step(now.value, &self.operations[*at])?));
            let ended = |at: &usize| self.operations[*at].ended;
            // an operation that can happen now and never changes anything may as well happen now
            let mut known: Vec<(usize, Option<u64>)> =
                candidates.iter().filter(|at| ended(at).is_some()).filter_map(after).collect();
            let still = |at: &usize| {
                let action = self.operations[*at].action;
                matches!(action, Action::Get(_) | Action::Delete(false) | Action::Cas { done: false, .. })
            };
            if let Some((at, value)) = known.iter().find(|(at, _)| still(at)) {
                stack.push(now.with(*at, *value));
                continue;
            }
            // an operation that may never have happened is tried only where it makes a difference
            let maybe = candidates.iter().filter(|at| ended(at).is_none()).filter_map(after);
            // of operations with the same effect any one will do: the others can still happen later
            let mut made = BTreeSet::new();
            let maybe = maybe.filter(|(at, value)| {
                let anew = match self.operations[*at].action {
                    Action::Cas { .. } => true,
                    _ => made.insert(*value),
                };
                anew && *value != now.value
            });
            // in the order of the revisions; then operations that did happen, in the order of their
            // ends; then the rest
            known.extend(maybe.collect::<Vec<_>>());
            known.sort_by_key(|(at, _)| {
                let (hint, ended) = (self.hints[*at], ended(at));
                (hint.is_none(), hint, ended.is_none(), ended, *at)
            });
            let next: Vec<Configuration> = known.into_iter().map(|(at, value)| now.with(at, value)).collect();
            stack.extend(next.into_iter().rev());
        }
        Verdict::Broken { explained: self.explained }
    }
}

/// The value after an operation, if the operation can happen now.
fn step(value: Option<u64>, operation: &Operation) -> Option<Option<u64>> {
    let known = operation.ended.is_some();
    match operation.action {
        Action::Get(seen) => (!known || seen == value).then_some(value),
        Action::Nothing => Some(value),
        Action::Put(put) => Some(Some(put)),
        Action::Delete(there) => (!known || there == value.is_some()).then_some(None),
        Action::Cas { expect, value: put, done } => {
            let fits = value == expect;
            let after = if fits { Some(put) } else { value };
            (!known || done == fits).then_some(after)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn done(began: u64, ended: u64, action: Action) -> Operation {
        Operation { began, ended: Some(ended), action, revision: None }
    }

    #[test]
    fn reads_see_the_latest_write_or_one_that_runs() {
        let write = |began, ended, value| done(began, ended, Action::Put(value));
        let read = |began, ended, value| done(began, ended, Action::Get(value));
        assert_eq!(check(&[write(1, 2, 7), read(3, 4, Some(7))]), Verdict::Holds);
        assert_eq!(check(&[write(1, 5, 7), read(2, 3, None), read(3, 4, Some(7))]), Verdict::Holds);
        // seen, and then not any more
        let back = [write(1, 9, 7), read(2, 3, Some(7)), read(4, 5, None)];
        assert!(matches!(check(&back), Verdict::Broken { .. }));
        // a stale read after an acknowledged write
        let stale = [write(1, 2, 7), write(3, 4, 8), read(5, 6, Some(7))];
        assert_eq!(check(&stale), Verdict::Broken { explained: 2 });
    }

    #[test]
    fn an_operation_without_an_end_may_have_happened_late_or_never() {
        let open = Operation { began: 1, ended: None, action: Action::Put(7), revision: None };
        let read = |began, value| done(began, began + 1, Action::Get(value));
        assert_eq!(check(&[open, read(2, None)]), Verdict::Holds);
        assert_eq!(check(&[open, read(2, None), read(10, Some(7))]), Verdict::Holds);
        assert!(matches!(check(&[open, read(2, Some(7)), read(10, None)]), Verdict::Broken { .. }));
    }

    #[test]
    fn only_one_of_two_rivals_finds_what_both_expect() {
        let cas = |began, value| done(began, 9, Action::Cas { expect: None, value, done: true });
        assert!(matches!(check(&[cas(1, 1), cas(2, 2)]), Verdict::Broken { .. }));
        let lost = done(2, 9, Action::Cas { expect: None, value: 2, done: false });
        assert_eq!(check(&[cas(1, 1), lost]), Verdict::Holds);
    }

    /// All orders of all subsets that hold every ended operation.
    fn brute_force(operations: &[Operation]) -> bool {
        fn go(left: &[usize], all: &[Operation], value: Option<u64>) -> bool {
            let ended = |at: &usize| all[*at].ended;
            let Some(first_end) = left.iter().filter_map(ended).min() else { return true };
            left.iter().any(|at| {
                if all[*at].began > first_end {
                    return false;
                }
                let rest: Vec<usize> = left.iter().copied().filter(|other| other != at).collect();
                step(value, &all[*at]).is_some_and(|value| go(&rest, all, value))
            })
        }
        go(&(0..operations.len()).collect::<Vec<_>>(), operations, None)
    }

    fn operation() -> impl Strategy<Value = Operation> {
        let value = || proptest::option::of(1..3u64);
        let action = prop_oneof![
            3 => value().prop_map(Action::Get),
            2 => (1..3u64).prop_map(Action::Put),
            1 => any::<bool>().prop_map(Action::Delete),
            2 => (value(), 1..3u64, any::<bool>()).prop_map(|(expect, value, done)| Action::Cas { expect, value, done }),
        ];
        // revisions may be wrong: the verdict must not depend on them
        let revision = proptest::option::of(0..6u64);
        let open = proptest::bool::weighted(0.15);
        (0..12u64, 0..6u64, open, action, revision).prop_map(|(began, takes, open, action, revision)| {
            let open = open && !matches!(action, Action::Get(_));
            Operation { began, ended: (!open).then_some(began + takes), action, revision }
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4_000))]
        #[test]
        fn the_search_agrees_with_trying_every_order(operations in proptest::collection::vec(operation(), 0..8)) {
            prop_assert_eq!(check(&operations) == Verdict::Holds, brute_force(&operations));
        }
    }
}
