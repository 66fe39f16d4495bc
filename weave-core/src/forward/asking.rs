//! Asking where an IP address lives, for a sender that uses an Ethernet address which nobody is known to have.
//!
//! A container that comes up on another host with a new Ethernet address, and does not announce it, is lost to those
//! who talked to it for as long as their kernels believe in the old one: up to 50 s with Linux, whose entries are good
//! for 15 to 45 s and are used for 5 s more (arp(7)). A router knows better: the old address is in no table any more.
//! So beside flooding the frame it asks, on the sender's behalf, what the sender will ask in the end:
//!
//! ```text
//!   sender ──── frame for the old address ───► router ──── who has the IP address? tell the sender ───► everywhere
//!   sender ◄────────────────────────── its answer: the new address ──────────────────────────────────── the station
//! ```
//!
//! The answer is an ordinary one, and the sender's kernel takes it for its own (RFC 826: "merge"; RFC 4861 section
//! 7.2.5 for IPv6). A station that only listens is found so, too: its answer has it learned, and the floods end.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::{Duration, Instant};

use smoltcp::wire::{EthernetAddress, EthernetProtocol, IpProtocol};
use weave_crypto::ShortId;

use super::checksum;
use crate::frame::FrameView;
use crate::loop_frame::router_mac;
use crate::packet::ETHERNET_HEADER_BYTES;

/// A question on behalf of a sender, as a frame.
#[derive(Debug, Clone, Copy)]
pub(super) struct Question {
    bytes: [u8; NS_FRAME_BYTES],
    len: usize,
}

impl Question {
    /// The frame, as if the sender had sent it: for other hosts.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    pub(super) fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[..self.len]
    }

    /// The frame for our own port, behind which the sender is: its address would be learned at the wrong place, were
    /// it the Ethernet source.
    pub(super) fn sent_by_router(mut self, local: ShortId) -> Self {
        self.bytes[6..12].copy_from_slice(router_mac(&local).as_bytes());
        self
    }
}

/// What was asked for lately. By its size, no more than 20 questions a second are asked in all.
#[derive(Debug, Default)]
pub(super) struct Asked {
    entries: [Option<(IpAddr, Instant)>; QUESTIONS_PER_S],
}

impl Asked {
    /// The question to be asked beside this frame, which is for nobody known; none where there is no IPv4 or IPv6 host
    /// to be asked for, or where it was asked a moment ago.
    pub(super) fn question(&mut self, now: Instant, frame: FrameView<'_>) -> Option<Question> {
        let (question, target) = about(frame)?;
        let is_recent = |at: Instant| now.saturating_duration_since(at) < INTERVAL;
        let mut place = None;
        for entry in &mut self.entries {
            match entry {
                Some((asked, at)) if is_recent(*at) => {
                    if *asked == target {
                        return None;
                    }
                }
                Some(_) | None => place = Some(entry),
            }
        }
        *place? = Some((target, now));
        Some(question)
    }
}

/// The question about a frame's destination, and that destination.
fn about(frame: FrameView<'_>) -> Option<(Question, IpAddr)> {
    let source = frame.source();
    if !source.is_unicast() || !frame.destination().is_unicast() {
        return None;
    }
    let (protocol, at) = frame.payload()?;
    if at != ETHERNET_HEADER_BYTES {
        // Behind a VLAN tag are other networks, where the answer would have to come from.
        return None;
    }
    let packet = frame.bytes().get(at..)?;
    match protocol {
        EthernetProtocol::Ipv4 => {
            let header: &[u8; 20] = packet.first_chunk()?;
            let [.., a, b, c, d, e, f, g, h] = *header;
            let (from, to) = (Ipv4Addr::new(a, b, c, d), Ipv4Addr::new(e, f, g, h));
            let is_host = |address: Ipv4Addr| {
                let first = address.octets()[0];
                first != 0 && first != 127 && first < 224
            };
            let is_due = header[0] >> 4 == 4 && is_host(from) && is_host(to) && from != to;
            is_due.then(|| (arp_request(source, from, to), to.into()))
        }
        EthernetProtocol::Ipv6 => {
            let header: &[u8; 40] = packet.first_chunk()?;
            let (from, to) = header[8..].split_first_chunk::<16>()?;
            let (from, to) = (Ipv6Addr::from(*from), Ipv6Addr::from(*to.first_chunk()?));
            let is_host = |address: Ipv6Addr| {
                !address.is_multicast() && !address.is_unspecified() && !address.is_loopback()
            };
            let is_due = header[0] >> 4 == 6 && is_host(from) && is_host(to) && from != to;
            is_due.then(|| (solicitation(source, from, to), to.into()))
        }
        EthernetProtocol::Arp | EthernetProtocol::Unknown(_) => None,
    }
}

/// RFC 826: who has `to`? Tell `from`, at `source`.
fn arp_request(source: EthernetAddress, from: Ipv4Addr, to: Ipv4Addr) -> Question {
    let mut bytes = [0; NS_FRAME_BYTES];
    bytes[..6].fill(0xff);
    bytes[6..12].copy_from_slice(source.as_bytes());
    // ARP; Ethernet, IPv4, lengths of their addresses, request.
    bytes[12..22].copy_from_slice(&[8, 6, 0, 1, 8, 0, 6, 4, 0, 1]);
    bytes[22..28].copy_from_slice(source.as_bytes());
    bytes[28..32].copy_from_slice(&from.octets());
    bytes[38..42].copy_from_slice(&to.octets());
    Question {
        bytes,
        len: ARP_FRAME_BYTES,
    }
}

/// RFC 4861 section 4.3: a neighbour solicitation to the target's solicited-node address (RFC 4291 section 2.7.1).
fn solicitation(source: EthernetAddress, from: Ipv6Addr, to: Ipv6Addr) -> Question {
    let mut bytes = [0; NS_FRAME_BYTES];
    let [.., a, b, c] = to.octets();
    // RFC 2464 section 7.
    bytes[..6].copy_from_slice(&[0x33, 0x33, 0xff, a, b, c]);
    bytes[6..12].copy_from_slice(source.as_bytes());
    bytes[12..14].copy_from_slice(&[0x86, 0xdd]);
    let packet = &mut bytes[ETHERNET_HEADER_BYTES..];
    packet[0] = 0x60;
    packet[5] = NS_BYTES as u8;
    packet[6] = IpProtocol::Icmpv6.into();
    // No router on the way may have touched it.
    packet[7] = 255;
    packet[8..24].copy_from_slice(&from.octets());
    packet[24..40].copy_from_slice(
        &Ipv6Addr::new(
            0xff02,
            0,
            0,
            0,
            0,
            1,
            0xff00 | u16::from(a),
            u16::from_be_bytes([b, c]),
        )
        .octets(),
    );
    let pseudo =
        checksum::sum(&packet[8..40]) + NS_BYTES as u64 + u64::from(u8::from(IpProtocol::Icmpv6));
    let icmp = &mut packet[40..];
    icmp[0] = 135;
    icmp[8..24].copy_from_slice(&to.octets());
    // Option: source link-layer address, in units of 8 bytes.
    icmp[24..26].copy_from_slice(&[1, 1]);
    icmp[26..32].copy_from_slice(source.as_bytes());
    let sum = !checksum::fold(pseudo + checksum::sum(icmp));
    icmp[2..4].copy_from_slice(&sum.to_be_bytes());
    Question {
        bytes,
        len: NS_FRAME_BYTES,
    }
}

/// One address is asked for this often: as often as a host would itself (RFC 1122 section 2.3.2.1, RFC 4861 section
/// 10, RETRANS_TIMER).
const INTERVAL: Duration = Duration::from_secs(1);
/// Questions of one second. Who floods frames for addresses that nobody has makes no more of them.
const QUESTIONS_PER_S: usize = 20;
/// The least that an Ethernet frame has, without its check sequence (IEEE 802.3).
const ARP_FRAME_BYTES: usize = 60;
/// A solicitation with its option, and around it IPv6 and Ethernet headers.
const NS_BYTES: usize = 32;
const NS_FRAME_BYTES: usize = ETHERNET_HEADER_BYTES + 40 + NS_BYTES;

#[cfg(test)]
mod tests {
    use smoltcp::phy::ChecksumCapabilities;
    use smoltcp::wire::{
        ArpOperation, ArpPacket, ArpRepr, Icmpv6Packet, Icmpv6Repr, Ipv6Packet, NdiscRepr,
        RawHardwareAddress,
    };

    use super::*;

    #[test]
    fn an_arp_request_is_what_the_sender_would_send() {
        let (from, to) = (Ipv4Addr::new(10, 0, 0, 1), Ipv4Addr::new(10, 0, 0, 2));
        let (question, target) = about(view(&v4(from, to))).unwrap();
        assert_eq!(target, IpAddr::from(to));
        let frame = question.bytes();
        assert_eq!(frame.len(), 60);
        assert!(view(frame).is_discovery());
        assert_eq!(view(frame).destination(), EthernetAddress::BROADCAST);
        assert_eq!(view(frame).source(), SOURCE);
        let packet = ArpPacket::new_checked(&frame[14..]).unwrap();
        let expected = ArpRepr::EthernetIpv4 {
            operation: ArpOperation::Request,
            source_hardware_addr: SOURCE,
            source_protocol_addr: from,
            target_hardware_addr: EthernetAddress([0; 6]),
            target_protocol_addr: to,
        };
        assert_eq!(ArpRepr::parse(&packet), Ok(expected));

        let local = ShortId::from_bytes([7; 8]);
        let own = question.sent_by_router(local);
        assert_ne!(view(own.bytes()).source(), SOURCE);
        assert_eq!(
            own.bytes()[14..],
            frame[14..],
            "the answer goes to the sender"
        );
    }

    #[test]
    fn a_solicitation_is_what_the_sender_would_send() {
        let from: Ipv6Addr = "fd00::1".parse().unwrap();
        let to: Ipv6Addr = "fd00::12:3456".parse().unwrap();
        let (question, target) = about(view(&v6(from, to))).unwrap();
        assert_eq!(target, IpAddr::from(to));
        let frame = question.bytes();
        assert!(view(frame).is_discovery());
        assert_eq!(frame[..6], [0x33, 0x33, 0xff, 0x12, 0x34, 0x56]);
        let packet = Ipv6Packet::new_checked(&frame[14..]).unwrap();
        assert_eq!(
            packet.dst_addr(),
            "ff02::1:ff12:3456".parse::<Ipv6Addr>().unwrap()
        );
        assert_eq!((packet.src_addr(), packet.hop_limit()), (from, 255));
        let icmp = Icmpv6Packet::new_checked(packet.payload()).unwrap();
        let said = Icmpv6Repr::parse(
            &packet.src_addr(),
            &packet.dst_addr(),
            &icmp,
            &ChecksumCapabilities::default(),
        );
        let expected = NdiscRepr::NeighborSolicit {
            target_addr: to,
            lladdr: Some(RawHardwareAddress::from(SOURCE)),
        };
        assert_eq!(said, Ok(Icmpv6Repr::Ndisc(expected)));
    }

    #[test]
    fn what_is_for_no_host_is_not_asked_about() {
        let v4 = |from: [u8; 4], to: [u8; 4]| v4(from.into(), to.into());
        let good = v4([10, 0, 0, 1], [10, 0, 0, 2]);
        assert!(about(view(&good)).is_some());
        for (from, to) in [
            ([0, 0, 0, 0], [10, 0, 0, 2]),
            ([10, 0, 0, 1], [255, 255, 255, 255]),
            ([10, 0, 0, 1], [224, 0, 0, 1]),
            ([10, 0, 0, 1], [0, 0, 0, 0]),
            ([10, 0, 0, 1], [10, 0, 0, 1]),
        ] {
            assert!(about(view(&v4(from, to))).is_none(), "{from:?} {to:?}");
        }
        for (from, to) in [("::", "fd00::2"), ("fd00::1", "ff02::1"), ("fd00::1", "::")] {
            let frame = v6(from.parse().unwrap(), to.parse().unwrap());
            assert!(about(view(&frame)).is_none(), "{from} {to}");
        }
        for at in 0..good.len() {
            assert!(at < 14 || about(view(&good[..at])).is_none(), "cut at {at}");
        }
        let mut tagged = good.clone();
        tagged.splice(12..12, [0x81, 0, 0, 5]);
        assert!(about(view(&tagged)).is_none());
        let mut other = good.clone();
        other[12] = 0x12;
        assert!(about(view(&other)).is_none());
        let mut multicast = good;
        multicast[0] |= 1;
        assert!(about(view(&multicast)).is_none());
    }

    #[test]
    fn one_address_is_asked_for_once_a_second_and_all_together_seldom() {
        #[allow(clippy::disallowed_methods, reason = "a test's base instant")]
        let now = Instant::now();
        let mut asked = Asked::default();
        let mut ask = |now, number: u16| {
            let [a, b] = number.to_be_bytes();
            let frame = v4([10, 9, 9, 9].into(), [10, 0, a, b].into());
            asked.question(now, view(&frame)).is_some()
        };
        assert!(ask(now, 1));
        assert!(!ask(now, 1));
        assert!(ask(now, 2));
        assert!(!ask(now + INTERVAL / 2, 1));
        assert!(ask(now + INTERVAL, 1));
        let later = now + INTERVAL * 3;
        let count = (0..1_000).filter(|number| ask(later, *number)).count();
        assert_eq!(count, QUESTIONS_PER_S);
        assert!(ask(later + INTERVAL, 999), "the old make room");
    }

    const SOURCE: EthernetAddress = EthernetAddress([2, 0, 0, 0, 1, 1]);

    fn view(frame: &[u8]) -> FrameView<'_> {
        FrameView::new_checked(frame).unwrap()
    }

    fn v4(from: Ipv4Addr, to: Ipv4Addr) -> Vec<u8> {
        let header = [0x45, 0, 0, 20, 0, 0, 0, 0, 64, 17, 0, 0];
        [&ethernet(8, 0)[..], &header, &from.octets(), &to.octets()].concat()
    }

    fn v6(from: Ipv6Addr, to: Ipv6Addr) -> Vec<u8> {
        let header = [0x60, 0, 0, 0, 0, 0, 59, 64];
        [
            &ethernet(0x86, 0xdd)[..],
            &header,
            &from.octets(),
            &to.octets(),
        ]
        .concat()
    }

    fn ethernet(a: u8, b: u8) -> [u8; 14] {
        let mut header = [2, 0, 0, 0, 9, 9, 0, 0, 0, 0, 0, 0, a, b];
        header[6..12].copy_from_slice(SOURCE.as_bytes());
        header
    }
}
