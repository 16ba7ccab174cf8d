//! The sandbox that this machine has for commands of workers.

use super::check::Check;

#[cfg(target_os = "linux")]
pub(super) fn check() -> Check {
    use crate::sandbox::{Level, abi, bwrap, try_level, try_own_tmp};

    let landlock = abi().map_or("no Landlock".to_owned(), |abi| format!("Landlock of ABI {abi} or later"));
    let bubblewrap = bwrap().map_or("no bwrap".to_owned(), |path| path.display().to_string());
    match (try_level(Level::Full), try_level(Level::Kernel)) {
        (Ok(()), _) => Check::good("sandbox", format!("full: {landlock}, seccomp, {bubblewrap}")),
        (Err(short), Ok(())) => {
            let tmp = try_own_tmp().err().map_or_else(|| "an own /tmp".to_owned(), |why| format!("no own /tmp: {why}"));
            Check::good("sandbox", format!("kernel: {landlock}, seccomp, {tmp}; not full: {short}"))
        }
        (_, Err(short)) => Check::warning(
            "sandbox",
            format!("none: a worker's command may do whatever this account may ({landlock}, {bubblewrap}): {short}"),
            "Linux 6.12 or later with Landlock; until then let workers serve those alone whom you trust",
        ),
    }
}

#[cfg(not(target_os = "linux"))]
pub(super) fn check() -> Check {
    Check::good("sandbox", "none: commands of workers have one on Linux alone")
}
