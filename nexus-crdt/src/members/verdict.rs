//! Which memberships stand: a function of the credentials and revocations held, and of where logs forked.
//!
//! Verdicts are found from the root downward, a level of credentials at a time. The verdict on a member
//! depends on members of lower levels alone, so two verdicts never depend on each other.

use std::collections::{BTreeMap, BTreeSet};

use nexus_identity::plants::planted;
use nexus_identity::{CHAIN_LINKS_MAX, Claims, Did, Role};

use super::{Member, Members};
use crate::frontier::Head;
use crate::hlc::Hlc;
use crate::log::{Branching, Reach};
use crate::log_id::{Incarnation, LogId};
use crate::revocation::{Pin, PlacedRevocation};
use crate::space::SpaceId;
use crate::succession::PlacedSuccession;

/// The end of a membership.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Revoked {
    /// The time by the revoker's clock.
    pub at: Hlc,
    /// The revoker: the mesh itself if its root signed, the member itself if it left.
    pub by: Did,
}

/// The verdict on somebody whose membership does not stand.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Verdict {
    /// The first revocation in force; `None` for a member whose issuers all lost their membership.
    pub(super) revoked: Option<Revoked>,
    /// The last entries that count. A log without a pin counts nowhere.
    pub(super) pins: Pins,
    /// Whether the member's own word alone ended it.
    pub(super) by_itself: bool,
}

impl Verdict {
    /// The last entry of a log that counts.
    pub(super) fn pin_of(&self, log: &LogId) -> Option<Head> {
        self.pins.get(&(log.space, log.incarnation)).copied()
    }

    /// The entries of a log that count.
    pub(super) fn reach_of(&self, log: &LogId, forked_at: Option<u64>) -> Reach {
        if planted("counts_after_the_end") {
            return Reach::up_to(forked_at);
        }
        Reach::pinned(self.pin_of(log).filter(|_| !planted("ignores_pins")), forked_at)
    }

    /// Adds a revocation.
    fn add(&mut self, placed: &PlacedRevocation, by: Did) {
        let mut pins = by_log(placed.revocation.pins());
        if placed.log.author == placed.revocation.member && !placed.by_root {
            // a member that leaves cannot name the entry that says so
            pins.insert((placed.log.space, placed.log.incarnation), placed.entry);
        }
        self.end(Revoked { at: placed.hlc, by }, pins);
    }

    /// Adds an end of the membership. Of several pins of a log the lowest counts; a log that one end does not pin
    /// is not pinned.
    fn end(&mut self, this: Revoked, mut pins: Pins) {
        let lower = |a: Head, b: Head| if (b.seq, b.id) < (a.seq, a.id) { b } else { a };
        if self.revoked.is_some() {
            let both = self.pins.iter().filter_map(|(log, a)| Some((*log, lower(*a, *pins.get(log)?))));
            pins = both.collect();
        }
        let first = self.revoked.is_none_or(|first| (this.at, this.by) < (first.at, first.by));
        self.revoked = if first { Some(this) } else { self.revoked };
        self.pins = pins;
    }
}

/// The last entries that count, by log.
type Pins = BTreeMap<(SpaceId, Incarnation), Head>;

fn by_log(pins: &[Pin]) -> Pins {
    pins.iter().map(|pin| (pin.log(), pin.last)).collect()
}

/// All verdicts, and the credentials that count.
pub(super) struct Verdicts<'a> {
    pub(super) against: BTreeMap<Did, Verdict>,
    /// Of those whom no entry names.
    pub(super) shown: BTreeMap<Did, Option<Revoked>>,
    pub(super) counting: BTreeSet<(Did, &'a [u8])>,
}

/// Judges all members. `without` is somebody whose membership is taken as ended.
pub(super) fn judge<'a>(members: &'a Members, branches: &dyn Branching, without: Option<&Did>) -> Verdicts<'a> {
    let mut bench = Bench::new(members, branches);
    let mut issuers = vec![members.mesh];
    let mut issued = BTreeSet::from([members.mesh]);
    let mut counting = BTreeSet::new();
    for level in 1..=CHAIN_LINKS_MAX {
        let (mut reached, mut admins) = (BTreeSet::new(), BTreeSet::new());
        for (subject, key, claims) in issuers.iter().filter_map(|issuer| bench.issued.get(issuer)).flatten() {
            counting.insert((*subject, *key));
            if claims.roles.allow(Role::Admin) {
                admins.insert(*subject);
            }
            if !bench.level.contains_key(subject) {
                reached.insert(*subject);
            }
        }
        bench.level.extend(reached.iter().map(|member| (*member, level)));
        for member in reached {
            let ended = (without == Some(&member)).then(Verdict::default);
            if let Some(verdict) = bench.verdict(&member, level).or(ended) {
                bench.against.insert(member, verdict);
            }
        }
        issuers = admins.into_iter().filter(|did| !bench.against.contains_key(did) && issued.insert(*did)).collect();
    }
    let mut shown = BTreeMap::new();
    for (member, known) in &members.members {
        if bench.level.contains_key(member) {
            continue;
        }
        match bench.verdict(member, usize::MAX) {
            verdict if known.is_published() => drop(bench.against.insert(*member, verdict.unwrap_or_default())),
            // whoever showed its credentials at the gate alone is nobody's issuer here
            Some(verdict) => drop(shown.insert(*member, verdict.revoked)),
            None => {}
        }
    }
    Verdicts { against: bench.against, shown, counting }
}

/// A credential: its subject, its key there, its claims.
type Issued<'a> = (Did, &'a [u8], &'a Claims);

struct Bench<'a, 'f> {
    members: &'a Members,
    branches: &'f dyn Branching,
    issued: BTreeMap<Did, Vec<Issued<'a>>>,
    of_member: BTreeMap<Did, Vec<&'a PlacedRevocation>>,
    /// The succession that counts for each former key.
    from: BTreeMap<Did, &'a PlacedSuccession>,
    /// The former key of each new one.
    formers: BTreeMap<Did, BTreeSet<Did>>,
    /// The length of the shortest chain to each member that counts.
    level: BTreeMap<Did, usize>,
    against: BTreeMap<Did, Verdict>,
}

impl<'a, 'f> Bench<'a, 'f> {
    fn new(members: &'a Members, branches: &'f dyn Branching) -> Self {
        let mut issued: BTreeMap<Did, Vec<Issued<'a>>> = BTreeMap::new();
        for (subject, member) in members.members.iter().filter(|(subject, _)| **subject != members.mesh) {
            for (key, held) in member.credentials.iter().filter(|(_, held)| held.published) {
                issued.entry(held.claims.issuer).or_default().push((*subject, key, &held.claims));
            }
        }
        let mut of_member: BTreeMap<Did, Vec<&PlacedRevocation>> = BTreeMap::new();
        for placed in members.revocations.values().flat_map(|of_author| of_author.kept.values()) {
            of_member.entry(placed.revocation.member).or_default().push(placed);
        }
        let (mut from, mut formers) = (BTreeMap::<Did, &PlacedSuccession>::new(), BTreeMap::<_, BTreeSet<Did>>::new());
        for placed in members.counting_successions() {
            let (former, member) = (placed.succession.former, placed.succession.member);
            let first = from.entry(former).or_insert(placed);
            if placed.rank() < first.rank() {
                *first = placed;
            }
            formers.entry(member).or_default().insert(former);
        }
        let level = BTreeMap::from([(members.mesh, 0)]);
        Self { members, branches, issued, of_member, from, formers, level, against: BTreeMap::new() }
    }

    /// The verdict on a member at a level, if its membership has ended.
    fn verdict(&self, member: &Did, level: usize) -> Option<Verdict> {
        let mut verdict = Verdict::default();
        // its own word: it goes on with another key
        if let Some(first) = self.from.get(member)
            && !planted("former_keys_stand")
        {
            verdict.end(Revoked { at: first.hlc, by: first.succession.member }, by_log(first.succession.pins()));
        }
        let placed = self.of_member.get(member).into_iter().flatten();
        for placed in placed.clone().filter(|placed| self.is_in_force(placed, level)) {
            verdict.add(placed, self.revoker(placed));
        }
        for end in self.ends_of_former_keys(member, level) {
            verdict.end(end, Pins::new());
        }
        // of what it wrote itself, that counts which others leave
        let by_others = verdict.revoked.is_some().then(|| verdict.clone());
        for placed in placed.filter(|placed| placed.log.author == *member && !placed.by_root) {
            if self.counts(placed, by_others.as_ref()) {
                verdict.add(placed, *member);
            }
        }
        verdict.by_itself = verdict.revoked.is_some() && by_others.is_none();
        verdict.revoked.is_some().then_some(verdict)
    }

    /// The mesh itself if its root signed, else the author.
    const fn revoker(&self, placed: &PlacedRevocation) -> Did {
        if placed.by_root { self.members.mesh } else { placed.log.author }
    }

    /// Whether a revocation by somebody else is in force for a member at a level.
    fn is_in_force(&self, placed: &PlacedRevocation, level: usize) -> bool {
        let (by, member) = (&placed.log.author, &placed.revocation.member);
        let above = || {
            self.level.get(by).is_some_and(|of_revoker| *of_revoker < level) && self.members.is_above(by, member)
                || planted("revokes_upwards")
        };
        let counts = || self.counts(placed, self.against.get(by)) || planted("void_revocations_count");
        placed.by_root || by != member && above() && counts()
    }

    /// The ends of a member by its former keys: somebody else revoked one of them, or another new key has taken the
    /// place of one. Above a former key are those whom entries name, not those whom it showed at the gate.
    fn ends_of_former_keys(&self, member: &Did, level: usize) -> Vec<Revoked> {
        let (mut ends, mut keys, mut next) = (Vec::new(), BTreeSet::from([*member]), vec![*member]);
        while let Some(key) = next.pop() {
            for former in self.formers.get(&key).into_iter().flatten().filter(|former| !keys.contains(former)) {
                if let Some(first) = self.from.get(former).filter(|first| first.succession.member != key) {
                    ends.push(Revoked { at: first.hlc, by: *former });
                }
                let published = self.members.get_known(former).is_some_and(Member::is_published);
                let placed =
                    self.of_member.get(former).into_iter().flatten().filter(|placed| published || placed.by_root);
                for placed in placed.filter(|placed| !keys.contains(&placed.log.author)) {
                    if self.is_in_force(placed, level) {
                        ends.push(Revoked { at: placed.hlc, by: self.revoker(placed) });
                    }
                }
                next.push(*former);
            }
            keys.extend(next.iter().copied());
        }
        ends
    }

    /// Whether the entry of a revocation counts, by the verdict on its author.
    fn counts(&self, placed: &PlacedRevocation, of_author: Option<&Verdict>) -> bool {
        let (log, entry) = (&placed.log, &placed.entry);
        let forked_at = self.branches.forked_at(log);
        let reach = of_author.map_or(Reach::up_to(forked_at), |verdict| verdict.reach_of(log, forked_at));
        entry.seq < reach.below || reach.branch.is_some_and(|last| self.branches.is_on_branch(log, entry, &last))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry_id::EntryId;
    use crate::log::Unforked;
    use crate::revocation::Revocation;
    use crate::succession::Succession;
    use nexus_identity::{Chain, Keypair, Timestamp};
    use proptest::prelude::*;

    fn key(n: u8) -> Keypair {
        Keypair::from_seed(&[n; 32])
    }

    fn did(n: u8) -> Did {
        key(n).did()
    }

    /// The chain from the root (0) over these members, all of them admins.
    fn chain(path: &[u8]) -> Chain {
        let claims = |issuer: u8, subject: u8| {
            let name = format!("n{subject}").parse().unwrap();
            let claims = Claims::new(did(0), did(subject), name, [Role::Admin], Timestamp::from_ms(1));
            claims.issued_by(did(issuer)).sign(&key(issuer))
        };
        let first = Chain::found(claims(0, path[0])).unwrap();
        path.windows(2).fold(first, |chain, pair| chain.extend(claims(pair[0], pair[1])).unwrap())
    }

    /// The log of a member that its revocations are written in.
    fn log(author: u8) -> LogId {
        LogId { space: SpaceId::mesh(&did(0)), author: did(author), incarnation: Incarnation([author; 8]) }
    }

    fn entry(by: u8, seq: u64) -> Head {
        Head { seq, id: EntryId::of(&[by, u8::try_from(seq).unwrap()]) }
    }

    /// `by` revokes `member` in its entry `seq`; of the member's log this many entries count.
    fn revocation(by: u8, seq: u64, member: u8, counting: u64) -> PlacedRevocation {
        let LogId { space, incarnation, .. } = log(member);
        let last = counting.checked_sub(1).map(|seq| Pin { space, incarnation, last: entry(member, seq) });
        let revocation = Revocation::new(did(member), last);
        let bytes = [by, u8::try_from(seq).unwrap(), member, u8::try_from(counting).unwrap()];
        let entry = Head { seq, id: EntryId::of(&bytes) };
        PlacedRevocation { log: log(by), entry, hlc: Hlc(seq), revocation, by_root: false }
    }

    fn members(paths: &[&[u8]]) -> Members {
        let mut members = Members::of(did(0));
        for path in paths {
            members.admit_by(&did(*path.last().unwrap()), &chain(path)).unwrap();
        }
        members
    }

    fn decide(mut members: Members, revocations: &[PlacedRevocation]) -> Members {
        for placed in revocations {
            members.revoke(placed.clone());
        }
        settle(&mut members, &Unforked);
        members
    }

    /// Finds again which memberships stand. Returns whether that changed anything.
    fn settle(members: &mut Members, branches: &dyn Branching) -> bool {
        members.decided(branches).map(|decided| *members = decided).is_some()
    }

    /// The first seq of a log that does not count, if its author's membership ended.
    fn cut(members: &Members, log: &LogId) -> Option<u64> {
        members.has_verdict(&log.author).then(|| members.reach_of(log, None).below)
    }

    fn standing(members: &Members) -> Vec<u8> {
        (1..10).filter(|n| members.get(&did(*n)).is_some()).collect()
    }

    /// promise: Revocations | Whoever stands above a member ends its membership, and nobody else
    #[test]
    fn whoever_stands_above_a_member_ends_its_membership_and_nobody_else() {
        let all: [&[u8]; 4] = [&[1], &[1, 2], &[1, 2, 3], &[1, 4]];
        let by = |by| standing(&decide(members(&all), &[revocation(by, 5, 3, 2)]));
        assert_eq!(by(1), [1, 2, 4]);
        assert_eq!(by(2), [1, 2, 4]);
        assert_eq!(by(4), [1, 2, 3, 4]);
        let upwards = decide(members(&all), &[revocation(2, 5, 1, 2), revocation(4, 5, 2, 2)]);
        assert_eq!(standing(&upwards), [1, 2, 3, 4]);
        assert_eq!(
            upwards.may_revoke(&did(3)),
            [did(1), did(2)].into_iter().collect::<BTreeSet<_>>().into_iter().collect::<Vec<_>>()
        );
        assert_eq!(upwards.may_revoke(&did(1)), []);
    }

    /// promise: Revocations | Of a former member that counts which its pins name, and nothing after
    #[test]
    fn of_a_former_member_that_counts_which_its_pins_name() {
        let all: [&[u8]; 2] = [&[1], &[1, 2]];
        let ended = decide(members(&all), &[revocation(1, 5, 2, 3)]);
        let elsewhere = LogId { incarnation: Incarnation([9; 8]), ..log(2) };
        assert_eq!((cut(&ended, &log(2)), cut(&ended, &elsewhere), cut(&ended, &log(1))), (Some(3), Some(0), None));
        assert_eq!(ended.revoked(&did(2)), Some(Revoked { at: Hlc(5), by: did(1) }));
        // of two revocations the lower pin counts, and a log that one of them leaves out is cut at its start
        let twice = decide(ended.clone(), &[revocation(1, 6, 2, 2)]);
        assert_eq!((cut(&twice, &log(2)), twice.revoked(&did(2)).unwrap().at), (Some(2), Hlc(5)));
        assert_eq!(cut(&decide(ended, &[revocation(1, 6, 2, 0)]), &log(2)), Some(0));
    }

    /// promise: Revocations | A revoked admin takes along whom it admitted, unless another admitted them, too
    #[test]
    fn a_revoked_admin_takes_along_whom_it_admitted_unless_another_did_too() {
        let all: [&[u8]; 4] = [&[1], &[1, 2], &[1, 2, 3], &[1, 2, 4]];
        assert_eq!(
            members(&all).falls_with(&did(2), &Unforked),
            [did(3), did(4)].into_iter().collect::<BTreeSet<_>>().into_iter().collect::<Vec<_>>()
        );
        // nor is one forgotten whose credentials no entry holds yet
        let mut shown = members(&all[..2]);
        shown.admit(&chain(all[2])).unwrap();
        settle(&mut shown, &Unforked);
        assert_eq!((shown.falls_with(&did(2), &Unforked), shown.shown_below(&did(2))), (vec![], vec![did(3)]));
        assert_eq!((shown.shown_below(&did(1)), shown.shown_below(&did(3))), (vec![did(3)], vec![]));
        assert!(members(&all).shown_below(&did(2)).is_empty());
        let mut kept = members(&all);
        kept.admit_by(&did(1), &chain(&[1, 3])).unwrap();
        let kept = decide(kept, &[revocation(1, 5, 2, 3)]);
        assert_eq!(standing(&kept), [1, 3]);
        assert_eq!((cut(&kept, &log(3)), cut(&kept, &log(4))), (None, Some(0)));
        // a date does not help: what it admits afterwards counts nowhere
        let mut later = kept;
        later.admit_by(&did(5), &chain(&[1, 2, 5])).unwrap();
        settle(&mut later, &Unforked);
        assert_eq!(standing(&later), [1, 3]);
    }

    /// promise: Revocations | A thief's revocations are void once the thief is revoked
    #[test]
    fn what_a_thief_revoked_is_void_once_the_thief_is_revoked() {
        let all: [&[u8]; 4] = [&[1], &[1, 2], &[1, 2, 3], &[1, 3]];
        let stolen = decide(members(&all[..3]), &[revocation(2, 7, 3, 1)]);
        assert_eq!(standing(&stolen), [1, 2]);
        // the way back: above the pin nothing counts, and another admits whom the thief had admitted
        let mended = decide(members(&all), &[revocation(2, 7, 3, 1), revocation(1, 3, 2, 7)]);
        assert_eq!(standing(&mended), [1, 3]);
        assert_eq!(cut(&mended, &log(3)), None);
        let before = decide(members(&all[..3]), &[revocation(2, 6, 3, 1), revocation(1, 3, 2, 7)]);
        assert_eq!((standing(&before), before.revoked(&did(3)).map(|ended| ended.by)), (vec![1], Some(did(2))));
    }

    /// promise: Revocations | Nobody gets power over a member by a credential that the member did not take
    #[test]
    fn a_credential_that_a_member_did_not_take_gives_no_power_over_it() {
        let mut framed = members(&[&[1], &[1, 2], &[1, 3]]);
        framed.admit_by(&did(2), &chain(&[1, 2, 3])).unwrap();
        framed.admit_by(&did(2), &chain(&[1, 2]).extend(chain_link(2, 1)).unwrap()).unwrap();
        let framed = decide(framed, &[revocation(2, 5, 3, 0), revocation(2, 6, 1, 0)]);
        assert_eq!(standing(&framed), [1, 2, 3]);
    }

    fn chain_link(issuer: u8, subject: u8) -> nexus_identity::Credential {
        let name = "framed".parse().unwrap();
        let claims = Claims::new(did(0), did(subject), name, [Role::Admin], Timestamp::from_ms(1));
        claims.issued_by(did(issuer)).sign(&key(issuer))
    }

    /// promise: Revocations | A revoked admin leaves nobody without the credentials that others gave
    #[test]
    fn credentials_of_a_revoked_admin_do_not_push_out_those_of_others() {
        let mut flooded = members(&[&[1], &[1, 2], &[1, 3]]);
        for n in 0..40 {
            let name = format!("flood-{n}").parse().unwrap();
            let claims = Claims::new(did(0), did(3), name, [Role::Admin], Timestamp::from_ms(1_000 + n));
            let link = claims.issued_by(did(2)).sign(&key(2));
            flooded.admit_by(&did(2), &chain(&[1, 2]).extend(link).unwrap()).unwrap();
        }
        assert_eq!(standing(&decide(flooded, &[revocation(1, 5, 2, 0)])), [1, 3]);
    }

    /// promise: Revocations | Of two admins who revoke each other the one above wins
    #[test]
    fn of_two_admins_who_revoke_each_other_the_one_above_wins() {
        let both = [revocation(1, 5, 2, 1), revocation(2, 5, 1, 1)];
        assert_eq!(standing(&decide(members(&[&[1], &[1, 2]]), &both)), [1]);
        // as high as each other: neither is above, so neither is in force
        assert_eq!(standing(&decide(members(&[&[1], &[2]]), &both)), [1, 2]);
        let crossed: [&[u8]; 4] = [&[1], &[2], &[1, 2], &[2, 1]];
        assert_eq!(standing(&decide(members(&crossed), &both)), [1, 2]);
    }

    /// promise: Revocations | A member that leaves keeps what it wrote until then
    #[test]
    fn who_leaves_keeps_what_it_wrote_until_then() {
        let left = decide(members(&[&[1], &[1, 2]]), &[revocation(2, 5, 2, 0)]);
        assert_eq!(standing(&left), [1]);
        assert_eq!((cut(&left, &log(2)), left.revoked(&did(2)).unwrap().by), (Some(6), did(2)));
        // somebody with its key cannot undo what others revoked
        let revoked = decide(left, &[revocation(1, 9, 2, 3)]);
        assert_eq!(cut(&revoked, &log(2)), Some(3));
    }

    /// promise: Revocations | A fork that somebody with a former member's key makes takes nothing away from what counts
    #[test]
    fn a_fork_below_the_pin_takes_nothing_away() {
        let all: [&[u8]; 3] = [&[1], &[1, 2], &[1, 2, 3]];
        let forked = |revocations: &[PlacedRevocation]| {
            let mut members = members(&all);
            for placed in revocations {
                members.revoke(placed.clone());
            }
            settle(&mut members, &Forked(0));
            members
        };
        // member 2 revoked member 3 in entry 4, and was revoked itself, with its log pinned at entry 6
        let both = [revocation(2, 4, 3, 1), revocation(1, 5, 2, 7)];
        assert_eq!(forked(&both).revoked(&did(3)).map(|ended| ended.by), Some(did(2)));
        let reach = forked(&both).reach_of(&log(2), Some(0));
        assert_eq!(reach, Reach { below: 0, branch: Some(entry(2, 6)) });
        // entry 3 is on the other branch
        let beside = [revocation(2, 3, 3, 1), revocation(1, 5, 2, 7)];
        assert_eq!(forked(&beside).revoked(&did(3)), None);
        // without a pin a fork cuts
        assert_eq!(forked(&both[..1]).revoked(&did(3)), None);
    }

    /// Writes down in a log of `by` that a new key takes the place of a former one. Of the former key's log this many
    /// entries count.
    fn succeed(members: &mut Members, by: u8, former: u8, member: u8, counting: u64) {
        let LogId { space, incarnation, .. } = log(former);
        let last = counting.checked_sub(1).map(|seq| Pin { space, incarnation, last: entry(former, seq) });
        let succession = Succession::new(&did(0), &key(former), &key(member), last);
        let order = (3, EntryId::of(&[by, former, member, u8::try_from(counting).unwrap()]));
        members.succeed(PlacedSuccession { author: did(by), order, hlc: Hlc(3), succession }).unwrap();
    }

    /// promise: Revocations | A new key takes the place of a former one, whose entries until then count
    #[test]
    fn a_new_key_takes_the_place_of_a_former_one() {
        let mut renewed = members(&[&[1], &[1, 2], &[1, 2, 3], &[1, 4]]);
        succeed(&mut renewed, 1, 2, 4, 5);
        let renewed = decide(renewed, &[]);
        // whom the former key had admitted needs another admin
        assert_eq!(standing(&renewed), [1, 4]);
        assert_eq!(
            (cut(&renewed, &log(2)), renewed.revoked(&did(2))),
            (Some(5), Some(Revoked { at: Hlc(3), by: did(4) }))
        );
        assert_eq!((renewed.successor(&did(2)), renewed.former_key(&did(4))), (Some(did(4)), Some(did(2))));
        // somebody with the former key writes on, leaves again, and takes nothing away
        let later = decide(renewed.clone(), &[revocation(2, 6, 2, 1), revocation(2, 7, 3, 0)]);
        assert_eq!((cut(&later, &log(2)), standing(&later)), (Some(5), vec![1, 4]));
        // and the new key is one like any other
        assert_eq!(standing(&decide(renewed, &[revocation(1, 9, 4, 2)])), [1]);
    }

    /// promise: Revocations | A new key ends with the key whose place it took, if somebody else revokes that one
    #[test]
    fn a_new_key_ends_with_the_key_whose_place_it_took() {
        let mut renewed = members(&[&[1], &[1, 3], &[1, 4], &[1, 5]]);
        succeed(&mut renewed, 1, 3, 4, 6);
        succeed(&mut renewed, 1, 4, 5, 6);
        assert_eq!(standing(&decide(renewed.clone(), &[])), [1, 5]);
        // a thief had the first key
        let ended = decide(renewed, &[revocation(1, 9, 3, 2)]);
        assert_eq!((standing(&ended), ended.revoked(&did(5)).unwrap().by), (vec![1], did(1)));
        // the pins are those of the first key's logs
        assert_eq!((cut(&ended, &log(3)), cut(&ended, &log(4)), cut(&ended, &log(5))), (Some(2), Some(0), Some(0)));
    }

    /// promise: Revocations | A key becomes one new key, however many admins it asks
    #[test]
    fn a_key_becomes_one_new_key_however_many_admins_it_asks() {
        let mut twice = members(&[&[1], &[2], &[1, 3], &[1, 4], &[2, 5]]);
        succeed(&mut twice, 1, 3, 4, 6);
        succeed(&mut twice, 2, 3, 5, 6);
        let one = did(4).min(did(5));
        let stands: Vec<Did> = standing(&decide(twice, &[])).into_iter().map(did).collect();
        assert_eq!(stands, [did(1), did(2), one]);
    }

    /// promise: Revocations | Nobody ends a member by naming a new key for it
    #[test]
    fn a_succession_counts_by_the_word_of_an_issuer_and_of_both_keys() {
        let mut framed = members(&[&[1], &[1, 2], &[1, 3], &[1, 4]]);
        // 2 has admitted nobody
        succeed(&mut framed, 2, 3, 4, 0);
        let mut forged = Succession::new(&did(0), &key(3), &key(9), []);
        forged.member = did(4);
        let order = (7, EntryId::of(&[7]));
        let placed = PlacedSuccession { author: did(1), order, hlc: Hlc(3), succession: forged };
        assert!(framed.succeed(placed).is_err());
        assert_eq!(standing(&decide(framed, &[revocation(1, 5, 3, 0)])), [1, 2, 4]);
    }

    /// promise: Revocations | The root revokes anybody, whoever carries it
    #[test]
    fn the_root_revokes_anybody_whoever_carries_it() {
        let by_root = PlacedRevocation { by_root: true, ..revocation(3, 5, 1, 2) };
        let ended = decide(members(&[&[1], &[1, 2], &[3]]), &[by_root, revocation(1, 1, 2, 0)]);
        assert_eq!(standing(&ended), [3]);
        assert_eq!((ended.revoked(&did(1)).unwrap().by, cut(&ended, &log(2))), (did(0), Some(0)));
    }

    /// promise: Revocations | A revocation ends a member that published nothing and showed its credentials alone
    #[test]
    fn a_member_that_only_showed_its_credentials_is_revoked_as_any_other() {
        let shown = |steps: &[PlacedRevocation]| {
            let mut members = members(&[&[1], &[1, 2], &[4]]);
            members.admit(&chain(&[1, 2, 3])).unwrap();
            decide(members, steps)
        };
        assert_eq!(standing(&shown(&[])), [1, 2, 3, 4]);
        for by in [1, 2] {
            let ended = shown(&[revocation(by, 5, 3, 2)]);
            assert_eq!((standing(&ended), ended.revoked(&did(3)).unwrap().by), (vec![1, 2, 4], did(by)));
            assert!(!ended.has_verdict(&did(3)), "it says nothing about entries");
        }
        assert_eq!(standing(&shown(&[revocation(4, 5, 3, 2)])), [1, 2, 3, 4], "from the side");
        let by_root = PlacedRevocation { by_root: true, ..revocation(4, 5, 3, 2) };
        assert_eq!(standing(&shown(&[by_root])), [1, 2, 4]);
        // with its issuer, and whoever it admitted
        let ended = shown(&[revocation(1, 5, 2, 0)]);
        assert_eq!((standing(&ended), ended.ended().count()), (vec![1, 4], 2));
        // nor does its former key go on
        let mut renewed = shown(&[]);
        renewed.admit_by(&did(2), &chain(&[1, 2, 5])).unwrap();
        succeed(&mut renewed, 2, 3, 5, 0);
        assert_eq!(standing(&decide(renewed, &[])), [1, 2, 4, 5]);
    }

    #[derive(Clone, Debug)]
    enum Step {
        Admit(Vec<u8>, bool),
        Show(Vec<u8>),
        Revoke(Box<PlacedRevocation>),
        Succeed(u8, u8, u8, u64),
    }

    fn step() -> impl Strategy<Value = Step> {
        let path = prop::collection::vec(1_u8..7, 1..5).prop_map(|mut path| {
            let mut seen = BTreeSet::new();
            path.retain(|n| seen.insert(*n));
            path
        });
        let show = path.clone().prop_map(Step::Show);
        let admit = (path, any::<bool>()).prop_map(|(path, own)| Step::Admit(path, own));
        let revoke = (1_u8..7, 0_u64..8, 1_u8..7, 0_u64..8)
            .prop_map(|(by, seq, member, counting)| Step::Revoke(Box::new(revocation(by, seq, member, counting))));
        let succeed = (1_u8..7, 1_u8..7, 1_u8..7, 0_u64..8).prop_filter("two keys", |step| step.1 != step.2);
        let succeed = succeed.prop_map(|(by, former, member, counting)| Step::Succeed(by, former, member, counting));
        prop_oneof![3 => admit, 1 => show, 2 => revoke, 1 => succeed]
    }

    fn take(members: &mut Members, step: &Step) {
        match step {
            Step::Admit(path, own) => {
                let author = if *own { did(*path.last().unwrap()) } else { did(9) };
                members.admit_by(&author, &chain(path)).unwrap();
            }
            Step::Show(path) => {
                members.admit(&chain(path)).unwrap();
            }
            Step::Revoke(placed) => {
                members.revoke((**placed).clone());
            }
            Step::Succeed(by, former, member, counting) => succeed(members, *by, *former, *member, *counting),
        }
    }

    /// The log of member 2 is forked at this seq, if it is below 8. The branch beside counts nowhere.
    struct Forked(u64);

    impl Branching for Forked {
        fn forked_at(&self, of: &LogId) -> Option<u64> {
            (*of == log(2) && self.0 < 8).then_some(self.0)
        }

        fn is_on_branch(&self, _: &LogId, entry: &Head, last: &Head) -> bool {
            // even entries are on the branch of even ones
            entry.seq <= last.seq && entry.seq % 2 == last.seq % 2
        }
    }

    /// promise: Revocations | Of an author's revocations the first are kept, within a bound in number and bytes, in whichever order they come
    #[test]
    fn of_an_authors_revocations_the_first_are_kept_in_any_order() {
        let with_pins = |seq: u64, pins: usize| {
            let pin = |n: usize| Pin {
                space: SpaceId::from_bytes([7; 32]),
                incarnation: Incarnation((n as u64).to_le_bytes()),
                last: Head { seq: 0, id: EntryId::ZERO },
            };
            let many = Revocation::new(did(3), (0..pins).map(pin));
            PlacedRevocation { revocation: many, ..revocation(2, seq, 3, 1) }
        };
        let kept = |sent: &[PlacedRevocation]| {
            let mut members = members(&[&[1], &[1, 2], &[1, 2, 3]]);
            let kept = sent.iter().map(|placed| members.revoke(placed.clone())).collect::<Vec<_>>();
            (members, kept)
        };
        let sent = [with_pins(0, 700), with_pins(1, 700), with_pins(2, 1)];
        // the last one would fit, and is beyond the bound all the same
        let many: Vec<_> = (3..40).map(|seq| with_pins(seq, 700)).chain([with_pins(40, 1)]).collect();
        let forwards: Vec<_> = sent.iter().chain(&many).cloned().collect();
        let backwards: Vec<_> = forwards.iter().rev().cloned().collect();
        let mixed: Vec<_> = many.iter().chain(&sent).cloned().collect();
        let (members, taken) = kept(&forwards);
        assert_eq!(taken.iter().filter(|kept| **kept).count(), 24);
        assert_eq!((&members, &members), (&kept(&backwards).0, &kept(&mixed).0));
        let pins: usize = members.revocations[&did(2)].kept.values().map(|placed| placed.revocation.pins().len()).sum();
        assert!(pins <= 16_384, "{pins}");
    }

    /// promise: Revocations | A revocation of the root is kept once, however often others write it down
    #[test]
    fn a_revocation_of_the_root_is_kept_once() {
        let copy = |by: u8, seq: u64| PlacedRevocation { by_root: true, hlc: Hlc(9), ..revocation(by, seq, 1, 2) };
        let copies: Vec<_> = (0..50).map(|n| copy(3, 50 - n)).collect();
        let fold = |copies: &[PlacedRevocation]| decide(members(&[&[1], &[3]]), copies);
        let one = fold(&copies);
        assert_eq!(one.revocations[&did(0)].kept.len(), 1);
        assert_eq!(one, fold(&copies.iter().rev().cloned().collect::<Vec<_>>()));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        /// promise: Revocations | Verdicts depend on the set of entries, and after every step they are those of a start from nothing
        #[test]
        fn verdicts_depend_on_the_set_alone(
            steps in prop::collection::vec(step(), 1..16), order in any::<prop::sample::Index>(), fork in 0_u64..12
        ) {
            let forked_at = Forked(fork);
            let mut one = Members::of(did(0));
            for (n, step) in steps.iter().enumerate() {
                take(&mut one, step);
                settle(&mut one, &forked_at);
                let mut anew = Members::of(did(0));
                steps[..=n].iter().for_each(|step| take(&mut anew, step));
                settle(&mut anew, &forked_at);
                prop_assert_eq!(&one, &anew);
            }
            let mut turned = steps.clone();
            turned.rotate_left(order.index(steps.len()));
            turned.reverse();
            let mut other = Members::of(did(0));
            turned.iter().for_each(|step| take(&mut other, step));
            settle(&mut other, &forked_at);
            prop_assert_eq!(&one, &other);
            prop_assert!(!settle(&mut one, &forked_at), "deciding again changes nothing");
            // of those with published credentials no verdict depends on shown ones
            let mut written = Members::of(did(0));
            let entries = steps.iter().filter(|step| !matches!(step, Step::Show(_)));
            entries.for_each(|step| take(&mut written, step));
            settle(&mut written, &forked_at);
            for (member, _) in written.members.iter().filter(|(_, known)| known.is_published()) {
                prop_assert_eq!(one.against.get(member), written.against.get(member));
                prop_assert_eq!(one.get(member).is_some(), written.get(member).is_some());
            }
        }

        /// promise: Revocations | Nothing that does not count ends a membership
        #[test]
        fn nothing_that_does_not_count_ends_a_membership(steps in prop::collection::vec(step(), 1..24)) {
            let renews = |step: &Step| matches!(step, Step::Succeed(..));
            let steps: Vec<Step> = steps.into_iter().filter(|step| !renews(step)).collect();
            let mut members = Members::of(did(0));
            steps.iter().for_each(|step| take(&mut members, step));
            settle(&mut members, &Unforked);
            for n in 1..7 {
                let Some(Revoked { by, .. }) = members.revoked(&did(n)) else { continue };
                let in_force = steps.iter().filter_map(|step| match step {
                    Step::Revoke(placed) if placed.revocation.member == did(n) && placed.log.author == by => Some(placed),
                    _ => None,
                });
                let cut = if by == did(n) { None } else { cut(&members, &log((1..7).find(|n| did(*n) == by).unwrap())) };
                prop_assert!(in_force.clone().any(|placed| cut.is_none_or(|cut| placed.entry.seq < cut)));
                prop_assert!(by == did(n) || members.is_above(&by, &did(n)));
            }
            // without revocations all stand
            if !members.has_ends() {
                prop_assert_eq!(members.former().count(), 0);
            }
        }
    }
}
