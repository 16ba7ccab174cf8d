//! The words of a service: whose it is, what it starts, and the sign that this program wrote it.

/// The sign of a file that this program wrote. A file without it is never changed or deleted.
const MARK: &str = "Written by `nexus-node service install`";

/// The accounts for which a service runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scope {
    /// One account's own.
    User,
    /// The machine's.
    System,
}

impl Scope {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::System => "system",
        }
    }

    /// The flag that says so.
    pub(super) fn flag(self) -> &'static str {
        match self {
            Self::User => "--user",
            Self::System => "--system",
        }
    }
}

/// The words of a plan. Systemd reads each as it is.
pub(super) struct Words<'a> {
    pub(super) program: &'a str,
    pub(super) data_dir: &'a str,
    pub(super) account: Option<&'a str>,
    pub(super) state_home: Option<&'a str>,
}

/// The first line of a file of ours, in a comment.
pub(super) fn mark() -> String {
    format!("{MARK}, which replaces it; `nexus-node service remove` deletes it.")
}

/// Whether this program wrote a file.
pub(super) fn is_ours(text: &str) -> bool {
    text.lines().next().is_some_and(|line| line.contains(MARK))
}
