//! The node behind the server: its address, and its start.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use nexus_node::api::Problem;
use nexus_node::config::Settings;
use nexus_node::datadir::{Contents, DataDir};
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep};

use super::super::connect::program_token;
use super::wire::{self, Answer, Failure, Request, Way};
use crate::client::pin_of_directory;
use crate::log::LogFile;
use crate::pinned::Pin;
use crate::problems::{config_problem, data_dir_problem, no_node};
use crate::session::{CliSession, token_in};

/// The longest start of a node.
const START_TIMEOUT: Duration = Duration::from_secs(30);
/// The time between two tries to reach it meanwhile.
const ASK_EVERY: Duration = Duration::from_millis(100);

/// The node's address, as far as it is known.
pub(in crate::commands) struct Home {
    source: NodeSource,
    /// Held during the start of a node.
    starting: Mutex<()>,
}

enum NodeSource {
    /// `--api` names the node, which this program must not start.
    Given { base: String, token: String, pin: Option<Pin> },
    /// The data directory names the node, anew for each request.
    Directory { path: PathBuf, may_start: bool, shows: Shows },
}

/// The token that is shown to the node of a directory.
enum Shows {
    /// Its owner's.
    Owners,
    /// That in a file.
    File(PathBuf),
    /// That of a program on this machine, which is made at the first need.
    Programs { name: &'static str, session: CliSession, making: Arc<Mutex<()>> },
}

impl Shows {
    async fn token(&self, directory: &Path) -> Result<Option<String>, Problem> {
        let owners = || {
            let token = DataDir::api_token_in(directory).map_err(data_dir_problem)?;
            Ok(token.map(|token| token.to_string()))
        };
        match self {
            Self::Owners => owners(),
            Self::File(file) => token_in(file).map(Some),
            Self::Programs { name, session, making } => {
                let _making = making.lock().await;
                let (name, session) = (*name, session.clone());
                let token = tokio::task::spawn_blocking(move || program_token::held_or_made(name, &session)).await;
                match token.unwrap_or_else(|error| Err(Problem::new("internal", error.to_string())))? {
                    Some(token) => Ok(Some(token)),
                    None => owners(),
                }
            }
        }
    }
}

impl Home {
    pub(in crate::commands) fn new(session: &CliSession, may_start: bool) -> Result<Self, Problem> {
        let source = if session.elsewhere() {
            let client = session.client()?;
            NodeSource::Given {
                base: client.base().to_owned(),
                token: client.token().to_owned(),
                pin: client.pin().cloned(),
            }
        } else {
            let shows = session.token_file().map_or(Shows::Owners, |file| Shows::File(file.to_owned()));
            NodeSource::Directory { path: session.data_dir()?, may_start, shows }
        };
        Ok(Self { source, starting: Mutex::default() })
    }

    /// With the token of a program on this machine, where no other token was given.
    pub(super) fn with_token_of(mut self, program: Option<&'static str>, session: &CliSession) -> Self {
        if let (Some(name), NodeSource::Directory { shows: shows @ Shows::Owners, .. }) = (program, &mut self.source) {
            *shows = Shows::Programs { name, session: session.clone(), making: Arc::default() };
        }
        self
    }

    /// Whether a node answers now.
    pub(super) async fn check(&self) -> Result<(), Problem> {
        let request = Request { method: "GET", path: "/readyz", headers: Vec::new(), body: Vec::new() };
        self.once(&request).await.map(drop).map_err(|failure| failure.problem())
    }

    /// Sends a request to the running node.
    pub(super) async fn once(&self, request: &Request<'_>) -> Result<Answer, Failure> {
        let (base, token, pin, directory) = match &self.source {
            NodeSource::Given { base, token, pin } => (base.clone(), token.clone(), pin.clone(), None),
            NodeSource::Directory { path, shows, .. } => {
                let missing = || Failure::Unsent(no_node(&format!("no node has run in {}", path.display())));
                let base = DataDir::api_url_in(path).map_err(|error| Failure::Unsent(data_dir_problem(error)))?;
                let base = base.ok_or_else(missing)?;
                let token = shows.token(path).await.map_err(Failure::Unsent)?.ok_or_else(missing)?;
                let pin = pin_of_directory(path, &base).map_err(Failure::Unsent)?;
                (base, token, pin, Some(path.as_path()))
            }
        };
        wire::send(&Way { base: &base, token: &token, pin: pin.as_ref(), directory }, request).await
    }

    /// Sends a request. Without a node, starts one or waits for one.
    pub(super) async fn send(&self, request: &Request<'_>) -> Result<Answer, Failure> {
        let end = Instant::now() + START_TIMEOUT;
        loop {
            match self.once(request).await {
                // a node that does not know the token runs
                Err(Failure::Unsent(problem)) if problem.code == "unauthorized" => {
                    return Err(Failure::Unsent(problem));
                }
                Err(Failure::Unsent(problem)) => {
                    let NodeSource::Directory { may_start: true, .. } = &self.source else {
                        return Err(Failure::Unsent(problem));
                    };
                    if Instant::now() > end {
                        return Err(Failure::Unsent(problem));
                    }
                    self.start(end).await.map_err(Failure::Unsent)?;
                }
                Ok(answer) if answer.status == 503 && Instant::now() < end => sleep(ASK_EVERY).await,
                other => return other,
            }
        }
    }

    /// Starts a node unless one runs by now, and waits until it answers.
    pub(in crate::commands) async fn start(&self, end: Instant) -> Result<(), Problem> {
        let _starting = self.starting.lock().await;
        let NodeSource::Directory { path, may_start: true, .. } = &self.source else {
            return Ok(());
        };
        match self.check().await {
            Ok(()) => return Ok(()),
            Err(problem) if problem.code == "unauthorized" => return Err(problem),
            Err(_) => {}
        }
        let mut node = spawn(path)?;
        loop {
            sleep(ASK_EVERY).await;
            let Err(problem) = self.check().await else {
                // The node goes on without this program; the thread collects its exit status.
                std::thread::spawn(move || node.wait());
                return Ok(());
            };
            let ended = node.try_wait().ok().flatten();
            // With this exit code, another program was faster and has the directory.
            let in_use = ended.is_some_and(|status| status.code() == Some(7));
            if in_use && problem.code == "unproven" {
                return Err(problem);
            }
            let lost = ended.is_some() && !in_use;
            if lost || Instant::now() > end {
                let log = DataDir::agent_log_path(path);
                let message = format!("the node in {} could not be started", path.display());
                return Err(no_node(&message).hint(format!("{} says why", log.display())));
            }
        }
    }
}

/// Starts a node that outlives this program.
fn spawn(directory: &Path) -> Result<std::process::Child, Problem> {
    if DataDir::inspect(directory).map_err(data_dir_problem)? == Contents::Empty {
        // First, since a directory that becomes a node's may hold nothing else.
        let settings = Settings::load(directory, &[]).map_err(config_problem)?;
        match nexus_node::node::init(directory, settings.config().name.clone()) {
            Ok(_) => {}
            Err(error) => match Problem::from(error) {
                problem if ["conflict", "in_use"].contains(&problem.code) => {}
                problem => return Err(problem),
            },
        }
    }
    let failed = |what: &str, error: std::io::Error| Problem::new("failed", format!("{what}: {error}"));
    let path = DataDir::agent_log_path(directory);
    let log = LogFile::open(&path).and_then(|log| log.stderr());
    let log = log.map_err(|error| failed(&format!("{} cannot be written", path.display()), error))?;
    let program = crate::program::path().map_err(|error| failed("this program cannot be found", error))?;
    let mut command = Command::new(program);
    command
        .arg("--data-dir")
        .arg(directory)
        .args(["up", "--started-by", "mcp", "--log-file"])
        .arg(&path)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log);
    command.env_remove("NEXUS_API").env_remove("NEXUS_API_DID").env_remove("NEXUS_TOKEN_FILE");
    detach(&mut command);
    command.spawn().map_err(|error| failed("the node could not be started", error))
}

/// Detaches the node, so that a signal to this program, such as Ctrl-C, does not end it.
#[cfg(unix)]
fn detach(command: &mut Command) {
    std::os::unix::process::CommandExt::process_group(command, 0);
}

#[cfg(windows)]
fn detach(command: &mut Command) {
    const DETACHED_PROCESS: u32 = 0x8;
    const CREATE_NEW_PROCESS_GROUP: u32 = 0x200;
    std::os::windows::process::CommandExt::creation_flags(command, DETACHED_PROCESS | CREATE_NEW_PROCESS_GROUP);
}
