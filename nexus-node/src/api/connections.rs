//! The connections of the API: few for callers that have not shown a token.
//!
//! Any account of the machine can connect to a loopback address. Each connection is an open file, so
//! callers without one share a bounded number. Beyond it the one that has asked for nothing for the
//! longest time is closed. A connection whose handshake of TLS is not done is one of theirs.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use axum::extract::connect_info::Connected;
use axum::serve::{IncomingStream, Listener};
use futures::FutureExt;
use futures::future::BoxFuture;
use futures::task::AtomicWaker;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::server::TlsStream;

#[cfg(feature = "documents")]
use super::making::Meter;
use crate::tls::ServerTls;

/// The most connections whose callers have not shown a token or the page's cookie.
pub(super) const GUESTS_MAX: usize = 1_024;
/// The same at a door for the metrics alone, where few ask.
pub(super) const READERS_MAX: usize = 64;

/// A socket whose guests are bounded.
pub(super) struct BoundedListener {
    inner: TcpListener,
    tls: Option<ServerTls>,
    guests: Arc<Guests>,
}

/// The connections without a shown token.
struct Guests {
    max: usize,
    state: Mutex<GuestsState>,
}

#[derive(Default)]
struct GuestsState {
    /// Counts accepts and requests: the order of the last signs of life.
    clock: u64,
    next: u64,
    here: BTreeMap<u64, (u64, Arc<End>)>,
}

/// Ends a connection from outside.
#[derive(Default)]
struct End {
    over: AtomicBool,
    reader: AtomicWaker,
    writer: AtomicWaker,
}

impl Guests {
    fn lock(&self) -> MutexGuard<'_, GuestsState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a connection in. Ends the one that was idle for the longest time, if there are too many.
    fn admit(self: &Arc<Self>) -> (Place, Arc<End>) {
        let mut state = self.lock();
        let idle = state.here.iter().min_by_key(|(_, (stamp, _))| *stamp).map(|(id, _)| *id);
        if state.here.len() >= self.max
            && let Some((_, end)) = idle.and_then(|id| state.here.remove(&id))
        {
            end.over.store(true, Ordering::Release);
            end.reader.wake();
            end.writer.wake();
        }
        let (id, stamp, end) = (state.next, state.clock, Arc::<End>::default());
        state.next += 1;
        state.clock += 1;
        state.here.insert(id, (stamp, end.clone()));
        (Place { guests: self.clone(), id }, end)
    }
}

/// The place of a connection among the guests, until it is dropped.
struct Place {
    guests: Arc<Guests>,
    id: u64,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.guests.lock().here.remove(&self.id);
    }
}

/// One connection, for the handlers of its requests.
#[derive(Clone)]
pub(super) struct ApiConnection {
    local: Option<SocketAddr>,
    place: Arc<Place>,
    #[cfg(feature = "documents")]
    meter: Arc<Meter>,
}

impl ApiConnection {
    /// The address at which this node took it.
    pub(super) const fn local(&self) -> Option<SocketAddr> {
        self.local
    }

    /// The bytes of the message that comes over it, if it is a socket.
    #[cfg(feature = "documents")]
    pub(super) const fn meter(&self) -> &Arc<Meter> {
        &self.meter
    }

    /// Notes a request of a caller, who is no guest any more once a token was shown: also that of the metrics.
    pub(super) fn asked(&self, shown_token: bool) {
        let mut state = self.place.guests.lock();
        let stamp = state.clock;
        state.clock += 1;
        if shown_token {
            state.here.remove(&self.place.id);
        } else if let Some(here) = state.here.get_mut(&self.place.id) {
            here.0 = stamp;
        }
    }
}

impl BoundedListener {
    pub(super) fn new(inner: TcpListener, tls: Option<ServerTls>, max: usize) -> Self {
        Self { inner, tls, guests: Arc::new(Guests { max: max.max(1), state: Mutex::default() }) }
    }
}

impl Listener for BoundedListener {
    type Io = ApiStream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (ApiStream, SocketAddr) {
        let (stream, address) = Listener::accept(&mut self.inner).await;
        // Content follows its head in a write of its own. It would wait for the head's acknowledgement, for 40 ms on Linux.
        // Without the option an answer is only later.
        let _ = stream.set_nodelay(true);
        let (place, end) = self.guests.admit();
        let connection = ApiConnection {
            local: stream.local_addr().ok(),
            place: Arc::new(place),
            #[cfg(feature = "documents")]
            meter: Arc::default(),
        };
        let stream = match self.tls.clone() {
            // each connection's own task does its handshake, so that a slow one keeps nobody waiting
            Some(tls) => Transport::Shaking(async move { tls.handshake(stream).await }.boxed()),
            None => Transport::Clear(stream),
        };
        (ApiStream { stream, connection, end }, address)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.inner.local_addr()
    }
}

impl Connected<IncomingStream<'_, BoundedListener>> for ApiConnection {
    fn connect_info(stream: IncomingStream<'_, BoundedListener>) -> Self {
        stream.io().connection.clone()
    }
}

/// A connection that can be ended from outside.
pub(super) struct ApiStream {
    stream: Transport,
    connection: ApiConnection,
    end: Arc<End>,
}

/// The bytes of a connection.
enum Transport {
    Clear(TcpStream),
    Shaking(BoxFuture<'static, io::Result<TlsStream<TcpStream>>>),
    Tls(Box<TlsStream<TcpStream>>),
    /// The handshake has failed.
    Over,
}

/// The bytes of a connection after its handshake.
trait Duplex: AsyncRead + AsyncWrite + Unpin {}
impl<T: AsyncRead + AsyncWrite + Unpin> Duplex for T {}

impl ApiStream {
    fn check(&self) -> io::Result<()> {
        let over = self.end.over.load(Ordering::Acquire);
        if over { Err(io::Error::new(io::ErrorKind::ConnectionAborted, "a newcomer has its place")) } else { Ok(()) }
    }

    /// The stream, once its handshake is done.
    fn open(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Pin<&mut dyn Duplex>>> {
        if let Transport::Shaking(handshake) = &mut self.stream {
            let done = std::task::ready!(handshake.as_mut().poll(cx));
            // one whose handshake is done has shown more life than one whose is not
            self.connection.asked(false);
            self.stream = match done {
                Ok(stream) => Transport::Tls(Box::new(stream)),
                Err(error) => {
                    tracing::debug!(%error, "a handshake has failed");
                    self.stream = Transport::Over;
                    return Poll::Ready(Err(error));
                }
            };
        }
        Poll::Ready(match &mut self.stream {
            Transport::Clear(stream) => Ok(Pin::new(stream)),
            Transport::Tls(stream) => Ok(Pin::new(&mut **stream)),
            Transport::Shaking(_) | Transport::Over => Err(io::ErrorKind::NotConnected.into()),
        })
    }
}

impl AsyncRead for ApiStream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.end.reader.register(cx.waker());
        self.check()?;
        #[cfg(feature = "documents")]
        if self.connection.meter.is_over() {
            // its task hears of it, and closes it
            return Poll::Pending;
        }
        #[cfg(feature = "documents")]
        let before = into.filled().len();
        std::task::ready!(std::task::ready!(self.open(cx))?.poll_read(cx, into))?;
        #[cfg(feature = "documents")]
        self.connection.meter.read(into.filled().len() - before);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for ApiStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.end.writer.register(cx.waker());
        self.check()?;
        std::task::ready!(self.open(cx))?.poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        std::task::ready!(self.open(cx))?.poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Transport::Clear(stream) => Pin::new(stream).poll_shutdown(cx),
            Transport::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
            // nobody waits for a handshake at the end
            Transport::Shaking(_) | Transport::Over => Poll::Ready(Ok(())),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.end.writer.register(cx.waker());
        self.check()?;
        std::task::ready!(self.open(cx))?.poll_write_vectored(cx, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        !matches!(self.stream, Transport::Over)
    }
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::extract::ConnectInfo;
    use axum::routing::get;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    /// A request on an open connection. Returns whether it was answered.
    async fn ask(stream: &mut TcpStream, path: &str) -> bool {
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n");
        let mut answer = [0; 512];
        stream.write_all(request.as_bytes()).await.is_ok()
            && stream.read(&mut answer).await.is_ok_and(|read| answer[..read].starts_with(b"HTTP/1.1 200"))
    }

    /// promise: Commands and API | An answer in several writes is not held back for the acknowledgement of its first one
    #[tokio::test]
    async fn no_write_waits_for_an_acknowledgement() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut bounded = BoundedListener::new(listener, None, 3);
        let (accepted, caller) = tokio::join!(bounded.accept(), TcpStream::connect(address));
        let (ApiStream { stream: Transport::Clear(stream), .. }, _) = accepted else { panic!("a handshake") };
        assert!(stream.nodelay().unwrap() && caller.is_ok());
    }

    /// promise: Bad input | Callers without the token share a bounded number of connections; the idlest goes
    #[tokio::test]
    async fn guests_are_few_and_the_idlest_goes() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let asked = |token: bool| {
            move |ConnectInfo(connection): ConnectInfo<ApiConnection>| async move { connection.asked(token) }
        };
        let router = Router::new().route("/open", get(asked(false))).route("/token", get(asked(true)));
        let service = router.into_make_service_with_connect_info::<ApiConnection>();
        let server = axum::serve(BoundedListener::new(listener, None, 3), service).into_future();
        let callers = async {
            let mut owner = TcpStream::connect(address).await.unwrap();
            assert!(ask(&mut owner, "/token").await);
            let mut guests = Vec::new();
            for _ in 0..3 {
                let mut guest = TcpStream::connect(address).await.unwrap();
                assert!(ask(&mut guest, "/open").await);
                guests.push(guest);
            }
            assert!(ask(&mut guests[0], "/open").await, "the first has asked again, so the second is the idlest");
            let mut late = TcpStream::connect(address).await.unwrap();
            assert!(ask(&mut late, "/open").await);
            let mut end = Vec::new();
            let closed = guests.remove(1).read_to_end(&mut end).await;
            assert!(closed.is_err() || end.is_empty(), "{end:?}");
            for stream in guests.iter_mut().chain([&mut late, &mut owner]) {
                assert!(ask(stream, "/open").await);
            }
            // places come back
            drop((guests, late));
            for _ in 0..5 {
                assert!(ask(&mut TcpStream::connect(address).await.unwrap(), "/open").await);
            }
            assert!(ask(&mut owner, "/token").await);
        };
        tokio::select! {
            ended = server => panic!("the server ended: {ended:?}"),
            () = callers => {}
        }
    }
}
