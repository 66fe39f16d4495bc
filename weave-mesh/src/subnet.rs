//! Ranges of addresses that lie inside of an overlay, so that no link is set up through one.

use std::net::IpAddr;

/// The most subnets of overlays that a mesh is told of; further ones are left out. A host has one for each
/// application at most.
pub const OVERLAY_SUBNETS_MAX: usize = 256;

/// A range of addresses: all that share the first bits with one of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Subnet {
    /// Any address of the range.
    pub address: IpAddr,
    /// How many leading bits they share; more than the family has mean all.
    pub prefix_bits: u8,
}

impl Subnet {
    /// Whether an address is in the range. One of the other family never is.
    pub fn contains(&self, ip: IpAddr) -> bool {
        common_bits(self.address.to_canonical(), ip.to_canonical())
            .is_some_and(|(common, all)| common >= u32::from(self.prefix_bits).min(all))
    }
}

/// Leading bits that two addresses of one family share, and how many bits each has.
pub(crate) fn common_bits(a: IpAddr, b: IpAddr) -> Option<(u32, u32)> {
    match (a, b) {
        (IpAddr::V4(a), IpAddr::V4(b)) => {
            Some(((a.to_bits() ^ b.to_bits()).leading_zeros(), u32::BITS))
        }
        (IpAddr::V6(a), IpAddr::V6(b)) => {
            Some(((a.to_bits() ^ b.to_bits()).leading_zeros(), u128::BITS))
        }
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subnet_holds_its_own_addresses_and_no_others() {
        let subnet = |address: &str, prefix_bits| Subnet {
            address: address.parse().unwrap(),
            prefix_bits,
        };
        for (range, ip, expected) in [
            (subnet("10.32.1.1", 24), "10.32.1.255", true),
            (subnet("10.32.1.1", 24), "10.32.2.1", false),
            (subnet("10.32.1.1", 0), "192.0.2.1", true),
            (subnet("10.32.1.1", 32), "10.32.1.1", true),
            (subnet("10.32.1.1", 99), "10.32.1.1", true),
            (subnet("10.32.1.1", 8), "fd00::1", false),
            (subnet("10.32.1.1", 8), "::ffff:10.1.2.3", true),
            (subnet("fd00::1", 64), "fd00::2", true),
            (subnet("fd00::1", 64), "fd00:0:0:1::2", false),
        ] {
            assert_eq!(
                range.contains(ip.parse().unwrap()),
                expected,
                "{range:?} {ip}"
            );
        }
    }
}
