//! An existing network device as a [`FrameIo`], by packet capture: what the original Weave did.
//!
//! Frames that come in at the device are captured in promiscuous mode, frames from the mesh are sent out of it. The
//! host's own stack beside it is no part of the overlay: what it sends is not captured, what is for the device's own
//! MAC address is left to it, and it does not hear what is injected. The device itself is left as it is.
//!
//! A capture shows frames as the kernel has them in hand: super-frames not cut, checksums not computed, and libpcap
//! hands over nothing that says so. [`recover_offload`] tells from the bytes, and [`PcapPort`] counts what cannot be
//! told. A TAP has none of these troubles and needs no copy from a ring: use a capture where there is no other way.

mod device;
#[cfg(target_feature = "crt-static")]
mod no_dbus;

use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use ::pcap::{Active, Capture, Direction, Error as PcapFailure, Linktype};
use nix::errno::Errno;
use weave_core::{Batch, FrameCaps, FrameIo, FrameMeta, Missed, Offload, recover_offload};

use device::Device;

/// A network device that frames are captured from and injected into.
pub struct PcapPort {
    capture: Capture<Active>,
    device: Device,
    /// The device's MTU as it was when last asked, bytes.
    mtu_bytes: usize,
    /// The largest packet that is made of a super-frame, bytes.
    segment_mtu_bytes: usize,
    /// Frames captured since the ring was last found empty, or since it was last asked what it lost.
    since_asked: u32,
    /// What the ring said that it lost; a counter that wraps.
    ring_lost: u32,
    missed: Missed,
    refused: u64,
}

/// Why a device could not be captured from.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PcapError {
    /// No device has that name.
    #[error("there is no network device {0}")]
    UnknownDevice(String),
    /// The process may not capture.
    #[error("no permission to capture from {0}: run as root, or with CAP_NET_RAW")]
    NotPermitted(String),
    /// The device is switched off, and stays so until somebody switches it on.
    #[error("the network device {0} is down: switch it on first, as by ip link set {0} up")]
    Down(String),
    /// The device carries no Ethernet frames: a tunnel of IP packets, or the loopback device, which leads nowhere.
    #[error("the network device {0} carries no Ethernet frames between stations")]
    NotEthernet(String),
    /// Anything else that libpcap said.
    #[error("capturing from {device} failed: {reason}")]
    Capture {
        /// The device's name.
        device: String,
        /// In libpcap's words.
        reason: String,
    },
    /// Anything else that the system said.
    #[error("asking after the network device {device} failed")]
    System {
        /// The device's name.
        device: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

impl PcapPort {
    /// Begins to capture from the device, which must be up.
    ///
    /// # Errors
    /// See [`PcapError`]; nothing is left behind.
    pub fn open(name: &str) -> Result<Self, PcapError> {
        let device = Device::find(name)?;
        let failed = |error: PcapFailure| PcapError::Capture {
            device: name.to_owned(),
            reason: words(&error),
        };
        let mut capture = Capture::from_device(name)
            .and_then(|capture| {
                capture
                    .promisc(true)
                    .immediate_mode(true)
                    .snaplen(CAPTURE_BYTES)
                    .buffer_size(RING_BYTES)
                    .open()
            })
            .and_then(Capture::setnonblock)
            .map_err(failed)?;
        if capture.get_datalink() != Linktype::ETHERNET {
            return Err(PcapError::NotEthernet(name.to_owned()));
        }
        capture.direction(Direction::In).map_err(failed)?;
        capture.filter(&device.filter(), true).map_err(failed)?;
        let mtu_bytes = device
            .mtu_bytes(capture.as_fd())
            .map_err(|errno| PcapError::System {
                device: name.to_owned(),
                source: errno.into(),
            })?;
        Ok(Self {
            capture,
            device,
            mtu_bytes,
            segment_mtu_bytes: usize::MAX,
            since_asked: 0,
            ring_lost: 0,
            missed: Missed::default(),
            refused: 0,
        })
    }

    /// Has super-frames of TCP cut into packets of at most so many bytes of IP: the MTU that stations behind the port
    /// are to use, where it is smaller than the device's.
    #[must_use]
    pub fn with_segment_mtu(self, mtu_bytes: u16) -> Self {
        Self {
            segment_mtu_bytes: mtu_bytes.into(),
            ..self
        }
    }

    /// The device's name.
    pub fn name(&self) -> &str {
        self.device.name()
    }

    /// What is to be done on a captured frame; none where it cannot be known.
    fn meta(&mut self, frame: &[u8]) -> Option<FrameMeta> {
        let recover = |mtu_bytes: usize| {
            let segment_mtu_bytes = self.segment_mtu_bytes.min(mtu_bytes);
            recover_offload(frame, mtu_bytes, segment_mtu_bytes)
        };
        let offload = recover(self.mtu_bytes).or_else(|| {
            // Rare enough to ask whether somebody has set another MTU since.
            let mtu_bytes = self.device.mtu_bytes(self.capture.as_fd()).ok()?;
            let offload = recover(mtu_bytes);
            self.mtu_bytes = mtu_bytes;
            offload
        })?;
        Some(FrameMeta { offload })
    }

    /// Asks the ring what it lost.
    fn ask_lost(&mut self) {
        self.since_asked = 0;
        if let Ok(stats) = self.capture.stats() {
            self.missed.overrun += u64::from(stats.dropped.wrapping_sub(self.ring_lost));
            self.ring_lost = stats.dropped;
        }
    }

    /// An error if the device is gone; one that is down may come back.
    fn check_device(&self) -> io::Result<()> {
        if self.device.exists(self.capture.as_fd()) {
            return Ok(());
        }
        let gone = format!("the network device {} is gone", self.device.name());
        Err(io::Error::new(io::ErrorKind::NotFound, gone))
    }
}

impl AsFd for PcapPort {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.capture.as_fd()
    }
}

impl FrameIo for PcapPort {
    fn caps(&self) -> FrameCaps {
        FrameCaps {
            frame_bytes_max: FRAME_BYTES_MAX,
            segmentation: false,
            checksum: false,
        }
    }

    fn recv(&mut self, rx: &mut Batch<FrameMeta>) -> io::Result<usize> {
        let mut count = 0;
        for _ in 0..LOOKS_MAX {
            let Some(buffer) = rx.free() else {
                break;
            };
            match self.capture.next_packet() {
                Ok(packet) => {
                    let whole = packet.header.caplen == packet.header.len;
                    if !(whole && buffer.append(packet.data)) {
                        self.missed.unfinished += 1;
                        continue;
                    }
                }
                Err(PcapFailure::TimeoutExpired) => {
                    // The ring cannot have overflowed since, unless so many frames were in it.
                    if self.since_asked >= RING_FRAMES_MIN {
                        self.ask_lost();
                    }
                    self.since_asked = 0;
                    break;
                }
                Err(_) => {
                    self.check_device()?;
                    break;
                }
            }
            self.since_asked += 1;
            match self.meta(buffer.bytes()) {
                Some(meta) => {
                    rx.commit(meta);
                    count += 1;
                }
                None => self.missed.unfinished += 1,
            }
            if self.since_asked >= RING_FRAMES_MIN {
                self.ask_lost();
            }
        }
        Ok(count)
    }

    fn send(&mut self, tx: &mut Batch<FrameMeta>) -> io::Result<usize> {
        let mut count = 0;
        while let Some((frame, meta)) = tx.front() {
            // What the capabilities forbid would leave the host unfinished.
            let is_whole = meta.offload == Offload::default();
            let sent = is_whole && self.capture.sendpacket(frame).is_ok();
            if is_whole && !sent {
                // libpcap leaves the number of the send(2) that failed. EMSGSIZE: more than the device takes. ENETDOWN:
                // it is down. ENOBUFS: its queue is full.
                let errno = Errno::last();
                if errno == Errno::EAGAIN {
                    break;
                }
                if matches!(errno, Errno::ENXIO | Errno::ENODEV) {
                    self.check_device()?;
                }
            }
            self.refused += u64::from(!sent);
            tx.pop();
            count += 1;
        }
        Ok(count)
    }

    fn refused(&self) -> u64 {
        self.refused
    }

    fn missed(&self) -> Missed {
        self.missed
    }
}

impl fmt::Debug for PcapPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PcapPort")
            .field("device", &self.device)
            .field("mtu_bytes", &self.mtu_bytes)
            .field("segment_mtu_bytes", &self.segment_mtu_bytes)
            .field("missed", &self.missed)
            .field("refused", &self.refused)
            .finish_non_exhaustive()
    }
}

/// libpcap's own words, without the name that the crate puts before them.
fn words(error: &PcapFailure) -> String {
    if let PcapFailure::PcapError(words) = error {
        words.clone()
    } else {
        error.to_string()
    }
}

/// The largest frame: 65,535 bytes of IP, an Ethernet header and one VLAN tag.
const FRAME_BYTES_MAX: usize = 65_535 + 14 + 4;
/// Bytes of a frame that are captured: with the kernel's header before it (80 bytes, `TPACKET2_HDRLEN` and a place for a
/// VLAN tag) a slot of 64 KiB, where one more would take 128. What the kernel puts together of TCP segments of usual sizes
/// is shorter, its own super-frames are by `MAX_TCP_HEADER`; a longer one is cut off, which is seen and counted.
const CAPTURE_BYTES: i32 = 65_536 - 80;
/// Frames looked at in one call, those included that cannot be handed on: somebody may send nothing else.
const LOOKS_MAX: usize = 64;
/// The kernel's ring, which counts as the process's own memory. In immediate mode each frame has a slot of its own: 512
/// of them where the device may hand up super-frames, which is 5 ms of small frames at 100,000 a second; thousands of the
/// MTU's size where it may not.
const RING_BYTES: i32 = 32 << 20;
/// Fewer frames than fit into the ring in any case. libpcap takes a smaller ring where memory is short.
const RING_FRAMES_MIN: u32 = 64;
