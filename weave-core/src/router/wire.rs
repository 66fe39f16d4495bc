//! What routers say to each other along the mesh beside gossip: the bodies of routed control messages.

#[cfg(test)]
mod vectors;

use serde::{Deserialize, Serialize};
use weave_crypto::SealedStream;

use super::tunnels::TunnelMessage;

/// The body of a routed control message (postcard; variants are numbered in this order, for ever).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Body {
    /// Tunnel set-up, message 1 of Noise IK.
    Initiation(Vec<u8>),
    /// Tunnel set-up, message 2.
    Answer(Vec<u8>),
    /// A packet sealed with the new keys: the other end may seal with them.
    Confirmation(Vec<u8>),
    /// "Your message was made for an older boot of mine": the newest record of the sender.
    Current(Vec<u8>),
    /// Where one of the two may be found, to try a direct path: sealed in the pair's tunnel.
    Meet {
        /// Names the keys, as in a packet: drawn by the receiver.
        receiver: u32,
        /// Counts with the packets under these keys.
        counter: u64,
        /// The sealed message, and the tag.
        sealed: Vec<u8>,
    },
}

impl Body {
    pub(crate) fn encode(&self) -> Vec<u8> {
        postcard::to_stdvec(self).expect("serialising into memory does not fail")
    }

    /// Decodes a body; none when it is malformed or longer than any that a stream carries.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        if bytes.len() > SealedStream::MESSAGE_BYTES_MAX {
            return None;
        }
        let (body, rest) = postcard::take_from_bytes(bytes).ok()?;
        rest.is_empty().then_some(body)
    }
}

impl From<TunnelMessage> for Body {
    fn from(message: TunnelMessage) -> Self {
        match message {
            TunnelMessage::Initiation(bytes) => Self::Initiation(bytes),
            TunnelMessage::Answer(bytes) => Self::Answer(bytes),
            TunnelMessage::Confirmation(bytes) => Self::Confirmation(bytes),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_round_trip_and_no_prefix_panics() {
        for body in [
            Body::Initiation(vec![1, 2]),
            Body::Answer(vec![]),
            Body::Confirmation(vec![3; 40]),
            Body::Current(vec![4]),
            Body::Meet {
                receiver: 5,
                counter: 6,
                sealed: vec![7; 20],
            },
        ] {
            let bytes = body.encode();
            assert_eq!(Body::decode(&bytes), Some(body));
            for end in 0..bytes.len() {
                assert_eq!(Body::decode(&bytes[..end]), None);
            }
        }
    }
}
