//! The same verbs with podman, and one network of both engines' containers.

use std::time::Duration;

use super::lab::network::LINK_TIME_MAX;
use super::lab::talk::{Service, ask_tcp};
use super::lab::{Engine, Lab};

pub(super) fn containers_of_podman_and_docker_share_a_network() {
    let mut lab = Lab::new();
    let [b] = lab.docker_hosts(["b"]);
    let a = lab.host("a", Engine::Podman);
    a.docker(&["run", "-d", "--name", "there", "bb", "idle"])
        .ok();
    let before = a.snapshot();
    a.weave(&["launch", "10.0.0.1/16"]).ok();
    b.weave(&["launch", "10.0.0.2/16", &a.address()]).ok();
    b.weave(&["run", "10.0.1.2/24", "--name", "other", "bb", "idle"])
        .ok();
    // Waits for the network, as with docker, and passes on what podman is told.
    let id = a
        .weave(&[
            "run",
            "10.0.1.1/24",
            "--name",
            "one",
            "-e",
            "WORD=hello",
            "--hostname",
            "uno",
            "bb",
            "sh",
            "-c",
            "ip -o address show ethwe > /seen; echo $WORD $(hostname) >> /seen; exec idle",
        ])
        .id();
    assert_eq!(id.len(), 64, "{id}");
    let (one, other) = (a.container("one"), b.container("other"));
    one.must_reach("10.0.1.2", LINK_TIME_MAX);
    other.must_reach("10.0.1.1", LINK_TIME_MAX);
    let seen = a.exec("one", &["cat", "/seen"]).id();
    assert!(
        seen.contains("10.0.1.1/24") && seen.ends_with("hello uno"),
        "{seen}"
    );
    // Its own network goes on.
    one.must_reach(&b.address(), LINK_TIME_MAX);
    let _service = Service::start(other.namespace(), 4422, "other");
    let answer = ask_tcp(one.namespace(), "10.0.1.2:4422", "Hello").unwrap();
    assert_eq!(answer, "other heard Hello from 10.0.1.1");

    a.weave(&["attach", "10.0.1.3/24", "there"]).ok();
    a.weave(&["attach", "fd00:1::3/64", "there"]).ok();
    other.must_reach("10.0.1.3", LINK_TIME_MAX);
    let listed = a.weave(&["ps"]).ok().stdout;
    let line = listed.lines().find(|line| line.contains("10.0.1.3/24"));
    assert!(
        line.is_some_and(|line| line.contains("fd00:1::3/64")),
        "{listed}"
    );
    assert!(listed.contains(&id[..12]), "{listed}");
    a.weave(&["detach", "10.0.1.3/24", "there"]).ok();
    a.weave(&["detach", "fd00:1::3/64", "there"]).ok();
    assert!(!a.exec("there", &["ip", "link", "show", "ethwe"]).is_ok());

    // The host, and services by it.
    a.weave(&["expose", "10.0.1.101/24"]).ok();
    a.pings().must_reach("10.0.1.2", LINK_TIME_MAX);
    a.sh("iptables -t nat -A PREROUTING -p tcp -i eth0 --dport 2211 \
           -j DNAT --to-destination 10.0.1.2:4422")
        .ok();
    let answer = ask_tcp(b.netns(), &format!("{}:2211", a.address()), "Hello").unwrap();
    assert_eq!(answer, "other heard Hello from 10.0.1.101");
    a.sh("iptables -t nat -D PREROUTING -p tcp -i eth0 --dport 2211 \
           -j DNAT --to-destination 10.0.1.2:4422")
        .ok();

    // What is restarted is attached again.
    a.docker(&["restart", "one"]).ok();
    a.container("one")
        .must_reach("10.0.1.2", Duration::from_secs(10));
    a.docker(&["stop", "one"]).ok();
    a.weave(&["start", "10.0.1.1/24", "one"]).ok();
    other.must_reach("10.0.1.1", LINK_TIME_MAX);

    a.weave(&["stop"]).ok();
    assert_eq!(a.weave(&["status"]).code, Some(4));
    a.weave(&["launch", "10.0.0.1/16", &b.address()]).ok();
    other.must_reach("10.0.1.1", LINK_TIME_MAX);
    a.docker(&["rm", "--force", "one"]).ok();
    a.weave(&["reset"]).ok();
    before.must_equal(&a.snapshot());
}

pub(super) fn podman_is_used_where_there_is_no_docker_or_the_flag_names_it() {
    let mut lab = Lab::new();
    let a = lab.host("a", Engine::Podman);
    a.docker(&["run", "-d", "--name", "web", "bb", "idle"]).ok();
    // The flag, where the variable does not say it already; and no docker on the path.
    for (weave, address) in [
        ("env -u WEAVE_ENGINE weave --engine podman", "10.0.1.1/24"),
        (
            "mkdir /run/alone; ln -s $(which podman iptables iptables-save iptables-restore ip6tables ip6tables-save \
          ip6tables-restore weave) /run/alone; env -u WEAVE_ENGINE PATH=/run/alone weave",
            "10.0.1.2/24",
        ),
    ] {
        a.sh(&format!("{weave} attach {address} web")).ok();
    }
    let addresses = a.exec("web", &["ip", "address", "show", "ethwe"]).id();
    assert!(
        addresses.contains("10.0.1.1/24") && addresses.contains("10.0.1.2/24"),
        "{addresses}"
    );
}
