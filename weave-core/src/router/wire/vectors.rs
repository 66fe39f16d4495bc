//! Routed bodies byte for byte, as `tests/vectors/routed.txt` of this crate has them: a tunnel from a to b of
//! weave-crypto's identity.txt, from the first message to the confirmation, and a record of b's.

use std::fmt::Write;
use std::sync::Arc;

use weave_crypto::{Identity, NetworkId, Suite, TunnelInitiation, TunnelLocal, respond};
use weave_mesh::{DirectVerifier, LinksBody, Record};

use super::Body;
use crate::packet::{Kind, Note, SEALED_HEADER_BYTES, seal_packet};
use crate::router::direct::Meet;

const BOOT_A: u64 = 1_700_000_000;
const BOOT_B: u64 = 1_700_000_500;

#[test]
fn routed_bodies_are_as_frozen() {
    let bodies = bodies();
    let mut made = String::new();
    for (name, body) in &bodies {
        write!(made, "{name} = ").unwrap();
        for byte in body.encode() {
            write!(made, "{byte:02x}").unwrap();
        }
        made.push('\n');
        assert_eq!(Body::decode(&body.encode()).as_ref(), Some(body), "{name}");
    }
    let frozen: String = include_str!("../../../tests/vectors/routed.txt")
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .flat_map(|line| [line, "\n"])
        .collect();
    assert_eq!(made, frozen, "\n{made}");
}

/// The seeds of identity.txt: 32 bytes that count up from `first`; those of the handshake likewise.
fn seed(first: u8) -> [u8; 32] {
    std::array::from_fn(|at| first + at as u8)
}

fn local(first: u8, boot_id: u64) -> TunnelLocal {
    TunnelLocal {
        identity: Arc::new(Identity::from_seed(seed(first))),
        network: NetworkId::from_name("weave"),
        boot_id,
        aes: true,
    }
}

fn bodies() -> Vec<(&'static str, Body)> {
    let (a, b) = (local(0x00, BOOT_A), local(0x40, BOOT_B));
    let (initiation, message_1) = TunnelInitiation::start(
        &a,
        b.identity.peer_id(),
        &b.identity.noise_public(),
        BOOT_B,
        Suite::ChaCha20Poly1305,
        0x0000_aaaa,
        seed(0x80),
    )
    .unwrap();
    let response = respond(
        &b,
        a.identity.peer_id(),
        &a.identity.noise_public(),
        BOOT_A,
        &message_1,
        0x0000_bbbb,
        seed(0xc0),
    )
    .unwrap();
    let keys = initiation.finish(&response.message).unwrap();
    let mut note = [0; Note::BYTES_MAX];
    let length = Note::Confirm.emit(&mut note);
    let packet = seal_packet(&keys, Kind::Note, None, &note[..length]).unwrap();

    let (header, body) = packet.split_at(SEALED_HEADER_BYTES);
    let mut body = body.to_vec();
    let opened = response.keys.open(1, header, &mut body).unwrap();
    assert_eq!(
        Note::parse(opened),
        Ok(Note::Confirm),
        "b opens what a sealed"
    );

    let meet = |answer, candidates: &[&str]| {
        let meet = Meet {
            answer,
            candidates: candidates
                .iter()
                .map(|text| text.parse().unwrap())
                .collect(),
        };
        meet.seal(&keys).unwrap()
    };
    let (ask, decline) = (
        meet(false, &["192.0.2.1:6783", "[2001:db8::1]:6783"]),
        meet(true, &[]),
    );

    let links = LinksBody {
        boot_id: BOOT_B,
        links: Vec::new(),
    };
    let record = Record::sign(&b.identity, &b.network, 1, weave_mesh::Body::Links(links)).unwrap();
    assert!(record.verify(&b.network, &DirectVerifier));
    vec![
        ("initiation", Body::Initiation(message_1)),
        ("answer", Body::Answer(response.message)),
        ("confirmation", Body::Confirmation(packet)),
        ("current", Body::Current(record.bytes().to_vec())),
        ("meet", ask),
        ("meet-declined", decline),
    ]
}
