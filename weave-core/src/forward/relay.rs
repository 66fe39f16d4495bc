//! Packets for others: check the tag, take a hop off, send on. No cryptography, and for a run that stays
//! together no copy.
//!
//! The envelope stays on to the last hop: so all packets of a run keep their size and the run moves whole from
//! one batch into the other. The path's MTU reckons with the envelope anyway.

use super::run::PushError;
use super::{Came, Progress, Turn, to};
use crate::packet::{Envelope, PacketView};
use crate::{Batch, DropReason, Neighbour, NeighbourIndex, PacketMeta, Remote, Site};

/// Where a packet goes on to: decided for each, the same for a run that moves whole.
#[derive(Clone, Copy)]
struct Decision<'a> {
    from: NeighbourIndex,
    index: NeighbourIndex,
    next: &'a Neighbour,
    ttl: u8,
}

/// What became of a run.
pub(super) enum Run {
    /// It was moved whole.
    Moved,
    /// The output is full. Nothing happened.
    Full,
    /// It must be looked at packet by packet.
    Mixed,
}

/// Moves the front run of `rx` on, if all its packets go to one neighbour.
pub(super) fn move_run(turn: &mut Turn<'_, '_>, rx: &mut Batch<PacketMeta>) -> Run {
    let Some((buffer, meta)) = rx.front_mut() else {
        return Run::Mixed;
    };
    let meta = *meta;
    let run_bytes = buffer.len();
    let mut first: Option<Decision<'_>> = None;
    let mut packets = 0;
    for packet in buffer.bytes().chunks(meta.segment_bytes.max(1)) {
        let Ok(decision) = decide(turn, packet) else {
            return Run::Mixed;
        };
        if first.is_some_and(|first| (first.index, first.from) != (decision.index, decision.from)) {
            return Run::Mixed;
        }
        first = Some(decision);
        packets += 1;
    }
    let Some(Decision { from, next, .. }) = first else {
        return Run::Mixed;
    };
    let Remote::Udp(remote) = next.remote else {
        return Run::Mixed;
    };
    if packets > turn.config.packet_caps.gso_segments_max.max(1) {
        return Run::Mixed;
    }
    if turn.packets.is_full() {
        return Run::Full;
    }
    for packet in buffer.bytes_mut().chunks_mut(meta.segment_bytes.max(1)) {
        // Above 1, or it would not have been decided so.
        let ttl = packet[1] - 1;
        Envelope::rewrite(packet, ttl, next.tag);
    }
    let moved = PacketMeta {
        remote,
        local: None,
        ..meta
    };
    if !rx.move_front(turn.packets, moved) {
        return Run::Full;
    }
    turn.runs.close();
    let packets = packets as u64;
    turn.stats.packets_relayed += packets;
    turn.stats.packets_in += packets;
    turn.stats.packet_bytes_in += run_bytes as u64;
    turn.stats.packets_out += packets;
    turn.stats.packet_bytes_out += run_bytes as u64;
    stamp(turn, from, next);
    Run::Moved
}

/// Copies one packet for somebody else into a run, or drops it.
pub(super) fn copy_packet(turn: &mut Turn<'_, '_>, packet: &[u8], came: &Came) -> Progress {
    let Decision {
        from, next, ttl, ..
    } = match decide(turn, packet) {
        Ok(decision) => decision,
        Err(refused) => {
            if let Some(neighbour) = refused.too_big_for {
                turn.notice_too_big(neighbour);
            }
            turn.count_drop(refused.reason);
            return Progress::Done;
        }
    };
    let pushed = turn.push(to(next, came.ecn), packet.len(), |out| {
        out.copy_from_slice(packet);
        Envelope::rewrite(out, ttl, next.tag);
        Ok(())
    });
    match pushed {
        Ok(()) => {
            turn.stats.packets_relayed += 1;
            stamp(turn, from, next);
            Progress::Done
        }
        Err(PushError::Full) => Progress::OutputFull,
        Err(PushError::Drop(reason)) => {
            turn.count_drop(reason);
            Progress::Done
        }
    }
}

struct Refused {
    reason: DropReason,
    too_big_for: Option<Site>,
}

/// Where `packet` goes on to, with which TTL. Refused when it is no packet for somebody else, too.
fn decide<'a>(turn: &Turn<'a, '_>, packet: &[u8]) -> Result<Decision<'a>, Refused> {
    let refused = |reason| Refused {
        reason,
        too_big_for: None,
    };
    let fib = turn.view.fib;
    let envelope = PacketView::new_checked(packet)
        .ok()
        .and_then(|view| view.envelope())
        .filter(|envelope| envelope.destination != fib.local)
        .ok_or_else(|| refused(DropReason::PacketMalformed))?;
    let from = *fib
        .tags
        .get(&envelope.tag)
        .ok_or_else(|| refused(DropReason::UnknownTag))?;
    if envelope.ttl <= 1 {
        return Err(refused(DropReason::TtlExpired));
    }
    let unknown = || refused(DropReason::UnknownDestination);
    let index = *fib.relays.get(&envelope.destination).ok_or_else(unknown)?;
    let next = fib.neighbour(index).ok_or_else(unknown)?;
    if packet.len() > next.relayed_bytes_max() {
        return Err(Refused {
            reason: DropReason::TooBig,
            too_big_for: Some(next.site),
        });
    }
    Ok(Decision {
        from,
        index,
        next,
        ttl: envelope.ttl - 1,
    })
}

/// Frames went from one neighbour to the other: both are active.
fn stamp(turn: &mut Turn<'_, '_>, from: NeighbourIndex, next: &Neighbour) {
    if let Some(from) = turn.view.fib.neighbour(from) {
        turn.stamp_unicast(&from.heard, from.site);
    }
    turn.stamp_unicast(&next.heard, next.site);
}
