//! The file of a service: its path, and its change as a whole.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use directories::BaseDirs;
use nexus_node::api::Problem;

use super::plan::is_for;
use super::systemd::UNIT;
use super::words::{Scope, is_ours};

/// The largest file that is read. Ours are far smaller.
const BYTES_MAX: u64 = 64 << 10;

/// The place of a service's file.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub(super) path: PathBuf,
}

/// The content of the place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Found {
    Nothing,
    /// A file of this program, with its text.
    Ours(String),
    Foreign,
}

impl Place {
    pub(super) fn of(scope: Scope) -> Result<Self, Problem> {
        let directory = match scope {
            Scope::System => PathBuf::from("/etc/systemd/system"),
            Scope::User => {
                let base =
                    BaseDirs::new().ok_or_else(|| Problem::new("failed", "this account has no home directory"))?;
                base.config_dir().join("systemd/user")
            }
        };
        Ok(Self { path: directory.join(UNIT) })
    }

    /// The file there, unchanged.
    pub(super) fn found(&self) -> Result<Found, Problem> {
        let length = match fs::metadata(&self.path) {
            Ok(known) => known.len(),
            // a link without an end is somebody's, too
            Err(error) if error.kind() == io::ErrorKind::NotFound && fs::symlink_metadata(&self.path).is_err() => {
                return Ok(Found::Nothing);
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Found::Foreign),
            Err(error) => return Err(self.failed("cannot be read", &error)),
        };
        if length > BYTES_MAX {
            return Ok(Found::Foreign);
        }
        let bytes = fs::read(&self.path).map_err(|error| self.failed("cannot be read", &error))?;
        Ok(match String::from_utf8(bytes) {
            Ok(text) if is_ours(&text) => Found::Ours(text),
            _ => Found::Foreign,
        })
    }

    /// Whether a service of ours there starts the node of a directory.
    pub(super) fn starts(&self, data_dir: &Path) -> bool {
        matches!(self.found(), Ok(Found::Ours(text)) if is_for(&text, data_dir))
    }

    /// Replaces the file: as a whole or not at all.
    pub(super) fn write(&self, text: &str) -> Result<(), Problem> {
        let failed = |error: io::Error| self.failed("cannot be written", &error);
        let directory = self.path.parent().unwrap_or(Path::new("."));
        fs::create_dir_all(directory).map_err(failed)?;
        let mut beside = tempfile::NamedTempFile::new_in(directory).map_err(failed)?;
        beside.write_all(text.as_bytes()).map_err(failed)?;
        // it holds no secret, and the service manager of the machine warns of other modes
        beside.as_file().set_permissions(fs::Permissions::from_mode(0o644)).map_err(failed)?;
        beside.as_file().sync_all().map_err(failed)?;
        beside.persist(&self.path).map_err(|error| failed(error.error))?;
        Ok(())
    }

    /// Deletes the file, and the link by which systemd starts it.
    pub(super) fn delete(&self) -> Result<(), Problem> {
        fs::remove_file(&self.path).map_err(|error| self.failed("cannot be deleted", &error))?;
        let (Some(directory), Some(name)) = (self.path.parent(), self.path.file_name()) else { return Ok(()) };
        for target in ["default.target.wants", "multi-user.target.wants"] {
            let link = directory.join(target).join(name);
            if link.is_symlink() {
                // without the file it starts nothing; systemd warns of it, and goes on
                let _ = fs::remove_file(link);
            }
        }
        Ok(())
    }

    fn failed(&self, what: &str, error: &io::Error) -> Problem {
        Problem::new("failed", format!("{} {what}: {error}", self.path.display())).hint("nothing was changed")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::service::linux::words::mark;

    #[test]
    fn a_file_of_somebody_else_is_told_from_ours_and_from_none() {
        let directory = tempfile::tempdir().unwrap();
        let place = Place { path: directory.path().join("a/b/nexus-node.service") };
        assert_eq!(place.found(), Ok(Found::Nothing));
        let text = format!("# {}\n", mark());
        place.write(&text).unwrap();
        assert_eq!(place.found(), Ok(Found::Ours(text)));
        for foreign in [&b"[Service]\n"[..], b"", b"\xff\xfe"] {
            fs::write(&place.path, foreign).unwrap();
            assert_eq!(place.found(), Ok(Found::Foreign));
        }
        fs::write(&place.path, vec![b'#'; 70_000]).unwrap();
        assert_eq!(place.found(), Ok(Found::Foreign));
        place.delete().unwrap();
        assert_eq!(place.found(), Ok(Found::Nothing));
        assert_eq!(fs::read_dir(place.path.parent().unwrap()).unwrap().count(), 0, "nothing is left beside it");
    }

    #[test]
    fn a_masked_unit_is_not_ours_and_the_link_that_starts_ours_goes_with_it() {
        let directory = tempfile::tempdir().unwrap();
        let place = Place { path: directory.path().join("nexus-node.service") };
        std::os::unix::fs::symlink("/dev/null", &place.path).unwrap();
        assert_eq!(place.found(), Ok(Found::Foreign));
        fs::remove_file(&place.path).unwrap();
        std::os::unix::fs::symlink("/nowhere/at/all", &place.path).unwrap();
        assert_eq!(place.found(), Ok(Found::Foreign));
        fs::remove_file(&place.path).unwrap();
        place.write("x").unwrap();
        let wants = directory.path().join("default.target.wants");
        fs::create_dir(&wants).unwrap();
        std::os::unix::fs::symlink(&place.path, wants.join("nexus-node.service")).unwrap();
        place.delete().unwrap();
        assert_eq!(fs::read_dir(&wants).unwrap().count(), 0);
    }
}
