//! Asks a wire whether somebody has an address, and tells it who has it now: for IPv4 by ARP (RFC 5227), for IPv6 by
//! neighbour discovery (RFC 4861, RFC 4862).
//!
//! Both are frames of our own on a packet socket, so that nothing depends on what the kernel thinks of an address: a
//! probe comes before the address is on any device, and its answer is known in a third of a second rather than in one
//! or two.

mod frame;

use std::io;
use std::net::IpAddr;
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::ifaddrs::getifaddrs;
use nix::sys::socket::{LinkAddr, bind, recvfrom};
use socket2::{Domain, Protocol, SockFilter, Socket, Type};

use super::error::{Reason, refused};
use super::netlink::Worker;
use super::{Error, Netlink};

/// Somebody who has an address already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AddressHolder {
    /// The address asked for.
    pub address: IpAddr,
    /// Whose it is, as they say.
    pub mac: [u8; 6],
}

impl Netlink {
    /// Asks the wire of `device` three times, 100 ms apart, whether somebody has one of these addresses, and listens
    /// for 100 ms more; ends at the first who has. Somebody who asks for the same one at the same time counts as well:
    /// neither then takes it.
    ///
    /// The device must be switched on, and need have no address. It takes 300 ms when nobody answers, in which the
    /// handle does nothing else.
    ///
    /// # Errors
    /// [`Error::NoDevice`], or [`Error::Refused`], for example when the device is switched off.
    pub fn probe_addresses(
        &self,
        device: &str,
        addresses: &[IpAddr],
    ) -> Result<Option<AddressHolder>, Error> {
        let addresses = addresses.to_vec();
        self.on(device, move |worker, device| {
            let wire = Wire::open(worker, device)?;
            wire.probe(&addresses)
                .map_err(refused("ask for an address on", device))
        })
    }

    /// Tells everybody on the wire of `device` that these addresses are here now, so that a neighbour who knew them
    /// elsewhere sends here at once: a gratuitous ARP request and reply each, for IPv6 an unsolicited neighbour
    /// advertisement. Switches on the way learn the device's Ethernet address by it.
    ///
    /// # Errors
    /// As for [`Netlink::probe_addresses`].
    pub fn announce_addresses(&self, device: &str, addresses: &[IpAddr]) -> Result<(), Error> {
        let addresses = addresses.to_vec();
        self.on(device, move |worker, device| {
            let wire = Wire::open(worker, device)?;
            let sent = addresses
                .iter()
                .flat_map(|address| frame::announcements(wire.mac, *address))
                .try_for_each(|frame| wire.send(&frame));
            sent.map_err(refused("announce an address on", device))
        })
    }
}

/// A packet socket that sends to one device and hears its ARP and neighbour discovery.
struct Wire {
    socket: Socket,
    index: u32,
    mac: [u8; 6],
}

impl Wire {
    fn open(worker: &Worker, device: &str) -> Result<Self, Error> {
        let link = worker.link(device)?;
        let cannot = || refused::<Reason>("open a packet socket on", device);
        let Some(mac) = link.mac else {
            return Err(cannot()(Reason::words("it is no Ethernet device")));
        };
        let socket = packet_socket(device).map_err(|error| cannot()(error.into()))?;
        Ok(Self {
            socket,
            index: link.index,
            mac,
        })
    }

    fn probe(&self, addresses: &[IpAddr]) -> io::Result<Option<AddressHolder>> {
        let start = Instant::now();
        for n in 1..=PROBES {
            for address in addresses {
                self.send(&frame::probe(self.mac, *address))?;
            }
            let until = start + PROBE_INTERVAL * n;
            if let Some(holder) = self.listen(addresses, until)? {
                return Ok(Some(holder));
            }
        }
        Ok(None)
    }

    fn listen(&self, addresses: &[IpAddr], until: Instant) -> io::Result<Option<AddressHolder>> {
        let mut bytes = [0; FRAME_BYTES_MAX];
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(None);
            }
            self.socket.set_read_timeout(Some(left))?;
            let (length, from) = match recvfrom::<LinkAddr>(self.socket.as_raw_fd(), &mut bytes) {
                Ok((length, Some(from))) => (length, from),
                Ok(_) | Err(Errno::EAGAIN | Errno::EINTR) => continue,
                Err(errno) => return Err(errno.into()),
            };
            // One from before the socket was bound, or our own on its way out.
            if from.ifindex() != self.index as usize || from.pkttype() == OUTGOING {
                continue;
            }
            let frame = bytes.get(..length).unwrap_or_default();
            let holder = addresses.iter().find_map(|address| {
                let mac = frame::holder(frame, self.mac, *address)?;
                Some(AddressHolder {
                    address: *address,
                    mac,
                })
            });
            if holder.is_some() {
                return Ok(holder);
            }
        }
    }

    fn send(&self, frame: &[u8]) -> io::Result<()> {
        self.socket.send(frame).map(drop)
    }
}

fn packet_socket(device: &str) -> io::Result<Socket> {
    let protocol = Protocol::from(i32::from(ETH_P_ALL.to_be()));
    let socket = Socket::new(Domain::PACKET, Type::RAW, Some(protocol))?;
    socket.attach_filter(&FILTER)?;
    // The way to a packet socket's address that needs no unsafe code.
    let address = getifaddrs()?
        .filter(|interface| interface.interface_name == device)
        .find_map(|interface| interface.address?.as_link_addr().copied())
        .ok_or(Errno::ENODEV)?;
    bind(socket.as_raw_fd(), &address)?;
    Ok(socket)
}

/// RFC 5227 section 1.1 has three probes one to two seconds apart, for links that take seconds to come up. An answer
/// takes a round trip, and the overlay's worst is well below the third of a second that is left for the first one.
const PROBES: u32 = 3;
const PROBE_INTERVAL: Duration = Duration::from_millis(100);

/// Lets through ARP, neighbour solicitations and neighbour advertisements, so that a busy wire can't crowd them out of
/// the socket's buffer: EtherType at 12; of IPv6, which begins at 14, the next header at 6, and behind the 40 bytes of
/// its header the type of the ICMPv6 message. Instructions as in linux/bpf_common.h.
const FILTER: [SockFilter; 10] = [
    SockFilter::new(LOAD_HALF, 0, 0, 12),
    SockFilter::new(JUMP_IF_EQUAL, 7, 0, 0x0806),
    SockFilter::new(JUMP_IF_EQUAL, 0, 5, 0x86dd),
    SockFilter::new(LOAD_BYTE, 0, 0, 14 + 6),
    SockFilter::new(JUMP_IF_EQUAL, 0, 3, 58),
    SockFilter::new(LOAD_BYTE, 0, 0, 14 + 40),
    SockFilter::new(JUMP_IF_EQUAL, 2, 0, 135),
    SockFilter::new(JUMP_IF_EQUAL, 1, 0, 136),
    SockFilter::new(RETURN, 0, 0, 0),
    SockFilter::new(RETURN, 0, 0, FRAME_BYTES_MAX as u32),
];
/// BPF_LD | BPF_H | BPF_ABS.
const LOAD_HALF: u16 = 0x28;
/// BPF_LD | BPF_B | BPF_ABS.
const LOAD_BYTE: u16 = 0x30;
/// BPF_JMP | BPF_JEQ | BPF_K.
const JUMP_IF_EQUAL: u16 = 0x15;
/// BPF_RET | BPF_K: so many bytes of the frame, 0 to drop it.
const RETURN: u16 = 0x06;
/// What ARP and neighbour discovery need, options included.
const FRAME_BYTES_MAX: usize = 256;
/// linux/if_ether.h.
const ETH_P_ALL: u16 = 3;
/// PACKET_OUTGOING, linux/if_packet.h.
const OUTGOING: u8 = 4;
