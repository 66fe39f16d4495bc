use rand::SeedableRng;
use rand_chacha::ChaCha20Rng;

use super::*;
use crate::mesh::tests_base;

struct Rig {
    now: Instant,
    stream: StreamLiveness,
    random: ChaCha20Rng,
}

impl Rig {
    fn new() -> Self {
        Self {
            now: tests_base(),
            stream: StreamLiveness::default(),
            random: ChaCha20Rng::from_seed([1; 32]),
        }
    }

    fn after_ms(&mut self, ms: u64) {
        self.now += Duration::from_millis(ms);
    }

    fn repeat(&mut self, sequence: u32) -> Probe {
        let probe = Probe {
            kind: ProbeKind::Challenge,
            last_heard_ms: 0,
            sequence,
            token: u64::from(sequence),
            seen: None,
        };
        self.stream.handle_repeated(self.now, &probe);
        probe
    }

    fn timeout(&mut self) -> Option<Probe> {
        self.stream
            .handle_timeout(self.now, true, 0, &mut self.random)
    }
}

#[test]
fn takes_over_at_once_when_the_last_but_one_repeated_probe_was_answered() {
    for (answered, takes_over) in [(0, false), (1, true), (2, true), (3, false)] {
        let mut rig = Rig::new();
        let probes: Vec<Probe> = (0..4)
            .map(|sequence| {
                rig.after_ms(150);
                rig.repeat(sequence)
            })
            .collect();
        if answered < 3 {
            rig.stream.handle_answer(rig.now, &probes[answered]);
        }
        assert!(!rig.stream.is_up(), "UDP has it yet");
        rig.stream.begin(rig.now);
        assert_eq!(rig.stream.is_up(), takes_over, "{answered}");
    }
}

#[test]
fn one_answer_in_time_is_enough_later() {
    let mut rig = Rig::new();
    rig.stream.begin(rig.now);
    let probe = rig.timeout().expect("asked at once");
    assert!(!rig.stream.is_up());
    rig.after_ms(300);
    rig.stream.handle_answer(rig.now, &probe);
    assert!(rig.stream.is_up());
    assert_eq!(rig.stream.rtt(), Some(Duration::from_millis(300)));
}

#[test]
fn late_answers_and_forged_ones_bring_nothing_up() {
    let mut rig = Rig::new();
    rig.stream.begin(rig.now);
    let first = rig.timeout().expect("due");
    rig.after_ms(1_000);
    let second = rig.timeout().expect("due");
    rig.stream.handle_answer(rig.now, &first);
    let forged = Probe {
        token: second.token ^ 1,
        ..second
    };
    rig.stream.handle_answer(rig.now, &forged);
    assert!(!rig.stream.is_up());
    rig.stream.handle_answer(rig.now, &second);
    assert!(rig.stream.is_up());
}

#[test]
fn one_lost_segment_is_no_miss_and_three_misses_take_it_down() {
    let mut rig = Rig::new();
    rig.stream.begin(rig.now);
    let probe = rig.timeout().expect("due");
    rig.stream.handle_answer(rig.now, &probe);
    for _ in 0..20 {
        rig.after_ms(1_000);
        let probe = rig.timeout().expect("due");
        rig.after_ms(390);
        rig.stream.handle_answer(rig.now, &probe);
        rig.stream.next_at = Some(rig.now);
    }
    assert!(rig.stream.is_up());
    rig.stream.rtt = None;
    let mut ms = 0;
    while rig.stream.is_up() {
        rig.after_ms(150);
        rig.stream.next_at = Some(rig.now);
        rig.timeout();
        ms += 150;
        assert!(ms <= 1_050, "{ms} ms");
    }
}

#[test]
fn rests_until_it_is_needed() {
    let mut rig = Rig::new();
    assert_eq!(rig.stream.next_timeout(), None);
    assert!(rig.timeout().is_none());
    rig.stream.begin(rig.now);
    assert!(rig.stream.is_needed());
    rig.timeout();
    rig.stream.end();
    assert_eq!(rig.stream.next_timeout(), None);
    assert!(!rig.stream.is_needed());
}
