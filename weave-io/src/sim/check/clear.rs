//! Nothing in clear: the marker of the containers' payloads is looked for in all that passes on the network.

use crate::sim::host::MARKER;

/// Whether bytes show eight bytes in a row of a marked payload. Payloads repeat the marker, so those eight may
/// begin anywhere in it.
pub(in crate::sim) fn shows(bytes: &[u8]) -> bool {
    // Wherever they begin, one of eight in a row stands at a multiple of eight, and is one of the marker's. Every
    // byte on the network is looked at, so most of them are not.
    (0..bytes.len()).step_by(RUN).any(|at| {
        MARKER.contains(&bytes[at]) && {
            let first = at.saturating_sub(RUN - 1);
            bytes[first..bytes.len().min(at + RUN)]
                .windows(RUN)
                .any(is_of_marker)
        }
    })
}

const RUN: usize = 8;

fn is_of_marker(window: &[u8]) -> bool {
    (0..MARKER.len()).any(|start| {
        window
            .iter()
            .enumerate()
            .all(|(at, byte)| *byte == MARKER[(start + at) % MARKER.len()])
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_marker_is_seen_wherever_it_stands() {
        let payload = MARKER.repeat(3);
        for start in 0..16 {
            let mut bytes = vec![0xa5; 40];
            bytes.extend_from_slice(&payload[start..start + 8]);
            bytes.extend_from_slice(&[0x5a; 3]);
            assert!(shows(&bytes), "cut at {start}");
        }
    }

    #[test]
    fn other_bytes_are_no_marker() {
        assert!(!shows(b""));
        assert!(!shows(b"weave-s"));
        assert!(!shows(&[0x77; 64]));
        assert!(!shows(b"weave router hello, version 1"));
    }
}
