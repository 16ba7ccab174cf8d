//! The documents of the HTTP API, from and to the types of the library. The documents themselves are
//! [`nexus_client::wire`].

mod audit;
#[cfg(feature = "blobs")]
mod blobs;
mod change;
mod critical;
#[cfg(feature = "documents")]
mod documents;
mod memory;
mod mesh;
mod moment;
mod tasks;
mod vocabulary;

pub(in crate::api) use self::audit::audit_entry;
#[cfg(feature = "blobs")]
pub(in crate::api) use self::blobs::blob;
pub(in crate::api) use self::change::change;
pub(in crate::api) use self::critical::{kv_change, kv_item, kv_written, lease};
#[cfg(feature = "documents")]
pub(in crate::api) use self::documents::{document_edit, document_mark};
pub(in crate::api) use self::memory::{new_memory, patch};
pub(in crate::api) use self::mesh::former_member;
pub(in crate::api) use self::tasks::{agent, candidate, claim_query, new_task, progress, result};
pub(in crate::api) use self::vocabulary::new_words;
pub(crate) use nexus_client::wire::*;

impl From<crate::memory::SpaceInfo> for Space {
    fn from(space: crate::memory::SpaceInfo) -> Self {
        Self {
            space: space.space,
            id: space.id.to_string(),
            readers: space.readers.iter().map(ToString::to_string).collect(),
            writers: space.writers.iter().map(ToString::to_string).collect(),
            records: space.records,
            entries: space.entries,
            bytes: space.bytes,
        }
    }
}

impl From<crate::vectors::EmbedderStatus> for Embedder {
    fn from(status: crate::vectors::EmbedderStatus) -> Self {
        let crate::vectors::EmbedderStatus { state, reason, embedder, model, dimension, embedded, changes } = status;
        Self { state: state.as_str().to_owned(), reason, embedder, model, dimension, embedded, changes }
    }
}
