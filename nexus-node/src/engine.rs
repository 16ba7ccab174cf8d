//! The engine: the one place where entries become state. Pure: no I/O, no clock, no randomness
//! of its own.
//!
//! **The drive contract**: one input to [`Engine::handle`], then drain [`Engine::poll_effect`] to
//! `None`. The effects of an input belong together: its one [`Effect::Write`], which comes first,
//! is a batch that must be on disk before any of the others is carried out. `now` may go back;
//! stamps do not. After an error the engine is worthless: open the store again.
//!
//! | room | what is decided there |
//! |---|---|
//! | `io` | the whole vocabulary: inputs, effects, events |
//! | `intake` | what becomes of an entry that arrives: next, held, waiting, a branch |
//! | `append` | how commands become entries of our own logs |
//! | `edit` | which writes an edit of a record takes |
//! | `apply` | what an entry changes in the tables |
//! | `cut` | what stops counting when a log has forked |
//! | `writes` | how writes go into the tables, and out of them |
//! | `waiting` | entries that came before what they need, within a bound |
//! | `state` | what is kept in memory, and how it is read back at start |
//! | `rebuild` | how derived tables are made anew |

mod append;
mod apply;
mod cut;
mod edit;
mod intake;
mod io;
mod rebuild;
mod state;
#[cfg(test)]
mod tests;
mod waiting;
mod writes;

use std::collections::VecDeque;
use std::sync::Arc;

use nexus_identity::{Keypair, Timestamp};

pub use io::{Command, CommandId, Edit, Effect, Event, Input, NewRecord, Outcome, Written};
pub(crate) use rebuild::{clear_derived, derived_stands, is_derived};

pub use crate::ledger::{Genesis, LedgerError, found, read_genesis};

use crate::store::{Draft, View};
use state::State;

/// The state machine of one node: see the module's drive contract.
#[derive(Debug)]
pub struct Engine {
    key: Keypair,
    state: State,
    effects: VecDeque<Effect>,
}

impl Engine {
    /// Reads the engine's state from a store whose genesis was written by [`found`].
    ///
    /// # Errors
    /// The store's, or [`LedgerError::NoGenesis`].
    pub fn open(key: Keypair, view: &dyn View) -> Result<Self, LedgerError> {
        let state = State::read(key.did(), view)?;
        Ok(Self { key, state, effects: VecDeque::new() })
    }

    /// Takes one input. `view` is the committed state with every batch on top that this engine
    /// has handed out.
    ///
    /// # Errors
    /// The view's. The engine must not be used any more then.
    pub fn handle(&mut self, now: Timestamp, input: Input, view: &dyn View) -> Result<(), LedgerError> {
        let mut turn = Turn { now, draft: Draft::new(view), events: Vec::new(), after: Vec::new() };
        match input {
            Input::Commands(commands) => self.run_commands(commands, &mut turn)?,
            Input::Entries { from, entries } => self.take_entries(from, entries, &mut turn)?,
            Input::Chain(chain) => self.take_chain(&chain, &mut turn)?,
            Input::OwnLogAhead { incarnation, fresh } => self.renew_incarnation(incarnation, fresh, &mut turn),
        }
        let Turn { draft, events, after, .. } = turn;
        if !draft.is_empty() {
            self.effects.push_back(Effect::Write(draft.finish()));
        }
        self.effects.extend(after);
        self.effects.extend(events.into_iter().map(Effect::Emit));
        Ok(())
    }

    /// The next thing to do for the last input.
    pub fn poll_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// Who belongs to the mesh, as this engine sees it.
    pub const fn members(&self) -> &Arc<nexus_crdt::Members> {
        &self.state.members
    }

    /// The number of the last entry stored.
    pub const fn last_eno(&self) -> u64 {
        self.state.next_eno - 1
    }

    /// How many entries wait for something before them.
    pub fn waiting(&self) -> usize {
        self.state.waiting.len()
    }
}

/// One input on its way through the engine.
struct Turn<'a> {
    now: Timestamp,
    draft: Draft<'a>,
    events: Vec<Event>,
    after: Vec<Effect>,
}
