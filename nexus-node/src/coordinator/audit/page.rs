//! Pages of the audit.

use super::rows::AuditRows;
use crate::coordinator::{AuditEntry, AuditPage};

/// The deeds after one, at most `limit` of them, and since a time by the requesters' clocks. `read` begins with the record
/// before them.
pub(super) fn page(read: AuditRows, after: u64, since_ms: Option<u64>, limit: usize) -> AuditPage {
    let AuditRows { records, gaps, count, .. } = read;
    let (mut page, mut seen) = (AuditPage::default(), after);
    // a record of the leader has the time of the record before it
    let mut counts = since_ms.is_none();
    'read: for record in records {
        counts = record.at_ms().map_or(counts, |at_ms| since_ms.is_none_or(|since| at_ms >= since));
        let (index, at_ms, by) = (record.index, record.at_ms(), record.by());
        for (n, deed) in (record.first..).zip(record.deeds).filter(|(n, _)| *n > after) {
            if page.items.len() >= limit {
                page.next = Some(seen);
                break 'read;
            }
            seen = n;
            if counts {
                page.items.push(AuditEntry { n, index, at_ms, by, deed });
            }
        }
    }
    if page.next.is_none() {
        page.next = (seen < count && seen > after).then_some(seen);
    }
    let end = page.next.unwrap_or(count);
    let missing = gaps.iter().filter(|gap| gap.to > after && gap.from <= end);
    page.missing = missing.map(|gap| (gap.from.max(after.saturating_add(1)), gap.to)).collect();
    page
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::check::tests::{chain_of, read};
    use super::super::rows::Gap;
    use super::*;

    proptest! {
        /// promise: Keys and locks | A page of the audit names the entries that no member has sent yet: no number is left out in silence
        #[test]
        fn each_deed_is_on_one_page_or_is_said_to_be_missing(
            from in 0_usize..12, length in 0_usize..12, limit in 1_usize..9, after in 0_u64..40
        ) {
            let (mut records, count, head) = chain_of(12, 0, "ours");
            let missing: Vec<_> = records.drain(from..(from + length).min(12)).collect();
            let gap = missing.first().zip(missing.last()).map(|(first, last)| {
                Gap { from: first.first, to: last.last(), hash: last.hash() }
            });
            let (mut told, mut seen) = (Vec::new(), Some(after));
            while let Some(after) = seen {
                let rest: Vec<_> = records.iter().filter(|record| record.last() >= after).cloned().collect();
                let rows = AuditRows { gaps: gap.into_iter().collect(), ..read(&rest, count, head) };
                let page = page(rows, after, None, limit);
                told.extend(page.items.iter().map(|entry| entry.n));
                told.extend(page.missing.iter().flat_map(|(from, to)| *from..=*to));
                prop_assert!(page.items.len() <= limit && page.next.is_none_or(|next| next > after));
                seen = page.next;
            }
            told.sort_unstable();
            prop_assert_eq!(told, (after + 1..=count).collect::<Vec<_>>());
        }
    }
}
