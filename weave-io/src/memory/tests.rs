use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;

#[test]
fn frames_cross_a_port_in_both_directions() {
    let (mut port, host) = MemoryPort::plain(1514, 4);
    assert!(host.push_bytes(b"to the router"));
    let mut batch = Batch::new(2, 2048);
    assert_eq!(port.recv(&mut batch).unwrap(), 1);
    assert_eq!(batch.front().unwrap().0, b"to the router");
    assert_eq!(port.recv(&mut batch).unwrap(), 0, "nothing more is ready");
    assert_eq!(port.send(&mut batch).unwrap(), 1);
    assert_eq!(host.pop().unwrap().bytes, b"to the router");
    assert_eq!(host.pop(), None);
}

#[test]
fn a_full_port_refuses_and_counts() {
    let (mut port, host) = MemoryPort::plain(1514, 1);
    assert!(host.push_bytes(b"1"));
    assert!(!host.push_bytes(b"2"));
    assert_eq!(host.dropped(), 1);
    let mut batch = Batch::new(2, 2048);
    for _ in 0..2 {
        assert!(batch.free().unwrap().append(b"out"));
        batch.commit(FrameMeta::default());
    }
    assert_eq!(port.send(&mut batch).unwrap(), 1);
    assert_eq!(batch.len(), 1, "what did not fit stays");
}

#[test]
fn a_frame_larger_than_the_buffer_is_skipped_and_the_next_one_comes() {
    let (mut port, host) = MemoryPort::plain(1514, 4);
    host.push_bytes(&[0; 4000]);
    host.push_bytes(b"small");
    let mut batch = Batch::new(1, 2048);
    assert_eq!(port.recv(&mut batch).unwrap(), 1);
    assert_eq!(batch.front().unwrap().0, b"small");
    assert_eq!(host.dropped(), 1);
}

#[test]
fn a_push_wakes_the_router() {
    let (port, host) = MemoryPort::plain(1514, 4);
    let woken = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&woken);
    port.on_frames(move || {
        count.fetch_add(1, Ordering::Relaxed);
    });
    host.push_bytes(b"x");
    host.push_bytes(b"y");
    assert_eq!(woken.load(Ordering::Relaxed), 2);
}

#[test]
fn a_run_arrives_whole_with_gro_and_packet_by_packet_without() {
    let mut net = MemoryNet::new();
    let mut sender = net.bind(address(1), caps(true), 8);
    let mut whole = net.bind(address(2), caps(true), 8);
    let mut single = net.bind(address(3), caps(false), 8);
    let mut batch = Batch::new(4, 2048);
    for to in [2, 3, 9] {
        assert!(batch.free().unwrap().append(b"aaaabbbbcc"));
        batch.commit(PacketMeta {
            segment_bytes: 4,
            ..PacketMeta::single(address(to), 10)
        });
    }
    assert_eq!(sender.send(&mut batch).unwrap(), 3);
    assert_eq!(net.deliver(), 3);
    assert_eq!(net.unreachable(), 1);

    assert_eq!(whole.recv(&mut batch).unwrap(), 1);
    let (bytes, meta) = batch.front().unwrap();
    assert_eq!((bytes, meta.segment_bytes), (&b"aaaabbbbcc"[..], 4));
    assert_eq!(meta.remote, address(1));
    assert_eq!(meta.local, Some(address(2).ip()));
    batch.clear();

    assert_eq!(single.recv(&mut batch).unwrap(), 3);
    let packets: Vec<&[u8]> = batch.iter().map(|(bytes, _)| bytes).collect();
    assert_eq!(packets, [&b"aaaa"[..], b"bbbb", b"cc"]);
}

fn address(host: u8) -> SocketAddr {
    SocketAddr::from(([198, 18, 0, host], 6783))
}

fn caps(gro: bool) -> PacketCaps {
    PacketCaps {
        gso_segments_max: if gro { 64 } else { 1 },
        gro,
        dont_fragment: true,
    }
}
