//! `worker`: a command that serves tasks.
//!
//! | room | content |
//! |---|---|
//! | `link` | the way to the node, which may start again meanwhile |
//! | `attempt` | a task from its claim to its end |
//! | `job` | the command of an attempt: its process group, its pipes |
//! | `wardens` | the processes that it started, and what they leave behind |
//! | `workplace` | the place where a command runs: its directory, its sandbox, its limits, its variables |

mod attempt;
mod job;
mod link;
mod wardens;
mod workplace;

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use clap::builder::NonEmptyStringValueParser;
use nexus_client::wire;
use nexus_node::api::Problem;
use serde_json::Value;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::{JoinHandle, JoinSet};

use self::attempt::{Attempt, release};
use self::link::{Link, RETRY, is_final};
use self::wardens::Wardens;
use self::workplace::{Workplace, WorkplaceOptions};
use super::task::rule::Rule;
use crate::output::Printer;
use crate::session::CliSession;
use crate::signals;
use crate::task_directory;

/// The most tasks at a time.
const CONCURRENCY_MAX: i64 = 100;

/// Serve tasks with a command: the input on its stdin, the output from its stdout
///
/// The command runs in a sandbox, since its input comes from others. It reads the system's directories, its interpreter and its
/// script, writes its own directory, and has no network, unless you allow more. The first line says what is open. --profile
/// opens what tools need, such as --profile agent with --yes for an agent; --sandbox none opens all.
#[derive(Debug, Args)]
pub(crate) struct Worker {
    /// An ability of the command; may be given several times
    #[arg(long = "capability", required = true, value_name = "CAPABILITY")]
    capabilities: Vec<String>,
    /// Bounds for a machine: terminal (1 task, processors at 80 %, memory at 90 %), ide (1, 50, 80) or cloud (a task for each
    /// processor, 95, 95)
    #[arg(long, value_enum)]
    preset: Option<Preset>,
    /// The most tasks at a time [default: 1]
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=CONCURRENCY_MAX))]
    concurrency: Option<u16>,
    /// Its name among the workers [default: nexus-node]
    #[arg(long, value_parser = NonEmptyStringValueParser::new())]
    name: Option<String>,
    /// The time without contact to the node after which a task is given up
    #[arg(long, value_name = "TIME", default_value = "30s")]
    lease: wire::Span,
    /// A further member whose tasks it takes, beside those of its own node, of your machines and of admins: a DID, a name, or
    /// `member` for all
    #[arg(long, value_name = "DID|NAME|ROLE")]
    from: Vec<String>,
    /// Above this use of the processors, in percent as a mean of 10 s, it takes no task; only Linux can tell [default: 80]
    #[arg(long, value_name = "PERCENT", value_parser = clap::value_parser!(u8).range(0..=100))]
    cpu_max: Option<u8>,
    /// The same of memory [default: 90]
    #[arg(long, value_name = "PERCENT", value_parser = clap::value_parser!(u8).range(0..=100))]
    memory_max: Option<u8>,
    /// Take only tasks that a person approved: person, by the task's own rule, or other, by an admin that is not its submitter
    #[arg(long, value_name = "RULE", value_enum)]
    approved_by: Option<Rule>,
    /// A JSON schema: a task with another input fails, without CMD
    #[arg(long, value_name = "FILE")]
    input_schema: Option<PathBuf>,
    /// A JSON schema: a task with another output fails
    #[arg(long, value_name = "FILE")]
    output_schema: Option<PathBuf>,
    #[command(flatten)]
    workplace: WorkplaceOptions,
    /// The command, after `--`; no shell reads it
    #[arg(last = true, required = true, value_name = "CMD")]
    command: Vec<OsString>,
}

/// The bounds that suit a machine.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Preset {
    /// A person works there, and waits for little.
    Terminal,
    /// A person works there with an editor that needs the processors.
    Ide,
    /// Nobody works there.
    Cloud,
}

impl Preset {
    /// The most tasks at a time, and the most use of processors and memory in percent.
    fn bounds(self) -> (u16, u8, u8) {
        match self {
            Self::Terminal => (1, 80, 90),
            Self::Ide => (1, 50, 80),
            Self::Cloud => {
                let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
                let most = u16::try_from(CONCURRENCY_MAX).unwrap_or(u16::MAX);
                (u16::try_from(processors).unwrap_or(u16::MAX).min(most), 95, 95)
            }
        }
    }
}

impl Worker {
    pub(crate) fn run(self, session: &CliSession) -> Result<(), Problem> {
        let Self {
            capabilities,
            preset,
            concurrency,
            name,
            lease,
            from,
            cpu_max,
            memory_max,
            approved_by,
            input_schema,
            output_schema,
            workplace,
            command,
        } = self;
        let (input_schema, output_schema) = (schema(input_schema)?, schema(output_schema)?);
        let (tasks, cpu, memory) = preset.map_or((1, 80, 90), Preset::bounds);
        let concurrency = concurrency.unwrap_or(tasks);
        let link = Link::new(session, lease.0)?;
        let claim = wire::ClaimTask {
            capabilities: capabilities.into_iter().collect(),
            agent: name,
            wait: Some(wire::Span(link::CLAIM_WAIT)),
            lease: Some(lease),
            from,
            cpu_max: Some(cpu_max.unwrap_or(cpu)),
            memory_max: Some(memory_max.unwrap_or(memory)),
            approved_by: approved_by.map(Into::into),
            input_schema,
            output_schema,
        };
        left_behind(&session.printer);
        let workplace = workplace.prepare(&job::absolute(command)?, session)?;
        Wardens::adopt();
        let runtime = CliSession::runtime()?;
        let ended = runtime.block_on(serve(link, claim, workplace, usize::from(concurrency), session.printer.clone()));
        // a question that is still open ends with this process
        runtime.shutdown_background();
        ended
    }
}

/// Removes what a killed worker left behind, and says it.
fn left_behind(printer: &Printer) {
    let task_directory::Leftovers { removed, failed } = task_directory::sweep();
    if removed > 0 {
        printer.note(&format!("removed {removed} directories of tasks whose worker was killed"));
    }
    for (path, error) in failed {
        let message = format!("{} is still there: {error}", path.display());
        printer.warning(&message, Some("remove it: the command of a task left it behind"));
    }
}

/// The schema in a file. The node checks that it is one.
fn schema(path: Option<PathBuf>) -> Result<Option<Value>, Problem> {
    let Some(path) = path else { return Ok(None) };
    let problem = |error: String| {
        Problem::new("invalid", format!("{}: {error}", path.display()))
            .hint("it is to be a JSON schema: nothing was started")
    };
    let text = std::fs::read(&path).map_err(|error| problem(error.to_string()))?;
    serde_json::from_slice(&text).map(Some).map_err(|error| problem(error.to_string()))
}

/// Takes tasks until it is told to stop.
async fn serve(
    link: Link,
    claim: wire::ClaimTask,
    workplace: Workplace,
    concurrency: usize,
    printer: Printer,
) -> Result<(), Problem> {
    let stop = signals::stop().map_err(|error| Problem::new("failed", format!("signals: {error}")))?;
    tokio::pin!(stop);
    let capabilities: Vec<&str> = claim.capabilities.iter().map(String::as_str).collect();
    workplace.note(&capabilities.join(", "), &printer);
    let (stopping, stopped) = watch::channel(false);
    let (slots, mut attempts) = (Arc::new(Semaphore::new(concurrency)), JoinSet::new());
    let (claim, workplace) = (Arc::new(claim), Arc::new(workplace));
    let (ailing, mut ails) = mpsc::unbounded_channel();
    let mut asking = None;
    let refused = loop {
        let slot = tokio::select! {
            // in this order: the slot of an attempt that met a problem is free after the problem was told
            biased;
            () = &mut stop => break None,
            Some(problem) = ails.recv() => break Some(problem),
            slot = slots.clone().acquire_owned() => slot,
        };
        // nobody closes it
        let Ok(slot) = slot else { break None };
        while attempts.try_join_next().is_some() {}
        let question = asking.insert(link.claim(&claim));
        let claimed = tokio::select! {
            () = &mut stop => break None,
            Some(problem) = ails.recv() => break Some(problem),
            claimed = question => claimed,
        };
        asking = None;
        match claimed.unwrap_or_else(|error| Err(Problem::new("internal", error.to_string()))) {
            Ok(Some(claimed)) => {
                let attempt = Attempt::new(link.clone(), claimed, workplace.clone(), stopped.clone());
                let (printer, ailing) = (printer.clone(), ailing.clone());
                attempts.spawn(async move {
                    let (attempted, unfit) = attempt.run().await;
                    let told = printer.report(&attempted, || attempted.line(&printer)).err();
                    attempted.warn(&printer);
                    if let Some(problem) = unfit.or(told) {
                        // the loop may have ended already
                        let _ = ailing.send(problem);
                    }
                    drop(slot);
                });
            }
            Ok(None) => {}
            Err(problem) if is_final(&problem) => break Some(problem),
            Err(_) => tokio::select! {
                () = &mut stop => break None,
                () = tokio::time::sleep(RETRY) => {}
            },
        }
    };
    stopping.send_replace(true);
    while attempts.join_next().await.is_some() {}
    // a task that came at the very moment goes back untried
    if let Some(question) = asking.filter(JoinHandle::is_finished)
        && let Ok(Ok(Some(claimed))) = question.await
    {
        release(&link, &claimed).await;
    }
    refused.map_or(Ok(()), Err)
}
