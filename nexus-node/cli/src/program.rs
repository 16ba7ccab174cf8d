//! The place of this program on the disk: for commands that start it once more, or have others start it.

use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};

/// Linux adds this to the name of a running program that was removed or replaced.
const REPLACED: &str = " (deleted)";

/// The path of this program. Once another version has taken its place, the path of that one.
///
/// # Errors
/// The system does not tell, as Linux without `/proc`, and it was not called in a way that leads to a file.
pub(crate) fn path() -> io::Result<PathBuf> {
    let is_file = |path: &Path| path.is_file();
    match std::env::current_exe() {
        Ok(path) => Ok(standing(path, is_file)),
        Err(error) => {
            let called = std::env::args_os().next().unwrap_or_default();
            let search = std::env::var_os("PATH").unwrap_or_default();
            let found = called_as(&called, &search, is_file).ok_or(error)?;
            std::path::absolute(found)
        }
    }
}

/// This very program, to start it once more: whatever lies at its path by now, where the system has a name for that.
#[cfg(target_os = "linux")]
pub(crate) fn itself() -> io::Result<PathBuf> {
    let itself = Path::new("/proc/self/exe");
    // not everywhere is there a `/proc`
    if itself.exists() { Ok(itself.to_owned()) } else { path() }
}

/// The same by its path.
#[cfg(not(target_os = "linux"))]
pub(crate) fn itself() -> io::Result<PathBuf> {
    path()
}

/// The path without the mark of a replaced program, if a file is there and none has the mark in its name.
fn standing(path: PathBuf, is_file: impl Fn(&Path) -> bool) -> PathBuf {
    let replaced_by = path.to_str().and_then(|text| text.strip_suffix(REPLACED)).map(PathBuf::from);
    match replaced_by {
        Some(other) if !is_file(&path) && is_file(&other) => other,
        _ => path,
    }
}

/// The file that a shell starts by this word.
fn called_as(called: &OsStr, search: &OsStr, is_file: impl Fn(&Path) -> bool) -> Option<PathBuf> {
    let called = Path::new(called);
    if called.components().count() > 1 {
        return Some(called.to_owned()).filter(|path| is_file(path));
    }
    called.file_name()?;
    std::env::split_paths(search).map(|directory| directory.join(called)).find(|path| is_file(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn only(there: &'static str) -> impl Fn(&Path) -> bool {
        move |path| path == Path::new(there)
    }

    /// promise: Commands and API | A program that was replaced while it runs starts the one in its place
    #[test]
    fn a_replaced_program_stands_where_the_new_one_is() {
        let stands = |path: &str, there| standing(path.into(), only(there));
        assert_eq!(stands("/bin/node (deleted)", "/bin/node"), Path::new("/bin/node"));
        assert_eq!(stands("/bin/node (deleted)", "/bin/node (deleted)"), Path::new("/bin/node (deleted)"));
        assert_eq!(stands("/bin/node (deleted)", "/other"), Path::new("/bin/node (deleted)"));
        assert_eq!(stands("/bin/node", "/bin/node"), Path::new("/bin/node"));
    }

    #[test]
    fn a_word_leads_to_the_file_that_a_shell_starts() {
        let search = std::env::join_paths(["/none", "/bin"]).unwrap();
        let found = |called: &str, there| called_as(called.as_ref(), &search, only(there));
        assert_eq!(found("node", "/bin/node"), Some("/bin/node".into()));
        assert_eq!(found("/opt/node", "/opt/node"), Some("/opt/node".into()));
        assert_eq!(found("./node", "./node"), Some("./node".into()));
        assert_eq!(found("node", "/opt/node"), None);
        assert_eq!(found("./node", "/bin/node"), None);
        assert_eq!(found("", "/bin/"), None);
    }
}
