//! One neighbour: the stream that carries control messages, and UDP that carries frames, or where it does not pass
//! leaves them to the stream.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use weave_crypto::PeerId;

use crate::conn::ConnId;
use crate::flooding::Flooding;
use crate::liveness::{Liveness, StreamLiveness};
use crate::mesh::SILENCE_TIMEOUT;
use crate::packet_queue::PacketQueue;
use crate::pmtu::PathMtu;
use crate::record::Carrier;
use crate::timer::{WakeReason, sooner};

/// Path MTU that every path is taken to have, bytes of UDP payload (the base of RFC 8899, section
/// 5.1.2), until the data plane knows better.
pub const PATH_MTU_BYTES_BASE: u16 = 1200;
/// What a hop costs besides its round trip, µs: one hop beats two even where the network itself takes no time, and
/// where one link's published cost is too high by as much as is never published anew.
const COST_FLOOR_US: u64 = COST_DIFFERENCE_MIN_US as u64;
/// A difference smaller than this, µs, is never published: in a network of short round trips it is the hosts'
/// scheduling. Measured with 20 idle routers on two cores: round trips of 0.6 to 2.4 ms over loopback, and each
/// new record goes to all 20.
const COST_DIFFERENCE_MIN_US: u32 = 3000;
/// Costs are rounded up to this, µs, so that noise does not show.
const COST_STEP_US: u64 = 250;
/// A cost is published anew when it differed by a quarter for this long.
const COST_SETTLE: Duration = Duration::from_secs(5);
/// What a link costs more, µs, while TCP carries its frames: they wait for each other there, and for what is lost.
const COST_STREAM_US: u64 = 50_000;

/// An adjacency with one neighbour. Outlives its stream for a while when UDP answers.
#[derive(Debug)]
pub struct Link {
    pub(crate) peer: PeerId,
    pub(crate) conn: Option<ConnId>,
    pub(crate) remote: SocketAddr,
    pub(crate) is_dialled: bool,
    pub(crate) boot_id: u64,
    pub(crate) noise_public: [u8; 32],
    pub(crate) since: Instant,
    pub(crate) tag_in: [u8; 6],
    pub(crate) tag_out: Option<[u8; 6]>,
    pub(crate) liveness: Liveness,
    pub(crate) stream: StreamLiveness,
    /// Packets for the stream; they wait until it takes some.
    pub(crate) packets: PacketQueue,
    /// The driver was asked to tell when the stream has nothing unsent.
    pub(crate) awaits_drained: bool,
    /// What carried frames when it was last told.
    pub(crate) told_carrier: Option<Carrier>,
    pub(crate) flooding: Flooding,
    /// Last bytes of the stream that decrypted.
    pub(crate) stream_heard_at: Instant,
    /// Silence counts from here at the earliest: set anew when this router was held up.
    pub(crate) patient_since: Instant,
    /// Without a stream: until when the link waits for another.
    pub(crate) held_until: Option<Instant>,
    pub(crate) digest_at: Instant,
    pub(crate) path_mtu: PathMtu,
    /// Where the neighbour sees our UDP come from, and since when.
    pub(crate) seen_as: Option<(SocketAddr, Instant)>,
    /// Bytes of routed messages handed out since the outputs were last drained.
    pub(crate) routed_bytes: usize,
    pub(crate) published_cost: Option<u32>,
    pub(crate) published_carrier: Carrier,
    pub(crate) published_lossy: bool,
    pub(crate) cost_deviates_since: Option<Instant>,
}

impl Link {
    /// The neighbour.
    pub fn peer(&self) -> PeerId {
        self.peer
    }

    /// The stream, unless it was lost and UDP alone holds the link.
    pub fn conn(&self) -> Option<ConnId> {
        self.conn
    }

    /// The other end of the (last) stream.
    pub fn remote(&self) -> SocketAddr {
        self.remote
    }

    /// Whether this router dialled the (last) stream.
    pub fn dialled(&self) -> bool {
        self.is_dialled
    }

    /// The neighbour's boot id.
    pub fn boot_id(&self) -> u64 {
        self.boot_id
    }

    /// The neighbour's X25519 key, as proved in the handshake.
    pub fn noise_public(&self) -> &[u8; 32] {
        &self.noise_public
    }

    /// When the link came up; a stream that moved does not change it.
    pub fn since(&self) -> Instant {
        self.since
    }

    /// What carries frames now: UDP where its probes are answered, else TCP where its are. Nothing while neither
    /// does, or no tunnel keys are there.
    pub fn carrier(&self) -> Option<Carrier> {
        if self.udp_is_up() {
            Some(Carrier::Udp)
        } else if self.conn.is_some() && self.stream.is_up() {
            Some(Carrier::Tcp)
        } else {
            None
        }
    }

    /// Where UDP packets for the neighbour go, once known.
    pub fn udp_remote(&self) -> Option<SocketAddr> {
        self.liveness.remote()
    }

    /// Whether probes over UDP are answered.
    pub fn udp_is_up(&self) -> bool {
        self.liveness.is_up()
    }

    /// Why UDP is down, a sentence for status; nothing while it is up.
    pub fn udp_down_reason(&self) -> Option<&'static str> {
        self.liveness.down_reason()
    }

    /// Smoothed round trip over what carries frames, once measured.
    pub fn rtt(&self) -> Option<Duration> {
        match self.carrier() {
            Some(Carrier::Tcp) => self.stream.rtt().or_else(|| self.liveness.rtt()),
            Some(Carrier::Udp) | None => self.liveness.rtt(),
        }
    }

    /// Smoothed share of probes lost, 0 to 1.
    pub fn loss(&self) -> f64 {
        f64::from(self.liveness.loss_permille()) / 1000.0
    }

    /// Whether UDP lost so much that routes go elsewhere if they can, until it was clean for a while.
    pub fn is_lossy(&self) -> bool {
        self.udp_is_up() && self.liveness.is_lossy()
    }

    /// Largest UDP payload that passes, bytes; [`PATH_MTU_BYTES_BASE`] while it is not known, and while TCP carries
    /// the frames: a larger one would have to be cut as soon as UDP does so again.
    pub fn path_mtu_bytes(&self) -> u16 {
        match self.carrier() {
            Some(Carrier::Tcp) => PATH_MTU_BYTES_BASE,
            Some(Carrier::Udp) | None => self.path_mtu.bytes(),
        }
    }

    /// Whether the path MTU is being searched for.
    pub fn path_mtu_is_searched(&self) -> bool {
        self.path_mtu.is_searching()
    }

    /// Tag that this router drew: the neighbour writes it on what it relays to us.
    pub fn tag_in(&self) -> [u8; 6] {
        self.tag_in
    }

    /// Tag that the neighbour drew, once it said so.
    pub fn tag_out(&self) -> Option<[u8; 6]> {
        self.tag_out
    }

    /// Cost, µs: as published, or as measured while it is not.
    pub fn cost(&self) -> u32 {
        self.published_cost.unwrap_or_else(|| self.measured_cost())
    }

    /// Whether the own links record lists this link.
    pub fn is_published(&self) -> bool {
        self.published_cost.is_some()
    }

    /// Last time anything came from the neighbour, over either carrier.
    pub fn last_heard(&self) -> Instant {
        self.liveness
            .last_heard()
            .map_or(self.stream_heard_at, |at| at.max(self.stream_heard_at))
    }

    /// When it counts as silent, if nothing is heard before.
    pub(crate) fn silent_at(&self) -> Instant {
        self.last_heard().max(self.patient_since) + SILENCE_TIMEOUT
    }

    /// 3 ms and the round trip, times the number of transmissions that loss makes of one each
    /// way, rounded up; while it is lossy, what waiting for the lost ones costs is added. On TCP 50 ms more, and loss is TCP's to mend.
    pub(crate) fn measured_cost(&self) -> u32 {
        let rtt_us = self.rtt().map_or(0, |rtt| {
            u64::try_from(rtt.as_micros())
                .unwrap_or(u64::MAX)
                .min(60_000_000)
        });
        let base_us = COST_FLOOR_US + rtt_us;
        let cost_us = if self.carrier() == Some(Carrier::Tcp) {
            base_us + COST_STREAM_US
        } else {
            // At most ×100: a link that loses more is about to go down.
            let passing_permille = u64::from(1000 - self.liveness.loss_permille().min(900));
            base_us * 1_000_000 / (passing_permille * passing_permille)
                + self.liveness.loss_cost_us()
        };
        let cost_us = cost_us.div_ceil(COST_STEP_US) * COST_STEP_US;
        u32::try_from(cost_us).unwrap_or(u32::MAX)
    }

    /// What the links record should say of this link: nothing while it carries no frames. Call after every
    /// input; a changed answer is to be published.
    pub(crate) fn settle_cost(&mut self, now: Instant) -> Option<(u32, Carrier)> {
        let measured = self.measured_cost();
        let carrier = self.carrier();
        let has_moved = carrier.is_some_and(|carrier| carrier != self.published_carrier);
        // That it is lossy was weighed long enough.
        let is_lossy = self.is_lossy();
        let turns_lossy = !std::mem::replace(&mut self.published_lossy, is_lossy) && is_lossy;
        self.published_cost = match self.published_cost {
            _ if carrier.is_none() => None,
            None => Some(measured),
            Some(_) if has_moved || turns_lossy => Some(measured),
            Some(published) => {
                let difference = published.abs_diff(measured);
                let deviates = u64::from(difference) * 4 >= u64::from(published)
                    && difference >= COST_DIFFERENCE_MIN_US;
                if !deviates {
                    self.cost_deviates_since = None;
                    Some(published)
                } else if now >= *self.cost_deviates_since.get_or_insert(now) + COST_SETTLE {
                    Some(measured)
                } else {
                    Some(published)
                }
            }
        };
        if self
            .published_cost
            .is_none_or(|published| published == measured)
        {
            self.cost_deviates_since = None;
        }
        self.published_carrier = carrier.unwrap_or(self.published_carrier);
        self.published()
    }

    /// What the links record says of this link: cost, and what carries frames.
    pub(crate) fn published(&self) -> Option<(u32, Carrier)> {
        Some((self.published_cost?, self.published_carrier))
    }

    /// Has the stream begin to carry frames, or leave off. Call after every input.
    pub(crate) fn settle_carrier(&mut self, now: Instant) {
        let is_needed =
            self.liveness.is_ready() && self.liveness.is_given_up() && self.conn.is_some();
        if is_needed {
            self.stream.begin(now);
        } else if self.udp_is_up() || !self.liveness.is_ready() {
            self.stream.end();
        }
    }

    /// When the link needs a look, whatever happens, and why.
    pub(crate) fn next_deadline(&self, now: Instant) -> Option<(Instant, WakeReason)> {
        let on_stream = |at: Option<Instant>| at.filter(|_| self.conn.is_some());
        [
            (Some(self.liveness.next_timeout()), WakeReason::Probe),
            (on_stream(self.stream.next_timeout()), WakeReason::Probe),
            (self.path_mtu.next_timeout(), WakeReason::PathMtu),
            (Some(self.silent_at()), WakeReason::Silence),
            (self.held_until, WakeReason::Hold),
            (self.next_cost(), WakeReason::Cost),
            (on_stream(Some(self.digest_at)), WakeReason::Digest),
            (on_stream(self.flooding.next_at(now)), WakeReason::Flood),
        ]
        .into_iter()
        .fold(None, |next, (at, reason)| {
            sooner(next, at.map(|at| (at, reason)))
        })
    }

    pub(crate) fn next_cost(&self) -> Option<Instant> {
        self.cost_deviates_since.map(|since| since + COST_SETTLE)
    }
}
