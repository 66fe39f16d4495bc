//! Ethernet frames as they are: sent and captured on packet sockets (packet(7)).

use std::collections::BTreeMap;
use std::io;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::ifaddrs::getifaddrs;
use nix::sys::socket::{LinkAddr, bind, recvfrom, setsockopt, sockopt};
use socket2::{Domain, Protocol, SockFilter, Socket, Type};
use weave_io::host::NetNs;

use super::Container;
use super::container::DEVICE;

/// A container's interface: whole frames in and out.
pub(crate) struct Tap {
    socket: Socket,
}

impl Tap {
    /// Opens it; frames that come from now on are kept for [`Tap::receive`].
    pub(crate) fn open(container: &Container) -> Self {
        Self {
            socket: container.run(|| socket_on(DEVICE, &[])).unwrap(),
        }
    }

    /// Opens it for frames with this 802.1Q tag only.
    ///
    /// The kernel takes the tag out of the frame before it hands it up, and keeps it beside; so those that pass the
    /// filter had exactly this one, and are received without.
    pub(crate) fn open_tagged(container: &Container, tag: [u8; 4]) -> Self {
        Self {
            socket: container
                .run(|| socket_on(DEVICE, &only_tagged(tag)))
                .unwrap(),
        }
    }

    /// Puts a frame on the wire.
    pub(crate) fn send(&self, frame: &[u8]) {
        assert_eq!(self.socket.send(frame).unwrap(), frame.len());
    }

    /// How often exactly this frame came. Waits for the first, so long at most, and then a little for more.
    pub(crate) fn receive(&self, frame: &[u8], limit: Duration) -> usize {
        const AFTERMATH: Duration = Duration::from_millis(100);
        let mut until = Instant::now() + limit;
        let mut count = 0;
        let mut bytes = vec![0; FRAME_BYTES_MAX];
        while let Some((length, _)) = receive(&self.socket, &mut bytes, until) {
            if &bytes[..length] == frame {
                count += 1;
                until = until.min(Instant::now() + AFTERMATH);
            }
        }
        count
    }
}

/// Everything on all wires of a namespace, until it is stopped.
pub(crate) struct Capture {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Vec<Captured>>,
}

/// A frame that was seen.
pub(crate) struct Captured {
    /// Index of the device.
    pub(crate) device: u32,
    pub(crate) bytes: Vec<u8>,
}

impl Capture {
    /// Captures from now on.
    pub(crate) fn start(namespace: &NetNs) -> Self {
        Self::start_where(namespace, |_| true)
    }

    /// Shows each frame to `keep` as soon as it is seen, and keeps those for which it says so.
    pub(crate) fn start_where(
        namespace: &NetNs,
        mut keep: impl FnMut(&Captured) -> bool + Send + 'static,
    ) -> Self {
        let socket = namespace.run(packet_socket).unwrap().unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let own_stop = Arc::clone(&stop);
        let thread = thread::spawn(move || {
            let mut frames = Vec::new();
            let mut bytes = vec![0; FRAME_BYTES_MAX];
            while !own_stop.load(Ordering::Relaxed) {
                let until = Instant::now() + Duration::from_millis(50);
                while let Some((length, device)) = receive(&socket, &mut bytes, until) {
                    let frame = Captured {
                        device,
                        bytes: bytes[..length].to_vec(),
                    };
                    if keep(&frame) {
                        frames.push(frame);
                    }
                }
            }
            frames
        });
        Self { stop, thread }
    }

    /// Ends it; what it saw.
    pub(crate) fn stop(self) -> Vec<Captured> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}

/// How many frames each device saw.
pub(crate) fn by_device(frames: &[Captured]) -> BTreeMap<u32, usize> {
    let mut counts = BTreeMap::new();
    for frame in frames {
        *counts.entry(frame.device).or_default() += 1;
    }
    counts
}

/// Whether the bytes hold the marker anywhere.
pub(crate) fn holds(bytes: &[u8], marker: &[u8]) -> bool {
    bytes.windows(marker.len()).any(|window| window == marker)
}

fn receive(socket: &Socket, bytes: &mut [u8], until: Instant) -> Option<(usize, u32)> {
    loop {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return None;
        }
        socket.set_read_timeout(Some(left)).unwrap();
        match recvfrom::<LinkAddr>(socket.as_raw_fd(), bytes) {
            Ok((length, from)) => {
                let device = from.map_or(0, |from| u32::try_from(from.ifindex()).unwrap_or(0));
                return Some((length, device));
            }
            // The device went, with its container.
            Err(Errno::EAGAIN | Errno::EINTR | Errno::ENETDOWN) => {}
            Err(errno) => panic!("capture: {errno}"),
        }
    }
}

/// Sees all frames of all devices of the calling thread's namespace.
fn packet_socket() -> io::Result<Socket> {
    // ETH_P_ALL (linux/if_ether.h), in network order.
    let all = Protocol::from(i32::from(3_u16.to_be()));
    let socket = Socket::new(Domain::PACKET, Type::RAW, Some(all))?;
    // 16 MiB: a test's whole traffic, should the capturing thread not be scheduled for a while.
    setsockopt(&socket, sockopt::RcvBufForce, &(16 << 20))?;
    Ok(socket)
}

fn socket_on(device: &str, filter: &[SockFilter]) -> io::Result<Socket> {
    let socket = packet_socket()?;
    if !filter.is_empty() {
        socket.attach_filter(filter)?;
    }
    let address = getifaddrs()?
        .filter(|interface| interface.interface_name == device)
        .find_map(|interface| interface.address?.as_link_addr().copied())
        .ok_or_else(|| io::Error::other("no such device"))?;
    bind(socket.as_raw_fd(), &address)?;
    Ok(socket)
}

/// Classic BPF: passes a frame if the tag kept beside it is this one (linux/filter.h, linux/bpf_common.h).
fn only_tagged(tag: [u8; 4]) -> Vec<SockFilter> {
    /// BPF_LD | BPF_W | BPF_ABS
    const LOAD: u16 = 0x20;
    /// BPF_JMP | BPF_JEQ | BPF_K
    const JUMP_IF_EQUAL: u16 = 0x15;
    /// BPF_RET | BPF_K
    const RETURN: u16 = 0x06;
    /// SKF_AD_OFF + SKF_AD_VLAN_TPID and SKF_AD_VLAN_TAG
    const TPID: u32 = 0xffff_f000 + 60;
    const TCI: u32 = 0xffff_f000 + 44;
    let [a, b, c, d] = tag;
    vec![
        SockFilter::new(LOAD, 0, 0, TPID),
        SockFilter::new(JUMP_IF_EQUAL, 0, 3, u32::from(u16::from_be_bytes([a, b]))),
        SockFilter::new(LOAD, 0, 0, TCI),
        SockFilter::new(JUMP_IF_EQUAL, 0, 1, u32::from(u16::from_be_bytes([c, d]))),
        SockFilter::new(RETURN, 0, 0, u32::MAX),
        SockFilter::new(RETURN, 0, 0, 0),
    ]
}

/// The largest frame that a device hands over in one piece.
const FRAME_BYTES_MAX: usize = 1 << 17;
