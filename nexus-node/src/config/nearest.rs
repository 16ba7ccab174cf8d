use super::KEYS;

/// The known key nearest to an unknown one: a typo away, or a name that contains it.
pub(super) fn nearest(written: &str) -> Option<&'static str> {
    let written = written.to_ascii_lowercase().replace('-', "_");
    let close = typo(&written);
    let part = || {
        let having = KEYS.iter().map(|key| key.name).filter(|name| name.contains(written.as_str()));
        // of several, the shortest name
        having.filter(|_| written.len() >= 4).min_by_key(|name| name.len())
    };
    close.or_else(part)
}

/// The key that differs by a typo: one change per four letters, at most three.
pub(super) fn typo(written: &str) -> Option<&'static str> {
    let near = KEYS.iter().map(|key| (distance(written, key.name), key.name)).min()?;
    (near.0 <= (written.len() / 4).clamp(1, 3)).then_some(near.1)
}

/// The number of characters to insert, delete or change (Levenshtein).
fn distance(left: &str, right: &str) -> usize {
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (i, a) in left.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, b) in right.bytes().enumerate() {
            let changed = diagonal + usize::from(a != b);
            diagonal = row[j + 1];
            row[j + 1] = changed.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[right.len()]
}
