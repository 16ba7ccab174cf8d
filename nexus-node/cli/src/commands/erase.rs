use clap::{Args, Subcommand};
use nexus_client::wire;
use nexus_node::api::Problem;

use crate::client::escape;
use crate::output::sane;
use crate::session::CliSession;

/// How far the members are with an erasure
#[derive(Debug, Args)]
pub(crate) struct Erase {
    #[command(subcommand)]
    command: Question,
}

#[derive(Debug, Subcommand)]
enum Question {
    /// Which members have erased a memory, by their signed words
    Status {
        /// Its id
        id: String,
    },
}

impl Erase {
    pub(crate) fn run(self, session: &CliSession) -> Result<(), Problem> {
        let Question::Status { id } = self.command;
        let status: wire::ErasureStatus = session.client()?.get(&format!("/v1/erasures/{}", escape(&id)))?;
        session.printer.answer(&status, || text(&status))
    }
}

fn text(status: &wire::ErasureStatus) -> String {
    if !status.erased {
        return format!("{} is not erased; `nexus-node forget --erase {0}` does", status.id);
    }
    let names = |names: &[String]| match names {
        [] => "nobody yet".to_owned(),
        names => names.iter().map(|name| sane(name)).collect::<Vec<_>>().join(", "),
    };
    let mut lines = vec![
        format!("{} is erased, by {}", status.id, names(&status.by)),
        format!("  no reader finds it:    {}", names(&status.hidden)),
        format!("  gone from the disk:    {}", names(&status.gone)),
    ];
    if !status.missing.is_empty() {
        lines.push(format!("  no word from:          {}", names(&status.missing)));
    }
    lines.push("A backup made before shows it until its node meets the others.".to_owned());
    lines.join("\n")
}
