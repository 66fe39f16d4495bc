//! Ports and sockets without an operating system: bounded queues in memory.
//!
//! Each has two ends. The router holds a [`MemoryPort`] or [`MemorySocket`], which are ordinary [`FrameIo`] and
//! [`PacketIo`]; whoever plays the world holds the [`MemoryHost`] or [`MemoryWire`] and decides what arrives
//! when: a test, an example, or the simulator. [`MemoryNet`] plays the simplest of worlds, where every packet
//! arrives at once.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use weave_core::{Batch, FrameCaps, FrameIo, FrameMeta, PacketCaps, PacketIo, PacketMeta};

use crate::wake::Wake;

/// A frame on its way between a [`MemoryPort`] and its [`MemoryHost`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemoryFrame {
    /// The Ethernet frame, without FCS.
    pub bytes: Vec<u8>,
    /// Its offload metadata.
    pub meta: FrameMeta,
}

/// A run of packets on its way between a [`MemorySocket`] and its [`MemoryWire`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemoryPacket {
    /// The run, packets back to back.
    pub bytes: Vec<u8>,
    /// The other end, which is the destination on the way out and the source on the way in, and the run's
    /// segment size.
    pub meta: PacketMeta,
}

/// The router's end of a port in memory.
#[derive(Debug)]
pub struct MemoryPort {
    caps: FrameCaps,
    queues: Arc<Queues<MemoryFrame>>,
}

/// The world's end of a port in memory; clones share it.
#[derive(Debug, Clone)]
pub struct MemoryHost {
    queues: Arc<Queues<MemoryFrame>>,
}

impl MemoryPort {
    /// Both ends of a port that keeps at most `frames_max` frames in each direction.
    pub fn pair(caps: FrameCaps, frames_max: usize) -> (Self, MemoryHost) {
        let queues = Arc::new(Queues::new(frames_max));
        let host = MemoryHost {
            queues: Arc::clone(&queues),
        };
        (Self { caps, queues }, host)
    }

    /// A port without offloads that takes frames of up to `frame_bytes_max` bytes.
    pub fn plain(frame_bytes_max: usize, frames_max: usize) -> (Self, MemoryHost) {
        let caps = FrameCaps {
            frame_bytes_max,
            segmentation: false,
            checksum: false,
        };
        Self::pair(caps, frames_max)
    }

    /// Calls `wake` after each frame that the host pushes, for a router that sleeps on a thread. The first
    /// call stays.
    pub fn on_frames(&self, wake: impl Fn() + Send + Sync + 'static) {
        self.queues.wake.set(wake);
    }
}

#[cfg(feature = "driver")]
impl MemoryPort {
    /// Another hold on the host's end, for whoever runs the port.
    pub(crate) fn host(&self) -> MemoryHost {
        MemoryHost {
            queues: Arc::clone(&self.queues),
        }
    }
}

#[cfg(feature = "driver")]
impl MemoryHost {
    /// [`MemoryPort::on_frames`] from this end.
    pub(crate) fn on_frames(&self, wake: impl Fn() + Send + Sync + 'static) {
        self.queues.wake.set(wake);
    }
}

impl MemoryHost {
    /// Hands the router a frame. Says whether there was room; where not, the frame is counted as dropped.
    pub fn push(&self, frame: MemoryFrame) -> bool {
        self.queues.push_inward(frame)
    }

    /// Hands the router a whole, ordinary frame.
    pub fn push_bytes(&self, bytes: &[u8]) -> bool {
        self.push(MemoryFrame {
            bytes: bytes.to_vec(),
            meta: FrameMeta::default(),
        })
    }

    /// Takes the oldest frame that the router sent.
    pub fn pop(&self) -> Option<MemoryFrame> {
        self.queues.lock().outward.items.pop_front()
    }

    /// Frames that found their queue full, in both directions.
    pub fn dropped(&self) -> u64 {
        self.queues.dropped()
    }
}

impl FrameIo for MemoryPort {
    fn caps(&self) -> FrameCaps {
        self.caps
    }

    fn recv(&mut self, rx: &mut Batch<FrameMeta>) -> io::Result<usize> {
        let mut queues = self.queues.lock();
        let mut count = 0;
        while let Some(buffer) = rx.free() {
            let Some(frame) = queues.inward.items.pop_front() else {
                break;
            };
            if !buffer.append(&frame.bytes) {
                queues.inward.dropped += 1;
                continue;
            }
            rx.commit(frame.meta);
            count += 1;
        }
        Ok(count)
    }

    fn send(&mut self, tx: &mut Batch<FrameMeta>) -> io::Result<usize> {
        let mut queues = self.queues.lock();
        let mut count = 0;
        while let Some((bytes, meta)) = tx.front() {
            if queues.outward.is_full() {
                break;
            }
            queues.outward.push(MemoryFrame {
                bytes: bytes.to_vec(),
                meta: *meta,
            });
            tx.pop();
            count += 1;
        }
        Ok(count)
    }
}

/// The router's end of a UDP socket in memory; clones share it, as a worker and the control plane do.
#[derive(Debug, Clone)]
pub struct MemorySocket {
    address: SocketAddr,
    caps: PacketCaps,
    queues: Arc<Queues<MemoryPacket>>,
}

/// The world's end of a socket in memory; clones share it.
#[derive(Debug, Clone)]
pub struct MemoryWire {
    address: SocketAddr,
    caps: PacketCaps,
    queues: Arc<Queues<MemoryPacket>>,
}

impl MemorySocket {
    /// Both ends of a socket at `address` that keeps at most `runs_max` runs in each direction.
    pub fn pair(address: SocketAddr, caps: PacketCaps, runs_max: usize) -> (Self, MemoryWire) {
        let queues = Arc::new(Queues::new(runs_max));
        let wire = MemoryWire {
            address,
            caps,
            queues: Arc::clone(&queues),
        };
        let socket = Self {
            address,
            caps,
            queues,
        };
        (socket, wire)
    }

    /// Its address.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Calls `wake` after each run that arrives, for a router that sleeps on a thread. The first
    /// call stays.
    pub fn on_packets(&self, wake: impl Fn() + Send + Sync + 'static) {
        self.queues.wake.set(wake);
    }
}

impl MemoryWire {
    /// The address of its socket.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Takes the oldest run that the router sent; `meta.remote` is where it goes.
    pub fn take(&self) -> Option<MemoryPacket> {
        self.queues.lock().outward.items.pop_front()
    }

    /// Brings the router a run; `meta.remote` is where it comes from. A socket without GRO gets it packet by
    /// packet. Says whether there was room for all of it; the rest is counted as dropped.
    pub fn deliver(&self, packet: MemoryPacket) -> bool {
        let segment_bytes = packet.meta.segment_bytes.max(1);
        if self.caps.gro || packet.bytes.len() <= segment_bytes {
            return self.queues.push_inward(packet);
        }
        let mut all = true;
        for bytes in packet.bytes.chunks(segment_bytes) {
            let meta = PacketMeta {
                segment_bytes: bytes.len(),
                ..packet.meta
            };
            all &= self.queues.push_inward(MemoryPacket {
                bytes: bytes.to_vec(),
                meta,
            });
        }
        all
    }

    /// Runs that found their queue full, in both directions.
    pub fn dropped(&self) -> u64 {
        self.queues.dropped()
    }
}

impl PacketIo for MemorySocket {
    fn caps(&self) -> PacketCaps {
        self.caps
    }

    fn recv(&mut self, rx: &mut Batch<PacketMeta>) -> io::Result<usize> {
        let mut queues = self.queues.lock();
        let mut count = 0;
        while let Some(buffer) = rx.free() {
            let Some(packet) = queues.inward.items.pop_front() else {
                break;
            };
            if packet.bytes.is_empty() || !buffer.append(&packet.bytes) {
                queues.inward.dropped += 1;
                continue;
            }
            rx.commit(packet.meta);
            count += 1;
        }
        Ok(count)
    }

    fn send(&mut self, tx: &mut Batch<PacketMeta>) -> io::Result<usize> {
        let mut queues = self.queues.lock();
        let mut count = 0;
        while let Some((bytes, meta)) = tx.front() {
            if queues.outward.is_full() {
                break;
            }
            queues.outward.push(MemoryPacket {
                bytes: bytes.to_vec(),
                meta: *meta,
            });
            tx.pop();
            count += 1;
        }
        Ok(count)
    }
}

/// A network in memory without delay or loss. Packets move when [`MemoryNet::deliver`] is called.
#[derive(Debug, Default)]
pub struct MemoryNet {
    wires: BTreeMap<SocketAddr, MemoryWire>,
    unreachable: u64,
}

impl MemoryNet {
    /// A network with nobody on it.
    pub fn new() -> Self {
        Self::default()
    }

    /// A socket at `address` that keeps at most `runs_max` runs in each direction; it replaces the one that
    /// was there.
    pub fn bind(&mut self, address: SocketAddr, caps: PacketCaps, runs_max: usize) -> MemorySocket {
        let (socket, wire) = MemorySocket::pair(address, caps, runs_max);
        self.wires.insert(address, wire);
        socket
    }

    /// Moves every run that was sent so far to where it goes, and says how many it moved. Runs to an address
    /// that nobody has are dropped.
    pub fn deliver(&mut self) -> usize {
        let mut moved = 0;
        for (from, wire) in &self.wires {
            while let Some(mut packet) = wire.take() {
                moved += 1;
                match self.wires.get(&packet.meta.remote) {
                    Some(to) => {
                        packet.meta.local = Some(packet.meta.remote.ip());
                        packet.meta.remote = *from;
                        to.deliver(packet);
                    }
                    None => self.unreachable += 1,
                }
            }
        }
        moved
    }

    /// Runs that went to an address that nobody has.
    pub fn unreachable(&self) -> u64 {
        self.unreachable
    }
}

/// Both directions between a router and the world.
struct Queues<T> {
    both: Mutex<Both<T>>,
    /// Called after each push towards the router.
    wake: Wake,
}

struct Both<T> {
    /// From the world to the router.
    inward: Queue<T>,
    /// From the router to the world.
    outward: Queue<T>,
}

struct Queue<T> {
    items: VecDeque<T>,
    items_max: usize,
    dropped: u64,
}

impl<T> Queues<T> {
    fn new(items_max: usize) -> Self {
        let queue = || Queue {
            items: VecDeque::new(),
            items_max,
            dropped: 0,
        };
        Self {
            both: Mutex::new(Both {
                inward: queue(),
                outward: queue(),
            }),
            wake: Wake::default(),
        }
    }

    /// A panic elsewhere leaves the queues whole: nothing in here panics half-way.
    fn lock(&self) -> MutexGuard<'_, Both<T>> {
        self.both.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push_inward(&self, item: T) -> bool {
        let pushed = self.lock().inward.push(item);
        self.wake.wake();
        pushed
    }

    fn dropped(&self) -> u64 {
        let both = self.lock();
        both.inward.dropped + both.outward.dropped
    }
}

impl<T> Queue<T> {
    fn is_full(&self) -> bool {
        self.items.len() >= self.items_max
    }

    fn push(&mut self, item: T) -> bool {
        if self.is_full() {
            self.dropped += 1;
            return false;
        }
        self.items.push_back(item);
        true
    }
}

impl<T> fmt::Debug for Queues<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let both = self.lock();
        f.debug_struct("Queues")
            .field("inward", &both.inward.items.len())
            .field("outward", &both.outward.items.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
