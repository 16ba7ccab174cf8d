use std::collections::{BTreeMap, BTreeSet};

use nexus_crdt::{
    Core, Dot, ENTRY_FORMAT_LEAVES, ENTRY_FORMAT_MAX, Field, Kind, LogId, Origin, PAYLOAD_BYTES_MAX, Profile, Seat,
    SpaceDefinition, SpaceId, Target, WRITES_MAX, Write, document_leaves,
};
use nexus_identity::{Chain, Name, Role, folded};

use super::io::{Closes, Command, CommandId, DocumentSaid, Edit, NewRecord, Outcome, TaskAnswer, Written};
use super::payload::{OwnPayload, payload_bytes};
use super::tasks::PendingTasks;
use super::{Effect, Engine, LedgerError, Turn};
use crate::ledger::rows;
use crate::ledger::{
    SUPERSEDES, VALID_TO, ends_of_chain, find_record, first_with_key, is_document_erased, keys_like, read_entry,
};
use crate::store::{Batch, StoreError, Table, TableChange};

/// The bytes of the count of writes at the front of a payload.
pub(super) const PAYLOAD_FRONT_BYTES: usize = 4;
/// The most bytes of one entry with several writes. A read of one memory reads its whole payload. With
/// its frame in the database's file this is just under 16 KiB, a power of two like the file's pages.
/// Reading from an entry of [`PAYLOAD_BYTES_MAX`] took 60 µs.
const PAYLOAD_FILL_BYTES: usize = 16_000;
const _: () = assert!(PAYLOAD_FILL_BYTES <= PAYLOAD_BYTES_MAX);

/// Writes of several commands for one entry of a space.
pub(super) struct Pending {
    /// The format of the entry that they are for.
    format: u16,
    writes: Vec<Write>,
    bytes: usize,
    /// For each creating write: the command, the record in the command, the write.
    slots: Vec<(usize, usize, u16)>,
    /// Callers' keys of the records in it: a second record with a key must see the first.
    keys: Vec<String>,
    /// Commands whose edits are in it.
    pub(super) edits: Vec<usize>,
}

impl Pending {
    pub(super) const fn of(format: u16) -> Self {
        Self { format, writes: Vec::new(), bytes: 0, slots: Vec::new(), keys: Vec::new(), edits: Vec::new() }
    }

    pub(super) fn has_room_for(&self, writes: &[&Write]) -> bool {
        let bytes: usize = writes.iter().map(|write| payload_bytes(write, self.format)).sum();
        self.writes.len() + writes.len() <= WRITES_MAX && PAYLOAD_FRONT_BYTES + self.bytes + bytes <= PAYLOAD_FILL_BYTES
    }

    pub(super) fn push(&mut self, write: Write) {
        self.bytes += payload_bytes(&write, self.format);
        self.writes.push(write);
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.writes.is_empty()
    }

    pub(super) fn into_writes(self) -> Vec<Write> {
        self.writes
    }

    /// Whether a write for this very target is in it.
    pub(super) fn writes_to(&self, target: Target) -> bool {
        self.writes.iter().any(|write| write.target == target)
    }
}

/// The commands of one input: their progress, and the answers so far.
pub(super) struct Commands {
    ids: Vec<CommandId>,
    pub(super) pending: BTreeMap<SpaceId, Pending>,
    pub(super) tasks: BTreeMap<SpaceId, PendingTasks>,
    answers: Vec<Answer>,
}

impl Commands {
    /// The id of the command at a place.
    pub(super) fn id(&self, place: usize) -> CommandId {
        self.ids[place]
    }

    pub(super) fn set(&mut self, place: usize, answer: Answer) {
        self.answers[place] = answer;
    }

    /// The answer at a place as far as it is known.
    pub(super) fn take(&mut self, place: usize) -> Answer {
        std::mem::replace(&mut self.answers[place], Answer::Other(None))
    }

    /// Answers one event of a command.
    pub(super) fn answer_task(&mut self, place: usize, slot: usize, answer: TaskAnswer) {
        if let Answer::Tasks(answers) = &mut self.answers[place] {
            answers[slot] = Some(answer);
        }
    }
}

pub(super) enum Answer {
    Remembered(Vec<Option<Written>>),
    Tasks(Vec<Option<TaskAnswer>>),
    Other(Option<Outcome>),
}

impl Engine {
    /// Runs commands together. Their writes share entries, one per space as far as they fit.
    pub(super) fn run_commands(
        &mut self,
        commands: Vec<(CommandId, Command)>,
        turn: &mut Turn<'_>,
    ) -> Result<(), LedgerError> {
        let before = self.state.next_eno;
        let (ids, answers) = (Vec::with_capacity(commands.len()), Vec::with_capacity(commands.len()));
        let mut run = Commands { ids, pending: BTreeMap::new(), tasks: BTreeMap::new(), answers };
        for (id, command) in commands {
            run.ids.push(id);
            let place = run.answers.len();
            run.answers.push(Answer::Other(None));
            run.answers[place] = self.run_command(place, command, &mut run, turn)?;
        }
        self.seal_all(&mut run, turn)?;
        for (id, answer) in run.ids.into_iter().zip(run.answers) {
            let outcome = match answer {
                Answer::Remembered(written) => Outcome::Remembered(written.into_iter().flatten().collect()),
                Answer::Tasks(answers) => Outcome::Tasks(answers.into_iter().flatten().collect()),
                Answer::Other(outcome) => outcome.unwrap_or(Outcome::Done(None)),
            };
            turn.after.push(Effect::Reply(id, outcome));
        }
        self.finish_turn(before, turn)
    }

    /// Makes entries of all pending writes.
    pub(super) fn seal_all(&mut self, run: &mut Commands, turn: &mut Turn<'_>) -> Result<(), LedgerError> {
        for space in run.pending.keys().copied().collect::<Vec<_>>() {
            self.seal(space, run, turn)?;
        }
        for space in run.tasks.keys().copied().collect::<Vec<_>>() {
            self.seal_tasks(space, run, turn)?;
        }
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
        match &command {
            Command::Keep(rows) => {
                // forms of documents are made in the background, and the document may have been erased meanwhile
                if !self.have_erased_documents(rows, turn)? {
                    keep(rows, turn);
                }
                return done(Outcome::Done(None));
            }
            Command::Raise { format, tasks_apart, persons, erases } => {
                // earlier writes of this turn keep their form
                self.seal_all(run, turn)?;
                return done(self.raise(*format, (*tasks_apart, *persons, *erases), turn));
            }
            _ => {}
        }
        if !self.permits(&command) {
            return done(self.not_permitted());
        }
        match command {
            Command::Remember(records) => self.remember(place, records, run, turn),
            Command::Edit { record, edit } => Ok(self.edit(place, record, &edit, run, turn)?.0),
            Command::Forget(record) => {
                let values = BTreeMap::from([(Field::GONE, serde_json::Value::Bool(true))]);
                Ok(self.edit(place, record, &Edit { values, ..Edit::default() }, run, turn)?.0)
            }
            Command::Erase(targets) => {
                // earlier writes of this turn are erased with the rest
                self.seal_all(run, turn)?;
                done(self.erase((place, &targets), run, turn)?)
            }
            Command::CarryOut { gone } => {
                self.carry_out(gone, run.ids[place], turn)?;
                done(Outcome::Done(None))
            }
            Command::Tasks(events) => self.write_task_events(place, events, run, turn),
            Command::Document(said) => done(self.write_document(&said, run.ids[place], turn)?),
            Command::CreateSpace { name, salt } => done(self.create_space(name, salt, run.ids[place], turn)?),
            Command::Admit { chain, with, replaces } => {
                keep(&with, turn);
                let admitted = self.publish_chain(&chain, run.ids[place], turn)?;
                if let Some(member) = replaces.filter(|member| self.may_revoke(member)) {
                    self.revoke(member, None, run.ids[place], turn)?;
                }
                done(admitted)
            }
            Command::Revoke { member, keep } => done(self.revoke(member, keep.as_ref(), run.ids[place], turn)?),
            Command::RevokeAsRoot(word) => done(self.revoke_as_root(&word, run.ids[place], turn)?),
            Command::DraftRevocation { member, keep, name } => {
                done(self.draft_revocation(member, keep.as_ref(), name, turn)?)
            }
            Command::Settle { fresh } => done(self.settle_open(fresh, run.ids[place], turn)?),
            Command::EndExpired => done(self.end_expired(run.ids[place], turn)?),
            Command::Seat(seat) => done(self.seat(seat, run.ids[place], turn)?),
            Command::Succeed(succession) => done(self.succeed(&succession, run.ids[place], turn)?),
            Command::SayPerson { member, mine } => done(self.say_person(&member, mine, run.ids[place], turn)?),
            Command::AgreeToPerson => done(self.agree_to_person(run.ids[place], turn)?),
            Command::Rotate(rotation) => done(self.rotate(&rotation, run.ids[place], turn)?),
            // handled above: they need no right
            Command::Keep(_) | Command::Raise { .. } => done(Outcome::Done(None)),
            Command::Describe(name) => {
                let payload = OwnPayload::One(Profile { name }.encode());
                let of = vec![run.ids[place]];
                let entry = self.append(SpaceId::mesh(&self.state.mesh), Kind::PROFILE, payload, of, turn)?;
                done(Outcome::Done(Some(entry.id())))
            }
        }
    }

    /// Whether this node may run a command. For an edit only the record decides, later.
    fn permits(&self, command: &Command) -> bool {
        match command {
            Command::Remember(records) => {
                let spaces: BTreeSet<SpaceId> = records.iter().map(|record| record.space).collect();
                spaces.into_iter().all(|space| self.may_write(space))
            }
            Command::Tasks(events) => {
                let spaces: BTreeSet<SpaceId> = events.iter().map(|(space, _)| *space).collect();
                spaces.into_iter().all(|space| self.may_write(space))
            }
            Command::Document(said) => self.may_write(said.space),
            Command::CreateSpace { .. } => self.state.members.allows(&self.state.me, Role::Member),
            Command::Seat(_) => self.state.members.allows(&self.state.me, Role::Admin),
            Command::Describe(_) | Command::Erase(_) | Command::CarryOut { .. } => {
                self.may_write(SpaceId::mesh(&self.state.mesh))
            }
            // our own chain is published before any node, ours included, knows it
            Command::Admit { .. } | Command::Edit { .. } | Command::Forget(_) => true,
            Command::Revoke { member, .. } => self.may_revoke(member),
            Command::RevokeAsRoot(word) => word.holds(&self.state.mesh, &self.state.me),
            // it writes as far as it may
            Command::Settle { .. } | Command::EndExpired => true,
            Command::SayPerson { .. } => self.state.members.allows(&self.state.me, Role::Admin),
            Command::AgreeToPerson => true,
            // they say themselves why they do not
            Command::DraftRevocation { .. } | Command::Succeed(_) | Command::Rotate(_) => true,
            Command::Keep(_) | Command::Raise { .. } => true,
        }
    }

    pub(super) fn not_permitted(&self) -> Outcome {
        Outcome::NotPermitted { member: self.state.members.get(&self.state.me).is_some() }
    }

    /// Gives a member a seat. A seat that an admin gave already stays as it is.
    fn seat(&mut self, seat: Seat, of: CommandId, turn: &mut Turn<'_>) -> Result<Outcome, LedgerError> {
        if !self.state.members.has_seat(&seat) {
            self.write_of_mesh(Kind::SEAT, seat.encode(), of, turn)?;
        }
        Ok(Outcome::Done(None))
    }

    /// Whether this node's entries count in a space.
    pub(super) fn may_write(&self, space: SpaceId) -> bool {
        self.state.rule_of(space).is_some_and(|space| self.state.members.may_write(&self.state.me, &space))
    }

    /// Writes entries in a later format from now on.
    fn raise(
        &mut self,
        format: u16,
        (tasks_apart, persons, erases): (bool, bool, bool),
        turn: &mut Turn<'_>,
    ) -> Outcome {
        if format > ENTRY_FORMAT_MAX {
            return Outcome::TooNew { known: ENTRY_FORMAT_MAX };
        }
        if format > self.state.entry_format {
            self.state.entry_format = format;
            turn.draft.put(Table::Meta, rows::meta::ENTRY_FORMAT, &format.to_le_bytes());
        }
        if tasks_apart && !self.state.tasks_apart {
            self.state.tasks_apart = true;
            turn.draft.put(Table::Meta, rows::meta::TASKS_APART, &[]);
        }
        if persons && !self.state.persons {
            self.state.persons = true;
            turn.draft.put(Table::Meta, rows::meta::PERSONS, &[]);
        }
        if erases && !self.state.erases {
            self.state.erases = true;
            turn.draft.put(Table::Meta, rows::meta::ERASES, &[]);
        }
        Outcome::Done(None)
    }

    fn create_space(
        &mut self,
        name: Name,
        salt: [u8; 16],
        of: CommandId,
        turn: &mut Turn<'_>,
    ) -> Result<Outcome, LedgerError> {
        let payload = OwnPayload::One(SpaceDefinition { name, access: 0, salt }.encode());
        let entry = self.append(SpaceId::mesh(&self.state.mesh), Kind::SPACE, payload, vec![of], turn)?;
        Ok(Outcome::Space(SpaceId::created_by(entry.id())))
    }

    /// Writes names and changes of a document.
    fn write_document(
        &mut self,
        said: &DocumentSaid,
        of: CommandId,
        turn: &mut Turn<'_>,
    ) -> Result<Outcome, LedgerError> {
        if self.state.entry_format < ENTRY_FORMAT_LEAVES {
            return Ok(Outcome::TooEarly);
        }
        let incarnation = self.state.own_log(said.space).incarnation;
        if said.incarnation.is_some_and(|of| of != incarnation) {
            return Ok(Outcome::Renewed(incarnation));
        }
        let no = self.state.spaces.get(&said.space).map(|space| space.no);
        if let Some(no) = no
            && !self.state.erasers.is_empty()
            && is_document_erased(&turn.draft, no, &said.document)?
        {
            return Ok(Outcome::ErasedDocument);
        }
        let payload = OwnPayload::Leaves(document_leaves(said.document, &said.parts));
        let entry = self.append(said.space, Kind::DOCUMENT, payload, vec![of], turn)?;
        Ok(Outcome::Done(Some(entry.id())))
    }

    pub(super) fn publish_chain(
        &mut self,
        chain: &Chain,
        of: CommandId,
        turn: &mut Turn<'_>,
    ) -> Result<Outcome, LedgerError> {
        let space = SpaceId::mesh(&self.state.mesh);
        let entry = self.append(space, Kind::CREDENTIAL, OwnPayload::One(chain.to_bytes()), vec![of], turn)?;
        Ok(Outcome::Done(Some(entry.id())))
    }

    fn remember(
        &mut self,
        place: usize,
        records: Vec<NewRecord>,
        run: &mut Commands,
        turn: &mut Turn<'_>,
    ) -> Result<Answer, LedgerError> {
        for record in &records {
            // keys of earlier commands of this turn must be visible
            let wanted = record.core.key.as_deref().map(folded);
            let pending = run.pending.get(&record.space).into_iter().flat_map(|pending| &pending.keys);
            if wanted.is_some_and(|wanted| pending.into_iter().any(|key| folded(key) == wanted)) {
                self.seal(record.space, run, turn)?;
            }
            if let Some(record) = self.with_key_like(record, turn)? {
                return Ok(Answer::Other(Some(Outcome::KeyLike { record })));
            }
        }
        let mut written = Vec::with_capacity(records.len());
        run.answers[place] = Answer::Remembered(vec![None; records.len()]);
        for (slot, NewRecord { space, mut core, mut keeps, closes }) in records.into_iter().enumerate() {
            let closes = self.end_of_chain(space, closes, &mut core, run, turn)?;
            if let Some(key) = &core.key {
                if run.pending.get(&space).is_some_and(|pending| pending.keys.contains(key)) {
                    self.seal(space, run, turn)?;
                }
                if let Some(record) = self.keyed(space, key, turn)? {
                    if closes.is_some_and(|closes| closes.record == record) {
                        // one key leads to both: the memory changes, and takes no other one's place
                        keeps.extend([SUPERSEDES, "valid_from"]);
                    }
                    let replaced = self.write_again(place, record, (&core, &keeps), run, turn)?;
                    if let Some(closes) = closes.filter(|closes| closes.record != record) {
                        self.close(place, closes, core.origin(), run, turn)?;
                    }
                    let there = self.written(space, record, turn)?;
                    written.push((slot, there.map(|there| Written { replaced, ..there })));
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
            if run.pending.get(&space).is_some_and(|pending| !pending.has_room_for(&[&write])) {
                self.seal(space, run, turn)?;
            }
            let format = self.state.entry_format;
            let pending = run.pending.entry(space).or_insert_with(|| Pending::of(format));
            let index = u16::try_from(pending.writes.len()).unwrap_or(u16::MAX);
            pending.slots.push((place, slot, index));
            let origin = core.origin();
            pending.keys.extend(core.key);
            pending.push(write);
            if let Some(closes) = closes {
                self.close(place, closes, origin, run, turn)?;
            }
        }
        // earlier entries may have filled places of this command already
        let mut answer = std::mem::replace(&mut run.answers[place], Answer::Other(None));
        if let Answer::Remembered(slots) = &mut answer {
            for (slot, value) in written {
                slots[slot] = value;
            }
        }
        Ok(answer)
    }

    /// Says of a record that it no longer holds. If it is gone meanwhile, it stays as it is.
    fn close(
        &mut self,
        place: usize,
        Closes { record, at }: Closes,
        origin: Origin,
        run: &mut Commands,
        turn: &mut Turn<'_>,
    ) -> Result<(), LedgerError> {
        let Some(at) = at else { return Ok(()) };
        let values = BTreeMap::from([(VALID_TO, serde_json::Value::from(at))]);
        self.edit(place, record, &Edit { values, origin, supersedes: true }, run, turn)?;
        Ok(())
    }

    /// The record that a new one is to replace, by now: another command may have replaced it meanwhile.
    fn end_of_chain(
        &mut self,
        space: SpaceId,
        closes: Option<Closes>,
        core: &mut Core,
        run: &mut Commands,
        turn: &mut Turn<'_>,
    ) -> Result<Option<Closes>, LedgerError> {
        let Some(Closes { record, at }) = closes else { return Ok(None) };
        if run.pending.get(&space).is_some_and(|pending| !pending.is_empty()) {
            self.seal(space, run, turn)?;
        }
        let Some(no) = self.state.spaces.get(&space).map(|space| space.no) else { return Ok(closes) };
        let ends = ends_of_chain(&turn.draft, no, record)?;
        let Some(end) = ends.first().copied().filter(|_| !ends.contains(&record)) else { return Ok(closes) };
        core.supersedes = Some(end.to_string());
        Ok(Some(Closes { record: end, at: at.or(core.valid_from) }))
    }

    /// The visible record with a caller's key; of several, the one with the lowest dot.
    fn keyed(&self, space: SpaceId, key: &str, turn: &Turn<'_>) -> Result<Option<Dot>, StoreError> {
        let Some(space) = self.state.spaces.get(&space) else {
            return Ok(None);
        };
        first_with_key(&turn.draft, space.no, key)
    }

    /// Another record whose key is that of a new one but for case and form, if the key itself leads to none. A copy of
    /// another mesh's memory keeps its key: nothing of an import is lost.
    fn with_key_like(
        &self,
        NewRecord { space, core, .. }: &NewRecord,
        turn: &Turn<'_>,
    ) -> Result<Option<Dot>, StoreError> {
        let Some(key) = core.key.as_ref().filter(|_| core.was.is_none()) else { return Ok(None) };
        let Some(no) = self.state.spaces.get(space).map(|space| space.no) else { return Ok(None) };
        let mut others = keys_like(&turn.draft, no, key)?;
        others.remove(key);
        if others.is_empty() || first_with_key(&turn.draft, no, key)?.is_some() {
            return Ok(None);
        }
        for other in others {
            // the past of a forgotten memory leaves its key free
            if let Some(record) = first_with_key(&turn.draft, no, &other)? {
                return Ok(Some(record));
            }
        }
        Ok(None)
    }

    /// The place of a record's creation.
    fn written(&self, space: SpaceId, record: Dot, turn: &Turn<'_>) -> Result<Option<Written>, LedgerError> {
        let Some((eno, row)) = find_record(&turn.draft, record)? else {
            return Ok(None);
        };
        let entry = read_entry(&turn.draft, eno)?.ok_or_else(|| rows::unreadable(Table::Entries))?;
        let log = LogId { space, ..entry.header().log() };
        let (seq, created_at) = (entry.header().seq, row.hlc.time());
        Ok(Some(Written { record, log, seq, created_at, replaced: false }))
    }

    /// Makes one entry of the pending writes of a space, and answers the commands in it.
    pub(super) fn seal(&mut self, space: SpaceId, run: &mut Commands, turn: &mut Turn<'_>) -> Result<(), LedgerError> {
        let Some(pending) = run.pending.remove(&space) else {
            return Ok(());
        };
        let places: BTreeSet<usize> =
            pending.slots.iter().map(|(place, ..)| *place).chain(pending.edits.iter().copied()).collect();
        let of = places.into_iter().map(|place| run.ids[place]).collect();
        let entry = self.append(space, Kind::WRITES, OwnPayload::Writes(pending.writes), of, turn)?;
        let header = entry.header();
        for (place, slot, index) in pending.slots {
            let record = Dot { entry: entry.id(), index };
            let (log, seq, created_at) = (header.log(), header.seq, header.hlc.time());
            let written = Written { record, log, seq, created_at, replaced: false };
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

/// Makes rows of other rooms durable with this turn.
pub(super) fn keep(rows: &Batch, turn: &mut Turn<'_>) {
    for change in rows.changes() {
        match change {
            TableChange::Put { table, key, value } => turn.draft.put(table, key, value),
            TableChange::Delete { table, key } => turn.draft.delete(table, key),
            TableChange::Clear { table } => turn.draft.clear(table),
        }
    }
}
