use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures::{AsyncRead, AsyncWrite};

use crate::tally::Tally;

/// A stream to an open peer: ordered, with backpressure, encrypted.
///
/// It counts against the peer's limit while it lives. Dropping it without closing resets it. Mark the
/// end of your data by framing, not by half-closing alone: over Yamux a writer does not notice that the
/// reader is gone.
pub struct Stream {
    stream: crate::libp2p::Stream,
    tally: Tally,
    _place: Place,
}

/// One of a peer's places for streams; given back on drop.
#[derive(Clone, Debug)]
pub(crate) struct Place(#[expect(dead_code, reason = "its reference count is what matters")] Arc<()>);

/// The places for streams of one connection in one direction.
#[derive(Debug)]
pub(crate) struct Places {
    taken: Arc<()>,
    most: usize,
}

impl Places {
    pub(crate) fn new(most: usize) -> Self {
        Self { taken: Arc::new(()), most }
    }

    /// A free place, if there is one.
    pub(crate) fn take(&self) -> Option<Place> {
        (Arc::strong_count(&self.taken) <= self.most).then(|| Place(self.taken.clone()))
    }
}

impl Stream {
    pub(crate) fn new(stream: crate::libp2p::Stream, place: Place, tally: Tally) -> Self {
        Self { stream, tally, _place: place }
    }

    /// Counts the messages of this stream's room by their kind. The stream counts their bytes by itself.
    pub fn tally(&self) -> Tally {
        self.tally.clone()
    }
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Stream")
    }
}

impl AsyncRead for Stream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_close(cx)
    }
}
