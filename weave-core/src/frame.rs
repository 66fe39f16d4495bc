//! What the switch has to know of an Ethernet frame: its addresses, and a little of the IP packet inside.
//!
//! Field positions are smoltcp's; on top of them stand the few questions that forwarding asks. Nothing here
//! believes a length: whatever a frame is too short for is answered with "no".

use smoltcp::wire::{
    ArpPacket, EthernetAddress, EthernetFrame, EthernetProtocol, IpProtocol, Ipv4Packet, Ipv6Packet,
};

use crate::Ecn;
use crate::packet::ETHERNET_HEADER_BYTES;

/// A frame that is at least an Ethernet header long.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FrameView<'a> {
    bytes: &'a [u8],
}

impl<'a> FrameView<'a> {
    /// None when `bytes` are too short for an Ethernet header.
    pub(crate) fn new_checked(bytes: &'a [u8]) -> Option<Self> {
        EthernetFrame::new_checked(bytes).ok()?;
        Some(Self { bytes })
    }

    pub(crate) fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    pub(crate) fn destination(&self) -> EthernetAddress {
        EthernetAddress::from_bytes(&self.bytes[..6])
    }

    pub(crate) fn source(&self) -> EthernetAddress {
        EthernetAddress::from_bytes(&self.bytes[6..12])
    }

    /// The protocol behind up to two VLAN tags (IEEE 802.1Q and 802.1ad), and where it begins.
    pub(crate) fn payload(&self) -> Option<(EthernetProtocol, usize)> {
        let mut at = ETHERNET_HEADER_BYTES;
        for _ in 0..=VLAN_TAGS_MAX {
            let kind = u16::from_be_bytes([*self.bytes.get(at - 2)?, *self.bytes.get(at - 1)?]);
            if !matches!(kind, 0x8100 | 0x88A8) {
                return Some((EthernetProtocol::from(kind), at));
            }
            at += 4;
        }
        None
    }

    /// The IP packet's ECN field, where the frame holds an IP packet.
    pub(crate) fn ecn(&self) -> Option<Ecn> {
        let (protocol, at) = self.payload()?;
        let bytes = &self.bytes[at..];
        match protocol {
            EthernetProtocol::Ipv4 => (bytes.len() >= IPV4_BYTES).then(|| Ecn::from_bits(bytes[1])),
            EthernetProtocol::Ipv6 => {
                (bytes.len() >= IPV6_BYTES).then(|| Ecn::from_bits(bytes[1] >> 4))
            }
            EthernetProtocol::Arp | EthernetProtocol::Unknown(_) => None,
        }
    }

    /// The transport protocol and where its header begins; none for fragments, whose
    /// checksum covers bytes that are elsewhere.
    pub(crate) fn transport(&self) -> Option<(IpProtocol, usize)> {
        let (protocol, at) = self.payload()?;
        let bytes = &self.bytes[at..];
        match protocol {
            EthernetProtocol::Ipv4 => {
                let packet = Ipv4Packet::new_unchecked(bytes);
                if bytes.len() < IPV4_BYTES || packet.version() != 4 {
                    return None;
                }
                let header = usize::from(packet.header_len());
                let fragment = packet.more_frags() || packet.frag_offset() != 0;
                (header >= IPV4_BYTES && header <= bytes.len() && !fragment)
                    .then(|| (packet.next_header(), at + header))
            }
            EthernetProtocol::Ipv6 => {
                if bytes.len() < IPV6_BYTES {
                    return None;
                }
                let packet = Ipv6Packet::new_unchecked(bytes);
                if packet.version() != 6 {
                    return None;
                }
                let mut next = packet.next_header();
                let mut header = IPV6_BYTES;
                for _ in 0..IPV6_EXTENSIONS_MAX {
                    if next == IpProtocol::Ipv6Frag {
                        return None;
                    }
                    if !matches!(
                        next,
                        IpProtocol::HopByHop | IpProtocol::Ipv6Route | IpProtocol::Ipv6Opts
                    ) {
                        return (header <= bytes.len()).then_some((next, at + header));
                    }
                    let extension = bytes.get(header..header + 2)?;
                    next = IpProtocol::from(extension[0]);
                    header += (usize::from(extension[1]) + 1) * 8;
                }
                None
            }
            EthernetProtocol::Arp | EthernetProtocol::Unknown(_) => None,
        }
    }

    /// Whether the frame asks or tells where an address lives (ARP, IPv6 neighbour discovery): without these
    /// nothing else works, so they have a budget of their own.
    pub(crate) fn is_discovery(&self) -> bool {
        let Some((protocol, at)) = self.payload() else {
            return false;
        };
        match protocol {
            EthernetProtocol::Arp => ArpPacket::new_checked(&self.bytes[at..]).is_ok(),
            EthernetProtocol::Ipv6 => {
                // RFC 4861 section 4: router and neighbour solicitations and advertisements, redirects.
                self.transport().is_some_and(|(protocol, at)| {
                    protocol == IpProtocol::Icmpv6
                        && self
                            .bytes
                            .get(at)
                            .is_some_and(|kind| (133..=137).contains(kind))
                })
            }
            EthernetProtocol::Ipv4 | EthernetProtocol::Unknown(_) => false,
        }
    }

    /// Whether a UDP header at `at` is DHCP's (ports 67, 68) or DHCPv6's (546, 547). Old clients read those from
    /// raw sockets and drop what has no checksum yet.
    pub(crate) fn is_dhcp(&self, at: usize) -> bool {
        self.bytes.get(at..at + 4).is_some_and(|ports| {
            let source = u16::from_be_bytes([ports[0], ports[1]]);
            let destination = u16::from_be_bytes([ports[2], ports[3]]);
            [source, destination]
                .iter()
                .any(|port| matches!(port, 67 | 68 | 546 | 547))
        })
    }
}

/// Whether a bridge keeps frames to this address to itself: 01:80:C2:00:00:0x (IEEE 802.1Q table 8-1).
pub(crate) fn is_link_local(mac: EthernetAddress) -> bool {
    mac.0[..5] == [0x01, 0x80, 0xC2, 0, 0] && mac.0[5] < 0x10
}

/// What became of a frame whose packet had congestion marked on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EcnOut {
    /// The frame may go on, changed where it had to be.
    Pass,
    /// The mark can't be handed on: the frame must be dropped, which is the older way to say the same.
    Drop,
}

/// Hands the outer ECN field on to the frame.
//= https://www.rfc-editor.org/rfc/rfc6040#section-4.2
//# If the inner ECN field is Not-ECT, the decapsulator MUST NOT
//# propagate any other ECN codepoint onwards.
pub(crate) fn decapsulate_ecn(frame: &mut [u8], outer: Ecn) -> EcnOut {
    let Some(inner) = FrameView::new_checked(frame).and_then(|view| view.ecn()) else {
        return EcnOut::Pass;
    };
    match (inner, outer) {
        (Ecn::NotEct, Ecn::Ce) => EcnOut::Drop,
        (Ecn::Ect0 | Ecn::Ect1, Ecn::Ce) => {
            set_ecn(frame, Ecn::Ce);
            EcnOut::Pass
        }
        (Ecn::Ect0, Ecn::Ect1) => {
            set_ecn(frame, Ecn::Ect1);
            EcnOut::Pass
        }
        (Ecn::NotEct | Ecn::Ect0 | Ecn::Ect1 | Ecn::Ce, _) => EcnOut::Pass,
    }
}

/// Writes the ECN field of the IP packet in the frame, which is known to hold one, and mends its checksum.
fn set_ecn(frame: &mut [u8], ecn: Ecn) {
    let Some((protocol, at)) = FrameView { bytes: frame }.payload() else {
        return;
    };
    let bytes = &mut frame[at..];
    if protocol == EthernetProtocol::Ipv6 {
        bytes[1] = bytes[1] & !0x30 | (ecn as u8) << 4;
        return;
    }
    let old = u16::from_be_bytes([bytes[0], bytes[1]]);
    bytes[1] = bytes[1] & !0b11 | ecn as u8;
    let new = u16::from_be_bytes([bytes[0], bytes[1]]);
    // RFC 1624 section 3: HC' = ~(~HC + ~m + m').
    let field = u16::from_be_bytes([bytes[10], bytes[11]]);
    let sum = u32::from(!field) + u32::from(!old) + u32::from(new);
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = (sum & 0xffff) + (sum >> 16);
    bytes[10..12].copy_from_slice(&(!(sum as u16)).to_be_bytes());
}

/// VLAN tags that are looked behind: a customer's and a provider's.
const VLAN_TAGS_MAX: usize = 2;
/// Bytes of an IPv4 header without options.
const IPV4_BYTES: usize = 20;
/// Bytes of an IPv6 header.
const IPV6_BYTES: usize = 40;
/// IPv6 extension headers that are looked behind: each of RFC 8200 section 4.1 that may stand there, once.
const IPV6_EXTENSIONS_MAX: usize = 5;

#[cfg(test)]
mod tests;
