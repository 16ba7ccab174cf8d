//! The sandbox of a worker's command.
//!
//! | room | content |
//! |---|---|
//! | `policy` | the permissions of a command, and its limits |
//! | `needs` | the files that a command needs: its interpreter, its installation, its script |
//! | `profiles` | the needs of the tools of a kind besides |
//! | `private` | the places that no rule opens by itself |
//! | `git` | repositories in the directories that a command may write |
//! | `reach` | the level that this machine reaches, found by trying |
//! | `confinement` | files, ports and signals, by Landlock; capabilities and limits |
//! | `calls` | the system calls that are refused, by seccomp |
//! | `bounds` | the processes of a command, and the bytes in its directory |
//! | `mounts` | a `/tmp` of its own, and what git obeys kept from it |
//! | `bubble` | namespaces, by bubblewrap |
//! | `report` | the words of a process about the command that it starts |
//! | `warden` | the process beside a command, which lets nothing outlive it |
//!
//! A worker starts this program once more as `sandbox-exec`, the *warden*. It starts itself once more, for the level
//! `full` inside bubblewrap. That process confines itself and becomes the command, so that no code of another program runs
//! in between, and no `unsafe` is needed between a fork and an exec.

#[cfg(target_os = "linux")]
mod bounds;
#[cfg(target_os = "linux")]
mod bubble;
#[cfg(target_os = "linux")]
mod calls;
#[cfg(target_os = "linux")]
mod confinement;
mod git;
#[cfg(target_os = "linux")]
mod mounts;
mod needs;
mod policy;
mod private;
mod profiles;
mod reach;
#[cfg(target_os = "linux")]
mod report;
#[cfg(target_os = "linux")]
mod warden;

pub(crate) use self::git::Repository;
pub(crate) use self::needs::{Around, Needs};
pub(crate) use self::policy::{Bytes, Limits, Policy, cleaned, forbidden, found};
pub(crate) use self::private::Private;
pub(crate) use self::profiles::{Opened, Profile};
pub(crate) use self::reach::{Reached, reach};

#[cfg(target_os = "linux")]
pub(crate) use self::confinement::become_command;
#[cfg(target_os = "linux")]
pub(crate) use self::reach::{abi, bwrap, try_level, try_own_tmp, works};
#[cfg(target_os = "linux")]
pub(crate) use self::report::{Heard, Said};
#[cfg(target_os = "linux")]
pub(crate) use self::warden::{Warden, guard};

use serde::{Deserialize, Serialize};

/// A level of confinement. Each promises all of the one before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Level {
    /// The command may do whatever its account may.
    None,
    /// Landlock and seccomp.
    Kernel,
    /// The same, in namespaces of its own.
    Full,
}

impl Level {
    /// Whether it is at least the one that a task asks for. A word that this version does not know is none that it keeps.
    pub(crate) fn promises(self, asked: &str) -> bool {
        [Self::Kernel, Self::Full].into_iter().any(|level| level.as_str() == asked && level <= self)
    }

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Kernel => "kernel",
            Self::Full => "full",
        }
    }
}

/// The level that a person asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Wish {
    /// The best that this machine reaches
    Auto,
    /// No sandbox: the command may do whatever your account may
    None,
    /// Landlock and seccomp, from Linux 6.12
    Kernel,
    /// The same, in namespaces of its own by bubblewrap
    Full,
}
