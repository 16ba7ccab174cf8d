//! The stdio server: relays messages from stdin to the node's `/mcp`, and the answers to stdout.
//!
//! It keeps no state about the node. The node may start again between two requests, even on another
//! port: each request asks the data directory for the node's address.

pub(super) mod lines;
mod node;
mod relay;
mod subscription;
mod wire;

use clap::{Args, ValueEnum};
use nexus_node::api::Problem;
use nexus_node::internals::datadir::DataDir;

use self::node::Home;
use self::relay::Relay;
use crate::session::{CliSession, data_dir_problem};

/// Serve MCP on stdin and stdout, backed by the node
#[derive(Debug, Args)]
pub(crate) struct Mcp {
    /// The tools: the memory, the memory and tasks, or a knowledge graph over the memory
    #[arg(long, value_enum, default_value_t = Profile::Core)]
    profile: Profile,
    /// The project; memories written here are tagged with it
    #[arg(long, value_name = "P")]
    project: Option<String>,
    /// Do not start a node if none is running
    #[arg(long)]
    no_start: bool,
    /// With `--profile graph`: whole answers in the order of creation, however long they are
    #[arg(long)]
    strict: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Profile {
    Core,
    Full,
    Graph,
}

impl Mcp {
    pub(crate) fn run(self, session: &CliSession) -> Result<(), Problem> {
        if self.strict && self.profile != Profile::Graph {
            return Err(Problem::new("usage", "--strict goes with --profile graph"));
        }
        if !session.elsewhere() {
            DataDir::check_owner(&session.data_dir()?).map_err(data_dir_problem)?;
        }
        let path = self.path();
        let home = Home::new(session, !self.no_start)?;
        let runtime = CliSession::runtime()?;
        let result = runtime.block_on(async {
            if self.no_start {
                home.check().await?;
            }
            Relay::new(home, path, self.profile == Profile::Graph).run().await
        });
        // A read of stdin cannot be cancelled, and nobody waits for it.
        runtime.shutdown_background();
        result
    }

    /// The route of this server.
    fn path(&self) -> String {
        let mut query = Vec::new();
        query.extend(self.project.as_deref().map(|project| format!("project={}", escaped(project))));
        query.extend(self.strict.then(|| "strict=true".to_owned()));
        let route = match self.profile {
            Profile::Core => "/mcp",
            Profile::Full => "/mcp/full",
            Profile::Graph => "/mcp/graph",
        };
        if query.is_empty() { route.to_owned() } else { format!("{route}?{}", query.join("&")) }
    }
}

/// A text as a part of a query.
fn escaped(text: &str) -> String {
    let escape = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' => (byte as char).to_string(),
        byte => format!("%{byte:02X}"),
    };
    text.bytes().map(escape).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_project_may_be_called_anything() {
        let mcp = Mcp { profile: Profile::Graph, project: Some("a b&é".into()), no_start: false, strict: true };
        assert_eq!(mcp.path(), "/mcp/graph?project=a%20b%26%C3%A9&strict=true");
    }
}
