//! Two admins that fall out: the founder ends the membership of one while it ends that of the other.

use std::time::Duration;

use nexus_identity::{Did, Role};
use nexus_node::{Invite, NewMemory, Node};

use crate::faults::{Faults, LOOK_EVERY, around};
use crate::ledger::{Quarrel, Written};
use crate::plan::NodeNo;
use crate::world::{Crash, Sim};

impl Faults {
    /// The founder admits an admin, which admits another one, which admits a guest. Both admins are cut off, and the
    /// second one lets somebody in. Then the first one ends the memberships of both: the second takes itself for a
    /// former member. It tries to end the membership of the first. The founder ends that of the first and keeps
    /// those below it that it knows.
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
        let Ok(late) = sim.machine(&format!("late{no}")) else { return };
        let apart = [first, second, late];
        let label = format!("two_admins#{no}");
        sim.cut_all(&label, &between(&apart, sim.len()));
        sim.cast_out(first);
        if let Some(quarrel) = self.quarrel(no, apart, guest, end).await {
            self.ledger.borrow_mut().quarrels.push(quarrel);
            sim.network().fire("two_admins");
        }
        sim.mend_all(&label);
        sim.sleep(end.saturating_sub(sim.now())).await;
        sim.crash(first, Crash::Process);
    }

    /// The quarrel itself, among those that are apart from the founder. `None` if it does not come to its end.
    async fn quarrel(
        &self,
        no: usize,
        [first, second, late]: [NodeNo; 3],
        guest: NodeNo,
        end: Duration,
    ) -> Option<Quarrel> {
        let sim = &self.sim;
        self.let_in(late, second, Invite::default().role(Role::Member), end).await?;
        let (did_of_first, did_of_second, did_of_late) = (sim.did(first), sim.did(second), sim.did(late));
        let knows = |no: NodeNo, did: Did| sim.node(no).is_some_and(|node| members(&node).contains(&did));
        self.until(end, || knows(first, did_of_late)).await?;
        for below in [did_of_second, did_of_late] {
            let _ = sim.on(first, async |node| node.revoke(below, None).await).await;
        }
        let after = async |node: Node| node.brain().remember(NewMemory::note(format!("after quarrel {no}"))).await;
        let after = sim.on(first, after).await.ok();
        self.until(end, || !knows(second, did_of_second)).await?;
        let upwards = sim.on(second, async |node| node.revoke(did_of_first, None).await).await.is_ok();
        while sim.on(0, async |founder| founder.revoke(did_of_first, None).await).await.is_err() {
            if sim.now() >= end {
                return None;
            }
            sim.sleep(LOOK_EVERY).await;
        }
        let mut ledger = self.ledger.borrow_mut();
        ledger.thefts.thieves.insert(did_of_first);
        ledger.thefts.forged.extend(after.map(|written| written.id.to_string()));
        Some(Quarrel { out: did_of_first, stays: vec![did_of_second, sim.did(guest), did_of_late], upwards })
    }

    /// A machine that joins through the door of another.
    pub(crate) async fn admitted(&self, name: &str, inviter: NodeNo, role: Role, end: Duration) -> Option<NodeNo> {
        self.admitted_with(name, inviter, Invite::default().role(role), end).await
    }

    /// The same by an invitation for somebody in particular.
    pub(crate) async fn admitted_with(
        &self,
        name: &str,
        inviter: NodeNo,
        invite: Invite,
        end: Duration,
    ) -> Option<NodeNo> {
        let newcomer = self.sim.machine(name).ok()?;
        self.let_in(newcomer, inviter, invite, end).await?;
        Some(newcomer)
    }

    async fn let_in(&self, newcomer: NodeNo, inviter: NodeNo, invite: Invite, end: Duration) -> Option<()> {
        let sim = &self.sim;
        let mut ticket = None;
        while sim.now() < end {
            if ticket.is_none() {
                ticket = sim.on(inviter, async |node| node.invite(invite.clone()).await).await.ok();
            }
            if let Some(invited) = &ticket
                && sim.knock_and_move_in(newcomer, &invited.ticket).await.is_ok()
            {
                return Some(());
            }
            sim.sleep(LOOK_EVERY).await;
        }
        None
    }

    /// Waits until something holds. `None` if it does not until `end`.
    async fn until(&self, end: Duration, mut holds: impl FnMut() -> bool) -> Option<()> {
        while !holds() {
            if self.sim.now() >= end {
                return None;
            }
            self.sim.sleep(LOOK_EVERY).await;
        }
        Some(())
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
            let known = sim.node(*no).map(|node| members(&node)).unwrap_or_default();
            machines.iter().all(|machine| known.contains(&sim.did(*machine))) && is_level_with_founder(sim, *no)
        };
        self.until(end, || [0].iter().chain(machines).all(know)).await.is_some()
    }
}

/// The members that a node knows.
fn members(node: &Node) -> Vec<Did> {
    node.members().into_iter().map(|member| member.did).collect()
}

/// The links between some machines and the others.
fn between(some: &[NodeNo], machines: usize) -> Vec<(NodeNo, NodeNo)> {
    let links = some.iter().flat_map(|no| around(*no, machines));
    links.filter(|(from, to)| some.contains(from) != some.contains(to)).collect()
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
