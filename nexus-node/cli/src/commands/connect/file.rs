//! Changes a file of another program: as a whole or not at all, with a copy of the old file beside it.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use nexus_node::api::Problem;

/// The most backups of a file.
const BACKUPS_MAX: u32 = 1_000;

/// The result of a change.
pub(super) struct Written {
    pub(super) changed: bool,
    /// The copy of the old file.
    pub(super) backup: Option<PathBuf>,
}

/// Changes a file, or creates it. A file with the right content is not written.
pub(super) fn change(path: &Path, to: &dyn Fn(&str) -> Result<String, String>) -> Result<Written, Problem> {
    let failed = |what: &str, error: io::Error| {
        Problem::new("failed", format!("{what} {}: {error}", path.display())).hint("nothing was changed")
    };
    // A link to a file elsewhere stays a link.
    let real = match fs::canonicalize(path) {
        Ok(real) => real,
        Err(error) if error.kind() == io::ErrorKind::NotFound => path.to_owned(),
        Err(error) => return Err(failed("cannot find", error)),
    };
    let before = match fs::read_to_string(&real) {
        Ok(text) => Some(text),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(failed("cannot read", error)),
    };
    let text = before.as_deref().unwrap_or_default();
    let (mark, text) = match text.strip_prefix('\u{feff}') {
        Some(rest) => ("\u{feff}", rest),
        None => ("", text),
    };
    let after = to(text).map_err(|what| {
        Problem::new("invalid", format!("{} cannot be understood: {what}", path.display()))
            .hint("nothing was changed; mend it, or add the entry by hand: --print shows it")
    })?;
    let after = format!("{mark}{after}");
    if before.as_deref() == Some(after.as_str()) {
        return Ok(Written { changed: false, backup: None });
    }
    let directory = real.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(directory).map_err(|error| failed("cannot make the directory of", error))?;
    let backup = match &before {
        None => None,
        Some(_) => Some(keep(&real).map_err(|error| failed("cannot back up", error))?),
    };
    replace(&real, directory, after.as_bytes()).map_err(|error| failed("cannot write", error))?;
    Ok(Written { changed: true, backup })
}

/// Copies a file to a free name beside it.
fn keep(path: &Path) -> io::Result<PathBuf> {
    for number in 1..=BACKUPS_MAX {
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(if number == 1 { ".bak".to_owned() } else { format!(".bak{number}") });
        let backup = path.with_file_name(name);
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

/// Writes a file beside the old one, and renames it.
fn replace(path: &Path, directory: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut beside = tempfile::NamedTempFile::new_in(directory)?;
    beside.write_all(bytes)?;
    if let Ok(known) = fs::metadata(path) {
        beside.as_file().set_permissions(known.permissions())?;
    }
    beside.as_file().sync_all()?;
    beside.persist(path).map_err(|error| error.error)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_changed_whole_with_the_one_before_beside_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("deep/er/file");
        let made = change(&path, &|text| Ok(format!("{text}a"))).unwrap();
        assert_eq!((made.changed, made.backup), (true, None));
        let changed = change(&path, &|text| Ok(format!("{text}b"))).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "ab");
        assert_eq!(fs::read_to_string(changed.backup.unwrap()).unwrap(), "a");
        let again = change(&path, &|text| Ok(text.to_owned())).unwrap();
        assert_eq!((again.changed, again.backup), (false, None));
        let third = change(&path, &|text| Ok(format!("{text}c"))).unwrap().backup.unwrap();
        assert!(third.to_string_lossy().ends_with("file.bak2"));
        let problem = change(&path, &|_| Err("no".to_owned())).err().unwrap();
        assert_eq!((problem.code, fs::read_to_string(&path).unwrap().as_str()), ("invalid", "abc"));
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 3);
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
        change(&link, &|_| Ok("b".to_owned())).unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::read_to_string(&real).unwrap(), "b");
        assert_eq!(fs::metadata(&real).unwrap().permissions().mode() & 0o777, 0o600);
    }
}
