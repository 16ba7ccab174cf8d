//! A task from its claim to its end.
//!
//! While the command runs, the claim is renewed. A renewal that cannot be delivered changes nothing, until the lease has
//! passed since the last accepted one was sent. Then somebody else may have the task, so the command is ended.

use std::sync::Arc;
use std::time::{Duration, Instant};

use nexus_client::wire;
use nexus_crdt::{JsonText, TaskAttachment};
use nexus_node::api::Problem;
use serde::Serialize;
use tokio::sync::watch;

use super::job::{Job, JobEnd, Log};
use super::link::{Link, RETRY, is_final};
use super::workplace::Workplace;
use crate::output::{Printer, Style, sane};

/// The longest time for the last words to the node once the worker is told to stop.
const LAST_WORDS: Duration = Duration::from_secs(5);
/// The shortest time between two words about progress.
const PROGRESS_EVERY: Duration = Duration::from_millis(200);
/// The same of parts of what the command writes to its stderr, and the time for the last one.
const LOG_EVERY: Duration = Duration::from_millis(500);
const LAST_LOG: Duration = Duration::from_secs(2);

/// A task that this worker has.
pub(super) struct Attempt {
    link: Link,
    claimed: wire::ClaimedTask,
    workplace: Arc<Workplace>,
    /// True once the worker is told to stop.
    stopped: watch::Receiver<bool>,
}

/// The result of an attempt: a line of the output.
#[derive(Debug, Serialize)]
pub(super) struct Attempted {
    /// The task's id.
    id: String,
    capability: String,
    attempt: u32,
    result: &'static str,
    /// The level of confinement.
    sandbox: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<wire::TaskError>,
    /// The rest of this worker after it.
    #[serde(skip_serializing_if = "Option::is_none")]
    rest: Option<wire::AgentRest>,
    took_ms: u64,
}

/// The ends of an attempt, before its node knows.
enum Worked {
    Ended(JobEnd),
    /// The claim is over: the task was cancelled, or somebody else has it.
    Lost(String),
    Stopped,
    /// The command cannot begin.
    Unfit(Problem),
}

impl Attempt {
    pub(super) fn new(
        link: Link,
        claimed: wire::ClaimedTask,
        workplace: Arc<Workplace>,
        stopped: watch::Receiver<bool>,
    ) -> Self {
        Self { link, claimed, workplace, stopped }
    }

    /// Runs the command, and tells the node what came of it. With the problem of a command that cannot begin.
    pub(super) async fn run(mut self) -> (Attempted, Option<Problem>) {
        let (began, mut unfit, mut rest) = (Instant::now(), None, None);
        let (result, error) = match self.work().await {
            Worked::Ended(end) => {
                let (result, error, rests) = self.deliver(end).await;
                rest = rests;
                (result, error)
            }
            Worked::Lost(why) => ("lost", Some(error("conflict", self.lost(why).await))),
            Worked::Stopped => {
                release(&self.link, &self.claimed).await;
                ("released", None)
            }
            Worked::Unfit(problem) => {
                release(&self.link, &self.claimed).await;
                let why = error(problem.code, problem.message.clone());
                unfit = Some(problem);
                ("released", Some(why))
            }
        };
        let wire::ClaimedTask { task, attempt, .. } = self.claimed;
        let took_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        let sandbox = self.workplace.level().as_str();
        (Attempted { id: task.id, capability: task.capability, attempt, result, sandbox, error, rest, took_ms }, unfit)
    }

    /// The reason why a claim is over: the end of its task, if that is known.
    async fn lost(&self, why: String) -> String {
        let asked = tokio::time::timeout(LAST_WORDS, self.link.task(&self.claimed.task.id)).await;
        let Ok(Ok(task)) = asked else { return why };
        let ended = task.events.last().filter(|_| task.ended_at.is_some() && task.state != "succeeded");
        match ended.map(|end| end.by_name.as_deref().unwrap_or(&end.by)) {
            Some(by) => format!("the task has ended, by the word of {by}: {}", task.state),
            None => why,
        }
    }

    /// Runs the command until it ends, the claim is over, or the worker is told to stop.
    async fn work(&mut self) -> Worked {
        if let Some(asked) = self.claimed.task.sandbox.as_deref()
            && !self.workplace.level().promises(asked)
        {
            let level = self.workplace.level().as_str();
            let message = format!("it asks for the sandbox {asked}, and this worker has {level}");
            return Worked::Ended(JobEnd::Failed(wire::TaskError { code: "sandbox".to_owned(), message }));
        }
        let mut job = match Job::begin(&self.workplace, &self.claimed) {
            Ok(job) => job,
            Err(problem) => return Worked::Unfit(problem),
        };
        let keeper = self.keeper(job.progress(), Some(job.log()));
        let log = job.log();
        let worked = tokio::select! {
            end = job.ended() => Ok(end),
            why = keeper => Err(Worked::Lost(why)),
            // an error means that the worker is gone, which counts as a stop
            _ = self.stopped.wait_for(|stopped| *stopped) => Err(Worked::Stopped),
        };
        match worked {
            Ok(end) => {
                self.hand_over(&log).await;
                end.map_or_else(Worked::Unfit, Worked::Ended)
            }
            Err(worked) => {
                job.end().await;
                worked
            }
        }
    }

    /// Hands over the last of what the command wrote to its stderr. Nobody waits for it for long.
    async fn hand_over(&self, log: &Log) {
        let (id, token) = (&self.claimed.task.id, &self.claimed.token);
        let handing = async {
            while let Some((from, text)) = log.part() {
                if self.link.note_log(id, token, from, text.clone()).await.is_err() {
                    return;
                }
                log.taken(from, &text);
            }
        };
        let _ = tokio::time::timeout(LAST_LOG, handing).await;
    }

    /// Renews the claim, and hands progress and stderr on. Resolves when the claim is over, with the reason.
    fn keeper(
        &self,
        mut progress: watch::Receiver<wire::TaskProgress>,
        log: Option<Log>,
    ) -> impl Future<Output = String> + use<> {
        let (link, id, token) = (self.link.clone(), self.claimed.task.id.clone(), self.claimed.token.clone());
        let lease = Duration::from_millis(self.claimed.lease_ms);
        let accepted = watch::Sender::new(tokio::time::Instant::now());
        async move {
            let mut renewed = accepted.subscribe();
            let watchdog = async {
                loop {
                    let until = *renewed.borrow_and_update() + lease;
                    tokio::select! {
                        () = tokio::time::sleep_until(until) => break,
                        // the sender is here
                        _ = renewed.changed() => {}
                    }
                }
                format!("the node did not accept a renewal for {}", wire::show_duration(lease))
            };
            let holding = async {
                let mut stands = false;
                loop {
                    let sent = tokio::time::Instant::now();
                    let answer = match stands {
                        true => link.hold(&id, &token).await,
                        // the first word after silence is to be heard at once
                        false => link.renew(&id, &token, None).await,
                    };
                    match answer {
                        Ok(_) => {
                            stands = true;
                            later(&accepted, sent);
                        }
                        Err(problem) if is_final(&problem) => break problem.message,
                        // it may be renewed in time all the same
                        Err(_) if stands => stands = false,
                        Err(_) => tokio::time::sleep(RETRY).await,
                    }
                }
            };
            let telling = async {
                while progress.changed().await.is_ok() {
                    let (sent, told) = (tokio::time::Instant::now(), progress.borrow_and_update().clone());
                    match link.renew(&id, &token, Some(told)).await {
                        Ok(_) => later(&accepted, sent),
                        Err(problem) if is_final(&problem) => return problem.message,
                        Err(_) => {}
                    }
                    tokio::time::sleep(PROGRESS_EVERY).await;
                }
                // the command has closed its stderr
                std::future::pending().await
            };
            // whether the claim stands is for the others to find out
            let logging = async {
                if let Some(mut log) = log {
                    while log.grows().await {
                        while let Some((from, text)) = log.part() {
                            match link.note_log(&id, &token, from, text.clone()).await {
                                Ok(_) => log.taken(from, &text),
                                Err(problem) if is_final(&problem) => return std::future::pending().await,
                                Err(_) => tokio::time::sleep(RETRY).await,
                            }
                        }
                        tokio::time::sleep(LOG_EVERY).await;
                    }
                }
                std::future::pending().await
            };
            tokio::select! {
                why = watchdog => why,
                why = holding => why,
                why = telling => why,
                why = logging => why,
            }
        }
    }

    /// Tells the node the end of the command until it is accepted or refused.
    async fn deliver(&mut self, end: JobEnd) -> (&'static str, Option<wire::TaskError>, Option<wire::AgentRest>) {
        let (output, failed) = match end {
            JobEnd::Succeeded(output) => (Some(output), None),
            JobEnd::Failed(error) => (None, Some(error)),
        };
        let token = self.claimed.token.clone();
        let why = failed.clone().map(|error| wire::AttemptError { code: Some(error.code), message: error.message });
        let finish = wire::FinishTask { token: token.clone(), output, error: why, release: false };
        // the lease goes on meanwhile
        let (_told, progress) = watch::channel(wire::TaskProgress { percent: None, text: String::new() });
        let keeper = tokio::spawn(self.keeper(progress, None));
        let told = self.insist(&finish).await;
        keeper.abort();
        let rest = told.as_ref().ok().and_then(|task| task.worker_rest.clone());
        let (result, error) = match (told, failed) {
            (Ok(_), None) => ("succeeded", None),
            (Ok(_), Some(error)) => ("failed", Some(error)),
            (Err(problem), _) if ["conflict", "not_found"].contains(&problem.code) => {
                ("lost", Some(error(problem.code, problem.message)))
            }
            (Err(problem), failed) if failed.is_none() && is_final(&problem) => {
                // the node takes no such output
                let refused = error("output_refused", problem.message);
                let why = wire::AttemptError { code: Some(refused.code.clone()), message: refused.message.clone() };
                let finish = wire::FinishTask { token, error: Some(why), ..wire::FinishTask::default() };
                let _ = self.insist(&finish).await;
                ("failed", Some(refused))
            }
            (Err(problem), _) => ("lost", Some(error(problem.code, problem.message))),
        };
        (result, error, rest)
    }

    /// Tells the node the end of the attempt until it is accepted or refused; once the worker is to stop, a while longer.
    async fn insist(&mut self, finish: &wire::FinishTask) -> Result<wire::Task, Problem> {
        let (link, id) = (self.link.clone(), self.claimed.task.id.clone());
        let telling = async {
            let mut is_open = false;
            loop {
                match link.finish(&id, finish.clone()).await {
                    // an earlier try may have arrived
                    Err(problem) if problem.code == "conflict" && is_open => {
                        let now = link.task(&id).await.ok();
                        break now.filter(|now| is_done(now, finish)).ok_or(problem);
                    }
                    Err(problem) if !is_final(&problem) => {
                        is_open = true;
                        tokio::time::sleep(RETRY).await;
                    }
                    told => break told,
                }
            }
        };
        tokio::pin!(telling);
        tokio::select! {
            told = &mut telling => return told,
            _ = self.stopped.wait_for(|stopped| *stopped) => {}
        }
        let late = || Problem::new("timed_out", "the node did not take the result before the worker was stopped");
        tokio::time::timeout(LAST_WORDS, telling).await.unwrap_or_else(|_| Err(late()))
    }
}

/// Whether a task was done with this output.
fn is_done(task: &wire::Task, finish: &wire::FinishTask) -> bool {
    task.state == "succeeded" && finish.error.is_none() && is_same(task.output.as_ref(), finish.output.as_ref())
}

/// Whether the node has this output, in an event or in a blob.
fn is_same(kept: Option<&JsonText>, given: Option<&JsonText>) -> bool {
    let (kept, given) = (kept.map_or("null", JsonText::as_str), given.map_or("null", JsonText::as_str));
    // a blob's name is the hash of its content
    kept == given
        || TaskAttachment::of(kept).is_some_and(|kept| kept.blob() == blake3::hash(given.as_bytes()).as_bytes())
}

/// Notes when an accepted renewal was sent, if it is the latest.
fn later(accepted: &watch::Sender<tokio::time::Instant>, sent: tokio::time::Instant) {
    accepted.send_if_modified(|accepted| {
        let is_later = sent > *accepted;
        *accepted = sent.max(*accepted);
        is_later
    });
}

/// Gives a task back untried. If that fails, its lease runs out.
pub(super) async fn release(link: &Link, claimed: &wire::ClaimedTask) {
    let finish = wire::FinishTask { token: claimed.token.clone(), release: true, ..wire::FinishTask::default() };
    let telling = async {
        while let Err(problem) = link.finish(&claimed.task.id, finish.clone()).await
            && !is_final(&problem)
        {
            tokio::time::sleep(RETRY).await;
        }
    };
    let _ = tokio::time::timeout(LAST_WORDS, telling).await;
}

fn error(code: &str, message: String) -> wire::TaskError {
    wire::TaskError { code: code.to_owned(), message }
}

impl Attempted {
    /// Tells people once the worker gets no work for a while.
    pub(super) fn warn(&self, printer: &Printer) {
        // others' words about other nodes are for their terminals
        if let Some(wire::AgentRest { until, failures }) = &self.rest {
            let capability = sane(&self.capability);
            let message = format!("this worker rests from {capability} until {until}, after {failures} failures");
            printer.warning(
                &message,
                Some("its node gives it one task then, to try it again; mend its command meanwhile"),
            );
        }
    }

    /// It in a line for people.
    pub(super) fn line(&self, printer: &Printer) -> String {
        let style = match self.result {
            "succeeded" => Style::Good,
            "failed" => Style::Bad,
            _ => Style::Odd,
        };
        let took = Duration::from_millis(self.took_ms).as_secs_f64();
        let error = self.error.as_ref().map(|error| format!("  {}: {}", sane(&error.code), sane(error.line())));
        let result = printer.paint(style, &format!("{:<9}", self.result));
        let (capability, error) = (sane(&self.capability), error.unwrap_or_default());
        format!("{result}  {}  {capability}  {took:.1} s  sandbox {}{error}", self.id, self.sandbox)
    }
}
