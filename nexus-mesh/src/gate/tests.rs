//! The gate seen from the inner behaviour, step by step.

use std::convert::Infallible;

use crate::libp2p::core::upgrade::DeniedUpgrade;
use crate::libp2p::swarm::handler::ConnectionEvent;
use crate::libp2p::swarm::{ConnectionHandler, ConnectionHandlerEvent, SubstreamProtocol};
use nexus_identity::{Claims, Keypair, Role, Timestamp};

use super::*;
use crate::clock::SystemClock;
use crate::peer::peer_id_of;
use crate::process::Process;

/// Records its events, and fails on an unknown connection.
#[derive(Default)]
struct Probe {
    heard: Vec<String>,
    known: BTreeSet<ConnectionId>,
    wants: VecDeque<ToSwarm<Infallible, u8>>,
}

struct ProbeHandler;

impl ConnectionHandler for ProbeHandler {
    type FromBehaviour = u8;
    type ToBehaviour = u8;
    type InboundProtocol = DeniedUpgrade;
    type OutboundProtocol = DeniedUpgrade;
    type InboundOpenInfo = ();
    type OutboundOpenInfo = ();

    fn listen_protocol(&self) -> SubstreamProtocol<DeniedUpgrade> {
        SubstreamProtocol::new(DeniedUpgrade, ())
    }

    fn poll(&mut self, _: &mut Context<'_>) -> Poll<ConnectionHandlerEvent<DeniedUpgrade, (), u8>> {
        Poll::Pending
    }

    fn on_behaviour_event(&mut self, _: u8) {}

    fn on_connection_event(&mut self, _: ConnectionEvent<DeniedUpgrade, DeniedUpgrade>) {}
}

impl NetworkBehaviour for Probe {
    type ConnectionHandler = ProbeHandler;
    type ToSwarm = Infallible;

    fn handle_established_inbound_connection(
        &mut self,
        _: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        _: &Multiaddr,
    ) -> Result<ProbeHandler, ConnectionDenied> {
        Ok(ProbeHandler)
    }

    fn handle_established_outbound_connection(
        &mut self,
        _: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> Result<ProbeHandler, ConnectionDenied> {
        Ok(ProbeHandler)
    }

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        match event {
            FromSwarm::ConnectionEstablished(established) => {
                assert_eq!(established.other_established, 0);
                assert!(self.known.is_empty(), "one connection at a time");
                self.known.insert(established.connection_id);
                self.heard.push(format!("open {}", established.connection_id));
            }
            FromSwarm::ConnectionClosed(closed) => {
                assert_eq!(closed.remaining_established, 0);
                assert!(self.known.remove(&closed.connection_id), "closed once");
                self.heard.push(format!("closed {}", closed.connection_id));
            }
            _ => {}
        }
    }

    fn on_connection_handler_event(&mut self, _: PeerId, connection: ConnectionId, event: u8) {
        assert!(self.known.contains(&connection), "an event of a connection that is not open");
        self.heard.push(format!("event {event}"));
    }

    fn poll(&mut self, _: &mut Context<'_>) -> Poll<ToSwarm<Infallible, u8>> {
        self.wants.pop_front().map_or(Poll::Pending, Poll::Ready)
    }
}

struct Rig {
    gate: Gate<Probe>,
    peer: PeerId,
    member: Box<Member>,
}

fn id(n: usize) -> ConnectionId {
    ConnectionId::new_unchecked(n)
}

impl Rig {
    /// A gate that decides for the pair.
    fn new() -> Self {
        let mut keys = [Keypair::from_seed(&[1; 32]), Keypair::from_seed(&[2; 32])];
        keys.sort_by_key(Keypair::did);
        let root = Keypair::from_seed(&[0; 32]);
        let chain = |key: &Keypair| {
            let name = "m".parse().unwrap();
            let claims = Claims::new(root.did(), key.did(), name, [Role::Member], Timestamp::from_ms(0));
            (Chain::found(claims.sign(&root)).unwrap(), claims)
        };
        let (me, peer) = (keys[0].did(), keys[1].did());
        let clock = Arc::new(SystemClock::new());
        let (mesh, process, chain_of_mine) = (root.did(), Process::of(0, &[]), chain(&keys[0]).0);
        let papers = Papers { me, process, mesh, chain: chain_of_mine, abilities: Default::default(), clock };
        let gate =
            Gate::new(Probe::default(), peer_id_of(&me).unwrap(), Some(papers), Crowd::new(8, 8), Admitted::default());
        let (chain, claims) = chain(&keys[1]);
        let process = Some(Process::of(1, &[]));
        let member = Box::new(Member { chain, claims, expires_at: None, abilities: Default::default(), process });
        Self { gate, peer: peer_id_of(&peer).unwrap(), member }
    }

    fn connect(&mut self, n: usize) {
        let address: Multiaddr = "/memory/1".parse().unwrap();
        let admitted = self.gate.handle_established_inbound_connection(id(n), self.peer, &address, &address);
        assert!(admitted.is_ok());
        let endpoint = ConnectedPoint::Listener { local_addr: address.clone(), send_back_addr: address };
        self.gate.on_swarm_event(FromSwarm::ConnectionEstablished(ConnectionEstablished {
            peer_id: self.peer,
            connection_id: id(n),
            endpoint: &endpoint,
            failed_addresses: &[],
            other_established: 7,
        }));
    }

    fn disconnect(&mut self, n: usize) {
        let address: Multiaddr = "/memory/1".parse().unwrap();
        let endpoint = ConnectedPoint::Listener { local_addr: address.clone(), send_back_addr: address };
        self.gate.on_swarm_event(FromSwarm::ConnectionClosed(ConnectionClosed {
            peer_id: self.peer,
            connection_id: id(n),
            endpoint: &endpoint,
            cause: None,
            remaining_established: 7,
        }));
    }

    fn say(&mut self, n: usize, event: ToGate<u8>) {
        self.gate.on_connection_handler_event(self.peer, id(n), event);
    }

    fn decide(&mut self, n: usize, peer_holds: bool) {
        let member = self.member.clone();
        self.say(n, ToGate::Ask(AskEvent(Ask::Decide { member, peer_holds })));
    }

    /// Another process of the peer asks for the slot.
    fn decide_for_twin(&mut self, n: usize) {
        let member = Box::new(Member { process: Some(Process::of(2, &[])), ..*self.member.clone() });
        self.say(n, ToGate::Ask(AskEvent(Ask::Decide { member, peer_holds: false })));
    }

    fn end(&mut self, n: usize, end: End) {
        self.say(n, ToGate::Ended(EndEvent(end)));
    }

    /// The gate's actions for the swarm, in few words.
    fn wants(&mut self) -> Vec<String> {
        let mut cx = Context::from_waker(futures::task::noop_waker_ref());
        let mut wants = Vec::new();
        while let Poll::Ready(action) = self.gate.poll(&mut cx) {
            wants.push(match action {
                ToSwarm::NotifyHandler { handler: NotifyHandler::One(id), event, .. } => format!("{id}: {event:?}"),
                ToSwarm::CloseConnection { connection: CloseConnection::One(id), .. } => format!("close {id}"),
                ToSwarm::GenerateEvent(GateEvent::Opened { connection, .. }) => format!("opened {connection}"),
                ToSwarm::GenerateEvent(GateEvent::Closed { cause, .. }) => format!("gone: {cause}"),
                other => format!("{other:?}"),
            });
        }
        wants
    }

    fn heard(&mut self) -> Vec<String> {
        std::mem::take(&mut self.gate.inner_mut().heard)
    }
}

#[tokio::test]
async fn what_is_inside_hears_of_a_connection_from_open_to_shut_only() {
    let mut rig = Rig::new();
    rig.connect(1);
    rig.say(1, ToGate::Inner(1));
    assert!(rig.heard().is_empty());
    rig.decide(1, false);
    assert_eq!(rig.wants(), ["1: Open"]);
    rig.say(1, ToGate::Inner(2));
    rig.end(1, End::Opened);
    assert_eq!(rig.wants(), ["opened 1"]);
    rig.gate.set_revoked([did_of(&rig.peer).unwrap()].into());
    assert_eq!(rig.wants(), ["gone: revoked", "1: Shut", "close 1"]);
    rig.say(1, ToGate::Inner(3));
    rig.disconnect(1);
    assert_eq!(rig.heard(), ["open 1", "event 2", "closed 1"]);
    assert!(rig.wants().is_empty());
}

#[tokio::test]
async fn the_old_connection_is_shut_before_the_new_one_opens() {
    let mut rig = Rig::new();
    for n in 1..=3 {
        rig.connect(n);
    }
    rig.decide(1, false);
    rig.end(1, End::Opened);
    rig.decide(2, true);
    assert_eq!(rig.wants(), ["1: Open", "opened 1", "2: AnswerEvent(Duplicate)"]);
    rig.decide(3, false);
    assert_eq!(rig.wants(), ["gone: replaced by a newer connection", "1: Shut", "close 1", "3: Open"]);
    assert_eq!(rig.heard(), ["open 1", "closed 1", "open 3"]);
}

/// promise: Meeting | A second process with a member's identity takes no connection of the first one away
#[tokio::test]
async fn a_second_process_of_a_peer_waits_until_the_first_one_has_answered() {
    let mut rig = Rig::new();
    for n in 1..=3 {
        rig.connect(n);
    }
    rig.decide(1, false);
    rig.end(1, End::Opened);
    rig.decide_for_twin(2);
    rig.decide_for_twin(3);
    assert_eq!(rig.wants(), ["1: Open", "opened 1", "1: Probe", "3: AnswerEvent(Duplicate)"]);
    rig.say(1, ToGate::Probed { lives: true });
    assert_eq!(rig.wants(), ["2: AnswerEvent(Refuse(Twin))"]);

    // it is gone, and nothing has said so
    rig.decide_for_twin(2);
    rig.say(1, ToGate::Probed { lives: false });
    assert_eq!(rig.wants(), ["1: Probe", "gone: replaced by a newer connection", "2: Open", "1: Shut", "close 1"]);
    // a late answer changes nothing
    rig.say(1, ToGate::Probed { lives: true });
    assert!(rig.wants().is_empty());
    assert_eq!(rig.heard(), ["open 1", "closed 1", "open 2"]);
}

#[tokio::test]
async fn a_connection_that_ends_while_it_is_asked_leaves_its_slot_to_the_other_process() {
    let mut rig = Rig::new();
    rig.connect(1);
    rig.connect(2);
    rig.decide(1, false);
    rig.end(1, End::Opened);
    rig.decide_for_twin(2);
    rig.disconnect(1);
    assert_eq!(rig.wants(), ["1: Open", "opened 1", "1: Probe", "gone: closed by the peer", "2: Open"]);
    assert_eq!(rig.heard(), ["open 1", "closed 1", "open 2"]);
}

#[tokio::test]
async fn a_hello_that_fails_after_it_took_the_slot_gives_it_back() {
    let mut rig = Rig::new();
    rig.connect(1);
    rig.connect(2);
    rig.decide(1, false);
    rig.end(1, End::Failed("stalled".to_owned()));
    assert_eq!(rig.wants(), ["1: Open", "1: Shut", "close 1"]);
    rig.decide(2, false);
    rig.end(2, End::Opened);
    assert_eq!(rig.wants(), ["2: Open", "opened 2"]);
    assert_eq!(rig.heard(), ["open 1", "closed 1", "open 2"]);
}

#[tokio::test]
async fn what_is_inside_reaches_its_one_open_connection_and_dials_nobody() {
    let mut rig = Rig::new();
    rig.connect(1);
    let peer_id = rig.peer;
    let to = move |handler, event| ToSwarm::NotifyHandler { peer_id, handler, event };
    let wants = &mut rig.gate.inner_mut().wants;
    wants.push_back(to(NotifyHandler::Any, 1));
    wants.push_back(to(NotifyHandler::One(id(1)), 2));
    wants.push_back(ToSwarm::Dial { opts: peer_id.into() });
    assert!(rig.wants().is_empty(), "closed: nothing passes");
    rig.decide(1, false);
    rig.end(1, End::Opened);
    rig.wants();
    let wants = &mut rig.gate.inner_mut().wants;
    wants.push_back(to(NotifyHandler::Any, 3));
    wants.push_back(to(NotifyHandler::One(id(9)), 4));
    wants.push_back(to(NotifyHandler::One(id(1)), 5));
    wants.push_back(ToSwarm::Dial { opts: peer_id.into() });
    assert_eq!(rig.wants(), ["1: 3", "1: 5"]);
}

#[tokio::test]
async fn offline_shuts_what_is_open_and_denies_both_ways() {
    let mut rig = Rig::new();
    rig.connect(1);
    rig.decide(1, false);
    rig.end(1, End::Opened);
    rig.wants();
    rig.gate.set_offline(true);
    assert_eq!(rig.wants(), ["gone: this node is offline", "1: Shut", "close 1"]);
    let address: Multiaddr = "/memory/1".parse().unwrap();
    assert!(rig.gate.handle_pending_inbound_connection(id(2), &address, &address).is_err());
    assert!(rig.gate.handle_pending_outbound_connection(id(3), None, &[], Endpoint::Dialer).is_err());
    assert!(rig.gate.handle_established_inbound_connection(id(2), rig.peer, &address, &address).is_err());
}
