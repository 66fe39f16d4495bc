//! Messages on sealed streams: taking them in, in their order, and saying our own.

use std::time::Instant;

use weave_crypto::PeerId;

use super::{Action, Event, FRAME_TIMEOUT, Mesh, ROUTED_QUEUE_BYTES_MAX};
use crate::conn::{Conn, ConnId, Stage};
use crate::error::{DownReason, FailReason, SendError};
use crate::link::Link;
use crate::probe::{Probe, ProbeKind};
use crate::record::Key;
use crate::wire::{self, AnyKey, Control, Goodbye, ROUTED_BODY_BYTES_MAX, Routed};

impl Mesh {
    /// Sends a message on its way by the neighbour `via`, which the routes chose.
    ///
    /// # Errors
    ///
    /// [`SendError`]; nothing is sent then.
    pub fn send(&mut self, now: Instant, via: PeerId, message: Routed) -> Result<(), SendError> {
        self.now = now;
        if message.ttl == 0 {
            return Err(SendError::Ttl);
        }
        let length = message.body.len();
        if length > ROUTED_BODY_BYTES_MAX {
            return Err(SendError::TooLong);
        }
        let link = self.links.get_mut(&via).ok_or(SendError::NoStream)?;
        let conn = link.conn.ok_or(SendError::NoStream)?;
        if link.routed_bytes + length > ROUTED_QUEUE_BYTES_MAX {
            return Err(SendError::Full);
        }
        if link.routed_bytes == 0 {
            self.routed_links.push(via);
        }
        link.routed_bytes += length;
        self.say(conn, &Control::Routed(message));
        self.settle(now);
        Ok(())
    }

    /// Deals with all whole messages that a stream holds.
    pub(super) fn take_messages(&mut self, now: Instant, id: ConnId) {
        loop {
            let Some(session) = self.conns.get_mut(&id).and_then(Conn::session_mut) else {
                return;
            };
            let peer = session.peer;
            let is_adopted = session.is_adopted;
            let message = match session.stream.next_message() {
                Ok(None) => {
                    let until = session.frame_until.unwrap_or(now + FRAME_TIMEOUT);
                    session.frame_until = session.stream.is_mid_frame().then_some(until);
                    return;
                }
                Ok(Some(bytes)) => wire::parse(&bytes),
                Err(_) => {
                    self.lose_unreadable(now, id);
                    return;
                }
            };
            session.frame_until = None;
            self.stats.messages_received += 1;
            let Ok(message) = message else {
                self.stats.malformed_messages += 1;
                self.break_off(now, id);
                return;
            };
            if is_adopted && let Some(link) = self.links.get_mut(&peer) {
                link.stream_heard_at = now;
                self.win_contest(&peer);
            }
            let is_in_turn = self.take_message(now, id, peer, message);
            if !is_in_turn {
                self.break_off(now, id);
                return;
            }
        }
    }

    /// Returns false if the message has no place here.
    pub(super) fn take_message(
        &mut self,
        now: Instant,
        id: ConnId,
        peer: PeerId,
        message: Control,
    ) -> bool {
        let Some(conn) = self.conns.get_mut(&id) else {
            return true;
        };
        let remote = conn.remote;
        let Some(session) = conn.session_mut() else {
            return true;
        };
        let is_welcome = matches!(message, Control::Welcome { .. });
        if is_welcome != session.tag_out.is_none() {
            return false;
        }
        if !session.is_adopted {
            match message {
                Control::Welcome {
                    tag, start_random, ..
                } => {
                    session.tag_out = Some(tag);
                    session.start_random = Some(start_random);
                    if !self.meets_clone(now, id, peer, start_random) {
                        self.decide(now, id);
                    }
                }
                Control::Adopt if peer < self.own => self.adopt(now, id),
                // The neighbour knows a later boot id of ours than the one we came with.
                Control::Records(records) => {
                    let has_patience = self.take_records(now, peer, &records);
                    if peer == self.own && has_patience {
                        self.dial_failed(now, id, FailReason::Clone);
                        self.close(id, Some(Goodbye::Renewed));
                    }
                    return has_patience;
                }
                Control::Goodbye(reason) => self.take_goodbye(now, id, peer, reason),
                Control::Adopt
                | Control::Acknowledge(_)
                | Control::Digest(_)
                | Control::Buckets(_)
                | Control::List { .. }
                | Control::Want(_)
                | Control::Routed(_)
                | Control::Probe(_)
                | Control::Packet(_) => return false,
            }
            return true;
        }
        match message {
            Control::Welcome { tag, .. } => {
                session.tag_out = Some(tag);
                if let Some(link) = self.links.get_mut(&peer) {
                    link.tag_out = Some(tag);
                    self.changed_links.insert(peer);
                }
            }
            Control::Adopt => return false,
            Control::Records(records) => {
                let has_patience = self.take_records(now, peer, &records);
                let count = u32::try_from(records.len()).unwrap_or(u32::MAX);
                self.say(id, &Control::Acknowledge(count));
                return has_patience;
            }
            Control::Acknowledge(count) => {
                if let Some(link) = self.links.get_mut(&peer) {
                    return link.flooding.acknowledge(count);
                }
            }
            Control::Digest(digest) => self.take_digest(peer, &digest),
            Control::Buckets(buckets) => self.take_buckets(peer, &buckets),
            Control::List { first, last, keys } => {
                let keys = self.known_keys(&keys);
                self.take_list(peer, &first, &last, &keys);
            }
            Control::Want(keys) => {
                let keys = self.known_keys(&keys);
                self.take_want(peer, &keys);
            }
            Control::Routed(routed) => {
                if routed.ttl == 0 {
                    self.stats.routed_ttl += 1;
                } else {
                    self.events.push_back(Event::Message {
                        via: peer,
                        message: routed,
                    });
                }
            }
            Control::Probe(probe) => match probe.kind {
                ProbeKind::Challenge => {
                    let last_heard_ms = self
                        .links
                        .get(&peer)
                        .map_or(Probe::NEVER_HEARD, |link| link.liveness.last_heard_ms(now));
                    self.say(id, &Control::Probe(probe.answer(last_heard_ms, remote)));
                }
                ProbeKind::Answer => {
                    if let Some(link) = self.links.get_mut(&peer) {
                        link.stream.handle_answer(now, &probe);
                    }
                }
            },
            Control::Packet(packet) => {
                self.stats.packets_received += 1;
                self.events.push_back(Event::Packet { from: peer, packet });
            }
            Control::Goodbye(reason) => self.take_goodbye(now, id, peer, reason),
        }
        true
    }

    /// Keys of the kinds that this release knows.
    fn known_keys(&mut self, keys: &[AnyKey]) -> Vec<Key> {
        let known: Vec<Key> = keys.iter().filter_map(AnyKey::known).collect();
        self.stats.keys_unknown_kind += (keys.len() - known.len()) as u64;
        known
    }

    fn take_goodbye(&mut self, now: Instant, id: ConnId, peer: PeerId, reason: u32) {
        let Some(reason) = Goodbye::from_number(reason) else {
            // What it means for the link nobody here knows: it goes on as after the loss of its stream.
            self.stats.goodbyes_unknown += 1;
            self.lose_stream(now, id, FailReason::Goodbye);
            self.close(id, None);
            return;
        };
        let is_link = self
            .links
            .get(&peer)
            .is_some_and(|link| link.conn == Some(id));
        let failure = match reason {
            Goodbye::Duplicate => {
                // There is, or will be at once, another stream.
                self.dialler.reached(id, peer);
                FailReason::Goodbye
            }
            Goodbye::StaleBoot => FailReason::StaleBoot,
            Goodbye::Full => FailReason::Full,
            Goodbye::Forgotten => FailReason::Forgotten,
            Goodbye::Denied => FailReason::DeniedThere,
            Goodbye::Shutdown | Goodbye::Renewed => FailReason::Goodbye,
        };
        let down = match reason {
            Goodbye::Denied => DownReason::DeniedThere,
            Goodbye::Shutdown
            | Goodbye::Duplicate
            | Goodbye::StaleBoot
            | Goodbye::Full
            | Goodbye::Renewed
            | Goodbye::Forgotten => DownReason::Goodbye,
        };
        if is_link && reason != Goodbye::Duplicate {
            self.take_down(now, peer, down, None);
        } else {
            self.lose_stream(now, id, failure);
        }
        self.close(id, None);
    }

    /// What comes in was not sealed by the neighbour, or not so: somebody on the way changed it. That is the end of the
    /// stream and not of the link, or whoever can flip a bit could take links down.
    pub(super) fn lose_unreadable(&mut self, now: Instant, id: ConnId) {
        self.stats.unreadable_streams += 1;
        self.lose_stream(now, id, FailReason::Unreadable);
        self.close(id, None);
    }

    /// The neighbour broke the order of messages: nothing else that it says there can be trusted.
    pub(super) fn break_off(&mut self, now: Instant, id: ConnId) {
        self.stats.protocol_errors += 1;
        let of_link = self
            .links
            .values()
            .find(|link| link.conn == Some(id))
            .map(Link::peer);
        match of_link {
            Some(peer) => self.take_down(now, peer, DownReason::Protocol, None),
            None => self.lose_stream(now, id, FailReason::Protocol),
        }
        self.close(id, None);
    }

    /// Seals a message for a connection whose stream stands.
    pub(super) fn say(&mut self, id: ConnId, message: &Control) {
        let Some(conn) = self.conns.get_mut(&id) else {
            return;
        };
        let Stage::Open(session) = &mut conn.stage else {
            return;
        };
        // Fails for messages that are too long, which none is, and after 2^64 messages.
        if session
            .stream
            .seal(&message.encode(), &mut conn.out)
            .is_ok()
        {
            self.stats.messages_sent += 1;
        }
    }

    /// Seals a message for a neighbour; nothing happens without a stream.
    pub(super) fn say_to(&mut self, peer: PeerId, message: &Control) {
        if let Some(conn) = self.links.get(&peer).and_then(|link| link.conn) {
            self.say(conn, message);
        }
    }

    /// Hands out what was gathered for each connection that was touched, and takes note of its deadline.
    pub(super) fn flush(&mut self) {
        for id in self.conns.take_touched() {
            let conn = self.conns.get_untouched(&id);
            self.conn_deadlines
                .set(id, conn.as_ref().and_then(|conn| conn.next_deadline()));
            if let Some(conn) = conn.filter(|conn| !conn.out.is_empty()) {
                let bytes = std::mem::take(&mut conn.out);
                self.actions.push_back(Action::Write { conn: id, bytes });
            }
        }
    }
}
