//! A behaviour whose peers are heard at the pace of this node.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use crate::libp2p::core::Endpoint;
use crate::libp2p::core::transport::PortUse;
use crate::libp2p::swarm::handler::ConnectionEvent;
use crate::libp2p::swarm::{
    ConnectionDenied, ConnectionHandler, ConnectionHandlerEvent, ConnectionId, FromSwarm, NetworkBehaviour,
    SubstreamProtocol, THandler, THandlerInEvent, THandlerOutEvent, ToSwarm,
};
use crate::libp2p::{Multiaddr, PeerId};
use tokio::time::{Instant, Sleep};

use super::posted::lock;
use crate::clock;

/// The peers that are not heard for a while. The loop writes it, the connections read it.
#[derive(Clone, Debug, Default)]
pub(super) struct Pauses(Arc<Mutex<BTreeMap<PeerId, Instant>>>);

impl Pauses {
    /// Hears nothing of a peer until then. An earlier pause that is longer stays.
    pub(super) fn pause(&self, peer: PeerId, until: Instant, now: Instant) {
        let mut pauses = lock(&self.0);
        pauses.retain(|_, until| *until > now);
        let pause = pauses.entry(peer).or_insert(until);
        *pause = until.max(*pause);
    }

    fn of(&self, peer: &PeerId, now: Instant) -> Option<Instant> {
        lock(&self.0).get(peer).copied().filter(|until| *until > now)
    }
}

/// A behaviour of which the handler of a paused peer is left alone.
///
/// The peer's bytes stay in its stream, which is full at some time: then the peer waits. A message that is read and
/// dropped costs the work of its decryption, its decoding and its id all the same.
pub(super) struct Paced<B> {
    inner: B,
    pauses: Pauses,
}

impl<B> Paced<B> {
    pub(super) fn new(inner: B) -> Self {
        Self { inner, pauses: Pauses::default() }
    }

    pub(super) const fn inner_mut(&mut self) -> &mut B {
        &mut self.inner
    }

    pub(super) const fn pauses(&self) -> &Pauses {
        &self.pauses
    }

    fn handler<H>(&self, peer: PeerId, inner: H) -> PacedHandler<H> {
        PacedHandler { inner, peer, pauses: self.pauses.clone(), sleep: None }
    }
}

impl<B: NetworkBehaviour> NetworkBehaviour for Paced<B> {
    type ConnectionHandler = PacedHandler<THandler<B>>;
    type ToSwarm = B::ToSwarm;

    fn handle_pending_inbound_connection(
        &mut self,
        connection: ConnectionId,
        local: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<(), ConnectionDenied> {
        self.inner.handle_pending_inbound_connection(connection, local, remote)
    }

    fn handle_established_inbound_connection(
        &mut self,
        connection: ConnectionId,
        peer: PeerId,
        local: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        let inner = self.inner.handle_established_inbound_connection(connection, peer, local, remote)?;
        Ok(self.handler(peer, inner))
    }

    fn handle_pending_outbound_connection(
        &mut self,
        connection: ConnectionId,
        peer: Option<PeerId>,
        addresses: &[Multiaddr],
        role: Endpoint,
    ) -> Result<Vec<Multiaddr>, ConnectionDenied> {
        self.inner.handle_pending_outbound_connection(connection, peer, addresses, role)
    }

    fn handle_established_outbound_connection(
        &mut self,
        connection: ConnectionId,
        peer: PeerId,
        address: &Multiaddr,
        role: Endpoint,
        port_use: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        let inner = self.inner.handle_established_outbound_connection(connection, peer, address, role, port_use)?;
        Ok(self.handler(peer, inner))
    }

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        self.inner.on_swarm_event(event);
    }

    fn on_connection_handler_event(&mut self, peer: PeerId, connection: ConnectionId, event: THandlerOutEvent<Self>) {
        self.inner.on_connection_handler_event(peer, connection, event);
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        self.inner.poll(cx)
    }
}

/// The handler of one connection, which sleeps while its peer is paused.
pub(super) struct PacedHandler<H> {
    inner: H,
    peer: PeerId,
    pauses: Pauses,
    sleep: Option<Pin<Box<Sleep>>>,
}

impl<H> PacedHandler<H> {
    /// Ready once the peer may be heard.
    fn poll_pause(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while let Some(until) = self.pauses.of(&self.peer, clock::now()) {
            let sleep = self.sleep.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(until)));
            if sleep.deadline() != until {
                sleep.as_mut().reset(until);
            }
            if sleep.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
        }
        self.sleep = None;
        Poll::Ready(())
    }
}

impl<H: ConnectionHandler> ConnectionHandler for PacedHandler<H> {
    type FromBehaviour = H::FromBehaviour;
    type ToBehaviour = H::ToBehaviour;
    type InboundProtocol = H::InboundProtocol;
    type OutboundProtocol = H::OutboundProtocol;
    type InboundOpenInfo = H::InboundOpenInfo;
    type OutboundOpenInfo = H::OutboundOpenInfo;

    fn listen_protocol(&self) -> SubstreamProtocol<Self::InboundProtocol, Self::InboundOpenInfo> {
        self.inner.listen_protocol()
    }

    fn connection_keep_alive(&self) -> bool {
        self.inner.connection_keep_alive()
    }

    fn poll(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<ConnectionHandlerEvent<Self::OutboundProtocol, Self::OutboundOpenInfo, Self::ToBehaviour>> {
        futures::ready!(self.poll_pause(cx));
        self.inner.poll(cx)
    }

    fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<Option<Self::ToBehaviour>> {
        self.inner.poll_close(cx)
    }

    fn on_behaviour_event(&mut self, event: Self::FromBehaviour) {
        self.inner.on_behaviour_event(event);
    }

    fn on_connection_event(
        &mut self,
        event: ConnectionEvent<
            '_,
            Self::InboundProtocol,
            Self::OutboundProtocol,
            Self::InboundOpenInfo,
            Self::OutboundOpenInfo,
        >,
    ) {
        self.inner.on_connection_event(event);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures::future::poll_fn;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn a_paused_peer_is_heard_after_its_longest_pause_and_others_at_once() {
        let (pauses, peer, other) = (Pauses::default(), PeerId::random(), PeerId::random());
        let handler = |peer| PacedHandler { inner: (), peer, pauses: pauses.clone(), sleep: None };
        let (mut of_peer, mut of_other) = (handler(peer), handler(other));
        let start = Instant::now();
        pauses.pause(peer, start + 2 * SECOND, start);
        pauses.pause(peer, start + SECOND, start);
        poll_fn(|cx| of_other.poll_pause(cx)).await;
        assert_eq!(start.elapsed(), Duration::ZERO);
        poll_fn(|cx| of_peer.poll_pause(cx)).await;
        assert_eq!(start.elapsed(), 2 * SECOND);
        // a pause that begins while it sleeps counts, too
        pauses.pause(peer, start + 3 * SECOND, Instant::now());
        assert!(futures::poll!(poll_fn(|cx| of_peer.poll_pause(cx))).is_pending());
        pauses.pause(peer, start + 4 * SECOND, Instant::now());
        poll_fn(|cx| of_peer.poll_pause(cx)).await;
        assert_eq!(start.elapsed(), 4 * SECOND);
        assert!(lock(&pauses.0).len() == 1, "one for each peer");
        pauses.pause(other, start + 9 * SECOND, Instant::now());
        assert!(!lock(&pauses.0).contains_key(&peer), "those that are over are forgotten");
    }
}
