use std::fmt;

/// Declares the tables once: variant, name on disk, derived or not, what it is for.
macro_rules! tables {
    ($($(#[doc = $doc:literal])+ $variant:ident = $name:literal, $kind:ident;)+) => {
        /// One ordered table of byte keys and byte values.
        ///
        /// What the bytes mean is the business of whoever writes them. A name on disk is never
        /// used again for something else; a new table is one more line in the list.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        pub enum Table {
            $($(#[doc = $doc])+ $variant,)+
        }

        impl Table {
            /// Every table, in a fixed order.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// The name of the table in the database file.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)+
                }
            }

            /// Whether the table can be deleted at any time and rebuilt from the others.
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
    /// Facts about the store itself (its format) and about this node's place in the world.
    Meta = "meta", kept;
    /// Headers and signatures of entries.
    Entries = "entries", kept;
    /// Payloads of entries, apart so that they can be erased while the chain still verifies.
    Payloads = "payloads", kept;
    /// From an entry's id to where it is.
    Ids = "ids", kept;
    /// From a place in a log to the entries held there.
    LogIndex = "log_index", kept;
    /// From the short number of a log to its name.
    Logs = "logs", kept;
    /// How much of each log is held, and where it is cut.
    Frontier = "frontier", derived;
    /// Which entries do not count, and why.
    Standing = "standing", derived;
    /// Which entries showed that a log forked, and what stopped counting then.
    Cuts = "cuts", derived;
    /// Spaces and who may read or write them.
    Spaces = "spaces", derived;
    /// Folded records.
    Records = "records", derived;
    /// Records by time.
    ByTime = "by_time", derived;
    /// Writes that are live.
    Live = "live", derived;
    /// Writes that were replaced.
    Past = "past", derived;
    /// From a caller's key to the records that have it.
    Keys = "keys", derived;
    /// From a former id to the record that took its place.
    Was = "was", derived;
    /// Tickets handed out and who redeemed them.
    Tickets = "tickets", kept;
    /// Known peers and their addresses.
    Peers = "peers", kept;
    /// Which rule of form an entry breaks.
    Quarantine = "quarantine", derived;
    /// Raft's log, in a file of its own.
    RaftLog = "raft_log", kept;
    /// What Raft promised: votes, who this node is in which group.
    RaftMeta = "raft_meta", kept;
    /// The latest snapshot of critical state, in parts.
    RaftSnapshot = "raft_snapshot", kept;
    /// Who did what to critical state.
    RaftAudit = "raft_audit", kept;
}

impl Table {
    /// How many tables there are.
    pub(super) const COUNT: usize = Self::ALL.len();

    /// The place of the table in [`ALL`](Self::ALL).
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
