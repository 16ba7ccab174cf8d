use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

const WAITING: u8 = 0;
const HANDED_OVER: u8 = 1;
const TAKEN_BACK: u8 = 2;

/// Something that waits to be handed over, and that its owner can take back until then.
///
/// Exactly one of both happens, so the owner knows whether the other side may have got it.
#[derive(Clone, Debug, Default)]
pub struct Handover(Arc<AtomicU8>);

impl Handover {
    /// Hands it over. Returns `false` if it was taken back before.
    pub fn hand_over(&self) -> bool {
        self.become_one(HANDED_OVER)
    }

    /// Takes it back. Returns `false` if it was handed over before.
    pub fn take_back(&self) -> bool {
        self.become_one(TAKEN_BACK)
    }

    fn become_one(&self, next: u8) -> bool {
        match self.0.compare_exchange(WAITING, next, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => true,
            Err(now) => now == next,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_handed_over_or_taken_back() {
        let (given, kept) = (Handover::default(), Handover::default());
        assert!(given.hand_over() && !given.take_back() && given.hand_over());
        assert!(kept.take_back() && !kept.hand_over() && kept.take_back());
        for _ in 0..100 {
            let both = Handover::default();
            std::thread::scope(|scope| {
                let handed = scope.spawn(|| both.hand_over());
                assert_ne!(both.take_back(), handed.join().unwrap());
            });
        }
    }
}
