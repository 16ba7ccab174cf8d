//! The engine over a disk that loses power: what was acknowledged or sent is there afterwards.

mod any_order;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

use nexus_crdt::{
    Core, Draft, EntryId, Fold, Head, Header, Hlc, Incarnation, Kind, LogId, Settlement, SpaceId, Submission,
    TaskClaim, TaskEnd, TaskEvent, TaskToken, Verified, Writes, writes_of,
};
use nexus_identity::{Keypair, Timestamp};

use super::*;
use crate::ledger::rows::{self, EntryRow, Standing};
use crate::ledger::{self, enos_of_log};
use crate::memory::read::Reader;
use crate::memory::{ListQuery, Memory};
use crate::replication::tests::{Dice, chain, mesh};
use crate::runtime::bring_up_to_date;
use crate::store::disk::{Disk, Fault};
use crate::store::{ALL_KEYS, Batch, Order, Overlay, Store, StoreError, StoreOptions, Table, TableChange};

const SMALL: StoreOptions = StoreOptions { cache_bytes: 64 << 10, verify_bytes_max: 64 << 20, segment_bytes: 0 };

fn key(n: u8) -> Keypair {
    Keypair::from_seed(&[n; 32])
}

fn genesis() -> Genesis {
    Genesis { mesh: mesh(), chain: chain(0), incarnation: Incarnation([0; 8]), store: [0; 8], fingerprint: None }
}

fn memories(engine: &Engine, store: &Store) -> Vec<Memory> {
    let snapshot = store.snapshot().unwrap();
    let members = engine.members().clone();
    let reader = Reader::new(&snapshot, [0; 8], key(0).did(), members, Timestamp::from_ms(0)).unwrap();
    let mut all = reader.list(&ListQuery { limit: 1_000, ..ListQuery::default() }).unwrap().items;
    all.sort_by_key(|memory| memory.id);
    all
}

/// The plain fold over the entries of a store, and the entry at each place of each log.
fn reference(store: &Store) -> (Fold, BTreeMap<(LogId, u64), EntryId>) {
    let snapshot = store.snapshot().unwrap();
    let (mut fold, mut places) = (Fold::default(), BTreeMap::new());
    snapshot
        .scan(Table::Entries, ALL_KEYS, Order::Forward, &mut |key, value| {
            let row: EntryRow = rows::decode(Table::Entries, value).unwrap();
            let eno = rows::read_eno(Table::Entries, key).unwrap();
            assert_eq!(ledger::standing(&snapshot, eno).unwrap(), Standing::Applied);
            let entry = row.into_entry(snapshot.get(Table::Payloads, key).unwrap()).unwrap();
            let header = entry.header();
            assert_eq!(places.insert((header.log(), header.seq), entry.id()), None, "one entry at each place");
            if header.kind == Kind::WRITES {
                fold.insert_placed(entry.id(), &writes_of(&entry).unwrap());
            }
            ControlFlow::Continue(())
        })
        .unwrap();
    (fold, places)
}

/// The knowledge of the world outside. All of it must still hold after a power loss.
#[derive(Default)]
struct Outside {
    /// Acknowledged memories by id, with all texts that may be there now.
    texts: BTreeMap<String, BTreeSet<String>>,
    forgotten: BTreeSet<String>,
    spaces: BTreeSet<SpaceId>,
    kept: BTreeSet<Vec<u8>>,
    sent: BTreeMap<(LogId, u64), EntryId>,
    /// Another member's log, in that member's own store.
    others: Vec<Verified>,
    losses: u32,
}

/// The promises of a running commit.
enum Promise {
    Remembered(String),
    Edited(String, String),
    Forgotten(String),
    Space,
    Kept(Vec<u8>),
}

/// One input on its way to the disk.
struct InFlight {
    batch: Option<Batch>,
    no: u64,
    promise: Option<Promise>,
    outcome: Option<Outcome>,
    published: Vec<(LogId, u64, EntryId)>,
}

/// The header of an entry that is in the batch of its input.
fn header_of(view: &dyn View, entry: EntryId) -> Header {
    let eno = ledger::find_entry(view, entry).unwrap().unwrap();
    ledger::read_entry(view, eno).unwrap().unwrap().header().clone()
}

struct Life<'a> {
    engine: Engine,
    overlay: Overlay,
    store: Store,
    outside: &'a mut Outside,
    dice: &'a mut Dice,
    flying: Vec<InFlight>,
    no: u64,
    clock_ms: u64,
}

impl Life<'_> {
    fn pick<'b>(dice: &mut Dice, from: impl ExactSizeIterator<Item = &'b String>) -> Option<String> {
        let len = from.len() as u64;
        if len == 0 { None } else { from.into_iter().nth(usize::try_from(dice.roll(len)).unwrap()).cloned() }
    }

    fn dot(&self, id: &str) -> Option<nexus_crdt::Dot> {
        let members = self.engine.members().clone();
        Reader::new(&self.overlay, [0; 8], key(0).did(), members, Timestamp::from_ms(0)).unwrap().resolve(id).ok()
    }

    fn input(&mut self, input: Input, promise: Option<Promise>) {
        self.no += 1;
        // the wall clock jumps freely
        self.clock_ms = match self.dice.roll(12) {
            0 => self.clock_ms + 3_600_000,
            1 => self.clock_ms.saturating_sub(3_600_000),
            _ => self.clock_ms + 5,
        };
        self.engine.handle(Timestamp::from_ms(self.clock_ms), [7; 32], input, &self.overlay).unwrap();
        let mut flying = InFlight { batch: None, no: self.no, promise, outcome: None, published: vec![] };
        while let Some(effect) = self.engine.poll_effect() {
            match effect {
                Effect::Write(batch) => {
                    self.overlay.push(self.no, &batch);
                    flying.batch = Some(batch);
                }
                Effect::Reply(_, outcome) => flying.outcome = Some(outcome),
                Effect::Publish(Published { entry, .. }) => {
                    let header = header_of(&self.overlay, entry);
                    flying.published.push((header.log(), header.seq, entry));
                }
                Effect::Emit(event) => {
                    assert!(!matches!(event, Event::Fork { .. } | Event::Quarantined { .. }), "{event:?}");
                }
            }
        }
        self.flying.push(flying);
    }

    fn something(&mut self) {
        let text = format!("text {}", self.dice.roll(1 << 40));
        match self.dice.roll(12) {
            0 | 1 => {
                let target = Self::pick(self.dice, self.outside.texts.keys());
                if let Some((id, record)) = target.and_then(|id| Some((id.clone(), self.dot(&id)?))) {
                    let edit = Edit { values: BTreeMap::from([("text", text.clone().into())]), ..Edit::default() };
                    // it may reach the disk without being acknowledged
                    self.outside.texts.get_mut(&id).unwrap().insert(text.clone());
                    self.command(Command::Edit { record, edit }, Some(Promise::Edited(id, text)));
                }
            }
            2 => {
                let target = Self::pick(self.dice, self.outside.texts.keys());
                if let Some((id, record)) = target.and_then(|id| Some((id.clone(), self.dot(&id)?))) {
                    // from here on it may be there or not, until it is acknowledged
                    self.outside.texts.remove(&id);
                    self.command(Command::Forget(record), Some(Promise::Forgotten(id)));
                }
            }
            3 if self.dice.roll(4) == 0 => {
                let name = format!("s{}", self.dice.roll(1 << 30)).parse().unwrap();
                self.command(Command::CreateSpace { name, salt: [7; 16] }, Some(Promise::Space));
            }
            4 => {
                let row = self.dice.roll(1 << 30).to_be_bytes().to_vec();
                let mut batch = Batch::new();
                batch.put(Table::Peers, &row, b"kept");
                self.command(Command::Keep(batch), Some(Promise::Kept(row)));
            }
            5 | 6 => self.receive(&text),
            _ => {
                let key = (self.dice.roll(3) == 0).then(|| format!("key {}", self.dice.roll(1 << 40)));
                let core = Core { text: text.clone(), kind: "note".to_owned(), key, ..Core::default() };
                let records = vec![NewRecord::whole(SpaceId::default_of(&mesh()), core)];
                self.command(Command::Remember(records), Some(Promise::Remembered(text)));
            }
        }
    }

    fn command(&mut self, command: Command, promise: Option<Promise>) {
        self.input(Input::Commands(vec![(0, command)]), promise);
    }

    /// Another member writes, and sends some of its log, old and new.
    fn receive(&mut self, text: &str) {
        let log = LogId { space: SpaceId::default_of(&mesh()), author: key(1).did(), incarnation: Incarnation([1; 8]) };
        let value = Core { text: text.to_owned(), kind: "note".to_owned(), ..Core::default() }.to_json();
        let field = nexus_crdt::Field::named("core");
        let write = nexus_crdt::Write { target: nexus_crdt::Target::Create { page: 0 }, field, value, over: vec![] };
        let after = self.outside.others.last().map(|entry| Head { seq: entry.header().seq, id: entry.id() });
        let payload = Writes(vec![write]).encode();
        let draft = Draft {
            mesh: mesh(),
            log,
            after: after.as_ref(),
            hlc: Hlc(1),
            kind: Kind::WRITES,
            refs: vec![],
            payload: payload.into(),
        };
        self.outside.others.push(Verified::write(draft, &key(1)));
        let from = self.dice.roll(self.outside.others.len() as u64);
        let entries = self.outside.others[usize::try_from(from).unwrap()..].to_vec();
        self.input(Input::Entries { from: key(1).did(), entries }, None);
    }

    /// Commits the inputs in flight as one group, then releases their effects.
    fn commit(&mut self) -> Result<(), StoreError> {
        let batches: Vec<Batch> = self.flying.iter_mut().filter_map(|flying| flying.batch.take()).collect();
        self.store.commit(&batches)?;
        let Some(last) = self.flying.last() else { return Ok(()) };
        self.overlay.committed(last.no)?;
        for flying in std::mem::take(&mut self.flying) {
            for (log, seq, entry) in flying.published {
                let place = (log, seq);
                let other = self.outside.sent.insert(place, entry);
                assert!(other.is_none_or(|other| other == entry), "{place:?} was signed twice");
            }
            match (flying.promise, flying.outcome) {
                (Some(Promise::Remembered(text)), Some(Outcome::Remembered(written))) => {
                    let id = written[0].record.to_string();
                    self.outside.texts.insert(id, BTreeSet::from([text]));
                }
                (Some(Promise::Edited(id, text)), Some(Outcome::Done(_))) => {
                    // earlier texts are past now; later ones may be in flight
                    if let Some(texts) = self.outside.texts.get_mut(&id) {
                        let later =
                            |flying: &InFlight| matches!(&flying.promise, Some(Promise::Edited(of, _)) if *of == id);
                        if !self.flying.iter().any(later) {
                            *texts = BTreeSet::from([text]);
                        }
                    }
                }
                (Some(Promise::Forgotten(id)), Some(Outcome::Done(_))) => {
                    self.outside.forgotten.insert(id);
                }
                (Some(Promise::Space), Some(Outcome::Space(space))) => {
                    self.outside.spaces.insert(space);
                }
                (Some(Promise::Kept(row)), _) => {
                    self.outside.kept.insert(row);
                }
                _ => {}
            }
        }
        Ok(())
    }
}

/// Compares the disk with everything that the world outside was told.
fn check(disk: &Disk, outside: &mut Outside) -> Result<(), String> {
    let store = Store::with_backend("simulated", disk.clone(), SMALL).map_err(|error| error.to_string())?;
    if read_genesis(&store.snapshot().unwrap()).unwrap().is_none() {
        return if outside.sent.is_empty() && outside.texts.is_empty() {
            Ok(())
        } else {
            Err("all is gone".to_owned())
        };
    }
    assert_eq!(bring_up_to_date(&key(0), &store).unwrap(), 0, "nothing derived is missing");
    let engine = Engine::open(key(0), &store.snapshot().unwrap()).unwrap();
    let found = memories(&engine, &store);
    let by_id: BTreeMap<String, &Memory> = found.iter().map(|memory| (memory.id.to_string(), memory)).collect();
    for (id, texts) in &mut outside.texts {
        let there = by_id.get(id).ok_or_else(|| format!("{id} is gone"))?;
        if !texts.contains(&there.text) {
            return Err(format!("{id}: {:?} instead of {texts:?}", there.text));
        }
        *texts = BTreeSet::from([there.text.clone()]);
    }
    if let Some(id) = outside.forgotten.iter().find(|id| by_id.contains_key(*id)) {
        return Err(format!("{id} came back"));
    }
    let (fold, places) = reference(&store);
    for (place, id) in &outside.sent {
        if places.get(place) != Some(id) {
            return Err(format!("{place:?} was sent and is {:?} now", places.get(place)));
        }
    }
    let snapshot = store.snapshot().unwrap();
    let spaces = ledger::read_spaces(&snapshot).unwrap();
    if let Some(space) = outside.spaces.iter().find(|space| !spaces.contains_key(space)) {
        return Err(format!("space {space} is gone"));
    }
    if outside.kept.iter().any(|row| snapshot.get(Table::Peers, row).unwrap().is_none()) {
        return Err("a kept row is gone".to_owned());
    }
    // logs have no gaps, and the tables equal the plain fold
    for (no, _, head) in ledger::read_logs(&snapshot).unwrap() {
        let entries = enos_of_log(&snapshot, no, 0, u64::MAX).unwrap().len() as u64;
        assert_eq!(head.map_or(0, |head| head.seq + 1), entries);
    }
    let shown: BTreeSet<String> = found.iter().map(|memory| memory.id.to_string()).collect();
    assert_eq!(shown, fold.records().map(|record| record.to_string()).collect());
    for record in fold.records() {
        if let [live] = fold.live(record, "text").as_slice() {
            let text = serde_json::Value::from(by_id[&record.to_string()].text.clone());
            assert_eq!(live.value, text.to_string());
        }
    }
    store.close();
    Ok(())
}

/// Runs an engine through several power losses, and counts them.
fn lives_with_power_losses(seed: u64, fault: Fault) -> Result<u32, String> {
    let mut dice = Dice::new(seed);
    let mut outside = Outside::default();
    let mut disk = Disk::new();
    let store = Store::with_backend("simulated", disk.clone(), SMALL).unwrap();
    store.commit(&[found(&genesis())]).unwrap();
    store.close();
    for life in 0..4 {
        disk = Disk::from_image(disk.image());
        disk.set_fault(fault);
        disk.set_steps_left(40 + dice.roll(900));
        if let Ok(store) = Store::with_backend("simulated", disk.clone(), SMALL) {
            let engine = Engine::open(key(0), &store.snapshot().unwrap()).unwrap();
            let overlay = Overlay::new(store.clone()).unwrap();
            let (flying, clock_ms) = (vec![], 1_700_000_000_000);
            let mut running =
                Life { engine, overlay, store, outside: &mut outside, dice: &mut dice, flying, no: 0, clock_ms };
            for n in [0, 1] {
                running.command(Command::Admit { chain: chain(n), with: Batch::new(), replaces: None }, None);
            }
            loop {
                running.something();
                if running.dice.roll(3) == 0 && running.commit().is_err() {
                    break;
                }
            }
        }
        disk = disk.lose_power(dice.roll(u64::MAX));
        outside.losses += 1;
        check(&disk, &mut outside).map_err(|error| format!("seed {seed}, life {life}: {error}"))?;
    }
    assert!(!outside.sent.is_empty());
    Ok(outside.losses)
}

/// promise: The whole | 200 power losses lose nothing that was acknowledged or sent, and sign nothing twice
#[test]
fn nothing_acknowledged_or_sent_is_lost_or_signed_twice_in_200_power_losses() {
    let losses: u32 = (0..50).map(|seed| lives_with_power_losses(seed, Fault::None).unwrap()).sum();
    assert_eq!(losses, 200);
}

#[test]
fn a_disk_that_lies_about_its_syncs_is_caught_by_the_test_of_power_losses() {
    let caught = (0..8).filter(|&seed| lives_with_power_losses(seed, Fault::SyncLies).is_err()).count();
    assert!(caught > 4, "caught only {caught} of 8");
}

/// promise: Keys and locks | A raise of the formats between two writes of one turn loses neither
#[test]
fn writes_before_and_after_a_raise_in_one_turn_are_in_their_own_forms() {
    let store = Store::memory().unwrap();
    store.commit(&[found(&genesis())]).unwrap();
    let mut engine = RestingEngine::open(key(0), &store).unwrap();
    let submit = |n: u8| {
        let submission = nexus_crdt::Submission::new("job", n.to_string());
        let event = nexus_crdt::TaskEvent::Submitted(Box::new(submission));
        Command::Tasks(vec![(SpaceId::tasks_of(&mesh()), event)])
    };
    let remember = |text: &str| {
        let core = Core { text: text.to_owned(), kind: "note".to_owned(), ..Core::default() };
        Command::Remember(vec![NewRecord::whole(SpaceId::default_of(&mesh()), core)])
    };
    let raise = |format, tasks_apart| Command::Raise { format, tasks_apart, persons: tasks_apart, erases: tasks_apart };
    let admit = Command::Admit { chain: chain(0), with: Batch::new(), replaces: None };
    let leaves = nexus_crdt::ENTRY_FORMAT_LEAVES;
    let turns = [
        vec![admit],
        vec![submit(1), remember("1"), raise(leaves, false), submit(2), remember("2")],
        vec![submit(3), remember("3"), raise(leaves, true), submit(4), remember("4")],
    ];
    let (mut tasks, mut memories) = (Vec::new(), 0);
    for turn in turns {
        let commands = turn.into_iter().enumerate().map(|(n, command)| (n as u64, command)).collect();
        let ran = engine.run(Timestamp::from_ms(1_700_000_000_000), [7; 32], Input::Commands(commands)).unwrap();
        for event in ran.events {
            assert!(!matches!(event, Event::Quarantined { .. }), "{event:?}");
        }
        for (_, answer) in ran.answers {
            match answer {
                Outcome::Tasks(answers) => tasks.extend(answers),
                Outcome::Remembered(written) => memories += written.len(),
                _ => {}
            }
        }
    }
    assert_eq!((tasks.len(), memories), (4, 4));
    let snapshot = store.snapshot().unwrap();
    for answer in tasks {
        let TaskAnswer::Written(task) = answer else { panic!("{answer:?}") };
        assert!(crate::ledger::find_task(&snapshot, task).unwrap().is_some(), "{task} is lost");
    }
}

/// promise: Bad input | A clock that jumps an hour under a running node
#[test]
fn a_wall_clock_that_jumps_by_an_hour_breaks_neither_acknowledgements_nor_order() {
    const HOUR_MS: u64 = 3_600_000;
    let store = Store::memory().unwrap();
    store.commit(&[found(&genesis())]).unwrap();
    let mut engine = Engine::open(key(0), &store.snapshot().unwrap()).unwrap();
    let mut overlay = Overlay::new(store.clone()).unwrap();
    let start_ms = 1_700_000_000_000;
    let jumps = [0, 10, HOUR_MS, HOUR_MS + 10, 20, 30, 0, 40, 2 * HOUR_MS, 50];
    let mut stamps = Vec::new();
    let mut write = |n: usize, input: Input, now_ms: u64| {
        engine.handle(Timestamp::from_ms(now_ms), [7; 32], input, &overlay).unwrap();
        let mut answers = Vec::new();
        while let Some(effect) = engine.poll_effect() {
            match effect {
                Effect::Write(batch) => {
                    overlay.push(n as u64, &batch);
                    store.commit(&[batch]).unwrap();
                    overlay.committed(n as u64).unwrap();
                }
                Effect::Reply(_, outcome) => answers.push(outcome),
                Effect::Publish(Published { entry, .. }) => stamps.push(header_of(&overlay, entry).hlc),
                Effect::Emit(_) => {}
            }
        }
        answers
    };
    write(
        1,
        Input::Commands(vec![(0, Command::Admit { chain: chain(0), with: Batch::new(), replaces: None })]),
        start_ms,
    );
    for (n, jump) in jumps.into_iter().enumerate() {
        let core = Core { text: format!("{n}"), kind: "note".to_owned(), ..Core::default() };
        let record = NewRecord::whole(SpaceId::default_of(&mesh()), core);
        let answers = write(n + 2, Input::Commands(vec![(0, Command::Remember(vec![record]))]), start_ms + jump);
        assert!(matches!(answers.as_slice(), [Outcome::Remembered(_)]), "{answers:?}");
    }
    assert!(stamps.is_sorted_by(|a, b| a < b), "stamps only grow: {stamps:?}");
    // newest first, as written, whatever the clock showed
    let snapshot = store.snapshot().unwrap();
    let members = engine.members().clone();
    let reader = Reader::new(&snapshot, [0; 8], key(0).did(), members, Timestamp::from_ms(start_ms)).unwrap();
    let listed = reader.list(&ListQuery { limit: 100, ..ListQuery::default() }).unwrap().items;
    let texts: Vec<String> = listed.into_iter().map(|memory| memory.text).collect();
    assert_eq!(texts, (0..jumps.len()).rev().map(|n| n.to_string()).collect::<Vec<_>>());
}

/// The rows that a command changes in each table, and the event that it wrote.
fn changed_by(
    command: Command,
    engine: &mut Engine,
    store: &Store,
) -> (BTreeMap<Table, usize>, Option<nexus_crdt::Dot>) {
    let view = Overlay::new(store.clone()).unwrap();
    let input = Input::Commands(vec![(1, command)]);
    engine.handle(Timestamp::from_ms(1_000), [7; 32], input, &view).unwrap();
    let (mut changed, mut written) = (BTreeMap::new(), None);
    while let Some(effect) = engine.poll_effect() {
        match effect {
            Effect::Write(batch) => {
                for change in batch.changes() {
                    let (TableChange::Put { table, .. } | TableChange::Delete { table, .. }) = change else { panic!() };
                    *changed.entry(table).or_insert(0) += 1;
                }
                store.commit(&[batch]).unwrap();
            }
            Effect::Reply(_, Outcome::Tasks(answers)) => {
                if let [TaskAnswer::Written(dot)] = answers.as_slice() {
                    written = Some(*dot);
                }
            }
            _ => {}
        }
    }
    (changed, written)
}

/// promise: Tasks | A task that is submitted changes one row in each of six tables that grow, and a claim and an end a row in few more
#[test]
fn a_step_of_a_task_changes_few_rows() {
    let store = Store::memory().unwrap();
    store.commit(&[found(&genesis())]).unwrap();
    let mut engine = Engine::open(key(0), &store.snapshot().unwrap()).unwrap();
    let space = SpaceId::tasks_of(&mesh());
    let submitted = |n: u8| TaskEvent::Submitted(Box::new(Submission::new("build", n.to_string())));
    // the first one begins a log
    changed_by(Command::Tasks(vec![(space, submitted(1))]), &mut engine, &store);
    let of_entry = [Table::Entries, Table::Payloads, Table::Ids, Table::LogIndex];
    let fixed = [Table::Frontier, Table::Usage, Table::Spaces, Table::Meta];
    let rows = |own: &[Table]| -> BTreeMap<Table, usize> {
        of_entry.iter().chain(&fixed).chain(own).map(|table| (*table, 1)).collect()
    };
    let (changed, task) = changed_by(Command::Tasks(vec![(space, submitted(2))]), &mut engine, &store);
    assert_eq!(changed, rows(&[Table::Tasks, Table::TasksOpen]));
    let (task, token) = (task.unwrap(), TaskToken::from_bytes([1; 16]));
    let (ownership, attempt, worker, agent) = (0, 1, key(0).did(), String::new());
    let claim = TaskEvent::Claimed(TaskClaim { task, ownership, attempt, token, worker, agent });
    let (changed, _) = changed_by(Command::Tasks(vec![(space, claim)]), &mut engine, &store);
    assert_eq!(changed, rows(&[Table::TaskEvents, Table::TasksNoted]));
    let (output, code, error, more) = ("1".to_owned(), String::new(), String::new(), String::new());
    let (token, outcome) = (Some(token), TaskEnd::Succeeded);
    let end = TaskEvent::Settled(Box::new(Settlement { task, ownership, token, outcome, output, code, error, more }));
    let (changed, _) = changed_by(Command::Tasks(vec![(space, end)]), &mut engine, &store);
    assert_eq!(changed, rows(&[Table::TaskEvents, Table::TasksNoted, Table::TasksOpen, Table::TaskTimes]));
}
