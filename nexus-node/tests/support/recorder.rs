//! A transport that records every byte that arrives on any stream, and streams by hand.

#![allow(
    dead_code,
    unreachable_pub,
    missing_debug_implementations,
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "each test program uses its part"
)]

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use libp2p::core::muxing::{StreamMuxer, StreamMuxerBox, StreamMuxerEvent, StreamMuxerExt};
use libp2p::core::transport::{DialOpts, PortUse, Transport};
use libp2p::core::{Endpoint, muxing::SubstreamBox};
use nexus_mesh::{BoxedTransport, Multiaddr};
use tokio::sync::{mpsc, oneshot};

/// The bytes that arrived, stream by stream.
#[derive(Clone, Default)]
pub struct Record(Arc<Mutex<Vec<Vec<u8>>>>);

impl Record {
    /// The same transport, whose streams are recorded.
    pub fn transport(&self, inner: BoxedTransport) -> BoxedTransport {
        let record = self.clone();
        inner.map(move |(peer, muxer), _| (peer, StreamMuxerBox::new(Recorded { muxer, record }))).boxed()
    }

    pub fn bytes(&self) -> usize {
        self.0.lock().unwrap().iter().map(Vec::len).sum()
    }

    /// Whether a stream brought these bytes.
    pub fn holds(&self, wanted: &[u8]) -> bool {
        assert!(wanted.len() >= 4, "too short to tell anything");
        self.0.lock().unwrap().iter().any(|stream| stream.windows(wanted.len()).any(|bytes| bytes == wanted))
    }

    fn begin(&self) -> usize {
        let mut streams = self.0.lock().unwrap();
        streams.push(Vec::new());
        streams.len() - 1
    }

    pub fn note(&self, bytes: &[u8]) {
        let at = self.begin();
        self.0.lock().unwrap()[at].extend_from_slice(bytes);
    }
}

struct Recorded {
    muxer: StreamMuxerBox,
    record: Record,
}

impl Recorded {
    fn stream(&self, stream: SubstreamBox) -> RecordedStream {
        RecordedStream { stream, record: self.record.clone(), at: self.record.begin() }
    }
}

impl StreamMuxer for Recorded {
    type Substream = RecordedStream;
    type Error = io::Error;

    fn poll_inbound(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<RecordedStream>> {
        let stream = ready!(self.muxer.poll_inbound_unpin(cx))?;
        Poll::Ready(Ok(self.stream(stream)))
    }

    fn poll_outbound(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<RecordedStream>> {
        let stream = ready!(self.muxer.poll_outbound_unpin(cx))?;
        Poll::Ready(Ok(self.stream(stream)))
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.muxer.poll_close_unpin(cx)
    }

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<StreamMuxerEvent>> {
        self.muxer.poll_unpin(cx)
    }
}

struct RecordedStream {
    stream: SubstreamBox,
    record: Record,
    at: usize,
}

impl AsyncRead for RecordedStream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        let read = ready!(Pin::new(&mut self.stream).poll_read(cx, buffer))?;
        self.record.0.lock().unwrap()[self.at].extend_from_slice(&buffer[..read]);
        Poll::Ready(Ok(read))
    }
}

impl AsyncWrite for RecordedStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buffer)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_close(cx)
    }
}

/// A connection without any of our code above the multiplexer.
pub struct Raw(mpsc::Sender<oneshot::Sender<SubstreamBox>>);

impl Raw {
    pub async fn dial(mut transport: BoxedTransport, address: Multiaddr) -> Self {
        let options = DialOpts { role: Endpoint::Dialer, port_use: PortUse::New };
        let mut dial = transport.dial(address, options).unwrap();
        let (_, mut muxer) = poll_fn(|cx| {
            let _ = Pin::new(&mut transport).poll(cx);
            Pin::new(&mut dial).poll(cx)
        })
        .await
        .unwrap();
        let (open, mut requests) = mpsc::channel::<oneshot::Sender<SubstreamBox>>(100);
        tokio::spawn(poll_fn(move |cx| {
            let _ = Pin::new(&mut transport).poll(cx);
            while let Poll::Ready(inbound) = muxer.poll_inbound_unpin(cx) {
                let Ok(mut stream) = inbound else { return Poll::Ready(()) };
                // streams that the node opens are recorded, too
                tokio::spawn(async move { while !matches!(stream.read(&mut [0; 4_096]).await, Ok(0) | Err(_)) {} });
            }
            loop {
                match muxer.poll_outbound_unpin(cx) {
                    Poll::Ready(Ok(stream)) => match requests.poll_recv(cx) {
                        Poll::Ready(Some(wanted)) => drop(wanted.send(stream)),
                        Poll::Ready(None) => return Poll::Ready(()),
                        Poll::Pending => break,
                    },
                    Poll::Ready(Err(_)) => return Poll::Ready(()),
                    Poll::Pending => break,
                }
            }
            match muxer.poll_unpin(cx) {
                Poll::Ready(Err(_)) => Poll::Ready(()),
                _ => Poll::Pending,
            }
        }));
        Self(open)
    }

    /// Asks for a protocol by hand, sends bytes, and reads until the end. Returns whether it was granted.
    pub async fn try_protocol(&self, protocol: &str, say: &[u8]) -> bool {
        let (wanted, stream) = oneshot::channel();
        if self.0.send(wanted).await.is_err() {
            return false;
        }
        let Ok(mut stream) = stream.await else { return false };
        let line = |text: &str| {
            let mut bytes = vec![u8::try_from(text.len() + 1).unwrap()];
            bytes.extend(text.as_bytes());
            bytes.push(b'\n');
            bytes
        };
        let hello = [line("/multistream/1.0.0"), line(protocol), say.to_vec()].concat();
        let _ = stream.write_all(&hello).await;
        let _ = stream.flush().await;
        let mut heard = Vec::new();
        // it may leave the stream open and silent: there is no event to wait for
        let _ = tokio::time::timeout(Duration::from_millis(700), stream.read_to_end(&mut heard)).await;
        true
    }
}
