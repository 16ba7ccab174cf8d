//! Characters that are typed into a document of samod until a second repo has them: two repos in this process, in memory, over
//! TCP on loopback.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use automerge::transaction::Transactable;
use automerge::{Automerge, ObjId, ObjType, ROOT, ReadDoc};
use futures::StreamExt;
use samod::tokio_io::TcpDialer;
use samod::{BackoffConfig, DocHandle, Repo, Transport};
use tokio::net::TcpListener;

/// The time within which characters after the first are one change, and the most of them: those of our node.
const TOGETHER: Duration = Duration::from_millis(20);
const TOGETHER_MAX: usize = 1_000;
/// Characters that the other end does not have yet, where each is a change. Without a bound samod is slower: each change is a
/// message, whose work grows with what the other end has not confirmed.
const AHEAD_MAX: usize = 64;

/// Types so many characters, and prints how many a second the other end had, and the changes that they became.
pub async fn run(together: bool, characters: usize) -> Result<()> {
    let (here, there) = (Repo::build_tokio().load().await, Repo::build_tokio().load().await);
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let url = samod::Url::parse(&format!("tcp://{address}"))?;
    let acceptor = there.make_acceptor(url)?;
    let accepting = tokio::spawn(async move {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        acceptor.accept(Transport::from_tokio_io(stream))?;
        Ok::<_, anyhow::Error>(acceptor)
    });
    let dialer = TcpDialer::new_host_port(address.ip().to_string(), address.port());
    let dialed = here.dial(BackoffConfig::default(), Arc::new(dialer))?;
    dialed.established().await.ok().context("no connection")?;
    // it lives as long as its connection
    let _acceptor = accepting.await??;

    let (document, text) = empty()?;
    let here_document = here.create(document).await?;
    let there_document = there.find(here_document.document_id().clone()).await?.context("no document")?;
    // the first one is seen before the clock starts: both ends are in step then
    letters(&here_document, &text, 1)?;
    let sight = Arc::new(AtomicUsize::new(0));
    seen(&there_document, &text, 1, &sight).await;

    let before = changes(&here_document);
    let begin = Instant::now();
    let typing = {
        let (document, text, sight) = (here_document.clone(), text.clone(), sight.clone());
        // it blocks, as its documentation says
        tokio::task::spawn_blocking(move || typist(&document, &text, characters, (!together).then_some(&sight)))
    };
    seen(&there_document, &text, characters + 1, &sight).await;
    let took = begin.elapsed().as_secs_f64();
    typing.await??;
    let changes = changes(&here_document) - before;
    println!("{}", serde_json::json!({ "characters_per_second": characters as f64 / took, "changes": changes }));
    Ok(())
}

/// A document with an empty text.
pub fn empty() -> Result<(Automerge, ObjId)> {
    let mut document = Automerge::new();
    let made = document.transact(|writer| writer.put_object(ROOT, "text", ObjType::Text));
    let text = made.map_err(|failed| failed.error)?.result;
    Ok((document, text))
}

/// Types without waiting for the answer to each: a change a character, with a look at what the other end has, or in batches.
fn typist(document: &DocHandle, text: &ObjId, characters: usize, sight: Option<&AtomicUsize>) -> Result<()> {
    if let Some(sight) = sight {
        for typed in 0..characters {
            // the first character was typed before
            while typed + 1 >= sight.load(Ordering::Acquire) + AHEAD_MAX {
                std::thread::sleep(Duration::from_micros(50));
            }
            letters(document, text, 1)?;
        }
        return Ok(());
    }
    letters(document, text, 1)?;
    let (mut typed, mut next) = (1, Instant::now() + TOGETHER);
    while typed < characters {
        std::thread::sleep(next.saturating_duration_since(Instant::now()));
        let more = TOGETHER_MAX.min(characters - typed);
        letters(document, text, more)?;
        typed += more;
        next = Instant::now() + TOGETHER;
    }
    Ok(())
}

/// Types characters at the front, one by one, as one change.
fn letters(document: &DocHandle, text: &ObjId, count: usize) -> Result<()> {
    document.with_document(|document| {
        let made = document.transact(|writer| (0..count).try_for_each(|_| writer.splice_text(text, 0, 0, "x")));
        made.map(drop).map_err(|failed| failed.error.into())
    })
}

/// Waits until a text has this many characters, and notes how many it has.
async fn seen(document: &DocHandle, text: &ObjId, characters: usize, sight: &AtomicUsize) {
    let mut changed = std::pin::pin!(document.changes());
    loop {
        let length = document.with_document(|document| document.length(text));
        sight.store(length, Ordering::Release);
        if length >= characters {
            return;
        }
        changed.next().await;
    }
}

fn changes(document: &DocHandle) -> u64 {
    document.with_document(|document| document.stats().num_changes)
}
