//! Networks that containers join and leave while they run.

use super::lab::network::LINK_TIME_MAX;
use super::lab::{Host, Lab};

pub(super) fn a_running_container_joins_and_leaves() {
    let mut lab = Lab::new();
    let pair = lab.pair();
    let a = &pair.a;
    let c = a.docker(&["run", "-d", "-t", "-i", "bb"]).id();
    let before = interfaces(a, &c);
    let host = a.snapshot();
    a.weave(&["attach", "10.0.1.3/24", &c]).ok();
    a.container(&c).must_reach("10.0.1.2", LINK_TIME_MAX);
    let line = a.weave(&["ps"]).ok();
    assert!(
        line.stdout
            .lines()
            .any(|line| line.contains(&c[..12]) && line.contains("10.0.1.3/24")),
        "{line}"
    );
    // Twice is once.
    let attached = interfaces(a, &c);
    assert!(
        attached.contains("ethwe") && attached.contains("10.0.1.3/24"),
        "{attached}"
    );
    a.weave(&["attach", "10.0.1.3/24", &c]).ok();
    assert_eq!(interfaces(a, &c), attached);
    a.weave(&["detach", "10.0.1.3/24", &c]).ok();
    assert_eq!(interfaces(a, &c), before);
    host.must_equal(&a.snapshot());
}

pub(super) fn a_container_changes_networks_and_has_two() {
    let mut lab = Lab::new();
    let pair = lab.pair();
    let (a, b) = (&pair.a, &pair.b);
    b.weave(&["attach", "10.0.2.2/24", "other"]).ok();
    // From one to another.
    a.weave(&["detach", "10.0.1.1/24", "one"]).ok();
    a.weave(&["attach", "10.0.2.1/24", "one"]).ok();
    let one = a.container("one");
    one.must_reach("10.0.2.2", LINK_TIME_MAX);
    let ping = a.exec("one", &["ping", "-c", "1", "-q", "-W", "1", "10.0.1.2"]);
    assert!(!ping.is_ok(), "{ping}");
    // Both, over one interface, and of both families.
    a.weave(&["attach", "10.0.1.1/24", "one"]).ok();
    a.weave(&["attach", "fd00:1::1/64", "one"]).ok();
    b.weave(&["attach", "fd00:1::2/64", "other"]).ok();
    for address in ["10.0.1.2", "10.0.2.2", "fd00:1::2"] {
        one.must_reach(address, LINK_TIME_MAX);
    }
    assert_eq!(interfaces(a, "one").matches("ethwe@").count(), 1);
    // One of several goes, the others stay.
    a.weave(&["detach", "10.0.2.1/24", "one"]).ok();
    one.must_reach("10.0.1.2", LINK_TIME_MAX);
    let left = interfaces(a, "one");
    assert!(
        !left.contains("10.0.2.1") && left.contains("10.0.1.1/24"),
        "{left}"
    );
}

/// The interfaces and addresses of a container, as it sees them.
fn interfaces(host: &Host, container: &str) -> String {
    host.exec(container, &["ip", "address", "show"]).id()
}
