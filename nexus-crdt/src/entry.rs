use std::fmt;
use std::io;
use std::ops::Deref;

use borsh::{BorshDeserialize, BorshSerialize};
use nexus_identity::{Did, Domain, Keypair, Signature};

use crate::entry_id::EntryId;
use crate::error::{EntryError, FormError};
use crate::hlc::Hlc;
use crate::log_id::{Incarnation, LogId};
use crate::payload::PAYLOAD_BYTES_MAX;
use crate::payload::{Content, LEAVES_MAX, Leaf, Leaves};
use crate::space::SpaceId;

/// The longest header, in bytes: the fixed fields and [`REFS_MAX`] references.
pub const HEADER_BYTES_MAX: usize = 196 + 32 * REFS_MAX;
/// The most references to entries of other logs in a header.
pub const REFS_MAX: usize = 16;

/// The entry format that every version reads: its payload is one piece.
pub const ENTRY_FORMAT_FIRST: u16 = 1;
/// The entry format whose payload is a list of leaves.
pub const ENTRY_FORMAT_LEAVES: u16 = 2;
/// The latest entry format that this version reads and writes.
pub const ENTRY_FORMAT_MAX: u16 = ENTRY_FORMAT_LEAVES;

/// Stands for all of a payload, where otherwise one of its leaves is named by its index.
pub const ALL_LEAVES: u16 = u16::MAX;

/// The kind of an entry. Numbers are never reused. An unknown kind is verified, kept and forwarded, and
/// not applied.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize)]
pub struct Kind(pub u16);

impl Kind {
    /// Whether entries of this kind are events of tasks.
    pub const fn is_tasks(self) -> bool {
        matches!(self, Self::TASKS | Self::TASKS_APART)
    }

    /// Writes to records ([`crate::Writes`]).
    pub const WRITES: Self = Self(1);
    /// Names and changes of a living document ([`crate::DocumentWords`]).
    pub const DOCUMENT: Self = Self(2);
    /// Creates a space ([`crate::SpaceDefinition`]).
    pub const SPACE: Self = Self(3);
    /// Admits a member ([`nexus_identity::Chain`]).
    pub const CREDENTIAL: Self = Self(4);
    /// Takes a membership away.
    pub const REVOCATION: Self = Self(5);
    /// Gives or takes access to a space.
    pub const GRANT: Self = Self(6);
    /// Proves a fork ([`crate::Evidence`]).
    pub const EVIDENCE: Self = Self(7);
    /// Acknowledges a frontier.
    pub const FRONTIER_ACK: Self = Self(8);
    /// An agreed checkpoint.
    pub const CHECKPOINT: Self = Self(9);
    /// Erases leaves of other entries ([`crate::Erase`]).
    pub const ERASE: Self = Self(10);
    /// Task events.
    pub const TASKS: Self = Self(11);
    /// References to blobs.
    pub const REFERENCES: Self = Self(12);
    /// Audits a command.
    pub const COMMAND: Self = Self(13);
    /// The profile of a member ([`crate::Profile`]).
    pub const PROFILE: Self = Self(14);
    /// Gives a member a seat among the coordinators ([`crate::Seat`]).
    pub const SEAT: Self = Self(15);
    /// Names the former key of a member ([`crate::Succession`]).
    pub const SUCCESSION: Self = Self(16);
    /// Task events whose texts stand in leaves of their own.
    pub const TASKS_APART: Self = Self(17);
    /// Says which erasures a node has carried out ([`crate::Confirmation`]).
    pub const CONFIRMATION: Self = Self(18);
}

impl fmt::Debug for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Kind({})", self.0)
    }
}

/// The signed part of an entry. Canonical bytes: the borsh encoding, fields in this order (see
/// `docs/spec.md`).
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize)]
pub struct Header {
    format: u16,
    /// The mesh: the DID of its root key.
    pub mesh: Did,
    /// The space it belongs to.
    pub space: SpaceId,
    /// The author.
    pub author: Did,
    /// The incarnation of the author's store.
    pub incarnation: Incarnation,
    /// Its number in the log, from 0 without gaps.
    pub seq: u64,
    /// The entry before it; [`EntryId::ZERO`] at seq 0 and only there.
    pub prev: EntryId,
    /// The time by the author's clock. For people and recency alone.
    pub hlc: Hlc,
    /// The kind of the payload.
    pub kind: Kind,
    /// Entries of other logs on which it depends, besides those named in the payload. Ascending, at
    /// most [`REFS_MAX`].
    pub refs: Vec<EntryId>,
    /// The payload's size, in bytes.
    pub payload_len: u32,
    /// The payload's [`payload_hash`] in format 1, its [`Leaves::root`] in format 2.
    pub payload_hash: [u8; 32],
}

/// BLAKE3 of a payload, context `nexus payload v1`.
pub fn payload_hash(payload: &[u8]) -> [u8; 32] {
    blake3::derive_key("nexus payload v1", payload)
}

/// The raw fields; [`Header`] adds the rules.
#[derive(BorshDeserialize)]
struct RawHeader {
    format: u16,
    mesh: Did,
    space: SpaceId,
    author: Did,
    incarnation: Incarnation,
    seq: u64,
    prev: EntryId,
    hlc: Hlc,
    kind: Kind,
    refs: Refs,
    payload_len: u32,
    payload_hash: [u8; 32],
}

/// Reads no more references than a header may have, whatever the count is.
struct Refs(Vec<EntryId>);

impl BorshDeserialize for Refs {
    fn deserialize_reader<R: io::Read>(reader: &mut R) -> io::Result<Self> {
        let count = u32::deserialize_reader(reader)?;
        if count as usize > REFS_MAX {
            return Err(io::ErrorKind::InvalidData.into());
        }
        (0..count).map(|_| EntryId::deserialize_reader(reader)).collect::<io::Result<_>>().map(Self)
    }
}

impl Header {
    /// Reads canonical header bytes.
    ///
    /// # Errors
    /// [`EntryError::TooLarge`], [`EntryError::TooNew`] or [`EntryError::Malformed`].
    pub fn decode(bytes: &[u8]) -> Result<Self, EntryError> {
        if bytes.len() > HEADER_BYTES_MAX {
            return Err(EntryError::TooLarge { part: "header", bytes: bytes.len(), max: HEADER_BYTES_MAX });
        }
        let format =
            bytes.first_chunk().map(|bytes| u16::from_le_bytes(*bytes)).ok_or(EntryError::Malformed("too short"))?;
        if format > ENTRY_FORMAT_MAX {
            return Err(EntryError::TooNew { format });
        }
        if format < ENTRY_FORMAT_FIRST {
            return Err(EntryError::Malformed("format 0"));
        }
        let raw: RawHeader =
            borsh::from_slice(bytes).map_err(|_| EntryError::Malformed("not the fields of a header"))?;
        let RawHeader {
            format,
            mesh,
            space,
            author,
            incarnation,
            seq,
            prev,
            hlc,
            kind,
            refs,
            payload_len,
            payload_hash,
        } = raw;
        let refs = refs.0;
        if !refs.is_sorted_by(|a, b| a < b) {
            return Err(EntryError::Malformed("references are not ascending"));
        }
        if (seq == 0) != (prev == EntryId::ZERO) {
            return Err(EntryError::Malformed("the first entry and only that has no entry before it"));
        }
        if payload_len as usize > PAYLOAD_BYTES_MAX {
            return Err(EntryError::TooLarge { part: "payload", bytes: payload_len as usize, max: PAYLOAD_BYTES_MAX });
        }
        Ok(Self { format, mesh, space, author, incarnation, seq, prev, hlc, kind, refs, payload_len, payload_hash })
    }

    /// The canonical bytes.
    #[expect(clippy::expect_used, reason = "borsh writes to memory")]
    pub fn encode(&self) -> Vec<u8> {
        borsh::to_vec(self).expect("a header encodes")
    }

    /// The number of its format, which says what its payload is.
    pub const fn format(&self) -> u16 {
        self.format
    }

    /// The hash that a header of some format names for a payload; `None` if it has none.
    pub(crate) fn hash_of(format: u16, payload: &[u8]) -> Option<[u8; 32]> {
        if format == ENTRY_FORMAT_FIRST {
            return Some(payload_hash(payload));
        }
        Leaves::decode(payload).ok().map(|leaves| leaves.root())
    }

    /// Whether a payload is the one that was signed, or what is left of it.
    fn is_of(&self, payload: &[u8]) -> Result<bool, EntryError> {
        let whole_bytes = self.payload_len as usize;
        if self.format == ENTRY_FORMAT_FIRST {
            return Ok(payload.len() == whole_bytes && payload_hash(payload) == self.payload_hash);
        }
        let leaves = Leaves::decode(payload)?;
        Ok(leaves.fits(whole_bytes) && leaves.root() == self.payload_hash)
    }

    /// The log this entry belongs to.
    pub const fn log(&self) -> LogId {
        LogId { space: self.space, author: self.author, incarnation: self.incarnation }
    }
}

/// A header, its signature, and the payload unless it was left out: canonical, not yet verified.
///
/// The exact header bytes are kept, since they were signed and will be forwarded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    id: EntryId,
    header: Header,
    header_bytes: Vec<u8>,
    signature: Signature,
    payload: Option<Vec<u8>>,
}

impl Entry {
    /// Reads an entry's parts. Only sizes and form are checked: see [`Entry::verify`].
    ///
    /// # Errors
    /// As [`Header::decode`].
    pub fn decode(header_bytes: Vec<u8>, signature: Signature, payload: Option<Vec<u8>>) -> Result<Self, EntryError> {
        let header = Header::decode(&header_bytes)?;
        let id = EntryId::of(&header_bytes);
        Ok(Self { id, header, header_bytes, signature, payload })
    }

    /// Checks the mesh, the payload (as far as it is here) and the signature, the cheapest first.
    ///
    /// # Errors
    /// [`EntryError::OtherMesh`], [`EntryError::Payload`], [`EntryError::PayloadMismatch`] or
    /// [`EntryError::Signature`].
    pub fn verify(self, mesh: &Did) -> Result<Verified, EntryError> {
        if self.header.mesh != *mesh {
            return Err(EntryError::OtherMesh);
        }
        if let Some(payload) = &self.payload
            && !self.header.is_of(payload)?
        {
            return Err(EntryError::PayloadMismatch);
        }
        self.header.author.verify(Domain::Entry, self.id.as_bytes(), &self.signature)?;
        Ok(Verified(self))
    }

    /// The entry's id.
    pub const fn id(&self) -> EntryId {
        self.id
    }

    /// The signed fields.
    pub const fn header(&self) -> &Header {
        &self.header
    }

    /// The exact bytes under the id.
    pub fn header_bytes(&self) -> &[u8] {
        &self.header_bytes
    }

    /// The author's signature over the id.
    pub const fn signature(&self) -> &Signature {
        &self.signature
    }

    /// The payload, if any of it is here: canonical bytes, as they are stored and sent.
    pub fn payload(&self) -> Option<&[u8]> {
        self.payload.as_deref()
    }

    /// The leaves of a payload in parts; `None` if it is one piece, or is not here.
    ///
    /// # Errors
    /// [`EntryError::Payload`] where nothing was verified.
    pub fn leaves(&self) -> Result<Option<Leaves<'_>>, EntryError> {
        let payload = self.payload().filter(|_| self.header.format != ENTRY_FORMAT_FIRST);
        payload.map(Leaves::decode).transpose()
    }

    /// The payload of an entry that says one thing: of every kind but [`Kind::WRITES`].
    ///
    /// # Errors
    /// [`FormError::Absent`] if it is not here, [`FormError::Count`] if it is more than one thing.
    pub fn content(&self) -> Result<&[u8], FormError> {
        let Some(leaves) = self.leaves().map_err(|_| FormError::NotCanonical)? else {
            return self.payload().ok_or(FormError::Absent);
        };
        let mut all = leaves.iter();
        match (all.next(), all.count()) {
            (Some(Leaf::Present { bytes, .. }), 0) => Ok(bytes),
            (Some(Leaf::Erased(_)), 0) | (None, _) => Err(FormError::Absent),
            (_, more) => Err(FormError::Count { what: "leaves", count: more + 1, max: 1 }),
        }
    }

    /// The indices of the leaves that are not here; [`ALL_LEAVES`] alone if nothing is.
    pub fn lacks(&self) -> Vec<u16> {
        match self.leaves() {
            Ok(Some(leaves)) => leaves.erased().collect(),
            _ if self.payload.is_none() => vec![ALL_LEAVES],
            _ => Vec::new(),
        }
    }
}

/// An [`Entry`] whose signature and payload were checked: the only kind that the engine takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified(Entry);

impl Verified {
    /// Writes and signs the next entry of an own log.
    ///
    /// # Panics
    /// If the payload or the references exceed an entry's limits: callers check first.
    pub fn write(draft: Draft<'_>, key: &Keypair) -> Self {
        let Draft { mesh, log, after, hlc, kind, refs, payload } = draft;
        let (format, payload, payload_hash) = match payload {
            Content::Whole(payload) => {
                let hash = payload_hash(&payload);
                (ENTRY_FORMAT_FIRST, payload, hash)
            }
            Content::Parts(parts) => {
                assert!((1..=LEAVES_MAX).contains(&parts.len()), "a payload within its limits");
                let leaves = Leaves::of(&parts);
                (ENTRY_FORMAT_LEAVES, leaves.encode(), leaves.root())
            }
        };
        assert!(payload.len() <= PAYLOAD_BYTES_MAX && refs.len() <= REFS_MAX, "an entry within its limits");
        let (seq, prev) = after.map_or((0, EntryId::ZERO), |head| (head.seq + 1, head.id));
        let mut refs = refs;
        refs.sort_unstable();
        refs.dedup();
        let header = Header {
            format,
            mesh,
            space: log.space,
            author: log.author,
            incarnation: log.incarnation,
            seq,
            prev,
            hlc,
            kind,
            refs,
            payload_len: u32::try_from(payload.len()).unwrap_or(u32::MAX),
            payload_hash,
        };
        let header_bytes = header.encode();
        let id = EntryId::of(&header_bytes);
        let signature = key.sign(Domain::Entry, id.as_bytes());
        Self(Entry { id, header, header_bytes, signature, payload: Some(payload) })
    }

    /// The same entry with one leaf erased, or everything ([`ALL_LEAVES`]). It verifies as before. A
    /// payload in one piece is erased as a whole or not at all.
    #[must_use]
    pub fn without(mut self, leaf: u16) -> Self {
        let left = match self.0.leaves() {
            Ok(Some(leaves)) if leaf == ALL_LEAVES => {
                let all: Vec<u16> = (0..).zip(leaves.iter()).map(|(index, _)| index).collect();
                Some(all.into_iter().fold(leaves, Leaves::without).encode())
            }
            Ok(Some(leaves)) => Some(leaves.without(leaf).encode()),
            _ if leaf == ALL_LEAVES => None,
            _ => return self,
        };
        self.0.payload = left;
        self
    }

    /// The same entry with the leaves that another copy of it has besides. Of two copies, each may lack what the other one has.
    #[must_use]
    pub fn filled_by(mut self, other: &Self) -> Self {
        debug_assert_eq!(self.id(), other.id(), "copies of one entry");
        let filled = match (self.0.leaves(), other.0.leaves()) {
            (Ok(Some(ours)), Ok(Some(theirs))) => Some(ours.filled_by(&theirs).encode()),
            _ => other.0.payload.clone(),
        };
        if filled.is_some() {
            self.0.payload = filled;
        }
        self
    }

    /// The same entry with all leaves erased but some. It verifies as before. A payload in one piece stays whole.
    #[must_use]
    pub fn only(mut self, kept: &[u16]) -> Self {
        let left = match self.0.leaves() {
            Ok(Some(leaves)) => leaves.only(kept).encode(),
            _ => return self,
        };
        self.0.payload = Some(left);
        self
    }

    /// An entry read back from the store. It was verified before it was stored, and the store's
    /// checksums vouch for it.
    pub const fn trusted(entry: Entry) -> Self {
        Self(entry)
    }
}

impl Deref for Verified {
    type Target = Entry;

    fn deref(&self) -> &Entry {
        &self.0
    }
}

/// The data for [`Verified::write`].
#[derive(Clone, Debug)]
pub struct Draft<'a> {
    /// The mesh.
    pub mesh: Did,
    /// The log; its author is the signing key.
    pub log: LogId,
    /// The log's last entry, if it has one.
    pub after: Option<&'a crate::frontier::Head>,
    /// The author's clock.
    pub hlc: Hlc,
    /// The payload's kind.
    pub kind: Kind,
    /// Entries of other logs on which it depends, besides those named in the payload.
    pub refs: Vec<EntryId>,
    /// The payload. It decides the entry's format.
    pub payload: Content,
}
