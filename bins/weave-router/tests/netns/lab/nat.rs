//! A box that hides hosts behind its own address, as homes and clouds have it (RFC 4787).
//!
//! It is the kernel's own masquerading: filtering by address and port, for nothing comes in but from where something
//! went to, and a mapping that keeps the port where it is free. With `random` each flow gets a port of its own.

use std::net::Ipv4Addr;

use weave_io::host::{Cidr, Netlink, ScopedNetNs};

use super::nft;

/// What becomes of a packet's source port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ports {
    /// It stays, if nobody else behind the box has it: to every destination the same.
    Kept,
    /// To each destination another one.
    Random,
}

/// One box, between the underlay and the hosts behind it.
pub(crate) struct NatBox {
    outside: Cidr,
    /// The first address of its network inside.
    network: Ipv4Addr,
    hosts: u8,
    wire: String,
    netlink: Netlink,
    namespace: ScopedNetNs,
}

impl NatBox {
    pub(super) fn new(
        lab: u8,
        number: u8,
        outside: Cidr,
        wire: String,
        namespace: ScopedNetNs,
        ports: Ports,
    ) -> Self {
        let netlink = Netlink::open_in(&namespace).unwrap();
        let network = Ipv4Addr::new(198, 19, lab, number * HOSTS_MAX);
        let nat = Self {
            outside,
            network,
            hosts: 1,
            wire,
            netlink,
            namespace,
        };
        nat.netlink.set_up("lo").unwrap();
        nat.netlink.ensure_bridge(INSIDE, None).unwrap();
        nat.netlink
            .add_address(INSIDE, nat.inside(GATEWAY))
            .unwrap();
        nat.netlink.add_address("eth0", outside).unwrap();
        nat.netlink.set_up("eth0").unwrap();
        nat.netlink.set_setting("ipv4/ip_forward", "1").unwrap();
        let random = match ports {
            Ports::Kept => "",
            Ports::Random => "random",
        };
        // What comes uncalled for is dropped before conntrack takes note of it, as in every such box: else it would
        // hold the very port that the host behind is about to use.
        nft(
            &nat.namespace,
            &format!(
                "table ip lab {{
                    chain input {{ type filter hook input priority 0; iifname eth0 drop; }}
                    chain forward {{
                        type filter hook forward priority 0; policy drop;
                        iifname {INSIDE} accept;
                        ct state established,related accept;
                    }}
                    chain out {{ type nat hook postrouting priority 100; oifname eth0 masquerade {random}; }}
                }}"
            ),
        );
        nat
    }

    /// Its address on the underlay.
    pub(crate) fn address(&self) -> Ipv4Addr {
        match self.outside.address() {
            std::net::IpAddr::V4(address) => address,
            std::net::IpAddr::V6(address) => panic!("{address} on the underlay"),
        }
    }

    pub(super) fn wire(&self) -> &str {
        &self.wire
    }

    /// A wire to a host; the host's address, and its gateway's.
    pub(super) fn connect(&mut self, host: &ScopedNetNs) -> (Cidr, Ipv4Addr) {
        self.hosts += 1;
        let wire = format!("inside-{}", self.hosts);
        self.netlink.create_veth(&wire, "eth0", Some(host)).unwrap();
        self.netlink.attach(INSIDE, &wire).unwrap();
        self.netlink.set_up(&wire).unwrap();
        (self.inside(self.hosts), self.network_address(GATEWAY))
    }

    fn inside(&self, number: u8) -> Cidr {
        Cidr::new(self.network_address(number).into(), INSIDE_PREFIX_LEN).expect("28 is below 32")
    }

    fn network_address(&self, number: u8) -> Ipv4Addr {
        Ipv4Addr::from(u32::from(self.network) + u32::from(number))
    }
}

/// The device that the hosts' wires are on.
const INSIDE: &str = "inside";
/// The box's own address inside.
const GATEWAY: u8 = 1;
/// Addresses inside.
const HOSTS_MAX: u8 = 16;
const INSIDE_PREFIX_LEN: u8 = 28;
