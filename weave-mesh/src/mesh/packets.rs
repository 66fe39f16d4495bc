//! Data packets on the streams of links whose UDP does not pass.
//!
//! They must not hold up control messages, so a link's packets wait in a queue of their own, and a few go down the
//! stream each time that the driver says that nothing else is unsent there:
//!
//! ```text
//!  send_packet ──► queue, 64 KiB, 50 ms ──► AwaitDrained ──► handle_drained ──► 16 KiB of messages, and again
//! ```

use std::time::Instant;

use weave_crypto::PeerId;

use super::{Action, Mesh};
use crate::conn::{Conn, ConnId};
use crate::wire::{Control, STREAM_PACKET_BYTES_MAX};

/// Bytes of packets written at once: control messages wait no longer than these take, some 13 ms at 10 Mb/s.
const WRITE_BYTES_MAX: usize = 16 * 1024;

impl Mesh {
    /// Sends a sealed packet, made at `at`, down a neighbour's stream, as soon as that has room for it. Full, the
    /// link's queue drops the oldest ([`PacketQueue`](crate::PacketQueue)); without a stream the packet is dropped.
    pub fn send_packet(&mut self, now: Instant, peer: PeerId, at: Instant, packet: Vec<u8>) {
        self.now = now;
        // Nothing else follows from a packet that waits.
        let link = self.links.get_untouched(&peer);
        let is_short = packet.len() <= STREAM_PACKET_BYTES_MAX;
        let Some((link, conn)) =
            link.and_then(|link| link.conn.filter(|_| is_short).map(|conn| (link, conn)))
        else {
            self.stats.packets_dropped += 1;
            return;
        };
        let before = link.packets.dropped();
        link.packets.push(at, packet);
        self.stats.packets_dropped += link.packets.dropped() - before;
        if !std::mem::replace(&mut link.awaits_drained, true) {
            self.actions.push_back(Action::AwaitDrained { conn });
        }
    }

    /// The answer to [`Action::AwaitDrained`]: all that was written to a connection is on its way.
    pub fn handle_drained(&mut self, now: Instant, conn: ConnId) {
        self.now = now;
        let session = self.conns.get(&conn).and_then(Conn::session);
        let Some(peer) = session.map(|session| session.peer) else {
            return;
        };
        let Some(link) = self.links.get_untouched(&peer) else {
            return;
        };
        if link.conn != Some(conn) {
            return;
        }
        let before = link.packets.dropped();
        let mut packets = Vec::new();
        let mut bytes = 0;
        while bytes < WRITE_BYTES_MAX
            && let Some((_, packet)) = link.packets.pop(now)
        {
            bytes += packet.len();
            packets.push(packet);
        }
        self.stats.packets_dropped += link.packets.dropped() - before;
        link.awaits_drained = !link.packets.is_empty();
        let awaits_drained = link.awaits_drained;
        self.stats.packets_sent += packets.len() as u64;
        for packet in packets {
            self.say(conn, &Control::Packet(packet));
        }
        self.flush();
        if awaits_drained {
            self.actions.push_back(Action::AwaitDrained { conn });
        }
    }
}
