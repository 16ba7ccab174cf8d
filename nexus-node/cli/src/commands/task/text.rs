//! Tasks for people.

use nexus_client::wire;
use nexus_crdt::{JsonText, TaskAttachment};

use super::super::list::short_id;
use crate::output::{Printer, Style, Table, in_a_line, is_narrow, moment, sane, sane_lines, short_did, size, width};

/// The columns before the last one of the table of tasks.
const COLUMNS: usize = 88;
/// The letters that are shown of an input or an output in a blob.
const BEGIN_CHARS_MAX: usize = 80;

fn style(state: &str) -> Option<Style> {
    match state {
        "succeeded" => Some(Style::Good),
        "failed" | "rejected" | "unknown" => Some(Style::Bad),
        "cancelled" | "awaiting_approval" => Some(Style::Odd),
        "running" | "assigned" => Some(Style::Bold),
        _ => None,
    }
}

/// A state in words.
fn state(task: &wire::Task) -> String {
    task.state.replace('_', " ")
}

fn painted(task: &wire::Task, printer: &Printer) -> String {
    let state = state(task);
    style(&task.state).map_or_else(|| state.clone(), |style| printer.paint(style, &state))
}

/// A worker: its name, and its node's.
pub(super) fn worker(worker: &wire::Assignee) -> String {
    let node = worker.name.clone().unwrap_or_else(|| short_did(&worker.node));
    worker.agent.as_ref().map_or_else(|| node.clone(), |agent| format!("{agent} at {node}"))
}

/// How far a worker says that it is.
pub(super) fn progress(progress: &wire::TaskProgress) -> String {
    match progress.percent {
        Some(percent) => format!("{percent} % {}", progress.text).trim_end().to_owned(),
        None => progress.text.clone(),
    }
}

/// The reason of the state: an error, how far it is, or a sentence.
fn why(task: &wire::Task) -> Option<String> {
    let error = task.error.as_ref().and_then(|error| match (error.code.is_empty(), error.message.is_empty()) {
        // the state says it
        (_, true) => Some(error.code.clone()).filter(|code| *code != task.state),
        (true, false) => Some(error.message.clone()),
        (false, false) => Some(format!("{}: {}", error.code, error.message)),
    });
    error.or_else(|| task.progress.as_ref().map(progress)).or_else(|| task.why.clone())
}

/// The same in a line: of an error the line that says most.
fn why_in_a_line(task: &wire::Task) -> Option<String> {
    match &task.error {
        Some(error) if error.message.contains('\n') => {
            let code = if error.code.is_empty() { String::new() } else { format!("{}: ", error.code) };
            Some(format!("{code}{}", error.line()))
        }
        _ => why(task),
    }
}

/// A task in one line.
pub(super) fn line(task: &wire::Task, printer: &Printer) -> String {
    let why = why_in_a_line(task).map(|why| format!(": {}", sane(why.trim()))).unwrap_or_default();
    format!("{}  {}  {}{why}", short_id(&task.id), sane(&task.capability), painted(task, printer))
}

/// A task that was just submitted: its whole id, and its state; with `--quiet` the id alone, for scripts.
pub(super) fn submitted(task: &wire::Task, printer: &Printer) -> String {
    if printer.quiet() {
        return task.id.clone();
    }
    let why = why(task).map(|why| format!(": {}", sane(why.trim()))).unwrap_or_default();
    format!("{}  {}{why}", task.id, painted(task, printer))
}

/// An output for people: a text as it is, anything else as JSON.
pub(super) fn output(output: &JsonText) -> String {
    output.read::<String>().map_or_else(|_| output.to_string(), |text| sane_lines(&text))
}

pub(super) fn table(tasks: &[wire::Task], printer: &Printer) -> String {
    if tasks.is_empty() {
        return "no such tasks; `nexus-node task submit CAPABILITY` submits one".to_owned();
    }
    if is_narrow() {
        return narrow_table(tasks, printer);
    }
    let mut table = Table::new(["ID", "STATE", "CAPABILITY", "SUBMITTED", "BY", "WORKER", "WHY"]);
    let rest = width().saturating_sub(COLUMNS).max(20);
    for task in tasks {
        let by = task.submitter_name.clone().unwrap_or_else(|| short_did(&task.submitter));
        table.row([
            (short_id(&task.id), Some(Style::Bold)),
            (state(task), style(&task.state)),
            (task.capability.clone(), None),
            (moment(&task.submitted_at), None),
            (by, None),
            (task.assigned_to.as_ref().map_or_else(|| "-".to_owned(), worker), None),
            (in_a_line(&why_in_a_line(task).unwrap_or_default(), rest), None),
        ]);
    }
    table.show(printer)
}

/// The columns of a narrow table, but for the last.
const NARROW_COLUMNS: usize = 56;

/// The same for a terminal on which the other one would wrap each row. `task show` has the rest.
fn narrow_table(tasks: &[wire::Task], printer: &Printer) -> String {
    let mut table = Table::new(["ID", "STATE", "CAPABILITY", "BY", "WHY"]);
    let rest = width().saturating_sub(NARROW_COLUMNS).max(16);
    for task in tasks {
        let by = task.submitter_name.clone().unwrap_or_else(|| short_did(&task.submitter));
        table.row([
            (short_id(&task.id), Some(Style::Bold)),
            (state(task), style(&task.state)),
            (in_a_line(&task.capability, 14), None),
            (in_a_line(&by, 10), None),
            (in_a_line(&why_in_a_line(task).unwrap_or_default(), rest), None),
        ]);
    }
    table.show(printer)
}

/// Whether an input or an output is in a blob.
pub(super) fn is_in_blob(json: &JsonText) -> bool {
    TaskAttachment::of(json.as_str()).is_some()
}

/// An input or an output among other things about its task.
fn shown(json: &JsonText, text: String) -> String {
    let Some(attachment) = TaskAttachment::of(json.as_str()) else { return text };
    let value = json.value();
    let begin = value.get("begin").and_then(serde_json::Value::as_str).unwrap_or_default();
    let place = attachment.bytes().map_or_else(|| "in a blob".to_owned(), |bytes| format!("{} in a blob", size(bytes)));
    let begin: String = begin.chars().take(BEGIN_CHARS_MAX).collect();
    format!("{} … ({place}; --whole shows it)", sane(&begin))
}

/// A task with all that happened to it.
pub(super) fn whole(task: &wire::Task, printer: &Printer) -> String {
    let mut lines = Vec::new();
    let mut field = |label: &str, text: &str| {
        lines.push(format!("{}{}", printer.paint(Style::Dim, &format!("{label:<12}")), text));
    };
    field("id", &task.id);
    field("capability", &sane(&task.capability));
    field("state", &painted(task, printer));
    if let Some(why) = why(task) {
        field("why", &sane_lines(why.trim()));
    }
    field("input", &shown(&task.input, sane(&task.input.as_str().replace(['\n', '\r'], " "))));
    if let Some(given) = &task.output {
        field("output", &shown(given, sane_lines(&output(given))));
    }
    field("space", &sane(&task.space));
    field("priority", task.priority.as_str());
    field("timeout", &wire::show_duration(task.timeout.0));
    field("attempts", &format!("{} of {} failed", task.failures, task.attempts));
    if let Some(deadline) = &task.deadline {
        field("deadline", &moment(deadline));
    }
    if let Some(request) = &task.request {
        field("request", &sane(request));
    }
    if let Some(to) = &task.to {
        field("to", to);
    }
    if let Some(former) = &task.retry_of {
        field("retry of", former);
    }
    let by = task.submitter_name.clone().unwrap_or_else(|| short_did(&task.submitter));
    let program = task.agent.as_ref().map(|agent| format!(" ({})", sane(agent))).unwrap_or_default();
    field("submitter", &format!("{}{program}", sane(&by)));
    if let Some(sandbox) = &task.sandbox {
        field("sandbox", &sane(sandbox));
    }
    if !task.heirs.is_empty() {
        let settler = task.settler_name.clone().unwrap_or_else(|| short_did(&task.settler));
        field("handed out", &format!("by {}", sane(&settler)));
        let heirs: Vec<String> = task.heirs.iter().map(|heir| short_did(heir)).collect();
        field("heirs", &heirs.join(", "));
    }
    if let Some(given) = &task.assigned_to {
        field("worker", &sane(&worker(given)));
    }
    let mut table = Table::new(["WHEN", "EVENT", "BY", "WORKER", "TEXT"]);
    let rest = width().saturating_sub(COLUMNS).max(20);
    for event in &task.events {
        table.row([
            (moment(&event.at), None),
            (event.event.replace('_', " "), style(&event.event)),
            (event.by_name.clone().unwrap_or_else(|| short_did(&event.by)), None),
            (event.worker.as_ref().map_or_else(|| "-".to_owned(), worker), None),
            (in_a_line(wire::TaskError::line_of(event.text.as_deref().unwrap_or_default()), rest), None),
        ]);
    }
    let whole = format!("{}\n\n{}", lines.join("\n"), table.show(printer));
    match &task.candidates {
        Some(candidates) => format!("{whole}\n\n{}", looked_at(candidates, printer)),
        None => whole,
    }
}

/// The lines of a change to files that are shown of an input.
const CHANGE_LINES_MAX: usize = 200;

/// The change to files that an input names, if it is one: a text in the form of `diff -u`, line by line.
pub(super) fn changes(input: &JsonText, printer: &Printer) -> Option<String> {
    let input = input.value();
    let text = input.get("diff").or_else(|| input.get("patch"))?.as_str()?;
    let begins = |marks: &[&str], line: &str| marks.iter().any(|mark| line.starts_with(mark));
    if !text.lines().any(|line| begins(&["@@ ", "--- ", "diff "], line)) {
        return None;
    }
    let marked = |line: &str| {
        let style = match line.chars().next() {
            _ if begins(&["+++", "---", "diff ", "index "], line) => Some(Style::Bold),
            Some('+') => Some(Style::Good),
            Some('-') => Some(Style::Bad),
            Some('@') => Some(Style::Dim),
            _ => None,
        };
        // a tab moves nothing; any other control character is shown as its number
        let line = sane(&line.replace('\t', "    "));
        style.map_or(line.clone(), |style| printer.paint(style, &line))
    };
    let all = text.split('\n').count() - usize::from(text.ends_with('\n'));
    let mut lines: Vec<String> = text.split('\n').take(all.min(CHANGE_LINES_MAX)).map(marked).collect();
    if all > CHANGE_LINES_MAX {
        lines.push(format!("… {} more lines are in the input", all - CHANGE_LINES_MAX));
    }
    Some(format!("changes, as the input says:\n{}", lines.join("\n")))
}

/// The nodes that were looked at for a task, with the points of each.
fn looked_at(candidates: &[wire::TaskCandidate], printer: &Printer) -> String {
    if candidates.is_empty() {
        return "no choice among nodes is known: only one had a worker for it, or none yet".to_owned();
    }
    let mut table = Table::new(["NODE", "POINTS", "WHY NOT", "OF WHICH"]);
    for candidate in candidates {
        let points = |points: f64| format!("{points:.1}");
        let parts: Vec<String> =
            candidate.parts.iter().map(|(part, of)| format!("{} {}", part.replace('_', " "), points(*of))).collect();
        let name = candidate.node_name.clone().unwrap_or_else(|| short_did(&candidate.node));
        let style = if candidate.why_not.is_none() { Style::Good } else { Style::Dim };
        table.row([
            (name, Some(style)),
            (candidate.score.map_or_else(|| "-".to_owned(), points), None),
            (candidate.why_not.clone().unwrap_or_else(|| "-".to_owned()), None),
            (parts.join(", "), None),
        ]);
    }
    table.show(printer)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn changes_in(input: &Value) -> Option<String> {
        changes(&input.clone().into(), &Printer::new(false, false))
    }

    /// promise: Tasks | A person that approves on a terminal sees the lines of a change to files, a bounded number, with nothing hidden
    #[test]
    fn a_change_to_files_is_shown_line_by_line() {
        let diff = "--- a/x\n+++ b/x\n@@ -1 +1 @@\n-old\u{1b}[2K\u{202e}\n+\tnew\n";
        let shown = changes_in(&json!({ "repository": "x", "diff": diff })).unwrap();
        assert_eq!(shown.lines().count(), 6, "{shown}");
        assert!(shown.contains("+    new") && !shown.contains(['\u{1b}', '\u{202e}']), "{shown:?}");
        assert!(changes_in(&json!({ "patch": diff })).is_some());
        for other in [json!({ "diff": "a text\n- of dashes" }), json!({ "diff": 5 }), json!(diff), json!(null)] {
            assert_eq!(changes_in(&other), None, "{other}");
        }
        let long = format!("@@ -1 +1 @@\n{}", "+x\n".repeat(CHANGE_LINES_MAX + 9));
        let shown = changes_in(&json!({ "diff": long })).unwrap();
        assert_eq!(shown.lines().count(), CHANGE_LINES_MAX + 2);
        assert!(shown.ends_with("… 10 more lines are in the input"), "{}", &shown[shown.len() - 60..]);
    }
}
