//! "Not here": what a router says when it opens a unicast frame for an address that it does not hold.
//!
//! The frame goes to the port all the same, for that the address is not in the table does not prove that nobody
//! has it; the note makes the other side forget where it thought the address lives, so that its next frame is
//! flooded and finds the address wherever it is. A wrong note costs one flood for each frame until the station
//! says something, and loses nothing. It is given when the table's silence means something only: an address that
//! could not have been learned ([`MacTable::has_room`](crate::MacTable::has_room)) is not denied.

use std::time::{Duration, Instant};

use smoltcp::wire::EthernetAddress;

use super::Turn;
use super::ingress::{self, Way};
use crate::packet::{self, Kind, Note, SEALED_HEADER_BYTES, TAG_BYTES};
use crate::{Ecn, Site};

/// When which router was last told of which address: a table of fixed size. Where the few places of a pair are
/// taken by younger ones, nothing is said: the frame after a second may find one.
#[derive(Debug)]
pub(super) struct Told {
    sets: Box<[[Option<Entry>; WAYS]; SETS]>,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    mac: EthernetAddress,
    site: Site,
    at: Instant,
}

impl Default for Told {
    fn default() -> Self {
        Self {
            sets: Box::new([[None; WAYS]; SETS]),
        }
    }
}

impl Told {
    /// The place of a pair, if it may be told of now.
    fn place(
        &mut self,
        now: Instant,
        mac: EthernetAddress,
        site: Site,
    ) -> Option<&mut Option<Entry>> {
        let is_recent = |entry: &Entry| now.saturating_duration_since(entry.at) < INTERVAL;
        let set = &mut self.sets[set_of(mac, site)];
        let known = set
            .iter()
            .position(|entry| entry.is_some_and(|entry| (entry.mac, entry.site) == (mac, site)));
        let place = match known {
            Some(place) => place,
            None => set
                .iter()
                .position(|entry| !entry.is_some_and(|entry| is_recent(&entry)))?,
        };
        let entry = &mut set[place];
        (!entry.is_some_and(|entry| is_recent(&entry))).then_some(entry)
    }
}

/// Tells `site`, which sent a frame for `mac`, that it does not live here, if that is so. Where there is no room in
/// the output, or no way back, nothing is said: the next frame is as good.
pub(super) fn tell(turn: &mut Turn<'_, '_>, mac: EthernetAddress, site: Site) {
    let (fib, macs) = (turn.view.fib, turn.view.macs);
    let is_held = macs.lookup(mac) == Some(Site::LOCAL) && !fib.port_is_blocked;
    if !mac.is_unicast() || is_held {
        return;
    }
    let Ok(Way { sealing, .. }) = ingress::sealing_to(fib, site, Ecn::NotEct) else {
        return;
    };
    if turn.packets.is_full() {
        return;
    }
    let Some(place) = turn.told.place(turn.now, mac, site) else {
        return;
    };
    if !macs.has_room(mac, Site::LOCAL) {
        return;
    }
    *place = Some(Entry {
        mac,
        site,
        at: turn.now,
    });
    let mut note = [0; Note::BYTES_MAX];
    let note_bytes = Note::NotHere { mac }.emit(&mut note);
    let front = sealing.envelope.map_or(0, |_| packet::ENVELOPE_BYTES);
    let packet_bytes = front + SEALED_HEADER_BYTES + note_bytes + TAG_BYTES;
    let pushed = turn.push(sealing.to, packet_bytes, |packet| {
        if let Some(envelope) = &sealing.envelope {
            packet[..front].copy_from_slice(&envelope.emit());
        }
        let sealed = &mut packet[front..];
        sealed[SEALED_HEADER_BYTES..][..note_bytes].copy_from_slice(&note[..note_bytes]);
        packet::seal_in_place(sealing.keys, Kind::Note, sealed)
            .map_err(|_| crate::DropReason::CounterExhausted)
    });
    if pushed.is_ok() {
        turn.stats.not_here_sent += 1;
    }
}

fn set_of(mac: EthernetAddress, site: Site) -> usize {
    let [a, b, c, d, e, f] = mac.0;
    let [g, h] = site.0.to_be_bytes();
    let number = u64::from_be_bytes([g, h, a, b, c, d, e, f]);
    // Fibonacci hashing, as in the MAC table; the upper bits are the mixed ones.
    (number.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32) as usize % SETS
}

/// One router is told of one address this often (design.md section 5).
const INTERVAL: Duration = Duration::from_secs(1);
/// 512 pairs of address and router in 16 KiB: a host with 500 containers that goes, and has one that asks for each.
/// It also bounds the notes of a second, whatever others send.
const SETS: usize = 64;
const WAYS: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pair_is_told_of_once_a_second_and_the_table_is_bounded() {
        #[allow(clippy::disallowed_methods, reason = "a test's base instant")]
        let now = Instant::now();
        let mut told = Told::default();
        let mut tell = |now, number: u32, site| {
            let [a, b, c, d] = number.to_be_bytes();
            let mac = EthernetAddress([2, 0, a, b, c, d]);
            let Some(place) = told.place(now, mac, site) else {
                return false;
            };
            *place = Some(Entry { mac, site, at: now });
            true
        };
        assert!(tell(now, 1, Site(1)));
        assert!(!tell(now, 1, Site(1)));
        assert!(tell(now, 1, Site(2)), "another one has not heard it");
        assert!(!tell(now + INTERVAL / 2, 1, Site(1)));
        assert!(tell(now + INTERVAL, 1, Site(1)));
        let later = now + INTERVAL * 3;
        let count = (0..100_000).filter(|n| tell(later, *n, Site(3))).count();
        assert_eq!(count, SETS * WAYS);
        assert!(tell(later + INTERVAL, 1, Site(1)), "the old make room");
    }
}
