use weave_core::Status;

use super::families::{FAMILIES, MAC_EVENTS, Process, Source, render};
use super::text::Kind;
use crate::example::{peer, route, status};

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
    assert_eq!(samples["weave_links{state=\"udp\"}"], 2.0);
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
