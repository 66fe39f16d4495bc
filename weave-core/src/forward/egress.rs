//! Packets from the network: open, check for replay, and do what their kind asks for.

use std::collections::VecDeque;
use std::ops::Range;
use std::time::{Duration, Instant};

use weave_mesh::{PROBE_BYTES, Probe, ProbeKind};

use super::flood::Floods;
use super::ingress::flood_target;
use super::pieces::{Arrival, Source, Whole};
use super::relay::{self, Run};
use super::run::{self, PushError};
use super::{Came, Limits, Progress, Sealing, To, Turn, checksum, not_here, to};
use crate::frame::{self, EcnOut, FrameView};
use crate::packet::{
    self, Entries, Entry, EntryHeader, FloodHeader, Kind, PacketError, PacketView,
    SEALED_HEADER_BYTES, TAG_BYTES,
};
use crate::{
    Batch, DropReason, Ecn, FrameMeta, NeighbourIndex, Note, Notice, Offload, PacketMeta,
    PartialChecksum, Receiver, Site,
};

/// Notices of packets for a receiver index that is not ours are at least this far apart: anybody can send one.
const UNKNOWN_RECEIVER_INTERVAL: Duration = Duration::from_secs(1);

/// How far the front run came, kept when the output was full.
#[derive(Debug, Default)]
pub(super) struct Cursor {
    /// Where the next packet begins in the run.
    at: usize,
    /// The packet there is open already, and this of it is left to do.
    opened: Option<Opened>,
}

/// A packet that was opened and accepted: what is left to do with its body.
#[derive(Debug)]
enum Opened {
    Unicast {
        site: Site,
        /// The entries that are left, in the run.
        entries: Range<usize>,
    },
    Flood {
        header: FloodHeader,
        from: NeighbourIndex,
        /// The entry, in the run.
        entry: Range<usize>,
        delivered: bool,
        /// Which child is next.
        target: usize,
    },
}

/// What became of one packet.
enum Step {
    /// Nothing is left to do with it.
    Done,
    /// The output is full. Nothing happened.
    Full,
    /// Opened.
    Opened(Opened),
}

/// Takes runs from `rx` until it is empty or the output is full.
pub(super) fn handle(
    turn: &mut Turn<'_, '_>,
    cursor: &mut Cursor,
    floods: &mut Floods,
    limits: &mut Limits,
    rx: &mut Batch<PacketMeta>,
) -> Progress {
    while !rx.is_empty() {
        if cursor.at == 0 && cursor.opened.is_none() {
            match relay::move_run(turn, rx) {
                Run::Moved => continue,
                Run::Full => return Progress::OutputFull,
                Run::Mixed => {}
            }
        }
        let Some((buffer, meta)) = rx.front_mut() else {
            break;
        };
        let came = Came::from(&*meta);
        if handle_run(turn, cursor, floods, limits, buffer.bytes_mut(), &came)
            == Progress::OutputFull
        {
            return Progress::OutputFull;
        }
        *cursor = Cursor::default();
        rx.pop();
    }
    Progress::Done
}

/// Takes packets that came down streams from `rx` until it is empty or the output is full.
pub(super) fn handle_streamed(
    turn: &mut Turn<'_, '_>,
    cursor: &mut Cursor,
    floods: &mut Floods,
    limits: &mut Limits,
    rx: &mut VecDeque<Vec<u8>>,
) -> Progress {
    while let Some(packet) = rx.front_mut() {
        let came = Came {
            remote: None,
            local: None,
            ecn: Ecn::NotEct,
            segment_bytes: packet.len(),
        };
        if handle_run(turn, cursor, floods, limits, packet, &came) == Progress::OutputFull {
            return Progress::OutputFull;
        }
        *cursor = Cursor::default();
        rx.pop_front();
    }
    Progress::Done
}

/// Handles the packets of one run that are left.
fn handle_run(
    turn: &mut Turn<'_, '_>,
    cursor: &mut Cursor,
    floods: &mut Floods,
    limits: &mut Limits,
    run: &mut [u8],
    came: &Came,
) -> Progress {
    while cursor.at < run.len() {
        let packet = cursor.at..(cursor.at + came.segment_bytes.max(1)).min(run.len());
        if cursor.opened.is_none() {
            // Whatever the packet is, its first output has a place: an answer to a probe needs no memory of
            // having been opened.
            if turn.packets.is_full() || turn.port_is_full() {
                return Progress::OutputFull;
            }
            let packet_bytes = packet.len();
            match take(turn, floods, limits, run, packet.clone(), came) {
                Step::Full => return Progress::OutputFull,
                Step::Done => {}
                Step::Opened(opened) => cursor.opened = Some(opened),
            }
            turn.stats.packets_in += 1;
            turn.stats.packet_bytes_in += packet_bytes as u64;
        }
        if let Some(opened) = &mut cursor.opened
            && deliver(turn, opened, run, came.ecn) == Progress::OutputFull
        {
            return Progress::OutputFull;
        }
        cursor.opened = None;
        cursor.at = packet.end;
    }
    Progress::Done
}

/// Looks at one packet of a run, opens it if it is for us, and does all that needs no more than one output
/// buffer.
fn take(
    turn: &mut Turn<'_, '_>,
    floods: &mut Floods,
    limits: &mut Limits,
    run: &mut [u8],
    range: Range<usize>,
    came: &Came,
) -> Step {
    let fib = turn.view.fib;
    let packet = &mut run[range.clone()];
    let Ok(view) = PacketView::new_checked(packet) else {
        return dropped(turn, DropReason::PacketMalformed);
    };
    let (header, sealed_at) = (view.sealed(), view.sealed_at());
    let mut relay = None;
    if let Some(envelope) = view.envelope() {
        if envelope.destination != fib.local {
            return match relay::copy_packet(turn, packet, came) {
                Progress::Done => Step::Done,
                Progress::OutputFull => Step::Full,
            };
        }
        let Some(from) = fib.tags.get(&envelope.tag) else {
            return dropped(turn, DropReason::UnknownTag);
        };
        relay = fib.neighbour(*from);
    }
    let Some(receiver) = fib.receivers.get(&header.receiver) else {
        let limited = limits
            .unknown_receiver
            .is_some_and(|at| turn.now.saturating_duration_since(at) < UNKNOWN_RECEIVER_INTERVAL);
        if !limited && let Some(remote) = came.remote {
            limits.unknown_receiver = Some(turn.now);
            turn.notices.push(Notice::UnknownReceiver { remote });
        }
        return dropped(turn, DropReason::UnknownReceiver);
    };
    let body_bytes = match open(receiver, header.counter, &mut packet[sealed_at..]) {
        Ok(body_bytes) => body_bytes,
        Err(reason) => return dropped(turn, reason),
    };
    if receiver.keys.confirm() {
        turn.notices.push(Notice::Confirmed {
            index: header.receiver,
        });
    }
    let last_heard = receiver.heard.last(fib.epoch);
    if relay.is_none() && came.remote.is_some() {
        // What a relay or a stream brought says nothing about the path of datagrams, with a link or without.
        receiver.heard.stamp(fib.epoch, turn.now);
    }
    let body_at = range.start + sealed_at + SEALED_HEADER_BYTES;
    let body = body_at..body_at + body_bytes;
    match header.kind {
        Kind::Unicast => {
            if whole(&run[body.clone()]).is_err() {
                return dropped(turn, DropReason::BodyMalformed);
            }
            turn.stamp_unicast(&receiver.heard, receiver.site);
            if let Some(relay) = relay {
                turn.stamp_unicast(&relay.heard, relay.site);
            }
            Step::Opened(Opened::Unicast {
                site: receiver.site,
                entries: body,
            })
        }
        Kind::Flood => match take_flood(turn, floods, receiver, &run[body.clone()]) {
            Ok((header, from)) => Step::Opened(Opened::Flood {
                header,
                from,
                entry: body.start + packet::FLOOD_HEADER_BYTES..body.end,
                delivered: false,
                target: 0,
            }),
            Err(reason) => dropped(turn, reason),
        },
        Kind::Probe => take_probe(turn, receiver, last_heard, &run[body], came),
        Kind::Note => {
            let Ok(note) = Note::parse(&run[body]) else {
                return dropped(turn, DropReason::BodyMalformed);
            };
            // Nothing for the control plane, and it may come often.
            if let Note::NotHere { mac } = note {
                if turn.view.macs.forget_at(mac, receiver.site) {
                    turn.stats.not_here_obeyed += 1;
                }
                return Step::Done;
            }
            turn.notices.push(Notice::Note {
                site: receiver.site,
                note,
            });
            Step::Done
        }
        // The view lets no envelope stand where a sealed packet is due.
        Kind::Relay => dropped(turn, DropReason::PacketMalformed),
    }
}

/// Opens a sealed packet in place, and checks that it is the first of its counter. Gives the body's length.
fn open(receiver: &Receiver, counter: u64, sealed: &mut [u8]) -> Result<usize, DropReason> {
    let (header, body_and_tag) = sealed.split_at_mut(SEALED_HEADER_BYTES);
    let body_bytes = body_and_tag.len() - TAG_BYTES;
    if receiver.keys.open(counter, header, body_and_tag).is_err() {
        return Err(DropReason::NotGenuine);
    }
    let mut accepted = true;
    receiver
        .keys
        .accept(&[counter], |_, verdict| accepted = verdict.is_ok());
    if accepted {
        Ok(body_bytes)
    } else {
        Err(DropReason::Replayed)
    }
}

/// Checks every entry of a unicast body before the first is delivered: a body is right or refused whole.
fn whole(body: &[u8]) -> Result<(), PacketError> {
    Entries::new(body).try_for_each(|entry| entry.map(drop))
}

/// Checks an opened flood.
fn take_flood(
    turn: &mut Turn<'_, '_>,
    floods: &mut Floods,
    receiver: &Receiver,
    body: &[u8],
) -> Result<(FloodHeader, NeighbourIndex), DropReason> {
    let from = receiver.neighbour.ok_or(DropReason::FloodForeign)?;
    let (header, entries) = FloodHeader::parse(body).map_err(|_| DropReason::BodyMalformed)?;
    let mut entries = Entries::new(entries);
    let (Some(Ok(entry)), true) = (entries.next(), entries.rest().is_empty()) else {
        return Err(DropReason::BodyMalformed);
    };
    if header.origin == turn.view.fib.local {
        return Err(DropReason::FloodReturned);
    }
    let discovery = entry.header.piece.is_none()
        && FrameView::new_checked(entry.bytes).is_some_and(|view| view.is_discovery());
    floods.accept(turn.now, &header, discovery)?;
    Ok((header, from))
}

/// Reports a probe, and answers a challenge to where it came from. `last_heard` is from before this packet.
fn take_probe(
    turn: &mut Turn<'_, '_>,
    receiver: &Receiver,
    last_heard: Option<Instant>,
    body: &[u8],
    came: &Came,
) -> Step {
    // A stream's own probes are control messages: these are about datagrams.
    let (Ok(probe), Some(remote)) = (Probe::parse(body), came.remote) else {
        return dropped(turn, DropReason::BodyMalformed);
    };
    turn.notices.push(Notice::Probe {
        site: receiver.site,
        remote,
        probe,
    });
    if probe.kind != ProbeKind::Challenge {
        return Step::Done;
    }
    let age = last_heard.map(|at| turn.now.saturating_duration_since(at));
    let answer = probe.answer(Probe::age_ms(age), remote);
    let back = To::Udp(run::To {
        remote,
        local: came.local,
        ecn: Ecn::NotEct,
    });
    let packet_bytes = SEALED_HEADER_BYTES + PROBE_BYTES + TAG_BYTES;
    let pushed = turn.push(back, packet_bytes, |packet| {
        let body = &mut packet[SEALED_HEADER_BYTES..][..PROBE_BYTES];
        let _bytes = answer.emit(body);
        packet::seal_in_place(&receiver.keys, Kind::Probe, packet)
            .map_err(|_| DropReason::CounterExhausted)
    });
    if let Err(PushError::Drop(reason)) = pushed {
        turn.count_drop(reason);
    }
    Step::Done
}

/// Does what is left to do with an opened packet.
fn deliver(turn: &mut Turn<'_, '_>, opened: &mut Opened, run: &[u8], ecn: Ecn) -> Progress {
    match opened {
        Opened::Unicast { site, entries } => {
            while let Some((entry, rest)) = first_entry(run, entries) {
                if turn.port_is_full() {
                    return Progress::OutputFull;
                }
                deliver_entry(turn, &entry, Source::Unicast(*site), Some(*site), ecn);
                entries.start = entries.end - rest;
            }
            Progress::Done
        }
        Opened::Flood {
            header,
            from,
            entry: range,
            delivered,
            target,
        } => {
            let Some((entry, _)) = first_entry(run, range) else {
                return Progress::Done;
            };
            if !*delivered {
                if turn.port_is_full() {
                    return Progress::OutputFull;
                }
                let origin = turn.view.fib.origins.get(&header.origin);
                if let Some(origin) = origin {
                    turn.stamp_flood(origin);
                }
                if turn.view.fib.denied.contains(&header.origin) {
                    turn.count_drop(DropReason::Denied);
                } else {
                    let site = origin.map(|origin| origin.site);
                    deliver_entry(turn, &entry, Source::Flood(header.origin), site, ecn);
                }
                *delivered = true;
            }
            pass_on(turn, header, *from, &entry, target, ecn)
        }
    }
}

/// Passes a flood on to the children of its origin's tree, beginning with number `target`.
fn pass_on(
    turn: &mut Turn<'_, '_>,
    header: &FloodHeader,
    from: NeighbourIndex,
    entry: &Entry<'_>,
    target: &mut usize,
    ecn: Ecn,
) -> Progress {
    let fib = turn.view.fib;
    let sender = fib.neighbour(from).map(|neighbour| neighbour.site);
    while let Some(child) = flood_target(turn, &header.origin, *target) {
        if let Some((neighbour, keys)) = child
            && Some(neighbour.site) != sender
        {
            if header.ttl <= 1 {
                turn.count_drop(DropReason::TtlExpired);
                break;
            }
            let sealing = Sealing {
                to: to(neighbour, ecn),
                keys,
                envelope: None,
                flood: Some(FloodHeader {
                    ttl: header.ttl - 1,
                    ..*header
                }),
                packet_bytes_max: neighbour.relayed_bytes_max(),
            };
            let pushed = turn.seal_entry(&sealing, entry.header, entry.bytes.len(), |out| {
                out.copy_from_slice(entry.bytes);
            });
            match pushed {
                Ok(()) => turn.stats.floods_passed += 1,
                Err(PushError::Full) => return Progress::OutputFull,
                Err(PushError::Drop(reason)) => {
                    if reason == DropReason::TooBig {
                        turn.notice_too_big(neighbour.site);
                    }
                    turn.count_drop(reason);
                }
            }
        }
        *target += 1;
    }
    Progress::Done
}

/// The first entry in a range of the run, and how many bytes of the range are behind it. The entries were
/// checked when the packet was opened.
fn first_entry<'r>(run: &'r [u8], range: &Range<usize>) -> Option<(Entry<'r>, usize)> {
    let mut entries = Entries::new(run.get(range.clone())?);
    let entry = entries.next()?.ok()?;
    Some((entry, entries.rest().len()))
}

/// Learns from an entry's frame and writes it to the port: at once, or with the last of its pieces. The output has
/// a free buffer.
fn deliver_entry(
    turn: &mut Turn<'_, '_>,
    entry: &Entry<'_>,
    source: Source,
    site: Option<Site>,
    ecn: Ecn,
) {
    let is_flood = matches!(source, Source::Flood(_));
    let Some(piece) = entry.header.piece else {
        deliver_frame(turn, entry, site, ecn, is_flood);
        return;
    };
    if !turn.config.has_port {
        if !is_flood {
            turn.count_drop(DropReason::NoRoute);
        }
        return;
    }
    let arrival = Arrival {
        source,
        piece,
        checksum: entry.header.checksum,
        ecn,
        bytes: entry.bytes,
    };
    let bytes_max = turn.config.frame_caps.frame_bytes_max;
    let whole = turn
        .oversize
        .assembly
        .take(turn.now, &arrival, bytes_max, turn.stats);
    let Some(Whole {
        bytes,
        checksum,
        ecn,
    }) = whole
    else {
        return;
    };
    let header = EntryHeader {
        checksum,
        ..EntryHeader::default()
    };
    if header.suits(&bytes) {
        turn.stats.frames_joined += 1;
        let entry = Entry {
            header,
            bytes: &bytes,
        };
        deliver_frame(turn, &entry, site, ecn, is_flood);
    } else {
        turn.count_drop(DropReason::PieceRefused);
    }
    turn.oversize.assembly.recycle(bytes);
}

/// Learns from a whole frame and writes it to the port. A flood that meets no port was passed on all the same.
fn deliver_frame(
    turn: &mut Turn<'_, '_>,
    entry: &Entry<'_>,
    site: Option<Site>,
    ecn: Ecn,
    is_flood: bool,
) {
    let fib = turn.view.fib;
    let is_there_already = site.is_some_and(|site| fib.mates.contains(&site));
    if turn.config.has_port && (is_there_already || fib.port_is_blocked && is_flood) {
        turn.count_drop(DropReason::SharedSegment);
    }
    if is_there_already {
        return;
    }
    if let (Some(site), Some(view)) = (site, FrameView::new_checked(entry.bytes)) {
        turn.learn(view, site);
        if !is_flood {
            not_here::tell(turn, view.destination(), site);
        }
    }
    if is_flood && fib.port_is_blocked {
        return;
    }
    if turn.config.has_port || !is_flood {
        write_frame(turn, entry, ecn);
    }
}

/// Writes an entry's frame to the port, or counts why not. The output has a free buffer.
fn write_frame(turn: &mut Turn<'_, '_>, entry: &Entry<'_>, ecn: Ecn) {
    match try_write_frame(turn, entry, ecn) {
        Ok(()) => {
            turn.stats.frames_out += 1;
            turn.stats.frame_bytes_out += entry.bytes.len() as u64;
        }
        Err(reason) => turn.count_drop(reason),
    }
}

fn try_write_frame(turn: &mut Turn<'_, '_>, entry: &Entry<'_>, ecn: Ecn) -> Result<(), DropReason> {
    if !turn.config.has_port {
        return Err(DropReason::NoRoute);
    }
    let caps = &turn.config.frame_caps;
    let buffer = turn.frames.free().ok_or(DropReason::PortFull)?;
    if entry.bytes.len() > caps.frame_bytes_max || !buffer.append(entry.bytes) {
        return Err(DropReason::TooBig);
    }
    let frame = buffer.bytes_mut();
    if frame::decapsulate_ecn(frame, ecn) == EcnOut::Drop {
        return Err(DropReason::Congested);
    }
    // That the field lies within the frame was checked with the entry.
    let partial = entry.header.checksum.map(|open| PartialChecksum {
        start: open.start.into(),
        offset: open.offset(),
    });
    let checksum = match partial {
        Some(partial) if !caps.checksum => {
            if !checksum::finish(frame, partial) {
                return Err(DropReason::BodyMalformed);
            }
            None
        }
        partial => partial,
    };
    turn.frames.commit(FrameMeta {
        offload: Offload {
            checksum,
            segments: None,
        },
    });
    Ok(())
}

fn dropped(turn: &mut Turn<'_, '_>, reason: DropReason) -> Step {
    turn.count_drop(reason);
    Step::Done
}
