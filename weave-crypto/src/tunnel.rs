//! Tunnels: one epoch of keys between two routers, used by the data threads and the control plane at once.

mod setup;
#[cfg(test)]
mod tests;

use std::{
    fmt,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use ring::{aead, hkdf};
use zeroize::Zeroizing;

pub use self::setup::{
    TunnelError, TunnelInitiation, TunnelLocal, TunnelResponse, initiation_boot_ids, respond,
    response_index,
};
use crate::{
    noise::{DirectionKeys, aead_key},
    replay::{ReplayError, ReplayWindow},
};

/// The cipher of a tunnel's packets. Both take a nonce of 12 bytes and add a tag of 16.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash)]
pub enum Suite {
    /// AES-256-GCM: the faster one where the processor has instructions for it.
    Aes256Gcm,
    /// ChaCha20-Poly1305 (RFC 8439): as fast as it gets anywhere else.
    ChaCha20Poly1305,
}

impl Suite {
    fn algorithm(self) -> &'static aead::Algorithm {
        match self {
            Self::Aes256Gcm => &aead::AES_256_GCM,
            Self::ChaCha20Poly1305 => &aead::CHACHA20_POLY1305,
        }
    }
}

/// The keys of one epoch of a tunnel: they seal what we send, open what we receive, and refuse replays.
///
/// Every method takes `&self`, so an `Arc<TunnelKeys>` serves all threads. On the way out: [`reserve`](Self::reserve) once
/// per batch, then [`seal`](Self::seal) each packet. On the way in: [`open`](Self::open) each packet, then
/// [`accept`](Self::accept) once per batch, and use only what it accepts.
///
/// Nonce: six zero bytes, then the 48-bit counter, big-endian; each direction has a key of its own. Keys are never stored,
/// so no nonce repeats after a restart. When an epoch ends (by time or by packets) is the caller's decision.
pub struct TunnelKeys {
    sealing: aead::LessSafeKey,
    opening: aead::LessSafeKey,
    suite: Suite,
    local_index: u32,
    remote_index: u32,
    /// The next counter nobody has reserved.
    next_counter: AtomicU64,
    received_packets: AtomicU64,
    confirmed: AtomicBool,
    /// Whether somebody was told by [`TunnelKeys::confirm`].
    confirmation_told: AtomicBool,
    window: Mutex<ReplayWindow>,
}

impl TunnelKeys {
    /// What sealing adds to a body, in bytes.
    pub const TAG_BYTES: usize = 16;

    /// The highest counter: 48 bits, as many as the packet header has.
    pub const COUNTER_MAX: u64 = (1 << 48) - 1;

    /// Keys from a shared secret, for simulation, tests and vectors: what one of the two seals, the other opens.
    ///
    /// `index_a` is the receiver index drawn by the first of the two, `index_b` by the second. Both are confirmed. In a running
    /// network keys come from a handshake only.
    #[must_use]
    pub fn pair(secret: [u8; 32], suite: Suite, index_a: u32, index_b: u32) -> (Self, Self) {
        let secret = Zeroizing::new(secret);
        let extracted = hkdf::Salt::new(hkdf::HKDF_SHA256, PAIR_SALT).extract(secret.as_ref());
        let derive = |info: &[u8]| {
            let mut key = Zeroizing::new([0; 32]);
            extracted
                .expand(&[info], hkdf::HKDF_SHA256)
                .and_then(|output| output.fill(key.as_mut()))
                .expect("HKDF-SHA256 gives 32 bytes at a time");
            key
        };
        let (a_to_b, b_to_a) = (derive(b"a to b"), derive(b"b to a"));
        let a = DirectionKeys {
            send: a_to_b.clone(),
            receive: b_to_a.clone(),
        };
        let b = DirectionKeys {
            send: b_to_a,
            receive: a_to_b,
        };
        (
            Self::new(&a, suite, index_a, index_b, true),
            Self::new(&b, suite, index_b, index_a, true),
        )
    }

    fn new(
        keys: &DirectionKeys,
        suite: Suite,
        local_index: u32,
        remote_index: u32,
        confirmed: bool,
    ) -> Self {
        Self {
            sealing: aead_key(suite.algorithm(), &keys.send),
            opening: aead_key(suite.algorithm(), &keys.receive),
            suite,
            local_index,
            remote_index,
            next_counter: AtomicU64::new(1),
            received_packets: AtomicU64::new(0),
            confirmed: AtomicBool::new(confirmed),
            confirmation_told: AtomicBool::new(confirmed),
            window: Mutex::new(ReplayWindow::new()),
        }
    }

    /// Takes `count` counters for a batch and returns the first; they are the caller's alone. Counters start at 1. One
    /// atomic step, however long the batch.
    ///
    /// # Errors
    /// [`SealError::Exhausted`] if fewer are left, [`SealError::Counter`] for a `count` of 0, which would give a counter that
    /// is not reserved. Neither takes any.
    pub fn reserve(&self, count: u64) -> Result<u64, SealError> {
        if count == 0 {
            return Err(SealError::Counter);
        }
        // Relaxed: only the counters themselves have to be distinct, and nothing else is read by them. Not a plain addition,
        // since that could run past the end and, repeated often enough, wrap to counters used before.
        self.next_counter
            .try_update(Ordering::Relaxed, Ordering::Relaxed, |next| {
                next.checked_add(count)
                    .filter(|&after| after <= Self::COUNTER_MAX + 1)
            })
            .map_err(|_| SealError::Exhausted)
    }

    /// Seals `body` in place and returns its tag, which goes right behind it. `aad` is authenticated with it: the packet's
    /// header.
    ///
    /// The `counter` must come from [`reserve`](Self::reserve) and be used for one packet only: two packets under one nonce
    /// give away their contents, and with AES-GCM the power to forge.
    ///
    /// # Errors
    /// [`SealError::Counter`] outside of 1 to [`Self::COUNTER_MAX`], [`SealError::TooLong`] beyond the cipher's limit (64 GiB
    /// less 32 bytes, RFC 5116 section 5.2).
    pub fn seal(
        &self,
        counter: u64,
        aad: &[u8],
        body: &mut [u8],
    ) -> Result<[u8; Self::TAG_BYTES], SealError> {
        let nonce = nonce(counter).ok_or(SealError::Counter)?;
        let tag = self
            .sealing
            .seal_in_place_separate_tag(nonce, aead::Aad::from(aad), body)
            .map_err(|ring::error::Unspecified| SealError::TooLong)?;
        Ok(tag
            .as_ref()
            .try_into()
            .expect("both suites have tags of 16 bytes"))
    }

    /// Opens a body with its tag behind it, in place, and returns the body. It says nothing of replays: hand the counter to
    /// [`accept`](Self::accept) before the body is used.
    ///
    /// # Errors
    /// [`OpenError::Short`], [`OpenError::Counter`] or [`OpenError::Forged`]; after the last the bytes are worthless.
    pub fn open<'b>(
        &self,
        counter: u64,
        aad: &[u8],
        body_and_tag: &'b mut [u8],
    ) -> Result<&'b mut [u8], OpenError> {
        if body_and_tag.len() < Self::TAG_BYTES {
            return Err(OpenError::Short);
        }
        let nonce = nonce(counter).ok_or(OpenError::Counter)?;
        self.opening
            .open_in_place(nonce, aead::Aad::from(aad), body_and_tag)
            .map_err(|ring::error::Unspecified| OpenError::Forged)
    }

    /// Passes the counters of opened packets through the replay window, in order, and tells `verdict` the place in `counters`
    /// and the outcome of each. One lock per call, held while `verdict` runs: keep that short, and don't come back in here.
    ///
    /// Only for packets that [`open`](Self::open) has opened. The first one accepted confirms the keys.
    pub fn accept(&self, counters: &[u64], mut verdict: impl FnMut(usize, Result<(), OpenError>)) {
        let mut accepted = 0;
        // A panic in some `verdict` leaves a window that is whole: each step of it is complete before `verdict` is asked.
        let mut window = self.window.lock().unwrap_or_else(PoisonError::into_inner);
        for (place, &counter) in counters.iter().enumerate() {
            let outcome = if (1..=Self::COUNTER_MAX).contains(&counter) {
                window.accept(counter).map_err(OpenError::from)
            } else {
                Err(OpenError::Counter)
            };
            accepted += u64::from(outcome.is_ok());
            verdict(place, outcome);
        }
        drop(window);
        if accepted > 0 {
            self.received_packets.fetch_add(accepted, Ordering::Relaxed);
            // Read first: once confirmed, which is nearly always, the cache line stays shared between the threads.
            if !self.is_confirmed() {
                self.confirmed.store(true, Ordering::Release);
            }
        }
    }

    /// The receiver index we drew: packets to us carry it.
    #[must_use]
    pub fn local_index(&self) -> u32 {
        self.local_index
    }

    /// The receiver index the other side drew: packets we send carry it.
    #[must_use]
    pub fn remote_index(&self) -> u32 {
        self.remote_index
    }

    /// The cipher.
    #[must_use]
    pub fn suite(&self) -> Suite {
        self.suite
    }

    /// How many counters were reserved: the packets sent, and the few that were given up after that.
    #[must_use]
    pub fn sent_packets(&self) -> u64 {
        self.next_counter.load(Ordering::Relaxed) - 1
    }

    /// How many packets were opened and accepted.
    #[must_use]
    pub fn received_packets(&self) -> u64 {
        self.received_packets.load(Ordering::Relaxed)
    }

    /// Whether the other side is known to hold these keys. The initiator's are so from the start; the responder's once a
    /// packet was accepted or [`confirm`](Self::confirm) was called. Seal with confirmed keys only.
    #[must_use]
    pub fn is_confirmed(&self) -> bool {
        self.confirmed.load(Ordering::Acquire)
    }

    /// Marks the keys as confirmed. `true` for the first call only, whichever thread makes it, also if
    /// [`accept`](Self::accept) has confirmed them before: whoever gets it tells the control plane. For keys born confirmed it
    /// is never `true`.
    pub fn confirm(&self) -> bool {
        if self.confirmation_told.load(Ordering::Acquire) {
            return false;
        }
        self.confirmed.store(true, Ordering::Release);
        !self.confirmation_told.swap(true, Ordering::AcqRel)
    }
}

/// No keys in it.
impl fmt::Debug for TunnelKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TunnelKeys")
            .field("suite", &self.suite)
            .field("local_index", &self.local_index)
            .field("remote_index", &self.remote_index)
            .field("sent_packets", &self.sent_packets())
            .field("received_packets", &self.received_packets())
            .field("confirmed", &self.is_confirmed())
            .finish_non_exhaustive()
    }
}

/// Why a packet can't be sealed; each is our own caller's doing.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum SealError {
    /// All counters of this epoch are used up: new keys are overdue.
    #[error("the epoch has used up its counters")]
    Exhausted,
    /// The counter lies outside of 1 to 2^48 − 1, or none was asked for.
    #[error("not a counter of a packet")]
    Counter,
    /// The body is longer than the cipher allows.
    #[error("the body is too long to be sealed")]
    TooLong,
}

/// Why a packet is not let in; each is a counter of its own.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// Too short to hold a tag.
    #[error("the packet is too short to hold a tag")]
    Short,
    /// The counter lies outside of 1 to 2^48 − 1.
    #[error("not a counter of a packet")]
    Counter,
    /// Not sealed with these keys, that counter and that header, or changed on the way.
    #[error("the packet is not what the peer sealed")]
    Forged,
    /// The same packet came before.
    #[error("the packet was received before")]
    Replayed,
    /// So late that nobody knows whether it came before.
    #[error("the packet is older than the replay window")]
    TooOld,
}

impl From<ReplayError> for OpenError {
    fn from(error: ReplayError) -> Self {
        match error {
            ReplayError::Replayed => Self::Replayed,
            ReplayError::TooOld => Self::TooOld,
        }
    }
}

fn nonce(counter: u64) -> Option<aead::Nonce> {
    if !(1..=TunnelKeys::COUNTER_MAX).contains(&counter) {
        return None;
    }
    let mut nonce = [0; aead::NONCE_LEN];
    // The counter's upper 16 bits are zero, so six zero bytes stand before its 48 bits.
    nonce[4..].copy_from_slice(&counter.to_be_bytes());
    Some(aead::Nonce::assume_unique_for_key(nonce))
}

const PAIR_SALT: &[u8] = b"weave tunnel pair 1";
