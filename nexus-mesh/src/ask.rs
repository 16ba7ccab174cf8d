//! Questions and answers over a room: numbers, limits, and a watch over peers that stall.
//!
//! An [`Asker`] has one stream to each peer that it asks, opened with the first question. Several questions are on
//! their way at a time; a number in each message matches them with their answers. [`serve`] is the other side.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use crate::libp2p::StreamProtocol;
use futures::future::BoxFuture;
use futures::io::AsyncReadExt;
use futures::{AsyncRead, AsyncWrite, FutureExt};
use nexus_identity::Did;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::time::Instant;

use crate::frame::{FRAME_BYTES_MAX, FRAME_HEAD_BYTES, FrameError, read_frame, write_frame};
use crate::handover::Handover;
use crate::mesh::Mesh;
use crate::quota::Receiver;
use crate::spawner::Spawner;
use crate::stream::Stream;
use crate::tally::{Direction, Tally};

/// A message that has a number, by which an answer is matched with its question.
pub trait Numbered: prost::Message + Default + 'static {
    /// The number.
    fn number(&self) -> u64;

    /// Gives it another number. Whatever a caller had set is overwritten.
    fn set_number(&mut self, number: u64);

    /// The kind of the message, for the counts of bytes.
    fn kind(&self) -> &'static str {
        "message"
    }
}

/// The bounds of a room of questions and answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AskLimits {
    /// Questions to one peer that wait for its stream; more fail at once. Default 256.
    pub waiting_max: usize,
    /// Questions of one peer that are being answered, over all its streams; then it is not read. One is answered once
    /// its answer is written. Default 64.
    pub answering_max: usize,
    /// Bytes of those questions. Default 8 MiB; a question counts as at least 1 KiB.
    pub answering_bytes_max: usize,
    /// The time without a word after which a peer that owes an answer is asked over a new stream. A machine without
    /// power says nothing at all, and neither does the stream to it. Also the time that a question or an answer may take
    /// to be written. One of many bytes has a second more for each 16 KiB. Default 5 s.
    pub stalled_after: Duration,
    /// The time without a question after which a stream is closed. Default 60 s.
    pub idle_after: Duration,
}

/// The slowest line over which large questions and answers come through, in bytes a second.
const LINE_BYTES_PER_SECOND: u32 = 16 * 1_024;

impl AskLimits {
    /// The time that a question or an answer of so many bytes may take.
    fn time_for(&self, bytes: usize) -> Duration {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        self.stalled_after + Duration::from_secs(1) * bytes / LINE_BYTES_PER_SECOND
    }
}

impl Default for AskLimits {
    fn default() -> Self {
        Self {
            waiting_max: 256,
            answering_max: 64,
            answering_bytes_max: 8 << 20,
            stalled_after: Duration::from_secs(5),
            idle_after: Duration::from_secs(60),
        }
    }
}

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AskError {
    /// The stream broke after the question. Whether the peer did as asked is not known.
    #[error("not reached")]
    Unreachable,
    /// Not within the time that was given. Whether it will do as asked is not known.
    #[error("no answer in time")]
    TimedOut,
    /// Too many questions wait for this peer. It was not asked.
    #[error("too many requests wait")]
    Busy,
    /// The peer is not connected, does not serve the room, or took no question in time. It was not asked.
    #[error("not asked")]
    NotAsked,
}

impl AskError {
    /// Whether the peer may do as asked.
    #[must_use]
    pub const fn may_have_asked(self) -> bool {
        match self {
            Self::Unreachable | Self::TimedOut => true,
            Self::Busy | Self::NotAsked => false,
        }
    }
}

/// Both directions of a stream.
trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

type Opened = BoxFuture<'static, Option<(Box<dyn Duplex>, Tally)>>;

/// A question, and where its answer goes.
struct Question<M> {
    message: M,
    answer: oneshot::Sender<M>,
    handover: Handover,
}

/// Asks peers in one room.
pub struct Asker<M> {
    open: Box<dyn Fn(Did) -> Opened + Send + Sync>,
    /// The name of the tasks, for people.
    name: &'static str,
    spawner: Arc<dyn Spawner>,
    limits: AskLimits,
    links: Mutex<BTreeMap<Did, mpsc::Sender<Question<M>>>>,
}

impl<M: Numbered> Asker<M> {
    /// For a room of the mesh. `name` is that of its tasks.
    pub fn new(
        mesh: Mesh,
        room: StreamProtocol,
        name: &'static str,
        spawner: Arc<dyn Spawner>,
        limits: AskLimits,
    ) -> Self {
        let open = move |peer| {
            let (mesh, room) = (mesh.clone(), room.clone());
            let open = async move {
                let stream = mesh.open(peer, &room).await.ok()?;
                let tally = stream.tally();
                Some((Box::new(stream) as Box<dyn Duplex>, tally))
            };
            open.boxed()
        };
        Self::over(Box::new(open), name, spawner, limits)
    }

    fn over(
        open: Box<dyn Fn(Did) -> Opened + Send + Sync>,
        name: &'static str,
        spawner: Arc<dyn Spawner>,
        limits: AskLimits,
    ) -> Self {
        Self { open, name, spawner, limits, links: Mutex::default() }
    }

    /// Asks a peer, and waits for its answer.
    ///
    /// # Errors
    /// [`AskError`], at the latest `within` this time.
    pub async fn ask(&self, peer: Did, question: M, within: Duration) -> Result<M, AskError> {
        let (answer, answered) = oneshot::channel();
        let handover = Handover::default();
        self.hand_over(peer, Question { message: question, answer, handover: handover.clone() })?;
        let error = match tokio::time::timeout(within, answered).await {
            Ok(Ok(answer)) => return Ok(answer),
            Ok(Err(_)) => AskError::Unreachable,
            Err(_) => AskError::TimedOut,
        };
        Err(if handover.take_back() { AskError::NotAsked } else { error })
    }

    /// Gives a question to the link with its peer, or to a new one.
    fn hand_over(&self, peer: Did, question: Question<M>) -> Result<(), AskError> {
        let mut links = self.links.lock().unwrap_or_else(PoisonError::into_inner);
        let question = match links.get(&peer) {
            Some(link) => match link.try_send(question) {
                Ok(()) => return Ok(()),
                Err(mpsc::error::TrySendError::Full(_)) => return Err(AskError::Busy),
                Err(mpsc::error::TrySendError::Closed(question)) => question,
            },
            None => question,
        };
        links.retain(|_, link| !link.is_closed());
        let (link, questions) = mpsc::channel(self.limits.waiting_max.max(1));
        link.try_send(question).map_err(|_| AskError::Busy)?;
        links.insert(peer, link);
        let (opening, limits) = ((self.open)(peer), self.limits);
        let run = async move {
            if let Some((stream, tally)) = opening.await {
                carry(stream, &tally, questions, &limits).await;
            }
        };
        self.spawner.spawn(self.name, run.boxed());
        Ok(())
    }
}

impl<M> fmt::Debug for Asker<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Asker").field("name", &self.name).field("limits", &self.limits).finish_non_exhaustive()
    }
}

/// The questions on one stream that have no answer yet.
struct Pending<M> {
    answers: BTreeMap<u64, oneshot::Sender<M>>,
    last: u64,
    /// The time of the first question after the peer's last word.
    owed_since: Option<Instant>,
    /// Bytes of the largest question since then.
    largest: usize,
}

/// Carries the questions to one peer over one stream. Ends with the stream, or when nobody asked for long; questions
/// that have no answer by then fail.
async fn carry<S, M>(stream: S, tally: &Tally, mut questions: mpsc::Receiver<Question<M>>, limits: &AskLimits)
where
    S: AsyncRead + AsyncWrite + Unpin,
    M: Numbered,
{
    let (mut reader, mut writer) = stream.split();
    let pending: Mutex<Pending<M>> =
        Mutex::new(Pending { answers: BTreeMap::new(), last: 0, owed_since: None, largest: 0 });
    let pending = || -> MutexGuard<'_, Pending<M>> { pending.lock().unwrap_or_else(PoisonError::into_inner) };
    let reading = async {
        while let Ok(Some(frame)) = read_frame(&mut reader, FRAME_BYTES_MAX).await {
            let Ok(message) = M::decode(frame.as_slice()) else { return };
            tally.count(message.kind(), Direction::In, FRAME_HEAD_BYTES + frame.len());
            let mut pending = pending();
            (pending.owed_since, pending.largest) = (None, 0);
            if let Some(answer) = pending.answers.remove(&message.number()) {
                // whoever asked may have given up
                let _ = answer.send(message);
            }
        }
    };
    let owes = Notify::new();
    let watching = async {
        loop {
            let owed_by = {
                let pending = pending();
                pending.owed_since.map(|since| since + limits.time_for(pending.largest))
            };
            match owed_by {
                Some(by) if by <= Instant::now() => return,
                // a later question is owed for longer
                Some(by) => tokio::time::sleep_until(by).await,
                None => owes.notified().await,
            }
        }
    };
    let writing = async {
        while let Ok(Some(question)) = tokio::time::timeout(limits.idle_after, questions.recv()).await {
            let Question { mut message, answer, handover } = question;
            if answer.is_closed() || !handover.hand_over() {
                continue;
            }
            let frame = {
                let mut pending = pending();
                pending.answers.retain(|_, answer| !answer.is_closed());
                pending.last += 1;
                let number = pending.last;
                pending.answers.insert(number, answer);
                message.set_number(number);
                let frame = message.encode_to_vec();
                pending.owed_since.get_or_insert_with(Instant::now);
                pending.largest = pending.largest.max(frame.len());
                owes.notify_one();
                frame
            };
            tally.count(message.kind(), Direction::Out, FRAME_HEAD_BYTES + frame.len());
            // the answer to an earlier question shows nothing of a peer that takes no more
            if write_in_time(&mut writer, &frame, limits).await.is_err() {
                return;
            }
        }
    };
    // a question is not handed over to a stream that is known to have ended
    tokio::select! {
        biased;
        () = reading => {}
        () = writing => {}
        () = watching => {}
    }
}

/// Writes a question or an answer, for as long as the peer may take.
async fn write_in_time<W>(writer: &mut W, frame: &[u8], limits: &AskLimits) -> Result<(), FrameError>
where
    W: AsyncWrite + Unpin,
{
    let written = tokio::time::timeout(limits.time_for(frame.len()), write_frame(writer, frame)).await;
    written.map_err(|_| std::io::Error::from(std::io::ErrorKind::TimedOut))?
}

/// Answers the questions of all peers that open a stream, until the mesh has ended.
///
/// `answer` gets the peer and its question, and makes the answer, whose number need not be set. Each peer has a budget
/// of questions and bytes over all its streams: beyond it, that peer waits.
pub async fn serve<M, F>(
    mut streams: Receiver<Stream>,
    name: &'static str,
    spawner: Arc<dyn Spawner>,
    limits: AskLimits,
    answer: F,
) where
    M: Numbered,
    F: Fn(Did, M) -> BoxFuture<'static, M> + Send + Sync + 'static,
{
    let (answer, mut budgets) = (Arc::new(answer), Budgets::default());
    while let Some((peer, stream)) = streams.recv().await {
        let (answer, tasks) = (answer.clone(), spawner.clone());
        let budget = budgets.of(peer, &limits);
        let run = async move {
            let (answer, tally) = (|question| answer(peer, question), stream.tally());
            if let Err(error) = answer_stream((stream, tally), name, &*tasks, budget, &limits, answer).await {
                tracing::debug!(peer = %peer.short(), name, %error, "a stream of questions ended");
            }
        };
        spawner.spawn(name, run.boxed());
    }
}

/// The questions of one peer that are being answered.
struct Budget {
    questions: Arc<Semaphore>,
    /// In KiB.
    bytes: Arc<Semaphore>,
    kib_max: u32,
}

/// A question's part of its peer's budget.
struct BudgetShare {
    _question: OwnedSemaphorePermit,
    _bytes: OwnedSemaphorePermit,
    /// Keeps the budget for as long as a part of it is taken.
    _budget: Arc<Budget>,
}

impl Budget {
    fn new(limits: &AskLimits) -> Self {
        let kib_max = u32::try_from(limits.answering_bytes_max / 1_024).unwrap_or(u32::MAX).clamp(1, 1 << 20);
        Self {
            questions: Arc::new(Semaphore::new(limits.answering_max.clamp(1, 1 << 20))),
            bytes: Arc::new(Semaphore::new(kib_max as usize)),
            kib_max,
        }
    }

    /// Waits for room for a question of so many bytes.
    async fn take(self: &Arc<Self>, bytes: usize) -> Option<BudgetShare> {
        let kib = u32::try_from(bytes.div_ceil(1_024)).unwrap_or(u32::MAX).clamp(1, self.kib_max);
        let question = self.questions.clone().acquire_owned().await.ok()?;
        let bytes = self.bytes.clone().acquire_many_owned(kib).await.ok()?;
        Some(BudgetShare { _question: question, _bytes: bytes, _budget: self.clone() })
    }
}

/// The budgets of the peers that have a stream, or of which something is being answered.
#[derive(Default)]
struct Budgets(BTreeMap<Did, Weak<Budget>>);

impl Budgets {
    fn of(&mut self, peer: Did, limits: &AskLimits) -> Arc<Budget> {
        if let Some(budget) = self.0.get(&peer).and_then(Weak::upgrade) {
            return budget;
        }
        self.0.retain(|_, budget| budget.strong_count() > 0);
        let budget = Arc::new(Budget::new(limits));
        self.0.insert(peer, Arc::downgrade(&budget));
        budget
    }
}

/// Answers the questions on one stream, until its peer closes it or breaks the rules.
async fn answer_stream<S, M, F>(
    (stream, tally): (S, Tally),
    name: &'static str,
    spawner: &dyn Spawner,
    budget: Arc<Budget>,
    limits: &AskLimits,
    answer: F,
) -> Result<(), FrameError>
where
    S: AsyncRead + AsyncWrite + Unpin,
    M: Numbered,
    F: Fn(M) -> BoxFuture<'static, M>,
{
    let (mut reader, mut writer) = stream.split();
    let (answers, mut answered) = mpsc::channel::<(M, BudgetShare)>(limits.answering_max.max(1));
    let reading = async {
        while let Some(frame) = read_frame(&mut reader, FRAME_BYTES_MAX).await? {
            // beyond the budget reading waits, and so does the peer; what is decoded takes more room
            let Some(taken) = budget.take(frame.len()).await else { return Ok(()) };
            let Ok(question) = M::decode(frame.as_slice()) else {
                return Err(std::io::Error::from(std::io::ErrorKind::InvalidData).into());
            };
            tally.count(question.kind(), Direction::In, FRAME_HEAD_BYTES + frame.len());
            let (number, answer, answers) = (question.number(), answer(question), answers.clone());
            let run = async move {
                let mut message = answer.await;
                message.set_number(number);
                // the stream may be gone
                let _ = answers.send((message, taken)).await;
            };
            spawner.spawn(name, run.boxed());
        }
        Ok(())
    };
    let writing = async {
        // a peer that does not read its answers gets no more
        while let Some((message, _taken)) = answered.recv().await {
            let frame = message.encode_to_vec();
            tally.count(message.kind(), Direction::Out, FRAME_HEAD_BYTES + frame.len());
            write_in_time(&mut writer, &frame, limits).await?;
        }
        Ok(())
    };
    tokio::select! {
        ended = reading => ended,
        ended = writing => ended,
    }
}

#[cfg(test)]
mod tests;
