use std::collections::BTreeMap;

use proptest::prelude::*;
use rand::SeedableRng as _;
use rand_chacha::ChaCha20Rng;

use super::*;
use crate::probe::ProbeKind;

#[allow(clippy::disallowed_methods, reason = "a test's base instant")]
fn epoch() -> Instant {
    Instant::now()
}

/// A path with an MTU, a round trip, and loss.
struct Path {
    now: Instant,
    mtu: PathMtu,
    takes: u16,
    rtt: Duration,
    loss_permille: u32,
    random: ChaCha20Rng,
    answers: BTreeMap<(Instant, u32), Probe>,
    changes: Vec<(Duration, u16)>,
    start: Instant,
    tests: u32,
}

impl Path {
    fn new(takes: u16, device: u16, rtt_ms: u64) -> Self {
        let now = epoch();
        let mut path = Self {
            now,
            mtu: PathMtu::new(),
            takes,
            rtt: Duration::from_millis(rtt_ms),
            loss_permille: 0,
            random: ChaCha20Rng::seed_from_u64(7),
            answers: BTreeMap::new(),
            changes: Vec::new(),
            start: now,
            tests: 0,
        };
        path.device(device);
        path
    }

    fn device(&mut self, mtu_bytes: u16) {
        let remote = Some("192.0.2.1:6783".parse().unwrap());
        let has_changed = self.mtu.handle_path(self.now, remote, mtu_bytes);
        self.note(has_changed);
    }

    fn note(&mut self, has_changed: bool) {
        if has_changed {
            self.changes.push((self.now - self.start, self.mtu.bytes()));
        }
    }

    fn step(&mut self) {
        let mut out = Vec::new();
        // What liveness would have measured, once it has.
        let loss = self.loss_permille;
        let has_changed = self
            .mtu
            .handle_timeout(self.now, loss, &mut self.random, &mut out);
        self.note(has_changed);
        for challenge in out {
            self.tests += u32::from(challenge.packet_bytes.is_some());
            let is_lost = challenge.packet_bytes.unwrap_or(62) > self.takes
                || self.random.random_range(0..1000) < self.loss_permille;
            if !is_lost {
                let probe = Probe {
                    kind: ProbeKind::Answer,
                    last_heard_ms: 0,
                    sequence: challenge.sequence,
                    token: challenge.token,
                    seen: None,
                };
                self.answers
                    .insert((self.now + self.rtt, challenge.sequence), probe);
            }
        }
    }

    fn run(&mut self, time: Duration, active: bool) {
        let until = self.now + time;
        let mut steps = 0;
        while self.now < until {
            if active {
                self.mtu.handle_activity(self.now);
            }
            self.step();
            let answer = self.answers.first_key_value().map(|((at, _), _)| *at);
            let timer = self.mtu.next_timeout();
            let tick = active.then(|| self.now + Duration::from_secs(1));
            let next = answer.into_iter().chain(timer).chain(tick).min();
            self.now = next.unwrap_or(until).min(until).max(self.now);
            while let Some(entry) = self.answers.first_entry()
                && entry.key().0 <= self.now
            {
                let probe = entry.remove();
                let has_changed = self
                    .mtu
                    .handle_answer(self.now, self.loss_permille, &probe)
                    .unwrap_or(false);
                self.note(has_changed);
            }
            steps += 1;
            assert!(steps < 100_000, "asks for now again and again");
        }
    }
}

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn a_path_as_large_as_its_device_is_known_after_one_round_trip() {
    let mut path = Path::new(1_472, 1_500, 2);
    path.run(SECOND, false);
    assert_eq!(path.changes, [(path.rtt, 1_472)]);
    assert_eq!(path.tests, 1);
    path.run(SECOND * 3_600, false);
    assert_eq!(path.tests, 1, "an idle path is left alone");
}

#[test]
fn a_smaller_path_is_found_within_a_second_and_published_once() {
    for takes in [
        1_200, 1_232, 1_252, 1_253, 1_300, 1_372, 1_422, 1_464, 1_471,
    ] {
        let mut path = Path::new(takes, 1_500, 2);
        path.run(SECOND, false);
        let found = path.mtu.bytes();
        assert!(found <= takes && found + 8 > takes, "{takes}: {found}");
        assert!(!path.mtu.is_searching());
        assert!(path.changes.len() <= 1, "{:?}", path.changes);
    }
    let mut path = Path::new(8_972, 65_535, 20);
    path.run(SECOND * 3, false);
    assert_eq!(path.mtu.bytes(), 8_972);
}

#[test]
fn a_black_hole_is_noticed_within_600_ms_while_frames_flow() {
    for phase in 0..20 {
        let mut path = Path::new(1_472, 1_500, 2);
        path.run(SECOND * 2, true);
        path.run(Duration::from_millis(phase * 37), true);
        path.takes = 1_372;
        path.changes.clear();
        let cut = path.now - path.start;
        path.run(SECOND * 2, true);
        let after: Vec<_> = path
            .changes
            .iter()
            .map(|(at, bytes)| ((*at - cut).as_millis(), *bytes))
            .collect();
        assert_eq!(after.len(), 2, "{after:?}");
        assert!(after[0].0 <= 600 && after[0].1 == 1_200, "{after:?}");
        assert!(after[1].0 <= 1_500 && after[1].1 == 1_372, "{after:?}");
    }
}

#[test]
fn after_idling_the_first_frame_has_the_size_checked() {
    let mut path = Path::new(1_472, 1_500, 2);
    path.run(SECOND * 60, false);
    path.takes = 1_300;
    path.run(SECOND * 60, false);
    assert_eq!(path.mtu.bytes(), 1_472, "nobody noticed");
    path.run(Duration::from_millis(100), true);
    assert_eq!(path.mtu.bytes(), 1_200);
}

#[test]
fn a_path_that_grew_is_found_after_ten_minutes_or_when_asked_for() {
    let mut path = Path::new(1_372, 1_500, 2);
    path.run(SECOND * 10, true);
    path.takes = 1_472;
    path.run(SECOND * 580, true);
    assert_eq!(path.mtu.bytes(), 1_372);
    path.run(SECOND * 20, true);
    assert_eq!(path.mtu.bytes(), 1_472);

    let mut path = Path::new(1_372, 1_500, 2);
    path.run(SECOND * 40, true);
    path.takes = 1_472;
    path.mtu.handle_too_big(path.now);
    path.run(SECOND, true);
    assert_eq!(path.mtu.bytes(), 1_472);
}

#[test]
fn the_devices_mtu_counts_at_once() {
    let mut path = Path::new(8_972, 1_500, 2);
    path.run(SECOND, false);
    path.device(9_000);
    path.run(SECOND, false);
    assert_eq!(path.mtu.bytes(), 8_972);
    path.takes = 1_372;
    path.device(1_400);
    assert_eq!(path.mtu.bytes(), 1_372);
    path.run(SECOND * 2, true);
    assert_eq!(path.changes.len(), 3, "{:?}", path.changes);
}

#[test]
fn a_dead_path_is_not_taken_for_a_small_one() {
    let mut path = Path::new(1_472, 1_500, 2);
    path.run(SECOND, true);
    path.takes = 0;
    path.changes.clear();
    path.tests = 0;
    path.run(SECOND * 60, true);
    assert_eq!(path.changes, []);
    assert!(path.tests < 150, "{}", path.tests);
    path.takes = 1_472;
    path.run(SECOND, true);
    assert_eq!(path.mtu.bytes(), 1_472);
}

#[test]
fn another_address_is_another_path() {
    let mut path = Path::new(1_472, 1_500, 2);
    path.run(SECOND, true);
    let remote = Some("[2001:db8::1]:6783".parse().unwrap());
    assert!(path.mtu.handle_path(path.now, remote, 1_500));
    assert_eq!(path.mtu.bytes(), 1_200);
    path.run(SECOND, true);
    assert_eq!(path.mtu.bytes(), 1_452);
    assert!(path.mtu.handle_path(path.now, None, 1_500));
    assert_eq!(path.mtu.next_timeout(), None);
}

#[test]
fn loss_makes_no_black_hole() {
    for loss_permille in [20, 100, 300] {
        let mut path = Path::new(1_472, 1_500, 10);
        path.loss_permille = loss_permille;
        path.run(SECOND * 3_600, true);
        assert!(
            path.changes.len() <= 9,
            "{loss_permille} ‰: {:?}",
            path.changes
        );
        assert_eq!(path.mtu.bytes(), 1_472, "{loss_permille} ‰");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever the path does, after quiet it is known to within a step, and never taken for larger.
    #[test]
    fn the_search_settles_on_what_passes(
        first in 1_200u16..9_000,
        then in 1_200u16..9_000,
        device in prop_oneof![Just(1_500u16), Just(9_000), 1_280u16..9_100],
        rtt in 0u64..200,
    ) {
        let bound = (device - 28).max(1_200);
        let mut path = Path::new(first, device, rtt);
        path.run(SECOND * 30, true);
        for takes in [first, then] {
            path.takes = takes;
            path.run(SECOND * 40, true);
            let found = path.mtu.bytes();
            prop_assert!(found <= takes.min(bound));
            if takes <= first {
                prop_assert!(found + 8 > takes.min(bound), "{} of {}", found, takes.min(bound));
            }
        }
    }
}
