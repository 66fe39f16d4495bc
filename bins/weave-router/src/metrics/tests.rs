use std::collections::BTreeMap;

use weave_core::{
    ConnectionStatus, MacStatus, PeerStatus, RouteStatus, Status, TargetStatus, Traffic,
};

use super::families::{FAMILIES, MAC_EVENTS, Process, Source, render};
use super::text::Kind;

#[path = "../../tests/support/exposition.rs"]
mod exposition;

#[test]
fn what_is_served_is_the_format_whatever_others_call_themselves() {
    let mut status = status(3, 5);
    status.name = "a\"\\\n\u{1b}[2J{}".into();
    status.connections[1].name = "x\",peer_id=\"".into();
    // The same name twice: told apart by identity.
    status.connections[2].name = status.connections[0].name.clone();
    let text = rendered(&status);
    let samples = exposition::read(&text);
    assert!(!text.contains('\u{1b}'));
    assert_eq!(samples["weave_frames_total{direction=\"in\"}"], 3.0);
    assert_eq!(samples["weave_drops_total{reason=\"no_route\"}"], 2.0);
    assert_eq!(samples["weave_drops_total{reason=\"too_big\"}"], 0.0);
    assert_eq!(
        samples["weave_refusals_total{reason=\"a_router_s_own\"}"],
        7.0
    );
    assert_eq!(samples["weave_refusals_total{reason=\"udp_down\"}"], 0.0);
    assert_eq!(samples["weave_gossip_total{event=\"links_up\"}"], 4.0);
    assert_eq!(samples["weave_mac_addresses{place=\"there\"}"], 4.0);
    assert_eq!(samples["weave_routers{reachable=\"no\"}"], 1.0);
    assert_eq!(samples["weave_routes{way=\"direct_path\"}"], 1.0);
    assert_eq!(samples["weave_links{state=\"usable\"}"], 2.0);
    assert_eq!(samples["weave_links{state=\"no_tunnel\"}"], 1.0);
    assert_eq!(samples["weave_healthy"], 0.0);
    let rtt = "weave_link_rtt_seconds{peer=\"n0\",peer_id=\"id0\"}";
    assert_eq!(samples[rtt], 0.00025);
}

#[test]
fn neither_addresses_nor_far_routers_make_more_series() {
    let few = exposition::read(&rendered(&status(2, 1))).len();
    let mut many = status(2, 5_000);
    for number in 0..300 {
        many.peers.push(peer(&format!("far{number}"), true));
        many.routes.push(route(&format!("far{number}"), false));
    }
    assert_eq!(exposition::read(&rendered(&many)).len(), few);
    // Each neighbour has five.
    assert_eq!(exposition::read(&rendered(&status(12, 1))).len(), few + 50);
}

#[test]
fn names_follow_the_rules() {
    for family in FAMILIES {
        let name = family.name;
        assert!(
            name.starts_with("weave_") || name.starts_with("process_"),
            "{name}"
        );
        assert_eq!(
            name.ends_with("_total"),
            family.kind == Kind::Counter,
            "{name}"
        );
        for unit in ["_ms", "_us", "_count", "_percent"] {
            assert!(!name.ends_with(unit), "{name}");
        }
        assert!(!family.help.ends_with('.'), "{name}: {}", family.help);
        for label in family.labels {
            assert!(
                !name.contains(&format!("_{label}_")),
                "{name} repeats {label}"
            );
        }
    }
    assert_eq!(MAC_EVENTS.len(), 5);
}

#[test]
fn the_page_lists_every_metric_and_no_other() {
    let mut table =
        String::from("| metric | kind | labels | meaning |\n| --- | --- | --- | --- |\n");
    for family in FAMILIES {
        let labels: Vec<String> = family
            .labels
            .iter()
            .map(|label| format!("`{label}`"))
            .collect();
        let line = format!(
            "| `{}` | {} | {} | {} |\n",
            family.name,
            family.kind.name(),
            labels.join(", "),
            family.help
        );
        table.push_str(&line.replace("|  |", "| |"));
    }
    let page = include_str!("../../../../docs/metrics.md");
    assert!(
        page.contains(&table),
        "docs/metrics.md should hold this table, and every metric of it no elsewhere:\n{table}"
    );
    let rest = page.replace(&table, "");
    let named = rest
        .split(|letter: char| !(letter.is_ascii_alphanumeric() || letter == '_'))
        .filter(|word| word.starts_with("weave_") || word.starts_with("process_"));
    for name in named {
        assert!(
            FAMILIES.iter().any(|family| family.name == name),
            "there is no {name}"
        );
    }
}

fn rendered(status: &Status) -> String {
    render(&Source {
        status,
        start_unix: std::time::Duration::from_millis(1_500_000_000_250),
        process: Process::now(),
    })
}

/// With so many neighbours and MAC addresses; the last neighbour has no tunnel yet, and one router is lost.
fn status(neighbours: usize, macs: usize) -> Status {
    let mut peers = vec![peer("self", true), peer("lost", false)];
    peers.extend((0..neighbours).map(|number| peer(&number.to_string(), true)));
    Status {
        version: "0.1.0".into(),
        name: "self".into(),
        nickname: String::new(),
        peer_id: "id_self".into(),
        network: "weave".into(),
        password: false,
        boot_id: 1,
        uptime_ms: 1000,
        port: 6783,
        frame_port: "none".into(),
        mtu_bytes: 1390,
        peers,
        connections: (0..neighbours)
            .map(|number| connection(number, number + 1 < neighbours))
            .collect(),
        targets: vec![TargetStatus {
            target: "198.18.0.9:6783".into(),
            state: "waiting".into(),
            connected: false,
            retry_in_ms: Some(500),
        }],
        macs: (0..macs)
            .map(|number| MacStatus {
                mac: format!("02:00:00:00:{:02x}:{:02x}", number / 256, number % 256),
                peer: "0".into(),
                local: number == 0,
                age_s: 1,
                damped: false,
            })
            .collect(),
        segment: vec![],
        routes: vec![route("0", true), route("1", false)],
        traffic: Traffic {
            frames_in: 3,
            drops: BTreeMap::from([("no_route".to_owned(), 2)]),
            ..Traffic::default()
        },
        refusals: BTreeMap::from([("a_router_s_own".to_owned(), 7)]),
        gossip: BTreeMap::from([("links_up".to_owned(), 4)]),
        warnings: vec![],
    }
}

fn peer(name: &str, reachable: bool) -> PeerStatus {
    PeerStatus {
        name: name.into(),
        nickname: String::new(),
        peer_id: format!("id_{name}"),
        version: "0.1.0".into(),
        reachable,
        unreachable_reason: None,
        addresses: vec![],
        neighbours: vec![],
    }
}

fn connection(number: usize, usable: bool) -> ConnectionStatus {
    ConnectionStatus {
        name: format!("n{number}"),
        peer_id: format!("id{number}"),
        remote: "198.18.0.2:6783".parse().unwrap(),
        udp_remote: None,
        dialled: true,
        state: "established".into(),
        usable,
        rtt_us: Some(250),
        loss: 0.5,
        cost_us: 1250,
        path_mtu_bytes: 1472,
        path_mtu_state: String::new(),
        cipher: usable.then(|| "AES-256-GCM".to_owned()),
    }
}

/// To a neighbour, or by a direct path.
fn route(name: &str, direct: bool) -> RouteStatus {
    RouteStatus {
        destination: name.into(),
        peer_id: format!("id_{name}"),
        next_hop: "0".into(),
        direct,
        hops: 1,
        cost_us: 1,
        tunnel: true,
        direct_remote: (!direct).then(|| "198.18.0.7:6783".parse().unwrap()),
        direct_path: None,
    }
}
