//! TLS of the API: the right node is used, and any other gets nothing.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "tests run programs and wait for them"
)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Stdio;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nexus_client::pin;
use nexus_identity::{Keypair, Timestamp};
use nexus_node::tls::TlsCertificate;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConnection, ServerConfig, ServerConnection, StreamOwned};
use serde_json::{Value, json};

use crate::support::{Home, Node, Ran, SOON, until};

/// A node that listens on all addresses.
fn outside(home: &Home, more: &[&str]) -> Node {
    home.up_with(&[&["--api-addr", "0.0.0.0:0"], more].concat())
}

/// A command of another machine: it has the token, and no data directory of this node.
fn elsewhere(token: &str, arguments: &[&str]) -> Ran {
    let away = Home::new();
    let output = away.command(arguments).env("NEXUS_TOKEN", token).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Ran { code: output.status.code().unwrap_or(-1), stdout: text(output.stdout), stderr: text(output.stderr) }
}

fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    Timestamp::from_ms(u64::try_from(since.as_millis()).unwrap())
}

/// A server with this certificate, for one connection. It ends with the bytes that it was sent inside TLS.
fn recorder(certificate: &TlsCertificate) -> (String, JoinHandle<Vec<u8>>) {
    let chain = vec![CertificateDer::from_pem_slice(certificate.to_pem().as_bytes()).unwrap()];
    let key = PrivateKeyDer::from_pem_slice(certificate.key_pem().as_bytes()).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let base = format!("https://{}", listener.local_addr().unwrap());
    let server = std::thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        stream.set_read_timeout(Some(SOON)).unwrap();
        let mut stream = StreamOwned::new(ServerConnection::new(Arc::new(config)).unwrap(), stream);
        let (mut seen, mut part) = (Vec::new(), [0; 4_096]);
        while let Ok(read @ 1..) = stream.read(&mut part) {
            seen.extend_from_slice(&part[..read]);
            if seen.windows(4).any(|end| end == b"\r\n\r\n") {
                break;
            }
        }
        seen
    });
    (base, server)
}

/// promise: Commands and API | Off loopback the API speaks TLS 1.3, and a client knows the node by its DID
#[test]
fn another_machine_uses_the_node_over_tls() {
    let home = Home::new();
    let node = outside(&home, &[]);
    let (api, did) = (node.text("api"), node.text("did"));
    assert!(api.starts_with("https://127.0.0.1:"), "{api}");
    let token = node.token();
    let at = |more: &[&str]| elsewhere(&token, &[&["--json", "--api", &api, "--api-did", &did], more].concat());

    let away = Home::new();
    let mut watch = away
        .command(&["--json", "--api", &api, "--api-did", &did, "watch"])
        .env("NEXUS_TOKEN", &token)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut changes = BufReader::new(watch.stdout.take().unwrap());
    // until the stream is open nothing is known of it: changes are written until one arrives
    let writing = std::thread::scope(|scope| {
        let line = scope.spawn(|| {
            let mut line = String::new();
            changes.read_line(&mut line).map(|_| line)
        });
        let mut writes = 0;
        while !line.is_finished() {
            at(&["remember", &format!("the harbour is deep {writes}")]).ok();
            writes += 1;
        }
        line.join().unwrap().unwrap()
    });
    let change: Value = serde_json::from_str(&writing).unwrap();
    assert_eq!(change["kind"], "remembered");
    watch.kill().unwrap();
    watch.wait().unwrap();

    let hits = at(&["recall", "harbour"]).json();
    assert!(hits[0]["text"].as_str().unwrap().starts_with("the harbour is deep"), "{hits}");
    // the commands of the node's own directory, too
    assert_eq!(home.json(&["status"])["did"].as_str(), Some(did.as_str()));
    assert_eq!(home.warnings(), [""; 0]);
    let link = home.json(&["web"])["link"].as_str().unwrap().to_owned();
    assert!(link.starts_with(&format!("{api}/web/")), "{link}");
    assert_eq!(at(&["status"]).json()["did"].as_str(), Some(did.as_str()));
}

#[test]
fn agents_use_a_node_elsewhere_over_tls() {
    let home = Home::new();
    let node = outside(&home, &[]);
    let (api, did) = (node.text("api"), node.text("did"));
    let away = Home::new();
    let start = json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {
        "protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}}});
    let mut server = away
        .command(&["--api", &api, "--api-did", &did, "mcp"])
        .env("NEXUS_TOKEN", node.token())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut stdin = server.stdin.take().unwrap();
    writeln!(stdin, "{start}").unwrap();
    let mut line = String::new();
    BufReader::new(server.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let answer: Value = serde_json::from_str(&line).unwrap();
    assert!(answer["result"]["serverInfo"].is_object(), "{answer}");
    drop(stdin);
    server.kill().unwrap();
    server.wait().unwrap();
}

/// promise: Bad input | A foreign, unbound or expired certificate is refused in words; neither token nor request is sent
#[test]
fn nothing_is_sent_to_another_certificate() {
    let (wanted, other) = (Keypair::generate(), Keypair::generate());
    let did = wanted.did().to_string();
    let ask = |certificate: &TlsCertificate, arguments: &[&str]| {
        let (api, server) = recorder(certificate);
        let ran = elsewhere("a-secret-token", &[&["--json", "--api", &api, "--api-did", &did], arguments].concat());
        (ran, String::from_utf8_lossy(&server.join().unwrap()).into_owned())
    };
    // the control: the right certificate gets the token
    let good = TlsCertificate::make(&wanted, &[], now()).unwrap();
    let (_, seen) = ask(&good, &["status"]);
    assert!(seen.to_lowercase().contains("authorization: bearer a-secret-token"), "{seen}");

    for arguments in [&["status"][..], &["remember", "a secret thought"]] {
        let foreign = TlsCertificate::make(&other, &[], now()).unwrap();
        let (ran, seen) = ask(&foreign, arguments);
        let error = ran.error();
        assert_eq!((ran.code, &error["code"], seen.as_str()), (4, &json!("foreign_node"), ""));
        let message = error["message"].as_str().unwrap();
        assert!(message.contains(&did) && message.contains(&other.did().to_string()), "{message}");
        for days in [-400_i64, 3] {
            let shift = Duration::from_secs(days.unsigned_abs() * 86_400);
            let at = if days < 0 {
                now().since(Timestamp::from_ms(0)) - shift
            } else {
                now().since(Timestamp::from_ms(0)) + shift
            };
            let made = Timestamp::from_ms(u64::try_from(at.as_millis()).unwrap());
            let (ran, seen) = ask(&TlsCertificate::make(&wanted, &[], made).unwrap(), arguments);
            let error = ran.error();
            assert_eq!((ran.code, &error["code"], seen.as_str()), (4, &json!("bad_certificate"), ""), "{error}");
            assert!(error["hint"].as_str().unwrap().contains("clock"), "{error}");
        }
    }
}

/// promise: Commands and API | A change whose answer was cut off is `outcome_unknown`, also over TLS
#[test]
fn a_connection_that_breaks_before_the_answer_leaves_a_change_unknown() {
    let wanted = Keypair::generate();
    let did = wanted.did().to_string();
    let certificate = TlsCertificate::make(&wanted, &[], now()).unwrap();
    let ask = |arguments: &[&str]| {
        // it takes the head of the request, and goes away
        let (api, server) = recorder(&certificate);
        let ran = elsewhere("a-secret-token", &[&["--json", "--api", &api, "--api-did", &did], arguments].concat());
        assert_ne!(server.join().unwrap(), b"");
        let error = ran.error();
        let text = |key: &str| error[key].as_str().unwrap().to_owned();
        assert!(!text("message").contains("nothing was sent"), "{error}");
        (ran.code, text("code"), text("message"), text("hint"))
    };
    for change in [&["remember", "a thought"][..], &["kv", "put", "a", "1"], &["lock", "acquire", "a"]] {
        let (exit, code, message, hint) = ask(change);
        assert_eq!((exit, code.as_str()), (9, "outcome_unknown"), "{message}");
        assert!(message.contains("it may still happen") && hint.contains("look before"), "{message}: {hint}");
    }
    let (exit, code, ..) = ask(&["status"]);
    assert_eq!((exit, code.as_str()), (3, "no_node"));
    // a connection that never stood took nothing along
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let at = ["--json", "--api", &format!("https://{free}"), "--api-did", &did, "remember", "a thought"];
    let ran = elsewhere("a-secret-token", &at);
    assert_eq!((ran.code, &ran.error()["code"]), (3, &json!("no_node")));
}

#[test]
fn the_way_of_trust_is_given_whole() {
    let did = Keypair::generate().did().to_string();
    let wrong = |arguments: &[&str]| {
        let ran = elsewhere("a-secret-token", &[&["--json"], arguments, &["status"]].concat());
        assert_eq!((ran.code, &ran.error()["code"]), (2, &json!("usage")), "{arguments:?}");
        ran.error()["message"].as_str().unwrap().to_owned()
    };
    assert!(wrong(&["--api", "https://192.0.2.1:8002"]).contains("--api-did"));
    assert!(wrong(&["--api", "http://192.0.2.1:8002", "--api-did", &did]).contains("in the clear"));
    assert!(wrong(&["--api-did", &did]).contains("--api"));
    for bad in ["", "did:key:", "did:key:z6Mk", "did:web:example.org", "x"] {
        wrong(&["--api", "https://192.0.2.1:8002", "--api-did", bad]);
    }
    // over TLS the directory's token goes to the directory's node alone
    let home = Home::new();
    let node = outside(&home, &[]);
    let (code, error) = home.error(&["--api", &node.text("api"), "--api-did", &did, "status"]);
    assert_eq!((code, &error["code"]), (4, &json!("unauthorized")), "{error}");
}

/// A connection of TLS to a node, with its DID pinned.
fn tls(node: &Node) -> StreamOwned<ClientConnection, TcpStream> {
    let config = pin::pinned(node.text("did").parse().unwrap()).unwrap();
    let name = rustls::pki_types::ServerName::IpAddress(std::net::Ipv4Addr::LOCALHOST.into());
    StreamOwned::new(ClientConnection::new(config, name).unwrap(), dial(&node.text("api")))
}

fn dial(base: &str) -> TcpStream {
    let stream = TcpStream::connect(base.split_once("://").unwrap().1).unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    stream
}

/// A whole answer to this head.
fn ask(stream: &mut (impl Read + Write), head: &str) -> String {
    stream.write_all(format!("{head}\r\nConnection: close\r\n\r\n").as_bytes()).unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

/// promise: Bad input | HTTP in the clear at an address of TLS is answered in words, and TLS 1.2 is refused
#[test]
fn clients_that_speak_otherwise_are_refused() {
    let home = Home::new();
    let node = outside(&home, &[]);
    let api = node.text("api");
    let host = api.split_once("://").unwrap().1;
    let answer = ask(&mut dial(&api), &format!("GET /v1/status HTTP/1.1\r\nHost: {host}"));
    assert!(answer.starts_with("HTTP/1.1 400 ") && answer.contains("https://"), "{answer}");
    // TLS 1.2: the hello of a client that names no later version
    let body = [&[3, 3][..], &[7; 32], &[0, 0, 4, 0xc0, 0x2b, 0xc0, 0x2f, 1, 0, 0, 0]].concat();
    let hello = [&[1, 0, 0, u8::try_from(body.len()).unwrap()][..], &body].concat();
    let record = [&[0x16, 3, 1, 0, u8::try_from(hello.len()).unwrap()][..], &hello].concat();
    for junk in [&record[..], b"\0\x01\x02", b"SSH-2.0-x\r\n", &[0x16; 5_000], b""] {
        let mut stream = dial(&api);
        stream.write_all(junk).unwrap();
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        let (alert, clear) = (answer.first() == Some(&0x15), answer.starts_with(b"HTTP/1.1 400 "));
        assert!(answer.is_empty() || alert || clear, "{answer:?}");
    }
    let answer = ask(&mut tls(&node), &format!("GET /healthz HTTP/1.1\r\nHost: {host}"));
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    // inside TLS all is checked as ever
    for (head, status) in [
        ("GET /v1/status HTTP/1.1\r\nHost: evil.example", "421"),
        (&format!("GET /v1/status HTTP/1.1\r\nHost: {host}"), "401"),
        (&format!("GET /healthz HTTP/1.1\r\nHost: {host}\r\nOrigin: http://{host}"), "403"),
        (&format!("GET /healthz HTTP/1.1\r\nHost: {host}\r\nOrigin: https://{host}"), "200"),
    ] {
        let answer = ask(&mut tls(&node), head);
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{head}: {answer}");
    }
}

/// promise: Bad input | Strangers who begin handshakes and end none keep nobody out
#[test]
fn half_handshakes_keep_nobody_out() {
    let home = Home::new();
    let node = outside(&home, &[]);
    let mut held = Vec::new();
    for round in 0..1_200_u16 {
        let stream = TcpStream::connect(node.text("api").split_once("://").unwrap().1);
        let Ok(mut stream) = stream else { panic!("connection {round}") };
        // the beginning of a record, and no more; some say nothing at all
        if round % 2 == 0 {
            let _ = stream.write_all(&[0x16, 3, 1, 0, 200, 1]);
        }
        held.push(stream);
    }
    home.json(&["status"]);
    home.json(&["remember", "written in spite of them"]);
    drop(held);
}

/// promise: Commands and API | The certificate is the same after a restart; a damaged one is replaced
#[test]
fn a_certificate_outlives_a_restart_and_damage() {
    let home = Home::new();
    let file = home.path().join("tls-cert.pem");
    let read = || std::fs::read_to_string(&file).unwrap();
    drop(outside(&home, &[]));
    let first = read();
    let node = outside(&home, &[]);
    assert_eq!(read(), first);
    drop(node);
    std::fs::write(&file, "junk").unwrap();
    let node = outside(&home, &[]);
    assert_ne!(read(), first);
    assert!(home.log().contains("the certificate is damaged"), "{}", home.log());
    home.json(&["status"]);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = home.path().join("tls-key.pem").metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
    drop(node);
}

/// promise: Commands and API | An address off loopback speaks TLS unless `cleartext` is set, which stderr and `status` say
#[test]
fn an_older_configuration_gets_tls_or_says_that_it_has_none() {
    let home = Home::new();
    home.run(&["init"]).ok();
    let config = home.path().join("config.toml");
    std::fs::write(&config, "api_addr = \"0.0.0.0:0\"\n").unwrap();
    let node = home.up_with(&["--api-addr", "0.0.0.0:0"]);
    assert!(node.text("api").starts_with("https://"));
    drop(node);
    std::fs::write(&config, "cleartext = true\n").unwrap();
    let node = outside(&home, &[]);
    assert!(node.text("api").starts_with("http://"), "{}", node.text("api"));
    assert!(home.log().contains("in the clear off loopback"), "{}", home.log());
    assert_eq!(home.warnings(), ["cleartext"]);
    let checks = home.run(&["doctor", "--json"]).stdout;
    assert!(checks.contains("speaks HTTP in the clear"), "{checks}");
    drop(node);
    // on loopback there is nothing to warn of
    let node = home.up();
    assert_eq!(home.warnings(), [""; 0]);
    drop(node);
}

/// promise: Commands and API | `metrics_addr` serves the metrics alone, with the line in `metrics-token` alone
#[test]
fn metrics_have_an_address_and_a_token_of_their_own() {
    let home = Home::new();
    let node = home.up_with(&["--metrics-addr", "127.0.0.1:0"]);
    let metrics = node.text("metrics");
    let host = metrics.strip_prefix("http://").unwrap().strip_suffix("/metrics").unwrap().to_owned();
    let token = std::fs::read_to_string(home.path().join("metrics-token")).unwrap().trim().to_owned();
    let get = |path: &str, token: &str| {
        let head = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {token}");
        ask(&mut TcpStream::connect(&host).unwrap(), &head)
    };
    let answer = get("/metrics", &token);
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.contains("nexus_ready"), "{answer}");
    assert!(get("/readyz", "").starts_with("HTTP/1.1 200 "));
    assert!(get("/metrics", &node.token()).starts_with("HTTP/1.1 401 "), "the other token is no good here");
    for path in ["/v1/status", "/v1/memories", "/", "/mcp", "/openapi.json"] {
        let answer = get(path, &token);
        assert!(answer.starts_with("HTTP/1.1 403 "), "{path}: {answer}");
    }
    // a scraper keeps its connection, however many come without the token
    let mut scraper = BufReader::new(TcpStream::connect(&host).unwrap());
    scraper.get_ref().set_read_timeout(Some(SOON)).unwrap();
    let mut scrape = || {
        let head = format!("GET /metrics HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {token}\r\n\r\n");
        scraper.get_mut().write_all(head.as_bytes()).unwrap();
        let (mut lines, mut length) = (Vec::new(), 0);
        loop {
            let mut line = String::new();
            scraper.read_line(&mut line).unwrap();
            if line.trim().is_empty() {
                break;
            }
            if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().unwrap();
            }
            lines.push(line);
        }
        let mut body = vec![0; length];
        scraper.read_exact(&mut body).unwrap();
        lines.first().cloned().unwrap_or_default()
    };
    assert!(scrape().starts_with("HTTP/1.1 200 "));
    let mut guests = Vec::new();
    for _ in 0..100 {
        guests.push(TcpStream::connect(&host).unwrap());
    }
    // the last of them is taken in after all others
    let last = ask(&mut guests.pop().unwrap(), &format!("GET /healthz HTTP/1.1\r\nHost: {host}"));
    assert!(last.starts_with("HTTP/1.1 200 "), "{last}");
    assert!(scrape().starts_with("HTTP/1.1 200 "), "it is no guest");
    drop(guests);
    // at the API it opens the metrics, and nothing else
    let bearer = format!("Bearer {token}");
    let api = node.address();
    let at_api = |path: &str| node.raw("GET", path, &[("Host", &api), ("Authorization", &bearer)], b"").status;
    assert_eq!((at_api("/metrics"), at_api("/v1/status"), at_api("/v1/memories")), (200, 403, 403));
    // a taken address is named
    let other = Home::new();
    let ran = other.run(&["up", "--api-addr", "127.0.0.1:0", "--metrics-addr", &host]);
    assert_eq!(ran.code, 7, "{ran:?}");
    drop(node);
    // off loopback it speaks TLS
    let node = home.up_with(&["--metrics-addr", "0.0.0.0:0"]);
    assert!(node.text("metrics").starts_with("https://") && node.text("api").starts_with("http://"));
}

/// promise: Commands and API | A host of `api_hosts` is answered to, and its pages come over TLS
#[test]
fn a_proxy_names_its_host() {
    let home = Home::new().with("NEXUS_API_HOSTS", "Brain.example.org");
    let node = home.up();
    let bearer = format!("Bearer {}", node.token());
    let get = |host: &str, origin: &str| {
        let mut headers = vec![("Host", host), ("Authorization", bearer.as_str())];
        if !origin.is_empty() {
            headers.push(("Origin", origin));
        }
        node.raw("POST", "/v1/session", &headers, b"")
    };
    let answer = get("brain.example.org", "https://brain.example.org");
    assert_eq!(answer.status, 204, "{answer:?}");
    assert!(answer.head.contains("; Secure"), "{}", answer.head);
    let own = get(&node.address(), "");
    assert!(own.status == 204 && !own.head.contains("; Secure"), "{own:?}");
    assert_eq!(get("brain.example.org", "http://brain.example.org").status, 403);
    assert_eq!(get("x.brain.example.org", "").status, 421);
    let other = Home::new().with("NEXUS_API_HOSTS", "*.example.org");
    let ran = other.run(&["up", "--api-addr", "127.0.0.1:0"]);
    assert_eq!(ran.code, 2, "{ran:?}");
    assert!(ran.stderr.contains("in full"), "{}", ran.stderr);
}

/// promise: Revocations | After `key rotate` the certificate is bound to the new key, and the former DID is refused
#[test]
fn another_key_has_another_certificate() {
    let (laptop, cloud) = (Home::new(), Home::new());
    let _first = laptop.up();
    let ticket = laptop.json(&["invite"])["ticket"].as_str().unwrap().to_owned();
    cloud.json(&["join", &ticket, "--name", "cloud"]);
    let node = outside(&cloud, &[]);
    until("the two are connected", || (cloud.json(&["status"])["peers"] == 1).then_some(()));
    let (api, former, token) = (node.text("api"), node.text("did"), node.token());
    let rotated = cloud.json(&["key", "rotate", "--yes"]);
    let new = rotated["did"].as_str().unwrap().to_owned();
    assert_ne!(new, former);
    // the node shows its new certificate a moment after it has answered
    let at = |did: &str| elsewhere(&token, &["--json", "--api", &api, "--api-did", did, "status"]);
    until("the new certificate", || (at(&new).code == 0).then_some(()));
    assert_eq!((at(&former).code, &at(&former).error()["code"]), (4, &json!("foreign_node")));
    until("the directory's commands", || (cloud.run(&["status"]).code == 0).then_some(()));
}
