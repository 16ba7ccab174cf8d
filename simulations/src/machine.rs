//! One machine of a world: a disk, a wall clock, and at times a node.

use std::collections::BTreeMap;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use nexus_mesh::Spawner;
use nexus_node::env::Blocking;
use tokio::time::Sleep;

use crate::dice::Dice;
use crate::hooks::{self, Wall};
use crate::plan::NodeNo;
use crate::transport::SimNetwork;

/// How often a task that is ready lets the others go first, and how many times in a row at most.
const LETS_GO_FIRST: f64 = 0.25;
const LETS_GO_MAX: u8 = 3;

/// The most steps of a node's tasks without time passing. More are a loop without end.
const STEPS_MAX: u64 = 500_000;

/// Takes a lock. A holder that panicked leaves plain data usable.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The parts of a machine that outlive its node.
#[derive(Debug, Default)]
pub(crate) struct Chassis {
    pub(crate) wall: Mutex<Wall>,
    /// The delay of work that waits for the disk.
    pub(crate) disk_delay: Mutex<Duration>,
}

impl Chassis {
    /// Runs something that sees this machine's wall clock.
    fn seen<T>(&self, run: impl FnOnce() -> T) -> T {
        let before = hooks::set_wall(*lock(&self.wall));
        let result = run();
        hooks::set_wall(before);
        result
    }
}

/// One life of a node, from its start to its end: all tasks that it started, so that they can be
/// dropped, held or slowed down at once.
pub(crate) struct Life {
    node: NodeNo,
    chassis: Arc<Chassis>,
    network: SimNetwork,
    state: Mutex<LifeState>,
}

struct LifeState {
    /// They order tasks that are ready at once. The runtime takes them in the order in which they were woken, and a real
    /// node, with several threads, in any.
    order: Dice,
    ended: bool,
    paused: bool,
    /// The additional time of each step of a task.
    slow: Duration,
    next: u64,
    tasks: BTreeMap<u64, Slot>,
    /// Tasks that were woken while the node was paused.
    parked: Vec<Waker>,
    panics: Vec<String>,
    most_tasks: usize,
    /// The time of the last move of virtual time, and the steps since.
    steps: (Duration, u64),
}

type Slot = Arc<Mutex<Option<BoxFuture<'static, ()>>>>;

impl Life {
    pub(crate) fn new(node: NodeNo, chassis: Arc<Chassis>, network: SimNetwork) -> Arc<Self> {
        let purpose = format!("order of tasks {node} {}", hooks::elapsed().as_micros());
        let state = LifeState {
            order: Dice::fork(network.seed(), &purpose),
            ended: false,
            paused: false,
            slow: Duration::ZERO,
            next: 0,
            tasks: BTreeMap::new(),
            parked: Vec::new(),
            panics: Vec::new(),
            most_tasks: 0,
            steps: (Duration::ZERO, 0),
        };
        Arc::new(Self { node, chassis, network, state: Mutex::new(state) })
    }

    /// Drops every task at once. Must not be called from inside of a task.
    pub(crate) fn end(&self) {
        let (tasks, parked) = {
            let mut state = lock(&self.state);
            state.ended = true;
            (std::mem::take(&mut state.tasks), std::mem::take(&mut state.parked))
        };
        for slot in tasks.into_values() {
            let task = lock(&slot).take();
            self.chassis.seen(|| drop(task));
        }
        parked.into_iter().for_each(Waker::wake);
    }

    pub(crate) fn pause(&self, paused: bool) {
        let parked = {
            let mut state = lock(&self.state);
            state.paused = paused;
            if paused { Vec::new() } else { std::mem::take(&mut state.parked) }
        };
        parked.into_iter().for_each(Waker::wake);
    }

    pub(crate) fn slow_down(&self, step: Duration) {
        lock(&self.state).slow = step;
    }

    pub(crate) fn panics(&self) -> Vec<String> {
        lock(&self.state).panics.clone()
    }

    /// The number of tasks now, and the most so far.
    pub(crate) fn tasks(&self) -> (usize, usize) {
        let state = lock(&self.state);
        (state.tasks.len(), state.most_tasks)
    }

    /// Wraps a future so that it sees this machine's wall clock.
    pub(crate) fn seen_from<F: Future>(chassis: Arc<Chassis>, inner: F) -> SeenFrom<F> {
        SeenFrom { chassis, inner: Box::pin(inner) }
    }
}

/// Spawns tasks of a life.
pub(crate) struct LifeSpawner(pub(crate) Arc<Life>);

impl Spawner for LifeSpawner {
    #[expect(clippy::disallowed_methods, reason = "this is the injected spawner")]
    fn spawn(&self, name: &'static str, task: BoxFuture<'static, ()>) {
        let slot: Slot = Arc::new(Mutex::new(Some(task)));
        let number = {
            let mut state = lock(&self.0.state);
            if state.ended {
                drop(state);
                return drop(lock(&slot).take());
            }
            let number = state.next;
            state.next += 1;
            state.tasks.insert(number, slot.clone());
            state.most_tasks = state.most_tasks.max(state.tasks.len());
            number
        };
        let task = LifeTask { life: self.0.clone(), name, number, slot, lag: None, lagging: false, let_go: 0 };
        tokio::spawn(task);
    }
}

struct LifeTask {
    life: Arc<Life>,
    name: &'static str,
    number: u64,
    slot: Slot,
    lag: Option<Pin<Box<Sleep>>>,
    lagging: bool,
    /// How many times in a row it let the others go first.
    let_go: u8,
}

/// The number of polls of any task, for an observer outside. It stops growing when a task never gives way.
pub(crate) static STEPS: AtomicU64 = AtomicU64::new(0);

impl LifeTask {
    fn is_done(&self) {
        lock(&self.life.state).tasks.remove(&self.number);
    }
}

impl Future for LifeTask {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        let slow = {
            let mut state = lock(&this.life.state);
            if state.ended {
                return Poll::Ready(());
            }
            let now = hooks::elapsed();
            if state.steps.0 != now {
                state.steps = (now, 0);
            }
            state.steps.1 += 1;
            if state.steps.1 > STEPS_MAX {
                state.steps.1 = 0;
                state.panics.push(format!("n{}, task {}: it spins, and no time passes", this.life.node, this.name));
                state.tasks.remove(&this.number);
                drop(state);
                this.life.network.note(Some(this.life.node), format_args!("SPINNING task {}", this.name));
                *lock(&this.slot) = None;
                return Poll::Ready(());
            }
            if state.paused {
                state.parked.push(cx.waker().clone());
                return Poll::Pending;
            }
            if this.let_go < LETS_GO_MAX && state.order.chance(LETS_GO_FIRST) {
                this.let_go += 1;
                drop(state);
                // it goes behind all that are ready
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            this.let_go = 0;
            state.slow
        };
        if !slow.is_zero() || this.lagging {
            if !this.lagging {
                this.lagging = true;
                this.lag = Some(Box::pin(tokio::time::sleep(slow)));
            }
            if let Some(lag) = &mut this.lag
                && lag.as_mut().poll(cx).is_pending()
            {
                return Poll::Pending;
            }
            (this.lag, this.lagging) = (None, false);
        }
        STEPS.fetch_add(1, Ordering::Relaxed);
        let node_before = hooks::set_node(Some(this.life.node));
        let polled = this.life.chassis.seen(|| {
            let mut slot = lock(&this.slot);
            let Some(task) = slot.as_mut() else { return Ok(Poll::Ready(())) };
            let polled = std::panic::catch_unwind(AssertUnwindSafe(|| task.as_mut().poll(cx)));
            if !matches!(polled, Ok(Poll::Pending)) {
                *slot = None;
            }
            polled
        });
        hooks::set_node(node_before);
        match polled {
            Ok(Poll::Pending) => return Poll::Pending,
            Ok(Poll::Ready(())) => {}
            Err(panic) => {
                let text = panic.downcast_ref::<String>().map(String::as_str);
                let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no message");
                this.life.network.note(Some(this.life.node), format_args!("PANIC in task {}: {text}", this.name));
                lock(&this.life.state).panics.push(format!("n{}, task {}: {text}", this.life.node, this.name));
            }
        }
        this.is_done();
        Poll::Ready(())
    }
}

/// A future that sees a machine's wall clock.
pub(crate) struct SeenFrom<F> {
    chassis: Arc<Chassis>,
    inner: Pin<Box<F>>,
}

impl<F: Future> Future for SeenFrom<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let SeenFrom { chassis, inner } = &mut *self;
        chassis.seen(|| inner.as_mut().poll(cx))
    }
}

/// Work that waits for the disk, done at once; on a slow disk, in the middle of a wait.
pub(crate) struct DiskWork {
    pub(crate) chassis: Arc<Chassis>,
    pub(crate) network: SimNetwork,
}

impl Blocking for DiskWork {
    fn run(&self, work: Box<dyn FnOnce() + Send>) -> BoxFuture<'static, ()> {
        let delay = *lock(&self.chassis.disk_delay);
        if delay.is_zero() {
            work();
            return futures::future::ready(()).boxed();
        }
        self.network.fire("slow_disk");
        async move {
            tokio::time::sleep(delay / 2).await;
            work();
            tokio::time::sleep(delay / 2).await;
        }
        .boxed()
    }
}
