//! Documents that are erased.

use nexus_documents::Edit;

use super::super::hash_of;
use super::node::home;
use crate::brain::{ErasableId, EraseFate};
use crate::error::{DocumentError, NodeError};
use crate::memory::MemoryRef;
use crate::store::{ALL_KEYS, Order, Table, View};

fn is_erased<T: std::fmt::Debug>(answer: Result<T, NodeError>) -> bool {
    match answer {
        Err(NodeError::Document(DocumentError::Erased { .. })) => true,
        other => panic!("{other:?}"),
    }
}

async fn erase(node: &crate::Node, document: &str) -> EraseFate {
    let erased = node.brain().erase(vec![MemoryRef::from(document.to_owned())]).await.unwrap();
    assert_eq!((erased.len(), erased[0].id.kind()), (1, "document"));
    erased[0].fate.clone()
}

/// promise: Erasure | An erased document is found by nobody, takes no change, and comes back by no file; its key begins another one
#[tokio::test(flavor = "multi_thread")]
async fn an_erased_document_comes_back_in_no_way() {
    let (_dir, node) = home().await;
    let documents = node.documents();
    let first = documents.create(None, "plan").await.unwrap().info.id;
    for n in 0..40 {
        let edit = Edit::Set { path: format!("k{n}").parse().unwrap(), value: "the password".into() };
        documents.edit(None, "plan", vec![edit]).await.unwrap();
    }
    let former = documents.compact(None, "plan").await.unwrap().info.id;
    let edit = Edit::Set { path: "more".parse().unwrap(), value: "the password again".into() };
    documents.edit(None, "plan", vec![edit]).await.unwrap();
    documents.create(None, "other").await.unwrap();
    let (_, file) = documents.export(None, "plan").await.unwrap();
    let found = documents.find(None, "plan").await.unwrap();
    assert_eq!(found.document, former);
    let changes = nexus_documents::changes_of_file(&file).unwrap();

    assert!(matches!(erase(&node, &former.to_string()).await, EraseFate::Erased { leaves, .. } if leaves > 0));
    for name in ["plan".to_owned(), first.to_string(), former.to_string()] {
        assert!(is_erased(documents.get(None, &name, "", None).await));
        assert!(is_erased(documents.edit(None, &name, vec![]).await));
        assert!(is_erased(documents.export(None, &name).await));
        assert!(is_erased(documents.watch(None, &name, None).await));
    }
    let listed = documents.list(None, None, 10).await.unwrap();
    assert_eq!(listed.items.iter().map(|info| info.key.as_deref()).collect::<Vec<_>>(), [Some("other")]);
    assert_eq!(erase(&node, &former.to_string()).await, EraseFate::Missing);

    // a program or a member that still has its changes
    let parts = changes.iter().map(|bytes| {
        let hash = hash_of(bytes).unwrap().0;
        nexus_crdt::DocumentPart::Change { hash, bytes: bytes.clone() }
    });
    assert!(is_erased(documents.pen.write(found.space, former, None, parts.collect()).await));
    assert!(is_erased(documents.import_as(None, former, file).await));

    let view = documents.brain.snapshot().unwrap();
    for table in [Table::SavedDocuments, Table::Payloads] {
        view.scan(table, ALL_KEYS, Order::Forward, &mut |key, value| {
            let has = value.windows(8).any(|window| window == b"password");
            assert!(!has, "{table:?} {key:?}");
            std::ops::ControlFlow::Continue(())
        })
        .unwrap();
    }

    let again = documents.create(None, "plan").await.unwrap();
    assert!(again.changed && ![first, former].contains(&again.info.id));
    assert!(!documents.create(None, "plan").await.unwrap().changed);
    assert!(matches!(erase(&node, &again.info.id.to_string()).await, EraseFate::Erased { .. }));
    let (id, status) = node.brain().erasure(MemoryRef::from(first.to_string())).await.unwrap();
    assert_eq!((id, status.by.len()), (ErasableId::Document(first), 1));
    node.shutdown().await;
}
