//! Loop frames at the port: they go to the control plane, and no further.
//!
//! Whether one is genuine costs a signature check, which is the control plane's. A container can send as many as it
//! likes, so only a few go up; and since it can name any router as the sender, those that name one do not keep out
//! those of most others.

use std::time::Instant;

use weave_crypto::PeerId;

use super::Turn;
use super::police::Bucket;
use crate::loop_frame::LoopFrame;
use crate::{DropReason, Notice};

/// Budgets of loop frames, by who is said to have sent them.
#[derive(Debug)]
pub(super) struct LoopPolice {
    buckets: [Bucket; BUCKETS],
}

impl LoopPolice {
    pub(super) fn new(epoch: Instant) -> Self {
        Self {
            buckets: std::array::from_fn(|_| Bucket::new(epoch, PER_S, BURST)),
        }
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

/// Together 128 a second at most: 8 ms of signature checks.
const BUCKETS: usize = 64;
/// A router sends one a second, and a few more when something changed.
const PER_S: u32 = 2;
const BURST: u32 = 4;
