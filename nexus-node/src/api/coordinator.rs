//! The coordinators: showing and changing the leader and the voters.

use axum::Json as Answer;
use nexus_identity::Did;

use super::extract::{Json, Path};
use super::problem::Problem;
use super::wire;
use crate::coordinator::Manage;
use crate::error::Resource;
use crate::{Node, NodeError};

pub(super) async fn show(node: Node) -> Result<Answer<wire::Coordinator>, Problem> {
    let seen = node.critical()?.coordinators().await;
    Ok(Answer(seen.map(wire::Coordinator::from).unwrap_or_default()))
}

pub(super) async fn add_voter(
    node: Node,
    Json(voter): Json<wire::AddVoter>,
) -> Result<Answer<wire::Coordinator>, Problem> {
    let did = member(&node, &voter.did).await?;
    manage(node, Manage::Add(did)).await
}

pub(super) async fn remove_voter(node: Node, Path(voter): Path) -> Result<Answer<wire::Coordinator>, Problem> {
    let did = member(&node, &voter).await?;
    manage(node, Manage::Remove(did)).await
}

pub(super) async fn step_down(node: Node) -> Result<Answer<wire::Coordinator>, Problem> {
    manage(node, Manage::StepDown).await
}

pub(super) async fn recover(
    node: Node,
    Json(recover): Json<wire::Recover>,
) -> Result<Answer<wire::Coordinator>, Problem> {
    if !recover.i_understand {
        let hint = "`i_understand: true` says that whatever only the lost voters had may be lost";
        return Err(Problem::new("invalid", "recovering begins the coordinators anew from this copy").hint(hint));
    }
    let critical = node.critical()?;
    critical.recover().await.map_err(Problem::from).map_err(|problem| match problem.code {
        "conflict" => problem.hint("replace a lost voter instead: `nexus-node coordinator voters remove`"),
        _ => problem,
    })?;
    // Recovery is done. This read waits until the new group has elected its one voter, so that the
    // answer shows it.
    let _ = critical.revision().await;
    show(node).await
}

async fn manage(node: Node, manage: Manage) -> Result<Answer<wire::Coordinator>, Problem> {
    node.critical()?.manage(manage).await.map_err(|error| match error {
        NodeError::Conflict(why) => Problem::new("conflict", why.to_string())
            .hint("nothing was changed; `nexus-node coordinator` shows who votes"),
        error => error.into(),
    })?;
    show(node).await
}

/// The DID of the member, voter or learner with that DID or name.
async fn member(node: &Node, who: &str) -> Result<Did, Problem> {
    let seen = node.critical()?.coordinators().await;
    let seats = seen.into_iter().flat_map(|seen| seen.voters.into_iter().chain(seen.learners));
    let members = node.members().into_iter().map(|member| (member.did, member.name));
    let mut known: Vec<(Did, String)> = members.chain(seats.map(|seat| (seat.did, seat.name))).collect();
    known.sort();
    known.dedup_by_key(|(did, _)| *did);
    let called = node.members_called(who);
    known.retain(|(did, name)| {
        called.contains(did) || nexus_identity::folded(name) == nexus_identity::folded(who) || did.to_string() == who
    });
    Ok(Resource::Member.the_one(who, known.into_iter().map(|(did, _)| (did, did.to_string())).collect())?)
}
