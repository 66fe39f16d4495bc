//! What `weave ping`, `weave trace` and a collector of metrics are told, across a relay.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::time::{Duration, Instant};

use serde::de::DeserializeOwned;
use serde_json::json;
use weave_core::{Ping, Trace};

use super::basics::LINK_TIME_MAX;
use super::exposition;
use super::lab::shapes::Line;
use super::lab::{Host, Lab, figure, within};

pub(super) fn ping_trace_and_metrics_tell_the_way_over_a_relay() {
    let mut lab = Lab::new();
    // The containers stay: the routers are asked for them.
    let Line {
        one: _one,
        other: _other,
        a,
        b,
        c,
    } = lab.line(&["--metrics", METRICS]);

    let ping: Ping = ask(&a, "/ping", "c");
    let names: Vec<&str> = ping.hops.iter().map(|hop| hop.name.as_str()).collect();
    assert_eq!(names, ["b", "c"], "{ping:?}");
    assert!(ping.hops.iter().all(|hop| hop.rtt_us > Some(0)), "{ping:?}");
    assert_eq!((ping.rtt_us, &ping.failure), (ping.hops[1].rtt_us, &None));
    figure(&format!("ping over the relay: {:?} us", times(&ping)));

    // By the address of the container there, which is not known as any router's.
    let mac = far_mac(&a);
    let ping: Ping = ask(&a, "/ping", &mac);
    assert_eq!((ping.to.as_str(), ping.mac), ("c", Some(mac)));

    let trace: Trace = ask(&a, "/trace", "c");
    assert!(trace.reachable && trace.tunnel, "{trace:?}");
    assert_eq!(trace.hops.len(), 2, "{trace:?}");
    assert!(trace.why[0].starts_with("no link to c: "), "{trace:?}");
    assert!(trace.why[0].contains("; by b it is "), "{trace:?}");
    figure(&format!("trace: {}", trace.why.join("; ")));

    let start = Instant::now();
    let at_a = exposition::read(&scrape(&a));
    figure(&format!("{} samples in {:?}", at_a.len(), start.elapsed()));
    let at_b = exposition::read(&scrape(&b));
    assert_eq!(at_a["weave_routes{way=\"relayed\"}"], 1.0);
    assert_eq!(at_a["weave_links{state=\"udp\"}"], 1.0);
    assert!(at_a["weave_frames_total{direction=\"in\"}"] >= 2.0);
    assert_eq!(at_a["weave_packets_relayed_total"], 0.0);
    // The echo of the containers, and those of the routers.
    assert!(at_b["weave_packets_relayed_total"] >= 6.0);
    // Of unicast frames a relay sees no address: only of those who broadcast, as the first ping's ARP does.
    assert!(at_b["weave_mac_addresses{place=\"there\"}"] >= 1.0);
    // It listens where it was told only.
    let from_c = |to: Ipv4Addr| c.namespace().run(|| TcpStream::connect((to, 9783)));
    assert!(from_c(b.address()).unwrap().is_err());

    lab.heal(&a, &c);
    a.await_direct(Duration::from_secs(20), &[&c]);
    // A link that is seconds old may still lose to the relay, as its first round trips are measured.
    let (trace, _) = within(LINK_TIME_MAX, "the link is the way to c", || {
        let trace: Trace = ask(&a, "/trace", "c");
        let why = &trace.why[0];
        (why.starts_with("the direct link costs least: ") && why.contains("; by b it would be "))
            .then_some(trace)
    });
    assert_eq!(trace.others[0].next_hop, "b", "{trace:?}");
    assert!(trace.others[0].cost_us > trace.cost_us, "{trace:?}");
    figure(&format!("trace: {}", trace.why.join("; ")));
    let ping: Ping = ask(&a, "/ping", "c");
    assert_eq!(ping.hops.len(), 1, "{ping:?}");
    figure(&format!("ping over the link: {:?} us", times(&ping)));
    let at_a = exposition::read(&scrape(&a));
    assert_eq!(at_a["weave_routes{way=\"link\"}"], 2.0);
    assert_eq!(at_a["weave_routes{way=\"relayed\"}"], 0.0);
}

/// Asks for a router by whatever names it.
fn ask<T: DeserializeOwned>(host: &Host, path: &str, whom: &str) -> T {
    let request = json!({ "peer": whom }).to_string();
    let answer = host.request("POST", path, request.as_bytes());
    let answer = answer.expect("the router runs");
    assert_eq!(answer.code, 200, "{}", answer.text());
    serde_json::from_slice(&answer.body).expect("the answer is what weave-core defines")
}

fn times(ping: &Ping) -> Vec<u64> {
    ping.hops.iter().filter_map(|hop| hop.rtt_us).collect()
}

/// The one address that lives behind c.
fn far_mac(host: &Host) -> String {
    let status = host.status().expect("it runs");
    let far = status.macs.iter().find(|entry| entry.peer == "c");
    far.expect("its echo came from there").mac.clone()
}

/// One request of a collector on the host itself.
fn scrape(host: &Host) -> String {
    let mut stream = host
        .namespace()
        .run(|| TcpStream::connect(METRICS))
        .unwrap()
        .unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(5)))
        .unwrap();
    stream
        .write_all(b"GET /metrics HTTP/1.1\r\nHost: weave\r\n\r\n")
        .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").expect("HTTP");
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    body.to_owned()
}

const METRICS: &str = "127.0.0.1:9783";
