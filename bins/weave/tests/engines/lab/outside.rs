//! A machine that knows nothing of weave: services that are imported live there, and users of those exported.

use std::net::Ipv4Addr;
use std::process::Command;
use std::time::Instant;

use weave_io::host::{Cidr, NetNs, Netlink, Route, ScopedNetNs};

use super::{Container, Said};

/// One such machine: a network with `eth0`.
pub(crate) struct Outside {
    name: String,
    netlink: Netlink,
    namespace: ScopedNetNs,
}

impl Outside {
    pub(super) fn new(namespace: &str, name: &str) -> Self {
        let namespace = ScopedNetNs::create(namespace).unwrap();
        Self {
            name: name.to_owned(),
            netlink: Netlink::open_in(&namespace).unwrap(),
            namespace,
        }
    }

    /// Gives its device an address and a way out, once it has a wire.
    pub(super) fn configure(&self, address: Cidr, gateway: Option<Ipv4Addr>) {
        self.netlink.set_up("lo").unwrap();
        self.netlink.disable_ipv6_autoconf("eth0").unwrap();
        self.netlink.add_address("eth0", address).unwrap();
        self.netlink.set_up("eth0").unwrap();
        if let Some(gateway) = gateway {
            let route = Route::default_via(gateway.into());
            self.netlink.add_route(&route).unwrap();
        }
    }

    /// Its first address.
    pub(crate) fn address(&self) -> String {
        let addresses = self.netlink.addresses_of("eth0").unwrap();
        addresses[0].address().to_string()
    }

    /// Its network.
    pub(crate) fn netns(&self) -> &NetNs {
        &self.namespace
    }

    /// Itself, for pings.
    pub(crate) fn pings(&self) -> Container {
        Container::new(&self.name, NetNs::clone(&self.namespace))
    }

    /// Types a line into a shell there.
    #[must_use]
    pub(crate) fn sh(&self, line: &str) -> Said {
        let mut command = Command::new("timeout");
        command.args(["--signal=KILL", "60", "sh", "-c", line]);
        let started = Instant::now();
        let output = self.namespace.run(|| command.output()).unwrap().unwrap();
        let line = format!("{}# {line}", self.name);
        Said::new(line, &output, started.elapsed())
    }
}
