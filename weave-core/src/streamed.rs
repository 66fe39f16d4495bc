//! Packets for neighbours' streams, on their way from the data plane to the control plane, which has the streams.

use std::collections::BTreeMap;
use std::time::Instant;

use weave_mesh::PacketQueue;

use crate::Site;

/// Packets that wait to go down the streams of links whose UDP does not pass: for each neighbour a
/// [`PacketQueue`] of its own, so that one stream that falls behind costs the others nothing.
#[derive(Debug, Default)]
pub struct Streamed {
    queues: BTreeMap<Site, PacketQueue>,
    /// Dropped from queues that are gone.
    dropped: u64,
}

impl Streamed {
    /// Nothing waits.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a packet for the neighbour at `site`, made at `at`.
    pub fn push(&mut self, at: Instant, site: Site, packet: Vec<u8>) {
        self.queues.entry(site).or_default().push(at, packet);
    }

    /// The next packet that is not too old, with its neighbour's site and when it was made. Packets for one
    /// neighbour keep their order.
    pub fn pop(&mut self, now: Instant) -> Option<(Site, Instant, Vec<u8>)> {
        while let Some(mut queue) = self.queues.first_entry() {
            if let Some((at, packet)) = queue.get_mut().pop(now) {
                return Some((*queue.key(), at, packet));
            }
            self.dropped += queue.remove().dropped();
        }
        None
    }

    /// Adds all of another's packets, and its count of dropped ones, and leaves it empty.
    pub fn append(&mut self, other: &mut Self) {
        self.dropped += std::mem::take(&mut other.dropped);
        while let Some((site, mut queue)) = other.queues.pop_first() {
            self.dropped += queue.dropped();
            while let Some((at, packet)) = queue.take() {
                self.push(at, site, packet);
            }
        }
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.queues.is_empty()
    }

    /// Packets dropped so far, since their queue was full or they were too old.
    pub fn dropped(&self) -> u64 {
        let waiting = self.queues.values().map(PacketQueue::dropped);
        self.dropped + waiting.sum::<u64>()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use weave_mesh::PACKET_QUEUE_BYTES_MAX;

    use super::*;

    #[test]
    fn each_neighbour_has_room_of_its_own_and_nothing_is_counted_twice() {
        #[allow(clippy::disallowed_methods, reason = "a test's base instant")]
        let now = Instant::now();
        let [slow, other] = [Site(3), Site(5)];
        let (mut worker, mut shared) = (Streamed::new(), Streamed::new());
        for _ in 0..PACKET_QUEUE_BYTES_MAX / 1_024 + 2 {
            worker.push(now, slow, vec![0; 1_024]);
        }
        worker.push(now, other, vec![1; 1_024]);
        assert_eq!(worker.dropped(), 2);
        shared.append(&mut worker);
        assert!(worker.is_empty() && worker.dropped() == 0);
        worker.push(now, slow, vec![2; 1_024]);
        shared.append(&mut worker);
        assert_eq!(shared.dropped(), 3);
        let sites: Vec<Site> = std::iter::from_fn(|| shared.pop(now))
            .map(|(site, ..)| site)
            .collect();
        assert_eq!(sites.len(), PACKET_QUEUE_BYTES_MAX / 1_024 + 1);
        assert_eq!(sites.last(), Some(&other));
        shared.push(now, other, vec![3; 10]);
        assert_eq!(shared.pop(now + Duration::from_millis(51)), None);
        assert_eq!((shared.is_empty(), shared.dropped()), (true, 4));
    }
}
