#[cfg(feature = "http")]
mod conflicts;
pub(crate) mod erased;
mod former;
mod history;
pub(crate) mod proof;
mod resolved;
#[cfg(feature = "mcp")]
mod short;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::{Bound, ControlFlow};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use nexus_crdt::{ALL_LEAVES, Core, DERIVED_SPACES, Dot, DotPrefix, EntryId, Hlc, Members, SpaceId, SpaceRule};
use nexus_identity::{Did, Name, Timestamp, folded};

#[cfg(feature = "http")]
pub(crate) use self::former::Fate;
use self::proof::Proofs;
use self::resolved::Record;
use super::cursor::{self, StoreName};
use crate::error::{InputError, NodeError, Resource};
use crate::ledger::rows::{self, Place, RecordRow, SpaceRow, TimeKey};
use crate::ledger::{
    self, ChainEnd, Walked, entry_id_of, find_record, first_with_key, is_chained, keys_like, read_core_text,
    shown_together,
};
use crate::memory::{AHEAD_MAX, ListQuery, Listing, Memory, SpaceInfo};
use crate::store::{Order, StoreError, Table, View};

/// The space of a question that names none.
const DEFAULT: &str = "default";
/// The most places of a listing that are looked at for one page. A page may have less than it has room for.
const LOOKED_AT_MAX: usize = 10_000;
/// The most candidates named for a name or the beginning of an id.
const CANDIDATES_MAX: usize = 16;

/// Answers questions from one committed state.
pub(crate) struct Reader<'a> {
    view: &'a dyn View,
    store: StoreName,
    known: Arc<Visible>,
    now: Timestamp,
    /// The later of this node's time and the one on which most clocks agree.
    latest: Timestamp,
    /// The chains that this question has walked.
    walked: Walked,
}

/// The facts of a state that nearly every question needs, read once for all questions.
pub(crate) struct Visible {
    me: Did,
    members: Arc<Members>,
    /// The spaces that this node may read, with mesh, by id.
    spaces: Vec<(SpaceId, SpaceRow)>,
    /// Their places in that list, by number.
    numbers: BTreeMap<rows::SpaceNo, usize>,
    /// The names that mean none of these spaces alone.
    shared_names: OnceLock<BTreeSet<String>>,
    /// The built-in spaces, by their names.
    built_in: BTreeMap<&'static str, SpaceId>,
    /// The spaces that this node has written to or created, once somebody asked.
    used: OnceLock<BTreeSet<SpaceId>>,
    /// The keys of this person's machines, once somebody asked.
    mine: OnceLock<BTreeSet<Did>>,
    /// The authors of logs, as far as they were asked for. A log's author never changes.
    authors: Mutex<BTreeMap<rows::LogNo, Did>>,
    /// The names of members, as far as they were asked for.
    names: Mutex<BTreeMap<Did, Option<String>>>,
    /// The proofs of imported memories that were checked; `None` where nobody is shown who wrote them.
    proofs: Option<Arc<Proofs>>,
}

impl Visible {
    /// Of the state that a view shows, as one of these members may see it.
    pub(crate) fn read(view: &dyn View, me: Did, members: Arc<Members>) -> Result<Self, StoreError> {
        let spaces = ledger::read_spaces(view)?.into_iter();
        let spaces: Vec<_> =
            spaces.filter(|(space, row)| !row.cut && members.may_show(&me, &row.rule(*space))).collect();
        let numbers = spaces.iter().enumerate().map(|(place, (_, row))| (row.no, place)).collect();
        let (shared_names, used, mine) = (OnceLock::new(), OnceLock::new(), OnceLock::new());
        let (authors, names) = (Mutex::default(), Mutex::default());
        let mesh = members.mesh();
        let built_in = DERIVED_SPACES.iter().filter_map(|name| Some((*name, SpaceId::derived(&mesh, name)?))).collect();
        Ok(Self { me, members, spaces, numbers, shared_names, built_in, used, mine, authors, names, proofs: None })
    }

    fn mine(&self) -> &BTreeSet<Did> {
        self.mine.get_or_init(|| {
            let person = self.members.person(&self.me);
            let machines = self.members.machines_of(&person);
            machines.chain([self.me]).flat_map(|machine| self.members.keys_of(&machine)).collect()
        })
    }

    /// The same for memories that show who wrote them in another mesh.
    #[must_use]
    pub(crate) fn with_proofs(self, proofs: Arc<Proofs>) -> Self {
        Self { proofs: Some(proofs), ..self }
    }

    /// The part of it that is in these spaces, by name or id. The mesh's own space is in none.
    #[must_use]
    pub(crate) fn within(&self, names: &[String]) -> Self {
        let meant: BTreeSet<SpaceId> = names.iter().flat_map(|name| self.meant_by(name)).map(|(id, _)| *id).collect();
        let spaces: Vec<_> = self.spaces.iter().filter(|(id, _)| meant.contains(id)).cloned().collect();
        let numbers = spaces.iter().enumerate().map(|(place, (_, row))| (row.no, place)).collect();
        // a space is called here as it is elsewhere
        let shared_names = OnceLock::from(self.shared_names().clone());
        let (used, mine, authors, names) = (OnceLock::new(), OnceLock::new(), Mutex::default(), Mutex::default());
        let (members, built_in, proofs) = (self.members.clone(), self.built_in.clone(), self.proofs.clone());
        Self { me: self.me, members, spaces, numbers, shared_names, built_in, used, mine, authors, names, proofs }
    }

    /// A space that this node may read.
    pub(crate) fn readable(&self, space: SpaceId) -> Option<&SpaceRow> {
        let place = self.spaces.binary_search_by_key(&space, |(id, _)| *id).ok()?;
        Some(&self.spaces[place].1)
    }

    fn numbered(&self, no: rows::SpaceNo) -> Option<&(SpaceId, SpaceRow)> {
        self.numbers.get(&no).map(|place| &self.spaces[*place])
    }

    /// Whether it was read for these very members.
    pub(crate) fn is_of(&self, members: &Arc<Members>) -> bool {
        Arc::ptr_eq(&self.members, members)
    }

    /// The spaces that a name or an id may mean. Anybody may give a space any name, but a built-in name means
    /// the built-in space alone.
    fn meant_by(&self, name: &str) -> Vec<&(SpaceId, SpaceRow)> {
        let id = match self.built_in.get(name) {
            Some(id) => Ok(*id),
            None => name.parse::<SpaceId>(),
        };
        let found = self.spaces.iter().filter(|(_, row)| row.no != 0);
        match id {
            Ok(id) => found.filter(|(space, _)| *space == id).collect(),
            Err(()) => {
                let exact: Vec<_> = found.clone().filter(|(_, row)| row.name.as_str() == name).collect();
                if !exact.is_empty() {
                    return exact;
                }
                let wanted = folded(name);
                found.filter(|(_, row)| folded(row.name.as_str()) == wanted).collect()
            }
        }
    }

    /// The name of a space that differs from this one at most in case or form. Several spaces may have it.
    pub(crate) fn name_like(&self, name: &Name) -> Option<Name> {
        let wanted = folded(name.as_str());
        let built_in = self.built_in.keys().filter_map(|name| name.parse().ok());
        let mut names = self.spaces.iter().map(|(_, row)| row.name.clone()).chain(built_in);
        names.find(|other: &Name| folded(other.as_str()) == wanted)
    }

    /// The space of a name or id; `default` for none. `None` if it may be one of several, which
    /// [`Reader::space`] tells apart.
    pub(crate) fn space(&self, name: Option<&str>) -> Option<(SpaceId, &SpaceRow)> {
        match self.meant_by(name.unwrap_or(DEFAULT)).as_slice() {
            [(id, row)] => Some((*id, row)),
            _ => None,
        }
    }

    fn shared_names(&self) -> &BTreeSet<String> {
        self.shared_names.get_or_init(|| {
            let mut names = BTreeSet::new();
            let others = self.spaces.iter().map(|(_, row)| row.name.as_str()).filter(|name| !names.insert(*name));
            others.map(str::to_owned).collect()
        })
    }

    /// The name to show for a space: its own, or its id where that name means another one, too.
    pub(crate) fn shown_name(&self, id: &SpaceId, row: &SpaceRow) -> String {
        let name = row.name.as_str();
        let known_by_name = match self.built_in.get(name) {
            Some(built_in) => built_in == id,
            None => !self.shared_names().contains(name),
        };
        if known_by_name { name.to_owned() } else { id.to_string() }
    }

    fn name_of(&self, did: &Did) -> Option<String> {
        let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        names.entry(*did).or_insert_with(|| self.members.shown_name(did)).clone()
    }

    fn author(&self, view: &dyn View, log: rows::LogNo) -> Result<Did, StoreError> {
        let mut authors = self.authors.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(author) = authors.get(&log) {
            return Ok(*author);
        }
        let author = ledger::author_of(view, log)?;
        authors.insert(log, author);
        Ok(author)
    }
}

/// The records that stand for a record that was touched.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct StandIns {
    /// The record that stands for its memory; `None` if it is out of sight.
    pub(crate) own: Option<Dot>,
    /// The first end of its chain, where that is another one.
    pub(crate) end: Option<Dot>,
}

impl StandIns {
    /// All of them.
    pub(crate) fn all(self) -> impl Iterator<Item = Dot> {
        self.own.into_iter().chain(self.end)
    }
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

/// A forgotten memory as it was.
pub(crate) struct Gone {
    pub(crate) memory: Memory,
    /// The caller's key.
    pub(crate) key: Option<String>,
    /// The proof of who wrote its text in another mesh, in base64.
    pub(crate) proof: Option<String>,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(
        view: &'a dyn View,
        store: StoreName,
        me: Did,
        members: Arc<Members>,
        now: Timestamp,
    ) -> Result<Self, NodeError> {
        Ok(Self::with(view, store, Arc::new(Visible::read(view, me, members)?), now))
    }

    /// The same, with what is known of the state that the view shows.
    pub(crate) fn with(view: &'a dyn View, store: StoreName, known: Arc<Visible>, now: Timestamp) -> Self {
        Self { view, store, known, now, latest: now, walked: Walked::default() }
    }

    /// The same where most clocks agree on a time. A slow clock of this node has nothing of others called early then.
    #[must_use]
    pub(crate) fn agreeing(self, agreed: Timestamp) -> Self {
        Self { latest: self.now.max(agreed), ..self }
    }

    /// The time of this question: memories that have expired by then are out of sight.
    pub(crate) const fn now(&self) -> Timestamp {
        self.now
    }

    /// The time by which stamps are judged: a later one is ahead.
    pub(crate) const fn latest(&self) -> Timestamp {
        self.latest
    }

    /// The space of a name or id; `default` for none. Of several with one name it is the one that this node
    /// has written to or created.
    pub(crate) fn space(&self, name: Option<&str>) -> Result<(SpaceId, &SpaceRow), NodeError> {
        let name = name.unwrap_or(DEFAULT);
        let mut meant = self.known.meant_by(name);
        if meant.len() > 1 {
            let used = self.used_spaces()?;
            if meant.iter().any(|(id, _)| used.contains(id)) {
                meant.retain(|(id, _)| used.contains(id));
            }
        }
        match meant.as_slice() {
            [] => Err(NodeError::NotFound { what: Resource::Space, name: name.to_owned() }),
            [(id, row)] => Ok((*id, row)),
            several => Err(NodeError::Ambiguous {
                what: Resource::Space,
                name: name.to_owned(),
                candidates: several
                    .iter()
                    .take(CANDIDATES_MAX)
                    .map(|(id, row)| format!("{} ({id})", row.name))
                    .collect(),
            }),
        }
    }

    /// The spaces that this node has written to or created, in any incarnation. Others choose how many logs
    /// there are, so they are read once for all questions to this state.
    fn used_spaces(&self) -> Result<&BTreeSet<SpaceId>, NodeError> {
        if let Some(used) = self.known.used.get() {
            return Ok(used);
        }
        let (me, mesh) = (self.known.me, SpaceId::mesh(&self.known.members.mesh()));
        let mut used = BTreeSet::new();
        for (no, log, _) in ledger::read_logs(self.view)? {
            if log.author != me {
                continue;
            }
            used.insert(log.space);
            if log.space == mesh {
                used.extend(ledger::spaces_created_in(self.view, no)?);
            }
        }
        Ok(self.known.used.get_or_init(|| used))
    }

    /// The numbers of the spaces that hold memories and that this node may read.
    pub(crate) fn space_numbers(&self) -> impl Iterator<Item = rows::SpaceNo> {
        self.known.spaces.iter().map(|(_, row)| row.no).filter(|no| *no != 0)
    }

    /// A space that this node may read by its number, with the name to show for it.
    pub(crate) fn space_numbered(&self, no: rows::SpaceNo) -> Option<(SpaceId, String)> {
        self.known.numbered(no).map(|(id, row)| (*id, self.known.shown_name(id, row)))
    }

    /// The name to show for a space that this node may read.
    pub(crate) fn name_of_space(&self, space: SpaceId) -> Option<String> {
        self.known.readable(space).map(|row| self.known.shown_name(&space, row))
    }

    /// The access rule of a space that this node may read.
    pub(crate) fn rule_of(&self, space: SpaceId) -> Option<SpaceRule> {
        self.known.readable(space).map(|row| row.rule(space))
    }

    /// The members, present and former.
    pub(crate) fn members(&self) -> &Members {
        &self.known.members
    }

    /// The member of a DID or name. One who is no member any more gives way to one who is.
    pub(crate) fn member(&self, name: &str) -> Result<Did, NodeError> {
        let named = self.known.members.called(name);
        Resource::Member.the_one(name, named.into_iter().map(|did| (did, format!("{name} ({did})"))).collect())
    }

    /// The members of a DID or name, present and former: none, one, or several whose names are like it.
    pub(crate) fn members_called(&self, name: &str) -> impl Iterator<Item = Did> {
        let is = move |did: &Did, member: &nexus_crdt::Member| {
            did.to_string() == name || member.name().is_some_and(|called| called.is_like(name))
        };
        let former = self.known.members.iter_known().filter(move |(did, member)| is(did, member)).map(|(did, _)| *did);
        let called = self.known.members.called(name);
        called.clone().into_iter().chain(former.filter(move |did| !called.contains(did)))
    }

    /// This node.
    pub(crate) fn me(&self) -> Did {
        self.known.me
    }

    /// Whether a key is this person's: that of this node or of another machine of its person, or one that they had before.
    pub(crate) fn is_mine(&self, did: &Did) -> bool {
        self.known.mine().contains(did)
    }

    /// The keys of this person's machines.
    pub(crate) fn mine(&self) -> BTreeSet<Did> {
        self.known.mine().clone()
    }

    /// Whether a key is a member's now, or was before the member had another one.
    pub(crate) fn is_of_member(&self, did: &Did) -> bool {
        let members = &self.known.members;
        members.get(&members.present_key(did)).is_some()
    }

    /// The record that an id names: the beginning of one, a former one by this node's own word, or a caller's key.
    pub(crate) fn resolve(&self, id: &str) -> Result<Dot, NodeError> {
        Ok(self.find(id, true)?.0)
    }

    /// The record that an id names, and the memory that it is.
    ///
    /// A key is anybody's choice, also one that looks like the id of another memory. So a whole id is never a key, and of
    /// the beginning of an id and a key neither comes before the other.
    fn find(&self, id: &str, by_key: bool) -> Result<(Dot, Memory), NodeError> {
        let missing = || NodeError::NotFound { what: Resource::Memory, name: id.chars().take(64).collect() };
        let mut found = Vec::new();
        if let Ok(prefix) = id.parse::<DotPrefix>() {
            for (dot, eno) in self.entries_beginning_with(&prefix)? {
                let place = Place { eno, index: dot.index };
                found.extend(self.row_at(place)?.map(|row| (dot, place, row)));
            }
        }
        if found.is_empty() && id.len() <= 256 {
            // anybody can claim to have had any id, so only this node's own word counts
            if let Some(dot) = ledger::record_that_was(self.view, id, &self.known.me)? {
                found.extend(self.row_of(dot)?.map(|(place, row)| (dot, place, row)));
            }
        }
        let is_whole = matches!(found.as_slice(), [(dot, ..)] if dot.to_string() == id);
        if by_key && !is_whole && id.len() <= 256 {
            for (dot, place, row) in self.with_key(id)? {
                if found.iter().all(|(other, ..)| *other != dot) {
                    found.push((dot, place, row));
                }
            }
        }
        match found.as_slice() {
            [] => Err(missing()),
            [(dot, place, row)] => {
                let record = self.record_in(*dot, *place, *row)?;
                let (shown, memory) = self.memory_of(record)?;
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

    /// The memories with a caller's key: of each space the record that stands for it.
    fn with_key(&self, key: &str) -> Result<Vec<(Dot, Place, RecordRow)>, NodeError> {
        let mut found = Vec::new();
        for space in self.space_numbers() {
            if let Some(dot) = first_with_key(self.view, space, key)? {
                found.extend(self.row_of(dot)?.map(|(place, row)| (dot, place, row)));
            }
            if found.len() >= CANDIDATES_MAX {
                break;
            }
        }
        if !found.is_empty() {
            return Ok(found);
        }
        // as somebody else spells it
        for space in self.space_numbers() {
            for spelled in keys_like(self.view, space, key)? {
                if let Some(dot) = first_with_key(self.view, space, &spelled)? {
                    found.extend(self.row_of(dot)?.map(|(place, row)| (dot, place, row)));
                }
            }
        }
        found.truncate(CANDIDATES_MAX);
        Ok(found)
    }

    fn entries_beginning_with(&self, prefix: &DotPrefix) -> Result<Vec<(Dot, rows::Eno)>, NodeError> {
        let mut dots = Vec::new();
        self.view.try_scan_prefix(Table::Ids, &prefix.bytes(), Order::Forward, &mut |key, value| {
            let id = key.try_into().map(EntryId::from_bytes).map_err(|_| rows::unreadable(Table::Ids))?;
            if let Some(dot) = prefix.dot_in(id) {
                dots.push((dot, rows::read_eno(Table::Ids, value)?));
            }
            Ok(if dots.len() < CANDIDATES_MAX { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
        })?;
        Ok(dots)
    }

    /// A forgotten memory as it was, by its id or the beginning of one.
    pub(crate) fn forgotten(&self, id: &str) -> Result<Gone, NodeError> {
        let (dot, place, row) = self.find_forgotten(id)?;
        self.as_it_was(self.record_in(dot, place, row)?)
    }

    /// The record of a forgotten memory, by its id or the beginning of one.
    fn forgotten_record(&self, id: &str) -> Result<Dot, NodeError> {
        Ok(self.find_forgotten(id)?.0)
    }

    fn find_forgotten(&self, id: &str) -> Result<(Dot, Place, RecordRow), NodeError> {
        let missing = || NodeError::NotFound { what: Resource::Forgotten, name: id.chars().take(64).collect() };
        let prefix: DotPrefix = id.parse().map_err(|()| missing())?;
        let mut found = Vec::new();
        for (dot, eno) in self.entries_beginning_with(&prefix)? {
            let place = Place { eno, index: dot.index };
            let Some(row) = self.view.get(Table::Records, &rows::record_key(eno, dot.index))? else { continue };
            let row: RecordRow = rows::decode(Table::Records, &row)?;
            if row.gone && self.known.numbered(row.space).is_some() && !self.is_erased(dot)? {
                found.push((dot, place, row));
            }
        }
        let candidates = found.into_iter().map(|found| (found, found.0.to_string())).collect();
        Resource::Forgotten.the_one(id, candidates)
    }

    /// Whether a record's content is known to be erased.
    fn is_erased(&self, dot: Dot) -> Result<bool, NodeError> {
        let Some(entry) = ledger::entry_of(self.view, dot.entry)? else { return Ok(false) };
        let erased = ledger::erased_leaves(self.view, &entry)?;
        Ok(erased.iter().any(|leaf| *leaf == dot.index || *leaf == ALL_LEAVES))
    }

    /// The live memory with a caller's key in a space.
    pub(crate) fn keyed(&self, space: &str, key: &str) -> Result<Option<Dot>, NodeError> {
        let (_, row) = self.space(Some(space))?;
        Ok(first_with_key(self.view, row.no, key)?)
    }

    /// The memory that this node wrote as a copy of another one.
    pub(crate) fn copy_of(&self, id: &str) -> Result<Option<Memory>, NodeError> {
        let Some(dot) = ledger::record_that_was(self.view, id, &self.known.me)? else { return Ok(None) };
        self.memory(dot)
    }

    /// One memory, by an id as [`Self::resolve`] takes it.
    pub(crate) fn get(&self, id: &str) -> Result<Memory, NodeError> {
        Ok(self.find(id, true)?.1)
    }

    /// One memory, by its id or a former one.
    pub(crate) fn get_by_id(&self, id: &str) -> Result<Memory, NodeError> {
        Ok(self.find(id, false)?.1)
    }

    /// A record in sight as a memory; those that share its caller's key are part of it.
    pub(crate) fn memory(&self, dot: Dot) -> Result<Option<Memory>, NodeError> {
        let record = self.record(dot)?;
        record.map(|record| Ok(self.memory_of(record)?.1)).transpose()
    }

    /// The same by its place.
    pub(crate) fn memory_at(&self, place: Place) -> Result<Option<Memory>, NodeError> {
        let (Some(row), Some(dot)) = (self.row_at(place)?, self.dot_at(place)?) else {
            return Ok(None);
        };
        let record = self.record_in(dot, place, row)?;
        Ok(Some(self.memory_of(record)?.1))
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

    /// The records whose forms may have changed with a record. One stands for its memory: itself, or the lowest end of its
    /// chain. That end is among them also if the record no longer is one.
    pub(crate) fn stand_for(&self, dot: Dot) -> Result<StandIns, NodeError> {
        let Some((eno, row)) = find_record(self.view, dot)?.filter(|(_, row)| self.known.numbered(row.space).is_some())
        else {
            return Ok(StandIns::default());
        };
        let core = self.chained_core(eno, &row)?.unwrap_or_default();
        if !is_chained(self.view, dot, &row, &core)? {
            let own = match &core.key {
                Some(key) => first_with_key(self.view, row.space, key)?,
                None => (!row.gone).then_some(dot),
            };
            return Ok(StandIns { own, end: None });
        }
        let ends = self.walked.ends(self.view, row.space, dot)?;
        let end = ends.first().map(|end| end.record);
        let own = if row.gone || ends.iter().any(|end| end.record == dot) { end } else { Some(dot) };
        Ok(StandIns { own, end: end.filter(|end| own != Some(*end)) })
    }

    /// The core of a record that may be in a chain with others. Most are not, and parsing costs more than searching for
    /// the words.
    fn chained_core(&self, eno: rows::Eno, row: &RecordRow) -> Result<Option<Core>, NodeError> {
        let core = read_core_text(self.view, eno, row)?;
        let chained = ["\"key\"", "\"supersedes\"", "\"was\""].iter().any(|name| core.contains(name));
        let parse = || Core::parse(&core).ok_or_else(|| rows::unreadable(Table::Payloads));
        Ok(chained.then(parse).transpose()?)
    }

    /// The memory that took the place of another one, or that one itself.
    pub(crate) fn latest_of(&self, memory: Memory) -> Result<Memory, NodeError> {
        let dot = self.resolve(&memory.id.to_string())?;
        let Some((_, row)) = find_record(self.view, dot)? else { return Ok(memory) };
        let ends = self.walked.ends(self.view, row.space, dot)?;
        match ends.first().filter(|_| ends.iter().all(|end| end.record != dot)) {
            Some(end) => Ok(self.memory(end.record)?.unwrap_or(memory)),
            None => Ok(memory),
        }
    }

    /// A record in sight with the memory that it is shown as part of.
    pub(crate) fn shown(&self, dot: Dot) -> Result<Option<Shown>, NodeError> {
        let Some(record) = self.record(dot)? else {
            return Ok(None);
        };
        let space = record.row.space;
        let key = match &record.core.key {
            Some(key) => Some(key.clone()),
            None => ledger::key_to(self.view, dot, &record.row, &record.core)?,
        };
        let shown = self.group(&record, 1)?.first().map_or(dot, |end| end.record);
        let Some(place) = self.place(shown)? else {
            return Ok(None);
        };
        let memory = if shown == dot { Some(self.memory_of(record)?.1) } else { self.memory(shown)? };
        Ok(memory.map(|memory| Shown { record: shown, place, space, memory, key }))
    }

    /// The core of a copy of a memory: its key, and the values shown.
    pub(crate) fn core_of(&self, id: &str) -> Result<Core, NodeError> {
        let missing = || NodeError::NotFound { what: Resource::Memory, name: id.to_owned() };
        let record = self.record(self.resolve(id)?)?.ok_or_else(missing)?;
        Ok(self.resolved(record)?.core)
    }

    /// The caller's key of a memory, for export.
    pub(crate) fn key_of(&self, id: &str) -> Result<Option<String>, NodeError> {
        let dot = self.resolve(id)?;
        Ok(self.record(dot)?.and_then(|record| record.core.key))
    }

    /// The caller's key that leads to a memory.
    pub(crate) fn key_to(&self, id: &str) -> Result<Option<String>, NodeError> {
        let Some(record) = self.record(self.resolve(id)?)? else { return Ok(None) };
        Ok(ledger::key_to(self.view, record.dot, &record.row, &record.core)?)
    }

    fn space_name(&self, no: rows::SpaceNo) -> String {
        self.known.numbered(no).map_or_else(String::new, |(id, row)| self.known.shown_name(id, row))
    }

    /// The records in sight that are one memory with this one, lowest dot first, at most `most` of them.
    fn group(&self, record: &Record, most: usize) -> Result<Vec<ChainEnd>, NodeError> {
        Ok(shown_together(self.view, record.dot, &record.row, &record.core, most, &self.walked)?)
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

    /// The row at a place, if the record there is in sight: not forgotten, and in a space that this
    /// node may read.
    fn row_at(&self, place: Place) -> Result<Option<RecordRow>, NodeError> {
        let Some(row) = self.view.get(Table::Records, &rows::record_key(place.eno, place.index))? else {
            return Ok(None);
        };
        let row: RecordRow = rows::decode(Table::Records, &row)?;
        Ok((!row.gone && self.known.numbered(row.space).is_some()).then_some(row))
    }

    fn author(&self, log: rows::LogNo) -> Result<Did, StoreError> {
        self.known.author(self.view, log)
    }

    /// A member's name, told apart from those that are like it.
    pub(crate) fn name_of(&self, did: &Did) -> Option<String> {
        self.known.name_of(did)
    }

    /// A page of memories, newest first. The conditions of the question are not looked at.
    pub(crate) fn list(&self, query: &ListQuery) -> Result<Listing, NodeError> {
        self.list_of(query, |_| true)
    }

    /// A page of those memories that are wanted, newest first.
    pub(crate) fn list_of(&self, query: &ListQuery, wanted: impl Fn(&Memory) -> bool) -> Result<Listing, NodeError> {
        if !(1..=1_000).contains(&query.limit) {
            return Err(InputError::Limit { limit: query.limit, max: 1_000 }.into());
        }
        let spaces: Vec<rows::SpaceNo> = match &query.space {
            Some(name) => vec![self.space(Some(name))?.1.no],
            None => self.space_numbers().collect(),
        };
        let mut after =
            query.after.as_deref().map_or(Ok(cursor::LATEST), |text| cursor::parse_listing(text, self.store))?;
        let (mut items, mut looked_at) = (Vec::new(), 0);
        loop {
            let keys = self.keys_before(&spaces, after, query.limit + 1 - items.len().min(query.limit))?;
            if keys.is_empty() {
                return Ok(Listing { items, next: None });
            }
            for key in keys {
                if items.len() == query.limit || looked_at == LOOKED_AT_MAX {
                    return Ok(Listing { items, next: Some(cursor::render_listing(self.store, after)) });
                }
                (after, looked_at) = (key, looked_at + 1);
                items.extend(self.listed(key)?.filter(|memory| wanted(memory)));
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
        if self.group(&record, 1)?.first().is_some_and(|first| first.record != dot) {
            return Ok(None);
        }
        let (_, memory) = self.memory_of(record)?;
        Ok(memory.expires_at.is_none_or(|end| end > self.now).then_some(memory))
    }

    /// The places of the next records of several spaces, newest first. A member may give its entries any stamp, so
    /// those whose stamps are ahead of this node's clock come last.
    fn keys_before(&self, spaces: &[rows::SpaceNo], before: TimeKey, limit: usize) -> Result<Vec<TimeKey>, NodeError> {
        let (first, before) = (|hlc| TimeKey { space: 0, hlc, eno: 0, index: 0 }, TimeKey { space: 0, ..before });
        let ahead = first(Hlc(Hlc::at(self.ahead()?).0.saturating_add(1 << Hlc::COUNTER_BITS)));
        if before != cursor::LATEST && before >= ahead {
            return self.keys_between(spaces, ahead, before, limit);
        }
        let mut keys = self.keys_between(spaces, first(Hlc(0)), before.min(ahead), limit)?;
        if keys.len() < limit {
            keys.extend(self.keys_between(spaces, ahead, cursor::LATEST, limit - keys.len())?);
        }
        Ok(keys)
    }

    /// The last moment that a stamp may name without being ahead of the clocks. This node's own stamps never
    /// are, even if its clock was put back.
    pub(crate) fn ahead(&self) -> Result<Timestamp, StoreError> {
        let own = self.view.get(Table::Meta, rows::meta::HLC)?.and_then(|row| row.try_into().ok());
        let own = own.map_or(Timestamp::default(), |row| Hlc(u64::from_le_bytes(row)).time());
        Ok(own.max(self.latest.saturating_add(AHEAD_MAX)))
    }

    /// The places of the last records of several spaces before one and not before another, newest first.
    fn keys_between(
        &self,
        spaces: &[rows::SpaceNo],
        from: TimeKey,
        before: TimeKey,
        limit: usize,
    ) -> Result<Vec<TimeKey>, NodeError> {
        let mut keys: Vec<TimeKey> = Vec::new();
        for space in spaces {
            let in_space = |key: TimeKey| TimeKey { space: *space, ..key }.to_bytes();
            let (start, end) = (in_space(from), in_space(before));
            let mut taken = 0;
            let range = (Bound::Included(start.as_slice()), Bound::Excluded(end.as_slice()));
            self.view.try_scan(Table::ByTime, range, Order::Backward, &mut |key, _| {
                keys.push(TimeKey::from_bytes(key).ok_or_else(|| rows::unreadable(Table::ByTime))?);
                taken += 1;
                Ok(if taken < limit { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
            })?;
        }
        keys.sort_by_key(|key| std::cmp::Reverse((key.hlc, key.eno, key.index)));
        keys.truncate(limit);
        Ok(keys)
    }

    /// The spaces that hold memories and that this node may read.
    pub(crate) fn spaces(&self) -> Vec<SpaceInfo> {
        let members = &self.known.members;
        let all = || members.iter().map(|(did, _)| *did);
        let shown = self.known.spaces.iter().filter(|(_, row)| row.no != 0);
        let info = |(id, row): &(SpaceId, SpaceRow)| SpaceInfo {
            space: row.name.to_string(),
            id: *id,
            readers: all().filter(|did| members.may_read(did, &row.rule(*id))).collect(),
            writers: all().filter(|did| members.may_write(did, &row.rule(*id))).collect(),
            records: row.records,
            entries: row.entries,
            bytes: row.bytes,
        };
        shown.map(info).collect()
    }
}
