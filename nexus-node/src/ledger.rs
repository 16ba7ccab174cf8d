//! The ledger: the stored entries, and the tables derived from them.
//!
//! It defines the rows and reads them. Only the engine decides about writes. Every room that answers
//! questions reads here, too.
//!
//! | room | content |
//! |---|---|
//! | `rows` | keys and rows of all tables |
//! | `view` | reading entries, logs, records, writes |
//! | `erased` | leaves that members erased |
//! | `about` | the entries about a document, and which of them lack erased changes |
//! | `live` | the live writes of a memory, within bounds |
//! | `chain` | memories that took one another's place, and the ends to which their keys lead |
//! | `genesis` | the first facts of a store |
//! | `members` | the members of a store's mesh |
//! | `quota` | how much is taken of one author's entries |
//! | `tasks` | reading tasks and what was said of them |
//! | `lines` | tasks in the order of their time: open ones, and those of one end |
//! | `migrate` | bringing rows of an earlier format to the current one |

mod about;
mod attached;
mod chain;
#[cfg(feature = "documents")]
mod documents;
mod erased;
mod genesis;
mod lines;
mod live;
mod members;
mod migrate;
mod quota;
pub(crate) mod rows;
mod tasks;
mod view;

pub(crate) use about::{
    enos_of_document, erased_document, erased_of_document, first_about, first_with_changes, is_document_erased,
};
pub(crate) use attached::{attached_to, attachment_in, is_attached, may_have};
pub(crate) use chain::{
    ChainEnd, SUPERSEDES, VALID_TO, Walked, ends_of_chain, first_with_key, followers, former_records, holds_until,
    is_chained, is_ended_by_another, key_to, keys_like, record_called, records_with_key, seen_in, shown_together,
    superseded_id, superseded_ids,
};
#[cfg(feature = "documents")]
pub(crate) use documents::{
    DocumentName, DocumentPlace, Place, document_has_more, document_names, document_with_key, documents_of_space,
    documents_with_key, each_touched, is_of_document, names_of_documents,
};
pub(crate) use erased::{
    Erasers, confirmed_by, erased_after, erased_leaves, fills, has_unconfirmed, is_erased_already, is_erased_by_admin,
    is_named, lacking_entries, lacks_only_what_is_erased, may_erase, read_erasers, unconfirmed, words_about,
};
pub(crate) use genesis::write_builtin_spaces;
pub use genesis::{Genesis, found, read_genesis};
pub(crate) use lines::{OpenTasks, WantedTasks, newest_tasks, open_tasks};
pub(crate) use live::{
    LIVE_WRITES_MAX, LiveRoom, LiveRows, Replaced, TOGETHER_MAX, live_in_bounds, live_within, lowest_of_fields,
    replaced_by_next,
};
#[cfg(feature = "http")]
pub(crate) use members::{Chains, read_chains};
pub(crate) use members::{placed_revocation, read_members};
pub(crate) use migrate::next_migration;
pub use quota::Quotas;
pub(crate) use quota::{Incarnations, LineUsage, Quota, is_writer, logs_by_place, read_usage, readers_write, usage_of};
pub(crate) use tasks::{
    LastEntries, LastId, end_of, entry_place, find_task, is_spoken_of, moving_submitters, moving_tasks, said_by_member,
    said_by_owners, said_of_task, settled_state, task_event, task_requested, task_row,
};
pub(crate) use view::{
    HeldBranches, Turned, author_of, begins, branch, each_write, enos_cut_by, enos_of_log, entries_of_log,
    entry_format, entry_id_of, entry_of, evidence_of, exchanged_head, find_entry, find_record, find_space,
    forking_authors, has_any, head_at, holds, last_eno, latest_profile, live_writes, may_write_erasures,
    own_evidence_against, read_branches, read_core, read_core_text, read_entry, read_held, read_logs, read_spaces,
    record_that_was, records_that_were, says_persons, seen_at, spaces_created_in, standing, standings,
    writes_tasks_apart,
};

use crate::store::StoreError;

/// The reason why a ledger cannot be read.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LedgerError {
    /// The store failed, or its rows cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The store has no mesh.
    #[error("the store holds no mesh: initialize it first")]
    NoGenesis,
    /// The chain in the store does not hold.
    #[error("this node's own credentials do not hold: {0}")]
    Chain(#[from] nexus_identity::ChainError),
}
