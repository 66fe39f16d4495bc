//! What can't be done, and what is said then: one line each, and the host is as it was.

use std::fmt::Write as _;

use super::lab::{Engine, Host, Lab};

pub(super) fn what_is_no_address_or_no_container_is_named() {
    let mut lab = Lab::new();
    let pair = lab.pair();
    let a = &pair.a;
    a.settle();
    a.sh(CONTAINERS).ok();
    let _frozen = Frozen(a);
    must_refuse(a, &[NO_ADDRESS, NO_CONTAINER].concat());
}

/// A host with the container `paused`, which would outlive it: the kernel ends nobody who is frozen.
struct Frozen<'a>(&'a Host);

impl Drop for Frozen<'_> {
    fn drop(&mut self) {
        let _ = self.0.docker(&["unpause", "paused"]);
    }
}

/// One of each state.
const CONTAINERS: &str = "
    docker run -d --name web bb idle
    docker create --name fresh bb idle
    docker run -d --name ended bb idle && docker stop ended
    docker run -d --name paused bb idle && docker pause paused
    docker run -d --name shares --network host bb idle
    docker run -d --name own --cap-add NET_ADMIN bb idle && docker exec own ip link add name ethwe type bridge";

const NO_ADDRESS: &[Case] = &[
    (
        "weave attach 10.0.1.300/24 web",
        2,
        "cannot attach web: \"10.0.1.300\" is neither an IPv4 nor an IPv6 address",
    ),
    (
        "weave attach 10.0.1.9 web",
        2,
        "cannot attach web: \"10.0.1.9\" lacks its prefix length, as in 10.2.1.1/24",
    ),
    (
        "weave attach 10.0.1.9/33 web",
        2,
        "cannot attach web: \"33\" is no prefix length for 10.0.1.9: 0 to 32",
    ),
    (
        "weave attach 10.0.1.0/24 web",
        2,
        "cannot attach web: 10.0.1.0/24 is the network itself: take 10.0.1.1",
    ),
    (
        "weave attach 10.0.1.255/24 web",
        2,
        "cannot attach web: 10.0.1.255/24 is the broadcast address of 10.0.1.0/24",
    ),
    (
        "weave attach web 10.0.1.9/24",
        2,
        "cannot attach web: the container comes last; weave attach 10.0.1.9/24 web",
    ),
    (
        "weave detach 10.0.1.300/24 web",
        2,
        "cannot detach web: \"10.0.1.300\" is neither an IPv4 nor an IPv6 address",
    ),
    (
        "weave start 10.0.1.300/24 ended",
        2,
        "invalid value '10.0.1.300/24' for '<CIDR>...': \"10.0.1.300\" is neither an IPv4 nor an IPv6 address; 'weave --help' lists what there is",
    ),
    (
        "weave start 10.0.1.0/24 ended",
        2,
        "cannot start ended: 10.0.1.0/24 is the network itself: take 10.0.1.1",
    ),
    (
        "weave run 10.0.1.9/33 bb idle",
        2,
        "\"33\" is no prefix length for 10.0.1.9: 0 to 32",
    ),
    (
        "weave run 10.0.1.0/24 bb idle",
        2,
        "cannot run the container: 10.0.1.0/24 is the network itself: take 10.0.1.1",
    ),
    (
        "weave run bb idle",
        2,
        "\"bb\" is no address; begin with the container's address, as in 'weave run 10.0.1.1/24 -t -i ubuntu'",
    ),
    (
        "weave expose 10.0.1.300/24",
        2,
        "invalid value '10.0.1.300/24' for '<CIDR>...': \"10.0.1.300\" is neither an IPv4 nor an IPv6 address; 'weave --help' lists what there is",
    ),
    (
        "weave expose 10.0.1.255/24",
        2,
        "cannot expose an address: 10.0.1.255/24 is the broadcast address of 10.0.1.0/24",
    ),
    (
        "weave hide 10.0.1.9",
        2,
        "invalid value '10.0.1.9' for '<CIDR>...': \"10.0.1.9\" lacks its prefix length, as in 10.2.1.1/24; 'weave --help' lists what there is",
    ),
    (
        "weave launch 10.0.0.1/99",
        2,
        "invalid value '10.0.0.1/99' for '--address <CIDR>': \"99\" is no prefix length for 10.0.0.1: 0 to 32; 'weave --help' lists what there is",
    ),
];

const NO_CONTAINER: &[Case] = &[
    (
        "weave attach 10.0.1.9/24 nobody",
        1,
        "cannot find container nobody: docker knows no container nobody; docker ps -a lists those there are",
    ),
    (
        "weave detach 10.0.1.9/24 nobody",
        1,
        "cannot find container nobody: docker knows no container nobody; docker ps -a lists those there are",
    ),
    (
        "weave start 10.0.1.9/24 nobody",
        1,
        "cannot start nobody: docker knows no container nobody; docker ps -a lists those there are",
    ),
    (
        "weave attach 10.0.1.9/24 fresh",
        1,
        "container fresh does not run: it was never started; 'weave start CIDR fresh' starts and attaches it",
    ),
    (
        "weave attach 10.0.1.9/24 ended",
        1,
        "container ended does not run: it has ended; 'weave start CIDR ended' starts and attaches it",
    ),
    (
        "weave attach 10.0.1.9/24 paused",
        1,
        "container paused is paused; 'docker unpause paused' lets it go on",
    ),
    (
        "weave attach 10.0.1.9/24 shares",
        1,
        "container shares has no network of its own: it is on the host's; give the host an address with: weave expose CIDR",
    ),
    (
        "weave start 10.0.1.9/24 shares",
        1,
        "cannot start shares: it shares the host's network, so its interfaces are the host's own; 'weave expose' gives the host an address",
    ),
    (
        "weave run 10.0.1.9/24 --network host bb idle",
        2,
        "cannot put a container on the network that shares the host's (--network host): its interfaces are the host's own; leave --network out, or 'weave expose' an address of the host",
    ),
    (
        "weave attach 10.0.1.9/24 own",
        1,
        "cannot attach own: it has an interface ethwe that weave did not make; give that another name: ip link set ethwe name NAME",
    ),
    (
        "weave detach 10.0.1.9/24 web",
        1,
        "cannot detach web: it does not have 10.0.1.9/24 on the network; weave ps lists what is attached",
    ),
    (
        "weave attach 10.0.1.9/24 pid:4000000",
        1,
        "there is no process 4000000; name one that runs, as in pid:1234",
    ),
    (
        "weave attach 10.0.1.9/24 pid:1",
        1,
        "process 1 has no network of its own: it is on the host's; give the host an address with: weave expose CIDR",
    ),
    (
        "weave attach 10.0.1.9/24 netns:nowhere",
        1,
        "there is no network namespace nowhere: /var/run/netns/nowhere: no such file or directory; 'ip netns' lists those that have a name",
    ),
    (
        "weave run 10.0.1.9/24 bb nonsense",
        127,
        "cannot start \"nonsense\" in the container: there is no such program in the image; look at its PATH",
    ),
    (
        "weave run 10.0.1.9/24 --name web",
        2,
        "no image given; 'weave run --help' has examples",
    ),
];

pub(super) fn an_address_that_somebody_has_is_refused() {
    let mut lab = Lab::new();
    let pair = lab.pair();
    let (a, b) = (&pair.a, &pair.b);
    a.docker(&["run", "-d", "--name", "web", "bb", "idle"]).ok();
    a.sh("docker run -d --name ended bb idle && docker stop ended")
        .ok();
    a.weave(&["expose", "10.0.1.101/24"]).ok();
    b.weave(&["expose", "10.0.1.102/24"]).ok();
    b.weave(&["attach", "fd00:1::2/64", "other"]).ok();
    a.settle();
    must_refuse(a, TAKEN);
    // Whoever means it gets it.
    a.weave(&["attach", "--no-probe", "10.0.1.2/24", "web"])
        .ok();
}

const TAKEN: &[Case] = &[
    (
        "weave attach 10.0.1.1/24 web",
        1,
        "cannot attach web: 10.0.1.1 belongs to one on this host; weave detach 10.0.1.1/24 one frees it",
    ),
    (
        "weave run 10.0.1.1/24 --name new bb idle",
        1,
        "cannot attach new: 10.0.1.1 belongs to one on this host; weave detach 10.0.1.1/24 one frees it",
    ),
    (
        "weave start 10.0.1.1/24 ended",
        1,
        "cannot attach ended: 10.0.1.1 belongs to one on this host; weave detach 10.0.1.1/24 one frees it",
    ),
    (
        "weave expose 10.0.1.1/24",
        1,
        "cannot expose 10.0.1.1/24: 10.0.1.1 belongs to one on this host; weave detach 10.0.1.1/24 one frees it",
    ),
    (
        "weave attach 10.0.1.101/24 web",
        1,
        "cannot attach web: this host has 10.0.1.101; weave hide 10.0.1.101/24 frees it",
    ),
    (
        "weave attach 10.0.1.2/24 web",
        1,
        "cannot attach web: 10.0.1.2 is in use on the network, by MAC, behind the router MAC; give it another address, or take it all the same with --no-probe",
    ),
    (
        "weave run 10.0.1.2/24 --name new bb idle",
        1,
        "cannot attach new: 10.0.1.2 is in use on the network, by MAC, behind the router MAC; give it another address, or take it all the same with --no-probe",
    ),
    (
        "weave start 10.0.1.2/24 ended",
        1,
        "cannot attach ended: 10.0.1.2 is in use on the network, by MAC, behind the router MAC; give it another address, or take it all the same with --no-probe",
    ),
    (
        "weave expose 10.0.1.2/24",
        1,
        "cannot expose 10.0.1.2/24: 10.0.1.2 is in use on the network, by MAC; choose another one, or take it all the same with --no-probe",
    ),
    (
        "weave attach 10.0.1.102/24 web",
        1,
        "cannot attach web: 10.0.1.102 is in use on the network, by MAC, behind the router MAC; give it another address, or take it all the same with --no-probe",
    ),
    (
        "weave attach 10.0.0.2/16 web",
        1,
        "cannot attach web: 10.0.0.2 is in use on the network, by MAC, behind the router MAC; give it another address, or take it all the same with --no-probe",
    ),
    (
        "weave attach fd00:1::2/64 web",
        1,
        "cannot attach web: fd00:1::2 is in use on the network, by MAC, behind the router MAC; give it another address, or take it all the same with --no-probe",
    ),
    (
        "weave attach 10.0.1.8/24 10.0.1.2/24 web",
        1,
        "cannot attach web: 10.0.1.2 is in use on the network, by MAC, behind the router MAC; give it another address, or take it all the same with --no-probe",
    ),
    (
        "weave attach 172.17.5.5/16 web",
        1,
        "cannot attach web: its interface eth0 is on the network 172.17.0.0/16 already; give it an address of another network",
    ),
    (
        "weave expose 172.17.5.5/16",
        1,
        "cannot expose 172.17.5.5/16: docker0 of this host is in that network, as 172.17.0.1/16; choose one of another network",
    ),
];

pub(super) fn a_missing_right_and_a_wrong_host_are_named() {
    let mut lab = Lab::new();
    let [a] = lab.docker_hosts(["a"]);
    a.docker(&["run", "-d", "--name", "web", "bb", "idle"]).ok();
    must_refuse(&a, &[RIGHTS, BEFORE_LAUNCH].concat());
    a.weave(&["launch", "10.0.0.1/16"]).ok();
    must_refuse(&a, AFTER_LAUNCH);
}

const RIGHTS: &[Case] = &[
    (
        "setpriv --reuid=65534 --clear-groups weave attach 10.0.1.9/24 web",
        1,
        "cannot change this host's network: only root may; run it with sudo",
    ),
    (
        "setpriv --reuid=65534 --clear-groups weave detach 10.0.1.9/24 web",
        1,
        "cannot change this host's network: only root may; run it with sudo",
    ),
    (
        "setpriv --reuid=65534 --clear-groups weave start 10.0.1.9/24 web",
        1,
        "cannot change this host's network: only root may; run it with sudo",
    ),
    (
        "setpriv --reuid=65534 --clear-groups weave run 10.0.1.9/24 bb",
        1,
        "cannot change this host's network: only root may; run it with sudo",
    ),
    (
        "setpriv --reuid=65534 --clear-groups weave expose 10.0.1.9/24",
        1,
        "cannot change this host's network: only root may; run it with sudo",
    ),
    (
        "setpriv --reuid=65534 --clear-groups weave hide 10.0.1.9/24",
        1,
        "cannot change this host's network: only root may; run it with sudo",
    ),
    (
        "setpriv --reuid=65534 --clear-groups weave ps",
        1,
        "cannot change this host's network: only root may; run it with sudo",
    ),
    (
        "setpriv --reuid=65534 --clear-groups weave reset",
        1,
        "cannot reset this host's network: only root may; run it with sudo",
    ),
    (
        "setpriv --reuid=65534 --clear-groups weave launch",
        1,
        "cannot launch the router: only root may; run it with sudo",
    ),
    (
        "setpriv --reuid=65534 --clear-groups weave stop",
        1,
        "cannot stop the router: only root may; run it with sudo",
    ),
    (
        "setpriv --reuid=65534 --clear-groups weave guard",
        1,
        "cannot guard this host's network: only root may; run it with sudo",
    ),
];

const BEFORE_LAUNCH: &[Case] = &[
    (
        "weave connect 198.18.255.1",
        1,
        "not running: no router answers at /run/weave/weave.sock; start one with: weave launch [PEER]..., or name its socket with --control PATH",
    ),
    (
        "weave launch 198.18.255.1 nowhere.invalid",
        1,
        "cannot find nowhere.invalid: the name does not resolve; check it, or give an address",
    ),
    (
        "weave launch host:port",
        2,
        "invalid value 'host:port' for '[PEER]...': port is not a number from 1 to 65535; 'weave --help' lists what there is",
    ),
    (
        "weave --bridge lo launch",
        1,
        "cannot use the bridge lo: the network device lo exists and is no bridge; name another one with --bridge",
    ),
    (
        "weave --bridge eth0 attach 10.0.1.9/24 web",
        1,
        "cannot use the bridge eth0: the network device eth0 exists and is no bridge; name another one with --bridge",
    ),
    (
        "weave --bridge a/b attach 10.0.1.9/24 web",
        1,
        "cannot use the bridge a/b: \"a/b\" is no name for a network device (1 to 15 bytes, no spaces, no / and no :); name another one with --bridge",
    ),
    (
        "weave --control /weave.sock launch",
        2,
        "cannot put the control socket at /weave.sock: its folder is shared with the router's container; give it a folder of its own with --control PATH",
    ),
    (
        "weave launch --port 0",
        2,
        "invalid value '0' for '--port <N>': not a port from 1 to 65535; 'weave --help' lists what there is",
    ),
];

const AFTER_LAUNCH: &[Case] = &[
    (
        "weave connect nowhere.invalid",
        1,
        "cannot find nowhere.invalid: the name does not resolve; check it, or give an address",
    ),
    (
        "weave launch 10.0.0.1/16",
        1,
        "cannot launch the router: it runs already: container weave (ID); weave stop ends it",
    ),
    (
        "weave --bridge other attach 10.0.1.9/24 web",
        1,
        "cannot use the bridge other: this host's network is on the bridge weave; leave out --bridge, or give a second network a folder of its own with --state-dir",
    ),
    (
        "setpriv --reuid=65534 --clear-groups weave connect 198.18.0.9",
        1,
        "cannot ask the router at /run/weave/weave.sock: permission denied; run it as the user that runs the router (root)",
    ),
];

pub(super) fn an_engine_that_is_of_no_use_is_named() {
    let mut lab = Lab::new();
    let host = lab.host("a", Engine::None);
    // Engines are told apart by what their program says of them.
    host.sh(PROGRAMS).ok();
    must_refuse(&host, ENGINES);
}

/// Folders for the search path: without any engine, and with one each that says what is of no use here.
const PROGRAMS: &str = r#"
    for folder in none rootless remapped; do mkdir /run/$folder; ln -s $(which weave) /run/$folder; done
    echo '#!/bin/sh\necho "{\"SecurityOptions\":[\"name=seccomp,profile=builtin\",\"name=rootless\"]}"' > /run/rootless/docker
    echo '#!/bin/sh\necho "{\"SecurityOptions\":[\"name=seccomp,profile=builtin\",\"name=userns\"]}"' > /run/remapped/docker
    chmod +x /run/rootless/docker /run/remapped/docker"#;

const ENGINES: &[Case] = &[
    (
        "weave launch",
        1,
        "cannot launch the router: docker does not answer: Cannot connect to the Docker daemon at unix:///var/run/docker.sock; start it: systemctl start docker, or run it without one: weave launch --no-container",
    ),
    (
        "weave attach 10.0.1.9/24 web",
        1,
        "cannot find container web: docker does not answer: Cannot connect to the Docker daemon at unix:///var/run/docker.sock; start it: systemctl start docker",
    ),
    (
        "weave run 10.0.1.9/24 bb",
        1,
        "cannot run bb: docker does not answer: Cannot connect to the Docker daemon at unix:///var/run/docker.sock; start it: systemctl start docker",
    ),
    (
        "weave start 10.0.1.9/24 web",
        1,
        "cannot start web: docker does not answer: Cannot connect to the Docker daemon at unix:///var/run/docker.sock; start it: systemctl start docker",
    ),
    (
        "PATH=/run/none weave launch",
        1,
        "there is no container engine here: neither docker nor podman is installed; install one: apt-get install docker.io; the router needs none: weave launch --no-container",
    ),
    (
        "PATH=/run/none weave attach 10.0.1.9/24 web",
        1,
        "there is no container engine here: neither docker nor podman is installed; install one: apt-get install docker.io; the router needs none: weave launch --no-container",
    ),
    (
        "PATH=/run/none weave --engine podman attach 10.0.1.9/24 web",
        1,
        "cannot find container web: podman is not installed; install it: apt-get install podman",
    ),
    (
        "PATH=/run/rootless:$PATH weave launch",
        1,
        "cannot launch the router: this docker is rootless, and its containers' network is not the host's; use the docker of root, or run it without one: weave launch --no-container",
    ),
    (
        "PATH=/run/remapped:$PATH weave launch",
        1,
        "cannot launch the router: this docker maps the users of its containers to others (userns-remap); switch userns-remap off in docker's configuration, or run it without one: weave launch --no-container",
    ),
];

/// A command line, its exit code, and its words after `weave: `.
type Case = (&'static str, i32, &'static str);

/// Each command line fails with this exit code and these words, and leaves nothing.
///
/// Ethernet addresses and container's ids are MAC and ID in them.
#[track_caller]
fn must_refuse(host: &Host, cases: &[Case]) {
    let mut before = host.snapshot();
    let mut faults = String::new();
    for (line, code, words) in cases {
        let said = host.sh(line);
        let stderr = without_names(said.stderr.trim_end());
        if said.code != Some(*code)
            || stderr != format!("weave: {words}")
            || !said.stdout.is_empty()
        {
            writeln!(faults, "{said}").unwrap();
        }
        // The guard asks the engine now and then, by a process of its own.
        let mut after = host.snapshot();
        for _ in 0..3 {
            if before != after {
                after = host.snapshot();
            }
        }
        let changes = before.changes(&after);
        if !changes.is_empty() {
            let changes: Vec<&str> = changes.lines().take(CHANGES_SHOWN_MAX).collect();
            writeln!(faults, "{line}: changed\n{}", changes.join("\n")).unwrap();
        }
        before = after;
    }
    assert!(faults.is_empty(), "{faults}");
}

/// The same line with MAC for each Ethernet address, and ID for each short id of a container.
fn without_names(line: &str) -> String {
    let name = |word: &str| {
        let bare = word.trim_matches(|c: char| !c.is_ascii_alphanumeric());
        let hex = |text: &str| text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let name = if bare.split(':').count() == 6
            && bare.split(':').all(|part| part.len() == 2 && hex(part))
        {
            "MAC"
        } else if bare.len() == 12 && hex(bare) {
            "ID"
        } else {
            return word.to_owned();
        };
        word.replace(bare, name)
    };
    line.split(' ').map(name).collect::<Vec<_>>().join(" ")
}

const CHANGES_SHOWN_MAX: usize = 12;
