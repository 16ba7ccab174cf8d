//! The stdio server: relays messages from stdin to the node's `/mcp`, and the answers to stdout.
//!
//! It keeps no state about the node. The node may start again between two requests, even on another
//! port: each request asks the data directory for the node's address.

pub mod lines;
pub(super) mod node;
mod relay;
mod relay_state;
mod session;
mod subscription;
mod wire;

use clap::{Args, ValueEnum};
use nexus_node::api::Problem;
use nexus_node::datadir::DataDir;

use self::node::Home;
use self::relay::Relay;
use self::session::Session;
use super::connect::agent_program::Program;
use crate::problems::data_dir_problem;
use crate::session::CliSession;

/// Serve MCP on stdin and stdout, backed by the node
#[derive(Debug, Args)]
pub(crate) struct Mcp {
    /// The tools: the memory, the memory and tasks, or a knowledge graph over the memory
    #[arg(long, value_enum, default_value_t = Profile::Core)]
    profile: Profile,
    /// The project, in place of that of the client's directory; memories written here are tagged with it
    #[arg(long, value_name = "P")]
    project: Option<String>,
    /// Serve all projects alike, whatever the client's directory is
    #[arg(long, conflicts_with = "project")]
    no_project: bool,
    /// The program that calls: use its token of this machine, and make one if there is none
    #[arg(long = "for", value_name = "PROGRAM", value_enum)]
    program: Option<Program>,
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
        let is_graph = self.profile == Profile::Graph;
        let home = Home::new(session, !self.no_start)?.with_token_of(self.program.map(Program::name), session);
        let (route, session_of) = (self.route(), Session::new(self.project, !self.no_project && !is_graph));
        let runtime = CliSession::runtime()?;
        let result = runtime.block_on(async {
            if self.no_start {
                home.check().await?;
            }
            Relay::new(home, route, session_of, is_graph).run().await
        });
        // A read of stdin cannot be cancelled, and nobody waits for it.
        runtime.shutdown_background();
        result
    }

    /// The route of this server.
    fn route(&self) -> String {
        let route = match self.profile {
            Profile::Core => "/mcp",
            Profile::Full => "/mcp/full",
            Profile::Graph => "/mcp/graph",
        };
        if self.strict { format!("{route}?strict=true") } else { route.to_owned() }
    }
}
