//! `task submit`: a task, and its end if it is waited for.

use std::time::{Duration, Instant};

use clap::Args;
use clap::builder::NonEmptyStringValueParser;
use nexus_client::wire;
use nexus_node::api::Problem;
use nexus_node::tasks::JsonText;

use super::news::{self, News};
use super::reference::{is_over, path};
use super::rule::Rule;
use super::text;
use crate::client::Client;
use crate::output::sane;
use crate::session::{self, CliSession};

/// The time of one question for the end. In between its state is told.
const WAIT: &str = "1s";
/// The longest time until an answer to it.
const PATIENCE: Duration = Duration::from_secs(60);
/// The wait before a node that does not answer is asked again.
const RETRY: Duration = Duration::from_secs(1);
/// The longest time for which the node may be away.
const AWAY_MAX: Duration = Duration::from_secs(60);
/// The space that every member reads.
const SPACE_OF_ALL: &str = "tasks";

/// Submit a task, which outlives this command
#[derive(Debug, Args)]
pub(crate) struct Submit {
    /// The ability that its worker must have: 1 to 64 of a-z, 0-9 and . _ - : /
    capability: String,
    /// The input: JSON, a file with it, or stdin [default: null]
    #[arg(long, value_name = "JSON|@FILE|-", allow_negative_numbers = true)]
    input: Option<String>,
    /// The only member that may work on it: a DID or a name [default: any]
    #[arg(long, value_name = "DID|NAME")]
    to: Option<String>,
    /// The space whose readers see it [default: tasks, which every member reads]
    #[arg(long)]
    space: Option<String>,
    /// The order among tasks that wait: low, normal, high or critical
    #[arg(long, default_value = "normal")]
    priority: wire::Priority,
    /// The time of one attempt
    #[arg(long, value_name = "TIME", default_value = "300s")]
    timeout: wire::Span,
    /// The end of the whole task: a time from now on, as 1h, or a moment [default: no end]
    #[arg(long, value_name = "TIME")]
    deadline: Option<wire::Deadline>,
    /// The attempts that may fail before the task has failed
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=100))]
    attempts: u16,
    /// An id of your own: a second task of this node with it is the first, and must ask for the same
    #[arg(long, value_name = "ID")]
    request: Option<String>,
    /// Do it once at most: an attempt begins by the coordinators' word, and one of which nobody knows is not repeated
    #[arg(long)]
    once: bool,
    /// Wait for the approval of a person: here, at another machine of yours, or at an admin's
    #[arg(long)]
    needs_approval: bool,
    /// Wait for an approval by this rule: person, or other for an admin that is not you
    #[arg(long, value_name = "RULE", value_enum)]
    approved_by: Option<Rule>,
    /// Let a critical task take its worker; it waits again then
    #[arg(long, conflicts_with = "once")]
    preemptible: bool,
    /// A task that must have succeeded before: its id, or the beginning of it; up to 16
    #[arg(long, value_name = "ID", value_parser = NonEmptyStringValueParser::new())]
    after: Vec<String>,
    /// A member whose node hands it out while this one is down: a DID or a name; up to 3
    #[arg(long = "heir", value_name = "DID|NAME", conflicts_with = "once", value_parser = NonEmptyStringValueParser::new())]
    heirs: Vec<String>,
    /// The least confinement in which a worker's command may run: kernel or full [default: any]
    #[arg(long, value_name = "LEVEL")]
    sandbox: Option<wire::Sandbox>,
    /// Wait until it has ended, and exit by its end
    #[arg(long)]
    wait: bool,
}

impl Submit {
    pub(super) fn run(self, session: &CliSession) -> Result<(), Problem> {
        let new = wire::NewTask {
            capability: self.capability,
            input: self.input.map(read).transpose()?.unwrap_or_default(),
            to: self.to,
            space: self.space,
            priority: Some(self.priority),
            timeout: Some(self.timeout),
            deadline: self.deadline,
            attempts: Some(self.attempts),
            request: self.request,
            once: self.once,
            needs_approval: self.needs_approval,
            approved_by: self.approved_by.map(Into::into),
            preemptible: self.preemptible,
            after: self.after,
            heirs: self.heirs,
            sandbox: self.sandbox,
            agent: None,
        };
        let client = session.client()?;
        let task: wire::Task = client.post("/v1/tasks", &new)?;
        session.printer.note(&readers(&task));
        if !self.wait {
            return session.printer.answer(&task, || text::submitted(&task, &session.printer));
        }
        session.printer.note(&format!("submitted {}", task.id));
        let mut task = ended(client, task, session)?;
        if task.output.as_ref().is_some_and(text::is_in_blob) {
            match session.client()?.get::<wire::Task>(&format!("{}?whole=true", path(&task.id, None))) {
                Ok(whole) => task.output = whole.output,
                Err(problem) => {
                    let hint = format!("try again: `nexus-node task show --whole {}`", task.id);
                    session.printer.warning(&format!("the output is not here: {}", problem.message), Some(&hint));
                }
            }
        }
        match (&task.output, session.printer.json()) {
            (None, false) => {
                // the error says the rest
                if let Some(lines) = news::last_lines(&task) {
                    session.printer.note(&format!("the end of its stderr:\n{lines}"));
                }
            }
            (output, _) => {
                session.printer.answer(&task, || output.as_ref().map(text::output).unwrap_or_default())?;
            }
        }
        end(&task, session)
    }
}

/// The members that see a task.
fn readers(task: &wire::Task) -> String {
    match task.space.as_str() {
        SPACE_OF_ALL => "every member of the mesh can read it, and its result".to_owned(),
        space => format!("the readers of the space {} can read it, and its result", sane(space)),
    }
}

/// The input: JSON, a file with it, or stdin.
fn read(given: String) -> Result<JsonText, Problem> {
    let (place, document) = match given.strip_prefix('@') {
        Some(path) => {
            let read = std::fs::read_to_string(path);
            let problem = |error| Problem::new("invalid", format!("{}: {error}", sane(path)));
            (path.to_owned(), read.map_err(|error| problem(error).hint("`@` is followed by the path of a file"))?)
        }
        None if given == "-" => ("stdin".to_owned(), session::text(given)?),
        None => ("--input".to_owned(), given),
    };
    JsonText::parse(document).map_err(|error| {
        let problem = Problem::new("invalid", format!("{} is not JSON: {error}", sane(&place)));
        problem.hint("a text is in quotes there: --input '\"a text\"'; `@FILE` reads a file, `-` stdin")
    })
}

/// The task once it has ended. The node may be away meanwhile.
fn ended(client: Client, task: wire::Task, session: &CliSession) -> Result<wire::Task, Problem> {
    let asked = format!("{}?wait={WAIT}", path(&task.id, None));
    let (mut client, mut task, mut away) = (client.patient(PATIENCE), task, None);
    let mut news = News::default();
    while !is_over(&task) {
        match client.get(&asked) {
            Ok(now) => {
                away = None;
                task = now;
                // a task that is done in a moment needs no word
                news.tell(&task, &session.printer);
            }
            Err(problem) if ["no_node", "starting", "stopping", "timed_out"].contains(&problem.code) => {
                let since = *away.get_or_insert_with(|| {
                    session
                        .printer
                        .warning(&problem.message, Some("the task is kept; this goes on when the node is back"));
                    Instant::now()
                });
                if since.elapsed() >= AWAY_MAX {
                    let hint = format!("start the node, and ask again: `nexus-node task show {}`", task.id);
                    return Err(problem.hint(hint));
                }
                std::thread::sleep(RETRY);
                // a node that starts again may be at another address
                client = session.client().map_or(client, |client| client.patient(PATIENCE));
            }
            Err(problem) => return Err(problem),
        }
    }
    Ok(task)
}

/// The exit code of a task's end.
fn end(task: &wire::Task, session: &CliSession) -> Result<(), Problem> {
    let (code, word) = match (task.state.as_str(), task.error.as_ref().map(|error| error.code.as_str())) {
        ("succeeded", _) => return Ok(()),
        (_, Some("deadline")) => ("timed_out", "was not done before its deadline"),
        ("rejected", _) => ("refused", "was rejected"),
        ("unknown", _) => ("outcome_unknown", "may or may not have been done"),
        ("cancelled", _) => ("failed", "was cancelled"),
        _ => ("failed", "has failed"),
    };
    // lines that were printed are not said again
    let is_said = !session.printer.json() && !session.printer.quiet() && news::last_lines(task).is_some();
    let line = |error: &wire::TaskError| if is_said { String::new() } else { error.line().to_owned() };
    let why = task.error.as_ref().map(|error| format!(": {}: {}", error.code, line(error))).unwrap_or_default();
    let problem = Problem::new(code, format!("the task {} {word}{}", task.id, why.trim_end_matches([':', ' '])));
    let id = &task.id;
    Err(problem
        .hint(format!("`nexus-node task show {id}` tells what happened to it, `nexus-node task log {id}` its stderr")))
}
