use clap::Args;
use nexus_client::wire;
use nexus_node::api::Problem;

use crate::output::{Printer, Style, Table, moment, short_did};
use crate::session::CliSession;

/// List the other members, as this node sees them
#[derive(Debug, Args)]
pub(crate) struct Peers;

impl Peers {
    pub(crate) fn run(self, session: &CliSession) -> Result<(), Problem> {
        let peers: Vec<wire::Peer> = session.client()?.get("/v1/peers")?;
        session.printer.answer(&peers, || text(&peers, &session.printer))
    }
}

fn text(peers: &[wire::Peer], printer: &Printer) -> String {
    if peers.is_empty() {
        return "no other members yet; `nexus-node invite` makes a ticket for one".to_owned();
    }
    let mut table = Table::new(["NAME", "DID", "STATE", "RTT", "PATH", "SYNCED", "LAST SEEN"]);
    for peer in peers {
        let style = match peer.state.as_str() {
            "up" => Style::Good,
            "suspect" => Style::Odd,
            _ => Style::Bad,
        };
        let state = match peer.cause.as_deref().filter(|_| peer.state != "up") {
            Some(cause) => format!("{} ({cause})", peer.state),
            None => peer.state.clone(),
        };
        let synced = match (peer.synced, peer.behind) {
            (true, _) => "yes".to_owned(),
            // Its entries are unknown while it is away.
            (false, 0) => "-".to_owned(),
            (false, behind) => format!("lacks {behind}"),
        };
        table.row([
            (peer.name.clone().unwrap_or_else(|| "-".to_owned()), Some(Style::Bold)),
            (short_did(&peer.did), None),
            (state, Some(style)),
            (peer.rtt_ms.map_or_else(|| "-".to_owned(), |rtt| format!("{rtt:.1} ms")), None),
            (peer.path.clone().unwrap_or_else(|| "-".to_owned()), None),
            (synced, None),
            (peer.last_seen.as_deref().map_or_else(|| "-".to_owned(), moment), None),
        ]);
    }
    table.show(printer)
}
