//! Work that is handed over: one program submits a task and waits, a worker does it. The first attempt fails, the second
//! is done.
//!
//! `cargo run -p nexus-examples --bin worker`

#![expect(clippy::print_stdout, clippy::disallowed_methods, reason = "an example talks, and has tasks of its own")]

use std::error::Error;
use std::time::Duration;

use nexus_node::tasks::{ClaimQuery, JsonText, TaskProgress, TaskResult};
use nexus_node::{NewTask, Node, NodeError, TaskBoard};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let directory = tempfile::tempdir()?;
    let node = Node::builder(directory.path().join("brain")).mdns(false).listen([]).start().await?;
    let board = node.tasks();
    let worker = tokio::spawn(work(board.clone()));

    // with an id of its own, a program that starts again submits no second task
    let task = board.submit(NewTask::new("upper", JsonText::text("two words")).request("words-1")).await?;
    println!("submitted: {}", task.capability);
    if let Some(task) = board.wait(task.id, Duration::from_secs(30)).await? {
        let output = task.output.unwrap_or_default();
        println!("{}: {output} after {} attempts", task.status.as_str(), task.claims);
    }
    worker.abort();
    node.shutdown().await;
    Ok(())
}

/// Does tasks until there is no node.
async fn work(board: TaskBoard) -> Result<(), NodeError> {
    loop {
        let Some(claimed) = board.claim(ClaimQuery::of("upper").agent("shouter")).await? else { continue };
        let id = claimed.task.id;
        // longer work says again and again that it goes on
        board.renew(id, claimed.token, Some(TaskProgress::new(Some(50), "reading"))).await?;
        let result = match (claimed.attempt, claimed.task.input.read::<String>()) {
            (1, _) => TaskResult::Failed { code: "tired".to_owned(), message: "not at the first attempt".to_owned() },
            (_, Ok(text)) => TaskResult::Succeeded(JsonText::text(text.to_uppercase())),
            (_, Err(_)) => TaskResult::Failed { code: "no_text".to_owned(), message: "a text is expected".to_owned() },
        };
        let task = board.finish(id, claimed.token, result).await?;
        println!("worker:    {}", task.status.as_str());
    }
}
