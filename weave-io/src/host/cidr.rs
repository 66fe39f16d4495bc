//! An address with its prefix length, as people write it.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// An address and its prefix length, as `10.2.1.1/24`: an interface's address, or with the host
/// bits zero a network.
///
/// The prefix length is at most 32 for IPv4, 128 for IPv6.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cidr {
    address: IpAddr,
    prefix_len: u8,
}

/// Why a text is no address with prefix length.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CidrError {
    /// No slash in it.
    #[error("{0:?} lacks its prefix length, as in 10.2.1.1/24")]
    NoPrefixLen(String),
    /// The part before the slash is no address.
    #[error("{0:?} is neither an IPv4 nor an IPv6 address")]
    BadAddress(String),
    /// The part after the slash is no number, or too large for the family.
    #[error("{prefix_len:?} is no prefix length for {address}: 0 to {}", prefix_len_max(*address))]
    BadPrefixLen {
        /// The address before the slash.
        address: IpAddr,
        /// What stood after it.
        prefix_len: String,
    },
}

impl Cidr {
    /// All of IPv4: the destination of a default route.
    pub const ALL_V4: Self = Self {
        address: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        prefix_len: 0,
    };
    /// All of IPv6: the destination of a default route.
    pub const ALL_V6: Self = Self {
        address: IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        prefix_len: 0,
    };

    /// An address with its prefix length in bits.
    ///
    /// # Errors
    /// [`CidrError::BadPrefixLen`] if the prefix is longer than the address.
    pub fn new(address: IpAddr, prefix_len: u8) -> Result<Self, CidrError> {
        if prefix_len > prefix_len_max(address) {
            return Err(CidrError::BadPrefixLen {
                address,
                prefix_len: prefix_len.to_string(),
            });
        }
        Ok(Self {
            address,
            prefix_len,
        })
    }

    /// Whether one host can have this address: neither one for many or for nobody, nor the network's own or its
    /// broadcast address.
    #[must_use]
    pub fn is_one_host(&self) -> bool {
        match self.address {
            IpAddr::V4(v4) => {
                // Without a host part there are two hosts (RFC 3021) or one, and nothing is reserved.
                let hosts = u32::MAX.checked_shr(self.prefix_len.into()).unwrap_or(0);
                let host = v4.to_bits() & hosts;
                let reserved = hosts > 1 && (host == 0 || host == hosts);
                !(reserved
                    || v4.is_loopback()
                    || v4.is_multicast()
                    || v4.is_unspecified()
                    || v4.is_broadcast())
            }
            IpAddr::V6(v6) => !(v6.is_loopback() || v6.is_multicast() || v6.is_unspecified()),
        }
    }

    /// The network that holds just this address: `/32` or `/128`.
    #[must_use]
    pub fn host(address: IpAddr) -> Self {
        Self {
            address,
            prefix_len: prefix_len_max(address),
        }
    }

    /// The address, host bits included.
    #[must_use]
    pub fn address(&self) -> IpAddr {
        self.address
    }

    /// Length of the network's part, in bits.
    #[must_use]
    pub fn prefix_len(&self) -> u8 {
        self.prefix_len
    }

    /// The network it is in: the same with the host bits zero.
    #[must_use]
    pub fn network(&self) -> Self {
        Self {
            address: masked(self.address, self.prefix_len),
            prefix_len: self.prefix_len,
        }
    }

    /// True if `address` is in this network. Another family never is.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        self.address.is_ipv4() == address.is_ipv4()
            && masked(address, self.prefix_len) == masked(self.address, self.prefix_len)
    }

    /// True if the two networks have an address in common.
    #[must_use]
    pub fn overlaps(&self, other: &Self) -> bool {
        self.contains(other.network().address) || other.contains(self.network().address)
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix_len)
    }
}

impl FromStr for Cidr {
    type Err = CidrError;

    fn from_str(text: &str) -> Result<Self, CidrError> {
        let Some((address, prefix_len)) = text.split_once('/') else {
            return Err(CidrError::NoPrefixLen(text.to_owned()));
        };
        let address: IpAddr = address
            .parse()
            .map_err(|_| CidrError::BadAddress(address.to_owned()))?;
        let bad = || CidrError::BadPrefixLen {
            address,
            prefix_len: prefix_len.to_owned(),
        };
        // The standard parser takes "+24" and "024", which no other tool writes.
        let digits = prefix_len.bytes().all(|b| b.is_ascii_digit());
        if !digits || (prefix_len.len() > 1 && prefix_len.starts_with('0')) {
            return Err(bad());
        }
        let bits: u8 = prefix_len.parse().map_err(|_| bad())?;
        if bits > prefix_len_max(address) {
            return Err(bad());
        }
        Ok(Self {
            address,
            prefix_len: bits,
        })
    }
}

fn prefix_len_max(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

fn masked(address: IpAddr, prefix_len: u8) -> IpAddr {
    let prefix_len = u32::from(prefix_len);
    match address {
        IpAddr::V4(v4) => {
            let mask = u32::MAX
                .checked_shl(32u32.saturating_sub(prefix_len))
                .unwrap_or(0);
            Ipv4Addr::from_bits(v4.to_bits() & mask).into()
        }
        IpAddr::V6(v6) => {
            let mask = u128::MAX
                .checked_shl(128u32.saturating_sub(prefix_len))
                .unwrap_or(0);
            Ipv6Addr::from_bits(v6.to_bits() & mask).into()
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_people_write_is_read() {
        for text in [
            "10.2.1.1/24",
            "0.0.0.0/0",
            "10.0.0.1/32",
            "fd00::1/64",
            "::/0",
            "fe80::1/128",
        ] {
            assert_eq!(text.parse::<Cidr>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_is_wrong_is_said() {
        let error = |text: &str| text.parse::<Cidr>().unwrap_err().to_string();
        assert_eq!(
            error("10.2.1.1"),
            "\"10.2.1.1\" lacks its prefix length, as in 10.2.1.1/24"
        );
        assert_eq!(
            error("10.2.1/24"),
            "\"10.2.1\" is neither an IPv4 nor an IPv6 address"
        );
        assert_eq!(
            error("10.2.1.1/33"),
            "\"33\" is no prefix length for 10.2.1.1: 0 to 32"
        );
        assert_eq!(
            error("::1/129"),
            "\"129\" is no prefix length for ::1: 0 to 128"
        );
        for text in [
            "10.2.1.1/+24",
            "10.2.1.1/024",
            "10.2.1.1/",
            "10.2.1.1/ 24",
            "10.2.1.1/24/24",
            "10.2.1.1/999",
            "",
        ] {
            assert!(text.parse::<Cidr>().is_err(), "{text}");
        }
    }

    #[test]
    fn networks_hold_their_addresses() {
        let net: Cidr = "10.2.1.77/24".parse().unwrap();
        assert_eq!(net.network().to_string(), "10.2.1.0/24");
        assert!(net.contains("10.2.1.255".parse().unwrap()));
        assert!(!net.contains("10.2.2.0".parse().unwrap()));
        assert!(!net.contains("::ffff:10.2.1.1".parse().unwrap()));
        assert!(Cidr::ALL_V4.contains("255.255.255.255".parse().unwrap()));
        assert!(net.overlaps(&"10.0.0.0/8".parse().unwrap()));
        assert!(!net.overlaps(&Cidr::ALL_V6));
        assert!(!net.overlaps(&"10.2.2.0/24".parse().unwrap()));
    }

    #[test]
    fn an_address_for_many_or_for_nobody_is_no_hosts() {
        let is_one_host = |text: &str| text.parse::<Cidr>().unwrap().is_one_host();
        for text in [
            "10.2.1.1/24",
            "10.2.1.0/31",
            "10.2.1.0/32",
            "10.2.1.255/16",
            "fd00::/64",
        ] {
            assert!(is_one_host(text), "{text}");
        }
        for text in [
            "10.2.1.0/24",
            "10.2.1.255/24",
            "127.0.0.1/8",
            "224.0.0.1/32",
            "0.0.0.0/32",
            "255.255.255.255/32",
            "::/128",
            "::1/128",
            "ff02::1/64",
        ] {
            assert!(!is_one_host(text), "{text}");
        }
    }

    proptest! {
        #[test]
        fn display_and_parse_agree(bits: u128, v4: bool, prefix_len in 0u8..=128) {
            let address: IpAddr = if v4 {
                Ipv4Addr::from_bits(bits as u32).into()
            } else {
                Ipv6Addr::from_bits(bits).into()
            };
            match Cidr::new(address, prefix_len) {
                Ok(cidr) => {
                    prop_assert_eq!(cidr.to_string().parse::<Cidr>(), Ok(cidr));
                    prop_assert!(cidr.network().contains(address));
                    prop_assert_eq!(cidr.network().network(), cidr.network());
                }
                Err(_) => prop_assert!(v4 && prefix_len > 32),
            }
        }

        #[test]
        fn any_text_is_read_or_refused(text in "\\PC{0,40}") {
            let _ = text.parse::<Cidr>();
        }
    }
}
