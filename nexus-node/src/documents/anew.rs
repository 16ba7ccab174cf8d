//! Beginning a key anew: its next document has the value without the history. The first change of that document says which one
//! it began from, and after how many entries about it. So every member knows when more was said of the former one.

use std::collections::BTreeMap;

use nexus_documents::DocumentId;

use super::shown::FormerDocument;
use crate::ledger::rows::SpaceNo;
use crate::ledger::{Place, enos_of_document, names_of_documents};
use crate::store::{StoreError, View};

/// The most former documents that are looked at.
const FORMER_MAX: usize = 8;

/// The words of a change by which a document began from a former one, after so many entries about that.
pub(super) fn words(former: DocumentId, entries: usize) -> String {
    format!("begins anew from {former} after {entries} entries")
}

/// The former document, and the number of entries about it.
fn read(words: &str) -> Option<(DocumentId, usize)> {
    let (former, entries) = words.strip_prefix("begins anew from ")?.strip_suffix(" entries")?.split_once(" after ")?;
    Some((former.parse().ok()?, entries.parse().ok()?))
}

/// The former documents of which more was said than was taken over, by the words of a document's changes.
pub(super) fn with_more<'a>(
    view: &dyn View,
    space: SpaceNo,
    messages: impl Iterator<Item = &'a str>,
) -> Result<Vec<FormerDocument>, StoreError> {
    let mut taken: BTreeMap<DocumentId, usize> = BTreeMap::new();
    for (former, entries) in messages.filter_map(read) {
        if taken.len() < FORMER_MAX || taken.contains_key(&former) {
            // of two members who began it anew at once, one may have known less
            let known = taken.entry(former).or_insert(entries);
            *known = entries.min(*known);
        }
    }
    let mut found = Vec::new();
    for (id, entries) in taken {
        let later = enos_of_document(view, space, id.as_bytes(), 0)?.len().saturating_sub(entries);
        // with a key of its own it is a document like others
        if later > 0 && !is_current(view, space, id)? {
            found.push(FormerDocument { id, later });
        }
    }
    Ok(found)
}

fn is_current(view: &dyn View, space: SpaceNo, id: DocumentId) -> Result<bool, StoreError> {
    let names = names_of_documents(view, space, &[*id.as_bytes()])?;
    Ok(matches!(names.get(id.as_bytes()), Some((Place::Current, _))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_of_a_beginning_are_read_as_they_were_written() {
        let former = DocumentId::of_key(&[1; 32], "plan", 0);
        assert_eq!(read(&words(former, 7)), Some((former, 7)));
        for other in ["", "begins anew from plan after 7 entries", &words(former, 7).replace('7', "-7"), "said by hand"]
        {
            assert_eq!(read(other), None, "{other}");
        }
    }
}
