//! The host's plumbing against the real kernel, each test in network namespaces of its own. They
//! need root.
#![cfg(feature = "host")]

mod bridges;
mod devices;
mod namespaces;
mod routes;

use std::fs;
use std::net::IpAddr;
use std::os::unix::fs::MetadataExt;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use weave_io::host::{Cidr, NetNs};

fn root() -> bool {
    // The owner of one's own folder in /proc is the effective user.
    let root = fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0);
    if !root {
        eprintln!("skipped: needs root");
    }
    root
}

/// At most 15 bytes, as device names, for tests that name devices so.
fn unique_name() -> String {
    static COUNTER: AtomicU32 = AtomicU32::new(0);
    format!(
        "wvt-{}-{}",
        std::process::id(),
        COUNTER.fetch_add(1, Ordering::Relaxed)
    )
}

struct RemoveByName(String);

impl Drop for RemoveByName {
    fn drop(&mut self) {
        if let Ok(namespace) = NetNs::open(&self.0) {
            let _ = namespace.remove();
        }
    }
}

fn own_namespace() -> String {
    fs::read_link("/proc/thread-self/ns/net")
        .expect("/proc is mounted")
        .display()
        .to_string()
}

/// What `ip` says: an opinion independent of the code under test.
fn ip(namespace: &NetNs, arguments: &[&str]) -> String {
    let output = namespace
        .run(|| Command::new("ip").args(arguments).output())
        .expect("root may enter")
        .expect("ip is installed");
    assert!(
        output.status.success(),
        "ip {arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn cidr(text: &str) -> Cidr {
    text.parse().expect("a constant")
}

fn ip_of(text: &str) -> IpAddr {
    text.parse().expect("a constant")
}
