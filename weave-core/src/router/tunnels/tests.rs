use rand::SeedableRng as _;
use weave_crypto::{Identity, NetworkId};

use super::tunnel::PREVIOUS_FOR;
use super::*;

#[test]
fn an_initiation_that_comes_again_gets_the_same_answer_and_both_ends_agree() {
    let (now, mut a, mut b) = pair();
    let first = message(a.tunnels.begin(now, b.remote));
    let answer = message(b.tunnels.handle_initiation(now, a.remote, &first).reply);
    let again = message(b.tunnels.handle_initiation(now, a.remote, &first).reply);
    assert_eq!(again, answer);
    let outcome = a.tunnels.handle_answer(now, b.remote.peer, &again);
    let confirmation = message(outcome.reply);
    let outcome = b
        .tunnels
        .handle_confirmation(now, a.remote.peer, &confirmation);
    assert!(outcome.changed);
    let sealing = b.tunnels.sealing(&a.remote.peer).unwrap();
    let theirs = a.tunnels.sealing(&b.remote.peer).unwrap();
    assert_eq!(sealing.remote_index(), theirs.local_index());
    let outcome = b
        .tunnels
        .handle_confirmation(now, a.remote.peer, &confirmation);
    assert!(!outcome.changed, "said once, it is settled");
}

#[test]
fn of_two_begun_at_once_that_of_the_smaller_identity_wins() {
    let (now, mut a, mut b) = pair();
    let from_a = message(a.tunnels.begin(now, b.remote));
    let from_b = message(b.tunnels.begin(now, a.remote));
    let (at_a, at_b) = (
        a.tunnels.handle_initiation(now, b.remote, &from_b),
        b.tunnels.handle_initiation(now, a.remote, &from_a),
    );
    let a_wins = a.remote.peer < b.remote.peer;
    assert_eq!(at_a.refused == Some(Refusal::Lost), a_wins);
    assert_eq!(at_b.refused == Some(Refusal::Lost), !a_wins);
    assert_eq!(at_a.reply.is_none(), a_wins);
}

#[test]
fn keys_that_nobody_confirms_open_what_comes_and_a_set_up_can_begin() {
    let (now, mut a, mut b) = pair();
    let first = message(a.tunnels.begin(now, b.remote));
    b.tunnels.handle_initiation(now, a.remote, &first);
    assert!(b.tunnels.is_pending(&a.remote.peer));
    let later = b.tunnels.next_timeout().unwrap();
    assert_eq!(later - now, UNCONFIRMED_FOR);
    let outcome = b.tunnels.handle_timeout(later);
    assert!(
        outcome.rekey.is_empty(),
        "traffic asks for keys where there are none"
    );
    assert!(!b.tunnels.is_pending(&a.remote.peer));
    assert_eq!(b.tunnels.opening().count(), 1);
    assert!(b.tunnels.begin(later, a.remote).is_some());
}

#[test]
fn a_confirmation_that_is_lost_leaves_no_end_with_keys_that_the_other_has_not() {
    let (start, mut a, mut b) = tunnel();
    // Different initiations are answered only so often.
    let mut now = start + ANSWER_INTERVAL;
    // New keys, of which only their initiator knows that they stand; and it has nothing to send.
    let first = message(a.tunnels.begin(now, b.remote));
    let answer = message(b.tunnels.handle_initiation(now, a.remote, &first).reply);
    assert!(a.tunnels.handle_answer(now, b.remote.peer, &answer).changed);
    loop {
        assert_both_open(&a, &b);
        now = b.tunnels.next_timeout().unwrap();
        assert!(now < start + PREVIOUS_FOR, "in time");
        a.tunnels.handle_timeout(now);
        if b.tunnels.handle_timeout(now).rekey == [a.remote.peer] {
            break;
        }
    }
    let first = message(b.tunnels.begin(now, a.remote));
    let answer = message(a.tunnels.handle_initiation(now, b.remote, &first).reply);
    let confirmation = message(b.tunnels.handle_answer(now, a.remote.peer, &answer).reply);
    assert_both_open(&a, &b);
    a.tunnels
        .handle_confirmation(now, b.remote.peer, &confirmation);
    assert_both_open(&a, &b);
    let (at_a, at_b) = (a.sealing(&b), b.sealing(&a));
    assert_eq!(at_a.local_index(), at_b.remote_index());
    for now in [now + UNCONFIRMED_FOR, now + PREVIOUS_FOR] {
        assert!(b.tunnels.handle_timeout(now).rekey.is_empty());
        assert_both_open(&a, &b);
    }
}

#[test]
fn a_late_confirmation_brings_no_older_keys_back() {
    let (start, mut a, mut b) = tunnel();
    let now = start + ANSWER_INTERVAL;
    let from_b = message(b.tunnels.begin(now, a.remote));
    let to_b = message(a.tunnels.handle_initiation(now, b.remote, &from_b).reply);
    let from_a = message(a.tunnels.begin(now, b.remote));
    let confirmed_late = message(b.tunnels.handle_answer(now, a.remote.peer, &to_b).reply);
    let to_a = message(b.tunnels.handle_initiation(now, a.remote, &from_a).reply);
    let confirmed = message(a.tunnels.handle_answer(now, b.remote.peer, &to_a).reply);
    assert_both_open(&a, &b);
    let newest = a.sealing(&b).local_index();
    a.tunnels
        .handle_confirmation(now, b.remote.peer, &confirmed_late);
    assert_eq!(a.sealing(&b).local_index(), newest);
    b.tunnels
        .handle_confirmation(now, a.remote.peer, &confirmed);
    assert_eq!(b.sealing(&a).remote_index(), newest);
    assert_both_open(&a, &b);
}

#[test]
fn keys_in_use_are_replaced_in_time_and_those_that_nobody_uses_stay() {
    let (now, mut a, mut b) = tunnel();
    let due = a.tunnels.next_timeout().unwrap();
    assert_eq!(due - now, Config::REKEY_AFTER);
    assert!(
        a.tunnels.handle_timeout(due).rekey.is_empty(),
        "nobody used them"
    );
    let next = a.tunnels.next_timeout().unwrap();
    assert_eq!(next - due, CHECK_EVERY);
    b.sealing(&a).reserve(1).unwrap();
    assert!(
        a.tunnels.handle_timeout(next).rekey.is_empty(),
        "on its way"
    );
    a.sealing(&b).accept(&[2], |_, verdict| verdict.unwrap());
    let next = next + CHECK_EVERY;
    assert_eq!(a.tunnels.handle_timeout(next).rekey, [b.remote.peer]);
    assert!(
        b.tunnels.handle_timeout(next).rekey.is_empty(),
        "who began it sees to it"
    );
}

#[test]
fn the_time_of_keys_is_kept_within_its_bounds() {
    let bounds = [
        (Duration::ZERO, Config::REKEY_AFTER_MIN),
        (Duration::from_secs(5), Duration::from_secs(5)),
        (Duration::MAX, Config::REKEY_AFTER),
    ];
    for (wanted, expected) in bounds {
        let (_, end, _) = pair();
        let rng = ChaCha20Rng::from_seed([3; 32]);
        let tunnels = Tunnels::new(end.tunnels.local, rng, wanted);
        assert_eq!(tunnels.rekey_after, expected);
    }
}

#[test]
fn different_initiations_are_answered_only_so_often() {
    let (now, mut a, mut b) = pair();
    let (_, mut other, _) = pair();
    let first = message(a.tunnels.begin(now, b.remote));
    other.tunnels.rng = ChaCha20Rng::from_seed([99; 32]);
    let second = message(other.tunnels.begin(now, b.remote));
    assert!(
        b.tunnels
            .handle_initiation(now, a.remote, &first)
            .reply
            .is_some()
    );
    let outcome = b.tunnels.handle_initiation(now, a.remote, &second);
    assert_eq!(outcome.refused, Some(Refusal::TooOften));
    let later = now + ANSWER_INTERVAL;
    assert!(
        b.tunnels
            .handle_initiation(later, a.remote, &second)
            .reply
            .is_some()
    );
}

#[test]
fn an_unanswered_initiation_goes_again_three_times_and_is_given_up() {
    let (now, mut a, b) = pair();
    let first = a.tunnels.begin(now, b.remote);
    assert!(a.tunnels.begin(now, b.remote).is_none(), "one at a time");
    let mut at = now;
    let mut sent = Vec::new();
    while let Some(next) = a.tunnels.next_timeout() {
        at = next;
        sent.extend(a.tunnels.handle_timeout(at).again);
    }
    assert_eq!(sent.len(), RETRIES.len() - 1);
    assert!(
        sent.iter()
            .all(|(_, message)| Some(message) == first.as_ref())
    );
    assert_eq!(at - now, RETRIES.iter().sum());
    assert!(a.tunnels.begin(at, b.remote).is_some());
}

struct End {
    tunnels: Tunnels,
    remote: Remote,
}

fn pair() -> (Instant, End, End) {
    #[allow(clippy::disallowed_methods, reason = "a test's base instant")]
    let now = Instant::now();
    let end = |seed: u8| {
        let identity = Arc::new(Identity::from_seed([seed; 32]));
        let remote = Remote {
            peer: identity.peer_id(),
            noise_public: identity.noise_public(),
            boot_id: u64::from(seed),
            aes: true,
        };
        let local = TunnelLocal {
            identity,
            network: NetworkId::from_name("test"),
            boot_id: remote.boot_id,
            aes: true,
        };
        let rng = ChaCha20Rng::from_seed([seed + 50; 32]);
        let tunnels = Tunnels::new(local, rng, Config::REKEY_AFTER);
        End { tunnels, remote }
    };
    (now, end(1), end(2))
}

/// Two ends with a tunnel that the first began.
fn tunnel() -> (Instant, End, End) {
    let (now, mut a, mut b) = pair();
    let first = message(a.tunnels.begin(now, b.remote));
    let answer = message(b.tunnels.handle_initiation(now, a.remote, &first).reply);
    let confirmation = message(a.tunnels.handle_answer(now, b.remote.peer, &answer).reply);
    b.tunnels
        .handle_confirmation(now, a.remote.peer, &confirmation);
    assert_both_open(&a, &b);
    (now, a, b)
}

impl End {
    fn sealing(&self, other: &Self) -> &Arc<TunnelKeys> {
        self.tunnels.sealing(&other.remote.peer).unwrap()
    }
}

/// Whatever one of the two seals, the other opens.
fn assert_both_open(a: &End, b: &End) {
    for (from, to) in [(a, b), (b, a)] {
        let index = from.sealing(to).remote_index();
        let opening = to.tunnels.opening_at(&from.remote.peer, index);
        assert!(opening.is_some(), "{index}");
    }
}

fn message(message: Option<TunnelMessage>) -> Vec<u8> {
    match message.unwrap() {
        TunnelMessage::Initiation(bytes)
        | TunnelMessage::Answer(bytes)
        | TunnelMessage::Confirmation(bytes) => bytes,
    }
}
