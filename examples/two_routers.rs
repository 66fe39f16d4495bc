//! Two whole routers in one process, joined in memory: they meet, agree on keys, and a frame crosses.
//!
//! Time is a number that this program counts up itself, so the run is instant and the same every time.
//! Run with `cargo run -p weave-examples --example two_routers`.
#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use weave_core::{
    Action, Command, Config, ConnId, EthernetAddress, Fib, Identity, MacTable, PacketCaps, PeerId,
    Router,
};
use weave_io::{
    ControlLoop, Inbox, Input, MemoryHost, MemoryNet, MemoryPort, MemorySocket, NoticeQueue,
    Progress, Published, Shared, SharedStats, StreamQueue, Worker,
};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut now = Instant::now();
    let start = now;
    let mut net = MemoryNet::new();
    let mut routers = [Node::new(&mut net, now, 1), Node::new(&mut net, now, 2)];
    let mut stream = Stream::default();

    let target = routers[1].address.to_string().parse()?;
    let command = Input::Command(Command::Connect(target));
    turn(&mut routers, &mut stream, 0, now, Some(command))?;

    // The container behind router 1 says hello to everybody, again and again, until the one behind 2 hears it.
    let hello = ethernet_frame(
        EthernetAddress::BROADCAST,
        EthernetAddress([2, 0, 0, 0, 0, 1]),
    );
    let heard = loop {
        routers[0].host.push_bytes(&hello);
        for number in 0..2 {
            turn(&mut routers, &mut stream, number, now, None)?;
            while let Some((to, input)) = stream.pop() {
                turn(&mut routers, &mut stream, to, now, Some(input))?;
            }
        }
        net.deliver();
        // The router's own loop frames come out of its port as well.
        let host = &routers[1].host;
        if let Some(frame) = std::iter::from_fn(|| host.pop()).find(|frame| frame.bytes == hello) {
            break frame;
        }
        now += Duration::from_millis(1);
        if now - start > Duration::from_secs(5) {
            return Err("the routers did not meet".into());
        }
    };
    assert_eq!(heard.bytes.len(), hello.len());
    println!(
        "the frame crossed {} ms after the dial",
        (now - start).as_millis()
    );
    for node in &routers {
        let status = node.control.status(now);
        let cipher = status
            .connections
            .first()
            .and_then(|connection| connection.cipher.clone());
        println!(
            "{}: {}, {}",
            status.name,
            status.verdict().sentence,
            cipher.unwrap_or_default()
        );
    }
    Ok(())
}

/// One router with its data plane, its port and its socket.
struct Node {
    address: SocketAddr,
    control: ControlLoop<MemorySocket>,
    worker: Worker<MemoryPort, MemorySocket>,
    /// The other side of the port: what a container would be.
    host: MemoryHost,
}

impl Node {
    fn new(net: &mut MemoryNet, now: Instant, number: u8) -> Self {
        let address = SocketAddr::from(([198, 18, 0, number], 6783));
        let identity = Arc::new(Identity::from_seed([number; 32]));
        let shared = shared(now, identity.peer_id());
        let mut config = Config::new("home", "example");
        config.mesh.name = Some(format!("router-{number}"));
        let seed = [number + 100; 32];
        let macs = Arc::clone(&shared.macs);
        let router = Router::new(config, identity, seed, now, Duration::ZERO, 1, macs);
        let caps = PacketCaps {
            gso_segments_max: 64,
            gro: true,
            dont_fragment: true,
        };
        let socket = net.bind(address, caps, 64);
        let (port, host) = MemoryPort::plain(1514, 64);
        Self {
            address,
            control: ControlLoop::new(router, socket.clone(), &shared),
            worker: Worker::new(Some(port), socket, shared, now),
            host,
        }
    }
}

/// What control plane and data plane share.
fn shared(now: Instant, peer: PeerId) -> Shared {
    Shared {
        published: Arc::new(Published::new(Arc::new(Fib::empty(
            now,
            peer.short_id(),
            0,
        )))),
        notices: Arc::new(NoticeQueue::new()),
        streams: Arc::new(StreamQueue::new()),
        stats: Arc::new(SharedStats::new()),
        inbox: Arc::new(Inbox::new()),
        macs: Arc::new(MacTable::new(1024, now, 0)),
    }
}

/// The one TCP stream between the two, as inputs on their way.
#[derive(Default)]
struct Stream {
    on_the_way: VecDeque<(usize, Input)>,
    dialler: Option<(usize, ConnId)>,
}

impl Stream {
    fn pop(&mut self) -> Option<(usize, Input)> {
        self.on_the_way.pop_front()
    }

    fn other_end(&self, number: usize) -> Option<(usize, ConnId)> {
        let (dialler, conn) = self.dialler?;
        Some(if number == dialler {
            (1 - dialler, ACCEPTED)
        } else {
            (dialler, conn)
        })
    }
}

/// One turn of a router: control, then data, until there is nothing left to do; its actions carried out.
fn turn(
    routers: &mut [Node; 2],
    stream: &mut Stream,
    number: usize,
    now: Instant,
    input: Option<Input>,
) -> Result<(), Box<dyn std::error::Error>> {
    let addresses = [routers[0].address, routers[1].address];
    let node = &mut routers[number];
    for action in node.control.turn(now, input).actions {
        match action {
            // Our targets are addresses, so there is nothing to look up.
            Action::Resolve { target } => {
                let result = target.to_string().parse().map(|address| vec![address]);
                let result = result.map_err(|error| format!("{error}"));
                stream
                    .on_the_way
                    .push_back((number, Input::Resolved { target, result }));
            }
            Action::Dial { conn, remote } => {
                stream.dialler = Some((number, conn));
                let opened = Input::Opened {
                    conn,
                    remote,
                    dialled: true,
                };
                stream.on_the_way.push_back((number, opened));
                let accepted = Input::Opened {
                    conn: ACCEPTED,
                    remote: addresses[number],
                    dialled: false,
                };
                stream.on_the_way.push_back((1 - number, accepted));
            }
            Action::Write { bytes, .. } => {
                if let Some((to, conn)) = stream.other_end(number) {
                    stream
                        .on_the_way
                        .push_back((to, Input::Bytes { conn, bytes }));
                }
            }
            // Packets were sent already; nothing is announced, closed or stored in this story.
            Action::Close { .. }
            | Action::SendPacket { .. }
            | Action::SendFrame { .. }
            | Action::AwaitDrained { .. }
            | Action::TakePacket { .. }
            | Action::Announce { .. }
            | Action::StoreBootId { .. }
            | Action::RenewIdentity
            | Action::StorePeers { .. }
            | Action::Pinged { .. } => {}
        }
    }
    while node.worker.turn(now)? == Progress::Busy {}
    Ok(())
}

fn ethernet_frame(to: EthernetAddress, from: EthernetAddress) -> Vec<u8> {
    // 0x88b5 is an EtherType for experiments.
    let mut frame = [to.as_bytes(), from.as_bytes(), &[0x88, 0xb5], b"hello"].concat();
    frame.resize(60, 0);
    frame
}

/// The accepting side's name of the stream.
const ACCEPTED: ConnId = ConnId::accepted(1);
