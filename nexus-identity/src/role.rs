use std::fmt;
use std::io;
use std::str::FromStr;

use borsh::{BorshDeserialize, BorshSerialize};

use crate::error::RoleError;

/// The rights of a credential's subject. Ordered: each role includes the rights of the one before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Role {
    /// Reads and forwards; its own writes do not count.
    Reader,
    /// Reads and writes.
    Member,
    /// Also invites and issues credentials.
    Admin,
}

impl Role {
    const ALL: [Self; 3] = [Self::Reader, Self::Member, Self::Admin];

    /// The number that stands for this role in canonical bytes.
    pub const fn number(self) -> u16 {
        match self {
            Self::Reader => 1,
            Self::Member => 2,
            Self::Admin => 3,
        }
    }

    /// The word that stands for this role on the command line and in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Reader => "reader",
            Self::Member => "member",
            Self::Admin => "admin",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Role {
    type Err = RoleError;

    fn from_str(text: &str) -> Result<Self, RoleError> {
        let role = Self::ALL.into_iter().find(|role| role.as_str() == text);
        role.ok_or_else(|| RoleError(text.to_owned()))
    }
}

/// The roles of one credential: distinct, ascending by number, 1 to 16 of them.
///
/// An unknown number is kept and allows nothing, so that a later version's credentials still form
/// chains here.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Roles(Vec<u16>);

impl Roles {
    const COUNT_MAX: usize = 16;

    /// Whether one of the roles includes the rights of `role`.
    pub fn allow(&self, role: Role) -> bool {
        self.iter().any(|held| held >= role)
    }

    /// The roles that this version knows, ascending.
    pub fn iter(&self) -> impl Iterator<Item = Role> {
        self.0.iter().filter_map(|number| Role::ALL.into_iter().find(|role| role.number() == *number))
    }
}

impl FromIterator<Role> for Roles {
    fn from_iter<I: IntoIterator<Item = Role>>(roles: I) -> Self {
        let mut numbers: Vec<u16> = roles.into_iter().map(Role::number).collect();
        numbers.sort_unstable();
        numbers.dedup();
        Self(numbers)
    }
}

impl BorshSerialize for Roles {
    fn serialize<W: io::Write>(&self, writer: &mut W) -> io::Result<()> {
        self.0.serialize(writer)
    }
}

impl BorshDeserialize for Roles {
    fn deserialize_reader<R: io::Read>(reader: &mut R) -> io::Result<Self> {
        let numbers = Vec::<u16>::deserialize_reader(reader)?;
        let canonical = (1..=Self::COUNT_MAX).contains(&numbers.len()) && numbers.is_sorted_by(|a, b| a < b);
        canonical
            .then_some(Self(numbers))
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "roles are not 1 to 16 ascending numbers"))
    }
}
