//! Every vector of `docs/vectors` about identities, both ways: the fields make the bytes, the bytes
//! read as the fields.
//!
//! This file makes the bytes by hand, as `docs/spec.md` describes them, and compares them with the
//! crate's. To add a vector, write its fields without the derived ones and run `NEXUS_VECTORS=fill
//! cargo test -p nexus-identity --test vectors`. Then check the fields that were filled in.

#![allow(clippy::unwrap_used, reason = "a failing vector panics")]

#[path = "vectors/book.rs"]
mod book;

use book::{Book, Vector, hex, variant};
use nexus_identity::{
    Chain, Claims, Credential, Did, Domain, Keypair, Name, Role, Signature, Ticket, TicketPerson, Timestamp,
};
use serde_json::{Value, json};

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

    fn bytes(self, bytes: &[u8]) -> Self {
        self.u32(u32::try_from(bytes.len()).unwrap()).raw(bytes)
    }

    fn did(self, did: Did) -> Self {
        self.raw(did.as_bytes())
    }
}

fn key(vector: &Vector, field: &str) -> Keypair {
    Keypair::from_seed(&vector.array(field))
}

fn domain(vector: &Vector) -> Domain {
    match vector.text("domain").as_str() {
        "entry" => Domain::Entry,
        "credential" => Domain::Credential,
        "presence" => Domain::Presence,
        "proposal" => Domain::Proposal,
        "revocation" => Domain::Revocation,
        "succession" => Domain::Succession,
        "snapshot" => Domain::Snapshot,
        "certificate" => Domain::Certificate,
        other => panic!("no domain {other}"),
    }
}

/// promise: Identities | Every vector of keys, names, credentials and tickets holds both ways
#[test]
fn dids() {
    let mut book = Book::open("did.json");
    book.check("vectors", |vector| {
        let did = key(vector, "seed").did();
        let multicodec = Layout::default().raw(&[0xed, 0x01]).did(did).0;
        assert_eq!(did.to_string(), format!("did:key:z{}", bs58::encode(multicodec).into_string()));
        assert_eq!(did.to_string().parse(), Ok(did));
        json!({ "public_key": hex(did.as_bytes()), "did": did.to_string() })
    });
    book.check("refused", |vector| json!({ "why": variant(&vector.text("did").parse::<Did>().unwrap_err()) }));
}

/// promise: Identities | Every vector of keys, names, credentials and tickets holds both ways
#[test]
fn names() {
    let mut book = Book::open("name.json");
    book.check("vectors", |vector| {
        let text = vector.text("text");
        let name: Name = text.parse().unwrap();
        let bytes = Layout::default().bytes(text.as_bytes()).0;
        assert_eq!(borsh::to_vec(&name).unwrap(), bytes);
        assert_eq!(borsh::from_slice::<Name>(&bytes).unwrap(), name);
        json!({ "bytes": hex(bytes) })
    });
    book.check("refused", |vector| {
        let text = vector.text("text");
        assert!(borsh::from_slice::<Name>(&Layout::default().bytes(text.as_bytes()).0).is_err());
        json!({ "why": variant(&text.parse::<Name>().unwrap_err()) })
    });
}

/// promise: Identities | Every vector of keys, names, credentials and tickets holds both ways
#[test]
fn signatures() {
    let mut book = Book::open("signature.json");
    book.check("vectors", |vector| {
        let (key, domain, digest) = (key(vector, "seed"), domain(vector), vector.array("digest"));
        let signature = key.sign(domain, &digest);
        assert_eq!(key.did().verify(domain, &digest, &signature), Ok(()));
        let message = Layout::default().raw(domain.prefix()).raw(&digest).0;
        json!({ "message": hex(message), "signature": hex(signature.as_bytes()) })
    });
    book.check("refused", |vector| {
        let did = Did::from_bytes(vector.array("public_key"));
        let signature = Signature::from_bytes(vector.array("signature"));
        json!({ "why": variant(&did.verify(domain(vector), &vector.array("digest"), &signature).unwrap_err()) })
    });
}

/// promise: Identities | DIDs, DID documents and signatures are what another implementation makes
///
/// The vectors were made by another implementation, so no error of this crate hides in them.
#[test]
fn dids_and_signatures_are_what_another_implementation_makes() {
    let mut book = Book::open("did_oracle.json");
    book.check("vectors", |vector| {
        let (key, domain) = (key(vector, "seed"), domain(vector));
        let (did, digest) = (key.did(), vector.array("digest"));
        assert_eq!(hex(did.as_bytes()), vector.text("public_key"));
        assert_eq!(did.to_string(), vector.text("did"));
        assert_eq!(did.to_string(), vector.text("document_id"));
        assert_eq!([domain.prefix(), &digest[..]].concat(), vector.bytes("message"));
        let theirs = Signature::from_bytes(vector.array("signature"));
        assert_eq!(key.sign(domain, &digest), theirs);
        assert_eq!(did.verify(domain, &digest, &theirs), Ok(()));
        json!({})
    });
}

/// The claims of a vector, by hand. They may be claims that the crate never issues.
fn claims_bytes(vector: &Vector) -> Vec<u8> {
    if vector.has("claims") && !vector.has("subject") {
        return vector.bytes("claims");
    }
    let roles = vector.list("roles");
    let front = Layout::default()
        .u16(if vector.has("format") { vector.number("format") } else { 1 + u16::from(vector.has("person")) })
        .did(vector.parse("mesh"))
        .did(vector.parse("issuer"))
        .did(vector.parse("subject"))
        .bytes(vector.text("member").as_bytes())
        .u32(u32::try_from(roles.len()).unwrap());
    let roles = roles.iter().map(|role| u16::try_from(role.value().as_u64().unwrap()).unwrap());
    let back = roles.fold(front, Layout::u16).u64(vector.parse("issued_at"));
    let back = match vector.get("expires_at") {
        Value::Null => back.raw(&[0]),
        _ => back.raw(&[1]).u64(vector.parse("expires_at")),
    };
    if vector.has("person") { back.did(vector.parse("person")).0 } else { back.0 }
}

/// The credential of a vector, signed by its `signer_seed`.
fn credential_bytes(vector: &Vector) -> Vec<u8> {
    let claims = claims_bytes(vector);
    let digest = blake3::derive_key("nexus credential v1", &claims);
    let signature = key(vector, "signer_seed").sign(Domain::Credential, &digest);
    Layout::default().bytes(&claims).raw(signature.as_bytes()).0
}

fn credential(vector: &Vector) -> Credential {
    borsh::from_slice(&credential_bytes(vector)).unwrap()
}

fn optional(timestamp: Option<Timestamp>) -> Value {
    timestamp.map_or(Value::Null, |timestamp| json!(timestamp.as_ms().to_string()))
}

/// promise: Identities | Every vector of keys, names, credentials and tickets holds both ways
#[test]
fn credentials() {
    let mut book = Book::open("credential.json");
    book.check("vectors", |vector| {
        let (bytes, credential) = (credential_bytes(vector), credential(vector));
        let read = credential.claims().unwrap();
        // the crate issues the same bytes, but for roles that it does not know
        let known: Vec<Role> = read.roles.iter().collect();
        if known.len() == vector.list("roles").len() {
            let made = Claims::new(read.mesh, read.subject, read.name.clone(), known, read.issued_at);
            let made = made.issued_by(read.issuer).expiring(read.expires_at).of_person(read.person);
            let made = made.sign(&key(vector, "signer_seed"));
            assert_eq!(borsh::to_vec(&made).unwrap(), bytes);
        }
        let claims = claims_bytes(vector);
        let mut derived = json!({
            "mesh": read.mesh.to_string(),
            "issuer": read.issuer.to_string(),
            "subject": read.subject.to_string(),
            "member": read.name.as_str(),
            "allows": read.roles.iter().max().map(Role::as_str),
            "issued_at": read.issued_at.as_ms().to_string(),
            "expires_at": optional(read.expires_at),
            "digest": hex(blake3::derive_key("nexus credential v1", &claims)),
            "claims": hex(&claims),
            "signature": hex(&bytes[bytes.len() - 64..]),
        });
        if let Some(person) = read.person {
            derived["person"] = json!(person.to_string());
        }
        derived
    });
    book.check("refused", |vector| {
        let credential: Credential =
            borsh::from_slice(&Layout::default().bytes(&claims_bytes(vector)).raw(&[0; 64]).0).unwrap();
        json!({ "why": variant(&credential.claims().unwrap_err()), "claims": hex(claims_bytes(vector)) })
    });
}

/// The chain of a vector's links, by hand.
fn chain_bytes(vector: &Vector) -> Vec<u8> {
    let links = vector.list("links");
    let count = Layout::default().u32(u32::try_from(links.len()).unwrap());
    links.iter().fold(count, |bytes, link| bytes.raw(&credential_bytes(link))).0
}

/// promise: Identities | Every vector of keys, names, credentials and tickets holds both ways
#[test]
fn chains() {
    let mut book = Book::open("chain.json");
    book.check("vectors", |vector| {
        let bytes = chain_bytes(vector);
        let chain = Chain::from_bytes(&bytes).unwrap();
        let links = vector.list("links");
        let mut grown = Chain::found(credential(&links[0])).unwrap();
        for link in &links[1..] {
            grown = grown.extend(credential(link)).unwrap();
        }
        assert_eq!(grown, chain);
        assert_eq!(grown.to_bytes(), bytes);
        let last = chain.verify(&vector.parse("mesh")).unwrap();
        json!({
            "chain": hex(bytes),
            "subject": last.subject.to_string(),
            "ends_at": optional(chain.expires_at().unwrap()),
        })
    });
    book.check("refused", |vector| {
        let bytes = chain_bytes(vector);
        let refused = Chain::from_bytes(&bytes).and_then(|chain| chain.verify(&vector.parse("mesh"))).unwrap_err();
        json!({ "chain": hex(bytes), "why": variant(&refused) })
    });
}

/// Whether the ticket of a vector says whose machine joins.
fn says_person(vector: &Vector) -> bool {
    vector.has("inviters_person") || vector.has("somebody_called")
}

/// A ticket's text, by hand.
fn ticket_text(vector: &Vector) -> String {
    let addresses = vector.list("addresses");
    let front = Layout::default()
        .u16(if vector.has("format") { vector.number("format") } else { 1 + u16::from(says_person(vector)) })
        .did(vector.parse("mesh"))
        .did(vector.parse("inviter"))
        .u32(u32::try_from(addresses.len()).unwrap());
    let ticket = addresses
        .iter()
        .fold(front, |bytes, address| bytes.bytes(address.value().as_str().unwrap().as_bytes()))
        .u16(vector.number("role"))
        .u64(vector.parse("expires_at"))
        .u32(vector.number("uses"))
        .raw(&vector.array::<16>("id"))
        .raw(&vector.array::<16>("secret"));
    let bytes = match vector {
        _ if vector.has("inviters_person") => ticket.raw(&[0]).did(vector.parse("inviters_person")).0,
        _ if vector.has("somebody_called") => ticket.raw(&[1]).bytes(vector.text("somebody_called").as_bytes()).0,
        _ => ticket.0,
    };
    let checksum = blake3::derive_key("nexus ticket checksum v1", &bytes);
    let whole = [&bytes[..], &checksum[..5]].concat();
    format!("nexus1{}", data_encoding::BASE32_NOPAD.encode(&whole).to_ascii_lowercase())
}

/// promise: Identities | Every vector of keys, names, credentials and tickets holds both ways
#[test]
fn tickets() {
    let mut book = Book::open("ticket.json");
    book.check("vectors", |vector| {
        let text = ticket_text(vector);
        let ticket: Ticket = text.parse().unwrap();
        assert_eq!(ticket.to_string(), text);
        let mut derived = json!({
            "text": text,
            "mesh": ticket.mesh.to_string(),
            "inviter": ticket.inviter.to_string(),
            "addresses": ticket.addresses,
            "gives": ticket.role().map(Role::as_str),
            "expires_at": ticket.expires_at.as_ms().to_string(),
            "uses": ticket.uses,
            "id": hex(ticket.id),
            "secret": hex(ticket.secret),
        });
        match ticket.person {
            Some(TicketPerson::Inviters(person)) => derived["inviters_person"] = json!(person.to_string()),
            Some(TicketPerson::Other(name)) => derived["somebody_called"] = json!(name.as_str()),
            None => {}
        }
        derived
    });
    book.check("refused", |vector| {
        let text = if vector.has("mesh") { ticket_text(vector) } else { vector.text("text") };
        json!({ "why": variant(&text.parse::<Ticket>().unwrap_err()), "text": text })
    });
}
