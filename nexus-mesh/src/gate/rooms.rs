//! Rooms: raw streams for the node's own protocols, to open peers only.
//!
//! Incoming streams are handed on in order, and none is dropped while there is a place for it. Every
//! request to open a stream is answered, at the latest when its connection ends.

use std::collections::{BTreeMap, VecDeque};
use std::convert::Infallible;
use std::future::{Ready, ready};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use crate::libp2p::core::Endpoint;
use crate::libp2p::core::transport::PortUse;
use crate::libp2p::core::upgrade::{InboundUpgrade, OutboundUpgrade, UpgradeInfo};
use crate::libp2p::swarm::handler::{
    ConnectionEvent, DialUpgradeError, FullyNegotiatedInbound, FullyNegotiatedOutbound,
};
use crate::libp2p::swarm::{
    ConnectionDenied, ConnectionHandler, ConnectionHandlerEvent, ConnectionId, FromSwarm, NetworkBehaviour,
    NotifyHandler, StreamUpgradeError, SubstreamProtocol, THandler, THandlerInEvent, THandlerOutEvent, ToSwarm,
};
use crate::libp2p::{Multiaddr, PeerId, StreamProtocol};
use tokio::sync::oneshot;

use crate::error::OpenError;
use crate::stream::{Place, Places, Stream};
use crate::tally::Tallies;

pub(crate) type OpenReply = oneshot::Sender<Result<Stream, OpenError>>;

/// A peer opened a stream.
#[derive(Debug)]
pub(crate) struct Entered {
    pub(crate) peer: PeerId,
    pub(crate) room: StreamProtocol,
    pub(crate) stream: Stream,
}

/// A request to open a stream.
#[derive(Debug)]
pub(crate) struct OpenRoom {
    room: StreamProtocol,
    reply: OpenReply,
}

/// The behaviour of the rooms. The gate shows it only open connections.
pub(crate) struct RoomsBehaviour {
    served: Vec<StreamProtocol>,
    streams_max: usize,
    tallies: Arc<Tallies>,
    connections: BTreeMap<PeerId, ConnectionId>,
    /// Bounded by the streams that peers and this node may hold.
    actions: VecDeque<ToSwarm<Entered, OpenRoom>>,
    waker: Option<Waker>,
}

impl RoomsBehaviour {
    pub(crate) fn new(served: Vec<StreamProtocol>, streams_max: usize, tallies: Arc<Tallies>) -> Self {
        Self { served, streams_max, tallies, connections: BTreeMap::new(), actions: VecDeque::new(), waker: None }
    }

    /// Opens a stream; the reply is dropped if the connection ends first.
    pub(crate) fn open(&mut self, peer: PeerId, room: StreamProtocol, reply: OpenReply) {
        let Some(connection) = self.connections.get(&peer) else {
            let _ = reply.send(Err(OpenError::NotOpen));
            return;
        };
        let handler = NotifyHandler::One(*connection);
        self.actions.push_back(ToSwarm::NotifyHandler { peer_id: peer, handler, event: OpenRoom { room, reply } });
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    fn handler(&self) -> RoomsHandler {
        RoomsHandler {
            served: self.served.clone(),
            inbound: Places::new(self.streams_max),
            outbound: Places::new(self.streams_max),
            tallies: self.tallies.clone(),
            requests: VecDeque::new(),
            entered: VecDeque::new(),
        }
    }
}

impl NetworkBehaviour for RoomsBehaviour {
    type ConnectionHandler = RoomsHandler;
    type ToSwarm = Entered;

    fn handle_established_inbound_connection(
        &mut self,
        _connection: ConnectionId,
        _peer: PeerId,
        _local: &Multiaddr,
        _remote: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(self.handler())
    }

    fn handle_established_outbound_connection(
        &mut self,
        _connection: ConnectionId,
        _peer: PeerId,
        _address: &Multiaddr,
        _role: Endpoint,
        _port_use: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(self.handler())
    }

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        match event {
            FromSwarm::ConnectionEstablished(established) => {
                self.connections.insert(established.peer_id, established.connection_id);
            }
            FromSwarm::ConnectionClosed(closed)
                if self.connections.get(&closed.peer_id) == Some(&closed.connection_id) =>
            {
                self.connections.remove(&closed.peer_id);
            }
            _ => {}
        }
    }

    fn on_connection_handler_event(
        &mut self,
        peer: PeerId,
        _connection: ConnectionId,
        (room, stream): THandlerOutEvent<Self>,
    ) {
        self.actions.push_back(ToSwarm::GenerateEvent(Entered { peer, room, stream }));
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        if let Some(action) = self.actions.pop_front() {
            return Poll::Ready(action);
        }
        self.waker = Some(cx.waker().clone());
        Poll::Pending
    }
}

/// The rooms of one connection.
pub(crate) struct RoomsHandler {
    served: Vec<StreamProtocol>,
    inbound: Places,
    outbound: Places,
    tallies: Arc<Tallies>,
    /// Bounded by the outbound places.
    requests: VecDeque<(StreamProtocol, (OpenReply, Place))>,
    /// Bounded by the inbound places.
    entered: VecDeque<(StreamProtocol, Stream)>,
}

impl ConnectionHandler for RoomsHandler {
    type FromBehaviour = OpenRoom;
    type ToBehaviour = (StreamProtocol, Stream);
    type InboundProtocol = Names;
    type OutboundProtocol = Names;
    type InboundOpenInfo = ();
    type OutboundOpenInfo = (OpenReply, Place);

    fn listen_protocol(&self) -> SubstreamProtocol<Names> {
        SubstreamProtocol::new(Names(self.served.clone()), ())
    }

    fn poll(
        &mut self,
        _cx: &mut Context<'_>,
    ) -> Poll<ConnectionHandlerEvent<Names, Self::OutboundOpenInfo, Self::ToBehaviour>> {
        if let Some(entered) = self.entered.pop_front() {
            return Poll::Ready(ConnectionHandlerEvent::NotifyBehaviour(entered));
        }
        if let Some((room, info)) = self.requests.pop_front() {
            let protocol = SubstreamProtocol::new(Names(vec![room]), info);
            return Poll::Ready(ConnectionHandlerEvent::OutboundSubstreamRequest { protocol });
        }
        Poll::Pending
    }

    fn on_behaviour_event(&mut self, OpenRoom { room, reply }: OpenRoom) {
        match self.outbound.take() {
            Some(place) => self.requests.push_back((room, (reply, place))),
            None => {
                let _ = reply.send(Err(OpenError::TooMany));
            }
        }
    }

    fn on_connection_event(&mut self, event: ConnectionEvent<Names, Names, (), Self::OutboundOpenInfo>) {
        match event {
            ConnectionEvent::FullyNegotiatedInbound(FullyNegotiatedInbound { protocol: (stream, room), .. }) => {
                // without a place the stream is dropped here, which resets it
                if let Some(place) = self.inbound.take() {
                    let tally = self.tallies.of(room.as_ref());
                    self.entered.push_back((room, Stream::new(stream, place, tally)));
                }
            }
            ConnectionEvent::FullyNegotiatedOutbound(FullyNegotiatedOutbound {
                protocol: (stream, room),
                info: (reply, place),
            }) => {
                let tally = self.tallies.of(room.as_ref());
                let _ = reply.send(Ok(Stream::new(stream, place, tally)));
            }
            ConnectionEvent::DialUpgradeError(DialUpgradeError { info: (reply, _), error }) => {
                let _ = reply.send(Err(match error {
                    StreamUpgradeError::NegotiationFailed => OpenError::NoSuchRoom,
                    StreamUpgradeError::Timeout => OpenError::TimedOut,
                    StreamUpgradeError::Io(error) => OpenError::Broken(error.to_string()),
                    StreamUpgradeError::Apply(never) => match never {},
                }));
            }
            _ => {}
        }
    }
}

/// Streams by the name of their protocol.
pub(crate) struct Names(Vec<StreamProtocol>);

impl UpgradeInfo for Names {
    type Info = StreamProtocol;
    type InfoIter = std::vec::IntoIter<StreamProtocol>;

    fn protocol_info(&self) -> Self::InfoIter {
        self.0.clone().into_iter()
    }
}

impl InboundUpgrade<crate::libp2p::Stream> for Names {
    type Output = (crate::libp2p::Stream, StreamProtocol);
    type Error = Infallible;
    type Future = Ready<Result<Self::Output, Infallible>>;

    fn upgrade_inbound(self, stream: crate::libp2p::Stream, name: StreamProtocol) -> Self::Future {
        ready(Ok((stream, name)))
    }
}

impl OutboundUpgrade<crate::libp2p::Stream> for Names {
    type Output = (crate::libp2p::Stream, StreamProtocol);
    type Error = Infallible;
    type Future = Ready<Result<Self::Output, Infallible>>;

    fn upgrade_outbound(self, stream: crate::libp2p::Stream, name: StreamProtocol) -> Self::Future {
        ready(Ok((stream, name)))
    }
}
