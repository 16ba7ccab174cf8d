use std::time::Duration;

use clap::Args;
use nexus_client::wire;
use nexus_node::api::Problem;

use crate::client::{Client, query};
use crate::output::{called, sane};
use crate::session::CliSession;

/// The wait before a starting node is asked again.
const RETRY: Duration = Duration::from_millis(500);

/// Show changes as they arrive, until stopped
#[derive(Debug, Args)]
pub(crate) struct Watch {
    /// The space [default: all readable ones]
    #[arg(long)]
    space: Option<String>,
    /// The `cursor` of an earlier line, to go on after it [default: from now on]
    #[arg(long, value_name = "CURSOR")]
    from: Option<String>,
    /// The kinds of events: memories, members, spaces, tasks, documents, critical, peers, blobs, mode, or all [default:
    /// memories,members,spaces,mode]
    #[arg(long, value_name = "KINDS")]
    kinds: Option<String>,
}

impl Watch {
    /// Prints changes. If the node ends the stream to start again in another mesh, this goes on after
    /// the last change. If the node is gone, the next request fails.
    pub(crate) fn run(self, session: &CliSession) -> Result<(), Problem> {
        let client = session.client()?;
        // without names it is told all the same
        let members: Vec<wire::Member> = client.get("/v1/members").unwrap_or_default();
        let client = client.streaming();
        let mut cursor = self.from;
        loop {
            let asked = (self.space.as_deref(), self.kinds.as_deref());
            match follow(&client, &members, asked, &mut cursor, session) {
                Err(problem) if problem.code == "starting" => std::thread::sleep(RETRY),
                ended => ended?,
            }
        }
    }
}

fn follow(
    client: &Client,
    members: &[wire::Member],
    (space, kinds): (Option<&str>, Option<&str>),
    cursor: &mut Option<String>,
    session: &CliSession,
) -> Result<(), Problem> {
    let path = format!("/v1/events{}", query(&[("space", space), ("kinds", kinds), ("from", cursor.as_deref())]));
    for line in client.lines(&path, &[("accept", "text/event-stream")])? {
        let line = line?;
        // A field of an event. Comments keep the stream alive, and our events have one data line.
        let Some(data) = line.strip_prefix("data:") else { continue };
        let change: wire::Change = serde_json::from_str(data.trim_start())
            .map_err(|error| Problem::new("failed", format!("an event cannot be understood: {error}")))?;
        session.printer.answer(&change, || {
            let wire::Change { kind, id, space, author, key, .. } = &change;
            if kind == "missed" {
                let is_of_log =
                    |of: &String| ["memories", "members", "spaces", "tasks", "documents"].contains(&of.as_str());
                return match change.of.iter().all(is_of_log) {
                    true => "changes were missed, as the store was put back from a copy: read all again".to_owned(),
                    false => format!("events were missed: read again what they tell of ({})", change.of.join(", ")),
                };
            }
            let id = key.as_deref().map_or_else(|| sane(id), sane);
            format!("{kind:<10}  {space}  {id}  by {}", sane(&called(members, author)))
        })?;
        *cursor = Some(change.cursor);
    }
    Ok(())
}
