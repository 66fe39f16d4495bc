//! A host of the tests: a network namespace with a state folder of its own, and bare namespaces as containers.

use std::fs;
use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use weave_io::host::{Link, NetNs, Netlink, ScopedNetNs};

/// A host; all of it goes with the value.
pub(crate) struct Host {
    // Before the folder, which the routers write to.
    routers: Vec<Child>,
    pub(crate) netlink: Netlink,
    pub(crate) namespace: ScopedNetNs,
    pub(crate) name: String,
    pub(crate) folder: Folder,
}

/// A container: a namespace with a name.
pub(crate) struct Container {
    pub(crate) netlink: Netlink,
    pub(crate) namespace: ScopedNetNs,
    pub(crate) name: String,
}

impl Host {
    pub(crate) fn new() -> Self {
        let name = unique_name();
        let namespace = ScopedNetNs::create(&name).unwrap();
        let netlink = Netlink::open_in(&namespace).unwrap();
        netlink.set_up("lo").unwrap();
        Self {
            routers: Vec::new(),
            netlink,
            namespace,
            folder: Folder::new(&name),
            name,
        }
    }

    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_weave"));
        for (variable, _) in std::env::vars_os() {
            if variable.as_encoded_bytes().starts_with(b"WEAVE_") {
                command.env_remove(variable);
            }
        }
        command
            .args(args)
            .env("WEAVE_STATE_DIR", self.state())
            .env("WEAVE_CONTROL", self.folder.0.join("weave.sock"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    pub(crate) fn state(&self) -> PathBuf {
        self.folder.0.join("state")
    }

    pub(crate) fn spawn(&self, args: &[&str]) -> Child {
        self.namespace.spawn(&mut self.command(args)).unwrap()
    }

    pub(crate) fn weave(&self, args: &[&str]) -> Output {
        self.spawn(args).wait_with_output().unwrap()
    }

    /// Runs the tool, which must succeed without a word on stderr, and gives what it printed.
    pub(crate) fn done(&self, args: &[&str]) -> String {
        let (said, complained) = self.told(args);
        assert_eq!(complained, "", "{args:?}");
        said
    }

    /// Runs the tool, which must succeed, and gives what it printed to stdout and stderr.
    pub(crate) fn told(&self, args: &[&str]) -> (String, String) {
        let output = self.weave(args);
        let complained = text(&output.stderr);
        assert!(output.status.success(), "{args:?}: {complained}");
        (text(&output.stdout), complained)
    }

    /// Runs the tool, which must refuse with this exit code, and gives its one line.
    pub(crate) fn refused(&self, code: i32, args: &[&str]) -> String {
        let output = self.weave(args);
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{args:?}: {said}");
        assert_eq!(said.lines().count(), 1, "{said}");
        assert_eq!(text(&output.stdout), "");
        said.trim_end().to_owned()
    }

    pub(crate) fn ledger(&self) -> String {
        fs::read_to_string(self.state().join("host.json")).unwrap_or_default()
    }

    pub(crate) fn ip(&self, args: &[&str]) -> String {
        ip(&self.namespace, args)
    }

    /// Starts a router on it, and waits until it answers.
    pub(crate) fn start_router(&mut self, args: &[&str]) {
        let mut command = self.command(&["router", "--state-dir"]);
        command
            .arg(self.folder.0.join("router"))
            .args(args)
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        self.routers
            .push(self.namespace.spawn(&mut command).unwrap());
        wait_for("the router", || {
            matches!(self.weave(&["status"]).status.code(), Some(0 | 3))
        });
    }

    /// Fails where something differs from a snapshot before, and shows what.
    pub(crate) fn is_as_before(&self, containers: &[&Container], before: &str, why: &str) {
        let now = self.snapshot(containers);
        let only = |of: &str, other: &str, sign| {
            let lines = of.lines().filter(|line| !other.lines().any(|l| l == *line));
            lines
                .map(|line| format!("{sign} {line}\n"))
                .collect::<String>()
        };
        assert!(
            now == before,
            "{why}\n{}{}",
            only(before, &now, '-'),
            only(&now, before, '+')
        );
    }

    /// All that a command could change: devices, addresses, routes, rules, settings, files.
    pub(crate) fn snapshot(&self, containers: &[&Container]) -> String {
        let mut all = String::new();
        let namespaces = containers.iter().map(|c| &*c.namespace);
        for namespace in std::iter::once(&*self.namespace).chain(namespaces) {
            for args in [
                &["-o", "link"][..],
                &["-o", "addr"],
                &["route", "show", "table", "all"],
                &["-6", "route", "show", "table", "all"],
            ] {
                // What a device makes itself takes its time.
                let lines = ip(namespace, args);
                let lines = lines.lines().filter(|line| !line.contains("fe80::"));
                lines.for_each(|line| all.push_str(&format!("{line}\n")));
            }
        }
        for netlink in containers.iter().map(|c| &c.netlink) {
            for key in ["ipv6/conf/ethwe/disable_ipv6", "ipv6/conf/ethwe/accept_ra"] {
                all.push_str(&format!("{key} {:?}\n", netlink.setting(key).ok()));
            }
        }
        for program in ["iptables-save", "ip6tables-save"] {
            let rules = run(&self.namespace, Command::new(program));
            let lines = rules.lines().filter(|line| line.contains("WEAVE"));
            lines.for_each(|line| all.push_str(&format!("{program} {line}\n")));
        }
        let mut files: Vec<String> = fs::read_dir(self.state())
            .into_iter()
            .flatten()
            .map(|file| file.unwrap().path())
            .map(|path| {
                // Who held the lock last is nobody's business.
                let lock = path.ends_with("host.lock");
                let text = if lock {
                    Ok(String::new())
                } else {
                    fs::read_to_string(&path)
                };
                format!("{} {}\n", path.display(), text.unwrap())
            })
            .collect();
        files.sort();
        files.push(format!("state folder: {}\n", self.state().exists()));
        all.push_str(&files.concat());
        all
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        for router in &mut self.routers {
            let _ = router.kill();
            let _ = router.wait();
        }
    }
}

impl Container {
    pub(crate) fn new() -> Self {
        Self::named(&unique_name())
    }

    pub(crate) fn named(name: &str) -> Self {
        let namespace = ScopedNetNs::create(name).unwrap();
        Self {
            netlink: Netlink::open_in(&namespace).unwrap(),
            namespace,
            name: name.to_owned(),
        }
    }

    /// How the user names it.
    pub(crate) fn place(&self) -> String {
        format!("netns:{}", self.name)
    }

    pub(crate) fn device(&self) -> Link {
        self.netlink.link("ethwe").unwrap()
    }

    /// Its addresses on the network, but for the one that it made itself.
    pub(crate) fn addresses(&self) -> Vec<String> {
        let mut all: Vec<String> = self
            .netlink
            .addresses_of("ethwe")
            .unwrap_or_default()
            .iter()
            .map(ToString::to_string)
            .filter(|address| !address.starts_with("fe80"))
            .collect();
        all.sort();
        all
    }

    pub(crate) fn ip(&self, args: &[&str]) -> String {
        ip(&self.namespace, args)
    }

    /// Whether a datagram to the other's address comes back within a second, from one of one's own.
    pub(crate) fn reaches(&self, from: &str, other: &Self, to: &str) -> bool {
        let bind = |container: &Self, address: &str| -> io::Result<UdpSocket> {
            let address: IpAddr = address.parse().unwrap();
            let socket = container
                .namespace
                .run(|| UdpSocket::bind(SocketAddr::new(address, 0)))
                .unwrap()?;
            socket.set_read_timeout(Some(Duration::from_millis(250)))?;
            Ok(socket)
        };
        let (Ok(near), Ok(far)) = (bind(self, from), bind(other, to)) else {
            return false;
        };
        let mut bytes = [0; 16];
        (0..4).any(|_| {
            if near.send_to(b"there", far.local_addr().unwrap()).is_err() {
                return false;
            }
            let Ok((length, back)) = far.recv_from(&mut bytes) else {
                return false;
            };
            far.send_to(&bytes[..length], back).is_ok() && near.recv_from(&mut bytes).is_ok()
        })
    }
}

/// What `ip` says there: an opinion independent of the code under test.
pub(crate) fn ip(namespace: &NetNs, args: &[&str]) -> String {
    let mut command = Command::new("ip");
    command.args(args);
    run(namespace, command)
}

fn run(namespace: &NetNs, mut command: Command) -> String {
    let output = namespace.run(|| command.output()).unwrap().unwrap();
    assert!(
        output.status.success(),
        "{command:?}: {}",
        text(&output.stderr)
    );
    text(&output.stdout)
}

pub(crate) fn wait_for(what: &str, mut done: impl FnMut() -> bool) {
    for _ in 0..1000 {
        if done() {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("{what} takes more than 10 s");
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A folder of this process, removed when it goes out of scope.
pub(crate) struct Folder(pub(crate) PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(name);
        fs::create_dir(&path).unwrap();
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn unique_name() -> String {
    static COUNTER: AtomicU32 = AtomicU32::new(0);
    format!(
        "wvat-{}-{}",
        std::process::id(),
        COUNTER.fetch_add(1, Ordering::Relaxed)
    )
}
