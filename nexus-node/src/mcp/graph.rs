//! The graph profile: the graph of the memory with the tools of a memory server that many agents know.
//!
//! Its tools have the names, schemas and answers of that server (npm `@modelcontextprotocol/server-memory`), so it can
//! replace it. The graph itself is a room of its own, [`graph`](crate::graph).
//!
//! | room | content |
//! |---|---|
//! | `shape` | the shapes of arguments, and the errors for other shapes |
//! | `tools` | their descriptions |
//! | `server` | their answers |
//! | `jsonl` | the graph as lines, in and out |

pub(super) mod jsonl;
mod server;
mod shape;
mod tools;

pub(super) use self::server::GraphServer;
#[cfg(feature = "testing")]
pub(super) use self::server::{listed, takes};

use crate::graph::GraphError;
use crate::problem::Problem;

impl From<GraphError> for Problem {
    fn from(error: GraphError) -> Self {
        match error {
            GraphError::Node(error) => error.into(),
            // in the words of the memory server
            GraphError::NoEntity(name) => Self::new("not_found", format!("Entity with name {name} not found")),
        }
    }
}
