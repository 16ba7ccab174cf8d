//! `sandbox-exec`: what a worker starts in place of its command. People have no use for it.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::Args;
use nexus_node::api::Problem;

use crate::sandbox::{Policy, Said, Warden, become_command, guard};

/// The exit code of a command that could not begin.
const NOT_BEGUN: i32 = 126;

/// Run a command in a sandbox; workers call it
#[derive(Debug, Args)]
pub(crate) struct SandboxExec {
    /// The permissions, as JSON
    #[arg(long)]
    policy: String,
    /// A named pipe for how it went
    #[arg(long)]
    report: PathBuf,
    /// The number of the process that starts this one, whose end is the command's
    #[arg(long, default_value_t = 0)]
    parent: u32,
    /// Become the command, instead of watching over it
    #[arg(long)]
    within: bool,
    /// The command
    #[arg(last = true, required = true)]
    command: Vec<OsString>,
}

impl SandboxExec {
    pub(crate) fn run(self) -> Result<(), Problem> {
        let Self { policy, report, parent, within, command } = self;
        let wrong = |error: serde_json::Error| Problem::new("usage", format!("--policy: {error}"));
        let hint = "`nexus-node worker` calls this with what it needs";
        let policy: Policy = serde_json::from_str(&policy).map_err(|error| wrong(error).hint(hint))?;
        let no = |error: std::io::Error| Problem::new("failed", format!("--report: {error}")).hint(hint);
        let mut said = Said::at(&report).map_err(no)?;
        let why = if within {
            said.began().map_err(no)?;
            become_command(&policy, &command)
        } else {
            let base = report.parent().unwrap_or(&report);
            match guard(&Warden { policy: &policy, parent, base, command: &command }, &mut said) {
                Ok(code) => std::process::exit(code),
                Err(why) => why,
            }
        };
        said.failed(&why);
        std::process::exit(NOT_BEGUN)
    }
}
