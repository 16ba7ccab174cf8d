use super::Table;

/// Changes that become durable together or not at all, in the order in which they were made. For one
/// key the last change wins.
///
/// All keys and values lie in one buffer, so that a change costs no allocation of its own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    bytes: Vec<u8>,
    changes: Vec<Place>,
}

/// One change of a [`Batch`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TableChange<'a> {
    /// The key has this value from now on.
    Put {
        /// The table.
        table: Table,
        /// The key; may be empty.
        key: &'a [u8],
        /// The value; may be empty.
        value: &'a [u8],
    },
    /// The key has no value from now on. It need not have had one.
    Delete {
        /// The table.
        table: Table,
        /// The key.
        key: &'a [u8],
    },
    /// No key of the table has a value from now on.
    Clear {
        /// The table.
        table: Table,
    },
}

/// The place of a change in the buffer: the key, then the value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    table: Table,
    kind: Kind,
    start: usize,
    key_bytes: usize,
    value_bytes: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Put,
    Delete,
    Clear,
}

impl Batch {
    /// A batch without changes.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the value of a key.
    pub fn put(&mut self, table: Table, key: &[u8], value: &[u8]) {
        self.push(table, Kind::Put, key, value);
    }

    /// Deletes a key, if it is there.
    pub fn delete(&mut self, table: Table, key: &[u8]) {
        self.push(table, Kind::Delete, key, &[]);
    }

    /// Deletes every key of a table, including those put earlier in this batch. The cost does not
    /// depend on the size of the table.
    pub fn clear(&mut self, table: Table) {
        self.push(table, Kind::Clear, &[], &[]);
    }

    /// Adds the changes of another batch after those of this one.
    pub fn append(&mut self, other: &Self) {
        let offset = self.bytes.len();
        self.bytes.extend_from_slice(&other.bytes);
        self.changes.extend(other.changes.iter().map(|place| Place { start: place.start + offset, ..*place }));
    }

    /// The number of changes.
    pub fn len(&self) -> usize {
        self.changes.len()
    }

    /// Whether there are no changes.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// The size of all keys and values, in bytes.
    pub fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// The changes in their order.
    pub fn changes(&self) -> impl Iterator<Item = TableChange<'_>> {
        self.changes.iter().map(|place| {
            let &Place { table, kind, start, key_bytes, value_bytes } = place;
            let (key, rest) = self.bytes[start..].split_at(key_bytes);
            match kind {
                Kind::Put => TableChange::Put { table, key, value: &rest[..value_bytes] },
                Kind::Delete => TableChange::Delete { table, key },
                Kind::Clear => TableChange::Clear { table },
            }
        })
    }

    fn push(&mut self, table: Table, kind: Kind, key: &[u8], value: &[u8]) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(key);
        self.bytes.extend_from_slice(value);
        self.changes.push(Place { table, kind, start, key_bytes: key.len(), value_bytes: value.len() });
    }
}
