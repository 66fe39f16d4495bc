//! Whether other hosts reach the router of this one, and it them.

use super::{Check, NEEDS_ROOT, missing, named, note, ok};
use crate::setup::facts::{Facts, Firewall, Taken, WayOut};
use crate::setup::firewall::{self, Reach};

pub(super) fn port(facts: &Facts) -> Check {
    let number = facts.port;
    let [tcp, udp] = &facts.taken;
    for (protocol, taken) in [("TCP", tcp), ("UDP", udp)] {
        match taken {
            Taken::Free | Taken::Ours => {}
            Taken::By(Some(program)) => {
                return missing(
                    "port",
                    format!("{protocol} port {number} is taken by {}", named(program)),
                    format!(
                        "kill {}, or on every host: weave launch --port N, with N of your choice",
                        program.pid
                    ),
                );
            }
            Taken::By(None) => {
                return missing(
                    "port",
                    format!("{protocol} port {number} is taken; as root, setup tells by whom"),
                    format!(
                        "ss -{}lnp sport = :{number}",
                        protocol.to_lowercase().get(..1).unwrap_or("t")
                    ),
                );
            }
            Taken::Refused(why) => {
                return missing(
                    "port",
                    format!("{protocol} port {number} can't be had: {why}"),
                    "weave launch --port N, with an N above 1023, on every host",
                );
            }
        }
    }
    if tcp == &Taken::Ours || udp == &Taken::Ours {
        return ok(
            "port",
            format!("TCP and UDP {number}: this host's router has it"),
        );
    }
    ok("port", format!("TCP and UDP {number} are free"))
}

pub(super) fn firewall(facts: &Facts) -> Check {
    let port = facts.port;
    match &facts.firewall {
        Firewall::Unknown => note(
            "firewall",
            format!("whether it lets others reach port {port}, {NEEDS_ROOT}"),
        ),
        Firewall::Firewalld([true, true]) => {
            ok("firewall", format!("firewalld lets in TCP and UDP {port}"))
        }
        Firewall::Firewalld([tcp, udp]) => missing(
            "firewall",
            format!("firewalld keeps out {} {port}", protocols(*tcp, *udp)),
            format!(
                "firewall-cmd --permanent --add-port={port}/tcp --add-port={port}/udp && firewall-cmd --reload"
            ),
        ),
        Firewall::Rules { ufw, rulesets } => rules(*ufw, rulesets, port),
    }
}

fn rules(ufw: bool, rulesets: &[firewall::Ruleset], port: u16) -> Check {
    // IPv4 first: a host whose IPv6 is shut is still reached.
    for family in [0, 1] {
        let barriers =
            ["tcp", "udp"].map(|protocol| firewall::barrier(rulesets, family, protocol, port));
        let closed = |barrier: &Option<firewall::Barrier<'_>>| {
            barrier.is_some_and(|barrier| barrier.reach == Reach::Closed)
        };
        let [tcp, udp] = barriers.each_ref().map(|barrier| !closed(barrier));
        let worst = barriers.into_iter().flatten().reduce(|worst, next| {
            if next.reach > worst.reach {
                next
            } else {
                worst
            }
        });
        let Some(worst) = worst else {
            continue;
        };
        let open = if ufw {
            format!("ufw allow {port}/tcp && ufw allow {port}/udp")
        } else {
            worst.ruleset.insert.accept(worst.chain, port)
        };
        let version = ["IPv4", "IPv6"].get(family).copied().unwrap_or_default();
        let who = if ufw { "ufw" } else { "the firewall" };
        return match worst.reach {
            Reach::Closed if family == 0 => missing(
                "firewall",
                format!(
                    "{who} keeps out {} {port} over {version}{}",
                    protocols(tcp, udp),
                    if ufw {
                        ""
                    } else {
                        "; keep the rule where this host keeps its others, or it is gone at the next boot"
                    }
                ),
                open,
            ),
            Reach::Closed => note(
                "firewall",
                format!(
                    "{who} lets in {port} over IPv4 and keeps out {} {port} over {version}",
                    protocols(tcp, udp)
                ),
            )
            .with(open),
            Reach::Perhaps | Reach::Open => note(
                "firewall",
                format!("{who} lets in some hosts only over {version}: see that the peers are among them"),
            )
            .with(open),
        };
    }
    ok("firewall", format!("lets in TCP and UDP {port}"))
}

/// Those of the two that are not open.
fn protocols(tcp: bool, udp: bool) -> &'static str {
    match (tcp, udp) {
        (false, true) => "TCP",
        (true, false) => "UDP",
        (false, false) | (true, true) => "TCP and UDP",
    }
}

pub(super) fn reverse_path(facts: &Facts) -> Check {
    let filter = facts.reverse_path;
    match (filter.mode, filter.ways) {
        (1, 2..) => note(
            "rp_filter",
            format!(
                "strict, with {} ways out: what peers send by another way than the answer's is dropped in silence",
                filter.ways
            ),
        )
        .with("sysctl -w net.ipv4.conf.all.rp_filter=2 && echo net.ipv4.conf.all.rp_filter=2 > /etc/sysctl.d/60-weave.conf"),
        (1, _) => ok("rp_filter", "strict, which suits a host with one way out"),
        (2, _) => ok("rp_filter", "loose"),
        _ => ok("rp_filter", "off"),
    }
}

/// The least that IPv6 takes, and the least that weave promises to work over.
const UNDERLAY_MTU_BYTES_MIN: u32 = 1280;
/// Ethernet's, which almost every path between hosts takes.
const ETHERNET_MTU_BYTES: u32 = 1500;

pub(super) fn mtu(facts: &Facts) -> Check {
    match &facts.way_out {
        WayOut::Nowhere => ok(
            "mtu",
            "no default route: peers are on networks of this host",
        ),
        WayOut::By { device, mtu_bytes } if *mtu_bytes < UNDERLAY_MTU_BYTES_MIN => missing(
            "mtu",
            format!("{device} takes {mtu_bytes} bytes, and weave needs {UNDERLAY_MTU_BYTES_MIN}"),
            format!("ip link set {device} mtu {UNDERLAY_MTU_BYTES_MIN}"),
        ),
        WayOut::By { device, mtu_bytes } if *mtu_bytes > ETHERNET_MTU_BYTES => note(
            "mtu",
            format!(
                "{device} takes {mtu_bytes} bytes; if not all hosts do, give all the same: weave launch --mtu 1390"
            ),
        ),
        WayOut::By { device, mtu_bytes } => ok("mtu", format!("{device} takes {mtu_bytes} bytes")),
    }
}
