//! Announcements: frames that say, unasked, which Ethernet address has an IP address.
//!
//! Who believes it elsewhere would find out in up to 50 s only, as long as Linux goes on with what it knew (arp(7)).

use std::net::{IpAddr, Ipv6Addr};

use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::{
    ArpOperation, ArpPacket, ArpRepr, EthernetAddress, EthernetFrame, EthernetProtocol,
    Icmpv6Packet, Icmpv6Repr, IpProtocol, Ipv6Packet, Ipv6Repr, NdiscNeighborFlags, NdiscRepr,
};

use crate::packet::ETHERNET_HEADER_BYTES;

/// The frame by which the station `mac` announces `address` to all.
pub(crate) fn announcement(mac: EthernetAddress, address: IpAddr) -> Vec<u8> {
    match address.to_canonical() {
        //= https://www.rfc-editor.org/rfc/rfc5227#section-2.3
        //# ARP Announcements are identical to the ARP Probes described above,
        //# except that now the sender and target IP addresses are both set to
        //# the host's newly selected IPv4 address.
        IpAddr::V4(address) => {
            let request = ArpRepr::EthernetIpv4 {
                operation: ArpOperation::Request,
                source_hardware_addr: mac,
                source_protocol_addr: address,
                target_hardware_addr: EthernetAddress([0; 6]),
                target_protocol_addr: address,
            };
            let (mut frame, body) = (vec![0; ARP_FRAME_BYTES], request.buffer_len());
            let payload = begin(
                &mut frame,
                mac,
                EthernetAddress::BROADCAST,
                EthernetProtocol::Arp,
            );
            request.emit(&mut ArpPacket::new_unchecked(&mut payload[..body]));
            frame
        }
        //= https://www.rfc-editor.org/rfc/rfc4861#section-7.2.6
        //# In such cases, a node MAY send up to MAX_NEIGHBOR_ADVERTISEMENT
        //# unsolicited Neighbor Advertisement messages to the all-nodes multicast
        //# address.
        IpAddr::V6(address) => {
            let advertisement = Icmpv6Repr::Ndisc(NdiscRepr::NeighborAdvert {
                flags: NdiscNeighborFlags::OVERRIDE,
                target_addr: address,
                lladdr: Some(mac.into()),
            });
            let header = Ipv6Repr {
                src_addr: address,
                dst_addr: ALL_NODES,
                next_header: IpProtocol::Icmpv6,
                payload_len: advertisement.buffer_len(),
                hop_limit: HOP_LIMIT,
            };
            let packet_bytes = header.buffer_len() + advertisement.buffer_len();
            let mut frame = vec![0; ETHERNET_HEADER_BYTES + packet_bytes];
            let payload = begin(&mut frame, mac, ALL_NODES_MAC, EthernetProtocol::Ipv6);
            header.emit(&mut Ipv6Packet::new_unchecked(&mut *payload));
            advertisement.emit(
                &address,
                &ALL_NODES,
                &mut Icmpv6Packet::new_unchecked(&mut payload[header.buffer_len()..]),
                &ChecksumCapabilities::default(),
            );
            frame
        }
    }
}

/// Writes the Ethernet header, and gives what is behind it.
fn begin(
    frame: &mut [u8],
    from: EthernetAddress,
    to: EthernetAddress,
    protocol: EthernetProtocol,
) -> &mut [u8] {
    let mut header = EthernetFrame::new_unchecked(&mut *frame);
    header.set_dst_addr(to);
    header.set_src_addr(from);
    header.set_ethertype(protocol);
    &mut frame[ETHERNET_HEADER_BYTES..]
}

/// The least that an Ethernet frame has, without its check sequence (IEEE 802.3).
const ARP_FRAME_BYTES: usize = 60;
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
/// RFC 2464 section 7.
const ALL_NODES_MAC: EthernetAddress = EthernetAddress([0x33, 0x33, 0, 0, 0, 1]);
/// Proves that a message of neighbour discovery was not routed (RFC 4861 section 7.1.2).
const HOP_LIMIT: u8 = 255;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::FrameView;

    const MAC: EthernetAddress = EthernetAddress([2, 0, 0, 0, 0, 9]);

    #[test]
    fn an_ipv4_address_is_announced_by_a_question_that_answers_itself() {
        let frame = announcement(MAC, "10.2.1.250".parse().unwrap());
        let view = FrameView::new_checked(&frame).unwrap();
        assert!(view.is_discovery());
        assert_eq!(frame.len(), 60);
        assert_eq!(
            (view.source(), view.destination()),
            (MAC, EthernetAddress::BROADCAST)
        );
        let packet = ArpPacket::new_checked(&frame[14..]).unwrap();
        let said = ArpRepr::EthernetIpv4 {
            operation: ArpOperation::Request,
            source_hardware_addr: MAC,
            source_protocol_addr: [10, 2, 1, 250].into(),
            target_hardware_addr: EthernetAddress([0; 6]),
            target_protocol_addr: [10, 2, 1, 250].into(),
        };
        assert_eq!(ArpRepr::parse(&packet), Ok(said));
        let mapped = announcement(MAC, "::ffff:10.2.1.250".parse().unwrap());
        assert_eq!(mapped, frame);
    }

    #[test]
    fn an_ipv6_address_is_announced_to_all_nodes() {
        let address: Ipv6Addr = "fd00::250".parse().unwrap();
        let frame = announcement(MAC, address.into());
        let view = FrameView::new_checked(&frame).unwrap();
        assert!(view.is_discovery());
        assert_eq!(view.source(), MAC);
        assert_eq!(frame[..6], [0x33, 0x33, 0, 0, 0, 1]);
        let packet = Ipv6Packet::new_checked(&frame[14..]).unwrap();
        assert_eq!(
            (packet.src_addr(), packet.dst_addr(), packet.hop_limit()),
            (address, ALL_NODES, 255)
        );
        let message = Icmpv6Packet::new_checked(packet.payload()).unwrap();
        let said = Icmpv6Repr::parse(
            &address,
            &ALL_NODES,
            &message,
            &ChecksumCapabilities::default(),
        );
        let expected = NdiscRepr::NeighborAdvert {
            flags: NdiscNeighborFlags::OVERRIDE,
            target_addr: address,
            lladdr: Some(MAC.into()),
        };
        assert_eq!(said, Ok(Icmpv6Repr::Ndisc(expected)));
    }
}
