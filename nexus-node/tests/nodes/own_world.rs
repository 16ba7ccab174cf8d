//! A node in the test's own world: all of its surroundings are arguments.

#![allow(clippy::unwrap_used, clippy::print_stderr, clippy::disallowed_methods, reason = "tests")]

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::world::{self, Link, SOON, World, are_well, eventually, has_text, texts};
use futures::FutureExt;
use futures::future::{AbortHandle, Abortable, BoxFuture};
use nexus_mesh::{Spawner, TokioSpawner};
use nexus_node::env::{Blocking, Inline};
use nexus_node::net::PeerState;
use nexus_node::node::Stopped;
use nexus_node::{NewMemory, Node};

const WORLD: World = World(200);

/// Counts the tasks that it spawned, and can end all of them at once.
#[derive(Clone)]
struct Killer {
    tokio: TokioSpawner,
    tasks: Arc<Mutex<Vec<AbortHandle>>>,
    live: Arc<Mutex<Vec<&'static str>>>,
}

impl Killer {
    fn new() -> Self {
        Self { tokio: TokioSpawner::current(), tasks: Arc::default(), live: Arc::default() }
    }

    fn kill(&self) {
        for task in self.tasks.lock().unwrap().drain(..) {
            task.abort();
        }
    }

    fn live(&self) -> usize {
        self.live.lock().unwrap().len()
    }
}

/// A task that runs, by its name.
struct Counted(&'static str, Arc<Mutex<Vec<&'static str>>>);

impl Drop for Counted {
    fn drop(&mut self) {
        let mut live = self.1.lock().unwrap();
        let place = live.iter().position(|name| *name == self.0).unwrap();
        live.swap_remove(place);
    }
}

impl Spawner for Killer {
    fn spawn(&self, name: &'static str, task: BoxFuture<'static, ()>) {
        let (abort, registration) = AbortHandle::new_pair();
        self.tasks.lock().unwrap().push(abort);
        self.live.lock().unwrap().push(name);
        let counted = Counted(name, self.live.clone());
        let task = Abortable::new(task, registration).map(move |_| drop(counted));
        self.tokio.spawn(name, task.boxed());
    }
}

fn alive() -> usize {
    tokio::runtime::Handle::current().metrics().num_alive_tasks()
}

async fn start(n: u8, killer: &Killer, beside: Option<&Node>) -> Node {
    let mut env = WORLD.env(n, Link::Memory);
    env.spawner = Arc::new(killer.clone());
    env.config.bootstrap.0 = beside.map(world::address_of).into_iter().collect();
    Node::with_env(env).await.unwrap()
}

#[tokio::test]
async fn two_nodes_over_memory_alone_keep_in_step() {
    let one = WORLD.start(0, Link::Memory).await;
    one.brain().remember(NewMemory::note("before they met")).await.unwrap();
    let two = WORLD.start_beside(1, Link::Memory, &one).await;
    has_text(&two, "before they met").await;
    are_well(&one, &two, "in memory").await;
    two.set_offline(true).await.unwrap();
    one.brain().remember(NewMemory::note("while apart")).await.unwrap();
    assert!(!texts(&two).contains(&"while apart".to_owned()));
    two.set_offline(false).await.unwrap();
    has_text(&two, "while apart").await;
}

/// promise: Meeting | Nothing is spawned past the spawner; a node can be killed whole
#[tokio::test]
async fn nothing_is_spawned_past_the_spawner_and_dropping_its_tasks_kills_a_node_whole() {
    let before = alive();
    let (first, second) = (Killer::new(), Killer::new());
    let one = start(0, &first, None).await;
    let two = start(1, &second, Some(&one)).await;
    are_well(&one, &two, "counted").await;
    assert_eq!(alive() - before, first.live() + second.live(), "a task that the spawner does not know");
    assert!(first.live() >= 6, "{}", first.live());

    first.kill();
    eventually("its tasks are gone", || async { first.live() == 0 }).await;
    eventually("the other one notices", || async { two.peers().await[0].state != PeerState::Up }).await;
    let refused = tokio::time::timeout(SOON, async { one.brain().remember(NewMemory::note("dead")).await });
    assert_eq!(refused.await.expect("an answer").unwrap_err().code(), "stopping");
    two.brain().remember(NewMemory::note("the other one lives")).await.unwrap();

    second.kill();
    eventually("nothing is left", || async { alive() == before }).await;
}

/// promise: Meeting | Nothing is spawned past the spawner; a node can be killed whole
#[tokio::test]
async fn a_node_that_is_shut_down_leaves_no_task_in_a_world_of_its_caller() {
    let before = alive();
    let killer = Killer::new();
    let one = start(0, &killer, None).await;
    let two = start(1, &killer, Some(&one)).await;
    are_well(&one, &two, "before the end").await;
    for node in [&one, &two] {
        node.shutdown().await;
        assert!(matches!(node.stopped().await, Stopped::Asked));
        assert_eq!(node.brain().remember(NewMemory::note("late")).await.unwrap_err().code(), "stopping");
    }
    let left = async {
        while alive() != before {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let left = tokio::time::timeout(SOON, left).await;
    assert!(left.is_ok(), "left: {:?}", killer.live.lock().unwrap());
    assert_eq!(killer.live(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_node_that_ran_for_an_hour_leaves_no_task_either() {
    let killer = Killer::new();
    let mut env = WORLD.env(0, Link::Memory);
    env.spawner = Arc::new(killer.clone());
    env.blocking = Arc::new(Inline);
    let node = Node::with_env(env).await.unwrap();
    node.brain().remember(NewMemory::note("kept")).await.unwrap();
    tokio::time::sleep(Duration::from_secs(3_600)).await;
    node.shutdown().await;
    let left = || killer.live.lock().unwrap().clone();
    tokio::time::timeout(SOON, async {
        while killer.live() > 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await
    .unwrap_or_else(|_| panic!("left: {:?}", left()));
}

/// Refuses work, as a pool of threads does while it shuts down.
#[derive(Default)]
struct Refusing(AtomicBool);

impl Blocking for Refusing {
    fn run(&self, work: Box<dyn FnOnce() + Send>) -> BoxFuture<'static, ()> {
        if !self.0.load(Ordering::SeqCst) {
            work();
        }
        futures::future::ready(()).boxed()
    }
}

#[tokio::test]
async fn a_commit_that_was_not_carried_out_is_not_acknowledged() {
    let mut env = WORLD.env(0, Link::Memory);
    let pool = Arc::new(Refusing::default());
    env.blocking = pool.clone();
    let node = Node::with_env(env).await.unwrap();
    node.brain().remember(NewMemory::note("kept")).await.unwrap();
    // spaces and members are read here, so that the commit is the first work that is refused
    assert_eq!(texts(&node), ["kept"]);
    pool.0.store(true, Ordering::SeqCst);
    let brain = node.brain();
    let lost = tokio::time::timeout(Duration::from_secs(5), brain.remember(NewMemory::note("lost")));
    assert_eq!(lost.await.expect("an answer").unwrap_err().code(), "stopping");
    let stopped = tokio::time::timeout(Duration::from_secs(5), node.stopped());
    assert!(matches!(stopped.await.expect("an end"), Stopped::Failed(_)));
    assert_eq!(texts(&node), ["kept"]);
}
