use std::collections::BTreeMap;
use std::ops::{Bound, ControlFlow};
use std::sync::{Arc, Mutex, PoisonError};

use nexus_crdt::{Core, Dot, DotPrefix, Field, Hlc, LogId, Members, SpaceId, version_of};
use nexus_identity::{Did, Timestamp};
use serde_json::Value;

use super::cursor::{self, StoreName};
use crate::error::{NodeError, Resource};
use crate::ledger::rows::{self, Place, RecordRow, SpaceRow, TimeKey, WriteRow};
use crate::ledger::{self, entry_id_of, records_with_key};
use crate::memory::{ConflictValue, ListQuery, Listing, Memory, Revision, SpaceInfo};
use crate::store::{Order, StoreError, Table, View};

/// The fields that a memory shows.
const SHOWN: [&str; 5] = [Field::TEXT, Field::KIND, Field::TAGS, Field::META, Field::EXPIRES_AT];

/// Answers questions from one committed state.
pub(crate) struct Reader<'a> {
    view: &'a dyn View,
    store: StoreName,
    known: Arc<Known>,
    now: Timestamp,
}

/// What nearly every question needs of a state: read once for all that are asked of it.
pub(crate) struct Known {
    members: Arc<Members>,
    /// The spaces that count, with mesh.
    spaces: Vec<(SpaceId, SpaceRow)>,
    /// Who writes each log, as far as somebody has asked. A log never changes hands.
    authors: Mutex<BTreeMap<rows::LogNo, Did>>,
}

impl Known {
    /// Of the state that a view shows, as these members may see it.
    pub(crate) fn read(view: &dyn View, members: Arc<Members>) -> Result<Self, StoreError> {
        let spaces = ledger::read_spaces(view)?.into_iter().filter(|(_, row)| row.is_open(&members)).collect();
        Ok(Self { members, spaces, authors: Mutex::default() })
    }

    /// Whether it was read for these very members.
    pub(crate) fn is_of(&self, members: &Arc<Members>) -> bool {
        Arc::ptr_eq(&self.members, members)
    }

    /// The space of a name or id; `default` for none.
    pub(crate) fn space(&self, name: Option<&str>) -> Result<(SpaceId, &SpaceRow), NodeError> {
        let name = name.unwrap_or("default");
        let named: Vec<_> = match name.parse::<SpaceId>() {
            Ok(id) => self.spaces.iter().filter(|(space, _)| *space == id).collect(),
            Err(()) => self.spaces.iter().filter(|(_, row)| row.name.as_str() == name && row.no != 0).collect(),
        };
        match named.as_slice() {
            [] => Err(NodeError::NotFound { what: Resource::Space, name: name.to_owned() }),
            [(id, row)] => Ok((*id, row)),
            several => Err(NodeError::Ambiguous {
                what: Resource::Space,
                name: name.to_owned(),
                candidates: several.iter().map(|(id, row)| format!("{} ({id})", row.name)).collect(),
            }),
        }
    }

    fn author(&self, view: &dyn View, log: rows::LogNo) -> Result<Did, StoreError> {
        let mut authors = self.authors.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(author) = authors.get(&log) {
            return Ok(*author);
        }
        let row = view.get(Table::Logs, &rows::log_key(log))?.ok_or_else(|| rows::unreadable(Table::Logs))?;
        let LogId { author, .. } = rows::decode(Table::Logs, &row)?;
        authors.insert(log, author);
        Ok(author)
    }
}

/// One value of a field: who wrote it, when, and where.
#[derive(Clone, Debug, PartialEq)]
struct FieldValue {
    value: Value,
    hlc: Hlc,
    author: Did,
    dot: Dot,
}

/// A record with all that is live in it.
struct Record {
    dot: Dot,
    row: RecordRow,
    author: Did,
    core: Core,
    live: BTreeMap<Field, Vec<LiveWrite>>,
}

/// A memory, and where its record is.
pub(crate) struct Shown {
    pub(crate) record: Dot,
    pub(crate) place: Place,
    pub(crate) space: rows::SpaceNo,
    pub(crate) memory: Memory,
    /// The caller's key.
    pub(crate) key: Option<String>,
}

/// A live write and who made it.
struct LiveWrite {
    dot: Dot,
    row: WriteRow,
    author: Did,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(
        view: &'a dyn View,
        store: StoreName,
        members: Arc<Members>,
        now: Timestamp,
    ) -> Result<Self, NodeError> {
        Ok(Self::with(view, store, Arc::new(Known::read(view, members)?), now))
    }

    /// The same, with what is known of the state that the view shows.
    pub(crate) fn with(view: &'a dyn View, store: StoreName, known: Arc<Known>, now: Timestamp) -> Self {
        Self { view, store, known, now }
    }

    /// When it is for this question: what has expired by then is out of sight.
    pub(crate) const fn now(&self) -> Timestamp {
        self.now
    }

    /// The space of a name or id; `default` for none.
    pub(crate) fn space(&self, name: Option<&str>) -> Result<(SpaceId, &SpaceRow), NodeError> {
        self.known.space(name)
    }

    /// The numbers of all spaces that hold memories.
    pub(crate) fn space_numbers(&self) -> impl Iterator<Item = rows::SpaceNo> {
        self.known.spaces.iter().map(|(_, row)| row.no).filter(|no| *no != 0)
    }

    /// The member of a DID or name.
    pub(crate) fn member(&self, name: &str) -> Result<Did, NodeError> {
        let is = |did: &Did, member: &nexus_crdt::Member| {
            did.to_string() == name || member.name().is_some_and(|called| called.as_str() == name)
        };
        let named: Vec<Did> =
            self.known.members.iter().filter(|(did, member)| is(did, member)).map(|(did, _)| *did).collect();
        match named.as_slice() {
            [] => Err(NodeError::NotFound { what: Resource::Member, name: name.to_owned() }),
            [did] => Ok(*did),
            several => Err(NodeError::Ambiguous {
                what: Resource::Member,
                name: name.to_owned(),
                candidates: several.iter().map(|did| format!("{name} ({did})")).collect(),
            }),
        }
    }

    /// The record that an id (or the beginning of one, or a former one) names.
    pub(crate) fn resolve(&self, id: &str) -> Result<Dot, NodeError> {
        Ok(self.find(id)?.0)
    }

    /// The record that an id names, and the memory that it is.
    fn find(&self, id: &str) -> Result<(Dot, Memory), NodeError> {
        let missing = || NodeError::NotFound { what: Resource::Memory, name: id.chars().take(64).collect() };
        let mut found = Vec::new();
        if let Ok(prefix) = id.parse::<DotPrefix>() {
            for (dot, eno) in self.entries_beginning_with(&prefix)? {
                let place = Place { eno, index: dot.index };
                found.extend(self.row_at(place)?.map(|row| (dot, place, row)));
            }
        }
        if found.is_empty() && id.len() <= 256 {
            let mut former = None;
            self.view.scan_prefix(Table::Was, &rows::was_prefix(id), Order::Forward, &mut |key, _| {
                former = rows::dot_at_end(key);
                ControlFlow::Break(())
            })?;
            if let Some(dot) = former {
                found.extend(self.row_of(dot)?.map(|(place, row)| (dot, place, row)));
            }
        }
        match found.as_slice() {
            [] => Err(missing()),
            [(dot, place, row)] => {
                let record = self.record_in(*dot, *place, *row)?;
                let (shown, memory) = self.memory_of(record)?.ok_or_else(missing)?;
                let expired = memory.expires_at.is_some_and(|end| end <= self.now);
                if expired { Err(missing()) } else { Ok((shown, memory)) }
            }
            several => Err(NodeError::Ambiguous {
                what: Resource::Memory,
                name: id.to_owned(),
                candidates: several.iter().map(|(dot, ..)| dot.to_string()).collect(),
            }),
        }
    }

    fn entries_beginning_with(&self, prefix: &DotPrefix) -> Result<Vec<(Dot, rows::Eno)>, NodeError> {
        /// Enough to tell that a beginning is too short.
        const CANDIDATES_MAX: usize = 16;
        let mut dots = Vec::new();
        let mut bad = None;
        self.view.scan_prefix(Table::Ids, &prefix.bytes(), Order::Forward, &mut |key, value| {
            let id = key.try_into().map(nexus_crdt::EntryId::from_bytes);
            if let Some(dot) = id.ok().and_then(|id| prefix.dot_in(id)) {
                match rows::read_eno(Table::Ids, value) {
                    Ok(eno) => dots.push((dot, eno)),
                    Err(error) => bad = Some(error),
                }
            }
            if dots.len() < CANDIDATES_MAX { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        })?;
        bad.map_or(Ok(dots), |error| Err(error.into()))
    }

    /// One memory, by an id as [`Self::resolve`] takes it.
    pub(crate) fn get(&self, id: &str) -> Result<Memory, NodeError> {
        Ok(self.find(id)?.1)
    }

    /// A record in sight as a memory; those that share its caller's key are part of it.
    pub(crate) fn memory(&self, dot: Dot) -> Result<Option<Memory>, NodeError> {
        let Some(first) = self.record(dot)? else {
            return Ok(None);
        };
        Ok(self.memory_of(first)?.map(|(_, memory)| memory))
    }

    /// The same by its place.
    pub(crate) fn memory_at(&self, place: Place) -> Result<Option<Memory>, NodeError> {
        let (Some(row), Some(dot)) = (self.row_at(place)?, self.dot_at(place)?) else {
            return Ok(None);
        };
        let record = self.record_in(dot, place, row)?;
        Ok(self.memory_of(record)?.map(|(_, memory)| memory))
    }

    /// The id of the record at a place.
    pub(crate) fn dot_at(&self, place: Place) -> Result<Option<Dot>, NodeError> {
        let entry = entry_id_of(self.view, place.eno)?;
        Ok(entry.map(|entry| Dot { entry, index: place.index }))
    }

    /// Where a record is, in sight or not.
    pub(crate) fn place(&self, dot: Dot) -> Result<Option<Place>, NodeError> {
        let eno = ledger::find_entry(self.view, dot.entry)?;
        Ok(eno.map(|eno| Place { eno, index: dot.index }))
    }

    /// The same for one that was read, with the record that stands for it.
    fn memory_of(&self, first: Record) -> Result<Option<(Dot, Memory)>, NodeError> {
        if first.core.key.is_none() && first.live.is_empty() {
            // as it was written, and nobody else's: most are
            return Ok(Some((first.dot, self.untouched(first))));
        }
        let mut parts = Vec::new();
        for other in self.group(&first)? {
            if other != first.dot {
                parts.extend(self.record(other)?);
            }
        }
        parts.push(first);
        parts.sort_by_key(|record| record.dot);
        let fields = SHOWN.map(|field| field_values(&parts, field));
        let shown =
            |place: usize| fields[place].first().map(|value: &FieldValue| value.value.clone()).unwrap_or_default();
        let Some(primary) = parts.first() else {
            return Ok(None);
        };
        let conflicts = SHOWN.iter().zip(&fields).filter(|(_, values)| values.len() > 1);
        let conflicts =
            conflicts.map(|(field, values)| ((*field).to_owned(), values.iter().map(as_conflict).collect()));
        let writes = || parts.iter().flat_map(|record| record.live.values().flatten());
        let latest = writes().map(|write| write.row.hlc).chain([primary.row.hlc]).max().unwrap_or_default();
        let name = self.known.members.get(&primary.author).and_then(|member| member.name());
        let memory = Memory {
            id: primary.dot.into(),
            was: primary.core.was.as_ref().map(|was| was.id.clone()),
            space: self.space_name(primary.row.space),
            text: shown(0).as_str().unwrap_or_default().to_owned(),
            kind: shown(1).as_str().unwrap_or_default().to_owned(),
            tags: serde_json::from_value(shown(2)).unwrap_or_default(),
            meta: serde_json::from_value(shown(3)).unwrap_or_default(),
            author: primary.author,
            author_name: name.map(ToString::to_string),
            created_at: primary.row.hlc.time(),
            updated_at: latest.time(),
            expires_at: shown(4).as_u64().map(Timestamp::from_ms),
            version: version_of(writes().map(|write| write.dot).chain(parts.iter().map(|record| record.dot))),
            conflicts: conflicts.collect(),
        };
        Ok(Some((primary.dot, memory)))
    }

    /// A record that nobody has edited, as a memory.
    fn untouched(&self, record: Record) -> Memory {
        let Record { dot, row, author, core, .. } = record;
        let name = self.known.members.get(&author).and_then(|member| member.name());
        Memory {
            id: dot.into(),
            was: core.was.map(|was| was.id),
            space: self.space_name(row.space),
            text: core.text,
            kind: core.kind,
            tags: core.tags,
            meta: core.meta,
            author,
            author_name: name.map(ToString::to_string),
            created_at: row.hlc.time(),
            updated_at: row.hlc.time(),
            expires_at: core.expires_at.map(Timestamp::from_ms),
            version: version_of([dot]),
            conflicts: BTreeMap::new(),
        }
    }

    /// A record in sight with the memory that it is shown as part of.
    pub(crate) fn shown(&self, dot: Dot) -> Result<Option<Shown>, NodeError> {
        let Some(record) = self.record(dot)? else {
            return Ok(None);
        };
        let (space, key) = (record.row.space, record.core.key.clone());
        let shown = self.group(&record)?.first().copied().unwrap_or(dot);
        let Some(place) = self.place(shown)? else {
            return Ok(None);
        };
        let memory = if shown == dot { self.memory_of(record)?.map(|(_, memory)| memory) } else { self.memory(shown)? };
        Ok(memory.map(|memory| Shown { record: shown, place, space, memory, key }))
    }

    /// The caller's key of a memory, for export.
    pub(crate) fn key_of(&self, id: &str) -> Result<Option<String>, NodeError> {
        let dot = self.resolve(id)?;
        Ok(self.record(dot)?.and_then(|record| record.core.key))
    }

    fn space_name(&self, no: rows::SpaceNo) -> String {
        self.known.spaces.iter().find(|(_, row)| row.no == no).map_or_else(String::new, |(_, row)| row.name.to_string())
    }

    /// The records in sight that are shown as one with this one, lowest dot first.
    fn group(&self, record: &Record) -> Result<Vec<Dot>, NodeError> {
        match &record.core.key {
            Some(key) => Ok(records_with_key(self.view, record.row.space, key)?),
            None => Ok(vec![record.dot]),
        }
    }

    /// A record in sight.
    fn record(&self, dot: Dot) -> Result<Option<Record>, NodeError> {
        self.row_of(dot)?.map(|(place, row)| self.record_in(dot, place, row)).transpose()
    }

    /// Where a record in sight is, and its row.
    fn row_of(&self, dot: Dot) -> Result<Option<(Place, RecordRow)>, NodeError> {
        let Some(place) = self.place(dot)? else {
            return Ok(None);
        };
        Ok(self.row_at(place)?.map(|row| (place, row)))
    }

    /// The row at a place, if the record there is in sight.
    fn row_at(&self, place: Place) -> Result<Option<RecordRow>, NodeError> {
        let Some(row) = self.view.get(Table::Records, &rows::record_key(place.eno, place.index))? else {
            return Ok(None);
        };
        let row: RecordRow = rows::decode(Table::Records, &row)?;
        Ok((!row.gone).then_some(row))
    }

    /// The record of a row, with what is live in it.
    fn record_in(&self, dot: Dot, place: Place, row: RecordRow) -> Result<Record, NodeError> {
        let (from, len) = (row.offset as usize, row.len as usize);
        let part = from..from.saturating_add(len);
        let core = self.view.get_part(Table::Payloads, &rows::eno_key(place.eno), part, row.check)?;
        let core = core.as_deref().and_then(|core| Core::parse(std::str::from_utf8(core).ok()?)).unwrap_or_default();
        let author = self.author(row.log)?;
        let mut live: BTreeMap<Field, Vec<LiveWrite>> = BTreeMap::new();
        for (field, dot, row) in self.writes(Table::Live, row.space, dot)? {
            let author = self.author(row.log)?;
            live.entry(field).or_default().push(LiveWrite { dot, row, author });
        }
        Ok(Record { dot, row, author, core, live })
    }

    fn author(&self, log: rows::LogNo) -> Result<Did, StoreError> {
        self.known.author(self.view, log)
    }

    /// The writes of a record in one of the two tables; those that never came are left out.
    fn writes(
        &self,
        table: Table,
        space: rows::SpaceNo,
        record: Dot,
    ) -> Result<Vec<(Field, Dot, WriteRow)>, StoreError> {
        let mut writes = Vec::new();
        let mut bad = false;
        self.view.scan_prefix(table, &rows::record_prefix(space, record), Order::Forward, &mut |key, value| {
            if !value.is_empty() {
                match (rows::read_write_key(key), rows::decode(table, value)) {
                    (Some((field, dot)), Ok(row)) => writes.push((field, dot, row)),
                    _ => bad = true,
                }
            }
            ControlFlow::Continue(())
        })?;
        if bad { Err(rows::unreadable(table)) } else { Ok(writes) }
    }

    /// A page of memories, newest first.
    pub(crate) fn list(&self, query: &ListQuery) -> Result<Listing, NodeError> {
        if !(1..=1_000).contains(&query.limit) {
            return Err(NodeError::Invalid(format!("limit is {}, it may be 1 to 1000", query.limit)));
        }
        let spaces: Vec<rows::SpaceNo> = match &query.space {
            Some(name) => vec![self.space(Some(name))?.1.no],
            None => self.space_numbers().collect(),
        };
        let mut after =
            query.after.as_deref().map_or(Ok(cursor::LATEST), |text| cursor::parse_listing(text, self.store))?;
        let mut items = Vec::new();
        loop {
            let keys = self.keys_before(&spaces, after, query.limit + 1 - items.len().min(query.limit))?;
            if keys.is_empty() {
                return Ok(Listing { items, next: None });
            }
            for key in keys {
                if items.len() == query.limit {
                    return Ok(Listing { items, next: Some(cursor::render_listing(self.store, after)) });
                }
                after = key;
                items.extend(self.listed(key)?);
            }
        }
    }

    /// The memory at a place in the listing, unless it is shown elsewhere or has expired.
    fn listed(&self, key: TimeKey) -> Result<Option<Memory>, NodeError> {
        let place = Place { eno: key.eno, index: key.index };
        let (Some(row), Some(dot)) = (self.row_at(place)?, self.dot_at(place)?) else {
            return Ok(None);
        };
        let record = self.record_in(dot, place, row)?;
        let now = self.now;
        let live = |memory: &Memory| memory.expires_at.is_none_or(|end| end > now);
        let memory = self.memory_of(record)?.filter(|(shown, memory)| *shown == dot && live(memory));
        Ok(memory.map(|(_, memory)| memory))
    }

    /// The places of the next records of several spaces, newest first.
    fn keys_before(&self, spaces: &[rows::SpaceNo], before: TimeKey, limit: usize) -> Result<Vec<TimeKey>, NodeError> {
        let mut keys: Vec<TimeKey> = Vec::new();
        for space in spaces {
            let (start, end) = (space.to_be_bytes(), TimeKey { space: *space, ..before }.to_bytes());
            let mut taken = 0;
            let range = (Bound::Included(start.as_slice()), Bound::Excluded(end.as_slice()));
            self.view.scan(Table::ByTime, range, Order::Backward, &mut |key, _| {
                keys.extend(TimeKey::from_bytes(key));
                taken += 1;
                if taken < limit { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
            })?;
        }
        keys.sort_by_key(|key| std::cmp::Reverse((key.hlc, key.eno, key.index)));
        keys.truncate(limit);
        Ok(keys)
    }

    /// A memory's past, oldest first.
    pub(crate) fn history(&self, id: &str) -> Result<Vec<Revision>, NodeError> {
        let dot = self.resolve(id)?;
        let missing = || NodeError::NotFound { what: Resource::Memory, name: id.to_owned() };
        let record = self.record(dot)?.ok_or_else(missing)?;
        let mut steps: Vec<(Hlc, Dot, Did, String, Value, Vec<Dot>)> = Vec::new();
        for part in self.group(&record)? {
            let Some(record) = self.record(part)? else { continue };
            let core = serde_json::to_value(&record.core).unwrap_or_default();
            steps.push((record.row.hlc, part, record.author, Field::CORE.to_owned(), core, vec![]));
            for table in [Table::Live, Table::Past] {
                for (field, dot, row) in self.writes(table, record.row.space, part)? {
                    let value = serde_json::from_str(&row.value).unwrap_or_default();
                    steps.push((row.hlc, dot, self.author(row.log)?, field.as_str().to_owned(), value, row.over));
                }
            }
        }
        steps.sort_by_key(|(hlc, dot, ..)| (*hlc, *dot));
        let mut live = std::collections::BTreeSet::new();
        let mut past: Vec<Revision> = Vec::new();
        let mut last_entry = None;
        for (hlc, dot, by, field, value, over) in steps {
            live.insert(dot);
            for over in over {
                live.remove(&over);
            }
            let version = version_of(live.iter().copied());
            let changed = if field == Field::CORE { core_changes(value) } else { BTreeMap::from([(field, value)]) };
            match past.last_mut() {
                // the writes of one entry are one step
                Some(step) if last_entry == Some(dot.entry) => {
                    step.version = version;
                    step.changed.extend(changed);
                }
                _ => past.push(Revision { version, at: hlc.time(), by, changed }),
            }
            last_entry = Some(dot.entry);
        }
        Ok(past)
    }

    /// All spaces that hold memories.
    pub(crate) fn spaces(&self) -> Vec<SpaceInfo> {
        let readers: Vec<Did> = self.known.members.iter().map(|(did, _)| *did).collect();
        let writers: Vec<Did> = readers.iter().copied().filter(|did| self.known.members.may_write(did)).collect();
        let shown = self.known.spaces.iter().filter(|(_, row)| row.no != 0);
        let info = |(id, row): &(SpaceId, SpaceRow)| SpaceInfo {
            space: row.name.to_string(),
            id: *id,
            readers: readers.clone(),
            writers: writers.clone(),
            records: row.records,
            entries: row.entries,
            bytes: row.bytes,
        };
        shown.map(info).collect()
    }
}

/// What a creating write wrote, by field; housekeeping left out.
fn core_changes(core: Value) -> BTreeMap<String, Value> {
    let Value::Object(members) = core else {
        return BTreeMap::new();
    };
    members.into_iter().filter(|(field, _)| SHOWN.contains(&field.as_str())).collect()
}

fn as_conflict(value: &FieldValue) -> ConflictValue {
    ConflictValue { value: value.value.clone(), author: value.author, at: value.hlc.time() }
}

/// The distinct values of a field in records that are shown as one, latest first.
fn field_values(parts: &[Record], field: &str) -> Vec<FieldValue> {
    let mut values: Vec<FieldValue> = Vec::new();
    for record in parts {
        match record.live.get(&Field::named(field)) {
            Some(live) => values.extend(live.iter().map(|write| FieldValue {
                value: serde_json::from_str(&write.row.value).unwrap_or_default(),
                hlc: write.row.hlc,
                author: write.author,
                dot: write.dot,
            })),
            None => values.push(FieldValue {
                value: core_member(&record.core, field),
                hlc: record.row.hlc,
                author: record.author,
                dot: record.dot,
            }),
        }
    }
    values.sort_by_key(|value| std::cmp::Reverse((value.hlc, value.dot)));
    let mut distinct: Vec<FieldValue> = Vec::new();
    for value in values {
        if !distinct.iter().any(|known| known.value == value.value) {
            distinct.push(value);
        }
    }
    distinct
}

/// A field as the record was created with it.
fn core_member(core: &Core, field: &str) -> Value {
    match field {
        Field::TEXT => core.text.clone().into(),
        Field::KIND => core.kind.clone().into(),
        Field::TAGS => core.tags.clone().into(),
        Field::META => serde_json::to_value(&core.meta).unwrap_or_default(),
        Field::EXPIRES_AT => core.expires_at.into(),
        _ => Value::Null,
    }
}
