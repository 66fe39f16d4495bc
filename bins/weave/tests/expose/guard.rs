//! The guard on a host whose firewall is reloaded.

use std::fs;
use std::io::{BufRead, BufReader, Lines};
use std::process::{Child, ChildStderr, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use weave_io::host::{NetNs, Netlink};

use crate::lab::{Host, assert_same, cidr, pings, run_in, within};

pub(crate) fn what_a_reload_removes_is_back_within_ten_seconds() {
    let host = Host::new();
    let a = host.container(&["10.0.1.1/24"]);
    let _b = host.container(&["10.0.1.2/24"]);
    host.done("expose 10.0.1.102/24 fd00:1::66/64");
    let whole = rules_and_settings(&host);
    let reloaded = host.folder.join("rules");
    let rules = "*filter\n:FORWARD DROP [0:0]\nCOMMIT\n*nat\nCOMMIT\n";
    fs::write(&reloaded, rules).unwrap();
    let mut guard = Guard::start(&host, &[]);
    guard.says("guards this host's network");
    for (what, said) in [
        // A reload: everything goes, and Docker's policy comes anew.
        (
            &[
                &*format!("iptables-restore {}", reloaded.display()),
                &*format!("ip6tables-restore {}", reloaded.display()),
            ][..],
            "put back the firewall rules",
        ),
        (
            &["iptables -D FORWARD -j WEAVE"],
            "put back the firewall rules",
        ),
        // Docker puts its own rules first when it starts.
        (
            &[
                "iptables -N DOCKER-USER",
                "iptables -I FORWARD -j DOCKER-USER",
            ],
            "put back the firewall rules",
        ),
        (
            &["sysctl -q -w net.ipv4.ip_forward=0"],
            "put back the setting ipv4/ip_forward",
        ),
        (
            &["ip addr del 10.0.1.102/24 dev weave"],
            "put back this host's 10.0.1.102/24",
        ),
        (
            &["ip link set weave down"],
            "put back the bridge weave, which was switched off",
        ),
    ] {
        for line in what {
            host.run(line);
        }
        let start = Instant::now();
        let line = guard.says(said);
        let took = start.elapsed();
        eprintln!("{what:?}: {took:.1?}: {line}");
        assert!(took < Duration::from_secs(10), "{what:?} took {took:?}");
        assert!(pings(&a, "10.0.1.2") && pings(&a, "10.0.1.102"), "{what:?}");
    }
    host.run("iptables -D FORWARD -j DOCKER-USER");
    host.run("iptables -X DOCKER-USER");
    assert_same(&whole, &rules_and_settings(&host));
    // What was hidden stays so.
    host.done("hide 10.0.1.102/24 fd00:1::66/64");
    let hidden = host.snapshot();
    std::thread::sleep(Duration::from_secs(4));
    assert_same(&hidden, &host.snapshot());
    guard.ends();
}

pub(crate) fn a_container_that_lost_its_cable_gets_it_back() {
    let host = Host::new();
    let a = host.bare_container();
    let b = host.bare_container();
    host.done(&format!("attach 10.0.1.1/24 netns:{}", a.name().unwrap()));
    host.done(&format!("attach 10.0.1.2/24 netns:{}", b.name().unwrap()));
    host.done("expose 10.0.1.102/24");
    let mut guard = Guard::start(&host, &[]);
    guard.says("guards this host's network");
    let mac = |namespace: &NetNs| {
        let inside = Netlink::open_in(namespace).unwrap();
        inside.link("ethwe").unwrap().mac
    };
    let before = mac(&a);
    let start = Instant::now();
    run_in(&a, "ip link del ethwe");
    guard.says(&format!(
        "attached netns:{} (10.0.1.1/24) again",
        a.name().unwrap()
    ));
    assert!(start.elapsed() < Duration::from_secs(10));
    assert_eq!(mac(&a), before, "neighbours know it by that");
    assert!(pings(&a, "10.0.1.2") && pings(&a, "10.0.1.102"));
    // As after a reboot of the host, or when somebody removes the bridge.
    host.run("ip link del weave");
    run_in(&a, "ip link del ethwe");
    guard.says("put back ");
    guard.says("(10.0.1.1/24) again");
    within(
        Duration::from_secs(10),
        "the containers reach each other",
        || pings(&a, "10.0.1.2") && pings(&b, "10.0.1.102"),
    );
    guard.ends();
}

pub(crate) fn there_is_one_guard_and_it_costs_next_to_nothing() {
    let host = Host::new();
    host.done("expose 10.0.1.102/24");
    let mut first = Guard::start(&host, &[]);
    first.says("guards this host's network");
    let said = host.refused("guard", 1);
    assert_eq!(
        said,
        format!(
            "weave: cannot guard this host's network: another guard does already, process {}; weave guard --replace \
             takes its place",
            first.child.id()
        )
    );
    let mut second = Guard::start(&host, &["--replace"]);
    second.says("guards this host's network");
    first.says("ends on SIGTERM");
    assert!(first.child.wait().unwrap().success());
    let pid_file = host.state_dir().join("guard.pid");
    let pid = fs::read_to_string(&pid_file).unwrap();
    assert_eq!(pid.trim(), second.child.id().to_string());
    // With the programs that it runs.
    let period = Duration::from_secs(12);
    let before = second.cpu_time();
    std::thread::sleep(period);
    let cpu = (second.cpu_time() - before).as_secs_f64() / period.as_secs_f64();
    eprintln!("idle, a guard takes {:.2} % of a core", cpu * 100.0);
    assert!(cpu < 0.005, "{cpu}");
    second.ends();
    assert!(!pid_file.exists());
    // An address that somebody else took is left to them.
    let other = host.container(&["10.0.1.9/24"]);
    host.run("ip addr del 10.0.1.102/24 dev weave");
    let inside = Netlink::open_in(&other).unwrap();
    inside
        .add_address_undetected("ethwe", cidr("10.0.1.102/24"))
        .unwrap();
    let mut third = Guard::start(&host, &[]);
    let line = third.says("cannot expose 10.0.1.102/24: ");
    assert!(
        line.contains("10.0.1.102 is in use on the network, by "),
        "{line}"
    );
    third.ends();
}

fn rules_and_settings(host: &Host) -> std::collections::BTreeMap<String, String> {
    let mut snapshot = host.snapshot();
    snapshot.retain(|key, _| key != "files" && key != "ip -o link");
    snapshot
}

struct Guard {
    child: Child,
    lines: Lines<BufReader<ChildStderr>>,
}

impl Guard {
    fn start(host: &Host, args: &[&str]) -> Self {
        let mut command = host.command();
        command.arg("guard").args(args).stderr(Stdio::piped());
        let mut child = host.namespace.run(|| command.spawn()).unwrap().unwrap();
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        Self { child, lines }
    }

    /// Its next line with this in it.
    fn says(&mut self, wanted: &str) -> String {
        let mut said = Vec::new();
        for line in &mut self.lines {
            let line = line.unwrap();
            if line.contains(wanted) {
                return line;
            }
            said.push(line);
        }
        panic!("{wanted:?} is not in {said:#?}");
    }

    fn ends(&mut self) {
        kill(self.pid(), Signal::SIGTERM).unwrap();
        self.says("ends on SIGTERM");
        assert!(self.child.wait().unwrap().success());
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id().try_into().unwrap())
    }

    /// What it and its children have taken, to 10 ms.
    fn cpu_time(&self) -> Duration {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap();
        let (_, fields) = stat.rsplit_once(") ").unwrap();
        // utime, stime, cutime and cstime (proc(5)): fields 14 to 17, of which the third is here the first.
        let ticks: u64 = fields
            .split(' ')
            .skip(11)
            .take(4)
            .map(|ticks| ticks.parse::<u64>().unwrap())
            .sum();
        Duration::from_millis(ticks * 10)
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
