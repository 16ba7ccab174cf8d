//! Changes a file of another program: as a whole or not at all, with a copy of the old file beside it.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use nexus_node::api::Problem;

use crate::outfile::{self, behind_links};

/// The most backups of a file.
const BACKUPS_MAX: u32 = 1_000;
/// The most backups that are read.
const BACKUPS_READ_MAX: usize = 16;

/// A file as it is.
pub(in crate::commands) struct Held<'a> {
    /// Its text; empty for a file that is missing.
    pub(in crate::commands) text: &'a str,
    pub(in crate::commands) exists: bool,
    path: &'a Path,
}

impl<'a> Held<'a> {
    /// The same file with another text.
    pub(in crate::commands) fn with<'b>(&self, text: &'b str) -> Held<'b>
    where
        'a: 'b,
    {
        Held { text, exists: self.exists, path: self.path }
    }

    /// The texts of the backups, newest first.
    pub(in crate::commands) fn earlier(&self) -> impl Iterator<Item = String> {
        let backups = (1..=BACKUPS_MAX).map(|number| backup(self.path, number)).filter(|path| path.is_file());
        let newest = backups.collect::<Vec<_>>().into_iter().rev().take(BACKUPS_READ_MAX);
        newest.filter_map(|path| fs::read_to_string(path).ok()).map(|text| unmarked(&text).1.to_owned())
    }
}

/// A change of a file that is worked out, and not made yet.
pub(in crate::commands) struct Plan {
    path: PathBuf,
    /// The file behind links.
    real: PathBuf,
    before: Option<String>,
    /// `None` for a file that is to go.
    after: Option<String>,
}

/// The result of a change.
pub(in crate::commands) struct Written {
    pub(in crate::commands) changed: bool,
    /// The copy of the old file.
    pub(in crate::commands) backup: Option<PathBuf>,
}

impl Plan {
    /// Works a change out: `to` gives the new text, or `None` where the file is to go. `mend` is the hint for a file
    /// that `to` cannot read.
    pub(in crate::commands) fn of(
        path: &Path,
        mend: &str,
        to: impl FnOnce(&Held<'_>) -> Result<Option<String>, String>,
    ) -> Result<Self, Problem> {
        // A link to a file elsewhere stays a link.
        let real = match fs::canonicalize(path) {
            Ok(real) => real,
            // a link to a file that is not there yet stays one, too
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                behind_links(path).map_err(|error| failed(path, "cannot find", &error))?
            }
            Err(error) => return Err(failed(path, "cannot find", &error)),
        };
        let before = read(&real).map_err(|error| failed(path, "cannot read", &error))?;
        let (mark, text) = unmarked(before.as_deref().unwrap_or_default());
        let after = to(&Held { text, exists: before.is_some(), path: &real }).map_err(|what| {
            Problem::new("invalid", format!("{} cannot be understood: {what}", path.display())).hint(mend)
        })?;
        let after = after.map(|after| format!("{mark}{after}"));
        Ok(Self { path: path.to_owned(), real, before, after })
    }

    /// Whether the file would be another one.
    pub(in crate::commands) fn changes(&self) -> bool {
        self.before != self.after
    }

    /// Makes the change. A file that is right already is not written.
    pub(in crate::commands) fn write(&self) -> Result<Written, Problem> {
        if !self.changes() {
            return Ok(Written { changed: false, backup: None });
        }
        let failed = |what: &str, error: io::Error| failed(&self.path, what, &error);
        if read(&self.real).map_err(|error| failed("cannot read", error))? != self.before {
            let message = format!("{} was changed by another program meanwhile", self.path.display());
            return Err(Problem::new("conflict", message).hint("that file was left alone: try again"));
        }
        let directory = self.real.parent().unwrap_or(Path::new("."));
        fs::create_dir_all(directory).map_err(|error| failed("cannot make the directory of", error))?;
        let backup = match &self.before {
            None => None,
            Some(_) => Some(keep(&self.real).map_err(|error| failed("cannot back up", error))?),
        };
        match &self.after {
            Some(after) => replace(&self.real, directory, after.as_bytes()),
            None => fs::remove_file(&self.real),
        }
        .map_err(|error| failed("cannot write", error))?;
        Ok(Written { changed: true, backup })
    }
}

fn failed(path: &Path, what: &str, error: &io::Error) -> Problem {
    Problem::new("failed", format!("{what} {}: {error}", path.display())).hint("that file was left alone")
}

/// The text of a file, if there is one.
fn read(path: &Path) -> io::Result<Option<String>> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// A text, apart from its byte order mark.
fn unmarked(text: &str) -> (&'static str, &str) {
    text.strip_prefix('\u{feff}').map_or(("", text), |rest| ("\u{feff}", rest))
}

/// The name of a backup.
fn backup(path: &Path, number: u32) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(if number == 1 { ".bak".to_owned() } else { format!(".bak{number}") });
    path.with_file_name(name)
}

/// Copies a file to a free name beside it.
fn keep(path: &Path) -> io::Result<PathBuf> {
    for number in 1..=BACKUPS_MAX {
        let backup = backup(path, number);
        match fs::File::options().write(true).create_new(true).open(&backup) {
            Ok(_) => {
                // Copies content and permissions.
                fs::copy(path, &backup)?;
                return Ok(backup);
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
    Err(io::Error::other("there are too many backups beside it"))
}

/// Writes a file beside the old one, and renames it. A new one is for its owner alone.
fn replace(path: &Path, directory: &Path, bytes: &[u8]) -> io::Result<()> {
    if path.exists() {
        return outfile::replace(path, bytes);
    }
    let mut beside = tempfile::NamedTempFile::new_in(directory)?;
    beside.write_all(bytes)?;
    beside.as_file().sync_all()?;
    beside.persist(path).map_err(|error| error.error)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(path: &Path, to: impl Fn(&str) -> Option<String>) -> Written {
        Plan::of(path, "mend it", |held| Ok(to(held.text))).unwrap().write().unwrap()
    }

    #[test]
    fn a_file_is_changed_whole_with_the_one_before_beside_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("deep/er/file");
        let made = change(&path, |text| Some(format!("{text}a")));
        assert_eq!((made.changed, made.backup), (true, None));
        let changed = change(&path, |text| Some(format!("{text}b")));
        assert_eq!(fs::read_to_string(&path).unwrap(), "ab");
        assert_eq!(fs::read_to_string(changed.backup.unwrap()).unwrap(), "a");
        let again = change(&path, |text| Some(text.to_owned()));
        assert_eq!((again.changed, again.backup), (false, None));
        let third = change(&path, |text| Some(format!("{text}c"))).backup.unwrap();
        assert!(third.to_string_lossy().ends_with("file.bak2"));
        let problem = Plan::of(&path, "mend it", |_| Err("no".to_owned())).err().unwrap();
        assert_eq!((problem.code, fs::read_to_string(&path).unwrap().as_str()), ("invalid", "abc"));
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 3);
        let mut earlier = Vec::new();
        let gone = Plan::of(&path, "mend it", |held| {
            earlier.extend(held.earlier());
            Ok(None)
        });
        assert!(gone.unwrap().write().unwrap().backup.is_some());
        assert_eq!((earlier, path.exists()), (vec!["ab".to_owned(), "a".to_owned()], false));
        assert!(!Plan::of(&path, "mend it", |_| Ok(None)).unwrap().write().unwrap().changed);
    }

    #[test]
    fn a_file_that_another_program_changes_meanwhile_is_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        fs::write(&path, "a").unwrap();
        let plan = Plan::of(&path, "mend it", |_| Ok(Some("b".to_owned()))).unwrap();
        fs::write(&path, "theirs").unwrap();
        assert_eq!(plan.write().err().unwrap().code, "conflict");
        assert_eq!(fs::read_to_string(&path).unwrap(), "theirs");
    }

    #[cfg(unix)]
    #[test]
    fn links_and_permissions_stay() {
        use std::os::unix::fs::PermissionsExt;
        let directory = tempfile::tempdir().unwrap();
        let (real, link) = (directory.path().join("real"), directory.path().join("link"));
        fs::write(&real, "a").unwrap();
        fs::set_permissions(&real, fs::Permissions::from_mode(0o600)).unwrap();
        std::os::unix::fs::symlink(&real, &link).unwrap();
        change(&link, |_| Some("b".to_owned()));
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::read_to_string(&real).unwrap(), "b");
        assert_eq!(fs::metadata(&real).unwrap().permissions().mode() & 0o777, 0o600);

        let (later, dangling) = (directory.path().join("dots/later"), directory.path().join("dangling"));
        std::os::unix::fs::symlink("dots/later", &dangling).unwrap();
        change(&dangling, |_| Some("c".to_owned()));
        assert!(fs::symlink_metadata(&dangling).unwrap().is_symlink());
        assert_eq!(fs::read_to_string(&later).unwrap(), "c");
    }
}
