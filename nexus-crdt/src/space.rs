use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use borsh::{BorshDeserialize, BorshSerialize};
use data_encoding::HEXLOWER;
use nexus_identity::{Did, Name};

use crate::entry_id::EntryId;
use crate::error::FormError;

/// The id of a space: that of the entry that created it. `mesh`, `default` and `tasks` come with the mesh, and
/// are derived from its DID.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize)]
pub struct SpaceId([u8; 32]);

impl SpaceId {
    /// The space of credentials, revocations, grants and space definitions.
    pub fn mesh(mesh: &Did) -> Self {
        Self(blake3::derive_key("nexus mesh space v1", mesh.as_bytes()))
    }

    /// The default space of memories.
    pub fn default_of(mesh: &Did) -> Self {
        Self(blake3::derive_key("nexus default space v1", mesh.as_bytes()))
    }

    /// The space of tasks that every member may read.
    pub fn tasks_of(mesh: &Did) -> Self {
        Self(blake3::derive_key("nexus tasks space v1", mesh.as_bytes()))
    }

    /// The derived space of that name.
    pub fn derived(mesh: &Did, name: &str) -> Option<Self> {
        match name {
            "mesh" => Some(Self::mesh(mesh)),
            "default" => Some(Self::default_of(mesh)),
            "tasks" => Some(Self::tasks_of(mesh)),
            _ => None,
        }
    }

    /// The space that an entry of kind [`crate::Kind::SPACE`] created.
    pub const fn created_by(entry: EntryId) -> Self {
        Self(*entry.as_bytes())
    }

    /// An id from its bytes.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Eight hexadecimal digits, for logs.
    pub fn short(&self) -> String {
        HEXLOWER.encode(&self.0[..4])
    }
}

/// The names of the derived spaces, which come with every mesh. A node names in its hello those that it
/// knows, and other nodes speak to it about no others.
pub const DERIVED_SPACES: [&str; 3] = ["mesh", "default", "tasks"];

/// The derived spaces of a mesh that are not among these names.
pub fn unnamed_spaces(mesh: &Did, named: &BTreeSet<String>) -> BTreeSet<SpaceId> {
    let unnamed = DERIVED_SPACES.into_iter().filter(|name| !named.contains(*name));
    unnamed.filter_map(|name| SpaceId::derived(mesh, name)).collect()
}

impl fmt::Display for SpaceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&HEXLOWER.encode(&self.0))
    }
}

impl fmt::Debug for SpaceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SpaceId({})", self.short())
    }
}

impl FromStr for SpaceId {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let bytes = HEXLOWER.decode(text.as_bytes()).map_err(|_| ())?;
        bytes.try_into().map(Self).map_err(|_| ())
    }
}

/// The payload of an entry that creates a space. Canonical bytes: borsh, fields in this order.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct SpaceDefinition {
    /// The name, for people. Two spaces may have one name; ids tell them apart.
    pub name: Name,
    /// 0: every member reads and writes. Other numbers are access rules of later versions. A version
    /// that does not know one keeps such a space closed.
    pub access: u16,
    /// Sixteen random bytes, so that equal definitions make different spaces.
    pub salt: [u8; 16],
}

impl SpaceDefinition {
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
        borsh::to_vec(self).expect("a definition encodes")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_derived_space_has_an_id_of_its_own_and_is_known_by_its_name() {
        let mesh = Did::from_bytes([7; 32]);
        let all = unnamed_spaces(&mesh, &BTreeSet::new());
        assert_eq!(all.len(), DERIVED_SPACES.len());
        assert_eq!(unnamed_spaces(&mesh, &DERIVED_SPACES.map(str::to_owned).into()), BTreeSet::new());
        let named = ["mesh".to_owned(), "default".to_owned(), "later".to_owned()].into();
        assert_eq!(unnamed_spaces(&mesh, &named), BTreeSet::from([SpaceId::tasks_of(&mesh)]));
        assert_eq!(SpaceId::derived(&mesh, "later"), None);
    }
}
