use std::ops::ControlFlow;
use std::sync::mpsc;
use std::time::Duration;

use clap::Args;
use nexus_client::wire;
use nexus_node::api::Problem;
use nexus_node::datadir::DataDirError;
use nexus_node::error::NodeError;
use nexus_node::node::compact_directory;
use serde_json::json;

use crate::client::Client;
use crate::output::{Printer, size};
use crate::session::CliSession;

/// The time between two looks at how far the node is.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Write this node's files anew without what was deleted, and overwrite the former ones
#[derive(Debug, Args)]
pub(crate) struct Compact;

impl Compact {
    pub(crate) fn run(self, session: &CliSession) -> Result<(), Problem> {
        let printer = &session.printer;
        let done = match if session.elsewhere() { None } else { here(session)? } {
            Some(done) => done,
            None => at_node(&session.client()?, printer)?,
        };
        if !done.clean {
            printer.warning(
                "something that was deleted is still in a file",
                Some("a search, a model or the disk was in the way: `nexus-node compact` again does the rest"),
            );
        }
        printer.answer(&done, || told(&done))
    }
}

/// Compacts the data directory of a node that does not run; `None` if it runs.
fn here(session: &CliSession) -> Result<Option<wire::Compacted>, Problem> {
    let bar = session.printer.transfer("compacting", Some(0));
    let done = compact_directory(&session.data_dir()?, &mut |state| {
        bar.set_length(state.of);
        bar.set_position(state.done);
        bar.set_message(state.part.unwrap_or("compacting"));
        ControlFlow::Continue(())
    });
    bar.finish_and_clear();
    match done {
        Ok(done) => Ok(Some(wire::Compacted::from(done))),
        Err(NodeError::DataDir(DataDirError::InUse { .. })) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Has a node that runs compact, and shows how far it is.
fn at_node(client: &Client, printer: &Printer) -> Result<wire::Compacted, Problem> {
    let bar = printer.transfer("compacting", Some(0));
    let client = client.clone().streaming();
    let done = std::thread::scope(|scope| {
        let (ended, end) = mpsc::channel::<()>();
        let bar = &bar;
        let looker = client.clone();
        scope.spawn(move || {
            while end.recv_timeout(LOOK_EVERY) == Err(mpsc::RecvTimeoutError::Timeout) {
                // a look that fails shows nothing
                let Ok(state) = looker.get::<wire::Compacting>("/v1/compact") else { continue };
                bar.set_length(state.bytes);
                bar.set_position(state.done_bytes);
                bar.set_message(state.part.unwrap_or_default());
            }
        });
        let done = client.post("/v1/compact", &json!({}));
        drop(ended);
        done
    });
    bar.finish_and_clear();
    done
}

fn told(done: &wire::Compacted) -> String {
    let parts = done
        .parts
        .iter()
        .map(|part| format!("\n{}: {}, {} before", part.part, size(part.after_bytes), size(part.before_bytes)));
    format!("freed {}{}", size(done.freed_bytes), parts.collect::<String>())
}
