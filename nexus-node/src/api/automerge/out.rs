use std::time::Duration;

use axum::extract::ws::{CloseFrame, Message, WebSocket};
use futures::SinkExt;
use futures::stream::SplitSink;
use nexus_documents::RepoMessage;

/// The time between two signs of life of a silent socket.
pub(super) const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// The longest time that a program may leave a message unread.
const SEND_TIMEOUT: Duration = Duration::from_secs(60);

/// Why a socket is closed.
#[derive(Debug)]
pub(super) enum Goodbye {
    /// The program is gone, or does not read.
    Gone,
    /// Its message is not taken, for this reason.
    Refused(String),
    /// The node stops.
    Stopping,
}

impl Goodbye {
    pub(super) fn refused(why: &str) -> Self {
        Self::Refused(why.to_owned())
    }
}

/// The way to a program. A program that does not read is given up.
pub(super) struct Out(SplitSink<WebSocket, Message>);

impl Out {
    pub(super) fn new(sink: SplitSink<WebSocket, Message>) -> Self {
        Self(sink)
    }

    pub(super) async fn send(&mut self, message: RepoMessage) -> Result<(), Goodbye> {
        self.put(Message::Binary(message.write().into())).await
    }

    pub(super) async fn ping(&mut self) -> Result<(), Goodbye> {
        self.put(Message::Ping(Vec::new().into())).await
    }

    async fn put(&mut self, message: Message) -> Result<(), Goodbye> {
        match tokio::time::timeout(SEND_TIMEOUT, self.0.send(message)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(Goodbye::Gone),
        }
    }

    pub(super) async fn close(mut self, frame: CloseFrame) {
        let _ = tokio::time::timeout(KEEP_ALIVE, self.0.send(Message::Close(Some(frame)))).await;
    }
}
