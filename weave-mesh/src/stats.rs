//! Counters, one per cause: what was refused, and how much was said.

mod words;

/// Counts since the mesh was made. None is ever reset.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MeshStats {
    /// Streams accepted or dialled that opened.
    pub opened: u64,
    /// Links that came up.
    pub links_up: u64,
    /// Streams refused since [`HALF_OPEN_MAX`](crate::HALF_OPEN_MAX) were not set up yet, or half as many of
    /// strangers, or since the router stops.
    pub refused_half_open: u64,
    /// Streams refused since too many came of late: 50 a second, half of them of strangers.
    pub refused_rate: u64,
    /// Streams refused since too many came from one source of late: 20, then one a second.
    pub refused_source: u64,
    /// Streams refused since there are neighbours enough.
    pub refused_full: u64,
    /// Set-ups that took longer than [`STAGE_TIMEOUT`](crate::STAGE_TIMEOUT).
    pub set_up_timeouts: u64,
    /// Set-ups that ended since the other side broke the protocol.
    pub set_up_peer_errors: u64,
    /// Set-ups that ended since the other side is of another network or release.
    pub set_up_incompatible: u64,
    /// Set-ups that ended since the other side has no password, and this network has one.
    pub password_missing: u64,
    /// Set-ups that ended since the other side has a password, and this network has none.
    pub password_surplus: u64,
    /// Streams accepted and refused since the other side's password is wrong: guesses that were tested.
    pub wrong_passwords: u64,
    /// Streams dialled that ended since the other side has another password.
    pub password_differs: u64,
    /// Streams dialled that ended when the other side had this side's proof of the password, and no answer came.
    pub proofs_unanswered: u64,
    /// Streams closed untested, since a wrong password had just come from their source.
    pub refused_guessing: u64,
    /// Streams refused since the other side's identity is ([`Mesh::deny`](crate::Mesh::deny)).
    pub refused_denied: u64,
    /// Set-ups that ended for another cause.
    pub set_up_errors: u64,
    /// Streams that led back to this router.
    pub connected_to_self: u64,
    /// Streams closed since another one of the same neighbour stays.
    pub duplicate_streams: u64,
    /// Streams closed since the other side's boot id is older than one known of it.
    pub stale_boot_ids: u64,
    /// Other routers met that live under this one's identity.
    pub clones_met: u64,
    /// Streams closed since a message did not decode or came out of turn.
    pub protocol_errors: u64,
    /// Streams closed since a frame did not open, or did not become whole within [`FRAME_TIMEOUT`](crate::FRAME_TIMEOUT).
    pub unreadable_streams: u64,
    /// Control messages that did not decode.
    pub malformed_messages: u64,
    /// Control messages received.
    pub messages_received: u64,
    /// Control messages sent.
    pub messages_sent: u64,
    /// Records taken.
    pub records_accepted: u64,
    /// Records that were there already, or older than what is there.
    pub records_known: u64,
    /// Records that did not parse or broke a bound, but for those of an unknown kind.
    pub records_malformed: u64,
    /// Records of a kind that a later release may know.
    pub records_unknown_kind: u64,
    /// Keys of records of such a kind, in lists and wants; they are passed over.
    pub keys_unknown_kind: u64,
    /// Goodbyes for a reason that a later release may know; the stream is gone, and no more is concluded.
    pub goodbyes_unknown: u64,
    /// Records not signed by their origin for this network.
    pub records_bad_signature: u64,
    /// Records that say what can't be true.
    pub records_contradictory: u64,
    /// Records whose origin signed another one under the same number.
    pub records_equivocal: u64,
    /// Records long out of date, from who must know that.
    pub records_replayed: u64,
    /// Records of origins that change theirs more often than routers do.
    pub records_too_often: u64,
    /// Records refused since there are [`ORIGINS_MAX`](crate::ORIGINS_MAX) origins.
    pub records_full: u64,
    /// Origins forgotten since nobody reached them.
    pub origins_forgotten: u64,
    /// Routed messages dropped since their hops were used up.
    pub routed_ttl: u64,
    /// Probes from routers that are no neighbours.
    pub probes_unknown: u64,
    /// Times UDP of a link went down.
    pub udp_down: u64,
    /// Times the stream of a link began to carry its frames, since UDP did not pass.
    pub streams_carried: u64,
    /// Data packets received on streams.
    pub packets_received: u64,
    /// Data packets sent down streams.
    pub packets_sent: u64,
    /// Data packets dropped, since their stream was full, took too long, or was gone.
    pub packets_dropped: u64,
    /// Inputs that named a connection that is gone; ordinary when a close crosses them.
    pub unknown_connections: u64,
    /// Times this router was late on its own timers.
    pub late_timeouts: u64,
}

impl MeshStats {
    /// What the counter of this name, one of [`MeshStats::refusals`] or [`MeshStats::activity`], counts: a sentence
    /// without its full stop.
    pub fn meaning(name: &str) -> Option<&'static str> {
        words::meaning(name)
    }

    /// What was refused or went wrong, by names that are stable.
    pub fn refusals(&self) -> impl Iterator<Item = (&'static str, u64)> {
        [
            ("refused_half_open", self.refused_half_open),
            ("refused_rate", self.refused_rate),
            ("refused_source", self.refused_source),
            ("refused_full", self.refused_full),
            ("set_up_timeouts", self.set_up_timeouts),
            ("set_up_peer_errors", self.set_up_peer_errors),
            ("set_up_incompatible", self.set_up_incompatible),
            ("set_up_errors", self.set_up_errors),
            ("password_missing", self.password_missing),
            ("password_surplus", self.password_surplus),
            ("wrong_passwords", self.wrong_passwords),
            ("password_differs", self.password_differs),
            ("proofs_unanswered", self.proofs_unanswered),
            ("refused_guessing", self.refused_guessing),
            ("refused_denied", self.refused_denied),
            ("connected_to_self", self.connected_to_self),
            ("stale_boot_ids", self.stale_boot_ids),
            ("clones_met", self.clones_met),
            ("protocol_errors", self.protocol_errors),
            ("unreadable_streams", self.unreadable_streams),
            ("malformed_messages", self.malformed_messages),
            ("records_malformed", self.records_malformed),
            ("records_unknown_kind", self.records_unknown_kind),
            ("keys_unknown_kind", self.keys_unknown_kind),
            ("goodbyes_unknown", self.goodbyes_unknown),
            ("records_bad_signature", self.records_bad_signature),
            ("records_contradictory", self.records_contradictory),
            ("records_equivocal", self.records_equivocal),
            ("records_replayed", self.records_replayed),
            ("records_too_often", self.records_too_often),
            ("records_full", self.records_full),
            ("routed_ttl", self.routed_ttl),
            ("probes_unknown", self.probes_unknown),
            ("udp_down", self.udp_down),
            ("stream_packets_dropped", self.packets_dropped),
            ("late_timeouts", self.late_timeouts),
        ]
        .into_iter()
    }

    /// The ordinary course of things, by names that are stable.
    pub fn activity(&self) -> impl Iterator<Item = (&'static str, u64)> {
        [
            ("opened", self.opened),
            ("links_up", self.links_up),
            ("duplicate_streams", self.duplicate_streams),
            ("messages_received", self.messages_received),
            ("messages_sent", self.messages_sent),
            ("records_accepted", self.records_accepted),
            ("records_known", self.records_known),
            ("origins_forgotten", self.origins_forgotten),
            ("unknown_connections", self.unknown_connections),
            ("streams_carried", self.streams_carried),
            ("stream_packets_received", self.packets_received),
            ("stream_packets_sent", self.packets_sent),
        ]
        .into_iter()
    }
}
