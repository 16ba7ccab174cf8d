//! The WebSocket of programs with automerge-repo: the node is a peer of theirs, and so of all other nodes' programs.
//!
//! | module | content |
//! |---|---|
//! | `out` | the way to a program, and why it is closed |
//! | `session` | the documents of one program, and the news of them |

mod out;
mod session;

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::ws::{Message, WebSocket, close_code};
use axum::extract::{ConnectInfo, Request, State};
use axum::response::Response;
use futures::stream::{Peekable, SplitStream};
use futures::{FutureExt, StreamExt};
use nexus_documents::SYNC_BYTES_MAX;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use self::out::{Goodbye, Out};
use self::session::Session;
use super::Api;
use super::connections::ApiConnection;
use super::extract::Parameters;
use super::issued::Scope;
use super::making::Meter;
use super::pass::Pass;
use super::problem::Problem;
use super::websocket::{KEEP_ALIVE, STOPPING, SocketOut, is_websocket, upgrade};
use crate::Node;
use crate::documents::{Documents, Word};

/// The longest message of a program: one of Automerge's sync protocol, and what is around it.
const MESSAGE_BYTES_MAX: usize = SYNC_BYTES_MAX + (64 << 10);
/// The bytes that are read of a program at once: each socket has a buffer of so many.
const READ_BYTES: usize = 16 << 10;
/// The most messages that are taken together, and the bytes of those after the first.
const TOGETHER_MAX: usize = 64;
const TOGETHER_BYTES: usize = 64 << 10;
/// The words to a program whose message made room for others.
const CROWDED: &str = "many long messages come at once: try again";
/// The time in which a program says who it is.
const JOIN_WITHIN: Duration = Duration::from_secs(30);

/// The socket. Its token may be in the address, since a browser's program cannot set a header.
pub(super) async fn automerge(
    State(api): State<Api>,
    node: Node,
    documents: Documents,
    pass: Pass,
    mut parameters: Parameters,
    ConnectInfo(connection): ConnectInfo<ApiConnection>,
    request: Request,
) -> Result<Response, Problem> {
    // the guard has read it
    parameters.one("token")?;
    parameters.end()?;
    if !is_websocket(request.headers()) {
        return Err(Problem::new("malformed", "this address takes a WebSocket")
            .hint("give it to automerge-repo's WebSocketClientAdapter"));
    }
    let upgrade = upgrade(request, MESSAGE_BYTES_MAX).await?.max_frame_size(MESSAGE_BYTES_MAX);
    let (upgrade, meter) = (upgrade.read_buffer_size(READ_BYTES), connection.meter().clone());
    meter.begin(&api.0.making);
    let me = format!("nexus-{}", node.did().short());
    let (seat, words) = documents.presence().enter();
    let session = Session::new(
        documents,
        seat,
        api.0.making.kept().clone(),
        me,
        pass.allows(Scope::DocumentsWrite),
        pass.first_space(),
    );
    Ok(upgrade.on_upgrade(move |socket| talk(api, (session, words), pass, meter, socket)))
}

/// Answers a program, and tells it what changes, until one side goes.
async fn talk(
    api: Api,
    (mut session, mut words): (Session, mpsc::Receiver<Arc<Word>>),
    pass: Pass,
    meter: Arc<Meter>,
    socket: WebSocket,
) {
    let (sink, source) = socket.split();
    let mut source = source.peekable();
    let mut out = Out(SocketOut::new(sink));
    let mut over = Box::pin(pass.over());
    let mut alive = tokio::time::interval(KEEP_ALIVE);
    let join_by = Instant::now() + JOIN_WITHIN;
    let mut committed = session.committed();
    let goodbye = loop {
        let (due, has_joined, looked) = (session.due(), session.has_joined(), session.looked());
        let done = tokio::select! {
            heard = source.next() => match heard {
                Some(Ok(Message::Binary(first))) => {
                    let done = session.heard(together(first, &mut source, &meter), &mut out).await;
                    meter.answered();
                    done
                }
                Some(Ok(Message::Text(_))) => Err(Goodbye::refused("a message of automerge-repo is binary")),
                Some(Ok(Message::Close(_)) | Err(_)) | None => break Goodbye::Gone,
                Some(Ok(_)) => Ok(()),
            },
            () = meter.over() => Err(Goodbye::Crowded),
            moved = moved(&mut committed, looked) => match moved {
                Ok(()) => session.follow(&mut out).await,
                Err(goodbye) => Err(goodbye),
            },
            Some(word) = words.recv() => session.tell_word(&word, &mut out).await,
            () = until(due) => session.give_up(&mut out).await,
            () = tokio::time::sleep_until(join_by), if !has_joined => {
                Err(Goodbye::refused("the program did not say who it is"))
            },
            _ = alive.tick() => out.0.ping().await.map_err(Goodbye::from),
            () = &mut over => Err(Goodbye::refused("the token has ended")),
            () = api.closing() => Err(Goodbye::Stopping),
        };
        if let Err(goodbye) = done {
            break goodbye;
        }
    };
    // the program does not wait for the answer
    drop(session.keep_aside(None).await);
    match goodbye {
        Goodbye::Gone => {}
        Goodbye::Refused(reason) => {
            let _ = out.send(session.error(&reason)).await;
            out.0.close(close_code::POLICY, &reason).await;
        }
        Goodbye::Crowded => out.0.close(close_code::AGAIN, CROWDED).await,
        Goodbye::Stopping => out.0.close(close_code::AWAY, STOPPING).await,
    }
}

/// A message, with those that have come after it by now: while one was on its way to the disk, others came.
fn together(first: Bytes, source: &mut Peekable<SplitStream<WebSocket>>, meter: &Meter) -> Vec<Bytes> {
    let (mut messages, mut bytes) = (vec![first], 0);
    meter.whole();
    while messages.len() < TOGETHER_MAX && bytes < TOGETHER_BYTES {
        let is_binary = |heard: &Result<Message, _>| matches!(heard, Ok(Message::Binary(_)));
        let next = Pin::new(&mut *source).next_if(is_binary).now_or_never().flatten();
        let Some(Ok(Message::Binary(next))) = next else { break };
        meter.whole();
        bytes += next.len();
        messages.push(next);
    }
    messages
}

/// Resolves when the node has more entries than were looked at.
async fn moved(committed: &mut watch::Receiver<u64>, looked: u64) -> Result<(), Goodbye> {
    committed.wait_for(|last| *last > looked).await.map(|_| ()).map_err(|_| Goodbye::Stopping)
}

async fn until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due).await,
        None => std::future::pending().await,
    }
}
