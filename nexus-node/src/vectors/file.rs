//! The file of vectors: derived from memories, by the hash of their content. It can be deleted at any time.
//!
//! Behind a header that names the model come slots of one size. A slot is a vector with its key and a checksum, or
//! zeros. A vector that nobody needs is overwritten with zeros, so that nothing of a forgotten memory is left.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{File, OpenOptions};
use std::io::{self, BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use super::codes::{Codes, DIMENSION_MAX};
use crate::datadir::DataDir;

/// The first bytes of the file, with the number of its format.
const MAGIC: &[u8; 8] = b"nexvec\x001";
/// The size of the header: the identity of the model fits it.
const HEADER_BYTES: usize = 8_192;
/// The longest name of a model, in bytes.
pub(super) const NAME_BYTES_MAX: usize = 2_048;
/// The name of the file below the directory of vectors.
const FILE: &str = "memories";
const KEY_BYTES: usize = 16;
const CHECK_BYTES: usize = 8;

/// The hash of a memory's content.
pub(crate) type Key = [u8; KEY_BYTES];

/// The model by which vectors were made. Vectors of another one cannot be compared with them.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ModelIdentity {
    /// The embedder with the model, as it was asked.
    pub(crate) name: String,
    pub(crate) dimension: usize,
    /// The vector that it gives for a fixed text: another model under the same name gives another one. `None` for a
    /// model whose name tells its content.
    pub(crate) probe: Option<Codes>,
}

/// The file of vectors in a data directory.
pub(super) fn file_in(directory: &Path) -> PathBuf {
    DataDir::vectors_path(directory).join(FILE)
}

/// The place of a vector in the file, and the number of memories with that content.
#[derive(Clone, Copy, Debug)]
struct Slot {
    at: u32,
    memories: u32,
}

/// The open file.
#[derive(Debug)]
pub(super) struct VectorFile {
    file: File,
    dimension: usize,
    slots: BTreeMap<Key, Slot>,
    free: BTreeSet<u32>,
    /// The number of slots, free ones included.
    count: u32,
    /// Whether something was overwritten that is not surely on the disk.
    unsynced: bool,
}

impl VectorFile {
    /// Makes an empty file in the place of any other one.
    pub(super) fn create(path: &Path, identity: &ModelIdentity) -> io::Result<Self> {
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut options = OpenOptions::new();
        options.read(true).write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut file = options.open(path)?;
        file.write_all(&header(identity))?;
        let (slots, free) = (BTreeMap::new(), BTreeSet::new());
        Ok(Self { file, dimension: identity.dimension, slots, free, count: 0, unsynced: false })
    }

    /// Opens a file, with the model of its vectors. `None` for none, a damaged one, or one of another format. A slot that
    /// is not as it was written is free.
    pub(super) fn open(path: &Path) -> io::Result<Option<(ModelIdentity, Self)>> {
        let mut file = match OpenOptions::new().read(true).write(true).open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let mut head = vec![0; HEADER_BYTES];
        if file.read_exact(&mut head).is_err() {
            return Ok(None);
        }
        let Some(identity) = read_header(&head) else { return Ok(None) };
        let slot_bytes = slot_bytes(identity.dimension);
        let (mut slots, mut free, mut count, mut damaged) = (BTreeMap::new(), BTreeSet::new(), 0_u32, Vec::new());
        let mut reader = BufReader::with_capacity(1 << 20, &mut file);
        let mut bytes = vec![0; slot_bytes];
        while count < u32::MAX && reader.read_exact(&mut bytes).is_ok() {
            match read_slot(&bytes) {
                Some((key, _)) if !slots.contains_key(&key) => {
                    slots.insert(key, Slot { at: count, memories: 0 });
                }
                _ => {
                    if bytes.iter().any(|byte| *byte != 0) {
                        damaged.push(count);
                    }
                    free.insert(count);
                }
            }
            count += 1;
        }
        drop(reader);
        let dimension = identity.dimension;
        let mut this = Self { file, dimension, slots, free, count, unsynced: false };
        damaged.into_iter().try_for_each(|at| this.clear(at))?;
        // the rest of a slot that was being written
        this.file.set_len(this.offset(count))?;
        Ok(Some((identity, this)))
    }

    /// The number of vectors.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }

    pub(super) fn contains(&self, key: &Key) -> bool {
        self.slots.contains_key(key)
    }

    /// Reads a vector, and counts one more memory with it.
    pub(super) fn take(&mut self, key: &Key) -> io::Result<Option<Codes>> {
        let Some(slot) = self.slots.get(key).copied() else { return Ok(None) };
        let mut bytes = vec![0; slot_bytes(self.dimension)];
        self.file.seek(SeekFrom::Start(self.offset(slot.at)))?;
        self.file.read_exact(&mut bytes)?;
        let Some((_, codes)) = read_slot(&bytes).filter(|(found, _)| found == key) else {
            self.slots.remove(key);
            self.clear(slot.at)?;
            return Ok(None);
        };
        self.slots.insert(*key, Slot { memories: slot.memories.saturating_add(1), ..slot });
        Ok(Some(codes))
    }

    /// Adds a vector that no memory has yet.
    pub(super) fn add(&mut self, key: Key, codes: &Codes) -> io::Result<()> {
        if self.contains(&key) {
            return Ok(());
        }
        let at = match self.free.pop_first() {
            Some(at) => at,
            None => {
                self.count += 1;
                self.count - 1
            }
        };
        let mut bytes = Vec::with_capacity(slot_bytes(self.dimension));
        bytes.extend(key);
        bytes.extend(codes.scale.to_le_bytes());
        bytes.extend(codes.codes.iter().map(|code| code.to_le_bytes()[0]));
        let check = check_of(&bytes);
        bytes.extend(check);
        self.file.seek(SeekFrom::Start(self.offset(at)))?;
        self.file.write_all(&bytes)?;
        self.slots.insert(key, Slot { at, memories: 0 });
        Ok(())
    }

    /// Counts one memory less with a vector. The vector goes with the last one.
    pub(super) fn release(&mut self, key: &Key) -> io::Result<()> {
        let Some(slot) = self.slots.get_mut(key) else { return Ok(()) };
        slot.memories = slot.memories.saturating_sub(1);
        if slot.memories > 0 {
            return Ok(());
        }
        let at = slot.at;
        self.slots.remove(key);
        self.clear(at)
    }

    /// Removes all vectors that no memory has.
    pub(super) fn sweep(&mut self) -> io::Result<()> {
        let idle = self.slots.iter().filter(|(_, slot)| slot.memories == 0);
        let idle: Vec<(Key, u32)> = idle.map(|(key, slot)| (*key, slot.at)).collect();
        for (key, at) in idle {
            self.slots.remove(&key);
            self.clear(at)?;
        }
        Ok(())
    }

    fn clear(&mut self, at: u32) -> io::Result<()> {
        self.unsynced = true;
        self.free.insert(at);
        self.file.seek(SeekFrom::Start(self.offset(at)))?;
        self.file.write_all(&vec![0; slot_bytes(self.dimension)])
    }

    /// Brings what was removed to the disk.
    pub(super) fn sync(&mut self) -> io::Result<()> {
        if std::mem::take(&mut self.unsynced) { self.file.sync_data() } else { Ok(()) }
    }

    fn offset(&self, at: u32) -> u64 {
        HEADER_BYTES as u64 + u64::from(at) * slot_bytes(self.dimension) as u64
    }
}

const fn slot_bytes(dimension: usize) -> usize {
    KEY_BYTES + 4 + dimension + CHECK_BYTES
}

fn check_of(bytes: &[u8]) -> [u8; CHECK_BYTES] {
    let mut check = [0; CHECK_BYTES];
    check.copy_from_slice(&blake3::hash(bytes).as_bytes()[..CHECK_BYTES]);
    check
}

fn read_slot(bytes: &[u8]) -> Option<(Key, Codes)> {
    let (bytes, check) = bytes.split_at_checked(bytes.len().checked_sub(CHECK_BYTES)?)?;
    let (key, rest) = bytes.split_first_chunk::<KEY_BYTES>()?;
    let (scale, codes) = rest.split_first_chunk::<4>()?;
    if check != check_of(bytes) {
        return None;
    }
    let codes = codes.iter().map(|byte| i8::from_le_bytes([*byte])).collect();
    Some((*key, Codes { codes, scale: f32::from_le_bytes(*scale) }))
}

/// The header: magic, dimension, length and bytes of the name, scale and codes of the probe, checksum.
fn header(identity: &ModelIdentity) -> Vec<u8> {
    let mut bytes = MAGIC.to_vec();
    let small = |size: usize| u32::try_from(size).unwrap_or(u32::MAX).to_le_bytes();
    bytes.extend(small(identity.dimension));
    let name = &identity.name.as_bytes()[..identity.name.len().min(NAME_BYTES_MAX)];
    bytes.extend(small(name.len()));
    bytes.extend(name);
    let probe = identity.probe.as_ref();
    bytes.extend(probe.map_or(0.0, |probe| probe.scale).to_le_bytes());
    bytes.extend(probe.iter().flat_map(|probe| &probe.codes).map(|code| code.to_le_bytes()[0]));
    bytes.resize(HEADER_BYTES - CHECK_BYTES, 0);
    let check = check_of(&bytes);
    bytes.extend(check);
    bytes
}

fn read_header(bytes: &[u8]) -> Option<ModelIdentity> {
    let (bytes, check) = bytes.split_at_checked(HEADER_BYTES - CHECK_BYTES)?;
    if check != check_of(bytes) {
        return None;
    }
    let size = |bytes: &[u8; 4]| usize::try_from(u32::from_le_bytes(*bytes)).ok();
    let rest = bytes.strip_prefix(MAGIC)?;
    let (dimension, rest) = rest.split_first_chunk::<4>()?;
    let (length, rest) = rest.split_first_chunk::<4>()?;
    let (dimension, length) = (size(dimension)?, size(length)?);
    if !(1..=DIMENSION_MAX).contains(&dimension) || length > NAME_BYTES_MAX {
        return None;
    }
    let (name, rest) = rest.split_at_checked(length)?;
    let (scale, rest) = rest.split_first_chunk::<4>()?;
    let scale = f32::from_le_bytes(*scale);
    let codes = rest.get(..dimension)?.iter().map(|byte| i8::from_le_bytes([*byte])).collect();
    let probe = (scale > 0.0).then_some(Codes { codes, scale });
    Some(ModelIdentity { name: String::from_utf8(name.to_vec()).ok()?, dimension, probe })
}

#[cfg(test)]
mod tests {
    use super::super::codes::Unit;
    use super::*;

    fn identity() -> ModelIdentity {
        let probe = Some(codes(9.0));
        ModelIdentity { name: "http://127.0.0.1:1/api/embed#m".to_owned(), dimension: 4, probe }
    }

    fn codes(first: f32) -> Codes {
        Codes::of(&Unit::of(vec![first, 1.0, -2.0, 0.5]).unwrap())
    }

    #[test]
    fn vectors_are_there_after_a_restart_and_gone_once_no_memory_has_them() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("vectors");
        let mut file = VectorFile::create(&path, &identity()).unwrap();
        for n in 1..=3_u8 {
            file.add([n; 16], &codes(f32::from(n))).unwrap();
        }
        drop(file);
        let (found, mut file) = VectorFile::open(&path).unwrap().unwrap();
        assert_eq!(found, identity());
        assert_eq!(file.take(&[2; 16]).unwrap(), Some(codes(2.0)));
        assert_eq!(file.take(&[2; 16]).unwrap(), Some(codes(2.0)));
        assert_eq!(file.take(&[9; 16]).unwrap(), None);
        let has = |key: u8| std::fs::read(&path).unwrap().windows(16).any(|window| window == [key; 16]);
        // one of two memories with that content goes, and then the other one
        file.release(&[2; 16]).unwrap();
        assert!(file.contains(&[2; 16]) && has(2));
        file.release(&[2; 16]).unwrap();
        assert!(!file.contains(&[2; 16]) && !has(2));
        file.sweep().unwrap();
        assert!(!has(1) && !has(3) && file.len() == 0);
        // free slots are used again
        file.add([4; 16], &codes(4.0)).unwrap();
        file.sync().unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().len(), 8_192 + 3 * (16 + 4 + 4 + 8));
    }

    #[test]
    fn a_damaged_slot_is_free_and_a_damaged_header_is_no_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("vectors");
        let mut file = VectorFile::create(&path, &identity()).unwrap();
        file.add([1; 16], &codes(1.0)).unwrap();
        file.add([2; 16], &codes(2.0)).unwrap();
        drop(file);
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[8_192 + 18] ^= 1;
        bytes.truncate(bytes.len() - 1);
        std::fs::write(&path, &bytes).unwrap();
        let (_, file) = VectorFile::open(&path).unwrap().unwrap();
        assert!(file.slots.is_empty());
        drop(file);
        bytes[20] ^= 1;
        std::fs::write(&path, &bytes).unwrap();
        assert!(VectorFile::open(&path).unwrap().is_none());
        std::fs::write(&path, b"no vectors").unwrap();
        assert!(VectorFile::open(&path).unwrap().is_none());
    }
}
