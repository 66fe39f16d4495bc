//! The two traits through which a router touches the world: [`FrameIo`] for Ethernet frames (the overlay),
//! [`PacketIo`] for UDP datagrams (the underlay).
//!
//! Implementations never block and move whole batches. `weave-io` has TAP, UDP and memory ones; anything that
//! can hand over Ethernet frames can be another.

use std::io;
use std::net::{IpAddr, SocketAddr};

use crate::batch::Batch;

/// A source and sink of Ethernet frames: one port of the virtual switch.
pub trait FrameIo {
    /// What this port can do; asked once, before the first batch.
    fn caps(&self) -> FrameCaps;

    /// Appends frames that are ready to `rx` until none is ready or `rx` is full, and says how many.
    ///
    /// `Ok(0)` means that nothing is ready (or `rx` had no room).
    ///
    /// # Errors
    /// Only when the port itself is broken (the device is gone). One bad frame is skipped.
    fn recv(&mut self, rx: &mut Batch<FrameMeta>) -> io::Result<usize>;

    /// Takes frames from the front of `tx` and sends them until it is empty or the port takes no more, and
    /// says how many it took. What stays in `tx` could not be sent now.
    ///
    /// # Errors
    /// Only when the port itself is broken. A frame that the port refuses is taken and dropped.
    fn send(&mut self, tx: &mut Batch<FrameMeta>) -> io::Result<usize>;

    /// Frames that were taken by `send`, refused by the device, and dropped, since the start.
    fn refused(&self) -> u64 {
        0
    }

    /// Frames that came in at the port and that `recv` could not give, since the start.
    fn missed(&self) -> Missed {
        Missed::default()
    }

    /// Whether `recv` has frames that nothing tells of which one could wait for: they came into being inside the
    /// port. Whoever waits for frames asks this first.
    fn has_ready(&self) -> bool {
        false
    }
}

impl<T: FrameIo + ?Sized> FrameIo for Box<T> {
    fn caps(&self) -> FrameCaps {
        (**self).caps()
    }

    fn recv(&mut self, rx: &mut Batch<FrameMeta>) -> io::Result<usize> {
        (**self).recv(rx)
    }

    fn send(&mut self, tx: &mut Batch<FrameMeta>) -> io::Result<usize> {
        (**self).send(tx)
    }

    fn refused(&self) -> u64 {
        (**self).refused()
    }

    fn missed(&self) -> Missed {
        (**self).missed()
    }

    fn has_ready(&self) -> bool {
        (**self).has_ready()
    }
}

/// A source and sink of UDP datagrams in runs.
pub trait PacketIo {
    /// What this socket can do; asked once, before the first batch.
    fn caps(&self) -> PacketCaps;

    /// Appends runs that are ready to `rx` until none is ready or `rx` is full, and says how many runs.
    ///
    /// # Errors
    /// Only when the socket itself is broken.
    fn recv(&mut self, rx: &mut Batch<PacketMeta>) -> io::Result<usize>;

    /// Takes runs from the front of `tx` and sends them until it is empty or the socket takes no more, and
    /// says how many it took. What stays in `tx` could not be sent now.
    ///
    /// # Errors
    /// Only when the socket itself is broken. A run that the network refuses (unreachable, too big) is taken
    /// and dropped.
    fn send(&mut self, tx: &mut Batch<PacketMeta>) -> io::Result<usize>;

    /// Packets that were taken by `send`, refused by the network, and dropped, since the start.
    fn refused(&self) -> u64 {
        0
    }
}

/// Frames that came in at a port and got no further.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Missed {
    /// The device's buffer was full: they came faster than they were read.
    pub overrun: u64,
    /// Larger than the device's MTU, and nothing tells how to cut them; or larger than any frame.
    pub unfinished: u64,
}

/// What a [`FrameIo`] can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameCaps {
    /// The largest Ethernet frame it takes or gives that is no super-frame: header included, FCS not.
    pub frame_bytes_max: usize,
    /// It takes TCP and UDP super-frames ([`Offload::segments`]) up to 65,535 bytes of IP. What it gives says for
    /// itself what it is.
    pub segmentation: bool,
    /// It takes frames whose TCP or UDP checksum is not computed yet.
    pub checksum: bool,
}

/// What a [`PacketIo`] can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PacketCaps {
    /// Packets in one run that it sends by one call; 1 without segmentation offload. At most 64.
    pub gso_segments_max: usize,
    /// Received runs may hold more than one packet.
    pub gro: bool,
    /// Packets leave with "don't fragment" set, so that the path MTU is what it seems.
    pub dont_fragment: bool,
}

/// What stands beside the bytes of a frame: the port and virtio-net's metadata.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct FrameMeta {
    /// Work that was left to the device: checksum and segmentation.
    pub offload: Offload,
}

/// The offload fields of a frame, as in virtio 1.2 section 5.1.6 `struct virtio_net_hdr`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Offload {
    /// Set when the TCP or UDP checksum is not computed: the field holds the pseudo-header's sum.
    pub checksum: Option<PartialChecksum>,
    /// Set for a super-frame, which stands for several segments.
    pub segments: Option<Segments>,
}

/// Where a checksum is to be computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PartialChecksum {
    /// Summing starts here: bytes from the start of the frame.
    pub start: u16,
    /// The sum goes here: bytes from `start` (16 for TCP, 6 for UDP).
    pub offset: u16,
}

/// How a super-frame is to be cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segments {
    /// The protocol to cut.
    pub kind: SegmentKind,
    /// Payload bytes of each segment but the last (`gso_size`); never 0.
    pub payload_bytes: u16,
}

/// The protocol of a super-frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SegmentKind {
    /// TCP over IPv4.
    Tcp4,
    /// TCP over IPv6.
    Tcp6,
    /// UDP over either (USO).
    Udp,
}

/// What stands beside the bytes of a run of packets.
///
/// A run is packets of equal size but the last, back to back in one buffer, to or from one address, with one
/// ECN value. It is no unit of the protocol: the same packets one by one mean the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PacketMeta {
    /// The other end.
    pub remote: SocketAddr,
    /// Our own address that it came to or should leave from, where known.
    pub local: Option<IpAddr>,
    /// Bytes of each packet but the last; at least 1, and the run's length where there is only one.
    pub segment_bytes: usize,
    /// The outer header's ECN field.
    pub ecn: Ecn,
}

impl PacketMeta {
    /// One packet of `len_bytes` to or from `remote`.
    pub fn single(remote: SocketAddr, len_bytes: usize) -> Self {
        Self {
            remote,
            local: None,
            segment_bytes: len_bytes.max(1),
            ecn: Ecn::NotEct,
        }
    }
}

/// The two ECN bits of an IP header (RFC 3168 section 5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(u8)]
pub enum Ecn {
    /// Not ECN-capable.
    #[default]
    NotEct = 0b00,
    /// ECN-capable, codepoint 1 (L4S).
    Ect1 = 0b01,
    /// ECN-capable, codepoint 0.
    Ect0 = 0b10,
    /// Congestion experienced.
    Ce = 0b11,
}

impl Ecn {
    /// The codepoint in the two low bits of `bits`.
    pub fn from_bits(bits: u8) -> Self {
        match bits & 0b11 {
            0b00 => Self::NotEct,
            0b01 => Self::Ect1,
            0b10 => Self::Ect0,
            _ => Self::Ce,
        }
    }
}
