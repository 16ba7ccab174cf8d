mod draw;
mod face;
mod keys;
mod onlooker;
mod ports;
mod report;
mod screen;
pub(crate) mod stage;
mod steps;
mod view;
mod wait;
mod world;

use std::io::{self, IsTerminal};
use std::sync::Arc;

use clap::Args;
use nexus_node::api::Problem;

use self::report::StepReport;
use self::stage::Stage;
use self::steps::STEPS;
use self::world::World;
use crate::output::{Printer, Style, sane};
use crate::session::CliSession;

/// See it work: three real nodes on this machine
///
/// They are processes of their own, on loopback, in a temporary directory. Every step is checked from
/// outside, through their APIs.
#[derive(Debug, Args)]
pub(crate) struct Demo {
    /// The number of nodes
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(3..=16))]
    nodes: u16,
    /// The port of the first node's API; the others follow [default: 8002, or the next free one]
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    base_port: Option<u16>,
    /// End after the last step, also on a terminal
    #[arg(long)]
    exit: bool,
}

impl Demo {
    pub(crate) fn run(self, session: &CliSession) -> Result<(), Problem> {
        let printer = &session.printer;
        let stays = !self.exit && !printer.json() && io::stdin().is_terminal() && io::stdout().is_terminal();
        let ports = ports::choose(self.base_port, self.nodes, printer)?;
        let stage = Arc::new(Stage::new()?);
        // In every case, also after a panic below, the children end and the directory is removed.
        let _cleared = ClearAtEnd(stage.clone());
        let runtime = CliSession::runtime()?;
        let told = stage.clone();
        let stop = runtime.block_on(async { crate::signals::stop() });
        let stop = stop.map_err(|error| Problem::new("failed", format!("signals cannot be received: {error}")))?;
        #[cfg(unix)]
        let mut closed = runtime
            .block_on(async { tokio::signal::unix::signal(tokio::signal::unix::SignalKind::hangup()) })
            .map_err(|error| Problem::new("failed", format!("signals cannot be received: {error}")))?;
        // Ctrl-C, SIGTERM and the end of the terminal end the whole demo.
        runtime.spawn(async move {
            #[cfg(unix)]
            tokio::select! {
                () = stop => {}
                _ = closed.recv() => {}
            }
            #[cfg(not(unix))]
            stop.await;
            end(&told);
        });
        let mut world = World::new(stage.clone(), &ports, self.base_port.is_some());
        let dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
        if stays && !(dumb && cfg!(unix)) {
            return with_face(world, &stage, printer);
        }
        for step in STEPS {
            let (outcome, problem) = step.play(&mut world);
            printer.answer(&outcome, || line(&outcome, printer))?;
            if let Some(problem) = problem {
                return Err(not_held(step.name, problem, &world::logs(&stage, world.names()), printer));
            }
        }
        if stays {
            keys::run(&mut world, session)?;
        }
        Ok(())
    }
}

/// Shows the live map. At the end, the terminal has the same lines as without the map.
fn with_face(world: World, stage: &Stage, printer: &Printer) -> Result<(), Problem> {
    let program = program();
    let names = world.names().to_vec();
    let ended = face::run(world, &program, printer.colour())?;
    if ended.interrupted {
        end(stage);
    }
    for outcome in &ended.outcomes {
        printer.answer(outcome, || line(outcome, printer))?;
    }
    if let Some(problem) = ended.problem {
        let step = ended.outcomes.last().map_or("", |outcome| outcome.step);
        return Err(not_held(step, problem, &world::logs(stage, &names), printer));
    }
    if ended.outcomes.len() == STEPS.len() {
        printer.note("\nyour own mesh:");
        for (arguments, what) in draw::OWN_MESH {
            let width = program.chars().count() + draw::OWN_MESH_COLUMNS;
            printer.note(&format!("  {:<width$}  # {what}", format!("{program} {arguments}")));
        }
    }
    Ok(())
}

/// Ends the demo after a signal: the nodes, their directory, and this process.
fn end(stage: &Stage) -> ! {
    screen::leave();
    stage.clear();
    std::process::exit(130);
}

fn not_held(step: &str, problem: Problem, logs: &str, printer: &Printer) -> Problem {
    if !logs.is_empty() {
        printer.note(logs);
    }
    let message = format!("step {step} did not hold: {}", problem.message);
    Problem { code: "failed", message, ..problem }
}

/// The command that calls this program.
fn program() -> String {
    let called = std::env::args().next().unwrap_or_default();
    if !called.is_empty() && !called.contains(std::path::is_separator) {
        return called;
    }
    let here = std::env::current_dir().unwrap_or_default();
    let program = crate::program::path().unwrap_or_else(|_| called.clone().into());
    program.strip_prefix(here).unwrap_or(&program).display().to_string()
}

fn line(outcome: &StepReport, printer: &Printer) -> String {
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
