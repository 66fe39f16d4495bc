//! Hosts with container engines, on one machine.
//!
//! A [`Host`] is a set of namespaces: a network with `eth0` on the lab's underlay, and mounts, processes and host name
//! of its own. `/run`, `/tmp` and `/var/lib` are its own too, so that engine and tool find all they want in its default
//! place, and each command reads as a user types it:
//!
//! ```text
//! let mut lab = Lab::new();
//! let [one, two] = lab.docker_hosts(["one", "two"]);
//! one.weave(&["launch", "10.0.0.1/16"]).ok();
//! let container = one.weave(&["run", "10.0.1.1/24", "-t", "-i", "bb"]).id();
//! one.exec(&container, &["ping", "-c", "1", "-q", "10.0.1.2"]).ok();
//! ```
//!
//! The kernel removes a host when its first process dies: its processes, containers and mounts with it. That process
//! dies with the value, and with the test process; and the files of all hosts are in memory, mounted where only this
//! process and its children see it ([`room`]). So nothing is left of a run, however it ends.

mod container;
pub(crate) mod echo;
mod engine;
mod host;
pub(crate) mod network;
mod outside;
#[path = "../../../weave-router/tests/netns/lab/ping.rs"]
pub(crate) mod ping;
#[path = "../../../weave-router/tests/netns/lab/process.rs"]
mod process;
mod room;
mod said;
mod snapshot;
pub(crate) mod talk;

use std::fs;
use std::io::Write;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};
use std::sync::atomic::{AtomicU8, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use weave_io::host::{Cidr, NetNs, Netlink, ScopedNetNs};

use super::root_tests::{self, RootTest};
pub(crate) use container::Container;
pub(crate) use engine::Engine;
pub(crate) use host::Host;
pub(crate) use outside::Outside;
pub(crate) use room::{cgroups, processes_of, sweep};
pub(crate) use said::Said;

/// Runs the tests, one at a time: several of them measure times, and three engines keep two processors busy.
///
/// It fails also when something is left of any host at the end.
pub(crate) fn run(tests: &'static [RootTest]) -> ExitCode {
    let files = room::needed();
    let files: Vec<&str> = files.iter().map(String::as_str).collect();
    let room = room::Room::enter();
    let code = match std::env::var(STAY) {
        Ok(names) => stay(&names),
        Err(_) => root_tests::run(tests, &files, Some(1)),
    };
    let left = room::left_behind();
    drop(room);
    if left.is_empty() {
        code
    } else {
        eprintln!("failed: this is left behind:\n{}", left.join("\n"));
        ExitCode::FAILURE
    }
}

/// Hosts to look around on: see [`STAY`].
fn stay(names: &str) -> ExitCode {
    let mut lab = Lab::new();
    let hosts: Vec<Host> = names
        .split(',')
        .map(|name| lab.host(name, Engine::Docker))
        .collect();
    let mut reader = std::io::stdout();
    for host in &hosts {
        host.docker(&["run", "-d", "--name", "idle", "bb", "idle"])
            .ok();
        writeln!(reader, "{}", host.enter()).unwrap();
    }
    loop {
        thread::park();
    }
}

/// The underlay, and the names and addresses of what is in the lab.
pub(crate) struct Lab {
    /// Begins the name of each namespace and control group: `wve`, the process, the lab.
    prefix: String,
    number: u8,
    /// Addresses given away on the underlay.
    hosts: u8,
    wires: Netlink,
    underlay: ScopedNetNs,
    folder: PathBuf,
}

impl Lab {
    /// An underlay without hosts.
    pub(crate) fn new() -> Self {
        // Labs share nothing; their own numbers make addresses in a log tell which test they belong to.
        static COUNTER: AtomicU8 = AtomicU8::new(0);
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        let prefix = format!("{}-{number}", room::prefix());
        let folder = room::folder().join(number.to_string());
        fs::create_dir(&folder).unwrap();
        let underlay = ScopedNetNs::create(&format!("{prefix}-under")).unwrap();
        let wires = Netlink::open_in(&underlay).unwrap();
        wires.ensure_bridge(BRIDGE, None).unwrap();
        let lab = Self {
            prefix,
            number,
            hosts: 0,
            wires,
            underlay,
            folder,
        };
        lab.wires
            .add_address(BRIDGE, on_underlay(lab.gateway()))
            .unwrap();
        lab.nft(
            "table bridge lab {
                set cuts { type ifname . ifname; }
                chain forward {
                    type filter hook forward priority 0;
                    iifname . oifname @cuts drop;
                }
            }",
        );
        lab
    }

    /// A host on the underlay with this engine, which starts when it is first needed.
    pub(crate) fn host(&mut self, name: &str, engine: Engine) -> Host {
        let address = self.next_address();
        let wire = format!("to-{name}");
        let cgroup = format!("{}-{name}", self.prefix);
        let folder = self.folder.join(name);
        let host = Host::new(name, cgroup, address, self.gateway(), folder, engine);
        self.wire(&wire, host.netns());
        host.configure();
        host
    }

    /// Hosts whose dockerd runs; they start side by side.
    pub(crate) fn docker_hosts<const N: usize>(&mut self, names: [&str; N]) -> [Host; N] {
        let hosts = names.map(|name| self.host(name, Engine::Docker));
        thread::scope(|scope| {
            for host in &hosts {
                scope.spawn(|| host.start_engine());
            }
        });
        hosts
    }

    /// A machine on the underlay that knows nothing of weave.
    pub(crate) fn outside(&mut self, name: &str) -> Outside {
        let address = self.next_address();
        let outside = Outside::new(&format!("{}-{name}", self.prefix), name);
        self.wire(&format!("to-{name}"), outside.netns());
        outside.configure(on_underlay(address), Some(self.gateway()));
        outside
    }

    /// A machine on another network of one host, which gets `gateway` on a device `name` there; nobody else reaches it.
    pub(crate) fn outside_behind(
        &self,
        host: &Host,
        name: &str,
        address: &str,
        gateway: &str,
    ) -> Outside {
        let (address, gateway) = (cidr(address), cidr(gateway));
        let outside = Outside::new(&format!("{}-{name}", self.prefix), name);
        let netlink = host.netlink();
        netlink
            .create_veth(name, "eth0", Some(outside.netns()))
            .unwrap();
        netlink.disable_ipv6_autoconf(name).unwrap();
        netlink.add_address(name, gateway).unwrap();
        netlink.set_up(name).unwrap();
        let std::net::IpAddr::V4(gateway) = gateway.address() else {
            panic!("{gateway} is not of IPv4")
        };
        outside.configure(address, Some(gateway));
        outside
    }

    /// Boots a host again: nothing of it runs, its network is new, and what it had in `/var/lib` is there.
    pub(crate) fn reboot(&self, host: &mut Host) {
        host.power_off();
        // Its old end went with the old namespace, and the kernel removes that when it likes.
        let wire = host.wire();
        let _ = self.wires.delete_link(&wire);
        host.boot();
        self.wire(&wire, host.netns());
        host.configure();
    }

    /// Cuts the wire between two hosts without a word to either: what one sends just never arrives.
    pub(crate) fn cut(&self, one: &Host, other: &Host) {
        self.nft(&format!(
            "add element bridge lab cuts {{ {} }}",
            pairs(one, other)
        ));
    }

    /// Mends what [`Lab::cut`] cut.
    pub(crate) fn heal(&self, one: &Host, other: &Host) {
        self.nft(&format!(
            "delete element bridge lab cuts {{ {} }}",
            pairs(one, other)
        ));
    }

    fn gateway(&self) -> Ipv4Addr {
        Ipv4Addr::new(198, 18, self.number, 254)
    }

    fn next_address(&mut self) -> Ipv4Addr {
        self.hosts += 1;
        Ipv4Addr::new(198, 18, self.number, self.hosts)
    }

    /// A wire to a namespace's `eth0`.
    fn wire(&self, wire: &str, namespace: &NetNs) {
        self.wires
            .create_veth(wire, "eth0", Some(namespace))
            .unwrap();
        self.wires.attach(BRIDGE, wire).unwrap();
        self.wires.set_up(wire).unwrap();
    }

    fn nft(&self, ruleset: &str) {
        let mut command = Command::new("nft");
        command
            .args(["-f", "-"])
            .stdin(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = self
            .underlay
            .spawn(&mut command)
            .expect("package nftables is installed");
        let mut stdin = child.stdin.take().expect("piped");
        stdin.write_all(ruleset.as_bytes()).unwrap();
        drop(stdin);
        let output = child.wait_with_output().unwrap();
        assert!(
            output.status.success(),
            "nft: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// Repeats `attempt` until it gives a value or the time is over; the value, and how long it took.
///
/// `what` says what was waited for, in the panic's words.
pub(crate) fn within<T>(
    limit: Duration,
    what: &str,
    mut attempt: impl FnMut() -> Option<T>,
) -> (T, Duration) {
    let start = Instant::now();
    loop {
        if let Some(value) = attempt() {
            return (value, start.elapsed());
        }
        assert!(start.elapsed() < limit, "{what}: not within {limit:?}");
        thread::sleep(PAUSE);
    }
}

/// Says a measured figure beside the test's result.
pub(crate) fn figure(text: &str) {
    eprintln!("  {text}");
}

/// An address with its prefix length.
fn cidr(text: &str) -> Cidr {
    text.parse().expect("a constant")
}

fn on_underlay(address: Ipv4Addr) -> Cidr {
    Cidr::new(address.into(), 24).expect("24 is no more than 32")
}

fn pairs(one: &Host, other: &Host) -> String {
    let (one, other) = (one.wire(), other.wire());
    format!("{one:?} . {other:?}, {other:?} . {one:?}")
}

/// Where the hosts meet.
const BRIDGE: &str = "underlay";
/// Between two attempts: short beside every limit that a test sets, long beside what an attempt costs.
const PAUSE: Duration = Duration::from_millis(10);
/// With this in its environment the target runs no test: it starts hosts of these names (`a,b`) with a container each,
/// prints what enters them, and waits to be killed. For trying things by hand.
pub(crate) const STAY: &str = "WEAVE_TEST_STAY";
