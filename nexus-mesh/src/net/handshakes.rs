//! Inbound handshakes: a bound that silent sockets cannot fill for good.

use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use crate::libp2p::Multiaddr;
use crate::libp2p::core::transport::{DialOpts, ListenerId, Transport, TransportError, TransportEvent};
use futures::FutureExt;
use futures::future::{AbortHandle, Abortable, BoxFuture};

use super::posted::lock;
use super::transport::BoxedTransport;
use crate::crowd::{Admission, Crowd, Network};

/// A transport whose inbound handshakes are few. A newcomer beyond the bound ends the oldest one.
pub(super) struct BoundedHandshakes {
    inner: BoxedTransport,
    handshakes: Arc<Mutex<Handshakes>>,
}

struct Handshakes {
    next: u64,
    crowd: Crowd<u64>,
    /// Ends each one that is under way.
    ends: BTreeMap<u64, AbortHandle>,
}

impl BoundedHandshakes {
    pub(super) fn new(inner: BoxedTransport, max: usize, per_network_max: usize) -> Self {
        let handshakes = Handshakes { next: 0, crowd: Crowd::new(max, per_network_max), ends: BTreeMap::new() };
        Self { inner, handshakes: Arc::new(Mutex::new(handshakes)) }
    }

    fn begin<O: Send + 'static>(
        &self,
        handshake: impl Future<Output = io::Result<O>> + Send + 'static,
        from: Network,
    ) -> BoxFuture<'static, io::Result<O>> {
        let mut handshakes = lock(&self.handshakes);
        let id = handshakes.next;
        handshakes.next += 1;
        // Nobody speaks before the end of a handshake, so there is always one to go.
        if let Admission::Instead(old) = handshakes.crowd.admit(id, from)
            && let Some(end) = handshakes.ends.remove(&old)
        {
            end.abort();
        }
        let (end, registration) = AbortHandle::new_pair();
        handshakes.ends.insert(id, end);
        drop(handshakes);
        let place = Place { handshakes: self.handshakes.clone(), id };
        Abortable::new(handshake, registration)
            .map(move |done| {
                drop(place);
                done.unwrap_or_else(|_| Err(io::Error::other("a newcomer has its place")))
            })
            .boxed()
    }
}

/// The place of a handshake, free when it is dropped.
struct Place {
    handshakes: Arc<Mutex<Handshakes>>,
    id: u64,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut handshakes = lock(&self.handshakes);
        handshakes.crowd.leave(self.id);
        handshakes.ends.remove(&self.id);
    }
}

impl Transport for BoundedHandshakes {
    type Output = <BoxedTransport as Transport>::Output;
    type Error = io::Error;
    type ListenerUpgrade = BoxFuture<'static, io::Result<Self::Output>>;
    type Dial = <BoxedTransport as Transport>::Dial;

    fn listen_on(&mut self, id: ListenerId, address: Multiaddr) -> Result<(), TransportError<io::Error>> {
        self.inner.listen_on(id, address)
    }

    fn remove_listener(&mut self, id: ListenerId) -> bool {
        self.inner.remove_listener(id)
    }

    fn dial(&mut self, address: Multiaddr, options: DialOpts) -> Result<Self::Dial, TransportError<io::Error>> {
        self.inner.dial(address, options)
    }

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<TransportEvent<Self::ListenerUpgrade, io::Error>> {
        Pin::new(&mut self.inner).poll(cx).map(|event| match event {
            TransportEvent::Incoming { listener_id, upgrade, local_addr, send_back_addr } => {
                let upgrade = self.begin(upgrade, Network::of(&local_addr, &send_back_addr));
                TransportEvent::Incoming { listener_id, upgrade, local_addr, send_back_addr }
            }
            other => other.map_upgrade(|_| futures::future::pending().boxed()),
        })
    }
}
