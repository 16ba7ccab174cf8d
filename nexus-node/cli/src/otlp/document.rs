//! Spans in the JSON encoding of OTLP: ids in hex, 64-bit numbers as text (OTLP 1.x, "JSON Protobuf
//! Encoding").

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use super::queue::Finished;

/// The sender, the same for all spans of a process.
pub(super) fn resource(did: &str, name: &str) -> Value {
    let attributes = [
        ("service.name", "nexus-node"),
        ("service.version", env!("CARGO_PKG_VERSION")),
        ("service.instance.id", did),
        ("nexus.node.name", name),
    ];
    json!({ "attributes": attributes.map(|(key, value)| attribute(key, &value.into())) })
}

/// The body of a request to `/v1/traces`.
pub(super) fn traces(resource: &Value, spans: &[Finished]) -> String {
    let scope = json!({ "name": "nexus-node", "version": env!("CARGO_PKG_VERSION") });
    let spans: Vec<Value> = spans.iter().map(span).collect();
    let spans = json!([{ "scope": scope, "spans": spans }]);
    json!({ "resourceSpans": [{ "resource": resource, "scopeSpans": spans }] }).to_string()
}

/// The number of spans that the collector rejected.
pub(super) fn rejected(answer: &Value) -> u64 {
    let count = &answer["partialSuccess"]["rejectedSpans"];
    count.as_u64().or_else(|| count.as_str()?.parse().ok()).unwrap_or(0)
}

fn span(span: &Finished) -> Value {
    const ERROR: u8 = 2;
    let nanos = |time: SystemTime| time.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_nanos().to_string();
    let mut document = json!({
        "traceId": format!("{:032x}", span.trace),
        "spanId": format!("{:016x}", span.span),
        "name": span.name,
        "kind": span.kind as u8,
        "startTimeUnixNano": nanos(span.begun),
        "endTimeUnixNano": nanos(span.begun + span.took),
        "attributes": span.attributes.iter().map(|(key, value)| attribute(key, value)).collect::<Vec<_>>(),
        "status": if span.failed { json!({ "code": ERROR }) } else { json!({}) },
    });
    if let Some(parent) = span.parent {
        document["parentSpanId"] = format!("{parent:016x}").into();
    }
    document
}

fn attribute(key: &str, value: &Value) -> Value {
    let value = match value {
        Value::Bool(value) => json!({ "boolValue": value }),
        Value::Number(value) if value.is_i64() || value.is_u64() => json!({ "intValue": value.to_string() }),
        Value::Number(value) => json!({ "doubleValue": value }),
        Value::String(value) => json!({ "stringValue": value }),
        other => json!({ "stringValue": other.to_string() }),
    };
    json!({ "key": key, "value": value })
}

#[cfg(test)]
mod tests {
    use super::super::queue::Kind;
    use super::*;

    #[test]
    fn a_span_is_written_as_otlp_has_it() {
        let finished = Finished {
            trace: 0x4bf9,
            span: 0xf0,
            parent: Some(0xb7),
            name: "GET /v1/status".to_owned(),
            kind: Kind::Server,
            begun: UNIX_EPOCH + Duration::from_nanos(1_700_000_000_000_000_001),
            took: Duration::from_millis(2),
            attributes: vec![("http.response.status_code", 503.into()), ("http.route", "/v1/status".into())],
            failed: true,
        };
        let written: Value = serde_json::from_str(&traces(&resource("did:key:z6Mk", "laptop"), &[finished])).unwrap();
        let told = &written["resourceSpans"][0]["resource"]["attributes"];
        assert_eq!(told[0], json!({ "key": "service.name", "value": { "stringValue": "nexus-node" } }));
        assert_eq!(told[2], json!({ "key": "service.instance.id", "value": { "stringValue": "did:key:z6Mk" } }));
        let expected = json!({
            "traceId": "00000000000000000000000000004bf9",
            "spanId": "00000000000000f0",
            "parentSpanId": "00000000000000b7",
            "name": "GET /v1/status",
            "kind": 2,
            "startTimeUnixNano": "1700000000000000001",
            "endTimeUnixNano": "1700000000002000001",
            "attributes": [
                { "key": "http.response.status_code", "value": { "intValue": "503" } },
                { "key": "http.route", "value": { "stringValue": "/v1/status" } },
            ],
            "status": { "code": 2 },
        });
        assert_eq!(written["resourceSpans"][0]["scopeSpans"][0]["spans"], json!([expected]));
    }

    #[test]
    fn a_refusal_of_some_is_read_in_either_form_of_a_number() {
        assert_eq!(rejected(&json!({ "partialSuccess": { "rejectedSpans": "3" } })), 3);
        assert_eq!(rejected(&json!({ "partialSuccess": { "rejectedSpans": 3 } })), 3);
        assert_eq!([rejected(&json!({})), rejected(&json!("?"))], [0, 0]);
    }
}
