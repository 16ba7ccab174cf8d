use std::io::Write;

use clap::Args;
use nexus_node::api::Problem;

use crate::client::query;
use crate::output::count;
use crate::session::Session;

/// Write all memories to stdout as JSON Lines
#[derive(Debug, Args)]
pub(crate) struct Export {
    /// Of one space [default: all readable ones]
    #[arg(long)]
    space: Option<String>,
}

impl Export {
    /// Stdout carries the memories themselves, with and without `--json`; the count is for people.
    pub(crate) fn run(self, session: &Session) -> Result<(), Problem> {
        let client = session.client()?.streaming();
        let progress = session.printer.progress("memories", None);
        let mut exported = 0_u64;
        let mut lines = Vec::new();
        for line in client.lines(&format!("/v1/export{}", query(&[("space", self.space.as_deref())])), &[])? {
            // Writing to memory does not fail.
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
