//! `lock run`: a command that runs while a lock is held.

use std::ffi::OsString;
use std::io::{ErrorKind, IsTerminal};
use std::process::ExitStatus;
use std::time::{Duration, Instant, SystemTime};

use clap::Args;
use clap::builder::NonEmptyStringValueParser;
use nexus_node::api::{Problem, wire};
use tokio::process::{Child, Command};
use tokio::task::JoinHandle;

use super::path;
use crate::client::Client;
use crate::output::sane;
use crate::session::CliSession;
use crate::signals::{Forwarded, Signals, send};

/// The share of a lease on which the command counts. The rest is for clocks at different speeds.
const COUNTED_ON: (u32, u32) = (9, 10);
/// The renewals in the time of one lease.
const RENEWALS: u32 = 3;
/// The time between two looks at the clocks: nothing else shows that the machine slept.
const LOOK: Duration = Duration::from_millis(100);
/// The time of a command to end by itself once the lease is lost.
const GRACE: Duration = Duration::from_secs(5);
/// The exit codes of a shell for a command that is not there, and for one that cannot be run.
const NOT_FOUND: i32 = 127;
const NOT_RUNNABLE: i32 = 126;
/// A shell adds this to the number of the signal that ended a command.
const BY_SIGNAL: i32 = 128;

/// Hold a lock while a command runs
#[derive(Debug, Args)]
pub(crate) struct Run {
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    name: String,
    /// The time of the lease, which is renewed while the command runs
    #[arg(long, value_name = "TIME", default_value = "30s")]
    ttl: wire::Span,
    /// The longest wait in line for a held lock [default: no wait]
    #[arg(long, value_name = "TIME")]
    wait: Option<wire::Span>,
    /// The command, after `--`
    #[arg(last = true, required = true, value_name = "CMD")]
    command: Vec<OsString>,
}

/// A moment on both clocks. A machine that sleeps may stop one of them, so the one on which more time has passed counts.
#[derive(Clone, Copy)]
struct Since {
    monotonic: Instant,
    wall: SystemTime,
}

impl Since {
    fn now() -> Self {
        Self { monotonic: Instant::now(), wall: SystemTime::now() }
    }

    fn elapsed(self) -> Duration {
        self.monotonic.elapsed().max(self.wall.elapsed().unwrap_or_default())
    }
}

/// A lease that is kept for the command.
struct Kept {
    client: Client,
    name: String,
    token: u64,
    ttl: Duration,
    /// The earliest beginning of the lease.
    since: Since,
    renewing: Option<(Since, JoinHandle<Result<wire::Lease, Problem>>)>,
}

/// The end of the watch over a lease and its command.
enum Ended {
    Exited(ExitStatus),
    Lost(String),
}

impl Run {
    pub(super) fn run(self, session: &CliSession, client: &Client) -> Result<(), Problem> {
        let Self { name, ttl, wait, command } = self;
        let patient = client.clone().patient(wait.map_or(Duration::ZERO, |wait| wait.0).saturating_add(super::GRACE));
        let since = Since::now();
        let taken = wire::Acquire { ttl: Some(ttl), wait };
        let lease: wire::Lease = patient.post(&path(&name, "acquire"), &taken)?;
        // a lease that was waited for began at its grant, some time before the answer
        let waited = ttl.0.saturating_sub(Duration::from_millis(lease.expires_in_ms));
        let since = if wait.is_some() { before(Since::now(), waited) } else { since };
        let client = client.clone().patient(ttl.0 / RENEWALS);
        let kept = Kept { client, name, token: lease.token, ttl: ttl.0, since, renewing: None };
        let code = CliSession::runtime()?.block_on(kept.during(&command, session));
        std::process::exit(code)
    }
}

/// A moment that is so long before another one.
fn before(moment: Since, ago: Duration) -> Since {
    let monotonic = moment.monotonic.checked_sub(ago).unwrap_or(moment.monotonic);
    Since { monotonic, wall: moment.wall.checked_sub(ago).unwrap_or(moment.wall) }
}

impl Kept {
    /// Runs the command, and gives the lock back. Returns the exit code.
    async fn during(mut self, command: &[OsString], session: &CliSession) -> i32 {
        let mut child = match self.start(command) {
            Ok(child) => child,
            Err(error) => {
                self.release(session).await;
                let program = command.first().map(|program| program.to_string_lossy()).unwrap_or_default();
                let problem = Problem::new("failed", format!("{}: {error}", sane(&program)));
                session.printer.problem(&problem.hint("the command did not begin, and the lock is given back"));
                return if error.kind() == ErrorKind::NotFound { NOT_FOUND } else { NOT_RUNNABLE };
            }
        };
        match self.watch(&mut child).await {
            Ended::Exited(status) => {
                self.release(session).await;
                code_of(status)
            }
            Ended::Lost(why) => {
                end(&mut child).await;
                let message = format!("the lease of {} is lost, and the command was ended: {why}", sane(&self.name));
                let hint = "`nexus-node lock list` shows who holds what";
                let problem = Problem::new("conflict", message).hint(hint);
                session.printer.problem(&problem);
                i32::from(problem.exit())
            }
        }
    }

    fn start(&self, command: &[OsString]) -> std::io::Result<Child> {
        let (program, arguments) = command.split_first().ok_or(ErrorKind::InvalidInput)?;
        let mut command = Command::new(program);
        command.args(arguments).env("NEXUS_LOCK", &self.name).env("NEXUS_LOCK_TOKEN", self.token.to_string());
        #[cfg(unix)]
        if !on_terminal() {
            command.process_group(0);
        }
        command.spawn()
    }

    /// Renews the lease until the command ends or the lease is lost. Hands signals on.
    async fn watch(&mut self, child: &mut Child) -> Ended {
        let mut signals = Signals::new();
        loop {
            tokio::select! {
                exited = child.wait() => match exited {
                    Ok(status) => return Ended::Exited(status),
                    Err(error) => return Ended::Lost(format!("the command cannot be waited for: {error}")),
                },
                // a terminal sends its own Ctrl-C to the command as well
                signal = signals.next() => if signal == Forwarded::Terminate || !on_terminal() {
                    send(child, signal, !on_terminal());
                },
                () = tokio::time::sleep(LOOK) => {}
            }
            if let Err(why) = self.renew().await {
                return Ended::Lost(why);
            }
        }
    }

    /// Begins a renewal in time, and takes in one that ended.
    async fn renew(&mut self) -> Result<(), String> {
        if let Some((asked, renewing)) = self.renewing.take_if(|(_, renewing)| renewing.is_finished()) {
            match renewing.await {
                Ok(Ok(_)) => self.since = asked,
                // it is over, or somebody else's
                Ok(Err(problem)) if ["conflict", "not_found", "refused"].contains(&problem.code) => {
                    return Err(problem.message);
                }
                // it may be renewed in time all the same
                Ok(Err(_)) | Err(_) => {}
            }
        }
        let elapsed = self.since.elapsed();
        if elapsed >= self.ttl * COUNTED_ON.0 / COUNTED_ON.1 {
            return Err("it could not be renewed in time".to_owned());
        }
        if self.renewing.is_none() && elapsed >= self.ttl / RENEWALS {
            let (client, path, token) = (self.client.clone(), path(&self.name, "renew"), self.token);
            let ask = move || client.post(&path, &wire::Renew { token, ttl: None });
            self.renewing = Some((Since::now(), tokio::task::spawn_blocking(ask)));
        }
        Ok(())
    }

    /// Gives the lock back. If that fails, its lease runs out.
    async fn release(self, session: &CliSession) {
        let Self { client, name, token, renewing, .. } = self;
        if let Some((_, renewing)) = renewing {
            // it must not come after the release
            let _ = renewing.await;
        }
        let release_path = path(&name, "release");
        let ask = move || client.post::<wire::Lease>(&release_path, &wire::Release { token });
        if let Ok(Err(problem)) = tokio::task::spawn_blocking(ask).await {
            let message = format!("the lock {} was not given back: {}", sane(&name), problem.message);
            session.printer.warning(&message, Some("its lease runs out by itself"));
        }
    }
}

fn on_terminal() -> bool {
    std::io::stdin().is_terminal()
}

/// The exit code of a shell for this end.
fn code_of(status: ExitStatus) -> i32 {
    #[cfg(unix)]
    if let Some(signal) = std::os::unix::process::ExitStatusExt::signal(&status) {
        return BY_SIGNAL + signal;
    }
    status.code().unwrap_or(BY_SIGNAL)
}

/// Ends a command: it is asked to, and killed after a while.
async fn end(child: &mut Child) {
    send(child, Forwarded::Terminate, !on_terminal());
    if tokio::time::timeout(GRACE, child.wait()).await.is_err() {
        send(child, Forwarded::Kill, !on_terminal());
        let _ = child.wait().await;
    }
}
