//! A host: a namespace on the underlay, with a router and a bridge for its containers.

use std::fs::{self, File};
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use weave_core::Status;
use weave_io::host::{Cidr, Netlink, ScopedNetNs};

use super::container::Make;
use super::control::{self, Answer};
use super::process::Process;
use super::{Container, PAUSE};

/// One host. Its router is killed when it goes out of scope, and the end of its log printed if the test fails.
pub(crate) struct Host {
    name: String,
    address: Cidr,
    wire: String,
    /// Before the netlink handle and the namespace, so that the router goes first.
    router: Option<Process>,
    netlink: Netlink,
    namespace: ScopedNetNs,
    folder: PathBuf,
    containers: u32,
}

impl Host {
    pub(super) fn new(
        name: &str,
        address: Cidr,
        wire: String,
        namespace: ScopedNetNs,
        lab_folder: &Path,
    ) -> Self {
        let netlink = Netlink::open_in(&namespace).unwrap();
        netlink.set_up("lo").unwrap();
        netlink.add_address("eth0", address).unwrap();
        // The kernel's own IPv6 addresses come when they like, amidst a comparison of before and after.
        netlink.disable_ipv6_autoconf("eth0").unwrap();
        netlink.set_up("eth0").unwrap();
        let folder = lab_folder.join(name);
        fs::create_dir(&folder).unwrap();
        Self {
            name: name.to_owned(),
            address,
            wire,
            router: None,
            netlink,
            namespace,
            folder,
            containers: 0,
        }
    }

    /// Its address on the underlay.
    pub(crate) fn address(&self) -> Ipv4Addr {
        match self.address.address() {
            IpAddr::V4(address) => address,
            IpAddr::V6(address) => panic!("{address} on the underlay"),
        }
    }

    /// Gives it another address on the underlay, and takes the one it had.
    pub(crate) fn move_to(&mut self, address: Cidr) {
        // Else the second of a network goes with the first (ip-sysctl; systemd sets it everywhere).
        self.netlink
            .set_setting("ipv4/conf/eth0/promote_secondaries", "1")
            .unwrap();
        self.netlink.add_address("eth0", address).unwrap();
        self.netlink.remove_address("eth0", self.address).unwrap();
        self.address = address;
    }

    /// Its name, which is its router's too.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The name of its wire's other end, in the underlay.
    pub(crate) fn wire(&self) -> &str {
        &self.wire
    }

    /// Its devices.
    pub(crate) fn netlink(&self) -> &Netlink {
        &self.netlink
    }

    /// Where it is.
    pub(crate) fn namespace(&self) -> &ScopedNetNs {
        &self.namespace
    }

    /// Where its router's state, control socket and log are.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// The Unix socket of the router's control API.
    pub(crate) fn control_path(&self) -> PathBuf {
        self.folder.join("weave.sock")
    }

    /// The router's state folder.
    pub(crate) fn state_path(&self) -> PathBuf {
        self.folder.join("state")
    }

    /// A container on this host's bridge, which is made if there is none yet.
    pub(crate) fn container(&mut self, addresses: &[&str]) -> Container {
        self.container_as(&Make {
            addresses,
            ..Make::default()
        })
    }

    /// A container on no bridge, and the name of the host's end of its interface.
    #[cfg(feature = "pcap")]
    pub(crate) fn lone_container(&mut self, addresses: &[&str]) -> (Container, String) {
        let make = Make {
            addresses,
            ..Make::default()
        };
        let container = self.next_container(&make, None);
        (container, super::container::outside(self.containers))
    }

    /// The same as [`Host::container`], with more to be said about it.
    pub(crate) fn container_as(&mut self, make: &Make<'_>) -> Container {
        self.next_container(make, Some("weave"))
    }

    fn next_container(&mut self, make: &Make<'_>, bridge: Option<&str>) -> Container {
        self.containers += 1;
        let name = format!(
            "{}-c{}",
            self.namespace.name().expect("made by name"),
            self.containers
        );
        Container::new(&self.netlink, &name, self.containers, make, bridge)
    }

    /// Starts the router, told these peers; returns the moment at which it was started.
    pub(crate) fn start(&mut self, peers: &[Ipv4Addr]) -> Instant {
        self.start_with(&[], peers)
    }

    /// [`Host::start`] with further flags.
    pub(crate) fn start_with(&mut self, flags: &[&str], peers: &[Ipv4Addr]) -> Instant {
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.log_path())
            .unwrap();
        let mut arguments = self.arguments();
        arguments.extend(flags.iter().map(|flag| (*flag).to_owned()));
        arguments.extend(peers.iter().map(Ipv4Addr::to_string));
        let started = Instant::now();
        self.router = Some(Process::start(&self.namespace, ROUTER, &arguments, log));
        started
    }

    /// The running router.
    pub(crate) fn router(&self) -> &Process {
        self.router.as_ref().expect("the router was started")
    }

    /// Kills the router as a crash would: nothing of it runs any more when this returns.
    pub(crate) fn kill(&mut self) {
        let router = self.router.take().expect("the router was started");
        router.signal(Signal::SIGKILL);
        router
            .wait(Duration::from_secs(5))
            .expect("nothing survives SIGKILL");
    }

    /// Runs a second router beside, to its end: for one that is expected to refuse its arguments.
    pub(crate) fn run_to_end(&self, arguments: &[String]) -> Output {
        let mut command = Command::new("timeout");
        // The time limit is for the test's sake: a router that does not refuse would run for ever.
        command
            .args(["--signal=KILL", "10", ROUTER])
            .args(arguments);
        self.namespace.run(|| command.output()).unwrap().unwrap()
    }

    /// The arguments that every router of this lab gets.
    pub(crate) fn arguments(&self) -> Vec<String> {
        let flags = [
            ("--name", self.name.clone()),
            ("--nickname", format!("host {}", self.name)),
            ("--state-dir", self.state_path().display().to_string()),
            ("--control", self.control_path().display().to_string()),
            (
                "--log",
                std::env::var("WEAVE_TEST_LOG").unwrap_or_else(|_| "info".to_owned()),
            ),
        ];
        flags
            .into_iter()
            .flat_map(|(flag, value)| [flag.to_owned(), value])
            .collect()
    }

    /// What the router says of itself, or `None` while it does not answer.
    pub(crate) fn status(&self) -> Option<Status> {
        let answer = self.request("GET", "/status", b"")?;
        assert_eq!(answer.code, 200, "{}", answer.text());
        Some(serde_json::from_slice(&answer.body).expect("the status is what weave-core defines"))
    }

    /// Asks the control API, or `None` while nobody listens there.
    pub(crate) fn request(&self, method: &str, path: &str, body: &[u8]) -> Option<Answer> {
        control::request(&self.control_path(), method, path, body).ok()
    }

    /// Waits until the router's status is as wanted; how long that took.
    pub(crate) fn await_status(
        &self,
        limit: Duration,
        what: &str,
        wanted: impl Fn(&Status) -> bool,
    ) -> Duration {
        let start = Instant::now();
        loop {
            let status = self.status();
            if status.as_ref().is_some_and(&wanted) {
                return start.elapsed();
            }
            assert!(
                start.elapsed() < limit,
                "{}: {what}: not within {limit:?}; {}",
                self.name,
                status.map_or_else(|| "no status".to_owned(), |status| summary(&status))
            );
            std::thread::sleep(PAUSE);
        }
    }

    /// Waits until frames flow over a link with each of these hosts.
    pub(crate) fn await_links(&self, limit: Duration, others: &[&Self]) -> Duration {
        let names: Vec<&str> = others.iter().map(|other| other.name()).collect();
        self.await_status(limit, &format!("links with {names:?}"), |status| {
            names.iter().all(|name| has_link(status, name))
        })
    }

    /// Waits until frames for each of these hosts go straight there.
    pub(crate) fn await_direct(&self, limit: Duration, others: &[&Self]) -> Duration {
        let names: Vec<&str> = others.iter().map(|other| other.name()).collect();
        self.await_status(limit, &format!("direct routes to {names:?}"), |status| {
            names
                .iter()
                .all(|name| has_link(status, name) && is_direct(status, name))
        })
    }

    /// Where its router's log is.
    pub(crate) fn log_path(&self) -> PathBuf {
        self.folder.join("log")
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = fs::read_to_string(self.log_path()).unwrap_or_default();
            let lines: Vec<&str> = log.lines().collect();
            let tail = &lines[lines.len().saturating_sub(LOG_TAIL_LINES)..];
            eprintln!(
                "--- the router of host {} ({}):\n{}",
                self.name,
                self.address,
                tail.join("\n")
            );
        }
    }
}

/// Links and routes, for the message of a failed test.
fn summary(status: &Status) -> String {
    let mut text = String::from("links:");
    for link in &status.connections {
        let rtt = link.rtt_us.unwrap_or(0);
        text += &format!(
            " {} ({}, cost {}, rtt {rtt} us)",
            link.name, link.state, link.cost_us
        );
    }
    text += "; routes:";
    for route in &status.routes {
        text += &format!(
            " {} over {} ({} us)",
            route.destination, route.next_hop, route.cost_us
        );
    }
    text
}

fn has_link(status: &Status, name: &str) -> bool {
    let mut links = status.connections.iter();
    links.any(|link| link.name == name && link.usable)
}

fn is_direct(status: &Status, name: &str) -> bool {
    let mut routes = status.routes.iter();
    routes.any(|route| route.destination == name && route.direct && route.tunnel)
}

/// The program under test.
pub(crate) const ROUTER: &str = env!("CARGO_BIN_EXE_weave-router");
/// Of a failed test's log.
const LOG_TAIL_LINES: usize = 40;
