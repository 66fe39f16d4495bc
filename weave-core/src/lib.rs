//! A whole virtual Ethernet router without I/O: switch, routes, forwarder and control machine.
#![forbid(unsafe_code)]
#![deny(missing_docs)]

mod batch;
mod fib;
mod forward;
mod frame;
mod io;
mod mac_table;
mod notice;
mod packet;
mod router;
mod routes;
mod site;
mod stats;
mod timer;
mod topology;

pub use batch::{BUFFER_BYTES, Batch, Buffer, HEAD_BYTES};
pub use fib::{Fib, Heard, Neighbour, NeighbourIndex, NextHop, Receiver, SiteRoute};
pub use forward::{Forwarder, ForwarderConfig, Output, Progress, View};
pub use io::{
    Ecn, FrameCaps, FrameIo, FrameMeta, Offload, PacketCaps, PacketIo, PacketMeta, PartialChecksum,
    SegmentKind, Segments,
};
pub use mac_table::{Learned, MacEntry, MacTable};
pub use notice::{Notice, Notices};
pub use packet::{
    ENTRY_HEADER_BYTES, ENVELOPE_BYTES, Entries, Entry, EntryChecksum, EntryHeader, Envelope,
    FLOOD_HEADER_BYTES, FloodHeader, Kind, Note, OVERHEAD_BYTES_V4, OVERHEAD_BYTES_V6,
    PACKET_OVERHEAD_BYTES, PACKET_VERSION, PIECE_BYTES, PIECES_MAX, PacketError, PacketView, Piece,
    SEALED_HEADER_BYTES, SealedHeader, TAG_BYTES, TTL_START, overlay_mtu_bytes, seal_packet,
};
pub use router::{
    Action, Command, Config, ConnectionStatus, Event, Level, MacStatus, PeerStatus, RouteStatus,
    Router, RouterWake, Status, TargetStatus, Verdict,
};
pub use routes::{PathNode, PathTree};
pub use site::Site;
pub use smoltcp::wire::EthernetAddress;
pub use stats::{DropReason, ForwardStats, Traffic};
pub use topology::{Edge, ReportedLink, Topology};
