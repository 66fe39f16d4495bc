//! What the counters of status mean, a sentence each.

use weave_core::DropReason;

/// Why frames or packets of this counter were dropped; a dash for one that only a later release knows.
pub(crate) fn drop_meaning(name: &str) -> &'static str {
    let reason = DropReason::ALL.iter().find(|reason| reason.name() == name);
    reason.map_or(UNKNOWN, |reason| reason.meaning())
}

/// What a refusal or an event of the control plane was; a dash for one that only a later release knows.
pub(crate) fn control_meaning(name: &str) -> &'static str {
    weave_core::control_meaning(name).unwrap_or(UNKNOWN)
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

#[cfg(test)]
mod tests {
    use weave_core::{ForwardStats, Traffic};

    use super::*;

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
