use nexus_crdt::{Incarnation, SpaceId};
use nexus_identity::{Chain, Did, Name};

use super::LedgerError;
use super::rows::{self, SpaceRow, TASKS_SPACE, VIEW_VERSION, meta, unreadable};
use crate::store::{Batch, Table, View};

/// The first facts of a store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Genesis {
    /// The mesh.
    pub mesh: Did,
    /// This node's chain of credentials.
    pub chain: Chain,
    /// The incarnation of this node's store.
    pub incarnation: Incarnation,
    /// The store's name in cursors: eight random bytes.
    pub store: [u8; 8],
    /// The fingerprint of the store's directory, if there is one. Its bytes are the directory's affair.
    pub fingerprint: Option<Vec<u8>>,
}

/// The first batch of a store.
pub fn found(genesis: &Genesis) -> Batch {
    let mut batch = Batch::new();
    batch.put(Table::Meta, meta::MESH, genesis.mesh.as_bytes());
    batch.put(Table::Meta, meta::CHAIN, &genesis.chain.to_bytes());
    batch.put(Table::Meta, meta::INCARNATION, &genesis.incarnation.0);
    batch.put(Table::Meta, meta::STORE, &genesis.store);
    batch.put(Table::Meta, meta::VIEW, &VIEW_VERSION.to_le_bytes());
    if let Some(fingerprint) = &genesis.fingerprint {
        batch.put(Table::Meta, meta::FINGERPRINT, fingerprint);
    }
    write_builtin_spaces(&mut batch, &genesis.mesh);
    batch
}

/// The spaces that come with a mesh, empty.
pub(crate) fn write_builtin_spaces(batch: &mut Batch, mesh: &Did) {
    let spaces = [
        (0, SpaceId::mesh(mesh), "mesh"),
        (1, SpaceId::default_of(mesh), "default"),
        (TASKS_SPACE, SpaceId::tasks_of(mesh), "tasks"),
    ];
    for (no, id, name) in spaces {
        #[expect(clippy::expect_used, reason = "constant names")]
        let name: Name = name.parse().expect("a name");
        let row = SpaceRow { no, name, access: 0, author: *mesh, records: 0, entries: 0, bytes: 0, cut: false };
        batch.put(Table::Spaces, id.as_bytes(), &rows::encode(&row));
    }
}

/// The first facts of a store; `None` if it is empty.
///
/// # Errors
/// An error of the view, or unreadable rows.
pub fn read_genesis(view: &dyn View) -> Result<Option<Genesis>, LedgerError> {
    let Some(mesh) = view.get(Table::Meta, meta::MESH)? else {
        return Ok(None);
    };
    let need = |key| view.get(Table::Meta, key)?.ok_or_else(|| unreadable(Table::Meta));
    let eight = |bytes: Vec<u8>| bytes.try_into().map_err(|_| unreadable(Table::Meta));
    let fingerprint = view.get(Table::Meta, meta::FINGERPRINT)?;
    Ok(Some(Genesis {
        mesh: rows::read_did(&mesh)?,
        chain: Chain::from_bytes(&need(meta::CHAIN)?)?,
        incarnation: Incarnation(eight(need(meta::INCARNATION)?)?),
        store: eight(need(meta::STORE)?)?,
        fingerprint,
    }))
}
