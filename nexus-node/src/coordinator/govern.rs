//! A leader's duties, and every node's view of the others.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use futures::future::join_all;
use nexus_crdt::Members;
use nexus_identity::plants::{planted, reached};
use nexus_identity::{Did, Role};
use nexus_mesh::{PeerState, timers};
use openraft::EmptyNode;
use tokio::sync::watch;
use tokio::time::Instant;

use super::command::{Command, Group, Proposal, Signed};
use super::expiry::Deadlines;
use super::format::{self, encode};
use super::group::{NotDone, Running};
use super::hearsay::{self, Hearsay};
use super::network::Open;
use super::propose::Reply;
use super::raft::{Ballot, Position, Seats, SnapshotHead, Vote, Voter};
use super::runtime::scope;
use super::state::Outcome;
use super::voters::{Dismissal, SeenMember, Situation, VoterChange};
use super::wire::{Body, Bytes, Envelope, Hello, Overview};
use super::{ANSWER_WITHIN, Coordinator, Manage};
use crate::error::{AccessError, AdminDuty, ConflictError, NodeError, OpaqueError, StopError};
use crate::headroom::Room;
use crate::world::random;

/// The time between two looks at the members.
const TICK: Duration = Duration::from_secs(1);
/// The same of a leader at rest, while nothing changes.
const TICK_AT_REST: Duration = Duration::from_secs(5);
/// The same of a node that rests on its leader, and has nothing to look for.
const TICK_OF_FOLLOWER: Duration = Duration::from_secs(60);
/// The age from which a member's report is asked for again.
const HEARD_FOR: Duration = Duration::from_secs(5);
/// The same of a member that answers the heartbeats of a leader at rest.
const HEARD_FOR_AT_REST: Duration = Duration::from_secs(30);
/// The age of its last report or answer from which a connected member counts as silent.
const SILENT_AFTER: Duration = Duration::from_secs(15);
/// The longest wait for a member's report.
const SAY_MAX: Duration = Duration::from_secs(2);
/// The time without an answer after which a leader is asked whether it leads.
const DOUBT_AFTER: Duration = Duration::from_millis(500);
/// The longest wait for that answer. A candidate waits for its vote meanwhile.
const DOUBT_MAX: Duration = Duration::from_millis(700);
/// The longest list of voters in a report that is read, in bytes: a thousand of them.
const SEATS_BYTES_MAX: usize = 64 << 10;
/// The longest digest of a machine's id in a report that is kept, in bytes.
const MACHINE_BYTES_MAX: usize = 32;
/// The longest change of the voters before the next is planned.
const CHANGE_MAX: Duration = Duration::from_secs(10);
/// The wait before expiries are proposed again that were not committed.
const EXPIRY_AGAIN: Duration = Duration::from_millis(200);
/// The shortest time between two looks for new deadlines: under load each entry may bring some.
const EXPIRY_LOOK: Duration = Duration::from_millis(50);

/// The reports of the other members.
#[derive(Debug, Default)]
pub(super) struct Reports {
    said: BTreeMap<Did, Report>,
    /// The time since which each member has been up.
    up: BTreeMap<Did, Instant>,
    /// The time since which each member that is away, or is connected and reports nothing, was not heard.
    away: BTreeMap<Did, Instant>,
    /// The highest format of critical state that each present member can read, by its own word.
    reads: BTreeMap<Did, u16>,
    /// The highest format that this node proposed as a group's leader.
    asked: Option<(Group, u16)>,
    looked: Option<Instant>,
}

/// A member's report.
#[derive(Clone, Debug)]
pub(super) struct Report {
    pub(super) at: Instant,
    pub(super) voter: Voter,
    pub(super) may_vote: bool,
    pub(super) group: Option<Group>,
    pub(super) leader: Option<Did>,
    pub(super) applied: u64,
    pub(super) term: u64,
    pub(super) seats: Option<Seats>,
    pub(super) machine: Vec<u8>,
    /// The number of deeds in its copy, and the hash of the last record.
    pub(super) audit: Option<(u64, [u8; 32])>,
    /// The format of critical state that it knows.
    pub(super) format: u16,
    /// Whether its copy has stopped at data of a later version.
    pub(super) stopped: bool,
}

impl Reports {
    /// Notes since when each member was not heard: a connection alone says nothing. `answered` tells when one last
    /// answered a heartbeat.
    fn note_silence(
        &mut self,
        now: Instant,
        members: &[Did],
        open: &BTreeSet<Did>,
        answered: impl Fn(&Voter) -> Option<Instant>,
    ) {
        self.away.retain(|did, _| members.contains(did));
        for did in members {
            let heard = self.said.get(did).map(|said| answered(&said.voter).map_or(said.at, |at| at.max(said.at)));
            let reported = heard.filter(|_| open.contains(did));
            if reported.is_none_or(|at| now.saturating_duration_since(at) >= SILENT_AFTER) {
                self.away.entry(*did).or_insert(reported.unwrap_or(now));
            }
        }
    }
}

impl Report {
    /// The report in a member's answer, heard at this time.
    pub(super) fn read(member: Did, answer: Envelope, at: Instant) -> Option<Self> {
        let Some(Body::Overview(overview)) = answer.body else { return None };
        let voter: Voter = borsh::from_slice(&overview.voter).ok().filter(|voter: &Voter| voter.did == member)?;
        Some(Self {
            at,
            voter,
            may_vote: !overview.never,
            group: Group::read(&answer.group),
            leader: borsh::from_slice(&overview.leader).ok(),
            applied: overview.applied,
            term: overview.term,
            seats: Some(overview.seats)
                .filter(|bytes| bytes.len() <= SEATS_BYTES_MAX)
                .and_then(|bytes| borsh::from_slice(&bytes).ok()),
            machine: Some(overview.machine).filter(|id| id.len() <= MACHINE_BYTES_MAX).unwrap_or_default(),
            audit: overview.audit_head.try_into().ok().map(|head| (overview.audit_count, head)),
            format: u16::try_from(overview.format).unwrap_or(u16::MAX),
            stopped: overview.stopped,
        })
    }

    /// The age of the report.
    pub(super) fn age(&self) -> Duration {
        self.at.elapsed()
    }
}

/// The reason why the voters were not changed.
pub(super) enum ManageError {
    NotDone(NotDone),
    Refused(String),
}

/// Looks at the members now and then. As the leader, changes the voters.
pub(super) async fn run(here: Arc<Coordinator>) {
    let mut tried = None;
    let mut news =
        News { open: here.mesh.connections(), members: here.identity.follow(), parts: here.running.subscribe() };
    loop {
        // a founder's node signs its own seat at once
        if let Some(running) = here.running() {
            here.sign_own(&running).await;
        }
        match here.running().filter(|running| tried.is_none() && running.is_at_rest()) {
            Some(running) => news.until_next_look(&running).await,
            None => tokio::time::sleep(TICK).await,
        }
        news.mark_seen();
        let leads = here.running().filter(|running| running.leads());
        let alone = here.running().is_none_or(|running| here.leader_in_contact(&running).is_none());
        if leads.is_some() || alone {
            here.look_around().await;
        }
        // a node without a copy asks the leader once a member reports a later format
        if alone && here.hinted() > *here.formats.raised.borrow() {
            let _ = here.read(&super::Query::Revision).await;
        }
        if let Some(running) = leads {
            let plan = match half_done(&running) {
                Some(rest) => Some(rest),
                None => here.plan(&running, |now| now.plan()).await,
            };
            if let Some(change) = plan {
                match &change {
                    VoterChange::Dismiss(voter, why) => {
                        let member = here.name(&voter.did);
                        tracing::warn!(member, %why, "a member no longer has a copy of critical state");
                    }
                    // a change that cannot be done is tried each second
                    change if tried.as_ref() == Some(change) => {}
                    change => tracing::info!(?change, "changing the coordinators"),
                }
                tried = Some(change.clone());
                match here.change(&running, change).await {
                    Ok(()) => tried = None,
                    Err(ManageError::NotDone(why)) => tracing::debug!(?why, "the coordinators were not changed"),
                    Err(ManageError::Refused(why)) => tracing::debug!(why, "the coordinators were not changed"),
                }
            }
            here.end_former(&running).await;
        }
    }
}

/// The rest of a change of voters whose leader stopped, or ran out of time, between its two steps. Raft needs
/// both sets of voters until the second step is done, and no other change comes before it.
fn half_done(running: &Running) -> Option<VoterChange> {
    let metrics = running.metrics();
    let [_, .., next] = metrics.membership_config.membership().get_joint_config().as_slice() else { return None };
    if planted("leaves_changes_half_done") {
        return None;
    }
    reached("change_of_voters_half_done");
    Some(VoterChange::Vote(next.clone()))
}

/// The changes that end the pause between two looks at rest.
struct News {
    open: Open,
    members: watch::Receiver<Arc<Members>>,
    parts: watch::Receiver<Option<Arc<Running>>>,
}

impl News {
    fn mark_seen(&mut self) {
        self.open.mark_unchanged();
        self.members.mark_unchanged();
        self.parts.mark_unchanged();
    }

    /// Waits for the next look of a node at rest: a second after something has changed, and else longer.
    async fn until_next_look(&mut self, running: &Running) {
        let longest = if running.leads() { TICK_AT_REST } else { TICK_OF_FOLLOWER };
        tokio::select! {
            () = timers::sleep(longest) => return,
            () = running.rest_changes() => {}
            _ = self.open.changed() => {}
            _ = self.members.changed() => {}
            _ = self.parts.changed() => {}
        }
        tokio::time::sleep(TICK).await;
    }
}

/// As the leader, proposes expiries.
pub(super) async fn expire(here: Arc<Coordinator>) {
    let mut deadlines = Deadlines::default();
    let (mut led, mut parts) = (None, here.running.subscribe());
    loop {
        let part = parts.borrow_and_update().clone();
        let Some(running) = part else {
            deadlines.clear();
            led = None;
            if parts.changed().await.is_err() {
                return;
            }
            continue;
        };
        let (mut applied, mut leaders) = (running.applied_index(), running.raft.server_metrics());
        applied.mark_unchanged();
        leaders.mark_unchanged();
        if !running.leads() {
            deadlines.clear();
            led = None;
            tokio::select! {
                changed = parts.changed() => if changed.is_err() { return },
                // it closes with its part
                changed = leaders.changed() => if changed.is_err() { tokio::time::sleep(EXPIRY_AGAIN).await },
            }
            continue;
        }
        let term = running.metrics().current_term;
        if led != Some((running.group, term)) {
            // every time runs anew from the beginning of this leadership
            deadlines.clear();
            led = Some((running.group, term));
        }
        let now = match planted("leases_by_wall_clock") {
            true => Duration::from_millis(here.world.wall().as_ms()),
            false => here.world.now(),
        };
        {
            let state = running.applied.read();
            let changes = deadlines.seen().and_then(|seen| state.changes_after(seen));
            deadlines.follow(now, &state.machine, changes);
        }
        let due = deadlines.due(now);
        if !due.is_empty() {
            if let Err(error) = here.propose(Command::Expire(due), None).await {
                tracing::debug!(%error, "what ran out of time stays for now");
            }
            if deadlines.seen() == Some(running.applied.read().machine.revision()) {
                // nothing ended
                tokio::time::sleep(EXPIRY_AGAIN).await;
            }
            continue;
        }
        let next = deadlines.next().map(|at| at.saturating_sub(now));
        tokio::time::sleep(EXPIRY_LOOK.min(next.unwrap_or(EXPIRY_LOOK))).await;
        let next = next.map(|wait| wait.saturating_sub(EXPIRY_LOOK));
        tokio::select! {
            changed = parts.changed() => if changed.is_err() { return },
            changed = leaders.changed() => if changed.is_err() { tokio::time::sleep(EXPIRY_AGAIN).await },
            changed = applied.changed() => if changed.is_err() { tokio::time::sleep(EXPIRY_AGAIN).await },
            () = tokio::time::sleep(next.unwrap_or_default()), if next.is_some() => {}
        }
    }
}

impl Coordinator {
    /// As the leader, ends what former members hold, and gives what a member's former keys wrote to its present one. A leader that is one itself gives the leadership up.
    async fn end_former(&self, running: &Running) {
        let members = self.identity.members();
        if members.has_ended(&running.me.did) {
            reached("former_member_leads");
            let voters = running.metrics().membership_config.membership().voter_ids().collect();
            if let Err(ManageError::Refused(why)) = self.step_down(running, &voters).await {
                tracing::debug!(why, "the others choose the next leader without this node's help");
            }
            return;
        }
        self.move_lines(running).await;
        let former: Vec<Did> = {
            let state = running.applied.read();
            // copies of an earlier format do not know the command
            let ends = state.machine.format() >= format::ENDS && members.ended().next().is_some();
            let holders = if ends { state.machine.holders() } else { BTreeSet::new() };
            holders.into_iter().filter(|did| members.has_ended(did)).collect()
        };
        for member in former {
            match self.propose(Command::End(member), None).await {
                Ok(_) => tracing::info!(member = self.name(&member), "what this former member held has ended"),
                Err(error) => tracing::debug!(%error, "what a former member holds stays for now"),
            }
        }
    }

    /// As the leader, gives what the former keys of members wrote to their present ones.
    async fn move_lines(&self, running: &Running) {
        let members = self.identity.members();
        if !members.has_lines() || planted("quotas_by_key") {
            return;
        }
        let moved: Vec<(Did, Did)> = {
            let state = running.applied.read();
            // copies of an earlier format do not know the command
            let knows = state.machine.format() >= format::LINES;
            let (holders, writers) = (state.machine.holders(), state.machine.writers());
            let all: BTreeSet<Did> = holders.iter().chain(writers).copied().filter(|_| knows).collect();
            let moved = all.into_iter().map(|did| (did, members.present_key(&did)));
            moved.filter(|(former, member)| former != member).collect()
        };
        for (former, member) in moved {
            match self.propose(Command::Succeed { former, member }, None).await {
                Ok(_) => tracing::info!(member = self.name(&member), "it has what its former key wrote"),
                Err(error) => tracing::debug!(%error, "what a former key wrote stays its own for now"),
            }
        }
    }

    /// Whether a member's proposals wait, or else a new key would have a share of its own. They do while a former key of it
    /// has keys. They do as well if the member is known from the gate alone and uses much: its former keys may not be
    /// known here.
    pub(super) fn awaits_its_line(&self, running: &Running, member: &Did) -> bool {
        let members = self.identity.members();
        let state = running.applied.read();
        if planted("quotas_by_key") || state.machine.format() < format::LINES {
            return false;
        }
        let unheard = || !members.is_written_by_issuer(member) && state.machine.uses_much(*member);
        let mut others = members.line(member).into_iter().filter(|key| key != member);
        members.has_lines() && others.any(|key| state.machine.has_keys_of(&key)) || unheard()
    }

    /// This node's report to others.
    pub(super) fn say(&self) -> Overview {
        let running = self.running();
        let metrics = running.as_ref().map(|running| running.metrics());
        let seats = metrics.as_ref().map(|metrics| encode(&Seats::from(metrics.membership_config.membership())));
        let audit = running.as_ref().map(|running| running.applied.read().machine.audit().clone());
        Overview {
            voter: encode(&self.me()),
            never: !self.may_vote,
            leader: running
                .as_ref()
                .and_then(|running| self.leader_in_contact(running))
                .map(|did| encode(&did))
                .unwrap_or_default(),
            term: metrics.as_ref().map_or(0, |metrics| metrics.current_term),
            applied: running.map_or(0, |running| *running.applied.index().borrow()),
            seats: seats.unwrap_or_default(),
            machine: self.machine.map(Vec::from).unwrap_or_default(),
            audit_count: audit.as_ref().map_or(0, |chain| chain.count),
            audit_head: audit.map(|chain| chain.head.to_vec()).unwrap_or_default(),
            format: u32::from(*self.formats.raised.borrow()),
            stopped: self.stopped().is_some(),
        }
    }

    /// The leader, if this node is in contact with it, or leads with a quorum itself.
    pub(super) fn leader_in_contact(&self, running: &Running) -> Option<Did> {
        let lasts = self.timing.election_max() * 2;
        let leader = running.leader()?;
        running.is_in_contact(lasts).then_some(leader.did)
    }

    /// The leader, in the view of this node or of others.
    pub(super) fn leader(&self) -> Option<Did> {
        let here = self.running().and_then(|running| running.leader()).map(|leader| leader.did);
        here.or_else(|| self.hearsay().map(|heard| heard.leader))
    }

    /// The leader by the words of others, as far as they are believed.
    fn hearsay(&self) -> Option<Hearsay> {
        let own = self.own_seats();
        let heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        let needed = self.needs_seats();
        let seated =
            |group: Group, seats: &Seats| !needed || seats.voters.iter().all(|voters| self.all_seated(group, voters));
        hearsay::believed(&heard.said, own.as_ref().map(|(group, seats)| (*group, seats)), &seated)
    }

    /// The group and the voters of this node's copy.
    fn own_seats(&self) -> Option<(Group, Seats)> {
        let running = self.running()?;
        Some((running.group, running.seats()?))
    }

    /// Whether a member named as the leader is asked: only a voter can lead.
    pub(super) fn may_lead(&self, did: &Did) -> bool {
        match self.own_seats() {
            Some((_, seats)) => seats.has_voter(did),
            None => self.hearsay().is_some_and(|heard| heard.seats.has_voter(did)),
        }
    }

    /// The group, and a log index that some member has applied.
    pub(super) fn where_it_stands(&self) -> Option<(Group, u64)> {
        if let Some(running) = self.running() {
            return Some((running.group, *running.applied.index().borrow()));
        }
        self.hearsay().map(|heard| (heard.group, heard.applied))
    }

    /// The last reports of the others.
    pub(super) fn said(&self) -> BTreeMap<Did, Report> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner).said.clone()
    }

    /// The members that were not heard for a while.
    pub(super) fn silent(&self) -> BTreeSet<Did> {
        self.silent_for(HEARD_FOR)
    }

    /// The members that were not heard for this time.
    pub(super) fn silent_for(&self, time: Duration) -> BTreeSet<Did> {
        let heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        heard.away.iter().filter(|(_, since)| since.elapsed() >= time).map(|(did, _)| *did).collect()
    }

    /// The highest format of critical state that other members report, at most the highest that this
    /// node reads.
    fn hinted(&self) -> u16 {
        let heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        heard.said.values().map(|said| said.format).max().unwrap_or(0).min(self.formats.max)
    }

    /// The members that were up at the last look.
    pub(super) fn up(&self) -> BTreeSet<Did> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner).up.keys().copied().collect()
    }

    /// Asks the members that are up for their reports, unless that was just done.
    pub(super) async fn look_around(&self) {
        let now = Instant::now();
        {
            let mut heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
            let anew = heard.looked.is_none_or(|looked| now - looked >= TICK / 2);
            if !anew {
                return;
            }
            heard.looked = Some(now);
        }
        let peers = self.mesh.peers().await;
        let open: BTreeSet<Did> =
            peers.iter().filter(|peer| peer.open && peer.state == PeerState::Up).map(|peer| peer.did).collect();
        let reads = |peer: &nexus_mesh::PeerStatus| Some((peer.did, peer.abilities.as_ref()?.critical_format_max));
        let members: Vec<Did> = self.identity.members().iter().map(|(did, _)| *did).collect();
        let leads = self.running().filter(|running| running.leads());
        let rests = leads.as_ref().is_some_and(|running| running.silence.heartbeats().is_resting());
        let answered = |voter: &Voter| leads.as_ref()?.silence.heartbeats().last_answer(voter);
        let ask: Vec<Did> = {
            let mut heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
            heard.up.retain(|did, _| open.contains(did));
            for did in &open {
                heard.up.entry(*did).or_insert(now);
            }
            heard.note_silence(now, &members, &open, answered);
            heard.reads = peers.iter().filter(|peer| open.contains(&peer.did)).filter_map(reads).collect();
            let last = |said: &Report| answered(&said.voter).map_or(said.at, |at| at.max(said.at));
            heard
                .said
                .retain(|did, said| open.contains(did) || now.saturating_duration_since(last(said)) < HEARD_FOR * 4);
            let leads = |leader: &Did| open.contains(leader) || *leader == self.identity.me();
            let heard_for = |said: &Report| match answered(&said.voter) {
                Some(at) if rests && now.saturating_duration_since(at) < SILENT_AFTER => HEARD_FOR_AT_REST,
                _ => HEARD_FOR,
            };
            let old = |did: &&Did| {
                let stale =
                    |said: &Report| now - said.at >= heard_for(said) || !said.leader.as_ref().is_some_and(leads);
                heard.said.get(did).is_none_or(stale)
            };
            open.iter().filter(old).copied().collect()
        };
        let said = join_all(ask.into_iter().map(|member| self.hear(member))).await;
        let mut heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        for (did, report) in said.into_iter().flatten() {
            heard.away.remove(&did);
            heard.said.insert(did, report);
        }
    }

    /// Asks a member for its report.
    pub(super) async fn hear(&self, member: Did) -> Option<(Did, Report)> {
        let body = Some(Body::Hello(Hello {}));
        let envelope = Envelope { id: 0, group: Vec::new(), to: Vec::new(), format: 0, body };
        let answer = self.links.ask(member, envelope, SAY_MAX).await.ok()?;
        Some((member, Report::read(member, answer, Instant::now())?))
    }

    /// The vote of the leader on whose silence this node relies, if the leader says now that it leads. If it does not,
    /// this node rests no more.
    pub(super) async fn resting_leader(&self, running: &Running) -> Option<Vote> {
        let vote = running.rests_on()?;
        let leader = vote.leader_id.node_id.did;
        let heard = tokio::time::timeout(DOUBT_MAX, self.hear(leader)).await.ok().flatten();
        let leads = |(_, said): (Did, Report)| {
            said.group == Some(running.group) && said.leader == Some(leader) && said.term == vote.leader_id.term
        };
        if heard.is_some_and(leads) || planted("rests_for_good") {
            return Some(vote);
        }
        // it may rest on another one by now
        if running.rests_on() == Some(vote) {
            reached("rest_ends_in_doubt");
            running.end_rest();
        }
        None
    }

    /// Asks the leader whether it leads, after a while without an answer to something else. Never resolves.
    pub(super) async fn doubt(&self) {
        tokio::time::sleep(DOUBT_AFTER).await;
        if let Some(running) = self.running() {
            self.resting_leader(&running).await;
        }
        std::future::pending().await
    }

    /// Applies the rules for voters to the current members.
    async fn plan<T>(&self, running: &Running, decide: impl FnOnce(&Situation<'_>) -> Option<T>) -> Option<T> {
        let metrics = running.metrics();
        let membership = metrics.membership_config.membership();
        if membership.get_joint_config().len() > 1 {
            return None;
        }
        let voters: BTreeSet<Voter> = membership.voter_ids().collect();
        let learners: BTreeSet<Voter> = membership.learner_ids().collect();
        // entries of earlier leaders may raise the format, so nothing is decided before they are applied
        let applied = metrics.last_applied.is_some_and(|at| at.leader_id.term == metrics.current_term);
        if !applied {
            return None;
        }
        let last = metrics.last_log_index.unwrap_or(0);
        let replication = metrics.replication.unwrap_or_default();
        let ended: BTreeSet<Voter> =
            voters.iter().chain(&learners).filter(|voter| self.role(&voter.did).is_none()).copied().collect();
        let format = running.applied.read().machine.format();
        let (members, away, asked): (Vec<SeenMember>, BTreeMap<Did, Duration>, u16) = {
            let heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
            let seen = |(did, said): (&Did, &Report)| SeenMember {
                voter: said.voter,
                may_learn: matches!(self.role(did), Some(Role::Admin | Role::Member)),
                may_vote: said.may_vote,
                up: heard.up.get(did).map(Instant::elapsed),
                lag: replication
                    .get(&said.voter)
                    .and_then(|matched| matched.as_ref())
                    .map(|matched| last.saturating_sub(matched.index)),
                reads: heard.reads.get(did).map(|reads| match said.stopped {
                    // its copy met bytes that it cannot read, whatever its hello says
                    true => (*reads).min(format.saturating_sub(1)),
                    false => *reads,
                }),
            };
            let asked = heard.asked.filter(|(group, _)| *group == running.group).map_or(0, |(_, format)| format);
            let away = heard.away.iter().map(|(did, since)| (*did, since.elapsed()));
            (heard.said.iter().map(seen).collect(), away.collect(), asked)
        };
        decide(&Situation {
            me: running.me,
            voters: &voters,
            learners: &learners,
            members: &members,
            ended: &ended,
            settle: self.timing.settle,
            format,
            // the format with seats waits until every voter has one
            format_max: match self.all_seated(running.group, &voters) {
                _ if planted("never_raises") => format,
                true => self.formats.max,
                false => self.formats.max.min(format.max(format::SEATS - 1)),
            },
            asked,
            away: &away,
        })
    }

    pub(super) async fn change(&self, running: &Running, change: VoterChange) -> Result<(), ManageError> {
        let raft = running.raft.clone();
        if let VoterChange::Raise(format) = change {
            return self.raise(running, format).await;
        }
        if let VoterChange::Vote(voters) = &change
            && self.needs_seats()
            && !self.have_signed(running, voters).await
        {
            let admins = self.admins().join(", ");
            return Err(ManageError::Refused(format!(
                "an admin's node must sign who votes, and none is up: start the node of {admins}"
            )));
        }
        let change = async move {
            match change {
                VoterChange::Raise(_) => Ok(()),
                VoterChange::Learn(voter) => raft.add_learner(voter, EmptyNode {}, false).await.map(drop),
                VoterChange::Dismiss(voter, _) => {
                    reached("copy_dismissed");
                    let gone = openraft::ChangeMembers::RemoveNodes(BTreeSet::from([voter]));
                    raft.change_membership(gone, false).await.map(drop)
                }
                // keep a removed voter as a learner, so that it hears of its removal: otherwise it
                // keeps starting elections. A voter that is lost for good is dismissed afterwards.
                VoterChange::Vote(voters) => raft.change_membership(voters, true).await.map(drop),
            }
        };
        let changed = tokio::time::timeout(CHANGE_MAX, scope(self.world.spawner().clone(), change)).await;
        changed.map_err(|_| ManageError::NotDone(NotDone::NoQuorum))?.map_err(|error| match error.forward_to_leader() {
            Some(to) => ManageError::NotDone(NotDone::NotLeader(to.leader_id)),
            None => ManageError::Refused(error.to_string()),
        })
    }

    /// Proposes a later format of critical state, as the leader.
    async fn raise(&self, running: &Running, format: u16) -> Result<(), ManageError> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner).asked = Some((running.group, format));
        let proposal = Proposal {
            format,
            group: running.group,
            by: self.identity.me(),
            session: u64::from_le_bytes(random()),
            seq: 1,
            answered: 0,
            base: *running.applied.index().borrow(),
            at_ms: self.world.wall().as_ms(),
            commands: vec![Command::Raise(format)],
            requests: Vec::new(),
        };
        let raised = running.submit(Signed::new(&proposal, &self.key), Instant::now() + CHANGE_MAX).await;
        if raised.is_err() {
            reached("raise_of_the_format_fails");
            if self.headroom.room() < Room::All {
                reached("raise_of_the_format_without_room");
            }
        }
        let outcomes = raised.map_err(ManageError::NotDone)?;
        match outcomes.as_slice() {
            [Outcome::Refused(refusal)] => Err(ManageError::Refused(refusal.to_string())),
            _ => Ok(()),
        }
    }

    /// Raises the format of a group that this node has just founded, as soon as it leads.
    pub(super) async fn raise_alone(&self, running: &Running) {
        let mut metrics = running.raft.server_metrics();
        let leads = metrics.wait_for(|now| now.current_leader == Some(running.me));
        let leads = tokio::time::timeout(CHANGE_MAX, leads).await.is_ok_and(|led| led.is_ok());
        // a raise that fails here comes later, as in every other group
        if leads
            && self.formats.max > 0
            && let Err(ManageError::NotDone(why)) = self.raise(running, self.formats.max).await
        {
            tracing::debug!(?why, "the format of critical state was not raised yet");
        }
    }

    /// Does a person's request, as the leader.
    pub(super) async fn manage_here(&self, running: &Running, manage: Manage) -> Result<(), ManageError> {
        running.prove().await.map_err(ManageError::NotDone)?;
        let refused = |why: &str| Err(ManageError::Refused(why.to_owned()));
        let metrics = running.metrics();
        let membership = metrics.membership_config.membership();
        let find = |did: Did| membership.nodes().map(|(voter, _)| *voter).find(|voter| voter.did == did);
        let voters: BTreeSet<Voter> = membership.voter_ids().collect();
        let next = match manage {
            Manage::StepDown => return self.step_down(running, &voters).await,
            Manage::Add(did) => {
                let Some(voter) = find(did) else {
                    return refused("it has no copy yet: only a member that is up, and no reader, can vote");
                };
                if voters.contains(&voter) {
                    return Ok(());
                }
                let next = self.plan(running, |now| Some(now.add(voter))).await;
                match next {
                    Some(next) if next.len() == 2 => {
                        return refused(
                            "two voters need each other and are worse than one: wait until a third member has settled",
                        );
                    }
                    next => next,
                }
            }
            Manage::Remove(did) => {
                let Some(voter) = voters.iter().find(|voter| voter.did == did).copied() else {
                    let copies: Vec<Voter> = membership.learner_ids().filter(|learner| learner.did == did).collect();
                    if copies.is_empty() {
                        return refused("it has neither a vote nor a copy");
                    }
                    for copy in copies {
                        self.change(running, VoterChange::Dismiss(copy, Dismissal::Asked)).await?;
                    }
                    return Ok(());
                };
                if voters.len() == 1 {
                    return refused("it is the last voter");
                }
                if voter == running.me {
                    self.step_down(running, &voters).await?;
                    return Err(ManageError::NotDone(NotDone::NotLeader(None)));
                }
                match self.plan(running, |now| Some((now.remove(&voter), now.unsettled(&voter)))).await {
                    Some((next, Some(unsettled))) if next.len() == 1 && voters.len() > 1 => {
                        return Err(ManageError::Refused(format!(
                            "{} can take its place once it has been up for {} s: try again then",
                            self.name(&unsettled.did),
                            self.timing.settle.as_secs().max(1)
                        )));
                    }
                    next => next.map(|(next, _)| next),
                }
            }
        };
        match next {
            Some(voters) => self.change(running, VoterChange::Vote(voters)).await,
            None => refused("the voters are being changed: try again"),
        }
    }

    /// Gives the leadership up: falls silent, waits until followers may vote again, and lets the most
    /// up-to-date one be elected.
    async fn step_down(&self, running: &Running, voters: &BTreeSet<Voter>) -> Result<(), ManageError> {
        let metrics = running.metrics();
        let replication = metrics.replication.unwrap_or_default();
        let others = voters.iter().filter(|voter| **voter != running.me);
        let heir = others.max_by_key(|voter| replication.get(voter).copied().flatten().map(|at| at.index)).copied();
        let Some(heir) = heir else {
            return Err(ManageError::Refused("there is no other voter".to_owned()));
        };
        let quiet = |quiet: bool| {
            running.raft.runtime_config().heartbeat(!quiet);
            running.abstain(quiet);
        };
        // whoever was promised silence would not vote for another: heartbeats end that
        running.silence.hold(true);
        tokio::time::sleep(self.timing.heartbeat * 4).await;
        quiet(true);
        tokio::time::sleep(self.timing.election_max() + self.timing.heartbeat).await;
        let envelope = Envelope {
            id: 0,
            group: encode(&running.group),
            to: encode(&heir),
            format: 0,
            body: Some(Body::Elect(Hello {})),
        };
        let asked = self.links.ask(heir.did, envelope, SAY_MAX).await;
        let until = Instant::now() + self.timing.election_max() * 2;
        let mut metrics = running.raft.server_metrics();
        let elected = tokio::time::timeout_at(
            until,
            metrics.wait_for(|now| now.current_leader.is_some_and(|leader| leader != running.me)),
        );
        let elected = elected.await.is_ok_and(|seen| seen.is_ok());
        quiet(false);
        running.silence.hold(false);
        match (asked, elected) {
            (_, true) => Ok(()),
            (Err(error), false) => {
                Err(ManageError::Refused(format!("{} was not reached: {error}", self.name(&heir.did))))
            }
            (Ok(_), false) => Err(ManageError::NotDone(NotDone::NoQuorum)),
        }
    }

    /// Changes the voters, by way of the leader.
    ///
    /// # Errors
    /// [`NodeError::NoQuorum`], or [`NodeError::Conflict`] with the reason.
    pub(crate) async fn manage(&self, manage: Manage) -> Result<(), NodeError> {
        if self.role(&self.identity.me()) != Some(Role::Admin) {
            return Err(AccessError::NotAdmin(AdminDuty::ChooseVoters).into());
        }
        let until = Instant::now() + ANSWER_WITHIN;
        while Instant::now() < until {
            match self.try_manage(manage).await {
                Ok(()) => return Ok(()),
                Err(ManageError::Refused(why)) => return Err(ConflictError::Voters { reason: why }.into()),
                Err(ManageError::NotDone(_)) => {}
            }
            self.look_around().await;
            tokio::time::sleep(TICK / 4).await;
        }
        Err(self.no_quorum())
    }

    /// One try, at the presumed leader.
    async fn try_manage(&self, manage: Manage) -> Result<(), ManageError> {
        let nobody = || ManageError::NotDone(NotDone::NotLeader(None));
        let leader = self.leader().ok_or_else(nobody)?;
        if leader == self.identity.me() {
            // others may still name this node as the leader, which has only just joined anew
            let running = self.running().ok_or_else(nobody)?;
            return self.manage_here(&running, manage).await;
        }
        let (group, _) = self.where_it_stands().ok_or_else(nobody)?;
        match self.ask(leader, group, Body::Manage(Bytes { bytes: encode(&manage) })).await {
            Ok(Reply { body: Body::Answer(_), .. }) => Ok(()),
            Ok(Reply { body: Body::Refused(refused), .. }) if refused.reason() == super::wire::Reason::Forbidden => {
                Err(ManageError::Refused(refused.message))
            }
            _ => Err(ManageError::NotDone(NotDone::NoQuorum)),
        }
    }

    /// Begins a new group from this node's copy, after the quorum is lost for good. Committed changes
    /// that are not in this copy are lost.
    ///
    /// # Errors
    /// [`NodeError::Conflict`] while a quorum answers, [`NodeError::NotFound`] without a copy.
    pub(crate) async fn recover(&self) -> Result<Group, NodeError> {
        if self.role(&self.identity.me()) != Some(Role::Admin) {
            return Err(AccessError::NotAdmin(AdminDuty::Recover).into());
        }
        self.look_around().await;
        if self.read(&super::Query::Revision).await.is_ok() {
            return Err(ConflictError::QuorumThere.into());
        }
        let _one = self.changing.lock().await;
        let missing = || self.no_copy(&self.name(&self.identity.me()));
        let running = self.running().ok_or_else(missing)?;
        let failed = |error: super::log::WriteFailed| StopError::CoordinatorLog(OpaqueError::new(error));
        let metrics = running.metrics();
        self.running.send_replace(None);
        running.stop().await;
        let group = Group { generation: running.group.generation + 1, id: u64::from_le_bytes(random()) };
        let draw = u64::from_le_bytes(random());
        let me = Voter { did: self.identity.me(), draw };
        let mut machine = running.applied.read().machine.clone();
        let index = *running.applied.index().borrow();
        let record = machine.succeed(group, index + 1, me.did, self.world.wall().as_ms());
        let unkept = |error: super::audit::KeepError| StopError::CoordinatorLog(OpaqueError::new(error));
        super::audit::keep(&self.log, &running.applied).await.map_err(unkept)?;
        if let Some(record) = record {
            super::audit::keep_now(&self.log, &record).await.map_err(unkept)?;
        }
        let at = Some(Position { term: metrics.current_term + 1, leader: me, index: index + 1 });
        let seats = Seats { voters: vec![BTreeSet::from([me])], all: BTreeSet::from([me]) };
        let head = SnapshotHead { at, seats_at: at, seats, id: format!("recovered-{}", group.generation) };
        let vote = Ballot { term: metrics.current_term + 1, voter: me, committed: false };
        self.log.found(self.identity.mesh(), group, me, vote, head, &machine.encode()).await.map_err(failed)?;
        *self.me.lock().unwrap_or_else(PoisonError::into_inner) = me;
        tracing::warn!(%group, "the coordinators were begun anew from this node's copy");
        self.take_part(group).await?;
        Ok(group)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Report {
        /// The report of a member that has applied five entries and names a leader.
        pub(in crate::coordinator) fn naming(did: Did, group: Group, leader: Did, seats: Seats) -> Self {
            Self {
                at: Instant::now(),
                voter: Voter { did, draw: 0 },
                may_vote: true,
                group: Some(group),
                leader: Some(leader),
                applied: 5,
                term: 1,
                seats: Some(seats),
                machine: Vec::new(),
                audit: None,
                format: 0,
                stopped: false,
            }
        }
    }

    /// promise: Keys and locks | A later format does not wait for ever for a member that is connected and says nothing
    #[test]
    fn a_connected_member_that_reports_nothing_counts_as_away() {
        let (silent, well) = (Did::from_bytes([1; 32]), Did::from_bytes([2; 32]));
        let (members, open) = ([silent, well], BTreeSet::from([silent, well]));
        let (mut heard, begin) = (Reports::default(), Instant::now());
        let report = |at| {
            let seats = Seats { voters: Vec::new(), all: BTreeSet::new() };
            Report { at, ..Report::naming(well, Group::default(), well, seats) }
        };
        for second in 0..60 {
            let now = begin + Duration::from_secs(second);
            heard.note_silence(now, &members, &open, |_| None);
            heard.said.insert(well, report(now));
            heard.away.remove(&well);
        }
        assert_eq!(heard.away, BTreeMap::from([(silent, begin)]), "since the first look");
        // a member that falls silent is away since its last report
        let later = begin + Duration::from_secs(59) + SILENT_AFTER;
        let mut answers = heard.away.clone();
        answers.remove(&well);
        heard.note_silence(later, &members, &open, |_| Some(later - SILENT_AFTER / 2));
        assert_eq!(heard.away, answers, "it answers the leader's heartbeats");
        heard.note_silence(later, &members, &open, |_| None);
        assert_eq!(heard.away[&well], begin + Duration::from_secs(59));
    }
}
