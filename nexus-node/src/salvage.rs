//! A damaged store becomes a new one: from its rows that can be read, and from the other members.
//!
//! The rows come from the pages of the file, since a database whose trees are damaged does not open at all. An entry
//! counts with its author's signature, as if a stranger had sent it. The node's place in its mesh
//! is kept beside the store, for nothing in the pages could prove it.

mod remains;

use std::fs;
use std::io;
use std::path::Path;

use nexus_crdt::{Incarnation, Verified};
use nexus_identity::{Did, Keypair};
use nexus_mesh::{Clock, SystemClock};

use self::remains::Remains;
use crate::backup::BackupError;
use crate::config::Settings;
use crate::coordinator::Coordinator;
use crate::datadir::{self, DataDir, Lock, Membership};
use crate::engine::{Event, Input, Released, RestingEngine};
use crate::ledger::rows::{self, meta};
use crate::ledger::{self, Genesis, LedgerError, Quotas};
use crate::own_store;
use crate::store::{self, Store, StoreError, StoreOptions, Table};
use crate::world::random;

/// Entries that are taken at once.
const CHUNK_ENTRIES: usize = 256;

/// A file that is damaged, and how.
#[derive(Debug)]
pub struct DamagedFile {
    /// The name in the directory.
    pub name: &'static str,
    /// The damage.
    pub error: StoreError,
}

/// A directory with a damaged store, locked against nodes. Nothing is changed yet.
#[derive(Debug)]
pub struct Damage {
    /// The files that are damaged.
    pub files: Vec<DamagedFile>,
    /// The node.
    pub did: Did,
    /// Its name at the time of its membership's beginning.
    pub name: String,
    /// The entries that can be read, if the store of the memories is damaged.
    pub readable: u64,
    /// The entries that are known to be damaged.
    pub unreadable: u64,
    dir: DataDir,
    membership: Membership,
    quotas: Quotas,
    remains: Option<Remains>,
    _lock: Lock,
}

/// A store that was made anew.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Salvaged {
    /// The entries that were read and are in the new store.
    pub entries: u64,
    /// The damaged files, and the names under which they are kept.
    pub kept: Vec<(&'static str, String)>,
}

impl Damage {
    /// Looks for damage in a directory at rest. Every value is read. A damaged file does not change; a sound one is opened
    /// as by a start, which ends a commit that was under way.
    ///
    /// # Errors
    /// [`BackupError::Sound`] if nothing is damaged. [`BackupError::Lost`] if the node's place in its mesh cannot be
    /// read, or the store is not there. [`BackupError::Config`]. Else as for opening the directory and its stores.
    pub fn look(path: &Path) -> Result<Self, BackupError> {
        let dir = DataDir::open(path)?;
        let lock = dir.lock()?;
        let quotas = Settings::load(path, &[])?.config().quotas();
        let mut files = Vec::new();
        if let Some(error) = damage(sound(&dir))? {
            files.push(DamagedFile { name: DataDir::STORE, error });
        }
        let membership = match (dir.membership(), files.pop()) {
            // another directory's file proves nothing; neither does a sound store's neighbour
            (Some(membership), Some(file)) => {
                files.push(file);
                membership
            }
            (None, Some(DamagedFile { error, .. })) => return Err(BackupError::Lost { file: dir.store_path(), error }),
            (_, None) => of_store(&dir)?,
        };
        let claims = membership.chain.verify(&membership.mesh).map_err(LedgerError::Chain)?;
        let did = dir.identity().did();
        let next = dir.next_identity()?.map(|next| next.did());
        if claims.subject != did && next != Some(claims.subject) {
            return Err(BackupError::OtherKey { key: did, of: claims.subject });
        }
        let remains = match files.is_empty() {
            true => None,
            false => Some(Remains::find(&dir.store_path(), membership.mesh, did).map_err(at(&dir.store_path()))?),
        };
        files.extend(of_coordinators(&dir, membership.mesh)?);
        if files.is_empty() {
            return Err(BackupError::Sound { path: path.to_owned() });
        }
        let (readable, unreadable) = remains.as_ref().map_or((0, 0), |remains| (remains.readable, remains.unreadable));
        let name = claims.name.to_string();
        Ok(Self { files, did, name, readable, unreadable, dir, membership, quotas, remains, _lock: lock })
    }

    /// The mesh.
    pub const fn mesh(&self) -> Did {
        self.membership.mesh
    }

    /// Whether the store of the memories is damaged.
    pub const fn is_of_memories(&self) -> bool {
        self.remains.is_some()
    }

    /// Whether there is a damaged file to keep: one that is missing is none.
    pub fn has_files(&self) -> bool {
        self.files.iter().any(|file| self.dir.path().join(file.name).exists())
    }

    /// The number of known members to fetch the rest from.
    pub fn peers(&self) -> usize {
        self.membership.peers.len()
    }

    /// Makes the damaged stores anew. The damaged files are kept beside. `progress` gets the number of entries so far.
    ///
    /// With a new store the node goes on in a new log, and fetches from the other members at its next start. After an
    /// interrupted run the rest is still damaged, and the next run mends it.
    ///
    /// # Errors
    /// [`BackupError`]. Files that were not mended are in their place then.
    pub fn mend(mut self, progress: impl Fn(u64)) -> Result<Salvaged, BackupError> {
        let new = self.dir.path().join(format!("{}.new", DataDir::STORE));
        let entries = match self.remains.take() {
            Some(remains) => self.fill(&new, remains, &progress).inspect_err(|_| drop(fs::remove_file(&new)))?,
            None => 0,
        };
        let mut kept = Vec::new();
        for file in &self.files {
            let path = self.dir.path().join(file.name);
            // a store that is lost has nothing to keep, but for a log that may be beside
            let kept_as =
                if path.try_exists().map_err(at(&path))? { Some(aside(&path).map_err(at(&path))?) } else { None };
            if file.name == DataDir::STORE {
                let log = store::log_path(&path);
                if log.try_exists().map_err(at(&log))? {
                    aside(&log).map_err(at(&log))?;
                }
                self.dir.replace_store(&new)?;
            } else {
                datadir::remove(&path).map_err(at(&path))?;
            }
            kept.extend(kept_as.map(|kept_as| (file.name, kept_as)));
        }
        Ok(Salvaged { entries, kept })
    }

    /// Writes a new store from the remains of the damaged one. Returns its number of entries.
    fn fill(&self, new: &Path, remains: Remains, progress: &dyn Fn(u64)) -> Result<u64, BackupError> {
        for leftover in store::files_of(new) {
            datadir::remove(&leftover).map_err(at(&leftover))?;
        }
        let Membership { mesh, chain, peers } = self.membership.clone();
        let store = Store::open(new, StoreOptions::default())?;
        let genesis = Genesis {
            mesh,
            chain,
            incarnation: Incarnation(random()),
            store: random(),
            fingerprint: Some(datadir::PUT_BACK.to_vec()),
        };
        let mut first = ledger::found(&genesis);
        // a founder does not begin the coordinators a second time, whatever became of their files
        first.put(Table::Meta, meta::COORDINATED, &[]);
        if let Some(format) = remains.own_format {
            first.put(Table::Meta, meta::ENTRY_FORMAT, &format.to_le_bytes());
        }
        for (peer, addresses) in peers {
            first.put(Table::Peers, peer.as_bytes(), &rows::encode(&addresses));
        }
        store.commit(&[first])?;
        let taken = take(self.dir.identity(), self.quotas, &store, remains.entries(), progress)?;
        store.close();
        Ok(taken)
    }
}

fn at(file: &Path) -> impl FnOnce(io::Error) -> BackupError + '_ {
    move |source| BackupError::Disk { file: file.to_owned(), source }
}

/// Reads every value of the node's store.
fn sound(dir: &DataDir) -> Result<(), StoreError> {
    // a refused file does not change; of a large one the damage may come to light only below
    let store = own_store::open_used(dir, StoreOptions::default())?;
    let verified = store.verify().map(drop);
    store.close();
    verified
}

/// The damage of a store, if that is its fault.
fn damage(opened: Result<(), StoreError>) -> Result<Option<StoreError>, BackupError> {
    match opened {
        Ok(()) => Ok(None),
        Err(error @ (StoreError::Damaged { .. } | StoreError::NotAStore { .. })) => Ok(Some(error)),
        Err(error) => Err(error.into()),
    }
}

/// The node's place as a sound store has it.
fn of_store(dir: &DataDir) -> Result<Membership, BackupError> {
    let store = Store::open(dir.store_path(), StoreOptions::default())?;
    let genesis = ledger::read_genesis(&store.snapshot()?)?;
    store.close();
    let Genesis { mesh, chain, .. } = genesis.ok_or(LedgerError::NoGenesis)?;
    Ok(Membership::new(mesh, chain, []))
}

/// The damaged files of the coordinators. Both of them if one is: neither is of use alone.
fn of_coordinators(dir: &DataDir, mesh: Did) -> Result<Vec<DamagedFile>, BackupError> {
    if !dir.raft_path().exists() {
        return Ok(Vec::new());
    }
    let looked = || {
        let store = Store::open(dir.raft_path(), StoreOptions::default())?;
        let examined = store.verify().and_then(|_| {
            let journal = Box::new(store::open_file(&dir.journal_path())?);
            Coordinator::examine(&store, journal, dir.identity().did(), mesh)
        });
        store.close();
        examined
    };
    let Some(error) = damage(looked())? else { return Ok(Vec::new()) };
    // in this order: after half of it, a start refuses
    let files = [DataDir::JOURNAL, DataDir::RAFT].into_iter().filter(|name| dir.path().join(name).exists());
    Ok(files.map(|name| DamagedFile { name, error: error.clone() }).collect())
}

/// Gives a file a second name, for keeping. Returns that name.
fn aside(path: &Path) -> io::Result<String> {
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    for no in 1_u32.. {
        let kept = if no == 1 { format!("{name}.damaged") } else { format!("{name}.damaged-{no}") };
        let to = path.with_file_name(&kept);
        if to.exists() {
            continue;
        }
        // not every file system has links
        if fs::hard_link(path, &to).is_err() {
            io::copy(&mut fs::File::open(path)?, &mut datadir::new_file(&to)?)?;
        }
        datadir::sync_parent(&to)?;
        return Ok(kept);
    }
    Err(io::ErrorKind::AlreadyExists.into())
}

/// Notes what came of entries that a damaged store still had.
fn note(event: Event) {
    match event {
        // the node reads all of it from the store when it starts
        Event::Stored { .. } | Event::Members | Event::Task { .. } | Event::Spaces => {}
        // the node settles forks when it starts
        Event::Fork { .. } | Event::Unsettled | Event::Lacking => {}
        // an entry before it is in no page that can be read: sync brings it
        Event::Behind { .. } => {}
        // an engine begins another log only when a peer shows more of its own one
        Event::Renewed(_) => {}
        // they were so in the store before, and other members hold them alike
        Event::Astray { log, seq } => tracing::info!(author = %log.author, seq, "an entry follows on another branch"),
        Event::Quarantined { entry, author, why } => {
            tracing::info!(entry = %entry.short(), %author, why, "an entry breaks a rule of form and does not count");
        }
    }
}

/// Passes entries through an engine into a store, as if a peer had sent them. Returns how many the store has then.
fn take(
    key: &Keypair,
    quotas: Quotas,
    store: &Store,
    entries: impl Iterator<Item = io::Result<Verified>>,
    progress: &dyn Fn(u64),
) -> Result<u64, BackupError> {
    let (me, clock) = (key.did(), SystemClock::new());
    let mut engine = RestingEngine::open(key.clone(), store)?.within(quotas);
    let mut entries = entries.peekable();
    let mut seen = 0;
    while entries.peek().is_some() {
        let some: io::Result<Vec<Verified>> = entries.by_ref().take(CHUNK_ENTRIES).collect();
        let some = some.map_err(BackupError::Stream)?;
        seen += some.len() as u64;
        let input = Input::Entries { from: me, entries: some };
        let Released { answers, published, events } = engine.run(clock.wall(), random(), input)?;
        // no caller waits for entries, and this engine writes none of its own
        debug_assert!(answers.is_empty() && published.is_empty(), "entries of others have no answers");
        events.into_iter().for_each(note);
        progress(seen);
    }
    Ok(ledger::last_eno(&store.snapshot()?)?)
}
