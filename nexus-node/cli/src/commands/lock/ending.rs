//! The end of a command that runs under a lock: how it is told, and its exit code.

use std::ffi::OsString;
use std::io::ErrorKind;
use std::process::ExitStatus;
use std::time::Duration;

use nexus_node::api::Problem;

use crate::output::{Printer, sane};

/// The time of a command to end by itself once the lease is lost.
pub(super) const GRACE: Duration = Duration::from_secs(5);

/// The exit codes of a shell for a command that is not there, and for one that cannot be run.
pub(super) const NOT_FOUND: i32 = 127;

pub(super) const NOT_RUNNABLE: i32 = 126;

/// A shell adds this to the number of the signal that ended a command.
pub(super) const BY_SIGNAL: i32 = 128;

/// Tells that a command did not begin. Returns the exit code of a shell for that.
pub(super) fn not_begun(program: Option<&OsString>, error: &std::io::Error, printer: &Printer) -> i32 {
    let program = program.map(|program| program.to_string_lossy()).unwrap_or_default();
    let problem = Problem::new("failed", format!("{}: {error}", sane(&program)));
    printer.problem(&problem.hint("the command did not begin, and the lock is given back"));
    if error.kind() == ErrorKind::NotFound { NOT_FOUND } else { NOT_RUNNABLE }
}

/// The exit code of a shell for this end.
pub(super) fn code_of(status: ExitStatus) -> i32 {
    #[cfg(unix)]
    if let Some(signal) = std::os::unix::process::ExitStatusExt::signal(&status) {
        return BY_SIGNAL + signal;
    }
    status.code().unwrap_or(BY_SIGNAL)
}

/// The word of a runner whose lease is lost.
pub(super) const END: &str = "end";
