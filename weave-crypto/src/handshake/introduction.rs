//! Who each side says it is, inside the Noise handshake: the payload of XX messages 2 and 3.

use serde::{Deserialize, Serialize};

use super::{HandshakeError, LinkLocal};
use crate::{
    identity::{PeerId, verify_noise_binding},
    noise::Noise,
};

/// The payload, in postcard.
#[derive(Serialize, Deserialize)]
pub(super) struct Introduction {
    pub(super) peer: PeerId,
    /// The signature's two halves: serde knows arrays up to 32.
    pub(super) binding: [[u8; 32]; 2],
    pub(super) boot_id: u64,
}

/// What a checked introduction says.
pub(super) struct Theirs {
    pub(super) peer: PeerId,
    pub(super) noise_public: [u8; 32],
    pub(super) boot_id: u64,
}

/// What we say.
pub(super) fn write(local: &LinkLocal) -> Vec<u8> {
    let introduction = Introduction {
        peer: local.identity.peer_id(),
        binding: halves(&local.identity.noise_binding()),
        boot_id: local.boot_id,
    };
    postcard::to_stdvec(&introduction).expect("fixed fields always have an encoding")
}

/// Reads message 2 or 3 and checks that whoever wrote it is who it says.
pub(super) fn read(noise: &mut Noise, message: &[u8]) -> Result<Theirs, HandshakeError> {
    let payload = noise.read(message)?;
    let (introduction, rest): (Introduction, _) =
        postcard::take_from_bytes(&payload).map_err(|_| HandshakeError::Malformed)?;
    if !rest.is_empty() {
        return Err(HandshakeError::Malformed);
    }
    let noise_public = noise.remote_static().ok_or(HandshakeError::Noise)?;
    verify_noise_binding(
        &introduction.peer,
        &noise_public,
        &joined(&introduction.binding),
    )
    .map_err(|_| HandshakeError::BadBinding)?;
    Ok(Theirs {
        peer: introduction.peer,
        noise_public,
        boot_id: introduction.boot_id,
    })
}

pub(super) fn halves(signature: &[u8; 64]) -> [[u8; 32]; 2] {
    let mut halves = [[0; 32]; 2];
    halves[0].copy_from_slice(&signature[..32]);
    halves[1].copy_from_slice(&signature[32..]);
    halves
}

fn joined(halves: &[[u8; 32]; 2]) -> [u8; 64] {
    let mut signature = [0; 64];
    signature[..32].copy_from_slice(&halves[0]);
    signature[32..].copy_from_slice(&halves[1]);
    signature
}
