//! The demo as a test: every step holds, and nothing is left behind.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test of the real world, which is to end where it cannot go on"
)]

mod support;

use serde_json::Value;
use support::Home;

#[test]
fn every_step_of_the_demo_holds() {
    let home = Home::new();
    let temp = home.beside("tmp");
    std::fs::create_dir(&temp).unwrap();
    let output = home.command(&["demo", "--exit", "--json", "--nodes", "4"]).env("TMPDIR", &temp).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let steps: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let log = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}{log}");
    let names: Vec<&str> = steps.iter().map(|step| step["step"].as_str().unwrap()).collect();
    assert_eq!(names, ["start", "join", "share", "cut", "apart", "heal", "settle", "kill", "stranger"]);
    for step in &steps {
        assert!(step["ok"] == true && step["ms"].is_u64() && !step["detail"].as_str().unwrap().is_empty(), "{step}");
    }
    assert_eq!(std::fs::read_dir(&temp).unwrap().count(), 0, "the directory is gone");
}

#[test]
fn a_chosen_base_port_that_is_taken_fails() {
    let home = Home::new();
    let holder = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = holder.local_addr().unwrap().port().to_string();
    let (code, error) = home.error(&["demo", "--exit", "--base-port", &port]);
    assert_eq!((code, &error["code"]), (7, &Value::from("in_use")), "{error}");
}

#[cfg(unix)]
#[test]
fn the_nodes_end_with_the_demo_however_it_ends() {
    use std::io::{BufRead, BufReader};
    use std::process::{Command, Stdio};

    for signal in ["-TERM", "-INT", "-KILL"] {
        let home = Home::new();
        let temp = home.beside("tmp");
        std::fs::create_dir(&temp).unwrap();
        let mut demo = home
            .command(&["demo", "--json"])
            .env("TMPDIR", &temp)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(demo.stdout.take().unwrap()).lines();
        // The second step has started every node.
        lines.nth(1).unwrap().unwrap();
        let urls: Vec<String> = std::fs::read_dir(std::fs::read_dir(&temp).unwrap().next().unwrap().unwrap().path())
            .unwrap()
            .filter_map(|node| std::fs::read_to_string(node.unwrap().path().join("api-url")).ok())
            .collect();
        assert_eq!(urls.len(), 3);
        assert!(Command::new("kill").args([signal, &demo.id().to_string()]).status().unwrap().success());
        demo.wait().unwrap();
        for url in urls {
            let address = url.trim().trim_start_matches("http://").to_owned();
            support::until("the node is gone", || std::net::TcpStream::connect(&address).is_err().then_some(()));
        }
        if signal != "-KILL" {
            assert_eq!(std::fs::read_dir(&temp).unwrap().count(), 0, "{signal}: the directory is gone");
        }
    }
}
