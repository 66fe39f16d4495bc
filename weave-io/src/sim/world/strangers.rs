//! Strangers: datagrams and connections to a router from who is no member, and what may come back.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use weave_core::{Kind, PacketView};
use weave_mesh::ConnId;

use super::{Event, World};
use crate::sim::RouterId;
use crate::sim::check::Checker;
use crate::sim::dice::Dice;
use crate::sim::hostile::{Manner, Overheard, REPLAYER, is_strange, stranger};
use crate::sim::net::StreamOutput;
use crate::sim::trace::TraceKind;

/// Stands for all strangers among the ends of streams: no world has so many routers.
pub(super) const STRANGER: RouterId = RouterId(usize::MAX);

/// All strangers together: they know what they have seen, and have their own dice, so that what they do moves no draw
/// of anybody else.
#[derive(Debug)]
pub(super) struct Strangers {
    dice: Dice,
    pub(super) overheard: Overheard,
    next: u64,
    connections: BTreeMap<ConnId, Connection>,
    /// Somebody sent, or a way changed, bytes: routers may meet packets that are not genuine.
    pub(super) are_active: bool,
}

#[derive(Debug)]
struct Connection {
    router: RouterId,
    opened: Option<Duration>,
    opening: Vec<u8>,
    manner: Manner,
    /// Bytes that the router said.
    got_bytes: usize,
}

impl Strangers {
    pub(super) fn new(dice: Dice) -> Self {
        Self {
            dice,
            overheard: Overheard::default(),
            next: 0,
            connections: BTreeMap::new(),
            are_active: false,
        }
    }
}

impl World {
    /// What a fault of strangers asks for is spread over this time.
    const ATTACK: Duration = Duration::from_secs(1);
    /// A stranger's connection that a router holds for longer is found: three stages of five seconds (design.md
    /// section 3), and some.
    const HELD_MAX: Duration = Duration::from_secs(20);
    /// Connections that a router holds before they are set up (design.md section 3).
    const HALF_OPEN_MAX: usize = 256;
    const DRIP: Duration = Duration::from_secs(1);
    /// What a router says to whom it does not know: a hello, and an answer to a replayed opening of a handshake.
    const SAID_BYTES_MAX: usize = 512;

    /// So many hostile datagrams come to a router's socket from now on.
    pub(super) fn attack_datagrams(&mut self, router: RouterId, count: u16) {
        self.strangers.are_active = true;
        let gap = Self::ATTACK / u32::from(count).max(1);
        self.attack(router, count, gap);
    }

    /// The next of `left` datagrams.
    pub(super) fn attack(&mut self, router: RouterId, left: u16, gap: Duration) {
        if left == 0 {
            return;
        }
        let routers: Vec<SocketAddr> = self.routers().map(|router| self.address(router)).collect();
        let strangers = &mut self.strangers;
        let hostile = strangers
            .overheard
            .hostile_datagram(&mut strangers.dice, &routers);
        self.deliver(
            router,
            self.address(router).ip(),
            hostile.from,
            hostile.bytes,
        );
        let event = Event::Hostile {
            router,
            left: left - 1,
            gap,
        };
        self.queue.schedule(self.now + gap, event);
    }

    /// So many strangers connect to a router from now on.
    pub(super) fn attack_streams(&mut self, router: RouterId, count: u16) {
        self.strangers.are_active = true;
        let gap = Self::ATTACK / u32::from(count).max(1);
        for number in 0..u32::from(count) {
            let strangers = &mut self.strangers;
            let conn = ConnId(strangers.next);
            strangers.next += 1;
            let (opening, manner) = strangers.overheard.hostile_opening(&mut strangers.dice);
            let connection = Connection {
                router,
                opened: None,
                opening,
                manner,
                got_bytes: 0,
            };
            strangers.connections.insert(conn, connection);
            self.queue
                .schedule(self.now + gap * number, Event::Stranger(conn));
        }
    }

    /// A stranger's connection is due: to be dialled, or to get another byte.
    pub(super) fn stranger_acts(&mut self, conn: ConnId) {
        let strangers = &mut self.strangers;
        let Some(connection) = strangers.connections.get_mut(&conn) else {
            return;
        };
        if connection.opened.is_some() {
            let byte = vec![strangers.dice.number() as u8];
            self.with_streams(|streams, context| streams.write(context, STRANGER, conn, byte));
            self.queue
                .schedule(self.now + Self::DRIP, Event::Stranger(conn));
            return;
        }
        let router = connection.router;
        // Some come from one address, most from many.
        let source = match strangers.dice.below(3) {
            0 => SocketAddr::from(([198, 51, 100, 7], strangers.dice.number() as u16)),
            _ => stranger(&mut strangers.dice),
        };
        let remote = self.address(router);
        self.with_streams(|streams, context| {
            streams.dial(
                context,
                (STRANGER, conn),
                source,
                remote,
                Some(router),
                true,
            );
        });
    }

    /// What a stranger notices of its stream.
    pub(super) fn stranger_notices(&mut self, output: StreamOutput) {
        match output {
            StreamOutput::Opened { conn, .. } => {
                let Some(connection) = self.strangers.connections.get_mut(&conn) else {
                    return;
                };
                connection.opened = Some(self.now);
                let opening = std::mem::take(&mut connection.opening);
                let manner = connection.manner;
                if !opening.is_empty() {
                    self.with_streams(|streams, context| {
                        streams.write(context, STRANGER, conn, opening);
                    });
                }
                match manner {
                    Manner::Stall => {}
                    Manner::Drip => self
                        .queue
                        .schedule(self.now + Self::DRIP, Event::Stranger(conn)),
                    Manner::Close => {
                        self.strangers.connections.remove(&conn);
                        self.with_streams(|streams, context| {
                            streams.close(context, STRANGER, conn);
                        });
                    }
                }
            }
            StreamOutput::Bytes { conn, bytes, .. } => {
                self.trace
                    .record(self.now, TraceKind::Bytes, STRANGER.0, &bytes);
                let Some(connection) = self.strangers.connections.get_mut(&conn) else {
                    return;
                };
                connection.got_bytes += bytes.len();
                if connection.got_bytes > Self::SAID_BYTES_MAX {
                    let sentence = format!(
                        "router {} said {} bytes to a stranger",
                        connection.router, connection.got_bytes
                    );
                    self.violate(Checker::Silence, sentence);
                }
            }
            // Strangers do not ask.
            StreamOutput::Drained { .. } => {}
            StreamOutput::Closed { conn, .. } => {
                self.strangers.connections.remove(&conn);
            }
        }
    }

    /// Nobody sends anything to who only ever sent rubbish, nor to where nobody can be.
    pub(super) fn check_silence(&mut self, router: RouterId, remote: SocketAddr, what: &str) {
        if is_strange(remote.ip()) {
            self.violate(
                Checker::Silence,
                format!("router {router} {what} {remote}, which is a stranger"),
            );
        }
    }

    /// A packet sealed by a member may be answered by a challenge to where it came from; nothing else goes there until
    /// that is answered, which no stranger can.
    pub(super) fn check_replayer(&mut self, router: RouterId, remote: SocketAddr, packet: &[u8]) {
        if remote == REPLAYER
            && !PacketView::new_checked(packet).is_ok_and(|view| view.kind() == Kind::Probe)
        {
            self.violate(
                Checker::Silence,
                format!("router {router} sent more than a probe to {remote}, which replays"),
            );
        }
    }

    /// Connections of strangers that a router holds for too long, or too many of them.
    pub(super) fn held_strangers(&self) -> Option<String> {
        let mut held = BTreeMap::new();
        for (conn, connection) in &self.strangers.connections {
            let Some(opened) = connection
                .opened
                .filter(|_| self.streams.is_held(STRANGER, *conn))
            else {
                continue;
            };
            let (router, since) = (connection.router, self.now - opened);
            if since > Self::HELD_MAX {
                return Some(format!(
                    "router {router} holds a stranger's connection for {since:?}"
                ));
            }
            let count = held.entry(router).or_insert(0);
            *count += 1;
            if *count > Self::HALF_OPEN_MAX {
                return Some(format!(
                    "router {router} holds {count} connections of strangers"
                ));
            }
        }
        None
    }

    /// Streams that strangers ever had.
    pub(super) fn stranger_streams(&self) -> usize {
        self.strangers.next as usize
    }
}
