//! A simulated container: an Ethernet interface with an IPv4 address, and smoltcp behind it.
//!
//! A host answers ARP and pings, listens on TCP port [`Host::PORT`], and opens pings and transfers when the
//! world says so. Beside smoltcp it sends and answers *beacons*: pings whose MAC addresses are known, so that
//! nothing but the data plane decides whether they arrive. The checkers live on them.

mod beacon;
mod transfer;

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::net::Ipv4Addr;
use std::time::Duration;

use smoltcp::iface::{Config, Interface, PollResult, SocketHandle, SocketSet};
use smoltcp::phy::{self, ChecksumCapabilities, DeviceCapabilities, Medium};
use smoltcp::socket::{icmp, tcp};
use smoltcp::time::Instant;
use smoltcp::wire::{
    ArpOperation, ArpPacket, ArpRepr, EthernetAddress, EthernetFrame, EthernetProtocol,
    EthernetRepr, Icmpv4Packet, Icmpv4Repr, IpAddress, IpCidr, Ipv4Packet,
};

pub(crate) use beacon::Beacon;
pub use transfer::TransferState;
use transfer::{Receiver, Sender};

/// Stands in every ping and all over every transfer; a checker looks for it on the network.
pub(crate) const MARKER: [u8; 16] = *b"weave-sim-check-";

/// One container of a [`World`](super::World), with a TCP/IP stack of its own.
pub struct Host {
    mac: EthernetAddress,
    address: Ipv4Addr,
    interface: Interface,
    device: Device,
    sockets: SocketSet<'static>,
    ping: SocketHandle,
    next_sequence: u16,
    /// When the newest pings were answered, by sequence number.
    answers: BTreeMap<u16, Duration>,
    listeners: Vec<(SocketHandle, Receiver)>,
    transfers: BTreeMap<u64, (SocketHandle, Sender)>,
    next_transfer: u64,
}

impl Host {
    /// Where every host listens.
    pub const PORT: u16 = 7;
    /// The MTU of its interface: a 1,500 underlay less the worst overhead (IPv6).
    pub const MTU_BYTES: usize = 1_390;
    /// Frames that wait for smoltcp: more than a window of TCP.
    const FRAMES_MAX: usize = 1_024;
    const IDENT: u16 = 0x5ead;
    const TCP_BUFFER_BYTES: usize = 64 * 1024;
    /// A transfer breaks off when nothing is acknowledged for this long.
    const TCP_TIMEOUT: smoltcp::time::Duration = smoltcp::time::Duration::from_secs(60);
    const FIRST_PORT: u64 = 49_152;
    const PORTS: u64 = 16_384;

    /// A host with an address, at virtual time `now`.
    pub(crate) fn new(
        mac: EthernetAddress,
        address: Ipv4Addr,
        prefix_len: u8,
        seed: u64,
        now: Duration,
    ) -> Self {
        let mut device = Device::default();
        let mut config = Config::new(mac.into());
        config.random_seed = seed;
        let mut interface = Interface::new(config, &mut device, instant(now));
        interface.update_ip_addrs(|addresses| {
            // The first of the few that an interface has room for.
            let _ = addresses.push(IpCidr::new(IpAddress::Ipv4(address), prefix_len));
        });
        let packets =
            || icmp::PacketBuffer::new(vec![icmp::PacketMetadata::EMPTY; 16], vec![0; 1_024]);
        let mut socket = icmp::Socket::new(packets(), packets());
        socket
            .bind(icmp::Endpoint::Ident(Self::IDENT))
            .expect("a new socket can be bound");
        let mut sockets = SocketSet::new(Vec::new());
        let ping = sockets.add(socket);
        Self {
            mac,
            address,
            interface,
            device,
            sockets,
            ping,
            next_sequence: 0,
            answers: BTreeMap::new(),
            listeners: Vec::new(),
            transfers: BTreeMap::new(),
            next_transfer: 0,
        }
    }

    /// Its hardware address.
    pub fn mac(&self) -> EthernetAddress {
        self.mac
    }

    /// Its address in the overlay.
    pub fn address(&self) -> Ipv4Addr {
        self.address
    }

    /// Sends a ping and gives its sequence number; none when too many wait for ARP.
    pub(crate) fn start_ping(&mut self, to: Ipv4Addr) -> Option<u16> {
        let sequence = self.next_sequence;
        let request = Icmpv4Repr::EchoRequest {
            ident: Self::IDENT,
            seq_no: sequence,
            data: &MARKER,
        };
        let socket = self.sockets.get_mut::<icmp::Socket<'_>>(self.ping);
        let buffer = socket
            .send(request.buffer_len(), IpAddress::Ipv4(to))
            .ok()?;
        request.emit(
            &mut Icmpv4Packet::new_unchecked(buffer),
            &ChecksumCapabilities::default(),
        );
        self.next_sequence = self.next_sequence.wrapping_add(1);
        self.answers.remove(&sequence);
        Some(sequence)
    }

    /// When a ping was answered.
    pub(crate) fn answered(&self, sequence: u16) -> Option<Duration> {
        self.answers.get(&sequence).copied()
    }

    /// Opens a transfer of `bytes` to another host, and gives its name.
    pub(crate) fn start_transfer(&mut self, to: Ipv4Addr, bytes: u64) -> u64 {
        let name = self.next_transfer;
        self.next_transfer += 1;
        let mut socket = tcp_socket();
        let port = (Self::FIRST_PORT + name % Self::PORTS) as u16;
        socket
            .connect(
                self.interface.context(),
                (IpAddress::Ipv4(to), Self::PORT),
                port,
            )
            .expect("a new socket connects to any unicast address");
        self.transfers
            .insert(name, (self.sockets.add(socket), Sender::new(bytes)));
        name
    }

    /// How a transfer goes; none when there is no such one.
    pub(crate) fn transfer(&self, name: u64) -> Option<TransferState> {
        let (handle, sender) = self.transfers.get(&name)?;
        Some(sender.state(self.sockets.get::<tcp::Socket<'_>>(*handle)))
    }

    /// Takes a frame from the network.
    pub(crate) fn receive(&mut self, bytes: Vec<u8>) {
        if let Some(beacon) = Beacon::parse(&bytes) {
            let frame = EthernetFrame::new_unchecked(&bytes[..]);
            if !beacon.answer && frame.dst_addr() == self.mac {
                let packet = Ipv4Packet::new_unchecked(frame.payload());
                let to = (frame.src_addr(), packet.src_addr());
                self.send_beacon(
                    Beacon {
                        answer: true,
                        ..beacon
                    },
                    to,
                );
            }
        } else if self.device.received.len() < Self::FRAMES_MAX {
            self.device.received.push_back(bytes);
        }
    }

    /// Sends a beacon to a host whose addresses are known.
    pub(crate) fn send_beacon(&mut self, beacon: Beacon, to: (EthernetAddress, Ipv4Addr)) {
        self.device
            .sent
            .push_back(beacon.emit((self.mac, self.address), to));
    }

    /// Says where it is, by a gratuitous ARP request (RFC 5944 section 4.6).
    pub(crate) fn announce(&mut self) {
        let ethernet = EthernetRepr {
            src_addr: self.mac,
            dst_addr: EthernetAddress::BROADCAST,
            ethertype: EthernetProtocol::Arp,
        };
        let arp = ArpRepr::EthernetIpv4 {
            operation: ArpOperation::Request,
            source_hardware_addr: self.mac,
            source_protocol_addr: self.address,
            target_hardware_addr: EthernetAddress([0; 6]),
            target_protocol_addr: self.address,
        };
        let mut bytes = vec![0; ethernet.buffer_len() + arp.buffer_len()];
        let mut frame = EthernetFrame::new_unchecked(&mut bytes[..]);
        ethernet.emit(&mut frame);
        arp.emit(&mut ArpPacket::new_unchecked(frame.payload_mut()));
        self.device.sent.push_back(bytes);
    }

    /// Lets smoltcp and the transfers work; frames to send stand in [`Host::take_frame`] then.
    pub(crate) fn poll(&mut self, now: Duration) {
        self.listen();
        loop {
            let result = self
                .interface
                .poll(instant(now), &mut self.device, &mut self.sockets);
            let moved = self.serve();
            self.collect_answers(now);
            if !moved && result == PollResult::None {
                return;
            }
        }
    }

    /// When [`Host::poll`] is to be called even without a new frame.
    pub(crate) fn poll_timeout(&mut self, now: Duration) -> Option<Duration> {
        let at = self.interface.poll_at(instant(now), &self.sockets)?;
        Some(Duration::from_micros(u64::try_from(at.total_micros()).unwrap_or(0)).max(now))
    }

    /// Takes the next frame that it sends.
    pub(crate) fn take_frame(&mut self) -> Option<Vec<u8>> {
        self.device.sent.pop_front()
    }

    /// Keeps one socket listening, and drops those that are over.
    fn listen(&mut self) {
        let sockets = &mut self.sockets;
        let mut listening = false;
        self.listeners.retain(|(handle, _)| {
            let socket = sockets.get::<tcp::Socket<'_>>(*handle);
            listening |= socket.is_listening();
            let over = !socket.is_open();
            if over {
                sockets.remove(*handle);
            }
            !over
        });
        if !listening {
            let mut socket = tcp_socket();
            socket.listen(Self::PORT).expect("a new socket can listen");
            self.listeners
                .push((self.sockets.add(socket), Receiver::default()));
        }
    }

    fn serve(&mut self) -> bool {
        let mut moved = false;
        for (handle, receiver) in &mut self.listeners {
            moved |= receiver.serve(self.sockets.get_mut(*handle));
        }
        for (handle, sender) in self.transfers.values_mut() {
            moved |= sender.serve(self.sockets.get_mut(*handle));
        }
        moved
    }

    fn collect_answers(&mut self, now: Duration) {
        let socket = self.sockets.get_mut::<icmp::Socket<'_>>(self.ping);
        while let Ok((bytes, _)) = socket.recv() {
            let Ok(packet) = Icmpv4Packet::new_checked(bytes) else {
                continue;
            };
            if let Ok(Icmpv4Repr::EchoReply {
                ident: Self::IDENT,
                seq_no,
                ..
            }) = Icmpv4Repr::parse(&packet, &ChecksumCapabilities::default())
            {
                self.answers.entry(seq_no).or_insert(now);
            }
        }
    }
}

impl fmt::Debug for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Host")
            .field("mac", &self.mac)
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

/// Takes "don't fragment" off an IPv4 frame: smoltcp sets it on all, but knows no path MTU discovery (RFC 1191), and
/// would send what it was told is too big for ever. Such a host has to allow fragments.
fn allow_fragments(frame: &mut [u8]) {
    let Some(bytes) = frame.get_mut(ETHERNET_BYTES..) else {
        return;
    };
    if let Ok(mut packet) = Ipv4Packet::new_checked(bytes)
        && packet.version() == 4
        && packet.dont_frag()
    {
        packet.set_dont_frag(false);
        packet.fill_checksum();
    }
}

fn tcp_socket() -> tcp::Socket<'static> {
    let buffer = || tcp::SocketBuffer::new(vec![0; Host::TCP_BUFFER_BYTES]);
    let mut socket = tcp::Socket::new(buffer(), buffer());
    socket.set_timeout(Some(Host::TCP_TIMEOUT));
    socket
}

fn instant(at: Duration) -> Instant {
    Instant::from_micros(i64::try_from(at.as_micros()).unwrap_or(i64::MAX))
}

/// Bytes of an Ethernet header.
const ETHERNET_BYTES: usize = 14;

/// smoltcp's device over two queues.
#[derive(Debug, Default)]
struct Device {
    received: VecDeque<Vec<u8>>,
    sent: VecDeque<Vec<u8>>,
}

impl phy::Device for Device {
    type RxToken<'a> = RxToken;
    type TxToken<'a> = TxToken<'a>;

    fn receive(&mut self, _now: Instant) -> Option<(RxToken, TxToken<'_>)> {
        let frame = self.received.pop_front()?;
        Some((RxToken(frame), TxToken(&mut self.sent)))
    }

    fn transmit(&mut self, _now: Instant) -> Option<TxToken<'_>> {
        Some(TxToken(&mut self.sent))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ethernet;
        // smoltcp counts the Ethernet header in.
        capabilities.max_transmission_unit = Host::MTU_BYTES + ETHERNET_BYTES;
        capabilities
    }
}

struct RxToken(Vec<u8>);

impl phy::RxToken for RxToken {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, read: F) -> R {
        read(&self.0)
    }
}

struct TxToken<'a>(&'a mut VecDeque<Vec<u8>>);

impl phy::TxToken for TxToken<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, write: F) -> R {
        let mut frame = vec![0; len];
        let result = write(&mut frame);
        allow_fragments(&mut frame);
        self.0.push_back(frame);
        result
    }
}

#[cfg(test)]
mod tests;
