//! Tasks as something happens to them.

use std::time::Duration;

use nexus_client::wire;
use nexus_node::api::Problem;

use super::reference::is_over;
use super::text;
use crate::client::query;
use crate::session::CliSession;

/// The wait before a starting node is asked again.
const RETRY: Duration = Duration::from_millis(500);

/// Prints a line for each change. It ends with the one task, if there is one.
pub(super) fn watch(id: Option<&str>, session: &CliSession) -> Result<(), Problem> {
    let client = session.client()?.streaming();
    let path = format!("/v1/tasks/events{}", query(&[("task", id)]));
    let mut last = None;
    loop {
        let lines = match client.lines(&path, &[("accept", "text/event-stream")]) {
            Err(problem) if problem.code == "starting" => {
                std::thread::sleep(RETRY);
                continue;
            }
            lines => lines?,
        };
        for line in lines {
            let line = line?;
            // Comments keep the stream alive, and our events have one data line.
            let Some(data) = line.strip_prefix("data:") else { continue };
            if let Ok(missed) = serde_json::from_str::<wire::TasksMissed>(data.trim_start()) {
                let wire::TasksMissed { missed: count } = missed;
                let said = || format!("{count} changes were missed: `nexus-node task list` shows all tasks");
                session.printer.answer(&missed, said)?;
                continue;
            }
            let task: wire::Task = serde_json::from_str(data.trim_start())
                .map_err(|error| Problem::new("failed", format!("an event cannot be understood: {error}")))?;
            let ended = id.is_some() && is_over(&task);
            if last.as_ref() != Some(&task) {
                session.printer.answer(&task, || text::line(&task, &session.printer))?;
            }
            if ended {
                return Ok(());
            }
            last = Some(task);
        }
    }
}
