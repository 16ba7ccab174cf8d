//! Reading a log at a start: bytes that a crash or a disk may have changed in any way.

use std::io;

use redb::StorageBackend;

use super::super::Batch;
use super::record::{BLOCK_BYTES, Key, Record, Replayed, read};

/// The log as a start found it.
#[derive(Debug, Default, PartialEq, Eq)]
pub(in crate::store) struct Found {
    /// Its steps, in order.
    pub(in crate::store) steps: Vec<Replayed>,
    /// The last commits that the database file was synced with before them, and the last one in the log.
    pub(super) commits: Option<(u64, u64)>,
    /// The highest generation and its segment.
    pub(super) last: Option<(u64, u64)>,
    pub(super) key: Option<Key>,
}

impl Found {
    /// Its rows, in order, each with their number.
    pub(in crate::store) fn rows(self) -> Vec<(u64, Batch)> {
        let rows = self.steps.into_iter().filter_map(|step| match step {
            Replayed::Rows { no, batch } => Some((no, batch)),
            Replayed::Write { .. } | Replayed::SetLen(_) => None,
        });
        rows.collect()
    }

    /// The highest generation; 0 without any.
    #[cfg(test)]
    pub(in crate::store) fn last_generation(&self) -> u64 {
        self.last.map_or(0, |(generation, _)| generation)
    }
}

/// The sound records at the beginning of a segment, and the place behind them.
struct Segment {
    no: u64,
    records: Vec<Record>,
    behind: u64,
    end: u64,
}

impl Segment {
    fn generation(&self) -> Option<u64> {
        self.records.first().map(|record| record.label.generation)
    }
}

/// Reads a log.
///
/// # Errors
/// [`io::ErrorKind::InvalidData`] for a log of another form, or with a broken record before a sound one.
pub(super) fn find(log: &dyn StorageBackend, segment_bytes: u64) -> io::Result<Found> {
    let len = log.len()?;
    let key = read(log, 0, len.min(BLOCK_BYTES as u64), segment_bytes, None)?.map(|first| first.key);
    let mut segments = [segment(log, 0, len, segment_bytes, key)?, segment(log, 1, len, segment_bytes, key)?];
    segments.sort_by_key(Segment::generation);
    let [older, newest] = segments;
    let first = newest.records.first().map(|first| (first.key, first.label));
    let Some(key) = key.or(first.map(|(key, _)| key)) else { return Ok(Found::default()) };
    let label = first.map(|(_, label)| label).unwrap_or_default();
    look_behind(log, &older, segment_bytes, key, label.generation)?;
    look_behind(log, &newest, segment_bytes, key, label.generation.saturating_sub(1))?;
    let last = newest.generation().map(|generation| (generation, newest.no));
    let mut found = Found { key: Some(key), last, ..Found::default() };
    // a part of it is left when it is being written anew, after it was synced in the database file: that would bring back
    // older pages
    let is_whole = older.generation().is_some_and(|older| older.checked_add(1) == Some(label.generation))
        && older.records.len() as u64 == label.previous;
    for segment in [is_whole.then_some(older), Some(newest)].into_iter().flatten() {
        for record in segment.records.into_iter().filter(|record| !record.steps.is_empty()) {
            let begins = found.commits.map_or(record.label.begins, |(begins, _)| begins);
            found.commits = Some((begins, record.label.commits));
            found.steps.extend(record.steps);
        }
    }
    Ok(found)
}

/// The place of a segment's first record. The block before the first one has the key of the log.
pub(super) const fn segment_begin(no: u64, segment_bytes: u64) -> u64 {
    BLOCK_BYTES as u64 + no * segment_bytes
}

fn segment(
    log: &dyn StorageBackend,
    no: u64,
    len: u64,
    segment_bytes: u64,
    mut key: Option<Key>,
) -> io::Result<Segment> {
    let (begin, end) = (segment_begin(no, segment_bytes), len.min(segment_begin(no + 1, segment_bytes)));
    let mut segment = Segment { no, records: Vec::new(), behind: begin, end };
    while let Some(record) = read(log, segment.behind, end, segment_bytes, key.as_ref())? {
        let generation = segment.generation().unwrap_or(record.label.generation);
        if record.label.sequence != segment.records.len() as u64 || record.label.generation != generation {
            break;
        }
        key = Some(record.key);
        segment.behind += record.bytes;
        segment.records.push(record);
    }
    Ok(segment)
}

/// Looks behind the sound records of a segment for one of a higher generation than this. A crash leaves none, as records are
/// synced one after the other: one before it is broken.
fn look_behind(
    log: &dyn StorageBackend,
    segment: &Segment,
    segment_bytes: u64,
    key: Key,
    generation: u64,
) -> io::Result<()> {
    let mut at = segment.behind;
    while at < segment.end {
        match read(log, at, segment.end, segment_bytes, Some(&key))? {
            Some(record) if record.label.generation > generation => return Err(io::ErrorKind::InvalidData.into()),
            Some(record) => at += record.bytes,
            None => at += BLOCK_BYTES as u64,
        }
    }
    Ok(())
}
