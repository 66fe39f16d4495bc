//! Control messages, records and probes byte for byte, as `tests/vectors` of this crate has them: encoding gives these
//! bytes, decoding gives the messages back. Whoever changes one of them has changed the protocol.

use std::collections::BTreeSet;
use std::fmt::{Debug, Write};

use weave_crypto::{Identity, NetworkId};

use super::*;
use crate::probe::{PROBE_BYTES, ProbeKind};
use crate::record::{
    Address, Body, Carrier, DirectVerifier, LinkEntry, LinksBody, Record, RouterBody,
};
use crate::store::Store;
use std::time::Instant;

const BOOT_A: u64 = 1_700_000_000;
const BOOT_B: u64 = 1_700_000_500;

#[test]
fn control_messages_are_as_frozen() {
    let messages = messages();
    let lines: Vec<(&str, Vec<u8>)> = messages
        .iter()
        .map(|(name, message)| (*name, message.encode()))
        .collect();
    assert_frozen(&lines, include_str!("../../tests/vectors/control.txt"));
    for ((name, bytes), (_, message)) in lines.iter().zip(&messages) {
        assert_eq!(parse(bytes).as_ref(), Ok(message), "{name}");
    }
}

#[test]
fn records_are_as_frozen() {
    let records = records();
    let lines: Vec<(&str, Vec<u8>)> = records
        .iter()
        .map(|(name, record)| (*name, record.bytes().to_vec()))
        .collect();
    assert_frozen(&lines, include_str!("../../tests/vectors/records.txt"));
    for ((name, bytes), (_, record)) in lines.iter().zip(&records) {
        assert_eq!(Record::parse(bytes).as_ref(), Ok(record), "{name}");
        assert!(record.verify(&network(), &DirectVerifier), "{name}");
        assert!(
            !record.verify(&NetworkId::from_name("other"), &DirectVerifier),
            "{name} holds in its own network only"
        );
    }
}

#[test]
fn probes_are_as_frozen() {
    let probes = probes();
    let lines: Vec<(&str, Vec<u8>)> = probes
        .iter()
        .map(|(name, probe)| (*name, probe.to_bytes()))
        .collect();
    assert_frozen(&lines, include_str!("../../tests/vectors/probes.txt"));
    for ((name, bytes), (_, probe)) in lines.iter().zip(&probes) {
        assert_eq!(bytes.len(), PROBE_BYTES, "{name}");
        assert_eq!(Probe::parse(bytes).as_ref(), Ok(probe), "{name}");
        let padded = [&bytes[..], &[0; 1_000]].concat();
        assert_eq!(Probe::parse(&padded).as_ref(), Ok(probe), "{name}, padded");
    }
}

/// Compares with the lines `name = hex` of a file, in order; comments are left out.
fn assert_frozen(lines: &[(impl Debug + AsRef<str>, Vec<u8>)], file: &str) {
    let mut made = String::new();
    for (name, bytes) in lines {
        write!(made, "{} = ", name.as_ref()).unwrap();
        for byte in bytes {
            write!(made, "{byte:02x}").unwrap();
        }
        made.push('\n');
    }
    let frozen: String = file
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .flat_map(|line| [line, "\n"])
        .collect();
    assert_eq!(made, frozen, "\n{made}");
}

fn network() -> NetworkId {
    NetworkId::from_name("weave")
}

/// The seeds of weave-crypto's identity.txt: 32 bytes that count up from `first`.
fn identity(first: u8) -> Identity {
    Identity::from_seed(std::array::from_fn(|at| first + at as u8))
}

fn a() -> Identity {
    identity(0x00)
}

fn b() -> Identity {
    identity(0x40)
}

fn probes() -> Vec<(&'static str, Probe)> {
    let challenge = Probe {
        kind: ProbeKind::Challenge,
        last_heard_ms: Probe::NEVER_HEARD,
        sequence: 1,
        token: 0x1112_1314_1516_1718,
        seen: None,
    };
    let seen = |text: &str| text.parse::<SocketAddr>().unwrap();
    vec![
        ("first_challenge", challenge),
        (
            "challenge_v4",
            Probe {
                last_heard_ms: 150,
                sequence: 0x0102_0304,
                seen: Some(seen("192.0.2.1:6783")),
                ..challenge
            },
        ),
        (
            "answer_v4",
            challenge.answer(65_534, seen("192.0.2.2:49152")),
        ),
        ("answer_v6", challenge.answer(0, seen("[2001:db8::2]:6783"))),
    ]
}

fn records() -> Vec<(&'static str, Record)> {
    let (a, b) = (a(), b());
    let router_a = RouterBody {
        boot_id: BOOT_A,
        start_boot_id: BOOT_A,
        start_random: 0x2122_2324_2526_2728,
        noise_public: a.noise_public(),
        noise_binding: a.noise_binding(),
        name: Some("first".to_owned()),
        nickname: "host-a".to_owned(),
        version: "0.1.0".to_owned(),
        listen_port: 6783,
        addresses: vec![
            Address {
                socket: "192.0.2.1:6783".parse().unwrap(),
                observed: false,
            },
            Address {
                socket: "[2001:db8::1]:49152".parse().unwrap(),
                observed: true,
            },
        ],
        capabilities: RouterBody::CAPABILITY_AES,
        other_random: Some(0x0102_0304_0506_0708),
    };
    let router_b = RouterBody {
        boot_id: BOOT_B,
        start_boot_id: BOOT_B - 1,
        start_random: 0x3132_3334_3536_3738,
        noise_public: b.noise_public(),
        noise_binding: b.noise_binding(),
        name: None,
        nickname: String::new(),
        version: "0.1.0".to_owned(),
        listen_port: 7000,
        addresses: Vec::new(),
        capabilities: 0,
        other_random: None,
    };
    let links_a = LinksBody {
        boot_id: BOOT_A,
        links: vec![LinkEntry {
            neighbour: b.peer_id(),
            cost: 1_250,
            path_mtu_bytes: 1_472,
            carrier: Carrier::Udp,
        }],
    };
    let links_b = LinksBody {
        boot_id: BOOT_B,
        links: Vec::new(),
    };
    let sign = |identity: &Identity, count: u64, body: Body| {
        Record::sign(identity, &network(), count, body).unwrap()
    };
    vec![
        ("router_a", sign(&a, 1, Body::Router(router_a))),
        ("links_a", sign(&a, 300, Body::Links(links_a))),
        ("router_b", sign(&b, 1, Body::Router(router_b))),
        ("links_b", sign(&b, 1, Body::Links(links_b))),
    ]
}

/// A store with all the records, everybody reachable.
fn store(records: &[(&'static str, Record)]) -> Store {
    #[allow(clippy::disallowed_methods, reason = "a test's base instant")]
    let now = Instant::now();
    let mut store = Store::new(a().peer_id());
    for (_, record) in records {
        let _newer = store.insert(now, record.clone());
    }
    store.set_reachable(now, &BTreeSet::from([b().peer_id()]));
    store
}

fn messages() -> Vec<(&'static str, Control)> {
    let (a, b) = (a().peer_id(), b().peer_id());
    let records = records();
    let store = store(&records);
    let bucket_of_a = usize::from(a.as_bytes()[0] >> 4);
    let (first, last, keys) = store.lists(bucket_of_a).remove(0);
    let keys: Vec<AnyKey> = keys.into_iter().map(AnyKey::from).collect();
    let probes = probes();
    let welcome = |seen: &str| Control::Welcome {
        tag: *b"linktg",
        seen: seen.parse().unwrap(),
        start_random: 0x1122_3344_5566_7788,
    };
    vec![
        ("welcome_v4", welcome("192.0.2.7:49152")),
        ("welcome_v6", welcome("[2001:db8::7]:6783")),
        ("adopt", Control::Adopt),
        (
            "records",
            Control::Records(
                records[1..]
                    .iter()
                    .map(|(_, record)| RecordBytes(record.bytes().clone()))
                    .collect(),
            ),
        ),
        ("acknowledge", Control::Acknowledge(300)),
        ("digest", Control::Digest(store.digest())),
        ("buckets", Control::Buckets(store.buckets())),
        (
            "list",
            Control::List {
                first,
                last,
                keys: keys.clone(),
            },
        ),
        ("want", Control::Want(keys)),
        (
            "routed",
            Control::Routed(Routed {
                from: a,
                to: b,
                ttl: 32,
                body: b"\x03\x04body".to_vec(),
            }),
        ),
        ("probe_challenge", Control::Probe(probes[1].1)),
        ("probe_answer", Control::Probe(probes[3].1)),
        ("packet", Control::Packet(b"a sealed packet".to_vec())),
        (
            "goodbye_shutdown",
            Control::Goodbye(Goodbye::Shutdown as u32),
        ),
        (
            "goodbye_duplicate",
            Control::Goodbye(Goodbye::Duplicate as u32),
        ),
        (
            "goodbye_stale_boot",
            Control::Goodbye(Goodbye::StaleBoot as u32),
        ),
        ("goodbye_full", Control::Goodbye(Goodbye::Full as u32)),
        ("goodbye_renewed", Control::Goodbye(Goodbye::Renewed as u32)),
        (
            "goodbye_forgotten",
            Control::Goodbye(Goodbye::Forgotten as u32),
        ),
        ("goodbye_denied", Control::Goodbye(Goodbye::Denied as u32)),
    ]
}
