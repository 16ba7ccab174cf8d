//! The graph that follows is the graph that is made anew.

use std::collections::BTreeMap;

use nexus_crdt::{Core, Dot};
use nexus_identity::Timestamp;
use proptest::prelude::*;

use super::*;
use crate::follow::tests::Story;
use crate::replication::tests::Peer;

/// An item of the graph as a memory: few names, so that several are about the same ones.
fn core(n: usize, key: Option<&str>) -> Core {
    let lone = format!("lone {n}");
    let name = key.unwrap_or(&lone);
    let text = |value: &str| serde_json::Value::from(value);
    let (kind, meta) = match n % 3 {
        0 => ("entity", BTreeMap::from([("name".to_owned(), text(name)), ("type".to_owned(), text(&n.to_string()))])),
        1 => ("observation", BTreeMap::from([("entity".to_owned(), text(name))])),
        _ => {
            let ends = [("from", name), ("to", "bob"), ("type", "likes")];
            ("relation", ends.into_iter().map(|(part, value)| (part.to_owned(), text(value))).collect())
        }
    };
    // one key for each kind of item, as equal items have on all machines
    let key = key.map(|key| format!("graph:{kind}:{key}"));
    Core { text: format!("{name}: {n}"), kind: kind.to_owned(), meta, key, ..Core::default() }
}

/// All that a graph says, in an order of its own.
fn said(live: &Live) -> BTreeSet<String> {
    let state = live.projection.graph("");
    let entities = state.names().filter_map(|name| state.entity(name)).map(|mut entity| {
        entity.observations.sort();
        format!("{entity:?}")
    });
    entities.chain(state.relations().map(|relation| format!("{relation:?}"))).collect()
}

fn with<T>(peer: &Peer, read: impl FnOnce(&dyn View, &Reader<'_>) -> T) -> T {
    let snapshot = peer.store.snapshot().unwrap();
    let reader = Reader::new(&snapshot, [0; 8], peer.key.did(), peer.members(), Timestamp::from_ms(0)).unwrap();
    read(&snapshot, &reader)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    /// promise: Agents | The graph that follows the log is the graph that is made anew from memories: also after forks and revocations
    #[test]
    fn a_graph_that_follows_is_the_one_that_is_made_anew(seed in any::<u64>(), many in 1_usize..60) {
        let mut story = Story::new(seed, core);
        let mut early = with(&story.peer, |view, reader| Live::load(view, reader).unwrap());
        for n in 0..many {
            story.goes_on(n);
            if story.dice.roll(3) == 0 {
                with(&story.peer, |view, reader| early.follow(view, reader).unwrap());
            }
        }
        with(&story.peer, |view, reader| early.follow(view, reader).unwrap());
        let late = with(&story.peer, |view, reader| Live::load(view, reader).unwrap());
        prop_assert_eq!(said(&early), said(&late));
        prop_assert_eq!(early.at, late.at);
        // from the first entry, without any list
        let mut empty = Live { projection: Projection::new(), at: 0 };
        with(&story.peer, |view, reader| empty.follow(view, reader).unwrap());
        prop_assert_eq!(said(&empty), said(&late));
    }
}

#[test]
fn an_entity_whose_memory_is_cut_gives_way_to_the_same_one_of_another_machine() {
    let mut story = Story::new(1, core);
    let own =
        story.peer.create(nexus_crdt::SpaceId::default_of(&crate::replication::tests::mesh()), core(0, Some("ann")));
    let other = story.write(1, core(0, Some("ann")), false);
    let mut live = with(&story.peer, |view, reader| Live::load(view, reader).unwrap());
    assert_eq!(live.projection.graph("").len(), 1);
    let shown = |live: &Live| live.projection.graph("").ids_about("ann");
    let id = |dot: Dot| MemoryId::from(dot).to_string();
    let first = shown(&live);
    assert!(first == [id(own)] || first == [id(other)], "{first:?}");
    // the other machine's log forks at its beginning: nothing of it counts
    story.write(1, core(1, None), true);
    with(&story.peer, |view, reader| live.follow(view, reader).unwrap());
    assert_eq!(shown(&live), [id(own)]);
}
