//! What has to be known of a device before and beside a capture.
#![allow(unsafe_code, reason = "ioctl takes raw pointers")]

use std::os::fd::{AsRawFd, BorrowedFd};

use nix::errno::Errno;
use nix::ifaddrs::getifaddrs;
use nix::libc;
use nix::net::if_::{InterfaceFlags, if_nametoindex};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};

use super::PcapError;

/// A network device that was found to carry Ethernet frames.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Device {
    name: String,
    /// The kernel's number: another device of the same name has another.
    index: libc::c_uint,
    mac: [u8; 6],
}

impl Device {
    /// Looks for the device, for the right to capture, and for what is wrong with either.
    pub(super) fn find(name: &str) -> Result<Self, PcapError> {
        let unknown = || PcapError::UnknownDevice(name.to_owned());
        let system = |errno: Errno| PcapError::System {
            device: name.to_owned(),
            source: errno.into(),
        };
        // Also what is no name of a device at all: libpcap knows others, of devices that are none of the network's.
        let index = if_nametoindex(name).map_err(|_| unknown())?;
        // libpcap says so in words that differ between releases.
        socket(
            AddressFamily::Packet,
            SockType::Raw,
            SockFlag::SOCK_CLOEXEC,
            None,
        )
        .map_err(|errno| {
            if matches!(errno, Errno::EPERM | Errno::EACCES) {
                PcapError::NotPermitted(name.to_owned())
            } else {
                system(errno)
            }
        })?;
        let (flags, mac) = getifaddrs()
            .map_err(system)?
            .filter(|entry| entry.interface_name == name)
            .find_map(|entry| {
                let link = entry.address?;
                let mac = link.as_link_addr()?.addr().unwrap_or_default();
                Some((entry.flags, mac))
            })
            .ok_or_else(unknown)?;
        if flags.contains(InterfaceFlags::IFF_LOOPBACK) {
            return Err(PcapError::NotEthernet(name.to_owned()));
        }
        if !flags.contains(InterfaceFlags::IFF_UP) {
            return Err(PcapError::Down(name.to_owned()));
        }
        Ok(Self {
            name: name.to_owned(),
            index,
            mac,
        })
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Whether the very same device is still there, in the namespace of the capture's socket.
    pub(super) fn exists(&self, socket: BorrowedFd<'_>) -> bool {
        let mut request = self.request();
        // SAFETY: SIOCGIFINDEX reads and writes one `ifreq`, which `request` is, for the time of the call.
        let asked = unsafe { interface_index(socket.as_raw_fd(), &raw mut request) };
        // SAFETY: the call has written this member of the union, and all zeros is a value of it, too.
        let index = unsafe { request.ifr_ifru.ifru_ifindex };
        asked.is_ok() && libc::c_uint::try_from(index) == Ok(self.index)
    }

    /// The filter of the capture: all frames but those for the host itself. Where the device leads to other routers,
    /// these are the mesh's own packets, too.
    pub(super) fn filter(&self) -> String {
        let [a, b, c, d, e, f] = self.mac;
        format!("not ether dst {a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x}")
    }

    /// The device's MTU now, bytes of IP.
    pub(super) fn mtu_bytes(&self, socket: BorrowedFd<'_>) -> Result<usize, Errno> {
        let mut request = self.request();
        // SAFETY: SIOCGIFMTU reads and writes one `ifreq`, which `request` is, for the time of the call.
        unsafe { interface_mtu(socket.as_raw_fd(), &raw mut request) }?;
        // SAFETY: the call has written this member of the union.
        let mtu_bytes = unsafe { request.ifr_ifru.ifru_mtu };
        usize::try_from(mtu_bytes).map_err(|_| Errno::ERANGE)
    }

    /// An otherwise empty request about the device.
    fn request(&self) -> libc::ifreq {
        // SAFETY: an `ifreq` is plain numbers and unions of them, for which all zeros is a value.
        let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
        // The last byte stays zero.
        let room = request.ifr_name.iter_mut().take(libc::IFNAMSIZ - 1);
        for (to, from) in room.zip(self.name.bytes()) {
            *to = from as libc::c_char;
        }
        request
    }
}

nix::ioctl_read_bad!(interface_index, libc::SIOCGIFINDEX, libc::ifreq);
nix::ioctl_read_bad!(interface_mtu, libc::SIOCGIFMTU, libc::ifreq);
