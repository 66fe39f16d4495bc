//! What is refused: each by its own line, and nothing is changed.

use std::fs;

use super::lab::{Container, Host};

/// What a command says that must be refused and change nothing.
fn refused(host: &Host, containers: &[&Container], code: i32, args: &[&str]) -> String {
    let before = host.snapshot(containers);
    let said = host.refused(code, args);
    host.is_as_before(containers, &before, &said);
    said.strip_prefix("weave: ").unwrap().to_owned()
}

pub(super) fn each_has_its_own_line_and_changes_nothing() {
    let host = Host::new();
    let [a, b] = [Container::new(), Container::new()];
    let [a_place, b_place] = [a.place(), b.place()];
    let all = [&a, &b];
    let said = |code, args: &[&str]| {
        let said = refused(&host, &all, code, args);
        said.replace(&a.name, "a").replace(&b.name, "b")
    };

    // The command line.
    assert_eq!(
        said(2, &["attach", "10.2.1.1", &a_place]),
        "cannot attach netns:a: \"10.2.1.1\" lacks its prefix length, as in 10.2.1.1/24"
    );
    assert_eq!(
        said(2, &["attach", "10.2.1.300/24", &a_place]),
        "cannot attach netns:a: \"10.2.1.300\" is neither an IPv4 nor an IPv6 address"
    );
    assert_eq!(
        said(2, &["attach", &a_place, "10.2.1.1/24"]),
        "cannot attach netns:a: the container comes last; weave attach 10.2.1.1/24 netns:a"
    );
    assert_eq!(
        said(2, &["detach", &a_place, "10.2.1.1/24", "10.2.2.1/24"]),
        "cannot detach netns:a: the container comes last; weave detach 10.2.1.1/24 10.2.2.1/24 netns:a"
    );
    assert_eq!(
        said(2, &["attach", "10.2.1.1/24"]),
        "the following required arguments were not provided: <CIDR>...; 'weave --help' lists what there is"
    );
    assert_eq!(
        said(2, &["attach", "10.2.1.0/24", &a_place]),
        "cannot attach netns:a: 10.2.1.0/24 is the network itself: take 10.2.1.1"
    );
    assert_eq!(
        said(2, &["attach", "10.2.1.255/24", &a_place]),
        "cannot attach netns:a: 10.2.1.255/24 is the broadcast address of 10.2.1.0/24"
    );

    // Whom.
    assert_eq!(
        said(2, &["attach", "10.2.1.1/24", "pid:me"]),
        "\"pid:me\" names no process; give a process id, as in pid:1234"
    );
    assert_eq!(
        said(1, &["attach", "10.2.1.1/24", "pid:4194305"]),
        "there is no process 4194305; name one that runs, as in pid:1234"
    );
    assert_eq!(
        said(1, &["attach", "10.2.1.1/24", "netns:weave-none"]),
        "there is no network namespace weave-none: /var/run/netns/weave-none: no such file or directory; 'ip netns' \
         lists those that have a name"
    );
    assert_eq!(
        said(1, &["attach", "10.2.1.1/24", "netns:/etc/hostname"]),
        "there is no network namespace /etc/hostname: /etc/hostname is another file; 'ip netns' lists those that have \
         a name"
    );
    let hosts = format!("netns:{}", host.name);
    assert_eq!(
        said(1, &["attach", "10.2.1.1/24", &hosts]).replace(&host.name, "host"),
        "the network namespace host has no network of its own: it is on the host's; give the host an address with: \
         weave expose CIDR"
    );
    assert_eq!(
        said(1, &["detach", "10.2.1.1/24", &a_place]),
        "cannot detach netns:a: it does not have 10.2.1.1/24 on the network; weave ps lists what is attached"
    );

    // Where to.
    assert_eq!(
        said(1, &["attach", "--bridge", "lo", "10.2.1.1/24", &a_place]),
        "cannot use the bridge lo: the network device lo exists and is no bridge; name another one with --bridge"
    );
    assert_eq!(
        said(1, &["attach", "--bridge", "a/b", "10.2.1.1/24", &a_place]),
        "cannot use the bridge a/b: \"a/b\" is no name for a network device (1 to 15 bytes, no spaces, no / and no :); \
         name another one with --bridge"
    );

    // What is there already.
    host.done(&["attach", "10.2.1.1/24", &a_place]);
    assert_eq!(
        said(1, &["attach", "10.2.1.1/16", &a_place]),
        "cannot attach netns:a: it has 10.2.1.1/24 already; weave detach 10.2.1.1/24 netns:a takes that away"
    );
    assert_eq!(
        said(1, &["attach", "10.2.1.2/24", "10.2.1.1/16", &b_place]),
        "cannot attach netns:b: 10.2.1.1 belongs to netns:a on this host; weave detach 10.2.1.1/24 netns:a frees it"
    );
    assert_eq!(
        said(1, &["attach", "--bridge", "other", "10.2.1.2/24", &b_place]),
        "cannot use the bridge other: this host's network is on the bridge weave; leave out --bridge, or give a \
         second network a folder of its own with --state-dir"
    );
    b.netlink.create_veth("ethwe", "other", None).unwrap();
    assert_eq!(
        said(1, &["attach", "10.2.1.2/24", &b_place]),
        "cannot attach netns:b: it has an interface ethwe that weave did not make; give that another name: ip link \
         set ethwe name NAME"
    );

    // What was done to this host can't be read.
    let ledger = host.state().join("host.json");
    fs::write(&ledger, "{").unwrap();
    assert_eq!(
        said(1, &["attach", "10.2.1.2/24", &b_place])
            .replace(ledger.to_str().unwrap(), "host.json"),
        "cannot read host.json: it is damaged (EOF while parsing an object at line 1 column 1); mend it, or move it \
         away and attach the containers again"
    );
    let state = host.folder.0.join("file/state");
    fs::write(host.folder.0.join("file"), "").unwrap();
    assert_eq!(
        said(
            1,
            &[
                "attach",
                "--state-dir",
                state.to_str().unwrap(),
                "10.2.1.2/24",
                &b_place
            ]
        )
        .replace(state.to_str().unwrap(), "STATE"),
        "cannot use the state folder STATE: file exists; name another one with --state-dir"
    );
}

pub(super) fn an_address_in_use_is_refused_unless_one_insists() {
    let host = Host::new();
    let [a, station] = [Container::new(), Container::new()];
    host.done(&["attach", "10.2.9.9/24", &a.place()]);
    // Somebody who is on the bridge, and in no ledger.
    host.netlink
        .create_veth("station", "eth0", Some(&station.namespace))
        .unwrap();
    host.netlink.attach("weave", "station").unwrap();
    host.netlink.set_up("station").unwrap();
    station.netlink.set_up("eth0").unwrap();
    for address in ["10.2.1.1/24", "fd00:2::1/64"] {
        station
            .netlink
            .add_address_undetected("eth0", address.parse().unwrap())
            .unwrap();
    }
    let mac = station.netlink.link("eth0").unwrap().mac.unwrap();
    let mac = mac.map(|byte| format!("{byte:02x}")).join(":");
    let b = Container::new();
    for container in [&a, &b] {
        for address in ["10.2.1.1", "fd00:2::1"] {
            let args = [
                "attach",
                "10.2.8.8/24",
                &format!("{address}/64"),
                &container.place(),
            ];
            let wide = args[2].replace("10.2.1.1/64", "10.2.1.1/24");
            let args = [args[0], args[1], &wide, args[3]];
            assert_eq!(
                refused(&host, &[&a, &b, &station], 1, &args),
                format!(
                    "cannot attach {}: {address} is in use on the network, by {mac}; give it another address, or take \
                     it all the same with --no-probe",
                    container.place()
                )
            );
        }
    }
    host.done(&["attach", "--no-probe", "10.2.1.1/24", &b.place()]);
    assert_eq!(b.addresses(), ["10.2.1.1/24"]);
}

pub(super) fn what_was_done_is_taken_back_when_a_later_step_fails() {
    // Nothing is there yet: the bridge and its rules go again.
    let host = Host::new();
    let container = Container::new();
    let number = container.namespace.id().unwrap();
    let taken = format!("vethwe{number:08x}");
    host.netlink.create_veth(&taken, "other", None).unwrap();
    assert_eq!(
        refused(
            &host,
            &[&container],
            1,
            &["attach", "10.2.1.1/24", &container.place()]
        ),
        format!(
            "cannot attach {}: there is a network device {taken} already",
            container.place()
        )
    );
    assert_eq!(host.netlink.find_link("weave").unwrap(), None);
    assert!(!host.state().exists());
    // A bridge of somebody else's stays, with the settings that it had.
    host.netlink.delete_link(&taken).unwrap();
    host.ip(&["link", "add", "weave", "type", "bridge"]);
    host.netlink.create_veth(&taken, "other", None).unwrap();
    let accepts = || host.netlink.setting("ipv6/conf/weave/accept_ra").unwrap();
    let before = accepts();
    host.refused(1, &["attach", "10.2.1.1/24", &container.place()]);
    assert_eq!(accepts(), before);
    assert!(!host.state().exists());
}

pub(super) fn a_container_whose_own_network_is_in_the_way_is_left_alone() {
    let host = Host::new();
    let container = Container::new();
    container
        .netlink
        .create_veth("eth0", "outside", None)
        .unwrap();
    for device in ["eth0", "outside"] {
        container.netlink.set_up(device).unwrap();
    }
    container
        .netlink
        .add_address("eth0", "172.17.0.2/16".parse().unwrap())
        .unwrap();
    container.ip(&["route", "add", "default", "via", "172.17.0.1"]);
    let place = container.place();
    let said = |address| {
        refused(&host, &[&container], 1, &["attach", address, &place]).replace(&place, "c")
    };
    assert_eq!(
        said("172.17.0.2/24"),
        "cannot attach c: its interface eth0 has 172.17.0.2 already; give it another address"
    );
    assert_eq!(
        said("172.17.3.3/16"),
        "cannot attach c: its interface eth0 is on the network 172.17.0.0/16 already; give it an address of another \
         network"
    );
    assert_eq!(
        said("172.17.0.9/24"),
        "cannot attach c: 172.17.0.0/24 holds 172.17.0.1, by which its interface eth0 reaches 0.0.0.0/0; give it an \
         address of another network"
    );
    let (_, told) = host.told(&["attach", "172.17.9.1/24", &place]);
    assert_eq!(
        told,
        format!(
            "weave: {place}: 172.17.9.0/24 and 172.17.0.0/16, which its interface eth0 is on, overlap: what is in both \
             is reached by ethwe\n"
        )
    );
    assert!(
        container
            .ip(&["route"])
            .contains("default via 172.17.0.1 dev eth0")
    );
}
