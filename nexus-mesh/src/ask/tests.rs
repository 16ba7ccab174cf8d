use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};

use futures::future::{BoxFuture, join_all};
use proptest::prelude::*;
use prost::Message;
use tokio::sync::{Notify, watch};

use super::*;

/// A question or an answer: a number and some words.
#[derive(Clone, PartialEq, Message)]
struct Words {
    #[prost(uint64, tag = "1")]
    number: u64,
    #[prost(string, tag = "2")]
    words: String,
}

impl Numbered for Words {
    fn number(&self) -> u64 {
        self.number
    }

    fn set_number(&mut self, number: u64) {
        self.number = number;
    }
}

fn words(words: &str) -> Words {
    Words { number: 77, words: words.to_owned() }
}

/// One direction of a pipe in memory, with room for some bytes.
#[derive(Default)]
struct Half {
    bytes: VecDeque<u8>,
    closed: bool,
    waiting: Vec<Waker>,
}

/// One end of a pipe.
struct Pipe {
    reads: Arc<Mutex<Half>>,
    writes: Arc<Mutex<Half>>,
}

const PIPE_BYTES_MAX: usize = 64 * 1_024;

fn pipe() -> (Pipe, Pipe) {
    let (one, other) = (Arc::<Mutex<Half>>::default(), Arc::<Mutex<Half>>::default());
    (Pipe { reads: one.clone(), writes: other.clone() }, Pipe { reads: other, writes: one })
}

impl Half {
    fn wake(&mut self) {
        self.waiting.drain(..).for_each(Waker::wake);
    }
}

impl AsyncRead for Pipe {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        let mut half = self.reads.lock().unwrap();
        if half.bytes.is_empty() && !half.closed {
            half.waiting.push(cx.waker().clone());
            return Poll::Pending;
        }
        let read = buffer.len().min(half.bytes.len());
        for (to, from) in buffer.iter_mut().zip(half.bytes.drain(..read)) {
            *to = from;
        }
        half.wake();
        Poll::Ready(Ok(read))
    }
}

impl AsyncWrite for Pipe {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let mut half = self.writes.lock().unwrap();
        if half.closed {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let room = PIPE_BYTES_MAX - half.bytes.len();
        if room == 0 {
            half.waiting.push(cx.waker().clone());
            return Poll::Pending;
        }
        let written = room.min(bytes.len());
        half.bytes.extend(&bytes[..written]);
        half.wake();
        Poll::Ready(Ok(written))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut half = self.writes.lock().unwrap();
        half.closed = true;
        half.wake();
        Poll::Ready(Ok(()))
    }
}

impl Drop for Pipe {
    fn drop(&mut self) {
        for half in [&self.reads, &self.writes] {
            let mut half = half.lock().unwrap();
            half.closed = true;
            half.wake();
        }
    }
}

struct Tokio;

impl Spawner for Tokio {
    #[expect(clippy::disallowed_methods, reason = "the tests' own spawner")]
    fn spawn(&self, _: &'static str, task: BoxFuture<'static, ()>) {
        tokio::spawn(task);
    }
}

fn peer(n: u8) -> Did {
    Did::from_bytes([n; 32])
}

/// Asks over pipes. The other ends come out at the receiver, one for each stream that was opened.
fn asker(limits: AskLimits) -> (Arc<Asker<Words>>, mpsc::UnboundedReceiver<(Did, Pipe)>) {
    let (opened, ends) = mpsc::unbounded_channel();
    let open = move |peer| {
        let (here, there) = pipe();
        let reached = opened.send((peer, there)).is_ok();
        futures::future::ready(reached.then(|| (Box::new(here) as Box<dyn Duplex>, Tally::default()))).boxed()
    };
    (Arc::new(Asker::over(Box::new(open), "link", Arc::new(Tokio), limits)), ends)
}

/// Answers on the other end of each pipe.
fn answering<F>(mut ends: mpsc::UnboundedReceiver<(Did, Pipe)>, limits: AskLimits, answer: F)
where
    F: Fn(Words) -> BoxFuture<'static, Words> + Clone + Send + Sync + 'static,
{
    Tokio.spawn(
        "answers",
        async move {
            let mut budgets = Budgets::default();
            while let Some((peer, end)) = ends.recv().await {
                let (budget, answer) = (budgets.of(peer, &limits), answer.clone());
                let run = async move {
                    let _ = answer_stream((end, Tally::default()), "answer", &Tokio, budget, &limits, answer).await;
                };
                Tokio.spawn("answers", run.boxed());
            }
        }
        .boxed(),
    );
}

const WITHIN: Duration = Duration::from_secs(30);

/// promise: Keys and locks | A question gets its own answer or none; a peer that stalls or asks too much holds up no other
#[tokio::test(start_paused = true)]
async fn each_question_gets_its_own_answer_in_whatever_order_they_come() {
    let limits = AskLimits::default();
    let (asker, ends) = asker(limits);
    answering(ends, limits, |question: Words| {
        async move {
            // later questions are answered first
            let after = 1_000 - question.words.parse::<u64>().unwrap();
            tokio::time::sleep(Duration::from_millis(after)).await;
            words(&format!("answer {}", question.words))
        }
        .boxed()
    });
    let asked = (0..60).map(|n| {
        let asker = asker.clone();
        async move { asker.ask(peer(1), words(&n.to_string()), WITHIN).await.unwrap().words }
    });
    let answers = join_all(asked).await;
    assert!(answers.iter().enumerate().all(|(n, answer)| *answer == format!("answer {n}")), "{answers:?}");
}

/// promise: Keys and locks | A question gets its own answer or none; a peer that stalls or asks too much holds up no other
#[tokio::test(start_paused = true)]
async fn a_peer_that_owes_an_answer_and_says_nothing_is_asked_over_another_stream() {
    let limits = AskLimits::default();
    let (asker, mut ends) = asker(limits);
    let began = Instant::now();
    let asked = asker.ask(peer(1), words("are you there?"), WITHIN);
    let (first, silent) = futures::join!(asked, ends.recv());
    assert_eq!(first, Err(AskError::Unreachable));
    assert!(began.elapsed() < WITHIN, "before its time was over");
    answering(ends, limits, |question| futures::future::ready(question).boxed());
    assert_eq!(asker.ask(peer(1), words("and now?"), WITHIN).await.unwrap().words, "and now?");
    drop(silent);
}

/// promise: Keys and locks | A question gets its own answer or none; a peer that stalls or asks too much holds up no other
#[tokio::test(start_paused = true)]
async fn a_peer_that_answers_one_and_takes_no_more_is_asked_over_another_stream() {
    let limits = AskLimits::default();
    let (asker, mut ends) = asker(limits);
    let answers_one = async {
        let (_, mut end) = ends.recv().await.unwrap();
        let frame = read_frame(&mut end, FRAME_BYTES_MAX).await.unwrap().unwrap();
        // the next question is on its way by now, and has no room
        tokio::time::sleep(Duration::from_secs(1)).await;
        write_frame(&mut end, &frame).await.unwrap();
        end
    };
    let large = words(&"x".repeat(2 * PIPE_BYTES_MAX));
    let (one, large, silent) = futures::join!(
        asker.ask(peer(1), words("one"), WITHIN),
        asker.ask(peer(1), large, Duration::from_secs(2)),
        answers_one
    );
    assert_eq!((one.unwrap().words.as_str(), large), ("one", Err(AskError::TimedOut)));
    answering(ends, limits, |question| futures::future::ready(question).boxed());
    let again = asker.ask(peer(1), words("and now?"), WITHIN).await;
    assert!(matches!(again, Err(AskError::NotAsked)), "the stream ends with those that wait for it: {again:?}");
    assert_eq!(asker.ask(peer(1), words("and now?"), WITHIN).await.unwrap().words, "and now?");
    drop(silent);
}

/// promise: Keys and locks | A large question over a slow line has a second for each 16 KiB
#[tokio::test(start_paused = true)]
async fn a_large_question_over_a_slow_line_gets_its_time() {
    let limits = AskLimits::default();
    let (asker, mut ends) = asker(limits);
    let slow = async {
        let (_, mut end) = ends.recv().await.unwrap();
        let mut taken = Vec::new();
        while taken.len() < 4 * PIPE_BYTES_MAX {
            tokio::time::sleep(Duration::from_secs(1)).await;
            let mut some = vec![0; 20 * 1_024];
            let read = end.read(&mut some).await.unwrap();
            assert_ne!(read, 0, "the stream stands");
            taken.extend(&some[..read]);
        }
        let frame = read_frame(&mut taken.chain(&mut end), FRAME_BYTES_MAX).await.unwrap().unwrap();
        write_frame(&mut end, &frame).await.unwrap();
        end
    };
    let large = "x".repeat(4 * PIPE_BYTES_MAX);
    let (answer, _end) = futures::join!(asker.ask(peer(1), words(&large), WITHIN), slow);
    assert_eq!(answer.unwrap().words, large);
}

#[tokio::test(start_paused = true)]
async fn a_slow_answer_is_late_and_the_stream_goes_on() {
    let limits = AskLimits { stalled_after: Duration::from_secs(60), ..AskLimits::default() };
    let (asker, ends) = asker(limits);
    let opened = Arc::new(AtomicUsize::new(0));
    let counted = opened.clone();
    answering(ends, limits, move |question: Words| {
        counted.fetch_add(1, Ordering::Relaxed);
        async move {
            if question.words == "slow" {
                tokio::time::sleep(Duration::from_secs(10)).await;
            }
            question
        }
        .boxed()
    });
    let slow = asker.ask(peer(1), words("slow"), Duration::from_secs(1));
    let (slow, quick) = futures::join!(slow, asker.ask(peer(1), words("quick"), WITHIN));
    assert_eq!((slow, quick.unwrap().words), (Err(AskError::TimedOut), "quick".to_owned()));
    tokio::time::sleep(Duration::from_secs(20)).await;
    assert_eq!(asker.ask(peer(1), words("again"), WITHIN).await.unwrap().words, "again");
    assert_eq!(opened.load(Ordering::Relaxed), 3);
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_nobody_uses_is_closed_and_the_next_question_opens_another() {
    let limits = AskLimits::default();
    let (asker, mut ends) = asker(limits);
    for _ in 0..2 {
        let answer = async {
            let (_, mut end) = ends.recv().await.unwrap();
            let frame = read_frame(&mut end, FRAME_BYTES_MAX).await.unwrap().unwrap();
            write_frame(&mut end, &frame).await.unwrap();
            // closed by the other side
            assert!(read_frame(&mut end, FRAME_BYTES_MAX).await.unwrap().is_none());
        };
        let (asked, ()) = futures::join!(asker.ask(peer(1), words("hello"), WITHIN), answer);
        assert_eq!(asked.unwrap().words, "hello");
    }
}

/// promise: Keys and locks | A question gets its own answer or none; a peer that stalls or asks too much holds up no other
#[tokio::test(start_paused = true)]
async fn questions_beyond_the_bound_fail_at_once_and_other_peers_are_asked() {
    let limits = AskLimits { waiting_max: 4, ..AskLimits::default() };
    let (opened, mut openings) = mpsc::unbounded_channel();
    // the stream to peer 1 is never opened
    let open = move |to| {
        let (here, there) = pipe();
        let _ = opened.send((to, there));
        if to == peer(1) {
            return futures::future::pending().boxed();
        }
        futures::future::ready(Some((Box::new(here) as Box<dyn Duplex>, Tally::default()))).boxed()
    };
    let asker: Arc<Asker<Words>> = Arc::new(Asker::over(Box::new(open), "link", Arc::new(Tokio), limits));
    let waiting: Vec<_> = (0..4).map(|_| Box::pin(asker.ask(peer(1), words("one"), WITHIN))).collect();
    let mut waiting = join_all(waiting);
    assert!((&mut waiting).now_or_never().is_none());
    assert_eq!(asker.ask(peer(1), words("too many"), WITHIN).await, Err(AskError::Busy));
    let (_, blocked) = openings.recv().await.unwrap();
    answering(openings, limits, |question| futures::future::ready(question).boxed());
    assert_eq!(asker.ask(peer(2), words("other"), WITHIN).await.unwrap().words, "other");
    assert!(waiting.await.iter().all(|answer| *answer == Err(AskError::NotAsked)));
    drop(blocked);
}

/// promise: Keys and locks | Whoever asks knows whether the other side may have got the question
#[tokio::test(start_paused = true)]
async fn a_question_that_never_left_is_told_from_one_whose_answer_is_missing() {
    let limits = AskLimits::default();
    let (kept, mut openings) = mpsc::unbounded_channel();
    let open = move |to| {
        let (here, there) = pipe();
        let opened = (to != peer(1)).then(|| (Box::new(here) as Box<dyn Duplex>, Tally::default()));
        let _ = kept.send((to, there));
        futures::future::ready(opened).boxed()
    };
    let asker: Arc<Asker<Words>> = Arc::new(Asker::over(Box::new(open), "link", Arc::new(Tokio), limits));
    // no stream to it
    assert_eq!(asker.ask(peer(1), words("a"), WITHIN).await, Err(AskError::NotAsked));
    // it read the question, and closed
    let reads = async {
        loop {
            let (to, mut end) = openings.recv().await.unwrap();
            if to == peer(2) {
                let _ = read_frame(&mut end, FRAME_BYTES_MAX).await.unwrap().unwrap();
                return;
            }
        }
    };
    let (asked, ()) = futures::join!(asker.ask(peer(2), words("b"), WITHIN), reads);
    assert_eq!(asked, Err(AskError::Unreachable));
    // it answered one, and closed before the next
    for n in 3..20 {
        let answers = async {
            let (_, mut end) = openings.recv().await.unwrap();
            let frame = read_frame(&mut end, FRAME_BYTES_MAX).await.unwrap().unwrap();
            write_frame(&mut end, &frame).await.unwrap();
            end
        };
        let (asked, end) = futures::join!(asker.ask(peer(n), words("c"), WITHIN), answers);
        assert_eq!(asked.unwrap().words, "c");
        drop(end);
        assert_eq!(asker.ask(peer(n), words("d"), WITHIN).await, Err(AskError::NotAsked), "{n}");
    }
    assert!(AskError::Unreachable.may_have_asked() && !AskError::NotAsked.may_have_asked());
}

/// promise: Keys and locks | A question gets its own answer or none; a peer that stalls or asks too much holds up no other
#[tokio::test(start_paused = true)]
async fn a_peer_has_one_budget_over_all_its_streams_and_other_peers_have_theirs() {
    let limits = AskLimits { answering_max: 4, ..AskLimits::default() };
    let (running, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let gate = Arc::new(Notify::new());
    let (opened, ends) = mpsc::unbounded_channel();
    let (counted, kept, held) = (running.clone(), most.clone(), gate.clone());
    answering(ends, limits, move |question: Words| {
        let (running, most, gate) = (counted.clone(), kept.clone(), held.clone());
        async move {
            if question.words == "hold" {
                let now = running.fetch_add(1, Ordering::SeqCst) + 1;
                most.fetch_max(now, Ordering::SeqCst);
                gate.notified().await;
                running.fetch_sub(1, Ordering::SeqCst);
            }
            question
        }
        .boxed()
    });
    // a rogue with three streams and no end of questions
    let mut streams = Vec::new();
    for _ in 0..3 {
        let (mut here, there) = pipe();
        opened.send((peer(1), there)).unwrap();
        for number in 0..20 {
            let question = Words { number, words: "hold".to_owned() };
            write_frame(&mut here, &question.encode_to_vec()).await.unwrap();
        }
        streams.push(here);
    }
    let (mut friend, there) = pipe();
    opened.send((peer(2), there)).unwrap();
    write_frame(&mut friend, &words("quick").encode_to_vec()).await.unwrap();
    let answer = read_frame(&mut friend, FRAME_BYTES_MAX).await.unwrap().unwrap();
    assert_eq!(Words::decode(answer.as_slice()).unwrap(), words("quick"));
    assert_eq!((running.load(Ordering::SeqCst), most.load(Ordering::SeqCst)), (4, 4));
    // a stream that ends gives nothing back before its questions are done
    streams.pop();
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(most.load(Ordering::SeqCst), 4);
    // and all are answered in the end
    let release = async {
        loop {
            gate.notify_one();
            tokio::task::yield_now().await;
        }
    };
    let answered = async {
        for stream in &mut streams {
            for _ in 0..20 {
                read_frame(stream, FRAME_BYTES_MAX).await.unwrap().unwrap();
            }
        }
    };
    tokio::select! {
        () = answered => {}
        () = release => {}
    }
    assert_eq!(most.load(Ordering::SeqCst), 4);
}

/// promise: Bad input | A peer that reads no answers gets no more of them
#[tokio::test(start_paused = true)]
async fn answers_that_a_peer_does_not_read_count_against_its_budget() {
    let limits = AskLimits { answering_max: 4, ..AskLimits::default() };
    let made = Arc::new(AtomicUsize::new(0));
    let (opened, ends) = mpsc::unbounded_channel();
    let counted = made.clone();
    answering(ends, limits, move |question: Words| {
        counted.fetch_add(1, Ordering::SeqCst);
        let answer = Words { words: "x".repeat(2 * PIPE_BYTES_MAX), ..question };
        futures::future::ready(answer).boxed()
    });
    let mut streams = Vec::new();
    for _ in 0..3 {
        let (mut here, there) = pipe();
        opened.send((peer(1), there)).unwrap();
        for number in 0..20 {
            write_frame(&mut here, &Words { number, words: String::new() }.encode_to_vec()).await.unwrap();
        }
        streams.push(here);
    }
    // the clock moves when nothing else can
    tokio::time::sleep(limits.stalled_after / 2).await;
    assert_eq!(made.load(Ordering::SeqCst), limits.answering_max);
    // whatever is read makes room for another
    for stream in &mut streams {
        let _ = tokio::time::timeout(limits.stalled_after / 10, read_frame(stream, FRAME_BYTES_MAX)).await;
    }
    assert!(made.load(Ordering::SeqCst) > limits.answering_max);
}

#[tokio::test(start_paused = true)]
async fn large_questions_count_by_their_bytes() {
    let limits = AskLimits { answering_bytes_max: 8 * 1_024, ..AskLimits::default() };
    let (begun, mut counted) = watch::channel(0);
    let gate = Arc::new(Notify::new());
    let (opened, ends) = mpsc::unbounded_channel();
    let held = gate.clone();
    answering(ends, limits, move |question: Words| {
        begun.send_modify(|count| *count += 1);
        let gate = held.clone();
        async move {
            gate.notified().await;
            question
        }
        .boxed()
    });
    let (mut here, there) = pipe();
    opened.send((peer(1), there)).unwrap();
    for number in 0..3 {
        // the last one is larger than the whole budget, and waits until it is alone
        let words = "x".repeat(if number < 2 { 3_000 } else { 20_000 });
        write_frame(&mut here, &Words { number, words }.encode_to_vec()).await.unwrap();
    }
    counted.wait_for(|begun| *begun == 2).await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(*counted.borrow(), 2);
    gate.notify_one();
    gate.notify_one();
    counted.wait_for(|begun| *begun == 3).await.unwrap();
}

proptest! {
    #[test]
    fn any_bytes_are_answered_or_end_the_stream(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let limits = AskLimits::default();
            let (mut here, there) = pipe();
            futures::AsyncWriteExt::write_all(&mut here, &bytes).await.unwrap();
            futures::AsyncWriteExt::close(&mut here).await.unwrap();
            let echo = |question: Words| futures::future::ready(question).boxed();
            let budget = Budgets::default().of(peer(1), &limits);
            let _ = answer_stream((there, Tally::default()), "answer", &Tokio, budget, &limits, echo).await;
        });
    }
}
