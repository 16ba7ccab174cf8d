//! Streams between coordinators: one to each peer that this node asks, one from each that asks this node.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::future::{BoxFuture, Either, select};
use futures::io::AsyncReadExt;
use futures::{AsyncRead, AsyncWrite, FutureExt, pin_mut};
use nexus_identity::Did;
use nexus_mesh::quota::Receiver;
use nexus_mesh::{FRAME_BYTES_MAX, FrameError, Mesh, Rooms, Spawner, Stream, StreamProtocol, read_frame, write_frame};
use prost::Message;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::Instant;

use super::wire::Envelope;

/// The room of the coordinators.
const RAFT: StreamProtocol = StreamProtocol::new("/nexus/raft/1");
/// Streams that members opened and that were not taken yet.
const STREAMS_MAX: usize = 64;

/// Registers the room.
pub(crate) fn register(rooms: &mut Rooms) -> Receiver<Stream> {
    rooms.register(RAFT, STREAMS_MAX)
}

/// The most requests to one peer that wait for its stream. Further ones fail at once.
const WAITING_MAX: usize = 256;
/// The most requests of one peer in progress.
const SERVED_MAX: usize = 64;
/// The time without a word after which a peer that owes an answer is asked over a new stream. A machine
/// that lost its power says nothing, and neither does the stream to it.
const STALLED_MAX: Duration = Duration::from_secs(5);
/// The time without use after which a stream is closed.
const IDLE_MAX: Duration = Duration::from_secs(60);

/// The reason for a missing answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum LinkError {
    #[error("not reached")]
    Unreachable,
    #[error("no answer in time")]
    TimedOut,
    #[error("too many requests wait")]
    Busy,
}

struct Request {
    envelope: Envelope,
    answer: oneshot::Sender<Envelope>,
}

/// The streams to other coordinators.
pub(crate) struct Links {
    mesh: Mesh,
    spawner: Arc<dyn Spawner>,
    peers: Mutex<BTreeMap<Did, mpsc::Sender<Request>>>,
}

impl Links {
    pub(crate) fn new(mesh: Mesh, spawner: Arc<dyn Spawner>) -> Self {
        Self { mesh, spawner, peers: Mutex::default() }
    }

    /// Asks a peer and waits for its answer.
    pub(crate) async fn ask(&self, peer: Did, envelope: Envelope, within: Duration) -> Result<Envelope, LinkError> {
        let (answer, answered) = oneshot::channel();
        self.hand_over(peer, Request { envelope, answer })?;
        match tokio::time::timeout(within, answered).await {
            Ok(answered) => answered.map_err(|_| LinkError::Unreachable),
            Err(_) => Err(LinkError::TimedOut),
        }
    }

    fn hand_over(&self, peer: Did, request: Request) -> Result<(), LinkError> {
        let mut peers = self.peers.lock().unwrap_or_else(PoisonError::into_inner);
        let request = match peers.get(&peer) {
            Some(link) => match link.try_send(request) {
                Ok(()) => return Ok(()),
                Err(mpsc::error::TrySendError::Full(_)) => return Err(LinkError::Busy),
                Err(mpsc::error::TrySendError::Closed(request)) => request,
            },
            None => request,
        };
        self.open(&mut peers, peer, request)
    }

    fn open(
        &self,
        peers: &mut BTreeMap<Did, mpsc::Sender<Request>>,
        peer: Did,
        request: Request,
    ) -> Result<(), LinkError> {
        let (link, requests) = mpsc::channel(WAITING_MAX);
        link.try_send(request).map_err(|_| LinkError::Busy)?;
        peers.insert(peer, link);
        let mesh = self.mesh.clone();
        self.spawner.spawn("raft link", link_to(mesh, peer, requests).boxed());
        Ok(())
    }
}

/// Sends the requests to one peer over one stream, until the stream ends or is idle for long.
/// Unanswered requests then fail.
async fn link_to(mesh: Mesh, peer: Did, mut requests: mpsc::Receiver<Request>) {
    let Ok(stream) = mesh.open(peer, &RAFT).await else { return };
    let (mut reader, mut writer) = stream.split();
    let pending: Mutex<BTreeMap<u64, oneshot::Sender<Envelope>>> = Mutex::default();
    let pending = || pending.lock().unwrap_or_else(PoisonError::into_inner);
    // the time since which the peer owes an answer: from the first request after its last word
    let owes: Mutex<Option<Instant>> = Mutex::default();
    let owes = || owes.lock().unwrap_or_else(PoisonError::into_inner);
    let reading = async {
        while let Ok(Some(frame)) = read_frame(&mut reader, FRAME_BYTES_MAX).await {
            let Ok(envelope) = Envelope::decode(frame.as_slice()) else { return };
            let answer = pending().remove(&envelope.id);
            if let Some(answer) = answer {
                let _ = answer.send(envelope);
            }
            *owes() = None;
        }
    };
    let watching = async {
        loop {
            tokio::time::sleep(STALLED_MAX / 5).await;
            if owes().is_some_and(|since| since.elapsed() >= STALLED_MAX) {
                return;
            }
        }
    };
    let writing = async {
        let mut id = 0;
        while let Ok(Some(Request { envelope, answer })) = tokio::time::timeout(IDLE_MAX, requests.recv()).await {
            id += 1;
            {
                let mut pending = pending();
                pending.retain(|_, answer| !answer.is_closed());
                pending.insert(id, answer);
            }
            owes().get_or_insert_with(Instant::now);
            let frame = Envelope { id, ..envelope }.encode_to_vec();
            if write_frame(&mut writer, &frame).await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        () = reading => {}
        () = writing => {}
        () = watching => {}
    }
}

/// Answers a peer's requests over a stream that it opened, until it closes the stream or breaks the rules.
pub(crate) async fn serve<S, F>(stream: S, spawner: &dyn Spawner, answer: F) -> Result<(), FrameError>
where
    S: AsyncRead + AsyncWrite + Unpin,
    F: Fn(Envelope) -> BoxFuture<'static, Envelope>,
{
    let (mut reader, mut writer) = stream.split();
    let (answers, mut answered) = mpsc::channel::<Envelope>(SERVED_MAX);
    let places = Arc::new(Semaphore::new(SERVED_MAX));
    let reading = async {
        while let Some(frame) = read_frame(&mut reader, FRAME_BYTES_MAX).await? {
            let Ok(envelope) = Envelope::decode(frame.as_slice()) else {
                return Err(std::io::Error::from(std::io::ErrorKind::InvalidData).into());
            };
            // above the bound reading stops, so the peer waits
            let Ok(place) = places.clone().acquire_owned().await else { return Ok(()) };
            let (answer, answers) = (answer(envelope), answers.clone());
            let serve = async move {
                let _ = answers.send(answer.await).await;
                drop(place);
            };
            spawner.spawn("raft answer", serve.boxed());
        }
        Ok(())
    };
    let writing = async {
        while let Some(envelope) = answered.recv().await {
            let frame = envelope.encode_to_vec();
            let written = tokio::time::timeout(STALLED_MAX, write_frame(&mut writer, &frame)).await;
            written.map_err(|_| std::io::Error::from(std::io::ErrorKind::TimedOut))??;
        }
        Ok(())
    };
    pin_mut!(reading, writing);
    match select(reading, writing).await {
        Either::Left((ended, _)) | Either::Right((ended, _)) => ended,
    }
}
