//! The difference between two sequences, found in bounded time.

use std::collections::BTreeMap;
use std::ops::Range;

/// The most pairs of items that are compared for one value. Beyond them, what is left is replaced as a whole.
pub(crate) const PAIRS_MAX: usize = 1 << 22;
/// The most pairs of one part that is compared item by item.
const PART_MAX: usize = 1 << 20;

/// A part of the old sequence, and the part of the new one that takes its place. One of them may be empty.
pub(crate) type Hunk = (Range<usize>, Range<usize>);

/// The parts that differ, in order. So many pairs may still be compared; those that are compared are taken from them.
pub(crate) fn hunks<T: Ord>(old: &[T], new: &[T], left: &mut usize) -> Vec<Hunk> {
    let mut found = Vec::new();
    let mut open = vec![(0..old.len(), 0..new.len())];
    while let Some(part) = open.pop() {
        let (before, after) = trimmed(old, new, part);
        if before.is_empty() && after.is_empty() {
            continue;
        }
        let pairs = before.len().saturating_mul(after.len());
        if pairs == 0 {
            found.push((before, after));
            continue;
        }
        if pairs <= PART_MAX.min(*left) {
            *left -= pairs;
            compare(old, new, (before, after), &mut found);
            continue;
        }
        let anchors = anchors(old, new, &before, &after);
        if anchors.is_empty() {
            found.push((before, after));
            continue;
        }
        let (mut from, mut to) = (before.start, after.start);
        for (one, other) in anchors {
            open.push((from..one, to..other));
            (from, to) = (one + 1, other + 1);
        }
        open.push((from..before.end, to..after.end));
    }
    found.sort_unstable_by_key(|(before, after)| (before.start, after.start));
    found
}

/// Without what is equal at both ends.
fn trimmed<T: Eq>(old: &[T], new: &[T], (mut before, mut after): Hunk) -> Hunk {
    while !before.is_empty() && !after.is_empty() && old.get(before.start) == new.get(after.start) {
        (before.start, after.start) = (before.start + 1, after.start + 1);
    }
    while !before.is_empty() && !after.is_empty() && old.get(before.end - 1) == new.get(after.end - 1) {
        (before.end, after.end) = (before.end - 1, after.end - 1);
    }
    (before, after)
}

/// Pairs of equal items that come once in each part, as many as stand in one order.
fn anchors<T: Ord>(old: &[T], new: &[T], before: &Range<usize>, after: &Range<usize>) -> Vec<(usize, usize)> {
    let mut places: BTreeMap<&T, (usize, usize, usize, usize)> = BTreeMap::new();
    for at in before.clone() {
        if let Some(item) = old.get(at) {
            let place = places.entry(item).or_default();
            (place.0, place.1) = (place.0 + 1, at);
        }
    }
    for at in after.clone() {
        if let Some(place) = new.get(at).and_then(|item| places.get_mut(item)) {
            (place.2, place.3) = (place.2 + 1, at);
        }
    }
    let once = places.into_values().filter(|place| (place.0, place.2) == (1, 1));
    let mut pairs: Vec<(usize, usize)> = once.map(|place| (place.1, place.3)).collect();
    pairs.sort_unstable();
    // the longest ascending part: of each length the pair with which it ends lowest, and for each pair the one before it
    let (mut ends, mut links): (Vec<usize>, Vec<Option<usize>>) = (Vec::new(), Vec::new());
    for (at, pair) in pairs.iter().enumerate() {
        let length = ends.partition_point(|end| pairs.get(*end).is_some_and(|other| other.1 < pair.1));
        links.push(length.checked_sub(1).and_then(|length| ends.get(length)).copied());
        match ends.get_mut(length) {
            Some(end) => *end = at,
            None => ends.push(at),
        }
    }
    let mut chosen = Vec::new();
    let mut next = ends.last().copied();
    while let Some(at) = next {
        chosen.extend(pairs.get(at).copied());
        next = links.get(at).copied().flatten();
    }
    chosen.reverse();
    chosen
}

/// Compares each item with each.
fn compare<T: Eq>(old: &[T], new: &[T], (before, after): Hunk, found: &mut Vec<Hunk>) {
    let (rows, width) = (before.len(), after.len() + 1);
    let is_equal = |row: usize, column: usize| old.get(before.start + row) == new.get(after.start + column);
    // the most items in common from each pair on
    let mut common = vec![0_u32; (rows + 1) * width];
    let at = |common: &[u32], row: usize, column: usize| common.get(row * width + column).copied().unwrap_or(0);
    for row in (0..rows).rev() {
        for column in (0..width - 1).rev() {
            let most = if is_equal(row, column) {
                at(&common, row + 1, column + 1) + 1
            } else {
                at(&common, row + 1, column).max(at(&common, row, column + 1))
            };
            if let Some(slot) = common.get_mut(row * width + column) {
                *slot = most;
            }
        }
    }
    let (mut row, mut column, mut from) = (0, 0, (0, 0));
    let mut push = |from: (usize, usize), row: usize, column: usize| {
        if from != (row, column) {
            let hunk = (before.start + from.0..before.start + row, after.start + from.1..after.start + column);
            found.push(hunk);
        }
    };
    while row < rows && column < width - 1 {
        if is_equal(row, column) {
            push(from, row, column);
            (row, column) = (row + 1, column + 1);
            from = (row, column);
        } else if at(&common, row + 1, column) >= at(&common, row, column + 1) {
            row += 1;
        } else {
            column += 1;
        }
    }
    push(from, rows, width - 1);
}

#[cfg(test)]
mod tests {
    use super::*;

    use proptest::prelude::*;

    fn applied(old: &[u8], new: &[u8]) -> (Vec<u8>, usize) {
        let (mut result, mut at, mut cost) = (Vec::new(), 0, 0);
        for (before, after) in hunks(old, new, &mut { PAIRS_MAX }) {
            result.extend_from_slice(&old[at..before.start]);
            result.extend_from_slice(&new[after.clone()]);
            cost += before.len() + after.len();
            at = before.end;
        }
        result.extend_from_slice(&old[at..]);
        (result, cost)
    }

    proptest! {
        #[test]
        fn hunks_make_the_new_of_the_old(
            old in proptest::collection::vec(0_u8..5, 0..60),
            new in proptest::collection::vec(0_u8..5, 0..60),
        ) {
            prop_assert_eq!(applied(&old, &new).0, new);
        }
    }

    #[test]
    fn what_is_far_apart_stays() {
        // too long to compare each with each
        let old: Vec<u32> = (0..3_000).collect();
        let mut new = old.clone();
        new.remove(2_900);
        new.insert(10, 9_999);
        assert_eq!(hunks(&old, &new, &mut { PAIRS_MAX }), [(10..10, 10..11), (2_900..2_901, 2_901..2_901)]);
        assert_eq!(applied(b"kitten", b"sitting").1, 5);
    }
}
