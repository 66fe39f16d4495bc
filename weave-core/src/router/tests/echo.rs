//! Pings from router to router.

use super::*;
use crate::{FindError, Note, Notice, Ping, PingError};

#[test]
fn a_ping_over_a_relay_tells_how_long_each_hop_takes() {
    let mut net = Net::line();
    let ping = net.ping(0, "c");
    let hops: Vec<(&str, Option<u64>)> = ping
        .hops
        .iter()
        .map(|hop| (hop.name.as_str(), hop.rtt_us))
        .collect();
    // 1 ms for each link, each way; the tunnel with c was made first, which is not counted.
    assert_eq!(hops, [("b", Some(2000)), ("c", Some(4000))]);
    assert_eq!(ping.rtt_us, Some(4000));
    assert_eq!(ping.path_mtu_bytes, 1472);
    assert_eq!(ping.failure, None);
    assert!(net.nodes[1].forwarder.stats().packets_relayed >= 2);
}

#[test]
fn a_ping_after_healing_goes_straight() {
    let mut net = Net::line();
    net.cut.clear();
    net.run(Duration::from_secs(10));
    let ping = net.ping(0, "c");
    assert_eq!(ping.hops.len(), 1, "{ping:?}");
    assert_eq!(ping.rtt_us, Some(2000));
}

#[test]
fn a_ping_that_nobody_answers_ends_in_time_and_says_so() {
    let mut net = Net::line();
    net.ping(0, "c");
    net.cut.push((1, 2));
    let start = net.now;
    let ping = net.ping(0, "c");
    assert_eq!(ping.rtt_us, None);
    assert_eq!(ping.hops[0].rtt_us, Some(2000), "the relay answers");
    assert_eq!(
        ping.failure.as_deref(),
        Some("no answer from c within 0.3 s")
    );
    let (at, ..) = net.nodes[0].pinged.last().unwrap();
    assert_eq!(*at - start, TIMEOUT);

    net.run(Duration::from_secs(10));
    let start = net.now;
    let ping = net.ping(0, "c");
    assert!(ping.hops.is_empty() && ping.path_mtu_bytes == 0, "{ping:?}");
    assert!(ping.failure.unwrap().starts_with("no path leads to c"));
    assert_eq!(net.nodes[0].pinged.last().unwrap().0, start, "at once");
}

#[test]
fn oneself_answers_at_once_and_nobody_is_not_asked() {
    let mut net = Net::line();
    let ping = net.ping(0, "a");
    assert_eq!((ping.rtt_us, ping.hops.len()), (Some(0), 0));
    net.start_ping(0, 9, "nobody");
    let (_, id, result) = net.nodes[0].pinged.last().unwrap();
    assert_eq!(*id, 9);
    let error = FindError::Unknown("nobody".to_owned());
    assert_eq!(result, &Err(PingError::Find(error)));
}

#[test]
fn echoes_are_answered_only_so_often() {
    let mut net = Net::line();
    net.ping(0, "b");
    let asker = net.nodes[0].router.peer_id();
    let router = &mut net.nodes[1].router;
    let site = router.sites.site(&asker).unwrap();
    let mut answers = 0;
    // Half a second past the burst of the ping before, then 100 in each of 10 seconds.
    let start = net.now + Duration::from_secs(1);
    for number in 0..1000 {
        let now = start + Duration::from_millis(10) * number;
        let note = Note::Echo {
            token: u64::from(number),
        };
        router.handle_notice(now, Notice::Note { site, note });
        while let Some(action) = router.poll_action() {
            answers += usize::from(matches!(action, Action::SendPacket { .. }));
        }
    }
    assert!((200..=222).contains(&answers), "{answers}");
    assert_eq!(router.refusals["echo_too_often"], 1000 - answers as u64);
    router.keep_house(start + Duration::from_secs(12));
    assert!(!router.echoes.may_be_in_debt());
}

#[test]
fn an_answer_that_was_not_asked_for_is_counted_and_changes_nothing() {
    let mut net = Net::line();
    net.start_ping(0, 1, "c");
    net.run(Duration::from_millis(1));
    let peer = net.nodes[1].router.peer_id();
    let router = &mut net.nodes[0].router;
    let site = router.sites.site(&peer).unwrap();
    let note = Note::EchoAnswer { token: 7 };
    router.handle_notice(net.now, Notice::Note { site, note });
    assert_eq!(router.refusals["echo_answer_unexpected"], 1);
    net.run(TIMEOUT);
    let (_, _, result) = net.nodes[0].pinged.last().unwrap();
    assert_eq!(result.as_ref().unwrap().rtt_us, Some(4000));
}

#[test]
fn pings_under_way_are_bounded() {
    let mut net = Net::line();
    net.cut.push((0, 1));
    for id in 0..40 {
        net.start_ping(0, id, "c");
    }
    let busy = |result: &&(Instant, u64, Result<Ping, PingError>)| result.2 == Err(PingError::Busy);
    assert_eq!(net.nodes[0].pinged.iter().filter(busy).count(), 24);
    net.run(TIMEOUT);
    assert_eq!(net.nodes[0].pinged.len(), 40, "each one ends");
}

const TIMEOUT: Duration = Duration::from_millis(300);

impl Net {
    fn start_ping(&mut self, from: usize, id: u64, to: &str) {
        let to = to.to_owned();
        let timeout = TIMEOUT;
        let command = Command::Ping { id, to, timeout };
        self.nodes[from].router.handle_command(self.now, command);
        self.drain(from);
    }

    /// Waits for the outcome.
    fn ping(&mut self, from: usize, to: &str) -> Ping {
        let before = self.nodes[from].pinged.len();
        self.start_ping(from, 1, to);
        self.run(TIMEOUT);
        let ended = &self.nodes[from].pinged[before..];
        assert_eq!(ended.len(), 1, "{ended:?}");
        ended[0].2.clone().unwrap()
    }
}
