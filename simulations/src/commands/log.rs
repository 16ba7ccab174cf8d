//! The log of simulated nodes, on stderr.

use std::fmt;

use nexus_sim::hooks;
use tracing_subscriber::filter::EnvFilter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::FormatTime;

/// Shows from now on what the nodes log, as far as the filter lets it through.
pub(super) fn show(filter: &str) -> Result<(), String> {
    let filter = EnvFilter::try_new(filter).map_err(|error| format!("--log {filter}: {error}"))?;
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_timer(Place).with_ansi(false);
    log.with_writer(std::io::stderr).try_init().map_err(|error| format!("--log: {error}"))
}

/// The virtual time in milliseconds, and the node: the same columns as those of a trace.
struct Place;

impl FormatTime for Place {
    fn format_time(&self, out: &mut Writer<'_>) -> fmt::Result {
        write!(out, "{:>10}", hooks::elapsed().as_millis())?;
        match hooks::node() {
            Some(node) => write!(out, " n{node}"),
            None => out.write_str(" - "),
        }
    }
}
