//! Noise IK: two routers that know each other's keys agree on those of a tunnel, in one message each way.
//!
//! ```text
//!   message 1   0 initiator's boot id, 8 bytes, big-endian
//!               8 responder's boot id, as the initiator knows it, 8 bytes
//!              16 Noise: e, es, s, ss, { suite 1 byte, initiator's index 4 bytes }
//!
//!   message 2   0 initiator's index, 4 bytes: which initiation is answered
//!               4 Noise: e, ee, se, { responder's index 4 bytes }
//!
//!   prologue    "weave tunnel 1" 0 | network id | initiator's peer id | responder's | both boot ids
//! ```
//!
//! The messages travel through the mesh, so anybody in it may see, change, repeat or drop them. Message 1 can be replayed
//! while both boot ids stand; that makes the responder draw keys which nobody else ever holds, and since it seals with
//! confirmed keys only, nothing comes of it but the work. The caller bounds how often it answers.

#[cfg(test)]
mod tests;

use std::sync::Arc;

use zeroize::Zeroizing;

use super::{Suite, TunnelKeys};
use crate::{
    error::Fault,
    identity::{Identity, NetworkId, PeerId},
    noise::{self, Noise, NoiseError, Setup},
};

/// What a router brings to each tunnel.
#[derive(Clone, Debug)]
pub struct TunnelLocal {
    /// Who we are.
    pub identity: Arc<Identity>,
    /// Which network we are of.
    pub network: NetworkId,
    /// This process's boot id, as our own record says it.
    pub boot_id: u64,
    /// Whether our own record lists AES-256-GCM; without it that suite is refused.
    pub aes: bool,
}

/// An initiation that waits for its answer.
pub struct TunnelInitiation {
    noise: Noise,
    suite: Suite,
    local_index: u32,
}

impl TunnelInitiation {
    /// Begins a tunnel to `peer`, whose keys and boot id its record gives, and returns message 1, which may be sent several
    /// times. About 200 µs on one x86-64 core.
    ///
    /// `local_index` is to be drawn at random and not in use for another tunnel of ours; packets to us will carry it. `seed`
    /// makes the ephemeral key: 32 fresh secret bytes, never used again.
    ///
    /// # Errors
    /// [`TunnelError::Suite`] if `local` does not offer the suite, [`TunnelError::WeakKey`] if `peer_noise_public` has small
    /// order.
    pub fn start(
        local: &TunnelLocal,
        peer: PeerId,
        peer_noise_public: &[u8; 32],
        peer_boot_id: u64,
        suite: Suite,
        local_index: u32,
        seed: [u8; 32],
    ) -> Result<(Self, Vec<u8>), TunnelError> {
        check_suite(local, suite)?;
        let boot_ids = (local.boot_id, peer_boot_id);
        let mut noise = Noise::initiator(&Setup {
            pattern: noise::IK,
            secret: local.identity.noise_secret(),
            remote: Some(peer_noise_public),
            psk: None,
            prologue: &prologue(local.network, local.identity.peer_id(), peer, boot_ids),
            seed: Zeroizing::new(seed),
        })?;
        let [i0, i1, i2, i3] = local_index.to_be_bytes();
        let mut message = Vec::with_capacity(INITIATION_BYTES);
        message.extend_from_slice(&boot_ids.0.to_be_bytes());
        message.extend_from_slice(&boot_ids.1.to_be_bytes());
        message.extend_from_slice(&noise.write(&[suite_byte(suite), i0, i1, i2, i3])?);
        Ok((
            Self {
                noise,
                suite,
                local_index,
            },
            message,
        ))
    }

    /// Takes message 2 and returns the keys, confirmed: the initiator may seal with them at once, and should, since the
    /// responder waits for it. About 150 µs.
    ///
    /// A message that does not fit ends the initiation. Look at [`response_index`] first, so that a late answer to an
    /// earlier one does no harm.
    ///
    /// # Errors
    /// [`TunnelError::OtherInitiation`], [`TunnelError::Length`], [`TunnelError::Noise`] or [`TunnelError::WeakKey`].
    pub fn finish(mut self, message: &[u8]) -> Result<TunnelKeys, TunnelError> {
        let (index, sealed) = split_index(message).ok_or(TunnelError::Length)?;
        if index != self.local_index {
            return Err(TunnelError::OtherInitiation);
        }
        if message.len() != RESPONSE_BYTES {
            return Err(TunnelError::Length);
        }
        let payload = self.noise.read(sealed)?;
        let remote_index = u32::from_be_bytes(payload.try_into().map_err(|_| TunnelError::Length)?);
        Ok(TunnelKeys::new(
            &self.noise.split()?,
            self.suite,
            self.local_index,
            remote_index,
            true,
        ))
    }

    /// The receiver index we drew for this tunnel.
    #[must_use]
    pub fn local_index(&self) -> u32 {
        self.local_index
    }
}

/// No keys in it.
impl std::fmt::Debug for TunnelInitiation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TunnelInitiation")
            .field("suite", &self.suite)
            .field("local_index", &self.local_index)
            .finish_non_exhaustive()
    }
}

/// An answered initiation: our keys, and what the other side needs to get the same.
#[derive(Debug)]
pub struct TunnelResponse {
    /// Our keys, not confirmed: open with them at once, seal with them once they are.
    pub keys: TunnelKeys,
    /// Message 2, for the initiator.
    pub message: Vec<u8>,
}

/// Answers message 1. About 300 µs on one x86-64 core, so the caller bounds how often.
///
/// `from` is whom the mesh says it came from; the static key in the message must be `peer_noise_public`, which that peer's
/// signed record gives, along with `peer_boot_id`. `local_index` and `seed` as for [`TunnelInitiation::start`].
///
/// # Errors
/// [`TunnelError::StaleBoot`] says who has to learn of whose restart; the others are explained at their variants.
pub fn respond(
    local: &TunnelLocal,
    from: PeerId,
    peer_noise_public: &[u8; 32],
    peer_boot_id: u64,
    message: &[u8],
    local_index: u32,
    seed: [u8; 32],
) -> Result<TunnelResponse, TunnelError> {
    let (boot_ids, sealed) = split_boot_ids(message).ok_or(TunnelError::Length)?;
    if message.len() != INITIATION_BYTES {
        return Err(TunnelError::Length);
    }
    let (theirs, ours) = (boot_ids.0 != peer_boot_id, boot_ids.1 != local.boot_id);
    if theirs || ours {
        return Err(TunnelError::StaleBoot { theirs, ours });
    }
    let mut noise = Noise::responder(&Setup {
        pattern: noise::IK,
        secret: local.identity.noise_secret(),
        remote: None,
        psk: None,
        prologue: &prologue(local.network, from, local.identity.peer_id(), boot_ids),
        seed: Zeroizing::new(seed),
    })?;
    let payload = noise.read(sealed)?;
    if noise.remote_static() != Some(*peer_noise_public) {
        return Err(TunnelError::OtherKey);
    }
    let &[suite, ref index @ ..] = payload.as_slice() else {
        return Err(TunnelError::Length);
    };
    let remote_index = u32::from_be_bytes(index.try_into().map_err(|_| TunnelError::Length)?);
    let suite = suite_of(suite).ok_or(TunnelError::Suite)?;
    check_suite(local, suite)?;
    let mut message = Vec::with_capacity(RESPONSE_BYTES);
    message.extend_from_slice(&remote_index.to_be_bytes());
    message.extend_from_slice(&noise.write(&local_index.to_be_bytes())?);
    Ok(TunnelResponse {
        keys: TunnelKeys::new(&noise.split()?, suite, local_index, remote_index, false),
        message,
    })
}

/// The boot ids in message 1, the initiator's and the responder's, before anything of it is checked. `None` if it is too
/// short to have them.
#[must_use]
pub fn initiation_boot_ids(message: &[u8]) -> Option<(u64, u64)> {
    split_boot_ids(message).map(|(boot_ids, _)| boot_ids)
}

/// The index in message 2, before anything of it is checked: [`TunnelInitiation::local_index`] of the initiation that it
/// answers. `None` if it is too short to have one.
#[must_use]
pub fn response_index(message: &[u8]) -> Option<u32> {
    split_index(message).map(|(index, _)| index)
}

/// Why a tunnel is not set up. [`TunnelError::fault`] says who has to change something.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum TunnelError {
    /// One side restarted and the other has not heard of it. At least one of the two is set.
    #[error("the message was made before a restart of one side was known to the other")]
    StaleBoot {
        /// The initiator's boot id is not the one we know: compare by [`initiation_boot_ids`]. A lower one is from before a
        /// restart, a higher one means that our record of it is out of date.
        theirs: bool,
        /// Our boot id in the message is not the present one: answer with our current `self` record.
        ours: bool,
    },
    /// The message has not the length that all such messages have.
    #[error("a tunnel message of the wrong length")]
    Length,
    /// The message is forged or damaged, or meant for others.
    #[error("a tunnel message that does not fit both routers")]
    Noise,
    /// The other side used a public key of small order, with which anybody could read along.
    #[error("the other side used a weak key")]
    WeakKey,
    /// The message was made with another key than the peer's record names.
    #[error("the tunnel's static key is not the one in the peer's record")]
    OtherKey,
    /// One side wants a suite that the other does not list.
    #[error("a cipher that not both sides offer")]
    Suite,
    /// The answer belongs to another initiation than this one.
    #[error("an answer to another initiation")]
    OtherInitiation,
}

impl TunnelError {
    /// Who has to change something.
    #[must_use]
    pub fn fault(&self) -> Fault {
        match self {
            Self::StaleBoot { .. } | Self::OtherInitiation => Fault::Stale,
            Self::Length | Self::Noise | Self::WeakKey | Self::OtherKey => Fault::Peer,
            Self::Suite => Fault::Incompatible,
        }
    }
}

impl From<NoiseError> for TunnelError {
    fn from(error: NoiseError) -> Self {
        match error {
            NoiseError::Refused => Self::Noise,
            NoiseError::WeakKey => Self::WeakKey,
        }
    }
}

fn check_suite(local: &TunnelLocal, suite: Suite) -> Result<(), TunnelError> {
    match suite {
        Suite::Aes256Gcm if !local.aes => Err(TunnelError::Suite),
        Suite::Aes256Gcm | Suite::ChaCha20Poly1305 => Ok(()),
    }
}

fn suite_byte(suite: Suite) -> u8 {
    match suite {
        Suite::Aes256Gcm => 1,
        Suite::ChaCha20Poly1305 => 2,
    }
}

fn suite_of(byte: u8) -> Option<Suite> {
    match byte {
        1 => Some(Suite::Aes256Gcm),
        2 => Some(Suite::ChaCha20Poly1305),
        _ => None,
    }
}

fn prologue(
    network: NetworkId,
    initiator: PeerId,
    responder: PeerId,
    boot_ids: (u64, u64),
) -> Vec<u8> {
    [
        PROLOGUE_DOMAIN,
        network.as_bytes(),
        initiator.as_bytes(),
        responder.as_bytes(),
        &boot_ids.0.to_be_bytes(),
        &boot_ids.1.to_be_bytes(),
    ]
    .concat()
}

fn split_boot_ids(message: &[u8]) -> Option<((u64, u64), &[u8])> {
    let (initiator, rest) = message.split_first_chunk()?;
    let (responder, rest) = rest.split_first_chunk()?;
    Some((
        (
            u64::from_be_bytes(*initiator),
            u64::from_be_bytes(*responder),
        ),
        rest,
    ))
}

fn split_index(message: &[u8]) -> Option<(u32, &[u8])> {
    let (index, rest) = message.split_first_chunk()?;
    Some((u32::from_be_bytes(*index), rest))
}

const PROLOGUE_DOMAIN: &[u8] = b"weave tunnel 1\0";
/// Boot ids, ephemeral key, static key and tag, payload and tag.
const INITIATION_BYTES: usize = 16 + 32 + (32 + 16) + (5 + 16);
/// Index, ephemeral key, payload and tag.
const RESPONSE_BYTES: usize = 4 + 32 + (4 + 16);
