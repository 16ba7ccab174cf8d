//! Changes that programs make by themselves, in JSON and in values of their own types.

use autosurgeon::{Counter, Hydrate, Reconcile, Text};
use futures::future::join_all;
use nexus_documents::{Edit, MarkExpand, MarkJson, PatchJson};
use serde_json::json;

use super::node::{home, value};
use super::set;
use crate::Node;
use crate::error::{DocumentError, InputError, NodeError};

/// promise: Documents | Programs that read a value of a document and write it back at once each see the one before
#[tokio::test(flavor = "multi_thread")]
async fn programs_that_count_at_once_lose_no_step() {
    let (_dir, node) = home().await;
    let documents = node.documents();
    documents.create(None, "plan").await.unwrap();
    let counts = (0..60).map(|at| {
        let documents = documents.clone();
        async move {
            if at % 3 == 0 {
                documents.edit(None, "plan", set(&format!("k{at}"), &json!(at))).await.unwrap();
            }
            let counted = documents.change(None, "plan", |draft| {
                let n = draft.get("n")?.and_then(|n| n.as_i64()).unwrap_or(0) + 1;
                draft.set("n", n)?;
                Ok(n)
            });
            counted.await.unwrap().0
        }
    });
    let mut said = join_all(counts).await;
    said.sort_unstable();
    assert_eq!(said, (1..=60).collect::<Vec<_>>());
    assert_eq!(documents.get(None, "plan", "n", None).await.unwrap().value, json!(60));
    node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_ends_early_or_panics_leaves_nothing() {
    let (_dir, node) = home().await;
    let documents = node.documents();
    documents.create(None, "plan").await.unwrap();
    documents.edit(None, "plan", set("text", &json!("begun"))).await.unwrap();
    let before = documents.get(None, "plan", "", None).await.unwrap();
    let ended = documents.change(None, "plan", |draft| {
        draft.set("n", 1)?;
        if draft.get("n")?.is_some() { Err("enough".into()) } else { Ok(()) }
    });
    let ended = ended.await;
    assert!(
        matches!(&ended, Err(NodeError::Document(DocumentError::Edit(why))) if why.contains("enough")),
        "{ended:?}"
    );
    let panicked = documents.change(None, "plan", |draft| {
        draft.set("n", 1)?;
        assert_eq!(draft.get("n")?, None, "out of order");
        Ok(())
    });
    let edited = documents.edit(None, "plan", set("other", &json!(true)));
    let (panicked, edited) = tokio::join!(panicked, edited);
    let says = |why: &str| why.contains("out of order") && why.contains("panicked");
    assert!(matches!(&panicked, Err(NodeError::Document(DocumentError::Edit(why))) if says(why)), "{panicked:?}");
    assert!(edited.unwrap().changed, "others go on");
    assert_eq!(value(&documents, "plan").await, json!({"text": "begun", "other": true}));
    let history = documents.history(None, "plan", 10).await.unwrap().1;
    assert_eq!(history.len(), 3, "the first, and the two edits");
    assert!(history.iter().any(|entry| entry.version == before.version));
    node.shutdown().await;
}

/// promise: Documents | A credential that a program writes into a text piece by piece is refused as a whole
#[tokio::test(flavor = "multi_thread")]
async fn a_credential_that_a_program_writes_in_pieces_is_refused() {
    let (_dir, node) = home().await;
    let documents = node.documents();
    documents.create(None, "plan").await.unwrap();
    let secret = format!("ghp_{}", "a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8");
    documents.edit(None, "plan", set("text", &json!("token: "))).await.unwrap();
    let letters = secret.clone();
    let typed = move |draft: &mut super::super::Draft<'_>| {
        for letter in letters.chars() {
            let at = draft.get("text")?.and_then(|text| Some(text.as_str()?.chars().count())).unwrap_or(0);
            let insert = letter.to_string();
            draft.edit(&Edit::Splice { path: "text".parse()?, at, delete: 0, insert, at_heads: None })?;
        }
        Ok(())
    };
    let refused = documents.change(None, "plan", typed.clone()).await;
    assert!(matches!(refused, Err(NodeError::Invalid(InputError::Secret { .. }))), "{refused:?}");
    assert_eq!(value(&documents, "plan").await, json!({"text": "token: "}));
    documents.clone().allowing_secrets().change(None, "plan", typed).await.unwrap();
    // a credential that is there already keeps nobody from writing
    let more = documents.change(None, "plan", |draft| {
        let end = Edit::Splice { path: "text".parse()?, at: 0, delete: 0, insert: "the ".to_owned(), at_heads: None };
        Ok(draft.edit(&end)?)
    });
    more.await.unwrap();
    assert_eq!(value(&documents, "plan").await, json!({"text": format!("the token: {secret}")}));
    node.shutdown().await;
}

/// promise: Documents | Marks of a text are read, and stand in the stream of patches; a range beyond the text is refused
#[tokio::test(flavor = "multi_thread")]
async fn marks_are_read_and_stand_in_the_patches() {
    let (_dir, node) = home().await;
    let documents = node.documents();
    documents.create(None, "plan").await.unwrap();
    let seen = documents.edit(None, "plan", set("text", &json!("some letters"))).await.unwrap().version;
    let mut changes = documents.watch(None, "plan", Some(seen.clone())).await.unwrap();
    let mark = |range, value| {
        let (path, name) = ("text".parse().unwrap(), "link".to_owned());
        Edit::Mark { path, range, name, value, expand: MarkExpand::None, at_heads: Some(seen.0.clone()) }
    };
    let edits = [set("text", &json!("some more letters")), vec![mark(5..12, json!("https://example.org"))]].concat();
    documents.edit(None, "plan", edits).await.unwrap();
    let link = MarkJson { name: "link".to_owned(), value: json!("https://example.org"), start: 10, end: 17 };
    assert_eq!(documents.marks(None, "plan", "text").await.unwrap(), std::slice::from_ref(&link));
    let patches = changes.next().await.unwrap().patches;
    let told = |patch: &PatchJson| matches!(patch, PatchJson::Mark { path, marks } if path == "/text" && *marks == [link.clone()]);
    assert!(patches.iter().any(told), "{patches:?}");
    for range in [5..13, 7..7] {
        let refused = documents.edit(None, "plan", vec![mark(range, json!(true))]).await;
        assert!(matches!(refused, Err(NodeError::Document(DocumentError::Edit(_)))), "{refused:?}");
    }
    let secret = json!(format!("ghp_{}", "a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8"));
    let refused = documents.edit(None, "plan", vec![mark(0..4, secret)]).await;
    assert!(matches!(refused, Err(NodeError::Invalid(InputError::Secret { .. }))), "{refused:?}");
    let missing = documents.marks(None, "plan", "other").await;
    assert!(matches!(missing, Err(NodeError::Document(DocumentError::Missing(_)))), "{missing:?}");
    node.shutdown().await;
}

/// promise: Documents | `doc compact` keeps the marks of texts, and a counter stays a counter
#[tokio::test(flavor = "multi_thread")]
async fn a_document_that_begins_anew_keeps_marks_and_counters() {
    let (_dir, node) = home().await;
    let documents = node.documents();
    documents.create(None, "plan").await.unwrap();
    documents.edit(None, "plan", set("text", &json!("some letters"))).await.unwrap();
    let path = |path: &str| path.parse().unwrap();
    let (range, name, value, expand) = (5..12, "bold".to_owned(), json!(true), MarkExpand::After);
    let edits = vec![
        Edit::Mark { path: path("text"), range, name: name.clone(), value: value.clone(), expand, at_heads: None },
        Edit::Counter { path: path("n"), value: 3 },
        Edit::Increment { path: path("n"), by: 4 },
    ];
    documents.edit(None, "plan", edits).await.unwrap();
    let before = documents.get(None, "plan", "", None).await.unwrap();
    let anew = documents.compact(None, "plan").await.unwrap();
    assert_ne!(anew.info.id, before.info.id);
    assert_eq!(documents.get(None, "plan", "", None).await.unwrap().value, before.value);
    assert_eq!(documents.marks(None, "plan", "text").await.unwrap(), [MarkJson { name, value, start: 5, end: 12 }]);
    documents.edit(None, "plan", vec![Edit::Increment { path: path("n"), by: 1 }]).await.unwrap();
    assert_eq!(documents.get(None, "plan", "n", None).await.unwrap().value, json!(8));
    node.shutdown().await;
}

#[derive(Debug, Default, Hydrate, Reconcile)]
struct Plan {
    text: Text,
    done: Counter,
    steps: Vec<String>,
}

/// promise: Documents | A value of a program's own type is on the disk when its change returns, whatever its size
#[tokio::test(flavor = "multi_thread")]
async fn a_value_of_a_type_is_there_after_a_restart() {
    let (dir, node) = home().await;
    let plan = node.documents().typed::<Plan>(None, "plan");
    plan.create().await.unwrap();
    assert!(plan.get().await.unwrap().is_none());
    let text: String = (0..20_000).map(|line| format!("line {line}\n")).collect();
    let long = text.clone();
    let change = plan.change(move |plan| {
        plan.text.update(&long);
        plan.done.increment(1);
        plan.steps.push("ship".to_owned());
        Ok(plan.steps.len())
    });
    let (steps, edited) = change.await.unwrap();
    assert_eq!((steps, edited.changed), (1, true));
    let again = plan.change(|_| Ok(())).await.unwrap().1;
    assert_eq!((again.changed, again.version), (false, edited.version), "nothing differs");
    let secret = format!("ghp_{}", "a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8");
    let push = move |plan: &mut Plan| {
        plan.steps.push(secret.clone());
        Ok(())
    };
    let refused = plan.change(push).await;
    assert!(matches!(refused, Err(NodeError::Invalid(InputError::Secret { .. }))), "{refused:?}");
    // another program set something else there
    node.documents().edit(None, "plan", set("done", &json!("all"))).await.unwrap();
    let other = plan.get().await;
    assert!(matches!(other, Err(NodeError::Document(DocumentError::Edit(_)))), "{other:?}");
    let refused = plan.change(|_| Ok(())).await;
    assert!(matches!(refused, Err(NodeError::Document(DocumentError::Edit(_)))), "{refused:?}");
    let counter = Edit::Counter { path: "done".parse().unwrap(), value: 7 };
    node.documents().edit(None, "plan", vec![counter]).await.unwrap();
    node.shutdown().await;

    let node = Node::builder(dir.path().join("node")).mdns(false).listen([]).start().await.unwrap();
    let plan = node.documents().typed::<Plan>(None, "plan").get().await.unwrap().unwrap();
    assert_eq!((plan.text.as_str(), plan.done.value(), plan.steps), (text.as_str(), 7, vec!["ship".to_owned()]));
    node.shutdown().await;
}
