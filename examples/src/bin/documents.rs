//! Two programs type into one text at once. Each sees the letters of both.
//!
//! `cargo run -p nexus-examples --bin documents` starts the second program itself, with a ticket.

#![expect(clippy::print_stdout, reason = "an example talks")]

use std::error::Error;

use nexus_node::documents::{Documents, Edit, Version};
use nexus_node::{Invite, Node, NodeError};
use tokio::process::Command;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let directory = tempfile::tempdir()?;
    let ticket = std::env::args().nth(1);
    let name = if ticket.is_some() { "cloud" } else { "laptop" };
    let loopback = "/ip4/127.0.0.1/udp/0/quic-v1".parse()?;
    let builder = Node::builder(directory.path()).name(name.parse()?).mdns(false).listen([loopback]);
    let node = match &ticket {
        Some(ticket) => builder.join(ticket.parse()?).start().await?,
        None => builder.start().await?,
    };
    // the document of a key is the same one, whoever creates it
    let (documents, mut other) = (node.documents(), None);
    documents.create(None, "notes").await?;
    if ticket.is_none() {
        let text = Edit::Set { path: "text".parse()?, value: "in one text".into() };
        documents.edit(None, "notes", vec![text]).await?;
        let ticket = node.invite(Invite::default()).await?.ticket;
        other = Some(Command::new(std::env::current_exe()?).arg(ticket.to_string()).kill_on_drop(true).spawn()?);
    }
    until(&documents, "text", |text| text.contains("in one text")).await?;
    let insert = format!("{name} types ");
    let typed = Edit::Splice { path: "text".parse()?, at: 0, delete: 0, insert, at_heads: None };
    documents.edit(None, "notes", vec![typed]).await?;
    let text = until(&documents, "text", |text| ["laptop", "cloud"].iter().all(|name| text.contains(name))).await?;
    println!("{name:<9}reads {text:?}");
    // each stays until the other one has seen its letters
    documents.edit(None, "notes", vec![Edit::Set { path: name.parse()?, value: "done".into() }]).await?;
    match other {
        Some(mut other) => drop(other.wait().await?),
        None => drop(until(&documents, "laptop", |text| text == "done").await?),
    }
    node.shutdown().await;
    Ok(())
}

/// Waits, change by change, until the text at a path is as wanted.
async fn until(documents: &Documents, path: &str, wanted: impl Fn(&str) -> bool) -> Result<String, NodeError> {
    let mut changes = documents.watch(None, "notes", Some(Version::default())).await?;
    loop {
        changes.next().await?;
        let text = documents.get(None, "notes", path, None).await.map(|text| text.value);
        if let Some(text) = text.ok().as_ref().and_then(|text| text.as_str()).filter(|text| wanted(text)) {
            return Ok(text.to_owned());
        }
    }
}
