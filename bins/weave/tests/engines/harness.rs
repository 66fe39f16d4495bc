//! The harness itself: what the other tests rely on.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::lab::ping::Pinger;
use super::lab::talk::{Conversation, Service, ask_tcp, ask_udp};
use super::lab::{self, Engine, Lab, figure};

pub(super) fn an_engine_of_its_own_runs_containers() {
    let mut lab = Lab::new();
    let started = Instant::now();
    let [a, b] = lab.docker_hosts(["a", "b"]);
    figure(&format!("two engines up after {:?}", started.elapsed()));
    let id = a.docker(&["run", "-d", "--name", "web", "bb", "idle"]).id();
    assert_eq!(a.exec("web", &["hostname"]).id(), id[..12]);
    assert_eq!(
        b.docker(&["ps", "--quiet"]).id(),
        "",
        "the other host has none"
    );
    assert_eq!(
        a.sh("hostname; cat /sys/class/net/eth0/operstate").id(),
        "a\nup"
    );
    // Docker's firewall is as it leaves it on any host.
    let rules = a
        .sh("iptables -S FORWARD; sysctl -n net.bridge.bridge-nf-call-iptables")
        .id();
    assert!(
        rules.starts_with("-P FORWARD DROP") && rules.ends_with("\n1"),
        "{rules}"
    );
    // Docker's own network and its way out.
    let web = a.container("web");
    web.must_reach("172.17.0.1", Duration::from_secs(5));
    web.must_reach(&b.address(), Duration::from_secs(5));
    a.restart_engine();
    a.docker(&["start", "web"]).ok();
    let version = a.weave(&["version"]);
    assert!(version.stdout.contains("router not running"), "{version}");
    let _ = a.weave(&["connect", "host:port"]).refused(2);
}

pub(super) fn podman_runs_containers_too() {
    let mut lab = Lab::new();
    let a = lab.host("a", Engine::Podman);
    a.docker(&["run", "-d", "--name", "web", "bb", "idle"]).ok();
    a.exec("web", &["true"]).ok();
    a.container("web")
        .must_reach(&a.address(), Duration::from_secs(5));
}

pub(super) fn hosts_meet_on_the_underlay_until_they_are_cut_off() {
    let mut lab = Lab::new();
    let (a, b) = (lab.host("a", Engine::None), lab.host("b", Engine::None));
    a.knows(&b);
    a.run(&["ping", "-c", "1", "-q", "b"]).ok();
    let start = Instant::now();
    let conversation = Conversation::start(a.netns(), b.netns(), &b.address(), 4422);
    let pinger = Pinger::start(&a.pings(), b.address().parse().unwrap(), b"");
    lab.cut(&a, &b);
    a.sh("! ping -c 1 -q -W 1 b").ok();
    lab.heal(&a, &b);
    let gap = conversation.longest_gap(start, Duration::from_secs(10));
    assert!(gap >= Duration::from_secs(1), "{gap:?}");
    assert!(pinger.gap_since(start) >= Duration::from_secs(1));

    let service = lab.outside("service");
    let _service = Service::start(service.netns(), 2211, "service");
    let hidden = lab.outside_behind(&b, "hidden", "192.168.7.2/24", "192.168.7.1/24");
    hidden
        .pings()
        .must_reach("192.168.7.1", Duration::from_secs(5));
    hidden.sh("ping -c 1 -q 192.168.7.1").ok();
    let target = format!("{}:2211", service.address());
    let wanted = format!("service heard Hello from {}", a.address());
    assert_eq!(ask_tcp(a.netns(), &target, "Hello").unwrap(), wanted);
    assert_eq!(ask_udp(a.netns(), &target, "Hello").unwrap(), wanted);
}

pub(super) fn a_snapshot_shows_every_change_and_nothing_else() {
    let mut lab = Lab::new();
    let [a] = lab.docker_hosts(["a"]);
    a.docker(&["run", "-d", "--name", "web", "bb", "idle"]).ok();
    let before = a.snapshot();
    a.docker(&["exec", "web", "true"]).ok();
    before.must_equal(&a.snapshot());
    let changed = [
        (
            "ip link add weave type bridge",
            "ip link del weave",
            "links:",
        ),
        (
            "ip address add 10.9.9.9/32 dev lo",
            "ip address del 10.9.9.9/32 dev lo",
            "addresses:",
        ),
        (
            "iptables -t nat -N WEAVE",
            "iptables -t nat -X WEAVE",
            "iptables:",
        ),
        (
            "ip6tables -I FORWARD -i weave -j ACCEPT",
            "ip6tables -D FORWARD -i weave -j ACCEPT",
            "ip6tables:",
        ),
        (
            "sysctl -w net.ipv4.conf.eth0.rp_filter=2",
            "sysctl -w net.ipv4.conf.eth0.rp_filter=0",
            "settings:",
        ),
        ("mkdir /var/lib/weave", "rmdir /var/lib/weave", "files:"),
        (
            "setsid sleep 999 >/dev/null 2>&1 &",
            "kill $(pgrep -x -f 'sleep 999')",
            "processes:",
        ),
        ("docker tag bb other", "docker rmi other", "images:"),
        (
            "docker create --name other bb true",
            "docker rm other",
            "containers:",
        ),
    ];
    for (change, back, section) in changed {
        a.sh(change).ok();
        let changes = before.changes(&a.snapshot());
        assert!(changes.contains(section), "{change}: {changes}");
        a.sh(back).ok();
        before.must_equal(&a.snapshot());
    }
}

pub(super) fn a_reboot_keeps_files_and_images_and_nothing_else() {
    let mut lab = Lab::new();
    let [mut a, b] = lab.docker_hosts(["a", "b"]);
    a.docker(&["run", "-d", "--name", "web", "bb", "idle"]).ok();
    a.docker(&[
        "run",
        "-d",
        "--name",
        "db",
        "--restart",
        "always",
        "bb",
        "idle",
    ])
    .ok();
    a.sh("mkdir /var/lib/weave; ip link add weave type bridge")
        .ok();
    lab.reboot(&mut a);
    let still = a
        .docker(&["ps", "--all", "--format", "{{.Names}} {{.State}}"])
        .id();
    assert_eq!(still, "db running\nweb exited");
    a.sh("ls -d /var/lib/weave && ! ip link show weave").ok();
    a.run(&["ping", "-c", "1", "-q", &b.address()]).ok();
}

pub(super) fn nothing_outlives_a_killed_run() {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .env(lab::STAY, "left")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    let mut reader = BufReader::new(child.stdout.take().unwrap());
    reader.read_line(&mut line).unwrap();
    let prefix = format!("wve{}-", child.id());
    let runs = || lab::processes_of(&prefix);
    let running = runs();
    for wanted in ["dockerd", "bin/idle"] {
        assert!(
            running.iter().any(|line| line.contains(wanted)),
            "{running:?}"
        );
    }
    child.kill().unwrap();
    lab::within(Duration::from_secs(5), "all of it is gone", || {
        runs().is_empty().then_some(())
    });
    child.wait().unwrap();
    // All that is left are control groups and an empty folder.
    assert_ne!(lab::cgroups(&prefix), Vec::<PathBuf>::new());
    lab::sweep();
    assert_eq!(lab::cgroups(&prefix), Vec::<PathBuf>::new());
}
