//! A TAP device as a [`FrameIo`]: whole super-frames and unfinished checksums by way of `IFF_VNET_HDR`.
//!
//! Every read and write has a `struct virtio_net_hdr` in front (virtio 1.2 section 5.1.6, 10 bytes in native
//! byte order), which [`Offload`] stands for. The kernel checks little of what it is given and passes the rest
//! on to the bridge, so what goes out is checked here first.

mod header;
mod ioctl;

use std::fs::{File, OpenOptions};
use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt;

use nix::errno::Errno;
use nix::fcntl::OFlag;
use weave_core::{Batch, FrameCaps, FrameIo, FrameMeta};

use header::{HEADER_BYTES, VnetHeader};

/// How to open a [`Tap`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TapConfig {
    /// Name of the network device, 1 to 15 bytes.
    pub name: String,
    /// Take super-frames and unfinished checksums from the kernel, where it offers them; without, every frame
    /// is a whole one of at most the MTU.
    pub offload: bool,
}

/// A TAP device that this process made. It goes away when this is dropped.
#[derive(Debug)]
pub struct Tap {
    file: File,
    name: String,
    caps: FrameCaps,
    refused: u64,
}

/// Why a TAP device could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TapError {
    /// The name is empty, too long, or holds `/` or white space.
    #[error("{0:?} is no name for a network device: 1 to 15 bytes without '/' and spaces")]
    BadName(String),
    /// There is no `/dev/net/tun`.
    #[error(
        "/dev/net/tun is missing: load the kernel module tun, or give the container --device /dev/net/tun"
    )]
    NoDriver,
    /// The process may not make network devices.
    #[error("no permission to make TAP device {0}: run as root, or with CAP_NET_ADMIN")]
    NotPermitted(String),
    /// A device of that name exists and is not free.
    #[error(
        "a network device {0} exists already: another router uses it, or it is of another kind"
    )]
    NameTaken(String),
    /// Anything else that the system said.
    #[error("making TAP device {name} failed")]
    System {
        /// The device's name.
        name: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

impl Tap {
    /// Makes the device, down and without a bridge.
    ///
    /// # Errors
    /// See [`TapError`]; nothing is left behind.
    pub fn open(config: TapConfig) -> Result<Self, TapError> {
        let TapConfig { name, offload } = config;
        if !is_device_name(&name) {
            return Err(TapError::BadName(name));
        }
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags((OFlag::O_NONBLOCK | OFlag::O_CLOEXEC).bits())
            .open("/dev/net/tun")
            .map_err(|source| TapError::from_open(&name, source))?;
        ioctl::set_interface(&file, &name)
            .map_err(|errno| TapError::from_set_interface(&name, errno))?;
        let offloads = ioctl::set_offloads(&file, offload)
            .map_err(|errno| TapError::system(&name, errno.into()))?;
        Ok(Self {
            file,
            name,
            caps: FrameCaps {
                frame_bytes_max: FRAME_BYTES_MAX,
                segmentation: offloads.segmentation,
                checksum: offloads.checksum,
            },
            refused: 0,
        })
    }

    /// The device's name.
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl AsFd for Tap {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

impl FrameIo for Tap {
    fn caps(&self) -> FrameCaps {
        self.caps
    }

    fn recv(&mut self, rx: &mut Batch<FrameMeta>) -> io::Result<usize> {
        let mut count = 0;
        while let Some(buffer) = rx.free() {
            let mut header = [0; HEADER_BYTES];
            let spare = buffer.spare_mut();
            let room = spare.len();
            let read = (&self.file)
                .read_vectored(&mut [IoSliceMut::new(&mut header), IoSliceMut::new(spare)]);
            let read = match read {
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) if is_gone(&error) => return Err(error),
                // Nothing waits, or the device is down.
                Err(_) => break,
            };
            let Some(length) = read.checked_sub(HEADER_BYTES) else {
                // The end of the file: a TAP device has none.
                return Err(io::ErrorKind::UnexpectedEof.into());
            };
            let offload = VnetHeader::from_bytes(header).offload();
            // A frame cut to the buffer is reported with its whole length.
            if let (true, Some(offload)) = (length <= room, offload) {
                buffer.grow(length);
                rx.commit(FrameMeta { offload });
                count += 1;
            } else {
                self.refused += 1;
            }
        }
        Ok(count)
    }

    fn send(&mut self, tx: &mut Batch<FrameMeta>) -> io::Result<usize> {
        let mut count = 0;
        while let Some((frame, meta)) = tx.front() {
            match self.write(frame, meta) {
                Ok(true) => {}
                Ok(false) => self.refused += 1,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
            tx.pop();
            count += 1;
        }
        Ok(count)
    }

    fn refused(&self) -> u64 {
        self.refused
    }
}

impl Tap {
    /// Writes a frame, and says whether the device took it.
    fn write(&self, frame: &[u8], meta: &FrameMeta) -> io::Result<bool> {
        let Some(header) = VnetHeader::for_frame(frame, &meta.offload, &self.caps) else {
            return Ok(false);
        };
        let header = header.to_bytes();
        loop {
            let written =
                (&self.file).write_vectored(&[IoSlice::new(&header), IoSlice::new(frame)]);
            return match written {
                Ok(_) => Ok(true),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock || is_gone(&error) => {
                    Err(error)
                }
                // EIO while the device is down, EINVAL for a frame it does not like, ENOBUFS or ENOMEM when
                // the system is short of memory: the frame is lost, the port is not.
                Err(_) => Ok(false),
            };
        }
    }
}

impl TapError {
    fn from_open(name: &str, source: io::Error) -> Self {
        let errno = Errno::from_raw(source.raw_os_error().unwrap_or(0));
        // ENODEV and ENXIO: the node is there, the module is not.
        if matches!(errno, Errno::ENOENT | Errno::ENODEV | Errno::ENXIO) {
            Self::NoDriver
        } else if matches!(errno, Errno::EACCES | Errno::EPERM) {
            Self::NotPermitted(name.to_owned())
        } else {
            Self::system(name, source)
        }
    }

    fn from_set_interface(name: &str, errno: Errno) -> Self {
        if matches!(errno, Errno::EPERM | Errno::EACCES) {
            Self::NotPermitted(name.to_owned())
        // EINVAL: a device of that name exists that is no TAP; the name itself was checked before.
        } else if matches!(errno, Errno::EBUSY | Errno::EINVAL | Errno::EEXIST) {
            Self::NameTaken(name.to_owned())
        } else {
            Self::system(name, errno.into())
        }
    }

    fn system(name: &str, source: io::Error) -> Self {
        Self::System {
            name: name.to_owned(),
            source,
        }
    }
}

/// The largest frame that is no super-frame: a bridge port's largest MTU of 65,521 and an Ethernet header.
const FRAME_BYTES_MAX: usize = 65_521 + 14;

/// Somebody deleted the device.
fn is_gone(error: &io::Error) -> bool {
    error.raw_os_error().is_some_and(|code| {
        matches!(
            Errno::from_raw(code),
            Errno::EBADFD | Errno::EBADF | Errno::ENODEV | Errno::EFAULT
        )
    })
}

/// As the kernel's `dev_valid_name` has it; `%` would make it number the devices.
fn is_device_name(name: &str) -> bool {
    (1..=15).contains(&name.len())
        && name != "."
        && name != ".."
        && !name
            .bytes()
            .any(|byte| matches!(byte, b'/' | b':' | b'%' | 0) || byte.is_ascii_whitespace())
}

#[cfg(test)]
mod tests;
