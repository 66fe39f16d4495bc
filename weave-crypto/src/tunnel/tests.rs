use std::thread;

use proptest::prelude::*;

use super::*;

const SUITES: [Suite; 2] = [Suite::Aes256Gcm, Suite::ChaCha20Poly1305];

fn pair(suite: Suite) -> (TunnelKeys, TunnelKeys) {
    TunnelKeys::pair([7; 32], suite, 0xa, 0xb)
}

/// The body with its tag behind it, as it goes on the wire.
fn seal(keys: &TunnelKeys, counter: u64, aad: &[u8], body: &[u8]) -> Vec<u8> {
    let mut sealed = body.to_vec();
    let tag = keys.seal(counter, aad, &mut sealed).unwrap();
    sealed.extend_from_slice(&tag);
    sealed
}

fn verdicts(keys: &TunnelKeys, counters: &[u64]) -> Vec<Result<(), OpenError>> {
    let mut verdicts = Vec::new();
    keys.accept(counters, |place, verdict| {
        assert_eq!(place, verdicts.len(), "in order");
        verdicts.push(verdict);
    });
    verdicts
}

#[test]
fn what_one_seals_the_other_opens_both_ways() {
    for suite in SUITES {
        let (a, b) = pair(suite);
        assert_eq!((a.local_index(), a.remote_index()), (0xa, 0xb));
        assert_eq!((b.local_index(), b.remote_index()), (0xb, 0xa));
        for (from, to) in [(&a, &b), (&b, &a)] {
            assert_eq!(from.suite(), suite);
            for length in [0, 1, 64, 1_400, 65_507] {
                let body = vec![0x5a; length];
                let counter = from.reserve(1).unwrap();
                let mut sealed = seal(from, counter, b"header", &body);
                assert_eq!(to.open(counter, b"header", &mut sealed).unwrap(), body);
            }
        }
        let sealed = seal(&a, 1, b"", b"body");
        assert_ne!(
            sealed,
            seal(&b, 1, b"", b"body"),
            "a key for each direction"
        );
        assert_eq!(
            a.open(1, b"", &mut sealed.clone()),
            Err(OpenError::Forged),
            "sent back"
        );
    }
}

#[test]
fn every_prefix_and_every_flipped_bit_is_refused() {
    for suite in SUITES {
        let (a, b) = pair(suite);
        let sealed = seal(&a, 5, b"header", b"body");
        for length in 0..sealed.len() {
            let want = if length < TunnelKeys::TAG_BYTES {
                OpenError::Short
            } else {
                OpenError::Forged
            };
            assert_eq!(
                b.open(5, b"header", &mut sealed[..length].to_vec()),
                Err(want)
            );
        }
        for bit in 0..8 * sealed.len() {
            let mut forged = sealed.clone();
            forged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(
                b.open(5, b"header", &mut forged),
                Err(OpenError::Forged),
                "bit {bit}"
            );
        }
        assert_eq!(
            b.open(6, b"header", &mut sealed.clone()),
            Err(OpenError::Forged)
        );
        assert_eq!(
            b.open(5, b"heaper", &mut sealed.clone()),
            Err(OpenError::Forged)
        );
        assert_eq!(b.open(5, b"header", &mut sealed.clone()).unwrap(), b"body");
    }
}

#[test]
fn keys_of_another_secret_or_suite_open_nothing() {
    let sealed = seal(&pair(Suite::Aes256Gcm).0, 1, b"", b"body");
    for (_, b) in [
        pair(Suite::ChaCha20Poly1305),
        TunnelKeys::pair([8; 32], Suite::Aes256Gcm, 0xa, 0xb),
    ] {
        assert_eq!(b.open(1, b"", &mut sealed.clone()), Err(OpenError::Forged));
    }
}

#[test]
fn counters_that_no_packet_has_are_refused() {
    for suite in SUITES {
        let (a, b) = pair(suite);
        for counter in [0, TunnelKeys::COUNTER_MAX + 1, u64::MAX] {
            assert_eq!(a.seal(counter, b"", &mut []), Err(SealError::Counter));
            assert_eq!(b.open(counter, b"", &mut [0; 16]), Err(OpenError::Counter));
            assert_eq!(verdicts(&b, &[counter]), [Err(OpenError::Counter)]);
        }
        let mut sealed = seal(&a, TunnelKeys::COUNTER_MAX, b"", b"last");
        assert_eq!(
            b.open(TunnelKeys::COUNTER_MAX, b"", &mut sealed).unwrap(),
            b"last"
        );
        assert_eq!(b.received_packets(), 0);
    }
}

#[test]
fn a_run_is_taken_whole_or_not_at_all() {
    let (a, _) = pair(Suite::ChaCha20Poly1305);
    assert_eq!(a.reserve(0), Err(SealError::Counter));
    assert_eq!(a.reserve(1), Ok(1));
    assert_eq!(a.reserve(64), Ok(2));
    assert_eq!(a.reserve(1), Ok(66));
    assert_eq!(a.sent_packets(), 66);
    let left = TunnelKeys::COUNTER_MAX - 66;
    for too_many in [left + 1, u64::MAX - 66, u64::MAX] {
        assert_eq!(a.reserve(too_many), Err(SealError::Exhausted));
    }
    assert_eq!(a.reserve(left), Ok(67), "up to the very last");
    assert_eq!(a.reserve(1), Err(SealError::Exhausted));
    assert_eq!(a.sent_packets(), TunnelKeys::COUNTER_MAX);
}

#[test]
fn counters_and_replays_are_told_apart_across_2_to_the_32() {
    for suite in SUITES {
        let (a, b) = pair(suite);
        // Epochs end at 2^32 packets; what is sealed until the next one stands goes beyond.
        let edge = 1_u64 << 32;
        assert_eq!(a.reserve(edge - 3), Ok(1));
        for counter in edge - 2..edge + 3 {
            assert_eq!(a.reserve(1), Ok(counter));
            let mut sealed = seal(&a, counter, b"header", b"body");
            let wrapped = counter.wrapping_sub(edge) & TunnelKeys::COUNTER_MAX;
            assert!(b.open(wrapped, b"header", &mut sealed.clone()).is_err());
            assert_eq!(b.open(counter, b"header", &mut sealed).unwrap(), b"body");
            assert_eq!(
                verdicts(&b, &[counter, counter]),
                [Ok(()), Err(OpenError::Replayed)]
            );
        }
        assert_eq!(
            verdicts(&b, &[1, 2]),
            [Err(OpenError::TooOld); 2],
            "the low halves"
        );
        assert_eq!(verdicts(&b, &[edge - 3]), [Ok(())], "late, but new");
    }
}

#[test]
fn threads_never_share_a_counter() {
    let (a, b) = pair(Suite::ChaCha20Poly1305);
    let (runs, run) = (500, 7);
    let mut firsts: Vec<u64> = thread::scope(|scope| {
        let workers: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    (0..runs)
                        .map(|_| a.reserve(run).unwrap())
                        .collect::<Vec<_>>()
                })
            })
            .collect();
        workers
            .into_iter()
            .flat_map(|worker| worker.join().unwrap())
            .collect()
    });
    firsts.sort_unstable();
    let want: Vec<u64> = (0..4 * runs).map(|place| 1 + place * run).collect();
    assert_eq!(firsts, want);
    // And of threads that accept the same counters, one alone is told yes.
    let counters: Vec<u64> = (1..=1_000).collect();
    let accepted: usize = thread::scope(|scope| {
        let workers: Vec<_> = (0..4)
            .map(|_| scope.spawn(|| verdicts(&b, &counters).iter().filter(|v| v.is_ok()).count()))
            .collect();
        workers
            .into_iter()
            .map(|worker| worker.join().unwrap())
            .sum()
    });
    assert_eq!(accepted, 1_000);
    assert_eq!(b.received_packets(), 1_000);
}

#[test]
fn a_batch_is_judged_counter_by_counter() {
    let (_, b) = pair(Suite::ChaCha20Poly1305);
    let width = ReplayWindow::WIDTH;
    assert_eq!(
        verdicts(&b, &[1, 2, 2, width + 2, 1, 2, 3, 0]),
        [
            Ok(()),
            Ok(()),
            Err(OpenError::Replayed),
            Ok(()),
            Err(OpenError::TooOld),
            Err(OpenError::TooOld),
            Ok(()),
            Err(OpenError::Counter),
        ]
    );
    assert_eq!(verdicts(&b, &[]), []);
    assert_eq!(b.received_packets(), 4);
}

#[test]
fn a_panicking_verdict_leaves_the_window_usable() {
    let (_, b) = pair(Suite::ChaCha20Poly1305);
    let panicked = thread::scope(|scope| {
        scope
            .spawn(|| b.accept(&[1], |_, _| panic!("on purpose")))
            .join()
    });
    assert!(panicked.is_err());
    assert_eq!(verdicts(&b, &[1, 2]), [Err(OpenError::Replayed), Ok(())]);
}

#[test]
fn confirmation_is_told_once() {
    let (a, _) = pair(Suite::ChaCha20Poly1305);
    assert!(a.is_confirmed() && !a.confirm(), "born confirmed");

    let keys = |confirmed| {
        let keys = DirectionKeys {
            send: Zeroizing::new([1; 32]),
            receive: Zeroizing::new([2; 32]),
        };
        TunnelKeys::new(&keys, Suite::ChaCha20Poly1305, 1, 2, confirmed)
    };
    let by_hand = keys(false);
    assert!(!by_hand.is_confirmed());
    assert!(by_hand.confirm());
    assert!(by_hand.is_confirmed() && !by_hand.confirm());

    let by_packet = keys(false);
    by_packet.accept(&[0], |_, _| {});
    assert!(!by_packet.is_confirmed(), "nothing was accepted");
    by_packet.accept(&[1], |_, _| {});
    assert!(by_packet.is_confirmed());
    assert!(by_packet.confirm(), "still to be told");
    assert!(!by_packet.confirm());

    let contested = keys(false);
    let told = thread::scope(|scope| {
        let workers: Vec<_> = (0..4)
            .map(|_| scope.spawn(|| contested.confirm()))
            .collect();
        workers
            .into_iter()
            .map(|worker| usize::from(worker.join().unwrap()))
            .sum::<usize>()
    });
    assert_eq!(told, 1);
}

#[test]
fn debug_shows_no_secret() {
    let shown = format!(
        "{:?}",
        TunnelKeys::pair([0xa5; 32], Suite::Aes256Gcm, 1, 2).0
    );
    assert!(
        shown.starts_with("TunnelKeys { suite: Aes256Gcm, local_index: 1,"),
        "{shown}"
    );
    assert!(!shown.contains("165") && !shown.contains("a5"), "{shown}");
}

proptest! {
    #[test]
    fn any_packet_comes_back(
        aes: bool,
        counter in 1..=TunnelKeys::COUNTER_MAX,
        aad in prop::collection::vec(any::<u8>(), 0..32),
        body in prop::collection::vec(any::<u8>(), 0..2_000),
    ) {
        let (a, b) = pair(SUITES[usize::from(aes)]);
        let mut sealed = seal(&a, counter, &aad, &body);
        prop_assert_eq!(b.open(counter, &aad, &mut sealed).unwrap(), body);
    }

    #[test]
    fn no_bytes_break_it(counter: u64, mut bytes in prop::collection::vec(any::<u8>(), 0..100)) {
        let (_, b) = pair(Suite::Aes256Gcm);
        prop_assert!(b.open(counter, b"header", &mut bytes).is_err());
    }
}
