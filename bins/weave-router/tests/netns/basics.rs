//! Containers on several hosts on one network.

use std::time::Duration;

use super::lab::Lab;

pub(super) fn two_hosts_containers_ping_both_ways() {
    let mut lab = Lab::new();
    let (mut a, mut b) = (lab.host("a"), lab.host("b"));
    a.start(&[]);
    b.start(&[a.address()]);
    b.await_links(LINK_TIME_MAX, &[&a]);

    // The bridge is of the routers' own making, with a TAP on it.
    for host in [&a, &b] {
        let ports = host.netlink().bridge_ports("weave").unwrap();
        assert_eq!(ports.len(), 1, "{ports:?}");
        assert_eq!(
            host.netlink().link(&ports[0]).unwrap().kind.as_deref(),
            Some("tun")
        );
    }

    let (one, other) = (
        a.container(&["10.32.1.1/24"]),
        b.container(&["10.32.1.2/24"]),
    );
    one.must_reach(&other, Duration::from_secs(1));
    other.must_reach(&one, Duration::from_secs(1));

    // Each router knows behind which of them each container lives.
    for host in [&a, &b] {
        host.await_status(Duration::from_secs(1), "both containers learnt", |status| {
            [(&one, "a"), (&other, "b")]
                .iter()
                .all(|(container, home)| {
                    let mac = container.mac().map(|byte| format!("{byte:02x}")).join(":");
                    status.macs.iter().any(|entry| {
                        entry.mac == mac
                            && entry.peer == *home
                            && entry.local == (*home == host.name())
                    })
                })
        });
    }
}

pub(super) fn applications_are_kept_apart_by_subnet() {
    let mut lab = Lab::new();
    let (mut a, mut b) = (lab.host("a"), lab.host("b"));
    a.start(&[]);
    b.start(&[a.address()]);
    let (one_a, one_b) = (
        a.container(&["10.32.1.1/24"]),
        b.container(&["10.32.1.2/24"]),
    );
    let (two_a, two_b) = (
        a.container(&["10.32.2.1/24"]),
        b.container(&["10.32.2.2/24"]),
    );
    let both = b.container(&["10.32.1.3/24", "10.32.2.3/24"]);

    one_a.must_reach(&one_b, LINK_TIME_MAX);
    two_a.must_reach(&two_b, LINK_TIME_MAX);
    one_a.must_reach(&both, Duration::from_secs(1));
    assert!(
        two_a
            .reaches("10.32.2.3".parse().unwrap(), Duration::from_secs(1))
            .is_some()
    );

    for (from, to) in [
        (&one_a, &two_b),
        (&one_a, &two_a),
        (&two_b, &one_a),
        (&two_b, &one_b),
    ] {
        let answer = from.reaches(to.address(), Duration::from_millis(500));
        assert_eq!(answer, None, "{} reaches {}", from.address(), to.address());
    }
}

/// Until a router that was just started forwards frames, where that is not what is being tested.
pub(super) const LINK_TIME_MAX: Duration = Duration::from_secs(5);
