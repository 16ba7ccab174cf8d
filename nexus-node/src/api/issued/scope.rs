//! The scopes of a token: reading or writing things of a kind.

use std::collections::BTreeSet;
use std::fmt;

/// A kind of things, and what is done with them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    /// Reading memories, spaces, words that mean the same, and changes.
    MemoryRead,
    /// Writing, changing and forgetting memories.
    MemoryWrite,
    /// Reading tasks, and who works.
    TasksRead,
    /// Submitting tasks, and taking them back.
    TasksSubmit,
    /// Taking tasks, and ending them.
    TasksWork,
    /// Reading keys.
    KvRead,
    /// Writing keys.
    KvWrite,
    /// Seeing who holds which lock.
    LocksRead,
    /// Taking, renewing and releasing locks.
    LocksWrite,
    /// Reading blobs.
    BlobsRead,
    /// Adding, keeping and removing blobs.
    BlobsWrite,
    /// Reading documents.
    DocumentsRead,
    /// Creating and changing documents.
    DocumentsWrite,
    /// Reading the state of this node and its mesh.
    MeshRead,
}

impl Scope {
    /// All of them, by kinds.
    pub const ALL: [Self; 14] = [
        Self::MemoryRead,
        Self::MemoryWrite,
        Self::TasksRead,
        Self::TasksSubmit,
        Self::TasksWork,
        Self::KvRead,
        Self::KvWrite,
        Self::LocksRead,
        Self::LocksWrite,
        Self::BlobsRead,
        Self::BlobsWrite,
        Self::DocumentsRead,
        Self::DocumentsWrite,
        Self::MeshRead,
    ];

    /// The word for it: `KIND:ACT`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::MemoryRead => "memory:read",
            Self::MemoryWrite => "memory:write",
            Self::TasksRead => "tasks:read",
            Self::TasksSubmit => "tasks:submit",
            Self::TasksWork => "tasks:work",
            Self::KvRead => "kv:read",
            Self::KvWrite => "kv:write",
            Self::LocksRead => "locks:read",
            Self::LocksWrite => "locks:write",
            Self::BlobsRead => "blobs:read",
            Self::BlobsWrite => "blobs:write",
            Self::DocumentsRead => "documents:read",
            Self::DocumentsWrite => "documents:write",
            Self::MeshRead => "mesh:read",
        }
    }

    /// The kind of things.
    pub fn kind(self) -> &'static str {
        self.as_str().split(':').next().unwrap_or_default()
    }

    /// The scope that this one brings along: whoever changes things of a kind may read them.
    const fn implied(self) -> Option<Self> {
        match self {
            Self::MemoryWrite => Some(Self::MemoryRead),
            Self::TasksSubmit | Self::TasksWork => Some(Self::TasksRead),
            Self::KvWrite => Some(Self::KvRead),
            Self::LocksWrite => Some(Self::LocksRead),
            Self::BlobsWrite => Some(Self::BlobsRead),
            Self::DocumentsWrite => Some(Self::DocumentsRead),
            _ => None,
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The scopes of a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scopes {
    /// Whether they were given as `*`, so that the word stays.
    all: bool,
    given: BTreeSet<Scope>,
}

/// A word that is no scope.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadScope {
    /// There is no such scope.
    #[error("there is no scope {:?}; the scopes are {}, a kind alone as `memory`, and `*`", .0, known())]
    Unknown(String),
    /// No scope was given.
    #[error("a token has a scope at least; the scopes are {}, a kind alone as `memory`, and `*`", known())]
    Missing,
}

fn known() -> String {
    Scope::ALL.map(Scope::as_str).join(", ")
}

impl Scopes {
    /// The scopes of these words: `KIND:ACT`, a kind alone for all of it, or `*` for every kind.
    ///
    /// # Errors
    /// The first word that is no scope.
    pub fn of<'a>(words: impl IntoIterator<Item = &'a str>) -> Result<Self, BadScope> {
        let (mut all, mut given) = (false, BTreeSet::new());
        for word in words {
            let meant: Vec<Scope> = match word {
                "*" => Scope::ALL.to_vec(),
                word => Scope::ALL.into_iter().filter(|scope| [scope.as_str(), scope.kind()].contains(&word)).collect(),
            };
            if meant.is_empty() {
                return Err(BadScope::Unknown(word.chars().take(40).collect()));
            }
            all |= word == "*";
            given.extend(meant);
        }
        if given.is_empty() { Err(BadScope::Missing) } else { Ok(Self { all, given }) }
    }

    /// Whether they let a caller do this.
    pub fn allow(&self, scope: Scope) -> bool {
        self.given.contains(&scope) || self.given.iter().any(|given| given.implied() == Some(scope))
    }

    /// Their words.
    pub fn words(&self) -> Vec<String> {
        match self.all {
            true => vec!["*".to_owned()],
            false => self.given.iter().map(ToString::to_string).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(words: &str) -> Result<Scopes, BadScope> {
        Scopes::of(words.split(',').filter(|word| !word.is_empty()))
    }

    #[test]
    fn who_writes_of_a_kind_reads_it_and_nothing_else() {
        for (given, allowed) in [
            ("memory:read", "memory:read"),
            ("memory:write", "memory:read,memory:write"),
            ("memory", "memory:read,memory:write"),
            ("tasks:submit", "tasks:read,tasks:submit"),
            ("tasks:work", "tasks:read,tasks:work"),
            ("tasks", "tasks:read,tasks:submit,tasks:work"),
            ("kv:write,locks:read", "kv:read,kv:write,locks:read"),
            ("mesh", "mesh:read"),
        ] {
            let scopes = of(given).unwrap();
            let allows: Vec<&str> =
                Scope::ALL.into_iter().filter(|scope| scopes.allow(*scope)).map(Scope::as_str).collect();
            assert_eq!(allows.join(","), allowed, "{given}");
        }
        let all = of("kv:read,*").unwrap();
        assert!(Scope::ALL.into_iter().all(|scope| all.allow(scope)));
        assert_eq!((all.words(), of("memory").unwrap().words().len()), (vec!["*".to_owned()], 2));
    }

    #[test]
    fn a_word_that_is_no_scope_is_refused_with_the_list() {
        for wrong in ["documents:edit", "memory:", "memory:delete", "admin", "Memory:read", "memory:*", "**", " kv"] {
            let error = of(wrong).unwrap_err();
            assert!(error.to_string().contains("tasks:submit") && error.to_string().contains('*'), "{error}");
        }
        assert_eq!(of("").unwrap_err(), BadScope::Missing);
    }
}
