//! Carries erasures out to the end: blobs that nothing names any more go, and the mesh hears what this node has done.

use std::ops::ControlFlow;
use std::time::Duration;

use nexus_crdt::Erased;
use tokio::sync::watch;

#[cfg(feature = "blobs")]
use crate::blobs::{BlobHash, Blobs};
use crate::engine::Command;
use crate::follow::Source;
use crate::ledger;
use crate::ledger::rows::{Eno, meta};
use crate::runtime::EngineHandle;
#[cfg(feature = "blobs")]
use crate::store::Batch;
use crate::store::{ALL_KEYS, Order, StoreError, Table, View};

/// The shortest pause between two looks: commits may come one after the other.
const PAUSE: Duration = Duration::from_millis(100);
/// The time until another try where blobs could not be removed.
const TRY_AGAIN: Duration = Duration::from_secs(60);
/// The most blobs that are removed together.
const BLOBS_TOGETHER: usize = 256;

/// The entries that this node writes at once about what others erase, and the time for each one more. A member that erases
/// all day long makes others write so much and no more.
const BURST: u32 = 20;
const EACH: Duration = Duration::from_secs(30);

/// How much this node may still say.
#[derive(Debug, Default)]
struct Budget {
    /// The time at which all that was said is paid for.
    paid: Duration,
}

impl Budget {
    /// Spends one; else the time until there is one again.
    fn spend(&mut self, now: Duration) -> Option<Duration> {
        let paid = self.paid.max(now) + EACH;
        let early = paid.saturating_sub(now + EACH * BURST);
        if early.is_zero() {
            self.paid = paid;
            return None;
        }
        Some(early)
    }
}

/// The rest that is to be done.
#[derive(Debug, Default)]
struct Open {
    /// Whether something is to be said to the mesh.
    says: bool,
    /// The last entry whose erasures are gone from the files.
    gone: Eno,
    /// Blobs that nothing may name any more.
    unwanted: Vec<[u8; 32]>,
}

impl Open {
    /// Reads it. `told` is the entry up to which this node has said that erasures are gone.
    fn read(view: &dyn View, told: Eno) -> Result<Self, StoreError> {
        let compacted = view.get(Table::Meta, meta::COMPACTED)?;
        let gone = compacted.and_then(|row| row.try_into().ok()).map_or(0, Eno::from_le_bytes);
        let mut open = Self { gone, ..Self::default() };
        open.says = view.first(Table::ErasedLate, ALL_KEYS, Order::Forward)?.is_some()
            || ledger::has_unconfirmed(view, Erased::Hidden)?
            || gone > told && ledger::unconfirmed(view, Erased::Gone)?.iter().any(|(_, eno)| *eno <= gone);
        view.scan(Table::Unwanted, ALL_KEYS, Order::Forward, &mut |key, _| {
            open.unwanted.extend(<[u8; 32]>::try_from(key));
            if open.unwanted.len() < BLOBS_TOGETHER { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        })?;
        Ok(open)
    }
}

/// Carries out what came, until the node ends. `compacted` tells of each compaction.
pub(super) async fn carry_out(
    source: Source,
    engine: EngineHandle,
    #[cfg(feature = "blobs")] blobs: Blobs,
    mut compacted: watch::Receiver<u64>,
) {
    let world = source.world.clone();
    let mut committed = source.committed.clone();
    let (mut told, mut budget) = (0, Budget::default());
    loop {
        committed.mark_unchanged();
        compacted.mark_unchanged();
        let store = source.store.clone();
        let Ok(Ok(open)) = world.reading(move || Open::read(&store.snapshot()?, told)).await else { return };
        let mut wait = None;
        if open.says {
            wait = budget.spend(world.now());
            if wait.is_none() {
                let carry = || Command::CarryOut { gone: open.gone };
                if engine.run_once_there_is_room(&world, carry).await.is_err() {
                    return;
                }
                told = open.gone;
            }
        } else {
            told = open.gone;
        }
        #[cfg(feature = "blobs")]
        if !open.unwanted.is_empty() {
            let hashes = open.unwanted.iter().map(|hash| BlobHash::from_bytes(*hash)).collect();
            if blobs.remove_unwanted(hashes).await.is_ok() {
                let mut batch = Batch::new();
                open.unwanted.iter().for_each(|hash| batch.delete(Table::Unwanted, hash));
                if engine.run(Command::Keep(batch)).await.is_err() {
                    return;
                }
                wait = Some(PAUSE);
            } else {
                wait = Some(wait.map_or(TRY_AGAIN, |wait| wait.min(TRY_AGAIN)));
            }
        }
        world.sleep_until(world.now() + PAUSE).await;
        tokio::select! {
            () = async {
                match wait {
                    Some(wait) => world.sleep_until(world.now() + wait).await,
                    None => std::future::pending().await,
                }
            } => {}
            changed = committed.changed() => if changed.is_err() { return },
            changed = compacted.changed() => if changed.is_err() { return },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// promise: Erasure | A member that erases all day long makes another node say so twenty times at once, and then twice a minute
    #[test]
    fn confirmations_have_a_budget() {
        let (mut budget, mut now, mut said) = (Budget::default(), Duration::from_secs(5), 0);
        for _ in 0..36_000 {
            said += u32::from(budget.spend(now).is_none());
            now += Duration::from_millis(100);
        }
        assert!((BURST + 119..=BURST + 121).contains(&said), "{said} in an hour");
        let wait = budget.spend(now).or_else(|| budget.spend(now)).unwrap();
        assert!(wait <= EACH);
        assert_eq!(budget.spend(now + wait), None);
    }
}
