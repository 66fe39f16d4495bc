//! A frame port together with the way to wait for it.

use std::fmt;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use weave_core::FrameIo;

use crate::{Answering, MemoryHost, MemoryPort, Station};

/// A [`FrameIo`] that a worker's thread can wait for.
pub struct FramePort {
    io: Box<dyn FrameIo + Send>,
    wait_for: WaitFor,
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
            io: Box::new(io),
            wait_for: WaitFor::Descriptor(descriptor),
        })
    }

    /// The port with a station of the router's own beside it; without a port the station alone.
    pub fn with_station(port: Option<Self>, station: Station) -> Self {
        let (io, wait_for) = port.map(Self::into_parts).unzip();
        Self {
            io: Box::new(Answering::new(io, station)),
            wait_for: wait_for.unwrap_or(WaitFor::Nothing),
        }
    }

    pub(super) fn into_parts(self) -> (Box<dyn FrameIo + Send>, WaitFor) {
        (self.io, self.wait_for)
    }
}

impl From<MemoryPort> for FramePort {
    fn from(port: MemoryPort) -> Self {
        let wait_for = WaitFor::Memory(port.host());
        Self {
            io: Box::new(port),
            wait_for,
        }
    }
}

impl fmt::Debug for FramePort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FramePort").finish_non_exhaustive()
    }
}
