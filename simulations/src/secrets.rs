//! Documents with secrets, which are erased after a while, at any node and also while others write in them.
//!
//! Every edit has a word of its own. The promise of an erasure is about the words that the node showed which erased them. By an
//! admin it is about all words of the document, also those that others wrote before they heard of it.

use std::cell::RefCell;

use nexus_node::brain::EraseFate;
use nexus_node::documents::Edit;
use nexus_node::{Node, NodeError};

use crate::documents::{OP_MAX, index, words_of};
use crate::ledger::Ledger;
use crate::plan::{NodeNo, Op};
use crate::world::{Sim, SimError};

/// The keys of the documents. After an erasure a key begins another document.
const KEYS: [&str; 4] = ["secret 0", "secret 1", "secret 2", "secret 3"];

/// The founder. The others are members.
const ADMIN: NodeNo = 0;

/// Does one operation and records what its client saw.
pub(crate) async fn operate(sim: &Sim, ledger: &RefCell<Ledger>, number: usize, op: Op) {
    let key = KEYS[index(op.bytes, KEYS.len())];
    let done = async {
        match op.n % 3 {
            0 => erase(sim, ledger, op.node, key).await,
            _ => write(sim, ledger, op.node, key, &format!("secret{number}n{}x", op.node)).await,
        }
    };
    let done = tokio::time::timeout(OP_MAX, done).await;
    let mut ledger = ledger.borrow_mut();
    match done {
        Ok(Ok(())) => ledger.acknowledged += 1,
        // somebody erased it meanwhile, or the mesh does not erase yet
        Ok(Err(SimError::Node(_, NodeError::NotFound { .. } | NodeError::Document(_) | NodeError::NoErasures))) => {}
        _ => ledger.failed += 1,
    }
}

async fn write(sim: &Sim, ledger: &RefCell<Ledger>, no: NodeNo, key: &str, word: &str) -> Result<(), SimError> {
    let path = format!("/{word}").parse().unwrap_or_default();
    sim.on(no, async |node: Node| {
        let address = node.documents().create(None, key).await?.info.id.to_string();
        ledger.borrow_mut().secrets.entry(address).or_default().insert(word.to_owned());
        node.documents().edit(None, key, vec![Edit::Set { path, value: true.into() }]).await.map(drop)
    })
    .await
}

/// Erases a document, unless others wrote in it and this node's member is no admin.
async fn erase(sim: &Sim, ledger: &RefCell<Ledger>, no: NodeNo, key: &str) -> Result<(), SimError> {
    let erased = sim.on(no, async |node: Node| {
        let documents = node.documents();
        let shown = documents.get(None, key, "", None).await?;
        let address = documents.create(None, key).await?.info.id.to_string();
        let fates = node.brain().erase(vec![address.as_str().into()]).await?;
        Ok((address, words_of(&shown.value), fates))
    });
    let (address, words, fates) = erased.await?;
    if fates.iter().any(|erased| matches!(erased.fate, EraseFate::Erased { .. })) {
        let mut ledger = ledger.borrow_mut();
        if no == ADMIN {
            ledger.erased_whole.insert(address.clone());
        }
        ledger.erased.entry(address).or_default().extend(words);
    }
    Ok(())
}
