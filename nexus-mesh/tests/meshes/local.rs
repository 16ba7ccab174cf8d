//! Discovery on the local network.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "tests")]

use std::io::Write;
use std::process::{Command, Output};

use crate::common::*;

/// Set in the process that runs in the test's own network.
const INSIDE: &str = "NEXUS_TEST_NETWORK";

/// A network of one machine that carries multicast: loopback is not searched, a pair of linked
/// interfaces is.
const NETWORK: &str = "ip link set lo up \
    && ip link add nexus0 type veth peer name nexus1 \
    && ip address add 10.77.0.1/24 dev nexus0 \
    && ip link set nexus0 up && ip link set nexus1 up";

/// Runs a command in a network namespace of its own, which ends with it.
fn in_own_network(command: &str) -> std::io::Result<Output> {
    let script = format!("{NETWORK} && {command}");
    let program = std::env::current_exe()?;
    Command::new("unshare")
        .args(["--user", "--map-root-user", "--net", "sh", "-c", &script, "sh"])
        .arg(program)
        .env(INSIDE, "1")
        .output()
}

/// promise: Meeting | Nodes on one network find each other by mDNS
#[test]
fn nodes_on_one_network_find_each_other() {
    if std::env::var_os(INSIDE).is_some() {
        return tokio::runtime::Runtime::new().unwrap().block_on(find_each_other());
    }
    let refused = match in_own_network("true") {
        Ok(output) if output.status.success() => None,
        Ok(output) => Some(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
        Err(error) => Some(format!("unshare: {error}")),
    };
    if let Some(why) = refused {
        // past the capture of what tests print
        return writeln!(std::io::stderr(), "skipped: no network of its own for this test here ({why})").unwrap();
    }
    let output = in_own_network("exec \"$1\" --exact local::nodes_on_one_network_find_each_other --nocapture").unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

async fn find_each_other() {
    log();
    let world = World::new(200);
    let node = |n| {
        let mut config = world.config(n);
        config.mdns = true;
        Node::start(config, "/ip4/0.0.0.0/tcp/0")
    };
    let (mut a, mut b) = (node(1), node(2));
    meet(&mut a, &mut b).await;
}
