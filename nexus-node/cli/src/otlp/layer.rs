//! From spans of `tracing` to finished ones.
//!
//! Some spans bring their own ids (`trace_id`, `span_id`, `parent_id`: see the API's `trace`): a
//! request's, and an MCP message's if its client names a trace. The span of an entry's arrival names
//! its trace and parent. Spans within these belong to the same trace. Other spans belong to no trace
//! and are not sent.

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

/// The most attributes of a span.
const ATTRIBUTES_MAX: usize = 16;
/// The longest text of an attribute, in characters.
const TEXT_CHARS_MAX: usize = 256;
/// The methods with a name in spans. Any other one is `_OTHER`, so callers cannot invent names.
const METHODS: [&str; 9] = ["GET", "POST", "PATCH", "PUT", "DELETE", "HEAD", "OPTIONS", "CONNECT", "TRACE"];

/// Collects the spans of this program.
struct Spans(Arc<Queue>);

/// The layer that collects spans, whatever the log shows.
pub(crate) fn layer<S>(otlp: &Otlp) -> impl Layer<S> + use<S>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    let ours = |metadata: &Metadata<'_>| metadata.is_span() && metadata.target().starts_with("nexus_");
    Spans(otlp.queue.clone()).with_filter(filter_fn(ours).with_max_level_hint(LevelFilter::INFO))
}

/// A span that has not ended.
struct Open {
    trace: u128,
    span: u64,
    parent: Option<u64>,
    sampled: bool,
    kind: Kind,
    begun: (SystemTime, Instant),
    fields: Fields,
}

/// The recorded fields of a span.
#[derive(Default)]
struct Fields {
    trace: Option<u128>,
    span: Option<u64>,
    parent: Option<u64>,
    /// The caller's decision about recording; without one the span is recorded.
    sampled: Option<bool>,
    kind: Option<Kind>,
    /// The MCP method, and its tool.
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
        // Colliding ids confuse a reader of traces at most.
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
