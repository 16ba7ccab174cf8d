//! Traces arrive at a collector, and a silent collector delays nothing.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test of the real world, which is to end where it cannot go on"
)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, channel};
use std::time::Instant;

use crate::support::{self, Home, Node, SOON};
use serde_json::{Value, json};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const PARENT: &str = "00f067aa0ba902b7";

/// A collector: takes posts to `/v1/traces`, after a number of refusals.
fn collector(mut refusals: u32) -> (String, Receiver<Value>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let (sender, bodies) = channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = BufReader::new(stream.unwrap());
            while let Some((head, body)) = request(&mut stream) {
                assert!(head.starts_with("POST /v1/traces "), "{head}");
                assert!(head.to_ascii_lowercase().contains("content-type: application/json"), "{head}");
                let status = if refusals > 0 { "503 Service Unavailable" } else { "200 OK" };
                let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 2\r\n\r\n{{}}");
                stream.get_mut().write_all(answer.as_bytes()).unwrap();
                if refusals > 0 {
                    refusals -= 1;
                } else if sender.send(serde_json::from_slice(&body).unwrap()).is_err() {
                    return;
                }
            }
        }
    });
    (address, bodies)
}

fn request(stream: &mut BufReader<TcpStream>) -> Option<(String, Vec<u8>)> {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if stream.read_line(&mut head).ok()? == 0 {
            return None;
        }
    }
    let length = head.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    stream.read_exact(&mut body).ok()?;
    Some((head, body))
}

/// The span of a trace that has this name, once it has arrived.
fn named(bodies: &Receiver<Value>, trace: &str, name: &str) -> Value {
    loop {
        let (span, _) = span(bodies, trace);
        if span["name"] == name {
            return span;
        }
    }
}

/// The span of a trace, once it has arrived, with the resource it came with.
fn span(bodies: &Receiver<Value>, trace: &str) -> (Value, Value) {
    let end = Instant::now() + SOON;
    loop {
        let body = bodies.recv_timeout(end - Instant::now()).unwrap();
        let batch = &body["resourceSpans"][0];
        let spans = batch["scopeSpans"][0]["spans"].as_array().unwrap();
        if let Some(span) = spans.iter().find(|span| span["traceId"] == trace) {
            return (span.clone(), batch["resource"].clone());
        }
    }
}

fn ask(node: &Node, path: &str, traceparent: &str) -> String {
    let (address, bearer) = (node.address(), format!("Bearer {}", node.token()));
    let headers = [("Host", address.as_str()), ("Authorization", &bearer), ("traceparent", traceparent)];
    let answer = node.raw("GET", path, &headers, b"");
    let answered = answer.head.lines().find_map(|line| line.strip_prefix("traceparent: "));
    answered.unwrap().to_owned()
}

fn attribute<'a>(of: &'a Value, key: &str) -> &'a Value {
    let attributes = of["attributes"].as_array().unwrap();
    attributes.iter().find(|attribute| attribute["key"] == key).map(|found| &found["value"]).unwrap_or(&Value::Null)
}

/// promise: Commands and API | Traces go to an OpenTelemetry collector, which slows nothing when it is silent
#[test]
fn the_trace_of_a_caller_goes_on_at_the_collector() {
    let (address, bodies) = collector(0);
    let home = Home::new();
    home.json(&["init"]);
    // Traces do not depend on the log's filter.
    std::fs::write(home.path().join("config.toml"), "log = \"off\"\n").unwrap();
    let node = home.up_with(&["--otlp-endpoint", &address]);

    let unwanted = "1bf92f3577b34da6a3ce929d0e0e4736";
    ask(&node, "/v1/status", &format!("00-{unwanted}-{PARENT}-00"));
    let answered = ask(&node, "/v1/memories/nope", &format!("00-{TRACE}-{PARENT}-01"));
    let (span, resource) = span(&bodies, TRACE);
    assert_eq!(span["parentSpanId"], PARENT, "the caller's span is the parent of ours");
    assert_eq!(span["spanId"], answered[36..52], "it is the span that was answered");
    assert_eq!((&span["name"], &span["kind"]), (&"GET /v1/memories/{id}".into(), &2.into()));
    assert_eq!(attribute(&span, "http.response.status_code")["intValue"], "404");
    assert_eq!(attribute(&span, "http.route")["stringValue"], "/v1/memories/{id}");
    let nanos = |key: &str| span[key].as_str().unwrap().parse::<u128>().unwrap();
    assert!(nanos("startTimeUnixNano") <= nanos("endTimeUnixNano"));
    assert_eq!(attribute(&resource, "service.name")["stringValue"], "nexus-node");
    assert_eq!(attribute(&resource, "service.instance.id")["stringValue"], node.text("did"));

    // Spans that wait at a stop are still sent. Spans that the caller does not record never are.
    let last = "2bf92f3577b34da6a3ce929d0e0e4736";
    ask(&node, "/healthz", &format!("00-{last}-{PARENT}-01"));
    assert_eq!(node.terminate().0, Some(0));
    self::span(&bodies, last);
    assert!(bodies.try_iter().all(|body| !body.to_string().contains(unwanted)));
}

/// promise: Commands and API | Traces go to an OpenTelemetry collector, which slows nothing when it is silent
#[test]
fn the_trace_that_an_agent_names_in_a_message_goes_on_over_http_and_stdio() {
    let (address, bodies) = collector(0);
    let home = Home::new();
    let node = home.up_with(&["--otlp-endpoint", &address]);
    let call = |meta: Value, tool: &str| {
        let params = json!({ "name": tool, "arguments": { "query": "x" }, "_meta": meta });
        json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params }).to_string()
    };
    let named = |trace: &str| json!({ "traceparent": format!("00-{trace}-{PARENT}-01") });

    let (host, bearer) = (node.address(), format!("Bearer {}", node.token()));
    let mut headers =
        vec![("Host", host.as_str()), ("Authorization", bearer.as_str()), ("Content-Type", "application/json")];
    let answer = node.raw("POST", "/mcp", &headers, call(named(TRACE), "recall").as_bytes());
    assert_eq!(answer.status, 200, "{answer:?}");
    let (over_http, _) = span(&bodies, TRACE);
    assert_eq!((&over_http["name"], &over_http["parentSpanId"]), (&"tools/call recall".into(), &PARENT.into()));
    assert_eq!(attribute(&over_http, "gen_ai.tool.name")["stringValue"], "recall");

    let other = "1bf92f3577b34da6a3ce929d0e0e4736";
    home.run_with(&["mcp"], format!("{}\n", call(named(other), "recall")).as_bytes()).ok();
    let (over_stdio, _) = span(&bodies, other);
    assert_eq!((&over_stdio["name"], &over_stdio["parentSpanId"]), (&"tools/call recall".into(), &PARENT.into()));

    // A message without a trace gets a span inside of the request's. An unknown tool is not named in a span.
    let third = "2bf92f3577b34da6a3ce929d0e0e4736";
    let traceparent = format!("00-{third}-{PARENT}-01");
    headers.push(("traceparent", &traceparent));
    node.raw("POST", "/mcp", &headers, call(json!({}), "invented").as_bytes());
    let end = Instant::now() + SOON;
    let mut spans: Vec<Value> = Vec::new();
    while spans.len() < 2 {
        let body = bodies.recv_timeout(end - Instant::now()).unwrap();
        let all = body["resourceSpans"][0]["scopeSpans"][0]["spans"].as_array().unwrap().clone();
        spans.extend(all.into_iter().filter(|span| span["traceId"] == third));
    }
    let of = |name: &str| spans.iter().find(|span| span["name"] == name).unwrap_or_else(|| panic!("{spans:?}"));
    assert_eq!(of("POST /mcp")["parentSpanId"], PARENT);
    assert_eq!(of("tools/call")["parentSpanId"], of("POST /mcp")["spanId"]);
}

/// Writes a memory. Returns the trace and the span of the answer.
fn write(node: &Node, text: &str, traceparent: Option<&str>) -> (String, String) {
    let (address, bearer) = (node.address(), format!("Bearer {}", node.token()));
    let mut headers =
        vec![("Host", address.as_str()), ("Authorization", &bearer), ("Content-Type", "application/json")];
    headers.extend(traceparent.map(|parent| ("traceparent", parent)));
    let body = json!({ "text": text }).to_string();
    let answer = node.raw("POST", "/v1/memories", &headers, body.as_bytes());
    assert_eq!(answer.status, 201, "{answer:?}");
    let answered = answer.head.lines().find_map(|line| line.strip_prefix("traceparent: ")).unwrap();
    (answered[3..35].to_owned(), answered[36..52].to_owned())
}

/// promise: Commands and API | A write and its arrival on other nodes are one trace; bad traces cost nothing
#[test]
fn a_write_and_its_arrival_on_another_node_are_one_trace_also_when_that_was_away() {
    let ((here, at_first), (there, at_second)) = (collector(0), collector(0));
    let (laptop, cloud) = (Home::new(), Home::new());
    let first = laptop.up_with(&["--name", "laptop", "--otlp-endpoint", &here]);
    let ticket = laptop.json(&["invite"])["ticket"].as_str().unwrap().to_owned();
    cloud.json(&["join", &ticket, "--name", "cloud"]);
    let second = cloud.up_with(&["--otlp-endpoint", &there]);
    support::until("the two are connected", || (laptop.json(&["status"])["peers"] == 1).then_some(()));

    let unwanted = "1bf92f3577b34da6a3ce929d0e0e4736";
    write(&first, "of a trace that nobody records", Some(&format!("00-{unwanted}-{PARENT}-00")));
    let (trace, span_here) = write(&first, "with both there", Some(&format!("00-{TRACE}-{PARENT}-01")));
    assert_eq!(trace, TRACE);
    let written = named(&at_first, TRACE, "POST /v1/memories");
    assert_eq!((&written["spanId"], &written["parentSpanId"]), (&span_here.as_str().into(), &PARENT.into()));
    let (arrived, resource) = span(&at_second, TRACE);
    assert_eq!((&arrived["name"], &arrived["kind"]), (&"receive entry".into(), &5.into()));
    assert_eq!(arrived["parentSpanId"], written["spanId"], "the write is the parent of the arrival");
    assert_ne!(arrived["spanId"], written["spanId"]);
    assert_eq!(attribute(&resource, "service.instance.id")["stringValue"], second.text("did"));
    let did = first.text("did");
    for key in ["nexus.entry.author", "nexus.entry.from"] {
        assert_eq!(attribute(&arrived, key)["stringValue"], did, "{key}");
    }
    // With a sync open nothing is gossiped.
    assert_eq!(attribute(&arrived, "nexus.entry.way")["stringValue"], "sync");
    let seq = |span: &Value| attribute(span, "nexus.entry.seq")["intValue"].as_str().unwrap().parse::<u64>().unwrap();
    let seq_before = seq(&arrived);

    // Writes by an agent's tool, and traces that begin here, reach other nodes as well.
    let third = "2bf92f3577b34da6a3ce929d0e0e4736";
    let meta = json!({ "traceparent": format!("00-{third}-{PARENT}-01") });
    let params = json!({ "name": "remember", "arguments": { "text": "by an agent" }, "_meta": meta });
    let call = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params }).to_string();
    laptop.run_with(&["mcp"], format!("{call}\n").as_bytes()).ok();
    let asked = named(&at_first, third, "tools/call remember");
    assert_eq!(named(&at_second, third, "receive entry")["parentSpanId"], asked["spanId"]);
    let (begun, span_begun) = write(&first, "of a trace that begins here", None);
    assert_eq!(named(&at_second, &begun, "receive entry")["parentSpanId"], span_begun);

    assert_eq!(second.terminate().0, Some(0));
    let fourth = "3bf92f3577b34da6a3ce929d0e0e4736";
    let (_, span_alone) = write(&first, "while the other is away", Some(&format!("00-{fourth}-{PARENT}-01")));
    named(&at_first, fourth, "POST /v1/memories");
    let second = cloud.up_with(&["--otlp-endpoint", &there]);
    let arrived = named(&at_second, fourth, "receive entry");
    assert_eq!(arrived["parentSpanId"], span_alone);
    assert!(seq(&arrived) > seq_before, "{arrived}");
    assert_eq!(second.terminate().0, Some(0));
    assert!(at_second.try_iter().all(|body| !body.to_string().contains(unwanted)));
}

/// promise: Commands and API | Traces go to an OpenTelemetry collector, which slows nothing when it is silent
#[test]
fn a_collector_that_is_busy_is_asked_again() {
    let (address, bodies) = collector(1);
    let home = Home::new();
    let node = home.up_with(&["--otlp-endpoint", &address]);
    ask(&node, "/healthz", &format!("00-{TRACE}-{PARENT}-01"));
    span(&bodies, TRACE);
    let metrics = node.http("GET", "/metrics", "").body;
    assert!(metrics.contains("\nnexus_otlp_spans_dropped_total 0\n"), "{metrics}");
}

/// promise: Commands and API | Traces go to an OpenTelemetry collector, which slows nothing when it is silent
#[test]
fn a_collector_that_never_answers_slows_nothing_and_what_it_misses_is_counted() {
    const REQUESTS: usize = 4_000;
    // The system accepts connections, and nobody reads.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let home = Home::new();
    let node = home.up_with(&["--otlp-endpoint", &format!("http://{}", silent.local_addr().unwrap())]);

    // more spans than can wait
    let mut stream = TcpStream::connect(node.address()).unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    let one = format!("GET /healthz HTTP/1.1\r\nHost: {}\r\n\r\n", node.address());
    let mut writer = stream.try_clone().unwrap();
    let all = std::thread::spawn(move || writer.write_all(one.repeat(REQUESTS).as_bytes()).unwrap());
    let (mut answers, mut read) = (0, [0; 1 << 16]);
    let mut text = String::new();
    while answers < REQUESTS {
        let length = stream.read(&mut read).unwrap();
        assert!(length > 0, "{answers} answers, then the connection ended");
        text.push_str(std::str::from_utf8(&read[..length]).unwrap());
        // The beginning of the next answer stays.
        let rest = text.split_off(text.rfind("\r\n").map_or(0, |at| at + 2));
        answers += std::mem::replace(&mut text, rest).matches("HTTP/1.1 200").count();
    }
    all.join().unwrap();

    let metrics = node.http("GET", "/metrics", "").body;
    let dropped = metrics.lines().find_map(|line| line.strip_prefix("nexus_otlp_spans_dropped_total "));
    assert!(dropped.unwrap().parse::<u64>().unwrap() > 0, "{metrics}");
    assert_eq!(node.http("GET", "/v1/status", "").status, 200);
    let stopping = Instant::now();
    assert_eq!(node.terminate().0, Some(0));
    assert!(stopping.elapsed().as_secs() < 8, "the collector's {:?}", stopping.elapsed());
}

/// promise: Commands and API | Traces go to an OpenTelemetry collector, which slows nothing when it is silent
#[test]
fn a_collector_that_is_not_there_is_told_of_once_and_hinders_nobody() {
    let gone = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let home = Home::new();
    let node = home.up_with(&["--otlp-endpoint", &format!("http://{gone}")]);
    home.json(&["remember", "written without a collector"]);
    assert_eq!(home.json(&["recall", "collector"]).as_array().unwrap().len(), 1);
    support::until("it is told", || home.log().contains("traces are dropped").then_some(()));
    let metrics = node.http("GET", "/metrics", "").body;
    assert!(!metrics.contains("\nnexus_otlp_spans_dropped_total 0\n"), "{metrics}");
    node.http("GET", "/healthz", "");
    assert_eq!(node.terminate().0, Some(0));
    assert_eq!(home.log().matches("traces are dropped").count(), 1);
}

#[test]
fn an_address_that_is_none_is_refused_before_anything_starts() {
    let home = Home::new();
    let (code, error) = home.error(&["up", "--otlp-endpoint", "https://collector:4318"]);
    assert_eq!((code, &error["code"]), (2, &"invalid".into()), "{error}");
    assert!(error["message"].as_str().unwrap().contains("http://127.0.0.1:4318"), "{error}");
}
