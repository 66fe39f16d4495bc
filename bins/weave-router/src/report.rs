//! Facts of the host for `GET /report`: what somebody who helps from afar would ask first.

use std::fs;

use serde::Serialize;

use crate::underlay::Underlay;

/// Facts of the host. A field is left empty where the fact cannot be had.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Environment {
    /// The kernel's release.
    kernel: Option<String>,
    /// The machine's architecture.
    architecture: &'static str,
    /// Processors that the router may use.
    cpus: Option<usize>,
    /// The router's process id.
    pid: u32,
    /// Its resident memory, in KiB.
    memory_kib: Option<u64>,
    /// Its effective capabilities, as the kernel's bit mask in hex.
    capabilities: Option<String>,
    /// `/dev/net/tun` is there.
    tun: bool,
    /// Whether bridged frames pass iptables (`0`, `1`; none without br_netfilter).
    bridge_nf_call_iptables: Option<String>,
    /// Largest receive buffer that a program may ask for, in bytes.
    rmem_max_bytes: Option<String>,
    /// The device that leads to the peers.
    underlay_device: Option<String>,
    /// Its largest IP packet.
    underlay_mtu_bytes: u16,
}

impl Environment {
    /// Looks around.
    pub(crate) fn now(underlay: &Underlay) -> Self {
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let field = |name: &str| {
            status
                .lines()
                .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
                .map(str::trim)
        };
        Self {
            kernel: line("/proc/sys/kernel/osrelease"),
            architecture: std::env::consts::ARCH,
            cpus: std::thread::available_parallelism().ok().map(Into::into),
            pid: std::process::id(),
            memory_kib: field("VmRSS")
                .and_then(|text| text.split_whitespace().next()?.parse().ok()),
            capabilities: field("CapEff").map(str::to_owned),
            tun: fs::exists("/dev/net/tun").unwrap_or(false),
            bridge_nf_call_iptables: line("/proc/sys/net/bridge/bridge-nf-call-iptables"),
            rmem_max_bytes: line("/proc/sys/net/core/rmem_max"),
            underlay_device: underlay.device.clone(),
            underlay_mtu_bytes: underlay.mtu_bytes,
        }
    }
}

/// This host's name, for people.
pub(crate) fn host_name() -> Option<String> {
    line("/proc/sys/kernel/hostname").filter(|name| !name.is_empty())
}

fn line(path: &str) -> Option<String> {
    fs::read_to_string(path)
        .ok()
        .map(|text| text.trim().to_owned())
}
