use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use nexus_crdt::{Frontier, LogId, Members, SpaceId, SpaceRule, unnamed_spaces};
use nexus_identity::{Did, Role, Timestamp};
use nexus_mesh::{Abilities, ConnectionPath, DownCause, PeerState};

use super::{Inner, Node, peer_id};
use crate::coordinator::{Coordinators, Mode, Seat, SeatState, TooNew};
use crate::error::{COORDINATOR_HINT, FILE_GONE_HINT, NodeError, listed};
use crate::headroom::{DiskFull, FileGone, Files, Room, Unwritten};
use crate::ledger::{self, Incarnations, LineUsage, Quota, Quotas};
use crate::notices::{FORK, Notice, fork};
use crate::runtime::{CLOCK, Fill};
use crate::store::{Store, StoreError};
use crate::vectors::EmbedderStatus;

/// The code of the warning that nothing is written for lack of room.
pub(crate) const DISK_FULL: &str = "disk_full";

/// The code of the warning that nothing is written, as a file is not in its place.
const FILE_GONE: &str = "file_gone";

/// Overview of this node and its mesh.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Status {
    /// The node's DID.
    pub did: Did,
    /// The node's libp2p peer id.
    pub peer_id: String,
    /// The node's name.
    pub name: String,
    /// The node's mesh.
    pub mesh_did: Did,
    /// Version of the software.
    pub version: String,
    /// Time since the node started.
    pub uptime: Duration,
    /// Whether the node's membership is valid.
    pub member: bool,
    /// Whether the user took the node offline.
    pub offline: bool,
    /// The coordinators as this node knows them. `None` until it hears of one.
    pub coordinators: Option<Coordinators>,
    /// Number of other members that are up.
    pub peers: usize,
    /// Known members that lack entries that this node holds.
    pub behind: Vec<Behind>,
    /// Warnings for the user.
    pub warnings: Vec<Warning>,
    /// The time when a member last said what it has on its disk, since this node started.
    pub last_sync: Option<Timestamp>,
    /// The embedder and the vectors of memories.
    pub embedder: EmbedderStatus,
    /// Resident memory in bytes, if the platform reports it.
    pub rss_bytes: Option<u64>,
}

/// A member that lacks entries.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Behind {
    /// The member's DID.
    pub did: Did,
    /// The member's name, if known.
    pub name: Option<String>,
    /// Number of entries that it lacks.
    pub entries: u64,
}

/// A warning for the user.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Warning {
    /// Code for scripts.
    pub code: &'static str,
    /// The problem.
    pub message: String,
    /// The remedy.
    pub hint: String,
}

/// Another member.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Peer {
    /// The member's DID.
    pub did: Did,
    /// The member's libp2p peer id.
    pub peer_id: String,
    /// The member's name, if known.
    pub name: Option<String>,
    /// Its state in this node's failure detector.
    pub state: PeerState,
    /// Reason why it is not up.
    pub cause: Option<AwayCause>,
    /// Round-trip time of the last ping.
    pub rtt: Option<Duration>,
    /// The way to it while a connection is open.
    pub path: Option<PeerPath>,
    /// Whether both nodes hold the same entries.
    pub synced: bool,
    /// Number of entries held here that the member lacks.
    pub behind: u64,
    /// Time of the member's last message since this node started.
    pub last_seen: Option<Timestamp>,
    /// How far the member's clock is ahead of this node's, in milliseconds, if it was heard within ten minutes.
    pub clock_ahead_ms: Option<i64>,
}

/// The way to a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PeerPath {
    /// A connection between the two nodes.
    Direct,
    /// A connection through a relay.
    Relayed,
}

impl PeerPath {
    const fn of(path: ConnectionPath) -> Self {
        match path {
            ConnectionPath::Direct => Self::Direct,
            _ => Self::Relayed,
        }
    }

    /// The word on the command line and in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Relayed => "relayed",
        }
    }
}

impl fmt::Display for PeerPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why a peer is not up.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AwayCause {
    /// This node never met it since it started.
    NeverMet,
    /// The last connection ended, or none could be made.
    Lost(DownCause),
}

impl fmt::Display for AwayCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NeverMet => f.write_str("never met since this node started"),
            Self::Lost(cause) => cause.fmt(f),
        }
    }
}

/// A member and its credential.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct MemberInfo {
    /// The member's DID.
    pub did: Did,
    /// The member's name.
    pub name: String,
    /// The member's roles.
    pub roles: Vec<Role>,
    /// Issuer of its credential.
    pub admitted_by: Did,
    /// Time when its credential expires, if it does.
    pub expires_at: Option<Timestamp>,
    /// Whose machine it is; `None` if nobody has said.
    pub person: Option<PersonOf>,
}

/// A person, by its machines.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PersonOf {
    /// Its id: the same for all of its machines.
    pub id: Did,
    /// The name of its first machine that is a member.
    pub first: String,
    /// Whether this node is one of its machines.
    pub is_mine: bool,
}

/// A bounded queue of the node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Queue {
    /// Name of the queue.
    pub name: &'static str,
    /// Items that wait in it.
    pub length: usize,
    /// Bound of the waiting items.
    pub capacity: usize,
}

/// Authors named by warnings at most.
const FULL_AUTHORS_MAX: usize = 16;
/// Members named by warnings of forks at most.
const FORKING_AUTHORS_MAX: usize = 16;

/// The members that have filled a quota, by their present keys, with the first quota of each.
fn full_authors(
    store: &Store,
    quotas: &Quotas,
    members: &Members,
    me: &Did,
) -> Result<BTreeMap<Did, Quota>, StoreError> {
    let snapshot = store.snapshot()?;
    let (mut full, mut many_logs) = (BTreeMap::new(), false);
    let by_key: BTreeMap<Did, _> = ledger::read_usage(&snapshot)?.into_iter().collect();
    for author in by_key.keys().map(|author| members.present_key(author)) {
        let of_key = |key: &Did| Ok::<_, StoreError>(by_key.get(key).copied().unwrap_or_default());
        let usage = LineUsage::of(members, &author, of_key)?;
        many_logs |= usage.all.logs >= quotas.incarnations;
        let writes = ledger::is_writer(members, &author);
        let reached = quotas.size_reached(&usage, writes, false).or_else(|| quotas.logs_reached(&usage));
        full.extend(reached.map(|quota| (author, quota)));
    }
    // the logs are many, and their number by space only matters once an author has so many in all
    if many_logs {
        let logs: BTreeSet<LogId> = ledger::read_logs(&snapshot)?.into_iter().map(|(_, log, _)| log).collect();
        let by_place: BTreeMap<(SpaceId, Did), u64> =
            ledger::logs_by_place(logs.iter()).into_iter().map(|(space, key, logs)| ((space, key), logs)).collect();
        for (space, key) in by_place.keys() {
            let author = members.present_key(key);
            let logs_of = |key: &Did| by_place.get(&(*space, *key)).copied().unwrap_or(0);
            if let Some(quota) = quotas.incarnations_reached(Incarnations::of(members, &author, logs_of)) {
                full.entry(author).or_insert(quota);
            }
        }
    }
    full.retain(|author, _| !members.same_line(author, me));
    Ok(full)
}

/// The entries that members exchange, as far as they are held.
fn frontier(store: &Store, members: &Members) -> Result<Frontier, NodeError> {
    let (view, mesh_space) = (store.snapshot()?, SpaceId::mesh(&members.mesh()));
    let mut frontier = Frontier::default();
    for (_, log, held) in ledger::read_held(&view)? {
        if let Some(head) = ledger::exchanged_head(&view, members, mesh_space, &log, Some(held.head))? {
            frontier.advance(log, head);
        }
    }
    Ok(frontier)
}

/// Blobs named by the warning about damaged ones at most.
#[cfg(feature = "blobs")]
const DAMAGED_NAMED_MAX: usize = 3;

/// A warning if the disk damaged parts of blobs.
#[cfg(feature = "blobs")]
fn blobs_damaged(blobs: &crate::blobs::Blobs) -> Option<Warning> {
    let damaged = blobs.damaged();
    let count = damaged.len();
    let named: Vec<String> = damaged.keys().take(DAMAGED_NAMED_MAX).map(ToString::to_string).collect();
    let more = if count > named.len() { " and others" } else { "" };
    let blobs = if count == 1 { "1 blob" } else { &format!("{count} blobs") };
    (count > 0).then(|| Warning {
        code: "blob_damaged",
        message: format!("the disk damaged parts of {blobs}: {}{more}", named.join(", ")),
        hint: "they are fetched anew from a member that has them; `nexus-node blob verify` looks through all, and the disk \
               may be failing"
            .to_owned(),
    })
}

/// The spaces that at least one member may not read.
fn restricted(store: &Store, members: &Members) -> Result<Vec<SpaceRule>, NodeError> {
    let spaces = ledger::read_spaces(&store.snapshot()?)?;
    let rules = spaces.into_iter().map(|(space, row)| row.rule(space));
    Ok(rules.filter(|rule| !members.all_read(rule)).collect())
}

impl Node {
    /// The node's frontier: the part of each log that is on its disk without a gap. A former member's memories end
    /// where they no longer count.
    ///
    /// # Errors
    /// The store's errors.
    pub async fn frontier(&self) -> Result<Frontier, NodeError> {
        let (store, members) = (self.0.store.clone(), self.0.identity.members());
        self.0.world.reading(move || frontier(&store, &members)).await?
    }

    /// As [`frontier`](Self::frontier), on a thread that may wait for the disk.
    ///
    /// # Errors
    /// As `frontier`.
    pub fn frontier_blocking(&self) -> Result<Frontier, NodeError> {
        frontier(&self.0.store, &self.0.identity.members())
    }

    /// Overview of this node and its mesh.
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
        let notices = notices.all();
        let forks = self.forks(&notices).await;
        let warnings = notices.into_iter().map(warning).chain(forks);
        let member = identity.is_member(&identity.me());
        // a former member can do nothing about the coordinators
        let seen = coordinators.iter().filter(|_| member).flat_map(warnings_of);
        let warnings = warnings.chain(seen).chain(self.too_new().await);
        let broken = self.0.coordinator.iter().filter_map(|coordinator| {
            let waits = *coordinator.ran_full().borrow();
            let hint = if waits { "it goes on by itself once there is room on this disk" } else { COORDINATOR_HINT };
            Some(Warning {
                code: "coordinator_failed",
                message: format!("this node's part in the coordinators cannot go on: {}", coordinator.broken()?),
                hint: hint.to_owned(),
            })
        });
        let unsigned = self.0.coordinator.iter().filter_map(|coordinator| coordinator.waits_for_admins());
        let unsigned = unsigned.map(|admins| Warning {
            code: "no_admin",
            message: "no member can get a vote: an admin's node must sign it, and none is up".to_owned(),
            hint: format!("start the node of {}", admins.join(" or ")),
        });
        let gone = self.file_gone().await.ok().flatten().map(|gone| Warning {
            code: FILE_GONE,
            message: format!("{gone}; nothing is written, reading goes on"),
            hint: FILE_GONE_HINT.to_owned(),
        });
        let full = self.disk_full().map(|full| Warning {
            code: DISK_FULL,
            message: format!("{full}; reading goes on"),
            hint: "make room on this disk: writing goes on by itself then".to_owned(),
        });
        let clocks = self.0.clocks.warnings(world.wall(), world.now(), identity).into_iter();
        let clocks = clocks.map(|(message, hint)| Warning { code: CLOCK, message, hint: hint.to_owned() });
        #[cfg(feature = "blobs")]
        let damaged = blobs_damaged(&self.blobs());
        #[cfg(not(feature = "blobs"))]
        let damaged = None;
        let warnings = warnings.chain(damaged);
        let warnings = warnings.chain(gone).chain(full).chain(broken).chain(unsigned).chain(clocks);
        let warnings = warnings.chain(self.full_authors().await).collect();
        Status {
            did: self.did(),
            peer_id: self.peer_id(),
            name: self.name(),
            mesh_did: self.mesh_did(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            uptime: world.now().saturating_sub(self.0.started),
            member,
            offline: self.is_offline(),
            coordinators,
            peers: peers.iter().filter(|peer| peer.state == PeerState::Up).count(),
            behind: behind.collect(),
            warnings,
            last_sync: self.0.sessions.last(),
            embedder: self.0.brain.embedder(),
            rss_bytes: resident_bytes(),
        }
    }

    /// The refusal that a memory would get now, if the disk has no room for it.
    pub fn disk_full(&self) -> Option<DiskFull> {
        let headroom = self.0.engine.headroom();
        match headroom.refusal() {
            Unwritten::Full(full) if headroom.room() != Room::All => Some(full),
            _ => None,
        }
    }

    /// The file of this node's that is not in its place any more: every write is refused then. Looks at them.
    ///
    /// # Errors
    /// [`NodeError::Stopping`].
    pub async fn file_gone(&self) -> Result<Option<FileGone>, NodeError> {
        let headroom = self.0.engine.headroom().clone();
        Ok(self.0.world.blocking(move || headroom.look_at_files(Files::All)).await?)
    }

    /// A warning if this node or a peer met data of a later version.
    async fn too_new(&self) -> Option<Warning> {
        let Inner { identity, mesh, formats, .. } = &*self.0;
        let met = self.0.coordinator.iter().flat_map(|coordinator| coordinator.too_new());
        let met: Vec<(Option<Did>, TooNew)> = met.collect();
        let peers = if met.is_empty() { mesh.peers().await } else { Vec::new() };
        let said = peers.iter().filter_map(|peer| {
            let abilities = peer.abilities.as_ref()?;
            let (critical, entries) = (abilities.critical_format_now, abilities.entry_format_now);
            let critical =
                (critical > formats.critical).then_some(TooNew::Format { found: critical, max: formats.critical });
            let entries = (entries > formats.entry).then_some(TooNew::Entries { found: entries, max: formats.entry });
            Some((Some(peer.did), critical.or(entries)?))
        });
        let (did, what) = met.into_iter().chain(said).next()?;
        let message = match did {
            None => format!("{what}: this copy stopped there, and memory goes on"),
            Some(did) => {
                let name = identity.shown_name_of(&did).unwrap_or_else(|| did.short());
                format!("{name} says so: {what}")
            }
        };
        let hint = "update this node: it keeps what it has, and catches up then".to_owned();
        Some(Warning { code: "too_new", message, hint })
    }

    /// A warning for each member that goes on in a forked log. A fork is noticed once; this finds it after a restart.
    async fn forks(&self, noticed: &[Notice]) -> Vec<Warning> {
        let Inner { identity, world, store, .. } = &*self.0;
        let store = store.clone();
        let read = world.reading(move || ledger::forking_authors(&store.snapshot()?)).await;
        // a store that cannot be read is told elsewhere
        let forking = read.ok().and_then(Result::ok).unwrap_or_default();
        let told = |author: &Did| noticed.iter().any(|one| one.code == FORK && one.subject == author.to_string());
        let untold = forking.into_iter().filter(|(author, _)| identity.is_member(author) && !told(author));
        let notice = untold.map(|(author, seq)| fork(author, seq));
        notice
            .take(FORKING_AUTHORS_MAX)
            .map(|(message, hint)| Warning { code: FORK, message, hint: hint.to_owned() })
            .collect()
    }

    /// A warning for each author that has filled a quota.
    async fn full_authors(&self) -> Vec<Warning> {
        let Inner { identity, world, store, quotas, .. } = &*self.0;
        let (me, members, store, quotas) = (identity.me(), identity.members(), store.clone(), *quotas);
        let read = world.reading(move || full_authors(&store, &quotas, &members, &me)).await;
        // a store that cannot be read is told elsewhere
        let full = read.ok().and_then(Result::ok).unwrap_or_default();
        let warning = |(author, quota): (Did, Quota)| {
            let name =
                identity.shown_name_of(&author).map_or_else(|| author.to_string(), |name| format!("{name} ({author})"));
            let raise =
                quota.key().map(|key| format!("if its owner means to write so much, raise `{key}` and restart"));
            Warning {
                code: "quota",
                message: format!("{name} has filled its quota of {quota}: the rest of its entries is not taken here"),
                hint: raise.unwrap_or_else(|| "ask its owner what it runs".to_owned()),
            }
        };
        full.into_iter().take(FULL_AUTHORS_MAX).map(warning).collect()
    }

    /// The bytes to and from peers so far, by protocol, kind and direction.
    pub fn tallied(&self) -> Vec<nexus_mesh::Tallied> {
        self.0.mesh.tallied()
    }

    /// How often the node's tasks were woken so far, by the name of the task.
    pub fn wakeups(&self) -> Vec<(&'static str, u64)> {
        self.0.world.wakeups()
    }

    /// How full the queues to the engine are: of callers on this machine, and of what peers bring.
    pub fn queues(&self) -> [Queue; 2] {
        self.0.engine.queues().map(|Fill { name, length, capacity }| Queue { name, length, capacity })
    }

    /// The other members.
    pub async fn peers(&self) -> Vec<Peer> {
        let Inner { identity, world, mesh, store, sessions, .. } = &*self.0;
        let (met, now) = (mesh.peers().await, world.now());
        let (members, store) = (identity.members(), store.clone());
        let known = members.clone();
        let read = world.reading(move || Ok((frontier(&store, &known)?, restricted(&store, &known)?))).await;
        let read = read.map_err(NodeError::from).flatten();
        if let Err(error) = &read {
            tracing::warn!(%error, "the entries of this node cannot be read: no peer counts as in step");
        }
        let readable = read.is_ok();
        let (ours, restricted) = read.unwrap_or_default();
        let others = members.iter().filter(|(did, _)| **did != identity.me());
        let first = || Abilities::first().spaces;
        let peer = |(did, _): (&Did, &nexus_crdt::Member)| {
            let met = met.iter().find(|peer| peer.did == *did);
            let (durable, live) = sessions.of(*did).unwrap_or_default();
            let state = met.map_or(PeerState::Down, |met| met.state);
            // a space that one side may not read or does not know does not count as lacking
            let ends = [*did, identity.me()];
            let hidden = restricted.iter().filter(|rule| !ends.iter().all(|end| members.may_read(end, rule)));
            let named = met.and_then(|met| met.abilities.as_ref()).map_or_else(first, |one| one.spaces.clone());
            let unnamed = unnamed_spaces(&identity.mesh(), &named);
            let hidden = hidden.map(|rule| rule.space).chain(unnamed).collect();
            let (ours, durable) = (ours.without(&hidden), durable.without(&hidden));
            let behind = ours.ahead_of(&durable);
            Peer {
                did: *did,
                peer_id: peer_id(did),
                name: members.shown_name(did),
                state,
                cause: match met {
                    Some(met) => met.cause.clone().map(AwayCause::Lost),
                    None => Some(AwayCause::NeverMet),
                },
                rtt: met.and_then(|met| met.quality?.rtt),
                path: met.and_then(|met| met.quality).map(|quality| PeerPath::of(quality.path)),
                synced: readable && live && behind == 0 && durable.ahead_of(&ours) == 0,
                behind,
                last_seen: met.and_then(|met| met.last_seen),
                clock_ahead_ms: self.0.clocks.ahead_ms(did, self.0.world.wall(), now),
            }
        };
        others.map(peer).collect()
    }

    /// The members of the mesh, this node included.
    pub fn members(&self) -> Vec<MemberInfo> {
        let (members, me) = (self.0.identity.members(), self.did());
        let persons = members.persons();
        members.iter().map(|(did, member)| member_info(&members, &persons, did, member, &me)).collect()
    }

    /// The members that a DID or a name means: none, one, or several whose names differ at most in case or form. If nobody
    /// is a member by that name now, those who were.
    pub fn members_called(&self, who: &str) -> Vec<Did> {
        self.0.identity.members().called(who)
    }
}

/// A member as it is shown.
pub(super) fn member_info(
    members: &Members,
    persons: &BTreeMap<Did, Vec<Did>>,
    did: &Did,
    member: &nexus_crdt::Member,
    me: &Did,
) -> MemberInfo {
    MemberInfo {
        did: *did,
        name: members.shown_name(did).unwrap_or_default(),
        roles: member.roles().into_iter().collect(),
        admitted_by: members.admitter(did).unwrap_or_else(|| members.mesh()),
        expires_at: member.expires_at(),
        person: person_info(members, persons, did, me),
    }
}

/// A member's person, if it was said whose machine the member is, or another one is said to be of the same person.
fn person_info(members: &Members, persons: &BTreeMap<Did, Vec<Did>>, did: &Did, me: &Did) -> Option<PersonOf> {
    let id = members.person(did);
    let machines = persons.get(&id).map(Vec::as_slice).unwrap_or_default();
    if machines.len() < 2 && !members.has_person(did) {
        return None;
    }
    let first = members.shown_name(machines.first().unwrap_or(did)).unwrap_or_default();
    Some(PersonOf { id, first, is_mine: members.same_person(did, me) })
}

/// The warnings about the coordinators.
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
    warnings.extend(old_members(seen));
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

/// A warning about members of an older version: what waits for them, or what they miss.
fn old_members(seen: &Coordinators) -> Option<Warning> {
    let raised = seen.format >= seen.format_max;
    let names = |heard: bool| -> Vec<&str> {
        let old = seen.old.iter().filter(|old| (raised || old.seated) && old.reads.is_some() == heard);
        old.map(|old| old.name.as_str()).collect()
    };
    let (old, away) = (names(true), names(false));
    let run = |names: &[&str]| if names.len() == 1 { "runs" } else { "run" };
    let old_run = (!old.is_empty()).then(|| format!("{} {} an older version", listed(&old), run(&old)));
    let not_heard = (!away.is_empty()).then(|| format!("{} cannot be reached", listed(&away)));
    let why: Vec<String> = old_run.into_iter().chain(not_heard).collect();
    if why.is_empty() {
        return None;
    }
    let why = why.join(", and ");
    let (message, hint) = if raised {
        (
            format!("{why}, and cannot read what is written now"),
            "update what is old: it keeps what it has, and catches up then",
        )
    } else {
        (
            format!("keys and locks stay at format {}: {why}", seen.format),
            "update what is old; a voter that is lost for good is replaced with `nexus-node coordinator voters remove`",
        )
    };
    Some(Warning { code: "old_members", message, hint: hint.to_owned() })
}

/// Resident memory of this process, where `/proc` tells.
fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kib| kib * 1_024)
}
