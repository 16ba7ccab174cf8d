//! The process beside a command, which lets nothing outlive it.
//!
//! A process that leaves its group and its parent becomes the warden's child, so the warden finds it. The warden ends when
//! none is left. It is outside of the sandbox, and the command can neither signal nor trace it.
//!
//! | signal | effect |
//! |---|---|
//! | `SIGTERM` | goes on to the command's group |
//! | `SIGINT` | the command is killed |
//! | `SIGHUP`, at the worker's death | the same, and its directory goes |
//!
//! The warden of a worker that died removes the directory of its task: nobody else would.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::io::Errno;
use rustix::process::{
    DumpableBehavior, Signal, getpid, getppid, set_child_subreaper, set_dumpable_behavior,
    set_parent_process_death_signal,
};

use super::report::{Heard, Said};
use super::{Level, Policy, bounds, bubble, confinement};
use crate::descendants::{Reach, ended, sweep};
use crate::signals::{Forwarded, HandedOn, send_to};
use crate::task_directory;

/// A warden that begins.
#[derive(Debug)]
pub(crate) struct Warden<'a> {
    pub(crate) policy: &'a Policy,
    /// The number of the process that started it.
    pub(crate) parent: u32,
    /// The directory in which its report was.
    pub(crate) base: &'a Path,
    pub(crate) command: &'a [OsString],
}

/// Starts a command in its sandbox, and waits until nothing of it is left. Returns its exit code.
///
/// # Errors
/// It did not begin.
pub(crate) fn guard(warden: &Warden<'_>, said: &mut Said) -> Result<i32, String> {
    let Warden { policy, parent, base, .. } = *warden;
    let no = |error: Errno| format!("the warden: {error}");
    set_parent_process_death_signal(Some(Signal::HUP)).map_err(no)?;
    // a command of the same account is not to find its files, its memory and its words
    set_dumpable_behavior(DumpableBehavior::NotDumpable).map_err(no)?;
    set_child_subreaper(Some(getpid())).map_err(no)?;
    let _held = task_directory::hold(base);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| format!("the warden: {error}"))?;
    // signals count from now on, also those before the command is there
    let mut signals = runtime.block_on(async { HandedOn::new(&[Signal::TERM, Signal::INT, Signal::HUP]) });
    if !is_there(parent) {
        let _ = task_directory::remove(base);
        return Err("its worker ended".to_owned());
    }
    let mut words = base.join("begun");
    let heard = Heard::at(&words).map_err(|error| format!("the warden: {error}"))?;
    let mut handed = None;
    if policy.level == Level::Full {
        // in its namespace a name would be one for the command, too
        let said = Said::at(&words).map_err(|error| format!("the warden: {error}"))?;
        words = said.hand_on().map_err(|error| format!("the warden: {error}"))?;
        handed = Some(said);
    }
    // bubblewrap may need privileges that this process gives up, and has a namespace of processes
    let is_own = policy.level == Level::Kernel && confinement::own_domain();
    let reach = if is_own { Reach::Domain } else { Reach::Looked };
    let before = bounds::processes();
    let mut command = within(warden, &words)?;
    let child = command.process_group(0).spawn().map_err(|error| {
        let program = command.get_program().to_string_lossy().into_owned();
        format!("{program}: {error}")
    })?;
    drop(handed);
    let main = child.id();
    // the signal comes as soon as one of the worker's threads has ended: the worker is still there then
    let orphaned = Arc::new(AtomicBool::new(false));
    let told = orphaned.clone();
    std::thread::spawn(move || {
        runtime.block_on(async {
            loop {
                match signals.next().await {
                    Signal::TERM => send_to(main, Forwarded::Terminate, true),
                    signal => {
                        told.fetch_or(signal == Signal::HUP, Ordering::SeqCst);
                        send_to(main, Forwarded::Kill, true);
                        // before it made its group
                        send_to(main, Forwarded::Kill, false);
                    }
                }
            }
        });
    });
    let beyond = Arc::new(Mutex::new(None));
    let limits = policy.limits;
    if limits.disk.is_some() || limits.processes.is_some() {
        let (beyond, directory) = (beyond.clone(), base.to_owned());
        std::thread::spawn(move || {
            let what = bounds::watch(limits, &directory, before);
            beyond.lock().unwrap_or_else(PoisonError::into_inner).replace(what);
            // the rest follows as after any end
            send_to(main, Forwarded::Kill, true);
        });
    }
    let ended = ended(main);
    sweep(reach);
    if orphaned.load(Ordering::SeqCst) || !is_there(parent) {
        let _ = task_directory::remove(base);
    }
    let (ended, news) = (ended.map_err(no)?, heard.news());
    if let Some(why) = news.failed {
        return Err(why);
    }
    let (signal, code) = (ended.terminating_signal(), ended.exit_status());
    if !news.began && code != Some(0) {
        return Err("the sandbox could not be made".to_owned());
    }
    said.began().map_err(|error| format!("the warden: {error}"))?;
    if let Some((code, text)) = beyond.lock().unwrap_or_else(PoisonError::into_inner).take() {
        said.beyond(code, &text);
        return Ok(1);
    }
    if let Some(signal) = signal {
        said.ended_by(signal);
    }
    Ok(code.unwrap_or(1))
}

/// Whether this process still is a child of the one that started it.
fn is_there(parent: u32) -> bool {
    getppid().is_some_and(|now| i32::try_from(parent).is_ok_and(|parent| parent == now.as_raw_nonzero().get()))
}

/// This program once more, which becomes the command.
fn within(warden: &Warden<'_>, words: &Path) -> Result<Command, String> {
    let Warden { policy, command, .. } = *warden;
    let text = serde_json::to_string(policy).map_err(|error| format!("the policy: {error}"))?;
    let arguments = |to: &mut Command| {
        to.args(["sandbox-exec", "--within", "--policy", &text, "--report"]).arg(words).arg("--").args(command);
    };
    let no_program = |error: std::io::Error| format!("this program: {error}");
    if policy.level < Level::Full {
        let mut next = Command::new(crate::program::itself().map_err(no_program)?);
        // a process with threads makes no namespace of users
        next.env(confinement::ALLOCATOR, "background_thread:false");
        arguments(&mut next);
        return Ok(next);
    }
    let bwrap = policy.bwrap.as_ref().ok_or("bwrap is not on the PATH")?;
    let own = std::env::current_exe().map_err(no_program)?;
    let mut next = Command::new(bwrap);
    let here = std::env::current_dir().map_err(|error| format!("the present directory: {error}"))?;
    next.args(bubble::arguments(policy, &own, &here));
    next.arg(&own);
    arguments(&mut next);
    Ok(next)
}
