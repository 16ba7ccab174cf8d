use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use crate::libp2p::Transport;
use crate::libp2p::core::muxing::StreamMuxerBox;
use crate::libp2p::gossipsub::{self, MessageAcceptance};
use crate::libp2p::multiaddr::Protocol;
use crate::libp2p::swarm::dial_opts::{DialOpts, PeerCondition};
use crate::libp2p::swarm::{ConnectionId, DialError, Swarm, SwarmEvent};
use crate::libp2p::{Multiaddr, PeerId, StreamProtocol, identify};
use futures::StreamExt;
use nexus_identity::{Did, Keypair};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::behaviour::{InnerEvent, Outer, OuterEvent, TOPIC_PREFIX, wire_topic};
use super::book::{Book, Target, is_loopback, without_peer};
use super::discovery::{self, Sighting};
use super::handshakes::BoundedHandshakes;
use super::narrow::NarrowMuxer;
use super::posted::{MeshShared, lock};
use super::pulse::Sign;
use super::transport::MeshTransport;
use crate::clock::{self, Clock};
use crate::config::{Limits, MeshConfig, PRESENCE_TOPIC};
use crate::error::{JoinError, MeshError, OpenError, PublishError};
use crate::event::{DownCause, MeshEvent, MessageToken, OpenConnection, PeerState, PeerStatus, Refusal, Verdict};
use crate::gate::admitted::Admitted;
use crate::gate::door::{DoorEvent, JoinOutcome};
use crate::gate::rooms::OpenReply;
use crate::gate::{GateEvent, Member, expired};
use crate::health::{Health, HealthChange, Vital};
use crate::join::JoinRequest;
use crate::limit::RateLimit;
use crate::path::{ConnectionPath, Quality};
use crate::peer::{did_of, did_of_shown, libp2p_keypair, peer_id_of};
use crate::presence::{BeatError, Beats, Circle, Presence};
use crate::redial::Backoff;
use crate::rooms::{Message, Rooms};
use crate::spawner::Spawner;
use crate::tally::{Direction, Tally};
use crate::timers;

/// The longest time of a closed connection without streams. The gate closes it long before.
const IDLE_TIMEOUT: Duration = Duration::from_secs(120);
/// Inbound streams of one connection in negotiation; further ones wait.
const NEGOTIATING_MAX: usize = 16;
/// The time between two checks of expiry while connections are open.
const EXPIRY_CHECK: Duration = Duration::from_secs(60);
/// The delay of the first beat to a new neighbour.
const FIRST_BEAT: Duration = Duration::from_millis(500);
/// The longest wait of a shutdown for connections to close.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(2);
/// The pause of a peer's gossip beyond its rate.
const OVER_THE_RATE: Duration = Duration::from_millis(100);
/// The longest pause of a peer's gossip. Signs of life of others come by it, too.
const PAUSE_MAX: Duration = Duration::from_secs(1);
/// The manners at rest of a neighbour that does not wait for beats at their usual rate.
const RARE_BEATS: u16 = 1;
/// The part of the usual beats that is sent while this node and all its neighbours have one circle.
const RARELY: u32 = 12;
/// The longest time between two beats: clocks are compared by them.
const RARELY_MAX: Duration = Duration::from_secs(60);
/// The protocol of gossip, as gossipsub negotiates it.
const GOSSIP_PROTOCOL: &str = "/meshsub/1.3.0";
/// The most commands taken between two polls of the network.
const COMMANDS_AT_ONCE: usize = 32;

/// A command of a handle, which waits for the answer.
pub(crate) enum MeshCommand {
    Open { peer: Did, room: StreamProtocol, reply: OpenReply },
    Publish { topic: String, bytes: Vec<u8>, reply: oneshot::Sender<Result<(), PublishError>> },
    Join { inviter: Did, addresses: Vec<Multiaddr>, request: JoinRequest, outcome: JoinOutcome },
    SetOffline { offline: bool, reply: oneshot::Sender<()> },
    Peers { reply: oneshot::Sender<Vec<PeerStatus>> },
    Shutdown { reply: oneshot::Sender<()> },
}

/// An open peer.
struct Neighbour {
    member: Box<Member>,
    connection: ConnectionId,
    address: Multiaddr,
    path: ConnectionPath,
    limit: RateLimit,
    /// Its circle, by its last beat.
    circle: Option<Circle>,
}

impl Neighbour {
    /// Whether it is on this machine. A relay that is says nothing of those behind it.
    fn is_near(&self) -> bool {
        let is_here = || is_loopback(&self.address) || matches!(self.address.iter().next(), Some(Protocol::Memory(_)));
        self.path == ConnectionPath::Direct && is_here()
    }
}

/// The loop's state.
pub(crate) struct Net {
    swarm: Swarm<Outer>,
    key: Keypair,
    clock: Arc<dyn Clock>,
    shared: Arc<MeshShared>,
    book: Book,
    /// The target of each dial, until its connection fails, opens or closes.
    dials: BTreeMap<ConnectionId, Target>,
    neighbours: BTreeMap<Did, Neighbour>,
    health: Health,
    presence: Option<Presence>,
    beats: Option<Beats>,
    beat_body: Vec<u8>,
    beat_at: Instant,
    /// The time of the last beat.
    beaten_at: Instant,
    heartbeat: Duration,
    /// This node and the neighbours that are up; `None` if it must be computed anew.
    circle: Option<Circle>,
    expiry_at: Instant,
    revoked: BTreeSet<Did>,
    offline: bool,
    messages_per_second: u32,
    message_bytes_max: usize,
    rooms: Rooms,
    events: mpsc::Sender<MeshEvent>,
    /// Events that the node has not taken yet. The swarm is not polled while there are any.
    out: VecDeque<MeshEvent>,
    /// The time since which the loop waits for the node; it hears no peer meanwhile.
    deaf_since: Option<Instant>,
    /// The connections that were opened so far.
    opened: u64,
    /// Counts the messages of gossip by their topic.
    gossip: Tally,
    /// The time of the next tick; `None` if it must be computed anew.
    due: Option<Instant>,
}

impl Net {
    pub(crate) fn new(
        transport: MeshTransport,
        config: MeshConfig,
        rooms: Rooms,
        spawner: Arc<dyn Spawner>,
        shared: Arc<MeshShared>,
        events: mpsc::Sender<MeshEvent>,
    ) -> Result<Self, MeshError> {
        let key = libp2p_keypair(&config.keypair).ok_or(MeshError::Key)?;
        let admitted = Admitted::default();
        let behaviour = Outer::new(&config, &rooms, &key, admitted.clone(), &shared.tallies)?;
        let gossip = shared.tallies.of(GOSSIP_PROTOCOL);
        let Limits { pending, strangers_per_network, .. } = config.limits;
        let pending = usize::try_from(pending).unwrap_or(usize::MAX);
        let tallies = shared.tallies.clone();
        let MeshTransport { transport } = transport;
        let transport = BoundedHandshakes::new(transport, pending, strangers_per_network)
            .map(move |(peer, muxer), _| {
                let muxer = NarrowMuxer::new(muxer, peer, admitted.clone(), tallies.clone());
                (peer, StreamMuxerBox::new(muxer))
            })
            .boxed();
        let executor = move |task| spawner.spawn("libp2p", task);
        let settings = crate::libp2p::swarm::Config::with_executor(executor)
            .with_idle_connection_timeout(IDLE_TIMEOUT)
            .with_max_negotiating_inbound_streams(NEGOTIATING_MAX);
        let mut swarm = Swarm::new(transport, behaviour, key.public().to_peer_id(), settings);
        let mut out = VecDeque::new();
        for address in config.listen.iter().cloned() {
            if let Err(error) = swarm.listen_on(address.clone()) {
                out.push_back(MeshEvent::ListenFailed { address: Some(address), error: error.to_string() });
            }
        }
        let mut seed = [0; 8];
        getrandom::fill(&mut seed).map_err(|error| MeshError::Protocol("randomness", error.to_string()))?;
        let (me, now) = (config.keypair.did(), clock::now());
        let mesh = config.membership.as_ref().map(|membership| membership.mesh);
        let run = config.clock.wall().as_ms();
        Ok(Self {
            swarm,
            clock: config.clock.clone(),
            shared,
            book: Book::new(me, u64::from_le_bytes(seed), Backoff::default()),
            dials: BTreeMap::new(),
            neighbours: BTreeMap::new(),
            health: Health::new(config.suspect_after(), config.down_after),
            presence: mesh.map(Presence::new),
            beats: config.membership.as_ref().map(|own| Beats::new(own.mesh, &own.chain, run)),
            beat_body: Vec::new(),
            beat_at: now + config.heartbeat,
            beaten_at: now,
            circle: None,
            heartbeat: config.heartbeat,
            expiry_at: now + EXPIRY_CHECK,
            revoked: BTreeSet::new(),
            offline: false,
            messages_per_second: config.limits.messages_per_second,
            message_bytes_max: config.limits.message_bytes_max,
            rooms,
            key: config.keypair,
            events,
            out,
            deaf_since: None,
            opened: 0,
            gossip,
            due: None,
        })
    }

    /// Runs until all handles or the receiver of events are gone, or until a shutdown.
    pub(crate) async fn run(mut self, mut commands: mpsc::Receiver<MeshCommand>) {
        let (shared, events) = (self.shared.clone(), self.events.clone());
        let stopped = loop {
            self.take_posted();
            for _ in 0..COMMANDS_AT_ONCE {
                match commands.try_recv() {
                    Ok(MeshCommand::Shutdown { reply }) => return self.shutdown(reply).await,
                    Ok(command) => self.on_command(command),
                    Err(_) => break,
                }
            }
            let now = clock::now();
            self.listen_again(now);
            let due = match self.due {
                Some(due) => due,
                None => *self.due.insert(self.next_due()),
            };
            if due <= now {
                self.due = None;
                self.tick(now);
                continue;
            }
            tokio::select! {
                biased;
                permit = events.reserve(), if !self.out.is_empty() => {
                    let (Ok(permit), Some(event)) = (permit, self.out.pop_front()) else { break None };
                    permit.send(event);
                }
                event = self.swarm.select_next_some(), if self.out.is_empty() => self.on_swarm(event),
                command = commands.recv() => match command {
                    Some(MeshCommand::Shutdown { reply }) => break Some(reply),
                    Some(command) => self.on_command(command),
                    None => break None,
                },
                () = shared.wake.notified() => {}
                () = timers::sleep_until(due) => {}
                () = events.closed() => break None,
            }
        };
        let reply = stopped.unwrap_or_else(|| oneshot::channel().0);
        self.shutdown(reply).await;
    }

    /// Closes every connection, reports it, and waits a moment for the peers to notice.
    async fn shutdown(mut self, reply: oneshot::Sender<()>) {
        self.swarm.behaviour_mut().gate.close_all(&DownCause::Shutdown);
        let closing = async {
            while self.swarm.network_info().connection_counters().num_established() > 0 {
                let event = self.swarm.select_next_some().await;
                if matches!(event, SwarmEvent::Behaviour(OuterEvent::Gate(GateEvent::Closed { .. }))) {
                    self.on_swarm(event);
                }
            }
        };
        let _ = tokio::time::timeout(SHUTDOWN_TIMEOUT, closing).await;
        for event in self.out.drain(..) {
            // the receiver may be gone
            if self.events.try_send(event).is_err() {
                break;
            }
        }
        drop(self);
        let _ = reply.send(());
    }

    /// Forgives the peers the silence in which the node did not take its events.
    fn listen_again(&mut self, now: Instant) {
        if !self.out.is_empty() {
            if self.deaf_since.is_none() {
                self.deaf_since = Some(now);
                self.due = None;
            }
        } else if let Some(since) = self.deaf_since.take() {
            self.health.forgive(now - since, now);
            self.due = None;
        }
    }

    fn next_due(&self) -> Instant {
        let mut due = self.expiry_at;
        if self.beats.is_some() && !self.offline {
            due = due.min(self.beat_at);
        }
        let dial = self.book.next_due().filter(|_| !self.offline);
        let judge = self.health.next_tick().filter(|_| self.out.is_empty());
        [judge, dial].into_iter().flatten().fold(due, Instant::min)
    }

    fn tick(&mut self, now: Instant) {
        if self.expiry_at <= now {
            self.expiry_at = now + EXPIRY_CHECK;
            self.swarm.behaviour_mut().gate.cut_expired(self.clock.wall());
        }
        let changes = if self.out.is_empty() { self.health.tick(now) } else { Vec::new() };
        for change in changes {
            if change.state == PeerState::Down {
                self.swarm.behaviour_mut().gate.close_peer(&change.peer, &DownCause::Silent);
            }
            self.report(Some(change));
        }
        if !self.offline {
            if self.beat_at <= now {
                self.beat(now);
            }
            for (target, addresses) in self.book.due(now) {
                self.dial(target, addresses, now);
            }
        }
    }

    fn report(&mut self, change: Option<HealthChange>) {
        if let Some(HealthChange { peer, state, cause }) = change {
            self.circle = None;
            self.beat_soon();
            self.is_whole();
            self.out.push_back(MeshEvent::PeerState { peer, state, cause });
        }
    }

    /// Tells the node something that comes again, unless it is behind with its events already.
    fn hint(&mut self, event: MeshEvent) {
        if self.events.capacity() >= self.events.max_capacity() / 2 {
            self.out.push_back(event);
        }
    }

    /// This node's circle.
    fn circle(&mut self) -> Circle {
        if let Some(circle) = self.circle {
            return circle;
        }
        let me = self.key.did();
        let up = |did: &&Did| self.health.vital(did).is_some_and(|vital| vital.state == PeerState::Up);
        let members: BTreeSet<&Did> = self.neighbours.keys().filter(up).chain([&me]).collect();
        *self.circle.insert(Circle::of(members.into_iter()))
    }

    /// Whether this node and all its neighbours have one circle, by their last beats. Then nobody hears a beat by way
    /// of others, and all can tell that the others live by their connections.
    fn is_whole(&mut self) -> bool {
        let circle = self.circle();
        let alike = |known: &Neighbour| known.circle.is_some_and(|theirs| theirs.is_of(circle));
        let knows = |known: &Neighbour| known.member.abilities.rest >= RARE_BEATS && alike(known);
        let whole = self.neighbours.values().all(knows);
        self.shared.whole.send_if_modified(|told| std::mem::replace(told, whole) != whole);
        whole
    }

    /// Sees to a beat at the usual rate: somebody may wait for news.
    fn beat_soon(&mut self) {
        self.beat_at = self.beat_at.min(self.beaten_at + self.heartbeat);
        self.due = None;
    }

    fn beat(&mut self, now: Instant) {
        let whole = self.is_whole();
        let rarely = (self.heartbeat * RARELY).min(RARELY_MAX).max(self.heartbeat);
        (self.beaten_at, self.beat_at) = (now, now + if whole { rarely } else { self.heartbeat });
        let circle = self.circle().seen_whole(whole);
        let Some(beats) = &mut self.beats else { return };
        let bytes = beats.next(&self.key, &self.beat_body, self.clock.wall(), circle);
        let topic = wire_topic(PRESENCE_TOPIC);
        // a beat that no peer receives is no error
        let _ = self.swarm.behaviour_mut().gate.inner_mut().gossip.inner_mut().publish(topic, bytes);
    }

    fn dial(&mut self, target: Target, addresses: Vec<Multiaddr>, now: Instant) {
        let options = match &target {
            Target::Peer(peer) => match peer_id_of(peer) {
                Some(peer) => DialOpts::peer_id(peer).condition(PeerCondition::Always).addresses(addresses).build(),
                None => return self.book.ended(&target, true, now),
            },
            Target::Bootstrap(address) => DialOpts::from(address.clone()),
        };
        let connection = options.connection_id();
        match self.swarm.dial(options) {
            Ok(()) => {
                self.dials.insert(connection, target);
            }
            Err(error) => self.dial_failed(&target, &error, now),
        }
    }

    fn dial_failed(&mut self, target: &Target, error: &DialError, now: Instant) {
        tracing::debug!(?target, %error, "dial failed");
        match error {
            DialError::WrongPeerId { address, .. } => self.book.misplaced(target, address),
            DialError::LocalPeerId { address } => {
                self.book.misplaced(target, address);
                self.book.forget(target);
            }
            _ => {}
        }
        self.book.blame(target, error.to_string());
        self.book.ended(target, false, now);
        self.due = None;
    }

    fn take_posted(&mut self) {
        let posted = self.shared.take();
        let now = clock::now();
        if !posted.know.is_empty() || !posted.bootstraps.is_empty() {
            self.due = None;
        }
        for (token, verdict) in posted.verdicts {
            self.settle(&token, verdict);
        }
        for (peer, addresses) in posted.know {
            self.book.know(peer, &addresses, now);
        }
        for address in posted.bootstraps {
            self.book.bootstrap(address, now);
        }
        for (peer, until) in posted.paused {
            self.pause(&peer, until, now);
        }
        for peer in posted.disconnect {
            self.swarm.behaviour_mut().gate.close_peer(&peer, &DownCause::Dismissed);
        }
        if let Some(body) = posted.beat
            && self.beat_body != body
        {
            self.beat_body = body;
            self.beat_soon();
        }
        if let Some(chain) = posted.chain {
            self.beat_soon();
            if let Some(beats) = &mut self.beats {
                beats.set_chain(&chain);
            }
            self.swarm.behaviour_mut().gate.set_chain(chain);
        }
        if let Some((entry, critical)) = posted.formats {
            self.swarm.behaviour_mut().gate.set_formats(entry, critical);
        }
        if let Some(revoked) = posted.revoked {
            self.revoked.clone_from(&revoked);
            self.swarm.behaviour_mut().gate.set_revoked(revoked);
        }
    }

    fn settle(&mut self, token: &MessageToken, verdict: Verdict) {
        let acceptance = match verdict {
            Verdict::Accept => MessageAcceptance::Accept,
            Verdict::Ignore => MessageAcceptance::Ignore,
            Verdict::Reject => MessageAcceptance::Reject,
        };
        let gossip = self.swarm.behaviour_mut().gate.inner_mut().gossip.inner_mut();
        gossip.report_message_validation_result(&token.id, &token.from, acceptance);
    }

    /// Hears no gossip of an open peer until then.
    fn pause(&mut self, peer: &Did, until: Instant, now: Instant) {
        if self.neighbours.contains_key(peer)
            && let Some(peer) = peer_id_of(peer)
        {
            self.swarm.behaviour_mut().gate.inner_mut().gossip.pauses().pause(peer, until.min(now + PAUSE_MAX), now);
        }
    }

    fn on_command(&mut self, command: MeshCommand) {
        match command {
            MeshCommand::Open { peer, room, reply } => match peer_id_of(&peer) {
                // nothing is said to a peer in a room that it did not name
                _ if self.neighbours.get(&peer).is_some_and(|known| !known.member.abilities.serves(room.as_ref())) => {
                    let _ = reply.send(Err(OpenError::NoSuchRoom));
                }
                Some(peer) => self.swarm.behaviour_mut().gate.inner_mut().rooms.open(peer, room, reply),
                None => {
                    let _ = reply.send(Err(OpenError::NotOpen));
                }
            },
            MeshCommand::Publish { topic, bytes, reply } => {
                let _ = reply.send(self.publish(topic, bytes));
            }
            MeshCommand::Join { inviter, addresses, request, outcome } => {
                self.join(inviter, &addresses, request, outcome);
            }
            MeshCommand::SetOffline { offline, reply } => {
                self.set_offline(offline);
                let _ = reply.send(());
            }
            MeshCommand::Peers { reply } => {
                let _ = reply.send(self.peers());
            }
            // handled by the loop
            MeshCommand::Shutdown { .. } => {}
        }
    }

    fn publish(&mut self, topic: String, bytes: Vec<u8>) -> Result<(), PublishError> {
        use gossipsub::PublishError as E;
        if self.presence.is_none() {
            return Err(PublishError::NotAMember);
        }
        if !self.rooms.topics().any(|known| known == topic) {
            return Err(PublishError::NoSuchTopic(topic));
        }
        let (len, max) = (bytes.len(), self.message_bytes_max);
        if len > max {
            return Err(PublishError::TooLarge { bytes: len, max });
        }
        match self.swarm.behaviour_mut().gate.inner_mut().gossip.inner_mut().publish(wire_topic(&topic), bytes) {
            // no receiver, or a repetition: sync makes the promise, not gossip
            Ok(_) | Err(E::NoPeersSubscribedToTopic | E::Duplicate) => Ok(()),
            Err(E::MessageTooLarge) => Err(PublishError::TooLarge { bytes: len, max }),
            Err(error) => {
                tracing::debug!(%error, topic, "not published");
                Err(PublishError::Busy)
            }
        }
    }

    fn join(&mut self, inviter: Did, addresses: &[Multiaddr], request: JoinRequest, outcome: JoinOutcome) {
        if self.offline {
            let _ = outcome.send(Err(JoinError::Offline));
            return;
        }
        let mut addresses: Vec<_> = addresses.iter().map(without_peer).collect();
        addresses.extend(self.book.addresses(&inviter));
        addresses.sort();
        addresses.dedup();
        let (Some(peer), false) = (peer_id_of(&inviter), addresses.is_empty()) else {
            let _ = outcome.send(Err(JoinError::Unreachable("no address of the inviter".to_owned())));
            return;
        };
        // one dial for each address: a stranger at one of them must not fail the others
        let dials: Vec<DialOpts> = addresses
            .into_iter()
            .map(|address| DialOpts::peer_id(peer).condition(PeerCondition::Always).addresses(vec![address]).build())
            .collect();
        let ids: Vec<_> = dials.iter().map(DialOpts::connection_id).collect();
        let behaviour = self.swarm.behaviour_mut();
        behaviour.gate.no_hello_on(&ids);
        behaviour.door.ask(&ids, request, outcome);
        for (dial, id) in dials.into_iter().zip(ids) {
            if let Err(error) = self.swarm.dial(dial) {
                self.swarm.behaviour_mut().door.dial_failed(id, error.to_string());
            }
        }
    }

    fn set_offline(&mut self, offline: bool) {
        if self.offline == offline {
            return;
        }
        self.due = None;
        self.offline = offline;
        self.swarm.behaviour_mut().gate.set_offline(offline);
        if offline {
            for peer in self.health.peers().copied().collect::<Vec<_>>() {
                let change = self.health.closed(peer, DownCause::Offline);
                self.report(change);
            }
        } else {
            let now = clock::now();
            self.book.dial_all(now);
            self.beat_at = now + FIRST_BEAT;
        }
    }

    fn peers(&self) -> Vec<PeerStatus> {
        let all: BTreeSet<Did> = self.book.peers().chain(self.health.peers()).copied().collect();
        all.into_iter().map(|did| self.status(did)).collect()
    }

    fn status(&self, did: Did) -> PeerStatus {
        let neighbour = self.neighbours.get(&did);
        let vital = self.health.vital(&did);
        let beaten = || self.presence.as_ref().and_then(|presence| presence.claims(&did));
        let claims = neighbour.map(|neighbour| &neighbour.member.claims).or_else(beaten);
        let state = vital.map_or(PeerState::Down, |vital| vital.state);
        let cause = vital.and_then(|vital| vital.cause.clone());
        let never_met = || DownCause::Unreachable(self.book.error(&did));
        let ago = |vital: &Vital| clock::now().saturating_duration_since(vital.heard_at);
        PeerStatus {
            did,
            name: claims.map(|claims| claims.name.clone()),
            roles: claims.map(|claims| claims.roles.clone()),
            state,
            cause: if state == PeerState::Down { Some(cause.unwrap_or_else(never_met)) } else { cause },
            open: neighbour.is_some(),
            quality: neighbour.map(|neighbour| Quality { path: neighbour.path, rtt: self.rtt(neighbour) }),
            address: neighbour.map(|neighbour| neighbour.address.clone()),
            last_seen: vital.map(|vital| clock::wall_ago(&*self.clock, ago(vital))),
            addresses: self.book.addresses(&did),
            abilities: neighbour.map(|neighbour| neighbour.member.abilities.clone()),
        }
    }

    fn on_swarm(&mut self, event: SwarmEvent<OuterEvent>) {
        let now = clock::now();
        match event {
            SwarmEvent::Behaviour(OuterEvent::Gate(GateEvent::Inner(event))) => self.on_inner(event, now),
            SwarmEvent::Behaviour(OuterEvent::Gate(event)) => self.on_gate(event, now),
            SwarmEvent::Behaviour(OuterEvent::Door(event)) => self.on_door(event),
            SwarmEvent::Behaviour(OuterEvent::Pulse(sign)) => self.on_sign(sign, now),
            SwarmEvent::Behaviour(OuterEvent::Discovery(event)) => self.on_discovery(event, now),
            SwarmEvent::NewListenAddr { address, .. } => {
                // perhaps another network: an unreachable peer may be reachable now
                self.book.dial_all(now);
                self.due = None;
                lock(&self.shared.listening).push(address.clone());
                self.out.push_back(MeshEvent::Listening { address });
            }
            SwarmEvent::ExpiredListenAddr { address, .. } => {
                lock(&self.shared.listening).retain(|known| *known != address);
            }
            SwarmEvent::ListenerClosed { addresses, reason: Err(error), .. } => {
                lock(&self.shared.listening).retain(|known| !addresses.contains(known));
                let address = addresses.into_iter().next();
                self.out.push_back(MeshEvent::ListenFailed { address, error: error.to_string() });
            }
            SwarmEvent::ListenerError { error, .. } => {
                self.out.push_back(MeshEvent::ListenFailed { address: None, error: error.to_string() });
            }
            SwarmEvent::OutgoingConnectionError { connection_id, error, .. } => {
                if let Some(target) = self.dials.remove(&connection_id) {
                    self.dial_failed(&target, &error, now);
                }
            }
            SwarmEvent::ConnectionClosed { connection_id, .. } => {
                if let Some(target) = self.dials.remove(&connection_id) {
                    self.book.ended(&target, false, now);
                    self.due = None;
                }
            }
            SwarmEvent::IncomingConnectionError { error, send_back_addr, .. } => {
                tracing::debug!(%error, address = %send_back_addr, "inbound connection failed");
            }
            _ => {}
        }
    }

    fn on_gate(&mut self, event: GateEvent<InnerEvent>, now: Instant) {
        self.due = None;
        match event {
            GateEvent::Opened { peer, member, dialer, address, path, connection } => {
                let target = self.dials.remove(&connection);
                if let Some(Target::Bootstrap(boot)) = &target {
                    self.book.met(boot, peer);
                }
                let news = self.book.opened(peer, dialer.then_some(&address), now);
                if let Some(target) = target {
                    self.book.ended(&target, false, now);
                }
                let open = MeshEvent::PeerOpen {
                    peer,
                    chain: member.chain.clone(),
                    name: member.claims.name.clone(),
                    roles: member.claims.roles.clone(),
                    dialer,
                    address: without_peer(&address),
                    abilities: member.abilities.clone(),
                };
                self.opened += 1;
                let quic = address.iter().any(|part| matches!(part, Protocol::Quic | Protocol::QuicV1));
                // nor is it known what lies behind a relay
                let closes = !quic && path == ConnectionPath::Direct;
                let known = OpenConnection { number: self.opened, rest: member.abilities.rest, closes };
                self.shared.open.send_modify(|open| {
                    open.insert(peer, known);
                });
                let limit = RateLimit::new(self.messages_per_second, now);
                self.neighbours.insert(peer, Neighbour { member, connection, address, path, limit, circle: None });
                self.out.push_back(open);
                if let Some(addresses) = news {
                    self.hint(MeshEvent::Addresses { peer, addresses });
                }
                let change = self.health.heard(peer, now);
                self.report(change);
                self.circle = None;
                self.is_whole();
                self.beat_at = self.beat_at.min(now + FIRST_BEAT);
            }
            GateEvent::Closed { peer, cause } => {
                self.neighbours.remove(&peer);
                self.circle = None;
                self.beat_soon();
                self.is_whole();
                self.shared.open.send_modify(|open| {
                    open.remove(&peer);
                });
                let addresses = self.book.closed(&peer, now);
                let change = match cause {
                    DownCause::Replaced => None,
                    _ => self.health.closed(peer, cause.clone()),
                };
                self.out.push_back(MeshEvent::PeerClosed { peer, cause });
                if let Some(addresses) = addresses {
                    self.hint(MeshEvent::Addresses { peer, addresses });
                }
                self.report(change);
            }
            GateEvent::Refused { peer, by_us, reason, connection, address } => {
                let target = self.dials.remove(&connection);
                if let Some(target) = &target {
                    self.book.blame(target, format!("refused: {reason}"));
                    self.book.ended(target, true, now);
                }
                if reason == Refusal::Twin && !by_us {
                    self.book.rest(&peer, target.as_ref(), now);
                }
                tracing::debug!(peer = %peer.short(), %address, by_us, %reason, "refused");
                match (reason, target) {
                    (Refusal::OtherMesh, Some(Target::Bootstrap(address))) => {
                        if let Some(peer) = peer_id_of(&peer) {
                            self.out.push_back(MeshEvent::OtherMesh { address, peer });
                        }
                    }
                    // strangers that scan the internet must not fill the log
                    (Refusal::OtherMesh, None) => {}
                    _ => self.out.push_back(MeshEvent::Refused { peer, by_us, reason }),
                }
            }
            GateEvent::Inner(_) => {}
        }
    }

    fn on_inner(&mut self, event: InnerEvent, now: Instant) {
        match event {
            InnerEvent::Gossip(gossipsub::Event::Message { propagation_source, message_id, message }) => {
                self.on_message(propagation_source, message_id, message, now);
            }
            InnerEvent::Identify(identify::Event::Received { peer_id, info, .. }) => {
                if let Some(peer) = did_of_shown(&peer_id)
                    && let near = self.neighbours.get(&peer).is_some_and(Neighbour::is_near)
                    && let Some(addresses) = self.book.told(peer, &info.listen_addrs, near, now)
                {
                    self.hint(MeshEvent::Addresses { peer, addresses });
                }
            }
            InnerEvent::Rooms(entered) => {
                if let Some(peer) = did_of_shown(&entered.peer) {
                    self.rooms.enter(peer, &entered.room, entered.stream);
                }
            }
            _ => {}
        }
    }

    fn on_message(&mut self, from: PeerId, id: gossipsub::MessageId, message: gossipsub::Message, now: Instant) {
        let token = MessageToken { id, from };
        let neighbour = did_of_shown(&from).and_then(|did| self.neighbours.get_mut(&did).map(|known| (did, known)));
        let Some((from, neighbour)) = neighbour else {
            return self.settle(&token, Verdict::Ignore);
        };
        if !neighbour.limit.take(now) {
            self.pause(&from, now + OVER_THE_RATE, now);
            return self.settle(&token, Verdict::Ignore);
        }
        let topic = message.topic.as_str().strip_prefix(TOPIC_PREFIX).unwrap_or_default();
        if topic == PRESENCE_TOPIC {
            self.gossip.count("beat", Direction::In, message.data.len());
            let verdict = self.on_beat(&message.data, now);
            return self.settle(&token, verdict);
        }
        self.gossip.count("entry", Direction::In, message.data.len());
        if let Err(Message { token, .. }) = self.rooms.hear(from, topic, Message { bytes: message.data, token }) {
            self.settle(&token, Verdict::Ignore);
        }
    }

    fn on_beat(&mut self, bytes: &[u8], now: Instant) -> Verdict {
        let Some(presence) = &mut self.presence else { return Verdict::Ignore };
        let heard = match presence.hear(bytes, now) {
            Ok(heard) => heard,
            Err(BeatError::Invalid) => return Verdict::Reject,
            Err(BeatError::Stale | BeatError::TooManyAuthors | BeatError::TooManyChains) => return Verdict::Ignore,
        };
        let peer = heard.claims.subject;
        if self.revoked.contains(&peer) || expired(heard.expires_at, self.clock.wall()) || peer == self.key.did() {
            return Verdict::Ignore;
        }
        if self.book.heard(&peer, now) {
            self.due = None;
        }
        let change = self.health.heard(peer, now);
        self.report(change);
        let ours = self.circle();
        let is_ours = heard.circle.is_some_and(|theirs| theirs.is_of(ours));
        let rtt = self.neighbours.get(&peer).and_then(|neighbour| self.rtt(neighbour));
        let mut reaches_all = false;
        if let Some(neighbour) = self.neighbours.get_mut(&peer) {
            neighbour.circle = heard.circle;
            reaches_all = is_ours && heard.circle.is_some_and(Circle::is_whole);
        }
        if !is_ours {
            self.beat_soon();
        }
        self.is_whole();
        self.hint(MeshEvent::Beat { peer, body: heard.body, clock: heard.clock, rtt });
        // its author has told all our neighbours itself
        if reaches_all { Verdict::Ignore } else { Verdict::Accept }
    }

    fn on_door(&mut self, event: DoorEvent) {
        match event {
            DoorEvent::Asked { peer, request, reply } => {
                self.swarm.behaviour_mut().gate.joins(&peer);
                if let Some(peer) = did_of_shown(&peer) {
                    self.rooms.knock(peer, request, reply);
                }
            }
            // the connection was dialled for this question alone
            DoorEvent::Done { connection } => {
                self.swarm.close_connection(connection);
            }
        }
    }

    fn rtt(&self, neighbour: &Neighbour) -> Option<Duration> {
        self.swarm.behaviour().pulse.rtt(neighbour.connection)
    }

    fn on_sign(&mut self, sign: Sign, now: Instant) {
        let Some(peer) = did_of_shown(&sign.peer) else { return };
        if self.neighbours.get(&peer).is_some_and(|neighbour| neighbour.connection == sign.connection) {
            let change = self.health.heard(peer, now);
            self.report(change);
        }
    }

    fn on_discovery(&mut self, event: discovery::Event, now: Instant) {
        self.due = None;
        match discovery::sighting(event) {
            Sighting::Came(found) => {
                for (peer, address) in found {
                    if let Some(peer) = did_of(&peer) {
                        self.book.spotted(peer, &address, now);
                    }
                }
            }
            Sighting::Went(lost) => {
                for (peer, address) in lost {
                    if let Some(peer) = did_of(&peer) {
                        self.book.vanished(&peer, &address);
                    }
                }
            }
        }
    }
}
