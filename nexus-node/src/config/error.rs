use std::fmt;
use std::io;
use std::path::PathBuf;

use serde::Serialize;

/// Where a value comes from. The later one wins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum SettingOrigin {
    /// No source gave a value.
    Default,
    /// `config.toml`, or `config set`, which writes it.
    File,
    /// A variable `NEXUS_…`.
    Env,
    /// A flag of the command line.
    Flag,
}

impl fmt::Display for SettingOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Default => "default",
            Self::File => "config.toml",
            Self::Env => "environment",
            Self::Flag => "flag",
        })
    }
}

/// A fault of the configuration, always its author's. Nothing changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The file cannot be read or written.
    #[error("{}: {source}", file.display())]
    File {
        /// The file.
        file: PathBuf,
        /// The operating system's error.
        source: io::Error,
    },
    /// The file is no TOML.
    #[error("config.toml: {source}")]
    Syntax {
        /// The place and the kind of the fault.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// There is no such key.
    #[error("{origin}: there is no key {key}{}", meant(*nearest))]
    UnknownKey {
        /// The key as it was written.
        key: String,
        /// The source that has the key.
        origin: SettingOrigin,
        /// The known key nearest to it.
        nearest: Option<&'static str>,
    },
    /// A key cannot have this value.
    #[error("{origin}: {key} cannot be {found}; it is {allowed}")]
    BadValue {
        /// The key.
        key: &'static str,
        /// The source of the value.
        origin: SettingOrigin,
        /// The value as it was written.
        found: String,
        /// The allowed values, in words.
        allowed: String,
    },
    /// Two values do not go together.
    #[error("{rule} ({left} and {right})")]
    Relation {
        /// The broken rule.
        rule: &'static str,
        /// The value named first.
        left: u64,
        /// The value named second.
        right: u64,
    },
}

fn meant(nearest: Option<&'static str>) -> String {
    nearest.map_or_else(String::new, |nearest| format!("; did you mean {nearest}?"))
}
