//! A machine that is put back to an earlier state without a sign, writes on, and meets the others again. And one that goes on
//! with an empty disk.

use std::time::Duration;

use nexus_node::{NewMemory, Node};

use crate::documents;
use crate::faults::{Faults, LOOK_EVERY, START_MAX, around};
use crate::ledger::Written;
use crate::plan::NodeNo;
use crate::world::{Crash, Sim};

/// The words that a machine with an empty disk types before it meets the others.
const TYPED: usize = 3;
/// The memories that the machine writes before it meets the others: more than it had forgotten.
const AFTER: usize = 3;

impl Faults {
    /// A machine joins and writes. It is put back to a state from before that, while nobody reaches it. It goes on in
    /// its old log, which forks so, and meets the others again. All that it ever wrote must stay.
    pub(crate) async fn machine_is_put_back(&self, no: usize, last: Duration) {
        let sim = &self.sim;
        let end = sim.now() + last;
        let Some(machine) = self.newcomer(no, "machine", last).await else { return };
        let Some(before) = remember(sim, machine, format!("before the backup {no}")).await else { return };
        let (older, from) = (sim.disk(machine).as_read(), sim.now());
        let Some(between) = remember(sim, machine, format!("after the backup {no}")).await else { return };
        // the others keep what the machine forgets
        if !self.until_founder_has(&between, end).await {
            return;
        }
        let label = format!("put_back#{no}");
        sim.cut_all(&label, &around(machine, sim.len()));
        {
            let mut ledger = self.ledger.borrow_mut();
            ledger.put_back.insert(machine, sim.did(machine));
            ledger.in_doubt.push((machine, from, sim.now()));
        }
        sim.crash(machine, Crash::Process);
        sim.put_disk(machine, older);
        let mut kept = vec![before, between];
        if sim.start(machine).await.is_ok() {
            for n in 0..AFTER {
                kept.extend(remember(sim, machine, format!("put back {no}: {n}")).await);
            }
        }
        sim.sleep(LOOK_EVERY).await;
        let written = Written { node: machine, life: sim.starts(machine), at: sim.now(), key: None };
        self.ledger.borrow_mut().written.extend(kept.into_iter().map(|id| (id, written.clone())));
        sim.mend_all(&label);
        sim.network().fire("put_back");
    }

    /// A machine gets an empty disk while nobody reaches it. Its member goes on in another log, and types before it
    /// meets the others, who hold the former log.
    pub(crate) async fn gets_an_empty_disk(&self, no: usize, machine: NodeNo, last: Duration) {
        let sim = &self.sim;
        let Some(chain) = sim.chain_of(machine).filter(|_| sim.node(machine).is_some()) else { return };
        let label = format!("new_disk#{no}");
        let from = sim.now();
        sim.cut_all(&label, &around(machine, sim.len()));
        sim.crash(machine, Crash::Process);
        // only what the others hold is left of its log
        self.ledger.borrow_mut().in_doubt.push((machine, Duration::ZERO, from));
        match tokio::time::timeout(START_MAX, sim.move_in(machine, chain)).await {
            Ok(Ok(())) => sim.network().fire("new_disk"),
            failed => self.aftermath.borrow_mut().dead.push(format!("n{machine} does not start anew: {failed:?}")),
        }
        for n in 0..TYPED {
            let number = 1_000_000 + no * TYPED + n;
            documents::type_word(sim, &self.ledger, machine, number).await;
        }
        sim.sleep(last).await;
        sim.mend_all(&label);
    }
}

async fn remember(sim: &Sim, machine: NodeNo, text: String) -> Option<String> {
    let wrote = sim.on(machine, async |node: Node| node.brain().remember(NewMemory::note(text)).await).await;
    wrote.ok().map(|written| written.id.to_string())
}
