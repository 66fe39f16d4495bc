//! What the counters mean, a sentence each.

/// What `name` counts; `None` for a name that is none.
pub(super) fn meaning(name: &str) -> Option<&'static str> {
    let known = MEANINGS.iter().find(|(known, _)| *known == name);
    known.map(|(_, meaning)| *meaning)
}

const MEANINGS: &[(&str, &str)] = &[
    // Refusals and faults.
    (
        "refused_half_open",
        "streams refused: too many others were not set up yet",
    ),
    (
        "refused_rate",
        "streams refused: too many came of late, or too many of strangers",
    ),
    (
        "refused_source",
        "streams refused: too many came from one address of late",
    ),
    (
        "refused_full",
        "streams refused: there are neighbours enough (--conn-limit)",
    ),
    (
        "set_up_timeouts",
        "connections that were not set up in time",
    ),
    (
        "set_up_peer_errors",
        "connections whose other side broke the protocol while they were set up",
    ),
    (
        "set_up_incompatible",
        "connections with a router of another network or release",
    ),
    (
        "set_up_errors",
        "connections that could not be set up for another cause: see the log",
    ),
    (
        "password_missing",
        "connections with a router that has no password, while this network has one",
    ),
    (
        "password_surplus",
        "connections with a router that has a password, while this network has none",
    ),
    (
        "wrong_passwords",
        "connections refused: the other side's password was tested, and is wrong",
    ),
    (
        "password_differs",
        "connections to a router that has another password",
    ),
    (
        "proofs_unanswered",
        "connections to a router that left when it was to answer a password",
    ),
    (
        "refused_guessing",
        "connections closed untested: a wrong password had just come from their address",
    ),
    (
        "refused_denied",
        "connections with a router whose identity is refused (--deny)",
    ),
    (
        "connected_to_self",
        "connections that led back to this router",
    ),
    (
        "stale_boot_ids",
        "connections of a router that has started anew since",
    ),
    (
        "clones_met",
        "other routers with this one's identity: copies of its state folder",
    ),
    (
        "protocol_errors",
        "connections closed: something did not open, or came out of turn",
    ),
    (
        "unreadable_streams",
        "connections closed: what came did not open, or did not become whole in time",
    ),
    ("malformed_messages", "control messages that did not decode"),
    (
        "records_malformed",
        "records that did not decode, or were too long",
    ),
    (
        "records_unknown_kind",
        "records of a kind that only a later release knows",
    ),
    (
        "keys_unknown_kind",
        "names of records of a kind that only a later release knows",
    ),
    (
        "goodbyes_unknown",
        "connections closed for a reason that only a later release knows",
    ),
    (
        "records_bad_signature",
        "records not signed by their origin for this network",
    ),
    (
        "records_contradictory",
        "records that say what can't be true: a link to oneself, an address that is none, a key of another",
    ),
    (
        "records_equivocal",
        "records whose origin signed another one under the same number",
    ),
    (
        "records_replayed",
        "records long out of date, from a neighbour that must know that",
    ),
    (
        "records_too_often",
        "records of routers that change theirs more often than 20 times a second",
    ),
    (
        "records_full",
        "records refused: too many routers are known",
    ),
    ("routed_ttl", "messages for others that went too far"),
    (
        "probes_unknown",
        "probes from routers that are no neighbours",
    ),
    ("udp_down", "times that the UDP of a link fell silent"),
    (
        "late_timeouts",
        "times that this router was late: the machine is busy, or slept",
    ),
    // The ordinary course of things.
    ("opened", "streams that opened"),
    ("links_up", "links that came up"),
    (
        "duplicate_streams",
        "streams closed: another one of the same neighbour stays",
    ),
    ("messages_received", "control messages received"),
    ("messages_sent", "control messages sent"),
    ("records_accepted", "records taken: they were new"),
    ("records_known", "records that were known already"),
    (
        "origins_forgotten",
        "routers forgotten, since nobody reached them for long",
    ),
    (
        "unknown_connections",
        "news of connections that were gone by then",
    ),
    (
        "streams_carried",
        "times that a link went on over TCP, since UDP did not answer",
    ),
    (
        "stream_packets_received",
        "packets with frames that came over TCP",
    ),
    (
        "stream_packets_sent",
        "packets with frames that were sent over TCP",
    ),
    (
        "stream_packets_dropped",
        "packets with frames that TCP was too slow for, or that no stream was there for",
    ),
];

#[cfg(test)]
mod tests {
    use super::super::MeshStats;

    #[test]
    fn every_counter_has_its_sentence() {
        let stats = MeshStats::default();
        for (name, _) in stats.refusals().chain(stats.activity()) {
            assert!(MeshStats::meaning(name).is_some(), "give {name} a sentence");
        }
        // Nor does a sentence outlive its counter.
        let count = stats.refusals().chain(stats.activity()).count();
        assert_eq!(count, super::MEANINGS.len());
        assert_eq!(MeshStats::meaning("of_a_later_release"), None);
    }
}
