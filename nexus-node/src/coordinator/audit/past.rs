//! Comparisons of two pasts: this node's records and those that another member sent.

use crate::coordinator::state::{Record, audit_hash};

/// The records of two copies for one deed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Compared {
    /// The same one, up to this deed; so are all before it.
    Same(u64),
    /// Different ones.
    Different,
    /// One of the copies has none.
    Unknown,
}

/// The record with a deed, at the begin of a page that was read from it backwards.
fn record_with(n: u64, page: &[Vec<u8>]) -> Option<(&[u8], Record)> {
    let bytes = page.first()?;
    let record: Record = borsh::from_slice(bytes).ok()?;
    (record.first <= n && n <= record.last()).then_some((bytes, record))
}

/// Compares two pages that were read backwards from a deed.
pub(super) fn compared(n: u64, ours: &[Vec<u8>], theirs: &[Vec<u8>]) -> Compared {
    match (record_with(n, ours), record_with(n, theirs)) {
        (Some((ours, record)), Some((theirs, _))) if ours == theirs => Compared::Same(record.last()),
        (Some(_), Some(_)) => Compared::Different,
        _ => Compared::Unknown,
    }
}

/// Whether a longer past goes on from one of `count` deeds that ends with `head`; `theirs` was read backwards from its
/// last deed. `None` if the other copy does not have that record.
pub(super) fn goes_on(count: u64, head: [u8; 32], theirs: &[Vec<u8>]) -> Option<bool> {
    if count == 0 {
        return Some(true);
    }
    let (bytes, record) = record_with(count, theirs)?;
    // a record that goes on beyond it begins another past
    Some(record.last() == count && audit_hash(bytes) == head)
}

/// The search for the first deed that differs between two pasts, which halves the range with each look.
#[derive(Clone, Copy, Debug)]
pub(super) struct Parting {
    /// The last deed up to which both are known to be the same.
    same: u64,
    /// The first deed that is known to differ.
    different: u64,
}

impl Parting {
    /// `different` is a deed of both that differs.
    pub(super) const fn below(different: u64) -> Self {
        Self { same: 0, different }
    }

    /// The deed to look at next.
    ///
    /// # Errors
    /// The first deed that differs: the search is over.
    pub(super) const fn next(&self) -> Result<u64, u64> {
        let open = self.different.saturating_sub(self.same);
        if open <= 1 { Err(self.different) } else { Ok(self.same + open / 2) }
    }

    /// Takes a look at deed `n`. Returns whether it brought the search on.
    pub(super) fn look(&mut self, n: u64, compared: Compared) -> bool {
        match compared {
            Compared::Same(last) => self.same = last.clamp(n, self.different.saturating_sub(1)),
            Compared::Different => self.different = n,
            Compared::Unknown => return false,
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::check::tests::chain_of;
    use super::*;

    /// The records up to a deed, newest first, as a member sends them.
    fn back(records: &[Record], upto: u64) -> Vec<Vec<u8>> {
        records.iter().rev().filter(|record| record.first <= upto).map(Record::encode).collect()
    }

    fn parting(ours: &[Record], theirs: &[Record], from: u64) -> Option<u64> {
        let mut parting = Parting::below(from);
        for _ in 0..64 {
            match parting.next() {
                Err(first) => return Some(first),
                Ok(n) if parting.look(n, compared(n, &back(ours, n), &back(theirs, n))) => {}
                Ok(_) => return None,
            }
        }
        panic!("each look halves the range");
    }

    proptest! {
        /// promise: Keys and locks | `audit verify` names a disagreement of pasts also where one copy is ahead, and the first entry that differs
        #[test]
        fn pasts_that_part_are_told_apart_however_long_each_is(same in 0_usize..12, ours in 0_usize..9, theirs in 0_usize..9) {
            let (a, b) = (chain_of(same, ours, "ours"), chain_of(same, theirs, "theirs"));
            let (short, long) = if a.1 <= b.1 { (&a, &b) } else { (&b, &a) };
            let goes_on = goes_on(short.1, short.2, &back(&long.0, short.1));
            let parted = ours.min(theirs) > 0;
            prop_assert_eq!(goes_on, Some(!parted));
            if parted {
                let first = a.0[same].first;
                prop_assert_eq!(parting(&a.0, &b.0, short.1), Some(first));
                prop_assert_eq!(parting(&b.0, &a.0, short.1), Some(first));
            }
        }

        #[test]
        fn any_pages_of_others_end_the_search(
            pages in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..60), 0..4), from: u64, count: u64
        ) {
            let _ = goes_on(count, [7; 32], &pages);
            let mut search = Parting::below(from);
            for _ in 0..64 {
                let Ok(n) = search.next() else { break };
                search.look(n, compared(n, &pages, &pages));
                search.look(n, Compared::Same(from ^ count));
            }
            prop_assert!(search.next().is_err());
        }
    }

    #[test]
    fn a_copy_that_let_go_of_the_records_says_nothing() {
        let (records, count, head) = chain_of(5, 0, "ours");
        assert_eq!(goes_on(count, head, &[]), None);
        assert_eq!(goes_on(count, head, &back(&records[..3], count)), None, "older ones alone");
        assert_eq!(goes_on(0, [0; 32], &[]), Some(true));
        assert_eq!(compared(count, &back(&records, count), &[]), Compared::Unknown);
    }
}
