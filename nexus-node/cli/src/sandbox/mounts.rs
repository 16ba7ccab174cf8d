//! A view of the files of its own, for a command at the level `kernel`: its own `/tmp` and `/dev/shm`, and no way to write what
//! a person's git obeys.
//!
//! The level `full` has the same from bubblewrap. Here it takes namespaces of mounts, which root has, and others on most machines
//! by a namespace of users. Where there are none, `/tmp` stays out of reach.

use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use rustix::fs::{Mode, OFlags, StatVfsMountFlags, open, statvfs};
use rustix::process::{getegid, geteuid};

use super::Policy;

pub(super) const TMP: &str = "/tmp";
pub(super) const SHM: &str = "/dev/shm";
/// The room in `/dev/shm`: it is memory, which no other limit counts.
const SHM_OPTIONS: &str = "mode=1777,size=256m";

/// Makes the view, and goes to the present directory in it.
pub(super) fn make(policy: &Policy, tmp: &Path) -> Result<(), String> {
    let here = std::env::current_dir().map_err(|error| format!("the present directory: {error}"))?;
    namespace()?;
    change(Path::new("/"), MsFlags::MS_PRIVATE | MsFlags::MS_REC)?;
    for path in &policy.kept {
        bind(path, path)?;
        read_only(path)?;
    }
    let again = below_tmp(policy)?;
    bind(tmp, Path::new(TMP))?;
    for (path, opened, may_write) in &again {
        place(path, opened)?;
        let from = format!("/proc/self/fd/{}", opened.as_raw_fd());
        bind(Path::new(&from), path)?;
        if !may_write {
            // a rule for `/tmp` holds for all below it
            read_only(path)?;
        }
    }
    keep_the_rest(policy);
    if Path::new(SHM).is_dir() {
        let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
        mount(Some("tmpfs"), SHM, Some("tmpfs"), flags, Some(SHM_OPTIONS))
            .map_err(|error| format!("{SHM}: {error}"))?;
    }
    std::env::set_current_dir(&here).map_err(|error| format!("{}: {error}", here.display()))
}

/// Makes all that the command may not write read-only, as far as it can be. Rules of Landlock are about contents and names:
/// modes, owners, times and attributes could be changed otherwise. A mount that stays as it was is no error, since the rules hold.
fn keep_the_rest(policy: &Policy) {
    let written: Vec<&PathBuf> = policy.write.iter().filter(|path| !path.starts_with(TMP)).collect();
    // a mount of its own for each, which stays as it is
    let kept: Vec<PathBuf> = written.into_iter().filter(|path| bind(path, path).is_ok()).cloned().collect();
    let is_written = |path: &Path| path == Path::new(TMP) || kept.iter().any(|kept| path.starts_with(kept));
    let mounts = std::fs::read("/proc/self/mountinfo").unwrap_or_default();
    let points = mounts.split(|byte| *byte == b'\n').filter_map(point);
    for path in points.filter(|path| !is_written(path) && !path.starts_with(TMP)) {
        // one below another one of the same place is out of reach already
        let _ = read_only(&path);
    }
}

/// The place of a mount in its line. Bytes that would end a word are written as three digits there.
fn point(line: &[u8]) -> Option<PathBuf> {
    let word = line.split(|byte| *byte == b' ').nth(4)?;
    let (mut bytes, mut rest) = (Vec::new(), word);
    while let Some((first, after)) = rest.split_first() {
        let digits = after.get(..3).filter(|_| *first == b'\\').and_then(|digits| std::str::from_utf8(digits).ok());
        match digits.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &after[3..];
            }
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    Some(PathBuf::from(std::ffi::OsString::from_vec(bytes)))
}

/// A namespace of mounts, with one of users where this account may not make it otherwise.
fn namespace() -> Result<(), String> {
    if unshare(CloneFlags::CLONE_NEWNS).is_ok() {
        return Ok(());
    }
    let (user, group) = (geteuid().as_raw(), getegid().as_raw());
    unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNS).map_err(|error| format!("namespaces: {error}"))?;
    // the account stays who it is
    for (file, text) in [
        ("setgroups", "deny".to_owned()),
        ("uid_map", format!("{user} {user} 1")),
        ("gid_map", format!("{group} {group} 1")),
    ] {
        std::fs::write(format!("/proc/self/{file}"), text).map_err(|error| format!("namespaces: {file}: {error}"))?;
    }
    Ok(())
}

/// The files below `/tmp` that a command may read or write, from above downwards: path, open file, and whether it may write.
fn below_tmp(policy: &Policy) -> Result<Vec<(PathBuf, OwnedFd, bool)>, String> {
    let writes = policy.write.iter().map(|path| (path, true));
    let reads = policy.read.iter().chain([&policy.program]).map(|path| (path, false));
    let mut all: Vec<(&PathBuf, bool)> = writes.chain(reads).filter(|(path, _)| path.starts_with(TMP)).collect();
    // a path that is in both lists may be written
    all.sort_by_key(|(path, may_write)| (path.components().count(), (*path).clone(), !may_write));
    all.dedup_by_key(|(path, _)| (*path).clone());
    all.into_iter()
        .filter_map(|(path, may_write)| match open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()) {
            Ok(opened) => Some(Ok((path.clone(), opened, may_write))),
            // Landlock's rules leave it out, too
            Err(rustix::io::Errno::NOENT) => None,
            Err(error) => Some(Err(format!("{}: {error}", path.display()))),
        })
        .collect()
}

/// Makes a place in the new `/tmp` for something of the old one.
fn place(path: &Path, opened: &OwnedFd) -> Result<(), String> {
    let no = |error: std::io::Error| format!("{}: {error}", path.display());
    if path.exists() {
        return Ok(());
    }
    let is_directory = rustix::fs::fstat(opened)
        .is_ok_and(|stat| rustix::fs::FileType::from_raw_mode(stat.st_mode) == rustix::fs::FileType::Directory);
    if is_directory {
        return std::fs::create_dir_all(path).map_err(no);
    }
    path.parent().map_or(Ok(()), std::fs::create_dir_all).map_err(no)?;
    std::fs::File::create_new(path).map(drop).map_err(no)
}

fn bind(from: &Path, to: &Path) -> Result<(), String> {
    mount(Some(from), to, None::<&str>, MsFlags::MS_BIND | MsFlags::MS_REC, None::<&str>)
        .map_err(|error| format!("{}: {error}", to.display()))
}

fn change(path: &Path, flags: MsFlags) -> Result<(), String> {
    mount(None::<&str>, path, None::<&str>, flags, None::<&str>).map_err(|error| format!("{}: {error}", path.display()))
}

/// Makes a mount read-only. It keeps what it has: in a namespace of users nothing of that may be taken away.
fn read_only(path: &Path) -> Result<(), String> {
    let now = statvfs(path).map_err(|error| format!("{}: {error}", path.display()))?.f_flag;
    let kept = [
        (StatVfsMountFlags::NOSUID, MsFlags::MS_NOSUID),
        (StatVfsMountFlags::NODEV, MsFlags::MS_NODEV),
        (StatVfsMountFlags::NOEXEC, MsFlags::MS_NOEXEC),
        (StatVfsMountFlags::NOATIME, MsFlags::MS_NOATIME),
        (StatVfsMountFlags::NODIRATIME, MsFlags::MS_NODIRATIME),
        (StatVfsMountFlags::RELATIME, MsFlags::MS_RELATIME),
    ];
    let kept = kept.into_iter().filter(|(one, _)| now.contains(*one)).map(|(_, flag)| flag).collect::<MsFlags>();
    change(path, MsFlags::MS_REMOUNT | MsFlags::MS_BIND | MsFlags::MS_RDONLY | kept)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_place_of_a_mount_may_have_any_name() {
        let line =
            |place: &str| format!("36 35 98:0 /root {place} rw,noatime master:1 - ext3 /dev/root rw").into_bytes();
        for (place, path) in
            [("/", "/"), ("/a\\040b", "/a b"), ("/a\\134b\\012", "/a\\b\n"), ("/a\\9", "/a\\9"), ("/\\04", "/\\04")]
        {
            assert_eq!(point(&line(place)), Some(PathBuf::from(path)), "{place}");
        }
        assert_eq!(point(b""), None);
    }
}
