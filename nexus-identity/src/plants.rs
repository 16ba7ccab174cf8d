//! Known bugs that the simulator plants, to see whether it catches them. Only a build with the feature
//! `plants` has them: without it [`planted`] is `false`, and the bugs are never reached.
//!
//! The feature is never on by default, and `nexus-sim-plants` alone needs it. Even with it a bug sleeps
//! until [`choose`] wakes it.
//!
//! A bug is a name at its place: `planted("skips_gaps")`. The simulator has the list of all
//! (`nexus_sim::plants`). This crate has the question because all others see it.

/// The chosen bug, and the mark that tells a build with plants from others.
#[cfg(feature = "plants")]
#[used]
static CHOSEN: (std::sync::RwLock<&str>, [u8; MARK.len()]) = (std::sync::RwLock::new(""), MARK);

/// Bytes that are in every build with plants, and in no other.
#[cfg(feature = "plants")]
const MARK: [u8; 40] = *b"nexus_plants: there are known bugs here!";

/// Whether the bug of this name is to show now.
#[cfg(feature = "plants")]
pub fn planted(name: &str) -> bool {
    CHOSEN.0.read().is_ok_and(|chosen| *chosen == name)
}

/// Never: this build has no plants.
#[cfg(not(feature = "plants"))]
#[inline(always)]
pub const fn planted(_: &str) -> bool {
    false
}

/// Chooses the bug that shows in this process from now on. Returns whether this build has any.
#[cfg(feature = "plants")]
pub fn choose(name: Option<&'static str>) -> bool {
    CHOSEN.0.write().is_ok_and(|mut chosen| {
        *chosen = name.unwrap_or_default();
        true
    })
}

/// Returns that this build has none.
#[cfg(not(feature = "plants"))]
pub const fn choose(_: Option<&'static str>) -> bool {
    false
}
