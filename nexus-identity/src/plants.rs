//! Known bugs that the simulator plants to see whether it catches them. No build has them but one
//! that asks for it: without the feature `plants` [`planted`] is `false`, and what hangs on it is
//! never reached.
//!
//! The feature is never on by default, and `nexus-sim-plants` alone needs it. Even with it a bug
//! sleeps until [`choose`] wakes it. This crate has them because all others see it.

/// A known bug. Where it is planted says what it does.
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
    /// Of batches that are committed together only the first one is.
    DropsFromGroup,
    /// The first entry after a start takes the number of the last one before.
    ReusesLastNumber,

    // sync
    /// Sessions send no entries: gossip is the only delivery.
    DeliversByGossipAlone,
    /// A session loses its place among its own new entries.
    LosesTailCursor,
    /// An entry is taken although those before it are missing, and nobody asks for them.
    SkipsGaps,
    /// A restored node writes on without asking how far its log is elsewhere.
    WritesWithoutComparing,

    // membership
    /// A ticket works as often as anybody likes.
    TicketsNeverUsedUp,
    /// Who knows a ticket's id needs no secret.
    TicketsNeedNoSecret,
    /// Members of other meshes are let in.
    TakesForeignMeshes,
    /// Papers are good for whoever shows them.
    TakesBorrowedPapers,

    // pages
    /// A memory that was edited is not forgotten any more.
    ForgetLosesToEdit,
    /// A write that comes after the one that replaced it counts again.
    CountsWhatWasReplaced,
    /// Of concurrent edits the one that arrives last wins.
    LastArrivalWins,
    /// A memory that arrives after it was forgotten is shown.
    LateCreationReturns,

    // mesh
    /// A dial that failed is tried again at once, for ever.
    RedialsAtOnce,
    /// A connection that was lost is not dialled again.
    NeverRedials,
    /// A member that was down once stays down.
    DownForEver,
    /// Credentials are shown before the other side has said that it knows the mesh.
    ShowsPapersToAnybody,

    // coordinators
    /// A leader counts what it sends as taken: it commits without a quorum.
    CommitsWithoutQuorum,
    /// A vote is not kept: after a restart a voter has promised nothing.
    ForgetsVotes,
    /// What is appended is acknowledged and never on disk.
    AppendsBeforeDisk,
    /// A voter gives its vote to everybody who asks.
    VotesForEverybody,
    /// A leader answers reads without proving that it still leads.
    ReadsWithoutProof,
    /// Leases run by a wall clock, and jump with it.
    LeasesByWallClock,
    /// A token is given out again when its lease is over.
    ReusesTokens,
    /// A proposal that comes again is applied again.
    AppliesTwice,
}

/// What is chosen, and the mark that tells a build with plants from others.
#[cfg(feature = "plants")]
#[used]
static CHOSEN: (std::sync::atomic::AtomicU8, [u8; MARK.len()]) = (std::sync::atomic::AtomicU8::new(0), MARK);

/// Bytes that are in every build with plants, and in no other.
#[cfg(feature = "plants")]
const MARK: [u8; 40] = *b"nexus_plants: there are known bugs here!";

/// Whether a bug is to show now.
#[cfg(feature = "plants")]
pub fn planted(plant: Plant) -> bool {
    CHOSEN.0.load(std::sync::atomic::Ordering::Relaxed) == plant as u8
}

/// Never: this build has no plants.
#[cfg(not(feature = "plants"))]
#[inline(always)]
pub const fn planted(_: Plant) -> bool {
    false
}

/// Chooses which bug shows in this process from now on. Returns whether this build has any.
#[cfg(feature = "plants")]
pub fn choose(plant: Option<Plant>) -> bool {
    CHOSEN.0.store(plant.map_or(0, |plant| plant as u8), std::sync::atomic::Ordering::Relaxed);
    true
}

/// Returns that this build has none.
#[cfg(not(feature = "plants"))]
pub const fn choose(_: Option<Plant>) -> bool {
    false
}
