//! Somebody on the wire who sends everything again: nothing is delivered twice, and nobody is led astray.

use super::*;
use crate::{DropReason, Kind, PacketView};

/// Hears every datagram, and may send it again at once.
#[derive(Default)]
pub(super) struct Eavesdropper {
    /// To whom, from whom, what.
    heard: Vec<(usize, SocketAddr, Vec<u8>)>,
    again: Again,
}

#[derive(Default, PartialEq, Eq)]
enum Again {
    #[default]
    Never,
    /// Right behind the true one.
    Behind,
    /// It is faster.
    Before,
}

impl Eavesdropper {
    /// From which addresses the datagram arrives, in order.
    pub(super) fn hear(&mut self, to: usize, from: SocketAddr, bytes: &[u8]) -> Vec<SocketAddr> {
        self.heard.push((to, from, bytes.to_vec()));
        match self.again {
            Again::Never => vec![from],
            Again::Behind => vec![from, from, stranger()],
            Again::Before => vec![stranger(), from, from],
        }
    }
}

#[test]
fn what_is_sent_again_is_delivered_once_whenever_and_wherever_from() {
    // New keys once or twice in each phase, so that none is without the old ones of the phase before.
    let mut net = Net::with_rekey_after(Duration::from_secs(6), &["a", "b", "c"]);
    join_in_line(&mut net);

    // At once.
    net.eavesdropper = Some(Eavesdropper {
        again: Again::Behind,
        ..Eavesdropper::default()
    });
    let sent = traffic(&mut net, 0, Duration::from_secs(10));
    assert_delivered_once(&net, &sent);
    let heard = net.eavesdropper.take().unwrap().heard;
    let kinds = kinds(&heard);
    for kind in [Kind::Relay, Kind::Unicast, Kind::Flood, Kind::Probe] {
        assert!(
            kinds.contains(&kind),
            "{kind:?} is among {} datagrams",
            heard.len()
        );
    }

    // After a second, and after new keys, while traffic goes on.
    let mut sent = sent;
    for (number, pause) in [(1, 1), (2, 8), (3, 40)] {
        net.run(Duration::from_secs(pause));
        send_again(&mut net, &heard);
        sent.extend(traffic(&mut net, number, Duration::from_secs(2)));
        assert_delivered_once(&net, &sent);
    }
    let replayed: u64 = net
        .nodes
        .iter()
        .map(|node| {
            let stats = node.forwarder.stats();
            stats.drops(DropReason::Replayed) + stats.drops(DropReason::UnknownReceiver)
        })
        .sum();
    assert!(
        replayed >= 8 * heard.len() as u64,
        "{replayed} of {}",
        heard.len()
    );

    // Nobody believes that a neighbour is where the replays came from.
    for node in &net.nodes {
        for connection in node.router.status(net.now, Default::default()).connections {
            assert!(connection.usable);
            assert_ne!(
                connection.udp_remote,
                Some(stranger()),
                "{}",
                connection.name
            );
        }
    }

    // To one that was started anew.
    for number in [1, 2] {
        net.restart(number);
        net.connect(number, 2 - number / 2);
        send_again(&mut net, &heard);
        net.run(Duration::from_secs(3));
        send_again(&mut net, &heard);
        net.run(Duration::from_millis(10));
        assert_eq!(net.received(number), [] as [Vec<u8>; 0], "{number}");
    }
    let before = net
        .nodes
        .iter()
        .map(|node| node.received.len())
        .sum::<usize>();
    net.send(2, &frame(mac(3), EthernetAddress::BROADCAST, b"new"));
    net.run(Duration::from_millis(10));
    let after = net
        .nodes
        .iter()
        .map(|node| node.received.len())
        .sum::<usize>();
    assert_eq!(after, before + 2, "and all is well");
}

#[test]
fn one_who_is_faster_than_the_sender_doubles_nothing_and_loses_nothing() {
    let mut net = Net::new(&["a", "b", "c"]);
    join_in_line(&mut net);
    net.eavesdropper = Some(Eavesdropper {
        again: Again::Before,
        ..Eavesdropper::default()
    });
    let sent = traffic(&mut net, 0, Duration::from_secs(10));
    assert_delivered_once(&net, &sent);
}

/// Three in a line, with links that carry frames; each knows where the containers of the others are.
fn join_in_line(net: &mut Net) {
    net.cut.push((0, 2));
    net.connect(0, 1);
    net.connect(2, 1);
    net.run(Duration::from_secs(3));
    for node in 0..3 {
        net.send(
            node,
            &frame(mac(node as u8 + 1), EthernetAddress::BROADCAST, b"hello"),
        );
        net.run(Duration::from_millis(10));
    }
    net.run(Duration::from_secs(1));
}

/// Numbered frames of all kinds for so long: relayed, direct, flooded.
fn traffic(net: &mut Net, phase: u8, duration: Duration) -> Vec<(usize, Vec<u8>)> {
    let mut expected = Vec::new();
    for number in 0..duration.as_millis() as u16 / 20 {
        let [high, low] = number.to_be_bytes();
        for (from, to) in [(0, 2), (2, 0), (0, 1), (1, 2)] {
            let payload = [phase, from as u8, to as u8, high, low];
            let frame = frame(mac(from as u8 + 1), mac(to as u8 + 1), &payload);
            net.send(from, &frame);
            expected.push((to, frame));
        }
        if number % 5 == 0 {
            let payload = [phase, 0, 0xff, high, low];
            let frame = frame(mac(1), EthernetAddress::BROADCAST, &payload);
            net.send(0, &frame);
            expected.extend([(1, frame.clone()), (2, frame)]);
        }
        net.run(Duration::from_millis(20));
    }
    expected
}

/// Sends all that was heard again, in its sender's name and in a stranger's.
fn send_again(net: &mut Net, heard: &[(usize, SocketAddr, Vec<u8>)]) {
    for (to, from, bytes) in heard {
        for from in [*from, stranger()] {
            let event = Event::Packet(from, bytes.clone());
            net.queue.push_back((net.now, *to, event));
        }
    }
    net.run(Duration::from_millis(10));
}

fn assert_delivered_once(net: &Net, sent: &[(usize, Vec<u8>)]) {
    for (number, node) in net.nodes.iter().enumerate() {
        let numbered = |frame: &&Vec<u8>| frame.get(14..19) != Some(b"hello");
        let mut received: Vec<&Vec<u8>> = node.received.iter().filter(numbered).collect();
        let mut expected: Vec<&Vec<u8>> = sent
            .iter()
            .filter(|(to, _)| *to == number)
            .map(|(_, frame)| frame)
            .collect();
        received.sort();
        expected.sort();
        assert_eq!(received.len(), expected.len(), "node {number}");
        assert!(received == expected, "node {number}");
    }
}

fn kinds(heard: &[(usize, SocketAddr, Vec<u8>)]) -> Vec<Kind> {
    heard
        .iter()
        .filter_map(|(.., bytes)| Some(PacketView::new_checked(bytes).ok()?.kind()))
        .collect()
}

/// An address where nobody of the network is.
fn stranger() -> SocketAddr {
    SocketAddr::from(([203, 0, 113, 9], 6_783))
}
