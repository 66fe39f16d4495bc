//! What the control plane hands to a worker: packets that came by a stream, frames of its own for the port, and
//! announcements, which are for the port and for the mesh.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use weave_core::{Batch, DropReason, ForwardStats, FrameMeta};

use crate::wake::Wake;

/// A bounded queue from the control plane to a worker; what does not fit is lost and counted, as in a socket's
/// buffer. While it is empty it costs the worker one relaxed load a turn.
#[derive(Debug, Default)]
pub struct Inbox {
    waiting: Mutex<Waiting>,
    /// Set while something waits.
    is_filled: AtomicBool,
    wake: Wake,
}

#[derive(Debug, Default)]
struct Waiting {
    packets: VecDeque<Vec<u8>>,
    packet_bytes: usize,
    frames: VecDeque<Vec<u8>>,
    announcements: VecDeque<Vec<u8>>,
    dropped: u64,
}

impl Inbox {
    /// Bytes of packets that wait: what a stream brings between two turns of a worker that is held up for some
    /// 10 ms at 100 Mb/s.
    pub const PACKET_BYTES_MAX: usize = 256 << 10;
    /// Frames that wait, and announcements: the control plane writes one a second, or a few answers.
    pub const FRAMES_MAX: usize = 64;

    /// An empty one.
    pub fn new() -> Self {
        Self::default()
    }

    /// Calls `wake` when something is added to an empty inbox. The first call stays.
    pub fn on_filled(&self, wake: impl Fn() + Send + Sync + 'static) {
        self.wake.set(wake);
    }

    /// Adds a sealed packet that a neighbour sent down its stream.
    pub fn push_packet(&self, packet: Vec<u8>) {
        let mut waiting = self.lock();
        if waiting.packet_bytes + packet.len() > Self::PACKET_BYTES_MAX {
            waiting.dropped += 1;
            return;
        }
        waiting.packet_bytes += packet.len();
        waiting.packets.push_back(packet);
        self.filled(waiting);
    }

    /// Adds a frame for the local port.
    pub fn push_frame(&self, frame: Vec<u8>) {
        self.push_to(|waiting| &mut waiting.frames, frame);
    }

    /// Adds a frame for the local port, and for all beyond the mesh.
    pub fn push_announcement(&self, frame: Vec<u8>) {
        self.push_to(|waiting| &mut waiting.announcements, frame);
    }

    fn push_to(&self, queue: impl Fn(&mut Waiting) -> &mut VecDeque<Vec<u8>>, frame: Vec<u8>) {
        let mut waiting = self.lock();
        if queue(&mut waiting).len() >= Self::FRAMES_MAX {
            waiting.dropped += 1;
            return;
        }
        queue(&mut waiting).push_back(frame);
        self.filled(waiting);
    }

    /// Whether nothing waits.
    pub(super) fn is_empty(&self) -> bool {
        !self.is_filled.load(Ordering::Acquire)
    }

    /// Moves all packets that wait behind those in `packets`, frames into a batch for the port, and announcements into
    /// that and into `for_mesh`, as far as they have room. A frame that is too long for a buffer is dropped.
    pub(super) fn take(
        &self,
        packets: &mut VecDeque<Vec<u8>>,
        frames: &mut Batch<FrameMeta>,
        for_mesh: &mut Batch<FrameMeta>,
        stats: &mut ForwardStats,
    ) {
        let mut waiting = self.lock();
        packets.append(&mut waiting.packets);
        waiting.packet_bytes = 0;
        while let Some(buffer) = frames.free()
            && let Some(frame) = waiting.frames.pop_front()
        {
            if buffer.append(&frame) {
                frames.commit(FrameMeta::default());
            } else {
                waiting.dropped += 1;
            }
        }
        while !frames.is_full()
            && !for_mesh.is_full()
            && let Some(frame) = waiting.announcements.pop_front()
        {
            for batch in [&mut *frames, &mut *for_mesh] {
                if batch.free().is_some_and(|buffer| buffer.append(&frame)) {
                    batch.commit(FrameMeta::default());
                } else {
                    waiting.dropped += 1;
                }
            }
        }
        let is_empty = waiting.frames.is_empty() && waiting.announcements.is_empty();
        self.is_filled.store(!is_empty, Ordering::Release);
        stats.set_drops(DropReason::InboxFull, waiting.dropped);
    }

    fn filled(&self, waiting: MutexGuard<'_, Waiting>) {
        // Under the lock, so that it can't be overtaken by a taker that found nothing.
        let was_filled = self.is_filled.swap(true, Ordering::AcqRel);
        drop(waiting);
        if !was_filled {
            self.wake.wake();
        }
    }

    /// A panic elsewhere leaves the queue whole: nothing in here panics half-way.
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::AtomicUsize;

    use super::*;

    #[test]
    fn what_is_handed_over_comes_out_in_order_and_wakes_once() {
        let inbox = Inbox::new();
        let woken = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&woken);
        inbox.on_filled(move || {
            count.fetch_add(1, Ordering::Relaxed);
        });
        assert!(inbox.is_empty());
        inbox.push_packet(vec![1; 40]);
        inbox.push_packet(vec![2; 50]);
        inbox.push_frame(vec![3; 60]);
        inbox.push_frame(vec![4; 60]);
        assert_eq!(woken.load(Ordering::Relaxed), 1);
        let (mut packets, mut frames) = (VecDeque::new(), Batch::new(1, 256));
        let mut for_mesh = Batch::new(1, 256);
        let mut stats = ForwardStats::new();
        inbox.take(&mut packets, &mut frames, &mut for_mesh, &mut stats);
        assert_eq!(packets, [vec![1; 40], vec![2; 50]]);
        assert_eq!(frames.front().unwrap().0, [3; 60]);
        assert!(!inbox.is_empty(), "the batch had room for one frame only");
        frames.clear();
        inbox.take(&mut packets, &mut frames, &mut for_mesh, &mut stats);
        assert_eq!(frames.front().unwrap().0, [4; 60]);
        assert!(inbox.is_empty());
        assert_eq!(stats.drops_total(), 0);
    }

    #[test]
    fn a_full_inbox_loses_and_counts() {
        let inbox = Inbox::new();
        for _ in 0..Inbox::PACKET_BYTES_MAX / 1_024 + 3 {
            inbox.push_packet(vec![0; 1_024]);
        }
        for _ in 0..Inbox::FRAMES_MAX + 2 {
            inbox.push_frame(vec![0; 60]);
        }
        let (mut packets, mut frames) = (VecDeque::new(), Batch::new(4, 256));
        let mut for_mesh = Batch::new(1, 256);
        let mut stats = ForwardStats::new();
        inbox.take(&mut packets, &mut frames, &mut for_mesh, &mut stats);
        assert_eq!(stats.drops(DropReason::InboxFull), 5);
    }
    #[test]
    fn an_announcement_goes_to_the_port_and_to_the_mesh() {
        let inbox = Inbox::new();
        inbox.push_announcement(vec![5; 60]);
        inbox.push_announcement(vec![6; 60]);
        let (mut packets, mut frames) = (VecDeque::new(), Batch::new(4, 256));
        let mut for_mesh = Batch::new(1, 256);
        let mut stats = ForwardStats::new();
        for wanted in [[5; 60], [6; 60]] {
            assert!(!inbox.is_empty());
            inbox.take(&mut packets, &mut frames, &mut for_mesh, &mut stats);
            for batch in [&mut frames, &mut for_mesh] {
                assert_eq!(batch.len(), 1);
                assert_eq!(batch.front().unwrap().0, wanted);
                batch.clear();
            }
        }
        assert!(inbox.is_empty());
        assert_eq!(stats.drops_total(), 0);
    }
}
