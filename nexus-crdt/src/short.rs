//! Entries on a stream without what the receiver knows already.

use std::collections::BTreeMap;

use crate::entry::{ENTRY_FORMAT_MAX, Header};
use crate::entry_id::EntryId;
use crate::error::EntryError;
use crate::sync::{EntryFrame, FRAME_ENTRIES_MAX, SyncFrame, sync_frame};

/// The first bytes of a header: format, mesh, space, author and incarnation. All entries of a log in one format have them.
const LOG_BYTES: usize = 2 + 32 + 32 + 32 + 8;
/// The bytes of a seq, and of the id of the entry before.
const SEQ_BYTES: usize = 8;
const ID_BYTES: usize = 32;
/// The last bytes of a header: the hash of its payload.
const HASH_BYTES: usize = 32;
/// Logs that have a number on a stream, with about 260 bytes of memory each at either end. Entries of further ones have whole
/// headers.
const LOGS_MAX: usize = 1_024;

type Log = [u8; LOG_BYTES];

/// A log on a stream: its number there, and the last entry that went over it.
#[derive(Clone, Copy, Debug)]
struct Last {
    log: Log,
    seq: u64,
    id: EntryId,
}

/// The parts of a header.
struct Parts<'a> {
    log: Log,
    seq: u64,
    prev: EntryId,
    /// All between the id of the entry before and the payload's hash.
    own: &'a [u8],
    hash: &'a [u8],
}

impl<'a> Parts<'a> {
    /// `None` for too few bytes. The format does not matter: both ends must note the same logs.
    fn of(header: &'a [u8]) -> Option<Self> {
        let (log, rest) = header.split_first_chunk::<LOG_BYTES>()?;
        let (seq, rest) = rest.split_first_chunk::<SEQ_BYTES>()?;
        let (prev, rest) = rest.split_first_chunk::<ID_BYTES>()?;
        let (own, hash) = rest.split_last_chunk::<HASH_BYTES>()?;
        Some(Self { log: *log, seq: u64::from_le_bytes(*seq), prev: EntryId::from_bytes(*prev), own, hash })
    }
}

/// The hash that the header of an entry of a log names for its payload; `None` if it has none, or the format is not known.
fn hash_of(log: &Log, payload: Option<&[u8]>) -> Option<[u8; 32]> {
    let format = u16::from_le_bytes([log[0], log[1]]);
    Header::hash_of(format, payload?).filter(|_| (1..=ENTRY_FORMAT_MAX).contains(&format))
}

/// The logs that have a number on a stream. Both ends note the same, as frames keep their order.
#[derive(Debug, Default)]
struct Logs {
    last: Vec<Last>,
    numbers: BTreeMap<Log, u32>,
}

impl Logs {
    fn note(&mut self, last: Last) {
        match self.numbers.get(&last.log) {
            Some(number) => self.last[*number as usize] = last,
            None if self.last.len() < LOGS_MAX => {
                self.numbers.insert(last.log, u32::try_from(self.last.len()).unwrap_or(u32::MAX));
                self.last.push(last);
            }
            None => {}
        }
    }

    /// Notes an entry with a whole header.
    fn note_whole(&mut self, header: &[u8]) {
        if let Some(Parts { log, seq, .. }) = Parts::of(header) {
            self.note(Last { log, seq, id: EntryId::of(header) });
        }
    }
}

/// Leaves out of the entries of one stream what its other end knows. That is the log, if it was named before. It is also the
/// seq, and the id of the entry before, if that was the last one of the log. The payload's hash can be computed.
///
/// It takes 178 bytes off a header. Nothing is trusted: the other end makes the whole header, which was signed. For a
/// peer that knows it (`sync` in its hello is 1 or more) each frame of a stream goes through it, in their order.
#[derive(Debug, Default)]
pub struct Shortener(Logs);

impl Shortener {
    /// Shortens the entries of a frame.
    pub fn shorten(&mut self, frame: &mut SyncFrame) {
        let Some(sync_frame::Body::Entries(entries)) = &mut frame.body else { return };
        for entry in &mut entries.entries {
            let short = self.shortened(entry);
            self.0.note_whole(&entry.header);
            if let Some((number, header)) = short {
                (entry.header, entry.follows) = (header, Some(number));
            }
        }
    }

    fn shortened(&self, entry: &EntryFrame) -> Option<(u32, Vec<u8>)> {
        let parts = Parts::of(&entry.header)?;
        let number = *self.0.numbers.get(&parts.log)?;
        let last = self.0.last.get(number as usize)?;
        let follows = last.seq.checked_add(1) == Some(parts.seq) && last.id == parts.prev;
        let hash = hash_of(&parts.log, entry.payload.as_deref())?;
        (follows && hash == parts.hash).then(|| (number, parts.own.to_vec()))
    }
}

/// The other end of a [`Shortener`].
#[derive(Debug, Default)]
pub struct Lengthener(Logs);

impl Lengthener {
    /// Gives the entries of a frame their whole headers.
    ///
    /// # Errors
    /// [`EntryError::Malformed`]: the log has no number on this stream, the payload has no hash, or there are more than
    /// [`FRAME_ENTRIES_MAX`] entries. Then no header was made: a short entry is far smaller than its header.
    pub fn lengthen(&mut self, frame: &mut SyncFrame) -> Result<(), EntryError> {
        let Some(sync_frame::Body::Entries(entries)) = &mut frame.body else { return Ok(()) };
        if entries.entries.len() > FRAME_ENTRIES_MAX {
            return Err(EntryError::Malformed("too many entries in a frame"));
        }
        for entry in &mut entries.entries {
            if let Some(number) = entry.follows.take() {
                entry.header = self.whole(number, entry).ok_or(EntryError::Malformed("follows nothing"))?;
            }
            self.0.note_whole(&entry.header);
        }
        Ok(())
    }

    fn whole(&self, number: u32, entry: &EntryFrame) -> Option<Vec<u8>> {
        let Last { log, seq, id } = self.0.last.get(number as usize)?;
        let hash = hash_of(log, entry.payload.as_deref())?;
        let seq = seq.checked_add(1)?;
        Some([log, seq.to_le_bytes().as_slice(), id.as_bytes(), &entry.header, &hash].concat())
    }
}

#[cfg(test)]
mod tests {
    use nexus_identity::{Did, Keypair};
    use proptest::prelude::*;

    use super::*;
    use crate::entry::{Draft, Verified};
    use crate::{Head, Hlc, Incarnation, Kind, LogId, SpaceId};

    fn did(n: u8) -> Did {
        Keypair::from_seed(&[n; 32]).did()
    }

    /// Logs of some authors, each with so many entries.
    fn logs(authors: u8, entries: usize) -> Vec<Vec<EntryFrame>> {
        let log = |n: u8| {
            let space = SpaceId::from_bytes([7; 32]);
            let log = LogId { space, author: did(n), incarnation: Incarnation([n; 8]) };
            let (mut frames, mut after) = (Vec::new(), None);
            for number in 0..entries {
                let payload = format!("{n} {number}").into_bytes().into();
                let hlc = Hlc(number as u64);
                let draft =
                    Draft { mesh: did(0), log, after: after.as_ref(), hlc, kind: Kind::WRITES, refs: vec![], payload };
                let entry = Verified::write(draft, &Keypair::from_seed(&[n; 32]));
                after = Some(Head { seq: entry.header().seq, id: entry.id() });
                frames.push(EntryFrame::new(&entry));
            }
            frames
        };
        (1..=authors).map(log).collect()
    }

    fn frame(entries: Vec<EntryFrame>) -> SyncFrame {
        SyncFrame { body: Some(sync_frame::Body::Entries(sync_frame::EntriesFrame { entries })) }
    }

    fn entries(frame: &SyncFrame) -> &[EntryFrame] {
        match &frame.body {
            Some(sync_frame::Body::Entries(entries)) => &entries.entries,
            _ => &[],
        }
    }

    #[test]
    fn an_entry_that_follows_on_another_is_short_and_comes_out_as_it_went_in() {
        let log = logs(1, 3).remove(0);
        let (mut shortener, mut lengthener) = (Shortener::default(), Lengthener::default());
        for (number, entry) in log.iter().enumerate() {
            let mut sent = frame(vec![entry.clone()]);
            shortener.shorten(&mut sent);
            let saved = entry.header.len() - entries(&sent)[0].header.len();
            assert_eq!(saved, if number == 0 { 0 } else { LOG_BYTES + SEQ_BYTES + ID_BYTES + HASH_BYTES });
            assert!(number == 0 || entries(&sent)[0].clone().parse().is_err(), "alone it is no entry");
            lengthener.lengthen(&mut sent).unwrap();
            assert_eq!(entries(&sent), std::slice::from_ref(entry));
        }
    }

    /// promise: Bad input | A short entry that follows on nothing, or has no payload, is malformed
    #[test]
    fn short_entries_that_follow_on_nothing_are_malformed() {
        let log = logs(1, 2).remove(0);
        let (mut shortener, mut lengthener) = (Shortener::default(), Lengthener::default());
        let (mut first, mut second) = (frame(vec![log[0].clone()]), frame(vec![log[1].clone()]));
        shortener.shorten(&mut first);
        shortener.shorten(&mut second);
        assert!(Lengthener::default().lengthen(&mut second.clone()).is_err(), "another stream");
        lengthener.lengthen(&mut first).unwrap();
        let [mut beyond, mut bare, mut none] = std::array::from_fn(|_| entries(&second)[0].clone());
        (beyond.follows, bare.payload, none.payload) = (Some(u32::MAX), None, Some(Vec::new()));
        for bad in [beyond, bare] {
            assert!(lengthener.lengthen(&mut frame(vec![bad])).is_err());
        }
        // whatever else it says, its signature tells
        let _ = lengthener.lengthen(&mut frame(vec![none]));
    }

    /// promise: Bad input | A peer cannot have more headers made, nor more logs noted, than the bounds of a frame and of a stream
    #[test]
    fn headers_that_are_made_and_logs_that_are_noted_are_bounded() {
        let log = logs(1, 2).remove(0);
        let (mut shortener, mut lengthener) = (Shortener::default(), Lengthener::default());
        let mut both = frame(log);
        shortener.shorten(&mut both);
        lengthener.lengthen(&mut frame(vec![entries(&both)[0].clone()])).unwrap();
        let tiny = EntryFrame { follows: Some(0), payload: Some(Vec::new()), ..EntryFrame::default() };
        let mut flood = frame(vec![tiny; FRAME_ENTRIES_MAX + 1]);
        assert!(lengthener.lengthen(&mut flood).is_err());
        assert!(entries(&flood).iter().all(|entry| entry.header.is_empty()), "no header was made");
        for n in 0..2 * LOGS_MAX as u64 {
            let header = [n.to_le_bytes().as_slice(), &[0; 200]].concat();
            lengthener.lengthen(&mut frame(vec![EntryFrame { header, ..EntryFrame::default() }])).unwrap();
        }
        assert_eq!((lengthener.0.last.len(), lengthener.0.numbers.len()), (LOGS_MAX, LOGS_MAX));
    }

    proptest! {
        /// Entries of several logs, in any order, doubled, lost on the way to the stream or without payload.
        #[test]
        fn a_stream_brings_what_was_sent(picks in proptest::collection::vec((0..3_usize, 0..5_usize, any::<bool>()), 0..40)) {
            let logs = logs(3, 5);
            let (mut shortener, mut lengthener) = (Shortener::default(), Lengthener::default());
            for chunk in picks.chunks(4) {
                let sent: Vec<EntryFrame> = chunk.iter().map(|(log, at, whole)| {
                    let entry = logs[*log][*at].clone();
                    if *whole { entry } else { EntryFrame { payload: None, ..entry } }
                }).collect();
                let mut on_the_wire = frame(sent.clone());
                shortener.shorten(&mut on_the_wire);
                lengthener.lengthen(&mut on_the_wire).unwrap();
                prop_assert_eq!(entries(&on_the_wire), sent.as_slice());
            }
        }

        #[test]
        fn no_bytes_make_it_panic(headers in proptest::collection::vec((proptest::collection::vec(any::<u8>(), 0..300), any::<Option<u32>>()), 0..8)) {
            let sent = headers.into_iter().map(|(header, follows)| EntryFrame {
                header, follows: follows.map(|number| number % 4), payload: Some(vec![1]), ..EntryFrame::default()
            });
            let _ = Lengthener::default().lengthen(&mut frame(sent.collect()));
        }
    }
}
