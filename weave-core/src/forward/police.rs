//! Budgets of floods: what one port, or one origin, may have every router of the network carry.

use std::time::{Duration, Instant};

/// A budget with a reserve for address discovery, so that a storm of anything else leaves ARP and neighbour
/// discovery alive, and a storm of those is bounded too.
#[derive(Debug)]
pub(super) struct Police {
    discovery: Bucket,
    others: Bucket,
}

impl Police {
    /// Both budgets full at `epoch`.
    pub(super) fn new(epoch: Instant) -> Self {
        Self {
            discovery: Bucket::new(epoch, DISCOVERY_PER_S, DISCOVERY_BURST),
            others: Bucket::new(epoch, FLOODS_PER_S, FLOODS_BURST),
        }
    }

    /// Takes one flood from the budget, or says that there is none left. Discovery draws on its reserve, then on
    /// the rest.
    pub(super) fn allow(&mut self, now: Instant, discovery: bool) -> bool {
        (discovery && self.discovery.take(now)) || self.others.take(now)
    }
}

/// A token bucket, kept as the time at which it will be full again (GCRA, as in ITU-T I.371): one number, no
/// timer.
#[derive(Debug)]
pub(super) struct Bucket {
    full_at: Instant,
    interval: Duration,
    span: Duration,
}

impl Bucket {
    /// `burst` at once, `per_second` after them; full at `epoch`.
    pub(super) fn new(epoch: Instant, per_second: u32, burst: u32) -> Self {
        let interval = Duration::from_secs(1) / per_second;
        Self {
            full_at: epoch,
            interval,
            span: interval * burst,
        }
    }

    /// Takes one, or says that none is left.
    pub(super) fn take(&mut self, now: Instant) -> bool {
        let full_at = self.full_at.max(now) + self.interval;
        if full_at.saturating_duration_since(now) > self.span {
            return false;
        }
        self.full_at = full_at;
        true
    }
}

/// Floods a second from one port or origin. A host that boots sends tens, mDNS and the like a few each second:
/// 10,000 serve a thousand busy containers, while a loop outside, which makes as many as the wire takes, ends
/// here. Far below 2^16, by which boot ids are apart in flood sequences.
const FLOODS_PER_S: u32 = 10_000;
/// Floods at once: a hundred containers that start in the same moment, 20 each.
const FLOODS_BURST: u32 = 2_000;
/// Discovery floods a second beyond those: each of a thousand containers may ask for two addresses.
const DISCOVERY_PER_S: u32 = 2_000;
/// Discovery floods at once: one container that asks for every address of a /24, twice.
const DISCOVERY_BURST: u32 = 512;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_storm_is_cut_and_discovery_lives() {
        #[allow(clippy::disallowed_methods, reason = "a test's base instant")]
        let epoch = Instant::now();
        let mut police = Police::new(epoch);
        let passed = (0..5_000).filter(|_| police.allow(epoch, false)).count();
        assert_eq!(passed, FLOODS_BURST as usize);
        let passed = (0..5_000).filter(|_| police.allow(epoch, true)).count();
        assert_eq!(passed, DISCOVERY_BURST as usize, "its own reserve");
        let later = epoch + Duration::from_millis(100);
        let passed = (0..5_000).filter(|_| police.allow(later, false)).count();
        assert_eq!(passed, FLOODS_PER_S as usize / 10);
        assert!(
            police.allow(epoch, true) || !police.allow(epoch, true),
            "an earlier time never panics"
        );
    }
}
