use std::time::Duration;

use nexus_crdt::{Frontier, Members, SpaceRule};
use nexus_identity::{Did, Role, Timestamp};
use nexus_mesh::PeerState;

use super::{Inner, Node, peer_id};
use crate::coordinator::{Coordinators, Mode, Seat, SeatState};
use crate::error::{NodeError, listed};
use crate::ledger;
use crate::notices::Notice;
use crate::runtime::Fill;
use crate::store::Store;

/// This node and its mesh at a glance.
#[derive(Clone, Debug, PartialEq)]
pub struct Status {
    /// The node.
    pub did: Did,
    /// The node as libp2p knows it.
    pub peer_id: String,
    /// What it is called.
    pub name: String,
    /// Its mesh.
    pub mesh_did: Did,
    /// The software's version.
    pub version: String,
    /// How long it has been up.
    pub uptime: Duration,
    /// Whether its membership stands.
    pub member: bool,
    /// Whether it was told to be offline.
    pub offline: bool,
    /// The coordinators as this node sees them; nothing before it has heard of any.
    pub coordinators: Option<Coordinators>,
    /// How many other members are up.
    pub peers: usize,
    /// Which members lack entries that are held here, as far as is known.
    pub behind: Vec<Behind>,
    /// What a person should know.
    pub warnings: Vec<Warning>,
    /// Resident memory in bytes, where the platform tells.
    pub rss_bytes: Option<u64>,
}

/// A member that lacks entries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Behind {
    /// Who.
    pub did: Did,
    /// What it is called, once that is known.
    pub name: Option<String>,
    /// How many it lacks.
    pub entries: u64,
}

/// Something that a person should know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// For scripts.
    pub code: &'static str,
    /// What is the matter.
    pub message: String,
    /// What to do about it.
    pub hint: String,
}

/// Another member.
#[derive(Clone, Debug, PartialEq)]
pub struct Peer {
    /// Who.
    pub did: Did,
    /// As libp2p knows it.
    pub peer_id: String,
    /// What it is called, once that is known.
    pub name: Option<String>,
    /// `up`, `suspect` or `down`.
    pub state: &'static str,
    /// Why it is not up.
    pub cause: Option<String>,
    /// The last ping's round trip.
    pub rtt: Option<Duration>,
    /// `direct` while a connection is open.
    pub path: Option<&'static str>,
    /// Whether both hold the same entries.
    pub synced: bool,
    /// How many entries it lacks that are held here.
    pub behind: u64,
    /// When it last gave a sign of life, if it did since this node started.
    pub last_seen: Option<Timestamp>,
}

/// A member, as its credentials say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberInfo {
    /// Who.
    pub did: Did,
    /// What it is called.
    pub name: String,
    /// What it may do.
    pub roles: Vec<Role>,
    /// Who issued its credential.
    pub admitted_by: Did,
    /// When its credential ends, if it does.
    pub expires_at: Option<Timestamp>,
}

/// A bounded queue of the node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Queue {
    /// What it is for.
    pub name: &'static str,
    /// How much waits in it.
    pub length: usize,
    /// How much may.
    pub capacity: usize,
}

fn frontier(store: &Store) -> Result<Frontier, NodeError> {
    let logs = ledger::read_logs(&store.snapshot()?)?;
    Ok(logs.into_iter().filter_map(|(_, log, head)| Some((log, head?))).collect())
}

/// The spaces that some member may not read.
fn restricted(store: &Store, members: &Members) -> Result<Vec<SpaceRule>, NodeError> {
    let spaces = ledger::read_spaces(&store.snapshot()?)?;
    let rules = spaces.into_iter().map(|(space, row)| row.rule(space));
    Ok(rules.filter(|rule| !members.all_read(rule)).collect())
}

impl Node {
    /// How far this node holds each log, on its disk.
    ///
    /// # Errors
    /// The store's.
    pub fn frontier(&self) -> Result<Frontier, NodeError> {
        frontier(&self.0.store)
    }

    /// This node and its mesh at a glance.
    pub async fn status(&self) -> Status {
        let Inner { identity, world, notices, .. } = &*self.0;
        let peers = self.peers().await;
        let behind = peers.iter().filter(|peer| peer.behind > 0);
        let behind = behind.map(|peer| Behind { did: peer.did, name: peer.name.clone(), entries: peer.behind });
        let warning = |notice: Notice| Warning { code: notice.code, message: notice.message, hint: notice.hint };
        let coordinators = match &self.0.coordinator {
            Some(coordinator) => coordinator.overview().await,
            None => None,
        };
        let warnings = notices.all().into_iter().map(warning);
        let warnings = warnings.chain(coordinators.iter().flat_map(warnings_of)).collect();
        Status {
            did: self.did(),
            peer_id: self.peer_id(),
            name: self.name(),
            mesh_did: self.mesh_did(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            uptime: world.now().saturating_sub(self.0.started),
            member: identity.is_member(&identity.me()),
            offline: self.is_offline(),
            coordinators,
            peers: peers.iter().filter(|peer| peer.state == PeerState::Up.as_str()).count(),
            behind: behind.collect(),
            warnings,
            rss_bytes: resident_bytes(),
        }
    }

    /// How full the queues to the engine are: of callers on this machine, and of what peers bring.
    pub fn queues(&self) -> [Queue; 2] {
        self.0.engine.queues().map(|Fill { name, length, capacity }| Queue { name, length, capacity })
    }

    /// The other members.
    pub async fn peers(&self) -> Vec<Peer> {
        let Inner { identity, world, mesh, store, sessions, .. } = &*self.0;
        let met = mesh.peers().await;
        let (members, store) = (identity.members(), store.clone());
        let known = members.clone();
        let read = world.blocking(move || Ok((frontier(&store)?, restricted(&store, &known)?))).await;
        let (ours, restricted) = read.map_err(NodeError::from).flatten().unwrap_or_default();
        let others = members.iter().filter(|(did, _)| **did != identity.me());
        let peer = |(did, member): (&Did, &nexus_crdt::Member)| {
            let met = met.iter().find(|peer| peer.did == *did);
            let (durable, live) = sessions.of(*did).unwrap_or_default();
            let open = met.is_some_and(|met| met.open);
            let state = met.map_or(PeerState::Down, |met| met.state);
            // a member lacks nothing of what it may not read, and neither does this node
            let ends = [*did, identity.me()];
            let hidden = restricted.iter().filter(|rule| !ends.iter().all(|end| members.may_read(end, rule)));
            let hidden = hidden.map(|rule| rule.space).collect();
            let (ours, durable) = (ours.without(&hidden), durable.without(&hidden));
            let behind = ours.ahead_of(&durable);
            Peer {
                did: *did,
                peer_id: peer_id(did),
                name: member.name().map(ToString::to_string),
                state: state.as_str(),
                cause: match met {
                    Some(met) => met.cause.as_ref().map(ToString::to_string),
                    None => Some("never met since this node started".to_owned()),
                },
                rtt: met.and_then(|met| met.rtt),
                path: open.then_some("direct"),
                synced: live && behind == 0 && durable.ahead_of(&ours) == 0,
                behind,
                last_seen: met.and_then(|met| met.last_seen),
            }
        };
        others.map(peer).collect()
    }

    /// Who belongs to the mesh, this node included.
    ///
    /// # Errors
    /// None today.
    pub fn members(&self) -> Result<Vec<MemberInfo>, NodeError> {
        let members = self.0.identity.members();
        let info = |(did, member): (&Did, &nexus_crdt::Member)| MemberInfo {
            did: *did,
            name: member.name().map_or_else(String::new, ToString::to_string),
            roles: member.roles().into_iter().collect(),
            admitted_by: member.admitted_by().unwrap_or_else(|| members.mesh()),
            expires_at: member.expires_at(),
        };
        Ok(members.iter().map(info).collect())
    }
}

/// What a person should know of the coordinators.
fn warnings_of(seen: &Coordinators) -> Vec<Warning> {
    let away = |seat: &&Seat| matches!(seat.state, SeatState::Down | SeatState::Suspect);
    let away: Vec<&str> = seen.voters.iter().filter(away).map(|seat| seat.name.as_str()).collect();
    let mut warnings = Vec::new();
    match seen.mode() {
        Mode::ReadOnly => warnings.push(Warning {
            code: "read_only",
            message: match away.as_slice() {
                [] => "no quorum: the voters have no leader just now".to_owned(),
                away => format!("no quorum: {} cannot be reached", listed(away)),
            },
            hint: "keys and locks wait until a quorum is back, memory goes on; if the voters are lost for good: \
                   `nexus-node coordinator recover --i-understand`"
                .to_owned(),
        }),
        Mode::Core => warnings.push(Warning {
            code: "voter_down",
            message: format!("of {} voters {} cannot be reached", seen.voters.len(), listed(&away)),
            hint: "keys and locks go on; one that is lost for good is replaced with \
                   `nexus-node coordinator voters remove`"
                .to_owned(),
        }),
        Mode::Full => {}
    }
    if seen.one_machine {
        warnings.push(Warning {
            code: "one_machine",
            message: "all voters run on one machine: keys and locks stop when it does".to_owned(),
            hint: "let nodes on other machines join; they are made voters with `nexus-node coordinator voters add`"
                .to_owned(),
        });
    }
    warnings
}

/// Resident memory of this process, where `/proc` tells.
fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kib| kib * 1_024)
}
