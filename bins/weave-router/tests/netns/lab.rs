//! A network of hosts with containers on one machine, made of network namespaces.
//!
//! A host is a namespace with `eth0`; the hosts meet on a bridge in one more namespace, the underlay, where nft cuts
//! the wire between any two. A container is a namespace with `ethwe`, whose other end is on its host's bridge
//! `weave`. All devices live in these namespaces, so none of their names can collide with the machine's.
//!
//! Everything goes when its value goes out of scope, also in a test that fails; routers die with the test process
//! itself ([`process`]), and what else a killed run leaves behind the next run removes ([`sweep`]).

pub(crate) mod capture;
pub(crate) mod container;
pub(crate) mod control;
pub(crate) mod datagram;
pub(crate) mod host;
pub(crate) mod memory;
pub(crate) mod nat;
pub(crate) mod ping;
pub(crate) mod process;
pub(crate) mod shapes;
mod usage;

use std::fs;
use std::io::Write;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

use weave_io::host::{Cidr, NetNs, Netlink, Route, ScopedNetNs};

pub(crate) use container::Container;
pub(crate) use host::Host;
pub(crate) use nat::NatBox;

/// The underlay, and the names and addresses of what is in the lab.
pub(crate) struct Lab {
    /// Begins the name of each namespace: `wv`, the process, the lab.
    prefix: String,
    number: u8,
    /// Addresses given away on the underlay.
    hosts: u8,
    boxes: u8,
    wires: Netlink,
    underlay: ScopedNetNs,
    folder: Folder,
}

impl Lab {
    /// An underlay without hosts.
    pub(crate) fn new() -> Self {
        // Labs share nothing; their own numbers make addresses in a log tell which test they belong to.
        static COUNTER: AtomicU8 = AtomicU8::new(0);
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        if number == 0 {
            sweep();
        }
        let prefix = format!("{PREFIX}{}-{number}", std::process::id());
        let folder = Folder::new(std::env::temp_dir().join(&prefix));
        let underlay = ScopedNetNs::create(&format!("{prefix}-under")).unwrap();
        let wires = Netlink::open_in(&underlay).unwrap();
        wires.ensure_bridge(BRIDGE, None).unwrap();
        let lab = Self {
            prefix,
            number,
            hosts: 0,
            boxes: 0,
            wires,
            underlay,
            folder,
        };
        lab.nft(
            "table bridge lab {
                set cuts { type ifname . ifname; }
                set blocks { type ifname . ifname; }
                chain large { }
                chain lossy { }
                chain forward {
                    type filter hook forward priority 0;
                    iifname . oifname @cuts drop;
                    meta l4proto udp iifname . oifname @blocks drop;
                    jump large;
                    jump lossy;
                }
            }",
        );
        lab
    }

    /// A host on the underlay, at 198.18.NUMBER of the lab.1 and so on, without a router yet.
    pub(crate) fn host(&mut self, name: &str) -> Host {
        let address = self.next_address();
        let (namespace, wire) = self.namespace_on_wire(name);
        Host::new(name, address, wire, namespace, &self.folder.0)
    }

    /// An address of this lab's underlay that nobody has yet.
    pub(crate) fn next_address(&mut self) -> Cidr {
        self.hosts += 1;
        let address = Ipv4Addr::new(198, 18, self.number, self.hosts);
        Cidr::new(address.into(), 24).expect("24 is no more than 32")
    }

    /// A box on the underlay that hides the hosts behind it.
    pub(crate) fn nat(&mut self, name: &str, ports: nat::Ports) -> NatBox {
        let outside = self.next_address();
        let (namespace, wire) = self.namespace_on_wire(name);
        let number = self.boxes;
        self.boxes += 1;
        NatBox::new(self.number, number, outside, wire, namespace, ports)
    }

    /// A host behind such a box, at 198.19.NUMBER of the lab. What cuts its wire cuts the box's.
    pub(crate) fn host_behind(&self, nat: &mut NatBox, name: &str) -> Host {
        let namespace = ScopedNetNs::create(&format!("{}-{name}", self.prefix)).unwrap();
        let (address, gateway) = nat.connect(&namespace);
        let host = Host::new(
            name,
            address,
            nat.wire().to_owned(),
            namespace,
            &self.folder.0,
        );
        let route = Route::default_via(gateway.into());
        host.netlink().add_route(&route).unwrap();
        host
    }

    fn namespace_on_wire(&self, name: &str) -> (ScopedNetNs, String) {
        let namespace = ScopedNetNs::create(&format!("{}-{name}", self.prefix)).unwrap();
        let wire = format!("to-{name}");
        self.wires
            .create_veth(&wire, "eth0", Some(&namespace))
            .unwrap();
        self.wires.attach(BRIDGE, &wire).unwrap();
        self.wires.set_up(&wire).unwrap();
        (namespace, wire)
    }

    /// Cuts the wire between two hosts without a word to either: what one sends just never arrives.
    pub(crate) fn cut(&self, one: &Host, other: &Host) {
        self.nft(&format!(
            "add element bridge lab cuts {{ {}, {} }}",
            pair(one, other),
            pair(other, one)
        ));
    }

    /// Mends what [`Lab::cut`] cut.
    pub(crate) fn heal(&self, one: &Host, other: &Host) {
        self.nft(&format!(
            "delete element bridge lab cuts {{ {}, {} }}",
            pair(one, other),
            pair(other, one)
        ));
    }

    /// Cuts one direction only.
    pub(crate) fn cut_one_way(&self, from: &Host, to: &Host) {
        self.nft(&format!(
            "add element bridge lab cuts {{ {} }}",
            pair(from, to)
        ));
    }

    /// Mends what [`Lab::cut_one_way`] cut.
    pub(crate) fn heal_one_way(&self, from: &Host, to: &Host) {
        self.nft(&format!(
            "delete element bridge lab cuts {{ {} }}",
            pair(from, to)
        ));
    }

    /// Drops the datagrams between two hosts, and lets TCP pass.
    pub(crate) fn block_udp(&self, one: &Host, other: &Host) {
        self.nft(&format!(
            "add element bridge lab blocks {{ {}, {} }}",
            pair(one, other),
            pair(other, one)
        ));
    }

    /// Takes [`Lab::block_udp`] back.
    pub(crate) fn unblock_udp(&self, one: &Host, other: &Host) {
        self.nft(&format!(
            "delete element bridge lab blocks {{ {}, {} }}",
            pair(one, other),
            pair(other, one)
        ));
    }

    /// Drops so many of a hundred packets between two hosts, each direction by chance of its own.
    pub(crate) fn lose(&self, one: &Host, other: &Host, percent: u32) {
        for (from, to) in [(one, other), (other, one)] {
            self.nft(&format!(
                "add rule bridge lab lossy iifname {:?} oifname {:?} numgen random mod 100 < {percent} drop",
                from.wire(),
                to.wire()
            ));
        }
    }

    /// Takes all of [`Lab::lose`] back.
    pub(crate) fn lose_nothing(&self) {
        self.nft("flush chain bridge lab lossy");
    }

    /// Drops IP packets of more than so many bytes between all hosts, without a word.
    pub(crate) fn swallow_above(&self, ip_bytes: u32) {
        self.nft(&format!(
            "flush chain bridge lab large; add rule bridge lab large meta length > {ip_bytes} drop"
        ));
    }

    /// Takes [`Lab::swallow_above`] back.
    pub(crate) fn swallow_nothing(&self) {
        self.nft("flush chain bridge lab large");
    }

    /// Joins the bridges of two hosts by a wire outside of the mesh; gives its ends' names.
    pub(crate) fn join_bridges(&self, one: &Host, other: &Host) -> [String; 2] {
        let ends = [one, other].map(|host| format!("join-{}", host.name()));
        one.netlink()
            .create_veth(&ends[0], &ends[1], Some(other.namespace()))
            .unwrap();
        for (host, end) in [one, other].into_iter().zip(&ends) {
            host.netlink().attach("weave", end).unwrap();
        }
        for (host, end) in [one, other].into_iter().zip(&ends) {
            host.netlink().set_up(end).unwrap();
        }
        ends
    }

    /// Gives a host's device, its wire and the bridge behind an MTU.
    pub(crate) fn set_mtu(&self, host: &Host, mtu_bytes: u32) {
        self.wires.set_mtu(host.wire(), mtu_bytes).unwrap();
        self.wires.set_mtu(BRIDGE, mtu_bytes).unwrap();
        host.netlink().set_mtu("eth0", mtu_bytes).unwrap();
    }

    /// The namespace in which all wires between hosts end.
    pub(crate) fn underlay(&self) -> &NetNs {
        &self.underlay
    }

    /// The index of a host's wire in the underlay.
    pub(crate) fn wire(&self, host: &Host) -> u32 {
        self.wires.link(host.wire()).unwrap().index
    }

    fn nft(&self, ruleset: &str) {
        nft(&self.underlay, ruleset);
    }
}

/// Adds to the firewall of a namespace.
pub(crate) fn nft(namespace: &NetNs, ruleset: &str) {
    let mut command = Command::new("nft");
    command
        .args(["-f", "-"])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = namespace
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
        std::thread::sleep(PAUSE);
    }
}

/// Says a measured figure beside the test's result.
pub(crate) fn figure(text: &str) {
    eprintln!("  {text}");
}

/// An address with its prefix length.
pub(crate) fn cidr(text: &str) -> Cidr {
    text.parse().expect("a constant")
}

/// Removes what runs that were killed have left: namespaces and folders named after a process that is no more.
fn sweep() {
    let orphan = |name: &str| {
        let pid = name
            .strip_prefix(PREFIX)?
            .split('-')
            .next()?
            .parse::<u32>()
            .ok()?;
        (!Path::new(&format!("/proc/{pid}")).exists()).then_some(())
    };
    let names = |folder: &Path| -> Vec<String> {
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        entries
            .filter_map(|entry| entry.file_name().into_string().ok())
            .collect()
    };
    for name in names(Path::new("/var/run/netns")) {
        if orphan(&name).is_some()
            && let Ok(namespace) = NetNs::open(&name)
        {
            let _ = namespace.remove();
        }
    }
    for name in names(&std::env::temp_dir()) {
        if orphan(&name).is_some() {
            let _ = fs::remove_dir_all(std::env::temp_dir().join(name));
        }
    }
}

fn pair(from: &Host, to: &Host) -> String {
    format!("{:?} . {:?}", from.wire(), to.wire())
}

/// A folder for state and sockets, removed when it goes out of scope.
struct Folder(PathBuf);

impl Folder {
    fn new(path: PathBuf) -> Self {
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Begins the name of everything that outlives a killed run.
const PREFIX: &str = "wv";
/// Where the hosts meet.
const BRIDGE: &str = "underlay";
/// Between two attempts: short beside every limit that a test sets, long beside what an attempt costs.
const PAUSE: Duration = Duration::from_millis(10);
