//! Measures this machine: what the node does beside what the machine can do at all.

mod api;
mod client;
mod floor;
mod idle;
mod latency;
mod mcp;
mod recall;
mod rows;
mod scale;
mod stage;
mod sync;
mod words;

use clap::{Args, ValueEnum};
use nexus_node::api::Problem;

use self::rows::Row;
use crate::output::{Printer, Style, Table};
use crate::session::Session;

/// Measure this machine against its own floors
///
/// Nodes are made in a temporary directory and talk over loopback. Each figure stands beside a
/// floor of the same run (what the disk, the processor or the loopback can do at all), since
/// machines differ and the same one is not always equally fast: ratios travel, seconds do not.
#[derive(Debug, Args)]
pub(crate) struct Bench {
    /// What to measure [default: all of it]
    #[arg(value_enum)]
    what: Vec<What>,
    /// How long the load of `sync` lasts, in seconds
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=3_600))]
    seconds: u64,
    /// How many memories `scale` compares with a thousand, and `recall` searches
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(2_000..=10_000_000))]
    records: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum What {
    /// Memories a second that two nodes write, replicate and can read, 64 callers at once
    Sync,
    /// From a single write to its sight on the other node
    Latency,
    /// Memory, processor and start of a node with two peers and nothing to do
    Idle,
    /// Start, update and a fresh member, with many memories
    Scale,
    /// Questions of one to four words over many memories, beside tantivy alone
    Recall,
    /// The HTTP API: reads beside a bare route, writes and an import
    Api,
    /// The tools of agents: recall beside the HTTP route, and one more entity in a large graph
    Mcp,
}

impl Bench {
    pub(crate) fn run(self, session: &Session) -> Result<(), Problem> {
        let _log = session.log("error", nexus_node::config::LogFormat::Text);
        if cfg!(debug_assertions) {
            session.printer.warning("this is a debug build: its figures mean nothing", Some("build with --release"));
        }
        let all = [What::Sync, What::Latency, What::Idle, What::Scale, What::Recall, What::Api, What::Mcp];
        let wanted = if self.what.is_empty() { &all[..] } else { &self.what };
        let runtime = Session::runtime()?;
        let mut rows = Vec::new();
        for what in wanted {
            rows.extend(match what {
                What::Sync => runtime.block_on(sync::run(&session.printer, self.seconds)),
                What::Latency => runtime.block_on(latency::run(&session.printer)),
                What::Idle => idle::run(&session.printer),
                What::Scale => runtime.block_on(scale::run(&session.printer, self.records)),
                What::Recall => runtime.block_on(recall::run(&session.printer, self.records)),
                What::Api => runtime.block_on(api::run(&session.printer)),
                What::Mcp => runtime.block_on(mcp::run(&session.printer)),
            }?);
        }
        session.printer.answer(&rows, || text(&rows, &session.printer))
    }
}

fn text(rows: &[Row], printer: &Printer) -> String {
    let mut table = Table::new(["BENCH", "FIGURE", "MEASURED", "ASKED", "FLOOR", "RATIO"]);
    for row in rows {
        let asked = row.asked.as_ref().map_or_else(String::new, ToString::to_string);
        let style = match row.holds() {
            None => None,
            Some(true) => Some(Style::Good),
            Some(false) => Some(Style::Bad),
        };
        let floor = row
            .floor
            .as_ref()
            .map_or_else(String::new, |floor| format!("{} {}", rows::number(floor.value), floor.name));
        let ratio = row.ratio().map_or_else(String::new, |ratio| format!("{ratio:.2}"));
        table.row([
            (row.bench.to_owned(), Some(Style::Bold)),
            (row.figure.clone(), None),
            (format!("{} {}", rows::number(row.value), row.unit), style),
            (asked, None),
            (floor, Some(Style::Dim)),
            (ratio, Some(Style::Dim)),
        ]);
    }
    table.show(printer)
}
