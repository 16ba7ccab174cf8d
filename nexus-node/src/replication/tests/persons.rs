//! An admin with real credentials that does not leave off saying whose machine a member is.

use super::*;
use crate::engine::{AGREED_MAX, NotSaid};

const DAY: Duration = Duration::from_secs(86_400);

/// An admin and a member that it admitted, who have all of each other.
struct Two {
    admin: Peer,
    member: Peer,
    sent: [usize; 2],
}

impl Two {
    fn new() -> Self {
        let (mut admin, mut member) = (Peer::new(0), Peer::new(1));
        admin.command(Command::Admit { chain: chain(1), with: crate::store::Batch::new(), replaces: None });
        for peer in [&mut admin, &mut member] {
            let format = nexus_crdt::ENTRY_FORMAT_LEAVES;
            peer.command(Command::Raise { format, tasks_apart: true, persons: true, erases: true });
        }
        let mut two = Self { admin, member, sent: [0; 2] };
        two.exchange();
        two
    }

    fn exchange(&mut self) {
        let Self { admin, member, sent } = self;
        member.receive(admin.key.did(), admin.published[sent[0]..].to_vec());
        admin.receive(member.key.did(), member.published[sent[1]..].to_vec());
        *sent = [admin.published.len(), member.published.len()];
    }

    fn wait(&mut self, time: Duration) {
        self.admin.later += time;
        self.member.later += time;
    }

    /// The admin says whose the member's machine is. Returns what that does about it.
    fn say(&mut self, mine: bool) -> Outcome {
        let member = self.member.key.did();
        let said = self.admin.command(Command::SayPerson { member, mine });
        assert!(matches!(said, Outcome::Done(Some(_))), "{said:?}");
        self.exchange();
        let answer = self.member.command(Command::AgreeToPerson);
        self.exchange();
        answer
    }

    /// Whether both say that it is a machine of the admin's person.
    fn is_mine(&self) -> bool {
        let (admin, member) = (self.admin.key.did(), self.member.key.did());
        let seen = [&self.admin, &self.member].map(|peer| peer.members().same_person(&admin, &member));
        assert_eq!(seen[0], seen[1]);
        seen[0]
    }
}

/// promise: Persons | An admin that changes its word again and again makes a member write so many entries a day, and no more
#[test]
fn an_admin_that_flips_its_word_costs_a_member_a_bounded_number_of_entries() {
    let mut two = Two::new();
    let written = |two: &Two| two.member.published.len();
    // the credential by which it joined is its first word
    let (before, mut agreed) = (written(&two) - 1, 0);
    for n in 0..3 * AGREED_MAX {
        two.wait(Duration::from_secs(30));
        match two.say(n.is_multiple_of(2)) {
            Outcome::Done(Some(_)) => {
                agreed += 1;
                assert_eq!(two.is_mine(), n.is_multiple_of(2));
            }
            Outcome::NotSaid(NotSaid::TooOften) => {}
            other => panic!("{other:?}"),
        }
    }
    assert_eq!((agreed, written(&two) - before), (AGREED_MAX - 1, AGREED_MAX));
    let last = AGREED_MAX.is_multiple_of(2);
    assert_eq!(two.is_mine(), last, "the last word that both said stands");
    // a day later it listens again, to the word that stands then
    two.wait(DAY);
    assert!(matches!(two.say(!last), Outcome::Done(Some(_))));
    assert_eq!(two.is_mine(), !last);
}
