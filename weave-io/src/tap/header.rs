//! `struct virtio_net_hdr`: what a TAP device says of a frame beside its bytes.
//!
//! ```text
//!   0 flags | 1 gso_type | 2 hdr_len, 2 | 4 gso_size, 2 | 6 csum_start, 2 | 8 csum_offset, 2      native order
//! ```

use weave_core::{FrameCaps, Offload, PartialChecksum, SegmentKind, Segments};

pub(super) const HEADER_BYTES: usize = 10;

/// The header's fields as they stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct VnetHeader {
    pub(super) flags: u8,
    pub(super) gso_type: u8,
    /// A hint on the way in, never used; on the way out the bytes of all headers.
    pub(super) header_bytes: u16,
    pub(super) segment_bytes: u16,
    pub(super) checksum_start: u16,
    pub(super) checksum_offset: u16,
}

impl VnetHeader {
    pub(super) fn from_bytes(bytes: [u8; HEADER_BYTES]) -> Self {
        let field = |at: usize| u16::from_ne_bytes([bytes[at], bytes[at + 1]]);
        Self {
            flags: bytes[0],
            gso_type: bytes[1],
            header_bytes: field(2),
            segment_bytes: field(4),
            checksum_start: field(6),
            checksum_offset: field(8),
        }
    }

    pub(super) fn to_bytes(self) -> [u8; HEADER_BYTES] {
        let mut bytes = [self.flags, self.gso_type, 0, 0, 0, 0, 0, 0, 0, 0];
        let fields = [
            self.header_bytes,
            self.segment_bytes,
            self.checksum_start,
            self.checksum_offset,
        ];
        for (to, field) in bytes[2..].chunks_exact_mut(2).zip(fields) {
            to.copy_from_slice(&field.to_ne_bytes());
        }
        bytes
    }

    /// What it means; none for a kind of super-frame that was not asked for, or one without a size.
    pub(super) fn offload(&self) -> Option<Offload> {
        let checksum = (self.flags & NEEDS_CHECKSUM != 0).then_some(PartialChecksum {
            start: self.checksum_start,
            offset: self.checksum_offset,
        });
        let kind = match self.gso_type & !GSO_ECN {
            GSO_NONE => {
                return Some(Offload {
                    checksum,
                    segments: None,
                });
            }
            GSO_TCP4 => SegmentKind::Tcp4,
            GSO_TCP6 => SegmentKind::Tcp6,
            GSO_UDP => SegmentKind::Udp,
            _ => return None,
        };
        if self.segment_bytes == 0 {
            return None;
        }
        Some(Offload {
            checksum,
            segments: Some(Segments {
                kind,
                payload_bytes: self.segment_bytes,
            }),
        })
    }

    /// The header for a frame to be written; none where the frame is not what its metadata says or the device
    /// cannot take it.
    ///
    /// The kernel itself refuses only some of these and forwards the others broken.
    pub(super) fn for_frame(frame: &[u8], offload: &Offload, caps: &FrameCaps) -> Option<Self> {
        if frame.len() < ETHERNET_BYTES {
            return None;
        }
        let Some(checksum) = offload.checksum else {
            let whole = offload.segments.is_none() && frame.len() <= caps.frame_bytes_max;
            return whole.then(Self::default);
        };
        let start = usize::from(checksum.start);
        let end = start + usize::from(checksum.offset) + 2;
        if !caps.checksum || start < ETHERNET_BYTES || end > frame.len() {
            return None;
        }
        let mut header = Self {
            flags: NEEDS_CHECKSUM,
            checksum_start: checksum.start,
            checksum_offset: checksum.offset,
            ..Self::default()
        };
        let Some(segments) = offload.segments else {
            return (frame.len() <= caps.frame_bytes_max).then_some(header);
        };
        let (gso_type, checksum_offset, transport_bytes) = match segments.kind {
            SegmentKind::Tcp4 => (GSO_TCP4, TCP_CHECKSUM_OFFSET, tcp_bytes(frame, start)?),
            SegmentKind::Tcp6 => (GSO_TCP6, TCP_CHECKSUM_OFFSET, tcp_bytes(frame, start)?),
            SegmentKind::Udp => (GSO_UDP, UDP_CHECKSUM_OFFSET, UDP_BYTES),
        };
        let header_bytes = start + transport_bytes;
        let payload_bytes = frame.len().checked_sub(header_bytes)?;
        let segment_bytes = usize::from(segments.payload_bytes);
        if !caps.segmentation || checksum.offset != checksum_offset || segment_bytes == 0 {
            return None;
        }
        // One segment is an ordinary frame.
        if payload_bytes <= segment_bytes {
            return (frame.len() <= caps.frame_bytes_max).then_some(header);
        }
        let is_udp = segments.kind == SegmentKind::Udp;
        if is_udp && payload_bytes.div_ceil(segment_bytes) > UDP_SEGMENTS_MAX {
            return None;
        }
        header.gso_type = gso_type;
        header.header_bytes = u16::try_from(header_bytes).ok()?;
        header.segment_bytes = segments.payload_bytes;
        Some(header)
    }
}

/// The length of the TCP header at `start`; none where it does not fit.
fn tcp_bytes(frame: &[u8], start: usize) -> Option<usize> {
    let words = frame.get(start + 12)? >> 4;
    (words >= 5).then_some(usize::from(words) * 4)
}

const NEEDS_CHECKSUM: u8 = 1;
const GSO_NONE: u8 = 0;
const GSO_TCP4: u8 = 1;
const GSO_TCP6: u8 = 4;
const GSO_UDP: u8 = 5;
/// Set beside a TCP kind when CWR is set. Segmenting handles CWR with and without it.
const GSO_ECN: u8 = 0x80;

const ETHERNET_BYTES: usize = 14;
const UDP_BYTES: usize = 8;
const TCP_CHECKSUM_OFFSET: u16 = 16;
const UDP_CHECKSUM_OFFSET: u16 = 6;
/// More are refused by the kernel (`UDP_MAX_SEGMENTS`, Linux 6.18).
const UDP_SEGMENTS_MAX: usize = 128;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_frame_has_an_empty_header() {
        let header = VnetHeader::for_frame(&[0; 60], &Offload::default(), &CAPS).unwrap();
        assert_eq!(header.to_bytes(), [0; HEADER_BYTES]);
        assert_eq!(header.offload(), Some(Offload::default()));
    }

    #[test]
    fn a_super_frame_round_trips_with_the_length_of_its_headers() {
        let offload = tcp(1366);
        let header = VnetHeader::for_frame(&tcp_frame(4000), &offload, &CAPS).unwrap();
        assert_eq!(header.header_bytes, 14 + 20 + 32);
        let back = VnetHeader::from_bytes(header.to_bytes());
        assert_eq!(back, header);
        assert_eq!(back.offload(), Some(offload));
    }

    #[test]
    fn a_super_frame_of_one_segment_is_written_plain() {
        let header = VnetHeader::for_frame(&tcp_frame(1366), &tcp(1366), &CAPS).unwrap();
        assert_eq!((header.gso_type, header.segment_bytes), (0, 0));
        assert_eq!(header.flags, NEEDS_CHECKSUM);
    }

    #[test]
    fn what_the_kernel_would_refuse_or_forward_broken_is_not_written() {
        let refused = |frame: &[u8], offload: &Offload| {
            assert_eq!(VnetHeader::for_frame(frame, offload, &CAPS), None);
        };
        let frame = tcp_frame(4000);
        refused(&[0; 13], &Offload::default());
        refused(&vec![0; CAPS.frame_bytes_max + 1], &Offload::default());
        let past_the_end = PartialChecksum {
            start: 50,
            offset: 16,
        };
        let only_checksum = |checksum| Offload {
            checksum: Some(checksum),
            segments: None,
        };
        refused(&[0; 60], &only_checksum(past_the_end));
        let in_ethernet = PartialChecksum {
            start: 0,
            offset: 6,
        };
        refused(&[0; 60], &only_checksum(in_ethernet));
        refused(&frame, &tcp(0));
        let unsummed = Offload {
            checksum: None,
            ..tcp(1366)
        };
        refused(&frame, &unsummed);
        let mut as_udp = tcp(1366);
        as_udp.segments = Some(Segments {
            kind: SegmentKind::Udp,
            payload_bytes: 1366,
        });
        refused(&frame, &as_udp);
        let mut no_tcp = frame.clone();
        no_tcp[34 + 12] = 0x40;
        refused(&no_tcp, &tcp(1366));
        let udp = Offload {
            checksum: Some(PartialChecksum {
                start: 34,
                offset: 6,
            }),
            segments: Some(Segments {
                kind: SegmentKind::Udp,
                payload_bytes: 10,
            }),
        };
        refused(&vec![0; 42 + 1290], &udp);
        assert!(VnetHeader::for_frame(&vec![0; 42 + 1280], &udp, &CAPS).is_some());
    }

    #[test]
    fn a_device_without_offloads_is_given_whole_frames_only() {
        let caps = FrameCaps {
            segmentation: false,
            checksum: false,
            ..CAPS
        };
        assert_eq!(
            VnetHeader::for_frame(&tcp_frame(1366), &tcp(1366), &caps),
            None
        );
        assert!(VnetHeader::for_frame(&[0; 60], &Offload::default(), &caps).is_some());
    }

    #[test]
    fn unknown_kinds_and_super_frames_without_size_are_not_taken() {
        for (gso_type, segment_bytes) in [(3, 1400), (2, 1400), (GSO_TCP4, 0), (0x7f, 1)] {
            let header = VnetHeader {
                gso_type,
                segment_bytes,
                ..VnetHeader::default()
            };
            assert_eq!(header.offload(), None);
        }
        let with_ecn = VnetHeader {
            gso_type: GSO_TCP4 | GSO_ECN,
            segment_bytes: 1366,
            ..VnetHeader::default()
        };
        assert!(with_ecn.offload().is_some());
    }

    const CAPS: FrameCaps = FrameCaps {
        frame_bytes_max: 9014,
        segmentation: true,
        checksum: true,
    };

    fn tcp(payload_bytes: u16) -> Offload {
        Offload {
            checksum: Some(PartialChecksum {
                start: 34,
                offset: 16,
            }),
            segments: Some(Segments {
                kind: SegmentKind::Tcp4,
                payload_bytes,
            }),
        }
    }

    /// Ethernet, IPv4 and TCP headers with 12 bytes of options, as far as the header code looks.
    fn tcp_frame(payload_bytes: usize) -> Vec<u8> {
        let mut frame = vec![0; 14 + 20 + 32 + payload_bytes];
        frame[34 + 12] = 8 << 4;
        frame
    }
}
