//! Disks that fail under a running node: it ends with the reason, and loses no acknowledged write. On a disk that
//! fills up it reads on, and writes again once there is room. (For power losses, see the tests of the store and
//! the engine.)

#![allow(clippy::unwrap_used, clippy::print_stderr, clippy::disallowed_methods, reason = "tests")]

use std::io;
use std::process::Command;
use std::sync::{Arc, Mutex};

use crate::support::{self, Home};
use crate::world::{self, Link, SOON, World, eventually, texts};
use nexus_node::internals::store::{Store, StoreOptions};
use nexus_node::node::Stopped;
use nexus_node::{NewMemory, Node};
use redb::StorageBackend;
use serde_json::json;

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
    /// As network file systems do, which find at the sync that there is no room.
    SyncHasNoRoom,
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
        if state.fault == Fault::SyncHasNoRoom {
            return Err(io::Error::new(io::ErrorKind::StorageFull, "the disk cannot keep what was written"));
        }
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

/// promise: Bad input | A failing fsync: the process ends with a clear error
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failing_sync_ends_the_node_and_loses_nothing_acknowledged() {
    for fault in [Fault::SyncFails, Fault::SyncHasNoRoom] {
        let (disk, acknowledged, why) = fails(fault).await;
        assert!(why.contains("cannot keep what was written"), "{why}");
        nothing_is_lost(&disk, acknowledged).await;
    }
}

/// promise: Bad input | A full disk: nothing acknowledged is lost, reads go on, and writes once there is room
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_refuses_writes_reads_on_and_takes_what_it_missed_once_there_is_room() {
    let disk = Disk::default();
    disk.store().commit(&[nexus_node::internals::engine::found(&WORLD.genesis(0))]).unwrap();
    let node = start(&disk).await;
    let friend = WORLD.start_beside(1, Link::Memory, &node).await;
    world::are_well(&node, &friend, "before").await;
    let mut acknowledged = texts(&node);
    disk.0.lock().unwrap().fault = Fault::Full;
    let refused = loop {
        let text = format!("memory {} {}", acknowledged.len(), "x".repeat(10_000));
        match node.brain().remember(NewMemory::note(&text)).await {
            Ok(_) => acknowledged.push(text),
            Err(error) => break error,
        }
    };
    assert_eq!(refused.code(), "disk_full", "{refused}");
    assert!(refused.to_string().contains("full"), "{refused}");
    for n in 0..20 {
        let text = format!("of the friend {n} {}", "y".repeat(20_000));
        friend.brain().remember(NewMemory::note(&text)).await.unwrap();
        assert!(node.brain().remember(NewMemory::note("x".repeat(30_000))).await.is_err());
        let held = texts(&node);
        assert!(acknowledged.iter().all(|text| held.contains(text)), "reading goes on");
    }
    let warnings = node.status().await.warnings;
    assert!(warnings.iter().any(|warning| warning.code == "disk_full"), "{warnings:?}");
    // a crash would find the same
    let found = texts(&start(&disk.restarted()).await);
    assert!(acknowledged.iter().all(|text| found.contains(text)), "what was acknowledged is kept");

    disk.0.lock().unwrap().fault = Fault::None;
    let warned = async || node.status().await.warnings.iter().any(|warning| warning.code == "disk_full");
    eventually("it says that there is room again", async || !warned().await).await;
    node.brain().remember(NewMemory::note("there is room again")).await.expect("the first write of many is taken");
    world::are_well(&node, &friend, "afterwards").await;
    let (mine, theirs) = (texts(&node), texts(&friend));
    assert!(acknowledged.iter().all(|text| mine.contains(text) && theirs.contains(text)));
    assert_eq!(mine.iter().filter(|text| text.starts_with("of the friend")).count(), 20);
    assert!(!warned().await);
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
        let options = "remount,size=256m";
        assert!(Command::new("mount").args(["-o", options]).arg(&self.0).status().unwrap().success());
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

/// Writes memories over HTTP until one is refused. Returns the ids of the others, and the refusal.
fn fill(node: &support::Node) -> (Vec<String>, support::Answer) {
    let mut acknowledged = Vec::new();
    for n in 0..20_000 {
        let body = json!({ "text": format!("memory {n} {}", "x".repeat(24_000)) }).to_string();
        let answer = node.http("POST", "/v1/memories", &body);
        if answer.status != 201 {
            return (acknowledged, answer);
        }
        acknowledged.push(answer.json()["id"].as_str().unwrap().to_owned());
    }
    panic!("the disk does not fill up");
}

fn all_are_read(node: &support::Node, ids: &[String]) {
    for id in ids {
        assert_eq!(node.http("GET", &format!("/v1/memories/{id}"), "").status, 200, "{id}");
    }
}

fn writes_again(node: &support::Node) {
    let body = r#"{"text":"there is room again"}"#;
    support::until("a write", || (node.http("POST", "/v1/memories", body).status == 201).then_some(()));
}

/// promise: Bad input | A full disk: nothing acknowledged is lost, reads go on, and writes once there is room
#[test]
fn a_process_refuses_memories_at_its_reserve_reads_on_and_goes_on_by_itself() {
    let home = Home::new();
    let Some(mounted) = Mounted::new(home.path(), "size=84m,mode=700") else {
        eprintln!("skipped: no file system can be mounted here");
        return;
    };
    let node = home.up();
    let (acknowledged, refused) = fill(&node);
    assert!(!acknowledged.is_empty());
    assert_eq!((refused.status, refused.problem().as_str()), (507, "disk_full"), "{}", refused.json());
    all_are_read(&node, &acknowledged);
    let (exit, error) = home.error(&["remember", "by the command line"]);
    assert_eq!((exit, error["code"].as_str()), (1, Some("disk_full")), "{error}");
    assert_eq!(home.json(&["recall", "memory"]).as_array().map(Vec::is_empty), Some(false));
    let status = home.json(&["status"]);
    assert!(status["warnings"].to_string().contains("disk_full"), "{status}");
    assert_eq!(node.http("GET", "/readyz", "").status, 200, "it reads");
    mounted.enlarge();
    writes_again(&node);
    all_are_read(&node, &acknowledged);
}

/// promise: Bad input | A full disk: nothing acknowledged is lost, reads go on, and writes once there is room
/// promise: Bad input | A store opens and is read on a disk without room
#[test]
fn a_process_on_a_disk_without_any_room_reads_on_also_after_a_kill_and_a_start() {
    let home = Home::new().with("NEXUS_DISK_RESERVE_BYTES", "0");
    let Some(mounted) = Mounted::new(home.path(), "size=12m,mode=700") else {
        eprintln!("skipped: no file system can be mounted here");
        return;
    };
    let node = home.up();
    let (mut acknowledged, refused) = fill(&node);
    assert!(!acknowledged.is_empty());
    assert_eq!((refused.status, refused.problem().as_str()), (507, "disk_full"), "{}", refused.json());
    all_are_read(&node, &acknowledged);
    node.kill_9();
    let _ = std::fs::write(home.path().join("somebody else's"), vec![7; 64 << 20]);
    let node = home.up();
    all_are_read(&node, &acknowledged);
    // free pages within the file may take a few more
    let (more, refused) = fill(&node);
    acknowledged.extend(more);
    assert_eq!(refused.status, 507);
    all_are_read(&node, &acknowledged);
    mounted.enlarge();
    writes_again(&node);
    node.kill_9();
    all_are_read(&home.up(), &acknowledged);
}
