//! Disks that fail under a running node: it ends with the reason, and loses no acknowledged write. (For
//! power losses, see the tests of the store and the engine.)

#![allow(clippy::unwrap_used, clippy::print_stderr, clippy::disallowed_methods, reason = "tests")]

mod support;
#[path = "../../tests/support/world.rs"]
mod world;

use std::io;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use nexus_node::internals::store::{Store, StoreOptions};
use nexus_node::{NewMemory, Node, Stopped};
use redb::StorageBackend;
use serde_json::{Value, json};
use support::Home;
use world::{Link, SOON, World, texts};

const WORLD: World = World(200);

/// A disk in memory that fails on demand.
#[derive(Clone, Debug, Default)]
struct Disk(Arc<Mutex<DiskState>>);

#[derive(Debug, Default)]
struct DiskState {
    seen: Vec<u8>,
    kept: Vec<u8>,
    fault: Fault,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Fault {
    #[default]
    None,
    SyncFails,
    Full,
}

impl Disk {
    /// The disk after a restart of the machine.
    fn restarted(&self) -> Self {
        let kept = self.0.lock().unwrap().kept.clone();
        Self(Arc::new(Mutex::new(DiskState { seen: kept.clone(), kept, fault: Fault::None })))
    }

    fn store(&self) -> Store {
        Store::with_backend("simulated", self.clone(), StoreOptions::default()).unwrap()
    }
}

impl StorageBackend for Disk {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.lock().unwrap().seen.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let at = usize::try_from(offset).unwrap();
        out.copy_from_slice(&self.0.lock().unwrap().seen[at..at + out.len()]);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut state = self.0.lock().unwrap();
        let len = usize::try_from(len).unwrap();
        if state.fault == Fault::Full && len > state.seen.len() {
            return Err(io::ErrorKind::StorageFull.into());
        }
        state.seen.resize(len, 0);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut state = self.0.lock().unwrap();
        if state.fault == Fault::SyncFails {
            return Err(io::Error::other("the disk cannot keep what was written"));
        }
        state.kept = state.seen.clone();
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut state = self.0.lock().unwrap();
        let at = usize::try_from(offset).unwrap();
        state.seen[at..at + data.len()].copy_from_slice(data);
        Ok(())
    }
}

async fn start(disk: &Disk) -> Node {
    let mut env = WORLD.env(0, Link::Memory);
    env.store = disk.store();
    Node::with_env(env).await.unwrap()
}

/// Writes until the node has failed. Returns the disk, the acknowledged writes, and the reason.
async fn fails(fault: Fault) -> (Disk, Vec<String>, String) {
    let disk = Disk::default();
    disk.store().commit(&[nexus_node::internals::engine::found(&WORLD.genesis(0))]).unwrap();
    let node = start(&disk).await;
    let friend = WORLD.start_beside(1, Link::Memory, &node).await;
    world::are_well(&node, &friend, "before").await;
    let mut acknowledged = texts(&node);
    let mut refused = 0;
    for n in 0..2_000 {
        if n == 20 {
            disk.0.lock().unwrap().fault = fault;
        }
        let text = format!("memory {n} {}", "x".repeat(10_000));
        let brain = node.brain();
        let writing = tokio::time::timeout(SOON, brain.remember(NewMemory::note(&text)));
        match writing.await.expect("an answer, whatever it is") {
            Ok(_) => acknowledged.push(text),
            Err(_) => refused += 1,
        }
        if refused == 3 {
            break;
        }
    }
    assert_eq!(refused, 3, "a node whose disk failed takes nothing any more");
    let Ok(Stopped::Failed(why)) = tokio::time::timeout(SOON, node.stopped()).await else {
        panic!("it says that it failed");
    };
    let error = node.brain().remember(NewMemory::note("later")).await.unwrap_err();
    assert_eq!(error.code(), "stopping", "{error}");
    // the others go on, and have only entries that were on this disk
    friend.brain().remember(NewMemory::note("the friend goes on")).await.unwrap();
    let beyond: Vec<String> = texts(&friend).into_iter().filter(|text| text != "the friend goes on").collect();
    assert!(beyond.iter().all(|text| acknowledged.contains(text)), "sent before it was kept");
    (disk, acknowledged, why.to_string())
}

async fn nothing_is_lost(disk: &Disk, mut acknowledged: Vec<String>) {
    let again = start(&disk.restarted()).await;
    let held = texts(&again);
    acknowledged.sort_unstable();
    assert_eq!(held.iter().filter(|text| acknowledged.contains(text)).count(), acknowledged.len());
    again.brain().remember(NewMemory::note("after it was mended")).await.unwrap();
}

/// promise: Bad input | A full disk or a failing fsync: the process ends with a clear error
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failing_sync_ends_the_node_and_loses_nothing_acknowledged() {
    let (disk, acknowledged, why) = fails(Fault::SyncFails).await;
    assert!(why.contains("cannot keep what was written"), "{why}");
    nothing_is_lost(&disk, acknowledged).await;
}

/// promise: Bad input | A full disk or a failing fsync: the process ends with a clear error
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_ends_the_node_and_loses_nothing_acknowledged() {
    let (disk, acknowledged, why) = fails(Fault::Full).await;
    assert!(why.contains("no storage space") || why.contains("full"), "{why}");
    nothing_is_lost(&disk, acknowledged).await;
}

/// A small file system of its own, if one may be mounted here.
struct Mounted(std::path::PathBuf);

impl Mounted {
    fn new(path: std::path::PathBuf, options: &str) -> Option<Self> {
        std::fs::create_dir_all(&path).unwrap();
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(&path).output().ok()?;
        mounted.status.success().then_some(Self(path))
    }

    fn enlarge(&self) {
        let options = "remount,size=64m";
        assert!(Command::new("mount").args(["-o", options]).arg(&self.0).status().unwrap().success());
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

/// promise: Bad input | A full disk or a failing fsync: the process ends with a clear error
#[test]
fn a_process_on_a_disk_that_fills_up_ends_with_a_clear_error_and_loses_nothing_acknowledged() {
    let home = Home::new();
    let Some(mounted) = Mounted::new(home.path(), "size=6m,mode=700") else {
        eprintln!("skipped: no file system can be mounted here");
        return;
    };
    let node = home.up();
    let client = ureq::Agent::config_builder().timeout_global(Some(Duration::from_secs(10))).build().new_agent();
    let (url, bearer) = (format!("http://{}/v1/memories", node.address()), format!("Bearer {}", node.token()));
    let mut acknowledged = Vec::new();
    for n in 0..10_000 {
        let memory = json!({ "text": format!("memory {n} {}", "x".repeat(8_000)) });
        match client.post(&url).header("authorization", &bearer).send_json(memory) {
            Ok(mut answer) => {
                let written: Value = answer.body_mut().read_json().unwrap();
                acknowledged.push(written["id"].as_str().unwrap().to_owned());
            }
            Err(_) => break,
        }
    }
    assert!(!acknowledged.is_empty());
    assert_eq!(node.ended(), Some(1), "{}", home.log());
    let log = home.log().to_lowercase();
    assert!(log.contains("no space left") && log.contains("nothing that was acknowledged is lost"), "{log}");
    assert!(!log.contains("panicked"), "{log}");
    mounted.enlarge();
    let node = home.up();
    for id in &acknowledged {
        assert_eq!(node.http("GET", &format!("/v1/memories/{id}"), "").status, 200, "{id}");
    }
    assert_eq!(node.http("POST", "/v1/memories", r#"{"text":"there is room again"}"#).status, 201);
}
