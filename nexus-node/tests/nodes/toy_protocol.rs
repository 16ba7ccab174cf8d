//! A protocol is one new file and one line where the node is made.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "tests")]

use crate::echo;
use crate::world::{Link, World, address_of, are_well};
use nexus_mesh::OpenError;
use nexus_node::Node;

const WORLD: World = World(230);

/// promise: Nodes | A protocol of an embedder is one file and one line, and is served beside the node's own
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_toy_protocol_is_one_new_file_and_one_line() {
    let mut env = WORLD.env(0, Link::Memory);
    echo::serve(&mut env.rooms, &env.spawner);
    let node = Node::with_env(env).await.unwrap();
    let mut env = WORLD.env(1, Link::Memory);
    env.config.bootstrap.0 = vec![address_of(&node)];
    let friend = Node::with_env(env).await.unwrap();
    are_well(&node, &friend, "with one room more").await;

    assert_eq!(echo::ask(&friend, node.did(), b"is anybody here?").await.unwrap(), b"is anybody here?");
    // a frame that is too long ends its stream, and nothing else
    assert_eq!(echo::ask(&friend, node.did(), &[0; 2_000]).await, None);
    assert_eq!(echo::ask(&friend, node.did(), b"still here?").await.unwrap(), b"still here?");
    // the friend has no such line
    let none = node.open_stream(friend.did(), &echo::ECHO).await;
    assert!(matches!(none, Err(OpenError::NoSuchRoom)), "{none:?}");
}
