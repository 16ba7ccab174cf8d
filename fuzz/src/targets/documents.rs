//! Changes of documents, which members and their programs write.

use nexus_documents::{CHANGE_BYTES_MAX, Change, Fault, Judge, chunk, expand};

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
