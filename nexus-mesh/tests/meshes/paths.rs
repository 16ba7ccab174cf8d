//! Connections of two kinds to one peer. No relay runs here: a transport calls some of its connections circuits, as a relay's
//! client would.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "tests")]

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use libp2p::core::Transport;
use libp2p::core::transport::{DialOpts, ListenerId, TransportError, TransportEvent};
use libp2p::multiaddr::Protocol;
use nexus_identity::Did;
use nexus_mesh::{BoxedTransport, ConnectionPath, DownCause, Multiaddr, PeerId, PeerStatus, Rooms, TokioSpawner};

use crate::common::*;

/// A transport in memory whose addresses behind a relay lead to the same place.
struct Detour {
    inner: BoxedTransport,
    /// The listeners behind the relay.
    circuits: Vec<ListenerId>,
}

/// The address of a place behind the relay.
fn circuit(place: &Multiaddr) -> Multiaddr {
    let relay = PeerId::from_multihash(libp2p::multihash::Multihash::wrap(0, &[7; 36]).unwrap()).unwrap();
    place.clone().with(Protocol::P2p(relay)).with(Protocol::P2pCircuit)
}

/// The place itself.
fn straight(address: Multiaddr) -> Multiaddr {
    match address.iter().any(|part| part == Protocol::P2pCircuit) {
        true => address.iter().take_while(|part| !matches!(part, Protocol::P2p(_))).collect(),
        false => address,
    }
}

impl Transport for Detour {
    type Output = <BoxedTransport as Transport>::Output;
    type Error = <BoxedTransport as Transport>::Error;
    type ListenerUpgrade = <BoxedTransport as Transport>::ListenerUpgrade;
    type Dial = <BoxedTransport as Transport>::Dial;

    fn listen_on(&mut self, id: ListenerId, address: Multiaddr) -> Result<(), TransportError<Self::Error>> {
        let place = straight(address.clone());
        if place != address {
            self.circuits.push(id);
        }
        self.inner.listen_on(id, place)
    }

    fn remove_listener(&mut self, id: ListenerId) -> bool {
        self.inner.remove_listener(id)
    }

    fn dial(&mut self, address: Multiaddr, options: DialOpts) -> Result<Self::Dial, TransportError<Self::Error>> {
        self.inner.dial(straight(address), options)
    }

    fn poll(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<TransportEvent<Self::ListenerUpgrade, Self::Error>> {
        let event = futures::ready!(Pin::new(&mut self.inner).poll(cx));
        let named =
            |id: ListenerId, place: Multiaddr| if self.circuits.contains(&id) { circuit(&place) } else { place };
        Poll::Ready(match event {
            TransportEvent::NewAddress { listener_id, listen_addr } => {
                TransportEvent::NewAddress { listener_id, listen_addr: named(listener_id, listen_addr) }
            }
            TransportEvent::Incoming { listener_id, upgrade, local_addr, send_back_addr } => {
                let local_addr = named(listener_id, local_addr);
                TransportEvent::Incoming { listener_id, upgrade, local_addr, send_back_addr }
            }
            other => other,
        })
    }
}

/// A node that listens at both kinds of address.
fn start(world: &World, n: u8) -> (Node, Multiaddr, Multiaddr) {
    let (direct, behind) = (memory_address(), circuit(&memory_address()));
    let mut config = world.config(n);
    config.listen = vec![direct.clone(), behind.clone()];
    let transport = Detour { inner: memory_transport(&config.keypair), circuits: Vec::new() }.boxed();
    let spawner = Arc::new(TokioSpawner::current());
    (Node::start_over(config, Rooms::new(), transport, spawner), direct, behind)
}

async fn status(node: &Node, of: Did) -> PeerStatus {
    node.mesh.peers().await.into_iter().find(|peer| peer.did == of).unwrap()
}

async fn paths(a: &Node, b: &Node) -> [Option<ConnectionPath>; 2] {
    let (to_b, to_a) = (status(a, b.did()).await, status(b, a.did()).await);
    [to_b, to_a].map(|status| status.quality.map(|quality| quality.path))
}

/// promise: Meeting | A direct connection takes the place of one through a relay, and never the other way round while both live
#[tokio::test]
async fn a_direct_connection_takes_the_place_of_one_through_a_relay() {
    log();
    let world = World::new(201);
    // each of the two decides once, by its key
    for (one, other) in [(1, 2), (2, 1)] {
        let ((mut a, ..), (mut b, direct, behind)) = (start(&world, one), start(&world, other));
        a.mesh.bootstrap(behind);
        meet(&mut a, &mut b).await;
        assert_eq!(paths(&a, &b).await, [Some(ConnectionPath::Relayed); 2]);
        a.mesh.bootstrap(direct);
        let (to_a, to_b) = (a.did(), b.did());
        for (node, peer) in [(&mut a, to_b), (&mut b, to_a)] {
            // the side that does not decide may hear of the end of the one before the beginning of the other
            let cause = node.until_closed(peer).await;
            assert!(matches!(cause, DownCause::Replaced | DownCause::RemoteClosed), "{cause}");
            node.until_open(peer).await;
        }
        assert_eq!(paths(&a, &b).await, [Some(ConnectionPath::Direct); 2]);
        healthy(&mut a, &mut b, "directly").await;
    }
}
