//! Answers from the audit of critical state.

use nexus_identity::Did;

use super::state::Deed;

/// One deed in an audit.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct AuditEntry {
    /// Its number, from 1.
    pub n: u64,
    /// The index of the log entry that brought it.
    pub index: u64,
    /// The time by the requester's clock, in milliseconds; `None` for records of the leader.
    pub at_ms: Option<u64>,
    /// The requester, who has signed, except for records of the leader.
    pub by: Did,
    /// The deed.
    pub deed: Deed,
}

/// A page of an audit, oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct AuditPage {
    /// The deeds.
    pub items: Vec<AuditEntry>,
    /// Deeds of this part that came with a snapshot and that no member has sent yet, from and to.
    pub missing: Vec<(u64, u64)>,
    /// The number to continue after, if there is more.
    pub next: Option<u64>,
}

/// The result of a check of the chain, or of a step of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct AuditCheck {
    /// The number of checked deeds.
    pub entries: u64,
    /// The first of them.
    pub first: Option<u64>,
    /// The hash of the last checked record.
    pub head: [u8; 32],
    /// The first changed deed.
    pub broken: Option<AuditBreak>,
    /// Deeds without a record on this node, from and to.
    pub missing: Vec<(u64, u64)>,
    /// Deeds whose records this node let go of to make room, from and to. The beginning is among them.
    pub dropped: Vec<(u64, u64)>,
    /// The deed to continue after, if this was not all.
    pub next: Option<u64>,
    /// The other members' copies, at the end of the check.
    pub others: Vec<AuditOther>,
}

/// A deed at which the chain does not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct AuditBreak {
    /// Its number.
    pub n: u64,
    /// The fault.
    pub fault: AuditFault,
}

/// The fault of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AuditFault {
    /// Records before it are missing.
    #[error("records before it are gone")]
    GoneBefore,
    /// Records after it are missing.
    #[error("records after it are gone")]
    GoneAfter,
    /// It names another record than the one before it.
    #[error("it does not name the record before it")]
    OtherBefore,
    /// The first record names one before it.
    #[error("it does not begin the chain")]
    NotTheFirst,
    /// Its signature is not its proposer's.
    #[error("its proposer did not sign it")]
    NotSigned,
    /// Critical state names another last record.
    #[error("the state holds another past")]
    OtherPast,
}

/// Another member's copy.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct AuditOther {
    /// The member.
    pub did: Did,
    /// The number of deeds in its copy.
    pub entries: u64,
    /// Whether its records equal this node's, up to the end of the shorter copy; `None` if one of the two no longer has
    /// the records to tell.
    pub agrees: Option<bool>,
    /// The first deed that differs; `None` if they agree, or if the records around it are gone.
    pub differs_from: Option<u64>,
}

impl AuditCheck {
    /// Whether everything checked is unchanged.
    pub fn ok(&self) -> bool {
        self.broken.is_none() && self.others.iter().all(|other| other.agrees != Some(false))
    }
}
