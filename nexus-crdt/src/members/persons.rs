//! Persons: whose machine each member is.
//!
//! A credential says whose machine its subject is, as the word of its issuer. It counts while its issuer is an admin, and
//! once the subject agreed to it by writing it down itself. So nobody makes a machine its own from outside.

use std::collections::{BTreeMap, BTreeSet};

use nexus_identity::plants::planted;
use nexus_identity::{Claims, Did, Role};

use super::{HeldCredential, Members};
use crate::task::ApprovalRule;

/// The word of a credential about whose machine its subject is.
enum Said {
    /// The first machine of a person.
    New,
    /// A machine of its issuer's person.
    Issuers(Did),
    /// A machine of this person, by the root's word.
    Person(Did),
}

impl Members {
    /// The person whose machine a member is, by the same id for all machines of that person. Nobody else has it. A
    /// machine of which nobody has said is a person of its own.
    ///
    /// It depends on the members' credentials and lines alone. An issuer that says "mine" says that the machine is of the
    /// issuer's own person, whoever that turns out to be.
    pub fn person(&self, member: &Did) -> Did {
        let (mut machine, mut seen) = (self.lines.id(member), BTreeSet::new());
        while seen.insert(machine) {
            match self.said_person(&machine) {
                Some(Said::New) | None => return machine,
                Some(Said::Person(person)) if person == self.mesh => return person,
                Some(Said::Person(same) | Said::Issuers(same)) => machine = self.lines.id(&same),
            }
        }
        // a circle of words: all machines in it are one person's
        self.circle_of(machine).into_iter().min().unwrap_or(machine)
    }

    /// The members that are machines of a person ([`person`](Self::person)), the first one first: that whose id it is, or that
    /// which the root admitted.
    pub fn machines_of(&self, person: &Did) -> impl Iterator<Item = Did> {
        let of_person = self.iter().map(|(did, _)| *did).filter(|did| self.person(did) == *person);
        let mut machines: Vec<Did> = of_person.collect();
        self.first_first(person, &mut machines);
        machines.into_iter()
    }

    fn first_first(&self, person: &Did, machines: &mut [Did]) {
        if machines.len() > 1 {
            machines.sort_by_cached_key(|did| (!self.same_line(did, person), self.level_of_line(did), *did));
        }
    }

    /// The members by the persons whose machines they are ([`person`](Self::person)), the first machine of each first.
    pub fn persons(&self) -> BTreeMap<Did, Vec<Did>> {
        let mut persons: BTreeMap<Did, Vec<Did>> = BTreeMap::new();
        for (did, _) in self.iter() {
            persons.entry(self.person(did)).or_default().push(*did);
        }
        for (person, machines) in &mut persons {
            self.first_first(person, machines);
        }
        persons
    }

    /// Whether it was said whose machine a member is.
    pub fn has_person(&self, member: &Did) -> bool {
        self.said_person(member).is_some()
    }

    /// Whether two members are machines of one person.
    pub fn same_person(&self, one: &Did, other: &Did) -> bool {
        self.person(one) == self.person(other)
    }

    /// Credentials of a member to which it has not agreed yet, although it may: an issuer that it agreed to be below says
    /// whose machine it is, later than before.
    pub fn unagreed_person(&self, member: &Did) -> Option<Claims> {
        let known = self.members.get(member)?;
        let agreed: BTreeSet<Did> = known
            .credentials
            .values()
            .filter(|held| held.own && held.claims.issuer != self.mesh)
            .map(|held| self.lines.id(&held.claims.issuer))
            .collect();
        let newest = known.credentials.values().rfind(|held| held.own && held.counts && held.claims.person.is_some());
        known
            .credentials
            .values()
            .rfind(|held| {
                held.counts
                    && !held.own
                    && held.by_issuer
                    && held.claims.person.is_some()
                    && agreed.contains(&self.lines.id(&held.claims.issuer))
                    && newest.is_none_or(|newest| newest.claims.issued_at < held.claims.issued_at)
            })
            .map(|held| held.claims.clone())
    }

    /// The members that agreed to a word of a former key of this admin about whose machine they are. It has ended with that
    /// key; the present key may say it anew.
    pub fn persons_said_by_former_keys(&self, issuer: &Did) -> Vec<(Did, Claims)> {
        if !self.has_lines() || !self.allows(issuer, Role::Admin) {
            return Vec::new();
        }
        let former: BTreeSet<Did> = self.keys_of(issuer).into_iter().filter(|key| key != issuer).collect();
        let said = |member: &Did| {
            let known = self.members.get(member)?;
            let by_former = |held: &&HeldCredential| held.own && former.contains(&held.claims.issuer);
            known.credentials.values().rfind(by_former).map(|held| held.claims.clone())
        };
        let unsaid = |member: &Did| self.said_person(member).is_none() && !self.has_said(issuer, member);
        let standing = self.iter().map(|(member, _)| *member).filter(unsaid);
        standing
            .filter_map(|member| Some((member, said(&member)?)))
            .filter(|(_, claims)| claims.person.is_some())
            .collect()
    }

    /// Whether an issuer's log says by this key whose machine a member is, agreed to or not.
    fn has_said(&self, issuer: &Did, member: &Did) -> bool {
        let said = |held: &HeldCredential| {
            held.claims.issuer == *issuer && held.by_issuer && held.counts && held.claims.person.is_some()
        };
        self.members.get(member).is_some_and(|known| known.credentials.values().any(said))
    }

    /// The issuer by whose word a member is in the mesh, if the member agreed to it: it may say whose machine the member is.
    pub fn may_say_person(&self, issuer: &Did, member: &Did) -> Option<Claims> {
        let known = self.members.get(member)?;
        let by_issuer = |held: &&HeldCredential| held.counts && held.own && self.same_line(&held.claims.issuer, issuer);
        known.credentials.values().rfind(by_issuer).map(|held| held.claims.clone())
    }

    /// Whether a member may approve what another one submitted, by this rule. An approver that has another key by now is
    /// asked by that one.
    pub fn may_approve_by(&self, rule: ApprovalRule, approver: &Did, submitter: &Did) -> bool {
        match rule {
            ApprovalRule::Other if planted("approves_by_person") => {
                self.may_approve_by(ApprovalRule::Person, approver, submitter)
            }
            ApprovalRule::Other => self.may_approve(approver, submitter),
            ApprovalRule::Person => {
                let now = if planted("approvals_end_with_keys") { *approver } else { self.present_key(approver) };
                let was_admin = || self.get_known(&now).is_some_and(|known| known.allowed_once(Role::Admin));
                if planted("former_approvers_count") && was_admin() {
                    return true;
                }
                self.allows(&now, Role::Admin) || self.allows(&now, Role::Member) && self.same_person(&now, submitter)
            }
            ApprovalRule::Later => false,
        }
    }

    /// The person whose machine a member is by the root's own word.
    pub fn said_by_root(&self, member: &Did) -> Option<Did> {
        match self.said_person(member) {
            Some(Said::Person(person)) => Some(person),
            _ => None,
        }
    }

    /// The word of the credentials of a member's keys, those of the present key first.
    fn said_person(&self, member: &Did) -> Option<Said> {
        let (mut keys, mut seen) = (vec![self.present_key(member)], BTreeSet::new());
        while let Some(key) = keys.pop() {
            if !seen.insert(key) {
                continue;
            }
            if let Some(said) = self.said_of_key(&key) {
                return Some(said);
            }
            keys.extend(self.lines.before.get(&key).into_iter().flatten().rev().copied());
        }
        None
    }

    fn said_of_key(&self, key: &Did) -> Option<Said> {
        let known = self.members.get(key)?;
        let counts = |held: &&HeldCredential| {
            held.claims.person.is_some() && held.counts && (held.own || planted("persons_need_no_agreement"))
        };
        let claims = &known.credentials.values().rfind(counts)?.claims;
        let person = claims.person?;
        Some(match claims.issuer {
            _ if person == claims.subject => Said::New,
            root if root == self.mesh => Said::Person(person),
            issuer => Said::Issuers(issuer),
        })
    }

    /// The machines in a circle of words, from one of them on.
    fn circle_of(&self, first: Did) -> BTreeSet<Did> {
        let (mut machine, mut circle) = (first, BTreeSet::new());
        while circle.insert(machine) {
            let Some(Said::Person(next) | Said::Issuers(next)) = self.said_person(&machine) else { break };
            machine = self.lines.id(&next);
        }
        circle
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry_id::EntryId;
    use crate::hlc::Hlc;
    use crate::log::Unforked;
    use crate::succession::{PlacedSuccession, Succession};
    use nexus_identity::{Chain, Keypair, Timestamp};
    use proptest::prelude::*;

    const ROOT: u8 = 0;
    const ALICE: u8 = 1;
    const DESK: u8 = 2;
    const SERVER: u8 = 3;
    const BOB: u8 = 4;
    const BOBS: u8 = 5;
    const CLOUD: u8 = 6;

    fn key(n: u8) -> Keypair {
        Keypair::from_seed(&[n; 32])
    }

    fn did(n: u8) -> Did {
        key(n).did()
    }

    /// A link: its subject, its role, and the person that it names, as the number of a key.
    type Link = (u8, Role, Option<u8>);

    /// The chain from the root over these links, the last of which is issued at this time.
    fn chain(links: &[Link], at: u64) -> Chain {
        let mut chain: Option<Chain> = None;
        for (n, (subject, role, person)) in links.iter().enumerate() {
            let issuer = if n == 0 { ROOT } else { links[n - 1].0 };
            let at = Timestamp::from_ms(if n + 1 == links.len() { at } else { 1 });
            let claims = Claims::new(did(ROOT), did(*subject), format!("n{subject}").parse().unwrap(), [*role], at);
            let link = claims.issued_by(did(issuer)).of_person(person.map(did)).sign(&key(issuer));
            chain = Some(chain.map_or_else(|| Chain::found(link.clone()), |chain| chain.extend(link.clone())).unwrap());
        }
        chain.unwrap()
    }

    /// Has two logs say that a member is one: its issuer's and its own.
    fn admitted(members: &mut Members, links: &[Link], at: u64) {
        let chain = chain(links, at);
        if let [.., issuer, _] = links {
            members.admit_by(&did(issuer.0), &chain).unwrap();
        }
        members.admit_by(&did(links.last().unwrap().0), &chain).unwrap();
    }

    const FOUNDER: Link = (ALICE, Role::Admin, Some(ROOT));

    /// Alice founded the mesh, and has a desk and a server. Bob is an admin with two machines, one of them admitted by
    /// the other. Nobody has said whose the cloud is.
    fn mesh() -> Members {
        let mut members = Members::of(did(ROOT));
        admitted(&mut members, &[FOUNDER], 1);
        admitted(&mut members, &[FOUNDER, (DESK, Role::Member, Some(ROOT))], 2);
        admitted(&mut members, &[FOUNDER, (SERVER, Role::Member, Some(ROOT))], 2);
        admitted(&mut members, &[FOUNDER, (BOB, Role::Admin, Some(BOB))], 2);
        admitted(&mut members, &[FOUNDER, (BOB, Role::Admin, Some(BOB)), (BOBS, Role::Member, Some(BOB))], 3);
        admitted(&mut members, &[FOUNDER, (CLOUD, Role::Member, None)], 2);
        members
    }

    fn settle(members: &mut Members) {
        if let Some(decided) = members.decided(&Unforked) {
            *members = decided;
        }
    }

    /// The issuer has a new key take the place of a former one, and keeps a member below it.
    fn rotate(members: &mut Members, issuer: u8, former: u8, new: u8, keeps: &[u8], at: u64) {
        for kept in keeps {
            let kept = chain(&[FOUNDER, (*kept, Role::Member, None)], at);
            members.admit_by(&did(issuer), &kept).unwrap();
        }
        let succession = Succession::new(&did(ROOT), &key(former), &key(new), []);
        let order = (at, EntryId::of(&[issuer, former, new]));
        let hlc = Hlc::at(Timestamp::from_ms(at));
        members.succeed(PlacedSuccession { author: did(issuer), order, hlc, succession }).unwrap();
        admitted(members, &[FOUNDER, (new, Role::Admin, None)], at);
        settle(members);
    }

    /// The machines of one person, by number.
    fn machines(members: &Members, of: u8) -> Vec<u8> {
        (1..30).filter(|n| members.get(&did(*n)).is_some() && members.same_person(&did(*n), &did(of))).collect()
    }

    fn approvers(members: &Members, rule: ApprovalRule, submitter: u8) -> Vec<u8> {
        (1..30).filter(|n| members.may_approve_by(rule, &did(*n), &did(submitter))).collect()
    }

    /// promise: Persons | Machines of one person are those that its own machines vouch for, and that agreed
    #[test]
    fn a_person_has_the_machines_that_its_own_ones_vouch_for() {
        let members = mesh();
        assert_eq!(machines(&members, DESK), [ALICE, DESK, SERVER]);
        assert_eq!((members.person(&did(DESK)), members.person(&did(ALICE))), (did(ROOT), did(ROOT)));
        assert_eq!(machines(&members, BOB), [BOB, BOBS]);
        assert_eq!(machines(&members, CLOUD), [CLOUD], "nobody has said: the stricter default");
        assert!(members.has_person(&did(DESK)) && !members.has_person(&did(CLOUD)));
        assert_eq!(members.machines_of(&did(ROOT)).next(), Some(did(ALICE)), "the first machine comes first");
    }

    /// promise: Tasks | By the rule `person` a machine of the submitter's person approves, its own among them, and an admin's; nobody else
    #[test]
    fn by_the_rule_person_ones_own_machines_and_admins_approve() {
        let members = mesh();
        let by_person = |submitter| approvers(&members, ApprovalRule::Person, submitter);
        assert_eq!(by_person(ALICE), [ALICE, DESK, SERVER, BOB], "the founder's own node, and Bob's, an admin's");
        assert_eq!(by_person(SERVER), [ALICE, DESK, SERVER, BOB]);
        assert_eq!(by_person(BOBS), [ALICE, BOB, BOBS]);
        assert_eq!(by_person(CLOUD), [ALICE, BOB, CLOUD], "a machine of its own");
        assert_eq!(approvers(&members, ApprovalRule::Other, ALICE), [0_u8; 0], "all are below the founder");
        assert_eq!(approvers(&members, ApprovalRule::Other, BOBS), [ALICE, BOB]);
        assert_eq!(approvers(&members, ApprovalRule::Later, ALICE), [0_u8; 0]);
    }

    /// promise: Persons | Nobody makes a machine its own from outside: the machine agrees, and only to those who admitted it
    #[test]
    fn nobody_makes_a_machine_its_own_from_outside() {
        let mut members = mesh();
        let before = members.clone();
        // Bob, an admin, signs that Alice's desk is his, and writes it into his log
        let claim = chain(&[FOUNDER, (BOB, Role::Admin, Some(BOB)), (DESK, Role::Member, Some(BOB))], 9);
        members.admit_by(&did(BOB), &claim).unwrap();
        assert_eq!(machines(&members, DESK), [ALICE, DESK, SERVER]);
        assert_eq!(members.unagreed_person(&did(DESK)), None, "the desk agreed to be below Alice, not below Bob");
        // its own word: Alice takes the server to be Bob's first, later, and the server agrees
        let word = chain(&[FOUNDER, (SERVER, Role::Member, Some(SERVER))], 9);
        members.admit_by(&did(ALICE), &word).unwrap();
        assert_eq!(machines(&members, DESK), [ALICE, DESK, SERVER], "not before it agreed");
        assert_eq!(members.unagreed_person(&did(SERVER)).unwrap().person, Some(did(SERVER)));
        members.admit_by(&did(SERVER), &word).unwrap();
        assert_eq!((machines(&members, DESK), members.unagreed_person(&did(SERVER))), (vec![ALICE, DESK], None));
        assert_eq!(machines(&before, DESK), [ALICE, DESK, SERVER]);
    }

    /// promise: Persons | A new key keeps its person; words of the former key about others end with it, and the new key says them again
    #[test]
    fn a_new_key_keeps_its_person_and_a_stolen_former_one_vouches_for_nobody() {
        let new = 20;
        let mut members = mesh();
        rotate(&mut members, ALICE, BOB, new, &[BOBS], 20);
        assert_eq!(machines(&members, new), [new], "the word of the former key has ended");
        assert!(members.same_person(&did(new), &did(BOB)), "both keys are one person's");
        // the thief of the former key vouches for itself
        let thief = chain(&[FOUNDER, (BOB, Role::Admin, Some(BOB)), (9, Role::Admin, Some(BOB))], 21);
        members.admit_by(&did(9), &thief).unwrap();
        members.admit_by(&did(BOB), &thief).unwrap();
        settle(&mut members);
        assert!(!members.same_person(&did(9), &did(new)));
        assert!(!members.may_approve_by(ApprovalRule::Person, &did(9), &did(new)));
        // the new key says again what the former one said, and the machine agrees
        let said = members.persons_said_by_former_keys(&did(new));
        assert_eq!(said.iter().map(|(member, _)| *member).collect::<Vec<_>>(), [did(BOBS)]);
        let again = chain(&[FOUNDER, (new, Role::Admin, None), (BOBS, Role::Member, Some(new))], 22);
        members.admit_by(&did(new), &again).unwrap();
        assert!(members.unagreed_person(&did(BOBS)).is_some(), "it agreed to be below a key of that line");
        assert_eq!(
            members.persons_said_by_former_keys(&did(new)),
            [],
            "it is said once, however long the machine is away"
        );
        members.admit_by(&did(BOBS), &again).unwrap();
        settle(&mut members);
        assert_eq!(machines(&members, new), [BOBS, new]);
        assert_eq!(members.persons_said_by_former_keys(&did(new)), []);
        assert_eq!(
            approvers(&members, ApprovalRule::Person, BOBS),
            [ALICE, BOB, BOBS, new],
            "asked by the present key"
        );
    }

    /// promise: Persons | A grandchild is whose its own issuer says, all the way up
    #[test]
    fn a_grandchild_is_its_issuers_however_the_issuer_is_called() {
        // nobody has said whose the cloud is; as an admin it says that a third machine is of its own person
        let mut members = mesh();
        admitted(&mut members, &[FOUNDER, (CLOUD, Role::Admin, None)], 3);
        admitted(&mut members, &[FOUNDER, (CLOUD, Role::Admin, None), (7, Role::Admin, Some(CLOUD))], 4);
        admitted(
            &mut members,
            &[FOUNDER, (CLOUD, Role::Admin, None), (7, Role::Admin, Some(CLOUD)), (8, Role::Member, Some(CLOUD))],
            5,
        );
        assert_eq!(machines(&members, 8), [CLOUD, 7, 8]);
        // Alice says later that the cloud is hers: what the cloud vouched for is hers as well
        let mine = chain(&[FOUNDER, (CLOUD, Role::Admin, Some(ROOT))], 6);
        members.admit_by(&did(ALICE), &mine).unwrap();
        members.admit_by(&did(CLOUD), &mine).unwrap();
        assert_eq!(machines(&members, 8), [ALICE, DESK, SERVER, CLOUD, 7, 8]);
    }

    proptest! {
        /// promise: Persons | Whose a machine is depends on the set of credentials, never on the order in which they came
        #[test]
        fn persons_depend_on_the_set_of_credentials(order in Just((0..9).collect::<Vec<usize>>()).prop_shuffle()) {
            let bob = (BOB, Role::Admin, Some(BOB));
            let desk = chain(&[FOUNDER, (DESK, Role::Member, Some(ROOT))], 2);
            let words: [(u8, Chain); 9] = [
                (ALICE, chain(&[FOUNDER], 1)),
                (ALICE, desk.clone()),
                (DESK, desk),
                (BOB, chain(&[FOUNDER, bob], 2)),
                (ALICE, chain(&[FOUNDER, bob], 2)),
                (BOB, chain(&[FOUNDER, bob, (BOBS, Role::Member, Some(BOB))], 3)),
                (BOBS, chain(&[FOUNDER, bob, (BOBS, Role::Member, Some(BOB))], 3)),
                (BOB, chain(&[FOUNDER, bob, (DESK, Role::Member, Some(BOB))], 7)),
                (BOBS, chain(&[FOUNDER, bob, (BOBS, Role::Member, Some(BOBS))], 4)),
            ];
            let mut members = Members::of(did(ROOT));
            for n in order {
                members.admit_by(&did(words[n].0), &words[n].1).unwrap();
            }
            prop_assert_eq!(machines(&members, DESK), [ALICE, DESK]);
            prop_assert_eq!((machines(&members, BOB), machines(&members, BOBS)), (vec![BOB], vec![BOBS]));
        }
    }
}
