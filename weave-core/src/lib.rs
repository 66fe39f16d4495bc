//! A whole virtual Ethernet router without I/O: switch, routes, forwarder and control machine.
#![forbid(unsafe_code)]
#![deny(missing_docs)]

mod batch;
mod fib;
mod io;
mod notice;
mod site;
mod stats;

pub use batch::{BUFFER_BYTES, Batch, Buffer, HEAD_BYTES};
pub use fib::{Fib, Heard, Neighbour, NeighbourIndex, NextHop, Receiver, SiteRoute};
pub use io::{
    Ecn, FrameCaps, FrameIo, FrameMeta, Offload, PacketCaps, PacketIo, PacketMeta, PartialChecksum,
    SegmentKind, Segments,
};
pub use notice::{Notice, Notices};
pub use site::Site;
pub use stats::{DropReason, ForwardStats, Traffic};
