use borsh::{BorshDeserialize, BorshSerialize};
use nexus_identity::Did;

/// A change of the voters by a person.
#[derive(BorshSerialize, BorshDeserialize, Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Manage {
    /// Give this member a vote.
    Add(Did),
    /// Take this member's vote; of a member without one, its copy, which makes room for another's.
    Remove(Did),
    /// Let another voter lead.
    StepDown,
}
