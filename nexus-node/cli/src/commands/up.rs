mod banner;
mod door;
mod settings;

use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, ValueEnum};
use nexus_identity::Name;
use nexus_node::Node;
use nexus_node::api::issued::TokenBook;
use nexus_node::api::{Api, ApiTokens, Problem};
use nexus_node::config::Settings;
use nexus_node::datadir::{Contents, DataDir, DataDirError};
use nexus_node::node::Stopped;
use nexus_node::tls::KeptCertificate;
use serde_json::json;
use tokio::sync::oneshot;

use self::door::{Doors, Opened};
use self::settings::{LiveSettings, Process};
use crate::holder;
use crate::log::LogFile;
use crate::otlp::Otlp;
use crate::problems::{config_problem, data_dir_problem};
use crate::session::{CliSession, state_dir};

/// The longest end of a stopping node.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);

/// Run the node
#[derive(Debug, Args)]
pub(crate) struct Up {
    /// This node's name when it makes its mesh [default: the machine's name]
    #[arg(long)]
    name: Option<Name>,
    /// The address of the API [default: 127.0.0.1:8002, or a free port]
    #[arg(long, value_name = "ADDR")]
    api_addr: Option<String>,
    /// Speak HTTP in the clear off loopback, as behind a proxy: the network sees tokens and memories
    #[arg(long)]
    cleartext: bool,
    /// A further address for the metrics alone, with a token of their own
    #[arg(long, value_name = "ADDR")]
    metrics_addr: Option<String>,
    /// An address to listen on for other nodes; may be given several times [default: QUIC and TCP on
    /// port 4002, or a free port]
    #[arg(long, value_name = "MULTIADDR")]
    listen: Vec<String>,
    /// A further address to dial; may be given several times
    #[arg(long, value_name = "MULTIADDR")]
    bootstrap: Vec<String>,
    /// Do not look for members on the local network
    #[arg(long)]
    no_mdns: bool,
    /// The OpenTelemetry collector for traces, as http://127.0.0.1:4318
    #[arg(long, value_name = "URL")]
    otlp_endpoint: Option<String>,
    /// A label that the other members see; may be given several times
    #[arg(long = "label", value_name = "K=V")]
    labels: Vec<String>,
    /// The command that starts this, for a person who finds it running
    #[arg(long, hide = true, value_enum, default_value_t = Starter::Up)]
    started_by: Starter,
    /// Log into this file, and bound it
    #[arg(long, hide = true, value_name = "FILE")]
    log_file: Option<PathBuf>,
    /// Stop when stdin closes, to end with the process that started this
    #[arg(long, hide = true)]
    until_stdin_closes: bool,
}

/// The command that started a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Starter {
    Up,
    Mcp,
    Service,
}

impl Starter {
    fn name(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Mcp => "mcp",
            Self::Service => "service",
        }
    }
}

impl Up {
    pub(crate) fn run(self, session: &CliSession) -> Result<(), Problem> {
        let directory = session.data_dir()?;
        // before the log, whose file may be there
        DataDir::check_owner(&directory).map_err(data_dir_problem)?;
        let flags = self.flags();
        let settings = Settings::load(&directory, &flags).map_err(config_problem)?;
        crate::log::parse(settings.config().log.as_str())?;
        let config = settings.config();
        let otlp = config.otlp_endpoint.as_ref().map(|endpoint| Otlp::new(endpoint.as_str()));
        let file = self.log_file.as_deref().map(log_file).transpose()?;
        let log = session.log_and_trace(config.log.as_str(), config.log_format, file, otlp.as_ref());
        for variable in settings.ignored() {
            tracing::info!(%variable, "this variable means nothing to the node");
        }
        allow_many_files();
        let data_dir = open(&directory, settings.config().name.clone())?;
        // The directory comes first: its holder also has its ports.
        drop(data_dir.lock().map_err(|error| held(error, session))?);
        if data_dir.exposed().contains(&directory) {
            let hint = format!("chmod go= {}", directory.display());
            tracing::warn!(directory = %directory.display(), hint, "others on this machine can get at the data directory");
        }
        let process = Process { log, otlp: otlp.clone(), started_by: self.started_by.name() };
        let live = Arc::new(LiveSettings::new(directory, flags, settings, process));
        let runtime = CliSession::runtime()?;
        let result = runtime.block_on(serve(session, data_dir, live, self.until_stdin_closes));
        if let Some(otlp) = otlp {
            otlp.finish();
        }
        // A blocked read from a hanging disk is not waited for.
        runtime.shutdown_background();
        result
    }

    /// The flags as keys of the configuration.
    fn flags(&self) -> Vec<(&'static str, String)> {
        let mut flags = Vec::new();
        flags.extend(self.name.iter().map(|name| ("name", name.to_string())));
        flags.extend(self.api_addr.iter().map(|address| ("api_addr", address.clone())));
        flags.extend(self.cleartext.then(|| ("cleartext", "true".to_owned())));
        flags.extend(self.metrics_addr.iter().map(|address| ("metrics_addr", address.clone())));
        flags.extend(self.listen.iter().map(|address| ("listen", address.clone())));
        flags.extend(self.bootstrap.iter().map(|address| ("bootstrap", address.clone())));
        flags.extend(self.no_mdns.then(|| ("mdns", "false".to_owned())));
        flags.extend(self.otlp_endpoint.iter().map(|endpoint| ("otlp_endpoint", endpoint.clone())));
        flags.extend(self.labels.iter().map(|label| ("labels", label.clone())));
        flags
    }
}

/// The file of the log. Panics, which go to stderr, keep to its bound, too.
fn log_file(path: &Path) -> Result<LogFile, Problem> {
    let file = LogFile::open(path).map_err(|error| {
        Problem::new("failed", format!("{} cannot be written: {error}", path.display())).hint("is the disk full?")
    })?;
    file.bound_panics();
    Ok(file)
}

/// Raises the limit of open files. A connection counts as one, and the default limit is low.
fn allow_many_files() {
    #[cfg(unix)]
    {
        use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
        let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
        // Without the higher limit the node runs, too.
        let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
    }
}

/// The directory of the node. An empty one becomes a new node's.
fn open(directory: &Path, name: Option<Name>) -> Result<DataDir, Problem> {
    if DataDir::inspect(directory).map_err(data_dir_problem)? == Contents::Empty {
        let made = nexus_node::node::init(directory, name)?;
        tracing::info!(did = %made.did, mesh = %made.mesh_did, "made a new identity and a new mesh");
    }
    DataDir::open(directory).map_err(data_dir_problem)
}

/// The problem of a directory in use; if its node answers, with that node's name.
fn held(error: DataDirError, session: &CliSession) -> Problem {
    let Some(message) = holder::of_directory(&error) else { return data_dir_problem(error) };
    let program = session.program();
    Problem::new("in_use", message).hint(format!(
        "use it as it is: `{program} status`, `{program} web`; or end it with `{program} stop`, and start it here"
    ))
}

/// Runs the node until it is told to stop. A node that joins another mesh stops, and starts again on
/// the same directory and behind the same API.
async fn serve(
    session: &CliSession,
    data_dir: DataDir,
    live: Arc<LiveSettings>,
    until_stdin_closes: bool,
) -> Result<(), Problem> {
    let doors = Doors::open(&live, &data_dir).await?;
    let token = data_dir.ensure_api_token().map_err(data_dir_problem)?;
    let metrics_token = match data_dir.ensure_metrics_token() {
        // a directory of an earlier version has none yet
        Err(error) if error.is_full() => None,
        made => Some(made.map_err(data_dir_problem)?),
    };
    let issued = TokenBook::open(data_dir.path());
    let metrics = metrics_token.as_deref().map(String::as_str);
    let tokens = ApiTokens { all: &token, metrics, issued: Some(&issued) };
    let api = Api::hosting(vec![nexus_node::mcp::guest()], doors.api.door.clone(), tokens, live.clone());
    let (stop, asked) = (asked_to_stop(until_stdin_closes)?, api.asked_to_stop());
    let stop = async {
        tokio::select! {
            () = stop => {}
            () = asked => tracing::info!("a client has asked to stop"),
        }
    };

    let node = start(&data_dir, &live).await?;
    // a start may end the change of a key that was cut off
    door::look(doors.kept.as_ref(), &data_dir);
    doors.remember(&data_dir)?;
    live.trace(&node)?;
    live.attach(node.clone());
    api.attach(node.clone());
    session.printer.answer(&ready(&node, &doors), || banner::text(&node, &doors, session))?;

    let Doors { api: front, metrics, kept } = doors;
    let (closed, close) = oneshot::channel();
    let serving = api.serve(front.listener, async {
        // The sender is never dropped before it has sent.
        let _ = close.await;
    });
    let serving_metrics = async {
        match metrics {
            Some(Opened { listener, door }) => api.serve_metrics(listener, door).await,
            None => Ok(()),
        }
    };
    let running = async {
        let result = tokio::select! {
            result = run(node, &data_dir, &live, &api, kept.as_ref(), stop) => result,
            never = door::renew(kept.as_ref(), &data_dir) => match never {},
        };
        let _ = closed.send(());
        result
    };
    let (served, served_metrics, result) = tokio::join!(serving, serving_metrics, running);
    served.and(served_metrics).map_err(|error| Problem::new("failed", format!("the API: {error}")))?;
    result
}

async fn run(
    mut node: Node,
    data_dir: &DataDir,
    live: &LiveSettings,
    api: &Api,
    kept: Option<&KeptCertificate>,
    stop: impl Future<Output = ()>,
) -> Result<(), Problem> {
    tokio::pin!(stop);
    loop {
        let stopped = tokio::select! {
            stopped = node.stopped() => stopped,
            () = &mut stop => {
                tracing::info!("stopping");
                if tokio::time::timeout(STOP_TIMEOUT, node.shutdown()).await.is_err() {
                    tracing::warn!("the node did not stop in time; what it acknowledged is on disk");
                }
                return Ok(());
            }
        };
        match stopped {
            Stopped::Rejoined | Stopped::Rotated | Stopped::RoomAgain => {
                api.detach();
                drop(node);
                node = start(data_dir, live).await?;
                // the node may have another key now
                door::look(kept, data_dir);
                tracing::info!(did = %node.did(), mesh = %node.mesh_did(), "started again");
                live.attach(node.clone());
                api.attach(node.clone());
            }
            Stopped::Failed(fault) => {
                return Err(Problem::new("store", format!("the node stopped: {fault}"))
                    .hint("nothing that was acknowledged is lost; mend the cause and start it again"));
            }
            // it was asked to
            _ => return Ok(()),
        }
    }
}

async fn start(data_dir: &DataDir, live: &LiveSettings) -> Result<Node, Problem> {
    let mut builder = Node::builder(data_dir.path()).config(live.config());
    if let Some(state) = state_dir() {
        builder = builder.state_dir(state);
    }
    Ok(builder.start().await?)
}

fn ready(node: &Node, doors: &Doors) -> serde_json::Value {
    let url = doors.api.url();
    json!({
        "ready": true,
        "api": url,
        "dashboard": format!("{url}/"),
        "metrics": doors.metrics.as_ref().map(|metrics| format!("{}/metrics", metrics.url())),
        "did": node.did().to_string(),
        "peer_id": node.peer_id(),
        "name": node.name().to_string(),
        "listen": node.listen_addresses(),
    })
}

/// Resolves at SIGTERM, Ctrl-C or, if asked for, at the end of stdin. A second signal ends the process
/// at once.
fn asked_to_stop(until_stdin_closes: bool) -> Result<impl Future<Output = ()>, Problem> {
    let stdin = until_stdin_closes.then(|| {
        let (sender, closed) = oneshot::channel();
        // A thread of its own: a read of stdin cannot be cancelled, and the runtime would wait for it.
        std::thread::spawn(move || {
            let _ = std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink());
            let _ = sender.send(());
        });
        closed
    });
    let stdin = async {
        match stdin {
            Some(closed) => drop(closed.await),
            None => std::future::pending().await,
        }
    };
    let failed = |error: std::io::Error| Problem::new("failed", format!("signals cannot be received: {error}"));
    let stop = crate::signals::stop().map_err(failed)?;
    Ok(async {
        tokio::select! {
            () = stdin => return,
            () = stop => {}
        }
        if let Ok(again) = crate::signals::stop() {
            tokio::spawn(async {
                again.await;
                std::process::exit(130);
            });
        }
    })
}
