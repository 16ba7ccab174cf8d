use std::time::Duration;

use clap::Args;
use nexus_node::api::{Problem, wire};

use crate::client::{Client, query};
use crate::output::short_did;
use crate::session::Session;

/// How long a node that is starting again is left alone.
const RETRY: Duration = Duration::from_millis(500);

/// Show changes as they arrive, until stopped
#[derive(Debug, Args)]
pub(crate) struct Watch {
    /// Of one space [default: all readable ones]
    #[arg(long)]
    space: Option<String>,
    /// From here on, a `cursor` of an earlier line [default: from now on]
    #[arg(long, value_name = "CURSOR")]
    from: Option<String>,
}

impl Watch {
    /// When the node ends the stream (it starts again in another mesh), goes on from the last
    /// change seen; when there is no node any more, so says the next request.
    pub(crate) fn run(self, session: &Session) -> Result<(), Problem> {
        let client = session.client()?.streaming();
        let mut cursor = self.from;
        loop {
            match follow(&client, self.space.as_deref(), &mut cursor, session) {
                Err(problem) if problem.code == "starting" => std::thread::sleep(RETRY),
                ended => ended?,
            }
        }
    }
}

fn follow(client: &Client, space: Option<&str>, cursor: &mut Option<String>, session: &Session) -> Result<(), Problem> {
    let path = format!("/v1/events{}", query(&[("space", space), ("from", cursor.as_deref())]));
    for line in client.lines(&path, &[("accept", "text/event-stream")])? {
        let line = line?;
        // A field of an event; comments keep the stream alive, and our events have one data line.
        let Some(data) = line.strip_prefix("data:") else { continue };
        let change: wire::Change = serde_json::from_str(data.trim_start())
            .map_err(|error| Problem::new("failed", format!("an event cannot be understood: {error}")))?;
        session.printer.answer(&change, || {
            let wire::Change { kind, id, space, author, .. } = &change;
            format!("{kind:<10}  {space}  {id}  by {}", short_did(author))
        })?;
        *cursor = Some(change.cursor);
    }
    Ok(())
}
