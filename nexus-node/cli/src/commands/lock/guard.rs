//! `lock-exec`: the process between `lock run` and its command, which lets the command not outlive its runner.
//!
//! The runner holds one end of a pipe. The end of the runner closes it, also SIGKILL, so the guard learns of each end. A
//! runner that is stopped renews no lease: the guard knows how long the lease stands, and ends the command in time.
//!
//! | word on the pipe | effect |
//! |---|---|
//! | a number | the lease stands for so many milliseconds more |
//! | `end`, or the end of the pipe | the command gets SIGTERM, and SIGKILL after a while |
//!
//! On Linux the guard adopts what leaves its parent and its group, so that it ends that, too; and the command gets SIGKILL
//! at the end of the guard. Elsewhere it ends the command and its process group.

use std::ffi::OsString;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use clap::Args;
use nexus_node::api::Problem;
use rustix::process::Signal;

use super::ending::{BY_SIGNAL, END, GRACE, not_begun};
use crate::session::CliSession;
use crate::signals::{FROM_TERMINALS, HANDED_ON, HandedOn};

/// The share of a lease after which a runner that renewed nothing is taken for stopped. A living one acts before.
const STOPPED_AFTER: (u32, u32) = (19, 20);
/// The most bytes of a word on the pipe.
const WORD_BYTES_MAX: u64 = 32;

/// Run a command beside its runner; `lock run` calls it
#[derive(Debug, Args)]
pub(crate) struct LockExec {
    /// The number of the open file that closes at the runner's end
    #[arg(long, default_value_t = 0)]
    alive: u32,
    /// The command shares a terminal with its runner, and a process group
    #[arg(long)]
    terminal: bool,
    /// Become the command, as a child of this process
    #[arg(long, value_name = "PID")]
    within: Option<i32>,
    /// The command
    #[arg(last = true, required = true)]
    command: Vec<OsString>,
}

/// The command, and whether its end has begun.
struct Guarded {
    child: u32,
    terminal: bool,
    ending: Mutex<bool>,
}

impl LockExec {
    pub(crate) fn run(self, session: &CliSession) -> Result<(), Problem> {
        if let Some(guard) = self.within {
            let code = become_command(guard, &self.command, session);
            std::process::exit(code)
        }
        let code = self.guard(session).map_err(|error| Problem::new("failed", format!("lock-exec: {error}")))?;
        std::process::exit(code)
    }

    /// Runs the command. Returns its exit code.
    fn guard(self, session: &CliSession) -> std::io::Result<i32> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        // those that reach the whole group must not end the guard
        let mut signals = runtime.block_on(async { HandedOn::new(&HANDED_ON) });
        #[cfg(target_os = "linux")]
        rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?;
        let alive = std::fs::File::open(PathBuf::from(format!("/dev/fd/{}", self.alive)))?;
        #[cfg(target_os = "linux")]
        if let Ok(number) = i32::try_from(self.alive) {
            // the command is not to have it
            nix::unistd::close(number)?;
        }
        let mut child = match self.command(session).and_then(|mut command| command.spawn()) {
            Ok(child) => child,
            Err(error) => return Ok(not_begun(self.command.first(), &error, &session.printer)),
        };
        let guarded = Guarded { child: child.id(), terminal: self.terminal, ending: Mutex::new(false) };
        let guarded = Arc::new(guarded);
        let (told, words) = channel();
        std::thread::spawn(move || read(alive, &told));
        let watch = {
            let guarded = guarded.clone();
            std::thread::spawn(move || guarded.watch(&words))
        };
        if self.terminal {
            let guarded = guarded.clone();
            std::thread::spawn(move || {
                runtime.block_on(async {
                    loop {
                        let signal = signals.next().await;
                        if !FROM_TERMINALS.contains(&signal) {
                            guarded.signal_command(signal);
                        }
                    }
                });
            });
        }
        let code = wait(&mut child)?;
        let ending = guarded.ending.lock().unwrap_or_else(PoisonError::into_inner);
        if *ending {
            drop(ending);
            // all that the command began ends, too
            let _ = watch.join();
        }
        Ok(code)
    }

    /// This program once more, which becomes the command.
    #[cfg(target_os = "linux")]
    fn command(&self, session: &CliSession) -> std::io::Result<Command> {
        let mut command = Command::new(crate::program::itself()?);
        command.args(session.printer.json().then_some("--json"));
        command.args(["lock-exec", "--within", &std::process::id().to_string(), "--"]).args(&self.command);
        Ok(command)
    }

    #[cfg(not(target_os = "linux"))]
    #[expect(clippy::unnecessary_wraps, reason = "as on Linux")]
    fn command(&self, _: &CliSession) -> std::io::Result<Command> {
        let mut words = self.command.iter();
        let mut command = Command::new(words.next().cloned().unwrap_or_default());
        command.args(words);
        Ok(command)
    }
}

/// Makes this process the command, which ends with its guard. Returns only with an error's exit code.
fn become_command(guard: i32, command: &[OsString], session: &CliSession) -> i32 {
    #[cfg(target_os = "linux")]
    {
        use rustix::process::{getppid, set_parent_process_death_signal};
        let bound = set_parent_process_death_signal(Some(Signal::KILL));
        let is_there = getppid().is_some_and(|parent| parent.as_raw_nonzero().get() == guard);
        if let (Err(error), _) = (bound, is_there) {
            return not_begun(command.first(), &error.into(), &session.printer);
        }
        if !is_there {
            return not_begun(command.first(), &std::io::Error::other("its runner ended"), &session.printer);
        }
    }
    #[cfg(not(target_os = "linux"))]
    let _ = guard;
    let mut words = command.iter();
    let error = Command::new(words.next().cloned().unwrap_or_default()).args(words).exec();
    not_begun(command.first(), &error, &session.printer)
}

/// Waits for the command. Returns its exit code as a shell has it.
#[cfg(target_os = "linux")]
#[expect(clippy::needless_pass_by_ref_mut, reason = "elsewhere the child is waited for by itself")]
fn wait(child: &mut std::process::Child) -> std::io::Result<i32> {
    match crate::descendants::ended(child.id()) {
        Ok(status) => {
            let by_signal = status.terminating_signal().map(|signal| BY_SIGNAL + signal);
            Ok(by_signal.or_else(|| status.exit_status()).unwrap_or(BY_SIGNAL))
        }
        // the sweep was faster
        Err(rustix::io::Errno::CHILD) => Ok(BY_SIGNAL + Signal::KILL.as_raw()),
        Err(error) => Err(error.into()),
    }
}

#[cfg(not(target_os = "linux"))]
fn wait(child: &mut std::process::Child) -> std::io::Result<i32> {
    child.wait().map(super::ending::code_of)
}

/// Reads the words of the runner until its end.
fn read(alive: std::fs::File, told: &Sender<String>) {
    let mut alive = BufReader::new(alive);
    let mut line = String::new();
    while alive.by_ref().take(WORD_BYTES_MAX).read_line(&mut line).is_ok_and(|bytes| bytes > 0) {
        if told.send(line.trim().to_owned()).is_err() {
            return;
        }
        line.clear();
    }
}

impl Guarded {
    /// Waits for the runner's end or word, or for the end of its lease. Then ends the command.
    fn watch(&self, words: &Receiver<String>) {
        let mut lease = None;
        let grace = loop {
            let left = lease.map(|(until, _): (Instant, Instant)| until.saturating_duration_since(Instant::now()));
            let word = match left {
                Some(left) => words.recv_timeout(left),
                None => words.recv().map_err(RecvTimeoutError::from),
            };
            let left = || lease.map_or(GRACE, |(_, end)| end.saturating_duration_since(Instant::now()));
            match word {
                Ok(word) if word == END => break GRACE,
                Ok(word) => lease = word.parse().ok().and_then(|ms| lease_of(Duration::from_millis(ms))),
                Err(_) => break left().min(GRACE),
            }
        };
        *self.ending.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.end(grace);
    }

    /// A signal for the command alone.
    fn signal_command(&self, signal: Signal) {
        crate::signals::send_raw(self.child, signal, false);
    }

    /// Asks all of the command to end, and kills it after a while.
    #[cfg(target_os = "linux")]
    fn end(&self, grace: Duration) {
        use crate::descendants::{Reach, any_left, signal_all, sweep};
        signal_all(Signal::TERM);
        signal_all(Signal::CONT);
        let end = Instant::now() + grace;
        while any_left() && Instant::now() < end {
            std::thread::sleep(LOOK);
        }
        sweep(Reach::Looked);
        let _ = self.terminal;
    }

    #[cfg(not(target_os = "linux"))]
    fn end(&self, grace: Duration) {
        let send = |signal| match self.terminal {
            true => self.signal_command(signal),
            // the guard leads the group
            false => crate::signals::send_raw(std::process::id(), signal, true),
        };
        send(Signal::TERM);
        send(Signal::CONT);
        let end = Instant::now() + grace;
        while crate::signals::lives(self.child) && Instant::now() < end {
            std::thread::sleep(LOOK);
        }
        send(Signal::KILL);
    }
}

/// The time between two looks at a command that ends.
const LOOK: Duration = Duration::from_millis(20);

/// The moment at which a runner counts as stopped, and the end of a lease of this length.
fn lease_of(left: Duration) -> Option<(Instant, Instant)> {
    let now = Instant::now();
    Some((now.checked_add(left * STOPPED_AFTER.0 / STOPPED_AFTER.1)?, now.checked_add(left)?))
}
