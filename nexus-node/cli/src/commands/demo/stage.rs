//! The demo's processes and their temporary directory, which end together.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError, mpsc};
use std::time::{Duration, Instant};

use nexus_client::wire;
use nexus_node::api::{Problem, code};
use nexus_node::datadir::DataDir;
use serde_json::Value;

use crate::client::Client;
use crate::problems::data_dir_problem;

/// The longest start of a node.
const READY: Duration = Duration::from_secs(30);
/// The longest run of a command beside the nodes.
const COMMAND: Duration = Duration::from_secs(60);

/// The prefix of the demos' directories, and the file in each that a running demo has locked.
const PREFIX: &str = "nexus-demo-";
const LOCK: &str = "alive";

/// The processes and their directory.
#[derive(Debug)]
pub struct Stage {
    directory: PathBuf,
    program: PathBuf,
    children: Mutex<Children>,
}

#[derive(Debug, Default)]
struct Children {
    running: BTreeMap<String, Child>,
    /// Locked while this process lives. A process that can lock it may remove the directory.
    alive: Option<File>,
    cleared: bool,
}

/// The time that a member is up before it votes, in milliseconds: short, since people watch.
const VOTER_SETTLE_MS: &str = "500";

/// The end of a command that may fail.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    /// The error, if it failed.
    pub(crate) error: Option<wire::ErrorBody>,
}

/// A node that is ready.
#[derive(Clone, Debug)]
pub struct Node {
    /// Its name.
    pub name: String,
    /// The client of its API.
    pub client: Client,
    /// Its DID.
    pub did: String,
    /// The addresses at which it can be dialled.
    pub listen: Vec<String>,
}

impl Stage {
    pub(crate) fn new() -> Result<Self, Problem> {
        let program = crate::program::path();
        Self::of(program.map_err(|error| Problem::new("failed", format!("this program cannot be found: {error}")))?)
    }

    /// A stage for the nodes of this program.
    ///
    /// # Errors
    /// Its directory cannot be made.
    pub fn of(program: PathBuf) -> Result<Self, Problem> {
        let failed = |what: &str, error: &dyn std::fmt::Display| Problem::new("failed", format!("{what}: {error}"));
        let mut random = [0; 8];
        getrandom::fill(&mut random).map_err(|error| failed("no randomness", &error))?;
        let temp = std::env::temp_dir();
        let name = data_encoding::HEXLOWER.encode(&random);
        let directory = temp.join(format!("{PREFIX}{name}"));
        // Under another name until it is locked, so that no other demo removes it as stale.
        let new = temp.join(format!("nexus-new-{name}"));
        let alive = made(&new, &directory).map_err(|error| failed(&directory.display().to_string(), &error))?;
        sweep(&temp, &directory);
        let children = Children { alive: Some(alive), ..Children::default() };
        Ok(Self { directory, program, children: Mutex::new(children) })
    }

    /// Ends every process and removes the directory. Nothing starts afterwards.
    pub fn clear(&self) {
        let mut children = self.lock();
        children.cleared = true;
        for child in children.running.values_mut() {
            // A process that has ended by itself cannot be killed.
            let _ = child.kill();
            let _ = child.wait();
        }
        children.running.clear();
        children.alive = None;
        let _ = fs::remove_dir_all(&self.directory);
    }

    /// The data directory of a node.
    pub(crate) fn directory(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    fn log_of(&self, name: &str) -> PathBuf {
        self.directory.join(format!("{name}.log"))
    }

    /// A node's log so far.
    pub(crate) fn log(&self, name: &str) -> String {
        fs::read_to_string(self.log_of(name)).unwrap_or_default()
    }

    /// Starts a node and waits until it is ready.
    pub fn start(&self, name: &str, port: u16, more: &[String]) -> Result<Node, Problem> {
        let address = format!("127.0.0.1:{port}");
        let mut arguments = ["up", "--name", name, "--api-addr", &address, "--no-mdns", "--until-stdin-closes"]
            .map(str::to_owned)
            .to_vec();
        for listen in ["/ip4/127.0.0.1/udp/0/quic-v1", "/ip4/127.0.0.1/tcp/0"] {
            arguments.extend(["--listen".to_owned(), listen.to_owned()]);
        }
        arguments.extend_from_slice(more);
        let directory = self.directory(name);
        let stdout = self.begin(name, name, &arguments)?;
        let line = first_line(stdout, READY).unwrap_or_default();
        let Ok(ready) = serde_json::from_str::<Value>(&line) else {
            let _ = self.kill(name);
            return Err(self.silent(name));
        };
        let text = |field: &str| ready[field].as_str().unwrap_or_default().to_owned();
        let token = DataDir::api_token_in(&directory).map_err(data_dir_problem)?;
        let token = token.ok_or_else(|| Problem::new("failed", format!("{name} has no api-token")))?;
        let client = Client::new(&text("api"), &token, None).patient(Duration::from_secs(10));
        let listen = ready["listen"].as_array().into_iter().flatten().filter_map(Value::as_str).map(Into::into);
        Ok(Node { name: name.to_owned(), client, did: text("did"), listen: listen.collect() })
    }

    /// Runs a command on a node's directory to its end.
    pub fn command(&self, name: &str, arguments: &[&str]) -> Result<Value, Problem> {
        let arguments: Vec<String> = arguments.iter().map(|&argument| argument.to_owned()).collect();
        let process = format!("a command of {name}");
        let line = first_line(self.begin(&process, name, &arguments)?, COMMAND);
        // it has ended, or said nothing in time
        let _ = self.kill(&process);
        line.and_then(|line| serde_json::from_str(&line).ok()).ok_or_else(|| self.silent(name))
    }

    /// Starts a worker at a node, with a command of this program.
    pub(crate) fn worker(&self, worker: &str, node: &str, options: &[&str], command: &[&str]) -> Result<(), Problem> {
        let own = self.program.to_string_lossy().into_owned();
        let directory = self.directory(node).to_string_lossy().into_owned();
        // its command asks the node, which a sandbox would refuse
        // however busy the machine is: somebody watches
        let idle = ["--cpu-max", "100", "--memory-max", "100"];
        let arguments = [&["worker", "--name", worker, "--sandbox", "none"][..], &idle, options].concat();
        let command = [&["--", &own, "--data-dir", &directory], command].concat();
        let arguments: Vec<String> = arguments.into_iter().chain(command).map(str::to_owned).collect();
        let stdout = self.begin(worker, node, &arguments)?;
        // it says a line for each task, and ends where nobody reads
        std::thread::spawn(move || stdout.map(|mut lines| io::copy(&mut lines, &mut io::sink())));
        Ok(())
    }

    /// Runs a command on a node's directory, which may fail.
    pub(crate) fn try_command(&self, name: &str, arguments: &[&str]) -> Result<Ended, Problem> {
        let arguments: Vec<String> = arguments.iter().map(|&argument| argument.to_owned()).collect();
        // an input that ends at once, also where there is no /dev/null
        let output = self.program(&self.directory(name), &arguments).stdin(Stdio::piped()).output();
        let output = output.map_err(|error| Problem::new("failed", format!("{name}: {error}")))?;
        let stderr = String::from_utf8_lossy(&output.stderr);
        let error = stderr.lines().rev().find_map(|line| serde_json::from_str::<wire::ErrorDocument>(line).ok());
        let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
        Ok(Ended { code: output.status.code(), stdout, error: error.map(|document| document.error) })
    }

    /// Kills a node with SIGKILL: it finishes nothing.
    pub fn kill(&self, name: &str) -> Result<u32, Problem> {
        let mut children = self.lock();
        let mut child =
            children.running.remove(name).ok_or_else(|| Problem::new("not_found", format!("{name} is not running")))?;
        let pid = child.id();
        let killed = child.kill().and_then(|()| child.wait());
        killed.map(|_| pid).map_err(|error| Problem::new("failed", format!("{name}: {error}")))
    }

    /// The process id of a running node.
    pub fn pid(&self, name: &str) -> Option<u32> {
        self.lock().running.get(name).map(Child::id)
    }

    /// Whether the process of a node is alive.
    pub(crate) fn alive(&self, name: &str) -> bool {
        self.lock().running.get_mut(name).is_some_and(|child| matches!(child.try_wait(), Ok(None)))
    }

    /// Starts a process on a node's directory and takes charge of it. Its stdin stays open while this
    /// process lives. Nothing is between the two: a process that nobody knows would write while the
    /// directory is removed.
    fn begin(&self, process: &str, name: &str, arguments: &[String]) -> Result<Option<ChildStdout>, Problem> {
        let failed = |error: std::io::Error| Problem::new("failed", format!("{name} could not be started: {error}"));
        let mut children = self.lock();
        if children.cleared {
            return Err(Problem::new("stopping", "the demo is ending"));
        }
        let log = File::options().create(true).append(true).open(self.log_of(name)).map_err(failed)?;
        let mut command = self.program(&self.directory(name), arguments);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(log);
        let mut child = command.spawn().map_err(failed)?;
        let stdout = child.stdout.take();
        children.running.insert(process.to_owned(), child);
        Ok(stdout)
    }

    fn program(&self, directory: &Path, arguments: &[String]) -> Command {
        let mut command = Command::new(&self.program);
        command.arg("--json").arg("--data-dir").arg(directory).args(arguments);
        // Settings of this shell must not reach the nodes.
        for (variable, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("NEXUS_")) {
            command.env_remove(variable);
        }
        command.env("NEXUS_VOTER_SETTLE_MS", VOTER_SETTLE_MS);
        // a worker that is killed leaves its command's directory there
        command.env("TMPDIR", &self.directory);
        // Ctrl-C must reach only the demo, which then ends its nodes.
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        command
    }

    /// The problem of a node that did not become ready, from its log.
    fn silent(&self, name: &str) -> Problem {
        let log = self.log(name);
        let last = log.lines().rev().find(|line| !line.is_empty()).unwrap_or("it said nothing");
        match serde_json::from_str::<wire::ErrorDocument>(last) {
            Ok(wire::ErrorDocument { error }) => {
                let code = code(&error.code).map_or("failed", |code| code.name);
                Problem { code, message: format!("{name}: {}", error.message), hint: error.hint, id: error.id }
            }
            Err(_) => Problem::new("failed", format!("{name} did not get ready: {last}")),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Children> {
        self.children.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Creates a directory that only this account may enter, with a lock that marks it as in use.
fn made(new: &Path, directory: &Path) -> io::Result<File> {
    let mut builder = fs::DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(new)?;
    let lock = File::create_new(new.join(LOCK))?;
    lock.lock()?;
    fs::rename(new, directory)?;
    Ok(lock)
}

/// Removes the directories of this account's killed demos. Directories that cannot be removed stay.
fn sweep(temp: &Path, ours: &Path) {
    for entry in fs::read_dir(temp).into_iter().flatten().flatten() {
        let path = entry.path();
        let named = entry.file_name().to_str().is_some_and(|name| name.starts_with(PREFIX));
        let real = entry.file_type().is_ok_and(|kind| kind.is_dir());
        if !named || !real || path == ours || !same_owner(&path, ours) {
            continue;
        }
        let lock = File::options().write(true).open(path.join(LOCK));
        if lock.is_ok_and(|lock| lock.try_lock().is_ok()) {
            let _ = fs::remove_dir_all(&path);
        }
    }
}

#[cfg(unix)]
fn same_owner(path: &Path, ours: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let owner = |path: &Path| fs::symlink_metadata(path).map(|metadata| metadata.uid()).ok();
    owner(path).is_some_and(|uid| owner(ours) == Some(uid))
}

/// On other platforms the temporary directory is the account's own.
#[cfg(not(unix))]
fn same_owner(_: &Path, _: &Path) -> bool {
    true
}

/// The first line of a process's output, if it comes in time.
fn first_line(stdout: Option<std::process::ChildStdout>, within: Duration) -> Option<String> {
    let end = Instant::now() + within;
    let (sender, receiver) = mpsc::channel();
    let stdout = stdout?;
    std::thread::spawn(move || {
        let mut line = String::new();
        let read = BufReader::new(stdout).read_line(&mut line);
        // The receiver is gone if it took too long.
        let _ = sender.send(read.ok().filter(|&bytes| bytes > 0).map(|_| line));
    });
    receiver.recv_timeout(end.saturating_duration_since(Instant::now())).ok().flatten()
}
