use std::collections::BTreeSet;

use crate::hash::BlobHash;

/// The most files of a collection.
pub const FILES_MAX: usize = 100_000;
/// The longest path in a collection, in bytes.
pub const PATH_BYTES_MAX: usize = 4_096;
/// The largest blob of links, in bytes.
pub const LINKS_BYTES_MAX: u64 = (FILES_MAX as u64 + 1) * LINK_BYTES as u64;
/// The largest blob of names, in bytes.
pub const NAMES_BYTES_MAX: u64 = 16 << 20;
/// The longest name of a file or directory, in bytes.
const NAME_BYTES_MAX: usize = 255;
/// The size of a link, in bytes: a hash.
const LINK_BYTES: usize = 32;
/// The begin of a blob of names.
const HEADER: &[u8; 13] = b"CollectionV0.";
/// The begin of the kinds behind the names. Iroh's tools read up to it.
const KINDS: &[u8; 12] = b"nexus-kinds1";

/// The files of a directory, in the format of iroh's collections: a blob of links, which has the hashes, and a blob of
/// names, to which the first link leads. The hash of the blob of links is the hash of the directory.
///
/// | blob | content |
/// |---|---|
/// | links | the hash of the names, then the hash of each file, 32 bytes each |
/// | names | `CollectionV0.`, the number of files, then each path behind its length; numbers are LEB128 |
///
/// Iroh has no kinds of files. If a file is not plain, `nexus-kinds1` and a byte for each file follow the names: 0 plain,
/// 1 executable, 2 a symbolic link, whose content is its target.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Collection {
    files: Vec<CollectionFile>,
}

/// A file of a [`Collection`].
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct CollectionFile {
    /// Its path from the directory, with `/` between the names.
    pub path: String,
    /// Its content.
    pub hash: BlobHash,
    /// Its kind.
    pub kind: FileKind,
}

/// The kind of a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum FileKind {
    /// A file.
    #[default]
    Plain,
    /// A program.
    Executable,
    /// A symbolic link. Its content is its target.
    Symlink,
}

/// The reason why files are no collection.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BadCollection {
    /// The path leads out of the directory, or no disk has it.
    #[error("{0:?} is no path below a directory")]
    Path(String),
    /// Two files have the same path.
    #[error("{0:?} is there twice")]
    Twice(String),
    /// A file has the path of a directory.
    #[error("{0:?} is a file and a directory")]
    Below(String),
    /// There are too many files, or their names are too long.
    #[error("a directory has at most {FILES_MAX} files, and {NAMES_BYTES_MAX} bytes of names")]
    TooLarge,
    /// The blobs are not those of a collection.
    #[error("this is no directory")]
    Foreign,
}

impl Collection {
    /// The collection of these files, by path.
    ///
    /// # Errors
    /// [`BadCollection::Path`], [`BadCollection::Twice`], [`BadCollection::Below`], [`BadCollection::TooLarge`].
    pub fn new(mut files: Vec<CollectionFile>) -> Result<Self, BadCollection> {
        files.sort();
        let made = Self::of(files)?;
        if made.names().len() as u64 > NAMES_BYTES_MAX {
            return Err(BadCollection::TooLarge);
        }
        Ok(made)
    }

    /// The hash of the names, by the blob of links.
    ///
    /// # Errors
    /// [`BadCollection::Foreign`], [`BadCollection::TooLarge`].
    pub fn names_of(links: &[u8]) -> Result<BlobHash, BadCollection> {
        if links.len() as u64 > LINKS_BYTES_MAX {
            return Err(BadCollection::TooLarge);
        }
        Self::links_in(links)?.next().ok_or(BadCollection::Foreign)
    }

    /// Whether a blob of this size may be one of links.
    pub const fn may_be_links(size: u64) -> bool {
        size > 0 && size.is_multiple_of(LINK_BYTES as u64) && size <= LINKS_BYTES_MAX
    }

    /// Whether a blob that begins so is one of names.
    pub fn is_names(begin: &[u8]) -> bool {
        begin.starts_with(HEADER)
    }

    /// Reads a collection of any program. A kind that is not known is plain.
    ///
    /// # Errors
    /// All of [`BadCollection`].
    pub fn read(links: &[u8], names: &[u8]) -> Result<Self, BadCollection> {
        let hashes: Vec<BlobHash> = Self::links_in(links)?.skip(1).collect();
        if hashes.len() > FILES_MAX || names.len() as u64 > NAMES_BYTES_MAX {
            return Err(BadCollection::TooLarge);
        }
        let mut rest = names.strip_prefix(HEADER).ok_or(BadCollection::Foreign)?;
        if number(&mut rest)? != hashes.len() as u64 {
            return Err(BadCollection::Foreign);
        }
        let mut files = Vec::with_capacity(hashes.len());
        for hash in hashes {
            let long = usize::try_from(number(&mut rest)?).map_err(|_| BadCollection::Foreign)?;
            let (path, behind) = rest.split_at_checked(long).ok_or(BadCollection::Foreign)?;
            let path = std::str::from_utf8(path).map_err(|_| BadCollection::Foreign)?;
            files.push(CollectionFile { path: path.to_owned(), hash, kind: FileKind::Plain });
            rest = behind;
        }
        let kinds = rest.strip_prefix(KINDS).filter(|kinds| kinds.len() == files.len()).unwrap_or_default();
        for (file, kind) in files.iter_mut().zip(kinds) {
            file.kind = FileKind::of(*kind);
        }
        Self::of(files)
    }

    /// The files, in the order of their links.
    pub fn files(&self) -> &[CollectionFile] {
        &self.files
    }

    /// The blob of names.
    pub fn names(&self) -> Vec<u8> {
        let mut bytes = HEADER.to_vec();
        put_number(&mut bytes, self.files.len() as u64);
        for file in &self.files {
            put_number(&mut bytes, file.path.len() as u64);
            bytes.extend(file.path.as_bytes());
        }
        if self.files.iter().any(|file| file.kind != FileKind::Plain) {
            bytes.extend(KINDS);
            bytes.extend(self.files.iter().map(|file| file.kind as u8));
        }
        bytes
    }

    /// The blob of links.
    pub fn links(&self) -> Vec<u8> {
        let names = BlobHash::of(&self.names());
        let links = std::iter::once(names).chain(self.files.iter().map(|file| file.hash));
        links.flat_map(|link| *link.as_bytes()).collect()
    }

    fn links_in(links: &[u8]) -> Result<impl Iterator<Item = BlobHash>, BadCollection> {
        let (links, rest) = links.as_chunks();
        if rest.is_empty() { Ok(links.iter().copied().map(BlobHash::from_bytes)) } else { Err(BadCollection::Foreign) }
    }

    fn of(files: Vec<CollectionFile>) -> Result<Self, BadCollection> {
        if files.len() > FILES_MAX {
            return Err(BadCollection::TooLarge);
        }
        let mut paths = BTreeSet::new();
        for file in &files {
            if !is_below(&file.path) {
                return Err(BadCollection::Path(file.path.clone()));
            }
            if !paths.insert(file.path.as_str()) {
                return Err(BadCollection::Twice(file.path.clone()));
            }
        }
        for path in &paths {
            let mut above = *path;
            while let Some((directory, _)) = above.rsplit_once('/') {
                if paths.contains(directory) {
                    return Err(BadCollection::Below(directory.to_owned()));
                }
                above = directory;
            }
        }
        Ok(Self { files })
    }
}

impl FileKind {
    const fn of(byte: u8) -> Self {
        match byte {
            1 => Self::Executable,
            2 => Self::Symlink,
            _ => Self::Plain,
        }
    }
}

/// Whether a path stays below its directory on every platform, and has no name that a disk cannot have.
fn is_below(path: &str) -> bool {
    let is_name = |name: &str| !matches!(name, "" | "." | "..") && name.len() <= NAME_BYTES_MAX && !name.contains('\0');
    path.len() <= PATH_BYTES_MAX && path.split('/').all(is_name)
}

fn number(bytes: &mut &[u8]) -> Result<u64, BadCollection> {
    let mut number = 0_u64;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = bytes.split_first().ok_or(BadCollection::Foreign)?;
        *bytes = rest;
        let bits = u64::from(byte & 0x7f);
        if bits << shift >> shift != bits {
            return Err(BadCollection::Foreign);
        }
        number |= bits << shift;
        if byte & 0x80 == 0 {
            return Ok(number);
        }
    }
    Err(BadCollection::Foreign)
}

fn put_number(bytes: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use proptest::prelude::*;

    use super::*;

    fn file(path: &str, kind: FileKind) -> CollectionFile {
        CollectionFile { path: path.to_owned(), hash: BlobHash::of(path.as_bytes()), kind }
    }

    fn kinds() -> impl Strategy<Value = FileKind> {
        (0..3_u8).prop_map(FileKind::of)
    }

    proptest! {
        /// promise: Blobs | A directory comes back as it was added, with the kinds of its files, in whatever order they were named
        #[test]
        fn a_collection_comes_back(files in prop::collection::btree_map("[a-z]{1,3}(/[A-Zé]{1,3}){0,2}", kinds(), 0..20)) {
            let files: Vec<CollectionFile> = files.iter().map(|(path, kind)| file(path, *kind)).collect();
            let Ok(made) = Collection::new(files.iter().rev().cloned().collect()) else { return Ok(()) };
            let (links, names) = (made.links(), made.names());
            prop_assert!(Collection::may_be_links(links.len() as u64) && Collection::is_names(&names));
            prop_assert_eq!(Collection::names_of(&links), Ok(BlobHash::of(&names)));
            prop_assert_eq!(Collection::read(&links, &names).unwrap(), made);
        }

        /// promise: Bad input | Blobs of anybody read as a directory: refused or read, never with a panic, and no path leads out of it
        #[test]
        fn anything_is_refused_or_read(
            links in prop::collection::vec(any::<u8>(), 0..200),
            names in prop::collection::vec(any::<u8>(), 0..200),
            at in 0..60_usize,
        ) {
            let mut crafted = [HEADER.as_slice(), &names].concat();
            for names in [&names, &crafted] {
                let _ = Collection::read(&links, names);
            }
            let made = Collection::new(vec![file("a/b", FileKind::Symlink), file("c", FileKind::Plain)]).unwrap();
            crafted = made.names();
            let at = at % crafted.len();
            crafted[at] = names.first().copied().unwrap_or(b'/');
            if let Ok(read) = Collection::read(&made.links(), &crafted) {
                prop_assert!(read.files().iter().all(|file| is_below(&file.path)));
            }
        }
    }

    /// promise: Bad input | Paths in a directory that lead out of it, are there twice, or are a file and a directory
    #[test]
    fn paths_that_lead_out_are_refused() {
        let long = "x".repeat(256);
        for path in ["", "/", "/etc/passwd", "..", "a/../b", "./a", "a//b", "a/", "a\0b", long.as_str()] {
            let refused = Collection::new(vec![file(path, FileKind::Plain)]);
            assert_eq!(refused, Err(BadCollection::Path(path.to_owned())), "{path:?}");
        }
        let plain = |paths: &[&str]| Collection::new(paths.iter().map(|path| file(path, FileKind::Plain)).collect());
        assert_eq!(plain(&["a", "b", "a"]), Err(BadCollection::Twice("a".to_owned())));
        assert_eq!(plain(&["a/b", "a/b/c/d", "a/bc"]), Err(BadCollection::Below("a/b".to_owned())));
        assert!(plain(&["a..b", "...", "c:\\d", "é", "a b"]).is_ok());
    }

    /// promise: Bad input | A directory of too many files
    #[test]
    fn too_many_files_are_refused() {
        let files = |count: usize| (0..count).map(|n| file(&n.to_string(), FileKind::Plain)).collect();
        assert!(Collection::new(files(FILES_MAX)).is_ok());
        assert_eq!(Collection::new(files(FILES_MAX + 1)), Err(BadCollection::TooLarge));
        let mut claims_many = HEADER.to_vec();
        put_number(&mut claims_many, u64::MAX);
        assert_eq!(Collection::read(&[0; 64], &claims_many), Err(BadCollection::Foreign));
    }

    /// promise: Blobs | A directory of plain files is iroh's collection, to the byte
    #[test]
    fn a_collection_is_irohs_to_the_byte() {
        let made = Collection::new(vec![file("b/c", FileKind::Plain), file("a", FileKind::Plain)]).unwrap();
        assert_eq!(made.names(), b"CollectionV0.\x02\x01a\x03b/c");
        let links = [made.names().as_slice(), b"a", b"b/c"].map(|content| *BlobHash::of(content).as_bytes()).concat();
        assert_eq!(made.links(), links);
        let made = Collection::new(vec![file("a", FileKind::Executable), file("b", FileKind::Symlink)]).unwrap();
        assert_eq!(made.names(), b"CollectionV0.\x02\x01a\x01bnexus-kinds1\x01\x02");
    }
}
