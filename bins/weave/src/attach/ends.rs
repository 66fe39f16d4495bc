//! The cable between a container and the bridge: `ethwe` at one end, a port of the bridge at the other.

use std::time::{Duration, Instant};

use weave_io::host::{Error, Link, NetNs, Netlink};

use super::DEVICE;

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
            && link.name.starts_with(PORT_PREFIX)
    });
    Ok(match port {
        Some(port) if device.kind.as_deref() == Some("veth") => {
            Found::Ours(Box::new(Ends { port, device }))
        }
        _ => Found::Foreign,
    })
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
