//! The engine on a store that no node runs on.

use nexus_identity::{Keypair, Timestamp};

use super::{Engine, Input, LedgerError, Quotas, Released, Seed, run_to_store};
use crate::store::Store;

/// An engine with the store that it writes to, for a store that no node runs on. It alone may write there meanwhile.
#[derive(Debug)]
pub struct RestingEngine {
    engine: Engine,
    store: Store,
}

impl RestingEngine {
    /// The engine of a store, without bounds for other authors.
    ///
    /// # Errors
    /// As [`Engine::open`].
    pub fn open(key: Keypair, store: &Store) -> Result<Self, LedgerError> {
        let engine = Engine::open(key, &store.snapshot()?)?;
        Ok(Self { engine, store: store.clone() })
    }

    /// With these bounds.
    #[must_use]
    pub fn within(self, quotas: Quotas) -> Self {
        Self { engine: self.engine.within(quotas), ..self }
    }

    /// The engine, to look at.
    pub const fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Takes one input. Returns its effects but the write, which is on the disk by then.
    ///
    /// # Errors
    /// An error of the store. It must not be used any more then.
    pub fn run(&mut self, now: Timestamp, seed: Seed, input: Input) -> Result<Released, LedgerError> {
        run_to_store(&mut self.engine, &mut self.store, (now, seed), input)
    }
}
