//! Few streams for strangers: each stream pins a window of bytes, whether anybody reads it or not.

use std::pin::Pin;
use std::task::{Context, Poll};

use libp2p::PeerId;
use libp2p::core::muxing::{StreamMuxer, StreamMuxerBox, StreamMuxerEvent, SubstreamBox};

use crate::gate::admitted::Admitted;

/// Inbound streams of a connection until the gate opens for its peer: a hello, a join, pings, and some to
/// spare. Further ones are reset.
pub(super) const STRANGER_STREAMS_MAX: usize = 8;

/// A connection that takes few streams until its peer is admitted.
pub(super) struct NarrowMuxer {
    inner: StreamMuxerBox,
    peer: PeerId,
    admitted: Admitted,
    /// Streams that a stranger may still open.
    left: usize,
}

impl NarrowMuxer {
    pub(super) fn new(inner: StreamMuxerBox, peer: PeerId, admitted: Admitted) -> Self {
        Self { inner, peer, admitted, left: STRANGER_STREAMS_MAX }
    }
}

impl StreamMuxer for NarrowMuxer {
    type Substream = SubstreamBox;
    type Error = std::io::Error;

    fn poll_inbound(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<SubstreamBox, Self::Error>> {
        loop {
            let stream = futures::ready!(Pin::new(&mut self.inner).poll_inbound(cx))?;
            if self.admitted.has(&self.peer) {
                return Poll::Ready(Ok(stream));
            }
            if self.left > 0 {
                self.left -= 1;
                return Poll::Ready(Ok(stream));
            }
            // dropping it resets it, and frees its window
            drop(stream);
        }
    }

    fn poll_outbound(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<SubstreamBox, Self::Error>> {
        Pin::new(&mut self.inner).poll_outbound(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Pin::new(&mut self.inner).poll_close(cx)
    }

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<StreamMuxerEvent, Self::Error>> {
        Pin::new(&mut self.inner).poll(cx)
    }
}
