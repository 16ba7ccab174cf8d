//! Coordinators at rest: heartbeats that need not be sent, and elections that need not be held.
//!
//! Raft decides the same whether heartbeats are sent or not: they only say that the leader lives. An open connection
//! says so, too. A leader with nothing to decide therefore promises a follower a while of silence, and the follower
//! stands for no election in that time. The promise ends with the connection over which it was made, with its time, or
//! when the follower asks the leader in vain. Anything else that the leader sends ends it as well.
//!
//! While a node's heartbeats are spared, or it stands for no election, openraft's ticks would do nothing. They are left out
//! then ([`Pace`]), so that the process sleeps.
//!
//! Each promise is for one connection at both ends. So a follower that lost it is sent heartbeats as soon as it is
//! connected again.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use nexus_identity::plants::planted;
use nexus_mesh::OpenConnection;
use tokio::time::Instant;

use super::raft::{LogId, Seats, Vote, Voter};
use super::runtime::Pace;

/// The length of a promised silence. If a leader's part ends while its machine and connections live, nobody who asks
/// nothing misses it for so long.
pub(super) const PROMISE: Duration = Duration::from_secs(10);
/// The longest promise that a follower believes.
pub(super) const PROMISE_MAX: Duration = Duration::from_secs(60);
/// The age of a promise at which the next one is made.
const RENEWED_AFTER: Duration = Duration::from_secs(7);
/// The same over a connection that nobody closes when a process is killed: the follower is to miss the leader as soon as
/// it would miss heartbeats.
const SHORT_PROMISE: Duration = Duration::from_millis(1_200);
const SHORT_RENEWED_AFTER: Duration = Duration::from_millis(700);
/// The part of that age from which a promise is renewed together with another that is due: one waking then renews all.
const TOGETHER_FROM: (u32, u32) = (4, 7);
/// The time within which promises are renewed together.
const TOGETHER: Duration = Duration::from_millis(100);
/// The longest wait for the answer to a renewal in which the peer counts as resting still.
const RENEWING_FOR: Duration = Duration::from_secs(1);
/// The time for which a leader has nothing new for a peer before it promises silence.
const UNCHANGED_FOR: Duration = Duration::from_secs(2);
/// The manners of a peer that knows of promises.
const KNOWS: u16 = 1;

/// The heartbeats of a leader to all its peers, and the time of their last answers. Pure.
#[derive(Debug, Default)]
pub(super) struct Heartbeats {
    peers: BTreeMap<Voter, PeerHeartbeats>,
    /// The last time at which a promise that was due was renewed, with the age at which it was due.
    renewed: Option<(Instant, Duration)>,
    /// How often a promise was made or ended.
    changes: u64,
}

#[derive(Debug)]
struct PeerHeartbeats {
    /// The last content that it took.
    content: Content,
    /// The time since which nothing else was sent and taken.
    unchanged_since: Instant,
    promise: Option<Promise>,
    /// The connection over which a promise is being renewed, since this time.
    renewing: Option<(u64, Instant)>,
    answered: Option<Instant>,
    /// The number of the last message.
    sent: u64,
}

/// A leader's vote, the last entry that a peer has with it, and the commit that it knows.
pub(super) type Content = (Vote, Option<LogId>, Option<LogId>);

/// A promise of silence, over one connection.
#[derive(Clone, Copy, Debug)]
struct Promise {
    connection: u64,
    made: Instant,
    /// The age at which the next one is made.
    renewed_after: Duration,
}

impl Promise {
    fn age(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.made)
    }

    fn is_due(&self, now: Instant) -> bool {
        self.age(now) >= self.renewed_after
    }
}

/// The fate of a heartbeat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Heartbeat {
    /// The peer was promised silence: nothing is sent.
    Spared,
    /// It is sent, with this promise.
    Sent(Option<Duration>),
}

impl Heartbeats {
    /// Decides about a heartbeat of this content. `may_rest` tells whether the leader has nothing to decide.
    pub(super) fn next(
        &self,
        to: &Voter,
        content: Content,
        over: Option<OpenConnection>,
        may_rest: bool,
        now: Instant,
    ) -> Heartbeat {
        let Some(over) = over.filter(|over| over.rest >= KNOWS && may_rest) else { return Heartbeat::Sent(None) };
        let Some(peer) = self.peers.get(to).filter(|peer| peer.content == content) else {
            return Heartbeat::Sent(None);
        };
        if now.saturating_duration_since(peer.unchanged_since) < UNCHANGED_FOR {
            return Heartbeat::Sent(None);
        }
        let (lasts, renewed_after) =
            if over.closes { (PROMISE, RENEWED_AFTER) } else { (SHORT_PROMISE, SHORT_RENEWED_AFTER) };
        let (part, of) = TOGETHER_FROM;
        let early = || now + renewed_after * (of - part) / of;
        let holds = |promise: &Promise| {
            promise.connection == over.number
                && !promise.is_due(now)
                && !(promise.is_due(early()) && self.renews(renewed_after, now))
        };
        if peer.promise.as_ref().is_some_and(holds) { Heartbeat::Spared } else { Heartbeat::Sent(Some(lasts)) }
    }

    /// Notes that something is sent to a peer, which ends an earlier promise there. Returns its number.
    pub(super) fn sends(&mut self, to: Voter, content: Content, now: Instant) -> u64 {
        let (vote, ..) = content;
        // peers of former leaderships may be gone
        self.peers.retain(|_, peer| peer.content.0 == vote);
        let new =
            PeerHeartbeats { content, unchanged_since: now, promise: None, renewing: None, answered: None, sent: 0 };
        let peer = self.peers.entry(to).or_insert(new);
        if let Some(promise) = peer.promise.take() {
            self.changes += 1;
            peer.renewing = Some((promise.connection, now));
            if promise.is_due(now) {
                self.renewed = Some((now, promise.renewed_after));
            }
        }
        peer.sent += 1;
        peer.sent
    }

    /// Whether a promise that is renewed at this age is due, or was renewed just now.
    fn renews(&self, renewed_after: Duration, now: Instant) -> bool {
        let just_now =
            |(at, of): (Instant, Duration)| of == renewed_after && now.saturating_duration_since(at) <= TOGETHER;
        let promises = self.peers.values().filter_map(|peer| peer.promise.as_ref());
        self.renewed.is_some_and(just_now)
            || promises.filter(|promise| promise.renewed_after == renewed_after).any(|promise| promise.is_due(now))
    }

    /// Notes that a peer took the message of this number, `sent` at this time. It may carry a promise of this length over
    /// a connection, which counts if nothing was sent after it.
    pub(super) fn taken(
        &mut self,
        by: &Voter,
        content: Content,
        number: u64,
        promised: Option<(u64, Duration)>,
        sent: Instant,
    ) {
        let Some(peer) = self.peers.get_mut(by).filter(|peer| peer.content.0 == content.0) else { return };
        if peer.content != content {
            (peer.content, peer.unchanged_since) = (content, sent);
        }
        let promised = promised.filter(|_| number == peer.sent);
        peer.renewing = None;
        self.changes += u64::from(promised.is_some() || peer.promise.is_some());
        peer.promise = promised.map(|(connection, lasts)| Promise {
            connection,
            made: sent,
            renewed_after: if lasts == PROMISE { RENEWED_AFTER } else { SHORT_RENEWED_AFTER },
        });
        peer.answered = peer.answered.max(Some(sent));
    }

    /// Notes a peer's answer to a proof of leadership, which leaves its rest alone.
    pub(super) fn answered(&mut self, by: &Voter, sent: Instant) {
        if let Some(peer) = self.peers.get_mut(by) {
            peer.answered = peer.answered.max(Some(sent));
        }
    }

    /// Ends all promises: all peers get heartbeats again.
    pub(super) fn wake(&mut self) {
        self.peers.values_mut().for_each(|peer| (peer.promise, peer.renewing) = (None, None));
        self.changes += 1;
    }

    /// A number that differs after each promise that was made or ended.
    pub(super) fn changes(&self) -> u64 {
        self.changes
    }

    /// The time of a peer's last answer.
    pub(super) fn last_answer(&self, of: &Voter) -> Option<Instant> {
        self.peers.get(of).and_then(|peer| peer.answered)
    }

    /// Whether a peer was promised silence over its open connection.
    fn rests(&self, peer: &Voter, over: Option<OpenConnection>) -> Option<Promise> {
        let promise = self.peers.get(peer)?.promise?;
        over.is_some_and(|over| over.number == promise.connection).then_some(promise)
    }

    /// Whether silence was promised to a quorum of each set of voters, over connections that are open.
    pub(super) fn rests_with_quorum(
        &self,
        me: &Voter,
        sets: &[BTreeSet<Voter>],
        over: impl Fn(&Voter) -> Option<OpenConnection>,
        now: Instant,
    ) -> bool {
        // the answer to a renewal is on its way
        let renews = |voter: &Voter, over: Option<OpenConnection>| {
            let renewing = self.peers.get(voter).and_then(|peer| peer.renewing);
            renewing.zip(over).is_some_and(|((connection, since), over)| {
                over.number == connection && now.saturating_duration_since(since) <= RENEWING_FOR
            })
        };
        let rests =
            |voter: &&Voter| *voter == me || self.rests(voter, over(voter)).is_some() || renews(voter, over(voter));
        sets.iter().all(|voters| voters.iter().filter(rests).count() * 2 > voters.len())
    }

    /// The pace of a leader's ticks. They send heartbeats, so those come first of which one is not spared. A peer
    /// without a connection gets none whatever is tried; without a quorum the leader must notice how long that lasts.
    pub(super) fn pace(
        &self,
        me: &Voter,
        seats: &Seats,
        over: impl Fn(&Voter) -> Option<OpenConnection>,
        may_rest: bool,
    ) -> Pace {
        let is_settled = seats.voters.len() == 1 && seats.voters.iter().all(|voters| voters.contains(me));
        if !is_settled || !self.rests_with_quorum(me, &seats.voters, &over, Instant::now()) {
            return Pace::Runs;
        }
        let mut next: Option<Instant> = None;
        for peer in seats.all.iter().filter(|peer| *peer != me) {
            let connection = over(peer);
            if connection.is_none() {
                continue;
            }
            let Some(promise) = self.rests(peer, connection).filter(|_| may_rest) else { return Pace::Runs };
            let due = promise.made + promise.renewed_after;
            next = Some(next.map_or(due, |next| next.min(due)));
        }
        Pace::Stands(next)
    }

    /// Whether silence is promised to anybody.
    pub(super) fn is_resting(&self) -> bool {
        self.peers.values().any(|peer| peer.promise.is_some())
    }

    /// Whether a quorum of each of these sets, with `me`, took something that was sent within this time.
    pub(super) fn heard_by_quorum(&self, sets: &[BTreeSet<Voter>], me: &Voter, within: Duration, now: Instant) -> bool {
        let heard = |voter: &&Voter| {
            let answered = self.peers.get(voter).and_then(|peer| peer.answered);
            *voter == me || answered.is_some_and(|at| now.saturating_duration_since(at) <= within)
        };
        sets.iter().all(|voters| voters.iter().filter(heard).count() * 2 > voters.len())
    }
}

/// A follower's rest: it stands for no election meanwhile. Pure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rest {
    /// The leader, by its vote.
    pub(super) vote: Vote,
    /// The connection to it.
    pub(super) connection: u64,
    pub(super) until: Instant,
}

/// The state of a follower's rest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Resting {
    /// It is not promised silence.
    #[default]
    No,
    Yes(Rest),
    /// The connection has ended. It stands from this time on, unless the leader is heard.
    Lost(Instant),
}

impl Resting {
    /// The rest that holds now, with the open connection to its leader.
    pub(super) fn holds(&self, over: Option<OpenConnection>, now: Instant) -> Option<Rest> {
        match self {
            Self::Yes(rest) if planted("rests_for_good") => Some(*rest),
            Self::Yes(rest) if now < rest.until && over.is_some_and(|over| over.number == rest.connection) => {
                Some(*rest)
            }
            _ => None,
        }
    }

    /// Looks at the time and the connection. `stand_after` is the wait after a lost connection.
    pub(super) fn look(&mut self, over: Option<OpenConnection>, stand_after: Duration, now: Instant) {
        match *self {
            Self::Yes(_) if planted("rests_for_good") => {}
            Self::Yes(rest) if over.is_none_or(|over| over.number != rest.connection) => {
                *self = Self::Lost(now + stand_after);
            }
            // the leader had its time, and its connection lives: something else has ended it
            Self::Yes(rest) if now >= rest.until => *self = Self::No,
            Self::Lost(stands) if now >= stands => *self = Self::No,
            _ => {}
        }
    }

    /// The next time at which [`look`](Self::look) may change something.
    pub(super) const fn next_look(&self) -> Option<Instant> {
        match self {
            Self::No => None,
            Self::Yes(rest) => Some(rest.until),
            Self::Lost(stands) => Some(*stands),
        }
    }

    /// Whether an election may be held.
    pub(super) const fn may_stand(&self) -> bool {
        matches!(self, Self::No)
    }
}

#[cfg(test)]
mod tests {
    use nexus_identity::Did;
    use openraft::CommittedLeaderId;
    use proptest::prelude::*;

    use super::*;

    fn voter(n: u8) -> Voter {
        Voter { did: Did::from_bytes([n; 32]), draw: 0 }
    }

    fn content(term: u64, index: u64) -> Content {
        let at = |index| Some(LogId::new(CommittedLeaderId::new(term, voter(0)), index));
        (Vote::new_committed(term, voter(0)), at(index), at(index))
    }

    const NEW: Option<OpenConnection> = Some(OpenConnection { number: 7, rest: 1, closes: true });

    /// A leader whose peer took this content long ago.
    fn settled(now: Instant) -> Heartbeats {
        let mut heartbeats = Heartbeats::default();
        send(&mut heartbeats, 5, None, now);
        heartbeats
    }

    /// Something that the peer takes.
    fn send(heartbeats: &mut Heartbeats, index: u64, over: Option<u64>, now: Instant) {
        send_to(heartbeats, 1, index, over.map(|over| (over, PROMISE)), now);
    }

    fn send_to(heartbeats: &mut Heartbeats, to: u8, index: u64, promised: Option<(u64, Duration)>, now: Instant) {
        let number = heartbeats.sends(voter(to), content(1, index), now);
        heartbeats.taken(&voter(to), content(1, index), number, promised, now);
    }

    /// promise: Keys and locks | A leader with nothing to decide spares heartbeats to followers that know it; what is new, another connection or an older version gets them all
    #[test]
    fn silence_is_promised_over_one_connection_and_while_nothing_changes() {
        let begin = Instant::now();
        let (mut heartbeats, later) = (settled(begin), begin + UNCHANGED_FOR);
        let (peer, same) = (voter(1), content(1, 5));
        assert_eq!(heartbeats.next(&peer, same, NEW, true, begin), Heartbeat::Sent(None), "it is new");
        assert_eq!(heartbeats.next(&peer, same, NEW, true, later), Heartbeat::Sent(Some(PROMISE)));
        let silent = Some(OpenConnection { number: 7, rest: 1, closes: false });
        assert_eq!(heartbeats.next(&peer, same, silent, true, later), Heartbeat::Sent(Some(SHORT_PROMISE)));
        send_to(&mut heartbeats, 1, 5, Some((7, SHORT_PROMISE)), later);
        assert_eq!(heartbeats.next(&peer, same, silent, true, later + SHORT_RENEWED_AFTER / 2), Heartbeat::Spared);
        assert_ne!(heartbeats.next(&peer, same, silent, true, later + SHORT_RENEWED_AFTER), Heartbeat::Spared);
        assert!(SHORT_RENEWED_AFTER < SHORT_PROMISE);
        send(&mut heartbeats, 5, Some(7), later);
        assert!(heartbeats.is_resting());
        let soon = later + Duration::from_millis(100);
        assert_eq!(heartbeats.next(&peer, same, NEW, true, soon), Heartbeat::Spared);
        let other = Some(OpenConnection { number: 8, rest: 1, closes: true });
        let old = Some(OpenConnection { number: 7, rest: 0, closes: true });
        for (over, content, may_rest) in [
            (None, same, true),
            (old, same, true),
            (NEW, content(1, 6), true),
            (NEW, content(2, 5), true),
            (NEW, same, false),
        ] {
            assert_eq!(heartbeats.next(&peer, content, over, may_rest, soon), Heartbeat::Sent(None));
        }
        assert_ne!(heartbeats.next(&peer, same, other, true, soon), Heartbeat::Spared);
        assert_ne!(heartbeats.next(&voter(2), same, NEW, true, soon), Heartbeat::Spared);
        assert_eq!(
            heartbeats.next(&peer, same, NEW, true, later + RENEWED_AFTER),
            Heartbeat::Sent(Some(PROMISE)),
            "the next promise comes before the end of this one"
        );
        assert!(RENEWED_AFTER < PROMISE);
        // a message whose answer is not known may have ended the peer's rest
        heartbeats.sends(peer, same, soon);
        assert_ne!(heartbeats.next(&peer, same, NEW, true, soon), Heartbeat::Spared);
        send(&mut heartbeats, 5, Some(7), soon);
        heartbeats.wake();
        assert_ne!(heartbeats.next(&peer, same, NEW, true, soon), Heartbeat::Spared);
    }

    /// promise: Keys and locks | A leader at rest does nothing until the first of its promises is to be renewed, and then renews all that are old
    #[test]
    fn a_leader_whose_heartbeats_are_all_spared_stands_until_one_is_due() {
        let (begin, same) = (Instant::now(), content(1, 5));
        let (mut heartbeats, me) = (Heartbeats::default(), voter(0));
        let seats = |voters: &[u8], all: &[u8]| Seats {
            voters: vec![voters.iter().map(|n| voter(*n)).collect()],
            all: all.iter().map(|n| voter(*n)).collect(),
        };
        let open =
            |gone: &'static [u8]| move |peer: &Voter| if gone.iter().any(|n| voter(*n) == *peer) { None } else { NEW };
        let five = seats(&[0, 1, 2], &[0, 1, 2, 3, 4]);
        assert_eq!(heartbeats.pace(&me, &five, open(&[]), true), Pace::Runs, "nothing is promised");
        assert_eq!(heartbeats.pace(&me, &seats(&[0], &[0]), open(&[]), false), Pace::Stands(None), "there is nobody");
        let at = |peer: u8| begin + Duration::from_secs(u64::from(peer) / 2);
        (1..=4).for_each(|peer| send_to(&mut heartbeats, peer, 5, None, begin));
        (1..=3).for_each(|peer| send_to(&mut heartbeats, peer, 5, Some((7, PROMISE)), at(peer)));
        assert_eq!(heartbeats.pace(&me, &five, open(&[]), true), Pace::Runs, "one hears it still");
        assert_eq!(heartbeats.pace(&me, &five, open(&[4]), true), Pace::Stands(Some(begin + RENEWED_AFTER)));
        send_to(&mut heartbeats, 4, 5, Some((7, PROMISE)), at(4));
        assert_eq!(heartbeats.pace(&me, &five, open(&[]), true), Pace::Stands(Some(begin + RENEWED_AFTER)));
        assert_eq!(heartbeats.pace(&me, &five, open(&[1]), true), Pace::Stands(Some(at(2) + RENEWED_AFTER)));
        assert_eq!(heartbeats.pace(&me, &five, open(&[1, 2]), true), Pace::Runs, "no quorum is connected");
        assert_eq!(heartbeats.pace(&me, &five, open(&[]), false), Pace::Runs, "there is something to decide");
        let two = Seats { voters: vec![five.voters[0].clone(), five.voters[0].clone()], all: five.all.clone() };
        assert_eq!(heartbeats.pace(&me, &two, open(&[]), true), Pace::Runs, "the voters are being changed");
        assert_eq!(heartbeats.pace(&me, &seats(&[1, 2], &[0, 1, 2]), open(&[]), true), Pace::Runs, "it is to leave");
        let other = |_: &Voter| Some(OpenConnection { number: 8, rest: 1, closes: true });
        assert_eq!(heartbeats.pace(&me, &five, other, true), Pace::Runs, "those connections are gone");

        // one is due, so all are renewed
        let due = begin + RENEWED_AFTER;
        let soon = begin + RENEWED_AFTER * 6 / 7;
        assert!((1..=4).all(|peer| heartbeats.next(&voter(peer), same, NEW, true, soon) == Heartbeat::Spared));
        for peer in 1..=4 {
            assert_eq!(heartbeats.next(&voter(peer), same, NEW, true, due), Heartbeat::Sent(Some(PROMISE)));
            let before = heartbeats.changes();
            send_to(&mut heartbeats, peer, 5, Some((7, PROMISE)), due);
            assert_ne!(heartbeats.changes(), before);
        }
        assert_eq!(heartbeats.pace(&me, &five, open(&[]), true), Pace::Stands(Some(due + RENEWED_AFTER)));
        heartbeats.wake();
        assert_eq!(heartbeats.pace(&me, &five, open(&[]), true), Pace::Runs);
    }

    #[test]
    fn a_quorum_is_heard_by_its_own_answers_alone() {
        let (begin, second) = (Instant::now(), Duration::from_secs(1));
        let heartbeats = settled(begin);
        let sets = |all: &[&[u8]]| -> Vec<BTreeSet<Voter>> {
            all.iter().map(|set| set.iter().map(|n| voter(*n)).collect()).collect()
        };
        let heard = |all: &[&[u8]], now| heartbeats.heard_by_quorum(&sets(all), &voter(0), second, now);
        assert!(heard(&[&[0]], begin) && heard(&[&[0, 1, 2]], begin + second));
        assert!(!heard(&[&[0, 1, 2]], begin + 2 * second), "its answer is old");
        assert!(!heard(&[&[0, 2, 3]], begin) && !heard(&[&[0, 1, 2], &[0, 3, 4]], begin));
    }

    /// promise: Keys and locks | A follower that was promised silence stands again when the connection is lost, when the promise ends, and when the leader is heard no more
    #[test]
    fn a_rest_ends_with_its_connection_and_its_time() {
        let (begin, wait) = (Instant::now(), Duration::from_secs(1));
        let rest = Rest { vote: Vote::new_committed(1, voter(0)), connection: 7, until: begin + PROMISE };
        let (mut resting, mut lost) = (Resting::Yes(rest), Resting::Yes(rest));
        resting.look(NEW, wait, begin + PROMISE / 2);
        assert!(!resting.may_stand() && resting.holds(NEW, begin).is_some());
        assert_eq!(resting.next_look(), Some(begin + PROMISE));
        assert!(resting.holds(None, begin).is_none() && resting.holds(NEW, begin + PROMISE).is_none());
        resting.look(NEW, wait, begin + PROMISE);
        assert!(resting.may_stand());
        for gone in [None, Some(OpenConnection { number: 8, rest: 1, closes: true })] {
            lost = Resting::Yes(rest);
            lost.look(gone, wait, begin);
            assert_eq!((lost, lost.next_look()), (Resting::Lost(begin + wait), Some(begin + wait)));
            assert!(!lost.may_stand() && lost.holds(gone, begin).is_none());
            lost.look(gone, wait, begin + wait);
        }
        assert!(lost.may_stand());
    }

    proptest! {
        /// Whatever was written, lost on its way or not answered, a follower whose heartbeat is spared rests still.
        #[test]
        fn a_spared_peer_was_promised_silence_that_lasts(steps in prop::collection::vec((0..4_u8, 0..4_000_u64), 1..60)) {
            let (peer, mut now) = (voter(1), Instant::now());
            let (mut heartbeats, mut rests_until) = (Heartbeats::default(), None);
            let mut index = 1;
            for (step, ms) in steps {
                now += Duration::from_millis(ms);
                index += u64::from(step == 0);
                match heartbeats.next(&peer, content(1, index), NEW, true, now) {
                    Heartbeat::Spared => prop_assert!(rests_until.is_some_and(|until| now < until)),
                    Heartbeat::Sent(promise) => {
                        let number = heartbeats.sends(peer, content(1, index), now);
                        if step != 1 {
                            rests_until = promise.map(|promise| now + promise);
                        }
                        if step > 1 {
                            let promised = promise.map(|promise| (7, promise));
                            heartbeats.taken(&peer, content(1, index), number, promised, now);
                        }
                    }
                }
            }
        }
    }
}
