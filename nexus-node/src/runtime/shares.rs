use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nexus_crdt::{Entry, Members};
use nexus_identity::Did;
use tokio::time::Instant;

/// How long local callers count as ones that want more after their last write, and authors at most.
const ANTICIPATED: Duration = Duration::from_millis(20);
/// The work by which a party may be ahead of others that want some.
const AHEAD_MAX: Duration = Duration::from_millis(10);
/// The work that a party can be owed, or owe, at most.
const LAG_MAX: Duration = Duration::from_millis(250);
/// The work for an entry of a peer until the engine has taken it, and for each KiB of it. It is a fixed price: clocks
/// count the work of others, too, while a machine is busy.
const PER_ENTRY: Duration = Duration::from_micros(100);
/// The work for a local write. Many share an entry, and none is verified.
const PER_WRITE: Duration = Duration::from_micros(60);
/// The part of a core that an author has in any case: a sixteenth, or 625 short entries in a second. With less, a peer
/// whose callers write as much as ours falls behind, and what it wrote comes late (`nexus-hostile`, 1/60 to 1/10). The
/// commit and the index come after that (by `perf record` two thirds of the whole).
const IN_ANY_CASE: u32 = 16;
/// The part that all strangers have together: 156 of their entries in a second.
const STRANGERS_IN_ANY_CASE: u32 = 64;
/// The longest pause after one turn beyond the share.
const PAUSE_MAX: Duration = Duration::from_secs(1);
/// The turns of one party at the same time while others want work: one is verified, and one is in the engine.
const TURNS_MAX: u32 = 2;
/// How often a party that waits asks at most.
const ASKS_AGAIN: Duration = Duration::from_millis(5);

/// Parties for which the engine works.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Party {
    /// All local callers.
    Callers,
    /// A member, whose entries peers bring.
    Author(Did),
    /// All authors who are no members, or not known as such: of their keys there is no end.
    Strangers,
}

/// The work for an entry of a peer.
pub(super) fn work_for(entry: &Entry) -> Duration {
    let kib = u32::try_from(bytes_of(entry) / 1_024).unwrap_or(u32::MAX);
    PER_ENTRY.saturating_mul(kib.saturating_add(1))
}

/// The bytes of an entry that others choose.
pub(super) fn bytes_of(entry: &Entry) -> usize {
    entry.header_bytes().len() + entry.payload().map_or(0, <[u8]>::len)
}

impl Party {
    /// The party of an entry's author.
    pub(super) fn of(author: Did, members: &Members) -> Self {
        if members.get(&author).is_some() { Self::Author(author) } else { Self::Strangers }
    }

    /// The share of a core in any case, as its reciprocal.
    const fn in_any_case(self) -> u32 {
        match self {
            Self::Strangers => STRANGERS_IN_ANY_CASE,
            Self::Callers | Self::Author(_) => IN_ANY_CASE,
        }
    }

    /// Whether the two have equal shares.
    fn is_beside(self, other: Self) -> bool {
        matches!((self, other), (Self::Author(_), Self::Author(_)))
    }

    /// Whether this one waits for the other: authors for local callers, and strangers for everybody.
    fn is_after(self, other: Self) -> bool {
        self > other && !self.is_beside(other)
    }

    /// The parties of some entries, with the work for each.
    pub(super) fn of_all<'a>(
        entries: impl IntoIterator<Item = &'a Entry>,
        members: &Members,
    ) -> BTreeMap<Self, Duration> {
        let mut parties = BTreeMap::<Self, Duration>::new();
        for entry in entries {
            *parties.entry(Self::of(entry.header().author, members)).or_default() += work_for(entry);
        }
        parties
    }
}

/// Fair shares of the engine's work, so that one eager author cannot take all of it.
///
/// An author waits while it is ahead of another one that waits, too. While local callers want work, it also waits until
/// they had as much; some it has in any case. Strangers have less than that, and the turns that nobody else wants: they
/// bring nothing until somebody says who they are. Without others nobody waits.
///
/// This is start-time fair queueing (Goyal, Vin and Cheng 1996) over fixed prices. Between two of their writes callers
/// still count for a moment, as in anticipatory scheduling (Iyer and Druschel 2001): else entries of peers would fill
/// each gap. Authors do for as long as their last turn: else one that writes a little all the time would hold up the
/// others. Callers themselves never wait here. A quota bounds the sum of an author's entries, and this their rate.
#[derive(Debug, Default)]
pub(crate) struct Shares(Mutex<Parties>);

#[derive(Debug, Default)]
struct Parties {
    all: BTreeMap<Party, Served>,
    /// The least work of any that wanted some, when it was last looked at. A party begins there.
    least: Duration,
}

/// The work for a party.
#[derive(Clone, Copy, Debug)]
struct Served {
    /// All of it, from a common origin.
    work: Duration,
    /// Until when more is expected after the last one.
    anticipated: Option<Instant>,
    /// Turns under way.
    turns: u32,
    /// Sessions or callers that wait.
    waiting: u32,
    /// When an author has work again that is ahead of the callers'.
    beyond_from: Option<Instant>,
}

impl Served {
    /// More is expected of local callers for some time. Of an author it is for as long as its last turn took: an
    /// author that brings little holds others up for little.
    fn anticipate(&mut self, party: Party, work: Duration, now: Instant) {
        let expected = if party == Party::Callers { ANTICIPATED } else { work.min(ANTICIPATED) };
        self.anticipated = self.anticipated.max(Some(now + expected));
    }

    /// When the party wants nothing any more; `None` if it does not by itself.
    fn wants_until(&self, now: Instant) -> Option<Instant> {
        let until = if self.turns > 0 || self.waiting > 0 { Some(now + ASKS_AGAIN) } else { self.anticipated };
        until.filter(|until| *until > now)
    }
}

/// The answer to a party that wants a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Answer {
    Now,
    /// It may ask again then.
    Later(Instant),
}

impl Parties {
    /// A party's place. A party that wanted nothing begins with the least work of those that want some, or its own if
    /// that is more.
    fn enter(&mut self, party: Party, now: Instant) -> &mut Served {
        let wants = |served: &Served| served.wants_until(now).is_some();
        if !self.all.get(&party).is_some_and(wants) {
            self.look(now);
            let least = self.least;
            self.all.retain(|_, served| served.work > least || wants(served));
        }
        self.all.entry(party).or_insert(Served {
            work: self.least,
            anticipated: None,
            turns: 0,
            waiting: 0,
            beyond_from: None,
        })
    }

    fn look(&mut self, now: Instant) {
        let known = self.all.iter().filter(|(party, _)| **party != Party::Strangers).map(|(_, served)| served);
        let wanting = known.filter(|served| served.wants_until(now).is_some());
        self.least = self.least.max(wanting.map(|served| served.work).min().unwrap_or_default());
    }

    /// Whether a party may have a turn.
    fn ask(&self, me: Party, now: Instant) -> Answer {
        let my = self.all.get(&me);
        let (work, turns) = my.map_or((self.least, 0), |my| (my.work, my.turns));
        let others = self.all.iter().filter(|(party, _)| **party != me);
        let mut wanting = others.filter_map(|(party, other)| Some((*party, other.work, other.wants_until(now)?)));
        let again = now + ASKS_AGAIN;
        if wanting.clone().next().is_none() {
            return Answer::Now;
        }
        let is_ahead = |other: Duration| work > other + AHEAD_MAX;
        if turns >= TURNS_MAX || wanting.clone().any(|(other, work, _)| me.is_beside(other) && is_ahead(work)) {
            return Answer::Later(again);
        }
        let before =
            wanting.find(|(other, work, _)| me.is_after(*other) && (me == Party::Strangers || is_ahead(*work)));
        let beyond_from = my.and_then(|my| my.beyond_from).filter(|from| *from > now);
        match (before, beyond_from) {
            (Some((_, _, until)), Some(from)) => Answer::Later(from.min(until).max(again)),
            _ => Answer::Now,
        }
    }

    /// Begins a turn, with the work for each party.
    fn begin(&mut self, parties: &BTreeMap<Party, Duration>, now: Instant) {
        for (party, work) in parties {
            let is_before =
                |other: &Party, served: &Served| party.is_after(*other) && served.wants_until(now).is_some();
            let others_are_before = self.all.iter().any(|(other, served)| is_before(other, served));
            let served = self.enter(*party, now);
            served.turns += 1;
            served.work += *work;
            if others_are_before {
                let from = served.beyond_from.map_or(now, |from| from.max(now));
                served.beyond_from = Some((from + *work * party.in_any_case()).min(now + PAUSE_MAX));
            }
        }
        let most = self.all.values().map(|served| served.work).max().unwrap_or_default();
        let lag = most.saturating_sub(LAG_MAX);
        self.all.values_mut().for_each(|served| served.work = served.work.max(lag));
        // a party that is alone has no debt for that
        self.look(now);
    }

    fn end(&mut self, parties: &BTreeMap<Party, Duration>, now: Instant) {
        for (party, work) in parties {
            let served = self.enter(*party, now);
            served.turns = served.turns.saturating_sub(1);
            served.anticipate(*party, *work, now);
        }
    }
}

impl Shares {
    /// A turn for so many local writes.
    pub(super) fn callers(self: &Arc<Self>, writes: usize) -> Turn {
        let writes = u32::try_from(writes).unwrap_or(u32::MAX);
        self.begin(BTreeMap::from([(Party::Callers, PER_WRITE.saturating_mul(writes))]))
    }

    /// Local callers want work until this is dropped.
    pub(super) fn wanting(self: &Arc<Self>) -> Wanting {
        Wanting::new(self, Party::Callers)
    }

    /// Whether a party need not wait now.
    pub(super) fn has_turn(&self, party: Party) -> bool {
        self.lock().ask(party, Instant::now()) == Answer::Now
    }

    /// Resolves when a party may have a turn, and at `end` in any case.
    pub(super) async fn until_turn(self: &Arc<Self>, party: Party, end: Instant) {
        let _wanting = Wanting::new(self, party);
        loop {
            let now = Instant::now();
            let answer = self.lock().ask(party, now);
            match answer {
                Answer::Later(at) if now < end => tokio::time::sleep_until(at.min(end)).await,
                _ => return,
            }
        }
    }

    /// A turn at once.
    pub(super) fn begin(self: &Arc<Self>, parties: BTreeMap<Party, Duration>) -> Turn {
        self.lock().begin(&parties, Instant::now());
        Turn { shares: self.clone(), parties }
    }

    fn lock(&self) -> MutexGuard<'_, Parties> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A turn of some parties. It ends when it is dropped.
#[derive(Debug)]
pub(crate) struct Turn {
    shares: Arc<Shares>,
    parties: BTreeMap<Party, Duration>,
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.shares.lock().end(&self.parties, Instant::now());
    }
}

/// A caller or a session that wants work.
pub(crate) struct Wanting {
    shares: Arc<Shares>,
    party: Party,
}

impl Wanting {
    fn new(shares: &Arc<Shares>, party: Party) -> Self {
        shares.lock().enter(party, Instant::now()).waiting += 1;
        Self { shares: shares.clone(), party }
    }
}

impl Drop for Wanting {
    fn drop(&mut self) {
        let (mut shared, now) = (self.shares.lock(), Instant::now());
        let served = shared.enter(self.party, now);
        served.waiting = served.waiting.saturating_sub(1);
        served.anticipate(self.party, Duration::ZERO, now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn author(n: u8) -> Party {
        Party::Author(Did::from_bytes([n; 32]))
    }

    /// Parties and a clock that moves by hand.
    struct Table {
        parties: Parties,
        now: Instant,
    }

    impl Table {
        fn new() -> Self {
            Self { parties: Parties::default(), now: Instant::now() }
        }

        fn waits(&mut self, party: Party) {
            self.parties.enter(party, self.now).waiting += 1;
        }

        /// One turn of so much work, during which the clock goes on.
        fn serve(&mut self, party: Party, work: Duration) {
            let parties = BTreeMap::from([(party, work)]);
            self.parties.begin(&parties, self.now);
            self.now += work;
            self.parties.end(&parties, self.now);
        }

        fn ask(&self, party: Party) -> Answer {
            self.parties.ask(party, self.now)
        }

        fn has_turn(&self, party: Party) -> bool {
            self.ask(party) == Answer::Now
        }
    }

    /// promise: Bad input | While others want work, an author has no more of it than each of them
    #[test]
    fn an_author_waits_for_nobody_unless_others_want_work_too() {
        let mut table = Table::new();
        for _ in 0..100 {
            assert!(table.has_turn(author(1)));
            table.serve(author(1), 5 * MS);
        }
        // work before that is no debt
        table.waits(author(2));
        assert!(table.has_turn(author(1)) && table.has_turn(author(2)));
    }

    /// promise: Bad input | While others want work, an author has no more of it than each of them
    #[test]
    fn authors_that_wait_have_equal_work_whatever_their_turns_take() {
        let mut table = Table::new();
        let all = [(author(1), 8 * MS), (author(2), 3 * MS), (author(3), MS)];
        all.iter().for_each(|(party, _)| table.waits(*party));
        let mut work = BTreeMap::<Party, Duration>::new();
        for n in 0..3_000 {
            let (party, turn) = all[n % all.len()];
            if table.has_turn(party) {
                table.serve(party, turn);
                *work.entry(party).or_default() += turn;
            }
        }
        let (least, most) = (work.values().min().unwrap(), work.values().max().unwrap());
        assert_eq!(work.len(), all.len());
        assert!(*most - *least <= AHEAD_MAX + 8 * MS && *least >= Duration::from_secs(1), "{work:?}");
    }

    /// promise: Bad input | While others want work, an author has no more of it than each of them
    #[test]
    fn entries_of_peers_wait_for_callers_who_write_one_after_the_other() {
        for of_callers in [MS / 10, 2 * MS] {
            let mut table = Table::new();
            let (begun, mut callers, mut eager) = (table.now, Duration::ZERO, Duration::ZERO);
            table.waits(author(1));
            while table.now < begun + 60_000 * MS {
                table.serve(Party::Callers, of_callers);
                callers += of_callers;
                // no caller wants anything until the next one comes
                let next = table.now + 10 * MS;
                while table.now < next {
                    match table.ask(author(1)) {
                        Answer::Later(at) => assert!(at >= table.now + ASKS_AGAIN),
                        Answer::Now => {
                            table.serve(author(1), 5 * MS);
                            eager += 5 * MS;
                        }
                    }
                    table.now += 2 * MS;
                }
            }
            let share = callers.max((table.now - begun) / IN_ANY_CASE);
            assert!(eager <= share + 100 * MS && eager > share / 2, "{eager:?} of {share:?}");
            // some time after the last caller there is nothing to wait for
            table.now += ANTICIPATED;
            assert!(table.has_turn(author(1)));
        }
    }

    /// promise: Bad input | Entries of strangers wait while others want work, and hold nobody up
    #[test]
    fn strangers_have_a_little_while_others_want_work_and_all_of_it_alone() {
        for other in [author(1), Party::Callers] {
            let mut table = Table::new();
            table.waits(Party::Strangers);
            let (begun, mut strangers) = (table.now, Duration::ZERO);
            while table.now < begun + 60_000 * MS {
                assert!(table.has_turn(other));
                table.serve(other, 5 * MS);
                if table.has_turn(Party::Strangers) {
                    table.serve(Party::Strangers, 5 * MS);
                    strangers += 5 * MS;
                }
            }
            let share = (table.now - begun) / STRANGERS_IN_ANY_CASE;
            assert!(strangers <= share + 10 * MS && strangers > share / 2, "{strangers:?} of {share:?}");
            // once the others want nothing more
            table.now += ANTICIPATED;
            for _ in 0..1_000 {
                assert!(table.has_turn(Party::Strangers));
                table.serve(Party::Strangers, 5 * MS);
            }
        }
    }

    #[test]
    fn an_author_that_comes_beside_strangers_is_owed_nothing_for_them() {
        let mut table = Table::new();
        table.waits(Party::Strangers);
        table.waits(author(1));
        table.serve(author(1), 100 * MS);
        let before = table.parties.all[&author(1)].work;
        table.waits(author(2));
        assert_eq!(table.parties.all[&author(2)].work, before);
    }

    /// promise: Bad input | An author that writes a little all the time holds nobody up
    #[test]
    fn an_author_that_does_not_wait_holds_nobody_up() {
        let mut table = Table::new();
        for _ in 0..1_000 {
            table.serve(author(1), MS / 10);
            assert!(table.has_turn(author(2)));
            table.serve(author(2), 5 * MS);
        }
    }

    #[test]
    fn a_pause_pays_no_debt_and_waiting_earns_little() {
        let mut table = Table::new();
        table.waits(Party::Callers);
        table.serve(author(1), 100 * MS);
        assert!(!table.has_turn(author(1)));
        table.now += 10_000 * MS;
        table.parties.enter(author(1), table.now).beyond_from = Some(table.now + MS);
        assert!(!table.has_turn(author(1)), "the callers still wait");
        // whoever came late is owed no more than the bound
        table.serve(author(1), 10_000 * MS);
        table.serve(Party::Callers, LAG_MAX);
        assert!(table.has_turn(author(1)));
    }

    #[test]
    fn names_of_whom_nothing_is_wanted_take_no_memory() {
        let mut table = Table::new();
        table.waits(author(0));
        for n in 1..=u8::MAX {
            table.serve(author(n), MS / 1_000);
            table.serve(author(0), MS);
        }
        assert!(table.parties.all.len() < 10, "{}", table.parties.all.len());
    }

    /// promise: Bad input | Entries that wait for their author's turn are taken after five seconds at the latest
    #[tokio::test(start_paused = true)]
    async fn a_turn_comes_at_its_end_in_any_case() {
        let shares = Arc::new(Shares::default());
        let _wanting = shares.wanting();
        let some = |work| BTreeMap::from([(author(1), work)]);
        drop(shares.begin(some(50 * MS)));
        let (before, end) = (Instant::now(), Instant::now() + 5_000 * MS);
        let turn = async |work| {
            shares.until_turn(author(1), end).await;
            shares.begin(some(work))
        };
        let second = turn(MS).await;
        assert_eq!(before.elapsed(), 50 * MS * IN_ANY_CASE, "the callers still want work");
        let third = turn(MS).await;
        assert!(before.elapsed() < 1_000 * MS);
        // each author has its turns one after the other
        let _fourth = turn(MS).await;
        assert_eq!(Instant::now(), end);
        drop((second, third));
    }
}
