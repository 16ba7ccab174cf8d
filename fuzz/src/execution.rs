//! One execution of a target.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Once;
use std::time::{Duration, Instant};

use crate::Target;
use crate::allocation;

/// The longest execution.
pub const TIME_MAX: Duration = Duration::from_secs(5);

thread_local! {
    static EXECUTING: Cell<bool> = const { Cell::new(false) };
    static SAID: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// An execution that broke nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Executed {
    /// Whether the bytes were read.
    pub read: bool,
    /// The most bytes allocated at one time.
    pub peak_bytes: usize,
    /// The time that it took.
    pub time: Duration,
}

/// A fault of a target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It panicked, or a law does not hold.
    Panicked(String),
    /// It allocated more than its allowance.
    Allocated {
        /// The most bytes at one time.
        bytes: usize,
        /// The allowance for this input.
        max: usize,
    },
    /// It took longer than [`TIME_MAX`].
    Slow {
        /// Its time, in milliseconds.
        ms: u128,
    },
}

impl Fault {
    /// Whether it is the same kind of fault: panics must be of the same place.
    pub fn is_like(&self, other: &Self) -> bool {
        let place = |said: &str| said.split_once(' ').map_or(said, |(place, _)| place).to_owned();
        match (self, other) {
            (Self::Panicked(one), Self::Panicked(two)) => place(one) == place(two),
            _ => std::mem::discriminant(self) == std::mem::discriminant(other),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Panicked(said) => write!(f, "panicked at {said}"),
            Self::Allocated { bytes, max } => write!(f, "allocated {bytes} bytes, {max} are allowed"),
            Self::Slow { ms } => write!(f, "took {ms} ms"),
        }
    }
}

/// Gives a target some bytes.
///
/// # Errors
/// The [`Fault`].
pub fn execute(target: &Target, bytes: &[u8]) -> Result<Executed, Fault> {
    let executed = once(target, bytes)?;
    let max = target.allowance.of(bytes.len());
    if executed.peak_bytes <= max && executed.time <= TIME_MAX {
        return Ok(executed);
    }
    // once more: the first time may have begun something that lasts, or the machine was busy
    let again = once(target, bytes)?;
    match again {
        Executed { peak_bytes, .. } if peak_bytes > max => Err(Fault::Allocated { bytes: peak_bytes, max }),
        Executed { time, .. } if time > TIME_MAX => Err(Fault::Slow { ms: time.as_millis() }),
        again => Ok(again),
    }
}

#[expect(clippy::disallowed_methods, reason = "measures an execution")]
fn once(target: &Target, bytes: &[u8]) -> Result<Executed, Fault> {
    listen();
    EXECUTING.set(true);
    let began = Instant::now();
    let (result, peak_bytes) =
        allocation::measured(|| panic::catch_unwind(AssertUnwindSafe(|| (target.run)(bytes))).map_err(drop));
    let time = began.elapsed();
    EXECUTING.set(false);
    match result {
        Ok(read) => Ok(Executed { read, peak_bytes, time }),
        Err(()) => Err(Fault::Panicked(SAID.take().unwrap_or_else(|| "an unknown place".to_owned()))),
    }
}

/// Keeps the words of a panic in an execution, instead of printing them.
fn listen() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let others = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if !EXECUTING.get() {
                return others(info);
            }
            let place = info.location().map_or_else(String::new, ToString::to_string);
            let payload = info.payload();
            let text = payload.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| payload.downcast_ref::<&str>().copied()).unwrap_or_default();
            SAID.set(Some(format!("{place} {text}")));
        }));
    });
}
