//! A worker, the warden of its command and its node are killed in turn, in the middle of a task. Nothing of the command goes
//! on, and no directory of a task stays.
//!
//! `NEXUS_KILLS=100 cargo test -p nexus-node-cli --test kills sandbox::` is the long form.

use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::support::dice::from_env;
use crate::support::{HOWEVER_BUSY, Home, until};

/// A command that leaves its parent, its group and its session, and takes modes away.
const SCRIPT: &str = "read -r mark; mkdir -p a/b; chmod 000 a/b a; (setsid sleep $mark >/dev/null 2>&1 </dev/null &)
    setsid sh -c \"(sleep $mark &) ; exec sleep $mark\" >/dev/null 2>&1 </dev/null & exec sleep $mark";

fn worker(home: &Home, tmp: &Path) -> Child {
    let options = ["--capability", "job", "--", "sh", "-c", SCRIPT];
    let mut command = home.command(&[&["worker"][..], HOWEVER_BUSY, &options].concat());
    command.env("TMPDIR", tmp).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

/// The number of processes that sleep for so long.
fn sleeping(mark: &str) -> usize {
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    let line = format!("sleep\0{mark}\0");
    processes
        .filter(|entry| std::fs::read(entry.path().join("cmdline")).is_ok_and(|read| read == line.as_bytes()))
        .count()
}

/// The children of a process.
fn children(parent: u32) -> Vec<u32> {
    let threads = std::fs::read_dir(format!("/proc/{parent}/task")).unwrap().flatten();
    let read = threads.map(|thread| std::fs::read_to_string(thread.path().join("children")).unwrap_or_default());
    read.flat_map(|line| line.split_whitespace().map(|pid| pid.parse().unwrap()).collect::<Vec<u32>>()).collect()
}

/// promise: Sandbox | `kill -9` of worker, warden and node in turn: nothing of a command outlives them, and no directory of a task stays
#[test]
fn nothing_of_a_command_outlives_who_ran_it() {
    let kills = from_env("NEXUS_KILLS", 12);
    let home = Home::new();
    let tmp = home.beside("tmp");
    std::fs::create_dir(&tmp).unwrap();
    let mut node = home.up();
    let listen = node.listens();
    let mut serving = worker(&home, &tmp);
    for kill in 0..kills {
        let mark = format!("{}.{kill:03}1", 70_000 + std::process::id() % 9_000);
        let task = format!("{{\"capability\":\"job\",\"input\":{mark},\"attempts\":1}}");
        let id = node.http("POST", "/v1/tasks", &task).json()["id"].as_str().unwrap().to_owned();
        until("the command has begun", || (sleeping(&mark) == 4).then_some(()));
        match kill % 3 {
            0 => {
                serving.kill().unwrap();
                serving.wait().unwrap();
            }
            1 => {
                let wardens = children(serving.id());
                assert_eq!(wardens.len(), 1);
                assert!(Command::new("kill").args(["-KILL", &wardens[0].to_string()]).status().unwrap().success());
            }
            _ => {
                node.kill_9();
                node = home.up_at(&listen);
                // the command goes on, until somebody ends it
                node.http("POST", &format!("/v1/tasks/{id}/cancel"), "{}");
            }
        }
        until(&format!("kill {kill}: all of it has ended"), || (sleeping(&mark) == 0).then_some(()));
        if kill % 3 == 0 {
            node.http("POST", &format!("/v1/tasks/{id}/cancel"), "{}");
            serving = worker(&home, &tmp);
        }
        until(&format!("kill {kill}: its directory is gone"), || {
            let names = std::fs::read_dir(&tmp).unwrap().map(|entry| entry.unwrap().file_name());
            // a worker that begins tries its sandbox in one
            (names.count() == 0).then_some(())
        });
    }
    serving.kill().unwrap();
    serving.wait().unwrap();
    eprintln!("{kills} kills");
}
