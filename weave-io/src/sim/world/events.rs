//! The loop: takes the next event, gives it to whom it is for, and puts what comes out of that into the queue.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use smoltcp::wire::{ArpOperation, ArpPacket, ArpRepr, EthernetFrame, EthernetProtocol};
use weave_core::{Action, LoopFrame, PacketMeta};

use super::strangers::STRANGER;
use super::{Event, HostId, World};
use crate::MemoryPacket;
use crate::sim::RouterId;
use crate::sim::check::{Checker, FaultKind, Sent, shows};
use crate::sim::host::Beacon;
use crate::sim::machine::PORT;
use crate::sim::net::{
    Machine as Answers, Route, StreamContext, StreamOutput, Streams, source_address,
};
use crate::sim::trace::TraceKind;
use crate::{Input, Turn};

/// Wake-ups of one router at one moment, beyond which it does not get on.
const SPINS_MAX: u32 = 64;

impl World {
    /// Runs until `until`, or until `holds` says so after an event.
    pub(super) fn run_until(
        &mut self,
        until: Duration,
        mut holds: impl FnMut(&Self) -> bool,
    ) -> bool {
        if !self.is_watching {
            self.is_watching = true;
            self.queue
                .schedule(self.now + Self::LOOK_INTERVAL, Event::Look);
        }
        if holds(self) {
            return true;
        }
        while let Some((at, event)) = self.queue.pop(until) {
            self.now = self.now.max(at);
            self.handle(event);
            if holds(self) {
                return true;
            }
        }
        self.now = until;
        holds(self)
    }

    /// A turn of a router's control plane, with what comes of it. Nothing where it is down.
    pub(super) fn control(&mut self, router: RouterId, input: Option<Input>) {
        let now = self.instant();
        let Some(process) = &mut self.machines[router.0].process else {
            return;
        };
        let turns = process.turn(now, input);
        self.settle(router, turns);
    }

    /// Lets a container work after it got something to do.
    pub(super) fn poll_host(&mut self, id: HostId) {
        let now = self.now;
        let attached = &mut self.hosts[id.0];
        attached.host.poll(now);
        let router = attached.router;
        let mut sent = Vec::new();
        while let Some(frame) = attached.host.take_frame() {
            sent.push(frame);
        }
        if let Some(at) = attached.host.poll_timeout(now) {
            // smoltcp counts microseconds.
            let at = at.max(now + Duration::from_micros(1));
            if attached.wake_at.is_none_or(|known| at < known) {
                attached.wake_at = Some(at);
                self.queue.schedule(at, Event::HostWake(id));
            }
        }
        for frame in sent {
            self.bridge(id, router, frame);
        }
    }

    /// Does something to the TCP streams, and gives routers what they notice of it.
    pub(super) fn with_streams(
        &mut self,
        act: impl FnOnce(&mut Streams, &mut StreamContext<'_, Event>),
    ) {
        let mut output = Vec::new();
        let flipped = self.net.counters().flipped;
        let machines = &self.machines;
        let mut context = StreamContext {
            now: self.now,
            net: &mut self.net,
            queue: &mut self.queue,
            output: &mut output,
            machine: &|router| match machines.get(router.0) {
                Some(machine) => machine.answers(),
                None => Answers::Running, // a stranger's
            },
        };
        act(&mut self.streams, &mut context);
        if self.net.counters().flipped != flipped {
            self.changed(FaultKind::Stream);
        }
        for output in output {
            self.notice(output);
        }
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Datagram {
                to,
                local,
                from,
                bytes,
            } => self.receive(to, local, from, bytes),
            Event::Stream(event) => {
                self.with_streams(|streams, context| streams.handle(context, event))
            }
            Event::Wake { router, start } => self.wake(router, start),
            Event::Resolved {
                router,
                start,
                target,
            } => {
                if self.machines[router.0].starts == start {
                    let result = self.resolve(&target);
                    self.control(router, Some(Input::Resolved { target, result }));
                }
            }
            Event::FrameIn { router, bytes } => self.frame_in(router, bytes),
            Event::FrameOut { host, bytes } => {
                self.trace
                    .record(self.now, TraceKind::FrameDelivered, host.0, &bytes);
                self.hosts[host.0].host.receive(bytes);
                self.poll_host(host);
            }
            Event::HostWake(host) => {
                let attached = &mut self.hosts[host.0];
                if attached.wake_at == Some(self.now) {
                    attached.wake_at = None;
                }
                self.poll_host(host);
            }
            Event::Beacon(index) => self.beacon(index),
            Event::Hostile { router, left, gap } => self.attack(router, left, gap),
            Event::Stranger(conn) => self.stranger_acts(conn),
            Event::Mischief(router) => self.make_mischief(router),
            Event::Look => {
                self.look();
                self.queue
                    .schedule(self.now + Self::LOOK_INTERVAL, Event::Look);
            }
        }
    }

    fn wake(&mut self, router: RouterId, start: u64) {
        let (now, at) = (self.instant(), self.now);
        let machine = &mut self.machines[router.0];
        let Some(process) = machine.process.as_mut().filter(|_| machine.starts == start) else {
            return;
        };
        if process.wake_at == Some(at) {
            process.wake_at = None;
        }
        self.trace.record(at, TraceKind::Timer, router.0, &[]);
        let turns = process.turn(now, None);
        self.settle(router, turns);
    }

    fn receive(&mut self, to: RouterId, local: SocketAddr, from: SocketAddr, bytes: Vec<u8>) {
        let Some(local) = self.net.arrive(self.now, to, local, from) else {
            return;
        };
        self.strangers.overheard.datagram(&bytes);
        self.deliver(to, local, from, bytes);
    }

    /// A datagram stands in a router's socket.
    pub(super) fn deliver(
        &mut self,
        to: RouterId,
        local: IpAddr,
        from: SocketAddr,
        bytes: Vec<u8>,
    ) {
        let now = self.instant();
        self.trace
            .record(self.now, TraceKind::Datagram, to.0, &bytes);
        let Some(process) = &mut self.machines[to.0].process else {
            return;
        };
        let meta = PacketMeta {
            local: Some(local),
            ..PacketMeta::single(from, bytes.len())
        };
        process.wire.deliver(MemoryPacket { bytes, meta });
        let turns = process.work(now);
        self.settle(to, turns);
    }

    /// A frame reaches a router's port.
    pub(super) fn frame_in(&mut self, router: RouterId, bytes: Vec<u8>) {
        let now = self.instant();
        let Some(process) = &mut self.machines[router.0].process else {
            return;
        };
        self.trace
            .record(self.now, TraceKind::FrameSent, router.0, &bytes);
        let frame = EthernetFrame::new_unchecked(&bytes[..]);
        let destination = frame.dst_addr();
        let is_known = process.macs.lookup(destination).is_some();
        let place = self
            .hosts
            .iter()
            .position(|attached| attached.host.mac() == destination)
            .filter(|host| !self.moves.has_moved(HostId(*host)))
            .map(|host| self.hosts[host].router.0);
        self.frames.sent(Sent {
            at: self.now,
            port: router.0,
            bytes: &bytes,
            place: place.filter(|_| is_known),
        });
        if let Some(beacon) = Beacon::parse(&bytes) {
            let to = if beacon.answer {
                beacon.from
            } else {
                beacon.to
            };
            let to = self.hosts[usize::from(to)].router;
            let is_sought = [beacon.from, beacon.to]
                .iter()
                .any(|host| self.moves.is_sought(HostId(usize::from(*host)), self.now));
            // A route that moves may meet a way whose MTU changed while it was idle, at any time.
            let may_detour =
                self.net.is_lossy() || self.detours_until.is_some_and(|until| self.now <= until);
            // A detour may lead through a hostile member.
            let is_excused =
                is_sought || may_detour && (beacon.is_large() || !self.members.is_empty());
            if !is_excused {
                self.black_holes.sent(self.now, beacon, router.0, to.0);
            }
        }
        process.port.push_bytes(&bytes);
        let turns = process.work(now);
        self.settle(router, turns);
    }

    /// A container sends: its bridge knows which containers are on it.
    fn bridge(&mut self, from: HostId, router: RouterId, bytes: Vec<u8>) {
        let at = self.now + Self::BRIDGE_DELAY;
        let destination = EthernetFrame::new_unchecked(&bytes[..]).dst_addr();
        let mut is_local = false;
        for host in (0..self.hosts.len()).map(HostId) {
            let attached = &self.hosts[host.0];
            if attached.router == router
                && host != from
                && (attached.host.mac() == destination || destination.is_multicast())
            {
                is_local |= destination.is_unicast();
                self.queue.schedule(
                    at,
                    Event::FrameOut {
                        host,
                        bytes: bytes.clone(),
                    },
                );
            }
        }
        if !is_local {
            self.queue.schedule(at, Event::FrameIn { router, bytes });
        }
    }

    /// Takes all that a router has to give after its turns.
    pub(super) fn settle(&mut self, router: RouterId, turns: Vec<Turn>) {
        for turn in &turns {
            self.schedule_wake(router, turn);
        }
        self.send_packets(router);
        self.give_frames(router);
        // All at once: whatever they cause comes behind what later turns wrote already.
        let mut actions = Vec::new();
        for turn in turns {
            for event in turn.events {
                self.note(|| format!("{router}: {event}"));
            }
            actions.extend(turn.actions);
        }
        self.act(router, actions);
    }

    fn schedule_wake(&mut self, router: RouterId, turn: &Turn) {
        let machine = &mut self.machines[router.0];
        let (Some(process), Some((deadline, reason))) = (&mut machine.process, turn.deadline)
        else {
            return;
        };
        let at = deadline.saturating_duration_since(self.base);
        if at > self.now {
            process.spins = 0;
        } else {
            process.spins += 1;
            if process.spins > SPINS_MAX {
                process.spins = 0;
                // Let time move on, so that the scenario ends.
                process.wake_at = Some(self.now + Duration::from_millis(1));
                let start = machine.starts;
                self.queue.schedule(
                    self.now + Duration::from_millis(1),
                    Event::Wake { router, start },
                );
                self.violate(
                    Checker::Spin,
                    format!(
                        "router {router} asks to be woken at once, again and again: {reason:?}"
                    ),
                );
                return;
            }
        }
        let at = at.max(self.now);
        if process.wake_at.is_none_or(|known| at < known) {
            process.wake_at = Some(at);
            let start = machine.starts;
            self.queue.schedule(at, Event::Wake { router, start });
        }
    }

    fn send_packets(&mut self, router: RouterId) {
        loop {
            let process = self.machines[router.0].process.as_ref();
            let Some(run) = process.and_then(|process| process.wire.take()) else {
                return;
            };
            self.send_run(router, &run);
        }
    }

    /// A run of packets leaves a router for the network, which takes them one by one.
    pub(super) fn send_run(&mut self, router: RouterId, run: &MemoryPacket) {
        let remote = run.meta.remote;
        let Some(from) = source_address(&self.machines[router.0].addresses, PORT, remote) else {
            return;
        };
        if shows(&run.bytes) {
            let sentence =
                format!("a payload is readable in a datagram from router {router} to {remote}");
            self.violate(Checker::Clear, sentence);
        }
        self.check_silence(router, remote, "sent a datagram to");
        self.check_replayer(router, remote, &run.bytes);
        let route = self.net.route(self.now, router, from, remote);
        for bytes in run.bytes.chunks(run.meta.segment_bytes.max(1)) {
            let Some(Route { to, from }) = route else {
                self.net.count_unreachable();
                continue;
            };
            for (late, bytes) in self.leaving(router, bytes) {
                let arrivals = self.net.datagram(self.now, router, to, bytes.len());
                for at in arrivals.into_iter().flatten() {
                    let mut bytes = bytes.clone();
                    if self.net.corrupt(router, to, &mut bytes) {
                        self.strangers.are_active = true;
                    }
                    let local = remote;
                    self.queue.schedule(
                        at + late,
                        Event::Datagram {
                            to,
                            local,
                            from,
                            bytes,
                        },
                    );
                }
            }
        }
    }

    fn give_frames(&mut self, router: RouterId) {
        loop {
            let process = self.machines[router.0].process.as_ref();
            let Some(frame) = process.and_then(|process| process.port.pop()) else {
                return;
            };
            self.give_frame(router, &frame.bytes);
        }
    }

    /// A frame comes out of a router's port, and the bridge gives it to whom it is for.
    pub(super) fn give_frame(&mut self, router: RouterId, bytes: &[u8]) {
        // Its own loop frames; those of others have no business here, and nobody sent them.
        let peer = self.machines[router.0].identity.peer_id();
        if LoopFrame::is_from(bytes, &peer) {
            return;
        }
        let checked = match self.asker(bytes) {
            // Its old router and its new one may both have asked.
            Some(host) if self.moves.is_sought(host, self.now) => Ok(()),
            // Over TCP, some may come at once when what was lost has been sent again, at any time.
            Some(_) if self.net.is_lossy() => Ok(()),
            Some(_) => self.frames.asked(self.now, router.0, bytes),
            None => self.frames.delivered(router.0, bytes),
        };
        if let Err((checker, sentence)) = checked {
            self.violate(checker, sentence);
        }
        if let Some(beacon) = Beacon::parse(bytes) {
            let to = if beacon.answer {
                beacon.from
            } else {
                beacon.to
            };
            let to = self.hosts.get(usize::from(to));
            if to.is_some_and(|attached| attached.router == router) {
                self.black_holes.delivered(beacon);
            }
        }
        let at = self.now + Self::BRIDGE_DELAY;
        let destination = EthernetFrame::new_unchecked(bytes).dst_addr();
        for host in (0..self.hosts.len()).map(HostId) {
            let attached = &self.hosts[host.0];
            let is_for = attached.host.mac() == destination || destination.is_multicast();
            if attached.router == router && is_for {
                let bytes = bytes.to_vec();
                self.queue.schedule(at, Event::FrameOut { host, bytes });
            }
        }
    }

    /// The container on whose behalf a router asked this: its own requests are shorter, for nothing pads them.
    fn asker(&self, bytes: &[u8]) -> Option<HostId> {
        let arp = EthernetFrame::new_checked(bytes)
            .ok()
            .filter(|frame| frame.ethertype() == EthernetProtocol::Arp && bytes.len() == 60)
            .and_then(|frame| ArpPacket::new_checked(frame.payload()).ok());
        let Some(Ok(ArpRepr::EthernetIpv4 {
            operation: ArpOperation::Request,
            source_hardware_addr,
            source_protocol_addr,
            ..
        })) = arp.as_ref().map(ArpRepr::parse)
        else {
            return None;
        };
        let asker = self.hosts.iter().position(|attached| {
            let host = &attached.host;
            (host.mac(), host.address()) == (source_hardware_addr, source_protocol_addr)
        });
        asker.map(HostId)
    }

    /// Does what a router wants done. Writes to one stream in a row are one chunk, as one `write` would be.
    pub(super) fn act(&mut self, router: RouterId, actions: Vec<Action>) {
        // Answered behind all actions: what is written then is sealed behind what these write.
        let mut awaiting = Vec::new();
        let mut is_identity_lost = false;
        let mut actions = actions.into_iter().peekable();
        while let Some(action) = actions.next() {
            match action {
                Action::Resolve { target } => {
                    let start = self.machines[router.0].starts;
                    self.queue.schedule(
                        self.now + Self::RESOLVE_DELAY,
                        Event::Resolved {
                            router,
                            start,
                            target,
                        },
                    );
                }
                Action::Dial { conn, remote } => {
                    let source = source_address(&self.machines[router.0].addresses, 0, remote)
                        .unwrap_or(remote);
                    self.check_silence(router, remote, "dialled");
                    let (to, source) = self.net.connect(router, source, remote);
                    // Nothing but routers listens, and those at one port.
                    self.with_streams(|streams, context| {
                        streams.dial(
                            context,
                            (router, conn),
                            source,
                            remote,
                            to,
                            remote.port() == PORT,
                        );
                    });
                }
                Action::Write { conn, mut bytes } => {
                    while let Some(Action::Write { bytes: more, .. }) = actions.next_if(
                        |next| matches!(next, Action::Write { conn: other, .. } if *other == conn),
                    ) {
                        bytes.extend_from_slice(&more);
                    }
                    if shows(&bytes) {
                        self.violate(
                            Checker::Clear,
                            format!("a payload is readable in a TCP stream from router {router}"),
                        );
                    }
                    self.strangers.overheard.written(&bytes);
                    self.with_streams(|streams, context| {
                        streams.write(context, router, conn, bytes)
                    });
                }
                Action::Close { conn } => {
                    self.with_streams(|streams, context| streams.close(context, router, conn))
                }
                Action::AwaitDrained { conn } => awaiting.push(conn),
                // The control loop hands them on itself.
                Action::SendPacket { .. }
                | Action::SendFrame { .. }
                | Action::Announce { .. }
                | Action::TakePacket { .. } => {}
                Action::StoreBootId { boot_id } => self.machines[router.0].boot_id = boot_id,
                Action::RenewIdentity => is_identity_lost = true,
                Action::StorePeers { peers } => self.machines[router.0].peers = peers,
                // Nobody of this world waits for one.
                Action::Pinged { .. } => {}
            }
        }
        for conn in awaiting {
            self.with_streams(|streams, context| streams.await_drained(context, router, conn));
        }
        if is_identity_lost {
            self.renew_identity(router);
        }
    }

    fn notice(&mut self, output: StreamOutput) {
        if output.router() == STRANGER {
            return self.stranger_notices(output);
        }
        let (router, input) = match output {
            StreamOutput::Opened {
                router,
                conn,
                remote,
                dialled,
            } => {
                self.trace
                    .record(self.now, TraceKind::Opened, router.0, &conn.0.to_be_bytes());
                (
                    router,
                    Input::Opened {
                        conn,
                        remote,
                        dialled,
                    },
                )
            }
            StreamOutput::Bytes {
                router,
                conn,
                bytes,
            } => {
                self.trace
                    .record(self.now, TraceKind::Bytes, router.0, &bytes);
                (router, Input::Bytes { conn, bytes })
            }
            StreamOutput::Drained { router, conn } => (router, Input::Drained { conn }),
            StreamOutput::Closed {
                router,
                conn,
                reason,
            } => {
                self.trace
                    .record(self.now, TraceKind::Closed, router.0, &conn.0.to_be_bytes());
                (router, Input::Closed { conn, reason })
            }
        };
        self.control(router, Some(input));
    }

    /// Names are those of routers.
    fn resolve(&self, target: &weave_mesh::Target) -> Result<Vec<SocketAddr>, String> {
        if let Some(address) = target.socket() {
            return Ok(vec![address]);
        }
        match self
            .machines
            .iter()
            .find(|machine| machine.name == target.host())
        {
            Some(machine) => Ok(machine
                .addresses
                .iter()
                .map(|ip| SocketAddr::new(*ip, target.port()))
                .collect()),
            None => Err("no such name".to_owned()),
        }
    }

    fn beacon(&mut self, index: usize) {
        let pair = &mut self.beacons[index];
        pair.sequence += 1;
        let beacon = Beacon {
            from: pair.from.0 as u16,
            to: pair.to.0 as u16,
            sequence: pair.sequence,
            answer: false,
        };
        let (from, to, every) = (pair.from, pair.to, pair.every);
        self.queue.schedule(self.now + every, Event::Beacon(index));
        if self.moves.is_quiet(from, self.now) {
            return;
        }
        let addresses = (self.hosts[to.0].host.mac(), self.hosts[to.0].host.address());
        self.hosts[from.0].host.send_beacon(beacon, addresses);
        self.poll_host(from);
    }
}
