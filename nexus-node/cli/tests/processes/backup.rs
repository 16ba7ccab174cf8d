//! `backup` of a node that runs, and `restore` into an empty directory.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "tests")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::support::{Home, Node, files, pair, texts, until};
use serde_json::Value;

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// The stream of a node's backup.
fn stream(home: &Home, more: &[&str]) -> Vec<u8> {
    let output = home.command(&[&["backup", "-"], more].concat()).stderr(Stdio::inherit()).output().unwrap();
    assert!(output.status.success());
    output.stdout
}

/// A node with memories, a key and a lock.
fn with_content() -> (Home, Node) {
    let home = Home::new();
    let node = home.up();
    for n in 0..20 {
        home.json(&["remember", &format!("memory {n}"), "--tag", "numbered"]);
    }
    let gone = home.json(&["remember", "not to come back"]);
    home.json(&["forget", gone["id"].as_str().unwrap()]);
    home.json(&["kv", "put", "target", "blue"]);
    home.json(&["lock", "acquire", "deploy", "--ttl", "1h"]);
    home.json(&["config", "set", "log", "debug"]);
    (home, node)
}

/// promise: Commands and API | A backup of a running node becomes that node again, in a new log
#[test]
fn a_backup_has_all_that_the_node_had_and_goes_on_in_a_new_log() {
    let (home, node) = with_content();
    let before = (texts(&home), home.json(&["status"])["did"].clone());
    let (to, new) = (home.beside("backups").join("today"), Home::new());
    let made = home.json(&["backup", text(&to)]);
    assert_eq!((&made["did"], &made["keys"], &made["root_key"]), (&before.1, &true.into(), &true.into()));
    assert!(made["entries"].as_u64().unwrap() > 21 && made["bytes"].as_u64().unwrap() > 1_000, "{made}");
    let others = files(&home.beside("backups")).len();
    // a later memory is not in it
    home.json(&["remember", "too late"]);
    node.kill_9();

    let restored = new.json(&["restore", text(&to)]);
    assert_eq!((&restored["did"], &restored["entries"]), (&before.1, &made["entries"]));
    assert_eq!(files(&home.beside("backups")).len(), others, "the backup is as it was");
    let _node = new.up();
    assert_eq!((texts(&new), new.json(&["status"])["did"].clone()), before);
    assert_eq!(new.json(&["recall", "memory 7"])[0]["text"], "memory 7");
    assert_eq!(
        new.json(&["config", "show"]).as_array().unwrap().iter().find(|row| row["key"] == "log").unwrap()["value"],
        "debug"
    );
    assert!(new.warnings().contains(&"restored".to_owned()), "{}", new.log());
    // alone it was the only voter: a person decides that its copy is the one that counts
    new.json(&["coordinator", "recover", "--i-understand"]);
    assert_eq!(until("keys are back", || new.run(&["kv", "get", "target"]).stdout.contains("blue").then_some(())), ());
    assert_eq!(new.json(&["lock", "list"])[0]["name"], "deploy");
}

/// promise: Commands and API | A backup is consistent although the node writes meanwhile
#[test]
fn writes_go_on_while_a_backup_is_taken_and_none_is_half_in_it() {
    let (home, node) = with_content();
    let home = Arc::new(home);
    let ended = Arc::new(AtomicBool::new(false));
    let writer = std::thread::spawn({
        let (home, ended) = (Arc::clone(&home), Arc::clone(&ended));
        move || {
            let mut written = 0;
            while !ended.load(Ordering::Relaxed) {
                home.json(&["remember", &format!("during {written:04}")]);
                home.json(&["kv", "put", "during", &written.to_string()]);
                written += 1;
            }
            written
        }
    });
    until("the writer writes", || home.run(&["kv", "get", "during"]).stdout.contains('2').then_some(()));
    let bytes = stream(&home, &[]);
    ended.store(true, Ordering::Relaxed);
    let written = writer.join().unwrap();
    node.kill_9();

    let new = Home::new();
    new.run_with(&["restore", "-"], &bytes).ok();
    let _node = new.up();
    let during: Vec<String> = texts(&new).into_iter().filter(|text| text.starts_with("during")).collect();
    let expected: Vec<String> = (0..during.len()).map(|n| format!("during {n:04}")).collect();
    assert!(!during.is_empty() && during.len() <= written, "{during:?} of {written}");
    assert_eq!(during, expected);
    new.json(&["coordinator", "recover", "--i-understand"]);
    let get = || new.run(&["kv", "get", "during", "--json"]);
    let value = until("keys are back", || (get().code == 0).then(|| get().json()["value"].clone()));
    assert!(value.as_str().unwrap().parse::<usize>().unwrap() < written);
}

/// promise: Commands and API | A restored member meets the others as itself, and gets what it missed
#[test]
fn a_restored_member_gets_what_came_after_its_backup_from_the_others() {
    let ((laptop, first), (cloud, _second)) = pair();
    laptop.json(&["remember", "before"]);
    until("both have it", || (texts(&cloud) == ["before"]).then_some(()));
    let to = laptop.beside("backup");
    laptop.json(&["backup", text(&to)]);
    laptop.json(&["remember", "between"]);
    until("both have it", || (texts(&cloud) == ["before", "between"]).then_some(()));
    first.kill_9();

    let new = Home::new();
    new.json(&["restore", text(&to)]);
    let _node = new.up();
    new.json(&["remember", "after"]);
    for home in [&new, &cloud] {
        until("all are there", || (texts(home) == ["after", "before", "between"]).then_some(()));
        let status = home.json(&["status"]);
        assert!(!status["warnings"].to_string().contains("fork"), "{status}");
    }
}

/// promise: Commands and API | A backup without keys has none, and is restored with the key of its node alone
#[test]
fn a_backup_without_keys_asks_for_the_key() {
    let (home, _node) = with_content();
    let bytes = stream(&home, &["--without-keys"]);
    let key = fs::read_to_string(home.path().join("identity.key")).unwrap();
    let secret = key.lines().last().unwrap().trim().as_bytes();
    assert!(!bytes.windows(secret.len()).any(|window| window == secret));
    let token = fs::read(home.path().join("api-token")).unwrap();
    assert!(!stream(&home, &[]).windows(token.len()).any(|window| window == token));

    let new = Home::new();
    let file = new.beside("nexus.backup");
    fs::write(&file, &bytes).unwrap();
    let (code, error) = new.error(&["restore", text(&file)]);
    assert_eq!((code, error["code"].as_str().unwrap()), (2, "invalid"), "{error}");
    assert!(error["hint"].as_str().unwrap().contains("--identity"), "{error}");
    let other = Home::new();
    other.json(&["init"]);
    let (code, error) = new.error(&["restore", text(&file), "--identity", text(&other.path().join("identity.key"))]);
    assert_eq!(code, 2, "{error}");
    new.json(&["restore", text(&file), "--identity", text(&home.path().join("identity.key"))]);
    assert!(!new.path().join("root.key").exists());
}

/// promise: Bad input | A restore onto itself, into a node, from a directory in use; a backup into a directory with files
#[test]
fn what_a_backup_or_a_restore_would_write_over_stays() {
    let (home, node) = with_content();
    let to = home.beside("backup");
    home.json(&["backup", text(&to)]);
    let code = |(code, error): (i32, Value)| (code, error["code"].as_str().unwrap().to_owned());
    let before = files(&to);
    assert_eq!(code(home.error(&["backup", text(&to)])), (7, "conflict".into()));
    assert_eq!(code(home.error(&["restore", text(&to)])), (7, "conflict".into()));
    let new = Home::new();
    assert_eq!(code(new.error(&["restore", text(&home.path())])), (7, "in_use".into()));
    assert_eq!(code(new.error(&["restore", text(&home.beside("nothing"))])), (5, "not_found".into()));
    assert_eq!(code(new.error(&["restore", text(&home.beside("state"))])), (2, "invalid".into()));
    for inside in [to.clone(), to.join("data")] {
        let ran = new.run(&["restore", text(&to), "--data-dir", text(&inside), "--json"]);
        assert_eq!((ran.code, ran.error()["code"].as_str().unwrap()), (7, "conflict"), "{ran:?}");
    }
    assert_eq!(files(&to), before);

    let mut bytes = stream(&home, &[]);
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    let ran = new.run_with(&["restore", "-", "--json"], &bytes);
    assert_eq!(ran.error()["code"], "invalid", "{ran:?}");
    let ran = new.run_with(&["restore", "-", "--json"], &bytes[..middle]);
    assert_eq!(ran.error()["code"], "invalid", "{ran:?}");
    // nothing is left that would keep a node from beginning there
    let made = new.json(&["init"]);
    assert_ne!(made["did"], home.json(&["status"])["did"]);
    drop(node);
    let (code, error) = home.error(&["backup", text(&home.beside("another"))]);
    assert_eq!((code, error["code"].as_str().unwrap()), (3, "no_node"));
}

/// promise: Store and data directory | A backup is for its owner alone
#[cfg(unix)]
#[test]
fn no_other_account_reads_a_backup() {
    use std::os::unix::fs::PermissionsExt;

    let (home, _node) = with_content();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let to = home.beside("backup");
    home.json(&["backup", text(&to)]);
    assert_eq!(mode(&to), 0o700);
    for (file, _) in files(&to) {
        assert_eq!(mode(&file), 0o600, "{}", file.display());
    }
    for (name, arguments) in [("stream", &["backup", "-"][..]), ("keyless", &["backup", "-", "--without-keys"])] {
        let stream = home.beside(name);
        let out = fs::File::create(&stream).unwrap();
        fs::set_permissions(&stream, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(home.command(arguments).stdout(out).status().unwrap().success());
        assert_eq!(mode(&stream), 0o600, "{name}");
    }
}

/// promise: Store and data directory | A backup is not written to a file that others could read
#[cfg(target_os = "linux")]
#[test]
fn a_file_that_stays_open_to_others_gets_no_backup() {
    let (home, _node) = with_content();
    let refused = |file: &Path| {
        let out = fs::File::options().write(true).open(file).unwrap();
        let ran = home.command(&["backup", "-", "--without-keys", "--json"]).stdout(out).output().unwrap();
        assert_eq!(ran.status.code(), Some(4), "{ran:?}");
        let told = String::from_utf8(ran.stderr).unwrap();
        assert!(told.contains("umask 077") && told.contains("nothing was written"), "{told}");
    };
    // a file whose rights nobody changes; the name of this very thread, so a write would show
    let own = Path::new("/proc/thread-self/comm").canonicalize().unwrap();
    let before = fs::read(&own).unwrap();
    refused(&own);
    assert_eq!(fs::read(&own).unwrap(), before);
    // only root gives files away
    let given = home.beside("given");
    fs::write(&given, "").unwrap();
    if std::os::unix::fs::chown(&given, Some(65_534), None).is_ok() {
        refused(&given);
        assert_eq!(fs::read(&given).unwrap(), b"");
    }
}

/// promise: Bad input | A restore of a copied directory whose coordinators' files a start would refuse
#[test]
fn a_copy_whose_node_would_not_start_is_refused() {
    let (home, node) = with_content();
    node.kill_9();
    let journal = home.path().join("raft.log");
    let sound = fs::read(&journal).unwrap();
    for damaged in [None, Some(&b"something else"[..]), Some(&sound[..sound.len() / 2]), Some(&vec![0; sound.len()])] {
        match damaged {
            Some(bytes) => fs::write(&journal, bytes).unwrap(),
            None => fs::remove_file(&journal).unwrap(),
        }
        let new = Home::new();
        let (code, error) = new.error(&["restore", text(&home.path())]);
        assert_eq!((code, error["code"].as_str().unwrap()), (1, "store"), "{error}");
        // nothing is left that would keep a node from beginning there
        new.json(&["init"]);
    }
    fs::write(&journal, sound).unwrap();
    let new = Home::new();
    new.json(&["restore", text(&home.path())]);
    let _node = new.up();
    assert_eq!(texts(&new).len(), 20);
}

/// Changes every copy of some bytes in a file. Returns how many there were.
fn damage(file: &Path, bytes: &[u8]) -> usize {
    let mut image = fs::read(file).unwrap();
    let found: Vec<usize> = (0..image.len() - bytes.len()).filter(|at| image[*at..].starts_with(bytes)).collect();
    found.iter().for_each(|at| image[*at] ^= 0xff);
    fs::write(file, image).unwrap();
    found.len()
}

/// promise: Commands and API | `restore --from-peers` makes a damaged store anew, and loses only what nobody has
#[test]
fn a_damaged_store_is_made_anew_from_what_can_be_read_and_what_the_others_have() {
    let ((laptop, first), (cloud, second)) = pair();
    for n in 0..30 {
        laptop.json(&["remember", &format!("shared {n}")]);
    }
    let gone = laptop.json(&["remember", "forgotten by all"]);
    laptop.json(&["forget", gone["id"].as_str().unwrap()]);
    cloud.json(&["remember", "of the cloud"]);
    until("both have it", || (texts(&cloud).len() == 31 && texts(&laptop).len() == 31).then_some(()));
    second.kill_9();
    laptop.json(&["remember", "of the laptop alone"]);
    let before = laptop.json(&["status"]);
    first.kill_9();
    let store = settled(&laptop);
    assert!(damage(&store, b"of the cloud") > 0);
    let damaged = fs::read(&store).unwrap();

    let (code, error) = laptop.error(&["up"]);
    assert_eq!((code, error["code"].as_str().unwrap()), (1, "store"), "{error}");
    assert!(error["hint"].as_str().unwrap().contains("restore --from-peers"), "{error}");
    let told = laptop.run(&["restore", "--from-peers"]);
    assert_eq!(told.code, 0, "{told:?}");
    for part in ["brain.redb is damaged", "can be read", "1 cannot", "kept beside", "at the next start", "next: "] {
        assert!(told.stderr.contains(part), "{part}: {}", told.stderr);
    }
    assert_eq!(fs::read(laptop.path().join("brain.redb.damaged")).unwrap(), damaged);

    let (_cloud, _laptop) = (cloud.up(), laptop.up());
    assert_eq!(laptop.json(&["status"])["did"], before["did"]);
    let mut all: Vec<String> = (0..30).map(|n| format!("shared {n}")).collect();
    all.extend(["of the laptop alone".to_owned(), "of the cloud".to_owned()]);
    all.sort();
    for home in [&laptop, &cloud] {
        until("all are there", || (texts(home) == all).then_some(()));
        let status = home.json(&["status"]);
        assert!(!status["warnings"].to_string().contains("fork"), "{status}");
    }
    laptop.json(&["remember", "afterwards"]);
    until("it goes on", || texts(&cloud).contains(&"afterwards".to_owned()).then_some(()));
}

/// The store, once it has all that the log of a killed node had.
fn settled(home: &Home) -> PathBuf {
    let _node = home.up();
    home.json(&["stop"]);
    assert!(!home.path().join("brain.redb.wal").exists());
    home.path().join("brain.redb")
}

/// promise: Store and data directory | After a kill, rows that only the write-ahead log has are there again
#[test]
fn a_log_has_what_was_written_last_and_a_start_brings_it_to_the_file() {
    let (home, node) = with_content();
    home.json(&["remember", "written last of all"]);
    node.kill_9();
    let has_it = |name: &str| {
        let file = fs::read(home.path().join(name)).unwrap();
        file.windows(19).any(|bytes| bytes == b"written last of all")
    };
    assert_eq!(["brain.redb", "brain.redb.wal"].map(has_it), [false, true]);
    settled(&home);
    assert!(has_it("brain.redb"));
    let _node = home.up();
    assert!(texts(&home).contains(&"written last of all".to_owned()));
}

/// promise: Bad input | `restore --from-peers` on a sound directory, one in use, one that was written over
#[test]
fn whatever_happened_to_a_store_it_is_mended_or_left_as_it_is() {
    let (home, node) = with_content();
    let code = |(code, error): (i32, Value)| (code, error["code"].as_str().unwrap().to_owned());
    assert_eq!(code(home.error(&["restore", "--from-peers"])), (7, "in_use".into()));
    let all = texts(&home);
    home.json(&["stop"]);
    drop(node);
    assert_eq!(code(home.error(&["restore", "--from-peers"])), (7, "conflict".into()));
    assert_eq!(home.run(&["restore", "--from-peers", "x"]).code, 2);
    assert_eq!(home.run(&["restore"]).code, 2);
    let whole = files(&home.path());
    let image = fs::read(home.path().join("brain.redb")).unwrap();
    let (mut mended, mut random) = (0, 7_u64);
    for round in 0..24 {
        // of the node that ran last
        let _ = fs::remove_file(home.path().join("brain.redb.wal"));
        for (file, bytes) in &whole {
            fs::write(file, bytes).unwrap();
        }
        let mut changed = image.clone();
        let mut next = |below: usize| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            usize::try_from(random >> 33).unwrap() % below
        };
        match round {
            0 => changed.truncate(image.len() / 2),
            1 => changed[..4_096].fill(0),
            2 => changed = b"something else".to_vec(),
            _ => {
                for _ in 0..1 + round % 3 {
                    let page = next(image.len() / 4_096) * 4_096;
                    let bit = page + next(4_096);
                    changed[bit..(bit + 1 + next(2_000)).min(image.len())].fill(0x5a);
                }
            }
        }
        let store = home.path().join("brain.redb");
        fs::write(&store, &changed).unwrap();
        let ran = home.run(&["restore", "--from-peers", "--yes", "--json"]);
        match ran.code {
            0 => {
                mended += 1;
                let node = home.up();
                // freed pages may still show a text whose forgetting is in the damaged part
                let is_known = |text: &String| all.contains(text) || text == "not to come back";
                let unknown: Vec<String> = texts(&home).into_iter().filter(|text| !is_known(text)).collect();
                assert!(unknown.is_empty(), "round {round}: {unknown:?}: {}", ran.stderr);
                home.json(&["remember", "it goes on"]);
                node.kill_9();
                fs::remove_file(home.path().join("brain.redb.damaged")).unwrap();
            }
            // no used page was hit
            7 => assert_eq!(ran.error()["code"], "conflict", "round {round}"),
            _ => {
                assert_eq!((ran.code, ran.error()["code"].as_str().unwrap()), (1, "store"), "round {round}: {ran:?}");
                assert!(fs::read(&store).unwrap() == changed, "round {round}: a refused file changed: {}", ran.stderr);
            }
        }
        assert!(!ran.stderr.contains("panicked"), "round {round}: {}", ran.stderr);
    }
    assert!(mended > 3, "only {mended} were mended");
}

/// promise: Commands and API | `restore --from-peers` mends the files of the coordinators, too
#[test]
fn damaged_files_of_the_coordinators_are_set_aside() {
    let (home, node) = with_content();
    node.kill_9();
    let raft = home.path().join("raft.redb");
    fs::write(&raft, b"something else").unwrap();
    let (code, error) = home.error(&["up"]);
    assert_eq!((code, error["code"].as_str().unwrap()), (1, "store"), "{error}");
    let done = home.json(&["restore", "--from-peers"]);
    let kept: Vec<&str> =
        done["damaged"].as_array().unwrap().iter().map(|it| it["kept_as"].as_str().unwrap()).collect();
    assert_eq!(kept, ["raft.log.damaged", "raft.redb.damaged"]);
    let _node = home.up();
    assert_eq!(texts(&home).len(), 20);
    home.json(&["remember", "it goes on"]);
}

/// promise: Commands and API | A founder whose stores were lost does not begin the coordinators a second time by itself
#[test]
fn a_founder_without_its_files_begins_no_second_set_of_coordinators() {
    let (home, node) = with_content();
    node.kill_9();
    let store = settled(&home);
    for name in ["raft.redb", "raft.log"] {
        fs::remove_file(home.path().join(name)).unwrap();
    }
    assert!(damage(&store, b"memory 7") > 0);
    home.json(&["restore", "--from-peers"]);
    let _node = home.up();
    let (code, error) = home.error(&["kv", "put", "target", "green"]);
    assert_eq!((code, error["code"].as_str().unwrap()), (6, "no_quorum"), "{error}");
    home.json(&["remember", "memory goes on"]);
}

/// promise: Bad input | `restore --from-peers` in a directory without its store makes none
#[test]
fn an_absent_store_is_lost_and_not_made() {
    let home = Home::new();
    home.json(&["init"]);
    for name in ["brain.redb", "membership"] {
        fs::remove_file(home.path().join(name)).unwrap();
    }
    let before = files(&home.path());
    let (code, error) = home.error(&["restore", "--from-peers"]);
    assert_eq!((code, error["code"].as_str().unwrap()), (1, "store"), "{error}");
    assert!(error["hint"].as_str().unwrap().contains("nothing was changed"), "{error}");
    assert_eq!(files(&home.path()), before);
}

/// A node with a tagged file, a pinned directory, a text that became an attachment, and a blob that nothing keeps.
fn with_blobs() -> (Home, Node, [String; 3]) {
    let home = Home::new();
    let node = home.up();
    let dir = home.beside("dist");
    fs::create_dir_all(dir.join("bin")).unwrap();
    for n in 0..5 {
        fs::write(dir.join(format!("bin/{n}")), vec![n; 100_000 * usize::from(n)]).unwrap();
    }
    let file = home.beside("report.bin");
    fs::write(&file, (0..900_000_u32).flat_map(u32::to_le_bytes).collect::<Vec<u8>>()).unwrap();
    let added = home.json(&["blob", "add", text(&file), "--tag", "report"])["hash"].as_str().unwrap().to_owned();
    let directory = home.json(&["blob", "add", text(&dir)])["hash"].as_str().unwrap().to_owned();
    let long = home.run_with(&["remember", "-", "--json"], long_text().as_bytes()).json()["id"].clone();
    let loose = home.run_with(&["blob", "add", "-", "--json"], b"nothing keeps it").json()["hash"].clone();
    home.json(&["blob", "unpin", loose.as_str().unwrap()]);
    (home, node, [added, directory, long.as_str().unwrap().to_owned()])
}

fn long_text() -> String {
    (0..20_000).map(|n| format!("Step {n} of the runbook. ")).collect::<String>() + "The end."
}

/// All blobs of a node, with what keeps them.
fn blobs(home: &Home) -> Vec<Value> {
    let listed = home.json(&["blob", "list", "--all"]);
    listed
        .as_array()
        .unwrap()
        .iter()
        .map(|blob| serde_json::json!([blob["hash"], blob["size"], blob["files"], blob["pinned"], blob["tags"]]))
        .collect()
}

/// promise: Commands and API | A backup has the blobs that are pinned or tagged, with the files of directories, and those of memories; they come back verified, as a directory or as a stream
#[test]
fn the_blobs_that_a_node_keeps_come_back() {
    let (home, node, [report, directory, long]) = with_blobs();
    let mut before = blobs(&home);
    let made = home.json(&["backup", text(&home.beside("backup"))]);
    // the report, the directory with its names and 5 files, and the text
    assert_eq!((&made["blobs"], &made["blobs_damaged"]), (&9.into(), &Value::Array(vec![])), "{made}");
    let bytes = stream(&home, &[]);
    let without = stream(&home, &["--no-blobs"]);
    assert!(made["bytes"].as_u64().unwrap() > 4_600_000 && bytes.len() > 4_600_000 && without.len() < 1_000_000);
    before.retain(|blob| blob[1] != 16);
    assert_eq!(before.len(), 9);
    node.kill_9();

    let new = [Home::new(), Home::new()];
    let restored = new[0].json(&["restore", text(&home.beside("backup"))]);
    assert_eq!((&restored["blobs"], &restored["blob_bytes"]), (&made["blobs"], &made["blob_bytes"]), "{restored}");
    assert_eq!(new[1].run_with(&["restore", "-", "--json"], &bytes).json()["blobs"], 9);
    for new in &new {
        let node = new.up();
        assert_eq!(blobs(new), before);
        let got = new.beside("got");
        new.json(&["blob", "get", &directory, "-o", text(&got)]);
        assert_eq!(fs::read(got.join("bin/4")).unwrap(), vec![4; 400_000]);
        assert_eq!(new.command(&["blob", "get", "report"]).output().unwrap().stdout.len(), 3_600_000);
        assert!(new.json(&["get", &long])["text"] == *long_text(), "the text is whole");
        assert_eq!(new.json(&["blob", "gc", "--unused-for", "0s"])["blobs"], 0, "all is kept");
        assert_eq!(blobs(new)[0][0].as_str().map(str::len), Some(report.len()));
        drop(node);
    }
    let bare = Home::new();
    assert_eq!(bare.run_with(&["restore", "-", "--no-blobs", "--json"], &bytes).json()["blobs"], 0);
    let also_bare = Home::new();
    assert_eq!(also_bare.run_with(&["restore", "-", "--json"], &without).json()["blobs"], 0);
    for bare in [bare, also_bare] {
        let _node = bare.up();
        assert!(blobs(&bare).is_empty());
    }
}

/// promise: Bad input | A backup with a blob's file that is damaged or missing is refused whole; a blob that was damaged before is told and left out
#[test]
fn a_damaged_blob_of_a_backup_is_refused() {
    let (home, node, [report, directory, _]) = with_blobs();
    let to = home.beside("backup");
    home.json(&["backup", text(&to)]);
    let place = |root: &Path, hash: &str| root.join("blobs").join(&hash[..2]).join(hash);
    let file = place(&to, &report);
    let sound = fs::read(&file).unwrap();
    let mut damaged = sound.clone();
    damaged[1_000_000] ^= 1;
    let new = Home::new();
    let refused = |what: &str, hash: &str| {
        let (code, error) = new.error(&["restore", text(&to)]);
        assert_eq!((code, error["code"].as_str().unwrap()), (2, "invalid"), "{error}");
        let (message, hint) = (error["message"].as_str().unwrap(), error["hint"].as_str().unwrap());
        assert!(message.contains(hash) && message.contains(what) && hint.contains("--no-blobs"), "{error}");
        assert!(fs::read_dir(new.path()).unwrap().all(|entry| entry.unwrap().file_name() == "lock"));
    };
    fs::write(&file, &damaged).unwrap();
    refused("is damaged", &report);
    fs::write(&file, &sound[..sound.len() - 1]).unwrap();
    refused("is damaged", &report);
    fs::remove_file(&file).unwrap();
    refused("is missing", &report);
    fs::rename(to.join("blobs"), to.join("away")).unwrap();
    refused("is missing", "");
    new.json(&["restore", text(&to), "--no-blobs"]);

    // damaged on the node's own disk
    fs::write(place(&home.path(), &report), &damaged).unwrap();
    let made = home.json(&["backup", text(&home.beside("later"))]);
    assert_eq!((&made["blobs"], &made["blobs_damaged"]), (&8.into(), &serde_json::json!([report])), "{made}");
    assert!(home.run(&["backup", text(&home.beside("again"))]).stderr.contains("is damaged here"));
    node.kill_9();
    let other = Home::new();
    assert_eq!(other.json(&["restore", text(&home.beside("later"))])["blobs"], 8);
    let _node = other.up();
    let left = blobs(&other);
    assert!(left.iter().all(|blob| blob[0] != *report) && left.iter().any(|blob| blob[0] == *directory));
    // a copy of the data directory is verified, too
    let (code, error) = Home::new().error(&["restore", text(&home.path())]);
    assert_eq!((code, error["message"].as_str().unwrap().contains(&report)), (2, true), "{error}");
}
