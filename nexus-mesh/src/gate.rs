//! The gate: a behaviour around an inner behaviour. It hides each connection from the inner one until
//! hello has proven two things: the peer is a member, and this is the one connection to keep.
//!
//! Every connection starts closed: its handler serves hello alone, and the inner behaviour does not
//! know of it. After a successful hello the inner behaviour makes its handler, the gate sends it to the
//! connection, and announces the connection to the inner behaviour. Each peer has at most one such
//! connection. Shutting is the reverse.
//!
//! So no message of a stranger can reach an inner protocol, because none is served. And the inner
//! behaviours' records stay correct, because each connection that they hear of begins and ends once.

mod handler;
pub(crate) mod hello;
mod slots;
#[cfg(test)]
mod tests;
mod upgrade;

pub(crate) mod admitted;
pub(crate) mod door;
pub(crate) mod rooms;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use crate::libp2p::core::transport::PortUse;
use crate::libp2p::core::{ConnectedPoint, Endpoint};
use crate::libp2p::swarm::behaviour::{AddressChange, ConnectionClosed, ConnectionEstablished};
use crate::libp2p::swarm::{
    CloseConnection, ConnectionDenied, ConnectionError, ConnectionId, FromSwarm, NetworkBehaviour, NotifyHandler,
    THandler, THandlerInEvent, THandlerOutEvent, ToSwarm,
};
use crate::libp2p::{Multiaddr, PeerId};
use nexus_identity::plants::planted;
use nexus_identity::{Chain, Did};
use tokio::time::{Instant, Sleep};

pub(crate) use hello::{Member, Papers, expired};

use self::admitted::Admitted;
use self::handler::{AnswerEvent, AskEvent, EndEvent, FromGate, GateHandler, ToGate};
use self::hello::{Answer, Ask, End, Parties};
use self::slots::{Decision, Slots};
use crate::clock;
use crate::crowd::{Admission, Crowd, Network};
use crate::event::{DownCause, Refusal};
use crate::path::ConnectionPath;
use crate::peer::{did_of, did_of_shown};

/// The longest time of a connection without a finished hello: enough for a hello or a join.
pub(crate) const STRANGER_LIFETIME: Duration = Duration::from_secs(45);

/// Why the gate denied a connection before the first byte.
#[derive(Clone, Copy, Debug, thiserror::Error)]
pub(crate) enum Denied {
    #[error("this node is offline")]
    Offline,
    #[error("too many connections wait at the gate, and all have spoken")]
    Crowded,
    #[error("the peer's key is no Ed25519 key")]
    OtherKey,
}

/// An event of the gate, for the swarm's owner.
#[derive(Debug)]
pub(crate) enum GateEvent<E> {
    /// A member is in; both sides serve.
    Opened {
        peer: Did,
        member: Box<Member>,
        dialer: bool,
        address: Multiaddr,
        path: ConnectionPath,
        connection: ConnectionId,
    },
    /// A member is out. Paired with `Opened`.
    Closed { peer: Did, cause: DownCause },
    /// Hello ended in a refusal.
    Refused { peer: Did, by_us: bool, reason: Refusal, connection: ConnectionId, address: Multiaddr },
    /// An event of the inner behaviour.
    Inner(E),
}

/// One connection.
struct Connection {
    peer: PeerId,
    did: Did,
    direction: Direction,
    /// The swarm's endpoint; `None` until the connection is established.
    endpoint: Option<ConnectedPoint>,
    /// Whether the inner behaviour knows of it.
    told: bool,
    /// The peer's credentials, from the time that a hello took the slot.
    member: Option<Box<Member>>,
    /// Whether `Opened` was sent, so that `Closed` must follow.
    announced: bool,
    /// Whether it has ended and nothing more may come of it.
    ended: bool,
}

/// The direction of a connection, with the data for making the inner handler.
enum Direction {
    In { local: Multiaddr, remote: Multiaddr },
    Out { address: Multiaddr, role: Endpoint, port_use: PortUse },
}

impl Direction {
    /// Whether this side begins the hello. (`ConnectedPoint::is_dialer` ignores role overrides.)
    fn is_dialer(&self) -> bool {
        matches!(self, Self::Out { role: Endpoint::Dialer, .. })
    }

    fn address(&self) -> &Multiaddr {
        match self {
            Self::In { remote, .. } => remote,
            Self::Out { address, .. } => address,
        }
    }

    fn path(&self) -> ConnectionPath {
        match self {
            Self::In { local, remote } => ConnectionPath::between(local, remote),
            // the dialling side has the circuit in the peer's address
            Self::Out { address, .. } => ConnectionPath::between(&Multiaddr::empty(), address),
        }
    }
}

type Action<B> = ToSwarm<GateEvent<<B as NetworkBehaviour>::ToSwarm>, FromGate<THandler<B>>>;

/// A connection to another process of a peer, which wants the slot of the open one.
struct Contender {
    connection: ConnectionId,
    /// Its question, asked again once the open one has ended.
    ask: Ask,
}

/// A behaviour that lets only members through to `B`.
pub(crate) struct Gate<B: NetworkBehaviour> {
    papers: Option<Arc<Papers>>,
    me: PeerId,
    inner: B,
    slots: Slots<ConnectionId>,
    /// Bounded by the connection limits.
    connections: BTreeMap<ConnectionId, Connection>,
    /// The inbound connections that are not open.
    strangers: Crowd<ConnectionId>,
    /// The peers of the open connections.
    admitted: Admitted,
    revoked: BTreeSet<Did>,
    /// Open connections that are asked whether they live: another process of the peer wants the slot of each.
    probed: BTreeMap<ConnectionId, Contender>,
    offline: bool,
    /// Connections dialled for a join, without a hello.
    no_hello: BTreeSet<ConnectionId>,
    /// Connections without a finished hello, in the order of their deadlines.
    young: VecDeque<(Instant, ConnectionId)>,
    sleep: Option<Pin<Box<Sleep>>>,
    /// A few for each incoming event; drained before anything else is polled.
    actions: VecDeque<Action<B>>,
    waker: Option<Waker>,
}

impl<B: NetworkBehaviour> Gate<B> {
    /// A gate that shows `papers`; without papers it refuses everybody.
    pub(crate) fn new(
        inner: B,
        me: PeerId,
        papers: Option<Papers>,
        strangers: Crowd<ConnectionId>,
        admitted: Admitted,
    ) -> Self {
        Self {
            papers: papers.map(Arc::new),
            me,
            inner,
            slots: Slots::new(),
            connections: BTreeMap::new(),
            strangers,
            admitted,
            revoked: BTreeSet::new(),
            probed: BTreeMap::new(),
            offline: false,
            no_hello: BTreeSet::new(),
            young: VecDeque::new(),
            sleep: None,
            actions: VecDeque::new(),
            waker: None,
        }
    }

    pub(crate) fn inner_mut(&mut self) -> &mut B {
        &mut self.inner
    }

    /// Whether the inner behaviour knows of a connection.
    fn told(&self, connection: ConnectionId) -> bool {
        self.connections.get(&connection).is_some_and(|known| known.told)
    }

    /// Marks dials for the join door. A hello on them might end in a refusal or a duplicate, which
    /// would close the connection under the join.
    pub(crate) fn no_hello_on(&mut self, dials: &[ConnectionId]) {
        self.no_hello.extend(dials);
    }

    /// Sets renewed credentials for later hellos.
    pub(crate) fn set_chain(&mut self, chain: Chain) {
        if let Some(papers) = &mut self.papers {
            Arc::make_mut(papers).chain = chain;
        }
    }

    /// The formats that this node writes now, for the hellos to come.
    pub(crate) fn set_formats(&mut self, entry: u16, critical: u16) {
        if let Some(papers) = &mut self.papers {
            let abilities = &mut Arc::make_mut(papers).abilities;
            (abilities.entry_format_now, abilities.critical_format_now) = (entry, critical);
        }
    }

    /// Closes all connections and denies new ones until called with `false`. The sockets stay.
    pub(crate) fn set_offline(&mut self, offline: bool) {
        self.offline = offline;
        if offline {
            self.close_all(&DownCause::Offline);
        }
    }

    /// Closes all connections with a cause.
    pub(crate) fn close_all(&mut self, cause: &DownCause) {
        for connection in self.connections.keys().copied().collect::<Vec<_>>() {
            self.close(connection, cause);
        }
    }

    /// Closes the open connection to a peer, if there is one.
    pub(crate) fn close_peer(&mut self, peer: &Did, cause: &DownCause) {
        if let Some(connection) = self.slots.connection(peer) {
            self.close(connection, cause);
        }
    }

    /// Closes the connections of revoked members and refuses them from now on.
    pub(crate) fn set_revoked(&mut self, revoked: BTreeSet<Did>) {
        self.revoked = if planted("keeps_former_members") { BTreeSet::new() } else { revoked };
        let hit = |known: &Connection| known.told && self.revoked.contains(&known.did);
        let cut: Vec<_> = self.connections.iter().filter(|(_, known)| hit(known)).map(|(id, _)| *id).collect();
        for connection in cut {
            self.close(connection, &DownCause::Revoked);
        }
    }

    /// Closes the connections of members whose credentials have ended since their hello.
    pub(crate) fn cut_expired(&mut self, now: nexus_identity::Timestamp) {
        let hit = |known: &Connection| known.member.as_ref().is_some_and(|member| expired(member.expires_at, now));
        let cut: Vec<_> = self.connections.iter().filter(|(_, known)| hit(known)).map(|(id, _)| *id).collect();
        for connection in cut {
            self.close(connection, &DownCause::Expired);
        }
    }

    /// Notes that a newcomer asked to join: its connection waits for the answer.
    pub(crate) fn joins(&mut self, peer: &PeerId) {
        for (connection, _) in self.connections.iter().filter(|(_, known)| known.peer == *peer) {
            self.strangers.spoke(*connection);
        }
    }

    fn push(&mut self, action: Action<B>) {
        self.actions.push_back(action);
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    fn notify(&mut self, peer_id: PeerId, connection: ConnectionId, event: FromGate<THandler<B>>) {
        self.push(ToSwarm::NotifyHandler { peer_id, handler: NotifyHandler::One(connection), event });
    }

    fn answer(&mut self, peer: PeerId, connection: ConnectionId, answer: Answer) {
        self.notify(peer, connection, FromGate::Answer(AnswerEvent(answer)));
    }

    /// Shuts a connection and closes it.
    fn close(&mut self, connection: ConnectionId, cause: &DownCause) {
        self.shut(connection, cause);
        let Some(known) = self.connections.get_mut(&connection) else { return };
        known.ended = true;
        self.strangers.leave(connection);
        let peer_id = known.peer;
        self.notify(peer_id, connection, FromGate::Shut);
        self.push(ToSwarm::CloseConnection { peer_id, connection: CloseConnection::One(connection) });
    }

    /// Takes a connection from the inner behaviour and from the slots. Does not close it.
    fn shut(&mut self, connection: ConnectionId, cause: &DownCause) {
        let Some(known) = self.connections.get_mut(&connection) else { return };
        let (peer_id, did) = (known.peer, known.did);
        let owed = std::mem::take(&mut known.announced);
        if std::mem::take(&mut known.told)
            && let Some(endpoint) = &known.endpoint
        {
            self.admitted.remove(&peer_id);
            self.inner.on_swarm_event(FromSwarm::ConnectionClosed(ConnectionClosed {
                peer_id,
                connection_id: connection,
                endpoint,
                cause: None,
                remaining_established: 0,
            }));
        }
        self.slots.free(&did, connection);
        if owed {
            self.push(ToSwarm::GenerateEvent(GateEvent::Closed { peer: did, cause: cause.clone() }));
        }
        if let Some(Contender { connection, ask }) = self.probed.remove(&connection) {
            self.on_ask(peer_id, connection, ask);
        }
    }

    /// Asks the open connection whether it lives, for the slot that another process of the peer wants. The first
    /// one waits for the answer; others are duplicates meanwhile.
    fn probe(&mut self, open: ConnectionId, connection: ConnectionId, ask: Ask) {
        let Some(known) = self.connections.get(&open) else { return };
        let peer = known.peer;
        if self.probed.contains_key(&open) {
            return self.answer(peer, connection, Answer::Duplicate);
        }
        self.probed.insert(open, Contender { connection, ask });
        self.notify(peer, open, FromGate::Probe);
    }

    /// Takes the answer to [`probe`](Self::probe): of two processes that live the one that is connected stays.
    fn on_probed(&mut self, connection: ConnectionId, lives: bool) {
        if !lives {
            return self.close(connection, &DownCause::Replaced);
        }
        let Some(known) = self.connections.get(&connection) else { return };
        let peer = known.peer;
        if let Some(contender) = self.probed.remove(&connection) {
            self.answer(peer, contender.connection, Answer::Refuse(Refusal::Twin));
        }
    }

    /// Lets the inner behaviour serve a connection.
    fn open(&mut self, connection: ConnectionId) -> Result<THandler<B>, Refusal> {
        let known = self.connections.get_mut(&connection).ok_or(Refusal::Unavailable)?;
        let endpoint = known.endpoint.as_ref().ok_or(Refusal::Unavailable)?;
        let handler = match &known.direction {
            Direction::In { local, remote } => {
                self.inner.handle_established_inbound_connection(connection, known.peer, local, remote)
            }
            Direction::Out { address, role, port_use } => {
                self.inner.handle_established_outbound_connection(connection, known.peer, address, *role, *port_use)
            }
        }
        .map_err(|_| Refusal::Unavailable)?;
        known.told = true;
        // before the peer hears of it, so that its first streams find the gate open
        self.admitted.add(known.peer);
        self.inner.on_swarm_event(FromSwarm::ConnectionEstablished(ConnectionEstablished {
            peer_id: known.peer,
            connection_id: connection,
            endpoint,
            failed_addresses: &[],
            other_established: 0,
        }));
        Ok(handler)
    }

    fn on_ask(&mut self, peer: PeerId, connection: ConnectionId, ask: Ask) {
        let Some(known) = self.connections.get(&connection) else { return };
        let (did, path) = (known.did, known.direction.path());
        if let Ask::Refusing(reason) = ask {
            let address = known.direction.address().clone();
            let refused = GateEvent::Refused { peer: did, by_us: true, reason, connection, address };
            self.shut(connection, &DownCause::Dismissed);
            return self.push(ToSwarm::GenerateEvent(refused));
        }
        if known.ended {
            return self.answer(peer, connection, Answer::Refuse(Refusal::Unavailable));
        }
        if self.revoked.contains(&did) {
            return self.answer(peer, connection, Answer::Refuse(Refusal::Revoked));
        }
        let decision = match &ask {
            Ask::Holding => {
                let holding = self.slots.holds(&did);
                return self.answer(peer, connection, Answer::Holding(holding));
            }
            Ask::Decide { member, peer_holds } => {
                self.slots.decide(did, (connection, path), member.process.as_ref(), *peer_holds)
            }
            Ask::Welcomed { member } => self.slots.welcomed(did, (connection, path), member.process.as_ref()),
            Ask::Refusing(_) => return,
        };
        let old = match decision {
            Decision::Duplicate => return self.answer(peer, connection, Answer::Duplicate),
            Decision::Twin(open) => return self.probe(open, connection, ask),
            Decision::Take(old) => old,
        };
        let (Ask::Decide { member, .. } | Ask::Welcomed { member }) = ask else { return };
        if let Some(old) = old {
            self.close(old, &DownCause::Replaced);
        }
        match self.open(connection) {
            Ok(handler) => {
                if let Some(known) = self.connections.get_mut(&connection) {
                    known.member = Some(member);
                }
                self.notify(peer, connection, FromGate::Open(Box::new(handler)));
            }
            Err(reason) => {
                self.slots.free(&did, connection);
                self.answer(peer, connection, Answer::Refuse(reason));
            }
        }
    }

    fn on_end(&mut self, connection: ConnectionId, end: End) {
        let Some(known) = self.connections.get_mut(&connection) else { return };
        if known.ended {
            return;
        }
        let (peer, dialer, address) = (known.did, known.direction.is_dialer(), known.direction.address().clone());
        let path = known.direction.path();
        match end {
            End::Opened => {
                let member = known.member.clone().filter(|_| known.told);
                match member {
                    Some(member) if self.slots.opened(&peer, connection) => {
                        known.announced = true;
                        self.strangers.leave(connection);
                        let opened = GateEvent::Opened { peer, member, dialer, address, path, connection };
                        self.push(ToSwarm::GenerateEvent(opened));
                    }
                    // another connection took the slot while the last word was on its way
                    _ => self.close(connection, &DownCause::Replaced),
                }
            }
            End::Duplicate => self.close(connection, &DownCause::Replaced),
            End::Refused { by_us, reason } => {
                self.close(connection, &DownCause::RemoteClosed);
                if !by_us {
                    let refused = GateEvent::Refused { peer, by_us, reason, connection, address };
                    self.push(ToSwarm::GenerateEvent(refused));
                }
            }
            End::Failed(error) => {
                tracing::debug!(peer = %peer.short(), %connection, error, "hello failed");
                self.close(connection, &DownCause::Broken(error));
            }
        }
    }

    fn deny(&self) -> Result<(), ConnectionDenied> {
        if self.offline { Err(ConnectionDenied::new(Denied::Offline)) } else { Ok(()) }
    }

    fn admit(
        &mut self,
        connection: ConnectionId,
        peer: PeerId,
        direction: Direction,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.deny()?;
        let did = did_of(&peer).ok_or_else(|| ConnectionDenied::new(Denied::OtherKey))?;
        if let Direction::In { local, remote } = &direction {
            match self.strangers.admit(connection, Network::of(local, remote)) {
                Admission::Free => {}
                Admission::Instead(old) => self.close(old, &DownCause::Broken("silent at the gate".to_owned())),
                Admission::Full => return Err(ConnectionDenied::new(Denied::Crowded)),
            }
        }
        let parties = Parties { me: self.me, peer, peer_did: did };
        let papers = self.papers.clone().filter(|_| !self.no_hello.remove(&connection));
        let handler = GateHandler::new(papers, parties, direction.is_dialer());
        let known = Connection {
            peer,
            did,
            direction,
            endpoint: None,
            told: false,
            member: None,
            announced: false,
            ended: false,
        };
        self.connections.insert(connection, known);
        self.young.push_back((clock::now() + STRANGER_LIFETIME, connection));
        Ok(handler)
    }

    fn on_closed(&mut self, closed: ConnectionClosed<'_>) {
        let cause = match closed.cause {
            None => DownCause::RemoteClosed,
            Some(ConnectionError::KeepAliveTimeout) => DownCause::Broken("idle".to_owned()),
            Some(ConnectionError::IO(error)) => cause_of(error),
        };
        self.shut(closed.connection_id, &cause);
        self.strangers.leave(closed.connection_id);
        self.connections.remove(&closed.connection_id);
    }

    /// Closes connections whose hello did not finish in time.
    fn poll_young(&mut self, cx: &mut Context<'_>) {
        loop {
            let Some((due, connection)) = self.young.front().copied() else {
                self.sleep = None;
                return;
            };
            if self.connections.get(&connection).is_none_or(|known| known.announced || known.ended) {
                self.young.pop_front();
                continue;
            }
            let sleep = self.sleep.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(due)));
            if sleep.deadline() != due {
                sleep.as_mut().reset(due);
            }
            if sleep.as_mut().poll(cx).is_pending() {
                return;
            }
            self.young.pop_front();
            self.close(connection, &DownCause::Broken("no hello in time".to_owned()));
        }
    }

    /// Translates an action of the inner behaviour for the swarm.
    fn translate(&mut self, action: ToSwarm<B::ToSwarm, THandlerInEvent<B>>) -> Option<Action<B>> {
        match action {
            ToSwarm::NotifyHandler { peer_id, handler, event } => {
                let connection = match handler {
                    NotifyHandler::One(connection) => connection,
                    // "any" might pick a closed connection; the inner behaviour means the one open connection
                    NotifyHandler::Any => self.slots.connection(&did_of_shown(&peer_id)?)?,
                };
                let told = self.told(connection);
                let handler = NotifyHandler::One(connection);
                told.then_some(ToSwarm::NotifyHandler { peer_id, handler, event: FromGate::Inner(event) })
            }
            ToSwarm::CloseConnection { peer_id, .. } => {
                let peer = did_of_shown(&peer_id)?;
                self.close_peer(&peer, &DownCause::Broken("closed by a protocol".to_owned()));
                None
            }
            // the book of addresses decides about dials, not a behaviour
            ToSwarm::Dial { .. } => None,
            other => Some(other.map_in(FromGate::Inner).map_out(GateEvent::Inner)),
        }
    }
}

/// The cause of a connection's end, from an I/O error. Yamux and QUIC report an orderly end as an
/// error, too, and wrap it.
fn cause_of(error: &std::io::Error) -> DownCause {
    use std::io::ErrorKind as K;
    let mut source: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = source {
        let kind = error.downcast_ref::<std::io::Error>().map(std::io::Error::kind);
        if let Some(K::UnexpectedEof | K::ConnectionReset | K::ConnectionAborted | K::BrokenPipe) = kind {
            return DownCause::RemoteClosed;
        }
        // the source chain of an `io::Error` leaves out an inner `io::Error`
        let wrapped = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        source = wrapped.map(|wrapped| wrapped as _).or_else(|| error.source());
    }
    let text = error.to_string();
    let orderly = ["closed by peer", "connection is closed", "Broken pipe", "reset by peer"];
    if orderly.iter().any(|words| text.contains(words)) { DownCause::RemoteClosed } else { DownCause::Broken(text) }
}

impl<B: NetworkBehaviour> NetworkBehaviour for Gate<B> {
    type ConnectionHandler = GateHandler<THandler<B>>;
    type ToSwarm = GateEvent<B::ToSwarm>;

    fn handle_pending_inbound_connection(
        &mut self,
        _connection: ConnectionId,
        _local: &Multiaddr,
        _remote: &Multiaddr,
    ) -> Result<(), ConnectionDenied> {
        self.deny()
    }

    fn handle_pending_outbound_connection(
        &mut self,
        _connection: ConnectionId,
        _peer: Option<PeerId>,
        _addresses: &[Multiaddr],
        _role: Endpoint,
    ) -> Result<Vec<Multiaddr>, ConnectionDenied> {
        self.deny().map(|()| Vec::new())
    }

    fn handle_established_inbound_connection(
        &mut self,
        connection: ConnectionId,
        peer: PeerId,
        local: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.admit(connection, peer, Direction::In { local: local.clone(), remote: remote.clone() })
    }

    fn handle_established_outbound_connection(
        &mut self,
        connection: ConnectionId,
        peer: PeerId,
        address: &Multiaddr,
        role: Endpoint,
        port_use: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.admit(connection, peer, Direction::Out { address: address.clone(), role, port_use })
    }

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        match event {
            FromSwarm::ConnectionEstablished(established) => {
                if let Some(known) = self.connections.get_mut(&established.connection_id) {
                    known.endpoint = Some(established.endpoint.clone());
                }
            }
            FromSwarm::ConnectionClosed(closed) => self.on_closed(closed),
            FromSwarm::AddressChange(change) => {
                let Some(known) = self.connections.get_mut(&change.connection_id) else { return };
                known.endpoint = Some(change.new.clone());
                if known.told {
                    self.inner.on_swarm_event(FromSwarm::AddressChange(AddressChange { ..change }));
                }
            }
            // a later behaviour or the limits denied it: the connection never existed
            FromSwarm::DialFailure(failure) => {
                self.no_hello.remove(&failure.connection_id);
                self.connections.remove(&failure.connection_id);
            }
            FromSwarm::ListenFailure(failure) => {
                self.strangers.leave(failure.connection_id);
                self.connections.remove(&failure.connection_id);
            }
            listening => self.inner.on_swarm_event(listening),
        }
    }

    fn on_connection_handler_event(&mut self, peer: PeerId, connection: ConnectionId, event: THandlerOutEvent<Self>) {
        match event {
            ToGate::Began => self.strangers.spoke(connection),
            ToGate::Ask(AskEvent(ask)) => self.on_ask(peer, connection, ask),
            ToGate::Ended(EndEvent(end)) => self.on_end(connection, end),
            ToGate::Probed { lives } => self.on_probed(connection, lives),
            ToGate::Inner(event) => {
                // events still arrive after a shut; the inner behaviour has forgotten the connection
                if self.told(connection) {
                    self.inner.on_connection_handler_event(peer, connection, event);
                }
            }
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        loop {
            if let Some(action) = self.actions.pop_front() {
                return Poll::Ready(action);
            }
            self.poll_young(cx);
            if !self.actions.is_empty() {
                continue;
            }
            match self.inner.poll(cx) {
                Poll::Ready(action) => {
                    if let Some(action) = self.translate(action) {
                        return Poll::Ready(action);
                    }
                }
                Poll::Pending => break,
            }
        }
        self.waker = Some(cx.waker().clone());
        Poll::Pending
    }
}
