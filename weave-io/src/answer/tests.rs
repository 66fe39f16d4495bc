use std::collections::VecDeque;

use proptest::prelude::*;
use smoltcp::iface::{Config, Interface, SocketSet};
use smoltcp::phy::{self, ChecksumCapabilities, DeviceCapabilities, Medium};
use smoltcp::socket::icmp;
use smoltcp::time::{Duration, Instant};
use smoltcp::wire::{
    ArpOperation, ArpPacket, ArpRepr, EthernetFrame, EthernetProtocol, Icmpv4Packet, Icmpv4Repr,
    Icmpv6Packet, Icmpv6Repr, IpCidr, IpProtocol, Ipv4Packet, Ipv6Packet, Ipv6Repr, NdiscRepr,
};
use weave_core::{FrameMeta, Offload, PartialChecksum, SegmentKind, Segments};

use super::*;
use crate::{MemoryFrame, MemoryHost, MemoryPort};

#[test]
fn a_stack_on_either_side_finds_and_pings_the_station_in_both_families() {
    for side in [Side::Port, Side::Mesh] {
        for address in ["10.2.1.1", "fd00::1", "10.9.0.1"] {
            let mut world = World::new();
            let mut container = Container::new();
            let answered = world.ping(&mut container, side, address.parse().unwrap());
            assert!(answered, "{address} from {side:?}");
        }
    }
}

#[test]
fn a_stack_gets_no_answer_from_an_address_that_is_not_the_stations() {
    for address in ["10.2.1.3", "fd00::3"] {
        let mut world = World::new();
        let mut container = Container::new();
        assert!(!world.ping(&mut container, Side::Port, address.parse().unwrap()));
        assert!(!world.answering.has_ready());
    }
}

#[test]
fn frames_for_others_pass_unseen_and_those_for_the_station_go_no_further() {
    let mut world = World::new();
    let other = frame_to(EthernetAddress([2, 0, 0, 0, 0, 9]));
    let own = frame_to(world.station.mac);
    let all = frame_to(EthernetAddress::BROADCAST);

    for bytes in [&own, &other, &own, &all, &own] {
        assert!(world.host.push_bytes(bytes));
    }
    assert_eq!(world.receive(), [other.clone(), all.clone()]);
    world.send(&[&own, &other, &own, &all]);
    assert_eq!(world.pop_all(), [other, all]);
    assert_eq!(world.answering.refused(), 0);
}

#[test]
fn a_port_that_was_full_of_frames_for_the_station_is_asked_again() {
    let mut world = World::new();
    let own = frame_to(world.station.mac);
    for _ in 0..SLOTS {
        assert!(world.host.push_bytes(&own));
    }
    let other = frame_to(EthernetAddress([2, 0, 0, 0, 0, 9]));
    assert!(world.host.push_bytes(&other));
    assert_eq!(world.receive(), Vec::<Vec<u8>>::new());
    assert!(world.answering.has_ready(), "or it would never be heard of");
    assert_eq!(world.receive(), [other]);
    assert!(!world.answering.has_ready());
}

#[test]
fn without_a_port_only_the_mesh_is_answered() {
    let station = station();
    let mut answering = Answering::<MemoryPort>::new(None, station.clone());
    let mut batch = Batch::new(SLOTS, BUFFER_BYTES);
    for bytes in [arp_request([10, 2, 1, 1], [10, 2, 1, 2]), frame_to(ASKER)] {
        assert!(batch.free().unwrap().append(&bytes));
        batch.commit(FrameMeta::default());
    }
    assert_eq!(answering.send(&mut batch).unwrap(), 2);
    assert!(answering.has_ready());
    assert_eq!(answering.recv(&mut batch).unwrap(), 1);
    let (reply, _) = batch.front().unwrap();
    assert_eq!(
        EthernetFrame::new_unchecked(reply).src_addr(),
        station.mac()
    );
    assert!(!answering.has_ready());
    assert_eq!(answering.recv(&mut batch).unwrap(), 0);
}

#[test]
fn answers_that_nobody_fetches_are_bounded_and_counted() {
    let mut world = World::new();
    let question = arp_request([10, 2, 1, 1], [10, 2, 1, 2]);
    for _ in 0..ANSWERS_MAX + 3 {
        world.send(&[&question]);
    }
    assert_eq!(world.answering.refused(), 3);
    assert_eq!(world.receive().len(), SLOTS);
    assert!(world.answering.has_ready());
}

#[test]
fn an_address_probe_is_answered_and_an_announcement_is_not() {
    // RFC 5227: this is how somebody who wants the address finds out that it is taken.
    let reply = reply_to(&arp_request([10, 2, 1, 1], [0; 4])).expect("it is taken");
    let frame = EthernetFrame::new_unchecked(&reply[..]);
    let packet = ArpPacket::new_unchecked(frame.payload());
    assert_eq!(frame.dst_addr(), ASKER);
    assert_eq!(packet.operation(), ArpOperation::Reply);
    assert_eq!(packet.source_protocol_addr(), [10, 2, 1, 1]);
    assert_eq!(packet.source_hardware_addr(), station().mac.0);
    assert_eq!(reply_to(&arp_request([10, 2, 1, 1], [10, 2, 1, 1])), None);
    assert_eq!(reply_to(&arp_request([10, 2, 1, 9], [10, 2, 1, 2])), None);
}

#[test]
fn a_search_for_duplicates_is_answered_to_everybody() {
    let mut world = World::new();
    let question = solicitation("::", "ff02::1:ff00:1");
    assert!(world.host.push_bytes(&question));
    let [passed, answer] = &world.receive_all()[..] else {
        panic!("the question goes on, and the answer to the mesh");
    };
    assert_eq!(*passed, question);
    assert_eq!(world.pop_all(), std::slice::from_ref(answer));
    let frame = EthernetFrame::new_unchecked(&answer[..]);
    let packet = Ipv6Packet::new_unchecked(frame.payload());
    assert_eq!(frame.dst_addr().0, [0x33, 0x33, 0, 0, 0, 1]);
    assert_eq!(packet.dst_addr().to_string(), "ff02::1");
    let message = Icmpv6Packet::new_unchecked(packet.payload());
    assert!(message.verify_checksum(&packet.src_addr(), &packet.dst_addr()));
    assert!(
        !message
            .neighbor_flags()
            .contains(smoltcp::wire::NdiscNeighborFlags::SOLICITED)
    );
}

#[test]
fn a_solicitation_that_was_routed_or_damaged_is_ignored() {
    let good = solicitation("fd00::2", "ff02::1:ff00:1");
    assert!(reply_to(&good).is_some());
    let mut routed = good.clone();
    routed[14 + 7] = 254;
    assert_eq!(reply_to(&routed), None);
    let mut damaged = good;
    damaged[14 + 40 + 8] ^= 1;
    assert_eq!(reply_to(&damaged), None);
}

#[test]
fn a_ping_in_fragments_comes_back_in_fragments() {
    let whole = echo_v4(3000);
    let pieces = fragments_v4(&whole, 1480);
    let replies: Vec<Vec<u8>> = pieces
        .iter()
        .map(|piece| reply_to(piece).unwrap())
        .collect();
    assert_eq!(replies.len(), 3);
    let mut message = Vec::new();
    for (reply, piece) in replies.iter().zip(&pieces) {
        let (reply, piece) = (ipv4(reply), ipv4(piece));
        assert!(reply.verify_checksum());
        assert_eq!(reply.ident(), piece.ident());
        assert_eq!(usize::from(reply.frag_offset()), message.len());
        assert_eq!(reply.more_frags(), piece.more_frags());
        message.extend_from_slice(reply.payload());
    }
    let message = Icmpv4Packet::new_checked(&message[..]).unwrap();
    assert!(message.verify_checksum());
    assert_eq!(u8::from(message.msg_type()), 0);
    assert_eq!(message.data(), &vec![0x5a; 3000][..]);
}

#[test]
fn later_fragments_end_when_their_hops_are_used_up() {
    let mut fragment = fragments_v4(&echo_v4(3000), 1480).remove(1);
    let mut hops = 0;
    // Two stations that were made to believe they answer each other: here one, asked with its own answer.
    loop {
        let packet = &mut fragment[14..];
        packet[12..16].copy_from_slice(&[10, 2, 1, 2]);
        packet[16..20].copy_from_slice(&[10, 2, 1, 1]);
        Ipv4Packet::new_unchecked(packet).fill_checksum();
        fragment[..6].copy_from_slice(&station().mac.0);
        fragment[6..12].copy_from_slice(&ASKER.0);
        match reply_to(&fragment) {
            Some(reply) => fragment = reply,
            None => break,
        }
        hops += 1;
        assert!(hops < 256);
    }
    assert_eq!(hops, 63);
}

#[test]
fn an_unfinished_checksum_is_finished() {
    for (mut question, header_bytes) in [(echo_v4(33), 20), (echo_v6(33), 40)] {
        let start = 14 + header_bytes;
        // What a virtual machine leaves there: the pseudo-header's sum, which ICMP for IPv4 does not have.
        let seed = if header_bytes == 20 {
            0
        } else {
            pseudo_sum_v6(&question)
        };
        question[start + 2..start + 4].copy_from_slice(&seed.to_be_bytes());
        let partial = |start: usize, offset| Offload {
            checksum: Some(PartialChecksum {
                start: start as u16,
                offset,
            }),
            segments: None,
        };
        let reply = reply_with(&question, &partial(start, 2)).unwrap();
        assert!(checksum_is_right(&reply));
        // Metadata that point elsewhere are not believed.
        assert_eq!(reply_with(&question, &partial(start + 1, 2)), None);
        assert_eq!(reply_with(&question, &partial(start, 6)), None);
    }
}

#[test]
fn a_damaged_ping_comes_back_damaged() {
    for mut question in [echo_v4(33), echo_v6(33)] {
        assert!(checksum_is_right(&reply_to(&question).unwrap()));
        *question.last_mut().unwrap() ^= 0x10;
        assert!(!checksum_is_right(&reply_to(&question).unwrap()));
    }
}

#[test]
fn what_could_make_a_storm_is_not_answered() {
    let from_group = with(echo_v4(8), |frame| frame[6] |= 1);
    let from_itself = with(echo_v4(8), |frame| {
        frame[6..12].copy_from_slice(&station().mac.0);
    });
    let to_all = with(echo_v4(8), |frame| frame[..6].fill(0xff));
    let from_address = |address: [u8; 4]| {
        with(echo_v4(8), |frame| {
            frame[26..30].copy_from_slice(&address);
            Ipv4Packet::new_unchecked(&mut frame[14..]).fill_checksum();
        })
    };
    for (what, question) in [
        ("from a group's MAC", from_group),
        ("from its own MAC", from_itself),
        ("to everybody's MAC", to_all),
        ("from everybody", from_address([255; 4])),
        ("from a group", from_address([224, 0, 0, 1])),
        ("from nobody", from_address([0; 4])),
        ("from its own address", from_address([10, 2, 1, 1])),
        ("a reply", reply_to(&echo_v4(8)).unwrap()),
        ("a damaged header", with(echo_v4(8), |frame| frame[22] ^= 1)),
    ] {
        assert_eq!(reply_to(&question), None, "{what}");
    }
    let super_frame = Offload {
        checksum: None,
        segments: Some(Segments {
            kind: SegmentKind::Udp,
            payload_bytes: 8,
        }),
    };
    assert_eq!(reply_with(&echo_v4(8), &super_frame), None);
}

#[test]
fn options_are_left_out_of_an_answer() {
    let mut question = echo_v4(8);
    question.splice(34..34, [1, 1, 1, 0]);
    let mut packet = Ipv4Packet::new_unchecked(&mut question[14..]);
    packet.set_header_len(24);
    packet.set_total_len(40);
    packet.fill_checksum();
    let reply = reply_to(&question).unwrap();
    assert_eq!(ipv4(&reply).header_len(), 20);
    assert!(checksum_is_right(&reply));
}

#[test]
fn every_prefix_of_a_question_is_survived() {
    for question in [
        arp_request([10, 2, 1, 1], [10, 2, 1, 2]),
        echo_v4(33),
        echo_v6(33),
        solicitation("fd00::2", "ff02::1:ff00:1"),
    ] {
        assert!(reply_to(&question).is_some());
        for end in 0..question.len() {
            assert_eq!(reply_to(&question[..end]), None, "{end}");
        }
    }
}

proptest! {
    /// Whatever comes: no panic, no answer longer than what an advertisement adds, none to a group unless asked
    /// by one that has no address, and all of them from the station.
    #[test]
    fn answers_are_sane_whatever_was_asked(
        base in 0usize..6,
        edits in proptest::collection::vec((0usize..100, any::<u8>()), 0..6),
        start in proptest::option::of(0u16..120),
        offset in 0u16..8,
    ) {
        let mut question = match base {
            0 => arp_request([10, 2, 1, 1], [10, 2, 1, 2]),
            1 => echo_v4(33),
            2 => echo_v6(33),
            3 => solicitation("fd00::2", "ff02::1:ff00:1"),
            4 => solicitation("::", "ff02::1:ff00:1"),
            _ => fragments_v4(&echo_v4(64), 40).remove(1),
        };
        for (at, byte) in edits {
            if let Some(to) = question.get_mut(at) {
                *to = byte;
            }
        }
        let offload = Offload {
            checksum: start.map(|start| PartialChecksum { start, offset }),
            segments: None,
        };
        if let Some(reply) = reply_with(&question, &offload) {
            let frame = EthernetFrame::new_checked(&reply[..]).unwrap();
            prop_assert_eq!(frame.src_addr(), station().mac);
            prop_assert!(reply.len() <= question.len() + 8);
            let asker = EthernetFrame::new_unchecked(&question[..]).src_addr();
            prop_assert!(frame.dst_addr() == asker || frame.dst_addr().0 == [0x33, 0x33, 0, 0, 0, 1]);
            prop_assert_eq!(reply_to(&reply), None, "an answer is never answered");
        }
    }
}

const SLOTS: usize = 8;
const ASKER: EthernetAddress = EthernetAddress([2, 0, 0, 0, 0, 2]);

fn station() -> Station {
    let addresses = ["10.2.1.1", "fd00::1", "10.9.0.1"].map(|text| text.parse().unwrap());
    Station::new(PeerId::from_bytes([7; 32]), addresses)
}

/// A port with a station, and both its sides.
struct World {
    station: Station,
    answering: Answering<MemoryPort>,
    host: MemoryHost,
    batch: Batch<FrameMeta>,
}

impl World {
    fn new() -> Self {
        let (port, host) = MemoryPort::plain(1514, 64);
        Self {
            station: station(),
            answering: Answering::new(Some(port), station()),
            host,
            batch: Batch::new(SLOTS, BUFFER_BYTES),
        }
    }

    /// What the forwarder gets in one turn.
    fn receive(&mut self) -> Vec<Vec<u8>> {
        let count = self.answering.recv(&mut self.batch).unwrap();
        let frames: Vec<_> = self.batch.iter().map(|(bytes, _)| bytes.to_vec()).collect();
        assert_eq!(count, frames.len());
        self.batch.clear();
        frames
    }

    /// What the forwarder gets until there is no more.
    fn receive_all(&mut self) -> Vec<Vec<u8>> {
        let mut all = self.receive();
        while self.answering.has_ready() {
            all.extend(self.receive());
        }
        all
    }

    /// What the forwarder sends.
    fn send(&mut self, frames: &[&[u8]]) {
        for bytes in frames {
            assert!(self.batch.free().unwrap().append(bytes));
            self.batch.commit(FrameMeta::default());
        }
        assert_eq!(self.answering.send(&mut self.batch).unwrap(), frames.len());
        assert!(self.batch.is_empty());
    }

    fn pop_all(&self) -> Vec<Vec<u8>> {
        let frames = std::iter::from_fn(|| self.host.pop());
        frames.map(|MemoryFrame { bytes, .. }| bytes).collect()
    }

    /// Whether a container on that side gets an answer to a ping.
    fn ping(&mut self, container: &mut Container, side: Side, to: IpAddr) -> bool {
        container.start_ping(to);
        for _ in 0..10 {
            container.poll();
            while let Some(frame) = container.device.sent.pop_front() {
                match side {
                    Side::Port => assert!(self.host.push_bytes(&frame)),
                    Side::Mesh => self.send(&[&frame]),
                }
            }
            let to_mesh = self.receive_all();
            let to_port = self.pop_all();
            container.device.received.extend(match side {
                Side::Port => to_port,
                Side::Mesh => to_mesh,
            });
            container.poll();
            if container.answered() {
                return true;
            }
        }
        false
    }
}

/// An independent stack: smoltcp's.
struct Container {
    now: Instant,
    interface: Interface,
    device: Device,
    sockets: SocketSet<'static>,
    ping: smoltcp::iface::SocketHandle,
}

impl Container {
    fn new() -> Self {
        let mut device = Device::default();
        let mut interface = Interface::new(Config::new(ASKER.into()), &mut device, Instant::ZERO);
        interface.update_ip_addrs(|addresses| {
            for (address, prefix_len) in [("10.2.1.2", 8), ("fd00::2", 64)] {
                addresses
                    .push(IpCidr::new(address.parse().unwrap(), prefix_len))
                    .unwrap();
            }
        });
        let packets =
            || icmp::PacketBuffer::new(vec![icmp::PacketMetadata::EMPTY; 4], vec![0; 512]);
        let mut socket = icmp::Socket::new(packets(), packets());
        socket.bind(icmp::Endpoint::Ident(7)).unwrap();
        let mut sockets = SocketSet::new(Vec::new());
        let ping = sockets.add(socket);
        Self {
            now: Instant::ZERO,
            interface,
            device,
            sockets,
            ping,
        }
    }

    fn start_ping(&mut self, to: IpAddr) {
        let socket = self.sockets.get_mut::<icmp::Socket<'_>>(self.ping);
        let checksums = ChecksumCapabilities::default();
        match to {
            IpAddr::V4(_) => {
                let request = Icmpv4Repr::EchoRequest {
                    ident: 7,
                    seq_no: 1,
                    data: b"weave",
                };
                let buffer = socket.send(request.buffer_len(), to.into()).unwrap();
                request.emit(&mut Icmpv4Packet::new_unchecked(buffer), &checksums);
            }
            IpAddr::V6(to_v6) => {
                let request = Icmpv6Repr::EchoRequest {
                    ident: 7,
                    seq_no: 1,
                    data: b"weave",
                };
                let buffer = socket.send(request.buffer_len(), to.into()).unwrap();
                let from = "fd00::2".parse().unwrap();
                let mut packet = Icmpv6Packet::new_unchecked(buffer);
                request.emit(&from, &to_v6, &mut packet, &checksums);
            }
        }
    }

    fn poll(&mut self) {
        self.now += Duration::from_millis(300);
        self.interface
            .poll(self.now, &mut self.device, &mut self.sockets);
    }

    fn answered(&mut self) -> bool {
        let socket = self.sockets.get_mut::<icmp::Socket<'_>>(self.ping);
        socket.recv().is_ok()
    }
}

#[derive(Default)]
struct Device {
    received: VecDeque<Vec<u8>>,
    sent: VecDeque<Vec<u8>>,
}

struct Received(Vec<u8>);
struct Sending<'a>(&'a mut VecDeque<Vec<u8>>);

impl phy::Device for Device {
    type RxToken<'a> = Received;
    type TxToken<'a> = Sending<'a>;

    fn receive(&mut self, _now: Instant) -> Option<(Received, Sending<'_>)> {
        let frame = self.received.pop_front()?;
        Some((Received(frame), Sending(&mut self.sent)))
    }

    fn transmit(&mut self, _now: Instant) -> Option<Sending<'_>> {
        Some(Sending(&mut self.sent))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ethernet;
        capabilities.max_transmission_unit = 1514;
        capabilities
    }
}

impl phy::RxToken for Received {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, take: F) -> R {
        take(&self.0)
    }
}

impl phy::TxToken for Sending<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, fill: F) -> R {
        let mut frame = vec![0; len];
        let result = fill(&mut frame);
        self.0.push_back(frame);
        result
    }
}

fn reply_to(question: &[u8]) -> Option<Vec<u8>> {
    reply_with(question, &Offload::default())
}

fn reply_with(question: &[u8], offload: &Offload) -> Option<Vec<u8>> {
    let mut out = Buffer::new(BUFFER_BYTES);
    reply::to(&station(), question, offload, &mut out).map(|_| out.bytes().to_vec())
}

fn with(mut frame: Vec<u8>, edit: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    edit(&mut frame);
    frame
}

/// An ordinary frame without a question in it.
fn frame_to(to: EthernetAddress) -> Vec<u8> {
    ethernet(to, EthernetProtocol::Unknown(0x88b5), &[0; 46])
}

fn ethernet(to: EthernetAddress, protocol: EthernetProtocol, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; 14];
    let mut frame = EthernetFrame::new_unchecked(&mut bytes[..]);
    frame.set_dst_addr(to);
    frame.set_src_addr(ASKER);
    frame.set_ethertype(protocol);
    bytes.extend_from_slice(payload);
    bytes
}

fn arp_request(target: [u8; 4], sender: [u8; 4]) -> Vec<u8> {
    let request = ArpRepr::EthernetIpv4 {
        operation: ArpOperation::Request,
        source_hardware_addr: ASKER,
        source_protocol_addr: sender.into(),
        target_hardware_addr: EthernetAddress([0; 6]),
        target_protocol_addr: target.into(),
    };
    let mut payload = vec![0; request.buffer_len()];
    request.emit(&mut ArpPacket::new_unchecked(&mut payload[..]));
    ethernet(EthernetAddress::BROADCAST, EthernetProtocol::Arp, &payload)
}

fn echo_v4(data_bytes: usize) -> Vec<u8> {
    let request = Icmpv4Repr::EchoRequest {
        ident: 7,
        seq_no: 1,
        data: &vec![0x5a; data_bytes],
    };
    let mut payload = vec![0; 20 + request.buffer_len()];
    request.emit(
        &mut Icmpv4Packet::new_unchecked(&mut payload[20..]),
        &ChecksumCapabilities::default(),
    );
    let total_bytes = payload.len() as u16;
    let mut packet = Ipv4Packet::new_unchecked(&mut payload[..]);
    packet.set_version(4);
    packet.set_header_len(20);
    packet.set_total_len(total_bytes);
    packet.set_ident(0x1234);
    packet.set_hop_limit(64);
    packet.set_next_header(IpProtocol::Icmp);
    packet.set_src_addr([10, 2, 1, 2].into());
    packet.set_dst_addr([10, 2, 1, 1].into());
    packet.fill_checksum();
    ethernet(station().mac, EthernetProtocol::Ipv4, &payload)
}

fn fragments_v4(whole: &[u8], payload_bytes: usize) -> Vec<Vec<u8>> {
    let message = &whole[34..];
    let mut offset = 0;
    message
        .chunks(payload_bytes)
        .map(|part| {
            let mut frame = whole[..34].to_vec();
            frame.extend_from_slice(part);
            let mut packet = Ipv4Packet::new_unchecked(&mut frame[14..]);
            packet.set_total_len((20 + part.len()) as u16);
            packet.set_frag_offset(offset as u16);
            offset += part.len();
            packet.set_more_frags(offset < message.len());
            packet.fill_checksum();
            frame
        })
        .collect()
}

fn echo_v6(data_bytes: usize) -> Vec<u8> {
    let request = Icmpv6Repr::EchoRequest {
        ident: 7,
        seq_no: 1,
        data: &vec![0x5a; data_bytes],
    };
    icmpv6(station().mac, "fd00::2", "fd00::1", 64, &request)
}

fn solicitation(from: &str, to: &str) -> Vec<u8> {
    let request = Icmpv6Repr::Ndisc(NdiscRepr::NeighborSolicit {
        target_addr: "fd00::1".parse().unwrap(),
        lladdr: (from != "::").then(|| ASKER.into()),
    });
    let mac = EthernetAddress([0x33, 0x33, 0xff, 0, 0, 1]);
    icmpv6(mac, from, to, 255, &request)
}

fn icmpv6(
    mac: EthernetAddress,
    from: &str,
    to: &str,
    hop_limit: u8,
    message: &Icmpv6Repr<'_>,
) -> Vec<u8> {
    let header = Ipv6Repr {
        src_addr: from.parse().unwrap(),
        dst_addr: to.parse().unwrap(),
        next_header: IpProtocol::Icmpv6,
        payload_len: message.buffer_len(),
        hop_limit,
    };
    let mut payload = vec![0; 40 + message.buffer_len()];
    header.emit(&mut Ipv6Packet::new_unchecked(&mut payload[..]));
    message.emit(
        &header.src_addr,
        &header.dst_addr,
        &mut Icmpv6Packet::new_unchecked(&mut payload[40..]),
        &ChecksumCapabilities::default(),
    );
    ethernet(mac, EthernetProtocol::Ipv6, &payload)
}

fn ipv4(frame: &[u8]) -> Ipv4Packet<&[u8]> {
    Ipv4Packet::new_checked(&frame[14..]).unwrap()
}

/// The sum of an ICMPv6 message's pseudo-header (RFC 8200 section 8.1), word by word.
fn pseudo_sum_v6(frame: &[u8]) -> u16 {
    let packet = Ipv6Packet::new_unchecked(&frame[14..]);
    let mut bytes = frame[14 + 8..14 + 40].to_vec();
    bytes.extend_from_slice(&[0, 0]);
    bytes.extend_from_slice(&packet.payload_len().to_be_bytes());
    bytes.extend_from_slice(&[0, 0, 0, 58]);
    let mut sum = 0u32;
    for pair in bytes.chunks(2) {
        sum += u32::from(pair[0]) << 8 | u32::from(pair[1]);
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

fn checksum_is_right(frame: &[u8]) -> bool {
    if frame[12..14] == [0x08, 0x00] {
        return Icmpv4Packet::new_checked(ipv4(frame).payload())
            .unwrap()
            .verify_checksum();
    }
    let packet = Ipv6Packet::new_checked(&frame[14..]).unwrap();
    let message = Icmpv6Packet::new_checked(packet.payload()).unwrap();
    message.verify_checksum(&packet.src_addr(), &packet.dst_addr())
}
