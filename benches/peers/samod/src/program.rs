//! A program with one text, whose sync server is at a WebSocket's address. It connects again by itself.
//!
//! It takes a line, and prints one with JSON:
//!
//! | line | answer |
//! |---|---|
//! | `create` | `{"url": …}` of a new document `{"text": ""}` |
//! | `find URL` | `{"url": …}`, or `null` if nobody has it |
//! | `type WORD` | `{}`, with the word before the text |
//! | `reach WORD` | as `type`, once the server has said that it has the word |
//! | `show` | `{"text": …, "heads": [ … ]}` |

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use automerge::transaction::Transactable;
use automerge::{ObjId, ROOT, ReadDoc};
use futures::StreamExt;
use samod::{AutomergeUrl, BackoffConfig, DocHandle, Repo, Url};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader};

use crate::socket::To;
use crate::typing::empty;

/// How soon it connects again.
const AGAIN: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(1));

pub async fn run(address: &str) -> Result<()> {
    let repo = Repo::build_tokio().load().await;
    let again = BackoffConfig { initial_delay: AGAIN.0, max_delay: AGAIN.1, max_retries: None };
    let dialed = repo.dial(again, Arc::new(To(Url::parse(address)?)))?;
    dialed.established().await.ok().context("no connection")?;
    let mut document = None;
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    while let Some(line) = lines.next_line().await? {
        let words: Vec<&str> = line.split(' ').collect();
        let answer = match (words.as_slice(), &document) {
            (["create"], _) => {
                let made = repo.create(empty()?.0).await?;
                let url = made.url().to_string();
                document = Some(made);
                json!({ "url": url })
            }
            (["find", url], _) => {
                let url: AutomergeUrl = url.parse()?;
                document = repo.find(url.document_id().clone()).await?;
                document.as_ref().map_or(Value::Null, |found| json!({ "url": found.url().to_string() }))
            }
            (["type", word], Some(document)) => {
                insert(document, word)?;
                json!({})
            }
            (["reach", word], Some(document)) => {
                insert(document, word)?;
                reached(document, word).await?;
                json!({})
            }
            (["show"], Some(document)) => show(document)?,
            _ => bail!("create, find URL, type WORD, reach WORD or show"),
        };
        println!("{answer}");
    }
    repo.stop().await;
    Ok(())
}

fn text(document: &impl ReadDoc) -> Result<ObjId> {
    Ok(document.get(ROOT, "text")?.context("the document has no text")?.1)
}

fn insert(document: &DocHandle, word: &str) -> Result<()> {
    document.with_document(|document| {
        let text = text(document)?;
        let made = document.transact(|writer| writer.splice_text(&text, 0, 0, word));
        made.map(drop).map_err(|failed| failed.error.into())
    })
}

/// Waits until a server's heads have a word.
async fn reached(document: &DocHandle, word: &str) -> Result<()> {
    let (mut servers, mut later) = document.peers();
    loop {
        for heads in servers.values().filter_map(|server| server.their_heads.as_ref()) {
            let has_it = document.with_document(|document| -> Result<bool> {
                let are_here = heads.iter().all(|head| document.get_change_by_hash(head).is_some());
                Ok(are_here && document.text_at(text(document)?, heads)?.contains(word))
            });
            if has_it? {
                return Ok(());
            }
        }
        servers = later.next().await.context("the repo has stopped")?;
    }
}

fn show(document: &DocHandle) -> Result<Value> {
    document.with_document(|document| {
        let heads: Vec<String> = document.get_heads().iter().map(ToString::to_string).collect();
        Ok(json!({ "text": document.text(text(document)?)?, "heads": heads }))
    })
}
