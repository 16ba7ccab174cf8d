use std::fmt;

/// Declares each table once: variant, name on disk, derived or kept, and purpose.
macro_rules! tables {
    ($($(#[doc = $doc:literal])+ $variant:ident = $name:literal, $kind:ident;)+) => {
        /// An ordered table of byte keys and byte values.
        ///
        /// Its writer decides the meaning of the bytes. A name on disk is never reused for something
        /// else. A new table is one more line in the list.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        pub enum Table {
            $($(#[doc = $doc])+ $variant,)+
        }

        impl Table {
            /// All tables, in a fixed order.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// Name of the table in the database file.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)+
                }
            }

            /// Whether the table can be deleted and rebuilt from the others.
            pub const fn derived(self) -> bool {
                match self {
                    $(Self::$variant => tables!(@$kind),)+
                }
            }
        }
    };
    (@derived) => { true };
    (@kept) => { false };
}

tables! {
    /// Facts about the store (its format) and about this node's place in the mesh.
    Meta = "meta", kept;
    /// Headers and signatures of entries.
    Entries = "entries", kept;
    /// Payloads of entries. They are separate so that one can be erased while the chain still verifies.
    Payloads = "payloads", kept;
    /// Leaves that members erased, by their words that count and others, whether their entries are here or not.
    Erased = "erased", derived;
    /// The members that erased something, with what their words count by.
    Erasers = "erasers", derived;
    /// Entries that lack leaves which no word that counts erases: they are to come again.
    Lacking = "lacking", derived;
    /// The records to which erased leaves wrote.
    ErasedOf = "erased_of", kept;
    /// Former ids of copies that were erased, each with the copy's author.
    ErasedWas = "erased_was", kept;
    /// Records that were erased, of which edits may be left.
    ErasedLate = "erased_late", kept;
    /// Erasures that this node has not confirmed.
    Unconfirmed = "unconfirmed", derived;
    /// Erasures that members confirmed.
    Confirmed = "confirmed", derived;
    /// Blobs that only erased parts named. Their content is to go.
    Unwanted = "unwanted", kept;
    /// Entry id to entry number.
    Ids = "ids", kept;
    /// Place in a log to the entries held there.
    LogIndex = "log_index", kept;
    /// Short number of a log to its name.
    Logs = "logs", kept;
    /// The held part of each log, and the place where it is cut.
    Frontier = "frontier", derived;
    /// Entries that do not count, with the reason.
    Standing = "standing", derived;
    /// Entries that showed a fork, and the entries that stopped counting then.
    Cuts = "cuts", derived;
    /// Entries whose stamps were more than ten minutes ahead when they came, and the time then.
    Ahead = "ahead", kept;
    /// Logs of which more or less counts since an entry was stored: their authors' memberships ended, or
    /// stand again.
    Recounts = "recounts", kept;
    /// Logs of which entries prove a fork.
    Evidence = "evidence", derived;
    /// Entries of our own that no longer counted, and were written again.
    Again = "again", derived;
    /// The use of the store by each author.
    Usage = "usage", derived;
    /// Profiles that count, by author and time.
    Profiles = "profiles", derived;
    /// Spaces with their readers and writers.
    Spaces = "spaces", derived;
    /// Folded records.
    Records = "records", derived;
    /// Records by time.
    ByTime = "by_time", derived;
    /// Live writes.
    Live = "live", derived;
    /// Replaced writes.
    Past = "past", derived;
    /// Caller's key to the records with that key.
    Keys = "keys", derived;
    /// Caller's key, without case and in one form, to the records with such a key.
    FoldedKeys = "folded_keys", derived;
    /// Caller's key to the records with that key that supersede others, or that others supersede.
    LinkedKeys = "linked_keys", derived;
    /// Id of a superseded record to the records that supersede it.
    Successors = "successors", derived;
    /// Former id to the record that replaced it.
    Was = "was", derived;
    /// Tasks.
    Tasks = "tasks", derived;
    /// Tasks that have ended, by their end and time.
    TaskTimes = "task_times", derived;
    /// Tasks that have not ended, by their submitter, priority and time.
    TasksOpen = "tasks_open", derived;
    /// Tasks that have not ended and do not only wait for a worker, by time.
    TasksNoted = "tasks_noted", derived;
    /// Tasks with heirs that have not ended, by each member that may settle them.
    TasksMoving = "tasks_moving", derived;
    /// Later events of tasks, by their author.
    TaskEvents = "task_events", derived;
    /// Bytes of results that this node kept in its own log for other members, by member and day.
    KeptFor = "kept_for", derived;
    /// Submitter's id of a request to the task.
    TaskRequests = "task_requests", derived;
    /// Document to the entries about it.
    Documents = "documents", derived;
    /// Key of a document to the documents with that key.
    DocumentKeys = "document_keys", derived;
    /// Entries about documents of which changes were erased.
    ErasedDocuments = "erased_documents", derived;
    /// Documents as they are saved, so that opening one does not build it.
    SavedDocuments = "saved_documents", derived;
    /// Blob to the events and writes that refer to it.
    BlobRefs = "blob_refs", derived;
    /// Issued tickets and the newcomers that redeemed them.
    Tickets = "tickets", kept;
    /// Known peers and their addresses.
    Peers = "peers", kept;
    /// Which rule of form an entry breaks.
    Quarantine = "quarantine", derived;
    /// Raft's log, in a separate file.
    RaftLog = "raft_log", kept;
    /// Raft's promises: votes, and this node's place in each group.
    RaftMeta = "raft_meta", kept;
    /// Latest snapshot of critical state, in parts.
    RaftSnapshot = "raft_snapshot", kept;
    /// Audit trail of critical state.
    RaftAudit = "raft_audit", kept;
}

impl Table {
    /// The table with this name on disk.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|table| table.name() == name)
    }

    /// The number of the table in the log: FNV-1a of its name, so that it stays when tables are added.
    pub(super) const fn code(self) -> u64 {
        let name = self.name().as_bytes();
        let (mut code, mut at) = (0xcbf2_9ce4_8422_2325_u64, 0);
        while at < name.len() {
            code = (code ^ name[at] as u64).wrapping_mul(0x0100_0000_01b3);
            at += 1;
        }
        code
    }

    /// The table with this number in the log.
    pub(super) fn of_code(code: u64) -> Option<Self> {
        Self::ALL.iter().copied().find(|table| table.code() == code)
    }

    /// Number of tables.
    pub(super) const COUNT: usize = Self::ALL.len();

    /// Index of the table in [`ALL`](Self::ALL).
    pub(super) const fn index(self) -> usize {
        self as usize
    }

    pub(super) const fn definition(self) -> redb::TableDefinition<'static, &'static [u8], &'static [u8]> {
        redb::TableDefinition::new(self.name())
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
