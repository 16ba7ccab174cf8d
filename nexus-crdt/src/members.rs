use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use borsh::{BorshDeserialize, BorshSerialize};
use nexus_identity::{Chain, ChainError, Claims, Did, Name, Role, Timestamp};

use crate::entry::EntryId;
use crate::error::FormError;
use crate::hlc::Hlc;

/// The profile of a member: the payload of an entry of kind [`crate::Kind::PROFILE`]. Canonical bytes:
/// borsh, fields in this order.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Profile {
    /// Its current name.
    pub name: Name,
}

impl Profile {
    /// Reads canonical payload bytes.
    ///
    /// # Errors
    /// [`FormError::NotCanonical`].
    pub fn decode(payload: &[u8]) -> Result<Self, FormError> {
        borsh::from_slice(payload).map_err(|_| FormError::NotCanonical)
    }

    /// The canonical bytes.
    #[expect(clippy::expect_used, reason = "borsh writes to memory")]
    pub fn encode(&self) -> Vec<u8> {
        borsh::to_vec(self).expect("a profile encodes")
    }
}

/// One member, by the held credentials.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its credentials, the latest last.
    credentials: BTreeMap<Vec<u8>, Claims>,
    profile: Option<(Hlc, EntryId, Name)>,
}

impl Member {
    const fn unknown() -> Self {
        Self { credentials: BTreeMap::new(), profile: None }
    }

    /// Its name: that of its latest profile, else of its latest credential.
    pub fn name(&self) -> Option<&Name> {
        let latest = self.latest().map(|claims| &claims.name);
        self.profile.as_ref().map(|(_, _, name)| name).or(latest)
    }

    /// Whether a credential includes the rights of `role`.
    pub fn allows(&self, role: Role) -> bool {
        self.credentials.values().any(|claims| claims.roles.allow(role))
    }

    /// The roles of all its credentials.
    pub fn roles(&self) -> BTreeSet<Role> {
        self.credentials.values().flat_map(|claims| claims.roles.iter().collect::<Vec<_>>()).collect()
    }

    /// The issuer of its latest credential.
    pub fn admitted_by(&self) -> Option<Did> {
        self.latest().map(|claims| claims.issuer)
    }

    /// The end of its last credential; `None` if one has no end.
    pub fn expires_at(&self) -> Option<Timestamp> {
        self.credentials.values().map(|claims| claims.expires_at).reduce(|a, b| Some(a?.max(b?))).flatten()
    }

    fn latest(&self) -> Option<&Claims> {
        self.credentials.last_key_value().map(|(_, claims)| claims)
    }
}

/// The members of the mesh: the fold of credentials and profiles. It only grows, and depends on the set
/// of entries alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Members {
    mesh: Did,
    members: BTreeMap<Did, Member>,
    /// Profiles of authors whose credentials are not here yet.
    strangers: BTreeMap<Did, (Hlc, EntryId, Name)>,
}

impl Members {
    /// The most credentials kept for one member. The strongest stay: their order does not depend on that of
    /// their arrival, and no issuer can take a right away by giving a lesser one.
    const CREDENTIALS_MAX: usize = 16;

    /// No members yet.
    pub const fn of(mesh: Did) -> Self {
        Self { mesh, members: BTreeMap::new(), strangers: BTreeMap::new() }
    }

    /// The mesh.
    pub const fn mesh(&self) -> Did {
        self.mesh
    }

    /// Adds a chain, and admits every link's subject. Returns whether that changed anything.
    ///
    /// # Errors
    /// The chain does not hold; nothing changed.
    pub fn admit(&mut self, chain: &Chain) -> Result<bool, ChainError> {
        Ok(self.insert(chain.verify_all(&self.mesh)?))
    }

    /// Admits a chain into shared members. They are copied only if the chain adds something.
    ///
    /// # Errors
    /// Same as [`admit`](Self::admit).
    pub fn admit_shared(members: &mut Arc<Self>, chain: &Chain) -> Result<bool, ChainError> {
        let all = chain.verify_all(&members.mesh)?;
        let known = |claims: &Claims| {
            let member = members.get(&claims.subject);
            member.is_some_and(|member| member.credentials.contains_key(&credential_key(claims)))
        };
        Ok(!all.iter().all(known) && Arc::make_mut(members).insert(all))
    }

    fn insert(&mut self, all: Vec<Claims>) -> bool {
        let mut changed = false;
        for claims in all {
            let key = credential_key(&claims);
            let subject = claims.subject;
            let member = self.members.entry(subject).or_insert_with(Member::unknown);
            if let Some(profile) = self.strangers.remove(&subject) {
                member.profile = Some(profile);
            }
            let new = member.credentials.insert(key.clone(), claims).is_none();
            if member.credentials.len() > Self::CREDENTIALS_MAX {
                let strength = |claims: &Claims| (claims.issuer == self.mesh, claims.roles.iter().max());
                let weakest = member.credentials.iter().min_by_key(|(key, claims)| (strength(claims), *key));
                if let Some(weakest) = weakest.map(|(key, _)| key.clone()) {
                    member.credentials.remove(&weakest);
                }
            }
            changed |= new && member.credentials.contains_key(&key);
        }
        changed
    }

    /// Takes an author's profile from entry `id`. The latest one counts. Returns whether a member
    /// changed; profiles of strangers are kept until they are members.
    pub fn describe(&mut self, author: &Did, hlc: Hlc, id: EntryId, profile: Profile) -> bool {
        let said = (hlc, id, profile.name);
        let newer = |(at, by, _): &(Hlc, EntryId, Name)| (hlc, id) > (*at, *by);
        let Some(member) = self.members.get_mut(author) else {
            if self.strangers.get(author).is_none_or(newer) {
                self.strangers.insert(*author, said);
            }
            return false;
        };
        let newer = member.profile.as_ref().is_none_or(newer);
        if newer {
            member.profile = Some(said);
        }
        newer
    }

    /// Drops an author's profile, since some of its profile entries no longer count.
    pub fn undescribe(&mut self, author: &Did) {
        self.strangers.remove(author);
        if let Some(member) = self.members.get_mut(author) {
            member.profile = None;
        }
    }

    /// One member.
    pub fn get(&self, did: &Did) -> Option<&Member> {
        self.members.get(did)
    }

    /// Whether a member has a credential with the rights of `role`.
    pub fn allows(&self, did: &Did, role: Role) -> bool {
        self.get(did).is_some_and(|member| member.allows(role))
    }

    /// All members, by DID.
    pub fn iter(&self) -> impl Iterator<Item = (&Did, &Member)> {
        self.members.iter()
    }

    /// The number of members.
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// Whether there are no members.
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }
}

/// The sort key of a credential: by time, then by bytes.
#[expect(clippy::expect_used, reason = "borsh writes to memory")]
fn credential_key(claims: &Claims) -> Vec<u8> {
    let bytes = borsh::to_vec(claims).expect("claims encode");
    [claims.issued_at.as_ms().to_be_bytes().as_slice(), &bytes].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use nexus_identity::Keypair;

    fn key(n: u8) -> Keypair {
        Keypair::from_seed(&[n; 32])
    }

    fn claims(issuer: u8, subject: u8, role: Role, at: u64) -> Claims {
        let name = format!("n{subject}-{at}").parse().unwrap();
        Claims::new(key(0).did(), key(subject).did(), name, [role], Timestamp::from_ms(at)).issued_by(key(issuer).did())
    }

    /// promise: Entries and memories | Membership depends on the set of chains alone
    #[test]
    fn membership_depends_on_the_set_of_chains_alone() {
        let founder = Chain::found(claims(0, 1, Role::Admin, 1).sign(&key(0))).unwrap();
        let reader = founder.extend(claims(1, 2, Role::Reader, 2).sign(&key(1))).unwrap();
        let writer = founder.extend(claims(1, 2, Role::Member, 3).sign(&key(1))).unwrap();
        let fold = |chains: &[&Chain]| {
            let mut members = Members::of(key(0).did());
            for chain in chains {
                members.admit(chain).unwrap();
            }
            members
        };
        let members = fold(&[&founder, &reader, &writer]);
        assert_eq!(members, fold(&[&writer, &reader, &founder, &reader]));
        assert!(!fold(&[&reader]).allows(&key(2).did(), Role::Member));
        assert!(members.allows(&key(2).did(), Role::Member));
        assert_eq!(members.get(&key(2).did()).unwrap().name().unwrap().as_str(), "n2-3");
    }

    #[test]
    fn a_profile_that_comes_before_its_author_is_a_member_counts_from_then_on() {
        let chain = Chain::found(claims(0, 1, Role::Admin, 1).sign(&key(0))).unwrap();
        let profile = |name: &str| Profile { name: name.parse().unwrap() };
        let describe = |members: &mut Members, at: u64, name| {
            members.describe(&key(1).did(), Hlc(at), EntryId::of(&at.to_le_bytes()), profile(name))
        };
        let mut early = Members::of(key(0).did());
        assert!(!describe(&mut early, 2, "later"));
        assert!(!describe(&mut early, 1, "earlier"));
        assert!(early.is_empty());
        early.admit(&chain).unwrap();
        let mut late = Members::of(key(0).did());
        late.admit(&chain).unwrap();
        assert!(describe(&mut late, 1, "earlier"));
        assert!(describe(&mut late, 2, "later"));
        assert_eq!(early, late);
        assert_eq!(early.get(&key(1).did()).unwrap().name().unwrap().as_str(), "later");
        early.undescribe(&key(1).did());
        assert_eq!(early.get(&key(1).did()).unwrap().name().unwrap().as_str(), "n1-1");
    }

    #[test]
    fn of_many_renewals_the_latest_count_in_any_order() {
        let founder = Chain::found(claims(0, 1, Role::Admin, 1).sign(&key(0))).unwrap();
        let renewals = (0..40).map(|at| founder.extend(claims(1, 2, Role::Member, at).sign(&key(1))).unwrap());
        let mut renewals: Vec<Chain> = renewals.collect();
        let fold = |chains: &[Chain]| {
            let mut members = Members::of(key(0).did());
            for chain in chains {
                members.admit(chain).unwrap();
            }
            members
        };
        let forwards = fold(&renewals);
        renewals.reverse();
        assert_eq!(forwards, fold(&renewals));
        let mut shared = std::sync::Arc::new(Members::of(key(0).did()));
        for chain in &renewals {
            let (mut own, before) = ((*shared).clone(), shared.clone());
            let changed = own.admit(chain).unwrap();
            assert_eq!(Members::admit_shared(&mut shared, chain), Ok(changed));
            assert_eq!(Members::admit_shared(&mut shared, chain), Ok(false));
            assert_eq!((&own, changed), (&*shared, before != shared));
        }
        assert_eq!(*shared, forwards);
        assert_eq!(forwards.get(&key(2).did()).unwrap().name().unwrap().as_str(), "n2-39");
    }

    /// promise: Entries and memories | Membership depends on the set of chains alone
    #[test]
    fn a_chain_of_another_mesh_changes_nothing() {
        let mut members = Members::of(key(9).did());
        let foreign = Chain::found(claims(0, 1, Role::Admin, 1).sign(&key(0))).unwrap();
        assert!(members.admit(&foreign).is_err());
        assert!(members.is_empty());
    }
}
