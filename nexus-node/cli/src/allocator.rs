//! How the allocator treats memory that is given back.
//!
//! glibc raises, by itself, the size up to which freed memory is kept for later. After a burst (an
//! import, a new segment of the search index) a node that does nothing would hold tens of MiB for
//! ever. Its two settings are read when a process starts, so the daemon starts once more with
//! them; setting them from inside would take unsafe code.

/// glibc's own initial value, which it then leaves alone.
const KEEP_BYTES: &str = "131072";
const SETTINGS: [&str; 2] = ["MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_"];

/// Starts this program once more with the settings, unless it has them. The process stays the
/// same. Call it before anything else is done.
pub(crate) fn keep_little() {
    if cfg!(not(all(target_os = "linux", target_env = "gnu"))) {
        return;
    }
    if SETTINGS.iter().any(|setting| std::env::var_os(setting).is_some()) {
        return;
    }
    #[cfg(unix)]
    if let Ok(program) = std::env::current_exe() {
        let mut again = std::process::Command::new(program);
        again.args(std::env::args_os().skip(1)).envs(SETTINGS.map(|setting| (setting, KEEP_BYTES)));
        if let Some(name) = std::env::args_os().next() {
            std::os::unix::process::CommandExt::arg0(&mut again, name);
        }
        // if it fails, the node runs as it is, with some more memory
        let _ = std::os::unix::process::CommandExt::exec(&mut again);
    }
}
