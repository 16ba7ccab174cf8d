//! Two admins that fall out: the founder ends the membership of one while it ends that of the other.

use std::time::Duration;

use nexus_identity::Role;
use nexus_node::{Invite, NewMemory, Node};

use crate::faults::{Faults, LOOK_EVERY, around};
use crate::ledger::{Quarrel, Written};
use crate::plan::NodeNo;
use crate::world::{Crash, Sim};

impl Faults {
    /// The founder admits an admin, which admits another one, which admits a guest. The first admin is cut off. Then
    /// the founder ends its membership and keeps those below it. The first admin ends the membership of the second
    /// meanwhile, and the second tries to end that of the first.
    pub(crate) async fn admins_fall_out(&self, no: usize, last: Duration) {
        let sim = &self.sim;
        let end = sim.now() + last;
        let Some(first) = self.admitted(&format!("first{no}"), 0, Role::Admin, end).await else { return };
        let Some(second) = self.admitted(&format!("second{no}"), first, Role::Admin, end).await else { return };
        let Some(guest) = self.admitted(&format!("guest{no}"), second, Role::Member, end).await else { return };
        let all = [first, second, guest];
        for machine in all {
            if !self.write_for_good(machine, format!("before the quarrel {no}"), end).await {
                return;
            }
        }
        if !self.until_all_know(&all, end).await {
            return;
        }
        let label = format!("two_admins#{no}");
        sim.cut_all(&label, &around(first, sim.len()));
        sim.cast_out(first);
        let (did_of_first, did_of_second) = (sim.did(first), sim.did(second));
        let _ = sim.on(first, async |node| node.revoke(did_of_second, None).await).await;
        let after = async |node: Node| node.brain().remember(NewMemory::note(format!("after quarrel {no}"))).await;
        let after = sim.on(first, after).await.ok();
        let upwards = sim.on(second, async |node| node.revoke(did_of_first, None).await).await.is_ok();
        loop {
            match sim.on(0, async |founder| founder.revoke(did_of_first, None).await).await {
                Ok(_) => break,
                Err(_) if sim.now() >= end => return sim.mend_all(&label),
                Err(_) => sim.sleep(LOOK_EVERY).await,
            }
        }
        {
            let mut ledger = self.ledger.borrow_mut();
            ledger.thefts.thieves.insert(did_of_first);
            ledger.thefts.forged.extend(after.map(|written| written.id.to_string()));
            let stays = vec![did_of_second, sim.did(guest)];
            ledger.quarrels.push(Quarrel { out: did_of_first, stays, upwards });
        }
        sim.mend_all(&label);
        sim.network().fire("two_admins");
        sim.sleep(end.saturating_sub(sim.now())).await;
        sim.crash(first, Crash::Process);
    }

    /// A machine that joins through the door of another.
    async fn admitted(&self, name: &str, inviter: NodeNo, role: Role, end: Duration) -> Option<NodeNo> {
        let sim = &self.sim;
        let newcomer = sim.machine(name).ok()?;
        let mut ticket = None;
        while sim.now() < end {
            if ticket.is_none() {
                ticket = sim.on(inviter, async |node| node.invite(Invite::default().role(role)).await).await.ok();
            }
            if let Some(invited) = &ticket
                && sim.knock_and_move_in(newcomer, &invited.ticket).await.is_ok()
            {
                return Some(newcomer);
            }
            sim.sleep(LOOK_EVERY).await;
        }
        None
    }

    /// Writes a memory, and waits until the founder has it.
    async fn write_for_good(&self, machine: NodeNo, text: String, end: Duration) -> bool {
        let sim = &self.sim;
        let wrote = sim.on(machine, async |node: Node| node.brain().remember(NewMemory::note(text)).await).await;
        let Ok(wrote) = wrote else { return false };
        let id = wrote.id.to_string();
        if !self.until_founder_has(&id, end).await {
            return false;
        }
        let written = Written { node: machine, life: sim.starts(machine), at: sim.now(), key: None };
        self.ledger.borrow_mut().written.insert(id, written);
        true
    }

    /// Waits until the founder's node and these machines hold the same entries. `false` if they do not until `end`.
    async fn until_all_know(&self, machines: &[NodeNo], end: Duration) -> bool {
        let sim = &self.sim;
        let know = |no: &NodeNo| {
            let members = |node: Node| node.members().into_iter().map(|member| member.did).collect::<Vec<_>>();
            let known = sim.node(*no).map(members).unwrap_or_default();
            machines.iter().all(|machine| known.contains(&sim.did(*machine))) && is_level_with_founder(sim, *no)
        };
        while ![0].iter().chain(machines).all(know) {
            if sim.now() >= end {
                return false;
            }
            sim.sleep(LOOK_EVERY).await;
        }
        true
    }
}

/// Whether a node holds the same of the mesh's own space as the founder's.
fn is_level_with_founder(sim: &Sim, no: NodeNo) -> bool {
    let mesh = nexus_crdt::SpaceId::mesh(&sim.mesh());
    let heads = |no| {
        let frontier = sim.frontier(no).ok()?;
        Some(frontier.iter().filter(|(log, _)| log.space == mesh).map(|(log, head)| (*log, *head)).collect::<Vec<_>>())
    };
    let own = heads(no);
    own.is_some() && own == heads(0)
}
