use std::sync::Arc;
use std::time::Duration;

use crate::libp2p::connection_limits::{self, ConnectionLimits};
use crate::libp2p::gossipsub::{
    self, IdentTopic, IdentityTransform, MessageAuthenticity, MessageId, ValidationMode, WhitelistSubscriptionFilter,
};
use crate::libp2p::swarm::NetworkBehaviour;
use crate::libp2p::swarm::behaviour::toggle::Toggle;
use crate::libp2p::{identify, identity};

use super::discovery::{Discovery, discovery};
use super::paced::Paced;
use super::pulse::Pulse;
use crate::abilities::Abilities;
use crate::config::{MeshConfig, PRESENCE_TOPIC};
use crate::crowd::Crowd;
use crate::error::MeshError;
use crate::gate::admitted::Admitted;
use crate::gate::door::Door;
use crate::gate::rooms::RoomsBehaviour;
use crate::gate::{Gate, Papers};
use crate::process::Process;
use crate::rooms::Rooms;
use crate::tally::Tallies;

pub(super) type Gossip = gossipsub::Behaviour<IdentityTransform, WhitelistSubscriptionFilter>;

/// The inner behaviours, which only members reach.
#[derive(NetworkBehaviour)]
#[behaviour(prelude = "crate::libp2p::swarm::derive_prelude")]
pub(super) struct Inner {
    pub(super) gossip: Paced<Gossip>,
    pub(super) identify: identify::Behaviour,
    pub(super) rooms: RoomsBehaviour,
}

/// All behaviours. The limits come first: a connection that they deny is unknown to the others.
#[derive(NetworkBehaviour)]
#[behaviour(prelude = "crate::libp2p::swarm::derive_prelude")]
pub(super) struct Outer {
    pub(super) limits: connection_limits::Behaviour,
    pub(super) gate: Gate<Inner>,
    pub(super) door: Door,
    pub(super) pulse: Pulse,
    pub(super) discovery: Toggle<Discovery>,
}

/// A topic's name on the wire.
pub(super) fn wire_topic(topic: &str) -> IdentTopic {
    IdentTopic::new(format!("{TOPIC_PREFIX}{topic}"))
}

/// The prefix of a topic's name on the wire.
pub(super) const TOPIC_PREFIX: &str = "/nexus/gossip/1/";

/// The time between two of gossipsub's looks at its links.
const GOSSIP_HEARTBEAT: Duration = Duration::from_secs(5);
/// Room for gossipsub's own fields in a message.
const GOSSIP_OVERHEAD_BYTES: usize = 512;

impl Outer {
    pub(super) fn new(
        config: &MeshConfig,
        rooms: &Rooms,
        key: &identity::Keypair,
        admitted: Admitted,
        tallies: &Arc<Tallies>,
    ) -> Result<Self, MeshError> {
        let limits = &config.limits;
        let me = key.public().to_peer_id();
        let counts = ConnectionLimits::default()
            // The handshakes have a bound of their own, which ends the oldest; this one is never met.
            .with_max_pending_incoming(Some(limits.pending.saturating_mul(2)))
            .with_max_pending_outgoing(Some(limits.pending))
            .with_max_established(Some(limits.connections))
            // one open connection, and a few that hello is still deciding about
            .with_max_established_per_peer(Some(8));
        let inner = Inner {
            gossip: Paced::new(gossip(config, rooms)?),
            identify: identify::Behaviour::new(
                identify::Config::new("/nexus/1".to_owned(), key.public())
                    .with_agent_version(config.agent.clone())
                    .with_push_listen_addr_updates(true)
                    .with_cache_size(0),
            ),
            rooms: RoomsBehaviour::new(rooms.protocols().cloned().collect(), limits.streams_per_peer, tallies.clone()),
        };
        let process = config.process.clone().map_or_else(|| Process::after([]), Ok);
        let process = process.map_err(|error| MeshError::Protocol("randomness", error.to_string()))?;
        let papers = config.membership.as_ref().map(|membership| Papers {
            me: config.keypair.did(),
            process,
            mesh: membership.mesh,
            chain: membership.chain.clone(),
            abilities: Abilities {
                rooms: rooms.protocols().map(ToString::to_string).collect(),
                ..config.abilities.clone()
            },
            clock: config.clock.clone(),
        });
        Ok(Self {
            limits: connection_limits::Behaviour::new(counts),
            gate: Gate::new(inner, me, papers, Crowd::new(limits.strangers, limits.strangers_per_network), admitted),
            door: Door::new(),
            pulse: Pulse::new(config.ping_every(), config.ping_patience()),
            discovery: config.mdns.then(|| discovery(me)).flatten().into(),
        })
    }
}

/// Gossip without gossipsub's signatures: messages carry their own, and checking both would more than
/// double the work. No message is passed on before the node has judged it.
fn gossip(config: &MeshConfig, rooms: &Rooms) -> Result<Gossip, MeshError> {
    let broken = |error: String| MeshError::Protocol("gossipsub", error);
    let settings = gossipsub::ConfigBuilder::default()
        .validation_mode(ValidationMode::Anonymous)
        .validate_messages()
        .max_transmit_size(config.limits.message_bytes_max + GOSSIP_OVERHEAD_BYTES)
        .duplicate_cache_time(Duration::from_secs(120))
        // each wakes the node. Between two of them messages go on, and new peers are taken at once; lost ones are
        // replaced by the next, and sync brings what they would have passed on
        .heartbeat_interval(GOSSIP_HEARTBEAT)
        .heartbeat_initial_delay(Duration::from_secs(1))
        // messages are kept for two heartbeats, and told of for one: about as long as with heartbeats of a second
        .history_length(2)
        .history_gossip(1)
        .message_id_fn(|message: &gossipsub::Message| {
            let mut hasher = blake3::Hasher::new_derive_key("nexus gossip id v1");
            hasher.update(message.topic.as_str().as_bytes()).update(&[0]).update(&message.data);
            MessageId::from(hasher.finalize().as_bytes().to_vec())
        })
        .build()
        .map_err(|error| broken(error.to_string()))?;
    let topics: Vec<_> = rooms.topics().chain([PRESENCE_TOPIC]).map(wire_topic).collect();
    // subscriptions of a peer to other topics are not even remembered
    let filter = WhitelistSubscriptionFilter(topics.iter().map(IdentTopic::hash).collect());
    let mut gossip = Gossip::new_with_subscription_filter(MessageAuthenticity::Anonymous, settings, filter)
        .map_err(|error| broken(error.to_owned()))?;
    for topic in &topics {
        gossip.subscribe(topic).map_err(|error| broken(error.to_string()))?;
    }
    Ok(gossip)
}
