//! Transports, drivers, host plumbing and the simulator of the weave overlay network.
#![deny(unsafe_code)]
#![deny(missing_docs)]

#[cfg(any(feature = "driver", feature = "sim"))]
mod driver;
#[cfg(feature = "host")]
pub mod host;
mod memory;
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

#[cfg(feature = "driver")]
pub use driver::run::{
    Ended, FramePort, Handle, RunConfig, RunError, Running, Sockets, StartError, start,
};
#[cfg(any(feature = "driver", feature = "sim"))]
pub use driver::{
    ControlLoop, Input, NoticeQueue, Progress, Published, Shared, SharedStats, Turn, Worker,
    WorkerError,
};
pub use memory::{
    MemoryFrame, MemoryHost, MemoryNet, MemoryPacket, MemoryPort, MemorySocket, MemoryWire,
};
pub use state::{StateDir, StateError, os_seed};
#[cfg(feature = "tap")]
pub use tap::{Tap, TapConfig, TapError};
#[cfg(feature = "udp")]
pub use udp::UdpTransport;
