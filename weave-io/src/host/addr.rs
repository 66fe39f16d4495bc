//! Addresses of devices, and permanent neighbours.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use futures_util::TryStreamExt;
use netlink_packet_route::address::{AddressAttribute, AddressFlags, AddressMessage};
use nix::errno::Errno;
use rtnetlink::AddressMessageBuilder;

use super::error::refused;
use super::link::Link;
use super::netlink::Worker;
use super::{Cidr, Error, Netlink};

/// An address of a device of this namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct InterfaceAddress {
    /// The device's name.
    pub device: String,
    /// The device's index.
    pub index: u32,
    /// The address and its prefix length.
    pub cidr: Cidr,
    /// The device is switched on.
    pub up: bool,
    /// The device is the loopback, or the address in 127/8 or `::1`.
    pub loopback: bool,
    /// In 169.254/16 or fe80::/10: means nothing beyond its own wire.
    pub link_local: bool,
    /// Not usable yet, or found to be somebody else's (IPv6 duplicate address detection).
    pub tentative: bool,
    /// No longer to be used for anything new (IPv6).
    pub deprecated: bool,
    /// A privacy address of IPv6, gone in a day.
    pub temporary: bool,
}

impl InterfaceAddress {
    /// True if another host might reach us at it for some time to come.
    #[must_use]
    pub fn is_usable(&self) -> bool {
        self.up
            && !(self.loopback
                || self.link_local
                || self.tentative
                || self.deprecated
                || self.temporary)
    }
}

impl Netlink {
    /// Adds an address to a device. Tells whether it was new.
    ///
    /// An IPv6 address works after the kernel's duplicate detection, a second or two later, unless
    /// [`Netlink::add_address_undetected`] is used.
    ///
    /// # Errors
    /// [`Error::NoDevice`], [`Error::AddressExists`] or [`Error::Refused`].
    pub fn add_address(&self, device: &str, address: Cidr) -> Result<bool, Error> {
        self.on(device, move |worker, device| {
            worker.add_address(device, address, true)
        })
    }

    /// As [`Netlink::add_address`], but without duplicate detection: for addresses that something
    /// else keeps unique.
    ///
    /// # Errors
    /// Those of [`Netlink::add_address`].
    pub fn add_address_undetected(&self, device: &str, address: Cidr) -> Result<bool, Error> {
        self.on(device, move |worker, device| {
            worker.add_address(device, address, false)
        })
    }

    /// Removes an address from a device. Tells whether it was there.
    ///
    /// # Errors
    /// [`Error::NoDevice`] or [`Error::Refused`].
    pub fn remove_address(&self, device: &str, address: Cidr) -> Result<bool, Error> {
        self.on(device, move |worker, device| {
            let link = worker.link(device)?;
            let request = worker
                .handle
                .address()
                .del(address_message(link.index, address))
                .execute();
            match worker.wait(request) {
                Ok(()) => Ok(true),
                Err(reason) if reason.is(Errno::EADDRNOTAVAIL) => Ok(false),
                Err(reason) => Err(refused("remove an address from", device)(reason)),
            }
        })
    }

    /// All addresses of all devices, by device. For those that others may reach us at, see
    /// [`InterfaceAddress::is_usable`].
    ///
    /// # Errors
    /// [`Error::Refused`].
    pub fn addresses(&self) -> Result<Vec<InterfaceAddress>, Error> {
        self.call(|worker| worker.addresses())
    }

    /// The addresses of one device.
    ///
    /// # Errors
    /// [`Error::NoDevice`] or [`Error::Refused`].
    pub fn addresses_of(&self, device: &str) -> Result<Vec<Cidr>, Error> {
        self.on(device, |worker, device| {
            let link = worker.link(device)?;
            let all = worker.addresses()?;
            Ok(all
                .into_iter()
                .filter(|address| address.index == link.index)
                .map(|address| address.cidr)
                .collect())
        })
    }

    /// Tells the kernel a neighbour's Ethernet address for good, so that it never asks on the wire.
    ///
    /// # Errors
    /// [`Error::NoDevice`] or [`Error::Refused`].
    pub fn set_neighbour(&self, device: &str, address: IpAddr, mac: [u8; 6]) -> Result<(), Error> {
        self.on(device, move |worker, device| {
            let link = worker.link(device)?;
            let request = worker
                .handle
                .neighbours()
                .add(link.index, address)
                .link_layer_address(&mac)
                .replace();
            worker
                .wait(request.execute())
                .map_err(refused("set a neighbour on", device))
        })
    }
}

impl Worker {
    fn add_address(&self, device: &str, address: Cidr, detect: bool) -> Result<bool, Error> {
        let link = self.link(device)?;
        let mut request =
            self.handle
                .address()
                .add(link.index, address.address(), address.prefix_len());
        let message = request.message_mut();
        *message = address_message(link.index, address);
        if !detect {
            message
                .attributes
                .push(AddressAttribute::Flags(AddressFlags::Nodad));
        }
        match self.wait(request.execute()) {
            Ok(()) => Ok(true),
            // IPv6 says so for the same address with any prefix length.
            Err(reason) if reason.is(Errno::EEXIST) => {
                let there = self
                    .addresses()?
                    .iter()
                    .any(|a| a.index == link.index && a.cidr == address);
                if there {
                    Ok(false)
                } else {
                    Err(Error::AddressExists {
                        device: device.to_owned(),
                        address,
                    })
                }
            }
            Err(reason) => Err(refused("add an address to", device)(reason)),
        }
    }

    fn addresses(&self) -> Result<Vec<InterfaceAddress>, Error> {
        let links = self.links()?;
        let request = self
            .handle
            .address()
            .get()
            .execute()
            .try_collect::<Vec<_>>();
        let messages = self
            .wait(request)
            .map_err(refused("list", "the addresses"))?;
        let mut addresses: Vec<_> = messages
            .iter()
            .filter_map(|message| {
                let link = links
                    .iter()
                    .find(|link| link.index == message.header.index)?;
                InterfaceAddress::from_message(message, link)
            })
            .collect();
        addresses.sort_by_key(|address| (address.index, address.cidr));
        Ok(addresses)
    }
}

impl InterfaceAddress {
    fn from_message(message: &AddressMessage, link: &Link) -> Option<Self> {
        let mut local = None;
        let mut other = None;
        // The header's flags are the first eight of these.
        let mut flags = AddressFlags::from_bits_retain(u32::from(message.header.flags.bits()));
        for attribute in &message.attributes {
            if let AddressAttribute::Local(address) = attribute {
                local = Some(*address);
            } else if let AddressAttribute::Address(address) = attribute {
                // On a point-to-point device the other end's.
                other = Some(*address);
            } else if let AddressAttribute::Flags(all) = attribute {
                flags |= *all;
            }
        }
        let address = local.or(other)?;
        Some(Self {
            device: link.name.clone(),
            index: link.index,
            cidr: Cidr::new(address, message.header.prefix_len).ok()?,
            up: link.up,
            loopback: link.loopback || address.is_loopback(),
            link_local: is_link_local(address),
            tentative: flags.intersects(AddressFlags::Tentative | AddressFlags::Dadfailed),
            deprecated: flags.contains(AddressFlags::Deprecated),
            // The kernel's name for a privacy address is its "secondary" flag; on IPv4 that is any
            // but the first of a network.
            temporary: address.is_ipv6() && flags.contains(AddressFlags::Secondary),
        })
    }
}

fn address_message(index: u32, address: Cidr) -> AddressMessage {
    match address.address() {
        IpAddr::V4(v4) => AddressMessageBuilder::<Ipv4Addr>::new()
            .index(index)
            .address(v4, address.prefix_len())
            .build(),
        IpAddr::V6(v6) => AddressMessageBuilder::<Ipv6Addr>::new()
            .index(index)
            .address(v6, address.prefix_len())
            .build(),
    }
}

fn is_link_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn usable() -> InterfaceAddress {
        InterfaceAddress {
            device: "eth0".to_owned(),
            index: 2,
            cidr: "192.0.2.1/24".parse().unwrap(),
            up: true,
            loopback: false,
            link_local: false,
            tentative: false,
            deprecated: false,
            temporary: false,
        }
    }

    #[test]
    fn addresses_others_cannot_keep_are_not_usable() {
        assert!(usable().is_usable());
        assert!(
            !InterfaceAddress {
                up: false,
                ..usable()
            }
            .is_usable()
        );
        assert!(
            !InterfaceAddress {
                loopback: true,
                ..usable()
            }
            .is_usable()
        );
        assert!(
            !InterfaceAddress {
                link_local: true,
                ..usable()
            }
            .is_usable()
        );
        assert!(
            !InterfaceAddress {
                tentative: true,
                ..usable()
            }
            .is_usable()
        );
        assert!(
            !InterfaceAddress {
                deprecated: true,
                ..usable()
            }
            .is_usable()
        );
        assert!(
            !InterfaceAddress {
                temporary: true,
                ..usable()
            }
            .is_usable()
        );
    }

    #[test]
    fn link_local_is_told_by_the_address() {
        for (address, expected) in [
            ("169.254.1.1", true),
            ("fe80::1", true),
            ("febf::1", true),
            ("fd00::1", false),
            ("10.0.0.1", false),
        ] {
            assert_eq!(
                is_link_local(address.parse().unwrap()),
                expected,
                "{address}"
            );
        }
    }
}
