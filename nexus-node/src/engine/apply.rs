use nexus_crdt::{
    Admission, Core, Dot, Field, FormError, Head, Kind, Profile, SpaceDefinition, SpaceId, Target, Verified, Write,
    Writes,
};
use nexus_identity::plants::planted;
use nexus_identity::{Chain, Did};

use super::{Engine, Event, LedgerError, Turn};
use crate::ledger::rows::{
    self, Eno, EntryRow, LogNo, RecordRow, SpaceNo, SpaceRow, Standing, TimeKey, WriteRow, meta,
};
use crate::ledger::{core_text, find_entry, has_any, live_writes};
use crate::store::{self, Draft, StoreError, Table, View};

impl Engine {
    /// Stores the next entry of its log and folds what it says.
    pub(super) fn store_next(&mut self, entry: &Verified, turn: &mut Turn<'_>) -> Result<Eno, LedgerError> {
        let header = entry.header();
        let eno = self.state.next_eno;
        let log = self.state.log_mut(header.log(), &mut turn.draft);
        debug_assert_eq!(nexus_crdt::Head::admit(log.head.as_ref(), header), Admission::Next);
        let head = Head { seq: header.seq, id: entry.id() };
        log.head = Some(head);
        let log_no = log.no;
        turn.draft.put(Table::Frontier, &rows::log_key(log_no), &rows::encode(&head));

        let standing = match self.fold(eno, log_no, entry, turn)? {
            Ok(standing) => standing,
            Err(why) => {
                let why = why.to_string();
                turn.draft.put(Table::Quarantine, &rows::eno_key(eno), why.as_bytes());
                turn.events.push(Event::Quarantined { entry: entry.id(), author: header.author, why });
                Standing::Quarantined
            }
        };
        self.store_row(eno, log_no, standing, entry, turn);
        if let Some(space) = self.state.spaces.get_mut(&header.space) {
            space.entries += 1;
            space.bytes += u64::from(header.payload_len);
            turn.draft.put(Table::Spaces, header.space.as_bytes(), &rows::encode(space));
        }
        self.state.clock.observe(header.hlc, turn.now);
        Ok(eno)
    }

    /// Keeps a second entry for a taken place: it is evidence, and applied nowhere.
    pub(super) fn store_fork(&mut self, entry: &Verified, turn: &mut Turn<'_>) {
        /// A log's author can make as many as it likes; these suffice to prove it.
        const FORKS_PER_LOG_MAX: u32 = 64;
        let header = entry.header();
        let eno = self.state.next_eno;
        let log = self.state.log_mut(header.log(), &mut turn.draft);
        if log.forks >= FORKS_PER_LOG_MAX {
            return;
        }
        log.forks += 1;
        let log_no = log.no;
        self.store_row(eno, log_no, Standing::Fork, entry, turn);
        turn.events.push(Event::Fork { log: header.log(), seq: header.seq });
    }

    fn store_row(&mut self, eno: Eno, log: LogNo, standing: Standing, entry: &Verified, turn: &mut Turn<'_>) {
        let seq = entry.header().seq;
        let row = EntryRow { log, seq, standing, header: entry.header_bytes().to_vec(), signature: *entry.signature() };
        turn.draft.put(Table::Entries, &rows::eno_key(eno), &rows::encode(&row));
        if let Some(payload) = entry.payload() {
            turn.draft.put(Table::Payloads, &rows::eno_key(eno), payload);
        }
        turn.draft.put(Table::Ids, entry.id().as_bytes(), &rows::eno_key(eno));
        turn.draft.put(Table::LogIndex, &rows::log_index_key(log, seq, entry.id()), &rows::eno_key(eno));
        self.state.next_eno = eno + 1;
    }

    /// Folds what an entry says. The inner error is the author's fault: quarantine.
    pub(super) fn fold(
        &mut self,
        eno: Eno,
        log: LogNo,
        entry: &Verified,
        turn: &mut Turn<'_>,
    ) -> Result<Result<Standing, FormError>, LedgerError> {
        let header = entry.header();
        let in_mesh_space = header.space == SpaceId::mesh(&self.state.mesh);
        let payload = entry.payload();
        match header.kind {
            Kind::WRITES if !in_mesh_space => match Writes::decode(payload) {
                Ok(writes) => {
                    self.fold_writes(eno, log, entry, &writes, turn)?;
                    Ok(Ok(Standing::Applied))
                }
                Err(why) => Ok(Err(why)),
            },
            Kind::CREDENTIAL if in_mesh_space => {
                let admitted = payload.ok_or(FormError::Absent).and_then(|payload| {
                    let chain = Chain::from_bytes(payload);
                    let admitted = chain.and_then(|chain| self.state.members.admit(&chain));
                    admitted.map_err(|error| FormError::Content(error.to_string()))
                });
                Ok(admitted.map(|changed| {
                    if changed {
                        turn.events.push(Event::Members);
                    }
                    Standing::Applied
                }))
            }
            Kind::PROFILE if in_mesh_space => {
                let profile = payload.ok_or(FormError::Absent).and_then(Profile::decode);
                Ok(profile.map(|profile| {
                    if self.state.members.describe(&header.author, header.hlc, entry.id(), profile) {
                        turn.events.push(Event::Members);
                    }
                    Standing::Applied
                }))
            }
            Kind::SPACE if in_mesh_space => {
                let definition = payload.ok_or(FormError::Absent).and_then(SpaceDefinition::decode);
                Ok(definition.map(|definition| {
                    self.define_space(SpaceId::created_by(entry.id()), header.author, definition, turn);
                    Standing::Applied
                }))
            }
            _ => Ok(Ok(Standing::Unknown)),
        }
    }

    fn define_space(&mut self, id: SpaceId, author: Did, definition: SpaceDefinition, turn: &mut Turn<'_>) {
        if self.state.spaces.contains_key(&id) {
            return;
        }
        let SpaceDefinition { name, access, .. } = definition;
        let row = SpaceRow { no: self.state.next_space_no(), name, access, author, records: 0, entries: 0, bytes: 0 };
        turn.draft.put(Table::Spaces, id.as_bytes(), &rows::encode(&row));
        self.state.spaces.insert(id, row);
    }

    fn fold_writes(
        &mut self,
        eno: Eno,
        log: LogNo,
        entry: &Verified,
        writes: &Writes,
        turn: &mut Turn<'_>,
    ) -> Result<(), LedgerError> {
        let header = entry.header();
        let Some(space) = self.state.spaces.get_mut(&header.space) else {
            return Ok(());
        };
        let mut fold = FoldWrites { space: space.no, records: 0, eno, log, entry, draft: &mut turn.draft };
        let mut cursor = PayloadCursor::start();
        for (index, write) in (0..).zip(&writes.0) {
            let value_at = cursor.next(write);
            fold.write(index, write, value_at)?;
        }
        space.records = space.records.saturating_add_signed(fold.records);
        Ok(())
    }

    /// Remembers the latest stamp, so that stamps grow across restarts.
    pub(super) fn note_stamp(&self, stamp: nexus_crdt::Hlc, turn: &mut Turn<'_>) {
        turn.draft.put(Table::Meta, meta::HLC, &stamp.0.to_le_bytes());
    }
}

/// Where each value lies in the encoded payload, so that records point there instead of copying.
struct PayloadCursor {
    at: u32,
}

impl PayloadCursor {
    /// Behind the count of writes.
    const fn start() -> Self {
        Self { at: 4 }
    }

    /// The place of the next write's value; borsh lays out target, field, value, over.
    fn next(&mut self, write: &Write) -> u32 {
        let target = match write.target {
            Target::Create { .. } => 1 + 4,
            Target::Edit { .. } => 1 + nexus_crdt::DOT_BYTES,
        };
        let before_value = target + 4 + write.field.as_str().len() + 4;
        let after_value = 4 + write.over.len() * nexus_crdt::DOT_BYTES;
        let value_at = self.at + u32::try_from(before_value).unwrap_or(u32::MAX);
        self.at = value_at + u32::try_from(write.value.len() + after_value).unwrap_or(u32::MAX);
        value_at
    }
}

/// The writes of one entry on their way into the tables.
struct FoldWrites<'a, 'b> {
    space: SpaceNo,
    /// How many memories came (or went, if negative).
    records: i64,
    eno: Eno,
    log: LogNo,
    entry: &'a Verified,
    draft: &'a mut Draft<'b>,
}

impl FoldWrites<'_, '_> {
    fn write(&mut self, index: u16, write: &Write, value_at: u32) -> Result<(), StoreError> {
        let dot = Dot { entry: self.entry.id(), index };
        match write.target {
            Target::Create { page } => self.create(dot, page, write, value_at),
            Target::Edit { record } => self.edit(dot, record, write),
        }
    }

    fn create(&mut self, record: Dot, page: u32, write: &Write, value_at: u32) -> Result<(), StoreError> {
        let hlc = self.entry.header().hlc;
        let gone = has_any(self.draft, Table::Live, &rows::field_prefix(self.space, record, Field::GONE))?
            && !planted("late_creation_returns");
        let len = u32::try_from(write.value.len()).unwrap_or(u32::MAX);
        let check = store::checksum(write.value.as_bytes());
        let row = RecordRow { space: self.space, log: self.log, page, hlc, offset: value_at, len, check, gone };
        self.draft.put(Table::Records, &rows::record_key(self.eno, record.index), &rows::encode(&row));
        if !gone {
            self.draft.put(Table::ByTime, &self.time_key(record, hlc), &[]);
            for (table, prefix) in lookups(self.space, &write.value) {
                self.draft.put(table, &rows::with_dot(&prefix, record), &[]);
            }
            self.records += 1;
        }
        Ok(())
    }

    fn edit(&mut self, dot: Dot, record: Dot, write: &Write) -> Result<(), StoreError> {
        let field = write.field.as_str();
        for over in &write.over {
            let key = rows::write_key(self.space, record, field, *over);
            if let Some(row) = self.draft.get(Table::Live, &key)? {
                self.draft.delete(Table::Live, &key);
                self.draft.put(Table::Past, &key, &row);
            } else if !self.draft.contains(Table::Past, &key)? {
                // it may still come; it will be past then
                self.draft.put(Table::Past, &key, &[]);
            }
        }
        if planted("last_arrival_wins") && field != Field::GONE {
            for (other, _) in live_writes(self.draft, self.space, record, field)? {
                self.draft.delete(Table::Live, &rows::write_key(self.space, record, field, other));
            }
        }
        let key = rows::write_key(self.space, record, field, dot);
        let hlc = self.entry.header().hlc;
        let row = WriteRow { log: self.log, hlc, value: write.value.clone(), over: write.over.clone() };
        let overwritten = self.draft.contains(Table::Past, &key)? && !planted("counts_what_was_replaced");
        let table = if overwritten && field != Field::GONE { Table::Past } else { Table::Live };
        self.draft.put(table, &key, &rows::encode(&row));
        if field == Field::GONE { self.forget(record) } else { Ok(()) }
    }

    /// Takes a record out of sight, if it is here and in sight.
    fn forget(&mut self, record: Dot) -> Result<(), StoreError> {
        let Some(eno) = find_entry(self.draft, record.entry)? else {
            return Ok(());
        };
        let key = rows::record_key(eno, record.index);
        let Some(row) = self.draft.get(Table::Records, &key)? else {
            return Ok(());
        };
        let row: RecordRow = rows::decode(Table::Records, &row)?;
        // a record is forgotten from its own space alone
        if row.gone || row.space != self.space {
            return Ok(());
        }
        let edits = rows::field_prefix(self.space, record, Field::TEXT);
        if planted("forget_loses_to_edit") && has_any(self.draft, Table::Live, &edits)? {
            return Ok(());
        }
        self.draft.put(Table::Records, &key, &rows::encode(&RecordRow { gone: true, ..row }));
        let time = TimeKey { space: row.space, hlc: row.hlc, eno, index: record.index };
        self.draft.delete(Table::ByTime, &time.to_bytes());
        let payload = self.draft.get(Table::Payloads, &rows::eno_key(eno))?.unwrap_or_default();
        for (table, prefix) in lookups(row.space, core_text(&payload, &row)) {
            self.draft.delete(table, &rows::with_dot(&prefix, record));
        }
        self.records -= 1;
        Ok(())
    }

    fn time_key(&self, record: Dot, hlc: nexus_crdt::Hlc) -> [u8; 22] {
        TimeKey { space: self.space, hlc, eno: self.eno, index: record.index }.to_bytes()
    }
}

/// The rows under which a record is found besides its id: its caller's key, its former id.
fn lookups(space: SpaceNo, core: &str) -> Vec<(Table, Vec<u8>)> {
    // most records have neither, and reading JSON costs more than looking for the words
    if !core.contains("\"key\"") && !core.contains("\"was\"") {
        return Vec::new();
    }
    let core = Core::parse(core).unwrap_or_default();
    let key = core.key.map(|key| (Table::Keys, rows::caller_key_prefix(space, &key).to_vec()));
    let was = core.was.map(|was| (Table::Was, rows::was_prefix(&was.id)));
    key.into_iter().chain(was).collect()
}
