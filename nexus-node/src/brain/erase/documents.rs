use std::collections::{BTreeMap, BTreeSet};

use nexus_crdt::{DocumentPart, SpaceId, document_of};
use nexus_documents::DocumentId;

use super::status::{ErasableId, ErasureStatus, Wanted};
use crate::brain::Brain;
use crate::engine::EraseTarget;
use crate::error::{NodeError, Resource};
use crate::ledger::rows::SpaceNo;
use crate::ledger::{documents_with_key, enos_of_document, erased_of_document, read_entry};
use crate::memory::read::erased::{ErasingWord, add_words_about};
use crate::store::Snapshot;

/// The most keys of one document that are looked at.
const KEYS_MAX: usize = 16;

/// The space in sight that has a document.
fn place_of(brain: &Brain, view: &Snapshot, document: DocumentId) -> Result<(SpaceId, SpaceNo), NodeError> {
    let reader = brain.reader(view)?;
    for info in brain.spaces_blocking()? {
        let (space, row) = reader.space(Some(&info.id.to_string()))?;
        if !enos_of_document(view, row.no, document.as_bytes(), 0)?.is_empty() {
            return Ok((space, row.no));
        }
    }
    Err(NodeError::NotFound { what: Resource::Document, name: document.to_string() })
}

pub(super) fn wanted(brain: &Brain, document: DocumentId) -> Result<Wanted, NodeError> {
    let view = brain.snapshot()?;
    let (space, no) = place_of(brain, &view, document)?;
    let mut documents = vec![*document.as_bytes()];
    documents.extend(former_ones(&view, (space, no), document)?);
    let targets = documents.into_iter().map(|document| EraseTarget::Document { space, document }).collect();
    Ok(Wanted { id: ErasableId::Document(document), targets })
}

/// The documents from which a document began anew. Only those are among them that a key makes: a member can give any document
/// a key, and takes nobody else's along by that.
fn former_ones(
    view: &Snapshot,
    (space, no): (SpaceId, SpaceNo),
    document: DocumentId,
) -> Result<BTreeSet<[u8; 16]>, NodeError> {
    let mut keys = BTreeSet::new();
    for eno in enos_of_document(view, no, document.as_bytes(), 0)? {
        let Some(said) = read_entry(view, eno)?.and_then(|entry| document_of(&entry).ok()) else { continue };
        for (_, part) in said.parts {
            if let DocumentPart::Key { key, .. } = part
                && keys.len() < KEYS_MAX
            {
                keys.insert(key);
            }
        }
    }
    let mut former = BTreeSet::new();
    for key in keys {
        let all = documents_with_key(view, no, &key)?;
        let is_of_key =
            |generation: u64, id: &[u8; 16]| DocumentId::of_key(space.as_bytes(), &key, generation).as_bytes() == id;
        let Some((last, _)) =
            all.iter().find(|(generation, id)| id == document.as_bytes() && is_of_key(*generation, id))
        else {
            continue;
        };
        former.extend(all.iter().filter(|(earlier, id)| earlier < last && is_of_key(*earlier, id)).map(|(_, id)| *id));
    }
    Ok(former)
}

pub(super) fn erasure(brain: &Brain, document: DocumentId) -> Result<(ErasableId, ErasureStatus), NodeError> {
    let view = brain.snapshot()?;
    let (_, no) = place_of(brain, &view, document)?;
    // an erasure names many changes
    let mut words = BTreeMap::new();
    for (eno, _) in erased_of_document(&view, no, document.as_bytes())? {
        if let Some(entry) = read_entry(&view, eno)? {
            add_words_about(&view, &entry, entry.lacks(), &mut words)?;
        }
    }
    let words: Vec<ErasingWord> = words.into_values().collect();
    Ok((ErasableId::Document(document), ErasureStatus::of(brain, &view, &words)?))
}
