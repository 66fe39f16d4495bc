//! Frames from the port: learn, look up, seal.

use std::sync::atomic::Ordering;
use std::time::Duration;

use smoltcp::wire::IpProtocol;

use super::police::Police;
use super::run::PushError;
use super::segment::Cut;
use super::waiting::Waiting;
use super::{Progress, Sealing, Turn, checksum, to};
use crate::frame::{self, FrameView};
use crate::packet::{EntryChecksum, EntryHeader, Envelope, FloodHeader, NUMBER_MAX, TTL_START};
use crate::{
    Batch, DropReason, Ecn, Fib, FrameMeta, Neighbour, NeighbourIndex, NextHop, Offload,
    PartialChecksum, Site,
};

/// A frame for an address behind the same port is flooded all the same when that address was silent for this
/// long: it may have moved to another host without having said a word yet.
const LOCAL_SILENT_MAX: Duration = Duration::from_secs(5);

/// How far the front frame came, kept when the output was full.
#[derive(Debug, Default)]
pub(super) struct Cursor {
    begun: Option<(Goal, Job)>,
}

/// Where a frame goes.
#[derive(Debug, Clone, Copy)]
enum Goal {
    Unicast(Site),
    /// To every child in our own tree; the next of them, and the sequence of the frame's first segment.
    Flood {
        sequence: u64,
        target: usize,
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
    rx: &mut Batch<FrameMeta>,
) -> Progress {
    while let Some((buffer, meta)) = rx.front_mut() {
        let frame = buffer.bytes_mut();
        if cursor.begun.is_none() {
            turn.stats.frames_in += 1;
            turn.stats.frame_bytes_in += frame.len() as u64;
            match begin(turn, police, frame, &meta.offload) {
                Ok(begun) => cursor.begun = Some(begun),
                Err(reason) => turn.count_drop(reason),
            }
        }
        if let Some((goal, job)) = &mut cursor.begun {
            let sent = match goal {
                Goal::Unicast(site) => send_unicast(turn, *site, frame, job),
                Goal::Flood { sequence, target } => send_flood(turn, *sequence, target, frame, job),
            };
            match (sent, *goal) {
                (Sent::Full, _) => return Progress::OutputFull,
                (Sent::NoTunnel, Goal::Unicast(site)) => waiting.add(turn, site, *job, frame),
                (Sent::NoTunnel | Sent::Done, _) => {}
            }
        }
        cursor.begun = None;
        rx.pop();
    }
    Progress::Done
}

/// Puts a frame into packets for a remote site.
pub(super) fn send_unicast(
    turn: &mut Turn<'_, '_>,
    site: Site,
    frame: &[u8],
    job: &mut Job,
) -> Sent {
    let (sealing, neighbour) = match sealing_to(turn.view.fib, site, job.ecn) {
        Ok(sealing) => sealing,
        Err(NoWay::Yet) => return Sent::NoTunnel,
        Err(NoWay::None) => {
            turn.count_drop(DropReason::NoRoute);
            return Sent::Done;
        }
    };
    turn.stamp_unicast(&neighbour.heard, neighbour.site);
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

/// What stands around unicast packets and notes for a remote site, and the neighbour that takes them.
pub(super) fn sealing_to(
    fib: &Fib,
    site: Site,
    ecn: Ecn,
) -> Result<(Sealing<'_>, &Neighbour), NoWay> {
    let route = fib.site(site).ok_or(NoWay::None)?;
    let (Some(keys), Some(next_hop)) = (&route.keys, route.next_hop) else {
        return Err(NoWay::Yet);
    };
    let (NextHop::Direct(index) | NextHop::Relay(index)) = next_hop;
    let neighbour = fib.neighbour(index).ok_or(NoWay::None)?;
    let envelope = match next_hop {
        NextHop::Direct(_) => None,
        NextHop::Relay(_) => Some(Envelope {
            ttl: TTL_START,
            tag: neighbour.tag,
            destination: route.destination,
        }),
    };
    let sealing = Sealing {
        to: to(neighbour.remote, ecn),
        keys,
        envelope,
        flood: None,
        packet_bytes_max: route.packet_bytes_max,
    };
    Ok((sealing, neighbour))
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
    turn.learn(view, Site::LOCAL);

    let macs = turn.view.macs;
    let site = match macs.lookup(destination) {
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
    turn.stats.floods_started += 1;
    // A flood is one packet, so each segment is a flood of its own.
    let sequence = turn
        .view
        .fib
        .flood_sequence
        .fetch_add(job.segments() as u64, Ordering::Relaxed);
    Ok((
        Goal::Flood {
            sequence,
            target: 0,
        },
        job,
    ))
}

/// Puts a frame into packets for each child of our own tree, beginning with number `target`.
fn send_flood(
    turn: &mut Turn<'_, '_>,
    sequence: u64,
    target: &mut usize,
    frame: &[u8],
    job: &mut Job,
) -> Sent {
    let fib = turn.view.fib;
    while let Some(child) = flood_target(turn, &fib.local, *target) {
        if let Some((neighbour, keys)) = child {
            let sealing = Sealing {
                to: to(neighbour.remote, job.ecn),
                keys,
                envelope: None,
                flood: None,
                packet_bytes_max: neighbour.packet_bytes_max,
            };
            if send_segments(turn, &sealing, frame, job, Some(sequence)) == Sent::Full {
                return Sent::Full;
            }
        }
        job.segment = 0;
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
    let index = match fib.floods.get(origin) {
        Some(children) => *children.get(target)?,
        None if target < fib.neighbours.len() => NeighbourIndex(target as u16),
        None => return None,
    };
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
    if job.segment == 0 && segments > 1 {
        let entry_bytes = EntryHeader::default().len_bytes() + job.frame_bytes(frame, 0);
        turn.runs
            .make_room(sealing.to, segments, sealing.packet_bytes(entry_bytes));
    }
    while job.segment < segments {
        let index = job.segment;
        if let (Some(header), Some(first)) = (&mut sealing.flood, flood) {
            header.sequence = (first + index as u64) & NUMBER_MAX;
        }
        let entry = EntryHeader {
            checksum: job.open,
            more: index + 1 < segments,
            piece: None,
        };
        let filled = turn.seal_entry(&sealing, entry, job.frame_bytes(frame, index), |out| {
            job.write(frame, index, out);
        });
        match filled {
            Ok(()) => job.segment += 1,
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
