//! The age of a data directory. A start notices that the directory is a copy, or an earlier state.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use nexus_mesh::{MeshError, Process, ProcessNumber};
use tokio::sync::watch;

use super::base::Base;
use crate::coordinator::Coordinator;
use crate::datadir::{CopySign, DataDir, Membership, Witness};
use crate::error::NodeError;
use crate::ledger::{self, Genesis, LedgerError, rows::meta};
use crate::notices::Notices;
use crate::runtime::{self, fresh_incarnation};
use crate::store::{Batch, Store, StoreError, Table, View};
use crate::world::{World, random};

/// The time between two ages of a directory that is written to. A crash hides a backup that is younger than this.
const GROW_EVERY: Duration = Duration::from_secs(60);

/// The most former names of a store that are kept: the latest ones.
const FORMER_STORES_MAX: usize = 32;

/// Lets a data directory grow older, in its store first and then at its witness.
///
/// The store is therefore never younger than the witness says, whenever the power goes.
pub(super) struct Aging {
    dir: DataDir,
    witness: Option<Witness>,
    age: tokio::sync::Mutex<u64>,
    sign: Option<CopySign>,
    process: Process,
}

impl Aging {
    /// Looks for signs that a directory is a copy, or an earlier state that was put back. With one it begins a new
    /// incarnation: the lost state, or the original, has written the log further.
    ///
    /// The store keeps the sign until [`settle`](Self::settle). After a crash in between it is found again.
    pub(super) fn notice(dir: DataDir, store: &Store, state: Option<&Path>) -> Result<Self, NodeError> {
        let snapshot = store.snapshot()?;
        let genesis = ledger::read_genesis(&snapshot)?;
        let name = genesis.as_ref().map(|genesis| genesis.store);
        let fingerprint = genesis.and_then(|Genesis { fingerprint, .. }| fingerprint);
        let age = snapshot.get(Table::Meta, meta::AGE)?.and_then(|age| Some(u64::from_le_bytes(age.try_into().ok()?)));
        // a backup of an earlier version has no age; a store that a join made has none yet
        let earlier = fingerprint.as_deref().is_some_and(DataDir::is_earlier);
        let age = age.or(earlier.then_some(0));
        let witness = match state.map(|state| dir.witness(state)).transpose() {
            Ok(witness) => witness.flatten(),
            Err(error) => {
                tracing::warn!(%error, "the data directory has no witness");
                None
            }
        };
        let known = witness.as_ref().and_then(Witness::age);
        let older = age.zip(known).is_some_and(|(age, known)| age < known);
        let sign = fingerprint.and_then(|fingerprint| dir.sign_since(&fingerprint));
        let sign = sign.or(older.then_some(CopySign::Older));
        if sign.is_some() {
            let mut batch = Batch::new();
            batch.put(Table::Meta, meta::INCARNATION, &fresh_incarnation().0);
            // cursors and the search index may be of the lost state
            batch.put(Table::Meta, meta::STORE, &random::<8>());
            // whoever comes with such a cursor has seen changes that are not here
            let mut former = snapshot.get(Table::Meta, meta::FORMER_STORES)?.unwrap_or_default();
            former.extend(name.iter().flatten());
            former.drain(..former.len().saturating_sub(FORMER_STORES_MAX * 8));
            batch.put(Table::Meta, meta::FORMER_STORES, &former);
            store.commit(&[batch])?;
        }
        let age = age.max(known).unwrap_or_default();
        // the processes of the original may run
        let former = match snapshot.get(Table::Meta, meta::PROCESSES)?.filter(|_| sign.is_none()) {
            Some(numbers) => numbers.as_chunks().0.to_vec(),
            None => Vec::<ProcessNumber>::new(),
        };
        let process = Process::after(former).map_err(|error| MeshError::Protocol("randomness", error.to_string()))?;
        Ok(Self { dir, witness, age: tokio::sync::Mutex::new(age), sign, process })
    }

    /// This process, after those before it on this directory.
    pub(super) const fn process(&self) -> &Process {
        &self.process
    }

    /// Whether the directory is a copy, or an earlier state.
    pub(super) const fn is_copied(&self) -> bool {
        self.sign.is_some()
    }

    /// Tells a person of the sign.
    pub(super) fn tell(&self, notices: &Notices) {
        let Some(sign) = self.sign else { return };
        notices.note(
            "restored",
            String::new(),
            format!("the data directory was put back from a copy: {sign}"),
            "the node goes on in a new log, and as another voter; if the original still runs, end one of the two; if \
             this was the only voter, bring keys and locks back with `nexus-node coordinator recover --i-understand`",
        );
    }

    /// Keeps the directory's numbers, and lets it grow older from here on.
    pub(super) async fn start(
        self: Arc<Self>,
        base: &Base,
        coordinator: Option<Arc<Coordinator>>,
    ) -> Result<(), NodeError> {
        self.settle(&base.world, &base.store).await?;
        let growing = self.follow(base.world.clone(), base.store.clone(), base.engine.committed(), coordinator);
        base.world.spawn("aging", growing);
        Ok(())
    }

    /// Keeps the directory's numbers as they are now. From here on the sign is gone, unless the disk is full: the next
    /// start finds it again then.
    pub(super) async fn settle(&self, world: &World, store: &Store) -> Result<(), NodeError> {
        let dir = self.dir.clone();
        let mut batch = Batch::new();
        match world.blocking(move || dir.fingerprint()).await? {
            Some(fingerprint) => batch.put(Table::Meta, meta::FINGERPRINT, &fingerprint),
            // the note of a restore is settled, too
            None => batch.delete(Table::Meta, meta::FINGERPRINT),
        }
        let numbers: Vec<u8> = self.process.numbers().flatten().copied().collect();
        batch.put(Table::Meta, meta::PROCESSES, &numbers);
        match self.grow_with(batch, world, store).await {
            Err(NodeError::DiskFull(_)) => {
                tracing::warn!("the disk is full: this start is not noted in the data directory");
                Ok(())
            }
            grown => grown,
        }
    }

    /// Makes the directory older than every copy of it until now.
    pub(super) async fn grow(&self, world: &World, store: &Store) -> Result<(), NodeError> {
        self.grow_with(Batch::new(), world, store).await
    }

    /// Commits past the engine, which holds its first writes back until it has heard a peer.
    async fn grow_with(&self, mut batch: Batch, world: &World, store: &Store) -> Result<(), NodeError> {
        let mut age = self.age.lock().await;
        let grown = age.saturating_add(1);
        if self.witness.is_some() {
            batch.put(Table::Meta, meta::AGE, &grown.to_le_bytes());
        }
        let (dir, store, witness) = (self.dir.clone(), store.clone(), self.witness.clone());
        let kept = world.blocking(move || {
            store.commit(&[batch])?;
            keep_membership(&dir, &store);
            Ok::<_, StoreError>(witness.map_or(Ok(()), |witness| witness.keep(grown)))
        });
        let kept = kept.await??;
        *age = grown;
        if let Err(error) = kept {
            tracing::warn!(%error, "the age of the data directory cannot be kept outside of it");
        }
        Ok(())
    }

    /// Grows while entries or critical writes arrive, until the store cannot be written any more.
    pub(super) async fn follow(
        self: Arc<Self>,
        world: World,
        store: Store,
        committed: watch::Receiver<u64>,
        raft: Option<Arc<Coordinator>>,
    ) {
        if self.witness.is_none() {
            return;
        }
        let reached = || {
            let applied = raft.as_ref().and_then(|raft| raft.applied_index()).map(|applied| *applied.borrow());
            (*committed.borrow(), applied)
        };
        let mut seen = reached();
        loop {
            tokio::time::sleep(GROW_EVERY).await;
            let now = reached();
            if now != seen {
                match self.grow(&world, &store).await {
                    Ok(()) => seen = now,
                    // it grows once there is room
                    Err(NodeError::DiskFull(_)) => {}
                    Err(_) => return,
                }
            }
        }
    }
}

/// Keeps the node's place in its mesh beside the store. Without it a damaged store would be lost as a whole.
fn keep_membership(dir: &DataDir, store: &Store) {
    let place = || {
        let snapshot = store.snapshot()?;
        let Some(Genesis { mesh, chain, .. }) = ledger::read_genesis(&snapshot)? else { return Ok(None) };
        let peers = runtime::known_peers(&snapshot)?.into_iter();
        let peers = peers.map(|(peer, addresses)| (peer, addresses.iter().map(ToString::to_string).collect()));
        Ok::<_, LedgerError>(Some(Membership::new(mesh, chain, peers)))
    };
    let kept = match place() {
        Ok(Some(membership)) => dir.write_membership(&membership).map_err(|error| error.to_string()),
        Ok(None) => Ok(()),
        Err(error) => Err(error.to_string()),
    };
    if let Err(error) = kept {
        tracing::warn!(%error, "the node's place in its mesh is not kept beside the store");
    }
}

#[cfg(test)]
mod tests {
    use nexus_identity::{Chain, Claims, Keypair, Role, Timestamp};

    use super::*;
    use crate::ledger::rows::meta::{AGE, FINGERPRINT, INCARNATION, STORE};
    use crate::node::found::genesis;

    /// A data directory with a store in memory, and its witness.
    struct Stage {
        home: tempfile::TempDir,
        dir: DataDir,
        store: Store,
    }

    impl Stage {
        fn new() -> Self {
            let home = tempfile::tempdir().unwrap();
            let (root, key) = (Keypair::from_seed(&[1; 32]), Keypair::from_seed(&[2; 32]));
            let dir = DataDir::create(&home.path().join("data"), key.clone()).unwrap();
            let claims =
                Claims::new(root.did(), key.did(), "laptop".parse().unwrap(), [Role::Admin], Timestamp::from_ms(1_000));
            let chain = Chain::found(claims.sign(&root)).unwrap();
            let store = Store::memory().unwrap();
            store.commit(&[ledger::found(&genesis(root.did(), chain, dir.fingerprint()))]).unwrap();
            Self { home, dir, store }
        }

        fn notice(&self) -> Aging {
            Aging::notice(self.dir.clone(), &self.store, Some(&self.home.path().join("state"))).unwrap()
        }

        /// A run of the node: its start and its end.
        async fn run(&self) -> Option<CopySign> {
            let aging = self.notice();
            aging.settle(&World::inline(), &self.store).await.unwrap();
            aging.grow(&World::inline(), &self.store).await.unwrap();
            aging.sign
        }

        fn row(&self, key: &[u8]) -> Vec<u8> {
            self.store.snapshot().unwrap().get(Table::Meta, key).unwrap().unwrap()
        }

        fn put(&self, key: &[u8], value: &[u8]) {
            let mut batch = Batch::new();
            batch.put(Table::Meta, key, value);
            self.store.commit(&[batch]).unwrap();
        }
    }

    /// promise: Store and data directory | A restart, a new version and files that Nexus makes itself are no restored backup
    #[tokio::test]
    async fn ordinary_starts_go_on_in_the_same_incarnation() {
        let stage = Stage::new();
        let incarnation = stage.row(INCARNATION);
        for _ in 0..3 {
            assert_eq!(stage.run().await, None);
        }
        // the power goes between the store and the witness
        stage.put(AGE, &9_u64.to_le_bytes());
        assert_eq!(stage.run().await, None);
        // the witness is lost
        std::fs::remove_dir_all(stage.home.path().join("state")).unwrap();
        assert_eq!(stage.run().await, None);
        assert_eq!(stage.row(INCARNATION), incarnation);
    }

    #[tokio::test]
    async fn a_process_shows_those_before_it_on_its_directory_and_none_of_a_copy_s() {
        let stage = Stage::new();
        let numbers = |aging: &Aging| aging.process().numbers().copied().collect::<Vec<_>>();
        let (mut all, mut backup) = (Vec::new(), None);
        for n in 0..3 {
            let aging = stage.notice();
            assert_eq!(numbers(&aging)[1..], all);
            all = numbers(&aging);
            aging.settle(&World::inline(), &stage.store).await.unwrap();
            backup = backup.or_else(|| (n == 1).then(|| stage.row(AGE)));
        }
        stage.put(AGE, &backup.unwrap());
        assert_eq!(numbers(&stage.notice()).len(), 1);
    }

    /// promise: Store and data directory | A backup that was put back is noticed, also in the same directory
    #[tokio::test]
    async fn an_earlier_age_in_the_same_files_begins_a_new_incarnation() {
        let stage = Stage::new();
        stage.run().await;
        let (backup, incarnation, name) = (stage.row(AGE), stage.row(INCARNATION), stage.row(STORE));
        stage.run().await;
        stage.put(AGE, &backup);
        // a start that ends before it has settled leaves the sign to the next one
        assert_eq!(stage.notice().sign, Some(CopySign::Older));
        assert_eq!(stage.run().await, Some(CopySign::Older));
        assert!(stage.row(INCARNATION) != incarnation && stage.row(STORE) != name);
        let after = stage.row(INCARNATION);
        assert_eq!(stage.run().await, None);
        assert_eq!(stage.row(INCARNATION), after);
    }

    /// promise: Store and data directory | A restart, a new version and files that Nexus makes itself are no restored backup
    #[cfg(unix)]
    #[tokio::test]
    async fn a_directory_of_an_earlier_version_is_taken_over_once() {
        let stage = Stage::new();
        let incarnation = stage.row(INCARNATION);
        let digest = stage.dir.earlier_fingerprint().unwrap();
        stage.put(FINGERPRINT, &digest);
        assert_eq!(stage.run().await, None);
        assert_eq!(stage.row(INCARNATION), incarnation);
        assert_eq!(stage.row(FINGERPRINT), stage.dir.fingerprint().unwrap());
        // a backup from before the new version, put back after it
        stage.put(FINGERPRINT, &digest);
        let mut batch = Batch::new();
        batch.delete(Table::Meta, AGE);
        stage.store.commit(&[batch]).unwrap();
        assert_eq!(stage.run().await, Some(CopySign::Older));
    }
}
