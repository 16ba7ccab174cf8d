//! A file goes from one node to another by its hash, piece by piece, and is verified on the way.
//!
//! `cargo run -p nexus-examples --bin files`

#![expect(clippy::print_stdout, reason = "an example talks")]

use std::error::Error;
use std::path::Path;
use std::time::Duration;

use futures::TryStreamExt;
use nexus_node::blobs::Keep;
use nexus_node::{Builder, Invite, Node};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let directory = tempfile::tempdir()?;
    let laptop = builder(directory.path(), "laptop")?.start().await?;
    let ticket = laptop.invite(Invite::default()).await?.ticket;
    let cloud = builder(directory.path(), "cloud")?.join(ticket).start().await?;

    // content of any size comes piece by piece; it is kept as long as the tag leads to it
    let mut writer = laptop.blobs().writer(Keep::Tagged("numbers".to_owned())).await?;
    for number in 0..200_000_u32 {
        writer.write(format!("{number}\n").as_bytes()).await?;
    }
    let file = writer.finish().await?;
    println!("added:   {} bytes as {}", file.size, file.hash.short());

    let waits = Duration::from_secs(30);
    let fetched = cloud.blobs().fetch_with(file.hash, waits, |_| {}).await?;
    println!("fetched: {} bytes on {}", fetched.size, cloud.name());

    // a slow reader holds one piece
    let reader = cloud.blobs().read(file.hash).await?;
    let pieces = cloud.blobs().stream(reader, 0..fetched.size);
    let lines =
        pieces.try_fold(0, async |lines, piece| Ok(lines + piece.iter().filter(|byte| **byte == b'\n').count()));
    println!("read:    {} lines", lines.await?);
    laptop.shutdown().await;
    cloud.shutdown().await;
    Ok(())
}

fn builder(directory: &Path, name: &str) -> Result<Builder, Box<dyn Error>> {
    let loopback = "/ip4/127.0.0.1/udp/0/quic-v1".parse()?;
    Ok(Node::builder(directory.join(name)).name(name.parse()?).mdns(false).listen([loopback]))
}
