use proptest::prelude::*;
use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::{
    IpAddress, Ipv4Address, Ipv4Packet, Ipv6Address, TcpControl, TcpPacket, TcpRepr, TcpSeqNumber,
    UdpPacket, UdpRepr,
};

use super::super::checksum::{finish, fold, sum};
use super::*;
use crate::{PartialChecksum, Segments};

const SOURCE4: Ipv4Address = Ipv4Address::new(10, 32, 0, 1);
const DESTINATION4: Ipv4Address = Ipv4Address::new(10, 32, 0, 2);
const SOURCE6: Ipv6Address = Ipv6Address::new(0xfd00, 0, 0, 0, 0, 0, 0, 1);
const DESTINATION6: Ipv6Address = Ipv6Address::new(0xfd00, 0, 0, 0, 0, 0, 0, 2);

/// What a frame is made of.
#[derive(Debug, Clone, Copy)]
pub(in crate::forward) struct Shape {
    pub(in crate::forward) ipv6: bool,
    pub(in crate::forward) udp: bool,
    pub(in crate::forward) vlan: bool,
}

impl Shape {
    fn addresses(self) -> (IpAddress, IpAddress) {
        if self.ipv6 {
            (SOURCE6.into(), DESTINATION6.into())
        } else {
            (SOURCE4.into(), DESTINATION4.into())
        }
    }

    pub(in crate::forward) fn network(self) -> usize {
        if self.vlan { 18 } else { 14 }
    }

    pub(in crate::forward) fn transport(self) -> usize {
        self.network() + if self.ipv6 { 40 } else { 20 }
    }

    /// A frame with every field right, built field by field.
    pub(in crate::forward) fn frame(
        self,
        id: u16,
        sequence: u32,
        flags: u8,
        payload: &[u8],
    ) -> Vec<u8> {
        let (source, destination) = self.addresses();
        let transport = if self.udp {
            let repr = UdpRepr {
                src_port: 5000,
                dst_port: 5001,
            };
            let mut bytes = vec![0; 8 + payload.len()];
            repr.emit(
                &mut UdpPacket::new_unchecked(&mut bytes),
                &source,
                &destination,
                payload.len(),
                |out| out.copy_from_slice(payload),
                &ChecksumCapabilities::default(),
            );
            bytes
        } else {
            let repr = TcpRepr {
                src_port: 5000,
                dst_port: 5001,
                control: TcpControl::None,
                seq_number: TcpSeqNumber(sequence as i32),
                ack_number: Some(TcpSeqNumber(77)),
                window_len: 1000,
                window_scale: None,
                max_seg_size: None,
                sack_permitted: false,
                sack_ranges: [None; 3],
                timestamp: None,
                payload,
            };
            let mut bytes = vec![0; repr.buffer_len()];
            let mut packet = TcpPacket::new_unchecked(&mut bytes);
            repr.emit(
                &mut packet,
                &source,
                &destination,
                &ChecksumCapabilities::default(),
            );
            bytes[13] = flags;
            TcpPacket::new_unchecked(&mut bytes).fill_checksum(&source, &destination);
            bytes
        };
        let mut frame = vec![2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1];
        if self.vlan {
            frame.extend_from_slice(&[0x81, 0, 0, 9]);
        }
        let protocol = if self.udp { 17 } else { 6 };
        let length = transport.len();
        if self.ipv6 {
            frame.extend_from_slice(&[
                0x86,
                0xDD,
                0x60,
                0,
                0,
                0,
                (length >> 8) as u8,
                length as u8,
                protocol,
                64,
            ]);
            frame.extend_from_slice(&SOURCE6.octets());
            frame.extend_from_slice(&DESTINATION6.octets());
        } else {
            let total = (length + 20) as u16;
            let mut header = vec![0x45, 0];
            header.extend_from_slice(&total.to_be_bytes());
            header.extend_from_slice(&id.to_be_bytes());
            header.extend_from_slice(&[0x40, 0, 64, protocol, 0, 0]);
            header.extend_from_slice(&SOURCE4.octets());
            header.extend_from_slice(&DESTINATION4.octets());
            Ipv4Packet::new_unchecked(&mut header[..]).fill_checksum();
            frame.extend_from_slice(&[8, 0]);
            frame.extend(header);
        }
        frame.extend(transport);
        frame
    }

    /// The same with its checksum left open: the pseudo-header's sum in its place, as the kernel gives frames.
    pub(in crate::forward) fn open(self, mut frame: Vec<u8>) -> Vec<u8> {
        let transport = self.transport();
        let field = transport + if self.udp { 6 } else { 16 };
        let addresses = if self.ipv6 {
            sum(&frame[transport - 32..transport])
        } else {
            sum(&frame[transport - 8..transport])
        };
        let protocol = if self.udp { 17 } else { 6 };
        let pseudo = fold(addresses + protocol + (frame.len() - transport) as u64);
        frame[field..field + 2].copy_from_slice(&pseudo.to_be_bytes());
        frame
    }

    fn offload(self, payload_bytes: u16) -> Offload {
        let kind = match (self.udp, self.ipv6) {
            (true, _) => SegmentKind::Udp,
            (false, false) => SegmentKind::Tcp4,
            (false, true) => SegmentKind::Tcp6,
        };
        Offload {
            checksum: Some(self.partial()),
            segments: Some(Segments {
                kind,
                payload_bytes,
            }),
        }
    }

    pub(in crate::forward) fn partial(self) -> PartialChecksum {
        PartialChecksum {
            start: self.transport() as u16,
            offset: if self.udp { 6 } else { 16 },
        }
    }
}

proptest! {
    #[test]
    fn segments_are_the_frames_that_would_have_been_built_one_by_one(
        (ipv6, udp, vlan) in any::<(bool, bool, bool)>(),
        size in 1usize..200,
        total in 1usize..1500,
        id in any::<u16>(),
        sequence in any::<u32>(),
        flags in any::<u8>(),
    ) {
        let shape = Shape { ipv6, udp, vlan };
        let payload: Vec<u8> = (0..total).map(|at| (at * 7) as u8).collect();
        let super_frame = shape.open(shape.frame(id, sequence, flags, &payload));
        let count = total.div_ceil(size);
        let cut = Cut::new(&super_frame, &shape.offload(size as u16));
        if count > Cut::SEGMENTS_MAX {
            prop_assert_eq!(cut, Err(BadSuperFrame));
            return Ok(());
        }
        let Some(cut) = cut.unwrap() else {
            prop_assert!(count < 2);
            return Ok(());
        };
        prop_assert_eq!(cut.count(), count);
        for (index, part) in payload.chunks(size).enumerate() {
            let mut expected_flags = flags;
            if index + 1 < count {
                expected_flags &= !0x09;
            }
            if index > 0 {
                expected_flags &= !0x80;
            }
            let expected = shape.frame(
                id.wrapping_add(index as u16),
                sequence.wrapping_add((index * size) as u32),
                expected_flags,
                part,
            );
            let mut segment = vec![0xEE; cut.frame_bytes(index)];
            cut.write(&super_frame, index, &mut segment);
            // As it goes out: the checksum still open, which a capture shows as the pseudo-header's sum.
            prop_assert_eq!(fold(sum(&segment)), fold(sum(&shape.open(expected.clone()))));
            prop_assert!(finish(&mut segment, shape.partial()));
            let transport = shape.transport();
            let (source, destination) = shape.addresses();
            if udp {
                prop_assert!(UdpPacket::new_unchecked(&segment[transport..]).verify_checksum(&source, &destination));
            } else {
                prop_assert!(TcpPacket::new_unchecked(&segment[transport..]).verify_checksum(&source, &destination));
            }
            prop_assert_eq!(segment, expected);
        }
    }

    #[test]
    fn anything_that_is_called_a_super_frame_is_cut_or_refused(
        (ipv6, udp) in any::<(bool, bool)>(),
        length in 0usize..200,
        flips in proptest::collection::vec((0usize..200, any::<u8>()), 0..6),
        start in 0u16..80,
        size in any::<u16>(),
        honest in any::<bool>(),
    ) {
        let shape = Shape { ipv6, udp, vlan: false };
        let mut frame = shape.frame(1, 2, 3, &[0x42; 100]);
        frame.truncate(length);
        for (at, value) in flips {
            if let Some(byte) = frame.get_mut(at) {
                *byte = value;
            }
        }
        let mut offload = shape.offload(size % 64);
        if !honest {
            offload.checksum = Some(PartialChecksum { start, offset: if udp { 6 } else { 16 } });
        }
        if let Ok(Some(cut)) = Cut::new(&frame, &offload) {
            let mut bytes = 0;
            for index in 0..cut.count() {
                let mut segment = vec![0; cut.frame_bytes(index)];
                cut.write(&frame, index, &mut segment);
                bytes += segment.len() - cut.header;
            }
            prop_assert_eq!(bytes, frame.len() - cut.header);
        }
    }
}

#[test]
fn metadata_that_contradict_the_frame_are_refused() {
    let shape = Shape {
        ipv6: false,
        udp: false,
        vlan: false,
    };
    let frame = shape.open(shape.frame(1, 2, 0x10, &[1; 300]));
    let good = shape.offload(100);
    assert!(matches!(Cut::new(&frame, &good), Ok(Some(cut)) if cut.count() == 3));
    let without = Offload {
        checksum: None,
        ..good
    };
    assert_eq!(Cut::new(&frame, &without), Err(BadSuperFrame));
    for kind in [SegmentKind::Tcp6, SegmentKind::Udp] {
        let segments = Some(Segments {
            kind,
            payload_bytes: 100,
        });
        assert_eq!(
            Cut::new(&frame, &Offload { segments, ..good }),
            Err(BadSuperFrame)
        );
    }
    assert_eq!(Cut::new(&frame, &shape.offload(0)), Err(BadSuperFrame));
    assert_eq!(Cut::new(&frame[..40], &good), Err(BadSuperFrame));
    assert_eq!(
        Cut::new(&frame, &shape.offload(300)),
        Ok(None),
        "one segment is a plain frame"
    );
    assert_eq!(Cut::new(&frame, &Offload::default()), Ok(None));
}
