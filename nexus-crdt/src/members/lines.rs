//! Lines of members. A line has all keys of one member: the former ones and the present one.
//!
//! Successions that count make the lines, so an admin has agreed to each. Quotas and budgets belong to a line: a new key
//! gives nobody another one.

use std::collections::{BTreeMap, BTreeSet};

use nexus_identity::plants::planted;
use nexus_identity::{Did, Role};

use super::{HeldCredential, Members};
use crate::hlc::Hlc;
use crate::succession::PlacedSuccession;

/// The lines of the members that had more than one key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Lines {
    /// The lowest key of each key's line.
    of: BTreeMap<Did, Did>,
    /// The keys of each line, by its lowest one.
    keys: BTreeMap<Did, BTreeSet<Did>>,
    /// The key that took the place of each former one.
    next: BTreeMap<Did, Did>,
    /// The former keys of each new one.
    pub(super) before: BTreeMap<Did, BTreeSet<Did>>,
    /// The writers of the successions of each former key, and of each new one: their credentials renew a membership,
    /// and admit nobody.
    renewers: BTreeMap<Did, BTreeSet<Did>>,
    /// The time of the last change of the key in each line, by its lowest key.
    changed: BTreeMap<Did, Hlc>,
}

impl Lines {
    pub(super) const fn none() -> Self {
        Self {
            of: BTreeMap::new(),
            keys: BTreeMap::new(),
            next: BTreeMap::new(),
            before: BTreeMap::new(),
            renewers: BTreeMap::new(),
            changed: BTreeMap::new(),
        }
    }

    /// The lines that these successions make.
    pub(super) fn of<'a>(successions: impl Iterator<Item = &'a PlacedSuccession>) -> Self {
        let mut lines = Self::default();
        let mut first: BTreeMap<Did, &PlacedSuccession> = BTreeMap::new();
        let mut changes: BTreeMap<(Did, Did), Hlc> = BTreeMap::new();
        for placed in successions {
            let (former, member) = (placed.succession.former, placed.succession.member);
            let counting = first.entry(former).or_insert(placed);
            if placed.rank() < counting.rank() {
                *counting = placed;
            }
            // a copy that somebody writes down later moves nothing
            let at = changes.entry((former, member)).or_insert(placed.hlc);
            *at = placed.hlc.min(*at);
            for key in [former, member] {
                lines.renewers.entry(key).or_default().insert(placed.author);
            }
            lines.before.entry(member).or_default().insert(former);
            lines.join(former, member);
        }
        lines.next = first.into_iter().map(|(former, placed)| (former, placed.succession.member)).collect();
        for ((former, _), at) in changes {
            let last = lines.changed.entry(lines.id(&former)).or_insert(at);
            *last = at.max(*last);
        }
        lines
    }

    fn join(&mut self, one: Did, other: Did) {
        let (one, other) = (self.id(&one), self.id(&other));
        let (low, high) = (one.min(other), one.max(other));
        let mut moved = self.keys.remove(&high).unwrap_or_else(|| BTreeSet::from([high]));
        for key in &moved {
            self.of.insert(*key, low);
        }
        self.of.insert(low, low);
        self.keys.entry(low).or_insert_with(|| BTreeSet::from([low])).append(&mut moved);
    }

    pub(super) fn id(&self, key: &Did) -> Did {
        self.of.get(key).copied().unwrap_or(*key)
    }
}

impl Members {
    /// The keys of a member's line, itself among them. Lines are as of the last verdicts ([`decided`](Self::decided)).
    pub fn line(&self, member: &Did) -> BTreeSet<Did> {
        let known = self.lines.of.get(member).filter(|_| !planted("quotas_by_key"));
        known.and_then(|id| self.lines.keys.get(id)).cloned().unwrap_or_else(|| BTreeSet::from([*member]))
    }

    /// The name of a member's line: the same for all of its keys, and another one for each line.
    pub fn line_id(&self, member: &Did) -> Did {
        if planted("quotas_by_key") { *member } else { self.lines.id(member) }
    }

    /// Whether any member had another key.
    pub fn has_lines(&self) -> bool {
        !self.lines.of.is_empty()
    }

    /// Whether two keys are of one member.
    pub fn same_line(&self, one: &Did, other: &Did) -> bool {
        self.lines.id(one) == self.lines.id(other)
    }

    /// The last key that took the place of this one, at once or over keys in between, a member's or not. Else the same.
    pub fn present_key(&self, key: &Did) -> Did {
        let (mut last, mut seen) = (*key, BTreeSet::from([*key]));
        while let Some(next) = self.lines.next.get(&last).filter(|next| seen.insert(**next)) {
            last = *next;
        }
        last
    }

    /// The time at which a member's line had its last new key, by the clock of the admin that admitted it.
    pub fn renewed_at(&self, member: &Did) -> Option<Hlc> {
        self.lines.changed.get(&self.lines.id(member)).copied()
    }

    /// Whether the log of a member's issuer has its credentials, or the root issued them. An earlier entry of that log ends
    /// the member's former key, if it had one.
    pub fn is_written_by_issuer(&self, member: &Did) -> bool {
        self.members
            .get(member)
            .is_some_and(|known| known.credentials.values().any(|held| held.by_issuer && held.counts))
    }

    /// The member that admitted another one, by its present key. An admin that lets a new key take the place of a former
    /// one admits nobody: the word of before stands.
    pub fn admitter(&self, member: &Did) -> Option<Did> {
        let (mut key, mut seen) = (*member, BTreeSet::from([*member]));
        loop {
            let known = self.members.get(&key)?;
            let admitted = |held: &&HeldCredential| !self.renews(&key, &held.claims.issuer);
            let latest = known.credentials.values().rfind(admitted);
            let counting = known.credentials.values().filter(|held| held.counts).rfind(admitted);
            if let Some(held) = counting.or(latest) {
                return Some(self.present_key(&held.claims.issuer));
            }
            match self.lines.before.get(&key).and_then(|before| before.iter().find(|former| seen.insert(**former))) {
                Some(former) => key = *former,
                None => return known.admitted_by(),
            }
        }
    }

    /// The members that somebody admitted by any of its keys, at once or over others whom it had admitted
    /// ([`admitter`](Self::admitter)).
    pub fn admitted_below(&self, above: &Did) -> Vec<Did> {
        let is_below = |member: &Did| {
            let (mut last, mut seen) = (*member, BTreeSet::from([*member]));
            while let Some(next) = self.admitter(&last).filter(|next| seen.insert(*next)) {
                if self.same_line(&next, above) {
                    return true;
                }
                last = next;
            }
            false
        };
        self.iter().map(|(did, _)| *did).filter(|did| !self.same_line(did, above) && is_below(did)).collect()
    }

    /// Whether a member may approve what another one submitted: it is an admin, by its present key, neither of the
    /// submitter's line nor below it in any chain.
    pub fn may_approve(&self, approver: &Did, submitter: &Did) -> bool {
        let now = self.present_key(approver);
        self.allows(&now, Role::Admin) && !self.same_line(&now, submitter) && !self.is_below(&now, submitter)
    }

    /// Whether a member's line is below another one's in any chain of admissions.
    fn is_below(&self, member: &Did, above: &Did) -> bool {
        let mut seen = self.keys_of(member);
        let mut next: Vec<Did> = seen.iter().copied().collect();
        let above = self.keys_of(above);
        while let Some(key) = next.pop() {
            for admitter in self.admitters(&key).flat_map(|issuer| self.keys_of(&issuer)) {
                if above.contains(&admitter) {
                    return true;
                }
                if seen.insert(admitter) {
                    next.push(admitter);
                }
            }
        }
        false
    }

    /// All keys of a member's line, its present one and those before.
    pub fn keys_of(&self, key: &Did) -> BTreeSet<Did> {
        let keys = self.lines.of.get(key).and_then(|id| self.lines.keys.get(id));
        keys.cloned().unwrap_or_else(|| BTreeSet::from([*key]))
    }

    /// The issuers of a key's credentials, whether these still count or not. A credential that somebody farther from the
    /// root wrote for it unasked says nothing: it would keep the key from approving.
    fn admitters(&self, key: &Did) -> impl Iterator<Item = Did> {
        let credentials = || self.members.get(key).into_iter().flat_map(|known| known.credentials.values());
        let agreed = credentials().any(|held| held.own);
        let level = std::cell::OnceCell::new();
        let asked = move |held: &HeldCredential| {
            held.own
                || !agreed
                || self.level_of_line(&held.claims.issuer) <= *level.get_or_init(|| self.level_of_line(key))
        };
        credentials()
            .filter(move |held| {
                held.claims.issuer != self.mesh && !self.renews(key, &held.claims.issuer) && asked(held)
            })
            .map(|held| held.claims.issuer)
    }

    /// Whether an issuer's credentials of a key renew what another one had admitted. The issuer wrote down a succession: to
    /// this key, or from a key above it.
    fn renews(&self, key: &Did, issuer: &Did) -> bool {
        let wrote = |of: &Did| self.lines.renewers.get(of).is_some_and(|by| by.contains(issuer));
        if self.lines.before.contains_key(key) && wrote(key) {
            return true;
        }
        if !self.lines.renewers.values().any(|by| by.contains(issuer)) {
            return false;
        }
        let (mut seen, mut next) = (BTreeSet::from([*key, *issuer]), vec![*key]);
        while let Some(key) = next.pop() {
            let credentials = self.members.get(&key).into_iter().flat_map(|known| known.credentials.values());
            for above in credentials.map(|held| held.claims.issuer).filter(|above| *above != self.mesh) {
                if self.lines.next.contains_key(&above) && wrote(&above) {
                    return true;
                }
                if seen.insert(above) {
                    next.push(above);
                }
            }
        }
        false
    }

    pub(super) fn level_of_line(&self, key: &Did) -> usize {
        self.keys_of(key).iter().map(|key| self.level(key)).min().unwrap_or(usize::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry_id::EntryId;
    use crate::frontier::Head;
    use crate::log::Unforked;
    use crate::log_id::Incarnation;
    use crate::revocation::Pin;
    use crate::space::SpaceId;
    use crate::succession::Succession;
    use nexus_identity::{Chain, Claims, Keypair, Timestamp};

    /// The mesh's root, and members by number.
    const ROOT: u8 = 0;
    const ALICE: u8 = 1;
    const DORA: u8 = 2;
    const EVE: u8 = 3;
    const FAY: u8 = 4;
    const BOB: u8 = 5;

    fn key(n: u8) -> Keypair {
        Keypair::from_seed(&[n; 32])
    }

    fn did(n: u8) -> Did {
        key(n).did()
    }

    /// The chain from the root over these members, all of them admins.
    fn chain(path: &[u8]) -> Chain {
        let claims = |issuer: u8, subject: u8, at: usize| {
            let at = Timestamp::from_ms(u64::try_from(at).unwrap());
            let claims =
                Claims::new(did(ROOT), did(subject), format!("n{subject}").parse().unwrap(), [Role::Admin], at);
            claims.issued_by(did(issuer)).sign(&key(issuer))
        };
        let first = Chain::found(claims(ROOT, path[0], 1)).unwrap();
        path.windows(2).fold(first, |chain, pair| chain.extend(claims(pair[0], pair[1], 2)).unwrap())
    }

    /// Members by their chains. Each one's issuer and each one itself wrote it down.
    fn members(paths: &[&[u8]]) -> Members {
        let mut members = Members::of(did(ROOT));
        for path in paths {
            if let [.., issuer, _] = path {
                members.admit_by(&did(*issuer), &chain(path)).unwrap();
            }
            members.admit_by(&did(*path.last().unwrap()), &chain(path)).unwrap();
        }
        members
    }

    /// An admin, by a chain to itself, has a new key take the place of a former one. It keeps whoever would fall, ends the
    /// former key, and admits the new one.
    fn rotate(members: &mut Members, (above, by): (&[u8], u8), former: u8, member: u8, at: u64, keeps: &[u8]) {
        for kept in keeps {
            members.admit_by(&did(by), &chain(&[above, &[by, *kept]].concat())).unwrap();
        }
        let pins = (0..256_u64).map(|n| Pin {
            space: SpaceId::mesh(&did(ROOT)),
            incarnation: Incarnation(n.to_be_bytes()),
            last: Head { seq: 1, id: EntryId::ZERO },
        });
        let succession = Succession::new(&did(ROOT), &key(former), &key(member), pins);
        let placed = PlacedSuccession {
            author: did(by),
            order: (at, EntryId::of(&[by, former, member])),
            hlc: Hlc::at(Timestamp::from_ms(at)),
            succession,
        };
        members.succeed(placed).unwrap();
        members.admit_by(&did(by), &chain(&[above, &[by, member]].concat())).unwrap();
        settle(members);
    }

    fn settle(members: &mut Members) {
        if let Some(decided) = members.decided(&Unforked) {
            *members = decided;
        }
    }

    /// The keys of all who may approve what a member submitted.
    fn approvers(members: &Members, submitter: u8) -> Vec<u8> {
        (1..30).filter(|n| members.may_approve(&did(*n), &did(submitter))).collect()
    }

    const MESH: &[&[u8]] = &[&[ALICE], &[ALICE, DORA], &[ALICE, DORA, EVE], &[ALICE, DORA, EVE, FAY], &[ALICE, BOB]];

    /// promise: Tasks | A member that stands below a submitter in any chain approves nothing of it; who stands above it, or beside it, does
    #[test]
    fn nobody_below_a_submitter_approves_for_it() {
        let members = members(MESH);
        assert_eq!(approvers(&members, DORA), [ALICE, BOB], "neither the child nor the grandchild");
        assert_eq!(approvers(&members, EVE), [ALICE, DORA, BOB], "who stands above may");
        assert_eq!(approvers(&members, FAY), [ALICE, DORA, EVE, BOB]);
        assert_eq!(approvers(&members, BOB), [ALICE, DORA, EVE, FAY]);
        assert!(approvers(&members, ALICE).is_empty(), "all are below the founder");
        // another admin admitted the grandchild as well: it is below the submitter all the same
        let mut both = members.clone();
        both.admit_by(&did(BOB), &chain(&[ALICE, BOB, FAY])).unwrap();
        both.admit_by(&did(FAY), &chain(&[ALICE, BOB, FAY])).unwrap();
        assert_eq!(approvers(&both, DORA), [ALICE, BOB]);
        // somebody below admits those above unasked, to keep them from approving
        let mut unasked = members;
        for path in [[ALICE, DORA, EVE, BOB].as_slice(), &[ALICE, DORA, EVE, ALICE]] {
            unasked.admit_by(&did(EVE), &chain(path)).unwrap();
        }
        settle(&mut unasked);
        assert_eq!(approvers(&unasked, DORA), [ALICE, BOB]);
    }

    /// promise: Tasks | A new key makes nobody an approver: whom a former key admitted stays below the present one
    #[test]
    fn a_new_key_makes_nobody_an_approver() {
        let mut members = members(MESH);
        let (dora, eve) = (12, 13);
        rotate(&mut members, (&[], ALICE), DORA, dora, 10, &[EVE, FAY]);
        for submitter in [DORA, dora] {
            assert_eq!(approvers(&members, submitter), [ALICE, BOB], "neither its own new key, nor whom it admitted");
        }
        // the child changes its key, by another admin's node
        rotate(&mut members, (&[ALICE], BOB), EVE, eve, 20, &[]);
        assert_eq!(approvers(&members, dora), [ALICE, BOB]);
        assert_eq!(
            approvers(&members, FAY),
            [ALICE, DORA, EVE, BOB, dora, eve],
            "an approval outlives its approver's key"
        );
        // whose node let a new key through stands not above it
        assert_eq!(approvers(&members, BOB), [ALICE, DORA, EVE, FAY, dora, eve]);
    }

    /// promise: Revocations | Whom a key admitted before it made way for a new one is admitted by the new one
    #[test]
    fn whom_a_former_key_admitted_is_admitted_by_the_present_one() {
        let mut members = members(MESH);
        let (second, third) = (12, 13);
        let admitters = |members: &Members| [EVE, FAY, BOB].map(|member| members.admitter(&did(member)));
        assert_eq!(admitters(&members), [Some(did(DORA)), Some(did(EVE)), Some(did(ALICE))]);
        rotate(&mut members, (&[], ALICE), DORA, second, 10, &[EVE, FAY]);
        assert_eq!(admitters(&members), [Some(did(second)), Some(did(EVE)), Some(did(ALICE))]);
        rotate(&mut members, (&[ALICE], BOB), second, third, 20, &[]);
        assert_eq!(admitters(&members), [Some(did(third)), Some(did(EVE)), Some(did(ALICE))]);
        assert_eq!(members.admitter(&did(third)), Some(did(ALICE)), "not whose node let the new key through");
        for key in [DORA, second, third] {
            let below: BTreeSet<Did> = members.admitted_below(&did(key)).into_iter().collect();
            assert_eq!(below, BTreeSet::from([did(EVE), did(FAY)]));
        }
        let line = BTreeSet::from([did(DORA), did(second), did(third)]);
        assert_eq!((members.line(&did(second)), members.present_key(&did(DORA))), (line, did(third)));
        assert!(members.same_line(&did(third), &did(DORA)) && !members.same_line(&did(third), &did(EVE)));
        assert_eq!(members.renewed_at(&did(DORA)), Some(Hlc::at(Timestamp::from_ms(20))));
        // a copy that somebody else writes down later is no new key
        let known = members.successions[&did(BOB)].iter().next().unwrap().clone();
        let copy = PlacedSuccession { author: did(ALICE), hlc: Hlc::at(Timestamp::from_ms(90)), ..known };
        members.succeed(copy).unwrap();
        members.admit_by(&did(ALICE), &chain(&[ALICE, third])).unwrap();
        settle(&mut members);
        assert_eq!(members.renewed_at(&did(third)), Some(Hlc::at(Timestamp::from_ms(20))));
    }

    /// promise: Revocations | A member that changes its key without end uses up nobody else's successions
    #[test]
    fn a_member_that_changes_its_key_without_end_uses_up_nobody_elses_successions() {
        let mut members = members(&[&[ALICE], &[ALICE, BOB], &[ALICE, 20]]);
        for n in 20..90 {
            rotate(&mut members, (&[], ALICE), n, n + 1, u64::from(n), &[]);
        }
        assert_eq!(members.line(&did(20)).len(), 71);
        let stolen = 15;
        rotate(&mut members, (&[], ALICE), BOB, stolen, 1_000, &[]);
        assert!(members.has_ended(&did(BOB)), "an honest change of the key counts");
        assert!(members.get(&did(stolen)).is_some());
    }

    /// promise: Revocations | Since when a member has its key is known from the log of whoever admitted it
    #[test]
    fn a_key_that_was_shown_or_that_wrote_its_own_credentials_was_not_heard_of() {
        let mut members = Members::of(did(ROOT));
        members.admit_by(&did(ALICE), &chain(&[ALICE])).unwrap();
        members.admit(&chain(&[ALICE, BOB])).unwrap();
        assert!(members.is_written_by_issuer(&did(ALICE)) && !members.is_written_by_issuer(&did(BOB)));
        members.admit_by(&did(BOB), &chain(&[ALICE, BOB])).unwrap();
        assert!(!members.is_written_by_issuer(&did(BOB)));
        let mut shared = std::sync::Arc::new(members);
        assert_eq!(Members::admit_shared(&mut shared, &chain(&[ALICE, BOB]), Some(&did(ALICE))), Ok(true));
        assert!(shared.is_written_by_issuer(&did(BOB)));
        assert_eq!(Members::admit_shared(&mut shared, &chain(&[ALICE, BOB]), Some(&did(ALICE))), Ok(false));
    }
}
