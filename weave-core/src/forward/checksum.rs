//! The Internet checksum (RFC 1071), and the one function that finishes what a port left to be computed.

use crate::PartialChecksum;

/// Where UDP's checksum field stands in its header.
const UDP_OFFSET: u16 = 6;

/// Computes the checksum that `frame` leaves open, over all bytes from its start, the pseudo-header's sum
/// (already in the field) included. Says whether the field lies within the frame; nothing changes if not.
#[must_use]
pub(super) fn finish(frame: &mut [u8], partial: PartialChecksum) -> bool {
    let start = usize::from(partial.start);
    let field = start + usize::from(partial.offset);
    if field + 2 > frame.len() {
        return false;
    }
    // RFC 768: over UDP a computed zero is sent as all ones, since zero says "none". TCP knows no such rule:
    // its segments are to be those that the sender's own stack would have made.
    let sum = match !fold(sum(&frame[start..])) {
        0 if partial.offset == UDP_OFFSET => 0xffff,
        sum => sum,
    };
    frame[field..field + 2].copy_from_slice(&sum.to_be_bytes());
    true
}

/// Computes an IPv4 header's checksum in place.
pub(super) fn finish_ipv4(header: &mut [u8]) {
    header[10..12].fill(0);
    let sum = !fold(sum(header));
    header[10..12].copy_from_slice(&sum.to_be_bytes());
}

/// The sum of 16-bit words, not folded: 64 bits hold that of 2^48 words.
pub(super) fn sum(bytes: &[u8]) -> u64 {
    let mut words = bytes.chunks_exact(4);
    // Halves of a 32-bit word carry into each other in the fold, which is the same modulo 2^16 - 1.
    let mut total: u64 = words
        .by_ref()
        .map(|word| u64::from(u32::from_be_bytes([word[0], word[1], word[2], word[3]])))
        .sum();
    for pair in words.remainder().chunks(2) {
        total += u64::from(u16::from_be_bytes([
            pair[0],
            pair.get(1).copied().unwrap_or(0),
        ]));
    }
    total
}

/// Folds a sum into 16 bits, one's complement.
pub(super) fn fold(mut sum: u64) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// RFC 1071 section 4.1, word by word.
    fn naive(bytes: &[u8]) -> u16 {
        let mut sum = 0u32;
        for pair in bytes.chunks(2) {
            sum += u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0));
            sum = (sum & 0xffff) + (sum >> 16);
        }
        sum as u16
    }

    #[test]
    fn the_example_of_rfc_1071_comes_out() {
        let bytes = [0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7];
        assert_eq!(fold(sum(&bytes)), 0xddf2);
    }

    #[test]
    fn a_field_outside_of_the_frame_is_refused() {
        let mut frame = [0u8; 40];
        let partial = PartialChecksum {
            start: 34,
            offset: 6,
        };
        assert!(!finish(&mut frame, partial));
        assert!(!finish(
            &mut frame,
            PartialChecksum {
                start: u16::MAX,
                offset: u16::MAX
            }
        ));
        assert!(finish(
            &mut frame,
            PartialChecksum {
                start: 32,
                offset: 6
            }
        ));
        assert_eq!(frame[38..], [0xff, 0xff], "zero is sent as all ones");
    }

    proptest! {
        #[test]
        fn sums_are_those_of_the_plain_rule(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            prop_assert_eq!(fold(sum(&bytes)), naive(&bytes));
        }
    }
}
