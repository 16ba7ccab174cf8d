//! Members without a node, and connections without a gate: the parts of a meeting, in this process.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;

use libp2p::core::Endpoint;
use libp2p::core::transport::{DialOpts, ListenerId, PortUse, Transport, TransportEvent};
use nexus_identity::{Chain, Claims, Did, Keypair, Role, Timestamp};
use nexus_mesh::{
    BoxedTransport, Membership, Mesh, MeshConfig, MeshEvent, MeshEvents, Multiaddr, Rooms, TokioSpawner,
    tcp_quic_transport,
};
use nexus_node::api::Problem;
use tokio::time::Instant;

use super::client::failed;
use super::stage::DEADLINE;

/// The root key of a mesh of the bench.
pub(super) struct Root(Keypair);

impl Root {
    pub(super) fn new() -> Self {
        Self(Keypair::generate())
    }

    pub(super) fn did(&self) -> Did {
        self.0.did()
    }

    /// The credentials of a member that an admin invited: two links.
    pub(super) fn chain(&self, member: Did) -> Result<Chain, Problem> {
        let admin = Keypair::generate();
        let claims = |issuer: Did, subject: Did, role| -> Result<Claims, Problem> {
            let name = "bench".parse().map_err(|error| failed("a name", error))?;
            Ok(Claims::new(self.did(), subject, name, [role], Timestamp::from_ms(1)).issued_by(issuer))
        };
        let founder = Chain::found(claims(self.did(), admin.did(), Role::Admin)?.sign(&self.0));
        let chain = founder.map_err(|error| failed("credentials", error))?;
        let last = claims(admin.did(), member, Role::Member)?.sign(&admin);
        chain.extend(last).map_err(|error| failed("credentials", error))
    }

    /// Starts the mesh of a new member.
    pub(super) fn member(&self, listen: Option<&str>, mdns: bool) -> Result<(Mesh, MeshEvents), Problem> {
        let key = Keypair::generate();
        let mut config = MeshConfig::new(key.clone());
        config.membership = Some(Membership { mesh: self.did(), chain: self.chain(key.did())? });
        config.mdns = mdns;
        if let Some(address) = listen {
            config.listen.push(address.parse().map_err(|error| failed("an address", error))?);
        }
        let spawner = Arc::new(TokioSpawner::current());
        Mesh::start(transport(&key)?, config, Rooms::new(), spawner).map_err(|error| failed("a member", error))
    }
}

fn transport(key: &Keypair) -> Result<BoxedTransport, Problem> {
    tcp_quic_transport(key).map_err(|error| failed("a transport", error))
}

/// The next event that is wanted.
pub(super) async fn until<T>(
    events: &mut MeshEvents,
    mut wanted: impl FnMut(MeshEvent) -> Option<T>,
) -> Result<T, Problem> {
    let found = async {
        while let Some(event) = events.recv().await {
            if let Some(found) = wanted(event) {
                return Ok(found);
            }
        }
        Err(failed("a member", "it has ended"))
    };
    tokio::time::timeout(DEADLINE, found).await.map_err(|_| failed("a member", "it met nobody"))?
}

/// The address of a member that listens.
pub(super) async fn address(events: &mut MeshEvents) -> Result<Multiaddr, Problem> {
    until(events, |event| if let MeshEvent::Listening { address } = event { Some(address) } else { None }).await
}

/// Reads the events of a member that only has to be there.
pub(super) fn unread(mut events: MeshEvents) {
    tokio::spawn(async move { while events.recv().await.is_some() {} });
}

/// The milliseconds from the dial of a new member until its hello was answered and it is open to an address.
pub(super) async fn hello(root: &Root, there: &Multiaddr) -> Result<f64, Problem> {
    let (mesh, mut events) = root.member(None, false)?;
    let begin = Instant::now();
    mesh.bootstrap(there.clone());
    until(&mut events, |event| matches!(event, MeshEvent::PeerOpen { .. }).then_some(())).await?;
    let took = begin.elapsed().as_secs_f64() * 1e3;
    mesh.shutdown().await;
    Ok(took)
}

/// The listening end of bare connections: TCP, Noise and Yamux, and nothing above.
pub(super) struct Bare {
    address: Multiaddr,
}

impl Bare {
    pub(super) async fn listen() -> Result<Self, Problem> {
        let mut transport = transport(&Keypair::generate())?;
        let any = "/ip4/127.0.0.1/tcp/0".parse().map_err(|error| failed("an address", error))?;
        transport.listen_on(ListenerId::next(), any).map_err(|error| failed("loopback", error))?;
        let address = loop {
            match poll_fn(|context| Pin::new(&mut transport).poll(context)).await {
                TransportEvent::NewAddress { listen_addr, .. } => break listen_addr,
                TransportEvent::ListenerError { error, .. } => return Err(failed("loopback", error)),
                _ => {}
            }
        };
        tokio::spawn(async move {
            loop {
                let event = poll_fn(|context| Pin::new(&mut transport).poll(context)).await;
                if let TransportEvent::Incoming { upgrade, .. } = event {
                    tokio::spawn(upgrade);
                }
            }
        });
        Ok(Self { address })
    }

    /// The milliseconds until a connection is encrypted and both ends are authenticated.
    pub(super) async fn connect(&self) -> Result<f64, Problem> {
        let mut transport = transport(&Keypair::generate())?;
        let options = DialOpts { role: Endpoint::Dialer, port_use: PortUse::New };
        let begin = Instant::now();
        let dial = transport.dial(self.address.clone(), options).map_err(|error| failed("loopback", error))?;
        dial.await.map_err(|error| failed("loopback", error))?;
        Ok(begin.elapsed().as_secs_f64() * 1e3)
    }
}
