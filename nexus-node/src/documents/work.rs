use std::fmt;
use std::sync::Arc;

use nexus_crdt::DOCUMENT_CHANGE_BYTES_MAX;
use nexus_documents::{ChangeError, Content, Draft, Edit, EditError, Living, Made};

/// A program that changes a document.
pub(super) type Program = dyn Fn(&mut Draft<'_>) -> Result<(), ChangeError> + Send + Sync;

/// The things that a caller wants to have written, all or none.
#[derive(Clone)]
pub(super) enum Work {
    Edits(Vec<Edit>),
    Program(Arc<Program>),
    /// The whole of another document.
    Content(Arc<Content>),
}

impl Work {
    /// The bytes of it while it waits, as far as they are known.
    pub(super) fn bytes(&self) -> u64 {
        match self {
            Self::Edits(edits) => edits.iter().map(Edit::bytes).sum(),
            Self::Program(_) => 1_024,
            Self::Content(content) => content.bytes(),
        }
    }

    /// Makes it in a document, as an actor, at a time and with a word.
    pub(super) fn make(&self, living: &mut Living, actor: &[u8], said: (i64, &str)) -> Result<Vec<Made>, EditError> {
        match self {
            Self::Edits(edits) => living.edit_saying(actor, said, edits, DOCUMENT_CHANGE_BYTES_MAX),
            Self::Program(program) => living.transact(actor, said, &**program, DOCUMENT_CHANGE_BYTES_MAX),
            Self::Content(content) => living.begin_with(actor, said, content, DOCUMENT_CHANGE_BYTES_MAX),
        }
    }
}

impl fmt::Debug for Work {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Edits(edits) => f.debug_tuple("Edits").field(edits).finish(),
            Self::Program(_) => f.debug_tuple("Program").finish_non_exhaustive(),
            Self::Content(_) => f.debug_tuple("Content").finish_non_exhaustive(),
        }
    }
}
