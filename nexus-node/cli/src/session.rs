//! The common ground of every command: the printer, the data directory, the client of the node.

use std::ffi::OsStr;
use std::io::{self, Read};
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use nexus_identity::Did;
use nexus_node::api::Problem;
use nexus_node::config::LogFormat;
use nexus_node::datadir::DataDir;
use tokio::runtime::Runtime;

use crate::address::ApiAddress;
use crate::client::Client;
use crate::global::Global;
use crate::log::{Log, LogFile};
use crate::otlp::Otlp;
use crate::output::Printer;
use crate::pinned::Pin;
use crate::problems::data_dir_problem;

/// One run of the program.
#[derive(Clone, Debug)]
pub struct CliSession {
    /// The way to stdout and stderr.
    pub printer: Printer,
    data_dir: Option<PathBuf>,
    api: Option<String>,
    api_did: Option<String>,
    token_file: Option<PathBuf>,
    quiet: bool,
    verbose: u8,
}

impl CliSession {
    /// A run with these flags.
    pub fn new(global: Global) -> Self {
        let Global { data_dir, api, api_did, token_file, json, quiet, verbose } = global;
        let program = data_dir.as_deref().and_then(with_data_dir);
        Self { printer: Printer::new(json, quiet).calls(program), data_dir, api, api_did, token_file, quiet, verbose }
    }

    /// Tells of the problem of a command, and ends with its exit code.
    pub fn ends(&self, result: Result<(), Problem>) -> ExitCode {
        match result {
            Ok(()) => ExitCode::SUCCESS,
            Err(problem) => {
                self.printer.problem(&problem);
                ExitCode::from(problem.exit())
            }
        }
    }

    /// The data directory, which need not exist.
    pub(crate) fn data_dir(&self) -> Result<PathBuf, Problem> {
        match &self.data_dir {
            Some(path) => Ok(path.clone()),
            None => default_data_dir().ok_or_else(|| {
                let problem = Problem::new("usage", "this account has no home directory");
                problem.hint("name a data directory with --data-dir")
            }),
        }
    }

    /// The client of the node: the one of `--api`, or of the data directory.
    pub(crate) fn client(&self) -> Result<Client, Problem> {
        let given = self.given_token()?;
        if let Some(api) = &self.api {
            let token = std::env::var("NEXUS_TOKEN").ok().filter(|token| !token.is_empty());
            return self.client_of(api, given.or(token));
        }
        if self.api_did.is_some() {
            let problem = Problem::new("usage", "--api-did says which node is at --api, which is not given");
            return Err(problem.hint("give --api https://HOST:PORT, too, or leave --api-did and NEXUS_API_DID out"));
        }
        Client::in_directory_with(&self.data_dir()?, given)
    }

    /// The same with the token in a file.
    pub(crate) fn with_token_file(&self, file: PathBuf) -> Self {
        Self { token_file: Some(file), ..self.clone() }
    }

    /// The file of the token to use, in place of the data directory's own.
    pub(crate) fn token_file(&self) -> Option<&Path> {
        self.token_file.as_deref()
    }

    /// The token in the file that was given.
    fn given_token(&self) -> Result<Option<String>, Problem> {
        self.token_file.as_deref().map(token_in).transpose()
    }

    /// Whether `--api` names the node.
    pub(crate) fn elsewhere(&self) -> bool {
        self.api.is_some()
    }

    /// The token of the data directory goes to this machine, and to where its node's API was last; nowhere else.
    fn client_of(&self, api: &str, token: Option<String>) -> Result<Client, Problem> {
        let address = ApiAddress::parse(api).ok_or_else(|| {
            let problem = Problem::new("usage", format!("{api} is not the address of an API"));
            problem.hint("give it as http://127.0.0.1:8002, or https://HOST:8002 with --api-did")
        })?;
        let pin = self.pin_of(api, &address)?;
        let token = match token {
            Some(token) => Some(token),
            None => self.own_token_for(&address, pin.as_ref())?,
        };
        let hint = "set NEXUS_TOKEN to the line in the `api-token` of that node's data directory";
        let token = token.ok_or_else(|| Problem::new("unauthorized", format!("no token for {api}")).hint(hint))?;
        Ok(Client::new(api, &token, pin))
    }

    /// The node at an address of TLS.
    fn pin_of(&self, api: &str, address: &ApiAddress) -> Result<Option<Pin>, Problem> {
        let usage = |message: String, hint: &str| Err(Problem::new("usage", message).hint(hint));
        match (&self.api_did, address.is_tls()) {
            (None, false) => Ok(None),
            (None, true) => usage(
                format!("{api} is an address of TLS, and --api-did does not say whose"),
                "give --api-did DID, the `did` that `nexus-node status --json` prints on that machine; a certificate of \
                 an authority is not looked at",
            ),
            (Some(_), false) => usage(
                format!("--api-did cannot be checked at {api}, which is in the clear"),
                "give https://…, or leave --api-did and NEXUS_API_DID out",
            ),
            (Some(did), true) => match did.parse::<Did>() {
                Ok(did) => Pin::new(did).map(Some),
                Err(error) => usage(
                    format!("--api-did: {error}"),
                    "it is the `did` that `nexus-node status --json` prints on that machine: did:key:z6Mk…",
                ),
            },
        }
    }

    /// The token of the data directory, if it may be sent there. Over TLS the DID decides, wherever the node is.
    fn own_token_for(&self, address: &ApiAddress, pin: Option<&Pin>) -> Result<Option<String>, Problem> {
        let directory = self.data_dir()?;
        if let Some(pin) = pin {
            let own = DataDir::api_did_in(&directory).map_err(data_dir_problem)?;
            if own != Some(pin.did()) {
                return Ok(None);
            }
            let token = DataDir::api_token_in(&directory).map_err(data_dir_problem)?;
            return Ok(token.map(|token| token.to_string()));
        }
        let own = DataDir::api_url_in(&directory).map_err(data_dir_problem)?;
        let own = own.as_deref().and_then(ApiAddress::parse);
        if !address.is_local() && !own.is_some_and(|own| own.is_same(address)) {
            return Ok(None);
        }
        let token = DataDir::api_token_in(&directory).map_err(data_dir_problem)?;
        Ok(token.map(|token| token.to_string()))
    }

    /// The command that calls this program for the same node.
    pub(crate) fn program(&self) -> String {
        self.data_dir.as_deref().and_then(with_data_dir).unwrap_or_else(|| "nexus-node".to_owned())
    }

    /// Starts logging to stderr with this filter. `-q`, `-v` and `RUST_LOG` take precedence.
    pub fn log(&self, filter: &str, format: LogFormat) -> Log {
        self.log_and_trace(filter, format, None, None)
    }

    /// The same, into a file if there is one, and sends spans to a collector.
    pub(crate) fn log_and_trace(
        &self,
        filter: &str,
        format: LogFormat,
        file: Option<LogFile>,
        otlp: Option<&Otlp>,
    ) -> Log {
        let fixed = match (std::env::var("RUST_LOG").ok(), self.quiet, self.verbose) {
            (Some(filter), ..) => Some(filter),
            (None, true, _) => Some("error".to_owned()),
            (None, false, 0) => None,
            (None, false, 1) => {
                Some("info,nexus_identity=debug,nexus_crdt=debug,nexus_mesh=debug,nexus_node=debug".to_owned())
            }
            (None, false, 2) => Some("debug,nexus_mesh=trace,nexus_node=trace".to_owned()),
            (None, false, _) => Some("trace".to_owned()),
        };
        Log::start(fixed.as_deref().unwrap_or(filter), fixed.is_some(), format, file, otlp)
    }

    /// The runtime of a command with a node, or a part of one.
    pub fn runtime() -> Result<Runtime, Problem> {
        runtime_of(workers_of_a_node)
    }

    /// The runtime of a command with several nodes and their callers: a worker for each processor.
    pub fn runtime_of_many() -> Result<Runtime, Problem> {
        runtime_of(|processors| processors)
    }
}

fn runtime_of(workers: fn(usize) -> usize) -> Result<Runtime, Problem> {
    let workers = match std::env::var_os(WORKERS) {
        Some(chosen) => chosen_workers(&chosen)?,
        None => workers(std::thread::available_parallelism().map_or(1, NonZero::get)),
    };
    // few threads at rest: each keeps memory of the allocator's, and idle ones are woken in turn
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    nexus_mesh::timers::begin();
    let runtime = runtime.worker_threads(workers).enable_all().thread_keep_alive(Duration::from_millis(500)).build();
    runtime.map_err(|error| Problem::new("failed", format!("the runtime could not be started: {error}")))
}

/// Sets the number of workers, as in every program of tokio.
const WORKERS: &str = "TOKIO_WORKER_THREADS";

fn chosen_workers(chosen: &OsStr) -> Result<usize, Problem> {
    let number = chosen.to_str().and_then(|chosen| chosen.parse().ok()).filter(|number| (1..=1024).contains(number));
    number.ok_or_else(|| {
        let chosen = chosen.to_string_lossy();
        Problem::new("invalid", format!("{WORKERS} is `{chosen}`"))
            .hint("set it to a number from 1 to 1024, or unset it")
    })
}

/// The threads that run the tasks of a node. The disk and reads of the memory have threads of their own. Each
/// further worker costs: it is woken to look for tasks whenever another one finds some.
fn workers_of_a_node(processors: usize) -> usize {
    (processors / 2).clamp(1, 4)
}

/// The default data directory: `nexus` in the platform's place for data that stays on this machine.
/// `None` for an account without a home.
pub(crate) fn default_data_dir() -> Option<PathBuf> {
    Some(directories::BaseDirs::new()?.data_local_dir().join("nexus"))
}

/// The place for what a backup of a data directory must not bring back: `nexus-nodes` in the platform's place for
/// state. `None` for an account without a home.
pub(crate) fn state_dir() -> Option<PathBuf> {
    let directories = directories::BaseDirs::new()?;
    let parent = directories.state_dir().unwrap_or_else(|| directories.data_local_dir());
    Some(parent.join("nexus-nodes"))
}

/// The command with a data directory, unless the environment names that one already.
fn with_data_dir(path: &Path) -> Option<String> {
    let given = std::env::var_os("NEXUS_DATA_DIR").map(PathBuf::from);
    (given.as_deref() != Some(path)).then(|| format!("nexus-node --data-dir {}", quoted(&path.display().to_string())))
}

/// A word quoted for a shell.
pub(crate) fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "/\\._-~:".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', "'\\''"))
    }
}

/// The token in a file.
pub(crate) fn token_in(file: &Path) -> Result<String, Problem> {
    let unusable = |message: String| {
        Problem::new("unauthorized", message)
            .hint("`nexus-node connect PROGRAM` makes the token of a program, `nexus-node token create` any other")
    };
    match DataDir::token_in_file(file) {
        Ok(Some(token)) => Ok(token.to_string()),
        Ok(None) => Err(unusable(format!("there is no token in {}", file.display()))),
        Err(error) => Err(unusable(error.to_string())),
    }
}

/// The text of an argument; for `-`, the content of stdin.
pub(crate) fn text(argument: String) -> Result<String, Problem> {
    if argument != "-" {
        return Ok(argument);
    }
    let mut text = String::new();
    let read = io::stdin().lock().read_to_string(&mut text);
    read.map_err(|error| Problem::new("invalid", format!("stdin: {error}")))?;
    Ok(text.trim_end_matches(['\n', '\r']).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// promise: Nodes | A node has one thread for its tasks for two processors, four at most; `TOKIO_WORKER_THREADS` sets another number
    #[test]
    fn a_node_has_a_worker_for_two_processors_and_four_at_most() {
        assert_eq!([1, 2, 3, 4, 8, 64].map(workers_of_a_node), [1, 1, 1, 2, 4, 4]);
    }

    /// promise: Bad input | A number of threads that is none is refused with a hint
    #[test]
    fn a_number_of_workers_that_is_none_is_refused_with_a_hint() {
        assert_eq!(chosen_workers(OsStr::new("3")).unwrap(), 3);
        for wrong in ["", "0", "-1", "1025", "many", "99999999999999999999"] {
            let problem = chosen_workers(OsStr::new(wrong)).unwrap_err();
            assert!(problem.hint.is_some_and(|hint| hint.contains("from 1 to 1024")), "{wrong}");
        }
    }
}
