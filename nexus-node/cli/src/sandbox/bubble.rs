//! Namespaces, by bubblewrap: other processes, and files that nothing allows, are not there at all.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::Policy;
use super::mounts::TMP;
use super::policy::SYSTEM;

/// The arguments of `bwrap` before the program that it starts.
pub(super) fn arguments(policy: &Policy, program: &Path, here: &Path) -> Vec<OsString> {
    let mut arguments: Vec<OsString> = [
        "--die-with-parent",
        "--new-session",
        "--unshare-user",
        "--unshare-pid",
        "--unshare-ipc",
        "--unshare-uts",
        "--unshare-cgroup-try",
        "--cap-drop",
        "ALL",
        "--proc",
        "/proc",
        "--dev",
        "/dev",
    ]
    .map(OsString::from)
    .to_vec();
    if !policy.net {
        arguments.push("--unshare-net".into());
    }
    match &policy.tmp {
        Some(tmp) => arguments.extend(["--bind".into(), tmp.into(), TMP.into()]),
        None => arguments.extend(["--tmpfs".into(), TMP.into()]),
    }
    let mut bind = |how: &str, from: &Path, to: &Path| {
        arguments.extend([OsString::from(how), from.into(), to.into()]);
    };
    for path in SYSTEM.iter().map(Path::new).chain([Path::new("/etc")]) {
        // a link stays one: `/bin` leads into `/usr` on most machines
        match std::fs::read_link(path) {
            Ok(to) => bind("--symlink", &to, path),
            Err(_) => bind("--ro-bind-try", path, path),
        }
    }
    // the settings of names may lie in `/run`
    let names = Path::new("/etc/resolv.conf").canonicalize().ok();
    let names = names.filter(|names| !names.starts_with("/etc") && !names.starts_with("/usr"));
    for path in names.iter().map(PathBuf::as_path).chain([Path::new("/sys/devices/system/cpu")]) {
        bind("--ro-bind-try", path, path);
    }
    let mut shown: Vec<&Path> = Vec::new();
    for path in policy.read.iter().map(PathBuf::as_path).chain([policy.program.as_path(), program]) {
        // within a directory that is there already nothing can be made
        if !shown.iter().chain(&SYSTEM.map(Path::new)).any(|above| path.starts_with(above)) {
            match std::fs::read_link(path) {
                // a program may look for its files beside what its name leads to
                Ok(to) => bind("--symlink", &to, path),
                Err(_) => bind("--ro-bind", path, path),
            }
            shown.push(path);
        }
    }
    for path in &policy.write {
        bind("--bind", path, path);
    }
    for path in &policy.kept {
        bind("--ro-bind", path, path);
    }
    arguments.extend(["--chdir".into(), here.into(), "--".into()]);
    arguments
}
