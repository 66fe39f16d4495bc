//! Hosts that are switched off and on: containers, bridge, rules and processes are gone, and the state folder is there.

use std::time::{Duration, Instant};

use super::lab::network::LINK_TIME_MAX;
use super::lab::{Host, Lab, figure};

pub(super) fn after_a_reboot_launch_attaches_again_what_runs() {
    let mut lab = Lab::new();
    let mut pair = lab.pair();
    run(&pair.a, "10.0.1.3/24", "lasting", &["--restart", "always"]);
    run(&pair.a, "10.0.1.4/24", "stopped", &[]);
    pair.a.weave(&["attach", "10.0.2.3/24", "lasting"]).ok();
    pair.a.weave(&["expose", "10.0.1.101/24"]).ok();
    let mac = mac(&pair.a, "lasting");
    lab.reboot(&mut pair.a);
    let (a, b) = (&pair.a, &pair.b);
    a.start_engine();
    let launched = Instant::now();
    let said = a.weave(&["launch", "10.0.0.1/16"]).ok();
    let line = |name: &str| said.stderr.lines().any(|line| line.contains(name));
    assert!(line("lasting"), "{said}");
    assert!(!line("stopped") && !line("one"), "{said}");
    let other = b.container("other");
    other.must_reach("10.0.1.3", LINK_TIME_MAX);
    figure(&format!(
        "on the network {:?} after launch began",
        launched.elapsed()
    ));
    let took = a.container("lasting").must_reach("10.0.1.2", LINK_TIME_MAX);
    assert!(took < LINK_TIME_MAX);
    let addresses = a.exec("lasting", &["ip", "address", "show", "ethwe"]).id();
    assert!(
        addresses.contains("10.0.1.3/24") && addresses.contains("10.0.2.3/24"),
        "{addresses}"
    );
    assert_eq!(self::mac(a, "lasting"), mac);
    // The host's own address, and what it needs of the firewall.
    other.must_reach("10.0.1.101", LINK_TIME_MAX);
    a.pings().must_reach("10.0.1.2", LINK_TIME_MAX);
    // What is started later is attached when it is.
    assert!(
        other
            .reaches("10.0.1.1", Duration::from_millis(300))
            .is_none()
    );
    let started = Instant::now();
    a.docker(&["start", "one"]).ok();
    other.must_reach("10.0.1.1", Duration::from_secs(10));
    figure(&format!(
        "started by hand: answers after {:?}",
        started.elapsed()
    ));
    a.weave(&["start", "10.0.1.4/24", "stopped"]).ok();
    other.must_reach("10.0.1.4", LINK_TIME_MAX);
    let mut names: Vec<String> = ["one", "lasting", "stopped"].map(str::to_owned).to_vec();
    names.retain(|name| !a.weave(&["ps"]).stdout.contains(&id(a, name)[..12]));
    assert!(names.is_empty(), "not listed: {names:?}");
}

pub(super) fn a_stopped_router_stays_stopped_over_a_reboot() {
    let mut lab = Lab::new();
    let mut pair = lab.pair();
    run(&pair.a, "10.0.1.3/24", "lasting", &["--restart", "always"]);
    pair.a.weave(&["stop"]).ok();
    lab.reboot(&mut pair.a);
    let a = &pair.a;
    a.start_engine();
    assert_eq!(a.weave(&["status"]).code, Some(4));
    a.sh("! pgrep -x weave").ok();
    // By hand, without the router, as the README has it.
    a.weave(&["attach", "10.0.1.3/24", "lasting"]).ok();
    a.weave(&["start", "10.0.1.1/24", "one"]).ok();
    let one = a.container("one");
    one.must_reach("10.0.1.3", LINK_TIME_MAX);
    assert!(
        one.reaches("10.0.1.2", Duration::from_millis(300))
            .is_none()
    );
    a.weave(&["launch", "10.0.0.1/16", &pair.b.address()]).ok();
    one.must_reach("10.0.1.2", LINK_TIME_MAX);
}

pub(super) fn without_the_state_folder_nothing_is_claimed() {
    let mut lab = Lab::new();
    let [mut a] = lab.docker_hosts(["a"]);
    a.weave(&["launch", "10.0.0.1/16"]).ok();
    a.docker(&[
        "run",
        "-d",
        "--name",
        "lasting",
        "--restart",
        "always",
        "bb",
        "idle",
    ])
    .ok();
    a.weave(&["attach", "10.0.1.3/24", "lasting"]).ok();
    a.weave(&["expose", "10.0.1.101/24"]).ok();
    // As the machine's owner does who wants it gone.
    a.weave(&["stop"]).ok();
    lab.reboot(&mut a);
    a.sh("rm -r /var/lib/weave").ok();
    let said = a.weave(&["launch", "10.0.0.1/16"]).ok();
    assert_eq!(said.stderr, "", "{said}");
    assert_eq!(said.stdout.lines().count(), 1, "{said}");
    a.sh("! ip address | grep 10.0.1.101").ok();
    a.exec("lasting", &["sh", "-c", "! ip link show ethwe"])
        .ok();
    assert!(!a.weave(&["ps"]).ok().stdout.contains("10.0.1.3"));
    a.weave(&["attach", "10.0.1.3/16", "lasting"]).ok();
    a.container("lasting").must_reach("10.0.0.1", LINK_TIME_MAX);
}

fn run(host: &Host, address: &str, name: &str, options: &[&str]) {
    let command = [&["run", address, "--name", name], options, &["bb", "idle"]].concat();
    host.weave(&command).ok();
}

fn id(host: &Host, container: &str) -> String {
    host.docker(&["inspect", "--format", "{{.Id}}", container])
        .id()
}

fn mac(host: &Host, container: &str) -> String {
    host.exec(container, &["cat", "/sys/class/net/ethwe/address"])
        .id()
}
