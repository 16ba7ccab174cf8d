//! How a client asks for a WebSocket, and shows its token there; and the way to a client that may not read.

use std::time::Duration;

use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade};
use axum::extract::{FromRequestParts, Request};
use axum::http::{HeaderMap, header};
use futures::SinkExt;
use futures::stream::SplitSink;

use super::problem::Problem;

/// The subprotocol under which a WebSocket carries its token: `bearer, TOKEN`.
pub(super) const SUBPROTOCOL: &str = "bearer";
/// The words to a client when the node ends.
pub(super) const STOPPING: &str = "the node is stopping";
/// The time between two signs of life of a silent stream. A client that vanished is noticed as soon.
pub(super) const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// The longest time that a WebSocket may leave a message unread.
const SEND_TIMEOUT: Duration = Duration::from_secs(60);

/// Whether a request asks for a WebSocket.
pub(super) fn is_websocket(headers: &HeaderMap) -> bool {
    headers.get(header::UPGRADE).is_some_and(|upgrade| upgrade.as_bytes().eq_ignore_ascii_case(b"websocket"))
}

/// The WebSocket of a request. Messages of its client have at most so many bytes.
///
/// # Errors
/// `malformed`.
pub(super) async fn upgrade(request: Request, message_bytes_max: usize) -> Result<WebSocketUpgrade, Problem> {
    let (mut parts, _) = request.into_parts();
    let upgrade = WebSocketUpgrade::from_request_parts(&mut parts, &()).await;
    let upgrade = upgrade.map_err(|rejection| Problem::new("malformed", rejection.body_text()))?;
    Ok(upgrade.protocols([SUBPROTOCOL]).max_message_size(message_bytes_max))
}

/// The client is gone, or does not read.
#[derive(Debug)]
pub(super) struct Gone;

/// The way to the client of a WebSocket. A client that does not read is given up.
pub(super) struct SocketOut(SplitSink<WebSocket, Message>);

impl SocketOut {
    pub(super) fn new(sink: SplitSink<WebSocket, Message>) -> Self {
        Self(sink)
    }

    pub(super) async fn put(&mut self, message: Message) -> Result<(), Gone> {
        match tokio::time::timeout(SEND_TIMEOUT, self.0.send(message)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(Gone),
        }
    }

    pub(super) async fn ping(&mut self) -> Result<(), Gone> {
        self.put(Message::Ping(Vec::new().into())).await
    }

    /// Says why the node ends it, with a code of `close_code`.
    pub(super) async fn close(mut self, code: u16, reason: &str) {
        // a close frame takes 123 bytes
        let reason = reason.chars().take(60).collect::<String>().into();
        let goodbye = Message::Close(Some(CloseFrame { code, reason }));
        let _ = tokio::time::timeout(KEEP_ALIVE, self.0.send(goodbye)).await;
    }
}
