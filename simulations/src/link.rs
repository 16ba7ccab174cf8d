//! Links between nodes: their delays, and the cuts that hold bytes back.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::dice::Dice;

/// The size of one packet.
const PACKET_BYTES: usize = 1_400;
/// The sender's wait before it sends a lost packet again; doubled each time.
const RETRANSMIT_AFTER: Duration = Duration::from_millis(200);
/// The most losses of one packet in a row.
const LOSSES_MAX: u32 = 6;

/// The quality of a link in one direction.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Quality {
    /// The shortest delay, in milliseconds.
    pub latency_ms: u64,
    /// The largest additional delay, in milliseconds. Most are small.
    pub jitter_ms: u64,
    /// The share of packets that get lost, 0 to 1. A loss is a delay, as under TCP.
    pub loss: f64,
    /// Bytes a second; 0 for no limit.
    pub bytes_per_second: u64,
}

impl Default for Quality {
    fn default() -> Self {
        Self { latency_ms: 2, jitter_ms: 2, loss: 0.0, bytes_per_second: 0 }
    }
}

impl Quality {
    /// The delay of a packet sent now.
    pub fn latency(&self, dice: &mut Dice) -> Duration {
        let share = dice.below(1_000);
        // cubed: a long tail
        let jitter_us = self.jitter_ms * 1_000 * share * share * share / 1_000_000_000;
        Duration::from_millis(self.latency_ms) + Duration::from_micros(jitter_us)
    }

    /// The additional delay of `bytes` through losses.
    fn penalty(&self, bytes: usize, dice: &mut Dice) -> Duration {
        if self.loss <= 0.0 {
            return Duration::ZERO;
        }
        let mut worst = 0;
        for _ in 0..bytes.div_ceil(PACKET_BYTES).max(1) {
            let mut losses = 0;
            while losses < LOSSES_MAX && dice.chance(self.loss) {
                losses += 1;
            }
            worst = worst.max(losses);
        }
        // 200 + 400 + 800 + … ms
        RETRANSMIT_AFTER * ((1 << worst) - 1)
    }
}

/// A link in one direction.
#[derive(Clone, Debug)]
pub(crate) struct Link {
    pub(crate) base: Quality,
    /// Replaces `base` for a time.
    pub(crate) worse: Option<Quality>,
    /// The number of faults that hold everything back.
    pub(crate) cuts: u32,
    /// The end of the line's current transfer.
    free_at: Instant,
}

/// The causes of a delay.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Delayed {
    pub(crate) lost: bool,
    pub(crate) queued: bool,
}

impl Link {
    pub(crate) fn new(base: Quality, now: Instant) -> Self {
        Self { base, worse: None, cuts: 0, free_at: now }
    }

    pub(crate) fn quality(&self) -> Quality {
        self.worse.unwrap_or(self.base)
    }

    pub(crate) const fn is_cut(&self) -> bool {
        self.cuts > 0
    }

    /// The time of arrival of bytes sent now.
    pub(crate) fn arrival(&mut self, bytes: usize, now: Instant, dice: &mut Dice) -> (Instant, Delayed) {
        let quality = self.quality();
        let begin = self.free_at.max(now);
        let sending = match quality.bytes_per_second {
            0 => Duration::ZERO,
            rate => Duration::from_micros(bytes as u64 * 1_000_000 / rate),
        };
        self.free_at = begin + sending;
        let penalty = quality.penalty(bytes, dice);
        let delayed = Delayed { lost: !penalty.is_zero(), queued: begin > now };
        (self.free_at + quality.latency(dice) + penalty, delayed)
    }
}
