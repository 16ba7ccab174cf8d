//! From spans of `tracing` to finished ones.
//!
//! A request's span, and one of MCP whose client says so, brings its own ids (`trace_id`, `span_id`,
//! `parent_id`: see the API's `trace`); that of an entry's arrival says its trace and parent;
//! what lies within it belongs to the same trace. Spans outside of any request are nobody's trace and
//! are not sent.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use serde_json::Value;
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id, Record};
use tracing::{Metadata, Subscriber};
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::layer::{Context, Layer};
use tracing_subscriber::registry::LookupSpan;

use super::Otlp;
use super::queue::{Finished, Kind, Queue};

/// How many attributes a span may have.
const ATTRIBUTES_MAX: usize = 16;
/// How long the text of one may be, in characters.
const TEXT_CHARS_MAX: usize = 256;
/// The methods that go by their name; any other one is `_OTHER`, so that callers cannot invent names.
const METHODS: [&str; 9] = ["GET", "POST", "PATCH", "PUT", "DELETE", "HEAD", "OPTIONS", "CONNECT", "TRACE"];

/// Follows the spans of this program.
struct Spans(Arc<Queue>);

/// What follows spans, whatever the log shows of them.
pub(crate) fn layer<S>(otlp: &Otlp) -> impl Layer<S> + use<S>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    let ours = |metadata: &Metadata<'_>| metadata.is_span() && metadata.target().starts_with("nexus_");
    Spans(otlp.queue.clone()).with_filter(filter_fn(ours).with_max_level_hint(LevelFilter::INFO))
}

/// A span that goes on.
struct Open {
    trace: u128,
    span: u64,
    parent: Option<u64>,
    sampled: bool,
    kind: Kind,
    begun: (SystemTime, Instant),
    fields: Fields,
}

/// What was recorded on a span.
#[derive(Default)]
struct Fields {
    trace: Option<u128>,
    span: Option<u64>,
    parent: Option<u64>,
    /// What the caller decided; who says nothing is followed.
    sampled: Option<bool>,
    kind: Option<Kind>,
    /// What was asked over MCP, and of which tool.
    called: Option<String>,
    tool: Option<String>,
    method: Option<String>,
    route: Option<String>,
    status: Option<u64>,
    others: Vec<(&'static str, Value)>,
}

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "trace_id" => self.trace = u128::from_str_radix(value, 16).ok(),
            "span_id" => self.span = u64::from_str_radix(value, 16).ok(),
            "parent_id" => self.parent = u64::from_str_radix(value, 16).ok(),
            "method" => {
                self.method = Some(METHODS.iter().find(|known| **known == value).unwrap_or(&"_OTHER").to_string())
            }
            "otel.kind" => self.kind = (value == "consumer").then_some(Kind::Consumer),
            "route" => self.route = Some(cut(value)),
            "mcp.method.name" => self.called = Some(cut(value)),
            "gen_ai.tool.name" => self.tool = Some(cut(value)),
            name => self.other(name, cut(value).into()),
        }
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        match field.name() {
            "status" => self.status = Some(value),
            name => self.other(name, value.into()),
        }
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.other(field.name(), value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        match field.name() {
            "sampled" => self.sampled = Some(value),
            name => self.other(name, value.into()),
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.record_str(field, &format!("{value:?}"));
    }
}

impl Fields {
    fn other(&mut self, name: &'static str, value: Value) {
        if self.others.len() < ATTRIBUTES_MAX {
            self.others.push((name, value));
        }
    }

    /// The span's name and attributes, by OpenTelemetry's conventions for HTTP and MCP.
    fn described(self, name: &'static str) -> (String, Vec<(&'static str, Value)>) {
        let name = match (&self.method, &self.route, &self.called, &self.tool) {
            (Some(method), Some(route), ..) => format!("{method} {route}"),
            (_, _, Some(called), Some(tool)) => format!("{called} {tool}"),
            (_, _, Some(called), None) => called.clone(),
            _ => name.to_owned(),
        };
        let known = [
            self.called.map(|called| ("mcp.method.name", called.into())),
            self.tool.map(|tool| ("gen_ai.tool.name", tool.into())),
            self.method.map(|method| ("http.request.method", method.into())),
            self.route.map(|route| ("http.route", route.into())),
            self.status.map(|status| ("http.response.status_code", status.into())),
        ];
        (name, known.into_iter().flatten().chain(self.others).collect())
    }
}

fn cut(text: &str) -> String {
    text.chars().take(TEXT_CHARS_MAX).collect()
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Spans {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        let begun = (SystemTime::now(), Instant::now());
        // An id that collides confuses a reader of traces and nobody else.
        let fresh = || {
            let mut random = [0; 8];
            let _ = getrandom::fill(&mut random);
            u64::from_be_bytes(random).max(1)
        };
        let open = if let Some(trace) = fields.trace {
            let (number, kind) = (fields.span.unwrap_or_else(fresh), fields.kind.unwrap_or(Kind::Server));
            let (parent, sampled) = (fields.parent, fields.sampled.unwrap_or(true));
            Open { trace, span: number, parent, sampled, kind, begun, fields }
        } else {
            let around = span.parent().and_then(|around| {
                let extensions = around.extensions();
                extensions.get::<Open>().map(|around| (around.trace, around.span, around.sampled))
            });
            let Some((trace, parent, sampled)) = around else { return };
            let number = fresh();
            let kind = fields.kind.unwrap_or(Kind::Internal);
            Open { trace, span: number, parent: Some(parent), sampled, kind, begun, fields }
        };
        span.extensions_mut().insert(open);
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        if let Some(span) = context.span(id)
            && let Some(open) = span.extensions_mut().get_mut::<Open>()
        {
            values.record(&mut open.fields);
        }
    }

    fn on_close(&self, id: Id, context: Context<'_, S>) {
        let Some(span) = context.span(&id) else { return };
        let Some(open) = span.extensions_mut().remove::<Open>().filter(|open| open.sampled) else { return };
        let failed = open.fields.status.is_some_and(|status| status >= 500);
        let (name, attributes) = open.fields.described(span.name());
        self.0.push(Finished {
            trace: open.trace,
            span: open.span,
            parent: open.parent,
            name,
            kind: open.kind,
            begun: open.begun.0,
            took: open.begun.1.elapsed(),
            attributes,
            failed,
        });
    }
}
