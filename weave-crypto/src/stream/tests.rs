use proptest::prelude::*;
use zeroize::Zeroizing;

use super::*;

fn pair() -> (SealedStream, SealedStream) {
    let keys = |send, receive| DirectionKeys {
        send: Zeroizing::new([send; 32]),
        receive: Zeroizing::new([receive; 32]),
    };
    (
        SealedStream::new(&keys(1, 2)),
        SealedStream::new(&keys(2, 1)),
    )
}

fn sealed(stream: &mut SealedStream, message: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    stream.seal(message, &mut out).unwrap();
    out
}

#[test]
fn messages_of_any_allowed_length_arrive_both_ways() {
    let (mut a, mut b) = pair();
    for length in [
        0,
        1,
        15,
        16,
        17,
        255,
        256,
        1_400,
        SealedStream::MESSAGE_BYTES_MAX,
    ] {
        let message = vec![0x5a; length];
        let wire = sealed(&mut a, &message);
        assert_eq!(wire.len(), length + SealedStream::FRAME_OVERHEAD_BYTES);
        b.handle_bytes(&wire);
        assert_eq!(b.next_message(), Ok(Some(message.clone())));
        assert_eq!(b.next_message(), Ok(None));
        a.handle_bytes(&sealed(&mut b, &message));
        assert_eq!(a.next_message(), Ok(Some(message)));
    }
}

#[test]
fn a_message_that_is_too_long_is_refused_and_leaves_no_trace() {
    let (mut a, mut b) = pair();
    let mut out = b"before".to_vec();
    let long = vec![0; SealedStream::MESSAGE_BYTES_MAX + 1];
    assert_eq!(a.seal(&long, &mut out), Err(StreamError::MessageTooLong));
    assert_eq!(out, b"before");
    b.handle_bytes(&sealed(&mut a, b"next"));
    assert_eq!(b.next_message(), Ok(Some(b"next".to_vec())));
}

#[test]
fn nothing_is_readable_and_equal_messages_look_different() {
    let (mut a, _) = pair();
    let (first, second) = (
        sealed(&mut a, b"the same text"),
        sealed(&mut a, b"the same text"),
    );
    assert_ne!(first, second);
    assert!(!first.windows(4).any(|window| window == b"same"));
}

#[test]
fn every_prefix_waits_and_every_flipped_bit_ends_the_stream() {
    let wire = sealed(&mut pair().0, b"message");
    for length in 0..wire.len() {
        let (_, mut b) = pair();
        b.handle_bytes(&wire[..length]);
        assert_eq!(b.next_message(), Ok(None), "{length} bytes");
    }
    for bit in 0..8 * wire.len() {
        let (_, mut b) = pair();
        let mut forged = wire.clone();
        forged[bit / 8] ^= 1 << (bit % 8);
        b.handle_bytes(&forged);
        // A greater length has the frame wait for what follows; then it fails too.
        b.handle_bytes(&[0; 1 << 16]);
        let error = b.next_message().unwrap_err();
        assert!(
            matches!(error, StreamError::Forged | StreamError::BadLength),
            "bit {bit}: {error:?}"
        );
    }
}

#[test]
fn impossible_lengths_are_refused_before_anything_is_kept() {
    for length in [
        0u16,
        1,
        15,
        (SealedStream::MESSAGE_BYTES_MAX + TAG_BYTES + 1) as u16,
        u16::MAX,
    ] {
        let (_, mut b) = pair();
        b.handle_bytes(&length.to_be_bytes());
        assert_eq!(
            b.next_message(),
            Err(StreamError::BadLength),
            "length {length}"
        );
    }
}

#[test]
fn frames_out_of_place_end_the_stream() {
    let (mut a, _) = pair();
    let frames = [
        sealed(&mut a, b"one"),
        sealed(&mut a, b"two"),
        sealed(&mut a, b"three"),
    ];
    for (what, order) in [
        ("removed", &[0, 2][..]),
        ("repeated", &[0, 0]),
        ("swapped", &[1, 0]),
    ] {
        let (_, mut b) = pair();
        for &place in order {
            b.handle_bytes(&frames[place]);
        }
        while let Ok(Some(_)) = b.next_message() {}
        assert_eq!(b.next_message(), Err(StreamError::Forged), "{what}");
    }
    // Sent back to whoever sealed it.
    a.handle_bytes(&frames[0]);
    assert_eq!(a.next_message(), Err(StreamError::Forged));
}

#[test]
fn a_failed_stream_stays_failed_and_keeps_nothing() {
    let (mut a, mut b) = pair();
    b.handle_bytes(&[0xff; 4]);
    assert_eq!(b.next_message(), Err(StreamError::BadLength));
    b.handle_bytes(&sealed(&mut a, b"good"));
    assert_eq!(b.next_message(), Err(StreamError::BadLength));
    assert!(b.received.is_empty());
    b.seal(b"the other direction is as good as before", &mut Vec::new())
        .unwrap();
}

#[test]
fn nonces_run_out_instead_of_repeating() {
    let (mut a, mut b) = pair();
    a.frames_sealed = u64::MAX - 1;
    b.frames_opened = u64::MAX - 1;
    let mut wire = sealed(&mut a, b"last");
    assert_eq!(a.seal(b"one more", &mut wire), Err(StreamError::Exhausted));
    b.handle_bytes(&wire);
    assert_eq!(b.next_message(), Ok(Some(b"last".to_vec())));
    b.handle_bytes(&wire);
    assert_eq!(b.next_message(), Err(StreamError::Exhausted));
}

#[test]
fn what_is_kept_between_calls_is_less_than_a_frame() {
    let (mut a, mut b) = pair();
    let wire: Vec<u8> = (0..8)
        .flat_map(|_| sealed(&mut a, &[7; SealedStream::MESSAGE_BYTES_MAX]))
        .collect();
    let mut messages = 0;
    for piece in wire.chunks(1_000) {
        b.handle_bytes(piece);
        while b.next_message().unwrap().is_some() {
            messages += 1;
        }
        let frame = SealedStream::MESSAGE_BYTES_MAX + SealedStream::FRAME_OVERHEAD_BYTES;
        assert!(b.received.len() - b.consumed < frame);
        assert!(b.received.len() < frame + piece.len());
    }
    assert_eq!(messages, 8);
}

#[test]
fn debug_shows_counts_only() {
    let (mut a, _) = pair();
    sealed(&mut a, b"message");
    assert_eq!(
        format!("{a:?}"),
        "SealedStream { frames_sealed: 1, frames_opened: 0, failed: None, .. }"
    );
}

proptest! {
    #[test]
    fn however_the_bytes_are_cut_the_messages_are_the_same(
        messages in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 0..20),
        cuts in prop::collection::vec(1..200usize, 1..20),
    ) {
        let (mut a, mut b) = pair();
        let wire: Vec<u8> = messages.iter().flat_map(|message| sealed(&mut a, message)).collect();
        let mut arrived = Vec::new();
        let mut rest = wire.as_slice();
        for &cut in cuts.iter().cycle() {
            let (piece, after) = rest.split_at(cut.min(rest.len()));
            b.handle_bytes(piece);
            while let Some(message) = b.next_message().unwrap() {
                arrived.push(message);
            }
            rest = after;
            if rest.is_empty() {
                break;
            }
        }
        prop_assert_eq!(arrived, messages);
    }

    #[test]
    fn no_bytes_break_it(pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..100), 0..20)) {
        let (_, mut b) = pair();
        for piece in pieces {
            b.handle_bytes(&piece);
            while let Ok(Some(_)) = b.next_message() {}
        }
    }
}
