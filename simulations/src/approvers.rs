//! Members that approve tasks, and do not stay as they are. One is revoked while it is cut off, one gets another key. Whose
//! machine the third one is, is said later.

use std::time::Duration;

use nexus_crdt::Succession;
use nexus_identity::Role;
use nexus_node::{Invite, Node};

use crate::approvals::{invite, said_by, say_of_one};
use crate::dice::Dice;
use crate::faults::{Faults, LOOK_EVERY, around};
use crate::people::SaidOf;
use crate::plan::NodeNo;
use crate::world::Crash;

/// The longest extension for a word or a key that does not get through.
const LONGER_MAX: Duration = Duration::from_secs(45);
/// The time between two words of an approver.
const PAUSE: Duration = Duration::from_millis(1_500);

impl Faults {
    /// A member joins and approves tasks. Then it changes, and goes on.
    pub(crate) async fn approver_changes(&self, no: usize, last: Duration, choice: u64) {
        let (end, mut dice) = (self.sim.now() + last, Dice::new(choice));
        // the founder, or another admin
        let by = dice.index(2);
        match choice % 3 {
            0 => self.approver_is_revoked(no, by, &mut dice, end).await,
            1 => self.approver_gets_another_key(no, by, &mut dice, end).await,
            _ => self.approver_is_named_later(no, by, &mut dice, end).await,
        };
    }

    /// A machine that joins, as the simulator knows then.
    async fn approver(
        &self,
        name: &str,
        by: NodeNo,
        (role, said): (Role, Option<SaidOf>),
        end: Duration,
    ) -> Option<NodeNo> {
        let newcomer = self.admitted_with(name, by, invite(role, said), end).await?;
        let (did, by) = (self.sim.did(newcomer), self.sim.did(by));
        self.ledger.borrow_mut().approvals.people.admitted(did, &by, role, said);
        Some(newcomer)
    }

    /// Approves and rejects some of the latest tasks until a moment.
    async fn says_words(&self, no: NodeNo, dice: &mut Dice, until: Duration) {
        while self.sim.now() < until {
            let said = say_of_one(&self.sim, &self.ledger, no, dice.next(), dice.below(8));
            let _ = tokio::time::timeout(LOOK_EVERY, said).await;
            self.sim.sleep(PAUSE).await;
        }
    }

    /// The founder ends its membership while it is cut off and approves on. It comes back for a while.
    async fn approver_is_revoked(&self, no: usize, by: NodeNo, dice: &mut Dice, end: Duration) -> Option<()> {
        let sim = &self.sim;
        let role = if dice.chance(0.7) { Role::Admin } else { Role::Member };
        let approver = self.approver(&format!("approver{no}"), by, (role, said_by(dice)), end).await?;
        let machine = match role {
            Role::Admin => {
                self.approver(&format!("spare{no}"), approver, (Role::Member, Some(SaidOf::Mine)), end).await
            }
            _ => None,
        };
        let half = end.saturating_sub(sim.now()) / 2;
        self.says_words(approver, dice, sim.now() + half).await;
        let label = format!("approver_cut#{no}");
        sim.cut_all(&label, &around(approver, sim.len()));
        sim.cast_out(approver);
        let did = sim.did(approver);
        let revoked = async {
            let late = end + LONGER_MAX;
            while sim.now() < late {
                if sim.on(0, async |founder| founder.revoke(did, None).await).await.is_ok() {
                    self.ledger.borrow_mut().approvals.people.ended(&did);
                    return true;
                }
                sim.sleep(LOOK_EVERY).await;
            }
            false
        };
        let (revoked, ()) = futures::join!(revoked, self.says_words(approver, dice, sim.now() + half));
        sim.mend_all(&label);
        // its node may not have heard yet
        self.says_words(approver, &mut dice.clone(), sim.now() + 2 * LOOK_EVERY).await;
        sim.crash(approver, Crash::Process);
        if let Some(machine) = machine {
            self.says_words(machine, dice, sim.now() + 2 * LOOK_EVERY).await;
        }
        if revoked {
            sim.network().fire("approvers");
            sim.network().fire("approver_revoked");
        }
        Some(())
    }

    /// Another key takes the place of its own. A machine that it had admitted stays, and stays its machine.
    async fn approver_gets_another_key(&self, no: usize, by: NodeNo, dice: &mut Dice, end: Duration) -> Option<()> {
        let sim = &self.sim;
        let said = if dice.chance(0.5) { SaidOf::Mine } else { SaidOf::Other };
        let approver = self.approver(&format!("approver{no}"), by, (Role::Admin, Some(said)), end).await?;
        let spare = self.approver(&format!("spare{no}"), approver, (Role::Member, Some(SaidOf::Mine)), end).await;
        let half = end.saturating_sub(sim.now()) / 2;
        self.says_words(approver, dice, sim.now() + half).await;
        sim.cast_out(approver);
        sim.crash(approver, Crash::Process);
        let (Ok(heir), Ok(pins)) = (sim.machine(&format!("heir{no}")), sim.own_pins(approver)) else { return None };
        let succession = Succession::new(&sim.mesh(), &sim.key(approver), &sim.key(heir), pins).encode();
        let late = end + LONGER_MAX;
        let chain = loop {
            let door = sim.on(0, async |node| node.invite(Invite::default()).await).await;
            if let Ok(door) = door
                && let Ok(chain) = sim.knock_with(heir, &door.ticket, succession.clone()).await
            {
                break chain;
            }
            if sim.now() >= late {
                return None;
            }
            sim.sleep(LOOK_EVERY).await;
        };
        self.ledger.borrow_mut().approvals.people.succeeded(&sim.did(approver), sim.did(heir));
        sim.move_in(heir, chain).await.ok()?;
        let until = end.max(sim.now() + 5 * LOOK_EVERY);
        self.says_words(heir, dice, until).await;
        if let Some(spare) = spare {
            self.says_words(spare, dice, sim.now() + 2 * LOOK_EVERY).await;
        }
        sim.network().fire("approvers");
        sim.network().fire("approver_key_changed");
        Some(())
    }

    /// Nobody says whose machine it is. It tries to approve, and is refused where it takes a person. Then the admin that
    /// admitted it says so.
    async fn approver_is_named_later(&self, no: usize, by: NodeNo, dice: &mut Dice, end: Duration) -> Option<()> {
        let sim = &self.sim;
        let approver = self.approver(&format!("approver{no}"), by, (Role::Member, None), end).await?;
        let half = end.saturating_sub(sim.now()) / 2;
        self.says_words(approver, dice, sim.now() + half).await;
        let said = if dice.chance(0.7) { SaidOf::Mine } else { SaidOf::Other };
        let (did, issuer) = (sim.did(approver), sim.did(by));
        self.ledger.borrow_mut().approvals.people.may_be_said(&did, &issuer, said);
        let late = end + LONGER_MAX;
        let mine = said == SaidOf::Mine;
        while sim.on(by, async |node: Node| node.say_person(did, mine).await).await.is_err() {
            if sim.now() >= late {
                return None;
            }
            sim.sleep(LOOK_EVERY).await;
        }
        self.ledger.borrow_mut().approvals.people.said(&did, &issuer, said);
        let until = end.max(sim.now() + 5 * LOOK_EVERY);
        self.says_words(approver, dice, until).await;
        sim.network().fire("approvers");
        sim.network().fire("approver_named_later");
        Some(())
    }
}
