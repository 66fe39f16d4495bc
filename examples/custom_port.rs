//! A frame port of one's own: a TAP device that the crate `tun-tap` opens, behind the trait `FrameIo`, with a whole
//! router on it. Needs root, to make the device.
//!
//! Makes the device `custom0` with the address given, and joins it to the network of the peers given. On two hosts:
//!
//! ```text
//! host1# custom_port 10.32.1.1/24
//! host2# custom_port 10.32.1.2/24 host1
//! host2$ ping 10.32.1.1
//! ```
//!
//! Run with `cargo run -p weave-examples --example custom_port -- 10.32.1.1/24`; Ctrl-C ends it.
#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use std::error::Error;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use tun_tap::{Iface, Mode};
use weave_core::{Batch, FrameCaps, FrameIo, FrameMeta};
use weave_examples::{MTU_BYTES, run_router};
use weave_io::FramePort;
use weave_io::host::{Cidr, Netlink};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let Some(address) = arguments.next() else {
        return Err("usage: custom_port ADDRESS/PREFIX [PEER]...".into());
    };
    let address: Cidr = address.parse()?;
    let peers: Vec<String> = arguments.collect();

    let port =
        ForeignTap::open(DEVICE).map_err(|error| format!("{DEVICE}: {error}; are you root?"))?;
    let netlink = Netlink::open()?;
    netlink.set_mtu(DEVICE, MTU_BYTES.into())?;
    netlink.add_address(DEVICE, address)?;
    netlink.set_up(DEVICE)?;
    println!("{DEVICE} is {address}; Ctrl-C ends it");
    run_router(FramePort::with_descriptor(port)?, DEVICE, &peers)
}

/// The foreign device. All that a router asks of it stands below: what it can do, take frames, give frames, and a
/// descriptor that tells when there are some.
struct ForeignTap {
    iface: Iface,
    refused: u64,
}

impl ForeignTap {
    fn open(name: &str) -> io::Result<Self> {
        let iface = Iface::without_packet_info(name, Mode::Tap)?;
        // A port never blocks.
        iface.set_non_blocking()?;
        Ok(Self { iface, refused: 0 })
    }
}

impl FrameIo for ForeignTap {
    fn caps(&self) -> FrameCaps {
        FrameCaps {
            // With an Ethernet header and a VLAN tag.
            frame_bytes_max: usize::from(MTU_BYTES) + 18,
            // The crate knows nothing of either, so the kernel hands over whole frames, and wants such.
            segmentation: false,
            checksum: false,
        }
    }

    fn recv(&mut self, rx: &mut Batch<FrameMeta>) -> io::Result<usize> {
        let mut count = 0;
        while let Some(buffer) = rx.free() {
            match self.iface.recv(buffer.spare_mut()) {
                Ok(length) => {
                    buffer.grow(length);
                    rx.commit(FrameMeta::default());
                    count += 1;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                // The device is down or gone, which ends the router.
                Err(error) => return Err(error),
            }
        }
        Ok(count)
    }

    fn send(&mut self, tx: &mut Batch<FrameMeta>) -> io::Result<usize> {
        let mut count = 0;
        while let Some((frame, _)) = tx.front() {
            match self.iface.send(frame) {
                Ok(_) => {}
                // What stays in the batch could not be sent now; the router counts it as dropped.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(_) => self.refused += 1,
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

impl AsFd for ForeignTap {
    #[allow(unsafe_code, reason = "the crate is older than the trait")]
    fn as_fd(&self) -> BorrowedFd<'_> {
        // SAFETY: the descriptor is open as long as `iface`, from which this borrows.
        unsafe { BorrowedFd::borrow_raw(self.iface.as_raw_fd()) }
    }
}

const DEVICE: &str = "custom0";
