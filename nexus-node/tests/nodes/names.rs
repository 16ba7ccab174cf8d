//! Members whose names are like each other's: refused where the inviter knows the name, else told apart.

use std::time::Duration;

use nexus_identity::Did;
use nexus_node::error::{AccessError, ConflictError};
use nexus_node::net::JoinRefusal;
use nexus_node::node::JoinOptions;
use nexus_node::{Invite, NewMemory, NewTask, Node, NodeError, RecallQuery, node};
use serde_json::json;
use tempfile::TempDir;

use crate::world::eventually;

async fn start(dir: &TempDir, name: &str) -> Node {
    let builder = Node::builder(dir.path().join("data")).name(name.parse().unwrap()).mdns(false);
    let listen = ["/ip4/127.0.0.1/udp/0/quic-v1", "/ip4/127.0.0.1/tcp/0"].map(|address| address.parse().unwrap());
    builder.listen(listen).start().await.unwrap()
}

fn told_apart(node: &Node, dids: &[Did]) -> bool {
    let members = node.members();
    dids.iter().all(|did| {
        members.iter().any(|member| member.did == *did && member.name.ends_with(&format!(" ({})", did.short())))
    })
}

/// promise: Meeting | Equal names are told apart: compared without case and form, refused at `join`, else shown with ids
#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_a_member_has_is_refused_and_one_taken_all_the_same_is_told_apart() {
    let (one, two) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let founder = start(&one, "Laptop").await;
    let ticket = founder.invite(Invite::default()).await.unwrap().ticket;
    let join = |name: &str| {
        let (dir, ticket) = (two.path().join("data"), ticket.clone());
        let options = JoinOptions::default().name(name.parse().unwrap());
        async move { node::join(&dir, &ticket, options).await }
    };
    for taken in ["Laptop", "laptop", "ＬＡＰＴＯＰ", "lap\u{200b}top"] {
        let refused = join(taken).await.unwrap_err();
        let is_taken =
            matches!(&refused, NodeError::Refused(AccessError::Inviter { code: JoinRefusal::NameTaken, .. }));
        assert!(is_taken, "{taken}: {refused:?}");
        assert_eq!(refused.code(), "name_taken");
    }
    // of two machines with one name the second one gets a number
    let third = TempDir::new().unwrap();
    let path = third.path().join("data");
    let uses = founder.invite(Invite::default()).await.unwrap().ticket;
    let solo = start(&third, "laptop").await;
    let joined = solo.join(&uses, JoinOptions::default()).await.unwrap();
    assert_eq!((joined.name.as_str(), path.exists()), ("laptop-2", true));
    drop(solo);

    // the ticket is still good
    join("cloud").await.unwrap();

    // a member with a credential of its own says another name of itself
    let rogue = start(&two, "LAPTOP").await;
    let both = [founder.did(), rogue.did()];
    eventually("both nodes tell them apart", || async { told_apart(&founder, &both) && told_apart(&rogue, &both) })
        .await;
    let peers = founder.peers().await;
    let shown = Some(format!("LAPTOP ({})", rogue.did().short()));
    assert!(peers.iter().any(|peer| peer.did == rogue.did() && peer.name == shown), "{peers:?}");
    assert_eq!(founder.name(), "Laptop", "its own name stays what it is");

    // a name alone is nobody, with the end of its DID it is one
    assert_eq!(founder.members_called("laptop").len(), 2);
    for did in both {
        let name = founder.members().into_iter().find(|member| member.did == did).unwrap().name;
        assert_eq!(founder.members_called(&name), [did], "{name}");
        assert_eq!(founder.members_called(&did.to_string()), [did]);
    }
    let both_ids = |error: NodeError| {
        let NodeError::Ambiguous { candidates, .. } = &error else { panic!("{error:?}") };
        both.iter().all(|did| candidates.iter().any(|named| named.contains(&did.to_string())))
            && error.code() == "ambiguous"
    };
    let mut to = NewTask::new("x", json!(1));
    to.to = Some("laptop".to_owned());
    assert!(both_ids(founder.tasks().submit(to).await.unwrap_err()));
    let mut heirs = NewTask::new("x", json!(1));
    heirs.heirs = vec!["Laptop".to_owned()];
    assert!(both_ids(founder.tasks().submit(heirs).await.unwrap_err()));

    // a memory is its author's, not of who is called alike
    rogue.brain().remember(NewMemory::note("the harbour closes at dawn")).await.unwrap();
    let query = || RecallQuery::of("harbour dawn");
    eventually("the memory is there", || async {
        founder.brain().recall(query()).await.is_ok_and(|found| !found.is_empty())
    })
    .await;
    let found = founder.brain().recall(query()).await.unwrap();
    let author = found.hits[0].memory.author_name.clone();
    assert_eq!(author, Some(format!("LAPTOP ({})", rogue.did().short())));

    // with our program nobody takes a name that is known to be another's
    let renamed = rogue.rename("laptop".parse().unwrap()).await;
    assert!(matches!(renamed, Err(NodeError::Conflict(ConflictError::NameTaken(_)))), "{renamed:?}");
    rogue.rename("cloud".parse().unwrap()).await.unwrap();
    let plain = || founder.members().iter().map(|member| member.name.clone()).collect::<Vec<_>>();
    eventually("they have names of their own again", || async {
        let mut names = plain();
        names.sort();
        names == ["Laptop", "cloud", "laptop-2"]
    })
    .await;
    tokio::time::timeout(Duration::from_secs(10), founder.shutdown()).await.unwrap();
}
