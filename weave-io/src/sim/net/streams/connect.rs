//! How a stream comes to stand: SYN, answer, refusal, time-out.

use std::net::SocketAddr;

use weave_mesh::{CloseReason, ConnId};

use super::{
    CONNECT_TIMEOUT, Content, End, Flow, Machine, SYN_RETRY, Stream, StreamContext, StreamEvent,
    StreamId, StreamOutput, Streams,
};
use crate::sim::RouterId;

impl Streams {
    /// A router dials. `to` is none when nobody has the address: nothing answers then. Where nobody `listens` at
    /// the port, the attempt is refused.
    pub(crate) fn dial<E: From<StreamEvent>>(
        &mut self,
        context: &mut StreamContext<'_, E>,
        (router, conn): (RouterId, ConnId),
        source: SocketAddr,
        remote: SocketAddr,
        to: Option<RouterId>,
        listens: bool,
    ) {
        let id = self.next;
        self.next += 1;
        let end = |router, address, conn| End {
            router,
            address,
            conn,
            open: true,
        };
        self.streams.insert(
            id,
            Stream {
                ends: [
                    end(router, source, Some(conn)),
                    end(to.unwrap_or(router), remote, None),
                ],
                flows: [Flow::default(), Flow::default()],
                answered: false,
                listens,
                severed: None,
            },
        );
        self.by_conn.insert((router, conn), (id, 0));
        context.schedule(
            context.now + CONNECT_TIMEOUT,
            StreamEvent::ConnectTimeout(id),
        );
        if to.is_some() {
            self.send_syn(context, id);
        }
    }

    pub(super) fn send_syn<E: From<StreamEvent>>(
        &mut self,
        context: &mut StreamContext<'_, E>,
        id: StreamId,
    ) {
        let Some(stream) = self.streams.get(&id) else {
            return;
        };
        if let Some(delay) = context
            .net
            .segment(stream.ends[0].router, stream.ends[1].router)
        {
            context.schedule(context.now + delay, StreamEvent::Syn(id));
        }
        context.schedule(context.now + SYN_RETRY, StreamEvent::SynRetry(id));
    }

    pub(super) fn handle_syn<E: From<StreamEvent>>(
        &mut self,
        context: &mut StreamContext<'_, E>,
        id: StreamId,
    ) {
        let Some(stream) = self.streams.get(&id) else {
            return;
        };
        if stream.severed.is_some() {
            return; // the answer finds no mapping
        }
        let listener = stream.ends[1].router;
        let accepted = match (context.machine)(listener) {
            Machine::Silent => return,
            Machine::Idle => false,
            Machine::Running => stream.listens,
        };
        if let Some(delay) = context.net.segment(listener, stream.ends[0].router) {
            context.schedule(
                context.now + delay,
                StreamEvent::SynAnswer {
                    stream: id,
                    accepted,
                },
            );
        }
    }

    pub(super) fn handle_answer<E: From<StreamEvent>>(
        &mut self,
        context: &mut StreamContext<'_, E>,
        id: StreamId,
        accepted: bool,
    ) {
        let Some(stream) = self.streams.get_mut(&id) else {
            return;
        };
        if stream.answered || !stream.ends[0].open {
            return;
        }
        if !accepted {
            self.end(context, id, 0, CloseReason::Refused);
            self.streams.remove(&id);
            return;
        }
        stream.answered = true;
        if let Some(conn) = stream.ends[0].conn {
            context.output.push(StreamOutput::Opened {
                router: stream.ends[0].router,
                conn,
                remote: stream.ends[1].address,
                dialled: true,
            });
        }
        stream.flows[0].push(context.now, Content::Open);
        self.transmit(context, id, 0);
    }
}
