//! Logs: to stderr or to a file, with a filter that can change while the program runs.

mod file;

use std::io::{self, IsTerminal};

use nexus_node::api::Problem;
use nexus_node::config::LogFormat;
use tracing_subscriber::filter::EnvFilter;
use tracing_subscriber::fmt::writer::BoxMakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, Registry, fmt, reload};

pub(crate) use self::file::LogFile;
use crate::otlp::{self, Otlp};

/// The handle to the log's filter.
#[derive(Clone, Debug)]
pub struct Log {
    filter: reload::Handle<EnvFilter, Registry>,
    /// Whether a flag or the environment set the filter; the configuration then does not change it.
    fixed: bool,
}

impl Log {
    /// Starts logging, to stderr without a file. Spans go to `otlp`, too, whatever the log shows.
    pub(crate) fn start(
        filter: &str,
        fixed: bool,
        format: LogFormat,
        file: Option<LogFile>,
        otlp: Option<&Otlp>,
    ) -> Self {
        let filter = parse(filter).unwrap_or_else(|_| EnvFilter::new("info"));
        let (filter, handle) = reload::Layer::new(filter);
        let plain = file.is_some() || std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let colour = !plain && io::stderr().is_terminal();
        let writer = file.map_or_else(|| BoxMakeWriter::new(io::stderr), BoxMakeWriter::new);
        let lines = match format {
            LogFormat::Text => fmt::layer().with_writer(writer).with_ansi(colour).boxed(),
            LogFormat::Json => fmt::layer().with_writer(writer).json().boxed(),
        };
        // A second subscriber is refused; the first one stays.
        let lines = lines.with_filter(filter);
        let _ = tracing_subscriber::registry().with(lines).with(otlp.map(otlp::layer)).try_init();
        Self { filter: handle, fixed }
    }

    /// Changes the filter at once.
    pub(crate) fn change(&self, filter: &str) -> Result<(), Problem> {
        let filter = parse(filter)?;
        if !self.fixed {
            self.filter.reload(filter).map_err(|error| Problem::new("internal", error.to_string()))?;
        }
        Ok(())
    }
}

/// A filter in the notation of `tracing`.
pub(crate) fn parse(filter: &str) -> Result<EnvFilter, Problem> {
    // rmcp logs each request three times, and the API logs it already. openraft logs an absent voter as
    // an error several times a second; its fatal errors end the node, which gives the reason.
    let mut quiet = filter.to_owned();
    for (loud, most) in [("rmcp", "error"), ("openraft", "off")] {
        if !filter.is_empty() && !filter.contains(loud) {
            quiet = format!("{loud}={most},{quiet}");
        }
    }
    EnvFilter::try_new(quiet).map_err(|error| {
        Problem::new("invalid", format!("log cannot be {filter:?}: {error}"))
            .hint("for example `warn,nexus_node=debug`")
    })
}
