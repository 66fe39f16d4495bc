//! Identity, Noise handshakes and sealed tunnels of the weave overlay network.
#![forbid(unsafe_code)]
#![deny(missing_docs)]

mod error;
mod handshake;
mod hex;
mod identity;
mod noise;
mod replay;
mod stream;
mod tunnel;

pub use crate::{
    error::Fault,
    handshake::{Established, HandshakeError, LinkHandshake, LinkLocal},
    identity::{
        BadSignature, Identity, KeyFileError, NetworkId, ParseIdError, PeerId, ShortId, verify,
        verify_noise_binding,
    },
    replay::{ReplayError, ReplayWindow},
    stream::{SealedStream, StreamError},
    tunnel::{
        OpenError, SealError, Suite, TunnelError, TunnelInitiation, TunnelKeys, TunnelLocal,
        TunnelResponse, initiation_boot_ids, respond, response_index,
    },
};
