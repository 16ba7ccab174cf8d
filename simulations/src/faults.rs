//! Carries out the faults of a plan. A fault is counted when it had an effect.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use nexus_node::internals::store::disk::Fault as DiskFault;
use nexus_node::memory::ListQuery;
use nexus_node::{Invite, NewMemory, NodeError};

use crate::dice::Dice;
use crate::hooks::Wall;
use crate::ledger::Ledger;
use crate::link::Quality;
use crate::outsiders;
use crate::plan::{Fault, NodeNo};
use crate::scenario::FaultKind;
use crate::tap::TapLog;
use crate::tasks::submit_with_heirs;
use crate::world::{Crash, KNOWN, Sim, SimError};

/// The time between two looks of somebody who waits.
pub(crate) const LOOK_EVERY: Duration = Duration::from_secs(1);
/// The longest time until a disk shows its fault. A node that does not write needs none.
const DISK_FAULT_MAX: Duration = Duration::from_secs(15);
/// The times that a newcomer is refused before it gets another ticket.
const REFUSED_MAX: u32 = 4;
/// The longest extension of a cut that had no effect yet.
const CUT_LONGER_MAX: Duration = Duration::from_secs(20);
/// The time without power after a disk has lied.
const LYING_DISK_DOWN: Duration = Duration::from_secs(2);
/// The tasks that a machine submits right before it is gone, and the time in which others hear of them.
const TASKS_OF_GONE: u64 = 9;
const ON_THEIR_WAY: Duration = Duration::from_secs(2);
/// The longest start of a node.
pub(crate) const START_MAX: Duration = Duration::from_secs(60);

/// Remains of the faults, for the checks.
#[derive(Debug, Default)]
pub(crate) struct Aftermath {
    /// The bytes that reached each stranger.
    pub(crate) heard: Vec<TapLog>,
    /// Nodes that did not start.
    pub(crate) dead: Vec<String>,
    /// Times in which nodes were down: from, to.
    pub(crate) down: Vec<(NodeNo, Duration, Duration)>,
}

/// Carries out faults in one world.
#[derive(Clone)]
pub(crate) struct Faults {
    pub(crate) sim: Sim,
    /// The number of nodes in the plan.
    pub(crate) nodes: usize,
    pub(crate) canary: String,
    pub(crate) ledger: Rc<RefCell<Ledger>>,
    pub(crate) aftermath: Rc<RefCell<Aftermath>>,
}

impl Faults {
    /// The nodes of a fault, where the first one is not gone for good: a fault around that one would do nothing.
    fn of_those_left(&self, nodes: &[NodeNo]) -> Vec<NodeNo> {
        let (gone, mut nodes) = (self.ledger.borrow().gone.clone(), nodes.to_vec());
        let Some(first) = nodes.first().copied().filter(|first| gone.contains(first)) else { return nodes };
        let later = nodes.iter().position(|node| !gone.contains(node));
        let next = (1..self.nodes).map(|step| (first + step) % self.nodes).find(|node| !gone.contains(node));
        match (later, next) {
            (Some(later), _) => nodes.swap(0, later),
            (None, Some(next)) => nodes[0] = next,
            (None, None) => {}
        }
        nodes
    }

    /// One fault, from its beginning to its end.
    pub(crate) async fn run(&self, no: usize, fault: &Fault) {
        let Fault { kind, nodes, amount, choice, .. } = fault;
        let sim = &self.sim;
        let last = Duration::from_millis(fault.for_ms);
        let name = kind.as_str();
        sim.network().note(None, format_args!("fault {no}: {name} {nodes:?} for {last:?}, {amount}"));
        let nodes = &self.of_those_left(nodes);
        let Some(&node) = nodes.first() else { return };
        let amount = *amount;
        match kind {
            kind if kind.is_partition() => {
                let label = format!("{name}#{no}");
                let before = sim.network().times(name);
                sim.cut_all(&label, &links(*kind, nodes, self.nodes, *choice));
                sim.sleep(last).await;
                self.until_fired(name, before).await;
                sim.mend_all(&label);
            }
            FaultKind::Flapping => self.flap(no, node, last, *choice).await,
            FaultKind::BlackHole => {
                let other = nodes.get(1).copied().unwrap_or((node + 1) % self.nodes);
                // two nodes that both know only the first ones have no connection
                let other =
                    if node.min(other) >= KNOWN { usize::try_from(choice % KNOWN as u64).unwrap_or(0) } else { other };
                let label = format!("{name}#{no}");
                let before = sim.network().times(name);
                sim.cut_all(&label, &[(node, other), (other, node)]);
                sim.sleep(last).await;
                self.until_fired(name, before).await;
                sim.mend_all(&label);
            }
            FaultKind::Reset => self.reset(node, last).await,
            FaultKind::Loss | FaultKind::Delay | FaultKind::Bandwidth => {
                let before = sim.network().times(name);
                self.worsen(*kind, node, amount);
                sim.sleep(last).await;
                self.until_fired(name, before).await;
                self.improve(node);
            }
            FaultKind::Crash | FaultKind::PowerLoss => {
                let crash = if *kind == FaultKind::Crash { Crash::Process } else { Crash::Power };
                self.down_and_up(node, crash, name, last).await;
            }
            FaultKind::TornCommit if sim.node(node).is_some() => {
                sim.disk(node).set_steps_left(choice % 24);
                self.disk_fails(node, name, last).await;
            }
            FaultKind::SyncFails => {
                sim.set_disk_fault(node, DiskFault::SyncFails);
                self.disk_fails(node, name, last).await;
            }
            FaultKind::SyncLies if sim.node(node).is_some() => self.disk_lies(node, name, last).await,
            FaultKind::Rot => self.disk_rots(node, amount, last, *choice).await,
            FaultKind::DiskFull => {
                self.disk_fills(node, *choice, last).await;
            }
            FaultKind::Pause if sim.node(node).is_some() => {
                sim.pause(node, true);
                sim.network().fire(name);
                sim.sleep(last).await;
                sim.pause(node, false);
            }
            FaultKind::Restart => self.stop_and_start(node, name, last).await,
            FaultKind::SlowNode if sim.node(node).is_some() => {
                sim.slow_down(node, Duration::from_millis(amount.max(1)));
                sim.network().fire(name);
                sim.sleep(last).await;
                sim.slow_down(node, Duration::ZERO);
            }
            FaultKind::SlowDisk => {
                let before = sim.network().times(name);
                sim.set_disk_delay(node, Duration::from_millis(amount.max(1)));
                sim.sleep(last).await;
                self.until_fired(name, before).await;
                sim.set_disk_delay(node, Duration::ZERO);
            }
            FaultKind::ClockSkew | FaultKind::ClockJump | FaultKind::ClockFreeze => {
                self.clock(*kind, node, amount, *choice, last).await;
            }
            FaultKind::Strangers => {
                let heard = TapLog::listening_for(&[self.canary.as_bytes(), sim.mesh().as_bytes()]);
                self.aftermath.borrow_mut().heard.push(heard.clone());
                outsiders::strangers(sim, no, self.nodes, heard, last, *choice).await;
            }
            FaultKind::LyingPeer => outsiders::liar(sim, no, self.nodes, last, *choice).await,
            FaultKind::Churn => self.churn(no, last).await,
            FaultKind::StolenLaptop => self.laptop_is_stolen(no, last).await,
            FaultKind::TwoAdmins => self.admins_fall_out(no, last).await,
            FaultKind::TwoFaces => self.shows_two_pasts(no, last, *choice).await,
            FaultKind::Meddler => self.meddles(no, last, *choice).await,
            FaultKind::Eraser => self.abuses_erasures(no, last, *choice).await,
            FaultKind::RogueSeat => self.voter_turns(no, last, *choice).await,
            FaultKind::Glutton => self.writes_without_end(no, last, *choice).await,
            FaultKind::RollingUpgrade => self.upgrades(nodes, last, *choice).await,
            FaultKind::Approvers => self.approver_changes(no, last, *choice).await,
            FaultKind::RogueApprover => self.approves_what_it_may_not(no, last, *choice).await,
            FaultKind::Gone if sim.node(node).is_some() => self.is_gone_for_good(node, *choice, last).await,
            FaultKind::NewDisk => self.gets_an_empty_disk(no, node, last).await,
            FaultKind::PutBack => self.machine_is_put_back(no, last).await,
            _ => {}
        }
        sim.network().note(None, format_args!("fault {no}: {name} is over"));
    }

    /// Extends a cut that had no effect yet.
    async fn until_fired(&self, name: &str, before: u64) {
        let end = self.sim.now() + CUT_LONGER_MAX;
        while self.sim.network().times(name) == before && self.sim.now() < end {
            self.sim.sleep(Duration::from_millis(250)).await;
        }
    }

    /// Writes until the disk shows its fault.
    async fn write_on(&self, node: NodeNo) {
        loop {
            // each has a text of its own: one of them may be erased
            let (canary, at) = (&self.canary, self.sim.now().as_millis());
            let memory = NewMemory::note(format!("{canary} {at} {}", "a disk that fails ".repeat(5)));
            let wrote = self.sim.on(node, async |node| node.brain().remember_all(vec![memory]).await).await;
            if wrote.is_err() {
                return std::future::pending().await;
            }
            self.sim.sleep(Duration::from_millis(400)).await;
        }
    }

    /// Fills a disk until a write is refused. The node reads on, half of the times also after a power loss and a
    /// start without room. Then there is room again, and the node goes on.
    async fn disk_fills(&self, node: NodeNo, choice: u64, last: Duration) {
        let (sim, name) = (&self.sim, FaultKind::DiskFull.as_str());
        if sim.node(node).is_none() {
            return;
        }
        let full = DiskFault::FullAt(sim.disk(node).bytes().saturating_sub(1));
        sim.set_disk_fault(node, full);
        match tokio::time::timeout(DISK_FAULT_MAX, self.write_until_refused(node)).await {
            Ok(true) => {
                sim.network().fire(name);
                self.reads_on(node).await;
                if choice.is_multiple_of(2) {
                    let from = sim.now();
                    sim.crash(node, Crash::Power);
                    sim.set_disk_fault(node, full);
                    self.start(node, from).await;
                    self.reads_on(node).await;
                }
                sim.sleep(last).await;
            }
            Ok(false) => {}
            // no write met the fault
            Err(_) => sim.network().fire("idle_disk"),
        }
        sim.set_disk_fault(node, DiskFault::None);
    }

    /// Writes until the disk has no room. Returns whether that is why a write was refused.
    async fn write_until_refused(&self, node: NodeNo) -> bool {
        loop {
            let (canary, at) = (&self.canary, self.sim.now().as_millis());
            let memory = NewMemory::note(format!("{canary} {at} {}", "a disk fills up ".repeat(1_750)));
            match self.sim.on(node, async |node| node.brain().remember_all(vec![memory]).await).await {
                Ok(_) => self.sim.sleep(Duration::from_millis(400)).await,
                Err(SimError::Node(_, NodeError::DiskFull(_))) => return true,
                Err(_) => return false,
            }
        }
    }

    /// A node whose disk is full answers from what it has.
    async fn reads_on(&self, node: NodeNo) {
        let read = self.sim.on(node, async |node| node.brain().list(ListQuery::default()).await).await;
        // another fault may have ended it
        if let Err(SimError::Node(_, error)) = read
            && !matches!(error, NodeError::Stopping(_))
        {
            self.aftermath.borrow_mut().dead.push(format!("n{node} does not read on a full disk: {error}"));
        }
    }

    async fn flap(&self, no: usize, node: NodeNo, last: Duration, choice: u64) {
        let (sim, mut dice) = (&self.sim, Dice::new(choice));
        let (end, before) = (sim.now() + last, sim.network().times("flapping"));
        let unseen = || sim.network().times("flapping") == before && sim.now() < end + CUT_LONGER_MAX;
        while sim.now() < end || unseen() {
            let label = format!("flapping#{no}");
            sim.cut_all(&label, &around(node, sim.len()));
            sim.sleep(dice.time(Duration::from_millis(300), Duration::from_secs(4))).await;
            sim.mend_all(&label);
            sim.sleep(dice.time(Duration::from_millis(300), Duration::from_secs(4))).await;
        }
    }

    async fn reset(&self, node: NodeNo, last: Duration) {
        let sim = &self.sim;
        let (end, before) = (sim.now() + last, sim.network().times("reset"));
        loop {
            let broken: usize =
                (0..sim.len()).filter(|other| *other != node).map(|other| sim.network().reset(node, other)).sum();
            if broken > 0 {
                sim.network().fire("reset");
            }
            let fired = sim.network().times("reset") > before;
            if sim.now() >= end && (fired || sim.now() >= end + CUT_LONGER_MAX) {
                return;
            }
            sim.sleep(Duration::from_secs(3)).await;
        }
    }

    fn worsen(&self, kind: FaultKind, node: NodeNo, amount: u64) {
        for (from, to) in around(node, self.sim.len()) {
            let base = self.sim.network().base_quality(from, to);
            let worse = match kind {
                #[expect(clippy::cast_precision_loss, reason = "a percentage")]
                FaultKind::Loss => Quality { loss: (amount as f64 / 100.0).max(base.loss), ..base },
                FaultKind::Delay => {
                    Quality { latency_ms: base.latency_ms + amount, jitter_ms: base.jitter_ms + amount, ..base }
                }
                _ => Quality { bytes_per_second: amount.max(1) * 1_024, ..base },
            };
            self.sim.network().set_quality(from, to, Some(worse));
        }
        if kind == FaultKind::Delay {
            self.sim.network().fire("delay");
        }
    }

    fn improve(&self, node: NodeNo) {
        for (from, to) in around(node, self.sim.len()) {
            self.sim.network().set_quality(from, to, None);
        }
    }

    /// Ends a node that is never started again, after it has submitted some tasks with heirs. Its last acknowledgements
    /// may be gone with it.
    async fn is_gone_for_good(&self, node: NodeNo, choice: u64, last: Duration) {
        let sim = &self.sim;
        submit_with_heirs(sim, &self.ledger, node, TASKS_OF_GONE).await;
        sim.sleep(ON_THEIR_WAY).await;
        sim.crash(node, if choice.is_multiple_of(2) { Crash::Process } else { Crash::Power });
        sim.cast_out(node);
        {
            let mut ledger = self.ledger.borrow_mut();
            ledger.gone.insert(node);
            ledger.in_doubt.push((node, Duration::ZERO, Duration::MAX));
        }
        sim.network().fire(FaultKind::Gone.as_str());
        sim.sleep(last).await;
    }

    pub(crate) async fn down_and_up(&self, node: NodeNo, crash: Crash, name: &str, last: Duration) {
        if self.sim.node(node).is_none() {
            return;
        }
        let from = self.sim.now();
        let lost = self.sim.crash(node, crash);
        self.sim.network().fire(name);
        if lost {
            self.sim.network().fire("unsynced_lost");
        }
        self.sim.sleep(last).await;
        self.start(node, from).await;
    }

    pub(crate) async fn stop_and_start(&self, node: NodeNo, name: &str, last: Duration) {
        if self.sim.node(node).is_none() {
            return;
        }
        let from = self.sim.now();
        self.sim.stop(node).await;
        self.sim.network().fire(name);
        self.sim.sleep(last).await;
        self.start(node, from).await;
    }

    /// Waits until a disk's fault has ended the node, then gives the node a sound disk.
    async fn disk_fails(&self, node: NodeNo, name: &str, last: Duration) {
        if self.sim.node(node).is_none() {
            return self.sim.set_disk_fault(node, DiskFault::None);
        }
        let failed = tokio::select! {
            failed = self.sim.failed(node, DISK_FAULT_MAX) => failed,
            () = self.write_on(node) => None,
        };
        match failed {
            Some(why) => {
                self.sim.network().note(Some(node), format_args!("ended: {why}"));
                self.down_and_up(node, Crash::Power, name, last).await;
            }
            // no write met the fault
            None => self.down_and_up(node, Crash::Power, "idle_disk", last).await,
        }
    }

    /// Lets a disk lie about its syncs for a while, then cuts the power. The node comes back with the
    /// content from before.
    async fn disk_lies(&self, node: NodeNo, name: &str, last: Duration) {
        let from = self.sim.now();
        self.sim.set_disk_fault(node, DiskFault::SyncLies);
        self.sim.sleep(last).await;
        let (now, lost) = (self.sim.now(), self.sim.crash(node, Crash::Power));
        if lost {
            self.sim.network().fire(name);
        }
        self.ledger.borrow_mut().in_doubt.push((node, from, now));
        self.sim.sleep(LYING_DISK_DOWN).await;
        self.start(node, now).await;
    }

    pub(crate) async fn start(&self, node: NodeNo, down_since: Duration) {
        let started = tokio::time::timeout(START_MAX, self.sim.start(node)).await;
        let mut aftermath = self.aftermath.borrow_mut();
        aftermath.down.push((node, down_since, self.sim.now()));
        match started {
            Ok(Ok(())) => {}
            Ok(Err(error)) => aftermath.dead.push(format!("n{node} did not start again: {error}")),
            Err(_) => aftermath.dead.push(format!("n{node} did not start again in {START_MAX:?}")),
        }
    }

    async fn clock(&self, kind: FaultKind, node: NodeNo, amount: u64, choice: u64, last: Duration) {
        let sim = &self.sim;
        let ms = i64::try_from(amount.max(1) * 1_000).unwrap_or(i64::MAX);
        let ahead_ms = if choice.is_multiple_of(2) { ms } else { -ms };
        sim.network().fire(kind.as_str());
        match kind {
            FaultKind::ClockSkew => {
                sim.set_wall(node, Wall { ahead_ms, frozen_ms: None });
                sim.sleep(last).await;
            }
            FaultKind::ClockJump => {
                for ahead_ms in [ahead_ms, 0, -ahead_ms] {
                    sim.set_wall(node, Wall { ahead_ms, frozen_ms: None });
                    sim.sleep(last / 3).await;
                }
            }
            _ => {
                let now = u64::try_from(sim.now().as_millis()).unwrap_or(u64::MAX);
                sim.set_wall(node, Wall { ahead_ms: 0, frozen_ms: Some(now) });
                sim.sleep(last).await;
            }
        }
        sim.set_wall(node, Wall::default());
    }

    async fn churn(&self, no: usize, last: Duration) {
        if self.newcomer(no, "newcomer", last + CUT_LONGER_MAX).await.is_some() {
            self.sim.network().fire("churn");
        }
    }

    /// Lets a newcomer join through the founder's door, as soon as it gets there.
    pub(crate) async fn newcomer(&self, no: usize, name: &str, last: Duration) -> Option<NodeNo> {
        let sim = &self.sim;
        let end = sim.now() + last;
        let newcomer = sim.machine(&format!("{name}{no}")).ok()?;
        let (mut ticket, mut refused) = (None, 0);
        while sim.now() < end {
            // it may have ended, by a clock that has jumped
            if ticket.is_none() || refused % REFUSED_MAX == REFUSED_MAX - 1 {
                ticket = sim.on(0, async |node| node.invite(Invite::default()).await).await.ok();
            }
            if let Some(invited) = &ticket
                && sim.knock_and_move_in(newcomer, &invited.ticket).await.is_ok()
            {
                return Some(newcomer);
            }
            refused += 1;
            sim.sleep(Duration::from_secs(1)).await;
        }
        None
    }

    /// Waits until the founder's node shows a memory. `false` if it does not until `end`.
    pub(crate) async fn until_founder_has(&self, id: &str, end: Duration) -> bool {
        let sim = &self.sim;
        while sim.node(0).is_none_or(|founder| founder.brain().get_blocking(id).is_err()) {
            if sim.now() >= end {
                return false;
            }
            sim.sleep(LOOK_EVERY).await;
        }
        true
    }
}

/// All links of a node, both ways.
pub(crate) fn around(node: NodeNo, nodes: usize) -> Vec<(NodeNo, NodeNo)> {
    let others = (0..nodes).filter(|other| *other != node);
    others.flat_map(|other| [(node, other), (other, node)]).collect()
}

/// The links that a partition cuts.
fn links(kind: FaultKind, order: &[NodeNo], nodes: usize, choice: u64) -> Vec<(NodeNo, NodeNo)> {
    let all: Vec<NodeNo> = if kind == FaultKind::Isolate { order.to_vec() } else { complete(order, nodes) };
    let half = all.len() / 2;
    let place = |node: NodeNo| all.iter().position(|known| *known == node).unwrap_or(0);
    let len = all.len();
    let cut = |from: NodeNo, to: NodeNo| {
        let (a, b) = (place(from), place(to));
        match kind {
            FaultKind::Halves => (a < half) != (b < half),
            FaultKind::Minority => (a < (len - 1).max(2) / 2) != (b < (len - 1).max(2) / 2),
            FaultKind::Ring => len > 3 && !matches!(a.abs_diff(b), 1) && a.abs_diff(b) != len - 1,
            FaultKind::Bridge => a != half && b != half && (a < half) != (b < half),
            FaultKind::OneWay => a < half && b >= half,
            _ => false,
        }
    };
    let mut links = Vec::new();
    if kind == FaultKind::Isolate {
        return around(order[0], nodes);
    }
    for from in 0..nodes {
        for to in (0..nodes).filter(|to| *to != from) {
            if cut(from, to) {
                links.push((from, to));
            }
        }
    }
    // a ring of three cuts nothing, so it becomes a line
    if links.is_empty() {
        let (a, b) =
            (all[usize::try_from(choice).unwrap_or(0) % len], all[(usize::try_from(choice).unwrap_or(0) + 1) % len]);
        links.extend([(a, b), (b, a)]);
    }
    links
}

fn complete(order: &[NodeNo], nodes: usize) -> Vec<NodeNo> {
    let rest = (0..nodes).filter(|node| !order.contains(node));
    order.iter().copied().filter(|node| *node < nodes).chain(rest).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partitions_cut_what_their_names_say() {
        let order = [0, 1, 2, 3, 4];
        assert_eq!(links(FaultKind::Halves, &order, 5, 0).len(), 2 * 2 * 3);
        assert_eq!(links(FaultKind::OneWay, &order, 5, 0).len(), 2 * 3);
        assert_eq!(links(FaultKind::Isolate, &order, 5, 0).len(), 2 * 4);
        assert_eq!(links(FaultKind::Bridge, &order, 5, 0).len(), 2 * 2 * 2);
        // a ring keeps five of ten pairs
        assert_eq!(links(FaultKind::Ring, &order, 5, 0).len(), 2 * 5);
        assert_eq!(links(FaultKind::Ring, &[0, 1, 2], 3, 0).len(), 2);
    }
}
