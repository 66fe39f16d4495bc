//! Telling a sender that its packet is too big for the path: ICMP fragmentation needed, ICMPv6 packet too big.
//!
//! The answer goes out of the port that the frame came from, as if its destination had sent it:
//!
//! ```text
//!  Ethernet (and VLAN tags)   destination = the frame's source, source = the frame's destination
//!  IP                         the same, from the packet's destination to its source
//!  ICMP                       type 3 code 4, next-hop MTU (RFC 1191 section 4) · type 2, MTU (RFC 4443 section 3.2)
//!  quoted                     the packet from its IP header on, to 576 bytes in all (1,280 with IPv6)
//! ```
//!
//! What may not be answered, and what its sender allows to be fragmented, is cut into pieces instead.

use std::time::Instant;

use smoltcp::wire::{
    EthernetProtocol, IpProtocol, Ipv4Address, Ipv4Packet, Ipv6Address, Ipv6Packet,
};

use super::checksum;
use super::police::Bucket;
use crate::frame::FrameView;

/// An answer that is due, checked and not yet written.
#[derive(Debug, Clone, Copy)]
pub(super) struct Answer<'a> {
    frame: &'a [u8],
    /// The IP header begins here.
    network: usize,
    /// Bytes of the IP packet, without what pads the frame.
    ip_bytes: usize,
    mtu_bytes: usize,
    ipv6: bool,
}

impl<'a> Answer<'a> {
    /// The answer to a frame on a path that takes frames of `frame_bytes_max`; none where none may be given, or
    /// where the frame may be cut.
    pub(super) fn new(frame: &'a [u8], frame_bytes_max: usize) -> Option<Self> {
        let view = FrameView::new_checked(frame)?;
        if !view.destination().is_unicast() || !view.source().is_unicast() {
            return None;
        }
        let (protocol, network) = view.payload()?;
        let path_bytes = frame_bytes_max.checked_sub(network)?;
        let packet = &frame[network..];
        let (ip_bytes, mtu_bytes, ipv6) = match protocol {
            EthernetProtocol::Ipv4 => (answerable_v4(packet)?, path_bytes, false),
            EthernetProtocol::Ipv6 => (
                answerable_v6(view, packet)?,
                path_bytes.max(IPV6_MTU_BYTES_MIN),
                true,
            ),
            EthernetProtocol::Arp | EthernetProtocol::Unknown(_) => return None,
        };
        let is_due = ip_bytes > mtu_bytes && mtu_bytes >= IPV4_MTU_BYTES_MIN;
        is_due.then_some(Self {
            frame,
            network,
            ip_bytes,
            mtu_bytes,
            ipv6,
        })
    }

    /// Bytes of the answer's frame.
    pub(super) fn len(&self) -> usize {
        self.network + self.header_bytes() + self.quoted_bytes()
    }

    /// Writes the answer to `out`, which is as long as [`Answer::len`] says.
    pub(super) fn write(&self, out: &mut [u8]) {
        out[..self.network].copy_from_slice(&self.frame[..self.network]);
        out[..6].copy_from_slice(&self.frame[6..12]);
        out[6..12].copy_from_slice(&self.frame[..6]);
        let packet = &self.frame[self.network..];
        let out = &mut out[self.network..];
        let quoted = self.quoted_bytes();
        out[self.header_bytes()..].copy_from_slice(&packet[..quoted]);
        let total = self.header_bytes() + quoted;
        if self.ipv6 {
            out[..IPV6_BYTES].fill(0);
            out[0] = 0x60;
            out[4..6].copy_from_slice(&((total - IPV6_BYTES) as u16).to_be_bytes());
            out[6] = IpProtocol::Icmpv6.into();
            out[7] = HOPS;
            out[8..24].copy_from_slice(&packet[24..40]);
            out[24..40].copy_from_slice(&packet[8..24]);
            let pseudo = checksum::sum(&out[8..40])
                + (total - IPV6_BYTES) as u64
                + u64::from(u8::from(IpProtocol::Icmpv6));
            let icmp = &mut out[IPV6_BYTES..];
            icmp[..ICMP_BYTES].fill(0);
            icmp[0] = 2;
            icmp[4..8].copy_from_slice(&(self.mtu_bytes as u32).to_be_bytes());
            let sum = !checksum::fold(pseudo + checksum::sum(icmp));
            icmp[2..4].copy_from_slice(&sum.to_be_bytes());
            return;
        }
        out[..IPV4_BYTES].fill(0);
        out[0] = 0x45;
        // RFC 1812 section 4.3.2.5: errors have precedence 6, internetwork control.
        out[1] = 0xc0;
        out[2..4].copy_from_slice(&(total as u16).to_be_bytes());
        out[6] = 0x40;
        out[8] = HOPS;
        out[9] = IpProtocol::Icmp.into();
        out[12..16].copy_from_slice(&packet[16..20]);
        out[16..20].copy_from_slice(&packet[12..16]);
        checksum::finish_ipv4(&mut out[..IPV4_BYTES]);
        let icmp = &mut out[IPV4_BYTES..];
        icmp[..ICMP_BYTES].fill(0);
        icmp[0] = 3;
        icmp[1] = 4;
        icmp[6..8].copy_from_slice(&(self.mtu_bytes.min(0xffff) as u16).to_be_bytes());
        let sum = !checksum::fold(checksum::sum(icmp));
        icmp[2..4].copy_from_slice(&sum.to_be_bytes());
    }

    /// The IP packet's destination address, by whose bytes answers are counted.
    fn destination(&self) -> &[u8] {
        let packet = &self.frame[self.network..];
        if self.ipv6 {
            &packet[24..40]
        } else {
            &packet[16..20]
        }
    }

    fn header_bytes(&self) -> usize {
        ICMP_BYTES + if self.ipv6 { IPV6_BYTES } else { IPV4_BYTES }
    }

    fn quoted_bytes(&self) -> usize {
        //= https://www.rfc-editor.org/rfc/rfc1812#section-4.3.2.3
        //# the ICMP datagram SHOULD contain as much of the original datagram as possible
        //# without the length of the ICMP datagram exceeding 576 bytes.
        //= https://www.rfc-editor.org/rfc/rfc4443#section-2.4
        //# (c) Every ICMPv6 error message (type < 128) MUST include as much of the IPv6
        //# offending (invoking) packet [...] as possible without making the error
        //# message packet exceed the minimum IPv6 MTU
        let all = if self.ipv6 {
            IPV6_MTU_BYTES_MIN
        } else {
            ICMPV4_ANSWER_BYTES_MAX
        };
        self.ip_bytes.min(all - self.header_bytes())
    }
}

/// Answers that each destination has given lately: no more than ten in any second.
#[derive(Debug)]
pub(super) struct Told {
    buckets: Vec<Bucket>,
}

impl Told {
    /// Nothing told yet.
    pub(super) fn new(epoch: Instant) -> Self {
        Self {
            buckets: (0..BUCKETS)
                .map(|_| Bucket::new(epoch, ANSWERS_PER_S, ANSWERS_BURST))
                .collect(),
        }
    }

    /// Takes one answer from its destination's budget, or says that there is none left.
    pub(super) fn allow(&mut self, now: Instant, answer: &Answer<'_>) -> bool {
        // FNV-1a: which destinations share a budget matters to nobody but the containers behind this port.
        let hash = answer
            .destination()
            .iter()
            .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
                (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
            });
        self.buckets[(hash >> 32) as usize % BUCKETS].take(now)
    }
}

/// Length of an IPv4 packet that its sender may be told of.
//= https://www.rfc-editor.org/rfc/rfc1812#section-4.3.2.7
//# An ICMP error message MUST NOT be sent as the result of receiving:
//# o An ICMP error message, or [...]
//# o A packet destined to an IP broadcast or IP multicast address, or
//# o A packet sent as a Link Layer broadcast, or
//# o A packet whose source address has a network prefix of zero or is an
//#   invalid source address [...], or
//# o Any fragment of a datagram other then the first fragment
fn answerable_v4(bytes: &[u8]) -> Option<usize> {
    let packet = Ipv4Packet::new_checked(bytes).ok()?;
    let (source, destination) = (packet.src_addr(), packet.dst_addr());
    let is_host = |address: Ipv4Address| {
        let first = address.octets()[0];
        first != 0 && first != 127 && first < 224
    };
    let header_bytes = usize::from(packet.header_len());
    let total_bytes = usize::from(packet.total_len());
    if packet.version() != 4
        || header_bytes < IPV4_BYTES
        || !packet.dont_frag()
        || packet.frag_offset() != 0
        || !is_host(source)
        || !is_host(destination)
    {
        return None;
    }
    let is_error = packet.next_header() == IpProtocol::Icmp
        && bytes
            .get(header_bytes)
            .is_none_or(|kind| matches!(kind, 3 | 4 | 5 | 11 | 12));
    (!is_error).then_some(total_bytes)
}

/// Length of an IPv6 packet that its sender may be told of: none to a multicast address, from no host, or with an
/// error inside (RFC 4443 section 2.4 (e)).
fn answerable_v6(view: FrameView<'_>, bytes: &[u8]) -> Option<usize> {
    let packet = Ipv6Packet::new_checked(bytes).ok()?;
    let (source, destination): (Ipv6Address, Ipv6Address) = (packet.src_addr(), packet.dst_addr());
    if packet.version() != 6
        || source.is_multicast()
        || source.is_unspecified()
        || source.is_loopback()
        || destination.is_multicast()
    {
        return None;
    }
    let network = view.payload()?.1;
    let is_error = view.transport().is_some_and(|(protocol, at)| {
        protocol == IpProtocol::Icmpv6
            && bytes
                .get(at - network)
                .is_none_or(|kind| *kind < 128 || *kind == 137)
    });
    (!is_error).then_some(IPV6_BYTES + usize::from(packet.payload_len()))
}

/// Answers of one destination: five at once and five a second after them make ten in any second (design.md
/// section 5).
const ANSWERS_PER_S: u32 = 5;
const ANSWERS_BURST: u32 = 5;
/// Budgets: destinations whose hashes collide share one.
const BUCKETS: usize = 256;
/// Hop limit and TTL of an answer (RFC 1700's default).
const HOPS: u8 = 64;
/// Bytes of the headers.
const ICMP_BYTES: usize = 8;
const IPV4_BYTES: usize = 20;
const IPV6_BYTES: usize = 40;
/// The most bytes of an ICMP error's whole IP packet (RFC 1812 section 4.3.2.3).
const ICMPV4_ANSWER_BYTES_MAX: usize = 576;
/// No link may have a smaller MTU (RFC 791 section 3.2, RFC 8200 section 5).
const IPV4_MTU_BYTES_MIN: usize = 68;
const IPV6_MTU_BYTES_MIN: usize = 1_280;

#[cfg(test)]
mod tests;
