//! The invariants, one file each with the promise that it guards.
//!
//! An invariant sees a [`Moment`] every few seconds of virtual time, and judges at the end. An
//! invariant without anything to check is undecided, which counts as broken.

mod approvals;
mod blobs;
mod bounds;
mod convergence;
mod critical;
mod documents;
mod durability;
mod erased;
mod forgotten;
mod liveness;
mod membership;
mod moment;
mod one_seq;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod quotas;
mod revoked;
mod sound;
mod strangers;
mod tasks;

pub use self::moment::{Invariant, Load, Moment, NodeContent, Outsiders, Record, Recovery, Verdict};
use crate::scenario::FaultKind;

/// The parts of the node that a run uses.
#[derive(Clone, Copy, Debug, Default)]
pub struct With {
    /// Coordinators.
    pub coordinators: bool,
    /// Tasks.
    pub tasks: bool,
    /// Tasks that need approvals.
    pub approvals: bool,
    /// Blobs.
    pub blobs: bool,
    /// Living documents.
    pub documents: bool,
    /// Erasures.
    pub erasures: bool,
}

impl With {
    /// All parts.
    pub const ALL: Self =
        Self { coordinators: true, tasks: true, approvals: true, blobs: true, documents: true, erasures: true };
}

/// The invariants of a run with these faults; some only where they have anything to look at.
pub fn all(has: &dyn Fn(FaultKind) -> bool, with: With) -> Vec<Box<dyn Invariant>> {
    let mut all: Vec<Box<dyn Invariant>> = vec![
        Box::<convergence::Convergence>::default(),
        Box::<durability::Durability>::default(),
        Box::<forgotten::Forgotten>::default(),
        Box::<bounds::Bounds>::default(),
        Box::<liveness::Liveness>::default(),
        Box::<one_seq::OneSeq>::default(),
        Box::<sound::Sound>::default(),
    ];
    if has(FaultKind::Strangers) {
        all.push(Box::<strangers::Strangers>::default());
    }
    if has(FaultKind::StolenLaptop) || has(FaultKind::TwoAdmins) {
        all.push(Box::<membership::Membership>::default());
        all.push(Box::<revoked::Revocations>::default());
    }
    if has(FaultKind::Glutton) {
        #[cfg(all(target_os = "linux", target_arch = "x86_64"))]
        all.push(Box::<quotas::Quotas>::default());
    }
    if with.blobs {
        all.push(Box::<blobs::Blobs>::default());
    }
    if with.documents {
        all.push(Box::<documents::Documents>::default());
    }
    if with.erasures {
        all.push(Box::<erased::Erasures>::default());
    }
    if with.tasks {
        all.push(Box::<tasks::Tasks>::default());
    }
    if with.approvals {
        all.push(Box::<approvals::ByTheRule>::default());
    }
    if with.coordinators {
        all.push(Box::<critical::Linearizable>::default());
        all.push(Box::<critical::Fencing>::default());
        all.push(Box::<critical::Agreement>::default());
        all.push(Box::<critical::Replayed>::default());
    }
    all
}

/// The invariants for engines and sessions alone.
pub fn model() -> Vec<Box<dyn Invariant>> {
    vec![
        Box::<convergence::Convergence>::default(),
        Box::<durability::Durability>::default(),
        Box::<forgotten::Forgotten>::default(),
        Box::<liveness::Liveness>::default(),
        Box::<one_seq::OneSeq>::default(),
    ]
}
