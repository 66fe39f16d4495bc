//! Which device a namespace's multicast leaves by.

use std::net::Ipv6Addr;

use futures_util::TryStreamExt;
use netlink_packet_route::route::{RouteAttribute, RouteType};
use nix::errno::Errno;
use rtnetlink::RouteMessageBuilder;

use super::error::refused;
use super::netlink::Worker;
use super::route::{destination, hop};
use super::{Cidr, Error, Netlink, Route};

impl Netlink {
    /// Sends IPv4 multicast by `device` where a program names none: 224.0.0.0/4, which else follows the default route.
    /// Tells whether it was new.
    ///
    /// # Errors
    /// [`Error::RouteExists`] if it leaves by another device already, [`Error::NoDevice`] or [`Error::Refused`], for
    /// example when the device is switched off.
    pub fn route_multicast_ipv4(&self, device: &str) -> Result<bool, Error> {
        self.on(device, |worker, device| {
            worker.add_route(&Route::on_device(cidr(IPV4), device))
        })
    }

    /// The same for IPv6: ff00::/8. The kernel has such a route for each device, in its table `local`, and takes any
    /// of them; this one stands before those.
    ///
    /// # Errors
    /// As for [`Netlink::route_multicast_ipv4`].
    pub fn route_multicast_ipv6(&self, device: &str) -> Result<bool, Error> {
        self.on(device, Worker::route_multicast_ipv6)
    }
}

impl Worker {
    fn route_multicast_ipv6(&self, device: &str) -> Result<bool, Error> {
        let to = cidr(IPV6);
        let mut message = self.route_message(&Route::on_device(to, device))?;
        message.header.table = RT_TABLE_LOCAL;
        message.header.kind = RouteType::Multicast;
        message
            .attributes
            .push(RouteAttribute::Priority(BEFORE_THE_KERNELS));
        match self.wait(self.handle.route().add(message).execute()) {
            Ok(()) => Ok(true),
            Err(reason) if reason.is(Errno::EEXIST) => {
                if self.preferred_ipv6()? == Some(self.link(device)?.index) {
                    Ok(false)
                } else {
                    Err(Error::RouteExists { to })
                }
            }
            Err(reason) => Err(refused("add the route to", to.to_string())(reason)),
        }
    }

    /// Index of the device that a route before the kernel's leads to.
    fn preferred_ipv6(&self) -> Result<Option<u32>, Error> {
        let mut question = RouteMessageBuilder::<Ipv6Addr>::new().build();
        question.header.table = RT_TABLE_LOCAL;
        let request = self.handle.route().get(question).execute();
        let routes = self
            .wait(request.try_collect::<Vec<_>>())
            .map_err(refused("list", "the routes"))?;
        let found = routes.iter().find(|route| {
            route.header.table == RT_TABLE_LOCAL
                && destination(route) == Some(cidr(IPV6))
                && route
                    .attributes
                    .contains(&RouteAttribute::Priority(BEFORE_THE_KERNELS))
        });
        Ok(found.and_then(|route| hop(&route.attributes).1))
    }
}

fn cidr(text: &str) -> Cidr {
    text.parse().expect("the constants below")
}

/// All of multicast (RFC 5771, RFC 4291 section 2.7).
const IPV4: &str = "224.0.0.0/4";
const IPV6: &str = "ff00::/8";
/// The kernel's own have 256 (IP6_RT_PRIO_ADDRCONF); the least goes first, and 0 stands for 1,024.
const BEFORE_THE_KERNELS: u32 = 1;
/// The table that is looked at first (linux/rtnetlink.h).
const RT_TABLE_LOCAL: u8 = 255;
