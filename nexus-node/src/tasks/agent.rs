//! Workers as callers see them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use nexus_identity::Did;

use super::why::{AgentRest, WhyNot};
use crate::load::Load;

/// The workers of one name at a node.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Agent {
    /// Their name; `None` for those without one.
    pub name: Option<String>,
    /// The member whose node they are at.
    pub node: Did,
    /// Their abilities.
    pub capabilities: BTreeSet<String>,
    /// The number of those that wait for work.
    pub waiting: usize,
    /// The number of tasks that they have.
    pub running: usize,
    /// The load of their machine.
    pub load: Load,
    /// Whether they get work.
    pub health: AgentHealth,
    /// Their rest, if they failed too often. This node gives them no tasks of its own meanwhile.
    pub rest: Option<AgentRest>,
    /// The share of their work that this node was content with, newer work counting more: from 1 down to 0, and 1 without
    /// any. Workers of another node have one together.
    pub reputation: f64,
    /// The labels of their node.
    pub labels: BTreeMap<String, String>,
    /// The JSON schema of the inputs that they take, as JSON, by their own word. Only of workers with a name; one of more than
    /// 4 KiB is not told to other nodes.
    pub input_schema: Option<String>,
    /// The same of their outputs.
    pub output_schema: Option<String>,
}

/// Whether workers get work.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum AgentHealth {
    /// They do.
    #[default]
    Ok,
    /// Their machine is busier than they allow.
    Overloaded,
    /// They failed too often, and rest for a while.
    Failing,
}

impl fmt::Display for AgentHealth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ok => "ok",
            Self::Overloaded => "overloaded",
            Self::Failing => "failing",
        })
    }
}

/// A node that was looked at for a task, or is.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct TaskCandidate {
    /// The member whose node it is.
    pub node: Did,
    /// Its points, of about 100; `None` if it could not get the task.
    pub score: Option<f64>,
    /// The points by part; those without a part in it are left out.
    pub parts: Vec<(&'static str, f64)>,
    /// The reason for which it does not get the task.
    pub why_not: Option<WhyNot>,
}

impl Agent {
    pub(super) fn new(node: Did, name: &str) -> Self {
        let name = (!name.is_empty()).then(|| name.to_owned());
        let (load, health, labels) = (Load::default(), AgentHealth::Ok, BTreeMap::new());
        let (capabilities, input_schema, output_schema) = (BTreeSet::new(), None, None);
        Self {
            name,
            node,
            capabilities,
            waiting: 0,
            running: 0,
            load,
            health,
            rest: None,
            reputation: 1.0,
            labels,
            input_schema,
            output_schema,
        }
    }
}
