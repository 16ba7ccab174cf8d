//! The decoders of the HTTP API, for `nexus-fuzz` (feature `testing`). Each function takes any bytes, reads
//! them as a request's are read, and says whether they were read. It panics if a law does not hold.

use std::collections::BTreeMap;

use axum::extract::{FromRequestParts, Request};
use axum::http::{HeaderName, HeaderValue, Uri};
use futures::FutureExt;
use nexus_crdt::{AgentName, Source};
use nexus_identity::Timestamp;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::caller::{Caller, user_agent};
use super::door::Door;
use super::extract::{Parameters, parse};
use super::guard::Guard;
use super::import;
use super::issued::TokenBook;
use super::trace::Trace;
use super::wire;
use crate::coordinator::Txn;
use crate::memory::Secrets;

/// The moment of every reading.
const NOW: Timestamp = Timestamp::from_ms(1_700_000_000_000);

/// A body of any route that takes one.
pub fn body(bytes: &[u8]) -> bool {
    let caller = Caller::new(None, Source::Tool);
    let mut read = same::<wire::NewMemory>(bytes).is_some_and(|memory| wire::new_memory(memory, &caller).is_ok());
    read |= same::<wire::Patch>(bytes).is_some_and(|patch| wire::patch(patch, &caller, Timestamp::from_ms(0)).is_ok());
    read |= same::<wire::KvTxn>(bytes).is_some_and(|txn| Txn::try_from(txn).is_ok());
    read |= same::<wire::KvPut>(bytes).is_some() | same::<wire::NewSpace>(bytes).is_some();
    read |= same::<wire::Acquire>(bytes).is_some() | same::<wire::Renew>(bytes).is_some();
    read |= same::<wire::Release>(bytes).is_some() | same::<wire::Steal>(bytes).is_some();
    read |= same::<wire::AddVoter>(bytes).is_some() | same::<wire::Recover>(bytes).is_some();
    read |= same::<wire::Revoke>(bytes).is_some() | same::<wire::Invite>(bytes).is_some();
    read |= same::<wire::NewTask>(bytes).is_some_and(|task| wire::new_task(task, &caller).is_ok());
    read |= same::<wire::ClaimTask>(bytes).is_some_and(|claim| wire::claim_query(claim, &caller).is_ok());
    read |= same::<wire::FinishTask>(bytes).is_some_and(|finish| wire::result(finish).is_ok());
    read |= same::<wire::RenewTask>(bytes).is_some() | same::<wire::TaskWord>(bytes).is_some();
    read |= same::<wire::Join>(bytes).is_some() | parse::<BTreeMap<String, Value>>(bytes).is_ok();
    read
}

/// A document, which means the same once it is written and read again.
fn same<T: DeserializeOwned + Serialize>(bytes: &[u8]) -> Option<T> {
    let read: T = parse(bytes).ok()?;
    let written = serde_json::to_vec(&read).unwrap_or_default();
    let again = parse::<T>(&written).ok().and_then(|again| serde_json::to_vec(&again).ok());
    assert!(again.as_ref() == Some(&written), "a document reads as it was written");
    Some(read)
}

/// A line of an import.
pub fn import_line(bytes: &[u8]) -> bool {
    let caller = Caller::new(None, Source::Import);
    [Secrets::Refuse, Secrets::Mask, Secrets::Allow].map(|way| import::read(&caller, way, bytes, NOW).is_ok())[2]
}

/// The query of an address.
pub fn parameters(bytes: &[u8]) -> bool {
    let Ok(uri) = Uri::try_from([b"http://127.0.0.1/v1/memories?", bytes].concat()) else { return false };
    let Ok(request) = Request::builder().uri(uri).body(()) else { return false };
    let (mut parts, ()) = request.into_parts();
    let Some(Ok(mut parameters)) = Parameters::from_request_parts(&mut parts, &()).now_or_never() else { return false };
    let number = parameters.one_as::<u64>("after").is_ok();
    let span = parameters.one_as::<wire::Span>("since").is_ok();
    let limit = parameters.one_as::<usize>("limit").is_ok();
    let _ = (parameters.many("space"), parameters.one("q"), parameters.one_as::<bool>("local"));
    number && span && limit && parameters.end().is_ok()
}

/// The head of a request: lines of a header's name, a colon and its value. Anybody may send one, also a
/// web page.
pub fn head(bytes: &[u8]) -> bool {
    let Ok(address) = "127.0.0.1:4003".parse() else { return false };
    let mut request = Request::builder().uri("/v1/status");
    for line in bytes.split(|byte| *byte == b'\n').take(32) {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else { continue };
        let (name, value) = (&line[..colon], &line[colon + 1..]);
        if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name), HeaderValue::from_bytes(value.trim_ascii())) {
            request = request.header(name, value);
        }
    }
    let Ok(request) = request.body(axum::body::Body::empty()) else { return false };
    let agent: Option<AgentName> = user_agent(request.headers());
    let _ = Trace::of(request.headers(), false).for_entries();
    Guard::new(Door::new(address), TOKEN, None, TokenBook::in_memory()).check(&request).is_ok() && agent.is_some()
}

/// The token of [`head`].
const TOKEN: &str = "a-token-for-fuzzing";

/// Times and sources, as bodies and queries have them.
pub fn text(bytes: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else { return false };
    let mut read = false;
    if let Ok(at) = wire::parse_timestamp(text) {
        assert_eq!(wire::parse_timestamp(&at.to_string()), Ok(at), "a moment is shown as it is read");
        read = true;
    }
    if let Ok(span) = wire::parse_duration(text) {
        assert_eq!(wire::parse_duration(&wire::show_duration(span)), Ok(span), "a span is shown as it is read");
        let _ = NOW.saturating_add(span);
        read = true;
    }
    if let Ok(source) = text.parse::<wire::Source>() {
        read |= nexus_crdt::Source::from(source).as_str() == text;
    }
    read
}

/// Good inputs: the function, a name, the bytes.
pub fn seeds() -> Vec<(&'static str, String, Vec<u8>)> {
    let bodies = [
        (
            "memory",
            r#"{"text":"hello","kind":"note","tags":["a"],"meta":{"k":[1,null,{"x":1.5}]},"id":"k","ttl":"7d","agent":"ide","source":"tool"}"#,
        ),
        ("patch", r#"{"text":"hello","tags":["a","b"],"meta":{}}"#),
        ("space", r#"{"name":"team"}"#),
        ("task", r#"{"capability":"resize","input":{"width":640},"timeout":"60s","deadline":"1h","attempts":2}"#),
        ("claim", r#"{"capabilities":["resize"],"wait":"30s","lease":"30s"}"#),
        ("finish", r#"{"token":"0f9d3c5e7a1b24680f9d3c5e7a1b2468","error":{"code":"exit_1","message":"no"}}"#),
        ("put", r#"{"value":"blue","ttl":"30s","fence":7,"if_absent":true}"#),
        (
            "txn",
            r#"{"checks":[{"key":"a","exists":true},{"key":"b","value_base64":"AA=="},{"key":"c","revision":3}],"then":[{"put":{"key":"a","value":"1","ttl":90}},{"delete":"b"}],"else":[{"get":"a"}]}"#,
        ),
        ("acquire", r#"{"ttl":"30s","wait":"10s"}"#),
        ("renew", r#"{"token":7,"ttl":"30s"}"#),
        ("voter", r#"{"did":"laptop"}"#),
        ("invite", r#"{"role":"member","ttl":"1h","uses":3}"#),
        ("join", r#"{"ticket":"nexus1abc","name":"laptop"}"#),
        ("deep", r#"{"text":"x","meta":{"a":[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]}}"#),
    ];
    let lines = [
        ("new", r#"{"text":"hello","id":"k","space":"default","kind":"note","tags":["a"],"meta":{},"ttl":90}"#),
        (
            "exported",
            r#"{"id":"aaaaaaaaaaaaaaaaaaaaaaaa","text":"hello","kind":"note","author":"did:key:z6Mk","created_at":"2026-11-20T08:31:12.123Z","expires_at":"2099-11-20T08:31:12Z","agent":"ide","source":"model","version":"v","conflicts":[]}"#,
        ),
    ];
    let heads = [
        ("token", format!("host:127.0.0.1:4003\nauthorization:Bearer {TOKEN}\nuser-agent:curl/8.0 (x)")),
        ("page", "host:localhost:4003\norigin:http://localhost:4003\ncookie:a=b; nexus-4003=1.2.3".to_owned()),
        ("trace", "host:[::1]:4003\ntraceparent:00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".to_owned()),
        (
            "socket",
            "host:[::1]:4003\nupgrade:websocket\nconnection:upgrade\nsec-websocket-protocol:nexus, x".to_owned(),
        ),
    ];
    let queries = [("list", "space=a&space=b&limit=10&after=7"), ("recall", "q=two%20words&since=7d&local=true")];
    let texts =
        [("moment", "2026-11-20T08:31:12.123Z"), ("leap", "2000-02-29T00:00:00Z"), ("span", "7d"), ("ms", "500ms")];
    let mut seeds = Vec::new();
    seeds.extend(bodies.map(|(name, text)| ("body", name.to_owned(), text.as_bytes().to_vec())));
    seeds.extend(lines.map(|(name, text)| ("import_line", name.to_owned(), text.as_bytes().to_vec())));
    seeds.extend(heads.map(|(name, text)| ("head", name.to_owned(), text.into_bytes())));
    seeds.extend(queries.map(|(name, text)| ("parameters", name.to_owned(), text.as_bytes().to_vec())));
    seeds.extend(texts.map(|(name, text)| ("text", name.to_owned(), text.as_bytes().to_vec())));
    seeds
}
