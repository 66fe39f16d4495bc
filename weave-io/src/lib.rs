//! Transports, drivers, host plumbing and the simulator of the weave overlay network.
#![deny(unsafe_code)]
#![deny(missing_docs)]

#[cfg(feature = "host")]
pub mod host;
mod memory;
mod state;
#[cfg(feature = "tap")]
mod tap;
#[cfg(feature = "udp")]
mod udp;
mod wake;

pub use memory::{
    MemoryFrame, MemoryHost, MemoryNet, MemoryPacket, MemoryPort, MemorySocket, MemoryWire,
};
pub use state::{StateDir, StateError, os_seed};
#[cfg(feature = "tap")]
pub use tap::{Tap, TapConfig, TapError};
#[cfg(feature = "udp")]
pub use udp::UdpTransport;
