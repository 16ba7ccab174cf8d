//! The settings of the allocator for a small idle node.
//!
//! By itself, glibc raises the size up to which it keeps freed memory. After a burst (an import, a new
//! segment of the search index) an idle node would hold tens of MiB for ever. It also keeps freed memory
//! apart for each of up to eight threads a core. glibc reads its settings at the start of a process, so
//! the daemon starts once more with them. Setting them from inside would take unsafe code.

/// glibc's initial value. A value that is set stays fixed.
const KEEP_BYTES: &str = "131072";
/// Threads share this many places for freed memory. With one, they would wait for each other.
const PLACES: &str = "2";
const SETTINGS: [(&str, &str); 3] =
    [("MALLOC_MMAP_THRESHOLD_", KEEP_BYTES), ("MALLOC_TRIM_THRESHOLD_", KEEP_BYTES), ("MALLOC_ARENA_MAX", PLACES)];

/// Starts this program once more with the settings, unless it has them. The process id stays the same.
/// Must be called before anything else.
pub(crate) fn keep_little() {
    if cfg!(not(all(target_os = "linux", target_env = "gnu"))) {
        return;
    }
    if SETTINGS.iter().any(|(setting, _)| std::env::var_os(setting).is_some()) {
        return;
    }
    #[cfg(unix)]
    if let Ok(program) = std::env::current_exe() {
        let mut again = std::process::Command::new(program);
        again.args(std::env::args_os().skip(1)).envs(SETTINGS);
        if let Some(name) = std::env::args_os().next() {
            std::os::unix::process::CommandExt::arg0(&mut again, name);
        }
        // on failure the node runs without the settings, with some more memory
        let _ = std::os::unix::process::CommandExt::exec(&mut again);
    }
}
