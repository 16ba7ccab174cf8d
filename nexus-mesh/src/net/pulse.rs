//! Signs of life on each connection: libp2p's ping, by one end of it.
//!
//! An answered ping tells its sender that the other lives, and a received one tells the same to its receiver. So the
//! end that dialled pings, and the other one only if it hears nothing for longer. A ping of an earlier version, which
//! pings from both ends, is answered and counts as well. All connections of a node ping at the same moments: a process
//! at rest then wakes once for them.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use crate::libp2p::core::Endpoint;
use crate::libp2p::core::transport::PortUse;
use crate::libp2p::core::upgrade::ReadyUpgrade;
use crate::libp2p::swarm::behaviour::ConnectionClosed;
use crate::libp2p::swarm::handler::{
    ConnectionEvent, DialUpgradeError, FullyNegotiatedInbound, FullyNegotiatedOutbound,
};
use crate::libp2p::swarm::{
    ConnectionDenied, ConnectionHandler, ConnectionHandlerEvent, ConnectionId, FromSwarm, NetworkBehaviour,
    StreamUpgradeError, SubstreamProtocol, THandler, THandlerInEvent, THandlerOutEvent, ToSwarm,
};
use crate::libp2p::{Multiaddr, PeerId, Stream, StreamProtocol};
use futures::FutureExt;
use futures::future::BoxFuture;
use futures::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, Sleep};

use crate::{clock, timers};

/// The protocol of libp2p's ping.
const PING: StreamProtocol = StreamProtocol::new("/ipfs/ping/1.0.0");
/// The bytes of a ping, which come back.
const PING_BYTES: usize = 32;
/// The shortest time between two reports of pings of one peer.
const TOLD_EACH: Duration = Duration::from_millis(100);
/// The longest time between two measurements of the round trip.
const MEASURED_EACH: Duration = Duration::from_secs(60);

/// The times at which one end of a connection pings. Pure.
#[derive(Clone, Copy, Debug)]
struct Rhythm {
    dialer: bool,
    /// The time between two pings of the end that dialled.
    every: Duration,
    /// The silence after which the other end pings.
    patience: Duration,
    /// The moment from which the pings of all connections are counted.
    epoch: Instant,
    /// The last sign of life, or failed ping.
    heard: Option<Instant>,
    /// The end of the last ping of this end.
    measured: Option<Instant>,
}

impl Rhythm {
    /// The time of the next ping. The first is sent at once, for the round trip.
    fn due(&self) -> Option<Instant> {
        let (heard, measured) = (self.heard?, self.measured?);
        if self.dialer {
            // not later than after `every`, together with the others
            let rounds = (heard + self.every).saturating_duration_since(self.epoch).as_nanos() / self.every.as_nanos();
            return Some(self.epoch + self.every.saturating_mul(u32::try_from(rounds).unwrap_or(u32::MAX)));
        }
        Some((heard + self.patience).min(measured + MEASURED_EACH.max(self.patience)))
    }
}

/// Both ends of pings, for each connection.
pub(super) struct Pulse {
    every: Duration,
    patience: Duration,
    epoch: Instant,
    /// The last round trip of each open connection. The first is measured before its peer is admitted.
    rtts: BTreeMap<ConnectionId, Duration>,
    events: VecDeque<Sign>,
}

/// A sign of life of a peer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sign {
    pub(super) peer: PeerId,
    pub(super) connection: ConnectionId,
}

impl Pulse {
    /// Pings `every` so often from the end that dialled, and after `patience` without a sign of life from the other.
    pub(super) fn new(every: Duration, patience: Duration) -> Self {
        Self { every, patience, epoch: clock::now(), rtts: BTreeMap::new(), events: VecDeque::new() }
    }

    /// The last round trip that was measured over an open connection.
    pub(super) fn rtt(&self, connection: ConnectionId) -> Option<Duration> {
        self.rtts.get(&connection).copied()
    }

    fn handler(&self, dialer: bool) -> PulseHandler {
        let Self { every, patience, epoch, .. } = *self;
        let rhythm = Rhythm { dialer, every, patience, epoch, heard: None, measured: None };
        PulseHandler {
            rhythm,
            sleep: None,
            inbound: None,
            outbound: Outbound::None,
            signs: VecDeque::new(),
            told: None,
        }
    }
}

impl NetworkBehaviour for Pulse {
    type ConnectionHandler = PulseHandler;
    type ToSwarm = Sign;

    fn handle_established_inbound_connection(
        &mut self,
        _: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        _: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(self.handler(false))
    }

    fn handle_established_outbound_connection(
        &mut self,
        _: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(self.handler(true))
    }

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        if let FromSwarm::ConnectionClosed(ConnectionClosed { connection_id, .. }) = event {
            self.rtts.remove(&connection_id);
        }
    }

    fn on_connection_handler_event(&mut self, peer: PeerId, connection: ConnectionId, rtt: THandlerOutEvent<Self>) {
        if let Some(rtt) = rtt {
            self.rtts.insert(connection, rtt);
        }
        self.events.push_back(Sign { peer, connection });
    }

    fn poll(&mut self, _: &mut Context<'_>) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        self.events.pop_front().map_or(Poll::Pending, |sign| Poll::Ready(ToSwarm::GenerateEvent(sign)))
    }
}

type Answering = BoxFuture<'static, io::Result<Stream>>;
type Pinging = BoxFuture<'static, io::Result<(Stream, Duration)>>;

/// This node's pings on a connection.
enum Outbound {
    None,
    Opening,
    Idle(Stream),
    Pinging(Pinging),
    /// The peer knows no pings.
    Unknown,
}

/// The pings of one connection.
pub(super) struct PulseHandler {
    rhythm: Rhythm,
    sleep: Option<Pin<Box<Sleep>>>,
    inbound: Option<Answering>,
    outbound: Outbound,
    /// Signs of life that are not reported yet: the round trip of an answered ping, `None` for a ping of the peer.
    signs: VecDeque<Option<Duration>>,
    /// The last time at which a ping of the peer was reported.
    told: Option<Instant>,
}

impl PulseHandler {
    /// Ready once the next ping is due.
    fn poll_due(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(due) = self.rhythm.due() else { return Poll::Ready(()) };
        let due = timers::coarse(due);
        let sleep = self.sleep.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(due)));
        if sleep.deadline() != due {
            // a reset to a later moment would wake the process at the former one, too
            sleep.set(tokio::time::sleep_until(due));
        }
        sleep.as_mut().poll(cx)
    }

    /// Notes a ping of the peer, however many it sends.
    fn hear(&mut self, now: Instant) {
        self.rhythm.heard = Some(now);
        if self.told.is_none_or(|told| now.saturating_duration_since(told) >= TOLD_EACH) {
            self.told = Some(now);
            self.signs.push_back(None);
        }
    }

    /// The ping failed. The next one has its usual time.
    fn failed(&mut self) {
        let now = Some(clock::now());
        (self.rhythm.heard, self.rhythm.measured) = (now, now);
    }
}

impl ConnectionHandler for PulseHandler {
    type FromBehaviour = std::convert::Infallible;
    type ToBehaviour = Option<Duration>;
    type InboundProtocol = ReadyUpgrade<StreamProtocol>;
    type OutboundProtocol = ReadyUpgrade<StreamProtocol>;
    type InboundOpenInfo = ();
    type OutboundOpenInfo = ();

    fn listen_protocol(&self) -> SubstreamProtocol<Self::InboundProtocol> {
        SubstreamProtocol::new(ReadyUpgrade::new(PING), ())
    }

    fn on_behaviour_event(&mut self, event: Self::FromBehaviour) {
        match event {}
    }

    fn poll(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<ConnectionHandlerEvent<Self::OutboundProtocol, (), Self::ToBehaviour>> {
        if let Some(answering) = &mut self.inbound {
            match answering.poll_unpin(cx) {
                Poll::Ready(Ok(stream)) => {
                    self.inbound = Some(answer(stream).boxed());
                    self.hear(clock::now());
                    // others have their turn before the next ping
                    cx.waker().wake_by_ref();
                }
                Poll::Ready(Err(_)) => self.inbound = None,
                Poll::Pending => {}
            }
        }
        loop {
            if let Some(sign) = self.signs.pop_front() {
                return Poll::Ready(ConnectionHandlerEvent::NotifyBehaviour(sign));
            }
            match std::mem::replace(&mut self.outbound, Outbound::None) {
                Outbound::Pinging(mut pinging) => match pinging.poll_unpin(cx) {
                    Poll::Ready(Ok((stream, rtt))) => {
                        let now = Some(clock::now());
                        (self.rhythm.heard, self.rhythm.measured) = (now, now);
                        self.outbound = Outbound::Idle(stream);
                        self.signs.push_back(Some(rtt));
                    }
                    Poll::Ready(Err(_)) => self.failed(),
                    Poll::Pending => {
                        self.outbound = Outbound::Pinging(pinging);
                        return Poll::Pending;
                    }
                },
                Outbound::Idle(stream) => {
                    if self.poll_due(cx).is_pending() {
                        self.outbound = Outbound::Idle(stream);
                        return Poll::Pending;
                    }
                    self.outbound = Outbound::Pinging(ask(stream).boxed());
                }
                Outbound::None => {
                    if self.poll_due(cx).is_pending() {
                        return Poll::Pending;
                    }
                    self.outbound = Outbound::Opening;
                    let protocol = SubstreamProtocol::new(ReadyUpgrade::new(PING), ());
                    return Poll::Ready(ConnectionHandlerEvent::OutboundSubstreamRequest { protocol });
                }
                waiting @ (Outbound::Opening | Outbound::Unknown) => {
                    self.outbound = waiting;
                    return Poll::Pending;
                }
            }
        }
    }

    fn on_connection_event(&mut self, event: ConnectionEvent<'_, Self::InboundProtocol, Self::OutboundProtocol>) {
        match event {
            ConnectionEvent::FullyNegotiatedInbound(FullyNegotiatedInbound { protocol: mut stream, .. }) => {
                stream.ignore_for_keep_alive();
                self.inbound = Some(answer(stream).boxed());
            }
            ConnectionEvent::FullyNegotiatedOutbound(FullyNegotiatedOutbound { protocol: mut stream, .. }) => {
                stream.ignore_for_keep_alive();
                self.outbound = Outbound::Pinging(ask(stream).boxed());
            }
            ConnectionEvent::DialUpgradeError(DialUpgradeError { error, .. }) => {
                self.outbound = Outbound::None;
                match error {
                    StreamUpgradeError::NegotiationFailed => self.outbound = Outbound::Unknown,
                    _ => self.failed(),
                }
            }
            _ => {}
        }
    }
}

/// Sends a ping and waits for the same bytes.
async fn ask(mut stream: Stream) -> io::Result<(Stream, Duration)> {
    let (mut sent, mut back) = ([0; PING_BYTES], [0; PING_BYTES]);
    getrandom::fill(&mut sent).map_err(io::Error::other)?;
    let begun = clock::now();
    stream.write_all(&sent).await?;
    stream.flush().await?;
    stream.read_exact(&mut back).await?;
    if back == sent { Ok((stream, begun.elapsed())) } else { Err(io::ErrorKind::InvalidData.into()) }
}

/// Answers one ping.
async fn answer(mut stream: Stream) -> io::Result<Stream> {
    let mut bytes = [0; PING_BYTES];
    stream.read_exact(&mut bytes).await?;
    stream.write_all(&bytes).await?;
    stream.flush().await?;
    Ok(stream)
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVERY: Duration = Duration::from_millis(6_666);
    const PATIENCE: Duration = Duration::from_millis(7_777);

    fn rhythm(dialer: bool, epoch: Instant, heard: Instant, measured: Instant) -> Rhythm {
        let (heard, measured) = (Some(heard), Some(measured));
        Rhythm { dialer, every: EVERY, patience: PATIENCE, epoch, heard, measured }
    }

    #[test]
    fn all_connections_that_were_dialled_ping_at_the_same_moments_and_never_late() {
        let (epoch, ms) = (Instant::now(), Duration::from_millis);
        let due = |heard| rhythm(true, epoch, heard, heard).due().unwrap();
        // three connections of different age, whose answers took their time
        assert!([ms(1), ms(400), ms(6_000)].into_iter().all(|at| due(epoch + 3 * EVERY + at) == epoch + 4 * EVERY));
        for at in 0..50_000 {
            let heard = epoch + ms(at);
            assert!(due(heard) > heard && due(heard) <= heard + EVERY, "{at}");
        }
        assert_eq!(Rhythm { heard: None, ..rhythm(true, epoch, epoch, epoch) }.due(), None, "the first comes at once");
    }

    #[test]
    fn the_end_that_was_dialled_pings_when_it_hears_nothing_and_now_and_then_for_the_round_trip() {
        let (begin, second) = (Instant::now(), Duration::from_secs(1));
        let due = |heard, measured| rhythm(false, begin, heard, measured).due().unwrap();
        assert_eq!(due(begin + second, begin), begin + second + PATIENCE);
        // the pings of the other end come before that
        assert!(EVERY + second < PATIENCE + second);
        assert_eq!(due(begin + 59 * second, begin), begin + MEASURED_EACH);
    }
}
