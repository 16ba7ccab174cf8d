use nexus_crdt::SpaceId;
use nexus_identity::{Did, Keypair};
use nexus_mesh::Multiaddr;

use crate::engine::Engine;
use crate::error::NodeError;
use crate::ledger::{self, Genesis, LedgerError, rows::meta};
use crate::runtime::{bring_up_to_date, known_peers};
use crate::store::{Overlay, Store, Table, View};

/// State read from the store at start.
pub(super) struct StartState {
    pub(super) genesis: Genesis,
    pub(super) engine: Engine,
    pub(super) overlay: Overlay,
    pub(super) peers: Vec<(Did, Vec<Multiaddr>)>,
    /// The store's names in cursors before it was put back from a copy.
    pub(super) former_names: Vec<[u8; 8]>,
    /// Whether this node's own credential and name are in the log.
    pub(super) introduced: bool,
    /// Whether this node founds the coordinators: the mesh's first member that has not done so.
    pub(super) founder: bool,
}

pub(super) fn open_state(key: &Keypair, store: &Store) -> Result<StartState, NodeError> {
    let settled = bring_up_to_date(key, store)?;
    if settled > 0 {
        tracing::info!(entries = settled, "derived tables were rebuilt");
    }
    let snapshot = store.snapshot()?;
    let genesis = ledger::read_genesis(&snapshot)?.ok_or(LedgerError::NoGenesis)?;
    let engine = Engine::open(key.clone(), &snapshot)?;
    let logs = ledger::read_logs(&snapshot)?;
    let mesh_space = SpaceId::mesh(&genesis.mesh);
    let introduced =
        logs.iter().any(|(_, log, head)| log.space == mesh_space && log.author == key.did() && head.is_some());
    let founder = genesis.chain.len() == 1 && !snapshot.contains(Table::Meta, meta::COORDINATED)?;
    let former = snapshot.get(Table::Meta, meta::FORMER_STORES)?.unwrap_or_default();
    Ok(StartState {
        founder,
        former_names: former.as_chunks().0.to_vec(),
        genesis,
        engine,
        overlay: Overlay::new(store.clone())?,
        peers: known_peers(&snapshot)?,
        introduced,
    })
}
