//! The first thing each side of a link says, in clear: what it speaks and which network it is of.
//!
//! ```text
//!    0 magic, 8 bytes: 89 "weave" 0d 0a
//!    8 oldest and newest protocol version spoken, 2 bytes each, big-endian
//!   12 network id, 32 bytes
//!   44 password needed: 0 or 1
//!   45 passwords accepted: 0, or with a password 1, or 2 while one is being replaced
//! ```
//!
//! This layout stays for ever, whatever the versions in it: it is what routers of different age read of each other. It is
//! covered by the prologue of the Noise handshake, so a hello that was changed on the way ends in a failure.

use super::HandshakeError;
use crate::identity::NetworkId;

#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(super) struct Hello {
    pub(super) versions: Versions,
    pub(super) network: NetworkId,
    /// How many passwords are accepted, 0 to 2; none are needed with 0.
    pub(super) passwords: u8,
}

/// The protocol versions a router speaks, both ends included.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(super) struct Versions {
    pub(super) oldest: u16,
    pub(super) newest: u16,
}

impl Hello {
    /// Reads the hello at the start of `bytes`. `None` as long as it has not come in whole.
    pub(super) fn parse(bytes: &[u8]) -> Result<Option<Self>, HandshakeError> {
        // Another protocol is told by its first bytes: many never send as many as a hello has.
        if bytes.iter().zip(&MAGIC).any(|(got, want)| got != want) {
            return Err(HandshakeError::NotWeave);
        }
        let Some((hello, _)) = bytes.split_first_chunk::<{ Self::BYTES }>() else {
            return Ok(None);
        };
        let [_, _, _, _, _, _, _, _, o0, o1, n0, n1, rest @ ..] = hello;
        let [network @ .., needed, passwords] = rest;
        let versions = Versions {
            oldest: u16::from_be_bytes([*o0, *o1]),
            newest: u16::from_be_bytes([*n0, *n1]),
        };
        if versions.oldest > versions.newest {
            return Err(HandshakeError::Malformed);
        }
        // Of a version that is not ours, the last two bytes may mean what we don't know: the version is the better answer.
        if versions.common(OUR_VERSIONS).is_some()
            && !matches!((needed, passwords), (0, 0) | (1, 1 | 2))
        {
            return Err(HandshakeError::Malformed);
        }
        Ok(Some(Self {
            versions,
            network: NetworkId::from_bytes(*network),
            passwords: *passwords,
        }))
    }

    pub(super) fn emit(&self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..10].copy_from_slice(&self.versions.oldest.to_be_bytes());
        bytes[10..12].copy_from_slice(&self.versions.newest.to_be_bytes());
        bytes[12..44].copy_from_slice(self.network.as_bytes());
        bytes[44] = u8::from(self.passwords > 0);
        bytes[45] = self.passwords;
        bytes
    }

    /// Whether we can go on with a router that said `theirs`. The network comes first: of a stranger to it we say no more.
    pub(super) fn check(&self, theirs: &Self) -> Result<(), HandshakeError> {
        if self.network != theirs.network {
            return Err(HandshakeError::OtherNetwork);
        }
        if self.versions.common(theirs.versions).is_none() {
            return Err(HandshakeError::Version {
                oldest: theirs.versions.oldest,
                newest: theirs.versions.newest,
            });
        }
        match (self.passwords, theirs.passwords) {
            (0, 1..) => Err(HandshakeError::PasswordThere),
            (1.., 0) => Err(HandshakeError::PasswordHere),
            (0, 0) | (1.., 1..) => Ok(()),
        }
    }

    pub(super) const BYTES: usize = 46;
}

impl Versions {
    /// The newest version that both sides speak.
    fn common(self, other: Self) -> Option<u16> {
        let newest = self.newest.min(other.newest);
        (newest >= self.oldest.max(other.oldest)).then_some(newest)
    }
}

/// As in PNG: a byte above 127 and a line end, so that no text protocol begins like it and no line-end conversion
/// goes unnoticed.
const MAGIC: [u8; 8] = *b"\x89weave\r\n";
pub(super) const OUR_VERSIONS: Versions = Versions {
    oldest: 1,
    newest: 1,
};

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn hello() -> Hello {
        Hello {
            versions: OUR_VERSIONS,
            network: NetworkId::from_name("weave"),
            passwords: 0,
        }
    }

    #[test]
    fn a_hello_comes_back_and_waits_for_its_last_byte() {
        for passwords in 0..=2 {
            let hello = Hello {
                passwords,
                ..hello()
            };
            let bytes = hello.emit();
            assert_eq!(Hello::parse(&bytes), Ok(Some(hello)));
            for cut in 0..bytes.len() {
                assert_eq!(Hello::parse(&bytes[..cut]), Ok(None), "{cut} bytes");
            }
        }
    }

    #[test]
    fn another_protocol_is_told_by_its_first_byte() {
        for bytes in [
            &b"G"[..],
            b"GET / HTTP/1.1",
            b"SSH-2.0",
            b"\x89PNG",
            b"\x16\x03\x01",
        ] {
            assert_eq!(Hello::parse(bytes), Err(HandshakeError::NotWeave));
        }
    }

    #[test]
    fn impossible_hellos_are_malformed() {
        let good = hello().emit();
        for (at, value) in [(44, 1), (44, 2), (45, 1), (45, 255), (9, 2)] {
            let mut bad = good;
            bad[at] = value;
            assert_eq!(
                Hello::parse(&bad),
                Err(HandshakeError::Malformed),
                "byte {at} = {value}"
            );
        }
    }

    #[test]
    fn the_first_thing_that_differs_is_named() {
        let ours = hello();
        assert_eq!(ours.check(&hello()), Ok(()));
        let newer = Versions {
            oldest: 2,
            newest: 3,
        };
        let other = NetworkId::from_name("other");
        let theirs = Hello {
            network: other,
            versions: newer,
            passwords: 1,
        };
        assert_eq!(ours.check(&theirs), Err(HandshakeError::OtherNetwork));
        let theirs = Hello {
            versions: newer,
            passwords: 1,
            ..hello()
        };
        assert_eq!(
            ours.check(&theirs),
            Err(HandshakeError::Version {
                oldest: 2,
                newest: 3
            })
        );
        let theirs = Hello {
            passwords: 1,
            ..hello()
        };
        assert_eq!(ours.check(&theirs), Err(HandshakeError::PasswordThere));
        assert_eq!(theirs.check(&ours), Err(HandshakeError::PasswordHere));
        assert_eq!(
            theirs.check(&Hello {
                passwords: 2,
                ..hello()
            }),
            Ok(())
        );
    }

    #[test]
    fn a_later_version_may_use_the_last_bytes_otherwise() {
        let mut bytes = Hello {
            versions: Versions {
                oldest: 7,
                newest: 9,
            },
            ..hello()
        }
        .emit();
        bytes[44] = 0xff;
        let theirs = Hello::parse(&bytes).unwrap().unwrap();
        assert_eq!(
            hello().check(&theirs),
            Err(HandshakeError::Version {
                oldest: 7,
                newest: 9
            })
        );
    }

    proptest! {
        #[test]
        fn the_common_version_is_the_newest_in_both_ranges(a in (0u16..6, 0u16..6), b in (0u16..6, 0u16..6)) {
            let range = |(x, y): (u16, u16)| Versions { oldest: x.min(y), newest: x.max(y) };
            let (a, b) = (range(a), range(b));
            let model = (0..6).rfind(|v| (a.oldest..=a.newest).contains(v) && (b.oldest..=b.newest).contains(v));
            prop_assert_eq!(a.common(b), model);
            prop_assert_eq!(b.common(a), model);
        }
    }
}
