//! The node as a service: the system starts it, after a reboot and after a fault.
//!
//! It is a unit of systemd, on Linux. No other system's services were ever tried, so each command is refused there.

#[cfg(target_os = "linux")]
mod linux;
mod scope;

use clap::{Args, Subcommand};
use nexus_node::api::Problem;

#[cfg(target_os = "linux")]
pub(super) use self::linux::of;
use self::scope::ScopeFlags;
use crate::session::CliSession;

/// The way to have a node after a reboot where there are no services.
#[cfg(any(test, not(target_os = "linux")))]
pub(super) const BY_HAND: &str = "start `nexus-node up` at login by this system's own means";

/// Have systemd start the node after a reboot, on Linux
#[derive(Debug, Subcommand)]
pub(crate) enum Service {
    /// Write the service of this data directory, and start it
    Install(Install),
    /// Show the service
    Status(ScopeFlags),
    /// Stop the service and delete it; the data stays
    Remove(ScopeFlags),
}

#[derive(Debug, Args)]
pub(crate) struct Install {
    #[command(flatten)]
    scope: ScopeFlags,
    /// Show the file of the service, and change nothing
    #[arg(long)]
    print: bool,
}

impl Service {
    #[cfg(target_os = "linux")]
    pub(crate) fn run(self, session: &CliSession) -> Result<(), Problem> {
        match self {
            Self::Install(install) => linux::install(install.scope, install.print, session),
            Self::Status(flags) => linux::status(flags, session),
            Self::Remove(flags) => linux::remove(flags, session),
        }
    }

    #[cfg(not(target_os = "linux"))]
    pub(crate) fn run(self, _: &CliSession) -> Result<(), Problem> {
        Err(absent(std::env::consts::OS))
    }
}

/// The refusal of a system that has no services here.
#[cfg(any(test, not(target_os = "linux")))]
fn absent(system: &str) -> Problem {
    Problem::new("failed", format!("services are there on Linux alone, with systemd, and this is {system}"))
        .hint(format!("nothing was changed; {BY_HAND}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_system_is_named_and_the_hint_says_how_the_node_starts_there() {
        let problem = absent("macos");
        assert_eq!((problem.code, problem.exit()), ("failed", 1));
        assert!(problem.message.contains("Linux alone") && problem.message.ends_with("macos"), "{problem:?}");
        let hint = problem.hint.unwrap();
        assert!(hint.starts_with("nothing was changed") && hint.contains("`nexus-node up` at login"), "{hint}");
    }
}
