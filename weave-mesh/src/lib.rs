//! Links, signed records, gossip and dialling of the weave overlay network, without I/O.
#![forbid(unsafe_code)]
#![deny(missing_docs)]
