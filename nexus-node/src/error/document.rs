/// Why a document was not read or written. Nothing changed, unless it says so.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DocumentError {
    /// The key is out of range.
    #[error("the key of a document has 1 to {} bytes and no control characters", nexus_crdt::DOCUMENT_KEY_BYTES_MAX)]
    Key,
    /// The key has the form of an address.
    #[error("{0} is the address of a document, and no key for one")]
    Address(String),
    /// Nothing is at the path, or at these heads.
    #[error("{0}")]
    Missing(String),
    /// The edit does not fit what is there.
    #[error("{0}")]
    Edit(String),
    /// The edit or the document is over a limit.
    #[error("{0}")]
    TooLarge(String),
    /// The file is no document.
    #[error("{0}")]
    File(String),
    /// Another document has the key.
    #[error("another document has the key {key}")]
    KeyTaken {
        /// The key.
        key: String,
    },
    /// The mesh writes an earlier format, which has no documents.
    #[error(
        "the mesh writes a format without documents. It changes once every coordinator runs this version: see `nexus-node coordinator`"
    )]
    TooEarly,
    /// Too many edits wait, or too many bytes of them, for this document or for all of the node.
    #[error("{edits} edits of this document wait for the disk, with {bytes} bytes: nothing was written")]
    Busy {
        /// The number of edits that wait for the document.
        edits: usize,
        /// Their bytes.
        bytes: u64,
    },
    /// The key of the document began anew, so that few would read edits of this one.
    #[error("the key {key} began anew from the document {id}: nothing was written")]
    Former {
        /// The key that the document had.
        key: String,
        /// Its address.
        id: String,
    },
    /// The document is erased.
    #[error("{name} is erased, with all that was ever in it")]
    Erased {
        /// Its key or its address.
        name: String,
        /// How often its key began anew before.
        generation: u64,
    },
    /// The document cannot be built here.
    #[error("this node cannot build the document {id}: {why}")]
    Broken {
        /// The document.
        id: String,
        /// The reason.
        why: String,
    },
}
