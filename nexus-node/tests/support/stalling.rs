//! A disk that stalls when told to, and a blocking seam that knows which of its work the disk holds up.
//!
//! Work runs on threads of its own while virtual time stands. Once the disk holds work up, time goes on without it.

#![allow(
    dead_code,
    unreachable_pub,
    missing_debug_implementations,
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "each test program uses its part"
)]

use std::backtrace::Backtrace;
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use futures::FutureExt;
use futures::future::BoxFuture;
use nexus_node::env::Blocking;
use nexus_node::internals::engine::{Genesis, found};
use nexus_node::internals::store::{Store, StoreOptions};
use redb::StorageBackend;
use redb::backends::InMemoryBackend;
use tokio::sync::Notify;

/// Work on the seam.
#[derive(Default)]
struct Work {
    done: AtomicBool,
    /// The disk holds it up.
    held_up: AtomicBool,
    changed: Notify,
}

/// The number of works that disks hold up.
static STALLED: AtomicUsize = AtomicUsize::new(0);
/// Work on a disk in memory takes less, unless something holds it up.
const LONG: Duration = Duration::from_millis(300);

thread_local! {
    /// The work that this thread does for the seam.
    static WORK: RefCell<Option<Arc<Work>>> = const { RefCell::new(None) };
}

/// Tells that work is done, even if it panics.
struct Doing(Arc<Work>);

impl Drop for Doing {
    fn drop(&mut self) {
        self.0.done.store(true, Ordering::SeqCst);
        self.0.changed.notify_one();
    }
}

/// The seam.
pub struct Threads;

impl Blocking for Threads {
    fn run(&self, work: Box<dyn FnOnce() + Send>) -> BoxFuture<'static, ()> {
        let state = Arc::<Work>::default();
        let doing = Doing(state.clone());
        std::thread::spawn(move || {
            WORK.set(Some(doing.0.clone()));
            work();
            drop(doing);
        });
        let began = Instant::now();
        async move {
            while !state.done.load(Ordering::SeqCst) {
                // work may also wait for a lock that held-up work has
                if state.held_up.load(Ordering::SeqCst)
                    || (STALLED.load(Ordering::SeqCst) > 0 && began.elapsed() > LONG)
                {
                    state.changed.notified().await;
                } else {
                    // a runtime that has something to do does not let virtual time go on
                    tokio::task::yield_now().await;
                }
            }
        }
        .boxed()
    }
}

/// Does what reads the disk where it is called, for a test that means to.
pub fn on_purpose<T>(read: impl FnOnce() -> T) -> T {
    let before = WORK.replace(Some(Arc::default()));
    let result = read();
    WORK.set(before);
    result
}

/// A disk in memory; clones are handles on the same one.
#[derive(Clone, Debug)]
pub struct StallingDisk(Arc<DiskState>);

#[derive(Debug)]
struct DiskState {
    bytes: InMemoryBackend,
    stalled: Mutex<bool>,
    goes_on: Condvar,
    /// How much work it holds up.
    held_up: AtomicUsize,
    watching: AtomicBool,
    /// The places that touched the disk outside of the seam since somebody watches.
    outside: Mutex<BTreeSet<String>>,
}

impl StallingDisk {
    pub fn new() -> Self {
        Self(Arc::new(DiskState {
            bytes: InMemoryBackend::new(),
            stalled: Mutex::new(false),
            goes_on: Condvar::new(),
            held_up: AtomicUsize::new(0),
            watching: AtomicBool::new(false),
            outside: Mutex::default(),
        }))
    }

    /// A store on this disk with a node's beginning in it. It keeps no pages in memory: each read touches the disk.
    pub fn store(&self, genesis: &Genesis) -> Store {
        let options = StoreOptions::default().cache_bytes(0);
        let store = Store::with_backend("brain", self.clone(), options).unwrap();
        store.commit(&[found(genesis)]).unwrap();
        store
    }

    /// From now on nothing that is asked of the disk comes to an end.
    pub fn stall(&self) {
        *self.0.stalled.lock().unwrap() = true;
    }

    /// Lets all go on.
    pub fn go_on(&self) {
        *self.0.stalled.lock().unwrap() = false;
        self.0.goes_on.notify_all();
    }

    /// Waits until the disk holds up some work.
    pub async fn until_it_holds_something_up(&self) {
        while self.0.held_up.load(Ordering::SeqCst) == 0 {
            tokio::task::yield_now().await;
        }
    }

    /// Notes from now on where the disk is touched outside of the seam.
    pub fn watch(&self) {
        self.0.watching.store(true, Ordering::SeqCst);
    }

    pub fn touched_outside(&self) -> BTreeSet<String> {
        std::mem::take(&mut self.0.outside.lock().unwrap())
    }

    fn touch(&self) {
        let Some(work) = WORK.with_borrow(Clone::clone) else {
            if self.0.watching.load(Ordering::SeqCst) {
                let trace = Backtrace::force_capture().to_string();
                let ours = trace.lines().filter(|line| line.contains("nexus-node/src/") && !line.contains("/store/"));
                self.0.outside.lock().unwrap().insert(ours.collect::<Vec<_>>().join("\n"));
            }
            return;
        };
        let mut stalled = self.0.stalled.lock().unwrap();
        if *stalled {
            work.held_up.store(true, Ordering::SeqCst);
            self.0.held_up.fetch_add(1, Ordering::SeqCst);
            STALLED.fetch_add(1, Ordering::SeqCst);
            while *stalled {
                stalled = self.0.goes_on.wait(stalled).unwrap();
            }
            self.0.held_up.fetch_sub(1, Ordering::SeqCst);
            STALLED.fetch_sub(1, Ordering::SeqCst);
        }
    }
}

impl StorageBackend for StallingDisk {
    fn len(&self) -> io::Result<u64> {
        self.touch();
        self.0.bytes.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.touch();
        self.0.bytes.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.touch();
        self.0.bytes.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.touch();
        self.0.bytes.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.touch();
        self.0.bytes.write(offset, data)
    }
}
