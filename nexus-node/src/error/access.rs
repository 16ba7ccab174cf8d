use std::fmt;

use nexus_identity::{ChainError, Did};
use nexus_mesh::JoinRefusal;

use super::OpaqueError;

/// The reason why something was not permitted. Nothing changed.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AccessError {
    /// Only an admin does this, and this node is none.
    #[error("only an admin {0}")]
    NotAdmin(AdminDuty),
    /// This node's membership ended.
    #[error("this node's membership was revoked: it keeps its memories and changes nothing")]
    Revoked,
    /// Only who stands above a member in the chain of its credentials ends its membership.
    #[error("only the root and those above {name} end its membership{}", above(.by))]
    NotAbove {
        /// The member.
        name: String,
        /// Those who may.
        by: Vec<String>,
    },
    /// The root of this mesh did not sign the revocation, or not for this node.
    #[error("the root of this mesh has not signed that")]
    NotByRoot,
    /// The name of a key or a lock begins with another member's DID.
    #[error("keys and locks whose names begin with own/{owner}/ are that member's alone")]
    NotYours {
        /// The member.
        owner: Did,
    },
    /// A member that is up is not replaced.
    #[error("{name} is up")]
    StillUp {
        /// Its name.
        name: String,
    },
    /// A node does not revoke itself.
    #[error("this is the node's own membership")]
    OwnMembership,
    /// The node of another admin says that a node may change its key again within a day.
    #[error("this is the node's own key: another admin's node has the word for it")]
    OwnRotation,
    /// The memberships of others would end with this node's.
    #[error("{} were admitted by this node, and would lose their membership with it", super::shown::listed(.members))]
    WouldTakeAlong {
        /// Their names.
        members: Vec<String>,
    },
    /// The caller may use some spaces, and this is none of them, or there is none.
    #[error("the space {space} is beyond the spaces of this token")]
    OutOfReach {
        /// The name or id that was given.
        space: String,
    },
    /// This node is a reader, and writes no memories.
    #[error("this node may read but not write: it is a reader of its mesh")]
    Reader,
    /// This node is a reader, and writes no keys.
    #[error("a reader changes no critical state")]
    CriticalReader,
    /// The node of an admin that was asked does not admit the new key.
    #[error("{name} does not admit the new key: {why}")]
    NoSuccession {
        /// Its name.
        name: String,
        /// The reason, in its words.
        why: String,
    },
    /// The credentials for the new key are another's, or end with the former key.
    #[error("the credentials for the new key do not hold: they are another's, or end with this node's key")]
    BadSuccession,
    /// A node without a data directory cannot join another mesh.
    #[error("a node without a data directory of its own cannot move")]
    NoDataDir,
    /// The credentials from the inviter do not hold.
    #[error("inviter's answer does not hold: {0}")]
    InviterChain(#[source] ChainError),
    /// The credentials from the inviter are another node's.
    #[error("the inviter admitted somebody else")]
    AdmittedOther {
        /// The node that they name.
        admitted: Did,
    },
    /// The inviter refused the ticket.
    #[error("{message}")]
    Inviter {
        /// The reason.
        code: JoinRefusal,
        /// The reason in the inviter's words.
        message: String,
    },
    /// The leader of the coordinators refused a write.
    #[error("{message}")]
    Leader {
        /// The reason in the leader's words.
        message: String,
    },
    /// The key is the mesh's own.
    #[error("keys that begin with {prefix} are the mesh's own")]
    ReservedKey {
        /// The prefix of such keys.
        prefix: &'static str,
    },
    /// Critical state has no room for more.
    #[error("there is no room for more: {0}")]
    Full(CriticalBound),
    /// As many tasks of this node's are open as it may have.
    #[error("{max} tasks of this node's have not ended")]
    TooManyTasks {
        /// The bound.
        max: usize,
    },
    /// As many workers of this node wait for work as may.
    #[error("{max} workers wait for work here")]
    TooManyWorkers {
        /// The bound.
        max: usize,
    },
    /// This node has kept as much for a member as it keeps for one.
    #[error("this node keeps no more results for {}: it has kept its share for that member", member.short())]
    KeptEnough {
        /// The member whose node hands the task out.
        member: Did,
    },
    /// Only its submitter or an admin does this to a task.
    #[error("only its submitter and admins {0} a task")]
    NotYourTask(&'static str),
    /// A node that may not approve a task by its rule.
    #[error("this node may not approve the task: {0}")]
    NoApprover(&'static str),
    /// An admin says whose machine a member is only if it admitted that member.
    #[error("this node did not admit that member: {by} did")]
    NotAdmitted {
        /// The name of the member that did.
        by: String,
    },
    /// Credentials that say whose machine a member is cannot be read by all members yet.
    #[error("some member's program cannot read yet whose machine a member is")]
    PersonsTooNew,
    /// A member that a task names may not read it.
    #[error("{name} may not read the space {space}, so a task there can neither be for it nor have it as an heir")]
    MayNotRead {
        /// The member's name.
        name: String,
        /// The space's name.
        space: String,
    },
    /// Nobody in the mesh could approve a task by its rule.
    #[error(
        "nobody in this mesh could approve it: the rule `other` takes an admin that reads the task's space and does not stand \
         below this node"
    )]
    NobodyApproves,
    /// A write reached the coordinators too late to count.
    #[error("came too late to count")]
    TooLate,
    /// The coordinators did not count a write.
    #[error(transparent)]
    Proposal(OpaqueError),
}

/// Those who may end a membership, in words.
fn above(by: &[String]) -> String {
    if by.is_empty() { String::new() } else { format!(": {}", super::shown::listed(by)) }
}

/// A duty of admins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AdminDuty {
    /// Making tickets.
    Invite,
    /// Choosing who votes and who leads.
    ChooseVoters,
    /// Beginning the coordinators anew.
    Recover,
    /// Letting another new key of a member through within a day.
    AllowRotation,
    /// Saying whose machine a member is.
    SayPerson,
}

impl fmt::Display for AdminDuty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Invite => "invites, and this node is none",
            Self::ChooseVoters => "changes who coordinates",
            Self::Recover => "begins the coordinators anew",
            Self::SayPerson => "says whose machine a member is, and this node is none",
            Self::AllowRotation => "lets a member change its key again within a day",
        })
    }
}

/// A bound of critical state that was reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CriticalBound {
    /// All keys and values together.
    #[error("keys and values have {bytes} bytes, at most {max} are allowed")]
    Bytes {
        /// Their size, in bytes.
        bytes: u64,
        /// The bound, in bytes.
        max: u64,
    },
    /// Held locks.
    #[error("{max} locks are held")]
    Locks {
        /// The bound.
        max: usize,
    },
    /// The line for one lock.
    #[error("{max} wait for this lock")]
    Line {
        /// The bound.
        max: usize,
    },
    /// Answers kept for one node.
    #[error("answers wait to be let go of")]
    Answers,
    /// The part of one member: of bytes, of locks, or of the line for one lock.
    #[error("this member has its part of the keys, the locks or the line")]
    Share,
}
