mod keys;
mod ports;
pub(crate) mod stage;
mod steps;

use std::io::{self, IsTerminal};
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Args;
use nexus_node::api::Problem;
use serde::Serialize;

use self::stage::Stage;
use self::steps::{STEPS, World};
use crate::output::{Printer, Style, sane};
use crate::session::Session;

/// See it work: three real nodes on this machine
///
/// They are processes of their own, on loopback, in a temporary directory. Every step is checked
/// from outside, through their APIs.
#[derive(Debug, Args)]
pub(crate) struct Demo {
    /// How many nodes
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(3..=16))]
    nodes: u16,
    /// The port of the first node's API; the others follow [default: 8002, moving on where taken]
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    base_port: Option<u16>,
    /// End after the last step, also on a terminal
    #[arg(long)]
    exit: bool,
}

/// How a step went.
#[derive(Debug, Serialize)]
struct Outcome {
    step: &'static str,
    ok: bool,
    ms: u64,
    detail: String,
}

impl Demo {
    pub(crate) fn run(self, session: &Session) -> Result<(), Problem> {
        let stays = !self.exit && !session.printer.json() && io::stdin().is_terminal() && io::stdout().is_terminal();
        let ports = ports::choose(self.base_port, self.nodes, &session.printer)?;
        let stage = Arc::new(Stage::new()?);
        // Whatever happens below, a panic included, the children end and the directory goes.
        let _cleared = ClearAtEnd(stage.clone());
        let runtime = Session::runtime()?;
        let told = stage.clone();
        let stop = runtime.block_on(async { crate::signals::stop() });
        let stop = stop.map_err(|error| Problem::new("failed", format!("signals cannot be received: {error}")))?;
        // Ctrl-C and SIGTERM end the demo as a whole.
        runtime.spawn(async move {
            stop.await;
            told.clear();
            std::process::exit(130);
        });
        let mut world = World::new(stage, &ports, self.base_port.is_some());
        for step in STEPS {
            let began = Instant::now();
            let result = (step.run)(&mut world);
            let outcome = Outcome {
                step: step.name,
                ok: result.is_ok(),
                ms: u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
                detail: result.clone().unwrap_or_else(|problem| problem.message),
            };
            session.printer.answer(&outcome, || line(&outcome, &session.printer))?;
            if let Err(problem) = result {
                let logs = world.logs();
                if !logs.is_empty() {
                    session.printer.note(&logs);
                }
                let message = format!("step {} did not hold: {}", step.name, problem.message);
                return Err(Problem { code: "failed", message, hint: problem.hint });
            }
        }
        if stays {
            keys::run(&mut world, session)?;
        }
        Ok(())
    }
}

fn line(outcome: &Outcome, printer: &Printer) -> String {
    let mark = if outcome.ok { printer.paint(Style::Good, "ok  ") } else { printer.paint(Style::Bad, "FAIL") };
    let ms = printer.paint(Style::Dim, &format!("{:>6} ms", outcome.ms));
    format!("{mark}  {:<9} {ms}  {}", outcome.step, sane(&outcome.detail))
}

struct ClearAtEnd(Arc<Stage>);

impl Drop for ClearAtEnd {
    fn drop(&mut self) {
        self.0.clear();
    }
}

/// Asks again and again until the answer is there, or the time is over. The nodes are processes
/// of their own: there is nothing to wait on but their answers.
fn until<T>(what: &str, deadline: Duration, mut ask: impl FnMut() -> Result<Option<T>, Problem>) -> Result<T, Problem> {
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
