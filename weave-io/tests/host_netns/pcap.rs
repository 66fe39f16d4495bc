//! Capture and injection on one end of a veth.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use weave_core::{BUFFER_BYTES, Batch, FrameIo, FrameMeta};
use weave_io::host::{Cidr, NetNs, Netlink, ScopedNetNs};
use weave_io::{PcapError, PcapPort};

use super::unique_name;

pub(super) fn a_device_that_cannot_be_captured_from_is_refused_with_the_reason() {
    let wire = Wire::new();
    let open = |device: &str| wire.port.run(|| PcapPort::open(device)).unwrap();
    assert!(matches!(open("none"), Err(PcapError::UnknownDevice(_))));
    // What libpcap would know, and is no device.
    for device in ["any", "dbus-system", "", "a name with blanks"] {
        assert!(matches!(open(device), Err(PcapError::UnknownDevice(_))));
    }
    assert!(matches!(open("lo"), Err(PcapError::NotEthernet(_))));
    wire.netlink.set_down("port").unwrap();
    let down = open("port").unwrap_err();
    assert!(down.to_string().contains("ip link set port up"), "{down}");
    wire.netlink.set_up("port").unwrap();
    assert!(open("port").is_ok());
}

pub(super) fn frames_come_in_once_and_go_out_and_none_comes_back() {
    let wire = Wire::new();
    let mut port = wire.open();
    let mut batch = Batch::new(8, BUFFER_BYTES);
    let station = wire.station_socket();
    station.send_to(b"to the world", WORLD).unwrap();
    let frames = wire.receive(&mut port, &mut batch, Duration::from_millis(300));
    let frames: Vec<_> = frames
        .iter()
        .filter(|(frame, _)| frame.ends_with(b"to the world"))
        .collect();
    assert_eq!(frames.len(), 1, "captured once");
    let (frame, meta) = frames[0];
    // The kernel leaves checksums to a veth, and the capture tells.
    assert_eq!(meta.offload.checksum.unwrap().start, 34);

    // The answer goes out, and is not captured again. Over UDP a checksum of zero is none (RFC 768).
    let answer = answer_to(frame);
    assert!(batch.free().unwrap().append(&answer));
    batch.commit(FrameMeta::default());
    assert_eq!(port.send(&mut batch).unwrap(), 1);
    let mut bytes = [0; 64];
    station
        .set_read_timeout(Some(Duration::from_secs(5)))
        .unwrap();
    let (length, from) = station.recv_from(&mut bytes).unwrap();
    assert_eq!((&bytes[..length], from), (&b"to the world"[..], WORLD));
    let captured = wire.receive(&mut port, &mut batch, Duration::from_millis(300));
    assert!(captured.iter().all(|(frame, _)| frame != &answer));
    assert_eq!(port.refused(), 0);

    // What is for the host itself is left to it; what the host sends is not captured.
    let host = wire.port.run(|| UdpSocket::bind(HOST)).unwrap().unwrap();
    station.send_to(b"to the host", HOST).unwrap();
    host.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    host.recv_from(&mut bytes).unwrap();
    host.send_to(b"from the host", STATION).unwrap();
    station.recv_from(&mut bytes).unwrap();
    let captured = wire.receive(&mut port, &mut batch, Duration::from_millis(300));
    assert!(captured.iter().all(|(frame, _)| !frame.ends_with(b"host")));

    // Larger than the device takes, and with work left that nobody does.
    assert!(batch.free().unwrap().append(&[0xff; 1600]));
    batch.commit(FrameMeta::default());
    assert!(batch.free().unwrap().append(frame));
    batch.commit(*meta);
    assert_eq!(port.send(&mut batch).unwrap(), 2);
    assert_eq!(port.refused(), 2);
}

pub(super) fn what_the_kernel_left_undone_is_told_and_what_nobody_can_mend_counted() {
    let wire = Wire::new();
    let mut port = wire.open().with_segment_mtu(1390);
    let mut batch = Batch::new(8, BUFFER_BYTES);
    // A connection with a station on another port of the same bridge: what it is sent goes by uncut.
    let other = ScopedNetNs::create(&unique_name()).unwrap();
    wire.netlink
        .create_veth("other", "eth0", Some(&other))
        .unwrap();
    set_up(&wire.netlink, "other");
    wire.netlink.ensure_bridge("bridge", None).unwrap();
    wire.netlink.attach("bridge", "port").unwrap();
    wire.netlink.attach("bridge", "other").unwrap();
    let netlink = Netlink::open_in(&other).unwrap();
    set_up(&netlink, "eth0");
    netlink.add_address("eth0", subnet(OTHER)).unwrap();
    let listener = other.run(|| TcpListener::bind(OTHER)).unwrap().unwrap();
    let reader = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).unwrap();
        bytes.len()
    });
    let mut stream = wire
        .station
        .run(|| TcpStream::connect(OTHER))
        .unwrap()
        .unwrap();
    stream.write_all(&[7; 200_000]).unwrap();
    drop(stream);
    assert_eq!(reader.join().unwrap(), 200_000);
    let frames = wire.receive(&mut port, &mut batch, Duration::from_millis(300));
    let super_frames = frames
        .iter()
        .filter_map(|(_, meta)| meta.offload.segments)
        .count();
    assert!(super_frames > 0, "of {} frames", frames.len());
    for (frame, meta) in &frames {
        let is_large = frame.len() > 14 + 1390;
        assert_eq!(meta.offload.segments.is_some(), is_large);
        if let Some(segments) = meta.offload.segments {
            // IPv4 20, TCP 20 and its time stamps 12.
            assert_eq!(segments.payload_bytes, 1390 - 52);
        }
    }

    // Datagrams that the kernel keeps as one: nothing tells where one ends.
    let station = wire.station_socket();
    nix::sys::socket::setsockopt(&station, nix::sys::socket::sockopt::UdpGsoSegment, &1000)
        .unwrap();
    station.send_to(&[1; 5000], WORLD).unwrap();
    wire.receive(&mut port, &mut batch, Duration::from_millis(300));
    assert_eq!(port.missed().unfinished, 1);
}

pub(super) fn a_full_ring_is_counted_and_a_device_that_goes_ends_the_port() {
    let wire = Wire::new();
    let mut port = wire.open();
    let mut batch = Batch::new(8, BUFFER_BYTES);
    let station = wire.station_socket();
    const SENT: u64 = 3_000;
    for _ in 0..SENT {
        station.send_to(b"one of many", WORLD).unwrap();
    }
    let frames = wire.receive(&mut port, &mut batch, Duration::from_millis(300));
    let read = frames
        .iter()
        .filter(|(frame, _)| frame.ends_with(b"one of many"))
        .count() as u64;
    let lost = port.missed().overrun;
    assert!(
        read < SENT && read + lost >= SENT,
        "{read} read, {lost} lost"
    );

    wire.netlink.set_down("port").unwrap();
    assert_eq!(port.recv(&mut batch).unwrap(), 0);
    assert!(batch.free().unwrap().append(&[0xff; 60]));
    batch.commit(FrameMeta::default());
    assert_eq!(port.send(&mut batch).unwrap(), 1);
    assert_eq!(port.refused(), 1);
    // One that comes back is used again.
    wire.netlink.set_up("port").unwrap();
    let start = Instant::now();
    loop {
        // The station has lost its neighbours with the device.
        wire.set_neighbours();
        let _ = station.send_to(b"again", WORLD);
        let frames = wire.receive(&mut port, &mut batch, Duration::from_millis(50));
        if frames.iter().any(|(frame, _)| frame.ends_with(b"again")) {
            break;
        }
        assert!(start.elapsed() < Duration::from_secs(5));
    }
    wire.netlink.delete_link("port").unwrap();
    assert_eq!(
        port.recv(&mut batch).unwrap_err().kind(),
        std::io::ErrorKind::NotFound
    );
}

/// Two namespaces: the host's with the device `port`, and at the other end of the wire a station.
struct Wire {
    port: ScopedNetNs,
    station: ScopedNetNs,
    netlink: Netlink,
    station_netlink: Netlink,
}

impl Wire {
    fn new() -> Self {
        let (port, station) = (unique_name(), unique_name());
        let port = ScopedNetNs::create(&port).unwrap();
        let station = ScopedNetNs::create(&station).unwrap();
        let netlink = Netlink::open_in(&port).unwrap();
        let station_netlink = Netlink::open_in(&station).unwrap();
        netlink.create_veth("port", "eth0", Some(&station)).unwrap();
        for (netlink, device, address) in [
            (&netlink, "port", HOST),
            (&station_netlink, "eth0", STATION),
        ] {
            set_up(netlink, device);
            netlink.add_address(device, subnet(address)).unwrap();
        }
        let wire = Self {
            port,
            station,
            netlink,
            station_netlink,
        };
        wire.set_neighbours();
        wire
    }

    /// Somebody lives beyond the port, whom nobody needs to ask for.
    fn set_neighbours(&self) {
        self.station_netlink
            .set_neighbour("eth0", WORLD.ip(), [2, 0, 0, 0, 0, 9])
            .unwrap();
    }

    fn station_socket(&self) -> UdpSocket {
        let bound = self.station.run(|| UdpSocket::bind(STATION));
        bound.unwrap().unwrap()
    }

    fn open(&self) -> PcapPort {
        open(&self.port, "port")
    }

    /// All that comes until nothing came for so long.
    fn receive(
        &self,
        port: &mut PcapPort,
        batch: &mut Batch<FrameMeta>,
        quiet: Duration,
    ) -> Vec<(Vec<u8>, FrameMeta)> {
        let mut frames = Vec::new();
        let timeout = PollTimeout::try_from(quiet).unwrap();
        while poll(&mut [PollFd::new(port.as_fd(), PollFlags::POLLIN)], timeout).unwrap() > 0 {
            port.recv(batch).unwrap();
            frames.extend(batch.iter().map(|(bytes, meta)| (bytes.to_vec(), *meta)));
            batch.clear();
        }
        frames
    }
}

fn open(namespace: &NetNs, device: &str) -> PcapPort {
    namespace.run(|| PcapPort::open(device)).unwrap().unwrap()
}

fn set_up(netlink: &Netlink, device: &str) {
    // No neighbour discovery of its own between the frames that are counted.
    netlink.disable_ipv6_autoconf(device).unwrap();
    netlink.set_up("lo").unwrap();
    netlink.set_up(device).unwrap();
}

fn subnet(address: SocketAddr) -> Cidr {
    format!("{}/24", address.ip()).parse().unwrap()
}

/// A UDP datagram back to whom it came from, without a checksum, which RFC 768 allows.
fn answer_to(frame: &[u8]) -> Vec<u8> {
    let mut answer = frame.to_vec();
    for (a, b, length) in [(0, 6, 6), (26, 30, 4), (34, 36, 2)] {
        answer[a..a + length].copy_from_slice(&frame[b..b + length]);
        answer[b..b + length].copy_from_slice(&frame[a..a + length]);
    }
    answer[40..42].fill(0);
    answer
}

const HOST: SocketAddr = address(1);
const STATION: SocketAddr = address(2);
const OTHER: SocketAddr = address(3);
/// Nobody's here: beyond the port.
const WORLD: SocketAddr = address(9);

const fn address(number: u8) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 99, 0, number)), 4000)
}
