//! Few streams for strangers: each stream pins a window of bytes, whether anybody reads it or not.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use crate::libp2p::PeerId;
use crate::libp2p::core::muxing::{StreamMuxer, StreamMuxerBox, StreamMuxerEvent};

use crate::gate::admitted::Admitted;
use crate::tally::{CountedStream, Direction, Tallies};

/// Inbound streams of a connection until the gate opens for its peer: a hello, a join, pings, and some to
/// spare. Further ones are reset.
pub(super) const STRANGER_STREAMS_MAX: usize = 8;

/// A connection that takes few streams until its peer is admitted.
pub(super) struct NarrowMuxer {
    inner: StreamMuxerBox,
    peer: PeerId,
    admitted: Admitted,
    tallies: Arc<Tallies>,
    /// Streams that a stranger may still open.
    left: usize,
}

impl NarrowMuxer {
    pub(super) fn new(inner: StreamMuxerBox, peer: PeerId, admitted: Admitted, tallies: Arc<Tallies>) -> Self {
        Self { inner, peer, admitted, tallies, left: STRANGER_STREAMS_MAX }
    }
}

impl StreamMuxer for NarrowMuxer {
    type Substream = CountedStream;
    type Error = std::io::Error;

    fn poll_inbound(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<CountedStream, Self::Error>> {
        loop {
            let stream = futures::ready!(Pin::new(&mut self.inner).poll_inbound(cx))?;
            if !self.admitted.has(&self.peer) {
                if self.left == 0 {
                    // dropping it resets it, and frees its window
                    drop(stream);
                    continue;
                }
                self.left -= 1;
            }
            return Poll::Ready(Ok(CountedStream::new(stream, self.tallies.clone(), Direction::In)));
        }
    }

    fn poll_outbound(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<CountedStream, Self::Error>> {
        let stream = futures::ready!(Pin::new(&mut self.inner).poll_outbound(cx))?;
        Poll::Ready(Ok(CountedStream::new(stream, self.tallies.clone(), Direction::Out)))
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Pin::new(&mut self.inner).poll_close(cx)
    }

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<StreamMuxerEvent, Self::Error>> {
        Pin::new(&mut self.inner).poll(cx)
    }
}
