//! The data plane's loop, one turn at a time.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::Instant;

use weave_core::{
    BUFFER_BYTES, Batch, DropReason, Fib, ForwardStats, Forwarder, ForwarderConfig, FrameIo,
    FrameMeta, MacTable, Missed, Notices, Output, PacketIo, PacketMeta,
    Progress as ForwardProgress, Streamed, View,
};

use super::published::FibCache;
use super::{Inbox, NoticeQueue, Published, SharedStats, StreamQueue};

/// What a worker shares with the control plane and with other workers.
#[derive(Debug, Clone)]
pub struct Shared {
    /// Where snapshots come from.
    pub published: Arc<Published>,
    /// Where notices go to.
    pub notices: Arc<NoticeQueue>,
    /// Where packets go that are for streams.
    pub streams: Arc<StreamQueue>,
    /// Where counters go to.
    pub stats: Arc<SharedStats>,
    /// Where packets that came by streams, and frames of the control plane's own, come from.
    pub inbox: Arc<Inbox>,
    /// MAC addresses learned.
    pub macs: Arc<MacTable>,
}

/// Moves frames from a port through a [`Forwarder`] to a socket, and packets back.
///
/// Call [`Worker::turn`] whenever port or socket may have something, or a new snapshot was published.
#[derive(Debug)]
pub struct Worker<F, P> {
    forwarder: Forwarder,
    published: FibCache,
    /// The snapshot in use.
    fib: Arc<Fib>,
    shared: Shared,
    frames_in: Batch<FrameMeta>,
    packets_in: Batch<PacketMeta>,
    stream_packets_in: VecDeque<Vec<u8>>,
    outlet: Outlet<F, P>,
    notices: Notices,
}

/// Whether a turn left something behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// Port and socket had nothing more: wait for either.
    Idle,
    /// There may be more: take the next turn at once.
    Busy,
}

/// A worker cannot go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WorkerError {
    /// The frame port is gone; somebody deleted the device.
    #[error("the frame port is gone")]
    Port(#[source] io::Error),
    /// The socket is unusable.
    #[error("the UDP socket failed")]
    Socket(#[source] io::Error),
}

impl<F: FrameIo, P: PacketIo> Worker<F, P> {
    /// A worker for a port, or for none (a pure relay), and a socket. Instants given to it later are not before
    /// `epoch`, the router's start.
    pub fn new(frames: Option<F>, packets: P, shared: Shared, epoch: Instant) -> Self {
        let config = ForwarderConfig {
            frame_caps: frames.as_ref().map_or(NO_PORT, |frames| frames.caps()),
            packet_caps: packets.caps(),
            has_port: frames.is_some(),
            epoch,
        };
        Self {
            forwarder: Forwarder::new(config),
            published: shared.published.cache(),
            fib: shared.published.load(),
            shared,
            frames_in: Batch::new(RECEIVE_SLOTS, BUFFER_BYTES),
            packets_in: Batch::new(RECEIVE_SLOTS, BUFFER_BYTES),
            stream_packets_in: VecDeque::new(),
            outlet: Outlet {
                frames,
                packets,
                frames_out: Batch::new(SEND_SLOTS, BUFFER_BYTES),
                packets_out: Batch::new(SEND_SLOTS, BUFFER_BYTES),
                streamed: Streamed::new(),
            },
            notices: Notices::new(),
        }
    }

    /// The port, for another worker: of another identity of the same router.
    pub fn into_port(self) -> Option<F> {
        self.outlet.frames
    }

    /// One turn: up to eight frames in and out again as packets, up to eight runs of packets in and out again as
    /// frames, relayed packets and answers. Never blocks; what port or socket does not take is dropped and
    /// counted, since the ends of a TCP stream cope with loss but not with a stuck worker.
    ///
    /// # Errors
    /// When the port or the socket is broken. The worker is of no more use then.
    pub fn turn(&mut self, now: Instant) -> Result<Progress, WorkerError> {
        let frames = match &mut self.outlet.frames {
            Some(frames) => frames
                .recv(&mut self.frames_in)
                .map_err(WorkerError::Port)?,
            None => 0,
        };
        let mut is_new = self.look(now)?;
        if frames > 0 {
            let view = View {
                fib: &self.fib,
                macs: &self.shared.macs,
            };
            let rx = &mut self.frames_in;
            self.outlet
                .pump(&mut self.forwarder, &mut self.notices, |forwarder, out| {
                    forwarder.handle_frames(now, view, rx, out)
                })?;
            rx.clear();
        }
        let is_handed_over = !self.shared.inbox.is_empty();
        if is_handed_over {
            let stats = self.forwarder.stats_mut();
            self.shared.inbox.take(
                &mut self.stream_packets_in,
                &mut self.outlet.frames_out,
                &mut self.frames_in,
                stats,
            );
            is_new |= self.look(now)?;
            let view = View {
                fib: &self.fib,
                macs: &self.shared.macs,
            };
            let rx = &mut self.stream_packets_in;
            self.outlet
                .pump(&mut self.forwarder, &mut self.notices, |forwarder, out| {
                    forwarder.handle_stream_packets(now, view, rx, out)
                })?;
            let rx = &mut self.frames_in;
            self.outlet
                .pump(&mut self.forwarder, &mut self.notices, |forwarder, out| {
                    forwarder.handle_frames(now, view, rx, out)
                })?;
            rx.clear();
        }
        // After the local frames: their answers are here sooner, and strangers come last.
        let packets = self
            .outlet
            .packets
            .recv(&mut self.packets_in)
            .map_err(WorkerError::Socket)?;
        if packets > 0 {
            is_new |= self.look(now)?;
            let view = View {
                fib: &self.fib,
                macs: &self.shared.macs,
            };
            let rx = &mut self.packets_in;
            self.outlet
                .pump(&mut self.forwarder, &mut self.notices, |forwarder, out| {
                    forwarder.handle_packets(now, view, rx, out)
                })?;
            rx.clear();
        }
        if is_new || is_handed_over || frames > 0 || packets > 0 {
            self.shared.notices.push_all(&mut self.notices);
            self.shared.streams.push_all(&mut self.outlet.streamed);
            let stats = self.forwarder.stats_mut();
            self.outlet.count_refused(stats);
            stats.set_drops(DropReason::StreamFull, self.shared.streams.dropped());
            self.shared.stats.store(self.forwarder.stats());
        }
        let port = self.outlet.frames.as_ref();
        let is_busy = frames >= RECEIVE_SLOTS
            || packets >= RECEIVE_SLOTS
            || !self.shared.inbox.is_empty()
            || port.is_some_and(FrameIo::has_ready);
        Ok(if is_busy {
            Progress::Busy
        } else {
            Progress::Idle
        })
    }

    /// Takes the newest snapshot into use, and says whether it is another one than before.
    ///
    /// After each time that something was received, not once a turn: a peer seals with new keys as soon as our control
    /// plane, which publishes first, has answered it. So whatever was received can be opened by a snapshot that is
    /// loaded afterwards, but not always by one from before.
    fn look(&mut self, now: Instant) -> Result<bool, WorkerError> {
        let newest = self.published.load();
        if Arc::ptr_eq(newest, &self.fib) {
            return Ok(false);
        }
        self.fib = Arc::clone(newest);
        let view = View {
            fib: &self.fib,
            macs: &self.shared.macs,
        };
        self.outlet
            .pump(&mut self.forwarder, &mut self.notices, |forwarder, out| {
                forwarder.handle_snapshot(now, view, out)
            })?;
        Ok(true)
    }
}

/// The ways out of a worker, and what waits to go.
#[derive(Debug)]
struct Outlet<F, P> {
    frames: Option<F>,
    packets: P,
    frames_out: Batch<FrameMeta>,
    packets_out: Batch<PacketMeta>,
    streamed: Streamed,
}

impl<F: FrameIo, P: PacketIo> Outlet<F, P> {
    /// Has the forwarder do `work` until it is done, and sends what comes out. Sending empties the batches
    /// whatever happens, so each round makes progress.
    fn pump(
        &mut self,
        forwarder: &mut Forwarder,
        notices: &mut Notices,
        mut work: impl FnMut(&mut Forwarder, &mut Output<'_>) -> ForwardProgress,
    ) -> Result<(), WorkerError> {
        loop {
            let mut out = Output {
                packets: &mut self.packets_out,
                frames: &mut self.frames_out,
                notices,
                streamed: &mut self.streamed,
            };
            let progress = work(forwarder, &mut out);
            self.flush(forwarder.stats_mut())?;
            if progress == ForwardProgress::Done {
                return Ok(());
            }
        }
    }

    /// What port and socket took and then dropped is theirs to count, and ours to show.
    fn count_refused(&self, stats: &mut ForwardStats) {
        let by_port = self.frames.as_ref().map_or(0, FrameIo::refused);
        stats.set_drops(DropReason::PortRefused, by_port);
        let missed = self
            .frames
            .as_ref()
            .map_or_else(Missed::default, FrameIo::missed);
        stats.set_drops(DropReason::PortOverrun, missed.overrun);
        stats.set_drops(DropReason::FrameUnfinished, missed.unfinished);
        stats.set_drops(DropReason::SocketRefused, self.packets.refused());
    }

    fn flush(&mut self, stats: &mut ForwardStats) -> Result<(), WorkerError> {
        if !self.packets_out.is_empty() {
            self.packets
                .send(&mut self.packets_out)
                .map_err(WorkerError::Socket)?;
            for (run, meta) in self.packets_out.iter() {
                for _ in 0..run.len().div_ceil(meta.segment_bytes.max(1)) {
                    stats.count_drop(DropReason::SocketFull);
                }
            }
            self.packets_out.clear();
        }
        if !self.frames_out.is_empty() {
            if let Some(frames) = &mut self.frames {
                frames
                    .send(&mut self.frames_out)
                    .map_err(WorkerError::Port)?;
            }
            for _ in 0..self.frames_out.len() {
                stats.count_drop(DropReason::PortFull);
            }
            self.frames_out.clear();
        }
        Ok(())
    }
}

/// Frames and runs received in a turn. Short turns are faster: 8 gave 5.4 to 6.6 Gb/s where 64 gave 4.4 to 4.6,
/// for the buffers stay in the second-level cache.
const RECEIVE_SLOTS: usize = 8;

/// Runs and frames that wait to be sent. Each costs a system call of its own anyway, so more would gain nothing,
/// and the allocator touches the memory of all of them.
const SEND_SLOTS: usize = 16;

/// What a pure relay can do with frames.
const NO_PORT: weave_core::FrameCaps = weave_core::FrameCaps {
    frame_bytes_max: 0,
    segmentation: false,
    checksum: false,
};

#[cfg(test)]
mod tests;
