//! Embeds a node from outside the workspace.

use std::error::Error;

use nexus_node::{NewMemory, Node, NodeError};
use nexus_node::error::InputError;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let directory = std::env::temp_dir().join(format!("nexus-outside-{}", std::process::id()));
    let node = Node::builder(&directory).mdns(false).listen([]).start().await?;
    let written = node.brain().remember(NewMemory::note("hello from outside")).await?;
    // this build has no feature of the library, and finds it all the same
    let found = node.brain().recall("hello").await?.hits;
    assert_eq!(found.first().map(|hit| hit.memory.id), Some(written.id));
    // keys and locks wait for a build with feature `coordinators`
    let none = node.critical().map(drop);
    assert!(matches!(none, Err(NodeError::Invalid(InputError::CoordinatorsNotBuilt))), "{none:?}");
    println!("{}", node.brain().get(written.id).await?.text);
    node.shutdown().await;
    std::fs::remove_dir_all(directory)?;
    Ok(())
}
