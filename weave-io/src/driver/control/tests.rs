use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use weave_core::{Config, Fib, MacTable, PacketCaps};
use weave_crypto::Identity;

use super::*;
use crate::driver::Worker;
use crate::{MemoryHost, MemoryNet, MemoryPort, MemorySocket};

#[test]
fn two_loops_link_up_and_their_workers_carry_frames() {
    let mut world = World::new();
    world.run_for(Duration::from_secs(3));
    for side in 0..2 {
        let status = world.sides[side].control.status(world.now);
        assert_eq!(status.connections.len(), 1, "{status:#?}");
        assert!(status.connections[0].usable, "{status:#?}");
    }
    let frame = [&[0xff; 6][..], &[2, 0, 0, 0, 0, 1], &[0x88, 0xb6], &[0; 46]].concat();
    world.sides[0].host.push_bytes(&frame);
    world.run_for(Duration::from_millis(1));
    // Loop frames of the router's own come out as well, four in three seconds.
    let host = &world.sides[1].host;
    let (ours, others): (Vec<_>, Vec<_>) = std::iter::from_fn(|| host.pop())
        .map(|frame| frame.bytes)
        .partition(|bytes| bytes[12..14] == [0x88, 0xb5]);
    assert_eq!(others, [frame]);
    assert_eq!(ours.len(), 4);
    assert_eq!(
        world.sides[1].control.status(world.now).traffic.frames_out,
        1
    );
}

#[test]
fn a_turn_before_the_deadline_does_nothing() {
    let mut world = World::new();
    world.run_for(Duration::from_secs(1));
    let turn = world.sides[0].control.turn(world.now, None);
    assert!(turn.actions.is_empty() && turn.events.is_empty());
    assert!(turn.deadline.unwrap().0 > world.now);
}

#[test]
fn a_shutdown_says_goodbye_before_it_closes() {
    let mut world = World::new();
    world.run_for(Duration::from_secs(3));
    let input = Input::Command(Command::Shutdown);
    let turn = world.sides[0].control.turn(world.now, Some(input));
    let written = |action: &Action| matches!(action, Action::Write { .. });
    assert!(turn.actions.iter().any(written), "{:?}", turn.actions);
}

/// Two routers in virtual time: packets and streams arrive at once.
struct World {
    now: Instant,
    net: MemoryNet,
    sides: Vec<Side>,
    inputs: VecDeque<(usize, Input)>,
    /// The far end of each stream, by near side and name.
    streams: BTreeMap<(usize, ConnId), (usize, ConnId)>,
}

struct Side {
    control: ControlLoop<MemorySocket>,
    worker: Worker<MemoryPort, MemorySocket>,
    host: MemoryHost,
    deadline: Option<Instant>,
}

impl World {
    fn new() -> Self {
        let now = Instant::now();
        let mut net = MemoryNet::new();
        let sides = (0..2).map(|number| side(now, number, &mut net)).collect();
        let mut world = Self {
            now,
            net,
            sides,
            inputs: VecDeque::new(),
            streams: BTreeMap::new(),
        };
        for side in 0..2 {
            world.turn(side, None);
        }
        world
    }

    fn run_for(&mut self, duration: Duration) {
        let end = self.now + duration;
        loop {
            self.settle();
            let next = self.sides.iter().filter_map(|side| side.deadline).min();
            match next {
                Some(next) if next <= end => self.now = self.now.max(next),
                _ => break,
            }
            for side in 0..2 {
                self.turn(side, None);
            }
        }
        self.now = end;
    }

    /// Lets everything happen that needs no time.
    fn settle(&mut self) {
        loop {
            while let Some((side, input)) = self.inputs.pop_front() {
                self.turn(side, Some(input));
            }
            for side in 0..2 {
                self.sides[side].worker.turn(self.now).unwrap();
                self.turn(side, None);
            }
            if self.net.deliver() == 0 && self.inputs.is_empty() {
                return;
            }
        }
    }

    fn turn(&mut self, side: usize, input: Option<Input>) {
        let turn = self.sides[side].control.turn(self.now, input);
        self.sides[side].deadline = turn.deadline.map(|(at, _)| at);
        for action in turn.actions {
            self.perform(side, action);
        }
    }

    fn perform(&mut self, side: usize, action: Action) {
        let far_side = 1 - side;
        match action {
            Action::Resolve { target } => {
                let result = Ok(vec![target.socket().unwrap()]);
                self.inputs
                    .push_back((side, Input::Resolved { target, result }));
            }
            Action::Dial { conn, remote } => {
                assert_eq!(remote, address(far_side));
                let far = ConnId::accepted(conn.0);
                self.streams.insert((side, conn), (far_side, far));
                self.streams.insert((far_side, far), (side, conn));
                for (side, conn, remote, dialled) in [
                    (side, conn, remote, true),
                    (far_side, far, address(side), false),
                ] {
                    let opened = Input::Opened {
                        conn,
                        remote,
                        dialled,
                    };
                    self.inputs.push_back((side, opened));
                }
            }
            Action::Write { conn, bytes } => {
                if let Some(&(side, conn)) = self.streams.get(&(side, conn)) {
                    self.inputs.push_back((side, Input::Bytes { conn, bytes }));
                }
            }
            Action::Close { conn } => {
                if let Some((side, conn)) = self.streams.remove(&(side, conn)) {
                    self.streams.remove(&(side, conn));
                    let reason = CloseReason::Finished;
                    self.inputs
                        .push_back((side, Input::Closed { conn, reason }));
                }
            }
            Action::AwaitDrained { conn } => {
                self.inputs.push_back((side, Input::Drained { conn }));
            }
            Action::SendPacket { .. }
            | Action::SendFrame { .. }
            | Action::Announce { .. }
            | Action::TakePacket { .. } => {
                panic!("the control loop hands them on itself")
            }
            Action::RenewIdentity
            | Action::StoreBootId { .. }
            | Action::StorePeers { .. }
            | Action::Pinged { .. } => {}
        }
    }
}

fn side(now: Instant, number: usize, net: &mut MemoryNet) -> Side {
    let mut config = Config::new("test", &format!("router {number}"));
    if number == 1 {
        let target = address(0).to_string();
        config.mesh.targets.push(target.parse().unwrap());
    }
    let seed = [number as u8 + 1; 32];
    let identity = Arc::new(Identity::from_seed(seed));
    let macs = Arc::new(MacTable::new(64, now, 1));
    let fib = Fib::empty(now, identity.peer_id().short_id(), 0);
    let shared = Shared {
        published: Arc::new(Published::new(Arc::new(fib))),
        notices: Arc::new(NoticeQueue::new()),
        streams: Arc::new(StreamQueue::new()),
        stats: Arc::new(SharedStats::new()),
        inbox: Arc::new(Inbox::new()),
        macs: Arc::clone(&macs),
    };
    let router = Router::new(config, identity, seed, now, Duration::ZERO, 1, macs);
    let caps = PacketCaps {
        gso_segments_max: 64,
        gro: true,
        dont_fragment: true,
    };
    let socket = net.bind(address(number), caps, 64);
    let (port, host) = MemoryPort::plain(1514, 64);
    Side {
        control: ControlLoop::new(router, socket.clone(), &shared),
        worker: Worker::new(Some(port), socket, shared, now),
        host,
        deadline: None,
    }
}

fn address(number: usize) -> SocketAddr {
    SocketAddr::from(([198, 18, 0, number as u8 + 1], 6783))
}
