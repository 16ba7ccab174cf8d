//! From a list of names to a mesh. Every process gets the same list, and derives the same root key,
//! member keys and credentials from it: nobody has to be invited.
//!
//! Such keys are no secret. They are good for a test's mesh, which ends with it.

use std::sync::Arc;

use libp2p::core::Transport;
use libp2p::core::muxing::StreamMuxerBox;
use libp2p::core::transport::MemoryTransport;
use libp2p::core::upgrade::Version;
use libp2p::{noise, yamux};
use nexus_crdt::Incarnation;
use nexus_identity::{Chain, Claims, Keypair, Role, Timestamp};
use nexus_mesh::{BoxedTransport, Multiaddr, Spawner};
use nexus_node::NodeEnv;
use nexus_node::config::{Bounded, Config};
use nexus_node::env::RaftEnv;
use nexus_node::internals::engine::{Genesis, found};
use nexus_node::internals::store::Store;
use serde_json::Value;

/// The members of a cluster, in the same order on every node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Cluster {
    names: Vec<String>,
    me: usize,
}

impl Cluster {
    /// The most nodes of a cluster. Each has connections with all others.
    const NODES_MAX: usize = 64;
    /// The longest set-up of a connection.
    const HANDSHAKE_MAX: std::time::Duration = std::time::Duration::from_secs(10);

    /// The cluster of an `init` message, or the reason why it is unusable.
    pub(super) fn of(init: &Value) -> Result<Self, String> {
        let me = init["node_id"].as_str().ok_or("init names no node_id")?;
        let names = init["node_ids"].as_array().ok_or("init names no node_ids")?;
        let names: Option<Vec<String>> = names.iter().map(|name| name.as_str().map(str::to_owned)).collect();
        let mut names = names.ok_or("a node's id is no text")?;
        names.sort();
        names.dedup();
        if names.len() > Self::NODES_MAX {
            return Err(format!("{} nodes, at most {} can be", names.len(), Self::NODES_MAX));
        }
        let me = names.iter().position(|name| name == me).ok_or("node_id is not among node_ids")?;
        Ok(Self { names, me })
    }

    /// The nodes, by number.
    pub(super) fn names(&self) -> &[String] {
        &self.names
    }

    /// This node's number.
    pub(super) const fn me(&self) -> usize {
        self.me
    }

    /// A node's address inside each process. This node listens at its own, a tunnel at those of the others.
    pub(super) fn address(number: usize) -> Multiaddr {
        Multiaddr::empty().with(libp2p::multiaddr::Protocol::Memory(1 + number as u64))
    }

    /// A key derived from the list and a purpose.
    fn key(&self, of: &str) -> Keypair {
        let seed =
            blake3::derive_key("nexus 2026 maelstrom keys", format!("{of}\n{}", self.names.join("\n")).as_bytes());
        Keypair::from_seed(&seed)
    }

    fn member(&self, number: usize) -> Keypair {
        self.key(&format!("member {number}"))
    }

    /// This node's credentials. The first node founds the mesh and admits the others.
    fn chain(&self) -> Result<Chain, String> {
        let (root, founder) = (self.key("root"), self.member(0));
        let claims = |issuer: &Keypair, number: usize, role| {
            let name = format!("node {number}").parse().map_err(text_of)?;
            let issued = Timestamp::from_ms(1);
            let subject = self.member(number).did();
            Ok::<_, String>(Claims::new(root.did(), subject, name, [role], issued).issued_by(issuer.did()))
        };
        let chain = Chain::found(claims(&root, 0, Role::Admin)?.sign(&root)).map_err(text_of)?;
        match self.me {
            0 => Ok(chain),
            me => chain.extend(claims(&founder, me, Role::Member)?.sign(&founder)).map_err(text_of),
        }
    }

    /// The environment of this node. Its tasks run on the caller's spawner, so that the caller can end them.
    pub(super) fn env(&self, spawner: Arc<dyn Spawner>) -> Result<NodeEnv, String> {
        let mut drawn = [0; 16];
        getrandom::fill(&mut drawn).map_err(text_of)?;
        let [incarnation, store]: [[u8; 8]; 2] =
            [drawn[..8].try_into().map_err(text_of)?, drawn[8..].try_into().map_err(text_of)?];
        let genesis = Genesis {
            mesh: self.key("root").did(),
            chain: self.chain()?,
            incarnation: Incarnation(incarnation),
            store,
            fingerprint: None,
        };
        let memory = Store::memory().map_err(text_of)?;
        memory.commit(&[found(&genesis)]).map_err(text_of)?;
        let mut config = Config::default();
        config.mdns = false;
        config.listen.0 = vec![Self::address(self.me)];
        config.bootstrap.0 = (0..self.names.len()).filter(|number| *number != self.me).map(Self::address).collect();
        // a harness asks at once, and for minutes only
        config.voter_settle_ms = Bounded::of::<500>();
        let keypair = self.member(self.me);
        let transport = transport(&keypair)?;
        let mut env = NodeEnv::new(keypair, transport, spawner, memory);
        env.raft = Some(RaftEnv::memory().map_err(text_of)?);
        env.config = config;
        Ok(env)
    }
}

/// The transport, as over TCP, but with the tunnels of this process below.
fn transport(key: &Keypair) -> Result<BoxedTransport, String> {
    let mut seed = key.seed();
    let key = libp2p::identity::Keypair::ed25519_from_bytes(seed.as_mut_slice()).map_err(text_of)?;
    let transport = MemoryTransport::default()
        .upgrade(Version::V1Lazy)
        .authenticate(noise::Config::new(&key).map_err(text_of)?)
        .multiplex(yamux::Config::default())
        .timeout(Cluster::HANDSHAKE_MAX)
        .map(|(peer, muxer), _| (peer, StreamMuxerBox::new(muxer)));
    Ok(transport.boxed())
}

fn text_of(error: impl std::fmt::Display) -> String {
    error.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn cluster(me: &str, names: &[&str]) -> Result<Cluster, String> {
        Cluster::of(&json!({ "type": "init", "node_id": me, "node_ids": names }))
    }

    #[test]
    fn every_process_derives_the_same_mesh_and_a_key_of_its_own() {
        let one = cluster("n1", &["n1", "n2", "n3"]).unwrap();
        let two = cluster("n2", &["n3", "n2", "n1"]).unwrap();
        assert_eq!(one.key("root").did(), two.key("root").did());
        assert_eq!(one.member(1).did(), two.member(two.me()).did());
        assert_ne!(one.member(0).did(), one.member(1).did());
        for cluster in [&one, &two] {
            let claims = cluster.chain().unwrap().verify(&cluster.key("root").did()).unwrap();
            assert_eq!(claims.subject, cluster.member(cluster.me()).did());
        }
        // another list is another mesh
        assert_ne!(one.key("root").did(), cluster("n1", &["n1", "n2"]).unwrap().key("root").did());
    }

    #[test]
    fn a_list_that_cannot_be_used_is_refused() {
        assert!(cluster("n9", &["n1", "n2"]).is_err());
        assert!(Cluster::of(&json!({ "type": "init" })).is_err());
        assert!(Cluster::of(&json!({ "node_id": "n1", "node_ids": [1] })).is_err());
    }
}
