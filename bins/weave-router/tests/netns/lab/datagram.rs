//! Datagrams between routers: taken from the wire, and sent by whoever likes in whoever's name.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::process::Command;
use std::time::Duration;

use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use super::Host;
use super::capture::Captured;

/// What one router sent to another over IPv4.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Datagram {
    pub(crate) from: SocketAddrV4,
    pub(crate) to: SocketAddrV4,
    pub(crate) payload: Vec<u8>,
}

impl Datagram {
    /// The datagram in a captured frame, if one is in it, whole.
    pub(crate) fn of(frame: &Captured) -> Option<Self> {
        let bytes = &frame.bytes;
        // IPv4 without options, UDP, no fragment.
        let fits = bytes.get(12..15)? == [8, 0, 0x45]
            && bytes.get(20..22)?[0] & 0x3f == 0
            && bytes[21] == 0
            && bytes.get(23)? == &17;
        if !fits {
            return None;
        }
        let address = |at: usize| {
            let octets: [u8; 4] = bytes.get(at..at + 4)?.try_into().ok()?;
            Some(Ipv4Addr::from(octets))
        };
        let number = |at: usize| Some(u16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?));
        let datagram = Self {
            from: SocketAddrV4::new(address(26)?, number(34)?),
            to: SocketAddrV4::new(address(30)?, number(36)?),
            payload: bytes.get(42..14 + usize::from(number(16)?))?.to_vec(),
        };
        (datagram.from.port() == PORT && datagram.to.port() == PORT).then_some(datagram)
    }

    /// The receiver index in it, which names the tunnel, the direction and the epoch of keys (protocol.md, section 11).
    pub(crate) fn receiver(&self) -> Option<[u8; 4]> {
        let sealed_at = if self.payload.first()? & 15 == RELAY {
            16
        } else {
            0
        };
        self.payload.get(sealed_at + 8..)?.get(..4)?.try_into().ok()
    }

    /// It has a relay's envelope.
    pub(crate) fn is_relayed(&self) -> bool {
        self.payload
            .first()
            .is_some_and(|first| first & 15 == RELAY)
    }
}

/// Somebody who sends datagrams with any source address.
pub(crate) struct Spoofer {
    socket: Socket,
    address: Ipv4Addr,
    sent: usize,
}

impl Spoofer {
    /// On this host.
    pub(crate) fn on(host: &Host) -> Self {
        // IPPROTO_RAW: the headers are ours (raw(7)).
        let open = || Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::from(255)));
        Self {
            socket: host.namespace().run(open).unwrap().unwrap(),
            address: host.address(),
            sent: 0,
        }
    }

    /// Sends it in its sender's name.
    pub(crate) fn send(&mut self, datagram: &Datagram) {
        self.send_as(datagram.from, datagram);
    }

    /// Sends it in its sender's name, and again in its own.
    pub(crate) fn send_twice(&mut self, datagram: &Datagram) {
        self.send(datagram);
        self.send_as(SocketAddrV4::new(self.address, PORT), datagram);
    }

    fn send_as(&mut self, from: SocketAddrV4, datagram: &Datagram) {
        // The kernel fills in length, number and checksum; UDP over IPv4 may do without a checksum (RFC 768).
        let mut packet = vec![0x45, 0, 0, 0, 0, 0, 0, 0, 64, 17, 0, 0];
        packet.extend(from.ip().octets());
        packet.extend(datagram.to.ip().octets());
        packet.extend(from.port().to_be_bytes());
        packet.extend(datagram.to.port().to_be_bytes());
        let length = u16::try_from(8 + datagram.payload.len()).unwrap();
        packet.extend(length.to_be_bytes());
        packet.extend([0, 0]);
        packet.extend(&datagram.payload);
        self.socket
            .send_to(&packet, &SockAddr::from(datagram.to))
            .unwrap();
        self.sent += 1;
        // So that the receiver's buffer has room for all of them.
        if self.sent.is_multiple_of(BURST) {
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

/// Has a host's kernel cut runs of datagrams itself, so that each is seen on the wire as it arrives elsewhere.
pub(crate) fn send_one_by_one(host: &Host) {
    let mut command = Command::new("ip");
    command.args(["link", "set", "dev", "eth0", "gso_max_segs", "1"]);
    let status = host.namespace().run(|| command.status()).unwrap().unwrap();
    assert!(status.success(), "package iproute2 is installed");
}

const PORT: u16 = 6783;
/// The kind of an envelope.
const RELAY: u8 = 1;
/// Sent without a pause.
const BURST: usize = 32;
