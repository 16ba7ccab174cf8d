//! Saved documents in the store: rows of bounded size, and one row more that makes them valid, written last.
//!
//! A document has at most two forms: the page, which is read, and the whole, with which it goes on. Both are derived. A form
//! that does not fit its checksum, is of another version, or knows entries that the log does not have, is as good as none.

use std::ops::ControlFlow;

use borsh::{BorshDeserialize, BorshSerialize};
use nexus_documents::{DocumentId, VERDICT};

use crate::ledger::rows::{self, Eno, SpaceNo};
use crate::store::{Batch, Order, StoreError, Table, View};

/// The version of the forms. Forms of another one are made anew.
const FORMAT: u16 = 2;
/// The most bytes of a row.
const ROW_BYTES: usize = 60 << 10;
/// The rows of one commit: others write in between.
const ROWS_AT_ONCE: usize = 4;
/// The most bytes of a form: a document has some 16 MiB of each log.
const FORM_BYTES_MAX: usize = 256 << 20;
/// The key of the row with the last entry that was looked at. It is shorter than all others.
const LOOKED: &[u8] = &[0];

/// A form of a document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// It is read.
    Page = 0,
    /// It is gone on with.
    Whole = 1,
}

/// The row that makes a form valid.
#[derive(BorshSerialize, BorshDeserialize)]
struct Head {
    format: u16,
    verdict: u16,
    /// Which of two places has its rows, 1 or 2.
    place: u8,
    rows: u32,
    checksum: [u8; 32],
    last: Eno,
}

fn prefix(no: SpaceNo, document: DocumentId, form: Form, place: u8) -> Vec<u8> {
    [&rows::document_prefix(no, document.as_bytes())[..], &[form as u8, place]].concat()
}

fn row_key(no: SpaceNo, document: DocumentId, form: Form, place: u8, row: u32) -> Vec<u8> {
    [&prefix(no, document, form, place)[..], &row.to_be_bytes()].concat()
}

fn head(view: &dyn View, no: SpaceNo, document: DocumentId, form: Form) -> Result<Option<Head>, StoreError> {
    let row = view.get(Table::SavedDocuments, &prefix(no, document, form, 0))?;
    Ok(row.and_then(|row| borsh::from_slice(&row).ok()))
}

/// The last entry that a form knows, if there is one that may be read.
pub(super) fn last_of(
    view: &dyn View,
    no: SpaceNo,
    document: DocumentId,
    form: Form,
) -> Result<Option<Eno>, StoreError> {
    let is_ours = |head: &Head| head.format == FORMAT && head.verdict == VERDICT;
    Ok(sound(head(view, no, document, form))?.filter(is_ours).map(|head| head.last))
}

/// The bytes of a form, if they are as they were written. It knows no entry beyond `last`.
pub(super) fn read(
    view: &dyn View,
    no: SpaceNo,
    document: DocumentId,
    form: Form,
    last: Eno,
) -> Result<Option<Vec<u8>>, StoreError> {
    let is_ours = |head: &Head| head.format == FORMAT && head.verdict == VERDICT && head.last <= last;
    let Some(head) = sound(head(view, no, document, form))?.filter(is_ours) else { return Ok(None) };
    let mut bytes = Vec::new();
    for row in 0..head.rows {
        let key = row_key(no, document, form, head.place, row);
        let Some(row) = sound(view.get(Table::SavedDocuments, &key))? else { return Ok(None) };
        bytes.extend(row);
        if bytes.len() > FORM_BYTES_MAX {
            return Ok(None);
        }
    }
    Ok((*blake3::hash(&bytes).as_bytes() == head.checksum).then_some(bytes))
}

/// A damaged row of a form costs the form, and nothing else.
fn sound<T>(read: Result<Option<T>, StoreError>) -> Result<Option<T>, StoreError> {
    match read {
        Err(StoreError::Damaged { .. }) => Ok(None),
        read => read,
    }
}

/// The batches that save a form, each for a commit of its own. The form before it stands until the last one.
pub(super) fn write(
    view: &dyn View,
    no: SpaceNo,
    document: DocumentId,
    form: Form,
    (bytes, last): (&[u8], Eno),
) -> Result<Vec<Batch>, StoreError> {
    if bytes.len() > FORM_BYTES_MAX {
        return Ok(Vec::new());
    }
    let before = sound(head(view, no, document, form))?;
    let place = if before.as_ref().is_some_and(|head| head.place == 1) { 2 } else { 1 };
    // rows of a write that did not come to its end
    let mut first = Batch::new();
    for key in keys(view, &prefix(no, document, form, place))? {
        first.delete(Table::SavedDocuments, &key);
    }
    let mut batches = Vec::from_iter(Some(first).filter(|first| !first.is_empty()));
    let (mut number, mut batch) = (0, Batch::new());
    for row in bytes.chunks(ROW_BYTES) {
        batch.put(Table::SavedDocuments, &row_key(no, document, form, place, number), row);
        number += 1;
        if batch.len() == ROWS_AT_ONCE {
            batches.push(std::mem::take(&mut batch));
        }
    }
    let checksum = *blake3::hash(bytes).as_bytes();
    let head = Head { format: FORMAT, verdict: VERDICT, place, rows: number, checksum, last };
    batch.put(Table::SavedDocuments, &prefix(no, document, form, 0), &rows::encode(&head));
    for row in 0..before.map_or(0, |before| before.rows) {
        batch.delete(Table::SavedDocuments, &row_key(no, document, form, 3 - place, row));
    }
    batches.push(batch);
    Ok(batches)
}

/// The batch that takes all forms of a document away, so that nothing but its entries has its text.
pub(super) fn forget(view: &dyn View, no: SpaceNo, document: DocumentId) -> Result<Batch, StoreError> {
    let mut batch = Batch::new();
    for key in keys(view, &rows::document_prefix(no, document.as_bytes()))? {
        batch.delete(Table::SavedDocuments, &key);
    }
    Ok(batch)
}

fn keys(view: &dyn View, prefix: &[u8]) -> Result<Vec<Vec<u8>>, StoreError> {
    let mut found = Vec::new();
    let scanned = view.scan_prefix(Table::SavedDocuments, prefix, Order::Forward, &mut |key, _| {
        found.push(key.to_vec());
        ControlFlow::Continue(())
    });
    sound(scanned.map(Some))?;
    Ok(found)
}

/// The last entry that was looked at for documents to save.
pub(super) fn looked(view: &dyn View) -> Result<Eno, StoreError> {
    let row = sound(view.get(Table::SavedDocuments, LOOKED))?;
    Ok(row.and_then(|row| rows::read_eno(Table::SavedDocuments, &row).ok()).unwrap_or(0))
}

/// Notes the last entry that was looked at.
pub(super) fn note_looked(last: Eno) -> Batch {
    let mut batch = Batch::new();
    batch.put(Table::SavedDocuments, LOOKED, &rows::eno_key(last));
    batch
}
