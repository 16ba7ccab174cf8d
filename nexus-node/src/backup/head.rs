use borsh::{BorshDeserialize, BorshSerialize};
use nexus_identity::Did;

use crate::store::ROWS_FORMAT;

/// The latest version of the stream's frames: the one with blobs.
pub(super) const VERSION: u32 = 2;

/// The version of a stream without blobs, which earlier programs read, too.
pub(super) const WITHOUT_BLOBS: u32 = 1;

/// The beginning of a backup: its format, and the node that it is of.
#[derive(BorshSerialize, BorshDeserialize, Clone, Debug, PartialEq, Eq)]
pub struct Head {
    pub(super) version: u32,
    /// The format of the stores.
    pub(super) store_format: u32,
    pub(super) did: [u8; 32],
    pub(super) mesh: [u8; 32],
    /// The node's name in its mesh.
    pub name: String,
    /// The version of the program that wrote the backup.
    pub program: String,
    /// The moment of the backup, in milliseconds since 1970.
    pub taken_at_ms: u64,
}

impl Head {
    /// The node.
    pub const fn did(&self) -> Did {
        Did::from_bytes(self.did)
    }

    /// Its mesh.
    pub const fn mesh(&self) -> Did {
        Did::from_bytes(self.mesh)
    }

    /// Whether blobs are in it.
    pub const fn has_blobs(&self) -> bool {
        self.version > WITHOUT_BLOBS
    }

    /// The same for a backup with blobs.
    pub(crate) fn with_blobs(self) -> Self {
        Self { version: VERSION, ..self }
    }

    /// The head of a backup by this program, at a moment in milliseconds since 1970. It has no blobs.
    pub(crate) fn new(did: Did, mesh: Did, name: String, taken_at_ms: u64) -> Self {
        let program = env!("CARGO_PKG_VERSION").to_owned();
        let (did, mesh) = (*did.as_bytes(), *mesh.as_bytes());
        Self { version: WITHOUT_BLOBS, store_format: ROWS_FORMAT, did, mesh, name, program, taken_at_ms }
    }
}

/// One of a node's stores.
#[derive(BorshSerialize, BorshDeserialize, Clone, Copy, Debug, PartialEq, Eq)]
#[borsh(use_discriminant = true)]
#[repr(u8)]
pub enum StoreKind {
    /// Entries, and what this node knows of its mesh.
    Brain = 0,
    /// Critical state, as this node has it.
    Raft = 1,
}
