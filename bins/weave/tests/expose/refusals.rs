//! What is refused, word by word, and that nothing is changed by it.

use weave_io::host::Netlink;

use crate::lab::{Host, assert_same, cidr};

pub(crate) fn what_cannot_be_exposed_is_named_and_changes_nothing() {
    let host = Host::new();
    let container = host.container(&["10.0.1.1/24", "fd00:1::1/64"]);
    let mac = Netlink::open_in(&container)
        .unwrap()
        .link("ethwe")
        .unwrap()
        .mac
        .unwrap()
        .map(|byte| format!("{byte:02x}"))
        .join(":");
    let before = host.snapshot();
    for (args, code, wanted) in [
        (
            "expose",
            2,
            "weave: the following required arguments were not provided: <CIDR>...; 'weave --help' lists what there is"
                .to_owned(),
        ),
        (
            "expose 10.0.1.102",
            2,
            "weave: invalid value '10.0.1.102' for '<CIDR>...': \"10.0.1.102\" lacks its prefix length, as in \
             10.2.1.1/24; 'weave --help' lists what there is"
                .to_owned(),
        ),
        (
            "expose 10.0.1.0/24",
            2,
            "weave: cannot expose an address: 10.0.1.0/24 is the network itself: take 10.0.1.1"
                .to_owned(),
        ),
        (
            "expose 192.168.7.1/24",
            1,
            "weave: cannot expose 192.168.7.1/24: eth0 of this host has that address; choose another one, or take it \
             away first: ip addr del 192.168.7.1/24 dev eth0"
                .to_owned(),
        ),
        (
            "expose 192.168.7.9/24",
            1,
            "weave: cannot expose 192.168.7.9/24: eth0 of this host is in that network, as 192.168.7.1/24; choose one \
             of another network"
                .to_owned(),
        ),
        (
            "expose 10.0.1.102/24 10.0.1.1/24",
            1,
            format!(
                "weave: cannot expose 10.0.1.1/24: 10.0.1.1 is in use on the network, by {mac}; choose another one, or take it all the \
                 same with --no-probe"
            ),
        ),
        (
            "expose fd00:1::1/64",
            1,
            format!(
                "weave: cannot expose fd00:1::1/64: fd00:1::1 is in use on the network, by {mac}; choose another one, or take it all the \
                 same with --no-probe"
            ),
        ),
    ] {
        assert_eq!(host.refused(args, code), wanted, "weave {args}");
        assert_same(&before, &host.snapshot());
    }
    host.done("expose --no-probe 10.0.1.1/24");
    host.done("hide 10.0.1.1/24");
    host.done("expose 10.0.1.102/24");
    let exposed = host.snapshot();
    for (args, wanted) in [
        (
            "expose 10.0.1.102/16",
            "weave: cannot expose 10.0.1.102/16: it is exposed as 10.0.1.102/24; take that away first: weave hide \
             10.0.1.102/24",
        ),
        (
            "hide 10.0.1.102/16",
            "weave: cannot hide 10.0.1.102/16: it is exposed as 10.0.1.102/24; weave hide 10.0.1.102/24",
        ),
    ] {
        assert_eq!(host.refused(args, 1), wanted, "weave {args}");
        assert_same(&exposed, &host.snapshot());
    }
    // The bridge has one by other hands: hide must not take that.
    host.netlink
        .add_address("weave", cidr("10.0.3.1/24"))
        .unwrap();
    assert_eq!(
        host.refused("expose 10.0.3.1/24", 1),
        "weave: cannot expose 10.0.3.1/24: weave of this host has that address; choose another one, or take it away \
         first: ip addr del 10.0.3.1/24 dev weave"
    );
    let output = host
        .namespace
        .run(|| {
            use std::os::unix::process::CommandExt;
            let mut command = host.command();
            command
                .args(["expose", "10.0.4.1/24"])
                .uid(65534)
                .gid(65534);
            command.output()
        })
        .unwrap();
    // The program may be where others can't read it.
    if let Ok(output) = output {
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(
            said.starts_with("weave: cannot change this host's network: only root may"),
            "{said}"
        );
    }
}
