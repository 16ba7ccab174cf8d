//! `sandbox-exec`: what a worker starts in place of its command. People have no use for it.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::Args;
use nexus_node::api::Problem;

use crate::sandbox::{Policy, Report, become_command, guard};

/// The exit code of a command that could not begin.
const NOT_BEGUN: i32 = 126;

/// Run a command in a sandbox; workers call it
#[derive(Debug, Args)]
pub(crate) struct SandboxExec {
    /// The permissions, as JSON
    #[arg(long)]
    policy: String,
    /// A file for how it went
    #[arg(long)]
    report: PathBuf,
    /// Become the command, instead of watching over it
    #[arg(long)]
    within: bool,
    /// The command
    #[arg(last = true, required = true)]
    command: Vec<OsString>,
}

impl SandboxExec {
    pub(crate) fn run(self) -> Result<(), Problem> {
        let Self { policy, report, within, command } = self;
        let wrong = |error: serde_json::Error| Problem::new("usage", format!("--policy: {error}"));
        let hint = "`nexus-node worker` calls this with what it needs";
        let policy: Policy = serde_json::from_str(&policy).map_err(|error| wrong(error).hint(hint))?;
        let report = Report(report);
        let mut open =
            report.open().map_err(|error| Problem::new("failed", format!("--report: {error}")).hint(hint))?;
        let why = if within {
            open.began();
            become_command(&policy, &command)
        } else {
            match guard(&policy, &report, &command) {
                Ok(code) => std::process::exit(code),
                Err(why) => why,
            }
        };
        open.failed(&why);
        std::process::exit(NOT_BEGUN)
    }
}
