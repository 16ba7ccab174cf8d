//! The stderr of the commands that do tasks: the end of each, kept in memory by the worker's node.
//!
//! A worker hands over what its command wrote, with its renewals. Its node keeps the last part of each attempt, in a bound,
//! and for an hour after the last word. Another node asks for it over the room of tasks, and gets it if its member may read
//! the task.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nexus_crdt::{TaskId, TaskToken};
use nexus_identity::Did;

use super::guests::Guests;
use super::here::Here;
use super::read;
use super::settler::Settler;
use super::shows::Shows;
use super::task::{Task, TaskLog, TaskLogQuery, TaskRef, cut};
use super::wire::{Body, Log as LogPart, LogQuestion};
use crate::error::{ContactError, NodeError};

/// The most bytes that are kept of an attempt: the last ones.
const LOG_BYTES_MAX: usize = 64 << 10;
/// The most bytes, and attempts, that are kept together. Those of which nothing was heard for longest make room.
const LOGS_BYTES_MAX: usize = 16 << 20;
const LOGS_MAX: usize = 1_000;
/// The time for which the log of an attempt is kept after its last word.
const KEPT: Duration = Duration::from_secs(60 * 60);
/// The most bytes of one answer, in whole characters.
const PART_BYTES_MAX: usize = 32 << 10;
/// The longest wait for more, and the time between two looks.
const WAIT_MAX: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(250);
const LOOK_ELSEWHERE_EVERY: Duration = Duration::from_secs(1);

/// The stderr of an attempt's command.
#[derive(Debug)]
struct Log {
    attempt: u32,
    /// The member whose node hands the task out.
    settler: Did,
    /// Its last part, and the bytes before that.
    text: String,
    from: u64,
    last: Duration,
}

impl Log {
    /// The number of all bytes so far.
    fn end(&self) -> u64 {
        self.from.saturating_add(self.text.len() as u64)
    }

    /// Takes a part that begins after so many bytes. The bytes that are known already are left out.
    fn add(&mut self, from: u64, text: &str) {
        let known = self.end().saturating_sub(from);
        if text.is_empty() || from <= self.end() && known >= text.len() as u64 {
            return;
        }
        if from > self.end() {
            // the worker had to leave out what came between
            self.text.clear();
            self.from = from;
        }
        let at = character_from(text, usize::try_from(self.end().saturating_sub(from)).unwrap_or(usize::MAX));
        self.text.push_str(&text[at..]);
        let over = character_from(&self.text, self.text.len().saturating_sub(LOG_BYTES_MAX));
        self.text.drain(..over);
        self.from = self.from.saturating_add(over as u64);
    }

    /// The part after so many bytes, or from the beginning of what is kept.
    fn part(&self, from: u64, open: bool) -> LogPart {
        let at = character_from(&self.text, usize::try_from(from.saturating_sub(self.from)).unwrap_or(usize::MAX));
        let text = cut(&self.text[at..], PART_BYTES_MAX);
        let from = self.from.saturating_add(at as u64);
        let is_open = open || from.saturating_add(text.len() as u64) < self.end();
        LogPart { found: true, attempt: self.attempt, from, text, open: is_open }
    }
}

/// The place of the first character from a place on, or the end of the text.
fn character_from(text: &str, at: usize) -> usize {
    (at..text.len()).find(|at| text.is_char_boundary(*at)).unwrap_or(text.len())
}

/// The logs of the attempts that workers here make, or made.
#[derive(Debug, Default)]
pub(super) struct Logs {
    of: BTreeMap<(TaskId, TaskToken), Log>,
    bytes: usize,
}

impl Logs {
    fn hear(
        &mut self,
        (task, token): (TaskId, TaskToken),
        about: (u32, Did),
        (from, text): (u64, &str),
        now: Duration,
    ) {
        let (attempt, settler) = about;
        let log = self.of.entry((task, token));
        let log = log.or_insert_with(|| Log { attempt, settler, text: String::new(), from: 0, last: now });
        let before = log.text.len();
        log.add(from, text);
        log.last = now;
        self.bytes = self.bytes + log.text.len() - before;
        self.of.retain(|_, log| {
            let stays = log.last.saturating_add(KEPT) > now;
            self.bytes -= if stays { 0 } else { log.text.len() };
            stays
        });
        while self.bytes > LOGS_BYTES_MAX || self.of.len() > LOGS_MAX {
            let Some(oldest) = self.of.iter().min_by_key(|(claim, log)| (log.last, **claim)).map(|(claim, _)| *claim)
            else {
                return;
            };
            self.bytes -= self.of.remove(&oldest).map_or(0, |log| log.text.len());
        }
    }

    /// The last attempt at a task that workers here made, and its claim.
    fn last(&self, task: TaskId) -> Option<(TaskToken, &Log)> {
        let (first, last) = (TaskToken::from_bytes([0; 16]), TaskToken::from_bytes([0xff; 16]));
        let all = self.of.range((task, first)..=(task, last)).map(|((_, token), log)| (*token, log));
        all.max_by_key(|(_, log)| (log.attempt, log.last))
    }
}

/// A handle to the logs of attempts, cheap to clone.
#[derive(Clone)]
pub(super) struct TaskLogs(Arc<Inner>);

struct Inner {
    here: Here,
    settler: Settler,
    guests: Guests,
    shows: Shows,
    logs: Mutex<Logs>,
}

impl TaskLogs {
    pub(super) fn new(here: Here, settler: Settler, guests: Guests, shows: Shows) -> Self {
        Self(Arc::new(Inner { here, settler, guests, shows, logs: Mutex::default() }))
    }

    fn logs(&self) -> MutexGuard<'_, Logs> {
        self.0.logs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes what the command of an attempt here wrote to its stderr.
    pub(super) fn hear(&self, task: TaskId, token: TaskToken, said: (u64, &str)) {
        let here = &self.0.here;
        let of_own = || (self.0.settler.attempt_of(task, token).unwrap_or_default(), here.me());
        let about = self.0.guests.attempt_of(task, token).unwrap_or_else(of_own);
        self.logs().hear((task, token), about, said, here.now());
    }

    /// The part of a log that somebody asks for; `None` if there is none here.
    fn part(&self, task: TaskId, question: &LogQuestion) -> Option<LogPart> {
        let logs = self.logs();
        let (token, log) = logs.last(task)?;
        let is_open = self.0.settler.is_running(task, token) || self.0.guests.has(task, token);
        let from = if question.attempt == log.attempt { question.from } else { 0 };
        Some(log.part(from, is_open))
    }

    /// The stderr of the command of a task's last attempt: the last 64 KiB, from the worker's node. It is kept for
    /// an hour after its last word. With a time to wait, it returns once there is more, or the attempt is over.
    ///
    /// # Errors
    /// As [`get`](Self::get). [`NodeError::Unreachable`] if the worker's node does not answer.
    pub(super) async fn read(&self, name: TaskRef, query: TaskLogQuery) -> Result<TaskLog, NodeError> {
        let (mut query, here) = (query, &self.0.here);
        let until = here.now().saturating_add(query.wait.min(WAIT_MAX));
        loop {
            let task = self.0.shows.of(name.clone()).await?;
            let is_here = task.assigned_to.as_ref().is_none_or(|worker| worker.node == here.me());
            let log = self.log_now(&task, &query).await?;
            let now = here.now();
            // an attempt that is over may have another one after it
            if !log.text.is_empty() || task.status.is_over() || now >= until {
                return Ok(TaskLog { open: log.open || !task.status.is_over(), ..log });
            }
            (query.attempt, query.from) = (log.attempt, log.next);
            let pause = if is_here { LOOK_EVERY } else { LOOK_ELSEWHERE_EVERY };
            here.world.sleep_until(until.min(now.saturating_add(pause))).await;
        }
    }

    async fn log_now(&self, task: &Task, query: &TaskLogQuery) -> Result<TaskLog, NodeError> {
        let question = LogQuestion { task: task.id.to_bytes().to_vec(), attempt: query.attempt, from: query.from };
        let worker = task.assigned_to.clone();
        let shown = |part: LogPart| TaskLog {
            id: task.id,
            worker: worker.clone(),
            attempt: part.attempt,
            from: part.from,
            next: part.from.saturating_add(part.text.len() as u64),
            text: part.text,
            open: part.open,
        };
        let nothing = LogPart { attempt: query.attempt, from: query.from, ..LogPart::default() };
        let Some(node) = task.assigned_to.as_ref().map(|worker| worker.node) else { return Ok(shown(nothing)) };
        if node == self.0.here.me() {
            return Ok(shown(self.part(task.id, &question).unwrap_or(nothing)));
        }
        match self.0.here.ask(node, Body::LogQuestion(question)).await {
            Ok(Some(Body::Log(part))) if part.found => {
                let text = cut(&part.text, PART_BYTES_MAX);
                Ok(shown(LogPart { text, ..part }))
            }
            // it has none, or not any more
            Ok(Some(Body::Log(_))) => Ok(shown(nothing)),
            Ok(_) | Err(_) => {
                let name = self.0.here.shown_name(node);
                Err(ContactError::NoLog { name }.into())
            }
        }
    }

    /// Answers another node's question for a log, if its member may read the task.
    pub(super) async fn hear_question(&self, peer: Did, question: LogQuestion) -> Option<LogPart> {
        let task = TaskId::from_bytes(&question.task)?;
        let settler = self.logs().last(task).map(|(_, log)| log.settler)?;
        let logs = self.clone();
        let may_read = self.0.here.reading(move |view, reader| {
            let Some(found) = read::find(view, reader, task)? else { return Ok(false) };
            Ok(logs.0.here.identity.members().may_read(&peer, &found.rule))
        });
        // its settler knows all of the task, also before its entries are here
        let may = settler == peer || may_read.await.ok()?;
        may.then(|| self.part(task, &question)).flatten()
    }
}

#[cfg(test)]
mod tests {
    use nexus_crdt::Dot;

    use super::*;

    const fn secs(secs: u64) -> Duration {
        Duration::from_secs(secs)
    }

    fn did(n: u8) -> Did {
        Did::from_bytes([n; 32])
    }

    fn task(n: u8) -> TaskId {
        Dot::from_bytes(&[n; 34]).unwrap()
    }

    fn token(n: u8) -> TaskToken {
        TaskToken::from_bytes([n; 16])
    }

    fn said(logs: &Logs, n: u8) -> Option<(u64, String)> {
        logs.last(task(n)).map(|(_, log)| (log.from, log.text.clone()))
    }

    #[test]
    fn a_part_that_comes_twice_is_there_once_and_a_gap_is_seen() {
        let mut logs = Logs::default();
        let mut hear = |from, text| {
            logs.hear((task(1), token(1)), (1, did(1)), (from, text), secs(1));
            said(&logs, 1).unwrap()
        };
        assert_eq!(hear(0, "one "), (0, "one ".to_owned()));
        assert_eq!(hear(0, "one "), (0, "one ".to_owned()));
        assert_eq!(hear(2, "e two"), (0, "one two".to_owned()));
        assert_eq!(hear(0, ""), (0, "one two".to_owned()));
        assert_eq!(hear(100, "later"), (100, "later".to_owned()));
        assert_eq!(hear(u64::MAX, "x"), (u64::MAX, "x".to_owned()), "what a worker says never overflows");
        assert_eq!(hear(u64::MAX, "xyz").0, u64::MAX);
    }

    /// promise: Tasks | The stderr of each attempt is kept in a bound, the last 64 KiB, and so are all together; the latest stay for an hour
    #[test]
    fn logs_are_bounded_and_the_latest_stay() {
        let mut logs = Logs::default();
        let long = "ü".repeat(LOG_BYTES_MAX);
        logs.hear((task(1), token(1)), (1, did(1)), (0, &long), secs(1));
        let (from, text) = said(&logs, 1).unwrap();
        assert_eq!((text.len(), from), (LOG_BYTES_MAX, LOG_BYTES_MAX as u64), "the last ones");
        for n in 0..1_500_u32 {
            let mut claim = [0; 16];
            claim[..4].copy_from_slice(&n.to_be_bytes());
            let size = if n % 2 == 0 { LOG_BYTES_MAX } else { 2 };
            let claim = (task(2), TaskToken::from_bytes(claim));
            logs.hear(claim, (n, did(1)), (0, &long[..size]), secs(2 + u64::from(n)));
            assert!(logs.bytes <= LOGS_BYTES_MAX && logs.of.len() <= LOGS_MAX);
            assert_eq!(logs.bytes, logs.of.values().map(|log| log.text.len()).sum::<usize>());
        }
        assert_eq!(said(&logs, 1), None, "it was the oldest");
        assert_eq!(logs.last(task(2)).unwrap().1.attempt, 1_499);
        logs.hear((task(3), token(3)), (1, did(1)), (0, "x"), secs(10_000));
        assert_eq!((logs.of.len(), logs.bytes), (1, 1), "the hour of the others is over");
    }

    #[test]
    fn a_log_is_read_in_parts_to_its_end() {
        let mut logs = Logs::default();
        let text: String = (0..20_000).map(|n| format!("{n} ü\n")).collect();
        logs.hear((task(1), token(1)), (1, did(1)), (0, &text), secs(1));
        let log = logs.last(task(1)).unwrap().1;
        let (mut read, mut from) = (String::new(), 0);
        loop {
            let part = log.part(from, false);
            assert!(part.text.len() <= PART_BYTES_MAX);
            read.push_str(&part.text);
            from = part.from + part.text.len() as u64;
            if !part.open {
                break;
            }
        }
        assert!(text.ends_with(&read) && read.len() > LOG_BYTES_MAX - 4);
        assert_eq!((log.part(from, true).text.as_str(), log.part(from, true).open), ("", true));
        assert_eq!((log.part(u64::MAX, false).text.as_str(), log.part(u64::MAX, false).open), ("", false));
    }
}
