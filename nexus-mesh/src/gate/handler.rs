//! The gate's half of one connection: serves hello, and the inner protocols only after it has opened.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use crate::libp2p::swarm::handler::{
    ConnectionEvent, DialUpgradeError, FullyNegotiatedInbound, FullyNegotiatedOutbound, ListenUpgradeError,
};
use crate::libp2p::swarm::{ConnectionHandler, ConnectionHandlerEvent, Stream, StreamUpgradeError, SubstreamProtocol};
use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::sync::{mpsc, oneshot};

use super::hello::{Answer, Ask, End, Hello, Papers, Parties};
use super::upgrade::{Doorway, Passed};
use crate::event::Refusal;

/// A message of the behaviour to the handler.
pub(crate) enum FromGate<H: ConnectionHandler> {
    /// The answer to a question of the hello.
    Answer(AnswerEvent),
    /// Serve the inner protocols, and tell the hello so.
    Open(Box<H>),
    /// A message for the inner handler.
    Inner(H::FromBehaviour),
    /// Find out whether the other side lives.
    Probe,
    /// Serve nothing from now on.
    Shut,
}

/// An answer, opaque outside the gate.
#[derive(Debug)]
pub(crate) struct AnswerEvent(pub(super) Answer);

/// A message of the handler to the behaviour.
#[derive(Debug)]
pub(crate) enum ToGate<E> {
    /// The peer has begun a hello.
    Began,
    /// A question of the hello.
    Ask(AskEvent),
    /// The hello is over.
    Ended(EndEvent),
    /// The answer to a probe.
    Probed {
        /// Whether the other side answered.
        lives: bool,
    },
    /// A message of the inner handler.
    Inner(E),
}

/// A question, opaque outside the gate.
#[derive(Debug)]
pub(crate) struct AskEvent(pub(super) Ask);

/// An end, opaque outside the gate.
#[derive(Debug)]
pub(crate) struct EndEvent(pub(super) End);

impl<H: ConnectionHandler> fmt::Debug for FromGate<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Answer(answer) => answer.fmt(f),
            Self::Open(_) => f.write_str("Open"),
            Self::Inner(event) => event.fmt(f),
            Self::Probe => f.write_str("Probe"),
            Self::Shut => f.write_str("Shut"),
        }
    }
}

/// The longest time until the other side of an open connection has answered, well within that of a hello.
const PROBE_TIMEOUT: Duration = Duration::from_secs(3);

type Event<H> = ConnectionHandlerEvent<
    Doorway<<H as ConnectionHandler>::OutboundProtocol>,
    Option<<H as ConnectionHandler>::OutboundOpenInfo>,
    ToGate<<H as ConnectionHandler>::ToBehaviour>,
>;

/// The handler of one connection for its whole life.
pub(crate) struct GateHandler<H: ConnectionHandler> {
    papers: Option<Arc<Papers>>,
    parties: Parties,
    dialer: bool,
    /// Whether the one hello of this connection has begun.
    begun: bool,
    /// Whether the outbound stream that is negotiated is a probe.
    probing: bool,
    hello: Option<BoxFuture<'static, End>>,
    asks: Option<mpsc::Receiver<(Ask, oneshot::Sender<Answer>)>>,
    /// The place for the answer that the hello waits for.
    asking: Option<oneshot::Sender<Answer>>,
    /// The inner handler, which is served while it is here.
    inner: Option<H>,
    /// Whether the peer serves too, so that streams may be opened to it.
    speaking: bool,
    shut: bool,
    /// At most the starts and one end of a hello.
    events: VecDeque<Event<H>>,
}

impl<H: ConnectionHandler> GateHandler<H> {
    pub(super) fn new(papers: Option<Arc<Papers>>, parties: Parties, dialer: bool) -> Self {
        let mut events = VecDeque::new();
        // a node without papers dials for a join only
        let begun = dialer && papers.is_some();
        if begun {
            let protocol = SubstreamProtocol::new(Doorway::hello(), None);
            events.push_back(ConnectionHandlerEvent::OutboundSubstreamRequest { protocol });
        }
        Self {
            papers,
            parties,
            dialer,
            begun,
            probing: false,
            hello: None,
            asks: None,
            asking: None,
            inner: None,
            speaking: false,
            shut: false,
            events,
        }
    }

    fn start(&mut self, stream: Stream) {
        // one question at a time
        let (asks, receiver) = mpsc::channel(1);
        self.asks = Some(receiver);
        let hello = Hello::new(stream, self.papers.clone(), self.parties.clone(), asks);
        self.hello = Some(if self.dialer { hello.dial().boxed() } else { hello.listen().boxed() });
    }

    /// Offers a stream for a hello. Every node answers that, if with a refusal.
    fn probe(&mut self) {
        self.probing = true;
        let protocol = SubstreamProtocol::new(Doorway::hello(), None).with_timeout(PROBE_TIMEOUT);
        self.events.push_back(ConnectionHandlerEvent::OutboundSubstreamRequest { protocol });
    }

    fn probed(&mut self, lives: bool) {
        self.probing = false;
        self.events.push_back(ConnectionHandlerEvent::NotifyBehaviour(ToGate::Probed { lives }));
    }

    fn ended(&mut self, end: End) {
        self.hello = None;
        self.asks = None;
        self.asking = None;
        self.speaking = end == End::Opened && self.inner.is_some();
        self.events.push_back(ConnectionHandlerEvent::NotifyBehaviour(ToGate::Ended(EndEvent(end))));
    }
}

impl<H: ConnectionHandler> ConnectionHandler for GateHandler<H> {
    type FromBehaviour = FromGate<H>;
    type ToBehaviour = ToGate<H::ToBehaviour>;
    type InboundProtocol = Doorway<H::InboundProtocol>;
    type OutboundProtocol = Doorway<H::OutboundProtocol>;
    type InboundOpenInfo = Option<H::InboundOpenInfo>;
    type OutboundOpenInfo = Option<H::OutboundOpenInfo>;

    fn listen_protocol(&self) -> SubstreamProtocol<Self::InboundProtocol, Self::InboundOpenInfo> {
        match &self.inner {
            None => SubstreamProtocol::new(Doorway::hello(), None),
            Some(inner) => {
                let protocol = inner.listen_protocol();
                let timeout = *protocol.timeout();
                let (upgrade, info) = protocol.into_upgrade();
                SubstreamProtocol::new(Doorway::both(upgrade), Some(info)).with_timeout(timeout)
            }
        }
    }

    fn connection_keep_alive(&self) -> bool {
        self.inner.is_some() || self.hello.is_some()
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Event<H>> {
        loop {
            if let Some(event) = self.events.pop_front() {
                return Poll::Ready(event);
            }
            let end = self.hello.as_mut().map_or(Poll::Pending, |hello| hello.poll_unpin(cx));
            // a question goes before the end, and in the very poll: the connection may be gone before the next one
            if let Some(asks) = &mut self.asks
                && let Poll::Ready(Some((ask, reply))) = asks.poll_recv(cx)
            {
                self.asking = Some(reply);
                self.events.push_back(ConnectionHandlerEvent::NotifyBehaviour(ToGate::Ask(AskEvent(ask))));
            }
            match end {
                Poll::Ready(end) => self.ended(end),
                Poll::Pending if self.events.is_empty() => break,
                Poll::Pending => {}
            }
        }
        if self.speaking
            && let Some(inner) = &mut self.inner
        {
            return inner.poll(cx).map(|event| {
                event.map_custom(ToGate::Inner).map_protocol(Doorway::inner).map_outbound_open_info(Some)
            });
        }
        Poll::Pending
    }

    fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<Option<Self::ToBehaviour>> {
        match &mut self.inner {
            Some(inner) => inner.poll_close(cx).map(|event| event.map(ToGate::Inner)),
            None => Poll::Ready(None),
        }
    }

    fn on_behaviour_event(&mut self, event: FromGate<H>) {
        match event {
            FromGate::Answer(AnswerEvent(answer)) => {
                if let Some(asking) = self.asking.take() {
                    let _ = asking.send(answer);
                }
            }
            FromGate::Open(inner) if !self.shut => {
                self.inner = Some(*inner);
                if let Some(asking) = self.asking.take() {
                    let _ = asking.send(Answer::Open);
                }
            }
            FromGate::Inner(event) => {
                if let Some(inner) = &mut self.inner {
                    inner.on_behaviour_event(event);
                }
            }
            FromGate::Probe => self.probe(),
            FromGate::Open(_) | FromGate::Shut => {
                self.shut = true;
                self.inner = None;
                self.speaking = false;
            }
        }
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
            ConnectionEvent::FullyNegotiatedInbound(FullyNegotiatedInbound { protocol, info }) => {
                match (protocol, info) {
                    // the dialer begins, and only once; dropping any other hello refuses it
                    (Passed::Hello(stream), _) if !self.dialer && !self.begun && !self.shut => {
                        self.begun = true;
                        self.events.push_back(ConnectionHandlerEvent::NotifyBehaviour(ToGate::Began));
                        self.start(stream);
                    }
                    (Passed::Inner(protocol), Some(info)) => {
                        if let Some(inner) = &mut self.inner {
                            inner.on_connection_event(ConnectionEvent::FullyNegotiatedInbound(
                                FullyNegotiatedInbound { protocol, info },
                            ));
                        }
                    }
                    _ => {}
                }
            }
            ConnectionEvent::FullyNegotiatedOutbound(FullyNegotiatedOutbound { protocol, info }) => {
                match (protocol, info) {
                    (Passed::Hello(_), _) if self.probing => self.probed(true),
                    (Passed::Hello(stream), _) => self.start(stream),
                    (Passed::Inner(protocol), Some(info)) => {
                        if let Some(inner) = &mut self.inner {
                            inner.on_connection_event(ConnectionEvent::FullyNegotiatedOutbound(
                                FullyNegotiatedOutbound { protocol, info },
                            ));
                        }
                    }
                    (Passed::Inner(_), None) => {}
                }
            }
            ConnectionEvent::DialUpgradeError(DialUpgradeError { info: None, error }) if self.probing => {
                self.probed(matches!(error, StreamUpgradeError::NegotiationFailed));
            }
            ConnectionEvent::DialUpgradeError(DialUpgradeError { info: None, error }) => self.ended(match error {
                // the peer speaks libp2p, but knows no hello
                StreamUpgradeError::NegotiationFailed => End::Refused { by_us: false, reason: Refusal::OtherMesh },
                StreamUpgradeError::Timeout => End::Failed("hello timed out".to_owned()),
                StreamUpgradeError::Io(error) => End::Failed(error.to_string()),
                StreamUpgradeError::Apply(_) => End::Failed("hello failed".to_owned()),
            }),
            ConnectionEvent::DialUpgradeError(DialUpgradeError { info: Some(info), error }) => {
                if let Some(inner) = &mut self.inner {
                    inner.on_connection_event(ConnectionEvent::DialUpgradeError(DialUpgradeError { info, error }));
                }
            }
            ConnectionEvent::ListenUpgradeError(ListenUpgradeError { info, error }) => {
                if let (Some(inner), Some(info)) = (&mut self.inner, info) {
                    inner.on_connection_event(ConnectionEvent::ListenUpgradeError(ListenUpgradeError { info, error }));
                }
            }
            ConnectionEvent::AddressChange(change) => {
                if let Some(inner) = &mut self.inner {
                    inner.on_connection_event(ConnectionEvent::AddressChange(change));
                }
            }
            ConnectionEvent::LocalProtocolsChange(change) => {
                if let Some(inner) = &mut self.inner {
                    inner.on_connection_event(ConnectionEvent::LocalProtocolsChange(change));
                }
            }
            ConnectionEvent::RemoteProtocolsChange(change) => {
                if let Some(inner) = &mut self.inner {
                    inner.on_connection_event(ConnectionEvent::RemoteProtocolsChange(change));
                }
            }
            _ => {}
        }
    }
}
