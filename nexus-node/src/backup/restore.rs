use std::fmt;
use std::fs::{self, File, TryLockError};
use std::io::{self, Read};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use nexus_identity::{Did, Keypair};

use super::{BackupError, Contents, Reader, Unpacker, mark_restored};
use crate::coordinator::Coordinator;
use crate::datadir::{self, BACKED_UP, DataDir, DataDirError, KeyKind, Membership, STORES, key_to_text};
use crate::ledger;
use crate::store::{self, ALL_KEYS, Order, Store, StoreError, StoreOptions, Table, View};

/// The place of a backup.
pub enum Source {
    /// The directory of a backup, or a copy of a node's directory.
    Directory(PathBuf),
    /// The stream of a backup.
    Stream(Box<dyn Read>),
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Directory(path) => f.debug_tuple("Directory").field(path).finish(),
            Self::Stream(_) => f.write_str("Stream"),
        }
    }
}

/// A directory that was restored.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Restored {
    /// The node.
    pub did: Did,
    /// Its name at the time of its membership's beginning.
    pub name: String,
    /// Its mesh.
    pub mesh: Did,
    /// The content of the backup, in numbers.
    pub contents: Contents,
    /// Whether the directory's own configuration stayed.
    pub kept_config: bool,
}

/// The choices of a restore.
#[derive(Clone, Copy, Default)]
pub struct Choice<'a> {
    /// The key that counts, in place of one in the backup.
    pub identity: Option<&'a Keypair>,
    /// Whether blobs are left out.
    pub no_blobs: bool,
    /// Is told how far it is.
    pub told: Option<&'a dyn Fn(&Contents)>,
}

impl fmt::Debug for Choice<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Choice").field("no_blobs", &self.no_blobs).finish_non_exhaustive()
    }
}

/// Makes an empty directory a node's, from a backup.
///
/// Every value is read and checked before the node is there: the identity key comes into its place last. A restore that
/// was interrupted leaves no node, and the next one begins anew. The source stays as it is.
///
/// # Errors
/// [`BackupError`]. The directory holds no node then.
pub fn restore(source: Source, target: &Path, choice: Choice<'_>) -> Result<Restored, BackupError> {
    // held until the copy is complete
    let _unused = match &source {
        Source::Directory(from) => at_rest(from, target)?,
        Source::Stream(_) => None,
    };
    let (inside, _lock) = DataDir::begin_restore(target)?;
    let kept_config = DataDir::config_path(target).exists();
    let filled = fill(source, &inside, choice).and_then(|contents| check(&inside, contents));
    let restored = match filled {
        Ok(restored) => Restored { kept_config, ..restored },
        Err(error) => {
            // an empty directory again; a failure to clear it changes nothing: the next restore does
            let _ = fs::remove_dir_all(&inside);
            return Err(error);
        }
    };
    DataDir::end_restore(target)?;
    Ok(restored)
}

/// Refuses a directory that is the target, or in use. Returns its lock.
fn at_rest(from: &Path, target: &Path) -> Result<Option<File>, BackupError> {
    let from = fs::canonicalize(from).map_err(BackupError::disk(from))?;
    let absolute = std::path::absolute(target).map_err(BackupError::disk(target))?;
    let to = fs::canonicalize(&absolute).unwrap_or(absolute);
    if to.starts_with(&from) || from.starts_with(&to) {
        return Err(BackupError::Itself { path: to });
    }
    if !from.join(DataDir::STORE).is_file() {
        return Err(BackupError::Nothing { path: from });
    }
    // a backup has no lock, and a copy of a directory has one that nobody holds
    let Ok(lock) = File::open(from.join(datadir::LOCK)) else { return Ok(None) };
    match lock.try_lock_shared() {
        Ok(()) => Ok(Some(lock)),
        Err(TryLockError::WouldBlock) => Err(DataDirError::InUse { path: from, pid: None }.into()),
        // where files cannot be locked, no node runs either
        Err(TryLockError::Error(_)) => Ok(None),
    }
}

/// Writes the files of a backup into a directory.
fn fill(source: Source, inside: &Path, choice: Choice<'_>) -> Result<Contents, BackupError> {
    let told = choice.told.unwrap_or(&|_| {});
    let mut contents = match source {
        Source::Directory(from) => {
            #[cfg_attr(not(feature = "blobs"), expect(unused_mut, reason = "blobs are counted in it"))]
            let mut contents = copy(&from, inside)?;
            #[cfg(feature = "blobs")]
            if !choice.no_blobs {
                super::blobs::copy_blobs(&from, inside, &mut contents, told)?;
            }
            told(&contents);
            contents
        }
        Source::Stream(stream) => {
            let mut reader = Reader::new(stream)?;
            let unpacker = Unpacker::new(inside);
            let mut unpacker = if choice.no_blobs { unpacker.without_blobs() } else { unpacker };
            while let Some(frame) = reader.next_frame()? {
                unpacker.take(frame)?;
                told(&unpacker.contents());
            }
            unpacker.finish()?
        }
    };
    if let Some(identity) = choice.identity {
        let path = inside.join(DataDir::IDENTITY);
        let text = key_to_text(KeyKind::Identity, identity);
        datadir::replace(&path, text.as_bytes()).map_err(BackupError::disk(&path))?;
        contents.identity = true;
    }
    if contents.identity { Ok(contents) } else { Err(BackupError::NoKey) }
}

/// Copies the files that make a node's directory. The log that a crash left is one of them: it may be the only place of the
/// last rows.
fn copy(from: &Path, inside: &Path) -> Result<Contents, BackupError> {
    for name in BACKED_UP.iter().chain(&STORES).chain(&[DataDir::STORE_LOG]) {
        let (from, to) = (from.join(name), inside.join(name));
        let mut file = match File::open(&from) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(BackupError::Disk { file: from, source: error }),
        };
        let mut into = datadir::new_file(&to).map_err(BackupError::disk(&to))?;
        io::copy(&mut file, &mut into).map_err(BackupError::disk(&to))?;
        into.sync_all().map_err(BackupError::disk(&to))?;
    }
    let is_there = |name: &str| inside.join(name).exists();
    Ok(Contents { identity: is_there(DataDir::IDENTITY), root: is_there(DataDir::ROOT), ..Contents::default() })
}

/// Reads every value of the stores, and notes that the directory was put back.
fn check(inside: &Path, contents: Contents) -> Result<Restored, BackupError> {
    // every value is read below
    let options = StoreOptions::default().verify_bytes_max(0);
    let mut rows = 0;
    let dir = DataDir::open(inside)?;
    let store = Store::open(dir.store_path(), options)?;
    rows += store.verify()?;
    let snapshot = store.snapshot()?;
    let genesis = ledger::read_genesis(&snapshot)?.ok_or(ledger::LedgerError::NoGenesis)?;
    let claims = genesis.chain.verify(&genesis.mesh).map_err(ledger::LedgerError::Chain)?;
    let did = dir.identity().did();
    // a key that was to take the place of this one is the node's, too
    let next = dir.next_identity()?.map(|next| next.did());
    if claims.subject != did && next != Some(claims.subject) {
        return Err(BackupError::OtherKey { key: did, of: claims.subject });
    }
    if dir.raft_path().exists() {
        rows += check_raft(&dir, genesis.mesh, options)?;
    }
    let mut entries = 0;
    snapshot.scan(Table::Entries, ALL_KEYS, Order::Forward, &mut |_, _| {
        entries += 1;
        ControlFlow::Continue(())
    })?;
    drop(snapshot);
    mark_restored(&store)?;
    store.close();
    // a start that finds no store must know that there was one
    dir.write_membership(&Membership::new(genesis.mesh, genesis.chain, []))?;
    let contents = Contents { rows, entries, ..contents };
    Ok(Restored { did, name: claims.name.to_string(), mesh: genesis.mesh, contents, kept_config: false })
}

/// Reads the files of the coordinators as a start does: one whose journal is missing or another would not start. Returns
/// the rows of the store.
fn check_raft(dir: &DataDir, mesh: Did, options: StoreOptions) -> Result<u64, StoreError> {
    let store = Store::open(dir.raft_path(), options)?;
    let rows = store.verify()?;
    let journal = Box::new(store::open_file(&dir.journal_path())?);
    Coordinator::examine(&store, journal, dir.identity().did(), mesh)?;
    store.close();
    Ok(rows)
}
