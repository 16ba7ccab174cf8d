//! The processes below this one: how they are found, signalled and reaped.

use std::collections::BTreeMap;
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitOptions, WaitStatus, getpid, kill_process, wait};

/// The time between two looks at what is left of a command.
const LOOK: Duration = Duration::from_millis(5);

/// Waits for the end of a child, and reaps any other that ends before.
pub(crate) fn ended(main: u32) -> Result<WaitStatus, Errno> {
    let main = i32::try_from(main).ok().and_then(Pid::from_raw);
    loop {
        match wait(WaitOptions::empty()) {
            Ok(Some((pid, status))) if Some(pid) == main => return Ok(status),
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error),
        }
    }
}

/// Kills whatever a command left behind, until nothing is left.
pub(crate) fn sweep() {
    loop {
        signal_all(Signal::KILL);
        match wait(WaitOptions::NOHANG) {
            Ok(None) => std::thread::sleep(LOOK),
            Ok(Some(_)) | Err(Errno::INTR) => {}
            Err(_) => return,
        }
    }
}

/// Whether a process below this one is alive. A process that has ended and was not reaped is not alive.
pub(crate) fn any_left() -> bool {
    descendants().into_iter().any(|pid| {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero()));
        let state = stat.ok().and_then(|stat| stat.rsplit(')').next()?.split_whitespace().next().map(str::to_owned));
        state.is_some_and(|state| state != "Z" && state != "X")
    })
}

/// Sends a signal to all processes below this one.
pub(crate) fn signal_all(signal: Signal) {
    for pid in descendants() {
        // a process that is gone needs no signal
        let _ = kill_process(pid, signal);
    }
}

/// All processes below this one.
fn descendants() -> Vec<Pid> {
    let mut parents: BTreeMap<i32, Vec<i32>> = BTreeMap::new();
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else { continue };
        let Ok(stat) = std::fs::read_to_string(entry.path().join("stat")) else { continue };
        // the name before it may have anything in it, also brackets
        let parent = stat.rsplit(')').next().and_then(|rest| rest.split_whitespace().nth(1)?.parse().ok());
        parents.entry(parent.unwrap_or(0)).or_default().push(pid);
    }
    let (mut found, mut next) = (Vec::new(), vec![getpid().as_raw_nonzero().get()]);
    while let Some(parent) = next.pop() {
        for pid in parents.remove(&parent).unwrap_or_default() {
            found.extend(Pid::from_raw(pid));
            next.push(pid);
        }
    }
    found
}
