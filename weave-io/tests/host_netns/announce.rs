//! Probes and announcements of addresses, against the kernel's own ARP and neighbour discovery.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use weave_io::host::{AddressHolder, Error, Netlink, ScopedNetNs};

use super::{cidr, ip, ip_of, unique_name};

/// A bridge with two stations on it.
struct Wire {
    _bridge: ScopedNetNs,
    stations: [(ScopedNetNs, Netlink); 2],
}

impl Wire {
    fn lay() -> Self {
        let bridge = ScopedNetNs::create(&unique_name()).unwrap();
        let host = Netlink::open_in(&bridge).unwrap();
        host.ensure_bridge("weave", None).unwrap();
        let stations = [1, 2].map(|n| {
            let namespace = ScopedNetNs::create(&unique_name()).unwrap();
            let port = format!("port{n}");
            host.create_veth(&port, "ethwe", Some(&namespace)).unwrap();
            host.attach("weave", &port).unwrap();
            host.set_up(&port).unwrap();
            let inside = Netlink::open_in(&namespace).unwrap();
            inside.set_up("ethwe").unwrap();
            let deadline = Instant::now() + Duration::from_secs(5);
            while !host.port_forwards(&port).unwrap() {
                assert!(Instant::now() < deadline, "{port} does not forward");
                std::thread::sleep(Duration::from_millis(5));
            }
            (namespace, inside)
        });
        Self {
            _bridge: bridge,
            stations,
        }
    }

    fn station(&self, n: usize) -> &Netlink {
        &self.stations[n].1
    }

    fn mac(&self, n: usize) -> [u8; 6] {
        self.station(n).link("ethwe").unwrap().mac.unwrap()
    }

    /// What station `n` knows of an address.
    fn neighbour(&self, n: usize, address: &str) -> String {
        ip(&self.stations[n].0, &["neighbour", "show", address])
    }
}

pub(super) fn an_address_that_nobody_has_is_known_to_be_free_in_300_ms() {
    let wire = Wire::lay();
    let addresses = [ip_of("10.2.1.1"), ip_of("fd00::1")];
    let start = Instant::now();
    let found = wire.station(0).probe_addresses("ethwe", &addresses);
    assert_eq!(found, Ok(None));
    let took = start.elapsed();
    assert!(took >= Duration::from_millis(300), "{took:?}");
    assert!(took < Duration::from_millis(600), "{took:?}");
}

pub(super) fn whoever_has_an_address_answers_a_probe() {
    let wire = Wire::lay();
    for address in ["10.2.1.2/24", "fd00::2/64"] {
        let cidr = cidr(address);
        wire.station(1)
            .add_address_undetected("ethwe", cidr)
            .unwrap();
        let address = cidr.address();
        let holder = AddressHolder {
            address,
            mac: wire.mac(1),
        };
        let free = if address.is_ipv4() {
            "10.2.1.9"
        } else {
            "fd00::9"
        };
        let start = Instant::now();
        let found = wire
            .station(0)
            .probe_addresses("ethwe", &[ip_of(free), address]);
        assert_eq!(found, Ok(Some(holder)));
        assert!(
            start.elapsed() < Duration::from_millis(250),
            "it need not go on"
        );
        // A probe teaches nobody anything.
        assert_eq!(wire.neighbour(1, free), "");
    }
}

pub(super) fn of_two_who_ask_for_one_address_at_the_same_time_none_takes_it() {
    let wire = Wire::lay();
    for address in ["10.2.1.3", "fd00::3"] {
        let address = [ip_of(address)];
        let found = std::thread::scope(|scope| {
            let other = scope.spawn(|| wire.station(1).probe_addresses("ethwe", &address));
            let found = wire.station(0).probe_addresses("ethwe", &address);
            [found, other.join().unwrap()]
        });
        let macs = found.map(|holder| holder.unwrap().map(|holder| holder.mac));
        assert!(
            macs.contains(&Some(wire.mac(0))) || macs.contains(&Some(wire.mac(1))),
            "{macs:?}"
        );
    }
}

pub(super) fn an_announcement_changes_what_the_neighbours_know() {
    let wire = Wire::lay();
    for (address, mine) in [("10.2.1.2", "10.2.1.1/24"), ("fd00::2", "fd00::1/64")] {
        let stale = [2, 0, 0, 0, 0, 9];
        wire.station(0)
            .add_address_undetected("ethwe", cidr(mine))
            .unwrap();
        // As if the address had been elsewhere until now: known, and not for good.
        ip(
            &wire.stations[0].0,
            &[
                "neighbour",
                "add",
                address,
                "lladdr",
                "02:00:00:00:00:09",
                "dev",
                "ethwe",
                "nud",
                "stale",
            ],
        );
        assert!(wire.neighbour(0, address).contains("02:00:00:00:00:09"));
        assert_ne!(wire.mac(1), stale);
        let addresses: [IpAddr; 1] = [ip_of(address)];
        wire.station(1)
            .announce_addresses("ethwe", &addresses)
            .unwrap();
        let mac = wire.mac(1).map(|byte| format!("{byte:02x}")).join(":");
        let deadline = Instant::now() + Duration::from_secs(5);
        while !wire.neighbour(0, address).contains(&mac) {
            assert!(Instant::now() < deadline, "{}", wire.neighbour(0, address));
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

pub(super) fn a_device_that_is_off_or_none_is_refused() {
    let namespace = ScopedNetNs::create(&unique_name()).unwrap();
    let host = Netlink::open_in(&namespace).unwrap();
    let addresses = [ip_of("10.2.1.1")];
    assert_eq!(
        host.probe_addresses("ethwe", &addresses),
        Err(Error::NoDevice {
            device: "ethwe".to_owned()
        })
    );
    host.create_veth("ethwe", "other", None).unwrap();
    let error = host.probe_addresses("ethwe", &addresses).unwrap_err();
    assert_eq!(
        error.to_string(),
        "cannot ask for an address on ethwe: network is down"
    );
    let error = host.announce_addresses("ethwe", &addresses).unwrap_err();
    assert_eq!(
        error.to_string(),
        "cannot announce an address on ethwe: network is down"
    );
}

pub(super) fn multicast_leaves_by_the_device_that_was_chosen() {
    let namespace = ScopedNetNs::create(&unique_name()).unwrap();
    let host = Netlink::open_in(&namespace).unwrap();
    for (device, other) in [("eth0", "other0"), ("ethwe", "other1"), ("eth1", "other2")] {
        host.create_veth(device, other, None).unwrap();
        // What containers' devices have, and ports of the bridge don't.
        host.set_setting(&format!("ipv6/conf/{device}/addr_gen_mode"), "0")
            .unwrap();
        host.set_up(device).unwrap();
        host.set_up(other).unwrap();
    }
    assert_eq!(host.route_multicast_ipv4("ethwe"), Ok(true));
    assert_eq!(host.route_multicast_ipv4("ethwe"), Ok(false));
    assert_eq!(host.route_multicast_ipv6("ethwe"), Ok(true));
    assert_eq!(host.route_multicast_ipv6("ethwe"), Ok(false));
    for group in ["239.1.2.3", "ff05::1"] {
        let route = ip(&namespace, &["route", "get", group]);
        assert!(route.contains("dev ethwe"), "{route}");
    }
    assert_eq!(
        host.route_multicast_ipv4("eth1"),
        Err(Error::RouteExists {
            to: cidr("224.0.0.0/4")
        })
    );
    assert_eq!(
        host.route_multicast_ipv6("eth1"),
        Err(Error::RouteExists {
            to: cidr("ff00::/8")
        })
    );
}
