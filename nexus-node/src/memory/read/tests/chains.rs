//! A key leads to the live end of its chain, whoever changed what, and in whatever order it came.

use std::collections::BTreeSet;

use nexus_crdt::{Core, Dot};
use proptest::prelude::*;

use super::*;
use crate::engine::{Closes, NewRecord};
use crate::memory::ListQuery;

const KEY: &str = "standup";

/// One change of the fact under the key.
#[derive(Clone, Copy, Debug)]
enum Change {
    Remember,
    Supersede,
    Edit,
    Forget,
    /// A change of the oldest record by its id: of the past, if it was superseded.
    EditOldest,
    /// The other node hears of all, and this one of what the other did.
    Sync,
}

fn any_change() -> impl Strategy<Value = (bool, Change)> {
    let change = prop_oneof![
        2 => Just(Change::Remember),
        4 => Just(Change::Supersede),
        2 => Just(Change::Edit),
        1 => Just(Change::Forget),
        1 => Just(Change::EditOldest),
        3 => Just(Change::Sync),
    ];
    (any::<bool>(), change)
}

impl Peer {
    fn keyed(&self) -> Option<Memory> {
        self.ask(|reader| reader.get(KEY)).ok()
    }

    fn dot_of(&self, memory: &Memory) -> Dot {
        self.ask(|reader| reader.resolve(&memory.id.to_string())).unwrap()
    }

    /// The memories that hold now.
    fn current(&self) -> Vec<Memory> {
        let all = self.ask(|reader| reader.list(&ListQuery { limit: 1_000, ..ListQuery::default() })).unwrap().items;
        all.into_iter().filter(|memory| memory.valid_to.is_none()).collect()
    }

    fn supersede(&mut self, former: Dot, id: &str, text: &str, at: u64) -> Dot {
        let core = Core { valid_from: Some(at), supersedes: Some(id.to_owned()), ..core(text, Origin::default()) };
        let closes = Some(Closes { record: former, at: Some(at) });
        let record = NewRecord { closes, ..NewRecord::whole(default(), core) };
        match self.command(Command::Remember(vec![record])) {
            Outcome::Remembered(written) => written[0].record,
            other => panic!("{other:?}"),
        }
    }

    /// Whether it did anything.
    fn change_keyed(&mut self, change: Change, text: &str, at: u64) -> bool {
        let there = self.keyed();
        match (change, there) {
            (Change::Remember, _) => {
                self.remember(text, Some(KEY));
            }
            (Change::Supersede, Some(memory)) => {
                let dot = self.dot_of(&memory);
                self.supersede(dot, &memory.id.to_string(), text, at);
            }
            (Change::Edit, Some(memory)) => {
                let dot = self.dot_of(&memory);
                self.edit(dot, text);
            }
            (Change::Forget, Some(memory)) => {
                let dot = self.dot_of(&memory);
                self.command(Command::Forget(dot));
            }
            _ => return false,
        }
        true
    }
}

/// The texts that a memory shows: its own, or those in conflict.
fn told(memory: &Memory) -> BTreeSet<String> {
    match memory.conflicts.get("text") {
        Some(values) => values.iter().filter_map(|value| value.value.as_str()).map(str::to_owned).collect(),
        None => BTreeSet::from([memory.text.clone()]),
    }
}

/// promise: Entries and memories | A key leads to the live end of its chain: one current fact after any changes, on all nodes
#[test]
fn a_fact_that_changes_twice_is_one_current_fact() {
    let (mut one, mut two) = pair();
    let mut at = 1_000;
    one.remember("at 9:30", Some(KEY));
    for (n, text) in ["at 10:00", "at 9:45", "at 9:50", "at 8:00"].iter().enumerate() {
        at += 10;
        let peer = if n % 2 == 0 { &mut one } else { &mut two };
        assert!(peer.change_keyed(Change::Supersede, text, at));
        exchange(&mut one, &mut two);
        for peer in [&one, &two] {
            assert_eq!(peer.keyed().unwrap().text, *text);
            assert_eq!(peer.current().len(), 1, "{:?}", peer.current());
            assert!(peer.keyed().unwrap().conflicts.is_empty(), "{:?}", peer.keyed().unwrap().conflicts);
        }
    }
    one.remember("at 11:00", Some(KEY));
    exchange(&mut one, &mut two);
    for peer in [&one, &two] {
        assert_eq!((peer.keyed().unwrap().text.as_str(), peer.current().len()), ("at 11:00", 1));
        assert_eq!(
            peer.ask(|reader| reader.list(&ListQuery { limit: 10, ..ListQuery::default() })).unwrap().items.len(),
            5
        );
    }
    assert!(two.change_keyed(Change::Forget, "", at));
    exchange(&mut one, &mut two);
    for peer in [&one, &two] {
        assert!(peer.keyed().is_none() && peer.current().is_empty(), "{:?}", peer.current());
    }
    one.remember("at 12:00", Some(KEY));
    assert_eq!((one.keyed().unwrap().text.as_str(), one.current().len()), ("at 12:00", 1));
}

/// promise: Entries and memories | A key leads to the live end of its chain: one current fact after any changes, on all nodes
#[test]
fn what_two_nodes_changed_apart_is_one_memory_with_a_conflict_until_one_settles_it() {
    use Change::{Edit, Remember, Supersede};
    for (ours, theirs) in
        [(Supersede, Supersede), (Supersede, Remember), (Remember, Supersede), (Edit, Supersede), (Supersede, Edit)]
    {
        for settles in [Supersede, Remember, Edit] {
            for changed_before in [false, true] {
                let (mut one, mut two) = pair();
                one.remember("before", Some(KEY));
                if changed_before {
                    assert!(one.change_keyed(Edit, "a moment before", 900));
                    assert!(one.change_keyed(Supersede, "just before", 950));
                }
                exchange(&mut one, &mut two);
                assert!(one.change_keyed(ours, "ours", 1_000) && two.change_keyed(theirs, "theirs", 1_001));
                exchange(&mut one, &mut two);
                for peer in [&one, &two] {
                    let memory = peer.keyed().unwrap();
                    let both = BTreeSet::from(["ours".to_owned(), "theirs".to_owned()]);
                    assert_eq!(told(&memory), both, "{ours:?} {theirs:?}: {memory:?}");
                    assert_eq!(peer.current().len(), 1, "{ours:?} {theirs:?}: {:?}", peer.current());
                    assert_eq!(memory.valid_to, None);
                }
                assert_eq!(one.keyed(), two.keyed());
                assert!(two.change_keyed(settles, "settled", 2_000));
                exchange(&mut one, &mut two);
                for peer in [&one, &two] {
                    let memory = peer.keyed().unwrap();
                    assert_eq!(
                        told(&memory),
                        BTreeSet::from(["settled".to_owned()]),
                        "{ours:?} {theirs:?} {settles:?}"
                    );
                    assert!(!memory.conflicts.contains_key("text"), "{:?}", memory.conflicts);
                    assert_eq!(peer.current().len(), 1, "{ours:?} {theirs:?} {settles:?}: {:?}", peer.current());
                }
            }
        }
    }
}

#[test]
fn a_chain_goes_on_over_what_was_forgotten() {
    let (mut one, mut two) = pair();
    let first = one.remember("first", Some(KEY));
    one.change_keyed(Change::Supersede, "second", 1_000);
    let second = one.dot_of(&one.keyed().unwrap());
    one.change_keyed(Change::Supersede, "third", 2_000);
    // the middle, then the beginning with the key
    for forgotten in [second, first] {
        one.command(Command::Forget(forgotten));
        exchange(&mut one, &mut two);
        for peer in [&one, &two] {
            assert_eq!((peer.keyed().unwrap().text.as_str(), peer.current().len()), ("third", 1));
        }
    }
    two.change_keyed(Change::Supersede, "fourth", 3_000);
    two.change_keyed(Change::Forget, "", 3_000);
    exchange(&mut one, &mut two);
    for peer in [&one, &two] {
        assert!(peer.keyed().is_none() && peer.current().is_empty());
    }
}

#[test]
fn an_id_stays_with_its_memory_and_what_took_its_place_is_replaced_in_turn() {
    let (mut one, _) = pair();
    let first = one.remember("first", None);
    let id = MemoryId::from(first).to_string();
    let second = one.supersede(first, &id, "second", 1_000);
    // by the old id again, as an agent that recalled it before does
    let third = one.supersede(first, &id, "third", 2_000);
    assert_eq!(one.shown(first).unwrap().text, "first");
    assert_eq!(one.shown(third).unwrap().supersedes, Some(second.into()));
    let current: Vec<String> = one.current().into_iter().map(|memory| memory.text).collect();
    assert_eq!(current, ["third"]);
}

#[test]
fn a_key_that_another_member_took_meanwhile_is_a_conflict_and_no_second_fact() {
    let (mut one, mut two) = pair();
    one.remember("ours", Some(KEY));
    one.change_keyed(Change::Supersede, "ours, later", 1_000);
    two.remember("theirs", Some(KEY));
    exchange(&mut one, &mut two);
    for peer in [&one, &two] {
        let both = BTreeSet::from(["ours, later".to_owned(), "theirs".to_owned()]);
        assert_eq!((told(&peer.keyed().unwrap()), peer.current().len()), (both, 1));
    }
}

#[test]
fn records_that_name_one_another_end_no_walk_and_hide_nothing() {
    let (mut one, _) = pair();
    let (a, b) = (one.remember("a", Some("a")), one.remember("b", Some("b")));
    let (id_a, id_b) = (MemoryId::from(a).to_string(), MemoryId::from(b).to_string());
    let circle = [(a, id_b), (b, id_a)];
    for (record, other) in circle {
        one.change(record, [("supersedes", json!(other)), ("valid_to", json!(5_000))], Origin::default());
    }
    assert!(one.ask(|reader| reader.get("a")).is_ok() && one.ask(|reader| reader.get("b")).is_ok());
    let listed = one.ask(|reader| reader.list(&ListQuery { limit: 10, ..ListQuery::default() })).unwrap().items;
    assert_eq!(listed.len(), 2, "{listed:?}");
    // itself
    one.change(a, [("supersedes", json!(MemoryId::from(a).to_string()))], Origin::default());
    assert!(one.ask(|reader| reader.get("a")).is_ok());
}

/// The replacement was forgotten before the other node's edit came: that edit is the present, and so is a change of it.
#[test]
fn a_fact_whose_replacement_was_forgotten_is_changed_where_it_still_shows() {
    use Change::{Edit, Remember, Supersede};
    for (ours, theirs) in [(Edit, None), (Remember, None), (Supersede, None)]
        .into_iter()
        .chain([Edit, Remember, Supersede].map(|ours| (ours, Some(Supersede))))
    {
        let (mut one, mut two) = pair();
        one.remember("oldest", Some(KEY));
        exchange(&mut one, &mut two);
        assert!(one.change_keyed(Edit, "edited", 900));
        assert!(two.change_keyed(Supersede, "replaced", 901) && two.change_keyed(Change::Forget, "", 902));
        exchange(&mut one, &mut two);
        assert_eq!(told(&two.keyed().unwrap()), BTreeSet::from(["edited".to_owned()]));
        assert!(one.change_keyed(ours, "ours", 1_000));
        assert_eq!(told(&one.keyed().unwrap()), BTreeSet::from(["ours".to_owned()]), "{ours:?}");
        let mut both = BTreeSet::from(["ours".to_owned()]);
        if let Some(theirs) = theirs {
            assert!(two.change_keyed(theirs, "theirs", 1_001));
            both.insert("theirs".to_owned());
        }
        exchange(&mut one, &mut two);
        for peer in [&one, &two] {
            assert_eq!(told(&peer.keyed().unwrap()), both, "{ours:?} {theirs:?}");
            assert_eq!(peer.current().len(), 1, "{ours:?} {theirs:?}: {:?}", peer.current());
        }
    }
}

#[test]
fn an_end_that_is_taken_back_takes_the_replacement_back() {
    let (mut one, _) = pair();
    let first = one.remember("first", Some(KEY));
    one.change_keyed(Change::Supersede, "a mistake", 1_000);
    one.change(first, [("valid_to", Value::Null)], Origin::default());
    let named = one.keyed().unwrap();
    assert_eq!((named.text.as_str(), named.conflicts.len()), ("first", 0), "the key is back where it was");
    assert_eq!(one.current().len(), 2, "both hold, as somebody said");
    one.change(first, [("valid_to", json!(1_500))], Origin::default());
    assert_eq!((one.keyed().unwrap().text.as_str(), one.current().len()), ("a mistake", 1));
}

#[test]
fn a_claim_alone_ends_nothing() {
    let (mut one, _) = pair();
    let first = one.remember("first", Some(KEY));
    let id = MemoryId::from(first).to_string();
    one.create(default(), Core { supersedes: Some(id), ..core("claimed", Origin::default()) });
    let memory = one.keyed().unwrap();
    assert_eq!(told(&memory), BTreeSet::from(["first".to_owned(), "claimed".to_owned()]), "in conflict, in sight");
}

#[test]
fn a_long_chain_is_followed() {
    let (mut one, _) = pair();
    one.remember("0", Some(KEY));
    for n in 1..60_u64 {
        one.change_keyed(Change::Supersede, &n.to_string(), 1_000 + n);
    }
    assert_eq!((one.keyed().unwrap().text.as_str(), one.current().len()), ("59", 1));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    /// promise: Entries and memories | A key leads to the live end of its chain: one current fact after any changes, on all nodes
    #[test]
    fn any_changes_by_key_on_two_nodes_leave_one_current_fact_or_a_conflict_in_sight(
        changes in prop::collection::vec(any_change(), 1..14),
    ) {
        let (mut one, mut two) = pair();
        let oldest = one.remember("oldest", Some(KEY));
        exchange(&mut one, &mut two);
        // the last words of each node since they met, and whether somebody forgot
        let (mut last, mut forgot): ([Option<String>; 2], bool) = ([None, None], false);
        for (n, (first, change)) in changes.into_iter().chain([(true, Change::Sync)]).enumerate() {
            let (text, at) = (format!("text {n}"), 1_000 + n as u64);
            match change {
                Change::Sync => {
                    exchange(&mut one, &mut two);
                    prop_assert_eq!(one.keyed(), two.keyed());
                    prop_assert!(one.current().len() <= 1, "{:?}", one.current());
                    let said: BTreeSet<String> = last.iter().flatten().cloned().collect();
                    if let (false, false) = (said.is_empty(), forgot) {
                        let memory = one.keyed().expect("nobody forgot it");
                        prop_assert!(told(&memory).is_superset(&said), "{:?} lacks some of {:?}", memory, said);
                        // a change that nobody else made meanwhile is no new conflict
                        if said.len() == 1 && last.iter().flatten().count() == 1 {
                            prop_assert_eq!(told(&memory), said);
                        }
                    }
                    (last, forgot) = ([None, None], false);
                }
                Change::EditOldest => {
                    let peer = if first { &mut one } else { &mut two };
                    let past = peer.shown(oldest).is_ok_and(|memory| memory.valid_to.is_some());
                    if past {
                        peer.edit(oldest, &text);
                        let shown = peer.keyed();
                        prop_assert!(shown.is_none_or(|memory| !told(&memory).contains(&text)));
                    }
                }
                change => {
                    let peer = if first { &mut one } else { &mut two };
                    if peer.change_keyed(change, &text, at) {
                        prop_assert!(peer.current().len() <= 1, "{:?}", peer.current());
                        if matches!(change, Change::Forget) {
                            forgot = true;
                        } else {
                            prop_assert_eq!(told(&peer.keyed().unwrap()), BTreeSet::from([text.clone()]));
                            last[usize::from(!first)] = Some(text);
                        }
                    }
                }
            }
        }
    }
}
