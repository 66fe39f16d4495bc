//! TCP between the machines, as ordered reliable bytes that obey the same cuts, losses and latencies.
//!
//! What a router can see of TCP is modelled, not TCP itself: chunks (what one write gave) arrive whole and in
//! order; a lost chunk, or one whose acknowledgement is lost, goes again after a retransmission time-out that
//! doubles; a stream with a chunk unacknowledged for [`USER_TIMEOUT`] ends at its sender. A connection
//! attempt is answered, refused after one round trip, or given up after [`CONNECT_TIMEOUT`].
//!
//! ```text
//!   dialler              listener
//!      | -------- SYN ------> |   refused when nobody listens
//!      | <------ SYN-ACK ---- |
//!  Opened                     |
//!      | -- first chunk ----> Opened   (the chunk `Open` travels in front of all data)
//!      | <----- chunks -----> |
//! ```

mod connect;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

use weave_mesh::{CloseReason, ConnId};

use super::Net;
use crate::sim::RouterId;
use crate::sim::queue::Queue;

/// How long a chunk may stay unacknowledged (the driver's TCP_USER_TIMEOUT).
const USER_TIMEOUT: Duration = Duration::from_secs(5);
/// How long the driver waits for a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// An unanswered SYN goes again (RFC 6298 section 2.1).
const SYN_RETRY: Duration = Duration::from_secs(1);
/// The first retransmission time-out (Linux's minimum); it doubles each time.
const RTO: Duration = Duration::from_millis(200);
/// Bytes unacknowledged in one direction beyond which the driver closes a stream.
const UNSENT_BYTES_MAX: usize = 1 << 20;

/// Names one stream.
pub(crate) type StreamId = u64;

/// Something that happens to a stream later.
#[derive(Debug, Clone, Copy)]
pub(crate) enum StreamEvent {
    /// A SYN reaches the listener.
    Syn(StreamId),
    /// The SYN goes again if it was not answered.
    SynRetry(StreamId),
    /// The answer to a SYN reaches the dialler.
    SynAnswer { stream: StreamId, accepted: bool },
    /// The dialler gives up.
    ConnectTimeout(StreamId),
    /// A chunk reaches the other end of `flow`.
    Arrive {
        stream: StreamId,
        flow: usize,
        sequence: u64,
    },
    /// The retransmission time-out of `flow` is over.
    Retransmit { stream: StreamId, flow: usize },
    /// A reset reaches an end.
    Reset { stream: StreamId, end: usize },
}

/// Something that a router notices of a stream.
#[derive(Debug)]
pub(crate) enum StreamOutput {
    /// It stands.
    Opened {
        router: RouterId,
        conn: ConnId,
        remote: SocketAddr,
        dialled: bool,
    },
    /// Bytes came.
    Bytes {
        router: RouterId,
        conn: ConnId,
        bytes: Vec<u8>,
    },
    /// All that was written to it is on its way.
    Drained { router: RouterId, conn: ConnId },
    /// It is over, or never came to stand.
    Closed {
        router: RouterId,
        conn: ConnId,
        reason: CloseReason,
    },
}

impl StreamOutput {
    /// Whose it is.
    pub(crate) fn router(&self) -> RouterId {
        match self {
            Self::Opened { router, .. }
            | Self::Bytes { router, .. }
            | Self::Drained { router, .. }
            | Self::Closed { router, .. } => *router,
        }
    }
}

/// What a machine answers to a packet from the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Machine {
    /// Nothing: it is powered off.
    Silent,
    /// Its kernel answers, no router listens.
    Idle,
    /// A router runs.
    Running,
}

/// All streams between the machines.
#[derive(Debug, Default)]
pub(crate) struct Streams {
    next: StreamId,
    streams: BTreeMap<StreamId, Stream>,
    by_conn: BTreeMap<(RouterId, ConnId), (StreamId, usize)>,
    accepted: BTreeMap<RouterId, u64>,
}

#[derive(Debug)]
struct Stream {
    /// The dialler's, then the listener's.
    ends: [End; 2],
    /// From the dialler, then from the listener.
    flows: [Flow; 2],
    answered: bool,
    /// Somebody listens at the port that was dialled.
    listens: bool,
    /// The end inside a NAT box that forgot the stream: what it sends comes from a port that nobody knows.
    severed: Option<usize>,
}

#[derive(Debug)]
struct End {
    router: RouterId,
    address: SocketAddr,
    /// The router's name for it while the router knows it.
    conn: Option<ConnId>,
    /// The kernel knows it: it takes chunks, or (after the router closed it) at least sends the rest.
    open: bool,
}

#[derive(Debug, Default)]
struct Flow {
    /// Not yet acknowledged.
    chunks: VecDeque<Chunk>,
    unsent_bytes: usize,
    /// The sequence number of the next chunk to write.
    next: u64,
    /// The sequence number that the receiver waits for.
    expected: u64,
    last_arrival: Duration,
    timeouts: u32,
    timer: bool,
    /// The router wants to be told when all is in flight.
    awaits_drained: bool,
    /// The next bytes that arrive have bits flipped.
    flips: bool,
}

#[derive(Debug)]
struct Chunk {
    sequence: u64,
    content: Content,
    written: Duration,
    in_flight: bool,
}

#[derive(Debug)]
enum Content {
    Open,
    Bytes(Vec<u8>),
    Fin,
}

/// What every operation needs of the world around.
pub(crate) struct StreamContext<'a, E> {
    pub(crate) now: Duration,
    pub(crate) net: &'a mut Net,
    pub(crate) queue: &'a mut Queue<E>,
    pub(crate) output: &'a mut Vec<StreamOutput>,
    pub(crate) machine: &'a dyn Fn(RouterId) -> Machine,
}

impl<E: From<StreamEvent>> StreamContext<'_, E> {
    fn schedule(&mut self, at: Duration, event: StreamEvent) {
        self.queue.schedule(at, event.into());
    }
}

impl Streams {
    /// A router writes.
    pub(crate) fn write<E: From<StreamEvent>>(
        &mut self,
        context: &mut StreamContext<'_, E>,
        router: RouterId,
        conn: ConnId,
        bytes: Vec<u8>,
    ) {
        let Some(&(id, end)) = self.by_conn.get(&(router, conn)) else {
            return;
        };
        let Some(stream) = self.streams.get_mut(&id) else {
            return;
        };
        let flow = &mut stream.flows[end];
        flow.unsent_bytes += bytes.len();
        if flow.unsent_bytes > UNSENT_BYTES_MAX {
            self.end(context, id, end, CloseReason::Overflow);
            return;
        }
        flow.push(context.now, Content::Bytes(bytes));
        self.transmit(context, id, end);
    }

    /// A router wants to be told when all that it wrote is on its way: at once, unless something was lost, or later.
    pub(crate) fn await_drained<E: From<StreamEvent>>(
        &mut self,
        context: &mut StreamContext<'_, E>,
        router: RouterId,
        conn: ConnId,
    ) {
        let Some(&(id, end)) = self.by_conn.get(&(router, conn)) else {
            return;
        };
        if let Some(stream) = self.streams.get_mut(&id) {
            stream.flows[end].awaits_drained = true;
            self.tell_drained(context, id, end);
        }
    }

    /// A router closes: what it wrote before still goes out.
    pub(crate) fn close<E: From<StreamEvent>>(
        &mut self,
        context: &mut StreamContext<'_, E>,
        router: RouterId,
        conn: ConnId,
    ) {
        let Some((id, end)) = self.by_conn.remove(&(router, conn)) else {
            return;
        };
        let Some(stream) = self.streams.get_mut(&id) else {
            return;
        };
        stream.ends[end].conn = None;
        if end == 0 && !stream.answered {
            self.streams.remove(&id);
            return;
        }
        stream.flows[end].push(context.now, Content::Fin);
        self.transmit(context, id, end);
    }

    /// A router's process died. Its kernel resets the streams, unless the machine is `silent`.
    pub(crate) fn drop_router<E: From<StreamEvent>>(
        &mut self,
        context: &mut StreamContext<'_, E>,
        router: RouterId,
        silent: bool,
    ) {
        let ids: Vec<_> = self
            .streams
            .iter()
            .filter(|(_, s)| s.ends.iter().any(|end| end.router == router && end.open))
            .map(|(id, _)| *id)
            .collect();
        for id in ids {
            for end in 0..2 {
                let Some(stream) = self.streams.get_mut(&id) else {
                    break;
                };
                if stream.ends[end].router != router || !stream.ends[end].open {
                    continue;
                }
                stream.flows[end].chunks.clear();
                self.forget_end(id, end);
                if !silent {
                    self.send_reset(context, id, 1 - end);
                }
            }
        }
    }

    /// A NAT box forgot its mappings; `inside` are the machines behind it. What leaves is answered with a reset,
    /// since it comes from another port than before, and what would come in is lost.
    pub(crate) fn sever<E: From<StreamEvent>>(
        &mut self,
        context: &mut StreamContext<'_, E>,
        inside: &BTreeSet<RouterId>,
    ) {
        let mut waiting = Vec::new();
        for (id, stream) in &mut self.streams {
            let [a, b] = stream
                .ends
                .each_ref()
                .map(|end| inside.contains(&end.router));
            if a == b {
                continue;
            }
            let end = usize::from(b);
            stream.severed = Some(end);
            if !stream.flows[end].chunks.is_empty() {
                waiting.push((*id, end));
            }
        }
        for (id, end) in waiting {
            self.start_timer(context, id, end);
        }
    }

    /// On each stream between two machines, the next bytes of either direction arrive with bits flipped.
    pub(crate) fn flip(&mut self, a: RouterId, b: RouterId) {
        for stream in self.streams.values_mut() {
            let [first, second] = stream.ends.each_ref().map(|end| end.router);
            if (first, second) == (a, b) || (first, second) == (b, a) {
                for flow in &mut stream.flows {
                    flow.flips = true;
                }
            }
        }
    }

    /// Whether the router at the other end of a stream knows it: it may have let go of it without this end having heard.
    pub(crate) fn is_held(&self, router: RouterId, conn: ConnId) -> bool {
        let Some(&(id, end)) = self.by_conn.get(&(router, conn)) else {
            return false;
        };
        self.streams
            .get(&id)
            .is_some_and(|stream| stream.ends[1 - end].conn.is_some())
    }

    /// Streams that are open at both ends or at one.
    pub(crate) fn len(&self) -> usize {
        self.streams.len()
    }

    /// Feeds an event that came due.
    pub(crate) fn handle<E: From<StreamEvent>>(
        &mut self,
        context: &mut StreamContext<'_, E>,
        event: StreamEvent,
    ) {
        match event {
            StreamEvent::Syn(id) => self.handle_syn(context, id),
            StreamEvent::SynRetry(id) => {
                if self
                    .streams
                    .get(&id)
                    .is_some_and(|stream| !stream.answered && stream.ends[0].open)
                {
                    self.send_syn(context, id);
                }
            }
            StreamEvent::SynAnswer { stream, accepted } => {
                self.handle_answer(context, stream, accepted)
            }
            StreamEvent::ConnectTimeout(id) => {
                if self.streams.get(&id).is_some_and(|stream| !stream.answered) {
                    self.end(context, id, 0, CloseReason::TimedOut);
                    self.streams.remove(&id);
                }
            }
            StreamEvent::Arrive {
                stream,
                flow,
                sequence,
            } => self.handle_arrival(context, stream, flow, sequence),
            StreamEvent::Retransmit { stream, flow } => {
                self.handle_retransmit(context, stream, flow)
            }
            StreamEvent::Reset { stream, end } => {
                let Some(router) = self
                    .streams
                    .get(&stream)
                    .map(|stream| stream.ends[end].router)
                else {
                    return;
                };
                if (context.machine)(router) != Machine::Silent {
                    self.end(context, stream, end, CloseReason::Reset);
                }
            }
        }
    }

    /// Sends every chunk that is not in flight, up to the first that is lost.
    fn transmit<E: From<StreamEvent>>(
        &mut self,
        context: &mut StreamContext<'_, E>,
        id: StreamId,
        flow: usize,
    ) {
        let Some(stream) = self.streams.get_mut(&id) else {
            return;
        };
        let (from, to) = (stream.ends[flow].router, stream.ends[1 - flow].router);
        let severed = stream.severed;
        let flow_state = &mut stream.flows[flow];
        if flow_state.timer {
            return; // the retransmission sends them all
        }
        if let Some(inside) = severed {
            let answer = [(from, to), (to, from)].map(|(from, to)| context.net.segment(from, to));
            if let ([Some(there), Some(back)], true) = (answer, flow == inside) {
                let at = context.now + there + back;
                context.schedule(
                    at,
                    StreamEvent::Reset {
                        stream: id,
                        end: inside,
                    },
                );
            }
            self.start_timer(context, id, flow);
            return;
        }
        for chunk in flow_state
            .chunks
            .iter_mut()
            .filter(|chunk| !chunk.in_flight)
        {
            let Some(delay) = context.net.segment(from, to) else {
                self.start_timer(context, id, flow);
                return;
            };
            chunk.in_flight = true;
            flow_state.last_arrival = flow_state.last_arrival.max(context.now + delay);
            context.schedule(
                flow_state.last_arrival,
                StreamEvent::Arrive {
                    stream: id,
                    flow,
                    sequence: chunk.sequence,
                },
            );
        }
    }

    fn tell_drained<E: From<StreamEvent>>(
        &mut self,
        context: &mut StreamContext<'_, E>,
        id: StreamId,
        end: usize,
    ) {
        let Some(stream) = self.streams.get_mut(&id) else {
            return;
        };
        let (flow, End { router, conn, .. }) = (&mut stream.flows[end], &stream.ends[end]);
        if let Some(conn) = *conn
            && !flow.timer
            && std::mem::take(&mut flow.awaits_drained)
        {
            let router = *router;
            context.output.push(StreamOutput::Drained { router, conn });
        }
    }

    fn start_timer<E: From<StreamEvent>>(
        &mut self,
        context: &mut StreamContext<'_, E>,
        id: StreamId,
        flow: usize,
    ) {
        let Some(stream) = self.streams.get_mut(&id) else {
            return;
        };
        let flow_state = &mut stream.flows[flow];
        if !flow_state.timer {
            flow_state.timer = true;
            // Six doublings are past the user time-out, which itself cuts the last one short, as Linux does.
            let mut at = context.now + RTO * (1 << flow_state.timeouts.min(6));
            if let Some(oldest) = flow_state.chunks.front() {
                at = at.min((oldest.written + USER_TIMEOUT).max(context.now));
            }
            context.schedule(at, StreamEvent::Retransmit { stream: id, flow });
        }
    }

    fn handle_retransmit<E: From<StreamEvent>>(
        &mut self,
        context: &mut StreamContext<'_, E>,
        id: StreamId,
        flow: usize,
    ) {
        let Some(stream) = self.streams.get_mut(&id) else {
            return;
        };
        let flow_state = &mut stream.flows[flow];
        flow_state.timer = false;
        let Some(oldest) = flow_state.chunks.front() else {
            flow_state.timeouts = 0;
            self.tell_drained(context, id, flow);
            return;
        };
        if context.now.saturating_sub(oldest.written) >= USER_TIMEOUT {
            self.end(context, id, flow, CloseReason::TimedOut);
            return;
        }
        flow_state.timeouts += 1;
        for chunk in &mut flow_state.chunks {
            chunk.in_flight = false;
        }
        self.transmit(context, id, flow);
        self.tell_drained(context, id, flow);
    }

    fn handle_arrival<E: From<StreamEvent>>(
        &mut self,
        context: &mut StreamContext<'_, E>,
        id: StreamId,
        flow: usize,
        sequence: u64,
    ) {
        let Some(stream) = self.streams.get_mut(&id) else {
            return;
        };
        let (sender, receiver) = (stream.ends[flow].router, stream.ends[1 - flow].router);
        match (context.machine)(receiver) {
            Machine::Silent => {
                self.start_timer(context, id, flow);
                return;
            }
            Machine::Idle | Machine::Running => {}
        }
        if stream.severed == Some(1 - flow) {
            self.start_timer(context, id, flow);
            return; // the box knows nothing of it
        }
        let opens = stream.flows[flow]
            .chunks
            .iter()
            .any(|chunk| chunk.sequence == sequence && matches!(chunk.content, Content::Open));
        let known = stream.ends[1 - flow].conn.is_some()
            || opens && (context.machine)(receiver) == Machine::Running;
        if !stream.ends[1 - flow].open || !known {
            self.send_reset(context, id, flow);
            return;
        }
        let flow_state = &mut stream.flows[flow];
        if sequence > flow_state.expected {
            return; // what is missing goes again first
        }
        // Acknowledged up to what is expected after this one; a lost acknowledgement leaves it in the queue.
        let fresh = sequence == flow_state.expected;
        if fresh {
            flow_state.expected += 1;
        }
        let expected = flow_state.expected;
        let is_severed = stream.severed.is_some();
        let acknowledged = !is_severed && context.net.segment(receiver, sender).is_some();
        let mut content = None;
        if acknowledged {
            while let Some(chunk) = flow_state
                .chunks
                .pop_front_if(|chunk| chunk.sequence < expected)
            {
                if chunk.sequence == sequence {
                    content = Some(chunk.content);
                }
            }
            flow_state.timeouts = 0;
        } else if let Some(chunk) = flow_state
            .chunks
            .iter_mut()
            .find(|chunk| chunk.sequence == sequence)
        {
            content = Some(std::mem::replace(
                &mut chunk.content,
                Content::Bytes(Vec::new()),
            ));
        }
        if let (true, Some(content)) = (fresh, content) {
            self.deliver(context, id, flow, content);
        }
        if !acknowledged {
            self.start_timer(context, id, flow);
        }
    }

    fn deliver<E: From<StreamEvent>>(
        &mut self,
        context: &mut StreamContext<'_, E>,
        id: StreamId,
        flow: usize,
        content: Content,
    ) {
        let Some(stream) = self.streams.get_mut(&id) else {
            return;
        };
        let to = 1 - flow;
        let router = stream.ends[to].router;
        match content {
            Content::Open => {
                let count = self.accepted.entry(router).or_insert(0);
                let conn = ConnId::accepted(*count);
                *count += 1;
                let remote = stream.ends[flow].address;
                stream.ends[to].conn = Some(conn);
                self.by_conn.insert((router, conn), (id, to));
                context.output.push(StreamOutput::Opened {
                    router,
                    conn,
                    remote,
                    dialled: false,
                });
            }
            Content::Bytes(mut bytes) => {
                let flow = &mut stream.flows[flow];
                flow.unsent_bytes = flow.unsent_bytes.saturating_sub(bytes.len());
                if std::mem::take(&mut flow.flips) {
                    context.net.flip(&mut bytes);
                }
                if let Some(conn) = stream.ends[to].conn {
                    context.output.push(StreamOutput::Bytes {
                        router,
                        conn,
                        bytes,
                    });
                }
            }
            Content::Fin => {
                self.end(context, id, to, CloseReason::Finished);
                self.streams.remove(&id);
            }
        }
    }

    /// Tells the end at `end` (unless it is gone already) that the other end knows nothing of the stream.
    fn send_reset<E: From<StreamEvent>>(
        &mut self,
        context: &mut StreamContext<'_, E>,
        id: StreamId,
        end: usize,
    ) {
        let Some(stream) = self.streams.get(&id) else {
            return;
        };
        let (from, to) = (stream.ends[1 - end].router, stream.ends[end].router);
        if stream.severed.is_some() {
            return;
        }
        if let Some(delay) = context.net.segment(from, to) {
            // Behind what was sent before it.
            let at = stream.flows[1 - end].last_arrival.max(context.now + delay);
            context.schedule(at, StreamEvent::Reset { stream: id, end });
        }
    }

    /// The stream is over at one end; its router is told.
    fn end<E: From<StreamEvent>>(
        &mut self,
        context: &mut StreamContext<'_, E>,
        id: StreamId,
        end: usize,
        reason: CloseReason,
    ) {
        let Some(stream) = self.streams.get(&id) else {
            return;
        };
        if let Some(conn) = stream.ends[end].conn {
            context.output.push(StreamOutput::Closed {
                router: stream.ends[end].router,
                conn,
                reason,
            });
        }
        self.forget_end(id, end);
    }

    fn forget_end(&mut self, id: StreamId, end: usize) {
        let Some(stream) = self.streams.get_mut(&id) else {
            return;
        };
        let this = &mut stream.ends[end];
        this.open = false;
        if let Some(conn) = this.conn.take() {
            self.by_conn.remove(&(this.router, conn));
        }
        stream.flows[end].chunks.clear();
        if stream.ends.iter().all(|end| !end.open) {
            self.streams.remove(&id);
        }
    }
}

impl Flow {
    fn push(&mut self, now: Duration, content: Content) {
        self.chunks.push_back(Chunk {
            sequence: self.next,
            content,
            written: now,
            in_flight: false,
        });
        self.next += 1;
    }
}

#[cfg(test)]
mod tests;
