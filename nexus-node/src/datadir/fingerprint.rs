use std::fmt;
use std::path::Path;

use borsh::{BorshDeserialize, BorshSerialize};

use super::names::{JOURNAL, PUT_BACK, RAFT, STORE};

/// The files whose replacement tells of a restored backup.
const FILES: [&str; 3] = [STORE, RAFT, JOURNAL];

/// The length of the digest that earlier versions kept: of machine, device and directory.
const DIGEST_BYTES: usize = 32;

/// A sign that a data directory was put back from a copy, or is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub(crate) enum CopySign {
    /// It is on another machine than before.
    Machine,
    /// It is another directory than before.
    Directory,
    /// A file in it is another one than before.
    File(&'static str),
    /// It has an earlier state than it had here.
    Older,
    /// `restore` has made it.
    PutBack,
}

impl fmt::Display for CopySign {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Machine => f.write_str("it is on another machine than before"),
            Self::Directory => f.write_str("it is another directory than before"),
            Self::File(name) => write!(f, "its {name} is another file than before"),
            Self::Older => f.write_str("its state is older than the last one here"),
            Self::PutBack => f.write_str("`restore` made it"),
        }
    }
}

/// Numbers that differ between a data directory and a copy of it: those of the machine, the directory and its files.
///
/// A copy, a restored backup or a cloned disk has others. A node that finds others than those in its store must begin
/// a new incarnation. A false alarm costs one more log, and a voter its vote for a while.
#[derive(BorshSerialize, BorshDeserialize, Clone, Debug, PartialEq, Eq)]
pub(super) struct Fingerprint {
    /// A digest of the machine's id.
    machine: Option<[u8; 32]>,
    directory: Place,
    /// The places of [`FILES`]. A file that is not there yet has none.
    files: [Option<Place>; FILES.len()],
}

/// The place of a file or directory on its disk.
#[derive(BorshSerialize, BorshDeserialize, Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    device: u64,
    inode: u64,
    /// The time of birth in nanoseconds, where the file system keeps it. The number of a removed file's inode is soon
    /// given to another file; the time is not.
    born_ns: Option<u128>,
}

impl Fingerprint {
    /// The numbers of a directory whose store is in the file `store`; `None` where the platform has none.
    pub(super) fn of(directory: &Path, store: &Path) -> Option<Self> {
        let machine = machine_digest();
        let place_of = |name| if name == STORE { Place::of(store) } else { Place::of(&directory.join(name)) };
        Some(Self { machine, directory: Place::of(directory)?, files: FILES.map(place_of) })
    }

    pub(super) fn to_bytes(&self) -> Vec<u8> {
        #[expect(clippy::expect_used, reason = "writing into memory")]
        borsh::to_vec(self).expect("numbers")
    }

    /// The first sign of a copy in these numbers, after those in the store.
    fn sign_since(&self, before: &Self) -> Option<CopySign> {
        if self.machine.is_some_and(|machine| before.machine.is_some_and(|before| before != machine)) {
            return Some(CopySign::Machine);
        }
        if !self.directory.is(&before.directory) {
            return Some(CopySign::Directory);
        }
        // an owner may remove a voter's files, and the next start makes new ones
        let files = FILES.iter().zip(self.files.iter().zip(&before.files));
        let mut pairs = files.filter_map(|(name, (now, before))| Some((name, now.as_ref()?, before.as_ref()?)));
        pairs.find(|(_, now, before)| !now.is(before)).map(|(name, ..)| CopySign::File(name))
    }
}

impl Place {
    #[cfg(unix)]
    fn of(path: &Path) -> Option<Self> {
        use std::os::unix::fs::MetadataExt;
        use std::time::UNIX_EPOCH;

        let metadata = std::fs::metadata(path).ok()?;
        let born = metadata.created().ok().and_then(|born| born.duration_since(UNIX_EPOCH).ok());
        Some(Self { device: metadata.dev(), inode: metadata.ino(), born_ns: born.map(|born| born.as_nanos()) })
    }

    #[cfg(not(unix))]
    fn of(_: &Path) -> Option<Self> {
        None
    }

    /// Whether both are one place, as far as both are known.
    fn is(&self, other: &Self) -> bool {
        let born = self.born_ns.zip(other.born_ns).is_none_or(|(one, other)| one == other);
        (self.device, self.inode) == (other.device, other.inode) && born
    }
}

/// The sign of a copy in a directory whose store holds these bytes of a fingerprint.
pub(super) fn sign_since(directory: &Path, store: &Path, kept: &[u8]) -> Option<CopySign> {
    if kept == PUT_BACK {
        return Some(CopySign::PutBack);
    }
    if is_digest(kept) {
        let digest = digest(directory)?;
        return (digest != kept).then_some(CopySign::Directory);
    }
    // a later version's fingerprint says nothing here
    let before = Fingerprint::try_from_slice(kept).ok()?;
    Fingerprint::of(directory, store)?.sign_since(&before)
}

/// A fingerprint in which a file has the place of another one, or none. `None` if it knows the file in another place.
pub(super) fn after_exchange(kept: &[u8], file: &Path, name: &str, other: Option<&Path>) -> Option<Vec<u8>> {
    let mut numbers = Fingerprint::try_from_slice(kept).ok()?;
    let place = FILES.iter().position(|known| *known == name).and_then(|at| numbers.files.get_mut(at))?;
    let now = Place::of(file)?;
    if place.as_ref().is_some_and(|before| !now.is(before)) {
        return None;
    }
    *place = other.and_then(Place::of);
    Some(numbers.to_bytes())
}

/// Whether an earlier version wrote these bytes of a fingerprint.
pub(super) fn is_digest(kept: &[u8]) -> bool {
    kept.len() == DIGEST_BYTES
}

/// The fingerprint of earlier versions, which knew nothing of the files.
pub(super) fn digest(directory: &Path) -> Option<[u8; DIGEST_BYTES]> {
    let Place { device, inode, .. } = Place::of(directory)?;
    let mut hasher = blake3::Hasher::new_derive_key("nexus directory fingerprint v1");
    hasher.update(&device.to_le_bytes());
    hasher.update(&inode.to_le_bytes());
    hasher.update(machine().unwrap_or_default().trim().as_bytes());
    Some(hasher.finalize().into())
}

/// A digest of the machine's id, which does not reveal the id.
pub(super) fn machine_digest() -> Option<[u8; 32]> {
    let id = machine()?;
    Some(blake3::derive_key("nexus machine v1", id.trim().as_bytes()))
}

/// The machine's id, on platforms that keep it in a file.
fn machine() -> Option<String> {
    ["/etc/machine-id", "/var/lib/dbus/machine-id", "/etc/hostid"]
        .iter()
        .find_map(|path| std::fs::read_to_string(path).ok().filter(|id| !id.trim().is_empty()))
}
