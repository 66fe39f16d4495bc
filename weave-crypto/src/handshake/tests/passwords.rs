//! Link set-up between routers with passwords.

use curve25519_dalek::{
    EdwardsPoint, constants::EIGHT_TORSION, edwards::CompressedEdwardsY, traits::Identity as _,
};

use super::*;
use crate::admission::PasswordKey;

/// The passwords that the letters stand for, newest first.
fn passwords(letters: &str) -> Passwords {
    let key = |letter: u8| PasswordKey::from_bytes([letter; 32]);
    match letters.as_bytes() {
        [] => Passwords::none(),
        [only] => Passwords::one(key(*only)),
        [newest, older] => Passwords::two(key(*newest), key(*older)),
        _ => panic!("no router has more than two"),
    }
}

pub(super) fn local_with(seed: u8, letters: &str) -> LinkLocal {
    LinkLocal {
        passwords: passwords(letters),
        ..local(seed)
    }
}

fn pair(dialler: &str, listener: &str) -> Pair {
    Pair::new(local_with(1, dialler), local_with(2, listener))
}

/// What each side ends with: the password used, or the error.
type End = Result<usize, HandshakeError>;

/// Delivers everything until both have nothing to say, whatever fails.
fn ends(mut pair: Pair) -> (Option<End>, Option<End>) {
    let (mut dialler, mut listener) = (None, None);
    while !(pair.to_listener.is_empty() && pair.to_dialler.is_empty()) {
        match pair.deliver_to_listener() {
            Ok(()) => {}
            Err(error) => listener = Some(Err(error)),
        }
        match pair.deliver_to_dialler() {
            Ok(()) => {}
            Err(error) => dialler = Some(Err(error)),
        }
    }
    let end = |established: Established| Ok(established.password.unwrap());
    (
        dialler.or_else(|| pair.at_dialler.map(end)),
        listener.or_else(|| pair.at_listener.map(end)),
    )
}

#[test]
fn routers_meet_when_a_password_of_theirs_does() {
    for (dialler, listener, met) in [
        ("a", "a", Some((0, 0))),
        ("a", "b", None),
        // The change from a to b: at no time do two routers fail to meet.
        ("a", "ba", Some((0, 1))),
        ("ba", "a", Some((1, 0))),
        ("ba", "ba", Some((0, 0))),
        ("ba", "b", Some((0, 0))),
        ("b", "ba", Some((0, 0))),
        // One in common in the same place.
        ("ba", "ca", Some((1, 1))),
        ("ab", "ac", Some((0, 0))),
        // None in common, or the only one in another place: two have to agree on which is the newer.
        ("ba", "dc", None),
        ("ba", "ab", None),
        ("ba", "c", None),
        ("c", "ba", None),
    ] {
        let expected = match met {
            Some((at_dialler, at_listener)) => (Some(Ok(at_dialler)), Some(Ok(at_listener))),
            None => (
                Some(Err(HandshakeError::WrongPassword)),
                Some(Err(HandshakeError::WrongPassword)),
            ),
        };
        assert_eq!(
            ends(pair(dialler, listener)),
            expected,
            "{dialler} dials {listener}"
        );
    }
}

#[test]
fn a_side_without_a_password_is_named_on_both() {
    for with in ["a", "ab"] {
        let (dialler, listener) = ends(pair(with, ""));
        assert_eq!(dialler, Some(Err(HandshakeError::PasswordHere)));
        assert_eq!(listener, Some(Err(HandshakeError::PasswordThere)));
        let (dialler, listener) = ends(pair("", with));
        assert_eq!(dialler, Some(Err(HandshakeError::PasswordThere)));
        assert_eq!(listener, Some(Err(HandshakeError::PasswordHere)));
    }
}

#[test]
fn what_is_sealed_afterwards_is_read_on_the_other_side() {
    let mut pair = pair("ba", "a");
    pair.run().unwrap();
    let (mut at_dialler, mut at_listener) = (pair.at_dialler.unwrap(), pair.at_listener.unwrap());
    let mut wire = Vec::new();
    at_dialler.stream.seal(b"hello", &mut wire).unwrap();
    at_listener.stream.handle_bytes(&wire);
    assert_eq!(
        at_listener.stream.next_message(),
        Ok(Some(b"hello".to_vec()))
    );
}

/// What both sides said, one piece for each time they took turns.
fn said(dialler: &str, listener: &str) -> Vec<Vec<u8>> {
    let mut pair = pair(dialler, listener);
    let mut said = Vec::new();
    while pair.at_listener.is_none() {
        said.push(pair.to_listener.clone());
        pair.deliver_to_listener().unwrap();
        if !pair.to_dialler.is_empty() {
            said.push(pair.to_dialler.clone());
        }
        pair.deliver_to_dialler().unwrap();
    }
    said
}

#[test]
fn the_exchange_costs_one_more_turn_and_few_bytes() {
    let lengths = |dialler, listener| -> Vec<usize> {
        said(dialler, listener).iter().map(Vec::len).collect()
    };
    let xx = [2 + 32 + 16, 2 + 32 + 48 + 101 + 16, 2 + 48 + 101 + 16];
    assert_eq!(
        lengths("a", "a"),
        [[46, 46 + 2 + 32, 2 + 64, 2 + 33].as_slice(), &xx].concat()
    );
    for (dialler, listener) in [("ab", "ab"), ("a", "ba"), ("ba", "a")] {
        assert_eq!(
            lengths(dialler, listener),
            [[46, 46 + 2 + 64, 2 + 128, 2 + 33].as_slice(), &xx].concat()
        );
    }
}

#[test]
fn the_exchange_may_arrive_byte_by_byte() {
    let mut pair = pair("a", "ba");
    while pair.at_listener.is_none() {
        for byte in mem::take(&mut pair.to_listener) {
            pair.at_listener = pair
                .listener
                .handle_bytes(&[byte], &mut pair.to_dialler)
                .unwrap();
        }
        for byte in mem::take(&mut pair.to_dialler) {
            pair.at_dialler = pair
                .dialler
                .handle_bytes(&[byte], &mut pair.to_listener)
                .unwrap();
        }
    }
    assert!(pair.at_dialler.is_some());
}

#[test]
fn a_wrong_guess_is_answered_with_one_byte() {
    let mut pair = pair("b", "a");
    pair.deliver_to_listener().unwrap();
    pair.deliver_to_dialler().unwrap();
    assert!(pair.dialler.proof_is_unanswered());
    assert_eq!(
        pair.deliver_to_listener(),
        Err(HandshakeError::WrongPassword)
    );
    assert_eq!(pair.to_dialler, [0, 1, 255]);
    assert_eq!(
        pair.deliver_to_dialler(),
        Err(HandshakeError::WrongPassword)
    );
    assert!(!pair.dialler.proof_is_unanswered());
    assert!(pair.to_listener.is_empty());
    assert_eq!(HandshakeError::WrongPassword.fault(), Fault::Incompatible);
    // Once refused, the same connection has no second guess.
    assert_eq!(
        pair.listener.handle_bytes(&[0; 66], &mut Vec::new()).err(),
        Some(HandshakeError::WrongPassword)
    );
}

#[test]
fn a_listener_that_proves_nothing_is_not_believed() {
    for answer in [
        [[0, 33, 0].as_slice(), &[0x5a; 32]].concat(),
        [[0, 33, 1].as_slice(), &[0x5a; 32]].concat(),
        [[0, 33, 255].as_slice(), &[0x5a; 32]].concat(),
        vec![0, 1, 0],
        vec![0, 0],
        vec![0xff, 0xff],
    ] {
        let mut pair = pair("a", "a");
        pair.deliver_to_listener().unwrap();
        pair.deliver_to_dialler().unwrap();
        pair.to_dialler = answer;
        let wrong = Err(HandshakeError::WrongPassword);
        assert_eq!(pair.deliver_to_dialler(), wrong);
    }
}

#[test]
fn tags_of_the_other_role_or_instance_do_not_fit() {
    // The dialler's own message sent back, as if it were an answer.
    let mut sent_back = pair("a", "a");
    sent_back.deliver_to_listener().unwrap();
    sent_back.deliver_to_dialler().unwrap();
    let tag = sent_back.to_listener[34..].to_vec();
    sent_back.to_dialler = [[0, 33, 0].as_slice(), &tag].concat();
    assert_eq!(
        sent_back.deliver_to_dialler(),
        Err(HandshakeError::WrongPassword)
    );
    // Two tags in each other's place.
    let mut swapped = pair("ba", "ba");
    swapped.deliver_to_listener().unwrap();
    swapped.deliver_to_dialler().unwrap();
    swapped.to_listener[66..].rotate_left(32);
    assert_eq!(
        swapped.deliver_to_listener(),
        Err(HandshakeError::WrongPassword)
    );
    // The answer of one instance as that of the other, both of which met.
    let mut other = pair("ba", "ba");
    other.deliver_to_listener().unwrap();
    other.deliver_to_dialler().unwrap();
    other.deliver_to_listener().unwrap();
    assert_eq!(other.to_dialler[2], 0);
    other.to_dialler[2] = 1;
    assert_eq!(
        other.deliver_to_dialler(),
        Err(HandshakeError::WrongPassword)
    );
}

#[test]
fn no_changed_byte_gets_a_link_with_a_password_up() {
    for (dialler, listener) in [("a", "a"), ("a", "ba")] {
        let lengths: Vec<usize> = said(dialler, listener).iter().map(Vec::len).collect();
        let last = lengths.len() - 1;
        for (message, &length) in lengths.iter().enumerate() {
            for at in 0..length {
                let mut pair = pair(dialler, listener);
                let mut turn = 0;
                let mut flip = |bytes: &mut Vec<u8>| {
                    if turn == message
                        && let Some(byte) = bytes.get_mut(at)
                    {
                        *byte ^= 1 << (at % 8);
                    }
                    turn += usize::from(!bytes.is_empty());
                };
                while !(pair.to_listener.is_empty() && pair.to_dialler.is_empty()) {
                    flip(&mut pair.to_listener);
                    if pair.deliver_to_listener().is_err() {
                        break;
                    }
                    flip(&mut pair.to_dialler);
                    if pair.deliver_to_dialler().is_err() {
                        break;
                    }
                }
                assert!(pair.at_listener.is_none(), "message {message}, byte {at}");
                assert!(
                    pair.at_dialler.is_none() || message == last,
                    "message {message}, byte {at}"
                );
            }
        }
    }
}

#[test]
fn a_hello_changed_on_the_way_is_refused_by_name() {
    // What a side hears is another version range, or another number of passwords, than the other said. Which of the two is
    // the true one makes no difference: a version taken away looks the same as one made up.
    let changes: [(usize, u8, HandshakeError); 3] = [
        (11, 2, HandshakeError::WrongPassword), // newest version
        (9, 0, HandshakeError::WrongPassword),  // oldest version
        (45, 2, HandshakeError::Malformed),     // one password more: another number of elements
    ];
    for (at, value, error) in changes {
        let mut to_listener = pair("a", "a");
        to_listener.to_listener[at] = value;
        to_listener.deliver_to_listener().unwrap();
        let failed = to_listener.run().unwrap_err();
        assert_eq!(failed, error, "dialler's byte {at}");
        let mut to_dialler = pair("a", "a");
        to_dialler.deliver_to_listener().unwrap();
        to_dialler.to_dialler[at] = value;
        let failed = to_dialler.run().unwrap_err();
        assert_eq!(failed, error, "listener's byte {at}");
    }
    // Passwords taken away, in one direction or both.
    let strip = |hello: &mut [u8]| hello[44..46].fill(0);
    let mut stripped = pair("a", "a");
    strip(&mut stripped.to_listener);
    assert_eq!(
        stripped.deliver_to_listener(),
        Err(HandshakeError::PasswordHere)
    );
    strip(&mut stripped.to_dialler);
    assert_eq!(
        stripped.deliver_to_dialler(),
        Err(HandshakeError::PasswordHere)
    );
    // One of two taken away.
    let mut fewer = pair("ba", "ba");
    fewer.to_listener[45] = 1;
    fewer.deliver_to_listener().unwrap();
    assert_eq!(fewer.run(), Err(HandshakeError::WrongPassword));
}

/// Every element that no honest router sends, and what it is refused as.
fn bad_elements() -> Vec<([u8; 32], HandshakeError)> {
    let mut bad: Vec<_> = EIGHT_TORSION
        .iter()
        .map(|point| (point.compress().0, HandshakeError::WeakKey))
        .collect();
    assert_eq!(bad.len(), 8);
    assert_eq!(bad[0].0, EdwardsPoint::identity().compress().0);
    // An honest element with a point of order 8, 4 or 2 added.
    let honest = said("a", "a")[2][2..34].try_into().unwrap();
    let honest = CompressedEdwardsY(honest).decompress().unwrap();
    for torsion in &EIGHT_TORSION[1..] {
        bad.push(((honest + torsion).compress().0, HandshakeError::WeakKey));
    }
    // y = 2 has no x: no point.
    bad.push((encoded_y(2, 0), HandshakeError::Malformed));
    // Other ways to write a point: y + p instead of y, and the sign of an x that is 0. None of them is taken for it.
    for sign in [0, 0x80] {
        for low in 0xed..=0xff {
            let mut above = [0xff; 32];
            above[0] = low;
            above[31] = 0x7f | sign;
            let is_point = CompressedEdwardsY(above).decompress().is_some();
            bad.push((
                above,
                if is_point {
                    HandshakeError::WeakKey
                } else {
                    HandshakeError::Malformed
                },
            ));
        }
    }
    bad.push((encoded_y(1, 0x80), HandshakeError::WeakKey));
    bad
}

fn encoded_y(y: u8, sign: u8) -> [u8; 32] {
    let mut bytes = [0; 32];
    bytes[0] = y;
    bytes[31] = sign;
    bytes
}

#[test]
fn weak_elements_are_refused_on_both_sides() {
    for (element, error) in bad_elements() {
        let mut to_listener = pair("a", "a");
        to_listener.deliver_to_listener().unwrap();
        to_listener.deliver_to_dialler().unwrap();
        to_listener.to_listener[2..34].copy_from_slice(&element);
        assert_eq!(
            to_listener.deliver_to_listener(),
            Err(error),
            "{element:02x?}"
        );
        assert!(to_listener.to_dialler.is_empty(), "nothing is tested");
        let mut to_dialler = pair("a", "a");
        to_dialler.deliver_to_listener().unwrap();
        to_dialler.to_dialler[48..].copy_from_slice(&element);
        assert_eq!(
            to_dialler.deliver_to_dialler(),
            Err(error),
            "{element:02x?}"
        );
        assert!(to_dialler.to_listener.is_empty(), "no tag is given for it");
    }
    // The second of two as well.
    let mut second = pair("ba", "ba");
    second.deliver_to_listener().unwrap();
    second.deliver_to_dialler().unwrap();
    second.to_listener[34..66].copy_from_slice(&EIGHT_TORSION[1].compress().0);
    assert_eq!(second.deliver_to_listener(), Err(HandshakeError::WeakKey));
}

#[test]
fn weak_keys_are_refused_behind_the_exchange_too() {
    // By a member, that is: nobody else gets so far.
    let mut pair = pair("a", "a");
    for _ in 0..2 {
        pair.deliver_to_listener().unwrap();
        pair.deliver_to_dialler().unwrap();
    }
    pair.to_dialler = [[0, 96].as_slice(), &[0; 96]].concat();
    assert_eq!(pair.deliver_to_dialler(), Err(HandshakeError::WeakKey));
}

#[test]
fn messages_of_another_exchange_do_not_fit() {
    let old = said("a", "a");
    let mut out = Vec::new();
    let mut listener = LinkHandshake::listener(local_with(2, "a"), [0x77; 32]);
    listener.handle_bytes(&old[0], &mut out).unwrap();
    assert_eq!(
        listener.handle_bytes(&old[2], &mut out).unwrap_err(),
        HandshakeError::WrongPassword
    );
    let mut dialler = LinkHandshake::dialler(local_with(1, "a"), [0x77; 32], &mut out);
    dialler.handle_bytes(&old[1], &mut out).unwrap();
    assert_eq!(
        dialler.handle_bytes(&old[3], &mut out).unwrap_err(),
        HandshakeError::WrongPassword
    );
}

#[test]
fn each_instance_and_role_has_an_exponent_of_its_own() {
    // The same password in both instances, the same seed on both sides.
    let mut to_listener = Vec::new();
    let mut to_dialler = Vec::new();
    let (a, b) = (local_with(1, "a"), local_with(2, "ba"));
    let mut dialler = LinkHandshake::dialler(a, [7; 32], &mut to_listener);
    let mut listener = LinkHandshake::listener(b, [7; 32]);
    listener
        .handle_bytes(&to_listener, &mut to_dialler)
        .unwrap();
    to_listener.clear();
    dialler.handle_bytes(&to_dialler, &mut to_listener).unwrap();
    let elements = [
        &to_listener[2..34],
        &to_listener[34..66],
        &to_dialler[48..80],
        &to_dialler[80..112],
    ];
    for (at, element) in elements.iter().enumerate() {
        assert!(!elements[..at].contains(element));
    }
}

#[test]
fn debug_shows_no_password() {
    let mut pair = pair("zz", "zy");
    pair.deliver_to_listener().unwrap();
    let shown = format!("{:?} {:?}", pair.dialler, pair.listener);
    assert!(shown.contains("Passwords(1)") && shown.contains("Passwords(2)"));
    assert!(shown.contains("listener, waits for elements and tags"));
    for secret in ["122, 122", "7a7a", "121, 121", "7979"] {
        assert!(!shown.contains(secret), "{shown}");
    }
}

proptest! {
    #[test]
    fn no_bytes_break_the_exchange_or_fill_its_memory(
        good in 0..4usize,
        pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 0..6),
    ) {
        let said = said("a", "ba");
        let mut out = Vec::new();
        let mut listener = LinkHandshake::listener(local_with(2, "ba"), [0x15; 32]);
        let mut dialler = LinkHandshake::dialler(local_with(1, "a"), [0xd1; 32], &mut out);
        for (turn, message) in said.iter().take(good).enumerate() {
            let to = if turn % 2 == 0 { &mut listener } else { &mut dialler };
            to.handle_bytes(message, &mut out).unwrap();
        }
        for piece in pieces {
            prop_assert!(!matches!(listener.handle_bytes(&piece, &mut out), Ok(Some(_))));
            prop_assert!(!matches!(dialler.handle_bytes(&piece, &mut out), Ok(Some(_))));
            prop_assert!(listener.received.len() < 2 + MESSAGE_BYTES_MAX);
            prop_assert!(dialler.received.len() < 2 + MESSAGE_BYTES_MAX);
        }
    }
}
