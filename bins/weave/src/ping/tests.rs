use super::*;

const PLAIN: Paint = Paint { colour: false };

#[test]
fn the_path_is_told_with_its_links() {
    let ping = relayed(Some(420), Some(910));
    assert_eq!(
        path(&ping, PLAIN),
        "to c by way of b: 2 hops, path MTU 1400\n   b (udp, MTU 1472), c (tcp, MTU 1400)"
    );
    let direct = Ping {
        mac: Some("02:00:00:00:00:01".into()),
        hops: vec![hop("c", "udp", 1472, None)],
        ..ping
    };
    assert_eq!(
        path(&direct, PLAIN),
        "to 02:00:00:00:00:01 behind c, direct: udp, MTU 1472"
    );
}

#[test]
fn this_router_itself_is_no_path() {
    let ping = Ping {
        hops: vec![],
        ..relayed(None, Some(0))
    };
    assert!(is_local(&ping));
    assert_eq!(path(&ping, PLAIN), "c is this router itself");
}

#[test]
fn a_round_is_the_time_to_each_router() {
    let ping = relayed(Some(420), Some(910));
    assert_eq!(round(1, &ping, PLAIN), " 1  b 0.42 ms   c 0.91 ms");
    let ping = relayed(None, Some(12_000));
    assert_eq!(round(12, &ping, PLAIN), "12  b no answer   c 12 ms");
}

#[test]
fn a_round_without_answer_says_why_and_how_far_it_came() {
    let ping = Ping {
        failure: Some("no answer from c within 2 s".into()),
        ..relayed(Some(420), None)
    };
    assert_eq!(
        round(3, &ping, PLAIN),
        " 3  b 0.42 ms   no answer from c within 2 s"
    );
    let ping = Ping {
        hops: vec![],
        failure: Some("no path leads to c".into()),
        ..ping
    };
    assert_eq!(round(4, &ping, PLAIN), " 4  no path leads to c");
    assert_eq!(path(&ping, PLAIN), "to c: no path");
}

#[test]
fn the_sum_tells_where_on_the_way_answers_are_lost() {
    let mut tally = Tally::default();
    assert!(tally.count(&relayed(Some(400), Some(900))));
    assert!(!tally.count(&relayed(Some(500), None)));
    assert!(!tally.count(&relayed(Some(450), Some(1100))));
    assert_eq!(
        tally.render(PLAIN),
        "3 sent, 2 answered, 33 % lost\n\
         \x20 ROUTER  ANSWERED  LEAST    MEAN     MOST\n\
         \x20 b       3 of 3    0.40 ms  0.45 ms  0.50 ms\n\
         \x20 c       2 of 3    0.90 ms  1.00 ms  1.10 ms\n"
    );
}

#[test]
fn another_path_is_news_and_so_is_another_carrier() {
    let mut tally = Tally::default();
    assert!(tally.count(&relayed(Some(1), Some(1))));
    let mut other = relayed(Some(1), Some(1));
    other.hops[0].carrier = "tcp".into();
    assert!(tally.count(&other));
    other.hops.remove(0);
    assert!(tally.count(&other));
    assert!(!tally.count(&other));
    other.hops.clear();
    other.rtt_us = None;
    assert!(tally.count(&other));
    assert_eq!((tally.sent, tally.answered, tally.hops.len()), (5, 4, 2));
}

#[test]
fn names_of_others_cannot_steer_the_terminal() {
    let mut ping = relayed(Some(1), None);
    ping.to = "\x1b[2J".into();
    ping.hops[0].name = "\x07b".into();
    ping.hops[0].carrier = "\x07".into();
    ping.failure = Some("\x1b".into());
    let text = path(&ping, PLAIN) + &round(1, &ping, PLAIN);
    assert!(!text.contains(['\x1b', '\x07']), "{text:?}");
}

#[test]
fn a_document_gets_its_number_and_keeps_what_this_tool_does_not_know() {
    let document = serde_json::json!({ "to": "c", "later": 1 });
    assert_eq!(
        numbered(document, 7).to_string(),
        r#"{"later":1,"seq":7,"to":"c"}"#
    );
}

#[test]
fn times_are_taken_in_seconds_and_within_bounds() {
    assert_eq!(interval("0.2").unwrap(), Duration::from_millis(200));
    assert_eq!(timeout("10").unwrap(), Duration::from_secs(10));
    for text in ["0", "-1", "NaN", "inf", "1e9", "soon", ""] {
        let error = interval(text).unwrap_err();
        assert_eq!(error, "not a number of seconds from 0.1 to 3600");
    }
    assert!(timeout("11").unwrap_err().contains("0.01 to 10"));
}

fn hop(name: &str, carrier: &str, path_mtu_bytes: u16, rtt_us: Option<u64>) -> PingHop {
    PingHop {
        name: name.into(),
        peer_id: name.into(),
        carrier: carrier.into(),
        path_mtu_bytes,
        rtt_us,
    }
}

/// To c by way of b.
fn relayed(b: Option<u64>, c: Option<u64>) -> Ping {
    Ping {
        to: "c".into(),
        peer_id: "c".into(),
        mac: None,
        hops: vec![hop("b", "udp", 1472, b), hop("c", "tcp", 1400, c)],
        path_mtu_bytes: 1400,
        rtt_us: c,
        failure: None,
    }
}
