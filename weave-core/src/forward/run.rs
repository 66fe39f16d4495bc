//! Runs: packets of equal size to one place, back to back in one buffer, for one system call.

use std::net::{IpAddr, SocketAddr};

use crate::{Batch, DropReason, Ecn, PacketMeta};

/// The most bytes of a run: what one `sendmsg` with UDP_SEGMENT takes over IPv4 (65,535 - 20 - 8).
const RUN_BYTES_MAX: usize = 65_507;

/// What all packets of a run have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct To {
    pub(super) remote: SocketAddr,
    pub(super) local: Option<IpAddr>,
    pub(super) ecn: Ecn,
}

/// A packet did not get into a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PushError {
    /// The batch has no free buffer. Nothing happened.
    Full,
    /// The packet can't be made. Nothing of it is left.
    Drop(DropReason),
}

/// Builds runs at the back of a batch. Lives for one call, so that no run is held over its end.
#[derive(Debug)]
pub(super) struct Runs {
    packets_max: usize,
    open: Option<Open>,
}

/// The batch's last buffer, while more packets may be appended.
#[derive(Debug, Clone, Copy)]
struct Open {
    to: To,
    segment_bytes: usize,
    packets: usize,
}

impl Runs {
    /// Runs of at most `packets_max` packets.
    pub(super) fn new(packets_max: usize) -> Self {
        Self {
            packets_max,
            open: None,
        }
    }

    /// Ends the open run: something else goes into the batch behind it.
    pub(super) fn close(&mut self) {
        self.open = None;
    }

    /// Ends the open run unless `packets` of equal size fit into it whole: a super-frame spread over two runs
    /// costs the receiver two writes.
    pub(super) fn make_room(&mut self, to: To, packets: usize, packet_bytes: usize) {
        if let Some(open) = self.open {
            let packets = open.packets + packets;
            if open.to != to
                || open.segment_bytes != packet_bytes
                || packets > self.packets_max
                || packets * packet_bytes > RUN_BYTES_MAX
            {
                self.open = None;
            }
        }
    }

    /// Appends a packet to the open run where it fits, else opens a new run. `write` fills the packet.
    pub(super) fn push(
        &mut self,
        batch: &mut Batch<PacketMeta>,
        to: To,
        packet_bytes: usize,
        write: impl FnOnce(&mut [u8]) -> Result<(), DropReason>,
    ) -> Result<(), PushError> {
        if let Some(open) = &mut self.open
            && open.to == to
            && packet_bytes <= open.segment_bytes
            && open.packets < self.packets_max
            && let Some((buffer, _)) = batch.back_mut()
            && buffer.len() + packet_bytes <= RUN_BYTES_MAX
            && packet_bytes <= buffer.room()
        {
            let before = buffer.len();
            buffer.grow(packet_bytes);
            if let Err(reason) = write(&mut buffer.bytes_mut()[before..]) {
                buffer.truncate(before);
                return Err(PushError::Drop(reason));
            }
            open.packets += 1;
            if packet_bytes < open.segment_bytes {
                // A shorter packet is the last of its run.
                self.open = None;
            }
            return Ok(());
        }
        self.open = None;
        let buffer = batch.free().ok_or(PushError::Full)?;
        if packet_bytes > buffer.room() || packet_bytes > RUN_BYTES_MAX {
            return Err(PushError::Drop(DropReason::TooBig));
        }
        buffer.grow(packet_bytes);
        write(buffer.bytes_mut()).map_err(PushError::Drop)?;
        batch.commit(PacketMeta {
            remote: to.remote,
            local: to.local,
            segment_bytes: packet_bytes,
            ecn: to.ecn,
        });
        self.open = Some(Open {
            to,
            segment_bytes: packet_bytes,
            packets: 1,
        });
        Ok(())
    }
}
