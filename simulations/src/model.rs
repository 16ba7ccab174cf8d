//! Model fidelity: the very engine and session of a node, over links with delays, without
//! swarms, handshakes, gossip or disks. Thousands of nodes.
//!
//! It does not show the network stack, backpressure, or crashes in the middle of a commit (a commit is
//! one step here). Each signature is checked once, not once per node. Only the first [`AUTHORS_MAX`]
//! nodes write; the others hold everything and pass it on.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, VecDeque};
use std::ops::Bound;
use std::time::{Duration, Instant};

use nexus_crdt::{Core, Dot, Entry, EntryId, Frontier, Incarnation, SpaceId, SyncFrame, Verified};
use nexus_identity::{Chain, Claims, Did, Keypair, Role, Timestamp};
use nexus_node::internals::engine::{
    Command, Edit, Engine, Event, Genesis, Input, Keeper, NewRecord, Outcome as Answer, Released, found, run_to_store,
};
use nexus_node::internals::inspect;
use nexus_node::internals::replication::{Audience, SyncSession};
use nexus_node::internals::store::{Batch, KeyRange, Order, StoreError, Table, TableChange, View, Visit};

use crate::dice::Dice;
use crate::invariants::{self, Load, Moment, NodeContent, Outsiders, Recovery};
use crate::ledger::{Ledger, Written};
use crate::link::Quality;
use crate::outcome::{RunOutcome, Sample};
use crate::plan::{NodeNo, OpKind, Plan};
use crate::scenario::FaultKind;
use crate::trace::{NOBODY, Trace};

/// The most nodes that write.
pub const AUTHORS_MAX: usize = 24;
/// The least neighbours of a node: two on a ring, the others anywhere.
const NEIGHBOURS: usize = 4;
/// The most nodes whose views are compared, since each is read in full. Frontiers are compared for all.
const VIEWS_MAX: usize = 8;
/// The time between two checks of the invariants.
const LOOK_EVERY: Duration = Duration::from_secs(20);
/// The time between two checks that all hold the same.
const SETTLED_EVERY: Duration = Duration::from_secs(1);

/// A store in memory.
#[derive(Debug, Default)]
struct Tables(BTreeMap<Table, BTreeMap<Vec<u8>, Vec<u8>>>);

impl Tables {
    fn apply(&mut self, batch: &Batch) {
        for change in batch.changes() {
            match change {
                TableChange::Put { table, key, value } => {
                    self.0.entry(table).or_default().insert(key.to_vec(), value.to_vec());
                }
                TableChange::Delete { table, key } => {
                    self.0.entry(table).or_default().remove(key);
                }
                TableChange::Clear { table } => self.0.entry(table).or_default().clear(),
            }
        }
    }
}

impl Keeper for Tables {
    fn read<T>(&self, read: impl FnOnce(&dyn View) -> T) -> Result<T, StoreError> {
        Ok(read(self))
    }

    fn keep(&mut self, batch: Batch) -> Result<(), StoreError> {
        self.apply(&batch);
        Ok(())
    }
}

impl View for Tables {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.0.get(&table).and_then(|rows| rows.get(key)).cloned())
    }

    fn scan(&self, table: Table, range: KeyRange<'_>, order: Order, visit: &mut Visit<'_>) -> Result<(), StoreError> {
        let backwards = match range {
            (Bound::Included(start), Bound::Included(end)) => start > end,
            (Bound::Included(start) | Bound::Excluded(start), Bound::Included(end) | Bound::Excluded(end)) => {
                start >= end
            }
            _ => false,
        };
        let Some(rows) = self.0.get(&table).filter(|_| !backwards) else { return Ok(()) };
        let rows = rows.range::<[u8], _>(range);
        let mut visit_row = |(key, value): (&Vec<u8>, &Vec<u8>)| visit(key, value);
        let _ = match order {
            Order::Forward => rows.into_iter().try_for_each(&mut visit_row),
            Order::Backward => rows.into_iter().rev().try_for_each(&mut visit_row),
        };
        Ok(())
    }
}

struct Peer {
    key: Keypair,
    chain: Chain,
    tables: Tables,
    engine: Option<Engine>,
    links: Vec<usize>,
    life: u64,
}

struct Link {
    ends: [NodeNo; 2],
    sessions: Option<[SyncSession; 2]>,
    /// Counts connections: frames of an earlier one are lost.
    epoch: u64,
    cuts: u32,
    /// Frames that wait for the end of a cut.
    held: VecDeque<(usize, SyncFrame)>,
    last_at: [Duration; 2],
    armed: [Option<Duration>; 2],
}

enum Happens {
    Arrives { link: usize, side: usize, epoch: u64, frame: Box<SyncFrame> },
    Wakes { link: usize, side: usize, epoch: u64 },
    Op(usize),
    Begins(usize),
    Ends(usize),
    Looks,
}

/// The time of a step, and its place in the order of planning.
type Due = Reverse<(Duration, u64)>;

struct Model<'a> {
    plan: &'a Plan,
    mesh: Did,
    now: Duration,
    next: u64,
    due: BinaryHeap<Due>,
    happens: BTreeMap<u64, Happens>,
    peers: Vec<Peer>,
    links: Vec<Link>,
    cut_by: BTreeMap<usize, Vec<usize>>,
    dice: Dice,
    trace: Trace,
    quality: Quality,
    verified: BTreeMap<EntryId, Verified>,
    ledger: Ledger,
    fired: BTreeMap<String, u64>,
    events: u64,
    heals: u64,
    samples: Vec<Sample>,
    carried: BTreeMap<NodeNo, u64>,
    down: Vec<(NodeNo, u64, u64)>,
    down_since: BTreeMap<NodeNo, Duration>,
    records: BTreeSet<Dot>,
}

/// Runs a plan on engines and sessions.
///
/// # Errors
/// An error of the engine or the store; none is expected.
#[expect(clippy::disallowed_methods, reason = "how long it took here, for people")]
pub fn run(plan: &Plan, trace: Option<Box<dyn std::io::Write + Send>>) -> Result<RunOutcome, String> {
    nexus_identity::memo::remember(!plan.checks_all);
    let began = Instant::now();
    let mut model = Model::new(plan, trace)?;
    let mut checks = invariants::model();
    let safety = Duration::from_millis(plan.safety_ms);
    let mut looked_ms = Vec::new();
    let mut at = LOOK_EVERY;
    while at < safety {
        model.plan_for(at, Happens::Looks);
        at += LOOK_EVERY;
    }
    model.run_until(safety, &mut |model| {
        looked_ms.push(ms(model.now));
        let seen = model.see(VIEWS_MAX);
        model.look(&mut checks, &seen, false);
    })?;
    model.heal()?;
    let bound = Duration::from_millis(plan.liveness_ms);
    let mut recovery = Recovery { bound, ..Recovery::default() };
    while model.now < safety + bound {
        if model.is_settled() {
            recovery.settled = Some(model.now - safety);
            break;
        }
        model.run_until(model.now + SETTLED_EVERY, &mut |_| {})?;
    }
    if recovery.settled.is_none() {
        recovery.lacks = model.who_lacks_what();
    }
    let seen = model.see(VIEWS_MAX);
    model.look(&mut checks, &seen, true);
    model.sample();
    let now = model.now;
    let checks = checks.iter_mut().map(|check| (check.name(), check.promise(), check.judge(&recovery, now))).collect();
    model.trace.flush();
    let known: BTreeSet<FaultKind> = plan.faults.iter().map(|fault| fault.kind).collect();
    let never = known.iter().map(|kind| kind.as_str()).filter(|kind| !model.fired.contains_key(*kind));
    Ok(RunOutcome {
        virtual_time: now,
        wall: began.elapsed(),
        trace_hash: model.trace.hash(),
        trace_lines: model.events,
        never: never.map(str::to_owned).collect(),
        fired: model.fired.clone(),
        checks,
        acknowledged: model.ledger.writes,
        tasks: None,
        failed: model.ledger.failed,
        heals: model.heals,
        settled: recovery.settled,
        samples: std::mem::take(&mut model.samples),
        looked_ms,
        down: std::mem::take(&mut model.down),
        recent: model.trace.recent(),
        machines: (0..plan.nodes).map(|no| format!("n{no}")).collect(),
        allocated_max: crate::memory::most(),
        ..RunOutcome::failed(plan, String::new())
    }
    .without_error())
}

fn ms(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

fn text_of(error: impl std::fmt::Display) -> String {
    error.to_string()
}

impl<'a> Model<'a> {
    fn new(plan: &'a Plan, out: Option<Box<dyn std::io::Write + Send>>) -> Result<Self, String> {
        let key = |purpose: &str| {
            let mut hasher = blake3::Hasher::new_derive_key("nexus-sim key v1");
            hasher.update(&plan.seed.to_le_bytes()).update(purpose.as_bytes());
            Keypair::from_seed(hasher.finalize().as_bytes())
        };
        let (root, founder) = (key("root"), key("node 0"));
        let mesh = root.did();
        let claims = |no: NodeNo, subject: Did, role| {
            let name = format!("node{no}").parse().map_err(text_of)?;
            Ok::<_, String>(Claims::new(mesh, subject, name, [role], Timestamp::from_ms(1)))
        };
        let first = Chain::found(claims(0, founder.did(), Role::Admin)?.sign(&root)).map_err(text_of)?;
        let mut model = Self {
            plan,
            mesh,
            now: Duration::ZERO,
            next: 0,
            due: BinaryHeap::new(),
            happens: BTreeMap::new(),
            peers: Vec::new(),
            links: Vec::new(),
            cut_by: BTreeMap::new(),
            dice: Dice::fork(plan.seed, "model"),
            trace: Trace::new(out),
            quality: plan.network,
            verified: BTreeMap::new(),
            ledger: Ledger::default(),
            fired: BTreeMap::new(),
            events: 0,
            heals: 0,
            samples: Vec::new(),
            carried: BTreeMap::new(),
            down: Vec::new(),
            down_since: BTreeMap::new(),
            records: BTreeSet::new(),
        };
        for no in 0..plan.nodes {
            let own = key(&format!("node {no}"));
            let chain = if no == 0 {
                first.clone()
            } else {
                let claims = claims(no, own.did(), Role::Member)?.issued_by(founder.did());
                first.extend(claims.sign(&founder)).map_err(text_of)?
            };
            let mut life = [0; 8];
            life.copy_from_slice(&(no as u64 + 1).to_le_bytes());
            let genesis =
                Genesis { mesh, chain: chain.clone(), incarnation: Incarnation(life), store: life, fingerprint: None };
            let mut tables = Tables::default();
            tables.apply(&found(&genesis));
            let engine = Engine::open(own.clone(), &tables).map_err(text_of)?;
            let (key, shown) = (own, chain.clone());
            model.peers.push(Peer { key, chain: shown, tables, engine: Some(engine), links: Vec::new(), life: 1 });
            if no < AUTHORS_MAX {
                model.command(no, Command::Admit { chain, with: Batch::new(), replaces: None })?;
            }
        }
        model.connect()?;
        for (no, op) in plan.ops.iter().enumerate() {
            model.plan_for(Duration::from_millis(op.at_ms), Happens::Op(no));
        }
        for (no, fault) in plan.faults.iter().enumerate() {
            model.plan_for(Duration::from_millis(fault.at_ms), Happens::Begins(no));
            model.plan_for(Duration::from_millis(fault.at_ms + fault.for_ms), Happens::Ends(no));
        }
        Ok(model)
    }

    /// Connects a ring, and some links across it.
    fn connect(&mut self) -> Result<(), String> {
        let nodes = self.peers.len();
        let mut pairs = BTreeSet::new();
        for a in 0..nodes {
            pairs.insert((a.min((a + 1) % nodes), a.max((a + 1) % nodes)));
            for _ in 0..(NEIGHBOURS - 2).div_ceil(2) {
                let b = self.dice.index(nodes);
                if a != b {
                    pairs.insert((a.min(b), a.max(b)));
                }
            }
        }
        for (a, b) in pairs {
            let link = self.links.len();
            let (last_at, armed) = ([Duration::ZERO; 2], [None; 2]);
            self.links.push(Link {
                ends: [a, b],
                sessions: None,
                epoch: 0,
                cuts: 0,
                held: VecDeque::new(),
                last_at,
                armed,
            });
            self.peers[a].links.push(link);
            self.peers[b].links.push(link);
            self.open(link)?;
        }
        Ok(())
    }

    fn open(&mut self, link: usize) -> Result<(), String> {
        let [a, b] = self.links[link].ends;
        if self.peers[a].engine.is_none() || self.peers[b].engine.is_none() {
            return Ok(());
        }
        // the gate shows each side the other's chain
        for (no, other) in [(a, b), (b, a)] {
            let chain = self.peers[other].chain.clone();
            self.input(no, Input::Chain(chain))?;
        }
        let open = |no: NodeNo, other: NodeNo| {
            let peer = &self.peers[no];
            let members = peer.engine.as_ref().ok_or("the node is down")?.members().clone();
            let audience = Audience::new(peer.key.did(), self.peers[other].key.did(), members);
            let audience = audience.reading(nexus_crdt::ENTRY_FORMAT_MAX);
            SyncSession::open(audience, self.now, &peer.tables).map_err(text_of)
        };
        let sessions = [open(a, b)?, open(b, a)?];
        let link_state = &mut self.links[link];
        link_state.sessions = Some(sessions);
        link_state.epoch += 1;
        link_state.held.clear();
        link_state.armed = [None; 2];
        self.pump(link, 0)?;
        self.pump(link, 1)
    }

    fn plan_for(&mut self, at: Duration, what: Happens) {
        self.next += 1;
        self.due.push(Reverse((at, self.next)));
        self.happens.insert(self.next, what);
    }

    fn run_until(&mut self, end: Duration, looks: &mut dyn FnMut(&mut Self)) -> Result<(), String> {
        while let Some(Reverse((at, number))) = self.due.peek().copied() {
            if at > end {
                break;
            }
            self.due.pop();
            self.now = at;
            let Some(what) = self.happens.remove(&number) else { continue };
            self.events += 1;
            match what {
                Happens::Arrives { link, side, epoch, frame } => self.arrive(link, side, epoch, *frame)?,
                Happens::Wakes { link, side, epoch } => {
                    if self.links[link].epoch == epoch {
                        self.links[link].armed[side] = None;
                        self.pump(link, side)?;
                    }
                }
                Happens::Op(no) => self.operate(no)?,
                Happens::Begins(no) => self.begin_fault(no)?,
                Happens::Ends(no) => self.end_fault(no)?,
                Happens::Looks => {
                    self.sample();
                    looks(self);
                }
            }
        }
        self.now = end;
        Ok(())
    }

    /// Sends the frames that one side of a link has.
    fn pump(&mut self, link: usize, side: usize) -> Result<(), String> {
        loop {
            let Self { links, peers, now, .. } = self;
            let state = &mut links[link];
            let from = state.ends[side];
            let Some(sessions) = &mut state.sessions else { return Ok(()) };
            let session = &mut sessions[side];
            if let Some(engine) = &peers[from].engine {
                session.follow(engine.members(), *now, &peers[from].tables).map_err(text_of)?;
            }
            if let Some(frame) = session.next_frame(*now, &peers[from].tables).map_err(text_of)? {
                let latency = self.quality.latency(&mut self.dice);
                let state = &mut self.links[link];
                let at = (self.now + latency).max(state.last_at[side]);
                state.last_at[side] = at;
                let epoch = state.epoch;
                self.plan_for(at, Happens::Arrives { link, side, epoch, frame: Box::new(frame) });
                continue;
            }
            // never the current moment: that would be a loop without end
            let at = session.poll_timeout().max(*now + Duration::from_millis(1));
            let epoch = state.epoch;
            if state.armed[side].is_none_or(|armed| at < armed) {
                state.armed[side] = Some(at);
                self.plan_for(at, Happens::Wakes { link, side, epoch });
            }
            return Ok(());
        }
    }

    fn arrive(&mut self, link: usize, side: usize, epoch: u64, frame: SyncFrame) -> Result<(), String> {
        if self.links[link].epoch != epoch {
            return Ok(());
        }
        if self.links[link].cuts > 0 {
            for fault in self.cut_by.get(&link).cloned().unwrap_or_default() {
                self.fire(self.plan.faults[fault].kind.as_str());
            }
            self.links[link].held.push_back((side, frame));
            return Ok(());
        }
        let [a, b] = self.links[link].ends;
        let (from, to) = if side == 0 { (a, b) } else { (b, a) };
        let bytes = prost::Message::encode_to_vec(&frame);
        *self.carried.entry(to).or_default() += bytes.len() as u64;
        self.trace.chunk(self.now, from, to, link as u64, &bytes);
        let Some(sessions) = &mut self.links[link].sessions else { return Ok(()) };
        let received = sessions[1 - side].receive(frame, &self.peers[to].tables).map_err(text_of)?;
        if !received.entries.is_empty() {
            let entries = received.entries.into_iter().map(|entry| self.verify(entry)).collect::<Result<_, _>>()?;
            let from = self.peers[from].key.did();
            let (_, events) = self.input(to, Input::Entries { from, entries })?;
            if events.iter().any(|event| matches!(event, Event::Behind { .. }))
                && let Some(sessions) = &mut self.links[link].sessions
            {
                sessions[1 - side].ask_again();
            }
        }
        self.pump(link, 1 - side)
    }

    /// Checks an entry, once for all nodes.
    fn verify(&mut self, entry: Entry) -> Result<Verified, String> {
        if let Some(known) = self.verified.get(&entry.id()) {
            return Ok(known.clone());
        }
        let verified = entry.verify(&self.mesh).map_err(text_of)?;
        self.verified.insert(verified.id(), verified.clone());
        Ok(verified)
    }

    /// Gives a node's engine one input; its sessions then see the stored entries.
    fn input(&mut self, no: NodeNo, input: Input) -> Result<(Vec<Answer>, Vec<Event>), String> {
        let now = Timestamp::from_ms(1_893_456_000_000 + ms(self.now));
        let peer = &mut self.peers[no];
        let Some(engine) = &mut peer.engine else { return Ok((Vec::new(), Vec::new())) };
        let mut seed = [0; 32];
        seed[..8].copy_from_slice(&self.events.to_le_bytes());
        let released = run_to_store(engine, &mut peer.tables, (now, seed), input).map_err(text_of)?;
        // there is no gossip in this fidelity: sessions bring entries
        let Released { answers, published, events } = released;
        self.events += (1 + answers.len() + published.len() + events.len()) as u64;
        let answers = answers.into_iter().map(|(_, answer)| answer).collect();
        if events.iter().any(|event| matches!(event, Event::Stored { .. })) {
            for link in self.peers[no].links.clone() {
                let side = usize::from(self.links[link].ends[1] == no);
                self.pump(link, side)?;
            }
        }
        Ok((answers, events))
    }

    fn command(&mut self, no: NodeNo, command: Command) -> Result<Option<Answer>, String> {
        Ok(self.input(no, Input::Commands(vec![(0, command)]))?.0.pop())
    }

    fn operate(&mut self, number: usize) -> Result<(), String> {
        let op = self.plan.ops[number];
        let no = op.node % self.plan.nodes.min(AUTHORS_MAX);
        if self.peers[no].engine.is_none() {
            return Ok(());
        }
        let text = format!("operation {number} {}", "lorem ".repeat(usize::try_from(op.bytes / 6).unwrap_or(0)));
        let space = SpaceId::default_of(&self.mesh);
        let answer = match op.kind {
            OpKind::Remember | OpKind::Keyed => {
                let core =
                    |part: u64| Core { text: format!("{text} {part}"), kind: "note".to_owned(), ..Core::default() };
                let records = (0..op.n.clamp(1, 8)).map(|part| NewRecord::whole(space, core(part))).collect();
                self.command(no, Command::Remember(records))?
            }
            OpKind::Edit | OpKind::Forget => {
                let recent: Vec<Dot> = self.records.iter().copied().collect();
                let Some(&record) = recent.get(usize::try_from(op.n).unwrap_or(0) * 7 % recent.len().max(1)) else {
                    return Ok(());
                };
                if op.kind == OpKind::Edit {
                    let edit = Edit { values: BTreeMap::from([("text", text.into())]), ..Edit::default() };
                    self.command(no, Command::Edit { record, edit })?
                } else {
                    self.ledger.forget_asked.insert(record.to_string());
                    let answer = self.command(no, Command::Forget(record))?;
                    if matches!(answer, Some(Answer::Done(_))) {
                        self.records.remove(&record);
                        self.ledger.forgotten.entry(record.to_string()).or_insert((self.now, no));
                    }
                    answer
                }
            }
            // engines and sessions alone have no coordinators
            OpKind::Erase
            | OpKind::Secret
            | OpKind::KvGet
            | OpKind::KvPut
            | OpKind::KvCas
            | OpKind::KvDelete
            | OpKind::Lock
            | OpKind::Manage
            | OpKind::Submit
            | OpKind::Bequeath
            | OpKind::Work
            | OpKind::Ask
            | OpKind::Approve
            | OpKind::Blob
            | OpKind::Type
            | OpKind::Program => {
                return Ok(());
            }
        };
        match answer {
            Some(Answer::Remembered(written)) => {
                self.ledger.acknowledged += 1;
                self.ledger.writes += written.len() as u64;
                for written in written {
                    self.records.insert(written.record);
                    let promise = Written { node: no, life: self.peers[no].life, at: self.now, key: None };
                    self.ledger.written.insert(written.record.to_string(), promise);
                }
            }
            Some(Answer::Done(_)) => {
                self.ledger.acknowledged += 1;
                self.ledger.writes += 1;
            }
            // the memory is not here yet, or forgotten
            Some(Answer::NoRecord) => {}
            _ => self.ledger.failed += 1,
        }
        self.trace.event(self.now, no, format_args!("operation {number}"));
        Ok(())
    }

    fn fire(&mut self, fault: &str) {
        *self.fired.entry(fault.to_owned()).or_default() += 1;
    }

    /// Whether a fault lies between the ends of a link.
    fn cuts(&self, fault: usize, link: usize) -> bool {
        let fault = &self.plan.faults[fault];
        let [a, b] = self.links[link].ends;
        let side = |no: NodeNo| fault.nodes.iter().position(|known| *known == no).unwrap_or(0);
        let half = match fault.kind {
            FaultKind::Halves | FaultKind::Bridge | FaultKind::OneWay | FaultKind::Ring => fault.nodes.len() / 2,
            FaultKind::Minority => fault.nodes.len() / 3,
            FaultKind::Isolate | FaultKind::Flapping | FaultKind::BlackHole => 1,
            _ => return false,
        };
        (side(a) < half) != (side(b) < half)
    }

    fn begin_fault(&mut self, no: usize) -> Result<(), String> {
        let fault = self.plan.faults[no].clone();
        self.trace.event(self.now, NOBODY, format_args!("fault {no}: {} begins", fault.kind.as_str()));
        for link in 0..self.links.len() {
            if self.cuts(no, link) {
                self.links[link].cuts += 1;
                self.cut_by.entry(link).or_default().push(no);
            }
        }
        let Some(&node) = fault.nodes.first() else { return Ok(()) };
        match fault.kind {
            FaultKind::Crash | FaultKind::PowerLoss | FaultKind::Restart | FaultKind::TornCommit => {
                self.peers[node].engine = None;
                self.down_since.insert(node, self.now);
                for link in self.peers[node].links.clone() {
                    self.links[link].sessions = None;
                    self.links[link].epoch += 1;
                }
                self.fire(fault.kind.as_str());
            }
            FaultKind::Reset => {
                for link in self.peers[node].links.clone() {
                    self.open(link)?;
                }
                self.fire(fault.kind.as_str());
            }
            _ => {}
        }
        Ok(())
    }

    fn end_fault(&mut self, no: usize) -> Result<(), String> {
        let fault = self.plan.faults[no].clone();
        self.heals += u64::from(self.cut_by.values().any(|by| by.contains(&no)));
        for link in 0..self.links.len() {
            if self.cuts(no, link) && self.cut_by.get(&link).is_some_and(|by| by.contains(&no)) {
                self.mend(link, no)?;
            }
        }
        let Some(&node) = fault.nodes.first() else { return Ok(()) };
        self.start(node)
    }

    fn mend(&mut self, link: usize, fault: usize) -> Result<(), String> {
        if let Some(by) = self.cut_by.get_mut(&link) {
            by.retain(|known| *known != fault);
        }
        self.links[link].cuts -= 1;
        if self.links[link].cuts == 0 {
            let epoch = self.links[link].epoch;
            for (side, frame) in std::mem::take(&mut self.links[link].held) {
                self.plan_for(self.now, Happens::Arrives { link, side, epoch, frame: Box::new(frame) });
            }
        }
        Ok(())
    }

    fn start(&mut self, node: NodeNo) -> Result<(), String> {
        let Some(since) = self.down_since.remove(&node) else { return Ok(()) };
        let peer = &mut self.peers[node];
        peer.engine = Some(Engine::open(peer.key.clone(), &peer.tables).map_err(text_of)?);
        peer.life += 1;
        self.down.push((node, ms(since), ms(self.now)));
        for link in self.peers[node].links.clone() {
            self.open(link)?;
        }
        Ok(())
    }

    fn heal(&mut self) -> Result<(), String> {
        self.trace.event(self.now, NOBODY, format_args!("everything heals"));
        self.heals += 1;
        for link in 0..self.links.len() {
            for fault in self.cut_by.remove(&link).unwrap_or_default() {
                self.mend(link, fault)?;
            }
        }
        for node in self.down_since.keys().copied().collect::<Vec<_>>() {
            self.start(node)?;
        }
        Ok(())
    }

    fn frontier(&self, no: NodeNo) -> Frontier {
        inspect::frontier(&self.peers[no].tables).unwrap_or_default()
    }

    fn is_settled(&self) -> bool {
        let first = self.frontier(0);
        (1..self.peers.len()).all(|no| self.frontier(no) == first)
    }

    fn who_lacks_what(&self) -> String {
        let lag = self.lag();
        let late = lag.values().filter(|lag| **lag > 0).count();
        format!("{late} of {} nodes lack entries, one {} of them", lag.len(), lag.values().max().unwrap_or(&0))
    }

    fn lag(&self) -> BTreeMap<NodeNo, u64> {
        let up = || (0..self.peers.len()).filter(|no| self.peers[*no].engine.is_some());
        let mut all = Frontier::default();
        let frontiers: Vec<(NodeNo, Frontier)> = up().map(|no| (no, self.frontier(no))).collect();
        for (_, frontier) in &frontiers {
            for (log, head) in frontier.iter() {
                all.advance(*log, *head);
            }
        }
        frontiers.iter().map(|(no, frontier)| (*no, all.ahead_of(frontier))).collect()
    }

    fn sample(&mut self) {
        let cut = self.links.iter().filter(|link| link.cuts > 0).flat_map(|link| {
            let [a, b] = link.ends;
            [(a, b), (b, a)]
        });
        let sample = Sample { at_ms: ms(self.now), lag: self.lag(), bytes: self.carried.clone(), cut: cut.collect() };
        self.samples.push(sample);
    }

    /// Some nodes in full: the authors first, then others.
    fn see(&mut self, most: usize) -> Vec<NodeContent> {
        let mut chosen: BTreeSet<NodeNo> = (0..self.peers.len().min(most / 2)).collect();
        while chosen.len() < most.min(self.peers.len()) {
            chosen.insert(self.dice.index(self.peers.len()));
        }
        let mut seen = Vec::new();
        for no in chosen {
            let peer = &self.peers[no];
            let Some(engine) = &peer.engine else { continue };
            let Ok(memories) = inspect::memories(&peer.tables, peer.key.did(), engine.members().clone()) else {
                continue;
            };
            let view =
                memories.into_iter().map(|memory| (memory.id.to_string(), inspect::digest_of(&memory))).collect();
            let frontier = self.frontier(no);
            seen.push(NodeContent {
                node: no,
                life: peer.life,
                frontier,
                view,
                answers: BTreeSet::new(),
                former: BTreeSet::new(),
                members: BTreeSet::new(),
                tasks: BTreeMap::new(),
                approvals: BTreeMap::new(),
                persons: BTreeMap::new(),
                blobs: None,
                documents: BTreeMap::new(),
                hits: None,
                erased: BTreeSet::new(),
                warnings: Vec::new(),
            });
        }
        seen
    }

    fn look(&self, checks: &mut [Box<dyn invariants::Invariant>], seen: &[NodeContent], last: bool) {
        let moment = Moment {
            at: self.now,
            seen,
            ledger: &self.ledger,
            outsiders: Outsiders::default(),
            load: Load::default(),
            panics: &[],
            last,
        };
        for check in checks {
            check.look(&moment);
        }
    }
}

impl RunOutcome {
    fn without_error(self) -> Self {
        Self { error: None, ..self }
    }
}
