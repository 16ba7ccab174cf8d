//! Kind 2: names and changes of living documents.
//!
//! `Documents` says where a document's entries are, whether these count or not, and `ErasedDocuments` which of them lack
//! changes. `DocumentKeys` has the keys that count. No change is looked into here.

use nexus_crdt::{DocumentPart, DocumentWords, FormError, Kind, document_of};

use super::{Counting, EntryKind, Folded, Placed, Reversible, TakenOut, Within};
use crate::engine::{Engine, LedgerError, Turn};
use crate::ledger::rows::{self, Eno, SpaceNo, Standing};
use crate::store::Table;

pub(super) struct Words;

impl EntryKind for Words {
    fn numbers(&self) -> &'static [Kind] {
        &[Kind::DOCUMENT]
    }

    fn within(&self) -> Within {
        Within::Others
    }

    fn counting(&self) -> Counting {
        Counting::ByVerdict(&Self)
    }

    fn fold(&self, engine: &mut Engine, Placed { eno, entry, counts }: Placed<'_>, turn: &mut Turn<'_>) -> Folded {
        let said = match document_of(entry) {
            Ok(said) => said,
            _ if !counts => return Ok(Ok(Standing::Cut)),
            Err(FormError::Absent) => return Ok(Ok(Standing::Erased)),
            Err(why) => return Ok(Err(why)),
        };
        if let Some(space) = engine.state.spaces.get(&entry.header().space).map(|space| space.no) {
            turn.draft.put(Table::Documents, &rows::document_row_key(space, &said.document, eno), &[]);
            Engine::note_changes((eno, entry.id(), space), &said, turn)?;
            engine.note_changes_of_erased(space, &said, turn)?;
            if counts {
                for (row, key) in keys_in((eno, space), &said) {
                    turn.draft.put(Table::DocumentKeys, &row, key.as_bytes());
                }
            }
        }
        Ok(Ok(if counts { Standing::Applied } else { Standing::Cut }))
    }

    fn unfold(
        &self,
        engine: &mut Engine,
        Placed { eno, entry, .. }: Placed<'_>,
        turn: &mut Turn<'_>,
    ) -> Result<bool, LedgerError> {
        let space = engine.state.spaces.get(&entry.header().space).map(|space| space.no);
        if let (Some(space), Ok(said)) = (space, document_of(entry)) {
            turn.draft.delete(Table::Documents, &rows::document_row_key(space, &said.document, eno));
            Engine::forget_changes((eno, space), &said.document, turn)?;
            for (row, _) in keys_in((eno, space), &said) {
                turn.draft.delete(Table::DocumentKeys, &row);
            }
        }
        Ok(true)
    }
}

impl Reversible for Words {
    /// A change that does not count is known as such, so that nobody writes it again.
    fn folds_all(&self) -> bool {
        true
    }

    /// The document's rows stay: whether its changes count is read beside them. Its keys go.
    fn take_out(
        &self,
        engine: &mut Engine,
        Placed { eno, entry, .. }: Placed<'_>,
        before: Standing,
        _: &mut TakenOut,
        turn: &mut Turn<'_>,
    ) -> Result<(), LedgerError> {
        let space = engine.state.spaces.get(&entry.header().space).map(|space| space.no);
        let said = document_of(entry).ok().filter(|_| before == Standing::Applied);
        if let (Some(space), Some(said)) = (space, said) {
            for (row, _) in keys_in((eno, space), &said) {
                turn.draft.delete(Table::DocumentKeys, &row);
            }
        }
        Ok(())
    }
}

/// The rows of the keys that an entry gives its document.
fn keys_in((eno, space): (Eno, SpaceNo), said: &DocumentWords) -> impl Iterator<Item = (Vec<u8>, &str)> {
    said.parts.iter().filter_map(move |(_, part)| match part {
        DocumentPart::Key { generation, key } => {
            Some((rows::document_key_key(space, key, *generation, &said.document, eno), key.as_str()))
        }
        DocumentPart::Change { .. } => None,
    })
}
