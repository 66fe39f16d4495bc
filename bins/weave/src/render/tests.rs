use std::collections::BTreeMap;

use weave_core::{
    ConnectionStatus, MacStatus, PeerStatus, RouteStatus, SegmentStatus, TargetStatus, Traffic,
};

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
        "  dropped    no_route 2; why: weave status traffic",
        "  c  000003 0.1.0  no: no link to c: lost 7 s ago, closed by the other side  -  -",
        "peers (3)",
        "connections (1)",
        "  NAME  TCP                 UDP                STATE        RTT      LOSS  COST     PATH MTU               CIPHER",
        "  b     -> 198.18.0.2:6783  198.18.0.2:6783    established  0.25 ms  0 %   1.25 ms  1472, found by probes  AES-256-GCM",
        "  198.18.0.9:6783  no         waiting: refused  in 0.5 s",
        "  02:00:00:00:00:01  a       here   7 s ago",
        "  b   direct     1     1.25 ms  yes     the link",
    ] {
        let wanted: Vec<&str> = wanted.split_whitespace().collect();
        assert!(
            text.lines()
                .any(|line| line.split_whitespace().collect::<Vec<_>>() == wanted),
            "{wanted:?} is not in\n{text}"
        );
    }
    assert!(!text.contains('\x1b'));
    // What has nothing to tell, and what the overview has in short, is left to its own view.
    for heading in ["on one segment", "\ntraffic", "control plane"] {
        assert!(!text.contains(heading), "{text}");
    }
}

#[test]
fn routes_tell_how_it_stands_with_a_direct_path() {
    let mut document = example();
    let relayed = RouteStatus {
        destination: "c".into(),
        direct: false,
        hops: 2,
        ..document.routes[0].clone()
    };
    document.routes = vec![
        relayed.clone(),
        RouteStatus {
            destination: "d".into(),
            direct_path: Some(
                "no direct path: no answer from any address; tried again in 9 s".into(),
            ),
            ..relayed.clone()
        },
        RouteStatus {
            destination: "e".into(),
            direct_remote: Some("198.18.0.5:6783".parse().unwrap()),
            direct_path: Some("direct path without a link, to 198.18.0.5:6783".into()),
            ..relayed.clone()
        },
        RouteStatus {
            destination: "f".into(),
            carrier: "tcp".into(),
            ..relayed
        },
    ];
    let text = status(&document, Some(Section::Routes), PLAIN);
    let table = text.split_once("routes (4)\n").unwrap().1;
    assert_eq!(
        table,
        "\x20 TO  BY WAY OF       HOPS  COST     TUNNEL  DIRECT PATH\n\
         \x20 c   b               2     1.25 ms  yes     none yet: looked for when frames go there\n\
         \x20 d   b               2     1.25 ms  yes     no direct path: no answer from any address; tried again in 9 s\n\
         \x20 e   direct, else b  2     1.25 ms  yes     direct path without a link, to 198.18.0.5:6783\n\
         \x20 f   b over TCP      2     1.25 ms  yes     none yet: looked for when frames go there\n"
    );
}

#[test]
fn a_shared_segment_is_told_with_what_it_means() {
    let mut document = example();
    let mate = |name: &str, reachable| SegmentStatus {
        name: name.into(),
        peer_id: format!("{name}00000000000000"),
        reachable,
    };
    document.segment = vec![mate("b", true), mate("c", false)];
    let text = status(&document, None, PLAIN);
    assert!(
        text.contains(
            "on one segment (2)\n\
             \x20 NAME  IDENTITY      WHAT THAT MEANS\n\
             \x20 b     b00000000000  a loop: the mesh leads there as well, so one router carries the floods of all (see the first lines)\n\
             \x20 c     c00000000000  no loop: the mesh does not lead there, only the wire outside does\n"
        ),
        "{text}"
    );
}

#[test]
fn a_damped_address_says_why_it_stays() {
    let mut document = example();
    document.macs[0].damped = true;
    let text = status(&document, Some(Section::Macs), PLAIN);
    assert!(
        text.contains("here, and seen elsewhere: it moved too often, and is kept here for a while"),
        "{text}"
    );
}

#[test]
fn every_counter_comes_with_its_meaning() {
    let mut document = example();
    document.traffic.macs = BTreeMap::from([("moved".to_owned(), 4)]);
    let text = status(&document, Some(Section::Traffic), PLAIN);
    for wanted in [
        "  3      frames in          from the port, 1.5 kB\n",
        "  4      mac: moved         from one router or port to another\n",
        "  2      dropped: no_route  To a site that no route leads to.\n",
    ] {
        assert!(text.contains(wanted), "{wanted:?} is not in\n{text}");
    }
    document.refusals = BTreeMap::from([("udp_down".to_owned(), 1), ("new".to_owned(), 2)]);
    document.gossip = BTreeMap::from([("links_up".to_owned(), 3)]);
    let text = status(&document, Some(Section::Control), PLAIN);
    assert!(
        text.ends_with(
            "control plane\n\
             \x20 COUNT  WHAT               MEANING\n\
             \x20 2      refused: new       -\n\
             \x20 1      refused: udp_down  times that the UDP of a link fell silent\n\
             \x20 3      gossip: links_up   links that came up\n"
        ),
        "{text}"
    );
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
        peer_id: peer_id(name),
        version: "0.1.0".into(),
        reachable,
        unreachable_reason: (!reachable)
            .then(|| format!("no link to {name}: lost 7 s ago, closed by the other side")),
        addresses: vec![],
        neighbours: vec![],
    }
}

/// For a, b and c; as short as these make it.
fn peer_id(name: &str) -> String {
    format!(
        "{:06}",
        name.bytes()
            .map(|byte| u32::from(byte - b'a') + 1)
            .sum::<u32>()
    )
}

fn example() -> Status {
    Status {
        version: "0.1.0".into(),
        name: "a".into(),
        nickname: "alpha".into(),
        peer_id: peer_id("a"),
        network: "weave".into(),
        password: false,
        passwords: 0,
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
        refused: vec![],
        warnings: vec!["two routers call themselves b".into()],
    }
}
