//! Keys that are replaced under traffic: nothing is lost, nothing doubled, nothing overtaken.

use std::collections::BTreeSet;

use super::*;

#[test]
fn keys_replaced_under_traffic_cost_no_frame_between_neighbours() {
    let mut net = Net::with_rekey_after(Duration::from_secs(1), &["a", "b"]);
    net.connect(0, 1);
    net.run(Duration::from_secs(2));
    let epochs = run_traffic(&mut net, [0, 1], Duration::from_secs(20));
    assert!(epochs >= 15, "{epochs} epochs");
}

#[test]
fn keys_replaced_under_traffic_cost_no_frame_over_a_relay() {
    // Either of the two may have begun the tunnel; the routers' names decide nothing of it.
    for began in [0, 2] {
        let mut net = Net::with_rekey_after(Duration::from_secs(1), &["a", "b", "c"]);
        net.cut.push((0, 2));
        net.connect(0, 1);
        net.connect(2, 1);
        net.run(Duration::from_secs(3));
        let other = 2 - began;
        net.send(
            other,
            &frame(station(other), EthernetAddress::BROADCAST, b"hello"),
        );
        net.run(Duration::from_millis(10));
        net.send(began, &frame(station(began), station(other), b"first"));
        net.run(Duration::from_secs(1));
        let epochs = run_traffic(&mut net, [0, 2], Duration::from_secs(20));
        assert!(epochs >= 15, "{epochs} epochs");
        assert!(net.nodes[1].forwarder.stats().packets_relayed > 30_000);
    }
}

/// A numbered frame each millisecond both ways, all of which must arrive once and in order; how many epochs of keys the
/// first of the two sealed with.
fn run_traffic(net: &mut Net, ends: [usize; 2], duration: Duration) -> usize {
    for end in ends {
        net.send(
            end,
            &frame(station(end), EthernetAddress::BROADCAST, b"hello"),
        );
        net.run(Duration::from_millis(10));
    }
    // The tunnel stands once these are through.
    for (from, to) in [(ends[0], ends[1]), (ends[1], ends[0])] {
        net.send(from, &frame(station(from), station(to), b"begin"));
        net.run(Duration::from_secs(1));
    }
    for end in ends {
        net.nodes[end].received.clear();
    }
    let peer = net.nodes[ends[1]].router.peer_id();
    let mut epochs = BTreeSet::new();
    let numbers = 0..duration.as_millis() as u32;
    let numbered = |from, to, number: u32| frame(station(from), station(to), &number.to_be_bytes());
    for number in numbers.clone() {
        for (from, to) in [(ends[0], ends[1]), (ends[1], ends[0])] {
            net.send(from, &numbered(from, to, number));
        }
        net.run(Duration::from_millis(1));
        let keys = net.nodes[ends[0]].router.tunnels.sealing(&peer).unwrap();
        epochs.insert(keys.local_index());
    }
    net.run(Duration::from_millis(10));
    for (from, to) in [(ends[0], ends[1]), (ends[1], ends[0])] {
        let sent: Vec<Vec<u8>> = numbers
            .clone()
            .map(|number| numbered(from, to, number))
            .collect();
        let received = net.received(to);
        assert_eq!(received.len(), sent.len(), "from {from} to {to}");
        assert!(received == sent, "from {from} to {to}: in another order");
    }
    epochs.len()
}

/// The container behind a router.
fn station(node: usize) -> EthernetAddress {
    mac(node as u8 + 1)
}
