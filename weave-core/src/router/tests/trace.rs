//! By which path, and why.

use super::*;
use crate::{FindError, Trace};

#[test]
fn a_path_over_a_relay_names_its_hops_and_why_it_is_not_the_direct_one() {
    let net = Net::line();
    let trace = net.trace(0, "c");
    assert!(trace.reachable && !trace.local, "{trace:?}");
    let names: Vec<&str> = trace.hops.iter().map(|hop| hop.name.as_str()).collect();
    assert_eq!(names, ["b", "c"]);
    let costs: u64 = trace.hops.iter().map(|hop| u64::from(hop.cost_us)).sum();
    assert_eq!(costs, trace.cost_us);
    assert!(trace.hops.iter().all(|hop| hop.carrier == "udp"));
    assert!(trace.hops[0].rtt_us.is_some() && trace.hops[1].rtt_us.is_none());
    assert_eq!(trace.path_mtu_bytes, 1472);
    let why = &trace.why[0];
    assert!(why.starts_with("no link to c: never connected"), "{why}");
    assert!(
        why.contains("refused") && why.contains("by b it is"),
        "{why}"
    );
}

#[test]
fn a_link_that_heals_is_taken_and_the_other_way_is_told() {
    let mut net = Net::line();
    net.cut.clear();
    net.run(Duration::from_secs(10));
    let trace = net.trace(0, "c");
    assert_eq!(trace.hops.len(), 1, "{trace:?}");
    let other = &trace.others[0];
    assert_eq!(
        (other.next_hop.as_str(), other.direct, other.hops),
        ("b", false, 2)
    );
    let why = &trace.why[0];
    assert!(
        why.starts_with("the direct link costs least") && why.contains("by b it would be"),
        "{why}"
    );
}

#[test]
fn a_router_out_of_reach_is_told_with_what_ended_the_link() {
    let mut net = Net::new(&["a", "b"]);
    net.connect(0, 1);
    net.run(Duration::from_secs(2));
    net.cut.push((0, 1));
    net.drop_streams();
    net.run(Duration::from_secs(20));
    let trace = net.trace(0, "b");
    assert!(!trace.reachable && trace.hops.is_empty(), "{trace:?}");
    assert_eq!(trace.why[0], "no path leads to b");
    let why = &trace.why[1];
    assert!(
        why.starts_with("no link to b: lost ") && why.contains("refused"),
        "{why}"
    );
    assert!(trace.why[2].contains("reaches nobody"), "{trace:?}");
}

#[test]
fn a_router_is_meant_by_name_identity_address_or_a_mac_behind_it() {
    let mut net = Net::line();
    net.send(2, &frame(mac(3), EthernetAddress::BROADCAST, b"hello"));
    net.run(Duration::from_millis(10));
    let identity = net.nodes[2].router.peer_id().to_string();
    for text in [
        "c",
        &identity,
        &identity[..8],
        &identity[..8].to_uppercase(),
        "198.18.0.3",
        "198.18.0.3:6783",
    ] {
        assert_eq!(net.trace(0, text).to, "c", "{text}");
    }
    let trace = net.trace(0, "02:00:00:00:00:03");
    assert_eq!(trace.mac.as_deref(), Some("02:00:00:00:00:03"));
    assert!(trace.why[0].contains("lives behind c"), "{trace:?}");
    let own = net.trace(2, "02-00-00-00-00-03");
    assert!(own.local && own.hops.is_empty(), "{own:?}");

    let unknown = |text: &str| net.nodes[0].router.trace(net.now, text).unwrap_err();
    for text in ["d", "", "198.18.0.9", &identity[..3]] {
        assert_eq!(unknown(text), FindError::Unknown(text.to_owned()));
    }
    let error = unknown("02:00:00:00:00:09");
    assert_eq!(error, FindError::MacUnknown("02:00:00:00:00:09".to_owned()));
}

#[test]
fn one_of_two_of_a_name_is_not_guessed() {
    let mut net = Net::new(&["a", "twin", "twin"]);
    net.connect(0, 1);
    net.connect(0, 2);
    net.run(Duration::from_secs(1));
    let error = net.nodes[0].router.trace(net.now, "twin").unwrap_err();
    let FindError::Ambiguous { candidates, .. } = &error else {
        panic!("{error}");
    };
    assert_eq!(candidates.len(), 2);
    for node in &net.nodes[1..] {
        let identity = node.router.peer_id().to_string();
        assert!(error.to_string().contains(&identity[..12]), "{error}");
        let trace = net.trace(0, &identity[..12]);
        assert_eq!(trace.peer_id, identity);
    }
}

impl Net {
    /// a – b – c, with a and c cut off from each other.
    pub(super) fn line() -> Self {
        let mut net = Self::new(&["a", "b", "c"]);
        net.cut.push((0, 2));
        net.connect(0, 1);
        net.connect(2, 1);
        net.run(Duration::from_secs(3));
        net
    }

    pub(super) fn trace(&self, from: usize, to: &str) -> Trace {
        self.nodes[from].router.trace(self.now, to).unwrap()
    }

    /// Every stream is reset.
    fn drop_streams(&mut self) {
        for (end, conn) in std::mem::take(&mut self.streams).into_iter().flatten() {
            let event = Event::Closed(conn, CloseReason::Reset);
            self.queue.push_back((self.now, end, event));
        }
    }
}
