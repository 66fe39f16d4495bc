//! One table of deadlines, indexed by what they are for.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

/// Why a mesh wants to be woken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum WakeReason {
    /// A connection's set-up takes too long.
    SetUp,
    /// A probe is due.
    Probe,
    /// A test of a path MTU is due or to be judged.
    PathMtu,
    /// A neighbour may have been silent for too long.
    Silence,
    /// A link without a stream may have waited for too long.
    Hold,
    /// Two streams of one neighbour: the old one may have lost.
    Contest,
    /// A link's cost may be published.
    Cost,
    /// Stores are to be compared.
    Digest,
    /// A record of our own may be renewed.
    Publish,
    /// Somebody is to be dialled.
    Dial,
    /// Unreachable records may be forgotten.
    Forget,
    /// A direct path is to be probed, or given up.
    Direct,
    /// A neighbour may be told of more records.
    Flood,
    /// A frame of a stream has begun and may never be whole.
    Frame,
    /// Another router has this one's identity: it is time to take another.
    Clone,
}

/// One deadline for each of many things, the soonest at hand.
#[derive(Debug)]
pub(crate) struct Deadlines<K> {
    by_key: BTreeMap<K, (Instant, WakeReason)>,
    by_time: BTreeSet<(Instant, K)>,
}

impl<K: Ord + Copy> Deadlines<K> {
    pub(crate) fn new() -> Self {
        Self {
            by_key: BTreeMap::new(),
            by_time: BTreeSet::new(),
        }
    }

    /// Sets the deadline of `key`, whatever it was.
    pub(crate) fn set(&mut self, key: K, deadline: Option<(Instant, WakeReason)>) {
        let former = match deadline {
            Some(deadline) => self.by_key.insert(key, deadline),
            None => self.by_key.remove(&key),
        };
        let (former, now) = (former.map(|(at, _)| at), deadline.map(|(at, _)| at));
        if former == now {
            return;
        }
        if let Some(at) = former {
            self.by_time.remove(&(at, key));
        }
        if let Some(at) = now {
            self.by_time.insert((at, key));
        }
    }

    /// The soonest.
    pub(crate) fn next(&self) -> Option<(Instant, WakeReason)> {
        let (_, key) = self.by_time.first()?;
        self.by_key.get(key).copied()
    }

    /// What is due, in the order of the keys.
    pub(crate) fn due(&self, now: Instant) -> BTreeSet<K> {
        self.by_time
            .iter()
            .take_while(|(at, _)| *at <= now)
            .map(|(_, key)| *key)
            .collect()
    }
}

/// The sooner of two wake-ups; of two at once, the first.
pub(crate) fn sooner(
    first: Option<(Instant, WakeReason)>,
    second: Option<(Instant, WakeReason)>,
) -> Option<(Instant, WakeReason)> {
    match (first, second) {
        (Some(a), Some(b)) => Some(if b.0 < a.0 { b } else { a }),
        (a, b) => a.or(b),
    }
}
