//! Checks of records that need the records alone.

use std::collections::BTreeMap;

use super::rows::{AuditRows, Gap};
use super::{AuditBreak, AuditCheck, AuditFault};
use crate::coordinator::state::{Record, audit_hash};

/// The part of a gap that a page proves, newest first: the records that lead back from the gap's end,
/// and the rest of the gap.
pub(super) fn proven(mut gap: Gap, page: &[Vec<u8>]) -> (Vec<Record>, Option<Gap>) {
    let mut records = Vec::new();
    for bytes in page {
        let Ok(record) = borsh::from_slice::<Record>(bytes) else { break };
        if audit_hash(bytes) != gap.hash || record.last() != gap.to || record.first == 0 {
            break;
        }
        let first = record.first;
        gap = Gap { to: first - 1, hash: record.before, ..gap };
        records.push(record);
        if first <= gap.from {
            return (records, None);
        }
    }
    (records, Some(gap))
}

/// Checks the records read after a deed.
pub(super) fn check(read: &AuditRows, after: u64) -> AuditCheck {
    let mut check = AuditCheck { head: read.head, ..AuditCheck::default() };
    if after >= read.count {
        return check;
    }
    let gap_to = |n: u64| read.gaps.iter().find(|gap| gap.to == n);
    let by_first: BTreeMap<u64, &Gap> = read.gaps.iter().map(|gap| (gap.from, gap)).collect();
    let mut before = gap_to(after).map(|gap| gap.hash);
    let mut seen = after;
    for record in &read.records {
        if record.last() <= after {
            // the hash that the next record must name
            before = Some(record.hash());
            check.head = record.hash();
            continue;
        }
        while let Some(gap) = by_first.get(&(seen + 1)) {
            check.missing.push((gap.from, gap.to));
            (seen, before) = (gap.to, Some(gap.hash));
        }
        // an earlier version let go of the beginning without a note
        let may_be_gone = read.has_let_go || (seen == 0 && before.is_none());
        while may_be_gone && record.first > seen + 1 {
            let gap = by_first.range(seen + 1..record.first).next().map(|(_, gap)| **gap);
            let until = gap.map_or(record.first, |gap| gap.from);
            if until > seen + 1 {
                check.dropped.push((seen + 1, until - 1));
            }
            (seen, before) = (until - 1, None);
            if let Some(gap) = gap {
                check.missing.push((gap.from, gap.to));
                (seen, before) = (gap.to.max(seen + 1), Some(gap.hash));
            }
        }
        let fault = match before {
            _ if record.first != seen + 1 => Some(AuditFault::GoneBefore),
            Some(before) if record.before != before => Some(AuditFault::OtherBefore),
            None if record.first == 1 && record.before != [0; 32] => Some(AuditFault::NotTheFirst),
            _ if !record.is_signed() => Some(AuditFault::NotSigned),
            _ => None,
        };
        if let Some(fault) = fault {
            check.broken = Some(AuditBreak { n: record.first, fault });
            return check;
        }
        check.first = check.first.or(Some(record.first));
        check.entries += record.deeds.len() as u64;
        (check.head, seen) = (record.hash(), record.last());
        before = Some(check.head);
    }
    while let Some(gap) = by_first.get(&(seen + 1)) {
        check.missing.push((gap.from, gap.to));
        (seen, before, check.head) = (gap.to, Some(gap.hash), gap.hash);
    }
    if read.more {
        check.next = Some(seen);
    } else if seen != read.count {
        check.broken = Some(AuditBreak { n: seen + 1, fault: AuditFault::GoneAfter });
    } else if read.count > 0 && before != Some(read.head) {
        check.broken = Some(AuditBreak { n: seen, fault: AuditFault::OtherPast });
    }
    check
}

#[cfg(test)]
pub(super) mod tests;
