//! The services of Linux: units of systemd.
//!
//! The text of a unit is made by a pure function. Around it are the place of the file, the checks of the data directory
//! and the running systemd.

mod account;
mod directory;
mod place;
mod plan;
mod systemctl;
mod systemd;
mod words;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nexus_node::api::Problem;
use nexus_node::config::KEYS;
use serde_json::{Value, json};

use self::place::{Found, Place};
use self::plan::{Plan, PlanError};
use self::systemctl::Systemctl;
use self::words::Scope;
use super::scope::ScopeFlags;
use crate::output::sane;
use crate::session::CliSession;

/// The longest start of a service: as long as that of a node for an agent.
const START_TIMEOUT: Duration = Duration::from_secs(30);
/// The time between two looks at it. It is another process, and nothing tells of its start.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// The system, as the documents name it.
const SYSTEM: &str = "linux";

impl From<ScopeFlags> for Scope {
    fn from(flags: ScopeFlags) -> Self {
        if flags.system { Self::System } else { Self::User }
    }
}

pub(super) fn install(flags: ScopeFlags, print: bool, session: &CliSession) -> Result<(), Problem> {
    if session.elsewhere() {
        return Err(Problem::new("usage", "the service starts the node of a data directory, --api names another one")
            .hint("leave --api and NEXUS_API out"));
    }
    let scope = Scope::from(flags);
    let place = Place::of(scope)?;
    let data_dir = directory::absolute(&session.data_dir()?)?;
    let plan = plan(scope, &data_dir)?;
    let text = plan.text().map_err(unwritable)?;
    let mut document = json!({
        "unit": systemd::UNIT,
        "path": place.path,
        "scope": scope.name(),
        "system": SYSTEM,
        "data_dir": data_dir,
        "changed": false,
        "replaced": false,
        "started": false,
        "linger": null,
        "next": next(scope),
    });
    if print {
        document["text"] = text.as_str().into();
        session.printer.note(&format!("the file is {}", sane(&place.path.display().to_string())));
        return session.printer.answer(&document, || text);
    }
    permitted(scope)?;
    reachable(&plan)?;
    directory::check(&data_dir, scope, session)?;
    let found = place.found()?;
    if found == Found::Foreign {
        let message = format!("{} is there, and this program did not write it", place.path.display());
        return Err(Problem::new("conflict", message)
            .hint("nothing was changed; look at it, and move it away if you do not need it"));
    }
    not_twice(scope, &data_dir)?;
    let systemctl = Systemctl::running(scope);
    let before = systemctl.as_ref().and_then(|systemctl| systemctl.state().ok()).unwrap_or_default();
    directory::free(&data_dir, ours(&data_dir, systemctl.is_some(), before.pid), session)?;

    let (changed, replaced) = (found != Found::Ours(text.clone()), found != Found::Nothing);
    if changed {
        place.write(&text)?;
    }
    document["changed"] = changed.into();
    document["replaced"] = (changed && replaced).into();
    told_settings(session);
    if let Some(systemctl) = systemctl {
        systemctl.reload()?;
        if sees(&systemctl, &place) {
            systemctl.start(changed && before.pid.is_some())?;
            ready(&data_dir, scope, &systemctl)?;
            document["started"] = true.into();
            document["next"] = json!([]);
            if scope == Scope::User {
                let lingers = systemctl.linger(account::own().uid);
                document["linger"] = lingers.into();
                if !lingers {
                    document["next"] = json!([linger_command()]);
                }
            }
        }
    }
    session.printer.answer(&document, || installed(&document))
}

/// The service's file as this process can name it.
fn plan(scope: Scope, data_dir: &Path) -> Result<Plan, Problem> {
    let failed = |what: String| Problem::new("failed", format!("this program cannot be found: {what}"));
    let program = crate::program::path().map_err(|error| failed(error.to_string()))?;
    if !program.is_file() {
        return Err(failed(format!("{} is gone", program.display())).hint("it was replaced meanwhile: run this again"));
    }
    let account = if scope == Scope::System { Some(directory::account(data_dir)?) } else { None };
    // a service of the account has the variables of the account's manager, not those of this shell
    let state_home = std::env::var_os("XDG_STATE_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    Ok(Plan { scope, program, data_dir: data_dir.to_owned(), account, state_home })
}

fn unwritable(error: PlanError) -> Problem {
    let problem = Problem::new("invalid", format!("a service cannot name this: {error}"));
    problem.hint("nothing was changed; give another directory with --data-dir, or move this program")
}

/// Refuses a service of the machine to all but root.
fn permitted(scope: Scope) -> Result<(), Problem> {
    if scope == Scope::System && account::own().uid != 0 {
        return Err(Problem::new("refused", "a service of the machine is for root to change").hint(
            "nothing was changed; run it with `sudo`, and --data-dir, or leave --system out: --user needs no rights",
        ));
    }
    Ok(())
}

/// Refuses a program that the account of the service cannot reach.
fn reachable(plan: &Plan) -> Result<(), Problem> {
    let program = &plan.program;
    // root's home is closed to the account, and these of all accounts are hidden from the service
    let hidden = ["/root", "/tmp", "/var/tmp"].iter().any(|place| program.starts_with(place));
    if plan.scope == Scope::System && hidden {
        let message = format!("a service of the machine cannot reach {}", program.display());
        return Err(
            Problem::new("invalid", message).hint("nothing was changed; copy it to /usr/local/bin, and run that one")
        );
    }
    Ok(())
}

/// Refuses a second service for one directory: each would keep the other from starting.
fn not_twice(scope: Scope, data_dir: &Path) -> Result<(), Problem> {
    let other = if scope == Scope::User { Scope::System } else { Scope::User };
    let Ok(place) = Place::of(other) else { return Ok(()) };
    if !place.starts(data_dir) {
        return Ok(());
    }
    let message = format!("{} starts the node of {} already", place.path.display(), data_dir.display());
    let hint = format!("nothing was changed; `nexus-node service remove {}` first", other.flag());
    Err(Problem::new("conflict", message).hint(hint))
}

/// The process of this service. Systemd knows it; without systemd, the node says how it was started.
fn ours(data_dir: &Path, systemd: bool, pid: Option<u32>) -> Option<u32> {
    if systemd {
        return pid;
    }
    let node = crate::holder::answering(data_dir)?;
    (node.started_by.as_deref() == Some("service")).then_some(node.pid).flatten()
}

/// Whether systemd reads the file at this place: an account may have its configuration elsewhere than its systemd.
fn sees(systemctl: &Systemctl, place: &Place) -> bool {
    let real = |path: &Path| path.canonicalize().ok();
    let file = systemctl.state().ok().and_then(|state| state.file);
    file.is_some_and(|file| real(&file).is_some() && real(&file) == real(&place.path))
}

/// Waits until the node answers.
fn ready(data_dir: &Path, scope: Scope, systemctl: &Systemctl) -> Result<(), Problem> {
    let end = Instant::now() + START_TIMEOUT;
    let hint = format!("`journalctl {}-u {}` says why", journal(scope), systemd::UNIT);
    loop {
        let state = systemctl.state()?;
        let node = crate::holder::answering(data_dir);
        if node.is_some_and(|node| node.pid.is_some() && node.pid == state.pid) {
            return Ok(());
        }
        if state.active == "failed" || state.restarts.is_some_and(|restarts| restarts > 0) {
            return Err(Problem::new("failed", "the service is installed, and its node did not start").hint(hint));
        }
        if Instant::now() > end {
            let message =
                format!("the service is installed, and its node did not answer in {} s", START_TIMEOUT.as_secs());
            return Err(Problem::new("timed_out", message).hint(hint));
        }
        std::thread::sleep(LOOK_EVERY);
    }
}

fn journal(scope: Scope) -> &'static str {
    if scope == Scope::User { "--user " } else { "" }
}

/// Says which settings of this shell the service will not have.
fn told_settings(session: &CliSession) {
    let set: Vec<String> = KEYS.iter().map(|key| format!("NEXUS_{}", key.name.to_uppercase())).collect();
    let set: Vec<&str> = set.iter().map(String::as_str).filter(|name| std::env::var_os(name).is_some()).collect();
    if !set.is_empty() {
        session.printer.note(&format!(
            "the service does not have these variables: {}; `nexus-node config set` keeps a setting",
            set.join(", ")
        ));
    }
}

/// The commands that start a service whose file is there.
fn next(scope: Scope) -> Vec<String> {
    match scope {
        Scope::User => vec![
            "systemctl --user daemon-reload".to_owned(),
            format!("systemctl --user enable --now {}", systemd::UNIT),
            linger_command(),
        ],
        Scope::System => {
            vec!["systemctl daemon-reload".to_owned(), format!("systemctl enable --now {}", systemd::UNIT)]
        }
    }
}

/// The command that has an account's services run without a login.
fn linger_command() -> String {
    format!("sudo loginctl enable-linger {}", account::own().name())
}

/// The result of an installation, for people.
fn installed(document: &Value) -> String {
    let path = sane(document["path"].as_str().unwrap_or_default());
    let mut lines = vec![match (document["changed"] == true, document["replaced"] == true) {
        (true, true) => format!("replaced {path}"),
        (true, false) => format!("wrote {path}"),
        _ => format!("{path} says so already"),
    }];
    let next: Vec<&str> = document["next"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    match (document["started"] == true, next.is_empty()) {
        (true, true) => lines.push("the node runs, and starts with this machine".to_owned()),
        (true, false) => lines.push("the node runs; so that it starts without a login:".to_owned()),
        (false, _) => lines.push("nothing was started: no systemd that reads it runs here. Once one does:".to_owned()),
    }
    lines.extend(next.iter().map(|command| format!("  {command}")));
    lines.join("\n")
}

/// The file of the service that starts the node of a directory, if one is installed.
pub(in crate::commands) fn of(data_dir: &Path) -> Option<PathBuf> {
    let data_dir = directory::absolute(data_dir).ok()?;
    let places = [Scope::User, Scope::System].into_iter().filter_map(|scope| Place::of(scope).ok());
    places.into_iter().find(|place| place.starts(&data_dir)).map(|place| place.path)
}

pub(super) fn status(flags: ScopeFlags, session: &CliSession) -> Result<(), Problem> {
    let scope = Scope::from(flags);
    let place = Place::of(scope)?;
    let found = place.found()?;
    let installed = matches!(found, Found::Ours(_));
    let systemctl = Systemctl::running(scope);
    let seen = systemctl.as_ref().and_then(|systemctl| systemctl.state().ok());
    let data_dir = session.data_dir().and_then(|path| directory::absolute(&path))?;
    let state = match (&found, seen.as_ref()) {
        (Found::Nothing, _) => "not_installed",
        (Found::Foreign, _) => "foreign",
        (Found::Ours(_), Some(seen)) => seen.active.as_str(),
        (Found::Ours(_), None) => "unknown",
    };
    let seen = seen.as_ref().filter(|_| installed);
    let document = json!({
        "unit": systemd::UNIT,
        "path": place.path,
        "scope": scope.name(),
        "system": SYSTEM,
        "state": state,
        "installed": installed,
        "enabled": seen.map(|seen| seen.enabled),
        "sub_state": seen.map(|seen| seen.sub.clone()),
        "pid": seen.and_then(|seen| seen.pid),
        "restarts": seen.and_then(|seen| seen.restarts),
        "data_dir": data_dir,
        "starts_it": place.starts(&data_dir),
    });
    session.printer.answer(&document, || shown(&document))
}

/// The service, for people.
fn shown(document: &Value) -> String {
    let text = |name: &str| sane(document[name].as_str().unwrap_or_default());
    let state = match text("state").as_str() {
        "not_installed" => "not installed; `nexus-node service install` installs it".to_owned(),
        "foreign" => "a file that this program did not write".to_owned(),
        "unknown" => "installed; unknown: no systemd runs here".to_owned(),
        state => {
            let enabled =
                if document["enabled"] == true { "enabled" } else { "not enabled: no start with the machine" };
            let process = document["pid"].as_u64().map(|pid| format!(", process {pid}")).unwrap_or_default();
            format!("{state} ({}), {enabled}{process}", text("sub_state"))
        }
    };
    let mut lines =
        vec![format!("unit   {}", text("unit")), format!("file   {}", text("path")), format!("state  {state}")];
    if document["installed"] == true && document["starts_it"] == false {
        lines.push(format!("       It starts the node of another directory, not of {}.", text("data_dir")));
    }
    lines.join("\n")
}

pub(super) fn remove(flags: ScopeFlags, session: &CliSession) -> Result<(), Problem> {
    let scope = Scope::from(flags);
    let place = Place::of(scope)?;
    permitted(scope)?;
    let found = place.found()?;
    if found == Found::Foreign {
        let message = format!("{} is there, and this program did not write it", place.path.display());
        return Err(
            Problem::new("conflict", message).hint("nothing was changed; remove it by hand if you do not need it")
        );
    }
    let mut document = json!({
        "unit": systemd::UNIT,
        "path": place.path,
        "scope": scope.name(),
        "system": SYSTEM,
        "removed": false,
        "stopped": false,
        "next": [],
    });
    if found == Found::Nothing {
        return session
            .printer
            .answer(&document, || format!("no service is installed: there is no {}", place.path.display()));
    }
    let systemctl = Systemctl::running(scope).filter(|systemctl| sees(systemctl, &place));
    if let Some(systemctl) = &systemctl {
        systemctl.stop()?;
    }
    place.delete()?;
    if let Some(systemctl) = &systemctl {
        systemctl.reload()?;
    }
    document["removed"] = true.into();
    document["stopped"] = systemctl.is_some().into();
    session.printer.answer(&document, || {
        let mut lines = vec![format!("deleted {}; the data stays", sane(&place.path.display().to_string()))];
        if systemctl.is_none() {
            lines.push("nothing was stopped: `nexus-node stop` ends a node that runs".to_owned());
        }
        lines.join("\n")
    })
}
