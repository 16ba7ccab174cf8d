//! The terminal, taken for the demo and given back at every end of it: its own, by a signal, or by a
//! panic of any thread.

use std::io::{self, Stdout};
use std::sync::Once;
use std::sync::atomic::{AtomicBool, Ordering};

use ratatui::backend::CrosstermBackend;
use ratatui::crossterm::cursor::{Hide, Show};
use ratatui::crossterm::execute;
use ratatui::crossterm::terminal::{EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode};
use ratatui::{Frame, Terminal};

/// Whether this program has taken the terminal. Accessed with stdout locked, so that nothing is drawn
/// on a terminal that was given back. A thread may take that lock several times.
static OURS: AtomicBool = AtomicBool::new(false);

/// The taken terminal.
pub(super) struct Screen(Terminal<CrosstermBackend<Stdout>>);

impl Screen {
    pub(super) fn enter() -> io::Result<Self> {
        static HOOK: Once = Once::new();
        HOOK.call_once(|| {
            let before = std::panic::take_hook();
            std::panic::set_hook(Box::new(move |panic| {
                leave();
                before(panic);
            }));
        });
        let _lock = io::stdout().lock();
        enable_raw_mode()?;
        OURS.store(true, Ordering::SeqCst);
        let entered = execute!(io::stdout(), EnterAlternateScreen, Hide)
            .and_then(|()| Terminal::new(CrosstermBackend::new(io::stdout())));
        if entered.is_err() {
            leave();
        }
        entered.map(Self)
    }

    /// Draws, unless the terminal was given back meanwhile.
    pub(super) fn draw(&mut self, draw: impl FnOnce(&mut Frame<'_>)) -> io::Result<()> {
        let _lock = io::stdout().lock();
        if OURS.load(Ordering::SeqCst) {
            self.0.draw(draw)?;
        }
        Ok(())
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        leave();
    }
}

/// Gives the terminal back, if it is taken.
pub(super) fn leave() {
    let _lock = io::stdout().lock();
    if OURS.swap(false, Ordering::SeqCst) {
        // Nothing can be done about a terminal that cannot be restored.
        let _ = execute!(io::stdout(), Show, LeaveAlternateScreen);
        let _ = disable_raw_mode();
    }
}
