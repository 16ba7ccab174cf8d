//! Fields and origins on their way from a write to what is shown.

mod chains;
mod flooded;
#[cfg(feature = "http")]
mod former;

use std::collections::BTreeMap;

use nexus_crdt::{AgentName, Core, Dot, EntryId, FIELDS, Field, Kind, Origin, Source, SpaceId, Target, Write, Writes};
use nexus_identity::Timestamp;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::Reader;
use crate::NodeError;
use crate::engine::{Command, Edit, Event, Input, Outcome};
use crate::ledger::rows::{self, RecordRow, WriteRow};
use crate::ledger::{find_record, live_in_bounds};
use crate::memory::{Memory, MemoryId, Revision};
use crate::replication::tests::{Peer, chain, mesh};
use crate::store::{Batch, Table};

fn default() -> SpaceId {
    SpaceId::default_of(&mesh())
}

fn origin(agent: &str, source: Source) -> Origin {
    Origin::new(agent.parse::<AgentName>().unwrap(), source)
}

fn core(text: &str, from: Origin) -> Core {
    let Origin { agent, source, .. } = from;
    Core { text: text.to_owned(), kind: "note".to_owned(), agent, source, ..Core::default() }
}

impl Peer {
    fn shown(&self, record: Dot) -> Result<Memory, NodeError> {
        self.ask(|reader| reader.get(&record.to_string()))
    }

    fn past(&self, record: Dot) -> Vec<Revision> {
        self.ask(|reader| reader.history(&record.to_string())).unwrap()
    }

    fn ask<T>(&self, question: impl FnOnce(&Reader<'_>) -> Result<T, NodeError>) -> Result<T, NodeError> {
        let snapshot = self.store.snapshot().unwrap();
        let now = Timestamp::from_ms(0);
        question(&Reader::new(&snapshot, [0; 8], self.key.did(), self.members(), now).unwrap())
    }

    fn change(&mut self, record: Dot, values: impl IntoIterator<Item = (&'static str, Value)>, origin: Origin) {
        let edit = Edit { values: values.into_iter().collect(), origin, ..Edit::default() };
        assert!(matches!(self.command(Command::Edit { record, edit }), Outcome::Done(_)));
    }

    /// The origins that live beside a record's values.
    fn live_origins(&self, record: Dot) -> usize {
        let snapshot = self.store.snapshot().unwrap();
        let (_, row) = find_record(&snapshot, record).unwrap().unwrap();
        let live = live_in_bounds(&snapshot, row.space, record).unwrap();
        live.iter().filter(|(field, ..)| field.as_str() == Field::BY).count()
    }

    fn damage(&self, batch: Batch) {
        self.store.commit(&[batch]).unwrap();
    }
}

/// Two members that know each other.
fn pair() -> (Peer, Peer) {
    let (mut one, mut two) = (Peer::new(0), Peer::new(1));
    one.input(Input::Chain(chain(1)));
    two.input(Input::Chain(chain(0)));
    exchange(&mut one, &mut two);
    (one, two)
}

fn exchange(one: &mut Peer, two: &mut Peer) {
    let (of_one, of_two) = (std::mem::take(&mut one.published), std::mem::take(&mut two.published));
    two.receive(one.key.did(), of_one);
    one.receive(two.key.did(), of_two);
}

fn any_value() -> impl Strategy<Value = Value> {
    prop_oneof![
        any::<String>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        Just(json!({ "agent": "x", "source": "user" })),
        Just(json!(["a", null])),
        Just(Value::Null),
        prop::sample::select(Source::ALL.map(Source::as_str).to_vec()).prop_map(Value::from),
    ]
}

fn any_origin() -> impl Strategy<Value = Origin> {
    let agent = any::<String>().prop_map(|text| AgentName::cut_from(&text));
    (agent, prop::option::of(prop::sample::select(Source::ALL.to_vec())))
        .prop_map(|(agent, source)| Origin::new(agent, source))
}

prop_compose! {
    fn any_core()(
        (text, kind) in (any::<String>(), "[a-z]{1,8}"),
        tags in prop::collection::vec(any::<String>(), 0..3),
        meta in prop::collection::btree_map("[b-z]{1,4}", any_value(), 0..3),
        aliases in prop::collection::vec("[a-z ]{1,64}", 0..3),
        expires_at in prop::option::of(1_u64..1 << 53),
        (valid_from, valid_to) in any::<(Option<u64>, Option<u64>)>(),
        supersedes in prop::option::of(any::<([u8; 32], u16)>()),
        origin in any_origin(),
    ) -> Core {
        let Origin { agent, source, .. } = origin;
        let dot = |(entry, index)| Dot { entry: EntryId::from_bytes(entry), index };
        let supersedes = supersedes.map(|of| MemoryId::from(dot(of)).to_string());
        Core {
            text,
            kind,
            tags,
            meta,
            aliases,
            expires_at,
            valid_from,
            valid_to,
            supersedes,
            agent,
            source,
            ..Core::default()
        }
    }
}

/// The values that a memory shows, as a core that says just these.
fn values(memory: &Memory) -> Core {
    let Memory { text, kind, tags, meta, aliases, expires_at, valid_from, valid_to, .. } = memory.clone();
    let Memory { supersedes, agent, source, .. } = memory.clone();
    Core {
        text,
        kind,
        tags,
        meta,
        aliases,
        expires_at: expires_at.map(Timestamp::as_ms),
        valid_from: valid_from.map(Timestamp::as_ms),
        valid_to: valid_to.map(Timestamp::as_ms),
        supersedes: supersedes.map(|id| id.to_string()),
        agent,
        source,
        ..Core::default()
    }
}

/// The editable fields of which a core says something.
fn said(core: &Core) -> Vec<&'static str> {
    FIELDS.iter().filter(|field| field.editable && field.is_said(core)).map(|field| field.name).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn every_field_is_shown_as_it_was_written_and_edited(first in any_core(), second in any_core()) {
        let mut peer = Peer::new(0);
        let me = peer.key.did();
        let record = peer.create(default(), first.clone());
        let memory = peer.shown(record).unwrap();
        prop_assert_eq!(&values(&memory), &first);
        prop_assert_eq!(memory.fields.keys().copied().collect::<Vec<_>>(), {
            let mut names = said(&first);
            names.sort_unstable();
            names
        });
        for from in memory.fields.values() {
            prop_assert_eq!((from.author, &from.agent, from.source), (me, &first.agent, first.source));
        }
        prop_assert_eq!((memory.edited_by, memory.author), (None, me));
        prop_assert_eq!(peer.ask(|reader| reader.core_of(&record.to_string())).unwrap(), first.clone());

        let edits = FIELDS.iter().filter(|field| field.editable).map(|field| (field.name, field.get(&second)));
        peer.change(record, edits, second.origin());
        let memory = peer.shown(record).unwrap();
        let text_changed = first.text != second.text;
        let of_text = if text_changed { second.origin() } else { first.origin() };
        let Origin { agent, source, .. } = of_text;
        prop_assert_eq!(values(&memory), Core { agent, source, ..second.clone() });
        prop_assert_eq!(memory.edited_by, text_changed.then_some(me));
        for field in FIELDS.iter().filter(|field| field.editable) {
            let changed = field.get(&first) != field.get(&second);
            let expected = if changed { second.origin() } else { first.origin() };
            match memory.fields.get(field.name) {
                Some(from) => prop_assert_eq!((&from.agent, from.source), (&expected.agent, expected.source)),
                None => prop_assert!(!changed && !field.is_said(&first), "{}", field.name),
            }
        }
        prop_assert!(memory.conflicts.is_empty());
    }

    #[test]
    fn whatever_a_stranger_puts_into_an_origin_the_text_is_shown(agent in any_value(), source in any_value(), by in any_value()) {
        let mut peer = Peer::new(0);
        peer.input(Input::Chain(chain(1)));
        let core = json!({ "text": "kept", "agent": agent, "source": source, "by": by }).to_string();
        let create = |value| Write { target: Target::Create { page: 0 }, field: Field::named("core"), value, over: vec![] };
        let entry = peer.take_first(1, default(), Kind::WRITES, Writes(vec![create(core)]).encode());
        let record = Dot { entry, index: 0 };
        let memory = peer.shown(record).unwrap();
        prop_assert_eq!(memory.text.as_str(), "kept");
        prop_assert_eq!(memory.source.map(Source::as_str), source.as_str().filter(|name| name.parse::<Source>().is_ok()));
        let named = agent.as_str().filter(|name| name.parse::<AgentName>().is_ok());
        prop_assert_eq!(memory.agent.as_ref().map(AgentName::as_str), named);

        let edit = |field, value: &Value| {
            Write { target: Target::Edit { record }, field: Field::named(field), value: value.to_string(), over: vec![] }
        };
        peer.input(Input::Chain(chain(3)));
        peer.take_first(3, default(), Kind::WRITES, Writes(vec![edit("by", &by), edit("text", &json!("edited"))]).encode());
        let memory = peer.shown(record).unwrap();
        prop_assert_eq!((memory.text.as_str(), memory.conflicts.len()), ("edited", 0));
        prop_assert_eq!(memory.agent, Origin::parse(&by.to_string()).agent);
        let quarantined = peer.events.iter().any(|event| matches!(event, Event::Quarantined { .. }));
        prop_assert!(!quarantined);
    }
}

#[test]
fn the_origin_is_that_of_the_text_whatever_else_is_edited() {
    let mut peer = Peer::new(0);
    let me = peer.key.did();
    let record = peer.create(default(), core("one", origin("editor", Source::Model)));
    peer.change(record, [("tags", json!(["t"]))], origin("page", Source::User));
    let memory = peer.shown(record).unwrap();
    assert_eq!(
        (memory.agent.unwrap().as_str(), memory.source, memory.edited_by),
        ("editor", Some(Source::Model), None)
    );
    assert_eq!(memory.fields["tags"].agent.as_ref().unwrap().as_str(), "page");
    peer.change(record, [("text", json!("two"))], origin("script", Source::Tool));
    let memory = peer.shown(record).unwrap();
    let of_text = (memory.agent.unwrap(), memory.source, memory.edited_by);
    assert_eq!(of_text, ("script".parse().unwrap(), Some(Source::Tool), Some(me)));
    assert_eq!(memory.fields["tags"].source, Some(Source::User));
    assert_eq!(memory.fields["kind"].agent.as_ref().unwrap().as_str(), "editor");
    let past: Vec<_> = peer.past(record).into_iter().map(|revision| (revision.agent, revision.changed)).collect();
    let step = |agent: &str, changed: Value| (Some(agent.parse().unwrap()), serde_json::from_value(changed).unwrap());
    let expected: Vec<(Option<AgentName>, BTreeMap<String, Value>)> = vec![
        step("editor", json!({ "text": "one", "kind": "note" })),
        step("page", json!({ "tags": ["t"] })),
        step("script", json!({ "text": "two" })),
    ];
    assert_eq!(past, expected);
}

#[test]
fn an_edit_without_an_origin_has_none() {
    let mut peer = Peer::new(0);
    let record = peer.create(default(), core("one", origin("editor", Source::Model)));
    peer.change(record, [("text", json!("two"))], origin("script", Source::Tool));
    peer.change(record, [("text", json!("three"))], Origin::default());
    let memory = peer.shown(record).unwrap();
    assert_eq!((memory.agent, memory.source, memory.edited_by), (None, None, Some(peer.key.did())));
}

#[test]
fn origins_that_speak_of_nothing_live_are_replaced() {
    let mut peer = Peer::new(0);
    let record = peer.create(default(), core("0", origin("editor", Source::Model)));
    for n in 1..=30 {
        peer.change(record, [("text", json!(n.to_string()))], origin("script", Source::Tool));
        if n % 10 == 0 {
            peer.change(record, [("tags", json!([n.to_string()])), ("kind", json!("k"))], origin("page", Source::User));
        }
    }
    assert!(peer.live_origins(record) <= 3, "one for each live value at most: {}", peer.live_origins(record));
    let memory = peer.shown(record).unwrap();
    assert_eq!((memory.source, memory.fields["kind"].source), (Some(Source::Tool), Some(Source::User)));
    assert_eq!((memory.text.as_str(), memory.fields["tags"].source), ("30", Some(Source::User)));
}

#[test]
fn of_concurrent_texts_the_shown_one_has_its_own_origin_and_author() {
    let (mut one, mut two) = pair();
    let record = one.create(default(), core("begun", origin("editor", Source::Model)));
    exchange(&mut one, &mut two);
    one.change(record, [("text", json!("by one"))], origin("script", Source::Tool));
    for _ in 0..3 {
        // its clock goes on, so its edit is the later one
        two.remember("other", None);
    }
    two.change(record, [("text", json!("by two"))], origin("page", Source::User));
    exchange(&mut one, &mut two);
    let (seen, same) = (one.shown(record).unwrap(), two.shown(record).unwrap());
    assert_eq!(seen, same);
    let me = two.key.did();
    assert_eq!((seen.text.as_str(), seen.author, seen.author_name.as_deref()), ("by two", me, Some("node1")));
    assert_eq!((seen.agent.unwrap().as_str(), seen.source, seen.edited_by), ("page", Some(Source::User), Some(me)));
    assert_eq!((seen.fields["text"].author, seen.fields["kind"].author), (me, one.key.did()));
    let names: Vec<_> = seen.conflicts["text"].iter().map(|value| value.author_name.as_deref()).collect();
    assert_eq!(names, [Some("node1"), Some("node0")]);
    one.change(record, [("text", json!("settled"))], origin("script", Source::Tool));
    exchange(&mut one, &mut two);
    let settled = two.shown(record).unwrap();
    assert_eq!((settled.edited_by, settled.conflicts.len(), two.live_origins(record)), (Some(one.key.did()), 0, 1));
}

#[test]
fn an_agent_that_an_older_node_kept_in_the_metadata_is_still_named() {
    let mut peer = Peer::new(0);
    let stamp = |name: &str| BTreeMap::from([("agent".to_owned(), json!({ "name": name, "version": "2" }))]);
    let record = peer.create(default(), Core { meta: stamp("veteran"), ..core("one", Origin::default()) });
    let memory = peer.shown(record).unwrap();
    assert_eq!((memory.agent.unwrap().as_str(), memory.source), ("veteran", None));
    assert_eq!(memory.meta, stamp("veteran"));
    // as its key was written again
    let meta = serde_json::to_value(stamp("newcomer")).unwrap();
    peer.change(record, [("text", json!("two")), ("meta", meta)], Origin::default());
    assert_eq!(peer.shown(record).unwrap().agent.unwrap().as_str(), "newcomer");
    // an origin beats it, and only the same entry counts
    peer.change(record, [("text", json!("three"))], origin("script", Source::Tool));
    assert_eq!(peer.shown(record).unwrap().agent.unwrap().as_str(), "script");
    peer.change(record, [("text", json!("four"))], Origin::default());
    assert_eq!(peer.shown(record).unwrap().agent, None);
    // a new memory that says it in its metadata says nothing
    let record = peer.create(default(), Core { meta: stamp("other"), ..core("x", origin("script", Source::Tool)) });
    assert_eq!(peer.shown(record).unwrap().agent.unwrap().as_str(), "script");
}

#[test]
fn a_keyed_memory_written_again_has_the_origin_of_what_changed() {
    let mut peer = Peer::new(0);
    let keyed = |text: &str, from| Core { key: Some("k".to_owned()), ..core(text, from) };
    let record = peer.create(default(), keyed("one", origin("editor", Source::Model)));
    assert_eq!(peer.create(default(), keyed("one", origin("script", Source::Tool))), record);
    assert_eq!(peer.shown(record).unwrap().agent.unwrap().as_str(), "editor");
    assert_eq!(peer.create(default(), keyed("two", origin("script", Source::Tool))), record);
    let memory = peer.shown(record).unwrap();
    assert_eq!((memory.agent.unwrap().as_str(), memory.fields["kind"].source), ("script", Some(Source::Model)));
}

#[test]
fn a_damaged_row_is_an_error_and_no_empty_memory() {
    let refused = |damage: &dyn Fn(&Peer, Dot, u64, RecordRow) -> Batch| {
        let mut peer = Peer::new(0);
        let keyed = Core { key: Some("k".to_owned()), ..core("one", Origin::default()) };
        let record = peer.create(default(), keyed);
        peer.change(record, [("text", json!("two"))], Origin::default());
        let (eno, row) = find_record(&peer.store.snapshot().unwrap(), record).unwrap().unwrap();
        peer.damage(damage(&peer, record, eno, row));
        let error = peer.shown(record).unwrap_err();
        assert_eq!(error.code(), "store", "{error}");
    };
    refused(&|_, _, eno, _| {
        let mut batch = Batch::new();
        batch.put(Table::Payloads, &rows::eno_key(eno), b"something else");
        batch
    });
    refused(&|_, _, eno, _| {
        let mut batch = Batch::new();
        batch.delete(Table::Payloads, &rows::eno_key(eno));
        batch
    });
    for value in ["{", "7"] {
        refused(&|peer, record, _, row| {
            let live = live_in_bounds(&peer.store.snapshot().unwrap(), row.space, record).unwrap();
            let (_, dot, write) = live.into_iter().find(|(field, ..)| field.as_str() == Field::TEXT).unwrap();
            let mut batch = Batch::new();
            let key = rows::write_key(row.space, record, Field::TEXT, dot);
            batch.put(Table::Live, &key, &rows::encode(&WriteRow { value: value.to_owned(), ..write }));
            batch
        });
    }
    refused(&|_, _, _, row| {
        let mut batch = Batch::new();
        batch.put(Table::Keys, &[rows::caller_key_prefix(row.space, "k").as_slice(), b"short"].concat(), &[]);
        batch
    });
}
