//! The store's promises, one file per promise.

mod carve;
mod compact;
mod damage;
mod faults;
mod full;
mod hold;
mod opening;
mod overlay;
mod power;
mod reading;
mod wal;

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use super::disk::{Disk, Random};
use super::*;

/// The expected content of a store, in the simplest form.
type Model = BTreeMap<(Table, Vec<u8>), Vec<u8>>;

/// Small caches, so that reads reach the disk.
const SMALL: StoreOptions = StoreOptions { cache_bytes: 64 << 10, verify_bytes_max: 64 << 20, segment_bytes: 0 };

fn open(disk: &Disk) -> Result<Store, StoreError> {
    Store::with_backend("simulated", disk.clone(), SMALL)
}

/// A store with a log whose segments are of this size.
fn open_logged(disk: &Disk, segment_bytes: u64) -> Result<Store, StoreError> {
    Store::with_log("simulated", disk.clone(), disk.log(), SMALL.segment_bytes(segment_bytes))
}

fn put(key: &str, value: &str) -> Batch {
    let mut batch = Batch::new();
    batch.put(Table::Records, key.as_bytes(), value.as_bytes());
    batch
}

/// Everything a view shows, except the row of the store itself.
fn everything(view: &dyn View) -> Result<Model, StoreError> {
    let mut model = Model::new();
    for &table in Table::ALL {
        view.scan(table, ALL_KEYS, Order::Forward, &mut |key, value| {
            model.insert((table, key.to_vec()), value.to_vec());
            ControlFlow::Continue(())
        })?;
    }
    model.remove(&(Table::Meta, FORMAT_KEY.to_vec()));
    Ok(model)
}

fn apply(model: &mut Model, batch: &Batch) {
    for change in batch.changes() {
        match change {
            TableChange::Put { table, key, value } => {
                model.insert((table, key.to_vec()), value.to_vec());
            }
            TableChange::Delete { table, key } => {
                model.remove(&(table, key.to_vec()));
            }
            TableChange::Clear { table } => model.retain(|(other, _), _| *other != table),
        }
    }
}

/// A batch of a few changes in a few tables, with values from nothing to several pages.
fn random_batch(random: &mut Random) -> Batch {
    const TABLES: [Table; 3] = [Table::Entries, Table::Records, Table::Live];
    let mut batch = Batch::new();
    for _ in 0..1 + random.next() % 8 {
        let table = TABLES[(random.next() % 3) as usize];
        let key = (random.next() % 60).to_be_bytes();
        match random.next() % 40 {
            0 => batch.clear(table),
            1..=8 => batch.delete(table, &key),
            9 => batch.put(table, &key, &vec![random.next() as u8; 12_000]),
            _ => batch.put(table, &key, &random.next().to_be_bytes().repeat((random.next() % 60) as usize)),
        }
    }
    batch
}
