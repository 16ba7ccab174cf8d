use std::any::Any;
use std::collections::VecDeque;
use std::fmt;
use std::num::NonZeroUsize;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::available_parallelism;
use std::time::{Duration, Instant};

use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::sync::oneshot;

/// Runs work that waits for the disk or takes long, off the tasks that answer.
pub trait Blocking: Send + Sync + 'static {
    /// Runs `work`; the future ends when it has ended. Works do not wait for each other.
    fn run(&self, work: Box<dyn FnOnce() + Send>) -> BoxFuture<'static, ()>;

    /// Runs `work` that reads the memory and ends soon; the future ends when it has ended. Such works may
    /// wait for each other, but not for those of [`run`](Self::run). Default: as `run`.
    fn read(&self, work: Box<dyn FnOnce() + Send>) -> BoxFuture<'static, ()> {
        self.run(work)
    }

    /// Runs `work` that may take long and that nobody waits for; the future ends when it has ended. Where the system can do
    /// that, it gets less of the processors than others. Default: as `run`.
    fn background(&self, work: Box<dyn FnOnce() + Send>) -> BoxFuture<'static, ()> {
        self.run(work)
    }
}

/// On tokio's blocking threads.
///
/// Reads share a few threads, so that many short ones cost no change of threads each, and the memory that
/// the allocator keeps for each thread stays small.
#[derive(Clone, Default)]
pub struct BlockingPool {
    reads: Arc<Lane>,
}

impl fmt::Debug for BlockingPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BlockingPool").finish_non_exhaustive()
    }
}

impl Blocking for BlockingPool {
    #[expect(clippy::disallowed_methods, reason = "this is the real world's blocking pool")]
    fn run(&self, work: Box<dyn FnOnce() + Send>) -> BoxFuture<'static, ()> {
        let done = tokio::task::spawn_blocking(work);
        async move {
            if let Err(error) = done.await
                && let Ok(panic) = error.try_into_panic()
            {
                resume_unwind(panic);
            }
        }
        .boxed()
    }

    #[expect(clippy::disallowed_methods, reason = "this is the real world's blocking pool")]
    fn read(&self, work: Box<dyn FnOnce() + Send>) -> BoxFuture<'static, ()> {
        let (done, mut end) = oneshot::channel();
        let begin = |lane: &Arc<Lane>| {
            let lane = lane.clone();
            tokio::task::spawn_blocking(move || lane.work_off());
        };
        if self.reads.add(Read { work, done }) {
            begin(&self.reads);
        }
        let lane = self.reads.clone();
        async move {
            let mut patience = PATIENCE;
            let ended = loop {
                match tokio::time::timeout(patience, &mut end).await {
                    Ok(ended) => break ended,
                    Err(_) if lane.hurry() => begin(&lane),
                    Err(_) => {}
                }
                // a disk that stalls is not asked a thousand times a second by all who wait for it
                patience = patience.saturating_mul(2);
            };
            if let Ok(Err(panic)) = ended {
                resume_unwind(panic);
            }
        }
        .boxed()
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "a priority is kept for the rest of a thread, so a pool cannot lend it"
    )]
    fn background(&self, work: Box<dyn FnOnce() + Send>) -> BoxFuture<'static, ()> {
        let (done, end) = oneshot::channel();
        let work = Arc::new(Mutex::new(Some((work, done))));
        let taken = work.clone();
        let take = |from: &Mutex<Option<_>>| from.lock().unwrap_or_else(PoisonError::into_inner).take();
        let begun = std::thread::Builder::new().name("background".to_owned()).spawn(move || {
            give_way();
            if let Some((work, done)) = take(&taken) {
                let work: Box<dyn FnOnce() + Send> = work;
                // whoever waited may be gone
                let _ = done.send(catch_unwind(AssertUnwindSafe(work)));
            }
        });
        match begun {
            Ok(_) => async move {
                if let Ok(Err(panic)) = end.await {
                    resume_unwind(panic);
                }
            }
            .boxed(),
            // no room for one more thread: the pool has some
            Err(_) => match take(&work) {
                Some((work, _)) => self.run(work),
                None => futures::future::ready(()).boxed(),
            },
        }
    }
}

/// Leaves the processors to other threads, for the rest of this thread and those that it begins.
#[cfg(target_os = "linux")]
fn give_way() {
    /// With 10, a busy thread beside one of the default gets a tenth of a processor, so a lock that both want is not held
    /// for long.
    const NICE: i32 = 10;
    // without it the work is done all the same
    let _ = rustix::process::nice(NICE);
}

/// Elsewhere a thread has no such priority of its own that safe code can set.
#[cfg(not(target_os = "linux"))]
const fn give_way() {}

/// One read, and whoever waits for it.
struct Read {
    work: Box<dyn FnOnce() + Send>,
    done: oneshot::Sender<Result<(), Box<dyn Any + Send>>>,
}

/// Reads that wait for one of a few threads. Its callers bound their number: connections, tools and
/// streams have bounds of their own.
struct Lane {
    queue: Mutex<Queue>,
    /// The most threads at a time.
    width: usize,
}

#[derive(Default)]
struct Queue {
    reads: VecDeque<Read>,
    /// The number of threads that take reads.
    threads: usize,
    /// The number of those that are about to look for the next read.
    looking: usize,
}

impl Queue {
    /// Counts one more thread, if more than `soon` reads wait, and it may begin.
    fn more(&mut self, width: usize, soon: usize) -> bool {
        let more = self.reads.len() > soon && self.threads < width;
        self.threads += usize::from(more);
        self.looking += usize::from(more);
        more
    }
}

impl Default for Lane {
    fn default() -> Self {
        let cores = available_parallelism().map_or(1, NonZeroUsize::get);
        Self { queue: Mutex::default(), width: cores.max(THREADS_MIN) }
    }
}

/// One slow read does not keep the others from theirs, however few cores there are.
const THREADS_MIN: usize = 4;
/// So many reads wait for a thread that is busy: most take some microseconds, and one more thread costs as
/// much.
const SHORT_QUEUE: usize = 8;
/// The wait after which one more thread begins: then those before take long. It doubles each time.
const PATIENCE: Duration = Duration::from_millis(1);
/// How long a thread without work looks for more, with others let through in between. That is about as long as to start it
/// again. On a busy machine the first other one that is let through takes longer.
const LOOK: Duration = Duration::from_micros(20);

impl Lane {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a read. Whether one more thread must work off the queue.
    fn add(&self, read: Read) -> bool {
        let mut queue = self.queue();
        queue.reads.push_back(read);
        let soon = queue.looking + queue.threads * SHORT_QUEUE;
        queue.more(self.width, soon)
    }

    /// Whether one more thread must work off the queue, because something has waited in it for long.
    fn hurry(&self) -> bool {
        let mut queue = self.queue();
        let looking = queue.looking;
        queue.more(self.width, looking)
    }

    /// The next read; `None` ends the thread's turn.
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the real world's blocking pool, with the machine's own clock"
    )]
    fn next(&self) -> Option<Read> {
        let mut since = None;
        loop {
            let mut queue = self.queue();
            let next = queue.reads.pop_front();
            if next.is_some() {
                queue.looking -= 1;
                return next;
            }
            if since.get_or_insert_with(Instant::now).elapsed() > LOOK {
                queue.looking -= 1;
                queue.threads -= 1;
                return None;
            }
            drop(queue);
            std::thread::yield_now();
        }
    }

    /// Does reads until none comes for a while.
    fn work_off(&self) {
        while let Some(Read { work, done }) = self.next() {
            let ended = catch_unwind(AssertUnwindSafe(work));
            self.queue().looking += 1;
            // whoever waited may be gone
            let _ = done.send(ended);
        }
    }
}

/// On the spot: for simulators, which have one thread.
#[derive(Clone, Copy, Debug, Default)]
pub struct Inline;

impl Blocking for Inline {
    fn run(&self, work: Box<dyn FnOnce() + Send>) -> BoxFuture<'static, ()> {
        work();
        futures::future::ready(()).boxed()
    }
}

/// Runs work on a node's blocking seam and hands its result back.
pub(super) async fn run<T: Send + 'static>(
    on: impl FnOnce(Box<dyn FnOnce() + Send>) -> BoxFuture<'static, ()>,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Interrupted> {
    let slot = Arc::new(Mutex::new(None));
    let filled = slot.clone();
    on(Box::new(move || *filled.lock().unwrap_or_else(PoisonError::into_inner) = Some(work()))).await;
    slot.lock().unwrap_or_else(PoisonError::into_inner).take().ok_or(Interrupted)
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[tokio::test]
    async fn a_read_that_takes_long_does_not_keep_others_waiting() {
        let pool = BlockingPool::default();
        let (end, ended) = mpsc::channel::<()>();
        let slow = pool.read(Box::new(move || {
            let _ = ended.recv();
        }));
        for n in 0..100 {
            assert_eq!(run(|work| pool.read(work), move || n).await, Ok(n));
        }
        // dropped before the work was over, as by a caller that is gone
        drop(slow);
        end.send(()).unwrap();
        assert_eq!(run(|work| pool.read(work), || 7).await, Ok(7));
    }

    #[tokio::test]
    async fn a_panic_of_background_work_is_told_and_the_next_work_is_done() {
        let pool = BlockingPool::default();
        let panics = pool.background(Box::new(|| panic!("as the test wants it")));
        assert!(AssertUnwindSafe(panics).catch_unwind().await.is_err());
        assert_eq!(run(|work| pool.background(work), || 1).await, Ok(1));
    }

    /// promise: Nodes | Work in the background and the threads that it begins leave the processors to others, on Linux
    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn background_work_and_the_threads_it_begins_give_way_and_no_others_do() {
        let pool = BlockingPool::default();
        let nice = || rustix::process::getpriority_process(None).unwrap();
        let here = nice();
        let there = move || (nice(), std::thread::scope(|scope| scope.spawn(nice).join().unwrap()));
        let (itself, begun) = run(|work| pool.background(work), there).await.unwrap();
        assert!(itself > here || here == 19, "{here} here, {itself} there");
        assert_eq!(begun, itself);
        assert_eq!((nice(), run(|work| pool.run(work), nice).await), (here, Ok(here)));
    }

    #[tokio::test]
    async fn reads_share_a_few_threads_and_all_are_done() {
        let pool = BlockingPool::default();
        let width = pool.reads.width;
        let busy = Arc::new(Mutex::new((0_usize, 0_usize)));
        let reads: Vec<_> = (0..1_000_u32)
            .map(|n| {
                let busy = busy.clone();
                run(
                    |work| pool.read(work),
                    move || {
                        let mut now = busy.lock().unwrap();
                        *now = (now.0 + 1, now.1.max(now.0 + 1));
                        drop(now);
                        std::thread::yield_now();
                        busy.lock().unwrap().0 -= 1;
                        n
                    },
                )
            })
            .collect();
        let done = futures::future::join_all(reads).await;
        assert_eq!(done, (0..1_000).map(Ok).collect::<Vec<_>>());
        assert!(busy.lock().unwrap().1 <= width);
    }

    #[tokio::test]
    async fn a_read_that_panics_panics_where_it_is_waited_for_and_the_next_ones_go_on() {
        let pool = BlockingPool::default();
        for _ in 0..2 * pool.reads.width {
            let read = pool.read(Box::new(|| panic!("as the test wants it")));
            assert!(AssertUnwindSafe(read).catch_unwind().await.is_err());
        }
        assert_eq!(run(|work| pool.read(work), || 1).await, Ok(1));
    }
}

/// Blocking work ended without a result: its node is being stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the work was interrupted")]
pub(crate) struct Interrupted;
