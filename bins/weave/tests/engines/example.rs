//! The README's example and its first features, as they are worded there.

use std::time::{Duration, Instant};

use super::lab::network::LINK_TIME_MAX;
use super::lab::talk::{Service, ask_udp};
use super::lab::{Lab, figure};

pub(super) fn two_containers_on_two_hosts_ping_each_other() {
    let mut lab = Lab::new();
    let [host1, host2] = lab.docker_hosts(["host1", "host2"]);
    host2.knows(&host1);
    host1.weave(&["launch", "10.0.0.1/16"]).ok();
    let c1 = host1.weave(&["run", "10.0.1.1/24", "-t", "-i", "bb"]).id();
    host2.weave(&["launch", "10.0.0.2/16", "host1"]).ok();
    let c2 = host2.weave(&["run", "10.0.1.2/24", "-t", "-i", "bb"]).id();
    let id = |text: &str| text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    assert!(
        id(&c1) && id(&c2),
        "the whole ids and nothing else: {c1} {c2}"
    );
    host1.container(&c1).must_reach("10.0.1.2", LINK_TIME_MAX);
    let answered = "1 packets transmitted, 1 packets received, 0% packet loss";
    for (host, container, address) in [(&host1, &c1, "10.0.1.2"), (&host2, &c2, "10.0.1.1")] {
        let ping = host
            .exec(container, &["ping", "-c", "1", "-q", address])
            .ok();
        assert!(ping.stdout.contains(answered), "{ping}");
    }
    // The routers' own addresses.
    for address in ["10.0.0.1", "10.0.0.2"] {
        host1
            .docker(&["run", "-d", "--name", address, "bb", "idle"])
            .ok();
        let unused = format!("10.0.9.{}/16", &address[7..]);
        host1.weave(&["attach", &unused, address]).ok();
        host1.container(address).must_reach(address, LINK_TIME_MAX);
    }
}

pub(super) fn netcat_is_answered_over_tcp_and_udp() {
    let mut lab = Lab::new();
    let pair = lab.pair();
    let (a, b) = (&pair.a, &pair.b);
    // This netcat has neither -k nor -u.
    a.docker(&["exec", "-d", "one", "nc", "-ll", "-p", "4422", "-e", "cat"])
        .ok();
    let line = "echo 'Hello, world.' | nc -w 5 10.0.1.1 4422";
    assert_eq!(b.exec("other", &["sh", "-c", line]).id(), "Hello, world.");
    let _service = Service::start(a.container("one").namespace(), 5533, "one");
    let answer = ask_udp(
        b.container("other").namespace(),
        "10.0.1.1:5533",
        "Hello, world.",
    );
    assert_eq!(answer.unwrap(), "one heard Hello, world. from 10.0.1.2");
}

pub(super) fn applications_are_isolated_by_subnet() {
    let mut lab = Lab::new();
    let pair = lab.pair();
    let (a, b) = (&pair.a, &pair.b);
    let d = a.weave(&["run", "10.0.2.1/24", "-t", "-i", "bb"]).id();
    b.weave(&["run", "10.0.2.2/24", "-t", "-i", "bb"]).ok();
    a.exec(&d, &["ping", "-c", "1", "-q", "10.0.2.2"]).ok();
    for address in ["10.0.1.1", "10.0.1.2"] {
        let ping = a.exec(&d, &["ping", "-c", "1", "-q", "-W", "1", address]);
        assert!(ping.stdout.contains("100% packet loss"), "{ping}");
    }
}

pub(super) fn the_first_ping_is_answered_soon_with_the_image_and_without() {
    let mut lab = Lab::new();
    let [a, b] = lab.docker_hosts(["a", "b"]);
    let start = || {
        let started = Instant::now();
        a.weave(&["launch", "10.0.0.1/16"]).ok();
        a.weave(&["run", "10.0.1.1/24", "--name", "one", "bb", "idle"])
            .ok();
        b.weave(&["launch", "10.0.0.2/16", &a.address()]).ok();
        b.weave(&["run", "10.0.1.2/24", "--name", "other", "bb", "idle"])
            .ok();
        b.container("other").must_reach("10.0.1.1", MAKING_TIME_MAX);
        started.elapsed()
    };
    let making = start();
    for (host, container) in [(&a, "one"), (&b, "other")] {
        host.weave(&["stop"]).ok();
        host.docker(&["rm", "--force", container]).ok();
    }
    let present = start();
    figure(&format!(
        "two launches, two containers, first ping: {making:?} making the images, {present:?} with them present"
    ));
    assert!(making < MAKING_TIME_MAX);
    assert!(present < PRESENT_TIME_MAX);
}

const MAKING_TIME_MAX: Duration = Duration::from_secs(15);
const PRESENT_TIME_MAX: Duration = Duration::from_secs(5);
