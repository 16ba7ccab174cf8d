//! Documents of a running node.

use std::collections::BTreeSet;

use futures::future::join_all;
use futures::stream::{FuturesUnordered, StreamExt};
use nexus_crdt::DocumentPart;
use nexus_documents::{Edit, Living, Made};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::super::front::WAITING_BYTES_MAX;
use super::super::{Documents, DocumentsPage};
use super::set;
use crate::Node;
use crate::error::{DocumentError, NodeError};
use crate::events::{EventKind, EventsQuery, NodeEvents, NodeNews};

pub(super) async fn home() -> (TempDir, Node) {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::builder(dir.path().join("node")).name("laptop".parse().unwrap()).mdns(false).listen([]);
    (dir, node.start().await.unwrap())
}

pub(super) async fn value(documents: &Documents, name: &str) -> Value {
    documents.get(None, name, "", None).await.unwrap().value
}

/// Writes changes to a document as another program of the mesh would.
async fn write(documents: &Documents, name: &str, made: &[Made]) {
    let found = documents.find(None, name).await.unwrap();
    let part = |made: &Made| DocumentPart::Change { hash: made.hash.0, bytes: made.bytes.clone() };
    documents.pen.write(found.space, found.document, None, made.iter().map(part).collect()).await.unwrap();
}

/// promise: Documents | A list of documents goes on where a page ended, and tells each document once
#[tokio::test(flavor = "multi_thread")]
async fn a_list_goes_on_where_a_page_ended() {
    let (_dir, node) = home().await;
    let documents = node.documents();
    for key in ["e", "b", "d", "a", "c"] {
        documents.create(None, key).await.unwrap();
    }
    let (_, file) = documents.export(None, "a").await.unwrap();
    for _ in 0..3 {
        documents.import(None, None, file.clone()).await.unwrap();
    }
    let b = documents.find(None, "b").await.unwrap().document;
    documents.name(None, &b.to_string(), "another of b").await.unwrap();
    documents.compact(None, "d").await.unwrap();
    let all = documents.list(None, None, 1_000).await.unwrap();
    assert_eq!(all.next, None);
    let keys: Vec<&str> = all.items.iter().filter_map(|info| info.key.as_deref()).collect();
    assert_eq!(keys, ["a", "another of b", "b", "c", "d", "e"]);
    let former: Vec<&str> = all.items.iter().filter_map(|info| info.former_key.as_deref()).collect();
    assert_eq!((all.items.len(), former), (6 + 3 + 1, vec!["d"]));
    for limit in 1..=all.items.len() {
        let (mut items, mut after) = (Vec::new(), None);
        loop {
            let page = documents.list(None, after.as_deref(), limit).await.unwrap();
            let DocumentsPage { items: more, next } = page;
            assert!(more.len() == limit || next.is_none(), "{limit}");
            items.extend(more);
            after = next;
            if after.is_none() {
                break;
            }
        }
        assert_eq!(items, all.items, "{limit}");
    }
    for bad in ["", "k", "k!", "x", "d", "dAAAA", &"k".repeat(10_000)] {
        let listed = documents.list(None, Some(bad), 10).await;
        assert!(bad == "k" && listed.is_ok() || matches!(listed, Err(NodeError::Invalid(_))), "{bad}: {listed:?}");
    }
}

/// promise: Documents | Edits while a document begins anew are in the next one, and the former one refuses edits by its address
#[tokio::test(flavor = "multi_thread")]
async fn edits_while_a_key_begins_anew_are_in_the_next_document() {
    let (_dir, node) = home().await;
    let documents = node.documents();
    documents.create(None, "plan").await.unwrap();
    documents.edit(None, "plan", set("text", &json!("words ".repeat(1_000)))).await.unwrap();
    let former = documents.find(None, "plan").await.unwrap().document.to_string();
    let edits = (0..200).map(|n| {
        let documents = documents.clone();
        async move { documents.edit(None, "plan", set(&format!("n{n}"), &json!(n))).await }
    });
    let anew = [documents.compact(None, "plan"), documents.compact(None, "plan")];
    let (edited, anew) = tokio::join!(join_all(edits), join_all(anew));
    assert!(edited.into_iter().all(|edited| edited.is_ok()));
    assert_eq!(anew.into_iter().filter(|anew| anew.as_ref().unwrap().changed).count(), 1);
    let now = documents.get(None, "plan", "", None).await.unwrap();
    assert_ne!(now.info.id.to_string(), former);
    assert_eq!(now.value.as_object().unwrap().len(), 201);
    assert_eq!(now.former, []);

    let refused = documents.edit(None, &former, set("late", &json!(1))).await.unwrap_err();
    assert!(matches!(&refused, NodeError::Document(DocumentError::Former { key, .. }) if key == "plan"), "{refused}");
    // a member that did not know writes to it all the same: that is shown
    let mut living = Living::new();
    write(&documents, &former, &living.edit(b"elsewhere", 0, &set("late", &json!(1)), 60_000).unwrap()).await;
    let now = documents.get(None, "plan", "", None).await.unwrap();
    assert_eq!(
        now.former.iter().map(|former| (former.id.to_string(), former.later)).collect::<Vec<_>>(),
        [(former.clone(), 1)]
    );
    assert_eq!(value(&documents, &former).await["late"], 1);
    let listed = documents.list(None, None, 10).await.unwrap().items;
    assert!(listed.iter().any(|info| info.former_key.as_deref() == Some("plan") && info.id.to_string() == former));
    // with a key of its own it takes edits, by its address as well
    documents.name(None, &former, "plan of old").await.unwrap();
    assert_eq!(documents.get(None, "plan", "", None).await.unwrap().former, []);
    for name in [former.as_str(), "plan of old"] {
        documents.edit(None, name, set("late", &json!(name))).await.unwrap();
    }
    assert_eq!(value(&documents, &former).await["late"], json!("plan of old"));
}

/// promise: Documents | Edits that wait for a document are bounded in bytes: more are refused at once, and what was accepted is written
#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_edits_is_refused_beyond_a_bound_and_loses_nothing() {
    let (_dir, node) = home().await;
    let documents = node.documents();
    documents.create(None, "plan").await.unwrap();
    let large = json!({ "$bytes": data_encoding::BASE64.encode(&[7; 48 << 10]) });
    let edits = |n: usize| [set("large", &large), set(&format!("n{n}"), &json!(n))].concat();
    let fit = usize::try_from(WAITING_BYTES_MAX / edits(100).iter().map(Edit::bytes).sum::<u64>()).unwrap();
    let shared = documents.open(&documents.find(None, "plan").await.unwrap());
    // while a key begins anew all edits wait
    let anew = shared.front.anew.clone().write_owned().await;
    let all = 400;
    let mut answers: FuturesUnordered<_> = (0..all)
        .map(|n| {
            let (documents, edits) = (documents.clone(), edits(n));
            async move { documents.edit(None, "plan", edits).await.map(|_| n) }
        })
        .collect();
    for _ in 0..all - fit - 1 {
        let refused = answers.next().await.unwrap().unwrap_err();
        assert_eq!(refused.code(), "too_many", "{refused}");
    }
    drop(anew);
    let mut written = BTreeSet::new();
    while let Some(answer) = answers.next().await {
        match answer {
            Ok(n) => drop(written.insert(format!("n{n}"))),
            Err(refused) => assert_eq!(refused.code(), "too_many", "{refused}"),
        }
    }
    assert!((fit - 1..=fit + 1).contains(&written.len()), "{} of {fit}", written.len());
    documents.edit(None, "plan", edits(all)).await.unwrap();
    written.extend([format!("n{all}"), "large".to_owned()]);
    let found: BTreeSet<String> = value(&documents, "plan").await.as_object().unwrap().keys().cloned().collect();
    assert_eq!(found, written);
}

async fn told(events: &mut NodeEvents) -> (String, Option<String>, Option<String>, Option<String>) {
    let event = events.next().await.unwrap().unwrap();
    let NodeNews::Document(change, news) = event.news else { panic!("{event:?}") };
    assert_eq!(change.space, "default");
    (change.subject.to_string(), news.key, news.former_key, news.version.map(|version| version.to_string()))
}

/// promise: Documents | Each change of a document is an event with its key, its address and its version, once it is in the document
#[tokio::test(flavor = "multi_thread")]
async fn each_change_of_a_document_is_an_event_once_it_is_in_it() {
    let (_dir, node) = home().await;
    let documents = node.documents();
    let query = || EventsQuery::from_now().kinds([EventKind::Documents]);
    let mut events = node.events(query()).await.unwrap();
    let begin = events.cursor();
    let created = documents.create(None, "plan").await.unwrap();
    let address = created.info.id.to_string();
    let key = || Some("plan".to_owned());
    assert_eq!(told(&mut events).await, (address.clone(), key(), None, Some(created.version.to_string())));
    let edited = documents.edit(None, "plan", set("a", &json!(1))).await.unwrap();
    assert_eq!(told(&mut events).await, (address.clone(), key(), None, Some(edited.version.to_string())));

    // the second of two changes comes first, and is in the document with the other one
    let mut living = Living::new();
    let made = [1, 2].map(|n| living.edit(b"elsewhere", 0, &set("b", &json!(n)), 60_000).unwrap());
    write(&documents, "plan", &made[1]).await;
    let other = documents.create(None, "other").await.unwrap();
    assert_eq!(told(&mut events).await.0, other.info.id.to_string(), "the second change alone is not in it");
    write(&documents, "plan", &made[0]).await;
    let both = documents.get(None, "plan", "", None).await.unwrap().version;
    assert!(both.0.contains(&made[1][0].hash));
    assert_eq!(told(&mut events).await.3, Some(both.to_string()));

    // a change that never counts is no event
    let forged = Made { hash: made[0][0].hash, bytes: vec![1, 2, 3] };
    write(&documents, "plan", &[Made { hash: nexus_documents::ChangeHash([9; 32]), ..forged }]).await;
    let anew = documents.compact(None, "plan").await.unwrap().info.id.to_string();
    assert_ne!(anew, address);
    let mut news = told(&mut events).await;
    while news.1.is_none() {
        assert_eq!((&news.0, &news.2), (&anew, &None), "the next document comes before its key");
        news = told(&mut events).await;
    }
    assert_eq!((news.0, news.1), (anew, key()));

    // from an earlier cursor all of it is told again, as the documents are now
    let mut again = node.events(EventsQuery::after(begin).kinds([EventKind::Documents])).await.unwrap();
    assert_eq!(told(&mut again).await, (address, None, key(), Some(both.to_string())));
    // other kinds have no place for it
    let mut others = node.events(EventsQuery::from_now().kinds([EventKind::Memories])).await.unwrap();
    documents.edit(None, "plan", set("c", &json!(1))).await.unwrap();
    node.brain().remember(crate::NewMemory::note("a memory")).await.unwrap();
    assert!(matches!(others.next().await.unwrap().unwrap().news, NodeNews::Change(_)));
}

/// promise: Documents | Values that were written to one place at once are shown with their authors
#[tokio::test(flavor = "multi_thread")]
async fn conflicts_are_shown_with_their_authors() {
    let (_dir, node) = home().await;
    let documents = node.documents();
    documents.create(None, "plan").await.unwrap();
    documents.edit(None, "plan", set("title", &json!("one"))).await.unwrap();
    let only = documents.conflicts(None, "plan", "title").await.unwrap();
    assert_eq!(
        only.iter().map(|one| (one.by.as_deref(), &one.value)).collect::<Vec<_>>(),
        [(Some("laptop"), &json!("one"))]
    );
    write(&documents, "plan", &Living::new().edit(b"x", 0, &set("title", &json!("two")), 60_000).unwrap()).await;
    let both = documents.conflicts(None, "plan", "title").await.unwrap();
    assert_eq!(both[0].value, documents.get(None, "plan", "title", None).await.unwrap().value);
    assert_eq!(
        both.iter().map(|one| one.value.to_string()).collect::<BTreeSet<_>>(),
        ["\"one\"", "\"two\""].map(str::to_owned).into()
    );
    documents
        .edit(None, "plan", vec![Edit::Set { path: "title".parse().unwrap(), value: json!("decided") }])
        .await
        .unwrap();
    assert_eq!(documents.conflicts(None, "plan", "title").await.unwrap().len(), 1);
    for (path, code) in [("nothing", "not_found"), ("", "invalid"), ("/title/deeper", "not_found")] {
        assert_eq!(documents.conflicts(None, "plan", path).await.unwrap_err().code(), code, "{path}");
    }
}
