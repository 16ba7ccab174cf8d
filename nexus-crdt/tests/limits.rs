//! Each limit from both sides: the last value that is good, and the first one that is not.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::time::Duration;

use nexus_crdt::{
    ASIDE_MAX, Admission, AgentName, Branches, Core, DOT_BYTES, DRIFT_MAX, Dot, DotPrefix, Draft, ENTRY_FORMAT_FIRST,
    ENTRY_FORMAT_MAX, Entry, EntryError, EntryId, FIELD_BYTES_MAX, Field, FormError, Frontier, HEADER_BYTES_MAX, Head,
    Header, Hlc, HlcClock, Incarnation, Kind, LEAVES_MAX, LogId, Members, OVER_MAX, Origin, PAGE_RECORDS_MAX,
    PAYLOAD_BYTES_MAX, Profile, REFS_MAX, SALT_BYTES, Source, SpaceDefinition, SpaceId, SpaceRule, Target,
    VALUE_BYTES_MAX, Verified, WRITES_MAX, Write, Writes,
};
use nexus_identity::{Chain, Claims, Did, Keypair, Role, Timestamp};

fn key(n: u8) -> Keypair {
    Keypair::from_seed(&[n; 32])
}

fn at(ms: u64) -> Timestamp {
    Timestamp::from_ms(ms)
}

fn id(n: u8) -> EntryId {
    EntryId::from_bytes([n; 32])
}

fn log(n: u8) -> LogId {
    LogId { space: SpaceId::from_bytes([n; 32]), author: key(1).did(), incarnation: Incarnation([n; 8]) }
}

fn draft(payload: Vec<u8>) -> Draft<'static> {
    let (mesh, log, hlc) = (key(0).did(), log(1), Hlc::at(at(1_000)));
    Draft { mesh, log, after: None, hlc, kind: Kind::WRITES, refs: vec![], payload: payload.into() }
}

fn write(draft: Draft<'_>) -> Verified {
    Verified::write(draft, &key(1))
}

#[test]
fn the_limits_are_those_of_the_specification() {
    assert_eq!((PAYLOAD_BYTES_MAX, VALUE_BYTES_MAX), (65_536, 49_152));
    assert_eq!((REFS_MAX, WRITES_MAX, LEAVES_MAX, OVER_MAX), (16, 1_024, 1_024, 64));
    assert_eq!((FIELD_BYTES_MAX, DOT_BYTES, SALT_BYTES), (64, 34, 16));
    assert_eq!((PAGE_RECORDS_MAX, ASIDE_MAX), (256, 64));
}

// entries

#[test]
fn a_header_with_all_its_references_is_as_long_as_one_may_be() {
    let refs = (1..=u8::try_from(REFS_MAX).unwrap()).map(id).collect();
    let entry = write(Draft { refs, ..draft(vec![]) });
    assert_eq!(entry.header_bytes().len(), HEADER_BYTES_MAX);
    assert_eq!(Header::decode(entry.header_bytes()).unwrap(), *entry.header());
    for more in [1, 40] {
        let longer = [entry.header_bytes(), &vec![0; more]].concat();
        let bytes = HEADER_BYTES_MAX + more;
        let refused = EntryError::TooLarge { part: "header", bytes, max: HEADER_BYTES_MAX };
        assert_eq!(Header::decode(&longer), Err(refused));
    }
}

#[test]
#[should_panic(expected = "an entry within its limits")]
fn no_entry_is_written_with_a_reference_too_many() {
    let refs = (1..=u8::try_from(REFS_MAX + 1).unwrap()).map(id).collect();
    write(Draft { refs, ..draft(vec![]) });
}

#[test]
#[should_panic(expected = "an entry within its limits")]
fn no_entry_is_written_with_a_payload_too_long() {
    write(draft(vec![0; PAYLOAD_BYTES_MAX + 1]));
}

#[test]
fn a_payload_has_at_most_64_kib() {
    let entry = write(draft(vec![0; PAYLOAD_BYTES_MAX]));
    assert_eq!(entry.payload().unwrap().len(), PAYLOAD_BYTES_MAX);
    let mut header = entry.header().clone();
    assert_eq!(Header::decode(&header.encode()).unwrap(), header);
    header.payload_len += 1;
    let refused = EntryError::TooLarge { part: "payload", bytes: PAYLOAD_BYTES_MAX + 1, max: PAYLOAD_BYTES_MAX };
    assert_eq!(Header::decode(&header.encode()), Err(refused));
}

#[test]
fn a_header_says_each_thing_in_one_way() {
    let head = Head { seq: 4, id: id(9) };
    let good = write(Draft { after: Some(&head), refs: vec![id(2), id(1), id(2)], ..draft(vec![7]) });
    let header = good.header().clone();
    assert_eq!((header.seq, header.prev, header.refs.as_slice()), (5, id(9), &[id(1), id(2)][..]));
    assert_eq!(header.log(), log(1));
    let refused = |change: fn(&mut Header)| {
        let mut header = header.clone();
        change(&mut header);
        Header::decode(&header.encode()).unwrap_err()
    };
    assert!(matches!(refused(|header| header.refs.reverse()), EntryError::Malformed(_)));
    assert!(matches!(refused(|header| header.refs[0] = header.refs[1]), EntryError::Malformed(_)));
    assert!(matches!(refused(|header| header.seq = 0), EntryError::Malformed(_)));
    assert!(matches!(refused(|header| header.prev = EntryId::ZERO), EntryError::Malformed(_)));

    let bytes = header.encode();
    let of_format = |format: u16| Header::decode(&[&format.to_le_bytes()[..], &bytes[2..]].concat()).unwrap_err();
    assert!(matches!(of_format(0), EntryError::Malformed(_)));
    assert_eq!(of_format(u16::MAX), EntryError::TooNew { format: u16::MAX });
    assert!(matches!(Header::decode(&[1]), Err(EntryError::Malformed(_))));
    assert!(matches!(Header::decode(&bytes[..bytes.len() - 1]), Err(EntryError::Malformed(_))));
}

#[test]
fn an_entry_is_its_mesh_its_payload_and_its_signature_or_none() {
    let good = write(draft(b"right".to_vec()));
    let parts = |payload: Option<&[u8]>| {
        Entry::decode(good.header_bytes().to_vec(), *good.signature(), payload.map(<[u8]>::to_vec)).unwrap()
    };
    let mesh = key(0).did();
    let read = parts(Some(b"right")).verify(&mesh).unwrap();
    assert_eq!((read.id(), read.payload()), (EntryId::of(good.header_bytes()), Some(&b"right"[..])));
    assert_eq!(parts(None).verify(&mesh).unwrap().payload(), None);
    assert_eq!(parts(Some(b"wrong")).verify(&mesh), Err(EntryError::PayloadMismatch));
    assert_eq!(parts(Some(b"righ")).verify(&mesh), Err(EntryError::PayloadMismatch));
    assert_eq!(parts(Some(b"right")).verify(&key(5).did()), Err(EntryError::OtherMesh));
    let other = write(draft(b"else".to_vec()));
    let forged = Entry::decode(good.header_bytes().to_vec(), *other.signature(), None).unwrap();
    assert!(matches!(forged.verify(&mesh), Err(EntryError::Signature(_))));
}

// logs

#[test]
fn a_log_takes_its_next_entry_and_knows_what_is_missing() {
    let header = |seq, prev| {
        let mut header = write(draft(vec![])).header().clone();
        (header.seq, header.prev) = (seq, prev);
        header
    };
    let head = Head { seq: 5, id: id(5) };
    for (head, seq, prev, expected) in [
        (None, 0, EntryId::ZERO, Admission::Next),
        (None, 1, id(1), Admission::Gap { want: 0 }),
        (None, 0, id(1), Admission::Aside),
        (Some(&head), 4, id(3), Admission::Aside),
        (Some(&head), 5, id(4), Admission::Aside),
        (Some(&head), 6, id(5), Admission::Next),
        (Some(&head), 6, id(4), Admission::Aside),
        (Some(&head), 7, id(6), Admission::Gap { want: 6 }),
    ] {
        assert_eq!(Head::admit(head, &header(seq, prev)), expected, "{head:?} and seq {seq}");
    }
}

#[test]
fn a_log_counts_before_its_cut_and_is_readable_before_its_raise() {
    let head = Head { seq: 9, id: id(9) };
    let of = |cut, raised| Branches { head, entries: 10, cut, raised };
    let (forked, raised) = (of(Some(5), None), of(None, Some((5, id(4)))));
    for (seq, before) in [(0, true), (4, true), (5, false), (6, false), (u64::MAX, false)] {
        assert_eq!(forked.counts(seq), before, "{seq}");
        assert_eq!(raised.is_readable(seq, ENTRY_FORMAT_FIRST), before, "{seq}");
        assert!(raised.counts(seq) && raised.is_readable(seq, ENTRY_FORMAT_MAX));
        assert!(forked.is_readable(seq, ENTRY_FORMAT_FIRST));
    }
    assert_eq!(raised.head_for(ENTRY_FORMAT_FIRST), Some(Head { seq: 4, id: id(4) }));
    assert_eq!(raised.head_for(ENTRY_FORMAT_MAX), Some(head));
    assert_eq!(forked.head_for(ENTRY_FORMAT_FIRST), Some(head));
    assert_eq!(of(None, Some((0, EntryId::ZERO))).head_for(ENTRY_FORMAT_FIRST), None);
}

#[test]
fn a_log_has_room_for_so_many_entries_beside_its_longest_branch() {
    let of =
        |aside: u64| Branches { head: Head { seq: 9, id: id(9) }, entries: 10 + aside, cut: Some(7), raised: None };
    for aside in [0, 1, ASIDE_MAX - 1, ASIDE_MAX] {
        assert_eq!(of(aside).aside(), aside);
        assert_eq!(of(aside).has_room_at(9), aside < ASIDE_MAX);
        assert!(of(aside).has_room_at(10), "behind the head there is always room");
        assert!(of(aside).has_room_at(6), "below the cut there is always room");
        assert_eq!(of(aside).has_room_at(7), aside < ASIDE_MAX);
    }
}

#[test]
fn a_frontier_moves_forward_only_and_covers_up_to_its_heads() {
    let mut frontier = Frontier::default();
    assert_eq!((frontier.is_empty(), frontier.len(), frontier.covers(&log(1), 0)), (true, 0, false));
    frontier.advance(log(1), Head { seq: 5, id: id(5) });
    for (seq, covered) in [(0, true), (4, true), (5, true), (6, false), (u64::MAX, false)] {
        assert_eq!(frontier.covers(&log(1), seq), covered, "{seq}");
    }
    assert!(!frontier.covers(&log(2), 0));
    // earlier, and another one in the same place: the first that was known stays
    frontier.advance(log(1), Head { seq: 4, id: id(4) });
    frontier.advance(log(1), Head { seq: 5, id: id(9) });
    assert_eq!(frontier.head(&log(1)), Some(&Head { seq: 5, id: id(5) }));
    frontier.advance(log(1), Head { seq: 6, id: id(6) });
    assert_eq!(frontier.head(&log(1)), Some(&Head { seq: 6, id: id(6) }));
    frontier.advance(log(2), Head { seq: 0, id: id(0) });
    assert!(!frontier.is_empty() && frontier.len() == 2 && frontier.iter().count() == 2);
}

#[test]
fn a_frontier_counts_how_far_it_is_ahead() {
    let of =
        |heads: &[(u8, u64)]| -> Frontier { heads.iter().map(|&(n, seq)| (log(n), Head { seq, id: id(n) })).collect() };
    assert_eq!(of(&[(1, 5), (2, 0)]).ahead_of(&of(&[(1, 3)])), 2 + 1);
    assert_eq!(of(&[(1, 3)]).ahead_of(&of(&[(1, 5), (2, 0)])), 0);
    assert_eq!(of(&[(1, u64::MAX), (2, u64::MAX)]).ahead_of(&of(&[])), u64::MAX);
    assert_eq!(of(&[(1, 3)]).digest(), of(&[(1, 3)]).digest());
    for other in [&[(1, 4)][..], &[(2, 3)], &[], &[(1, 3), (2, 0)]] {
        assert_ne!(of(&[(1, 3)]).digest(), of(other).digest(), "{other:?}");
    }
}

#[test]
fn a_frontier_without_hidden_spaces_has_the_logs_of_the_others() {
    let head = Head { seq: 1, id: id(1) };
    let frontier: Frontier = [1, 2, 3].map(|n| (log(n), head)).into_iter().collect();
    let left = |hidden: &[u8]| {
        let hidden = hidden.iter().map(|n| log(*n).space).collect();
        frontier.without(&hidden).iter().map(|(log, _)| *log).collect::<Vec<_>>()
    };
    assert_eq!(left(&[]), [1, 2, 3].map(log));
    assert_eq!(left(&[2]), [1, 3].map(log));
    assert_eq!(left(&[1, 3, 9]), [2].map(log));
}

// clocks

#[test]
fn a_stamp_holds_48_bits_of_milliseconds() {
    const LAST: u64 = (1 << 48) - 1;
    for ms in [0, 1, 1_795_163_472_123, LAST] {
        assert_eq!(Hlc::at(at(ms)).time(), at(ms));
        assert_eq!(Hlc::at(at(ms)).0, ms << 16);
    }
    assert_eq!(Hlc::at(at(LAST + 1)), Hlc::at(at(LAST)));
    assert_eq!(Hlc::at(at(u64::MAX)).time(), at(LAST));
}

#[test]
fn a_clock_follows_the_wall_and_counts_where_it_stands() {
    let mut clock = HlcClock::after(Hlc::at(at(1_000)));
    assert_eq!(clock.tick(at(2_000)), Hlc::at(at(2_000)));
    assert_eq!(clock.tick(at(2_000)), Hlc(Hlc::at(at(2_000)).0 + 1));
    assert_eq!(clock.tick(at(500)), Hlc(Hlc::at(at(2_000)).0 + 2), "it never goes back");
    assert_eq!(clock.tick(at(2_001)), Hlc::at(at(2_001)));
    assert_eq!(HlcClock::after(Hlc(u64::MAX)).tick(at(0)), Hlc(u64::MAX));
}

#[test]
fn anothers_stamp_is_believed_up_to_ten_minutes_ahead() {
    assert_eq!(DRIFT_MAX, Duration::from_secs(600));
    let now = at(1_000_000);
    let after = |seen: u64| {
        let mut clock = HlcClock::default();
        clock.observe(Hlc::at(at(seen)), now, DRIFT_MAX);
        clock.tick(at(0)).0 - 1
    };
    assert_eq!(after(999_000), Hlc::at(at(999_000)).0, "the past, too: ours was before it");
    assert_eq!(after(1_599_999), Hlc::at(at(1_599_999)).0);
    assert_eq!(after(1_600_000), Hlc::at(at(1_600_000)).0);
    assert_eq!(after(1_600_001), 0, "it moves nothing");
    let mut clock = HlcClock::after(Hlc::at(at(5_000_000)));
    clock.observe(Hlc::at(at(4_000)), now, DRIFT_MAX);
    assert_eq!(clock.tick(now).0 - 1, Hlc::at(at(5_000_000)).0, "an earlier one moves nothing");
}

// members

fn credential(subject: u8, role: Role, issued_at: u64, end: Option<u64>) -> Chain {
    let name = format!("n{subject}-{issued_at}").parse().unwrap();
    let claims = Claims::new(key(0).did(), key(subject).did(), name, [role], at(issued_at)).expiring(end.map(at));
    Chain::found(claims.sign(&key(0))).unwrap()
}

/// promise: Entries and memories | Of many credentials of a member the strongest count, whenever they were issued
#[test]
fn of_a_member_s_credentials_the_strongest_sixteen_count() {
    let mut members = Members::of(key(0).did());
    assert!(members.admit(&credential(1, Role::Admin, 100, None)).unwrap());
    for later in 101..116 {
        assert!(members.admit(&credential(1, Role::Reader, later, None)).unwrap());
    }
    let me = key(1).did();
    assert!(members.get(&me).unwrap().allows(Role::Admin), "sixteen are kept");
    assert!(!members.admit(&credential(1, Role::Reader, 99, None)).unwrap(), "an earlier one has no place");
    assert!(members.admit(&credential(1, Role::Member, 99, None)).unwrap(), "a stronger one has");
    for latest in u64::MAX - 40..=u64::MAX {
        members.admit(&credential(1, Role::Reader, latest, None)).unwrap();
    }
    assert!(members.get(&me).unwrap().allows(Role::Admin), "no lesser right takes a greater one away");
    assert_eq!(members.get(&me).unwrap().roles().len(), 3);
    assert!(!members.admit(&credential(1, Role::Reader, u64::MAX, None)).unwrap(), "nothing new");
}

#[test]
fn a_member_is_told_by_its_latest_credential_and_profile() {
    let mut members = Members::of(key(0).did());
    let (me, nobody) = (key(1).did(), key(9).did());
    members.admit(&credential(1, Role::Reader, 5, Some(70))).unwrap();
    let name = |members: &Members| members.get(&me).unwrap().name().unwrap().to_string();
    let end = |members: &Members| members.get(&me).unwrap().expires_at();
    assert_eq!((name(&members).as_str(), end(&members)), ("n1-5", Some(at(70))));
    assert!(!members.allows(&me, Role::Member) && !members.allows(&nobody, Role::Member));
    members.admit(&credential(1, Role::Member, 7, Some(60))).unwrap();
    assert_eq!((name(&members).as_str(), end(&members)), ("n1-7", Some(at(70))), "the last end of all");
    assert!(members.allows(&me, Role::Member));
    members.admit(&credential(1, Role::Admin, 6, None)).unwrap();
    assert_eq!((name(&members).as_str(), end(&members)), ("n1-7", None), "one does not end");
    assert_eq!(members.get(&me).unwrap().roles().len(), 3);
    assert_eq!(members.get(&me).unwrap().admitted_by(), Some(key(0).did()));

    let profile = |name: &str| Profile { name: name.parse().unwrap() };
    assert!(!members.describe(&nobody, Hlc(9), id(9), profile("nobody")));
    assert!(members.describe(&me, Hlc(5), id(5), profile("five")));
    for (hlc, entry) in [(4, 9), (5, 4), (5, 5)] {
        assert!(!members.describe(&me, Hlc(hlc), id(entry), profile("earlier")));
    }
    assert_eq!(name(&members), "five");
    assert!(members.describe(&me, Hlc(5), id(6), profile("six")));
    assert!(members.describe(&me, Hlc(6), id(1), profile("seven")));
    assert_eq!(name(&members), "seven");
    assert_eq!(Profile::decode(&profile("seven").encode()), Ok(profile("seven")));
    assert_eq!(Profile::decode(&[1]), Err(FormError::NotCanonical));

    assert_eq!((members.mesh(), members.len(), members.is_empty()), (key(0).did(), 1, false));
    assert_eq!(members.iter().map(|(did, _)| *did).collect::<Vec<Did>>(), [me]);
    assert!(Members::of(key(0).did()).is_empty() && members.get(&nobody).is_none());
}

#[test]
fn a_chain_admits_all_its_links() {
    let founder = credential(1, Role::Admin, 5, None);
    let claims = Claims::new(key(0).did(), key(2).did(), "two".parse().unwrap(), [Role::Member], at(6));
    let chain = founder.extend(claims.issued_by(key(1).did()).sign(&key(1))).unwrap();
    let mut members = Members::of(key(0).did());
    assert!(members.admit(&chain).unwrap());
    assert_eq!(members.len(), 2);
    assert_eq!(members.get(&key(2).did()).unwrap().admitted_by(), Some(key(1).did()));
    assert!(!members.admit(&founder).unwrap(), "known through the longer chain");
}

#[test]
fn a_mesh_without_members_shows_the_spaces_of_the_mesh_alone() {
    let members = Members::of(key(0).did());
    let space = |creator: u8| SpaceRule { space: log(1).space, access: 0, creator: key(creator).did() };
    assert!(members.all_read(&space(0)));
    assert!(!members.all_read(&space(4)), "of a creator that is not admitted yet");
}

// records

fn create() -> Write {
    let value = Core { text: "a".to_owned(), kind: "note".to_owned(), ..Core::default() }.to_json();
    Write { target: Target::Create { page: 0 }, field: Field::named(Field::CORE), value, over: vec![] }
}

fn edit(field: &str, value: &str) -> Write {
    let record = Dot { entry: id(1), index: 0 };
    Write { target: Target::Edit { record }, field: Field::named(field), value: value.to_owned(), over: vec![] }
}

fn decode(writes: Vec<Write>) -> Result<(), FormError> {
    let writes = Writes(writes);
    let decoded = Writes::decode(Some(&writes.encode()))?;
    assert_eq!(decoded, writes);
    Ok(())
}

#[test]
fn an_entry_carries_1_to_1024_writes() {
    assert!(decode(vec![create(); WRITES_MAX]).is_ok());
    assert!(matches!(decode(vec![create(); WRITES_MAX + 1]), Err(FormError::Count { count: 1_025, .. })));
    assert!(matches!(decode(vec![]), Err(FormError::Count { count: 0, .. })));
}

#[test]
fn a_write_replaces_at_most_64_others() {
    let over = |count: usize| {
        let dots = (0..u16::try_from(count).unwrap()).map(|index| Dot { entry: id(3), index }).collect();
        decode(vec![Write { over: dots, ..edit("text", "\"b\"") }])
    };
    assert!(over(OVER_MAX).is_ok());
    assert!(matches!(over(OVER_MAX + 1), Err(FormError::Count { count: 65, .. })));
}

#[test]
fn a_field_has_1_to_64_of_its_letters() {
    for good in ["a", "z", "0", "9", "_", "-", "a-z_09", &"f".repeat(FIELD_BYTES_MAX)] {
        assert_eq!(decode(vec![edit(good, "1")]), Ok(()), "{good}");
    }
    for bad in ["", "A", "é", "a b", "`", "{", "/", ":", &"f".repeat(FIELD_BYTES_MAX + 1)] {
        assert_eq!(decode(vec![edit(bad, "1")]), Err(FormError::FieldName), "{bad}");
    }
    assert_eq!(format!("{:?}", Field::named("mood")), "mood");
}

#[test]
fn a_value_has_at_most_48_kib() {
    let of_length = |bytes: usize| decode(vec![edit("other", &format!("\"{}\"", "x".repeat(bytes - 2)))]);
    assert!(of_length(VALUE_BYTES_MAX).is_ok());
    assert!(matches!(of_length(VALUE_BYTES_MAX + 1), Err(FormError::Count { .. })));
}

#[test]
fn each_known_field_holds_its_type() {
    for (field, good, bad) in [
        ("gone", "true", "false"),
        ("text", "\"\"", "null"),
        ("kind", "\"task\"", "[]"),
        ("tags", r#"["a","b"]"#, r#"["a",1]"#),
        ("meta", r#"{"a":[1]}"#, "[]"),
        ("expires_at", "17", "-1"),
        ("expires_at", "null", "\"soon\""),
    ] {
        assert_eq!(decode(vec![edit(field, good)]), Ok(()), "{field}");
        assert!(matches!(decode(vec![edit(field, bad)]), Err(FormError::Value { .. })), "{field}");
    }
    assert_eq!(decode(vec![edit("mood", r#"{"any":["thing",null]}"#)]), Ok(()), "of an unknown field any JSON");
}

#[test]
fn a_core_without_a_kind_is_a_note() {
    let core = Core::parse("{}").unwrap();
    assert_eq!((core.kind.as_str(), core.text.as_str(), core.was), ("note", "", None));
    let core = Core::parse(r#"{"later":1,"was":{"id":"x","author":"y","created_at":3}}"#).unwrap();
    assert_eq!(core.was.unwrap().created_at, 3);
    for wrong in ["[]", "null", "\"{}\"", r#"{"was":[]}"#, r#"{"kind":1}"#] {
        assert_eq!(Core::parse(wrong), None, "{wrong}");
    }
}

// names of things

#[test]
fn a_dot_is_its_bytes_and_its_text() {
    let dot = Dot { entry: id(0xff), index: 0x0102 };
    assert_eq!(dot.to_bytes()[30..], [0xff, 0xff, 1, 2]);
    assert_eq!(Dot::from_bytes(&dot.to_bytes()), Some(dot));
    for wrong in [&dot.to_bytes()[..33], &[0; 35], &[0; 31], &[]] {
        assert_eq!(Dot::from_bytes(wrong), None);
    }
    assert_eq!(dot.to_string(), format!("{}.258", "7".repeat(24)));
    assert_eq!(Dot { index: 0, ..dot }.to_string(), "7".repeat(24));
    assert_eq!(format!("{dot:?}"), format!("Dot({dot})"));
    assert_eq!(Dot::from_hex(&dot.to_hex().to_uppercase()), None, "one spelling");
}

#[test]
fn a_beginning_of_an_id_has_4_to_24_letters() {
    let all = "abcdefghijklmnopqrstuvwx";
    assert_eq!(all.len(), 24);
    for good in [&all[..4], all, "2345.0", "ABCD.65535"] {
        assert!(good.parse::<DotPrefix>().is_ok(), "{good}");
    }
    for bad in [&all[..3], &format!("{all}y"), "abcd.00", "abcd.+1", "abcd.-1", "abcd.65536", "abc!", "abc8"] {
        assert!(bad.parse::<DotPrefix>().is_err(), "{bad}");
    }
    let typed: DotPrefix = "77777.3".parse().unwrap();
    assert_eq!(typed.bytes(), [0xff, 0xff, 0xff]);
    assert_eq!("7777".parse::<DotPrefix>().unwrap().bytes(), [0xff, 0xff]);
    assert_eq!(typed.dot_in(id(0xff)), Some(Dot { entry: id(0xff), index: 3 }));
    assert_eq!(typed.dot_in(id(0xfe)), None);
}

#[test]
fn a_space_is_named_by_64_digits() {
    let space = SpaceId::from_bytes([0xab; 32]);
    assert_eq!(space.to_string(), "ab".repeat(32));
    assert_eq!(space.to_string().parse(), Ok(space));
    for wrong in ["", "ab", &"AB".repeat(32), &"ab".repeat(33)] {
        assert!(wrong.parse::<SpaceId>().is_err(), "{wrong}");
    }
    assert_eq!(space.short(), "abababab");
    assert_eq!(format!("{space:?}"), "SpaceId(abababab)");
    assert_eq!(SpaceId::created_by(id(7)).as_bytes(), id(7).as_bytes());
    let mesh = key(0).did();
    assert_ne!(SpaceId::mesh(&mesh), SpaceId::default_of(&mesh));
    assert_ne!(SpaceId::mesh(&mesh), SpaceId::mesh(&key(1).did()));
    let definition = SpaceDefinition { name: "work".parse().unwrap(), access: 0, salt: [7; 16] };
    assert_eq!(SpaceDefinition::decode(&definition.encode()), Ok(definition));
    assert_eq!(SpaceDefinition::decode(&[0]), Err(FormError::NotCanonical));
}

#[test]
fn an_origin_is_empty_without_program_and_source() {
    let (agent, source) = (Some("ide".parse::<AgentName>().unwrap()), Some(Source::Tool));
    assert!(Origin::default().is_empty());
    assert!(!Origin::new(agent.clone(), None).is_empty());
    assert!(!Origin::new(None, source).is_empty());
    assert!(!Origin::new(agent.clone(), source).is_empty());
    assert_eq!(format!("{:?}", agent.unwrap()), "\"ide\"");
}

#[test]
fn logs_show_short_names() {
    assert_eq!(id(0xab).short(), "abababab");
    assert_eq!(format!("{:?}", id(0xab)), "EntryId(abababab)");
    assert_eq!(format!("{:?}", Kind::PROFILE), "Kind(14)");
    assert_eq!(format!("{:?}", Incarnation([1; 8])), "Incarnation(0101010101010101)");
}
