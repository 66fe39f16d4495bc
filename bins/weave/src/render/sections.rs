//! The parts of the status, each a table.

use std::collections::BTreeMap;

use clap::ValueEnum;
use weave_core::{MacStatus, RouteStatus, Status};

use super::table::Table;
use super::words::{control_meaning, drop_meaning, mac_meaning};
use super::{bytes, dash, millis, percent};

/// A part of the status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Section {
    /// Every router known
    Peers,
    /// Links with neighbours
    Connections,
    /// Peers that the router was told to connect to
    Targets,
    /// MAC addresses learned
    Macs,
    /// The way to every other router
    Routes,
    /// Routers whose ports are on one segment with this one's
    Segment,
    /// Frames and packets, and what each counter means
    Traffic,
    /// Refusals, faults and messages of the control plane, and what each counter means
    Control,
}

impl Section {
    /// All, in the order in which they are shown.
    pub(crate) const ALL: [Self; 8] = [
        Self::Peers,
        Self::Connections,
        Self::Targets,
        Self::Macs,
        Self::Routes,
        Self::Segment,
        Self::Traffic,
        Self::Control,
    ];

    /// Whether it stands in the whole status too, whose overview has the figures of the others in short.
    pub(crate) fn in_whole(self, status: &Status) -> bool {
        match self {
            Self::Peers | Self::Connections | Self::Targets | Self::Macs | Self::Routes => true,
            Self::Segment => !status.segment.is_empty(),
            Self::Traffic | Self::Control => false,
        }
    }

    /// The fields of the status document that it shows.
    pub(crate) fn fields(self) -> &'static [&'static str] {
        match self {
            Self::Peers => &["peers"],
            Self::Connections => &["connections"],
            Self::Targets => &["targets"],
            Self::Macs => &["macs"],
            Self::Routes => &["routes"],
            Self::Segment => &["segment"],
            Self::Traffic => &["traffic"],
            Self::Control => &["refusals", "gossip"],
        }
    }

    /// Its heading and its table.
    pub(crate) fn table(self, status: &Status) -> (String, Table) {
        match self {
            Self::Peers => peers(status),
            Self::Connections => connections(status),
            Self::Targets => targets(status),
            Self::Macs => macs(status),
            Self::Routes => routes(status),
            Self::Segment => segment(status),
            Self::Traffic => ("traffic".to_owned(), traffic(status)),
            Self::Control => ("control plane".to_owned(), control(status)),
        }
    }
}

fn peers(status: &Status) -> (String, Table) {
    let mut table = Table::new([
        "NAME",
        "NICKNAME",
        "IDENTITY",
        "VERSION",
        "REACHABLE",
        "NEIGHBOURS",
        "ADDRESSES",
    ]);
    for peer in &status.peers {
        let reachable = match (peer.peer_id == status.peer_id, peer.reachable) {
            (true, _) => "itself".to_owned(),
            (false, true) => "yes".to_owned(),
            (false, false) => match &peer.unreachable_reason {
                Some(reason) => format!("no: {reason}"),
                None => "no".to_owned(),
            },
        };
        let neighbours: Vec<&str> = peer
            .neighbours
            .iter()
            .map(|(name, _)| name.as_str())
            .collect();
        let addresses: Vec<String> = peer.addresses.iter().map(ToString::to_string).collect();
        let identity = peer.peer_id.get(..IDENTITY_DIGITS);
        table.row([
            &peer.name,
            &peer.nickname,
            identity.unwrap_or(&peer.peer_id),
            &peer.version,
            &reachable,
            &list(neighbours.join(", ")),
            &list(addresses.join(", ")),
        ]);
    }
    (format!("peers ({})", status.peers.len()), table)
}

fn connections(status: &Status) -> (String, Table) {
    let mut table = Table::new([
        "NAME", "TCP", "UDP", "STATE", "RTT", "LOSS", "COST", "PATH MTU", "CIPHER",
    ]);
    for connection in &status.connections {
        let tcp = if connection.dialled {
            format!("-> {}", connection.remote)
        } else {
            format!("<- {}", connection.remote)
        };
        let path_mtu = match connection.path_mtu_state.as_str() {
            "" => connection.path_mtu_bytes.to_string(),
            state => format!("{}, {state}", connection.path_mtu_bytes),
        };
        table.row([
            &connection.name,
            &tcp,
            &connection
                .udp_remote
                .map_or_else(dash, |remote| remote.to_string()),
            &connection.state,
            &connection.rtt_us.map_or_else(dash, millis),
            &percent(connection.loss),
            &millis(connection.cost_us.into()),
            &path_mtu,
            &connection.cipher.clone().unwrap_or_else(dash),
        ]);
    }
    (format!("connections ({})", status.connections.len()), table)
}

fn targets(status: &Status) -> (String, Table) {
    let mut table = Table::new(["TARGET", "CONNECTED", "STATE", "NEXT TRY"]);
    for target in &status.targets {
        table.row([
            &target.target,
            if target.connected { "yes" } else { "no" },
            &target.state,
            &target
                .retry_in_ms
                .map_or_else(dash, |ms| format!("in {:.1} s", ms as f64 / 1000.0)),
        ]);
    }
    (format!("targets ({})", status.targets.len()), table)
}

fn macs(status: &Status) -> (String, Table) {
    let mut table = Table::new(["MAC", "ROUTER", "WHERE", "LAST HEARD"]);
    for mac in &status.macs {
        table.row([
            &mac.mac,
            &mac.peer,
            mac_place(mac),
            &format!("{} s ago", mac.age_s),
        ]);
    }
    (format!("macs ({})", status.macs.len()), table)
}

fn mac_place(mac: &MacStatus) -> &'static str {
    match (mac.local, mac.damped) {
        (true, false) => "here",
        (false, false) => "there",
        (true, true) => {
            "here, and seen elsewhere: it moved too often, and is kept here for a while"
        }
        (false, true) => {
            "there, and seen elsewhere: it moved too often, and is kept there for a while"
        }
    }
}

fn routes(status: &Status) -> (String, Table) {
    let mut table = Table::new(["TO", "BY WAY OF", "HOPS", "COST", "TUNNEL", "DIRECT PATH"]);
    for route in &status.routes {
        table.row([
            &route.destination,
            &by_way_of(route),
            &route.hops.to_string(),
            &millis(route.cost_us),
            if route.tunnel { "yes" } else { "not yet" },
            &direct_path(route),
        ]);
    }
    (format!("routes ({})", status.routes.len()), table)
}

fn by_way_of(route: &RouteStatus) -> String {
    let over = match route.carrier.as_str() {
        "tcp" => " over TCP",
        _ => "",
    };
    match (route.direct, route.direct_remote) {
        (true, _) => format!("direct{over}"),
        (false, Some(_)) => format!("direct, else {}{over}", route.next_hop),
        (false, None) => format!("{}{over}", route.next_hop),
    }
}

fn direct_path(route: &RouteStatus) -> String {
    match (&route.direct_path, route.direct) {
        (Some(words), _) => words.clone(),
        (None, true) => "the link".to_owned(),
        (None, false) => "none yet: looked for when frames go there".to_owned(),
    }
}

fn segment(status: &Status) -> (String, Table) {
    let mut table = Table::new(["NAME", "IDENTITY", "WHAT THAT MEANS"]);
    for mate in &status.segment {
        let meaning = if mate.reachable {
            "a loop: the mesh leads there as well, so one router carries the floods of all (see the first lines)"
        } else {
            "no loop: the mesh does not lead there, only the wire outside does"
        };
        let identity = mate.peer_id.get(..IDENTITY_DIGITS);
        table.row([&mate.name, identity.unwrap_or(&mate.peer_id), meaning]);
    }
    (format!("on one segment ({})", status.segment.len()), table)
}

fn traffic(status: &Status) -> Table {
    let traffic = &status.traffic;
    let mut table = Table::new(["COUNT", "WHAT", "MEANING"]);
    for (count, what, volume, meaning) in [
        (
            traffic.frames_in,
            "frames in",
            Some(traffic.frame_bytes_in),
            "from the port",
        ),
        (
            traffic.frames_out,
            "frames out",
            Some(traffic.frame_bytes_out),
            "to the port",
        ),
        (
            traffic.packets_in,
            "packets in",
            Some(traffic.packet_bytes_in),
            "from other routers",
        ),
        (
            traffic.packets_out,
            "packets out",
            Some(traffic.packet_bytes_out),
            "to other routers",
        ),
        (
            traffic.packets_relayed,
            "packets relayed",
            None,
            "for others: in as well as out",
        ),
        (
            traffic.frames_cut,
            "frames cut",
            None,
            "into pieces: the path takes no larger packets",
        ),
        (
            traffic.frames_joined,
            "frames joined",
            None,
            "put together from pieces",
        ),
        (
            traffic.too_big_told,
            "told too big",
            None,
            "senders whose packet the path does not take",
        ),
        (
            traffic.loop_frames_in,
            "loop frames",
            None,
            "at the port: it is on one segment with another router's, or with itself",
        ),
    ] {
        let meaning = match volume {
            Some(volume) => format!("{meaning}, {}", bytes(volume)),
            None => meaning.to_owned(),
        };
        table.row([&count.to_string(), what, &meaning]);
    }
    counters(&mut table, "mac", &traffic.macs, mac_meaning);
    counters(&mut table, "dropped", &traffic.drops, drop_meaning);
    table
}

fn control(status: &Status) -> Table {
    let mut table = Table::new(["COUNT", "WHAT", "MEANING"]);
    counters(&mut table, "refused", &status.refusals, control_meaning);
    counters(&mut table, "gossip", &status.gossip, control_meaning);
    table
}

fn counters(
    table: &mut Table,
    kind: &str,
    counts: &BTreeMap<String, u64>,
    meaning: impl Fn(&str) -> &'static str,
) {
    for (name, count) in counts {
        table.row([
            &count.to_string(),
            &format!("{kind}: {name}"),
            meaning(name),
        ]);
    }
}

fn list(items: String) -> String {
    if items.is_empty() { dash() } else { items }
}

/// Of an identity: 2^48 of them are told apart.
const IDENTITY_DIGITS: usize = 12;
