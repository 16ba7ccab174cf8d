//! Documents that are saved, and opened by what is saved.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "tests")]

use nexus_node::Node;
use nexus_node::documents::Edit;
use serde_json::json;
use tempfile::TempDir;

use crate::world::eventually;

async fn start(dir: &TempDir) -> Node {
    let builder = Node::builder(dir.path().join("data")).name("one".parse().unwrap()).mdns(false);
    builder.listen(["/ip4/127.0.0.1/tcp/0".parse().unwrap()]).start().await.unwrap()
}

fn set(path: &str, value: serde_json::Value) -> Vec<Edit> {
    vec![Edit::Set { path: path.parse().unwrap(), value }]
}

/// promise: Documents | A document is saved while nobody opens it, and is read after a restart without being built
#[tokio::test(flavor = "multi_thread")]
async fn a_document_is_read_after_a_restart_without_being_built() {
    let dir = TempDir::new().unwrap();
    let node = start(&dir).await;
    let documents = node.documents();
    documents.create(None, "plan").await.unwrap();
    for n in 0..20 {
        documents.edit(None, "plan", set(&format!("part{n}"), json!({ "number": n }))).await.unwrap();
    }
    let shown = documents.get(None, "plan", "", None).await.unwrap();
    let of = documents.clone();
    eventually("it is saved", || async { of.is_built_or_saved(None, "plan").await.unwrap().1 }).await;
    node.shutdown().await;
    drop(node);

    let node = start(&dir).await;
    let documents = node.documents();
    assert_eq!(documents.get(None, "plan", "", None).await.unwrap(), shown);
    assert_eq!(documents.get(None, "plan", "part7/number", None).await.unwrap().value, json!(7));
    assert!(documents.get(None, "plan", "part7/none", None).await.is_err());
    assert_eq!(documents.is_built_or_saved(None, "plan").await.unwrap(), (false, true));
    // it goes on from what is saved
    let edited = documents.edit(None, "plan", set("part7/number", json!(8))).await.unwrap();
    assert_eq!(documents.get(None, "plan", "part7", None).await.unwrap().value, json!({ "number": 8 }));
    assert!(documents.is_built_or_saved(None, "plan").await.unwrap().0);
    let (_, history) = documents.history(None, "plan", 100).await.unwrap();
    assert_eq!((history.len(), &history[0].version), (22, &edited.version));
    let before = documents.get(None, "plan", "part7", Some(&shown.version)).await.unwrap();
    assert_eq!(before.value, json!({ "number": 7 }));
    // nothing is saved of a document that began anew
    let of = documents.clone();
    eventually("it is saved again", || async { of.is_built_or_saved(None, "plan").await.unwrap().1 }).await;
    let former = documents.get(None, "plan", "", None).await.unwrap().info.id.to_string();
    documents.compact(None, "plan").await.unwrap();
    assert!(!documents.is_built_or_saved(None, &former).await.unwrap().1);
    assert_eq!(documents.get(None, &former, "part7/number", None).await.unwrap().value, json!(8));
    node.shutdown().await;
}
