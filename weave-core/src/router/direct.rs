//! Direct UDP paths to routers that are no neighbours: when one is wanted, and what the two tell each other for it.
//!
//! ```text
//!           frames by a relay           1 s later: Meet                its answer: both probe
//!   nothing ─────────────────► waiting ────────────────► asked ─────────────────► searching
//!                                ▲  ▲                      │ 2 s, or it declines    │    │ a probe came back
//!                                │  └──────────────────────┴────────────────────────┘    ▼
//!                                └──────────────────────────────────── lost ──────── standing ── 3 min idle ──► nothing
//! ```
//!
//! The two routers' addresses travel along the mesh, sealed in the pair's own tunnel: nobody else can have a router
//! send probes anywhere. What the other end itself can have us do is bounded: [`CANDIDATES_MAX`] addresses that may be
//! routers' at all, a probe of some 100 bytes to each four times a second for 5 s, and then again at the earliest after
//! [`MEET_INTERVAL`].

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use weave_crypto::{PeerId, TunnelKeys};
use weave_mesh::{CANDIDATES_MAX, DirectEnd, DirectPath};

use super::wire::Body;
use super::{Event, Router};
use crate::fib::Heard;

/// Frames must have gone by a relay for so long before a direct path is asked for: one ping is not worth it, and a
/// link that is being dialled is better.
const ASK_AFTER: Duration = Duration::from_secs(1);
/// The larger identity asks so much later: it is mostly asked by then.
const LARGER_WAITS: Duration = Duration::from_millis(500);
/// How long a router has to answer, by way of the mesh.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);
/// A path that stood is looked for again after this; one that was not found after [`RETRY_MIN`], doubled each time.
const RETRY_LOST: Duration = Duration::from_secs(1);
const RETRY_MIN: Duration = Duration::from_secs(3);
const RETRY_MAX: Duration = Duration::from_secs(300);
/// A path that stood for so long is no failure when it goes.
const LASTED: Duration = Duration::from_secs(30);
/// A path without frames is given up after this time. Both ends count alike, since frames are answered.
const IDLE_MAX: Duration = Duration::from_secs(180);
/// What failed is remembered for so long without frames.
const REMEMBERED_FOR: Duration = Duration::from_secs(600);
/// One router can have us look for it only so often.
const MEET_INTERVAL: Duration = Duration::from_secs(2);
/// Bytes of a sealed message: eight IPv6 addresses and their ports are 168.
const SEALED_BYTES_MAX: usize = 256;
/// Authenticated with the message. No packet begins like that, so neither can be taken for the other.
const DOMAIN: &[u8] = b"weave meet 1";

/// What two routers say to each other, sealed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Meet {
    /// It answers one.
    pub(crate) answer: bool,
    /// Where the sender may be found. An answer without any declines.
    pub(crate) candidates: Vec<SocketAddr>,
}

impl Meet {
    /// Seals it with the pair's keys. None when their counter is used up.
    pub(crate) fn seal(&self, keys: &TunnelKeys) -> Option<Body> {
        let mut sealed = postcard::to_stdvec(self).ok()?;
        let counter = keys.reserve(1).ok()?;
        let tag = keys.seal(counter, DOMAIN, &mut sealed).ok()?;
        sealed.extend(tag);
        Some(Body::Meet {
            receiver: keys.remote_index(),
            counter,
            sealed,
        })
    }

    /// Opens it. None when it is not genuine, or breaks a bound.
    pub(crate) fn open(keys: &TunnelKeys, counter: u64, sealed: &[u8]) -> Option<Self> {
        if sealed.len() > SEALED_BYTES_MAX {
            return None;
        }
        let mut sealed = sealed.to_vec();
        let bytes = keys.open(counter, DOMAIN, &mut sealed).ok()?;
        let (meet, rest) = postcard::take_from_bytes::<Self>(bytes).ok()?;
        (rest.is_empty() && meet.candidates.len() <= CANDIDATES_MAX).then_some(meet)
    }
}

/// All routers that a direct path is wanted to.
#[derive(Debug, Default)]
pub(super) struct Meetings {
    by_peer: BTreeMap<PeerId, Meeting>,
}

#[derive(Debug)]
struct Meeting {
    stage: Stage,
    /// Searches in a row that came to nothing.
    failures: u32,
    /// Why the last one did.
    failure: String,
    /// When it last had us look for it.
    met_at: Option<Instant>,
    /// The newest message taken: its keys and counter.
    newest: Option<(u32, u64)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// It is asked then, if frames still go by a relay.
    Waiting { ask_at: Instant },
    /// It failed, and no frames went since: forgotten then.
    Dormant { until: Instant },
    /// It has until then to answer.
    Asked { until: Instant },
    /// The mesh probes its addresses.
    Searching,
    /// Frames take the path. It is looked at then.
    Standing { look_at: Instant },
}

impl Meetings {
    pub(super) fn next_timeout(&self) -> Option<Instant> {
        let times = self
            .by_peer
            .values()
            .filter_map(|meeting| match meeting.stage {
                Stage::Waiting { ask_at: at }
                | Stage::Dormant { until: at }
                | Stage::Asked { until: at }
                | Stage::Standing { look_at: at } => Some(at),
                Stage::Searching => None,
            });
        times.min()
    }
}

impl Meeting {
    fn new(stage: Stage) -> Self {
        Self {
            stage,
            failures: 0,
            failure: String::new(),
            met_at: None,
            newest: None,
        }
    }

    fn fail(&mut self, now: Instant, failure: String) {
        self.failures = self.failures.saturating_add(1);
        self.failure = failure;
        let doublings = (self.failures - 1).min(16);
        let wait = (RETRY_MIN * 2_u32.pow(doublings)).min(RETRY_MAX);
        self.stage = Stage::Waiting { ask_at: now + wait };
    }
}

impl Router {
    /// Frames go to or come from a router: if by a relay, a direct path is wanted.
    pub(super) fn want_direct(&mut self, now: Instant, peer: PeerId) {
        let wait = if self.peer_id() > peer {
            ASK_AFTER + LARGER_WAITS
        } else {
            ASK_AFTER
        };
        let waiting = Stage::Waiting { ask_at: now + wait };
        match self.meetings.by_peer.get_mut(&peer) {
            Some(meeting) if matches!(meeting.stage, Stage::Dormant { .. }) => {
                meeting.stage = waiting;
            }
            Some(_) => {}
            None => {
                if self.may_meet(&peer) {
                    self.meetings.by_peer.insert(peer, Meeting::new(waiting));
                }
            }
        }
    }

    /// Asks, gives up asking, and gives up paths that nobody uses.
    pub(super) fn run_meetings(&mut self, now: Instant) {
        let peers: Vec<PeerId> = self.meetings.by_peer.keys().copied().collect();
        for peer in peers {
            let used_at = self
                .sites
                .known(&peer)
                .and_then(|known| known.heard.last_unicast(self.epoch));
            let idle_for = used_at.map(|at| now.saturating_duration_since(at));
            let may_meet = self.may_meet(&peer);
            let Some(meeting) = self.meetings.by_peer.get_mut(&peer) else {
                continue;
            };
            match meeting.stage {
                Stage::Waiting { ask_at } if ask_at <= now => {
                    if may_meet && idle_for.is_some_and(|idle| idle < Heard::ACTIVE_FOR) {
                        let until = now + ANSWER_TIMEOUT;
                        meeting.stage = Stage::Asked { until };
                        let candidates = self.mesh.own_candidates();
                        self.send_meet(now, peer, false, candidates);
                    } else if meeting.failures > 0 {
                        let until = now + REMEMBERED_FOR;
                        meeting.stage = Stage::Dormant { until };
                    } else {
                        self.meetings.by_peer.remove(&peer);
                    }
                }
                Stage::Dormant { until } if until <= now => {
                    self.meetings.by_peer.remove(&peer);
                }
                Stage::Asked { until } if until <= now => {
                    meeting.fail(now, "the other router did not answer".to_owned());
                }
                Stage::Standing { look_at } if look_at <= now => {
                    if idle_for.is_none_or(|idle| idle >= IDLE_MAX) {
                        self.forget_direct(&peer);
                    } else {
                        let look_at = used_at.unwrap_or(now) + IDLE_MAX;
                        meeting.stage = Stage::Standing { look_at };
                    }
                }
                Stage::Waiting { .. }
                | Stage::Dormant { .. }
                | Stage::Asked { .. }
                | Stage::Searching
                | Stage::Standing { .. } => {}
            }
        }
    }

    /// A message about a direct path.
    pub(super) fn handle_meet(
        &mut self,
        now: Instant,
        from: PeerId,
        receiver: u32,
        counter: u64,
        sealed: &[u8],
    ) {
        let keys = self.tunnels.opening_at(&from, receiver);
        let Some(meet) = keys.and_then(|keys| Meet::open(keys, counter, sealed)) else {
            self.refuse("meet_not_genuine");
            return;
        };
        let may_meet = self.may_meet(&from);
        let meeting = self
            .meetings
            .by_peer
            .entry(from)
            .or_insert_with(|| Meeting::new(Stage::Dormant { until: now }));
        if meeting
            .newest
            .is_some_and(|(index, newest)| index == receiver && newest >= counter)
        {
            self.refuse("meet_replayed");
            return;
        }
        meeting.newest = Some((receiver, counter));
        if meet.answer {
            match meeting.stage {
                Stage::Asked { .. } if meet.candidates.is_empty() => {
                    meeting.fail(now, "the other router wants none".to_owned());
                }
                Stage::Asked { .. } => {
                    self.search(now, from, &meet.candidates);
                }
                // Both asked at once: the other's question has begun it.
                Stage::Searching | Stage::Standing { .. } => {}
                Stage::Waiting { .. } | Stage::Dormant { .. } => self.refuse("meet_unexpected"),
            }
            return;
        }
        if meeting
            .met_at
            .is_some_and(|at| now.saturating_duration_since(at) < MEET_INTERVAL)
        {
            self.refuse("meet_too_often");
            return;
        }
        meeting.met_at = Some(now);
        let candidates = if may_meet && self.search(now, from, &meet.candidates) {
            self.mesh.own_candidates()
        } else {
            Vec::new()
        };
        self.send_meet(now, from, true, candidates);
    }

    /// A path was found.
    pub(super) fn direct_is_up(&mut self, now: Instant, peer: PeerId) {
        self.fib_is_stale = true;
        let look_at = now + IDLE_MAX;
        let meeting = self
            .meetings
            .by_peer
            .entry(peer)
            .or_insert_with(|| Meeting::new(Stage::Searching));
        meeting.stage = Stage::Standing { look_at };
        if let Some(remote) = self.direct_remote(&peer) {
            let event = Event::DirectUp {
                name: self.peer_name(&peer),
                peer,
                remote,
            };
            self.push_event(event);
        }
    }

    /// A path was not found, or is gone.
    pub(super) fn direct_is_down(
        &mut self,
        now: Instant,
        peer: PeerId,
        stood_for: Option<Duration>,
        reason: DirectEnd,
    ) {
        self.fib_is_stale = true;
        match reason {
            DirectEnd::Linked | DirectEnd::NoTunnel => {
                self.meetings.by_peer.remove(&peer);
            }
            DirectEnd::NoAnswer { .. } | DirectEnd::Silent(_) | _ => {
                if let Some(meeting) = self.meetings.by_peer.get_mut(&peer) {
                    meeting.fail(now, reason.to_string());
                    if stood_for.is_some_and(|time| time >= LASTED) {
                        meeting.failures = 1;
                        let ask_at = now + RETRY_LOST;
                        meeting.stage = Stage::Waiting { ask_at };
                    }
                }
            }
        }
        let event = Event::DirectDown {
            name: self.peer_name(&peer),
            peer,
            stood: stood_for.is_some(),
            reason: reason.to_string(),
        };
        self.push_event(event);
    }

    /// Ends what there is of a path to a router.
    pub(super) fn forget_direct(&mut self, peer: &PeerId) {
        self.mesh.part(peer);
        if self.meetings.by_peer.remove(peer).is_some() {
            self.fib_is_stale = true;
        }
    }

    /// Where frames for a router go, if by a direct path without a link.
    pub(super) fn direct_remote(&self, peer: &PeerId) -> Option<SocketAddr> {
        self.mesh.direct_path(peer).and_then(DirectPath::remote)
    }

    /// What there is to say of a direct path to a router that is no neighbour.
    pub(super) fn direct_words(&self, now: Instant, peer: &PeerId) -> Option<String> {
        let path = self.mesh.direct_path(peer);
        if !self.config.mesh.discovery && path.is_none() && self.mesh.link(peer).is_none() {
            return Some(
                "no direct path is looked for: only peers named are connected to".to_owned(),
            );
        }
        let meeting = self.meetings.by_peer.get(peer)?;
        // What was begun before a link came up is no news any more.
        if self.mesh.link(peer).is_some() && !matches!(meeting.stage, Stage::Standing { .. }) {
            return None;
        }
        let in_s = |at: Instant| at.saturating_duration_since(now).as_secs_f64().ceil();
        let failed = || {
            format!(
                "no direct path: {}{}",
                meeting.failure,
                self.nat_words(peer)
            )
        };
        Some(match meeting.stage {
            Stage::Waiting { .. } if meeting.failures == 0 => {
                "a direct path is tried soon".to_owned()
            }
            Stage::Waiting { ask_at } => format!("{}; tried again in {} s", failed(), in_s(ask_at)),
            Stage::Dormant { .. } if meeting.failures == 0 => return None,
            Stage::Dormant { .. } => format!("{}; tried again with the next frames", failed()),
            Stage::Asked { .. } => "asked for its addresses, to try a direct path".to_owned(),
            Stage::Searching => {
                let probed = path.map_or(0, DirectPath::probed);
                format!("a direct path is tried: {probed} addresses are probed")
            }
            Stage::Standing { .. } => {
                let path = path?;
                let rtt = path.rtt().map_or_else(String::new, |rtt| {
                    format!(", round trip {:.1} ms", rtt.as_secs_f64() * 1000.0)
                });
                format!("direct path without a link, to {}{rtt}", path.remote()?)
            }
        })
    }

    /// Whether the NATs in between are of the kind that no probe gets through, as far as the records tell.
    fn nat_words(&self, peer: &PeerId) -> &'static str {
        let changes_ports = |peer: &PeerId| {
            self.mesh.store().router(peer).is_some_and(|record| {
                let mut seen = record.addresses.iter().filter(|address| address.observed);
                seen.any(|address| address.socket.port() != record.listen_port)
            })
        };
        match (changes_ports(&self.peer_id()), changes_ports(peer)) {
            (true, true) => " (the NATs of both change ports)",
            (true, false) => " (the NAT here changes ports)",
            (false, true) => " (the NAT there changes ports)",
            (false, false) => "",
        }
    }

    /// Whether a direct path to a router may be looked for: it is no neighbour, and a tunnel with it stands.
    fn may_meet(&self, peer: &PeerId) -> bool {
        self.config.mesh.discovery
            && !self.stopping
            && self.mesh.link(peer).is_none()
            && self.tunnels.sealing(peer).is_some()
    }

    /// Has the mesh probe a router's addresses.
    fn search(&mut self, now: Instant, peer: PeerId, candidates: &[SocketAddr]) -> bool {
        let begun = self.mesh.meet(now, peer, candidates);
        if let Some(meeting) = self.meetings.by_peer.get_mut(&peer) {
            match meeting.stage {
                // A path that stands goes on.
                Stage::Standing { .. } => {}
                Stage::Waiting { .. }
                | Stage::Dormant { .. }
                | Stage::Asked { .. }
                | Stage::Searching
                    if begun =>
                {
                    meeting.stage = Stage::Searching;
                }
                Stage::Waiting { .. }
                | Stage::Dormant { .. }
                | Stage::Asked { .. }
                | Stage::Searching => {
                    meeting.fail(now, "there are too many".to_owned());
                }
            }
        }
        begun
    }

    fn send_meet(&mut self, now: Instant, to: PeerId, answer: bool, candidates: Vec<SocketAddr>) {
        let meet = Meet { answer, candidates };
        if let Some(body) = self.tunnels.sealing(&to).and_then(|keys| meet.seal(keys)) {
            self.send_to(now, to, body);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;
    use weave_crypto::{Identity, NetworkId, Suite, TunnelInitiation, TunnelLocal, respond};

    use super::*;

    #[test]
    fn a_message_opens_at_the_other_end_and_nothing_else_does() {
        let (a, b) = keys();
        let meet = Meet {
            answer: true,
            candidates: vec!["[2001:db8::1]:65535".parse().unwrap(); CANDIDATES_MAX],
        };
        let Some(Body::Meet {
            receiver,
            counter,
            sealed,
        }) = meet.seal(&a)
        else {
            panic!("not sealed");
        };
        assert!(sealed.len() <= SEALED_BYTES_MAX);
        assert_eq!(receiver, b.local_index());
        assert_eq!(Meet::open(&b, counter, &sealed), Some(meet));
        assert_eq!(Meet::open(&a, counter, &sealed), None, "its own sender");
        assert_eq!(Meet::open(&b, counter + 1, &sealed), None);
        for at in 0..sealed.len() {
            assert_eq!(Meet::open(&b, counter, &sealed[..at]), None);
            let mut flipped = sealed.clone();
            flipped[at] ^= 1;
            assert_eq!(Meet::open(&b, counter, &flipped), None);
        }
    }

    #[test]
    fn a_message_that_names_more_addresses_than_the_bound_is_refused() {
        let (a, b) = keys();
        let meet = Meet {
            answer: false,
            candidates: vec!["192.0.2.1:1".parse().unwrap(); CANDIDATES_MAX + 1],
        };
        let Some(Body::Meet {
            counter, sealed, ..
        }) = meet.seal(&a)
        else {
            panic!("not sealed");
        };
        assert_eq!(Meet::open(&b, counter, &sealed), None);
    }

    proptest! {
        #[test]
        fn what_a_peer_seals_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let (a, b) = keys();
            let mut sealed = bytes;
            let counter = a.reserve(1).unwrap();
            let tag = a.seal(counter, DOMAIN, &mut sealed).unwrap();
            sealed.extend(tag);
            if let Some(meet) = Meet::open(&b, counter, &sealed) {
                prop_assert!(meet.candidates.len() <= CANDIDATES_MAX);
            }
        }
    }

    /// The two ends of a tunnel.
    fn keys() -> (TunnelKeys, TunnelKeys) {
        let local = |seed: u8| TunnelLocal {
            identity: Arc::new(Identity::from_seed([seed; 32])),
            network: NetworkId::from_name("test"),
            boot_id: 1,
            aes: true,
        };
        let (a, b) = (local(1), local(2));
        let (initiation, message) = TunnelInitiation::start(
            &a,
            b.identity.peer_id(),
            &b.identity.noise_public(),
            1,
            Suite::Aes256Gcm,
            7,
            [3; 32],
        )
        .unwrap();
        let response = respond(
            &b,
            a.identity.peer_id(),
            &a.identity.noise_public(),
            1,
            &message,
            8,
            [4; 32],
        )
        .unwrap();
        (initiation.finish(&response.message).unwrap(), response.keys)
    }
}
