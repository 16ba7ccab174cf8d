//! The settings of the allocator for a small idle node.
//!
//! By itself, glibc raises the size up to which it keeps freed memory. After a burst (an import, a new
//! segment of the search index) an idle node would hold tens of MiB for ever. glibc reads its two
//! settings at the start of a process, so the daemon starts once more with them. Setting them from
//! inside would take unsafe code.

/// glibc's initial value. A value that is set stays fixed.
const KEEP_BYTES: &str = "131072";
const SETTINGS: [&str; 2] = ["MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_"];

/// Starts this program once more with the settings, unless it has them. The process id stays the same.
/// Must be called before anything else.
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
        // on failure the node runs without the settings, with some more memory
        let _ = std::os::unix::process::CommandExt::exec(&mut again);
    }
}
