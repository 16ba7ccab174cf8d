//! Long messages in the making: bounded over all sockets together.
//!
//! A message comes in parts, and takes memory until it is whole and answered. The first 64 KiB of each socket are free. Beyond the
//! bound of all, the message that has made no progress for the longest time makes room: its socket is closed, and its program
//! connects again. A whole message stays until it is answered.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use tokio::sync::watch;

/// The bytes of a message that are not counted.
const FREE_BYTES: usize = 64 << 10;
/// The most bytes of all messages together.
const ALL_BYTES_MAX: usize = 64 << 20;

/// The most bytes that are kept for all sockets after their messages were answered.
const KEPT_BYTES_MAX: usize = 256 << 20;

/// The messages of all sockets.
pub(super) struct Making {
    most: usize,
    kept: Arc<KeptByAll>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    next: u64,
    /// Counts reads: the order of progress.
    clock: u64,
    /// The bytes that are counted.
    bytes: usize,
    of: BTreeMap<u64, Part>,
}

/// The message of one socket, as far as it has come.
struct Part {
    bytes: usize,
    /// Those of them that are whole messages.
    whole: usize,
    stamp: u64,
    is_whole: bool,
    is_over: watch::Sender<bool>,
}

impl Part {
    const fn counted(&self) -> usize {
        self.bytes.saturating_sub(FREE_BYTES)
    }
}

impl Default for Making {
    fn default() -> Self {
        Self { most: ALL_BYTES_MAX, kept: Arc::default(), state: Mutex::default() }
    }
}

impl Making {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The bytes that are kept for all sockets.
    pub(super) const fn kept(&self) -> &Arc<KeptByAll> {
        &self.kept
    }

    fn enter(&self) -> u64 {
        let mut state = self.lock();
        let id = state.next;
        state.next += 1;
        let part = Part { bytes: 0, whole: 0, stamp: state.clock, is_whole: false, is_over: watch::Sender::new(false) };
        state.of.insert(id, part);
        id
    }

    /// Notes so many bytes more of a socket. Ends others, or this one, if they do not fit.
    fn read(&self, id: u64, more: usize) {
        let mut state = self.lock();
        state.clock += 1;
        let (clock, State { of, bytes, .. }) = (state.clock, &mut *state);
        let Some(part) = of.get_mut(&id) else { return };
        let before = part.counted();
        part.bytes = part.bytes.saturating_add(more);
        part.stamp = clock;
        *bytes += part.counted() - before;
        while *bytes > self.most {
            let others = of.iter().filter(|(other, part)| **other != id && part.counted() > 0 && !part.is_whole);
            let last = others.min_by_key(|(_, part)| part.stamp).map_or(id, |(other, _)| *other);
            let Some(part) = of.remove(&last) else { return };
            *bytes -= part.counted();
            part.is_over.send_replace(true);
        }
    }

    /// The message of a socket is whole.
    fn whole(&self, id: u64) {
        if let Some(part) = self.lock().of.get_mut(&id) {
            (part.whole, part.is_whole) = (part.bytes, true);
        }
    }

    /// Its whole messages are answered, and take no more memory. The beginning of the next one may be here.
    fn answered(&self, id: u64) {
        let mut state = self.lock();
        let State { of, bytes, .. } = &mut *state;
        if let Some(part) = of.get_mut(&id) {
            *bytes -= part.counted();
            (part.bytes, part.whole, part.is_whole) = (part.bytes - part.whole, 0, false);
            *bytes += part.counted();
        }
    }

    fn leave(&self, id: u64) {
        let mut state = self.lock();
        if let Some(part) = state.of.remove(&id) {
            state.bytes -= part.counted();
        }
    }
}

/// The bytes that are kept for all sockets, but for the free ones of each.
#[derive(Debug, Default)]
pub(super) struct KeptByAll(AtomicUsize);

impl KeptByAll {
    /// One socket keeps so many bytes in place of others. `false`, and nothing changes, if these are more and do not fit.
    pub(super) fn exchange(&self, before: usize, after: usize) -> bool {
        let (before, after) = (before.saturating_sub(FREE_BYTES), after.saturating_sub(FREE_BYTES));
        let exchanged = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |bytes| {
            let bytes = bytes - before + after;
            (after <= before || bytes <= KEPT_BYTES_MAX).then_some(bytes)
        });
        exchanged.is_ok()
    }
}

/// The message of one connection. It counts nothing before [`begin`](Self::begin).
#[derive(Default)]
pub(super) struct Meter(OnceLock<Metered>);

struct Metered {
    making: Arc<Making>,
    id: u64,
    is_over: watch::Receiver<bool>,
}

impl Meter {
    /// Counts from now on.
    pub(super) fn begin(&self, making: &Arc<Making>) {
        let metered = || {
            let id = making.enter();
            let state = making.lock();
            let is_over = state.of.get(&id).map(|part| part.is_over.subscribe());
            let is_over = is_over.unwrap_or_else(|| watch::Sender::new(false).subscribe());
            Metered { making: making.clone(), id, is_over }
        };
        self.0.get_or_init(metered);
    }

    /// Notes bytes that came.
    pub(super) fn read(&self, bytes: usize) {
        if let Some(metered) = self.0.get() {
            metered.making.read(metered.id, bytes);
        }
    }

    /// Whether no more may be read, as the message had to make room.
    pub(super) fn is_over(&self) -> bool {
        self.0.get().is_some_and(|metered| *metered.is_over.borrow())
    }

    /// Resolves when the message had to make room.
    pub(super) async fn over(&self) {
        let Some(metered) = self.0.get() else { return std::future::pending().await };
        let mut is_over = metered.is_over.clone();
        if is_over.wait_for(|is_over| *is_over).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// All that came is whole, and is answered next.
    pub(super) fn whole(&self) {
        if let Some(metered) = self.0.get() {
            metered.making.whole(metered.id);
        }
    }

    /// The whole messages are answered.
    pub(super) fn answered(&self) {
        if let Some(metered) = self.0.get() {
            metered.making.answered(metered.id);
        }
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        if let Some(metered) = self.0.get() {
            metered.making.leave(metered.id);
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;
    use proptest::prelude::*;

    use super::*;

    const MEBIBYTE: usize = 1 << 20;

    fn meters<const N: usize>(most: usize) -> (Arc<Making>, [Meter; N]) {
        let making = Arc::new(Making { most, ..Making::default() });
        let meters = std::array::from_fn(|_| Meter::default());
        meters.iter().for_each(|meter: &Meter| meter.begin(&making));
        (making, meters)
    }

    /// promise: Documents | Messages in the making take at most 64 MiB of a node over all sockets; the one that stalls longest makes room
    #[test]
    fn a_message_that_stalls_makes_room() {
        let (making, [stalls, goes_on, whole, new]) = meters(3 * MEBIBYTE);
        for meter in [&whole, &stalls, &goes_on] {
            meter.read(FREE_BYTES + MEBIBYTE);
        }
        whole.whole();
        goes_on.read(0);
        new.read(FREE_BYTES);
        assert!([&stalls, &goes_on, &whole, &new].iter().all(|meter| !meter.is_over()));
        new.read(1);
        assert_eq!([&stalls, &goes_on, &whole, &new].map(|meter| meter.is_over()), [true, false, false, false]);
        assert!(stalls.over().now_or_never().is_some() && goes_on.over().now_or_never().is_none());
        stalls.read(MEBIBYTE);
        assert_eq!(making.lock().bytes, 2 * MEBIBYTE + 1, "it counts no more");
        // a whole message stays, so a longer one ends itself
        new.read(3 * MEBIBYTE);
        assert_eq!([&goes_on, &whole, &new].map(|meter| meter.is_over()), [true, false, true]);
        whole.answered();
        assert_eq!(making.lock().bytes, 0);
        whole.read(2 * MEBIBYTE);
        assert!(!whole.is_over() && making.lock().bytes > 0);
        // the beginning of the next message counts on
        whole.whole();
        whole.read(MEBIBYTE);
        whole.answered();
        assert_eq!(making.lock().bytes, MEBIBYTE - FREE_BYTES);
        drop(whole);
        assert_eq!(making.lock().bytes, 0);
        drop([stalls, goes_on, new]);
        assert!(making.lock().of.is_empty());
    }

    /// promise: Documents | A node keeps at most 256 MiB for the programs of all sockets, and 64 KiB of each at any time
    #[test]
    fn what_is_kept_for_all_is_bounded() {
        let kept = KeptByAll::default();
        assert!((0..32).all(|_| kept.exchange(0, FREE_BYTES + 8 * MEBIBYTE)), "they fit");
        assert!(!kept.exchange(0, FREE_BYTES + 1) && kept.exchange(0, FREE_BYTES), "a small one always does");
        assert!(!kept.exchange(FREE_BYTES + MEBIBYTE, FREE_BYTES + MEBIBYTE + 1));
        assert!(kept.exchange(FREE_BYTES + MEBIBYTE, 0) && kept.exchange(0, FREE_BYTES + MEBIBYTE));
        assert!((0..32).all(|_| kept.exchange(FREE_BYTES + 8 * MEBIBYTE, 0)));
        assert_eq!(kept.0.into_inner(), 0);
    }

    proptest! {
        #[test]
        fn the_bound_holds(acts in prop::collection::vec((0_usize..5, 0_usize..5, 0_usize..400_000), 0..200)) {
            let (making, meters) = meters::<5>(MEBIBYTE);
            for (of, act, bytes) in acts {
                match act {
                    0 => meters[of].whole(),
                    1 => meters[of].answered(),
                    _ => meters[of].read(bytes),
                }
                let state = making.lock();
                prop_assert!(state.bytes <= MEBIBYTE);
                prop_assert_eq!(state.bytes, state.of.values().map(Part::counted).sum::<usize>());
            }
        }
    }
}
