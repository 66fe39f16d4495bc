//! Ports that are on one segment outside of the mesh: two bridges with a wire between them.

use std::collections::BTreeMap;

use super::*;
use crate::loop_frame::LoopFrame;
use crate::{Notice, PortChange};

#[test]
fn a_loop_is_noticed_named_by_both_and_cut_where_the_larger_identity_is() {
    let mut net = three();
    join(&mut net);
    net.run(Duration::from_millis(1_100));
    let (small, large) = ends(&net);
    for (node, other, carrier) in [(small, large, "this router"), (large, small, NAMES[small])] {
        let status = net.nodes[node].router.status(net.now, Default::default());
        assert_eq!(status.segment.len(), 1);
        assert_eq!(status.segment[0].name, NAMES[other]);
        let warning = status.warnings.iter().find(|text| text.contains("a loop"));
        let warning = warning.expect("it says so");
        assert!(warning.contains(NAMES[other]), "{warning}");
        assert!(warning.contains(&format!("{carrier} carries")), "{warning}");
        assert_eq!(net.nodes[node].fib.port_is_blocked, node == large);
        assert_eq!(net.nodes[node].fib.mates.len(), 1);
        let told: Vec<String> = events(&mut net, node);
        assert_eq!(
            told.iter().filter(|text| text.contains("a loop")).count(),
            1
        );
    }
    assert!(net.nodes[2].fib.mates.is_empty() && !net.nodes[2].fib.port_is_blocked);
}

#[test]
fn broadcasts_on_a_joined_segment_cross_the_mesh_once_and_go_round_nowhere() {
    let mut net = three();
    join(&mut net);
    net.run(Duration::from_millis(1_100));
    let before = frames_in(&net);
    for number in 0..20 {
        for node in 0..3 {
            net.send(
                node,
                &frame(mac(node as u8 + 1), EthernetAddress::BROADCAST, &[number]),
            );
        }
        net.run(Duration::from_millis(20));
    }
    // 40 of the two containers on it, 20 of the third's, and a loop frame of each router.
    let frames = frames_in(&net) - before;
    assert!((60..=62).contains(&frames), "{frames}");
    assert_eq!(net.received(2).len(), 40, "each once");
    let (small, large) = ends(&net);
    assert_eq!(net.received(small).len(), 20);
    assert_eq!(net.received(large).len(), 0, "the other has written them");
    for node in 0..2 {
        assert_eq!(
            net.nodes[2].router.macs().lookup(mac(node + 1)),
            site(&net, 2, small)
        );
        let macs = net.nodes[usize::from(node)].router.macs();
        assert_eq!(macs.lookup(mac(3)), site(&net, usize::from(node), 2));
    }
    assert_eq!(damped(&net), 0);
}

#[test]
fn containers_that_talked_before_go_on_when_their_bridges_are_joined() {
    let mut net = three();
    net.bridges = Some(Bridges::default());
    for node in 0..3u8 {
        net.send(
            node.into(),
            &frame(mac(node + 1), EthernetAddress::BROADCAST, b"hello"),
        );
        net.run(Duration::from_millis(10));
    }
    join(&mut net);
    net.run(Duration::from_millis(1_100));
    let (small, large) = ends(&net);
    net.nodes[2].received.clear();
    // The one whose router is shut now: a ping each 100 ms, from the far side and back.
    let here = mac(large as u8 + 1);
    for number in 0..20 {
        let question = frame(mac(3), here, &[number, 1]);
        net.send(2, &question);
        net.run(Duration::from_millis(10));
        let bridges = net.bridges.as_ref().unwrap();
        assert_eq!(
            count(&bridges.received[large], &question),
            1,
            "ping {number}"
        );
        let answer = frame(here, mac(3), &[number, 2]);
        net.send(large, &answer);
        net.run(Duration::from_millis(90));
        assert_eq!(count(&net.nodes[2].received, &answer), 1, "answer {number}");
        if number == 10 {
            // What it says to all goes by the other router, and so does all from then on.
            net.send(large, &frame(here, EthernetAddress::BROADCAST, b"who has"));
            net.run(Duration::from_millis(10));
        }
    }
    assert_eq!(
        net.nodes[2].router.macs().lookup(here),
        site(&net, 2, small)
    );
    assert_eq!(damped(&net), 0);
}

#[test]
fn an_address_that_was_damped_while_frames_went_round_is_learned_anew() {
    let mut net = three();
    join(&mut net);
    while net.nodes[0].fib.mates.is_empty() {
        net.run(Duration::from_millis(1));
    }
    // The other's port is not shut yet: a container of the third router is seen there and here by turns.
    let (here, there) = (Site::LOCAL, site(&net, 0, 2).unwrap());
    let moving = mac(9);
    for site in [there, here].into_iter().cycle().take(20) {
        net.nodes[0].router.macs().learn(net.now, moving, site);
    }
    net.nodes[0].router.macs().learn(net.now, moving, there);
    assert_eq!(net.nodes[0].router.macs().lookup(moving), Some(here));
    net.run(crate::router::loops::RELEARN_AFTER + Duration::from_millis(2));
    net.nodes[0].router.macs().learn(net.now, moving, there);
    assert_eq!(net.nodes[0].router.macs().lookup(moving), Some(there));
}

#[test]
fn all_is_as_before_five_seconds_after_the_wire_went() {
    let mut net = three();
    join(&mut net);
    net.run(Duration::from_millis(1_100));
    part(&mut net);
    net.run(Duration::from_millis(4_900));
    let (_, large) = ends(&net);
    assert!(net.nodes[large].fib.port_is_blocked);
    net.run(Duration::from_millis(1_200));
    for node in 0..2 {
        assert!(!net.nodes[node].fib.port_is_blocked && net.nodes[node].fib.mates.is_empty());
        let status = net.nodes[node].router.status(net.now, Default::default());
        assert_eq!(status.segment, []);
        assert!(!status.warnings.iter().any(|text| text.contains("loop")));
    }
    let hello = frame(mac(9), EthernetAddress::BROADCAST, b"hello");
    net.send(large, &hello);
    net.run(Duration::from_millis(10));
    assert!(net.received(2).contains(&hello));
}

#[test]
fn a_port_that_goes_has_silence_believed_sooner() {
    for is_the_wire in [true, false] {
        let mut net = three();
        join(&mut net);
        // Between two loop frames.
        net.run(Duration::from_millis(1_250));
        if is_the_wire {
            part(&mut net);
        }
        for node in 0..2 {
            let now = net.now;
            let router = &mut net.nodes[node].router;
            router.handle_port_changes(now, &[PortChange::Left]);
        }
        let blocked = |net: &Net| {
            let (_, large) = ends(net);
            net.nodes[large].fib.port_is_blocked
        };
        net.run(Duration::from_millis(1_400));
        assert!(blocked(&net));
        net.run(Duration::from_millis(200));
        assert_eq!(blocked(&net), !is_the_wire, "another port, another end");
    }
}

#[test]
fn who_hears_of_a_loop_says_so_at_once() {
    let mut net = three();
    net.bridges = Some(Bridges::default());
    net.run(Duration::from_millis(250));
    let (small, large) = ends(&net);
    // Both see a port come up, and only the other's forwards already: what the first to speak says is lost.
    let now = net.now;
    let joined = [PortChange::Joined];
    net.nodes[small].router.handle_port_changes(now, &joined);
    net.run(Duration::from_millis(2));
    join(&mut net);
    let now = net.now;
    net.nodes[large].router.handle_port_changes(now, &joined);
    net.run(Duration::from_millis(5));
    for node in [small, large] {
        assert_eq!(net.nodes[node].fib.mates.len(), 1, "{}", NAMES[node]);
    }
    assert!(net.nodes[large].fib.port_is_blocked);
}

#[test]
fn many_floods_from_the_port_have_a_loop_frame_sent_at_once() {
    let mut net = three();
    join(&mut net);
    net.run(Duration::from_millis(1_100));
    let before = net.nodes[0].router.loops.counter;
    net.run(Duration::from_millis(300));
    assert_eq!(net.nodes[0].router.loops.counter, before, "none is due");
    let now = net.now;
    net.nodes[0].router.handle_notice(now, Notice::PortFloods);
    net.run(Duration::from_millis(100));
    assert_eq!(net.nodes[0].router.loops.counter, before + 1);
}

#[test]
fn a_segment_without_a_way_by_the_mesh_is_no_loop() {
    let mut net = Net::new(&NAMES[..2]);
    net.connect(0, 1);
    net.run(Duration::from_secs(1));
    join(&mut net);
    net.run(Duration::from_millis(1_100));
    let (_, large) = ends(&net);
    assert!(net.nodes[large].fib.port_is_blocked);
    let mesh_goes = net.nodes[1 - large].router.peer_id();
    net.nodes[1 - large]
        .router
        .handle_command(net.now, Command::Shutdown);
    net.drain(1 - large);
    net.run(Duration::from_millis(500));
    let node = &net.nodes[large];
    assert!(node.router.mesh().link(&mesh_goes).is_none());
    assert!(!node.fib.port_is_blocked, "nobody else carries its frames");
}

#[test]
fn loop_frames_are_believed_only_when_new_and_from_a_member() {
    let mut net = three();
    let network = net.nodes[0].router.config.mesh.network;
    let identities: Vec<_> = net
        .nodes
        .iter()
        .map(|node| Arc::clone(&node.router.identity))
        .collect();
    let boot = net.nodes[1].boot_id;
    let refused = |net: &Net, name: &str| {
        let status = net.nodes[0].router.status(net.now, Default::default());
        status.refusals.get(name).copied().unwrap_or(0)
    };
    let send = |net: &mut Net, frame: &LoopFrame| net.enter(0, &frame.emit(&network));

    let stranger = Identity::from_seed([99; 32]);
    send(&mut net, &LoopFrame::sign(&stranger, &network, 1, 1));
    assert_eq!(refused(&net, "loop_frame_unknown_peer"), 1);
    let mut forged = LoopFrame::sign(&identities[2], &network, boot, 1);
    forged.peer = identities[1].peer_id();
    send(&mut net, &forged);
    assert_eq!(refused(&net, "loop_frame_not_genuine"), 1);
    assert!(net.nodes[0].fib.mates.is_empty());

    let old = LoopFrame::sign(&identities[1], &network, boot, 7);
    send(&mut net, &old);
    assert_eq!(net.nodes[0].fib.mates.len(), 1);
    send(&mut net, &old);
    assert_eq!(refused(&net, "loop_frame_stale"), 1);
    net.run(Duration::from_secs(6));
    assert!(net.nodes[0].fib.mates.is_empty());
    send(&mut net, &old);
    assert_eq!(
        refused(&net, "loop_frame_stale"),
        2,
        "also after all is over"
    );
    net.run(Duration::from_secs(1));
    send(
        &mut net,
        &LoopFrame::sign(&identities[1], &network, boot - 1, 8),
    );
    assert_eq!(refused(&net, "loop_frame_stale"), 3, "of an earlier boot");
    assert!(net.nodes[0].fib.mates.is_empty());
}

#[test]
fn garbage_loop_frames_are_counted_and_most_are_not_looked_at() {
    let mut net = three();
    let network = net.nodes[0].router.config.mesh.network;
    let peer = net.nodes[1].router.peer_id();
    let stranger = Identity::from_seed([99; 32]);
    for number in 0..1_000 {
        let mut forged = LoopFrame::sign(&stranger, &network, net.nodes[1].boot_id, number + 1);
        forged.peer = peer;
        net.enter(0, &forged.emit(&network));
    }
    let stats = net.nodes[0].forwarder.stats();
    assert_eq!(stats.loop_frames_in, 1_000);
    let policed = stats.drops(crate::DropReason::LoopFramePoliced);
    assert!(policed >= 990, "{policed}");
    let status = net.nodes[0].router.status(net.now, Default::default());
    assert_eq!(
        status.refusals.get("loop_frame_not_genuine"),
        Some(&(1_000 - policed))
    );
    assert!(net.nodes[0].fib.mates.is_empty());
    net.run(Duration::from_millis(10));
    assert!(net.received(2).is_empty(), "none of it crosses the mesh");
}

#[test]
fn other_frames_of_the_loop_frames_kind_are_ordinary() {
    let mut net = three();
    let foreign = NetworkId::from_name("another");
    let stranger = Identity::from_seed([99; 32]);
    let mut garbage = frame(mac(1), EthernetAddress::BROADCAST, b"local experiment");
    garbage[12..14].copy_from_slice(&[0x88, 0xb5]);
    for bytes in [
        LoopFrame::sign(&stranger, &foreign, 1, 1).emit(&foreign),
        garbage,
    ] {
        net.send(0, &bytes);
        net.run(Duration::from_millis(10));
        assert!(net.received(2).contains(&bytes));
    }
}

#[test]
fn a_loop_frame_that_comes_back_is_told_of() {
    let mut net = three();
    let network = net.nodes[0].router.config.mesh.network;
    let router = &net.nodes[0].router;
    let (identity, boot) = (Arc::clone(&router.identity), net.nodes[0].boot_id);
    let newest = router.loops.counter;
    events(&mut net, 0);
    let ours = LoopFrame::sign(&identity, &network, boot, newest);
    net.enter(0, &ours.emit(&network));
    assert_eq!(events(&mut net, 0).len(), 1);
    let warned = |net: &Net| {
        let status = net.nodes[0].router.status(net.now, Default::default());
        status
            .warnings
            .iter()
            .any(|text| text.contains("come back"))
    };
    assert!(warned(&net));
    assert!(!net.nodes[0].fib.port_is_blocked);
    net.run(Duration::from_secs(6));
    assert!(!warned(&net));
    // Not sent yet, or of another boot.
    for (boot, counter) in [(boot, newest + 100), (boot - 1, newest)] {
        net.enter(
            0,
            &LoopFrame::sign(&identity, &network, boot, counter).emit(&network),
        );
    }
    assert!(!warned(&net));
}

const NAMES: [&str; 3] = ["a", "b", "c"];

/// a, b and c with links between all of them.
fn three() -> Net {
    let mut net = Net::new(&NAMES);
    net.connect(0, 1);
    net.connect(1, 2);
    net.connect(2, 0);
    net.run(Duration::from_secs(3));
    for node in &mut net.nodes {
        node.received.clear();
    }
    net
}

/// Joins the bridges of a and b.
fn join(net: &mut Net) {
    net.bridges.get_or_insert_default().is_joined = true;
}

/// Takes the wire between them away.
fn part(net: &mut Net) {
    let bridges = net.bridges.as_mut().unwrap();
    bridges.is_joined = false;
    for learned in &mut bridges.learned {
        learned.retain(|_, port| *port != Port::Joint);
    }
}

fn frames_in(net: &Net) -> usize {
    net.bridges.as_ref().unwrap().frames
}

fn count(frames: &[Vec<u8>], frame: &[u8]) -> usize {
    frames.iter().filter(|other| *other == frame).count()
}

/// Two learning bridges, each with a router and some containers, and perhaps a wire between them.
#[derive(Default)]
pub(super) struct Bridges {
    is_joined: bool,
    learned: [BTreeMap<EthernetAddress, Port>; 2],
    /// What came to the containers.
    received: [Vec<Vec<u8>>; 2],
    /// Frames that a router or a container put in.
    frames: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Port {
    Router,
    Stations,
    Joint,
}

impl Bridges {
    /// Takes a frame; the routers that get it.
    pub(super) fn take(&mut self, bridge: usize, port: Port, frame: &[u8]) -> Vec<usize> {
        if port != Port::Joint {
            self.frames += 1;
        }
        let destination = EthernetAddress::from_bytes(&frame[..6]);
        let learned = &mut self.learned[bridge];
        learned.insert(EthernetAddress::from_bytes(&frame[6..12]), port);
        let known = learned.get(&destination).copied();
        let mut routers = Vec::new();
        for out in [Port::Router, Port::Stations, Port::Joint] {
            if out == port || known.is_some_and(|known| known != out) {
                continue;
            }
            match out {
                Port::Router => routers.push(bridge),
                Port::Stations => self.received[bridge].push(frame.to_vec()),
                Port::Joint if self.is_joined => {
                    routers.extend(self.take(1 - bridge, Port::Joint, frame));
                }
                Port::Joint => {}
            }
        }
        routers
    }
}

/// Of a and b, that with the smaller identity first.
fn ends(net: &Net) -> (usize, usize) {
    let [a, b] = [0, 1].map(|node| net.nodes[node].router.peer_id());
    if a < b { (0, 1) } else { (1, 0) }
}

fn site(net: &Net, at: usize, of: usize) -> Option<Site> {
    let peer = net.nodes[of].router.peer_id();
    net.nodes[at].router.sites.site(&peer)
}

fn damped(net: &Net) -> u64 {
    net.nodes
        .iter()
        .map(|node| node.forwarder.stats().macs_damped)
        .sum()
}

fn events(net: &mut Net, node: usize) -> Vec<String> {
    let events = std::mem::take(&mut net.nodes[node].events);
    events
        .into_iter()
        .filter(|text| text.contains("loop"))
        .collect()
}
