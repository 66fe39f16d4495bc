//! UDP sockets as a [`PacketIo`]: runs by GSO and GRO, ECN, "don't fragment", by way of quinn-udp.
//!
//! One socket serves IPv6 and IPv4. IPv4 addresses are plain ones everywhere above: the v4-mapped form
//! (RFC 4291 section 2.5.5.2) that the system uses on such a socket does not leave this file.

use std::io::{self, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use nix::errno::Errno;
use nix::sys::socket::{setsockopt, sockopt};
use quinn_udp::{EcnCodepoint, RecvMeta, Transmit, UdpSockRef, UdpSocketState};
use socket2::{Domain, Protocol, Socket, Type};
use weave_core::{Batch, Ecn, PacketCaps, PacketIo, PacketMeta};

/// Bytes asked for as socket buffers. The kernel charges a received run of 64 KiB with 70 to 100 KB, so that
/// the default of 208 KiB holds two or three; with 7 MB no packet was lost where the default lost thousands
/// a second.
const BUFFER_BYTES_WANTED: usize = 7 << 20;

/// The largest payload of an IPv4 datagram: 65,535 less 20 and 8. The kernel's bound for a whole GSO run.
const RUN_BYTES_MAX: usize = 65_507;

/// A UDP socket that moves runs of packets; clones share it.
///
/// One thread receives; any may send.
#[derive(Debug, Clone)]
pub struct UdpTransport {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    socket: UdpSocket,
    state: UdpSocketState,
    /// The socket speaks IPv6, and IPv4 in mapped form.
    ipv6: bool,
    refused: AtomicU64,
}

impl UdpTransport {
    /// Binds a socket. `[::]` also takes IPv4, and falls back to `0.0.0.0` where IPv6 is switched off.
    ///
    /// # Errors
    /// When the address is in use or not this machine's, or the system refuses a socket.
    pub fn bind(address: SocketAddr) -> io::Result<Self> {
        match Self::bind_exactly(address) {
            Err(error) if is_any_v6(address) && is_ipv6_off(&error) => {
                Self::bind_exactly(SocketAddr::from((Ipv4Addr::UNSPECIFIED, address.port())))
            }
            result => result,
        }
    }

    /// The address it is bound to.
    ///
    /// # Errors
    /// Only when the system cannot tell, which it always can for a bound socket.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(canonical(self.shared.socket.local_addr()?))
    }

    fn bind_exactly(address: SocketAddr) -> io::Result<Self> {
        let socket = Socket::new(
            Domain::for_address(address),
            Type::DGRAM,
            Some(Protocol::UDP),
        )?;
        if address.is_ipv6() {
            socket.set_only_v6(false)?;
        }
        // What the administrator allows is enough to run; more is better.
        if setsockopt(&socket, sockopt::RcvBufForce, &BUFFER_BYTES_WANTED).is_err() {
            socket.set_recv_buffer_size(BUFFER_BYTES_WANTED)?;
        }
        if setsockopt(&socket, sockopt::SndBufForce, &BUFFER_BYTES_WANTED).is_err() {
            socket.set_send_buffer_size(BUFFER_BYTES_WANTED)?;
        }
        socket.bind(&address.into())?;
        let socket = UdpSocket::from(socket);
        // Also makes it non-blocking and switches on GRO, ECN, packet info and IP_PMTUDISC_PROBE: DF is set,
        // and the kernel's own idea of the path MTU ignored, as the mesh searches it itself (RFC 8899).
        let state = UdpSocketState::new(UdpSockRef::from(&socket))?;
        // quinn-udp 0.6.3 asks for timestamps, which nobody reads here, and has 96 bytes for what comes beside
        // a run: with them it is 120, and the kernel leaves out the last, which is ECN.
        setsockopt(&socket, sockopt::ReceiveTimestampns, &false)?;
        Ok(Self {
            shared: Arc::new(Shared {
                socket,
                state,
                ipv6: address.is_ipv6(),
                refused: AtomicU64::new(0),
            }),
        })
    }
}

impl AsFd for UdpTransport {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.shared.socket.as_fd()
    }
}

impl PacketIo for UdpTransport {
    fn caps(&self) -> PacketCaps {
        PacketCaps {
            gso_segments_max: self.shared.state.max_gso_segments(),
            gro: self.shared.state.gro_segments() > 1,
            dont_fragment: !self.shared.state.may_fragment(),
        }
    }

    fn recv(&mut self, rx: &mut Batch<PacketMeta>) -> io::Result<usize> {
        let mut count = 0;
        while let Some(buffer) = rx.free() {
            let Some(meta) = self.shared.recv_run(buffer.spare_mut())? else {
                break;
            };
            // An empty datagram is nobody's packet.
            if meta.len == 0 {
                continue;
            }
            buffer.grow(meta.len);
            log_run("received", canonical(meta.addr), meta.len, meta.stride);
            rx.commit(PacketMeta {
                remote: canonical(meta.addr),
                local: meta.dst_ip.map(|ip| ip.to_canonical()),
                segment_bytes: meta.stride.clamp(1, meta.len),
                ecn: meta
                    .ecn
                    .map_or(Ecn::NotEct, |ecn| Ecn::from_bits(ecn as u8)),
            });
            count += 1;
        }
        Ok(count)
    }

    fn send(&mut self, tx: &mut Batch<PacketMeta>) -> io::Result<usize> {
        let mut count = 0;
        while let Some((bytes, meta)) = tx.front() {
            log_run("sent", meta.remote, bytes.len(), meta.segment_bytes);
            match self.shared.send_run(bytes, meta) {
                Sent::Taken { refused } => {
                    if refused > 0 {
                        self.shared.refused.fetch_add(refused, Ordering::Relaxed);
                    }
                }
                Sent::Full => break,
                Sent::Broken(error) => return Err(error),
            }
            tx.pop();
            count += 1;
        }
        Ok(count)
    }

    fn refused(&self) -> u64 {
        self.shared.refused.load(Ordering::Relaxed)
    }
}

/// A line for each run of packets, with `--debug`; otherwise one comparison.
fn log_run(what: &str, remote: SocketAddr, len_bytes: usize, segment_bytes: usize) {
    tracing::trace!(
        "{what} {} packets, {len_bytes} bytes, {remote}",
        len_bytes.div_ceil(segment_bytes.max(1))
    );
}

/// What became of a run.
enum Sent {
    /// Handed over, but for so many packets that the system refused.
    Taken {
        refused: u64,
    },
    /// The socket takes no more now.
    Full,
    Broken(io::Error),
}

impl Shared {
    /// Receives one run; none when nothing is ready.
    fn recv_run(&self, into: &mut [u8]) -> io::Result<Option<RecvMeta>> {
        let mut metas = [RecvMeta::default()];
        let socket = UdpSockRef::from(&self.socket);
        match self
            .state
            .recv(socket, &mut [IoSliceMut::new(into)], &mut metas)
        {
            Ok(0) => Ok(None),
            Ok(_) => Ok(Some(metas[0])),
            Err(error) if is_passing(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn send_run(&self, bytes: &[u8], meta: &PacketMeta) -> Sent {
        let packets = bytes.len().div_ceil(meta.segment_bytes.max(1)) as u64;
        let Some(destination) = self.destination(meta.remote) else {
            return Sent::Taken { refused: packets };
        };
        let run = Transmit {
            destination,
            ecn: EcnCodepoint::from_bits(meta.ecn as u8),
            contents: bytes,
            segment_size: Some(meta.segment_bytes),
            src_ip: meta.local,
        };
        let as_one = packets <= self.state.max_gso_segments() as u64
            && (packets <= 1 || bytes.len() <= RUN_BYTES_MAX);
        if as_one {
            match self.state.try_send(UdpSockRef::from(&self.socket), &run) {
                Ok(()) => return Sent::Taken { refused: 0 },
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Sent::Full,
                Err(error) if is_broken(&error) => return Sent::Broken(error),
                Err(_) if packets <= 1 => return Sent::Taken { refused: 1 },
                // EIO and EINVAL come from devices that cannot do GSO: quinn-udp has switched it off now.
                // EMSGSIZE comes when the run is more than this kernel takes at once.
                Err(_) => {}
            }
        }
        self.send_singly(&run, meta.segment_bytes)
    }

    /// Sends a run packet by packet. A socket that is full half-way loses the rest, for what was sent must
    /// not be sent twice.
    fn send_singly(&self, run: &Transmit<'_>, segment_bytes: usize) -> Sent {
        let mut refused = 0;
        for (index, contents) in run.contents.chunks(segment_bytes.max(1)).enumerate() {
            let packet = Transmit {
                contents,
                segment_size: None,
                ..run.clone()
            };
            match self.state.try_send(UdpSockRef::from(&self.socket), &packet) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock && index == 0 => {
                    return Sent::Full;
                }
                Err(error) if is_broken(&error) => return Sent::Broken(error),
                Err(_) => refused += 1,
            }
        }
        Sent::Taken { refused }
    }

    /// The address in the form that the socket wants; none where no packet can go.
    ///
    /// Port 0 and addresses that are nobody's are refused here: the system answers them with EINVAL, which
    /// quinn-udp takes as a sign that GSO and ECN do not work, and switches both off.
    fn destination(&self, remote: SocketAddr) -> Option<SocketAddr> {
        let ip = remote.ip();
        if remote.port() == 0 || ip.is_unspecified() || ip.is_multicast() {
            return None;
        }
        match (ip.to_canonical(), self.ipv6) {
            (IpAddr::V4(v4), true) => Some(SocketAddr::from((v4.to_ipv6_mapped(), remote.port()))),
            (IpAddr::V4(v4), false) => Some(SocketAddr::from((v4, remote.port()))),
            (IpAddr::V6(_), true) => Some(remote),
            (IpAddr::V6(_), false) => None,
        }
    }
}

/// An address as all above the sockets knows it: IPv4 never in IPv6's clothes, no flow label.
pub(crate) fn canonical(address: SocketAddr) -> SocketAddr {
    match address {
        SocketAddr::V4(_) => address,
        SocketAddr::V6(v6) => match v6.ip().to_ipv4_mapped() {
            Some(v4) => SocketAddr::from((v4, v6.port())),
            None => SocketAddrV6::new(*v6.ip(), v6.port(), 0, v6.scope_id()).into(),
        },
    }
}

/// All addresses of this machine, by way of IPv6.
pub(crate) fn is_any_v6(address: SocketAddr) -> bool {
    address.ip() == IpAddr::V6(Ipv6Addr::UNSPECIFIED)
}

/// IPv6 is not built in, or switched off by `disable_ipv6`.
pub(crate) fn is_ipv6_off(error: &io::Error) -> bool {
    errno(error).is_some_and(|errno| {
        matches!(
            errno,
            Errno::EAFNOSUPPORT | Errno::EADDRNOTAVAIL | Errno::ENOPROTOOPT
        )
    })
}

/// Nothing to read now, though the socket is fine: nothing waits, the system is short of memory, or an ICMP
/// error of an earlier packet is reported.
fn is_passing(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::Interrupted || !is_broken(error)
}

/// The descriptor itself is no good: only our own fault can cause that.
fn is_broken(error: &io::Error) -> bool {
    errno(error)
        .is_some_and(|errno| matches!(errno, Errno::EBADF | Errno::ENOTSOCK | Errno::EFAULT))
}

fn errno(error: &io::Error) -> Option<Errno> {
    error.raw_os_error().map(Errno::from_raw)
}

#[cfg(test)]
mod tests;
