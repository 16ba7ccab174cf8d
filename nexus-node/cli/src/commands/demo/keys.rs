//! After the steps: the nodes stay up, and keys act on them.

use std::io::{self, BufRead};

use nexus_node::api::Problem;

use super::world::World;
use crate::session::CliSession;

const HELP: &str = "keys, each with Enter: c cut ide off, h heal, k kill cloud and start it again, w TEXT write on terminal, l look, q quit";

pub(super) fn run(world: &mut World, session: &CliSession) -> Result<(), Problem> {
    let printer = &session.printer;
    for node in world.nodes() {
        printer.note(&format!("{:<10} {}", node.name, node.client.base()));
    }
    printer.note(HELP);
    for line in io::stdin().lock().lines() {
        let Ok(line) = line else { return Ok(()) };
        let (key, rest) = line.trim().split_at_checked(1).unwrap_or_default();
        let done = match key {
            "c" => world.node("ide").and_then(|ide| ide.switch("offline")).map(|_| "ide is cut off".to_owned()),
            "h" => world.node("ide").and_then(|ide| ide.switch("online")).map(|_| "ide is back".to_owned()),
            "k" => world.restart("cloud"),
            "w" => {
                let text = if rest.trim().is_empty() { "written by hand" } else { rest.trim() };
                world
                    .node("terminal")
                    .and_then(|node| node.remember(text))
                    .map(|memory| format!("terminal wrote {}", memory.id))
            }
            "l" | "" => world.look(),
            "q" => return Ok(()),
            _ => Ok(HELP.to_owned()),
        };
        match done {
            Ok(text) => printer.note(&text),
            Err(problem) => printer.problem(&problem),
        }
    }
    Ok(())
}
