//! Everything that peers can fill has a bound: tasks, connections, dials, memory.

use std::time::Duration;

use super::moment::{Invariant, Moment, Record, Recovery, Verdict};

/// The most tasks of a node without peers, with a margin.
const TASKS: usize = 64;
/// The most tasks for each other machine, with a margin: undecided connections, streams, records of it.
const TASKS_PER_MACHINE: usize = 48;
/// The most connections of one machine, as the node is configured.
const CONNECTIONS_PER_MACHINE: usize = 128;
/// Dials of a node at its start, and for each other machine in a second. A redial waits half a second
/// at least, and ever longer.
const DIALS: u64 = 128;
const DIALS_PER_SECOND: u64 = 1;
/// Memory for each machine, and for each byte on its disk. Stores keep pages, the simulator keeps disks
/// twice, connections have buffers.
const BYTES_PER_MACHINE: u64 = 24 << 20;
const BYTES_PER_BYTE: u64 = 6;

/// The invariant of this module.
#[derive(Debug, Default)]
pub(crate) struct Bounds(Record);

impl Invariant for Bounds {
    fn name(&self) -> &'static str {
        "bounds"
    }

    fn promise(&self) -> &'static str {
        "queues, tasks, retries and memory are bounded"
    }

    fn look(&mut self, moment: &Moment<'_>) {
        self.0.looked(1);
        let machines = moment.load.tasks.len();
        let tasks_max = TASKS + TASKS_PER_MACHINE * machines;
        for (node, tasks) in moment.load.tasks.iter().enumerate() {
            if *tasks > tasks_max {
                self.0
                    .broke(moment.at, || format!("n{node} had {tasks} tasks, at most {tasks_max} are to be expected"));
            }
        }
        let dials_max = DIALS + DIALS_PER_SECOND * machines as u64 * moment.at.as_secs();
        for (node, dials) in moment.load.dials.iter().enumerate().filter(|(_, dials)| **dials > dials_max) {
            self.0
                .broke(moment.at, || format!("n{node} dialled {dials} times, at most {dials_max} are to be expected"));
        }
        let (_, connections) = moment.load.under_way;
        if connections > CONNECTIONS_PER_MACHINE * machines {
            self.0.broke(moment.at, || format!("{connections} connections between {machines} machines"));
        }
        let bytes_max = BYTES_PER_MACHINE * machines as u64 + BYTES_PER_BYTE * moment.load.on_disk;
        if let Some(bytes) = moment.load.allocated.filter(|bytes| *bytes > bytes_max) {
            self.0.broke(moment.at, || format!("{bytes} bytes are allocated, at most {bytes_max} are to be expected"));
        }
    }

    fn record(&self) -> &Record {
        &self.0
    }

    fn judge(&mut self, _: &Recovery, _: Duration) -> Verdict {
        self.0.verdict("nothing was measured")
    }
}
