//! Echoes: how long the way to each router on a path and back takes.
//!
//! ```text
//!  Command::Ping ──> round: one echo to each router on the path ──> Note::Echo ──> each of them
//!                      │ a hop without tunnel waits for it                          │ at most 20/s for each asker
//!                      │                                         Note::EchoAnswer <─┘
//!                      └─ the end has answered, or time is up ──> Action::Pinged
//! ```
//!
//! An echo is a note in the tunnel with the router asked and travels as frames do: by the same next hop, in a relay
//! envelope where others carry it, over the same carrier.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rand::RngExt as _;
use rand_chacha::ChaCha20Rng;
use serde::{Deserialize, Serialize};
use weave_crypto::PeerId;

use super::find::FindError;
use super::trace::{Trace, micros};
use super::{Action, Router};
use crate::packet::Note;
use crate::timer::Timer;

/// What came back of one ping.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ping {
    /// Name of the router at the end.
    pub to: String,
    /// Its identity: 64 hex digits.
    pub peer_id: String,
    /// The MAC address that was asked for, in colon form, which lives behind that router.
    pub mac: Option<String>,
    /// The routers on the way, the next one first, the one at the end last; none for this router itself.
    pub hops: Vec<PingHop>,
    /// The largest UDP payload that the whole path takes, in bytes; 0 where there is no path.
    pub path_mtu_bytes: u16,
    /// Microseconds to the end and back; none when no answer came.
    pub rtt_us: Option<u64>,
    /// Why no answer came, a sentence.
    pub failure: Option<String>,
}

/// One router on the path of a ping.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PingHop {
    /// The router's name.
    pub name: String,
    /// Its identity: 64 hex digits.
    pub peer_id: String,
    /// What carries frames on the link that leads to it: `udp` or `tcp`.
    pub carrier: String,
    /// The largest UDP payload that this link takes, in bytes.
    pub path_mtu_bytes: u16,
    /// Microseconds from here to this router and back; none when it did not answer.
    pub rtt_us: Option<u64>,
}

/// Why there was no ping.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PingError {
    /// It is not clear whom to ask.
    #[error(transparent)]
    Find(#[from] FindError),
    /// As many pings as are allowed are under way.
    #[error("{ROUNDS_MAX} pings are under way already: ask again when one has ended")]
    Busy,
}

/// Pings under way, and how often others may have theirs answered.
#[derive(Debug)]
pub(crate) struct Echoes {
    rng: ChaCha20Rng,
    rounds: BTreeMap<u64, Round>,
    /// Until when each asker's answers are paid for (a leaky bucket, ITU-T I.371's generic cell rate algorithm).
    paid_until: BTreeMap<PeerId, Instant>,
}

/// One ping under way.
#[derive(Debug)]
struct Round {
    ping: Ping,
    hops: Vec<Hop>,
    timeout: Duration,
    deadline: Instant,
}

/// The echo to one router on the path.
#[derive(Debug)]
struct Hop {
    peer: PeerId,
    token: u64,
    /// Set once it has left; it waits for a tunnel until then.
    sent_at: Option<Instant>,
    is_answered: bool,
}

impl Echoes {
    pub(crate) fn new(rng: ChaCha20Rng) -> Self {
        Self {
            rng,
            rounds: BTreeMap::new(),
            paid_until: BTreeMap::new(),
        }
    }

    /// When the next round ends unless it is answered before.
    fn deadline(&self) -> Option<Instant> {
        self.rounds.values().map(|round| round.deadline).min()
    }

    /// Whether a peer's echo may be answered now.
    fn may_answer(&mut self, now: Instant, peer: PeerId) -> bool {
        let paid_until = self.paid_until.entry(peer).or_insert(now);
        let paid = (*paid_until).max(now);
        if paid.saturating_duration_since(now) > ANSWER_INTERVAL * (ANSWERS_BURST - 1) {
            return false;
        }
        *paid_until = paid + ANSWER_INTERVAL;
        true
    }

    /// Whether any asker is remembered.
    #[cfg(test)]
    pub(super) fn may_be_in_debt(&self) -> bool {
        !self.paid_until.is_empty()
    }

    /// Forgets askers that are not in debt.
    pub(super) fn keep_house(&mut self, now: Instant) {
        self.paid_until.retain(|_, paid_until| *paid_until > now);
    }
}

impl Router {
    /// Starts a ping; its outcome comes as [`Action::Pinged`] with the same `id`.
    pub(super) fn ping(&mut self, now: Instant, id: u64, to: &str, timeout: Duration) {
        let found = match self.find(to) {
            Ok(_) if self.echoes.rounds.len() >= ROUNDS_MAX => Err(PingError::Busy),
            Ok(found) => Ok(found),
            Err(error) => Err(error.into()),
        };
        let found = match found {
            Ok(found) => found,
            Err(error) => return self.pinged(id, Err(error)),
        };
        let trace = self.trace_to(now, &found.peer);
        let mut ping = Ping::along(&trace);
        ping.mac = found.mac.map(super::command::colons);
        if trace.local {
            ping.rtt_us = Some(0);
            return self.pinged(id, Ok(ping));
        }
        if !trace.reachable {
            ping.failure = Some(trace.why.join("; "));
            return self.pinged(id, Ok(ping));
        }
        let peers = self.path(&found.peer);
        for peer in &peers {
            self.begin_tunnel(now, *peer);
        }
        let timeout = timeout.min(TIMEOUT_MAX);
        let hops = peers
            .into_iter()
            .map(|peer| Hop {
                peer,
                token: self.echoes.rng.random(),
                sent_at: None,
                is_answered: false,
            })
            .collect();
        let round = Round {
            ping,
            hops,
            timeout,
            deadline: now + timeout,
        };
        // An id given twice is the caller's slip: the first of the two ends without an answer.
        if let Some(former) = self.echoes.rounds.insert(id, round) {
            self.end_round(id, former);
        }
        self.set_echo_timer();
    }

    /// Sends what waited for a tunnel that stands now.
    pub(super) fn send_waiting_echoes(&mut self, now: Instant) {
        if self.echoes.rounds.is_empty() {
            return;
        }
        let waiting: Vec<(u64, usize, PeerId, u64)> = self
            .echoes
            .rounds
            .iter()
            .flat_map(|(id, round)| {
                let hops = round.hops.iter().enumerate();
                hops.filter(|(_, hop)| hop.sent_at.is_none())
                    .map(|(index, hop)| (*id, index, hop.peer, hop.token))
            })
            .collect();
        for (id, index, peer, token) in waiting {
            if self.send_note(now, &peer, Note::Echo { token })
                && let Some(round) = self.echoes.rounds.get_mut(&id)
                && let Some(hop) = round.hops.get_mut(index)
            {
                hop.sent_at = Some(now);
            }
        }
    }

    /// Another router asks for an answer.
    pub(super) fn handle_echo(&mut self, now: Instant, from: PeerId, token: u64) {
        if !self.echoes.may_answer(now, from) {
            self.refuse("echo_too_often");
        } else if !self.send_note(now, &from, Note::EchoAnswer { token }) {
            self.refuse("echo_no_way_back");
        }
    }

    /// Another router answers.
    pub(super) fn handle_echo_answer(&mut self, now: Instant, from: PeerId, token: u64) {
        let asked = self.echoes.rounds.iter_mut().find_map(|(id, round)| {
            let hops = round.hops.iter();
            let index = hops.clone().position(|hop| {
                hop.peer == from && hop.token == token && hop.sent_at.is_some() && !hop.is_answered
            })?;
            Some((*id, index, round))
        });
        let Some((id, index, round)) = asked else {
            // Too late, or never asked for.
            self.refuse("echo_answer_unexpected");
            return;
        };
        let Some(hop) = round.hops.get_mut(index) else {
            return;
        };
        hop.is_answered = true;
        let took = hop
            .sent_at
            .map_or(Duration::ZERO, |at| now.saturating_duration_since(at));
        if let Some(shown) = round.ping.hops.get_mut(index) {
            shown.rtt_us = Some(micros(took));
        }
        if index + 1 == round.hops.len() {
            round.ping.rtt_us = Some(micros(took));
            // Those on the way are nearer: one that has not answered in twice the time is not waited for.
            round.deadline = round.deadline.min(now + took.max(STRAGGLERS_MIN));
        }
        if round.hops.iter().all(|hop| hop.is_answered)
            && let Some(round) = self.echoes.rounds.remove(&id)
        {
            self.end_round(id, round);
        }
        self.set_echo_timer();
    }

    /// Ends the rounds whose time is up.
    pub(super) fn end_late_rounds(&mut self, now: Instant) {
        let late: Vec<u64> = self
            .echoes
            .rounds
            .iter()
            .filter(|(_, round)| round.deadline <= now)
            .map(|(id, _)| *id)
            .collect();
        for id in late {
            if let Some(round) = self.echoes.rounds.remove(&id) {
                self.end_round(id, round);
            }
        }
        self.set_echo_timer();
    }

    fn end_round(&mut self, id: u64, mut round: Round) {
        if round.ping.rtt_us.is_none() {
            let name = &round.ping.to;
            let seconds = round.timeout.as_secs_f64();
            let was_sent = round.hops.last().is_some_and(|hop| hop.sent_at.is_some());
            round.ping.failure = Some(if was_sent {
                format!("no answer from {name} within {seconds} s")
            } else {
                format!("no tunnel with {name} within {seconds} s")
            });
        }
        self.pinged(id, Ok(round.ping));
    }

    fn pinged(&mut self, id: u64, result: Result<Ping, PingError>) {
        self.actions.push_back(Action::Pinged { id, result });
    }

    fn set_echo_timer(&mut self) {
        self.timers.set(Timer::Echoes, self.echoes.deadline());
    }
}

impl Ping {
    /// A ping along a path, not answered yet.
    fn along(trace: &Trace) -> Self {
        Self {
            to: trace.to.clone(),
            peer_id: trace.peer_id.clone(),
            mac: None,
            hops: trace
                .hops
                .iter()
                .map(|hop| PingHop {
                    name: hop.name.clone(),
                    peer_id: hop.peer_id.clone(),
                    carrier: hop.carrier.clone(),
                    path_mtu_bytes: hop.path_mtu_bytes,
                    rtt_us: None,
                })
                .collect(),
            path_mtu_bytes: trace.path_mtu_bytes,
            rtt_us: None,
            failure: None,
        }
    }
}

/// Pings under way at once: from the handful of people who look at one router.
const ROUNDS_MAX: usize = 16;
/// No path that is of use takes as long.
const TIMEOUT_MAX: Duration = Duration::from_secs(10);
/// Routers on the way have at least this long after the end has answered: scheduling alone may take as much.
const STRAGGLERS_MIN: Duration = Duration::from_millis(50);
/// Answers to one asker, in the long run: 20 a second.
const ANSWER_INTERVAL: Duration = Duration::from_millis(50);
/// Answers to one asker in a row.
const ANSWERS_BURST: u32 = 20;
