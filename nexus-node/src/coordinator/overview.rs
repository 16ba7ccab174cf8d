//! The summary of the coordinators: leader, voters, and mode.

use nexus_identity::Did;

/// The mode of critical state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Mode {
    /// All voters are up.
    Full,
    /// A quorum of the voters is up.
    Core,
    /// Too few voters are up. Critical writes and linearizable reads are refused; everything else goes on.
    ReadOnly,
}

impl Mode {
    /// The word on the command line and in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Core => "core",
            Self::ReadOnly => "read_only",
        }
    }
}

/// The state of a voter or learner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SeatState {
    /// It leads.
    Leader,
    /// It can be reached.
    Up,
    /// There was no sign of life lately.
    Suspect,
    /// It cannot be reached.
    Down,
}

impl SeatState {
    /// The word on the command line and in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Leader => "leader",
            Self::Up => "up",
            Self::Suspect => "suspect",
            Self::Down => "down",
        }
    }
}

/// The role of a node that has a copy of critical state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CoordinatorRole {
    /// It leads, and has a vote.
    Leader,
    /// It has a vote.
    Voter,
    /// It has a copy, and no vote.
    Learner,
}

impl CoordinatorRole {
    /// The word on the command line and in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Leader => "leader",
            Self::Voter => "voter",
            Self::Learner => "learner",
        }
    }
}

/// A voter or a learner.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Seat {
    /// The member.
    pub did: Did,
    /// Its name.
    pub name: String,
    /// Its state, as this node sees it.
    pub state: SeatState,
}

/// The coordinators as this node sees them.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Coordinators {
    /// The leader, if a quorum seems to follow it.
    pub leader: Option<Did>,
    /// The term, which counts elections.
    pub term: u64,
    /// The index of the last entry known to be committed.
    pub commit: u64,
    /// The index of the last entry applied here; without a copy, by the leader.
    pub applied: u64,
    /// The members with a vote.
    pub voters: Vec<Seat>,
    /// The members with a copy and no vote.
    pub learners: Vec<Seat>,
    /// Whether critical writes are possible.
    pub quorum: bool,
    /// This node's role; `None` without a copy.
    pub role: Option<CoordinatorRole>,
    /// The group's generation: the number of times that the coordinators began anew.
    pub generation: u32,
    /// Whether all voters run on one machine, by their own reports.
    pub one_machine: bool,
    /// The format of critical state that this node knows.
    pub format: u16,
    /// The highest format that this node reads.
    pub format_max: u16,
    /// Members that read less than this node. While the format is below this node's highest, also the
    /// voters and learners that this node cannot hear.
    pub old: Vec<OldMember>,
}

/// A member that runs an older version, or may run one.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct OldMember {
    /// Its DID.
    pub did: Did,
    /// Its name.
    pub name: String,
    /// Whether it has a vote or a copy.
    pub seated: bool,
    /// The highest format of critical state that it reads, by its own word; `None` if this node cannot
    /// hear it.
    pub reads: Option<u16>,
}

impl Coordinators {
    /// The mode that follows from this.
    pub fn mode(&self) -> Mode {
        match (self.quorum, self.voters_up() < self.voters.len()) {
            (false, _) => Mode::ReadOnly,
            (true, true) => Mode::Core,
            (true, false) => Mode::Full,
        }
    }

    /// The number of voters that are up.
    pub fn voters_up(&self) -> usize {
        let down = |seat: &&Seat| matches!(seat.state, SeatState::Down | SeatState::Suspect);
        self.voters.len() - self.voters.iter().filter(down).count()
    }
}
