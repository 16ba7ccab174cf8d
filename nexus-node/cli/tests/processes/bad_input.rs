//! Mistakes of people and machines get a clear error with its exit code and a hint, and change nothing.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test of the real world, which is to end where it cannot go on"
)]

use std::path::Path;

use crate::support::{self, Home, files};
use nexus_identity::Ticket;
use nexus_node::internals::store::{Batch, FORMAT_KEY, Store, StoreOptions, Table};
use serde_json::{Value, json};

/// A node, and a ticket for its mesh.
fn inviter(arguments: &[&str]) -> (Home, support::Node, String) {
    let home = Home::new();
    let node = home.up_with(&["--name", "laptop"]);
    let ticket = home.json(&[&["invite"], arguments].concat())["ticket"].as_str().unwrap().to_owned();
    (home, node, ticket)
}

#[track_caller]
fn refused(home: &Home, arguments: &[&str], code: i32, name: &str) -> Value {
    let (ended, error) = home.error(arguments);
    assert_eq!((ended, &error["code"]), (code, &json!(name)), "{arguments:?}: {error}\n{}", home.log());
    error
}

#[test]
fn a_mistyped_ticket_is_refused_undialled_and_leaves_nothing_behind() {
    let (_laptop, _node, ticket) = inviter(&[]);
    let cloud = Home::new();
    let swapped = ticket.replacen(&ticket[20..21], if &ticket[20..21] == "a" { "b" } else { "a" }, 1);
    for text in ["", "hello", "nexus1", &ticket[..ticket.len() - 1], &swapped, "did:key:z6Mk"] {
        refused(&cloud, &["join", text], 2, "not_a_ticket");
    }
    assert!(!cloud.path().exists());
}

/// promise: Bad input | A wrong or expired ticket, through the commands
#[test]
fn a_wrong_ticket_is_refused_by_the_inviter_and_leaves_nothing_behind() {
    let (_laptop, _node, ticket) = inviter(&[]);
    let cloud = Home::new();
    let mut wrong: Ticket = ticket.parse().unwrap();
    wrong.secret[0] ^= 1;
    refused(&cloud, &["join", &wrong.to_string()], 4, "refused");
    let mut unknown: Ticket = ticket.parse().unwrap();
    unknown.id[0] ^= 1;
    refused(&cloud, &["join", &unknown.to_string()], 4, "refused");
    assert!(!cloud.path().exists());
    cloud.json(&["join", &ticket]);
}

/// promise: Bad input | A wrong or expired ticket, through the commands
#[test]
fn an_expired_ticket_is_refused() {
    let (_laptop, _node, ticket) = inviter(&["--ttl", "1ms"]);
    let cloud = Home::new();
    let error = refused(&cloud, &["join", &ticket], 4, "refused");
    assert!(error["message"].as_str().unwrap().contains("expired"), "{error}");
    assert!(!cloud.path().exists());
}

/// promise: Bad input | A wrong or expired ticket, through the commands
#[test]
fn a_used_ticket_is_refused() {
    let (_laptop, _node, ticket) = inviter(&[]);
    let (first, second) = (Home::new(), Home::new());
    first.json(&["join", &ticket]);
    let error = refused(&second, &["join", &ticket], 4, "refused");
    assert!(error["message"].as_str().unwrap().contains("used"), "{error}");
    assert!(!second.path().exists());
}

/// promise: Bad input | A wrong or expired ticket, through the commands
#[test]
fn a_running_node_whose_join_is_refused_goes_on_as_it_was() {
    let (_laptop, _node, ticket) = inviter(&["--ttl", "1ms"]);
    let cloud = Home::new();
    let _second = cloud.up();
    let written = cloud.json(&["remember", "x"]);
    let before = cloud.json(&["status"])["mesh_did"].clone();
    refused(&cloud, &["join", &ticket], 4, "refused");
    assert_eq!(cloud.json(&["status"])["mesh_did"], before);
    assert_eq!(cloud.json(&["get", written["id"].as_str().unwrap()])["text"], "x");
}

/// promise: Bad input | A wrong or expired ticket, through the commands
#[test]
fn a_ticket_that_names_another_mesh_is_not_believed() {
    let (_laptop, _node, ticket) = inviter(&[]);
    let cloud = Home::new();
    let mut foreign: Ticket = ticket.parse().unwrap();
    foreign.mesh = nexus_identity::Keypair::generate().did();
    refused(&cloud, &["join", &foreign.to_string()], 4, "refused");
    assert!(!cloud.path().exists());
}

/// promise: Bad input | A wrong or expired ticket, through the commands
#[test]
fn an_inviter_that_is_gone_times_out() {
    let (_laptop, node, ticket) = inviter(&[]);
    node.kill_9();
    let cloud = Home::new();
    let (code, error) = cloud.error(&["join", &ticket, "--timeout", "2s"]);
    assert_eq!(code, 8, "{error}");
    assert!(!cloud.path().exists());
}

#[test]
fn only_an_admin_invites() {
    let (_laptop, _node, ticket) = inviter(&["--role", "reader"]);
    let cloud = Home::new();
    cloud.json(&["join", &ticket]);
    let _second = cloud.up();
    refused(&cloud, &["invite"], 4, "refused");
    refused(&cloud, &["remember", "x"], 4, "refused");
}

#[test]
fn a_port_that_was_asked_for_and_is_taken_fails_and_names_the_holder() {
    let home = Home::new();
    let holder = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = holder.local_addr().unwrap().to_string();
    let error = refused(&home, &["up", "--no-mdns", "--api-addr", &address], 7, "in_use");
    if cfg!(target_os = "linux") {
        assert!(error["message"].as_str().unwrap().contains(&std::process::id().to_string()), "{error}");
    }
    let listen = format!("/ip4/127.0.0.1/tcp/{}", holder.local_addr().unwrap().port());
    refused(&home, &["up", "--no-mdns", "--api-addr", "127.0.0.1:0", "--listen", &listen], 7, "conflict");
}

#[test]
fn a_directory_in_use_is_refused_with_the_process_that_uses_it() {
    let home = Home::new();
    let node = home.up();
    let error = refused(&home, &["up", "--no-mdns"], 7, "in_use");
    assert!(error["message"].as_str().unwrap().contains(&node.pid().to_string()), "{error}");
    assert!(error["hint"].is_string());
    assert_eq!(home.json(&["status"])["did"], node.ready["did"], "the first one goes on");
}

/// The start is refused, names the file, and changes nothing.
#[track_caller]
fn refuses_to_start(home: &Home, file: &str, code: i32) {
    let before = files(&home.path());
    let (ended, error) = home.error(&["up", "--no-mdns", "--api-addr", "127.0.0.1:0"]);
    assert_eq!(ended, code, "{error}");
    assert!(error["message"].as_str().unwrap().contains(file), "names {file}: {error}");
    assert!(error["hint"].is_string(), "{error}");
    assert!(files(&home.path()) == before, "something in the directory has changed");
}

fn overwrite(path: &Path, from: usize) {
    let mut bytes = std::fs::read(path).unwrap();
    for byte in bytes.iter_mut().skip(from) {
        *byte ^= 0x5a;
    }
    std::fs::write(path, bytes).unwrap();
}

/// A directory whose node has run and stopped.
fn used() -> Home {
    let home = Home::new();
    let node = home.up();
    home.json(&["remember", "x"]);
    assert_eq!(node.terminate().0, Some(0));
    home
}

#[test]
fn a_damaged_directory_is_refused_unchanged() {
    let home = used();
    overwrite(&home.path().join("brain.redb"), 4096);
    refuses_to_start(&home, "brain.redb", 1);
    let home = used();
    std::fs::write(home.path().join("brain.redb"), b"something else entirely").unwrap();
    refuses_to_start(&home, "brain.redb", 1);
    let home = used();
    overwrite(&home.path().join("identity.key"), 20);
    refuses_to_start(&home, "identity.key", 1);
    let home = used();
    std::fs::remove_file(home.path().join("identity.key")).unwrap();
    refuses_to_start(&home, "identity.key", 1);
}

#[test]
fn a_directory_of_a_newer_version_is_refused_unchanged() {
    let home = used();
    let store = Store::open(home.path().join("brain.redb"), StoreOptions::default()).unwrap();
    let mut batch = Batch::new();
    batch.put(Table::Meta, FORMAT_KEY, &99_u32.to_le_bytes());
    store.commit(&[batch]).unwrap();
    drop(store);
    refuses_to_start(&home, "brain.redb", 1);
}

/// promise: Bad input | A data directory that is unreadable
#[test]
fn an_unreadable_directory_is_refused_unchanged() {
    let home = used();
    let key = home.path().join("identity.key");
    std::fs::remove_file(&key).unwrap();
    std::fs::create_dir(&key).unwrap();
    refuses_to_start(&home, "identity.key", 1);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let home = used();
        let store = home.path().join("brain.redb");
        std::fs::set_permissions(&store, std::fs::Permissions::from_mode(0o000)).unwrap();
        // The superuser reads everything.
        if std::fs::read(&store).is_err() {
            refuses_to_start(&home, "brain.redb", 1);
        }
    }
}

#[test]
fn a_directory_of_something_else_is_left_alone() {
    let home = Home::new();
    std::fs::create_dir(home.path()).unwrap();
    std::fs::write(home.path().join("thesis.tex"), b"years of work").unwrap();
    for command in [&["init"][..], &["up"]] {
        let error = refused(&home, command, 7, "conflict");
        assert!(error["message"].as_str().unwrap().contains("thesis.tex"), "{error}");
    }
    assert_eq!(files(&home.path()).len(), 1);
    let file = home.beside("file");
    std::fs::write(&file, b"").unwrap();
    refused(&home, &["init", "--data-dir", file.to_str().unwrap()], 7, "conflict");
}

#[test]
fn mistakes_in_the_configuration_are_told_with_their_place() {
    let home = Home::new();
    home.json(&["init"]);
    std::fs::write(home.path().join("config.toml"), "heartbeat_msec = 5\n").unwrap();
    let error = refused(&home, &["up"], 2, "invalid");
    assert!(error["message"].as_str().unwrap().contains("heartbeat_ms"), "what was meant: {error}");
    std::fs::write(home.path().join("config.toml"), "heartbeat_ms = [\n").unwrap();
    refused(&home, &["up"], 2, "invalid");
    std::fs::remove_file(home.path().join("config.toml")).unwrap();
    for flags in
        [&["--api-addr", "here"][..], &["--listen", "4002"], &["--bootstrap", "/ip4/1.2.3.4"], &["--label", "x"]]
    {
        refused(&home, &[&["up"], flags].concat(), 2, "invalid");
    }
    let ran = home.command(&["up", "--json"]).env("NEXUS_MDNS", "maybe").output().unwrap();
    assert_eq!(ran.status.code(), Some(2));
}

#[test]
fn a_bootstrap_address_of_another_mesh_never_stops_the_node() {
    let (other, ours) = (Home::new(), Home::new());
    let stranger = other.up();
    let address = stranger.ready["listen"][0].as_str().unwrap().to_owned();
    let _node = ours.up_with(&["--bootstrap", &address, "--bootstrap", "/ip4/127.0.0.1/tcp/1"]);
    support::until("the log says so", || ours.log().contains("another mesh").then_some(()));
    assert_eq!(ours.json(&["members"]).as_array().unwrap().len(), 1);
    assert_eq!(ours.json(&["peers"]), json!([]));
    assert_eq!(other.json(&["peers"]), json!([]));
}

#[test]
fn what_does_not_fit_is_refused() {
    let home = Home::new();
    let _node = home.up();
    for (arguments, code) in [
        (&["remember", "x", "--tag", ""][..], "invalid"),
        (&["remember", "x", "--kind", "a\nb"], "invalid"),
        (&["remember", "x", "--space", "nowhere"], "not_found"),
        (&["remember", "x", "--meta", "novalue"], "usage"),
        (&["invite", "--uses", "0"], "usage"),
        (&["watch", "--from", "nonsense"], "invalid"),
        (&["space", "create", ""], "invalid"),
        (&["space", "create", "default"], "conflict"),
    ] {
        let (_, error) = home.error(arguments);
        assert_eq!(error["code"], code, "{arguments:?}: {error}");
    }
    let ran = home.run_with(&["remember", "-", "--json"], b"\xff\xfe");
    assert_eq!((ran.code, &ran.error()["code"]), (2, &json!("invalid")));
    assert_eq!(home.json(&["list"])["items"], json!([]), "nothing was written");
}
