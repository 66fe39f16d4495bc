//! Beside Docker's own networking: none of it is disturbed, and whoever reloads the firewall disturbs us for seconds.

use std::thread;
use std::time::{Duration, Instant};

use super::lab::network::LINK_TIME_MAX;
use super::lab::ping::Pinger;
use super::lab::talk::{Service, ask_tcp};
use super::lab::{Host, Lab, figure, within};

pub(super) fn docker_networking_goes_on_beside_ours() {
    let mut lab = Lab::new();
    let pair = lab.pair();
    let (a, b) = (&pair.a, &pair.b);
    let outside = lab.outside("outside");
    let _outside = Service::start(outside.netns(), 2211, "outside");
    a.weave(&["expose", "10.0.1.101/24"]).ok();
    let published = ["-p", "8081:80", "--name", "ran", "bb", "idle"];
    a.weave(&[&["run", "10.0.1.3/24"], &published[..]].concat())
        .ok();
    let published = ["-p", "8082:80", "--name", "attached", "bb", "idle"];
    a.docker(&[&["run", "-d"], &published[..]].concat()).ok();
    let own = own_network(a, "attached");
    a.weave(&["attach", "10.0.1.4/24", "attached"]).ok();
    assert_eq!(own_network(a, "attached"), own);

    let nc = format!("echo 'Hello, world.' | nc -w 5 {} 2211", outside.address());
    for (container, port) in [("ran", 8081), ("attached", 8082)] {
        let network = a.container(container);
        let _service = Service::start(network.namespace(), 80, container);
        network.must_reach("10.0.1.2", LINK_TIME_MAX);
        let routes = a.exec(container, &["ip", "route", "show", "default"]).id();
        assert!(routes.contains("dev eth0"), "{routes}");
        // From outside by the published port; from a container of another host, whose network is not asked.
        let at = format!("{}:{port}", a.address());
        for user in [outside.netns(), b.netns(), b.container("other").namespace()] {
            let answer = ask_tcp(user, &at, "Hello").unwrap();
            assert!(
                answer.starts_with(&format!("{container} heard Hello from")),
                "{answer}"
            );
        }
        // And out, with the host's address.
        let answer = a.exec(container, &["sh", "-c", &nc]).id();
        let wanted = format!("outside heard Hello, world. from {}", a.address());
        assert_eq!(answer, wanted);
    }
    // Docker's own network is another way between them, as it was.
    let address = a.exec("ran", &["sh", "-c", "hostname -i"]).id();
    a.container("attached")
        .must_reach(address.split(' ').next().unwrap(), LINK_TIME_MAX);
    a.weave(&["detach", "10.0.1.4/24", "attached"]).ok();
    assert_eq!(own_network(a, "attached"), own);
}

pub(super) fn networks_that_docker_was_told_to_make_go_on_too() {
    let mut lab = Lab::new();
    let pair = lab.pair();
    let a = &pair.a;
    a.docker(&["network", "create", "app"]).ok();
    for (network, name, address) in [
        ("app", "first", "10.0.1.3/24"),
        ("app", "second", "10.0.1.4/24"),
        ("none", "alone", "10.0.1.5/24"),
    ] {
        let options = ["--network", network, "--name", name, "bb", "idle"];
        a.weave(&[&["run", address], &options[..]].concat()).ok();
        a.container(name).must_reach("10.0.1.2", LINK_TIME_MAX);
    }
    // By the name that Docker's resolver knows.
    a.exec("first", &["ping", "-c", "1", "-q", "second"]).ok();
    // It has no other network.
    let alone = a.exec("alone", &["ip", "-o", "link", "show"]).id();
    assert_eq!(alone.lines().count(), 2, "{alone}");
    // Another network's container joins the network of one of ours, and has its address.
    let joined = ["--network", "container:alone", "--name", "joined"];
    a.docker(&[&["run", "-d"], &joined[..], &["bb", "idle"]].concat())
        .ok();
    a.exec("joined", &["ping", "-c", "1", "-q", "10.0.1.2"])
        .ok();
}

pub(super) fn a_restart_of_dockerd_does_not_close_the_bridge() {
    let mut lab = Lab::new();
    let [a] = lab.docker_hosts(["a"]);
    a.weave(&["launch", "10.0.0.1/16"]).ok();
    a.weave(&["expose", "10.0.1.101/24"]).ok();
    // Containers end with dockerd; what else is on the network goes on.
    for (name, address) in [("first", "10.0.1.1/24"), ("second", "10.0.1.2/24")] {
        a.run(&["ip", "netns", "add", name]).ok();
        a.weave(&["attach", address, &format!("netns:{name}")]).ok();
    }
    let rules = rules(&a);
    let first = a.named("first");
    let pinger = Pinger::start(&first, "10.0.1.2".parse().unwrap(), b"");
    assert!(
        pinger
            .answered_after(Instant::now(), LINK_TIME_MAX)
            .is_some()
    );
    let restarted = Instant::now();
    a.restart_engine();
    let up = Instant::now();
    within(REPAIR_TIME_MAX, "the rules stand", || {
        (self::rules(&a) == rules).then_some(())
    });
    figure(&format!(
        "dockerd restarted: rules stand {:?} later, the longest time without an answer {:?}",
        up.elapsed(),
        pinger.gap_since(restarted)
    ));
    assert!(
        pinger
            .answered_after(Instant::now(), Duration::from_secs(1))
            .is_some()
    );
    thread::sleep(Duration::from_secs(1));
    let policy = a.sh("iptables -S FORWARD | head -n 1").id();
    assert_eq!(policy, "-P FORWARD DROP");
    a.pings().must_reach("10.0.1.1", LINK_TIME_MAX);
}

/// What Docker gave a container, as it sees it.
fn own_network(host: &Host, container: &str) -> String {
    let line = "ip address show eth0; ip route show dev eth0; cat /etc/resolv.conf /etc/hosts";
    host.exec(container, &["sh", "-c", line]).id()
}

/// All that is ours of the firewall, and where it is jumped to: in either family's tables.
fn rules(host: &Host) -> String {
    let both = "for save in iptables-save ip6tables-save; do $save | grep -e '^\\*' -e WEAVE; done";
    let said = host.sh(both).ok();
    let without_counters = said
        .stdout
        .lines()
        .map(|line| line.split(" [").next().unwrap());
    without_counters
        .filter(|line| line.contains("WEAVE"))
        .collect::<Vec<_>>()
        .join("\n")
}

const REPAIR_TIME_MAX: Duration = Duration::from_secs(10);
