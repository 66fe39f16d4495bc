//! Cutting a super-frame into the frames that it stands for.
//!
//! Each segment is a whole, right frame of its own: total length, IP id and IPv4 header checksum, TCP sequence
//! and flags, UDP length, and the pseudo-header's sum for its own length. Receivers need no state, and one
//! without offloads just writes the frames.

use smoltcp::wire::{EthernetProtocol, IpProtocol};

use super::checksum;
use crate::frame::FrameView;
use crate::{Offload, SegmentKind};

/// How a super-frame is cut: checked once, then used for each segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Cut {
    /// The IP header begins here.
    network: usize,
    /// The TCP or UDP header begins here.
    transport: usize,
    /// The payload begins here.
    header: usize,
    /// Payload bytes of each segment but the last.
    payload: usize,
    frame: usize,
    ipv6: bool,
    udp: bool,
}

/// The metadata of a super-frame don't fit its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct BadSuperFrame;

impl Cut {
    /// The most segments of one super-frame: 65,535 bytes at Linux' smallest TCP MSS, 48 bytes
    /// (`tcp_min_snd_mss`). Anything beyond would only multiply packets.
    pub(super) const SEGMENTS_MAX: usize = 65_535 / 48;

    /// Checks a frame against its metadata. `None` for a frame that is no super-frame, or one of one segment.
    pub(super) fn new(frame: &[u8], offload: &Offload) -> Result<Option<Self>, BadSuperFrame> {
        let Some(segments) = offload.segments else {
            return Ok(None);
        };
        // virtio 1.2 section 5.1.6.2: a super-frame's checksum is always left open.
        let partial = offload.checksum.ok_or(BadSuperFrame)?;
        let view = FrameView::new_checked(frame).ok_or(BadSuperFrame)?;
        let (protocol, network) = view.payload().ok_or(BadSuperFrame)?;
        let (transport_protocol, transport) = view.transport().ok_or(BadSuperFrame)?;
        let ipv6 = protocol == EthernetProtocol::Ipv6;
        let udp = segments.kind == SegmentKind::Udp;
        let right = match segments.kind {
            SegmentKind::Tcp4 => !ipv6 && transport_protocol == IpProtocol::Tcp,
            SegmentKind::Tcp6 => ipv6 && transport_protocol == IpProtocol::Tcp,
            SegmentKind::Udp => transport_protocol == IpProtocol::Udp,
        };
        let offset = if udp { 6 } else { 16 };
        if !right || usize::from(partial.start) != transport || partial.offset != offset {
            return Err(BadSuperFrame);
        }
        let header = transport
            + if udp {
                8
            } else {
                // The port's own length of all headers is a hint; the data offset is what counts.
                let words = frame.get(transport + 12).ok_or(BadSuperFrame)? >> 4;
                usize::from(words.max(5)) * 4
            };
        let payload = usize::from(segments.payload_bytes);
        let total = frame.len().checked_sub(header).ok_or(BadSuperFrame)?;
        if payload == 0 || frame.len() - network > 65_535 + if ipv6 { 40 } else { 0 } {
            return Err(BadSuperFrame);
        }
        let cut = Self {
            network,
            transport,
            header,
            payload,
            frame: frame.len(),
            ipv6,
            udp,
        };
        match total.div_ceil(payload) {
            0 | 1 => Ok(None),
            count if count > Self::SEGMENTS_MAX => Err(BadSuperFrame),
            _ => Ok(Some(cut)),
        }
    }

    /// How many segments: at least two.
    pub(super) fn count(&self) -> usize {
        (self.frame - self.header).div_ceil(self.payload)
    }

    /// Bytes of one segment's frame.
    pub(super) fn frame_bytes(&self, index: usize) -> usize {
        self.header + self.payload_range(index).len()
    }

    /// Writes one segment of `frame`, the super-frame that this was made for, to `out`, which is as long as
    /// [`Cut::frame_bytes`] says.
    pub(super) fn write(&self, frame: &[u8], index: usize, out: &mut [u8]) {
        let payload = self.payload_range(index);
        let last = payload.end == self.frame;
        out[..self.header].copy_from_slice(&frame[..self.header]);
        out[self.header..].copy_from_slice(&frame[payload]);

        let segment_bytes = out.len() - self.transport;
        let before = (self.frame - self.transport) as u64;
        if self.ipv6 {
            put(
                out,
                self.network + 4,
                (out.len() - self.network - 40) as u16,
            );
        } else {
            let id = take(out, self.network + 4).wrapping_add(index as u16);
            put(out, self.network + 2, (out.len() - self.network) as u16);
            put(out, self.network + 4, id);
            checksum::finish_ipv4(&mut out[self.network..self.transport]);
        }
        let field = if self.udp {
            put(out, self.transport + 4, segment_bytes as u16);
            self.transport + 6
        } else {
            let at = self.transport + 4;
            let sequence = u32::from_be_bytes([out[at], out[at + 1], out[at + 2], out[at + 3]]);
            let sequence = sequence.wrapping_add((index * self.payload) as u32);
            out[at..at + 4].copy_from_slice(&sequence.to_be_bytes());
            let flags = &mut out[self.transport + 13];
            if !last {
                *flags &= !(TCP_FIN | TCP_PSH);
            }
            if index > 0 {
                *flags &= !TCP_CWR;
            }
            self.transport + 16
        };
        // The pseudo-header's sum holds the length: take the super-frame's out, this one's in. In one's
        // complement the first is adding its complement (a length may have more than 16 bits over IPv6).
        let old = u64::from(!checksum::fold(before));
        let sum = checksum::fold(u64::from(take(out, field)) + old + segment_bytes as u64);
        put(out, field, sum);
    }

    fn payload_range(&self, index: usize) -> std::ops::Range<usize> {
        let start = self.header + index * self.payload;
        start..(start + self.payload).min(self.frame)
    }
}

const TCP_FIN: u8 = 0x01;
const TCP_PSH: u8 = 0x08;
const TCP_CWR: u8 = 0x80;

fn take(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

fn put(bytes: &mut [u8], at: usize, value: u16) {
    bytes[at..at + 2].copy_from_slice(&value.to_be_bytes());
}

#[cfg(test)]
pub(super) mod tests;
