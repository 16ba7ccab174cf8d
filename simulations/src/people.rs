//! The members as the simulator knows them: who admitted whom, whose machine each one is, which key took the place of
//! which, and whose membership ended. No node is asked for it, and none of its rules is that of a node.

use std::collections::{BTreeMap, BTreeSet};

use nexus_identity::{Did, Role};
use nexus_node::tasks::ApprovalRule;

/// Whose machine a member is, as somebody says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SaidOf {
    /// Another machine of whoever says so.
    Mine,
    /// The first machine of somebody else.
    Other,
}

/// Members by the first keys of their lines.
#[derive(Clone, Debug, Default)]
pub(crate) struct People {
    members: BTreeMap<Did, Known>,
    /// The first key of the line of each later key.
    first: BTreeMap<Did, Did>,
    /// The machines that somebody once said, or wished to say, to be of one person.
    once_one: Vec<(Did, Did)>,
}

/// A member, with all of its keys.
#[derive(Clone, Debug)]
struct Known {
    /// The member that admitted it; `None` for the founder.
    by: Option<Did>,
    role: Role,
    /// The words about whose machine it is, to which it agreed, in order.
    said: Vec<(Did, SaidOf)>,
    is_out: bool,
}

impl People {
    /// The first member.
    pub(crate) fn founded(&mut self, did: Did) {
        self.members.insert(did, Known { by: None, role: Role::Admin, said: Vec::new(), is_out: false });
    }

    /// A member was admitted, and agreed to what was said of it then.
    pub(crate) fn admitted(&mut self, did: Did, by: &Did, role: Role, said: Option<SaidOf>) {
        let known = Known { by: Some(self.line(by)), role, said: Vec::new(), is_out: false };
        self.members.insert(did, known);
        if let Some(said) = said {
            self.may_be_said(&did, by, said);
            self.said(&did, by, said);
        }
    }

    /// Somebody is about to say whose machine a member is.
    pub(crate) fn may_be_said(&mut self, did: &Did, by: &Did, said: SaidOf) {
        if said == SaidOf::Mine {
            self.once_one.push((self.line(did), self.line(by)));
        }
    }

    /// The admin of a member said whose machine it is, and the member agrees.
    pub(crate) fn said(&mut self, did: &Did, by: &Did, said: SaidOf) {
        let (line, by) = (self.line(did), self.line(by));
        if let Some(known) = self.members.get_mut(&line) {
            known.said.push((by, said));
        }
    }

    /// A member has another key.
    pub(crate) fn succeeded(&mut self, former: &Did, key: Did) {
        self.first.insert(key, self.line(former));
    }

    /// A membership ended. Others that it had admitted stay.
    pub(crate) fn ended(&mut self, did: &Did) {
        let line = self.line(did);
        if let Some(known) = self.members.get_mut(&line) {
            known.is_out = true;
        }
    }

    /// Whether it is a member's key.
    pub(crate) fn knows(&self, did: &Did) -> bool {
        self.members.contains_key(&self.line(did))
    }

    /// The first key of a member.
    fn line(&self, did: &Did) -> Did {
        self.first.get(did).copied().unwrap_or(*did)
    }

    fn stands(&self, did: &Did) -> bool {
        self.members.get(&self.line(did)).is_some_and(|known| !known.is_out)
    }

    fn is(&self, did: &Did, role: Role) -> bool {
        self.members.get(&self.line(did)).is_some_and(|known| known.role == role)
    }

    /// The first machine of the person whose machine a member is. The word of an issuer ends with its membership.
    pub(crate) fn person(&self, did: &Did) -> Did {
        let (mut machine, mut seen) = (self.line(did), BTreeSet::new());
        while seen.insert(machine) {
            let said = self.members.get(&machine).map(|known| known.said.as_slice()).unwrap_or_default();
            match said.iter().rfind(|(by, _)| self.stands(by)) {
                Some((by, SaidOf::Mine)) => machine = *by,
                _ => return machine,
            }
        }
        machine
    }

    /// Whether a member was admitted by another one, at once or over others.
    fn is_below(&self, did: &Did, above: &Did) -> bool {
        let (mut line, above) = (self.line(did), self.line(above));
        while let Some(by) = self.members.get(&line).and_then(|known| known.by) {
            if by == above {
                return true;
            }
            line = by;
        }
        false
    }

    /// Whether a member may approve what another one submitted, in the end.
    ///
    /// By the rule `person`: it is an admin, or a machine of the submitter's person. By the rule `other`: it is an admin,
    /// not the submitter, and the submitter did not admit it, nor anybody between them.
    pub(crate) fn may(&self, rule: ApprovalRule, approver: &Did, submitter: &Did) -> bool {
        let is_one = || self.person(approver) == self.person(submitter);
        self.stands(approver) && self.allowed(rule, approver, submitter, is_one)
    }

    /// Whether it may have been allowed to at any moment, as any node knew the members then. This is a bound: all that
    /// was ever said of machines counts at once, and no membership has ended.
    pub(crate) fn might(&self, rule: ApprovalRule, approver: &Did, submitter: &Did) -> bool {
        self.allowed(rule, approver, submitter, || self.were_once_one(approver, submitter))
    }

    fn allowed(&self, rule: ApprovalRule, approver: &Did, submitter: &Did, is_one: impl FnOnce() -> bool) -> bool {
        match rule {
            ApprovalRule::Person => self.is(approver, Role::Admin) || self.is(approver, Role::Member) && is_one(),
            ApprovalRule::Other => {
                let is_itself = self.line(approver) == self.line(submitter);
                self.is(approver, Role::Admin) && !is_itself && !self.is_below(approver, submitter)
            }
            ApprovalRule::Later => false,
        }
    }

    /// Whether all that was ever said makes two machines one person's.
    fn were_once_one(&self, one: &Did, other: &Did) -> bool {
        let (mut next, other) = (vec![self.line(one)], self.line(other));
        let mut seen = BTreeSet::new();
        while let Some(machine) = next.pop() {
            if machine == other {
                return true;
            }
            if seen.insert(machine) {
                next.extend(self.once_one.iter().filter(|(a, _)| *a == machine).map(|(_, b)| *b));
                next.extend(self.once_one.iter().filter(|(_, b)| *b == machine).map(|(a, _)| *a));
            }
        }
        false
    }

    /// The first pair of members that a node takes for machines of one person and are not, or the reverse.
    pub(crate) fn mistaken(&self, shown: &BTreeMap<Did, Did>) -> Option<(Did, Did)> {
        let known: Vec<(&Did, &Did)> = shown.iter().filter(|(did, _)| self.knows(did) && self.stands(did)).collect();
        let differs = |(a, person_of_a): &(&Did, &Did), (b, person_of_b): &(&Did, &Did)| {
            (person_of_a == person_of_b) != (self.person(a) == self.person(b))
        };
        let pairs = known.iter().enumerate().flat_map(|(n, a)| known[n + 1..].iter().map(move |b| (a, b)));
        pairs.filter(|(a, b)| differs(a, b)).map(|(a, b)| (*a.0, *b.0)).next()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn did(n: u8) -> Did {
        Did::from_bytes([n; 32])
    }

    #[test]
    fn members_are_judged_by_what_was_said_of_them() {
        let mut people = People::default();
        people.founded(did(0));
        people.admitted(did(1), &did(0), Role::Admin, Some(SaidOf::Other));
        people.admitted(did(2), &did(1), Role::Member, Some(SaidOf::Mine));
        people.admitted(did(3), &did(0), Role::Member, None);
        let may = |people: &People, rule, submitter: u8| -> Vec<u8> {
            (0..9).filter(|n| people.may(rule, &did(*n), &did(submitter))).collect()
        };
        assert_eq!(may(&people, ApprovalRule::Person, 1), [0, 1, 2]);
        assert_eq!(may(&people, ApprovalRule::Person, 3), [0, 1, 3]);
        assert_eq!(may(&people, ApprovalRule::Other, 2), [0, 1]);
        assert_eq!(may(&people, ApprovalRule::Other, 0), [0_u8; 0]);
        people.said(&did(3), &did(0), SaidOf::Mine);
        assert_eq!(may(&people, ApprovalRule::Person, 0), [0, 1, 3]);
        people.succeeded(&did(1), did(8));
        assert_eq!(may(&people, ApprovalRule::Person, 2), [0, 1, 2, 8]);
        people.ended(&did(8));
        assert_eq!(may(&people, ApprovalRule::Person, 2), [0, 2], "the word of a former member has ended");
        assert!(people.might(ApprovalRule::Person, &did(1), &did(3)));
        assert!(!people.might(ApprovalRule::Person, &did(2), &did(3)));
        let shown = BTreeMap::from([(did(0), did(50)), (did(3), did(50)), (did(2), did(2))]);
        assert_eq!(people.mistaken(&shown), None);
        assert_eq!(people.mistaken(&[(did(0), did(50)), (did(3), did(3))].into()), Some((did(0), did(3))));
    }
}
