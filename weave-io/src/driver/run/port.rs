//! A frame port together with the way to wait for it.

use std::fmt;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use weave_core::{Batch, FrameCaps, FrameIo, FrameMeta, Missed, PeerId};

use crate::{Answering, MemoryHost, MemoryPort, Station};

/// A [`FrameIo`] that a worker's thread can wait for.
pub struct FramePort {
    io: PortIo,
    wait_for: WaitFor,
}

/// The port itself, or with the router's own station beside it, which has to follow the router's identity.
pub(super) enum PortIo {
    Plain(Box<dyn FrameIo + Send>),
    Answering(Box<Answering<Box<dyn FrameIo + Send>>>),
}

/// What tells that frames are ready.
pub(super) enum WaitFor {
    /// The descriptor becomes readable.
    Descriptor(OwnedFd),
    /// The host's end of a port in memory makes a call.
    Memory(MemoryHost),
    /// Frames come out of the port only when others went in.
    Nothing,
}

impl FramePort {
    /// A port whose descriptor is readable when frames are ready, as a TAP device's is.
    ///
    /// # Errors
    /// When the descriptor cannot be duplicated: the process has too many.
    pub fn with_descriptor<F: FrameIo + AsFd + Send + 'static>(io: F) -> io::Result<Self> {
        let descriptor = io.as_fd().try_clone_to_owned()?;
        Ok(Self {
            io: PortIo::Plain(Box::new(io)),
            wait_for: WaitFor::Descriptor(descriptor),
        })
    }

    /// The port with a station of the router's own beside it; without a port the station alone.
    pub fn with_station(port: Option<Self>, station: Station) -> Self {
        let (io, wait_for) = port.map(Self::into_parts).unzip();
        let io = io.map(|io| match io {
            PortIo::Plain(io) => io,
            PortIo::Answering(io) => io as Box<dyn FrameIo + Send>,
        });
        Self {
            io: PortIo::Answering(Box::new(Answering::new(io, station))),
            wait_for: wait_for.unwrap_or(WaitFor::Nothing),
        }
    }

    /// The same port for the router's next identity.
    pub(super) fn with_peer(mut self, peer: PeerId) -> Self {
        if let PortIo::Answering(io) = &mut self.io {
            io.set_peer(peer);
        }
        self
    }

    pub(super) fn from_parts(io: PortIo, wait_for: WaitFor) -> Self {
        Self { io, wait_for }
    }

    pub(super) fn into_parts(self) -> (PortIo, WaitFor) {
        (self.io, self.wait_for)
    }
}

impl PortIo {
    fn io(&self) -> &dyn FrameIo {
        match self {
            Self::Plain(io) => io,
            Self::Answering(io) => io,
        }
    }

    fn io_mut(&mut self) -> &mut dyn FrameIo {
        match self {
            Self::Plain(io) => io,
            Self::Answering(io) => io,
        }
    }
}

impl FrameIo for PortIo {
    fn caps(&self) -> FrameCaps {
        self.io().caps()
    }

    fn recv(&mut self, rx: &mut Batch<FrameMeta>) -> io::Result<usize> {
        self.io_mut().recv(rx)
    }

    fn send(&mut self, tx: &mut Batch<FrameMeta>) -> io::Result<usize> {
        self.io_mut().send(tx)
    }

    fn refused(&self) -> u64 {
        self.io().refused()
    }

    fn missed(&self) -> Missed {
        self.io().missed()
    }

    fn has_ready(&self) -> bool {
        self.io().has_ready()
    }
}

impl From<MemoryPort> for FramePort {
    fn from(port: MemoryPort) -> Self {
        let wait_for = WaitFor::Memory(port.host());
        Self {
            io: PortIo::Plain(Box::new(port)),
            wait_for,
        }
    }
}

impl fmt::Debug for FramePort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FramePort").finish_non_exhaustive()
    }
}
