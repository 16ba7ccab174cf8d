//! Entries, their payloads, and the frames that they come in.

use std::collections::{BTreeMap, BTreeSet};

use nexus_crdt::sync_frame::Body;
use nexus_crdt::{
    ALL_LEAVES, AgentName, Confirmation, Core, Dot, DotPrefix, Entry, EntryFrame, EntryId, Erase, Evidence, FIELDS,
    Fold, Frontier, Head, Header, Hlc, Incarnation, LEAVES_MAX, Leaf, Leaves, LogId, Members, Origin, PINS_MAX,
    PROOF_BYTES_MAX, PageWrite, PlacedRevocation, PlacedSuccession, Profile, Revocation, SUCCESSION_PINS_MAX, Seat,
    SpaceDefinition, SpaceId, Succession, SyncFrame, Target, Verified, Write, Writes, check_proof, plan, project,
    unnamed_spaces, version_of, writes_of,
};
use nexus_identity::{Did, Keypair};
use prost::Message;

use super::identity::root;

fn log(n: u8) -> LogId {
    let author = Keypair::from_seed(&[n; 32]).did();
    LogId { space: SpaceId::mesh(&root()), author, incarnation: Incarnation([n; 8]) }
}

/// An entry on its way, by gossip or by sync.
pub(super) fn entry_frame(bytes: &[u8]) -> bool {
    let Ok(frame) = EntryFrame::decode(bytes) else { return false };
    let again = EntryFrame::decode(frame.encode_to_vec().as_slice());
    assert_eq!(again.as_ref(), Ok(&frame), "a frame is the same when it is written and read again");
    let Ok(entry) = frame.clone().parse() else { return false };
    assert!(entry.header().encode() == frame.header, "a header has one encoding");
    let passed_on = EntryFrame { traceparent: frame.traceparent, ..EntryFrame::new(&entry) }.parse();
    assert_eq!(passed_on.as_ref(), Ok(&entry), "an entry is passed on as it came");
    let _ = (entry.content().map(<[u8]>::len), entry.lacks());
    written(&entry);
    let mesh = entry.header().mesh;
    let Ok(verified) = entry.verify(&mesh) else { return false };
    // the rest of it verifies as before
    for leaf in [0, 1, ALL_LEAVES] {
        let less = verified.clone().without(leaf);
        let lacks = less.lacks();
        let again = EntryFrame::new(&less).parse().map(|entry| entry.verify(&mesh));
        assert!(matches!(&again, Ok(Ok(again)) if *again == less), "an emptied entry verifies");
        assert!(lacks.len() <= LEAVES_MAX, "it lacks its leaves");
    }
    true
}

/// The writes of an entry are where they are said to be.
fn written(entry: &Entry) {
    let Ok(placed) = writes_of(entry) else { return };
    let payload = entry.payload().unwrap_or_default();
    for placed in &placed {
        let at = usize::try_from(placed.value_at).unwrap_or(usize::MAX);
        let value = payload.get(at..).and_then(|rest| rest.get(..placed.write.value.len()));
        assert_eq!(value, Some(placed.write.value.as_bytes()), "a value is in its place");
    }
    let mut fold = Fold::default();
    fold.insert_placed(entry.id(), &placed);
    shown(&fold);
}

/// All that a fold shows.
fn shown(fold: &Fold) {
    for record in fold.records() {
        let fields = fold.fields(record);
        let _ = version_of(fields.values().flatten().map(|live| live.dot));
        for (field, live) in &fields {
            assert_eq!(&fold.live(record, field.as_str()), live, "a field has its live values");
        }
    }
}

/// The signed part of an entry.
pub(super) fn header(bytes: &[u8]) -> bool {
    let Ok(header) = Header::decode(bytes) else { return false };
    assert!(header.encode() == bytes, "a header has one encoding");
    let _ = (header.hlc.time().to_string(), header.log());
    true
}

/// A payload in parts.
pub(super) fn leaves(bytes: &[u8]) -> bool {
    let Ok(leaves) = Leaves::decode(bytes) else { return false };
    assert!(leaves.encode() == bytes, "leaves have one encoding");
    let root = leaves.root();
    for (_, from, said) in leaves.present() {
        assert_eq!(bytes.get(from..from + said.len()), Some(said), "a leaf is in its place");
        if let Ok(write) = borsh::from_slice::<Write>(said) {
            one(&write);
        }
    }
    let (present, erased) = (leaves.present().count(), leaves.erased().count());
    assert_eq!(present + erased, leaves.iter().count(), "a leaf is here or erased");
    let all_hashes = leaves.iter().filter(|leaf| matches!(leaf, Leaf::Erased(_))).count();
    assert_eq!(all_hashes, erased, "an erased leaf is a hash");
    let less = leaves.without(0);
    assert_eq!(less.root(), root, "erasing leaves the root");
    let written = less.encode();
    Leaves::decode(&written).is_ok_and(|again| again.root() == root)
}

/// The laws of one write.
fn one(write: &Write) {
    assert_eq!(write.encoded_bytes(), write.encode().len(), "a write knows its size");
    let _ = Origin::parse(&write.value);
    for field in FIELDS {
        let _ = field.read(&write.value);
    }
}

/// A payload of writes in one piece.
pub(super) fn writes(bytes: &[u8]) -> bool {
    let Ok(writes) = Writes::decode(Some(bytes)) else { return false };
    assert!(writes.encode() == bytes, "writes have one encoding");
    writes.0.iter().for_each(one);
    let mut fold = Fold::default();
    fold.insert(EntryId::of(bytes), &writes);
    fold.insert(EntryId::of(bytes), &writes);
    shown(&fold);
    true
}

/// The value of a new record.
pub(super) fn core(bytes: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else { return false };
    let origin = Origin::parse(text);
    assert_eq!(Origin::parse(&origin.to_json()), origin, "an origin reads as it was written");
    let Some(core) = Core::parse(text) else { return false };
    let written = core.to_json();
    let again = Core::parse(&written).map(|again| again.to_json());
    assert_eq!(again.as_ref(), Some(&written), "a core reads as it was written");
    for field in FIELDS {
        let mut same = Core::default();
        assert!(field.set(&mut same, field.get(&core)), "a field takes its own value");
    }
    true
}

/// The proof of a text's author in another mesh, from a file or a member.
pub(super) fn proof(bytes: &[u8]) -> bool {
    let Ok(proven) = check_proof(bytes) else { return false };
    assert!(bytes.len() <= PROOF_BYTES_MAX, "a proof is short");
    assert_eq!(check_proof(bytes).as_ref(), Ok(&proven), "it shows the same each time");
    true
}

/// A page of records, as an Automerge document.
pub(super) fn page(bytes: &[u8]) -> bool {
    let Ok(writes) = Writes::decode(Some(bytes)) else { return false };
    let entry = EntryId::of(bytes);
    let mut places = BTreeMap::new();
    let placed = (0_u16..).zip(&writes.0).map(|(index, write)| {
        let dot = Dot { entry, index };
        let record = if let Target::Edit { record } = write.target { record } else { dot };
        places.insert(dot, record);
        PageWrite { dot, record, field: write.field.clone(), value: write.value.clone(), over: write.over.clone() }
    });
    let placed: Vec<PageWrite> = placed.collect();
    let heads = |placed: Vec<PageWrite>| project(placed).map(|page| page.get_heads());
    let (forward, backward) = (heads(placed.clone()), heads(placed.into_iter().rev().collect()));
    assert!(forward.is_ok() == backward.is_ok(), "a page is one in any order");
    if let (Ok(forward), Ok(backward)) = (&forward, &backward) {
        assert_eq!(forward, backward, "the order of writes changes nothing");
    }
    forward.is_ok()
}

/// The profile of a member.
pub(super) fn profile(bytes: &[u8]) -> bool {
    let Ok(profile) = Profile::decode(bytes) else { return false };
    assert!(profile.encode() == bytes, "a profile has one encoding");
    Members::of(root()).describe(&root(), Hlc(1), EntryId::ZERO, profile);
    true
}

/// A seat among the coordinators.
pub(super) fn seat(bytes: &[u8]) -> bool {
    let Ok(seat) = Seat::decode(bytes) else { return false };
    assert!(seat.encode() == bytes, "a seat has one encoding");
    let mut members = Members::of(root());
    assert!(members.seat(&root(), Hlc(1), EntryId::of(bytes), seat), "the first one is new");
    assert!(!members.has_seat(&seat), "nobody is an admin here");
    true
}

/// A word that erases leaves.
pub(super) fn erasure(bytes: &[u8]) -> bool {
    let Ok(erase) = Erase::decode(bytes) else { return false };
    assert!(erase.encode() == bytes, "an erasure has one encoding");
    let again = Erase::of(erase.leaves().iter().rev().copied().collect());
    assert_eq!(again.as_ref(), Ok(&erase), "the order of the leaves is not the caller's");
    true
}

/// A word that a member has carried out erasures.
pub(super) fn confirmation(bytes: &[u8]) -> bool {
    let Ok(word) = Confirmation::decode(bytes) else { return false };
    assert!(word.encode() == bytes, "a confirmation has one encoding");
    let again = Confirmation::of(word.state(), word.erasures().iter().rev().copied().collect());
    assert_eq!(again.as_ref(), Ok(&word), "the order of the erasures is not the caller's");
    true
}

/// The evidence of a fork.
pub(super) fn evidence(bytes: &[u8]) -> bool {
    let Ok(evidence) = Evidence::decode(bytes) else { return false };
    assert!(evidence.encode() == bytes, "evidence has one encoding");
    assert!(bytes.len() <= Evidence::BYTES_MAX, "it has two headers");
    let _ = evidence.verify(&root());
    true
}

/// A new key in the place of a former one.
pub(super) fn succession(bytes: &[u8]) -> bool {
    let Ok(succession) = Succession::decode(bytes) else { return false };
    assert!(succession.encode() == bytes, "a succession has one encoding");
    assert!(succession.pins().len() <= SUCCESSION_PINS_MAX, "it pins few logs");
    let (former, signed) = (succession.former, succession.verify(&root()).is_ok());
    let placed = PlacedSuccession { author: root(), order: (1, EntryId::of(bytes)), hlc: Hlc(1), succession };
    let mut members = Members::of(root());
    assert!(members.succeed(placed).is_ok() == signed, "both keys sign");
    assert!(members.successor(&former).is_none(), "nobody admitted the new key");
    true
}

/// The end of a membership.
pub(super) fn revocation(bytes: &[u8]) -> bool {
    let Ok(revocation) = Revocation::decode(bytes) else { return false };
    assert!(revocation.encode() == bytes, "a revocation has one encoding");
    assert!(revocation.pins().len() <= PINS_MAX, "it pins few logs");
    let by_root = revocation.is_by_root(&root());
    let (member, log) = (revocation.member, log(1));
    let entry = Head { seq: u64::MAX, id: EntryId::of(bytes) };
    let pinned =
        revocation.pins().first().map(|pin| LogId { author: member, space: pin.space, incarnation: pin.incarnation });
    let by_root = by_root.unwrap_or(false);
    let mut members = Members::of(root());
    members.revoke(PlacedRevocation { log, entry, hlc: Hlc(1), revocation, by_root });
    let _ = members.decided(&nexus_crdt::Unforked);
    let _ = (members.revoked(&member), members.falls_with(&member, &nexus_crdt::Unforked));
    if let Some(pinned) = pinned {
        let _ = (members.reach_of(&pinned, Some(u64::MAX)), members.pin_of(&pinned));
    }
    true
}

/// The definition of a space.
pub(super) fn space(bytes: &[u8]) -> bool {
    let Ok(space) = SpaceDefinition::decode(bytes) else { return false };
    assert!(space.encode() == bytes, "a definition has one encoding");
    let _ = unnamed_spaces(&root(), &BTreeSet::from([space.name.as_str().to_owned()]));
    true
}

/// Ids of records and spaces, and the names of programs, as text.
pub(super) fn record_ids(bytes: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else { return false };
    let mut read = false;
    if let Some(dot) = Dot::from_hex(text) {
        assert_eq!(dot.to_hex(), text, "a dot has one text");
        read = true;
    }
    if let Ok(prefix) = text.parse::<DotPrefix>() {
        let mut id = [0; 32];
        let known = prefix.bytes();
        id[..known.len()].copy_from_slice(&known);
        let _ = prefix.dot_in(EntryId::from_bytes(id));
        read = true;
    }
    if let Ok(space) = text.parse::<SpaceId>() {
        assert_eq!(space.to_string(), text, "a space has one text");
        read = true;
    }
    if let Some(name) = AgentName::cut_from(text) {
        assert_eq!(name.as_str().parse::<AgentName>().as_ref(), Ok(&name), "a cut name is a name");
    }
    read
}

/// A frame of a sync.
pub(super) fn sync_frame(bytes: &[u8]) -> bool {
    let Ok(frame) = SyncFrame::decode(bytes) else { return false };
    let again = SyncFrame::decode(frame.encode_to_vec().as_slice());
    assert_eq!(again.as_ref(), Ok(&frame), "a frame is the same when it is written and read again");
    let heads = match frame.body {
        Some(Body::Frontier(part)) => part.heads,
        Some(Body::Ack(ack)) => ack.heads,
        Some(Body::Entries(entries)) => {
            let mut parsed = entries.entries.into_iter().map(EntryFrame::parse);
            return parsed.all(|entry| entry.is_ok_and(|entry| Verified::trusted(entry).header().format() > 0));
        }
        Some(Body::Digest(_) | Body::Full(_)) => return true,
        None => return false,
    };
    let Some(heads) = heads.iter().map(nexus_crdt::LogHead::parse).collect::<Option<Vec<_>>>() else { return false };
    let theirs: Frontier = heads.into_iter().collect();
    let ours = Frontier::from_iter([1, 2].map(|n| (log(n), Head { seq: u64::MAX - 1, id: EntryId::ZERO })));
    for (ours, theirs) in [(&ours, &theirs), (&theirs, &ours)] {
        let ranges = plan(ours, theirs, SpaceId::mesh(&root()));
        assert!(ranges.iter().all(|range| range.from <= range.to), "a range is not empty");
        let lacking = ranges.iter().map(|range| (range.to - range.from).saturating_add(1));
        assert_eq!(lacking.fold(0, u64::saturating_add), ours.ahead_of(theirs), "what is lacking is planned");
    }
    let hidden = BTreeSet::from([SpaceId::mesh(&root())]);
    let _ = (theirs.digest(), theirs.without(&hidden).len(), Did::from_bytes([0; 32]));
    true
}
