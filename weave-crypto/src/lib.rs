//! Identity, Noise handshakes and sealed tunnels of the weave overlay network.
#![forbid(unsafe_code)]
#![deny(missing_docs)]
