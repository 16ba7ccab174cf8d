//! The ledger: entries as they are held, and the tables that are derived from them.
//!
//! It reads rows and defines them; the engine alone decides what is written. Whoever answers
//! questions reads here, too.
//!
//! | room | what is in it |
//! |---|---|
//! | `rows` | keys and rows of all tables |
//! | `view` | reading entries, logs, records, writes |
//! | `genesis` | the facts that a store begins with |
//! | `members` | who belongs to the mesh of a store |
//! | `migrate` | how rows of an earlier format are brought to this one |

mod genesis;
mod members;
mod migrate;
pub(crate) mod rows;
mod view;

pub(crate) use genesis::write_builtin_spaces;
pub use genesis::{Genesis, found, read_genesis};
pub(crate) use members::read_members;
pub(crate) use migrate::next_migration;
pub(crate) use view::{
    cuts, enos_cut_by, enos_of_log, entry_id_of, find_entry, find_record, find_space, has_any, last_eno, live_writes,
    read_branches, read_core, read_core_text, read_entry, read_logs, read_spaces, read_writes, records_with_key,
    standing, standings, writes_of_field,
};

use crate::store::StoreError;

/// Why a ledger does not read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LedgerError {
    /// The store failed, or its rows do not read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The store has no mesh in it.
    #[error("the store holds no mesh: initialize it first")]
    NoGenesis,
    /// The chain in the store does not hold.
    #[error("this node's own credentials do not hold: {0}")]
    Chain(#[from] nexus_identity::ChainError),
}
