//! `weave status` in words: the verdict, then sections in columns.

use std::fmt::Write;

use clap::ValueEnum;
use weave_core::Status;

use crate::output::Paint;
use table::Table;

mod table;

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
}

impl Section {
    /// All, in the order in which they are shown.
    pub(crate) const ALL: [Self; 5] = [
        Self::Peers,
        Self::Connections,
        Self::Targets,
        Self::Macs,
        Self::Routes,
    ];

    /// Its name in the status document.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Peers => "peers",
            Self::Connections => "connections",
            Self::Targets => "targets",
            Self::Macs => "macs",
            Self::Routes => "routes",
        }
    }
}

/// The whole status, or the verdict and one section of it.
pub(crate) fn status(status: &Status, section: Option<Section>, paint: Paint) -> String {
    let mut text = verdict(status, paint);
    if let Some(section) = section {
        let (heading, table) = table(status, section);
        push_section(&mut text, &heading, &table, paint);
        return text;
    }
    for warning in &status.warnings {
        let _ = writeln!(text, "{} {}", paint.bad("!"), clean(warning));
    }
    text.push('\n');
    text.push_str(&overview(status).render(paint));
    for section in Section::ALL {
        let (heading, table) = table(status, section);
        push_section(&mut text, &heading, &table, paint);
    }
    text
}

fn verdict(status: &Status, paint: Paint) -> String {
    let verdict = status.verdict();
    let sentence = clean(&verdict.sentence);
    let sentence = if verdict.healthy {
        paint.good(&sentence)
    } else {
        paint.bad(&sentence)
    };
    format!("{sentence}\n")
}

fn push_section(text: &mut String, heading: &str, table: &Table, paint: Paint) {
    let _ = writeln!(text, "\n{}", paint.bold(heading));
    text.push_str(&table.render(paint));
}

/// What the router says of itself, one thing a line.
fn overview(status: &Status) -> Table {
    let mut table = Table::plain();
    let who = if status.nickname.is_empty() || status.nickname == status.name {
        status.name.clone()
    } else {
        format!("{} ({})", status.name, status.nickname)
    };
    table.row(["router", &who]);
    table.row(["identity", &status.peer_id]);
    let door = if status.password {
        "a password decides who may join"
    } else {
        "no password: whoever reaches the port can join"
    };
    table.row(["network", &format!("{}, {door}", status.network)]);
    table.row([
        "version",
        &format!("{}, up {}", status.version, duration(status.uptime_ms)),
    ]);
    table.row(["port", &format!("{} (TCP and UDP)", status.port)]);
    table.row([
        "frames",
        &format!(
            "{}, containers' MTU {}",
            status.frame_port, status.mtu_bytes
        ),
    ]);
    let traffic = &status.traffic;
    table.row([
        "from port",
        &format!(
            "{} frames, {}",
            traffic.frames_in,
            bytes(traffic.frame_bytes_in)
        ),
    ]);
    table.row([
        "to port",
        &format!(
            "{} frames, {}",
            traffic.frames_out,
            bytes(traffic.frame_bytes_out)
        ),
    ]);
    table.row([
        "received",
        &format!(
            "{} packets, {}",
            traffic.packets_in,
            bytes(traffic.packet_bytes_in)
        ),
    ]);
    table.row([
        "sent",
        &format!(
            "{} packets, {}, of them {} relayed for others",
            traffic.packets_out,
            bytes(traffic.packet_bytes_out),
            traffic.packets_relayed
        ),
    ]);
    for (heading, counters) in [("dropped", &traffic.drops), ("refused", &status.refusals)] {
        if !counters.is_empty() {
            let list: Vec<String> = counters
                .iter()
                .map(|(name, count)| format!("{name} {count}"))
                .collect();
            table.row([heading, &list.join(", ")]);
        }
    }
    table
}

fn table(status: &Status, section: Section) -> (String, Table) {
    match section {
        Section::Peers => peers(status),
        Section::Connections => connections(status),
        Section::Targets => targets(status),
        Section::Macs => macs(status),
        Section::Routes => routes(status),
    }
}

fn peers(status: &Status) -> (String, Table) {
    let mut table = Table::new([
        "NAME",
        "NICKNAME",
        "VERSION",
        "REACHABLE",
        "NEIGHBOURS",
        "ADDRESSES",
    ]);
    for peer in &status.peers {
        let reachable = match (peer.peer_id == status.peer_id, peer.reachable) {
            (true, _) => "itself",
            (false, true) => "yes",
            (false, false) => "no",
        };
        let neighbours: Vec<String> = peer
            .neighbours
            .iter()
            .map(|(name, _)| name.clone())
            .collect();
        let addresses: Vec<String> = peer.addresses.iter().map(ToString::to_string).collect();
        table.row([
            &peer.name,
            &peer.nickname,
            &peer.version,
            reachable,
            &list(&neighbours),
            &list(&addresses),
        ]);
    }
    (format!("peers ({})", status.peers.len()), table)
}

fn connections(status: &Status) -> (String, Table) {
    let mut table = Table::new([
        "NAME", "TCP", "UDP", "STATE", "RTT", "LOSS", "COST", "MTU", "CIPHER",
    ]);
    for connection in &status.connections {
        let tcp = if connection.dialled {
            format!("-> {}", connection.remote)
        } else {
            format!("<- {}", connection.remote)
        };
        table.row([
            &connection.name,
            &tcp,
            &connection
                .udp_remote
                .map_or_else(dash, |remote| remote.to_string()),
            &connection.state,
            &connection.rtt_us.map_or_else(dash, millis),
            &format!("{:.0} %", connection.loss.clamp(0.0, 1.0) * 100.0),
            &millis(connection.cost_us.into()),
            &connection.path_mtu_bytes.to_string(),
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
            match (mac.local, mac.damped) {
                (true, false) => "here",
                (false, false) => "there",
                (true, true) => "here, and seen elsewhere",
                (false, true) => "there, and seen elsewhere",
            },
            &format!("{} s ago", mac.age_s),
        ]);
    }
    (format!("macs ({})", status.macs.len()), table)
}

fn routes(status: &Status) -> (String, Table) {
    let mut table = Table::new([
        "TO",
        "BY WAY OF",
        "OVER",
        "HOPS",
        "COST",
        "TUNNEL",
        "DIRECT PATH",
    ]);
    for route in &status.routes {
        let via = match (route.direct, route.direct_remote) {
            (true, _) | (_, Some(_)) => "direct".to_owned(),
            (false, None) => route.next_hop.clone(),
        };
        let over = match route.direct_remote {
            Some(_) => "udp",
            None => &route.carrier,
        };
        table.row([
            &route.destination,
            &via,
            over,
            &route.hops.to_string(),
            &millis(route.cost_us),
            if route.tunnel { "yes" } else { "not yet" },
            &route.direct_path.clone().unwrap_or_else(dash),
        ]);
    }
    (format!("routes ({})", status.routes.len()), table)
}

fn list(items: &[String]) -> String {
    if items.is_empty() {
        return dash();
    }
    items.join(", ")
}

fn dash() -> String {
    "-".to_owned()
}

/// Microseconds as milliseconds, with as many digits as mean something.
fn millis(us: u64) -> String {
    let ms = us as f64 / 1000.0;
    if ms < 10.0 {
        format!("{ms:.2} ms")
    } else {
        format!("{ms:.0} ms")
    }
}

/// A number of bytes in the largest unit that leaves something before the point.
fn bytes(count: u64) -> String {
    const UNITS: [&str; 4] = ["kB", "MB", "GB", "TB"];
    let mut value = count as f64;
    let mut unit = "B";
    for larger in UNITS {
        if value < 1000.0 {
            break;
        }
        value /= 1000.0;
        unit = larger;
    }
    if unit == "B" {
        format!("{count} B")
    } else {
        format!("{value:.1} {unit}")
    }
}

/// Milliseconds in the two largest units.
fn duration(ms: u64) -> String {
    let seconds = ms / 1000;
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        3600..86_400 => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
        _ => format!("{} d {} h", seconds / 86_400, seconds % 86_400 / 3600),
    }
}

/// What other routers say of themselves must not steer the terminal.
fn clean(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { '\u{fffd}' } else { c })
        .collect()
}

#[cfg(test)]
mod tests;
