//! The keys shared with one router: of the epoch in force, the one before and the one to come, and of the set-up that
//! is under way.

use std::sync::Arc;
use std::time::{Duration, Instant};

use weave_crypto::{TunnelInitiation, TunnelKeys};

/// Replaced keys still open packets on their way for this long.
pub(super) const PREVIOUS_FOR: Duration = Duration::from_secs(30);
/// Former keys of one tunnel that still open packets: those replaced last, and those that were about to.
const PREVIOUS_MAX: usize = 2;

/// The keys shared with one router.
#[derive(Debug, Default)]
pub(super) struct Tunnel {
    pub(super) boot_id: u64,
    pub(super) current: Option<Epoch>,
    /// Keys that open packets until then, oldest first.
    pub(super) previous: Vec<(Arc<TunnelKeys>, Instant)>,
    pub(super) next: Option<Epoch>,
    /// The next keys should have been confirmed long ago.
    pub(super) is_overdue: bool,
    pub(super) pending: Option<Pending>,
    /// The last initiation that was answered, and the answer: the same one again gets the same answer, or else
    /// the keys that the initiator makes of the first would not be ours any more.
    pub(super) answered: Option<Answered>,
}

impl Tunnel {
    /// Makes `epoch` current; what it replaces opens for a while longer. Gives the indexes of keys gone.
    pub(super) fn replace(&mut self, now: Instant, epoch: Epoch) -> Vec<u32> {
        let replaced = self.current.replace(epoch);
        let gone = replaced.and_then(|replaced| self.retire(now, replaced.keys));
        gone.into_iter().collect()
    }

    /// Keys only open from now on. Gives the index of older ones that do not even that any more.
    pub(super) fn retire(&mut self, now: Instant, keys: Arc<TunnelKeys>) -> Option<u32> {
        self.previous.push((keys, now + PREVIOUS_FOR));
        let (gone, _) = (self.previous.len() > PREVIOUS_MAX).then(|| self.previous.remove(0))?;
        Some(gone.local_index())
    }

    /// All keys that open packets.
    pub(super) fn opening(&self) -> impl Iterator<Item = &Arc<TunnelKeys>> {
        let current = self.current.as_ref().map(|epoch| &epoch.keys);
        let next = self.next.as_ref().map(|epoch| &epoch.keys);
        let previous = self.previous.iter().map(|(keys, _)| keys);
        current.into_iter().chain(previous).chain(next)
    }
}

/// Keys, and how long and how much they have been used.
#[derive(Debug)]
pub(super) struct Epoch {
    pub(super) keys: Arc<TunnelKeys>,
    /// We began it, so we re-key it.
    pub(super) initiator: bool,
    /// When it is next looked at: old enough, and still in use? Or, not confirmed yet, is the initiator missed?
    pub(super) check_at: Instant,
    /// Packets both ways when its use was last looked at.
    pub(super) used: u64,
}

impl Epoch {
    pub(super) fn new(keys: Arc<TunnelKeys>, initiator: bool, check_at: Instant) -> Self {
        Self {
            // The confirmation is no use.
            used: packets(&keys),
            keys,
            initiator,
            check_at,
        }
    }
}

/// A set-up that we began and that is not answered yet.
#[derive(Debug)]
pub(super) struct Pending {
    pub(super) initiation: TunnelInitiation,
    pub(super) message: Vec<u8>,
    pub(super) tries: usize,
    pub(super) again_at: Instant,
}

/// An initiation of theirs, and what we said to it.
#[derive(Debug)]
pub(super) struct Answered {
    pub(super) at: Instant,
    pub(super) initiation: Vec<u8>,
    pub(super) answer: Vec<u8>,
}

/// Packets both ways.
pub(super) fn packets(keys: &TunnelKeys) -> u64 {
    keys.sent_packets() + keys.received_packets()
}
