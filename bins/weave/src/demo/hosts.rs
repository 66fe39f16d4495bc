//! The demo's hosts: network namespaces with a real router process each, and a container on each.

use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use weave_io::host::{Cidr, Error, NetNs, Netlink, ScopedNetNs};
use weave_router::{Failure, words};

/// Three hosts A, B and C, a wire between each two of them.
///
/// Each wire is a bridge in a namespace of its own, with a port for either end. A cut takes a port off its
/// bridge: both hosts' devices stay up, and neither is told a thing. All of it is removed on drop.
pub(super) struct Hosts {
    // In the order in which they go: routers first.
    hosts: Vec<Host>,
    wires: Netlink,
    _wires_namespace: ScopedNetNs,
    _folder: Folder,
}

/// One host.
pub(super) struct Host {
    router: Router,
    container: ScopedNetNs,
    folder: PathBuf,
    _namespace: ScopedNetNs,
}

impl Hosts {
    /// The container's address on each host.
    pub(super) const CONTAINERS: [Ipv4Addr; 3] = [
        Ipv4Addr::new(10, 32, 0, 1),
        Ipv4Addr::new(10, 32, 0, 2),
        Ipv4Addr::new(10, 32, 0, 3),
    ];

    /// Makes all three, A and C cut off from each other, each told of B only.
    ///
    /// # Errors
    /// What the system refused; what was made until then is removed.
    pub(super) fn make() -> Result<Self, Failure> {
        let prefix = format!("weave-demo-{}", std::process::id());
        let folder = Folder::make(&prefix)?;
        let wires_namespace =
            ScopedNetNs::create(&format!("{prefix}-wires")).map_err(network_failure)?;
        let wires = Netlink::open_in(&wires_namespace).map_err(network_failure)?;
        let mut all = Self {
            hosts: Vec::new(),
            wires,
            _wires_namespace: wires_namespace,
            _folder: folder,
        };
        let namespaces: Vec<ScopedNetNs> = NAMES
            .iter()
            .map(|name| ScopedNetNs::create(&format!("{prefix}-{name}")))
            .collect::<Result<_, _>>()
            .map_err(network_failure)?;
        for (a, b) in [(0, 1), (1, 2), (0, 2)] {
            all.lay_wire((a, &namespaces[a]), (b, &namespaces[b]))
                .map_err(network_failure)?;
        }
        // B first, so that the others find it at once.
        let mut routers: Vec<Option<(Router, PathBuf)>> = NAMES.iter().map(|_| None).collect();
        for (index, peer) in [(1, None), (0, Some((0, 1))), (2, Some((1, 2)))] {
            let folder = all._folder.0.join(NAMES[index]);
            let peer = peer.map(|wire| address(wire, 1));
            let router = Router::start(&namespaces[index], NAMES[index], &folder, peer)?;
            routers[index] = Some((router, folder));
        }
        for (index, (namespace, router)) in namespaces.into_iter().zip(routers).enumerate() {
            let container = ScopedNetNs::create(&format!("{prefix}-{}-container", NAMES[index]))
                .map_err(network_failure)?;
            plug_in(&namespace, &container, Self::CONTAINERS[index]).map_err(network_failure)?;
            let (router, folder) = router.expect("each host's router was started above");
            all.hosts.push(Host {
                router,
                container,
                folder,
                _namespace: namespace,
            });
        }
        Ok(all)
    }

    /// A host by its place in the alphabet.
    pub(super) fn host(&self, index: usize) -> &Host {
        &self.hosts[index]
    }

    /// Opens the path between A and C.
    ///
    /// # Errors
    /// What the system refused.
    pub(super) fn open_path(&self) -> Result<(), Failure> {
        self.wires
            .attach(&wire_name(0, 2), &port_name(0, 2))
            .map_err(network_failure)
    }

    /// Cuts the path between A and C, without a word to either.
    ///
    /// # Errors
    /// What the system refused.
    pub(super) fn cut_path(&self) -> Result<(), Failure> {
        self.wires.detach(&port_name(0, 2)).map_err(network_failure)
    }

    /// Lays a wire: a bridge, and a veth to each end. That between A and C stays cut.
    fn lay_wire(&self, a: (usize, &NetNs), b: (usize, &NetNs)) -> Result<(), Error> {
        let wire = wire_name(a.0, b.0);
        self.wires.ensure_bridge(&wire, None)?;
        for ((end, namespace), other) in [(a, b.0), (b, a.0)] {
            let port = port_name(end, other);
            let device = format!("to-{}", NAMES[other]);
            self.wires.create_veth(&port, &device, Some(namespace))?;
            self.wires.set_up(&port)?;
            if (end, other) != (0, 2) {
                self.wires.attach(&wire, &port)?;
            }
            let host = Netlink::open_in(namespace)?;
            host.set_up("lo")?;
            host.set_up(&device)?;
            host.add_address(&device, cidr(address((a.0, b.0), end)))?;
        }
        Ok(())
    }
}

impl Host {
    /// The control socket of its router.
    pub(super) fn control(&self) -> PathBuf {
        self.folder.join("weave.sock")
    }

    /// The namespace of its container.
    pub(super) fn container(&self) -> &NetNs {
        &self.container
    }

    /// Its router's process id.
    pub(super) fn pid(&self) -> u32 {
        self.router.0.id()
    }
}

/// A router process; asked to end, then made to, on drop.
struct Router(Child);

impl Router {
    fn start(
        namespace: &NetNs,
        name: &str,
        folder: &Path,
        peer: Option<IpAddr>,
    ) -> Result<Self, Failure> {
        let failed = |error: std::io::Error| {
            Failure::new("cannot start a router of the demo", words(&error), "")
        };
        fs::create_dir_all(folder).map_err(failed)?;
        let log = fs::File::create(folder.join("log")).map_err(failed)?;
        let mut command = Command::new(std::env::current_exe().map_err(failed)?);
        for (variable, _) in std::env::vars_os() {
            if variable.as_encoded_bytes().starts_with(b"WEAVE_") {
                command.env_remove(variable);
            }
        }
        command
            .args([
                "router",
                "--name",
                name,
                "--nickname",
                &format!("host {name}"),
            ])
            .arg("--state-dir")
            .arg(folder.join("state"))
            .arg("--control")
            .arg(folder.join("weave.sock"))
            .args(peer.map(|peer| peer.to_string()))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log);
        let mut router = Self(namespace.spawn(&mut command).map_err(network_failure)?);
        // Its bridge is there once its socket is.
        let start = Instant::now();
        while !folder.join("weave.sock").exists() || !has_bridge(namespace) {
            if let Some(status) = router.0.try_wait().map_err(failed)? {
                let log = fs::read_to_string(folder.join("log")).unwrap_or_default();
                let why = log.lines().last().map(str::to_owned);
                return Err(Failure::new(
                    format!("router {name} of the demo gave up"),
                    why.unwrap_or_else(|| status.to_string()),
                    "",
                ));
            }
            if start.elapsed() > Duration::from_secs(5) {
                return Err(Failure::new(
                    format!("router {name} of the demo does not start"),
                    "5 s are over",
                    "",
                ));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(router)
    }
}

impl Drop for Router {
    fn drop(&mut self) {
        if let Ok(pid) = i32::try_from(self.0.id()) {
            let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
        }
        let start = Instant::now();
        while start.elapsed() < Duration::from_secs(2) {
            if !matches!(self.0.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A folder that goes with its value.
struct Folder(PathBuf);

impl Folder {
    fn make(name: &str) -> Result<Self, Failure> {
        use std::os::unix::fs::DirBuilderExt;
        let path = std::env::temp_dir().join(name);
        // Not one that somebody else has laid there: the routers' keys go in.
        match fs::DirBuilder::new().mode(0o700).create(&path) {
            Ok(()) => Ok(Self(path)),
            Err(error) => Err(Failure::new(
                format!("cannot make the demo's folder {}", path.display()),
                words(&error),
                "",
            )),
        }
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

const NAMES: [&str; 3] = ["A", "B", "C"];

/// Connects a container to its host's bridge, as `weave attach` will.
fn plug_in(host: &NetNs, container: &NetNs, address: Ipv4Addr) -> Result<(), Error> {
    const PORT: &str = "vethwe-demo";
    let netlink = Netlink::open_in(host)?;
    netlink.create_veth(PORT, "ethwe", Some(container))?;
    netlink.attach("weave", PORT)?;
    netlink.set_up(PORT)?;
    let inside = Netlink::open_in(container)?;
    inside.set_up("lo")?;
    inside.set_mtu("ethwe", MTU_BYTES)?;
    inside.set_up("ethwe")?;
    inside.add_address_undetected("ethwe", cidr(address.into()))?;
    Ok(())
}

/// What a wire of 1,500 bytes leaves for containers.
const MTU_BYTES: u32 = 1390;

fn has_bridge(namespace: &NetNs) -> bool {
    Netlink::open_in(namespace)
        .and_then(|netlink| netlink.find_link("weave"))
        .is_ok_and(|link| link.is_some())
}

fn wire_name(a: usize, b: usize) -> String {
    format!("{}-{}", NAMES[a.min(b)], NAMES[a.max(b)])
}

/// The port of `end` on its wire to `other`.
fn port_name(end: usize, other: usize) -> String {
    format!("{}-of-{}", NAMES[end], wire_name(end, other))
}

/// A host's address on a wire: 198.18.0.0/15 is for tests of networks (RFC 2544).
fn address(wire: (usize, usize), end: usize) -> IpAddr {
    let third = u8::try_from(wire.0 + wire.1).unwrap_or(0);
    let fourth = u8::try_from(end + 1).unwrap_or(0);
    Ipv4Addr::new(198, 18, third, fourth).into()
}

fn cidr(address: IpAddr) -> Cidr {
    Cidr::new(address, 24).expect("24 is a prefix length of IPv4")
}

fn network_failure(error: Error) -> Failure {
    Failure::new("cannot make the demo's hosts", error.to_string(), "")
}
