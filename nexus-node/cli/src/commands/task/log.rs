//! `task log`: what the command of a task writes to its stderr.

use std::time::Duration;

use nexus_client::wire;
use nexus_node::api::Problem;

use super::reference::path;
use crate::client::query;
use crate::output::sane_lines;
use crate::session::CliSession;

/// The time of one question for more.
const WAIT: &str = "20s";
/// The longest time until an answer to it.
const PATIENCE: Duration = Duration::from_secs(50);

/// Prints the log of a task's last attempt, and with `follow` goes on until the task has ended.
pub(super) fn log(id: &str, follow: bool, session: &CliSession) -> Result<(), Problem> {
    let client = session.client()?.patient(PATIENCE);
    let (mut attempt, mut from, mut said) = (0, 0, false);
    loop {
        let (known, place) = (attempt.to_string(), from.to_string());
        let parameters =
            [("attempt", Some(known.as_str())), ("from", Some(place.as_str())), ("wait", follow.then_some(WAIT))];
        let part: wire::TaskLog = client.get(&format!("{}{}", path(id, Some("log")), query(&parameters)))?;
        if !part.text.is_empty() {
            let printer = &session.printer;
            if part.attempt != attempt && (follow || part.attempt > 1) {
                let worker = part.worker.as_ref().map(super::text::worker).unwrap_or_default();
                printer.note(&format!("attempt {} at {}", part.attempt, sane_lines(&worker)));
            } else if part.from > from {
                printer.note(&format!("{} bytes before this are not kept", part.from - from));
            }
            match printer.json() {
                true => printer.answer(&part, String::new)?,
                false => printer.raw(sane_lines(&part.text).as_bytes())?,
            }
            said = true;
        }
        (attempt, from) = (part.attempt, part.next);
        let goes_on = if follow { part.open } else { !part.text.is_empty() };
        if !goes_on {
            break;
        }
    }
    if !said {
        session.printer.note("no log of it is kept: nothing was written to stderr, or it ended more than an hour ago");
    }
    Ok(())
}
