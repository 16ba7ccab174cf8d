use std::io::Write;

use clap::Args;
use nexus_node::api::Problem;

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
        let mut exported = 0_u64;
        let mut lines = Vec::new();
        for line in client.lines(
            &format!("/v1/export{}", query(&[("space", self.space.as_deref()), ("full", self.full.then_some("true"))])),
            &[],
        )? {
            // Writing to memory cannot fail.
            let _ = writeln!(lines, "{}", line?);
            exported += 1;
            progress.inc(1);
            if lines.len() > 64 << 10 {
                session.printer.raw(&std::mem::take(&mut lines))?;
            }
        }
        session.printer.raw(&lines)?;
        progress.finish_and_clear();
        session.printer.note(&format!("exported {}", count(exported, "memory", "memories")));
        Ok(())
    }
}
