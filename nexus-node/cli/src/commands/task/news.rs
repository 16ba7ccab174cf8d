//! The news of a task for somebody who waits for its end.

use nexus_client::wire;

use super::text;
use crate::output::{Printer, sane, sane_lines};

/// The last lines of a command's stderr that are shown of a failure.
const LINES_MAX: usize = 20;

/// The words about a task that were printed, so that each is printed once.
#[derive(Debug, Default)]
pub(super) struct News {
    state: String,
    /// The last words about why it waits, without the numbers in them: a time that is left is no news.
    why: String,
    progress: Option<wire::TaskProgress>,
    /// The events that were looked at.
    events: usize,
}

impl News {
    /// Tells what is new of a task.
    pub(super) fn tell(&mut self, task: &wire::Task, printer: &Printer) {
        for event in task.events.iter().skip(self.events).filter(|_| task.ended_at.is_none()) {
            let Some(word) = word(&event.event) else { continue };
            let told = wire::TaskError::line_of(event.text.as_deref().unwrap_or_default());
            let told = if told.is_empty() { String::new() } else { format!(": {}", sane(told)) };
            printer.note(&format!("{word}{told}"));
        }
        self.events = self.events.max(task.events.len());
        let worker = || task.assigned_to.as_ref().map(text::worker).unwrap_or_default();
        if let Some(why) = task.why.as_ref().filter(|_| task.ended_at.is_none()) {
            let digitless: String = why.chars().filter(|letter| !letter.is_ascii_digit()).collect();
            if self.why != digitless {
                self.why = digitless;
                printer.note(&format!("{}: {}", task.state.replace('_', " "), sane_lines(why)));
            }
        } else if self.state != task.state && ["assigned", "running"].contains(&task.state.as_str()) {
            printer.note(&format!("{}: {}", task.state, sane(&worker())));
            // once it waits again it says so
            self.why.clear();
        }
        self.state.clone_from(&task.state);
        if let Some(progress) = &task.progress
            && self.progress.as_ref() != Some(progress)
        {
            printer.note(&format!("{}: {}", sane(&worker()), sane(&text::progress(progress))));
            self.progress = Some(progress.clone());
        }
    }
}

/// An event that lets a task wait again, in words.
fn word(event: &str) -> Option<&'static str> {
    Some(match event {
        "failed" => "an attempt failed",
        "expired" => "an attempt is over",
        "released" => "a worker gave it back",
        "preempted" => "it gave way to a critical task",
        "moved" => "another node hands it out",
        _ => return None,
    })
}

/// The end of a command's stderr, for a person who waited; `None` if it is one line, which the error has.
pub(super) fn last_lines(task: &wire::Task) -> Option<String> {
    let message = task.error.as_ref().map(|error| error.message.trim_end())?;
    let lines: Vec<&str> = message.lines().collect();
    let from = lines.len().saturating_sub(LINES_MAX);
    (lines.len() > 1).then(|| sane_lines(&lines[from..].join("\n")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed(message: &str) -> wire::Task {
        let error = wire::TaskError { code: "exit_1".to_owned(), message: message.to_owned() };
        let task = serde_json::json!({
            "id": "x", "capability": "x", "state": "failed", "why": null, "input": null, "output": null, "error": error,
            "space": "tasks", "priority": "normal", "timeout": "5m", "deadline": null, "attempts": 1, "request": null,
            "needs_approval": false, "to": null, "retry_of": null, "submitter": "x", "submitter_name": null, "agent": null,
            "submitted_at": "x", "assigned_to": null, "claims": 1, "failures": 1, "expiries": 0, "progress": null,
            "ended_at": "x", "events": [],
        });
        serde_json::from_value(task).unwrap()
    }

    #[test]
    fn a_failure_shows_its_last_lines_and_nothing_that_a_terminal_would_obey() {
        assert_eq!(last_lines(&failed("one line\n")), None);
        let long: String = (0..50).map(|n| format!("line {n}\n")).collect();
        let shown = last_lines(&failed(&long)).unwrap();
        assert_eq!((shown.lines().count(), shown.lines().next()), (LINES_MAX, Some("line 30")));
        assert_eq!(last_lines(&failed("a\n\u{1b}[2Jb")).unwrap(), "a\n\\u{1b}[2Jb");
    }
}
