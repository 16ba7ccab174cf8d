use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use nexus_crdt::{Entry, Members, SpaceId};
use tokio::time::Instant;

use super::shares::{Party, bytes_of, work_for};
use crate::trace::TraceParent;

/// Bytes of the entries that wait in one session, beside those of the frame that reaches the bound.
const BYTES_MAX: usize = 2 << 20;
/// Bytes of those of the peer itself, which sends no more then.
const OWN_BYTES_MAX: usize = 256 << 10;

/// An entry, with the trace that the peer named for it.
pub(super) type Brought = (Entry, Option<TraceParent>);

/// Entries in one session that wait for their authors' turns. Those of other authors go past them, and small frames
/// become one turn.
#[derive(Default)]
pub(super) struct Backlog {
    authors: BTreeMap<Party, Waiting>,
    bytes: usize,
    arrived: u64,
}

struct Waiting {
    /// The entries in the order of their arrival, with its number.
    entries: VecDeque<(u64, Brought)>,
    bytes: usize,
    /// Since when the first one waits.
    since: Instant,
}

/// The next entries of an author.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Next {
    pub(super) party: Party,
    pub(super) since: Instant,
    /// The arrival of the first one.
    arrived: u64,
}

impl Backlog {
    pub(super) fn add(&mut self, party: Party, brought: Brought, now: Instant) {
        self.arrived += 1;
        self.put(party, self.arrived, brought, now);
    }

    fn put(&mut self, party: Party, arrived: u64, brought: Brought, since: Instant) {
        let waiting = || Waiting { entries: VecDeque::new(), bytes: 0, since };
        let author = self.authors.entry(party).or_insert_with(waiting);
        let bytes = bytes_of(&brought.0);
        (author.bytes, self.bytes, author.since) = (author.bytes + bytes, self.bytes + bytes, author.since.min(since));
        author.entries.push_back((arrived, brought));
    }

    /// Entries of strangers that are members by now wait for the turns of those.
    pub(super) fn introduce(&mut self, members: &Members) {
        let Some(strangers) = self.authors.remove(&Party::Strangers) else { return };
        self.bytes -= strangers.bytes;
        for (arrived, brought) in strangers.entries {
            self.put(Party::of(brought.0.header().author, members), arrived, brought, strangers.since);
        }
        for author in self.authors.values_mut() {
            author.entries.make_contiguous().sort_by_key(|(arrived, _)| *arrived);
        }
    }

    /// Whether no other frame of the peer may be read before some entries were taken.
    pub(super) fn is_full(&self, peer: Party) -> bool {
        self.bytes >= BYTES_MAX || self.authors.get(&peer).is_some_and(|own| own.bytes >= OWN_BYTES_MAX)
    }

    /// The authors with entries, in the order of arrival.
    pub(super) fn next(&self) -> Vec<Next> {
        let next = |(party, waiting): (&Party, &Waiting)| {
            let (arrived, _) = waiting.entries.front()?;
            Some(Next { party: *party, since: waiting.since, arrived: *arrived })
        };
        let mut all: Vec<Next> = self.authors.iter().filter_map(next).collect();
        all.sort_unstable_by_key(|next| next.arrived);
        all
    }

    /// Takes the entries of a space, at most `most`, with the work for them. Those of one log stay in order.
    pub(super) fn take_of(
        &mut self,
        space: SpaceId,
        most: usize,
        now: Instant,
    ) -> (Vec<Brought>, BTreeMap<Party, Duration>) {
        let (mut taken, mut parties, mut left) = (Vec::new(), BTreeMap::new(), most);
        for (party, author) in &mut self.authors {
            let mut work = Duration::ZERO;
            let (some, others): (VecDeque<_>, VecDeque<_>) =
                std::mem::take(&mut author.entries).into_iter().partition(|(_, (entry, _))| {
                    let takes = left > 0 && entry.header().space == space;
                    if takes {
                        (left, work) = (left - 1, work + work_for(entry));
                    }
                    takes
                });
            author.entries = others;
            if !some.is_empty() {
                let bytes: usize = some.iter().map(|(_, (entry, _))| bytes_of(entry)).sum();
                (author.bytes, author.since, self.bytes) = (author.bytes - bytes, now, self.bytes - bytes);
                parties.insert(*party, work);
                taken.extend(some.into_iter().map(|(_, brought)| brought));
            }
        }
        self.authors.retain(|_, author| !author.entries.is_empty());
        (taken, parties)
    }

    /// Takes the first entries of an author, at most `most`, with the work for them.
    pub(super) fn take(&mut self, party: Party, most: usize, now: Instant) -> (Vec<Brought>, Duration) {
        let Some(author) = self.authors.get_mut(&party) else { return (Vec::new(), Duration::ZERO) };
        let some = author.entries.drain(..most.min(author.entries.len()));
        let some: Vec<Brought> = some.map(|(_, brought)| brought).collect();
        let bytes: usize = some.iter().map(|(entry, _)| bytes_of(entry)).sum();
        (author.bytes, author.since, self.bytes) = (author.bytes - bytes, now, self.bytes - bytes);
        if author.entries.is_empty() {
            self.authors.remove(&party);
        }
        let work = some.iter().map(|(entry, _)| work_for(entry)).sum();
        (some, work)
    }
}

#[cfg(test)]
mod tests {
    use nexus_crdt::{Draft, Hlc, Incarnation, Kind, LogId, SpaceId, Verified};
    use nexus_identity::Keypair;

    use super::*;
    use crate::replication::tests::{chain, key, mesh};

    const SECOND: Duration = Duration::from_secs(1);

    fn entry(n: u8, bytes: usize) -> Brought {
        let key = Keypair::from_seed(&[n; 32]);
        let log = LogId { space: SpaceId::mesh(&key.did()), author: key.did(), incarnation: Incarnation([n; 8]) };
        let (kind, payload) = (Kind::WRITES, vec![n; bytes].into());
        let draft = Draft { mesh: key.did(), log, after: None, hlc: Hlc(1), kind, refs: vec![], payload };
        let entry = Verified::write(draft, &key);
        ((*entry).clone(), None)
    }

    #[test]
    fn entries_of_a_space_are_taken_from_all_authors_and_the_rest_stays() {
        let party = |n| Party::Author(Keypair::from_seed(&[n; 32]).did());
        let (start, mut backlog) = (Instant::now(), Backlog::default());
        for (n, bytes) in [(1, 10), (2, 20), (1, 30)] {
            backlog.add(party(n), entry(n, bytes), start);
        }
        // each key has a mesh of its own here
        let space = SpaceId::mesh(&Keypair::from_seed(&[1; 32]).did());
        let (taken, parties) = backlog.take_of(space, 1, start);
        assert_eq!((taken.len(), parties.len()), (1, 1));
        let (taken, parties) = backlog.take_of(space, 9, start);
        assert_eq!(taken[0].0.payload().map(<[u8]>::len), Some(30));
        assert_eq!(parties, BTreeMap::from([(party(1), work_for(&taken[0].0))]));
        assert_eq!(backlog.next().iter().map(|next| next.party).collect::<Vec<_>>(), [party(2)]);
        backlog.take(party(2), 9, start);
        assert!(backlog.bytes == 0 && backlog.take_of(space, 9, start).0.is_empty());
    }

    #[test]
    fn entries_of_an_author_stay_in_order_and_authors_come_as_they_arrived() {
        let party = |n| Party::Author(Keypair::from_seed(&[n; 32]).did());
        let start = Instant::now();
        let mut backlog = Backlog::default();
        for (n, bytes, at) in [(2, 10, start), (1, 20, start), (2, 30, start + SECOND)] {
            backlog.add(party(n), entry(n, bytes), at);
        }
        let order = |backlog: &Backlog| backlog.next().iter().map(|next| (next.party, next.since)).collect::<Vec<_>>();
        assert_eq!(order(&backlog), [(party(2), start), (party(1), start)]);
        let (some, work) = backlog.take(party(2), 1, start + SECOND);
        assert_eq!((some[0].0.payload().map(<[u8]>::len), some.len(), work), (Some(10), 1, work_for(&some[0].0)));
        assert_eq!(order(&backlog), [(party(1), start), (party(2), start + SECOND)]);
        let (some, _) = backlog.take(party(2), 9, start);
        assert_eq!(some[0].0.payload().map(<[u8]>::len), Some(30));
        assert!(backlog.take(party(2), 9, start).0.is_empty() && backlog.next().len() == 1);
        backlog.take(party(1), 9, start);
        assert!(backlog.bytes == 0 && backlog.authors.is_empty());
    }

    #[test]
    fn entries_of_a_stranger_that_becomes_a_member_wait_for_its_own_turns() {
        let mut members = Members::of(mesh());
        members.admit(&chain(1)).unwrap();
        let author = Party::Author(key(1).did());
        let start = Instant::now();
        let mut backlog = Backlog::default();
        for (n, bytes) in [(1, 10), (2, 20), (1, 30)] {
            backlog.add(Party::Strangers, entry(n, bytes), start);
        }
        backlog.add(author, entry(1, 40), start + SECOND);
        let all = backlog.bytes;
        backlog.introduce(&members);
        assert_eq!(backlog.bytes, all);
        let next = backlog.next();
        assert_eq!(next.iter().map(|next| next.party).collect::<Vec<_>>(), [author, Party::Strangers]);
        assert_eq!(next[0].since, start, "it waits since its first entry came");
        let lengths =
            |some: &[Brought]| some.iter().map(|(entry, _)| entry.payload().unwrap().len()).collect::<Vec<_>>();
        assert_eq!(lengths(&backlog.take(author, 9, start).0), [10, 30, 40]);
        assert_eq!(lengths(&backlog.take(Party::Strangers, 9, start).0), [20]);
        assert!(backlog.bytes == 0 && backlog.authors.is_empty());
    }

    /// promise: Bad input | Entries that wait in a session are bounded in bytes, and those of the peer itself further
    #[test]
    fn what_waits_is_bounded_in_bytes_and_what_the_peer_wrote_further() {
        let (own, other) = (Party::Author(Keypair::from_seed(&[1; 32]).did()), Party::Strangers);
        let now = Instant::now();
        let mut backlog = Backlog::default();
        let large = 60 << 10;
        for n in 1..=35 {
            backlog.add(other, entry(2, large), now);
            assert_eq!(backlog.is_full(own), n * large >= BYTES_MAX);
        }
        backlog.take(other, 35, now);
        for n in 1..=5 {
            backlog.add(own, entry(1, large), now);
            assert_eq!(backlog.is_full(own), n * large >= OWN_BYTES_MAX);
        }
        assert!(!backlog.is_full(other));
    }
}
