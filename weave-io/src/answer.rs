//! The router's own address on the overlay: a station that answers ARP, neighbour discovery and pings.
//!
//! [`Answering`] is a decorator of a frame port, a switch with three plugs: the port, the station, and the router
//! behind. A frame for the station's MAC address reaches the station alone, one for a group reaches it too, and
//! its answers go where the question came from.
//!
//! ```text
//!   port <──────────────────────> forwarder
//!      \ for the MAC, for a group /
//!       └──────> station <───────┘
//! ```
//!
//! The station answers each frame out of that frame alone: it keeps no neighbour table and no half-built packets,
//! so it needs no clock, forgets nothing in a restart, and a stranger can fill nothing. All other frames cost one
//! look at their destination.

mod reply;

use std::io;
use std::net::IpAddr;

use smoltcp::wire::EthernetAddress;
use weave_core::{BUFFER_BYTES, Batch, Buffer, FrameCaps, FrameIo, FrameMeta, Missed, PeerId};

use reply::Audience;

/// A station on the overlay: a MAC address, and the IP addresses that it answers for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Station {
    mac: EthernetAddress,
    addresses: Vec<IpAddr>,
}

impl Station {
    /// The station of the router `peer`, with the [MAC address](PeerId::mac) that follows from its identity.
    ///
    /// It answers whoever asks, whatever its own address: what a prefix would be for, sending first, it never does. The
    /// router announces it ([`Config::addresses`](weave_core::Config)).
    pub fn new(peer: PeerId, addresses: impl IntoIterator<Item = IpAddr>) -> Self {
        Self {
            mac: EthernetAddress(peer.mac()),
            addresses: addresses.into_iter().collect(),
        }
    }

    /// Its MAC address.
    pub fn mac(&self) -> EthernetAddress {
        self.mac
    }

    fn owns(&self, address: impl Into<IpAddr>) -> bool {
        self.addresses.contains(&address.into())
    }

    /// Whether a frame concerns the station at all, and whether nobody else.
    fn concerns(&self, frame: &[u8]) -> Concern {
        match frame.first_chunk::<6>() {
            Some(to) if *to == self.mac.0 => Concern::StationOnly,
            Some(to) if to[0] & GROUP_BIT != 0 => Concern::StationToo,
            _ => Concern::Others,
        }
    }
}

/// Whom a frame is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Concern {
    Others,
    StationToo,
    StationOnly,
}

/// A frame port, or none, with a [`Station`] beside it.
///
/// Its abilities are the port's; without a port it takes whole frames of any size.
#[derive(Debug)]
pub struct Answering<F> {
    port: Option<F>,
    station: Station,
    /// Answers that wait for the next `recv`.
    to_mesh: Batch<FrameMeta>,
    /// Answers for the port; empty between calls.
    to_port: Batch<FrameMeta>,
    /// The last `recv` left frames in the port, and may have handed none of those it took to the caller.
    port_has_more: bool,
    /// Answers for which there was no room, and frames for a group that were not looked at for the same reason.
    lost: u64,
}

impl<F: FrameIo> Answering<F> {
    /// A station beside a port; without one it is all that there is on this router's part of the switch.
    pub fn new(port: Option<F>, station: Station) -> Self {
        Self {
            port,
            station,
            to_mesh: Batch::new(ANSWERS_MAX, BUFFER_BYTES),
            to_port: Batch::new(ANSWERS_MAX, BUFFER_BYTES),
            port_has_more: false,
            lost: 0,
        }
    }

    /// The router has another identity from now on, and its station that one's MAC address.
    pub fn set_peer(&mut self, peer: PeerId) {
        self.station.mac = EthernetAddress(peer.mac());
    }

    /// Shows the station those frames of `batch`, from number `from` on, that concern it, and takes out what is
    /// for nobody else.
    fn show(&mut self, batch: &mut Batch<FrameMeta>, from: usize, asker: Side) {
        batch.retain(from, |buffer, meta| {
            let concern = self.station.concerns(buffer.bytes());
            if concern == Concern::Others {
                return true;
            }
            self.answer(buffer, meta, asker);
            concern == Concern::StationToo
        });
    }

    fn answer(&mut self, question: &Buffer, meta: &FrameMeta, asker: Side) {
        let (near, far) = match asker {
            Side::Port => (&mut self.to_port, &mut self.to_mesh),
            Side::Mesh => (&mut self.to_mesh, &mut self.to_port),
        };
        let Some(buffer) = near.free() else {
            self.lost += 1;
            return;
        };
        let Some(audience) = reply::to(&self.station, question.bytes(), &meta.offload, buffer)
        else {
            return;
        };
        if audience == Audience::Everybody {
            let copied = far.free().is_some_and(|copy| copy.append(buffer.bytes()));
            if copied {
                far.commit(FrameMeta::default());
            } else {
                self.lost += 1;
            }
        }
        near.commit(FrameMeta::default());
    }

    /// Sends what stands in `to_port`. What the port does not take now is lost, as it would be on a wire.
    fn flush_to_port(&mut self) -> io::Result<()> {
        if self.to_port.is_empty() {
            return Ok(());
        }
        if let Some(port) = &mut self.port {
            port.send(&mut self.to_port)?;
            self.lost += self.to_port.len() as u64;
        }
        self.to_port.clear();
        Ok(())
    }
}

impl<F: FrameIo> FrameIo for Answering<F> {
    fn caps(&self) -> FrameCaps {
        self.port.as_ref().map_or(WITHOUT_PORT, FrameIo::caps)
    }

    fn recv(&mut self, rx: &mut Batch<FrameMeta>) -> io::Result<usize> {
        let before = rx.len();
        while let (Some((bytes, meta)), Some(buffer)) = (self.to_mesh.front(), rx.free()) {
            if buffer.append(bytes) {
                rx.commit(*meta);
            } else {
                self.lost += 1;
            }
            self.to_mesh.pop();
        }
        if let Some(port) = &mut self.port {
            let from = rx.len();
            port.recv(rx)?;
            self.port_has_more = rx.is_full() || port.has_ready();
            self.show(rx, from, Side::Port);
            self.flush_to_port()?;
        }
        Ok(rx.len() - before)
    }

    /// A frame for a group that stays in `tx`, since the port takes no more, and is given again is shown to the
    /// station again: the second answer does no harm.
    fn send(&mut self, tx: &mut Batch<FrameMeta>) -> io::Result<usize> {
        let before = tx.len();
        self.show(tx, 0, Side::Mesh);
        match &mut self.port {
            Some(port) => {
                port.send(tx)?;
            }
            // Nobody else is there to hear it.
            None => tx.clear(),
        }
        self.flush_to_port()?;
        Ok(before - tx.len())
    }

    fn refused(&self) -> u64 {
        self.lost + self.port.as_ref().map_or(0, FrameIo::refused)
    }

    fn missed(&self) -> Missed {
        self.port
            .as_ref()
            .map_or_else(Missed::default, FrameIo::missed)
    }

    fn has_ready(&self) -> bool {
        !self.to_mesh.is_empty() || self.port_has_more
    }
}

/// Where a question came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Port,
    Mesh,
}

/// Lowest bit of a MAC address's first byte: a group of stations, or all.
const GROUP_BIT: u8 = 0x01;

/// Answers that wait: one for each frame that a turn of the worker receives or sends.
const ANSWERS_MAX: usize = 16;

/// What the station takes where there is no port: frames that are no super-frames, of any size.
const WITHOUT_PORT: FrameCaps = FrameCaps {
    frame_bytes_max: 65_535 + 14,
    segmentation: false,
    checksum: false,
};

#[cfg(test)]
mod tests;
