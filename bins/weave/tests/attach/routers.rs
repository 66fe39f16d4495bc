//! Attaching while routers run.

use super::lab::{Container, Host, wait_for};

pub(super) fn the_mtu_is_the_routers() {
    let mut host = Host::new();
    let [a, b] = [Container::new(), Container::new()];
    host.done(&["attach", "10.2.1.1/24", &a.place()]);
    assert_eq!(a.device().mtu_bytes, 1390);
    host.start_router(&["--mtu", "1300"]);
    host.done(&["attach", "10.2.1.2/24", &b.place()]);
    assert_eq!(b.device().mtu_bytes, 1300);
    let port = host.netlink.bridge_ports("weave").unwrap();
    let port = port.iter().find(|port| port.starts_with("vethwe"));
    assert!(port.is_some());
    assert!(b.reaches("10.2.1.2", &a, "10.2.1.1"));
}

pub(super) fn an_address_of_another_host_is_refused_and_its_router_named() {
    let [mut near, mut far] = [Host::new(), Host::new()];
    near.netlink
        .create_veth("eth0", "eth0", Some(&far.namespace))
        .unwrap();
    for (host, address) in [(&near, "198.18.0.1/24"), (&far, "198.18.0.2/24")] {
        host.netlink.set_up("eth0").unwrap();
        host.netlink
            .add_address("eth0", address.parse().unwrap())
            .unwrap();
    }
    far.start_router(&["--name", "far"]);
    near.start_router(&["--name", "near", "198.18.0.2"]);
    let [a, b] = [Container::new(), Container::new()];
    far.done(&["attach", "10.2.1.1/24", "fd00:2::1/64", &a.place()]);
    near.done(&["attach", "10.2.1.2/24", &b.place()]);
    wait_for("the way between the hosts", || {
        b.reaches("10.2.1.2", &a, "10.2.1.1")
    });
    let mac = a.device().mac.unwrap();
    let mac = mac.map(|byte| format!("{byte:02x}")).join(":");
    let c = Container::new();
    for (address, length) in [("10.2.1.1", 24), ("fd00:2::1", 64)] {
        let before = near.snapshot(&[&c]);
        let said = near.refused(1, &["attach", &format!("{address}/{length}"), &c.place()]);
        assert_eq!(
            said,
            format!(
                "weave: cannot attach {}: {address} is in use on the network, by {mac}, behind the router far; give it \
                 another address, or take it all the same with --no-probe",
                c.place()
            )
        );
        near.is_as_before(&[&c], &before, "nothing changes");
    }
    // What moves here takes its address with it, and is found here at once.
    far.done(&["detach", "10.2.1.1/24", "fd00:2::1/64", &a.place()]);
    near.done(&["attach", "10.2.1.1/24", &c.place()]);
    assert!(b.reaches("10.2.1.2", &c, "10.2.1.1"));
}
