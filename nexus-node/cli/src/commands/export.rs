use std::io::Write;

use clap::Args;
use nexus_node::api::Problem;
use serde::Deserialize;

use crate::client::query;
use crate::output::count;
use crate::session::CliSession;

/// Write all memories to stdout as JSON Lines
#[derive(Debug, Args)]
pub(crate) struct Export {
    /// The space [default: all readable ones]
    #[arg(long)]
    space: Option<String>,
    /// With the proof of who wrote each text, for a reader in another mesh
    #[arg(long)]
    full: bool,
}

impl Export {
    /// Writes the memories to stdout, with and without `--json`. The count on stderr is for people.
    pub(crate) fn run(self, session: &CliSession) -> Result<(), Problem> {
        let client = session.client()?.streaming();
        let progress = session.printer.progress("memories", None);
        let (mut exported, mut beginnings) = (0_u64, 0);
        let mut lines = Vec::new();
        for line in client.lines(
            &format!("/v1/export{}", query(&[("space", self.space.as_deref()), ("full", self.full.then_some("true"))])),
            &[],
        )? {
            let line = line?;
            beginnings += u64::from(is_beginning(&line));
            // Writing to memory cannot fail.
            let _ = writeln!(lines, "{line}");
            exported += 1;
            progress.inc(1);
            if lines.len() > 64 << 10 {
                session.printer.raw(&std::mem::take(&mut lines))?;
            }
        }
        session.printer.raw(&lines)?;
        progress.finish_and_clear();
        session.printer.note(&format!("exported {}", count(exported, "memory", "memories")));
        if beginnings > 0 {
            let told = format!(
                "{} not here: each line has the beginning alone",
                count(beginnings, "long text is", "long texts are")
            );
            session
                .printer
                .warning(&told, Some("`nexus-node get ID` brings one from whoever has it; then export again"));
        }
        Ok(())
    }
}

/// Whether a line has the beginning alone of a long text.
fn is_beginning(line: &str) -> bool {
    /// A line that names the blob with the rest.
    #[derive(Deserialize)]
    struct Beginning {
        #[serde(rename = "attachment")]
        _attachment: serde_json::Value,
    }
    // most lines have none, and are not read
    line.contains("\"attachment\":") && serde_json::from_str::<Beginning>(line).is_ok()
}
