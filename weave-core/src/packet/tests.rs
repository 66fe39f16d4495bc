use std::fmt::Write;

use proptest::prelude::*;
use weave_crypto::Suite;

use super::*;

const DESTINATION: ShortId = ShortId::from_bytes([0xd0, 1, 2, 3, 4, 5, 6, 7]);
const ORIGIN: ShortId = ShortId::from_bytes([0x0a, 1, 2, 3, 4, 5, 6, 7]);

fn keys(suite: Suite) -> (TunnelKeys, TunnelKeys) {
    TunnelKeys::pair([7; 32], suite, 0x0102_0304, 0xa1a2_a3a4)
}

fn envelope() -> Envelope {
    Envelope {
        ttl: TTL_START,
        tag: *b"linktg",
        destination: DESTINATION,
    }
}

fn entry(header: EntryHeader, frame: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; header.len_bytes()];
    assert_eq!(header.emit(frame.len(), &mut bytes), bytes.len());
    bytes.extend_from_slice(frame);
    bytes
}

fn frame(payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 0x08, 0x00];
    frame.extend_from_slice(payload);
    frame
}

fn flood_body() -> Vec<u8> {
    let header = FloodHeader {
        origin: ORIGIN,
        sequence: (0x6553_f100 << 16) + 5,
        ttl: 15,
    };
    [
        &header.emit()[..],
        &entry(EntryHeader::default(), &frame(b"to all")),
    ]
    .concat()
}

fn unicast_body() -> Vec<u8> {
    let open = EntryHeader {
        checksum: Some(EntryChecksum {
            start: 34,
            udp: true,
        }),
        more: true,
        piece: None,
    };
    [
        entry(EntryHeader::default(), &frame(b"first")),
        entry(open, &frame(&[0x55; 40])),
        vec![0; 7],
    ]
    .concat()
}

/// Every kind of packet, sealed, with the name it has among the vectors.
fn packets(suite: Suite) -> Vec<(&'static str, Vec<u8>)> {
    let (from, _) = keys(suite);
    let note = |note: Note| {
        let mut bytes = [0; Note::BYTES_MAX];
        let length = note.emit(&mut bytes);
        bytes[..length].to_vec()
    };
    let mac = EthernetAddress([2, 0, 0, 0, 0, 9]);
    let token = 0x1112_1314_1516_1718;
    [
        ("unicast", Kind::Unicast, None, unicast_body()),
        (
            "relayed-unicast",
            Kind::Unicast,
            Some(envelope()),
            unicast_body(),
        ),
        ("flood", Kind::Flood, None, flood_body()),
        ("probe", Kind::Probe, None, vec![0; 34]),
        (
            "note-not-here",
            Kind::Note,
            Some(envelope()),
            note(Note::NotHere { mac }),
        ),
        ("note-closing", Kind::Note, None, note(Note::Closing)),
        ("note-confirm", Kind::Note, None, note(Note::Confirm)),
        (
            "note-echo",
            Kind::Note,
            Some(envelope()),
            note(Note::Echo { token }),
        ),
        (
            "note-echo-answer",
            Kind::Note,
            None,
            note(Note::EchoAnswer { token }),
        ),
    ]
    .into_iter()
    .map(|(name, kind, envelope, body)| (name, seal_packet(&from, kind, envelope, &body).unwrap()))
    .collect()
}

#[test]
fn the_overheads_are_those_of_the_protocol_document() {
    assert_eq!((OVERHEAD_BYTES_V4, OVERHEAD_BYTES_V6), (90, 110));
    assert_eq!(overlay_mtu_bytes(1500, false), 1410);
    assert_eq!(overlay_mtu_bytes(1500, true), 1390);
    assert_eq!(overlay_mtu_bytes(80, false), 0, "no room is no panic");
    assert_eq!(
        ENVELOPE_BYTES, FLOOD_HEADER_BYTES,
        "one overhead serves relayed and flooded"
    );
}

#[test]
fn the_vectors_are_as_frozen() {
    let mut text = String::from(
        "# Data packets: name, then hex. Made from TunnelKeys::pair([7; 32], suite, 0x01020304, 0xa1a2a3a4), first side\n\
         # sealing, counters from 1; contents as in weave-core/src/packet/tests.rs.\n",
    );
    for (name, suite) in [
        ("aes", Suite::Aes256Gcm),
        ("chacha", Suite::ChaCha20Poly1305),
    ] {
        for (packet, bytes) in packets(suite) {
            writeln!(text, "{name}-{packet} {}", hex(&bytes)).unwrap();
        }
    }
    for (name, bytes) in [
        ("envelope", envelope().emit().to_vec()),
        ("body-unicast", unicast_body()),
        ("body-flood", flood_body()),
    ] {
        writeln!(text, "{name} {}", hex(&bytes)).unwrap();
    }
    assert_eq!(
        text,
        include_str!("../../tests/vectors/packets.txt"),
        "\n{text}"
    );
}

#[test]
fn every_kind_is_read_back_and_opened() {
    for suite in [Suite::Aes256Gcm, Suite::ChaCha20Poly1305] {
        let (_, to) = keys(suite);
        for (index, (name, mut packet)) in packets(suite).into_iter().enumerate() {
            let view = PacketView::new_checked(&packet).unwrap();
            let header = view.sealed();
            assert_eq!(
                view.envelope().is_some(),
                view.kind() == Kind::Relay,
                "{name}"
            );
            assert!(view.envelope().is_none_or(|read| read == envelope()));
            assert_eq!(header.counter, index as u64 + 1);
            assert_eq!(header.receiver, to.local_index());
            let at = view.sealed_at();
            let (aad, body) = packet[at..].split_at_mut(SEALED_HEADER_BYTES);
            assert_eq!(*aad, header.emit());
            let body = to.open(header.counter, aad, body).unwrap();
            match header.kind {
                Kind::Unicast => assert_eq!(body, unicast_body()),
                Kind::Flood => assert_eq!(body, flood_body()),
                Kind::Note => drop(Note::parse(body).unwrap()),
                Kind::Probe => assert_eq!(body, [0; 34]),
                Kind::Relay => panic!("an envelope is no sealed packet"),
            }
        }
    }
}

#[test]
fn no_prefix_and_no_bit_flip_panics_or_opens() {
    let (_, to) = keys(Suite::Aes256Gcm);
    for (name, packet) in packets(Suite::Aes256Gcm) {
        let at = PacketView::new_checked(&packet).unwrap().sealed_at();
        let opens = |mut bytes: Vec<u8>| {
            let Ok(view) = PacketView::new_checked(&bytes) else {
                return false;
            };
            let (header, sealed_at) = (view.sealed(), view.sealed_at());
            let (aad, body) = bytes[sealed_at..].split_at_mut(SEALED_HEADER_BYTES);
            to.open(header.counter, aad, body).is_ok()
        };
        for length in 0..packet.len() {
            assert!(!opens(packet[..length].to_vec()), "{name} cut to {length}");
        }
        for bit in 0..packet.len() * 8 {
            let mut flipped = packet.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            // What a relay may change, an attacker may: the envelope's TTL, tag and destination.
            assert_eq!(
                opens(flipped),
                (8..at * 8).contains(&bit),
                "{name} bit {bit}"
            );
        }
    }
}

#[test]
fn an_envelope_carries_only_what_goes_between_edges() {
    let (from, _) = keys(Suite::Aes256Gcm);
    for kind in [Kind::Flood, Kind::Probe] {
        let packet = seal_packet(&from, kind, Some(envelope()), b"body").unwrap();
        assert_eq!(
            PacketView::new_checked(&packet).unwrap_err(),
            PacketError::Kind(kind as u8)
        );
    }
    let inner = seal_packet(&from, Kind::Unicast, Some(envelope()), b"body").unwrap();
    let nested = [&envelope().emit()[..], &inner].concat();
    assert_eq!(
        PacketView::new_checked(&nested).unwrap_err(),
        PacketError::Kind(Kind::Relay as u8)
    );
}

#[test]
fn padding_ends_the_entries_and_stray_bits_are_refused() {
    let all = |body: &[u8]| Entries::new(body).try_fold(0, |count, entry| entry.map(|_| count + 1));
    let one = entry(EntryHeader::default(), &frame(b"x"));
    for padding in 0..20 {
        let body = [&one[..], &vec![0; padding]].concat();
        assert_eq!(all(&body).unwrap(), 1, "{padding} bytes of padding");
    }
    let refused = |at: usize, value: u8| {
        let mut body = one.clone();
        body[at] = value;
        all(&body).unwrap_err()
    };
    assert_eq!(refused(0, 0x21), PacketError::Reserved, "an unknown flag");
    assert_eq!(refused(0, 0x08), PacketError::Reserved, "no frame follows");
    assert_eq!(
        refused(0, 0x05),
        PacketError::Reserved,
        "UDP without an open checksum"
    );
    assert_eq!(
        refused(1, 9),
        PacketError::Reserved,
        "a start without an open checksum"
    );
    assert_eq!(refused(3, 13), PacketError::Truncated, "no Ethernet header");
    assert_eq!(
        refused(2, 1),
        PacketError::Truncated,
        "longer than the body"
    );
    assert_eq!(
        refused(0, 0x03),
        PacketError::Checksum,
        "a checksum in front of the frame's payload"
    );
    assert_eq!(
        all(&[0, 0, 1, 0]).unwrap_err(),
        PacketError::Reserved,
        "padding with a length"
    );
    let piece = EntryHeader {
        piece: Some(Piece {
            id: 1,
            index: 2,
            count: 2,
        }),
        ..EntryHeader::default()
    };
    assert_eq!(all(&entry(piece, b"part")).unwrap_err(), PacketError::Piece);
}

#[test]
fn notes_are_exact() {
    for (bytes, error) in [
        (&[][..], PacketError::Truncated),
        (&[1, 2, 3], PacketError::Truncated),
        (&[1, 2, 3, 4, 5, 6, 7, 8], PacketError::Trailing),
        (&[2, 0], PacketError::Trailing),
        (&[0], PacketError::Kind(0)),
        (&[4], PacketError::Truncated),
        (&[5, 1, 2, 3, 4, 5, 6, 7], PacketError::Truncated),
        (&[4, 1, 2, 3, 4, 5, 6, 7, 8, 9], PacketError::Trailing),
        (&[6], PacketError::Kind(6)),
    ] {
        assert_eq!(Note::parse(bytes), Err(error), "{bytes:?}");
    }
    for note in [
        Note::NotHere {
            mac: EthernetAddress([2, 3, 4, 5, 6, 7]),
        },
        Note::Closing,
        Note::Confirm,
        Note::Echo { token: u64::MAX },
        Note::EchoAnswer { token: 1 },
    ] {
        let mut bytes = [0; Note::BYTES_MAX];
        let length = note.emit(&mut bytes);
        assert_eq!(Note::parse(&bytes[..length]), Ok(note));
    }
}

fn any_header() -> impl Strategy<Value = EntryHeader> {
    let checksum = proptest::option::of((14u8..=40, any::<bool>()));
    let piece = proptest::option::of((any::<u16>(), 2..=PIECES_MAX, any::<u8>()));
    (checksum, any::<bool>(), piece).prop_map(|(checksum, more, piece)| EntryHeader {
        checksum: checksum.map(|(start, udp)| EntryChecksum { start, udp }),
        more,
        piece: piece.map(|(id, count, index)| Piece {
            id,
            index: index % count,
            count,
        }),
    })
}

proptest! {
    #[test]
    fn entries_round_trip(entries in proptest::collection::vec((any_header(), 60..200usize), 0..6)) {
        let mut body = Vec::new();
        let mut expected = Vec::new();
        for (index, (header, length)) in entries.iter().enumerate() {
            let frame = vec![index as u8; *length];
            body.extend(entry(*header, &frame));
            expected.push((*header, frame));
        }
        let read: Vec<_> = Entries::new(&body)
            .map(|entry| entry.map(|entry| (entry.header, entry.bytes.to_vec())))
            .collect::<Result<_, _>>()
            .unwrap();
        prop_assert_eq!(read, expected);
    }

    #[test]
    fn anything_may_be_read(bytes in proptest::collection::vec(any::<u8>(), 0..120), first in 0x10u8..0x16) {
        let mut bytes = bytes;
        let _refused = PacketView::new_checked(&bytes);
        if let Some(byte) = bytes.first_mut() {
            *byte = first;
        }
        if let Ok(view) = PacketView::new_checked(&bytes) {
            prop_assert!(view.sealed().counter <= NUMBER_MAX);
            prop_assert_eq!(view.envelope().is_some(), view.sealed_at() == ENVELOPE_BYTES);
        }
        for entry in Entries::new(&bytes).flatten() {
            prop_assert!(entry.bytes.len() + ENTRY_HEADER_BYTES <= bytes.len());
        }
        let _refused = FloodHeader::parse(&bytes);
        let _refused = Note::parse(&bytes);
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
