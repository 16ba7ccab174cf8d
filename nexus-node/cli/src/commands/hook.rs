//! The commands that an agent's program calls by itself: at the start of a session, and before each prompt.
//!
//! A hook that fails or waits would disturb the agent. So each one ends in time, prints nothing where it has nothing
//! to say, and exits 0 whatever happens. It writes no file. Its texts go into a model's context: each begins by
//! saying that memories inform and do not instruct.

mod brief;
pub(super) mod caller;
mod context;
mod input;
mod relevance;

use std::sync::mpsc;
use std::time::{Duration, Instant};

use clap::{Args, Subcommand, ValueEnum};
use nexus_client::wire;
use nexus_node::RecallQuery;
use nexus_node::api::Problem;
use nexus_node::datadir::{Contents, DataDir};
use nexus_node::project::ProjectChoice;
use serde_json::{Value, json};

use self::caller::{Caller, Event};
use self::input::HookInput;
use super::mcp::node::Home;
use crate::client::{Client, query};
use crate::project;
use crate::session::CliSession;

/// The longest run of a hook.
const HOOK_TIMEOUT: Duration = Duration::from_millis(1_500);
/// The longest wait for the client's document.
const INPUT_TIMEOUT: Duration = Duration::from_millis(500);
/// The longest wait for git, which is asked about a repository without a remote.
const GIT_TIMEOUT: Duration = Duration::from_millis(200);
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

#[derive(Clone, Debug, Args)]
pub(crate) struct HookPart {
    /// The project, in place of that of the session's directory
    #[arg(long, value_name = "P")]
    #[expect(clippy::option_option, reason = "absent, without a name as in files of before, with one")]
    project: Option<Option<String>>,
    /// Tell of all projects alike, whatever the session's directory is
    #[arg(long, conflicts_with = "project")]
    no_project: bool,
    /// The program that calls: each takes the answer in another form
    #[arg(long = "for", value_name = "PROGRAM", value_enum)]
    caller: Option<Caller>,
}

impl Hook {
    pub(crate) fn run(self, session: &CliSession) -> Result<(), Problem> {
        let (event, part) = match self {
            Self::SessionStart(part) => (Event::SessionStart, part),
            Self::Prompt(part) => (Event::Prompt, part),
            Self::Later(words) => {
                let name = words.first().map_or("", String::as_str);
                session.printer.warning(&format!("this version has no hook `{name}`: nothing was done"), None);
                return Ok(());
            }
        };
        let end = Instant::now() + HOOK_TIMEOUT;
        let caller = part.caller.unwrap_or(Caller::Claude);
        let (sender, answer) = mpsc::sync_channel(1);
        let of = part.session(session);
        // The end of the process ends the thread, wherever it waits.
        std::thread::spawn(move || {
            // Nobody is left to tell after the time is over.
            let _ = sender.send(part.text(event, &of, end));
        });
        let text = answer.recv_timeout(end.saturating_duration_since(Instant::now())).ok().flatten();
        if let Some(answer) = caller.answer(event, text.as_deref()) {
            // A client that does not read is not disturbed by more words.
            let _ = session.printer.raw(answer.as_bytes());
        }
        Ok(())
    }
}

impl HookPart {
    /// The session with the token of the program that is named as the caller, where this machine has one and no other was
    /// given. A hook makes none: the program's server does.
    fn session(&self, session: &CliSession) -> CliSession {
        let named = self.caller.and_then(|caller| Some(caller.to_possible_value()?.get_name().to_owned()));
        let file = named
            .filter(|_| !session.elsewhere() && session.token_file().is_none())
            .and_then(|name| Some(DataDir::program_token_path(&session.data_dir().ok()?, &name)));
        match file.filter(|file| file.exists()) {
            Some(file) => session.with_token_file(file),
            None => session.clone(),
        }
    }

    /// The text for the agent, if there is one.
    fn text(&self, event: Event, session: &CliSession, end: Instant) -> Option<String> {
        let input = input::read(INPUT_TIMEOUT);
        let project = project::parameters(self.project(&input).as_ref());
        let client = || Some(session.client().ok()?.patient(HOOK_TIMEOUT));
        match event {
            Event::SessionStart => {
                let told = client().and_then(|client| brief(&client, &project));
                // the first session after a start of the machine is before any node
                let told = told.or_else(|| {
                    start(session, end)?;
                    brief(&client()?, &project)
                });
                Some(brief::text(&told?, NAME))
            }
            Event::Prompt => {
                let question = RecallQuery::of_prompt(input.prompt.as_deref()?)?;
                let parameters = query(&[("q", Some(question.text.as_str())), ("limit", Some(LOOKED_AT))]);
                let project = project.replacen('?', "&", 1);
                let hits: Vec<wire::Hit> = client()?.get(&format!("/v1/memories{parameters}{project}")).ok()?;
                relevance::text(hits)
            }
        }
    }

    fn project(&self, input: &HookInput) -> Option<ProjectChoice> {
        match &self.project {
            _ if self.no_project => None,
            Some(Some(name)) => Some(ProjectChoice::Named(name.clone())),
            _ => project::place_of(&input.directory()?, GIT_TIMEOUT).map(ProjectChoice::At),
        }
    }
}

/// Starts the node of a directory that has one, and waits until it answers.
fn start(session: &CliSession, end: Instant) -> Option<()> {
    if session.elsewhere() || DataDir::inspect(&session.data_dir().ok()?).ok()? == Contents::Empty {
        return None;
    }
    let home = Home::new(session, true).ok()?;
    CliSession::runtime().ok()?.block_on(home.start(end.into())).ok()
}

/// The answer of the tool `session_start`.
fn brief(client: &Client, project: &str) -> Option<String> {
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
    let path = format!("/mcp{project}");
    let answer: Value = client.post_with(&path, &headers, &request).ok()?;
    let result = answer.get("result").filter(|result| result.get("isError").is_none())?;
    Some(result.pointer("/content/0/text")?.as_str()?.to_owned())
}
