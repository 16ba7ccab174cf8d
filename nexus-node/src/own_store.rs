//! The store of a data directory's node, told from one that was lost, emptied or exchanged.
//!
//! A start founds a mesh where the store has none. A member whose store is gone would become a mesh of its own by that,
//! and its peers would refuse it for good. Files beside the store tell that the node has lived: then a store without a
//! mesh is refused, and so is one of another node or another mesh. A refusal changes nothing.

use std::path::Path;

use crate::datadir::DataDir;
use crate::ledger::{self, LedgerError, rows::meta};
use crate::store::{Store, StoreDamage, StoreError, StoreOptions, Table, View};

/// Opens the store of a directory, or makes one for a node that has none yet.
///
/// # Errors
/// [`StoreError::Damaged`] with [`StoreDamage::Lost`], [`StoreDamage::NoMesh`], [`StoreDamage::OtherNode`] or
/// [`StoreDamage::OtherMesh`]; else as [`Store::open`].
pub(crate) fn open(dir: &DataDir, options: StoreOptions) -> Result<Store, StoreError> {
    let file = dir.store_path();
    let has_lived = dir.trace().is_some();
    if has_lived && !is_there(&file)? {
        return Err(StoreError::damaged(&file, None, StoreDamage::Lost));
    }
    Store::open_if(&file, options, |view| fits(dir, &file, view, has_lived))
}

/// Opens the store of a directory's node, which has a mesh.
///
/// # Errors
/// As [`open`], also for a store that was never used.
pub(crate) fn open_used(dir: &DataDir, options: StoreOptions) -> Result<Store, StoreError> {
    let file = dir.store_path();
    if !is_there(&file)? {
        return Err(StoreError::damaged(&file, None, StoreDamage::Lost));
    }
    Store::open_if(&file, options, |view| fits(dir, &file, view, true))
}

/// Whether the directory's node has a store, or had one.
pub(crate) fn has_been(dir: &DataDir) -> bool {
    dir.trace().is_some() || dir.store_path().exists()
}

/// Looks whether a start would take the store of a directory. Nothing changes, and a store in use is not looked at.
///
/// # Errors
/// As a start.
pub fn look(dir: &DataDir) -> Result<(), StoreError> {
    /// Why a store that is only looked at is not opened.
    enum Left {
        Seen,
        Refused(StoreError),
    }
    impl From<StoreError> for Left {
        fn from(error: StoreError) -> Self {
            Self::Refused(error)
        }
    }
    let (file, has_lived) = (dir.store_path(), dir.trace().is_some());
    if !is_there(&file)? {
        return if has_lived { Err(StoreError::damaged(&file, None, StoreDamage::Lost)) } else { Ok(()) };
    }
    let seen = Store::open_if(&file, StoreOptions::default(), |view| {
        fits(dir, &file, view, has_lived)?;
        Err::<(), _>(Left::Seen)
    });
    match seen {
        Err(Left::Refused(StoreError::InUse { .. })) | Err(Left::Seen) | Ok(_) => Ok(()),
        Err(Left::Refused(error)) => Err(error),
    }
}

fn is_there(file: &Path) -> Result<bool, StoreError> {
    file.try_exists().map_err(|error| StoreError::disk(file, error))
}

/// Whether a store is of this directory's node.
fn fits(dir: &DataDir, file: &Path, view: &dyn View, has_lived: bool) -> Result<(), StoreError> {
    let refused = |what| Err(StoreError::damaged(file, None, what));
    let genesis = match ledger::read_genesis(view) {
        Ok(Some(genesis)) => genesis,
        Ok(None) if has_lived => return refused(StoreDamage::NoMesh),
        Ok(None) => return Ok(()),
        Err(LedgerError::Store(error)) => return Err(error),
        // a start names the row
        Err(_) => return Ok(()),
    };
    let next = dir.next_identity().ok().flatten();
    let own = [Some(dir.identity().did()), next.map(|next| next.did())];
    if genesis.chain.subject().is_ok_and(|subject| !own.contains(&Some(subject))) {
        return refused(StoreDamage::OtherNode);
    }
    // a store that no node has run on yet may be of a join, which an earlier version did not write down beside it
    let has_run = view.contains(Table::Meta, meta::PROCESSES)?;
    if has_run && dir.membership().is_some_and(|kept| kept.mesh != genesis.mesh) {
        return refused(StoreDamage::OtherMesh);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::fs;
    use std::path::PathBuf;

    use nexus_crdt::Incarnation;
    use nexus_identity::{Chain, Claims, Keypair, Role, Timestamp};

    use super::*;
    use crate::datadir::Membership;
    use crate::ledger::Genesis;

    /// A node's directory in the mesh of a root.
    struct Stage {
        home: tempfile::TempDir,
        dir: DataDir,
        genesis: Genesis,
    }

    fn genesis(root: u8, key: u8) -> Genesis {
        let (root, key) = (Keypair::from_seed(&[root; 32]), Keypair::from_seed(&[key; 32]));
        let claims = Claims::new(root.did(), key.did(), "n".parse().unwrap(), [Role::Admin], Timestamp::from_ms(1));
        let chain = Chain::found(claims.sign(&root)).unwrap();
        Genesis { mesh: root.did(), chain, incarnation: Incarnation([0; 8]), store: [0; 8], fingerprint: None }
    }

    /// Writes a store; `has_run`: as if a node had run on it.
    fn write(path: &Path, genesis: Option<&Genesis>, has_run: bool) {
        let store = Store::open(path, StoreOptions::default()).unwrap();
        let mut batch = genesis.map(ledger::found).unwrap_or_default();
        if has_run {
            batch.put(Table::Meta, meta::PROCESSES, &[]);
        }
        batch.put(Table::Meta, b"something", b"else");
        store.commit(&[batch]).unwrap();
        store.close();
    }

    impl Stage {
        /// The node of key 2 in the mesh of root 1, which has run.
        fn new() -> Self {
            let home = tempfile::tempdir().unwrap();
            let dir = DataDir::create(&home.path().join("data"), Keypair::from_seed(&[2; 32])).unwrap();
            let genesis = genesis(1, 2);
            write(&dir.store_path(), Some(&genesis), true);
            dir.write_membership(&Membership::new(genesis.mesh, genesis.chain.clone(), [])).unwrap();
            Self { home, dir, genesis }
        }

        fn files(&self) -> BTreeMap<PathBuf, Vec<u8>> {
            let entries = fs::read_dir(self.dir.path()).unwrap().map(|entry| entry.unwrap().path());
            entries.map(|path| (path.clone(), fs::read(&path).unwrap())).collect()
        }

        #[track_caller]
        fn is_refused(&self, wanted: &str) {
            let before = self.files();
            for opened in [open(&self.dir, StoreOptions::default()).map(drop), look(&self.dir)] {
                let error = opened.unwrap_err();
                assert!(error.to_string().contains(wanted), "{error}");
                assert!(matches!(error, StoreError::Damaged { .. } | StoreError::NotAStore { .. }), "{error}");
            }
            assert!(self.files() == before, "{wanted}: something has changed");
        }
    }

    /// promise: Store and data directory | A lost, emptied or exchanged store makes no member a new mesh
    #[test]
    fn a_store_that_is_not_the_nodes_own_is_refused_and_nothing_changes() {
        let stage = Stage::new();
        let path = stage.dir.store_path();
        look(&stage.dir).unwrap();
        drop(open(&stage.dir, StoreOptions::default()).unwrap());
        let own = fs::read(&path).unwrap();

        fs::remove_file(&path).unwrap();
        stage.is_refused("it is missing");
        for zeros in [0, 1, 4_096, own.len()] {
            fs::write(&path, vec![0; zeros]).unwrap();
            stage.is_refused("it is empty");
        }
        for kept in [1, 8, 100, 4_096, own.len() / 2] {
            fs::write(&path, &own[..kept]).unwrap();
            stage.is_refused("brain.redb");
        }
        let other = stage.home.path().join("other.redb");
        let cases: [(Option<Genesis>, &str); 4] = [
            (Some(genesis(1, 3)), "of another node"),
            (Some(genesis(4, 3)), "of another node"),
            (Some(genesis(4, 2)), "of another mesh"),
            // as of the coordinators
            (None, "it is empty"),
        ];
        for (genesis, wanted) in cases {
            write(&other, genesis.as_ref(), true);
            fs::rename(&other, &path).unwrap();
            stage.is_refused(wanted);
        }
        fs::write(&path, &own).unwrap();
        look(&stage.dir).unwrap();
    }

    /// promise: Store and data directory | A lost, emptied or exchanged store makes no member a new mesh
    #[test]
    fn each_file_that_only_a_node_with_a_mesh_makes_tells_that_there_was_a_store() {
        for name in ["membership", "raft.redb", "raft.log", "visits", "search", "blobs"] {
            for bytes in [&b""[..], b"\0\0\0"] {
                let home = tempfile::tempdir().unwrap();
                let dir = DataDir::create(&home.path().join("data"), Keypair::from_seed(&[2; 32])).unwrap();
                fs::write(dir.path().join(name), bytes).unwrap();
                assert!(has_been(&dir));
                let error = open(&dir, StoreOptions::default()).unwrap_err();
                assert!(error.to_string().contains("it is missing"), "{name}: {error}");
                assert!(!dir.store_path().exists(), "{name}");
            }
        }
    }

    #[test]
    fn a_new_directory_and_a_join_of_an_earlier_version_are_taken() {
        let home = tempfile::tempdir().unwrap();
        let dir = DataDir::create(&home.path().join("data"), Keypair::from_seed(&[2; 32])).unwrap();
        assert!(!has_been(&dir));
        look(&dir).unwrap();
        assert!(!dir.store_path().exists(), "a look makes nothing");
        assert!(open_used(&dir, StoreOptions::default()).is_err());
        assert!(!dir.store_path().exists());
        drop(open(&dir, StoreOptions::default()).unwrap());
        // an interrupted start
        drop(open(&dir, StoreOptions::default()).unwrap());
        assert!(open_used(&dir, StoreOptions::default()).is_err(), "it has no mesh");

        let stage = Stage::new();
        fs::remove_file(stage.dir.store_path()).unwrap();
        write(&stage.dir.store_path(), Some(&genesis(9, 2)), false);
        assert_ne!(stage.dir.membership().unwrap().mesh, genesis(9, 2).mesh);
        drop(open(&stage.dir, StoreOptions::default()).unwrap());
        assert_eq!(stage.genesis.mesh, stage.dir.membership().unwrap().mesh);
    }
}
