use std::sync::Arc;

use proptest::prelude::*;
use weave_crypto::{Identity, NetworkId};

use super::*;

fn identity(index: u8) -> Identity {
    Identity::from_seed([index; 32])
}

fn router() -> RouterBody {
    let identity = identity(1);
    RouterBody {
        boot_id: 1_700_000_000,
        start_boot_id: 1_700_000_000,
        start_random: 42,
        noise_public: identity.noise_public(),
        noise_binding: identity.noise_binding(),
        name: Some("hare".into()),
        nickname: "host-1".into(),
        version: "0.1.0".into(),
        listen_port: 6783,
        addresses: vec![
            Address {
                socket: "192.0.2.1:6783".parse().unwrap(),
                observed: false,
            },
            Address {
                socket: "[2001:db8::1]:40000".parse().unwrap(),
                observed: true,
            },
        ],
        capabilities: RouterBody::CAPABILITY_AES,
        other_random: None,
    }
}

fn links(count: u16) -> LinksBody {
    let mut links: Vec<LinkEntry> = (0..count)
        .map(|index| {
            let mut id = [0xEE; 32];
            id[..2].copy_from_slice(&index.to_be_bytes());
            LinkEntry {
                neighbour: PeerId::from_bytes(id),
                cost: u32::MAX,
                path_mtu_bytes: u16::MAX,
                carrier: Carrier::Tcp,
            }
        })
        .collect();
    links.sort_by_key(|entry| entry.neighbour);
    LinksBody {
        boot_id: BOOT_ID_MAX,
        links,
    }
}

fn network() -> NetworkId {
    NetworkId::from_name("records")
}

#[test]
fn records_come_back_as_they_were_signed() {
    for body in [Body::Router(router()), Body::Links(links(3))] {
        let signed = Record::sign(&identity(1), &network(), 7, body.clone()).unwrap();
        let parsed = Record::parse(signed.bytes()).unwrap();
        assert_eq!(parsed, signed);
        assert_eq!(parsed.body(), &body);
        assert_eq!(parsed.origin(), identity(1).peer_id());
        assert_eq!(parsed.seq() & 0xFF_FFFF, 7);
        assert!(parsed.verify(&network(), &DirectVerifier));
        assert!(!parsed.verify(&NetworkId::from_name("another"), &DirectVerifier));
    }
}

#[test]
fn longest_links_record_fits_and_a_longer_one_is_refused() {
    let most = u16::try_from(LINKS_MAX).unwrap();
    let record = Record::sign(&identity(1), &network(), 1, Body::Links(links(most))).unwrap();
    assert!(record.bytes().len() <= RECORD_BYTES_MAX);
    assert!(Record::parse(record.bytes()).is_ok());
    let longer = Record::sign(&identity(1), &network(), 1, Body::Links(links(most + 1)));
    assert_eq!(longer, Err(RecordError::OutOfBounds));
}

#[test]
fn bodies_out_of_bounds_are_refused() {
    let bodies = [
        RouterBody {
            nickname: "x".repeat(65),
            ..router()
        },
        RouterBody {
            name: Some("a\nb".into()),
            ..router()
        },
        RouterBody {
            version: "\u{1b}[0m".into(),
            ..router()
        },
        RouterBody {
            addresses: vec![router().addresses[0]; 33],
            ..router()
        },
        RouterBody {
            boot_id: BOOT_ID_MAX + 1,
            ..router()
        },
    ];
    for body in bodies {
        let record = Record::sign(&identity(1), &network(), 1, Body::Router(body));
        assert_eq!(record, Err(RecordError::OutOfBounds));
    }
    let late = Record::sign(&identity(1), &network(), 1 << 24, Body::Router(router()));
    assert_eq!(late, Err(RecordError::OutOfBounds));
}

#[test]
fn bodies_that_cannot_be_true_are_refused_by_who_signs_and_by_who_parses() {
    let with_address = |socket: &str| {
        let mut body = router();
        body.addresses[0].socket = socket.parse().unwrap();
        Body::Router(body)
    };
    let with_entry = |change: &dyn Fn(&mut LinkEntry)| {
        let mut body = links(2);
        change(&mut body.links[0]);
        Body::Links(body)
    };
    let mut unsorted = links(2);
    unsorted.links.reverse();
    let mut doubled = links(2);
    doubled.links[1] = doubled.links[0];
    let own = identity(1).peer_id();
    let to_itself = LinksBody {
        boot_id: BOOT_ID_MAX,
        links: vec![LinkEntry {
            neighbour: own,
            ..links(1).links[0]
        }],
    };
    let bodies = [
        Body::Links(unsorted),
        Body::Links(doubled),
        Body::Links(to_itself),
        with_entry(&|entry| entry.cost = 0),
        with_entry(&|entry| entry.path_mtu_bytes = 1_199),
        with_entry(&|entry| entry.path_mtu_bytes = 0),
        Body::Router(RouterBody {
            start_boot_id: router().boot_id + 1,
            ..router()
        }),
        Body::Router(RouterBody {
            addresses: vec![router().addresses[0]; 2],
            ..router()
        }),
        with_address("127.0.0.1:6783"),
        with_address("0.0.0.0:6783"),
        with_address("169.254.1.1:6783"),
        with_address("224.0.0.1:6783"),
        with_address("192.0.2.1:0"),
        with_address("[fe80::1]:6783"),
        with_address("[::1]:6783"),
        with_address("[::ffff:192.0.2.9]:6783"),
    ];
    for body in bodies {
        let seq = body.boot_id() << SEQUENCE_BITS | 1;
        let bytes = Record::sign_unchecked(&identity(1), &network(), seq, &body).unwrap();
        assert_eq!(
            Record::parse(&bytes),
            Err(RecordError::Contradictory),
            "{body:?}"
        );
        let signed = Record::sign(&identity(1), &network(), 1, body);
        assert_eq!(signed, Err(RecordError::Contradictory));
    }
    // A boot id that is not that of the sequence number.
    let body = Body::Router(router());
    let seq = (router().boot_id + 1) << SEQUENCE_BITS | 1;
    let bytes = Record::sign_unchecked(&identity(1), &network(), seq, &body).unwrap();
    assert_eq!(Record::parse(&bytes), Err(RecordError::Contradictory));
}

#[test]
fn a_binding_of_another_key_is_seen_through() {
    let body = |identity: &Identity| RouterBody {
        noise_public: identity.noise_public(),
        noise_binding: identity.noise_binding(),
        ..router()
    };
    let sign = |body| Record::sign(&identity(1), &network(), 1, Body::Router(body)).unwrap();
    let (good, stolen) = (sign(body(&identity(1))), sign(body(&identity(2))));
    assert!(good.verify_binding(None, &DirectVerifier));
    assert!(stolen.verify(&network(), &DirectVerifier), "well signed");
    assert!(!stolen.verify_binding(None, &DirectVerifier));
    assert!(!stolen.verify_binding(Some(&good), &DirectVerifier));
}

#[test]
fn every_prefix_fails_and_no_bit_flip_verifies() {
    for body in [Body::Router(router()), Body::Links(links(2))] {
        let record = Record::sign(&identity(1), &network(), 7, body).unwrap();
        let bytes = record.bytes();
        for length in 0..bytes.len() {
            let parsed = Record::parse(&bytes[..length]);
            assert!(parsed.is_err() || !parsed.unwrap().verify(&network(), &DirectVerifier));
        }
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.to_vec();
            flipped[bit / 8] ^= 1 << (bit % 8);
            if let Ok(parsed) = Record::parse(&flipped) {
                assert!(!parsed.verify(&network(), &DirectVerifier), "bit {bit}");
            }
        }
    }
}

#[test]
fn fields_of_a_later_release_are_ignored() {
    let identity = identity(1);
    let record = Record::sign(&identity, &network(), 7, Body::Router(router())).unwrap();
    let said = &record.bytes()[..record.bytes().len() - 64];
    let mut later = said.to_vec();
    later.extend_from_slice(b"more fields");
    let signature = identity.sign(&signed_message(&network(), &later));
    later.extend_from_slice(&signature);
    let parsed = Record::parse(&later).unwrap();
    assert_eq!(parsed.router(), Some(&router()));
    assert!(parsed.verify(&network(), &DirectVerifier));
    assert_eq!(
        parsed.bytes(),
        &Arc::<[u8]>::from(later),
        "and handed on whole"
    );
}

#[test]
fn unknown_kinds_are_told_apart_from_rubbish() {
    let record = Record::sign(&identity(1), &network(), 7, Body::Router(router())).unwrap();
    let mut bytes = record.bytes().to_vec();
    bytes[32] = 9;
    assert_eq!(Record::parse(&bytes), Err(RecordError::UnknownKind(9)));
}

#[test]
fn texts_are_cut_to_what_may_be_said() {
    assert_eq!(printable("a\tb\u{7f}c"), "abc");
    assert_eq!(printable(&"ä".repeat(40)).len(), 64);
    assert_eq!(printable(&("x".to_owned() + &"ä".repeat(40))).len(), 63);
}

proptest! {
    #[test]
    fn any_bytes_parse_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = Record::parse(&bytes);
    }

    #[test]
    fn any_body_behind_a_good_header_parses_without_panic(
        links in any::<bool>(),
        body in proptest::collection::vec(any::<u8>(), 0..200),
    ) {
        let mut bytes = vec![7; 32];
        bytes.push(u8::from(links));
        bytes.extend([0; 8]);
        bytes.extend(body);
        bytes.extend([0; 64]);
        let _ = Record::parse(&bytes);
    }
}
