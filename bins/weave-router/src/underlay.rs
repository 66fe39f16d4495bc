//! The network that carries the mesh: its MTU, and this host's addresses on it.

use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};

use weave_io::HostAddresses;
use weave_io::host::{Cidr, Error, InterfaceAddress, Netlink};
use weave_mesh::{Subnet, Target};

/// What the router needs to know of the underlay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Underlay {
    /// The device that leads to the peers, where one does.
    pub(crate) device: Option<String>,
    /// Largest IP packet of that device.
    pub(crate) mtu_bytes: u16,
}

impl Underlay {
    /// Looks at the route to the first target that is an address, else at the default route; without either,
    /// the smallest MTU of all devices with an address that others may reach.
    pub(crate) fn find(targets: &[Target], own_devices: &[&str]) -> Self {
        let found = Netlink::open().and_then(|netlink| {
            let towards = targets
                .iter()
                .filter_map(Target::socket)
                .map(|socket| socket.ip())
                .chain(DEFAULT_ROUTE);
            for address in towards {
                match netlink.path_to(address) {
                    Ok(path) if !path.device.loopback => {
                        return Ok(Some((path.device.name, path.mtu_bytes)));
                    }
                    Ok(_) | Err(Error::NoRoute { .. }) => {}
                    Err(error) => return Err(error),
                }
            }
            let reachable = netlink.addresses()?;
            let candidates = netlink.links()?.into_iter().filter(|link| {
                !own_devices.contains(&link.name.as_str())
                    && reachable
                        .iter()
                        .any(|address| address.index == link.index && address.is_usable())
            });
            Ok(candidates
                .min_by_key(|link| link.mtu_bytes)
                .map(|link| (link.name, link.mtu_bytes)))
        });
        match found {
            Ok(Some((device, mtu_bytes))) => Self {
                device: Some(device),
                mtu_bytes: u16::try_from(mtu_bytes).unwrap_or(u16::MAX),
            },
            Ok(None) => Self {
                device: None,
                mtu_bytes: ETHERNET_MTU_BYTES,
            },
            Err(error) => {
                tracing::warn!("takes the underlay's MTU to be {ETHERNET_MTU_BYTES}: {error}");
                Self {
                    device: None,
                    mtu_bytes: ETHERNET_MTU_BYTES,
                }
            }
        }
    }

    /// The MTU that containers get unless told otherwise: the underlay's less the worst overhead, but what IPv6
    /// asks for at least.
    pub(crate) fn container_mtu_bytes(&self) -> u16 {
        self.mtu_bytes
            .saturating_sub(OVERHEAD_BYTES)
            .max(IPV6_MTU_BYTES_MIN)
    }
}

/// Looks at the host every few seconds, by one handle that is kept: each has a thread and a socket of its own.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    netlink: Mutex<Option<Netlink>>,
}

impl Watch {
    /// The device's MTU as it is now; none when it is gone.
    pub(crate) fn mtu_bytes(&self, device: &str) -> Option<u16> {
        let link = self.ask(|netlink| netlink.find_link(device)).ok()??;
        Some(u16::try_from(link.mtu_bytes).unwrap_or(u16::MAX))
    }

    /// Addresses of this host that a peer may dial: not those of `own_devices`, which are on the overlay and make its
    /// subnets known, nor those of a container engine's bridges.
    pub(crate) fn local_addresses(&self, own_devices: &[String]) -> HostAddresses {
        match self.ask(Netlink::addresses) {
            Ok(addresses) => HostAddresses {
                underlay: addresses
                    .iter()
                    .filter(|address| is_underlay(address, own_devices))
                    .map(|address| address.cidr.address())
                    .collect(),
                overlay_subnets: addresses
                    .iter()
                    .filter(|address| own_devices.contains(&address.device) && !address.link_local)
                    .map(|address| subnet(&address.cidr))
                    .collect(),
            },
            Err(error) => {
                tracing::debug!("cannot list this host's addresses: {error}");
                HostAddresses::default()
            }
        }
    }

    /// Opens the handle when there is none; after a failure the next question opens another.
    fn ask<T>(&self, question: impl FnOnce(&Netlink) -> Result<T, Error>) -> Result<T, Error> {
        let mut kept = self.netlink.lock().unwrap_or_else(PoisonError::into_inner);
        let netlink = match kept.take() {
            Some(netlink) => netlink,
            None => Netlink::open()?,
        };
        let answer = question(&netlink)?;
        *kept = Some(netlink);
        Ok(answer)
    }
}

/// The range that an address is in.
pub(crate) fn subnet(cidr: &Cidr) -> Subnet {
    Subnet {
        address: cidr.address(),
        prefix_bits: cidr.prefix_len(),
    }
}

fn is_underlay(address: &InterfaceAddress, own_devices: &[String]) -> bool {
    address.is_usable()
        && !own_devices.contains(&address.device)
        && address.device != "docker0"
        && !address.device.starts_with("br-")
}

/// One address of each family outside of any network one is likely to be on (the root server A's): only looked
/// up in the routing table, never sent to.
const DEFAULT_ROUTE: [IpAddr; 2] = [
    IpAddr::V4(std::net::Ipv4Addr::new(198, 41, 0, 4)),
    IpAddr::V6(std::net::Ipv6Addr::new(
        0x2001, 0x503, 0xba3e, 0, 0, 0, 2, 0x30,
    )),
];
/// What Ethernet carries (RFC 894).
const ETHERNET_MTU_BYTES: u16 = 1500;
/// IPv6 40, UDP 8, relay envelope 16, header 12, entry 4, Ethernet 14, tag 16.
const OVERHEAD_BYTES: u16 = 110;
/// The least that IPv6 works with (RFC 8200 section 5).
const IPV6_MTU_BYTES_MIN: u16 = 1280;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn containers_get_the_underlays_mtu_less_the_overhead_but_enough_for_ipv6() {
        for (underlay, container) in [
            (1500, 1390),
            (9000, 8890),
            (1400, 1290),
            (1300, 1280),
            (65535, 65425),
        ] {
            let underlay = Underlay {
                device: None,
                mtu_bytes: underlay,
            };
            assert_eq!(underlay.container_mtu_bytes(), container);
        }
    }
}
