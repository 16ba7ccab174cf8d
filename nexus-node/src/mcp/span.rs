//! A span for every message, within the one of its HTTP request.
//!
//! A client names a message's trace in its metadata (SEP-414). Over stdio there is no header for it,
//! and over HTTP the header may be of a proxy. Names are those of OpenTelemetry's conventions for MCP.

use axum::http::request::Parts;
use rmcp::RoleServer;
use rmcp::service::RequestContext;
use serde_json::Value;
use tracing::Span;

use crate::api::Trace;
use crate::trace::{TraceParent, current, within};

/// The methods with a name in spans. Any other one is `_OTHER`, so callers cannot invent names.
const METHODS: &[&str] = &[
    "initialize",
    "ping",
    "server/discover",
    "subscriptions/listen",
    "tools/list",
    "tools/call",
    "resources/list",
    "resources/templates/list",
    "resources/read",
    "notifications/initialized",
    "notifications/cancelled",
];

/// The span of a message, and the trace context for its entries. `is_tool` tells whether a tool of a
/// name exists.
pub(super) fn of(message: &Value, is_tool: impl Fn(&str) -> bool) -> (Span, Option<TraceParent>) {
    let method = message.get("method").and_then(Value::as_str).unwrap_or_default();
    let method = METHODS.iter().find(|known| **known == method).unwrap_or(&"_OTHER");
    let named = message.pointer("/params/name").and_then(Value::as_str);
    let tool = named.filter(|name| *method == "tools/call" && is_tool(name));
    let trace = message.pointer("/params/_meta/traceparent").and_then(Value::as_str).and_then(Trace::going_on);
    let parent = trace.map_or_else(current, |trace| trace.for_entries());
    let span = tracing::info_span!(
        "mcp",
        mcp.method.name = method,
        gen_ai.tool.name = tool,
        trace_id = trace.map(|trace| tracing::field::display(format!("{:032x}", trace.trace))),
        span_id = trace.map(|trace| tracing::field::display(format!("{:016x}", trace.span))),
        parent_id =
            trace.and_then(|trace| trace.parent).map(|parent| tracing::field::display(format!("{parent:016x}"))),
        sampled = trace.is_some_and(|trace| trace.is_unwanted()).then_some(false),
    );
    (span, parent)
}

/// Runs a tool's work inside of its message's trace. rmcp does it in a task of its own, with the data
/// of the request.
pub(super) async fn traced<F: Future>(context: &RequestContext<RoleServer>, work: F) -> F::Output {
    within(part::<TraceParent>(context), work).await
}

/// Something that its HTTP request has for a tool.
pub(super) fn part<T: Clone + Send + Sync + 'static>(context: &RequestContext<RoleServer>) -> Option<T> {
    context.extensions.get::<Parts>().and_then(|parts| parts.extensions.get::<T>().cloned())
}
