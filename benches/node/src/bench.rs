//! Measures this machine: the node's figures beside the machine's own.

mod api;
mod auth;
mod backlog;
mod bare;
mod blobs;
mod client;
mod crowd;
mod discovery;
mod documents;
mod erasure;
mod floor;
mod idle;
mod latency;
mod mcp;
mod members;
mod offered;
mod processor;
mod quality;
mod recall;
mod revoked;
mod rows;
mod scale;
mod shut_out;
mod stage;
mod sync;
mod tasks;
mod vectors;
mod words;

use clap::{Args, ValueEnum};
use nexus_node::api::Problem;

pub(crate) use self::documents::Hold;
use self::rows::Row;
use nexus_node_cli::ground::CliSession;
use nexus_node_cli::ground::{Printer, Style, Table};

/// Measure this machine against its own floors
///
/// The nodes are in a temporary directory and talk over loopback. Each figure stands beside a floor of
/// the same run: the speed of the disk, the processor or the loopback. Compare ratios, not seconds:
/// machines differ, and one machine is not always equally fast.
#[derive(Debug, Args)]
pub(crate) struct Bench {
    /// Figures to measure [default: all]
    #[arg(value_enum)]
    what: Vec<Figure>,
    /// Duration of the load of `sync`, in seconds
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=3_600))]
    seconds: u64,
    /// Memories that `scale` compares with a thousand, that `recall` searches, and among which `erasure` erases
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(2_000..=10_000_000))]
    records: u64,
    /// The set that `quality` asks about
    #[arg(long, value_name = "DIR", default_value = quality::SET)]
    set: std::path::PathBuf,
    /// The embedder that `quality` asks, too: an address as of the setting `embedder`, or a model of static vectors
    #[arg(long, value_name = "URL|DIR")]
    embedder: Option<String>,
    /// The model that an embedder at an address is asked for
    #[arg(long, value_name = "NAME", requires = "embedder")]
    embedder_model: Option<String>,
    /// Let `recall` look for vectors, too: random ones of 256 components
    #[arg(long)]
    vectors: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Figure {
    /// Memories a second that two nodes write, replicate and can read, with 64 callers
    Sync,
    /// The time from a single write to its sight on the other node
    Latency,
    /// Memory, processor time and start of an idle node with two peers
    Idle,
    /// Start, update and a fresh member, with many memories
    Scale,
    /// Questions of one to four words over many memories, beside tantivy alone
    Recall,
    /// The HTTP API: reads, their p99 and cores beside a bare route, writes and an import
    Api,
    /// The tools of agents: recall beside the HTTP route, and one more entity in a large graph
    Mcp,
    /// Hello, joining, the token and the page's cookie, each beside the same without a check
    Auth,
    /// The time until a started node is seen, and until a killed one is down; mDNS asks the local network
    Discovery,
    /// The share of questions that recall answers, on a set of memories and questions
    Quality,
    /// Tasks a second from their submission to their end, one at a time and with 64 callers
    Tasks,
    /// A file of 1 GiB and 2,000 small ones, added, fetched from another node and read again
    Blobs,
    /// 10,000 characters typed into a living document until another node shows them
    Typing,
    /// Living documents: typed characters, their room on the disk, a thousand documents, one of 100,000 changes, memory
    Documents,
    /// The answer to an erasure among `--records` memories, and the time until four other members have done the same
    Erasure,
    /// Workers that wait, and one more task behind `--records` that nobody does
    Backlog,
    /// Revocations and forks held, a member shut out, an author taken out, hostile logs, each beside none
    Members,
}

impl Figure {
    const ALL: [Self; 16] = [
        Self::Sync,
        Self::Latency,
        Self::Idle,
        Self::Scale,
        Self::Recall,
        Self::Api,
        Self::Mcp,
        Self::Auth,
        Self::Discovery,
        Self::Tasks,
        Self::Backlog,
        Self::Blobs,
        Self::Typing,
        Self::Documents,
        Self::Erasure,
        Self::Members,
    ];
}

impl Bench {
    pub(crate) fn run(self, session: &CliSession) -> Result<(), Problem> {
        let _log = session.log("error", nexus_node::config::LogFormat::Text);
        if cfg!(debug_assertions) {
            session.printer.warning("this is a debug build: its figures mean nothing", Some("build with --release"));
        }
        let wanted = if self.what.is_empty() { &Figure::ALL[..] } else { &self.what };
        let runtime = CliSession::runtime_of_many()?;
        let embedder = self
            .embedder
            .as_ref()
            .map(|at| vectors::BenchEmbedder { at: at.clone(), model: self.embedder_model.clone() });
        let mut rows = Vec::new();
        for what in wanted {
            rows.extend(match what {
                Figure::Sync => runtime.block_on(sync::run(&session.printer, self.seconds)),
                Figure::Latency => runtime.block_on(latency::run(&session.printer)),
                Figure::Idle => idle::run(&session.printer),
                Figure::Scale => runtime.block_on(scale::run(&session.printer, self.records)),
                Figure::Recall => runtime.block_on(recall::run(&session.printer, self.records, self.vectors)),
                Figure::Api => runtime.block_on(api::run(&session.printer)),
                Figure::Mcp => runtime.block_on(mcp::run(&session.printer)),
                Figure::Auth => runtime.block_on(auth::run(&session.printer)),
                Figure::Discovery => discovery::run(&session.printer, &runtime),
                Figure::Quality => runtime.block_on(quality::run(&session.printer, &self.set, embedder.as_ref())),
                Figure::Backlog => runtime.block_on(backlog::run(&session.printer, self.records)),
                Figure::Blobs => runtime.block_on(blobs::run(&session.printer)),
                Figure::Typing => runtime.block_on(documents::at_once(&session.printer)),
                Figure::Documents => runtime.block_on(documents::run(&session.printer)),
                Figure::Erasure => runtime.block_on(erasure::run(&session.printer, self.records)),
                Figure::Tasks => runtime.block_on(tasks::run(&session.printer, self.seconds)),
                Figure::Members => runtime.block_on(bounded(&session.printer)),
            }?);
        }
        session.printer.answer(&rows, || text(&rows, &session.printer))
    }
}

/// Members are bounded and removable: the price of that for the others.
async fn bounded(printer: &Printer) -> Result<Vec<Row>, Problem> {
    let mut rows = revoked::beside(printer).await?;
    rows.extend(shut_out::run(printer).await?);
    rows.extend(revoked::taken_out(printer).await?);
    rows.extend(offered::run(printer).await?);
    Ok(rows)
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
