use super::super::disk::Fault;
use super::*;

/// Commits on a disk that loses power at random steps, several times, and compares the surviving rows
/// with the acknowledged ones.
fn commits_with_power_losses(seed: u64, fault: Fault) -> Result<(), String> {
    commits_opened_with(seed, 150, fault, &open)
}

/// As above, on stores that are opened in this way, each for at most so many steps.
pub(super) fn commits_opened_with(
    seed: u64,
    steps_max: u64,
    fault: Fault,
    open: &dyn Fn(&Disk) -> Result<Store, StoreError>,
) -> Result<(), String> {
    let mut random = Random(seed);
    let mut disk = Disk::new();
    let mut acknowledged = Model::new();
    for life in 0..3 {
        disk.set_fault(fault);
        disk.set_steps_left(random.next() % steps_max);
        let mut in_flight = acknowledged.clone();
        let opened = open(&disk).ok();
        // a read may write, as it makes room in the cache
        let read = opened.and_then(|store| Some((everything(&store.snapshot().ok()?).ok()?, store)));
        if let Some((found, store)) = read {
            if found != acknowledged {
                return Err(format!("seed {seed}, life {life}: opened with other rows than before"));
            }
            loop {
                let batches: Vec<_> = (0..1 + random.next() % 3).map(|_| random_batch(&mut random)).collect();
                batches.iter().for_each(|batch| apply(&mut in_flight, batch));
                if store.commit(&batches).is_err() {
                    break;
                }
                acknowledged = in_flight.clone();
            }
        }
        disk = disk.lose_power(random.next());
        let store = open(&disk).map_err(|error| format!("seed {seed}, life {life}: does not open: {error}"))?;
        let found = everything(&store.snapshot().unwrap()).map_err(|error| format!("seed {seed}: {error}"))?;
        if found != acknowledged && found != in_flight {
            let (found, expected) = (found.len(), acknowledged.len());
            return Err(format!("seed {seed}, life {life}: {found} rows, {expected} were acknowledged"));
        }
        acknowledged = found;
        drop(store);
    }
    Ok(())
}

/// promise: Store and data directory | Nothing acknowledged is lost in power losses on a disk that drops or tears
/// promise: The whole | 200 power losses lose nothing that was acknowledged or sent, and sign nothing twice
#[test]
fn nothing_acknowledged_is_lost_in_600_power_losses() {
    for seed in 0..200 {
        commits_with_power_losses(seed, Fault::None).unwrap();
    }
}

/// promise: Store and data directory | Nothing acknowledged is lost in power losses on a disk that drops or tears
#[test]
fn a_disk_whose_sync_lies_is_caught_by_that_test() {
    let caught = (0..20).filter(|&seed| commits_with_power_losses(seed, Fault::SyncLies).is_err()).count();
    assert!(caught > 10, "caught only {caught} of 20");
}
