//! Who may join: the passwords of a network, stretched once, and what is done with them at each link's set-up.
//!
//! ```text
//!   password ── Argon2id, 64 MiB, salt = network id ──> PasswordKey, kept while the router runs
//!   PasswordKey ── SPAKE2, afresh for each link ──> 32 bytes that both sides have only if their passwords agree
//! ```
//!
//! A password that people choose is guessed sooner or later by whoever can try guesses at leisure. So no byte on the wire may
//! let a guess be tested: the exchange gives each side that takes part in it one guess, and a listener of the wire none.
//! Stretching makes guesses dear even for a thief of the key, who needs none to join, but may want to know the password.

mod exchange;
#[cfg(test)]
mod tests;

use std::{fmt, sync::Arc};

use argon2::{Algorithm, Argon2, Block, Params, Version};
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, Zeroizing};

#[cfg(test)]
pub(crate) use self::exchange::weakened;
pub(crate) use self::exchange::{
    ELEMENT_BYTES, Exchange, ExchangeError, SharedKeys, Side, TAG_BYTES,
};
use crate::identity::NetworkId;

/// A password of a network, stretched: what proves at each link that a router may join.
///
/// It is as good as the password itself, for this network. Wiped from memory when dropped; `Debug` shows nothing of it, and
/// comparing takes the same time whatever the difference.
#[derive(Clone)]
pub struct PasswordKey(Zeroizing<[u8; 32]>);

impl PasswordKey {
    /// Stretches a password by Argon2id (RFC 9106, version 19): 64 MiB, three passes, one lane, the network id as salt, so
    /// that the same password gives another key in another network and no table of keys fits two networks.
    ///
    /// The bytes count as they are: neither trimmed nor put into a normal form of Unicode. Costs 64 MiB of memory, wiped and
    /// given back before it returns, and 100 to 300 ms of one core: do it once for each password, outside the router.
    ///
    /// # Errors
    /// [`PasswordError`] if the password is empty or too long, or memory is short.
    pub fn derive(password: &[u8], network: NetworkId) -> Result<Self, PasswordError> {
        if password.is_empty() {
            return Err(PasswordError::Empty);
        }
        if password.len() > Self::PASSWORD_BYTES_MAX {
            return Err(PasswordError::TooLong);
        }
        let params = Params::new(MEMORY_KIB, PASSES, LANES, Some(32))
            .expect("the costs are within the bounds of Argon2");
        let mut memory = Memory::with_blocks(params.block_count())?;
        let mut key = Self(Zeroizing::new([0; 32]));
        Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
            .hash_password_into_with_memory(
                password,
                network.as_bytes(),
                key.0.as_mut(),
                &mut memory.0,
            )
            .expect("lengths of password, salt and key are within the bounds of Argon2");
        Ok(key)
    }

    /// A key that comes from elsewhere than a password: 32 secret bytes. For tests and simulations, which can't afford to
    /// stretch; whatever else uses it must have drawn the bytes at random.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    pub(crate) fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The longest password, in bytes: far beyond what people or generators make, and a bound for whoever reads it from a
    /// file.
    pub const PASSWORD_BYTES_MAX: usize = 1_024;
}

impl PartialEq for PasswordKey {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(other.0.as_ref()).into()
    }
}

impl Eq for PasswordKey {}

impl fmt::Debug for PasswordKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PasswordKey(..)")
    }
}

/// The passwords that a router accepts: none, one, or two while one is being replaced.
///
/// The order is part of what they are: routers with two compare the newest with the newest and the older with the older, and
/// one with a single password compares it with both. So a whole network changes over without losing a link: first the new
/// password goes on top everywhere, then the old one is taken away everywhere.
///
/// A clone shares the keys, which are wiped with the last one. `Debug` shows how many there are.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Passwords(Arc<[PasswordKey]>);

impl Passwords {
    /// No password: whoever reaches the port may join.
    #[must_use]
    pub fn none() -> Self {
        Self::default()
    }

    /// One password.
    #[must_use]
    pub fn one(key: PasswordKey) -> Self {
        Self(Arc::new([key]))
    }

    /// Two passwords, either of which lets a router join. Two equal ones are one.
    #[must_use]
    pub fn two(newest: PasswordKey, older: PasswordKey) -> Self {
        if newest == older {
            Self::one(newest)
        } else {
            Self(Arc::new([newest, older]))
        }
    }

    /// How many there are, 0 to 2 ([`Passwords::MAX`]).
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many there are, as hellos say it.
    pub(crate) fn count(&self) -> u8 {
        u8::try_from(self.len()).expect("there are 2 at most")
    }

    /// The one that instance `instance` of the exchange is about; `None` if there is none at all.
    fn for_instance(&self, instance: usize) -> Option<&PasswordKey> {
        self.0.get(self.index_of_instance(instance))
    }

    /// Which of ours that is, counted from the newest.
    pub(crate) fn index_of_instance(&self, instance: usize) -> usize {
        instance.min(self.len().saturating_sub(1))
    }

    /// The most that a router accepts at a time: each one more is one more guess for strangers in each attempt.
    pub const MAX: usize = 2;
}

impl fmt::Debug for Passwords {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Passwords({})", self.len())
    }
}

/// Why a password can't be used. None of these says anything of what it is.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum PasswordError {
    /// It has no bytes at all.
    #[error("the password is empty")]
    Empty,
    /// It has more bytes than [`PasswordKey::PASSWORD_BYTES_MAX`].
    #[error(
        "the password is longer than {} bytes",
        PasswordKey::PASSWORD_BYTES_MAX
    )]
    TooLong,
    /// There are no 64 MiB to stretch it in. The only error of this crate that may pass by itself.
    #[error("there is too little memory to stretch the password: 64 MiB are needed for a moment")]
    Memory,
}

/// The memory that Argon2 fills: wiped and given back when dropped.
struct Memory(Vec<Block>);

impl Memory {
    fn with_blocks(count: usize) -> Result<Self, PasswordError> {
        let mut blocks = Vec::new();
        blocks
            .try_reserve_exact(count)
            .map_err(|_| PasswordError::Memory)?;
        blocks.resize(count, Block::new());
        Ok(Self(blocks))
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

/// The second recommended option of RFC 9106, section 4: t = 3, m = 64 MiB; with one lane, since the crate has one thread.
const MEMORY_KIB: u32 = 64 * 1_024;
const PASSES: u32 = 3;
const LANES: u32 = 1;
