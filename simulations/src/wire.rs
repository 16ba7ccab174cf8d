//! Runs a plan on whole nodes: first safety under faults, then the heal and liveness.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use futures::future::{Either, join_all, select};
use nexus_node::brain::EraseFate;
use nexus_node::config::TaskRouting;
use nexus_node::critical::PutOptions;
use nexus_node::internals::formats::Formats;
use nexus_node::internals::inspect;
use nexus_node::internals::store::disk::Fault as DiskFault;
use nexus_node::memory::{ListQuery, ValidAt};
use nexus_node::net::PeerState;
use nexus_node::{Memory, NewMemory, Node, NodeError, Patch, RecallQuery};
use tokio::sync::Notify;

use crate::approvals;
use crate::blobs;
use crate::critical;
use crate::documents;
use crate::faults::{Aftermath, Faults};
use crate::hooks;
use crate::invariants::{self, Invariant, Load, Moment, NodeContent, Outsiders, Recovery, Verdict, With};
use crate::ledger::{Edited, Ledger, Written};
use crate::outcome::{RunOutcome, Sample, TaskTimes};
use crate::plan::{NodeNo, Op, OpKind, Plan};
use crate::programs::{self, Programs};
use crate::scenario::FaultKind;
use crate::secrets;
use crate::tasks;
use crate::world::{Sim, SimError, World};

/// The time between two checks of the invariants.
const LOOK_EVERY: Duration = Duration::from_secs(30);
/// The time between two points of the report's timeline.
const SAMPLE_EVERY: Duration = Duration::from_secs(3);
/// The longest time of a write to all nodes with nothing in its way. Sessions that missed it compare
/// their frontiers after five to ten seconds, which would be too late.
const PROMPT_MAX: Duration = Duration::from_secs(4);
/// The longest time until the coordinators have a leader that all can reach: three times the longest
/// wait for an election.
const LED_MAX: Duration = Duration::from_millis(3 * 1_400);
/// The number of voters without a person's change.
const VOTERS: usize = 3;
/// The longest first meeting.
const MEET_MAX: Duration = Duration::from_secs(60);
/// The longest operation; a longer one counts as not acknowledged.
const OP_MAX: Duration = Duration::from_secs(30);
/// The most edits looked for in histories at the end.
const EDITS_MAX: usize = 40;
/// The longest end of a fault after the safety phase.
const FAULTS_END_MAX: Duration = Duration::from_secs(120);

/// Runs a plan; `trace` gets every line of the trace.
///
/// # Panics
/// If a world is running in this process already, or the hooks are not in place.
pub fn run(plan: &Plan, trace: Option<Box<dyn Write + Send>>) -> RunOutcome {
    let began = hooks::real_now();
    let mut world = World::new(plan.seed).quality(plan.network).checks_all(plan.checks_all);
    if let Some(trace) = trace {
        world = world.trace(trace);
    }
    let story = plan.clone();
    let told: Result<RunOutcome, SimError> = world.run(async move |sim| Ok(Run::new(sim, story).tell().await));
    let mut outcome = told.unwrap_or_else(|error| RunOutcome::failed(plan, error.to_string()));
    outcome.wall = hooks::real_now() - began;
    outcome
}

struct Run {
    sim: Sim,
    plan: Plan,
    ledger: Rc<RefCell<Ledger>>,
    aftermath: Rc<RefCell<Aftermath>>,
    invariants: RefCell<Vec<Box<dyn Invariant>>>,
    /// Views by node, with their frontiers.
    samples: RefCell<Vec<Sample>>,
    looked_ms: RefCell<Vec<u64>>,
    programs: Programs,
    canary: String,
    error: RefCell<Option<String>>,
    /// Whether the run has ended with the violation of a check that its plan names.
    is_over: Cell<bool>,
    over: Notify,
}

impl Run {
    fn new(sim: Sim, plan: Plan) -> Self {
        let canary = format!("canary-{:016x}", plan.seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        Self {
            sim,
            ledger: Rc::default(),
            aftermath: Rc::default(),
            invariants: RefCell::new(invariants::all(
                &|kind| plan.has(kind),
                With {
                    coordinators: plan.coordinators,
                    tasks: plan.has_tasks(),
                    approvals: plan.has_approvals(),
                    blobs: plan.has_blobs(),
                    documents: plan.has_documents(),
                    erasures: plan.has_erasures(),
                },
            )),
            samples: RefCell::default(),
            looked_ms: RefCell::default(),
            programs: Programs::default(),
            canary,
            error: RefCell::default(),
            is_over: Cell::default(),
            over: Notify::new(),
            plan,
        }
    }

    async fn tell(&self) -> RunOutcome {
        let mut recovery = Recovery { bound: Duration::from_millis(self.plan.liveness_ms), ..Recovery::default() };
        let mut safety_from = Duration::ZERO;
        match self.meet().await {
            Ok(()) => {
                safety_from = self.sim.now();
                self.sim.plant(self.plan.plant);
                self.safety().await;
                if !self.is_over.get() {
                    self.liveness(&mut recovery).await;
                }
            }
            Err(error) => *self.error.borrow_mut() = Some(format!("the nodes never met: {error}")),
        }
        recovery.panics = self.sim.panics();
        self.outcome(&recovery, safety_from)
    }

    /// Whether the run ends with the first violation of this check.
    fn ends_with(&self, check: &str) -> bool {
        self.plan.ends_with.iter().any(|name| name == check)
    }

    /// Starts the founder and its members, and waits until all are connected.
    async fn meet(&self) -> Result<(), SimError> {
        let Plan { nodes, through_the_door, regions, between, .. } = &self.plan;
        if self.plan.coordinators {
            self.sim.with_coordinators();
        }
        if self.plan.persons {
            self.sim.with_persons();
        }
        if self.plan.has_documents() {
            self.sim.with_documents();
        }
        match self.plan.routing.as_deref() {
            Some("least-loaded") => self.sim.with_routing(TaskRouting::LeastLoaded),
            Some("round-robin") => self.sim.with_routing(TaskRouting::RoundRobin),
            _ => {}
        }
        if self.plan.has(FaultKind::RollingUpgrade) {
            self.sim.with_formats(Formats::FIRST);
        }
        for between in between {
            self.sim.network().set_region(&between.regions[0], &between.regions[1], between.quality);
        }
        for no in 0..*nodes {
            if !regions.is_empty() {
                self.sim.network().place(no, &regions[no % regions.len()]);
            }
            let name = format!("node{no}");
            match no {
                0 => {
                    self.sim.found(&name).await?;
                    self.ledger.borrow_mut().approvals.people.founded(self.sim.did(0));
                }
                no if self.plan.persons => {
                    let (by, role, said) = approvals::invited(self.plan.seed, no);
                    self.sim.join_with(&name, by, approvals::invite(role, said)).await?;
                    let (did, by) = (self.sim.did(no), self.sim.did(by));
                    self.ledger.borrow_mut().approvals.people.admitted(did, &by, role, said);
                }
                no if no <= *through_the_door => drop(self.sim.join(&name, 0).await?),
                _ => drop(self.sim.add(&name).await?),
            }
        }
        let begin = self.sim.now();
        self.all_know_all(begin).await?;
        if self.plan.has_documents() {
            documents::begin(&self.sim).await?;
            self.all_know_all(begin).await?;
        }
        Ok(())
    }

    /// Waits until all have introduced themselves, and all know it.
    async fn all_know_all(&self, begin: Duration) -> Result<(), SimError> {
        loop {
            let mut all = true;
            for no in 0..self.plan.nodes {
                all &= self.sim.on(no, async |node| Ok(node.members())).await?.len() == self.plan.nodes;
            }
            if all && self.sim.is_settled() && self.coordinated().await {
                return Ok(());
            }
            if self.sim.now() - begin > MEET_MAX {
                return Err(SimError::TooLate(MEET_MAX, self.sim.who_lacks_what()));
            }
            self.sim.sleep(Duration::from_millis(500)).await;
        }
    }

    /// Whether the voters are complete in the view of every node.
    async fn coordinated(&self) -> bool {
        if !self.plan.coordinators {
            return true;
        }
        for no in self.sim.up() {
            let Some(Ok(critical)) = self.sim.node(no).map(|node| node.critical()) else { return false };
            let whole = self.sim.on(no, async |_| Ok(critical.coordinators().await)).await.ok().flatten();
            if !whole.is_some_and(|seen| seen.quorum && seen.voters.len() >= self.plan.nodes.min(VOTERS)) {
                return false;
            }
        }
        true
    }

    async fn safety(&self) {
        let start = self.sim.now();
        let end = start + Duration::from_millis(self.plan.safety_ms);
        let faults = Faults {
            sim: self.sim.clone(),
            nodes: self.plan.nodes,
            canary: self.canary.clone(),
            ledger: self.ledger.clone(),
            aftermath: self.aftermath.clone(),
        };
        let until = |at_ms: u64| {
            let at = start + Duration::from_millis(at_ms);
            async move { self.sim.sleep(at.saturating_sub(self.sim.now())).await }
        };
        let going_wrong = join_all(self.plan.faults.iter().enumerate().map(|(no, fault)| {
            let (faults, begin) = (faults.clone(), until(fault.at_ms));
            async move {
                begin.await;
                faults.run(no, fault).await;
            }
        }));
        let working = join_all(self.plan.ops.iter().enumerate().map(|(no, op)| {
            let begin = until(op.at_ms);
            async move {
                begin.await;
                self.operate(no, *op).await;
            }
        }));
        let looking = async {
            while self.sim.now() + LOOK_EVERY < end {
                self.sim.sleep(LOOK_EVERY).await;
                self.look(false).await;
            }
        };
        let sampling = async {
            while self.sim.now() < end {
                self.sample();
                self.sim.sleep(SAMPLE_EVERY).await;
            }
        };
        let going_wrong =
            tokio::time::timeout(Duration::from_millis(self.plan.safety_ms) + FAULTS_END_MAX, going_wrong);
        let all = pin!(async { futures::join!(going_wrong, working, looking, sampling) });
        // in this order, and not in one of tokio's choice: runs that go on are the same as without it
        let Either::Left(((ended, ..), _)) = select(all, pin!(self.over.notified())).await else { return };
        if ended.is_err() {
            *self.error.borrow_mut() =
                Some(format!("a fault did not end within {FAULTS_END_MAX:?} of the safety phase"));
        }
    }

    async fn liveness(&self, recovery: &mut Recovery) {
        self.sim.heal();
        for no in 0..self.plan.nodes {
            if self.sim.node(no).is_none()
                && !self.ledger.borrow().gone.contains(&no)
                && let Err(error) = self.sim.start(no).await
            {
                recovery.dead.push(format!("n{no} does not start after the heal: {error}"));
            }
            self.sim.set_disk_fault(no, DiskFault::None);
        }
        recovery.dead.extend(self.aftermath.borrow().dead.iter().cloned());
        let sampling = async {
            loop {
                self.sample();
                self.sim.sleep(SAMPLE_EVERY).await;
            }
        };
        let healing = async {
            for no in self.sim.up() {
                let text = format!("{} after the heal, by n{no}", self.canary);
                let wrote = self.write_once_there_is_room(no, &text);
                if !matches!(tokio::time::timeout(OP_MAX, wrote).await, Ok(Ok(()))) {
                    recovery.mute.push(format!("n{no} takes no write within {OP_MAX:?} of the heal"));
                }
            }
            match self.sim.settled(recovery.bound).await {
                Ok(after) => recovery.settled = Some(after),
                Err(_) => recovery.lacks = self.sim.who_lacks_what(),
            }
            let begin = self.sim.now();
            loop {
                recovery.unseen = self.unseen().await;
                let is_lost = recovery.settled.is_none() && self.ends_with("liveness");
                if recovery.unseen.is_empty() || is_lost || self.sim.now() - begin > recovery.bound {
                    break;
                }
                self.sim.sleep(Duration::from_secs(1)).await;
            }
            if recovery.settled.is_some() && recovery.unseen.is_empty() {
                self.be_prompt(recovery).await;
            }
        };
        tokio::select! {
            () = healing => {}
            () = sampling => {}
        }
        if self.plan.has_approvals() {
            approvals::conclude(&self.sim, &self.ledger, recovery.bound).await;
        }
        if self.plan.has_tasks() {
            tasks::work_off(&self.sim, &self.ledger, recovery.bound).await;
        }
        if self.plan.has_approvals() {
            // a task's end may be there before the word that approved it
            let _ = self.sim.settled(recovery.bound).await;
        }
        if self.plan.has_blobs() {
            blobs::get_all(&self.sim, &self.ledger).await;
        }
        if self.plan.coordinators {
            recovery.leaderless = self.leaderless().await;
            if recovery.leaderless.is_none()
                && let Some(no) = self.sim.up().first()
                && let Err(error) = critical::replay(&self.sim, &self.ledger, *no).await
            {
                recovery.leaderless = Some(format!("n{no} does not show its keys and its audit: {error}"));
            }
        }
        self.look(true).await;
        self.sample();
        self.look_for_edits(recovery);
    }

    /// Checks that a write with nothing in its way is everywhere at once, not only after the next comparison.
    async fn be_prompt(&self, recovery: &mut Recovery) {
        for no in self.sim.up() {
            let wrote = self.write(no, vec![NewMemory::note(format!("{} in peace, by n{no}", self.canary))]);
            let _ = tokio::time::timeout(OP_MAX, wrote).await;
        }
        if self.sim.settled(PROMPT_MAX).await.is_err() {
            recovery.late = Some(format!("{PROMPT_MAX:?} after writes in peace, {}", self.sim.who_lacks_what()));
        }
    }

    /// Checks that the coordinators of a whole mesh have a leader, that every node can write and read,
    /// and that all copies become one.
    async fn leaderless(&self) -> Option<String> {
        let begin = self.sim.now();
        let mut why = String::new();
        while self.sim.now() - begin <= LED_MAX {
            why = match self.led().await {
                Ok(()) => return None,
                Err(why) => why,
            };
            self.sim.sleep(Duration::from_millis(200)).await;
        }
        Some(format!("{LED_MAX:?} after everything was whole {why}"))
    }

    async fn led(&self) -> Result<(), String> {
        let mut copies = Vec::new();
        for no in self.sim.up() {
            let node = self.sim.node(no).ok_or("a node is gone")?;
            let critical = node.critical().map_err(|error| error.to_string())?;
            let put = self.sim.on(no, async |_| critical.put(critical::WHOLE, "again", PutOptions::default()).await);
            put.await.map_err(|error| format!("n{no} cannot write: {error}"))?;
            let seen = self.sim.on(no, async |_| Ok(critical.coordinators().await)).await.ok().flatten();
            if seen.is_none_or(|seen| seen.format != Formats::LATEST.critical) {
                return Err(format!("n{no} does not write the format that all can read"));
            }
            copies.push((no, critical));
        }
        self.sim.sleep(Duration::from_millis(400)).await;
        let mut digests = BTreeMap::new();
        for (no, critical) in &copies {
            if let (Some(copy), Some(generation)) = (critical.digest(), critical.generation()) {
                self.ledger.borrow_mut().critical.see(*no, generation, copy);
                digests.insert(*no, copy);
            }
        }
        let first = digests.values().next();
        if digests.values().any(|copy| Some(copy) != first) {
            return Err(format!(
                "copies differ: {:?}",
                digests.iter().map(|(no, (index, _))| (no, index)).collect::<Vec<_>>()
            ));
        }
        for (no, critical) in &copies {
            let check = self.sim.on(*no, async |_| critical.verify_audit(0).await).await;
            let check = check.map_err(|error| format!("n{no} cannot check its audit: {error}"))?;
            // a few thousand records are one step, and no run makes more
            if !check.ok() || check.entries == 0 {
                return Err(format!("n{no} has another past than its state or than others: {check:?}"));
            }
        }
        Ok(())
    }

    /// The nodes that do not see all running members up.
    async fn unseen(&self) -> Vec<String> {
        let up: BTreeMap<_, NodeNo> = self.sim.up().into_iter().map(|no| (self.sim.did(no), no)).collect();
        let mut unseen = Vec::new();
        for no in up.values() {
            let Ok(peers) = self.sim.on(*no, async |node| Ok(node.peers().await)).await else { continue };
            for peer in peers.iter().filter(|peer| peer.state != PeerState::Up) {
                if let Some(other) = up.get(&peer.did) {
                    let cause = peer.cause.as_ref().map(ToString::to_string).unwrap_or_default();
                    unseen.push(format!("n{no} sees n{other} {} ({cause})", peer.state));
                }
            }
        }
        unseen
    }

    async fn operate(&self, number: usize, op: Op) {
        let Op { node: no, kind, n, bytes, .. } = op;
        if self.sim.node(no).is_none() {
            // nobody works at a machine that is off
            return;
        }
        if matches!(kind, OpKind::Submit | OpKind::Bequeath | OpKind::Work) {
            return tasks::operate(&self.sim, &self.ledger, number, op).await;
        }
        if matches!(kind, OpKind::Ask | OpKind::Approve) {
            return approvals::operate(&self.sim, &self.ledger, number, op).await;
        }
        if kind == OpKind::Blob {
            return blobs::operate(&self.sim, &self.ledger, number, op).await;
        }
        if kind == OpKind::Program {
            return programs::visit(&self.sim, (&self.ledger, &self.programs), number, op).await;
        }
        if kind == OpKind::Secret {
            return secrets::operate(&self.sim, &self.ledger, number, op).await;
        }
        if kind == OpKind::Type {
            return documents::operate(&self.sim, &self.ledger, number, op).await;
        }
        if !matches!(kind, OpKind::Remember | OpKind::Keyed | OpKind::Edit | OpKind::Forget | OpKind::Erase) {
            return critical::operate(&self.sim, &self.ledger, number, op).await;
        }
        let text = self.text(number, bytes);
        let done = async {
            match kind {
                OpKind::Remember => {
                    let memory = |part: u64| NewMemory::note(format!("{text} part {part}"));
                    self.write(no, (0..n).map(memory).collect()).await
                }
                OpKind::Keyed => {
                    let memory = NewMemory::note(text).key(format!("key {n}"));
                    self.write(no, vec![memory]).await
                }
                OpKind::Edit => self.edit(no, n, text).await,
                OpKind::Forget => self.forget(no, n).await,
                OpKind::Erase => self.erase(no, n).await,
                _ => Ok(()),
            }
        };
        let done = tokio::time::timeout(OP_MAX, done).await;
        let mut ledger = self.ledger.borrow_mut();
        match done {
            Ok(Ok(())) => ledger.acknowledged += 1,
            // an operation without anything to do is neither
            Ok(Err(SimError::Node(_, NodeError::NotFound { .. } | NodeError::NoErasures))) => {}
            _ => ledger.failed += 1,
        }
    }

    fn text(&self, number: usize, bytes: u64) -> String {
        let mut text = format!("{} operation {number} ", self.canary);
        while (text.len() as u64) < bytes {
            text.push_str("lorem ipsum ");
        }
        text
    }

    async fn write(&self, no: NodeNo, memories: Vec<NewMemory>) -> Result<(), SimError> {
        let life = self.sim.starts(no);
        let key = memories.first().and_then(|memory| memory.key.clone());
        let written = self.sim.on(no, async |node: Node| node.brain().remember_all(memories).await).await?;
        let at = self.sim.now();
        self.sim
            .network()
            .note(Some(no), format_args!("acknowledged {} memories, the first {}", written.len(), written[0].id));
        let mut ledger = self.ledger.borrow_mut();
        ledger.writes += written.len() as u64;
        for memory in written {
            ledger.written.entry(memory.id.to_string()).or_insert(Written { node: no, life, at, key: key.clone() });
        }
        Ok(())
    }

    /// Writes a memory. A node that cannot ask how full its disk is finds out by itself that there is room again.
    async fn write_once_there_is_room(&self, no: NodeNo, text: &str) -> Result<(), SimError> {
        loop {
            match self.write(no, vec![NewMemory::note(text)]).await {
                Err(SimError::Node(_, NodeError::DiskFull(_))) => self.sim.sleep(Duration::from_secs(1)).await,
                written => return written,
            }
        }
    }

    /// One of the latest memories of a node.
    fn pick(&self, node: &Node, n: u64) -> Result<Option<Memory>, NodeError> {
        let mut listing = node.brain().list_blocking(&ListQuery::newest().limit(24))?;
        let len = listing.items.len();
        Ok((len > 0).then(|| listing.items.swap_remove(usize::try_from(n).unwrap_or(0) % len)))
    }

    async fn edit(&self, no: NodeNo, n: u64, text: String) -> Result<(), SimError> {
        let edited = self.sim.on(no, async |node: Node| {
            let Some(memory) = self.pick(&node, n)? else { return Ok(None) };
            node.brain().edit(memory.id, Patch::text(text.clone())).await.map(Some)
        });
        if let Some(memory) = edited.await? {
            let mut ledger = self.ledger.borrow_mut();
            ledger.writes += 1;
            ledger.edited.push(Edited { id: memory.id.to_string(), text, node: no, at: self.sim.now() });
        }
        Ok(())
    }

    /// Erases a memory. If another member wrote it, it is only forgotten, unless an admin erases it.
    async fn erase(&self, no: NodeNo, n: u64) -> Result<(), SimError> {
        let erased = self.sim.on(no, async |node: Node| {
            let Some(memory) = self.pick(&node, n)? else { return Ok(None) };
            let key = node.brain().key_of_blocking(memory.id)?;
            // memories with one key go together, and a copy has a former one
            if key.is_some() || memory.was.is_some() {
                return Ok(None);
            }
            self.ledger.borrow_mut().forget_asked.insert(memory.id.to_string());
            let fates = node.brain().erase(vec![memory.id.to_string().into()]).await?;
            Ok(fates.into_iter().next().map(|erased| (memory.id.to_string(), memory.text, erased.fate)))
        });
        let Some((id, text, fate)) = erased.await? else { return Ok(()) };
        let now = self.sim.now();
        let mut ledger = self.ledger.borrow_mut();
        ledger.writes += 1;
        match fate {
            EraseFate::Erased { .. } => {
                ledger.erased.entry(id.clone()).or_default().insert(text);
            }
            EraseFate::Forgotten { .. } => {}
            // nothing is said of it
            _ => return Ok(()),
        }
        ledger.forgotten.entry(id).or_insert((now, no));
        Ok(())
    }

    /// The erased memories of which a node has a text.
    fn erased_on(&self, node: &Node) -> BTreeSet<String> {
        let ledger = self.ledger.borrow();
        let mut texts: Vec<(&str, &str)> = Vec::new();
        for (id, known) in &ledger.erased {
            texts.extend(known.iter().map(|text| (id.as_str(), text.as_str())));
            let edits = ledger.edited.iter().filter(|edited| edited.id == *id);
            texts.extend(edits.map(|edited| (id.as_str(), edited.text.as_str())));
        }
        for (id, words) in ledger.secrets.iter().filter(|(id, _)| ledger.erased_whole.contains(*id)) {
            texts.extend(words.iter().map(|word| (id.as_str(), word.as_str())));
        }
        inspect::found_in_rows(&node.brain(), &texts).unwrap_or_default()
    }

    async fn forget(&self, no: NodeNo, n: u64) -> Result<(), SimError> {
        let forgotten = self.sim.on(no, async |node: Node| {
            let Some(memory) = self.pick(&node, n)? else { return Ok(None) };
            let key = node.brain().key_of_blocking(memory.id)?;
            {
                let mut ledger = self.ledger.borrow_mut();
                ledger.forget_asked.insert(memory.id.to_string());
                ledger.forget_asked.extend(memory.was);
                ledger.keys_forget_asked.extend(key);
            }
            node.brain().forget(memory.id).await.map(|()| Some(memory.id.to_string()))
        });
        if let Some(id) = forgotten.await? {
            let now = self.sim.now();
            let mut ledger = self.ledger.borrow_mut();
            ledger.writes += 1;
            ledger.forgotten.entry(id).or_insert((now, no));
        }
        Ok(())
    }

    /// The content of a node; `None` if it cannot be asked.
    fn see(&self, no: NodeNo) -> Option<NodeContent> {
        let node = self.sim.node(no)?;
        let frontier = node.frontier_blocking().ok()?;
        let (view, former) = view_of(&node).ok()?;
        let ledger = self.ledger.borrow();
        let keyed = ledger.written.iter().filter(|(id, written)| written.key.is_some() && !view.contains_key(*id));
        let answers = keyed.map(|(id, _)| id).filter(|id| node.brain().get_blocking(*id).is_ok()).cloned().collect();
        let (life, members) = (self.sim.starts(no), node.members().into_iter().map(|member| member.did).collect());
        let persons = approvals::persons(&node);
        Some(NodeContent {
            node: no,
            life,
            frontier,
            view,
            answers,
            former,
            members,
            tasks: BTreeMap::new(),
            approvals: BTreeMap::new(),
            persons,
            blobs: None,
            documents: BTreeMap::new(),
            hits: None,
            erased: BTreeSet::new(),
            warnings: Vec::new(),
        })
    }

    async fn look(&self, last: bool) {
        let mut warned = BTreeMap::new();
        for no in self.sim.up() {
            if let Ok(status) = self.sim.on(no, async |node| Ok(node.status().await)).await {
                let warnings: Vec<_> =
                    status.warnings.into_iter().map(|warning| (warning.code, warning.message)).collect();
                warned.insert(no, warnings);
            }
        }
        let mut shown = BTreeMap::new();
        for no in self.sim.up().into_iter().filter(|_| self.plan.has_tasks()) {
            shown.insert(no, tasks::shown(&self.sim, no).await.unwrap_or_default());
        }
        let mut approved = BTreeMap::new();
        for no in self.sim.up().into_iter().filter(|_| self.plan.has_approvals()) {
            approved.insert(no, approvals::shown(&self.sim, no).await.unwrap_or_default());
        }
        let mut files = BTreeMap::new();
        for no in self.sim.up().into_iter().filter(|_| self.plan.has_blobs()) {
            if let Ok(shown) = blobs::shown(&self.sim, no).await {
                files.insert(no, shown);
            }
        }
        let mut documents = BTreeMap::new();
        for no in self.sim.up().into_iter().filter(|_| self.plan.has_documents()) {
            documents.insert(no, documents::shown(&self.sim, no).await);
        }
        // nothing is acknowledged between this and the end
        let mut seen: Vec<NodeContent> = self.sim.up().into_iter().filter_map(|no| self.see(no)).collect();
        for seen in &mut seen {
            seen.tasks = shown.remove(&seen.node).unwrap_or_default();
            seen.approvals = approved.remove(&seen.node).unwrap_or_default();
            seen.blobs = files.remove(&seen.node);
            seen.documents = documents.remove(&seen.node).unwrap_or_default();
            seen.warnings = warned.remove(&seen.node).unwrap_or_default();
            if last {
                seen.hits = self.sim.node(seen.node).and_then(|node| hits_of(&node));
                seen.erased = self.sim.node(seen.node).map(|node| self.erased_on(&node)).unwrap_or_default();
            }
        }
        let heard = self.aftermath.borrow().heard.iter().map(|heard| heard.count()).collect::<Vec<_>>();
        let outsiders = Outsiders {
            strangers: heard.len() as u64,
            bytes: heard.iter().map(|(bytes, _)| bytes).sum(),
            canaries: heard.iter().map(|(_, canaries)| canaries).sum(),
        };
        let on_disk = (0..self.sim.len()).map(|no| self.sim.disk(no).bytes()).sum();
        let load = Load {
            tasks: self.sim.most_tasks(),
            dials: (0..self.plan.nodes).map(|no| self.sim.network().dials(no)).collect(),
            under_way: self.sim.network().under_way(),
            allocated: crate::memory::allocated(),
            on_disk,
        };
        let ledger = self.ledger.borrow();
        let panics = self.sim.panics();
        let moment =
            Moment { at: self.sim.now(), seen: &seen, ledger: &ledger, outsiders, load, panics: &panics, last };
        for invariant in self.invariants.borrow_mut().iter_mut() {
            invariant.look(&moment);
            if !last && invariant.record().is_broken() && self.ends_with(invariant.name()) {
                self.is_over.set(true);
                self.over.notify_one();
            }
        }
        self.looked_ms.borrow_mut().push(ms(self.sim.now()));
        for seen in &seen {
            let digest = blake3::Hash::from(seen.frontier.digest()).to_hex();
            self.sim
                .network()
                .note(Some(seen.node), format_args!("holds {}, shows {}", &digest[..16], seen.view.len()));
        }
    }

    fn look_for_edits(&self, recovery: &mut Recovery) {
        let ledger = self.ledger.borrow();
        let lasting = ledger.edited.iter().filter(|edited| ledger.must_last(edited));
        for (place, Edited { id, text, node: by, .. }) in lasting.rev().take(EDITS_MAX).enumerate() {
            let up = self.sim.up();
            let Some(no) = up.get(place % up.len().max(1)) else { return };
            let Some(node) = self.sim.node(*no) else { continue };
            recovery.edits_looked_for += 1;
            let found = node.brain().history_blocking(id).is_ok_and(|history| {
                history
                    .iter()
                    .any(|revision| revision.changed.get("text").and_then(|value| value.as_str()) == Some(text))
            });
            if !found {
                recovery.lost_edits.push(format!("n{no} has no edit of {id} that n{by} acknowledged"));
            }
        }
    }

    fn sample(&self) {
        let up = self.sim.up();
        let mut all = nexus_crdt::Frontier::default();
        let frontiers: Vec<_> = up.iter().filter_map(|no| Some((*no, self.sim.frontier(*no).ok()?))).collect();
        for (_, frontier) in &frontiers {
            for (log, head) in frontier.iter() {
                all.advance(*log, *head);
            }
        }
        let mut lag: BTreeMap<NodeNo, u64> = BTreeMap::new();
        for (no, frontier) in &frontiers {
            lag.insert(*no, all.ahead_of(frontier));
        }
        let carried = self.sim.network().carried();
        let mut bytes: BTreeMap<NodeNo, u64> = BTreeMap::new();
        for ((_, to), count) in &carried {
            *bytes.entry(*to).or_default() += count;
        }
        self.samples.borrow_mut().push(Sample {
            at_ms: ms(self.sim.now()),
            lag,
            bytes,
            cut: self.sim.network().cut_links(),
        });
    }

    fn outcome(&self, recovery: &Recovery, safety_from: Duration) -> RunOutcome {
        let now = self.sim.now();
        let (trace_hash, trace_lines) = self.sim.network().trace_hash();
        let mut invariants = self.invariants.borrow_mut();
        let is_over = self.is_over.get();
        let judge = |invariant: &mut Box<dyn Invariant>| {
            let verdict = match invariant.record().broken() {
                Some(broken) if is_over => broken,
                None if is_over => Verdict::Undecided { why: "another check broke, and ended the run".to_owned() },
                _ => invariant.judge(recovery, now),
            };
            (invariant.name(), invariant.promise(), verdict)
        };
        let checks = invariants.iter_mut().map(judge).collect();
        let fired = self.sim.network().fired();
        let never: Vec<String> = {
            let kinds: std::collections::BTreeSet<FaultKind> =
                self.plan.faults.iter().map(|fault| fault.kind).collect();
            kinds
                .iter()
                .map(|kind| kind.as_str())
                .filter(|kind| !is_over && !fired.contains_key(*kind))
                .map(str::to_owned)
                .collect()
        };
        let ledger = self.ledger.borrow();
        RunOutcome {
            plan: self.plan.clone(),
            virtual_time: now,
            wall: Duration::ZERO,
            trace_hash,
            trace_lines,
            fired,
            never,
            checks,
            error: self.error.borrow().clone(),
            acknowledged: ledger.writes,
            failed: ledger.failed,
            tasks: TaskTimes::of(&ledger),
            heals: self.sim.heals(),
            settled: recovery.settled,
            safety_from_ms: ms(safety_from),
            samples: self.samples.borrow().clone(),
            looked_ms: self.looked_ms.borrow().clone(),
            down: self.aftermath.borrow().down.iter().map(|(no, from, to)| (*no, ms(*from), ms(*to))).collect(),
            recent: self.sim.network().recent(),
            machines: (0..self.sim.len()).map(|no| self.sim.name(no)).collect(),
            allocated_max: crate::memory::most(),
        }
    }
}

fn ms(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// Memories by id, each with a digest of all that it shows.
type View = BTreeMap<String, [u8; 16]>;

/// The memories that a node finds for the numbers of some operations. The order of hits is that of the node, which weighs its
/// own higher.
fn hits_of(node: &Node) -> Option<BTreeSet<String>> {
    const ASKED: usize = 24;
    let mut found = BTreeSet::new();
    for number in 1..=ASKED {
        let query = RecallQuery::of(number.to_string()).limit(1_000).valid_at(ValidAt::Ever);
        let hits = node.brain().recall_blocking(&query).ok()?.hits;
        found.extend(
            hits.into_iter().flat_map(|hit| [hit.memory.id].into_iter().chain(hit.same)).map(|id| id.to_string()),
        );
    }
    Some(found)
}

/// All memories of a node, and their former ids.
fn view_of(node: &Node) -> Result<(View, BTreeSet<String>), NodeError> {
    let brain = node.brain();
    let (mut view, mut former) = (BTreeMap::new(), BTreeSet::new());
    let mut after = None;
    loop {
        let page = brain.list_blocking(&ListQuery::newest().limit(1_000).all().after(after))?;
        for memory in page.items {
            let digest = inspect::digest_of(&memory);
            view.insert(memory.id.to_string(), digest);
            former.extend(memory.was);
        }
        after = page.next;
        if after.is_none() {
            return Ok((view, former));
        }
    }
}
