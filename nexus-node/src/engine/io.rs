use nexus_crdt::{Dot, Entry, EntryId, Incarnation, LogId, Origin, SpaceId, Verified};
use nexus_identity::{Chain, Did, Name, Timestamp};
use serde_json::Value;
use std::collections::BTreeMap;

use crate::store::Batch;

/// What the engine takes.
#[derive(Debug)]
pub enum Input {
    /// What callers on this machine want; taken together, they share entries.
    Commands(Vec<(CommandId, Command)>),
    /// Entries that a peer sent, each verified.
    Entries {
        /// The peer that sent them, not their author.
        from: Did,
        /// The entries, in the order in which they came.
        entries: Vec<Verified>,
    },
    /// A peer showed this chain at the gate; it was verified there.
    Chain(Chain),
    /// A peer holds more of our own log than we do: this store was restored or copied.
    OwnLogAhead {
        /// The incarnation whose log is ahead elsewhere; another one of ours is none of our
        /// business any more.
        incarnation: Incarnation,
        /// Eight random bytes for the next one.
        fresh: Incarnation,
    },
}

/// Names a command until it is answered.
pub type CommandId = u64;

/// What a caller on this machine wants.
#[derive(Clone, Debug)]
pub enum Command {
    /// Write memories.
    Remember(Vec<NewRecord>),
    /// Change fields of a record.
    Edit {
        /// Which one.
        record: Dot,
        /// What to write.
        edit: Edit,
    },
    /// Forget a record.
    Forget(Dot),
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
        /// Rows of other tables that must become durable with it (a ticket's redemption).
        with: Batch,
    },
    /// Say what this node is called now.
    Describe(Name),
    /// Keep rows that are no entries: known peers, tickets.
    Keep(Batch),
}

/// A memory to write.
#[derive(Clone, Debug)]
pub struct NewRecord {
    /// The space, which exists.
    pub space: SpaceId,
    /// The core's members; sizes were checked.
    pub core: nexus_crdt::Core,
}

/// An edit of a record.
#[derive(Clone, Debug, Default)]
pub struct Edit {
    /// The new values, by the names of editable fields.
    pub values: BTreeMap<&'static str, Value>,
    /// Which program writes them, and on whose word.
    pub origin: Origin,
}

/// A write's place in its log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// The record.
    pub record: Dot,
    /// The log of the entry that carries it.
    pub log: LogId,
    /// Its place there.
    pub seq: u64,
    /// When it was created.
    pub created_at: Timestamp,
}

/// What became of a command.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// The records, in the command's order.
    Remembered(Vec<Written>),
    /// The edit, or the forget, stands. Where it changed nothing there is no entry for it.
    Done(Option<EntryId>),
    /// The space was created.
    Space(SpaceId),
    /// No such record, or it is forgotten.
    NoRecord,
    /// This node's entries do not count: it is a reader, or no member.
    NotPermitted,
}

/// What is to be done after an input. The batch first, on disk; then the others.
#[derive(Debug)]
pub enum Effect {
    /// Commit this batch.
    Write(Batch),
    /// Answer a command.
    Reply(CommandId, Outcome),
    /// Tell others of an entry of our own.
    Publish {
        /// The entry.
        entry: Box<Entry>,
        /// Whether every member may read its space. If not, it goes by sync alone.
        to_all: bool,
        /// The commands whose writes are in it, each once. Their answers come after this.
        of: Vec<CommandId>,
    },
    /// Something happened that others may want to know.
    Emit(Event),
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Entries were stored; the last one has this number.
    Stored {
        /// The last number given.
        eno: u64,
    },
    /// Members came or changed.
    Members,
    /// Two entries have one place in a log.
    Fork {
        /// The log.
        log: LogId,
        /// The place.
        seq: u64,
    },
    /// An entry's payload breaks a rule of form.
    Quarantined {
        /// The entry.
        entry: EntryId,
        /// Who wrote it.
        author: Did,
        /// The rule.
        why: String,
    },
    /// Entries from this peer had to wait, or were dropped, since something before them is
    /// missing: compare frontiers again.
    Behind {
        /// The peer.
        from: Did,
    },
    /// This node goes on in a new incarnation.
    Renewed(Incarnation),
}
