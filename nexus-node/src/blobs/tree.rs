//! Directories of a disk: the files to add, and a place for those that come.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use nexus_blobs::{BadCollection, CollectionFile, FILES_MAX, FileKind};

/// The treatment of symbolic links in a directory that is added.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Links {
    /// They stay links. A link that leads out of the directory is refused.
    #[default]
    Keep,
    /// The files to which they lead are added in their place.
    Follow,
    /// A directory with a link is refused.
    Refuse,
}

/// A file of a directory on the disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Its path from the directory, with `/` between the names.
    pub path: String,
    /// Its place on the disk.
    pub source: PathBuf,
    /// Its kind.
    pub kind: FileKind,
    /// Its bytes; of a link those of its target's name.
    pub size: u64,
}

/// The reason why a directory cannot be added, or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BadTree {
    /// A name is not UTF-8, or is none that this platform can have.
    #[error("{}: this name cannot be kept", .0.display())]
    Name(PathBuf),
    /// A socket, a pipe or a device.
    #[error("{}: it is neither a file nor a directory", .0.display())]
    Special(PathBuf),
    /// A link that leads out of the directory, or that is refused.
    #[error("{}: it is a symbolic link to {to}", .link.display())]
    Link {
        /// The link.
        link: PathBuf,
        /// Its target.
        to: String,
    },
    /// A link that leads to a directory in which it is.
    #[error("{}: this link leads to a directory around it", .0.display())]
    Loop(PathBuf),
    /// Two files have names that are the same on this disk.
    #[error("{}: another file of the directory has this name on this disk", .0.display())]
    Collides(PathBuf),
    /// It breaks a rule of form.
    #[error(transparent)]
    Form(#[from] BadCollection),
    /// The disk's.
    #[error("{}: {error}", .path.display())]
    Io {
        /// The place.
        path: PathBuf,
        /// The disk's words.
        error: io::Error,
    },
}

impl BadTree {
    fn io(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |error| Self::Io { path, error }
    }
}

/// The files below a directory, by path. Empty directories are left out: a collection has files alone.
///
/// # Errors
/// All of [`BadTree`] but [`BadTree::Collides`]. Nothing else is left out.
pub fn walk(root: &Path, links: Links) -> Result<Vec<Found>, BadTree> {
    let mut walk = Walk { links, found: Vec::new(), above: Vec::new() };
    walk.directory(root, "")?;
    walk.found.sort_by(|one, other| one.path.cmp(&other.path));
    Ok(walk.found)
}

struct Walk {
    links: Links,
    found: Vec<Found>,
    /// The real places of the directories around the present one.
    above: Vec<PathBuf>,
}

impl Walk {
    fn directory(&mut self, directory: &Path, path: &str) -> Result<(), BadTree> {
        let real = fs::canonicalize(directory).map_err(BadTree::io(directory))?;
        if self.above.contains(&real) {
            return Err(BadTree::Loop(directory.to_owned()));
        }
        self.above.push(real);
        for entry in fs::read_dir(directory).map_err(BadTree::io(directory))? {
            let entry = entry.map_err(BadTree::io(directory))?;
            let source = entry.path();
            let name = entry.file_name().into_string().map_err(|_| BadTree::Name(source.clone()))?;
            let path = if path.is_empty() { name } else { format!("{path}/{name}") };
            self.entry(source, path)?;
        }
        self.above.pop();
        Ok(())
    }

    fn entry(&mut self, source: PathBuf, path: String) -> Result<(), BadTree> {
        let mut about = fs::symlink_metadata(&source).map_err(BadTree::io(&source))?;
        if about.is_symlink() {
            let to = fs::read_link(&source).map_err(BadTree::io(&source))?;
            let refused = |to: &Path| BadTree::Link { link: source.clone(), to: to.display().to_string() };
            match self.links {
                Links::Refuse => return Err(refused(&to)),
                Links::Follow => about = fs::metadata(&source).map_err(BadTree::io(&source))?,
                Links::Keep => {
                    let target = to.to_str().filter(|to| stays_below(&path, to)).ok_or_else(|| refused(&to))?;
                    let size = target.len() as u64;
                    return self.take(Found { path, source, kind: FileKind::Symlink, size });
                }
            }
        }
        if about.is_dir() {
            return self.directory(&source, &path);
        }
        if !about.is_file() {
            return Err(BadTree::Special(source));
        }
        let kind = if is_executable(&about) { FileKind::Executable } else { FileKind::Plain };
        self.take(Found { path, source, kind, size: about.len() })
    }

    fn take(&mut self, found: Found) -> Result<(), BadTree> {
        if self.found.len() == FILES_MAX {
            return Err(BadCollection::TooLarge.into());
        }
        self.found.push(found);
        Ok(())
    }
}

/// Writes the files of a collection below a directory, which begins empty. Nothing is written elsewhere: no file is
/// written twice, and links come after all files.
#[derive(Debug)]
pub struct Unpacker {
    root: PathBuf,
    made: BTreeSet<PathBuf>,
}

impl Unpacker {
    /// An unpacker for an empty directory that is there.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into(), made: BTreeSet::new() }
    }

    /// Makes a file, with the directories around it. Its content is written to the answer, which can be read, too.
    ///
    /// # Errors
    /// [`BadTree::Name`], [`BadTree::Collides`], and the disk's.
    pub fn file(&mut self, file: &CollectionFile) -> Result<File, BadTree> {
        let path = self.place(&file.path)?;
        let mut options = OpenOptions::new();
        // whoever shares content with it reads it again
        options.read(true).write(true).create_new(true);
        #[cfg(unix)]
        if file.kind == FileKind::Executable {
            std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o777);
        }
        options.open(&path).map_err(|error| collides(&path, error))
    }

    /// Makes a symbolic link. All files are to be there before.
    ///
    /// # Errors
    /// [`BadTree::Link`] if it leads out of the directory; [`BadTree::Name`], [`BadTree::Collides`], and the disk's.
    pub fn link(&mut self, file: &CollectionFile, to: &str) -> Result<(), BadTree> {
        let path = self.place(&file.path)?;
        if !stays_below(&file.path, to) {
            return Err(BadTree::Link { link: path, to: to.to_owned() });
        }
        symlink(to, &path).map_err(|error| collides(&path, error))
    }

    fn place(&mut self, path: &str) -> Result<PathBuf, BadTree> {
        let mut place = self.root.clone();
        let mut names = path.split('/').peekable();
        while let Some(name) = names.next() {
            place.push(name);
            if !is_writable(name) {
                return Err(BadTree::Name(place));
            }
            if names.peek().is_some() && !self.made.contains(&place) {
                fs::create_dir(&place).map_err(|error| collides(&place, error))?;
                self.made.insert(place.clone());
            }
        }
        Ok(place)
    }
}

fn collides(path: &Path, error: io::Error) -> BadTree {
    match error.kind() {
        io::ErrorKind::AlreadyExists => BadTree::Collides(path.to_owned()),
        _ => BadTree::io(path)(error),
    }
}

/// Whether a link at a path leads to a place below the directory. Steps up come first: behind a name they could begin
/// at the target of another link.
fn stays_below(path: &str, to: &str) -> bool {
    let (mut depth, mut is_down) = (path.split('/').count() - 1, false);
    if to.is_empty() || to.contains(['\0', '\\']) || to.starts_with('/') {
        return false;
    }
    for name in to.split('/') {
        match name {
            "" | "." => {}
            ".." if depth == 0 || is_down => return false,
            ".." => depth -= 1,
            _ => is_down = true,
        }
    }
    true
}

/// Whether this platform can have a file of this name. Windows reads some names as devices, drives or paths.
fn is_writable(name: &str) -> bool {
    !cfg!(windows) || is_writable_on_windows(name)
}

fn is_writable_on_windows(name: &str) -> bool {
    let stem = name.split('.').next().unwrap_or_default().trim_end().to_ascii_uppercase();
    let numbered = |device: &str| {
        let digit = stem.strip_prefix(device).filter(|rest| rest.chars().count() == 1);
        digit.is_some_and(|digit| digit.contains(|digit: char| digit.is_ascii_digit() || "¹²³".contains(digit)))
    };
    let is_device = ["CON", "PRN", "AUX", "NUL"].contains(&stem.as_str()) || numbered("COM") || numbered("LPT");
    let is_odd = |c: char| c.is_control() || r#"<>:"/\|?*"#.contains(c);
    !is_device && !name.contains(is_odd) && !name.ends_with(['.', ' '])
}

#[cfg(unix)]
fn is_executable(about: &fs::Metadata) -> bool {
    std::os::unix::fs::MetadataExt::mode(about) & 0o111 != 0
}

#[cfg(not(unix))]
fn is_executable(_: &fs::Metadata) -> bool {
    false
}

#[cfg(unix)]
fn symlink(to: &str, path: &Path) -> io::Result<()> {
    std::os::unix::fs::symlink(to, path)
}

/// Links of Windows are made for files or for directories, and need a right of their own.
#[cfg(windows)]
fn symlink(to: &str, path: &Path) -> io::Result<()> {
    let at = path.parent().map_or_else(|| PathBuf::from(to), |parent| parent.join(to));
    if at.is_dir() { std::os::windows::fs::symlink_dir(to, path) } else { std::os::windows::fs::symlink_file(to, path) }
}

#[cfg(not(any(unix, windows)))]
fn symlink(_: &str, _: &Path) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use std::io::Write;

    use nexus_blobs::BlobHash;
    use tempfile::TempDir;

    use super::*;

    fn file(path: &str, kind: FileKind) -> CollectionFile {
        CollectionFile { path: path.to_owned(), hash: BlobHash::of(path.as_bytes()), kind }
    }

    /// promise: Bad input | A directory with names that are the same on this disk, or a link that leads out of it: nothing is written outside
    #[cfg(unix)]
    #[test]
    fn nothing_is_written_outside() {
        let dir = TempDir::new().unwrap();
        let root = dir.path().join("in");
        fs::create_dir(&root).unwrap();
        let mut unpacker = Unpacker::new(&root);
        unpacker.file(&file("a/b", FileKind::Plain)).unwrap().write_all(b"first").unwrap();
        assert!(matches!(unpacker.file(&file("a/b", FileKind::Plain)), Err(BadTree::Collides(_))));
        assert!(matches!(unpacker.file(&file("a", FileKind::Plain)), Err(BadTree::Collides(_))));
        for to in ["../..", "/etc", "b/../../../x", "b/../b", "", "c:\\x"] {
            assert!(matches!(unpacker.link(&file("a/l", FileKind::Symlink), to), Err(BadTree::Link { .. })), "{to}");
        }
        unpacker.link(&file("up", FileKind::Symlink), "a").unwrap();
        // a file below a link is refused: the link is no directory that was made here
        assert!(matches!(unpacker.file(&file("up/c", FileKind::Plain)), Err(BadTree::Collides(_))));
        assert_eq!(fs::read(root.join("a/b")).unwrap(), b"first");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    /// promise: Blobs | A directory is added with its programs and its links; a file that cannot be kept is named, and none is left out
    #[cfg(unix)]
    #[test]
    fn a_directory_is_walked_whole() {
        use std::os::unix::fs::{PermissionsExt, symlink};

        let dir = TempDir::new().unwrap();
        let root = dir.path();
        fs::create_dir_all(root.join("a/empty")).unwrap();
        fs::write(root.join("a/x"), b"12345").unwrap();
        fs::write(root.join("run"), b"#!").unwrap();
        fs::set_permissions(root.join("run"), fs::Permissions::from_mode(0o755)).unwrap();
        symlink("../run", root.join("a/link")).unwrap();
        let seen = |links| {
            let found = walk(root, links)?;
            Ok::<_, BadTree>(found.into_iter().map(|file| (file.path, file.kind, file.size)).collect::<Vec<_>>())
        };
        let of = |path: &str, kind, size| (path.to_owned(), kind, size);
        let kept =
            [of("a/link", FileKind::Symlink, 6), of("a/x", FileKind::Plain, 5), of("run", FileKind::Executable, 2)];
        assert_eq!(seen(Links::Keep).unwrap(), kept);
        assert_eq!(seen(Links::Follow).unwrap()[0], of("a/link", FileKind::Executable, 2));
        assert!(matches!(seen(Links::Refuse), Err(BadTree::Link { .. })));
        symlink("/etc/hostname", root.join("out")).unwrap();
        assert!(matches!(seen(Links::Keep), Err(BadTree::Link { .. })));
        fs::remove_file(root.join("out")).unwrap();
        symlink("..", root.join("a/round")).unwrap();
        assert!(matches!(seen(Links::Follow), Err(BadTree::Loop(_))));
        fs::remove_file(root.join("a/round")).unwrap();
        std::os::unix::net::UnixListener::bind(root.join("socket")).unwrap();
        assert!(matches!(seen(Links::Keep), Err(BadTree::Special(_))));
    }

    /// promise: Bad input | Names that Windows reads as devices, drives or paths are not written there
    #[test]
    fn names_that_windows_reads_otherwise() {
        for name in ["con", "NUL.txt", "com1", "LPT¹.log", "a:b", "a\\b", "a?", "a.", "a ", "\u{1}"] {
            assert!(!is_writable_on_windows(name), "{name:?}");
        }
        for name in ["console", "com", "com10", "a.b", ".a", "é"] {
            assert!(is_writable_on_windows(name), "{name:?}");
        }
    }
}
