//! Files and directories, as people add them on one machine and get them on another.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "tests")]

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;

use crate::support::{Home, Node, pair, until};
use serde_json::{Value, json};

const MIB: usize = 1 << 20;

fn content(size: usize) -> Vec<u8> {
    (0..size as u64).map(|n| n.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes()[5]).collect()
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn listed(home: &Home) -> Vec<Value> {
    home.json(&["blob", "list"]).as_array().unwrap().clone()
}

/// promise: Commands and API | A file that one machine adds is got on another, written beside and renamed, and `blob list` shows who has it
#[test]
fn a_file_goes_from_one_machine_to_another() {
    let ((laptop, _a), (cloud, _b)) = pair();
    let bytes = content(3 * MIB + 7);
    let file = laptop.beside("report.bin");
    fs::write(&file, &bytes).unwrap();
    let added = laptop.json(&["blob", "add", text(&file), "--tag", "report"]);
    let hash = added["hash"].as_str().unwrap().to_owned();
    assert_eq!(hash, blake3::hash(&bytes).to_string());
    assert_eq!(
        (&added["size"], &added["tags"], &added["pinned"]),
        (&json!(bytes.len()), &json!(["report"]), &json!(false))
    );
    assert_eq!(added["providers"].as_array().unwrap().len(), 1);

    let got = cloud.beside("got.bin");
    fs::write(&got, "another file").unwrap();
    let blob = cloud.json(&["blob", "get", &hash, "-o", text(&got)]);
    assert_eq!((&blob["hash"], blob["providers"].as_array().unwrap().len()), (&json!(hash), 2), "{blob}");
    assert_eq!(fs::read(&got).unwrap(), bytes);
    let beside = fs::read_dir(got.parent().unwrap()).unwrap().map(|entry| entry.unwrap().file_name());
    assert!(beside.into_iter().all(|name| !name.to_string_lossy().starts_with(".nexus-blob")));
    // the first digits will do, and standard output is the content alone
    let piped = cloud.command(&["blob", "get", &hash[..8]]).output().unwrap();
    assert_eq!((piped.status.code(), piped.stdout == bytes), (Some(0), true));
    let told = cloud.run(&["blob", "get", &hash, "-o", text(&got)]).ok().stdout;
    assert!(told.contains("3.1 MB, from this node"), "{told}");

    assert_eq!(listed(&cloud)[0]["pinned"], false);
    let shown = laptop.run(&["blob", "list"]).ok().stdout;
    assert!(shown.contains("report") && shown.contains("laptop, cloud"), "{shown}");
    cloud.json(&["blob", "pin", &hash]);
    assert_eq!(cloud.json(&["blob", "gc", "--unused-for", "0s"])["blobs"], 0);
    cloud.json(&["blob", "unpin", &hash]);
    assert_eq!(cloud.json(&["blob", "gc", "--dry-run", "--unused-for", "0s"])["hashes"], json!([hash]));
    assert_eq!(cloud.json(&["blob", "gc", "--unused-for", "0s"])["bytes"], bytes.len());
    assert!(listed(&cloud).is_empty());
    laptop.json(&["blob", "tag", "report", "annual report"]);
    laptop.json(&["blob", "untag", "report"]);
    assert_eq!(listed(&laptop)[0]["tags"], json!(["annual report"]));
    assert_eq!(laptop.json(&["blob", "rm", "annual report"])["blobs"], 1);
    let (code, error) = cloud.error(&["blob", "get", &hash, "--wait", "0s", "-o", text(&cloud.beside("new"))]);
    assert_eq!((code, &error["code"]), (5, &json!("not_found")), "{error}");
}

/// promise: Commands and API | A directory comes back with its programs and links, in one step: a directory that is not empty is refused
#[cfg(unix)]
#[test]
fn a_directory_goes_from_one_machine_to_another() {
    use std::os::unix::fs::{PermissionsExt, symlink};

    let ((laptop, _a), (cloud, _b)) = pair();
    let dir = laptop.beside("dist");
    fs::create_dir_all(dir.join("bin/deep")).unwrap();
    fs::write(dir.join("bin/run"), b"#!/bin/sh\n").unwrap();
    fs::set_permissions(dir.join("bin/run"), fs::Permissions::from_mode(0o755)).unwrap();
    symlink("bin/run", dir.join("start")).unwrap();
    for n in 0..60 {
        fs::write(dir.join(format!("bin/deep/{n}")), content(n * 1_001)).unwrap();
    }
    fs::write(dir.join("größe.txt"), content(MIB)).unwrap();
    let added = laptop.json(&["blob", "add", text(&dir)]);
    assert_eq!((&added["files"], &added["pinned"]), (&json!(63), &json!(true)), "{added}");
    let hash = added["hash"].as_str().unwrap();
    let got = cloud.beside("got");
    fs::create_dir(&got).unwrap();
    let blob = cloud.json(&["blob", "get", hash, "-o", text(&got)]);
    assert_eq!((&blob["size"], &blob["files"]), (&added["size"], &json!(63)));
    for name in ["bin/run", "größe.txt", "start", "bin/deep/0", "bin/deep/59"] {
        assert_eq!(fs::read(got.join(name)).unwrap(), fs::read(dir.join(name)).unwrap(), "{name}");
    }
    assert_eq!(fs::read_link(got.join("start")).unwrap(), Path::new("bin/run"));
    let mode = |name: &str| fs::metadata(got.join(name)).unwrap().permissions().mode();
    assert_eq!((mode("bin/run") & 0o100, mode("größe.txt") & 0o111), (0o100, 0));
    assert_eq!(listed(&cloud).len(), 1, "its files are not listed by themselves");
    assert_eq!(cloud.json(&["blob", "list", "--all"]).as_array().unwrap().len(), 65);

    let (code, error) = cloud.error(&["blob", "get", hash, "-o", text(&got)]);
    assert_eq!((code, &error["code"]), (7, &json!("conflict")), "{error}");
    let (code, error) = cloud.error(&["blob", "get", hash]);
    assert_eq!((code, &error["code"]), (2, &json!("usage")), "{error}");
    assert!(cloud.run(&["blob", "get", hash]).stderr.contains("a directory of 63 files"));
    symlink("/etc/hostname", dir.join("out")).unwrap();
    let (code, error) = laptop.error(&["blob", "add", text(&dir)]);
    assert_eq!((code, &error["code"]), (2, &json!("invalid")), "{error}");
    assert!(error["hint"].as_str().unwrap().contains("--symlinks follow"), "{error}");
    laptop.json(&["blob", "add", text(&dir), "--symlinks", "follow"]);
}

/// promise: Commands and API | A blob that nobody has is waited for with `--wait`, and comes from whoever adds it
#[test]
fn a_blob_that_comes_later_is_waited_for() {
    let ((laptop, _a), (cloud, _b)) = pair();
    let hash = blake3::hash(b"later").to_string();
    let mut waiting = cloud.command(&["blob", "get", &hash, "--wait", "30s"]);
    let waiting = waiting.stdout(std::process::Stdio::piped()).spawn().unwrap();
    assert_eq!(laptop.run_with(&["blob", "add", "-"], b"later").ok().stdout.trim(), hash);
    let output = waiting.wait_with_output().unwrap();
    assert_eq!(output.stdout, b"later");
}

fn asked(node: &Node, method: &str, path: &str, headers: &[(&str, &str)]) -> crate::support::Answer {
    let (address, bearer) = (node.address(), format!("Bearer {}", node.token()));
    let mut all = vec![("Host", address.as_str()), ("Authorization", bearer.as_str())];
    all.extend_from_slice(headers);
    node.raw(method, path, &all, b"")
}

/// promise: Commands and API | Damage of a blob is told to whoever wants it, shown by `blob list`, `status`, `doctor` and `/metrics`, and mended by `blob verify`
#[test]
fn damage_is_told_shown_and_mended() {
    let ((laptop, node), (cloud, _b)) = pair();
    let bytes = content(3 * MIB + 7);
    let file = laptop.beside("report.bin");
    fs::write(&file, &bytes).unwrap();
    let hash = laptop.json(&["blob", "add", text(&file)])["hash"].as_str().unwrap().to_owned();
    let sound = json!([{ "hash": hash, "parts": 13, "damaged": 0, "mended": 0 }]);
    assert_eq!(laptop.json(&["blob", "verify"]), sound);
    let kept = laptop.path().join("blobs").join(&hash[..2]).join(&hash);
    let mut stored = fs::read(&kept).unwrap();
    stored[2 * MIB] ^= 1;
    fs::write(&kept, stored).unwrap();

    let got = cloud.beside("got.bin");
    let begun = std::time::Instant::now();
    let (code, error) = cloud.error(&["blob", "get", &hash, "-o", text(&got)]);
    assert_eq!((code, &error["code"]), (1, &json!("damaged")), "{error}");
    assert!(error["message"].as_str().unwrap().contains("laptop"), "{error}");
    assert!(begun.elapsed() < crate::support::SOON, "at once");
    assert!(!got.exists());
    assert_eq!(listed(&laptop)[0]["damaged"], 1);
    assert!(laptop.run(&["blob", "list"]).ok().stdout.contains("one damaged part"));
    let warnings = laptop.json(&["status"])["warnings"].to_string();
    assert!(warnings.contains("blob_damaged") && warnings.contains(&hash), "{warnings}");
    let doctor = laptop.run(&["doctor"]).stdout;
    assert!(doctor.contains("the disk damaged parts of 1 blob"), "{doctor}");
    let metrics = node.http("GET", "/metrics", "").body;
    assert!(metrics.contains("nexus_blobs_damaged 1"), "{metrics}");
    // nobody has it
    let stays = laptop.json(&["blob", "verify", &hash[..8]]);
    assert_eq!(stays, json!([{ "hash": hash, "parts": 13, "damaged": 1, "mended": 0 }]));

    cloud.run_with(&["blob", "add", "-"], &bytes).ok();
    let mended = laptop.json(&["blob", "verify", "--all"]);
    assert!(mended == json!([{ "hash": hash, "parts": 13, "damaged": 1, "mended": 1 }]) || mended == sound, "{mended}");
    assert_eq!(fs::read(&kept).unwrap(), bytes);
    assert_eq!(listed(&laptop)[0].get("damaged"), None);
    assert!(!laptop.json(&["status"])["warnings"].to_string().contains("blob_damaged"));
    assert_eq!(laptop.json(&["blob", "verify"]), sound);
}

/// promise: Commands and API | `blob get -o` and `kv get --file` write into pipes and devices, follow links and keep modes
#[cfg(unix)]
#[test]
fn output_goes_to_whatever_is_there() {
    use std::os::unix::fs::{FileTypeExt, PermissionsExt, symlink};

    let home = Home::new();
    let _node = home.up();
    let bytes = content(300_000);
    let file = home.beside("in");
    fs::write(&file, &bytes).unwrap();
    let hash = home.json(&["blob", "add", text(&file)])["hash"].as_str().unwrap().to_owned();
    fs::write(home.beside("value"), "a value").unwrap();
    home.json(&["kv", "put", "key", "--file", text(&home.beside("value"))]);
    let commands: [(&[&str], &[u8]); 2] =
        [(&["blob", "get", &hash, "-o"], &bytes), (&["kv", "get", "key", "--file"], b"a value")];
    for (index, (command, right)) in commands.into_iter().enumerate() {
        let at = |name: &str| home.beside(&format!("{name}.{index}"));
        let to = |path: &Path| home.run(&[command, &[text(path)]].concat()).ok();
        let pipe = at("pipe");
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        let reader = pipe.clone();
        let read = std::thread::spawn(move || fs::read(reader).unwrap());
        to(&pipe);
        assert_eq!(read.join().unwrap(), right);
        assert!(fs::symlink_metadata(&pipe).unwrap().file_type().is_fifo());
        to(Path::new("/dev/null"));
        assert!(fs::symlink_metadata("/dev/null").unwrap().file_type().is_char_device());
        // a file with a mode, through a link; and a link to nothing yet
        fs::write(at("real"), "before").unwrap();
        fs::set_permissions(at("real"), fs::Permissions::from_mode(0o600)).unwrap();
        symlink(at("real"), at("link")).unwrap();
        to(&at("link"));
        assert!(fs::symlink_metadata(at("link")).unwrap().is_symlink());
        assert_eq!((fs::read(at("real")).unwrap(), mode(&at("real"))), (right.to_vec(), 0o600));
        symlink(at("later"), at("dangling")).unwrap();
        to(&at("dangling"));
        assert!(fs::symlink_metadata(at("dangling")).unwrap().is_symlink());
        assert_eq!(fs::read(at("later")).unwrap(), right);
    }
    // standard output by its name: a pipe, and a file
    for name in ["/dev/stdout", "/dev/fd/1"] {
        let piped = home.command(&["blob", "get", &hash, "-o", name]).output().unwrap();
        assert!(piped.status.success() && piped.stdout == bytes, "{name}");
        let out = fs::File::create(home.beside("out")).unwrap();
        assert!(home.command(&["blob", "get", &hash, "-o", name]).stdout(out).status().unwrap().success());
        assert!(fs::read(home.beside("out")).unwrap() == bytes, "{name}");
    }

    // a directory that is there and empty stays what it is, also behind a link
    let tree = home.beside("tree");
    fs::create_dir(&tree).unwrap();
    fs::write(tree.join("a"), "one").unwrap();
    let tree = home.json(&["blob", "add", text(&tree)])["hash"].as_str().unwrap().to_owned();
    let (place, link) = (home.beside("place"), home.beside("to-place"));
    fs::create_dir(&place).unwrap();
    fs::set_permissions(&place, fs::Permissions::from_mode(0o700)).unwrap();
    symlink("place", &link).unwrap();
    home.run(&["blob", "get", &tree, "-o", text(&link)]).ok();
    assert_eq!((fs::read(place.join("a")).unwrap(), mode(&place)), (b"one".to_vec(), 0o700));
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
}

#[cfg(unix)]
fn mode(path: &Path) -> u32 {
    std::os::unix::fs::PermissionsExt::mode(&fs::metadata(path).unwrap().permissions()) & 0o777
}

/// promise: Commands and API | Blobs stream over HTTP in both directions, beyond the bound of other bodies, with `Range` and `ETag`
#[test]
fn blobs_stream_over_http() {
    let home = Home::new();
    let node = home.up();
    let letters: String = ('a'..='z').collect();
    let put = node.http("PUT", "/v1/blobs", &letters);
    assert_eq!(put.status, 201, "{put:?}");
    let hash = put.json()["hash"].as_str().unwrap().to_owned();
    let path = format!("/v1/blobs/{hash}");
    let whole = asked(&node, "GET", &path, &[]);
    assert_eq!((whole.status, whole.body.as_str()), (200, letters.as_str()));
    let head = whole.head.to_ascii_lowercase();
    // a page that somebody added must not run beside this node's own
    for header in [
        "content-type: application/octet-stream",
        "content-disposition: attachment",
        "content-security-policy: sandbox",
        "x-content-type-options: nosniff",
        "accept-ranges: bytes",
        "content-length: 26",
        &format!("etag: \"{hash}\""),
    ] {
        assert!(head.contains(header), "{header}: {head}");
    }
    let part = asked(&node, "GET", &path, &[("Range", "bytes=3-5")]);
    assert_eq!((part.status, part.body.as_str()), (206, "def"));
    assert!(part.head.to_ascii_lowercase().contains("content-range: bytes 3-5/26"), "{part:?}");
    let beyond = asked(&node, "GET", &path, &[("Range", "bytes=26-")]);
    assert!(beyond.status == 416 && beyond.head.to_ascii_lowercase().contains("content-range: bytes */26"));
    let tag = format!("\"{hash}\"");
    assert_eq!(asked(&node, "GET", &path, &[("If-None-Match", &tag)]).status, 304);
    assert_eq!(asked(&node, "GET", &path, &[("Range", "bytes=0-1"), ("If-Range", "\"other\"")]).status, 200);
    let about = asked(&node, "HEAD", &path, &[]);
    assert_eq!((about.status, about.body.as_str()), (200, ""));

    let big = String::from_utf8(vec![b'x'; 20 * MIB]).unwrap();
    let put = node.http("PUT", "/v1/blobs?tag=big", &big);
    assert_eq!((put.status, &put.json()["size"]), (201, &json!(big.len())));
    assert_eq!(asked(&node, "GET", "/v1/blobs/big", &[]).body.len(), big.len());
    for (method, path, status) in [
        ("GET", "/v1/blobs/none?wait=0s", 404),
        ("GET", "/v1/blobs/none?wait=forever", 422),
        ("GET", "/v1/blobs/none?wait=8d", 422),
        ("PUT", "/v1/blobs?tag=x&cached=true", 422),
        ("PUT", "/v1/blobs?what=x", 422),
        ("GET", "/v1/blobs?limit=0", 422),
        ("GET", "/v1/blobs?after=x", 422),
        ("DELETE", "/v1/blobs/none", 404),
        ("DELETE", "/v1/blobs/tags/none", 404),
    ] {
        let refused = asked(&node, method, path, &[]);
        assert_eq!(refused.status, status, "{method} {path}: {refused:?}");
        refused.problem();
    }
}

/// promise: Bad input | Content that breaks off while it is added leaves nothing
#[test]
fn content_that_breaks_off_leaves_nothing() {
    let home = Home::new();
    let node = home.up();
    let mut stream = TcpStream::connect(node.address()).unwrap();
    let head = format!(
        "PUT /v1/blobs HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {}\r\nContent-Length: 5000000\r\n\r\n",
        node.address(),
        node.token()
    );
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(&content(3 * MIB)).unwrap();
    let new = home.path().join("blobs/new");
    until("it is being added", || fs::read_dir(&new).ok()?.next().map(drop));
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    until("nothing is left", || fs::read_dir(&new).ok()?.next().is_none().then_some(()));
    assert!(listed(&home).is_empty());
}

/// promise: Bad input | A file that somebody writes, or a directory that changes, while it is added is refused, and nothing of it is kept
#[cfg(unix)]
#[test]
fn a_file_that_is_written_meanwhile_is_not_kept() {
    let home = Home::new();
    let _node = home.up();
    let file = home.beside("log");
    fs::write(&file, content(64 * MIB)).unwrap();
    // somebody writes on and on, as to a log or a database
    let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let (path, stopped) = (file.clone(), stop.clone());
    let writes = std::thread::spawn(move || {
        let mut file = fs::OpenOptions::new().append(true).open(path).unwrap();
        while !stopped.load(std::sync::atomic::Ordering::Relaxed) {
            file.write_all(b"a line\n").unwrap();
        }
    });
    let dir = home.beside("dir");
    fs::create_dir(&dir).unwrap();
    fs::hard_link(&file, dir.join("log")).unwrap();
    let input = fs::File::open(&file).unwrap();
    for (path, stdin) in [(text(&file), None), (text(&dir), None), ("-", Some(input))] {
        let mut command = home.command(&["--json", "blob", "add", path]);
        if let Some(stdin) = stdin {
            command.stdin(stdin);
        }
        let ran = command.output().unwrap();
        let said = String::from_utf8_lossy(&ran.stderr).into_owned();
        assert_eq!((ran.status.code(), ran.stdout.len()), (Some(7), 0), "{path}: {said}");
        assert!(said.contains("while it was read") && said.contains("nothing was kept"), "{path}: {said}");
    }
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    writes.join().unwrap();
    assert!(listed(&home).is_empty());
    home.json(&["blob", "add", text(&file)]);
    assert_eq!(listed(&home).len(), 1, "nobody writes it now");
}

/// promise: Bad input | Files and directories that cannot be added or written: a code, a hint, and nothing is lost
#[test]
fn bad_paths_are_refused() {
    let home = Home::new();
    let _node = home.up();
    let file = home.beside("file");
    fs::write(&file, "x").unwrap();
    let hash = home.json(&["blob", "add", text(&file)])["hash"].as_str().unwrap().to_owned();
    let dir = home.beside("dir");
    fs::create_dir_all(&dir).unwrap();
    let nowhere = home.beside("no/such/file");
    for (arguments, code, exit) in [
        (vec!["blob", "add", text(&nowhere)], "not_found", 5),
        (vec!["blob", "add", text(&file), "--tag", ""], "invalid", 2),
        (vec!["blob", "get", &hash, "-o", text(&nowhere)], "not_found", 5),
        (vec!["blob", "get", &hash, "-o", text(&dir)], "conflict", 7),
        (vec!["blob", "get", &hash], "usage", 2),
        (vec!["blob", "get", "nothing", "-o", "x"], "not_found", 5),
        (vec!["blob", "pin", "0000"], "not_found", 5),
    ] {
        let (exited, error) = home.error(&arguments);
        assert_eq!((exited, error["code"].as_str()), (exit, Some(code)), "{arguments:?}: {error}");
    }
    assert!(home.run(&["blob", "list"]).ok().stdout.contains("pinned"));
}

/// promise: Commands and API | `remember` takes a text of up to 4 MiB; `get` shows all of it, or its beginning and who wrote it where nobody in reach has the rest
#[test]
fn a_long_text_is_remembered_and_read_on_another_machine() {
    let ((laptop, a), (cloud, _b)) = pair();
    let text: String = (0..9_000).map(|n| format!("line {n} of the log\n")).collect();
    let text = text.trim_end();
    let written = laptop.run_with(&["remember", "-", "--id", "log", "--json"], text.as_bytes()).json();
    let id = written["id"].as_str().unwrap();
    until("it is there", || (cloud.run(&["get", id]).code == 0).then_some(()));
    let shown = cloud.json(&["get", id]);
    assert_eq!(shown["text"], text);
    assert_eq!(shown["attachment"]["bytes"], text.len());
    assert!(cloud.run(&["get", "log"]).ok().stdout.contains("line 8999 of the log"));

    let other = laptop.run_with(&["remember", "-", "--json"], format!("Of another day. {text}").as_bytes()).json();
    let id = other["id"].as_str().unwrap();
    until("its beginning is there", || cloud.json(&["list"])["items"].as_array().unwrap().len().eq(&2).then_some(()));
    let exported = cloud.run(&["export"]).ok().stdout;
    assert!(exported.lines().any(|line| line.contains("Of another day.") && line.contains("\"attachment\"")));
    drop(a);
    let shown = cloud.run(&["get", id]).ok();
    assert!(shown.stdout.starts_with("Of another day. line 0"), "{}", shown.stdout);
    assert!(shown.stderr.contains("bytes are here; laptop wrote it"), "{}", shown.stderr);
    let refused = cloud.run_with(&["remember", "-", "--json"], &vec![b'x'; 5 << 20]);
    assert_eq!((refused.code, &refused.error()["code"]), (2, &json!("too_large")));
}

/// promise: Commands and API | Content that a program of the same account put into the node's directory is taken by its name, once
#[test]
fn an_offer_is_taken_over_http() {
    let home = Home::new();
    let node = home.up();
    let new = home.path().join("blobs/new");
    fs::create_dir_all(&new).unwrap();
    let name = "0123456789abcdef".repeat(2);
    let path = format!("/v1/blobs?offered={name}");
    assert_eq!(node.http("PUT", &path, "").status, 404);
    fs::write(new.join(&name).with_extension("offer"), content(MIB)).unwrap();
    assert_eq!(node.http("PUT", &format!("{path}&directory=true"), "").status, 422);
    let taken = node.http("PUT", &format!("{path}&tag=offered"), "");
    assert_eq!((taken.status, &taken.json()["tags"]), (201, &json!(["offered"])), "{taken:?}");
    assert_eq!(taken.json()["hash"], json!(blake3::hash(&content(MIB)).to_string()));
    for name in [&name, "../../api-token", "..%2F..%2Fapi-token"] {
        let refused = node.http("PUT", &format!("/v1/blobs?offered={name}"), "");
        assert_eq!(refused.status, 404, "{refused:?}");
    }
    assert_eq!(fs::read_dir(&new).unwrap().count(), 0);
    assert!(home.path().join("api-token").exists());
}
