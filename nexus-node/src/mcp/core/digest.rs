//! The digest for an agent's start: its identity here, the state of the mesh, the latest memories.

use serde_json::{Value, json};

use super::arguments::SessionStart;
use super::shown::Shown;
use super::{is_of_project, name_or_did, project_tag};
use crate::brain::is_words;
use crate::mcp::agent::Agent;
use crate::mcp::answer::{Refusal, refused};
use crate::mcp::graph::is_graph_kind;
use crate::{Brain, ListQuery, Memory, Node, NodeError};

/// The most memories searched for those of a project.
const LOOKED_AT_MAX: usize = 2_000;
/// The most memories read at once.
const PAGE: usize = 100;
/// The most spaces named.
const SPACES_MAX: usize = 20;

pub(super) async fn digest(
    node: &Node,
    agent: &Agent,
    project: Option<String>,
    asked: &SessionStart,
) -> Result<Value, Refusal> {
    let (limit, mut budget) = (asked.limit()?, asked.budget()?);
    let status = node.status().await;
    let members = node.members();
    let spaces = node.brain().spaces().await.map_err(refused)?;
    let behind = status
        .behind
        .iter()
        .map(|behind| json!({ "name": name_or_did(behind.name.as_deref(), &behind.did), "entries": behind.entries }));
    let warnings = status.warnings.iter().map(|warning| format!("{} ({})", warning.message, warning.hint));
    let mut answer = json!({
        "you": {
            "agent": agent.name(),
            "node": status.name,
            "author": status.did.to_string(),
            "project": project,
        },
        "mesh": {
            "did": status.mesh_did.to_string(),
            "members": members.len(),
            "peers_up": status.peers,
            "behind": behind.collect::<Value>(),
            "offline": status.offline,
            "member": status.member,
            "warnings": warnings.collect::<Value>(),
        },
        "spaces": spaces.iter().take(SPACES_MAX).map(|space| {
            json!({ "space": space.space, "memories": space.records })
        }).collect::<Value>(),
    });
    budget.take(answer.to_string().chars().count());

    let (brain, after) = (node.brain(), asked.cursor.clone());
    let Recent { memories, end } =
        brain.reading(move |brain| recent(brain, project.as_deref(), limit + 1, after)).await?;
    let (mut shown, mut next) = (Vec::new(), end);
    for (memory, place) in memories {
        let memory =
            if shown.len() < limit { Shown::of(memory).into_budget(&mut budget, shown.is_empty()) } else { None };
        let Some(memory) = memory else {
            next = node.brain().reading(move |brain| place.cursor(brain)).await?;
            break;
        };
        shown.push(memory);
    }
    answer["recent"] = shown.into();
    answer["truncated"] = next.is_some().into();
    answer["next"] = next.into();
    Ok(answer)
}

/// The newest memories.
struct Recent {
    memories: Vec<(Memory, Place)>,
    /// The place of older memories, if there may be any.
    end: Option<String>,
}

/// A place in the listing: a number of memories after the start of a page.
struct Place {
    page: Option<String>,
    index: usize,
}

impl Place {
    /// The cursor of a page that starts here.
    fn cursor(self, brain: &Brain) -> Result<Option<String>, NodeError> {
        match self.index {
            0 => Ok(self.page),
            index => {
                Ok(brain.list_blocking(&ListQuery { limit: index, after: self.page, ..ListQuery::default() })?.next)
            }
        }
    }
}

/// The newest memories of a project and of none, with the place of older ones. Entities and relations
/// of the graph are left out, and so are words that mean the same.
fn recent(brain: &Brain, project: Option<&str>, limit: usize, mut after: Option<String>) -> Result<Recent, NodeError> {
    let tag = project.map(project_tag);
    let of_project = |memory: &Memory| tag.as_deref().is_none_or(|tag| is_of_project(memory, tag));
    let mut memories = Vec::new();
    let mut looked_at = 0;
    loop {
        let page = brain.list_blocking(&ListQuery { limit: PAGE, after: after.clone(), ..ListQuery::default() })?;
        looked_at += page.items.len();
        for (index, memory) in page.items.into_iter().enumerate() {
            if of_project(&memory) && !is_graph_kind(&memory.kind) && !is_words(&memory) && memories.len() < limit {
                memories.push((memory, Place { page: after.clone(), index }));
            }
        }
        after = page.next;
        if after.is_none() || memories.len() >= limit || looked_at >= LOOKED_AT_MAX {
            return Ok(Recent { memories, end: after });
        }
    }
}
