//! The host on the network, and services that are given to others by it: the README's sections from host network
//! integration to service routing, with its own rules, and Docker's firewall as Docker leaves it.

use std::time::Duration;

use super::lab::echo::{Call, Echo};
use super::lab::network::LINK_TIME_MAX;
use super::lab::talk::{Service, ask_tcp, ask_udp};
use super::lab::{Host, Lab, Outside, figure, within};

pub(super) fn an_exposed_host_reaches_all_containers_and_hide_takes_it_back() {
    let mut lab = Lab::new();
    let pair = lab.pair();
    let (a, b) = (&pair.a, &pair.b);
    // The router writes down whom it met, some seconds later.
    within(LINK_TIME_MAX, "a file of peers", || {
        b.sh("ls /var/lib/weave/peers").is_ok().then_some(())
    });
    let before = b.snapshot();
    assert!(b.pings().reaches("10.0.1.1", NO_ANSWER).is_none());
    b.weave(&["expose", "10.0.1.102/24"]).ok();
    for container in ["10.0.1.2", "10.0.1.1"] {
        b.pings().must_reach(container, LINK_TIME_MAX);
        b.run(&["ping", "-c", "1", "-q", container]).ok();
    }
    for (host, container) in [(a, "one"), (b, "other")] {
        host.exec(container, &["ping", "-c", "1", "-q", "10.0.1.102"])
            .ok();
    }
    // A container knows the host by that address, and by no other.
    let heard = {
        let one = a.container("one");
        let _service = Service::start(one.namespace(), 4422, "one");
        ask_tcp(b.netns(), "10.0.1.1:4422", "Hello").unwrap()
    };
    assert_eq!(heard, "one heard Hello from 10.0.1.102");

    // Twice is once; several stand side by side, and go one by one.
    let exposed = b.snapshot();
    b.weave(&["expose", "10.0.1.102/24"]).ok();
    exposed.must_equal(&b.snapshot());
    b.weave(&["attach", "10.0.2.2/24", "other"]).ok();
    b.weave(&["attach", "fd00:1::2/64", "other"]).ok();
    let exposed = b.snapshot();
    b.weave(&["expose", "10.0.2.102/24"]).ok();
    b.weave(&["expose", "fd00:1::102/64"]).ok();
    for container in ["10.0.1.1", "10.0.2.2", "fd00:1::2"] {
        b.pings().must_reach(container, LINK_TIME_MAX);
    }
    b.weave(&["hide", "10.0.2.102/24"]).ok();
    b.weave(&["hide", "fd00:1::102/64"]).ok();
    exposed.must_equal(&b.snapshot());
    b.pings().must_reach("10.0.1.1", LINK_TIME_MAX);

    b.weave(&["detach", "10.0.2.2/24", "other"]).ok();
    b.weave(&["detach", "fd00:1::2/64", "other"]).ok();
    b.weave(&["hide", "10.0.1.102/24"]).ok();
    before.must_equal(&b.snapshot());
    assert!(b.pings().reaches("10.0.1.1", NO_ANSWER).is_none());
    a.container("one").must_reach("10.0.1.2", LINK_TIME_MAX);
}

pub(super) fn exposing_one_network_opens_no_way_into_it() {
    let mut lab = Lab::new();
    let pair = lab.pair();
    let b = &pair.b;
    let outside = lab.outside("outside");
    b.weave(&["expose", "10.0.1.102/24"]).ok();
    b.pings().must_reach("10.0.1.1", LINK_TIME_MAX);
    // Of another application, whose way to all that is not its own network is this host.
    b.weave(&["run", "10.0.2.2/24", "--name", "third", "bb", "idle"])
        .ok();
    let third = b.container("third");
    third.must_reach(&b.address(), LINK_TIME_MAX);
    // Somebody outside who takes this host for a router.
    outside
        .sh(&format!("ip route add 10.0.1.0/24 via {}", b.address()))
        .ok();
    for container in ["10.0.1.1", "10.0.1.2"] {
        for guest in [&third, &outside.pings()] {
            let answer = guest.reaches(container, NO_ANSWER);
            assert!(answer.is_none(), "{container} answered: {answer:?}");
        }
    }
}

pub(super) fn a_service_is_exported_by_a_host_that_does_not_run_it() {
    let mut lab = Lab::new();
    let pair = lab.pair();
    let (a, b) = (&pair.a, &pair.b);
    engine_filters_forwarded_and_bridged_frames(b);
    let outside = lab.outside("outside");
    let (one, other) = (a.container("one"), b.container("other"));
    let _far = Service::start(one.namespace(), 4422, "one");
    let _near = Service::start(other.namespace(), 4422, "other");
    let _echo = Echo::start(one.namespace(), 4423);
    b.weave(&["expose", "10.0.1.102/24"]).ok();
    b.sh("iptables -t nat -A PREROUTING -p tcp -i eth0 --dport 2211 \
           -j DNAT --to-destination 10.0.1.1:4422")
        .ok();
    let nc = format!(
        "echo 'Hello, world.' | busybox nc -w 5 {} 2211",
        b.address()
    );
    let answer = outside.sh(&nc).id();
    assert_eq!(answer, "one heard Hello, world. from 10.0.1.102");
    // A container of the exporting host, UDP, and much at once.
    b.sh(
        "iptables -t nat -A PREROUTING -p tcp -i eth0 --dport 2212 -j DNAT --to-destination 10.0.1.2:4422
         iptables -t nat -A PREROUTING -p udp -i eth0 --dport 2213 -j DNAT --to-destination 10.0.1.1:4422
         iptables -t nat -A PREROUTING -p tcp -i eth0 --dport 2214 -j DNAT --to-destination 10.0.1.1:4423",
    )
    .ok();
    let at = |port| format!("{}:{port}", b.address());
    let answer = ask_tcp(outside.netns(), &at(2212), "Hello").unwrap();
    assert_eq!(answer, "other heard Hello from 10.0.1.102");
    let answer = ask_udp(outside.netns(), &at(2213), "Hello").unwrap();
    assert_eq!(answer, "one heard Hello from 10.0.1.102");
    let call = Call::start(outside.netns(), &at(2214)).unwrap();
    let took = call.carry(MUCH).unwrap();
    figure(&format!("exported: 4 MB there and back in {took:?}"));
    // No longer.
    b.weave(&["hide", "10.0.1.102/24"]).ok();
    ask_tcp(outside.netns(), &at(2211), "Hello").unwrap_err();
}

pub(super) fn an_imported_service_is_reached_from_every_container() {
    let mut lab = Lab::new();
    let pair = lab.pair();
    let (a, b) = (&pair.a, &pair.b);
    engine_filters_forwarded_and_bridged_frames(a);
    let host3 = lab.outside_behind(a, "host3", "192.168.7.3/24", "192.168.7.1/24");
    let _service = Service::start(host3.netns(), 2211, "host3");
    let _echo = Echo::start(host3.netns(), 2212);
    ask_tcp(b.netns(), "192.168.7.3:2211", "Hello").unwrap_err();
    a.weave(&["expose", "10.0.1.101/24"]).ok();
    a.sh(
        "iptables -t nat -A PREROUTING -p tcp -d 10.0.1.101 --dport 3322 \
           -j DNAT --to-destination 192.168.7.3:2211",
    )
    .ok();
    let nc = "echo 'Hello, world.' | nc -w 5 10.0.1.101 3322";
    for (host, container) in [(b, "other"), (a, "one")] {
        let answer = host.exec(container, &["sh", "-c", nc]).id();
        // It knows no way to the containers, and need not.
        assert_eq!(answer, "host3 heard Hello, world. from 192.168.7.1");
    }
    // Much at once, UDP, and what is a container itself.
    a.sh(
        "iptables -t nat -A PREROUTING -p tcp -d 10.0.1.101 --dport 3323 -j DNAT --to-destination 192.168.7.3:2212
         iptables -t nat -A PREROUTING -p udp -d 10.0.1.101 --dport 3324 -j DNAT --to-destination 192.168.7.3:2211
         iptables -t nat -A PREROUTING -p tcp -d 10.0.1.101 --dport 3325 -j DNAT --to-destination 10.0.1.2:4422",
    )
    .ok();
    let (one, other) = (a.container("one"), b.container("other"));
    let call = Call::start(other.namespace(), "10.0.1.101:3323").unwrap();
    let took = call.carry(MUCH).unwrap();
    figure(&format!("imported: 4 MB there and back in {took:?}"));
    let answer = ask_udp(other.namespace(), "10.0.1.101:3324", "Hello").unwrap();
    assert_eq!(answer, "host3 heard Hello from 192.168.7.1");
    let _container = Service::start(other.namespace(), 4422, "other");
    let answer = ask_tcp(one.namespace(), "10.0.1.101:3325", "Hello").unwrap();
    assert_eq!(answer, "other heard Hello from 10.0.1.1");
}

pub(super) fn an_imported_service_is_rebound_without_a_word_to_its_users() {
    let mut lab = Lab::new();
    let pair = lab.pair();
    let (a, b) = (&pair.a, &pair.b);
    let host3 = lab.outside_behind(a, "host3", "192.168.7.3/24", "192.168.7.1/24");
    let host4 = lab.outside_behind(a, "host4", "192.168.8.4/24", "192.168.8.1/24");
    let _echo = Echo::start(host3.netns(), 2211);
    let _service = Service::start(host4.netns(), 2211, "host4");
    a.weave(&["expose", "10.0.1.101/24"]).ok();
    a.sh(
        "iptables -t nat -A PREROUTING -p tcp -d 10.0.1.101 --dport 3322 \
           -j DNAT --to-destination 192.168.7.3:2211",
    )
    .ok();
    let nc = "echo 'Hello, world.' | nc -w 5 10.0.1.101 3322";
    let ask = || b.exec("other", &["sh", "-c", nc]).id();
    assert_eq!(ask(), "Hello, world.");
    let other = b.container("other");
    let call = Call::start(other.namespace(), "10.0.1.101:3322").unwrap();
    call.carry(1000).unwrap();
    a.sh(
        "iptables -t nat -D PREROUTING -p tcp -d 10.0.1.101 --dport 3322 \
           -j DNAT --to-destination 192.168.7.3:2211
         iptables -t nat -A PREROUTING -p tcp -d 10.0.1.101 --dport 3322 \
           -j DNAT --to-destination 192.168.8.4:2211",
    )
    .ok();
    assert_eq!(ask(), "host4 heard Hello, world. from 192.168.8.1");
    // What is connected stays where it is.
    call.carry(1000).unwrap();
}

pub(super) fn services_are_routed_between_networks_of_the_same_addresses() {
    let mut lab = Lab::new();
    let [a, b] = lab.docker_hosts(["a", "b"]);
    // No container but the routers'.
    a.weave(&["launch", "10.0.0.1/16"]).ok();
    b.weave(&["launch", "10.0.0.2/16", &a.address()]).ok();
    a.weave(&["expose", "10.0.1.101/24"]).ok();
    b.weave(&["expose", "10.0.1.102/24"]).ok();
    b.pings().must_reach("10.0.1.101", LINK_TIME_MAX);
    engine_filters_forwarded_and_bridged_frames(&a);
    engine_filters_forwarded_and_bridged_frames(&b);
    // The network behind each host has the addresses of the other's.
    let behind = |host: &Host, names: [&str; 2], own: &str| -> (Outside, Outside) {
        let [service, user] = names;
        let service = lab.outside_behind(host, service, "192.168.7.3/24", "192.168.7.1/24");
        let user = lab.outside_behind(host, user, "192.168.8.3/24", "192.168.8.1/24");
        host.sh(&format!(
            "iptables -t nat -A PREROUTING -p tcp -d {own} --dport 3322 -j DNAT --to-destination 192.168.7.3:2211
             iptables -t nat -A PREROUTING -p tcp -d {own} --dport 3323 -j DNAT --to-destination 192.168.7.3:2212"
        ))
        .ok();
        (service, user)
    };
    let (service_a, user_a) = behind(&a, ["one", "user-a"], "10.0.1.101");
    let (service_b, user_b) = behind(&b, ["other", "user-b"], "10.0.1.102");
    let _services = [(&service_a, "one"), (&service_b, "other")].map(|(there, name)| {
        let service = Service::start(there.netns(), 2211, name);
        (service, Echo::start(there.netns(), 2212))
    });
    for (host, far, user) in [(&a, "10.0.1.102", "user-a"), (&b, "10.0.1.101", "user-b")] {
        host.sh(&format!(
            "for device in eth0 {user}; do
               iptables -t nat -A PREROUTING -p tcp -i $device --dport 4433 -j DNAT --to-destination {far}:3322
               iptables -t nat -A PREROUTING -p tcp -i $device --dport 4434 -j DNAT --to-destination {far}:3323
             done"
        ))
        .ok();
    }
    let outside = lab.outside("outside");
    let hello = |from: &Outside, host: &str| {
        from.sh(&format!(
            "echo 'Hello, world.' | busybox nc -w 5 {host} 4433"
        ))
        .id()
    };
    let (by_a, by_b) = (
        "one heard Hello, world. from 192.168.7.1",
        "other heard Hello, world. from 192.168.7.1",
    );
    assert_eq!(hello(&outside, &b.address()), by_a);
    assert_eq!(hello(&outside, &a.address()), by_b);
    assert_eq!(hello(&user_b, "192.168.8.1"), by_a);
    assert_eq!(hello(&user_a, "192.168.8.1"), by_b);
    // Both ends have 1,500 bytes for a packet, and the way between them has less.
    for (user, way) in [(&user_b, "from b to a"), (&user_a, "from a to b")] {
        let call = Call::start(user.netns(), "192.168.8.1:4434").unwrap();
        let took = call.carry(MUCH).unwrap();
        figure(&format!("routed {way}: 4 MB there and back in {took:?}"));
    }
}

/// As engines leave it: what is not allowed is not forwarded, and frames that cross a bridge are asked about too.
#[track_caller]
fn engine_filters_forwarded_and_bridged_frames(host: &Host) {
    let said = host
        .sh("iptables -S FORWARD | head -n 1; sysctl -n net.bridge.bridge-nf-call-iptables")
        .id();
    assert_eq!(said, "-P FORWARD DROP\n1");
}

/// For an answer that must not come: an answer takes some milliseconds, and one second more where an address is asked
/// for first and that is lost.
const NO_ANSWER: Duration = Duration::from_millis(1500);
/// More than what a connection carries before it knows of a packet that was too long.
const MUCH: usize = 4_000_000;
