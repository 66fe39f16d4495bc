//! How many probes are lost, and whether a path that loses is to be left to others for a while.
//!
//! One average is not enough: a single lost probe must move no route, and a path that loses a third must be left
//! within seconds and not taken again because it happened to lose nothing for a moment.

use std::time::{Duration, Instant};

/// Probes that are looked back at: 2.4 s of them while frames flow.
const WINDOW: u32 = 16;
/// So many lost of those make a path lossy. By chance that happens each 24 min of traffic where 1 % is lost, and within
/// 2.4 s nine times in ten where 30 % are; both ends look.
const LOST_MIN: u32 = 3;
/// A path is lossy for so long at least; again within [`AGAIN`], twice as long as before.
const HOLD_MIN: Duration = Duration::from_secs(10);
const HOLD_MAX: Duration = Duration::from_secs(160);
/// A path that is lossy again so soon was taken for clean too early.
const AGAIN: Duration = Duration::from_secs(120);
/// What one lost probe in a thousand adds to the cost of a lossy path, µs: whoever lost a frame sends it again after
/// 200 ms at the earliest (Linux's least retransmission time-out).
const COST_US_PER_PERMILLE: u64 = 200;

/// Loss of probes on one path.
#[derive(Debug, Default)]
pub(super) struct Loss {
    /// Smoothed share lost, ‰.
    permille: u32,
    /// The last [`WINDOW`] probes, the newest in the lowest bit: 1 was lost.
    recent: u32,
    answered_in_row: u32,
    is_lossy: bool,
    /// The largest share while it was lossy, ‰.
    worst_permille: u32,
    hold: Duration,
    hold_until: Option<Instant>,
    clean_since: Option<Instant>,
}

impl Loss {
    /// A probe was answered in time, or not. What is lost while the path `is_up` makes it lossy; what is lost in one
    /// run is a cut.
    pub(super) fn count(&mut self, now: Instant, is_lost: bool, is_up: bool) {
        self.permille = (self.permille * 15 + if is_lost { 1000 } else { 0 }) / 16;
        self.recent = (self.recent << 1 | u32::from(is_lost)) & ((1 << WINDOW) - 1);
        self.answered_in_row = if is_lost { 0 } else { self.answered_in_row + 1 };
        let run = self.recent >> self.recent.trailing_zeros().min(WINDOW);
        let is_one_run = run & (run + 1) == 0;
        if is_up && self.recent.count_ones() >= LOST_MIN && !is_one_run {
            if !std::mem::replace(&mut self.is_lossy, true) {
                let is_again = self.clean_since.is_some_and(|since| now < since + AGAIN);
                let doubled = if is_again { self.hold * 2 } else { HOLD_MIN };
                self.hold = doubled.clamp(HOLD_MIN, HOLD_MAX);
                self.worst_permille = 0;
            }
            self.worst_permille = self.worst_permille.max(self.permille);
            self.hold_until = Some(now + self.hold);
        } else if self.is_lossy
            && self.answered_in_row >= WINDOW
            && self.hold_until.is_none_or(|until| now >= until)
        {
            self.is_lossy = false;
            self.clean_since = Some(now);
        }
    }

    /// The path is up again: what was lost meanwhile said that it was down, and nothing of how it is now.
    pub(super) fn forget_down_time(&mut self) {
        self.permille = 0;
        self.recent = 0;
    }

    /// Smoothed share lost, ‰.
    pub(super) fn permille(&self) -> u32 {
        self.permille
    }

    /// Whether the path has lost so much that others are better, and not been clean for long enough since.
    pub(super) fn is_lossy(&self) -> bool {
        self.is_lossy
    }

    /// What that adds to its cost, µs.
    pub(super) fn cost_us(&self) -> u64 {
        if self.is_lossy {
            u64::from(self.worst_permille) * COST_US_PER_PERMILLE
        } else {
            0
        }
    }
}

#[cfg(test)]
mod tests {
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha20Rng;

    use super::*;
    use crate::mesh::tests_base;

    const INTERVAL: Duration = Duration::from_millis(150);

    #[test]
    fn a_single_lost_probe_and_a_cut_make_nothing_lossy() {
        let mut now = tests_base();
        let mut loss = Loss::default();
        for number in 0..200 {
            loss.count(now, number % 40 == 7, true);
            now += INTERVAL;
            assert!(!loss.is_lossy());
        }
        for number in 0..20 {
            loss.count(now, true, number < 3);
            now += INTERVAL;
        }
        loss.forget_down_time();
        for _ in 0..20 {
            loss.count(now, false, true);
            now += INTERVAL;
        }
        assert_eq!(
            (loss.is_lossy(), loss.cost_us(), loss.permille()),
            (false, 0, 0)
        );
    }

    #[test]
    fn thirty_percent_show_within_three_seconds_and_cost_more_than_a_detour() {
        let mut late = 0;
        for seed in 0..100 {
            let mut random = ChaCha20Rng::from_seed([seed; 32]);
            let mut now = tests_base();
            let mut loss = Loss::default();
            for _ in 0..19 {
                loss.count(now, random.random_ratio(3, 10), true);
                now += INTERVAL;
            }
            late += u32::from(!loss.is_lossy());
            assert!(
                !loss.is_lossy() || loss.cost_us() > 10_000,
                "{}",
                loss.cost_us()
            );
        }
        // One end alone.
        assert!(late <= 10, "{late} of 100");
    }

    #[test]
    fn a_path_that_was_lossy_is_left_alone_for_longer_each_time() {
        let mut now = tests_base();
        let mut loss = Loss::default();
        let mut held = Vec::new();
        for _ in 0..6 {
            for is_lost in [true, false, true, false, true] {
                loss.count(now, is_lost, true);
                now += INTERVAL;
            }
            assert!(loss.is_lossy());
            let since = now;
            while loss.is_lossy() {
                loss.count(now, false, true);
                now += INTERVAL;
            }
            held.push((now - since).as_secs());
        }
        // From when three of the last sixteen are the lost ones no more.
        assert_eq!(held, [11, 21, 41, 81, 161, 161]);
    }

    #[test]
    fn chance_does_not_make_a_lossy_path_clean() {
        let mut random = ChaCha20Rng::from_seed([9; 32]);
        let mut now = tests_base();
        let mut loss = Loss::default();
        let mut changes = 0;
        for _ in 0..600 {
            let before = loss.is_lossy();
            loss.count(now, random.random_ratio(3, 10), true);
            changes += u32::from(before != loss.is_lossy());
            now += Duration::from_secs(1);
        }
        assert!(changes <= 3, "{changes} in 10 min");
    }
}
