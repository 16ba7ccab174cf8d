//! Known bugs that the simulator plants, to see whether it catches them. Only a build with the feature
//! `plants` has them: without it [`planted`] is `false`, and the bugs are never reached.
//!
//! The feature is never on by default, and `nexus-sim-plants` alone needs it. Even with it a bug sleeps
//! until [`choose`] wakes it.
//!
//! A bug is a name at its place: `planted("skips_gaps")`. The simulator has the list of all
//! (`nexus_sim::plants`). This crate has the question because all others see it.
//!
//! Such a build also notes which rare places a run reaches, each by its name: `reached("fork_cut_twice")`
//! (`nexus_sim::rare` has the list). Seeds that never come there show nothing about it.

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

/// The rare places that this process has reached.
#[cfg(feature = "plants")]
static REACHED: std::sync::Mutex<std::collections::BTreeSet<&str>> =
    std::sync::Mutex::new(std::collections::BTreeSet::new());

/// Notes that a rare place is reached.
#[cfg(feature = "plants")]
pub fn reached(name: &'static str) {
    REACHED.lock().unwrap_or_else(std::sync::PoisonError::into_inner).insert(name);
}

/// Notes nothing: this build does not.
#[cfg(not(feature = "plants"))]
#[inline(always)]
pub const fn reached(_: &'static str) {}

/// The rare places that this process has reached; `None` in a build that notes none.
#[cfg(feature = "plants")]
pub fn all_reached() -> Option<Vec<&'static str>> {
    Some(REACHED.lock().unwrap_or_else(std::sync::PoisonError::into_inner).iter().copied().collect())
}

/// `None`: this build notes none.
#[cfg(not(feature = "plants"))]
pub const fn all_reached() -> Option<Vec<&'static str>> {
    None
}
