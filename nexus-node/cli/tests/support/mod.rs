//! Running the built program as its users do: as a process, and over HTTP.

#![allow(dead_code, unreachable_pub, missing_debug_implementations, reason = "each test program uses its part")]

pub mod dice;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde_json::Value;

/// The program of the package whose tests these are.
pub const PROGRAM: &str = match (option_env!("CARGO_BIN_EXE_nexus-node"), option_env!("CARGO_BIN_EXE_nexus-bench")) {
    (Some(program), _) | (None, Some(program)) => program,
    (None, None) => panic!("these tests have a program"),
};

/// The longest wait for anything.
pub const SOON: Duration = Duration::from_secs(60);
/// A worker takes tasks on a machine that other tests keep busy, too, and whoever runs the tests.
pub const HOWEVER_BUSY: &[&str] = &["--cpu-max", "100", "--memory-max", "100", "--allow-root"];

/// Held by each test with several processes: elections depend on time, and such groups would slow each other down.
pub fn alone() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    ONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A data directory that is removed with the test.
pub struct Home {
    directory: tempfile::TempDir,
    environment: Vec<(&'static str, &'static str)>,
    program: PathBuf,
}

impl Home {
    pub fn new() -> Self {
        Self { directory: tempfile::tempdir().unwrap(), environment: Vec::new(), program: PROGRAM.into() }
    }

    /// On the disk that the programs are built on: a service refuses file systems in memory.
    pub fn on_disk() -> Self {
        Self { directory: tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap(), ..Self::new() }
    }

    /// Sets the program of every command from now on: that of another version.
    pub fn set_program(&mut self, program: &Path) {
        self.program = program.to_owned();
    }

    /// Sets a variable in the environment of every command.
    #[must_use]
    pub fn with(mut self, variable: &'static str, value: &'static str) -> Self {
        self.environment.push((variable, value));
        self
    }

    /// The data directory, which does not exist until a command makes it.
    pub fn path(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    /// A file beside the data directory.
    pub fn beside(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        for (variable, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("NEXUS_")) {
            command.env_remove(variable);
        }
        command.env_remove("RUST_LOG").env("NO_COLOR", "1").env("NEXUS_DATA_DIR", self.path());
        command.env("XDG_STATE_HOME", self.beside("state")).env("XDG_CONFIG_HOME", self.beside("config"));
        // without these, nothing finds the service manager of the person who runs the tests
        command.env_remove("XDG_RUNTIME_DIR").env_remove("DBUS_SESSION_BUS_ADDRESS");
        command.envs(self.environment.iter().copied());
        command.args(arguments).stdin(Stdio::null());
        command
    }

    /// Runs a command to its end.
    pub fn run(&self, arguments: &[&str]) -> Ran {
        Ran::of(self.command(arguments).output().unwrap())
    }

    /// The codes of the running node's warnings, but for the one that the machine's disk decides.
    pub fn warnings(&self) -> Vec<String> {
        let status = self.json(&["status"]);
        let codes = status["warnings"].as_array().unwrap().iter().map(|warning| warning["code"].as_str().unwrap());
        codes.filter(|code| *code != "low_disk").map(str::to_owned).collect()
    }

    /// Runs a command with something on its stdin.
    pub fn run_with(&self, arguments: &[&str], stdin: &[u8]) -> Ran {
        let mut child = self
            .command(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut pipe = child.stdin.take().unwrap();
        let bytes = stdin.to_vec();
        let writer = std::thread::spawn(move || drop(pipe.write_all(&bytes)));
        let output = child.wait_with_output().unwrap();
        writer.join().unwrap();
        Ran::of(output)
    }

    /// Starts the node on loopback and waits until it is ready.
    pub fn up(&self) -> Node {
        self.up_with(&[])
    }

    /// A node at the addresses that it had before.
    pub fn up_at(&self, listen: &[String]) -> Node {
        self.up_with(&listen.iter().flat_map(|address| ["--listen", address.as_str()]).collect::<Vec<_>>())
    }

    pub fn up_with(&self, more: &[&str]) -> Node {
        let mut arguments = vec!["up", "--json", "--no-mdns", "--until-stdin-closes"];
        if !more.contains(&"--api-addr") {
            arguments.extend(["--api-addr", "127.0.0.1:0"]);
        }
        if !more.contains(&"--listen") {
            arguments.extend(["--listen", "/ip4/127.0.0.1/udp/0/quic-v1", "--listen", "/ip4/127.0.0.1/tcp/0"]);
        }
        arguments.extend_from_slice(more);
        let log = std::fs::File::options().create(true).append(true).open(self.beside("log")).unwrap();
        let mut child =
            self.command(&arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(log).spawn().unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        let ready: Value =
            serde_json::from_str(&line).unwrap_or_else(|error| panic!("not ready: {error}: {line:?}\n{}", self.log()));
        assert_eq!(ready["ready"], true);
        Node { child, stdout, ready, path: self.path() }
    }

    /// The log of the nodes here.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.beside("log")).unwrap_or_default()
    }

    /// The answer of a command, which must succeed.
    #[track_caller]
    pub fn json(&self, arguments: &[&str]) -> Value {
        let mut all = arguments.to_vec();
        all.push("--json");
        self.run(&all).json()
    }

    /// A request in a person's own session, as the page makes it: with the cookie that the `api-token` gives.
    pub fn as_person(&self, method: &str, path: &str, body: &str) -> Answer {
        let read = |name: &str| std::fs::read_to_string(self.path().join(name)).unwrap().trim().to_owned();
        let (url, bearer) = (read("api-url"), format!("Bearer {}", read("api-token")));
        let address = url.trim_start_matches("http://");
        let signed_in = raw_at(address, "POST", "/v1/session", &[("Host", address), ("Authorization", &bearer)], b"");
        let cookie = signed_in.header("set-cookie").unwrap_or_else(|| panic!("no session: {signed_in:?}"));
        let cookie = cookie.split(';').next().unwrap().to_owned();
        raw_at(address, method, path, &[("Host", address), ("Cookie", &cookie), ("Origin", &url)], body.as_bytes())
    }

    /// Approves a task as a person does on the page.
    pub fn approve(&self, task: &str) -> Answer {
        self.as_person("POST", &format!("/v1/tasks/{task}/approve"), "{}")
    }

    /// The error of a command, which must fail.
    #[track_caller]
    pub fn error(&self, arguments: &[&str]) -> (i32, Value) {
        let mut all = arguments.to_vec();
        all.push("--json");
        let ran = self.run(&all);
        (ran.code, ran.error())
    }
}

/// The result of a command.
#[derive(Debug)]
pub struct Ran {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Ran {
    fn of(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Self { code: output.status.code().unwrap_or(-1), stdout: text(output.stdout), stderr: text(output.stderr) }
    }

    #[track_caller]
    pub fn ok(self) -> Self {
        assert_eq!(self.code, 0, "{self:?}");
        self
    }

    /// The one document on stdout.
    #[track_caller]
    pub fn json(self) -> Value {
        let ran = self.ok();
        assert_eq!(ran.stdout.matches('\n').count(), 1, "one line: {ran:?}");
        serde_json::from_str(&ran.stdout).unwrap()
    }

    /// The error in the last line of stderr; stdout must be empty.
    #[track_caller]
    pub fn error(&self) -> Value {
        assert_ne!(self.code, 0, "{self:?}");
        assert_eq!(self.stdout, "", "{self:?}");
        let last = self.stderr.lines().last().unwrap_or_default();
        let document: Value = serde_json::from_str(last).unwrap_or_else(|error| panic!("{error}: {self:?}"));
        let error = document["error"].clone();
        for field in ["code", "message", "hint"] {
            assert!(error.get(field).is_some(), "{field}: {self:?}");
        }
        error
    }
}

/// A running node, which ends with the test.
pub struct Node {
    child: Child,
    stdout: BufReader<ChildStdout>,
    pub ready: Value,
    path: PathBuf,
}

impl Node {
    pub fn text(&self, field: &str) -> String {
        self.ready[field].as_str().unwrap().to_owned()
    }

    /// `127.0.0.1:PORT` of the API.
    pub fn address(&self) -> String {
        self.text("api").trim_start_matches("http://").to_owned()
    }

    /// Its addresses, which it must have after a restart, too.
    pub fn listens(&self) -> Vec<String> {
        let addresses = self.ready["listen"].as_array().unwrap();
        addresses.iter().map(|address| address.as_str().unwrap().split("/p2p/").next().unwrap().to_owned()).collect()
    }

    /// The address and token of its API.
    pub fn door(&self) -> (String, String) {
        (format!("http://{}", self.address()), self.token())
    }

    pub fn token(&self) -> String {
        std::fs::read_to_string(self.path.join("api-token")).unwrap().trim().to_owned()
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Kills the node with SIGKILL: it finishes nothing.
    pub fn kill_9(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Waits until it has ended by itself. Returns its exit code.
    pub fn ended(mut self) -> Option<i32> {
        until("the node ends", || self.child.try_wait().unwrap()).code()
    }

    /// Sends SIGTERM. Returns the exit code, and the output after the first line.
    pub fn terminate(mut self) -> (Option<i32>, String) {
        let pid = self.pid().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
        // Waiting would close stdin, which is another way to stop it.
        let _stdin = self.child.stdin.take();
        let code = self.child.wait().unwrap().code();
        let mut rest = String::new();
        self.stdout.read_to_string(&mut rest).unwrap();
        (code, rest)
    }

    /// A request with the right token and host, and no other header.
    pub fn http(&self, method: &str, path: &str, body: &str) -> Answer {
        let (address, token) = (self.address(), self.token());
        let bearer = format!("Bearer {token}");
        self.raw(method, path, &[("Host", &address), ("Authorization", &bearer)], body.as_bytes())
    }

    /// A request with exactly these headers, and those that frame the body.
    pub fn raw(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        raw_at(&self.address(), method, path, headers, body)
    }

    /// A request with this token.
    pub fn with_token(&self, token: &str, method: &str, path: &str, body: &str) -> Answer {
        let (address, bearer) = (self.address(), format!("Bearer {token}"));
        self.raw(method, path, &[("Host", &address), ("Authorization", &bearer)], body.as_bytes())
    }
}

/// A request to an address with exactly these headers, and those that frame the body.
fn raw_at(address: &str, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
    let mut head = format!("{method} {path} HTTP/1.1\r\nConnection: close\r\n");
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str(&format!("Content-Length: {}\r\n\r\n", body.len()));
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    stream.write_all(head.as_bytes()).unwrap();
    // The server need not read a refused body to its end.
    let _ = stream.write_all(body);
    let mut bytes = Vec::new();
    let _ = stream.read_to_end(&mut bytes);
    let _ = stream.shutdown(Shutdown::Both);
    Answer::parse(&bytes)
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An answer over HTTP.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl Answer {
    fn parse(bytes: &[u8]) -> Self {
        let end = bytes.windows(4).position(|end| end == b"\r\n\r\n");
        let end = end.unwrap_or_else(|| panic!("no answer: {:?}", String::from_utf8_lossy(bytes)));
        let (head, body) = (String::from_utf8_lossy(&bytes[..end]), &bytes[end + 4..]);
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        let chunked = head.to_ascii_lowercase().contains("transfer-encoding: chunked");
        let body = if chunked { dechunk(body) } else { body.to_vec() };
        Self { status, head: head.into_owned(), body: String::from_utf8_lossy(&body).into_owned() }
    }

    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The value of a header.
    pub fn header(&self, name: &str) -> Option<String> {
        let headers = self.head.lines().filter_map(|line| line.split_once(": "));
        let mut values = headers.filter(|(header, _)| header.eq_ignore_ascii_case(name));
        values.next().map(|(_, value)| value.to_owned())
    }

    pub fn lines(&self) -> Vec<Value> {
        self.body.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// The code of a problem, which must be complete.
    #[track_caller]
    pub fn problem(&self) -> String {
        assert!(self.head.to_ascii_lowercase().contains("content-type: application/problem+json"), "{self:?}");
        let problem = self.json();
        assert_eq!(problem["status"], self.status, "{self:?}");
        for field in ["type", "title", "detail", "code"] {
            assert!(problem[field].is_string(), "{field}: {self:?}");
        }
        problem["code"].as_str().unwrap().to_owned()
    }
}

/// The bytes of a body in chunks, as far as they are there.
fn dechunk(mut body: &[u8]) -> Vec<u8> {
    let mut whole = Vec::new();
    while let Some(end) = body.windows(2).position(|end| end == b"\r\n") {
        let length = std::str::from_utf8(&body[..end]).ok().and_then(|length| usize::from_str_radix(length, 16).ok());
        let rest = &body[end + 2..];
        let Some(chunk) = length.filter(|length| *length > 0).and_then(|length| rest.get(..length)) else { break };
        whole.extend_from_slice(chunk);
        body = rest[chunk.len()..].strip_prefix(b"\r\n").unwrap_or_default();
    }
    whole
}

/// The texts of all memories that a node lists, ascending.
pub fn texts(home: &Home) -> Vec<String> {
    let listed = home.json(&["list", "--limit", "1000"]);
    let mut texts: Vec<String> =
        listed["items"].as_array().unwrap().iter().map(|memory| memory["text"].as_str().unwrap().to_owned()).collect();
    texts.sort();
    texts
}

/// Waits until a node lists exactly these texts.
pub fn until_listed(home: &Home, wanted: &[&str]) {
    until(&format!("the memories {wanted:?}"), || (texts(home) == wanted).then_some(()));
}

/// Asks again and again until there is an answer. The node is another process, so there is no event to
/// wait for.
#[track_caller]
pub fn until<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + SOON;
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < end, "{what}: not within {SOON:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Two homes, the second a member of the first one's mesh. Both run and are connected.
pub fn pair() -> ((Home, Node), (Home, Node)) {
    let (laptop, cloud) = (Home::new(), Home::new());
    let first = laptop.up_with(&["--name", "laptop"]);
    let ticket = laptop.json(&["invite"])["ticket"].as_str().unwrap().to_owned();
    cloud.json(&["join", &ticket, "--name", "cloud"]);
    let second = cloud.up();
    for home in [&laptop, &cloud] {
        until("the two are connected", || (home.json(&["status"])["peers"] == 1).then_some(()));
    }
    ((laptop, first), (cloud, second))
}

/// A path of the API with a value for each of its parameters.
pub fn filled(path: &str) -> String {
    let part = |part: &str| if part.starts_with('{') { "x".to_owned() } else { part.to_owned() };
    path.split('/').map(part).collect::<Vec<_>>().join("/")
}

/// Every file below a directory, with its bytes.
pub fn files(directory: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            files.extend(self::files(&path));
        } else {
            files.push((path.clone(), std::fs::read(&path).unwrap_or_default()));
        }
    }
    files.sort();
    files
}
