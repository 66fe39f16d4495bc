//! Beacons: pings whose MAC addresses are known, made and read without a protocol stack.

use std::net::Ipv4Addr;

use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::{
    EthernetAddress, EthernetFrame, EthernetProtocol, EthernetRepr, Icmpv4Packet, Icmpv4Repr,
    IpProtocol, Ipv4Packet, Ipv4Repr,
};

use super::{Host, MARKER, allow_fragments};

/// What a beacon says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Beacon {
    /// Who asks: index of the host.
    pub(crate) from: u16,
    /// Who answers.
    pub(crate) to: u16,
    /// Counts the beacons of this pair.
    pub(crate) sequence: u32,
    /// It is the answer.
    pub(crate) answer: bool,
}

/// Marker, from, to, sequence.
const DATA_BYTES: usize = 16 + 2 + 2 + 4;
/// Data that fills a container's MTU: less the headers of IPv4 and ICMP.
const LARGE_DATA_BYTES: usize = Host::MTU_BYTES - 20 - 8;
/// Of so many beacons of a pair one is large.
const LARGE_EACH: u32 = 4;
const IDENT: u16 = 0xbeac;

impl Beacon {
    /// It is as large as a frame may be, so that path MTUs matter to it.
    pub(crate) fn is_large(self) -> bool {
        self.sequence.is_multiple_of(LARGE_EACH)
    }

    /// As a frame from one pair of addresses to another.
    pub(crate) fn emit(
        self,
        from: (EthernetAddress, Ipv4Addr),
        to: (EthernetAddress, Ipv4Addr),
    ) -> Vec<u8> {
        let mut data = [0; LARGE_DATA_BYTES];
        for chunk in data.chunks_mut(16) {
            chunk.copy_from_slice(&MARKER[..chunk.len()]);
        }
        data[16..18].copy_from_slice(&self.from.to_be_bytes());
        data[18..20].copy_from_slice(&self.to.to_be_bytes());
        data[20..24].copy_from_slice(&self.sequence.to_be_bytes());
        let data = if self.is_large() {
            &data[..]
        } else {
            &data[..DATA_BYTES]
        };
        let seq_no = self.sequence as u16;
        let icmp = if self.answer {
            Icmpv4Repr::EchoReply {
                ident: IDENT,
                seq_no,
                data,
            }
        } else {
            Icmpv4Repr::EchoRequest {
                ident: IDENT,
                seq_no,
                data,
            }
        };
        let ip = Ipv4Repr {
            src_addr: from.1,
            dst_addr: to.1,
            next_header: IpProtocol::Icmp,
            payload_len: icmp.buffer_len(),
            hop_limit: 64,
        };
        let ethernet = EthernetRepr {
            src_addr: from.0,
            dst_addr: to.0,
            ethertype: EthernetProtocol::Ipv4,
        };
        let checksums = ChecksumCapabilities::default();
        let mut bytes = vec![0; ethernet.buffer_len() + ip.buffer_len() + icmp.buffer_len()];
        let mut frame = EthernetFrame::new_unchecked(&mut bytes[..]);
        ethernet.emit(&mut frame);
        let mut packet = Ipv4Packet::new_unchecked(frame.payload_mut());
        ip.emit(&mut packet, &checksums);
        icmp.emit(
            &mut Icmpv4Packet::new_unchecked(packet.payload_mut()),
            &checksums,
        );
        allow_fragments(&mut bytes);
        bytes
    }

    /// Reads a frame; none where it is no beacon.
    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        let frame = EthernetFrame::new_checked(bytes).ok()?;
        if frame.ethertype() != EthernetProtocol::Ipv4 {
            return None;
        }
        let packet = Ipv4Packet::new_checked(frame.payload()).ok()?;
        if packet.next_header() != IpProtocol::Icmp {
            return None;
        }
        let icmp = Icmpv4Packet::new_checked(packet.payload()).ok()?;
        let message = Icmpv4Repr::parse(&icmp, &ChecksumCapabilities::default()).ok()?;
        let (answer, data) = if let Icmpv4Repr::EchoRequest {
            ident: IDENT, data, ..
        } = message
        {
            (false, data)
        } else if let Icmpv4Repr::EchoReply {
            ident: IDENT, data, ..
        } = message
        {
            (true, data)
        } else {
            return None;
        };
        let (head, _) = data.split_first_chunk::<DATA_BYTES>()?;
        if head[..16] != MARKER {
            return None;
        }
        let beacon = Self {
            from: u16::from_be_bytes([head[16], head[17]]),
            to: u16::from_be_bytes([head[18], head[19]]),
            sequence: u32::from_be_bytes([head[20], head[21], head[22], head[23]]),
            answer,
        };
        let length = if beacon.is_large() {
            LARGE_DATA_BYTES
        } else {
            DATA_BYTES
        };
        (data.len() == length).then_some(beacon)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_beacon_is_read_back_and_nothing_else_is_one() {
        let beacon = Beacon {
            from: 3,
            to: 9,
            sequence: 70_000,
            answer: false,
        };
        let a = (
            EthernetAddress([2, 0, 0, 0, 0, 1]),
            Ipv4Addr::new(10, 0, 0, 1),
        );
        let b = (
            EthernetAddress([2, 0, 0, 0, 0, 2]),
            Ipv4Addr::new(10, 0, 0, 2),
        );
        let frame = beacon.emit(a, b);
        assert_eq!(Beacon::parse(&frame), Some(beacon));
        let answer = Beacon {
            answer: true,
            ..beacon
        };
        assert_eq!(Beacon::parse(&answer.emit(b, a)), Some(answer));
        for end in 0..frame.len() {
            assert_eq!(Beacon::parse(&frame[..end]), None);
        }
        for at in 12..frame.len() * 8 {
            let mut changed = frame.clone();
            changed[at / 8] ^= 1 << (at % 8);
            let _ = Beacon::parse(&changed);
        }
    }
}
