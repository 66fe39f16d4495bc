use rand::SeedableRng as _;
use weave_crypto::{Identity, NetworkId};

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
fn keys_that_nobody_confirms_are_forgotten_and_a_set_up_can_begin() {
    let (now, mut a, mut b) = pair();
    let first = message(a.tunnels.begin(now, b.remote));
    b.tunnels.handle_initiation(now, a.remote, &first);
    assert!(b.tunnels.is_pending(&a.remote.peer));
    let later = b.tunnels.next_timeout().unwrap();
    assert!(b.tunnels.handle_timeout(later).changed);
    assert!(!b.tunnels.is_pending(&a.remote.peer));
    assert_eq!(b.tunnels.opening().count(), 0);
    assert!(b.tunnels.indexes.is_empty());
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
        let tunnels = Tunnels::new(local, ChaCha20Rng::from_seed([seed + 50; 32]));
        End { tunnels, remote }
    };
    (now, end(1), end(2))
}

fn message(message: Option<TunnelMessage>) -> Vec<u8> {
    match message.unwrap() {
        TunnelMessage::Initiation(bytes)
        | TunnelMessage::Answer(bytes)
        | TunnelMessage::Confirmation(bytes) => bytes,
    }
}
