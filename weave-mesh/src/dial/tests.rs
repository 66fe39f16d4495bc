use rand::SeedableRng;
use rand_chacha::ChaCha20Rng;

use super::*;
use crate::error::CloseReason;
use crate::mesh::tests_base;

fn peer(byte: u8) -> PeerId {
    PeerId::from_bytes([byte; 32])
}

fn socket(last: u8) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, last], 6783))
}

/// A dialler, time, and a network on which nobody answers.
struct Bench {
    dialler: Dialler,
    now: Instant,
    random: ChaCha20Rng,
    conns: u64,
    linked: BTreeSet<PeerId>,
    /// Each dial leads to a refusal that only people can change.
    is_refused: bool,
}

impl Bench {
    fn new() -> Self {
        Self {
            dialler: Dialler::default(),
            now: tests_base(),
            random: ChaCha20Rng::from_seed([3; 32]),
            conns: 0,
            linked: BTreeSet::new(),
            is_refused: false,
        }
    }

    /// Runs for a while, fails each dial at once, and returns when what was dialled, ms.
    fn run(&mut self, time: Duration) -> Vec<(u128, SocketAddr)> {
        let start = self.now;
        let end = start + time;
        let mut dialled = Vec::new();
        while self.now <= end {
            while let Some(step) = self.step() {
                let DialStep::Dial(purpose, remote) = step else {
                    panic!("resolves {step:?}")
                };
                dialled.push(((self.now - start).as_millis(), remote));
                self.conns += 1;
                let conn = ConnId::dialled(self.conns);
                self.dialler.started(conn, purpose, remote);
                let reason = if self.is_refused {
                    FailReason::DeniedThere
                } else {
                    FailReason::Closed(CloseReason::Refused)
                };
                let (purpose, _) = self.dialler.failed(conn, &reason).unwrap();
                if reason.is_refusal() {
                    self.dialler.refused(self.now, &purpose, &mut self.random);
                }
            }
            let linked = &self.linked;
            match self
                .dialler
                .next_timeout(self.now, &|peer| linked.contains(peer))
            {
                Some(at) => {
                    assert!(at > self.now, "asked for now twice");
                    self.now = at;
                }
                None => break,
            }
        }
        self.now = end;
        dialled
    }

    fn step(&mut self) -> Option<DialStep> {
        let linked = &self.linked;
        self.dialler
            .next_step(self.now, &|peer| linked.contains(peer), &mut self.random)
    }

    fn set_peer(&mut self, own: u8, of: u8, boot_id: u64, addresses: Vec<SocketAddr>) {
        let peers = BTreeMap::from([(peer(of), (boot_id, addresses))]);
        self.dialler.set_peers(self.now, &peer(own), &peers);
    }
}

fn gaps(dialled: &[(u128, SocketAddr)]) -> Vec<u128> {
    dialled
        .windows(2)
        .map(|pair| pair[1].0 - pair[0].0)
        .collect()
}

#[test]
fn targets_back_off_to_3_s_and_peers_of_records_to_60_s() {
    let mut bench = Bench::new();
    assert!(bench.dialler.add_target(bench.now, socket(1).into()));
    let dialled = bench.run(Duration::from_secs(60));
    let gaps_ms = gaps(&dialled);
    assert_eq!(dialled[0].0, 0);
    assert!((400..=600).contains(&gaps_ms[0]), "{gaps_ms:?}");
    assert!(
        gaps_ms[6..].iter().all(|gap| (2_400..=3_600).contains(gap)),
        "{gaps_ms:?}"
    );

    let mut bench = Bench::new();
    bench.set_peer(1, 2, 1, vec![socket(1)]);
    let gaps_ms = gaps(&bench.run(Duration::from_secs(900)));
    assert!(
        gaps_ms[14..]
            .iter()
            .all(|gap| (48_000..=72_000).contains(gap)),
        "{gaps_ms:?}"
    );
}

#[test]
fn whoever_refuses_us_is_tried_after_10_s_doubling_to_5_min() {
    let mut bench = Bench::new();
    bench.is_refused = true;
    assert!(bench.dialler.add_target(bench.now, socket(1).into()));
    let dialled = bench.run(Duration::from_secs(1_800));
    let gaps_ms = gaps(&dialled);
    assert_eq!(gaps_ms[0], 10_000);
    for (gap, longest) in gaps_ms.iter().zip([10, 20, 40, 80, 160, 300, 300, 300]) {
        let longest = longest * 1_000;
        assert!((longest * 8 / 10..=longest).contains(gap), "{gaps_ms:?}");
    }
    // The user's word counts more.
    assert!(bench.dialler.add_target(bench.now, socket(1).into()));
    let again = bench.run(Duration::from_secs(30));
    assert_eq!(again[0].0, 0);
    assert_eq!(gaps(&again)[0], 10_000);
}

#[test]
fn several_addresses_that_refuse_us_count_once() {
    let mut bench = Bench::new();
    bench.is_refused = true;
    bench.set_peer(1, 2, 1, vec![socket(1), socket(2), socket(3)]);
    let dialled = bench.run(Duration::from_secs(25));
    let starts: Vec<u128> = dialled.iter().step_by(3).map(|(at, _)| *at).collect();
    assert_eq!(dialled.len(), 6, "{dialled:?}");
    assert_eq!(starts[1] - starts[0], 10_000);
    // A new start of the router is another chance.
    bench.set_peer(1, 2, 2, vec![socket(1), socket(2), socket(3)]);
    assert_eq!(bench.run(Duration::from_secs(1))[0].0, 0);
}

#[test]
fn larger_id_waits_1500_ms_for_the_smaller() {
    let mut bench = Bench::new();
    bench.set_peer(9, 2, 1, vec![socket(1)]);
    assert_eq!(bench.run(Duration::from_secs(2))[0].0, 1_500);
}

#[test]
fn addresses_of_one_peer_are_tried_250_ms_apart() {
    let mut bench = Bench::new();
    bench.set_peer(1, 2, 1, vec![socket(1), socket(2), socket(3)]);
    let dialled = bench.run(Duration::from_millis(510));
    assert_eq!(
        dialled,
        vec![(0, socket(1)), (250, socket(2)), (500, socket(3))]
    );
}

#[test]
fn new_boot_id_or_address_resets_the_back_off() {
    let mut bench = Bench::new();
    bench.set_peer(1, 2, 1, vec![socket(1)]);
    bench.run(Duration::from_secs(600));
    bench.set_peer(1, 2, 1, vec![socket(1)]);
    assert!(bench.run(Duration::from_millis(10)).is_empty());
    bench.set_peer(1, 2, 2, vec![socket(1)]);
    assert_eq!(bench.run(Duration::from_millis(10)).len(), 1);
    bench.set_peer(1, 2, 2, vec![socket(7)]);
    assert_eq!(bench.run(Duration::from_millis(10)), vec![(0, socket(7))]);
}

#[test]
fn lost_neighbour_is_dialled_at_once_and_often_for_10_min() {
    let mut bench = Bench::new();
    bench.set_peer(1, 2, 1, vec![socket(1)]);
    bench.linked.insert(peer(2));
    assert!(bench.run(Duration::from_secs(5)).is_empty());
    bench.linked.clear();
    let since = bench.now - Duration::from_secs(4);
    bench
        .dialler
        .link_lost(bench.now, &peer(1), &peer(2), since);
    let dialled = bench.run(Duration::from_secs(1_200));
    assert_eq!(dialled[0].0, 0);
    let near = dialled.iter().filter(|(at, _)| *at < 600_000).count();
    let far = dialled.len() - near;
    assert!(near > 180 && far < 20, "{near} {far}");
}

#[test]
fn link_that_never_lived_does_not_reset_the_back_off() {
    let mut bench = Bench::new();
    bench.dialler.add_target(bench.now, socket(1).into());
    bench.run(Duration::from_secs(20));
    let mut reached = 0;
    let end = bench.now + Duration::from_secs(30);
    while bench.now < end {
        if let Some(DialStep::Dial(purpose, remote)) = bench.step() {
            bench.conns += 1;
            let conn = ConnId::dialled(bench.conns);
            bench.dialler.started(conn, purpose, remote);
            bench.dialler.reached(conn, peer(2));
            bench
                .dialler
                .link_lost(bench.now, &peer(1), &peer(2), bench.now);
            reached += 1;
        }
        bench.now += Duration::from_millis(50);
    }
    assert!((8..=13).contains(&reached), "{reached}");
}

#[test]
fn at_most_32_dials_and_256_targets() {
    let mut bench = Bench::new();
    for index in 0..TARGETS_MAX {
        let name = format!("192.0.2.{}:{}", index % 250 + 1, index + 1);
        assert!(bench.dialler.add_target(bench.now, name.parse().unwrap()));
    }
    assert!(!bench.dialler.add_target(bench.now, socket(1).into()));
    let mut started = 0;
    while let Some(DialStep::Dial(purpose, remote)) = bench.step() {
        bench.conns += 1;
        started += 1;
        bench
            .dialler
            .started(ConnId::dialled(bench.conns), purpose, remote);
    }
    assert_eq!(started, DIALS_MAX);
    assert_eq!(bench.dialler.next_timeout(bench.now, &|_| false), None);
}

#[test]
fn name_without_address_is_asked_for_again() {
    let mut bench = Bench::new();
    let target: Target = "nowhere.example".parse().unwrap();
    bench.dialler.add_target(bench.now, target.clone());
    assert_eq!(bench.step(), Some(DialStep::Resolve(target.clone())));
    assert_eq!(bench.step(), None);
    let reason = bench
        .dialler
        .handle_resolved(bench.now, &target, Err("no such name".into()));
    assert_eq!(reason, Some(FailReason::Resolve("no such name".into())));
    bench.now += Duration::from_secs(1);
    assert_eq!(bench.step(), Some(DialStep::Resolve(target.clone())));
    let both = vec![socket(1), socket(2)];
    assert_eq!(
        bench
            .dialler
            .handle_resolved(bench.now, &target, Ok(both.clone())),
        None
    );
    assert_eq!(bench.run(Duration::from_millis(300)).len(), 2);
    let unasked = bench.dialler.handle_resolved(bench.now, &target, Ok(both));
    assert_eq!(unasked, None);
}
