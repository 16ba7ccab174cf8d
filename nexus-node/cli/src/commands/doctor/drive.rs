//! The kind and the free space of a directory's drive.

use std::path::{Path, PathBuf};

use super::check::Check;

/// File systems whose locks and fsyncs cannot be relied on.
const UNRELIABLE: [&str; 11] =
    ["nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "drvfs", "vboxsf", "fuse.sshfs", "fuse.rclone", "afs"];

pub(super) fn kind(path: &Path) -> Check {
    let fix = "move it to a disk of this machine, with --data-dir";
    let Some(path) = existing(path) else { return Check::good("drive", "cannot be told") };
    match kind_of(&path) {
        kind if is_read_only(&path) => Check::bad(
            "drive",
            format!("{} is mounted read-only: no node can run here", kind.as_deref().unwrap_or("the file system")),
            "mount it for writing, or give another directory with --data-dir",
        ),
        kind if may_be_of_windows(kind.as_deref()) && is_windows_drive(&path) => {
            Check::warning("drive", "a drive of Windows seen from Linux: slow, and without locks", fix)
        }
        Some(kind) if UNRELIABLE.contains(&kind.as_str()) => {
            Check::warning("drive", format!("{kind} does not keep what it promises about locks and fsync"), fix)
        }
        Some(kind) => Check::good("drive", kind),
        None => Check::good("drive", "this platform does not tell"),
    }
}

/// Whether the file system takes no writes.
fn is_read_only(path: &Path) -> bool {
    #[cfg(unix)]
    {
        rustix::fs::statvfs(path).is_ok_and(|disk| disk.f_flag.contains(rustix::fs::StatVfsMountFlags::RDONLY))
    }
    #[cfg(not(unix))]
    {
        let _ = path;
        false
    }
}

/// The type of the file system on which a path is, or would be.
pub(in crate::commands) fn kind_of(path: &Path) -> Option<String> {
    let mounts = std::fs::read_to_string("/proc/mounts").ok()?;
    file_system(&mounts, &existing(path)?)
}

/// WSL shows the drives of Windows as these; elsewhere /mnt/c is a directory as any.
fn may_be_of_windows(kind: Option<&str>) -> bool {
    kind.is_none_or(|kind| ["9p", "drvfs"].contains(&kind))
}

/// Whether a path is a Windows drive under WSL, `/mnt/c/…`.
fn is_windows_drive(path: &Path) -> bool {
    let mut parts = path.iter().skip(1).map(|part| part.to_string_lossy());
    let letter = (parts.next().as_deref() == Some("mnt")).then(|| parts.next()).flatten();
    letter.is_some_and(|letter| letter.len() == 1 && letter.chars().all(|c| c.is_ascii_lowercase()))
}

/// The type of a path's file system, from the table of mounts (proc_mounts(5)).
fn file_system(mounts: &str, path: &Path) -> Option<String> {
    let fits = mounts.lines().filter_map(|line| {
        let mut fields = line.split(' ').skip(1);
        let point = PathBuf::from(fields.next()?.replace("\\040", " "));
        let kind = fields.next()?;
        path.starts_with(&point).then(|| (point.components().count(), kind.to_owned()))
    });
    // The deepest mount, and of several on one point the last.
    fits.max_by_key(|(depth, _)| *depth).map(|(_, kind)| kind)
}

/// The bytes of a disk.
#[derive(Clone, Copy, Debug)]
pub(in crate::commands) struct Space {
    pub(in crate::commands) free: u64,
    pub(in crate::commands) total: u64,
}

pub(in crate::commands) fn space(path: &Path) -> Option<Space> {
    let path = existing(path)?;
    #[cfg(unix)]
    {
        let disk = rustix::fs::statvfs(&path).ok()?;
        let bytes = |blocks: u64| blocks.saturating_mul(disk.f_frsize);
        Some(Space { free: bytes(disk.f_bavail), total: bytes(disk.f_blocks) })
    }
    #[cfg(not(unix))]
    {
        let _ = path;
        None
    }
}

/// The path, or its closest existing parent.
fn existing(path: &Path) -> Option<PathBuf> {
    let absolute = std::path::absolute(path).ok()?;
    absolute.ancestors().find_map(|path| path.canonicalize().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_deepest_mount_tells_the_file_system() {
        let mounts = "/dev/a / ext4 rw 0 0\nhost:/x /home nfs4 rw 0 0\n/dev/b /home/me\\040too xfs rw 0 0\n";
        let kind = |path: &str| file_system(mounts, Path::new(path)).unwrap();
        assert_eq!([kind("/srv"), kind("/home/you"), kind("/home/me too/x")], ["ext4", "nfs4", "xfs"]);
    }

    #[test]
    fn windows_drives_are_known_by_their_letter() {
        assert!(is_windows_drive(Path::new("/mnt/c/Users/me")));
        assert!(may_be_of_windows(Some("9p")) && may_be_of_windows(None) && !may_be_of_windows(Some("tmpfs")));
        assert!(!is_windows_drive(Path::new("/mnt/data")) && !is_windows_drive(Path::new("/home/c")));
    }
}
