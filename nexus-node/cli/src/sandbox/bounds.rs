//! The bounds of a command as a whole: its processes, and the bytes in its directory. The system counts both by account, so
//! the warden looks from time to time.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::Limits;

/// The time between two looks at the number of all processes, which the system knows by itself.
const GLANCE: Duration = Duration::from_millis(20);
/// The longest time between two looks at the command's own, and the shortest while there are not many more of all.
const LOOK: Duration = Duration::from_secs(1);
/// The share of the time that looking may take.
const SHARE: u32 = 10;
/// The most files that are counted. More are too many.
const FILES_MAX: u64 = 2_000_000;
/// The unit in which the system tells how much of a disk a file takes.
const BLOCK: u64 = 512;

/// A bound that a command went beyond: its code, and a text for people.
pub(super) type Beyond = (&'static str, String);

/// Looks until the command goes beyond one of its limits. `before` is the number of all processes before it began.
pub(super) fn watch(limits: Limits, directory: &Path, before: u64) -> Beyond {
    let (mut looked, mut pause) = (Instant::now(), Duration::ZERO);
    loop {
        // a command that makes processes without end leaves no time to count them, unless that begins at once
        let are_many = limits.processes.is_some_and(|most| processes().saturating_sub(before) > most);
        if are_many || looked.elapsed() >= LOOK.max(pause) {
            let began = Instant::now();
            if let Some(beyond) = look(limits, directory, are_many && looked.elapsed() < pause) {
                return beyond;
            }
            (looked, pause) = (Instant::now(), began.elapsed() * SHARE);
        }
        std::thread::sleep(GLANCE);
    }
}

/// The number of all threads of the machine.
pub(super) fn processes() -> u64 {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let number = text.split_ascii_whitespace().nth(3).and_then(|word| word.split_once('/')?.1.parse().ok());
    number.unwrap_or_default()
}

fn look(limits: Limits, directory: &Path, at_processes_alone: bool) -> Option<Beyond> {
    if let Some(most) = limits.processes
        && crate::descendants::count() as u64 > most
    {
        return Some(("too_many_processes", format!("the command had more than {most} processes at a time")));
    }
    let most = limits.disk.filter(|_| !at_processes_alone)?;
    (used(directory, most) > most)
        .then(|| ("disk_full", format!("the command has more than {most} bytes in its directory")))
}

/// The bytes that a directory takes, as far as it can be looked at, and not much further than `most`: a command may write
/// faster than anybody counts.
fn used(directory: &Path, most: u64) -> u64 {
    let (mut bytes, mut files, mut next) = (0u64, 0u64, vec![PathBuf::from(directory)]);
    while let Some(directory) = next.pop() {
        for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
            // of a link, and not of what it leads to
            let Ok(about) = entry.metadata() else { continue };
            // each of several names has its share of a file
            let names = if about.is_dir() { 1 } else { about.nlink().max(1) };
            bytes = bytes.saturating_add(about.blocks().saturating_mul(BLOCK) / names);
            files += 1;
            if files > FILES_MAX {
                return u64::MAX;
            }
            if bytes > most {
                return bytes;
            }
            if about.is_dir() {
                next.push(entry.path());
            }
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_counted_to_its_bound() {
        let base = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(base.path().join("a/b")).unwrap();
        let kilobytes =
            |name: &str, count: usize| std::fs::write(base.path().join(name), vec![1; count << 10]).unwrap();
        kilobytes("one", 64);
        kilobytes("a/b/two", 64);
        std::fs::hard_link(base.path().join("one"), base.path().join("a/one")).unwrap();
        std::os::unix::fs::symlink("/", base.path().join("a/link")).unwrap();
        let all = used(base.path(), u64::MAX);
        assert!((128 << 10..192 << 10).contains(&all), "a file with two names counts once, a link for itself: {all}");
        assert!(used(base.path(), 1 << 10) > 1 << 10);
        assert!(processes() > 0);
    }
}
