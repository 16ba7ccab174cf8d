use borsh::{BorshDeserialize, BorshSerialize};
use nexus_identity::{Did, Signature};

use crate::entry::{Entry, HEADER_BYTES_MAX, Header};
use crate::entry_id::EntryId;
use crate::error::{EntryError, FormError};
use crate::log_id::LogId;

const FORMAT: u16 = 1;

/// The evidence of a fork: the payload of an entry of kind [`crate::Kind::EVIDENCE`] in the mesh's own space.
/// Canonical bytes: borsh, fields in this order.
///
/// Two signed headers of one log contradict each other. It proves itself, whoever wrote it down: the log's author
/// has signed two entries for one place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Evidence {
    first: Signed,
    second: Signed,
    log: LogId,
    cut: u64,
}

/// The header of an entry and its author's signature.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
struct Signed {
    header: Vec<u8>,
    signature: Signature,
}

impl Signed {
    fn of(entry: &Entry) -> Self {
        Self { header: entry.header_bytes().to_vec(), signature: *entry.signature() }
    }

    fn id(&self) -> EntryId {
        EntryId::of(&self.header)
    }
}

#[derive(BorshSerialize, BorshDeserialize)]
struct Wire {
    format: u16,
    first: Signed,
    second: Signed,
}

impl Evidence {
    /// The most bytes of a payload.
    pub const BYTES_MAX: usize = 2 + 2 * (4 + HEADER_BYTES_MAX + 64);

    /// The evidence that two entries are, in any order; `None` if they do not contradict each other.
    pub fn of(one: &Entry, other: &Entry) -> Option<Self> {
        let (one, other) =
            ((one.header().seq, one.id(), Signed::of(one)), (other.header().seq, other.id(), Signed::of(other)));
        let (first, second) = if (one.0, one.1) < (other.0, other.1) { (one.2, other.2) } else { (other.2, one.2) };
        Self::read(first, second).ok()
    }

    /// Reads canonical payload bytes. The signatures are not checked: see [`verify`](Self::verify).
    ///
    /// # Errors
    /// [`FormError::NotCanonical`], or [`FormError::Content`] if the headers do not contradict each other.
    pub fn decode(payload: &[u8]) -> Result<Self, FormError> {
        if payload.len() > Self::BYTES_MAX {
            return Err(FormError::NotCanonical);
        }
        let wire = borsh::from_slice(payload).ok().filter(|wire: &Wire| wire.format == FORMAT);
        let Wire { first, second, .. } = wire.ok_or(FormError::NotCanonical)?;
        Self::read(first, second)
    }

    fn read(first: Signed, second: Signed) -> Result<Self, FormError> {
        let read = |signed: &Signed| Header::decode(&signed.header).map_err(|_| FormError::NotCanonical);
        let (one, other) = (read(&first)?, read(&second)?);
        let cut = contradiction(&one, first.id(), &other, second.id());
        let cut = cut.filter(|_| one.mesh == other.mesh && one.log() == other.log());
        let cut = cut.ok_or_else(|| FormError::Content("the two headers do not contradict each other".to_owned()))?;
        Ok(Self { log: one.log(), first, second, cut })
    }

    /// The canonical bytes.
    #[expect(clippy::expect_used, reason = "borsh writes to memory")]
    pub fn encode(&self) -> Vec<u8> {
        let wire = Wire { format: FORMAT, first: self.first.clone(), second: self.second.clone() };
        borsh::to_vec(&wire).expect("evidence encodes")
    }

    /// Checks that the log's author signed both headers, for this mesh.
    ///
    /// # Errors
    /// [`EntryError::OtherMesh`] or [`EntryError::Signature`].
    pub fn verify(&self, mesh: &Did) -> Result<(), EntryError> {
        for signed in [&self.first, &self.second] {
            Entry::decode(signed.header.clone(), signed.signature, None)?.verify(mesh)?;
        }
        Ok(())
    }

    /// The forked log.
    pub const fn log(&self) -> LogId {
        self.log
    }

    /// The lowest seq of which the two headers show that it was signed twice.
    pub const fn cut(&self) -> u64 {
        self.cut
    }
}

/// The lowest seq that two headers show to be signed twice, if the second one is after the first by (seq, id). Two
/// entries at one seq that follow different entries show the seq before; so does an entry that follows another than
/// the one before it.
fn contradiction(one: &Header, id: EntryId, other: &Header, other_id: EntryId) -> Option<u64> {
    if one.seq == other.seq && id < other_id {
        // at seq 0 both follow nothing
        return Some(if one.prev == other.prev { one.seq } else { one.seq - 1 });
    }
    (one.seq.checked_add(1) == Some(other.seq) && other.prev != id).then_some(one.seq)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::{Draft, Kind, Verified};
    use crate::frontier::Head;
    use crate::hlc::Hlc;
    use crate::log_id::Incarnation;
    use crate::payload::Content;
    use crate::space::SpaceId;
    use nexus_identity::Keypair;

    fn mesh() -> Did {
        Keypair::from_seed(&[9; 32]).did()
    }

    fn entry(author: u8, after: Option<&Verified>, said: &[u8]) -> Verified {
        let key = Keypair::from_seed(&[author; 32]);
        let log = LogId { space: SpaceId::default_of(&mesh()), author: key.did(), incarnation: Incarnation([0; 8]) };
        let after = after.map(|entry| Head { seq: entry.header().seq, id: entry.id() });
        let payload = Content::Whole(said.to_vec());
        let draft = Draft {
            mesh: mesh(),
            log,
            after: after.as_ref(),
            hlc: Hlc(0),
            kind: Kind::WRITES,
            refs: vec![EntryId::of(said)],
            payload,
        };
        Verified::write(draft, &key)
    }

    fn chain(author: u8, before: &[Verified], said: &[u8], len: usize) -> Vec<Verified> {
        (0..len).fold(before.to_vec(), |mut log, _| {
            log.push(entry(author, log.last(), said));
            log
        })
    }

    /// promise: The engine | Two signed headers that contradict each other prove a fork, and nothing else does
    #[test]
    fn evidence_is_two_headers_of_one_log_that_contradict_each_other() {
        let main = chain(1, &[], b"a", 4);
        let branch = chain(1, &main[..1], b"b", 3);
        // two entries that follow the same one
        let evidence = Evidence::of(&main[1], &branch[1]).unwrap();
        assert_eq!(Evidence::of(&branch[1], &main[1]), Some(evidence.clone()), "in either order");
        assert_eq!((evidence.log(), evidence.cut()), (main[0].header().log(), 1));
        assert_eq!(Evidence::decode(&evidence.encode()), Ok(evidence.clone()));
        assert_eq!(evidence.verify(&mesh()), Ok(()));
        assert!(evidence.encode().len() <= Evidence::BYTES_MAX);
        // two that follow different ones, and one that follows another than the one before it
        assert_eq!(Evidence::of(&main[2], &branch[2]).map(|evidence| evidence.cut()), Some(1));
        assert_eq!(Evidence::of(&main[2], &branch[3]).map(|evidence| evidence.cut()), Some(2));
        // at the first place of all
        let other = chain(1, &[], b"c", 1);
        assert_eq!(Evidence::of(&main[0], &other[0]).map(|evidence| evidence.cut()), Some(0));

        for (one, other) in [(&main[1], &main[1]), (&main[1], &main[2]), (&main[0], &main[2]), (&main[0], &branch[2])] {
            assert_eq!(Evidence::of(one, other), None);
        }
        let stranger = chain(2, &[], b"a", 2);
        assert_eq!(Evidence::of(&main[1], &stranger[1]), None, "of two authors");
    }

    #[test]
    fn evidence_needs_both_signatures_and_one_encoding() {
        let (main, branch) = (chain(1, &[], b"a", 1), chain(1, &[], b"b", 1));
        let evidence = Evidence::of(&main[0], &branch[0]).unwrap();
        assert_eq!(evidence.verify(&Keypair::from_seed(&[8; 32]).did()), Err(EntryError::OtherMesh));
        let forged = Signed { signature: evidence.second.signature, ..evidence.first.clone() };
        let forged = Evidence { first: forged, ..evidence.clone() }.verify(&mesh());
        assert!(matches!(forged, Err(EntryError::Signature(_))), "{forged:?}");
        let swapped = Evidence { first: evidence.second.clone(), second: evidence.first.clone(), ..evidence.clone() };
        assert!(Evidence::decode(&swapped.encode()).is_err());
        assert_eq!(Evidence::decode(&[evidence.encode(), vec![0]].concat()), Err(FormError::NotCanonical));
        let mut later = evidence.encode();
        later[0] = 2;
        assert_eq!(Evidence::decode(&later), Err(FormError::NotCanonical));
        assert_eq!(Evidence::decode(&vec![0; Evidence::BYTES_MAX + 1]), Err(FormError::NotCanonical));
    }
}
