//! The data directory: everything that a node keeps, in one place, for its owner alone.
//!
//! | file | content |
//! |---|---|
//! | `identity.key` | this node's key; a directory holds a node exactly when it has this file |
//! | `identity.key.next` | the key that is to take its place (`key rotate`), until it has |
//! | `root.key` | the mesh's root key, until it is exported and removed |
//! | `brain.redb` | the store |
//! | `brain.redb.wal` | its write-ahead log, while a node runs and after a crash |
//! | `brain.redb.compact`, `brain.redb.old`, the same of `raft.redb` | a store that is written anew, and the one that it replaced; they are no stores, and a start removes them |
//! | `raft.redb`, `raft.log` | this node's promises as a voter, and the entries of Raft's log; they go together |
//! | `config.toml` | the [configuration](crate::config) |
//! | `api-token` | one line: its holder may use the API |
//! | `api-url` | one line: the last address of the API |
//! | `api-did` | one line: the DID of the node at that address, if it speaks TLS |
//! | `issued-tokens` | the hashes of the tokens that name agents, and what each may do |
//! | `approve-passphrase` | the hash of the passphrase for approving, if its person set one |
//! | `tokens` | a token of each connected program, in a file of its own |
//! | `metrics-token` | one line: its holder may read the metrics, and nothing else |
//! | `tls-cert.pem`, `tls-key.pem` | the certificate of the API off loopback, and its key |
//! | `ports` | the ports in use last time |
//! | `embedder-key` | one line: the key of the embedder, if somebody put it there |
//! | `blobs` | the blobs that it has, and parts of those that come |
//! | `models`, `vectors` | models of static vectors; the vectors of memories, which are derived |
//! | `restoring` | files that a restore prepares; there is no node until it has ended |
//! | `projects` | the projects that this node gave names to, by their marks |
//! | `visits` | when agents began their last sessions here, for telling them of changes |
//! | `lock` | held by the running node; contains its process id |
//! | `mcp-node.log`, `mcp-node.log.1` | the log of a node that an agent started, and the one before |
//!
//! The directory has mode 0700, its files 0600. Every file is written beside its place, synced and
//! renamed, so none is ever half there. Reading and refusing change nothing.

mod durable;
mod error;
mod fingerprint;
mod key_file;
mod lock;
mod membership;
mod names;
mod owner;
mod placed;
mod ports;
#[cfg(test)]
mod tests;
mod text;
mod witness;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use data_encoding::BASE32_NOPAD;
use nexus_identity::{Did, DidError, Keypair};
use zeroize::Zeroizing;

use self::fingerprint::Fingerprint;
use self::names::{
    AGENT_LOG, AGENT_LOG_OLD, API_DID, API_TOKEN, API_URL, APPROVE_PASSPHRASE, BLOBS, COMPACTING, EMBEDDER_KEY,
    HARMLESS, IDENTITY, ISSUED_TOKENS, JOURNAL, MEMBERSHIP, METRICS_TOKEN, NEXT, PORTS, PROGRAM_TOKENS, PROJECTS, RAFT,
    RESTORING, ROOT, SEARCH, STORE, STORE_LOG, TLS_CERTIFICATE, TLS_KEY, VISITS,
};
#[cfg(feature = "http")]
use self::text::read_text_up_to;
use self::text::{is_exposed, make_directory, read_text};

pub(crate) use self::durable::{move_into_place, new_file, remove, replace, sync_parent};
pub use self::error::{DataDirError, FileDamage};
pub(crate) use self::fingerprint::CopySign;
pub use self::key_file::{KeyFileError, KeyKind, key_from_text, key_to_text};
pub use self::lock::Lock;
pub(crate) use self::membership::Membership;
pub(crate) use self::names::{BACKED_UP, CONFIG, LOCK, PUT_BACK, STORES};
pub(crate) use self::placed::Placed;
pub use self::ports::Ports;
pub(crate) use self::witness::Witness;

/// A certificate and its key, as PEM.
#[cfg(feature = "http")]
type PemPair = (Zeroizing<String>, Zeroizing<String>);

/// The largest file of issued tokens.
#[cfg(feature = "http")]
const ISSUED_BYTES_MAX: u64 = 1 << 20;

/// The content of a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Contents {
    /// No node; there may not even be a directory.
    Empty,
    /// A node.
    Node,
}

/// A data directory that holds a node.
#[derive(Clone, Debug)]
pub struct DataDir {
    path: PathBuf,
    identity: Keypair,
}

impl DataDir {
    /// The name of the file with this node's key.
    pub const IDENTITY: &str = IDENTITY;
    /// The name of the file with the mesh's root key.
    pub const ROOT: &str = ROOT;
    pub(crate) const STORE: &str = STORE;
    pub(crate) const STORE_LOG: &str = STORE_LOG;
    pub(crate) const RAFT: &str = RAFT;
    pub(crate) const JOURNAL: &str = JOURNAL;

    /// Finds out the content of a directory of this account, without reading secrets or changing anything.
    ///
    /// # Errors
    /// [`DataDirError::OtherAccount`], [`DataDirError::Restoring`] after an interrupted restore,
    /// [`DataDirError::Foreign`] if it is used for something else, [`DataDirError::Damaged`] if
    /// the key of its node is gone, [`DataDirError::NotADirectory`], [`DataDirError::Denied`] or
    /// [`DataDirError::Disk`].
    pub fn inspect(path: &Path) -> Result<Contents, DataDirError> {
        Self::check_owner(path)?;
        Self::contents(path)
    }

    /// Refuses the directory of another account: files that this one makes in it are out of the owner's reach.
    ///
    /// # Errors
    /// [`DataDirError::OtherAccount`]. Nothing has changed.
    pub fn check_owner(path: &Path) -> Result<(), DataDirError> {
        match owner::other(path) {
            Some(owner) => Err(DataDirError::OtherAccount { path: path.to_owned(), owner }),
            None => Ok(()),
        }
    }

    /// The files of a directory that belong to another account than the directory does; some of them, if there are many.
    pub fn of_others(path: &Path) -> Vec<PathBuf> {
        owner::files_of_others(path)
    }

    /// Finds out the content of anybody's directory, as [`inspect`](Self::inspect) does.
    ///
    /// # Errors
    /// As [`inspect`](Self::inspect), but for the account.
    pub fn contents(path: &Path) -> Result<Contents, DataDirError> {
        let entries = match fs::read_dir(path) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Contents::Empty),
            Err(error) => return Err(DataDirError::io(path, error)),
        };
        let mut names = Vec::new();
        for entry in entries {
            let entry = entry.map_err(|error| DataDirError::io(path, error))?;
            names.push(entry.file_name().to_string_lossy().into_owned());
        }
        if names.iter().any(|name| name == IDENTITY) {
            return Ok(Contents::Node);
        }
        if names.iter().any(|name| name == RESTORING) {
            return Err(DataDirError::Restoring { path: path.to_owned() });
        }
        if let Some(orphan) = names.iter().find(|name| [STORE, ROOT].contains(&name.as_str())) {
            let what = FileDamage::Missing { beside: orphan.clone() };
            return Err(DataDirError::damaged(&path.join(IDENTITY), what));
        }
        names.sort();
        match names.into_iter().find(|name| !HARMLESS.contains(&name.as_str())) {
            Some(found) => Err(DataDirError::Foreign { path: path.to_owned(), found }),
            None => Ok(Contents::Empty),
        }
    }

    /// Makes a directory the home of a new node: creates the directory if needed, and writes this key.
    /// If there is to be a root key, [`write_root`](Self::write_root) writes it afterwards.
    ///
    /// # Errors
    /// [`DataDirError::Initialized`] if it holds a node, [`DataDirError::InUse`] if another process is
    /// creating one there, else as [`inspect`](Self::inspect). Nothing has changed then. An error while
    /// writing may leave a part behind.
    pub fn create(path: &Path, identity: Keypair) -> Result<Self, DataDirError> {
        if Self::inspect(path)? == Contents::Node {
            return Err(DataDirError::Initialized { path: path.to_owned() });
        }
        make_directory(path).map_err(|error| DataDirError::io(path, error))?;
        let this = Self { path: path.to_owned(), identity };
        // Two processes that start at once must not both write a key.
        let _lock = this.lock()?;
        if Self::inspect(path)? == Contents::Node {
            return Err(DataDirError::Initialized { path: path.to_owned() });
        }
        this.write(IDENTITY, key_to_text(KeyKind::Identity, &this.identity).as_bytes())?;
        Ok(this)
    }

    /// Opens the directory of a node; changes nothing in it.
    ///
    /// # Errors
    /// [`DataDirError::Empty`] if it holds no node, [`DataDirError::Damaged`] or
    /// [`DataDirError::TooNew`] with the file at fault, else as [`inspect`](Self::inspect).
    pub fn open(path: &Path) -> Result<Self, DataDirError> {
        Self::check_owner(path)?;
        Self::open_any(path)
    }

    /// Opens the directory of anybody's node, to look at it.
    ///
    /// # Errors
    /// As [`open`](Self::open), but for the account.
    pub fn open_any(path: &Path) -> Result<Self, DataDirError> {
        if Self::contents(path)? == Contents::Empty {
            return Err(DataDirError::Empty { path: path.to_owned() });
        }
        let key = read_key(&path.join(IDENTITY), KeyKind::Identity)?;
        let identity = key.ok_or_else(|| DataDirError::Empty { path: path.to_owned() })?;
        Ok(Self { path: path.to_owned(), identity })
    }

    /// The key that is to take the place of this node's key, if there is one.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub(crate) fn next_identity(&self) -> Result<Option<Keypair>, DataDirError> {
        read_key(&self.path.join(NEXT), KeyKind::Identity)
    }

    /// Writes a key that is to take the place of this node's key.
    ///
    /// # Errors
    /// An error while writing.
    pub fn write_next_identity(&self, next: &Keypair) -> Result<(), DataDirError> {
        self.write(NEXT, key_to_text(KeyKind::Identity, next).as_bytes())
    }

    /// Removes the key that was to take the place of this node's key.
    ///
    /// # Errors
    /// [`DataDirError::Denied`] or [`DataDirError::Disk`].
    pub(crate) fn drop_next_identity(&self) -> Result<(), DataDirError> {
        let path = self.path.join(NEXT);
        durable::remove(&path).map(drop).map_err(|error| DataDirError::io(&path, error))
    }

    /// Puts the next key in the place of this node's key, which is gone then.
    ///
    /// # Errors
    /// As [`open`](Self::open), or an error while renaming.
    pub(crate) fn take_next_identity(&self) -> Result<Self, DataDirError> {
        let next = self.path.join(NEXT);
        durable::move_into_place(&next, &self.path.join(IDENTITY)).map_err(|error| DataDirError::io(&next, error))?;
        Self::open(&self.path)
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// This node's key.
    pub fn identity(&self) -> &Keypair {
        &self.identity
    }

    /// Makes an empty directory ready for a restore: takes the right to fill it, and removes the remains of an
    /// interrupted one. Returns the directory in which to prepare the files, and the lock.
    ///
    /// # Errors
    /// [`DataDirError::Initialized`] if it holds a node, [`DataDirError::InUse`], else as [`inspect`](Self::inspect).
    pub(crate) fn begin_restore(path: &Path) -> Result<(PathBuf, Lock), DataDirError> {
        let vacant = || match Self::inspect(path) {
            Ok(Contents::Node) => Err(DataDirError::Initialized { path: path.to_owned() }),
            Ok(Contents::Empty) | Err(DataDirError::Restoring { .. }) => Ok(()),
            Err(error) => Err(error),
        };
        vacant()?;
        make_directory(path).map_err(|error| DataDirError::io(path, error))?;
        let lock = Lock::acquire(path, &path.join(LOCK))?;
        vacant()?;
        let inside = path.join(RESTORING);
        let prepare = || {
            if inside.exists() {
                // its identity never came into its place, so these are its own files
                for name in STORES.iter().chain(&[NEXT, ROOT, MEMBERSHIP]) {
                    durable::remove(&path.join(name))?;
                }
                match fs::remove_dir_all(path.join(BLOBS)) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                    _ => {}
                }
                fs::remove_dir_all(&inside)?;
            }
            make_directory(&inside)
        };
        prepare().map_err(|error| DataDirError::io(&inside, error))?;
        Ok((inside, lock))
    }

    /// Puts the prepared files of a restore into their place, the identity last. A configuration that is there stays.
    ///
    /// # Errors
    /// [`DataDirError::Denied`] or [`DataDirError::Disk`]; the directory holds no node then.
    pub(crate) fn end_restore(path: &Path) -> Result<(), DataDirError> {
        let inside = path.join(RESTORING);
        let place = |name: &str| {
            let (from, to) = (inside.join(name), path.join(name));
            if !from.exists() || name == CONFIG && to.exists() {
                return Ok(());
            }
            durable::move_into_place(&from, &to)
        };
        let files = STORES.iter().chain(&[BLOBS, CONFIG, ROOT, NEXT, MEMBERSHIP, IDENTITY]);
        let mut placed = files.map(|name| place(name));
        placed.try_for_each(|placed| placed).map_err(|error| DataDirError::io(path, error))?;
        fs::remove_dir_all(&inside).map_err(|error| DataDirError::io(&inside, error))
    }

    /// Takes the right to be the one node on this directory. Readers of the token and the address need
    /// no lock.
    ///
    /// # Errors
    /// [`DataDirError::InUse`] with the other's process id; nothing has changed.
    pub fn lock(&self) -> Result<Lock, DataDirError> {
        Lock::acquire(&self.path, &self.path.join(LOCK))
    }

    /// The path of the store.
    pub(crate) fn store_path(&self) -> PathBuf {
        self.path.join(STORE)
    }

    /// The path of Raft's votes and snapshots.
    pub(crate) fn raft_path(&self) -> PathBuf {
        self.path.join(RAFT)
    }

    /// The path of the entries of Raft's log.
    pub(crate) fn journal_path(&self) -> PathBuf {
        self.path.join(JOURNAL)
    }

    /// The directory of its blobs.
    #[cfg(feature = "blobs")]
    pub(crate) fn blobs_path(&self) -> PathBuf {
        blobs_in(&self.path)
    }

    /// The path of the search index, which is derived and rebuilt if it is deleted.
    pub(crate) fn search_path(&self) -> PathBuf {
        self.path.join(SEARCH)
    }

    /// The path of the models of static vectors.
    pub fn models_path(path: &Path) -> PathBuf {
        path.join("models")
    }

    /// The path of the vectors of memories, which are derived and made anew if they are deleted.
    pub(crate) fn vectors_path(path: &Path) -> PathBuf {
        path.join("vectors")
    }

    /// The key of the embedder: the line in `embedder-key`, if there is one.
    ///
    /// # Errors
    /// [`DataDirError::Denied`] or [`DataDirError::Disk`], [`DataDirError::Damaged`] for a file that is too long.
    pub(crate) fn embedder_key_in(path: &Path) -> Result<Option<Zeroizing<String>>, DataDirError> {
        let text = read_text(&path.join(EMBEDDER_KEY))?;
        let line = text.map(|text| Zeroizing::new(text.lines().next().unwrap_or_default().trim().to_owned()));
        Ok(line.filter(|line| !line.is_empty()))
    }

    /// Replaces the store by one that was written beside it.
    pub(crate) fn replace_store(&self, beside: &Path) -> Result<(), DataDirError> {
        let path = self.store_path();
        // the log of the former store would be taken for the new one's
        let log = crate::store::log_path(&path);
        durable::remove(&log).map_err(|error| DataDirError::io(&log, error))?;
        durable::move_into_place(beside, &path).map_err(|error| DataDirError::io(&path, error))
    }

    /// The path of a directory's [configuration](crate::config). It may exist before there is a node.
    pub fn config_path(path: &Path) -> PathBuf {
        path.join(CONFIG)
    }

    /// The path of the log of a node that an agent started in a directory. The one before is beside it, with `.1`.
    pub fn agent_log_path(path: &Path) -> PathBuf {
        path.join(AGENT_LOG)
    }

    /// The mesh's root key, if it is still here.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn root(&self) -> Result<Option<Keypair>, DataDirError> {
        read_key(&self.path.join(ROOT), KeyKind::Root)
    }

    /// Writes the mesh's root key into this directory.
    ///
    /// # Errors
    /// An error while writing; the former content is still there then.
    pub fn write_root(&self, root: &Keypair) -> Result<(), DataDirError> {
        self.write(ROOT, key_to_text(KeyKind::Root, root).as_bytes())
    }

    /// Removes the mesh's root key. Returns whether it was there. Its bytes may stay on the disk until
    /// the file system writes over them.
    ///
    /// # Errors
    /// [`DataDirError::Denied`] or [`DataDirError::Disk`].
    pub fn remove_root(&self) -> Result<bool, DataDirError> {
        let path = self.path.join(ROOT);
        durable::remove(&path).map_err(|error| DataDirError::io(&path, error))
    }

    /// The API's token, the same for the life of the directory: 256 random bits in base32. A client needs it, and does not
    /// read the keys.
    ///
    /// # Errors
    /// [`DataDirError::Damaged`] if the file holds no token, [`DataDirError::Denied`] or
    /// [`DataDirError::Disk`].
    pub fn api_token_in(path: &Path) -> Result<Option<Zeroizing<String>>, DataDirError> {
        read_token(&path.join(API_TOKEN))
    }

    /// The API's token, created if there is none.
    ///
    /// # Errors
    /// As [`api_token_in`](Self::api_token_in).
    ///
    /// # Panics
    /// If the operating system gives no randomness: no token would be safe then.
    pub fn ensure_api_token(&self) -> Result<Zeroizing<String>, DataDirError> {
        self.ensure_token(API_TOKEN)
    }

    /// The token for the metrics alone, created if there is none.
    ///
    /// # Errors
    /// As [`api_token_in`](Self::api_token_in).
    ///
    /// # Panics
    /// As [`ensure_api_token`](Self::ensure_api_token).
    pub fn ensure_metrics_token(&self) -> Result<Zeroizing<String>, DataDirError> {
        self.ensure_token(METRICS_TOKEN)
    }

    #[expect(clippy::expect_used, reason = "a machine without randomness cannot make tokens")]
    fn ensure_token(&self, name: &str) -> Result<Zeroizing<String>, DataDirError> {
        let path = self.path.join(name);
        if let Some(token) = read_token(&path)? {
            return Ok(token);
        }
        if path.exists() {
            tracing::warn!(file = %path.display(), "the file of a token was empty: programs that have the former one need the new one");
        }
        let mut random = Zeroizing::new([0; 32]);
        getrandom::fill(random.as_mut()).expect("the operating system gives randomness");
        let mut token = Zeroizing::new(BASE32_NOPAD.encode(&*random));
        token.make_ascii_lowercase();
        self.write(name, Zeroizing::new(format!("{}\n", *token)).as_bytes())?;
        Ok(token)
    }

    /// The issued tokens as they are kept, if there is a file of them.
    ///
    /// # Errors
    /// [`DataDirError::Damaged`] if it is no text or too long, [`DataDirError::Denied`] or [`DataDirError::Disk`].
    #[cfg(feature = "http")]
    pub(crate) fn issued_tokens_in(path: &Path) -> Result<Option<Zeroizing<String>>, DataDirError> {
        read_text_up_to(&path.join(ISSUED_TOKENS), ISSUED_BYTES_MAX)
    }

    /// Keeps the issued tokens. The former file is whole until the new one is.
    ///
    /// # Errors
    /// An error while writing.
    #[cfg(feature = "http")]
    pub(crate) fn write_issued_tokens(path: &Path, text: &str) -> Result<(), DataDirError> {
        let path = path.join(ISSUED_TOKENS);
        durable::replace(&path, text.as_bytes()).map_err(|error| DataDirError::io(&path, error))
    }

    /// The hash of the passphrase for approving as it is kept, if there is one.
    ///
    /// # Errors
    /// As [`api_url_in`](Self::api_url_in).
    #[cfg(feature = "http")]
    pub(crate) fn approve_passphrase_in(path: &Path) -> Result<Option<Zeroizing<String>>, DataDirError> {
        read_text(&path.join(APPROVE_PASSPHRASE))
    }

    /// Keeps the hash of the passphrase for approving, or removes it.
    ///
    /// # Errors
    /// An error while writing.
    #[cfg(feature = "http")]
    pub(crate) fn put_approve_passphrase(path: &Path, text: Option<&str>) -> Result<(), DataDirError> {
        let path = path.join(APPROVE_PASSPHRASE);
        let put = match text {
            Some(text) => durable::replace(&path, text.as_bytes()),
            None => durable::remove(&path).map(drop),
        };
        put.map_err(|error| DataDirError::io(&path, error))
    }

    /// Takes the right to change a directory that no node runs in: to prepare what its node finds at its start. A directory
    /// that is not there is made.
    ///
    /// # Errors
    /// [`DataDirError::InUse`] if a node runs there, else as [`inspect`](Self::inspect).
    pub fn prepare(path: &Path) -> Result<Lock, DataDirError> {
        if Self::inspect(path)? == Contents::Empty {
            make_directory(path).map_err(|error| DataDirError::io(path, error))?;
        }
        Lock::acquire(path, &path.join(LOCK))
    }

    /// The path of the token of a connected program.
    pub fn program_token_path(path: &Path, program: &str) -> PathBuf {
        path.join(PROGRAM_TOKENS).join(program)
    }

    /// Writes the token of a connected program, for its owner alone.
    ///
    /// # Errors
    /// An error while writing.
    pub fn write_program_token(path: &Path, program: &str, token: &str) -> Result<(), DataDirError> {
        let (directory, file) = (path.join(PROGRAM_TOKENS), Self::program_token_path(path, program));
        make_directory(&directory).map_err(|error| DataDirError::io(&directory, error))?;
        let line = Zeroizing::new(format!("{token}\n"));
        durable::replace(&file, line.as_bytes()).map_err(|error| DataDirError::io(&file, error))
    }

    /// Removes the token of a connected program. Whether there was one.
    ///
    /// # Errors
    /// [`DataDirError::Denied`] or [`DataDirError::Disk`].
    pub fn remove_program_token(path: &Path, program: &str) -> Result<bool, DataDirError> {
        let file = Self::program_token_path(path, program);
        durable::remove(&file).map_err(|error| DataDirError::io(&file, error))
    }

    /// The token in a file, which no other account may read; `None` if there is no such file, or nothing in it.
    ///
    /// # Errors
    /// [`DataDirError::Damaged`] if it holds no token, or others may read it, [`DataDirError::Denied`] or
    /// [`DataDirError::Disk`].
    pub fn token_in_file(file: &Path) -> Result<Option<Zeroizing<String>>, DataDirError> {
        if is_exposed(file) {
            return Err(DataDirError::damaged(file, FileDamage::Exposed));
        }
        read_token(file)
    }

    /// The paths of the API's certificate and of its key.
    #[cfg_attr(not(feature = "http"), expect(dead_code, reason = "for TLS"))]
    pub(crate) fn tls_paths(path: &Path) -> (PathBuf, PathBuf) {
        (path.join(TLS_CERTIFICATE), path.join(TLS_KEY))
    }

    /// The API's certificate and its key, as PEM, if both are there.
    ///
    /// # Errors
    /// [`DataDirError::Damaged`] if one is no text, [`DataDirError::Denied`] or [`DataDirError::Disk`].
    #[cfg(feature = "http")]
    pub(crate) fn tls_files(&self) -> Result<Option<PemPair>, DataDirError> {
        let (certificate, key) = Self::tls_paths(&self.path);
        Ok(read_text(&certificate)?.zip(read_text(&key)?))
    }

    /// Writes the API's certificate and its key. If only one is written, they do not fit, and are made anew.
    ///
    /// # Errors
    /// An error while writing.
    #[cfg(feature = "http")]
    pub(crate) fn write_tls_files(&self, certificate: &str, key: &str) -> Result<(), DataDirError> {
        self.write(TLS_KEY, key.as_bytes())?;
        self.write(TLS_CERTIFICATE, certificate.as_bytes())
    }

    /// The DID of the node at the last address of the API, for clients over TLS.
    ///
    /// # Errors
    /// As [`api_url_in`](Self::api_url_in).
    pub fn api_did_in(path: &Path) -> Result<Option<Did>, DataDirError> {
        let path = path.join(API_DID);
        let Some(line) = read_line(&path)? else { return Ok(None) };
        line.parse().map(Some).map_err(|error: DidError| DataDirError::damaged(&path, error))
    }

    /// Writes the DID of the node at the API's address. The same one is not written again.
    ///
    /// # Errors
    /// An error while writing.
    pub fn write_api_did(&self, did: &Did) -> Result<(), DataDirError> {
        if Self::api_did_in(&self.path).is_ok_and(|kept| kept == Some(*did)) {
            return Ok(());
        }
        self.write(API_DID, format!("{did}\n").as_bytes())
    }

    /// The last address of the API of the node in a directory, for clients.
    ///
    /// # Errors
    /// [`DataDirError::Damaged`], [`DataDirError::Denied`] or [`DataDirError::Disk`].
    pub fn api_url_in(path: &Path) -> Result<Option<String>, DataDirError> {
        let path = path.join(API_URL);
        match read_line(&path)? {
            Some(url) if !url.starts_with("http") => Err(DataDirError::damaged(&path, FileDamage::NoAddress)),
            url => Ok(url.map(|url| url.to_string())),
        }
    }

    /// Writes the address of the API.
    ///
    /// # Errors
    /// An error while writing.
    pub fn write_api_url(&self, url: &str) -> Result<(), DataDirError> {
        self.write(API_URL, format!("{url}\n").as_bytes())
    }

    /// The ports in use last time. They are a preference: an unreadable file is logged and ignored.
    pub fn ports(&self) -> Ports {
        let path = self.path.join(PORTS);
        let ports = read_text(&path).map(|text| text.map(|text| Ports::from_text(&text)));
        match ports {
            Ok(None) => Ports::default(),
            Ok(Some(Ok(ports))) => ports,
            Ok(Some(Err(error))) => {
                tracing::warn!(file = %path.display(), %error, "the ports of last time are unknown");
                Ports::default()
            }
            Err(error) => {
                tracing::warn!(%error, "the ports of last time are unknown");
                Ports::default()
            }
        }
    }

    /// Remembers the ports for next time. Unchanged ports are not written again.
    ///
    /// # Errors
    /// An error while writing.
    pub fn write_ports(&self, ports: Ports) -> Result<(), DataDirError> {
        if self.ports() == ports {
            return Ok(());
        }
        match self.write(PORTS, ports.to_text().as_bytes()) {
            Err(error) if error.is_full() => {
                tracing::warn!("the disk is full: the ports of this time are not kept");
                Ok(())
            }
            written => written,
        }
    }

    /// The names of projects by their marks, if they can be read.
    pub(crate) fn projects(&self) -> Option<Zeroizing<String>> {
        read_text(&self.path.join(PROJECTS)).ok().flatten()
    }

    /// Keeps the names of projects. A disk that is full keeps the ones before.
    ///
    /// # Errors
    /// An error while writing.
    pub(crate) fn write_projects(&self, text: &str) -> Result<(), DataDirError> {
        self.write(PROJECTS, text.as_bytes())
    }

    /// The last visits of agents, if they can be read.
    #[cfg(feature = "mcp")]
    pub(crate) fn visits(&self) -> Option<Zeroizing<String>> {
        read_text(&self.path.join(VISITS)).ok().flatten()
    }

    /// Keeps the last visits of agents. A disk that is full keeps the ones before.
    ///
    /// # Errors
    /// An error while writing.
    #[cfg(feature = "mcp")]
    pub(crate) fn write_visits(&self, text: &str) -> Result<(), DataDirError> {
        self.write(VISITS, text.as_bytes())
    }

    /// The node's place in its mesh, as it was kept beside the store; `None` if it was not, or does not read.
    pub(crate) fn membership(&self) -> Option<Membership> {
        let text = read_text(&self.path.join(MEMBERSHIP)).ok()??;
        Membership::from_text(&text)
    }

    /// A file that only a node with a mesh makes, if there is one: the store of such a node was there once.
    pub(crate) fn trace(&self) -> Option<&'static str> {
        const MADE: [&str; 7] = [MEMBERSHIP, RAFT, JOURNAL, VISITS, PROJECTS, SEARCH, BLOBS];
        MADE.into_iter().find(|name| self.path.join(name).exists())
    }

    /// The files and directories of a running node as they are now. They are the ones that it has open. The stores look after
    /// their own files.
    pub(crate) fn placed(&self) -> Placed {
        const OPEN: [&str; 4] = [IDENTITY, JOURNAL, SEARCH, BLOBS];
        Placed::of(&self.path, &OPEN)
    }

    /// Removes the node's place in its mesh, which is to change.
    ///
    /// # Errors
    /// [`DataDirError::Denied`] or [`DataDirError::Disk`].
    pub(crate) fn remove_membership(&self) -> Result<(), DataDirError> {
        let path = self.path.join(MEMBERSHIP);
        durable::remove(&path).map(drop).map_err(|error| DataDirError::io(&path, error))
    }

    /// Keeps the node's place in its mesh beside the store. An unchanged one is not written again.
    ///
    /// # Errors
    /// An error while writing.
    pub(crate) fn write_membership(&self, membership: &Membership) -> Result<(), DataDirError> {
        let path = self.path.join(MEMBERSHIP);
        let text = membership.to_text();
        if read_text(&path).is_ok_and(|kept| kept.is_some_and(|kept| *kept == text)) {
            return Ok(());
        }
        self.write(MEMBERSHIP, text.as_bytes())
    }

    /// A digest that differs from machine to machine; `None` where the platform has no machine id.
    pub(crate) fn machine(&self) -> Option<[u8; 32]> {
        fingerprint::machine_digest()
    }

    /// Numbers of this directory and its files that a copy has not; `None` where the platform has none.
    pub(crate) fn fingerprint(&self) -> Option<Vec<u8>> {
        self.fingerprint_with(&self.store_path())
    }

    /// As [`fingerprint`](Self::fingerprint), with a store that lies elsewhere until it is moved into its place.
    pub(crate) fn fingerprint_with(&self, store: &Path) -> Option<Vec<u8>> {
        Some(Fingerprint::of(&self.path, store)?.to_bytes())
    }

    /// A fingerprint in which a store has the place of another file, or no place. `None` if it is to stay as it is: a sign that the
    /// store is a copy stays one.
    pub(crate) fn fingerprint_after_exchange(&self, kept: &[u8], store: &str, other: Option<&Path>) -> Option<Vec<u8>> {
        fingerprint::after_exchange(kept, &self.path.join(store), store, other)
    }

    /// The fingerprint that earlier versions kept.
    #[cfg(test)]
    pub(crate) fn earlier_fingerprint(&self) -> Option<[u8; 32]> {
        fingerprint::digest(&self.path)
    }

    /// The sign that this directory is a copy of the one that had this fingerprint.
    ///
    /// A digest of earlier versions counts, too. It knew the directory and not its files.
    pub(crate) fn sign_since(&self, fingerprint: &[u8]) -> Option<CopySign> {
        fingerprint::sign_since(&self.path, &self.store_path(), fingerprint)
    }

    /// Whether an earlier version made a fingerprint.
    pub(crate) fn is_earlier(fingerprint: &[u8]) -> bool {
        fingerprint::is_digest(fingerprint)
    }

    /// The witness of this directory's age among those in another directory. `None` if that one is inside of this one.
    ///
    /// # Errors
    /// [`DataDirError::Denied`] or [`DataDirError::Disk`].
    pub(crate) fn witness(&self, state: &Path) -> Result<Option<Witness>, DataDirError> {
        Witness::of(state, &self.path, &self.identity.did()).map_err(|error| DataDirError::io(state, error))
    }

    /// The directory and files that other accounts may read or write.
    pub fn exposed(&self) -> Vec<PathBuf> {
        let kept = [IDENTITY, NEXT, ROOT, STORE, STORE_LOG, RAFT, JOURNAL, CONFIG, API_TOKEN, API_URL, PORTS, LOCK];
        let more =
            [MEMBERSHIP, VISITS, PROJECTS, METRICS_TOKEN, API_DID, TLS_CERTIFICATE, TLS_KEY, AGENT_LOG, AGENT_LOG_OLD];
        let programs = fs::read_dir(self.path.join(PROGRAM_TOKENS)).into_iter().flatten().flatten();
        let of_tokens =
            [ISSUED_TOKENS, PROGRAM_TOKENS, APPROVE_PASSPHRASE].map(|name| self.path.join(name)).into_iter();
        let of_tokens = of_tokens.chain(programs.map(|entry| entry.path()));
        let files = kept.iter().chain(&more).chain(&COMPACTING).map(|name| self.path.join(name)).chain(of_tokens);
        std::iter::once(self.path.clone()).chain(files).filter(|path| is_exposed(path)).collect()
    }

    fn write(&self, name: &str, bytes: &[u8]) -> Result<(), DataDirError> {
        let path = self.path.join(name);
        durable::replace(&path, bytes).map_err(|error| DataDirError::io(&path, error))
    }
}

/// The directory of the blobs of a data directory.
#[cfg(feature = "blobs")]
pub(crate) fn blobs_in(data_dir: &Path) -> PathBuf {
    data_dir.join(BLOBS)
}

fn read_key(path: &Path, kind: KeyKind) -> Result<Option<Keypair>, DataDirError> {
    let Some(text) = read_text(path)? else { return Ok(None) };
    match key_from_text(kind, &text) {
        Ok(key) => Ok(Some(key)),
        Err(KeyFileError::TooNew { format }) => {
            Err(DataDirError::TooNew { file: path.to_owned(), format, known: key_file::known_format() })
        }
        Err(error) => Err(DataDirError::damaged(path, error)),
    }
}

/// A token in a file, or `None` if there is no such file, or nothing in it.
fn read_token(path: &Path) -> Result<Option<Zeroizing<String>>, DataDirError> {
    let Some(token) = read_line(path)? else { return Ok(None) };
    if token.len() < 32 || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(DataDirError::damaged(path, FileDamage::NoToken));
    }
    Ok(Some(token))
}

/// The one line of a file, or `None` if there is no such file, or nothing in it: a crash leaves some files empty or zeroed.
fn read_line(path: &Path) -> Result<Option<Zeroizing<String>>, DataDirError> {
    let Some(text) = read_text(path)? else { return Ok(None) };
    if text.chars().all(|char| char.is_whitespace() || char == '\0') {
        return Ok(None);
    }
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    match (lines.next(), lines.next()) {
        (Some(line), None) => Ok(Some(Zeroizing::new(line.to_owned()))),
        _ => Err(DataDirError::damaged(path, FileDamage::NotOneLine)),
    }
}
