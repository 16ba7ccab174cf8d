use data_encoding::BASE32_NOPAD;
use nexus_crdt::SpaceId;
use nexus_documents::{DocumentId, RepoBody, RepoMessage};
use nexus_identity::Did;

/// The bytes of a space's id, before the message.
const SPACE_BYTES: usize = 32;
/// The bytes of a member's id, and the letters, by which it is named among those that were told.
const NAME_BYTES: usize = 5;
const NAME_LETTERS: usize = 8;
/// The most members that are named: their names fit the field of a message.
const TOLD_MAX: usize = 31;

/// A document, with its space.
pub(crate) type Place = (SpaceId, DocumentId);

/// The members that were told a word by the node of the program that said it. A member that is told tells others in its reach.
///
/// It stands in the target's name, which no node reads as one. There is none in a word that was passed on, which nobody passes on
/// once more.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Told(String);

impl Told {
    /// These members. If they are too many, nobody is named, and nobody passes it on.
    pub(super) fn of<'a>(members: impl IntoIterator<Item = &'a Did>) -> Self {
        let names: Vec<String> = members.into_iter().map(name).collect();
        if names.len() > TOLD_MAX { Self::default() } else { Self(names.concat()) }
    }

    /// Whether the word may be passed on.
    pub(super) fn may_pass_on(&self) -> bool {
        !self.0.is_empty()
    }

    /// Whether a member was told.
    pub(super) fn has(&self, member: &Did) -> bool {
        let name = name(member);
        self.0.as_bytes().chunks(NAME_LETTERS).any(|told| told == name.as_bytes())
    }
}

fn name(member: &Did) -> String {
    let bytes = member.as_bytes();
    BASE32_NOPAD.encode(bytes.get(..NAME_BYTES).unwrap_or_default())
}

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
    pub(super) fn frame(&self, Told(told): Told) -> Vec<u8> {
        let Self { space, document, sender, session, count, data } = self.clone();
        let body = RepoBody::Ephemeral { document, session, count, data };
        let message = RepoMessage { sender, target: told, body };
        [space.as_bytes().as_slice(), &message.write()].concat()
    }

    /// Reads a frame. `None` within is a message of a kind that is not known here: a later version sends it.
    pub(super) fn of_frame(frame: &[u8]) -> Option<Option<(Self, Told)>> {
        let (space, message) = frame.split_first_chunk::<SPACE_BYTES>()?;
        let RepoMessage { sender, target, body } = RepoMessage::read(message).ok()?;
        match body {
            RepoBody::Ephemeral { document, session, count, data } => {
                let space = SpaceId::from_bytes(*space);
                Some(Some((Self { space, document, sender, session, count, data }, Told(target))))
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
        let members: Vec<Did> = (0..TOLD_MAX).map(|n| Did::from_bytes([u8::try_from(n).unwrap(); 32])).collect();
        let told = Told::of(&members);
        let frame = word.frame(told.clone());
        assert!(frame.len() <= super::super::FRAME_BYTES_MAX);
        assert_eq!(Word::of_frame(&frame), Some(Some((word.clone(), told.clone()))));
        assert!(told.may_pass_on() && members.iter().all(|member| told.has(member)));
        assert!(!told.has(&Did::from_bytes([99; 32])));
        let many = Told::of(members.iter().chain([&Did::from_bytes([99; 32])]));
        assert!(!many.may_pass_on() && !Told::default().has(&members[0]), "too many are nobody");
        assert_eq!(Word::of_frame(&word.frame(Told::default())), Some(Some((word, Told::default()))));
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
