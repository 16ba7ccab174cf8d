//! The process beside a command, which lets nothing outlive it.
//!
//! A process that leaves its group and its parent becomes the warden's child, so the warden finds it. The warden ends when
//! none is left. It is outside of the sandbox, and the command can neither signal nor trace it.
//!
//! | signal | effect |
//! |---|---|
//! | `SIGTERM` | goes on to the command's group |
//! | `SIGINT`, also at the worker's death | the command is killed |

use std::ffi::OsString;
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;

use rustix::io::Errno;
use rustix::process::{Signal, getpid, set_child_subreaper, set_parent_process_death_signal};

use super::{Level, Policy, bubble};
use crate::descendants::{ended, sweep};
use crate::signals::{Forwarded, Signals, send_to};

/// The word of a command that began.
const BEGAN: &str = "began";
/// The word before the reason of a command that did not.
const FAILED: &str = "failed ";
/// The word before the number of the signal that ended a command.
const SIGNAL: &str = "signal ";

/// The words of a warden and of what it starts, in a file beside the command's directory.
#[derive(Clone, Debug)]
pub(crate) struct Report(pub(crate) PathBuf);

/// The news in a report.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct News {
    /// The command began, as far as anybody could tell.
    pub(crate) began: bool,
    /// The reason why it did not.
    pub(crate) failed: Option<String>,
    /// The signal that ended it.
    pub(crate) signal: Option<i32>,
}

impl Report {
    /// The report, open for words from inside of a sandbox that could not open it.
    pub(crate) fn open(&self) -> std::io::Result<OpenReport> {
        std::fs::File::options().append(true).create(true).open(&self.0).map(OpenReport)
    }

    pub(crate) fn read(&self) -> News {
        let text = std::fs::read_to_string(&self.0).unwrap_or_default();
        let word = |word: &str| text.lines().find_map(|line| line.strip_prefix(word)).map(str::to_owned);
        News {
            began: text.lines().any(|line| line == BEGAN),
            failed: word(FAILED),
            signal: word(SIGNAL).and_then(|number| number.parse().ok()),
        }
    }
}

/// A report that is open.
#[derive(Debug)]
pub(crate) struct OpenReport(std::fs::File);

impl OpenReport {
    pub(crate) fn began(&mut self) {
        self.say(BEGAN);
    }

    pub(crate) fn failed(&mut self, why: &str) {
        self.say(&format!("{FAILED}{}", why.replace('\n', " ")));
    }

    fn say(&mut self, line: &str) {
        // without it the command counts as one that did not begin
        let _ = writeln!(self.0, "{line}");
    }
}

/// Starts a command in its sandbox, and waits until nothing of it is left. Returns its exit code.
///
/// # Errors
/// It could not be started.
pub(crate) fn guard(policy: &Policy, report: &Report, command: &[OsString]) -> Result<i32, String> {
    let no = |error: Errno| format!("the warden: {error}");
    set_parent_process_death_signal(Some(Signal::INT)).map_err(no)?;
    set_child_subreaper(Some(getpid())).map_err(no)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| format!("the warden: {error}"))?;
    // signals count from now on, also those before the command is there
    let mut signals = runtime.block_on(async { Signals::new() });
    let mut command = within(policy, report, command)?;
    let child = command.process_group(0).spawn().map_err(|error| {
        let program = command.get_program().to_string_lossy().into_owned();
        format!("{program}: {error}")
    })?;
    let main = child.id();
    std::thread::spawn(move || {
        runtime.block_on(async {
            loop {
                match signals.next().await {
                    Forwarded::Terminate => send_to(main, Forwarded::Terminate, true),
                    Forwarded::Interrupt | Forwarded::Kill => {
                        send_to(main, Forwarded::Kill, true);
                        // before it made its group
                        send_to(main, Forwarded::Kill, false);
                    }
                }
            }
        });
    });
    let ended = ended(main);
    sweep();
    let ended = ended.map_err(no)?;
    if let Some(signal) = ended.terminating_signal() {
        if let Ok(mut report) = report.open() {
            report.say(&format!("{SIGNAL}{signal}"));
        }
        return Ok(1);
    }
    Ok(ended.exit_status().unwrap_or(1))
}

/// This program once more, which becomes the command.
fn within(policy: &Policy, report: &Report, command: &[OsString]) -> Result<Command, String> {
    let text = serde_json::to_string(policy).map_err(|error| format!("the policy: {error}"))?;
    let arguments = |to: &mut Command| {
        to.args(["sandbox-exec", "--within", "--policy", &text, "--report"]).arg(&report.0).arg("--").args(command);
    };
    let no_program = |error: std::io::Error| format!("this program: {error}");
    if policy.level < Level::Full {
        let mut next = Command::new(crate::program::itself().map_err(no_program)?);
        arguments(&mut next);
        return Ok(next);
    }
    let bwrap = policy.bwrap.as_ref().ok_or("bwrap is not on the PATH")?;
    let own = std::env::current_exe().map_err(no_program)?;
    let mut next = Command::new(bwrap);
    let here = std::env::current_dir().map_err(|error| format!("the present directory: {error}"))?;
    next.args(bubble::arguments(policy, &own, &report.0, &here));
    next.arg(&own);
    arguments(&mut next);
    Ok(next)
}
