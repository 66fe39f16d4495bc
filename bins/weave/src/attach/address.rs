//! Which addresses a container can have on the network, and what stands in the way of one.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use weave_io::host::{Cidr, InterfaceAddress, Route};
use weave_router::Failure;

use super::DEVICE;

/// Reads the addresses of a command line, as a failure of `what` ("cannot attach c1").
///
/// # Errors
/// Exit code 2 for what is no address with its prefix length, and as [`check`].
pub(super) fn parse(what: &str, texts: &[String]) -> Result<Vec<Cidr>, Failure> {
    let parsed = texts.iter().map(|text| {
        text.parse::<Cidr>()
            .map_err(|error| Failure::usage(what, error.to_string(), ""))
    });
    check(what, &parsed.collect::<Result<Vec<_>, _>>()?)
}

/// Refuses addresses that no container can have, and gives the others, each once.
///
/// # Errors
/// Exit code 2, as a failure of `what`.
pub(crate) fn check(what: &str, wanted: &[Cidr]) -> Result<Vec<Cidr>, Failure> {
    let mut addresses: Vec<Cidr> = Vec::new();
    for cidr in wanted {
        if let Some(why) = unfit(*cidr) {
            return Err(Failure::usage(what, format!("{cidr} {why}"), ""));
        }
        let same = addresses.iter().find(|a| a.address() == cidr.address());
        match same {
            Some(other) if other == cidr => {}
            Some(other) => {
                let why = format!("{other} and {cidr} are one address");
                return Err(Failure::usage(what, why, "give it once"));
            }
            None => addresses.push(*cidr),
        }
    }
    Ok(addresses)
}

/// Why nobody can have this address on a network, in words that follow it; none where somebody can.
pub(crate) fn unfit(cidr: Cidr) -> Option<String> {
    let network = cidr.network();
    if cidr.prefix_len() == 0 {
        return Some("takes in every address there is: give the length of its network".to_owned());
    }
    match cidr.address() {
        IpAddr::V4(address) => {
            // RFC 3021: of two addresses, both are stations'.
            let has_broadcast = cidr.prefix_len() < 31;
            if address.octets()[0] == 0 {
                Some("is no station's address".to_owned())
            } else if address.is_loopback() {
                Some("is a loopback address".to_owned())
            } else if address.is_multicast() {
                Some("is a multicast address".to_owned())
            } else if address >= Ipv4Addr::new(240, 0, 0, 0) {
                Some("is reserved".to_owned())
            } else if has_broadcast && network.address() == cidr.address() {
                Some(format!("is the network itself: take {}", first(address)))
            } else if has_broadcast && address == last(network) {
                Some(format!("is the broadcast address of {network}"))
            } else {
                None
            }
        }
        IpAddr::V6(address) => {
            if address.is_unspecified() {
                Some("is no station's address".to_owned())
            } else if address.is_loopback() {
                Some("is a loopback address".to_owned())
            } else if address.is_multicast() {
                Some("is a multicast address".to_owned())
            } else if address.is_unicast_link_local() {
                Some("is a link-local address, which the container makes itself".to_owned())
            } else if cidr.prefix_len() < 127 && network.address() == cidr.address() {
                // RFC 4291 section 2.6.1, but for the links of RFC 6164.
                Some(format!(
                    "is the anycast address of the routers of {network}"
                ))
            } else {
                None
            }
        }
    }
}

/// An address of the container's own, on another interface than ours.
#[derive(Debug)]
pub(super) struct Own {
    /// The interface.
    pub(super) device: String,
    /// The address on it.
    pub(super) cidr: Cidr,
}

impl Own {
    /// Those among all that a container has.
    pub(super) fn among(all: &[InterfaceAddress]) -> Vec<Self> {
        let own = all
            .iter()
            .filter(|own| own.device != DEVICE && !own.loopback && !own.link_local);
        own.map(|own| Self {
            device: own.device.clone(),
            cidr: own.cidr,
        })
        .collect()
    }
}

/// What of a container's own network stands in the way of an address.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Obstacle {
    /// The reason against it, and what to do, in words.
    Refusal(String, String),
    /// What to know about it, in words.
    Warning(String),
}

/// Looks whether `wanted` agrees with what a container has on its other interfaces: those must go on working.
pub(super) fn obstacle(wanted: Cidr, addresses: &[Own], routes: &[Route]) -> Option<Obstacle> {
    let mut warning = None;
    for own in addresses {
        let (device, other) = (&own.device, own.cidr);
        if other.address() == wanted.address() {
            return Some(Obstacle::Refusal(
                format!("its interface {device} has {} already", other.address()),
                "give it another address".to_owned(),
            ));
        }
        if !other.overlaps(&wanted) {
            continue;
        }
        let (mine, theirs) = (wanted.network(), other.network());
        if mine == theirs {
            return Some(Obstacle::Refusal(
                format!("its interface {device} is on the network {theirs} already"),
                "give it an address of another network".to_owned(),
            ));
        }
        // The longer prefix wins.
        let by = if mine.prefix_len() > theirs.prefix_len() {
            DEVICE
        } else {
            device
        };
        warning.get_or_insert_with(|| {
            format!("{mine} and {theirs}, which its interface {device} is on, overlap: what is in both is reached by {by}")
        });
    }
    for route in routes {
        let (Some(gateway), Some(device)) = (route.gateway, &route.device) else {
            continue;
        };
        // Only what is on a wire of its own now would be lost to a longer prefix.
        let on_wire = addresses
            .iter()
            .filter(|own| own.device == *device && own.cidr.contains(gateway))
            .map(|own| own.cidr.prefix_len())
            .max();
        let steals = on_wire.is_some_and(|length| length < wanted.prefix_len());
        if device != DEVICE && wanted.contains(gateway) && steals {
            return Some(Obstacle::Refusal(
                format!(
                    "{} holds {gateway}, by which its interface {device} reaches {}",
                    wanted.network(),
                    route.to
                ),
                "give it an address of another network".to_owned(),
            ));
        }
    }
    warning.map(Obstacle::Warning)
}

/// The address after this one.
fn first(network: Ipv4Addr) -> Ipv4Addr {
    Ipv4Addr::from_bits(network.to_bits().saturating_add(1))
}

fn last(network: Cidr) -> Ipv4Addr {
    match network.address() {
        IpAddr::V4(address) => {
            let host_bits = u32::MAX.checked_shr(network.prefix_len().into());
            Ipv4Addr::from_bits(address.to_bits() | host_bits.unwrap_or(0))
        }
        IpAddr::V6(_) => Ipv4Addr::BROADCAST,
    }
}

/// Whether a device's address is one that it made itself, and not one of the network's.
pub(super) fn is_link_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.is_link_local(),
        IpAddr::V6(address) => Ipv6Addr::is_unicast_link_local(&address),
    }
}

#[cfg(test)]
mod tests;
