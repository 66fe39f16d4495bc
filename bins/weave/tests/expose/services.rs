//! Service export and import by the very rules of the README, with `FORWARD` dropping and br_netfilter on.

use crate::lab::{HOST, Host, OUTSIDE, ask, cidr, pings, run_in};
use weave_io::host::{Netlink, Route, ScopedNetNs};

pub(crate) fn bridged_frames_pass_whatever_docker_says() {
    let host = Host::new();
    let a = host.container(&["10.0.1.1/24", "fd00:1::1/64"]);
    let _b = host.container(&["10.0.1.2/24", "fd00:1::2/64"]);
    assert!(!pings(&a, "10.0.1.2"), "Docker drops them");
    // Any command that makes sure of the bridge does.
    host.done("expose 10.0.9.1/24");
    for to in ["10.0.1.2", "fd00:1::2"] {
        assert!(pings(&a, to), "{to}");
    }
}

pub(crate) fn the_host_reaches_containers_by_its_exposed_address() {
    let host = Host::new();
    let container = host.container(&["10.0.1.1/24", "fd00:1::1/64"]);
    host.done("expose 10.0.1.102/24 fd00:1::66/64");
    for (server, own) in [
        ("10.0.1.1:4422", "10.0.1.102"),
        ("[fd00:1::1]:4422", "fd00:1::66"),
    ] {
        let (said, from) = ask((&container, server), &host.namespace, server).unwrap();
        assert_eq!((said.as_str(), from.to_string().as_str()), ("hello", own));
    }
}

pub(crate) fn a_service_is_exported_by_the_readmes_rule() {
    let host = Host::new();
    let container = host.container(&["10.0.1.1/24"]);
    host.done("expose 10.0.1.102/24");
    host.run(
        "iptables -t nat -A PREROUTING -p tcp -i eth0 --dport 2211 -j DNAT --to-destination 10.0.1.1:4422",
    );
    let (said, from) = ask(
        (&container, "10.0.1.1:4422"),
        &host.outside,
        &format!("{HOST}:2211"),
    )
    .unwrap();
    assert_eq!(said, "hello");
    // The container's way to the client would be another one.
    assert_eq!(from.to_string(), "10.0.1.102");
    host.done("hide 10.0.1.102/24");
    assert!(
        ask(
            (&container, "10.0.1.1:4422"),
            &host.outside,
            &format!("{HOST}:2211")
        )
        .is_none()
    );
}

pub(crate) fn a_service_is_imported_by_the_readmes_rule_and_bound_anew() {
    let host = Host::new();
    let container = host.container(&["10.0.1.2/24"]);
    host.done("expose 10.0.1.101/24");
    let rule = |verb: &str, to: &str| {
        host.run(&format!(
            "iptables -t nat {verb} PREROUTING -p tcp -d 10.0.1.101 --dport 3322 -j DNAT --to-destination {to}"
        ));
    };
    rule("-A", &format!("{OUTSIDE}:2211"));
    let outside = format!("{OUTSIDE}:2211");
    let (said, from) = ask((&host.outside, &outside), &container, "10.0.1.101:3322").unwrap();
    assert_eq!(said, "hello");
    // The service knows no way into the network.
    assert_eq!(from.to_string(), HOST);
    // Bound to another one; and to one that is a container itself.
    rule("-D", &format!("{OUTSIDE}:2211"));
    rule("-A", &format!("{OUTSIDE}:2212"));
    let outside = format!("{OUTSIDE}:2212");
    assert!(ask((&host.outside, &outside), &container, "10.0.1.101:3322").is_some());
    rule("-D", &format!("{OUTSIDE}:2212"));
    rule("-A", "10.0.1.7:80");
    let other = host.container(&["10.0.1.7/24"]);
    for filtered in ["1", "0"] {
        host.netlink
            .set_setting("bridge/bridge-nf-call-iptables", filtered)
            .unwrap();
        assert!(
            ask((&other, "10.0.1.7:80"), &container, "10.0.1.101:3322").is_some(),
            "bridge-nf-call-iptables = {filtered}"
        );
    }
}

pub(crate) fn nothing_else_is_routed_into_the_network() {
    let host = Host::new();
    let container = host.container(&["10.0.1.1/24"]);
    host.done("expose 10.0.1.102/24");
    // A container of another application, which reaches this host as Docker's do, and Docker's rule for it.
    let other = ScopedNetNs::create(&format!("wvx-{}-d", std::process::id())).unwrap();
    host.netlink.ensure_bridge("docker0", None).unwrap();
    host.netlink
        .add_address("docker0", cidr("172.17.0.1/16"))
        .unwrap();
    host.netlink
        .create_veth("vethd", "eth0", Some(&other))
        .unwrap();
    host.netlink.attach("docker0", "vethd").unwrap();
    host.netlink.set_up("vethd").unwrap();
    let inside = Netlink::open_in(&other).unwrap();
    inside.add_address("eth0", cidr("172.17.0.2/16")).unwrap();
    inside.set_up("eth0").unwrap();
    inside
        .add_route(&Route::default_via("172.17.0.1".parse().unwrap()))
        .unwrap();
    for rule in [
        "iptables -A FORWARD -i docker0 ! -o docker0 -j ACCEPT",
        "iptables -A FORWARD -o docker0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
    ] {
        host.run(rule);
    }
    let listening = (&*container, "10.0.1.1:80");
    assert!(ask(listening, &other, "10.0.1.1:80").is_none());
    run_in(&host.outside, "ip route add 10.0.1.0/24 via 192.168.7.1");
    assert!(ask(listening, &host.outside, "10.0.1.1:80").is_none());
    // Unless the administrator says so, in the way that the help tells.
    host.run("iptables -I FORWARD -s 192.168.7.0/24 -o weave -j ACCEPT");
    assert!(ask(listening, &host.outside, "10.0.1.1:80").is_some());
    host.done("expose 10.0.1.102/24");
    assert!(ask(listening, &host.outside, "10.0.1.1:80").is_some());
    assert!(ask(listening, &other, "10.0.1.1:80").is_none());
}
