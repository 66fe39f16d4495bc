//! Layout of a probe: the body of a sealed packet of kind probe.
//!
//! ```text
//!  0 type: 0 challenge, 1 answer      1 reserved, 0
//!  2 last heard from you, ms, 2 bytes: saturating, 0xFFFF never
//!  4 sequence, 4 bytes                8 token, 8 bytes, echoed by the answer
//! 16 address that the sender sees you at: IPv6 or IPv4-mapped, 16 bytes; port, 2 bytes; or zeros
//! 34 padding, zeros
//! ```
//!
//! Numbers are big-endian.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Bytes of a probe without padding.
pub const PROBE_BYTES: usize = 34;

/// Question or answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ProbeKind {
    /// Wants an answer at once, sent to where it came from.
    Challenge,
    /// Echoes sequence and token of a challenge.
    Answer,
}

/// What a probe says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Probe {
    /// Question or answer.
    pub kind: ProbeKind,
    /// How long ago the sender last heard from the receiver over UDP, ms;
    /// [`Probe::NEVER_HEARD`] if it never did.
    pub last_heard_ms: u16,
    /// Counts the challenger's probes on this link.
    pub sequence: u32,
    /// Drawn by the challenger: an answer proves that the challenge arrived.
    pub token: u64,
    /// Where the sender sees the receiver.
    pub seen: Option<SocketAddr>,
}

impl Probe {
    /// Value of `last_heard_ms` for "never"; 65,534 ms and more saturate just below.
    pub const NEVER_HEARD: u16 = u16::MAX;

    /// Reads a probe; padding may follow, whatever it holds.
    ///
    /// # Errors
    ///
    /// [`ProbeError`] if the bytes are too few or of an unknown type.
    pub fn parse(bytes: &[u8]) -> Result<Self, ProbeError> {
        let bytes = bytes
            .first_chunk::<PROBE_BYTES>()
            .ok_or(ProbeError::Truncated)?;
        let kind = match bytes[0] {
            0 => ProbeKind::Challenge,
            1 => ProbeKind::Answer,
            other => return Err(ProbeError::UnknownType(other)),
        };
        let ip = Ipv6Addr::from(field::<16>(bytes, 16));
        let port = u16::from_be_bytes(field(bytes, 32));
        let seen = (port != 0 && !ip.is_unspecified())
            .then(|| SocketAddr::new(IpAddr::V6(ip).to_canonical(), port));
        Ok(Self {
            kind,
            last_heard_ms: u16::from_be_bytes(field(bytes, 2)),
            sequence: u32::from_be_bytes(field(bytes, 4)),
            token: u64::from_be_bytes(field(bytes, 8)),
            seen,
        })
    }

    /// Writes the probe and returns [`PROBE_BYTES`]; what follows in `out` is padding, and left
    /// alone.
    ///
    /// # Panics
    ///
    /// If `out` is shorter than [`PROBE_BYTES`].
    pub fn emit(&self, out: &mut [u8]) -> usize {
        let out = &mut out[..PROBE_BYTES];
        out[0] = match self.kind {
            ProbeKind::Challenge => 0,
            ProbeKind::Answer => 1,
        };
        out[1] = 0;
        out[2..4].copy_from_slice(&self.last_heard_ms.to_be_bytes());
        out[4..8].copy_from_slice(&self.sequence.to_be_bytes());
        out[8..16].copy_from_slice(&self.token.to_be_bytes());
        let (ip, port) = match self.seen {
            None => (Ipv6Addr::UNSPECIFIED, 0),
            Some(SocketAddr::V4(v4)) => (v4.ip().to_ipv6_mapped(), v4.port()),
            Some(SocketAddr::V6(v6)) => (*v6.ip(), v6.port()),
        };
        out[16..32].copy_from_slice(&ip.octets());
        out[32..34].copy_from_slice(&port.to_be_bytes());
        PROBE_BYTES
    }

    /// The probe in bytes of its own, without padding.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = vec![0; PROBE_BYTES];
        self.emit(&mut out);
        out
    }

    /// The answer to this challenge, from a router that last heard the challenger
    /// `last_heard_ms` ago (before this challenge) and sees it at `seen`.
    pub fn answer(&self, last_heard_ms: u16, seen: SocketAddr) -> Self {
        Self {
            kind: ProbeKind::Answer,
            last_heard_ms,
            sequence: self.sequence,
            token: self.token,
            seen: Some(seen),
        }
    }

    /// An age as `last_heard_ms` carries it.
    pub fn age_ms(age: Option<Duration>) -> u16 {
        age.map_or(Self::NEVER_HEARD, |age| {
            u16::try_from(age.as_millis())
                .unwrap_or(u16::MAX)
                .min(Self::NEVER_HEARD - 1)
        })
    }
}

/// Why bytes are no probe. Only a neighbour with the tunnel's keys can have sent them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProbeError {
    /// Fewer than [`PROBE_BYTES`].
    #[error("probe is cut short")]
    Truncated,
    /// Neither challenge nor answer.
    #[error("probe is of unknown type {0}")]
    UnknownType(u8),
}

fn field<const N: usize>(bytes: &[u8; PROBE_BYTES], at: usize) -> [u8; N] {
    let mut out = [0; N];
    out.copy_from_slice(&bytes[at..at + N]);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn probes() -> impl Strategy<Value = Probe> {
        (
            any::<bool>(),
            any::<u16>(),
            any::<u32>(),
            any::<u64>(),
            any::<Option<SocketAddr>>(),
        )
            .prop_map(|(answer, last_heard_ms, sequence, token, seen)| Probe {
                kind: if answer {
                    ProbeKind::Answer
                } else {
                    ProbeKind::Challenge
                },
                last_heard_ms,
                sequence,
                token,
                // Flow labels and scopes are no part of an address seen; a mapped address comes
                // back as what it maps.
                seen: seen
                    .map(|seen| SocketAddr::new(seen.ip().to_canonical(), seen.port()))
                    .filter(|seen| seen.port() != 0 && !seen.ip().is_unspecified()),
            })
    }

    proptest! {
        #[test]
        fn what_is_emitted_parses_back(probe in probes(), padding in 0_usize..64) {
            let mut out = vec![0; PROBE_BYTES + padding];
            prop_assert_eq!(probe.emit(&mut out), PROBE_BYTES);
            prop_assert_eq!(Probe::parse(&out), Ok(probe));
        }

        #[test]
        fn any_bytes_parse_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            let _ = Probe::parse(&bytes);
        }
    }

    #[test]
    fn every_prefix_is_refused() {
        let bytes = Probe {
            kind: ProbeKind::Challenge,
            last_heard_ms: 7,
            sequence: 1,
            token: 2,
            seen: None,
        }
        .to_bytes();
        for length in 0..bytes.len() {
            assert_eq!(Probe::parse(&bytes[..length]), Err(ProbeError::Truncated));
        }
    }

    #[test]
    fn layout_is_the_documented_one() {
        let probe = Probe {
            kind: ProbeKind::Answer,
            last_heard_ms: 0x0102,
            sequence: 0x0304_0506,
            token: 0x0708_090a_0b0c_0d0e,
            seen: Some("192.0.2.1:6783".parse().unwrap()),
        };
        let mut expected = vec![1, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14];
        expected.extend([
            0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 192, 0, 2, 1, 0x1a, 0x7f,
        ]);
        assert_eq!(probe.to_bytes(), expected);
    }

    #[test]
    fn ages_saturate_below_never() {
        assert_eq!(Probe::age_ms(None), Probe::NEVER_HEARD);
        assert_eq!(Probe::age_ms(Some(Duration::from_secs(900))), 65_534);
        assert_eq!(Probe::age_ms(Some(Duration::from_millis(12))), 12);
    }
}
