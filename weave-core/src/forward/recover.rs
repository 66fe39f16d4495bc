//! Offload metadata of frames that came without: what a packet capture shows is what the kernel had in hand, with
//! checksums not yet computed and segments not yet cut, and nothing beside it that says so.

use smoltcp::wire::{EthernetProtocol, IpProtocol};

use super::checksum;
use crate::frame::FrameView;
use crate::packet::ETHERNET_HEADER_BYTES;
use crate::{Offload, PartialChecksum, SegmentKind, Segments};

/// What is left to be done on a captured frame, told from its bytes alone; `None` for one that cannot be mended.
///
/// * A TCP or UDP checksum field that holds the pseudo-header's sum is one that is still to be computed. A computed one
///   looks the same in one frame of 65,536, and then the computation has that very value as its result.
/// * A TCP packet with such a checksum and more than `segment_mtu_bytes` of IP is a super-frame. How its sender meant
///   it to be cut is lost; it is cut to that size, which is the least that senders behind the port reckon with. Smaller
///   segments than meant mean the same to a TCP receiver.
/// * Anything else with more than `mtu_bytes`, the device's own MTU, was never one packet on a wire: UDP datagrams that
///   the kernel keeps as one, or the inside of a tunnel. Where to cut it nobody knows.
///
/// What cannot be told: UDP super-frames within `mtu_bytes`, and unfinished checksums inside of tunnels.
pub fn recover_offload(
    frame: &[u8],
    mtu_bytes: usize,
    segment_mtu_bytes: usize,
) -> Option<Offload> {
    let Some(view) = FrameView::new_checked(frame) else {
        // Too short for anything: that is for the forwarder to count.
        return Some(Offload::default());
    };
    let network = view
        .payload()
        .map_or(ETHERNET_HEADER_BYTES, |(_, network)| network);
    let packet_bytes = frame.len().saturating_sub(network);
    let open = open_checksum(frame, view);
    let mut offload = Offload {
        checksum: open.map(|open| open.partial),
        segments: None,
    };
    if let Some(open) = open.filter(|_| packet_bytes > segment_mtu_bytes)
        && let Some(kind) = open.tcp
    {
        let start = usize::from(open.partial.start);
        // The data offset, in words of four bytes (RFC 9293 section 3.1).
        let header_bytes = usize::from(*frame.get(start + 12)? >> 4) * 4;
        let headers_bytes = start - network + header_bytes;
        let payload_bytes = segment_mtu_bytes.checked_sub(headers_bytes)?;
        let payload_bytes = u16::try_from(payload_bytes).unwrap_or(u16::MAX);
        if payload_bytes == 0 {
            return None;
        }
        offload.segments = Some(Segments {
            kind,
            payload_bytes,
        });
        return Some(offload);
    }
    (packet_bytes <= mtu_bytes).then_some(offload)
}

/// A checksum that is still to be computed.
#[derive(Debug, Clone, Copy)]
struct Open {
    partial: PartialChecksum,
    /// How the packet may be cut, where it may.
    tcp: Option<SegmentKind>,
}

/// The checksum of a TCP or UDP packet whose field holds the pseudo-header's sum.
fn open_checksum(frame: &[u8], view: FrameView<'_>) -> Option<Open> {
    let (protocol, network) = view.payload()?;
    let (transport, start) = view.transport()?;
    let is_v6 = protocol == EthernetProtocol::Ipv6;
    let (offset, tcp) = if transport == IpProtocol::Udp {
        (6, None)
    } else if transport != IpProtocol::Tcp {
        return None;
    } else if is_v6 {
        (16, Some(SegmentKind::Tcp6))
    } else {
        (16, Some(SegmentKind::Tcp4))
    };
    let word = |at: usize| Some(u16::from_be_bytes([*frame.get(at)?, *frame.get(at + 1)?]));
    // The length that the IP header says; behind it there may be padding of the frame.
    let end = if is_v6 {
        network + IPV6_BYTES + usize::from(word(network + 4)?)
    } else {
        network + usize::from(word(network + 2)?)
    };
    let addresses = if is_v6 {
        frame.get(network + 8..network + IPV6_BYTES)?
    } else {
        frame.get(network + 12..network + 20)?
    };
    let length = end
        .checked_sub(start)
        .filter(|_| end <= frame.len() && end > start)?;
    let sum =
        checksum::sum(addresses) + u64::from(u8::from(transport)) + u64::try_from(length).ok()?;
    let is_open = word(start + usize::from(offset))? == checksum::fold(sum);
    let start = u16::try_from(start).ok()?;
    is_open.then_some(Open {
        partial: PartialChecksum { start, offset },
        tcp,
    })
}

/// Bytes of an IPv6 header.
const IPV6_BYTES: usize = 40;

#[cfg(test)]
mod tests;
