//! What the control plane's counters mean, a sentence each, for status.

use weave_mesh::MeshStats;

/// What a counter in [`Status::refusals`] or [`Status::gossip`] counts; `None` for one that only a later release
/// knows.
///
/// [`Status::refusals`]: crate::Status::refusals
/// [`Status::gossip`]: crate::Status::gossip
pub fn control_meaning(name: &str) -> Option<&'static str> {
    let own = MEANINGS.iter().find(|(known, _)| *known == name);
    own.map(|(_, meaning)| *meaning)
        .or_else(|| MeshStats::meaning(name))
}

/// Of the router's own refusals.
const MEANINGS: &[(&str, &str)] = &[
    (
        "targets_full",
        "peers to connect to beyond those that are kept",
    ),
    (
        "stream_packets_for_nobody",
        "frames to send over TCP to a neighbour that is gone, or has no stream now",
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
        "routed_denied",
        "messages of routers whose identity is refused (--deny)",
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
];

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;

    #[test]
    fn every_refusal_in_the_source_has_its_sentence() {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
        let modules = fs::read_dir(source.join("router")).unwrap();
        let files = modules.map(|entry| entry.unwrap().path());
        let mut count = 0;
        for file in files.chain([source.join("router.rs")]) {
            let Ok(text) = fs::read_to_string(&file) else {
                continue;
            };
            // By pieces, so that this line is none of them.
            for call in text.split(concat!(".refu", "se(")).skip(1) {
                let Some(name) = call.trim_start().strip_prefix('"') else {
                    continue;
                };
                let name = name.split('"').next().unwrap();
                assert!(control_meaning(name).is_some(), "give {name} a sentence");
                count += 1;
            }
        }
        assert!(count >= MEANINGS.len(), "{count} refusals found");
    }

    #[test]
    fn the_meshs_counters_are_among_them() {
        assert!(control_meaning("links_up").is_some());
        assert_eq!(control_meaning("of_a_later_release"), None);
    }
}
