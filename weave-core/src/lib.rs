//! A whole virtual Ethernet router without I/O: switch, routes, forwarder and control machine.
//!
//! Two machines make a router, and neither knows a socket, a clock or a thread:
//!
//! * [`Router`], the control plane: meets peers, keeps links and keys, computes routes, and publishes an
//!   immutable forwarding snapshot, the [`Fib`].
//! * [`Forwarder`], the data plane: takes batches of frames and packets, and puts out batches of packets and
//!   frames, as the snapshot and the shared [`MacTable`] say.
//!
//! The caller moves bytes between them and the world, by [`FrameIo`] and [`PacketIo`] or any other way.
//! `weave-io` has ready-made transports, drivers and a simulator.
//!
//! # A whole router, embedded
//!
//! Feed inputs (`handle_*`), then drain outputs (`poll_*`). This one has a clock that stands still and no peers;
//! `examples/two_routers.rs` has two that talk.
//!
//! ```
//! use std::{sync::Arc, time::{Duration, Instant}};
//! use weave_core::*;
//!
//! let now = Instant::now();
//! let identity = Arc::new(Identity::from_seed([1; 32])); // 32 secret bytes, kept
//! let macs = Arc::new(MacTable::new(4096, now, 0));
//! let config = Config::new("home", "my-host");
//! let seed = [2; 32]; // fresh secret bytes at each start
//! let mut router = Router::new(config, identity, seed, now, Duration::ZERO, 1, macs.clone());
//! router.handle_command(now, Command::Connect("198.18.0.2:6783".parse()?));
//!
//! let mut forwarder = Forwarder::new(ForwarderConfig::new(now));
//! let mut frames = Batch::<FrameMeta>::new(16, BUFFER_BYTES);  // from the port
//! let mut packets = Batch::new(64, BUFFER_BYTES);              // to the network
//! let (mut to_port, mut notices) = (Batch::new(16, BUFFER_BYTES), Notices::new());
//! let mut streamed = Streamed::new();                          // to neighbours that UDP does not reach
//!
//! // One turn: control first, then data.
//! while let Some(action) = router.poll_action() {
//!     println!("to do: {action:?}"); // resolve, dial, write, close, send a packet, store
//! }
//! let fib = router.poll_fib().expect("the first snapshot");
//! let view = View { fib: &fib, macs: &macs };
//! let mut out =
//!     Output { packets: &mut packets, frames: &mut to_port, notices: &mut notices, streamed: &mut streamed };
//! assert_eq!(forwarder.handle_frames(now, view, &mut frames, &mut out), Progress::Done);
//! while let Some(notice) = notices.pop() {
//!     router.handle_notice(now, notice);
//! }
//! router.handle_streamed(now, &mut streamed);
//! println!("{}; wake me at {:?}", router.status(now, Traffic::default()).verdict().sentence, router.poll_timeout());
//! # Ok::<(), weave_core::TargetError>(())
//! ```
#![forbid(unsafe_code)]
#![deny(missing_docs)]

mod announcement;
mod batch;
mod fib;
mod forward;
mod frame;
mod io;
mod loop_frame;
mod mac_table;
mod notice;
mod packet;
mod router;
mod routes;
mod site;
mod stats;
mod streamed;
mod timer;
mod topology;

pub use batch::{BUFFER_BYTES, Batch, Buffer, HEAD_BYTES};
pub use fib::{
    Fib, Heard, Neighbour, NeighbourIndex, NextHop, Origin, Receiver, Remote, SiteRoute,
};
pub use forward::{Forwarder, ForwarderConfig, Output, Progress, View, recover_offload};
pub use io::{
    Ecn, FrameCaps, FrameIo, FrameMeta, Missed, Offload, PacketCaps, PacketIo, PacketMeta,
    PartialChecksum, SegmentKind, Segments,
};
pub use loop_frame::LoopFrame;
pub use mac_table::{Learned, MacEntry, MacTable};
pub use notice::{Notice, Notices, PortChange};
pub use packet::{
    ENTRY_HEADER_BYTES, ENVELOPE_BYTES, Entries, Entry, EntryChecksum, EntryHeader, Envelope,
    FLOOD_HEADER_BYTES, FloodHeader, Kind, Note, OVERHEAD_BYTES_V4, OVERHEAD_BYTES_V6,
    PACKET_OVERHEAD_BYTES, PACKET_VERSION, PIECE_BYTES, PIECES_MAX, PacketError, PacketView, Piece,
    SEALED_HEADER_BYTES, SealedHeader, TAG_BYTES, TTL_START, overlay_mtu_bytes, seal_packet,
};
pub use router::{
    Action, Command, Config, ConnectionStatus, Event, FindError, Level, MacStatus, OtherPath,
    PeerStatus, Ping, PingError, PingHop, RefusedStatus, RouteStatus, Router, RouterWake,
    SegmentStatus, Status, TargetStatus, Trace, TraceHop, Verdict, control_meaning,
};
pub use routes::{PathNode, PathTree};
pub use site::Site;
pub use smoltcp::wire::EthernetAddress;
pub use stats::{DropReason, ForwardStats, Traffic};
pub use streamed::Streamed;
pub use topology::{Edge, ReportedLink, Topology};
/// What a router is made of, re-exported so that embedders need one crate.
pub use weave_crypto::{Identity, NetworkId, PeerId, ShortId, TunnelKeys};
pub use weave_mesh::{CloseReason, ConnId, MeshConfig, Target, TargetError, Verifier};
