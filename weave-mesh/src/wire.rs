//! Control messages between neighbours: what one frame of a link's sealed stream holds.
//!
//! Each is a postcard enum; the order of its variants is the protocol, so a new one goes to the
//! end. Decoding is bounded by the frame's own length: no length field makes it allocate more
//! than the bytes that are there. Kinds of records and reasons of goodbyes stand in messages as
//! plain numbers, so that those that a later release adds decode here, too.

#[cfg(test)]
mod vectors;

use std::net::SocketAddr;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use weave_crypto::PeerId;

use crate::probe::Probe;
use crate::record::{Key, RecordKind};

/// Most bytes of an encoded message: a frame of the sealed stream.
pub const MESSAGE_BYTES_MAX: usize = 32 * 1024;
/// Buckets into which origins fall by the first four bits of their id.
pub const BUCKETS: usize = 16;
/// Most keys in one list or want: 512 × 43 bytes is 22 KiB.
pub const KEYS_MAX: usize = 512;
/// Most bytes of a routed message's body.
pub const ROUTED_BODY_BYTES_MAX: usize = 16 * 1024;

/// Most bytes of a data packet on a stream: more than Ethernet's jumbo frames make, and half of a message.
pub const STREAM_PACKET_BYTES_MAX: usize = 16 * 1024;

/// A message between two routers that need not be neighbours, handed on hop by hop.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Routed {
    /// Who wrote it. Not authenticated by the mesh: the body must be.
    pub from: PeerId,
    /// Who shall read it.
    pub to: PeerId,
    /// Hops left; whoever hands it on lowers it. Zero is refused.
    pub ttl: u8,
    /// Opaque to the mesh; at most [`ROUTED_BODY_BYTES_MAX`].
    #[serde(with = "plain_bytes")]
    pub body: Vec<u8>,
}

/// Why a router ends a link on purpose. The numbers are the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum Goodbye {
    /// It stops.
    Shutdown = 0,
    /// Another stream between the same two routers stays.
    Duplicate = 1,
    /// The receiver's boot id is older than one known of it.
    StaleBoot = 2,
    /// It has as many neighbours as it wants.
    Full = 3,
    /// It took a new boot id, and sets its links up anew.
    Renewed = 4,
    /// The user told it to forget this peer.
    Forgotten = 5,
    /// The user told it to refuse this identity.
    Denied = 6,
}

impl Goodbye {
    /// Every reason, in the order of their numbers.
    const ALL: [Self; 7] = [
        Self::Shutdown,
        Self::Duplicate,
        Self::StaleBoot,
        Self::Full,
        Self::Renewed,
        Self::Forgotten,
        Self::Denied,
    ];

    /// The reason of this number; none for one that only a later release knows.
    pub(crate) fn from_number(number: u32) -> Option<Self> {
        Self::ALL.get(usize::try_from(number).ok()?).copied()
    }
}

/// A [`Key`] as it stands in a message: of any kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct AnyKey {
    pub(crate) origin: PeerId,
    pub(crate) kind: u32,
    pub(crate) seq: u64,
}

impl AnyKey {
    /// The key; none if only a later release knows its kind.
    pub(crate) fn known(&self) -> Option<Key> {
        Some(Key {
            origin: self.origin,
            kind: RecordKind::from_byte(u8::try_from(self.kind).ok()?)?,
            seq: self.seq,
        })
    }
}

impl From<Key> for AnyKey {
    fn from(key: Key) -> Self {
        Self {
            origin: key.origin,
            kind: key.kind as u32,
            seq: key.seq,
        }
    }
}

/// One control message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Control {
    /// The first message each way: the tag that the receiver writes on what it has the sender
    /// relay, where the sender sees the receiver's stream come from, and which process with its identity the sender is.
    Welcome {
        tag: [u8; 6],
        seen: SocketAddr,
        start_random: u64,
    },
    /// From the router with the smaller id: this stream is the link now.
    Adopt,
    /// Records, each encoded and signed by its origin.
    Records(Vec<RecordBytes>),
    /// So many more records of those sent were taken in, in order; what they were is left open, so
    /// that a record of a kind that the receiver does not know holds up nothing.
    Acknowledge(u32),
    /// Hash over all (origin, kind, seq) of reachable origins.
    Digest([u8; 32]),
    /// The same for each of [`BUCKETS`] ranges of origins, eight bytes each.
    Buckets([[u8; 8]; BUCKETS]),
    /// All keys of origins from the first to the last named, both included.
    List {
        first: PeerId,
        last: PeerId,
        keys: Vec<AnyKey>,
    },
    /// Records that the sender wants.
    Want(Vec<AnyKey>),
    /// A message on its way between two routers.
    Routed(Routed),
    /// A probe of the stream, or one missed over UDP, repeated.
    Probe(Probe),
    /// A sealed data packet, with its envelope if it has one, for links whose UDP does not pass; at most
    /// [`STREAM_PACKET_BYTES_MAX`].
    Packet(#[serde(with = "plain_bytes")] Vec<u8>),
    /// The sender closes the link, for the reason of this number.
    Goodbye(u32),
}

impl Control {
    /// Encodes a message that this release built within its bounds.
    pub(crate) fn encode(&self) -> Vec<u8> {
        postcard::to_stdvec(self).expect("no field of a control message can fail to serialise")
    }
}

/// Decodes one control message: whether it is one is all that callers outside the crate learn.
///
/// # Errors
///
/// [`WireError`] if the bytes are no message, or one that breaks a bound.
pub fn decode(bytes: &[u8]) -> Result<(), WireError> {
    parse(bytes).map(|_| ())
}

pub(crate) fn parse(bytes: &[u8]) -> Result<Control, WireError> {
    if bytes.len() > MESSAGE_BYTES_MAX {
        return Err(WireError::TooLong);
    }
    let (message, rest) =
        postcard::take_from_bytes::<Control>(bytes).map_err(|_| WireError::Malformed)?;
    // What a reason of a later release has to say is its own.
    let may_go_on =
        matches!(message, Control::Goodbye(reason) if Goodbye::from_number(reason).is_none());
    if !rest.is_empty() && !may_go_on {
        return Err(WireError::Malformed);
    }
    let is_within_bounds = match &message {
        Control::Want(keys) => keys.len() <= KEYS_MAX,
        Control::List { first, last, keys } => keys.len() <= KEYS_MAX && first <= last,
        Control::Routed(routed) => routed.body.len() <= ROUTED_BODY_BYTES_MAX,
        Control::Packet(packet) => packet.len() <= STREAM_PACKET_BYTES_MAX,
        Control::Welcome { .. }
        | Control::Adopt
        | Control::Records(_)
        | Control::Acknowledge(_)
        | Control::Digest(_)
        | Control::Buckets(_)
        | Control::Probe(_)
        | Control::Goodbye(_) => true,
    };
    if is_within_bounds {
        Ok(message)
    } else {
        Err(WireError::OutOfBounds)
    }
}

/// Why bytes are no control message. The neighbour broke the protocol, or speaks a later one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WireError {
    /// Longer than [`MESSAGE_BYTES_MAX`].
    #[error("control message is longer than {MESSAGE_BYTES_MAX} bytes")]
    TooLong,
    /// Does not decode, or bytes are left over.
    #[error("control message does not decode")]
    Malformed,
    /// Decodes, but holds more than one message may.
    #[error("control message breaks a bound")]
    OutOfBounds,
}

/// Bytes shared by all who hold or send them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RecordBytes(pub(crate) Arc<[u8]>);

impl Serialize for RecordBytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for RecordBytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        <&[u8]>::deserialize(deserializer).map(|bytes| Self(bytes.into()))
    }
}

/// Bytes as one run, not as a sequence of numbers.
mod plain_bytes {
    use super::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(bytes)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Vec<u8>, D::Error> {
        <&[u8]>::deserialize(deserializer).map(<[u8]>::to_vec)
    }
}

/// 64 bytes as two arrays of 32: serde has none longer.
pub(crate) mod array64 {
    use super::{Deserialize, Deserializer, Serialize, Serializer};

    pub(crate) fn serialize<S: Serializer>(
        bytes: &[u8; 64],
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        let (mut first, mut second) = ([0_u8; 32], [0_u8; 32]);
        first.copy_from_slice(&bytes[..32]);
        second.copy_from_slice(&bytes[32..]);
        (first, second).serialize(serializer)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<[u8; 64], D::Error> {
        let (first, second) = <([u8; 32], [u8; 32])>::deserialize(deserializer)?;
        let mut bytes = [0; 64];
        bytes[..32].copy_from_slice(&first);
        bytes[32..].copy_from_slice(&second);
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests;
