//! Floods from the network: each once, each within its origin's budget.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use weave_crypto::ShortId;

use super::police::Police;
use crate::DropReason;
use crate::packet::FloodHeader;

/// What is known of the origins that floods came from.
#[derive(Debug)]
pub(super) struct Floods {
    origins: HashMap<ShortId, Box<Origin>>,
    swept: Instant,
}

#[derive(Debug)]
struct Origin {
    window: Window,
    police: Police,
    used: Instant,
}

impl Floods {
    /// Nothing seen yet.
    pub(super) fn new(epoch: Instant) -> Self {
        Self {
            origins: HashMap::new(),
            swept: epoch,
        }
    }

    /// Takes note of a flood, or says why it must be dropped.
    pub(super) fn accept(
        &mut self,
        now: Instant,
        header: &FloodHeader,
        discovery: bool,
    ) -> Result<(), DropReason> {
        if !self.origins.contains_key(&header.origin) && !self.has_room(now) {
            return Err(DropReason::FloodForeign);
        }
        let origin = self.origins.entry(header.origin).or_insert_with(|| {
            Box::new(Origin {
                window: Window::new(),
                police: Police::new(now),
                used: now,
            })
        });
        origin.used = now;
        if !origin.window.accept(header.sequence) {
            return Err(DropReason::FloodDuplicate);
        }
        if !origin.police.allow(now, discovery) {
            return Err(DropReason::FloodPoliced);
        }
        Ok(())
    }

    /// Makes room for one more origin by forgetting the silent ones, at most once a second: the sweep looks at
    /// each. A forgotten window opens no door: a flood that is still on its way after a minute is none, and the
    /// tunnels' own replay windows keep out what somebody recorded.
    fn has_room(&mut self, now: Instant) -> bool {
        if self.origins.len() < ORIGINS_MAX {
            return true;
        }
        if now.saturating_duration_since(self.swept) >= SWEEP_INTERVAL {
            self.swept = now;
            self.origins
                .retain(|_, origin| now.saturating_duration_since(origin.used) < SILENT_MAX);
        }
        self.origins.len() < ORIGINS_MAX
    }
}

/// Origins at once: as many as there can be sites, ~400 bytes each.
const ORIGINS_MAX: usize = 4_096;
/// An origin silent for longer may be forgotten.
const SILENT_MAX: Duration = Duration::from_secs(60);
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);

/// Which of the last [`Window::WIDTH`] sequence numbers were seen: a ring of bits, as RFC 6479 keeps them.
#[derive(Debug)]
struct Window {
    /// The first number that is ahead of all seen ones.
    next: u64,
    bits: [u64; Self::WORDS],
}

impl Window {
    const WORDS: usize = 32;
    /// Numbers that may be out of order: at the 10,000 floods a second of a storm, 200 ms between the shortest
    /// and the longest way to us.
    const WIDTH: u64 = Self::WORDS as u64 * 64;

    fn new() -> Self {
        Self {
            next: 0,
            bits: [0; Self::WORDS],
        }
    }

    /// Notes a number; false when it was seen before, or is too old to tell.
    fn accept(&mut self, number: u64) -> bool {
        if number >= self.next {
            let ahead = number - self.next;
            if ahead >= Self::WIDTH {
                self.bits = [0; Self::WORDS];
            } else {
                for skipped in self.next..number {
                    self.bits[Self::word(skipped)] &= !Self::bit(skipped);
                }
            }
            self.bits[Self::word(number)] |= Self::bit(number);
            self.next = number + 1;
            return true;
        }
        if self.next - number > Self::WIDTH {
            return false;
        }
        let word = &mut self.bits[Self::word(number)];
        let seen = *word & Self::bit(number) != 0;
        *word |= Self::bit(number);
        !seen
    }

    fn word(number: u64) -> usize {
        (number / 64) as usize % Self::WORDS
    }

    fn bit(number: u64) -> u64 {
        1 << (number % 64)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[allow(clippy::disallowed_methods, reason = "a test's base instant")]
    fn epoch() -> Instant {
        Instant::now()
    }

    fn header(origin: u64, sequence: u64) -> FloodHeader {
        FloodHeader {
            origin: ShortId::from_bytes(origin.to_be_bytes()),
            sequence,
            ttl: 3,
        }
    }

    #[test]
    fn a_restarted_origin_is_ahead_of_itself() {
        let now = epoch();
        let mut floods = Floods::new(now);
        let boot = 1_700_000_000u64;
        for sequence in 0..100 {
            assert_eq!(
                floods.accept(now, &header(1, (boot << 16) + sequence), false),
                Ok(())
            );
        }
        assert_eq!(
            floods.accept(now, &header(1, (boot + 1) << 16), false),
            Ok(())
        );
        assert_eq!(
            floods.accept(now, &header(1, boot << 16), false),
            Err(DropReason::FloodDuplicate),
            "the old life is over"
        );
    }

    #[test]
    fn origins_are_bounded_and_the_silent_make_room() {
        let start = epoch();
        let mut floods = Floods::new(start);
        for origin in 0..ORIGINS_MAX as u64 {
            assert_eq!(floods.accept(start, &header(origin, 1), false), Ok(()));
        }
        let later = start + SILENT_MAX / 2;
        assert_eq!(
            floods.accept(later, &header(7, 2), false),
            Ok(()),
            "a known one goes on"
        );
        assert_eq!(
            floods.accept(later, &header(1 << 40, 1), false),
            Err(DropReason::FloodForeign)
        );
        let later = start + SILENT_MAX + SWEEP_INTERVAL;
        assert_eq!(floods.accept(later, &header(1 << 40, 1), false), Ok(()));
        assert_eq!(
            floods.origins.len(),
            2,
            "the one that was heard since, and the new one"
        );
    }

    proptest! {
        #[test]
        fn the_window_does_what_a_set_does(
            start in prop_oneof![0..10u64, Just((1 << 48) - 8_000)],
            steps in proptest::collection::vec(prop_oneof![4 => 0..80u64, 1 => 1_900..2_200u64, 1 => 0..6_000u64], 1..200),
        ) {
            let mut window = Window::new();
            let mut seen = BTreeSet::new();
            let mut top = start;
            for (index, step) in steps.into_iter().enumerate() {
                // Half of the numbers are behind the highest one.
                let number = if index % 2 == 0 { top + step / 8 } else { top.saturating_sub(step) };
                let highest = seen.last().copied();
                let too_old = highest.is_some_and(|highest: u64| highest + 1 - number.min(highest + 1) > Window::WIDTH);
                prop_assert_eq!(window.accept(number), !too_old && seen.insert(number), "number {}", number);
                top = top.max(number);
            }
        }
    }
}
