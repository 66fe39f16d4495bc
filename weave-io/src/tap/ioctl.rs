//! The two calls of `linux/if_tun.h` that a TAP device is made with.
#![allow(unsafe_code, reason = "ioctl takes raw pointers")]

use std::fs::File;
use std::os::fd::AsRawFd;

use nix::errno::Errno;
use nix::libc;

/// What the kernel agreed to leave to us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Offloads {
    pub(super) checksum: bool,
    pub(super) segmentation: bool,
}

/// Makes `file`, an open `/dev/net/tun`, the TAP device `name`.
pub(super) fn set_interface(file: &File, name: &str) -> Result<(), Errno> {
    let mut request = interface_request(name);
    // Fits: the flags are bits 1, 12 and 14 of a 16-bit field.
    request.ifr_ifru.ifru_flags =
        (libc::IFF_TAP | libc::IFF_NO_PI | libc::IFF_VNET_HDR) as libc::c_short;
    // SAFETY: TUNSETIFF reads and writes one `ifreq`, which `request` is, for the time of the call.
    unsafe { tun_set_iff(file.as_raw_fd(), (&raw mut request).cast()) }?;
    Ok(())
}

/// Asks for the offloads that we handle, or for none, and says which were granted.
pub(super) fn set_offloads(file: &File, wanted: bool) -> Result<Offloads, Errno> {
    // Kernels before 6.2 do not know USO and refuse the whole request.
    let choices: &[libc::c_uint] = if wanted { &[ALL, WITHOUT_USO, 0] } else { &[0] };
    let mut last = Errno::EINVAL;
    for &bits in choices {
        // SAFETY: TUNSETOFFLOAD takes its argument by value and touches no memory of ours.
        match unsafe { tun_set_offload(file.as_raw_fd(), bits.into()) } {
            Ok(_) => {
                return Ok(Offloads {
                    checksum: bits & TUN_F_CSUM != 0,
                    segmentation: bits & TUN_F_TSO4 != 0,
                });
            }
            Err(errno) => last = errno,
        }
    }
    Err(last)
}

/// An otherwise empty request about the interface `name`, of which it takes the first 15 bytes.
fn interface_request(name: &str) -> libc::ifreq {
    // SAFETY: an `ifreq` is plain numbers and unions of them, for which all zeros is a value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    // The last byte stays zero.
    let room = request.ifr_name.iter_mut().take(libc::IFNAMSIZ - 1);
    for (to, from) in room.zip(name.bytes()) {
        *to = from as libc::c_char;
    }
    request
}

const TUN_F_CSUM: libc::c_uint = 0x01;
const TUN_F_TSO4: libc::c_uint = 0x02;
const TUN_F_TSO6: libc::c_uint = 0x04;
const TUN_F_TSO_ECN: libc::c_uint = 0x08;
const TUN_F_USO4: libc::c_uint = 0x20;
const TUN_F_USO6: libc::c_uint = 0x40;

/// The tunnel bits (0x80, 0x100) are left out: with them frames with two nested headers would come.
const ALL: libc::c_uint = WITHOUT_USO | TUN_F_USO4 | TUN_F_USO6;
const WITHOUT_USO: libc::c_uint = TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6 | TUN_F_TSO_ECN;

// Its number says "write an int", but it takes a pointer to an `ifreq`.
nix::ioctl_write_ptr!(tun_set_iff, b'T', 202, libc::c_int);
nix::ioctl_write_int!(tun_set_offload, b'T', 208);

/// Gives an interface an IPv4 address in a network of class A and brings it up.
#[cfg(test)]
pub(super) fn bring_up(name: &str, address: std::net::Ipv4Addr) -> std::io::Result<()> {
    let socket = std::net::UdpSocket::bind((std::net::Ipv4Addr::UNSPECIFIED, 0))?;
    let mut request = interface_request(name);
    request.ifr_ifru.ifru_addr.sa_family = libc::AF_INET as libc::sa_family_t;
    let bytes = address.octets().map(|byte| byte as libc::c_char);
    // SAFETY: the union holds the socket address that the line above began.
    unsafe { request.ifr_ifru.ifru_addr.sa_data[2..6].copy_from_slice(&bytes) };
    // SAFETY: SIOCSIFADDR reads one `ifreq`, which `request` is, for the time of the call.
    unsafe { set_interface_address(socket.as_raw_fd(), &request) }?;
    request.ifr_ifru.ifru_flags = libc::IFF_UP as libc::c_short;
    // SAFETY: SIOCSIFFLAGS reads one `ifreq`, which `request` is, for the time of the call.
    unsafe { set_interface_flags(socket.as_raw_fd(), &request) }?;
    Ok(())
}

#[cfg(test)]
nix::ioctl_write_ptr_bad!(set_interface_address, libc::SIOCSIFADDR, libc::ifreq);
#[cfg(test)]
nix::ioctl_write_ptr_bad!(set_interface_flags, libc::SIOCSIFFLAGS, libc::ifreq);
