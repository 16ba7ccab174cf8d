use nexus_crdt::{
    DocumentPart, Dot, EntryId, Incarnation, LogId, Origin, RevocationDraft, RootRevocation, Seat, SpaceId, Succession,
    TaskEvent, TaskId, Verified,
};
use nexus_identity::{Chain, Did, Name, Timestamp};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

use super::keeper::Published;
use super::persons::NotSaid;
use super::succeed::{NoSuccession, Rotation};
use crate::headroom::Room;
use crate::store::Batch;

/// An input of the engine.
#[derive(Debug)]
pub enum Input {
    /// Commands of callers on this machine. Taken together, they share entries.
    Commands(Vec<(CommandId, Command)>),
    /// Verified entries from a peer.
    Entries {
        /// The peer that sent them, not their author.
        from: Did,
        /// The entries, in the order of their arrival.
        entries: Vec<Verified>,
    },
    /// A verified chain that a peer showed at the gate.
    Chain(Chain),
    /// A peer holds more of our own log than we do: this store was restored or copied.
    OwnLogAhead {
        /// The incarnation whose log is ahead elsewhere. An older one of ours no longer matters.
        incarnation: Incarnation,
        /// Eight random bytes for the next one.
        fresh: Incarnation,
    },
}

/// The id of a command until its answer.
pub type CommandId = u64;

/// A command of a caller on this machine.
#[derive(Clone, Debug)]
pub enum Command {
    /// Write memories.
    Remember(Vec<NewRecord>),
    /// Change fields of a record.
    Edit {
        /// The record.
        record: Dot,
        /// The new values.
        edit: Edit,
    },
    /// Forget a record.
    Forget(Dot),
    /// Erase all writes to records, and the texts of tasks, on every node. A record of which this node's member may not erase
    /// the beginning is forgotten.
    Erase(Vec<EraseTarget>),
    /// Erase what this node's member wrote to records that are erased by now, and tell the mesh which erasures this node has
    /// carried out. Those up to entry `gone` are gone from its files.
    CarryOut {
        /// The entry.
        gone: u64,
    },
    /// Write events of tasks, each in its space.
    Tasks(Vec<(SpaceId, TaskEvent)>),
    /// Write names and changes of a document, in one entry.
    Document(DocumentSaid),
    /// Create a space.
    CreateSpace {
        /// Its name.
        name: Name,
        /// Sixteen random bytes.
        salt: [u8; 16],
    },
    /// Publish a chain of credentials: admits its last subject for everybody.
    Admit {
        /// The chain.
        chain: Chain,
        /// Rows of other tables that must become durable with it (the redemption of a ticket).
        with: Batch,
        /// The member whose membership ends with it, if this node may end that.
        replaces: Option<Did>,
    },
    /// End the membership of somebody below this node, or this node's own. The entries of its logs that are here count.
    Revoke {
        /// The member.
        member: Did,
        /// Whom this node admits in its place, of those whose membership would end with it; `None` for all.
        keep: Option<BTreeSet<Did>>,
    },
    /// Draft the end of a membership for the root to sign. Nothing changes.
    DraftRevocation {
        /// The member.
        member: Did,
        /// Whom this node admits in its place, of those whose membership would end with it; `None` for all.
        keep: Option<BTreeSet<Did>>,
        /// The name by which the root admits this node.
        name: Name,
    },
    /// End a membership by the root's word.
    RevokeAsRoot(Box<RootRevocation>),
    /// Give a member a seat among the coordinators, as an admin.
    Seat(Seat),
    /// Admit a member's new key, as an admin.
    Succeed(Box<Succession>),
    /// Begin this node's new key, in a store that another key wrote until now.
    Rotate(Box<Rotation>),
    /// Sign the credentials of a member anew, with whose machine it is.
    SayPerson {
        /// The member, which this node admitted.
        member: Did,
        /// Whether it is a machine of this node's person; else it is the first one of somebody else.
        mine: bool,
    },
    /// Agree to what was said about whose machine this is, and say anew what a former key of this node said of others.
    AgreeToPerson,
    /// Write down the evidence of forks that others may not know. Begin a new log where our own one has forked, and
    /// write again what that costs.
    Settle {
        /// Eight random bytes for the next incarnation.
        fresh: Incarnation,
    },
    /// End the memberships below this node whose credentials ended long ago.
    EndExpired,
    /// Set this node's name.
    Describe(Name),
    /// Keep rows that are no entries: known peers, tickets.
    Keep(Batch),
    /// Write entries in a later format from now on, for good: everybody reads it.
    Raise {
        /// The format's number. An earlier one than is written already changes nothing.
        format: u16,
        /// Whether texts of tasks' events stand apart from now on (kind 17).
        tasks_apart: bool,
        /// Whether credentials say whose machine a member is from now on (claims of format 2).
        persons: bool,
        /// Whether members erase what they wrote from now on (kind 10).
        erases: bool,
    },
}

impl Command {
    /// The room on the disk that it needs: memories leave the last of it to changes of the membership.
    pub(crate) fn needs(&self) -> Room {
        match self {
            Self::Keep(batch) if batch.is_empty() => Room::Nothing,
            Self::Remember(_)
            | Self::Edit { .. }
            | Self::Forget(_)
            | Self::Tasks(_)
            | Self::Document(_)
            | Self::CreateSpace { .. }
            | Self::Settle { .. } => Room::All,
            _ => Room::Duties,
        }
    }

    /// The memories that it writes or changes.
    pub(crate) fn writes(&self) -> usize {
        match self {
            Self::Remember(records) => records.len(),
            Self::Tasks(events) => events.len(),
            Self::Erase(records) => records.len(),
            _ => 1,
        }
    }
}

/// Words about a document to write.
#[derive(Clone, Debug)]
pub struct DocumentSaid {
    /// The space, which must exist.
    pub space: SpaceId,
    /// The document's id.
    pub document: [u8; 16],
    /// The incarnation for which its changes were made: the actors in them depend on it. `None` if there are none of this node.
    pub incarnation: Option<Incarnation>,
    /// The parts, which fit an entry.
    pub parts: Vec<DocumentPart>,
}

/// A memory to write.
#[derive(Clone, Debug)]
pub struct NewRecord {
    /// The space, which must exist.
    pub space: SpaceId,
    /// The content, with checked sizes.
    pub core: nexus_crdt::Core,
    /// The names of the fields in which a live memory with its key stays as it is.
    pub keeps: Vec<&'static str>,
    /// A record that it replaces: the end of its chain, as the engine finds it.
    pub closes: Option<Closes>,
}

impl NewRecord {
    /// A memory whose every field counts, also where one with its key is there.
    pub fn whole(space: SpaceId, core: nexus_crdt::Core) -> Self {
        Self { space, core, keeps: Vec::new(), closes: None }
    }
}

/// A record that a new one replaces.
#[derive(Clone, Copy, Debug)]
pub struct Closes {
    /// The record.
    pub record: Dot,
    /// The time from which it no longer holds, in milliseconds since the epoch; `None` if it ended before.
    pub at: Option<u64>,
}

/// An edit of a record.
#[derive(Clone, Debug, Default)]
pub struct Edit {
    /// The new values, by the names of editable fields.
    pub values: BTreeMap<&'static str, Value>,
    /// The origin of the values: program and source.
    pub origin: Origin,
    /// Whether another record takes the place of the edited one.
    pub supersedes: bool,
}

/// A write's place in its log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// The record.
    pub record: Dot,
    /// The log of the entry that carries it.
    pub log: LogId,
    /// Its number there.
    pub seq: u64,
    /// The time of creation.
    pub created_at: Timestamp,
    /// Whether a live memory with its key had other content.
    pub replaced: bool,
}

/// The answer to an event of a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TaskAnswer {
    /// It is written, with this dot: of a submission, the task's id.
    Written(Dot),
    /// A task with this id of a request is there already.
    Joined(TaskId),
    /// A task with this id of a request asks for something else.
    OtherRequest,
    /// It says something of a claim that no longer stands, or of a task that is over.
    Stale,
    /// There is no such task here.
    NoTask,
    /// It fits no entry.
    TooLarge,
    /// This node has kept as much for that member as it may: its results of others' tasks, or late results for it.
    KeptEnough,
}

/// The outcome of a command.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// The records, in the command's order.
    Remembered(Vec<Written>),
    /// The events, in the command's order.
    Tasks(Vec<TaskAnswer>),
    /// The edit or the forget stands. Without a change there is no entry.
    Done(Option<EntryId>),
    /// The fates of all that was to be erased, in the command's order, and the entries that say so.
    Erased {
        /// The fates.
        fates: Vec<EraseFate>,
        /// The entries.
        erasures: Vec<EntryId>,
    },
    /// The space was created.
    Space(SpaceId),
    /// The membership ended.
    Revoked {
        /// The number of logs of which something counts.
        pins: usize,
        /// Those who would have fallen with it, and were admitted by this node.
        kept: Vec<Did>,
        /// Those whose membership ended with it.
        fallen: Vec<Did>,
    },
    /// The new key is admitted, with these credentials.
    Succeeded(Box<Chain>),
    /// The new key is not admitted. Nothing changed.
    NotSucceeded(NoSuccession),
    /// It was not said whose machine a member is.
    NotSaid(NotSaid),
    /// Forks are settled.
    Settled {
        /// Whether all is written again that our own log lost.
        again: Again,
    },
    /// Memberships whose credentials ended long ago are ended.
    Expired {
        /// The number of those that this command ended; some may be left unless it is 0.
        ended: usize,
    },
    /// The draft of a revocation, for the root to sign.
    Drafted(Box<RevocationDraft>),
    /// Another record has a key that differs from a new one only in case or form. Nothing was written.
    KeyLike {
        /// That record.
        record: Dot,
    },
    /// The record does not exist, or is forgotten.
    NoRecord,
    /// The document is erased. Nothing was written.
    ErasedDocument,
    /// This node writes in another incarnation than a command was made for. Nothing was written.
    Renewed(Incarnation),
    /// The mesh writes an earlier format, which has no place for it. Nothing was written.
    TooEarly,
    /// This version does not write that format.
    TooNew {
        /// The latest one that it writes.
        known: u16,
    },
    /// This node's entries do not count: it is a reader, or no member.
    NotPermitted {
        /// Whether it is a member.
        member: bool,
    },
}

/// Something to erase.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EraseTarget {
    /// A record, with all its versions.
    Record(Dot),
    /// The texts of a task that has ended.
    Task(TaskId),
    /// A document, with all its changes.
    Document {
        /// Its space.
        space: SpaceId,
        /// Its id.
        document: [u8; 16],
    },
}

/// The fate of something that was to be erased.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EraseFate {
    /// It is erased. Others wrote some of its versions: their nodes erase those when they hear of it.
    Erased {
        /// The leaves that this word erases.
        leaves: usize,
        /// The authors of the other writes.
        others: BTreeSet<Did>,
    },
    /// Somebody else wrote it, and this node's member is no admin: it is forgotten on every node, and stays on their disks.
    Forgotten {
        /// Its author.
        author: Did,
    },
    /// Somebody else submitted the task or wrote in the document, and this node's member is no admin. Nothing changed.
    NotPermitted {
        /// Its submitter, or an author.
        author: Did,
    },
    /// It stands in an entry in one piece, of an earlier format, beside other writes or with facts that stay. Nothing changed.
    Whole {
        /// The number of other writes there.
        others: usize,
    },
    /// The task has not ended. Nothing changed.
    Open,
    /// It does not exist.
    Missing,
}

/// Whether all is written again that our own log lost by a fork.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Again {
    /// All of it is.
    Done,
    /// The command is to be repeated.
    More,
    /// Half of the quota that others have for this node is used: the rest stays as it is.
    Full,
}

/// An effect of an input. The batch must be on disk before the others.
#[derive(Debug)]
pub enum Effect {
    /// Commit this batch.
    Write(Batch),
    /// Answer a command.
    Reply(CommandId, Outcome),
    /// Send an entry of our own to others.
    Publish(Published),
    /// Emit an event.
    Emit(Event),
}

/// An event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Entries were stored.
    Stored {
        /// The number of the last one.
        eno: u64,
    },
    /// Members were admitted or changed.
    Members,
    /// Something was said of a task, or counts no more.
    Task {
        /// The task.
        task: TaskId,
        /// Whether this node has just said it.
        own: bool,
    },
    /// A space was defined, or its definition no longer counts.
    Spaces,
    /// Two entries have one place in a log.
    Fork {
        /// The log.
        log: LogId,
        /// The place.
        seq: u64,
    },
    /// A member went on with its log from another entry than the one held at this place. It was not taken: the
    /// entry that it follows is not here.
    Astray {
        /// The log.
        log: LogId,
        /// The place.
        seq: u64,
    },
    /// A fork is to be settled ([`Command::Settle`]).
    Unsettled,
    /// Leaves of a held entry are to come again: compare frontiers with all peers.
    Lacking,
    /// An entry's payload breaks a rule of form.
    Quarantined {
        /// The entry.
        entry: EntryId,
        /// The author.
        author: Did,
        /// The broken rule.
        why: String,
    },
    /// Entries from this peer had to wait, or were dropped, since earlier ones are missing: compare
    /// frontiers again.
    Behind {
        /// The peer.
        from: Did,
    },
    /// This node began a new incarnation.
    Renewed(Incarnation),
}
