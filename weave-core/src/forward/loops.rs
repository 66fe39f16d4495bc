//! Loop frames at the port: they go to the control plane, and no further. And so many floods at the port that a loop
//! may have been closed, which is a reason to send one.
//!
//! Whether one is genuine costs a signature check, which is the control plane's. A container can send as many as it
//! likes, so only a few go up; and since it can name any router as the sender, those that name one do not keep out
//! those of most others.

use std::time::{Duration, Instant};

use weave_crypto::PeerId;

use super::Turn;
use super::police::Bucket;
use crate::loop_frame::LoopFrame;
use crate::{DropReason, Notice};

/// Budgets of loop frames, by who is said to have sent them.
#[derive(Debug)]
pub(super) struct LoopPolice {
    buckets: [Bucket; BUCKETS],
    /// Floods that are no reason to think of a loop.
    calm: Bucket,
    told: Option<Instant>,
}

impl LoopPolice {
    pub(super) fn new(epoch: Instant) -> Self {
        Self {
            buckets: std::array::from_fn(|_| Bucket::new(epoch, PER_S, BURST)),
            calm: Bucket::new(epoch, CALM_PER_S, CALM_BURST),
            told: None,
        }
    }

    /// Takes note of a flood from the port; says whether the control plane is to be told of many.
    fn is_alarming(&mut self, now: Instant) -> bool {
        let is_told = self
            .told
            .is_some_and(|at| now.saturating_duration_since(at) < ALARM_INTERVAL);
        if self.calm.take(now) || is_told {
            return false;
        }
        self.told = Some(now);
        true
    }

    fn allow(&mut self, now: Instant, peer: &PeerId) -> bool {
        // An honest router's id is a public key: every byte is as good as any.
        let bucket = usize::from(peer.as_bytes()[31] ^ peer.as_bytes()[15]) % BUCKETS;
        self.buckets[bucket].take(now)
    }
}

/// Takes a frame that is a loop frame of this network; says whether it was one.
pub(super) fn take(turn: &mut Turn<'_, '_>, police: &mut LoopPolice, frame: &[u8]) -> bool {
    if frame.len() != LoopFrame::BYTES {
        return false;
    }
    let network = turn.view.fib.loop_network.as_ref();
    let Some(frame) = network.and_then(|network| LoopFrame::parse(frame, network)) else {
        return false;
    };
    turn.stats.loop_frames_in += 1;
    if police.allow(turn.now, &frame.peer) {
        turn.notices.push(Notice::LoopFrame(Box::new(frame)));
    } else {
        turn.count_drop(DropReason::LoopFramePoliced);
    }
    true
}

/// A frame from the port begins to be flooded.
pub(super) fn note_flood(turn: &mut Turn<'_, '_>, police: &mut LoopPolice) {
    if police.is_alarming(turn.now) {
        turn.notices.push(Notice::PortFloods);
    }
}

/// Together 128 a second at most: 8 ms of signature checks.
const BUCKETS: usize = 64;
/// A router sends one a second, and a few more when something changed.
const PER_S: u32 = 2;
const BURST: u32 = 4;
/// A host that boots floods tens of frames, mDNS and the like a few a second; what goes round comes by thousands of
/// times a second.
const CALM_PER_S: u32 = 200;
const CALM_BURST: u32 = 100;
const ALARM_INTERVAL: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_floods_are_told_of_ten_times_a_second() {
        #[allow(clippy::disallowed_methods, reason = "a test's base instant")]
        let epoch = Instant::now();
        let mut police = LoopPolice::new(epoch);
        let mut told = |from_ms: u64, to_ms: u64, every_ms: usize| {
            let times = (from_ms..to_ms).step_by(every_ms);
            let told = times.filter(|at| police.is_alarming(epoch + Duration::from_millis(*at)));
            told.count()
        };
        assert_eq!(told(0, 10_000, 10), 0, "100 a second");
        assert_eq!(
            told(10_000, 10_125, 1),
            1,
            "as soon as 125 ms after it began"
        );
        assert_eq!(told(10_125, 11_125, 1), 10);
    }
}
