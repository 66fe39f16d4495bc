//! The fingerprint of a run: equal traces mean that the same things happened in the same order.

use std::time::Duration;

/// A hash over every event that a world delivered: what, when, where, and all bytes.
///
/// It is a fingerprint, not a cryptographic hash: FNV-1a's step over words of eight bytes with a final mix,
/// since it sees every byte of every datagram.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Trace {
    hash: u64,
    events: u64,
}

/// What kind of event was delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum TraceKind {
    /// A datagram reached a router.
    Datagram = 1,
    /// A stream was opened at one end.
    Opened = 2,
    /// Bytes of a stream arrived.
    Bytes = 3,
    /// A stream ended at one end.
    Closed = 4,
    /// A router's timer went off.
    Timer = 5,
    /// A frame left a container.
    FrameSent = 6,
    /// A frame reached a container.
    FrameDelivered = 7,
    /// A fault was injected.
    Fault = 8,
}

impl Trace {
    /// Nothing happened yet.
    pub(super) fn new() -> Self {
        Self {
            hash: 0xcbf2_9ce4_8422_2325,
            events: 0,
        }
    }

    /// Adds one event.
    pub(super) fn record(&mut self, at: Duration, kind: TraceKind, place: usize, bytes: &[u8]) {
        self.events += 1;
        self.step(at.as_nanos() as u64);
        self.step(u64::from(kind as u8) << 56 ^ (place as u64) << 32 ^ bytes.len() as u64);
        let (words, rest) = bytes.as_chunks::<8>();
        for word in words {
            self.step(u64::from_le_bytes(*word));
        }
        let mut last = [0; 8];
        last[..rest.len()].copy_from_slice(rest);
        self.step(u64::from_le_bytes(last));
    }

    /// The fingerprint so far.
    pub(super) fn hash(&self) -> u64 {
        let mixed = (self.hash ^ self.hash >> 32).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        mixed ^ mixed >> 29
    }

    /// Events so far.
    pub(super) fn events(&self) -> u64 {
        self.events
    }

    fn step(&mut self, word: u64) {
        self.hash = (self.hash ^ word)
            .wrapping_mul(0x0000_0100_0000_01b3)
            .rotate_left(23);
    }
}

/// A fingerprint of bytes alone.
pub(super) fn fingerprint(bytes: &[u8]) -> u64 {
    let mut trace = Trace::new();
    trace.record(Duration::ZERO, TraceKind::FrameSent, 0, bytes);
    trace.hash()
}

impl Default for Trace {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_time_place_and_bytes_all_count() {
        let hash = |events: &[(u64, TraceKind, usize, &[u8])]| {
            let mut trace = Trace::new();
            for (at, kind, place, bytes) in events {
                trace.record(Duration::from_nanos(*at), *kind, *place, bytes);
            }
            trace.hash()
        };
        let a = (1, TraceKind::Datagram, 0, &b"one datagram"[..]);
        let b = (1, TraceKind::Datagram, 0, &b"one datagraM"[..]);
        assert_eq!(hash(&[a, b]), hash(&[a, b]));
        assert_ne!(hash(&[a, b]), hash(&[b, a]));
        assert_ne!(hash(&[a]), hash(&[(2, a.1, a.2, a.3)]));
        assert_ne!(hash(&[a]), hash(&[(a.0, TraceKind::Bytes, a.2, a.3)]));
        assert_ne!(hash(&[a]), hash(&[(a.0, a.1, 1, a.3)]));
        assert_ne!(hash(&[(1, a.1, 0, b"ab")]), hash(&[(1, a.1, 0, b"ab\0")]));
    }
}
