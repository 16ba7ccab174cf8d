use std::path::{Path, PathBuf};

use nexus_identity::{Chain, Claims, Did, Keypair, Name, Role};
use nexus_mesh::{Clock, SystemClock};

use super::peer_id;
use crate::NodeError;
use crate::datadir::{Contents, DataDir, Membership};
use crate::ledger::{self, Genesis};
use crate::own_store;
use crate::runtime::fresh_incarnation;
use crate::store::{Store, StoreOptions};
use crate::world::random;

/// A new node with a new mesh.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Initialized {
    /// The node's DID.
    pub did: Did,
    /// The node's libp2p peer id.
    pub peer_id: String,
    /// The mesh's DID.
    pub mesh_did: Did,
    /// The node's name.
    pub name: String,
    /// The node's directory.
    pub data_dir: PathBuf,
}

/// Makes a node with a new mesh in an empty directory, as its first member.
///
/// # Errors
/// [`NodeError::DataDir`], above all if there is a node already. Nothing has changed then.
pub fn init(path: &Path, name: Option<Name>) -> Result<Initialized, NodeError> {
    let dir = DataDir::create(path, Keypair::generate())?;
    let _lock = dir.lock()?;
    let store = open_store(&dir, StoreOptions::default())?;
    complete(&dir, &store, name)
}

/// Whether the node of a directory is in this mesh.
pub(super) fn is_of(path: &Path, mesh: &Did) -> Result<bool, NodeError> {
    if DataDir::inspect(path)? == Contents::Empty {
        return Ok(false);
    }
    let dir = DataDir::open(path)?;
    let _lock = dir.lock()?;
    if !own_store::has_been(&dir) {
        return Ok(false);
    }
    let store = open_store(&dir, StoreOptions::default())?;
    let genesis = ledger::read_genesis(&store.snapshot()?)?;
    store.close();
    Ok(genesis.is_some_and(|genesis| genesis.mesh == *mesh))
}

/// Gives the node of a directory a mesh, unless it has one. It also completes an interrupted `init`.
pub(super) fn complete(dir: &DataDir, store: &Store, name: Option<Name>) -> Result<Initialized, NodeError> {
    let me = dir.identity().did();
    let genesis = match ledger::read_genesis(&store.snapshot()?)? {
        Some(genesis) => genesis,
        None => found(dir, store, name)?,
    };
    let claims = genesis.chain.verify(&genesis.mesh).map_err(ledger::LedgerError::Chain)?;
    if dir.membership().is_none() {
        // a start that finds no store must know that there was one
        let place = Membership::new(genesis.mesh, genesis.chain.clone(), []);
        if let Err(error) = dir.write_membership(&place) {
            tracing::warn!(%error, "the node's place in its mesh is not kept beside the store");
        }
    }
    Ok(Initialized {
        did: me,
        peer_id: peer_id(&me),
        mesh_did: genesis.mesh,
        name: claims.name.to_string(),
        data_dir: dir.path().to_owned(),
    })
}

/// Makes a mesh. The root key is written first, so that no mesh exists without one.
fn found(dir: &DataDir, store: &Store, name: Option<Name>) -> Result<Genesis, NodeError> {
    let root = match dir.root()? {
        Some(root) => root,
        None => {
            let root = Keypair::generate();
            dir.write_root(&root)?;
            root
        }
    };
    let (mesh, me) = (root.did(), dir.identity().did());
    let claims = Claims::new(mesh, me, name.unwrap_or_else(machine_name), [Role::Admin], SystemClock::new().wall());
    let claims = claims.of_person(Some(mesh));
    let chain = Chain::found(claims.sign(&root)).map_err(ledger::LedgerError::Chain)?;
    let genesis = genesis(mesh, chain, dir.fingerprint());
    store.commit(&[ledger::found(&genesis)])?;
    Ok(genesis)
}

/// The genesis of a new store in a directory with this fingerprint.
pub(super) fn genesis(mesh: Did, chain: Chain, fingerprint: Option<Vec<u8>>) -> Genesis {
    let (incarnation, store) = (fresh_incarnation(), random());
    Genesis { mesh, chain, incarnation, store, fingerprint }
}

/// Opens the store of a directory. A lost or exchanged one is refused, and nothing changes.
pub(super) fn open_store(dir: &DataDir, options: StoreOptions) -> Result<Store, NodeError> {
    Ok(own_store::open(dir, options)?)
}

/// The name that the system goes by now. `/etc/hostname` has the one of its last start, and none in many containers.
#[cfg(unix)]
fn host_name() -> Option<String> {
    let name = rustix::system::uname().nodename().to_str().ok()?.to_owned();
    Some(name).filter(|name| !name.is_empty() && name != "localhost" && name != "(none)")
}

#[cfg(not(unix))]
fn host_name() -> Option<String> {
    None
}

/// This machine's name, as far as it is a valid one.
pub(crate) fn machine_name() -> Name {
    let host = host_name().or_else(|| std::env::var("HOSTNAME").or_else(|_| std::env::var("COMPUTERNAME")).ok());
    let host = host.and_then(|host| host.trim().split('.').next().and_then(|host| host.parse().ok()));
    #[expect(clippy::expect_used, reason = "a constant name")]
    host.unwrap_or_else(|| "node".parse().expect("a name"))
}
