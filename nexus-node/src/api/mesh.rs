//! This node and the others: status, peers, members, tickets, offline and online.

use std::collections::BTreeSet;
use std::time::Duration;

use axum::Json as Answer;
use axum::extract::{ConnectInfo, Extension, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use data_encoding::BASE64;
use nexus_client::proof::ProofKey;
use nexus_crdt::RootRevocation;
use nexus_identity::{Chain, Did, Name, Role, RoleError, Ticket};
use serde_json::json;

use super::connections::ApiConnection;
use super::extract::{Json, OptionalJson, Path, Query};
use super::guard::Shown;
use super::issued::{TokenError, UNREAD_HINT};
use super::problem::Problem;
use super::{Api, wire};
use crate::error::{NodeError, Resource};
use crate::{Brain, Node};

/// The default lifetime of a ticket.
const TICKET_TTL: Duration = Duration::from_secs(3_600);
/// The default timeout of a join.
const JOIN_TIMEOUT: Duration = Duration::from_secs(30);
/// The longest restart of the node in the mesh that it joined.
const RESTART_TIMEOUT: Duration = Duration::from_secs(30);

#[derive(serde::Deserialize)]
pub(super) struct HealthQuery {
    nonce: Option<String>,
    /// The name of an issued token whose secret is to be proven, in place of the `api-token`.
    mark: Option<String>,
}

/// Answers: the process runs. With a nonce, proves that it holds the token.
pub(super) async fn health(
    State(api): State<Api>,
    ConnectInfo(connection): ConnectInfo<ApiConnection>,
    Query(query): Query<HealthQuery>,
) -> Result<Answer<serde_json::Value>, Problem> {
    let Some(nonce) = query.nonce else { return Ok(Answer(json!({"ok": true}))) };
    let address = connection.local().ok_or_else(|| Problem::new("failed", "the connection has no address"))?;
    let key = match query.mark {
        None => Some(api.0.guard.proof().clone()),
        Some(mark) => api.0.guard.issued().marked(&mark).map(|token| ProofKey::new(&token.proof_secret())),
    };
    // a token that is not known here is proven by nobody
    let proof = key.map(|key| key.prove(&nonce, address)).transpose();
    let proof = proof.map_err(|error| Problem::new("invalid", error.to_string()))?;
    Ok(Answer(json!({"ok": true, "proof": proof})))
}

/// Answers if the node runs and can keep what it is given, also without a quorum: memory needs none.
pub(super) async fn ready(node: Node) -> Result<Answer<serde_json::Value>, Problem> {
    if let Some(gone) = node.file_gone().await? {
        return Err(crate::NodeError::from(gone).into());
    }
    let seen = node.critical()?.coordinators().await;
    Ok(Answer(json!({"ready": true, "mode": seen.map(|seen| seen.mode().as_str())})))
}

pub(super) async fn status(State(api): State<Api>, node: Node, brain: Brain) -> Answer<wire::Status> {
    let mut status = wire::Status::from(node.status().await);
    status.started_by = api.0.settings.started_by().map(str::to_owned);
    let settings = api.0.settings.clone();
    // a number that cannot be told now is left out
    let counted = brain.reading(move |brain| {
        let in_conflict = brain.all_in_conflict_blocking()?.len() as u64;
        Ok((brain.spaces_blocking()?, in_conflict, settings.disk()))
    });
    let counted = counted.await.ok();
    status.memories = counted.as_ref().map(|(spaces, ..)| spaces.iter().map(|space| space.records).sum());
    status.conflicts = counted.as_ref().map(|(_, in_conflict, _)| *in_conflict);
    let disk = counted.and_then(|(.., disk)| disk);
    status.disk_bytes = disk.map(|disk| disk.used);
    let is_full = status.warnings.iter().any(|warning| warning.code == "disk_full");
    status.warnings.extend(disk.filter(|_| !is_full).and_then(|disk| disk.low()).map(low_disk));
    status.warnings.extend(api.exposed().map(cleartext));
    status.warnings.extend(api.0.guard.issued().list().err().map(unread_tokens));
    status.next = next(&status, node.members().len());
    Answer(status)
}

fn unread_tokens(error: TokenError) -> wire::Warning {
    wire::Warning { code: "tokens".to_owned(), message: error.to_string(), hint: Some(UNREAD_HINT.to_owned()) }
}

fn cleartext(door: &super::Door) -> wire::Warning {
    wire::Warning {
        code: "cleartext".to_owned(),
        message: format!("{} speaks HTTP in the clear: the network sees tokens and memories", door.address()),
        hint: Some("`nexus-node config set cleartext false`, and start again: it speaks TLS then".to_owned()),
    }
}

/// The code of the warning of a disk with little room.
const LOW_DISK: &str = "low_disk";

fn low_disk(free: u64) -> wire::Warning {
    wire::Warning {
        code: LOW_DISK.to_owned(),
        message: format!("the disk of the data directory has {} MB left", free / 1_000_000),
        hint: Some("make room: nothing is written once the disk is full".to_owned()),
    }
}

/// The next step for the person at a node: what is wrong first, then what a new one lacks. A disk that is only low
/// comes last, since nothing is refused yet.
fn next(status: &wire::Status, members: usize) -> Option<String> {
    let hint = |is_low: bool| {
        let mut warnings = status.warnings.iter().filter(|warning| (warning.code == LOW_DISK) == is_low);
        warnings.find_map(|warning| warning.hint.clone())
    };
    let step = match hint(false) {
        _ if status.offline => "`nexus-node online` connects this node again".to_owned(),
        Some(hint) => hint,
        None if status.membership != "member" => "`nexus-node export` writes what this node keeps".to_owned(),
        None if status.memories == Some(0) => "`nexus-node connect all` gives your agents this memory".to_owned(),
        None if members <= 1 => "`nexus-node invite` lets another machine in".to_owned(),
        None => return hint(true),
    };
    Some(step)
}

/// Ends the process, after the answer. Needs the token: the page shows a node, and does not end it.
pub(super) async fn stop(
    State(api): State<Api>,
    Extension(shown): Extension<Shown>,
) -> Result<(StatusCode, Answer<wire::Stopping>), Problem> {
    if shown != Shown::Token {
        return Err(Problem::new("refused", "stopping takes the token").hint("`nexus-node stop`"));
    }
    if api.0.stop.receiver_count() == 0 {
        return Err(Problem::new("refused", "the program around this node does not stop on request"));
    }
    api.0.stop.send_replace(true);
    Ok((StatusCode::ACCEPTED, Answer(wire::Stopping { stopping: true, pid: std::process::id() })))
}

pub(super) async fn peers(node: Node) -> Answer<Vec<wire::Peer>> {
    Answer(node.peers().await.into_iter().map(wire::Peer::from).collect())
}

/// Which members are asked for.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct MembersQuery {
    #[serde(default)]
    revoked: bool,
}

pub(super) async fn members(node: Node, Query(query): Query<MembersQuery>) -> Answer<Vec<wire::Member>> {
    if query.revoked {
        return Answer(node.former_members().into_iter().map(wire::former_member).collect());
    }
    Answer(node.members().into_iter().map(wire::Member::from).collect())
}

/// Ends a membership, by DID or name.
pub(super) async fn revoke(
    node: Node,
    Path(who): Path,
    OptionalJson(revoke): OptionalJson<wire::Revoke>,
) -> Result<Answer<wire::RevokedMember>, Problem> {
    let member = member(&node, &who)?;
    let Some(signed) = revoke.signed else {
        return Ok(Answer(node.revoke(member, kept(&node, revoke.keep)?).await?.into()));
    };
    let word: Option<RootRevocation> =
        BASE64.decode(signed.as_bytes()).ok().and_then(|bytes| RootRevocation::from_bytes(&bytes).ok());
    let word = word.filter(|word| word.revocations.first().is_some_and(|first| first.member == member));
    let Some(word) = word else {
        return Err(Problem::new("invalid", "`signed` is no revocation of this member by the root"));
    };
    Ok(Answer(node.revoke_as_root(word).await?.into()))
}

/// Drafts the end of a membership for the root to sign.
pub(super) async fn draft_revocation(
    node: Node,
    Path(who): Path,
    OptionalJson(draft): OptionalJson<wire::DraftRevocation>,
) -> Result<Answer<wire::RevocationDraft>, Problem> {
    let member = member(&node, &who)?;
    let draft = node.draft_revocation(member, kept(&node, draft.keep)?).await?;
    let draft = BASE64.encode(&draft.to_bytes());
    Ok(Answer(wire::RevocationDraft { did: member.to_string(), draft }))
}

/// The DIDs of the members who stay.
fn kept(node: &Node, keep: Option<Vec<String>>) -> Result<Option<BTreeSet<Did>>, NodeError> {
    keep.map(|keep| keep.iter().map(|who| member(node, who)).collect()).transpose()
}

/// The members whose membership would end with one's.
pub(super) async fn below(node: Node, Path(who): Path) -> Result<Answer<Vec<wire::Member>>, Problem> {
    let member = member(&node, &who)?;
    Ok(Answer(node.below(&member).into_iter().map(wire::Member::from).collect()))
}

pub(super) async fn leave(node: Node) -> Result<Answer<wire::Left>, Problem> {
    let left_at = node.leave().await?.to_string();
    Ok(Answer(wire::Left { did: node.did().to_string(), left_at }))
}

/// Gives this node another key, with which it starts again. The answer comes after that, so that the next request
/// meets the new node.
pub(super) async fn rotate_key(
    State(api): State<Api>,
    node: Node,
    OptionalJson(rotate): OptionalJson<wire::RotateKey>,
) -> Result<Answer<wire::RotatedKey>, Problem> {
    let read = |signed: &String| BASE64.decode(signed.as_bytes()).ok().and_then(|bytes| Chain::from_bytes(&bytes).ok());
    let signed = rotate.signed.as_ref().map(|signed| read(signed).ok_or(signed)).transpose();
    let signed = signed.map_err(|_| Problem::new("invalid", "`signed` holds no credentials"))?;
    let mut attached = api.0.node.subscribe();
    attached.mark_unchanged();
    let rotated = node.rotate_key(signed).await;
    let stopped = node.has_stopped();
    drop(node);
    if stopped {
        let again = attached.wait_for(|node| node.as_ref().is_some_and(|node| !node.has_stopped()));
        if !matches!(tokio::time::timeout(RESTART_TIMEOUT, again).await, Ok(Ok(_))) {
            return Err(Problem::new("stopping", "the node has not started again")
                .hint("start it again: `nexus-node up`; `nexus-node status` shows its key"));
        }
    }
    let rotated = rotated?;
    Ok(Answer(wire::RotatedKey { did: rotated.did.to_string(), former: rotated.former.to_string() }))
}

/// Lets a member's next new key through at this node within a day.
pub(super) async fn allow_rotation(
    node: Node,
    Json(allow): Json<wire::AllowRotation>,
) -> Result<Answer<wire::RotationAllowed>, Problem> {
    let member = member(&node, &allow.member)?;
    let allowed = node.allow_rotation(member).await?;
    let (did, until) = (allowed.did.to_string(), allowed.until.to_string());
    Ok(Answer(wire::RotationAllowed { did, name: allowed.name, until }))
}

/// Drafts the credentials of this node's next key for the root to sign.
pub(super) async fn draft_rotation(node: Node) -> Result<Answer<wire::RotationDraft>, Problem> {
    let claims = node.draft_rotation()?;
    Ok(Answer(wire::RotationDraft { did: claims.subject.to_string(), draft: BASE64.encode(&claims.to_bytes()) }))
}

/// The DID of the member or former member with that DID or name. Names are compared without case and form, and never resolved by order. A former key
/// stands for the one that took its place.
fn member(node: &Node, who: &str) -> Result<Did, NodeError> {
    let fits = node.members_called(who);
    let one = Resource::Member.the_one(who, fits.into_iter().map(|did| (did, did.to_string())).collect())?;
    Ok(node.current_key(one))
}

pub(super) async fn invite(node: Node, OptionalJson(invite): OptionalJson<wire::Invite>) -> Result<Response, Problem> {
    let replaces = invite.replace.as_deref().map(|who| member(&node, who)).transpose()?;
    let role = invite.role.as_deref().map(str::parse::<Role>).transpose();
    let role = role.map_err(|error: RoleError| Problem::new("invalid", error.to_string()))?;
    let role_of = |member: Did| {
        let (members, member) = (node.members(), node.current_key(member));
        members.into_iter().find(|known| known.did == member)?.roles.into_iter().max()
    };
    let role = role.or_else(|| replaces.and_then(role_of));
    let whose = whose(&node, invite.mine, invite.for_whom.as_deref())?;
    let invite = crate::Invite {
        role: role.unwrap_or(Role::Member),
        uses: invite.uses.unwrap_or(1),
        ttl: invite.ttl.map_or(TICKET_TTL, |ttl| ttl.0),
        valid: invite.valid.map(|valid| valid.0),
        replaces,
        whose,
    };
    let invitation = wire::Invitation::from(node.invite(invite).await?);
    Ok((StatusCode::CREATED, Answer(invitation)).into_response())
}

/// Whose machine joins: a name that is a member's stands for that member's person.
fn whose(node: &Node, mine: bool, name: Option<&str>) -> Result<Option<crate::node::Whose>, Problem> {
    let Some(name) = name else { return Ok(mine.then_some(crate::node::Whose::Mine)) };
    if mine {
        return Err(
            Problem::new("invalid", "`mine` and `for` are two answers to one question").hint("give one of them")
        );
    }
    let known = node.members_called(name);
    let person = |did: &Did| node.members().into_iter().find(|member| member.did == *did).and_then(|one| one.person);
    match known.as_slice() {
        [] => {
            let name = name.parse::<Name>().map_err(|error| Problem::new("invalid", error.to_string()))?;
            Ok(Some(crate::node::Whose::Other(name)))
        }
        all if all.iter().any(|did| *did == node.did() || person(did).is_some_and(|person| person.is_mine)) => {
            Ok(Some(crate::node::Whose::Mine))
        }
        _ => Err(Problem::new(
            "refused",
            format!("only a machine of {name}'s own person says that another one is theirs"),
        )
        .hint(format!(
            "`nexus-node invite --mine` on {name}, if it is an admin; or invite without saying whose it is"
        ))),
    }
}

/// Says whose machine a member is.
pub(super) async fn say_person(
    node: Node,
    Path(who): Path,
    Json(said): Json<wire::SayPerson>,
) -> Result<Answer<wire::PersonSaid>, Problem> {
    let member = member(&node, &who)?;
    let crate::node::PersonSaid { did, name, agreed, .. } = node.say_person(member, said.mine).await?;
    let person = if said.mine { "mine" } else { "other" }.to_owned();
    Ok(Answer(wire::PersonSaid { did: did.to_string(), name, person, agreed }))
}

/// Joins another mesh, where the node starts again. The answer comes after that, so that the next
/// request meets the new node.
pub(super) async fn join(
    State(api): State<Api>,
    node: Node,
    Json(join): Json<wire::Join>,
) -> Result<Answer<wire::Joined>, Problem> {
    let ticket = read_ticket(&join.ticket)?;
    let name = join.name.as_deref().map(str::parse::<Name>).transpose();
    let name = name.map_err(|error| Problem::new("invalid", error.to_string()))?;
    let timeout = join.timeout.map_or(JOIN_TIMEOUT, |timeout| timeout.0);
    let mut attached = api.0.node.subscribe();
    attached.mark_unchanged();
    let joined = node.join(&ticket, crate::node::JoinOptions { name, timeout }).await?;
    drop(node);
    // The node is detached first, or replaced at once.
    let again = attached.wait_for(|node| node.as_ref().is_some_and(|node| node.mesh_did() == ticket.mesh));
    match tokio::time::timeout(RESTART_TIMEOUT, again).await {
        Ok(Ok(_)) => Ok(Answer(joined.into())),
        _ => Err(Problem::new("stopping", "joined, but the node has not started again")
            .hint("start it again: `nexus-node up`")),
    }
}

/// The ticket in a text, or the problem of a text without one.
pub(super) fn read_ticket(text: &str) -> Result<Ticket, Problem> {
    text.parse().map_err(|error: nexus_identity::TicketError| {
        Problem::new("not_a_ticket", error.to_string()).hint("copy the whole line that `nexus-node invite` printed")
    })
}

pub(super) async fn offline(node: Node) -> Result<Answer<wire::Offline>, Problem> {
    node.set_offline(true).await?;
    Ok(Answer(wire::Offline { offline: true }))
}

pub(super) async fn online(node: Node) -> Result<Answer<wire::Offline>, Problem> {
    node.set_offline(false).await?;
    Ok(Answer(wire::Offline { offline: false }))
}
