//! Hard kills at random moments, over a mesh of three under load: nothing acknowledged is missing
//! anywhere, and no restart needs a hand.
//!
//! `NEXUS_TEST_KILLS=100` is what a release must pass; the default keeps the test short.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test of the real world, which is to end where it cannot go on"
)]

mod support;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use support::{Home, Node, until};

const KILLS: usize = 9;

/// Writes to one node until told to stop, whether it is there or not; keeps what was acknowledged.
fn write(address: &str, token: &str, stop: &AtomicBool, acknowledged: &Mutex<Vec<String>>) {
    while !stop.load(Ordering::Relaxed) {
        match remember(address, token) {
            Some(id) => acknowledged.lock().unwrap().push(id),
            None => std::thread::sleep(Duration::from_millis(5)),
        }
    }
}

fn remember(address: &str, token: &str) -> Option<String> {
    let body = "{\"text\":\"written under load, and long enough to be a memory of the usual size\"}";
    let mut stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(10))).ok()?;
    let request = format!(
        "POST /v1/memories HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {token}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let document: serde_json::Value = serde_json::from_str(body).ok()?;
    head.contains(" 201 ").then(|| document["id"].as_str().map(str::to_owned))?
}

/// Small numbers that differ from run to run; printed, so that a failure can be told.
fn random(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state
}

#[test]
fn nothing_acknowledged_is_lost_in_hard_kills_over_all_nodes() {
    let kills = std::env::var("NEXUS_TEST_KILLS").ok().and_then(|kills| kills.parse().ok()).unwrap_or(KILLS);
    let mut state = u64::from(std::process::id()) << 20 | 1;
    println!("seed {state}");
    let homes: Vec<Home> = (0..3).map(|_| Home::new()).collect();
    let mut nodes: Vec<Option<Node>> = vec![Some(homes[0].up_with(&["--name", "node-0"]))];
    let ticket = homes[0].json(&["invite", "--uses", "2"])["ticket"].as_str().unwrap().to_owned();
    for (index, home) in homes.iter().enumerate().skip(1) {
        home.json(&["join", &ticket, "--name", &format!("node-{index}")]);
        nodes.push(Some(home.up()));
    }
    let (stop, acknowledged) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Vec::new())));
    let writers: Vec<_> = nodes
        .iter()
        .flatten()
        .map(|node| {
            let (address, token) = (node.address(), node.token());
            let (stop, acknowledged) = (stop.clone(), acknowledged.clone());
            std::thread::spawn(move || write(&address, &token, &stop, &acknowledged))
        })
        .collect();
    for kill in 0..kills {
        let written = acknowledged.lock().unwrap().len();
        until("somebody writes", || (acknowledged.lock().unwrap().len() > written).then_some(()));
        std::thread::sleep(Duration::from_millis(random(&mut state) % 300));
        let victim = usize::try_from(random(&mut state) % 3).unwrap();
        nodes[victim].take().unwrap().kill_9();
        nodes[victim] = Some(homes[victim].up());
        println!("kill {kill}: node {victim}, {written} acknowledged before");
    }
    stop.store(true, Ordering::Relaxed);
    for writer in writers {
        writer.join().unwrap();
    }
    let acknowledged = acknowledged.lock().unwrap();
    assert!(acknowledged.len() > kills, "there was load: {}", acknowledged.len());
    for node in nodes.iter().flatten() {
        for id in acknowledged.iter() {
            until(&format!("{id} is on {}", node.address()), || {
                (node.http("GET", &format!("/v1/memories/{id}"), "").status == 200).then_some(())
            });
        }
    }
}
