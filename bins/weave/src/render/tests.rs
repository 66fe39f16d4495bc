use std::collections::BTreeMap;

use weave_core::{ConnectionStatus, MacStatus, PeerStatus, RouteStatus, TargetStatus, Traffic};

use super::*;

const PLAIN: Paint = Paint { colour: false };

#[test]
fn the_verdict_comes_first_and_every_section_follows() {
    let text = status(&example(), None, PLAIN);
    let mut lines = text.lines();
    assert_eq!(
        lines.next(),
        Some("degraded: no route to c; not connected to 198.18.0.9:6783")
    );
    assert_eq!(lines.next(), Some("! two routers call themselves b"));
    for wanted in [
        "  router     a (alpha)",
        "  network    weave, no password: whoever reaches the port can join",
        "  version    0.1.0, up 1 h 1 min",
        "  frames     tap weave-tap on bridge weave, containers' MTU 1390",
        "  from port  3 frames, 1.5 kB",
        "  dropped    no_route 2",
        "peers (3)",
        "connections (1)",
        "  NAME  TCP                 UDP                STATE        RTT      LOSS  COST     MTU   CIPHER",
        "  b     -> 198.18.0.2:6783  198.18.0.2:6783    established  0.25 ms  0 %   1.25 ms  1472  AES-256-GCM",
        "  198.18.0.9:6783  no         waiting: refused  in 0.5 s",
        "  02:00:00:00:00:01  a       here   7 s ago",
        "  b   direct     1     1.25 ms  yes",
    ] {
        let wanted: Vec<&str> = wanted.split_whitespace().collect();
        assert!(
            text.lines()
                .any(|line| line.split_whitespace().collect::<Vec<_>>() == wanted),
            "{wanted:?} is not in\n{text}"
        );
    }
    assert!(!text.contains('\x1b'));
}

#[test]
fn one_section_is_the_verdict_and_that_section() {
    let text = status(&example(), Some(Section::Targets), PLAIN);
    assert_eq!(
        text,
        "degraded: no route to c; not connected to 198.18.0.9:6783\n\
         \n\
         targets (1)\n\
         \x20 TARGET           CONNECTED  STATE             NEXT TRY\n\
         \x20 198.18.0.9:6783  no         waiting: refused  in 0.5 s\n"
    );
}

#[test]
fn an_empty_section_says_so() {
    let mut document = example();
    document.macs.clear();
    let text = status(&document, Some(Section::Macs), PLAIN);
    assert!(text.ends_with("macs (0)\n  none\n"), "{text}");
}

#[test]
fn names_of_others_cannot_steer_the_terminal() {
    let mut document = example();
    document.peers[1].nickname = "\x1b[2Jb\r\n".into();
    document.warnings.push("\x1b]0;title\x07".into());
    let text = status(&document, None, PLAIN);
    assert!(!text.contains('\x1b') && !text.contains('\r') && !text.contains('\x07'));
}

#[test]
fn colours_do_not_move_the_columns() {
    let plain = status(&example(), None, PLAIN);
    let coloured = status(&example(), None, Paint { colour: true });
    let mut bare = String::new();
    let mut rest = coloured.as_str();
    while let Some((before, after)) = rest.split_once('\x1b') {
        bare.push_str(before);
        rest = after.split_once('m').unwrap().1;
    }
    bare.push_str(rest);
    assert_eq!(bare, plain);
    assert_ne!(coloured, plain);
}

#[test]
fn figures_are_short() {
    assert_eq!(bytes(999), "999 B");
    assert_eq!(bytes(1_500_000), "1.5 MB");
    assert_eq!(millis(250), "0.25 ms");
    assert_eq!(millis(25_000), "25 ms");
    assert_eq!(duration(59_999), "59 s");
    assert_eq!(duration(90_061_000), "1 d 1 h");
}

fn peer(name: &str, reachable: bool) -> PeerStatus {
    PeerStatus {
        name: name.into(),
        nickname: String::new(),
        peer_id: name.into(),
        version: "0.1.0".into(),
        reachable,
        addresses: vec![],
        neighbours: vec![],
    }
}

fn example() -> Status {
    Status {
        version: "0.1.0".into(),
        name: "a".into(),
        nickname: "alpha".into(),
        peer_id: "a".into(),
        network: "weave".into(),
        password: false,
        boot_id: 1,
        uptime_ms: 3_661_000,
        port: 6783,
        frame_port: "tap weave-tap on bridge weave".into(),
        mtu_bytes: 1390,
        peers: vec![peer("a", true), peer("b", true), peer("c", false)],
        connections: vec![ConnectionStatus {
            name: "b".into(),
            peer_id: "b".into(),
            remote: "198.18.0.2:6783".parse().unwrap(),
            udp_remote: Some("198.18.0.2:6783".parse().unwrap()),
            dialled: true,
            state: "established".into(),
            carrier: Some("udp".into()),
            usable: true,
            rtt_us: Some(250),
            loss: 0.0,
            cost_us: 1250,
            path_mtu_bytes: 1472,
            path_mtu_state: "found by probes".into(),
            cipher: Some("AES-256-GCM".into()),
        }],
        targets: vec![TargetStatus {
            target: "198.18.0.9:6783".into(),
            state: "waiting: refused".into(),
            connected: false,
            retry_in_ms: Some(500),
        }],
        macs: vec![MacStatus {
            mac: "02:00:00:00:00:01".into(),
            peer: "a".into(),
            local: true,
            age_s: 7,
            damped: false,
        }],
        segment: vec![],
        routes: vec![RouteStatus {
            destination: "b".into(),
            peer_id: "b".into(),
            next_hop: "b".into(),
            direct: true,
            hops: 1,
            cost_us: 1250,
            carrier: "udp".into(),
            carrier_reason: None,
            tunnel: true,
            direct_remote: None,
            direct_path: None,
        }],
        traffic: Traffic {
            frames_in: 3,
            frame_bytes_in: 1500,
            drops: BTreeMap::from([("no_route".to_owned(), 2)]),
            ..Traffic::default()
        },
        refusals: BTreeMap::new(),
        gossip: BTreeMap::new(),
        warnings: vec!["two routers call themselves b".into()],
    }
}
