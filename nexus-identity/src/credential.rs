use borsh::{BorshDeserialize, BorshSerialize};

use crate::claimed;
use crate::did::Did;
use crate::error::ChainError;
use crate::key::Keypair;
use crate::limits::CHAIN_LINKS_MAX;
use crate::name::Name;
use crate::plants::planted;
use crate::role::{Role, Roles};
use crate::signed::{Domain, Signature};
use crate::time::Timestamp;

/// The longest claims, in canonical bytes. A name and sixteen roles fit several times.
const CLAIMS_BYTES_MAX: usize = 1024;

/// The format of claims that do not say whose machine the subject is.
const FORMAT_FIRST: u16 = 1;
/// The format of claims that say it.
const FORMAT_PERSON: u16 = 2;

/// The content of a credential: `subject` is a member of `mesh` with these roles.
///
/// Canonical bytes: the borsh encoding, fields in this order (see `docs/spec.md`). Format 1 has no person, and format 2
/// always has one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claims {
    /// The mesh: the DID of its root key.
    pub mesh: Did,
    /// The signer: the root, or an admin.
    pub issuer: Did,
    /// The member it is for.
    pub subject: Did,
    /// The subject's name, for people.
    pub name: Name,
    /// The subject's rights.
    pub roles: Roles,
    /// The time of issue.
    pub issued_at: Timestamp,
    /// The end, if there is one. It decides about connections, never about entries.
    pub expires_at: Option<Timestamp>,
    /// Whose machine the subject is: the id of a machine of the same person, as a rule of the first one; the root's id
    /// for the founder. `None` if nobody has said.
    pub person: Option<Did>,
}

impl BorshSerialize for Claims {
    fn serialize<W: std::io::Write>(&self, writer: &mut W) -> std::io::Result<()> {
        let Self { mesh, issuer, subject, name, roles, issued_at, expires_at, person } = self;
        let format = if person.is_some() { FORMAT_PERSON } else { FORMAT_FIRST };
        (format, mesh, issuer, subject).serialize(writer)?;
        (name, roles, issued_at, expires_at).serialize(writer)?;
        person.map_or(Ok(()), |person| person.serialize(writer))
    }
}

impl BorshDeserialize for Claims {
    fn deserialize_reader<R: std::io::Read>(reader: &mut R) -> std::io::Result<Self> {
        let (format, mesh, issuer, subject) = BorshDeserialize::deserialize_reader(reader)?;
        let (name, roles, issued_at, expires_at) = BorshDeserialize::deserialize_reader(reader)?;
        let person = match format {
            FORMAT_FIRST => None,
            FORMAT_PERSON => Some(Did::deserialize_reader(reader)?),
            _ => return Err(std::io::ErrorKind::InvalidData.into()),
        };
        Ok(Self { mesh, issuer, subject, name, roles, issued_at, expires_at, person })
    }
}

impl Claims {
    /// Claims issued by the root; see [`Claims::issued_by`] for an admin's.
    pub fn new(
        mesh: Did,
        subject: Did,
        name: Name,
        roles: impl IntoIterator<Item = Role>,
        issued_at: Timestamp,
    ) -> Self {
        let roles = roles.into_iter().collect();
        Self { mesh, issuer: mesh, subject, name, roles, issued_at, expires_at: None, person: None }
    }

    /// The same claims with another issuer.
    #[must_use]
    pub fn issued_by(self, issuer: Did) -> Self {
        Self { issuer, ..self }
    }

    /// The same claims with an end.
    #[must_use]
    pub fn expiring(self, expires_at: Option<Timestamp>) -> Self {
        Self { expires_at, ..self }
    }

    /// The same claims with whose machine it is. An issuer may name its own person: by its own id, or as its own claims do.
    /// It may name a new one by the subject's id. The root may name anybody.
    #[must_use]
    pub fn of_person(self, person: Option<Did>) -> Self {
        Self { person, ..self }
    }

    /// Whether an issuer with these claims may say whose machine the subject of `below` is.
    fn may_say(&self, below: &Self) -> bool {
        let Some(person) = below.person else { return true };
        person == below.subject
            || person == self.subject
            || self.person == Some(person)
            || planted("names_third_persons")
    }

    /// Signs the claims; chains check that the key is the issuer's.
    #[expect(clippy::expect_used, reason = "borsh writes to memory")]
    pub fn sign(&self, key: &Keypair) -> Credential {
        let claims = borsh::to_vec(self).expect("claims encode");
        let signature = key.sign(Domain::Credential, &digest(&claims));
        Credential { claims, signature }
    }

    /// Their bytes, to carry to the key that signs them.
    #[expect(clippy::expect_used, reason = "borsh writes to memory")]
    pub fn to_bytes(&self) -> Vec<u8> {
        borsh::to_vec(self).expect("claims encode")
    }

    /// Reads the bytes.
    ///
    /// # Errors
    /// [`ChainError::TooNew`] or [`ChainError::Malformed`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, ChainError> {
        Credential { claims: bytes.to_vec(), signature: Signature::from_bytes([0; 64]) }.claims()
    }

    /// Whether the credential has ended at `now`.
    pub fn expired(&self, now: Timestamp) -> bool {
        self.expires_at.is_some_and(|end| end < now)
    }
}

/// The digest that a credential's signature covers.
fn digest(claims: &[u8]) -> [u8; 32] {
    blake3::derive_key("nexus credential v1", claims)
}

/// Signed [`Claims`], as the exact bytes that were signed.
#[derive(Clone, Debug, PartialEq, Eq, Hash, BorshSerialize, BorshDeserialize)]
pub struct Credential {
    #[borsh(deserialize_with = "claimed::bytes")]
    claims: Vec<u8>,
    signature: Signature,
}

impl Credential {
    /// The claims, if the bytes are their canonical encoding. Says nothing about the signature.
    ///
    /// # Errors
    /// [`ChainError::TooNew`] or [`ChainError::Malformed`].
    pub fn claims(&self) -> Result<Claims, ChainError> {
        let Some(format) = self.claims.first_chunk().map(|bytes| u16::from_le_bytes(*bytes)) else {
            return Err(ChainError::Malformed);
        };
        if format > FORMAT_PERSON {
            return Err(ChainError::TooNew { format });
        }
        if format == 0 || self.claims.len() > CLAIMS_BYTES_MAX {
            return Err(ChainError::Malformed);
        }
        let claims: Claims = borsh::from_slice(&self.claims).map_err(|_| ChainError::Malformed)?;
        (borsh::to_vec(&claims).ok().as_ref() == Some(&self.claims)).then_some(claims).ok_or(ChainError::Malformed)
    }

    fn verify(&self, claims: &Claims) -> Result<(), ChainError> {
        Ok(claims.issuer.verify(Domain::Credential, &digest(&self.claims), &self.signature)?)
    }
}

/// Credentials from the root of a mesh down to one member. Self-contained: the mesh's DID is enough to
/// check it, offline.
#[derive(Clone, Debug, PartialEq, Eq, Hash, BorshSerialize, BorshDeserialize)]
pub struct Chain(Vec<Credential>);

impl Chain {
    /// The number of credentials, from the root's own on down.
    #[expect(clippy::len_without_is_empty, reason = "a chain is never empty")]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// The mesh that it names. Says nothing about the signatures.
    ///
    /// # Errors
    /// As [`Credential::claims`] for the first link.
    pub fn mesh(&self) -> Result<Did, ChainError> {
        Ok(self.0.first().ok_or(ChainError::Malformed)?.claims()?.mesh)
    }

    /// The member that the chain is about. Says nothing about the signatures.
    ///
    /// # Errors
    /// As [`Credential::claims`] for the last link.
    pub fn subject(&self) -> Result<Did, ChainError> {
        Ok(self.0.last().ok_or(ChainError::Malformed)?.claims()?.subject)
    }

    /// A chain of one link, issued by the root itself.
    ///
    /// # Errors
    /// As [`Chain::verify`] against the issuer of that link.
    pub fn found(credential: Credential) -> Result<Self, ChainError> {
        let mesh = credential.claims()?.mesh;
        let chain = Self(vec![credential]);
        chain.verify(&mesh)?;
        Ok(chain)
    }

    /// This chain and one more link, issued by its member.
    ///
    /// # Errors
    /// As [`Chain::verify`] for the longer chain.
    pub fn extend(&self, credential: Credential) -> Result<Self, ChainError> {
        let mesh = credential.claims()?.mesh;
        let chain = Self(self.0.iter().cloned().chain([credential]).collect());
        chain.verify(&mesh)?;
        Ok(chain)
    }

    /// Checks every link from the root of `mesh` down: the bytes, the mesh, the issuer and its right to
    /// issue and to say whose machine it is, the signature. Returns the last link's claims. Expiry is not checked here: see
    /// [`Chain::expires_at`].
    ///
    /// # Errors
    /// The [`ChainError`] of the first link that fails, from the root.
    pub fn verify(&self, mesh: &Did) -> Result<Claims, ChainError> {
        self.walk(mesh, |_| ())
    }

    /// All claims from the root down, checked as by [`Chain::verify`].
    ///
    /// # Errors
    /// As [`Chain::verify`].
    pub fn verify_all(&self, mesh: &Did) -> Result<Vec<Claims>, ChainError> {
        let mut all = Vec::with_capacity(self.0.len());
        self.walk(mesh, |claims| all.push(claims.clone()))?;
        Ok(all)
    }

    fn walk(&self, mesh: &Did, mut each: impl FnMut(&Claims)) -> Result<Claims, ChainError> {
        if self.0.len() > CHAIN_LINKS_MAX {
            return Err(ChainError::Length { links: self.0.len() });
        }
        let mut above: Option<Claims> = None;
        for credential in &self.0 {
            let claims = credential.claims()?;
            if claims.mesh != *mesh {
                return Err(ChainError::OtherMesh { expected: *mesh, found: claims.mesh });
            }
            let expected_issuer = above.as_ref().map_or(*mesh, |above| above.subject);
            if claims.issuer != expected_issuer {
                return Err(ChainError::Broken { subject: claims.subject, issuer: claims.issuer });
            }
            if above.as_ref().is_some_and(|above| !above.roles.allow(Role::Admin)) {
                return Err(ChainError::NotAdmin { issuer: claims.issuer });
            }
            if above.is_some_and(|above| !above.may_say(&claims)) {
                return Err(ChainError::OtherPerson { issuer: claims.issuer, subject: claims.subject });
            }
            credential.verify(&claims)?;
            each(&claims);
            above = Some(claims);
        }
        above.ok_or(ChainError::Length { links: 0 })
    }

    /// The earliest end of all links; `None` if no link has an end.
    ///
    /// # Errors
    /// [`ChainError::Malformed`] or [`ChainError::TooNew`] if a link cannot be read.
    pub fn expires_at(&self) -> Result<Option<Timestamp>, ChainError> {
        let mut earliest = None;
        for credential in &self.0 {
            let end = credential.claims()?.expires_at;
            earliest = [earliest, end].into_iter().flatten().min();
        }
        Ok(earliest)
    }

    /// The chain as canonical bytes.
    #[expect(clippy::expect_used, reason = "borsh writes to memory")]
    pub fn to_bytes(&self) -> Vec<u8> {
        borsh::to_vec(self).expect("a chain encodes")
    }

    /// A chain from its canonical bytes; not yet verified.
    ///
    /// # Errors
    /// [`ChainError::Malformed`] if they are not such bytes.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, ChainError> {
        if bytes.len() > CHAIN_LINKS_MAX * (CLAIMS_BYTES_MAX + 128) {
            return Err(ChainError::Malformed);
        }
        borsh::from_slice(bytes).map_err(|_| ChainError::Malformed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NOW: Timestamp = Timestamp::from_ms(1_000);

    fn key(n: u8) -> Keypair {
        Keypair::from_seed(&[n; 32])
    }

    fn claims(issuer: u8, subject: u8, role: Role) -> Claims {
        let name = format!("n{subject}").parse().unwrap();
        Claims::new(key(0).did(), key(subject).did(), name, [role], NOW).issued_by(key(issuer).did())
    }

    fn founder() -> Chain {
        Chain::found(claims(0, 1, Role::Admin).sign(&key(0))).unwrap()
    }

    /// promise: Identities | A chain leads from the root to its member, and each way to break it is refused
    #[test]
    fn a_chain_leads_from_the_root_to_its_member() {
        let chain = founder().extend(claims(1, 2, Role::Member).sign(&key(1))).unwrap();
        let last = chain.verify(&key(0).did()).unwrap();
        assert_eq!((last.subject, last.name.as_str()), (key(2).did(), "n2"));
        assert_eq!(Chain::from_bytes(&chain.to_bytes()).unwrap(), chain);
        assert_eq!(chain.verify_all(&key(0).did()).unwrap().len(), 2);
    }

    /// promise: Identities | A chain leads from the root to its member, and each way to break it is refused
    #[test]
    fn a_chain_of_another_mesh_is_refused() {
        assert!(matches!(founder().verify(&key(9).did()), Err(ChainError::OtherMesh { .. })));
    }

    /// promise: Identities | A chain leads from the root to its member, and each way to break it is refused
    #[test]
    fn a_member_cannot_admit() {
        let member = founder().extend(claims(1, 2, Role::Member).sign(&key(1))).unwrap();
        let refused = member.extend(claims(2, 3, Role::Member).sign(&key(2)));
        assert_eq!(refused, Err(ChainError::NotAdmin { issuer: key(2).did() }));
    }

    /// promise: Identities | A chain leads from the root to its member, and each way to break it is refused
    #[test]
    fn a_link_by_someone_outside_the_chain_is_refused() {
        let broken = founder().extend(claims(5, 2, Role::Member).sign(&key(5)));
        assert!(matches!(broken, Err(ChainError::Broken { .. })));
        let forged = founder().extend(claims(1, 2, Role::Member).sign(&key(5)));
        assert!(matches!(forged, Err(ChainError::Signature(_))));
    }

    /// promise: Identities | A chain ends when the first of its links does
    #[test]
    fn the_earliest_end_of_any_link_is_the_chains() {
        let ends = |ms| Some(Timestamp::from_ms(ms));
        let chain = Chain::found(claims(0, 1, Role::Admin).expiring(ends(50)).sign(&key(0))).unwrap();
        let chain = chain.extend(claims(1, 2, Role::Member).expiring(ends(90)).sign(&key(1))).unwrap();
        assert_eq!(chain.expires_at().unwrap(), ends(50));
    }

    /// promise: Identities | A credential of a later format says so
    #[test]
    fn a_later_format_says_so() {
        let mut bytes = claims(0, 1, Role::Admin).to_bytes();
        bytes[0] = 3;
        let signature = key(0).sign(Domain::Credential, &digest(&bytes));
        let chain = Chain(vec![Credential { claims: bytes, signature }]);
        assert_eq!(chain.verify(&key(0).did()), Err(ChainError::TooNew { format: 3 }));
    }

    /// A chain from the root over members with these persons; `None` says nothing.
    fn of_persons(persons: &[Option<u8>]) -> Result<Chain, ChainError> {
        let person = |n: usize| persons[n].map(|n| key(n).did());
        let founder = claims(0, 1, Role::Admin).of_person(person(0));
        let mut chain = Chain::found(founder.sign(&key(0)))?;
        for n in 1..persons.len() {
            let issuer = u8::try_from(n).unwrap();
            chain = chain.extend(claims(issuer, issuer + 1, Role::Admin).of_person(person(n)).sign(&key(issuer)))?;
        }
        Ok(chain)
    }

    /// promise: Persons | An issuer says that a machine is its own person's or a new one's, and never a third's; the root may name anybody
    #[test]
    fn an_issuer_names_its_own_person_or_a_new_one() {
        // members 1, 2 and 3, each admitted by the one before; 0 is the root
        for good in [
            [Some(0), Some(0), Some(0)],
            [Some(0), Some(2), Some(2)],
            [Some(0), Some(2), Some(3)],
            [Some(7), Some(7), None],
            [None, Some(1), Some(1)],
            [None, None, Some(2)],
            [Some(0), None, Some(2)],
        ] {
            let chain = of_persons(&good).unwrap_or_else(|error| panic!("{good:?}: {error}"));
            let said: Vec<_> = chain.verify_all(&key(0).did()).unwrap().into_iter().map(|one| one.person).collect();
            assert_eq!(said, good.map(|n| n.map(|n| key(n).did())));
            assert_eq!(Chain::from_bytes(&chain.to_bytes()).unwrap(), chain);
        }
        for third in [
            [Some(0), Some(7), None],
            [Some(0), Some(2), Some(0)],
            [Some(0), Some(2), Some(1)],
            [None, Some(0), None],
            [None, None, Some(1)],
            [Some(1), None, Some(1)],
        ] {
            assert!(matches!(of_persons(&third), Err(ChainError::OtherPerson { .. })), "{third:?}");
        }
    }

    /// promise: Persons | Credentials of earlier versions say nothing about whose machine it is, and stay as they are
    #[test]
    fn claims_of_the_first_format_have_no_person() {
        let (without, with) = (claims(0, 1, Role::Admin), claims(0, 1, Role::Admin).of_person(Some(key(0).did())));
        assert_eq!((without.to_bytes()[0], with.to_bytes()[0]), (1, 2));
        assert_eq!(Claims::from_bytes(&with.to_bytes()).unwrap(), with);
        let mut other = with.to_bytes();
        other[0] = 1;
        assert_eq!(Claims::from_bytes(&other), Err(ChainError::Malformed), "a person in format 1");
        let mut other = without.to_bytes();
        other[0] = 2;
        assert_eq!(Claims::from_bytes(&other), Err(ChainError::Malformed), "format 2 without one");
    }

    /// promise: Identities | A chain leads from the root to its member, and each way to break it is refused
    #[test]
    fn too_many_links_and_none_are_refused() {
        let mut chain = founder();
        for n in 2..=u8::try_from(CHAIN_LINKS_MAX).unwrap() {
            chain = chain.extend(claims(n - 1, n, Role::Admin).sign(&key(n - 1))).unwrap();
        }
        assert!(matches!(chain.extend(claims(8, 9, Role::Admin).sign(&key(8))), Err(ChainError::Length { .. })));
        assert!(matches!(Chain(vec![]).verify(&key(0).did()), Err(ChainError::Length { links: 0 })));
    }

    proptest! {
        /// promise: Identities | No altered byte of a chain passes
        #[test]
        fn no_altered_byte_passes(position in any::<prop::sample::Index>(), bit in 0_u8..8) {
            let chain = founder().extend(claims(1, 2, Role::Member).sign(&key(1))).unwrap();
            let mut bytes = chain.to_bytes();
            let at = position.index(bytes.len());
            bytes[at] ^= 1 << bit;
            let verified = Chain::from_bytes(&bytes).and_then(|chain| chain.verify(&key(0).did()));
            prop_assert!(verified.is_err(), "byte {} bit {}", at, bit);
        }

        #[test]
        fn any_bytes_are_a_chain_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = Chain::from_bytes(&bytes).and_then(|chain| chain.verify(&key(0).did()));
        }
    }
}
