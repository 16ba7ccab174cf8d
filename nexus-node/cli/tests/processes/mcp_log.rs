//! The log of a node that an agent started: for its owner alone, and bounded.

#![cfg(unix)]
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test of the real world, which is to end where it cannot go on"
)]

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::support::{Home, until};
use serde_json::{Value, json};

/// The bound that docs/cli.md names.
const BYTES_MAX: u64 = 8 << 20;

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

fn length(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |known| known.len())
}

/// promise: Agents | The log of a node that an agent started is bounded, and for its owner alone
#[test]
fn the_log_of_an_agents_node_is_bounded_while_it_runs_and_for_its_owner_alone() {
    let home = Home::new()
        .with("NEXUS_API_ADDR", "127.0.0.1:0")
        .with("NEXUS_MDNS", "false")
        .with("NEXUS_LISTEN", "/ip4/127.0.0.1/tcp/0")
        .with("RUST_LOG", "trace");
    home.json(&["init"]);
    let (log, old) = (home.path().join("mcp-node.log"), home.path().join("mcp-node.log.1"));
    for path in [&log, &old] {
        fs::write(path, "of an earlier version\n").unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o644)).unwrap();
    }
    let row = |name: &str| {
        let checks: Value = serde_json::from_str(&home.run(&["doctor", "--json"]).stdout).unwrap();
        checks.as_array().unwrap().iter().find(|check| check["check"] == name).unwrap().clone()
    };
    let detail = row("permissions")["detail"].as_str().unwrap().to_owned();
    assert!(detail.contains("mcp-node.log,") && detail.contains("mcp-node.log.1"), "{detail}");

    let message = json!({ "jsonrpc": "2.0", "id": 1, "method": "ping" });
    let initialize = json!({
        "jsonrpc": "2.0", "id": 0, "method": "initialize",
        "params": { "protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": { "name": "t", "version": "1" } },
    });
    home.run_with(&["mcp"], format!("{initialize}\n{message}\n").as_bytes()).ok();
    assert_eq!(home.json(&["status"])["started_by"], "mcp");
    assert_eq!([mode(&log), mode(&old)], [0o600, 0o600]);
    assert_eq!(row("permissions")["ok"], true);

    // the node writes on at its bound, again and again
    for round in 0..3 {
        let filler = format!("round {round}\n");
        let room = BYTES_MAX - (16 << 10) - length(&log);
        let lines = filler.repeat(usize::try_from(room).unwrap() / filler.len());
        fs::File::options().append(true).open(&log).unwrap().write_all(lines.as_bytes()).unwrap();
        until("the log begins anew", || {
            home.json(&["status"]);
            assert!(length(&log) <= BYTES_MAX && length(&old) <= BYTES_MAX);
            (length(&log) < BYTES_MAX / 2).then_some(())
        });
        assert!(fs::read_to_string(&old).unwrap().contains(&filler), "the old one is kept");
        assert_eq!([mode(&log), mode(&old)], [0o600, 0o600]);
    }
    let names: Vec<String> = fs::read_dir(home.path())
        .unwrap()
        .map(|file| file.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.starts_with("mcp-node"))
        .collect();
    assert_eq!(names.len(), 2, "{names:?}");
    home.json(&["stop"]);
}
