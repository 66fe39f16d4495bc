//! The Noise Protocol Framework by snow, on our own primitives: ring for the cipher and the hash, x25519-dalek for
//! Diffie-Hellman, a seeded generator for the ephemeral keys. Nothing here asks the system for randomness.

#[cfg(test)]
mod tests;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha20Rng;
use ring::{aead, digest};
use snow::{
    Builder, HandshakeState,
    params::{CipherChoice, DHChoice, HashChoice},
    resolvers::CryptoResolver,
    types,
};
use x25519_dalek::{PublicKey, StaticSecret};
use zeroize::Zeroizing;

/// One side of a handshake: messages are written and read in turn until [`Noise::split`] gives the keys.
pub(crate) struct Noise {
    state: HandshakeState,
}

/// What the two sides of a handshake know and agree on before the first message.
pub(crate) struct Setup<'a> {
    /// [`XX`], [`XX_PSK`] or [`IK`].
    pub(crate) pattern: &'static str,
    /// Our X25519 secret.
    pub(crate) secret: &'a [u8; 32],
    /// The other side's X25519 key, if the pattern wants it known.
    pub(crate) remote: Option<&'a [u8; 32]>,
    /// What both sides must have beforehand, if the pattern wants it.
    pub(crate) psk: Option<&'a [u8; 32]>,
    /// What both sides must have seen alike.
    pub(crate) prologue: &'a [u8],
    /// Makes the ephemeral key; never to be used twice.
    pub(crate) seed: Zeroizing<[u8; 32]>,
}

/// The keys a finished handshake leaves, one for each direction.
pub(crate) struct DirectionKeys {
    pub(crate) send: Zeroizing<[u8; 32]>,
    pub(crate) receive: Zeroizing<[u8; 32]>,
}

impl Noise {
    pub(crate) fn initiator(setup: &Setup<'_>) -> Result<Self, NoiseError> {
        Ok(Self {
            state: builder(setup)?.build_initiator()?,
        })
    }

    pub(crate) fn responder(setup: &Setup<'_>) -> Result<Self, NoiseError> {
        Ok(Self {
            state: builder(setup)?.build_responder()?,
        })
    }

    /// The next message, with `payload` inside.
    pub(crate) fn write(&mut self, payload: &[u8]) -> Result<Vec<u8>, NoiseError> {
        let mut message = vec![0; payload.len() + MESSAGE_OVERHEAD_BYTES_MAX];
        let length = self.state.write_message(payload, &mut message)?;
        message.truncate(length);
        Ok(message)
    }

    /// Takes the other side's message and returns its payload.
    pub(crate) fn read(&mut self, message: &[u8]) -> Result<Vec<u8>, NoiseError> {
        let mut payload = vec![0; message.len()];
        let length = self.state.read_message(message, &mut payload)?;
        payload.truncate(length);
        Ok(payload)
    }

    /// The other side's X25519 key, once it is known. That it holds the secret is proved by later messages only.
    pub(crate) fn remote_static(&self) -> Option<[u8; 32]> {
        self.state
            .get_remote_static()
            .and_then(|key| key.try_into().ok())
    }

    pub(crate) fn is_finished(&self) -> bool {
        self.state.is_handshake_finished()
    }

    /// The keys of a finished handshake.
    pub(crate) fn split(mut self) -> Result<DirectionKeys, NoiseError> {
        if !self.is_finished() {
            return Err(NoiseError::Refused);
        }
        let (first, second) = self.state.dangerously_get_raw_split();
        let (first, second) = (Zeroizing::new(first), Zeroizing::new(second));
        // By the framework's section 5.2, the first key is for what the initiator sends.
        Ok(if self.state.is_initiator() {
            DirectionKeys {
                send: first,
                receive: second,
            }
        } else {
            DirectionKeys {
                send: second,
                receive: first,
            }
        })
    }
}

/// Why a handshake can't go on.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) enum NoiseError {
    /// A message was too short, forged, damaged, or made for another prologue or key.
    Refused,
    /// A Diffie-Hellman result was all zero: the other side's public key has small order.
    WeakKey,
}

impl From<snow::Error> for NoiseError {
    fn from(error: snow::Error) -> Self {
        if error == snow::Error::Dh {
            Self::WeakKey
        } else {
            Self::Refused
        }
    }
}

fn builder<'a>(setup: &Setup<'a>) -> Result<Builder<'a>, NoiseError> {
    let resolver = Box::new(Resolver {
        seed: setup.seed.clone(),
    });
    let builder = Builder::with_resolver(setup.pattern.parse()?, resolver)
        .local_private_key(setup.secret)?
        .prologue(setup.prologue)?;
    let builder = match setup.remote {
        Some(remote) => builder.remote_public_key(remote)?,
        None => builder,
    };
    Ok(match setup.psk {
        Some(psk) => builder.psk(0, psk)?,
        None => builder,
    })
}

/// Hands snow our primitives, and no other: a pattern with anything else in it does not build.
struct Resolver {
    seed: Zeroizing<[u8; 32]>,
}

impl CryptoResolver for Resolver {
    fn resolve_rng(&self) -> Option<Box<dyn types::Random>> {
        Some(Box::new(SeededRandom(ChaCha20Rng::from_seed(*self.seed))))
    }

    fn resolve_dh(&self, choice: &DHChoice) -> Option<Box<dyn types::Dh>> {
        (*choice == DHChoice::Curve25519).then(|| Box::<X25519>::default() as _)
    }

    fn resolve_hash(&self, choice: &HashChoice) -> Option<Box<dyn types::Hash>> {
        (*choice == HashChoice::SHA256).then(|| Box::<Sha256>::default() as _)
    }

    fn resolve_cipher(&self, choice: &CipherChoice) -> Option<Box<dyn types::Cipher>> {
        (*choice == CipherChoice::ChaChaPoly).then(|| Box::<ChaChaPoly>::default() as _)
    }
}

struct SeededRandom(ChaCha20Rng);

impl types::Random for SeededRandom {
    fn try_fill_bytes(&mut self, dest: &mut [u8]) -> Result<(), snow::Error> {
        self.0.fill_bytes(dest);
        Ok(())
    }
}

/// X25519 (RFC 7748) that refuses results to which the other side contributed nothing.
#[derive(Default)]
struct X25519 {
    secret: Zeroizing<[u8; 32]>,
    public: [u8; 32],
}

impl X25519 {
    fn derive_public(&mut self) {
        self.public = PublicKey::from(&StaticSecret::from(*self.secret)).to_bytes();
    }
}

impl types::Dh for X25519 {
    fn name(&self) -> &'static str {
        "25519"
    }

    fn pub_len(&self) -> usize {
        KEY_BYTES
    }

    fn priv_len(&self) -> usize {
        KEY_BYTES
    }

    fn set(&mut self, privkey: &[u8]) {
        self.secret.copy_from_slice(&privkey[..KEY_BYTES]);
        self.derive_public();
    }

    fn generate(&mut self, rng: &mut dyn types::Random) -> Result<(), snow::Error> {
        rng.try_fill_bytes(self.secret.as_mut())?;
        self.derive_public();
        Ok(())
    }

    fn pubkey(&self) -> &[u8] {
        &self.public
    }

    fn privkey(&self) -> &[u8] {
        self.secret.as_ref()
    }

    fn dh(&self, pubkey: &[u8], out: &mut [u8]) -> Result<(), snow::Error> {
        // snow hands over its whole buffer, which is longer than a key.
        let theirs: [u8; KEY_BYTES] = *pubkey.first_chunk().ok_or(snow::Error::Input)?;
        let shared = StaticSecret::from(*self.secret).diffie_hellman(&PublicKey::from(theirs));
        //= https://www.rfc-editor.org/rfc/rfc7748#section-6.1
        //# Both MAY check, without leaking extra information about the value of K,
        //# whether K is the all-zero value and abort if so
        if !shared.was_contributory() {
            return Err(snow::Error::Dh);
        }
        out[..KEY_BYTES].copy_from_slice(shared.as_bytes());
        Ok(())
    }
}

struct Sha256(digest::Context);

impl Default for Sha256 {
    fn default() -> Self {
        Self(digest::Context::new(&digest::SHA256))
    }
}

impl types::Hash for Sha256 {
    fn name(&self) -> &'static str {
        "SHA256"
    }

    fn block_len(&self) -> usize {
        digest::SHA256.block_len()
    }

    fn hash_len(&self) -> usize {
        digest::SHA256_OUTPUT_LEN
    }

    fn reset(&mut self) {
        *self = Self::default();
    }

    fn input(&mut self, data: &[u8]) {
        self.0.update(data);
    }

    fn result(&mut self, out: &mut [u8]) {
        out[..digest::SHA256_OUTPUT_LEN].copy_from_slice(self.0.clone().finish().as_ref());
    }
}

struct ChaChaPoly(aead::LessSafeKey);

impl Default for ChaChaPoly {
    fn default() -> Self {
        Self(aead_key(&aead::CHACHA20_POLY1305, &[0; KEY_BYTES]))
    }
}

impl types::Cipher for ChaChaPoly {
    fn name(&self) -> &'static str {
        "ChaChaPoly"
    }

    fn set(&mut self, key: &[u8; KEY_BYTES]) {
        self.0 = aead_key(&aead::CHACHA20_POLY1305, key);
    }

    fn encrypt(&self, nonce: u64, authtext: &[u8], plaintext: &[u8], out: &mut [u8]) -> usize {
        let (body, rest) = out.split_at_mut(plaintext.len());
        body.copy_from_slice(plaintext);
        let tag = self
            .0
            .seal_in_place_separate_tag(noise_nonce(nonce), aead::Aad::from(authtext), body)
            .expect("a Noise message is far shorter than the cipher's limit");
        rest[..TAG_BYTES].copy_from_slice(tag.as_ref());
        plaintext.len() + TAG_BYTES
    }

    fn decrypt(
        &self,
        nonce: u64,
        authtext: &[u8],
        ciphertext: &[u8],
        out: &mut [u8],
    ) -> Result<usize, snow::Error> {
        // `out` may have room for the plaintext only, and opening in place needs the tag as well.
        let mut body = Zeroizing::new(ciphertext.to_vec());
        let plaintext = self
            .0
            .open_in_place(noise_nonce(nonce), aead::Aad::from(authtext), &mut body)
            .map_err(|ring::error::Unspecified| snow::Error::Decrypt)?;
        out.get_mut(..plaintext.len())
            .ok_or(snow::Error::Input)?
            .copy_from_slice(plaintext);
        Ok(plaintext.len())
    }
}

/// A ring key of either suite; both take 32 bytes.
pub(crate) fn aead_key(
    algorithm: &'static aead::Algorithm,
    key: &[u8; KEY_BYTES],
) -> aead::LessSafeKey {
    aead::LessSafeKey::new(
        aead::UnboundKey::new(algorithm, key).expect("both suites take keys of 32 bytes"),
    )
}

/// Four zero bytes, then the counter, little-endian: the framework's section 12.3.
fn noise_nonce(counter: u64) -> aead::Nonce {
    let mut nonce = [0; aead::NONCE_LEN];
    nonce[4..].copy_from_slice(&counter.to_le_bytes());
    aead::Nonce::assume_unique_for_key(nonce)
}

/// Neither side knows the other beforehand: links.
pub(crate) const XX: &str = "Noise_XX_25519_ChaChaPoly_SHA256";
/// The same with a pre-shared key, mixed in before the first message: links of a network with a password.
pub(crate) const XX_PSK: &str = "Noise_XXpsk0_25519_ChaChaPoly_SHA256";
/// The initiator knows the responder's key, and shows its own in the first message: tunnels.
pub(crate) const IK: &str = "Noise_IK_25519_ChaChaPoly_SHA256";

const KEY_BYTES: usize = 32;
const TAG_BYTES: usize = 16;
/// The most a message adds to its payload: an ephemeral key, a sealed static key, and the payload's tag.
const MESSAGE_OVERHEAD_BYTES_MAX: usize = KEY_BYTES + (KEY_BYTES + TAG_BYTES) + TAG_BYTES;
