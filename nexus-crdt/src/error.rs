use nexus_identity::BadSignature;

/// The reason why bytes are not an entry. The sender is at fault unless said otherwise; nothing changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EntryError {
    /// A part is larger than in any entry.
    #[error("entry's {part} has {bytes} bytes, at most {max} are allowed")]
    TooLarge {
        /// Header or payload.
        part: &'static str,
        /// Its size, in bytes.
        bytes: usize,
        /// The bound, in bytes.
        max: usize,
    },
    /// The header has a format of a later version: nobody's fault.
    #[error("entry has format {format}, newer than this version understands")]
    TooNew {
        /// The format number.
        format: u16,
    },
    /// The header is not in canonical encoding.
    #[error("entry header is malformed: {0}")]
    Malformed(&'static str),
    /// The entry belongs to another mesh.
    #[error("entry belongs to another mesh")]
    OtherMesh,
    /// The payload is not the canonical encoding of leaves.
    #[error("payload is malformed: {0}")]
    Payload(&'static str),
    /// The payload does not fit the hash in the header.
    #[error("payload does not match its header")]
    PayloadMismatch,
    /// The signature is not the author's.
    #[error(transparent)]
    Signature(#[from] BadSignature),
}

/// A broken rule of form. The author is at fault. The entry stays in its log in *quarantine*: its
/// payload counts on no node.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FormError {
    /// The payload is gone or was never sent.
    #[error("payload is not here")]
    Absent,
    /// Not the canonical encoding of a payload of its kind.
    #[error("payload bytes are not canonical")]
    NotCanonical,
    /// A part has too few or too many items.
    #[error("{what}: {count} is out of range, at most {max}")]
    Count {
        /// The counted items.
        what: &'static str,
        /// Their number.
        count: usize,
        /// The bound.
        max: usize,
    },
    /// The field name has a forbidden length or character.
    #[error("field name is not 1 to 64 of a-z, 0-9, _ and -")]
    FieldName,
    /// The value is not the JSON of its field.
    #[error("value of field {field} is not what that field holds: {why}")]
    Value {
        /// The field.
        field: String,
        /// The fault.
        why: &'static str,
    },
    /// One entry edits a field of a record twice.
    #[error("the same field of the same record is written twice")]
    Twice,
    /// The dots of `over` are out of order or repeated.
    #[error("overwritten dots are not ascending")]
    OverOrder,
    /// The credential chain does not hold, or the definition is not valid.
    #[error("content does not hold: {0}")]
    Content(String),
}
