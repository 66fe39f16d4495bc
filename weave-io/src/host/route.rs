//! Routes of the main table, and what the kernel would do with a packet.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::pin::pin;

use futures_util::TryStreamExt;
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteMetric, RouteScope, RouteType,
};
use nix::errno::Errno;
use rtnetlink::RouteMessageBuilder;

use super::error::refused;
use super::link::Link;
use super::netlink::Worker;
use super::{Cidr, Error, Netlink};

/// A route: where packets to a network go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// The destinations; host bits are ignored.
    pub to: Cidr,
    /// The router they go to, or `None` if the destinations are on the device's own wire.
    pub gateway: Option<IpAddr>,
    /// The device they leave by; may be left out with a gateway, which tells it.
    pub device: Option<String>,
}

impl Route {
    /// A route to `to` over the router at `gateway`.
    #[must_use]
    pub fn via(to: Cidr, gateway: IpAddr) -> Self {
        Self {
            to,
            gateway: Some(gateway),
            device: None,
        }
    }

    /// The default route of the gateway's family.
    #[must_use]
    pub fn default_via(gateway: IpAddr) -> Self {
        Self::via(
            if gateway.is_ipv4() {
                Cidr::ALL_V4
            } else {
                Cidr::ALL_V6
            },
            gateway,
        )
    }

    /// A route to `to` on the wire of `device`, such as 224.0.0.0/4 for a container's multicast.
    #[must_use]
    pub fn on_device(to: Cidr, device: &str) -> Self {
        Self {
            to,
            gateway: None,
            device: Some(device.to_owned()),
        }
    }
}

/// What the kernel would do with a packet for an address.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Path {
    /// The device it would leave by; for one of our own addresses the loopback (IPv4), or the
    /// device that has it (IPv6).
    pub device: Link,
    /// The address is one of our own.
    pub local: bool,
    /// The router it would go to, if the address isn't on that device's wire.
    pub gateway: Option<IpAddr>,
    /// The address it would come from.
    pub source: Option<IpAddr>,
    /// Largest IP packet, in bytes: the device's, or the route's own if smaller. Of what comes
    /// after the first hop it says nothing.
    pub mtu_bytes: u32,
}

impl Netlink {
    /// Adds a route. Tells whether it was new.
    ///
    /// # Errors
    /// [`Error::RouteExists`] if one to the same destinations leads elsewhere, [`Error::NoDevice`]
    /// or [`Error::Refused`], for example when the gateway isn't on any wire or the device is
    /// switched off.
    pub fn add_route(&self, route: &Route) -> Result<bool, Error> {
        let route = route.clone();
        self.call(move |worker| worker.add_route(&route))
    }

    /// Removes a route. Tells whether it was there.
    ///
    /// # Errors
    /// [`Error::NoDevice`] or [`Error::Refused`].
    pub fn remove_route(&self, route: &Route) -> Result<bool, Error> {
        let route = route.clone();
        self.call(move |worker| {
            let message = worker.route_message(&route)?;
            match worker.wait(worker.handle.route().del(message).execute()) {
                Ok(()) => Ok(true),
                Err(reason) if reason.is(Errno::ESRCH) => Ok(false),
                Err(reason) => Err(refused(
                    "remove the route to",
                    route.to.network().to_string(),
                )(reason)),
            }
        })
    }

    /// The unicast routes of the main table, both families; one with several next hops is listed
    /// once for each.
    ///
    /// # Errors
    /// [`Error::Refused`].
    pub fn routes(&self) -> Result<Vec<Route>, Error> {
        self.call(|worker| worker.routes())
    }

    /// How the kernel would send a packet to this address: the device, source and MTU of the
    /// underlay towards a peer.
    ///
    /// # Errors
    /// [`Error::NoRoute`] or [`Error::Refused`].
    pub fn path_to(&self, address: IpAddr) -> Result<Path, Error> {
        self.call(move |worker| worker.path_to(address))
    }
}

impl Worker {
    pub(super) fn add_route(&self, route: &Route) -> Result<bool, Error> {
        let message = self.route_message(route)?;
        match self.wait(self.handle.route().add(message).execute()) {
            Ok(()) => Ok(true),
            Err(reason) if reason.is(Errno::EEXIST) => {
                let same = |other: &Route| {
                    other.to == route.to.network()
                        && other.gateway == route.gateway
                        && (route.device.is_none() || other.device == route.device)
                };
                if self.routes()?.iter().any(same) {
                    Ok(false)
                } else {
                    Err(Error::RouteExists {
                        to: route.to.network(),
                    })
                }
            }
            Err(reason) => Err(refused("add the route to", route.to.network().to_string())(
                reason,
            )),
        }
    }

    fn routes(&self) -> Result<Vec<Route>, Error> {
        let links = self.links()?;
        let name = |index: u32| {
            links
                .iter()
                .find(|link| link.index == index)
                .map(|link| link.name.clone())
        };
        let mut routes = Vec::new();
        for (all, family) in [
            (Cidr::ALL_V4, RouteMessageBuilder::<Ipv4Addr>::new().build()),
            (Cidr::ALL_V6, RouteMessageBuilder::<Ipv6Addr>::new().build()),
        ] {
            let request = self
                .handle
                .route()
                .get(family)
                .execute()
                .try_collect::<Vec<_>>();
            for message in self.wait(request).map_err(refused("list", "the routes"))? {
                if message.header.table != RouteHeader::RT_TABLE_MAIN
                    || message.header.kind != RouteType::Unicast
                {
                    continue;
                }
                // A default route has no destination.
                let to = destination(&message).unwrap_or(all);
                let mut hops = vec![hop(&message.attributes)];
                for attribute in &message.attributes {
                    if let RouteAttribute::MultiPath(next_hops) = attribute {
                        hops = next_hops
                            .iter()
                            .map(|next| (hop(&next.attributes).0, Some(next.interface_index)))
                            .collect();
                    }
                }
                for (gateway, index) in hops {
                    routes.push(Route {
                        to,
                        gateway,
                        device: index.and_then(name),
                    });
                }
            }
        }
        Ok(routes)
    }

    fn path_to(&self, address: IpAddr) -> Result<Path, Error> {
        let message = match address {
            IpAddr::V4(v4) => RouteMessageBuilder::<Ipv4Addr>::new()
                .destination_prefix(v4, 32)
                .build(),
            IpAddr::V6(v6) => RouteMessageBuilder::<Ipv6Addr>::new()
                .destination_prefix(v6, 128)
                .build(),
        };
        let no_route = || Error::NoRoute { address };
        let request = self.handle.route().get(message).execute();
        let answer = match self.wait(async { pin!(request).try_next().await }) {
            Ok(answer) => answer.ok_or_else(no_route)?,
            Err(reason) if reason.is(Errno::ENETUNREACH) || reason.is(Errno::EHOSTUNREACH) => {
                return Err(no_route());
            }
            Err(reason) => {
                return Err(refused("look up the route to", address.to_string())(reason));
            }
        };
        let (gateway, index) = hop(&answer.attributes);
        // IPv6 answers with the route of its null device instead of an error.
        if answer.header.kind != RouteType::Unicast && answer.header.kind != RouteType::Local {
            return Err(no_route());
        }
        let device = self
            .link_by_index(index.ok_or_else(no_route)?)?
            .ok_or_else(no_route)?;
        let mut source = None;
        let mut mtu_bytes = device.mtu_bytes;
        for attribute in &answer.attributes {
            if let RouteAttribute::PrefSource(address) = attribute {
                source = ip_address(address);
            } else if let RouteAttribute::Metrics(metrics) = attribute {
                for metric in metrics {
                    if let RouteMetric::Mtu(bytes) = metric
                        && *bytes > 0
                    {
                        mtu_bytes = mtu_bytes.min(*bytes);
                    }
                }
            }
        }
        Ok(Path {
            device,
            local: answer.header.kind == RouteType::Local,
            gateway,
            source,
            mtu_bytes,
        })
    }

    pub(super) fn route_message(&self, route: &Route) -> Result<RouteMessage, Error> {
        let to = route.to.network();
        let mut message = match to.address() {
            IpAddr::V4(v4) => RouteMessageBuilder::<Ipv4Addr>::new()
                .destination_prefix(v4, to.prefix_len())
                .build(),
            IpAddr::V6(v6) => RouteMessageBuilder::<Ipv6Addr>::new()
                .destination_prefix(v6, to.prefix_len())
                .build(),
        };
        match route.gateway {
            Some(gateway) => message
                .attributes
                .push(RouteAttribute::Gateway(gateway.into())),
            // Else the kernel takes it for a route that lacks its gateway.
            None => message.header.scope = RouteScope::Link,
        }
        if let Some(device) = &route.device {
            message
                .attributes
                .push(RouteAttribute::Oif(self.link(device)?.index));
        }
        Ok(message)
    }
}

pub(super) fn destination(message: &RouteMessage) -> Option<Cidr> {
    let address = message.attributes.iter().find_map(|attribute| {
        let RouteAttribute::Destination(address) = attribute else {
            return None;
        };
        ip_address(address)
    })?;
    Cidr::new(address, message.header.destination_prefix_length).ok()
}

/// Gateway and device of a next hop.
pub(super) fn hop(attributes: &[RouteAttribute]) -> (Option<IpAddr>, Option<u32>) {
    let mut gateway = None;
    let mut index = None;
    for attribute in attributes {
        if let RouteAttribute::Gateway(address) = attribute {
            gateway = ip_address(address);
        } else if let RouteAttribute::Oif(oif) = attribute {
            index = Some(*oif);
        }
    }
    (gateway, index)
}

fn ip_address(address: &RouteAddress) -> Option<IpAddr> {
    if let RouteAddress::Inet(v4) = address {
        Some(IpAddr::V4(*v4))
    } else if let RouteAddress::Inet6(v6) = address {
        Some(IpAddr::V6(*v6))
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_route_has_the_gateways_family() {
        assert_eq!(
            Route::default_via("10.0.0.1".parse().unwrap()).to,
            Cidr::ALL_V4
        );
        assert_eq!(
            Route::default_via("fd00::1".parse().unwrap()).to,
            Cidr::ALL_V6
        );
    }
}
