//! A bounded queue that many peers fill and one task empties. No peer gets more than its share of it.
//!
//! Peers are served in turns, so the items of one wait behind at most one item of each other peer. Whatever is
//! beyond a bound is handed back to the caller: nobody waits to put something in.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use nexus_identity::Did;
use tokio::sync::Notify;

/// The bounds of a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Items that wait in all, at least one.
    pub items: usize,
    /// Bytes that wait in all.
    pub bytes: usize,
    /// Items of one peer that wait, at least one.
    pub items_each: usize,
    /// Bytes of one peer that wait.
    pub bytes_each: usize,
}

impl Bounds {
    /// So many items of any size. One peer has a quarter of the places, and always one.
    pub const fn items(items: usize) -> Self {
        Self { items, bytes: usize::MAX, items_each: share(items), bytes_each: usize::MAX }
    }

    /// The same items, and so many bytes in all. One peer has a quarter of the bytes.
    #[must_use]
    pub const fn bytes(self, bytes: usize) -> Self {
        Self { bytes, bytes_each: share(bytes), ..self }
    }

    /// The same bounds, with so many items for each peer.
    #[must_use]
    pub const fn each(self, items_each: usize) -> Self {
        Self { items_each, ..self }
    }
}

const fn share(all: usize) -> usize {
    if all < 4 { 1 } else { all / 4 }
}

/// Makes a queue within these bounds.
pub fn queue<T>(bounds: Bounds) -> (Sender<T>, Receiver<T>) {
    let queue = Arc::new(Queue { bounds, waiting: Mutex::default(), wake: Notify::new() });
    (Sender(queue.clone()), Receiver(queue))
}

struct Queue<T> {
    bounds: Bounds,
    waiting: Mutex<Waiting<T>>,
    wake: Notify,
}

struct Waiting<T> {
    peers: BTreeMap<Did, Share<T>>,
    /// The peers of which something waits, in the order in which they are served.
    turns: VecDeque<Did>,
    items: usize,
    bytes: usize,
    /// One end is gone.
    closed: bool,
}

impl<T> Default for Waiting<T> {
    fn default() -> Self {
        Self { peers: BTreeMap::new(), turns: VecDeque::new(), items: 0, bytes: 0, closed: false }
    }
}

/// Whatever waits of one peer.
struct Share<T> {
    items: VecDeque<(usize, T)>,
    bytes: usize,
}

impl<T> Default for Share<T> {
    fn default() -> Self {
        Self { items: VecDeque::new(), bytes: 0 }
    }
}

impl<T> Queue<T> {
    fn waiting(&self) -> MutexGuard<'_, Waiting<T>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An item that did not fit, or whose reader is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused<T>(pub T);

/// The end of a queue that peers fill.
pub struct Sender<T>(Arc<Queue<T>>);

impl<T> Sender<T> {
    /// Puts an item of a peer in, if it fits.
    ///
    /// # Errors
    /// [`Refused`] with the item, if a bound would be passed or the receiver is gone.
    pub fn offer(&self, from: Did, bytes: usize, item: T) -> Result<(), Refused<T>> {
        let bounds = self.0.bounds;
        let mut waiting = self.0.waiting();
        let fits = |have: usize, most: usize| have.checked_add(bytes).is_some_and(|sum| sum <= most);
        let (items_of, bytes_of) = waiting.peers.get(&from).map_or((0, 0), |share| (share.items.len(), share.bytes));
        let full = waiting.closed
            || waiting.items >= bounds.items
            || items_of >= bounds.items_each
            || !fits(waiting.bytes, bounds.bytes)
            || !fits(bytes_of, bounds.bytes_each);
        if full {
            return Err(Refused(item));
        }
        waiting.items += 1;
        waiting.bytes += bytes;
        let share = waiting.peers.entry(from).or_default();
        share.bytes += bytes;
        share.items.push_back((bytes, item));
        if share.items.len() == 1 {
            waiting.turns.push_back(from);
        }
        drop(waiting);
        self.0.wake.notify_one();
        Ok(())
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        self.0.waiting().closed = true;
        self.0.wake.notify_one();
    }
}

/// The end of a queue that one task empties.
pub struct Receiver<T>(Arc<Queue<T>>);

impl<T> Receiver<T> {
    /// The next item and its peer; none once the sender is gone and nothing waits any more. Cancel-safe.
    pub async fn recv(&mut self) -> Option<(Did, T)> {
        loop {
            if let Some(next) = self.try_recv() {
                return Some(next);
            }
            if self.0.waiting().closed {
                // the sender may have put something in just before it went
                return self.try_recv();
            }
            self.0.wake.notified().await;
        }
    }

    /// The next item and its peer, if one waits.
    pub fn try_recv(&mut self) -> Option<(Did, T)> {
        let mut waiting = self.0.waiting();
        let peer = waiting.turns.pop_front()?;
        let share = waiting.peers.get_mut(&peer)?;
        let (bytes, item) = share.items.pop_front()?;
        share.bytes -= bytes;
        if share.items.is_empty() {
            waiting.peers.remove(&peer);
        } else {
            waiting.turns.push_back(peer);
        }
        waiting.items -= 1;
        waiting.bytes -= bytes;
        Some((peer, item))
    }

    /// The number of waiting items.
    pub fn len(&self) -> usize {
        self.0.waiting().items
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        let mut waiting = self.0.waiting();
        waiting.closed = true;
        let dropped = (std::mem::take(&mut waiting.peers), std::mem::take(&mut waiting.turns));
        (waiting.items, waiting.bytes) = (0, 0);
        drop(waiting);
        // items may do something when they go, and it is theirs to take locks
        drop(dropped);
    }
}

impl<T> fmt::Debug for Sender<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sender").field("bounds", &self.0.bounds).finish_non_exhaustive()
    }
}

impl<T> fmt::Debug for Receiver<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receiver").field("bounds", &self.0.bounds).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;
    use proptest::prelude::*;

    use super::*;

    fn peer(n: u8) -> Did {
        Did::from_bytes([n; 32])
    }

    #[test]
    fn one_peer_gets_its_share_and_no_more() {
        let (sender, mut receiver) = queue(Bounds::items(8).bytes(400));
        assert!((0..2).all(|n| sender.offer(peer(1), 10, n).is_ok()));
        assert_eq!(sender.offer(peer(1), 10, 2), Err(Refused(2)), "a quarter of the places");
        assert_eq!(sender.offer(peer(2), 101, 3), Err(Refused(3)), "a quarter of the bytes");
        assert_eq!(sender.offer(peer(2), usize::MAX, 4), Err(Refused(4)));
        assert_eq!(sender.offer(peer(2), 100, 5), Ok(()));
        assert_eq!(receiver.try_recv(), Some((peer(1), 0)));
        assert_eq!(sender.offer(peer(1), 10, 6), Ok(()), "a place came back");
    }

    #[test]
    fn peers_are_served_in_turns() {
        let (sender, mut receiver) = queue(Bounds::items(100));
        for n in 0..20 {
            sender.offer(peer(1), 1, n).unwrap();
        }
        sender.offer(peer(2), 1, 77).unwrap();
        let served: Vec<i32> = std::iter::from_fn(|| receiver.try_recv()).map(|(_, item)| item).collect();
        assert_eq!(served[..4], [0, 77, 1, 2]);
        assert_eq!(served.len(), 21);
    }

    #[test]
    fn what_waits_is_read_after_the_sender_went_and_nothing_is_taken_once_the_receiver_has() {
        let (sender, mut receiver) = queue(Bounds::items(4));
        assert_eq!(receiver.recv().now_or_never(), None);
        sender.offer(peer(1), 1, 1).unwrap();
        drop(sender);
        assert_eq!(receiver.recv().now_or_never(), Some(Some((peer(1), 1))));
        assert_eq!(receiver.recv().now_or_never(), Some(None));
        let (sender, receiver) = queue(Bounds::items(4));
        drop(receiver);
        assert_eq!(sender.offer(peer(1), 1, 1), Err(Refused(1)));
    }

    #[tokio::test]
    #[expect(clippy::disallowed_methods, reason = "a task of the test's own")]
    async fn whoever_waits_is_woken() {
        let (sender, mut receiver) = queue(Bounds::items(4));
        let receiving = tokio::spawn(async move { (receiver.recv().await, receiver.recv().await) });
        tokio::task::yield_now().await;
        sender.offer(peer(1), 1, 1).unwrap();
        tokio::task::yield_now().await;
        drop(sender);
        assert_eq!(receiving.await.unwrap(), (Some((peer(1), 1)), None));
    }

    proptest! {
        #[test]
        fn bounds_hold_and_each_peer_s_items_keep_their_order(
            acts in prop::collection::vec((0_u8..4, 0_usize..60, any::<bool>()), 0..200),
        ) {
            let bounds = Bounds::items(12).bytes(200);
            let (sender, mut receiver) = queue(bounds);
            let mut model: BTreeMap<u8, VecDeque<(usize, usize)>> = BTreeMap::new();
            for (n, (of, bytes, takes)) in acts.into_iter().enumerate() {
                if takes {
                    let taken = receiver.try_recv();
                    prop_assert_eq!(taken.is_none(), model.values().all(VecDeque::is_empty));
                    if let Some((from, item)) = taken {
                        let of = from.as_bytes()[0];
                        prop_assert_eq!(model.get_mut(&of).unwrap().pop_front().unwrap().1, item);
                    }
                } else if sender.offer(peer(of), bytes, n).is_ok() {
                    model.entry(of).or_default().push_back((bytes, n));
                }
                let of_each = |each: &VecDeque<(usize, usize)>| (each.len(), each.iter().map(|(bytes, _)| bytes).sum());
                let shares: Vec<(usize, usize)> = model.values().map(of_each).collect();
                prop_assert!(shares.iter().all(|(items, bytes)| *items <= bounds.items_each && *bytes <= bounds.bytes_each));
                let all = shares.iter().fold((0, 0), |all, share| (all.0 + share.0, all.1 + share.1));
                prop_assert!(all.0 <= bounds.items && all.1 <= bounds.bytes);
                prop_assert_eq!(receiver.len(), all.0);
            }
        }
    }
}
