//! Gathers items that wait during one operation into the batch of the next.

use tokio::sync::mpsc;

/// The bounds of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchBounds {
    /// Items in one batch, at least one.
    pub items: usize,
    /// Bytes in one batch. An item that is larger goes alone.
    pub bytes: usize,
}

/// A queue that is emptied in batches.
#[derive(Debug)]
pub struct Gather<T> {
    waiting: mpsc::Receiver<T>,
    /// An item that did not fit the last batch.
    left: Option<T>,
    bounds: BatchBounds,
    size: fn(&T) -> usize,
}

impl<T> Gather<T> {
    /// A queue with a function for the size of an item, in bytes.
    pub const fn new(waiting: mpsc::Receiver<T>, bounds: BatchBounds, size: fn(&T) -> usize) -> Self {
        Self { waiting, left: None, bounds, size }
    }

    /// The next batch, as soon as there is an item, with all waiting items that fit. An item that is
    /// too large goes alone. `None` once all senders are gone. Cancel-safe.
    pub async fn next(&mut self) -> Option<Vec<T>> {
        let first = match self.left.take() {
            Some(first) => first,
            None => self.waiting.recv().await?,
        };
        let (mut bytes, mut batch) = ((self.size)(&first), vec![first]);
        while batch.len() < self.bounds.items
            && let Ok(next) = self.waiting.try_recv()
        {
            bytes = bytes.saturating_add((self.size)(&next));
            if bytes > self.bounds.bytes {
                self.left = Some(next);
                break;
            }
            batch.push(next);
        }
        Some(batch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_waits_goes_together_as_far_as_it_fits_and_in_its_order() {
        let (sender, waiting) = mpsc::channel(16);
        let mut gather = Gather::new(waiting, BatchBounds { items: 3, bytes: 10 }, |size: &usize| *size);
        for size in [4, 4, 4, 99, 1, 1, 1, 1] {
            sender.try_send(size).unwrap();
        }
        drop(sender);
        let mut batches = Vec::new();
        while let Some(batch) = gather.next().await {
            batches.push(batch);
        }
        assert_eq!(batches, [vec![4, 4], vec![4], vec![99], vec![1, 1, 1], vec![1]]);
    }
}
