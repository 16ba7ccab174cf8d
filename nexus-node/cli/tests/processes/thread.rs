//! The main thread: two real processes over QUIC, one memory, one hard kill.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test of the real world, which is to end where it cannot go on"
)]

use crate::support::{Home, pair, until};

/// promise: The thread | Two processes join over QUIC, share a memory, and one survives `kill -9`
#[test]
fn two_processes_share_a_memory_and_one_survives_kill_9() {
    let (laptop, cloud) = (Home::new(), Home::new());
    let quic = ["--listen", "/ip4/127.0.0.1/udp/0/quic-v1"];
    let _first = laptop.up_with(&[&["--name", "laptop"][..], &quic].concat());
    let ticket = laptop.json(&["invite"])["ticket"].as_str().unwrap().to_owned();
    cloud.json(&["join", &ticket, "--name", "cloud"]);
    let second = cloud.up_with(&quic);
    let written = laptop.json(&["remember", "survives"]);
    let id = written["id"].as_str().unwrap();
    until("cloud reads it", || (cloud.run(&["get", id]).code == 0).then_some(()));
    second.kill_9();
    let own = laptop.json(&["remember", "meanwhile"]);
    let _second = cloud.up_with(&quic);
    let texts: Vec<String> = cloud.json(&["list"])["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|memory| memory["text"].as_str().unwrap().to_owned())
        .collect();
    assert!(texts.contains(&"survives".to_owned()), "{texts:?}");
    let meanwhile = own["id"].as_str().unwrap();
    until("cloud catches up", || (cloud.run(&["get", meanwhile]).code == 0).then_some(()));
}

/// promise: Nodes | `durability.replicated` counts the members that have it on disk
#[test]
fn an_acknowledgement_says_how_many_others_have_it() {
    let ((laptop, _first), (_cloud, _second)) = pair();
    until("a write is replicated at its acknowledgement or soon after", || {
        laptop.json(&["remember", "x", "--id", "k"])["durability"]["replicated"].as_u64().filter(|&others| others == 1)
    });
}

/// promise: The thread | Writes acknowledged under load are there after `kill -9`
#[test]
fn what_was_acknowledged_under_load_is_there_after_kill_9() {
    let home = Home::new();
    for round in 0..3 {
        let node = home.up();
        let (address, token) = (node.address(), node.token());
        let writers: Vec<_> = (0..4)
            .map(|writer| {
                let (address, token) = (address.clone(), token.clone());
                std::thread::spawn(move || acknowledged(&address, &token, &format!("{round}-{writer}")))
            })
            .collect();
        until("some were acknowledged", || {
            (home.json(&["list", "--limit", "1000"])["items"].as_array().unwrap().len() > 50 * (round + 1))
                .then_some(())
        });
        node.kill_9();
        let ids: Vec<String> = writers.into_iter().flat_map(|writer| writer.join().unwrap()).collect();
        assert!(!ids.is_empty());
        let node = home.up();
        for id in ids {
            assert_eq!(node.http("GET", &format!("/v1/memories/{id}"), "").status, 200, "{id} was acknowledged");
        }
    }
}

/// Writes until the node is gone. Returns the acknowledged ids.
fn acknowledged(address: &str, token: &str, name: &str) -> Vec<String> {
    use std::io::{Read, Write};
    let mut ids = Vec::new();
    for n in 0.. {
        let body = format!("{{\"text\":\"{name}-{n}\"}}");
        let length = body.len();
        let request = format!(
            "POST /v1/memories HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {token}\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}"
        );
        let answer = std::net::TcpStream::connect(address).and_then(|mut stream| {
            stream.write_all(request.as_bytes())?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer)?;
            Ok(answer)
        });
        let Ok(answer) = answer else { break };
        let Some((_, body)) = answer.split_once("\r\n\r\n") else { break };
        let Ok(document) = serde_json::from_str::<serde_json::Value>(body) else { break };
        ids.extend(document["id"].as_str().map(str::to_owned));
    }
    ids
}
