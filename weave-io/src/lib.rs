//! Transports, drivers, host plumbing and the simulator of the weave overlay network.
#![deny(unsafe_code)]
#![deny(missing_docs)]

#[cfg(feature = "host")]
pub mod host;
