//! The files of a node that others delete, empty, exchange, move or own.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "tests")]

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::{Home, Node, files, pair, texts, until, until_listed};

/// A way to lose a store.
type Loss = fn(&Path, other: &Path);

/// The ways, and the reason that a start gives.
const LOSSES: [(&str, Loss); 6] = [
    ("it is missing", |store, _| fs::remove_file(store).unwrap()),
    ("it is empty", |store, _| fs::write(store, b"").unwrap()),
    ("it is empty", |store, _| fs::write(store, vec![0; 1 << 20]).unwrap()),
    ("brain.redb", |store, _| {
        let bytes = fs::read(store).unwrap();
        fs::write(store, &bytes[..5_000]).unwrap();
    }),
    ("of another node", |store, other| assert!(fs::copy(other, store).unwrap() > 0)),
    ("it is empty", |store, _| assert!(fs::copy(store.with_file_name("raft.redb"), store).unwrap() > 0)),
];

/// promise: Store and data directory | A lost, emptied or exchanged store makes no member a new mesh
#[test]
fn a_member_without_its_store_stays_a_member_and_comes_back_from_its_peers() {
    let stranger = Home::new();
    stranger.json(&["init"]);
    let other = stranger.path().join("brain.redb");
    let ((laptop, _first), (cloud, second)) = pair();
    laptop.json(&["remember", "of the laptop"]);
    cloud.json(&["remember", "of the cloud"]);
    for home in [&laptop, &cloud] {
        until_listed(home, &["of the cloud", "of the laptop"]);
    }
    let mesh = cloud.json(&["status"])["mesh_did"].clone();
    second.terminate();
    for (why, lose) in LOSSES {
        lose(&cloud.path().join("brain.redb"), &other);
        let before = files(&cloud.path());
        let (code, error) = cloud.error(&["up", "--no-mdns", "--api-addr", "127.0.0.1:0"]);
        assert_eq!((code, error["code"].as_str().unwrap()), (1, "store"), "{why}: {error}");
        assert!(error["message"].as_str().unwrap().contains(why), "{error}");
        assert!(error["hint"].as_str().unwrap().contains("restore --from-peers"), "{error}");
        let checks = cloud.run(&["doctor", "--json"]);
        let checks: Value = serde_json::from_str(checks.stdout.lines().next().unwrap()).unwrap();
        let directory = checks.as_array().unwrap().iter().find(|check| check["check"] == "directory").unwrap().clone();
        assert_eq!(directory["level"], "failed", "{directory}");
        let (code, error) = cloud.error(&["join", "nexus1notaticket"]);
        assert_ne!(code, 0, "{error}");
        assert!(files(&cloud.path()) == before, "{why}: something has changed");
        assert!(!cloud.path().join("root.key").exists());

        let restored = cloud.json(&["restore", "--from-peers", "--yes"]);
        assert_eq!(restored["mesh_did"], mesh, "{restored}");
        let node = cloud.up();
        assert_eq!(cloud.json(&["status"])["mesh_did"], mesh);
        until_listed(&cloud, &["of the cloud", "of the laptop"]);
        node.terminate();
    }
}

/// promise: Store and data directory | A lost, emptied or exchanged store makes no member a new mesh
#[test]
fn a_node_that_was_alone_is_told_of_its_lost_store_and_goes_on_when_its_owner_says_so() {
    for (why, lose) in [LOSSES[0], LOSSES[1]] {
        let home = Home::new();
        let node = home.up();
        home.json(&["remember", "x"]);
        let mesh = home.json(&["status"])["mesh_did"].clone();
        node.kill_9();
        lose(&home.path().join("brain.redb"), Path::new(""));
        // of a killed node; with it, the rows in it would be there again
        let _ = fs::remove_file(home.path().join("brain.redb.wal"));
        let before = files(&home.path());
        let (code, error) = home.error(&["up", "--no-mdns", "--api-addr", "127.0.0.1:0"]);
        assert_eq!((code, error["code"].as_str().unwrap()), (1, "store"), "{why}: {error}");
        assert!(error["hint"].as_str().unwrap().contains("a node that was alone is empty then"), "{error}");
        // an agent that starts the node by itself
        let asked = home.run_with(&["mcp"], b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ping\"}\n");
        assert!(!asked.stdout.contains("\"result\":{}") || asked.code != 0, "{asked:?}");
        // the killed node left its number in the lock
        let noted = |path: &Path| path.ends_with("mcp-node.log") || path.ends_with("lock");
        let kept = |files: Vec<(std::path::PathBuf, Vec<u8>)>| -> Vec<_> {
            files.into_iter().filter(|(path, _)| !noted(path)).collect()
        };
        assert!(kept(files(&home.path())) == kept(before), "{why}: something has changed");
        home.json(&["restore", "--from-peers"]);
        let _node = home.up();
        assert_eq!(home.json(&["status"])["mesh_did"], mesh);
        assert!(home.warnings().contains(&"restored".to_owned()));
        assert_eq!(texts(&home), [""; 0]);
    }
}

/// promise: Store and data directory | A lost, emptied or exchanged store makes no member a new mesh
#[test]
fn a_store_that_was_lost_before_the_first_start_is_missed_as_well() {
    let laptop = Home::new();
    let _first = laptop.up();
    let ticket = laptop.json(&["invite"])["ticket"].as_str().unwrap().to_owned();
    let cloud = Home::new();
    cloud.json(&["join", &ticket]);
    fs::remove_file(cloud.path().join("brain.redb")).unwrap();
    let (code, error) = cloud.error(&["up", "--no-mdns", "--api-addr", "127.0.0.1:0"]);
    assert_eq!((code, error["code"].as_str().unwrap()), (1, "store"), "{error}");
    cloud.json(&["restore", "--from-peers"]);
    let _second = cloud.up();
    assert_eq!(cloud.json(&["status"])["mesh_did"], laptop.json(&["status"])["mesh_did"]);
    until("the two are connected", || (cloud.json(&["status"])["peers"] == 1).then_some(()));
}

/// promise: Bad input | A file that can be made anew and is empty or zeroed counts as missing
#[test]
fn files_that_can_be_made_anew_do_not_stop_a_start() {
    let home = Home::new();
    let node = home.up();
    home.json(&["remember", "x"]);
    let mesh = home.json(&["status"])["mesh_did"].clone();
    node.terminate();
    for bytes in [&b""[..], &[0; 64]] {
        for name in ["api-token", "metrics-token", "api-url", "ports", "membership", "visits", "lock", "embedder-key"] {
            fs::write(home.path().join(name), bytes).unwrap();
        }
        let node = home.up();
        assert_eq!(home.json(&["status"])["mesh_did"], mesh);
        assert_eq!(texts(&home), ["x"]);
        assert!(home.log().contains("the file of a token was empty"), "{}", home.log());
        node.terminate();
    }
}

fn remember(node: &Node, text: &str) -> crate::support::Answer {
    node.http("POST", "/v1/memories", &json!({"text": text}).to_string())
}

/// A way to take a file from under a node.
type Taken = fn(&Path);

/// promise: Store and data directory | Nothing is acknowledged once a file of the node is deleted, moved or exchanged
#[cfg(unix)]
#[test]
fn a_node_whose_files_are_gone_acknowledges_nothing_and_says_so() {
    let cases: [(&str, Taken); 9] = [
        ("brain.redb", |it| fs::remove_file(it.join("brain.redb")).unwrap()),
        ("brain.redb.wal", |it| fs::remove_file(it.join("brain.redb.wal")).unwrap()),
        ("brain.redb", |it| {
            fs::copy(it.join("brain.redb"), it.join("copy")).unwrap();
            fs::rename(it.join("copy"), it.join("brain.redb")).unwrap();
        }),
        ("raft.log", |it| fs::remove_file(it.join("raft.log")).unwrap()),
        ("raft.redb", |it| fs::rename(it.join("raft.redb"), it.join("raft.redb.old")).unwrap()),
        ("identity.key", |it| fs::remove_file(it.join("identity.key")).unwrap()),
        ("search", |it| fs::remove_dir_all(it.join("search")).unwrap()),
        ("blobs", |it| fs::rename(it.join("blobs"), it.join("blobs.old")).unwrap()),
        ("brain.redb", |it| fs::rename(it, it.with_file_name("elsewhere")).unwrap()),
    ];
    for (file, take) in cases {
        let home = Home::new();
        let node = home.up();
        let (address, token) = (node.address(), node.token());
        let bearer = format!("Bearer {token}");
        let ask = |method: &str, path: &str, body: &str| {
            node.raw(method, path, &[("Host", &address), ("Authorization", &bearer)], body.as_bytes())
        };
        // makes the directory of blobs
        assert!(ask("PUT", "/v1/blobs", "one more").status < 300);
        let memory = json!({"text": "kept"}).to_string();
        assert_eq!(ask("POST", "/v1/memories", &memory).status, 201);
        assert_eq!(ask("GET", "/readyz", "").status, 200);
        take(&home.path());
        let since = Instant::now();
        let mut acknowledged = 0;
        let refused = until("a write is refused", || {
            let answer = ask("POST", "/v1/memories", &memory);
            acknowledged += u64::from(answer.status == 201);
            (answer.status != 201).then_some(answer)
        });
        assert!(since.elapsed() < Duration::from_secs(2), "{file}: {:?}", since.elapsed());
        assert!(acknowledged == 0 || !file.starts_with("brain.redb"), "{file}: {acknowledged} were acknowledged");
        assert_eq!((refused.status, refused.problem().as_str()), (503, "file_gone"), "{file}: {refused:?}");
        let detail = refused.json()["detail"].as_str().unwrap().to_owned();
        // where all are gone, the look at the others may come before a write
        let all_gone = !home.path().exists();
        assert!(detail.contains(file) || all_gone && detail.contains("identity.key"), "{file}: {detail}");
        let (_, told) = detail.rsplit_once("in its place: ").unwrap();
        let told: u64 = told.trim_end_matches('.').parse().unwrap();
        assert!(told >= acknowledged, "{acknowledged} were acknowledged: {detail}");
        for (method, path, body) in
            [("PUT", "/v1/kv/target", r#"{"value":"green"}"#), ("PUT", "/v1/blobs", "some bytes")]
        {
            let refused = ask(method, path, body);
            assert_eq!((refused.status, refused.problem().as_str()), (503, "file_gone"), "{file}: {path}: {refused:?}");
        }
        assert_eq!(ask("GET", "/readyz", "").status, 503, "{file}");
        let status = ask("GET", "/v1/status", "").json();
        assert!(status["warnings"].to_string().contains("file_gone"), "{file}: {status}");
        let read = ask("GET", "/v1/memories?limit=10", "");
        assert_eq!((read.status, read.body.contains("kept")), (200, true), "{file}: reading goes on: {read:?}");
    }
}

/// promise: Store and data directory | Nothing is acknowledged once a file of the node is deleted, moved or exchanged
#[cfg(unix)]
#[test]
fn a_quiet_node_says_that_its_directory_is_gone_and_goes_on_once_it_is_back() {
    let home = Home::new();
    let node = home.up();
    let (address, bearer) = (node.address(), format!("Bearer {}", node.token()));
    let ask = |method: &str, path: &str, body: &str| {
        node.raw(method, path, &[("Host", &address), ("Authorization", &bearer)], body.as_bytes())
    };
    assert_eq!(remember(&node, "before").status, 201);
    let away = home.beside("away");
    fs::rename(home.path(), &away).unwrap();
    assert_eq!(ask("GET", "/readyz", "").status, 503);
    fs::rename(&away, home.path()).unwrap();
    until("it is ready again", || (ask("GET", "/readyz", "").status == 200).then_some(()));
    until("it writes again", || (remember(&node, "after").status == 201).then_some(()));
    assert_eq!(texts(&home), ["after", "before"]);
    drop(node);
    let _node = home.up();
    assert_eq!(texts(&home), ["after", "before"]);
}

/// promise: Store and data directory | The directory of another account is refused, and its files are named
#[cfg(unix)]
#[test]
fn the_directory_of_another_account_is_refused_by_what_would_write_there() {
    use std::os::unix::fs::chown;
    let home = Home::new();
    let node = home.up();
    home.json(&["remember", "x"]);
    node.terminate();
    if chown(home.path().join("identity.key"), Some(12_345), None).is_err() {
        eprintln!("skipped: only root gives files away");
        return;
    }
    for (path, _) in files(&home.path()) {
        chown(path, Some(12_345), None).unwrap();
    }
    chown(home.path(), Some(12_345), None).unwrap();
    let before = files(&home.path());
    for command in [
        &["up", "--no-mdns"][..],
        &["mcp"],
        &["mcp", "--no-start"],
        &["init"],
        &["join", "nexus1x"],
        &["restore", "--from-peers"],
        &["model", "list"],
    ] {
        let (code, error) = home.error(command);
        if command[0] == "join" && error["code"] == "not_a_ticket" {
            continue;
        }
        assert_eq!((code, error["code"].as_str().unwrap()), (4, "refused"), "{command:?}: {error}");
        assert!(error["message"].as_str().unwrap().contains("12345"), "{command:?}: {error}");
    }
    assert!(files(&home.path()) == before, "something has changed");
    let checks = home.run(&["doctor"]).stdout;
    assert!(checks.contains("another account"), "{checks}");

    // back to their owner, but for one that sudo has made
    for (path, _) in files(&home.path()) {
        chown(path, Some(0), None).unwrap();
    }
    chown(home.path(), Some(0), None).unwrap();
    let log = home.path().join("brain.redb.wal");
    fs::write(&log, "").unwrap();
    chown(&log, Some(12_345), None).unwrap();
    let checks = home.run(&["doctor"]).stdout;
    assert!(checks.contains("brain.redb.wal") && checks.contains("chown"), "{checks}");
}

/// promise: Store and data directory | An error on opening names the file that failed
#[cfg(unix)]
#[test]
fn the_file_that_cannot_be_opened_is_the_one_that_is_named() {
    let home = Home::new();
    let node = home.up();
    home.json(&["remember", "x"]);
    node.kill_9();
    for name in ["brain.redb.wal", "raft.redb", "raft.log", "brain.redb"] {
        let (path, kept) = (home.path().join(name), home.beside("kept"));
        fs::rename(&path, &kept).unwrap();
        // root reads every file, and no directory as one
        fs::create_dir(&path).unwrap();
        let (code, error) = home.error(&["up", "--no-mdns", "--api-addr", "127.0.0.1:0"]);
        assert_eq!(code, 1, "{error}");
        let message = error["message"].as_str().unwrap();
        assert!(message.contains(&format!("{name}:")) || message.contains(&format!("{name} ")), "{name}: {error}");
        fs::remove_dir(&path).unwrap();
        fs::rename(&kept, &path).unwrap();
    }
    let _node = home.up();
    assert_eq!(texts(&home), ["x"]);
}

/// promise: Nodes | No start waits for an address family that is switched off
#[cfg(target_os = "linux")]
#[test]
fn a_start_without_ipv6_is_as_quick_as_one_with_it() {
    let script = "ip link set lo up 2>/dev/null; echo 1 > /proc/sys/net/ipv6/conf/all/disable_ipv6 && exec \"$@\"";
    let isolated = |home: &Home, arguments: &[&str]| {
        let inner = home.command(arguments);
        let mut command = std::process::Command::new("unshare");
        command.args(["-n", "sh", "-c", script, "sh"]).arg(inner.get_program()).args(inner.get_args());
        command.envs(inner.get_envs().filter_map(|(name, value)| Some((name, value?))));
        command
    };
    let home = Home::new();
    let checked = isolated(&home, &["--version"]).output();
    if !checked.is_ok_and(|output| output.status.success()) {
        eprintln!("skipped: no network of its own can be made here");
        return;
    }
    home.json(&["init"]);
    let mut command =
        isolated(&home, &["up", "--json", "--no-mdns", "--until-stdin-closes", "--api-addr", "127.0.0.1:0"]);
    let begun = Instant::now();
    let mut child = command
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let mut line = String::new();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(child.stdout.take().unwrap()), &mut line).unwrap();
    let took = begun.elapsed();
    drop(child.stdin.take());
    child.wait().unwrap();
    let ready: Value = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line:?}"));
    let listens = ready["listen"].to_string();
    assert!(listens.contains("/ip4/") && !listens.contains("/ip6/"), "{listens}");
    // the wait was 5 s; a slow machine starts in less
    assert!(took < Duration::from_secs(4), "ready after {took:?}");
}

/// promise: Commands and API | A watcher that is ahead of what is there is told that it missed changes
#[test]
fn a_watcher_that_knows_of_more_than_a_restored_node_is_told_so_and_goes_on() {
    let home = Home::new();
    let node = home.up();
    let cursor = |node: &Node| node.http("GET", "/v1/events?wait=0s", "").json()["cursor"].as_str().unwrap().to_owned();
    home.json(&["remember", "before"]);
    home.json(&["kv", "put", "target", "blue"]);
    let early = cursor(&node);
    node.terminate();
    let (data, copy) = (home.path(), home.beside("copy"));
    let copied = |from: &Path, to: &Path| {
        for (path, bytes) in files(from) {
            let path = to.join(path.strip_prefix(from).unwrap());
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, bytes).unwrap();
        }
    };
    copied(&data, &copy);
    let node = home.up();
    for n in 0..3 {
        home.json(&["remember", &format!("lost {n}")]);
        home.json(&["kv", "put", "target", &n.to_string()]);
    }
    let ahead = cursor(&node);
    let revision = home.json(&["kv", "get", "target"])["revision"].as_u64().unwrap();
    node.terminate();
    fs::remove_dir_all(&data).unwrap();
    copied(&copy, &data);
    let node = home.up();
    for cursor in [&early, &ahead] {
        let told = node.http("GET", &format!("/v1/events?wait=0s&from={cursor}"), "").json();
        assert_eq!(told["changes"][0]["kind"], "missed", "{cursor}: {told}");
        let next = told["changes"].as_array().unwrap().last().unwrap()["cursor"].as_str().unwrap().to_owned();
        home.json(&["remember", "after"]);
        let told = node.http("GET", &format!("/v1/events?wait=10s&from={next}"), "").json();
        assert_eq!(told["changes"][0]["kind"], "remembered", "{told}");
    }
    // a number that this store has not reached, in a cursor as they were before they had a version
    let now = cursor(&node).strip_prefix("n1").unwrap().to_ascii_uppercase();
    let name = data_encoding::HEXLOWER.encode(&data_encoding::BASE32_NOPAD.decode(now.as_bytes()).unwrap()[..8]);
    let told = node.http("GET", &format!("/v1/events?wait=0s&from={name}-1000000-0"), "").json();
    assert_eq!(told["changes"][0]["kind"], "missed", "{told}");
    assert_eq!(node.http("GET", "/v1/events?wait=0s&from=0011223344556677-1-0", "").problem(), "invalid");

    home.json(&["coordinator", "recover", "--i-understand"]);
    until("the coordinators write", || (home.run(&["kv", "put", "target", "green"]).code == 0).then_some(()));
    let told = node.http("GET", &format!("/v1/watch?prefix=&after={}&wait=10s", revision + 100), "").json();
    assert_eq!(told["missed"], true, "{told}");
    let revision = told["revision"].as_u64().unwrap();
    home.json(&["kv", "put", "target", "red"]);
    let told = node.http("GET", &format!("/v1/watch?prefix=&after={revision}&wait=10s"), "").json();
    assert_eq!(
        (told["missed"].as_bool(), told["changes"].as_array().unwrap().is_empty()),
        (Some(false), false),
        "{told}"
    );
}
