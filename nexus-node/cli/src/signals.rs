//! The signals to stop.

use std::io;
#[cfg(unix)]
use std::task::Poll;

#[cfg(unix)]
use rustix::process::Signal;
use tokio::process::Child;

/// Resolves at SIGTERM or Ctrl-C. Signals count from this call on, not from the first poll.
#[cfg(unix)]
pub(crate) fn stop() -> io::Result<impl Future<Output = ()>> {
    use tokio::signal::unix::{SignalKind, signal};
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

/// Resolves at Ctrl-C.
#[cfg(not(unix))]
pub(crate) fn stop() -> io::Result<impl Future<Output = ()>> {
    Ok(async {
        // Without a handler there is nothing to wait for.
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    })
}

/// A signal for a command that this program runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Forwarded {
    Terminate,
    Interrupt,
    Kill,
}

/// Sends a signal to a command, and to all that it began if it has a process group of its own.
#[cfg(unix)]
pub(crate) fn send(child: &Child, signal: Forwarded, has_group: bool) {
    if let Some(pid) = child.id() {
        send_to(pid, signal, has_group);
    }
}

/// Sends a signal to a process, or to a process group.
#[cfg(unix)]
pub(crate) fn send_to(pid: u32, signal: Forwarded, is_group: bool) {
    let signal = match signal {
        Forwarded::Terminate => Signal::TERM,
        Forwarded::Interrupt => Signal::INT,
        Forwarded::Kill => Signal::KILL,
    };
    send_raw(pid, signal, is_group);
}

/// Sends any signal to a process, or to a process group.
#[cfg(unix)]
pub(crate) fn send_raw(pid: u32, signal: Signal, is_group: bool) {
    use rustix::process::{Pid, kill_process, kill_process_group};

    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        // a command that is gone needs no signal
        let _ = if is_group { kill_process_group(pid, signal) } else { kill_process(pid, signal) };
    }
}

/// Whether a process is in this process group.
#[cfg(unix)]
pub(crate) fn group_lives(group: u32) -> bool {
    let group = i32::try_from(group).ok().and_then(rustix::process::Pid::from_raw);
    group.is_some_and(|group| rustix::process::test_kill_process_group(group).is_ok())
}

/// Whether a process is there.
#[cfg(all(unix, not(target_os = "linux")))]
pub(crate) fn lives(pid: u32) -> bool {
    let pid = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw);
    pid.is_some_and(|pid| rustix::process::test_kill_process(pid).is_ok())
}

/// The signals that a runner hands on to its command.
#[cfg(unix)]
pub(crate) const HANDED_ON: [Signal; 9] = [
    Signal::TERM,
    Signal::INT,
    Signal::HUP,
    Signal::QUIT,
    Signal::USR1,
    Signal::USR2,
    Signal::WINCH,
    Signal::TSTP,
    Signal::CONT,
];

/// The signals that a terminal, or the shell on it, sends to the whole group by itself.
#[cfg(unix)]
pub(crate) const FROM_TERMINALS: [Signal; 5] = [Signal::INT, Signal::QUIT, Signal::WINCH, Signal::TSTP, Signal::CONT];

/// The signals to hand on, as they come.
#[cfg(unix)]
pub(crate) struct HandedOn(Vec<(Signal, tokio::signal::unix::Signal)>);

#[cfg(unix)]
impl HandedOn {
    /// Signals of these kinds from now on. A kind that is not to be had never comes.
    pub(crate) fn new(kinds: &[Signal]) -> Self {
        use tokio::signal::unix::{SignalKind, signal};
        let stream = |kind: &Signal| Some((*kind, signal(SignalKind::from_raw(kind.as_raw())).ok()?));
        Self(kinds.iter().filter_map(stream).collect())
    }

    pub(crate) async fn next(&mut self) -> Signal {
        std::future::poll_fn(|context| {
            for (kind, stream) in &mut self.0 {
                if stream.poll_recv(context).is_ready() {
                    return Poll::Ready(*kind);
                }
            }
            Poll::Pending
        })
        .await
    }
}

/// There is one way to end a command.
#[cfg(not(unix))]
pub(crate) fn send(child: &mut Child, _: Forwarded, _: bool) {
    let _ = child.start_kill();
}

/// Ctrl-C, as often as it comes.
#[cfg(not(unix))]
pub(crate) struct Signals;

#[cfg(not(unix))]
impl Signals {
    pub(crate) fn new() -> Self {
        Self
    }

    pub(crate) async fn next(&mut self) -> Forwarded {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
        Forwarded::Interrupt
    }
}
