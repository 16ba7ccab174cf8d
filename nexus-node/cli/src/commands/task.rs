mod log;
mod news;
pub(super) mod reference;
pub(super) mod rule;
mod submit;
mod text;
mod watch;

use clap::Subcommand;
use clap::builder::NonEmptyStringValueParser;
use nexus_client::wire;
use nexus_node::api::Problem;
use nexus_node::tasks::TaskStatus;

use self::reference::path;
use crate::client::{Client, escape};
use crate::output::{Printer, sane};
use crate::session::CliSession;

/// Work that is handed over to whoever can do it
#[derive(Debug, Subcommand)]
pub(crate) enum Task {
    Submit(submit::Submit),
    /// List tasks, the newest first
    List {
        /// Only those in this state; may be given several times
        #[arg(long, value_parser = TaskStatus::ALL.map(TaskStatus::as_str))]
        state: Vec<String>,
        /// The most tasks
        #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u16).range(1..=1_000))]
        limit: u16,
        /// The `next` of an earlier page, to go on after it
        #[arg(long, value_name = "NEXT")]
        after: Option<String>,
    },
    /// Show one task, and all that happened to it
    Show {
        /// Its id, or the beginning of it
        #[arg(value_parser = NonEmptyStringValueParser::new())]
        id: String,
        /// Show the nodes that were looked at for it, with the points of each
        #[arg(long)]
        why: bool,
        /// Show an input and an output that are in blobs, from whoever has them
        #[arg(long)]
        whole: bool,
    },
    /// Show the stderr of a task's command, while it runs and after
    Log {
        /// Its id, or the beginning of it
        #[arg(value_parser = NonEmptyStringValueParser::new())]
        id: String,
        /// Go on with what comes, until the task has ended
        #[arg(short, long)]
        follow: bool,
    },
    /// Take a task back; a worker that has it is stopped
    Cancel {
        /// Its id, or the beginning of it
        #[arg(value_parser = NonEmptyStringValueParser::new())]
        id: String,
        /// The reason
        #[arg(long)]
        why: Option<String>,
    },
    /// Submit a task that has ended once more, as another one
    Retry {
        /// Its id, or the beginning of it
        #[arg(value_parser = NonEmptyStringValueParser::new())]
        id: String,
    },
    /// Look at a task that waits for an approval, and let it be worked on; asks on a terminal
    Approve {
        /// Its id, or the beginning of it
        #[arg(value_parser = NonEmptyStringValueParser::new())]
        id: String,
    },
    /// End a task that waits for an approval
    Reject {
        /// Its id, or the beginning of it
        #[arg(value_parser = NonEmptyStringValueParser::new())]
        id: String,
        /// The reason
        #[arg(long)]
        why: String,
    },
    /// Show tasks as something happens to them, until stopped
    Watch {
        /// Only this task, until it has ended
        #[arg(value_parser = NonEmptyStringValueParser::new())]
        id: Option<String>,
    },
}

impl Task {
    pub(crate) fn run(self, session: &CliSession) -> Result<(), Problem> {
        let printer = &session.printer;
        match self {
            Self::Submit(submit) => submit.run(session),
            Self::List { state, limit, after } => list(&state, limit, after.as_deref(), session),
            Self::Show { id, why, whole } => {
                let task: wire::Task =
                    session.client()?.get(&format!("{}?why={why}&whole={whole}", path(&id, None)))?;
                printer.answer(&task, || text::whole(&task, printer))
            }
            Self::Log { id, follow } => log::log(&id, follow, session),
            Self::Cancel { id, why } => said(&session.client()?, &id, "cancel", why, session),
            Self::Approve { id } => approve(&id, session),
            Self::Reject { id, why } => said(&session.client()?, &id, "reject", Some(why), session),
            Self::Retry { id } => {
                let task: wire::Task = session.client()?.post(&path(&id, Some("retry")), &wire::TaskWord::default())?;
                printer.answer(&task, || text::submitted(&task, printer))
            }
            Self::Watch { id } => watch::watch(id.as_deref(), session),
        }
    }
}

/// Says a word about a task, and prints the task.
fn said(client: &Client, id: &str, verb: &str, why: Option<String>, session: &CliSession) -> Result<(), Problem> {
    let task: wire::Task = client.post(&path(id, Some(verb)), &wire::TaskWord { why })?;
    session.printer.answer(&task, || text::line(&task, &session.printer))
}

/// Shows a person what would be done, asks, and approves it in that person's own session.
fn approve(id: &str, session: &CliSession) -> Result<(), Problem> {
    if !Printer::has_person() {
        let problem = Problem::new("refused", "a person approves, on a terminal that asks, and nothing was changed");
        return Err(problem.hint(
            "run `nexus-node task approve ID` on a terminal; `nexus-node web` opens the page, which has a button",
        ));
    }
    let client = session.client()?;
    let task: wire::Task = client.get(&format!("{}?whole=true", path(id, None)))?;
    let printer = &session.printer;
    let changes = text::changes(&task.input, printer).map(|changes| format!("\n\n{changes}")).unwrap_or_default();
    let plan = format!("{}{changes}", text::whole(&task, printer));
    printer.agree(&format!("{plan}\n\nApprove?"))?;
    // by its whole id: another one may begin alike by now
    let path = path(&task.id, Some("approve"));
    let approved = match client.post_as_person(&path, &wire::ApproveTask::default()) {
        Err(problem) if problem.code == "passphrase" => {
            let passphrase = Some(printer.secret("passphrase:")?);
            client.post_as_person(&path, &wire::ApproveTask { passphrase })
        }
        answered => answered,
    };
    let task: wire::Task = approved?;
    printer.answer(&task, || text::line(&task, printer))
}

fn list(states: &[String], limit: u16, after: Option<&str>, session: &CliSession) -> Result<(), Problem> {
    let mut asked = format!("/v1/tasks?limit={limit}");
    states.iter().for_each(|state| asked.push_str(&format!("&state={state}")));
    if let Some(after) = after {
        asked.push_str(&format!("&after={}", escape(after)));
    }
    let page: wire::TaskPage = session.client()?.get(&asked)?;
    session.printer.answer(&page, || text::table(&page.items, &session.printer))?;
    if let Some(next) = &page.next {
        let states: String = states.iter().map(|state| format!(" --state {state}")).collect();
        session.printer.note(&format!("more: `nexus-node task list{states} --after {}`", sane(next)));
    }
    Ok(())
}
