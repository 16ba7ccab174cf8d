//! The engine: the only place that makes state from entries. It is pure: no I/O, no clock, no own randomness.
//!
//! **The drive contract**: pass one input to [`Engine::handle`], then drain [`Engine::poll_effect`] to
//! `None`. [`run_to_store`] does both, for all that drive an engine. The effects of an input belong together. Its one
//! [`Effect::Write`] comes first and must be on disk before any other effect is carried out. `now` may go back; stamps do not. After an error the
//! engine must not be used: open the store again.
//!
//! | module | content |
//! |---|---|
//! | `io` | inputs, effects, events |
//! | `intake` | the verdict on an arriving entry: next, held, waiting, a branch |
//! | `append` | making entries of our own logs from commands |
//! | `edit` | the writes for an edit of a record |
//! | `apply` | the changes of the tables by an entry |
//! | `kinds` | a file for each kind of entries: its fold, and taking it out again |
//! | `cut` | entries that stop counting after a fork of their log |
//! | `forks` | the evidence of forks, and our own writes that they would cost |
//! | `recount` | entries that stop counting, or count again, by a verdict on their author |
//! | `revoke` | making revocations |
//! | `succeed` | new keys in the place of former ones |
//! | `erase` | the rest of an entry when leaves of it are erased, and when they come again |
//! | `erased_documents` | documents that are erased: what is saved of them, and what comes late |
//! | `erasing` | making erasures, and confirming them |
//! | `payload` | the payloads of our own entries, in either format |
//! | `salts` | random bytes that keep erased parts from being guessed |
//! | `tasks` | events of tasks: making them, putting them into the tables and taking them out |
//! | `writes` | putting writes into the tables and taking them out |
//! | `waiting` | entries that wait for something they need, within a bound |
//! | `state` | the state in memory, and reading it at the start |
//! | `room` | quotas: the entries that are taken of one author |
//! | `rebuild` | rebuilding the derived tables |
//! | `keeper` | the one loop over the effects: keep the batch, then hand out the rest |
//! | `resting` | the engine on a store that no node runs on |

mod append;
mod apply;
mod cut;
mod edit;
mod erase;
mod erased_documents;
mod erasing;
mod expire;
mod forks;
mod intake;
mod io;
mod keeper;
mod kept;
mod kinds;
mod payload;
mod persons;
mod rebuild;
mod recount;
mod requested;
mod resting;
mod revoke;
mod room;
mod salts;
mod state;
mod succeed;
mod tasks;
#[cfg(test)]
mod tests;
mod waiting;
mod writes;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use nexus_identity::{Keypair, Timestamp};

pub use io::{
    Again, Closes, Command, CommandId, DocumentSaid, Edit, Effect, EraseFate, EraseTarget, Event, Input, NewRecord,
    Outcome, TaskAnswer, Written,
};
pub use keeper::{Keeper, Published, Released, run_to_store};
pub(crate) use persons::AGREED_MAX;
pub use persons::NotSaid;
pub(crate) use persons::{may_say_persons, own_person, person_to_say};
pub(crate) use rebuild::{clear_derived, derived_stands, is_derived};
pub use resting::RestingEngine;
pub use salts::Seed;
pub(crate) use succeed::rotation_allowed;
pub use succeed::{NoSuccession, Rotation};
pub(crate) use tasks::LATE;

pub use crate::ledger::{Genesis, LedgerError, Quotas, found, read_genesis};

use crate::formats::WrittenFormat;
use crate::store::{Draft, View};
use salts::Salts;
use state::EngineState;

/// The state machine of one node. The module states its drive contract.
#[derive(Debug)]
pub struct Engine {
    key: Keypair,
    state: EngineState,
    effects: VecDeque<Effect>,
}

impl Engine {
    /// Reads the engine's state from a store whose genesis was written by [`found`].
    ///
    /// # Errors
    /// An error of the store, or [`LedgerError::NoGenesis`].
    pub fn open(key: Keypair, view: &dyn View) -> Result<Self, LedgerError> {
        let state = EngineState::read(key.did(), view)?;
        Ok(Self { key, state, effects: VecDeque::new() })
    }

    /// Bounds the entries that are taken of one author. Without it the quotas are the defaults.
    #[must_use]
    pub fn within(mut self, quotas: Quotas) -> Self {
        self.state.quotas = quotas;
        self
    }

    /// Begins again from what the store holds: batches that this engine has handed out are not there, and never will
    /// be. Entries that waited are forgotten; their senders have them.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn begin_again(&self, view: &dyn View) -> Result<Self, LedgerError> {
        Ok(Self::open(self.key.clone(), view)?.within(self.state.quotas))
    }

    /// Sets the time on which most clocks agree at the next input. A foreign stamp that is ahead of this node's clock by
    /// at most `drift` moves its stamps, and by ten minutes at most. Without a call this node's clock counts alone.
    pub fn set_clocks(&mut self, agreed: Timestamp, drift: Duration) {
        self.state.agreed = Some(agreed);
        self.state.drift = drift;
    }

    /// Takes one input. `view` must be the committed state with every batch on top that this engine has
    /// handed out. `seed` is random and never used again: whoever guesses it can guess erased text.
    ///
    /// # Errors
    /// An error of the view. The engine must not be used any more then.
    pub fn handle(&mut self, now: Timestamp, seed: Seed, input: Input, view: &dyn View) -> Result<(), LedgerError> {
        let mut turn = Turn::new(now, Salts::of(&seed), view);
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

    /// The next effect of the last input.
    pub fn poll_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// The members that this engine knows.
    pub const fn members(&self) -> &Arc<nexus_crdt::Members> {
        &self.state.members
    }

    /// The number of the last stored entry.
    pub const fn last_eno(&self) -> u64 {
        self.state.next_eno - 1
    }

    /// The way in which this engine writes entries.
    pub(crate) const fn written_format(&self) -> WrittenFormat {
        WrittenFormat {
            entry: self.state.entry_format,
            tasks_apart: self.state.tasks_apart,
            persons: self.state.persons,
            erases: self.state.erases,
        }
    }

    /// The number of waiting entries.
    pub fn waiting(&self) -> usize {
        self.state.waiting.len()
    }
}

/// The processing of one input.
struct Turn<'a> {
    now: Timestamp,
    salts: Salts,
    draft: Draft<'a>,
    events: Vec<Event>,
    after: Vec<Effect>,
    /// Whether the derived tables are rebuilt: entries that are held may not be in them yet.
    rebuilds: bool,
}

impl<'a> Turn<'a> {
    fn new(now: Timestamp, salts: Salts, view: &'a dyn View) -> Self {
        Self { now, salts, draft: Draft::new(view), events: Vec::new(), after: Vec::new(), rebuilds: false }
    }
}
