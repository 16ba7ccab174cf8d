//! The one loop over an engine's effects: keep the batch, then hand out the rest.

use nexus_crdt::EntryId;
use nexus_identity::Timestamp;

use super::{CommandId, Effect, Engine, Event, Input, LedgerError, Outcome, Seed};
use crate::store::{Batch, Store, StoreError, View};

/// The place of an engine's batches, from which it reads as well.
pub trait Keeper {
    /// Lets `read` see all that is kept.
    ///
    /// # Errors
    /// The store's.
    fn read<T>(&self, read: impl FnOnce(&dyn View) -> T) -> Result<T, StoreError>;

    /// Keeps a batch. A node's keeper hands it on, and what comes with it waits until it is on the disk.
    ///
    /// # Errors
    /// The store's.
    fn keep(&mut self, batch: Batch) -> Result<(), StoreError>;
}

/// A store that no node runs on: each batch is on the disk at once.
impl Keeper for Store {
    fn read<T>(&self, read: impl FnOnce(&dyn View) -> T) -> Result<T, StoreError> {
        Ok(read(&self.snapshot()?))
    }

    fn keep(&mut self, batch: Batch) -> Result<(), StoreError> {
        self.commit(&[batch])
    }
}

/// The effects of an input beside its batch, which is kept by now.
///
/// A caller takes it apart field by field, without `..`: it says of each kind of effect what becomes of it.
#[must_use]
#[derive(Debug, Default)]
pub struct Released {
    /// The answers to commands.
    pub answers: Vec<(CommandId, Outcome)>,
    /// The entries of our own, in their order. They go to others before the answers.
    pub published: Vec<Published>,
    /// The events.
    pub events: Vec<Event>,
}

/// An entry of our own that others are to get.
#[derive(Debug)]
pub struct Published {
    /// The entry, which is in the batch.
    pub entry: EntryId,
    /// Whether every member may read its space. If not, it goes by sync alone.
    pub to_all: bool,
    /// The commands with writes in it, each once. Their answers come after this.
    pub of: Vec<CommandId>,
}

/// Passes one input through an engine, and its batch to the keeper. Returns what may be released once the batch is on
/// the disk.
///
/// # Errors
/// As [`Engine::handle`], or the keeper's. Neither may be used any more then.
pub fn run_to_store(
    engine: &mut Engine,
    keeper: &mut impl Keeper,
    (now, seed): (Timestamp, Seed),
    input: Input,
) -> Result<Released, LedgerError> {
    keeper.read(|view| engine.handle(now, seed, input, view))??;
    let mut released = Released::default();
    while let Some(effect) = engine.poll_effect() {
        match effect {
            Effect::Write(batch) => keeper.keep(batch)?,
            Effect::Reply(id, outcome) => released.answers.push((id, outcome)),
            Effect::Publish(published) => released.published.push(published),
            Effect::Emit(event) => released.events.push(event),
        }
    }
    Ok(released)
}
