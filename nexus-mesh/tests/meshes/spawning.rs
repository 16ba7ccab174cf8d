//! No task starts outside the spawner: dropping its tasks kills a node whole.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "tests")]

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use crate::common::*;
use futures::future::{AbortHandle, Abortable, BoxFuture};
use futures::{AsyncReadExt, FutureExt};
use nexus_mesh::{OpenError, Spawner, TokioSpawner};

#[derive(Clone)]
struct Killer {
    tokio: TokioSpawner,
    tasks: Arc<Mutex<Vec<AbortHandle>>>,
    live: Arc<AtomicUsize>,
}

impl Killer {
    fn new() -> Self {
        let (tasks, live) = (Arc::default(), Arc::default());
        Self { tokio: TokioSpawner::current(), tasks, live }
    }
}

struct Counted(Arc<AtomicUsize>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Spawner for Killer {
    fn spawn(&self, name: &'static str, task: BoxFuture<'static, ()>) {
        let (abort, registration) = AbortHandle::new_pair();
        self.tasks.lock().unwrap().push(abort);
        self.live.fetch_add(1, Ordering::SeqCst);
        let counted = Counted(self.live.clone());
        let task = Abortable::new(task, registration).map(move |_| drop(counted));
        self.tokio.spawn(name, task.boxed());
    }
}

/// promise: Meeting | Nothing is spawned past the spawner; a node can be killed whole
#[tokio::test]
async fn dropping_all_tasks_kills_a_node_whole() {
    log();
    let world = World::new(200);
    let alive = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
    let mut a = Node::start(world.config(1), MEMORY);
    let address = a.address().await;
    let before = alive();
    let killer = Killer::new();
    let tasks = killer.tasks.clone();
    let mut b = Node::start_on(world.config(2), MEMORY, Arc::new(killer));
    b.mesh.bootstrap(address);
    meet(&mut a, &mut b).await;
    healthy(&mut a, &mut b, "before").await;
    let _stream = b.mesh.open(a.did(), &ROOM).await.unwrap();
    let (_, mut entered) = a.until_stream().await;
    assert!(alive() > before);

    for task in tasks.lock().unwrap().drain(..) {
        task.abort();
    }
    a.until_closed(b.did()).await;
    assert!(entered.read(&mut [0]).await.map_or(true, |read| read == 0));
    assert_eq!(b.mesh.open(a.did(), &ROOM).await.unwrap_err(), OpenError::Stopped);
    assert!(b.mesh.peers().await.is_empty());
    while alive() > before {
        // a's own connection task is ending
        tokio::task::yield_now().await;
    }
}

/// promise: Meeting | Nothing is spawned past the spawner; a node can be killed whole
#[tokio::test]
async fn every_task_is_the_spawner_s() {
    let world = World::new(200);
    let killer = Killer::new();
    let live = killer.live.clone();
    let alive = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
    let before = alive();
    let mut a = Node::start_on(world.config(1), MEMORY, Arc::new(killer.clone()));
    let mut b = Node::start_on(world.config(2), MEMORY, Arc::new(killer));
    b.mesh.bootstrap(a.address().await);
    meet(&mut a, &mut b).await;
    healthy(&mut a, &mut b, "counted").await;
    assert_eq!(alive() - before, live.load(Ordering::SeqCst));
    assert!(live.load(Ordering::SeqCst) >= 4, "two loops and two connections");
}

#[tokio::test]
async fn a_mesh_ends_with_its_events_and_with_its_last_handle() {
    let world = World::new(200);
    let a = Node::start(world.config(1), MEMORY);
    let Node { mesh, events, .. } = a;
    drop(events);
    while mesh.open(key(2).did(), &ROOM).await.unwrap_err() != OpenError::Stopped {
        tokio::task::yield_now().await;
    }
    let Node { mesh, mut events, .. } = Node::start(world.config(1), MEMORY);
    drop(mesh);
    while events.recv().await.is_some() {}
}

#[tokio::test]
async fn a_node_that_does_not_read_its_events_still_answers_and_loses_no_stream() {
    let world = World::new(200);
    let mut config = world.config(1);
    config.limits.events = 2;
    let mut a = Node::start(config, MEMORY);
    let mut b = Node::start(world.config(2), MEMORY);
    b.mesh.bootstrap(a.address().await);
    b.until_open(a.did()).await;
    let mut streams = Vec::new();
    for _ in 0..20 {
        // a reads nothing: some of these wait for it
        let patience = std::time::Duration::from_millis(20);
        if let Ok(Ok(stream)) = tokio::time::timeout(patience, b.mesh.open(a.did(), &ROOM)).await {
            streams.push(stream);
        }
        a.mesh.peers().await;
    }
    while a.events.try_recv().is_some() {}
    for _ in &streams {
        a.until_stream().await;
    }
    assert!(!streams.is_empty());
}
