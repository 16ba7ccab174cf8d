//! Two programs share a value of their own type: a text, a counter and a list that both change at once.
//!
//! `cargo run -p nexus-examples --bin typed_document` starts the second program itself, with a ticket.

#![expect(clippy::print_stdout, clippy::unit_arg, reason = "an example talks, and a change ends with its last step")]

use std::error::Error;

use autosurgeon::{Counter, Hydrate, Reconcile, Text};
use nexus_node::documents::{TypedDocument, Version};
use nexus_node::{Invite, Node, NodeError};
use tokio::process::Command;

#[derive(Debug, Default, Hydrate, Reconcile)]
struct Board {
    notes: Text,
    done: Counter,
    tasks: Vec<String>,
    seen: Counter,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let directory = tempfile::tempdir()?;
    let ticket = std::env::args().nth(1);
    let (name, task) = if ticket.is_some() { ("cloud", "deploy") } else { ("laptop", "test") };
    let loopback = "/ip4/127.0.0.1/udp/0/quic-v1".parse()?;
    let builder = Node::builder(directory.path()).name(name.parse()?).mdns(false).listen([loopback]);
    let node = match &ticket {
        Some(ticket) => builder.join(ticket.parse()?).start().await?,
        None => builder.start().await?,
    };
    let (board, mut other) = (node.documents().typed::<Board>(None, "board"), None);
    board.create().await?;
    if ticket.is_none() {
        // one program begins the value, and the other one waits for it
        board.change(|board| Ok(board.notes.update("in one text"))).await?;
        let ticket = node.invite(Invite::default()).await?.ticket;
        other = Some(Command::new(std::env::current_exe()?).arg(ticket.to_string()).kill_on_drop(true).spawn()?);
    }
    until(&board, |board| board.notes.as_str().ends_with("in one text")).await?;
    let change = board.change(move |board| {
        board.notes.splice(0, 0, format!("{name} writes "));
        board.done.increment(1);
        Ok(board.tasks.push(task.to_owned()))
    });
    change.await?;
    let Board { notes, done, tasks, .. } = until(&board, |board| board.tasks.len() == 2).await?;
    println!("{name:<9}reads {:?}, {} done of {tasks:?}", notes.as_str(), done.value());
    // each stays until both have seen it
    board.change(|board| Ok(board.seen.increment(1))).await?;
    match other {
        Some(mut other) => drop(other.wait().await?),
        None => drop(until(&board, |board| board.seen.value() == 2).await?),
    }
    node.shutdown().await;
    Ok(())
}

/// Waits, change by change, until the value is as wanted.
async fn until(board: &TypedDocument<Board>, wanted: impl Fn(&Board) -> bool) -> Result<Board, NodeError> {
    let mut changes = board.watch(Some(Version::default())).await?;
    loop {
        changes.next().await?;
        if let Some(board) = board.get().await?.filter(&wanted) {
            return Ok(board);
        }
    }
}
