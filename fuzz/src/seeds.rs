//! Good inputs: those of `docs/vectors`, and those that the encoders make.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

use automerge::marks::{ExpandMark, Mark};
use automerge::sync::{Message as Said, State, SyncDoc};
use automerge::transaction::Transactable;
use automerge::{ActorId, AutoCommit, ObjType};
use data_encoding::HEXLOWER;
use nexus_crdt::{
    ALL_LEAVES, Confirmation, Content, Dot, Draft, EntryFrame, EntryId, Erase, Erased, Evidence, Head, Hlc,
    Incarnation, Kind, LogHead, LogId, Pin, Revocation, Seat, SpaceId, Succession, SyncFrame, Verified, sync_frame,
};
use nexus_documents::{DocumentId, RepoBody, RepoMessage};
use nexus_identity::Keypair;
use nexus_mesh::fuzzed as mesh;
use nexus_node::internals::fuzzed as values;
use prost::Message;
use serde_json::Value;

use crate::corpus;
use crate::targets;

/// The longest seed: the whole corpus is small.
const BYTES_MAX: usize = 4 * 1024;
/// The most seeds of one target from one file of vectors.
const VECTORS_MAX: usize = 24;

/// A seed: its target, its name, its bytes.
pub type Seed = (String, String, Vec<u8>);

/// Writes all seeds into a corpus, in place of the seeds there. Returns their number.
///
/// # Errors
/// A file cannot be read or written.
pub fn write(into: &Path) -> io::Result<usize> {
    for target in targets::TARGETS {
        for (name, _) in corpus::read(into, target.name)? {
            if name.starts_with("seed-") {
                std::fs::remove_file(into.join(target.name).join(name))?;
            }
        }
    }
    let seeds = all()?;
    for (target, name, bytes) in &seeds {
        corpus::keep(into, target, &format!("seed-{name}"), bytes)?;
    }
    Ok(seeds.len())
}

/// All seeds. Of two with the same bytes there is one.
///
/// # Errors
/// A file of vectors cannot be read.
pub fn all() -> io::Result<Vec<Seed>> {
    let mut seeds = vectors()?;
    let own =
        [mesh::seeds(), values::seeds(), values::api::seeds(), values::coordinator::seeds(), values::mcp::seeds()];
    seeds.extend(own.into_iter().flatten().map(|(target, name, bytes)| (target.to_owned(), name, bytes)));
    seeds.extend(made());
    seeds.extend(documents());
    let mut known = BTreeSet::new();
    seeds.retain(|(target, _, bytes)| bytes.len() <= BYTES_MAX && known.insert((target.clone(), bytes.clone())));
    Ok(seeds)
}

/// Where vectors are for targets: the file, its list, the member, whether it is in hexadecimal, the target.
const VECTORS: &[(&str, &str, &str, bool, &str)] = &[
    ("chain", "vectors", "chain", true, "chain"),
    ("chain", "refused", "chain", true, "chain"),
    ("did", "vectors", "did", false, "did"),
    ("did", "refused", "did", false, "did"),
    ("name", "vectors", "text", false, "name"),
    ("name", "refused", "text", false, "name"),
    ("ticket", "vectors", "text", false, "ticket"),
    ("ticket", "refused", "text", false, "ticket"),
    ("entry", "vectors", "header", true, "header"),
    ("entry", "in_parts", "header", true, "header"),
    ("entry", "refused_headers", "header", true, "header"),
    ("entry", "in_parts", "payload", true, "leaves"),
    ("entry", "in_parts", "emptied", true, "leaves"),
    ("writes", "vectors", "payload", true, "writes"),
    ("writes", "quarantined", "payload", true, "writes"),
    ("writes", "vectors", "payload", true, "page"),
    ("writes", "origins", "core", false, "core"),
    ("proof", "vectors", "proof", true, "proof"),
    ("proof", "refused", "proof", true, "proof"),
    ("profile", "vectors", "payload", true, "profile"),
    ("space", "definitions", "payload", true, "space"),
    ("dot", "vectors", "hex", false, "record_ids"),
    ("dot", "vectors", "text", false, "record_ids"),
    ("dot", "beginnings", "text", false, "record_ids"),
    ("space", "of_a_mesh", "mesh_space", false, "record_ids"),
    ("sync", "vectors", "bytes", true, "sync_frame"),
    ("critical", "entries", "bytes", true, "log_entry"),
    ("critical", "machines", "bytes", true, "machine"),
    ("critical", "proposals", "bytes", true, "proposal"),
    ("critical", "queries", "bytes", true, "query"),
    ("critical", "answers", "bytes", true, "answer"),
    ("critical", "outcomes", "bytes", true, "outcomes"),
    ("critical", "records", "bytes", true, "audit_record"),
];

fn vectors() -> io::Result<Vec<Seed>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/vectors");
    let mut seeds = Vec::new();
    for (file, list, member, is_hex, target) in VECTORS {
        let path: PathBuf = folder.join(file).with_extension("json");
        let vectors: Value = serde_json::from_slice(&std::fs::read(path)?)?;
        let vectors = vectors[list].as_array().cloned().unwrap_or_default();
        // the later ones are of the later formats
        let step = vectors.len().div_ceil(VECTORS_MAX).max(1);
        for (number, vector) in vectors.iter().enumerate().step_by(step) {
            let Some(text) = vector[member].as_str() else { continue };
            let mut bytes = if *is_hex {
                HEXLOWER.decode(text.as_bytes()).map_err(io::Error::other)?
            } else {
                text.as_bytes().to_vec()
            };
            if matches!(*target, "answer" | "outcomes") {
                let format = vector["format"].as_u64().and_then(|format| u8::try_from(format).ok());
                bytes.insert(0, format.unwrap_or(0));
            }
            seeds.push(((*target).to_owned(), format!("{list}-{member}-{number}"), bytes));
        }
    }
    // whole entries, also as a member's for the engine
    let entries: Value = serde_json::from_slice(&std::fs::read(folder.join("entry.json"))?)?;
    for list in ["vectors", "in_parts", "refused"] {
        for (number, vector) in entries[list].as_array().into_iter().flatten().enumerate() {
            let part = |member: &str| HEXLOWER.decode(vector[member].as_str()?.as_bytes()).ok();
            let (Some(header), Some(signature)) = (part("header"), part("signature")) else { continue };
            let frame =
                EntryFrame { header, signature, payload: part("payload"), traceparent: Vec::new(), follows: None };
            seeds.push(("entry_frame".to_owned(), format!("{list}-{number}"), frame.encode_to_vec()));
        }
    }
    for (file, list, kind, space) in [
        ("writes", "vectors", 1, 0),
        ("space", "definitions", 3, 1),
        ("profile", "vectors", 14, 1),
        ("chain", "vectors", 4, 1),
    ] {
        let vectors: Value = serde_json::from_slice(&std::fs::read(folder.join(file).with_extension("json"))?)?;
        let member = if file == "chain" { "chain" } else { "payload" };
        for (number, vector) in vectors[list].as_array().into_iter().flatten().enumerate().take(8) {
            let Some(payload) = vector[member].as_str().and_then(|text| HEXLOWER.decode(text.as_bytes()).ok()) else {
                continue;
            };
            seeds.push(("engine".to_owned(), format!("{file}-{number}"), input(&[(kind, space, &payload)])));
        }
    }
    Ok(seeds)
}

/// An input of the engine's target.
fn input(entries: &[(u8, u8, &[u8])]) -> Vec<u8> {
    let one = |(kind, space, payload): &(u8, u8, &[u8])| {
        let [high, low] = u16::try_from(payload.len()).unwrap_or(u16::MAX).to_be_bytes();
        [&[*kind, *space, high, low][..], payload].concat()
    };
    entries.iter().flat_map(one).collect()
}

/// The evidence that a member began a log twice.
fn evidence(author: &Keypair) -> Vec<u8> {
    let mesh = Keypair::from_seed(&[0; 32]).did();
    let log = LogId { space: SpaceId::default_of(&mesh), author: author.did(), incarnation: Incarnation([1; 8]) };
    let [one, other] = [1, 2].map(|stamp| {
        let payload = Content::Whole(Vec::new());
        let (hlc, kind) = (Hlc(stamp), Kind::WRITES);
        Verified::write(Draft { mesh, log, after: None, hlc, kind, refs: Vec::new(), payload }, author)
    });
    Evidence::of(&one, &other).map(|evidence| evidence.encode()).unwrap_or_default()
}

/// Changes that Automerge writes: of a map, of a text, of a counter, of marks, and of two actors.
fn documents() -> Vec<Seed> {
    let written = || -> Result<Vec<automerge::Change>, automerge::AutomergeError> {
        let mut one = AutoCommit::new().with_actor(ActorId::from([1; 4]));
        one.put(automerge::ROOT, "title", "plan")?;
        one.put(automerge::ROOT, "count", automerge::ScalarValue::counter(3))?;
        let text = one.put_object(automerge::ROOT, "text", ObjType::Text)?;
        one.splice_text(&text, 0, 0, "a few words")?;
        one.commit();
        let mut other = one.fork().with_actor(ActorId::from([2; 16]));
        other.splice_text(&text, 2, 3, "many")?;
        other.increment(automerge::ROOT, "count", 2)?;
        other.commit();
        one.mark(&text, Mark::new("bold".to_owned(), true, 0, 5), ExpandMark::Both)?;
        one.delete(automerge::ROOT, "title")?;
        let list = one.put_object(automerge::ROOT, "list", ObjType::List)?;
        one.insert(&list, 0, 1.5)?;
        let map = one.insert_object(&list, 0, ObjType::Map)?;
        one.put(&map, "bytes", vec![1, 2, 3])?;
        one.merge(&mut other)?;
        one.put(automerge::ROOT, "count", 1)?;
        Ok(one.get_changes(&[]))
    };
    let changes = written().unwrap_or_default();
    // after the magic number, the checksum, the kind, and the length, which has one byte or two
    let data = |change: &automerge::Change| {
        let bytes = change.raw_bytes();
        bytes.get(if bytes.len() > 137 { 11 } else { 10 }..).unwrap_or_default().to_vec()
    };
    let sized = |data: Vec<u8>| [&u16::try_from(data.len()).unwrap_or(u16::MAX).to_be_bytes()[..], &data].concat();
    let two_actors: Vec<u8> = changes.iter().map(data).flat_map(sized).collect();
    let of = |target: &str| (target.to_owned(), "two-actors".to_owned(), two_actors.clone());
    let mut seeds = vec![of("document_changes"), of("document_applied")];
    let file = whole_of(&changes).map(|whole| whole.save()).unwrap_or_default();
    // after the magic number, the checksum, the kind, and a length of two bytes
    let columns = file.get(11..).unwrap_or_default().to_vec();
    let said = |state: &mut State| whole_of(&changes).ok()?.generate_sync_message(state).map(Said::encode);
    let mut state = State::new();
    seeds.push(("document_sync".to_owned(), "first".to_owned(), said(&mut state).unwrap_or_default()));
    let empty = automerge::Automerge::new().generate_sync_message(&mut State::new());
    let heard = |message| whole_of(&changes).ok()?.receive_sync_message(&mut state, message).ok();
    empty.and_then(heard);
    let with_changes = said(&mut state).unwrap_or_default();
    let document = DocumentId::from_bytes([7; 16]);
    let bodies = [
        ("join", RepoBody::Join { versions: vec!["1".to_owned()] }),
        ("sync", RepoBody::Sync { document, data: with_changes.clone() }),
        ("word", RepoBody::Ephemeral { document, session: "s".to_owned(), count: 1, data: vec![1] }),
    ];
    for (name, body) in bodies {
        let message = RepoMessage { sender: "tab".to_owned(), target: "node".to_owned(), body };
        seeds.push(("repo_message".to_owned(), name.to_owned(), message.write()));
    }
    seeds.push(("document_sync".to_owned(), "changes".to_owned(), with_changes));
    seeds.push(("document_file".to_owned(), "whole".to_owned(), file));
    seeds.push(("document_file".to_owned(), "document".to_owned(), columns));
    for (n, change) in changes.into_iter().enumerate() {
        seeds.push(("document_changes".to_owned(), format!("alone-{n}"), sized(data(&change))));
        seeds.push(("document_change".to_owned(), format!("plain-{n}"), change.raw_bytes().to_vec()));
        seeds.push(("document_change".to_owned(), format!("compressed-{n}"), change.clone().bytes().into_owned()));
    }
    seeds
}

fn whole_of(changes: &[automerge::Change]) -> Result<automerge::Automerge, automerge::AutomergeError> {
    let mut whole = automerge::Automerge::new();
    whole.apply_changes(changes.iter().cloned())?;
    Ok(whole)
}

/// Seeds of types whose encoders are public.
fn made() -> Vec<Seed> {
    let key = |n: u8| Keypair::from_seed(&[n; 32]);
    let space = SpaceId::default_of(&key(0).did());
    let head = |seq| Head { seq, id: EntryId::of(&[u8::try_from(seq % 256).unwrap_or(0)]) };
    let pin = |n: u8| Pin { space, incarnation: Incarnation([n; 8]), last: head(u64::from(n)) };
    let plain = Revocation::new(key(2).did(), [pin(2), pin(3)]);
    let by_root = Revocation::new(key(2).did(), [pin(2)]).by_root(&key(0));
    let renewed = Succession::new(&key(0).did(), &key(1), &key(2), [pin(2), pin(3)]);
    let leaves = vec![(EntryId::of(b"one"), 0), (EntryId::of(b"other"), ALL_LEAVES)];
    let erased = Erase::of(leaves).map(|erase| erase.encode()).unwrap_or_default();
    let words = vec![EntryId::of(b"one"), EntryId::of(b"other")];
    let gone = Confirmation::of(Erased::Gone, words).map(|word| word.encode()).unwrap_or_default();
    let mut seeds: Vec<Seed> = vec![
        ("erasure".to_owned(), "leaves".to_owned(), erased.clone()),
        ("engine".to_owned(), "erasure".to_owned(), input(&[(10, 1, &erased)])),
        ("confirmation".to_owned(), "gone".to_owned(), gone.clone()),
        ("engine".to_owned(), "confirmation".to_owned(), input(&[(18, 1, &gone)])),
        ("evidence".to_owned(), "two-first-entries".to_owned(), evidence(&key(1))),
        ("engine".to_owned(), "evidence".to_owned(), input(&[(7, 1, &evidence(&key(1)))])),
        ("seat".to_owned(), "first".to_owned(), Seat::new(0, 7, key(1).did(), 9).encode()),
        ("engine".to_owned(), "seat".to_owned(), input(&[(15, 1, &Seat::new(0, 7, key(1).did(), 9).encode())])),
        ("succession".to_owned(), "with-pins".to_owned(), renewed.encode()),
        ("engine".to_owned(), "succession".to_owned(), input(&[(16, 1, &renewed.encode())])),
        ("revocation".to_owned(), "plain".to_owned(), plain.encode()),
        ("revocation".to_owned(), "by-root".to_owned(), by_root.encode()),
        ("revocation".to_owned(), "empty".to_owned(), Revocation::new(key(1).did(), []).encode()),
        ("engine".to_owned(), "revocation".to_owned(), input(&[(5, 1, &by_root.encode())])),
        (
            "engine".to_owned(),
            "revocation-of-the-node".to_owned(),
            input(&[(5, 1, &plain.encode()), (14, 1, b"\x01\0\0\0a")]),
        ),
        ("record_ids".to_owned(), "dot".to_owned(), Dot { entry: EntryId::ZERO, index: 9 }.to_hex().into_bytes()),
    ];
    // a session: the frontier in two parts, an acknowledgement, a digest, refusals
    let log = |n: u8| LogId { space, author: key(n).did(), incarnation: Incarnation([n; 8]) };
    let heads = |numbers: [u8; 2]| numbers.map(|n| LogHead::new(&log(n), &head(u64::from(n)))).to_vec();
    let full = nexus_crdt::FullAuthor {
        author: key(2).did().as_bytes().to_vec(),
        all: false,
        memories: true,
        logs: true,
        of_mesh: false,
        spaces: vec![space.as_bytes().to_vec()],
    };
    let bodies = [
        sync_frame::Body::Full(sync_frame::FullFrame { authors: vec![full] }),
        sync_frame::Body::Frontier(nexus_crdt::FrontierPart { heads: heads([1, 2]), last: false }),
        sync_frame::Body::Frontier(nexus_crdt::FrontierPart { heads: heads([3, 4]), last: true }),
        sync_frame::Body::Ack(sync_frame::AckFrame { heads: heads([1, 3]) }),
        sync_frame::Body::Digest(sync_frame::DigestFrame { digest: vec![7; 32] }),
    ];
    let mut session = Vec::new();
    for body in bodies {
        let frame = SyncFrame { body: Some(body) }.encode_to_vec();
        session.extend(u32::try_from(frame.len()).unwrap_or(u32::MAX).to_be_bytes());
        session.extend(frame);
    }
    seeds.push(("sync_session".to_owned(), "five".to_owned(), session));
    seeds
}
