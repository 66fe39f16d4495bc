//! Loop frames: by them routers notice that their ports are on one segment, joined outside of the mesh.
//!
//! ```text
//!   0 destination, 03:77:65:61:76:65: a multicast that bridges pass on
//!   6 source: first 6 bytes of SHA-256(PeerId), bit 0 of the first cleared, bit 1 set
//!  12 EtherType 88 B5 (IEEE 802, local experimental)
//!  14 version, 1                             15 reserved, 0
//!  16 network id, 32 bytes                   48 PeerId, 32 bytes
//!  80 boot id, 8 bytes                       88 counter, 8 bytes: rises with each frame of a boot
//!  96 Ed25519 signature over "weave loop 1" 00 | bytes 14 to 95
//! 160
//! ```
//!
//! Everything else of this EtherType is an ordinary frame, loop frames of other networks included.

use smoltcp::wire::EthernetAddress;
use weave_crypto::{Identity, NetworkId, PeerId, ShortId};
use weave_mesh::Verifier;

/// What a loop frame says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoopFrame {
    /// Who sent it.
    pub peer: PeerId,
    /// The sender's boot id.
    pub boot_id: u64,
    /// Rises with each frame.
    pub counter: u64,
    signature: [u8; 64],
}

impl LoopFrame {
    /// Bytes of the frame, Ethernet header included.
    pub const BYTES: usize = 160;

    /// Whether `frame` looks like one that the port of `peer` sends: for whoever counts or captures frames. It may be
    /// forged.
    pub fn is_from(frame: &[u8], peer: &PeerId) -> bool {
        frame.len() == Self::BYTES
            && frame[..6] == DESTINATION.0
            && frame[6..12] == router_mac(&peer.short_id()).0
            && frame[12..14] == HEADER[..2]
    }

    /// Signs a frame. About 25 µs.
    pub(crate) fn sign(
        identity: &Identity,
        network: &NetworkId,
        boot_id: u64,
        counter: u64,
    ) -> Self {
        let mut frame = Self {
            peer: identity.peer_id(),
            boot_id,
            counter,
            signature: [0; 64],
        };
        frame.signature = identity.sign(&frame.signed(network));
        frame
    }

    /// Reads `frame` if it is a loop frame of `network`, genuine or not.
    pub(crate) fn parse(frame: &[u8], network: &NetworkId) -> Option<Self> {
        let frame: &[u8; Self::BYTES] = frame.try_into().ok()?;
        let is_one = frame[..6] == DESTINATION.0
            && frame[12..16] == HEADER
            && frame[16..48] == *network.as_bytes();
        let (peer, rest) = frame[48..].split_first_chunk()?;
        let (boot_id, rest) = rest.split_first_chunk()?;
        let (counter, rest) = rest.split_first_chunk()?;
        is_one.then_some(Self {
            peer: PeerId::from_bytes(*peer),
            boot_id: u64::from_be_bytes(*boot_id),
            counter: u64::from_be_bytes(*counter),
            signature: *rest.first_chunk()?,
        })
    }

    /// Whether the sender it names has signed it. About 60 µs.
    pub(crate) fn is_genuine(&self, network: &NetworkId, verifier: &dyn Verifier) -> bool {
        verifier.verify(&self.peer, &self.signed(network), &self.signature)
    }

    /// The frame's bytes.
    pub(crate) fn emit(&self, network: &NetworkId) -> Vec<u8> {
        let said = self.signed(network);
        [
            &DESTINATION.0[..],
            &router_mac(&self.peer.short_id()).0,
            &HEADER[..2],
            &said[PREFIX.len()..],
            &self.signature,
        ]
        .concat()
    }

    /// The prefix, then the bytes that the signature stands behind.
    fn signed(&self, network: &NetworkId) -> Vec<u8> {
        [
            PREFIX,
            &HEADER[2..],
            network.as_bytes(),
            self.peer.as_bytes(),
            &self.boot_id.to_be_bytes(),
            &self.counter.to_be_bytes(),
        ]
        .concat()
    }
}

/// The Ethernet address that a router's own frames bear at its port.
pub(crate) fn router_mac(router: &ShortId) -> EthernetAddress {
    let [first, b, c, d, e, f, ..] = *router.as_bytes();
    EthernetAddress([first & !1 | 2, b, c, d, e, f])
}

/// Local and multicast, outside of 01:80:C2, so that every bridge floods it; the rest reads "weave".
const DESTINATION: EthernetAddress = EthernetAddress([0x03, 0x77, 0x65, 0x61, 0x76, 0x65]);
/// EtherType, version, reserved.
const HEADER: [u8; 4] = [0x88, 0xB5, 1, 0];
const PREFIX: &[u8] = b"weave loop 1\0";

#[cfg(test)]
mod tests {
    use weave_mesh::DirectVerifier;

    use super::*;

    fn identity() -> Identity {
        Identity::from_seed(std::array::from_fn(|at| at as u8))
    }

    #[test]
    fn a_frame_is_read_as_it_was_made_and_only_whole() {
        let network = NetworkId::from_name("weave");
        let frame = LoopFrame::sign(&identity(), &network, 1_700_000_000, 7);
        let bytes = frame.emit(&network);
        assert_eq!(bytes.len(), LoopFrame::BYTES);
        assert!(LoopFrame::is_from(&bytes, &frame.peer));
        assert_eq!(LoopFrame::parse(&bytes, &network), Some(frame));
        for length in 0..bytes.len() {
            assert_eq!(LoopFrame::parse(&bytes[..length], &network), None);
        }
        let longer = [&bytes[..], &[0]].concat();
        assert_eq!(LoopFrame::parse(&longer, &network), None);
        let other = NetworkId::from_name("other");
        assert_eq!(LoopFrame::parse(&bytes, &other), None);
    }

    #[test]
    fn nothing_that_is_signed_can_be_changed() {
        let network = NetworkId::from_name("weave");
        let bytes = LoopFrame::sign(&identity(), &network, 1_700_000_000, 7).emit(&network);
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let read = LoopFrame::parse(&flipped, &network);
            let is_believed = read.is_some_and(|read| read.is_genuine(&network, &DirectVerifier));
            assert_eq!(
                is_believed,
                (48..96).contains(&bit),
                "bit {bit}: the source's only"
            );
        }
    }

    #[test]
    fn loop_frames_are_as_frozen() {
        let made: String = [
            ("weave", 1_700_000_000, 1),
            ("other", 1_700_000_500, 1 << 40),
        ]
        .into_iter()
        .flat_map(|(name, boot_id, counter)| {
            let network = NetworkId::from_name(name);
            let bytes = LoopFrame::sign(&identity(), &network, boot_id, counter).emit(&network);
            let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            [name.to_owned(), " = ".to_owned(), hex, "\n".to_owned()]
        })
        .collect();
        let frozen: String = include_str!("../tests/vectors/loops.txt")
            .lines()
            .filter(|line| !line.is_empty() && !line.starts_with('#'))
            .flat_map(|line| [line, "\n"])
            .collect();
        assert_eq!(made, frozen, "\n{made}");
    }
}
