mod check;
pub(super) mod drive;
mod sandbox;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::Args;
use nexus_client::wire;
use nexus_node::api::Problem;
use nexus_node::config::Settings;
use nexus_node::datadir::{Contents, DataDir, DataDirError};
use nexus_node::internals::own_store;

use self::check::{Check, Level};
use crate::listener;
use crate::output::{Printer, Style, count, sane_lines, size};
use crate::session::CliSession;

/// The least free space, in bytes. With less a node may soon have to stop.
const FREE_BYTES_MIN: u64 = 512 << 20;
/// The most that a file may be newer than now: clocks are read at different moments.
const CLOCK_SLACK: Duration = Duration::from_secs(60);
/// The earliest time of a working clock: 2025-01-01.
const EARLIEST: Duration = Duration::from_secs(1_735_689_600);

/// Look for faults, and say how to mend them
#[derive(Debug, Args)]
pub(crate) struct Doctor;

impl Doctor {
    pub(crate) fn run(self, session: &CliSession) -> Result<(), Problem> {
        let path = session.data_dir()?;
        let status = session.client().and_then(|client| client.get::<wire::Status>("/v1/status"));
        let mut checks =
            vec![directory(&path), owners(&path), permissions(&path), drive::kind(&path), disk(&path), clock(&path)];
        checks.push(lock(&path, status.is_ok()));
        checks.extend(configuration(&path));
        checks.push(api(&path, session, &status));
        checks.extend(ports(status.is_ok()));
        checks.push(root_key(&path));
        checks.extend(service(&path));
        checks.push(sandbox::check());
        if let Ok(status) = &status {
            checks.push(versions(status));
            checks.extend(status.embedder.as_ref().and_then(embedder));
            checks.extend(status.warnings.iter().map(|warning| {
                let fix = warning.hint.clone().unwrap_or_else(|| "see `nexus-node status`".to_owned());
                Check::warning("warning", warning.message.clone(), fix)
            }));
            let peers = session.client().and_then(|client| client.get::<Vec<wire::Peer>>("/v1/peers"));
            checks.extend(peers.iter().flatten().map(peer));
        }
        session.printer.answer(&checks, || text(&checks, &session.printer))?;
        let failed: Vec<&str> =
            checks.iter().filter(|check| check.level == Level::Failed).map(|check| check.check).collect();
        if failed.is_empty() {
            return Ok(());
        }
        let message = format!("{} failed: {}", count(failed.len() as u64, "check", "checks"), failed.join(", "));
        Err(Problem::new("failed", message).hint("the list says how to mend each"))
    }
}

fn text(checks: &[Check], printer: &Printer) -> String {
    let mut lines = Vec::new();
    for Check { check, level, detail, fix, .. } in checks {
        let mark = match level {
            Level::Ok => printer.paint(Style::Good, "ok "),
            Level::Warning => printer.paint(Style::Odd, "!  "),
            Level::Failed => printer.paint(Style::Bad, "!! "),
        };
        lines.push(format!("{mark} {check:<13} {}", sane_lines(detail)));
        if let Some(fix) = fix {
            lines.push(format!("                  {} {}", printer.paint(Style::Bold, "mend:"), sane_lines(fix)));
        }
    }
    let bad = checks.iter().filter(|check| !check.ok).count();
    lines.push(if bad == 0 { "all well".to_owned() } else { format!("{bad} of {} to look at", checks.len()) });
    lines.join("\n")
}

fn directory(path: &Path) -> Check {
    let shown = path.display();
    if let Err(error) = DataDir::check_owner(path) {
        return Check::warning("directory", error.to_string(), "run this and the node as that account");
    }
    match DataDir::inspect(path) {
        Ok(Contents::Empty) => Check::warning(
            "directory",
            format!("{shown} holds no node yet"),
            "`nexus-node up` makes one, `nexus-node join TICKET` one of another mesh",
        ),
        Ok(Contents::Node) => match DataDir::open(path) {
            Ok(data_dir) => match own_store::look(&data_dir) {
                Ok(()) => Check::good("directory", format!("{shown} holds {}", data_dir.identity().did())),
                Err(error) => {
                    let problem = Problem::from(nexus_node::NodeError::from(error));
                    Check::bad("directory", problem.message, problem.hint.unwrap_or_default())
                }
            },
            Err(error) => Check::bad(
                "directory",
                error.to_string(),
                "bring the file back from a backup, or make a new node elsewhere",
            ),
        },
        Err(error) => {
            Check::bad("directory", error.to_string(), "give another directory with --data-dir, or mend this one")
        }
    }
}

/// Files that another account has made, as `sudo` does: the node cannot write them, and may not start.
fn owners(path: &Path) -> Check {
    let others = DataDir::of_others(path);
    let Some(first) = others.first() else {
        return Check::good("owner", "every file is of the account that has the node");
    };
    let more = match others.len() - 1 {
        0 => String::new(),
        more => format!(" and {}", count(more as u64, "more", "more")),
    };
    Check::bad(
        "owner",
        format!("{}{more} belong to another account than the node's key", first.display()),
        format!("stop the node, then as root: chown -R --reference={0}/identity.key {0}", path.display()),
    )
}

fn permissions(path: &Path) -> Check {
    let Ok(data_dir) = DataDir::open_any(path) else { return Check::good("permissions", "nothing there to protect") };
    let exposed = data_dir.exposed();
    if exposed.is_empty() {
        return Check::good("permissions", "for its owner alone");
    }
    let names: Vec<String> = exposed.iter().map(|path| path.display().to_string()).collect();
    let fix = format!("chmod -R go= {}", path.display());
    if exposed.iter().any(|exposed| exposed == path) {
        return Check::bad("permissions", format!("others on this machine can get at {}", names.join(", ")), fix);
    }
    // An editor that writes config.toml gives it the usual permissions.
    Check::warning("permissions", format!("only the directory keeps others from {}", names.join(", ")), fix)
}

fn disk(path: &Path) -> Check {
    match drive::space(path).map(|space| space.free) {
        Some(free) if free < FREE_BYTES_MIN => Check::bad(
            "disk",
            format!("only {} are free", size(free)),
            "make room: below 68 MB a node writes nothing, and reads on",
        ),
        Some(free) => Check::good("disk", format!("{} are free", size(free))),
        None => Check::good("disk", "this platform does not tell how much is free"),
    }
}

fn clock(path: &Path) -> Check {
    let fix = "set the clock: `timedatectl set-ntp true` on most Linux machines";
    let now = SystemTime::now();
    if now.duration_since(UNIX_EPOCH).unwrap_or_default() < EARLIEST {
        return Check::bad("clock", "it is years slow", fix);
    }
    let files = std::fs::read_dir(path).into_iter().flatten().flatten();
    let newest = files.filter_map(|file| file.metadata().ok()?.modified().ok()).max();
    match newest.and_then(|newest| newest.duration_since(now).ok()) {
        Some(ahead) if ahead > CLOCK_SLACK => {
            Check::bad("clock", format!("files here are {} s from the future", ahead.as_secs()), fix)
        }
        _ => Check::good("clock", "plausible"),
    }
}

fn lock(path: &Path, running: bool) -> Check {
    let nothing = || Check::good("lock", "nothing there to lock");
    let Ok(data_dir) = DataDir::open_any(path) else { return nothing() };
    if DataDir::check_owner(path).is_err() && !path.join("lock").exists() {
        // the owner could not take a lock that another account has made
        return nothing();
    }
    match (data_dir.lock(), running) {
        (Err(DataDirError::ReadOnly { .. }), _) => nothing(),
        (Ok(_), _) => Check::good("lock", "free: no node is running here"),
        (Err(_), true) => Check::good("lock", "held by the node that is running"),
        (Err(error), false) => Check::bad(
            "lock",
            format!("{error}, which does not answer"),
            "wait a moment if it is starting; else stop that process",
        ),
    }
}

fn configuration(path: &Path) -> Vec<Check> {
    match Settings::load(path, &[]) {
        Ok(settings) => {
            let mut checks = vec![Check::good("configuration", "every key and value is known")];
            checks.extend(settings.ignored().iter().map(|variable| {
                Check::warning(
                    "configuration",
                    format!("the variable {variable} means nothing"),
                    format!("unset {variable}"),
                )
            }));
            checks
        }
        Err(error) => vec![Check::bad("configuration", error.to_string(), "mend it; the node does not start with it")],
    }
}

fn api(path: &Path, session: &CliSession, status: &Result<wire::Status, Problem>) -> Check {
    match status {
        Ok(_) => {
            let base = session.client().map(|client| client.base().to_owned()).unwrap_or_default();
            Check::good("api", format!("answers at {base}"))
        }
        Err(problem) if problem.code == "no_node" => match DataDir::contents(path) {
            Ok(Contents::Node) => Check::warning("api", problem.message.clone(), "`nexus-node up` starts it"),
            _ => Check::good("api", "no node is running"),
        },
        Err(problem) => {
            let fix = problem.hint.clone().unwrap_or_else(|| "restart the node".to_owned());
            Check::bad("api", problem.message.clone(), fix)
        }
    }
}

/// A taken default port is no fault, since a node takes another one. But tickets and firewalls may expect it.
fn ports(running: bool) -> Vec<Check> {
    if running {
        return Vec::new();
    }
    let look = |check: &'static str, port: u16| {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        match std::net::TcpListener::bind(address) {
            Ok(_) => Check::good(check, format!("{port} is free")),
            Err(error) => {
                let holder = listener::of_tcp(address).unwrap_or_else(|| error.to_string());
                Check::good(check, format!("{port} is taken ({holder}); the node chooses another one and keeps it"))
            }
        }
    };
    vec![look("port", 8002), look("port", 4002)]
}

/// An embedder that does not answer is noticed by nobody else: recall goes on by words.
fn embedder(embedder: &wire::Embedder) -> Option<Check> {
    let reason = embedder.reason.clone().unwrap_or_default();
    let at = embedder.embedder.clone().unwrap_or_default();
    match embedder.state.as_str() {
        "failing" => Some(Check::warning(
            "embedder",
            format!("{at} does not answer as it should, so recall goes by words alone: {reason}"),
            "start it, or `nexus-node config unset embedder`",
        )),
        "full" => Some(Check::warning("embedder", reason, "further memories are found by words alone")),
        "off" => None,
        _ => Some(Check::good("embedder", format!("{at} answers"))),
    }
}

fn root_key(path: &Path) -> Check {
    match DataDir::open_any(path).map(|data_dir| data_dir.root()) {
        Ok(Ok(Some(_))) => {
            let fix = "`nexus-node root export FILE`, take the file off this machine, then `nexus-node root remove`; where this \
                       machine is stolen, `nexus-node revoke NAME --root FILE` on another one ends its membership";
            Check::warning(
                "root key",
                "the mesh's root key is still on this machine alone: whoever takes the machine owns the mesh",
                fix,
            )
        }
        Ok(Err(error)) => {
            Check::bad("root key", error.to_string(), "`nexus-node root import FILE` from where it was exported to")
        }
        _ => Check::good("root key", "not on this machine"),
    }
}

/// A node that agents use is missed after a reboot. Any other may be started by hand.
fn service(path: &Path) -> Option<Check> {
    #[cfg(target_os = "linux")]
    if let Some(file) = super::service::of(path) {
        return Some(Check::good("service", format!("{} starts the node with this machine", file.display())));
    }
    let path = std::path::absolute(path).ok()?;
    let default = crate::session::default_data_dir().as_ref() == Some(&path);
    let programs = super::connect::using(&path, default);
    if programs.is_empty() {
        return None;
    }
    let programs = programs.join(", ");
    #[cfg(target_os = "linux")]
    let check = Check::warning(
        "service",
        format!("agents use this node ({programs}), and nothing starts it after a reboot until one of them needs it"),
        "`nexus-node service install`",
    );
    // no warning: nothing here can tell whether that system's own means start it
    #[cfg(not(target_os = "linux"))]
    let check = Check::good(
        "service",
        format!("agents use this node ({programs}); to have it after a reboot, {}", super::service::BY_HAND),
    );
    Some(check)
}

fn versions(status: &wire::Status) -> Check {
    let ours = env!("CARGO_PKG_VERSION");
    if status.version == ours {
        Check::good("versions", format!("node and command line are both {ours}"))
    } else {
        let detail = format!("the node is {}, this command line {ours}", status.version);
        Check::warning("versions", detail, "stop the node and start it with this program")
    }
}

fn peer(peer: &wire::Peer) -> Check {
    let name = peer.name.as_deref().unwrap_or(&peer.did);
    if peer.state == "up" {
        let path = peer.path.as_deref().unwrap_or("connected");
        return Check::good("peer", format!("{name} is up, {path}"));
    }
    let cause = peer.cause.as_deref().map(|cause| format!(": {cause}")).unwrap_or_default();
    let fix = "is it running, and does a firewall between you let UDP and TCP 4002 through?";
    Check::warning("peer", format!("{name} is {}{cause}", peer.state), fix)
}
