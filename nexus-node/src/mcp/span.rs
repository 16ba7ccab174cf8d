//! A span for every message, within the one of its HTTP request.
//!
//! A client says in a message's metadata which trace it is part of (SEP-414): over stdio there is no
//! header to say it in, and over HTTP the header may be of whoever carries the message. Names are
//! those of OpenTelemetry's conventions for MCP.

use serde_json::Value;
use tracing::Span;

use crate::api::Trace;

/// The methods that go by their name; any other one is `_OTHER`, so that callers cannot invent names.
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

/// The span of a message; `is_tool` says whether there is a tool of a name.
pub(super) fn of(message: &Value, is_tool: impl Fn(&str) -> bool) -> Span {
    let method = message.get("method").and_then(Value::as_str).unwrap_or_default();
    let method = METHODS.iter().find(|known| **known == method).unwrap_or(&"_OTHER");
    let named = message.pointer("/params/name").and_then(Value::as_str);
    let tool = named.filter(|name| *method == "tools/call" && is_tool(name));
    let trace = message.pointer("/params/_meta/traceparent").and_then(Value::as_str).and_then(Trace::going_on);
    tracing::info_span!(
        "mcp",
        mcp.method.name = method,
        gen_ai.tool.name = tool,
        trace_id = trace.map(|trace| tracing::field::display(format!("{:032x}", trace.trace))),
        span_id = trace.map(|trace| tracing::field::display(format!("{:016x}", trace.span))),
        parent_id =
            trace.and_then(|trace| trace.parent).map(|parent| tracing::field::display(format!("{parent:016x}"))),
        sampled = trace.is_some_and(|trace| trace.is_unwanted()).then_some(false),
    )
}
