use serde_json::Value;
use weave_core::{OtherPath, PingHop, TraceHop};

use super::*;
use crate::example::status;

/// What users read.
const PAGE: &str = include_str!("../../../../docs/control-api.md");

#[test]
fn the_page_names_every_field_of_the_status() {
    let status = serde_json::to_value(status(1, 1)).unwrap();
    names_all(section("The status document"), &status);
}

#[test]
fn the_page_names_every_field_of_a_trace_and_of_a_ping() {
    let trace = Trace {
        to: "c".into(),
        peer_id: "c".into(),
        mac: None,
        local: false,
        reachable: true,
        tunnel: true,
        hops: vec![TraceHop {
            name: "c".into(),
            peer_id: "c".into(),
            carrier: "udp".into(),
            cost_us: 1,
            path_mtu_bytes: 1472,
            rtt_us: None,
            loss: None,
        }],
        cost_us: 1,
        path_mtu_bytes: 1472,
        why: vec![],
        others: vec![OtherPath {
            next_hop: "b".into(),
            direct: false,
            hops: 2,
            cost_us: 2,
        }],
    };
    let trace = serde_json::to_value(trace).unwrap();
    names_all(section("The trace document"), &trace);
    let ping = Ping {
        to: "c".into(),
        peer_id: "c".into(),
        mac: None,
        hops: vec![PingHop {
            name: "c".into(),
            peer_id: "c".into(),
            carrier: "udp".into(),
            path_mtu_bytes: 1472,
            rtt_us: None,
        }],
        path_mtu_bytes: 1472,
        rtt_us: None,
        failure: None,
    };
    let ping = serde_json::to_value(ping).unwrap();
    names_all(section("The ping document"), &ping);
}

#[test]
fn the_page_names_every_field_of_the_passwords() {
    names_all(
        section("The passwords document"),
        &serde_json::to_value(Listed::example()).unwrap(),
    );
}

/// Each key of an object, and of the objects below, stands in the text as code. Counters by name are named as a whole.
fn names_all(text: &str, value: &Value) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                let is_named = [format!("`{name}`"), format!("`{name}[]`")];
                assert!(
                    is_named.iter().any(|name| text.contains(name)),
                    "docs/control-api.md does not name {name}"
                );
                if !COUNTERS.contains(&name.as_str()) {
                    names_all(text, value);
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| names_all(text, item)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// From a heading to the next.
fn section(heading: &str) -> &'static str {
    let (_, after) = PAGE.split_once(&format!("## {heading}\n")).unwrap();
    after.split("\n## ").next().unwrap()
}

const COUNTERS: [&str; 3] = ["drops", "refusals", "gossip"];
