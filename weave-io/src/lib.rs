//! Transports, drivers, host plumbing and the simulator of the weave overlay network: the one crate that touches the
//! world. What to do is decided in `weave-core`; here bytes move.
//!
//! | for | use | feature |
//! | --- | --- | --- |
//! | a whole router on threads and sockets | `start`, `Handle` | `driver` |
//! | one turn at a time, without a clock | `Worker`, `ControlLoop` | `driver` or `sim` |
//! | frames from a TAP device | `Tap` | `tap` |
//! | frames from an existing device, by packet capture | `PcapPort` | `pcap` |
//! | packets over UDP, with GSO and GRO | `UdpTransport` | `udp` |
//! | frames and packets in memory, for tests and embedding | [`MemoryPort`], [`MemorySocket`], [`MemoryNet`] | |
//! | an address of the router's own on the overlay | [`Answering`], [`Station`] | |
//! | identity, boot id and known peers in a folder | [`StateDir`] | |
//! | bridges, veths, addresses, namespaces | `host` | `host` |
//! | whole networks in virtual time | `sim` | `sim` |
//!
//! # A port in memory
//!
//! What is pushed at the host's end comes out of the port in a batch, and the other way round. A port of one's own
//! implements the same trait, [`FrameIo`](weave_core::FrameIo).
//!
//! ```
//! use weave_core::{BUFFER_BYTES, Batch, FrameIo, FrameMeta};
//! use weave_io::MemoryPort;
//!
//! let (mut port, host) = MemoryPort::plain(1514, 64); // frames up to 1,514 bytes, 64 of them each way
//! host.push_bytes(&[0xff; 60]);
//!
//! let mut batch = Batch::<FrameMeta>::new(8, BUFFER_BYTES);
//! assert_eq!(port.recv(&mut batch)?, 1);
//! assert_eq!(batch.front().map(|(frame, _)| frame.len()), Some(60));
//!
//! assert_eq!(port.send(&mut batch)?, 1);
//! assert_eq!(host.pop().map(|frame| frame.bytes), Some(vec![0xff; 60]));
//! # Ok::<(), std::io::Error>(())
//! ```
#![deny(unsafe_code)]
#![deny(missing_docs)]

mod answer;
#[cfg(any(feature = "driver", feature = "sim"))]
mod driver;
#[cfg(feature = "host")]
pub mod host;
mod memory;
#[cfg(feature = "pcap")]
mod pcap;
#[cfg(feature = "sim")]
pub mod sim;
mod state;
#[cfg(feature = "tap")]
mod tap;
#[cfg(feature = "driver")]
mod tcp;
#[cfg(feature = "udp")]
mod udp;
mod wake;

pub use answer::{Answering, Station};
#[cfg(feature = "driver")]
pub use driver::run::{
    BridgePort, Ended, FramePort, Handle, HostAddresses, RunConfig, RunError, Running, Sockets,
    StartError, start,
};
#[cfg(any(feature = "driver", feature = "sim"))]
pub use driver::{
    ControlLoop, Inbox, Input, NoticeQueue, Progress, Published, Shared, SharedStats, StreamQueue,
    Turn, Worker, WorkerError,
};
pub use memory::{
    MemoryFrame, MemoryHost, MemoryNet, MemoryPacket, MemoryPort, MemorySocket, MemoryWire,
};
#[cfg(feature = "pcap")]
pub use pcap::{PcapError, PcapPort};
pub use state::{StateDir, StateError, os_seed};
#[cfg(feature = "tap")]
pub use tap::{Tap, TapConfig, TapError};
#[cfg(feature = "udp")]
pub use udp::UdpTransport;
