use nexus_identity::Keypair;
use proptest::prelude::*;

use super::*;
use crate::coordinator::audit::rows::AuditRows;
use crate::coordinator::command::{Command, Group, Proposal, Put, Signed};
use crate::coordinator::state::{DeedResult, LogPlace, Machine, Source};

const GROUP: Group = Group { generation: 0, id: 7 };

/// A chain of records with one to three deeds each.
fn chain(records: usize) -> (Vec<Record>, u64, [u8; 32]) {
    chain_of(records, 0, "v")
}

/// A chain of records: some that are in every chain, then some with a value of their own.
pub(in crate::coordinator::audit) fn chain_of(same: usize, own: usize, value: &str) -> (Vec<Record>, u64, [u8; 32]) {
    let key = Keypair::from_seed(&[1; 32]);
    let mut machine = Machine::new(GROUP);
    let made = (1..=(same + own) as u64).filter_map(|seq| {
        let value = if seq > same as u64 { value } else { "v" };
        let put = |n| Command::Put(Put { key: format!("k{n}"), value: value.into(), ttl_ms: None, fence: None });
        let commands = (0..=seq % 3).map(put).collect();
        let proposal = Proposal {
            format: 0,
            group: GROUP,
            by: key.did(),
            session: 1,
            seq,
            answered: seq - 1,
            base: 0,
            at_ms: 0,
            commands,
            requests: Vec::new(),
        };
        machine.apply_signed(LogPlace { index: seq, leader: key.did() }, &Signed::new(&proposal, &key)).1
    });
    let made = made.collect();
    let chain = machine.audit();
    (made, chain.count, chain.head)
}

pub(in crate::coordinator::audit) fn read(records: &[Record], count: u64, head: [u8; 32]) -> AuditRows {
    AuditRows { records: records.to_vec(), gaps: Vec::new(), more: false, count, head, has_let_go: false }
}

/// promise: Keys and locks | `audit verify` finds whatever was changed, left out or exchanged
#[test]
fn a_chain_that_nobody_touched_is_whole_from_any_point() {
    let (records, count, head) = chain(12);
    let whole = check(&read(&records, count, head), 0);
    assert_eq!((whole.broken, whole.entries, whole.head, whole.first), (None, count, head, Some(1)));
    // a step begins with the last record of the step before
    let after = records[4].last();
    let rest = check(&read(&records[4..], count, head), after);
    assert_eq!((rest.broken, rest.entries, rest.head), (None, count - after, head));
    // older records were dropped
    let kept = check(&read(&records[3..], count, head), 0);
    assert_eq!((kept.broken, kept.first), (None, Some(records[3].first)));
    assert_eq!(kept.dropped, [(1, records[3].first - 1)], "it says where it begins");
    assert!(check(&read(&[], 0, [0; 32]), 0).ok());
}

/// promise: Keys and locks | `audit verify` says which entries its node let go of, the beginning among them
#[test]
fn a_chain_with_holes_says_where_they_are_and_is_checked_between_them() {
    let (records, count, head) = chain(12);
    let mut kept = records.clone();
    kept.drain(6..9);
    kept.drain(..2);
    let dropped = (records[6].first, records[8].last());
    let with = |records: &[Record], has_let_go| AuditRows { has_let_go, ..read(records, count, head) };
    let checked = check(&with(&kept, true), 0);
    assert_eq!((checked.broken, checked.first), (None, Some(records[2].first)));
    assert_eq!(checked.dropped, [(1, records[1].last()), dropped]);
    assert_eq!(checked.entries, kept.iter().map(|record| record.deeds.len() as u64).sum::<u64>());
    // a node that never had to let go of anything has no holes
    assert!(check(&with(&kept, false), 0).broken.is_some());
    for n in 0..kept.len() {
        let mut changed = kept.clone();
        changed[n].deeds[0].name.push('x');
        let last_before_a_hole = changed.get(n + 1).is_some_and(|next| next.first != changed[n].last() + 1);
        assert_eq!(check(&with(&changed, true), 0).broken.is_some(), !last_before_a_hole, "{n}");
    }
    // records that others may still send are told apart from those
    let missing = Gap { from: records[5].first, to: records[5].last(), hash: records[5].hash() };
    let mut kept = records.clone();
    kept.drain(4..6);
    let checked = check(&AuditRows { gaps: vec![missing], ..with(&kept, true) }, 0);
    assert_eq!((checked.broken, checked.missing), (None, vec![(missing.from, missing.to)]));
    assert_eq!(checked.dropped, [(records[4].first, records[4].last())]);
}

/// A forbidden change of a record.
fn tampered() -> impl Strategy<Value = fn(&mut Record)> {
    prop_oneof![
        Just((|record: &mut Record| record.deeds[0].name.push('x')) as fn(&mut Record)),
        Just((|record: &mut Record| record.deeds[0].result = DeedResult::Refused("held".into())) as fn(&mut Record)),
        Just((|record: &mut Record| drop(record.deeds.pop())) as fn(&mut Record)),
        Just((|record: &mut Record| record.index += 1) as fn(&mut Record)),
        Just((|record: &mut Record| record.before[7] ^= 1) as fn(&mut Record)),
        Just(
            (|record: &mut Record| {
                if let Source::Proposal { by, .. } = &mut record.source {
                    *by = Keypair::from_seed(&[2; 32]).did();
                }
            }) as fn(&mut Record)
        ),
        Just(
            (|record: &mut Record| {
                if let Source::Proposal { at_ms, .. } = &mut record.source {
                    *at_ms += 1;
                }
            }) as fn(&mut Record)
        ),
    ]
}

/// Repairs the chain as a writer of the rows could, up to the hash in the state.
fn relink(records: &mut [Record]) {
    for n in 1..records.len() {
        records[n].before = records[n - 1].hash();
        records[n].first = records[n - 1].last() + 1;
    }
}

proptest! {
    /// promise: Keys and locks | `audit verify` finds whatever was changed, left out or exchanged
    #[test]
    fn whatever_is_changed_left_out_or_exchanged_is_found(at in 0..12usize, change in tampered(), relinked: bool) {
        let (mut records, count, head) = chain(12);
        change(&mut records[at]);
        if relinked {
            relink(&mut records);
        }
        // the repair may undo the change
        let changed = records != chain(12).0;
        prop_assert_eq!(check(&read(&records, count, head), 0).broken.is_some(), changed);

        let (mut records, count, head) = chain(12);
        records.remove(at);
        // the first records may be dropped; none in the middle or at the end
        prop_assert_eq!(check(&read(&records, count, head), 0).broken.is_some(), at > 0);
        if relinked && at > 0 {
            relink(&mut records);
            prop_assert!(check(&read(&records, count, head), 0).broken.is_some());
        }
    }

    /// promise: Keys and locks | A node gets the past before its snapshot from others, and believes no wrong one
    #[test]
    fn a_page_from_anybody_proves_itself_or_adds_nothing(
        from in 1..10usize,
        to in 1..10usize,
        fits in 1..6usize,
        bad in proptest::option::of((0..6usize, 0..400usize)),
    ) {
        let (from, to) = (from.min(to), from.max(to));
        let (records, count, head) = chain(12);
        let missing = &records[from..=to];
        let mut gap = Gap { from: missing[0].first, to: missing[to - from].last(), hash: missing[to - from].hash() };
        let held: Vec<Record> = records[..from].iter().chain(&records[to + 1..]).cloned().collect();
        let known = check(&AuditRows { gaps: vec![gap], ..read(&held, count, head) }, 0);
        prop_assert_eq!((known.broken, known.missing), (None, vec![(gap.from, gap.to)]));

        let mut filled: Vec<Record> = Vec::new();
        let mut bad = bad;
        loop {
            let upto = gap.to;
            let mut page: Vec<Vec<u8>> =
                records.iter().rev().filter(|record| record.last() <= upto).take(fits).map(Record::encode).collect();
            let lies = bad.take().filter(|(row, at)| page.get(*row).is_some_and(|bytes| *at < bytes.len()));
            if let Some((row, at)) = lies {
                page[row][at] ^= 1;
            }
            let (proves, rest) = proven(gap, &page);
            if let Some((row, _)) = lies {
                prop_assert!(proves.len() <= row);
            } else {
                prop_assert!(!proves.is_empty());
            }
            filled.splice(0..0, proves.into_iter().rev());
            match rest {
                Some(rest) => gap = rest,
                None => break,
            }
        }
        prop_assert_eq!(filled, missing.to_vec());
    }
}
