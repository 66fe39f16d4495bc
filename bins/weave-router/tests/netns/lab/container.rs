//! A container: a namespace on its host's bridge `weave`.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use weave_io::host::{Cidr, NetNs, Netlink, Route, ScopedNetNs};

use super::cidr;
use super::ping::Pinger;

/// One container, with one interface on the network.
pub(crate) struct Container {
    namespace: ScopedNetNs,
    /// Its wire's end on the host.
    outside: String,
    addresses: Vec<Cidr>,
    mac: [u8; 6],
}

/// What a container is to be like.
#[derive(Debug, Default)]
pub(crate) struct Make<'a> {
    /// Its addresses, with prefix lengths.
    pub(crate) addresses: &'a [&'a str],
    /// Its Ethernet address; none lets the kernel choose.
    pub(crate) mac: Option<[u8; 6]>,
    /// It says nothing until it is asked: it has no IPv6, which begins with reports of what it listens to.
    pub(crate) is_silent: bool,
}

impl Container {
    /// One on `bridge` of the host, which is made if there is none yet.
    pub(super) fn new(
        host: &Netlink,
        name: &str,
        number: u32,
        make: &Make<'_>,
        bridge: Option<&str>,
    ) -> Self {
        let namespace = ScopedNetNs::create(name).unwrap();
        let netlink = Netlink::open_in(&namespace).unwrap();
        // Nobody else has its addresses: no second is spent on making sure.
        netlink
            .set_setting("ipv6/conf/default/accept_dad", "0")
            .unwrap();
        if make.is_silent {
            netlink
                .set_setting("ipv6/conf/default/disable_ipv6", "1")
                .unwrap();
        }
        let outside = outside(number);
        host.create_veth(&outside, DEVICE, Some(&namespace))
            .unwrap();
        if let Some(bridge) = bridge {
            host.ensure_bridge(bridge, None).unwrap();
            host.attach(bridge, &outside).unwrap();
        }
        host.set_up(&outside).unwrap();
        netlink.set_up("lo").unwrap();
        netlink.set_mtu(DEVICE, MTU_BYTES).unwrap();
        if let Some(mac) = make.mac {
            netlink.set_mac(DEVICE, mac).unwrap();
        }
        let addresses: Vec<_> = make.addresses.iter().map(|address| cidr(address)).collect();
        for address in &addresses {
            netlink.add_address_undetected(DEVICE, *address).unwrap();
        }
        netlink.set_up(DEVICE).unwrap();
        netlink
            .add_route(&Route::on_device(cidr("224.0.0.0/4"), DEVICE))
            .unwrap();
        let families = if make.is_silent {
            &["ipv4"][..]
        } else {
            &["ipv4", "ipv6"]
        };
        for family in families {
            // An unanswered ARP or neighbour request is repeated after a second by default (RFC 4861 section 10
            // allows less, RFC 1122 section 2.3.2.1 asks for no more than one a second on a real wire): the first
            // one comes while routers are still starting, and that second would be all that is measured.
            netlink
                .set_setting(&format!("{family}/neigh/{DEVICE}/retrans_time_ms"), "20")
                .unwrap();
        }
        let mac = netlink.link(DEVICE).unwrap().mac.expect("a veth has one");
        Self {
            namespace,
            outside,
            addresses,
            mac,
        }
    }

    /// Its first address.
    pub(crate) fn address(&self) -> IpAddr {
        self.addresses[0].address()
    }

    /// Its first IPv6 address.
    pub(crate) fn address_v6(&self) -> IpAddr {
        let v6 = |cidr: &Cidr| cidr.address().is_ipv6();
        self.addresses
            .iter()
            .copied()
            .find(v6)
            .expect("the test gave it one")
            .address()
    }

    /// Its Ethernet address.
    pub(crate) fn mac(&self) -> [u8; 6] {
        self.mac
    }

    /// Takes it off its host for good. The kernel removes a namespace when it likes; so its wire goes first.
    pub(crate) fn remove(self, host: &Netlink) {
        host.delete_link(&self.outside).unwrap();
    }

    /// Where it is.
    pub(crate) fn namespace(&self) -> &NetNs {
        &self.namespace
    }

    /// Runs `work` inside.
    pub(crate) fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        self.namespace.run(work).unwrap()
    }

    /// Pings until an answer comes; how long that took, or `None` if none came in that time.
    pub(crate) fn reaches(&self, address: IpAddr, limit: Duration) -> Option<Duration> {
        let start = Instant::now();
        let pinger = Pinger::start(self, address, b"");
        let answered = pinger.answered_after(start, limit);
        answered.map(|at| at.duration_since(start))
    }

    /// Fails unless an answer comes in that time; how long it took.
    pub(crate) fn must_reach(&self, other: &Self, limit: Duration) -> Duration {
        let (from, to) = (self.address(), other.address());
        self.reaches(to, limit)
            .unwrap_or_else(|| panic!("{from} got no answer from {to} within {limit:?}"))
    }
}

/// The host's end of a container's interface.
pub(super) fn outside(number: u32) -> String {
    format!("vethwe{number}")
}

/// The interface on the network, as `weave attach` calls it.
pub(crate) const DEVICE: &str = "ethwe";
/// What a router on an underlay of 1,500 bytes tells containers to use: 110 bytes less (design.md section 6).
pub(crate) const MTU_BYTES: u32 = 1390;
