//! The derived tables are a function of the set of entries held, for every order of arrival.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use nexus_crdt::{
    ALL_LEAVES, Confirmation, Content, Core, DocumentPart, Dot, Draft as EntryDraft, EntryId, Erase, Erased, Evidence,
    Field, Fold, FormError, Head, Hlc, Incarnation, Kind, LogId, Pin, PlacedTaskEvent, Priority, Profile, ReturnCause,
    Revocation, Revoked, Seat, Settlement, SpaceDefinition, SpaceId, Submission, Succession, Target, TaskAttachment,
    TaskClaim, TaskEnd, TaskEvent, TaskReturn, TaskToken, TaskVerb, TaskWord, Verified, Was, Write, Writes,
    document_leaves, document_of, task_events_of, writes_of,
};
use nexus_identity::{Did, Keypair, Role, Timestamp};
use proptest::prelude::*;

use super::genesis;
use crate::engine::{Engine, Event, Input, Keeper, clear_derived, derived_stands, run_to_store};
use crate::ledger::rows::{self, Standing};
use crate::ledger::{self, found};
use crate::replication::tests::{Dice, ROOT, chain, mesh};
use crate::store::{Batch, KeyRange, Order, StoreError, Table, TableChange, View, Visit};

fn key(n: u8) -> Keypair {
    Keypair::from_seed(&[n; 32])
}

/// Tables in memory, to compare, and how often an entry was read.
#[derive(Clone, Debug, Default)]
struct Tables(BTreeMap<(Table, Vec<u8>), Vec<u8>>, Cell<usize>);

impl PartialEq for Tables {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

impl Tables {
    fn apply(&mut self, batch: &Batch) {
        for change in batch.changes() {
            match change {
                TableChange::Put { table, key, value } => {
                    self.0.insert((table, key.to_vec()), value.to_vec());
                }
                TableChange::Delete { table, key } => {
                    self.0.remove(&(table, key.to_vec()));
                }
                TableChange::Clear { table } => self.0.retain(|(of, _), _| *of != table),
            }
        }
    }

    /// The same tables, with the derived ones rebuilt in steps of `some` entries.
    fn rebuilt(&self, some: usize) -> Self {
        let mut tables = self.clone();
        tables.apply(&clear_derived(&mesh()));
        let mut engine = Engine::open(key(0), &tables).unwrap();
        let enos: Vec<u64> = (1..=ledger::last_eno(self).unwrap()).collect();
        for enos in enos.chunks(some) {
            let batch = engine.settle_again(enos, &tables).unwrap();
            tables.apply(&batch);
        }
        tables.apply(&derived_stands());
        tables
    }

    /// The rows that only one of two has.
    fn differing(&self, other: &Self) -> Vec<(Table, Vec<u8>, bool)> {
        let rows = |one: &Self, other: &Self, here| {
            let rows = one.0.iter().filter(|(key, value)| other.0.get(key) != Some(value));
            rows.map(|((table, key), _)| (*table, key.clone(), here)).collect::<Vec<_>>()
        };
        [rows(self, other, true), rows(other, self, false)].concat()
    }

    /// The keys of a table.
    fn keys(&self, table: Table) -> impl Iterator<Item = &[u8]> {
        self.0.keys().filter(move |(of, _)| *of == table).map(|(_, key)| key.as_slice())
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
        self.1.set(self.1.get() + usize::from(table == Table::Entries));
        Ok(self.0.get(&(table, key.to_vec())).cloned())
    }

    fn scan(&self, table: Table, range: KeyRange<'_>, order: Order, visit: &mut Visit<'_>) -> Result<(), StoreError> {
        let within = |key: &[u8]| {
            let from = match range.0 {
                Bound::Included(start) => key >= start,
                Bound::Excluded(start) => key > start,
                Bound::Unbounded => true,
            };
            let to = match range.1 {
                Bound::Included(end) => key <= end,
                Bound::Excluded(end) => key < end,
                Bound::Unbounded => true,
            };
            from && to
        };
        let from = (table, Vec::new());
        let rows = self.0.range(from..).take_while(|((of, _), _)| *of == table).filter(|((_, key), _)| within(key));
        let mut rows: Vec<_> = rows.collect();
        if order == Order::Backward {
            rows.reverse();
        }
        let _ = rows.into_iter().try_for_each(|((_, key), value)| visit(key, value));
        Ok(())
    }
}

/// One node, with entries handed to it one by one.
struct Node {
    engine: Engine,
    tables: Tables,
}

impl Node {
    /// Whether what is derived equals a rebuild in steps of `some` entries.
    fn check_rebuilt(&self, some: usize) {
        let rebuilt = self.tables.rebuilt(some);
        assert_eq!(self.tables.differing(&rebuilt), []);
    }

    fn new() -> Self {
        let mut tables = Tables::default();
        tables.apply(&found(&genesis()));
        let engine = Engine::open(key(0), &tables).unwrap();
        let mut node = Self { engine, tables };
        node.restart();
        node
    }

    fn take(&mut self, input: Input) -> Vec<Event> {
        run_to_store(&mut self.engine, &mut self.tables, (Timestamp::from_ms(1), [7; 32]), input).unwrap().events
    }

    fn entries(&mut self, entries: Vec<Verified>) -> Vec<Event> {
        self.take(Input::Entries { from: key(1).did(), entries })
    }

    /// Restarts the node and shows it the same members at the gate.
    fn restart(&mut self) {
        self.engine = Engine::open(key(0), &self.tables).unwrap();
        for n in 0..4 {
            self.take(Input::Chain(chain(n)));
        }
    }

    /// Compares the state in memory with the state that a restart would read.
    fn check_memory(&mut self) {
        let members = self.engine.members().clone();
        let held =
            |engine: &Engine| format!("{:?} {:?} {:?}", engine.state.logs, engine.state.spaces, engine.state.usage);
        let before = held(&self.engine);
        self.restart();
        assert_eq!(*self.engine.members(), members);
        assert_eq!(held(&self.engine), before);
    }

    /// The visible state, in names that are the same on every node.
    fn shown(&self) -> Shown {
        let view: &dyn View = &self.tables;
        let spaces = ledger::read_spaces(view).unwrap();
        // of former members nodes hold more or less, by the time at which they knew
        let revokes = self.engine.members().has_ends();
        let names: BTreeMap<u32, SpaceId> = spaces.iter().map(|(id, row)| (row.no, *id)).collect();
        let mut shown = Shown::default();
        for (id, row) in &spaces {
            let open = !row.cut && self.engine.members().is_open(&row.rule(*id));
            let held = (!revokes).then_some((row.entries, row.bytes));
            shown.spaces.insert(*id, (row.name.to_string(), open, row.records, held));
        }
        for (did, member) in self.engine.members().iter() {
            shown.members.insert(*did, member.name().map(ToString::to_string));
        }
        shown.former.extend(self.engine.members().former().map(|(did, former)| (*did, former.revoked)));
        let seats = (0..4).flat_map(|n| (0..8).map(move |draw| (n, draw)));
        shown.seats.extend(seats.filter(|(n, draw)| self.engine.members().has_seat(&seat(*n, *draw))));
        for key in self.tables.keys(Table::ByTime) {
            let at = rows::TimeKey::from_bytes(key).unwrap();
            let entry = ledger::entry_id_of(view, at.eno).unwrap().unwrap();
            assert!(shown.records.insert((names[&at.space], Dot { entry, index: at.index })));
        }
        for table in [Table::Live, Table::Past] {
            for key in self.tables.keys(table) {
                let space = names[&u32::from_be_bytes(key[..4].try_into().unwrap())];
                let record = Dot::from_bytes(&key[4..38]).unwrap();
                let (field, dot) = rows::read_write_key(key).unwrap();
                let value = view.get(table, key).unwrap().unwrap();
                let value = (!value.is_empty()).then(|| rows::decode::<rows::WriteRow>(table, &value).unwrap().value);
                shown.writes.insert((table, space, record, field, dot), value);
            }
        }
        let of_tasks = [
            Table::Tasks,
            Table::TaskTimes,
            Table::TasksOpen,
            Table::TasksNoted,
            Table::TasksMoving,
            Table::TaskEvents,
            Table::TaskRequests,
            Table::BlobRefs,
        ];
        let by_number = [Table::Tasks, Table::TaskTimes, Table::TasksOpen, Table::TasksNoted];
        for table in of_tasks {
            for key in self.tables.keys(table) {
                let mut name = key.to_vec();
                if by_number.contains(&table) {
                    // an entry has another number in each order of arrival
                    let (eno, index) = key[key.len() - 10..].split_at(8);
                    let entry = ledger::entry_id_of(view, rows::read_eno(table, eno).unwrap()).unwrap().unwrap();
                    name.splice(key.len() - 10..key.len() - 2, *entry.as_bytes());
                    assert!(name.ends_with(index));
                }
                let mut value = view.get(table, key).unwrap().unwrap();
                if table == Table::Tasks {
                    let row: rows::TaskRow = rows::decode(table, &value).unwrap();
                    value = format!("{:?} {:?}", names[&row.space], rows::TaskRow { space: 0, ..row }).into_bytes();
                }
                shown.tasks.insert((table, name), value);
            }
        }
        shown.lookups = self.tables.keys(Table::Keys).chain(self.tables.keys(Table::Was)).count();
        for (_, log, held) in ledger::read_held(view).unwrap() {
            let members = self.engine.members();
            let reach = members.reach_of(&log, held.cut);
            let pin = members.pin_of(&log).filter(|pin| ledger::holds(view, &log, pin).unwrap());
            let last = match pin {
                _ if !members.has_verdict(&log.author) || log.space == SpaceId::mesh(&mesh()) => {
                    Some((held.head.seq, Some(held.head.id)))
                }
                Some(pin) => Some((pin.seq, Some(pin.id))),
                None => reach.below.min(held.head.seq + 1).checked_sub(1).map(|seq| (seq, None)),
            };
            shown.heads.extend(last.map(|last| (log, last)));
        }
        shown
    }
}

/// Its name, whether it is open, the number of its records, and the number and bytes of its entries.
type ShownSpace = (String, bool, u64, Option<(u64, u64)>);

/// The visible state of a node; see [`Node::shown`].
#[derive(Debug, Default, PartialEq)]
struct Shown {
    heads: BTreeMap<LogId, (u64, Option<EntryId>)>,
    spaces: BTreeMap<SpaceId, ShownSpace>,
    members: BTreeMap<Did, Option<String>>,
    former: BTreeMap<Did, Revoked>,
    seats: BTreeSet<(u64, u64)>,
    records: BTreeSet<(SpaceId, Dot)>,
    writes: BTreeMap<(Table, SpaceId, Dot, Field, Dot), Option<String>>,
    tasks: BTreeMap<(Table, Vec<u8>), Vec<u8>>,
    lookups: usize,
}

/// A seat of a member with a draw.
fn seat(n: u64, draw: u64) -> Seat {
    Seat::new(0, 7, key(u8::try_from(n).unwrap()).did(), draw)
}

fn entry(log: LogId, after: Option<&Verified>, kind: Kind, payload: impl Into<Content>, stamp: u64) -> Verified {
    let n = (0..4).find(|n| key(*n).did() == log.author).unwrap();
    let after = after.map(head);
    let draft = EntryDraft {
        mesh: mesh(),
        log,
        after: after.as_ref(),
        hlc: Hlc(stamp),
        kind,
        refs: vec![],
        payload: payload.into(),
    };
    Verified::write(draft, &key(n))
}

fn head(entry: &Verified) -> Head {
    Head { seq: entry.header().seq, id: entry.id() }
}

fn core(text: &str, caller_key: Option<String>) -> Write {
    // some are copies, each of its own former record or of one that another is a copy of, too
    let was = text.len().is_multiple_of(2).then(|| Was::new(&text[..text.len() / 2], "somebody", 1));
    // and some supersede one by such an id
    let supersedes = text.len().is_multiple_of(3).then(|| text[..text.len() / 2].to_owned());
    let of =
        Core { text: text.to_owned(), kind: "note".to_owned(), key: caller_key, was, supersedes, ..Core::default() };
    let value = of.to_json();
    Write { target: Target::Create { page: 0 }, field: Field::named(Field::CORE), value, over: vec![] }
}

/// Entries of some members: branches, edits of one another's records, and many hostile ones.
struct Universe {
    dice: Dice,
    entries: Vec<Verified>,
    /// Writes with their space and field.
    dots: Vec<Dot>,
    /// Submitted tasks, and the author of the log that grows.
    tasks: Vec<(Did, Dot)>,
    author: Did,
    stamp: u64,
    /// Whether memberships end.
    revokes: bool,
}

impl Universe {
    fn new(seed: u64) -> Self {
        let (dice, author) = (Dice::new(seed), key(0).did());
        let mut universe =
            Self { dice, entries: vec![], dots: vec![], tasks: vec![], author, stamp: 0, revokes: false };
        universe.revokes = universe.dice.roll(2) == 0;
        let log = |n: u8, space| LogId { space, author: key(n).did(), incarnation: Incarnation([n; 8]) };
        // first, so that revocations pin some of these
        for n in 0..4 {
            let from = universe.entries.len();
            universe.grow(log(n, SpaceId::default_of(&mesh())), from, 12);
        }
        let mut spaces = Vec::new();
        for n in 0..4 {
            let introduction = entry(log(n, SpaceId::mesh(&mesh())), None, Kind::CREDENTIAL, chain(n).to_bytes(), 1);
            let from = universe.entries.len();
            universe.entries.push(introduction);
            universe.grow(log(n, SpaceId::mesh(&mesh())), from, 5);
            let made = universe.entries[from..].iter().filter(|entry| entry.header().kind == Kind::SPACE);
            spaces.extend(made.map(|entry| SpaceId::created_by(entry.id())));
        }
        for space in spaces {
            for n in 0..4 {
                if universe.dice.roll(2) == 0 {
                    let from = universe.entries.len();
                    universe.grow(log(n, space), from, 4);
                }
            }
        }
        universe
    }

    fn pick(&mut self, len: usize) -> usize {
        usize::try_from(self.dice.roll(len as u64)).unwrap()
    }

    /// Adds entries to a log, most of them after its last entry, some after an earlier one.
    fn grow(&mut self, log: LogId, from: usize, most: u64) {
        self.author = log.author;
        for _ in 0..=self.dice.roll(most) {
            self.stamp += 1;
            let held = self.entries.len() - from;
            let after = match self.dice.roll(8) {
                _ if held == 0 => None,
                0 => Some(self.pick(held)),
                // a log that begins twice
                1 if self.dice.roll(8) == 0 => None,
                _ => Some(held - 1),
            };
            let (kind, payload) = self.payload(log.space == SpaceId::mesh(&mesh()));
            let after = after.map(|at| self.entries[from + at].clone());
            let entry = entry(log, after.as_ref(), kind, payload, self.stamp);
            self.dots.extend((0..3).map(|index| Dot { entry: entry.id(), index }));
            for PlacedTaskEvent { index, event } in task_events_of(&entry).unwrap_or_default() {
                if matches!(event, TaskEvent::Submitted(_)) {
                    self.tasks.push((log.author, Dot { entry: entry.id(), index }));
                }
            }
            self.entries.push(entry);
        }
    }

    /// A task of which something is said: most often one that the author of the log submitted.
    fn task(&mut self) -> Dot {
        let own: Vec<Dot> =
            self.tasks.iter().filter(|(author, _)| *author == self.author).map(|(_, task)| *task).collect();
        if own.is_empty() || self.dice.roll(3) == 0 { self.dot(self.dots.len()) } else { own[self.pick(own.len())] }
    }

    /// A payload in either format.
    fn payload(&mut self, in_mesh_space: bool) -> (Kind, Content) {
        if in_mesh_space || self.dice.roll(2) == 0 {
            let (kind, payload) = self.whole(in_mesh_space);
            return (kind, Content::Whole(payload));
        }
        if self.dice.roll(8) == 0 {
            let event = TaskEvent::decode(&self.task_event());
            let leaves = event.map_or_else(|_| vec![vec![0, 1], vec![0]], TaskEvent::into_leaves).into_iter();
            return (Kind::TASKS_APART, Content::Parts(leaves.map(|leaf| ([4; 16], leaf)).collect()));
        }
        if self.dice.roll(4) == 0 {
            let parts = (0..=self.dice.roll(3)).map(|n| ([u8::try_from(n).unwrap(); 16], self.task_event()));
            return (Kind::TASKS, Content::Parts(parts.collect()));
        }
        if self.dice.roll(8) == 0 {
            let leaves = self.document().into_iter();
            return (Kind::DOCUMENT, Content::Parts(leaves.map(|leaf| ([3; 16], leaf)).collect()));
        }
        let parts = (0..=self.dice.roll(3)).map(|n| {
            let part = if self.dice.roll(16) == 0 { b"no write".to_vec() } else { self.write().encode() };
            ([u8::try_from(n).unwrap(); 16], part)
        });
        (Kind::WRITES, Content::Parts(parts.collect()))
    }

    /// Words about one of few documents: a key of it, and what may be a change. Some break a rule of form.
    fn document(&mut self) -> Vec<Vec<u8>> {
        let document = [u8::try_from(self.dice.roll(3)).unwrap(); 16];
        let key = ["plan", "notes", "", "line\nline"][usize::try_from(self.dice.roll(4)).unwrap()].to_owned();
        let named = DocumentPart::Key { generation: self.dice.roll(3), key };
        let change = DocumentPart::Change { hash: [7; 32], bytes: vec![1; 40] };
        document_leaves(document, &[named, change])
    }

    fn whole(&mut self, in_mesh_space: bool) -> (Kind, Vec<u8>) {
        let name = || format!("n{}", self.stamp).parse().unwrap();
        if in_mesh_space && self.dice.roll(8) == 0 {
            return (Kind::EVIDENCE, self.evidence());
        }
        if in_mesh_space && !self.dots.is_empty() {
            match self.dice.roll(8) {
                0..=2 => return (Kind::ERASE, self.erasure()),
                3 => return (Kind::CONFIRMATION, self.confirmation()),
                _ => {}
            }
        }
        match self.dice.roll(12) {
            0 if in_mesh_space => (Kind::ERASE, b"no erasure".to_vec()),
            0 => (Kind::WRITES, b"no writes".to_vec()),
            1 => (Kind(4_000), b"of a later version".to_vec()),
            2 if in_mesh_space => (Kind::CREDENTIAL, b"no chain".to_vec()),
            3 if in_mesh_space && self.revokes => (Kind::REVOCATION, self.revocation().encode()),
            5 if in_mesh_space && self.revokes => (Kind::SUCCESSION, self.succession().encode()),
            4 if in_mesh_space => (Kind::SEAT, seat(self.dice.roll(4), self.stamp % 8).encode()),
            3..=5 if in_mesh_space => {
                (Kind::SPACE, SpaceDefinition { name: name(), access: 0, salt: [0; 16] }.encode())
            }
            _ if in_mesh_space => (Kind::PROFILE, Profile { name: name() }.encode()),
            _ => {
                let writes = (0..=self.dice.roll(3)).map(|_| self.write()).collect();
                (Kind::WRITES, Writes(writes).encode())
            }
        }
    }

    /// An input or an output, some of them in one of few blobs.
    fn json(&mut self) -> String {
        match u8::try_from(self.dice.roll(6)).unwrap() {
            blob @ ..=2 => TaskAttachment::stand_in(&[blob; 32], "[1, 2, 3]"),
            _ => "1".to_owned(),
        }
    }

    /// An event of a task: of one of few, which may be none, by whoever writes it.
    fn task_event(&mut self) -> Vec<u8> {
        let token = TaskToken::from_bytes([u8::try_from(self.dice.roll(3)).unwrap(); 16]);
        let submits = self.dots.is_empty() || self.dice.roll(3) == 0;
        let (task, ownership) = (if submits { None } else { Some(self.task()) }, self.dice.roll(5) / 4);
        let ownership = u32::try_from(ownership).unwrap();
        let (agent, error, more) = (String::new(), String::new(), String::new());
        let event = match (task, self.dice.roll(5)) {
            (_, 4) if self.dice.roll(8) == 0 => return b"\xffof a later version".to_vec(),
            (None, _) => {
                let request = if self.dice.roll(2) == 0 { String::new() } else { format!("r{}", self.dice.roll(3)) };
                let priority = Priority::ALL[self.pick(4)];
                let heirs = if self.dice.roll(2) == 0 { vec![] } else { vec![key(1).did(), key(2).did()] };
                let needs_approval = self.dice.roll(2) == 0;
                let submission = Submission { request, priority, needs_approval, ..Submission::new("a", self.json()) };
                TaskEvent::Submitted(Box::new(submission.with_heirs(&heirs)))
            }
            (Some(task), 0) => {
                let (attempt, worker) = (1, key(1).did());
                TaskEvent::Claimed(TaskClaim { task, ownership, attempt, token, worker, agent })
            }
            (Some(task), 1) => {
                let cause = ReturnCause::Failed;
                TaskEvent::Returned(TaskReturn { task, ownership, token, cause, error })
            }
            (Some(task), 2) => TaskEvent::Word(TaskWord { task, verb: TaskVerb::Cancel, why: error }),
            (Some(task), _) => {
                let (token, outcome) = (Some(token), TaskEnd::ALL[self.pick(6)]);
                let (output, code) = (self.json(), String::new());
                let settled = Settlement { task, ownership, token, outcome, output, code, error, more };
                TaskEvent::Settled(Box::new(settled))
            }
        };
        event.encode()
    }

    /// The evidence of a fork, some of forks that no entry shows.
    fn evidence(&mut self) -> Vec<u8> {
        for _ in 0..20 {
            let (one, other) = (self.pick(self.entries.len()), self.pick(self.entries.len()));
            let (one, mut other) = (self.entries[one].clone(), self.entries[other].clone());
            if self.dice.roll(8) == 0 {
                let before = Head { seq: one.header().seq, id: EntryId::of(b"not here") };
                let (log, kind, hlc) = (one.header().log(), Kind::WRITES, Hlc(1));
                let payload = Content::Whole(vec![]);
                let after = Some(&before);
                let draft = EntryDraft { mesh: mesh(), log, after, hlc, kind, refs: vec![], payload };
                let author = (0..4).find(|n| key(*n).did() == log.author).unwrap();
                other = Verified::write(draft, &key(author));
            }
            if let Some(evidence) = Evidence::of(&one, &other) {
                return evidence.encode();
            }
        }
        b"no evidence".to_vec()
    }

    /// A key of a member in the place of another one's.
    fn succession(&mut self) -> Succession {
        let former = u8::try_from(1 + self.dice.roll(3)).unwrap();
        let member = 1 + (former + u8::try_from(self.dice.roll(2)).unwrap()) % 3;
        let pins = self.pins(former);
        Succession::new(&mesh(), &key(former), &key(member), pins)
    }

    /// A revocation by the entry's author or, now and then, by the root.
    fn revocation(&mut self) -> Revocation {
        let n = u8::try_from(1 + self.dice.roll(3)).unwrap();
        let pins = self.pins(n);
        let revocation = Revocation::new(key(n).did(), pins);
        if self.dice.roll(8) == 0 { revocation.by_root(&key(ROOT)) } else { revocation }
    }

    /// Pins of a member's logs.
    fn pins(&mut self, n: u8) -> Vec<Pin> {
        let spaces = [SpaceId::mesh(&mesh()), SpaceId::default_of(&mesh())];
        let mut pins = Vec::new();
        for space in spaces {
            let log = LogId { space, author: key(n).did(), incarnation: Incarnation([n; 8]) };
            let held: Vec<Head> = self.entries.iter().filter(|entry| entry.header().log() == log).map(head).collect();
            // an entry that nobody has, or any of either branch
            let last = match self.dice.roll(9) {
                // of another log
                8 if !self.entries.is_empty() => {
                    let at = self.pick(self.entries.len());
                    head(&self.entries[at])
                }
                0 => continue,
                1 => Head { seq: self.dice.roll(8), id: EntryId::ZERO },
                _ if held.is_empty() => continue,
                _ => held[self.pick(held.len())],
            };
            pins.push(Pin { space, incarnation: log.incarnation, last });
        }
        pins
    }

    fn write(&mut self) -> Write {
        if self.dots.is_empty() || self.dice.roll(3) == 0 {
            let caller_key = (self.dice.roll(3) == 0).then(|| format!("key {}", self.dice.roll(3)));
            return core(&format!("text {}", self.stamp), caller_key);
        }
        // few records, so many writes go to one
        let few = self.dots.len().min(12);
        let record = self.dot(few);
        let over: BTreeSet<Dot> = (0..self.dice.roll(4)).map(|_| self.dot(self.dots.len())).collect();
        let (field, value) = match self.dice.roll(5) {
            0 => (Field::GONE, "true".to_owned()),
            1 => ("mood", format!("\"{}\"", self.stamp)),
            _ => (Field::TEXT, format!("\"{}\"", self.stamp)),
        };
        Write { target: Target::Edit { record }, field: Field::named(field), value, over: over.into_iter().collect() }
    }

    /// Some leaves to erase, of entries that may be here or not, by authors that may do so or not.
    fn erasure(&mut self) -> Vec<u8> {
        let mut leaves = vec![(EntryId::of(b"not here"), 1)];
        for _ in 0..self.dice.roll(12) {
            let dot = self.dot(self.dots.len());
            leaves.push((dot.entry, if self.dice.roll(4) == 0 { ALL_LEAVES } else { dot.index }));
        }
        Erase::of(leaves).unwrap().encode()
    }

    /// Some erasures that are confirmed, and other entries.
    fn confirmation(&mut self) -> Vec<u8> {
        let entries: Vec<EntryId> = (0..4)
            .map(|_| self.pick(self.entries.len()))
            .collect::<Vec<_>>()
            .iter()
            .map(|at| self.entries[*at].id())
            .collect();
        let state = if self.dice.roll(2) == 0 { Erased::Hidden } else { Erased::Gone };
        Confirmation::of(state, entries).unwrap().encode()
    }

    /// One of the first dots.
    fn dot(&mut self, of: usize) -> Dot {
        let at = self.pick(of);
        self.dots[at]
    }

    /// Some entries, in random order.
    fn some(&mut self) -> Vec<Verified> {
        let places: Vec<usize> = (0..=self.dice.roll(6)).map(|_| self.pick(self.entries.len())).collect();
        places.into_iter().map(|at| self.entries[at].clone()).collect()
    }

    /// The same from a peer that emptied some of them, whether it may or not.
    fn some_emptied(&mut self) -> Vec<Verified> {
        let some = self.some().into_iter();
        some.map(|entry| match self.dice.roll(4) {
            0 => entry.without(ALL_LEAVES),
            leaf @ 1..3 => entry.without(u16::try_from(leaf).unwrap() - 1),
            _ => entry,
        })
        .collect()
    }
}

/// Compares a node with the rules in their plainest reading.
fn check_against_the_rules(node: &Node) {
    let view: &dyn View = &node.tables;
    let mut held: BTreeMap<LogId, Vec<(u64, Verified)>> = BTreeMap::new();
    for eno in 1..=ledger::last_eno(view).unwrap() {
        let entry = ledger::read_entry(view, eno).unwrap().unwrap();
        held.entry(entry.header().log()).or_default().push((eno, entry));
    }
    let mut folds: BTreeMap<SpaceId, Fold> = BTreeMap::new();
    let mut proven: BTreeMap<LogId, u64> = BTreeMap::new();
    for (_, entry) in held.values().flatten().filter(|(_, entry)| entry.header().kind == Kind::EVIDENCE) {
        if let Ok(evidence) = Evidence::decode(entry.content().unwrap()) {
            let lowest = proven.entry(evidence.log()).or_insert(u64::MAX);
            *lowest = evidence.cut().min(*lowest);
        }
    }
    let mut counting = BTreeSet::new();
    for (log, entries) in &held {
        let mut seqs: Vec<u64> = entries.iter().map(|(_, entry)| entry.header().seq).collect();
        seqs.sort_unstable();
        let forked = seqs.windows(2).find(|pair| pair[0] == pair[1]).map(|pair| pair[0]);
        let forked = forked.into_iter().chain(proven.get(log).copied()).min();
        let reach = node.engine.members().reach_of(log, forked);
        let mut on_branch: BTreeSet<EntryId> = BTreeSet::new();
        let mut next = reach.branch.map(|last| last.id);
        while let Some(id) = next {
            let entry = entries.iter().find(|(_, entry)| entry.id() == id).map(|(_, entry)| entry);
            on_branch.extend(entry.map(|entry| entry.id()));
            next = entry.map(|entry| entry.header().prev);
        }
        for (eno, entry) in entries {
            let header = entry.header();
            let standing = ledger::standing(view, *eno).unwrap();
            let in_mesh_space = header.space == SpaceId::mesh(&mesh());
            let counts_anywhere =
                [Kind::CREDENTIAL, Kind::REVOCATION, Kind::SEAT, Kind::SUCCESSION, Kind::EVIDENCE, Kind::CONFIRMATION]
                    .contains(&header.kind);
            let counts = header.seq < reach.below || on_branch.contains(&entry.id());
            counting.extend(counts.then_some(entry.id()));
            if !(counts || in_mesh_space && counts_anywhere) {
                assert_eq!(standing, Standing::Cut);
            } else if header.kind == Kind::WRITES && !in_mesh_space {
                match writes_of(entry) {
                    Err(FormError::Absent) => assert_eq!(standing, Standing::Erased),
                    Ok(writes) if writes.is_empty() => assert_eq!(standing, Standing::Erased),
                    Ok(writes) => folds.entry(header.space).or_default().insert_placed(entry.id(), &writes),
                    Err(_) => assert_eq!(standing, Standing::Quarantined),
                }
            } else {
                assert_ne!(standing, Standing::Cut);
            }
        }
    }
    check_what_is_erased(node, &held, &counting);
    let shown = node.shown();
    let records: BTreeSet<(SpaceId, Dot)> =
        folds.iter().flat_map(|(space, fold)| fold.records().map(|record| (*space, record))).collect();
    assert_eq!(shown.records, records);
    for (space, (_, _, count, _)) in &shown.spaces {
        assert_eq!(*count, records.iter().filter(|(of, _)| of == space).count() as u64);
    }
    for (space, record) in records {
        for (field, live) in folds[&space].fields(record).into_iter().filter(|(field, _)| field.as_str() != Field::CORE)
        {
            let expected: BTreeSet<Dot> = live.into_iter().map(|live| live.dot).collect();
            let of_field = |(table, of, about, named, _): &&(Table, SpaceId, Dot, Field, Dot)| {
                (*table, *of, *about, named) == (Table::Live, space, record, &field)
            };
            let found = shown.writes.keys().filter(of_field).map(|(.., dot)| *dot).collect();
            assert_eq!(expected, found, "{field:?} of {record}");
        }
    }
}

/// Whether each entry lacks what words that count erase by somebody who may, and nothing else.
fn check_what_is_erased(node: &Node, held: &BTreeMap<LogId, Vec<(u64, Verified)>>, counting: &BTreeSet<EntryId>) {
    let members = node.engine.members();
    let mut named: BTreeMap<EntryId, Vec<(Did, u16)>> = BTreeMap::new();
    for (_, entry) in held.values().flatten().filter(|(_, entry)| counting.contains(&entry.id())) {
        let in_mesh_space = entry.header().space == SpaceId::mesh(&mesh());
        if let (Kind::ERASE, true, Ok(Ok(erase))) =
            (entry.header().kind, in_mesh_space, entry.content().map(Erase::decode))
        {
            for (id, leaf) in erase.leaves() {
                named.entry(*id).or_default().push((entry.header().author, *leaf));
            }
        }
    }
    let mut documents: BTreeMap<(SpaceId, [u8; 16]), (bool, bool, bool)> = BTreeMap::new();
    for (_, entry) in held.values().flatten().filter(|(_, entry)| entry.header().kind == Kind::DOCUMENT) {
        let Ok(said) = document_of(entry) else { continue };
        let by_admin = |(eraser, _): &(Did, u16)| members.allowed_once(eraser, Role::Admin);
        let lacks = !said.erased.is_empty();
        let (left, erased, admin) = documents.entry((entry.header().space, said.document)).or_default();
        *left |= said.has_changes();
        *erased |= lacks;
        *admin |= lacks && named.get(&entry.id()).into_iter().flatten().any(by_admin);
    }
    for ((space, document), (left, erased, admin)) in documents {
        let Some(space) = ledger::find_space(&node.tables, space).unwrap() else { continue };
        let found = ledger::is_document_erased(&node.tables, space.no, &document).unwrap();
        assert_eq!(found, admin || erased && !left, "{document:?}");
    }
    for (eno, entry) in held.values().flatten() {
        let by = |eraser: &Did| {
            members.allowed_once(eraser, Role::Admin) || members.same_line(eraser, &entry.header().author)
        };
        let words = named.get(&entry.id()).into_iter().flatten();
        let leaves: Vec<u16> = words.filter(|(eraser, _)| by(eraser)).map(|(_, leaf)| *leaf).collect();
        assert_eq!(entry.lacks(), entry.losing(&leaves), "{:?} {:?}", entry.header().kind, entry.id());
        assert!(!node.tables.0.contains_key(&(Table::Lacking, rows::eno_key(*eno).to_vec())));
    }
}

/// Hands over all entries until nothing changes.
fn hand_over_all(node: &mut Node, universe: &Universe) {
    loop {
        let before = node.engine.last_eno();
        node.entries(universe.entries.clone());
        node.restart();
        if node.engine.last_eno() == before {
            return;
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    /// promise: The engine | After every step of any delivery, what is derived equals a rebuild from nothing
    #[test]
    fn what_is_derived_equals_a_rebuild_after_every_step(seed in any::<u64>()) {
        let mut universe = Universe::new(seed);
        let mut node = Node::new();
        for step in 0..40 {
            let some = if step % 3 == 0 { universe.some_emptied() } else { universe.some() };
            node.entries(some);
            if universe.dice.roll(4) == 0 {
                node.check_memory();
            }
            node.check_rebuilt(1 + step % 7);
        }
        hand_over_all(&mut node, &universe);
        node.check_rebuilt(1_000);
        check_against_the_rules(&node);
    }

    /// promise: The engine | Nodes that hold the same show the same, whichever branch of a forked log came first
    #[test]
    fn nodes_that_hold_the_same_show_the_same_whatever_came_first(seed in any::<u64>()) {
        let mut universe = Universe::new(seed);
        let (mut one, mut other) = (Node::new(), Node::new());
        for _ in 0..20 {
            let some = universe.some_emptied();
            one.entries(some);
            let some = universe.some();
            other.entries(some);
        }
        hand_over_all(&mut one, &universe);
        hand_over_all(&mut other, &universe);
        check_against_the_rules(&other);
        let former = one.engine.members().has_ends();
        prop_assert!(former || one.engine.last_eno() == universe.entries.iter().map(|entry| entry.id()).collect::<BTreeSet<_>>().len() as u64);
        prop_assert_eq!(one.shown(), other.shown());
    }
}

/// A member's log in the default space.
fn log() -> LogId {
    LogId { space: SpaceId::default_of(&mesh()), author: key(1).did(), incarnation: Incarnation([7; 8]) }
}

fn writes(writes: Vec<Write>) -> Vec<u8> {
    Writes(writes).encode()
}

/// promise: Bad input | A second entry at a held seq cuts the log there, is kept within a bound, and is reported
#[test]
fn at_most_64_entries_of_a_log_stand_aside_whatever_is_restarted_in_between() {
    let mut node = Node::new();
    let first = entry(log(), None, Kind::WRITES, writes(vec![core("first", None)]), 1);
    node.entries(vec![first.clone()]);
    for n in 0..200 {
        node.entries(vec![entry(log(), None, Kind::WRITES, writes(vec![core(&format!("{n}"), None)]), 1)]);
        if n % 20 == 0 {
            node.restart();
        }
    }
    assert_eq!(node.engine.last_eno(), 65);
    // the longest branch goes on
    node.entries(vec![entry(log(), Some(&first), Kind::WRITES, writes(vec![core("second", None)]), 1)]);
    let head = ledger::read_logs(&node.tables).unwrap()[0].2.unwrap();
    assert_eq!((node.engine.last_eno(), head.seq), (66, 1));
}

#[test]
fn a_branch_is_kept_as_far_as_its_beginning_is_held() {
    let mut node = Node::new();
    let write = |text: &str| writes(vec![core(text, None)]);
    let a0 = entry(log(), None, Kind::WRITES, write("a0"), 1);
    let b0 = entry(log(), None, Kind::WRITES, write("b0"), 1);
    let b1 = entry(log(), Some(&b0), Kind::WRITES, write("b1"), 1);
    let b2 = entry(log(), Some(&b1), Kind::WRITES, write("b2"), 1);
    let events = node.entries(vec![a0, b1.clone()]);
    assert!(!events.iter().any(|event| matches!(event, Event::Fork { .. } | Event::Behind { .. })), "{events:?}");
    assert_eq!(node.engine.last_eno(), 1);
    let events = node.entries(vec![b0, b1, b2]);
    assert!(events.contains(&Event::Fork { log: log(), seq: 0 }));
    assert_eq!(node.engine.last_eno(), 4);
    assert!(node.shown().records.is_empty());
}

/// promise: The engine | The effects of a cut entry are undone
#[test]
fn what_a_cut_entry_overwrote_and_forgot_is_back_when_its_log_is_cut() {
    let mut node = Node::new();
    let others = LogId { author: key(2).did(), ..log() };
    let base =
        entry(others, None, Kind::WRITES, writes(vec![core("base", Some("k".to_owned())), core("beside", None)]), 1);
    let (record, beside) = (Dot { entry: base.id(), index: 0 }, Dot { entry: base.id(), index: 1 });
    let edit = |record, field: &str, value: &str, over| Write {
        target: Target::Edit { record },
        field: Field::named(field),
        value: value.to_owned(),
        over,
    };
    let text = entry(others, Some(&base), Kind::WRITES, writes(vec![edit(record, "text", "\"one\"", vec![])]), 2);
    node.entries(vec![base.clone(), text.clone()]);
    let before = node.shown();
    let over = vec![Dot { entry: text.id(), index: 0 }];
    let ours =
        writes(vec![edit(record, "text", "\"two\"", over), edit(beside, "gone", "true", vec![]), core("x", None)]);
    let first = entry(log(), None, Kind::WRITES, ours, 3);
    node.entries(vec![first.clone()]);
    let between = node.shown();
    assert_eq!(between.records.len(), 2, "one is gone, one is new");
    let second = entry(log(), None, Kind::WRITES, writes(vec![core("another first", None)]), 3);
    node.entries(vec![second]);
    let after = node.shown();
    assert_eq!((&after.records, &after.writes, after.lookups), (&before.records, &before.writes, before.lookups));
    // later entries of that log never count
    node.entries(vec![entry(log(), Some(&first), Kind::WRITES, writes(vec![core("later", None)]), 4)]);
    assert_eq!(node.shown().records, before.records);
}

/// promise: The engine | The effects of a cut entry are undone
#[test]
fn a_member_whose_log_is_cut_stays_one_and_goes_by_its_earlier_name() {
    let mut node = Node::new();
    let mesh_log = LogId { space: SpaceId::mesh(&mesh()), ..log() };
    let profile = |name: &str| Profile { name: name.parse().unwrap() }.encode();
    let first = entry(mesh_log, None, Kind::PROFILE, profile("early"), 1);
    let second = entry(mesh_log, Some(&first), Kind::PROFILE, profile("late"), 2);
    let chain_entry = entry(mesh_log, Some(&second), Kind::CREDENTIAL, chain(1).to_bytes(), 3);
    let space = SpaceDefinition { name: "plans".parse().unwrap(), access: 0, salt: [0; 16] }.encode();
    let defined = entry(mesh_log, Some(&chain_entry), Kind::SPACE, space, 4);
    let id = SpaceId::created_by(defined.id());
    node.entries(vec![first.clone(), second, chain_entry, defined]);
    assert_eq!(node.shown().members[&key(1).did()].as_deref(), Some("late"));
    assert!(node.shown().spaces[&id].1, "open");
    let in_space = LogId { space: id, ..log() };
    let written = entry(in_space, None, Kind::WRITES, writes(vec![core("a plan", None)]), 5);
    node.entries(vec![entry(mesh_log, Some(&first), Kind::PROFILE, profile("other"), 2)]);
    let shown = node.shown();
    assert_eq!(shown.members[&key(1).did()].as_deref(), Some("early"));
    assert!(!shown.spaces[&id].1, "not shown any more");
    // nodes that have not seen the fork send entries for it: refusing them would keep sync from ending
    node.entries(vec![written]);
    assert_eq!(node.shown().heads[&in_space].0, 0);
    node.restart();
    assert_eq!(node.shown().members[&key(1).did()].as_deref(), Some("early"));
}

/// promise: The engine | A fork costs no more than the entries that it cuts, however many logs its author has
#[test]
fn a_cut_profile_reads_none_of_the_other_logs_of_its_author() {
    let mut node = Node::new();
    let of = |n: u64| LogId { space: SpaceId::mesh(&mesh()), incarnation: Incarnation(n.to_be_bytes()), ..log() };
    let profile =
        |n: u64, name: &str| entry(of(n), None, Kind::PROFILE, Profile { name: name.parse().unwrap() }.encode(), n + 1);
    node.entries((0..60).map(|n| profile(n, &format!("name-{n}"))).collect());
    assert_eq!(node.shown().members[&key(1).did()].as_deref(), Some("name-59"));
    // the earlier half, then the later one
    for (from, name) in [(0, Some("name-59")), (30, None)] {
        node.tables.1.set(0);
        node.entries((from..from + 30).map(|n| profile(n, "another")).collect());
        let read = node.tables.1.get();
        assert!(read < 200, "{read} entries were read for 30 cuts");
        assert_eq!(node.shown().members[&key(1).did()].as_deref(), name.or(Some("node1")));
    }
    assert_eq!(node.tables, node.tables.rebuilt(7));
}

#[test]
fn every_table_that_is_derived_is_looked_at() {
    let mut filled = BTreeSet::new();
    let mut cuts = 0;
    for seed in 0..16 {
        let mut node = Node::new();
        hand_over_all(&mut node, &Universe::new(seed));
        filled.extend(node.tables.0.keys().map(|(table, _)| *table));
        cuts += node.tables.keys(Table::Cuts).count();
    }
    let empty: Vec<&Table> = Table::ALL.iter().filter(|table| table.derived() && !filled.contains(table)).collect();
    // all leaves came again; only this node's own entries fill the next ones, and the room of documents the last
    assert_eq!(empty, [&Table::Lacking, &Table::Again, &Table::KeptFor, &Table::SavedDocuments]);
    assert!(cuts > 8, "{cuts}");
}

/// promise: Revocations | A fork that somebody with a former member's key makes takes nothing away from what counts
#[test]
fn the_branch_that_a_revocation_pins_counts_whichever_came_first() {
    let introduction = entry(
        LogId { space: SpaceId::mesh(&mesh()), author: key(1).did(), incarnation: Incarnation([7; 8]) },
        None,
        Kind::CREDENTIAL,
        chain(1).to_bytes(),
        1,
    );
    let mut honest: Vec<Verified> = Vec::new();
    for n in 0..100 {
        honest.push(entry(log(), honest.last(), Kind::WRITES, writes(vec![core(&format!("honest {n}"), None)]), n));
    }
    // the thief's log is longer, and begins with other entries
    let mut forged: Vec<Verified> = honest[..10].to_vec();
    for n in 10..300 {
        forged.push(entry(log(), forged.last(), Kind::WRITES, writes(vec![core(&format!("forged {n}"), None)]), n));
    }
    let mesh_log = LogId { space: SpaceId::mesh(&mesh()), author: key(0).did(), incarnation: Incarnation([0; 8]) };
    let pin = Pin { space: log().space, incarnation: log().incarnation, last: head(&honest[79]) };
    let revocation = Revocation::new(key(1).did(), [pin]).by_root(&key(ROOT));
    let revocation = entry(mesh_log, None, Kind::REVOCATION, revocation.encode(), 1_000);
    let orders: [[&[Verified]; 3]; 5] = [
        [&honest, std::slice::from_ref(&revocation), &forged],
        [&forged, std::slice::from_ref(&revocation), &honest],
        [std::slice::from_ref(&revocation), &forged, &honest],
        [&honest, &forged, std::slice::from_ref(&revocation)],
        [&forged, &honest, std::slice::from_ref(&revocation)],
    ];
    for (n, order) in orders.into_iter().enumerate() {
        let mut node = Node::new();
        node.entries(vec![introduction.clone()]);
        // entries that had no room come again at the next comparison
        for entries in order.into_iter().chain([honest.as_slice()]) {
            node.entries(entries.to_vec());
        }
        check_against_the_rules(&node);
        assert_eq!(node.shown().records.len(), 80, "{n}");
        assert_eq!(node.tables, node.tables.rebuilt(7), "{n}");
        let restarted = node.engine.last_eno();
        node.restart();
        node.entries(forged.clone());
        assert_eq!((node.engine.last_eno(), node.shown().records.len()), (restarted, 80), "nothing more is taken");
    }
}
