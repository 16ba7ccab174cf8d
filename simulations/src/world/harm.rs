//! Harm: planted faults, crashes, slow and lying disks, clocks that are wrong, and links that are cut. And the heal.

use std::time::Duration;

use nexus_node::internals::store::disk::{Disk, Fault};
use nexus_node::internals::store::{ALL_KEYS, Batch, Order as Scan, Table, View};
use nexus_node::node::Stopped;

use super::{Crash, Sim, SimError, open};
use crate::dice::Dice;
use crate::hooks::Wall;
use crate::machine::{Life, lock};
use crate::plan::NodeNo;
use crate::plants::{Around, Plant};

impl Sim {
    /// Plants a known fault in the world.
    pub(crate) fn plant(&self, plant: Option<Plant>) {
        let around = match plant {
            Some(Plant::Around(around)) => Some(around),
            _ => None,
        };
        *lock(&self.0.plant) = around;
        if let Some(Plant::Inside(bug)) = plant {
            nexus_identity::plants::choose(Some(bug));
        }
        match around {
            Some(Around::SyncLies) => (0..self.len()).for_each(|no| self.set_disk_fault(no, Fault::SyncLies)),
            Some(Around::OldDisk) => {
                *lock(&self.0.old) = (0..self.len()).map(|no| (no, self.disk(no).as_read())).collect();
            }
            Some(Around::NeverHeals) => {
                let all: Vec<_> = (1..self.len()).flat_map(|other| [(0, other), (other, 0)]).collect();
                all.iter().for_each(|(from, to)| self.0.network.cut(*from, *to, "planted"));
            }
            Some(Around::TasksPileUp) => {
                for _ in 0..2_000 {
                    let _ = self.spawn(0, |_| std::future::pending());
                }
            }
            Some(Around::Spins) => {
                let _ = self.spawn(0, |_| async {
                    loop {
                        tokio::task::yield_now().await;
                    }
                });
            }
            _ => {}
        }
    }

    /// The plant around the nodes, if any.
    pub(crate) fn planted(&self) -> Option<Around> {
        *lock(&self.0.plant)
    }

    /// Changes a disk before its node starts, as the plant demands.
    pub(super) fn tamper(&self, no: NodeNo, disk: Disk) -> Result<Disk, SimError> {
        match self.planted() {
            Some(Around::SyncLies) => disk.set_fault(Fault::SyncLies),
            Some(Around::OldDisk) => {
                let Some(disk) = lock(&self.0.old).remove(&no) else { return Ok(disk) };
                self.with(no, |machine| machine.disk = disk.clone());
                let all: Vec<_> =
                    (0..self.len()).filter(|other| *other != no).flat_map(|other| [(no, other), (other, no)]).collect();
                self.cut_all(&format!("planted#{no}"), &all);
                return Ok(disk);
            }
            Some(Around::LostRow) => {
                let store = open(no, &disk)?;
                let row = store.snapshot().and_then(|view| view.first(Table::Records, ALL_KEYS, Scan::Forward));
                if let Ok(Some((key, _))) = row {
                    let mut batch = Batch::new();
                    batch.delete(Table::Records, &key);
                    store.commit(&[batch]).map_err(|error| SimError::Store(no, error))?;
                }
                store.close();
            }
            Some(Around::StaysDown) => return Err(SimError::Failed("it was planted so".to_owned())),
            _ => {}
        }
        Ok(disk)
    }

    /// Ends a node suddenly. Returns whether unsynced writes were lost.
    pub fn crash(&self, no: NodeNo, crash: Crash) -> bool {
        self.0.network.note(Some(no), format_args!("crashes ({crash:?})"));
        let (life, node, disk, [raft, journal], starts) = self.with(no, |machine| {
            let promised = [machine.raft.clone(), machine.journal.clone()];
            (machine.life.take(), machine.node.take(), machine.disk.clone(), promised, machine.starts)
        });
        if crash == Crash::Power {
            self.with(no, |machine| machine.dark = true);
            self.0.network.darken(no);
        }
        if let Some(life) = life {
            life.end();
            lock(&self.0.panics).extend(life.panics());
            self.with(no, |machine| machine.most_tasks = machine.most_tasks.max(life.tasks().1));
        }
        let as_read = disk.as_read();
        // also for a killed process: a holder of the old disk must not write on it
        let mut seed = self.0.seed ^ (no as u64) << 32 ^ starts;
        // a lying disk keeps nothing at all: with some sectors kept, no store would open
        while disk.fault() == Fault::SyncLies && !Dice::new(seed).next().is_multiple_of(257) {
            seed = seed.wrapping_add(1);
        }
        let after = disk.lose_power(seed);
        let promised_before = [raft.as_read(), journal.as_read()];
        let promised_after = [raft.lose_power(!seed), journal.lose_power(seed.rotate_left(32))];
        drop(node);
        let (disk, [raft, journal], lost) = match crash {
            Crash::Process => (as_read, promised_before, false),
            Crash::Power => {
                let lost = [after.image(), after.log().image()] != [as_read.image(), as_read.log().image()];
                (after, promised_after, lost)
            }
        };
        self.with(no, |machine| (machine.disk, machine.raft, machine.journal) = (disk, raft, journal));
        lost
    }

    /// Stops a node in an orderly way.
    pub async fn stop(&self, no: NodeNo) {
        let (node, life, chassis) =
            self.with(no, |machine| (machine.node.take(), machine.life.take(), machine.chassis.clone()));
        if let Some(node) = node {
            Life::seen_from(chassis, node.shutdown()).await;
            self.0.network.note(Some(no), format_args!("stopped"));
        }
        if let Some(life) = life {
            life.end();
            lock(&self.0.panics).extend(life.panics());
            self.with(no, |machine| machine.most_tasks = machine.most_tasks.max(life.tasks().1));
        }
    }

    /// Waits until a node ends by itself. Returns the reason.
    pub async fn failed(&self, no: NodeNo, within: Duration) -> Option<String> {
        let node = self.node(no)?;
        match tokio::time::timeout(within, node.stopped()).await {
            Ok(Stopped::Failed(fault)) => Some(fault.to_string()),
            _ => None,
        }
    }

    /// Stops all tasks of a node, as `SIGSTOP` does, or lets them go on.
    pub fn pause(&self, no: NodeNo, paused: bool) {
        if let Some(life) = self.with(no, |machine| machine.life.clone()) {
            life.pause(paused);
        }
    }

    /// Makes each step of a node's tasks take this much longer.
    pub fn slow_down(&self, no: NodeNo, step: Duration) {
        if let Some(life) = self.with(no, |machine| machine.life.clone()) {
            life.slow_down(step);
        }
    }

    /// Makes work that waits for a machine's disk take this long.
    pub fn set_disk_delay(&self, no: NodeNo, delay: Duration) {
        self.with(no, |machine| *lock(&machine.chassis.disk_delay) = delay);
    }

    /// Gives a machine's disk a fault.
    pub fn set_disk_fault(&self, no: NodeNo, fault: Fault) {
        self.with(no, |machine| {
            machine.disk.set_fault(fault);
            // the larger disk decides when it is full
            if !matches!(fault, Fault::FullAt(_)) {
                machine.raft.set_fault(fault);
                machine.journal.set_fault(fault);
            }
        });
    }

    /// Sets a machine's wall clock.
    pub fn set_wall(&self, no: NodeNo, wall: Wall) {
        self.with(no, |machine| *lock(&machine.chassis.wall) = wall);
    }

    /// A machine's wall clock.
    pub fn wall(&self, no: NodeNo) -> Wall {
        self.with(no, |machine| *lock(&machine.chassis.wall))
    }

    /// Cuts two nodes off from each other. Bytes between them wait.
    pub fn cut(&self, a: NodeNo, b: NodeNo) {
        self.cut_all("cut", &[(a, b), (b, a)]);
    }

    /// Undoes [`Sim::cut`].
    pub fn mend(&self, a: NodeNo, b: NodeNo) {
        for (from, to) in [(a, b), (b, a)] {
            self.0.network.mend(from, to, "cut");
        }
    }

    /// Cuts links, each in one direction, under a name for counting and mending.
    pub fn cut_all(&self, name: &str, links: &[(NodeNo, NodeNo)]) {
        for (from, to) in links {
            self.0.network.cut(*from, *to, name.split('#').next().unwrap_or(name));
        }
        lock(&self.0.cuts).entry(name.to_owned()).or_default().extend(links);
    }

    /// Mends all cuts of a name.
    pub fn mend_all(&self, name: &str) {
        let links = lock(&self.0.cuts).remove(name).unwrap_or_default();
        *lock(&self.0.heals) += u64::from(!links.is_empty());
        for (from, to) in links {
            self.0.network.mend(from, to, name.split('#').next().unwrap_or(name));
        }
    }

    /// The number of mended cuts.
    pub fn heals(&self) -> u64 {
        *lock(&self.0.heals)
    }

    /// Heals everything: mends every cut and link, sets every clock right, makes every disk fast, lets
    /// every node go on.
    pub fn heal(&self) {
        self.0.network.note(None, format_args!("everything heals"));
        *lock(&self.0.heals) += 1;
        let names: Vec<String> = lock(&self.0.cuts).keys().cloned().collect();
        for name in names {
            self.mend_all(&name);
        }
        for a in 0..self.len() {
            for b in 0..self.len() {
                self.0.network.set_quality(a, b, None);
            }
            self.pause(a, false);
            self.slow_down(a, Duration::ZERO);
            self.set_disk_delay(a, Duration::ZERO);
            self.set_disk_fault(a, Fault::None);
            self.set_wall(a, Wall::default());
        }
    }
}
