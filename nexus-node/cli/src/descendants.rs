//! The processes below this one: how they are found, signalled and reaped.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitOptions, WaitStatus, getpid, kill_process, wait, waitpid};

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
        // all that have ended, before the next look: a look takes as long as there are processes
        loop {
            match wait(WaitOptions::NOHANG) {
                Ok(None) => break std::thread::sleep(LOOK),
                Ok(Some(_)) | Err(Errno::INTR) => {}
                Err(_) => return,
            }
        }
    }
}

/// Kills the children of this process that it did not start, with all below them: each was left by a child that was killed
/// before it could. Returns whether there were any.
pub(crate) fn sweep_strays(started: &BTreeSet<u32>) -> bool {
    let all = by_parent();
    let own = getpid().as_raw_nonzero().get();
    let is_stray = |pid: &i32| u32::try_from(*pid).is_ok_and(|pid| !started.contains(&pid));
    let strays: Vec<i32> = all.get(&own).into_iter().flatten().copied().filter(is_stray).collect();
    for pid in below(&all, &strays).into_iter().chain(strays.iter().copied().filter_map(Pid::from_raw)) {
        let _ = kill_process(pid, Signal::KILL);
    }
    for pid in strays.iter().copied().filter_map(Pid::from_raw) {
        // the next look sees those that are still there
        let _ = waitpid(Some(pid), WaitOptions::NOHANG);
    }
    !strays.is_empty()
}

/// Whether a process below this one is alive. A process that has ended and was not reaped is not alive.
pub(crate) fn any_left() -> bool {
    descendants().into_iter().any(|pid| {
        let stat = std::fs::read(format!("/proc/{}/stat", pid.as_raw_nonzero()));
        stat.ok().and_then(|stat| Stat::of(&stat)).is_some_and(|stat| ![b'Z', b'X'].contains(&stat.state))
    })
}

/// The number of processes below this one.
pub(crate) fn count() -> usize {
    descendants().len()
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
    below(&by_parent(), &[getpid().as_raw_nonzero().get()])
}

/// The processes of this machine, by their parents.
fn by_parent() -> BTreeMap<i32, Vec<i32>> {
    let mut parents: BTreeMap<i32, Vec<i32>> = BTreeMap::new();
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else { continue };
        let Ok(stat) = std::fs::read(entry.path().join("stat")) else { continue };
        if let Some(stat) = Stat::of(&stat) {
            parents.entry(stat.parent).or_default().push(pid);
        }
    }
    parents
}

/// All processes below these.
fn below(parents: &BTreeMap<i32, Vec<i32>>, above: &[i32]) -> Vec<Pid> {
    let (mut found, mut next) = (Vec::new(), above.to_vec());
    while let Some(parent) = next.pop() {
        for pid in parents.get(&parent).into_iter().flatten() {
            found.extend(Pid::from_raw(*pid));
            next.push(*pid);
        }
    }
    found
}

/// The system's word about a process.
#[derive(Debug, PartialEq, Eq)]
struct Stat {
    state: u8,
    parent: i32,
}

impl Stat {
    /// The name before it is any bytes of the process's choice: brackets, ends of lines, and none of a text.
    fn of(bytes: &[u8]) -> Option<Self> {
        let after = bytes.iter().rposition(|byte| *byte == b')')? + 1;
        let mut words = std::str::from_utf8(&bytes[after..]).ok()?.split_ascii_whitespace();
        Some(Self { state: *words.next()?.as_bytes().first()?, parent: words.next()?.parse().ok()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_found_whatever_its_name_is() {
        let names: [&[u8]; 7] = [b"sh", b"a) R 1 (b", b")", b"", b"two\nlines) S 7 7", b"\xff\xfe", b"\xc3) Z 9"];
        for name in names {
            let stat = [b"42 (", name, b") S 17 42 42 0 -1 4194560\n"].concat();
            assert_eq!(Stat::of(&stat), Some(Stat { state: b'S', parent: 17 }), "{name:?}");
        }
        for nothing in [&b""[..], b"42 (sh", b"42 (sh)", b"42 (sh) S", b"42 (sh) S x"] {
            assert_eq!(Stat::of(nothing), None, "{nothing:?}");
        }
    }
}
