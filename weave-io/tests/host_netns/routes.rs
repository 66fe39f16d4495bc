//! Addresses and routes.

use std::time::{Duration, Instant};

use weave_io::host::{Cidr, Error, Netlink, Route, ScopedNetNs};

use super::{cidr, ip, ip_of, unique_name};

pub(super) fn addresses_are_added_listed_and_removed() {
    let namespace = ScopedNetNs::create(&unique_name()).unwrap();
    let host = Netlink::open_in(&namespace).unwrap();
    host.create_veth("v0", "v1", None).unwrap();
    host.set_up("lo").unwrap();
    host.set_up("v0").unwrap();
    host.set_up("v1").unwrap();
    let (v4, v6) = (cidr("10.2.1.1/24"), cidr("fd00::1/64"));
    for address in [v4, v6] {
        assert!(host.add_address_undetected("v0", address).unwrap());
        assert!(!host.add_address_undetected("v0", address).unwrap());
    }
    assert_eq!(
        host.addresses_of("v0").unwrap(),
        [v4, v6],
        "and no link-local address"
    );
    let usable: Vec<_> = host
        .addresses()
        .unwrap()
        .into_iter()
        .filter(|a| a.is_usable())
        .collect();
    assert_eq!(
        usable
            .iter()
            .map(|a| (a.device.as_str(), a.cidr))
            .collect::<Vec<_>>(),
        [("v0", v4), ("v0", v6)]
    );
    let link_local = cidr("fe80::5/64");
    host.add_address_undetected("v0", link_local).unwrap();
    let all = host.addresses().unwrap();
    assert!(
        all.iter()
            .any(|a| a.cidr == link_local && a.link_local && !a.is_usable()),
        "{all:?}"
    );
    assert!(
        all.iter()
            .any(|a| a.device == "lo" && a.loopback && a.cidr == cidr("127.0.0.1/8")),
        "{all:?}"
    );

    assert!(matches!(
        host.add_address("v0", cidr("fd00::1/80")),
        Err(Error::AddressExists { .. })
    ));
    assert!(host.add_address("v0", cidr("fd00::2/64")).unwrap());
    let tentative = host
        .addresses()
        .unwrap()
        .into_iter()
        .find(|a| a.cidr == cidr("fd00::2/64"))
        .unwrap();
    assert!(tentative.tentative && !tentative.is_usable());

    for address in [v4, v6] {
        assert!(host.remove_address("v0", address).unwrap());
        assert!(!host.remove_address("v0", address).unwrap());
    }
    assert_eq!(
        host.add_address("none", v4),
        Err(Error::NoDevice {
            device: "none".to_owned()
        })
    );
}

pub(super) fn routes_are_added_listed_and_removed() {
    let namespace = ScopedNetNs::create(&unique_name()).unwrap();
    let host = Netlink::open_in(&namespace).unwrap();
    host.create_veth("v0", "v1", None).unwrap();
    host.set_up("v0").unwrap();
    host.set_up("v1").unwrap();
    host.add_address_undetected("v0", cidr("198.18.0.1/24"))
        .unwrap();
    host.add_address_undetected("v0", cidr("fd00::1/64"))
        .unwrap();
    let (gateway4, gateway6) = (ip_of("198.18.0.254"), ip_of("fd00::fe"));
    for route in [
        Route::default_via(gateway4),
        Route::default_via(gateway6),
        Route::via(cidr("10.2.9.7/16"), gateway4),
        Route::via(cidr("fd01::/64"), gateway6),
        Route::on_device(cidr("224.0.0.0/4"), "v0"),
    ] {
        assert!(host.add_route(&route).unwrap(), "{route:?}");
        assert!(!host.add_route(&route).unwrap(), "{route:?}");
        let listed = host.routes().unwrap();
        let expected = Route {
            to: route.to.network(),
            device: Some("v0".to_owned()),
            ..route.clone()
        };
        assert!(
            listed.contains(&expected),
            "{expected:?} is not in {listed:?}"
        );
    }
    let elsewhere = Route::default_via(ip_of("198.18.0.253"));
    assert_eq!(
        host.add_route(&elsewhere),
        Err(Error::RouteExists { to: Cidr::ALL_V4 })
    );
    let unreachable = Route::via(cidr("10.3.0.0/16"), ip_of("203.0.113.1"));
    let error = host.add_route(&unreachable).unwrap_err();
    let expected = "cannot add the route to 10.3.0.0/16: network is unreachable";
    assert!(error.to_string().starts_with(expected), "{error}");
    let default = Route::default_via(gateway4);
    assert!(host.remove_route(&default).unwrap());
    assert!(!host.remove_route(&default).unwrap());
}

pub(super) fn the_path_to_an_address_tells_device_source_and_mtu() {
    let namespace = ScopedNetNs::create(&unique_name()).unwrap();
    let host = Netlink::open_in(&namespace).unwrap();
    host.create_veth("v0", "v1", None).unwrap();
    for device in ["lo", "v0", "v1"] {
        host.set_up(device).unwrap();
    }
    host.set_mtu("v0", 1450).unwrap();
    let far = [ip_of("203.0.113.9"), ip_of("2001:db8::9")];
    for address in far {
        assert_eq!(host.path_to(address), Err(Error::NoRoute { address }));
    }
    host.add_address_undetected("v0", cidr("198.18.0.1/24"))
        .unwrap();
    host.add_address_undetected("v0", cidr("fd00::1/64"))
        .unwrap();
    for (gateway, source, far) in [
        ("198.18.0.254", "198.18.0.1", far[0]),
        ("fd00::fe", "fd00::1", far[1]),
    ] {
        host.add_route(&Route::default_via(ip_of(gateway))).unwrap();
        let path = host.path_to(far).unwrap();
        assert_eq!((path.device.name.as_str(), path.mtu_bytes), ("v0", 1450));
        assert_eq!(
            (path.gateway, path.source),
            (Some(ip_of(gateway)), Some(ip_of(source)))
        );
        let near = host.path_to(ip_of(gateway)).unwrap();
        assert_eq!((near.device.name.as_str(), near.gateway), ("v0", None));
        assert!(!near.local && !path.local);
        // The kernel puts a new IPv6 address into its local table a moment after it was added.
        let deadline = Instant::now() + Duration::from_secs(5);
        while !host.path_to(ip_of(source)).unwrap().local {
            assert!(Instant::now() < deadline, "{source} is not local");
            std::thread::yield_now();
        }
    }
    ip(
        &namespace,
        &[
            "route",
            "add",
            "203.0.113.9",
            "via",
            "198.18.0.254",
            "mtu",
            "1400",
        ],
    );
    assert_eq!(
        host.path_to(far[0]).unwrap().mtu_bytes,
        1400,
        "the route's own MTU is smaller"
    );
    ip(&namespace, &["route", "add", "unreachable", "203.0.113.10"]);
    let address = ip_of("203.0.113.10");
    assert_eq!(host.path_to(address), Err(Error::NoRoute { address }));
}
