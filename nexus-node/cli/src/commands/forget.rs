use clap::Args;
use nexus_client::wire;
use nexus_node::api::Problem;
use serde::Serialize;

use crate::client::{Client, escape};
use crate::output::{first_line, sane};
use crate::session::CliSession;

/// The fewest characters of an id: a slip of the hand must not fit another memory.
const ID_CHARS_MIN: usize = 8;
/// The fewest letters that are the beginning of an id at all.
const LETTERS_MIN: usize = 4;
/// The columns of the text that is shown.
const COLUMNS: usize = 60;

/// Remove a memory on all nodes, for good
#[derive(Debug, Args)]
pub(crate) struct Forget {
    /// Its id, at least 8 characters of it, or its key
    id: String,
    /// Do not ask
    #[arg(long)]
    yes: bool,
    /// Write it again, under a new id
    #[arg(long)]
    undo: bool,
    /// With --undo: write it although it looks like a secret
    #[arg(long, requires = "undo")]
    allow_secret: bool,
}

/// The memory that is gone.
#[derive(Serialize)]
struct Gone {
    /// The id as it was given.
    id: String,
    forgotten: bool,
    text: String,
    author: String,
}

/// The memory that is there again.
#[derive(Serialize)]
struct Back {
    id: String,
    /// The id before it was forgotten.
    was: Option<String>,
    forgotten: bool,
    text: String,
    author: String,
}

impl Forget {
    /// Shows what it takes, and asks on a terminal.
    pub(crate) fn run(self, session: &CliSession) -> Result<(), Problem> {
        let short = self.id.chars().count() < ID_CHARS_MIN;
        let too_short = || {
            let problem = Problem::new("invalid", format!("an id has at least {ID_CHARS_MIN} characters here"));
            Err(problem.hint("`nexus-node list` shows the ids"))
        };
        if short && self.undo {
            return too_short();
        }
        let client = session.client()?;
        if self.undo {
            return self.undo(&client, session);
        }
        let memory: wire::Memory = client.get(&format!("/v1/memories/{}", escape(&self.id)))?;
        // a key is whole, however short it is
        if short && self.id.len() >= LETTERS_MIN && memory.id.starts_with(&self.id.to_lowercase()) {
            return too_short();
        }
        let by = memory.author_name.as_deref().unwrap_or(&memory.author);
        let shown = format!("\"{}\" by {}", first_line(&memory.text, COLUMNS), sane(by));
        if !self.yes && session.printer.asks() {
            session.printer.confirm(&format!("{shown} goes on all nodes, whatever is edited elsewhere meanwhile."))?;
        }
        let forgotten: wire::Forgotten = client.delete(&format!("/v1/memories/{}", escape(&memory.id)))?;
        let gone = Gone {
            id: self.id,
            forgotten: forgotten.forgotten,
            text: memory.text.clone(),
            author: memory.author.clone(),
        };
        session.printer.answer(&gone, || format!("forgot {}: {shown}", memory.id))?;
        session.printer.note(&format!("`nexus-node forget --undo {}` writes it again", memory.id));
        Ok(())
    }

    fn undo(&self, client: &Client, session: &CliSession) -> Result<(), Problem> {
        let path = format!("/v1/memories/{}/unforget", escape(&self.id));
        let memory: wire::Memory = client.post(&path, &wire::Unforget { allow_secret: self.allow_secret })?;
        let back = Back {
            id: memory.id.clone(),
            was: memory.was.clone(),
            forgotten: false,
            text: memory.text.clone(),
            author: memory.author.clone(),
        };
        let text = first_line(&memory.text, COLUMNS);
        session.printer.answer(&back, || format!("wrote it again as {}: \"{text}\"", memory.id))
    }
}
