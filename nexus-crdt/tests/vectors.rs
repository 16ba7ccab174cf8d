//! Every vector of `docs/vectors` about entries, both ways: the fields make the bytes, the bytes read
//! as the fields.
//!
//! This file makes the bytes by hand, as `docs/spec.md` describes them, and compares them with the
//! crate's. To add a vector, write its fields without the derived ones and run `NEXUS_VECTORS=fill
//! cargo test -p nexus-crdt --test vectors`. Then check the fields that were filled in.

#![allow(clippy::unwrap_used, reason = "a failing vector panics")]

#[path = "../../nexus-identity/tests/vectors/book.rs"]
mod book;

use automerge::ReadDoc;
use book::{Book, Vector, hex, variant};
use nexus_crdt::{
    Confirmation, Content, Core, DocumentPart, DocumentWords, Dot, DotPrefix, Draft, Entry, EntryFrame, EntryId, Erase,
    Erased, Evidence, Field, Fold, Frontier, FrontierPart, FullAuthor, Head, Header, HeardEvent, Hlc, Incarnation,
    Kind, Lengthener, LogHead, LogId, Origin, PageWrite, Pin, Priority, Profile, ReturnCause, Revocation, Salt, Seat,
    Settlement, Shortener, SpaceDefinition, SpaceId, Submission, Succession, SyncFrame, Target, TaskClaim, TaskEnd,
    TaskEvent, TaskOwners, TaskPhase, TaskReturn, TaskRights, TaskSaid, TaskToken, TaskVerb, TaskWord, Verified, Write,
    Writes, check_proof, document_leaves, document_of, payload_hash, project, prove, sync_frame, task_state,
    version_of, writes_of,
};
use nexus_identity::{Chain, Claims, Did, Domain, Keypair, Role, Signature, Timestamp};
use prost::Message;
use serde_json::{Map, Value, json};

/// Bytes as the specification lays them out.
#[derive(Default)]
struct Layout(Vec<u8>);

impl Layout {
    fn raw(mut self, bytes: &[u8]) -> Self {
        self.0.extend(bytes);
        self
    }

    fn u16(self, number: u16) -> Self {
        self.raw(&number.to_le_bytes())
    }

    fn u32(self, number: u32) -> Self {
        self.raw(&number.to_le_bytes())
    }

    fn u64(self, number: u64) -> Self {
        self.raw(&number.to_le_bytes())
    }

    fn count(self, of: usize) -> Self {
        self.u32(u32::try_from(of).unwrap())
    }

    fn text(self, text: &str) -> Self {
        self.count(text.len()).raw(text.as_bytes())
    }

    fn dot(self, dot: Dot) -> Self {
        self.raw(dot.entry.as_bytes()).u16(dot.index)
    }
}

fn entry_id(vector: &Vector, field: &str) -> EntryId {
    EntryId::from_bytes(vector.array(field))
}

fn dot(vector: &Vector) -> Dot {
    Dot { entry: entry_id(vector, "entry"), index: vector.number("index") }
}

fn log(vector: &Vector) -> LogId {
    LogId {
        space: SpaceId::from_bytes(vector.array("space")),
        author: vector.parse("author"),
        incarnation: Incarnation(vector.array("incarnation")),
    }
}

/// A vector's header, by hand. It may be one that the crate never makes.
fn header_bytes(vector: &Vector) -> Vec<u8> {
    if vector.has("header") && !vector.has("space") {
        return vector.bytes("header");
    }
    let (len, hash) = if vector.has("payload") {
        let payload = vector.bytes("payload");
        (u32::try_from(payload.len()).unwrap(), payload_hash(&payload))
    } else {
        (vector.number("payload_len"), vector.array("payload_hash"))
    };
    header_of(vector, len, hash)
}

fn header_of(vector: &Vector, len: u32, hash: [u8; 32]) -> Vec<u8> {
    let refs = vector.list("refs");
    let front = Layout::default()
        .u16(if vector.has("format") { vector.number("format") } else { 1 })
        .raw(vector.parse::<Did>("mesh").as_bytes())
        .raw(&vector.array::<32>("space"))
        .raw(vector.parse::<Did>("author").as_bytes())
        .raw(&vector.array::<8>("incarnation"))
        .u64(vector.parse("seq"))
        .raw(&vector.array::<32>("prev"))
        .u64(vector.parse("hlc"))
        .u16(vector.number("kind"))
        .count(refs.len());
    let refs = refs.iter().map(|id| data_encoding::HEXLOWER.decode(id.value().as_str().unwrap().as_bytes()).unwrap());
    let trailing = if vector.has("trailing") { vector.bytes("trailing") } else { Vec::new() };
    refs.fold(front, |bytes, id| bytes.raw(&id)).u32(len).raw(&hash).raw(&trailing).0
}

/// promise: Entries and memories | Every vector of what is known holds both ways
/// promise: Bad input | Forged entries: each kind of forgery in the vectors
#[test]
fn entries() {
    let mut book = Book::open("entry.json");
    book.check("vectors", |vector| {
        let header_bytes = header_bytes(vector);
        let key = Keypair::from_seed(&vector.array("seed"));
        let id = EntryId::from_bytes(blake3::derive_key("nexus entry v1", &header_bytes));
        let signature = key.sign(Domain::Entry, id.as_bytes());

        let header = Header::decode(&header_bytes).unwrap();
        let payload = vector.bytes("payload");
        let entry = Entry::decode(header_bytes.clone(), signature, Some(payload.clone())).unwrap();
        let verified = entry.clone().verify(&header.mesh).unwrap();
        assert_eq!(entry.id(), id);
        assert_eq!(header.encode(), header_bytes);
        // the way that the author made it
        let before = header.seq.checked_sub(1).map(|seq| Head { seq, id: header.prev });
        let Header { mesh, hlc, kind, ref refs, .. } = header;
        let refs = refs.clone();
        let draft = Draft { mesh, log: header.log(), after: before.as_ref(), hlc, kind, refs, payload: payload.into() };
        assert_eq!(Verified::write(draft, &key), verified);
        // an entry without its payload verifies as well
        let bare = Entry::decode(header_bytes.clone(), signature, None).unwrap();
        assert_eq!(bare.verify(&mesh).unwrap().id(), id);
        json!({
            "mesh": header.mesh.to_string(),
            "space": header.space.to_string(),
            "author": header.author.to_string(),
            "incarnation": hex(header.incarnation.0),
            "seq": header.seq.to_string(),
            "prev": hex(header.prev.as_bytes()),
            "hlc": header.hlc.0.to_string(),
            "kind": header.kind.0,
            "refs": header.refs.iter().map(|id| hex(id.as_bytes())).collect::<Vec<_>>(),
            "payload_len": header.payload_len,
            "payload_hash": hex(header.payload_hash),
            "header": hex(&header_bytes),
            "id": hex(id.as_bytes()),
            "signature": hex(signature.as_bytes()),
        })
    });
    book.check("in_parts", |vector| {
        // the leaves and their root, by hand
        let mut parts = Vec::new();
        for leaf in vector.list("leaves") {
            parts.push((leaf.array::<16>("salt"), leaf.bytes("bytes")));
        }
        let present =
            |bytes: Layout, (salt, said): &(Salt, Vec<u8>)| bytes.raw(&[0]).raw(salt).count(said.len()).raw(said);
        let payload = parts.iter().fold(Layout::default().count(parts.len()), present).0;
        let hash = |(salt, said): &(Salt, Vec<u8>)| {
            blake3::derive_key("nexus payload leaf v2", &[salt.as_slice(), said].concat())
        };
        let hashes: Vec<[u8; 32]> = parts.iter().map(hash).collect();
        let under = hashes.iter().fold(Layout::default().count(parts.len()), |bytes, hash| bytes.raw(hash));
        let root = blake3::derive_key("nexus payload root v2", &under.0);
        let erased: Vec<usize> =
            vector.get("erase").as_array().unwrap().iter().map(|n| n.as_u64().unwrap() as usize).collect();
        let left = parts.iter().enumerate().fold(Layout::default().count(parts.len()), |bytes, (at, part)| {
            if erased.contains(&at) { bytes.raw(&[1]).raw(&hashes[at]) } else { present(bytes, part) }
        });

        let header_bytes = header_of(vector, u32::try_from(payload.len()).unwrap(), root);
        let key = Keypair::from_seed(&vector.array("seed"));
        let id = EntryId::from_bytes(blake3::derive_key("nexus entry v1", &header_bytes));
        let signature = key.sign(Domain::Entry, id.as_bytes());
        let header = Header::decode(&header_bytes).unwrap();
        assert_eq!(header.encode(), header_bytes);
        // the author's own way to it
        let before = header.seq.checked_sub(1).map(|seq| Head { seq, id: header.prev });
        let Header { mesh, hlc, kind, ref refs, .. } = header;
        let (refs, log) = (refs.clone(), header.log());
        let draft =
            Draft { mesh, log, after: before.as_ref(), hlc, kind, refs, payload: Content::Parts(parts.clone()) };
        let written = Verified::write(draft, &key);
        assert_eq!(written.payload(), Some(payload.as_slice()));
        let emptied = erased.iter().fold(written.clone(), |entry, at| entry.without(u16::try_from(*at).unwrap()));
        assert_eq!(emptied.payload(), Some(left.0.as_slice()));
        // whole, emptied and bare it is the same entry
        for payload in [Some(payload.clone()), Some(left.0.clone()), None] {
            let entry = Entry::decode(header_bytes.clone(), signature, payload).unwrap();
            assert_eq!(entry.verify(&mesh).unwrap().id(), id);
        }
        let left_writes = writes_of(&emptied).unwrap_or_default().into_iter().map(|placed| {
            let value_at = placed.value_at as usize;
            assert_eq!(&left.0[value_at..value_at + placed.write.value.len()], placed.write.value.as_bytes());
            json!({ "index": placed.index, "write": writes_json(&Writes(vec![placed.write]))[0] })
        });
        let left_writes: Vec<Value> = if header.kind == Kind::WRITES { left_writes.collect() } else { vec![] };
        json!({
            "left": left_writes,
            "payload": hex(&payload),
            "payload_len": header.payload_len,
            "payload_hash": hex(root),
            "leaf_hashes": hashes.iter().map(hex).collect::<Vec<_>>(),
            "emptied": hex(&left.0),
            "header": hex(&header_bytes),
            "id": hex(id.as_bytes()),
            "signature": hex(signature.as_bytes()),
        })
    });
    book.check("refused_headers", |vector| {
        let bytes = header_bytes(vector);
        json!({ "header": hex(&bytes), "why": variant(&Header::decode(&bytes).unwrap_err()) })
    });
    book.check("refused", |vector| {
        let signature = Signature::from_bytes(vector.array("signature"));
        let payload = vector.has("payload").then(|| vector.bytes("payload"));
        let entry = Entry::decode(vector.bytes("header"), signature, payload).unwrap();
        json!({ "why": variant(&entry.verify(&vector.parse("mesh")).unwrap_err()) })
    });
}

/// promise: Entries and memories | Every vector of what is known holds both ways
#[test]
fn proofs() {
    let mut book = Book::open("proof.json");
    book.check("vectors", |vector| {
        let (root, author) = (Keypair::from_seed(&vector.array("root")), Keypair::from_seed(&vector.array("seed")));
        let (mesh, at) = (root.did(), Timestamp::from_ms(vector.parse("at")));
        let claims = Claims::new(mesh, author.did(), vector.parse("name_of_author"), [Role::Admin], at);
        let chain = Chain::found(claims.sign(&root)).unwrap();
        let parts: Vec<(Salt, Vec<u8>)> =
            vector.list("leaves").iter().map(|leaf| (leaf.array("salt"), leaf.bytes("bytes"))).collect();
        let log = LogId { space: SpaceId::default_of(&mesh), author: author.did(), incarnation: Incarnation([7; 8]) };
        let payload = Content::Parts(parts.clone());
        let draft = Draft { mesh, log, after: None, hlc: Hlc::at(at), kind: Kind::WRITES, refs: vec![], payload };
        let entry = Verified::write(draft, &author);

        // by hand: every other leaf is its hash
        let index = vector.number("index");
        let payload =
            parts.iter().enumerate().fold(Layout::default().count(parts.len()), |bytes, (at, (salt, said))| {
                let hash = blake3::derive_key("nexus payload leaf v2", &[salt.as_slice(), said].concat());
                match at == usize::from(index) {
                    true => bytes.raw(&[0]).raw(salt).count(said.len()).raw(said),
                    false => bytes.raw(&[1]).raw(&hash),
                }
            });
        let (chain_bytes, header) = (chain.to_bytes(), entry.header_bytes());
        let front = Layout::default().count(chain_bytes.len()).raw(&chain_bytes).count(header.len()).raw(header);
        let proof = front.raw(entry.signature().as_bytes()).count(payload.0.len()).raw(&payload.0).u16(index).0;
        assert_eq!(prove(&chain, &entry, index), Some(proof.clone()));

        let proven = check_proof(&proof).unwrap();
        json!({
            "proof": hex(&proof),
            "mesh": proven.mesh.to_string(),
            "author": proven.author.to_string(),
            "author_name": proven.name.as_str(),
            "hlc": proven.at.0.to_string(),
            "record": proven.record.to_hex(),
            "text": proven.text,
        })
    });
    book.check("refused", |vector| json!({ "why": variant(&check_proof(&vector.bytes("proof")).unwrap_err()) }));
}

fn write(vector: &Vector) -> Write {
    let target = if vector.has("page") {
        Target::Create { page: vector.number("page") }
    } else {
        Target::Edit { record: dot(&vector.part(vector.get("record"))) }
    };
    let over = vector.list("over").iter().map(dot).collect();
    Write { target, field: Field::named(&vector.text("field")), value: vector.text("value"), over }
}

/// The writes of a vector. `repeat` is a number of copies of the first one, for rules about counts.
fn writes(vector: &Vector) -> Writes {
    let mut writes: Vec<Write> = vector.list("writes").iter().map(write).collect();
    if vector.has("repeat") {
        writes = vec![writes[0].clone(); vector.number("repeat")];
    }
    Writes(writes)
}

/// The payload of writes, by hand.
fn writes_bytes(writes: &Writes) -> Vec<u8> {
    let count = Layout::default().count(writes.0.len());
    let whole = writes.0.iter().fold(count, |bytes, write| {
        let bytes = match write.target {
            Target::Create { page } => bytes.raw(&[0]).u32(page),
            Target::Edit { record } => bytes.raw(&[1]).dot(record),
        };
        let bytes = bytes.text(write.field.as_str()).text(&write.value).count(write.over.len());
        write.over.iter().fold(bytes, |bytes, dot| bytes.dot(*dot))
    });
    whole.0
}

fn dot_json(dot: Dot) -> Value {
    json!({ "entry": hex(dot.entry.as_bytes()), "index": dot.index })
}

fn writes_json(writes: &Writes) -> Value {
    let each = writes.0.iter().map(|write| {
        let (place, target) = match write.target {
            Target::Create { page } => ("page", json!(page)),
            Target::Edit { record } => ("record", dot_json(record)),
        };
        let over: Vec<Value> = write.over.iter().copied().map(dot_json).collect();
        json!({ place: target, "field": write.field.as_str(), "value": write.value, "over": over })
    });
    each.collect()
}

/// promise: Entries and memories | Every vector of what is known holds both ways
#[test]
fn payloads_of_writes() {
    let mut book = Book::open("writes.json");
    book.check("vectors", |vector| {
        let writes = writes(vector);
        let bytes = writes_bytes(&writes);
        assert_eq!(writes.encode(), bytes);
        json!({ "payload": hex(&bytes), "writes": writes_json(&Writes::decode(Some(&bytes)).unwrap()) })
    });
    book.check("quarantined", |vector| {
        let bytes = if vector.has("writes") { writes_bytes(&writes(vector)) } else { vector.bytes("payload") };
        let why = variant(&Writes::decode(Some(&bytes)).unwrap_err());
        // for many bytes the fields are enough
        if bytes.len() > 4096 { json!({ "why": why }) } else { json!({ "payload": hex(&bytes), "why": why }) }
    });
    book.check("origins", |vector| {
        let (core, by) = (vector.has("core"), vector.has("by"));
        assert!(core != by, "of a core or of an edit");
        let origin =
            if core { Core::parse(&vector.text("core")).unwrap().origin() } else { Origin::parse(&vector.text("by")) };
        json!({
            "agent": origin.agent.map(|agent| agent.to_string()),
            "source": origin.source.map(|source| source.to_string()),
        })
    });
}

/// An entry of kind 2 with these leaves.
fn with_leaves(leaves: Vec<Vec<u8>>) -> Verified {
    let key = Keypair::from_seed(&[1; 32]);
    let log = LogId { space: SpaceId::from_bytes([1; 32]), author: key.did(), incarnation: Incarnation([1; 8]) };
    let payload = Content::Parts(leaves.into_iter().map(|leaf| ([0; 16], leaf)).collect());
    let (mesh, kind) = (key.did(), Kind::DOCUMENT);
    Verified::write(Draft { mesh, log, after: None, hlc: Hlc(1), kind, refs: Vec::new(), payload }, &key)
}

/// promise: Entries and memories | Every vector of what is known holds both ways
#[test]
fn words_about_documents() {
    let mut book = Book::open("document.json");
    book.check("words", |vector| {
        let document: [u8; 16] = vector.array("document");
        let of_part = |part: &Vector| match part.has("key") {
            true => DocumentPart::Key { generation: part.parse("generation"), key: part.text("key") },
            false => DocumentPart::Change { hash: part.array("hash"), bytes: part.bytes("bytes") },
        };
        let parts: Vec<DocumentPart> = vector.list("parts").iter().map(of_part).collect();
        let head = parts.iter().fold(Layout::default().raw(&document).count(parts.len()), |head, part| match part {
            DocumentPart::Key { generation, .. } => head.raw(&[0]).u64(*generation).raw(&[0; 24]),
            DocumentPart::Change { hash, .. } => head.raw(&[1]).raw(hash),
        });
        let of_leaf = |part: &DocumentPart| match part {
            DocumentPart::Key { key, .. } => key.as_bytes().to_vec(),
            DocumentPart::Change { bytes, .. } => bytes.clone(),
        };
        let leaves: Vec<Vec<u8>> = std::iter::once(head.0).chain(parts.iter().map(of_leaf)).collect();
        assert_eq!(document_leaves(document, &parts), leaves);
        let read = document_of(&with_leaves(leaves.clone())).unwrap();
        let places = (1..).zip(parts).collect();
        assert_eq!(read, DocumentWords { document, parts: places, erased: Vec::new() });
        json!({ "leaves": leaves.iter().map(hex).collect::<Vec<_>>() })
    });
    book.check("quarantined", |vector| {
        let leaves = vector.get("leaves").as_array().unwrap().iter();
        let leaves = leaves.map(|leaf| data_encoding::HEXLOWER.decode(leaf.as_str().unwrap().as_bytes()).unwrap());
        json!({ "why": variant(&document_of(&with_leaves(leaves.collect())).unwrap_err()) })
    });
}

/// promise: Entries and memories | Every vector of what is known holds both ways
#[test]
fn spaces() {
    let mut book = Book::open("space.json");
    book.check("of_a_mesh", |vector| {
        let mesh: Did = vector.parse("mesh");
        json!({ "mesh_space": SpaceId::mesh(&mesh).to_string(), "default_space": SpaceId::default_of(&mesh).to_string() })
    });
    book.check("definitions", |vector| {
        let salt = vector.array("salt");
        let definition = SpaceDefinition { name: vector.parse("called"), access: vector.number("access"), salt };
        let bytes = Layout::default().text(&vector.text("called")).u16(vector.number("access")).raw(&salt).0;
        assert_eq!(definition.encode(), bytes);
        assert_eq!(SpaceDefinition::decode(&bytes), Ok(definition));
        json!({ "payload": hex(bytes) })
    });
    book.check(
        "quarantined",
        |vector| json!({ "why": variant(&SpaceDefinition::decode(&vector.bytes("payload")).unwrap_err()) }),
    );
}

/// promise: Entries and memories | Every vector of what is known holds both ways
#[test]
fn profiles() {
    let mut book = Book::open("profile.json");
    book.check("vectors", |vector| {
        let profile = Profile { name: vector.parse("called") };
        let bytes = Layout::default().text(&vector.text("called")).0;
        assert_eq!(profile.encode(), bytes);
        assert_eq!(Profile::decode(&bytes), Ok(profile));
        json!({ "payload": hex(bytes) })
    });
    book.check(
        "quarantined",
        |vector| json!({ "why": variant(&Profile::decode(&vector.bytes("payload")).unwrap_err()) }),
    );
}

/// promise: Entries and memories | Every vector of what is known holds both ways
#[test]
fn revocations() {
    let mut book = Book::open("revocation.json");
    book.check("vectors", |vector| {
        let member: Did = vector.parse("member");
        let parts: Vec<Vector> = vector.get("pins").as_array().unwrap().iter().map(|pin| vector.part(pin)).collect();
        let pins = parts.iter().map(|pin| Pin {
            space: SpaceId::from_bytes(pin.array("space")),
            incarnation: Incarnation(pin.array("incarnation")),
            last: Head { seq: pin.parse("seq"), id: entry_id(pin, "id") },
        });
        let of_pin = |layout: Layout, pin: &Vector| {
            let layout = layout.raw(&pin.bytes("space")).raw(&pin.bytes("incarnation"));
            layout.u64(pin.parse("seq")).raw(&pin.bytes("id"))
        };
        let unsigned = Layout::default().u16(1).raw(member.as_bytes()).count(parts.len());
        let unsigned = parts.iter().fold(unsigned, of_pin).0;
        let revocation = Revocation::new(member, pins);
        let (revocation, bytes, derived) = match vector.has("root_seed") {
            false => (revocation, Layout::default().raw(&unsigned).raw(&[0]).0, None),
            true => {
                let root = Keypair::from_seed(&vector.array("root_seed"));
                let with_mesh = Layout::default().raw(root.did().as_bytes()).raw(&unsigned).0;
                let digest = blake3::derive_key("nexus revocation v1", &with_mesh);
                let signature = root.sign(Domain::Revocation, &digest);
                let bytes = Layout::default().raw(&unsigned).raw(&[1]).raw(signature.as_bytes()).0;
                let revocation = revocation.by_root(&root);
                assert_eq!(revocation.is_by_root(&root.did()), Ok(true));
                (revocation, bytes, Some((digest, root.did())))
            }
        };
        assert_eq!(revocation.encode(), bytes);
        assert_eq!(Revocation::decode(&bytes), Ok(revocation));
        let mut fields = json!({ "payload": hex(bytes) });
        if let Some((digest, mesh)) = derived {
            fields["digest"] = json!(hex(digest));
            fields["mesh"] = json!(mesh.to_string());
        }
        fields
    });
    book.check(
        "quarantined",
        |vector| json!({ "why": variant(&Revocation::decode(&vector.bytes("payload")).unwrap_err()) }),
    );
}

/// promise: Entries and memories | Every vector of what is known holds both ways
#[test]
fn evidence() {
    let mut book = Book::open("evidence.json");
    book.check("vectors", |vector| {
        let key = |name: &str| Keypair::from_seed(&vector.array(name));
        let (mesh, author) = (key("root_seed").did(), key("author_seed"));
        let (space, incarnation) =
            (SpaceId::from_bytes(vector.array("space")), Incarnation(vector.array("incarnation")));
        let log = LogId { space, author: author.did(), incarnation };
        let mut entries: Vec<Verified> = vector
            .list("entries")
            .iter()
            .map(|entry| {
                let seq: u64 = entry.parse("seq");
                let after = seq.checked_sub(1).map(|seq| Head { seq, id: EntryId::from_bytes(entry.array("prev")) });
                let (after, kind, refs) = (after.as_ref(), Kind::WRITES, vec![]);
                let (hlc, payload) = (Hlc(entry.parse("hlc")), Content::Whole(entry.bytes("payload")));
                Verified::write(Draft { mesh, log, after, hlc, kind, refs, payload }, &author)
            })
            .collect();
        let evidence = Evidence::of(&entries[0], &entries[1]).unwrap();
        entries.sort_by_key(|entry| (entry.header().seq, entry.id()));
        let bytes = entries.iter().fold(Layout::default().u16(1), |layout, entry| {
            let header = entry.header_bytes();
            layout.count(header.len()).raw(header).raw(entry.signature().as_bytes())
        });
        assert_eq!(evidence.encode(), bytes.0);
        assert_eq!((Evidence::decode(&bytes.0), evidence.verify(&mesh)), (Ok(evidence.clone()), Ok(())));
        json!({ "payload": hex(bytes.0), "mesh": mesh.to_string(), "shows": evidence.cut().to_string() })
    });
    book.check(
        "quarantined",
        |vector| json!({ "why": variant(&Evidence::decode(&vector.bytes("payload")).unwrap_err()) }),
    );
}

/// promise: Entries and memories | Every vector of what is known holds both ways
#[test]
fn successions() {
    let mut book = Book::open("succession.json");
    book.check("vectors", |vector| {
        let key = |name: &str| Keypair::from_seed(&vector.array(name));
        let (mesh, former, member) = (key("root_seed").did(), key("former_seed"), key("member_seed"));
        let parts = vector.list("pins");
        let pins = parts.iter().map(|pin| Pin {
            space: SpaceId::from_bytes(pin.array("space")),
            incarnation: Incarnation(pin.array("incarnation")),
            last: Head { seq: pin.parse("seq"), id: EntryId::from_bytes(pin.array("id")) },
        });
        let succession = Succession::new(&mesh, &former, &member, pins);
        let of_pin = |layout: Layout, pin: &Vector| {
            let layout = layout.raw(&pin.bytes("space")).raw(&pin.bytes("incarnation"));
            layout.u64(pin.parse("seq")).raw(&pin.bytes("id"))
        };
        let unsigned = Layout::default().u16(1).raw(former.did().as_bytes()).raw(member.did().as_bytes());
        let unsigned = parts.iter().fold(unsigned.count(parts.len()), of_pin).0;
        let digest = blake3::derive_key("nexus succession v1", &[mesh.as_bytes().as_slice(), &unsigned].concat());
        let (one, other) = (former.sign(Domain::Succession, &digest), member.sign(Domain::Succession, &digest));
        let bytes = Layout::default().raw(&unsigned).raw(one.as_bytes()).raw(other.as_bytes()).0;
        assert_eq!(succession.encode(), bytes);
        assert_eq!((Succession::decode(&bytes), succession.verify(&mesh)), (Ok(succession.clone()), Ok(())));
        let (former, member) = (former.did().to_string(), member.did().to_string());
        json!({ "payload": hex(bytes), "digest": hex(digest), "mesh": mesh.to_string(), "former": former, "member": member })
    });
    book.check(
        "quarantined",
        |vector| json!({ "why": variant(&Succession::decode(&vector.bytes("payload")).unwrap_err()) }),
    );
}

/// promise: Entries and memories | Every vector of what is known holds both ways
#[test]
fn seats() {
    let mut book = Book::open("seat.json");
    book.check("vectors", |vector| {
        let (generation, group) = (vector.number("generation"), vector.parse("group"));
        let (member, draw): (Did, _) = (vector.parse("member"), vector.parse("draw"));
        let seat = Seat::new(generation, group, member, draw);
        let bytes = Layout::default().u16(1).u32(generation).u64(group).raw(member.as_bytes()).u64(draw).0;
        assert_eq!(seat.encode(), bytes);
        assert_eq!(Seat::decode(&bytes), Ok(seat));
        json!({ "payload": hex(bytes) })
    });
    book.check("quarantined", |vector| json!({ "why": variant(&Seat::decode(&vector.bytes("payload")).unwrap_err()) }));
}

/// promise: Entries and memories | Every vector of what is known holds both ways
#[test]
fn erasures() {
    let mut book = Book::open("erasure.json");
    book.check("erasures", |vector| {
        let leaf = |leaf: &Vector| (EntryId::from_bytes(leaf.array("entry")), leaf.number("leaf"));
        let leaves: Vec<(EntryId, u16)> = vector.list("leaves").iter().map(leaf).collect();
        let layout = Layout::default().u16(1).u32(u32::try_from(leaves.len()).unwrap());
        let bytes = leaves.iter().fold(layout, |layout, (id, leaf)| layout.raw(id.as_bytes()).u16(*leaf)).0;
        let erase = Erase::of(leaves.clone()).unwrap();
        assert_eq!(erase.encode(), bytes);
        assert_eq!(Erase::decode(&bytes), Ok(erase));
        json!({ "payload": hex(bytes) })
    });
    book.check("confirmations", |vector| {
        let ids = vector.list("erasures").iter().map(|id| EntryId::from_bytes(id.array("entry"))).collect::<Vec<_>>();
        let (state, number) = match vector.get("state").as_str().unwrap() {
            "hidden" => (Erased::Hidden, 0),
            _ => (Erased::Gone, 1),
        };
        let layout = Layout::default().u16(1).raw(&[number]).u32(u32::try_from(ids.len()).unwrap());
        let bytes = ids.iter().fold(layout, |layout, id| layout.raw(id.as_bytes())).0;
        let word = Confirmation::of(state, ids.clone()).unwrap();
        assert_eq!(word.encode(), bytes);
        assert_eq!(Confirmation::decode(&bytes), Ok(word));
        json!({ "payload": hex(bytes) })
    });
    book.check("quarantined", |vector| {
        let (kind, payload) = (vector.number::<u16>("kind"), vector.bytes("payload"));
        let why = match Kind(kind) {
            Kind::ERASE => Erase::decode(&payload).unwrap_err(),
            _ => Confirmation::decode(&payload).unwrap_err(),
        };
        json!({ "why": variant(&why) })
    });
}

/// The DIDs of a list.
fn dids(vector: &Vector, field: &str) -> Vec<Did> {
    vector.list(field).iter().map(|did| did.value().as_str().unwrap().parse().unwrap()).collect()
}

/// A dot that may be null.
fn some_dot(vector: &Vector, field: &str) -> Option<Dot> {
    (!vector.get(field).is_null()).then(|| dot(&vector.part(vector.get(field))))
}

/// The event of a task and its bytes, by its fields.
fn task_event_of(vector: &Vector) -> (TaskEvent, Vec<u8>) {
    let number: u8 = vector.number("event");
    let flag = |field: &str| vector.get(field).as_bool().unwrap();
    let layout = Layout::default().raw(&[number]);
    let task = || dot(&vector.part(vector.get("task")));
    let token = || TaskToken::from_bytes(vector.array("token"));
    let nth = |field: &str| usize::from(vector.number::<u8>(field));
    let (event, layout) = match number {
        0 => {
            let after: Vec<Dot> = vector.list("after").iter().map(dot).collect();
            let to = (!vector.get("to").is_null()).then(|| vector.parse::<Did>("to"));
            let deadline_ms = (!vector.get("deadline_ms").is_null()).then(|| vector.parse::<u64>("deadline_ms"));
            let made = Submission {
                capability: vector.text("capability"),
                input: vector.text("input"),
                to,
                priority: Priority::ALL[nth("priority")],
                attempt_ms: vector.parse("attempt_ms"),
                deadline_ms,
                attempts: vector.number("attempts"),
                once: flag("once"),
                needs_approval: flag("needs_approval"),
                preemptible: flag("preemptible"),
                request: vector.text("request"),
                agent: vector.text("agent"),
                after: after.clone(),
                retry_of: some_dot(vector, "retry_of"),
                more: vector.text("more"),
            };
            let layout = layout.text(&made.capability).text(&made.input);
            let layout = match to {
                Some(to) => layout.raw(&[1]).raw(to.as_bytes()),
                None => layout.raw(&[0]),
            };
            let layout = layout.raw(&[vector.number("priority")]).u64(made.attempt_ms);
            let layout = match deadline_ms {
                Some(deadline) => layout.raw(&[1]).u64(deadline),
                None => layout.raw(&[0]),
            };
            let flags = [made.once, made.needs_approval, made.preemptible].map(u8::from);
            let layout = layout.u16(made.attempts).raw(&flags).text(&made.request).text(&made.agent);
            let layout = after.iter().fold(layout.count(after.len()), |layout, dot| layout.dot(*dot));
            let layout = match made.retry_of {
                Some(former) => layout.raw(&[1]).dot(former),
                None => layout.raw(&[0]),
            };
            let layout = layout.text(&made.more);
            (TaskEvent::Submitted(Box::new(made)), layout)
        }
        1 => {
            let (ownership, attempt) = (vector.number("ownership"), vector.number("attempt"));
            let (worker, agent): (Did, _) = (vector.parse("worker"), vector.text("agent"));
            let layout = layout.dot(task()).u32(ownership).u32(attempt).raw(token().as_bytes());
            let layout = layout.raw(worker.as_bytes()).text(&agent);
            (TaskEvent::Claimed(TaskClaim { task: task(), ownership, attempt, token: token(), worker, agent }), layout)
        }
        2 => {
            let (ownership, error) = (vector.number("ownership"), vector.text("error"));
            let causes = [ReturnCause::Failed, ReturnCause::Expired, ReturnCause::Released, ReturnCause::Preempted];
            let layout = layout.dot(task()).u32(ownership).raw(token().as_bytes());
            let layout = layout.raw(&[vector.number("cause")]).text(&error);
            let cause = causes[nth("cause")];
            (TaskEvent::Returned(TaskReturn { task: task(), ownership, token: token(), cause, error }), layout)
        }
        3 => {
            let ownership = vector.number("ownership");
            let token = (!vector.get("token").is_null()).then(token);
            let text = |field: &str| vector.text(field);
            let layout = layout.dot(task()).u32(ownership);
            let layout = match token {
                Some(token) => layout.raw(&[1]).raw(token.as_bytes()),
                None => layout.raw(&[0]),
            };
            let layout = layout.raw(&[vector.number("outcome")]).text(&text("output")).text(&text("code"));
            let layout = layout.text(&text("error")).text(&text("more"));
            let outcome = TaskEnd::ALL[nth("outcome")];
            let (output, code, error, more) = (text("output"), text("code"), text("error"), text("more"));
            let settled = Settlement { task: task(), ownership, token, outcome, output, code, error, more };
            (TaskEvent::Settled(Box::new(settled)), layout)
        }
        _ => {
            let verb = [TaskVerb::Approve, TaskVerb::Reject, TaskVerb::Cancel][nth("verb")];
            let layout = layout.dot(task()).raw(&[vector.number("verb")]).text(&vector.text("why"));
            (TaskEvent::Word(TaskWord { task: task(), verb, why: vector.text("why") }), layout)
        }
    };
    (event, layout.0)
}

/// The members that may approve a task of a vector.
struct Approvers(Vec<Did>);

impl TaskRights for Approvers {
    fn may_approve(&self, member: &Did) -> bool {
        self.0.contains(member)
    }

    fn may_cancel(&self, member: &Did) -> bool {
        self.0.contains(member)
    }

    fn has_left(&self, _: &Did) -> bool {
        false
    }
}

/// promise: Entries and memories | Every vector of what is known holds both ways
#[test]
fn task_events_and_states() {
    let mut book = Book::open("task.json");
    book.check("vectors", |vector| {
        let (event, bytes) = task_event_of(vector);
        assert_eq!(event.encode(), bytes);
        assert_eq!(TaskEvent::decode(&bytes), Ok(event));
        json!({ "bytes": hex(bytes) })
    });
    book.check("apart", |vector| {
        let (event, bytes) = task_event_of(vector);
        let leaves = event.into_leaves();
        // facts and texts together are as long as the event in one piece, but for the flag, the 255 and each length twice
        let texts = leaves.get(1).map_or(0, |texts| texts.len() - 1);
        assert!(leaves[0].len() + texts > bytes.len(), "nothing is lost");
        let leaves: Vec<String> = leaves.into_iter().map(hex).collect();
        json!({ "leaves": leaves })
    });
    book.check(
        "quarantined",
        |vector| json!({ "why": variant(&TaskEvent::decode(&vector.bytes("bytes")).unwrap_err()) }),
    );
    book.check("states", |vector| {
        let submitter: Did = vector.parse("submitter");
        let rights = Approvers(dids(vector, "approvers"));
        let heard: Vec<HeardEvent> = (0_u8..)
            .zip(vector.list("said"))
            .map(|(n, said)| {
                let (_, of) = TaskSaid::of(&task_event_of(&said.part(said.get("event"))).0).unwrap();
                let dot = Dot { entry: EntryId::from_bytes([n; 32]), index: 0 };
                HeardEvent { by: said.parse("by"), hlc: Hlc(said.parse("hlc")), dot, said: of }
            })
            .collect();
        let heirs = dids(vector, "heirs");
        let owners = TaskOwners { submitter: &submitter, heirs: &heirs };
        let state = task_state(owners, vector.get("needs_approval").as_bool().unwrap(), &heard, &rights);
        let phase = match state.phase {
            TaskPhase::Over(end) => format!("over: {}", end.as_str()),
            TaskPhase::AwaitingApproval => "awaiting approval".to_owned(),
            TaskPhase::Pending => "pending".to_owned(),
            TaskPhase::Assigned => "assigned".to_owned(),
        };
        let (ownership, settler) = state.owner().unwrap();
        let late: Vec<u8> = state.late.iter().map(|dot| dot.entry.as_bytes()[0]).collect();
        json!({
            "phase": phase,
            "settler": settler.to_string(),
            "ownership": ownership,
            "claims": state.claims,
            "failures": state.failures,
            "expiries": state.expiries,
            "claim": state.claim.map(|(token, ..)| token.to_string()),
            "late": late,
        })
    });
}

/// promise: Entries and memories | Every vector of what is known holds both ways
#[test]
fn clocks() {
    let mut book = Book::open("hlc.json");
    book.check("vectors", |vector| {
        let hlc = Hlc(vector.parse("hlc"));
        let (ms, counter) = (hlc.0 >> 16, hlc.0 & 0xffff);
        assert_eq!(hlc.time(), Timestamp::from_ms(ms));
        assert_eq!(Hlc::at(Timestamp::from_ms(ms)).0 | counter, hlc.0);
        json!({ "ms": ms.to_string(), "counter": counter, "time": hlc.time().to_string() })
    });
}

/// promise: Entries and memories | Every vector of what is known holds both ways
#[test]
fn frontiers() {
    let mut book = Book::open("frontier.json");
    book.check("vectors", |vector| {
        let mut heads: Vec<(LogId, Head)> = Vec::new();
        for head in vector.list("heads") {
            heads.push((log(&head), Head { seq: head.parse("seq"), id: entry_id(&head, "id") }));
        }
        let frontier: Frontier = heads.iter().copied().rev().collect();
        heads.sort_by_key(|(log, _)| (*log.space.as_bytes(), *log.author.as_bytes(), log.incarnation.0));
        let bytes = heads.iter().fold(Layout::default(), |bytes, (log, head)| {
            let bytes = bytes.raw(log.space.as_bytes()).raw(log.author.as_bytes()).raw(&log.incarnation.0);
            bytes.u64(head.seq).raw(head.id.as_bytes())
        });
        assert_eq!(frontier.digest(), blake3::derive_key("nexus frontier v1", &bytes.0));
        json!({ "digest": hex(frontier.digest()) })
    });
}

/// promise: Entries and memories | Every vector of what is known holds both ways
#[test]
fn dots() {
    let mut book = Book::open("dot.json");
    book.check("vectors", |vector| {
        let dot = dot(vector);
        let bytes = [dot.entry.as_bytes().as_slice(), &dot.index.to_be_bytes()].concat();
        assert_eq!(dot.to_bytes().as_slice(), bytes);
        assert_eq!(Dot::from_bytes(&bytes), Some(dot));
        assert_eq!(Dot::from_hex(&hex(&bytes)), Some(dot));
        assert_eq!(dot.to_string().parse::<DotPrefix>().unwrap().dot_in(dot.entry), Some(dot));
        json!({ "hex": hex(&bytes), "text": dot.to_string() })
    });
    book.check("beginnings", |vector| {
        let typed: DotPrefix = vector.parse("text");
        json!({ "bytes": hex(typed.bytes()), "matches": typed.dot_in(entry_id(vector, "entry")).map(dot_json) })
    });
    book.check("refused", |vector| {
        assert!(vector.text("text").parse::<DotPrefix>().is_err());
        json!({})
    });
}

/// promise: Entries and memories | Every vector of what is known holds both ways
#[test]
fn versions() {
    let mut book = Book::open("version.json");
    book.check("vectors", |vector| {
        let dots: Vec<Dot> = vector.list("live").iter().map(dot).collect();
        let version = version_of(dots.iter().copied());
        assert_eq!(version_of(dots.iter().rev().copied()), version);
        json!({ "version": version })
    });
}

/// promise: Entries and memories | Every vector of what is known holds both ways
/// promise: Bad input | Writes that overwrite what they do not know, or another field or record
///
/// The result of entries of one space: records, versions, and their page as an Automerge document.
#[test]
fn folds_and_pages() {
    let mut book = Book::open("page.json");
    book.check("vectors", |vector| {
        let mut fold = Fold::default();
        let mut page = Vec::new();
        for entry in vector.list("entries") {
            let (id, writes) = (entry_id(&entry, "id"), writes(&entry));
            assert_eq!(Writes::decode(Some(&writes.encode())), Ok(writes.clone()));
            fold.insert(id, &writes);
            for (index, write) in (0..).zip(writes.0) {
                let dot = Dot { entry: id, index };
                let record = match write.target {
                    Target::Create { .. } => dot,
                    Target::Edit { record } => record,
                };
                page.push(PageWrite { dot, record, field: write.field, value: write.value, over: write.over });
            }
        }
        let mut records = Map::new();
        for record in fold.records() {
            let fields = fold.fields(record);
            let version = version_of(fields.values().flatten().map(|live| live.dot));
            let fields: Map<String, Value> = fields
                .into_iter()
                .map(|(field, live)| {
                    let live = live.iter().map(|live| json!({ "dot": live.dot.to_hex(), "value": live.value }));
                    (field.as_str().to_owned(), live.collect())
                })
                .collect();
            records.insert(record.to_hex(), json!({ "live": fields, "version": version }));
        }
        page.reverse();
        let document = project(page).unwrap();
        let mut changes: Vec<(String, String)> =
            document.get_changes(&[]).iter().map(|change| (hex(change.hash().0), hex(change.raw_bytes()))).collect();
        changes.sort();
        let mut shown = Map::new();
        for key in document.keys(automerge::ROOT) {
            let values = document.get_all(automerge::ROOT, &key).unwrap();
            let mut values: Vec<String> = values.iter().map(|(value, _)| value.as_str().unwrap().to_owned()).collect();
            values.sort();
            shown.insert(key, json!(values));
        }
        let mut heads: Vec<String> = document.get_heads().iter().map(|hash| hex(hash.0)).collect();
        heads.sort();
        let changes: Vec<Value> = changes.iter().map(|(hash, bytes)| json!({ "hash": hash, "bytes": bytes })).collect();
        json!({ "records": records, "changes": changes, "heads": heads, "root": shown })
    });
}

fn head_frame(vector: &Vector) -> LogHead {
    LogHead::new(&log(vector), &Head { seq: vector.parse("seq"), id: entry_id(vector, "id") })
}

fn heads_json(heads: &[LogHead]) -> Value {
    let each = heads.iter().map(|head| {
        let (log, head) = head.parse().unwrap();
        json!({
            "space": log.space.to_string(), "author": log.author.to_string(), "incarnation": hex(log.incarnation.0),
            "seq": head.seq.to_string(), "id": hex(head.id.as_bytes()),
        })
    });
    each.collect()
}

/// promise: Entries and memories | Every vector of what is known holds both ways
#[test]
fn sync_frames() {
    use sync_frame::{AckFrame, Body, DigestFrame, EntriesFrame, FullFrame};
    let mut book = Book::open("sync.json");
    book.check("vectors", |vector| {
        let heads = || vector.list("heads").iter().map(head_frame).collect();
        let body = match vector.text("body").as_str() {
            "frontier" => Body::Frontier(FrontierPart { heads: heads(), last: vector.get("last") == true }),
            "entries" => {
                let entry = |entry: &Vector| EntryFrame {
                    header: entry.bytes("header"),
                    signature: entry.bytes("signature"),
                    payload: entry.has("payload").then(|| entry.bytes("payload")),
                    traceparent: if entry.has("traceparent") { entry.text("traceparent").into_bytes() } else { vec![] },
                    follows: None,
                };
                Body::Entries(EntriesFrame { entries: vector.list("entries").iter().map(entry).collect() })
            }
            "ack" => Body::Ack(AckFrame { heads: heads() }),
            "digest" => Body::Digest(DigestFrame { digest: vector.bytes("digest") }),
            "full" => {
                let author = |author: &Vector| FullAuthor {
                    author: author.parse::<Did>("author").as_bytes().to_vec(),
                    all: author.get("all") == true,
                    memories: author.get("memories") == true,
                    logs: author.get("logs") == true,
                    of_mesh: author.has("of_mesh") && author.get("of_mesh") == true,
                    spaces: author.list("spaces").iter().map(|space| space.bytes("space")).collect(),
                };
                Body::Full(FullFrame { authors: vector.list("authors").iter().map(author).collect() })
            }
            other => panic!("no body {other}"),
        };
        let bytes = SyncFrame { body: Some(body) }.encode_to_vec();
        let mut fields = match SyncFrame::decode(bytes.as_slice()).unwrap().body.unwrap() {
            Body::Frontier(part) => json!({ "heads": heads_json(&part.heads), "last": part.last }),
            Body::Entries(EntriesFrame { entries }) => {
                let each = entries.into_iter().map(|frame| {
                    let traceparent = String::from_utf8(frame.traceparent.clone()).unwrap();
                    let entry = frame.parse().unwrap();
                    let mut fields = json!({
                        "header": hex(entry.header_bytes()), "signature": hex(entry.signature().as_bytes()),
                    });
                    if let Some(payload) = entry.payload() {
                        fields["payload"] = json!(hex(payload));
                    }
                    if !traceparent.is_empty() {
                        fields["traceparent"] = json!(traceparent);
                    }
                    fields
                });
                json!({ "entries": each.collect::<Value>() })
            }
            Body::Ack(AckFrame { heads }) => json!({ "heads": heads_json(&heads) }),
            Body::Digest(DigestFrame { digest }) => json!({ "digest": hex(digest) }),
            Body::Full(FullFrame { authors }) => {
                let each = authors.iter().map(|full| {
                    let author = Did::from_bytes(full.author.as_slice().try_into().unwrap());
                    let spaces = full.spaces.iter().map(|space| json!({ "space": hex(space) }));
                    json!({
                        "author": author.to_string(), "all": full.all, "memories": full.memories, "logs": full.logs,
                        "spaces": spaces.collect::<Value>(),
                    })
                });
                json!({ "authors": each.collect::<Value>() })
            }
        };
        fields["bytes"] = json!(hex(&bytes));
        // a reader skips unknown fields
        let unknown = [&bytes[..], &[0xfa, 0x01, 0x01, 0x07]].concat();
        assert_eq!(SyncFrame::decode(unknown.as_slice()).unwrap().encode_to_vec(), bytes);
        fields
    });
}

/// The headers of a stream, shortened by hand.
#[derive(Default)]
struct ShortHeaders {
    logs: Vec<Vec<u8>>,
    last: Vec<(u64, [u8; 32])>,
}

impl ShortHeaders {
    fn entry(&mut self, whole: &EntryFrame) -> EntryFrame {
        let header = &whole.header;
        let (log, seq, prev) = (&header[..106], &header[106..114], &header[114..146]);
        let seq = u64::from_le_bytes(seq.try_into().unwrap());
        let number = self.logs.iter().position(|one| one == log);
        let follows = number.filter(|number| {
            let (last_seq, last) = self.last[*number];
            whole.payload.is_some() && last_seq + 1 == seq && last == prev
        });
        let number = number.unwrap_or(self.logs.len());
        self.logs.resize(self.logs.len().max(number + 1), log.to_vec());
        self.last.resize(self.logs.len(), (0, [0; 32]));
        self.last[number] = (seq, blake3::derive_key("nexus entry v1", header));
        match follows {
            None => whole.clone(),
            Some(number) => EntryFrame {
                header: header[146..header.len() - 32].to_vec(),
                follows: Some(u32::try_from(number).unwrap()),
                ..whole.clone()
            },
        }
    }
}

/// promise: Entries and memories | Every vector of what is known holds both ways
#[test]
fn short_headers() {
    let mut book = Book::open("sync.json");
    book.check("streams", |vector| {
        let space = SpaceId::from_bytes([7; 32]);
        let frame_of =
            |entries| SyncFrame { body: Some(sync_frame::Body::Entries(sync_frame::EntriesFrame { entries })) };
        let mut heads = std::collections::BTreeMap::new();
        let mut make = |entry: &Vector| {
            let key = Keypair::from_seed(&entry.array("seed"));
            let log = LogId { space, author: key.did(), incarnation: Incarnation([1; 8]) };
            let after = heads.get(&log).copied();
            let hlc = Hlc(after.map_or(1, |head: Head| head.seq + 1));
            let payload = entry.bytes("payload").into();
            let draft =
                Draft { mesh: key.did(), log, after: after.as_ref(), hlc, kind: Kind::WRITES, refs: vec![], payload };
            let made = Verified::write(draft, &key);
            heads.insert(log, Head { seq: made.header().seq, id: made.id() });
            let payload = if entry.has("gone") { None } else { EntryFrame::new(&made).payload };
            (!entry.has("skipped")).then(|| EntryFrame { payload, ..EntryFrame::new(&made) })
        };
        let whole: Vec<SyncFrame> = (vector.list("frames").iter())
            .map(|frame| frame_of(frame.list("entries").iter().filter_map(&mut make).collect()))
            .collect();
        let (mut by_hand, mut shortener, mut lengthener) =
            (ShortHeaders::default(), Shortener::default(), Lengthener::default());
        let sent = whole.iter().map(|frame| {
            let Some(sync_frame::Body::Entries(entries)) = &frame.body else { panic!("no entries") };
            let short = frame_of(entries.entries.iter().map(|entry| by_hand.entry(entry)).collect());
            let mut shortened = frame.clone();
            shortener.shorten(&mut shortened);
            assert_eq!(shortened, short);
            lengthener.lengthen(&mut shortened).unwrap();
            assert_eq!(shortened, *frame);
            hex(short.encode_to_vec())
        });
        let sent: Value = sent.collect();
        json!({ "sent": sent, "whole": whole.iter().map(|frame| hex(frame.encode_to_vec())).collect::<Value>() })
    });
}
