//! Decoders of single values, for `nexus-fuzz` (feature `testing`). Each function takes any bytes, reads
//! them as they are read when somebody sends them, and says whether they were read. It panics if a law does
//! not hold.

use crate::backup;
use crate::follow::{CriticalPlace, Cursor, Given, LogPlace, RecentPlace};
use crate::ledger::rows::TimeKey;
use crate::memory::cursor::{parse_listing, render_listing};
use crate::memory::{MemoryId, MemoryRef};
use crate::runtime::whereabouts;
use crate::search::{Group, Likeness, Question, Said, VOCABULARY};
use crate::tls::Binding;
use crate::trace::TraceParent;
use crate::words;

/// The name of the store in cursors.
const STORE: [u8; 8] = [7; 8];

/// A cursor of a listing or of events.
pub fn cursor(bytes: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else { return false };
    if let Ok(Given::Here(cursor)) = Cursor::parse(text, STORE, &[]) {
        let again = Cursor::parse(&cursor.render(STORE), STORE, &[]);
        assert_eq!(again.ok(), Some(Given::Here(cursor)), "a cursor is read as it was made");
        return true;
    }
    let Ok(key) = parse_listing(text, STORE) else { return false };
    assert_eq!(render_listing(STORE, key), text.to_ascii_lowercase(), "a cursor is read as it was made");
    true
}

/// The id of a memory.
pub fn memory_id(bytes: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else { return false };
    let Ok(id) = text.parse::<MemoryId>() else { return false };
    assert_eq!(id.to_string(), text.to_ascii_lowercase(), "an id has one text");
    MemoryRef::from(id).as_str() == id.to_string()
}

/// A `traceparent`, in a header or beside an entry.
pub fn trace(bytes: &[u8]) -> bool {
    let Some(text) = std::str::from_utf8(bytes).ok() else { return false };
    let parent = TraceParent::parse(text);
    if let Some(parent) = parent {
        assert_eq!(TraceParent::parse(&parent.to_string()), Some(parent), "a trace is shown as it is read");
    }
    TraceParent::from_wire(bytes).is_some()
}

/// A text that is searched, or searched for.
pub fn searched(bytes: &[u8]) -> bool {
    let text = String::from_utf8_lossy(bytes);
    let found = words::words(&text);
    let mut matches = words::WordMatches::of(found.iter().take(32).map(String::as_str));
    matches.look_in(&text);
    assert!(matches.found().iter().all(|found| *found), "a text has its own words");
    let said = Said::of(&text);
    assert!(said.likeness(&said) != Likeness::Near, "a text says the same as itself, or nothing");
    if let Some(group) = Group::read(VOCABULARY, &text) {
        assert_eq!(Group::read(VOCABULARY, &group.text()), Some(group), "a group is read as it is written");
    }
    Question::of(&text).is_some()
}

/// The stream of a backup.
pub fn backup(bytes: &[u8]) -> bool {
    let read = |bytes: &[u8]| {
        let mut reader = backup::Reader::new(bytes)?;
        let mut frames = Vec::new();
        while let Some(frame) = reader.next_frame()? {
            frames.push(frame);
        }
        Ok::<_, backup::BackupError>(frames)
    };
    let Ok(frames) = read(bytes) else { return false };
    let mut again = Vec::new();
    let written = backup::Writer::new(&mut again).and_then(|mut writer| {
        frames.iter().try_for_each(|frame| writer.put(frame))?;
        writer.end()
    });
    assert_eq!(written.ok(), Some(again.len() as u64), "what was read can be written");
    assert_eq!(again, bytes, "a backup is read as it was written");
    true
}

/// A certificate that a node once made.
const CERTIFICATE: &[u8] = include_bytes!("tls/fuzzed.der");

/// The body of a beat: a member's addresses.
pub fn whereabouts(body: &[u8]) -> bool {
    whereabouts::fuzzed(body)
}

/// A certificate of an API, as a client is shown it.
pub fn certificate(bytes: &[u8]) -> bool {
    let read = Binding::read(bytes);
    assert_eq!(read, Binding::read(bytes), "a certificate always says the same");
    read.is_ok()
}

/// Good inputs: the function, a name, the bytes.
pub fn seeds() -> Vec<(&'static str, String, Vec<u8>)> {
    let text = |text: &str| text.as_bytes().to_vec();
    let key = TimeKey { space: 0, hlc: nexus_crdt::Hlc(1 << 40), eno: 9, index: 3 };
    let address = b"/ip4/192.0.2.1/udp/4002/quic-v1";
    let named = [&[10, 31][..], address, &[10, 24], b"/dns4/n.example/tcp/4002"].concat();
    let log = LogPlace { eno: 9, index: 3 };
    let critical = Some(CriticalPlace { generation: Some(1), revision: 77, part: 2 });
    let recent = Some(RecentPlace { run: 5, peers: 2, blobs: 3 });
    vec![
        ("cursor", "watch".to_owned(), text("0707070707070707-9-3")),
        ("cursor", "log".to_owned(), text(&Cursor::of_log(log).render(STORE))),
        ("cursor", "events".to_owned(), text(&Cursor { log, critical, recent }.render(STORE))),
        ("cursor", "listing".to_owned(), text(&render_listing(STORE, key))),
        ("memory_id", "plain".to_owned(), text("aaaaaaaaaaaaaaaaaaaaaaaa")),
        ("memory_id", "numbered".to_owned(), text("aaaaaaaaaaaaaaaaaaaaaaaa.1023")),
        ("trace", "plain".to_owned(), text("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")),
        ("searched", "words".to_owned(), text("The quick brown foxes jumped over café tables; 東京タワー, 한국어 ไทย")),
        ("searched", "group".to_owned(), text("deploy = ship it = roll out")),
        ("whereabouts", "two".to_owned(), named),
        ("backup", "small".to_owned(), backup::small()),
        ("certificate", "made".to_owned(), CERTIFICATE.to_vec()),
    ]
}
