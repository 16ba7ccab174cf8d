//! The projects of a mesh: which one a directory belongs to, and the record by which other machines know it.
//!
//! A record is its author's word. This node's own records come first, then those of present members, whose words about a
//! mark may differ: of several the lowest id counts. A record that somebody else edited is that member's word.

use std::collections::{BTreeMap, BTreeSet};

use nexus_crdt::Origin;
use nexus_identity::Did;

use super::Brain;
use crate::error::NodeError;
use crate::ledger::rows::Place;
use crate::memory::read::Reader;
use crate::memory::{Memory, NewMemory};
use crate::project::{MARKS_MAX, Mark, ProjectPlace};
use crate::search::{
    Filter, GroupFilter, OfProject, PROJECT, PROJECT_TAG, ProjectRecord, key_of_mark, key_of_name, matched_form,
};
use crate::store::View;

/// The most records of one author that are read for a key, and of all.
const READ_OF_EACH: usize = 4;
const READ_MAX: usize = 64;

/// The project of a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ProjectName {
    /// Its name, as it is in the tag `project:NAME`.
    pub name: String,
    /// Whether a record of this node, or of a member, has the directory's marks.
    pub known: bool,
}

/// A record, and whose word it is.
#[derive(Clone)]
struct Known {
    record: ProjectRecord,
    mine: bool,
}

impl Brain {
    /// Whether a key is this person's: this node's own, or one that it had before.
    pub fn is_mine(&self, did: &Did) -> bool {
        self.here().identity.is_mine(did)
    }

    /// The project of a directory: the one with the first of its marks that any has, else one with the directory's name. A
    /// name that a project with other marks has gets the owner's before it.
    ///
    /// # Errors
    /// An error of the store, or of the index.
    pub async fn project_of(&self, place: ProjectPlace) -> Result<ProjectName, NodeError> {
        self.reading(move |brain| brain.project_of_blocking(&place)).await
    }

    /// [`Brain::project_of`] where the caller may wait for the disk.
    ///
    /// # Errors
    /// As [`Brain::project_of`].
    pub fn project_of_blocking(&self, place: &ProjectPlace) -> Result<ProjectName, NodeError> {
        let snapshot = self.snapshot()?;
        let reader = self.reader(&snapshot)?;
        if let Some(known) = self.known_project(place, &reader, &snapshot)? {
            return Ok(ProjectName { name: known.record.name, known: true });
        }
        let name = match self.is_taken(place, &reader, &snapshot)? {
            true => place.longer_name(),
            false => place.name.clone(),
        };
        Ok(ProjectName { name, known: false })
    }

    /// Writes the record of a directory's project, unless a member's has one of its marks. A record of this node gets the
    /// marks that it lacks. Members see the name and the marks.
    ///
    /// # Errors
    /// As [`remember`](Self::remember) and [`edit`](Self::edit).
    pub async fn declare_project(&self, place: ProjectPlace, origin: Origin) -> Result<(), NodeError> {
        if place.marks.is_empty() {
            return Ok(());
        }
        let asked = place.clone();
        let known = self.reading(move |brain| {
            let snapshot = brain.snapshot()?;
            brain.known_project(&asked, &brain.reader(&snapshot)?, &snapshot)
        });
        let record = match known.await? {
            Some(known) if !known.mine => return Ok(()),
            Some(Known { record, .. }) => {
                let mut marks = record.marks.clone();
                for mark in place.marks.iter().filter(|_| record.marks.len() < MARKS_MAX) {
                    marks.insert(*mark);
                }
                let marks: BTreeSet<Mark> = marks.into_iter().take(MARKS_MAX).collect();
                if marks == record.marks {
                    return Ok(());
                }
                ProjectRecord { marks, ..record }
            }
            None => {
                let name = self.project_of(place.clone()).await?.name;
                ProjectRecord { name, marks: place.marks.into_iter().collect() }
            }
        };
        let memory = NewMemory { text: record.text(), origin, ..NewMemory::default() };
        let key = record.key(&self.here().identity.me());
        self.write(memory.kind(PROJECT).key(key)).await.map(drop)
    }

    /// The record with the first of a directory's marks that any has: this node's own before others.
    fn known_project(
        &self,
        place: &ProjectPlace,
        reader: &Reader<'_>,
        view: &dyn View,
    ) -> Result<Option<Known>, NodeError> {
        let keys: Vec<String> = place.marks.iter().map(key_of_mark).collect();
        let found = self.records(keys.iter().cloned().collect(), reader, view)?;
        let all = || keys.iter().filter_map(|key| found.get(key)).flatten();
        Ok(all().find(|known| known.mine).or_else(|| all().next()).cloned())
    }

    /// Whether a project with other marks has a directory's name. A name under which this node has memories already stays:
    /// nobody takes it away by a record.
    fn is_taken(&self, place: &ProjectPlace, reader: &Reader<'_>, view: &dyn View) -> Result<bool, NodeError> {
        if place.marks.is_empty() {
            return Ok(false);
        }
        let of_name = self.records(BTreeSet::from([key_of_name(&place.name)]), reader, view)?;
        let of_name: Vec<Known> = of_name.into_values().flatten().collect();
        if of_name.is_empty() || of_name.iter().any(|known| known.mine) {
            return Ok(!of_name.is_empty());
        }
        let tags = BTreeSet::from([matched_form(&format!("{PROJECT_TAG}{}", place.name))]);
        let spaces: BTreeSet<_> = reader.space_numbers().collect();
        let of = |by| Filter { spaces: spaces.clone(), tags: tags.clone(), by: Some(by), ..Filter::default() };
        for mine in reader.mine() {
            if self.here().search.any(&of(mine), reader, view)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The records with some keys, by key in the order in which they count.
    fn records(
        &self,
        keys: BTreeSet<String>,
        reader: &Reader<'_>,
        view: &dyn View,
    ) -> Result<BTreeMap<String, Vec<Known>>, NodeError> {
        let spaces = BTreeSet::from([reader.space(None)?.1.no]);
        let filter = GroupFilter { spaces, of_each: READ_OF_EACH, most: READ_MAX, ..GroupFilter::default() };
        let found = self.here().search.groups(&keys, &filter, reader, view)?;
        let read = |places: Vec<Place>| {
            let known = places.into_iter().map(|place| known_at(place, reader));
            known.filter_map(Result::transpose).collect::<Result<Vec<_>, _>>()
        };
        found.into_iter().map(|(key, places)| Ok((key, read(places)?))).collect()
    }
}

#[cfg(feature = "mcp")]
impl Brain {
    /// The newest memories of some kinds that hold now, at most `limit`, and how many there are. A project has personal ones,
    /// too; `own` are this person's alone. Without a kind, all kinds count.
    ///
    /// # Errors
    /// An error of the store, or of the index.
    pub(crate) fn newest_blocking(
        &self,
        kinds: &[&str],
        project: Option<&str>,
        own: bool,
        limit: usize,
    ) -> Result<(Vec<Memory>, usize), NodeError> {
        let snapshot = self.snapshot()?;
        let reader = self.reader(&snapshot)?;
        let authors: Vec<Option<Did>> = if own { reader.mine().into_iter().map(Some).collect() } else { vec![None] };
        let filter = Filter {
            spaces: reader.space_numbers().collect(),
            kinds: kinds.iter().map(|kind| matched_form(kind)).collect(),
            valid_at: Some(reader.now()),
            project: project.map(|name| of_project(name, &reader)),
            ..Filter::default()
        };
        let (mut memories, mut all) = (Vec::new(), 0);
        // nobody else's memories take the room of one's own; a person has more than one key after a new one
        for by in authors {
            let filter = Filter { by, ..filter.clone() };
            let (places, count) = self.here().search.newest(&filter, limit, reader.latest(), &reader, &snapshot)?;
            all += count;
            for place in places {
                let memory = reader.memory_at(place)?;
                memories.extend(memory.filter(|memory| memory.expires_at.is_none_or(|end| end > reader.now())));
            }
        }
        Ok((memories, all))
    }
}

/// The record at a place, if a member stands for it.
fn known_at(place: Place, reader: &Reader<'_>) -> Result<Option<Known>, NodeError> {
    let Some(memory) = reader.memory_at(place)? else { return Ok(None) };
    let Some(record) = ProjectRecord::read(&memory.kind, &memory.text) else { return Ok(None) };
    let by = memory.fields.get("text").map_or(memory.author, |word| word.author);
    let mine = reader.is_mine(&by);
    Ok((mine || reader.is_of_member(&by)).then_some(Known { record, mine }))
}

/// The condition that a memory is of a project, or personal.
pub(super) fn of_project(name: &str, reader: &Reader<'_>) -> OfProject {
    OfProject { tag: matched_form(&format!("{PROJECT_TAG}{name}")), mine: reader.mine() }
}

/// Whether a memory is the record of a project.
pub(crate) fn is_project_record(memory: &Memory) -> bool {
    ProjectRecord::read(&memory.kind, &memory.text).is_some()
}
