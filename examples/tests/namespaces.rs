//! The examples that put a router on real devices, on real devices: in network namespaces. They need root.
// All of this is tests, which clippy tells by an attribute that a harness of one's own has none of.
#![allow(clippy::unwrap_used)]

#[path = "../../weave-io/tests/support/root_tests.rs"]
mod root_tests;

use std::path::PathBuf;
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use weave_io::host::{NetNs, Netlink, ScopedNetNs};

fn main() -> ExitCode {
    const TESTS: &[root_tests::RootTest] =
        root_tests::tests![devices::two_foreign_devices_are_on_one_network];
    #[cfg(feature = "pcap")]
    const PCAP: &[root_tests::RootTest] =
        root_tests::tests![devices::a_station_behind_a_captured_interface_is_on_the_network];
    #[cfg(not(feature = "pcap"))]
    const PCAP: &[root_tests::RootTest] = &[];
    root_tests::run([TESTS, PCAP].concat().leak(), &["/dev/net/tun"], Some(1))
}

mod devices {
    use super::*;

    pub(super) fn two_foreign_devices_are_on_one_network() {
        let wire = Wire::new();
        let _one = Example::start("custom_port", &["10.32.1.1/24"], &wire.one);
        let _other = Example::start("custom_port", &["10.32.1.2/24", ONE], &wire.other);
        must_ping(&wire.other, "10.32.1.1");
        must_ping(&wire.one, "10.32.1.2");
    }

    #[cfg(feature = "pcap")]
    pub(super) fn a_station_behind_a_captured_interface_is_on_the_network() {
        let wire = Wire::new();
        let station = ScopedNetNs::create(&format!("we{}-station", std::process::id())).unwrap();
        let netlink = Netlink::open_in(&wire.other).unwrap();
        netlink.create_veth("lab", "eth0", Some(&station)).unwrap();
        netlink.set_up("lab").unwrap();
        let netlink = Netlink::open_in(&station).unwrap();
        netlink.set_mtu("eth0", 1390).unwrap();
        netlink
            .add_address("eth0", "10.32.1.2/24".parse().unwrap())
            .unwrap();
        netlink.set_up("eth0").unwrap();
        let _one = Example::start("custom_port", &["10.32.1.1/24"], &wire.one);
        let _other = Example::start("pcap_bridge", &["lab", ONE], &wire.other);
        must_ping(&station, "10.32.1.1");
        must_ping(&wire.one, "10.32.1.2");
    }
}

/// Two hosts and the wire between them.
struct Wire {
    one: ScopedNetNs,
    other: ScopedNetNs,
}

impl Wire {
    fn new() -> Self {
        let pid = std::process::id();
        let one = ScopedNetNs::create(&format!("we{pid}-one")).unwrap();
        let other = ScopedNetNs::create(&format!("we{pid}-other")).unwrap();
        let netlink = Netlink::open_in(&one).unwrap();
        netlink.create_veth("eth0", "eth0", Some(&other)).unwrap();
        for (namespace, address) in [(&one, ONE), (&other, OTHER)] {
            let netlink = Netlink::open_in(namespace).unwrap();
            netlink.set_up("lo").unwrap();
            netlink
                .add_address("eth0", format!("{address}/24").parse().unwrap())
                .unwrap();
            netlink.set_up("eth0").unwrap();
        }
        Self { one, other }
    }
}

/// A running example; ended when this goes out of scope, and by itself after a while.
struct Example(Child);

impl Example {
    fn start(name: &str, arguments: &[&str], namespace: &NetNs) -> Self {
        let test = std::env::current_exe().unwrap();
        let folder = test.parent().and_then(|deps| deps.parent()).unwrap();
        let program: PathBuf = folder.join("examples").join(name);
        assert!(
            program.exists(),
            "{} is missing: build the examples first, cargo build -p weave-examples --examples",
            program.display()
        );
        let mut command = Command::new("timeout");
        command.args(["--signal=INT", "30"]).arg(program);
        command.args(arguments).stdout(Stdio::null());
        Self(namespace.spawn(&mut command).unwrap())
    }
}

impl Drop for Example {
    fn drop(&mut self) {
        // As Ctrl-C does; timeout(1) passes it on and ends with the program.
        let pid = Pid::from_raw(self.0.id().try_into().unwrap());
        let _ = kill(pid, Signal::SIGINT);
        let _ = self.0.wait();
    }
}

/// An answer must come within ten seconds, which is several tries of a router that did not find its peer at once.
fn must_ping(from: &NetNs, to: &str) {
    let start = Instant::now();
    loop {
        let mut command = Command::new("ping");
        command.args(["-n", "-q", "-c", "1", "-W", "1", to]);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        if from.spawn(&mut command).unwrap().wait().unwrap().success() {
            eprintln!("  {to} answered after {} ms", start.elapsed().as_millis());
            return;
        }
        assert!(start.elapsed() < Duration::from_secs(10), "{to} is silent");
    }
}

/// The hosts' addresses.
const ONE: &str = "10.9.0.1";
const OTHER: &str = "10.9.0.2";
