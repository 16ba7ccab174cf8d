//! The document that an agent's program gives to its hooks on stdin.

use std::io::{self, IsTerminal, Read};
use std::path::PathBuf;
use std::sync::mpsc;
use std::time::Duration;

use nexus_crdt::whole_characters;
use serde::Deserialize;
use serde_json::Value;

use crate::project;

/// The longest document that is read, in bytes.
const INPUT_BYTES_MAX: usize = 1 << 20;

/// The parts of the document that are of use here.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct HookInput {
    pub(super) prompt: Option<String>,
    /// The session's directory, as the document says it.
    directory: Option<PathBuf>,
}

impl HookInput {
    /// The session's directory: by the document, by the program's variables, or the current one.
    pub(super) fn directory(&self) -> Option<PathBuf> {
        self.directory.clone().or_else(project::directory)
    }
}

/// Reads stdin. A missing or broken document is an empty one: a person may try a hook by hand.
pub(super) fn read(timeout: Duration) -> HookInput {
    if io::stdin().is_terminal() {
        return HookInput::default();
    }
    let (sender, input) = mpsc::sync_channel(1);
    // A program that keeps stdin open must not hold the hook.
    std::thread::spawn(move || sender.send(parse(io::stdin().lock())));
    input.recv_timeout(timeout).unwrap_or_default()
}

/// Reads up to the end of the document, which need not be the end of the stream: not every program closes it.
fn parse(mut stream: impl Read) -> HookInput {
    let (mut bytes, mut part) = (Vec::new(), vec![0; 16 << 10]);
    let document = loop {
        let Ok(read @ 1..) = stream.read(&mut part) else { break Value::Null };
        bytes.extend_from_slice(&part[..read]);
        if bytes.len() > INPUT_BYTES_MAX {
            break Value::Null;
        }
        // a document ends with a bracket, and so do few parts of one
        if part[..read].contains(&b'}')
            && let Some(document) = document(&bytes)
        {
            break document;
        }
    };
    let text = |name: &str| document.get(name).and_then(Value::as_str).map(str::to_owned);
    let root = document.pointer("/workspace_roots/0").and_then(Value::as_str).map(str::to_owned);
    let named = root.or_else(|| text("cwd")).map(PathBuf::from);
    HookInput { prompt: text("prompt"), directory: named.filter(|directory| directory.is_absolute()) }
}

/// The document at the beginning of these bytes, if it is there as a whole.
fn document(bytes: &[u8]) -> Option<Value> {
    let text = whole_characters(bytes);
    Value::deserialize(&mut serde_json::Deserializer::from_str(&text)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_is_read_and_anything_else_is_an_empty_one() {
        let read = parse(&br#"{"session_id":"x","prompt":"hello","cwd":"/a/b c"} more"#[..]);
        assert_eq!((read.prompt.as_deref(), read.directory), (Some("hello"), Some(PathBuf::from("/a/b c"))));
        let half = parse(&br#"{"prompt":"cut \ud83d","cwd":"/a"}"#[..]);
        assert_eq!((half.prompt.as_deref(), half.directory), (Some("cut \u{fffd}"), Some(PathBuf::from("/a"))));
        let cursor = parse(&br#"{"prompt":"x","workspace_roots":["/a/shop","/b"],"cwd":"/home"}"#[..]);
        assert_eq!(cursor.directory, Some(PathBuf::from("/a/shop")));
        let deep = "[".repeat(100_000);
        for odd in ["", "{", "[]", "null", "{\"prompt\": 1}", "\u{0}", &deep] {
            assert_eq!(parse(odd.as_bytes()), HookInput::default(), "{odd:.10}");
        }
        let long = format!("{{\"prompt\": \"{}\"}}", "x".repeat(2 << 20));
        assert_eq!(parse(long.as_bytes()), HookInput::default());
        assert_eq!(parse(&br#"{"cwd":"shop"}"#[..]).directory, None);
    }
}
