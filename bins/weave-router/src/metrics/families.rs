//! Every metric there is: name, kind, labels, meaning, and where its values come from.
//!
//! Names and units follow Prometheus' rules: one prefix, base units (seconds, bytes), `_total` on counters. Labels are
//! bounded: by lists in this program, or by the number of neighbours (`--conn-limit`); never a MAC address, and never
//! each router of the mesh.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use weave_core::{ConnectionStatus, DropReason, Status};
use weave_mesh::MeshStats;

use super::text::{Kind, Samples};

/// What the values are taken from.
#[derive(Debug)]
pub(super) struct Source<'a> {
    pub(super) status: &'a Status,
    /// When the router started, since 1970.
    pub(super) start_unix: Duration,
    pub(super) process: Process,
}

/// What the kernel says of the process.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Process {
    resident_bytes: Option<u64>,
    cpu: Option<Duration>,
}

/// One metric.
#[derive(Debug)]
pub(super) struct Family {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    pub(super) labels: &'static [&'static str],
    /// A sentence without its full stop.
    pub(super) help: &'static str,
    values: fn(&Source<'_>, &mut Samples<'_>),
}

/// All metrics with their values of this moment.
pub(super) fn render(source: &Source<'_>) -> String {
    let mut text = String::new();
    for family in FAMILIES {
        let mut samples = Samples::begin(
            &mut text,
            family.name,
            family.kind,
            family.labels,
            family.help,
        );
        (family.values)(source, &mut samples);
    }
    text
}

const fn counter(
    name: &'static str,
    labels: &'static [&'static str],
    help: &'static str,
    values: fn(&Source<'_>, &mut Samples<'_>),
) -> Family {
    Family {
        name,
        kind: Kind::Counter,
        labels,
        help,
        values,
    }
}

const fn gauge(
    name: &'static str,
    labels: &'static [&'static str],
    help: &'static str,
    values: fn(&Source<'_>, &mut Samples<'_>),
) -> Family {
    Family {
        kind: Kind::Gauge,
        ..counter(name, labels, help, values)
    }
}

/// All metrics, in the order in which they are served.
pub(super) static FAMILIES: &[Family] = &[
    // The router.
    gauge(
        "weave_info",
        &["version", "name", "peer_id", "network"],
        "Always 1; says which router this is",
        |source, samples| {
            let status = source.status;
            let who = [
                &status.version,
                &status.name,
                &status.peer_id,
                &status.network,
            ];
            samples.add(&who.map(String::as_str), 1);
        },
    ),
    gauge(
        "weave_healthy",
        &[],
        "1 while `weave status` begins with healthy, else 0",
        |source, samples| samples.add(&[], u8::from(source.status.verdict().healthy)),
    ),
    gauge(
        "weave_warnings",
        &[],
        "Sentences in `weave status` that begin with an exclamation mark",
        |source, samples| samples.add(&[], source.status.warnings.len()),
    ),
    gauge(
        "weave_container_mtu_bytes",
        &[],
        "MTU for containers",
        |source, samples| samples.add(&[], source.status.mtu_bytes),
    ),
    // Frames and packets.
    counter(
        "weave_frames_total",
        &["direction"],
        "Frames from the port (in) and to it (out); a super-frame counts once",
        |source, samples| {
            let traffic = &source.status.traffic;
            both(samples, IN_OUT, traffic.frames_in, traffic.frames_out);
        },
    ),
    counter(
        "weave_frame_bytes_total",
        &["direction"],
        "Bytes of those frames",
        |source, samples| {
            let traffic = &source.status.traffic;
            both(
                samples,
                IN_OUT,
                traffic.frame_bytes_in,
                traffic.frame_bytes_out,
            );
        },
    ),
    counter(
        "weave_packets_total",
        &["direction"],
        "Data packets from other routers (in) and to them (out)",
        |source, samples| {
            let traffic = &source.status.traffic;
            both(samples, IN_OUT, traffic.packets_in, traffic.packets_out);
        },
    ),
    counter(
        "weave_packet_bytes_total",
        &["direction"],
        "Bytes of those packets, as UDP payload",
        |source, samples| {
            let traffic = &source.status.traffic;
            both(
                samples,
                IN_OUT,
                traffic.packet_bytes_in,
                traffic.packet_bytes_out,
            );
        },
    ),
    counter(
        "weave_packets_relayed_total",
        &[],
        "Packets relayed for others; they count in both directions as well",
        |source, samples| samples.add(&[], source.status.traffic.packets_relayed),
    ),
    counter(
        "weave_drops_total",
        &["reason"],
        "Frames and packets dropped; `weave status traffic` says what each reason means",
        |source, samples| {
            let names = DropReason::ALL.iter().map(|reason| reason.name());
            counts(samples, names, &source.status.traffic.drops);
        },
    ),
    counter(
        "weave_frames_cut_total",
        &[],
        "Frames cut into pieces, since the path takes no larger packets",
        |source, samples| samples.add(&[], source.status.traffic.frames_cut),
    ),
    counter(
        "weave_frames_joined_total",
        &[],
        "Frames put together from pieces",
        |source, samples| samples.add(&[], source.status.traffic.frames_joined),
    ),
    counter(
        "weave_too_big_told_total",
        &[],
        "Senders told by ICMP that their packet is too big for the path",
        |source, samples| samples.add(&[], source.status.traffic.too_big_told),
    ),
    counter(
        "weave_loop_frames_total",
        &[],
        "Loop frames of this network at the port: it is on one segment with another router's, or with itself",
        |source, samples| samples.add(&[], source.status.traffic.loop_frames_in),
    ),
    // MAC addresses.
    gauge(
        "weave_mac_addresses",
        &["place"],
        "MAC addresses learned, behind the port (here) and behind other routers (there)",
        |source, samples| {
            let macs = &source.status.macs;
            let here = macs.iter().filter(|mac| mac.local).count();
            both(samples, ["here", "there"], here, macs.len() - here);
        },
    ),
    gauge(
        "weave_mac_addresses_damped",
        &[],
        "Those of them that move too often, and are kept where they are for a while",
        |source, samples| {
            let macs = source.status.macs.iter();
            samples.add(&[], macs.filter(|mac| mac.damped).count());
        },
    ),
    counter(
        "weave_mac_events_total",
        &["event"],
        "What became of MAC addresses; `weave status traffic` says what each event is",
        |source, samples| {
            let macs = &source.status.traffic.macs;
            counts(samples, MAC_EVENTS.iter().copied(), macs);
        },
    ),
    // The mesh.
    gauge(
        "weave_routers",
        &["reachable"],
        "Other routers known",
        |source, samples| {
            let status = source.status;
            let others = status.peers.iter();
            let others = others.filter(|peer| peer.peer_id != status.peer_id);
            let (reached, not) = split(others, |peer| peer.reachable);
            both(samples, YES_NO, reached, not);
        },
    ),
    gauge(
        "weave_routes",
        &["way"],
        "Reachable routers by how frames go there: by a link, by a direct path without a link, or over others",
        |source, samples| {
            let routes = &source.status.routes;
            let link = routes.iter().filter(|route| route.direct).count();
            let relayed = routes
                .iter()
                .filter(|route| !route.direct && route.direct_remote.is_none())
                .count();
            samples.add(&["link"], link);
            samples.add(&["direct_path"], routes.len() - link - relayed);
            samples.add(&["relayed"], relayed);
        },
    ),
    gauge(
        "weave_tunnels",
        &[],
        "Reachable routers with which tunnel keys stand",
        |source, samples| {
            let routes = source.status.routes.iter();
            samples.add(&[], routes.filter(|route| route.tunnel).count());
        },
    ),
    gauge(
        "weave_targets",
        &["connected"],
        "Peers that the router was told to connect to",
        |source, samples| {
            let (connected, not) = split(source.status.targets.iter(), |target| target.connected);
            both(samples, YES_NO, connected, not);
        },
    ),
    gauge(
        "weave_segment_routers",
        &[],
        "Other routers whose ports are on one segment with this one's",
        |source, samples| samples.add(&[], source.status.segment.len()),
    ),
    counter(
        "weave_gossip_total",
        &["event"],
        "Control messages, records and links; `weave status control` says what each event is",
        |source, samples| {
            let none = MeshStats::default();
            counts(samples, names(none.activity()), &source.status.gossip);
        },
    ),
    counter(
        "weave_refusals_total",
        &["reason"],
        "Refusals and faults of the control plane; `weave status control` says what each reason means",
        |source, samples| {
            let none = MeshStats::default();
            counts(samples, names(none.refusals()), &source.status.refusals);
        },
    ),
    // Links: one each, no more than --conn-limit.
    gauge(
        "weave_links",
        &["state"],
        "Links with neighbours by what carries their frames: udp, tcp, or none (no_tunnel: no keys yet; down: no answer)",
        |source, samples| {
            let links = &source.status.connections;
            let of = |state: &str| {
                links
                    .iter()
                    .filter(|link| link_state(link) == state)
                    .count()
            };
            for state in ["udp", "tcp", "no_tunnel", "down"] {
                samples.add(&[state], of(state));
            }
        },
    ),
    gauge(
        "weave_link_usable",
        LINK,
        "1 while frames flow over the link, else 0",
        |source, samples| {
            each_link(source, samples, |link| Some(u8::from(link.usable)));
        },
    ),
    gauge(
        "weave_link_rtt_seconds",
        LINK,
        "Smoothed round trip of the link's probes; not there before the first answer",
        |source, samples| {
            each_link(source, samples, |link| link.rtt_us.map(seconds));
        },
    ),
    gauge(
        "weave_link_loss_ratio",
        LINK,
        "Smoothed loss of the link's probes, 0 to 1",
        |source, samples| {
            each_link(source, samples, |link| Some(link.loss.clamp(0.0, 1.0)));
        },
    ),
    gauge(
        "weave_link_cost_seconds",
        LINK,
        "The link's cost in routes",
        |source, samples| {
            each_link(source, samples, |link| Some(seconds(link.cost_us.into())));
        },
    ),
    gauge(
        "weave_link_path_mtu_bytes",
        LINK,
        "Largest UDP payload that the link is known to take",
        |source, samples| {
            each_link(source, samples, |link| Some(link.path_mtu_bytes));
        },
    ),
    // The process, under the names that every exporter uses.
    gauge(
        "process_start_time_seconds",
        &[],
        "When the router started, in seconds since 1970",
        |source, samples| samples.add(&[], source.start_unix.as_secs_f64()),
    ),
    gauge(
        "process_resident_memory_bytes",
        &[],
        "Resident memory of the router",
        |source, samples| {
            if let Some(bytes) = source.process.resident_bytes {
                samples.add(&[], bytes);
            }
        },
    ),
    counter(
        "process_cpu_seconds_total",
        &[],
        "Processor time of the router, in its own code and in the kernel's",
        |source, samples| {
            if let Some(time) = source.process.cpu {
                samples.add(&[], time.as_secs_f64());
            }
        },
    ),
];

/// A name is a label that two neighbours may share; the identity tells them apart.
const LINK: &[&str] = &["peer", "peer_id"];
const IN_OUT: [&str; 2] = ["in", "out"];
const YES_NO: [&str; 2] = ["yes", "no"];
/// The keys of [`weave_core::Traffic::macs`], so that those are there that did not happen yet.
pub(super) const MAC_EVENTS: [&str; 5] = [
    "not_learned",
    "moved",
    "damped",
    "not_here_sent",
    "not_here_obeyed",
];

fn both(
    samples: &mut Samples<'_>,
    values: [&str; 2],
    first: impl std::fmt::Display,
    second: impl std::fmt::Display,
) {
    samples.add(&[values[0]], first);
    samples.add(&[values[1]], second);
}

/// A sample for each name, zero for what did not happen yet, so that rates have where to start from; then for what has
/// happened besides.
fn counts(
    samples: &mut Samples<'_>,
    names: impl Iterator<Item = &'static str>,
    counts: &BTreeMap<String, u64>,
) {
    let mut all: BTreeMap<&str, u64> = names.map(|name| (name, 0)).collect();
    all.extend(counts.iter().map(|(name, count)| (name.as_str(), *count)));
    for (name, count) in all {
        samples.add(&[name], count);
    }
}

/// The names of counters.
fn names(
    counters: impl Iterator<Item = (&'static str, u64)>,
) -> impl Iterator<Item = &'static str> {
    counters.map(|(name, _)| name)
}

/// How many there are of which something holds, and of which it does not.
fn split<T>(items: impl Iterator<Item = T>, holds: impl Fn(&T) -> bool) -> (usize, usize) {
    items.fold((0, 0), |(yes, no), item| {
        if holds(&item) {
            (yes + 1, no)
        } else {
            (yes, no + 1)
        }
    })
}

fn link_state(link: &ConnectionStatus) -> &'static str {
    match (link.carrier.as_deref(), &link.cipher) {
        (Some("tcp"), _) => "tcp",
        (Some(_), _) => "udp",
        (None, None) => "no_tunnel",
        (None, Some(_)) => "down",
    }
}

fn each_link<T: std::fmt::Display>(
    source: &Source<'_>,
    samples: &mut Samples<'_>,
    value: impl Fn(&ConnectionStatus) -> Option<T>,
) {
    for link in &source.status.connections {
        if let Some(value) = value(link) {
            samples.add(&[&link.name, &link.peer_id], value);
        }
    }
}

fn seconds(us: u64) -> f64 {
    us as f64 / 1e6
}

impl Process {
    /// Asks the kernel.
    pub(super) fn now() -> Self {
        Self {
            resident_bytes: fs::read_to_string("/proc/self/status")
                .ok()
                .and_then(|text| resident_bytes(&text)),
            cpu: fs::read_to_string("/proc/self/stat")
                .ok()
                .and_then(|text| cpu(&text)),
        }
    }
}

/// `VmRSS`, in KiB, of a process's `status` (proc_pid_status(5)).
fn resident_bytes(status: &str) -> Option<u64> {
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.split_whitespace().next()?.parse().ok()?;
    kib.checked_mul(1024)
}

/// `utime` and `stime` of a process's `stat` (proc_pid_stat(5)): fields 14 and 15, in clock ticks. The second field is the
/// program's name in parentheses, and may hold anything.
fn cpu(stat: &str) -> Option<Duration> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(TICK * u32::try_from(user.checked_add(system)?).ok()?)
}

/// `USER_HZ` is 100 wherever this program runs (kernel: include/asm-generic/param.h).
const TICK: Duration = Duration::from_millis(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_files_are_read_as_their_manual_says() {
        let status = "Name:\tweave\nVmRSS:\t   10752 kB\nRssAnon:\t 1 kB\n";
        assert_eq!(resident_bytes(status), Some(10_752 * 1024));
        assert_eq!(resident_bytes("VmRSS:\n"), None);
        let stat = "7 (a) b) S 1 2 3 4 5 6 7 8 9 10 150 50 0 0 20 0 1 0";
        assert_eq!(cpu(stat), Some(Duration::from_secs(2)));
        assert_eq!(cpu("7 (a"), None);
        let process = Process::now();
        assert!(process.resident_bytes > Some(100_000));
        assert!(process.cpu.is_some());
    }

    #[test]
    fn the_events_of_mac_addresses_are_those_of_the_data_plane() {
        let mut stats = weave_core::ForwardStats::new();
        stats.macs_not_learned = 1;
        stats.macs_moved = 1;
        stats.macs_damped = 1;
        stats.not_here_sent = 1;
        stats.not_here_obeyed = 1;
        let macs = weave_core::Traffic::from(&stats).macs;
        let mut known = MAC_EVENTS.to_vec();
        known.sort_unstable();
        assert_eq!(macs.keys().map(String::as_str).collect::<Vec<_>>(), known);
    }
}
