//! The three identifiers: of a router, of a router in data headers, and of a network.

use std::{cmp::Ordering, fmt, str::FromStr};

use ring::digest;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::hex;

/// A router's identity as others see it: its Ed25519 public key.
///
/// Everything is keyed by it; names are labels. Text form: 64 hex digits, also in self-describing formats such as JSON;
/// in binary formats the 32 bytes stand bare.
#[derive(Copy, Clone, PartialEq, Eq, Hash)]
pub struct PeerId([u8; 32]);

/// In the order of the bytes. Keys are as good as random, so the first eight bytes nearly always decide: that
/// matters where maps and lists of hundreds of routers are looked through for each of thousands of records.
impl Ord for PeerId {
    fn cmp(&self, other: &Self) -> Ordering {
        let first = |id: &Self| id.0.first_chunk().map(|first| u64::from_be_bytes(*first));
        first(self)
            .cmp(&first(other))
            .then_with(|| self.0.cmp(&other.0))
    }
}

impl PartialOrd for PeerId {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// What names a router in the headers of data packets: the first 8 bytes of SHA-256 over its [`PeerId`].
///
/// Nothing is proved by it: it finds the way, the tunnel's keys do the proving. Text form: 16 hex digits.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ShortId([u8; 8]);

/// A network's name, hashed: SHA-256 over a domain string and the name. Text form: 64 hex digits.
///
/// It keeps routers of different networks apart and is mixed into every key; it is no secret.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NetworkId([u8; 32]);

/// The text is not the right number of hex digits.
#[derive(Copy, Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not {digits} hex digits")]
pub struct ParseIdError {
    /// How many digits the identifier has.
    digits: usize,
}

impl PeerId {
    /// The router's [`ShortId`].
    #[must_use]
    pub fn short_id(&self) -> ShortId {
        ShortId(leading(&digest::digest(&digest::SHA256, &self.0)))
    }

    /// The router's own MAC address: the first six bytes of SHA-256 over the `PeerId`, made locally administered and
    /// unicast (IEEE 802, section 8.4.2).
    #[must_use]
    pub fn mac(&self) -> [u8; 6] {
        let [first, b, c, d, e, f, ..] = self.short_id().0;
        [first & !MULTICAST_BIT | LOCAL_BIT, b, c, d, e, f]
    }

    /// The name a router has until it is given one: its [`mac`](Self::mac) in text, such as `7a:9f:3c:00:12:ee`.
    #[must_use]
    pub fn default_name(&self) -> String {
        let [a, b, c, d, e, f] = self.mac();
        format!("{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x}")
    }
}

impl NetworkId {
    /// The id of the network called `name`. Any name will do, the empty one too; no case folding or trimming is done.
    #[must_use]
    pub fn from_name(name: &str) -> Self {
        let mut context = digest::Context::new(&digest::SHA256);
        context.update(NETWORK_DOMAIN);
        context.update(name.as_bytes());
        Self(leading(&context.finish()))
    }
}

/// The same plain conversions for every identifier.
macro_rules! identifier {
    ($name:ident, $len:literal) => {
        impl $name {
            /// Takes the bytes as they are; every value is one that could arrive.
            #[must_use]
            pub const fn from_bytes(bytes: [u8; $len]) -> Self {
                Self(bytes)
            }

            /// The bytes, as they go on the wire.
            #[must_use]
            pub const fn as_bytes(&self) -> &[u8; $len] {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                hex::write(&self.0, f)
            }
        }

        /// The first four bytes only: enough to tell routers apart in a log.
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(concat!(stringify!($name), "("))?;
                hex::write(&self.0[..4], f)?;
                f.write_str("…)")
            }
        }

        impl FromStr for $name {
            type Err = ParseIdError;

            fn from_str(text: &str) -> Result<Self, ParseIdError> {
                hex::parse(text)
                    .map(Self)
                    .ok_or(ParseIdError { digits: 2 * $len })
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                if serializer.is_human_readable() {
                    serializer.collect_str(self)
                } else {
                    self.0.serialize(serializer)
                }
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                if deserializer.is_human_readable() {
                    // Owned, because a JSON string with escapes cannot be borrowed.
                    String::deserialize(deserializer)?
                        .parse()
                        .map_err(de::Error::custom)
                } else {
                    <[u8; $len]>::deserialize(deserializer).map(Self)
                }
            }
        }
    };
}

identifier!(PeerId, 32);
identifier!(ShortId, 8);
identifier!(NetworkId, 32);

fn leading<const N: usize>(hash: &digest::Digest) -> [u8; N] {
    *hash
        .as_ref()
        .first_chunk()
        .expect("no identifier is longer than a SHA-256 hash")
}

const NETWORK_DOMAIN: &[u8] = b"weave network 1\0";
/// Second bit of a MAC address's first byte: made up locally, not by a manufacturer.
const LOCAL_BIT: u8 = 0x02;
/// Lowest bit of a MAC address's first byte: a group of stations.
const MULTICAST_BIT: u8 = 0x01;
