//! The join door: one question and one answer with a node that is not a member yet.

use std::collections::{BTreeMap, VecDeque};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use crate::libp2p::core::Endpoint;
use crate::libp2p::core::transport::PortUse;
use crate::libp2p::core::upgrade::ReadyUpgrade;
use crate::libp2p::swarm::handler::{
    ConnectionEvent, DialUpgradeError, FullyNegotiatedInbound, FullyNegotiatedOutbound,
};
use crate::libp2p::swarm::{
    ConnectionDenied, ConnectionHandler, ConnectionHandlerEvent, ConnectionId, FromSwarm, NetworkBehaviour,
    StreamUpgradeError, SubstreamProtocol, THandler, THandlerInEvent, THandlerOutEvent, ToSwarm,
};
use crate::libp2p::{Multiaddr, PeerId, StreamProtocol};
use futures::future::BoxFuture;
use futures::{AsyncReadExt, AsyncWriteExt, FutureExt};
use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::error::JoinError;
use crate::frame::{read_frame, write_frame};
use crate::join::{JoinReply, JoinRequest};
use crate::wire::{JOIN_REPLY_BYTES_MAX, JOIN_REQUEST_BYTES_MAX};

const JOIN_PROTOCOL: StreamProtocol = StreamProtocol::new("/nexus/join/1");

/// The longest time until a newcomer's request has arrived.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// The longest time for the node's answer; the newcomer waits a little longer.
pub const JOIN_ANSWER_TIMEOUT: Duration = Duration::from_secs(20);
/// The time to wait until the newcomer has read the answer.
const LINGER: Duration = Duration::from_secs(2);
/// Requests that may wait for the node at once; further ones are told to try again.
const WAITING_MAX: usize = 16;

pub(crate) type JoinOutcome = oneshot::Sender<Result<JoinReply, JoinError>>;

/// An event of the door, for the swarm's owner.
#[derive(Debug)]
pub(crate) enum DoorEvent {
    /// A newcomer asks to join.
    Asked { peer: PeerId, request: JoinRequest, reply: oneshot::Sender<JoinReply> },
    /// This node's question on the connection was answered, or failed.
    Done { connection: ConnectionId },
}

/// A message of the handler to the behaviour, opaque outside.
#[derive(Debug)]
pub(crate) struct FromDoor(Note);

#[derive(Debug)]
enum Note {
    Asked(JoinRequest, oneshot::Sender<JoinReply>),
    Answered,
    Done,
}

/// This node's question, and the dials that may carry it. The first dial that succeeds takes it, so a
/// stale address of the inviter neither fails nor delays the join.
struct Question {
    ask: Option<(JoinRequest, JoinOutcome)>,
    dials: usize,
    errors: Vec<String>,
}

/// The behaviour of the door, outside the gate: it serves strangers.
pub(crate) struct Door {
    /// This node's questions. A handful: each is a call of [`Mesh::join`](crate::Mesh::join).
    questions: BTreeMap<u64, Question>,
    next_question: u64,
    dials: BTreeMap<ConnectionId, u64>,
    /// Connections with a request that waits for the node.
    waiting: BTreeMap<ConnectionId, PeerId>,
    events: VecDeque<DoorEvent>,
    waker: Option<Waker>,
}

impl Door {
    pub(crate) fn new() -> Self {
        Self {
            questions: BTreeMap::new(),
            next_question: 0,
            dials: BTreeMap::new(),
            waiting: BTreeMap::new(),
            events: VecDeque::new(),
            waker: None,
        }
    }

    /// Asks on the first of these dials that succeeds.
    pub(crate) fn ask(&mut self, dials: &[ConnectionId], request: JoinRequest, outcome: JoinOutcome) {
        let question = self.next_question;
        self.next_question += 1;
        self.dials.extend(dials.iter().map(|dial| (*dial, question)));
        let ask = Some((request, outcome));
        self.questions.insert(question, Question { ask, dials: dials.len(), errors: Vec::new() });
    }

    /// Notes a failed dial. The question fails with the last of its dials.
    pub(crate) fn dial_failed(&mut self, connection: ConnectionId, error: String) {
        let Some(id) = self.dials.remove(&connection) else { return };
        let Some(question) = self.questions.get_mut(&id) else { return };
        question.dials -= 1;
        question.errors.push(error);
        if question.dials == 0
            && let Some(question) = self.questions.remove(&id)
            && let Some((_, outcome)) = question.ask
        {
            let _ = outcome.send(Err(JoinError::Unreachable(question.errors.join("; "))));
        }
    }

    /// Notes a successful dial. Returns the question to ask there, if it is not asked yet.
    fn dial_succeeded(&mut self, connection: ConnectionId) -> Option<(JoinRequest, JoinOutcome)> {
        let id = self.dials.remove(&connection)?;
        let question = self.questions.get_mut(&id)?;
        question.dials -= 1;
        let ask = question.ask.take();
        if question.dials == 0 {
            self.questions.remove(&id);
        }
        if ask.is_none() {
            self.push(DoorEvent::Done { connection });
        }
        ask
    }

    fn push(&mut self, event: DoorEvent) {
        self.events.push_back(event);
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

impl NetworkBehaviour for Door {
    type ConnectionHandler = DoorHandler;
    type ToSwarm = DoorEvent;

    fn handle_established_inbound_connection(
        &mut self,
        _connection: ConnectionId,
        _peer: PeerId,
        _local: &Multiaddr,
        _remote: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(DoorHandler::new(None))
    }

    fn handle_established_outbound_connection(
        &mut self,
        connection: ConnectionId,
        _peer: PeerId,
        _address: &Multiaddr,
        _role: Endpoint,
        _port_use: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(DoorHandler::new(self.dial_succeeded(connection)))
    }

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        match event {
            FromSwarm::DialFailure(failure) => {
                self.dial_failed(failure.connection_id, failure.error.to_string());
            }
            FromSwarm::ConnectionClosed(closed) => {
                self.waiting.remove(&closed.connection_id);
            }
            _ => {}
        }
    }

    fn on_connection_handler_event(
        &mut self,
        peer: PeerId,
        connection: ConnectionId,
        FromDoor(note): THandlerOutEvent<Self>,
    ) {
        match note {
            Note::Asked(_, reply) if self.waiting.len() >= WAITING_MAX => {
                let _ = reply.send(JoinReply::unavailable("busy, try again"));
            }
            Note::Asked(request, reply) => {
                self.waiting.insert(connection, peer);
                self.push(DoorEvent::Asked { peer, request, reply });
            }
            Note::Answered => {
                self.waiting.remove(&connection);
            }
            Note::Done => self.push(DoorEvent::Done { connection }),
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        if let Some(event) = self.events.pop_front() {
            return Poll::Ready(ToSwarm::GenerateEvent(event));
        }
        self.waker = Some(cx.waker().clone());
        Poll::Pending
    }
}

type NewcomerRequest = Option<(JoinRequest, crate::libp2p::Stream)>;

/// The door of one connection: at most one question each way at a time.
pub(crate) struct DoorHandler {
    question: Option<(JoinRequest, JoinOutcome)>,
    asking: Option<BoxFuture<'static, ()>>,
    hearing: Option<BoxFuture<'static, NewcomerRequest>>,
    answering: Option<BoxFuture<'static, ()>>,
}

impl DoorHandler {
    fn new(question: Option<(JoinRequest, JoinOutcome)>) -> Self {
        Self { question, asking: None, hearing: None, answering: None }
    }
}

async fn ask(mut stream: crate::libp2p::Stream, request: JoinRequest) -> Result<JoinReply, JoinError> {
    let broken = |error: crate::frame::FrameError| JoinError::Broken(error.to_string());
    write_frame(&mut stream, &request.to_bytes()).await.map_err(broken)?;
    let gone = || JoinError::Broken("the inviter hung up".to_owned());
    let reply = read_frame(&mut stream, JOIN_REPLY_BYTES_MAX).await.map_err(broken)?.ok_or_else(gone)?;
    // the inviter waits for this before it closes the connection
    let _ = stream.close().await;
    JoinReply::from_bytes(&reply).ok_or_else(|| JoinError::Broken("the reply is unreadable".to_owned()))
}

async fn hear(mut stream: crate::libp2p::Stream) -> NewcomerRequest {
    let frame = timeout(REQUEST_TIMEOUT, read_frame(&mut stream, JOIN_REQUEST_BYTES_MAX)).await.ok()?.ok()??;
    Some((JoinRequest::from_bytes(&frame)?, stream))
}

async fn answer(mut stream: crate::libp2p::Stream, reply: oneshot::Receiver<JoinReply>) {
    let reply = match timeout(JOIN_ANSWER_TIMEOUT, reply).await {
        Ok(Ok(reply)) => reply,
        Ok(Err(_)) => JoinReply::unavailable("not ready, try again"),
        Err(_) => JoinReply::unavailable("took too long, try again"),
    };
    let said = async {
        write_frame(&mut stream, &reply.to_bytes()).await.ok()?;
        stream.close().await.ok()?;
        let mut rest = [0; 64];
        while stream.read(&mut rest).await.ok()? > 0 {}
        Some(())
    };
    let _ = timeout(LINGER, said).await;
}

impl ConnectionHandler for DoorHandler {
    type FromBehaviour = std::convert::Infallible;
    type ToBehaviour = FromDoor;
    type InboundProtocol = ReadyUpgrade<StreamProtocol>;
    type OutboundProtocol = ReadyUpgrade<StreamProtocol>;
    type InboundOpenInfo = ();
    type OutboundOpenInfo = (JoinRequest, JoinOutcome);

    fn listen_protocol(&self) -> SubstreamProtocol<Self::InboundProtocol> {
        SubstreamProtocol::new(ReadyUpgrade::new(JOIN_PROTOCOL), ())
    }

    fn connection_keep_alive(&self) -> bool {
        self.asking.is_some() || self.answering.is_some()
    }

    fn poll(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<ConnectionHandlerEvent<Self::OutboundProtocol, Self::OutboundOpenInfo, Self::ToBehaviour>> {
        let note = |note| Poll::Ready(ConnectionHandlerEvent::NotifyBehaviour(FromDoor(note)));
        if let Some(question) = self.question.take() {
            let protocol = SubstreamProtocol::new(ReadyUpgrade::new(JOIN_PROTOCOL), question);
            return Poll::Ready(ConnectionHandlerEvent::OutboundSubstreamRequest { protocol });
        }
        if let Some(asking) = &mut self.asking
            && asking.poll_unpin(cx).is_ready()
        {
            self.asking = None;
            return note(Note::Done);
        }
        if let Some(hearing) = &mut self.hearing
            && let Poll::Ready(heard) = hearing.poll_unpin(cx)
        {
            self.hearing = None;
            if let Some((request, stream)) = heard {
                let (reply, receiver) = oneshot::channel();
                self.answering = Some(answer(stream, receiver).boxed());
                return note(Note::Asked(request, reply));
            }
        }
        if let Some(answering) = &mut self.answering
            && answering.poll_unpin(cx).is_ready()
        {
            self.answering = None;
            return note(Note::Answered);
        }
        Poll::Pending
    }

    fn on_behaviour_event(&mut self, never: Self::FromBehaviour) {
        match never {}
    }

    fn on_connection_event(
        &mut self,
        event: ConnectionEvent<
            Self::InboundProtocol,
            Self::OutboundProtocol,
            Self::InboundOpenInfo,
            Self::OutboundOpenInfo,
        >,
    ) {
        match event {
            // one at a time; dropping another stream resets it
            ConnectionEvent::FullyNegotiatedInbound(FullyNegotiatedInbound { protocol: stream, .. })
                if self.hearing.is_none() && self.answering.is_none() =>
            {
                self.hearing = Some(hear(stream).boxed());
            }
            ConnectionEvent::FullyNegotiatedOutbound(FullyNegotiatedOutbound {
                protocol: stream,
                info: (request, outcome),
            }) => {
                let asking = async move {
                    let _ = outcome.send(ask(stream, request).await);
                };
                self.asking = Some(asking.boxed());
            }
            ConnectionEvent::DialUpgradeError(DialUpgradeError { info: (_, outcome), error }) => {
                let _ = outcome.send(Err(match error {
                    StreamUpgradeError::NegotiationFailed => JoinError::NoDoor,
                    StreamUpgradeError::Timeout => JoinError::Broken("timed out".to_owned()),
                    StreamUpgradeError::Io(error) => JoinError::Broken(error.to_string()),
                    StreamUpgradeError::Apply(never) => match never {},
                }));
            }
            _ => {}
        }
    }
}
