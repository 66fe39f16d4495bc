//! Who a router is: one seed, two key pairs, and the signatures that others check.
//!
//! ```text
//!   seed, 32 bytes ── HKDF-SHA256 ──┬── Ed25519 seed ──> PeerId, signatures
//!                                   └── X25519 secret ─> Noise static key, bound to the PeerId by a signature
//! ```

mod id;
#[cfg(test)]
mod tests;

use std::fmt;

use ring::{hkdf, signature};
use x25519_dalek::{PublicKey, StaticSecret};
use zeroize::Zeroizing;

pub use self::id::{NetworkId, ParseIdError, PeerId, ShortId};
use crate::hex;

/// A router's secret identity: the seed and the keys made from it.
///
/// Deliberately not `Clone`: share it as `Arc<Identity>`. The seed and the X25519 secret are wiped when it is dropped;
/// ring's copy of the Ed25519 key is not, since ring has no way to. `Debug` prints the [`PeerId`] only.
pub struct Identity {
    seed: Zeroizing<[u8; 32]>,
    signing: signature::Ed25519KeyPair,
    peer_id: PeerId,
    noise_secret: Zeroizing<[u8; 32]>,
    noise_public: [u8; 32],
}

impl Identity {
    /// Derives both key pairs from a seed, which has to be 32 bytes of the system's best randomness, drawn once and kept.
    ///
    /// The same seed gives the same identity for ever: the derivation is part of the format of the key file.
    #[must_use]
    pub fn from_seed(seed: [u8; 32]) -> Self {
        let seed = Zeroizing::new(seed);
        let extracted = hkdf::Salt::new(hkdf::HKDF_SHA256, SEED_SALT).extract(seed.as_ref());
        let signing = signature::Ed25519KeyPair::from_seed_unchecked(
            expand(&extracted, SIGNING_INFO).as_ref(),
        )
        .expect("every 32 bytes are an Ed25519 seed");
        let peer_id = PeerId::from_bytes(
            signature::KeyPair::public_key(&signing)
                .as_ref()
                .try_into()
                .expect("an Ed25519 public key has 32 bytes"),
        );
        let noise_secret = expand(&extracted, NOISE_INFO);
        let noise_public = PublicKey::from(&StaticSecret::from(*noise_secret)).to_bytes();
        Self {
            seed,
            signing,
            peer_id,
            noise_secret,
            noise_public,
        }
    }

    /// Reads what [`Identity::seed_file_text`] wrote, and nothing looser: one line, lower-case digits, one newline.
    ///
    /// # Errors
    /// [`KeyFileError`] says whether it is no key file, one of a later version, or a damaged one.
    pub fn parse(text: &str) -> Result<Self, KeyFileError> {
        let versioned = text
            .strip_prefix(KEY_FILE_WORD)
            .ok_or(KeyFileError::NotAKeyFile)?;
        let (version, rest) = versioned.split_once(' ').ok_or(KeyFileError::NotAKeyFile)?;
        if version != KEY_FILE_VERSION {
            return Err(KeyFileError::Version);
        }
        let digits = rest.strip_suffix('\n').ok_or(KeyFileError::Damaged)?;
        if digits.bytes().any(|byte| byte.is_ascii_uppercase()) {
            return Err(KeyFileError::Damaged);
        }
        hex::parse(digits)
            .map(Self::from_seed)
            .ok_or(KeyFileError::Damaged)
    }

    /// The text of the key file: `weave-identity-1 `, the seed as 64 hex digits, a newline. It is the secret itself; the
    /// file belongs to its owner alone (mode 0600).
    #[must_use]
    pub fn seed_file_text(&self) -> Zeroizing<String> {
        // Room for all of it at once: a string that grew would leave a copy of the secret behind.
        let mut text = Zeroizing::new(String::with_capacity(KEY_FILE_BYTES));
        text.push_str(KEY_FILE_WORD);
        text.push_str(KEY_FILE_VERSION);
        text.push(' ');
        hex::write(self.seed.as_ref(), &mut *text).expect("writing to a string does not fail");
        text.push('\n');
        text
    }

    /// Who this is to others.
    #[must_use]
    pub fn peer_id(&self) -> PeerId {
        self.peer_id
    }

    /// The X25519 public key of links and tunnels.
    #[must_use]
    pub fn noise_public(&self) -> [u8; 32] {
        self.noise_public
    }

    /// The Ed25519 signature that says: this X25519 key is mine. Check it with [`verify_noise_binding`].
    #[must_use]
    pub fn noise_binding(&self) -> [u8; 64] {
        self.sign(&binding_message(&self.noise_public))
    }

    /// Signs `message` (Ed25519, RFC 8032; deterministic). About 25 µs on one x86-64 core.
    ///
    /// Each kind of message must begin with a prefix of its own, or a signature made for one purpose could be shown for
    /// another.
    #[must_use]
    pub fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.signing
            .sign(message)
            .as_ref()
            .try_into()
            .expect("an Ed25519 signature has 64 bytes")
    }

    pub(crate) fn noise_secret(&self) -> &[u8; 32] {
        &self.noise_secret
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Identity").field(&self.peer_id).finish()
    }
}

/// Checks that `peer` signed `message`. About 45 µs on one x86-64 core: check what is cheaper first.
///
/// # Errors
/// [`BadSignature`] if it did not, or if `peer` is no point of the curve at all.
pub fn verify(peer: &PeerId, message: &[u8], signature: &[u8; 64]) -> Result<(), BadSignature> {
    signature::UnparsedPublicKey::new(&signature::ED25519, peer.as_bytes())
        .verify(message, signature)
        .map_err(|ring::error::Unspecified| BadSignature)
}

/// Checks that `peer` claims the X25519 key `noise_public` as its own: `binding` is its [`Identity::noise_binding`].
///
/// # Errors
/// [`BadSignature`] if it does not.
pub fn verify_noise_binding(
    peer: &PeerId,
    noise_public: &[u8; 32],
    binding: &[u8; 64],
) -> Result<(), BadSignature> {
    verify(peer, &binding_message(noise_public), binding)
}

/// The signature is not that peer's signature of that message: forged, damaged, or of something else.
#[derive(Copy, Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the signature does not fit the message and the peer")]
pub struct BadSignature;

/// Why a key file can't be read. None of these says anything of its contents.
#[derive(Copy, Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyFileError {
    /// The file does not begin as a key file does.
    #[error("not a weave key file")]
    NotAKeyFile,
    /// A key file, of a version that this program does not know.
    #[error("the key file is of a version this program does not know")]
    Version,
    /// A key file of our version, cut short, changed or added to.
    #[error("the key file is damaged: it must be one line with 64 lower-case hex digits")]
    Damaged,
}

/// What an [`Identity::noise_binding`] signs, for those who check signatures a way of their own.
#[must_use]
pub fn noise_binding_message(noise_public: &[u8; 32]) -> Vec<u8> {
    binding_message(noise_public).to_vec()
}

fn binding_message(noise_public: &[u8; 32]) -> [u8; BINDING_PREFIX.len() + 32] {
    let mut message = [0; BINDING_PREFIX.len() + 32];
    message[..BINDING_PREFIX.len()].copy_from_slice(BINDING_PREFIX);
    message[BINDING_PREFIX.len()..].copy_from_slice(noise_public);
    message
}

fn expand(extracted: &hkdf::Prk, info: &[u8]) -> Zeroizing<[u8; 32]> {
    let mut key = Zeroizing::new([0; 32]);
    extracted
        .expand(&[info], hkdf::HKDF_SHA256)
        .and_then(|output| output.fill(key.as_mut()))
        .expect("HKDF-SHA256 gives 32 bytes at a time");
    key
}

/// Separates this use of HKDF from any other of the same seed; the two infos separate the keys from each other.
const SEED_SALT: &[u8] = b"weave identity 1";
const SIGNING_INFO: &[u8] = b"ed25519 seed";
const NOISE_INFO: &[u8] = b"x25519 secret";
const BINDING_PREFIX: &[u8] = b"weave noise key 1\0";
const KEY_FILE_WORD: &str = "weave-identity-";
const KEY_FILE_VERSION: &str = "1";
/// The word, the version, a space, 64 digits, a newline.
const KEY_FILE_BYTES: usize = KEY_FILE_WORD.len() + KEY_FILE_VERSION.len() + 1 + 64 + 1;
