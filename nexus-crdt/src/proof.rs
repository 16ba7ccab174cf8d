//! Proofs of authorship: who wrote a text in another mesh, for everybody to check.
//!
//! A proof holds the author's chain of credentials, and the entry that wrote the text: its header, its signature, and its
//! payload with every other part replaced by its hash. Whoever checks it trusts nobody: the chain leads to the
//! mesh's DID, which is its root key. Whether a membership ended later cannot be seen in it.

use borsh::{BorshDeserialize, BorshSerialize};
use nexus_identity::{Chain, ChainError, Did, Name, Signature, claimed};

use crate::entry::{Entry, Kind};
use crate::error::EntryError;
use crate::fields::Core;
use crate::hlc::Hlc;
use crate::payload::Leaves;
use crate::record::{Dot, Field, Target};
use crate::writes::writes_of;

/// The longest proof, in bytes. An entry of some hundred memories has none: the hashes of the others take too much.
pub const PROOF_BYTES_MAX: usize = 16 << 10;

/// The facts that a proof shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proven {
    /// The mesh.
    pub mesh: Did,
    /// The author of the text.
    pub author: Did,
    /// The author's name, as its credential says.
    pub name: Name,
    /// The author's clock when it wrote the text.
    pub at: Hlc,
    /// The memory's id in that mesh.
    pub record: Dot,
    /// The text.
    pub text: String,
    /// All that the write says, as JSON: the text, or a whole core. It may say what was edited since.
    pub said: String,
}

/// Why a proof shows nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProofError {
    /// It is longer than a proof may be.
    #[error("a proof has at most {PROOF_BYTES_MAX} bytes, this one has {bytes}")]
    TooLarge {
        /// Its length.
        bytes: usize,
    },
    /// Its bytes are no proof.
    #[error("its bytes are no proof")]
    Form,
    /// The author's credentials do not hold.
    #[error("the author's credentials do not hold: {0}")]
    Chain(#[from] ChainError),
    /// The credentials are those of another member.
    #[error("its credentials are of another member than the author")]
    OtherMember,
    /// The entry is not what its author signed.
    #[error("the entry does not hold: {0}")]
    Entry(#[from] EntryError),
    /// The entry says no text at the place that is named.
    #[error("the entry writes no text there")]
    NoText,
}

#[derive(BorshSerialize, BorshDeserialize)]
struct Parts {
    #[borsh(deserialize_with = "claimed::bytes")]
    chain: Vec<u8>,
    #[borsh(deserialize_with = "claimed::bytes")]
    header: Vec<u8>,
    signature: Signature,
    #[borsh(deserialize_with = "claimed::bytes")]
    payload: Vec<u8>,
    /// The write's index in the entry.
    index: u16,
}

/// The proof that a member wrote the text of a write. It has all that this write says, which may be more than the text.
///
/// `None` if it would be too long, the payload is not here, or it is in one piece with other writes: some of these may be
/// forgotten by now.
pub fn prove(chain: &Chain, entry: &Entry, index: u16) -> Option<Vec<u8>> {
    let payload = match entry.leaves().ok()? {
        Some(leaves) => {
            let others: Vec<u16> = leaves.present().map(|(other, ..)| other).filter(|other| *other != index).collect();
            others.into_iter().fold(leaves, Leaves::without).encode()
        }
        None if writes_of(entry).ok()?.len() == 1 => entry.payload()?.to_vec(),
        None => return None,
    };
    let (header, signature) = (entry.header_bytes().to_vec(), *entry.signature());
    let proof = borsh::to_vec(&Parts { chain: chain.to_bytes(), header, signature, payload, index }).ok()?;
    (proof.len() <= PROOF_BYTES_MAX).then_some(proof)
}

/// Checks a proof, the cheapest first. It takes one signature, and one for each link of the chain.
///
/// # Errors
/// [`ProofError`].
pub fn check_proof(proof: &[u8]) -> Result<Proven, ProofError> {
    if proof.len() > PROOF_BYTES_MAX {
        return Err(ProofError::TooLarge { bytes: proof.len() });
    }
    let parts: Parts = borsh::from_slice(proof).map_err(|_| ProofError::Form)?;
    let Parts { chain, header, signature, payload, index } = parts;
    let entry = Entry::decode(header, signature, Some(payload))?;
    if entry.header().kind != Kind::WRITES {
        return Err(ProofError::NoText);
    }
    let mesh = entry.header().mesh;
    let entry = entry.verify(&mesh)?;
    let (record, text, said) = said(&entry, index).ok_or(ProofError::NoText)?;
    let claims = Chain::from_bytes(&chain)?.verify(&mesh)?;
    let (author, at) = (entry.header().author, entry.header().hlc);
    if claims.subject != author {
        return Err(ProofError::OtherMember);
    }
    Ok(Proven { mesh, author, name: claims.name, at, record, text, said })
}

/// The record that a write of an entry is of, the text that it says, and all that it says.
fn said(entry: &Entry, index: u16) -> Option<(Dot, String, String)> {
    let placed = writes_of(entry).ok()?.into_iter().find(|placed| placed.index == index)?;
    let (record, text) = match placed.write.target {
        Target::Create { .. } => (Dot { entry: entry.id(), index }, Core::parse(&placed.write.value)?.text),
        Target::Edit { record } if placed.write.field.as_str() == Field::TEXT => {
            (record, serde_json::from_str(&placed.write.value).ok()?)
        }
        Target::Edit { .. } => return None,
    };
    Some((record, text, placed.write.value))
}

#[cfg(test)]
mod tests {
    use nexus_identity::{Claims, Keypair, Role, Timestamp};
    use proptest::prelude::*;

    use super::*;
    use crate::entry::{Draft, Verified};
    use crate::entry_id::EntryId;
    use crate::log_id::{Incarnation, LogId};
    use crate::payload::Content;
    use crate::record::{Write, Writes};
    use crate::space::SpaceId;

    fn key(n: u8) -> Keypair {
        Keypair::from_seed(&[n; 32])
    }

    /// The chain of member 2, whom member 1 admitted into the mesh of root 0.
    fn chain() -> Chain {
        let mesh = key(0).did();
        let claims = |n: u8, name: &str, role| {
            Claims::new(mesh, key(n).did(), name.parse().unwrap(), [role], Timestamp::from_ms(1_000))
        };
        let founder = Chain::found(claims(1, "laptop", Role::Admin).sign(&key(0))).unwrap();
        founder.extend(claims(2, "cloud", Role::Member).issued_by(key(1).did()).sign(&key(1))).unwrap()
    }

    fn write(text: &str) -> Write {
        let core = Core { text: text.to_owned(), kind: "note".to_owned(), ..Core::default() };
        let field = Field::named(Field::CORE);
        Write { target: Target::Create { page: 0 }, field, value: core.to_json(), over: Vec::new() }
    }

    fn entry(author: &Keypair, content: Content) -> Verified {
        entry_of(Kind::WRITES, author, content)
    }

    fn entry_of(kind: Kind, author: &Keypair, content: Content) -> Verified {
        let mesh = key(0).did();
        let log = LogId { space: SpaceId::default_of(&mesh), author: author.did(), incarnation: Incarnation([1; 8]) };
        let draft = Draft {
            mesh,
            log,
            after: None,
            hlc: Hlc::at(Timestamp::from_ms(7_000)),
            kind,
            refs: vec![],
            payload: content,
        };
        Verified::write(draft, author)
    }

    fn parts(texts: &[&str]) -> Content {
        let part = |(n, text): (u8, &&str)| ([n; 16], borsh::to_vec(&write(text)).unwrap());
        Content::Parts((0..).zip(texts).map(part).collect())
    }

    /// promise: Entries and memories | A proof shows who wrote a text in another mesh, and nothing of the other texts
    #[test]
    fn a_proof_shows_author_mesh_and_text_and_no_other_text() {
        let entry = entry(&key(2), parts(&["port 5432", "the password is long", "port 5433"]));
        let proof = prove(&chain(), &entry, 2).unwrap();
        let proven = check_proof(&proof).unwrap();
        assert_eq!((proven.mesh, proven.author), (key(0).did(), key(2).did()));
        assert_eq!((proven.name.as_str(), proven.text.as_str()), ("cloud", "port 5433"));
        assert_eq!(
            (proven.at, proven.record),
            (Hlc::at(Timestamp::from_ms(7_000)), Dot { entry: entry.id(), index: 2 })
        );
        assert!(!proof.windows(8).any(|window| window == b"password"));

        let whole = Writes(vec![write("in one piece")]).encode();
        let proof = prove(&chain(), &self::entry(&key(2), whole.into()), 0).unwrap();
        assert_eq!(check_proof(&proof).unwrap().text, "in one piece");
        // of two in one piece none can be left out, and one may be forgotten
        let both = Writes(vec![write("kept"), write("forgotten")]).encode();
        assert_eq!(prove(&chain(), &self::entry(&key(2), both.into()), 0), None);
    }

    /// promise: Entries and memories | A proof of somebody else's, of another member, of no text shows nothing
    #[test]
    fn a_proof_with_other_credentials_or_of_no_text_shows_nothing() {
        let stranger = entry(&key(3), parts(&["mine"]));
        assert_eq!(check_proof(&prove(&chain(), &stranger, 0).unwrap()), Err(ProofError::OtherMember));
        let honest = entry(&key(2), parts(&["mine"]));
        assert_eq!(check_proof(&prove(&chain(), &honest, 1).unwrap()), Err(ProofError::NoText));
        // a mesh of the forger's own, in which it admits the victim
        let (mesh, forger) = (key(9).did(), key(9));
        let claims = Claims::new(mesh, key(2).did(), "cloud".parse().unwrap(), [Role::Admin], Timestamp::from_ms(1));
        let other = Chain::found(claims.sign(&forger)).unwrap();
        assert!(matches!(check_proof(&prove(&other, &honest, 0).unwrap()), Err(ProofError::Chain(_))));
        // the same bytes in an entry of another kind, which says no writes
        let other_kind = entry_of(Kind::SPACE, &key(2), parts(&["mine"]));
        assert_eq!(check_proof(&prove(&chain(), &other_kind, 0).unwrap()), Err(ProofError::NoText));
        // an edit of another field, and one of a text
        for (field, value, text) in [("tags", "[\"mine\"]", None), ("text", "\"mine\"", Some("mine"))] {
            let record = Dot { entry: EntryId::of(b"elsewhere"), index: 3 };
            let (target, field) = (Target::Edit { record }, Field::named(field));
            let edit = Write { target, field, value: value.to_owned(), over: vec![] };
            let part = (Default::default(), edit.encode());
            let found = check_proof(&prove(&chain(), &entry(&key(2), Content::Parts(vec![part])), 0).unwrap());
            assert_eq!(
                found.ok().map(|proven| (proven.record, proven.text)),
                text.map(|text| (record, text.to_owned()))
            );
        }
        let proof = prove(&chain(), &honest, 0).unwrap();
        for cut in 0..proof.len() {
            assert!(check_proof(&proof[..cut]).is_err(), "{cut}");
        }
        assert_eq!(check_proof(&[proof.as_slice(), &[0]].concat()), Err(ProofError::Form));
        for at in 0..proof.len() - 4 {
            let mut long = proof.clone();
            long[at..at + 4].fill(0xff);
            assert!(check_proof(&long).is_err(), "{at}");
        }
        assert_eq!(check_proof(&[0; PROOF_BYTES_MAX + 1]), Err(ProofError::TooLarge { bytes: PROOF_BYTES_MAX + 1 }));
        let long = entry(&key(2), parts(&[&"x".repeat(PROOF_BYTES_MAX)]));
        assert!(prove(&chain(), &long, 0).is_none());
    }

    proptest! {
        /// promise: Entries and memories | No changed bit of a proof shows anything else
        #[test]
        fn a_proof_with_a_changed_bit_shows_the_same_or_nothing(at in any::<prop::sample::Index>(), bit in 0..8_u32) {
            let honest = entry(&key(2), parts(&["port 5432", "port 5433"]));
            let proof = prove(&chain(), &honest, 1).unwrap();
            let proven = check_proof(&proof).unwrap();
            let mut changed = proof.clone();
            let at = at.index(changed.len());
            changed[at] ^= 1 << bit;
            if let Ok(found) = check_proof(&changed) {
                prop_assert_eq!(found, proven);
            }
        }

        #[test]
        fn any_bytes_are_a_proof_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            prop_assert!(check_proof(&bytes).is_err());
        }
    }
}
