//! Documents that are erased: their changes, what is saved of them, and what comes late.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use nexus_crdt::{DocumentPart, DocumentWords, Dot, EntryId, Kind, SpaceId, Verified, document_of};
use nexus_identity::{Did, Role};

use super::{Engine, LedgerError, Turn};
use crate::ledger::rows::{self, Eno, SpaceNo};
use crate::ledger::{
    enos_of_document, erased_of_document, find_entry, find_space, first_about, is_document_erased, is_erased_by_admin,
    read_entry, words_about,
};
use crate::store::{Batch, Order, Table, TableChange, View};

/// The most changes of a document that one command erases. A caller repeats it until nothing is left.
pub(crate) const CHANGES_TOGETHER: usize = 4_096;

/// A change: its leaf, and the author of its entry.
pub(super) type ChangeOf = ((EntryId, u16), Did);

impl Engine {
    /// Changes of a document that are here, whether they count or not: the first ones.
    pub(super) fn leaves_of_document(
        &self,
        (space, document): (SpaceId, &[u8; 16]),
        turn: &Turn<'_>,
    ) -> Result<Vec<ChangeOf>, LedgerError> {
        let mut leaves = Vec::new();
        let Some(space) = find_space(&turn.draft, space)? else { return Ok(leaves) };
        for eno in enos_of_document(&turn.draft, space.no, document, 0)? {
            if leaves.len() >= CHANGES_TOGETHER {
                break;
            }
            let Some(entry) = read_entry(&turn.draft, eno)? else { continue };
            let Ok(said) = document_of(&entry) else { continue };
            let author = entry.header().author;
            for (index, part) in said.parts {
                if matches!(part, DocumentPart::Change { .. }) {
                    leaves.push(((entry.id(), index), author));
                }
            }
        }
        Ok(leaves)
    }

    /// Somebody else who wrote in a document, and whose changes are here, unless this node's member may erase everybody's.
    pub(super) fn other_author(
        &self,
        (space, document): (SpaceId, &[u8; 16]),
        turn: &Turn<'_>,
    ) -> Result<Option<Did>, LedgerError> {
        let members = &self.state.members;
        let Some(space) = find_space(&turn.draft, space)? else { return Ok(None) };
        if members.allows(&self.state.me, Role::Admin) {
            return Ok(None);
        }
        for eno in enos_of_document(&turn.draft, space.no, document, 0)? {
            let Some(entry) = read_entry(&turn.draft, eno)? else { continue };
            let author = entry.header().author;
            let writes = || document_of(&entry).is_ok_and(|said| said.has_changes());
            if !members.same_line(&author, &self.state.me) && writes() {
                return Ok(Some(author));
            }
        }
        Ok(None)
    }

    /// Notes whether an entry about a document lacks changes that were erased, and by whom.
    pub(super) fn note_erased_document(
        &self,
        eno: Eno,
        entry: &Verified,
        turn: &mut Turn<'_>,
    ) -> Result<(), LedgerError> {
        match self.said_of_document(entry) {
            Some((space, said)) => Self::note_erased_changes((eno, entry.id(), space), &said, turn),
            None => Ok(()),
        }
    }

    /// The same for the words of an entry. It has no row yet unless they lack changes.
    pub(super) fn note_erased_changes(
        (eno, id, space): (Eno, EntryId, SpaceNo),
        said: &DocumentWords,
        turn: &mut Turn<'_>,
    ) -> Result<(), LedgerError> {
        if said.erased.is_empty() {
            return Ok(());
        }
        let by_admin = is_erased_by_admin(&turn.draft, id)?;
        let key = rows::document_row_key(space, &said.document, eno);
        turn.draft.put(Table::ErasedDocuments, &key, &[u8::from(by_admin)]);
        Ok(())
    }

    fn said_of_document(&self, entry: &Verified) -> Option<(SpaceNo, DocumentWords)> {
        if entry.header().kind != Kind::DOCUMENT {
            return None;
        }
        let space = self.state.spaces.get(&entry.header().space)?;
        Some((space.no, document_of(entry).ok()?))
    }

    /// Notes changes of a document that was erased before they came. No reader finds them, and they are still on the disk.
    pub(super) fn note_changes_of_erased(
        &self,
        space: SpaceNo,
        said: &DocumentWords,
        turn: &mut Turn<'_>,
    ) -> Result<(), LedgerError> {
        let may_be_erased = !self.state.erasers.is_empty() && said.has_changes();
        if may_be_erased && is_document_erased(&turn.draft, space, &said.document)? {
            Self::look_late(space, &said.document, turn)?;
        }
        Ok(())
    }

    /// Notes that changes of a document may be left: one row for all of it.
    fn look_late(space: SpaceNo, document: &[u8; 16], turn: &mut Turn<'_>) -> Result<(), LedgerError> {
        if let Some(entry) = first_about(&turn.draft, space, document)? {
            Self::erase_late(Dot { entry, index: 0 }, turn);
        }
        Ok(())
    }

    /// Changes of an entry go: what is saved of the document goes with them, and other changes of it that this node's member
    /// made are to go, too.
    pub(super) fn forget_saved_document(&self, entry: &Verified, turn: &mut Turn<'_>) -> Result<(), LedgerError> {
        let Some((space, said)) = self.said_of_document(entry) else { return Ok(()) };
        Self::look_late(space, &said.document, turn)?;
        let mut saved = Vec::new();
        let prefix = rows::document_prefix(space, &said.document);
        turn.draft.scan_prefix(Table::SavedDocuments, &prefix, Order::Forward, &mut |key, _| {
            saved.push(key.to_vec());
            ControlFlow::Continue(())
        })?;
        for key in saved {
            turn.draft.delete(Table::SavedDocuments, &key);
        }
        Ok(())
    }

    /// Whether rows have the text of a document that was erased while they were made.
    pub(super) fn have_erased_documents(&self, batch: &Batch, turn: &Turn<'_>) -> Result<bool, LedgerError> {
        if self.state.erasers.is_empty() {
            return Ok(false);
        }
        let mut documents = BTreeSet::new();
        for change in batch.changes() {
            if let TableChange::Put { table: Table::SavedDocuments, key, .. } = change
                && let Some((space, rest)) = key.split_first_chunk::<4>()
                && let Some(document) = rest.first_chunk::<16>()
            {
                documents.insert((SpaceNo::from_be_bytes(*space), *document));
            }
        }
        for (space, document) in documents {
            if is_document_erased(&turn.draft, space, &document)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Changes that are left of the erased document that an entry is about: those of this node's member. If it erased the document
    /// as an admin, also those of others.
    pub(super) fn late_changes(&self, entry: &Verified, turn: &Turn<'_>) -> Result<Vec<(EntryId, u16)>, LedgerError> {
        let Some((space, said)) = self.said_of_document(entry) else { return Ok(Vec::new()) };
        let document = said.document;
        if !is_document_erased(&turn.draft, space, &document)? {
            return Ok(Vec::new());
        }
        let as_admin = self.erased_document_as_admin(space, &document, turn)?;
        let leaves = self.leaves_of_document((entry.header().space, &document), turn)?;
        let is_ours = |author: &Did| as_admin || self.state.members.same_line(author, &self.state.me);
        Ok(leaves.into_iter().filter(|(_, author)| is_ours(author)).map(|(leaf, _)| leaf).collect())
    }

    fn erased_document_as_admin(
        &self,
        space: SpaceNo,
        document: &[u8; 16],
        turn: &Turn<'_>,
    ) -> Result<bool, LedgerError> {
        if !self.state.members.allows(&self.state.me, Role::Admin) {
            return Ok(false);
        }
        for (eno, by_admin) in erased_of_document(&turn.draft, space, document)? {
            let Some(entry) = read_entry(&turn.draft, eno)?.filter(|_| by_admin) else { continue };
            for index in entry.lacks() {
                let words = words_about(&turn.draft, Dot { entry: entry.id(), index })?;
                if words.iter().any(|word| word.author == self.state.me) {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    /// The held entry about a document with an id.
    pub(super) fn entry_about_document(&self, id: EntryId, turn: &Turn<'_>) -> Result<Option<Verified>, LedgerError> {
        let entry = find_entry(&turn.draft, id)?.map(|eno| read_entry(&turn.draft, eno)).transpose()?.flatten();
        Ok(entry.filter(|entry| entry.header().kind == Kind::DOCUMENT))
    }
}
