//! The keys shared with one router: of the epoch in force, the one before and the one to come, and of the set-up that
//! is under way.

use std::sync::Arc;
use std::time::{Duration, Instant};

use weave_crypto::{TunnelInitiation, TunnelKeys};

/// Keys are replaced after this time (design: 120 s or 2^32 packets).
const REKEY_AFTER: Duration = Duration::from_secs(120);
/// Replaced keys still open packets on their way for this long.
const PREVIOUS_FOR: Duration = Duration::from_secs(30);

/// The keys shared with one router.
#[derive(Debug, Default)]
pub(super) struct Tunnel {
    pub(super) boot_id: u64,
    pub(super) current: Option<Epoch>,
    pub(super) previous: Option<(Arc<TunnelKeys>, Instant)>,
    pub(super) next: Option<Epoch>,
    pub(super) pending: Option<Pending>,
    /// The last initiation that was answered, and the answer: the same one again gets the same answer, or else
    /// the keys that the initiator makes of the first would not be ours any more.
    pub(super) answered: Option<Answered>,
}

impl Tunnel {
    /// Makes `epoch` current; what it replaces opens for a while longer. Gives the indexes of keys gone.
    pub(super) fn replace(&mut self, now: Instant, epoch: Epoch) -> Vec<u32> {
        let mut gone = Vec::new();
        if let Some(replaced) = self.current.replace(epoch) {
            gone.extend(self.previous.take().map(|(keys, _)| keys.local_index()));
            self.previous = Some((replaced.keys, now + PREVIOUS_FOR));
        }
        gone
    }

    /// All keys that open packets.
    pub(super) fn opening(&self) -> impl Iterator<Item = &Arc<TunnelKeys>> {
        let current = self.current.as_ref().map(|epoch| &epoch.keys);
        let previous = self.previous.as_ref().map(|(keys, _)| keys);
        let next = self.next.as_ref().map(|epoch| &epoch.keys);
        [current, previous, next].into_iter().flatten()
    }
}

/// Keys, and how long and how much they have been used.
#[derive(Debug)]
pub(super) struct Epoch {
    pub(super) keys: Arc<TunnelKeys>,
    pub(super) since: Instant,
    /// We began it, so we re-key it.
    pub(super) initiator: bool,
    /// When it is next looked at: old enough, and still in use?
    pub(super) check_at: Instant,
    /// Packets both ways when its use was last looked at.
    pub(super) used: u64,
}

impl Epoch {
    pub(super) fn new(now: Instant, keys: Arc<TunnelKeys>, initiator: bool) -> Self {
        Self {
            keys,
            since: now,
            initiator,
            check_at: now + REKEY_AFTER,
            used: 0,
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
