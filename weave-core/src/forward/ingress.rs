//! Frames from the port: learn, look up, seal.

use std::sync::atomic::Ordering;
use std::time::Duration;

use smoltcp::wire::IpProtocol;
use weave_mesh::PATH_MTU_BYTES_BASE;

use super::asking::Question;
use super::loops::{self, LoopPolice};
use super::police::Police;
use super::run::PushError;
use super::segment::Cut;
use super::too_big::Answer;
use super::waiting::Waiting;
use super::{Progress, Sealing, To, Turn, checksum, pieces, to};
use crate::frame::{self, FrameView};
use crate::packet::{
    EntryChecksum, EntryHeader, Envelope, FloodHeader, NUMBER_MAX, PACKET_OVERHEAD_BYTES, Piece,
    TTL_START,
};
use crate::{
    Batch, DropReason, Ecn, Fib, FrameMeta, Heard, Neighbour, NextHop, Offload, PartialChecksum,
    Site,
};

/// A frame for an address behind the same port is flooded all the same when that address was silent for this
/// long: it may have moved to another host without having said a word yet.
const LOCAL_SILENT_MAX: Duration = Duration::from_secs(5);

/// How far the front frame came, kept when the output was full.
#[derive(Debug, Default)]
pub(super) struct Cursor {
    begun: Option<(Goal, Job)>,
    /// What is to be asked once the front frame is done.
    asking: Option<(Question, Goal, Job)>,
}

/// Where a frame goes.
#[derive(Debug, Clone, Copy)]
enum Goal {
    Unicast(Site),
    /// To every child in our own tree; the next of them, and the sequence of the frame's first segment.
    Flood {
        sequence: u64,
        target: usize,
        /// The whole tree takes packets of this size, and all of it gets the same.
        packet_bytes_max: usize,
    },
}

/// How a frame is put into packets, and which of its segments is next.
#[derive(Debug, Clone, Copy)]
pub(super) struct Job {
    cut: Option<Cut>,
    /// The checksum stays open, and the entry says so.
    open: Option<EntryChecksum>,
    /// The checksum is to be finished in each segment, since the entry can't say where it is.
    finish: Option<PartialChecksum>,
    ecn: Ecn,
    segment: usize,
    /// Which piece of that segment is next, where it goes in pieces.
    piece: usize,
    /// Names those pieces.
    piece_id: Option<u16>,
}

/// What became of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sent {
    /// It is in runs, or dropped and counted.
    Done,
    /// The output is full; the job knows where to go on.
    Full,
    /// There are no keys or no route yet. Nothing happened.
    NoTunnel,
}

/// Takes frames from `rx` until it is empty or the output is full.
pub(super) fn handle(
    turn: &mut Turn<'_, '_>,
    cursor: &mut Cursor,
    waiting: &mut Waiting,
    police: &mut Police,
    loop_police: &mut LoopPolice,
    rx: &mut Batch<FrameMeta>,
) -> Progress {
    loop {
        if let Some((question, goal, job)) = &mut cursor.asking
            && cursor.begun.is_none()
        {
            if send(turn, goal, question.bytes(), job) == Sent::Full {
                return Progress::OutputFull;
            }
            cursor.asking = None;
        }
        let Some((buffer, meta)) = rx.front_mut() else {
            return Progress::Done;
        };
        let frame = buffer.bytes_mut();
        if cursor.begun.is_none() {
            turn.stats.frames_in += 1;
            turn.stats.frame_bytes_in += frame.len() as u64;
            if loops::take(turn, loop_police, frame) {
                rx.pop();
                continue;
            }
            match begin(turn, police, frame, &meta.offload) {
                Ok(begun) => {
                    if matches!(begun.0, Goal::Flood { .. }) {
                        loops::note_flood(turn, loop_police);
                        cursor.asking = ask(turn, police, frame);
                    }
                    cursor.begun = Some(begun);
                }
                Err(reason) => turn.count_drop(reason),
            }
        }
        if let Some((goal, job)) = &mut cursor.begun {
            match (send(turn, goal, frame, job), *goal) {
                (Sent::Full, _) => return Progress::OutputFull,
                (Sent::NoTunnel, Goal::Unicast(site)) => waiting.add(turn, site, *job, frame),
                (Sent::NoTunnel | Sent::Done, _) => {}
            }
        }
        cursor.begun = None;
        rx.pop();
    }
}

/// Puts a frame into packets, from where its job stands on.
fn send(turn: &mut Turn<'_, '_>, goal: &mut Goal, frame: &[u8], job: &mut Job) -> Sent {
    match goal {
        Goal::Unicast(site) => send_unicast(turn, *site, frame, job),
        Goal::Flood {
            sequence,
            target,
            packet_bytes_max,
        } => send_flood(turn, *sequence, target, *packet_bytes_max, frame, job),
    }
}

/// The question to be asked beside a frame that is flooded, if it is one for nobody known. Our own port, where whom it
/// is for may have come to, gets it at once, as far as its batch has room.
fn ask(
    turn: &mut Turn<'_, '_>,
    police: &mut Police,
    frame: &[u8],
) -> Option<(Question, Goal, Job)> {
    let view = FrameView::new_checked(frame)?;
    if !view.destination().is_unicast() {
        return None;
    }
    let mut question = turn.asked.question(turn.now, view)?;
    if !police.allow(turn.now, true) {
        turn.count_drop(DropReason::FloodPoliced);
        return None;
    }
    let job = Job::new(question.bytes_mut(), &Offload::default()).ok()?;
    let goal = flood(turn, question.bytes(), &job).ok()?;
    if turn.config.has_port
        && let Some(buffer) = turn.frames.free()
        && buffer.append(question.sent_by_router(turn.view.fib.local).bytes())
    {
        turn.frames.commit(FrameMeta::default());
    }
    turn.stats.asked += 1;
    Some((question, goal, job))
}

/// Puts a frame into packets for a remote site.
pub(super) fn send_unicast(
    turn: &mut Turn<'_, '_>,
    site: Site,
    frame: &[u8],
    job: &mut Job,
) -> Sent {
    let Way {
        sealing,
        neighbour,
        beyond,
    } = match sealing_to(turn.view.fib, site, job.ecn) {
        Ok(way) => way,
        Err(NoWay::Yet) => return Sent::NoTunnel,
        Err(NoWay::None) => {
            turn.count_drop(DropReason::NoRoute);
            return Sent::Done;
        }
    };
    turn.stamp_unicast(&neighbour.heard, neighbour.site);
    if let Some(heard) = beyond {
        turn.stamp_unicast(heard, site);
    }
    if job.segment == 0
        && job.piece == 0
        && job.frame_bytes(frame, 0) > sealing.frame_bytes_max()
        && let Some(sent) = tell_too_big(turn, &sealing, frame, job)
    {
        return sent;
    }
    send_segments(turn, &sealing, frame, job, None)
}

/// Why nothing can be sealed for a site.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NoWay {
    /// There are no keys or no route yet.
    Yet,
    /// The number is not in use, or the snapshot is at odds with itself.
    None,
}

/// How a remote site is reached.
pub(super) struct Way<'a> {
    /// What stands around packets for it.
    pub(super) sealing: Sealing<'a>,
    /// Who takes them.
    pub(super) neighbour: &'a Neighbour,
    /// Where the neighbour passes them on: the stamp of the site itself.
    beyond: Option<&'a Heard>,
}

/// What stands around unicast packets and notes for a remote site, and the neighbour that takes them.
pub(super) fn sealing_to(fib: &Fib, site: Site, ecn: Ecn) -> Result<Way<'_>, NoWay> {
    let route = fib.site(site).ok_or(NoWay::None)?;
    let (Some(keys), Some(next_hop)) = (&route.keys, route.next_hop) else {
        return Err(NoWay::Yet);
    };
    let (NextHop::Direct(index) | NextHop::Relay(index)) = next_hop;
    let neighbour = fib.neighbour(index).ok_or(NoWay::None)?;
    let (envelope, beyond) = match next_hop {
        NextHop::Direct(_) => (None, None),
        NextHop::Relay(_) => {
            let envelope = Envelope {
                ttl: TTL_START,
                tag: neighbour.tag,
                destination: route.destination,
            };
            (Some(envelope), route.heard.as_deref())
        }
    };
    let sealing = Sealing {
        to: to(neighbour, ecn),
        keys,
        envelope,
        flood: None,
        packet_bytes_max: route.packet_bytes_max,
    };
    Ok(Way {
        sealing,
        neighbour,
        beyond,
    })
}

/// Answers a frame that is too big for its path, where its sender may be told. `None` where it is to be cut.
fn tell_too_big(
    turn: &mut Turn<'_, '_>,
    sealing: &Sealing<'_>,
    frame: &[u8],
    job: &Job,
) -> Option<Sent> {
    // Not more than what every path is taken to have: it is being measured, and is likely larger. A sender would
    // keep to what it is told now for minutes (Linux: `mtu_expires`, 600 s).
    if sealing.packet_bytes_max <= usize::from(PATH_MTU_BYTES_BASE) {
        return None;
    }
    let mut segment = std::mem::take(&mut turn.oversize.cutter.scratch);
    job.write_finished(frame, 0, &mut segment);
    let sent =
        Answer::new(&segment, sealing.frame_bytes_max()).map(|answer| write_answer(turn, &answer));
    turn.oversize.cutter.scratch = segment;
    sent
}

fn write_answer(turn: &mut Turn<'_, '_>, answer: &Answer<'_>) -> Sent {
    let Some(buffer) = turn.frames.free() else {
        return Sent::Full;
    };
    if turn.config.has_port
        && answer.len() <= buffer.room()
        && turn.oversize.told.allow(turn.now, answer)
    {
        buffer.grow(answer.len());
        answer.write(buffer.bytes_mut());
        turn.frames.commit(FrameMeta::default());
        turn.stats.too_big_told += 1;
    }
    turn.count_drop(DropReason::TooBig);
    Sent::Done
}

/// Checks a frame and decides where it goes. What it finds to be mended in the frame itself, it mends.
fn begin(
    turn: &mut Turn<'_, '_>,
    police: &mut Police,
    frame: &mut [u8],
    offload: &Offload,
) -> Result<(Goal, Job), DropReason> {
    if offload.segments.is_none() && frame.len() > turn.config.frame_caps.frame_bytes_max {
        return Err(DropReason::FrameMalformed);
    }
    let view = FrameView::new_checked(frame).ok_or(DropReason::FrameMalformed)?;
    let destination = view.destination();
    if frame::is_link_local(destination) {
        return Err(DropReason::LinkLocal);
    }
    let discovery = view.is_discovery();
    let (fib, macs) = (turn.view.fib, turn.view.macs);
    if fib.port_is_blocked {
        // Whoever sent it may be anywhere on the segment; what is known to live beyond the mesh may go there, for
        // the bridge sends it to one of the segment's ports only.
        let beyond = |site: &Site| !site.is_local() && !fib.mates.contains(site);
        let site = macs.lookup(destination).filter(beyond);
        let site = site.ok_or(DropReason::SharedSegment)?;
        return Ok((Goal::Unicast(site), Job::new(frame, offload)?));
    }
    turn.learn(view, Site::LOCAL);

    let site = match macs.lookup(destination) {
        Some(site) if fib.mates.contains(&site) => return Err(DropReason::SharedSegment),
        Some(Site::LOCAL) => {
            let silent = macs
                .last_seen(destination)
                .is_none_or(|seen| turn.now.saturating_duration_since(seen) > LOCAL_SILENT_MAX);
            if !silent {
                return Err(DropReason::SamePort);
            }
            macs.forget(destination);
            None
        }
        site => site,
    };
    let job = Job::new(frame, offload)?;
    if let Some(site) = site {
        return Ok((Goal::Unicast(site), job));
    }
    if !police.allow(turn.now, discovery) {
        return Err(DropReason::FloodPoliced);
    }
    Ok((flood(turn, frame, &job)?, job))
}

/// The goal of a frame that everybody gets, with numbers of its own.
fn flood(turn: &mut Turn<'_, '_>, frame: &[u8], job: &Job) -> Result<Goal, DropReason> {
    let fib = turn.view.fib;
    turn.stats.floods_started += 1;
    // A flood is one packet, so each segment is a flood of its own, and each piece of it.
    let packet_bytes_max = fib.flood_packet_bytes_max;
    let entry_bytes_max = packet_bytes_max.saturating_sub(PACKET_OVERHEAD_BYTES);
    let pieces =
        pieces::count(job.frame_bytes(frame, 0), entry_bytes_max).ok_or(DropReason::TooBig)?;
    let packets = (job.segments() * pieces) as u64;
    let sequence = fib.flood_sequence.fetch_add(packets, Ordering::Relaxed);
    Ok(Goal::Flood {
        sequence,
        target: 0,
        packet_bytes_max,
    })
}

/// Puts a frame into packets for each child of our own tree, beginning with number `target`.
fn send_flood(
    turn: &mut Turn<'_, '_>,
    sequence: u64,
    target: &mut usize,
    packet_bytes_max: usize,
    frame: &[u8],
    job: &mut Job,
) -> Sent {
    let fib = turn.view.fib;
    while let Some(child) = flood_target(turn, &fib.local, *target) {
        if let Some((neighbour, keys)) = child {
            let sealing = Sealing {
                to: to(neighbour, job.ecn),
                keys,
                envelope: None,
                flood: None,
                packet_bytes_max,
            };
            if send_segments(turn, &sealing, frame, job, Some(sequence)) == Sent::Full {
                return Sent::Full;
            }
        }
        job.segment = 0;
        job.piece = 0;
        *target += 1;
    }
    Sent::Done
}

/// The neighbour number `target` that floods of `origin` are passed on to: `None` behind the last, `Some(None)`
/// where floods can't be sealed for it yet.
pub(super) fn flood_target<'a>(
    turn: &Turn<'a, '_>,
    origin: &weave_crypto::ShortId,
    target: usize,
) -> Option<Option<(&'a Neighbour, &'a weave_crypto::TunnelKeys)>> {
    let fib = turn.view.fib;
    let index = fib.flood_target(origin, target)?;
    let neighbour = fib.neighbour(index);
    Some(neighbour.and_then(|neighbour| Some((neighbour, neighbour.keys.as_deref()?))))
}

/// Puts the segments that are left into packets. A flood's have their own sequence numbers, from `flood` on.
fn send_segments(
    turn: &mut Turn<'_, '_>,
    sealing: &Sealing<'_>,
    frame: &[u8],
    job: &mut Job,
    flood: Option<u64>,
) -> Sent {
    let mut sealing = Sealing {
        flood: flood.map(|_| FloodHeader {
            origin: turn.view.fib.local,
            sequence: 0,
            ttl: TTL_START,
        }),
        ..*sealing
    };
    let segments = job.segments();
    let frame_bytes_max = sealing.frame_bytes_max();
    let pieces = pieces::count(job.frame_bytes(frame, 0), frame_bytes_max);
    if let To::Udp(to) = sealing.to
        && job.segment == 0
        && segments > 1
        && pieces == Some(1)
    {
        let entry_bytes = EntryHeader::default().len_bytes() + job.frame_bytes(frame, 0);
        turn.runs
            .make_room(to, segments, sealing.packet_bytes(entry_bytes));
    }
    while job.segment < segments {
        let index = job.segment;
        // Every segment has as many numbers as the first, which is the longest.
        let first = flood.map(|first| first + (index * pieces.unwrap_or(1)) as u64);
        if let (Some(header), Some(first)) = (&mut sealing.flood, first) {
            header.sequence = first & NUMBER_MAX;
        }
        let entry = EntryHeader {
            checksum: job.open,
            more: index + 1 < segments,
            piece: None,
        };
        let frame_bytes = job.frame_bytes(frame, index);
        let filled = if frame_bytes <= frame_bytes_max {
            turn.seal_entry(&sealing, entry, frame_bytes, |out| {
                job.write(frame, index, out);
            })
        } else {
            send_pieces(turn, &mut sealing, frame, job, first)
        };
        match filled {
            Ok(()) => {
                job.segment += 1;
                job.piece = 0;
                job.piece_id = None;
            }
            Err(PushError::Full) => return Sent::Full,
            Err(PushError::Drop(reason)) => {
                // Segments are of one size but the last: what stops one stops all.
                turn.count_drop(reason);
                return Sent::Done;
            }
        }
    }
    Sent::Done
}

/// Puts the pieces of the segment in hand that are left into packets. A flood's have their own sequence numbers,
/// from `flood` on.
fn send_pieces(
    turn: &mut Turn<'_, '_>,
    sealing: &mut Sealing<'_>,
    frame: &[u8],
    job: &mut Job,
    flood: Option<u64>,
) -> Result<(), PushError> {
    let frame_bytes = job.frame_bytes(frame, job.segment);
    let count = pieces::count(frame_bytes, sealing.frame_bytes_max())
        .ok_or(PushError::Drop(DropReason::TooBig))?;
    let id = match (job.piece_id, flood) {
        (_, Some(first)) => first as u16,
        (Some(id), None) => id,
        (None, None) => turn.oversize.cutter.next_id(),
    };
    job.piece_id = Some(id);
    // The checksum is finished before the cut: should pieces of two frames ever meet, it tells.
    let mut segment = std::mem::take(&mut turn.oversize.cutter.scratch);
    job.write_finished(frame, job.segment, &mut segment);
    let mut result = Ok(());
    while job.piece < count {
        if let (Some(header), Some(first)) = (&mut sealing.flood, flood) {
            header.sequence = (first + job.piece as u64) & NUMBER_MAX;
        }
        let entry = EntryHeader {
            piece: Some(Piece {
                id,
                index: job.piece as u8,
                count: count as u8,
            }),
            ..EntryHeader::default()
        };
        let piece = &segment[pieces::range(frame_bytes, count, job.piece)];
        result = turn.seal_entry(sealing, entry, piece.len(), |out| {
            out.copy_from_slice(piece);
        });
        if result.is_err() {
            break;
        }
        job.piece += 1;
    }
    turn.oversize.cutter.scratch = segment;
    if result.is_ok() {
        turn.stats.frames_cut += 1;
    }
    result
}

impl Job {
    /// Checks a frame's metadata against its bytes. A checksum that no entry can describe, or that old receivers
    /// need whole, is finished in place.
    fn new(frame: &mut [u8], offload: &Offload) -> Result<Self, DropReason> {
        let mut job = Self {
            cut: Cut::new(frame, offload).map_err(|_| DropReason::FrameMalformed)?,
            open: None,
            finish: None,
            ecn: Ecn::NotEct,
            segment: 0,
            piece: 0,
            piece_id: None,
        };
        let view = FrameView::new_checked(frame).ok_or(DropReason::FrameMalformed)?;
        job.ecn = view.ecn().unwrap_or_default();
        if let Some(partial) = offload.checksum {
            let start = usize::from(partial.start);
            if start + usize::from(partial.offset) + 2 > frame.len() {
                return Err(DropReason::FrameMalformed);
            }
            let udp = match (view.transport(), partial.offset) {
                (Some((IpProtocol::Udp, at)), 6) if at == start => Some(true),
                (Some((IpProtocol::Tcp, at)), 16) if at == start => Some(false),
                _ => None,
            };
            match (udp, u8::try_from(partial.start)) {
                (Some(udp), Ok(start)) if !(udp && view.is_dhcp(start.into())) => {
                    job.open = Some(EntryChecksum { start, udp });
                }
                _ if job.cut.is_some() => job.finish = Some(partial),
                _ if checksum::finish(frame, partial) => {}
                _ => return Err(DropReason::FrameMalformed),
            }
        }
        Ok(job)
    }

    fn segments(&self) -> usize {
        self.cut.map_or(1, |cut| cut.count())
    }

    fn frame_bytes(&self, frame: &[u8], index: usize) -> usize {
        self.cut.map_or(frame.len(), |cut| cut.frame_bytes(index))
    }

    /// Makes `out` one segment's frame, with its checksum computed.
    fn write_finished(&self, frame: &[u8], index: usize, out: &mut Vec<u8>) {
        out.clear();
        out.resize(self.frame_bytes(frame, index), 0);
        self.write(frame, index, out);
        if let Some(open) = self.open {
            // Checked against the frame; each segment has the whole header with the field in it.
            let _within = checksum::finish(
                out,
                PartialChecksum {
                    start: open.start.into(),
                    offset: open.offset(),
                },
            );
        }
    }

    fn write(&self, frame: &[u8], index: usize, out: &mut [u8]) {
        let Some(cut) = self.cut else {
            out.copy_from_slice(frame);
            return;
        };
        cut.write(frame, index, out);
        if let Some(partial) = self.finish {
            // Checked against the super-frame; each segment has the whole header with the field in it.
            let _within = checksum::finish(out, partial);
        }
    }
}
