//! A whole virtual Ethernet router without I/O: switch, routes, forwarder and control machine.
#![forbid(unsafe_code)]
#![deny(missing_docs)]
