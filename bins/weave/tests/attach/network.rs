//! What a container has when it is attached, and what it can do.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};

use super::lab::{Container, Host, wait_for};

pub(super) fn two_containers_talk_before_there_is_a_router() {
    let host = Host::new();
    let [a, b] = [Container::new(), Container::new()];
    host.done(&["attach", "10.2.1.1/24", "fd00:2::1/64", &a.place()]);
    host.done(&["attach", "10.2.1.2/24", "fd00:2::2/64", &b.place()]);
    assert_eq!(a.addresses(), ["10.2.1.1/24", "fd00:2::1/64"]);
    assert!(a.reaches("10.2.1.1", &b, "10.2.1.2"));
    assert!(b.reaches("fd00:2::2", &a, "fd00:2::1"));

    let device = a.device();
    assert!(device.up && device.carrier);
    assert_eq!(device.alias.as_deref(), Some("weave"));
    // Locally administered, and no group.
    let mac = device.mac.unwrap();
    assert_eq!(mac[0] & 0b11, 0b10);
    // A host without a network of its own is taken for one on an Ethernet of 1,500 bytes.
    assert_eq!(device.mtu_bytes, 1390);
    assert_eq!(host.netlink.link("weave").unwrap().mtu_bytes, 1390);
    for group in ["239.1.2.3", "ff05::1"] {
        let route = a.ip(&["route", "get", group]);
        assert!(route.contains("dev ethwe"), "{route}");
    }
    // No router advertisement is believed, in the container and on the host.
    let accept = |netlink: &weave_io::host::Netlink, device: &str| {
        let key = format!("ipv6/conf/{device}/accept_ra");
        netlink.setting(&key).unwrap()
    };
    assert_eq!(accept(&a.netlink, "ethwe"), "0");
    let ports = host.netlink.bridge_ports("weave").unwrap();
    assert_eq!(ports.len(), 2);
    for device in ports.iter().map(String::as_str).chain(["weave"]) {
        assert_eq!(accept(&host.netlink, device), "0", "{device}");
        let addresses = host.netlink.addresses_of(device).unwrap();
        assert_eq!(addresses, [], "{device}");
    }
}

pub(super) fn twice_is_the_same_as_once() {
    let host = Host::new();
    let container = Container::new();
    let args = ["attach", "10.2.1.1/24", "fd00:2::1/64", &container.place()];
    host.done(&args);
    let before = host.snapshot(&[&container]);
    host.done(&args);
    host.is_as_before(&[&container], &before, "nothing changes");
    // Under another name of the same namespace, too.
    let path = format!("netns:/var/run/netns/{}", container.name);
    host.done(&["attach", "10.2.1.1/24", &path]);
    host.is_as_before(&[&container], &before, "nothing changes");
    let mut process = std::process::Command::new("sleep");
    let mut process = container.namespace.spawn(process.arg("60")).unwrap();
    let output = host.weave(&["attach", "10.2.1.1/24", &format!("pid:{}", process.id())]);
    process.kill().unwrap();
    process.wait().unwrap();
    assert!(output.status.success(), "{output:?}");
    host.is_as_before(&[&container], &before, "nothing changes");
}

pub(super) fn addresses_come_and_go_and_the_interface_with_the_last() {
    let host = Host::new();
    let [a, b] = [Container::new(), Container::new()];
    host.done(&["attach", "10.2.1.2/24", "10.2.3.2/24", &b.place()]);
    host.done(&["attach", "10.2.1.1/24", &a.place()]);
    let mac = a.device().mac;
    host.done(&["attach", "10.2.1.3/24", "10.2.3.1/24", &a.place()]);
    assert_eq!(a.addresses(), ["10.2.1.1/24", "10.2.1.3/24", "10.2.3.1/24"]);
    assert_eq!(a.device().mac, mac, "it is the same interface");
    assert!(a.reaches("10.2.3.1", &b, "10.2.3.2"));

    // The first of a network goes, the other one stays.
    host.done(&["detach", "10.2.1.1/24", &a.place()]);
    assert_eq!(a.addresses(), ["10.2.1.3/24", "10.2.3.1/24"]);
    assert!(a.reaches("10.2.1.3", &b, "10.2.1.2"));
    let before = host.snapshot(&[&a, &b]);
    assert_eq!(
        host.refused(1, &["detach", "10.2.1.1/24", &a.place()]),
        format!(
            "weave: cannot detach {}: it does not have 10.2.1.1/24 on the network; weave ps lists what is attached",
            a.place()
        )
    );
    assert_eq!(
        host.refused(1, &["detach", "10.2.3.1/24", "10.2.1.3/16", &a.place()]),
        format!(
            "weave: cannot detach {}: it has 10.2.1.3/24, not 10.2.1.3/16; give the address as it was attached",
            a.place()
        )
    );
    host.is_as_before(&[&a, &b], &before, "nothing changes");

    host.done(&["detach", "10.2.1.3/24", "10.2.3.1/24", &a.place()]);
    assert_eq!(a.netlink.find_link("ethwe").unwrap(), None);
    assert_eq!(host.netlink.bridge_ports("weave").unwrap().len(), 1);
    assert!(!host.ledger().contains(&a.name));
    assert!(host.ledger().contains(&b.name));
}

pub(super) fn a_container_without_ipv6_gets_it_with_an_ipv6_address() {
    let host = Host::new();
    let [a, b] = [Container::new(), Container::new()];
    for container in [&a, &b] {
        // As docker has it.
        for device in ["all", "default"] {
            let key = format!("ipv6/conf/{device}/disable_ipv6");
            container.netlink.set_setting(&key, "1").unwrap();
        }
        host.done(&["attach", "10.2.1.1/24", &container.place()]);
        assert_eq!(container.netlink.addresses_of("ethwe").unwrap().len(), 1);
        host.done(&["detach", "10.2.1.1/24", &container.place()]);
    }
    // To the interface that it has, and with the interface.
    host.done(&["attach", "10.2.1.1/24", &a.place()]);
    host.done(&["attach", "fd00:2::1/64", &a.place()]);
    host.done(&["attach", "fd00:2::2/64", &b.place()]);
    assert!(a.reaches("fd00:2::1", &b, "fd00:2::2"));
    let elsewhere = a.netlink.setting("ipv6/conf/default/disable_ipv6");
    assert_eq!(elsewhere.unwrap(), "1");
}

pub(super) fn a_stream_arrives_whole_with_all_offloads_on() {
    let host = Host::new();
    let [a, b] = [Container::new(), Container::new()];
    host.done(&["attach", "10.2.1.1/24", &a.place()]);
    host.done(&["attach", "10.2.1.2/24", &b.place()]);
    for container in [&a, &b] {
        let features = container.ip(&["-d", "link", "show", "ethwe"]);
        assert!(!features.contains("gso_max_segs 1 "), "{features}");
    }
    let listener = b
        .namespace
        .run(|| TcpListener::bind("10.2.1.2:7000"))
        .unwrap()
        .unwrap();
    // 4 MiB, in super-frames of up to 64 KiB, none of which has its checksum before it leaves the machine.
    let sent: Vec<u8> = (0..4u32 << 20).map(|n| (n % 251) as u8).collect();
    let received = std::thread::scope(|scope| {
        let receiver = scope.spawn(|| {
            let mut bytes = Vec::new();
            listener
                .accept()
                .unwrap()
                .0
                .read_to_end(&mut bytes)
                .unwrap();
            bytes
        });
        let mut stream = a
            .namespace
            .run(|| TcpStream::connect("10.2.1.2:7000"))
            .unwrap()
            .unwrap();
        stream.write_all(&sent).unwrap();
        drop(stream);
        receiver.join().unwrap()
    });
    assert!(received == sent, "{} bytes", received.len());
}

pub(super) fn what_was_unplugged_is_plugged_in_again() {
    let host = Host::new();
    let [a, b] = [Container::new(), Container::new()];
    host.done(&["attach", "10.2.1.1/24", &a.place()]);
    host.done(&["attach", "10.2.1.2/24", &b.place()]);
    // The bridge went, and somebody switched an interface off.
    host.netlink.delete_link("weave").unwrap();
    b.netlink.set_down("ethwe").unwrap();
    assert!(!a.reaches("10.2.1.1", &b, "10.2.1.2"));
    host.done(&["attach", "10.2.1.1/24", &a.place()]);
    host.done(&["attach", "10.2.1.2/24", &b.place()]);
    assert_eq!(host.netlink.bridge_ports("weave").unwrap().len(), 2);
    wait_for("the way to the other", || {
        a.reaches("10.2.1.1", &b, "10.2.1.2")
    });
}

pub(super) fn a_container_that_comes_again_keeps_its_ethernet_address() {
    let host = Host::new();
    let container = Container::new();
    host.done(&["attach", "10.2.1.1/24", &container.place()]);
    let mac = container.device().mac;
    let name = container.name.clone();
    drop(container);
    wait_for("the end of the namespace's devices", || {
        host.netlink.bridge_ports("weave").unwrap().is_empty()
    });
    let container = Container::named(&name);
    host.done(&["attach", "10.2.1.1/24", &container.place()]);
    assert_eq!(container.device().mac, mac);
}

pub(super) fn what_is_gone_is_forgotten() {
    let host = Host::new();
    let [a, b, c] = [Container::new(), Container::new(), Container::new()];
    host.done(&["attach", "10.2.1.1/24", "10.2.2.1/24", &a.place()]);
    host.done(&["attach", "10.2.1.2/24", &b.place()]);
    let [gone, other] = [a.place(), b.place()];
    drop((a, b));
    wait_for("the end of the namespaces' devices", || {
        host.netlink.bridge_ports("weave").unwrap().is_empty()
    });
    assert_eq!(
        host.refused(1, &["detach", "10.2.1.9/24", &gone]),
        format!(
            "weave: cannot detach {gone}: it does not have 10.2.1.9/24 on the network; weave ps lists what is attached"
        )
    );
    let (said, told) = host.told(&["detach", "10.2.1.1/24", &gone]);
    assert_eq!(said, "");
    assert_eq!(
        told,
        format!("weave: {gone} is gone: 10.2.1.1/24 is forgotten\n")
    );
    assert!(host.ledger().contains("10.2.2.1/24"));
    host.told(&["detach", "10.2.2.1/24", &gone]);
    assert!(!host.ledger().contains(&gone["netns:".len()..]));

    // An address of one who is gone can be had without a word.
    host.done(&["attach", "10.2.1.2/24", &c.place()]);
    assert!(!host.ledger().contains(&other["netns:".len()..]));
}
