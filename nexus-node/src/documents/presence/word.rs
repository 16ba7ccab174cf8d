use nexus_crdt::SpaceId;
use nexus_documents::{DocumentId, RepoBody, RepoMessage};

/// The bytes of a space's id, before the message.
const SPACE_BYTES: usize = 32;

/// A document, with its space.
pub(crate) type Place = (SpaceId, DocumentId);

/// A word of a program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Word {
    /// The space of the document. Programs do not know it.
    pub(crate) space: SpaceId,
    /// The document.
    pub(crate) document: DocumentId,
    /// The name of the program that said it first.
    pub(crate) sender: String,
    /// The name of that program's run, by itself.
    pub(crate) session: String,
    /// Its number among the words of that run.
    pub(crate) count: u64,
    /// Its content, which is the programs' matter.
    pub(crate) data: Vec<u8>,
}

impl Word {
    pub(super) fn place(&self) -> Place {
        (self.space, self.document)
    }

    /// The frame to another node: the space, and the message of automerge-repo.
    pub(super) fn frame(&self) -> Vec<u8> {
        let Self { space, document, sender, session, count, data } = self.clone();
        let body = RepoBody::Ephemeral { document, session, count, data };
        let message = RepoMessage { sender, target: String::new(), body };
        [space.as_bytes().as_slice(), &message.write()].concat()
    }

    /// Reads a frame. `None` within is a message of a kind that is not known here: a later version sends it.
    pub(super) fn of_frame(frame: &[u8]) -> Option<Option<Self>> {
        let (space, message) = frame.split_first_chunk::<SPACE_BYTES>()?;
        let RepoMessage { sender, body, .. } = RepoMessage::read(message).ok()?;
        match body {
            RepoBody::Ephemeral { document, session, count, data } => {
                Some(Some(Self { space: SpaceId::from_bytes(*space), document, sender, session, count, data }))
            }
            RepoBody::Other(_) => Some(None),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_read_as_it_was_written_and_another_message_ends_the_stream() {
        let document = DocumentId::from_bytes([7; 16]);
        let (sender, session) = ("tab".to_owned(), "s".to_owned());
        let space = SpaceId::from_bytes([1; 32]);
        let word = Word { space, document, sender: sender.clone(), session, count: 3, data: vec![1; 4_096] };
        let frame = word.frame();
        assert!(frame.len() <= super::super::FRAME_BYTES_MAX);
        assert_eq!(Word::of_frame(&frame), Some(Some(word)));
        let of = |body| {
            let message = RepoMessage { sender: sender.clone(), target: String::new(), body };
            Word::of_frame(&[&[1; 32][..], &message.write()].concat())
        };
        assert_eq!(of(RepoBody::Other("later".to_owned())), Some(None));
        assert_eq!(of(RepoBody::Leave), None);
        assert_eq!(Word::of_frame(&frame[..31]), None);
        assert_eq!(Word::of_frame(&frame[..frame.len() - 1]), None);
    }
}
