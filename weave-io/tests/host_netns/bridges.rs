//! The bridge and its ports.

use std::net::UdpSocket;
use std::time::Duration;

use weave_io::host::{Ensured, Error, Netlink, ScopedNetNs};

use super::{cidr, ip, ip_of, unique_name};

pub(super) fn a_bridge_is_made_once_with_our_settings() {
    let namespace = ScopedNetNs::create(&unique_name()).unwrap();
    let host = Netlink::open_in(&namespace).unwrap();
    let mac = [0x02, 0, 0, 0, 0, 7];
    assert_eq!(
        host.ensure_bridge("weave", Some(mac)).unwrap(),
        Ensured::Created
    );
    assert_eq!(host.ensure_bridge("weave", None).unwrap(), Ensured::Existed);
    let bridge = host.link("weave").unwrap();
    assert_eq!(
        (bridge.mac, bridge.up, bridge.kind.as_deref()),
        (Some(mac), true, Some("bridge"))
    );
    assert_eq!(host.setting("ipv6/conf/weave/accept_ra").unwrap(), "0");
    assert_eq!(host.setting("ipv6/conf/weave/addr_gen_mode").unwrap(), "1");
    let details = ip(&namespace, &["-d", "link", "show", "weave"]);
    for wanted in ["stp_state 0", "forward_delay 0", "mcast_snooping 1"] {
        assert!(details.contains(wanted), "{wanted} is not in {details}");
    }

    // A bridge that wasn't pinned would now take the lower address of its port.
    host.create_veth("v0", "v1", None).unwrap();
    host.set_mac("v0", [0x02, 0, 0, 0, 0, 1]).unwrap();
    host.attach("weave", "v0").unwrap();
    assert_eq!(host.link("weave").unwrap().mac, Some(mac));

    assert_eq!(
        host.ensure_bridge("unpinned", None).unwrap(),
        Ensured::Created
    );
    let own = host.link("unpinned").unwrap().mac;
    host.attach("unpinned", "v0").unwrap();
    assert_eq!(host.link("unpinned").unwrap().mac, own);

    let taken = Err(Error::NotABridge {
        device: "v0".to_owned(),
    });
    assert_eq!(host.ensure_bridge("v0", None), taken.clone());
    assert_eq!(host.check_bridge("v0").map(|()| Ensured::Existed), taken);
    assert_eq!(host.check_bridge("unpinned"), Ok(()));
    assert_eq!(host.check_bridge("free"), Ok(()));
    assert_eq!(host.find_link("free").unwrap(), None);
    let error = host.ensure_bridge("a name of its own", None).unwrap_err();
    assert!(matches!(error, Error::BadDeviceName { .. }), "{error}");
}

pub(super) fn a_bridge_left_with_other_settings_is_put_right() {
    let namespace = ScopedNetNs::create(&unique_name()).unwrap();
    let host = Netlink::open_in(&namespace).unwrap();
    ip(
        &namespace,
        &[
            "link",
            "add",
            "weave",
            "type",
            "bridge",
            "stp_state",
            "1",
            "mcast_snooping",
            "0",
        ],
    );
    assert_eq!(host.ensure_bridge("weave", None).unwrap(), Ensured::Existed);
    let details = ip(&namespace, &["-d", "link", "show", "weave"]);
    for wanted in ["stp_state 0", "forward_delay 0", "mcast_snooping 1"] {
        assert!(details.contains(wanted), "{wanted} is not in {details}");
    }
}

pub(super) fn ports_come_and_go() {
    let namespace = ScopedNetNs::create(&unique_name()).unwrap();
    let host = Netlink::open_in(&namespace).unwrap();
    host.ensure_bridge("weave", None).unwrap();
    host.create_veth("v0", "v1", None).unwrap();
    host.attach("weave", "v0").unwrap();
    host.attach("weave", "v0").unwrap();
    assert_eq!(host.bridge_ports("weave").unwrap(), ["v0"]);
    host.detach("v0").unwrap();
    host.detach("v0").unwrap();
    assert_eq!(host.bridge_ports("weave").unwrap(), [""; 0]);

    assert_eq!(
        host.attach("weave", "none"),
        Err(Error::NoDevice {
            device: "none".to_owned()
        })
    );
    assert_eq!(
        host.attach("none", "v0"),
        Err(Error::NoDevice {
            device: "none".to_owned()
        })
    );
    assert_eq!(
        host.attach("v1", "v0"),
        Err(Error::NotABridge {
            device: "v1".to_owned()
        })
    );
    let error = host.attach("weave", "weave").unwrap_err();
    assert!(
        error.to_string().starts_with("cannot attach weave: "),
        "{error}"
    );
}

pub(super) fn the_routers_tap_takes_super_frames_and_every_group() {
    let namespace = ScopedNetNs::create(&unique_name()).unwrap();
    let host = Netlink::open_in(&namespace).unwrap();
    ip(&namespace, &["tuntap", "add", "vethwe-tap", "mode", "tap"]);
    assert_eq!(
        host.configure_tap_port("vethwe-tap", 65_521),
        Err(Error::NotAPort {
            device: "vethwe-tap".to_owned()
        })
    );
    host.ensure_bridge("weave", None).unwrap();
    host.attach("weave", "vethwe-tap").unwrap();
    host.configure_tap_port("vethwe-tap", 65_521).unwrap();
    host.configure_tap_port("vethwe-tap", 65_521).unwrap();
    let tap = host.link("vethwe-tap").unwrap();
    assert_eq!((tap.mtu_bytes, tap.up), (65_521, true));
    assert_eq!(host.setting("ipv6/conf/vethwe-tap/accept_ra").unwrap(), "0");
    assert_eq!(
        host.setting("ipv6/conf/vethwe-tap/addr_gen_mode").unwrap(),
        "1"
    );
    let details = ip(&namespace, &["-d", "link", "show", "vethwe-tap"]);
    for wanted in ["mcast_router 2", "hairpin off"] {
        assert!(details.contains(wanted), "{wanted} is not in {details}");
    }
    let error = host.configure_tap_port("vethwe-tap", 65_522).unwrap_err();
    let expected = "cannot set the MTU of vethwe-tap: invalid argument";
    assert!(error.to_string().starts_with(expected), "{error}");
}

pub(super) fn two_containers_on_a_bridge_reach_each_other() {
    let host_namespace = ScopedNetNs::create(&unique_name()).unwrap();
    let host = Netlink::open_in(&host_namespace).unwrap();
    host.ensure_bridge("weave", None).unwrap();
    let mut sockets = Vec::new();
    let mut containers = Vec::new();
    for n in 1..=2 {
        let container = ScopedNetNs::create(&unique_name()).unwrap();
        let port = format!("vethwe{n}");
        host.create_veth(&port, "ethwe", Some(&container)).unwrap();
        assert_eq!(
            host.setting(&format!("ipv6/conf/{port}/addr_gen_mode"))
                .unwrap(),
            "1"
        );
        host.attach("weave", &port).unwrap();
        host.set_up(&port).unwrap();
        let inside = Netlink::open_in(&container).unwrap();
        inside
            .add_address("ethwe", cidr(&format!("10.2.1.{n}/24")))
            .unwrap();
        inside.set_up("ethwe").unwrap();
        sockets.push(
            container
                .run(|| UdpSocket::bind(format!("10.2.1.{n}:7000")))
                .unwrap()
                .unwrap(),
        );
        containers.push((container, inside));
    }
    let mac = containers[1].1.link("ethwe").unwrap().mac.unwrap();
    containers[0]
        .1
        .set_neighbour("ethwe", ip_of("10.2.1.2"), mac)
        .unwrap();
    containers[0]
        .1
        .set_neighbour("ethwe", ip_of("10.2.1.2"), mac)
        .unwrap();

    // A port forwards once the kernel noticed that its cable is plugged, which may take a second.
    let wait = Duration::from_millis(50);
    sockets[1].set_read_timeout(Some(wait)).unwrap();
    let mut buffer = [0; 16];
    let received = (0..100).find_map(|_| {
        sockets[0].send_to(b"hello", "10.2.1.2:7000").unwrap();
        sockets[1].recv_from(&mut buffer).ok()
    });
    let (length, from) = received.expect("a frame arrives within 5 s");
    assert_eq!(
        (&buffer[..length], from),
        (&b"hello"[..], "10.2.1.1:7000".parse().unwrap())
    );
}
