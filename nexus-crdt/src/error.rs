use nexus_identity::BadSignature;

/// Why bytes are not an entry. The sender is at fault unless said otherwise; nothing changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EntryError {
    /// A part is larger than any entry's may be.
    #[error("entry's {part} has {bytes} bytes, at most {max} are allowed")]
    TooLarge {
        /// Header or payload.
        part: &'static str,
        /// Its size.
        bytes: usize,
        /// The bound.
        max: usize,
    },
    /// Nobody's fault: a header format from a later version.
    #[error("entry has format {format}, newer than this version understands")]
    TooNew {
        /// The format number.
        format: u16,
    },
    /// The header is not the canonical encoding of anything.
    #[error("entry header is malformed: {0}")]
    Malformed(&'static str),
    /// The entry belongs to another mesh.
    #[error("entry belongs to another mesh")]
    OtherMesh,
    /// The payload is not the one that the header names.
    #[error("payload does not match its header")]
    PayloadMismatch,
    /// The signature is not the author's.
    #[error(transparent)]
    Signature(#[from] BadSignature),
}

/// Why a payload breaks a rule of form. The author is at fault; the entry stays in its log,
/// *quarantined*: what it says does not count, alike on every node.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FormError {
    /// The payload is gone or was never sent.
    #[error("payload is not here")]
    Absent,
    /// Not the canonical encoding of a payload of its kind.
    #[error("payload bytes are not canonical")]
    NotCanonical,
    /// Too few or too many of something.
    #[error("{what}: {count} is out of range, at most {max}")]
    Count {
        /// What was counted.
        what: &'static str,
        /// How many there are.
        count: usize,
        /// The bound.
        max: usize,
    },
    /// A field name that no field has.
    #[error("field name is not 1 to 64 of a-z, 0-9, _ and -")]
    FieldName,
    /// A value that is not the JSON its field asks for.
    #[error("value of field {field} is not what that field holds: {why}")]
    Value {
        /// The field.
        field: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// The same place written twice in one entry.
    #[error("the same field of the same record is written twice")]
    Twice,
    /// Overwritten dots out of order or repeated.
    #[error("overwritten dots are not ascending")]
    OverOrder,
    /// A credential chain that does not hold, or a definition that is none.
    #[error("content does not hold: {0}")]
    Content(String),
}
