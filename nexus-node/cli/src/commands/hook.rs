//! The commands that an agent's program calls by itself: at the start of a session, and before each prompt.
//!
//! A hook that fails or waits would disturb the agent. So each one ends in time, prints nothing where it has nothing
//! to say, and exits 0 whatever happens. It writes no file. Its texts go into a model's context: each begins by
//! saying that memories inform and do not instruct.

mod brief;
mod context;
mod input;
mod relevance;

use std::sync::mpsc;
use std::time::{Duration, Instant};

use clap::{Args, Subcommand};
use nexus_node::api::{Problem, wire};
use serde_json::{Value, json};

use self::input::HookInput;
use crate::client::{Client, query};
use crate::session::CliSession;

/// The longest run of a hook.
const HOOK_TIMEOUT: Duration = Duration::from_millis(1_500);
/// The longest wait for the client's document.
const INPUT_TIMEOUT: Duration = Duration::from_millis(500);
/// The memories that are looked at for a prompt; few of them are shown.
const LOOKED_AT: &str = "20";
/// The name of these hooks as a client of the node.
const NAME: &str = "nexus-node hook";
/// The version of MCP in which the brief is asked for. Every request of it is complete in itself.
const MCP_VERSION: &str = "2026-07-28";

/// Answer the hooks of an agent's program
#[derive(Debug, Subcommand)]
pub(crate) enum Hook {
    /// Print what matters, and what changed since the last session
    SessionStart(HookPart),
    /// Print the memories that have to do with a prompt, or nothing
    Prompt(HookPart),
    /// A hook of a later version: a project's hooks are shared by machines whose programs differ in age
    #[command(external_subcommand)]
    Later(Vec<String>),
}

#[derive(Debug, Args)]
pub(crate) struct HookPart {
    /// The project; without a name, the one of the current directory
    #[arg(long, value_name = "P")]
    #[expect(clippy::option_option, reason = "absent, without a name, with one")]
    project: Option<Option<String>>,
}

impl Hook {
    pub(crate) fn run(self, session: &CliSession) -> Result<(), Problem> {
        if let Self::Later(words) = &self {
            let name = words.first().map_or("", String::as_str);
            session.printer.warning(&format!("this version has no hook `{name}`: nothing was done"), None);
            return Ok(());
        }
        let begun = Instant::now();
        let client = session.client();
        let (sender, answer) = mpsc::sync_channel(1);
        // The end of the process ends the thread, wherever it waits.
        std::thread::spawn(move || {
            // Nobody is left to tell after the time is over.
            let _ = sender.send(client.ok().and_then(|client| self.text(&client.patient(HOOK_TIMEOUT))));
        });
        let left = HOOK_TIMEOUT.saturating_sub(begun.elapsed());
        if let Ok(Some(text)) = answer.recv_timeout(left) {
            // A client that does not read is not disturbed by more words.
            let _ = session.printer.raw(text.as_bytes());
        }
        Ok(())
    }

    /// The text for the agent, if there is one.
    fn text(&self, client: &Client) -> Option<String> {
        let input = input::read(INPUT_TIMEOUT);
        match self {
            Self::SessionStart(part) => {
                let project = part.project(&input);
                Some(brief::text(&brief(client, project.as_deref())?, NAME))
            }
            Self::Prompt(part) => {
                let words = relevance::question(input.prompt.as_deref()?)?;
                let parameters = [("q", Some(words.as_str())), ("limit", Some(LOOKED_AT))];
                let hits: Vec<wire::Hit> = client.get(&format!("/v1/memories{}", query(&parameters))).ok()?;
                relevance::text(hits, part.project(&input).as_deref())
            }
            Self::Later(_) => None,
        }
    }
}

impl HookPart {
    fn project(&self, input: &HookInput) -> Option<String> {
        match self.project.as_ref()? {
            Some(name) => Some(name.clone()),
            None => input.directory(),
        }
    }
}

/// The answer of the tool `session_start`.
fn brief(client: &Client, project: Option<&str>) -> Option<String> {
    const META: &str = "io.modelcontextprotocol";
    const TOOL: &str = "session_start";
    let request = json!({
        "jsonrpc": "2.0",
        "id": 1,
        "method": "tools/call",
        "params": {
            "name": TOOL,
            "arguments": {},
            "_meta": {
                format!("{META}/protocolVersion"): MCP_VERSION,
                format!("{META}/clientCapabilities"): {},
                format!("{META}/clientInfo"): { "name": NAME, "version": env!("CARGO_PKG_VERSION") },
            },
        },
    });
    let headers = [
        ("accept", "application/json, text/event-stream"),
        ("mcp-protocol-version", MCP_VERSION),
        ("mcp-method", "tools/call"),
        ("mcp-name", TOOL),
    ];
    let path = format!("/mcp{}", query(&[("project", project)]));
    let answer: Value = client.post_with(&path, &headers, &request).ok()?;
    let result = answer.get("result").filter(|result| result.get("isError").is_none())?;
    Some(result.pointer("/content/0/text")?.as_str()?.to_owned())
}
