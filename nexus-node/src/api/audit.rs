//! The record of requests about critical state, and the check of its chain.

use axum::Json as Answer;
use nexus_identity::Role;

use super::critical::{limit, names};
use super::extract::Parameters;
use super::problem::Problem;
use super::wire;
use crate::critical::AuditQuery;
use crate::node::MemberInfo;
use crate::{Node, NodeError};

pub(super) async fn list(node: Node, mut parameters: Parameters) -> Result<Answer<wire::AuditPage>, Problem> {
    let (after, since) = (parameters.one_as::<u64>("after")?, parameters.one_as::<wire::Span>("since")?);
    let limit = limit(parameters)?;
    let page = node
        .critical()?
        .audit(AuditQuery { after: after.unwrap_or(0), since: since.map(|since| since.0), limit })
        .await;
    let page = page.map_err(no_copy)?;
    let names = names(&node);
    let entry = |entry: crate::coordinator::AuditEntry| {
        let by_name = names.get(&entry.by).cloned();
        wire::audit_entry(entry, by_name)
    };
    let (items, missing) = (page.items.into_iter().map(entry).collect(), gaps(&page.missing));
    Ok(Answer(wire::AuditPage { items, missing, next: page.next }))
}

fn gaps(gaps: &[(u64, u64)]) -> Vec<wire::AuditGap> {
    gaps.iter().map(|(from, to)| wire::AuditGap { from: *from, to: *to }).collect()
}

pub(super) async fn verify(node: Node, mut parameters: Parameters) -> Result<Answer<wire::AuditCheck>, Problem> {
    let after = parameters.one_as::<u64>("after")?.unwrap_or(0);
    parameters.end()?;
    let check = node.critical()?.verify_audit(after).await.map_err(no_copy)?;
    let names = names(&node);
    let member = |other: &crate::coordinator::AuditOther| wire::AuditMember {
        did: other.did.to_string(),
        name: names.get(&other.did).cloned(),
        entries: other.entries,
        agrees: other.agrees,
        differs_from: other.differs_from,
    };
    Ok(Answer(wire::AuditCheck {
        ok: check.ok(),
        entries: check.entries,
        head: blake3::Hash::from_bytes(check.head).to_hex().to_string(),
        first: check.first,
        broken: check.broken.map(|broken| wire::AuditBroken { n: broken.n, why: broken.fault.to_string() }),
        missing: gaps(&check.missing),
        dropped: gaps(&check.dropped),
        members: check.others.iter().map(member).collect(),
        others: node.members().iter().filter(|member| member.did != node.did() && !is_reader(member)).count(),
        next: check.next,
    }))
}

/// Readers have no copy.
fn is_reader(member: &MemberInfo) -> bool {
    member.roles.iter().all(|role| *role == Role::Reader)
}

fn no_copy(error: NodeError) -> Problem {
    match error {
        NodeError::NotFound { .. } => {
            let hint = "ask a member that is no reader; one that has just joined gets its copy in a moment";
            Problem::new("not_found", "this node has no copy of critical state, and so no audit").hint(hint)
        }
        error => error.into(),
    }
}
