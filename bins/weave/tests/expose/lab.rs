//! A host that is a network namespace, and what is around it.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use weave_io::host::{Cidr, NetNs, Netlink, Route, ScopedNetNs};

/// The host's address on the wire to the outside, and the outside's own.
pub(crate) const HOST: &str = "192.168.7.1";
pub(crate) const OUTSIDE: &str = "192.168.7.2";

/// A host with a wire `eth0` to a machine outside, its firewall as Docker sets it.
pub(crate) struct Host {
    pub(crate) namespace: ScopedNetNs,
    pub(crate) netlink: Netlink,
    pub(crate) outside: ScopedNetNs,
    pub(crate) folder: PathBuf,
}

impl Host {
    pub(crate) fn new() -> Self {
        let name = unique_name();
        let namespace = ScopedNetNs::create(&name).unwrap();
        let outside = ScopedNetNs::create(&format!("{name}o")).unwrap();
        let netlink = Netlink::open_in(&namespace).unwrap();
        netlink.set_up("lo").unwrap();
        netlink.create_veth("eth0", "eth0", Some(&outside)).unwrap();
        let there = Netlink::open_in(&outside).unwrap();
        for (netlink, address) in [(&netlink, HOST), (&there, OUTSIDE)] {
            netlink
                .add_address("eth0", cidr(&format!("{address}/24")))
                .unwrap();
            netlink.set_up("eth0").unwrap();
        }
        netlink
            .set_setting("ipv6/conf/eth0/accept_ra", "1")
            .unwrap();
        let folder = std::env::temp_dir().join(&name);
        fs::create_dir_all(folder.join("state")).unwrap();
        let host = Self {
            namespace,
            netlink,
            outside,
            folder,
        };
        for program in ["iptables", "ip6tables"] {
            host.run(&format!("{program} -P FORWARD DROP"));
        }
        // So that the tables are there before, empty or not.
        for program in ["iptables", "ip6tables"] {
            host.run(&format!("{program} -t nat -P POSTROUTING ACCEPT"));
        }
        for family in ["ip", "ip6"] {
            let key = format!("bridge/bridge-nf-call-{family}tables");
            assert_eq!(
                host.netlink.setting(&key).unwrap(),
                "1",
                "br_netfilter is on"
            );
        }
        host
    }

    /// A container on the network, with a default route that leads elsewhere, as Docker's do.
    pub(crate) fn container(&self, addresses: &[&str]) -> ScopedNetNs {
        let name = unique_name();
        let container = ScopedNetNs::create(&name).unwrap();
        let inside = Netlink::open_in(&container).unwrap();
        self.netlink.ensure_bridge("weave", None).unwrap();
        let port = format!("p{}", name.trim_start_matches("wvx-"));
        self.netlink
            .create_veth(&port, "ethwe", Some(&container))
            .unwrap();
        self.netlink.attach("weave", &port).unwrap();
        self.netlink.set_up(&port).unwrap();
        for address in addresses {
            inside
                .add_address_undetected("ethwe", cidr(address))
                .unwrap();
        }
        inside.set_up("lo").unwrap();
        inside.set_up("ethwe").unwrap();
        inside.create_veth("eth0", "nowhere", None).unwrap();
        inside.set_up("nowhere").unwrap();
        inside.set_up("eth0").unwrap();
        inside.add_address("eth0", cidr("172.31.0.2/24")).unwrap();
        let gateway = "172.31.0.1".parse().unwrap();
        inside.add_route(&Route::default_via(gateway)).unwrap();
        container
    }

    /// A container that isn't on the network yet.
    pub(crate) fn bare_container(&self) -> ScopedNetNs {
        let container = ScopedNetNs::create(&unique_name()).unwrap();
        Netlink::open_in(&container).unwrap().set_up("lo").unwrap();
        container
    }

    pub(crate) fn weave(&self, args: &[&str]) -> Output {
        let mut command = self.command();
        self.namespace
            .run(|| command.args(args).output())
            .unwrap()
            .unwrap()
    }

    /// The tool, for this host.
    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_weave"));
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("WEAVE_") {
                command.env_remove(name);
            }
        }
        command
            .arg("--state-dir")
            .arg(self.state_dir())
            .arg("--control")
            .arg(self.folder.join("run/weave.sock"))
            .stdin(Stdio::null());
        command
    }

    pub(crate) fn state_dir(&self) -> PathBuf {
        self.folder.join("state")
    }

    /// Runs the tool, which must do it without a word.
    pub(crate) fn done(&self, args: &str) {
        let output = self.weave(&args.split(' ').collect::<Vec<_>>());
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "weave {args}: {said}");
        assert!(said.is_empty(), "weave {args}: {said}");
    }

    /// Runs the tool, which must give up with one line.
    pub(crate) fn refused(&self, args: &str, code: i32) -> String {
        let output = self.weave(&args.split(' ').collect::<Vec<_>>());
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "weave {args}: {said}");
        assert_eq!(said.lines().count(), 1, "{said}");
        said.trim_end().to_owned()
    }

    /// Runs another program on the host.
    pub(crate) fn run(&self, line: &str) -> String {
        run_in(&self.namespace, line)
    }

    /// All that is there to be changed: devices, addresses, routes, rules, settings, files.
    pub(crate) fn snapshot(&self) -> BTreeMap<String, String> {
        let mut all = BTreeMap::new();
        for line in ["ip -o link", "ip -o addr", "ip route", "ip -6 route"] {
            all.insert(line.to_owned(), self.run(line));
        }
        for program in ["iptables-save", "ip6tables-save"] {
            let rules = self.run(program);
            let rules: String = rules
                .lines()
                .filter(|line| !line.starts_with('#'))
                // Counters.
                .map(|line| format!("{}\n", line.split(" [").next().unwrap()))
                .collect();
            all.insert(program.to_owned(), rules);
        }
        self.namespace
            .run(|| settings(Path::new("/proc/sys/net"), &mut all))
            .unwrap();
        all.insert("files".to_owned(), files(&self.folder));
        all
    }

    pub(crate) fn setting(&self, key: &str) -> String {
        self.netlink.setting(key).unwrap()
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// Says in which entries the two differ.
#[track_caller]
pub(crate) fn assert_same(before: &BTreeMap<String, String>, after: &BTreeMap<String, String>) {
    let keys = before.keys().chain(after.keys());
    for key in keys {
        assert_eq!(before.get(key), after.get(key), "{key}");
    }
}

/// A line from a server that listens in one namespace, asked for from another; and who the server saw asking.
pub(crate) fn ask(
    server: (&NetNs, &str),
    client: &NetNs,
    connect_to: &str,
) -> Option<(String, IpAddr)> {
    let listener = server
        .0
        .run(|| TcpListener::bind(server.1))
        .unwrap()
        .unwrap();
    let connect_to: SocketAddr = connect_to.parse().unwrap();
    std::thread::scope(|scope| {
        let asking = scope.spawn(|| {
            let stream = client
                .run(|| TcpStream::connect_timeout(&connect_to, PATIENCE))
                .unwrap();
            let mut text = String::new();
            match stream {
                Ok(mut stream) => stream.read_to_string(&mut text).map(|_| text).ok(),
                Err(_) => {
                    // So that nobody waits for it any more.
                    drop(server.0.run(|| TcpStream::connect(server.1)).unwrap());
                    None
                }
            }
        });
        let (mut stream, from) = listener.accept().unwrap();
        let _ = stream.write_all(b"hello");
        drop(stream);
        Some((asking.join().unwrap()?, from.ip()))
    })
}

/// Whether an echo comes back.
pub(crate) fn pings(from: &NetNs, to: &str) -> bool {
    from.run(|| {
        Command::new("ping")
            .args(["-c", "1", "-W", "1", to])
            .output()
    })
    .unwrap()
    .unwrap()
    .status
    .success()
}

pub(crate) fn within(limit: Duration, what: &str, mut attempt: impl FnMut() -> bool) {
    let start = Instant::now();
    while !attempt() {
        assert!(start.elapsed() < limit, "{what}: not within {limit:?}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

pub(crate) fn run_in(namespace: &NetNs, line: &str) -> String {
    let mut words = line.split(' ');
    let program = words.next().unwrap();
    let output = namespace
        .run(|| Command::new(program).args(words).output())
        .unwrap()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{line}: {said}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

pub(crate) fn cidr(text: &str) -> Cidr {
    text.parse().unwrap()
}

/// At most 14 bytes with a letter behind it, for devices are named so.
fn unique_name() -> String {
    static COUNTER: AtomicU32 = AtomicU32::new(0);
    let number = COUNTER.fetch_add(1, Ordering::Relaxed);
    format!("wvx-{}-{number}", std::process::id())
}

fn settings(folder: &Path, all: &mut BTreeMap<String, String>) {
    for entry in fs::read_dir(folder).unwrap().flatten() {
        let path = entry.path();
        if entry.file_type().unwrap().is_dir() {
            settings(&path, all);
        // Those that count, and those that can't be read.
        } else if !path.ends_with("nf_conntrack_count")
            && let Ok(value) = fs::read_to_string(&path)
        {
            all.insert(path.display().to_string(), value);
        }
    }
}

fn files(folder: &Path) -> String {
    let mut names: Vec<String> = Vec::new();
    for entry in fs::read_dir(folder).unwrap().flatten() {
        names.push(entry.path().display().to_string());
        if entry.file_type().unwrap().is_dir() {
            names.push(files(&entry.path()));
        }
    }
    names.sort();
    names.join("\n")
}

const PATIENCE: Duration = Duration::from_secs(2);
