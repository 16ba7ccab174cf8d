//! The author that a recall asks for: a member, or else a program.

use nexus_crdt::AgentName;
use nexus_identity::Did;

use crate::error::NodeError;
use crate::memory::read::Reader;
use crate::memory::{ListQuery, Memory};

/// The newest memories among which a program is known by its name.
const KNOWN_AMONG: usize = 1_000;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Author {
    Member(Did),
    /// A program, by its own name.
    Agent(AgentName),
}

impl Author {
    /// The author of a DID or name. A name that a member has means the member.
    pub(super) fn of(name: &str, reader: &Reader<'_>) -> Result<Self, NodeError> {
        match (reader.member(name), name.parse()) {
            (Err(NodeError::NotFound { .. }), Ok(agent)) => Ok(Self::Agent(agent)),
            (member, _) => member.map(Self::Member),
        }
    }

    /// The member, by which the indexes filter. They know no programs.
    pub(super) fn member(author: Option<&Self>) -> Option<Did> {
        match author {
            Some(Self::Member(did)) => Some(*did),
            _ => None,
        }
    }

    pub(super) fn agent(author: Option<&Self>) -> Option<&AgentName> {
        match author {
            Some(Self::Agent(agent)) => Some(agent),
            _ => None,
        }
    }

    pub(super) fn wrote(&self, memory: &Memory) -> bool {
        match self {
            Self::Member(did) => memory.author == *did,
            Self::Agent(agent) => memory.agent.as_ref() == Some(agent),
        }
    }

    /// Refuses a program of which there is nothing lately: most likely the name is misspelled.
    pub(super) fn check_known(&self, name: &str, reader: &Reader<'_>) -> Result<(), NodeError> {
        let newest = reader.list(&ListQuery::newest().limit(KNOWN_AMONG))?.items;
        if newest.iter().any(|memory| self.wrote(memory)) { Ok(()) } else { reader.member(name).map(drop) }
    }
}
