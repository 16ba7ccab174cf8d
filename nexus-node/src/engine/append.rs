use std::collections::{BTreeMap, BTreeSet};

use nexus_crdt::{
    Core, Dot, Field, Kind, LogId, OVER_MAX, PAYLOAD_BYTES_MAX, Profile, SpaceDefinition, SpaceId, Target, WRITES_MAX,
    Write, Writes,
};
use nexus_identity::{Chain, Name, Role};

use super::io::{Command, CommandId, Edit, NewRecord, Outcome, Written};
use super::{Effect, Engine, LedgerError, Turn};
use crate::ledger::rows;
use crate::ledger::{core_text, find_record, live_writes, read_entry, records_with_key};
use crate::store::{Batch, Change, StoreError, Table, View};

/// Room for the count of writes at the front of a payload.
const PAYLOAD_FRONT_BYTES: usize = 4;
/// How much is written into one entry if there is more than one write, in bytes. Whoever reads one
/// memory reads its whole payload: with its frame in the database's file this is just under 16 KiB,
/// a power of two as its pages are. An entry of [`PAYLOAD_BYTES_MAX`] took 60 µs to read from.
const PAYLOAD_FILL_BYTES: usize = 16_000;
const _: () = assert!(PAYLOAD_FILL_BYTES <= PAYLOAD_BYTES_MAX);

/// Writes of several commands on their way into one entry of a space.
#[derive(Default)]
struct Pending {
    writes: Vec<Write>,
    bytes: usize,
    /// Which command's which record each creating write is.
    slots: Vec<(usize, usize, u16)>,
    /// Caller's keys of the records in it: a second one must see the first.
    keys: Vec<String>,
    /// Commands whose edits are in it.
    edits: Vec<usize>,
}

impl Pending {
    fn has_room_for(&self, bytes: usize) -> bool {
        self.writes.len() < WRITES_MAX && PAYLOAD_FRONT_BYTES + self.bytes + bytes <= PAYLOAD_FILL_BYTES
    }

    fn edits_place(&self, record: Dot, field: &str) -> bool {
        let same = |write: &Write| write.target == Target::Edit { record } && write.field.as_str() == field;
        self.writes.iter().any(same)
    }

    fn edits_record(&self, record: Dot) -> bool {
        self.writes.iter().any(|write| write.target == Target::Edit { record })
    }
}

/// The encoded size of a write.
fn encoded_bytes(write: &Write) -> usize {
    let target = if matches!(write.target, Target::Create { .. }) { 5 } else { 1 + nexus_crdt::DOT_BYTES };
    target + 4 + write.field.as_str().len() + 4 + write.value.len() + 4 + write.over.len() * nexus_crdt::DOT_BYTES
}

/// One input's commands: what they wait for, and the answers so far.
struct Commands {
    ids: Vec<CommandId>,
    pending: BTreeMap<SpaceId, Pending>,
    answers: Vec<Answer>,
}

enum Answer {
    Remembered(Vec<Option<Written>>),
    Other(Option<Outcome>),
}

impl Engine {
    /// Runs commands together: their writes share entries, one per space as far as they fit.
    pub(super) fn run_commands(
        &mut self,
        commands: Vec<(CommandId, Command)>,
        turn: &mut Turn<'_>,
    ) -> Result<(), LedgerError> {
        let before = self.state.next_eno;
        let (ids, answers) = (Vec::with_capacity(commands.len()), Vec::with_capacity(commands.len()));
        let mut run = Commands { ids, pending: BTreeMap::new(), answers };
        for (id, command) in commands {
            run.ids.push(id);
            let place = run.answers.len();
            run.answers.push(Answer::Other(None));
            run.answers[place] = self.run_command(place, command, &mut run, turn)?;
        }
        for space in run.pending.keys().copied().collect::<Vec<_>>() {
            self.seal(space, &mut run, turn)?;
        }
        for (id, answer) in run.ids.into_iter().zip(run.answers) {
            let outcome = match answer {
                Answer::Remembered(written) => Outcome::Remembered(written.into_iter().flatten().collect()),
                Answer::Other(outcome) => outcome.unwrap_or(Outcome::Done(None)),
            };
            turn.after.push(Effect::Reply(id, outcome));
        }
        self.finish_turn(before, turn);
        Ok(())
    }

    fn run_command(
        &mut self,
        place: usize,
        command: Command,
        run: &mut Commands,
        turn: &mut Turn<'_>,
    ) -> Result<Answer, LedgerError> {
        let done = |outcome| Ok(Answer::Other(Some(outcome)));
        if let Command::Keep(rows) = &command {
            keep(rows, turn);
            return done(Outcome::Done(None));
        }
        let member = self.state.members.get(&self.state.me);
        let needed = if matches!(command, Command::Describe(_)) { Role::Reader } else { Role::Member };
        // a chain of our own is published before anybody, ourselves included, knows of it
        let introduces = matches!(command, Command::Admit { .. });
        if !introduces && !member.is_some_and(|member| member.allows(needed)) {
            return done(Outcome::NotPermitted);
        }
        match command {
            Command::Remember(records) => self.remember(place, records, run, turn),
            Command::Edit { record, edit } => self.edit(place, record, &edit, run, turn),
            Command::Forget(record) => {
                let edit = Edit(BTreeMap::from([(Field::GONE, serde_json::Value::Bool(true))]));
                self.edit(place, record, &edit, run, turn)
            }
            Command::CreateSpace { name, salt } => done(self.create_space(name, salt, run.ids[place], turn)?),
            Command::Admit { chain, with } => {
                keep(&with, turn);
                done(self.publish_chain(&chain, run.ids[place], turn)?)
            }
            // handled above: it takes no right
            Command::Keep(_) => done(Outcome::Done(None)),
            Command::Describe(name) => {
                let payload = Profile { name }.encode();
                let of = vec![run.ids[place]];
                let entry = self.append(SpaceId::mesh(&self.state.mesh), Kind::PROFILE, payload, of, turn)?;
                done(Outcome::Done(Some(entry.id())))
            }
        }
    }

    fn create_space(
        &mut self,
        name: Name,
        salt: [u8; 16],
        of: CommandId,
        turn: &mut Turn<'_>,
    ) -> Result<Outcome, LedgerError> {
        let payload = SpaceDefinition { name, access: 0, salt }.encode();
        let entry = self.append(SpaceId::mesh(&self.state.mesh), Kind::SPACE, payload, vec![of], turn)?;
        Ok(Outcome::Space(SpaceId::created_by(entry.id())))
    }

    fn publish_chain(&mut self, chain: &Chain, of: CommandId, turn: &mut Turn<'_>) -> Result<Outcome, LedgerError> {
        let space = SpaceId::mesh(&self.state.mesh);
        let entry = self.append(space, Kind::CREDENTIAL, chain.to_bytes(), vec![of], turn)?;
        Ok(Outcome::Done(Some(entry.id())))
    }

    fn remember(
        &mut self,
        place: usize,
        records: Vec<NewRecord>,
        run: &mut Commands,
        turn: &mut Turn<'_>,
    ) -> Result<Answer, LedgerError> {
        let mut written = Vec::with_capacity(records.len());
        run.answers[place] = Answer::Remembered(vec![None; records.len()]);
        for (slot, NewRecord { space, core }) in records.into_iter().enumerate() {
            if let Some(key) = &core.key {
                if run.pending.get(&space).is_some_and(|pending| pending.keys.contains(key)) {
                    self.seal(space, run, turn)?;
                }
                if let Some(record) = self.keyed(space, key, turn)? {
                    self.write_again(place, record, &core, run, turn)?;
                    written.push((slot, self.written(space, record, turn)?));
                    continue;
                }
            }
            let page = self.state.pages.entry(space).or_default().take();
            let core_text = core.to_json();
            let write = Write {
                target: Target::Create { page },
                field: Field::named(Field::CORE),
                value: core_text,
                over: vec![],
            };
            let bytes = encoded_bytes(&write);
            if run.pending.get(&space).is_some_and(|pending| !pending.has_room_for(bytes)) {
                self.seal(space, run, turn)?;
            }
            let pending = run.pending.entry(space).or_default();
            let index = u16::try_from(pending.writes.len()).unwrap_or(u16::MAX);
            pending.slots.push((place, slot, index));
            pending.keys.extend(core.key);
            pending.bytes += bytes;
            pending.writes.push(write);
        }
        // earlier seals may have filled slots of this command already
        let mut answer = std::mem::replace(&mut run.answers[place], Answer::Other(None));
        if let Answer::Remembered(slots) = &mut answer {
            for (slot, value) in written {
                slots[slot] = value;
            }
        }
        Ok(answer)
    }

    /// The record in sight that has a caller's key: of several, the one with the lowest dot.
    fn keyed(&self, space: SpaceId, key: &str, turn: &Turn<'_>) -> Result<Option<Dot>, StoreError> {
        let Some(space) = self.state.spaces.get(&space) else {
            return Ok(None);
        };
        Ok(records_with_key(&turn.draft, space.no, key)?.first().copied())
    }

    /// Where a record was written.
    fn written(&self, space: SpaceId, record: Dot, turn: &Turn<'_>) -> Result<Option<Written>, LedgerError> {
        let Some((eno, row)) = find_record(&turn.draft, record)? else {
            return Ok(None);
        };
        let entry = read_entry(&turn.draft, eno)?.ok_or_else(|| rows::unreadable(Table::Entries))?;
        let log = LogId { space, ..entry.header().log() };
        Ok(Some(Written { record, log, seq: entry.header().seq, created_at: row.hlc.time() }))
    }

    /// Writes a keyed memory once more: what is the same stays, what differs is edited.
    fn write_again(
        &mut self,
        place: usize,
        record: Dot,
        core: &Core,
        run: &mut Commands,
        turn: &mut Turn<'_>,
    ) -> Result<(), LedgerError> {
        let json = |value: Result<serde_json::Value, _>| value.unwrap_or(serde_json::Value::Null);
        let edit = Edit(BTreeMap::from([
            (Field::TEXT, core.text.clone().into()),
            (Field::KIND, core.kind.clone().into()),
            (Field::TAGS, core.tags.clone().into()),
            (Field::META, json(serde_json::to_value(&core.meta))),
            (Field::EXPIRES_AT, core.expires_at.into()),
        ]));
        self.edit(place, record, &edit, run, turn).map(|_| ())
    }

    /// Edits a record, or all that share its caller's key: they are shown as one.
    fn edit(
        &mut self,
        place: usize,
        record: Dot,
        edit: &Edit,
        run: &mut Commands,
        turn: &mut Turn<'_>,
    ) -> Result<Answer, LedgerError> {
        let missing = Ok(Answer::Other(Some(Outcome::NoRecord)));
        let Some((eno, row)) = find_record(&turn.draft, record)? else {
            return missing;
        };
        let Some(space) = self.state.spaces.iter().find(|(_, space)| space.no == row.space).map(|(id, _)| *id) else {
            return missing;
        };
        // what an earlier command of this turn does to it must be seen
        if run.pending.get(&space).is_some_and(|pending| pending.edits_record(record)) {
            self.seal(space, run, turn)?;
        }
        let row = find_record(&turn.draft, record)?.map_or(row, |(_, row)| row);
        if row.gone {
            return missing;
        }
        let payload = turn.draft.get(Table::Payloads, &rows::eno_key(eno))?.unwrap_or_default();
        let core = Core::parse(core_text(&payload, &row)).unwrap_or_default();
        let mut records = match &core.key {
            Some(key) => records_with_key(&turn.draft, row.space, key)?,
            None => vec![record],
        };
        if !records.contains(&record) {
            records.push(record);
        }
        for record in records {
            for (field, value) in &edit.0 {
                self.write_field(space, row.space, record, field, value, (place, run), turn)?;
            }
        }
        let waits = run.pending.get(&space).is_some_and(|pending| pending.edits.contains(&place));
        Ok(Answer::Other((!waits).then_some(Outcome::Done(None))))
    }

    /// Writes one field of one record, unless it has that value already.
    #[expect(clippy::too_many_arguments, reason = "one place, and where it goes")]
    fn write_field(
        &mut self,
        space: SpaceId,
        space_no: rows::SpaceNo,
        record: Dot,
        field: &'static str,
        value: &serde_json::Value,
        (place, run): (usize, &mut Commands),
        turn: &mut Turn<'_>,
    ) -> Result<(), LedgerError> {
        if run.pending.get(&space).is_some_and(|pending| pending.edits_place(record, field)) {
            self.seal(space, run, turn)?;
        }
        let live = live_writes(&turn.draft, space_no, record, field)?;
        let text = value.to_string();
        let same = match live.as_slice() {
            [] => core_value(&turn.draft, record, field)? == *value,
            [(_, row)] => row.value == text,
            _ => false,
        };
        if same {
            return Ok(());
        }
        let over = live.into_iter().map(|(dot, _)| dot).take(OVER_MAX).collect();
        let write = Write { target: Target::Edit { record }, field: Field::named(field), value: text, over };
        let bytes = encoded_bytes(&write);
        if run.pending.get(&space).is_some_and(|pending| !pending.has_room_for(bytes)) {
            self.seal(space, run, turn)?;
        }
        let pending = run.pending.entry(space).or_default();
        pending.bytes += bytes;
        pending.writes.push(write);
        pending.edits.push(place);
        Ok(())
    }

    /// Makes one entry of what is pending for a space, and answers those whose writes are in it.
    fn seal(&mut self, space: SpaceId, run: &mut Commands, turn: &mut Turn<'_>) -> Result<(), LedgerError> {
        let Some(pending) = run.pending.remove(&space) else {
            return Ok(());
        };
        let places: BTreeSet<usize> =
            pending.slots.iter().map(|(place, ..)| *place).chain(pending.edits.iter().copied()).collect();
        let of = places.into_iter().map(|place| run.ids[place]).collect();
        let payload = Writes(pending.writes).encode();
        let entry = self.append(space, Kind::WRITES, payload, of, turn)?;
        let header = entry.header();
        for (place, slot, index) in pending.slots {
            let record = Dot { entry: entry.id(), index };
            let written = Written { record, log: header.log(), seq: header.seq, created_at: header.hlc.time() };
            if let Answer::Remembered(slots) = &mut run.answers[place] {
                slots[slot] = Some(written);
            }
        }
        for place in pending.edits {
            if let Answer::Other(outcome @ None) = &mut run.answers[place] {
                *outcome = Some(Outcome::Done(Some(entry.id())));
            }
        }
        Ok(())
    }
}

/// Has rows of others become durable with this turn.
fn keep(rows: &Batch, turn: &mut Turn<'_>) {
    for change in rows.changes() {
        match change {
            Change::Put { table, key, value } => turn.draft.put(table, key, value),
            Change::Delete { table, key } => turn.draft.delete(table, key),
            Change::Clear { table } => turn.draft.clear(table),
        }
    }
}

/// What a field was when the record was created.
fn core_value(view: &dyn View, record: Dot, field: &str) -> Result<serde_json::Value, StoreError> {
    let Some((eno, row)) = find_record(view, record)? else {
        return Ok(serde_json::Value::Null);
    };
    let payload = view.get(Table::Payloads, &rows::eno_key(eno))?.unwrap_or_default();
    let core = Core::parse(core_text(&payload, &row)).unwrap_or_default();
    Ok(match field {
        Field::TEXT => core.text.into(),
        Field::KIND => core.kind.into(),
        Field::TAGS => core.tags.into(),
        Field::META => serde_json::to_value(core.meta).unwrap_or_default(),
        Field::EXPIRES_AT => core.expires_at.into(),
        _ => serde_json::Value::Null,
    })
}
