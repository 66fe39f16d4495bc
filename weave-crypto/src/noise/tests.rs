use std::collections::BTreeMap;

use snow::types::{Cipher, Dh};

use super::*;
use crate::hex;

/// `name = hex digits`, one a line.
fn vectors() -> BTreeMap<&'static str, &'static str> {
    let text = include_str!("../../tests/vectors/noise_cacophony.txt");
    let lines = text
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.map(|line| line.split_once(" = ").unwrap()).collect()
}

fn bytes(text: &str) -> Vec<u8> {
    (0..text.len())
        .step_by(2)
        .map(|at| hex::parse::<1>(&text[at..at + 2]).unwrap()[0])
        .collect()
}

fn key(text: &str) -> [u8; 32] {
    hex::parse(text).unwrap()
}

fn setup<'a>(pattern: &'static str, secret: &'a [u8; 32], seed: u8) -> Setup<'a> {
    Setup {
        pattern,
        secret,
        remote: None,
        psk: None,
        prologue: b"both saw this",
        seed: Zeroizing::new([seed; 32]),
    }
}

/// Plays a published handshake through our primitives, message for message.
fn plays(pattern: &'static str, prefix: &str, messages: usize) {
    let vectors = vectors();
    let get = |name: &str| vectors[format!("{prefix}_{name}").as_str()];
    let prologue = bytes(get("prologue"));
    let (initiator, responder) = (key(get("init_static")), key(get("resp_static")));
    let responder_public = PublicKey::from(&StaticSecret::from(responder)).to_bytes();
    let remote = (pattern == IK).then_some(&responder_public);
    let (initiator_ephemeral, responder_ephemeral) =
        (key(get("init_ephemeral")), key(get("resp_ephemeral")));
    let initiator = Setup {
        remote,
        prologue: &prologue,
        ..setup(pattern, &initiator, 1)
    };
    let responder = Setup {
        prologue: &prologue,
        ..setup(pattern, &responder, 2)
    };
    let initiator = builder(&initiator)
        .unwrap()
        .fixed_ephemeral_key_for_testing_only(&initiator_ephemeral);
    let responder = builder(&responder)
        .unwrap()
        .fixed_ephemeral_key_for_testing_only(&responder_ephemeral);
    let mut sides = [
        Noise {
            state: initiator.build_initiator().unwrap(),
        },
        Noise {
            state: responder.build_responder().unwrap(),
        },
    ];
    for place in 0..messages {
        let payload = bytes(get(&format!("payload_{place}")));
        let message = sides[place % 2].write(&payload).unwrap();
        assert_eq!(
            message,
            bytes(get(&format!("message_{place}"))),
            "message {place}"
        );
        assert_eq!(sides[(place + 1) % 2].read(&message).unwrap(), payload);
    }
    // What follows shows that the keys are right, and which of them is whose.
    let keys = sides.map(|side| side.split().unwrap());
    assert_eq!(keys[0].send, keys[1].receive);
    assert_eq!(keys[0].receive, keys[1].send);
    for place in messages..messages + 2 {
        let mut cipher = ChaChaPoly::default();
        cipher.set(&keys[place % 2].send);
        let payload = bytes(get(&format!("payload_{place}")));
        let mut sealed = vec![0; payload.len() + TAG_BYTES];
        cipher.encrypt(0, &[], &payload, &mut sealed);
        assert_eq!(
            sealed,
            bytes(get(&format!("message_{place}"))),
            "message {place}"
        );
    }
}

#[test]
fn xx_gives_the_published_answers() {
    plays(XX, "xx", 3);
}

#[test]
fn ik_gives_the_published_answers() {
    plays(IK, "ik", 2);
}

#[test]
fn x25519_gives_the_answers_of_the_rfc() {
    // RFC 7748, section 6.1: Bob's side.
    let mut bob = X25519::default();
    bob.set(&key(
        "5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb",
    ));
    assert_eq!(
        bob.public,
        key("de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f")
    );
    let alice = key("8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a");
    let mut shared = [0; 32];
    bob.dh(&alice, &mut shared).unwrap();
    assert_eq!(
        shared,
        key("4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742")
    );
    assert_eq!(bob.dh(&alice[..31], &mut shared), Err(snow::Error::Input));
}

#[test]
fn points_of_small_order_are_refused() {
    let mut ours = X25519::default();
    ours.set(&[7; 32]);
    // All of order 1, 2, 4 and 8 (https://cr.yp.to/ecdh.html#validate), and those not reduced.
    for theirs in [
        "0000000000000000000000000000000000000000000000000000000000000000",
        "0100000000000000000000000000000000000000000000000000000000000000",
        "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
        "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    ] {
        let mut out = [0; 32];
        assert_eq!(
            ours.dh(&key(theirs), &mut out),
            Err(snow::Error::Dh),
            "{theirs}"
        );
        assert_eq!(out, [0; 32], "nothing of the result leaves");
    }
}

#[test]
fn the_seed_alone_makes_the_ephemeral_key() {
    let write = |seed| {
        Noise::initiator(&setup(XX, &[1; 32], seed))
            .unwrap()
            .write(&[])
            .unwrap()
    };
    assert_eq!(write(1), write(1));
    assert_ne!(write(1), write(2));
}

#[test]
fn only_our_primitives_are_resolved() {
    for pattern in [
        "Noise_XX_448_ChaChaPoly_SHA256",
        "Noise_XX_25519_AESGCM_SHA256",
        "Noise_XX_25519_ChaChaPoly_BLAKE2s",
        "Noise_XX_25519_ChaChaPoly_SHA512",
        "nonsense",
    ] {
        assert!(
            Noise::initiator(&setup(pattern, &[1; 32], 1)).is_err(),
            "{pattern}"
        );
    }
}

#[test]
fn turns_are_kept_and_keys_come_at_the_end_only() {
    let mut initiator = Noise::initiator(&setup(XX, &[1; 32], 1)).unwrap();
    assert_eq!(initiator.read(&[0; 32]), Err(NoiseError::Refused));
    initiator.write(&[]).unwrap();
    assert_eq!(initiator.write(&[]), Err(NoiseError::Refused));
    assert!(!initiator.is_finished());
    assert!(matches!(initiator.split(), Err(NoiseError::Refused)));
}

#[test]
fn another_prologue_is_noticed() {
    let mut initiator = Noise::initiator(&setup(XX, &[1; 32], 1)).unwrap();
    let mut responder = Noise::responder(&Setup {
        prologue: b"another",
        ..setup(XX, &[2; 32], 2)
    })
    .unwrap();
    responder.read(&initiator.write(&[]).unwrap()).unwrap();
    assert_eq!(
        initiator.read(&responder.write(&[]).unwrap()),
        Err(NoiseError::Refused)
    );
}

#[test]
fn a_refused_message_leaves_the_handshake_as_it_was() {
    let mut initiator = Noise::initiator(&setup(XX, &[1; 32], 1)).unwrap();
    let mut responder = Noise::responder(&setup(XX, &[2; 32], 2)).unwrap();
    responder.read(&initiator.write(&[]).unwrap()).unwrap();
    let answer = responder.write(b"payload").unwrap();
    for length in 0..answer.len() {
        assert_eq!(
            initiator.read(&answer[..length]),
            Err(NoiseError::Refused),
            "{length} bytes"
        );
    }
    assert_eq!(initiator.read(&answer).unwrap(), b"payload");
}
