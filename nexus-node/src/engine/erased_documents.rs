//! Documents that are erased: their changes, what is saved of them, and what comes late.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use nexus_crdt::{DocumentPart, DocumentWords, Dot, EntryId, Kind, SpaceId, Verified, document_of};
use nexus_identity::plants::planted;
use nexus_identity::{Did, Role};

use super::{Engine, LedgerError, Turn};
use crate::ledger::rows::{self, Eno, ErasedChangesRow, ErasedDocumentRow, SpaceNo};
use crate::ledger::{
    entry_of, erased_document, erased_of_document, find_space, first_about, first_with_changes, is_document_erased,
    is_erased_by_admin, read_entry, words_about,
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
        self.each_with_changes((space, document), turn, |entry, said| {
            let author = entry.header().author;
            for (index, part) in &said.parts {
                if matches!(part, DocumentPart::Change { .. }) {
                    leaves.push(((entry.id(), *index), author));
                }
            }
            leaves.len() < CHANGES_TOGETHER
        })?;
        Ok(leaves)
    }

    /// Somebody else who wrote in a document, and whose changes are here, unless this node's member may erase everybody's.
    pub(super) fn other_author(
        &self,
        place: (SpaceId, &[u8; 16]),
        turn: &Turn<'_>,
    ) -> Result<Option<Did>, LedgerError> {
        let (members, mut other) = (&self.state.members, None);
        if !members.allows(&self.state.me, Role::Admin) {
            self.each_with_changes(place, turn, |entry, _| {
                other = Some(entry.header().author).filter(|author| !members.same_line(author, &self.state.me));
                other.is_none()
            })?;
        }
        Ok(other)
    }

    /// Looks at the entries about a document that have changes, until that is enough. An entry without any since they
    /// were erased is not read: a member can erase any number of its own.
    fn each_with_changes(
        &self,
        (space, document): (SpaceId, &[u8; 16]),
        turn: &Turn<'_>,
        mut goes_on: impl FnMut(&Verified, &DocumentWords) -> bool,
    ) -> Result<(), LedgerError> {
        let Some(space) = find_space(&turn.draft, space)? else { return Ok(()) };
        let row = erased_document(&turn.draft, space.no, document)?;
        let Some(mut from) = row.map_or(Some(0), |row| row.first_left) else { return Ok(()) };
        while let Some((eno, entry, said)) = first_with_changes(&turn.draft, space.no, document, from)? {
            if !goes_on(&entry, &said) {
                break;
            }
            from = eno.saturating_add(1);
        }
        Ok(())
    }

    /// Notes whether an entry about a document lacks changes that were erased, and by whom.
    pub(super) fn note_erased_document(
        &self,
        eno: Eno,
        entry: &Verified,
        turn: &mut Turn<'_>,
    ) -> Result<(), LedgerError> {
        match self.said_of_document(entry) {
            Some((space, said)) => Self::note_changes((eno, entry.id(), space), &said, turn),
            None => Ok(()),
        }
    }

    /// Notes which changes an entry has, and which it lacks since they were erased.
    pub(super) fn note_changes(
        (eno, id, space): (Eno, EntryId, SpaceNo),
        said: &DocumentWords,
        turn: &mut Turn<'_>,
    ) -> Result<(), LedgerError> {
        let document = &said.document;
        let known = Self::without_entry((eno, space), document, turn)?;
        if said.erased.is_empty() && known.is_none() {
            return Ok(());
        }
        let are_left = said.has_changes();
        let mut row = match known {
            Some(row) => row,
            None => {
                let first_left = Self::first_left((space, document), 0, turn)?;
                ErasedDocumentRow { first_left, ..ErasedDocumentRow::default() }
            }
        };
        if !said.erased.is_empty() {
            let by_admin = is_erased_by_admin(&turn.draft, id)?;
            *row.of(by_admin) += 1;
            let key = rows::document_row_key(space, document, eno);
            turn.draft.put(Table::ErasedDocuments, &key, &rows::encode(&ErasedChangesRow { by_admin, are_left }));
        }
        if are_left {
            row.first_left = Some(row.first_left.map_or(eno, |first| first.min(eno)));
        } else if row.first_left == Some(eno) {
            row.first_left = Self::first_left((space, document), eno.saturating_add(1), turn)?;
        }
        Self::keep_row((space, document), &row, turn);
        Ok(())
    }

    /// Forgets what an entry lacks and has, until [`Self::note_changes`] of what is left of it. The document's row stays until
    /// then, so that nobody looks for its first changes each time an entry loses one more.
    pub(super) fn forget_changes(
        (eno, space): (Eno, SpaceNo),
        document: &[u8; 16],
        turn: &mut Turn<'_>,
    ) -> Result<(), LedgerError> {
        let Some(mut row) = Self::without_entry((eno, space), document, turn)? else { return Ok(()) };
        if row.first_left == Some(eno) {
            row.first_left = Self::first_left((space, document), eno.saturating_add(1), turn)?;
        }
        turn.draft.put(Table::ErasedDocuments, &rows::document_prefix(space, document), &rows::encode(&row));
        Ok(())
    }

    /// A copy of an entry took the place of another one. If it breaks a rule of form that the other did not, nothing was noted
    /// of it, and the document's row may be one of no erased change.
    pub(super) fn tidy_document(&self, before: &Verified, turn: &mut Turn<'_>) -> Result<(), LedgerError> {
        let Some((space, said)) = self.said_of_document(before) else { return Ok(()) };
        if let Some(row) = erased_document(&turn.draft, space, &said.document)? {
            Self::keep_row((space, &said.document), &row, turn);
        }
        Ok(())
    }

    fn first_left(
        (space, document): (SpaceNo, &[u8; 16]),
        from: Eno,
        turn: &Turn<'_>,
    ) -> Result<Option<Eno>, LedgerError> {
        Ok(first_with_changes(&turn.draft, space, document, from)?.map(|(eno, ..)| eno))
    }

    /// A document has a row while an entry lacks erased changes.
    fn keep_row((space, document): (SpaceNo, &[u8; 16]), row: &ErasedDocumentRow, turn: &mut Turn<'_>) {
        let key = rows::document_prefix(space, document);
        match row.by_admin + row.by_authors {
            0 => turn.draft.delete(Table::ErasedDocuments, &key),
            _ => turn.draft.put(Table::ErasedDocuments, &key, &rows::encode(row)),
        }
    }

    /// The row of a document as it is without the changes that an entry lacks. The row of the entry goes.
    fn without_entry(
        (eno, space): (Eno, SpaceNo),
        document: &[u8; 16],
        turn: &mut Turn<'_>,
    ) -> Result<Option<ErasedDocumentRow>, LedgerError> {
        let Some(mut row) = erased_document(&turn.draft, space, document)? else { return Ok(None) };
        let key = rows::document_row_key(space, document, eno);
        if let Some(changes) = turn.draft.get(Table::ErasedDocuments, &key)? {
            let changes: ErasedChangesRow = rows::decode(Table::ErasedDocuments, &changes)?;
            let count = row.of(changes.by_admin);
            *count = count.saturating_sub(1);
            turn.draft.delete(Table::ErasedDocuments, &key);
        }
        Ok(Some(row))
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
        if planted("keeps_changes_of_erased") {
            return Ok(());
        }
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
        if planted("keeps_saved_of_erased") {
            return Ok(());
        }
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
        Ok(entry_of(&turn.draft, id)?.filter(|entry| entry.header().kind == Kind::DOCUMENT))
    }
}
