//! Packets that wait for a stream: few and young, for a stream that falls behind must not make frames late.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Most bytes of packets that wait for one stream: 50 ms at 10 Mb/s, below which TCP inside of TCP is no use anyway.
pub const PACKET_QUEUE_BYTES_MAX: usize = 64 * 1024;
/// A packet that waited longer is worth nothing any more: whoever sent it sends again soon.
pub const PACKET_QUEUE_AGE_MAX: Duration = Duration::from_millis(50);

/// Sealed packets on their way to one stream, the oldest first. Full, it drops the oldest.
///
/// ```
/// use std::time::{Duration, Instant};
/// use weave_mesh::PacketQueue;
/// # #[allow(clippy::disallowed_methods)]
/// let now = Instant::now();
/// let mut queue = PacketQueue::default();
/// queue.push(now, vec![1; 100]);
/// queue.push(now + Duration::from_millis(40), vec![2; 100]);
/// let later = now + Duration::from_millis(60);
/// assert_eq!(queue.pop(later).map(|(_, packet)| packet[0]), Some(2));
/// assert_eq!((queue.pop(later), queue.dropped()), (None, 1));
/// ```
#[derive(Debug, Default)]
pub struct PacketQueue {
    packets: VecDeque<(Instant, Vec<u8>)>,
    bytes: usize,
    dropped: u64,
}

impl PacketQueue {
    /// Adds a packet that was made at `at`. Costs the oldest ones what room it needs; one longer than
    /// [`PACKET_QUEUE_BYTES_MAX`] is itself dropped.
    pub fn push(&mut self, at: Instant, packet: Vec<u8>) {
        if packet.len() > PACKET_QUEUE_BYTES_MAX {
            self.dropped += 1;
            return;
        }
        self.bytes += packet.len();
        self.packets.push_back((at, packet));
        while self.bytes > PACKET_QUEUE_BYTES_MAX && self.take().is_some() {
            self.dropped += 1;
        }
    }

    /// The oldest packet that is not too old, and when it was made.
    pub fn pop(&mut self, now: Instant) -> Option<(Instant, Vec<u8>)> {
        loop {
            let (at, packet) = self.take()?;
            if now.saturating_duration_since(at) <= PACKET_QUEUE_AGE_MAX {
                return Some((at, packet));
            }
            self.dropped += 1;
        }
    }

    /// Drops all that wait, and says how many those were.
    pub fn clear(&mut self) -> u64 {
        let count = self.packets.len() as u64;
        self.dropped += count;
        self.packets.clear();
        self.bytes = 0;
        count
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.packets.is_empty()
    }

    /// Packets dropped so far, since there was no room or they were too old.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    /// The oldest packet, however old it is.
    pub fn take(&mut self) -> Option<(Instant, Vec<u8>)> {
        let oldest = self.packets.pop_front()?;
        self.bytes -= oldest.1.len();
        Some(oldest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mesh::tests_base;

    #[test]
    fn the_oldest_make_room() {
        let now = tests_base();
        let mut queue = PacketQueue::default();
        for number in 0..70 {
            queue.push(now, vec![number; 1024]);
        }
        assert_eq!(queue.dropped(), 6);
        let order: Vec<u8> = std::iter::from_fn(|| queue.pop(now))
            .map(|(_, packet)| packet[0])
            .collect();
        assert_eq!(order, (6..70).collect::<Vec<u8>>());
        assert_eq!((queue.bytes, queue.dropped()), (0, 6));
    }

    #[test]
    fn what_can_never_fit_costs_nobody_else_anything() {
        let now = tests_base();
        let mut queue = PacketQueue::default();
        queue.push(now, vec![1; 10]);
        queue.push(now, vec![2; PACKET_QUEUE_BYTES_MAX + 1]);
        assert_eq!(queue.dropped(), 1);
        assert_eq!(queue.pop(now), Some((now, vec![1; 10])));
        queue.push(now, vec![3; 10]);
        assert_eq!(queue.clear(), 1);
        assert_eq!(
            (queue.is_empty(), queue.bytes, queue.dropped()),
            (true, 0, 2)
        );
    }
}
