//! The frames: ARP of RFC 826 with the meanings of RFC 5227, and neighbour discovery of RFC 4861.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::{
    ArpOperation, ArpPacket, ArpRepr, EthernetAddress, EthernetFrame, EthernetProtocol,
    Icmpv6Packet, Icmpv6Repr, IpProtocol, Ipv6Packet, Ipv6Repr, NdiscNeighborFlags, NdiscRepr,
    RawHardwareAddress,
};

/// Asks whether somebody has `address`, in nobody's name: whoever hears it must not learn anything from it.
pub(super) fn probe(mac: [u8; 6], address: IpAddr) -> Vec<u8> {
    match address {
        //= <https://www.rfc-editor.org/rfc/rfc5227>#section-2.1.1
        //# The client MUST fill in the 'sender hardware address' field of the
        //# ARP Request with the hardware address of the interface through which
        //# it is sending the packet.  The 'sender IP address' field MUST be set
        //# to all zeroes; this is to avoid polluting ARP caches in other hosts
        //# on the same link in the case where the address turns out to be already
        //# in use by another host.
        IpAddr::V4(address) => arp(&ArpRepr::EthernetIpv4 {
            operation: ArpOperation::Request,
            source_hardware_addr: EthernetAddress(mac),
            source_protocol_addr: Ipv4Addr::UNSPECIFIED,
            target_hardware_addr: EthernetAddress([0; 6]),
            target_protocol_addr: address,
        }),
        //= <https://www.rfc-editor.org/rfc/rfc4862>#section-5.4.2
        //# The solicitation's Target Address is set to the address being checked,
        //# the IP source is set to the unspecified address, and the IP
        //# destination is set to the solicited-node multicast address of the
        //# target address.
        IpAddr::V6(address) => {
            let solicitation = NdiscRepr::NeighborSolicit {
                target_addr: address,
                lladdr: None,
            };
            let to = solicited_node(address);
            ndisc(mac, Ipv6Addr::UNSPECIFIED, to, solicitation)
        }
    }
}

/// Says that `address` is at `mac`.
pub(super) fn announcements(mac: [u8; 6], address: IpAddr) -> Vec<Vec<u8>> {
    match address {
        //= <https://www.rfc-editor.org/rfc/rfc5227>#section-2.3
        //# An ARP Announcement is identical to the ARP
        //# Probe described above, except that now the sender and target IP
        //# addresses are both set to the host's newly selected IPv4 address.
        //
        // Some stations listen to requests, some to replies only.
        IpAddr::V4(address) => [
            (ArpOperation::Request, [0; 6]),
            (ArpOperation::Reply, BROADCAST),
        ]
        .into_iter()
        .map(|(operation, target)| {
            arp(&ArpRepr::EthernetIpv4 {
                operation,
                source_hardware_addr: EthernetAddress(mac),
                source_protocol_addr: address,
                target_hardware_addr: EthernetAddress(target),
                target_protocol_addr: address,
            })
        })
        .collect(),
        // RFC 4861 section 7.2.6: to all nodes, with the override flag, since what they knew is old.
        IpAddr::V6(address) => {
            let advertisement = NdiscRepr::NeighborAdvert {
                flags: NdiscNeighborFlags::OVERRIDE,
                target_addr: address,
                lladdr: Some(RawHardwareAddress::from_bytes(&mac)),
            };
            vec![ndisc(mac, address, ALL_NODES, advertisement)]
        }
    }
}

/// Who says in `frame` that `address` is theirs, or asks for it at the same time as we do. What our own `mac` says
/// doesn't count.
pub(super) fn holder(frame: &[u8], own: [u8; 6], address: IpAddr) -> Option<[u8; 6]> {
    let frame = EthernetFrame::new_checked(frame).ok()?;
    let mac = match (frame.ethertype(), address) {
        (EthernetProtocol::Arp, IpAddr::V4(address)) => arp_holder(frame.payload(), address)?,
        (EthernetProtocol::Ipv6, IpAddr::V6(address)) => {
            ndisc_holder(frame.src_addr(), frame.payload(), address)?
        }
        _ => return None,
    };
    (mac.0 != own).then_some(mac.0)
}

fn arp_holder(packet: &[u8], address: Ipv4Addr) -> Option<EthernetAddress> {
    let packet = ArpPacket::new_checked(packet).ok()?;
    let ArpRepr::EthernetIpv4 {
        source_hardware_addr,
        source_protocol_addr,
        target_protocol_addr,
        operation,
        ..
    } = ArpRepr::parse(&packet).ok()?
    else {
        return None;
    };
    //= <https://www.rfc-editor.org/rfc/rfc5227>#section-2.1.1
    //# If during this period, from the beginning of the probing process until
    //# ANNOUNCE_WAIT seconds after the last probe packet is sent, the host
    //# receives any ARP packet (Request *or* Reply) on the interface where the
    //# probe is being performed, where the packet's 'sender IP address' is the
    //# address being probed for, then the host MUST treat this address as being
    //# in use by some other host
    let holds = source_protocol_addr == address;
    // The same section, of somebody's probe for the same address.
    let asks = operation == ArpOperation::Request
        && source_protocol_addr.is_unspecified()
        && target_protocol_addr == address;
    (holds || asks).then_some(source_hardware_addr)
}

fn ndisc_holder(
    sender: EthernetAddress,
    packet: &[u8],
    address: Ipv6Addr,
) -> Option<EthernetAddress> {
    let packet = Ipv6Packet::new_checked(packet).ok()?;
    // RFC 4861 sections 7.1.1 and 7.1.2: no router has forwarded it.
    if packet.next_header() != IpProtocol::Icmpv6 || packet.hop_limit() != HOP_LIMIT {
        return None;
    }
    let (from, to) = (packet.src_addr(), packet.dst_addr());
    let message = Icmpv6Packet::new_checked(packet.payload()).ok()?;
    let checked = ChecksumCapabilities::default();
    let Icmpv6Repr::Ndisc(message) = Icmpv6Repr::parse(&from, &to, &message, &checked).ok()? else {
        return None;
    };
    if let NdiscRepr::NeighborAdvert {
        target_addr,
        lladdr,
        ..
    } = message
    {
        let told = lladdr.and_then(|mac| mac.as_bytes().try_into().ok());
        return (target_addr == address).then(|| told.map_or(sender, EthernetAddress));
    }
    // RFC 4862 section 5.4.3: somebody asks for the same address in nobody's name.
    if let NdiscRepr::NeighborSolicit { target_addr, .. } = message {
        return (target_addr == address && from.is_unspecified()).then_some(sender);
    }
    None
}

fn arp(message: &ArpRepr) -> Vec<u8> {
    let ArpRepr::EthernetIpv4 {
        source_hardware_addr,
        ..
    } = *message
    else {
        return Vec::new();
    };
    let mut bytes = ethernet(
        source_hardware_addr.0,
        BROADCAST,
        EthernetProtocol::Arp,
        message.buffer_len(),
    );
    let mut frame = EthernetFrame::new_unchecked(&mut bytes);
    message.emit(&mut ArpPacket::new_unchecked(frame.payload_mut()));
    bytes
}

fn ndisc(mac: [u8; 6], from: Ipv6Addr, to: Ipv6Addr, message: NdiscRepr<'_>) -> Vec<u8> {
    let message = Icmpv6Repr::Ndisc(message);
    let header = Ipv6Repr {
        src_addr: from,
        dst_addr: to,
        next_header: IpProtocol::Icmpv6,
        payload_len: message.buffer_len(),
        hop_limit: HOP_LIMIT,
    };
    let length = header.buffer_len() + message.buffer_len();
    // RFC 2464 section 7: 33:33, and the last four bytes of the group.
    let [.., a, b, c, d] = to.octets();
    let group = [0x33, 0x33, a, b, c, d];
    let mut bytes = ethernet(mac, group, EthernetProtocol::Ipv6, length);
    let mut frame = EthernetFrame::new_unchecked(&mut bytes);
    let mut packet = Ipv6Packet::new_unchecked(frame.payload_mut());
    header.emit(&mut packet);
    message.emit(
        &from,
        &to,
        &mut Icmpv6Packet::new_unchecked(packet.payload_mut()),
        &ChecksumCapabilities::default(),
    );
    bytes
}

/// A frame with its header written.
fn ethernet(from: [u8; 6], to: [u8; 6], protocol: EthernetProtocol, payload: usize) -> Vec<u8> {
    let mut bytes = vec![0; EthernetFrame::<&[u8]>::buffer_len(payload)];
    let mut frame = EthernetFrame::new_unchecked(&mut bytes);
    frame.set_src_addr(EthernetAddress(from));
    frame.set_dst_addr(EthernetAddress(to));
    frame.set_ethertype(protocol);
    bytes
}

/// RFC 4291 section 2.7.1.
fn solicited_node(address: Ipv6Addr) -> Ipv6Addr {
    let [.., a, b, c] = address.octets();
    Ipv6Addr::from([0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, a, b, c])
}

const BROADCAST: [u8; 6] = [0xff; 6];
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
/// RFC 4861 section 4.3: what a router forwards has less.
const HOP_LIMIT: u8 = 255;

#[cfg(test)]
mod tests;
