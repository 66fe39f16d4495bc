//! What `expose` does, and that `hide` takes back exactly that.

use crate::lab::{Host, assert_same, pings};

pub(crate) fn hide_takes_back_exactly_what_expose_did() {
    // The bridge made by it, and there before with a container on it.
    for with_container in [false, true] {
        let host = Host::new();
        let container = with_container.then(|| host.container(&["10.0.1.1/24", "fd00:1::1/64"]));
        let before = host.snapshot();
        host.done("expose 10.0.1.102/24 fd00:1::66/64");
        let exposed = host.snapshot();
        let addresses = host.run("ip -o addr show dev weave");
        assert!(addresses.contains("10.0.1.102/24"), "{addresses}");
        assert!(addresses.contains("fd00:1::66/64"), "{addresses}");
        for (key, value) in [
            ("ipv4/ip_forward", "1"),
            ("ipv4/conf/weave/rp_filter", "2"),
            ("ipv6/conf/all/forwarding", "1"),
            // A host that believed router advertisements does so still.
            ("ipv6/conf/eth0/accept_ra", "2"),
        ] {
            assert_eq!(host.setting(key), value, "{key}");
        }
        if let Some(container) = &container {
            assert!(pings(container, "10.0.1.102"));
            assert!(pings(container, "fd00:1::66"));
        }
        host.done("expose fd00:1::66/64 10.0.1.102/24");
        assert_same(&exposed, &host.snapshot());
        host.done("hide 10.0.1.102/24 fd00:1::66/64");
        let after = host.snapshot();
        if with_container {
            // The frames between its ports still need the firewall's leave.
            let rules = host.run("iptables-save");
            assert!(rules.contains("-A FORWARD -j WEAVE\n"), "{rules}");
            assert!(!rules.contains("MASQUERADE"), "{rules}");
            for key in before
                .keys()
                .filter(|key| key.starts_with("/proc/sys/net/ipv4"))
            {
                assert_eq!(before.get(key), after.get(key), "{key}");
            }
            assert_eq!(before["ip -o addr"], after["ip -o addr"]);
        } else {
            assert_same(&before, &after);
        }
        let said = host.weave(&["hide", "10.0.1.102/24"]);
        assert!(said.status.success());
        assert_eq!(
            String::from_utf8_lossy(&said.stderr),
            "weave: 10.0.1.102/24 is not exposed here, there is nothing to hide\n"
        );
        assert_same(&after, &host.snapshot());
    }
}

pub(crate) fn each_family_and_each_address_goes_for_itself() {
    let host = Host::new();
    host.done("expose 10.0.1.102/24");
    let one = host.snapshot();
    assert_eq!(host.setting("ipv6/conf/all/forwarding"), "0");
    host.done("expose 10.0.2.102/24");
    host.done("expose fd00:1::66/64");
    assert_eq!(host.setting("ipv6/conf/all/forwarding"), "1");
    host.done("hide fd00:1::66/64");
    assert_eq!(host.setting("ipv6/conf/all/forwarding"), "0");
    assert_eq!(host.setting("ipv6/conf/eth0/accept_ra"), "1");
    assert_eq!(host.setting("ipv4/ip_forward"), "1", "10.0.2.102 needs it");
    host.done("hide 10.0.2.102/24");
    assert_same(&one, &host.snapshot());
    // What somebody else set meanwhile is theirs.
    host.netlink
        .set_setting("ipv4/conf/weave/rp_filter", "1")
        .unwrap();
    let container = host.container(&["10.0.1.1/24"]);
    host.done("hide 10.0.1.102/24");
    assert_eq!(host.setting("ipv4/conf/weave/rp_filter"), "1");
    assert_eq!(host.setting("ipv4/ip_forward"), "0");
    drop(container);
}

pub(crate) fn a_host_that_forwards_already_goes_on_forwarding() {
    let host = Host::new();
    host.netlink.set_setting("ipv4/ip_forward", "1").unwrap();
    let before = host.snapshot();
    host.done("expose 10.0.1.102/24");
    host.done("hide 10.0.1.102/24");
    assert_same(&before, &host.snapshot());
    // Docker came after us, and found nothing to switch on.
    host.netlink.set_setting("ipv4/ip_forward", "0").unwrap();
    host.done("expose 10.0.1.102/24");
    host.run("iptables -A FORWARD -i docker0 ! -o docker0 -j ACCEPT");
    let output = host.weave(&["hide", "10.0.1.102/24"]);
    assert!(output.status.success());
    assert_eq!(
        String::from_utf8_lossy(&output.stderr),
        "weave: leaves ipv4/ip_forward on: other firewall rules of this host forward too\n"
    );
    assert_eq!(host.setting("ipv4/ip_forward"), "1");
}
