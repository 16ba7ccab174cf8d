//! The demo with a live map. The steps run in one thread, other threads watch the nodes, and this one
//! draws their events and reads the keys.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use nexus_node::api::Problem;
use ratatui::crossterm::event::{self, Event as Input, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use super::draw::draw;
use super::report::StepReport;
use super::screen::Screen;
use super::steps::STEPS;
use super::view::{Event, View};
use super::world::World;

/// The time for which the announcement of a step is shown.
const LEAD: Duration = Duration::from_millis(900);
/// The time for which the result of a step is shown.
const HOLD: Duration = Duration::from_millis(2400);
/// The time between two pictures.
const FRAME: Duration = Duration::from_millis(60);
const FRAME_AT_REST: Duration = Duration::from_millis(200);

/// The command of a key.
#[derive(Debug)]
enum Order {
    GoOn,
    Cut(String),
    Heal,
    Kill(String),
    Write(String),
    Edit(String),
}

/// The result of the demo.
#[derive(Debug)]
pub(super) struct Ended {
    /// The finished steps.
    pub(super) outcomes: Vec<StepReport>,
    /// The problem of a step that failed.
    pub(super) problem: Option<Problem>,
    /// Whether Ctrl-C ended it.
    pub(super) interrupted: bool,
}

/// Runs the demo until a person quits it.
pub(super) fn run(mut world: World, program: &str, colour: bool) -> Result<Ended, Problem> {
    let failed = |error: std::io::Error| Problem::new("failed", format!("the terminal: {error}"));
    let mut view = View::new(world.names(), STEPS.iter().map(|step| step.name).collect(), program, colour);
    let (events, shown) = channel();
    let (orders, asked) = channel();
    world.watched_by(events.clone());
    let mut screen = Screen::enter().map_err(failed)?;
    let began = Instant::now();
    let mut play = Some(thread::spawn(move || play(&mut world, &events, &asked)));
    let mut problem = None;
    let interrupted = loop {
        while let Ok(event) = shown.try_recv() {
            view.on(began.elapsed(), event);
        }
        view.tick(began.elapsed());
        screen.draw(|frame| draw(&view, frame)).map_err(failed)?;
        if play.as_ref().is_some_and(JoinHandle::is_finished) {
            let ended = play.take().map(JoinHandle::join);
            match ended {
                Some(Ok(result)) => problem = result.err(),
                Some(Err(panic)) => std::panic::resume_unwind(panic),
                None => {}
            }
        }
        let pause = if view.moves() { FRAME } else { FRAME_AT_REST };
        if !event::poll(pause).map_err(failed)? {
            continue;
        }
        // Any other event, such as a new size, only needs a new picture.
        let Input::Key(key) = event::read().map_err(failed)? else { continue };
        if key.kind == KeyEventKind::Release {
            continue;
        }
        match pressed(key, &mut view) {
            Pressed::Quit => break false,
            Pressed::Interrupt => break true,
            // The receiver is gone after a failed step.
            Pressed::Order(order) => drop(orders.send(order)),
            Pressed::Nothing => {}
        }
    };
    drop(screen);
    let outcomes = view.rows.into_iter().filter_map(|row| row.outcome).collect();
    Ok(Ended { outcomes, problem, interrupted })
}

enum Pressed {
    Quit,
    Interrupt,
    Order(Order),
    Nothing,
}

fn pressed(key: KeyEvent, view: &mut View) -> Pressed {
    let chosen = view.nodes.get(view.chosen).map(|node| node.name.clone()).unwrap_or_default();
    match key.code {
        KeyCode::Char('c') if key.modifiers.contains(KeyModifiers::CONTROL) => Pressed::Interrupt,
        KeyCode::Char('q') | KeyCode::Esc => Pressed::Quit,
        KeyCode::Char(' ') | KeyCode::Enter if !view.free => Pressed::Order(Order::GoOn),
        _ if !view.free => Pressed::Nothing,
        KeyCode::Tab | KeyCode::Right | KeyCode::Down => {
            view.choose_next();
            Pressed::Nothing
        }
        KeyCode::Char('c') => Pressed::Order(Order::Cut(chosen)),
        KeyCode::Char('h') => Pressed::Order(Order::Heal),
        KeyCode::Char('k') => Pressed::Order(Order::Kill(chosen)),
        KeyCode::Char('w') => Pressed::Order(Order::Write(chosen)),
        KeyCode::Char('e') => Pressed::Order(Order::Edit(chosen)),
        _ => Pressed::Nothing,
    }
}

/// Runs the steps with time for reading, then obeys the keys.
fn play(world: &mut World, events: &Sender<Event>, asked: &Receiver<Order>) -> Result<(), Problem> {
    // Sending fails when the map is gone, which does not matter.
    for step in STEPS {
        let _ = events.send(Event::Begins { step: step.name, does: step.does });
        let pause = asked.recv_timeout(LEAD);
        let (outcome, problem) = step.play(world);
        let _ = events.send(Event::Ended(outcome));
        if let Some(problem) = problem {
            return Err(problem);
        }
        if !matches!(pause, Ok(Order::GoOn)) {
            let _ = asked.recv_timeout(HOLD);
        }
    }
    let _ = events.send(Event::Free);
    let mut number = 0;
    while let Ok(order) = asked.recv() {
        number += 1;
        let said = match order {
            Order::GoOn => continue,
            Order::Cut(name) => world.cut_off(&name),
            Order::Heal => world.heal_all(),
            Order::Kill(name) => {
                let _ = events.send(Event::Says(Ok(format!("{name} was killed hard; it starts again in a moment"))));
                world.restart(&name)
            }
            Order::Write(name) => world.write(&name, &format!("note {number}, written on {name}")),
            Order::Edit(name) => world.edit_contested(&name, &format!("use port {}", 4003 + number)),
        };
        let _ = events.send(Event::Says(said.map_err(|problem| problem.message)));
    }
    Ok(())
}
