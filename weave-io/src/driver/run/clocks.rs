//! Whether the wall clock jumped against the time since boot: a machine that goes on from a snapshot finds it so.
//!
//! Both go on at one pace, also while a machine is suspended, as Linux counts the time since boot. A snapshot stops both,
//! and when it is brought back only the wall clock is set. Keys whose counters were in the snapshot may then be in use twice,
//! and one more packet sealed with them could give two packets one nonce. So both threads look before each turn, and
//! the worker seals nothing between a jump and the new keys.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use nix::time::{ClockId, clock_gettime};

/// What both threads know of the clocks.
pub(super) struct Clocks {
    /// How far the wall clock is ahead of the time since boot, milliseconds, when it was last looked at.
    ahead_ms: AtomicI64,
    jumps: AtomicU64,
    /// Jumps that the router was told of and has new keys for.
    settled: AtomicU64,
    /// Tells the control thread of a jump.
    jumped: Mutex<Option<Box<dyn Fn() + Send>>>,
    /// Tells the worker that it may go on.
    is_settled: Mutex<Option<Box<dyn Fn() + Send>>>,
}

impl Clocks {
    /// A difference that grows by more than this between two looks is a jump; setting the clock slowly, as ntpd does
    /// (500 ppm), never comes to that.
    const JUMP_MS: u64 = 2_000;

    pub(super) fn new() -> Self {
        let (wall, boot) = read();
        Self::at(wall, boot)
    }

    fn at(wall: Duration, boot: Duration) -> Self {
        Self {
            ahead_ms: AtomicI64::new(ahead_ms(wall, boot)),
            jumps: AtomicU64::new(0),
            settled: AtomicU64::new(0),
            jumped: Mutex::new(None),
            is_settled: Mutex::new(None),
        }
    }

    /// Looks at both clocks. True from a jump on until it is [settled](Self::settle).
    pub(super) fn have_jumped(&self) -> bool {
        let (wall, boot) = read();
        self.compare(wall, boot)
    }

    fn compare(&self, wall: Duration, boot: Duration) -> bool {
        let ahead = ahead_ms(wall, boot);
        let before = self.ahead_ms.swap(ahead, Ordering::AcqRel);
        if ahead.abs_diff(before) > Self::JUMP_MS {
            self.jumps.fetch_add(1, Ordering::AcqRel);
            call(&self.jumped);
        }
        self.jumps() != self.settled.load(Ordering::Acquire)
    }

    /// Jumps so far.
    pub(super) fn jumps(&self) -> u64 {
        self.jumps.load(Ordering::Acquire)
    }

    /// New keys stand for so many jumps.
    pub(super) fn settle(&self, jumps: u64) {
        self.settled.store(jumps, Ordering::Release);
        call(&self.is_settled);
    }

    /// Whom to tell of a jump that the other thread saw.
    pub(super) fn on_jump(&self, wake: impl Fn() + Send + 'static) {
        let mut slot = self.jumped.lock().unwrap_or_else(PoisonError::into_inner);
        *slot = Some(Box::new(wake));
    }

    /// Whom to tell that one is settled.
    pub(super) fn on_settled(&self, wake: impl Fn() + Send + 'static) {
        let mut slot = self
            .is_settled
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *slot = Some(Box::new(wake));
    }
}

fn call(slot: &Mutex<Option<Box<dyn Fn() + Send>>>) {
    let slot = slot.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(call) = slot.as_ref() {
        call();
    }
}

/// Wall clock and time since boot. Where the system has no such clock, which Linux has, nothing jumps.
fn read() -> (Duration, Duration) {
    let boot = clock_gettime(ClockId::CLOCK_BOOTTIME);
    match (
        SystemTime::now().duration_since(SystemTime::UNIX_EPOCH),
        boot,
    ) {
        (Ok(wall), Ok(boot)) => (wall, boot.into()),
        _ => (Duration::ZERO, Duration::ZERO),
    }
}

fn ahead_ms(wall: Duration, boot: Duration) -> i64 {
    let ms = |time: Duration| i64::try_from(time.as_millis()).unwrap_or(i64::MAX);
    ms(wall).saturating_sub(ms(boot))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn a_jump_either_way_is_seen_once_and_holds_until_it_is_settled() {
        for (wall_ms, jumps) in [
            (2_001, true),
            (-2_001, true),
            (2_000, false),
            (-1_900, false),
        ] {
            let clocks = Clocks::at(at(1_000_000), at(5_000));
            let told = Arc::new(AtomicU64::new(0));
            let count = Arc::clone(&told);
            clocks.on_jump(move || {
                count.fetch_add(1, Ordering::Relaxed);
            });
            assert!(!clocks.compare(at(1_000_500), at(5_500)));
            let wall = at((1_001_000 + wall_ms) as u64);
            assert_eq!(clocks.compare(wall, at(6_000)), jumps);
            assert_eq!(clocks.compare(wall, at(6_000)), jumps, "still");
            assert_eq!(told.load(Ordering::Relaxed), u64::from(jumps));
            clocks.settle(clocks.jumps());
            assert!(!clocks.compare(wall, at(6_000)));
        }
    }

    #[test]
    fn a_clock_that_is_set_slowly_and_a_machine_that_slept_are_no_jump() {
        let clocks = Clocks::at(at(0), at(0));
        for second in 1..100_000 {
            // 500 ppm too fast: 50 s after a day.
            assert!(!clocks.compare(at(second * 1_000 + second / 2), at(second * 1_000)));
        }
        // Suspended for a day: both went on.
        let day = 86_400_000;
        assert!(!clocks.compare(at(100_050_000 + day), at(100_000_000 + day)));
    }

    #[test]
    fn the_real_clocks_go_at_one_pace() {
        let clocks = Clocks::new();
        assert!(!clocks.have_jumped());
    }

    fn at(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }
}
