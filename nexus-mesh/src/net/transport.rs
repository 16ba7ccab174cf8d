use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use crate::libp2p::core::muxing::StreamMuxerBox;
use crate::libp2p::core::transport::{Boxed, DialOpts, ListenerId, PortUse, Transport, TransportEvent};
use crate::libp2p::core::upgrade::Version;
#[cfg(feature = "quic")]
use crate::libp2p::quic;
use crate::libp2p::{Multiaddr, PeerId, noise, tcp, yamux};
use nexus_identity::Keypair;

use crate::error::TransportError;
use crate::peer::libp2p_keypair;

/// The transport of a mesh: its connections are authenticated and multiplexed.
pub type BoxedTransport = Boxed<(PeerId, StreamMuxerBox)>;

/// The ways of a mesh to its peers.
///
/// It is a transport today. A client of relays is two things: a transport, and a behaviour in the swarm that keeps its
/// reservations. The second has its place here, beside the first, and no caller changes for it. Connections through a relay are known by their
/// addresses already ([`ConnectionPath`](crate::ConnectionPath)).
pub struct MeshTransport {
    pub(crate) transport: BoxedTransport,
}

impl From<BoxedTransport> for MeshTransport {
    fn from(transport: BoxedTransport) -> Self {
        Self { transport }
    }
}

impl fmt::Debug for MeshTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MeshTransport").finish_non_exhaustive()
    }
}

/// The longest time of a dial and its handshake.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(20);
/// The longest time of a handshake over QUIC, where nothing says that nobody is there.
#[cfg(feature = "quic")]
const QUIC_HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(8);
/// Streams of one TCP connection, both ways: the rooms' limits and a few for gossip and doors.
const YAMUX_STREAMS_MAX: usize = 144;
/// Streams that a peer may open on one QUIC connection.
#[cfg(feature = "quic")]
const QUIC_STREAMS_MAX: u32 = 96;
/// Unread bytes of one QUIC stream: enough for 10 MB a second at a round trip of 100 ms.
#[cfg(feature = "quic")]
const QUIC_STREAM_BYTES_MAX: u32 = 1 << 20;
/// Unread bytes of one QUIC connection: as many as the few streams of a stranger pin over TCP.
#[cfg(feature = "quic")]
const QUIC_CONNECTION_BYTES_MAX: u32 = 2 << 20;

/// The transport of real nodes: QUIC (feature `quic`), and TCP with Noise and Yamux.
///
/// quinn's and tokio's sockets run on the tokio runtime of the caller and end when the transport
/// is dropped.
///
/// # Errors
/// [`TransportError`] if the key is not usable.
pub fn tcp_quic_transport(keypair: &Keypair) -> Result<BoxedTransport, TransportError> {
    let key = libp2p_keypair(keypair).ok_or(TransportError::Key)?;
    let noise = noise::Config::new(&key).map_err(|error| TransportError::Noise(error.to_string()))?;
    let mut yamux = yamux::Config::default();
    yamux.set_max_num_streams(YAMUX_STREAMS_MAX);
    let tcp = NewPort(tcp::tokio::Transport::new(tcp::Config::default().nodelay(true)))
        .upgrade(Version::V1Lazy)
        .authenticate(noise)
        .multiplex(yamux)
        .timeout(HANDSHAKE_TIMEOUT)
        .map(|(peer, muxer), _| (peer, StreamMuxerBox::new(muxer)));
    #[cfg(feature = "quic")]
    let transport = quic(&key).or_transport(tcp).map(|either, _| either.into_inner()).boxed();
    #[cfg(not(feature = "quic"))]
    let transport = tcp.boxed();
    Ok(transport)
}

/// The silence after which a QUIC connection is kept alive. Pings come before that, and the connection ends after 10 s.
#[cfg(feature = "quic")]
const QUIC_KEEP_ALIVE: Duration = Duration::from_secs(8);

/// The head start of a dial over TCP. Over QUIC nobody hears that a process was killed, and a leader at rest must speak all
/// the time. So a peer nearby is met over TCP if it listens there, and a far one over QUIC, which needs fewer round trips.
#[cfg(feature = "quic")]
const TCP_HEAD_START: Duration = Duration::from_millis(100);

#[cfg(feature = "quic")]
fn quic(key: &crate::libp2p::identity::Keypair) -> BoxedTransport {
    let mut config = quic::Config::new(key);
    config.handshake_timeout = QUIC_HANDSHAKE_TIMEOUT;
    config.max_concurrent_stream_limit = QUIC_STREAMS_MAX;
    config.max_stream_data = QUIC_STREAM_BYTES_MAX;
    config.max_connection_data = QUIC_CONNECTION_BYTES_MAX;
    config.keep_alive_interval = QUIC_KEEP_ALIVE;
    let quic = quic::tokio::Transport::new(config).map(|(peer, muxer), _| (peer, StreamMuxerBox::new(muxer)));
    Later(quic.boxed()).boxed()
}

/// Dials a moment later.
#[cfg(feature = "quic")]
struct Later(BoxedTransport);

#[cfg(feature = "quic")]
impl Transport for Later {
    type Output = <BoxedTransport as Transport>::Output;
    type Error = <BoxedTransport as Transport>::Error;
    type ListenerUpgrade = <BoxedTransport as Transport>::ListenerUpgrade;
    type Dial = futures::future::BoxFuture<'static, Result<Self::Output, Self::Error>>;

    fn listen_on(
        &mut self,
        id: ListenerId,
        address: Multiaddr,
    ) -> Result<(), crate::libp2p::core::transport::TransportError<Self::Error>> {
        self.0.listen_on(id, address)
    }

    fn remove_listener(&mut self, id: ListenerId) -> bool {
        self.0.remove_listener(id)
    }

    fn dial(
        &mut self,
        address: Multiaddr,
        options: DialOpts,
    ) -> Result<Self::Dial, crate::libp2p::core::transport::TransportError<Self::Error>> {
        // the dial begins when it is polled first
        let dial = self.0.dial(address, options)?;
        Ok(Box::pin(async move {
            tokio::time::sleep(TCP_HEAD_START).await;
            dial.await
        }))
    }

    fn poll(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<TransportEvent<Self::ListenerUpgrade, Self::Error>> {
        Pin::new(&mut self.0).poll(cx)
    }
}

/// Dials from a port of its own each time.
///
/// Two TCP nodes that dial each other at the same moment from their listening ports meet in one
/// "simultaneous open" connection. Both are the Noise initiator on it, so the handshake fails.
struct NewPort<T>(T);

impl<T: Transport + Unpin> Transport for NewPort<T> {
    type Output = T::Output;
    type Error = T::Error;
    type ListenerUpgrade = T::ListenerUpgrade;
    type Dial = T::Dial;

    fn listen_on(
        &mut self,
        id: ListenerId,
        address: Multiaddr,
    ) -> Result<(), crate::libp2p::core::transport::TransportError<T::Error>> {
        self.0.listen_on(id, address)
    }

    fn remove_listener(&mut self, id: ListenerId) -> bool {
        self.0.remove_listener(id)
    }

    fn dial(
        &mut self,
        address: Multiaddr,
        options: DialOpts,
    ) -> Result<T::Dial, crate::libp2p::core::transport::TransportError<T::Error>> {
        self.0.dial(address, DialOpts { port_use: PortUse::New, ..options })
    }

    fn poll(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<TransportEvent<Self::ListenerUpgrade, Self::Error>> {
        Pin::new(&mut self.0).poll(cx)
    }
}
