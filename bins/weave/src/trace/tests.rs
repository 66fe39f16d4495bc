use weave_core::OtherPath;

use super::*;

const PLAIN: Paint = Paint { colour: false };

#[test]
fn the_path_the_reason_and_the_others_are_told_in_this_order() {
    assert_eq!(
        render(&relayed(), PLAIN),
        "to c: by way of b, 2 hops, cost 2.50 ms, path MTU 1400, a tunnel stands\n\
         \x20 HOP  ROUTER  CARRIER  COST     MTU   RTT      LOSS\n\
         \x20 1    b       udp      1.25 ms  1472  0.25 ms  2 %\n\
         \x20 2    c       tcp      1.25 ms  1400  -        -\n\
         \n\
         why this way\n\
         \x20 no link to c: never connected; by b it is 2.5 ms, and by d it would be 5.2 ms\n\
         \n\
         other ways\n\
         \x20 BY WAY OF  HOPS  COST     MORE BY\n\
         \x20 d          2     5.20 ms  2.70 ms\n"
    );
}

#[test]
fn a_direct_way_and_one_without_others_say_so() {
    let mut trace = relayed();
    trace.hops.remove(0);
    trace.tunnel = false;
    trace.others.clear();
    trace.mac = Some("02:00:00:00:00:01".into());
    let text = render(&trace, PLAIN);
    assert!(
        text.starts_with(
            "to 02:00:00:00:00:01 behind c: direct, cost 2.50 ms, path MTU 1400, no tunnel yet: the first frame makes one\n"
        ),
        "{text}"
    );
    assert!(text.ends_with("other ways\n  none\n"), "{text}");
}

#[test]
fn without_a_path_the_reasons_are_all_there_is() {
    let trace = Trace {
        reachable: false,
        hops: vec![],
        others: vec![],
        why: vec!["no path leads to c".into(), "no link to c".into()],
        ..relayed()
    };
    assert_eq!(
        render(&trace, PLAIN),
        "to c: no path\n\nwhy there is none\n  no path leads to c\n  no link to c\n"
    );
}

#[test]
fn this_router_itself_is_told_in_a_line() {
    let mut trace = Trace {
        local: true,
        hops: vec![],
        others: vec![],
        why: vec!["it is this router itself".into()],
        ..relayed()
    };
    assert_eq!(render(&trace, PLAIN), "c is this router itself\n");
    trace.mac = Some("02:00:00:00:00:01".into());
    trace.why.insert(
        0,
        "02:00:00:00:00:01 lives behind this router's own port, last heard 3 s ago".into(),
    );
    assert_eq!(
        render(&trace, PLAIN),
        "to 02:00:00:00:00:01 behind c: 02:00:00:00:00:01 lives behind this router's own port, last heard 3 s ago\n"
    );
}

#[test]
fn names_of_others_cannot_steer_the_terminal() {
    let mut trace = relayed();
    trace.to = "\x1b[2J".into();
    trace.hops[0].name = "\x07".into();
    trace.why[0].push('\x1b');
    trace.others[0].next_hop = "\x1b".into();
    let text = render(&trace, PLAIN);
    assert!(!text.contains(['\x1b', '\x07']), "{text:?}");
}

fn hop(name: &str, carrier: &str, path_mtu_bytes: u16) -> TraceHop {
    TraceHop {
        name: name.into(),
        peer_id: name.into(),
        carrier: carrier.into(),
        cost_us: 1250,
        path_mtu_bytes,
        rtt_us: None,
        loss: None,
    }
}

/// To c by way of b; by d it would cost more.
fn relayed() -> Trace {
    Trace {
        to: "c".into(),
        peer_id: "c".into(),
        mac: None,
        local: false,
        reachable: true,
        tunnel: true,
        hops: vec![
            TraceHop {
                rtt_us: Some(250),
                loss: Some(0.02),
                ..hop("b", "udp", 1472)
            },
            hop("c", "tcp", 1400),
        ],
        cost_us: 2500,
        path_mtu_bytes: 1400,
        why: vec![
            "no link to c: never connected; by b it is 2.5 ms, and by d it would be 5.2 ms".into(),
        ],
        others: vec![OtherPath {
            next_hop: "d".into(),
            direct: false,
            hops: 2,
            cost_us: 5200,
        }],
    }
}
