//! Known bugs that the simulator plants, to see whether it catches them. Only a build with the feature
//! `plants` has them: without it [`planted`] is `false`, and the bugs are never reached.
//!
//! The feature is never on by default, and `nexus-sim-plants` alone needs it. Even with it a bug sleeps
//! until [`choose`] wakes it. This crate has them because all others see it.

/// A known bug. The code at its place shows its effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Plant {
    // store
    /// Callers are answered before their writes are on disk.
    AcksBeforeCommit = 1,
    /// Entries are gossiped before they are on disk.
    SendsBeforeCommit,
    /// A commit does not wait for the disk.
    CommitsWithoutSync,
    /// Of a group of batches only the first is committed.
    DropsFromGroup,
    /// The first entry after a start takes the number of the last one before.
    ReusesLastNumber,

    // sync
    /// Sessions send no entries: gossip is the only delivery.
    DeliversByGossipAlone,
    /// A session loses its place among its own new entries.
    LosesTailCursor,
    /// An entry is taken although earlier ones are missing, and nobody asks for them.
    SkipsGaps,
    /// A restored node writes on without asking the others for their part of its log.
    WritesWithoutComparing,

    // membership
    /// A ticket works any number of times.
    TicketsNeverUsedUp,
    /// A ticket's id is enough, without its secret.
    TicketsNeedNoSecret,
    /// Members of other meshes are let in.
    TakesForeignMeshes,
    /// Papers are good for anybody who shows them.
    TakesBorrowedPapers,

    // pages
    /// An edited memory cannot be forgotten.
    ForgetLosesToEdit,
    /// A write that arrives after its replacement counts again.
    CountsWhatWasReplaced,
    /// The last edit to arrive wins over concurrent ones.
    LastArrivalWins,
    /// A memory that arrives after it was forgotten is shown.
    LateCreationReturns,

    // mesh
    /// A failed dial is tried again at once, for ever.
    RedialsAtOnce,
    /// A lost connection is not dialled again.
    NeverRedials,
    /// A member that was down once stays down.
    DownForEver,
    /// Credentials are shown before the other side has proven that it knows the mesh.
    ShowsPapersToAnybody,

    // coordinators
    /// A leader counts sent entries as taken, and so commits without a quorum.
    CommitsWithoutQuorum,
    /// A vote is not kept: after a restart a voter has promised nothing.
    ForgetsVotes,
    /// Appended entries are acknowledged and never on disk.
    AppendsBeforeDisk,
    /// A voter gives its vote to everybody who asks.
    VotesForEverybody,
    /// A leader answers reads without proving that it still leads.
    ReadsWithoutProof,
    /// Leases run by a wall clock, and jump with it.
    LeasesByWallClock,
    /// A token is given out again after its lease.
    ReusesTokens,
    /// A repeated proposal is applied again.
    AppliesTwice,
}

/// The chosen bug, and the mark that tells a build with plants from others.
#[cfg(feature = "plants")]
#[used]
static CHOSEN: (std::sync::atomic::AtomicU8, [u8; MARK.len()]) = (std::sync::atomic::AtomicU8::new(0), MARK);

/// Bytes that are in every build with plants, and in no other.
#[cfg(feature = "plants")]
const MARK: [u8; 40] = *b"nexus_plants: there are known bugs here!";

/// Whether a bug is active.
#[cfg(feature = "plants")]
pub fn planted(plant: Plant) -> bool {
    CHOSEN.0.load(std::sync::atomic::Ordering::Relaxed) == plant as u8
}

/// Always `false`: this build has no plants.
#[cfg(not(feature = "plants"))]
#[inline(always)]
pub const fn planted(_: Plant) -> bool {
    false
}

/// Chooses the active bug of this process. Returns whether this build has bugs.
#[cfg(feature = "plants")]
pub fn choose(plant: Option<Plant>) -> bool {
    CHOSEN.0.store(plant.map_or(0, |plant| plant as u8), std::sync::atomic::Ordering::Relaxed);
    true
}

/// Always `false`: this build has no plants.
#[cfg(not(feature = "plants"))]
pub const fn choose(_: Option<Plant>) -> bool {
    false
}
