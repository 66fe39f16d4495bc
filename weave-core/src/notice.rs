//! What the data plane tells the control plane: hints that may be lost, never the only copy of a fact.

use std::collections::VecDeque;
use std::net::SocketAddr;

use smoltcp::wire::EthernetAddress;
use weave_mesh::Probe;

use crate::Site;

/// One hint from a worker to the router; fed to `Router::handle_notice`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Notice {
    /// A genuine probe came in. A challenge was answered on the spot; this is the report.
    Probe {
        /// Who sent it.
        site: Site,
        /// Where it came from: an observation, not yet trusted.
        remote: SocketAddr,
        /// The probe.
        probe: Probe,
    },
    /// The first packet sealed with these keys opened: the other end has them, so we may seal with them.
    Confirmed {
        /// The receiver index of the keys.
        index: u32,
    },
    /// Frames go to or come from this neighbour after 5 s without.
    Active {
        /// The neighbour's site.
        site: Site,
    },
    /// A flood of this router came after a long time without.
    Floods {
        /// The router's site.
        site: Site,
    },
    /// A unicast frame waits for a tunnel to this site.
    NoTunnel {
        /// The site.
        site: Site,
    },
    /// A packet named a receiver index that is not ours: its sender may not know of our restart.
    UnknownReceiver {
        /// Where it came from.
        remote: SocketAddr,
    },
    /// A MAC address moved between sites.
    MacMoved {
        /// The address.
        mac: EthernetAddress,
        /// Where it lived.
        from: Site,
        /// Where it lives.
        to: Site,
    },
    /// A MAC address moves too often: it stays where it is for a while ([`crate::MacTable::DAMPED_FOR`]).
    MacDamped {
        /// The address.
        mac: EthernetAddress,
        /// Where it stays.
        at: Site,
        /// Where it was seen, which is not believed.
        seen: Site,
    },
    /// More floods come from the port than hosts send by themselves: they may be going round.
    PortFloods,
    /// A loop frame of this network came in at the port; whether it is genuine is not known yet.
    LoopFrame(Box<crate::LoopFrame>),
    /// The other edge router sent a note in its tunnel.
    Note {
        /// Who sent it.
        site: Site,
        /// What it says.
        note: crate::Note,
    },
    /// A packet on its way, or a flood, is too big for the link to this neighbour.
    TooBig {
        /// The neighbour's site: its index means something in one snapshot only.
        neighbour: Site,
    },
}

/// What is known of the segment behind the local port from elsewhere than its frames: a bridge tells. Fed to
/// `Router::handle_port_changes`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum PortChange {
    /// The bridge learned the address at another port of its own: it lives here.
    Here(EthernetAddress),
    /// The bridge's port where the address was has gone: it does not live here any more.
    Gone(EthernetAddress),
    /// A port of the bridge came up: the segment may have grown.
    Joined,
    /// A port of the bridge went: the segment may have shrunk.
    Left,
}

/// The worker's bounded queue of notices. Probes have room of their own, so that load can't kill a link.
#[derive(Debug)]
pub struct Notices {
    probes: VecDeque<Notice>,
    others: VecDeque<Notice>,
    dropped: u64,
}

impl Notices {
    /// Probes kept: two a second from each of 64 neighbours, and a second's delay of the control plane.
    pub const PROBES_MAX: usize = 128;
    /// Other notices kept.
    pub const OTHERS_MAX: usize = 128;

    /// An empty queue.
    pub fn new() -> Self {
        Self {
            probes: VecDeque::with_capacity(Self::PROBES_MAX),
            others: VecDeque::with_capacity(Self::OTHERS_MAX),
            dropped: 0,
        }
    }

    /// Adds a notice, or counts it as dropped when its queue is full.
    pub fn push(&mut self, notice: Notice) {
        let (queue, max) = if matches!(notice, Notice::Probe { .. }) {
            (&mut self.probes, Self::PROBES_MAX)
        } else {
            (&mut self.others, Self::OTHERS_MAX)
        };
        if queue.len() < max {
            queue.push_back(notice);
        } else {
            self.dropped += 1;
        }
    }

    /// Takes the next notice: probes first.
    pub fn pop(&mut self) -> Option<Notice> {
        self.probes.pop_front().or_else(|| self.others.pop_front())
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.probes.is_empty() && self.others.is_empty()
    }

    /// Notices that found their queue full, since the start.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }
}

impl Default for Notices {
    fn default() -> Self {
        Self::new()
    }
}
