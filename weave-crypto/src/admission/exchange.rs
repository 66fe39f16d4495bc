//! The password exchange of one link: SPAKE2 side by side for each password in question, and the proof that it met.
//!
//! An *instance* is one run of SPAKE2 with one password on either side. There are as many as the side with more passwords
//! has: the first is of the newest ones, the second of the older ones, and a side with a single password uses it in both.
//!
//! ```text
//!   instance i:  dialler's element X[i] ──>      shared key K[i]: the same on both sides
//!                <── listener's element Y[i]     if the passwords of the instance are
//!   K[i] ── HKDF ──┬── the dialler's tag, over all bytes before the first tag
//!                  ├── the listener's tag, over all bytes before it
//!                  └── pre-shared key of the Noise handshake, over all bytes before that
//! ```
//!
//! SPAKE2 is the `spake2` crate's, in the Ed25519 group, with M and N as in python-spake2 and magic-wormhole. Whoever does not
//! know the password, and sends an element all the same, has settled with it for one password that its tag can be right for
//! and one that it can check another's tag against. The crate takes any element that is a point of the curve: the check that
//! it lies in the group of prime order, and is not its neutral element, is here.

use curve25519_dalek::{edwards::CompressedEdwardsY, traits::IsIdentity};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha20Rng;
use ring::hkdf;
use spake2::{Ed25519Group, Spake2};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::Passwords;
use crate::identity::NetworkId;

/// Which of the two roles of SPAKE2 a side has: they are not interchangeable.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Dialler,
    Listener,
}

/// One side's instances, begun: our elements are out, theirs have to come in.
///
/// The crate does not wipe what is in it: the exponents, and copies of the stretched passwords.
pub(crate) struct Exchange {
    instances: Vec<Spake2<Ed25519Group>>,
    elements: Vec<u8>,
    side: Side,
}

impl Exchange {
    /// Begins as many instances as the side with more passwords has; `theirs` is how many the other side says it has. Either
    /// has one at least.
    ///
    /// `seed` has to be fresh and secret; each instance gets a generator of its own from it.
    pub(crate) fn start(
        side: Side,
        network: NetworkId,
        passwords: &Passwords,
        theirs: usize,
        seed: &[u8; 32],
    ) -> Self {
        let seeds = hkdf::Salt::new(hkdf::HKDF_SHA256, SEED_SALT).extract(seed);
        let mut exchange = Self {
            instances: Vec::new(),
            elements: Vec::new(),
            side,
        };
        for instance in 0..passwords.len().max(theirs) {
            let number = instance_number(instance);
            let Some(key) = passwords.for_instance(instance) else {
                break;
            };
            let password = spake2::Password::new(key.as_bytes());
            let dialler = identity(DIALLER, number, network);
            let listener = identity(LISTENER, number, network);
            let random = Seeded(ChaCha20Rng::from_seed(*expand(&seeds, &[&[number]])));
            let (state, message) = match side {
                Side::Dialler => Spake2::start_a_with_rng(&password, &dialler, &listener, random),
                Side::Listener => Spake2::start_b_with_rng(&password, &dialler, &listener, random),
            };
            exchange.instances.push(state);
            // The crate's first byte tells the side, which both know.
            exchange.elements.extend_from_slice(&message[1..]);
        }
        exchange
    }

    /// Our elements, [`ELEMENT_BYTES`] for each instance.
    pub(crate) fn elements(&self) -> &[u8] {
        &self.elements
    }

    /// Takes the other side's elements and gives the keys that it has as well if the passwords agree.
    pub(crate) fn finish(self, theirs: &[u8]) -> Result<SharedKeys, ExchangeError> {
        let (elements, rest) = theirs.as_chunks::<ELEMENT_BYTES>();
        if elements.len() != self.instances.len() || !rest.is_empty() {
            return Err(ExchangeError::Malformed);
        }
        // All of them before any is used.
        for element in elements {
            check_element(element)?;
        }
        let mut keys = Vec::new();
        for (state, element) in self.instances.into_iter().zip(elements) {
            let mut message = [0; 1 + ELEMENT_BYTES];
            message[0] = match self.side {
                Side::Dialler => b'B',
                Side::Listener => b'A',
            };
            message[1..].copy_from_slice(element);
            let key = state
                .finish(&message)
                .map_err(|_| ExchangeError::Malformed)?;
            #[cfg(test)]
            let key = weakened::key().unwrap_or(key);
            keys.push(Zeroizing::new(key));
        }
        Ok(SharedKeys::new(&keys))
    }
}

/// What the instances left: a key each, shared with the other side if the passwords agree.
pub(crate) struct SharedKeys(Vec<hkdf::Prk>);

impl SharedKeys {
    pub(crate) fn new(keys: &[impl AsRef<[u8]>]) -> Self {
        let salt = hkdf::Salt::new(hkdf::HKDF_SHA256, KEY_SALT);
        Self(keys.iter().map(|key| salt.extract(key.as_ref())).collect())
    }

    /// How many instances there are.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// The tag by which `side` proves that it has the key of an instance; `transcript` is a hash of all that was said before.
    pub(crate) fn tag(
        &self,
        side: Side,
        instance: usize,
        transcript: &[u8],
    ) -> Option<[u8; TAG_BYTES]> {
        let label = match side {
            Side::Dialler => DIALLER_CONFIRMS,
            Side::Listener => LISTENER_CONFIRMS,
        };
        let info = [label, &[instance_number(instance)], transcript];
        Some(*expand(self.0.get(instance)?, &info))
    }

    /// Whether `tag` is the one of [`SharedKeys::tag`]; told in the same time whatever the difference.
    pub(crate) fn confirms(
        &self,
        side: Side,
        instance: usize,
        transcript: &[u8],
        tag: &[u8; TAG_BYTES],
    ) -> bool {
        self.tag(side, instance, transcript)
            .is_some_and(|expected| expected.ct_eq(tag).into())
    }

    /// The pre-shared key of the Noise handshake that follows an instance which met.
    pub(crate) fn noise_psk(
        &self,
        instance: usize,
        transcript: &[u8],
    ) -> Option<Zeroizing<[u8; 32]>> {
        let info = [NOISE_PSK, &[instance_number(instance)], transcript];
        Some(expand(self.0.get(instance)?, &info))
    }
}

/// Why what the other side sent can't be an element of an honest router.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) enum ExchangeError {
    /// No point of the curve, or not as many as there are instances.
    Malformed,
    /// A point outside the group of prime order, or the group's neutral element: with those, a key would take few values.
    WeakKey,
}

/// The check of group membership that RFC 9382 demands in its security considerations, and that `spake2` leaves to its caller.
fn check_element(bytes: &[u8; ELEMENT_BYTES]) -> Result<(), ExchangeError> {
    // What decompresses without being the shortest way to write a point (y of p to p + 18, or the sign of an x that is 0) is
    // either the neutral element or has torsion, so what passes is written in one way only.
    let point = CompressedEdwardsY(*bytes)
        .decompress()
        .ok_or(ExchangeError::Malformed)?;
    if point.is_identity() || !point.is_torsion_free() {
        return Err(ExchangeError::WeakKey);
    }
    Ok(())
}

fn identity(role: &[u8], number: u8, network: NetworkId) -> spake2::Identity {
    spake2::Identity::new(&[role, &[number], network.as_bytes()].concat())
}

fn instance_number(instance: usize) -> u8 {
    u8::try_from(instance).expect("there are no more instances than passwords of one router, 2")
}

fn expand(key: &hkdf::Prk, info: &[&[u8]]) -> Zeroizing<[u8; 32]> {
    let mut output = Zeroizing::new([0; 32]);
    key.expand(info, hkdf::HKDF_SHA256)
        .and_then(|okm| okm.fill(output.as_mut()))
        .expect("HKDF-SHA256 gives 32 bytes at a time");
    output
}

/// Our generator, by the trait that spake2 knows.
struct Seeded(ChaCha20Rng);

impl rand_core_06::RngCore for Seeded {
    fn next_u32(&mut self) -> u32 {
        self.0.next_u32()
    }

    fn next_u64(&mut self) -> u64 {
        self.0.next_u64()
    }

    fn fill_bytes(&mut self, dest: &mut [u8]) {
        self.0.fill_bytes(dest);
    }

    fn try_fill_bytes(&mut self, dest: &mut [u8]) -> Result<(), rand_core_06::Error> {
        self.0.fill_bytes(dest);
        Ok(())
    }
}

impl rand_core_06::CryptoRng for Seeded {}

pub(crate) const ELEMENT_BYTES: usize = 32;
pub(crate) const TAG_BYTES: usize = 32;
const DIALLER: &[u8] = b"weave dialler 1\0";
const LISTENER: &[u8] = b"weave listener 1\0";
const SEED_SALT: &[u8] = b"weave admission seed 1";
const KEY_SALT: &[u8] = b"weave admission 1";
const DIALLER_CONFIRMS: &[u8] = b"dialler confirms\0";
const LISTENER_CONFIRMS: &[u8] = b"listener confirms\0";
const NOISE_PSK: &[u8] = b"noise psk\0";

/// The same protocol without SPAKE2, as others have it: the stretched password itself is the shared key. It shows that the
/// test of what strangers can find out would find it out.
#[cfg(test)]
pub(crate) mod weakened {
    use std::cell::Cell;

    thread_local! {
        static KEY: Cell<Option<[u8; 32]>> = const { Cell::new(None) };
    }

    pub(super) fn key() -> Option<Vec<u8>> {
        KEY.get().map(Vec::from)
    }

    /// Runs `test` with all honest routers of this thread weakened: their passwords are all `password`.
    pub(crate) fn with<R>(password: &super::super::PasswordKey, test: impl FnOnce() -> R) -> R {
        KEY.set(Some(*password.as_bytes()));
        let result = test();
        KEY.set(None);
        result
    }
}
