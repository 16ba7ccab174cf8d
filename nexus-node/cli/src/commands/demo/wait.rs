//! Waiting for what the nodes do by themselves.

use std::time::{Duration, Instant};

use nexus_node::api::Problem;

/// Asks again and again until there is an answer, or the time is over. The nodes are processes of their
/// own, so their answers are all there is to wait for.
pub(super) fn until<T>(
    what: &str,
    deadline: Duration,
    mut ask: impl FnMut() -> Result<Option<T>, Problem>,
) -> Result<T, Problem> {
    const PAUSE: Duration = Duration::from_millis(15);
    let end = Instant::now() + deadline;
    let mut last = None;
    loop {
        match ask() {
            Ok(Some(answer)) => return Ok(answer),
            Ok(None) => {}
            Err(problem) => last = Some(problem),
        }
        if Instant::now() >= end {
            let why = last.map(|problem| format!(" ({})", problem.message)).unwrap_or_default();
            return Err(Problem::new("timed_out", format!("{what}: not within {} s{why}", deadline.as_secs())));
        }
        std::thread::sleep(PAUSE);
    }
}
