use std::fmt;

use nexus_secrets::find;

/// A field with a credential, and its place there. Names with a credential of their own are left out.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SecretPlace {
    /// The field: `text`, `tags`, `meta`.
    pub field: &'static str,
    /// The name of the metadata.
    pub name: Option<String>,
    /// The line in it, from 1.
    pub line: usize,
    /// The place in that line in characters, from 1.
    pub column: usize,
}

impl fmt::Display for SecretPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { field, name, line, column } = self;
        match name {
            Some(name) => write!(f, "`{field}` under {name:?}, line {line}, column {column}"),
            None => write!(f, "`{field}`, line {line}, column {column}"),
        }
    }
}

impl SecretPlace {
    pub(crate) fn new(field: &'static str) -> Self {
        Self { field, name: None, line: 1, column: 1 }
    }

    /// A place under a name, which is left out if it has a credential of its own.
    pub(crate) fn named(field: &'static str, name: &str) -> Self {
        Self { name: find(name).is_none().then(|| name.to_owned()), ..Self::new(field) }
    }
}
