//! Changes of documents, which members and their programs write.

use std::collections::BTreeSet;

use nexus_documents::{
    CHANGE_BYTES_MAX, Change, DocPath, Fault, Judge, Living, RepoMessage, SyncMessage, SyncPeer, changes_of_file,
    chunk, expand, file_of_document,
};

/// Changes of one document one after the other, each as the number of its bytes in two bytes, and its data.
pub(super) fn document_changes(bytes: &[u8]) -> bool {
    let (mut judge, mut rest, mut accepted) = (Judge::new(), bytes, 0);
    while let Some((head, after)) = rest.split_at_checked(2) {
        let size = head.iter().fold(0, |size, byte| size << 8 | usize::from(*byte));
        let (data, after) = after.split_at(size.min(after.len()));
        rest = after;
        let plain = chunk(data);
        assert!(expand(&plain).is_ok_and(|same| *same == *plain), "a plain change is its own plain form");
        let Ok(change) = Change::parse(&plain) else { continue };
        let known = judge.len();
        match judge.accept(&change) {
            Ok(()) => {
                assert!(judge.knows(&change.hash()), "an accepted change is known");
                assert_eq!(judge.accept(&change), Ok(()), "it is accepted again");
                accepted += 1;
            }
            Err(Fault::MissingDeps(deps)) => assert!(!deps.iter().any(|dep| judge.knows(dep)), "they are missing"),
            Err(_) => assert_eq!(judge.len(), known, "a refused change leaves nothing"),
        }
    }
    accepted > 0
}

/// A change as it comes, compressed or plain.
pub(super) fn document_change(bytes: &[u8]) -> bool {
    let Ok(plain) = expand(bytes) else { return false };
    assert!(plain.len() <= CHANGE_BYTES_MAX + 32, "it is expanded within the bound");
    Change::parse(&plain).is_ok()
}

/// Changes one after the other, as for `document_changes`: those that the judge accepts make a document.
pub(super) fn document_applied(bytes: &[u8]) -> bool {
    let (mut judge, mut living, mut rest) = (Judge::new(), Living::new(), bytes);
    let mut versions = vec![living.heads()];
    while let Some((head, after)) = rest.split_at_checked(2) {
        let size = head.iter().fold(0, |size, byte| size << 8 | usize::from(*byte));
        let (data, after) = after.split_at(size.min(after.len()));
        rest = after;
        let plain = chunk(data);
        let Ok(change) = Change::parse(&plain) else { continue };
        if judge.accept(&change).is_ok() {
            assert_eq!(living.apply([plain.as_slice()]).err(), None, "an accepted change is applied");
            versions.push(living.heads());
        }
    }
    if living.is_empty() {
        return false;
    }
    let whole = DocPath::default();
    let now = living.value(&whole, None).unwrap_or_default();
    assert!(now.is_some(), "a document has a value");
    for heads in &versions {
        assert!(living.value(&whole, Some(heads)).is_ok(), "it has one at each version");
        assert!(living.patches(heads, &living.heads()).is_ok(), "and there are steps from it");
    }
    // a file of it has the same changes, so its reader has the same document
    let Ok(changes) = changes_of_file(&living.save().unwrap_or_default()) else { return true };
    let mut again = Living::new();
    assert_eq!(again.apply(changes.iter().map(Vec::as_slice)).err(), None, "a document's own file is read");
    assert_eq!((again.heads(), again.value(&whole, None).unwrap_or_default()), (living.heads(), now));
    true
}

/// A file as it comes, and the data of a file's document with a checksum that fits.
pub(super) fn document_file(bytes: &[u8]) -> bool {
    let of_file = |file: &[u8]| {
        let Ok(changes) = changes_of_file(file) else { return false };
        let mut known = BTreeSet::new();
        for bytes in &changes {
            let parsed = Change::parse(bytes);
            assert_eq!(parsed.as_ref().err(), None, "what a file gives are changes");
            let Ok(change) = parsed else { continue };
            assert!(change.deps().iter().all(|dep| known.contains(dep)), "each comes after those before it");
            assert!(known.insert(change.hash()), "each comes once");
        }
        !changes.is_empty()
    };
    let is_file = of_file(bytes);
    of_file(&file_of_document(bytes)) || is_file
}

/// A message of Automerge's sync protocol. Without its changes it is heard and answered.
pub(super) fn document_sync(bytes: &[u8]) -> bool {
    let Ok(message) = SyncMessage::read(bytes) else { return false };
    for change in &message.changes {
        assert_eq!(Change::parse(change).err(), None, "what a message brings are changes");
    }
    let (mut living, mut peer) = (Living::new(), SyncPeer::default());
    assert_eq!(living.hear(&mut peer, &message).err(), None, "a message that was read is heard");
    assert!(living.say(&mut peer).is_ok(), "and answered");
    assert!(living.is_empty(), "it brings nothing by itself");
    true
}

/// A message of automerge-repo.
pub(super) fn repo_message(bytes: &[u8]) -> bool {
    let Ok(message) = RepoMessage::read(bytes) else { return false };
    assert_eq!(RepoMessage::read(&message.write()), Ok(message), "a message is the same when it is written and read");
    true
}
