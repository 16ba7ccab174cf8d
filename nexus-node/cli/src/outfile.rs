//! A file that a person names for output: how its content gets there, whatever is there already.
//!
//! | there is | effect |
//! |---|---|
//! | nothing | a new file, by the account's umask |
//! | a plain file | written beside it and renamed, with its mode and owner; in place if it has more names, or another owner |
//! | a symbolic link | the file to which it leads, also one that is not there yet |
//! | a pipe, a device, `/dev/stdout` | written into |
//! | a directory | refused |
//!
//! Nothing is lost before the new content is whole: content for a plain file is never written over the old one before that.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};

use nexus_node::api::Problem;
use tempfile::NamedTempFile;

use crate::output::sane;

/// The most links that lead to a file, as on Linux.
const LINKS_MAX: usize = 40;
/// The size of the pieces in which content is copied, in bytes.
const PIECE_BYTES: usize = 256 * 1024;

/// A place for output that is open. If it is dropped before [`OutFile::keep`], a plain file is as before.
#[derive(Debug)]
pub(crate) struct OutFile {
    path: PathBuf,
    place: Place,
}

#[derive(Debug)]
enum Place {
    /// A pipe, a device, or an open file of this process.
    Through(File),
    /// A plain file, written beside it first.
    Plain { beside: NamedTempFile, real: PathBuf, before: Option<Box<Metadata>> },
}

impl OutFile {
    /// Opens the place. A pipe waits for its reader.
    ///
    /// # Errors
    /// It is a directory, its directory is not there, or this account may not write it.
    pub(crate) fn open(path: &Path) -> Result<Self, Problem> {
        let place = Place::open(path).map_err(|error| unwritten(path, &error))?;
        Ok(Self { path: path.to_owned(), place })
    }

    /// The open file.
    pub(crate) fn file(&self) -> &File {
        self.place.file()
    }

    /// Whether the open file is an empty plain one.
    pub(crate) const fn is_plain(&self) -> bool {
        matches!(self.place, Place::Plain { .. })
    }

    /// Ends the output: what was written is in its place.
    ///
    /// # Errors
    /// An error of the disk.
    pub(crate) fn keep(self) -> Result<(), Problem> {
        let Self { path, place } = self;
        place.keep().map_err(|error| unwritten(&path, &error))
    }
}

/// Writes a file that a person named.
///
/// # Errors
/// As [`OutFile::open`] and [`OutFile::keep`].
pub(crate) fn write(path: &Path, bytes: &[u8]) -> Result<(), Problem> {
    replace(path, bytes).map_err(|error| unwritten(path, &error))
}

/// The same with the disk's error.
///
/// # Errors
/// An error of the disk.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let place = Place::open(path)?;
    place.file().write_all(bytes)?;
    place.keep()
}

pub(crate) fn unwritten(path: &Path, error: &io::Error) -> Problem {
    let place = sane(&path.display().to_string());
    match error.kind() {
        io::ErrorKind::StorageFull => Problem::new("disk_full", format!("{place}: {error}")),
        io::ErrorKind::IsADirectory => Problem::new("conflict", format!("{place} is a directory"))
            .hint("nothing was written; give the path of the file"),
        io::ErrorKind::NotFound => {
            Problem::new("not_found", format!("there is no directory for {place}")).hint("nothing was written")
        }
        _ => Problem::new("failed", format!("{place}: {error}")),
    }
}

/// The end of a chain of symbolic links, which need not be there. An open file of a process stays as it is named, for its
/// link leads nowhere by name.
///
/// # Errors
/// The chain is too long, or cannot be read.
pub(crate) fn behind_links(path: &Path) -> io::Result<PathBuf> {
    let mut path = path.to_owned();
    for _ in 0..LINKS_MAX {
        let is_link = fs::symlink_metadata(&path).is_ok_and(|about| about.is_symlink());
        if !is_link || is_descriptor(&path) {
            return Ok(path);
        }
        let to = fs::read_link(&path)?;
        path = directory_of(&path).join(to);
    }
    Err(io::Error::other("too many symbolic links"))
}

/// Whether a path names the standard output of this process: `-`, `/dev/stdout`, `/dev/fd/1`. A command says nothing else
/// there.
pub(crate) fn is_stdout(path: &Path) -> bool {
    if path.as_os_str() == "-" {
        return true;
    }
    let Ok(real) = behind_links(path) else { return false };
    let mut own = ["/proc/self/fd", "/dev/fd"].into_iter().filter_map(|own| fs::canonicalize(own).ok());
    let directory = fs::canonicalize(directory_of(&real)).ok();
    real.file_name().is_some_and(|name| name == "1") && own.any(|own| Some(own) == directory)
}

/// The directory of a file.
pub(crate) fn directory_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// Whether a path names an open file of a process: `/dev/fd/N`, `/proc/PID/fd/N`.
fn is_descriptor(path: &Path) -> bool {
    let Ok(directory) = fs::canonicalize(directory_of(path)) else { return false };
    directory == Path::new("/dev/fd") || (directory.starts_with("/proc") && directory.ends_with("fd"))
}

impl Place {
    fn open(path: &Path) -> io::Result<Self> {
        let real = behind_links(path)?;
        // an open file goes on where it is
        if is_descriptor(&real) {
            return OpenOptions::new().append(true).open(&real).map(Self::Through);
        }
        let before = match fs::metadata(&real) {
            Ok(about) if about.is_dir() => return Err(io::ErrorKind::IsADirectory.into()),
            // a file that may not be written is not replaced either
            Ok(about) => {
                let file = OpenOptions::new().write(true).open(&real)?;
                if !about.is_file() {
                    return Ok(Self::Through(file));
                }
                Some(about)
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        let mut builder = tempfile::Builder::new();
        builder.prefix(".nexus-out-");
        #[cfg(unix)]
        let mode = before.as_ref().map_or(0o666, |_| 0o600);
        #[cfg(unix)]
        builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(mode));
        let beside = match builder.tempfile_in(directory_of(&real)) {
            // a directory in which it may make no file: the one that is there can be written all the same
            Err(error) if before.is_some() && error.kind() == io::ErrorKind::PermissionDenied => builder.tempfile()?,
            beside => beside?,
        };
        Ok(Self::Plain { beside, real, before: before.map(Box::new) })
    }

    fn file(&self) -> &File {
        match self {
            Self::Through(file) => file,
            Self::Plain { beside, .. } => beside.as_file(),
        }
    }

    fn keep(self) -> io::Result<()> {
        let Self::Plain { beside, real, before } = self else { return Ok(()) };
        let Some(before) = before else {
            beside.as_file().sync_all()?;
            return beside.persist(&real).map(drop).map_err(|error| error.error);
        };
        let is_beside = beside.path().parent() == Some(directory_of(&real));
        if is_beside && has_one_name(&before) && becomes_like(beside.path(), &before) {
            beside.as_file().sync_all()?;
            return beside.persist(&real).map(drop).map_err(|error| error.error);
        }
        over(beside.as_file(), &real)
    }
}

/// Lets a file or a directory have the owner and mode of another one. Returns whether it does.
pub(crate) fn becomes_like(path: &Path, before: &Metadata) -> bool {
    #[cfg(unix)]
    {
        use std::os::unix::fs::{MetadataExt, chown};
        let Ok(about) = fs::metadata(path) else { return false };
        let differs = (about.uid(), about.gid()) != (before.uid(), before.gid());
        // the owner first: a change of it takes some bits of the mode away
        if differs && chown(path, Some(before.uid()), Some(before.gid())).is_err() {
            return false;
        }
    }
    fs::set_permissions(path, before.permissions()).is_ok()
}

#[cfg(unix)]
fn has_one_name(about: &Metadata) -> bool {
    std::os::unix::fs::MetadataExt::nlink(about) == 1
}

#[cfg(not(unix))]
const fn has_one_name(_: &Metadata) -> bool {
    true
}

/// Writes content over a file, which stays the same one.
fn over(mut from: &File, to: &Path) -> io::Result<()> {
    from.rewind()?;
    let mut file = OpenOptions::new().write(true).open(to)?;
    let mut piece = vec![0; PIECE_BYTES];
    let mut bytes = 0;
    loop {
        let read = from.read(&mut piece)?;
        if read == 0 {
            break;
        }
        file.write_all(&piece[..read])?;
        bytes += read as u64;
    }
    file.set_len(bytes)?;
    file.sync_all()
}

#[cfg(all(test, unix))]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, symlink};

    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    /// promise: Commands and API | Output to a plain file keeps its mode, its other names and the links to it, and nothing stays beside it
    #[test]
    fn a_plain_file_stays_what_it_is() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        write(&at("new"), b"1").unwrap();
        assert_eq!(fs::read(at("new")).unwrap(), b"1");
        for bits in [0o600, 0o640, 0o755] {
            fs::set_permissions(at("new"), fs::Permissions::from_mode(bits)).unwrap();
            write(&at("new"), b"two").unwrap();
            assert_eq!((mode(&at("new")), fs::read(at("new")).unwrap()), (bits, b"two".to_vec()));
        }
        // links, in a chain, and one that leads to nothing yet
        symlink("new", at("link")).unwrap();
        symlink(at("link"), at("chain")).unwrap();
        write(&at("chain"), b"3").unwrap();
        symlink("later", at("dangling")).unwrap();
        write(&at("dangling"), b"4").unwrap();
        for (link, to, content) in [("link", "new", b"3"), ("chain", "new", b"3"), ("dangling", "later", b"4")] {
            assert!(fs::symlink_metadata(at(link)).unwrap().is_symlink(), "{link}");
            assert_eq!(fs::read(at(to)).unwrap(), content);
        }
        // another name of the same file
        fs::hard_link(at("new"), at("name")).unwrap();
        write(&at("name"), b"a longer text").unwrap();
        write(&at("name"), b"5").unwrap();
        assert_eq!((fs::read(at("new")).unwrap(), fs::metadata(at("new")).unwrap().nlink()), (b"5".to_vec(), 2));
        assert_eq!(write(directory.path(), b"6").unwrap_err().code, "conflict");
        assert_eq!(write(&at("no/such"), b"6").unwrap_err().code, "not_found");
        symlink("round", at("round")).unwrap();
        assert_eq!(write(&at("round"), b"6").unwrap_err().code, "failed");
        // an output that ends early changes nothing
        let out = OutFile::open(&at("new")).unwrap();
        out.file().write_all(b"half").unwrap();
        drop(out);
        assert_eq!(fs::read(at("new")).unwrap(), b"5");
        let names = fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().file_name());
        assert!(names.into_iter().all(|name| !name.to_string_lossy().starts_with('.')));
    }

    /// promise: Commands and API | Output to a pipe or a device is written into it
    #[test]
    fn a_pipe_is_written_into() {
        let directory = tempfile::tempdir().unwrap();
        let pipe = directory.path().join("pipe");
        let made = std::process::Command::new("mkfifo").arg(&pipe).status().unwrap();
        assert!(made.success());
        let link = directory.path().join("link");
        symlink("pipe", &link).unwrap();
        for path in [&pipe, &link] {
            let reader = pipe.clone();
            let read = std::thread::spawn(move || fs::read(reader).unwrap());
            write(path, b"through").unwrap();
            assert_eq!(read.join().unwrap(), b"through");
        }
        assert!(fs::symlink_metadata(&pipe).unwrap().file_type().is_fifo());
        write(Path::new("/dev/null"), b"gone").unwrap();
        assert!(fs::symlink_metadata("/dev/null").unwrap().file_type().is_char_device());
    }
}
