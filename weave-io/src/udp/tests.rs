use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use weave_core::BUFFER_BYTES;

use super::*;

#[test]
fn a_run_goes_out_as_one_and_comes_in_with_every_packet() {
    let (mut a, mut b) = pair("127.0.0.1:0", "127.0.0.1:0");
    let run: Vec<u8> = (0..10 * 1200 - 700).map(|n| (n / 1200) as u8).collect();
    let mut tx = Batch::new(1, BUFFER_BYTES);
    push(&mut tx, &run, 1200, b.local_addr().unwrap(), Ecn::Ect0);
    assert_eq!(a.send(&mut tx).unwrap(), 1);
    assert!(tx.is_empty());

    let packets = receive(&mut b, 10);
    assert_eq!(packets.len(), 10);
    for (index, packet) in packets.iter().enumerate() {
        let bytes = if index == 9 { 500 } else { 1200 };
        assert_eq!(packet.bytes, vec![index as u8; bytes]);
        assert_eq!(packet.remote, a.local_addr().unwrap());
        assert_eq!(packet.local, Some(IpAddr::V4(Ipv4Addr::LOCALHOST)));
        assert_eq!(packet.ecn, Ecn::Ect0);
    }
    assert_eq!(a.refused(), 0);
}

#[test]
fn gso_and_gro_are_on_where_the_kernel_has_them() {
    let (mut a, mut b) = pair("127.0.0.1:0", "127.0.0.1:0");
    if a.caps().gso_segments_max == 1 || !b.caps().gro {
        eprintln!("skipped: this kernel has no UDP segmentation offload");
        return;
    }
    let mut tx = Batch::new(1, BUFFER_BYTES);
    push(
        &mut tx,
        &[7; 44 * 1472],
        1472,
        b.local_addr().unwrap(),
        Ecn::NotEct,
    );
    a.send(&mut tx).unwrap();
    wait(&b);
    let mut rx = Batch::new(4, BUFFER_BYTES);
    assert_eq!(b.recv(&mut rx).unwrap(), 1, "one run, one receive");
    let (bytes, meta) = rx.front().unwrap();
    assert_eq!((bytes.len(), meta.segment_bytes), (44 * 1472, 1472));
}

#[test]
fn dont_fragment_is_set() {
    let (a, _) = pair("[::]:0", "127.0.0.1:0");
    assert!(a.caps().dont_fragment);
}

#[test]
fn a_dual_stack_socket_shows_and_takes_plain_ipv4_addresses() {
    let (mut a, mut b) = pair("[::]:0", "127.0.0.1:0");
    let any = a.local_addr().unwrap();
    let mut tx = Batch::new(1, BUFFER_BYTES);
    push(&mut tx, b"from b", 6, localhost(any.port()), Ecn::NotEct);
    b.send(&mut tx).unwrap();
    let packet = receive(&mut a, 1).remove(0);
    assert_eq!(packet.remote, b.local_addr().unwrap());
    assert_eq!(packet.local, Some(IpAddr::V4(Ipv4Addr::LOCALHOST)));

    // Back, from the very address that it came to.
    assert!(tx.free().unwrap().append(b"from a"));
    tx.commit(PacketMeta {
        local: packet.local,
        ecn: Ecn::Ce,
        ..PacketMeta::single(packet.remote, 6)
    });
    a.send(&mut tx).unwrap();
    let packet = receive(&mut b, 1).remove(0);
    assert_eq!(packet.bytes, b"from a");
    assert_eq!(packet.remote, localhost(any.port()));
    assert_eq!(packet.ecn, Ecn::Ce);
}

#[test]
fn what_can_go_nowhere_is_dropped_and_the_next_run_goes_out() {
    let (mut a, mut b) = pair("127.0.0.1:0", "127.0.0.1:0");
    let segments = a.caps().gso_segments_max;
    let mut tx = Batch::new(5, BUFFER_BYTES);
    for nowhere in ["127.0.0.1:0", "0.0.0.0:9", "224.0.0.1:9", "[2001:db8::1]:9"] {
        push(&mut tx, b"lost", 2, nowhere.parse().unwrap(), Ecn::NotEct);
    }
    push(&mut tx, b"found", 5, b.local_addr().unwrap(), Ecn::NotEct);
    assert_eq!(a.send(&mut tx).unwrap(), 5);
    assert_eq!(a.refused(), 8);
    assert_eq!(receive(&mut b, 1).remove(0).bytes, b"found");
    assert_eq!(a.caps().gso_segments_max, segments, "GSO stays on");
}

#[test]
fn a_run_too_long_for_one_call_is_sent_packet_by_packet() {
    let (mut a, mut b) = pair("127.0.0.1:0", "127.0.0.1:0");
    let mut tx = Batch::new(1, BUFFER_BYTES);
    push(
        &mut tx,
        &[9; 100 * 64],
        64,
        b.local_addr().unwrap(),
        Ecn::NotEct,
    );
    assert_eq!(a.send(&mut tx).unwrap(), 1);
    assert_eq!(receive(&mut b, 100).len(), 100);
}

#[test]
fn a_taken_port_is_an_error() {
    let a = UdpTransport::bind(localhost(0)).unwrap();
    let error = UdpTransport::bind(a.local_addr().unwrap()).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
}

struct Packet {
    bytes: Vec<u8>,
    remote: SocketAddr,
    local: Option<IpAddr>,
    ecn: Ecn,
}

fn pair(a: &str, b: &str) -> (UdpTransport, UdpTransport) {
    let bind = |text: &str| UdpTransport::bind(text.parse().unwrap()).unwrap();
    (bind(a), bind(b))
}

fn localhost(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

fn push(
    tx: &mut Batch<PacketMeta>,
    bytes: &[u8],
    segment_bytes: usize,
    remote: SocketAddr,
    ecn: Ecn,
) {
    assert!(tx.free().unwrap().append(bytes));
    tx.commit(PacketMeta {
        segment_bytes,
        ecn,
        ..PacketMeta::single(remote, bytes.len())
    });
}

/// Receives until `count` packets are in; however the kernel puts them together.
fn receive(socket: &mut UdpTransport, count: usize) -> Vec<Packet> {
    let mut packets = Vec::new();
    let mut rx = Batch::new(8, BUFFER_BYTES);
    while packets.len() < count {
        wait(socket);
        socket.recv(&mut rx).unwrap();
        for (bytes, meta) in rx.iter() {
            packets.extend(bytes.chunks(meta.segment_bytes).map(|bytes| Packet {
                bytes: bytes.to_vec(),
                remote: meta.remote,
                local: meta.local,
                ecn: meta.ecn,
            }));
        }
        rx.clear();
    }
    packets
}

/// Loopback delivers at once; the time is for a machine under load.
fn wait(socket: &UdpTransport) {
    let mut fds = [PollFd::new(socket.as_fd(), PollFlags::POLLIN)];
    let timeout = PollTimeout::try_from(Duration::from_secs(10)).unwrap();
    assert_eq!(poll(&mut fds, timeout).unwrap(), 1, "nothing came");
}
