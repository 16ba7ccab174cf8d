//! Yamux over a tapped connection: the decrypted bytes that a stranger could read.

use std::io;
use std::iter;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use futures::future::BoxFuture;
use futures::{AsyncRead, AsyncWrite};
use libp2p::core::UpgradeInfo;
use libp2p::core::upgrade::{InboundConnectionUpgrade, OutboundConnectionUpgrade};
use libp2p::yamux;

/// The decrypted bytes of one party's connections, searched as they come.
#[derive(Clone, Debug, Default)]
pub struct TapLog(Arc<Mutex<Ears>>);

#[derive(Debug, Default)]
struct Ears {
    bytes: u64,
    /// Bytes that must not be heard.
    secrets: Vec<Vec<u8>>,
    found: u64,
}

impl TapLog {
    /// Listens for secrets.
    pub fn listening_for(secrets: &[&[u8]]) -> Self {
        let secrets = secrets.iter().filter(|secret| !secret.is_empty()).map(|secret| secret.to_vec()).collect();
        Self(Arc::new(Mutex::new(Ears { bytes: 0, secrets, found: 0 })))
    }

    fn ears(&self) -> MutexGuard<'_, Ears> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The number of bytes, and the number of secrets among them.
    pub fn count(&self) -> (u64, u64) {
        let ears = self.ears();
        (ears.bytes, ears.found)
    }

    /// Searches the bytes of one connection; `tail` is the end of its bytes before.
    fn hear(&self, tail: &mut Vec<u8>, bytes: &[u8]) {
        let mut ears = self.ears();
        ears.bytes += bytes.len() as u64;
        let Some(longest) = ears.secrets.iter().map(Vec::len).max() else { return };
        let before = tail.len();
        tail.extend_from_slice(bytes);
        // a secret that ended in the tail was counted then
        let ends_here = |(at, window): &(usize, &[u8])| at + window.len() > before;
        let found = ears.secrets.iter().map(|secret| {
            let windows = tail.windows(secret.len()).enumerate().filter(ends_here);
            windows.filter(|(_, window)| window == secret).count() as u64
        });
        ears.found += found.sum::<u64>();
        let keep = tail.len().min(longest - 1);
        tail.drain(..tail.len() - keep);
    }
}

/// The upgrade from a secured connection to Yamux.
#[derive(Clone)]
pub(crate) struct Tap {
    yamux: yamux::Config,
    heard: Option<TapLog>,
}

impl Tap {
    pub(crate) fn new(streams_max: usize, heard: Option<TapLog>) -> Self {
        let mut yamux = yamux::Config::default();
        yamux.set_max_num_streams(streams_max);
        Self { yamux, heard }
    }
}

impl UpgradeInfo for Tap {
    type Info = &'static str;
    type InfoIter = iter::Once<Self::Info>;

    fn protocol_info(&self) -> Self::InfoIter {
        self.yamux.protocol_info()
    }
}

type Muxer<C> = yamux::Muxer<Tapped<C>>;

impl<C: AsyncRead + AsyncWrite + Unpin + Send + 'static> InboundConnectionUpgrade<C> for Tap {
    type Output = Muxer<C>;
    type Error = io::Error;
    type Future = BoxFuture<'static, io::Result<Muxer<C>>>;

    fn upgrade_inbound(self, socket: C, info: Self::Info) -> Self::Future {
        let socket = Tapped { inner: socket, heard: self.heard, tail: Vec::new() };
        Box::pin(self.yamux.upgrade_inbound(socket, info))
    }
}

impl<C: AsyncRead + AsyncWrite + Unpin + Send + 'static> OutboundConnectionUpgrade<C> for Tap {
    type Output = Muxer<C>;
    type Error = io::Error;
    type Future = BoxFuture<'static, io::Result<Muxer<C>>>;

    fn upgrade_outbound(self, socket: C, info: Self::Info) -> Self::Future {
        let socket = Tapped { inner: socket, heard: self.heard, tail: Vec::new() };
        Box::pin(self.yamux.upgrade_outbound(socket, info))
    }
}

/// A connection whose bytes are searched as they are read.
pub(crate) struct Tapped<C> {
    inner: C,
    heard: Option<TapLog>,
    tail: Vec<u8>,
}

impl<C: AsyncRead + Unpin> AsyncRead for Tapped<C> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, out: &mut [u8]) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        let read = Pin::new(&mut this.inner).poll_read(cx, out);
        if let (Poll::Ready(Ok(len)), Some(heard)) = (&read, &this.heard) {
            heard.hear(&mut this.tail, &out[..*len]);
        }
        read
    }
}

impl<C: AsyncWrite + Unpin> AsyncWrite for Tapped<C> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_close(cx)
    }
}
