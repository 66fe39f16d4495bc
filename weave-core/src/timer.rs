//! The router's timers: one table, one entry for each purpose.

use std::time::Instant;

/// What the router itself waits for, beside its mesh's own timers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(usize)]
pub(crate) enum Timer {
    /// Routes are computed anew.
    Routes,
    /// A tunnel message goes again, or a tunnel is re-keyed or forgotten.
    Tunnels,
    /// A direct path is asked for, or looked at.
    Meetings,
    /// MAC addresses age, and site numbers become free.
    Housekeeping,
    /// The peers to rejoin after a restart are stored.
    StorePeers,
    /// MAC addresses of a router that no route leads to are forgotten.
    Departures,
    /// A loop frame is due, or a router was not heard at the port for long.
    Loops,
    /// A ping that nobody answers ends.
    Echoes,
    /// The router's own addresses are announced.
    Announcing,
}

/// The table.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    deadlines: [Option<Instant>; Self::ALL.len()],
}

impl Timers {
    const ALL: [Timer; 9] = [
        Timer::Routes,
        Timer::Tunnels,
        Timer::Meetings,
        Timer::Housekeeping,
        Timer::StorePeers,
        Timer::Departures,
        Timer::Loops,
        Timer::Echoes,
        Timer::Announcing,
    ];

    /// Sets a timer, whatever it was.
    pub(crate) fn set(&mut self, timer: Timer, at: Option<Instant>) {
        self.deadlines[timer as usize] = at;
    }

    /// Sets a timer unless it goes off earlier.
    pub(crate) fn set_earlier(&mut self, timer: Timer, at: Instant) {
        let deadline = &mut self.deadlines[timer as usize];
        *deadline = Some(deadline.map_or(at, |known| known.min(at)));
    }

    /// Whether a timer is due; it is taken off.
    pub(crate) fn take_due(&mut self, timer: Timer, now: Instant) -> bool {
        let due = self.deadlines[timer as usize].is_some_and(|at| at <= now);
        if due {
            self.deadlines[timer as usize] = None;
        }
        due
    }

    /// The next one.
    pub(crate) fn next(&self) -> Option<(Instant, Timer)> {
        Self::ALL
            .into_iter()
            .filter_map(|timer| Some((self.deadlines[timer as usize]?, timer)))
            .min_by_key(|(at, _)| *at)
    }
}
