//! What the counters of status mean, a sentence each.

use weave_core::DropReason;

/// Why frames or packets of this counter were dropped; a dash for one that only a later release knows.
pub(crate) fn drop_meaning(name: &str) -> &'static str {
    let reason = DropReason::ALL.iter().find(|reason| reason.name() == name);
    reason.map_or(UNKNOWN, |reason| reason.meaning())
}

/// What a refusal or an event of the control plane was; a dash for one that only a later release knows.
pub(crate) fn control_meaning(name: &str) -> &'static str {
    let known = CONTROL.iter().find(|(known, _)| *known == name);
    known.map_or(UNKNOWN, |(_, meaning)| meaning)
}

/// What became of MAC addresses.
pub(crate) fn mac_meaning(name: &str) -> &'static str {
    let known = MACS.iter().find(|(known, _)| *known == name);
    known.map_or(UNKNOWN, |(_, meaning)| meaning)
}

const UNKNOWN: &str = "-";

const MACS: &[(&str, &str)] = &[
    ("not_learned", "the table was full of others"),
    ("moved", "from one router or port to another"),
    (
        "damped",
        "frames whose source moves too often: not learned anew",
    ),
    (
        "not_here_sent",
        "frames for an address that does not live here: their sender was told",
    ),
    (
        "not_here_obeyed",
        "addresses forgotten, since the router they were taken to be behind said that they are not",
    ),
];

const CONTROL: &[(&str, &str)] = &[
    // Refusals and faults of the mesh.
    (
        "refused_half_open",
        "streams refused: too many others were not set up yet",
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
        "connections with a router of another network or release, or without its password",
    ),
    (
        "set_up_errors",
        "connections that could not be set up for another cause: see the log",
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
        "protocol_errors",
        "connections closed: something did not open, or came out of turn",
    ),
    ("malformed_messages", "control messages that did not decode"),
    ("records_malformed", "records that did not decode"),
    (
        "records_unknown_kind",
        "records of a kind that only a later release knows",
    ),
    (
        "records_bad_signature",
        "records not signed by their origin for this network",
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
        "packets_on_stream",
        "data packets on a stream, which this release does not carry",
    ),
    (
        "late_timeouts",
        "times that this router was late: the machine is busy, or slept",
    ),
    // Of the router above it.
    (
        "targets_full",
        "peers to connect to beyond those that are kept",
    ),
    ("events_dropped", "events that nobody fetched in time"),
    (
        "mesh_event_unknown",
        "events of the mesh that this router does not know",
    ),
    (
        "sites_exhausted",
        "routers beyond those that frames can be sent to",
    ),
    (
        "routed_malformed",
        "messages from far routers that did not decode",
    ),
    (
        "routed_no_route",
        "messages for far routers that no route leads to",
    ),
    (
        "routed_ttl_expired",
        "messages for far routers that went too far",
    ),
    (
        "routed_queue_full",
        "messages for far routers that found their queue full",
    ),
    (
        "tunnel_unknown_peer",
        "tunnel set-ups from routers that nothing is known of",
    ),
    (
        "tunnel_stale_boot",
        "tunnel set-ups of a router from before its last start",
    ),
    ("tunnel_unexpected", "tunnel set-ups that nobody waits for"),
    (
        "tunnel_not_genuine",
        "tunnel set-ups that do not open: altered, or forged",
    ),
    (
        "tunnel_too_often",
        "tunnel set-ups beyond what one router may ask for",
    ),
    (
        "meet_not_genuine",
        "offers of a direct path that their sender did not sign",
    ),
    ("meet_replayed", "offers of a direct path that came before"),
    (
        "meet_unexpected",
        "answers about a direct path that nobody waits for",
    ),
    (
        "meet_too_often",
        "offers of a direct path beyond what one router may make",
    ),
    (
        "loop_frame_unknown_peer",
        "loop frames of routers that nothing is known of",
    ),
    (
        "loop_frame_stale",
        "loop frames that are older than others of their router",
    ),
    (
        "loop_frame_not_genuine",
        "loop frames that their router did not sign",
    ),
    (
        "echo_too_often",
        "pings of other routers beyond 20 a second each",
    ),
    (
        "echo_no_way_back",
        "pings of other routers to which no answer could be sent",
    ),
    (
        "echo_answer_unexpected",
        "answers to a ping that came too late, or that nobody asked for",
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
];

#[cfg(test)]
mod tests {
    use weave_core::{ForwardStats, Traffic};
    use weave_mesh::MeshStats;

    use super::*;

    #[test]
    fn every_counter_of_the_mesh_has_its_sentence() {
        let stats = MeshStats::default();
        for (name, _) in stats.refusals().chain(stats.activity()) {
            assert_ne!(control_meaning(name), UNKNOWN, "give {name} a sentence");
        }
        assert_eq!(control_meaning("of_a_later_release"), UNKNOWN);
    }

    #[test]
    fn every_reason_to_drop_has_its_sentence() {
        for reason in DropReason::ALL {
            let meaning = drop_meaning(reason.name());
            assert!(
                meaning.ends_with('.') && !meaning.contains("  "),
                "{meaning}"
            );
        }
        assert_eq!(drop_meaning("of_a_later_release"), UNKNOWN);
    }

    #[test]
    fn what_becomes_of_mac_addresses_has_its_sentence() {
        let mut stats = ForwardStats::new();
        stats.macs_not_learned = 1;
        stats.macs_moved = 1;
        stats.macs_damped = 1;
        stats.not_here_sent = 1;
        stats.not_here_obeyed = 1;
        let macs = Traffic::from(&stats).macs;
        assert_eq!(macs.len(), MACS.len());
        for name in macs.keys() {
            assert_ne!(mac_meaning(name), UNKNOWN, "give {name} a sentence");
        }
    }
}
