//! A virtual Ethernet switch carries any protocol.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::thread;
use std::time::Duration;

use super::lab::capture::Tap;
use super::lab::container::MTU_BYTES;
use super::lab::ping::checksum;
use super::lab::{Container, Host, Lab, shapes};

pub(super) fn tcp_and_udp_cross_whole_and_unchanged() {
    let (pair, _hosts) = Pair::new();
    tcp_and_udp_cross(&pair);
}

/// The same for containers on ports of any kind.
pub(super) fn tcp_and_udp_cross(pair: &Pair) {
    for (server, client) in [(&pair.one, &pair.other), (&pair.other, &pair.one)] {
        let bytes = noise(TCP_BYTES);
        let listener = server.run(|| TcpListener::bind((server.address(), 7000)).unwrap());
        thread::scope(|scope| {
            let served = scope.spawn(|| {
                let (mut stream, _) = listener.accept().unwrap();
                let mut received = vec![0; TCP_BYTES];
                stream.read_exact(&mut received).unwrap();
                stream.write_all(&received).unwrap();
                received
            });
            let address = SocketAddr::new(server.address(), 7000);
            let mut stream =
                client.run(|| TcpStream::connect_timeout(&address, ANSWER_TIME_MAX).unwrap());
            stream.set_read_timeout(Some(TRANSFER_TIME_MAX)).unwrap();
            let mut writer = stream.try_clone().unwrap();
            let wanted = &bytes;
            scope.spawn(move || writer.write_all(wanted).unwrap());
            let mut back = vec![0; TCP_BYTES];
            stream.read_exact(&mut back).unwrap();
            assert!(
                served.join().unwrap() == bytes,
                "the server received something else"
            );
            assert!(back == bytes, "the client received something else");
        });
    }

    let receiver = pair
        .other
        .run(|| UdpSocket::bind((pair.other.address(), 7001)).unwrap());
    let sender = pair
        .one
        .run(|| UdpSocket::bind((pair.one.address(), 7002)).unwrap());
    receiver.set_read_timeout(Some(ANSWER_TIME_MAX)).unwrap();
    // From an empty datagram over one that fills a packet to such as take several IP fragments.
    let full = MTU_BYTES as usize - 28;
    for length in [
        0,
        1,
        17,
        18,
        19,
        512,
        full - 1,
        full,
        full + 1,
        4000,
        16_000,
    ] {
        let bytes = noise(length);
        sender
            .send_to(&bytes, (pair.other.address(), 7001))
            .unwrap();
        let mut buffer = vec![0; 1 << 16];
        let (received, from) = receiver
            .recv_from(&mut buffer)
            .unwrap_or_else(|error| panic!("{length}: {error}"));
        assert!(
            buffer[..received] == bytes,
            "{length} bytes sent, {received} received"
        );
        assert_eq!(from, SocketAddr::new(pair.one.address(), 7002));
    }
}

pub(super) fn ipv6_and_its_neighbour_discovery_cross() {
    let (pair, _hosts) = Pair::new();
    ipv6_crosses(&pair);
}

/// The same for containers on ports of any kind.
pub(super) fn ipv6_crosses(pair: &Pair) {
    for (from, to) in [(&pair.one, &pair.other), (&pair.other, &pair.one)] {
        // Nobody told them each other's Ethernet addresses: the answer to the ping needs neighbour discovery.
        let answer = from.reaches(to.address_v6(), Duration::from_secs(1));
        assert!(
            answer.is_some(),
            "{} does not reach {}",
            from.address_v6(),
            to.address_v6()
        );
    }
    let address = SocketAddr::new(pair.other.address_v6(), 7000);
    let listener = pair.other.run(|| TcpListener::bind(address).unwrap());
    let bytes = noise(TCP_BYTES);
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut stream = pair
                .one
                .run(|| TcpStream::connect_timeout(&address, ANSWER_TIME_MAX).unwrap());
            stream.write_all(&bytes).unwrap();
        });
        let (mut stream, _) = listener.accept().unwrap();
        stream.set_read_timeout(Some(TRANSFER_TIME_MAX)).unwrap();
        let mut received = Vec::new();
        stream.read_to_end(&mut received).unwrap();
        assert!(received == bytes, "other bytes over IPv6");
    });
}

pub(super) fn multicast_reaches_its_group() {
    let (pair, _hosts) = Pair::new();
    multicast_crosses(&pair);
}

/// The same for containers on ports of any kind.
pub(super) fn multicast_crosses(pair: &Pair) {
    let (group, port) = (Ipv4Addr::new(239, 1, 2, 3), 7003);
    let member = pair.other.run(|| UdpSocket::bind((group, port)).unwrap());
    pair.other.run(|| {
        member
            .join_multicast_v4(&group, &ipv4(&pair.other).into())
            .unwrap()
    });
    member.set_read_timeout(Some(ANSWER_TIME_MAX)).unwrap();
    let sender = pair
        .one
        .run(|| UdpSocket::bind((pair.one.address(), 0)).unwrap());
    for number in 0..10_u8 {
        sender.send_to(&[number; 100], (group, port)).unwrap();
        let mut buffer = [0; 200];
        let (length, from) = member.recv_from(&mut buffer).unwrap();
        assert_eq!(
            (&buffer[..length], from.ip()),
            (&[number; 100][..], pair.one.address())
        );
    }
}

pub(super) fn frames_of_every_kind_cross_byte_for_byte() {
    let (pair, _hosts) = Pair::new();
    frames_cross(&pair);
}

/// The same for containers on ports of any kind.
pub(super) fn frames_cross(pair: &Pair) {
    let (from, to) = (pair.one.mac(), pair.other.mac());
    let (tap, wire) = (Tap::open(&pair.one), Tap::open(&pair.other));
    let full = MTU_BYTES as usize;
    let frames: Vec<(&str, Vec<u8>)> = vec![
        ("ARP request", frame(BROADCAST, from, 0x0806, &arp(pair, 1))),
        ("ARP answer", frame(to, from, 0x0806, &arp(pair, 2))),
        (
            "IPv4",
            frame(to, from, 0x0800, &udp(pair, ipv4(&pair.other), 100)),
        ),
        (
            "broadcast IPv4",
            frame(BROADCAST, from, 0x0800, &udp(pair, [255; 4], 1200)),
        ),
        (
            "multicast IPv4",
            frame(
                [0x01, 0x00, 0x5e, 1, 2, 3],
                from,
                0x0800,
                &udp(pair, [239, 1, 2, 3], 300),
            ),
        ),
        (
            "multicast IPv6",
            frame([0x33, 0x33, 0, 0, 0, 1], from, 0x86dd, &to_all_nodes()),
        ),
        (
            "multicast of no IP",
            frame([0x03, 0, 0, 0, 0, 0x77], from, EXPERIMENTAL, &noise(100)),
        ),
        (
            "unknown EtherType",
            frame(to, from, EXPERIMENTAL, &noise(46)),
        ),
        (
            "unknown EtherType, broadcast",
            frame(BROADCAST, from, EXPERIMENTAL, &noise(500)),
        ),
        (
            "unknown EtherType, full",
            frame(to, from, EXPERIMENTAL, &noise(full)),
        ),
        (
            "unknown EtherType, full, broadcast",
            frame(BROADCAST, from, EXPERIMENTAL, &noise(full)),
        ),
        ("no EtherType but a length", frame(to, from, 50, &noise(50))),
        // Shorter than a wire would carry; virtual ones do.
        ("short", frame(to, from, EXPERIMENTAL, &[7])),
    ];
    for (kind, frame) in &frames {
        tap.send(frame);
        assert_eq!(wire.receive(frame, ANSWER_TIME_MAX), 1, "{kind}");
    }

    // Tagged frames (IEEE 802.1Q): priority 5, network 42.
    for (kind, destination) in [("unicast", to), ("broadcast", BROADCAST)] {
        for tpid in [0x8100_u16, 0x88a8] {
            let tag = [tpid.to_be_bytes(), [0xa0, 42]]
                .concat()
                .try_into()
                .unwrap();
            let wire = Tap::open_tagged(&pair.other, tag);
            let plain = frame(
                destination,
                from,
                0x0800,
                &udp(pair, ipv4(&pair.other), 200),
            );
            let tagged = [&plain[..12], &tag, &plain[12..]].concat();
            tap.send(&tagged);
            assert_eq!(
                wire.receive(&plain, ANSWER_TIME_MAX),
                1,
                "tagged {kind}, {tpid:04x}"
            );
        }
    }

    // What is for this wire only stays on it (IEEE 802.1D table 7-10).
    let private = frame([0x01, 0x80, 0xc2, 0, 0, 0], from, 0x0027, &noise(60));
    tap.send(&private);
    assert_eq!(
        wire.receive(&private, Duration::from_millis(300)),
        0,
        "link-local frame"
    );
}

/// A container on each of two hosts that have met.
pub(super) struct Pair {
    pub(super) one: Container,
    pub(super) other: Container,
}

impl Pair {
    /// On the hosts' bridges. What comes beside must stay as long as they are used.
    fn new() -> (Self, (Host, Host, Lab)) {
        let mut lab = Lab::new();
        let shapes::Pair { one, other, a, b } = lab.pair(&[]);
        (Self { one, other }, (a, b, lab))
    }
}

fn frame(to: [u8; 6], from: [u8; 6], kind: u16, payload: &[u8]) -> Vec<u8> {
    [&to[..], &from, &kind.to_be_bytes(), payload].concat()
}

/// An ARP message about addresses that no container has (RFC 826), so that no kernel joins in.
fn arp(pair: &Pair, operation: u8) -> Vec<u8> {
    let mut message = vec![0, 1, 8, 0, 6, 4, 0, operation];
    message.extend(pair.one.mac());
    message.extend([10, 32, 9, 1]);
    message.extend(if operation == 1 {
        [0; 6]
    } else {
        pair.other.mac()
    });
    message.extend([10, 32, 9, 2]);
    message
}

/// An IPv6 packet for ff02::1 with 20 bytes in it (RFC 8200; next header 59: none that means anything).
fn to_all_nodes() -> Vec<u8> {
    let mut packet = vec![0x60, 0, 0, 0, 0, 20, 59, 1];
    packet.extend("fe80::32".parse::<Ipv6Addr>().unwrap().octets());
    packet.extend("ff02::1".parse::<Ipv6Addr>().unwrap().octets());
    packet.extend(noise(20));
    packet
}

/// A UDP datagram to nobody's port, with the sums that a card would compute (RFC 791, RFC 768).
fn udp(pair: &Pair, destination: [u8; 4], payload_bytes: u16) -> Vec<u8> {
    let source = ipv4(&pair.one);
    let length = (8 + payload_bytes).to_be_bytes();
    let mut header = vec![0x45, 0];
    header.extend((28 + payload_bytes).to_be_bytes());
    header.extend([0x12, 0x34, 0x40, 0, 64, 17, 0, 0]);
    header.extend(source);
    header.extend(destination);
    let sum = checksum(&header);
    header[10..12].copy_from_slice(&sum.to_be_bytes());
    let mut datagram = vec![0x30, 0x39, 0x30, 0x3a];
    datagram.extend(length);
    datagram.extend([0, 0]);
    datagram.extend(noise(payload_bytes.into()));
    let pseudo = [&source[..], &destination, &[0, 17], &length, &datagram].concat();
    let sum = checksum(&pseudo);
    datagram[6..8].copy_from_slice(&sum.to_be_bytes());
    [header, datagram].concat()
}

fn ipv4(container: &Container) -> [u8; 4] {
    match container.address() {
        IpAddr::V4(address) => address.octets(),
        IpAddr::V6(_) => panic!("the first address is IPv4"),
    }
}

/// Bytes without a pattern that a fault could hide behind, the same in each run (xorshift64).
fn noise(length: usize) -> Vec<u8> {
    let mut state: u64 = 0x9e37_79b9_7f4a_7c15;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    };
    (0..length).map(|_| next()).collect()
}

const BROADCAST: [u8; 6] = [0xff; 6];
/// Reserved for experiments (IEEE 802, Local Experimental Ethertype 2).
const EXPERIMENTAL: u16 = 0x88b6;
const TCP_BYTES: usize = 1 << 20;
const ANSWER_TIME_MAX: Duration = Duration::from_secs(2);
const TRANSFER_TIME_MAX: Duration = Duration::from_secs(10);
