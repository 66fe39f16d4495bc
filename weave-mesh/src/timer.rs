//! One table of deadlines, indexed by what they are for.

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
