use proptest::prelude::*;

use super::*;
use crate::probe::ProbeKind;
use crate::record::RecordKind;

fn peer(byte: u8) -> PeerId {
    PeerId::from_bytes([byte; 32])
}

fn key(byte: u8) -> AnyKey {
    AnyKey::from(Key {
        origin: peer(byte),
        kind: RecordKind::Links,
        seq: u64::MAX - u64::from(byte),
    })
}

fn bytes(length: usize) -> RecordBytes {
    RecordBytes(vec![0xA5; length].into())
}

/// One of each.
fn messages() -> Vec<Control> {
    vec![
        Control::Welcome {
            tag: [1, 2, 3, 4, 5, 6],
            seen: "192.0.2.1:6783".parse().unwrap(),
            start_random: u64::MAX,
        },
        Control::Adopt,
        Control::Records(vec![bytes(3), bytes(0), bytes(200)]),
        Control::Acknowledge(300),
        Control::Digest([9; 32]),
        Control::Buckets([[8; 8]; BUCKETS]),
        Control::List {
            first: peer(1),
            last: peer(9),
            keys: vec![key(1), key(2)],
        },
        Control::Want(vec![key(3)]),
        Control::Routed(Routed {
            from: peer(1),
            to: peer(2),
            ttl: 3,
            body: vec![1, 2, 3],
        }),
        Control::Probe(Probe {
            kind: ProbeKind::Answer,
            last_heard_ms: 1,
            sequence: 2,
            token: 3,
            seen: Some("[2001:db8::1]:1".parse().unwrap()),
        }),
        Control::Packet(vec![60; 60]),
        Control::Goodbye(Goodbye::Full as u32),
    ]
}

#[test]
fn messages_come_back_as_they_were() {
    for message in messages() {
        assert_eq!(parse(&message.encode()), Ok(message));
    }
}

#[test]
fn numbers_of_messages_are_the_protocol() {
    for (number, message) in messages().iter().enumerate() {
        assert_eq!(usize::from(message.encode()[0]), number);
    }
}

#[test]
fn every_prefix_is_refused_and_every_bit_flip_survived() {
    for message in messages() {
        let encoded = message.encode();
        for length in 0..encoded.len() {
            assert_eq!(decode(&encoded[..length]), Err(WireError::Malformed));
        }
        for bit in 0..encoded.len() * 8 {
            let mut flipped = encoded.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_ne!(parse(&flipped).as_ref(), Ok(&message));
        }
        let mut longer = encoded;
        longer.push(0);
        assert_eq!(decode(&longer), Err(WireError::Malformed));
    }
}

#[test]
fn messages_beyond_their_bounds_are_refused() {
    for message in [
        Control::Want(vec![key(1); KEYS_MAX + 1]),
        Control::List {
            first: peer(1),
            last: peer(2),
            keys: vec![key(1); KEYS_MAX + 1],
        },
        Control::List {
            first: peer(2),
            last: peer(1),
            keys: Vec::new(),
        },
        Control::Routed(Routed {
            from: peer(1),
            to: peer(2),
            ttl: 1,
            body: vec![0; ROUTED_BODY_BYTES_MAX + 1],
        }),
    ] {
        assert_eq!(decode(&message.encode()), Err(WireError::OutOfBounds));
    }
    assert_eq!(
        decode(&vec![0; MESSAGE_BYTES_MAX + 1]),
        Err(WireError::TooLong)
    );
}

#[test]
fn keys_of_kinds_that_a_later_release_adds_decode_and_are_known_for_that() {
    for kind in [2, 127, 128, u32::MAX] {
        let later = AnyKey { kind, ..key(2) };
        let message = Control::Want(vec![key(1), later, key(3)]);
        let Ok(Control::Want(keys)) = parse(&message.encode()) else {
            panic!("kind {kind} does not decode");
        };
        let known: Vec<bool> = keys.iter().map(|key| key.known().is_some()).collect();
        assert_eq!(known, [true, false, true], "kind {kind}");
    }
    for kind in RecordKind::ALL {
        let key = Key {
            origin: peer(1),
            kind,
            seq: 7,
        };
        assert_eq!(AnyKey::from(key).known(), Some(key));
    }
}

#[test]
fn goodbyes_for_reasons_that_a_later_release_adds_decode_whatever_they_say() {
    for (number, reason) in (0..).zip(Goodbye::ALL) {
        assert_eq!(reason as u32, number);
        assert_eq!(Goodbye::from_number(number), Some(reason));
    }
    let first = Goodbye::ALL.len() as u32;
    for number in [first, 127, 128, u32::MAX] {
        let mut encoded = Control::Goodbye(number).encode();
        assert_eq!(parse(&encoded), Ok(Control::Goodbye(number)));
        encoded.extend([1, 2, 3]);
        assert_eq!(parse(&encoded), Ok(Control::Goodbye(number)));
        assert_eq!(Goodbye::from_number(number), None);
    }
}

#[test]
fn largest_messages_fit_a_frame() {
    let mut keys = Vec::new();
    keys.resize(
        KEYS_MAX,
        AnyKey {
            seq: u64::MAX,
            ..key(0xFF)
        },
    );
    let list = Control::List {
        first: peer(0),
        last: peer(0xFF),
        keys,
    };
    assert!(list.encode().len() <= MESSAGE_BYTES_MAX);
    const { assert!(MESSAGE_BYTES_MAX <= weave_crypto::SealedStream::MESSAGE_BYTES_MAX) };
}

proptest! {
    #[test]
    fn any_bytes_decode_without_panic(
        number in 0_u8..16,
        rest in proptest::collection::vec(any::<u8>(), 0..200),
    ) {
        let _ = decode(&[&[number], &rest[..]].concat());
    }
}
