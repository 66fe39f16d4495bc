//! Network devices of any kind: look them up, change them, remove them.

use std::pin::pin;

use futures_util::TryStreamExt;
use netlink_packet_route::link::{
    AfSpecInet6, AfSpecUnspec, In6AddrGenMode, LinkAttribute, LinkFlags, LinkInfo, LinkMessage,
};
use nix::errno::Errno;
use rtnetlink::{LinkMessageBuilder, LinkUnspec};

use super::error::{Reason, refused};
use super::netlink::Worker;
use super::{Error, NetNs, Netlink};

/// A network device as the kernel describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Link {
    /// The kernel's number for it, its own in each namespace.
    pub index: u32,
    /// Its name, at most 15 bytes.
    pub name: String,
    /// What it is: `bridge`, `veth`, `tun`; `None` for hardware and loopback.
    pub kind: Option<String>,
    /// What somebody noted on it ([`Netlink::set_alias`]).
    pub alias: Option<String>,
    /// Its Ethernet address.
    pub mac: Option<[u8; 6]>,
    /// Largest IP packet, in bytes.
    pub mtu_bytes: u32,
    /// Switched on.
    pub up: bool,
    /// Switched on, and the other side too: a cable, a veth's peer, an open TAP.
    pub carrier: bool,
    /// It is the loopback device.
    pub loopback: bool,
    /// Index of the bridge (or bond, …) it is attached to.
    pub controller: Option<u32>,
    /// Index of a veth's other end, in that one's namespace.
    pub peer: Option<u32>,
}

impl Netlink {
    /// All devices of the namespace, by index.
    ///
    /// # Errors
    /// [`Error::Refused`].
    pub fn links(&self) -> Result<Vec<Link>, Error> {
        self.call(|worker| worker.links())
    }

    /// The device of this name, if there is one.
    ///
    /// # Errors
    /// [`Error::BadDeviceName`] or [`Error::Refused`].
    pub fn find_link(&self, device: &str) -> Result<Option<Link>, Error> {
        self.on(device, |worker, device| worker.find_link(device))
    }

    /// The device of this name.
    ///
    /// # Errors
    /// [`Error::NoDevice`], [`Error::BadDeviceName`] or [`Error::Refused`].
    pub fn link(&self, device: &str) -> Result<Link, Error> {
        self.on(device, |worker, device| worker.link(device))
    }

    /// Switches the device on.
    ///
    /// # Errors
    /// [`Error::NoDevice`] or [`Error::Refused`].
    pub fn set_up(&self, device: &str) -> Result<(), Error> {
        self.on(device, |worker, device| worker.set_up(device))
    }

    /// Switches the device off.
    ///
    /// # Errors
    /// [`Error::NoDevice`] or [`Error::Refused`].
    pub fn set_down(&self, device: &str) -> Result<(), Error> {
        self.on(device, |worker, device| {
            worker.change("switch off", device, LinkMessageBuilder::down)
        })
    }

    /// Sets the largest IP packet the device takes, in bytes. What is possible depends on the
    /// device: up to 65,535 for a veth or a bridge.
    ///
    /// # Errors
    /// [`Error::NoDevice`] or [`Error::Refused`].
    pub fn set_mtu(&self, device: &str, mtu_bytes: u32) -> Result<(), Error> {
        self.on(device, move |worker, device| {
            worker.set_mtu(device, mtu_bytes)
        })
    }

    /// Sets the device's Ethernet address.
    ///
    /// # Errors
    /// [`Error::NoDevice`] or [`Error::Refused`].
    pub fn set_mac(&self, device: &str, mac: [u8; 6]) -> Result<(), Error> {
        self.on(device, move |worker, device| worker.set_mac(device, mac))
    }

    /// Notes a text on the device, at most 255 bytes, which whoever sees the device can read (`ip link` shows it). An
    /// empty one takes it away.
    ///
    /// # Errors
    /// [`Error::NoDevice`] or [`Error::Refused`].
    pub fn set_alias(&self, device: &str, alias: &str) -> Result<(), Error> {
        let alias = alias.to_owned();
        self.on(device, move |worker, device| {
            worker.change("note an alias on", device, |change| {
                change.append_extra_attribute(LinkAttribute::IfAlias(alias))
            })
        })
    }

    /// Gives the device another name. Kernels before 6.2 rename only what is switched off.
    ///
    /// # Errors
    /// [`Error::NoDevice`], [`Error::DeviceExists`], [`Error::BadDeviceName`] or
    /// [`Error::Refused`].
    pub fn rename(&self, device: &str, name: &str) -> Result<(), Error> {
        let name = name.to_owned();
        self.on(device, move |worker, device| {
            check_device_name(&name)?;
            worker
                .change("rename", device, |change| change.name(&name))
                .map_err(|error| taken(error, &name))
        })
    }

    /// Moves the device into another namespace, where it is switched off and without addresses.
    ///
    /// # Errors
    /// [`Error::NoDevice`], or [`Error::Refused`], for example when the name is taken there.
    pub fn move_to(&self, device: &str, namespace: &NetNs) -> Result<(), Error> {
        let namespace = namespace.clone();
        self.on(device, move |worker, device| {
            worker.change("move", device, |change| {
                change.setns_by_fd(raw_fd(&namespace))
            })
        })
    }

    /// Removes the device; a veth's other end goes with it. Tells whether there was one.
    ///
    /// # Errors
    /// [`Error::Refused`], for example for hardware, which can't be removed.
    pub fn delete_link(&self, device: &str) -> Result<bool, Error> {
        self.on(device, |worker, device| worker.delete_link(device))
    }

    /// Keeps the kernel's own IPv6 from the device: no link-local address, and with it no neighbour
    /// discovery, multicast reports or router solicitations sent from it, and no router
    /// advertisements accepted. Do it before the device is switched on.
    ///
    /// For devices that carry other machines' frames: theirs would mix with ours (and an
    /// advertisement from a container would be believed by the host, CVE-2020-11091). Addresses
    /// added by hand work all the same.
    ///
    /// # Errors
    /// [`Error::NoDevice`] or [`Error::Refused`].
    pub fn disable_ipv6_autoconf(&self, device: &str) -> Result<(), Error> {
        self.on(device, |worker, device| {
            worker.disable_ipv6_autoconf(device)
        })
    }
}

impl Worker {
    pub(super) fn links(&self) -> Result<Vec<Link>, Error> {
        let request = self.handle.link().get().execute().try_collect::<Vec<_>>();
        let messages = self
            .wait(request)
            .map_err(refused("list", "the network devices"))?;
        let mut links: Vec<_> = messages.iter().filter_map(Link::from_message).collect();
        links.sort_by_key(|link| link.index);
        Ok(links)
    }

    pub(super) fn find_link(&self, device: &str) -> Result<Option<Link>, Error> {
        check_device_name(device)?;
        let request = self.handle.link().get().match_name(device).execute();
        let answer = self.wait(async { pin!(request).try_next().await });
        match answer {
            Ok(message) => Ok(message.as_ref().and_then(Link::from_message)),
            Err(reason) if reason.is(Errno::ENODEV) => Ok(None),
            Err(reason) => Err(refused("look up", device)(reason)),
        }
    }

    pub(super) fn link(&self, device: &str) -> Result<Link, Error> {
        self.find_link(device)?.ok_or_else(|| Error::NoDevice {
            device: device.to_owned(),
        })
    }

    /// The device with this index, if it is still there.
    pub(super) fn link_by_index(&self, index: u32) -> Result<Option<Link>, Error> {
        let request = self.handle.link().get().match_index(index).execute();
        match self.wait(async { pin!(request).try_next().await }) {
            Ok(message) => Ok(message.as_ref().and_then(Link::from_message)),
            Err(reason) if reason.is(Errno::ENODEV) => Ok(None),
            Err(reason) => Err(refused("look up network device number", index.to_string())(
                reason,
            )),
        }
    }

    pub(super) fn delete_link(&self, device: &str) -> Result<bool, Error> {
        let Some(link) = self.find_link(device)? else {
            return Ok(false);
        };
        match self.wait(self.handle.link().del(link.index).execute()) {
            Ok(()) => Ok(true),
            // Gone meanwhile, with its peer for instance.
            Err(reason) if reason.is(Errno::ENODEV) => Ok(false),
            Err(reason) => Err(refused("remove", device)(reason)),
        }
    }

    /// Removes a device that was only half made. The error that stopped its making is the one to
    /// report.
    pub(super) fn discard(&self, device: &str) {
        if let Err(error) = self.delete_link(device) {
            tracing::warn!("{error}");
        }
    }

    pub(super) fn set_up(&self, device: &str) -> Result<(), Error> {
        self.change("switch on", device, LinkMessageBuilder::up)
    }

    pub(super) fn set_mtu(&self, device: &str, mtu_bytes: u32) -> Result<(), Error> {
        self.change("set the MTU of", device, |change| change.mtu(mtu_bytes))
    }

    pub(super) fn set_mac(&self, device: &str, mac: [u8; 6]) -> Result<(), Error> {
        self.change("set the Ethernet address of", device, |change| {
            change.address(mac.to_vec())
        })
    }

    /// One change to a device, as `ip link set` makes it.
    pub(super) fn change(
        &self,
        action: &'static str,
        device: &str,
        change: impl FnOnce(LinkMessageBuilder<LinkUnspec>) -> LinkMessageBuilder<LinkUnspec>,
    ) -> Result<(), Error> {
        let link = self.link(device)?;
        let message = change(LinkUnspec::new_with_index(link.index)).build();
        self.send_change(message).map_err(refused(action, device))
    }

    pub(super) fn send_change(&self, message: LinkMessage) -> Result<(), Reason> {
        self.wait(self.handle.link().change(message).execute())
    }

    pub(super) fn disable_ipv6_autoconf(&self, device: &str) -> Result<(), Error> {
        let link = self.link(device)?;
        let mode = AfSpecUnspec::Inet6(vec![AfSpecInet6::AddrGenMode(In6AddrGenMode::None)]);
        let message = LinkUnspec::new_with_index(link.index)
            .append_extra_attribute(LinkAttribute::AfSpecUnspec(vec![mode]))
            .build();
        match self.send_change(message) {
            Ok(()) => {}
            // The kernel has no IPv6, on the whole or on this device (MTU below 1,280): nothing to
            // keep away.
            Err(reason) if reason.is(Errno::EAFNOSUPPORT) || reason.is(Errno::EOPNOTSUPP) => {
                return Ok(());
            }
            Err(reason) => {
                return Err(refused("disable IPv6 link-local addresses on", device)(
                    reason,
                ));
            }
        }
        self.set_setting(&format!("ipv6/conf/{device}/accept_ra"), "0")
    }
}

impl Link {
    fn from_message(message: &LinkMessage) -> Option<Self> {
        let flags = message.header.flags;
        let mut link = Self {
            index: message.header.index,
            name: String::new(),
            kind: None,
            alias: None,
            mac: None,
            mtu_bytes: 0,
            up: flags.contains(LinkFlags::Up),
            carrier: flags.contains(LinkFlags::LowerUp),
            loopback: flags.contains(LinkFlags::Loopback),
            controller: None,
            peer: None,
        };
        for attribute in &message.attributes {
            if let LinkAttribute::IfName(name) = attribute {
                link.name.clone_from(name);
            } else if let LinkAttribute::IfAlias(alias) = attribute {
                link.alias = Some(alias.clone());
            } else if let LinkAttribute::Address(address) = attribute {
                link.mac = address.as_slice().try_into().ok();
            } else if let LinkAttribute::Mtu(mtu_bytes) = attribute {
                link.mtu_bytes = *mtu_bytes;
            } else if let LinkAttribute::Controller(index) = attribute {
                link.controller = Some(*index);
            } else if let LinkAttribute::Link(index) = attribute {
                link.peer = Some(*index);
            } else if let LinkAttribute::LinkInfo(infos) = attribute {
                link.kind = infos.iter().find_map(|info| {
                    let LinkInfo::Kind(kind) = info else {
                        return None;
                    };
                    Some(kind.to_string())
                });
            }
        }
        (!link.name.is_empty()).then_some(link)
    }
}

/// Turns the kernel's "file exists" into the name that is taken.
pub(super) fn taken(error: Error, name: &str) -> Error {
    if let Error::Refused { reason, .. } = &error
        && reason.is(Errno::EEXIST)
    {
        return Error::DeviceExists {
            device: name.to_owned(),
        };
    }
    error
}

/// The kernel's rule (`dev_valid_name`); it also keeps names from leaving
/// `/proc/sys/net/ipv6/conf`.
pub(super) fn check_device_name(name: &str) -> Result<(), Error> {
    let fits =
        !name.is_empty() && name.len() <= DEVICE_NAME_BYTES_MAX && name != "." && name != "..";
    if !fits || name.contains(['/', ':', '\0']) || name.contains(char::is_whitespace) {
        return Err(Error::BadDeviceName {
            name: name.to_owned(),
        });
    }
    Ok(())
}

pub(super) fn raw_fd(namespace: &NetNs) -> std::os::fd::RawFd {
    use std::os::fd::{AsFd, AsRawFd};
    namespace.as_fd().as_raw_fd()
}

/// IFNAMSIZ less the terminating zero.
const DEVICE_NAME_BYTES_MAX: usize = 15;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn device_names_follow_the_kernels_rule() {
        for name in ["weave", "vethwe-1234567", "eth0.5", "x"] {
            assert_eq!(check_device_name(name), Ok(()), "{name}");
        }
        for name in [
            "",
            ".",
            "..",
            "a/b",
            "a b",
            "a:1",
            "a\n",
            "a\0",
            "sixteen-bytes-xx",
        ] {
            let error = check_device_name(name).unwrap_err();
            assert_eq!(
                error,
                Error::BadDeviceName {
                    name: name.to_owned()
                }
            );
        }
    }
}
