//! The vectors of `docs/vectors` about documents: ids, first changes, and which changes the judge accepts.
//!
//! To add one, write its fields without the derived ones and run `NEXUS_VECTORS=fill cargo test -p nexus-documents --test
//! vectors`. Then check the fields that were filled in.

#![allow(clippy::unwrap_used, reason = "a failing vector panics")]

#[expect(dead_code, reason = "vectors of other crates have fields of other types")]
#[path = "../../nexus-identity/tests/vectors/book.rs"]
mod book;

use book::{Book, hex, variant};
use nexus_documents::{Change, DocumentId, Judge, genesis};
use serde_json::json;

/// promise: Entries and memories | Every vector of what is known holds both ways
#[test]
fn ids_of_keys() {
    let mut book = Book::open("document.json");
    book.check("ids", |vector| {
        let (space, key, generation) = (vector.array("space"), vector.text("key"), vector.parse::<u64>("generation"));
        let hashed = [&space[..], &generation.to_le_bytes(), key.as_bytes()].concat();
        let id = DocumentId::of_key(&space, &key, generation);
        assert_eq!(id.as_bytes(), &blake3::derive_key("nexus document of a key", &hashed)[..16]);
        assert_eq!(id.to_string().parse(), Ok(id));
        let first = genesis(id);
        let change = Change::parse(&first).unwrap();
        assert_eq!((change.actor(), change.seq(), change.time()), (&id.as_bytes()[..], 1, 0));
        json!({ "id": hex(id.as_bytes()), "url": id.to_string(), "first": hex(&first), "first_hash": hex(change.hash().0) })
    });
}

/// promise: Documents | Every vector of a change is accepted or refused, and the library applies what is accepted
#[test]
fn changes_of_documents() {
    let mut book = Book::open("document.json");
    book.check("changes", |vector| {
        let (mut judge, mut library) = (Judge::new(), automerge::AutoCommit::new());
        let each = vector.get("bytes").as_array().unwrap().iter().map(|bytes| {
            let bytes = data_encoding::HEXLOWER.decode(bytes.as_str().unwrap().as_bytes()).unwrap();
            let change = match Change::parse(&bytes) {
                Ok(change) => change,
                Err(fault) => return json!({ "why": variant(&fault) }),
            };
            let known = json!({ "hash": hex(change.hash().0), "actor": hex(change.actor()), "seq": change.seq() });
            match judge.accept(&change) {
                Ok(()) => {
                    library.load_incremental(&bytes).unwrap();
                    known
                }
                Err(fault) => json!({ "hash": known["hash"], "why": variant(&fault) }),
            }
        });
        let verdicts: Vec<_> = each.collect();
        json!({ "verdicts": verdicts })
    });
}

/// promise: Documents | Every vector of a member's actor in a document has its bytes
#[test]
fn actors_of_members() {
    let mut book = Book::open("document.json");
    book.check("actors", |vector| {
        let document: [u8; 16] = vector.array("document");
        let hash = |name: &str, parts: &[&[u8]]| blake3::derive_key(name, &parts.concat());
        let tag = hash("nexus document actors", &[&document]);
        let own = [&vector.bytes("author")[..], &vector.bytes("incarnation"), &document];
        let own = hash("nexus document actor", &own);
        json!({ "actor": hex([b"nxd1", &tag[..4], &own[..16]].concat()) })
    });
}
