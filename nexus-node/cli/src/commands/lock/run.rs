//! `lock run`: a command that runs while a lock is held.

use std::ffi::OsString;
use std::io::IsTerminal;
use std::process::ExitStatus;
use std::time::{Duration, Instant, SystemTime};

use clap::Args;
use clap::builder::NonEmptyStringValueParser;
use nexus_client::wire;
use nexus_node::api::Problem;
use tokio::process::{Child, Command};
use tokio::task::JoinHandle;

#[cfg(unix)]
use rustix::process::Signal;

#[cfg(unix)]
use super::ending::END;
use super::ending::{GRACE, code_of, not_begun};
use super::route::{self, path};
use crate::client::Client;
use crate::output::sane;
use crate::session::CliSession;
#[cfg(unix)]
use crate::signals::{FROM_TERMINALS, HANDED_ON, HandedOn, send_raw};
#[cfg(not(unix))]
use crate::signals::{Forwarded, Signals, send};

/// The share of a lease on which the command counts. The rest is for clocks at different speeds.
const COUNTED_ON: (u32, u32) = (9, 10);
/// The renewals in the time of one lease.
const RENEWALS: u32 = 3;
/// The time between two looks at the clocks: nothing else shows that the machine slept.
const LOOK: Duration = Duration::from_millis(100);
/// The time of a guard to kill what its command began.
#[cfg(unix)]
const SWEEP: Duration = Duration::from_secs(2);

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

/// A command that runs, or the guard beside it.
struct Running {
    child: Child,
    /// Tells the guard how long the lease stands. It closes at the end of this process, however that comes.
    #[cfg(unix)]
    alive: std::io::PipeWriter,
}

/// The end of the watch over a lease and its command.
enum Ended {
    Exited(ExitStatus),
    Lost(String),
}

impl Run {
    pub(super) fn run(self, session: &CliSession, client: &Client) -> Result<(), Problem> {
        let Self { name, ttl, wait, command } = self;
        let patient = client.clone().patient(wait.map_or(Duration::ZERO, |wait| wait.0).saturating_add(route::GRACE));
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
        let mut running = match self.start(command, session) {
            Ok(running) => running,
            Err(error) => {
                self.release(session).await;
                return not_begun(command.first(), &error, &session.printer);
            }
        };
        match self.watch(&mut running).await {
            Ended::Exited(status) => {
                self.release(session).await;
                code_of(status)
            }
            Ended::Lost(why) => {
                running.end().await;
                let message = format!("the lease of {} is lost, and the command was ended: {why}", sane(&self.name));
                let hint = "`nexus-node lock list` shows who holds what";
                let problem = Problem::new("conflict", message).hint(hint);
                session.printer.problem(&problem);
                i32::from(problem.exit())
            }
        }
    }

    /// Begins the command, with a guard beside it that ends it with this process.
    #[cfg(unix)]
    fn start(&self, words: &[OsString], session: &CliSession) -> std::io::Result<Running> {
        #[cfg(target_os = "linux")]
        // the processes of a killed guard come here
        rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?;
        let (at, alive) = std::io::pipe()?;
        // the guard is to have it, and nothing else is started here
        rustix::io::fcntl_setfd(&at, rustix::io::FdFlags::empty())?;
        let number = std::os::fd::AsRawFd::as_raw_fd(&at).to_string();
        let mut command = Command::new(crate::program::itself()?);
        command.args(session.printer.json().then_some("--json")).args(["lock-exec", "--alive", &number]);
        command.args(on_terminal().then_some("--terminal")).arg("--").args(words);
        command.env("NEXUS_LOCK", &self.name).env("NEXUS_LOCK_TOKEN", self.token.to_string());
        if !on_terminal() {
            command.process_group(0);
        }
        let mut running = Running { child: command.spawn()?, alive };
        running.stands(self.left());
        Ok(running)
    }

    #[cfg(not(unix))]
    fn start(&self, words: &[OsString], _: &CliSession) -> std::io::Result<Running> {
        let (program, arguments) = words.split_first().ok_or(ErrorKind::InvalidInput)?;
        let mut command = Command::new(program);
        command.args(arguments).env("NEXUS_LOCK", &self.name).env("NEXUS_LOCK_TOKEN", self.token.to_string());
        Ok(Running { child: command.spawn()? })
    }

    /// The time for which the lease stands.
    #[cfg(unix)]
    fn left(&self) -> Duration {
        self.ttl.saturating_sub(self.since.elapsed())
    }

    /// Whether the command may no longer count on the lease.
    fn is_over(&self) -> bool {
        self.since.elapsed() >= self.ttl * COUNTED_ON.0 / COUNTED_ON.1
    }

    /// Renews the lease until the command ends or the lease is lost. Hands signals on.
    async fn watch(&mut self, running: &mut Running) -> Ended {
        let mut signals = caught();
        loop {
            tokio::select! {
                exited = running.child.wait() => return match exited {
                    // the guard ended it while this process was stopped
                    Ok(status) if !status.success() && self.is_over() => Ended::Lost(NOT_RENEWED.to_owned()),
                    Ok(status) => {
                        running.swept(status);
                        Ended::Exited(status)
                    }
                    Err(error) => Ended::Lost(format!("the command cannot be waited for: {error}")),
                },
                signal = signals.next() => running.hand_on(signal),
                () = tokio::time::sleep(LOOK) => {}
            }
            match self.renew().await {
                Err(why) => return Ended::Lost(why),
                #[cfg(unix)]
                Ok(true) => running.stands(self.left()),
                Ok(_) => {}
            }
        }
    }

    /// Begins a renewal in time, and takes in one that ended. Returns whether the lease was renewed.
    async fn renew(&mut self) -> Result<bool, String> {
        let mut renewed = false;
        if let Some((asked, renewing)) = self.renewing.take_if(|(_, renewing)| renewing.is_finished()) {
            match renewing.await {
                Ok(Ok(_)) => {
                    self.since = asked;
                    renewed = true;
                }
                // it is over, or somebody else's
                Ok(Err(problem)) if ["conflict", "not_found", "refused"].contains(&problem.code) => {
                    return Err(problem.message);
                }
                // it may be renewed in time all the same
                Ok(Err(_)) | Err(_) => {}
            }
        }
        let elapsed = self.since.elapsed();
        if self.is_over() {
            return Err(NOT_RENEWED.to_owned());
        }
        if self.renewing.is_none() && elapsed >= self.ttl / RENEWALS {
            let (client, path, token) = (self.client.clone(), path(&self.name, "renew"), self.token);
            let ask = move || client.post(&path, &wire::Renew { token, ttl: None });
            self.renewing = Some((Since::now(), tokio::task::spawn_blocking(ask)));
        }
        Ok(renewed)
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

/// The reason of a lease that ran out.
const NOT_RENEWED: &str = "it could not be renewed in time";

/// The signals that a runner catches. A terminal stops and continues the runner with its command.
#[cfg(unix)]
fn caught() -> HandedOn {
    let stops = [Signal::TSTP, Signal::CONT];
    let caught: Vec<_> = HANDED_ON.into_iter().filter(|kind| !on_terminal() || !stops.contains(kind)).collect();
    HandedOn::new(&caught)
}

#[cfg(not(unix))]
fn caught() -> Signals {
    Signals::new()
}

#[cfg(unix)]
impl Running {
    /// Tells the guard how long the lease stands.
    fn stands(&mut self, left: Duration) {
        self.say(&left.as_millis().to_string());
    }

    fn say(&mut self, word: &str) {
        // a guard that is gone is seen by its end
        let _ = std::io::Write::write_all(&mut self.alive, format!("{word}\n").as_bytes());
    }

    /// Hands a signal on to the command, and to all that it began if it has a process group of its own.
    fn hand_on(&self, signal: Signal) {
        let Some(pid) = self.child.id() else { return };
        if !on_terminal() {
            send_raw(pid, signal, true);
            if signal == Signal::TSTP {
                // a shell waits for that
                send_raw(std::process::id(), Signal::STOP, false);
            }
        } else if !FROM_TERMINALS.contains(&signal) {
            send_raw(pid, signal, false);
        }
    }

    /// Ends the command: it is asked to, and killed after a while.
    async fn end(&mut self) {
        self.say(END);
        if tokio::time::timeout(GRACE + SWEEP, self.child.wait()).await.is_err() {
            if let Some(pid) = self.child.id() {
                send_raw(pid, Signal::KILL, !on_terminal());
            }
            let _ = self.child.wait().await;
            Self::sweep();
        }
    }

    /// Ends what a killed guard left behind.
    fn swept(&self, status: ExitStatus) {
        if std::os::unix::process::ExitStatusExt::signal(&status).is_some() {
            Self::sweep();
        }
    }

    fn sweep() {
        #[cfg(target_os = "linux")]
        crate::descendants::sweep(crate::descendants::Reach::Looked);
    }
}

#[cfg(not(unix))]
impl Running {
    fn hand_on(&mut self, signal: Forwarded) {
        send(&mut self.child, signal, false);
    }

    async fn end(&mut self) {
        send(&mut self.child, Forwarded::Terminate, false);
        let _ = self.child.wait().await;
    }

    #[expect(clippy::unused_self, reason = "as on Unix")]
    fn swept(&self, _: ExitStatus) {}
}
