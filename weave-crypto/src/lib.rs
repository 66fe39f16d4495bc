//! Identity, Noise handshakes and sealed tunnels of the weave overlay network.
//!
//! Everything here is computation: no sockets, no clock, no threads, no randomness of its own. Bytes and seeds come in as
//! arguments, bytes and keys go out.
//!
//! | for | use |
//! | --- | --- |
//! | who a router is, and signatures | [`Identity`], [`PeerId`], [`verify`] |
//! | which passwords let a router join | [`PasswordKey`], [`Passwords`] |
//! | setting up a link over a byte stream: hello, password, then Noise XX | [`LinkHandshake`] |
//! | everything on that stream afterwards | [`SealedStream`] |
//! | setting up a tunnel through the mesh: Noise IK | [`TunnelInitiation`], [`respond`] |
//! | sealing and opening data packets, from many threads | [`TunnelKeys`] |
//! | telling old packets from new ones | [`ReplayWindow`] |
//!
//! # Two routers set up a link
//!
//! ```
//! use std::sync::Arc;
//! use weave_crypto::{Identity, LinkHandshake, LinkLocal, NetworkId, Passwords};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! // In a program the seeds are 32 bytes of the system's randomness: one for ever, one fresh for each handshake.
//! let local = |seed, boot_id| LinkLocal {
//!     identity: Arc::new(Identity::from_seed(seed)),
//!     network: NetworkId::from_name("weave"),
//!     boot_id,
//!     passwords: Passwords::none(),
//! };
//! let mut to_listener = Vec::new();
//! let mut to_dialler = Vec::new();
//! let mut dialler = LinkHandshake::dialler(local([1; 32], 10), [3; 32], &mut to_listener);
//! let mut listener = LinkHandshake::listener(local([2; 32], 20), [4; 32]);
//!
//! let (mut at_dialler, mut at_listener) = (None, None);
//! while at_listener.is_none() {
//!     at_listener = listener.handle_bytes(&std::mem::take(&mut to_listener), &mut to_dialler)?;
//!     if at_dialler.is_none() {
//!         at_dialler = dialler.handle_bytes(&std::mem::take(&mut to_dialler), &mut to_listener)?;
//!     }
//! }
//! let mut at_dialler = at_dialler.expect("the dialler is the first to have the keys");
//! let mut at_listener = at_listener.expect("the loop ends with it");
//! assert_eq!(at_listener.peer, Identity::from_seed([1; 32]).peer_id());
//!
//! // From here on every byte is sealed.
//! let mut wire = Vec::new();
//! at_dialler.stream.seal(b"hello", &mut wire)?;
//! at_listener.stream.handle_bytes(&wire);
//! assert_eq!(at_listener.stream.next_message()?, Some(b"hello".to_vec()));
//! # Ok(())
//! # }
//! ```
//!
//! # Two routers agree on a tunnel
//!
//! ```
//! use std::sync::Arc;
//! use weave_crypto::{Identity, NetworkId, Suite, TunnelInitiation, TunnelLocal, respond};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let local = |seed, boot_id| TunnelLocal {
//!     identity: Arc::new(Identity::from_seed(seed)),
//!     network: NetworkId::from_name("weave"),
//!     boot_id,
//!     aes: true,
//! };
//! let (a, b) = (local([1; 32], 10), local([2; 32], 20));
//! // Each knows the other's keys and boot id from a signed record.
//! let (id_a, id_b) = (a.identity.peer_id(), b.identity.peer_id());
//! let (public_a, public_b) = (a.identity.noise_public(), b.identity.noise_public());
//!
//! let suite = Suite::Aes256Gcm;
//! let (initiation, first) = TunnelInitiation::start(&a, id_b, &public_b, 20, suite, 0xaaaa, [3; 32])?;
//! let response = respond(&b, id_a, &public_a, 10, &first, 0xbbbb, [4; 32])?;
//! let sender = initiation.finish(&response.message)?;
//! let receiver = response.keys;
//!
//! let counter = sender.reserve(1)?;
//! let mut packet = b"an Ethernet frame".to_vec();
//! let tag = sender.seal(counter, b"header", &mut packet)?;
//! packet.extend_from_slice(&tag);
//!
//! assert_eq!(receiver.open(counter, b"header", &mut packet)?, b"an Ethernet frame");
//! receiver.accept(&[counter], |_, verdict| assert!(verdict.is_ok()));
//! receiver.accept(&[counter], |_, verdict| assert!(verdict.is_err()));
//! # Ok(())
//! # }
//! ```
//!
//! # What it rests on
//!
//! Ed25519, SHA-256, HKDF and both ciphers are ring's, Diffie-Hellman is x25519-dalek's, the Noise patterns are snow's, on
//! those primitives and a ChaCha20 generator with the caller's seed; passwords are stretched by argon2 and proved by spake2.
//! Results of Diffie-Hellman that are all zero, and elements of the password exchange outside of the group, end a handshake.
//! Seeds, private X25519 keys and stretched passwords are wiped from memory when dropped, and no secret is in any `Debug`; the
//! cipher keys inside ring, the chaining state inside snow and the state of spake2 are not wiped, since none of them offers it.
//!
//! Errors say whose fault they are ([`Fault`]), and no bytes from outside cause a panic or an allocation beyond the
//! documented bounds. The bytes of every format are fixed by the vectors in `tests/vectors`.
#![forbid(unsafe_code)]
#![deny(missing_docs)]

mod admission;
mod error;
mod handshake;
mod hex;
mod identity;
mod noise;
mod replay;
mod stream;
mod tunnel;

pub use crate::{
    admission::{PasswordError, PasswordKey, Passwords},
    error::Fault,
    handshake::{Established, HandshakeError, LinkHandshake, LinkLocal},
    identity::{
        BadSignature, Identity, KeyFileError, NetworkId, ParseIdError, PeerId, ShortId,
        noise_binding_message, verify, verify_noise_binding,
    },
    replay::{ReplayError, ReplayWindow},
    stream::{SealedStream, StreamError},
    tunnel::{
        OpenError, SealError, Suite, TunnelError, TunnelInitiation, TunnelKeys, TunnelLocal,
        TunnelResponse, initiation_boot_ids, respond, response_index,
    },
};
