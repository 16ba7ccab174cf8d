use std::ops::{Bound, ControlFlow, Range};
use std::path::Path;

use super::{Checksum, StoreDamage, StoreError, Table, seal};

/// Part of a table's keys, which are ordered as byte strings.
pub type KeyRange<'a> = (Bound<&'a [u8]>, Bound<&'a [u8]>);

/// Every key of a table.
pub const ALL_KEYS: KeyRange<'static> = (Bound::Unbounded, Bound::Unbounded);

/// A key and its value.
pub type Row = (Vec<u8>, Vec<u8>);

/// The direction of a scan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// From the smallest key up.
    Forward,
    /// From the largest key down.
    Backward,
}

/// The visitor of a scan. [`ControlFlow::Break`] ends the scan.
pub type Visit<'a> = dyn FnMut(&[u8], &[u8]) -> ControlFlow<()> + 'a;

/// The visitor of a scan whose rows may be unreadable. Its first error ends the scan, and is returned.
pub type TryVisit<'a> = dyn FnMut(&[u8], &[u8]) -> Result<ControlFlow<()>, StoreError> + 'a;

/// One unchanging state of all tables, to read from.
///
/// Every value is checked against its checksum before it is handed out.
///
/// # Errors
/// Every method fails with [`StoreError::Damaged`] if the file's bytes differ from the bytes written,
/// with [`StoreError::Disk`] if it cannot be read, and with [`StoreError::Poisoned`] after a failed
/// commit. A failed scan may have visited some keys before.
pub trait View {
    /// The value of a key.
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError>;

    /// Visits the keys of a range one by one until `visit` breaks. Only visited rows are read, so a
    /// caller bounds the work by breaking.
    ///
    /// A range that ends before it starts is empty.
    fn scan(&self, table: Table, range: KeyRange<'_>, order: Order, visit: &mut Visit<'_>) -> Result<(), StoreError>;

    /// A part of a value, checked by a checksum of its own. The cost depends on the size of the part,
    /// not of the value.
    ///
    /// # Errors
    /// Also [`StoreError::Damaged`] if the value ends before the part does, or the part does not fit
    /// `checksum`.
    fn get_part(
        &self,
        table: Table,
        key: &[u8],
        part: Range<usize>,
        checksum: Checksum,
    ) -> Result<Option<Vec<u8>>, StoreError> {
        let Some(value) = self.get(table, key)? else { return Ok(None) };
        let part = checked_part(&value, part, checksum);
        part.map(Some).ok_or_else(|| StoreError::damaged(Path::new("memory"), Some(table), StoreDamage::Part))
    }

    /// The number of the committed state that this shows, if it shows one: equal numbers of a store show the same, and later
    /// states have higher ones.
    fn state(&self) -> Option<u64> {
        None
    }

    /// Whether a key has a value.
    fn contains(&self, table: Table, key: &[u8]) -> Result<bool, StoreError> {
        self.get(table, key).map(|value| value.is_some())
    }

    /// Visits the keys that begin with a prefix, as [`scan`](Self::scan) does.
    fn scan_prefix(&self, table: Table, prefix: &[u8], order: Order, visit: &mut Visit<'_>) -> Result<(), StoreError> {
        let end = prefix_end(prefix);
        let end = end.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
        self.scan(table, (Bound::Included(prefix), end), order, visit)
    }

    /// Visits the keys of a range, as [`scan`](Self::scan) does, until `visit` breaks or fails.
    ///
    /// # Errors
    /// An error of the scan, or the one of `visit`.
    fn try_scan(
        &self,
        table: Table,
        range: KeyRange<'_>,
        order: Order,
        visit: &mut TryVisit<'_>,
    ) -> Result<(), StoreError> {
        let mut failed = None;
        self.scan(table, range, order, &mut |key, value| {
            visit(key, value).unwrap_or_else(|error| {
                failed = Some(error);
                ControlFlow::Break(())
            })
        })?;
        failed.map_or(Ok(()), Err)
    }

    /// Visits the keys that begin with a prefix, as [`try_scan`](Self::try_scan) does.
    ///
    /// # Errors
    /// An error of the scan, or the one of `visit`.
    fn try_scan_prefix(
        &self,
        table: Table,
        prefix: &[u8],
        order: Order,
        visit: &mut TryVisit<'_>,
    ) -> Result<(), StoreError> {
        let end = prefix_end(prefix);
        let end = end.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
        self.try_scan(table, (Bound::Included(prefix), end), order, visit)
    }

    /// The first key of a range in the given order, with its value.
    fn first(&self, table: Table, range: KeyRange<'_>, order: Order) -> Result<Option<Row>, StoreError> {
        let mut found = None;
        self.scan(table, range, order, &mut |key, value| {
            found = Some((key.to_vec(), value.to_vec()));
            ControlFlow::Break(())
        })?;
        Ok(found)
    }
}

/// The smallest key above all keys that begin with `prefix`; `None` if there is no such key
/// (the prefix is empty or all `0xff`).
pub fn prefix_end(prefix: &[u8]) -> Option<Vec<u8>> {
    let keep = prefix.iter().rposition(|&byte| byte != 0xff)?;
    let mut end = prefix[..=keep].to_vec();
    end[keep] += 1;
    Some(end)
}

/// A part of a value; `None` if it fails its checksum.
pub(super) fn checked_part(value: &[u8], part: Range<usize>, checksum: Checksum) -> Option<Vec<u8>> {
    value.get(part).filter(|part| seal::checksum(part) == checksum).map(<[u8]>::to_vec)
}

/// Whether no key can lie in the range. Libraries panic on ranges that run backwards.
pub(super) fn is_empty(range: KeyRange<'_>) -> bool {
    match range {
        (Bound::Included(start), Bound::Included(end)) => start > end,
        (Bound::Included(start) | Bound::Excluded(start), Bound::Included(end) | Bound::Excluded(end)) => start >= end,
        _ => false,
    }
}
