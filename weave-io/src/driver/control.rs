//! The control plane's loop, one turn at a time.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use weave_core::{
    Action, BUFFER_BYTES, Batch, Command, Event, Notice, PacketIo, PacketMeta, PortChange, Router,
    RouterWake, Status, Streamed, Traffic,
};
use weave_mesh::{CloseReason, ConnId, Subnet, Target};

use super::{Inbox, NoticeQueue, Published, Shared, SharedStats, StreamQueue};
#[cfg(feature = "sim")]
use weave_core::PeerId;

/// Runs a [`Router`]: feeds it inputs and the workers' notices, publishes its snapshots, sends its packets, and
/// hands on the rest of what it wants.
#[derive(Debug)]
pub struct ControlLoop<P> {
    router: Router,
    packets: P,
    packets_out: Batch<PacketMeta>,
    published: Arc<Published>,
    notices: Arc<NoticeQueue>,
    inbox: Arc<Inbox>,
    stats: Arc<SharedStats>,
    taken: Vec<Notice>,
    streams: Arc<StreamQueue>,
    streamed: Streamed,
}

/// Something that happened outside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// A TCP stream stands.
    Opened {
        /// The stream: as the router named it in its dial, or [`ConnId::accepted`].
        conn: ConnId,
        /// The other end.
        remote: SocketAddr,
        /// We dialled it.
        dialled: bool,
    },
    /// Bytes came on a stream.
    Bytes {
        /// The stream.
        conn: ConnId,
        /// The bytes.
        bytes: Vec<u8>,
    },
    /// A stream ended, or a dial failed.
    Closed {
        /// The stream.
        conn: ConnId,
        /// Why.
        reason: CloseReason,
    },
    /// All that was written to a stream is on its way, as the router wanted to be told.
    Drained {
        /// The stream.
        conn: ConnId,
    },
    /// A name was looked up.
    Resolved {
        /// The target whose name it is.
        target: Target,
        /// Its addresses, or what the resolver said.
        result: Result<Vec<SocketAddr>, String>,
    },
    /// Addresses of this host's interfaces, all of them.
    LocalAddresses(Vec<IpAddr>),
    /// Subnets of overlays that this host has an address in, all of them.
    OverlaySubnets(Vec<Subnet>),
    /// What the bridge that the port is on tells of its stations.
    Port(Vec<PortChange>),
    /// The MTU of the device that leads to the peers, bytes of IP.
    UnderlayMtu(u16),
    /// The wall clock jumped against the time since boot.
    ClockJumped {
        /// Fresh randomness.
        seed: [u8; 32],
    },
    /// The user wants something.
    Command(Command),
}

/// What comes out of a turn.
#[derive(Debug)]
pub struct Turn {
    /// What the I/O side is to do, in order. Packets are not among it: they were sent.
    pub actions: Vec<Action>,
    /// What happened, for the log.
    pub events: Vec<Event>,
    /// When the next turn is due, if nothing happens before, and what for.
    pub deadline: Option<(Instant, RouterWake)>,
}

impl<P: PacketIo> ControlLoop<P> {
    /// A loop for a router whose packets leave by `packets`, the workers' own socket.
    pub fn new(router: Router, packets: P, shared: &Shared) -> Self {
        Self {
            router,
            packets,
            packets_out: Batch::new(SEND_SLOTS, BUFFER_BYTES),
            published: Arc::clone(&shared.published),
            notices: Arc::clone(&shared.notices),
            inbox: Arc::clone(&shared.inbox),
            stats: Arc::clone(&shared.stats),
            taken: Vec::new(),
            streams: Arc::clone(&shared.streams),
            streamed: Streamed::new(),
        }
    }

    /// One turn: the input, the notices and packets that wait, and time. Never blocks. Take one after each input, when
    /// notices came, and when the last turn's deadline is there.
    pub fn turn(&mut self, now: Instant, input: Option<Input>) -> Turn {
        let mut turn = Turn {
            actions: Vec::new(),
            events: Vec::new(),
            deadline: None,
        };
        if let Some(input) = input {
            self.feed(now, input);
            self.drain(&mut turn);
        }
        let mut taken = std::mem::take(&mut self.taken);
        self.notices.take_all(&mut taken);
        for notice in taken.drain(..) {
            self.router.handle_notice(now, notice);
            self.drain(&mut turn);
        }
        self.taken = taken;
        self.streams.take_all(&mut self.streamed);
        if !self.streamed.is_empty() {
            self.router.handle_streamed(now, &mut self.streamed);
            self.streams.set_dropped(self.streamed.dropped());
            self.drain(&mut turn);
        }
        let is_due = |(at, _): (Instant, RouterWake)| at <= now;
        if self.router.poll_timeout().is_some_and(is_due) {
            self.router.handle_timeout(now);
            self.drain(&mut turn);
        }
        self.flush();
        turn.deadline = self.router.poll_timeout();
        turn
    }

    /// Has a simulated hostile member say records to a neighbour, unchecked, and takes a turn.
    #[cfg(feature = "sim")]
    pub(crate) fn say_unchecked(
        &mut self,
        now: Instant,
        to: PeerId,
        records: Vec<Vec<u8>>,
    ) -> Turn {
        self.router.say_unchecked(now, to, records);
        let mut said = Turn {
            actions: Vec::new(),
            events: Vec::new(),
            deadline: None,
        };
        self.drain(&mut said);
        let mut turn = self.turn(now, None);
        said.actions.append(&mut turn.actions);
        said.events.append(&mut turn.events);
        said.deadline = turn.deadline;
        said
    }

    /// What the router says of itself.
    pub fn status(&self, now: Instant) -> Status {
        self.router.status(now, Traffic::from(&self.stats.load()))
    }

    /// The router, to look at.
    pub fn router(&self) -> &Router {
        &self.router
    }

    fn feed(&mut self, now: Instant, input: Input) {
        match input {
            Input::Opened {
                conn,
                remote,
                dialled,
            } => self.router.handle_opened(now, conn, remote, dialled),
            Input::Bytes { conn, bytes } => self.router.handle_bytes(now, conn, &bytes),
            Input::Closed { conn, reason } => self.router.handle_closed(now, conn, reason),
            Input::Drained { conn } => self.router.handle_drained(now, conn),
            Input::Resolved { target, result } => {
                self.router.handle_resolved(now, &target, result);
            }
            Input::LocalAddresses(addresses) => {
                self.router.handle_local_addresses(now, addresses);
            }
            Input::OverlaySubnets(subnets) => self.router.handle_overlay_subnets(now, subnets),
            Input::Port(changes) => self.router.handle_port_changes(now, &changes),
            Input::UnderlayMtu(bytes) => self.router.handle_underlay_mtu(now, bytes),
            Input::ClockJumped { seed } => self.router.handle_jump(now, seed),
            Input::Command(command) => self.router.handle_command(now, command),
        }
    }

    /// Takes every output of the router, as its contract wants after each input.
    fn drain(&mut self, turn: &mut Turn) {
        while let Some(action) = self.router.poll_action() {
            if let Action::SendPacket { remote, bytes } = action {
                self.send(remote, &bytes);
            } else if let Action::SendFrame { bytes } = action {
                self.inbox.push_frame(bytes);
            } else if let Action::Announce { bytes } = action {
                self.inbox.push_announcement(bytes);
            } else if let Action::TakePacket { packet } = action {
                self.inbox.push_packet(packet);
            } else {
                turn.actions.push(action);
            }
        }
        while let Some(fib) = self.router.poll_fib() {
            self.published.store(fib);
        }
        turn.events
            .extend(std::iter::from_fn(|| self.router.poll_event()));
    }

    fn send(&mut self, remote: SocketAddr, bytes: &[u8]) {
        if self.packets_out.is_full() {
            self.flush();
        }
        let Some(buffer) = self.packets_out.free() else {
            return;
        };
        if buffer.append(bytes) {
            self.packets_out
                .commit(PacketMeta::single(remote, bytes.len()));
        }
    }

    /// Sends what waits. What the socket does not take is lost, as packets may be: probes are sent again.
    fn flush(&mut self) {
        if let Err(error) = self.packets.send(&mut self.packets_out) {
            // The worker meets the same fault, and its end is the router's.
            tracing::debug!(%error, "the UDP socket failed");
        }
        self.packets_out.clear();
    }
}

/// Packets sent at once; more go in several rounds.
const SEND_SLOTS: usize = 4;

#[cfg(test)]
mod tests;
