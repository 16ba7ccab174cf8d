//! The directory of a task, which goes with it: also one of a worker that was killed.
//!
//! | name in it | content |
//! |---|---|
//! | `task` | the command's files |
//! | `tmp` | the command's own `/tmp` |
//! | `lock` | held by the worker and by the warden, as long as one of them lives |
//!
//! A command may take modes away, and nest directories deeper than any path is long. So nothing here goes down a tree: a
//! directory within a directory moves to the top before it is looked into.

use std::fs::{self, DirEntry, File, TryLockError};
use std::io::{Error, Result};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The beginning of its name.
const PREFIX: &str = "nexus-task-";
/// The name of its lock.
const LOCK: &str = "lock";
/// The beginning of the names of directories on their way out.
const MOVED: &str = "gone-";
/// The time after which an empty directory without a lock is nobody's. A new one has a lock within moments.
const BEGINS: Duration = Duration::from_secs(600);

/// A directory of a task.
#[derive(Debug)]
pub(crate) struct TaskDirectory {
    base: PathBuf,
    /// Held until it is gone.
    #[cfg_attr(not(test), expect(dead_code, reason = "it is there to be open"))]
    lock: File,
}

/// The directories that former workers left behind.
#[derive(Debug, Default)]
pub(crate) struct Leftovers {
    /// The number of directories that were removed.
    pub(crate) removed: usize,
    /// The others, with the reason.
    pub(crate) failed: Vec<(PathBuf, Error)>,
}

impl TaskDirectory {
    pub(crate) fn new() -> Result<Self> {
        Self::below(&std::env::temp_dir())
    }

    fn below(parent: &Path) -> Result<Self> {
        let base = tempfile::Builder::new().prefix(PREFIX).tempdir_in(parent)?;
        // its name is there once it is held
        let new = base.path().join("lock-new");
        let lock = File::create_new(&new)?;
        lock.lock_shared()?;
        fs::rename(new, base.path().join(LOCK))?;
        let real = base.path().canonicalize()?;
        private(&real.join("task"))?;
        private(&real.join("tmp"))?;
        let _ = base.keep();
        Ok(Self { base: real, lock })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.base
    }

    /// The directory that the command may write.
    pub(crate) fn task(&self) -> PathBuf {
        self.base.join("task")
    }

    /// The directory that the command sees as `/tmp`, where the machine can give it one.
    pub(crate) fn tmp(&self) -> PathBuf {
        self.base.join("tmp")
    }

    /// Removes it with all that is in it.
    pub(crate) fn remove(&self) -> Result<()> {
        remove(&self.base)
    }
}

impl Drop for TaskDirectory {
    fn drop(&mut self) {
        // it is gone already, unless something failed
        let _ = self.remove();
    }
}

/// Takes part in holding the lock of a directory.
#[cfg(target_os = "linux")]
pub(crate) fn hold(base: &Path) -> Option<File> {
    let lock = open(&base.join(LOCK)).ok()?;
    lock.try_lock_shared().ok()?;
    Some(lock)
}

/// Removes the directories of this account's workers that live no more.
pub(crate) fn sweep() -> Leftovers {
    sweep_below(&std::env::temp_dir())
}

fn sweep_below(parent: &Path) -> Leftovers {
    let mut left = Leftovers::default();
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        let is_one = entry.file_name().to_str().is_some_and(|name| name.starts_with(PREFIX));
        if !is_one || !is_own_directory(&entry) {
            continue;
        }
        let path = entry.path();
        match abandoned(&path).map(|lock| lock.map(|_held| remove(&path))) {
            Ok(None) => {}
            Ok(Some(Ok(()))) => left.removed += 1,
            Ok(Some(Err(error))) | Err(error) => left.failed.push((path, error)),
        }
    }
    left
}

/// The lock of a directory whose worker lives no more.
fn abandoned(base: &Path) -> Result<Option<Option<File>>> {
    give_back(base)?;
    let lock = base.join(LOCK);
    let is_file = fs::symlink_metadata(&lock).map(|file| file.is_file());
    match is_file {
        Ok(true) => {
            readable(&lock)?;
            let held = open(&lock)?;
            match held.try_lock() {
                Ok(()) => Ok(Some(Some(held))),
                Err(TryLockError::WouldBlock) => Ok(None),
                Err(TryLockError::Error(error)) => Err(error),
            }
        }
        Ok(false) => Ok(None),
        Err(_) => {
            // it begins at this moment, or was removed but for itself
            let age = fs::metadata(base)?.modified()?.elapsed().unwrap_or_default();
            let is_empty = fs::read_dir(base)?.next().is_none();
            Ok((is_empty && age > BEGINS).then_some(None))
        }
    }
}

/// Removes a directory with all that is in it, its lock last.
///
/// # Errors
/// The first error; all else is gone.
pub(crate) fn remove(base: &Path) -> Result<()> {
    let mut first = First(None);
    let (mut number, mut next) = (0u64, Vec::new());
    let lock = base.join(LOCK);
    first.note(give_back(base));
    for entry in listed(base) {
        let (path, is_directory) = (entry.path(), is_directory(&entry));
        match is_directory {
            true => next.push(path),
            false if path == lock => {}
            false => first.note(fs::remove_file(path)),
        }
    }
    while let Some(directory) = next.pop() {
        first.note(give_back(&directory));
        for entry in listed(&directory) {
            if !is_directory(&entry) {
                first.note(fs::remove_file(entry.path()));
                continue;
            }
            // it moves only if it may be written
            first.note(give_back(&entry.path()));
            number += 1;
            let to = base.join(format!("{MOVED}{number}"));
            match fs::rename(entry.path(), &to) {
                Ok(()) => next.push(to),
                Err(error) => first.note(Err(error)),
            }
        }
        first.note(fs::remove_dir(directory));
    }
    if first.0.is_none() {
        let _ = fs::remove_file(lock);
        first.note(fs::remove_dir(base));
    }
    first.0.map_or(Ok(()), Err)
}

/// The first of several errors.
struct First(Option<Error>);

impl First {
    fn note(&mut self, result: Result<()>) {
        if let Err(error) = result {
            self.0.get_or_insert(error);
        }
    }
}

fn listed(directory: &Path) -> impl Iterator<Item = DirEntry> {
    fs::read_dir(directory).into_iter().flatten().flatten()
}

/// Whether it is a directory, and no link to one.
fn is_directory(entry: &DirEntry) -> bool {
    entry.file_type().is_ok_and(|kind| kind.is_dir())
}

#[cfg(unix)]
fn is_own_directory(entry: &DirEntry) -> bool {
    use std::os::unix::fs::MetadataExt;
    let own = rustix::process::geteuid().as_raw();
    // no link is followed
    entry.metadata().is_ok_and(|found| found.is_dir() && found.uid() == own)
}

#[cfg(not(unix))]
fn is_own_directory(entry: &DirEntry) -> bool {
    is_directory(entry)
}

/// Lets its owner do with a directory what is to be done. It is known to be no link.
#[cfg(unix)]
fn give_back(directory: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let mode = fs::symlink_metadata(directory)?.permissions().mode();
    if mode & 0o700 == 0o700 { Ok(()) } else { fs::set_permissions(directory, fs::Permissions::from_mode(0o700)) }
}

#[cfg(unix)]
fn readable(file: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(file, fs::Permissions::from_mode(0o600))
}

#[cfg(not(unix))]
fn give_back(_: &Path) -> Result<()> {
    Ok(())
}

#[cfg(not(unix))]
fn readable(_: &Path) -> Result<()> {
    Ok(())
}

#[cfg(unix)]
fn open(file: &Path) -> Result<File> {
    use std::os::unix::fs::OpenOptionsExt;
    let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
    File::options().read(true).custom_flags(i32::try_from(flags.bits()).unwrap_or(0)).open(file)
}

#[cfg(not(unix))]
fn open(file: &Path) -> Result<File> {
    File::open(file)
}

#[cfg(unix)]
fn private(directory: &Path) -> Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    fs::DirBuilder::new().mode(0o700).create(directory)
}

#[cfg(not(unix))]
fn private(directory: &Path) -> Result<()> {
    fs::create_dir(directory)
}

#[cfg(all(test, unix))]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    fn mode(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    /// The end of a worker without a word.
    fn die(directory: TaskDirectory) {
        let lock = directory.lock.try_clone().unwrap();
        std::mem::forget(directory);
        // the one that was forgotten is a copy, and so is its hold
        lock.unlock().unwrap();
    }

    /// promise: Sandbox | The directory of a task goes with all that is in it: without modes, deeper than a path is long, and with links, which are not followed
    #[test]
    fn a_directory_goes_whatever_is_in_it() {
        let parent = tempfile::tempdir().unwrap();
        let outside = parent.path().join("outside");
        fs::create_dir(&outside).unwrap();
        fs::write(outside.join("precious"), "precious").unwrap();
        let directory = TaskDirectory::below(parent.path()).unwrap();
        let task = directory.task();
        fs::create_dir_all(task.join("a/b/c")).unwrap();
        fs::write(task.join("a/b/c/file"), "x").unwrap();
        symlink(&outside, task.join("a/link")).unwrap();
        symlink(outside.join("precious"), task.join("a/b/file")).unwrap();
        fs::hard_link(outside.join("precious"), task.join("a/hard")).unwrap();
        fs::create_dir(task.join("gone-1")).unwrap();
        // 4,000 levels, by turning a tree upside down: each goes into a new one beside it
        let (mut inner, mut outer) = (task.join("x"), task.join("y"));
        fs::create_dir(&inner).unwrap();
        for _ in 0..4_000 {
            fs::create_dir(&outer).unwrap();
            fs::rename(&inner, outer.join("deep-deep-deep")).unwrap();
            std::mem::swap(&mut inner, &mut outer);
        }
        for path in ["a/b/c", "a/b", "a", ""] {
            mode(&task.join(path), 0);
        }
        mode(directory.path(), 0);
        directory.remove().unwrap();
        assert!(!directory.path().exists());
        let left: Vec<_> = fs::read_dir(parent.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left, ["outside"]);
        assert_eq!(fs::read_to_string(outside.join("precious")).unwrap(), "precious");
    }

    /// promise: Sandbox | A worker removes at its start what a killed worker of its account left behind, and nothing of a living one
    #[test]
    fn what_a_dead_worker_left_goes_and_nothing_else() {
        let parent = tempfile::tempdir().unwrap();
        let (dead, living) =
            (TaskDirectory::below(parent.path()).unwrap(), TaskDirectory::below(parent.path()).unwrap());
        let (dead_path, living_path) = (dead.path().to_owned(), living.path().to_owned());
        fs::write(dead.task().join("file"), "x").unwrap();
        mode(&dead.task(), 0);
        mode(&dead_path.join(LOCK), 0);
        mode(&dead_path, 0);
        die(dead);
        // a warden lives a moment longer than its worker
        let warden = TaskDirectory::below(parent.path()).unwrap();
        let warden_path = warden.path().to_owned();
        #[cfg(target_os = "linux")]
        let held = hold(&warden_path).unwrap();
        #[cfg(not(target_os = "linux"))]
        let held = File::open(warden_path.join(LOCK)).and_then(|lock| lock.lock_shared().map(|()| lock)).unwrap();
        die(warden);
        let begins = parent.path().join(format!("{PREFIX}begins"));
        let other = parent.path().join("another");
        let link = parent.path().join(format!("{PREFIX}link"));
        [&begins, &other].into_iter().for_each(|path| fs::create_dir(path).unwrap());
        symlink(&other, &link).unwrap();
        let left = sweep_below(parent.path());
        assert!(left.removed == 1 && left.failed.is_empty(), "{left:?}");
        assert!(!dead_path.exists());
        assert!([&living_path, &warden_path, &begins, &other, &link].iter().all(|path| path.exists()));
        drop(held);
        assert_eq!(sweep_below(parent.path()).removed, 1);
        assert!(!warden_path.exists() && living_path.exists());
    }
}
