//! Automerge's sync protocol with a program that nobody vouches for.
//!
//! A message is read here first. Its changes are taken out of it, to be judged like those of any stranger. Its filters are checked,
//! since the library computes with their numbers. The rest names hashes alone, and goes to the library.
//!
//! The format is that of Automerge's own protocol: heads, needed changes, filters of what the other side has, changes, flags.

use automerge::sync::{Message, State, SyncDoc};

use crate::change::{DEPS_MAX, length};
use crate::hash::ChangeHash;
use crate::living::error::{Broken, FileError};
use crate::living::file::{FILE_BYTES_MAX, changes_in, form, number};
use crate::living::{Living, failed, guarded};
use crate::reader::Reader;

/// The most bytes of a message: a whole document, and what is said about it.
pub const SYNC_BYTES_MAX: usize = FILE_BYTES_MAX + (1 << 20);
/// The most heads that a message names.
const HEADS_MAX: u64 = 16 * DEPS_MAX as u64;
/// The most changes that a message asks for by name.
const NEED_MAX: u64 = 1 << 15;
/// The most filters of a message.
const HAVES_MAX: u64 = 16;
/// The most bits that a filter has for a change, and the most that it looks at. Automerge's own has 10, and looks at 7.
const FILTER_BITS_MAX: u64 = 64;
/// The most pieces in which changes come.
const PIECES_MAX: u64 = 1 << 18;

/// The most bytes of flags.
const FLAGS_MAX: usize = 64;

const FIRST: u8 = 0x42;
const SECOND: u8 = 0x43;

/// The knowledge of this side about another one and a document.
#[derive(Debug, Default)]
pub struct SyncPeer(State);

impl SyncPeer {
    /// A side whose changes are not taken. It hears so, and goes on hearing of the document.
    pub fn reader() -> Self {
        Self(State::new_read_only())
    }

    /// The other side is to hear the heads once more, as changes of it came to the document. The library saw them there before
    /// their message, and takes it that the other side knows.
    pub fn owe_answer(&mut self) {
        self.0.have_responded = false;
    }
}

/// A message of the other side.
#[derive(Clone, Debug)]
pub struct SyncMessage {
    /// Its heads.
    pub heads: Vec<ChangeHash>,
    /// Its changes as plain bytes, each after those before it that came with it. They are not judged yet.
    pub changes: Vec<Vec<u8>>,
    /// The bytes of the message without its changes: a peer is kept with them until the next message.
    pub rest_bytes: usize,
    /// The message without its changes.
    rest: Message,
}

impl SyncMessage {
    /// Reads a message.
    ///
    /// # Errors
    /// [`FileError`]. A message of strangers takes bounded time and memory, whatever is in it.
    pub fn read(bytes: &[u8]) -> Result<Self, FileError> {
        if bytes.len() > SYNC_BYTES_MAX {
            return Err(FileError::TooLarge { most: SYNC_BYTES_MAX as u64, of: "bytes of a message" });
        }
        let mut reader = Reader::new(bytes);
        let [kind] = reader.array().map_err(form)?;
        if kind != FIRST && kind != SECOND {
            return Err(FileError::Form("it is no sync message"));
        }
        let heads = hashes(&mut reader, HEADS_MAX, "heads")?;
        hashes(&mut reader, NEED_MAX, "changes that it asks for")?;
        for _ in 0..number(&mut reader, HAVES_MAX, "filters")? {
            hashes(&mut reader, HEADS_MAX, "heads of a filter")?;
            filter(reader.sized().map_err(form)?)?;
        }
        let before = bytes.get(..bytes.len() - reader.len()).unwrap_or_default();
        let mut pieces = Vec::new();
        for _ in 0..number(&mut reader, PIECES_MAX, "pieces of changes")? {
            pieces.extend_from_slice(reader.sized().map_err(form)?);
        }
        // bytes behind the flags are of later versions
        let flags = if reader.is_empty() { None } else { Some(reader.sized().map_err(form)?) };
        if flags.is_some_and(|flags| flags.len() > FLAGS_MAX) {
            return Err(FileError::TooLarge { most: FLAGS_MAX as u64, of: "bytes of flags" });
        }
        let changes = if pieces.is_empty() { Vec::new() } else { changes_in(&pieces)? };
        // no piece of changes
        let mut rest = [before, &[0]].concat();
        if let Some(flags) = flags {
            rest.extend(length(flags.len()));
            rest.extend_from_slice(flags);
        }
        let rest_bytes = rest.len();
        let rest = guarded(|| Message::decode(&rest)).map_err(|broken| FileError::Library(broken.to_string()))?;
        Ok(Self { heads, changes, rest_bytes, rest: rest.map_err(|error| FileError::Library(error.to_string()))? })
    }
}

fn hashes(reader: &mut Reader<'_>, most: u64, of: &'static str) -> Result<Vec<ChangeHash>, FileError> {
    let many = number(reader, most, of)?;
    (0..many).map(|_| reader.array().map(ChangeHash).map_err(form)).collect()
}

/// Checks the numbers of a Bloom filter: the library divides by its bits, and looks at as many as it says.
fn filter(bytes: &[u8]) -> Result<(), FileError> {
    if bytes.is_empty() {
        return Ok(());
    }
    let mut reader = Reader::new(bytes);
    let changes = number(&mut reader, bytes.len() as u64 * 8, "changes of a filter")?;
    let bits = number(&mut reader, FILTER_BITS_MAX, "bits for a change in a filter")?;
    let looks = number(&mut reader, FILTER_BITS_MAX, "bits that a filter looks at")?;
    let fits = changes.saturating_mul(bits).div_ceil(8) == reader.len() as u64;
    if changes == 0 || bits == 0 || looks == 0 || !fits {
        return Err(FileError::Form("a filter has not the bits that it says"));
    }
    Ok(())
}

impl Living {
    /// Takes what a message says of the other side. Its changes must have come to the document before, if they count.
    ///
    /// # Errors
    /// [`Broken`] where the library fails. The document stands.
    pub fn hear(&mut self, peer: &mut SyncPeer, message: &SyncMessage) -> Result<(), Broken> {
        if self.is_broken {
            return Err(Broken::Before);
        }
        // there is no change in it, so the document stays as it is
        guarded(|| self.doc.receive_sync_message(&mut peer.0, message.rest.clone()))?.map_err(failed)
    }

    /// The next message to the other side, if there is something to say.
    ///
    /// # Errors
    /// [`Broken`] where the library fails. The document stands.
    pub fn say(&self, peer: &mut SyncPeer) -> Result<Option<Vec<u8>>, Broken> {
        if self.is_broken {
            return Err(Broken::Before);
        }
        guarded(|| self.doc.generate_sync_message(&mut peer.0).map(Message::encode))
    }
}
