//! The cable between a container and the bridge: `ethwe` at one end, a port of the bridge at the other.

use std::time::{Duration, Instant};

use weave_io::host::{Cidr, Error, Link, NetNs, Netlink};

use super::DEVICE;
use super::address::is_link_local;
use crate::place::Place;

/// How the names of the bridge's ports begin; digits that only this container's namespace has follow.
pub(crate) const PORT_PREFIX: &str = "vethwe";

/// Both ends of a container's cable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ends {
    /// The port of the bridge, on the host.
    pub(super) port: Link,
    /// `ethwe`, in the container.
    pub(super) device: Link,
}

/// What a container has by the name `ethwe`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Found {
    /// Nothing.
    Nothing,
    /// An end of a cable of ours.
    Ours(Box<Ends>),
    /// Something else, which is left alone.
    Foreign,
}

/// Looks for the cable between a container and this host.
///
/// The port is known by the index that the other end has: names can be changed, and each namespace counts its own.
pub(super) fn find(host: &Netlink, inside: &Netlink) -> Result<Found, Error> {
    let Some(device) = inside.find_link(DEVICE)? else {
        return Ok(Found::Nothing);
    };
    let port = host.links()?.into_iter().find(|link| {
        Some(link.index) == device.peer
            && link.peer == Some(device.index)
            && link.kind.as_deref() == Some("veth")
            && is_port(&link.name)
    });
    Ok(match port {
        Some(port) if device.kind.as_deref() == Some("veth") => {
            Found::Ours(Box::new(Ends { port, device }))
        }
        _ => Found::Foreign,
    })
}

/// What a container has on the network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Seen {
    /// The port of the bridge.
    pub(crate) port: String,
    /// The Ethernet address of `ethwe`.
    pub(crate) mac: Option<[u8; 6]>,
    /// Its addresses, but for those that it made itself.
    pub(crate) addresses: Vec<Cidr>,
    /// Whether the port is on the bridge.
    pub(crate) on_bridge: bool,
    /// Whether both ends are switched on.
    pub(crate) up: bool,
}

/// Looks at what a container has on the network of `bridge`; none where it has no interface of ours.
///
/// # Errors
/// What the kernel refuses.
pub(crate) fn look(host: &Netlink, place: &Place, bridge: &str) -> Result<Option<Seen>, Error> {
    let inside = Netlink::open_in(&place.namespace)?;
    let Found::Ours(ends) = find(host, &inside)? else {
        return Ok(None);
    };
    let bridge = host.find_link(bridge)?.map(|link| link.index);
    let mut addresses = inside.addresses_of(DEVICE)?;
    addresses.retain(|cidr| !is_link_local(cidr.address()));
    Ok(Some(Seen {
        on_bridge: bridge.is_some() && ends.port.controller == bridge,
        up: ends.port.up && ends.device.up,
        mac: ends.device.mac,
        port: ends.port.name,
        addresses,
    }))
}

/// Whether a device of this name is the bridge's end of a container's cable.
pub(crate) fn is_port(name: &str) -> bool {
    name.starts_with(PORT_PREFIX)
}

/// The name of the bridge's port for a namespace, 14 bytes.
pub(super) fn port_name(namespace: &NetNs) -> Result<String, Error> {
    // The kernel counts namespaces in 32 bits, beginning at 0xf0000000.
    let number = namespace.id()? & u64::from(u32::MAX);
    Ok(format!("{PORT_PREFIX}{number:08x}"))
}

/// Waits until the bridge forwards what the port sends, so that a question on the wire is heard. Not for ever: without
/// it a first question may be lost, and there are two more.
pub(super) fn wait_until_forwarding(host: &Netlink, port: &str) -> Result<(), Error> {
    let deadline = Instant::now() + FORWARDING_TIME_MAX;
    while !host.port_forwards(port)? && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(2));
    }
    Ok(())
}

/// The kernel looks at cables once a second when there is much to look at.
const FORWARDING_TIME_MAX: Duration = Duration::from_millis(1500);
