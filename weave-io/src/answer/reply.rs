//! What the station says to a frame, out of that frame alone.
//!
//! A ping in fragments is answered fragment by fragment: an echo reply is its request with the addresses swapped
//! and another type, so each fragment of the one is a fragment of the other.

use std::net::{Ipv4Addr, Ipv6Addr};

use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::{
    ArpOperation, ArpPacket, ArpRepr, EthernetAddress, EthernetFrame, EthernetProtocol,
    Icmpv6Message, Icmpv6Packet, Icmpv6Repr, IpProtocol, Ipv4Packet, Ipv6Packet, Ipv6Repr,
    NdiscNeighborFlags, NdiscRepr, checksum,
};
use weave_core::{Buffer, Offload, PartialChecksum};

use super::{GROUP_BIT, Station};

/// Who has to hear an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Audience {
    /// The one who asked.
    Asker,
    /// All stations.
    Everybody,
}

/// Writes the answer to `frame` into `out`, which is empty; none where there is nothing to say, and then `out`
/// may hold anything.
pub(super) fn to(
    station: &Station,
    frame: &[u8],
    offload: &Offload,
    out: &mut Buffer,
) -> Option<Audience> {
    // No question is a super-frame.
    if offload.segments.is_some() {
        return None;
    }
    let frame = EthernetFrame::new_checked(frame).ok()?;
    let from = frame.src_addr();
    // An answer to a group could be answered itself, and so on; what claims to be from ourselves has come back.
    if from.0[0] & GROUP_BIT != 0 || from.0 == [0; 6] || from == station.mac {
        return None;
    }
    let question = Question {
        station,
        from,
        to_station: frame.dst_addr() == station.mac,
        payload: frame.payload(),
        checksum: offload.checksum,
    };
    match frame.ethertype() {
        EthernetProtocol::Arp => question.arp(out),
        EthernetProtocol::Ipv4 => question.ipv4(out),
        EthernetProtocol::Ipv6 => question.ipv6(out),
        EthernetProtocol::Unknown(_) => None,
    }
}

/// A frame to be answered.
struct Question<'a> {
    station: &'a Station,
    /// The MAC address of who asks.
    from: EthernetAddress,
    /// It is for the station's MAC address, not for a group.
    to_station: bool,
    payload: &'a [u8],
    /// The checksum that its sender left open.
    checksum: Option<PartialChecksum>,
}

impl Question<'_> {
    fn arp(&self, out: &mut Buffer) -> Option<Audience> {
        let packet = ArpPacket::new_checked(self.payload).ok()?;
        let ArpRepr::EthernetIpv4 {
            operation: ArpOperation::Request,
            source_hardware_addr,
            source_protocol_addr,
            target_protocol_addr,
            ..
        } = ArpRepr::parse(&packet).ok()?
        else {
            return None;
        };
        // A sender of 0.0.0.0 asks whether the address is free (RFC 5227 section 2.1.1): it is not. One that says
        // it had the address itself asks nothing.
        if !self.station.owns(target_protocol_addr) || self.station.owns(source_protocol_addr) {
            return None;
        }
        let reply = ArpRepr::EthernetIpv4 {
            operation: ArpOperation::Reply,
            source_hardware_addr: self.station.mac,
            source_protocol_addr: target_protocol_addr,
            target_hardware_addr: source_hardware_addr,
            target_protocol_addr: source_protocol_addr,
        };
        let body = self.begin(out, self.from, EthernetProtocol::Arp, reply.buffer_len())?;
        reply.emit(&mut ArpPacket::new_unchecked(body));
        Some(Audience::Asker)
    }

    fn ipv4(&self, out: &mut Buffer) -> Option<Audience> {
        let packet = Ipv4Packet::new_checked(self.payload).ok()?;
        let (from, to) = (packet.src_addr(), packet.dst_addr());
        if !self.to_station
            || packet.version() != 4
            || packet.next_header() != IpProtocol::Icmp
            || !packet.verify_checksum()
            || !self.station.owns(to)
            || !is_one_host_v4(from)
            || self.station.owns(from)
        {
            return None;
        }
        let message = packet.payload();
        let header_bytes = usize::from(packet.header_len());
        let is_first = packet.frag_offset() == 0;
        let is_whole = is_first && !packet.more_frags();
        let hop_limit = hop_limit(is_first, packet.hop_limit())?;
        // Without the options: a route that was recorded on the way here is not the one back.
        let total_bytes = IPV4_BYTES + message.len();
        let body = self.begin(out, self.from, EthernetProtocol::Ipv4, total_bytes)?;
        let (header, body) = body.split_at_mut(IPV4_BYTES);
        header.copy_from_slice(&self.payload[..IPV4_BYTES]);
        let mut reply = Ipv4Packet::new_unchecked(header);
        reply.set_version(4);
        reply.set_header_len(IPV4_BYTES as u8);
        reply.set_ecn(0);
        reply.set_total_len(u16::try_from(total_bytes).ok()?);
        reply.set_hop_limit(hop_limit);
        reply.set_src_addr(to);
        reply.set_dst_addr(from);
        reply.fill_checksum();
        body.copy_from_slice(message);
        if is_first {
            let open = self.open_checksum(header_bytes, is_whole)?;
            echo(body, ECHO_V4, open)?;
        }
        Some(Audience::Asker)
    }

    fn ipv6(&self, out: &mut Buffer) -> Option<Audience> {
        let packet = Ipv6Packet::new_checked(self.payload).ok()?;
        if packet.version() != 6 {
            return None;
        }
        let next_header = packet.next_header();
        if next_header == IpProtocol::Icmpv6 {
            return if packet.payload().first() == Some(&NEIGHBOR_SOLICIT) {
                self.solicitation(&packet, out)
            } else {
                self.echo_v6(&packet, 0, Part::WHOLE, out)
            };
        }
        if next_header != IpProtocol::Ipv6Frag {
            return None;
        }
        // RFC 8200 section 4.5: next header, reserved, offset and flags (2 bytes), identification.
        let fragment = packet.payload().get(..FRAGMENT_BYTES)?;
        let offset = u16::from_be_bytes([fragment[2], fragment[3]]);
        let part = Part {
            is_first: offset & !7 == 0,
            is_last: offset & 1 == 0,
        };
        if IpProtocol::from(fragment[0]) != IpProtocol::Icmpv6 {
            return None;
        }
        self.echo_v6(&packet, FRAGMENT_BYTES, part, out)
    }

    /// Answers an echo request, or its part, behind `skip` bytes of extension header, which go back unchanged.
    fn echo_v6(
        &self,
        packet: &Ipv6Packet<&[u8]>,
        skip: usize,
        part: Part,
        out: &mut Buffer,
    ) -> Option<Audience> {
        let (from, to) = (packet.src_addr(), packet.dst_addr());
        if !self.to_station
            || !self.station.owns(to)
            || !is_one_host_v6(from)
            || self.station.owns(from)
        {
            return None;
        }
        let hop_limit = hop_limit(part.is_first, packet.hop_limit())?;
        let payload = packet.payload();
        let total_bytes = IPV6_BYTES + payload.len();
        let body = self.begin(out, self.from, EthernetProtocol::Ipv6, total_bytes)?;
        let body = emit_ipv6(body, to, from, packet.next_header(), hop_limit);
        body.copy_from_slice(payload);
        if part.is_first {
            let open = self.open_checksum(IPV6_BYTES + skip, part.is_last)?;
            echo(&mut body[skip..], ECHO_V6, open)?;
        }
        Some(Audience::Asker)
    }

    //= https://www.rfc-editor.org/rfc/rfc4861#section-7.2.4
    //# If the source of the solicitation is the unspecified address, the
    //# node MUST set the Solicited flag to zero and multicast the
    //# advertisement to the all-nodes address.
    fn solicitation(&self, packet: &Ipv6Packet<&[u8]>, out: &mut Buffer) -> Option<Audience> {
        let (from, to) = (packet.src_addr(), packet.dst_addr());
        let message = Icmpv6Packet::new_checked(packet.payload()).ok()?;
        let genuine = self.open_checksum(IPV6_BYTES, true)? || message.verify_checksum(&from, &to);
        if message.msg_type() != Icmpv6Message::NeighborSolicit
            || message.msg_code() != 0
            || packet.hop_limit() != NDISC_HOP_LIMIT
            || !genuine
        {
            return None;
        }
        let target = message.target_addr();
        if !self.station.owns(target) || !(to == target || to.is_multicast()) {
            return None;
        }
        let looks_for_duplicate = from.is_unspecified();
        let (to, mac, flags, audience) = if looks_for_duplicate {
            let flags = NdiscNeighborFlags::OVERRIDE;
            (ALL_NODES, ALL_NODES_MAC, flags, Audience::Everybody)
        } else if is_one_host_v6(from) && !self.station.owns(from) {
            let flags = NdiscNeighborFlags::SOLICITED | NdiscNeighborFlags::OVERRIDE;
            (from, self.from, flags, Audience::Asker)
        } else {
            return None;
        };
        let reply = Icmpv6Repr::Ndisc(NdiscRepr::NeighborAdvert {
            flags,
            target_addr: target,
            lladdr: Some(self.station.mac.into()),
        });
        let total_bytes = IPV6_BYTES + reply.buffer_len();
        let body = self.begin(out, mac, EthernetProtocol::Ipv6, total_bytes)?;
        let body = emit_ipv6(body, target, to, IpProtocol::Icmpv6, NDISC_HOP_LIMIT);
        let checksums = ChecksumCapabilities::default();
        reply.emit(
            &target,
            &to,
            &mut Icmpv6Packet::new_unchecked(body),
            &checksums,
        );
        Some(audience)
    }

    /// Whether the ICMP checksum behind `header_bytes` of IP headers is still to be computed; none where the
    /// frame's metadata points elsewhere, or the message is not whole.
    fn open_checksum(&self, header_bytes: usize, is_whole: bool) -> Option<bool> {
        let Some(partial) = self.checksum else {
            return Some(false);
        };
        let start = ETHERNET_BYTES + header_bytes;
        let fits = usize::from(partial.start) == start && partial.offset == ICMP_CHECKSUM_OFFSET;
        (fits && is_whole).then_some(true)
    }

    /// Writes the Ethernet header of an answer and gives its payload to be written.
    fn begin<'o>(
        &self,
        out: &'o mut Buffer,
        to: EthernetAddress,
        protocol: EthernetProtocol,
        payload_bytes: usize,
    ) -> Option<&'o mut [u8]> {
        let frame_bytes = ETHERNET_BYTES + payload_bytes;
        if out.room() < frame_bytes {
            return None;
        }
        out.grow(frame_bytes);
        let mut frame = EthernetFrame::new_unchecked(out.bytes_mut());
        frame.set_dst_addr(to);
        frame.set_src_addr(self.station.mac);
        frame.set_ethertype(protocol);
        Some(&mut out.bytes_mut()[ETHERNET_BYTES..])
    }
}

/// Which part of a message a packet holds.
#[derive(Debug, Clone, Copy)]
struct Part {
    is_first: bool,
    is_last: bool,
}

impl Part {
    const WHOLE: Self = Self {
        is_first: true,
        is_last: true,
    };
}

/// Makes an echo request, or the beginning of one, a reply; none where it is no request.
///
/// A checksum that was wrong stays wrong, so that damage on the way here shows at the other end.
fn echo(message: &mut [u8], (request, reply): (u8, u8), checksum_open: bool) -> Option<()> {
    if message.len() < ECHO_BYTES || message[..2] != [request, 0] {
        return None;
    }
    message[0] = reply;
    let sum = if checksum_open {
        // The pseudo-header's sum, if any, stands in the field. It is the same with the addresses swapped.
        checksum::data(message)
    } else {
        // RFC 1624 section 3: HC' = ~(~HC + ~m + m').
        let field = u16::from_be_bytes([message[2], message[3]]);
        let old = u16::from_be_bytes([request, 0]);
        let new = u16::from_be_bytes([reply, 0]);
        checksum::combine(&[!field, !old, new])
    };
    message[2..4].copy_from_slice(&(!sum).to_be_bytes());
    Some(())
}

/// Writes an IPv6 header, and gives what is behind it.
fn emit_ipv6(
    packet: &mut [u8],
    from: Ipv6Addr,
    to: Ipv6Addr,
    next_header: IpProtocol,
    hop_limit: u8,
) -> &mut [u8] {
    let (header, body) = packet.split_at_mut(IPV6_BYTES);
    header.fill(0);
    let repr = Ipv6Repr {
        src_addr: from,
        dst_addr: to,
        next_header,
        payload_len: body.len(),
        hop_limit,
    };
    repr.emit(&mut Ipv6Packet::new_unchecked(header));
    body
}

/// The hop limit of an answer. Later fragments do not tell whether they belong to a request, so two stations could
/// be made to send one to and fro: it gets one hop less each time.
fn hop_limit(is_first: bool, received: u8) -> Option<u8> {
    if is_first {
        return Some(HOP_LIMIT);
    }
    received.checked_sub(1).filter(|left| *left > 0)
}

fn is_one_host_v4(address: Ipv4Addr) -> bool {
    !(address.is_unspecified()
        || address.is_multicast()
        || address.is_broadcast()
        || address.is_loopback())
}

fn is_one_host_v6(address: Ipv6Addr) -> bool {
    !(address.is_unspecified() || address.is_multicast() || address.is_loopback())
}

/// Type of request and reply (RFC 792).
const ECHO_V4: (u8, u8) = (8, 0);
/// Type of request and reply (RFC 4443 section 4).
const ECHO_V6: (u8, u8) = (128, 129);
/// Type of a neighbour solicitation (RFC 4861 section 4.3).
const NEIGHBOR_SOLICIT: u8 = 135;
/// Where the checksum stands in a message of either ICMP.
const ICMP_CHECKSUM_OFFSET: u16 = 2;
/// Type, code, checksum, identifier, number.
const ECHO_BYTES: usize = 8;
const ETHERNET_BYTES: usize = 14;
const IPV4_BYTES: usize = 20;
const IPV6_BYTES: usize = 40;
const FRAGMENT_BYTES: usize = 8;
/// RFC 1700's default; what Linux uses.
const HOP_LIMIT: u8 = 64;
/// Proves that a message of neighbour discovery was not routed (RFC 4861 section 7.1.1).
const NDISC_HOP_LIMIT: u8 = 255;
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
/// RFC 2464 section 7.
const ALL_NODES_MAC: EthernetAddress = EthernetAddress([0x33, 0x33, 0, 0, 0, 1]);
