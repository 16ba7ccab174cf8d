use axum::extract::ws::Message;
use nexus_documents::RepoMessage;

use super::super::websocket::{Gone, SocketOut};

/// Why a socket is closed.
#[derive(Debug)]
pub(super) enum Goodbye {
    /// The program is gone, or does not read.
    Gone,
    /// Its message is not taken, for this reason.
    Refused(String),
    /// Its message made room for others.
    Crowded,
    /// The node stops.
    Stopping,
}

impl Goodbye {
    pub(super) fn refused(why: &str) -> Self {
        Self::Refused(why.to_owned())
    }
}

impl From<Gone> for Goodbye {
    fn from(_: Gone) -> Self {
        Self::Gone
    }
}

/// The way to a program.
pub(super) struct Out(pub(super) SocketOut);

impl Out {
    pub(super) async fn send(&mut self, message: RepoMessage) -> Result<(), Goodbye> {
        Ok(self.0.put(Message::Binary(message.write().into())).await?)
    }
}
